// swift-format-ignore-file
// One row per line, however long, so that rows can be compared, sorted and searched.

/// What kvm_amd gives every vCPU at first: the intercepts that init_vmcb() sets, and the parameters of KVM's that decide.
public struct InterceptDefault: Sendable, Hashable {
  /// Exit codes, which are the numbers of the intercept bits.
  public var codes: ClosedRange<UInt32>
  /// `kvm_amd.npt`; without one the bit is 1. A kernel that lacks the parameter lacks what it switches on.
  public var parameters: [String]
  /// The bit where all of the parameters are on; where one is off it is the opposite.
  public var isSetWith: Bool
  /// What sets or clears it for one vCPU later.
  public var change: String?

  init(_ codes: ClosedRange<UInt32>, with parameters: [String] = [], _ change: String? = nil) {
    self.init(codes, parameters, true, change)
  }

  init(_ codes: ClosedRange<UInt32>, without parameter: String, _ change: String? = nil) {
    self.init(codes, [parameter], false, change)
  }

  private init(_ codes: ClosedRange<UInt32>, _ parameters: [String], _ isSetWith: Bool, _ change: String?) {
    self.codes = codes
    self.parameters = parameters
    self.isSetWith = isSetWith
    self.change = change
  }

  /// The six words with these values of parameters, by `module.name`: `Y`, `N`, or a number.
  public static func words(parameters: [String: String]) -> SIMD8<UInt32> {
    func isOn(_ name: String) -> Bool { parameters[name].map { $0 != "N" && $0 != "0" } ?? false }
    var words = SIMD8<UInt32>(repeating: 0)
    for row in rows where row.parameters.allSatisfy(isOn) == row.isSetWith {
      for code in row.codes { words[Int(code / 32)] |= 1 << (code % 32) }
    }
    return words
  }

  /// The row of an intercept; nil for one that no vCPU has at first.
  public static func lookup(code: UInt32) -> InterceptDefault? { rows.first { $0.codes.contains(code) } }

  /// In ascending order. Sources: Linux 6.1 and 6.12 `arch/x86/kvm/svm/svm.c`: init_vmcb(), init_vmcb_after_set_cpuid(),
  /// svm_recalc_instruction_intercepts(), svm_vm_init(); svm_set_cr0(), svm_update_cr8_intercept(), avic_activate_vmcb() and
  /// svm_sync_dirty_debug_regs() for what changes later.
  public static let rows: [InterceptDefault] = [
    InterceptDefault(0...0, "off while the guest's CR0 is what the VMCB has"),
    InterceptDefault(3...3, without: "kvm_amd.npt"),
    InterceptDefault(4...4),
    InterceptDefault(16...16, "off while the guest's CR0 is what the VMCB has"),
    InterceptDefault(19...19, without: "kvm_amd.npt"),
    InterceptDefault(20...20),
    InterceptDefault(24...24, "off under AVIC, and while no interrupt waits below the guest's TPR"),
    InterceptDefault(32...39, "off from the guest's first access to a debug register to its next exit for another reason"),
    InterceptDefault(48...55, "off from the guest's first access to a debug register to its next exit for another reason"),
    InterceptDefault(65...65),
    InterceptDefault(70...70),
    InterceptDefault(77...77, with: ["kvm.enable_vmware_backdoor"], "on for a guest that turned SVM on, on processors with the erratum"),
    InterceptDefault(78...78, without: "kvm_amd.npt"),
    InterceptDefault(81...82),
    InterceptDefault(96...97),
    InterceptDefault(98...98, with: ["kvm_amd.intercept_smi"]),
    InterceptDefault(101...101),
    InterceptDefault(111...111),
    InterceptDefault(114...115),
    InterceptDefault(118...118),
    InterceptDefault(119...119, with: ["kvm_amd.pause_filter_count", "kvm_amd.pause_filter_thresh"], "off with KVM_X86_DISABLE_EXITS_PAUSE"),
    InterceptDefault(120...120, "off with KVM_X86_DISABLE_EXITS_HLT, or where idle HLT takes its place"),
    InterceptDefault(121...121, without: "kvm_amd.npt"),
    InterceptDefault(122...125),
    InterceptDefault(127...129),
    InterceptDefault(130...131, without: "kvm_amd.vls", "on for a guest whose CPUID says Intel"),
    InterceptDefault(132...133, without: "kvm_amd.vgif"),
    InterceptDefault(134...134),
    InterceptDefault(137...137),
    InterceptDefault(138...139, "off with KVM_X86_DISABLE_EXITS_MWAIT"),
    InterceptDefault(141...142),
    InterceptDefault(162...162, without: "kvm_amd.npt", "on for a guest whose CPUID has no INVPCID"),
  ]
}
