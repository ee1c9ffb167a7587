/// What KVM keeps of a vCPU in neither the VMCS nor the VMCB, by name: one list for VMX and SVM, so that pages, JSON and help
/// call the same thing the same. In the order in which they are shown.
extension StateField {
  /// Where among them a field belongs: the headings that a page puts over them.
  public enum Group: String, Sendable, CaseIterable {
    case registers = "general registers"
    case control = "control and debug registers"
    case events = "pending events"
    case apic = "local APIC"
    case postedInterrupts = "posted-interrupt descriptor"
  }

  /// Every field of the kind `kvm`.
  public static let kept: [StateField] = keptByGroup.map(\.field)

  /// The group of a field of the kind `kvm`; nil for one of the VMCS or the VMCB.
  public var group: Group? { kind == .kvm ? Self.groups[name] : nil }

  /// The field of the kind `kvm` of that name.
  public static func kept(_ name: String) -> StateField? { keptByName[name] }

  private static let keptByName = Dictionary(uniqueKeysWithValues: kept.map { ($0.name, $0) })
  private static let groups = Dictionary(uniqueKeysWithValues: keptByGroup.map { ($0.field.name, $0.group) })

  private static let keptByGroup: [(group: Group, field: StateField)] = {
    var result: [(Group, StateField)] = []
    func add(_ group: Group, _ name: String, _ width: Int, _ area: Area, _ description: String) {
      result.append((group, StateField(kind: .kvm, name: name, width: width, area: area, description: description)))
    }
    // enum kvm_reg (arch/x86/include/asm/kvm_host.h): the order of the register numbers in instructions. RSP is a field
    // of the VMCS and of the VMCB.
    for name in ["RAX", "RCX", "RDX", "RBX", "RBP", "RSI", "RDI", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15"]
    {
      add(.registers, name, 64, .guest, "the guest's \(name), saved by KVM at the last exit")
    }
    add(.control, "CR2", 64, .guest, "the guest's page-fault linear address")
    add(.control, "CR8", 64, .guest, "the guest's task-priority register (bits 7:4 of the APIC's TPR)")
    for index in 0..<4 { add(.control, "DR\(index)", 64, .guest, "the guest's debug address register \(index)") }
    add(.control, "DR6", 64, .guest, "the guest's debug status register")
    // struct kvm_vcpu_arch and struct kvm_vcpu.
    add(.events, "MP_STATE", 32, .guest, "KVM_MP_STATE_*: 0 runnable, 1 uninitialized, 2 INIT received, 3 halted")
    add(.events, "EXCEPTION_PENDING", 8, .guest, "1 while an exception waits to be delivered or to cause an exit to L1")
    add(.events, "EXCEPTION_INJECTED", 8, .guest, "1 while an exception is being delivered at the next VM entry")
    add(.events, "EXCEPTION_VECTOR", 8, .guest, "the vector of that exception; means nothing without one")
    add(.events, "INTERRUPT_INJECTED", 8, .guest, "1 while an interrupt is being delivered at the next VM entry")
    add(.events, "INTERRUPT_VECTOR", 8, .guest, "the vector of that interrupt; means nothing without one")
    add(.events, "NMI_PENDING", 32, .guest, "how many NMIs wait to be delivered")
    add(.events, "NMI_INJECTED", 8, .guest, "1 while an NMI is being delivered at the next VM entry")
    add(
      .events, "VCPU_MODE", 32, .control,
      "0 outside guest mode, 1 in guest mode, 2 exiting guest mode, 3 reading shadow page tables")
    add(.events, "REQUESTS", 64, .control, "KVM_REQ_*: what the vCPU does before it enters the guest again, a bit each")
    // SDM volume 3, "Local APIC Register Address Map"; struct kvm_lapic.
    add(.apic, "APIC_BASE", 64, .guest, "the guest's IA32_APIC_BASE: address, enabled, x2APIC, bootstrap processor")
    add(.apic, "APICV_ACTIVE", 8, .control, "1 while APICv (VMX) or AVIC (SVM) is active for this vCPU")
    add(.apic, "APIC_TPR", 32, .guest, "task-priority register of the virtual-APIC page")
    add(.apic, "APIC_PPR", 32, .guest, "processor-priority register of the virtual-APIC page")
    for index in 0..<8 {
      add(.apic, "APIC_ISR\(index)", 32, .guest, "interrupts in service, vectors \(index * 32) to \(index * 32 + 31)")
    }
    for index in 0..<8 {
      add(.apic, "APIC_IRR\(index)", 32, .guest, "interrupts requested, vectors \(index * 32) to \(index * 32 + 31)")
    }
    // SDM volume 3, "Format of Posted-Interrupt Descriptor"; struct pi_desc.
    for index in 0..<4 {
      add(
        .postedInterrupts, "PI_PIR\(index)", 64, .control,
        "posted-interrupt requests, vectors \(index * 64) to \(index * 64 + 63)")
    }
    add(.postedInterrupts, "PI_ON", 8, .control, "1 while a notification is outstanding")
    add(.postedInterrupts, "PI_SN", 8, .control, "1 while notifications are suppressed")
    add(.postedInterrupts, "PI_NV", 8, .control, "the notification vector")
    add(.postedInterrupts, "PI_NDST", 32, .control, "the APIC id that notifications go to")
    return result
  }()
}
