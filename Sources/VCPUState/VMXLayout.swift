import Architecture
import KernelMemory

/// Where this kernel keeps what is read of a VMX vCPU: each path resolved once from BTF, the first alternative that the
/// kernel has. A path that no kernel of its kind has is nil, and its field unavailable.
struct VMXLayout: Sendable {
  let kvm: KVMLayout

  // MARK: struct vcpu_vmx

  let loaded: MemberPath
  let vmcs01: MemberPath
  let vmcs02: MemberPath?
  let values: [String: MemberPath]
  let segmentCacheBits: MemberPath?
  let segments: [(selector: MemberPath, base: MemberPath, limit: MemberPath, rights: MemberPath)]
  /// Positions in `regs_avail`.
  let registers: [String: Int]

  // MARK: struct loaded_vmcs

  let loadedSize: Int
  let loadedValues: [String: MemberPath]

  // MARK: struct vmcs_config, struct vmx_capability

  let configuration: [String: MemberPath]
  let eptCapability: MemberPath?
  let vpidCapability: MemberPath?

  /// What is read for a field or two only, and where it is.
  let places: VMXPlaces

  /// `controls_shadow` in a copy of a `struct loaded_vmcs`.
  func controlWords(in loaded: [UInt8]) -> ControlSetting {
    func word(_ name: String) -> UInt64? { loadedValues[name].flatMap { $0.integer(in: loaded) } }
    func half(_ name: String) -> UInt32? { word(name).map { UInt32(truncatingIfNeeded: $0) } }
    return ControlSetting(
      pin: half("pin"), primary: half("exec"), secondary: half("secondary_exec"), tertiary: word("tertiary_exec"),
      exit: half("vm_exit"), entry: half("vm_entry"))
  }

