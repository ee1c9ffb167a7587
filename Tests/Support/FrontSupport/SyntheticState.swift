import Aggregator
import Architecture

/// States of vCPUs that do not exist, in the shape of those that are read: made up like all of `SyntheticHost`.
public enum SyntheticState {
  /// What a Linux guest looks like a while after it booted.
  static let guest: [String: UInt64] = [
    "GUEST_CR0": 0x8005_0033, "GUEST_CR3": 0x0280_c004, "GUEST_CR4": 0x0077_2ef0, "GUEST_RSP": 0xffff_c900_0065_3b40,
    "GUEST_RIP": 0xffff_ffff_81a3_c2d4, "GUEST_RFLAGS": 0x246, "GUEST_DR7": 0x400, "GUEST_CS_SELECTOR": 0x10,
    "GUEST_CS_BASE": 0, "GUEST_CS_LIMIT": 0xffff_ffff, "GUEST_CS_AR_BYTES": 0xa09b, "GUEST_SS_SELECTOR": 0x18,
    "GUEST_SS_BASE": 0, "GUEST_SS_LIMIT": 0xffff_ffff, "GUEST_SS_AR_BYTES": 0xc093, "GUEST_FS_SELECTOR": 0,
    "GUEST_FS_BASE": 0x7f12_3456_7700, "GUEST_GS_SELECTOR": 0, "GUEST_GS_BASE": 0xffff_8881_3bc0_0000,
    "GUEST_TR_SELECTOR": 0x40, "GUEST_TR_BASE": 0xffff_fe00_0000_3000, "GUEST_TR_LIMIT": 0x4087,
    "GUEST_TR_AR_BYTES": 0x8b, "GUEST_GDTR_BASE": 0xffff_fe00_0000_1000, "GUEST_GDTR_LIMIT": 0x7f,
    "GUEST_IDTR_BASE": 0xffff_fe00_0000_0000, "GUEST_IDTR_LIMIT": 0xfff, "GUEST_IA32_PAT": 0x0407_0506_0007_0106,
    "GUEST_IA32_EFER": 0xd01, "GUEST_IA32_DEBUGCTL": 0, "GUEST_SYSENTER_CS": 0x10,
    "GUEST_INTERRUPTIBILITY_INFO": 0, "GUEST_ACTIVITY_STATE": 0, "GUEST_INTR_STATUS": 0xec,
    "VIRTUAL_PROCESSOR_ID": 3, "POSTED_INTR_NV": 0xf2, "TSC_OFFSET": 0xffff_fd12_3456_789a,
    "TSC_MULTIPLIER": 0x0001_0000_0000_0000, "EPT_POINTER": 0x1_0a2b_305e, "CR0_GUEST_HOST_MASK": 0xffff_ffff_ffff_fff7,
    "CR4_GUEST_HOST_MASK": 0xffff_ffff_fffe_f871, "CR0_READ_SHADOW": 0x8005_0033, "CR4_READ_SHADOW": 0x0077_2ef0,
    "EXCEPTION_BITMAP": 0x6_0042, "PLE_GAP": 128, "PLE_WINDOW": 4096, "TPR_THRESHOLD": 0,
    "VIRTUAL_APIC_PAGE_ADDR": 0x1_0455_6000, "MSR_BITMAP": 0x1_0455_7000, "VMCS_LINK_POINTER": .max,
    "CR3_TARGET_COUNT": 0, "VM_EXIT_REASON": 30, "EXIT_QUALIFICATION": 0x03f8_0000, "VM_EXIT_INTR_INFO": 0,
    "IDT_VECTORING_INFO_FIELD": 0, "VM_ENTRY_INTR_INFO_FIELD": 0, "HOST_CR0": 0x8005_0033, "HOST_CR3": 0x1_2345_6000,
    "HOST_CR4": 0x0036_26e0, "HOST_CS_SELECTOR": 0x10, "HOST_SS_SELECTOR": 0x18, "HOST_DS_SELECTOR": 0,
    "HOST_ES_SELECTOR": 0, "HOST_TR_SELECTOR": 0x40, "HOST_FS_SELECTOR": 0, "HOST_GS_SELECTOR": 0,
    "HOST_FS_BASE": 0x7f00_1122_3340, "HOST_GS_BASE": 0xffff_8890_3f80_0000, "HOST_TR_BASE": 0xffff_fe00_0000_3000,
    "HOST_GDTR_BASE": 0xffff_fe00_0000_1000, "HOST_IDTR_BASE": 0xffff_fe00_0000_0000,
    "HOST_RIP": 0xffff_ffff_c0f3_1d40, "HOST_IA32_SYSENTER_CS": 0x10, "HOST_IA32_PAT": 0x0407_0506_0007_0106,
    "HOST_IA32_EFER": 0xd01,
  ]

