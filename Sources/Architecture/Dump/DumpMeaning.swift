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
      let information = self[DumpFieldID(rawValue: VMCSEncoding.vmExitIntrInfo.rawValue)] ?? 0
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

  /// The MSR that VM entry failed to load: the exit's qualification has its place in the list, the first is 1.
  public var failedMSR: MSRList.Entry? {
    guard kind == .vmcs, let reason = self[DumpFieldID(rawValue: F.exitReason)],
      ExitReason.lookup(isa: ISA.vmx.rawValue, code: UInt32(truncatingIfNeeded: reason & 0xffff))?.vmx?.qualification
        == .msrListIndex,
      let place = self[DumpFieldID(rawValue: F.exitQualification)], place > 0,
      let list = msrLists.first(where: { $0.name == "guest autoload" })
    else { return nil }
    return list.entries.first { UInt64($0.index) == place - 1 }
  }

  /// What the guest reads in CR0 (0) or CR4 (4): bits of the guest/host mask come from the shadow.
  public func guestView(ofCR register: Int) -> UInt64? {
    let fields: [VMCSEncoding] =
      register == 0 ? [.guestCR0, .cr0GuestHostMask, .cr0ReadShadow] : [.guestCR4, .cr4GuestHostMask, .cr4ReadShadow]
    let values = fields.compactMap { self[DumpFieldID(rawValue: $0.rawValue)] }
    guard kind == .vmcs, values.count == 3 else { return nil }
    let (actual, mask, shadow) = (values[0], values[1], values[2])
    return actual & ~mask | shadow & mask
  }

  private func vmcsMeaning(_ id: UInt32, _ value: UInt64) -> String? {
    let text = Decoded.vmcs(id, value, other: { self[DumpFieldID(rawValue: $0)] })?.summary
    guard let word = ControlWord.allCases.first(where: { $0.encoding.rawValue == id }) else { return text }
    return text.map { $0 + inactive(word) }
  }

  private func inactive(_ word: ControlWord) -> String {
    guard let activation = word.activation, let (by, bit) = activation.place,
      let value = self[DumpFieldID(rawValue: by.encoding.rawValue)], value >> UInt64(bit) & 1 == 0
    else { return "" }
    return " (not activated: counts as 0)"
  }

  private func vmcbMeaning(_ field: Field) -> String? {
    let value = field.value
    let name = field.id.name
    switch name {
    case "cr_read": return Decoded.svmIntercepts(first: 0, value).summary
    case "cr_write": return Decoded.svmIntercepts(first: 16, value).summary
    case "dr_read": return Decoded.svmIntercepts(first: 32, value).summary
    case "dr_write": return Decoded.svmIntercepts(first: 48, value).summary
    case "exceptions": return Decoded.svmIntercepts(first: 64, value).summary
    case "intercepts_3": return Decoded.svmIntercepts(first: 96, value).summary
    case "intercepts_4": return Decoded.svmIntercepts(first: 128, value).summary
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
    case "gpat": return Decoded.pageAttributes(value).summary
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
      return Decoded.svmAttributes(value).summary
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
}

extension Decoded {
  /// An MSR with its name: `0x6e0 IA32_TSC_DEADLINE`.
  public static func msrLabel(_ msr: UInt32) -> String { msrText(UInt64(msr)) }
}