  /// - Throws: where the types lack what nothing goes without.
  init(_ types: TypeInformation) throws(KernelMemoryError) {
    kvm = try KVMLayout(types, vcpu: "vcpu_vmx")
    loaded = try types.need("vcpu_vmx", "loaded_vmcs")
    vmcs01 = try types.need("vcpu_vmx", "vmcs01")
    vmcs02 = types.path("vcpu_vmx", "nested.vmcs02")
    let alternatives: [(name: String, paths: [String])] = [
      ("regs_avail", ["vcpu.arch.regs_avail"]), ("mode", ["vcpu.mode"]),
      ("rsp", ["vcpu.arch.regs[4]"]), ("rip", ["vcpu.arch.rip", "vcpu.arch.regs[16]"]), ("rflags", ["rflags"]),
      ("cr0", ["vcpu.arch.cr0"]), ("cr3", ["vcpu.arch.cr3"]), ("cr4", ["vcpu.arch.cr4"]), ("efer", ["vcpu.arch.efer"]),
      ("cr0_owned", ["vcpu.arch.cr0_guest_owned_bits"]), ("cr4_owned", ["vcpu.arch.cr4_guest_owned_bits"]),
      ("pat", ["vcpu.arch.pat"]), ("dr7", ["vcpu.arch.dr7"]), ("guest_debug_dr7", ["vcpu.arch.guest_debug_dr7"]),
      ("guest_debug", ["vcpu.guest_debug"]), ("switch_db_regs", ["vcpu.arch.switch_db_regs"]),
      ("perf_global_ctrl", ["vcpu.arch.pmu.global_ctrl"]),
      ("tsc_offset", ["vcpu.arch.tsc_offset"]), ("tsc_scaling_ratio", ["vcpu.arch.tsc_scaling_ratio"]),
      ("exit_reason", ["vt.exit_reason.full", "exit_reason.full", "exit_reason"]),
      ("exit_qualification", ["vt.exit_qualification", "exit_qualification"]),
      ("exit_intr_info", ["vt.exit_intr_info", "exit_intr_info"]), ("idt_vectoring_info", ["idt_vectoring_info"]),
      ("vpid", ["vpid"]), ("ple_window", ["ple_window"]), ("vpid02", ["nested.vpid02"]),
      ("apic", ["vcpu.arch.apic"]), ("apicv_active", ["vcpu.arch.apicv_active"]),
      ("guest_state_loaded", ["vt.guest_state_loaded", "guest_state_loaded"]),
      ("eoi0", ["vcpu.arch.ioapic_handled_vectors[0]"]), ("eoi1", ["vcpu.arch.ioapic_handled_vectors[1]"]),
      ("eoi2", ["vcpu.arch.ioapic_handled_vectors[2]"]), ("eoi3", ["vcpu.arch.ioapic_handled_vectors[3]"]),
      ("autoload_guest_nr", ["msr_autoload.guest.nr"]), ("autoload_host_nr", ["msr_autoload.host.nr"]),
      ("autostore_nr", ["msr_autostore.nr", "msr_autostore.guest.nr"]),
      ("autoload_guest", ["msr_autoload.guest.val[0].index"]), ("autoload_host", ["msr_autoload.host.val[0].index"]),
      ("autostore", ["msr_autostore.val[0].index", "msr_autostore.guest.val[0].index"]),
      ("pi_desc", ["vt.pi_desc", "pi_desc"]),
      ("apic_base", ["vcpu.arch.apic_base"]), ("current_vmptr", ["nested.current_vmptr"]),
      ("root_hpa", ["vcpu.arch.mmu->root.hpa", "vcpu.arch.mmu->root_hpa"]),
      ("root_level", ["vcpu.arch.mmu->root_role.level", "vcpu.arch.mmu->shadow_root_level"]),
      ("apic_page", ["vcpu.arch.apic->regs"]), ("apic_apicv_active", ["vcpu.arch.apic->apicv_active"]),
      ("pdptr0", ["vcpu.arch.pdptrs[0]", "vcpu.arch.walk_mmu->pdptrs[0]"]),
    ]
    values = types.paths("vcpu_vmx", alternatives + VMXPlaces.values)
    segmentCacheBits = types.path("vcpu_vmx", "segment_cache.bitmask")
    // enum of asm/kvm_host.h: VCPU_SREG_ES, CS, SS, DS, FS, GS, TR, LDTR.
    segments = (0..<8).compactMap { index in
      let base = "segment_cache.seg[\(index)]"
      guard let selector = types.path("vcpu_vmx", "\(base).selector"),
        let address = types.path("vcpu_vmx", "\(base).base"),
        let limit = types.path("vcpu_vmx", "\(base).limit"), let rights = types.path("vcpu_vmx", "\(base).ar")
      else { return nil }
      return (selector, address, limit, rights)
    }
    var registers: [String: Int] = ["RSP": 4]
    for name in ["PDPTR", "CR0", "CR3", "CR4", "RFLAGS", "SEGMENTS", "EXIT_INFO_1", "EXIT_INFO_2"] {
      let position = types.enumerator("VCPU_EXREG_\(name)") ?? types.enumerator("VCPU_REG_\(name)")
      if let position, (0..<64).contains(position) { registers[name] = Int(position) }
    }
    let rip = types.enumerator("VCPU_REGS_RIP") ?? types.enumerator("VCPU_REG_RIP")
    if let rip, (0..<64).contains(rip) { registers["RIP"] = Int(rip) }
    self.registers = registers

    guard let loadedSize = types.size(ofStructure: "loaded_vmcs"), (32...4096).contains(loadedSize) else {
      throw KernelMemoryError("the kernel's type information has no struct loaded_vmcs")
    }
    self.loadedSize = loadedSize
    var loadedValues: [String: MemberPath] = [:]
    for name in ["vm_entry", "vm_exit", "pin", "exec", "secondary_exec", "tertiary_exec"] {
      loadedValues[name] = types.path("loaded_vmcs", "controls_shadow.\(name)")
    }
    for name in ["cr3", "cr4", "gs_base", "fs_base", "rsp", "fs_sel", "gs_sel", "ldt_sel"] {
      loadedValues["host." + name] = types.path("loaded_vmcs", "host_state.\(name)")
    }
    for name in ["msr_bitmap", "shadow_vmcs", "cpu", "hv_timer_soft_disabled"] {
      loadedValues[name] = types.path("loaded_vmcs", name)
    }
    guard ["pin", "exec", "secondary_exec", "vm_exit", "vm_entry"].allSatisfy({ loadedValues[$0] != nil }) else {
      throw KernelMemoryError("the kernel's type information has no loaded_vmcs.controls_shadow")
    }
    self.loadedValues = loadedValues

    var configuration: [String: MemberPath] = [:]
    for name in [
      "pin_based_exec_ctrl", "cpu_based_exec_ctrl", "cpu_based_2nd_exec_ctrl", "cpu_based_3rd_exec_ctrl", "vmexit_ctrl",
      "vmentry_ctrl",
    ] { configuration[name] = types.path("vmcs_config", name) }
    self.configuration = configuration
    eptCapability = types.path("vmx_capability", "ept")
    vpidCapability = types.path("vmx_capability", "vpid")
    places = VMXPlaces(types)
  }
}
