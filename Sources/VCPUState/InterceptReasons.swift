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
    for code in UInt32(0)..<192 where bit(words, code) != bit(defaults, code) {
      guard let control = ControlID(intercept: code) else { continue }
      let isSet = bit(words, code)
      let measured = isNested ? nil : measuredReason(code, isSet)
      let reason =
        measured
        ?? (isNested
          ? "L2 is current: these are L1's intercepts merged with KVM's"
          : InterceptDefault.lookup(code: code)?.change ?? ExitReason.lookup(isa: ISA.svm.rawValue, code: code)?.svm?
            .kvmUse
            ?? "not known")
      result.append(ControlDifference(control: control, isSet: isSet, reason: reason, isMeasured: measured != nil))
    }
    return result
  }

  private func bit(_ words: SIMD8<UInt32>, _ code: UInt32) -> Bool { words[Int(code / 32)] >> (code % 32) & 1 == 1 }

  private func field(_ name: String) -> UInt64 { VMCBField.lookup(name: name)?.value(in: vmcb) ?? 0 }

  private func disabled(_ bit: UInt64, _ name: String) -> String? {
    guard let exits = machine.disabledExits, exits & bit != 0 else { return nil }
    return "the VMM disabled these exits: KVM_CAP_X86_DISABLE_EXITS with KVM_X86_DISABLE_EXITS_\(name)"
  }

  /// What was read and decides the bit; nil where none of it does.
  private func measuredReason(_ code: UInt32, _ isSet: Bool) -> String? {
    if field("control.nested_ctl") >> 2 & 1 == 1, let reason = encryptedReason(code, isSet) { return reason }
    switch (code, isSet) {
    case (0, false), (16, false):
      return registers.value("CR0").flatMap {
        $0 == field("save.cr0")
          ? "the guest's CR0 is what the VMCB has (vcpu.arch.cr0); selective writes still exit" : nil
      }
    case (24, false): return taskPriorityReason
    case (32...39, false), (48...55, false):
      // KVM_DEBUGREG_WONT_EXIT
      return (registers.value("switch_db_regs") ?? 0) & 2 != 0
        ? "the guest's debug registers are loaded until its next exit for another reason" : nil
    case (67, true):
      return guestDebug.flatMap {
        $0 & 0x1_0001 == 0x1_0001 ? "the VMM debugs with breakpoints (vcpu.guest_debug)" : nil
      }
    case (77, true):
      return registers.value("EFER").flatMap { $0 >> 12 & 1 == 1 ? "the guest turned SVM on (vcpu.arch.efer)" : nil }
    case (100, true):
      return field("control.int_ctl") >> 8 & 1 == 1
        ? "KVM waits until the guest takes interrupts: V_IRQ is requested (control.int_ctl)" : nil
    case (116, true): return isNMIMasked == true ? "the guest handles an NMI: KVM waits for its IRET" : nil
    case (119, false): return disabled(4, "PAUSE")
    case (120, false): return bit(words, 166) ? "INTERCEPT_IDLE_HLT is 1 in its place" : disabled(2, "HLT")
    case (166, true): return bit(words, 120) ? nil : "in place of INTERCEPT_HLT"
    case (130, true), (131, true):
      return field("control.virt_ext") >> 1 & 1 == 0
        ? "virtual VMLOAD and VMSAVE are off for this guest (control.virt_ext)" : nil
    case (138, false), (139, false): return disabled(1, "MWAIT")
    case (165, true):
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
  private func encryptedReason(_ code: UInt32, _ isSet: Bool) -> String? {
    switch (code, isSet) {
    case (0, false), (4, false), (16, false), (20, false), (24, false), (101, false), (141, false), (65, false),
      (70, false), (77, false), (32...39, false), (48...55, false):
      "an SEV-ES guest: KVM cannot change its registers (control.nested_ctl)"
    case (143, true), (144, true), (148, true), (152, true):
      "an SEV-ES guest: in place of the intercepts of its control registers (control.nested_ctl)"
    default: nil
    }
  }
}
