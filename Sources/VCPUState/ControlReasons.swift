import Architecture

/// Says why bits of a vCPU's control words differ from `vmcs_config`: the rules of vmx_exec_control(),
/// vmx_secondary_exec_control(), vmx_pin_based_exec_ctrl() and their siblings (`arch/x86/kvm/vmx/vmx.c`), with the values
/// that they look at.
struct ControlReasons {
  var words: ControlSetting
  var configuration: ControlSetting
  var isNested: Bool

  // MARK: What decides; nil where it could not be read

  var machine: VirtualMachine?
  var parameters: [String: String] = [:]
  /// False where the VMM emulates the APIC.
  var hasAPIC: Bool?
  var isAPICvActive: Bool?
  /// Whether an interrupt waits in the virtual-APIC page.
  var hasRequestedInterrupts: Bool?
  var pendingNMIs: UInt64?
  var switchDebugRegisters: UInt64?
  /// IA32_EFER, CR4 and IA32_APIC_BASE of the guest; `nested.current_vmptr`, all ones where L1 has no current VMCS.
  var efer: UInt64?
  var cr4: UInt64?
  var apicBase: UInt64?
  var currentVMPointer: UInt64?
  var vpid: UInt64?
  var hostEFER: UInt64?
  /// `kvm.arch.notify_vmexit_flags`.
  var notifyFlags: UInt64?
  /// The control words in vmcs12.
  var nestedWords: ControlSetting?
  /// Reads the guest's CPUID leaves: only where a bit depends on one.
  var readCPUID: () -> GuestCPUID? = { nil }

  init(words: ControlSetting, configuration: ControlSetting, isNested: Bool) {
    self.words = words
    self.configuration = configuration
    self.isNested = isNested
  }

  /// In order of word and bit.
  var differences: [ControlDifference] {
    var result: [ControlDifference] = []
    for word in [ControlWord.pin, .primary, .secondary, .tertiary, .exit, .entry] {
      guard let now = words.word(word), let configured = configuration.word(word) else { continue }
      for bit in 0..<word.width where (now ^ configured) >> UInt64(bit) & 1 == 1 {
        guard let control = ControlID(word: word, bit: bit) else { continue }
        let isSet = now >> UInt64(bit) & 1 == 1
        let measured = isNested ? nestedReason(control, isSet) : measuredReason(control, isSet)
        let reason =
          measured
          ?? (isNested
            ? "L2 is current: these are L1's wishes merged with KVM's"
            : control.controlBit?.kvmCondition ?? "not known")
        result.append(ControlDifference(control: control, isSet: isSet, reason: reason, isMeasured: measured != nil))
      }
    }
    return result
  }

  /// prepare_vmcs02_early(): what L1 asks for is on.
  private func nestedReason(_ control: ControlID, _ isSet: Bool) -> String? {
    guard isSet, let word = control.controlWord, let wish = nestedWords?.word(word), wish & control.mask != 0 else {
      return nil
    }
    return "L2 is current, and L1 sets it in the VMCS that it wrote (vmcs12)"
  }

  // MARK: What several bits depend on

  private func isParameter(_ name: String, _ values: Set<String>) -> String? {
    guard let value = parameters[name], values.contains(value) else { return nil }
    return "kvm_intel.\(name)=\(value)"
  }

  private func off(_ name: String) -> String? { isParameter(name, ["N", "0"]) }

  private func disabled(_ bit: UInt64, _ name: String) -> String? {
    guard let exits = machine?.disabledExits, exits & bit != 0 else { return nil }
    return "the VMM disabled these exits: KVM_CAP_X86_DISABLE_EXITS with KVM_X86_DISABLE_EXITS_\(name)"
  }

  private var noAPIC: String? {
    hasAPIC == false ? "no APIC of KVM's: the VMM emulates it (vcpu.arch.apic is null)" : nil
  }

  private var noAPICv: String? {
    if let noAPIC { return noAPIC }
    if let parameter = off("enable_apicv") { return parameter }
    guard isAPICvActive == false else { return nil }
    let inhibits = machine?.apicvInhibits.map { " (kvm.arch.apicv_inhibit_reasons = 0x\(String($0, radix: 16)))" } ?? ""
    return "APICv is not active for this vCPU\(inhibits)"
  }

  /// The mode of the guest's APIC, by IA32_APIC_BASE: bit 11 enabled, bit 10 x2APIC.
  private func apicMode(is wanted: UInt64, _ text: String) -> String? {
    guard let apicBase, apicBase >> 10 & 3 == wanted else { return nil }
    return "the guest's APIC is \(text) (vcpu.arch.apic_base)"
  }

