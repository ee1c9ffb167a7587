import Architecture

/// Says why intercepts of a vCPU differ from those that init_vmcb() sets: the rules of `arch/x86/kvm/svm/svm.c`, with the values
/// that they look at.
struct InterceptReasons {
  var words: SIMD8<UInt32>
  /// Of this host, for any vCPU.
  var defaults: SIMD8<UInt32>
  var machine: VirtualMachine
  var vmcb: [UInt8]
  var registers: KVMRegisters.Copy
  /// The APIC is KVM's; nil where that is not known.
  var hasAPIC: Bool?
  var guestDebug: UInt64?
  var isNMIMasked: Bool?
  var isNested: Bool

  /// In order of code.
  var differences: [ControlDifference] {
    var result: [ControlDifference] = []
    for difference in ControlSetting(intercepts: words).difference(from: ControlSetting(intercepts: defaults)) {
      let (control, isSet) = (difference.control, difference.isOn)
      let measured = isNested ? nil : measuredReason(control, isSet)
      let reason =
        measured
        ?? (isNested
          ? "L2 is current: these are L1's intercepts merged with KVM's"
          : InterceptDefault.lookup(control)?.change ?? control.interceptReason?.svm?.kvmUse ?? "not known")
      result.append(ControlDifference(control: control, isSet: isSet, reason: reason, isMeasured: measured != nil))
    }
    return result
  }

  private func isOn(_ control: ControlID) -> Bool {
    ControlSetting(intercepts: words).value(of: control) ?? false
  }

  private static let debugRegisters = Set(InterceptDefault.debugRegisterReads + InterceptDefault.debugRegisterWrites)

  private static let encrypted = "an SEV-ES guest: KVM cannot change its registers (control.nested_ctl)"

  private func field(_ name: String) -> UInt64 { VMCBField.lookup(name: name)?.value(in: vmcb) ?? 0 }

  private func disabled(_ bit: UInt64, _ name: String) -> String? {
    guard let exits = machine.disabledExits, exits & bit != 0 else { return nil }
    return "the VMM disabled these exits: KVM_CAP_X86_DISABLE_EXITS with KVM_X86_DISABLE_EXITS_\(name)"
  }

  /// What was read and decides the bit; nil where none of it does.
  private func measuredReason(_ control: ControlID, _ isSet: Bool) -> String? {
    if field("control.nested_ctl") >> 2 & 1 == 1, let reason = encryptedReason(control, isSet) { return reason }
    switch (control, isSet) {
    case (.interceptCR0Read, false), (.interceptCR0Write, false):
      return registers.value("CR0").flatMap {
        $0 == field("save.cr0")
          ? "the guest's CR0 is what the VMCB has (vcpu.arch.cr0); selective writes still exit" : nil
      }
    case (.interceptCR8Write, false): return taskPriorityReason
    case (let control, false) where Self.debugRegisters.contains(control):
      // KVM_DEBUGREG_WONT_EXIT
      return (registers.value("switch_db_regs") ?? 0) & 2 != 0
        ? "the guest's debug registers are loaded until its next exit for another reason" : nil
    case (.interceptException(3), true):
      return guestDebug.flatMap {
        $0 & 0x1_0001 == 0x1_0001 ? "the VMM debugs with breakpoints (vcpu.guest_debug)" : nil
      }
    case (.interceptException(13), true):
      return registers.value("EFER").flatMap { $0 >> 12 & 1 == 1 ? "the guest turned SVM on (vcpu.arch.efer)" : nil }
    case (.interceptVINTR, true):
      return field("control.int_ctl") >> 8 & 1 == 1
        ? "KVM waits until the guest takes interrupts: V_IRQ is requested (control.int_ctl)" : nil
    case (.interceptIRET, true): return isNMIMasked == true ? "the guest handles an NMI: KVM waits for its IRET" : nil
    case (.interceptPause, false): return disabled(4, "PAUSE")
    case (.interceptHLT, false):
      return isOn(.interceptIdleHLT) ? "INTERCEPT_IDLE_HLT is 1 in its place" : disabled(2, "HLT")
    case (.interceptIdleHLT, true): return isOn(.interceptHLT) ? nil : "in place of INTERCEPT_HLT"
    case (.interceptVMLOAD, true), (.interceptVMSAVE, true):
      return field("control.virt_ext") >> 1 & 1 == 0
        ? "virtual VMLOAD and VMSAVE are off for this guest (control.virt_ext)" : nil
    case (.interceptMonitor, false), (.interceptMWAIT, false): return disabled(1, "MWAIT")
    case (.interceptBuslock, true):
      return machine.busLockDetection == true ? "the VMM asked for it (KVM_CAP_X86_BUS_LOCK_EXIT)" : nil
    default: return nil
    }
  }

  /// update_cr8_intercept() of `lapic.c`, avic_activate_vmcb().
  private var taskPriorityReason: String? {
    if field("control.int_ctl") >> 31 & 1 == 1 { return "AVIC is on (control.int_ctl)" }
    guard hasAPIC == true, let priority = registers.taskPriority else { return nil }
    guard let request = registers.highestRequest else { return "no interrupt waits in the APIC (IRR is 0)" }
    return UInt64(request) >> 4 > priority >> 4 ? "no interrupt waits below the guest's task priority (IRR, TPR)" : nil
  }

  /// sev_es_init_vmcb().
  private func encryptedReason(_ control: ControlID, _ isSet: Bool) -> String? {
    switch (control, isSet) {
    case (.interceptCR0Read, false), (.interceptCR4Read, false), (.interceptCR0Write, false),
      (.interceptCR4Write, false), (.interceptCR8Write, false), (.interceptSelectiveCR0, false),
      (.interceptXSETBV, false), (.interceptException(1), false),
      (.interceptException(6), false), (.interceptException(13), false):
      Self.encrypted
    case (let control, false) where Self.debugRegisters.contains(control): Self.encrypted
    case (.trapEFERWrite, true), (.trapCR0Write, true), (.trapCR4Write, true), (.trapCR8Write, true):
      "an SEV-ES guest: in place of the intercepts of its control registers (control.nested_ctl)"
    default: nil
    }
  }
}
