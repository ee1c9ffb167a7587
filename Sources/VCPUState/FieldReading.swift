import Architecture

/// How a value came to be known. A guess is never one of these.
public enum Provenance: String, Sendable, CaseIterable {
  /// Read: kernel memory or a tracepoint.
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

/// One field of one vCPU's VMCS: a value and where it is from, or why there is none.
public struct FieldReading: Sendable, Hashable {
  public var field: VMCSField
  /// Nil where it is unavailable.
  public var value: UInt64?
  public var provenance: Provenance
  /// The path in kernel memory, the computation, or the reason why there is no value.
  public var how: String

  init(_ field: VMCSField, _ value: UInt64?, _ provenance: Provenance, _ how: String) {
    self.field = field
    self.value = value
    self.provenance = provenance
    self.how = how
  }
}

/// What KVM settled on when it was loaded: `vmcs_config` (`arch/x86/kvm/vmx/capabilities.h`).
public struct VMCSConfiguration: Sendable, Hashable {
  /// The control words that a vCPU gets unless something of its own speaks against it.
  public var words = ControlSetting()
  /// IA32_VMX_EPT_VPID_CAP as KVM read it, in two halves.
  public var eptCapability: UInt32?
  public var vpidCapability: UInt32?
}

/// A bit of a control word that differs from `vmcs_config`, and why.
public struct ControlDifference: Sendable, Hashable {
  public var control: ControlID
  /// Its value in force.
  public var isSet: Bool
  /// What in KVM's structures decided it, or when KVM flips it.
  public var reason: String
  /// True where the reason was read from the structures that decide it; false where it is KVM's rule in general.
  public var isMeasured: Bool
}

/// The VMCS of one vCPU, as far as it can be known without VMREAD.
public struct VCPUReading: Sendable {
  /// The process id that made the VM (`kvm.userspace_pid`).
  public var pid: Int32
  public var vcpuID: UInt32
  /// The thread that ran it last; nil before the first KVM_RUN.
  public var tid: Int32?
  /// The CPU it is loaded on; nil where it is not.
  public var cpu: Int?
  /// True while an L2 guest is current, so that all of this is vmcs02.
  public var isNested: Bool
  /// CLOCK_MONOTONIC at the moment of reading, in nanoseconds.
  public var readAt: UInt64
  /// All 206 fields, in order of encoding.
  public var fields: [FieldReading]
  /// The control words in force.
  public var words: ControlSetting
  public var differences: [ControlDifference]
  /// The 4 KiB page that says which MSRs exit; nil where there is none or it could not be read.
  public var msrBitmap: [UInt8]?

  public func reading(_ name: String) -> FieldReading? { fields.first { $0.field.name == name } }
}
