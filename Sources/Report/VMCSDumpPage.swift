import Architecture

/// A VMCS or VMCB from a kernel log as text for an engineer: why the entry failed first, then every field with its
/// meaning, in 80 columns where names and numbers allow it.
public enum VMCSDumpPage {
  /// One dump.
  ///
  /// - Parameter listsUnchecked: also list the rules that could not be checked, with what they lack.
  public static func text(_ dump: VMCSDump, check: VMEntryCheck, listsUnchecked: Bool = false) -> String {
    var text = heading(dump)
    text += "\n" + rules(dump, check)
    if listsUnchecked && !check.unchecked.isEmpty {
      text += "\nNOT CHECKED\n"
      for unchecked in check.unchecked {
        text += folded("  \(unchecked.rule.id): ", "lacks \(unchecked.missing)", indent: 6)
      }
    }
    for group in dump.kind == .vmcs ? vmcsGroups : vmcbGroups {
      let body = section(dump, group)
      if !body.isEmpty { text += "\n\(group.title)\n\(body)" }
    }
    return text
  }

  // MARK: Heading and rules

  private static func heading(_ dump: VMCSDump) -> String {
    var title = dump.kind == .vmcs ? "VMCS" : "VMCB"
    if let type = dump.guestType { title = "\(type) \(title)" }
    if let vcpu = dump.vcpu { title += " of vCPU \(vcpu)" }
    if let cpu = dump.cpu { title += ", last attempted \(dump.kind == .vmcs ? "VM entry" : "VMRUN") on CPU \(cpu)" }
    title += dump.line == dump.lastLine ? ", line \(dump.line)" : ", lines \(dump.line)-\(dump.lastLine)"
    var text = title + "\n"
    if let exit = dump.exit {
      text += folded("  exit reason    ", "\(exit.reason.hexadecimalValue)  \(exit.reason.summary)", indent: 17)
      if let qualification = exit.qualification {
        text += folded(
          "  qualification  ", "\(shortHexadecimal(qualification.value))  \(qualification.summary)", indent: 17)
      }
    }
    if let entry = dump.failedMSR {
      text += "  failed MSR     \(Decoded.msrLabel(entry.msr)) = \(shortHexadecimal(entry.value)), line \(entry.line)\n"
    }
    for remark in dump.remarks {
      text += folded("  line \(remark.line): ", words(remark), indent: 6)
    }
    if !dump.damagedLines.isEmpty {
      let count = dump.damagedLines.count
      var lines = dump.damagedLines.prefix(10).map(String.init).joined(separator: ", ")
      if count > 10 { lines += ", ..." }
      text += folded("  ", "damaged line\(count == 1 ? "" : "s") \(lines): read up to the damage", indent: 4)
    }
    return text
  }

  /// A remark in words: what the number in it says.
  public static func words(_ remark: DumpRemark) -> String {
    switch remark.kind {
    case .hardwareError:
      let value = remark.value
      let meaning = value >> 31 & 1 == 1 ? Decoded.exitReason(value).summary : Decoded.instructionError(value).summary
      return "KVM: entry failed, hardware error \(shortHexadecimal(value)): \(meaning)"
    case .unexpectedExit: return "KVM: unexpected exit reason \(shortHexadecimal(remark.value))"
    case .suppressed: return "KVM left a dump out: its module parameter was off"
    }
  }

  private static func rules(_ dump: VMCSDump, _ check: VMEntryCheck) -> String {
    let unchecked = check.unchecked.count
    var tally =
      "\(check.checked) rule\(check.checked == 1 ? "" : "s") of \(dump.kind == .vmcs ? "VM entry" : "VMRUN") checked"
    if unchecked > 0 { tally += ", \(unchecked) not: what they need is not in the dump (--unchecked lists them)" }
    tally += "."
    guard !check.broken.isEmpty else { return "NO RULE IS BROKEN\n" + folded("  ", tally, indent: 2) }
    var text = check.broken.count == 1 ? "1 BROKEN RULE\n" : "\(check.broken.count) BROKEN RULES\n"
    for rule in check.broken {
      text += folded("  ", rule.statement + ".", indent: 2)
      let fields = rule.fields.compactMap(dump.field)
      let width = fields.map { $0.id.name.count }.max() ?? 0
      for field in fields { text += line(dump, field, indent: 4, width: width) }
      text += folded("    ", "\(rule.section.citation): \(rule.section.consequence) [\(rule.id)]", indent: 4)
    }
    return text + folded("  ", tally, indent: 2)
  }

