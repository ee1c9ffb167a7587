// swift-format-ignore-file
// One row per line, however long, so that rows can be compared, sorted and searched.

extension VMCBField {
  /// Every field that Linux names, in ascending order of offset.
  ///
  /// Sources: Linux 5.10 to 7.3 `arch/x86/include/asm/svm.h` (`struct vmcb_control_area`, `struct vmcb_save_area`), AMD APM
  /// volume 2, appendix "Layout of VMCB". Newer kernels call `control.nested_ctl` misc_ctl, `control.virt_ext` misc_ctl2, and make
  /// one member of `control.exit_code` and `control.exit_code_hi`.
  public static let rows: [VMCBField] = control + segments + save

  private static let control: [VMCBField] = [
    VMCBField("control.intercepts[0]", at: 0x000, 4, .control, "Intercepts of reads (15:0) and writes (31:16) of CR0 to CR15"),
    VMCBField("control.intercepts[1]", at: 0x004, 4, .control, "Intercepts of reads (15:0) and writes (31:16) of DR0 to DR15"),
    VMCBField("control.intercepts[2]", at: 0x008, 4, .control, "Intercepts of exceptions by vector"),
    VMCBField("control.intercepts[3]", at: 0x00c, 4, .control, "Intercepts of interrupts, descriptor-table accesses, RDTSC, CPUID, PAUSE, HLT, INVLPG, I/O, MSRs, shutdown"),
    VMCBField("control.intercepts[4]", at: 0x010, 4, .control, "Intercepts of SVM instructions, RDTSCP, WBINVD, MONITOR, MWAIT, XSETBV, RDPRU and traps after CR and EFER writes"),
    VMCBField("control.intercepts[5]", at: 0x014, 4, .control, "Intercepts of INVLPGB, INVPCID, MCOMMIT, TLBSYNC, bus locks and idle HLT"),
    VMCBField("control.pause_filter_thresh", at: 0x03c, 2, .control, "PAUSE instructions further apart than this many cycles start the count anew"),
    VMCBField("control.pause_filter_count", at: 0x03e, 2, .control, "PAUSE instructions until one exits"),
    VMCBField("control.iopm_base_pa", at: 0x040, 8, .control, "Physical address of the I/O permission map"),
    VMCBField("control.msrpm_base_pa", at: 0x048, 8, .control, "Physical address of the MSR permission map"),
    VMCBField("control.tsc_offset", at: 0x050, 8, .control, "Added to the TSC that the guest reads"),
    VMCBField("control.asid", at: 0x058, 4, .control, "Address-space identifier of the guest in the TLB"),
    VMCBField("control.tlb_ctl", at: 0x05c, 1, .control, "What VMRUN flushes of the TLB: 0 nothing, 1 all, 3 the guest's, 7 the guest's but global pages"),
    VMCBField("control.erap_ctl", at: 0x05d, 1, .control, "Return-address predictor: a larger one for the guest, cleared at VMRUN"),
    VMCBField("control.int_ctl", at: 0x060, 4, .control, "V_TPR (7:0), V_IRQ, V_GIF, virtual NMIs, V_INTR_PRIO, V_IGN_TPR, V_INTR_MASKING, enables of vGIF, vNMI, x2AVIC and AVIC"),
    VMCBField("control.int_vector", at: 0x064, 4, .control, "Vector of the virtual interrupt that V_IRQ requests"),
    VMCBField("control.int_state", at: 0x068, 4, .control, "Interrupt shadow (0), guest's interrupt mask (1)"),
    VMCBField("control.exit_code", at: 0x070, 4, .exit, "EXITCODE: why the guest exited, low half"),
    VMCBField("control.exit_code_hi", at: 0x074, 4, .exit, "EXITCODE, high half: all ones with a negative code"),
    VMCBField("control.exit_info_1", at: 0x078, 8, .exit, "EXITINFO1, by exit code"),
    VMCBField("control.exit_info_2", at: 0x080, 8, .exit, "EXITINFO2, by exit code"),
    VMCBField("control.exit_int_info", at: 0x088, 4, .exit, "EXITINTINFO: the event that was being delivered at the exit"),
    VMCBField("control.exit_int_info_err", at: 0x08c, 4, .exit, "Error code of that event"),
    VMCBField("control.nested_ctl", at: 0x090, 8, .control, "Nested paging (0), SEV (1), SEV-ES (2), guest-mode execute trap (3), supervisor shadow-stack check (4)"),
    VMCBField("control.avic_vapic_bar", at: 0x098, 8, .control, "Guest-physical address of the APIC under AVIC"),
    VMCBField("control.ghcb_gpa", at: 0x0a0, 8, .control, "Guest-physical address of the GHCB of an SEV-ES guest"),
    VMCBField("control.event_inj", at: 0x0a8, 4, .control, "The event that VMRUN injects"),
    VMCBField("control.event_inj_err", at: 0x0ac, 4, .control, "Error code of that event"),
    VMCBField("control.nested_cr3", at: 0x0b0, 8, .control, "Physical address of the nested page tables, nCR3"),
    VMCBField("control.virt_ext", at: 0x0b8, 8, .control, "LBR virtualization (0), virtual VMLOAD and VMSAVE (1)"),
    VMCBField("control.clean", at: 0x0c0, 4, .control, "Which groups of fields the processor may take from its cache"),
    VMCBField("control.next_rip", at: 0x0c8, 8, .exit, "nRIP: address of the instruction after the one that exited"),
    VMCBField("control.insn_len", at: 0x0d0, 1, .exit, "Number of instruction bytes fetched, for nested page faults"),
    VMCBField("control.insn_bytes[0]", at: 0x0d1, 8, .exit, "Instruction bytes 0 to 7, little-endian"),
    VMCBField("control.insn_bytes[8]", at: 0x0d9, 7, .exit, "Instruction bytes 8 to 14, little-endian"),
    VMCBField("control.avic_backing_page", at: 0x0e0, 8, .control, "Physical address of the vCPU's APIC page under AVIC"),
    VMCBField("control.avic_logical_id", at: 0x0f0, 8, .control, "Physical address of AVIC's table of logical APIC ids"),
    VMCBField("control.avic_physical_id", at: 0x0f8, 8, .control, "Physical address of AVIC's table of physical APIC ids, and its last index"),
    VMCBField("control.vmsa_pa", at: 0x108, 8, .control, "Physical address of the encrypted save area of an SEV-ES guest"),
    VMCBField("control.bus_lock_counter", at: 0x120, 2, .control, "Bus locks until one exits"),
    VMCBField("control.allowed_sev_features", at: 0x138, 8, .control, "SEV features that the guest may have on"),
    VMCBField("control.guest_sev_features", at: 0x140, 8, .control, "SEV features that the guest has on"),
    VMCBField("control.reserved_sw[0]", at: 0x3e0, 8, .control, "For software: Hyper-V's enlightenments, bytes 0 to 7"),
    VMCBField("control.reserved_sw[8]", at: 0x3e8, 8, .control, "For software: Hyper-V's enlightenments, bytes 8 to 15"),
    VMCBField("control.reserved_sw[16]", at: 0x3f0, 8, .control, "For software: Hyper-V's enlightenments, bytes 16 to 23"),
    VMCBField("control.reserved_sw[24]", at: 0x3f8, 8, .control, "For software: Hyper-V's enlightenments, bytes 24 to 31"),
  ]

