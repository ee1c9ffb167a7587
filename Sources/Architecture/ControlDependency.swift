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

  init(_ control: ControlID, _ rule: Rule, _ other: ControlID) {
    self.control = control
    self.rule = rule
    self.other = other
  }

  /// Every rule.
  public static let all: [ControlDependency] = [
    // Posted interrupts: virtual-interrupt delivery and acknowledge on exit.
    ControlDependency(.pinBasedPostedIntr, .needs, .secondaryExecVirtualIntrDelivery),
    ControlDependency(.pinBasedPostedIntr, .needs, .vmExitAckIntrOnExit),
    // Virtual NMIs: NMI exiting. NMI window: virtual NMIs.
    ControlDependency(.pinBasedVirtualNMIs, .needs, .pinBasedNMIExiting),
    ControlDependency(.cpuBasedNMIWindowExiting, .needs, .pinBasedVirtualNMIs),
    // Virtual-interrupt delivery: external-interrupt exiting.
    ControlDependency(.secondaryExecVirtualIntrDelivery, .needs, .pinBasedExtIntrMask),
    // x2APIC mode, APIC registers, virtual-interrupt delivery and IPI virtualization: the TPR shadow.
    ControlDependency(.secondaryExecVirtualizeX2APICMode, .needs, .cpuBasedTPRShadow),
    ControlDependency(.secondaryExecAPICRegisterVirt, .needs, .cpuBasedTPRShadow),
    ControlDependency(.secondaryExecVirtualIntrDelivery, .needs, .cpuBasedTPRShadow),
    ControlDependency(.tertiaryExecIPIVirt, .needs, .cpuBasedTPRShadow),
    ControlDependency(.secondaryExecVirtualizeAPICAccesses, .excludes, .secondaryExecVirtualizeX2APICMode),
    // Unrestricted guest, PML, #VE, mode-based execution and sub-page permissions: EPT.
    ControlDependency(.secondaryExecUnrestrictedGuest, .needs, .secondaryExecEnableEPT),
    ControlDependency(.secondaryExecEnablePML, .needs, .secondaryExecEnableEPT),
    ControlDependency(.secondaryExecEPTViolationVE, .needs, .secondaryExecEnableEPT),
    ControlDependency(.secondaryExecModeBasedEPTExec, .needs, .secondaryExecEnableEPT),
    ControlDependency(.secondarySubPageWritePermissionsForEPT, .needs, .secondaryExecEnableEPT),
    // Processor Trace with guest-physical addresses: EPT, and IA32_RTIT_CTL loaded on entry and cleared on exit.
    ControlDependency(.secondaryExecPTUseGPA, .needs, .secondaryExecEnableEPT),
    ControlDependency(.secondaryExecPTUseGPA, .needs, .vmEntryLoadIA32RTITCTL),
    ControlDependency(.secondaryExecPTUseGPA, .needs, .vmExitClearIA32RTITCTL),
    // Saving the preemption timer: the timer.
    ControlDependency(.vmExitSaveVMXPreemptionTimer, .needs, .pinBasedVMXPreemptionTimer),
  ]
}

extension ControlSetting {
  /// What a control is in this setting; nil where its word is not known. A secondary or tertiary word that the primary word does
  /// not activate counts as 0.
  public func value(of control: ControlID) -> Bool? {
    if let intercepts, let code = control.interceptCode {
      return intercepts[Int(code / 32)] >> (code % 32) & 1 == 1
    }
    guard let place = control.place else { return nil }
    let value: UInt64? =
      switch place.word {
      case .secondary: effectiveSecondary.map(UInt64.init)
      case .tertiary: effectiveTertiary
      default: word(place.word)
      }
    return value.map { $0 >> UInt64(place.bit) & 1 == 1 }
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