  private var systemTracing: String? { isParameter("pt_mode", ["0"]).map { "\($0): the trace is the host's" } }

  /// A control that follows what the guest's CPUID reports: on with any of the features, or off with them where it makes
  /// their instructions exit.
  private func feature(_ features: [GuestCPUID.Feature], isSet: Bool, isExiting: Bool = false, needsAll: Bool = false)
    -> String?
  {
    guard let cpuid = readCPUID() else { return nil }
    let has = needsAll ? features.allSatisfy(cpuid.has) : features.contains(where: cpuid.has)
    guard has == (isSet != isExiting) else { return nil }
    let names = features.map(\.name).joined(separator: needsAll ? " and " : " or ")
    return "the guest's CPUID has \(has ? "" : "no ")\(names) (vcpu.arch.cpuid_entries)"
  }

  /// The guest's EFER as it would be loaded, against the host's: update_transition_efer().
  private func efers(differ isSet: Bool) -> String? {
    guard var efer, let hostEFER else { return nil }
    if words.value(of: .secondaryExecEnableEPT) != true { efer |= 1 << 11 }
    if efer >> 10 & 1 == 0 { efer &= ~(1 << 8) }
    guard (efer != hostEFER) == isSet else { return nil }
    return "the guest's EFER 0x\(String(efer, radix: 16)) \(isSet ? "differs from" : "equals") the host's"
      + (isSet ? " 0x\(String(hostEFER, radix: 16))" : "")
  }

  // MARK: Bit by bit

  /// What was read and decides the bit; nil where none of it does.
  private func measuredReason(_ control: ControlID, _ isSet: Bool) -> String? {
    switch control.controlWord {
    case .pin, .primary: processorReason(control, isSet)
    case .secondary, .tertiary: secondaryReason(control, isSet)
    case .exit, .entry: transitionReason(control, isSet)
    case .secondaryExit, nil: nil
    }
  }

  private func processorReason(_ control: ControlID, _ isSet: Bool) -> String? {
    switch (control, isSet) {
    case (.pinBasedVirtualNMIs, false): off("vnmi")
    case (.pinBasedVMXPreemptionTimer, false): off("preemption_timer")
    case (.pinBasedPostedIntr, false): noAPICv
    case (.cpuBasedIntrWindowExiting, false):
      hasRequestedInterrupts == false ? "no interrupt waits (IRR in the virtual-APIC page is empty)" : nil
    case (.cpuBasedIntrWindowExiting, true):
      hasRequestedInterrupts == true
        ? "an interrupt waits that the guest does not take now (IRR in the virtual-APIC page)" : nil
    case (.cpuBasedHLTExiting, false): disabled(2, "HLT")
    case (.cpuBasedINVLPGExiting, false), (.cpuBasedCR3LoadExiting, false), (.cpuBasedCR3StoreExiting, false):
      parameters["ept"] == "Y" ? "kvm_intel.ept=Y: needed for shadow page tables only" : nil
    case (.cpuBasedMWAITExiting, false), (.cpuBasedMonitorExiting, false): disabled(1, "MWAIT")
    case (.cpuBasedCR8LoadExiting, true), (.cpuBasedCR8StoreExiting, true), (.cpuBasedTPRShadow, false): noAPIC
    case (.cpuBasedCR8LoadExiting, false), (.cpuBasedCR8StoreExiting, false):
      words.value(of: .cpuBasedTPRShadow) == true ? "CPU_BASED_TPR_SHADOW is 1: the APIC page takes CR8" : nil
    case (.cpuBasedNMIWindowExiting, false):
      pendingNMIs.flatMap { $0 & 0xffff_ffff == 0 ? "no NMI waits (vcpu.arch.nmi_pending)" : nil }
    case (.cpuBasedNMIWindowExiting, true):
      pendingNMIs.flatMap {
        $0 & 0xffff_ffff != 0 ? "an NMI waits that the guest cannot take now (vcpu.arch.nmi_pending)" : nil
      }
    case (.cpuBasedMovDRExiting, false):
      // KVM_DEBUGREG_WONT_EXIT
      (switchDebugRegisters ?? 0) & 2 != 0
        ? "the guest's debug registers are loaded until its next exit for another reason" : nil
    default: nil
    }
  }

