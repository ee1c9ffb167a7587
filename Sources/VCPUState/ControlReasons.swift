import Architecture

/// Says why bits of a vCPU's control words differ from `vmcs_config`: the rules of vmx_exec_control(),
/// vmx_secondary_exec_control(), vmx_pin_based_exec_ctrl() and their siblings (`arch/x86/kvm/vmx/vmx.c`), with the values
/// that they look at.
struct ControlReasons {
  var words: ControlSetting
  var configuration: ControlSetting
  var machine: VirtualMachine
  /// The APIC is KVM's; nil where that is not known.
  var hasAPIC: Bool?
  var isAPICvActive: UInt64?
  var switchDebugRegisters: UInt64?
  /// IA32_EFER and IA32_APIC_BASE of the guest; `nested.current_vmptr`, all ones where L1 has no current VMCS.
  var efer: UInt64?
  var apicBase: UInt64?
  var currentVMPointer: UInt64?
  var isNested: Bool
  var parameters: [String: String]

  /// In order of word and bit.
  var differences: [ControlDifference] {
    var result: [ControlDifference] = []
    for word in [ControlWord.pin, .primary, .secondary, .tertiary, .exit, .entry] {
      guard let now = words.word(word), let configured = configuration.word(word) else { continue }
      for bit in 0..<word.width where (now ^ configured) >> UInt64(bit) & 1 == 1 {
        guard let control = ControlID(word: word, bit: bit) else { continue }
        let isSet = now >> UInt64(bit) & 1 == 1
        let measured = isNested ? nil : measuredReason(word, bit, isSet)
        let reason =
          measured
          ?? (isNested
            ? "L2 is current: these are L1's wishes merged with KVM's"
            : control.controlBit?.kvmCondition ?? "not known")
        result.append(ControlDifference(control: control, isSet: isSet, reason: reason, isMeasured: measured != nil))
      }
    }
    return result
  }

  private func disabled(_ bit: UInt64, _ name: String) -> String? {
    guard let exits = machine.disabledExits, exits & bit != 0 else { return nil }
    return "the VMM disabled these exits: KVM_CAP_X86_DISABLE_EXITS with KVM_X86_DISABLE_EXITS_\(name)"
  }

  private var noAPIC: String? {
    hasAPIC == false ? "no APIC of KVM's: the VMM emulates it (vcpu.arch.apic is null)" : nil
  }

  private var noAPICv: String? {
    if let noAPIC { return noAPIC }
    guard isAPICvActive.map({ $0 & 0xff == 0 }) ?? false else { return nil }
    let inhibits = machine.apicvInhibits.map { " (kvm.arch.apicv_inhibit_reasons = 0x\(String($0, radix: 16)))" } ?? ""
    return "APICv is not active for this vCPU\(inhibits)"
  }

  /// What was read and decides the bit; nil where none of it does.
  private func measuredReason(_ word: ControlWord, _ bit: Int, _ isSet: Bool) -> String? {
    switch (word, bit, isSet) {
    case (.primary, 7, false): disabled(2, "HLT")
    case (.primary, 10, false), (.primary, 29, false): disabled(1, "MWAIT")
    case (.secondary, 10, false): disabled(4, "PAUSE")
    case (.primary, 21, false), (.primary, 19, true), (.primary, 20, true): noAPIC
    case (.primary, 19, false), (.primary, 20, false):
      (words.primary ?? 0) >> 21 & 1 == 1 ? "CPU_BASED_TPR_SHADOW is 1: the APIC page takes CR8" : nil
    case (.primary, 9, false), (.primary, 15, false), (.primary, 16, false):
      parameters["ept"] == "Y" ? "kvm_intel.ept=Y: needed for shadow page tables only" : nil
    case (.entry, 9, let isSet):
      efer.flatMap { $0 >> 10 & 1 == (isSet ? 1 : 0) ? "the guest's EFER.LMA is \(isSet ? 1 : 0)" : nil }
    case (.secondary, 4, false) where hasAPIC == true:
      apicBase.flatMap { $0 >> 10 & 1 == 0 ? "the guest's APIC is not in x2APIC mode (vcpu.arch.apic_base)" : noAPICv }
    case (.secondary, 0, false) where hasAPIC == true:
      apicBase.flatMap { $0 >> 10 & 1 == 1 ? "the guest's APIC is in x2APIC mode (vcpu.arch.apic_base)" : noAPICv }
    case (.secondary, 14, false):
      currentVMPointer == .max ? "the guest runs no VM of its own (nested.current_vmptr)" : nil
    case (.secondary, 17, false):
      machine.dirtyLoggedSlots == 0 ? "no memory slot is logged for dirty pages (no migration runs)" : nil
    case (.secondary, 0, false), (.secondary, 4, false): noAPIC
    case (.pin, 7, false), (.secondary, 8, false), (.secondary, 9, false), (.tertiary, 4, false): noAPICv
    case (.primary, 23, false):
      // KVM_DEBUGREG_WONT_EXIT
      (switchDebugRegisters ?? 0) & 2 != 0
        ? "the guest's debug registers are loaded until its next exit for another reason" : nil
    case (.secondary, 1, false): parameters["ept"] == "N" ? "kvm_intel.ept=N" : nil
    case (.secondary, 7, false): parameters["unrestricted_guest"] == "N" ? "kvm_intel.unrestricted_guest=N" : nil
    case (.secondary, 5, false): parameters["vpid"] == "N" ? "kvm_intel.vpid=N" : nil
    case (.secondary, 30, false):
      machine.busLockDetection == false ? "the VMM did not ask for it (KVM_CAP_X86_BUS_LOCK_EXIT)" : nil
    case (.secondary, 31, false):
      machine.notifyWindow.map { _ in "the VMM did not ask for it (KVM_CAP_X86_NOTIFY_VMEXIT)" }
    default: nil
    }
  }
}
