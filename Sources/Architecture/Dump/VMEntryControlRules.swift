/// SDM volume 3, chapter "VM Entries", section "Checks on VMX Controls".
extension VMEntryRule {
  /// Bits without a control: 1 where the default is 1, else 0.
  private static func reservedBits(_ word: ControlWord, _ section: Section) -> VMEntryRule {
    let named = ControlBit.rows(of: word).filter { !$0.isReserved }.reduce(UInt64(0)) { $0 | 1 << UInt64($1.bit) }
    let ones = ControlBit.rows(of: word).filter(\.isReserved).reduce(UInt64(0)) { $0 | 1 << UInt64($1.bit) }
    let activation: [UInt32] =
      word == .secondary || word == .tertiary ? [F.primary] : word == .secondaryExit ? [F.exit] : []
    let wanted = ones == 0 ? "are 0" : "are 1 where the default is 1, and 0 elsewhere"
    return VMEntryRule(
      "controls-\(word == .secondaryExit ? "secondary-exit" : word.rawValue)-reserved", section,
      "In the \(word.phrase), bits without a control \(wanted)",
      [word.encoding.rawValue] + activation
    ) { state in
      !state.isActivated(word) || state[word.encoding.rawValue] & ~named == ones
    }
  }

  /// The rules between controls, from their own table.
  private static let dependencies: [VMEntryRule] = ControlDependency.all.compactMap { rule in
    guard let control = rule.control.controlBit, let other = rule.other.controlBit else { return nil }
    let (word, otherWord) = (control.word, other.word)
    let section = word == .exit ? Section.exitControls : .executionControls
    let needs = rule.rule == .needs
    var fields = [word.encoding.rawValue]
    if otherWord != word { fields.append(otherWord.encoding.rawValue) }
    if word == .secondary || otherWord == .secondary || word == .tertiary, !fields.contains(F.primary) {
      fields.append(F.primary)
    }
    return VMEntryRule(
      "controls-\(dashed(control.sdmName))-\(needs ? "needs" : "excludes")-\(dashed(other.sdmName))", section,
      "\"\(control.sdmName)\" is 1 only where \"\(other.sdmName)\" is \(needs ? 1 : 0)", fields
    ) { state in !state.control(rule.control) || state.control(rule.other) == needs }
  }

  private static func dashed(_ name: String) -> String {
    String(
      name.lowercased().map { $0.isASCII && ($0.isLetter || $0.isNumber) ? $0 : " " }
    ).split(separator: " ").joined(separator: "-")
  }

  /// An address that a control asks for: aligned, and inside the widest physical address.
  private static func address(
    _ id: String, _ field: UInt32, _ control: ControlID, bits: Int, _ what: String
  ) -> VMEntryRule {
    VMEntryRule(
      id, .executionControls,
      "With \"\(control.title)\", the \(what) has bits \(bits - 1):0 clear and none beyond the physical-address width",
      [field] + (control.controlWord.map { [$0.encoding.rawValue] } ?? [])
    ) { state in !state.control(control) || state.isPhysical(state[field], alignment: 1 << UInt64(bits)) }
  }

