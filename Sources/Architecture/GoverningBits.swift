/// Bits that KVM flips while a guest runs, whatever anybody set: they are no other setting of the controls. Each says by its
/// exits how often it was on.
extension ControlSetting {
  /// Left out, as `arch/x86/kvm/vmx/vmx.c` and `svm/svm.c` have it.
  private static let flipped: [ControlID] = [
    // vmx_update_hv_timer().
    .pinBasedVMXPreemptionTimer,
    // Interrupt and NMI windows.
    .cpuBasedIntrWindowExiting, .cpuBasedNMIWindowExiting, .interceptVINTR, .interceptIRET,
    // Cleared until the next exit after the guest used a debug register.
    .cpuBasedMovDRExiting,
    // The guest's EFER.LMA; SMM switches it.
    .vmEntryIA32EMode,
    // Set where the guest's value differs from the host's at that entry.
    .vmEntryLoadIA32EFER, .vmExitLoadIA32EFER, .vmEntryLoadIA32PerfGlobalCtrl, .vmExitLoadIA32PerfGlobalCtrl,
    // On while L1 has a current VMCS.
    .secondaryExecShadowVMCS,
    // APICv: KVM tells of its state by an event (kvm_apicv_inhibit_changed).
    .pinBasedPostedIntr, .secondaryExecAPICRegisterVirt, .secondaryExecVirtualIntrDelivery, .tertiaryExecIPIVirt,
    // The TPR threshold; CR0 accesses are off while KVM and the guest agree on CR0.
    .interceptCR8Write, .interceptCR0Read, .interceptCR0Write,
  ]

  /// What is left of each word. Debug registers have an intercept word of their own.
  private static let governingMask: ControlSetting = {
    var mask = ControlSetting(
      pin: .max, primary: .max, secondary: .max, tertiary: .max, exit: .max, entry: .max,
      intercepts: SIMD8(repeating: .max))
    for control in flipped { mask.clear(control) }
    mask.intercepts?[1] = 0
    return mask
  }()

  private mutating func clear(_ control: ControlID) {
    if let code = control.interceptCode { intercepts?[Int(code / 32)] &= ~(1 << (code % 32)) }
    let mask = ~control.mask
    switch control.controlWord {
    case .pin: pin? &= UInt32(truncatingIfNeeded: mask)
    case .primary: primary? &= UInt32(truncatingIfNeeded: mask)
    case .secondary: secondary? &= UInt32(truncatingIfNeeded: mask)
    case .tertiary: tertiary? &= mask
    case .exit: exit? &= UInt32(truncatingIfNeeded: mask)
    case .entry: entry? &= UInt32(truncatingIfNeeded: mask)
    case .secondaryExit, nil: break
    }
  }

  /// The words without those bits: two vCPUs, or one vCPU at two times, are in the same setting where these are equal.
  public var governing: ControlSetting {
    let mask = Self.governingMask
    func masked<Word: FixedWidthInteger>(_ word: Word?, _ mask: Word?) -> Word? { word.map { $0 & (mask ?? .max) } }
    return ControlSetting(
      pin: masked(pin, mask.pin), primary: masked(primary, mask.primary), secondary: masked(secondary, mask.secondary),
      tertiary: masked(tertiary, mask.tertiary), exit: masked(exit, mask.exit), entry: masked(entry, mask.entry),
      intercepts: intercepts.map { $0 & (mask.intercepts ?? SIMD8(repeating: .max)) })
  }

  /// The controls whose known value is another one than there, in the order of words and bits.
  public func difference(from other: ControlSetting) -> [(control: ControlID, isOn: Bool)] {
    ControlID.all.compactMap { control in
      guard let now = value(of: control), let before = other.value(of: control), now != before else { return nil }
      return (control, now)
    }
  }
}
