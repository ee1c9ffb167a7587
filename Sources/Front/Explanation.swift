import Aggregator
import Architecture
import Screen

/// All that is known of one field or control: what Enter opens.
extension Painter {
  func explanationLines(_ key: RowKey, _ pane: Pane, width: Int) -> [Line] {
    switch key {
    case .control(let id): return explanation(id, width: width)
    case .field(let name):
      if let rows = model.comparisonRows(pane), let row = rows.first(where: { $0.key == key }), let a = row.a,
        let tids = model.comparison
      {
        var lines = explanation(a, pane, tid: tids.a, title: "A", width: width)
        if let b = row.b { lines += [""] + explanation(b, pane, tid: tids.b, title: "B", width: width) }
        return lines
      }
      let rows = model.stateLines(pane, capacity: .max / 4).rows
      guard let row = rows.first(where: { $0.key == key }) else {
        return [Line(" \(shortFieldName(name)): not among the fields shown any more; Esc goes back", .dim)]
      }
      if let note = row.note {
        return [
          Line(" \(note.name)", .title), Line("  \(note.value ?? "?")  \(note.remark)"),
          Line("  measured: the tracepoint kvm_exit told it, of the last exit of this vCPU", .dim),
        ]
      }
      let tid = model.guestVCPU?.vcpu.tid
      return row.readings.enumerated().flatMap { index, reading in
        (index > 0 ? [Line("")] : []) + explanation(reading, pane, tid: tid, title: nil, width: width)
      }
    default: return []
    }
  }

  /// A labelled text in as many lines as it takes.
  private func entry(_ label: String, _ text: String, _ role: Role = .normal, width: Int) -> [Line] {
    text.wrapped(to: max(10, width - 20)).enumerated().map { index, part in
      var line = Line("  " + (index == 0 ? label : "").padded(to: 15) + "  ", .dim)
      line.append(part, role)
      return line
    }
  }