  // MARK: Fields

  private struct Group {
    var title: String
    var fields: [DumpFieldID] = []
    /// Segments stand in a table: the number of each field of a register.
    var segments: [(name: String, fields: [DumpFieldID])] = []
    var isMSRs = false

    init(_ title: String, _ fields: [UInt32], isMSRs: Bool = false) {
      self.title = title
      self.fields = fields.map(DumpFieldID.init(rawValue:))
      self.isMSRs = isMSRs
    }
  }

  private static let vmcsGroups: [Group] = {
    var segments = Group("SEGMENTS", [])
    let registers: [(UInt32, String)] = [
      (1, "CS"), (2, "SS"), (3, "DS"), (0, "ES"), (4, "FS"), (5, "GS"), (6, "LDTR"), (7, "TR"),
    ]
    for (number, name) in registers {
      let firsts: [UInt32] = [0x0800, 0x6806, 0x4800, 0x4814]
      segments.segments.append((name, firsts.map { DumpFieldID(rawValue: $0 + number * 2) }))
    }
    let virtualization: [UInt32] = [0x2010, 0x2032, 0x201a, 0x0000, 0x4020, 0x4022, 0x202a]
    let information: [UInt32] = Array(0x10000..<0x10006)
    return [
      Group(
        "CONTROL REGISTERS",
        [
          0x6800, 0x6004, 0x6000, 0x6802, 0x6804, 0x6006, 0x6002, 0x280a, 0x280c, 0x280e, 0x2810, 0x681a, 0x681c,
          0x681e,
          0x6820,
        ]),
      segments,
      Group("DESCRIPTOR TABLES", [0x4810, 0x6816, 0x4812, 0x6818]),
      Group(
        "MSRS", [0x2806, 0x2804, 0x2802, 0x2808, 0x2812, 0x482a, 0x6824, 0x6826, 0x6828, 0x682a, 0x682c], isMSRs: true),
      Group(
        "INTERRUPTS AND PENDING EVENTS",
        [
          0x4824, 0x4826, 0x6822, 0x0810, 0x4016, 0x4018, 0x401a, 0x4402, 0x6400, 0x4404, 0x4406, 0x440c, 0x4408,
          0x440a,
          0x401c, 0x2012, 0x2014, 0x0002,
        ]),
      Group("CONTROLS", [0x4000, 0x4002, 0x401e, 0x2034, 0x400c, 0x2044, 0x4012, 0x4004, 0x4006, 0x4008]),
      Group(
        "HOST STATE",
        [
          0x6c00, 0x6c02, 0x6c04, 0x6c14, 0x6c16, 0x0c02, 0x0c04, 0x0c06, 0x0c00, 0x0c08, 0x0c0a, 0x0c0c, 0x6c06,
          0x6c08,
          0x6c0a, 0x6c0c, 0x6c0e, 0x4c00, 0x6c10, 0x6c12, 0x2c02, 0x2c00, 0x2c04, 0x6c18, 0x6c1a, 0x6c1c,
        ]),
      Group("TSC, EPT, VPID, PLE, #VE", virtualization + information),
    ]
  }()

  private static let vmcbGroups: [Group] = {
    func ids(_ names: [String]) -> [DumpFieldID] { names.compactMap(DumpFieldID.init(vmcb:)) }
    let segmentNames = ["cs", "ss", "ds", "es", "fs", "gs", "ldtr", "tr", "gdtr", "idtr"]
    var registers = Group("CONTROL REGISTERS", [])
    registers.fields = ids([
      "cr0", "cr2", "cr3", "cr4", "dr6", "dr7", "rip", "rsp", "rflags", "rax", "cpl", "vmpl",
    ])
    var segments = Group("SEGMENTS", [])
    segments.segments = segmentNames.map { name in
      (name.uppercased(), ids(["selector", "base", "limit", "attrib"].map { "\(name).\($0)" }))
    }
    var events = Group("EXIT AND EVENTS", [])
    events.fields = ids([
      "exit_code", "exit_info1", "exit_info2", "exit_int_info", "exit_int_info_err", "event_inj", "event_inj_err",
      "int_ctl", "int_vector", "int_state", "next_rip",
    ])
    var intercepts = Group("INTERCEPTS", [])
    intercepts.fields = ids([
      "cr_read", "cr_write", "dr_read", "dr_write", "exceptions", "intercepts_3", "intercepts_4",
    ])
    var msrs = Group("MSRS", [])
    msrs.fields = ids([
      "efer", "gpat", "dbgctl", "star", "lstar", "cstar", "sfmask", "kernel_gs_base", "sysenter_cs", "sysenter_esp",
      "sysenter_eip", "s_cet", "ssp", "isst_addr", "br_from", "br_to", "excp_from", "excp_to",
    ])
    let shown = Set(
      registers.fields + msrs.fields + events.fields + intercepts.fields + segments.segments.flatMap { $0.fields })
    var rest = Group("OTHER FIELDS", [])
    rest.fields = DumpFieldID.vmcbFields.filter { !shown.contains($0) }
    return [registers, segments, msrs, events, intercepts, rest]
  }()

