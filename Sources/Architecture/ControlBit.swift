/// One of the seven control words of the VMCS.
public enum ControlWord: String, Sendable, CaseIterable {
  case pin, primary, secondary, tertiary, exit
  case secondaryExit = "secondary_exit"
  case entry

  /// 32, or 64 for the tertiary and the secondary VM-exit controls.
  public var width: Int {
    switch self {
    case .tertiary, .secondaryExit: 64
    default: 32
    }
  }

  /// The VMCS field that holds the word.
  public var encoding: VMCSEncoding {
    switch self {
    case .pin: .pinBasedVMExecControl
    case .primary: .cpuBasedVMExecControl
    case .secondary: .secondaryVMExecControl
    case .tertiary: .tertiaryVMExecControl
    case .exit: .vmExitControls
    case .secondaryExit: .secondaryVMExitControls
    case .entry: .vmEntryControls
    }
  }

  /// The MSR that says what each bit may be.
  public var capabilityMSR: UInt32 {
    switch self {
    case .pin: 0x481
    case .primary: 0x482
    case .secondary: 0x48b
    case .tertiary: 0x492
    case .exit: 0x483
    case .secondaryExit: 0x493
    case .entry: 0x484
    }
  }

  /// The MSR that also says which default1 bits may be 0; it counts where IA32_VMX_BASIC bit 55 is 1.
  public var trueCapabilityMSR: UInt32? {
    switch self {
    case .pin: 0x48d
    case .primary: 0x48e
    case .exit: 0x48f
    case .entry: 0x490
    case .secondary, .tertiary, .secondaryExit: nil
    }
  }

  /// The control without which the word counts as 0.
  public var activation: ControlID? {
    switch self {
    case .secondary: .cpuBasedActivateSecondaryControls
    case .tertiary: .cpuBasedActivateTertiaryControls
    case .secondaryExit: .exitActivateSecondaryVMExitControls
    case .pin, .primary, .exit, .entry: nil
    }
  }

  /// The bits that are 1 unless a TRUE capability MSR allows otherwise (SDM volume 3, appendix "Default Settings").
  public var default1: UInt64 {
    switch self {
    case .pin: 0x16
    case .primary: 0x0401_e172
    case .exit: 0x0003_6dff
    case .entry: 0x11ff
    case .secondary, .tertiary, .secondaryExit: 0
    }
  }

  /// The SDM's name of the word.
  public var sdmName: String { VMCSField.lookup(encoding: encoding.rawValue)?.sdmName ?? rawValue }

  /// The same inside a sentence: `pin-based VM-execution controls`, but `VM-entry controls`.
  var phrase: String { sdmName.hasPrefix("VM") ? sdmName : sdmName.prefix(1).lowercased() + sdmName.dropFirst() }
}

/// One bit of a control word.
public struct ControlBit: Sendable, Hashable {
  /// Whether KVM sets the bit.
  public enum KVMUse: String, Sendable {
    /// KVM does not load without it.
    case required
    /// Reserved, and 1 because the processor wants it so.
    case forced
    /// Set wherever it is supported and not switched off by a parameter.
    case optional
    /// Set and cleared while the guest runs, or by what the guest's CPUID has.
    case conditional
    /// Never set for a guest of its own (vmcs01).
    case off
  }

  /// The word that the bit is in.
  public var word: ControlWord
  /// The number of the bit in the word.
  public var bit: Int
  /// The constant in Linux's asm/vmx.h; nil where Linux has none.
  public var linuxName: String?
  /// The name in the SDM's tables.
  public var sdmName: String
  /// The flag in the `vmx flags` line of /proc/cpuinfo.
  public var cpuinfoFlag: String?
  /// One of the bits that are 1 unless a TRUE capability MSR allows 0.
  public var isDefault1: Bool
  /// What a 1 does.
  public var description: String
  /// Whether KVM sets it.
  public var kvmUse: KVMUse
  /// When KVM sets it.
  public var kvmCondition: String
  /// What KVM asks of the processor: `required`, `optional` or `none`.
  public var kvmCapability: String
  /// The first kernel, of those read, that has the constant; `<=5.10` means all of them.
  public var firstKernel: String?
  /// The first kernel, of those read, that shows the cpuinfo flag.
  public var flagFirstKernel: String?
  /// How sure the row is.
  public var confidence: Confidence

  init(
    _ control: ControlID, _ linuxName: String?, sdm: String, cpuinfo: String? = nil, default1: Bool = false,
    _ description: String, kvm: KVMUse, when: String, needs: String, since: String? = nil, flagSince: String? = nil,
    _ confidence: Confidence
  ) {
    // A control that is no bit of a word is in no row: tests hold that.
    self.word = control.place?.word ?? .pin
    self.bit = control.place?.bit ?? -1
    self.linuxName = linuxName
    self.sdmName = sdm
    self.cpuinfoFlag = cpuinfo
    self.isDefault1 = default1
    self.description = description
    self.kvmUse = kvm
    self.kvmCondition = when
    self.kvmCapability = needs
    self.firstKernel = since
    self.flagFirstKernel = flagSince
    self.confidence = confidence
  }

  /// A default1 bit without a meaning of its own.
  init(reserved word: ControlWord, _ bit: Int) {
    self.init(
      ControlID(word, bit), nil, sdm: "Reserved bit \(bit) (default1)", default1: true,
      "architecturally reserved, must be written as 1", kvm: .forced, when: "forced to 1 by the allowed-0 setting",
      needs: "none", .high)
  }

  /// Linux's constant; where there is none, the SDM's name as a constant.
  public var name: String { linuxName ?? constantName(sdmName) }

  /// True for the default1 bits that have no meaning of their own.
  public var isReserved: Bool { kvmUse == .forced }

  /// The row of a bit; nil for a bit that no manual names.
  public static func lookup(_ word: ControlWord, bit: Int) -> ControlBit? {
    rows.first { $0.word == word && $0.bit == bit }
  }

  /// The rows of one word, in order of bit.
  public static func rows(of word: ControlWord) -> [ControlBit] { rows.filter { $0.word == word } }

  /// Every row of this name, case ignored. A name is one row's, but for the reserved bits.
  public static func lookup(name: String) -> [ControlBit] {
    let wanted = name.uppercased()
    return rows.filter { $0.name == wanted }
  }
}