  static let derived: Set<String> = [
    "GUEST_CR0", "GUEST_CR4", "GUEST_IA32_EFER", "CR0_GUEST_HOST_MASK", "CR4_GUEST_HOST_MASK", "CR0_READ_SHADOW",
    "CR4_READ_SHADOW", "EPT_POINTER", "EXCEPTION_BITMAP", "MSR_BITMAP", "VIRTUAL_APIC_PAGE_ADDR", "POSTED_INTR_NV",
    "CR3_TARGET_COUNT", "HOST_RIP", "HOST_CS_SELECTOR", "HOST_SS_SELECTOR", "HOST_IA32_EFER", "GUEST_INTR_STATUS",
  ]

  /// KVM's words on a recent processor.
  public static var configured: ControlSetting {
    ControlSetting(
      pin: 0xff, primary: 0xb5a0_6dfa, secondary: 0x0217_5fff & ~0x4, tertiary: nil, exit: 0x0023_6fff, entry: 0xd3ff)
  }

  public static var host: HostControls {
    var controls = HostControls()
    controls.configuration.words = configured
    var capabilities = HostCapabilities()
    for (word, msr) in [
      (ControlWord.pin, UInt64(0x0000_00ff_0000_0016)), (.primary, 0xf7f9_fffe_0400_6172),
      (.secondary, 0x0377_ffff_0000_0000), (.exit, 0x01ff_ffff_0003_6dfb), (.entry, 0x0003_ffff_0000_11fb),
    ] {
      capabilities.words[word] = ControlCapability(word: word, msr: msr)
    }
    controls.capabilities = capabilities
    return controls
  }

  /// - Parameters:
  ///   - tick: what moves moves with it.
  ///   - isQuiet: the VMM has taken HLT and PAUSE exits away, as QEMU does with `-overcommit cpu-pm=on`.
  public static func vmx(
    tid: Int32, pid: Int32 = 4000, id: UInt32, tick: UInt64, isNested: Bool = false, isQuiet: Bool = false
  ) -> VCPUReading {
    var words = configured
    var differences: [ControlDifference] = []
    if isQuiet {
      words.primary = (words.primary ?? 0) & ~(1 << 7 | 1 << 10)
      for bit in [7, 10] {
        if let control = ControlID(word: .primary, bit: bit) {
          differences.append(
            ControlDifference(
              control: control, isSet: false,
              reason: "the VMM disabled these exits: KVM_CAP_X86_DISABLE_EXITS with KVM_X86_DISABLE_EXITS_HLT",
              isMeasured: true))
        }
      }
    }
    words.primary = (words.primary ?? 0) | 1 << 2
    if let window = ControlID(word: .primary, bit: 2) {
      differences.append(
        ControlDifference(
          control: window, isSet: true,
          reason: "toggled when an interrupt is pending but not injectable (without APICv or for ExtINT)",
          isMeasured: false))
    }
    var values = guest
    values["PIN_BASED_VM_EXEC_CONTROL"] = words.word(.pin)
    values["CPU_BASED_VM_EXEC_CONTROL"] = words.word(.primary)
    values["SECONDARY_VM_EXEC_CONTROL"] = words.word(.secondary)
    values["VM_EXIT_CONTROLS"] = words.word(.exit)
    values["VM_ENTRY_CONTROLS"] = words.word(.entry)
    values["GUEST_RIP"] = 0xffff_ffff_81a3_c2d4 &+ tick &* 0x40 &+ UInt64(id) &* 0x1000
    values["GUEST_RFLAGS"] = tick % 2 == 0 ? 0x246 : 0x2
    values["GUEST_GS_BASE"] = 0xffff_8881_3bc0_0000 &+ UInt64(id) &* 0x8_0000
    values["VIRTUAL_PROCESSOR_ID"] = UInt64(id) &+ 1
    if isQuiet { values["GUEST_CR4"] = 0x0037_2ef0 }
    let fields = VMCSField.rows.map { row -> FieldReading in
      let field = StateField(row)
      guard let value = values[row.name] else {
        return FieldReading(field, nil, .unavailable, row.valueWithoutVMREAD ?? "only VMREAD could tell")
      }
      let provenance: Provenance =
        switch row.name {
        case "GUEST_CR3", "GUEST_SS_AR_BYTES", "GUEST_FS_BASE": .stale
        case "PLE_GAP": .configured
        case let name where derived.contains(name): .derived
        default: .measured
        }
      return FieldReading(field, value & field.mask, provenance, "vcpu_vmx.\(row.name.lowercased())")
    }
    var reading = VCPUReading(
      isa: .vmx, pid: pid, vcpuID: id, tid: tid, cpu: Int(id), isNested: isNested, readAt: 1_000_000_000 &* tick,
      fields: fields, words: words, differences: differences, msrBitmap: bitmap)
    reading.others = others(tick)
    if isNested {
      reading.vmcs12 = VMCSField.rows.prefix(150).compactMap { row in
        guest[row.name].map {
          FieldReading(StateField(row), $0, .measured, "vcpu_vmx.nested.cached_vmcs12->\(row.name.lowercased())")
        }
      }
    }
    return reading
  }