  /// `struct vmcb_seg`, ten of them. GDTR and IDTR have no selector and no attributes.
  private static let segments: [VMCBField] = ["es", "cs", "ss", "ds", "fs", "gs", "gdtr", "ldtr", "idtr", "tr"].enumerated().flatMap { index, name -> [VMCBField] in
    let offset = saveArea + 16 * index
    let isTable = name == "gdtr" || name == "idtr"
    let isCarried = ["fs", "gs", "ldtr", "tr"].contains(name)
    let title = name.uppercased()
    return (isTable ? [] : [
      VMCBField("save.\(name).selector", at: offset, 2, .guest, vmsave: isCarried, "Selector of \(title)"),
      VMCBField("save.\(name).attrib", at: offset + 2, 2, .guest, vmsave: isCarried, "Attributes of \(title): type (3:0), S, DPL (6:5), P, AVL, L, D/B, G (11)"),
    ]) + [
      VMCBField("save.\(name).limit", at: offset + 4, 4, .guest, vmsave: isCarried, "Limit of \(title) in bytes"),
      VMCBField("save.\(name).base", at: offset + 8, 8, .guest, vmsave: isCarried, "Base address of \(title)"),
    ]
  }

  private static let save: [VMCBField] = [
    VMCBField("save.vmpl", at: 0x4ca, 1, .guest, "Privilege level of the virtual machine (SEV-SNP)"),
    VMCBField("save.cpl", at: 0x4cb, 1, .guest, "Current privilege level"),
    VMCBField("save.efer", at: 0x4d0, 8, .guest, "EFER, with SVME, which VMRUN wants"),
    VMCBField("save.cr4", at: 0x548, 8, .guest, "CR4"),
    VMCBField("save.cr3", at: 0x550, 8, .guest, "CR3: the guest's with nested paging, else the root of KVM's shadow page tables"),
    VMCBField("save.cr0", at: 0x558, 8, .guest, "CR0"),
    VMCBField("save.dr7", at: 0x560, 8, .guest, "DR7"),
    VMCBField("save.dr6", at: 0x568, 8, .guest, "DR6"),
    VMCBField("save.rflags", at: 0x570, 8, .guest, "RFLAGS"),
    VMCBField("save.rip", at: 0x578, 8, .guest, "RIP"),
    VMCBField("save.rsp", at: 0x5d8, 8, .guest, "RSP"),
    VMCBField("save.s_cet", at: 0x5e0, 8, .guest, "S_CET: control-flow enforcement in supervisor mode"),
    VMCBField("save.ssp", at: 0x5e8, 8, .guest, "Shadow-stack pointer"),
    VMCBField("save.isst_addr", at: 0x5f0, 8, .guest, "Address of the table of interrupt shadow stacks"),
    VMCBField("save.rax", at: 0x5f8, 8, .guest, "RAX"),
    VMCBField("save.star", at: 0x600, 8, .guest, vmsave: true, "STAR: selectors of SYSCALL and SYSRET"),
    VMCBField("save.lstar", at: 0x608, 8, .guest, vmsave: true, "LSTAR: where SYSCALL goes in 64-bit mode"),
    VMCBField("save.cstar", at: 0x610, 8, .guest, vmsave: true, "CSTAR: where SYSCALL goes in compatibility mode"),
    VMCBField("save.sfmask", at: 0x618, 8, .guest, vmsave: true, "SFMASK: flags that SYSCALL clears"),
    VMCBField("save.kernel_gs_base", at: 0x620, 8, .guest, vmsave: true, "KernelGSbase: what SWAPGS exchanges"),
    VMCBField("save.sysenter_cs", at: 0x628, 8, .guest, vmsave: true, "SYSENTER_CS"),
    VMCBField("save.sysenter_esp", at: 0x630, 8, .guest, vmsave: true, "SYSENTER_ESP"),
    VMCBField("save.sysenter_eip", at: 0x638, 8, .guest, vmsave: true, "SYSENTER_EIP"),
    VMCBField("save.cr2", at: 0x640, 8, .guest, "CR2"),
    VMCBField("save.g_pat", at: 0x668, 8, .guest, "PAT of the guest under nested paging"),
    VMCBField("save.dbgctl", at: 0x670, 8, .guest, "DebugCtl"),
    VMCBField("save.br_from", at: 0x678, 8, .guest, "LastBranchFromIP"),
    VMCBField("save.br_to", at: 0x680, 8, .guest, "LastBranchToIP"),
    VMCBField("save.last_excp_from", at: 0x688, 8, .guest, "LastExceptionFromIP"),
    VMCBField("save.last_excp_to", at: 0x690, 8, .guest, "LastExceptionToIP"),
    VMCBField("save.spec_ctrl", at: 0x6e0, 8, .guest, "SPEC_CTRL of the guest, where the processor virtualizes it"),
  ]
}
