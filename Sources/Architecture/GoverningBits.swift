/// Bits that KVM flips while a guest runs, whatever anybody set: they are no other setting of the controls. Each says by its
/// exits how often it was on.
extension ControlSetting {
  /// The words without those bits: two vCPUs, or one vCPU at two times, are in the same setting where these are equal.
  ///
  /// Left out: VMX_PREEMPTION_TIMER (vmx_update_hv_timer), INTR_WINDOW and NMI_WINDOW, MOV_DR_EXITING (cleared until the
  /// next exit after the guest used a debug register), IA32E_MODE (the guest's EFER.LMA; SMM switches it), loading of
  /// IA32_EFER and IA32_PERF_GLOBAL_CTRL (set where the guest's value differs from the host's at that entry),
  /// SHADOW_VMCS (on while L1 has a current VMCS), and the APICv bits, of whose state KVM tells by an event
  /// (kvm_apicv_inhibit_changed). SVM: VINTR and IRET (interrupt and NMI window), CR8 writes (the TPR threshold), debug
  /// registers, and CR0 accesses (off while KVM and the guest agree on CR0). Sources: arch/x86/kvm/vmx/vmx.c, svm/svm.c.
  public var governing: ControlSetting {
    ControlSetting(
      pin: pin.map { $0 & ~(1 << 6 | 1 << 7) },
      primary: primary.map { $0 & ~(1 << 2 | 1 << 22 | 1 << 23) },
      secondary: secondary.map { $0 & ~(1 << 8 | 1 << 9 | 1 << 14) },
      tertiary: tertiary.map { $0 & ~(1 << 4) },
      exit: exit.map { $0 & ~(1 << 12 | 1 << 21) },
      entry: entry.map { $0 & ~(1 << 9 | 1 << 13 | 1 << 15) },
      intercepts: intercepts.map { words in
        var words = words
        words[0] &= ~(1 << 0 | 1 << 16 | 1 << 24)
        words[1] = 0
        words[3] &= ~(1 << 4 | 1 << 20)
        return words
      })
  }

  /// The controls whose known value is another one than there, in the order of words and bits.
  public func difference(from other: ControlSetting) -> [(control: ControlID, isOn: Bool)] {
    ControlID.all.compactMap { control in
      guard let now = value(of: control), let before = other.value(of: control), now != before else { return nil }
      return (control, now)
    }
  }
}