  private static func section(_ dump: VMCSDump, _ group: Group) -> String {
    var text = ""
    let fields = group.fields.compactMap(dump.field)
    let width = fields.map { $0.id.name.count }.max() ?? 0
    for field in fields {
      text += line(dump, field, indent: 2, width: width)
      for (register, id) in [(0, UInt32(0x6000)), (4, 0x6002)] where field.id.rawValue == id {
        guard let view = dump.guestView(ofCR: register) else { continue }
        text += folded(
          "  " + pad("guest reads", width) + "  " + hexadecimal(view, 16) + "  ",
          (register == 0 ? Decoded.cr0(view) : Decoded.cr4(view)).summary, indent: 6)
      }
    }
    var isFirst = true
    for (name, ids) in group.segments {
      let values = ids.map(dump.field)
      guard values.contains(where: { $0 != nil }) else { continue }
      if isFirst { text += "        SEL     BASE                LIMIT       RIGHTS\n" }
      isFirst = false
      let cells = zip(values, [4, 16, 8, 5]).map { field, digits in
        pad(field.map { hexadecimal($0.value, digits) } ?? "-", digits + 2)
      }
      let meaning = values.last.flatMap { $0 }.flatMap(dump.meaning) ?? ""
      text += folded("  \(pad(name, 4))  \(cells.joined(separator: "  "))  ", meaning, indent: 8)
    }
    if group.isMSRs {
      for list in dump.msrLists {
        text += "  \(list.name)\(list.entries.isEmpty ? ": empty" : "")\n"
        for entry in list.entries {
          text +=
            "    \(pad("\(entry.index)", 3)) \(pad(Decoded.msrLabel(entry.msr), 34)) \(hexadecimal(entry.value, 16))\n"
        }
      }
    }
    return text
  }

  private static func line(_ dump: VMCSDump, _ field: VMCSDump.Field, indent: Int, width: Int) -> String {
    let start = String(repeating: " ", count: indent) + pad(field.id.name, width) + "  " + VMCSDump.hexadecimal(field)
    guard let meaning = dump.meaning(of: field), !meaning.isEmpty else { return start + "\n" }
    return folded(start + "  ", meaning, indent: indent + 4)
  }

  // MARK: Layout

  private static let columns = 80

  /// A line, folded at blanks. What does not fit behind its start as a whole begins in a line of its own.
  private static func folded(_ start: String, _ text: String, indent: Int) -> String {
    if start.count + text.count <= columns {
      return trimmed(start + text) + "\n"
    }
    var result = ""
    var line = start
    // A start that is a name and a number stands alone; one that is but a margin does not.
    if start.count > 20 {
      result = trimmed(start) + "\n"
      line = String(repeating: " ", count: indent)
    }
    var isEmpty = true
    for word in text.split(separator: " ") {
      if !isEmpty, line.count + 1 + word.count > columns {
        result += line + "\n"
        line = String(repeating: " ", count: indent)
        isEmpty = true
      }
      line += (isEmpty ? "" : " ") + word
      isEmpty = false
    }
    return result + line + "\n"
  }

  private static func trimmed(_ text: String) -> String {
    var text = text
    while text.last == " " { text.removeLast() }
    return text
  }

  private static func pad(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
  }

  private static func hexadecimal(_ value: UInt64, _ digits: Int) -> String {
    let text = String(value, radix: 16)
    return "0x" + String(repeating: "0", count: max(0, digits - text.count)) + text
  }

  private static func shortHexadecimal(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }
}
