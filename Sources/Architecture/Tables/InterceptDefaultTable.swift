// swift-format-ignore-file
// One row per line, however long, so that rows can be compared, sorted and searched.

/// What kvm_amd gives every vCPU at first: the intercepts that init_vmcb() sets, and the parameters of KVM's that decide.
public struct InterceptDefault: Sendable, Hashable {
  /// The intercept bits.
  public var controls: [ControlID]
  /// Without one the bit is 1. A kernel that lacks the parameter lacks what it switches on.
  public var parameters: [ModuleParameter]
  /// The bit where all of the parameters are on; where one is off it is the opposite.
  public var isSetWith: Bool
  /// What sets or clears it for one vCPU later.
  public var change: String?

  init(_ controls: [ControlID], with parameters: [ModuleParameter] = [], _ change: String? = nil) {
    self.init(controls, parameters, true, change)
  }

  init(_ controls: [ControlID], without parameter: ModuleParameter, _ change: String? = nil) {
    self.init(controls, [parameter], false, change)
  }

  private init(_ controls: [ControlID], _ parameters: [ModuleParameter], _ isSetWith: Bool, _ change: String?) {
    self.controls = controls
    self.parameters = parameters
    self.isSetWith = isSetWith
    self.change = change
  }

  /// The six words with these values of parameters, by `module.name`: `Y`, `N`, or a number.
  public static func words(parameters: [String: String]) -> SIMD8<UInt32> {
    func isOn(_ parameter: ModuleParameter) -> Bool {
      parameters[parameter.fullName].map { $0 != "N" && $0 != "0" } ?? false
    }
    var words = SIMD8<UInt32>(repeating: 0)
    for row in rows where row.parameters.allSatisfy(isOn) == row.isSetWith {
      for code in row.controls.compactMap(\.interceptCode) { words[Int(code / 32)] |= 1 << (code % 32) }
    }
    return words
  }

  /// The row of an intercept; nil for one that no vCPU has at first.
  public static func lookup(_ control: ControlID) -> InterceptDefault? { rows.first { $0.controls.contains(control) } }

  /// Reads of DR0 to DR7.
  public static let debugRegisterReads: [ControlID] = [
    .interceptDR0Read, .interceptDR1Read, .interceptDR2Read, .interceptDR3Read, .interceptDR4Read, .interceptDR5Read,
    .interceptDR6Read, .interceptDR7Read,
  ]
  /// Writes of DR0 to DR7.
  public static let debugRegisterWrites: [ControlID] = [
    .interceptDR0Write, .interceptDR1Write, .interceptDR2Write, .interceptDR3Write, .interceptDR4Write,
    .interceptDR5Write, .interceptDR6Write, .interceptDR7Write,
  ]

  /// In ascending order. Sources: Linux 6.1 and 6.12 `arch/x86/kvm/svm/svm.c`: init_vmcb(), init_vmcb_after_set_cpuid(),
  /// svm_recalc_instruction_intercepts(), svm_vm_init(); svm_set_cr0(), svm_update_cr8_intercept(), avic_activate_vmcb() and
  /// svm_sync_dirty_debug_regs() for what changes later.
  public static let rows: [InterceptDefault] = [
    InterceptDefault([.interceptCR0Read], "off while the guest's CR0 is what the VMCB has"),
    InterceptDefault([.interceptCR3Read], without: .kvmAMD("npt")),
    InterceptDefault([.interceptCR4Read]),
    InterceptDefault([.interceptCR0Write], "off while the guest's CR0 is what the VMCB has"),
    InterceptDefault([.interceptCR3Write], without: .kvmAMD("npt")),
    InterceptDefault([.interceptCR4Write]),
    InterceptDefault([.interceptCR8Write], "off under AVIC, and while no interrupt waits below the guest's TPR"),
    InterceptDefault(debugRegisterReads, "off from the guest's first access to a debug register to its next exit for another reason"),
    InterceptDefault(debugRegisterWrites, "off from the guest's first access to a debug register to its next exit for another reason"),
    InterceptDefault([.interceptException(1)]),
    InterceptDefault([.interceptException(6)]),
    InterceptDefault([.interceptException(13)], with: [.kvm("enable_vmware_backdoor")], "on for a guest that turned SVM on, on processors with the erratum"),
    InterceptDefault([.interceptException(14)], without: .kvmAMD("npt")),
    InterceptDefault([.interceptException(17), .interceptException(18)]),
    InterceptDefault([.interceptIntr, .interceptNMI]),
    InterceptDefault([.interceptSMI], with: [.kvmAMD("intercept_smi")]),
    InterceptDefault([.interceptSelectiveCR0]),
    InterceptDefault([.interceptRDPMC]),
    InterceptDefault([.interceptCPUID, .interceptRSM]),
    InterceptDefault([.interceptINVD]),
    InterceptDefault([.interceptPause], with: [.kvmAMD("pause_filter_count"), .kvmAMD("pause_filter_thresh")], "off with KVM_X86_DISABLE_EXITS_PAUSE"),
    InterceptDefault([.interceptHLT], "off with KVM_X86_DISABLE_EXITS_HLT, or where idle HLT takes its place"),
    InterceptDefault([.interceptINVLPG], without: .kvmAMD("npt")),
    InterceptDefault([.interceptINVLPGA, .interceptIOIOProt, .interceptMSRProt, .interceptTaskSwitch]),
    InterceptDefault([.interceptShutdown, .interceptVMRUN, .interceptVMMCALL]),
    InterceptDefault([.interceptVMLOAD, .interceptVMSAVE], without: .kvmAMD("vls"), "on for a guest whose CPUID says Intel"),
    InterceptDefault([.interceptSTGI, .interceptCLGI], without: .kvmAMD("vgif")),
    InterceptDefault([.interceptSKINIT]),
    InterceptDefault([.interceptWBINVD]),
    InterceptDefault([.interceptMonitor, .interceptMWAIT], "off with KVM_X86_DISABLE_EXITS_MWAIT"),
    InterceptDefault([.interceptXSETBV, .interceptRDPRU]),
    InterceptDefault([.interceptINVPCID], without: .kvmAMD("npt"), "on for a guest whose CPUID has no INVPCID"),
  ]
}
