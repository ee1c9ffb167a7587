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

  private static let byEncoding = Dictionary(
    uniqueKeysWithValues: VMCSField.rows.map { ($0.encoding, StateField($0)) })

  private mutating func put(_ name: VMCSEncoding, _ value: UInt64?, _ provenance: Provenance, _ how: String) {
    guard let field = Self.byEncoding[name], let place = field.place else { return }
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

  private mutating func unavailable(_ name: VMCSEncoding, _ why: String) {
    guard let field = Self.byEncoding[name], let place = field.place else { return }
    readings[place] = FieldReading(field, nil, .unavailable, why)
  }

  /// A field of a feature that a control turns on: without it, it means nothing.
  private mutating func put(
    _ name: VMCSEncoding, if control: ControlID, _ value: UInt64?, _ provenance: Provenance, _ how: String
  ) {
    if isSet(control) { put(name, value, provenance, how) } else { notInUse(name, control) }
  }

  private mutating func notInUse(_ name: VMCSEncoding, _ control: ControlID) {
    unavailable(name, "not in use: \(control.name) is 0")
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
    result.others = softwareState()
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
    let general =
      switch field.withoutVMREAD {
      case .unused(let text): text
      case .vmm(let text): "only VMREAD could tell, or the VMM (\(text))"
      case .elsewhere, nil: "only VMREAD could tell"
      }
    let why = Self.reasons[field.encoding] ?? general
    return FieldReading(StateField(field), nil, .unavailable, why)
  }

  /// Why there is no value, where more can be said than that only VMREAD could tell.
  private static let reasons: [VMCSEncoding: String] = {
    var result: [VMCSEncoding: String] = [
      .guestInterruptibilityInfo:
        "only VMREAD could tell, or the VMM in part (KVM_GET_VCPU_EVENTS, II= of info registers)",
      .guestPendingDbgExceptions: "only VMREAD could tell: KVM keeps no copy",
      .guestIA32DEBUGCTL: "only VMREAD could tell, or the VMM (KVM_GET_MSRS)",
      .guestPhysicalAddress: "only VMREAD could tell, or the tracepoints kvm_page_fault and kvm_mmio",
      .vmExitIntrErrorCode: "only VMREAD could tell, or the tracepoint kvm_exit",
      .idtVectoringErrorCode: "only VMREAD could tell: KVM keeps no copy",
      .vmEntryIntrInfoField:
        "only VMREAD could tell: each exit clears its valid bit, and KVM writes it when it delivers (kvm_inj_virq, "
        + "kvm_inj_exception)",
      .vmEntryExceptionErrorCode: "only VMREAD could tell, or the tracepoint kvm_inj_exception",
      .vmEntryInstructionLen: "only VMREAD could tell: written only when a software event is delivered",
    ]
    for name in [VMCSEncoding.guestSYSENTERCS, .guestSYSENTERESP, .guestSYSENTEREIP] {
      result[name] = "only VMREAD could tell, or the VMM (KVM_GET_MSRS): the guest writes the MSR without an exit"
    }
    return result
  }()

  private mutating func controlWords() {
    words = layout.controlWords(in: loaded)
    let shadow = "vcpu_vmx.loaded_vmcs->controls_shadow."
    put(.pinBasedVMExecControl, loadedValue("pin"), .measured, shadow + "pin")
    put(.cpuBasedVMExecControl, loadedValue("exec"), .measured, shadow + "exec")
    put(.secondaryVMExecControl, loadedValue("secondary_exec"), .measured, shadow + "secondary_exec")
    put(.tertiaryVMExecControl, loadedValue("tertiary_exec"), .measured, shadow + "tertiary_exec")
    put(.vmExitControls, loadedValue("vm_exit"), .measured, shadow + "vm_exit")
    put(.vmEntryControls, loadedValue("vm_entry"), .measured, shadow + "vm_entry")
  }

  /// Whether a control is 1, as the processor takes it.
  private func isSet(_ control: ControlID) -> Bool { words.value(of: control) ?? false }

  private mutating func controls() {
    put(
      .virtualProcessorID, if: .secondaryExecEnableVPID, value(isNested ? "vpid02" : "vpid"),
      .measured,
      path(isNested ? "vpid02" : "vpid"))
    // init_vmcs() writes both where APICv may be used at all, whether or not it is active now.
    if isOn("enable_apicv") == true, hasAPIC == true {
      put(.postedIntrNV, 0xf2, .derived, "POSTED_INTR_VECTOR, a constant of the kernel")
      put(
        .postedIntrDescAddr, physical(layout.values["pi_desc"].map { address &+ UInt64($0.offset) }), .derived,
        "physical address of \(path("pi_desc"))")
    } else {
      for name in [VMCSEncoding.postedIntrNV, .postedIntrDescAddr] {
        notInUse(name, .pinBasedPostedIntr)
      }
    }
    put(.tscOffset, value("tsc_offset"), .measured, path("tsc_offset"))
    put(
      .tscMultiplier, if: .secondaryExecTSCScaling, value("tsc_scaling_ratio"), .measured,
      path("tsc_scaling_ratio"))
    put(
      .msrBitmap, if: .cpuBasedUseMSRBitmaps, physical(loadedValue("msr_bitmap")), .derived,
      "physical address of *vcpu_vmx.loaded_vmcs->msr_bitmap")
    put(
      .virtualAPICPageAddr, if: .cpuBasedTPRShadow, physical(value("apic_page")), .derived,
      "physical address of *\(path("apic_page"))")
    if !isSet(.secondaryExecVirtualizeAPICAccesses) {
      notInUse(.apicAccessAddr, .secondaryExecVirtualizeAPICAccesses)
    } else if let page = host.apicAccessPage(
      of: machine.address, hasFiveLevels: (loadedValue("host.cr4") ?? 0) >> 12 & 1 == 1, memory)
    {
      put(.apicAccessAddr, page, .derived, "the page of the VMM that KVM's memory slot for 0xfee00000 has now")
    } else {
      unavailable(
        .apicAccessAddr, "KVM's memory slot for 0xfee00000 has no page now, or is not in this kernel's structures")
    }
    for (field, name) in [
      (VMCSEncoding.eoiExitBitmap0, "eoi0"), (.eoiExitBitmap1, "eoi1"), (.eoiExitBitmap2, "eoi2"),
      (.eoiExitBitmap3, "eoi3"),
    ] {
      put(
        field, if: .secondaryExecVirtualIntrDelivery, value(name), .derived,
        "\(path(name)), without the vectors of a Hyper-V SynIC")
    }
    for (count, address, name) in [
      (VMCSEncoding.vmExitMSRStoreCount, VMCSEncoding.vmExitMSRStoreAddr, "autostore"),
      (.vmExitMSRLoadCount, .vmExitMSRLoadAddr, "autoload_host"),
      (.vmEntryMSRLoadCount, .vmEntryMSRLoadAddr, "autoload_guest"),
    ] {
      put(count, value(name + "_nr"), .measured, path(name + "_nr"))
      put(
        address, physical(layout.values[name].map { self.address &+ UInt64($0.offset) }), .derived,
        "physical address of \(path(name))")
    }
    extendedPageTables()
    put(
      .pleGap, if: .secondaryExecPauseLoopExiting, parameters["ple_gap"].flatMap { UInt64($0) },
      .configured, "/sys/module/kvm_intel/parameters/ple_gap")
    put(
      .pleWindow, if: .secondaryExecPauseLoopExiting, value("ple_window"), .measured,
      path("ple_window"))
    put(
      .notifyWindow, if: .secondaryExecNotifyVMExiting, machine.notifyWindow, .measured,
      "kvm.arch.notify_window")
    put(
      .lastPidPointerIndex, if: .tertiaryExecIPIVirt,
      machine.maxVCPUIDs.map { $0 &- 1 }, .derived, "kvm.arch.max_vcpu_ids - 1")
    put(
      .pidPointerTable, if: .tertiaryExecIPIVirt,
      physical(layout.places.pidTable?.integer(from: machine.address, memory)), .derived,
      "physical address of *kvm_vmx.pid_table")
    put(
      .veInformationAddress, if: .secondaryExecEPTViolationVE, physical(value("ve_info")),
      .derived, "physical address of *\(path("ve_info"))")
    pageModificationLog()
    shadowing()
    taskPriority()
    preemptionTimer()
    enclaves()
    put(.xssExitBitmap, if: .secondaryExecEnableXSAVES, 0, .derived, "a constant of KVM's")
    put(
      .vmFunctionControl, if: .secondaryExecEnableVMFUNC, 0, .derived,
      "a constant of KVM's for L1")
    put(.cr3TargetCount, 0, .derived, "a constant of KVM's")
    for name in [VMCSEncoding.cr3TargetValue0, .cr3TargetValue1, .cr3TargetValue2, .cr3TargetValue3] {
      unavailable(name, "not in use: CR3_TARGET_COUNT is 0")
    }
    put(.cr0GuestHostMask, value("cr0_owned").map { ~$0 }, .derived, "~\(path("cr0_owned"))")
    put(.cr4GuestHostMask, value("cr4_owned").map { ~$0 }, .derived, "~\(path("cr4_owned"))")
    put(
      .cr0ReadShadow, value("cr0"), .derived,
      "\(path("cr0")), as KVM wrote it at the guest's last load; bits that the guest owns may lag")
    put(
      .cr4ReadShadow, value("cr4"), .derived,
      "\(path("cr4")), as KVM wrote it at the guest's last load; bits that the guest owns may lag")
    exceptionBitmap()
  }

  /// construct_eptp().
  private mutating func extendedPageTables() {
    guard isSet(.secondaryExecEnableEPT) else { return notInUse(.eptPointer, .secondaryExecEnableEPT) }
    guard let root = value("root_hpa"), root != .max, root & 0xfff == 0, let level = value("root_level"),
      level == 4 || level == 5
    else { return unavailable(.eptPointer, "\(path("root_hpa")) has no root now: it is made at the next VM entry") }
    let accessed: UInt64 = isOn("eptad") == true ? 1 << 6 : 0
    put(
      .eptPointer, root | 6 | (level - 1) << 3 | accessed, .derived,
      "\(path("root_hpa")), write-back, \(level) levels\(accessed == 0 ? "" : ", accessed and dirty flags")")
  }

  /// vmx_update_exception_bitmap().
  private mutating func exceptionBitmap() {
    let names = [VMCSEncoding.exceptionBitmap, .pageFaultErrorCodeMask, .pageFaultErrorCodeMatch]
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
    if !isSet(.secondaryExecEnableEPT) { add(14, "#PF", "no EPT") }
    // KVM_GUESTDBG_ENABLE and KVM_GUESTDBG_USE_SW_BP.
    if debug & 0x1_0001 == 0x1_0001 { add(3, "#BP", "a debugger uses software breakpoints") }
    if host.hasVMwareBackdoor {
      add(13, "#GP", "kvm.enable_vmware_backdoor=Y")
    }
    if value("xfd_no_write_intercept").map({ $0 & 0xff != 0 }) ?? false { add(7, "#NM", "IA32_XFD is the guest's") }
    if let information = value("ve_info"), information != 0 { add(20, "#VE", "CONFIG_KVM_INTEL_PROVE_VE") }
    if !isSet(.secondaryExecUnrestrictedGuest),
      value("vm86_active").map({ $0 & 0xff != 0 || $0 & 0xffff_ffff != 0 }) ?? false
    {
      bitmap = 0xffff_ffff
      how = "all: real mode without unrestricted guest"
      if isSet(.secondaryExecEnableEPT) {
        bitmap &= ~(1 << 14)
        how += ", #PF is left to EPT"
      }
    }
    put(.exceptionBitmap, bitmap, .derived, "vmx_update_exception_bitmap(): \(how)")
    for name in names.dropFirst() { put(name, 0, .derived, "0 unless kvm_intel.allow_smaller_maxphyaddr") }
  }

  /// init_vmcs() and vmx_flush_pml_buffer(): the fields are written whether or not the control is on now.
  private mutating func pageModificationLog() {
    guard isOn("pml") == true else {
      for name in [VMCSEncoding.pmlAddress, .guestPMLIndex] { unavailable(name, "not in use: kvm_intel.pml=N") }
      return
    }
    if let page = value("pml_page"), page >= 0xff00_0000_0000_0000 {
      put(.pmlAddress, host.physical(page: page), .derived, "physical address of the page \(path("pml_page"))")
    } else {
      unavailable(.pmlAddress, "\(path("pml_page")): not in this kernel's structures")
    }
    if isSet(.secondaryExecEnablePML) {
      unavailable(.guestPMLIndex, "only VMREAD could tell: the processor counts it down as the guest writes pages")
    } else {
      put(
        .guestPMLIndex, 511, .derived,
        "the whole log is free: vmx_flush_pml_buffer() at the exit, and no logging now")
    }
  }

  /// nested_vmx_set_vmcs_shadowing_bitmap(), by init_vmcs().
  private mutating func shadowing() {
    guard isOn("nested") == true, isOn("enable_shadow_vmcs") == true else {
      for name in [VMCSEncoding.vmreadBitmap, .vmwriteBitmap] {
        unavailable(name, "not in use: kvm_intel.nested or kvm_intel.enable_shadow_vmcs is N")
      }
      return
    }
    put(.vmreadBitmap, physical(host.vmreadBitmap), .derived, "physical address of vmx_bitmap[0] of kvm_intel")
    put(.vmwriteBitmap, physical(host.vmwriteBitmap), .derived, "physical address of vmx_bitmap[1] of kvm_intel")
  }

  /// update_cr8_intercept() and vmx_set_rvi(), vmx_hwapic_isr_update().
  private mutating func taskPriority() {
    let inService = apicPage.map { $0.highestInService ?? 0 }
    let requested = apicPage.map { $0.highestRequested ?? 0 }
    if isSet(.secondaryExecVirtualIntrDelivery) {
      if let inService, let requested, layout.values["apic_page"] != nil {
        put(
          .guestIntrStatus, UInt64(inService) << 8 | UInt64(requested), .derived,
          "SVI and RVI: the highest vectors of ISR and IRR in \(path("apic_page"))")
      } else {
        unavailable(.guestIntrStatus, "\(path("apic_page")) could not be read")
      }
    } else {
      notInUse(.guestIntrStatus, .secondaryExecVirtualIntrDelivery)
    }
    guard isSet(.cpuBasedTPRShadow), let apicPage else {
      return notInUse(.tprThreshold, .cpuBasedTPRShadow)
    }
    if isAPICvActive == true {
      return put(.tprThreshold, 0, .derived, "0: KVM sets it only while APICv is not active")
    }
    // KVM_REQ_EVENT, bit 14: it is computed anew at the next VM entry.
    guard let requests = value("requests"), requests >> 14 & 1 == 0 else {
      return unavailable(.tprThreshold, "KVM computes it anew at the next VM entry (KVM_REQ_EVENT)")
    }
    let vector = value("vapic_addr").map { $0 == 0 ? apicPage.highestRequested : nil } ?? apicPage.highestRequested
    guard let vector else {
      return put(.tprThreshold, 0, .derived, "update_cr8_intercept(): no interrupt is requested")
    }
    if apicPage.taskPriority >> 4 & 0xf < vector >> 4 {
      put(.tprThreshold, 0, .derived, "update_cr8_intercept(): the TPR does not hold the highest vector of IRR back")
    } else {
      unavailable(
        .tprThreshold,
        "only VMREAD could tell: 0, or the class of the highest vector of IRR if the guest raised its TPR before")
    }
  }

  /// vmx_update_hv_timer().
  private mutating func preemptionTimer() {
    guard isSet(.pinBasedVMXPreemptionTimer) else {
      return notInUse(.vmxPreemptionTimerValue, .pinBasedVMXPreemptionTimer)
    }
    if loadedValue("hv_timer_soft_disabled").map({ $0 & 1 == 1 }) ?? false {
      put(
        .vmxPreemptionTimerValue, 0xffff_ffff, .derived,
        "all ones: vcpu_vmx.loaded_vmcs->hv_timer_soft_disabled is 1, no deadline is armed")
    } else {
      unavailable(
        .vmxPreemptionTimerValue,
        "only VMREAD could tell: counted at the last VM entry, from its TSC to vcpu_vmx.hv_deadline_tsc")
    }
  }

  /// vmx_write_encls_bitmap().
  private mutating func enclaves() {
    guard isSet(.secondaryExecENCLSExiting) else {
      return notInUse(.enclsExitingBitmap, .secondaryExecENCLSExiting)
    }
    // Locked, and SGX enabled, in IA32_FEATURE_CONTROL.
    let isEnabled = value("feature_control").map { $0 & 0x4_0001 == 0x4_0001 }
    if isEnabled == false {
      put(.enclsExitingBitmap, .max, .derived, "all ones: SGX is off in \(path("feature_control"))")
    } else if let cpuid = guestCPUID(), !cpuid.has(.sgx) {
      put(.enclsExitingBitmap, .max, .derived, "all ones: the guest's CPUID has no SGX")
    } else {
      unavailable(
        .enclsExitingBitmap, "only VMREAD could tell: the guest has SGX, and the host's features go into it")
    }
  }

  private mutating func guestState() {
    /// A register that KVM re-reads only when it needs it.
    func lazy(_ name: VMCSEncoding, _ register: String, _ key: String) {
      put(name, value(key), isCurrent(register) ? .measured : .stale, path(key))
    }
    lazy(.guestRSP, "RSP", "rsp")
    lazy(.guestRIP, "RIP", "rip")
    lazy(.guestRFLAGS, "RFLAGS", "rflags")
    if isSet(.secondaryExecEnableEPT) {
      lazy(.guestCR3, "CR3", "cr3")
    } else {
      unavailable(.guestCR3, "only VMREAD could tell: without EPT it is the root of KVM's shadow page tables")
    }
    controlRegisters()
    put(.guestIA32PAT, value("pat"), .measured, path("pat"))
    // update_transition_efer()
    let efer = value("efer").map { isSet(.secondaryExecEnableEPT) ? $0 : $0 | 1 << 11 }
    put(
      .guestIA32EFER, efer.map { $0 & 1 << 10 == 0 ? $0 & ~(1 << 8) : $0 }, .derived,
      "\(path("efer"))\(isSet(.vmEntryLoadIA32EFER) ? "" : "; VM entry does not load it: it equals the host's")")
    performanceCounters()
    put(
      .guestIA32RTITCTL, if: .vmEntryLoadIA32RTITCTL, value("pt_ctl"), .measured, path("pt_ctl"))
    if !isSet(.vmEntryLoadBNDCFGS) { notInUse(.guestBNDCFGS, .vmEntryLoadBNDCFGS) }
    if !isSet(.vmEntryLoadCETState) {
      for name in [VMCSEncoding.guestSCET, .guestSSP, .guestIntrSSPTable] {
        notInUse(name, .vmEntryLoadCETState)
      }
    }
    // A vCPU in HLT state does not exit, and KVM puts none into another (vmx_clear_hlt() undoes the one).
    if isSet(.cpuBasedHLTExiting) {
      put(.guestActivityState, 0, .derived, "active: HLT exits, and KVM waits in vcpu.arch.mp_state")
    } else {
      unavailable(.guestActivityState, "only VMREAD could tell: HLT does not exit, so that the guest may be in it")
    }
    // vmx_set_dr7(); a debugger's breakpoints (KVM_GUESTDBG_USE_HW_BP) take the register over.
    let isDebugged = (value("guest_debug") ?? 0) & 0x2_0000 != 0
    let dr7 = isDebugged ? "guest_debug_dr7" : "dr7"
    if isSet(.cpuBasedMovDRExiting) {
      put(.guestDR7, value(dr7), .measured, path(dr7))
    } else {
      put(.guestDR7, value(dr7), .stale, "\(path(dr7)); the guest loads it without an exit now")
    }
    put(
      .vmcsLinkPointer,
      loadedValue("shadow_vmcs").flatMap { $0 == 0 || !isSet(.secondaryExecShadowVMCS) ? .max : physical($0) },
      .derived,
      "all ones, or the shadow VMCS while it is in use")
    for (index, field) in [VMCSEncoding.guestPDPTR0, .guestPDPTR1, .guestPDPTR2, .guestPDPTR3].enumerated() {
      if isAvailable("PDPTR"), let first = layout.values["pdptr0"], let place = first.address(from: address, memory),
        let entry: UInt64 = memory.integer(at: place &+ UInt64(8 * index))
      {
        put(field, entry, isRunning ? .stale : .measured, "\(first.text) + \(8 * index)")
      } else {
        unavailable(field, "KVM has not read it: it does only for a guest with PAE paging")
      }
    }
    segments()
  }

  /// vmx_set_cr0() and vmx_set_cr4(): what the guest thinks it has, and what KVM adds or takes away. NE and VMXE are always
  /// on, NW and CD off, MCE is the host's.
  private mutating func controlRegisters() {
    let hasEPT = isSet(.secondaryExecEnableEPT)
    let isUnrestricted = isSet(.secondaryExecUnrestrictedGuest)
    let isReal = !isUnrestricted && value("vm86_active").map { $0 & 0xffff_ffff != 0 } ?? false
    put(
      .guestCR0,
      value("cr0").map { cr0 in
        cr0 & ~0x6000_0000 | 0x20 | (isUnrestricted ? 0 : 0x8000_0001) | (isUnrestricted || hasEPT ? 0 : 0x1_0000)
      }, isCurrent("CR0") ? .derived : .stale,
      "\(path("cr0")) without NW and CD, with NE\(isUnrestricted ? "" : hasEPT ? ", PG and PE" : ", PG, PE and WP")")
    let machineCheck = (loadedValue("host.cr4") ?? 0) & 0x40
    let isPaging = value("cr0").map { $0 >> 31 & 1 == 1 } ?? true
    put(
      .guestCR4,
      value("cr4").map { cr4 in
        var real = cr4 & ~0x40 | 0x2000 | machineCheck
        // UMIP is emulated while descriptor-table exiting is on.
        if isSet(.secondaryExecDesc) { real &= ~0x800 }
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
    if !isSet(.vmEntryLoadIA32PerfGlobalCtrl) {
      notInUse(.guestIA32PerfGlobalCtrl, .vmEntryLoadIA32PerfGlobalCtrl)
    } else if isSet(.vmExitSaveIA32PerfGlobalCtrl) {
      put(
        .guestIA32PerfGlobalCtrl, value("perf_global_ctrl"), isRunning ? .stale : .measured,
        path("perf_global_ctrl"))
    } else {
      unavailable(.guestIA32PerfGlobalCtrl, computed)
    }
    if isSet(.vmExitLoadIA32PerfGlobalCtrl) {
      unavailable(.hostIA32PerfGlobalCtrl, computed)
    } else {
      notInUse(.hostIA32PerfGlobalCtrl, .vmExitLoadIA32PerfGlobalCtrl)
    }
  }

  /// Selector, base, limit and access rights of each segment, in KVM's order.
  private static let segmentFields: [[VMCSEncoding]] = [
    [.guestESSelector, .guestESBase, .guestESLimit, .guestESARBytes],
    [.guestCSSelector, .guestCSBase, .guestCSLimit, .guestCSARBytes],
    [.guestSSSelector, .guestSSBase, .guestSSLimit, .guestSSARBytes],
    [.guestDSSelector, .guestDSBase, .guestDSLimit, .guestDSARBytes],
    [.guestFSSelector, .guestFSBase, .guestFSLimit, .guestFSARBytes],
    [.guestGSSelector, .guestGSBase, .guestGSLimit, .guestGSARBytes],
    [.guestTRSelector, .guestTRBase, .guestTRLimit, .guestTRARBytes],
    [.guestLDTRSelector, .guestLDTRBase, .guestLDTRLimit, .guestLDTRARBytes],
  ]

  private mutating func segments() {
    let cached = layout.segmentCacheBits.flatMap { $0.integer(in: copy) } ?? 0
    let isFresh = (isAvailable("SEGMENTS") || layout.registers["SEGMENTS"] == nil) && !isRunning
    for (index, (segment, fields)) in zip(layout.segments, Self.segmentFields).enumerated() {
      let paths = [segment.selector, segment.base, segment.limit, segment.rights]
      for (part, (path, full)) in zip(paths, fields).enumerated() {
        if cached >> UInt64(index * 4 + part) & 1 == 1 {
          put(full, path.integer(in: copy), isFresh ? .measured : .stale, path.text)
        } else {
          unavailable(full, "KVM has not read it since the guest ran: only VMREAD could tell, or the VMM")
        }
      }
    }
  }

  private mutating func hostState() {
    put(.hostCSSelector, 0x10, .derived, "__KERNEL_CS")
    put(.hostSSSelector, 0x18, .derived, "__KERNEL_DS")
    put(.hostDSSelector, 0, .derived, "0 on 64-bit kernels")
    put(.hostESSelector, 0, .derived, "0 on 64-bit kernels")
    put(.hostTRSelector, 0x40, .derived, "GDT_ENTRY_TSS * 8")
    put(.hostCR0, 0x8005_0033, .derived, "CR0_STATE: the constant that the kernel loads at boot and keeps")
    // KVM writes a field only where it differs from the copy, so that the copy is what the VMCS has (vmx_set_host_fs_gs(),
    // vmx_vcpu_run(), vmx_update_host_rsp()).
    let state = "vcpu_vmx.loaded_vmcs->host_state."
    for (field, name) in [
      (VMCSEncoding.hostCR3, "cr3"), (.hostCR4, "cr4"), (.hostFSBase, "fs_base"), (.hostGSBase, "gs_base"),
      (.hostRSP, "rsp"),
    ] { put(field, loadedValue("host." + name), .measured, state + name) }
    for (field, name) in [(VMCSEncoding.hostFSSelector, "fs_sel"), (.hostGSSelector, "gs_sel")] {
      // VM entry refuses a selector with RPL or TI: KVM writes 0 then.
      let selector = loadedValue("host." + name)
      if let selector, selector & 7 != 0 {
        put(field, 0, .derived, "0: \(state)\(name) is 0x\(String(selector, radix: 16)), which VM entry would refuse")
      } else {
        put(field, selector, .measured, state + name)
      }
    }
    descriptorTables()
    put(.hostRIP, vmExitHandler, .derived, "the symbol vmx_vmexit")
    put(.hostIDTRBase, hostIDTBase, .measured, "the variable host_idt_base of kvm_intel")
    for (field, msr, name) in [
      (VMCSEncoding.hostIA32PAT, UInt32(0x277), "IA32_PAT"), (.hostIA32SYSENTERCS, 0x174, "IA32_SYSENTER_CS"),
      (.hostIA32SYSENTERESP, 0x175, "IA32_SYSENTER_ESP"), (.hostIA32SYSENTEREIP, 0x176, "IA32_SYSENTER_EIP"),
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
      put(.hostIA32EFER, efer.value, .measured, efer.how)
    } else {
      switch hostMSR(0xc000_0080, loadedCPU ?? 0) {
      case .success(let value): put(.hostIA32EFER, value, .derived, "IA32_EFER of CPU \(loadedCPU ?? 0), now")
      case .failure(let failure): unavailable(.hostIA32EFER, failure.description)
      }
    }
    put(.hostSCET, if: .vmExitLoadCETState, host.supervisorCET, .measured, "kvm_host.s_cet")
    put(.hostSSP, if: .vmExitLoadCETState, 0, .derived, "0 in KVM")
    put(.hostIntrSSPTable, if: .vmExitLoadCETState, 0, .derived, "0 in KVM")
  }

  private mutating func descriptorTables() {
    let names = [VMCSEncoding.hostTRBase, .hostGDTRBase]
    guard let loadedCPU else {
      for name in names { unavailable(name, "the vCPU's VMCS is loaded on no CPU, whose it would be") }
      return
    }
    guard let bases = host.descriptorBases(cpu: loadedCPU, memory) else {
      for name in names { unavailable(name, "the variables __per_cpu_offset and gdt_page of the kernel do not tell") }
      return
    }
    put(.hostTRBase, bases.task, .measured, "the TSS descriptor in gdt_page of CPU \(loadedCPU)")
    put(
      .hostGDTRBase, bases.table, .derived,
      "the GDT in the cpu_entry_area of CPU \(loadedCPU), which has the TSS too (get_cpu_gdt_ro())")
  }

  private mutating func exitInformation() {
    put(.vmExitReason, value("exit_reason"), .measured, path("exit_reason"))
    put(.idtVectoringInfoField, value("idt_vectoring_info"), .measured, path("idt_vectoring_info"))
    put(
      .exitQualification, value("exit_qualification"), isAvailable("EXIT_INFO_1") ? .measured : .stale,
      path("exit_qualification"))
    put(
      .vmExitIntrInfo, value("exit_intr_info"), isAvailable("EXIT_INFO_2") ? .measured : .stale,
      path("exit_intr_info"))
    // KVM_EXIT_FAIL_ENTRY, 9: the VMX instruction failed, and KVM told the VMM of the error.
    if value("fail").map({ $0 & 0xff != 0 }) ?? false, value("run_exit_reason") == 9 {
      put(.vmInstructionError, value("run_failure"), .measured, path("run_failure"))
    } else {
      unavailable(
        .vmInstructionError, "only VMREAD could tell: KVM reads it only after a VMX instruction that failed")
    }
  }
}
