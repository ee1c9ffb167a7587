/// How a value came to be known. A guess is never one of these.
public enum Provenance: String, Sendable, CaseIterable {
  /// Read: kernel memory, a tracepoint, or the VMM's answer.
  case measured
  /// What KVM would set for any vCPU: `vmcs_config`, a module parameter.
  case configured
  /// What the processor allows.
  case capability
  /// Computed from measured values, or a constant of KVM's; `how` says it.
  case derived
  /// An exit proves it.
  case inferred
  /// KVM's copy of a register that it has not read again since the guest ran.
  case stale
  /// Only VMREAD could tell; `how` says why.
  case unavailable
}

/// One field of one vCPU: a value and where it is from, or why there is none.
public struct FieldReading: Sendable, Hashable {
  public var field: StateField
  /// Nil where it is unavailable.
  public var value: UInt64?
  public var provenance: Provenance
  /// The path in kernel memory, the computation, or the reason why there is no value.
  public var how: String
  /// CLOCK_MONOTONIC in nanoseconds at which it was so, where that is not the moment of the whole reading: a tracepoint's
  /// time stamp.
  public var readAt: UInt64?

  public init(
    _ field: StateField, _ value: UInt64?, _ provenance: Provenance, _ how: String, readAt: UInt64? = nil
  ) {
    self.field = field
    self.value = value
    self.provenance = provenance
    self.how = how
    self.readAt = readAt
  }
}

/// What KVM settled on when it was loaded: `vmcs_config` (`arch/x86/kvm/vmx/capabilities.h`).
public struct VMCSConfiguration: Sendable, Hashable {
  /// The control words that a vCPU gets unless something of its own speaks against it.
  public var words = ControlSetting()
  /// IA32_VMX_EPT_VPID_CAP as KVM read it, in two halves.
  public var eptCapability: UInt32?
  public var vpidCapability: UInt32?

  public init() {}
}

/// What a control may be on this host and what KVM settled on: the same for all of its vCPUs.
public struct HostControls: Sendable {
  /// SVM has no `vmcs_config`: there, `words.intercepts` alone is known, those that KVM gives every vCPU at first
  /// (`InterceptDefault`).
  public var configuration: VMCSConfiguration
  public var capabilities: HostCapabilities
  /// SVM: the parameters of kvm and kvm_amd that decide the intercepts, by `module.name`.
  public var parameters: [String: String] = [:]

  public init(
    configuration: VMCSConfiguration = VMCSConfiguration(), capabilities: HostCapabilities = HostCapabilities()
  ) {
    self.configuration = configuration
    self.capabilities = capabilities
  }
}

/// A bit of a control word that differs from `vmcs_config`, or an intercept that differs from `InterceptDefault`, and why.
public struct ControlDifference: Sendable, Hashable {
  public var control: ControlID
  /// Its value in force.
  public var isSet: Bool
  /// What in KVM's structures decided it, or when KVM flips it.
  public var reason: String
  /// True where the reason was read from the structures that decide it; false where it is KVM's rule in general.
  public var isMeasured: Bool

  public init(control: ControlID, isSet: Bool, reason: String, isMeasured: Bool) {
    self.control = control
    self.isSet = isSet
    self.reason = reason
    self.isMeasured = isMeasured
  }
}

/// The state of one vCPU, as far as it can be known without VMREAD.
public struct VCPUReading: Sendable {
  /// VMX or SVM.
  public var isa: ISA
  /// The process id that made the VM (`kvm.userspace_pid`).
  public var pid: Int32
  public var vcpuID: UInt32
  /// The thread that ran it last; nil before the first KVM_RUN.
  public var tid: Int32?
  /// The CPU it is loaded on; nil where it is not.
  public var cpu: Int?
  /// True while an L2 guest is current, so that all of this is vmcs02 (or the VMCB of L2).
  public var isNested: Bool
  /// CLOCK_MONOTONIC at the moment of reading, in nanoseconds.
  public var readAt: UInt64
  /// VMX: all 206 fields, in order of encoding. SVM: all of the VMCB, in order of offset, and a row that says where the host's
  /// state is.
  public var fields: [FieldReading]
  /// What KVM keeps beside it: general registers, CR2, CR8, debug registers, pending events, the APIC page, the
  /// posted-interrupt descriptor.
  public var others: [FieldReading] = []
  /// The control words in force.
  public var words: ControlSetting
  /// The bits that differ from `vmcs_config`, or on SVM from what KVM gives every vCPU at first.
  public var differences: [ControlDifference]
  /// The page that says which MSRs exit: 4 KiB on VMX, 8 KiB on SVM. Nil where there is none or it could not be read.
  public var msrBitmap: [UInt8]?
  /// The VMCS that L1 wrote for its guest, as KVM caches it (`struct vmcs12`), field by field; nil where L1 has no
  /// current VMCS. SVM: the control area that L1 wrote (`nested.ctl`), while L2 is current.
  public var vmcs12: [FieldReading]?
  /// What the reading cost: system calls on /proc/kcore, and nanoseconds.
  public var reads = 0
  public var nanoseconds: UInt64 = 0

  public init(
    isa: ISA, pid: Int32, vcpuID: UInt32, tid: Int32?, cpu: Int?, isNested: Bool, readAt: UInt64,
    fields: [FieldReading], words: ControlSetting, differences: [ControlDifference], msrBitmap: [UInt8]?
  ) {
    self.isa = isa
    self.pid = pid
    self.vcpuID = vcpuID
    self.tid = tid
    self.cpu = cpu
    self.isNested = isNested
    self.readAt = readAt
    self.fields = fields
    self.words = words
    self.differences = differences
    self.msrBitmap = msrBitmap
  }

  /// The field of that name, of the VMCS, the VMCB or beside them.
  public func reading(_ name: String) -> FieldReading? {
    fields.first { $0.field.name == name } ?? others.first { $0.field.name == name }
  }
}

/// What a VMM said of one vCPU when it was asked (QEMU's `info registers` by QMP), or why it did not.
public struct VMMReading: Sendable {
  /// CLOCK_MONOTONIC at the answer, in nanoseconds.
  public var readAt: UInt64
  /// Named as the fields that they are compared with: `GUEST_CR3`, `save.cr3`, `RAX`. Empty where it failed.
  public var fields: [FieldReading]
  /// One line; nil where it answered.
  public var failure: String?

  public init(readAt: UInt64, fields: [FieldReading] = [], failure: String? = nil) {
    self.readAt = readAt
    self.fields = fields
    self.failure = failure
  }
}
