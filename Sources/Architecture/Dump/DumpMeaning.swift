extension VMCSDump {
  /// What the value of a field means, in words; nil where a number says it all. Some values need others of the dump: an
  /// exit qualification its exit reason.
  public func meaning(of field: Field) -> String? {
    guard let text = kind == .vmcs ? vmcsMeaning(field.id.rawValue, field.value) : vmcbMeaning(field) else {
      return field.note.map { "(\($0))" }
    }
    return field.note.map { "\(text) (\($0))" } ?? text
  }

  /// A field's value in hexadecimal, as wide as the field is.
  public static func hexadecimal(_ field: Field) -> String {
    Architecture.hexadecimal(field.value, digits: field.id.bits / 4)
  }

  /// Why the kernel dumped it: the exit reason with its flags, and what its qualification says. Nil where the dump has
  /// no exit reason.
  public var exit: (reason: Decoded, qualification: Decoded?)? {
    switch kind {
    case .vmcs:
      guard let reason = self[DumpFieldID(rawValue: F.exitReason)] else { return nil }
      let information = self[DumpFieldID(rawValue: 0x4404)] ?? 0
      return (
        .exitReason(reason),
        self[DumpFieldID(rawValue: F.exitQualification)].map {
          .exitQualification(
            reason: UInt32(truncatingIfNeeded: reason & 0xffff), $0,
            interruptionInformation: UInt32(truncatingIfNeeded: information))
        }
      )
    case .vmcb:
      guard let code = DumpFieldID(other: "exit_code").flatMap({ self[$0] }) else { return nil }
      return (svmExitCode(code), nil)
    }
  }

  /// The MSR that VM entry failed to load: exit reason 34 has its place in the list as qualification, the first is 1.
  public var failedMSR: MSRList.Entry? {
    guard kind == .vmcs, let reason = self[DumpFieldID(rawValue: F.exitReason)], reason & 0xffff == 34,
      let place = self[DumpFieldID(rawValue: F.exitQualification)], place > 0,
      let list = msrLists.first(where: { $0.name == "guest autoload" })
    else { return nil }
    return list.entries.first { UInt64($0.index) == place - 1 }
  }

  /// What the guest reads in CR0 (0) or CR4 (4): bits of the guest/host mask come from the shadow.
  public func guestView(ofCR register: Int) -> UInt64? {
    let offset: UInt32 = register == 0 ? 0 : 2
    guard kind == .vmcs, let actual = self[DumpFieldID(rawValue: register == 0 ? F.guestCR0 : F.guestCR4)],
      let mask = self[DumpFieldID(rawValue: 0x6000 + offset)], let shadow = self[DumpFieldID(rawValue: 0x6004 + offset)]
    else { return nil }
    return actual & ~mask | shadow & mask
  }

  private func vmcsMeaning(_ id: UInt32, _ value: UInt64) -> String? {
    switch id {
    case 0x6004, F.guestCR0, F.hostCR0: return Decoded.cr0(value).summary
    case 0x6006, F.guestCR4, F.hostCR4: return Decoded.cr4(value).summary
    case 0x6000: return owned(cr0Layout, value)
    case 0x6002: return owned(cr4Layout, value)
    case F.guestCR3, F.hostCR3: return Decoded.cr3(value).summary
    case F.dr7: return Decoded.dr7(value).summary
    case F.rflags: return Decoded.rflags(value).summary
    case F.guestEFER, F.hostEFER: return Decoded.efer(value).summary
    case F.guestPAT, F.hostPAT: return patText(value)
    case 0x4814...0x4822: return Decoded.accessRights(value).summary
    case F.interruptibility: return Decoded.interruptibility(value).summary
    case F.activity: return Decoded.activityState(value).summary
    case F.pendingDebug: return Decoded.pendingDebugExceptions(value).summary
    case 0x0810: return Decoded.guestInterruptStatus(value).summary
    case F.debugControl: return debugControlLayout.decode("debugctl", value).summary
    case F.guestSCET, F.hostSCET: return supervisorCETLayout.decode("s-cet", value).summary
    case F.eptPointer: return Decoded.eptPointer(value).summary
    case F.pin: return Decoded.controls(.pin, value).summary
    case F.primary: return Decoded.controls(.primary, value).summary
    case F.secondary: return Decoded.controls(.secondary, value).summary + inactive(F.primary, 31)
    case F.tertiary: return Decoded.controls(.tertiary, value).summary + inactive(F.primary, 17)
    case F.exit: return Decoded.controls(.exit, value).summary
    case F.secondaryExit: return Decoded.controls(.secondaryExit, value).summary + inactive(F.exit, 31)
    case F.entry: return Decoded.controls(.entry, value).summary
    case F.entryInfo: return Decoded.interruptionInformation(.entry, value).summary
    case 0x4404: return Decoded.interruptionInformation(.exit, value).summary
    case 0x4408: return Decoded.interruptionInformation(.idtVectoring, value).summary
    case F.exitReason: return exit?.reason.summary
    case F.exitQualification: return exit?.qualification?.summary
    case 0x4004:
      let names = (0..<32).filter { value >> UInt64($0) & 1 == 1 }.map { vector in
        exceptionName(UInt8(truncatingIfNeeded: vector)) ?? "\(vector)"
      }
      return names.isEmpty ? "none" : names.joined(separator: ", ")
    case 0x2010: return signed(value)
    case F.tscMultiplier: return scale(value)
    case 0x0800...0x080e, 0x0c00...0x0c0c: return selectorText(value)
    case F.pdpte0, 0x280c, 0x280e, 0x2810:
      return value & 1 == 0 ? "not present" : "page directory \(Architecture.hexadecimal(value & 0xf_ffff_ffff_f000))"
    default: return nil
    }
  }

  /// The bits of a guest/host mask that are the guest's.
  private func owned(_ layout: BitLayout, _ mask: UInt64) -> String {
    let names = layout.fields.filter { mask & $0.mask == 0 }.map(\.name)
    return "guest owns " + (names.isEmpty ? "none" : names.joined(separator: ", "))
  }

  private func inactive(_ word: UInt32, _ bit: UInt64) -> String {
    guard let value = self[DumpFieldID(rawValue: word)], value >> bit & 1 == 0 else { return "" }
    return " (not activated: counts as 0)"
  }

  private func vmcbMeaning(_ field: Field) -> String? {
    let value = field.value
    let name = field.id.name
    switch name {
    case "cr_read": return intercepts(0, value)
    case "cr_write": return intercepts(16, value)
    case "dr_read": return intercepts(32, value)
    case "dr_write": return intercepts(48, value)
    case "exceptions": return intercepts(64, value)
    case "intercepts_3": return intercepts(96, value)
    case "intercepts_4": return intercepts(128, value)
    case "exit_code": return svmExitCode(value).summary
    case "exit_info1", "exit_info2":
      guard let code = DumpFieldID(other: "exit_code").flatMap({ self[$0] }).flatMap(svmCode) else { return nil }
      return name == "exit_info1"
        ? Decoded.svmExitInfo1(code: code, value).summary : Decoded.svmExitInfo2(code: code, value).summary
    case "exit_int_info", "event_inj":
      let code = DumpFieldID(other: name + "_err").flatMap { self[$0] } ?? 0
      return Decoded.svmInterruptionInformation(value | code << 32).summary
    case "cr0": return Decoded.cr0(value).summary
    case "cr3": return Decoded.cr3(value).summary
    case "cr4": return Decoded.cr4(value).summary
    case "dr6": return Decoded.dr6(value).summary
    case "dr7": return Decoded.dr7(value).summary
    case "efer": return Decoded.efer(value).summary
    case "rflags": return Decoded.rflags(value).summary
    case "gpat": return patText(value)
    case "tsc_offset": return signed(value)
    case "int_state":
      return value & 3 == 0
        ? "no interrupt shadow" : (value & 1 == 1 ? "interrupt shadow" : "") + (value & 2 == 2 ? " guest IF" : "")
    case "nested_ctl", "misc_ctl":
      return BitLayout(
        64,
        [
          .init(0, "NP", .flag("nested paging")), .init(1, "SEV", .flag("SEV")), .init(2, "SEV-ES", .flag("SEV-ES")),
        ]
      ).parts(of: value & 7).map(\.name).joined(separator: ", ")
    default:
      guard name.hasSuffix(".attrib"), !name.hasPrefix("gdtr"), !name.hasPrefix("idtr") else { return nil }
      // Bits 11:8 are AVL, L, D/B and G of a descriptor; those of VMCS access rights are 15:12.
      let rights = value & 0xff | (value & 0xf00) << 4
      return Decoded.accessRights(rights).summary + (value & 0x80 == 0 && value == 0 ? " (null)" : "")
    }
  }

  private func svmCode(_ value: UInt64) -> UInt32? {
    // -1 in 32 or in 64 bits.
    UInt32(exactly: value) ?? (value == .max ? .max : nil)
  }

  private func svmExitCode(_ value: UInt64) -> Decoded {
    let name = svmCode(value).flatMap { ExitReason.lookup(isa: 2, code: $0) }?.name
    return .named("exit-code", value, name ?? "unknown exit code")
  }

  /// The names of the intercepts that are 1, from the first one's number on.
  private func intercepts(_ first: UInt32, _ value: UInt64) -> String {
    let names = (0..<32).filter { value >> UInt64($0) & 1 == 1 }.map { bit in
      let number = first + UInt32(bit)
      return ExitReason.lookup(isa: 2, code: number)?.name ?? "\(number)"
    }
    return names.isEmpty ? "none" : names.joined(separator: ", ")
  }
}