  private func explanation(_ reading: FieldReading, _ pane: Pane, tid: Int32?, title: String?, width: Int) -> [Line] {
    let field = reading.field
    var head = Line(title.map { " \($0) " } ?? " ", .key)
    head.append(field.name, .title)
    if let place = field.place { head.append("  \(Format.hex(UInt64(place)))", .dim) }
    var lines = [head]
    func add(_ label: String, _ text: String?, _ role: Role = .normal) {
      if let text, !text.isEmpty { lines += entry(label, text, role, width: width) }
    }
    add("holds", field.description)
    let state = tid.flatMap { model.snapshot?.states[$0] }
    let age = (reading.readAt ?? state?.readAt).flatMap { model.age($0) }.map { ", \(Format.duration($0)) ago" } ?? ""
    let decoded = model.decoded(reading, pane)
    if let value = reading.value {
      let digits = String(value, radix: 16)
      let full = "0x" + String(repeating: "0", count: max(0, field.width / 4 - digits.count)) + digits
      add("value", value > 9 ? "\(full)  (\(value))" : full, .value)
      add("means", decoded?.summary)
      add(
        "known how", "\(reading.provenance.rawValue)\(age): \(reading.how)",
        reading.provenance == .stale ? .stale : .normal)
      if reading.provenance == .stale {
        add("", "KVM has not read the register again since the guest ran: it may be another by now", .stale)
      }
    } else {
      add("value", "unavailable: \(reading.how)", .dim)
    }
    if let tid, pane == .guest, let vmm = model.snapshot?.vmmReadings[tid],
      let comparison = state?.compared(field.name, with: vmm),
      let said = comparison.told.value
    {
      let isSame = comparison.outcome == .equal
      let age = model.age(vmm.readAt).map { ", \(Format.duration($0)) ago" } ?? ""
      add(
        "the VMM said",
        "\(Format.hex(said))\(age)\(isSame ? ", the same" : "")\(comparison.note.map { "; \($0)" } ?? "")",
        isSame ? .normal : .warning)
    }
    lines.append("")
    switch field.kind {
    case .vmcs:
      guard let vmcs = field.vmcsField else { break }
      let encoding = vmcs.encoding
      let width = encoding.width == .natural ? "natural width, 64 bits here" : "\(encoding.width.name) bits"
      add("width", width)
      add(
        "encoding",
        "\(Format.hex(UInt64(encoding.rawValue))): \(encoding.area.name) area, \(encoding.width.name)"
          + "\(encoding.width == .natural ? " width" : " bits"), index \(encoding.index)"
          + (vmcs.highEncoding.map { "; upper half \(Format.hex(UInt64($0.rawValue)))" } ?? ""))
      add("SDM", vmcs.sdmName)
      add(
        "Linux",
        vmcs.linuxName.map { "\($0)\(vmcs.firstKernel.map { ", since \($0)" } ?? "")" } ?? "no constant of its own")
      add("other names", vmcs.otherNames)
      add("exists if", vmcs.existsIf)
      add("without VMREAD", vmcs.valueWithoutVMREAD)
    case .vmcb:
      add("width", "\(field.width) bits")
      add("VMCB offset", field.place.map { Format.hex(UInt64($0)) })
    case .kvm:
      add("width", "\(field.width) bits")
      add("kept by", "KVM, beside the VMCS or VMCB")
    }
    add("group", field.group.rawValue)
    if let decoded, !decoded.parts.isEmpty {
      lines.append("")
      lines.append(Line(" BITS", .heading))
      let nameWidth = min(24, decoded.parts.reduce(4) { max($0, $1.name.displayWidth) })
      for part in decoded.parts {
        var line = Line("  " + part.bits.padded(to: 7, alignRight: true), .dim)
        line.append("  " + part.name.padded(to: nameWidth), part.name == "reserved" ? .error : .value)
        line.append("  \(Format.hex(part.value))  ", .dim)
        line.append(part.meaning)
        lines.append(line)
      }
    }
    let key =
      pane == .nested
      ? StateHistory.key(vmcs12: field.name) : StateHistory.key(field.name, isNested: state?.isNested ?? false)
    if let values = tid.flatMap({ model.histories[$0]?.values[key] }), !values.isEmpty {
      lines.append("")
      lines.append(Line(" LAST VALUES, newest first", .heading))
      for (offset, entry) in values.reversed().enumerated() {
        let when = model.age(entry.since).map { "since \(Format.duration($0)) ago" } ?? ""
        var line = Line("  " + when.padded(to: 17, alignRight: true), .dim)
        line.append("  " + Format.hex(entry.value).padded(to: 18), offset == 0 ? .value : .normal)
        line.append("  " + (field.decoded(entry.value)?.short ?? ""), .dim)
        lines.append(line)
      }
    }
    return lines
  }

