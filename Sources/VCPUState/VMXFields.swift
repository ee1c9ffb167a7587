import Architecture
import KernelMemory

/// Fills the 206 fields of one vCPU from a copy of its `struct vcpu_vmx` and what that points at. What each value is
/// made of: `arch/x86/kvm/vmx/vmx.c` of the kernel that wrote it.
struct VMXFields {
  let layout: VMXLayout
  let core: KernelCore
  let address: UInt64
  let copy: [UInt8]
  let machine: VirtualMachine
  let configuration: VMCSConfiguration
  let pageOffset: UInt64?
  let vmExitHandler: UInt64?
  let hostIDTBase: UInt64?
  let parameters: [String: String]
  /// An MSR of a CPU of the host, through the msr driver.
  let hostMSR: (_ msr: UInt32, _ cpu: Int) -> Result<UInt64, HostMSR.Failure>

  private var loaded: [UInt8] = []
  private var isNested = false
  private var msrBitmap: [UInt8]?
  private var words = ControlSetting()
  private var readings: [UInt32: FieldReading] = [:]

  init(
    layout: VMXLayout, core: KernelCore, address: UInt64, copy: [UInt8], machine: VirtualMachine,
    configuration: VMCSConfiguration, pageOffset: UInt64?, vmExitHandler: UInt64?, hostIDTBase: UInt64?,
    parameters: [String: String],
    hostMSR: @escaping (_ msr: UInt32, _ cpu: Int) -> Result<UInt64, HostMSR.Failure>
  ) {
    self.layout = layout
    self.core = core
    self.address = address
    self.copy = copy
    self.machine = machine
    self.configuration = configuration
    self.pageOffset = pageOffset
    self.vmExitHandler = vmExitHandler
    self.hostIDTBase = hostIDTBase
    self.parameters = parameters
    self.hostMSR = hostMSR
  }

  /// Takes the `struct loaded_vmcs` in force: vmcs01 and vmcs02 are part of the copy.
  mutating func take(loaded pointer: UInt64) -> Bool {
    let offset = pointer &- address
    if offset == UInt64(layout.vmcs01.offset) || layout.vmcs02.map({ offset == UInt64($0.offset) }) ?? false {
      isNested = offset != UInt64(layout.vmcs01.offset)
      guard Int(offset) + layout.loadedSize <= copy.count else { return false }
      loaded = Array(copy[Int(offset)..<Int(offset) + layout.loadedSize])
    } else {
      guard let bytes = core.bytes(at: pointer, count: layout.loadedSize) else { return false }
      loaded = bytes
    }
    if let bitmap = loadedValue("msr_bitmap"), bitmap != 0 { msrBitmap = core.bytes(at: bitmap, count: 4096) }
    return true
  }

  // MARK: Sources

  private func loadedValue(_ name: String) -> UInt64? { layout.loadedValues[name].flatMap { $0.integer(in: loaded) } }

  /// A value of the vCPU: in the copy, or behind a pointer from it.
  private func value(_ name: String) -> UInt64? {
    guard let path = layout.values[name] else { return nil }
    return path.isInline ? path.integer(in: copy) : path.integer(from: address, core)
  }

  private func path(_ name: String) -> String { layout.values[name]?.text ?? name }

  /// Whether KVM's copy is the register's value: it was read since the last exit (`regs_avail`), and the guest has not gone
  /// on since (`kvm_vcpu.mode` is IN_GUEST_MODE or EXITING_GUEST_MODE while it may run).
  private func isCurrent(_ register: String) -> Bool { isAvailable(register) && !isRunning }

  private var isRunning: Bool { value("mode").map { $0 & 3 == 1 || $0 & 3 == 2 } ?? false }

  private func isAvailable(_ register: String) -> Bool {
    guard let position = layout.registers[register], let bits = value("regs_avail") else { return false }
    return bits >> UInt64(position) & 1 == 1
  }

  private func physical(_ virtual: UInt64?) -> UInt64? {
    guard let virtual, let pageOffset, virtual >= pageOffset, virtual - pageOffset < 1 << 52 else { return nil }
    return virtual - pageOffset
  }

  private func isOn(_ parameter: String) -> Bool? {
    parameters[parameter].map { ["Y", "1"].contains($0) }
  }

  // MARK: Putting a field

  private static let byName = Dictionary(
    uniqueKeysWithValues: VMCSField.rows.map { ($0.name, StateField($0)) })

