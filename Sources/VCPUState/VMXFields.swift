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
  let host: VMXHost
  let pageOffset: UInt64?
  let vmExitHandler: UInt64?
  let hostIDTBase: UInt64?
  let parameters: [String: String]
  /// An MSR of a CPU of the host, through the msr driver.
  let hostMSR: (_ msr: UInt32, _ cpu: Int) -> Result<UInt64, KernelMemoryError>

  /// What was read of this vCPU so far: nothing is read twice.
  let memory: BlockCache
  private(set) var isNested = false
  private(set) var words = ControlSetting()
  /// Nil where the VMM emulates the APIC.
  private(set) var apicPage: VirtualAPICPage?
  private var loaded: [UInt8] = []
  private var msrBitmap: [UInt8]?
  private var readings: [UInt32: FieldReading] = [:]

  init(
    layout: VMXLayout, core: KernelCore, address: UInt64, copy: [UInt8], machine: VirtualMachine,
    configuration: VMCSConfiguration, host: VMXHost, pageOffset: UInt64?, vmExitHandler: UInt64?,
    hostIDTBase: UInt64?, parameters: [String: String],
    hostMSR: @escaping (_ msr: UInt32, _ cpu: Int) -> Result<UInt64, KernelMemoryError>
  ) {
    self.layout = layout
    self.core = core
    self.address = address
    self.copy = copy
    self.machine = machine
    self.configuration = configuration
    self.host = host
    self.pageOffset = pageOffset
    self.vmExitHandler = vmExitHandler
    self.hostIDTBase = hostIDTBase
    self.parameters = parameters
    self.hostMSR = hostMSR
    memory = BlockCache(core)
    memory.add(copy, at: address)
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
    if let page = value("apic_page"), page != 0 { apicPage = VirtualAPICPage(at: page, core) }
    return true
  }

  // MARK: Sources

  func loadedValue(_ name: String) -> UInt64? { layout.loadedValues[name].flatMap { $0.integer(in: loaded) } }

  /// A value of the vCPU: in the copy, or behind a pointer from it.
  func value(_ name: String) -> UInt64? {
    guard let path = layout.values[name] else { return nil }
    return path.isInline ? path.integer(in: copy) : path.integer(from: address, memory)
  }

  func path(_ name: String) -> String { layout.values[name]?.text ?? name }

  /// Whether KVM's copy is the register's value: it was read since the last exit (`regs_avail`), and the guest has not gone
  /// on since (`kvm_vcpu.mode` is IN_GUEST_MODE or EXITING_GUEST_MODE while it may run).
  func isCurrent(_ register: String) -> Bool { isAvailable(register) && !isRunning }

  var isRunning: Bool { value("mode").map { $0 & 3 == 1 || $0 & 3 == 2 } ?? false }

  func isAvailable(_ register: String) -> Bool {
    guard let position = layout.registers[register], let bits = value("regs_avail") else { return false }
    return bits >> UInt64(position) & 1 == 1
  }

  /// False where the VMM emulates the APIC.
  var hasAPIC: Bool? { value("apic").map { $0 != 0 } }

  /// `apicv_active` of the APIC, or of the vCPU before 6.2.
  var isAPICvActive: Bool? { (value("apicv_active") ?? value("apic_apicv_active")).map { $0 & 0xff != 0 } }

  var apicvActivePath: String { path(layout.values["apicv_active"] == nil ? "apic_apicv_active" : "apicv_active") }

  /// The CPUID leaves that the VMM gave it.
  private func guestCPUID() -> GuestCPUID? {
    guard let entries = value("cpuid_entries"), let count = value("cpuid_count") else { return nil }
    return GuestCPUID(at: entries, count: count & 0xffff_ffff, core)
  }

  private func physical(_ virtual: UInt64?) -> UInt64? {
    guard let virtual, let pageOffset, virtual >= pageOffset, virtual - pageOffset < 1 << 52 else { return nil }
    return virtual - pageOffset
  }

  func isOn(_ parameter: String) -> Bool? {
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
    let fields = VMCSField.rows.map { row in readings[row.encoding.rawValue] ?? missing(row) }
    let nested = nestedVMCS()
    var result = VCPUReading(
      isa: .vmx, pid: machine.pid, vcpuID: layout.kvm.number(in: copy),
      tid: nil, cpu: cpu,
      isNested: isNested, readAt: readAt, fields: fields, words: words,
      differences: differences(nested), msrBitmap: msrBitmap)
    result.others = kept()
    result.vmcs12 = nested
    return result
  }

  private func differences(_ nested: [FieldReading]?) -> [ControlDifference] {
    var reasons = ControlReasons(words: words, configuration: configuration.words, isNested: isNested)
    reasons.machine = machine
    reasons.parameters = parameters
    reasons.hasAPIC = hasAPIC
    reasons.isAPICvActive = isAPICvActive
    reasons.hasRequestedInterrupts = apicPage.map { $0.highestRequested != nil }
    for (path, key) in [
      (\ControlReasons.switchDebugRegisters, "switch_db_regs"), (\.efer, "efer"), (\.cr4, "cr4"),
      (\.apicBase, "apic_base"), (\.currentVMPointer, "current_vmptr"), (\.pendingNMIs, "nmi_pending"),
      (\.vpid, "vpid"),
    ] { reasons[keyPath: path] = value(key) }
    reasons.hostEFER = host.efer?.value
    reasons.notifyFlags = layout.places.notifyFlags?.integer(from: machine.address, memory)
    reasons.nestedWords = nested.map(nestedWords)
    reasons.readCPUID = guestCPUID
    return reasons.differences
  }

  /// The CPU it is loaded on.
  private var cpu: Int? { layout.kvm.processor(in: copy) }

  /// The CPU that its VMCS was loaded on last, and that its host state is of; nil where that is none any more.
  private var loadedCPU: Int? {
    guard let number = loadedValue("cpu").map({ Int32(truncatingIfNeeded: $0) }), number >= 0 else { return nil }
    return Int(number)
  }

  private func missing(_ field: VMCSField) -> FieldReading {
    let known = field.valueWithoutVMREAD ?? "none"
    let general =
      known.hasPrefix("not used") || known.hasPrefix("not accessible") || known.hasPrefix("TDX")
      ? known
      : known.contains("HMP") ? "only VMREAD could tell, or the VMM (\(known))" : "only VMREAD could tell"
    let why = Self.reasons[field.name] ?? general
    return FieldReading(StateField(field), nil, .unavailable, why)
  }

  /// Why there is no value, where more can be said than that only VMREAD could tell.
  private static let reasons: [String: String] = {
    var result: [String: String] = [
      "GUEST_INTERRUPTIBILITY_INFO":
        "only VMREAD could tell, or the VMM in part (KVM_GET_VCPU_EVENTS, II= of info registers)",
      "GUEST_PENDING_DBG_EXCEPTIONS": "only VMREAD could tell: KVM keeps no copy",
      "GUEST_IA32_DEBUGCTL": "only VMREAD could tell, or the VMM (KVM_GET_MSRS)",
      "GUEST_PHYSICAL_ADDRESS": "only VMREAD could tell, or the tracepoints kvm_page_fault and kvm_mmio",
      "VM_EXIT_INTR_ERROR_CODE": "only VMREAD could tell, or the tracepoint kvm_exit",
      "IDT_VECTORING_ERROR_CODE": "only VMREAD could tell: KVM keeps no copy",
      "VM_ENTRY_INTR_INFO_FIELD":
        "only VMREAD could tell: each exit clears its valid bit, and KVM writes it when it delivers (kvm_inj_virq, "
        + "kvm_inj_exception)",
      "VM_ENTRY_EXCEPTION_ERROR_CODE": "only VMREAD could tell, or the tracepoint kvm_inj_exception",
      "VM_ENTRY_INSTRUCTION_LEN": "only VMREAD could tell: written only when a software event is delivered",
    ]
    for name in ["GUEST_SYSENTER_CS", "GUEST_SYSENTER_ESP", "GUEST_SYSENTER_EIP"] {
      result[name] = "only VMREAD could tell, or the VMM (KVM_GET_MSRS): the guest writes the MSR without an exit"
    }
    return result
  }()

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
    // init_vmcs() writes both where APICv may be used at all, whether or not it is active now.
    if isOn("enable_apicv") == true, hasAPIC == true {
      put("POSTED_INTR_NV", 0xf2, .derived, "POSTED_INTR_VECTOR, a constant of the kernel")
      put(
        "POSTED_INTR_DESC_ADDR", physical(layout.values["pi_desc"].map { address &+ UInt64($0.offset) }), .derived,
        "physical address of \(path("pi_desc"))")
    } else {
      for name in ["POSTED_INTR_NV", "POSTED_INTR_DESC_ADDR"] {
        unavailable(name, "not in use: PIN_BASED_POSTED_INTR is 0")
      }
    }
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
    if !secondary(0) {
      unavailable("APIC_ACCESS_ADDR", "not in use: SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES is 0")
    } else if let page = host.apicAccessPage(
      of: machine.address, hasFiveLevels: (loadedValue("host.cr4") ?? 0) >> 12 & 1 == 1, memory)
    {
      put("APIC_ACCESS_ADDR", page, .derived, "the page of the VMM that KVM's memory slot for 0xfee00000 has now")
    } else {
      unavailable(
        "APIC_ACCESS_ADDR", "KVM's memory slot for 0xfee00000 has no page now, or is not in this kernel's structures")
    }
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
      "LAST_PID_POINTER_INDEX", if: tertiary(4), "TERTIARY_EXEC_IPI_VIRT",
      machine.maxVCPUIDs.map { $0 &- 1 }, .derived, "kvm.arch.max_vcpu_ids - 1")
    put(
      "PID_POINTER_TABLE", if: tertiary(4), "TERTIARY_EXEC_IPI_VIRT",
      physical(layout.places.pidTable?.integer(from: machine.address, memory)), .derived,
      "physical address of *kvm_vmx.pid_table")
    put(
      "VE_INFORMATION_ADDRESS", if: secondary(18), "SECONDARY_EXEC_EPT_VIOLATION_VE", physical(value("ve_info")),
      .derived, "physical address of *\(path("ve_info"))")
    pageModificationLog()
    shadowing()
    taskPriority()
    preemptionTimer()
    enclaves()
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

  /// vmx_update_exception_bitmap().
  private mutating func exceptionBitmap() {
    let names = ["EXCEPTION_BITMAP", "PAGE_FAULT_ERROR_CODE_MASK", "PAGE_FAULT_ERROR_CODE_MATCH"]
    guard !isNested, isOn("allow_smaller_maxphyaddr") != true, let debug = value("guest_debug") else {
      for name in names {
        unavailable(name, "only VMREAD could tell: KVM computes it, and L2 or allow_smaller_maxphyaddr go into it")
      }
      return
    }
    // #DB, #UD, #AC, #MC.
    var bitmap: UInt64 = 0x6_0042
    var how = "#DB, #UD, #AC, #MC"
    func add(_ vector: UInt64, _ name: String, _ why: String) {
      bitmap |= 1 << vector
      how += ", \(name) (\(why))"
    }
    if !secondary(1) { add(14, "#PF", "no EPT") }
    // KVM_GUESTDBG_ENABLE and KVM_GUESTDBG_USE_SW_BP.
    if debug & 0x1_0001 == 0x1_0001 { add(3, "#BP", "a debugger uses software breakpoints") }
    if host.hasVMwareBackdoor {
      add(13, "#GP", "kvm.enable_vmware_backdoor=Y")
    }
    if value("xfd_no_write_intercept").map({ $0 & 0xff != 0 }) ?? false { add(7, "#NM", "IA32_XFD is the guest's") }
    if let information = value("ve_info"), information != 0 { add(20, "#VE", "CONFIG_KVM_INTEL_PROVE_VE") }
    if !secondary(7), value("vm86_active").map({ $0 & 0xff != 0 || $0 & 0xffff_ffff != 0 }) ?? false {
      bitmap = 0xffff_ffff
      how = "all: real mode without unrestricted guest"
      if secondary(1) {
        bitmap &= ~(1 << 14)
        how += ", #PF is left to EPT"
      }
    }
    put("EXCEPTION_BITMAP", bitmap, .derived, "vmx_update_exception_bitmap(): \(how)")
    for name in names.dropFirst() { put(name, 0, .derived, "0 unless kvm_intel.allow_smaller_maxphyaddr") }
  }

  private func tertiary(_ bit: UInt32) -> Bool { primary(17) && (words.tertiary ?? 0) >> UInt64(bit) & 1 == 1 }

  /// init_vmcs() and vmx_flush_pml_buffer(): the fields are written whether or not the control is on now.
  private mutating func pageModificationLog() {
    guard isOn("pml") == true else {
      for name in ["PML_ADDRESS", "GUEST_PML_INDEX"] { unavailable(name, "not in use: kvm_intel.pml=N") }
      return
    }
    if let page = value("pml_page"), page >= 0xff00_0000_0000_0000 {
      put("PML_ADDRESS", host.physical(page: page), .derived, "physical address of the page \(path("pml_page"))")
    } else {
      unavailable("PML_ADDRESS", "\(path("pml_page")): not in this kernel's structures")
    }
    if secondary(17) {
      unavailable("GUEST_PML_INDEX", "only VMREAD could tell: the processor counts it down as the guest writes pages")
    } else {
      put(
        "GUEST_PML_INDEX", 511, .derived,
        "the whole log is free: vmx_flush_pml_buffer() at the exit, and no logging now")
    }
  }

  /// nested_vmx_set_vmcs_shadowing_bitmap(), by init_vmcs().
  private mutating func shadowing() {
    guard isOn("nested") == true, isOn("enable_shadow_vmcs") == true else {
      for name in ["VMREAD_BITMAP", "VMWRITE_BITMAP"] {
        unavailable(name, "not in use: kvm_intel.nested or kvm_intel.enable_shadow_vmcs is N")
      }
      return
    }
    put("VMREAD_BITMAP", physical(host.vmreadBitmap), .derived, "physical address of vmx_bitmap[0] of kvm_intel")
    put("VMWRITE_BITMAP", physical(host.vmwriteBitmap), .derived, "physical address of vmx_bitmap[1] of kvm_intel")
  }

  /// update_cr8_intercept() and vmx_set_rvi(), vmx_hwapic_isr_update().
  private mutating func taskPriority() {
    let inService = apicPage.map { $0.highestInService ?? 0 }
    let requested = apicPage.map { $0.highestRequested ?? 0 }
    if secondary(9) {
      if let inService, let requested, layout.values["apic_page"] != nil {
        put(
          "GUEST_INTR_STATUS", UInt64(inService) << 8 | UInt64(requested), .derived,
          "SVI and RVI: the highest vectors of ISR and IRR in \(path("apic_page"))")
      } else {
        unavailable("GUEST_INTR_STATUS", "\(path("apic_page")) could not be read")
      }
    } else {
      unavailable("GUEST_INTR_STATUS", "not in use: SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY is 0")
    }
    guard primary(21), let apicPage else {
      return unavailable("TPR_THRESHOLD", "not in use: CPU_BASED_TPR_SHADOW is 0")
    }
    if isAPICvActive == true {
      return put("TPR_THRESHOLD", 0, .derived, "0: KVM sets it only while APICv is not active")
    }
    // KVM_REQ_EVENT, bit 14: it is computed anew at the next VM entry.
    guard let requests = value("requests"), requests >> 14 & 1 == 0 else {
      return unavailable("TPR_THRESHOLD", "KVM computes it anew at the next VM entry (KVM_REQ_EVENT)")
    }
    let vector = value("vapic_addr").map { $0 == 0 ? apicPage.highestRequested : nil } ?? apicPage.highestRequested
    guard let vector else {
      return put("TPR_THRESHOLD", 0, .derived, "update_cr8_intercept(): no interrupt is requested")
    }
    if apicPage.taskPriority >> 4 & 0xf < vector >> 4 {
      put("TPR_THRESHOLD", 0, .derived, "update_cr8_intercept(): the TPR does not hold the highest vector of IRR back")
    } else {
      unavailable(
        "TPR_THRESHOLD",
        "only VMREAD could tell: 0, or the class of the highest vector of IRR if the guest raised its TPR before")
    }
  }

  /// vmx_update_hv_timer().
  private mutating func preemptionTimer() {
    guard pin(6) else {
      return unavailable("VMX_PREEMPTION_TIMER_VALUE", "not in use: PIN_BASED_VMX_PREEMPTION_TIMER is 0")
    }
    if loadedValue("hv_timer_soft_disabled").map({ $0 & 1 == 1 }) ?? false {
      put(
        "VMX_PREEMPTION_TIMER_VALUE", 0xffff_ffff, .derived,
        "all ones: vcpu_vmx.loaded_vmcs->hv_timer_soft_disabled is 1, no deadline is armed")
    } else {
      unavailable(
        "VMX_PREEMPTION_TIMER_VALUE",
        "only VMREAD could tell: counted at the last VM entry, from its TSC to vcpu_vmx.hv_deadline_tsc")
    }
  }

  /// vmx_write_encls_bitmap().
  private mutating func enclaves() {
    guard secondary(15) else {
      return unavailable("ENCLS_EXITING_BITMAP", "not in use: SECONDARY_EXEC_ENCLS_EXITING is 0")
    }
    // Locked, and SGX enabled, in IA32_FEATURE_CONTROL.
    let isEnabled = value("feature_control").map { $0 & 0x4_0001 == 0x4_0001 }
    if isEnabled == false {
      put("ENCLS_EXITING_BITMAP", .max, .derived, "all ones: SGX is off in \(path("feature_control"))")
    } else if let cpuid = guestCPUID(), !cpuid.has(.sgx) {
      put("ENCLS_EXITING_BITMAP", .max, .derived, "all ones: the guest's CPUID has no SGX")
    } else {
      unavailable(
        "ENCLS_EXITING_BITMAP", "only VMREAD could tell: the guest has SGX, and the host's features go into it")
    }
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
    controlRegisters()
    put("GUEST_IA32_PAT", value("pat"), .measured, path("pat"))
    // update_transition_efer()
    let efer = value("efer").map { secondary(1) ? $0 : $0 | 1 << 11 }
    put(
      "GUEST_IA32_EFER", efer.map { $0 & 1 << 10 == 0 ? $0 & ~(1 << 8) : $0 }, .derived,
      "\(path("efer"))\(entry(15) ? "" : "; VM entry does not load it: it equals the host's")")
    performanceCounters()
    put(
      "GUEST_IA32_RTIT_CTL", if: entry(18), "VM_ENTRY_LOAD_IA32_RTIT_CTL", value("pt_ctl"), .measured, path("pt_ctl"))
    if !entry(16) { unavailable("GUEST_BNDCFGS", "not in use: VM_ENTRY_LOAD_BNDCFGS is 0") }
    if !entry(20) {
      for name in ["GUEST_S_CET", "GUEST_SSP", "GUEST_INTR_SSP_TABLE"] {
        unavailable(name, "not in use: VM_ENTRY_LOAD_CET_STATE is 0")
      }
    }
    // A vCPU in HLT state does not exit, and KVM puts none into another (vmx_clear_hlt() undoes the one).
    if primary(7) {
      put("GUEST_ACTIVITY_STATE", 0, .derived, "active: HLT exits, and KVM waits in vcpu.arch.mp_state")
    } else {
      unavailable("GUEST_ACTIVITY_STATE", "only VMREAD could tell: HLT does not exit, so that the guest may be in it")
    }
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
      if isAvailable("PDPTR"), let first = layout.values["pdptr0"], let place = first.address(from: address, memory),
        let entry: UInt64 = memory.integer(at: place &+ UInt64(8 * index))
      {
        put("GUEST_PDPTR\(index)", entry, isRunning ? .stale : .measured, "\(first.text) + \(8 * index)")
      } else {
        unavailable("GUEST_PDPTR\(index)", "KVM has not read it: it does only for a guest with PAE paging")
      }
    }
    segments()
  }

  private func entry(_ bit: UInt32) -> Bool { (words.entry ?? 0) >> bit & 1 == 1 }
  private func exit(_ bit: UInt32) -> Bool { (words.exit ?? 0) >> bit & 1 == 1 }

  /// vmx_set_cr0() and vmx_set_cr4(): what the guest thinks it has, and what KVM adds or takes away. NE and VMXE are always
  /// on, NW and CD off, MCE is the host's.
  private mutating func controlRegisters() {
    let hasEPT = secondary(1)
    let isUnrestricted = secondary(7)
    let isReal = !isUnrestricted && value("vm86_active").map { $0 & 0xffff_ffff != 0 } ?? false
    put(
      "GUEST_CR0",
      value("cr0").map { cr0 in
        cr0 & ~0x6000_0000 | 0x20 | (isUnrestricted ? 0 : 0x8000_0001) | (isUnrestricted || hasEPT ? 0 : 0x1_0000)
      }, isCurrent("CR0") ? .derived : .stale,
      "\(path("cr0")) without NW and CD, with NE\(isUnrestricted ? "" : hasEPT ? ", PG and PE" : ", PG, PE and WP")")
    let machineCheck = (loadedValue("host.cr4") ?? 0) & 0x40
    let isPaging = value("cr0").map { $0 >> 31 & 1 == 1 } ?? true
    put(
      "GUEST_CR4",
      value("cr4").map { cr4 in
        var real = cr4 & ~0x40 | 0x2000 | machineCheck
        // UMIP is emulated while descriptor-table exiting is on.
        if secondary(2) { real &= ~0x800 }
        if isUnrestricted { return real }
        real |= isReal ? 0x21 : 0x20
        if hasEPT, !isPaging { real = real & ~0x20 | 0x10 } else if hasEPT, cr4 & 0x20 == 0 { real &= ~0x20 }
        return isPaging ? real : real & ~0x70_0000
      }, isCurrent("CR4") ? .derived : .stale,
      "\(path("cr4")) with VMXE and the host's MCE\(isUnrestricted ? "" : ", as paging wants it")")
  }

  /// The counters' switch: perf computes both at each entry, except with a mediated PMU, whose exits save the guest's.
  private mutating func performanceCounters() {
    let computed = "only VMREAD could tell: perf computes it at each VM entry (perf_guest_get_msrs())"
    if !entry(13) {
      unavailable("GUEST_IA32_PERF_GLOBAL_CTRL", "not in use: VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL is 0")
    } else if exit(30) {
      put(
        "GUEST_IA32_PERF_GLOBAL_CTRL", value("perf_global_ctrl"), isRunning ? .stale : .measured,
        path("perf_global_ctrl"))
    } else {
      unavailable("GUEST_IA32_PERF_GLOBAL_CTRL", computed)
    }
    unavailable(
      "HOST_IA32_PERF_GLOBAL_CTRL", exit(12) ? computed : "not in use: VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL is 0")
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
    put("HOST_CR0", 0x8005_0033, .derived, "CR0_STATE: the constant that the kernel loads at boot and keeps")
    // KVM writes a field only where it differs from the copy, so that the copy is what the VMCS has (vmx_set_host_fs_gs(),
    // vmx_vcpu_run(), vmx_update_host_rsp()).
    let state = "vcpu_vmx.loaded_vmcs->host_state."
    for (field, name) in [
      ("HOST_CR3", "cr3"), ("HOST_CR4", "cr4"), ("HOST_FS_BASE", "fs_base"), ("HOST_GS_BASE", "gs_base"),
      ("HOST_RSP", "rsp"),
    ] { put(field, loadedValue("host." + name), .measured, state + name) }
    for (field, name) in [("HOST_FS_SELECTOR", "fs_sel"), ("HOST_GS_SELECTOR", "gs_sel")] {
      // VM entry refuses a selector with RPL or TI: KVM writes 0 then.
      let selector = loadedValue("host." + name)
      if let selector, selector & 7 != 0 {
        put(field, 0, .derived, "0: \(state)\(name) is 0x\(String(selector, radix: 16)), which VM entry would refuse")
      } else {
        put(field, selector, .measured, state + name)
      }
    }
    descriptorTables()
    put("HOST_RIP", vmExitHandler, .derived, "the symbol vmx_vmexit")
    put("HOST_IDTR_BASE", hostIDTBase, .measured, "the variable host_idt_base of kvm_intel")
    for (field, msr, name) in [
      ("HOST_IA32_PAT", UInt32(0x277), "IA32_PAT"), ("HOST_IA32_SYSENTER_CS", 0x174, "IA32_SYSENTER_CS"),
      ("HOST_IA32_SYSENTER_ESP", 0x175, "IA32_SYSENTER_ESP"), ("HOST_IA32_SYSENTER_EIP", 0x176, "IA32_SYSENTER_EIP"),
    ] {
      // All but the stack pointer are the same on all CPUs.
      guard let cpu = loadedCPU ?? cpu ?? (msr == 0x175 ? nil : 0) else {
        unavailable(field, "the vCPU's VMCS is loaded on no CPU, whose \(name) it would be")
        continue
      }
      switch hostMSR(msr, cpu) {
      case .success(let value): put(field, value, .derived, "\(name) of CPU \(cpu), now")
      case .failure(let failure): unavailable(field, failure.description)
      }
    }
    if let efer = host.efer {
      put("HOST_IA32_EFER", efer.value, .measured, efer.how)
    } else {
      switch hostMSR(0xc000_0080, loadedCPU ?? 0) {
      case .success(let value): put("HOST_IA32_EFER", value, .derived, "IA32_EFER of CPU \(loadedCPU ?? 0), now")
      case .failure(let failure): unavailable("HOST_IA32_EFER", failure.description)
      }
    }
    let control = "VM_EXIT_LOAD_CET_STATE"
    put("HOST_S_CET", if: exit(28), control, host.supervisorCET, .measured, "kvm_host.s_cet")
    put("HOST_SSP", if: exit(28), control, 0, .derived, "0 in KVM")
    put("HOST_INTR_SSP_TABLE", if: exit(28), control, 0, .derived, "0 in KVM")
  }

  private mutating func descriptorTables() {
    let names = ["HOST_TR_BASE", "HOST_GDTR_BASE"]
    guard let loadedCPU else {
      for name in names { unavailable(name, "the vCPU's VMCS is loaded on no CPU, whose it would be") }
      return
    }
    guard let bases = host.descriptorBases(cpu: loadedCPU, memory) else {
      for name in names { unavailable(name, "the variables __per_cpu_offset and gdt_page of the kernel do not tell") }
      return
    }
    put("HOST_TR_BASE", bases.task, .measured, "the TSS descriptor in gdt_page of CPU \(loadedCPU)")
    put(
      "HOST_GDTR_BASE", bases.table, .derived,
      "the GDT in the cpu_entry_area of CPU \(loadedCPU), which has the TSS too (get_cpu_gdt_ro())")
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
    // KVM_EXIT_FAIL_ENTRY, 9: the VMX instruction failed, and KVM told the VMM of the error.
    if value("fail").map({ $0 & 0xff != 0 }) ?? false, value("run_exit_reason") == 9 {
      put("VM_INSTRUCTION_ERROR", value("run_failure"), .measured, path("run_failure"))
    } else {
      unavailable(
        "VM_INSTRUCTION_ERROR", "only VMREAD could tell: KVM reads it only after a VMX instruction that failed")
    }
  }
}