  private func explanation(_ id: ControlID, width: Int) -> [Line] {
    let name = model.names.control(id)
    var head = Line(" \(name.name)", .title)
    head.append("  \(name.word)\(name.bit.map { " bit \($0)" } ?? "")", .dim)
    var lines = [head]
    func add(_ label: String, _ text: String?, _ role: Role = .normal) {
      if let text, !text.isEmpty { lines += entry(label, text, role, width: width) }
    }
    add("is", name.title)
    let row = id.controlBit
    add("what a 1 does", row?.description)
    if let word = id.controlWord {
      add("field", "\(word.sdmName), \(Format.hex(UInt64(word.encoding.rawValue)))")
    }
    lines.append("")
    let threads = model.scopeThreads
    let known = threads.compactMap { model.words($0)?.value(of: id) }
    if !known.isEmpty {
      let on = known.count { $0 }
      add(
        "now", on == known.count ? "1" : on == 0 ? "0" : "1 on \(on) of \(known.count) vCPUs, 0 on the others", .value)
    } else {
      add(
        "now", model.controlRows().first { $0.control == id }?.state == .on ? "1: an exit proves it" : "not known", .dim
      )
    }
    add("configured", model.configured(id).map { "\($0 ? 1 : 0) in vmcs_config: what KVM gives every vCPU" })
    if let bit = row {
      let text = model.snapshot?.hostControls?.capabilities.allowed(bit)?.text
      let msr = bit.word.trueCapabilityMSR.map { " or, with TRUE controls, \(Format.hex(UInt64($0)))" } ?? ""
      add(
        "allowed",
        "\(text ?? model.snapshot?.hostControls?.capabilities.missing ?? "not known") by MSR \(Format.hex(UInt64(bit.word.capabilityMSR)))\(msr)"
      )
    }
    for tid in threads {
      guard let difference = model.difference(id, tid) else { continue }
      let who = model.machine(tid).map { MachineName.vcpu($0.vcpu) } ?? "thread \(tid)"
      add("why", "\(who): \(difference.isSet ? 1 : 0) because \(difference.reason)", .charged)
      if !difference.isMeasured { add("", "KVM's rule in general: nothing was read that decides it", .dim) }
    }
    add("KVM sets it", row?.kvmCondition)
    add("KVM needs it", row.map { $0.kvmCapability == "none" ? "no" : $0.kvmCapability })
    add("cpuinfo flag", row?.cpuinfoFlag)
    add(
      "Linux", row.map { "\($0.linuxName ?? "no constant of its own")\($0.firstKernel.map { ", since \($0)" } ?? "")" })
    if let code = id.interceptCode {
      add("exit code", Format.hex(UInt64(code)))
      add("KVM's default", id.interceptReason?.svm?.kvmUse)
    }
    if let since = model.snapshot?.status(id, on: threads).since, let snapshot = model.snapshot {
      add(
        "changed", "\(Format.duration(snapshot.age(of: since))) ago, as far as reading ten times a second can tell",
        .changed)
    }
    lines += settingLines(id)
    lines.append("")
    lines.append(Line(" EXITS THAT IT CAUSES", .heading))
    let reasons = (model.scopeStatistics?.reasons ?? []).compactMap { reason in
      reason.charges.first { $0.control == id }.map { (reason, $0) }
    }.sorted { $0.1.count > $1.1.count }
    for (reason, charge) in reasons {
      var line = Line("  " + Painter.text(.integer(charge.count), width: 12).padded(to: 12, alignRight: true), .value)
      line.append("  \(reason.name)", .charged)
      line.append(model.names.reason(isa: reason.isa, code: reason.code).map { "  \($0.meaning)" } ?? "", .dim)
      lines.append(line)
    }
    if reasons.isEmpty {
      lines.append(Line("  none so far", .dim))
      let names = id.reasons.map(\.name)
      if !names.isEmpty { lines += entry("it would cause", names.joined(separator: ", "), .dim, width: width) }
    }
    return lines
  }
}

extension FrontModel {
  /// What KVM settled on for a control; nil where it is not known.
  func configured(_ id: ControlID) -> Bool? { snapshot?.hostControls?.configuration.words.value(of: id) }

  /// Why a control of a vCPU is not as configured; nil where it is, or where the vCPU was not read.
  func difference(_ id: ControlID, _ tid: Int32) -> ControlDifference? {
    snapshot?.states[tid]?.differences.first { $0.control == id }
  }

  /// What the processor takes, as short as a column: `0/1`, `1`, `0`.
  func allowed(_ id: ControlID) -> String? {
    guard let bit = id.controlBit else { return nil }
    return switch snapshot?.hostControls?.capabilities.allowed(bit) {
    case .either: "0/1"
    case .onlyOne: "1"
    case .onlyZero: "0"
    case .oneToo: "?/1"
    case .neither: "!"
    case .noSuchWord: "-"
    case nil: nil
    }
  }
}