  private mutating func put(_ name: String, _ value: UInt64?, _ provenance: Provenance, _ how: String) {
    guard let field = Self.byName[name], let place = field.place else { return }
    if isNested, provenance == .derived, field.area == .control || field.area == .guest {
      readings[place] = FieldReading(
        field, nil, .unavailable,
        "L2 is current: KVM merges L1's wish with its own, and only VMREAD could tell the result")
      return
    }
    readings[place] =
      value.map { FieldReading(field, $0 & field.mask, provenance, how) }
      ?? FieldReading(field, nil, .unavailable, "\(how): not in this kernel's structures")
  }

  private mutating func unavailable(_ name: String, _ why: String) {
    guard let field = Self.byName[name], let place = field.place else { return }
    readings[place] = FieldReading(field, nil, .unavailable, why)
  }

  /// A field of a feature that a control turns on: without it, it means nothing.
  private mutating func put(
    _ name: String, if isInUse: Bool, _ control: String, _ value: UInt64?, _ provenance: Provenance,
    _ how: String
  ) {
    if isInUse { put(name, value, provenance, how) } else { unavailable(name, "not in use: \(control) is 0") }
  }

  // MARK: The fields

  mutating func reading(readAt: UInt64) -> VCPUReading {
    controlWords()
    controls()
    guestState()
    hostState()
    exitInformation()
    let fields = VMCSField.rows.map { row in readings[row.encoding.rawValue] ?? Self.missing(row) }
    return VCPUReading(
      isa: .vmx, pid: machine.pid, vcpuID: layout.kvm.number(in: copy),
      tid: nil, cpu: cpu,
      isNested: isNested, readAt: readAt, fields: fields, words: words,
      differences: ControlReasons(
        words: words, configuration: configuration.words, machine: machine, hasAPIC: value("apic").map { $0 != 0 },
        isAPICvActive: value("apicv_active") ?? value("apic_apicv_active"),
        switchDebugRegisters: value("switch_db_regs"),
        efer: value("efer"), apicBase: value("apic_base"), currentVMPointer: value("current_vmptr"), isNested: isNested,
        parameters: parameters
      ).differences,
      msrBitmap: msrBitmap)
  }

  /// The CPU it is loaded on.
  private var cpu: Int? { layout.kvm.processor(in: copy) }

  private static func missing(_ field: VMCSField) -> FieldReading {
    let known = field.valueWithoutVMREAD ?? "none"
    let why =
      known.hasPrefix("not used") || known.hasPrefix("not accessible") || known.hasPrefix("TDX")
      ? known
      : known.contains("HMP") ? "only VMREAD could tell, or the VMM (\(known))" : "only VMREAD could tell"
    return FieldReading(StateField(field), nil, .unavailable, why)
  }

  private mutating func controlWords() {
    words = layout.controlWords(in: loaded)
    let shadow = "vcpu_vmx.loaded_vmcs->controls_shadow."
    put("PIN_BASED_VM_EXEC_CONTROL", loadedValue("pin"), .measured, shadow + "pin")
    put("CPU_BASED_VM_EXEC_CONTROL", loadedValue("exec"), .measured, shadow + "exec")
    put("SECONDARY_VM_EXEC_CONTROL", loadedValue("secondary_exec"), .measured, shadow + "secondary_exec")
    put("TERTIARY_VM_EXEC_CONTROL", loadedValue("tertiary_exec"), .measured, shadow + "tertiary_exec")
    put("VM_EXIT_CONTROLS", loadedValue("vm_exit"), .measured, shadow + "vm_exit")
    put("VM_ENTRY_CONTROLS", loadedValue("vm_entry"), .measured, shadow + "vm_entry")
  }

  private func pin(_ bit: UInt32) -> Bool { (words.pin ?? 0) >> bit & 1 == 1 }
  private func primary(_ bit: UInt32) -> Bool { (words.primary ?? 0) >> bit & 1 == 1 }
  private func secondary(_ bit: UInt32) -> Bool { primary(31) && (words.secondary ?? 0) >> bit & 1 == 1 }