  static let executionRules: [VMEntryRule] =
    [ControlWord.pin, .primary, .secondary, .tertiary].map { reservedBits($0, .executionControls) }
    + [
      VMEntryRule(
        "controls-cr3-target-count", .executionControls, "The CR3-target count is at most 4", [F.cr3TargetCount]
      ) { $0[F.cr3TargetCount] <= 4 },
      address("controls-io-bitmap-a", F.ioBitmapA, .cpuBasedUseIOBitmaps, bits: 12, "address of I/O bitmap A"),
      address("controls-io-bitmap-b", F.ioBitmapB, .cpuBasedUseIOBitmaps, bits: 12, "address of I/O bitmap B"),
      address("controls-msr-bitmap", F.msrBitmap, .cpuBasedUseMSRBitmaps, bits: 12, "address of the MSR bitmaps"),
      address("controls-virtual-apic-address", F.virtualAPIC, .cpuBasedTPRShadow, bits: 12, "virtual-APIC address"),
      VMEntryRule(
        "controls-tpr-threshold", .executionControls,
        "With \"Use TPR shadow\" and without \"Virtual-interrupt delivery\", bits 31:4 of the TPR threshold are 0",
        [F.tprThreshold, F.primary, F.secondary]
      ) { state in
        !state.control(.cpuBasedTPRShadow) || state.control(.secondaryExecVirtualIntrDelivery)
          || state[F.tprThreshold] >> 4 == 0
      },
      address(
        "controls-apic-access-address", F.apicAccess, .secondaryExecVirtualizeAPICAccesses, bits: 12,
        "APIC-access address"),
    ]
    + dependencies.filter { $0.section == .executionControls }
    + [
      VMEntryRule(
        "controls-posted-interrupt-vector", .executionControls,
        "With \"Process posted interrupts\", the notification vector is at most 255", [F.postedVector, F.pin]
      ) { state in !state.control(.pinBasedPostedIntr) || state[F.postedVector] < 256 },
      address(
        "controls-posted-interrupt-descriptor", F.postedDescriptor, .pinBasedPostedIntr, bits: 6,
        "posted-interrupt descriptor address"),
      VMEntryRule(
        "controls-vpid", .executionControls, "With \"Enable VPID\", the VPID is not 0", [F.vpid, F.secondary]
      ) { state in !state.control(.secondaryExecEnableVPID) || state[F.vpid] != 0 },
      VMEntryRule(
        "controls-eptp-memory-type", .executionControls,
        "With \"Enable EPT\", the EPT memory type (EPTP bits 2:0) is 0 (UC) or 6 (WB)", [F.eptPointer, F.secondary]
      ) { state in !state.control(.secondaryExecEnableEPT) || [0, 6].contains(state[F.eptPointer] & 7) },
      VMEntryRule(
        "controls-eptp-walk-length", .executionControls,
        "With \"Enable EPT\", EPTP bits 5:3 are 3 (4 levels) or 4 (5 levels)", [F.eptPointer, F.secondary]
      ) { state in !state.control(.secondaryExecEnableEPT) || [3, 4].contains(state[F.eptPointer] >> 3 & 7) },
      VMEntryRule(
        "controls-eptp-reserved", .executionControls,
        "With \"Enable EPT\", EPTP bits 11:8 and those beyond the physical-address width are 0",
        [F.eptPointer, F.secondary]
      ) { state in
        !state.control(.secondaryExecEnableEPT) || (state[F.eptPointer] & 0xf00 == 0 && state[F.eptPointer] >> 52 == 0)
      },
      address("controls-pml-address", F.pmlAddress, .secondaryExecEnablePML, bits: 12, "PML address"),
      address(
        "controls-sppt-pointer", F.sppPointer, .secondarySubPageWritePermissionsForEPT, bits: 12,
        "sub-page-permission-table pointer"),
      VMEntryRule(
        "controls-vm-functions-reserved", .executionControls,
        "With \"Enable VM functions\", only bit 0 (EPTP switching) of the VM-function controls may be 1",
        [F.vmFunctions, F.secondary]
      ) { state in !state.control(.secondaryExecEnableVMFUNC) || state[F.vmFunctions] & ~1 == 0 },
      VMEntryRule(
        "controls-eptp-switching", .executionControls,
        "With EPTP switching, \"Enable EPT\" is 1 and bits 11:0 of the EPTP-list address are 0",
        [F.vmFunctions, F.eptpList, F.secondary]
      ) { state in
        !state.control(.secondaryExecEnableVMFUNC) || !state.bit(F.vmFunctions, 0)
          || (state.control(.secondaryExecEnableEPT) && state.isPhysical(state[F.eptpList], alignment: 4096))
      },
      address("controls-vmread-bitmap", F.vmreadBitmap, .secondaryExecShadowVMCS, bits: 12, "VMREAD-bitmap address"),
      address("controls-vmwrite-bitmap", F.vmwriteBitmap, .secondaryExecShadowVMCS, bits: 12, "VMWRITE-bitmap address"),
      address(
        "controls-ve-information", F.veInformation, .secondaryExecEPTViolationVE, bits: 12,
        "virtualization-exception information address"),
      address(
        "controls-pid-pointer-table", F.pidPointerTable, .tertiaryExecIPIVirt, bits: 3, "PID-pointer table address"),
      VMEntryRule(
        "controls-tsc-multiplier", .executionControls, "With \"Use TSC scaling\", the TSC multiplier is not 0",
        [F.tscMultiplier, F.secondary]
      ) { state in !state.control(.secondaryExecTSCScaling) || state[F.tscMultiplier] != 0 },
    ]

  /// An MSR area: aligned if its count is not 0.
  private static func msrArea(_ id: String, _ section: Section, _ count: UInt32, _ address: UInt32, _ what: String)
    -> VMEntryRule
  {
    VMEntryRule(
      id, section, "Where the \(what) count is not 0, bits 3:0 of the \(what) address are 0", [count, address]
    ) { state in state[count] == 0 || state.isPhysical(state[address], alignment: 16) }
  }

