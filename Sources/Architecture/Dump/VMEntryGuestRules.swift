/// SDM volume 3, chapter "VM Entries", section "Checks on the Guest State Area", but for the segments.
extension VMEntryRule {
  static let guestRegisterRules: [VMEntryRule] = [
    VMEntryRule(
      "guest-cr0-ne", .guestRegisters, "Guest CR0 has NE set, and bits 63:32 clear", [F.guestCR0]
    ) { $0.bit(F.guestCR0, 5) && $0[F.guestCR0] >> 32 == 0 },
    VMEntryRule(
      "guest-cr0-pe", .guestRegisters, "Without \"Unrestricted guest\", guest CR0.PE is 1",
      [F.guestCR0, F.secondary, F.primary]
    ) { $0.bit(F.guestCR0, 0) || $0.isUnrestricted },
    VMEntryRule(
      "guest-cr0-pg", .guestRegisters, "Without \"Unrestricted guest\", guest CR0.PG is 1",
      [F.guestCR0, F.secondary, F.primary]
    ) { $0.bit(F.guestCR0, 31) || $0.isUnrestricted },
    VMEntryRule(
      "guest-cr0-pg-pe", .guestRegisters, "Guest CR0.PG is 1 only where CR0.PE is 1", [F.guestCR0]
    ) { !$0.bit(F.guestCR0, 31) || $0.bit(F.guestCR0, 0) },
    VMEntryRule("guest-cr4-vmxe", .guestRegisters, "Guest CR4 has VMXE set", [F.guestCR4]) { $0.bit(F.guestCR4, 13) },
    VMEntryRule(
      "guest-cr4-reserved", .guestRegisters, "Bits 63:33 of guest CR4 are 0", [F.guestCR4]
    ) { $0[F.guestCR4] >> 33 == 0 },
    VMEntryRule(
      "guest-cr4-cet-wp", .guestRegisters, "Guest CR4.CET is 1 only where CR0.WP is 1", [F.guestCR4, F.guestCR0]
    ) { !$0.bit(F.guestCR4, 23) || $0.bit(F.guestCR0, 16) },
    VMEntryRule(
      "guest-debugctl", .guestRegisters,
      "With \"Load debug controls\", bits 63:16 and 5:3 of guest IA32_DEBUGCTL are 0", [F.debugControl, F.entry]
    ) { !$0.control(.vmEntryLoadDebugControls) || $0[F.debugControl] & ~0xffc7 == 0 },
    VMEntryRule(
      "guest-ia32e-pg", .guestRegisters, "With \"IA-32e mode guest\", guest CR0.PG is 1", [F.guestCR0, F.entry]
    ) { !$0.isIA32e || $0.bit(F.guestCR0, 31) },
    VMEntryRule(
      "guest-ia32e-pae", .guestRegisters, "With \"IA-32e mode guest\", guest CR4.PAE is 1", [F.guestCR4, F.entry]
    ) { !$0.isIA32e || $0.bit(F.guestCR4, 5) },
    VMEntryRule(
      "guest-pcide", .guestRegisters, "Guest CR4.PCIDE is 1 only with \"IA-32e mode guest\"", [F.guestCR4, F.entry]
    ) { !$0.bit(F.guestCR4, 17) || $0.isIA32e },
    VMEntryRule(
      "guest-cr3-width", .guestRegisters,
      "Guest CR3 has no bit beyond the physical-address width (bits 62:61 are LAM's)", [F.guestCR3]
    ) { $0[F.guestCR3] & 0x9ff0_0000_0000_0000 == 0 },
    VMEntryRule(
      "guest-dr7", .guestRegisters, "With \"Load debug controls\", bits 63:32 of DR7 are 0", [F.dr7, F.entry]
    ) { !$0.control(.vmEntryLoadDebugControls) || $0[F.dr7] >> 32 == 0 },
    canonical("guest-sysenter-esp", .guestRegisters, "guest IA32_SYSENTER_ESP", F.sysenterESP),
    canonical("guest-sysenter-eip", .guestRegisters, "guest IA32_SYSENTER_EIP", F.sysenterEIP),
    VMEntryRule(
      "guest-perf-global", .guestRegisters,
      "With \"Load IA32_PERF_GLOBAL_CTRL\" on entry, the reserved bits 63:49 of the guest's are 0",
      [F.guestPerfGlobal, F.entry]
    ) { !$0.control(.vmEntryLoadIA32PerfGlobalCtrl) || $0[F.guestPerfGlobal] >> 49 == 0 },
    VMEntryRule(
      "guest-pat", .guestRegisters,
      "With \"Load IA32_PAT\" on entry, each byte of the guest's is 0, 1, 4, 5, 6 or 7", [F.guestPAT, F.entry]
    ) { !$0.control(.vmEntryLoadIA32PAT) || isValidPAT($0[F.guestPAT]) },
    VMEntryRule(
      "guest-efer-reserved", .guestRegisters,
      "With \"Load IA32_EFER\" on entry, only SCE, LME, LMA and NXE of the guest's may be 1", [F.guestEFER, F.entry]
    ) { !$0.control(.vmEntryLoadIA32EFER) || $0[F.guestEFER] & ~eferIntelBits == 0 },
    VMEntryRule(
      "guest-efer-lma", .guestRegisters,
      "With \"Load IA32_EFER\" on entry, the guest's LMA equals \"IA-32e mode guest\"", [F.guestEFER, F.entry]
    ) { !$0.control(.vmEntryLoadIA32EFER) || $0.bit(F.guestEFER, 10) == $0.isIA32e },
    VMEntryRule(
      "guest-efer-lme", .guestRegisters,
      "With \"Load IA32_EFER\" on entry and CR0.PG, the guest's LME equals its LMA", [F.guestEFER, F.guestCR0, F.entry]
    ) {
      !$0.control(.vmEntryLoadIA32EFER) || !$0.bit(F.guestCR0, 31) || $0.bit(F.guestEFER, 8) == $0.bit(F.guestEFER, 10)
    },
    VMEntryRule(
      "guest-bndcfgs", .guestRegisters,
      "With \"Load IA32_BNDCFGS\", bits 11:2 of the guest's are 0 and the address is canonical", [F.bndcfgs, F.entry]
    ) { state in
      !state.control(.vmEntryLoadBNDCFGS)
        || (state[F.bndcfgs] & 0xffc == 0 && state.isCanonical(state[F.bndcfgs] & ~0xfff))
    },
    VMEntryRule(
      "guest-s-cet", .guestRegisters,
      "With \"Load CET state\" on entry, bits 9:6 of guest IA32_S_CET are 0, bits 11:10 not both 1, and the "
        + "address is canonical",
      [F.guestSCET, F.entry]
    ) { state in
      !state.control(.vmEntryLoadCETState)
        || (isValidSCET(state[F.guestSCET]) && state.isCanonical(state[F.guestSCET] & ~0xfff))
    },
    canonical(
      "guest-ssp-table", .guestRegisters, "guest IA32_INTERRUPT_SSP_TABLE_ADDR", F.guestSSPTable,
      if: (.vmEntryLoadCETState, "\"Load CET state\" on entry")),
    VMEntryRule(
      "guest-pkrs", .guestRegisters, "With \"Load PKRS\" on entry, bits 63:32 of the guest's IA32_PKRS are 0",
      [F.guestPKRS, F.entry]
    ) { !$0.control(.entryLoadPKRS) || $0[F.guestPKRS] >> 32 == 0 },
  ]