extension Decoded {
  /// An MSR with its name: `0x6e0 IA32_TSC_DEADLINE`.
  public static func msrLabel(_ msr: UInt32) -> String { msrText(UInt64(msr)) }
}

private let debugControlLayout = BitLayout(
  64,
  [
    .init(0, "LBR", .flag("last-branch records")), .init(1, "BTF", .flag("single-step on branches")),
    .init(2, "BLD", .flag("bus-lock detection")), .init(6, "TR", .flag("trace messages")),
    .init(7, "BTS", .flag("branch-trace store")), .init(8, "BTINT", .flag("interrupt on full buffer")),
    .init(9, "BTS_OFF_OS", .flag("no BTS in CPL 0")), .init(10, "BTS_OFF_USR", .flag("no BTS above CPL 0")),
    .init(11, "FREEZE_LBRS", .flag("freeze LBRs on PMI")),
    .init(12, "FREEZE_PERFMON", .flag("freeze counters on PMI")),
    .init(13, "UNCORE_PMI", .flag("uncore PMIs")), .init(14, "FREEZE_SMM", .flag("freeze in SMM")),
    .init(15, "RTM_DEBUG", .flag("debugging of transactional regions")),
  ])

private let supervisorCETLayout = BitLayout(
  64,
  [
    .init(0, "SH_STK", .flag("shadow stacks")), .init(1, "WR_SHSTK", .flag("WRSS")),
    .init(2, "ENDBR", .flag("indirect-branch tracking")), .init(3, "LEG_IW", .flag("legacy code page bitmap")),
    .init(4, "NO_TRACK", .flag("no-track prefix")), .init(5, "SUPPRESS_DIS", .flag("suppression disabled")),
    .init(10, "SUPPRESS", .flag("tracking suppressed")), .init(11, "TRACKER", .flag("waits for ENDBRANCH")),
    .init(63, 12, "bitmap", .text { hexadecimal($0 << 12) }),
  ])

/// The memory types of a PAT, entry 0 first.
private func patText(_ value: UInt64) -> String {
  (0..<8).map { entry in
    switch value >> (UInt64(entry) * 8) & 0xff {
    case 0: "UC"
    case 1: "WC"
    case 4: "WT"
    case 5: "WP"
    case 6: "WB"
    case 7: "UC-"
    case let other: "reserved \(hexadecimal(other))"
    }
  }.joined(separator: " ")
}

/// `index 2, RPL 0`.
private func selectorText(_ value: UInt64) -> String {
  value & 0xfffc == 0 && value & 3 == 0
    ? "null" : "index \(value >> 3)\(value & 4 != 0 ? ", LDT" : ""), RPL \(value & 3)"
}

/// A TSC multiplier, which has 48 bits behind the point.
private func scale(_ value: UInt64) -> String {
  let whole = value >> 48
  let thousandths = (value & 0xffff_ffff_ffff) * 1000 >> 48
  let digits = "\(thousandths)"
  return "x \(whole).\(String(repeating: "0", count: 3 - digits.count))\(digits)"
}