  private mutating func controls() {
    put(
      "VIRTUAL_PROCESSOR_ID", if: secondary(5), "SECONDARY_EXEC_ENABLE_VPID", value(isNested ? "vpid02" : "vpid"),
      .measured,
      path(isNested ? "vpid02" : "vpid"))
    put(
      "POSTED_INTR_NV", if: pin(7), "PIN_BASED_POSTED_INTR", 0xf2, .derived,
      "POSTED_INTR_VECTOR, a constant of the kernel")
    put(
      "POSTED_INTR_DESC_ADDR", if: pin(7), "PIN_BASED_POSTED_INTR",
      physical(layout.values["pi_desc"].map { address &+ UInt64($0.offset) }), .derived,
      "physical address of \(path("pi_desc"))")
    put("TSC_OFFSET", value("tsc_offset"), .measured, path("tsc_offset"))
    put(
      "TSC_MULTIPLIER", if: secondary(25), "SECONDARY_EXEC_TSC_SCALING", value("tsc_scaling_ratio"), .measured,
      path("tsc_scaling_ratio"))
    put(
      "MSR_BITMAP", if: primary(28), "CPU_BASED_USE_MSR_BITMAPS", physical(loadedValue("msr_bitmap")), .derived,
      "physical address of *vcpu_vmx.loaded_vmcs->msr_bitmap")
    put(
      "VIRTUAL_APIC_PAGE_ADDR", if: primary(21), "CPU_BASED_TPR_SHADOW", physical(value("apic_page")), .derived,
      "physical address of *\(path("apic_page"))")
    for (index, name) in ["eoi0", "eoi1", "eoi2", "eoi3"].enumerated() {
      put(
        "EOI_EXIT_BITMAP\(index)", if: secondary(9), "SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY", value(name), .derived,
        "\(path(name)), without the vectors of a Hyper-V SynIC")
    }
    for (count, address, name) in [
      ("VM_EXIT_MSR_STORE_COUNT", "VM_EXIT_MSR_STORE_ADDR", "autostore"),
      ("VM_EXIT_MSR_LOAD_COUNT", "VM_EXIT_MSR_LOAD_ADDR", "autoload_host"),
      ("VM_ENTRY_MSR_LOAD_COUNT", "VM_ENTRY_MSR_LOAD_ADDR", "autoload_guest"),
    ] {
      put(count, value(name + "_nr"), .measured, path(name + "_nr"))
      put(
        address, physical(layout.values[name].map { self.address &+ UInt64($0.offset) }), .derived,
        "physical address of \(path(name))")
    }
    extendedPageTables()
    put(
      "PLE_GAP", if: secondary(10), "SECONDARY_EXEC_PAUSE_LOOP_EXITING", parameters["ple_gap"].flatMap { UInt64($0) },
      .configured, "/sys/module/kvm_intel/parameters/ple_gap")
    put(
      "PLE_WINDOW", if: secondary(10), "SECONDARY_EXEC_PAUSE_LOOP_EXITING", value("ple_window"), .measured,
      path("ple_window"))
    put(
      "NOTIFY_WINDOW", if: secondary(31), "SECONDARY_EXEC_NOTIFY_VM_EXITING", machine.notifyWindow, .measured,
      "kvm.arch.notify_window")
    put(
      "LAST_PID_POINTER_INDEX", if: (words.tertiary ?? 0) >> 4 & 1 == 1, "TERTIARY_EXEC_IPI_VIRT",
      machine.maxVCPUIDs.map { $0 &- 1 }, .derived, "kvm.arch.max_vcpu_ids - 1")
    put("XSS_EXIT_BITMAP", if: secondary(20), "SECONDARY_EXEC_ENABLE_XSAVES", 0, .derived, "a constant of KVM's")
    put(
      "VM_FUNCTION_CONTROL", if: secondary(13), "SECONDARY_EXEC_ENABLE_VMFUNC", 0, .derived,
      "a constant of KVM's for L1")
    put("CR3_TARGET_COUNT", 0, .derived, "a constant of KVM's")
    for index in 0..<4 { unavailable("CR3_TARGET_VALUE\(index)", "not in use: CR3_TARGET_COUNT is 0") }
    put("CR0_GUEST_HOST_MASK", value("cr0_owned").map { ~$0 }, .derived, "~\(path("cr0_owned"))")
    put("CR4_GUEST_HOST_MASK", value("cr4_owned").map { ~$0 }, .derived, "~\(path("cr4_owned"))")
    put(
      "CR0_READ_SHADOW", value("cr0"), .derived,
      "\(path("cr0")), as KVM wrote it at the guest's last load; bits that the guest owns may lag")
    put(
      "CR4_READ_SHADOW", value("cr4"), .derived,
      "\(path("cr4")), as KVM wrote it at the guest's last load; bits that the guest owns may lag")
    exceptionBitmap()
  }