  static func others(_ tick: UInt64) -> [FieldReading] {
    func field(
      _ name: String, _ value: UInt64?, width: Int = 64, _ description: String
    ) -> FieldReading {
      FieldReading(
        StateField(kind: .kvm, name: name, width: width, area: .guest, description: description), value,
        value == nil ? .unavailable : .measured,
        value == nil ? "not in this kernel's structures" : "vcpu.arch.\(name.lowercased())")
    }
    let registers = [
      "RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RBP", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15",
    ]
    return registers.enumerated().map { index, name in
      field(name, UInt64(index) &* 0x1111_1111 &+ (name == "RAX" ? tick : 0), "general register \(name)")
    } + [
      field("CR2", 0x7f12_3456_7008, "address of the guest's last page fault"),
      field("CR8", 0, width: 8, "task priority"),
      field("DR0", 0, "address of breakpoint 0"), field("DR6", 0xffff_0ff0, "debug status"),
      field("APIC_TPR", 0, width: 8, "task priority of the APIC page"),
      field("PI_CONTROL", 0x00f2_0000 | 3 << 32, "control part of the posted-interrupt descriptor"),
      field("PENDING_NMI", nil, width: 8, "NMIs that wait"),
    ]
  }

  /// Everything exits but the FS and GS bases, the SYSENTER MSRs and writes of the TSC deadline.
  static let bitmap: [UInt8] = {
    var bytes = [UInt8](repeating: 0xff, count: 4096)
    for (base, msr) in [
      (0, 0x174), (0x800, 0x174), (0, 0x175), (0x800, 0x175), (0, 0x176), (0x800, 0x176), (0x800, 0x6e0), (0, 0x10),
      (0x400, 0x100), (0xc00, 0x100), (0x400, 0x101), (0xc00, 0x101), (0x400, 0x102), (0xc00, 0x102),
    ] {
      bytes[base + msr / 8] &= ~(1 << UInt8(msr % 8))
    }
    return bytes
  }()

