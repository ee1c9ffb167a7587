import Architecture
import KernelMemory

/// Fills the fields of one vCPU's VMCB from copies of it and of its `struct vcpu_svm`. What is current when: svm_vcpu_run()
/// of `arch/x86/kvm/svm/svm.c` and __svm_vcpu_run() of `vmenter.S`.
struct SVMFields {
  let layout: SVMLayout
  let core: KernelCore
  let address: UInt64
  let copy: [UInt8]
  /// The VMCB in force.
  let vmcb: [UInt8]
  /// L1's while L2's is in force: VMLOAD and VMSAVE use it for both (5.13 and later).
  let vmcb01: [UInt8]?
  private let isNested: Bool
  private let isRunning: Bool
  private let machine: VirtualMachine
  private let defaults: SIMD8<UInt32>
  private let registers: KVMRegisters.Copy

  /// HF_GUEST_MASK of `vcpu.arch.hflags`, as kernels before 5.13 have it.
  static let guestModeFlag: UInt64 = 1 << 5

  /// - Parameter isNested: nil where only `hflags` tells.
  init(
    layout: SVMLayout, core: KernelCore, address: UInt64, copy: [UInt8], vmcb: [UInt8], vmcb01: [UInt8]?,
    isNested: Bool?, isRunning: Bool, machine: VirtualMachine, defaults: SIMD8<UInt32>
  ) {
    self.layout = layout
    self.core = core
    self.address = address
    self.copy = copy
    self.vmcb = vmcb
    self.vmcb01 = vmcb01
    self.isNested =
      isNested ?? layout.values["hflags"].flatMap { $0.integer(in: copy) }.map { $0 & Self.guestModeFlag != 0 } ?? false
    self.isRunning = isRunning
    self.machine = machine
    self.defaults = defaults
    registers = KVMRegisters.Copy(layout.registers, vcpu: address, copy, isRunning: isRunning, core)
  }

  /// The six intercept words at the start of a VMCB.
  static func intercepts(in vmcb: [UInt8]) -> SIMD8<UInt32> {
    var words = SIMD8<UInt32>(repeating: 0)
    for index in 0..<min(24, vmcb.count) { words[index / 4] |= UInt32(vmcb[index]) << UInt32(8 * (index % 4)) }
    return words
  }

  /// What is the same in every reading of a field.
  private struct Row {
    var field: VMCBField
    var state: StateField
    var how: String
    var whyUnused: Unused?
  }

  private static let rows: [Row] = VMCBField.rows.map {
    Row(field: $0, state: StateField($0), how: "vcpu_svm.vmcb->\($0.name)", whyUnused: unused[$0.name])
  }

  /// A field that means something only while a bit is 1.
  private struct Unused {
    var field: String
    var bit: UInt64
    var why: String

    init(_ field: String, _ bit: UInt64, _ why: String) {
      self.field = field
      self.bit = bit
      self.why = why
    }
  }

  private static let unused: [String: Unused] = {
    var result: [String: Unused] = [
      "control.bus_lock_counter": Unused(
        "control.intercepts[5]", 5, "not in use: bus locks are not intercepted"),
      "control.int_vector": Unused("control.int_ctl", 8, "not in use: V_IRQ is 0"),
      "control.event_inj_err": Unused("control.event_inj", 31, "not in use: no event is injected"),
      "control.exit_int_info_err": Unused(
        "control.exit_int_info", 31, "not in use: no event was being delivered"),
    ]
    for (names, why) in [
      (
        ["control.pause_filter_thresh", "control.pause_filter_count"],
        Unused("control.intercepts[3]", 23, "not in use: PAUSE is not intercepted")
      ),
      (
        ["control.nested_cr3", "save.g_pat"], Unused("control.nested_ctl", 0, "not in use: nested paging is off")
      ),
      (
        [
          "control.avic_vapic_bar", "control.avic_backing_page", "control.avic_logical_id", "control.avic_physical_id",
        ], Unused("control.int_ctl", 31, "not in use: AVIC is off")
      ),
      (
        ["control.ghcb_gpa", "control.vmsa_pa", "control.allowed_sev_features", "control.guest_sev_features"],
        Unused("control.nested_ctl", 2, "not in use: no SEV-ES guest")
      ),
      (
        ["save.dbgctl", "save.br_from", "save.br_to", "save.last_excp_from", "save.last_excp_to"],
        Unused("control.virt_ext", 0, "the processor does not switch it: LBR virtualization is off")
      ),
    ] { for name in names { result[name] = why } }
    return result
  }()