  /// construct_eptp().
  private mutating func extendedPageTables() {
    guard secondary(1) else { return unavailable("EPT_POINTER", "not in use: SECONDARY_EXEC_ENABLE_EPT is 0") }
    guard let root = value("root_hpa"), root != .max, root & 0xfff == 0, let level = value("root_level"),
      level == 4 || level == 5
    else { return unavailable("EPT_POINTER", "\(path("root_hpa")) has no root now: it is made at the next VM entry") }
    let accessed: UInt64 = isOn("eptad") == true ? 1 << 6 : 0
    put(
      "EPT_POINTER", root | 6 | (level - 1) << 3 | accessed, .derived,
      "\(path("root_hpa")), write-back, \(level) levels\(accessed == 0 ? "" : ", accessed and dirty flags")")
  }

  /// vmx_update_exception_bitmap(), where nothing but the usual goes into it.
  private mutating func exceptionBitmap() {
    guard secondary(1), secondary(7), value("guest_debug") == 0, !isNested, isOn("allow_smaller_maxphyaddr") != true
    else {
      return unavailable(
        "EXCEPTION_BITMAP",
        "only VMREAD could tell: KVM computes it, and debugging, L2, or the lack of EPT and unrestricted guest go into it"
      )
    }
    put(
      "EXCEPTION_BITMAP", 0x6_0042, .derived,
      "#DB, #UD, #AC, #MC: vmx_update_exception_bitmap() with EPT, without debugging")
    put("PAGE_FAULT_ERROR_CODE_MASK", 0, .derived, "0 unless kvm_intel.allow_smaller_maxphyaddr")
    put("PAGE_FAULT_ERROR_CODE_MATCH", 0, .derived, "0 unless kvm_intel.allow_smaller_maxphyaddr")
  }

  private mutating func guestState() {
    /// A register that KVM re-reads only when it needs it.
    func lazy(_ name: String, _ register: String, _ key: String) {
      put(name, value(key), isCurrent(register) ? .measured : .stale, path(key))
    }
    lazy("GUEST_RSP", "RSP", "rsp")
    lazy("GUEST_RIP", "RIP", "rip")
    lazy("GUEST_RFLAGS", "RFLAGS", "rflags")
    if secondary(1) {
      lazy("GUEST_CR3", "CR3", "cr3")
    } else {
      unavailable("GUEST_CR3", "only VMREAD could tell: without EPT it is the root of KVM's shadow page tables")
    }
    if secondary(7) {
      // vmx_set_cr0(), vmx_set_cr4() with unrestricted guest: NE and VMXE are KVM's, MCE is the host's.
      put(
        "GUEST_CR0", value("cr0").map { $0 & ~0x6000_0000 | 0x20 }, isCurrent("CR0") ? .derived : .stale,
        "\(path("cr0")) without NW and CD, with NE")
      put(
        "GUEST_CR4", value("cr4").map { $0 & ~0x40 | 0x2000 | (loadedValue("host.cr4") ?? 0) & 0x40 },
        isCurrent("CR4") ? .derived : .stale, "\(path("cr4")) with VMXE and the host's MCE")
    } else {
      unavailable("GUEST_CR0", "only VMREAD could tell: without unrestricted guest KVM changes it")
      unavailable("GUEST_CR4", "only VMREAD could tell: without unrestricted guest KVM changes it")
    }
    put("GUEST_IA32_PAT", value("pat"), .measured, path("pat"))
    let efer = value("efer")
    put(
      "GUEST_IA32_EFER", efer.map { $0 & 1 << 10 == 0 ? $0 & ~(1 << 8) : $0 }, .derived,
      "\(path("efer"))\((words.entry ?? 0) >> 15 & 1 == 1 ? "" : "; VM entry does not load it")")
    put(
      "GUEST_IA32_PERF_GLOBAL_CTRL", if: (words.entry ?? 0) >> 13 & 1 == 1, "VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL",
      value("perf_global_ctrl"), .measured, path("perf_global_ctrl"))
    // vmx_set_dr7(); a debugger's breakpoints (KVM_GUESTDBG_USE_HW_BP) take the register over.
    let isDebugged = (value("guest_debug") ?? 0) & 0x2_0000 != 0
    let dr7 = isDebugged ? "guest_debug_dr7" : "dr7"
    if primary(23) {
      put("GUEST_DR7", value(dr7), .measured, path(dr7))
    } else {
      put("GUEST_DR7", value(dr7), .stale, "\(path(dr7)); the guest loads it without an exit now")
    }
    put(
      "VMCS_LINK_POINTER", loadedValue("shadow_vmcs").flatMap { $0 == 0 || !secondary(14) ? .max : physical($0) },
      .derived,
      "all ones, or the shadow VMCS while it is in use")
    for index in 0..<4 {
      if isAvailable("PDPTR"), let first = layout.values["pdptr0"], let place = first.address(from: address, core),
        let entry: UInt64 = core.integer(at: place &+ UInt64(8 * index))
      {
        put("GUEST_PDPTR\(index)", entry, isRunning ? .stale : .measured, "\(first.text) + \(8 * index)")
      } else {
        unavailable("GUEST_PDPTR\(index)", "KVM has not read it: it does only for a guest with PAE paging")
      }
    }
    segments()
  }