  static let vmcb: [(place: UInt32, name: String, width: Int, area: StateField.Area, value: UInt64?, String)] = [
    (0x000, "control.intercepts[0]", 32, .control, 0x0110_0011, "intercepts of CR accesses"),
    (0x004, "control.intercepts[1]", 32, .control, 0, "intercepts of DR accesses"),
    (0x008, "control.intercepts[2]", 32, .control, 0x6_0042, "intercepts of exceptions"),
    (0x00c, "control.intercepts[3]", 32, .control, 0xbd4c_8027, "intercepts of instructions"),
    (0x010, "control.intercepts[4]", 32, .control, 0x207f, "intercepts of instructions"),
    (0x040, "control.iopm_base_pa", 64, .control, 0x1_0450_0000, "address of the I/O permission map"),
    (0x048, "control.msrpm_base_pa", 64, .control, 0x1_0460_0000, "address of the MSR permission map"),
    (0x050, "control.tsc_offset", 64, .control, 0xffff_fd12_3456_789a, "added to the TSC that the guest reads"),
    (0x058, "control.asid", 32, .control, 7, "address-space identifier of the guest"),
    (0x05c, "control.tlb_ctl", 8, .control, 0, "what VMRUN flushes"),
    (0x060, "control.int_ctl", 32, .control, 0x0100_0000, "virtual interrupt control"),
    (0x068, "control.int_state", 32, .control, 0, "interrupt shadow"),
    (0x070, "control.exit_code", 64, .exit, 0x7b, "why the guest exited"),
    (0x078, "control.exit_info_1", 64, .exit, 0x03f8_0211, "first part of what the exit says"),
    (0x080, "control.exit_info_2", 64, .exit, 0x1234, "second part of what the exit says"),
    (0x088, "control.exit_int_info", 64, .exit, 0, "the event that was being delivered"),
    (0x090, "control.nested_ctl", 64, .control, 1, "nested paging"),
    (0x0a8, "control.event_inj", 64, .control, 0, "event to inject"),
    (0x0b0, "control.nested_cr3", 64, .control, 0x1_0a2b_3000, "root of the nested page tables"),
    (0x400, "save.es.selector", 16, .guest, 0, "ES"), (0x402, "save.es.attrib", 16, .guest, 0, "ES"),
    (0x410, "save.cs.selector", 16, .guest, 0x10, "CS"), (0x412, "save.cs.attrib", 16, .guest, 0xa9b, "CS"),
    (0x414, "save.cs.limit", 32, .guest, 0xffff_ffff, "CS"), (0x418, "save.cs.base", 64, .guest, 0, "CS"),
    (0x464, "save.gdtr.limit", 32, .guest, 0x7f, "GDTR"),
    (0x468, "save.gdtr.base", 64, .guest, 0xffff_fe00_0000_1000, "GDTR"),
    (0x4cb, "save.cpl", 8, .guest, 0, "current privilege level"), (0x4d0, "save.efer", 64, .guest, 0x1d01, "IA32_EFER"),
    (0x548, "save.cr4", 64, .guest, 0x37_0ef0, "CR4"), (0x550, "save.cr3", 64, .guest, 0x0280_c000, "CR3"),
    (0x558, "save.cr0", 64, .guest, 0x8005_0033, "CR0"), (0x570, "save.rflags", 64, .guest, 0x246, "RFLAGS"),
    (0x578, "save.rip", 64, .guest, 0xffff_ffff_81a3_c2d4, "instruction pointer"),
    (0x5d8, "save.rsp", 64, .guest, 0xffff_c900_0065_3b40, "stack pointer"),
    (0x5f8, "save.rax", 64, .guest, 0x3f8, "RAX"), (0x640, "save.cr2", 64, .guest, 0, "CR2"),
    (0x668, "save.g_pat", 64, .guest, 0x0007_0406_0007_0406, "IA32_PAT of the guest"),
    (0x670, "save.dbgctl", 64, .guest, nil, "IA32_DEBUGCTL"),
  ]

  public static func svm(tid: Int32, pid: Int32 = 4000, id: UInt32, tick: UInt64) -> VCPUReading {
    let fields = vmcb.map { row -> FieldReading in
      let field = StateField(
        kind: .vmcb, name: row.name, place: row.place, width: row.width, area: row.area, description: row.5)
      let value = row.name == "save.rip" ? row.value.map { $0 &+ tick &* 16 } : row.value
      return FieldReading(
        field, value, value == nil ? .unavailable : .measured,
        value == nil ? "not saved by this processor" : "vcpu_svm.vmcb->\(row.name)")
    }
    var reading = VCPUReading(
      isa: .svm, pid: pid, vcpuID: id, tid: tid, cpu: Int(id), isNested: false, readAt: 1_000_000_000 &* tick,
      fields: fields,
      words: ControlSetting(intercepts: SIMD8(0x0110_0011, 0, 0x6_0042, 0xbd4c_8027, 0x207f, 0, 0, 0)),
      differences: [], msrBitmap: nil)
    reading.others = others(tick).filter { $0.field.name != "PI_CONTROL" && $0.field.name != "RAX" }
    return reading
  }

