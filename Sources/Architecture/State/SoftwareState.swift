/// What KVM keeps of a vCPU in neither the VMCS nor the VMCB, by name: one list for VMX and SVM, so that pages, JSON and help
/// call the same thing the same. In the order in which they are shown.
extension StateField {
  /// Every field of the kind `kvm`.
  public static let softwareState: [StateField] = {
    var result: [StateField] = []
    func add(_ name: String, _ width: Int, _ area: Area, _ description: String) {
      result.append(StateField(kind: .kvm, name: name, width: width, area: area, description: description))
    }
    // enum kvm_reg (arch/x86/include/asm/kvm_host.h): the order of the register numbers in instructions. RSP is a field
    // of the VMCS and of the VMCB.
    for name in ["RAX", "RCX", "RDX", "RBX", "RBP", "RSI", "RDI", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15"]
    {
      add(name, 64, .guest, "the guest's \(name), saved by KVM at the last exit")
    }
    add("CR2", 64, .guest, "the guest's page-fault linear address")
    add("CR8", 64, .guest, "the guest's task-priority register (bits 7:4 of the APIC's TPR)")
    for index in 0..<4 { add("DR\(index)", 64, .guest, "the guest's debug address register \(index)") }
    add("DR6", 64, .guest, "the guest's debug status register")
    // struct kvm_vcpu_arch and struct kvm_vcpu.
    add("MP_STATE", 32, .guest, "KVM_MP_STATE_*: 0 runnable, 1 uninitialized, 2 INIT received, 3 halted")
    add("EXCEPTION_PENDING", 8, .guest, "1 while an exception waits to be delivered or to cause an exit to L1")
    add("EXCEPTION_INJECTED", 8, .guest, "1 while an exception is being delivered at the next VM entry")
    add("EXCEPTION_VECTOR", 8, .guest, "the vector of that exception; means nothing without one")
    add("INTERRUPT_INJECTED", 8, .guest, "1 while an interrupt is being delivered at the next VM entry")
    add("INTERRUPT_VECTOR", 8, .guest, "the vector of that interrupt; means nothing without one")
    add("NMI_PENDING", 32, .guest, "how many NMIs wait to be delivered")
    add("NMI_INJECTED", 8, .guest, "1 while an NMI is being delivered at the next VM entry")
    add(
      "VCPU_MODE", 32, .control,
      "0 outside guest mode, 1 in guest mode, 2 exiting guest mode, 3 reading shadow page tables")
    add("REQUESTS", 64, .control, "KVM_REQ_*: what the vCPU does before it enters the guest again, a bit each")
    // SDM volume 3, "Local APIC Register Address Map"; struct kvm_lapic.
    add("APIC_BASE", 64, .guest, "the guest's IA32_APIC_BASE: address, enabled, x2APIC, bootstrap processor")
    add("APICV_ACTIVE", 8, .control, "1 while APICv (VMX) or AVIC (SVM) is active for this vCPU")
    add("APIC_TPR", 32, .guest, "task-priority register of the virtual-APIC page")
    add("APIC_PPR", 32, .guest, "processor-priority register of the virtual-APIC page")
    for index in 0..<8 {
      add("APIC_ISR\(index)", 32, .guest, "interrupts in service, vectors \(index * 32) to \(index * 32 + 31)")
    }
    for index in 0..<8 {
      add("APIC_IRR\(index)", 32, .guest, "interrupts requested, vectors \(index * 32) to \(index * 32 + 31)")
    }
    // SDM volume 3, "Format of Posted-Interrupt Descriptor"; struct pi_desc.
    for index in 0..<4 {
      add(
        "PI_PIR\(index)", 64, .control,
        "posted-interrupt requests, vectors \(index * 64) to \(index * 64 + 63)")
    }
    add("PI_ON", 8, .control, "1 while a notification is outstanding")
    add("PI_SN", 8, .control, "1 while notifications are suppressed")
    add("PI_NV", 8, .control, "the notification vector")
    add("PI_NDST", 32, .control, "the APIC id that notifications go to")
    return result
  }()

  /// Registers as the guest reads them, where the VMCS or the VMCB has what the processor runs with: as KVM keeps them of an
  /// SVM guest, and as a VMM shows them.
  public static let guestView: [StateField] = [
    ("RSP", "the guest's stack pointer"), ("RIP", "the guest's instruction pointer, as the next VM entry takes it"),
    ("CR0", "CR0 as the guest reads it"), ("CR3", "CR3 as the guest reads it"), ("CR4", "CR4 as the guest reads it"),
    ("EFER", "EFER as the guest reads it"), ("DR7", "the guest's debug control register"),
  ].map { StateField(kind: .kvm, name: $0.0, width: 64, area: .guest, description: $0.1) }

  /// The field of the kind `kvm` of that name.
  public static func softwareState(_ name: String) -> StateField? { softwareStateByName[name] }

  private static let softwareStateByName = Dictionary(
    uniqueKeysWithValues: (softwareState + guestView).map { ($0.name, $0) })
}