  static let exitControlRules: [VMEntryRule] =
    [ControlWord.exit, .secondaryExit].map { reservedBits($0, .exitControls) }
    + dependencies.filter { $0.section == .exitControls }
    + [
      msrArea("controls-exit-msr-store", .exitControls, F.exitStoreCount, F.exitStoreAddress, "VM-exit MSR-store"),
      msrArea("controls-exit-msr-load", .exitControls, F.exitLoadCount, F.exitLoadAddress, "VM-exit MSR-load"),
    ]

  /// Exceptions that come with an error code: #DF, #TS, #NP, #SS, #GP, #PF, #AC, #CP.
  private static let withErrorCode: Set<UInt64> = [8, 10, 11, 12, 13, 14, 17, 21]

  static let entryControlRules: [VMEntryRule] =
    [
      reservedBits(.entry, .entryControls),
      VMEntryRule(
        "injection-type", .entryControls, "An event to inject is not of the reserved type 1", [F.entryInfo]
      ) { state in !state.injects || state.eventType != 1 },
      VMEntryRule(
        "injection-vector", .entryControls,
        "The vector of an event to inject is 2 for an NMI, at most 31 for a hardware exception, and 0 (1 or 2 "
          + "with FRED) for "
          + "an other event", [F.entryInfo]
      ) { state in
        guard state.injects else { return true }
        switch state.eventType {
        case 2: return state.eventVector == 2
        case 3: return state.eventVector <= 31
        case 7: return state.eventVector <= 2
        default: return true
        }
      },
      VMEntryRule(
        "injection-error-code-type", .entryControls, "An error code is delivered with a hardware exception only",
        [F.entryInfo]
      ) { state in !state.injects || !state.bit(F.entryInfo, 11) || state.eventType == 3 },
      VMEntryRule(
        "injection-error-code-real-mode", .entryControls, "No error code is delivered where CR0.PE is 0",
        [F.entryInfo, F.guestCR0]
      ) { state in !state.injects || !state.bit(F.entryInfo, 11) || state.bit(F.guestCR0, 0) },
      VMEntryRule(
        "injection-error-code-vector", .entryControls,
        "An error code is delivered with #DF, #TS, #NP, #SS, #GP, #PF and #AC, and with no other exception, unless "
          + "IA32_VMX_BASIC[56] is 1", [F.entryInfo, F.guestCR0]
      ) { state in
        guard state.injects, state.eventType == 3, state.bit(F.guestCR0, 0) else { return true }
        let delivers = state.bit(F.entryInfo, 11)
        if delivers == withErrorCode.contains(state.eventVector) { return true }
        return state.lacks("IA32_VMX_BASIC")
      },
      VMEntryRule(
        "injection-reserved", .entryControls,
        "Bits 30:14 and 12 of the VM-entry interruption information are 0, and bit 13 "
          + "unless the processor has FRED", [F.entryInfo]
      ) { state in
        guard state.injects else { return true }
        if state[F.entryInfo] & 0x7fff_d000 != 0 { return false }
        return !state.bit(F.entryInfo, 13) || state.lacks("IA32_VMX_BASIC")
      },
      VMEntryRule(
        "injection-error-code-reserved", .entryControls, "Bits 31:16 of an error code to deliver are 0",
        [F.entryInfo, F.entryErrorCode]
      ) { state in !state.injects || !state.bit(F.entryInfo, 11) || state[F.entryErrorCode] >> 16 == 0 },
      VMEntryRule(
        "injection-length", .entryControls,
        "The instruction length of a software interrupt or exception to inject is 1 to 15, or 0 where "
          + "IA32_VMX_MISC[30] is 1",
        [F.entryInfo, F.entryLength]
      ) { state in
        guard state.injects, [4, 5, 6].contains(state.eventType) else { return true }
        if state[F.entryLength] == 0 { return state.lacks("IA32_VMX_MISC") }
        return state[F.entryLength] <= 15
      },
      msrArea("controls-entry-msr-load", .entryControls, F.entryLoadCount, F.entryLoadAddress, "VM-entry MSR-load"),
      VMEntryRule(
        "controls-entry-to-smm", .entryControls, "Outside SMM, where KVM always is, \"Entry to SMM\" is 0", [F.entry]
      ) { !$0.control(.vmEntrySMM) },
      VMEntryRule(
        "controls-deactivate-dual-monitor", .entryControls,
        "Outside SMM, where KVM always is, \"Deactivate dual-monitor treatment\" is 0", [F.entry]
      ) { !$0.control(.vmEntryDeactDualMonitor) },
    ]
}