  private mutating func segments() {
    let cached = layout.segmentCacheBits.flatMap { $0.integer(in: copy) } ?? 0
    let isFresh = (isAvailable("SEGMENTS") || layout.registers["SEGMENTS"] == nil) && !isRunning
    for (index, name) in ["ES", "CS", "SS", "DS", "FS", "GS", "TR", "LDTR"].enumerated()
    where index < layout.segments.count {
      let segment = layout.segments[index]
      for (field, suffix, path) in [
        (0, "SELECTOR", segment.selector), (1, "BASE", segment.base), (2, "LIMIT", segment.limit),
        (3, "AR_BYTES", segment.rights),
      ] {
        let full = "GUEST_\(name)_\(suffix)"
        if cached >> UInt64(index * 4 + field) & 1 == 1 {
          put(full, path.integer(in: copy), isFresh ? .measured : .stale, path.text)
        } else {
          unavailable(full, "KVM has not read it since the guest ran: only VMREAD could tell, or the VMM")
        }
      }
    }
  }

  private mutating func hostState() {
    put("HOST_CS_SELECTOR", 0x10, .derived, "__KERNEL_CS")
    put("HOST_SS_SELECTOR", 0x18, .derived, "__KERNEL_DS")
    put("HOST_DS_SELECTOR", 0, .derived, "0 on 64-bit kernels")
    put("HOST_ES_SELECTOR", 0, .derived, "0 on 64-bit kernels")
    put("HOST_TR_SELECTOR", 0x40, .derived, "GDT_ENTRY_TSS * 8")
    let state = "vcpu_vmx.loaded_vmcs->host_state."
    let isLoaded = value("guest_state_loaded").map { $0 & 0xff != 0 }
    for (field, name) in [
      ("HOST_FS_SELECTOR", "fs_sel"), ("HOST_GS_SELECTOR", "gs_sel"), ("HOST_CR3", "cr3"), ("HOST_CR4", "cr4"),
      ("HOST_FS_BASE", "fs_base"), ("HOST_GS_BASE", "gs_base"), ("HOST_RSP", "rsp"),
    ] { put(field, loadedValue("host." + name), isLoaded == false ? .stale : .measured, state + name) }
    put("HOST_RIP", vmExitHandler, .derived, "the symbol vmx_vmexit")
    put("HOST_IDTR_BASE", hostIDTBase, .measured, "the variable host_idt_base of kvm_intel")
    for (field, msr, name) in [
      ("HOST_IA32_PAT", UInt32(0x277), "IA32_PAT"), ("HOST_IA32_EFER", 0xc000_0080, "IA32_EFER"),
      ("HOST_IA32_SYSENTER_CS", 0x174, "IA32_SYSENTER_CS"), ("HOST_IA32_SYSENTER_ESP", 0x175, "IA32_SYSENTER_ESP"),
      ("HOST_IA32_SYSENTER_EIP", 0x176, "IA32_SYSENTER_EIP"),
    ] {
      guard let cpu else {
        unavailable(field, "the vCPU is loaded on no CPU, whose \(name) it would be")
        continue
      }
      switch hostMSR(msr, cpu) {
      case .success(let value): put(field, value, .derived, "\(name) of CPU \(cpu), now")
      case .failure(let failure): unavailable(field, failure.description)
      }
    }
    put("HOST_SSP", 0, .derived, "0 in KVM")
    put("HOST_INTR_SSP_TABLE", 0, .derived, "0 in KVM")
  }

  private mutating func exitInformation() {
    put("VM_EXIT_REASON", value("exit_reason"), .measured, path("exit_reason"))
    put("IDT_VECTORING_INFO_FIELD", value("idt_vectoring_info"), .measured, path("idt_vectoring_info"))
    put(
      "EXIT_QUALIFICATION", value("exit_qualification"), isAvailable("EXIT_INFO_1") ? .measured : .stale,
      path("exit_qualification"))
    put(
      "VM_EXIT_INTR_INFO", value("exit_intr_info"), isAvailable("EXIT_INFO_2") ? .measured : .stale,
      path("exit_intr_info"))
  }
}
