/// A rule between controls that VM entry checks (SDM volume 3, section "Checks on VMX Controls").
public struct ControlDependency: Sendable, Hashable {
  /// What one control asks of another.
  public enum Rule: String, Sendable { case needs, excludes }

  /// The control that asks, when it is 1.
  public var control: ControlID
  /// What it asks.
  public var rule: Rule
  /// The control that must then be 1 (`needs`) or 0 (`excludes`).
  public var other: ControlID

  init(_ word: ControlWord, _ bit: Int, _ rule: Rule, _ otherWord: ControlWord, _ otherBit: Int) {
    control = ControlID(word: word, bit: bit) ?? .unknown
    self.rule = rule
    other = ControlID(word: otherWord, bit: otherBit) ?? .unknown
  }

  /// Every rule.
  public static let all: [ControlDependency] = [
    // Posted interrupts: virtual-interrupt delivery and acknowledge on exit.
    ControlDependency(.pin, 7, .needs, .secondary, 9),
    ControlDependency(.pin, 7, .needs, .exit, 15),
    // Virtual NMIs: NMI exiting. NMI window: virtual NMIs.
    ControlDependency(.pin, 5, .needs, .pin, 3),
    ControlDependency(.primary, 22, .needs, .pin, 5),
    // Virtual-interrupt delivery: external-interrupt exiting.
    ControlDependency(.secondary, 9, .needs, .pin, 0),
    // x2APIC mode, APIC registers, virtual-interrupt delivery and IPI virtualization: the TPR shadow.
    ControlDependency(.secondary, 4, .needs, .primary, 21),
    ControlDependency(.secondary, 8, .needs, .primary, 21),
    ControlDependency(.secondary, 9, .needs, .primary, 21),
    ControlDependency(.tertiary, 4, .needs, .primary, 21),
    ControlDependency(.secondary, 0, .excludes, .secondary, 4),
    // Unrestricted guest, PML, #VE, mode-based execution and sub-page permissions: EPT.
    ControlDependency(.secondary, 7, .needs, .secondary, 1),
    ControlDependency(.secondary, 17, .needs, .secondary, 1),
    ControlDependency(.secondary, 18, .needs, .secondary, 1),
    ControlDependency(.secondary, 22, .needs, .secondary, 1),
    ControlDependency(.secondary, 23, .needs, .secondary, 1),
    // Processor Trace with guest-physical addresses: EPT, and IA32_RTIT_CTL loaded on entry and cleared on exit.
    ControlDependency(.secondary, 24, .needs, .secondary, 1),
    ControlDependency(.secondary, 24, .needs, .entry, 18),
    ControlDependency(.secondary, 24, .needs, .exit, 25),
    // Saving the preemption timer: the timer.
    ControlDependency(.exit, 22, .needs, .pin, 6),
  ]
}

extension ControlSetting {
  /// What a control is in this setting; nil where its word is not known. A secondary or tertiary word that the primary word does
  /// not activate counts as 0.
  public func value(of control: ControlID) -> Bool? {
    if let intercepts, let code = control.interceptCode {
      return intercepts[Int(code / 32)] >> (code % 32) & 1 == 1
    }
    guard let word = control.controlWord, let bit = control.bit else { return nil }
    let value: UInt64?
    switch word {
    case .secondary: value = effectiveSecondary.map(UInt64.init)
    case .tertiary: value = primary.map { $0 & 1 << 17 == 0 } == true ? 0 : tertiary
    default: value = self.word(word)
    }
    return value.map { $0 >> UInt64(bit) & 1 == 1 }
  }

  /// The word as it is; nil where it is not known.
  public func word(_ word: ControlWord) -> UInt64? {
    switch word {
    case .pin: pin.map(UInt64.init)
    case .primary: primary.map(UInt64.init)
    case .secondary: secondary.map(UInt64.init)
    case .tertiary: tertiary
    case .exit: exit.map(UInt64.init)
    case .entry: entry.map(UInt64.init)
    case .secondaryExit: nil
    }
  }

  /// The rules that this setting breaks: VM entry would fail. Rules about words that are not known are passed over.
  public var brokenDependencies: [ControlDependency] {
    ControlDependency.all.filter { rule in
      guard value(of: rule.control) == true, let other = value(of: rule.other) else { return false }
      return other != (rule.rule == .needs)
    }
  }
}