  private func isSet(_ name: String, _ bit: UInt64) -> Bool {
    (VMCBField.lookup(name: name)?.value(in: vmcb) ?? 0) >> bit & 1 == 1
  }

  private var isEncrypted: Bool { isSet("control.nested_ctl", 2) }

  func reading(readAt: UInt64) -> VCPUReading {
    let isEncrypted = isEncrypted
    let words = ControlSetting(intercepts: Self.intercepts(in: vmcb))
    var result = VCPUReading(
      isa: .svm, pid: machine.pid, vcpuID: layout.kvm.number(in: copy), tid: nil, cpu: layout.kvm.processor(in: copy),
      isNested: isNested, readAt: readAt,
      fields: Self.rows.map { reading($0, isEncrypted: isEncrypted) } + [Self.hostState], words: words,
      differences: InterceptReasons(
        words: words.intercepts ?? SIMD8(repeating: 0), defaults: defaults, machine: machine, vmcb: vmcb,
        registers: registers, hasAPIC: value("apic").map { $0 != 0 }, guestDebug: value("guest_debug"),
        isNMIMasked: value("nmi_masked").map { $0 & 1 != 0 }, isNested: isNested
      ).differences,
      msrBitmap: permissionMap)
    result.others = registers.readings(hidden: isEncrypted ? Self.encrypted : nil)
    if isNested, !layout.nestedControls.isEmpty {
      result.vmcs12 = layout.nestedControls.map { field, path in
        FieldReading(StateField(field), path.integer(in: copy), .measured, path.text)
      }
    }
    return result
  }

  private func value(_ name: String) -> UInt64? { layout.values[name].flatMap { $0.integer(in: copy) } }

  private static let encrypted = "an SEV-ES guest: its registers are in a save area that is encrypted with its key"

  /// VMRUN saves what #VMEXIT brings back.
  private static let hostState = FieldReading(
    StateField(
      kind: .vmcb, name: "HOST_STATE", width: 64, area: .host,
      description: "The host's state: not in the VMCB, but in a page of each CPU's"),
    nil, .unavailable,
    "VMRUN saves the host's state in the page at VM_HSAVE_PA of the CPU, whose layout is not public")

  // MARK: One field

  private func reading(_ row: Row, isEncrypted: Bool) -> FieldReading {
    let (field, state) = (row.field, row.state)
    if field.area == .guest, isEncrypted { return FieldReading(state, nil, .unavailable, Self.encrypted) }
    let member = field.name
    // VMLOAD and VMSAVE are done with vmcb01, whichever VMCB VMRUN takes.
    if field.isVMSAVE, let vmcb01 {
      return FieldReading(
        state, field.value(in: vmcb01), isRunning ? .stale : .measured, "vcpu_svm.vmcb01.ptr->\(member)")
    }
    let value = field.value(in: vmcb)
    var how = row.how
    if let unused = row.whyUnused, !isSet(unused.field, unused.bit) { how += "; \(unused.why)" }
    if isRunning, field.area == .guest || Self.changing.contains(member) {
      return FieldReading(state, value, .stale, how)
    }
    // What KVM changed since the exit goes into the VMCB at the next VMRUN only.
    if let name = Self.written[member], let next = registers.value(name), next != value {
      return FieldReading(
        state, value, .stale,
        "\(how), as of the last exit; the next VMRUN takes 0x\(String(next, radix: 16)) from \(registers.path(name) ?? name)"
      )
    }
    return FieldReading(state, value, .measured, how)
  }

  /// Control fields that #VMEXIT writes: while the guest runs, the processor has them.
  private static let changing: Set<String> = [
    "control.int_ctl", "control.int_state", "control.event_inj", "control.event_inj_err", "control.bus_lock_counter",
  ]

  /// Save-area fields that svm_vcpu_run() writes before VMRUN.
  private static let written = ["save.rax": "RAX", "save.rsp": "RSP", "save.rip": "RIP", "save.cr2": "CR2"]

  /// The map in force: while L2 is current, L1's or the merged one, as `msrpm_base_pa` says.
  private var permissionMap: [UInt8]? {
    var path = layout.msrpm
    if isNested, let field = VMCBField.lookup(name: "control.msrpm_base_pa"),
      vmcb01.map({ field.value(in: $0) != field.value(in: vmcb) }) ?? true
    {
      path = layout.nestedMSRPM
    }
    return kernelPointer(path.flatMap { $0.integer(in: copy) }).flatMap { core.bytes(at: $0, count: 8192) }
  }
}