  private func secondaryReason(_ control: ControlID, _ isSet: Bool) -> String? {
    switch (control, isSet) {
    case (.secondaryExecVirtualizeAPICAccesses, false):
      noAPIC ?? off("flexpriority") ?? apicMode(is: 3, "in x2APIC mode") ?? apicMode(is: 0, "disabled")
    case (.secondaryExecEnableEPT, false): off("ept")
    case (.secondaryExecDesc, false):
      cr4.flatMap { $0 >> 11 & 1 == 0 ? "the guest's CR4.UMIP is 0 (vcpu.arch.cr4)" : nil }
    case (.secondaryExecDesc, true):
      cr4.flatMap { $0 >> 11 & 1 == 1 ? "the guest's CR4.UMIP is 1, which KVM emulates (vcpu.arch.cr4)" : nil }
    case (.secondaryExecEnableRDTSCP, let isSet): feature([.rdtscp, .rdpid], isSet: isSet)
    case (.secondaryExecVirtualizeX2APICMode, false):
      noAPIC ?? apicMode(is: 2, "not in x2APIC mode") ?? apicMode(is: 0, "disabled")
    case (.secondaryExecEnableVPID, false):
      off("vpid") ?? vpid.flatMap { $0 & 0xffff == 0 ? "no VPID was left for it (vcpu_vmx.vpid is 0)" : nil }
    case (.secondaryExecUnrestrictedGuest, false): off("unrestricted_guest") ?? off("ept")
    case (.secondaryExecAPICRegisterVirt, false), (.secondaryExecVirtualIntrDelivery, false): noAPICv
    case (.secondaryExecPauseLoopExiting, false): off("ple_gap") ?? disabled(4, "PAUSE")
    case (.secondaryExecRDRANDExiting, let isSet): feature([.rdrand], isSet: isSet, isExiting: true)
    case (.secondaryExecEnableINVPCID, let isSet): feature([.invpcid], isSet: isSet)
    case (.secondaryExecShadowVMCS, false):
      off("enable_shadow_vmcs")
        ?? (currentVMPointer == .max ? "the guest has no current VMCS of its own (nested.current_vmptr)" : nil)
    case (.secondaryExecShadowVMCS, true):
      currentVMPointer.flatMap { $0 != .max ? "the guest has a current VMCS of its own (nested.current_vmptr)" : nil }
    case (.secondaryExecRDSEEDExiting, let isSet): feature([.rdseed], isSet: isSet, isExiting: true)
    case (.secondaryExecEnablePML, false):
      off("pml")
        ?? (machine?.dirtyLoggedSlots == 0 ? "no memory slot is logged for dirty pages (no migration runs)" : nil)
    case (.secondaryExecEPTViolationVE, false): off("ept")
    case (.secondaryExecPTConcealVMX, false), (.secondaryExecPTUseGPA, false): systemTracing
    case (.secondaryExecEnableXSAVES, let isSet): feature([.xsave, .xsaves], isSet: isSet, needsAll: true)
    case (.secondaryExecEnableUsrWaitPause, let isSet): feature([.waitpkg], isSet: isSet)
    case (.secondaryExecBusLockDetection, false):
      machine?.busLockDetection == false ? "the VMM did not ask for it (KVM_CAP_X86_BUS_LOCK_EXIT)" : nil
    case (.secondaryExecNotifyVMExiting, false):
      // KVM_X86_NOTIFY_VMEXIT_ENABLED
      notifyFlags.flatMap { $0 & 1 == 0 ? "the VMM did not ask for it (KVM_CAP_X86_NOTIFY_VMEXIT)" : nil }
    case (.tertiaryExecIPIVirt, false): off("enable_ipiv") ?? noAPICv
    default: nil
    }
  }

  private func transitionReason(_ control: ControlID, _ isSet: Bool) -> String? {
    switch (control, isSet) {
    case (.vmExitLoadIA32EFER, _): efers(differ: isSet)
    case (.vmExitPTConcealPIP, false), (.vmExitClearIA32RTITCTL, false): systemTracing
    case (.vmEntryIA32EMode, _):
      efer.flatMap { $0 >> 10 & 1 == (isSet ? 1 : 0) ? "the guest's EFER.LMA is \(isSet ? 1 : 0)" : nil }
    case (.vmEntryLoadIA32EFER, _): efers(differ: isSet)
    case (.vmEntryPTConcealPIP, false), (.vmEntryLoadIA32RTITCTL, false): systemTracing
    default: nil
    }
  }
}
