/// The control words in force at an exit, as far as they are known.
public struct ControlSetting: Sendable, Hashable {
  /// PIN_BASED_VM_EXEC_CONTROL.
  public var pin: UInt32?
  /// CPU_BASED_VM_EXEC_CONTROL.
  public var primary: UInt32?
  /// SECONDARY_VM_EXEC_CONTROL.
  public var secondary: UInt32?
  /// TERTIARY_VM_EXEC_CONTROL.
  public var tertiary: UInt64?
  /// VM_EXIT_CONTROLS.
  public var exit: UInt32?
  /// VM_ENTRY_CONTROLS.
  public var entry: UInt32?
  /// SVM: the six intercept words at the start of the VMCB (the last two elements are 0); nil on VMX.
  public var intercepts: SIMD8<UInt32>?

  /// The words that are known; nil for the others.
  public init(
    pin: UInt32? = nil, primary: UInt32? = nil, secondary: UInt32? = nil, tertiary: UInt64? = nil, exit: UInt32? = nil,
    entry: UInt32? = nil, intercepts: SIMD8<UInt32>? = nil
  ) {
    self.pin = pin
    self.primary = primary
    self.secondary = secondary
    self.tertiary = tertiary
    self.exit = exit
    self.entry = entry
    self.intercepts = intercepts
  }

  /// The words as the processor takes them: a word that is not activated counts as 0.
  var effectiveSecondary: UInt32? {
    isSet(.cpuBasedActivateSecondaryControls, in: primary) == false ? 0 : secondary
  }

  /// The tertiary word likewise.
  var effectiveTertiary: UInt64? {
    isSet(.cpuBasedActivateTertiaryControls, in: primary) == false ? 0 : tertiary
  }

  private func isSet(_ control: ControlID, in word: UInt32?) -> Bool? {
    word.map { $0 & UInt32(truncatingIfNeeded: control.mask) != 0 }
  }
}

/// What an exit is charged to.
public struct GoverningControl: Sendable, Hashable {
  /// The control, bitmap or mask.
  public var control: ControlID
  /// Which entry of a bitmap or bit of a mask: MSR index, port, vector, bit number. Nil where it is not known or there is none.
  public var entry: UInt64?

  /// A control, and the entry of it where there is one.
  @inlinable public init(_ control: ControlID, entry: UInt64? = nil) {
    self.control = control
    self.entry = entry
  }
}

/// The one control, bitmap entry or mask that caused an exit, or *unconditional*.
///
/// kvm_exit does not say which MSR RDMSR or WRMSR accessed: `msr`, where another event or a register told.
///
/// Without `setting`, a control that may be on or off is taken as KVM has it: unconditional I/O exiting, PAUSE-loop exiting, MSR
/// bitmaps and VMCS shadowing in use. With it, the words decide. Does not allocate.
///
/// A VM-entry failure (bit 31 of the VMX reason) is unconditional. What the catalogue does not know is charged to
/// `ControlID.unknown`. An access to an MSR outside both ranges of the VMX MSR bitmap is unconditional where the MSR is known.
///
/// Sources: SDM volume 3, chapter "VMX Non-Root Operation"; AMD APM volume 2, chapter "Secure Virtual Machine"; Linux kvm/vmx/vmx.c,
/// kvm/svm/svm.c for what KVM sets.
public func governingControl(of exit: KVMExit, msr: UInt32? = nil, setting: ControlSetting? = nil) -> GoverningControl {
  var code = exit.reason
  if exit.isa == .vmx {
    if code & ExitReason.entryFailure != 0 { return GoverningControl(.unconditional) }
    code &= 0xffff
  }
  return ReasonTraits.of(isa: exit.isa, code: code).rule.control(of: exit, msr: msr, setting: setting)
}

/// The control that every exit of this reason is charged to, whatever its facts; nil where it depends on them, to be asked of
/// `governingControl(of:)`. `code` is the basic exit reason (VMX) or the exit code (SVM). A VMX code with a flag bit set (31:16)
/// answers nil.
public func fixedGoverningControl(isa: UInt32, code: UInt32) -> ControlID? {
  let isa = ISA(rawValue: isa)
  return isa == .vmx && code > 0xffff ? nil : ReasonTraits.of(isa: isa, code: code).rule.fixedControl
}

/// What the exits of a reason may be charged to where it depends on their facts.
func dependentControls(isa: UInt32, code: UInt32) -> [ControlID] {
  ReasonTraits.of(isa: ISA(rawValue: isa), code: code).rule.dependentControls
}