  static let guestTailRules: [VMEntryRule] =
    [
      canonical("guest-gdtr-base", .guestDescriptorTables, "the guest's GDTR base", F.gdtrBase),
      canonical("guest-idtr-base", .guestDescriptorTables, "the guest's IDTR base", F.idtrBase),
      VMEntryRule(
        "guest-gdtr-limit", .guestDescriptorTables, "Bits 31:16 of the guest's GDTR limit are 0", [F.gdtrLimit]
      ) { $0[F.gdtrLimit] >> 16 == 0 },
      VMEntryRule(
        "guest-idtr-limit", .guestDescriptorTables, "Bits 31:16 of the guest's IDTR limit are 0", [F.idtrLimit]
      ) { $0[F.idtrLimit] >> 16 == 0 },
      VMEntryRule(
        "guest-rip-32", .guestRIP, "Outside 64-bit mode, bits 63:32 of guest RIP are 0", [F.rip, F.ar(1), F.entry]
      ) { $0[F.rip] >> 32 == 0 || $0.is64Bit },
      VMEntryRule(
        "guest-rip-64", .guestRIP,
        "In 64-bit mode, the bits of guest RIP beyond the linear-address width are all alike",
        [F.rip, F.ar(1), F.entry]
      ) { !$0.is64Bit || $0.isCanonical($0[F.rip]) },
      VMEntryRule(
        "guest-rflags-reserved", .guestRIP, "Bits 63:22, 15, 5 and 3 of guest RFLAGS are 0, and bit 1 is 1", [F.rflags]
      ) { $0[F.rflags] & 0xffff_ffff_ffc0_802a == 2 },
      VMEntryRule(
        "guest-rflags-vm", .guestRIP, "Guest RFLAGS.VM is 0 with \"IA-32e mode guest\" or where CR0.PE is 0",
        [F.rflags, F.guestCR0, F.entry]
      ) { !$0.isVirtual8086 || (!$0.isIA32e && $0.bit(F.guestCR0, 0)) },
      VMEntryRule(
        "guest-rflags-if", .guestRIP, "Guest RFLAGS.IF is 1 where an external interrupt is to be injected",
        [F.rflags, F.entryInfo]
      ) { $0.bit(F.rflags, 9) || !$0.injects || $0.eventType != 0 },
      VMEntryRule(
        "guest-ssp", .guestRIP,
        "With \"Load CET state\" on entry, bits 1:0 of guest SSP are 0; outside 64-bit mode also bits 63:32, "
          + "else it is canonical",
        [F.guestSSP, F.ar(1), F.entry]
      ) { state in
        guard state.control(.vmEntryLoadCETState) else { return true }
        if state[F.guestSSP] & 3 != 0 { return false }
        if state[F.guestSSP] >> 32 == 0 { return true }
        return state.is64Bit && state.isCanonical(state[F.guestSSP])
      },
    ] + nonRegisterRules
    + (0..<4).map { (number: UInt32) in
      let field = F.pdpte0 + number * 2
      return VMEntryRule(
        "guest-pdpte\(number)", .guestPDPTE,
        "With PAE paging and EPT, bits 2:1, 8:5 and those beyond the physical-address width of PDPTE\(number) "
          + "are 0 if it is present",
        [field, F.guestCR0, F.guestCR4, F.entry, F.secondary]
      ) { state in
        guard state.bit(F.guestCR0, 31), state.bit(F.guestCR4, 5), !state.isIA32e,
          state.control(.secondaryExecEnableEPT)
        else {
          return true
        }
        return !state.bit(field, 0) || state[field] & 0xfff0_0000_0000_01e6 == 0
      }
    }
    + [
      VMEntryRule(
        "msr-load-bases", .loadingMSRs, "The VM-entry MSR-load list has neither IA32_FS_BASE nor IA32_GS_BASE",
        [F.entryLoadCount]
      ) { lists($0) { $0 != 0xc000_0100 && $0 != 0xc000_0101 } },
      VMEntryRule(
        "msr-load-x2apic", .loadingMSRs, "The VM-entry MSR-load list has no MSR of the x2APIC (0x800 to 0x8ff)",
        [F.entryLoadCount]
      ) { lists($0) { $0 >> 8 != 8 } },
      VMEntryRule(
        "msr-load-smm", .loadingMSRs, "The VM-entry MSR-load list has no MSR that can be written in SMM only",
        [F.entryLoadCount]
      ) { lists($0) { $0 != 0x9b && $0 != 0x9e } },
    ]

