import Architecture
import KernelMemory

/// Where this kernel keeps what stands beside the VMCS of a vCPU, and what single fields are made of.
struct VMXPlaces: Sendable {
  /// Paths from `struct vcpu_vmx`, as those of `VMXLayout.values`: by name, alternatives in order.
  static let values: [(String, [String])] = {
    var result: [(String, [String])] = [
      ("cr2", ["vcpu.arch.cr2"]), ("cr8", ["vcpu.arch.cr8"]), ("dr6", ["vcpu.arch.dr6"]),
      ("mp_state", ["vcpu.arch.mp_state"]), ("requests", ["vcpu.requests"]),
      ("exception_pending", ["vcpu.arch.exception.pending"]), ("exception_injected", ["vcpu.arch.exception.injected"]),
      ("exception_vector", ["vcpu.arch.exception.vector", "vcpu.arch.exception.nr"]),
      ("interrupt_injected", ["vcpu.arch.interrupt.injected"]), ("interrupt_vector", ["vcpu.arch.interrupt.nr"]),
      ("nmi_pending", ["vcpu.arch.nmi_pending"]), ("nmi_injected", ["vcpu.arch.nmi_injected"]),
      ("vapic_addr", ["vcpu.arch.apic->vapic_addr"]), ("cpuid_count", ["vcpu.arch.cpuid_nent"]),
      ("cpuid_entries", ["vcpu.arch.cpuid_entries"]), ("xfd_no_write_intercept", ["vcpu.arch.xfd_no_write_intercept"]),
      ("vm86_active", ["rmode.vm86_active"]),
      ("feature_control", ["msr_ia32_feature_control"]), ("hv_deadline_tsc", ["hv_deadline_tsc"]),
      ("pml_page", ["pml_pg"]), ("ve_info", ["ve_info"]), ("pt_ctl", ["pt_desc.guest.ctl"]),
      ("fail", ["fail"]), ("run_exit_reason", ["vcpu.run->exit_reason"]),
      ("run_failure", ["vcpu.run->fail_entry.hardware_entry_failure_reason"]),
      ("cached_vmcs12", ["nested.cached_vmcs12"]),
    ]
    for index in 0..<16 { result.append(("reg\(index)", ["vcpu.arch.regs[\(index)]"])) }
    for index in 0..<4 { result.append(("dr\(index)", ["vcpu.arch.db[\(index)]"])) }
    return result
  }()

  // MARK: struct kvm, struct kvm_vmx

  let notifyFlags: MemberPath?
  let pidTable: MemberPath?
  let apicAccessEnabled: MemberPath?
  let pageTable: MemberPath?
  /// `memslots[0]`, a pointer to `struct kvm_memslots`.
  let slots: MemberPath?
  let slotHash: MemberPath?
  let slotIndex: MemberPath?
  /// Of a `struct kvm_memory_slot`: its two links in that hash.
  let slotLinks: [MemberPath]
  let slotID: MemberPath?
  let slotFrame: MemberPath?
  let slotPages: MemberPath?
  let slotAddress: MemberPath?

  // MARK: The host

  /// Bytes of `struct page`.
  let pageStructureSize: Int?
  /// Within `struct cpu_entry_area`.
  let entryAreaGDT: MemberPath?
  let entryAreaTSS: MemberPath?
  /// `struct kvm_host_values` (6.12 and later).
  let hostEFER: MemberPath?
  let hostSCET: MemberPath?

  // MARK: struct vmcs12

  /// Each field of the VMCS that it has: a member has the name of the field in lower case
  /// (`arch/x86/kvm/vmx/vmcs12.c`).
  let nested: [(field: StateField, path: MemberPath)]
  let nestedSize: Int

  init(_ types: TypeInformation) {
    notifyFlags = types.path("kvm", "arch.notify_vmexit_flags")
    pidTable = types.path("kvm_vmx", "pid_table")
    apicAccessEnabled =
      types.path("kvm", "arch.apic_access_memslot_enabled") ?? types.path("kvm", "arch.apic_access_page_done")
    pageTable = types.path("kvm", "mm->pgd")
    slots = types.path("kvm", "memslots[0]")
    slotHash = types.path("kvm_memslots", "id_hash[0].first")
    slotIndex = types.path("kvm_memslots", "node_idx")
    slotLinks = (0..<2).compactMap { types.path("kvm_memory_slot", "id_node[\($0)].next") }
    slotID = types.path("kvm_memory_slot", "id")
    slotFrame = types.path("kvm_memory_slot", "base_gfn")
    slotPages = types.path("kvm_memory_slot", "npages")
    slotAddress = types.path("kvm_memory_slot", "userspace_addr")
    pageStructureSize = types.size(ofStructure: "page").flatMap { (32...256).contains($0) ? $0 : nil }
    entryAreaGDT = types.path("cpu_entry_area", "gdt")
    entryAreaTSS = types.path("cpu_entry_area", "tss.x86_tss")
    hostEFER = types.path("kvm_host_values", "efer")
    hostSCET = types.path("kvm_host_values", "s_cet")
    nestedSize = types.size(ofStructure: "vmcs12").flatMap { (256...4096).contains($0) ? $0 : nil } ?? 0
    var nested: [(StateField, MemberPath)] = []
    if nestedSize > 0 {
      for row in VMCSField.rows where row.linuxName != nil {
        if let path = types.path("vmcs12", row.name.lowercased()) { nested.append((StateField(row), path)) }
      }
    }
    self.nested = nested
  }
}