  /// What a session fills in where these vCPUs are watched.
  public static func fill(
    _ snapshot: inout Snapshot, watched: Set<Int32>, tick: UInt64, isNested: Bool = false, isSVM: Bool = false
  ) {
    snapshot.hostControls = isSVM ? HostControls() : host
    for vm in snapshot.vms {
      for vcpu in vm.vcpus {
        // The guests of odd numbers are those without HLT exits.
        let isQuiet = (vm.number ?? 0) % 2 == 0
        let reading =
          isSVM
          ? svm(tid: vcpu.tid, pid: vm.pid ?? 0, id: vcpu.id ?? 0, tick: tick)
          : vmx(
            tid: vcpu.tid, pid: vm.pid ?? 0, id: vcpu.id ?? 0, tick: tick, isNested: isNested, isQuiet: isQuiet)
        snapshot.controlWords[vcpu.tid] = reading.words
        if watched.contains(vcpu.tid) { snapshot.states[vcpu.tid] = reading }
      }
    }
    if isSVM {
      snapshot.source.backend = "kvm_amd"
      snapshot.source.isa = "svm"
      translate(&snapshot)
    }
  }

  /// The exits of AMD that stand for those of Intel.
  private static let svmCodes: [UInt32: (code: UInt32, control: String)] = [
    49: (0x400, "NPF_RESERVED"), 32: (0x7c, "INTERCEPT_MSR_PROT"), 31: (0x7c, "INTERCEPT_MSR_PROT"),
    12: (0x78, "INTERCEPT_HLT"), 30: (0x7b, "INTERCEPT_IOIO_PROT"), 1: (0x60, "INTERCEPT_INTR"),
    52: (0x60, "INTERCEPT_INTR"), 48: (0x400, "NPF_NOT_PRESENT"), 28: (0x10, "INTERCEPT_CR0_WRITE"),
    10: (0x72, "INTERCEPT_CPUID"), 40: (0x77, "INTERCEPT_PAUSE"), 7: (0x64, "INTERCEPT_VINTR"),
    0: (0x4e, "INTERCEPT_EXCEPTION_14"), 54: (0x89, "INTERCEPT_WBINVD"),
  ]

  private static func translate(_ snapshot: inout Snapshot) {
    for scope in snapshot.scopes.indices {
      var controls: [ControlID: ChargeStatistics] = [:]
      var reasons: [ReasonStatistics] = []
      for reason in snapshot.scopes[scope].reasons {
        guard let (code, name) = svmCodes[reason.code], !reasons.contains(where: { $0.code == code }) else { continue }
        var next = reason
        next.isa = 2
        next.code = code
        next.name = ExitReason.lookup(isa: 2, code: code)?.name ?? ""
        let control = ControlID.lookup(name: name).first ?? ControlID(intercept: code) ?? .unknown
        for index in next.charges.indices { next.charges[index].control = control }
        reasons.append(next)
        controls[control] = ChargeStatistics(control: control, figures: next.charges.first?.figures ?? ExitFigures())
      }
      snapshot.scopes[scope].reasons = reasons
      snapshot.scopes[scope].controls = controls.values.sorted { ($1.count, $0.control) < ($0.count, $1.control) }
      snapshot.scopes[scope].exits = reasons.reduce(0) { $0 + $1.count }
      snapshot.scopes[scope].intervalExits = reasons.reduce(0) { $0 + $1.intervalCount }
    }
    for vm in snapshot.vms.indices {
      for vcpu in snapshot.vms[vm].vcpus.indices {
        snapshot.vms[vm].vcpus[vcpu].lastExit?.exit.isa = .svm
        snapshot.vms[vm].vcpus[vcpu].lastExit?.exit.reason = 0x7b
        snapshot.vms[vm].vcpus[vcpu].lastExit?.exit.info1 = 0x03f8_0210
        snapshot.vms[vm].vcpus[vcpu].lastExit?.exit.info2 = 0xffff_ffff_81a3_c2d5
      }
    }
  }

  /// An answer of the VMM that differs in a register or two.
  public static func vmm(_ reading: VCPUReading) -> VMMReading {
    let fields = reading.fields.filter { ["GUEST_CR3", "GUEST_RIP", "GUEST_CS_SELECTOR"].contains($0.field.name) }
    return VMMReading(
      readAt: reading.readAt,
      fields: fields.map { field in
        FieldReading(
          field.field, field.field.name == "GUEST_CR3" ? 0x0280_d004 : field.value, .measured, "QMP: info registers")
      })
  }
}