  /// Whether every MSR of the VM-entry MSR-load list meets a condition. Kernels from 5.15 on, which tell the processor
  /// in the first line, print the list if there is one.
  private static func lists(_ state: VMEntryState, _ isAllowed: (UInt32) -> Bool) -> Bool {
    guard let list = state.dump.msrLists.first(where: { $0.name == "guest autoload" }) else {
      if state.dump.cpu == nil || state.dump.field(DumpFieldID(rawValue: F.interruptibility)) == nil {
        state.lacks("VM_ENTRY_MSR_LOAD_COUNT")
      }
      return true
    }
    return list.entries.allSatisfy { isAllowed($0.msr) }
  }

  private static let nonRegisterRules: [VMEntryRule] = [
    VMEntryRule(
      "guest-activity", .guestNonRegister,
      "The activity state is 0 (active), 1 (HLT), 2 (shutdown) or 3 (wait-for-SIPI)",
      [F.activity]
    ) { $0[F.activity] <= 3 },
    VMEntryRule(
      "guest-activity-hlt-dpl", .guestNonRegister, "The activity state is not HLT where the DPL of SS is not 0",
      [F.activity, F.ar(2)]
    ) { $0[F.activity] != 1 || $0[F.ar(2)] >> 5 & 3 == 0 },
    VMEntryRule(
      "guest-activity-blocking", .guestNonRegister,
      "The activity state is active where there is blocking by STI or by MOV SS", [F.activity, F.interruptibility]
    ) { $0[F.activity] == 0 || $0[F.interruptibility] & 3 == 0 },
    VMEntryRule(
      "guest-activity-hlt-event", .guestNonRegister,
      "Into HLT, only an external interrupt, an NMI, #DB, #MC or a pending MTF exit is injected",
      [F.activity, F.entryInfo]
    ) { state in
      guard state[F.activity] == 1, state.injects else { return true }
      switch state.eventType {
      case 0, 2: return true
      case 3: return state.eventVector == 1 || state.eventVector == 18
      case 7: return state.eventVector == 0
      default: return false
      }
    },
    VMEntryRule(
      "guest-activity-shutdown-event", .guestNonRegister, "Into shutdown, only an NMI or #MC is injected",
      [F.activity, F.entryInfo]
    ) { state in
      guard state[F.activity] == 2, state.injects else { return true }
      return state.eventType == 2 || (state.eventType == 3 && state.eventVector == 18)
    },
    VMEntryRule(
      "guest-activity-sipi-event", .guestNonRegister, "Into wait-for-SIPI, nothing is injected",
      [F.activity, F.entryInfo]
    ) { $0[F.activity] != 3 || !$0.injects },
    VMEntryRule(
      "guest-activity-smm", .guestNonRegister, "The activity state is not wait-for-SIPI with \"Entry to SMM\"",
      [F.activity, F.entry]
    ) { $0[F.activity] != 3 || !$0.control(.vmEntrySMM) },
    VMEntryRule(
      "guest-interruptibility-reserved", .guestNonRegister, "Bits 31:5 of the interruptibility state are 0",
      [F.interruptibility]
    ) { $0[F.interruptibility] >> 5 == 0 },
    VMEntryRule(
      "guest-interruptibility-sti-mov-ss", .guestNonRegister, "There is not blocking by STI and by MOV SS at once",
      [F.interruptibility]
    ) { $0[F.interruptibility] & 3 != 3 },
    VMEntryRule(
      "guest-interruptibility-sti-if", .guestNonRegister, "There is blocking by STI only where RFLAGS.IF is 1",
      [F.interruptibility, F.rflags]
    ) { !$0.bit(F.interruptibility, 0) || $0.bit(F.rflags, 9) },
    VMEntryRule(
      "guest-interruptibility-interrupt", .guestNonRegister,
      "There is no blocking by STI or MOV SS where an external interrupt is to be injected",
      [F.interruptibility, F.entryInfo]
    ) { $0[F.interruptibility] & 3 == 0 || !$0.injects || $0.eventType != 0 },
    VMEntryRule(
      "guest-interruptibility-nmi-mov-ss", .guestNonRegister,
      "There is no blocking by MOV SS where an NMI is to be injected", [F.interruptibility, F.entryInfo]
    ) { !$0.bit(F.interruptibility, 1) || !$0.injects || $0.eventType != 2 },
    VMEntryRule(
      "guest-interruptibility-nmi-sti", .guestNonRegister,
      "There is no blocking by STI where an NMI is to be injected, on processors that ask for it",
      [F.interruptibility, F.entryInfo, F.exitReason, F.exitQualification]
    ) { state in
      guard state.bit(F.interruptibility, 0), state.injects, state.eventType == 2 else { return true }
      // The processor says so: ENTRY_FAIL_NMI.
      if state[F.exitReason] == 0x8000_0021, state[F.exitQualification] == 3 { return false }
      return state.lacks("what the processor asks for")
    },
    VMEntryRule(
      "guest-interruptibility-smi", .guestNonRegister, "Outside SMM, where KVM always is, there is no blocking by SMI",
      [F.interruptibility]
    ) { !$0.bit(F.interruptibility, 2) },
    VMEntryRule(
      "guest-interruptibility-virtual-nmi", .guestNonRegister,
      "With \"Virtual NMIs\", there is no blocking by NMI where an NMI is to be injected",
      [F.interruptibility, F.entryInfo, F.pin]
    ) { !$0.bit(F.interruptibility, 3) || !$0.injects || $0.eventType != 2 || !$0.control(.pinBasedVirtualNMIs) },
    VMEntryRule(
      "guest-interruptibility-enclave", .guestNonRegister,
      "There is no blocking by MOV SS with an enclave interruption", [F.interruptibility]
    ) { $0[F.interruptibility] & 0x12 != 0x12 },
    VMEntryRule(
      "guest-pending-debug-reserved", .guestNonRegister,
      "Bits 63:17, 15, 13 and 10:4 of the pending debug exceptions are 0", [F.pendingDebug]
    ) { $0[F.pendingDebug] & 0xffff_ffff_fffe_a7f0 == 0 },
    VMEntryRule(
      "guest-pending-debug-bs", .guestNonRegister,
      "In HLT or with blocking by STI or MOV SS, BS of the pending debug exceptions is 1 exactly where RFLAGS.TF "
        + "is 1 and "
        + "IA32_DEBUGCTL.BTF is 0", [F.pendingDebug, F.interruptibility, F.activity, F.rflags, F.debugControl]
    ) { state in
      guard state[F.interruptibility] & 3 != 0 || state[F.activity] == 1 else { return true }
      return state.bit(F.pendingDebug, 14) == (state.bit(F.rflags, 8) && !state.bit(F.debugControl, 1))
    },
    VMEntryRule(
      "guest-pending-debug-rtm", .guestNonRegister,
      "With RTM of the pending debug exceptions, bits 15:13 and 11:0 are 0, bit 12 is 1, and there is no "
        + "blocking by MOV SS",
      [F.pendingDebug, F.interruptibility]
    ) { state in
      guard state.bit(F.pendingDebug, 16) else { return true }
      return state[F.pendingDebug] & 0xffff == 0x1000 && !state.bit(F.interruptibility, 1)
    },
    VMEntryRule(
      "guest-link-pointer", .guestNonRegister,
      "The VMCS link pointer is all ones, or the address of a VMCS of the processor's revision", [F.linkPointer]
    ) { state in
      state[F.linkPointer] == .max || state.isPhysical(state[F.linkPointer], alignment: 4096)
    },
  ]
}
