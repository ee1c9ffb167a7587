/// SDM volume 3, chapter "VM Entries", sections "Checks on Host Control Registers, MSRs, and SSP", "Checks on Host
/// Segment and Descriptor-Table Registers" and "Checks Related to Address-Space Size".
extension VMEntryRule {
  /// A field that holds a canonical address, where the control is 1.
  static func canonical(
    _ id: String, _ section: Section, _ what: String, _ field: UInt32,
    if control: (id: ControlID, phrase: String)? = nil
  ) -> VMEntryRule {
    VMEntryRule(
      id, section,
      (control.map { "With \($0.phrase), \(what)" } ?? what.prefix(1).uppercased() + what.dropFirst())
        + " is canonical", [field] + (control?.id.controlWord.map { [$0.encoding.rawValue] } ?? [])
    ) { state in
      if let control, !state.control(control.id) { return true }
      return state.isCanonical(state[field])
    }
  }

  static let hostRules: [VMEntryRule] =
    [
      VMEntryRule(
        "host-cr0-fixed", .hostRegisters, "Host CR0 has PE, NE and PG set, and bits 63:32 clear", [F.hostCR0]
      ) { $0[F.hostCR0] & 0x8000_0021 == 0x8000_0021 && $0[F.hostCR0] >> 32 == 0 },
      VMEntryRule(
        "host-cr4-vmxe", .hostRegisters, "Host CR4 has VMXE set", [F.hostCR4]
      ) { $0.bit(F.hostCR4, 13) },
      VMEntryRule(
        "host-cr4-cet-wp", .hostRegisters, "Host CR4.CET is 1 only where host CR0.WP is 1", [F.hostCR4, F.hostCR0]
      ) { !$0.bit(F.hostCR4, 23) || $0.bit(F.hostCR0, 16) },
      VMEntryRule(
        "host-cr3-width", .hostRegisters,
        "Host CR3 has no bit beyond the physical-address width (bits 62:61 are LAM's)", [F.hostCR3]
      ) { $0[F.hostCR3] & 0x9ff0_0000_0000_0000 == 0 },
      canonical("host-sysenter-esp", .hostRegisters, "host IA32_SYSENTER_ESP", F.hostSysenterESP),
      canonical("host-sysenter-eip", .hostRegisters, "host IA32_SYSENTER_EIP", F.hostSysenterEIP),
      VMEntryRule(
        "host-perf-global", .hostRegisters,
        "With \"Load IA32_PERF_GLOBAL_CTRL\" on exit, the reserved bits 63:49 of the host's are 0",
        [F.hostPerfGlobal, F.exit]
      ) { !$0.control(.vmExitLoadIA32PerfGlobalCtrl) || $0[F.hostPerfGlobal] >> 49 == 0 },
      VMEntryRule(
        "host-pat", .hostRegisters,
        "With \"Load IA32_PAT\" on exit, each byte of the host's is 0, 1, 4, 5, 6 or 7", [F.hostPAT, F.exit]
      ) { !$0.control(.vmExitLoadIA32PAT) || isValidPAT($0[F.hostPAT]) },
      VMEntryRule(
        "host-efer-reserved", .hostRegisters,
        "With \"Load IA32_EFER\" on exit, only SCE, LME, LMA and NXE of the host's may be 1", [F.hostEFER, F.exit]
      ) { !$0.control(.vmExitLoadIA32EFER) || $0[F.hostEFER] & ~eferIntelBits == 0 },
      VMEntryRule(
        "host-efer-lma", .hostRegisters,
        "With \"Load IA32_EFER\" on exit, the host's LMA equals \"Host address-space size\"", [F.hostEFER, F.exit]
      ) { !$0.control(.vmExitLoadIA32EFER) || $0.bit(F.hostEFER, 10) == $0.control(.vmExitHostAddrSpaceSize) },
      VMEntryRule(
        "host-efer-lme", .hostRegisters,
        "With \"Load IA32_EFER\" on exit, the host's LME equals \"Host address-space size\"", [F.hostEFER, F.exit]
      ) { !$0.control(.vmExitLoadIA32EFER) || $0.bit(F.hostEFER, 8) == $0.control(.vmExitHostAddrSpaceSize) },
      VMEntryRule(
        "host-s-cet", .hostRegisters,
        "With \"Load CET state\" on exit, bits 9:6 of host IA32_S_CET are 0, bits 11:10 not both 1, and the "
          + "address is canonical",
        [F.hostSCET, F.exit]
      ) { state in
        !state.control(.vmExitLoadCETState)
          || (isValidSCET(state[F.hostSCET]) && state.isCanonical(state[F.hostSCET] & ~0xfff))
      },
      VMEntryRule(
        "host-ssp", .hostRegisters,
        "With \"Load CET state\" on exit, host SSP is canonical and bits 1:0 are 0", [F.hostSSP, F.exit]
      ) { state in
        !state.control(.vmExitLoadCETState) || (state[F.hostSSP] & 3 == 0 && state.isCanonical(state[F.hostSSP]))
      },
      canonical(
        "host-ssp-table", .hostRegisters, "host IA32_INTERRUPT_SSP_TABLE_ADDR", F.hostSSPTable,
        if: (.vmExitLoadCETState, "\"Load CET state\" on exit")),
      VMEntryRule(
        "host-pkrs", .hostRegisters, "With \"Load PKRS\" on exit, bits 63:32 of the host's IA32_PKRS are 0",
        [F.hostPKRS, F.exit]
      ) { !$0.control(.exitLoadPKRS) || $0[F.hostPKRS] >> 32 == 0 },
    ]
    + hostSelectors.map { name, field in
      VMEntryRule(
        "host-\(name.lowercased())-selector", .hostSegments,
        "RPL and TI (bits 2:0) of the host's \(name) selector are 0",
        [field]
      ) { $0[field] & 7 == 0 }
    }
    + [
      VMEntryRule("host-cs-null", .hostSegments, "The host's CS selector is not 0", [F.hostCS]) { $0[F.hostCS] != 0 },
      VMEntryRule("host-tr-null", .hostSegments, "The host's TR selector is not 0", [F.hostTR]) { $0[F.hostTR] != 0 },
      VMEntryRule(
        "host-ss-null", .hostSegments, "Without \"Host address-space size\", the host's SS selector is not 0",
        [F.hostSS, F.exit]
      ) { $0.control(.vmExitHostAddrSpaceSize) || $0[F.hostSS] != 0 },
      canonical("host-fs-base", .hostSegments, "the host's FS base", VMCSEncoding.hostFSBase.rawValue),
      canonical("host-gs-base", .hostSegments, "the host's GS base", VMCSEncoding.hostGSBase.rawValue),
      canonical("host-tr-base", .hostSegments, "the host's TR base", VMCSEncoding.hostTRBase.rawValue),
      canonical("host-gdtr-base", .hostSegments, "the host's GDTR base", VMCSEncoding.hostGDTRBase.rawValue),
      canonical("host-idtr-base", .hostSegments, "the host's IDTR base", VMCSEncoding.hostIDTRBase.rawValue),
      VMEntryRule(
        "address-space-guest", .addressSpace,
        "\"IA-32e mode guest\" is 1 only where \"Host address-space size\" is 1", [F.entry, F.exit]
      ) { !$0.control(.vmEntryIA32EMode) || $0.control(.vmExitHostAddrSpaceSize) },
      VMEntryRule(
        "address-space-host-pcide", .addressSpace,
        "Host CR4.PCIDE is 1 only where \"Host address-space size\" is 1", [F.hostCR4, F.exit]
      ) { !$0.bit(F.hostCR4, 17) || $0.control(.vmExitHostAddrSpaceSize) },
      VMEntryRule(
        "address-space-host-rip-32", .addressSpace,
        "Without \"Host address-space size\", bits 63:32 of host RIP are 0", [F.hostRIP, F.exit]
      ) { $0.control(.vmExitHostAddrSpaceSize) || $0[F.hostRIP] >> 32 == 0 },
      VMEntryRule(
        "address-space-host-cet", .addressSpace,
        "Without \"Host address-space size\" and with \"Load CET state\" on exit, bits 63:32 of host IA32_S_CET "
          + "and SSP are 0",
        [F.hostSCET, F.hostSSP, F.exit]
      ) {
        $0.control(.vmExitHostAddrSpaceSize) || !$0.control(.vmExitLoadCETState)
          || ($0[F.hostSCET] >> 32 == 0 && $0[F.hostSSP] >> 32 == 0)
      },
      VMEntryRule(
        "address-space-host-pae", .addressSpace, "With \"Host address-space size\", host CR4.PAE is 1",
        [F.hostCR4, F.exit]
      ) { !$0.control(.vmExitHostAddrSpaceSize) || $0.bit(F.hostCR4, 5) },
      VMEntryRule(
        "address-space-host-rip", .addressSpace, "With \"Host address-space size\", host RIP is canonical",
        [F.hostRIP, F.exit]
      ) { !$0.control(.vmExitHostAddrSpaceSize) || $0.isCanonical($0[F.hostRIP]) },
    ]

  private static let hostSelectors: [(String, UInt32)] = [
    ("ES", VMCSEncoding.hostESSelector), ("CS", .hostCSSelector), ("SS", .hostSSSelector), ("DS", .hostDSSelector),
    ("FS", .hostFSSelector), ("GS", .hostGSSelector), ("TR", .hostTRSelector),
  ].map { ($0, $1.rawValue) }
}
