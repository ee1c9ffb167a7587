import Aggregator
import Architecture
import Screen

/// A row of a pane of state: a field, a segment with its parts, or a field of the last kvm_exit.
struct StateRow {
  var key: RowKey
  /// As it is written in its pane.
  var name: String
  /// One, or the parts of a segment.
  var readings: [FieldReading]
  /// For a field of the last kvm_exit.
  var note: FieldNote?
  /// True for one tick after it changed.
  var isChanged = false

  /// The reading that stands in the column of values.
  var main: FieldReading? {
    guard readings.first?.field.segment != nil else { return readings.first }
    return readings.first { $0.field.segment?.part == .selector } ?? readings.first { $0.field.segment?.part == .base }
  }

  var isAvailable: Bool { note != nil || readings.contains { $0.value != nil } }
}

/// A line of a pane of state.
enum StateLine {
  /// A group, and how many of its fields are left out for want of a value.
  case heading(String, hidden: Int)
  /// An index into the rows.
  case row(Int)
  case note(String)
}

/// A difference between two vCPUs: a field, or a control.
struct ComparisonRow {
  var key: RowKey
  var name: String
  var a: FieldReading?
  var b: FieldReading?
  /// For a control: what it is on both.
  var control: (id: ControlID, a: Bool, b: Bool)?
}

extension Provenance {
  /// The sign behind a value on the screen; a value that was read and is current has none.
  var mark: String {
    switch self {
    case .measured: ""
    case .configured: "c"
    case .capability: "p"
    case .derived: "="
    case .inferred: "i"
    case .stale: "~"
    case .unavailable: "?"
    }
  }
}

/// A field's name without what its pane says anyway.
func shortFieldName(_ name: String) -> String {
  for prefix in ["GUEST_", "HOST_", "save.", "control."] where name.hasPrefix(prefix) {
    return String(name.dropFirst(prefix.count))
  }
  return name
}

extension FrontModel {
  /// What was read of the vCPU that is shown.
  var stateReading: VCPUReading? { guestVCPU.flatMap { snapshot?.states[$0.vcpu.tid] } }

  /// Why there is no state, and what to do about it, in a line or two.
  var stateFailure: [String] {
    guard let snapshot else { return [] }
    if let failure = snapshot.stateFailure { return [failure] }
    if snapshot.playback != nil || snapshot.source.kind != .tracefs && snapshot.stream == nil {
      return ["A recording has no state but what the last exit told.", "Live (key L), it is read from kernel memory."]
    }
    if let isa = snapshot.source.isa, isa != "vmx", isa != "svm" {
      return ["No VMCS here: kvm_intel has one, kvm_amd has a VMCB."]
    }
    if guestVCPU?.vcpu.isGone == true { return ["This vCPU's thread is gone. n goes to the next one."] }
    return ["Not read yet: with the next interval."]
  }

  /// The fields of a pane. Without a reading, those that would be there.
  func stateFields(_ pane: Pane) -> [FieldReading] {
    func isOf(_ area: StateField.Area) -> Bool { (area == .host) == (pane == .host) }
    guard let reading = stateReading else {
      guard pane != .nested, snapshot?.source.isa == "vmx" else { return [] }
      return VMCSField.rows.map(StateField.init).filter { isOf($0.area) }.map { field in
        FieldReading(field, nil, .unavailable, field.vmcsField?.valueWithoutVMREAD ?? "only VMREAD could tell")
      }
    }
    switch pane {
    case .guest, .host: return (reading.fields + reading.others).filter { isOf($0.field.area) }
    case .nested: return reading.vmcs12 ?? []
    default: return []
    }
  }

  /// What a field of a pane is remembered as.
  func historyKey(_ pane: Pane, _ name: String) -> String {
    pane == .nested
      ? StateHistory.key(vmcs12: name) : StateHistory.key(name, isNested: stateReading?.isNested ?? false)
  }

  func stateRows(_ pane: Pane) -> [StateRow] { stateLines(pane, capacity: capacity(pane)).rows }

  /// True where fields without a value are listed because there is room for all.
  func showsAllFields(_ pane: Pane) -> Bool {
    let fields = stateFields(pane)
    return stateReading != nil && fields.count + StateGroup.allCases.count + 8 <= capacity(pane)
  }

  /// The lines of a pane of state and the rows among them.
  /// - Parameter capacity: how many lines fit.
  func stateLines(_ pane: Pane, capacity: Int) -> (lines: [StateLine], rows: [StateRow]) {
    let fields = stateFields(pane)
    let hasReading = stateReading != nil
    let showsAll =
      showsUnavailable ?? (hasReading && fields.count + StateGroup.allCases.count + 8 <= capacity)
    let changed = guestVCPU.flatMap { histories[$0.vcpu.tid]?.changed } ?? []
    var lines: [StateLine] = []
    var rows: [StateRow] = []
    var silent = 0

    func add(_ row: StateRow) {
      lines.append(.row(rows.count))
      rows.append(row)
    }
    // What is a reading already is not said twice.
    let known = Set(fields.filter { $0.field.area == .exit && $0.value != nil }.map(\.field.name))
    let notes = pane == .guest ? exitRowsOfState().filter { !known.contains($0.name) } : []
    func addNotes() {
      guard !notes.isEmpty else { return }
      lines.append(.heading("last kvm_exit", hidden: 0))
      notes.forEach(add)
    }
    if !hasReading {
      addNotes()
      if showsUnavailable != true && pattern == nil {
        if !fields.isEmpty {
          lines.append(.note("\(fields.count) fields that were not read: u lists them, / finds one, Enter explains it"))
        }
        return (lines, rows)
      }
    }
    // By area where a pane has several, then by group, then as an engineer reads them.
    struct Section: Hashable {
      var isHost: Bool
      var group: StateGroup
    }
    var sections: [Section: [FieldReading]] = [:]
    for field in fields {
      sections[Section(isHost: field.field.area == .host, group: field.field.group), default: []].append(field)
    }
    let order = [false, true].flatMap { isHost in StateGroup.allCases.map { Section(isHost: isHost, group: $0) } }
    for section in order {
      if hasReading, section == Section(isHost: false, group: .exitInformation), !notes.isEmpty { addNotes() }
      guard let members = sections[section] else { continue }
      let all = groupRows(section.group, members, pane, changed)
      let heading = (pane == .nested && section.isHost ? "host " : "") + section.group.rawValue
      if pattern != nil {
        let found = all.filter { matches($0, section.group) }
        if !found.isEmpty { lines.append(.heading(heading, hidden: 0)) }
        found.forEach(add)
        continue
      }
      let shown = showsAll ? all.filter(\.isAvailable) + all.filter { !$0.isAvailable } : all.filter(\.isAvailable)
      let hidden = all.count - shown.count
      if shown.isEmpty {
        // A group of which nothing is known is not worth a heading.
        silent += hidden
        continue
      }
      lines.append(.heading(heading, hidden: hidden))
      shown.forEach(add)
    }
    if silent > 0 { lines.append(.note("\(silent) more of which nothing is known: u lists them")) }
    return (lines, rows)
  }

  private func exitRowsOfState() -> [StateRow] {
    guard let exit = guestVCPU?.vcpu.lastExit?.exit else { return [] }
    return names.exitFields(exit).map { note in
      StateRow(key: .field("kvm_exit \(note.name)"), name: note.name, readings: [], note: note)
    }.filter { pattern == nil || passes($0.name, "kvm_exit") }
  }

  /// The rows of one group: segments and descriptor tables with their parts in one.
  private func groupRows(
    _ group: StateGroup, _ fields: [FieldReading], _ pane: Pane, _ changed: Set<String>
  ) -> [StateRow] {
    func isChanged(_ field: FieldReading) -> Bool {
      !changed.isEmpty && changed.contains(historyKey(pane, field.field.name))
    }
    var rows: [StateRow] = []
    var places: [String: Int] = [:]
    for field in fields {
      if let segment = field.field.segment {
        if let place = places[segment.register] {
          rows[place].readings.append(field)
          rows[place].isChanged = rows[place].isChanged || isChanged(field)
          continue
        }
        places[segment.register] = rows.count
        rows.append(
          StateRow(
            key: .field("\(field.field.area == .host ? "host " : "")\(segment.register)"), name: segment.register,
            readings: [field], isChanged: isChanged(field)))
      } else {
        rows.append(
          StateRow(
            key: .field(field.field.name), name: shortFieldName(field.field.name), readings: [field],
            isChanged: isChanged(field)))
      }
    }
    let first = Self.readingOrder[group] ?? []
    guard !first.isEmpty else { return rows }
    func rank(_ row: StateRow) -> Int {
      let name = row.name.uppercased()
      return first.firstIndex { name == $0 } ?? first.firstIndex { name.hasPrefix($0) } ?? first.count
    }
    return rows.enumerated().map { (at: $0, rank: rank($1), row: $1) }
      .sorted { ($0.rank, $0.at) < ($1.rank, $1.at) }.map(\.row)
  }

  /// The order of rows in a group, where that of encodings is nobody's.
  private static let readingOrder: [StateGroup: [String]] = [
    .controlRegisters: [
      "CR0", "CR0_READ_SHADOW", "CR0_GUEST_HOST_MASK", "CR2", "CR3", "CR4", "CR4_READ_SHADOW", "CR4_GUEST_HOST_MASK",
      "CR8", "XCR0",
    ],
    .generalRegisters: [
      "RIP", "RSP", "RFLAGS", "CPL", "RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RBP", "R8", "R9", "R10", "R11", "R12",
      "R13", "R14", "R15",
    ],
    .segments: ["CS", "SS", "DS", "ES", "FS", "GS", "LDTR", "TR"],
    .modelSpecificRegisters: ["IA32_EFER", "EFER", "IA32_PAT", "GPAT"],
    .interrupts: [
      "ACTIVITY_STATE", "INTERRUPTIBILITY_INFO", "INTR_STATUS", "VM_ENTRY_INTR_INFO", "VM_ENTRY_EXCEPTION",
      "VM_ENTRY_INSTRUCTION", "INT_CTL", "INT_STATE", "INT_VECTOR", "EVENT_INJ", "TPR_THRESHOLD", "PENDING", "APIC",
      "PI_", "POSTED",
    ],
    .addressTranslation: ["EPT_POINTER", "VIRTUAL_PROCESSOR_ID", "NESTED_CTL", "NESTED_CR3", "ASID"],
    .controls: [
      "PIN_BASED", "CPU_BASED", "SECONDARY_VM_EXEC", "TERTIARY_VM_EXEC", "VM_EXIT_CONTROLS", "VM_ENTRY_CONTROLS",
      "INTERCEPT", "EXCEPTION_BITMAP", "MSR_BITMAP", "MSRPM", "IO", "PAGE_FAULT",
    ],
  ]

  private func matches(_ row: StateRow, _ group: StateGroup) -> Bool {
    if passes(row.name, group.rawValue) { return true }
    return row.readings.contains { matches($0.field) }
  }

  func matches(_ field: StateField) -> Bool {
    var texts = [field.name, field.description]
    if let place = field.place {
      texts.append(Format.hex(UInt64(place)))
      let digits = String(place, radix: 16)
      texts.append("0x" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits)
    }
    if let vmcs = field.vmcsField { texts.append(vmcs.sdmName) }
    return passes(texts)
  }

  // MARK: The words of a row

  /// The value in hexadecimal and the mark of where it is from.
  func valueText(_ row: StateRow) -> (text: String, mark: String, provenance: Provenance) {
    if let note = row.note { return (note.value ?? "?", "", note.value == nil ? .unavailable : .measured) }
    guard let main = row.main, let value = main.value else { return ("?", "", .unavailable) }
    return (Self.hexadecimal(value, main.field), main.provenance.mark, main.provenance)
  }

  /// A value as wide as is of use: small fields in full, registers without the zeros in front.
  static func hexadecimal(_ value: UInt64, _ field: StateField) -> String {
    guard field.width <= 16 else { return Format.hex(value) }
    let digits = String(value, radix: 16)
    return "0x" + String(repeating: "0", count: max(0, field.width / 4 - digits.count)) + digits
  }

  /// What the value means, in one line: decoded, or why there is none.
  func meaning(_ row: StateRow, _ pane: Pane) -> String {
    if let note = row.note { return note.remark }
    guard row.isAvailable, let first = row.readings.first else { return row.readings.first?.how ?? "" }
    if first.field.segment != nil {
      func reading(_ part: SegmentPart) -> FieldReading? { row.readings.first { $0.field.segment?.part == part } }
      let main = row.main
      // What tells most comes first: a narrow column shows no more.
      let parts: [SegmentPart] =
        reading(.accessRights)?.value == nil ? [.base, .limit, .accessRights] : [.accessRights, .base, .limit]
      return parts.compactMap { part -> String? in
        guard let reading = reading(part), part != .base || reading != main else { return nil }
        guard let value = reading.value else { return "\(part.rawValue) ?" }
        if part == .accessRights {
          return (reading.field.decoded(value)?.short ?? Format.hex(value)) + reading.provenance.mark
        }
        return "\(part.rawValue) \(Format.hex(value))\(reading.provenance.mark)"
      }.joined(separator: " ")
    }
    return decoded(first, pane)?.short ?? ""
  }

  /// A reading taken apart, with what it needs of the others of its pane.
  func decoded(_ reading: FieldReading, _ pane: Pane) -> Decoded? {
    guard let value = reading.value else { return nil }
    return reading.field.decoded(value) { name in
      pane == .nested
        ? stateReading?.vmcs12?.first { $0.field.name == name }?.value : stateReading?.reading(name)?.value
    }
  }

  /// What the VMM said of a field, where it said something else.
  func vmmText(_ row: StateRow, _ pane: Pane) -> String? {
    guard pane == .guest, let tid = guestVCPU?.vcpu.tid, let vmm = snapshot?.vmmReadings[tid], !vmm.fields.isEmpty
    else { return nil }
    guard let state = snapshot?.states[tid] else { return nil }
    var texts: [String] = []
    for reading in row.readings {
      // Also what only the VMM has; but not what is the same in the bits that it told.
      guard let comparison = state.compared(reading.field.name, with: vmm), comparison.outcome != .equal,
        let said = comparison.told.value
      else { continue }
      let part = reading.field.segment.map { $0.part == .selector ? "" : "\($0.part.rawValue) " } ?? ""
      texts.append(part + Format.hex(said))
    }
    return texts.isEmpty ? nil : "VMM " + texts.joined(separator: " ")
  }

  // MARK: Comparing

  /// The readings of the two pinned vCPUs; nil while fewer are pinned.
  var comparison: (a: Int32, b: Int32)? { pins.count == 2 ? (pins[0], pins[1]) : nil }

  /// What differs between the pinned vCPUs in a pane; nil where nothing is compared.
  func comparisonRows(_ pane: Pane) -> [ComparisonRow]? {
    guard let (a, b) = comparison, let snapshot else { return nil }
    switch pane {
    case .controls:
      guard let one = words(a), let other = words(b) else { return [] }
      return names.controls(isa: snapshot.source.isa).compactMap { id in
        guard let x = one.value(of: id), let y = other.value(of: id), x != y else { return nil }
        let name = names.control(id)
        guard passes(name.name, name.word, name.title) else { return nil }
        return ComparisonRow(key: .control(id), name: name.short, control: (id, x, y))
      }
    case .guest, .host:
      guard let one = snapshot.states[a], let other = snapshot.states[b] else { return [] }
      var others: [String: FieldReading] = [:]
      for reading in other.fields + other.others { others[reading.field.name] = reading }
      var rows: [(group: StateGroup, row: ComparisonRow)] = []
      for reading in one.fields + one.others where (reading.field.area == .host) == (pane == .host) {
        let y = others[reading.field.name]
        guard reading.value != y?.value, pattern == nil || matches(reading.field) else { continue }
        rows.append(
          (
            reading.field.group,
            ComparisonRow(key: .field(reading.field.name), name: reading.field.name, a: reading, b: y)
          ))
      }
      return rows.enumerated().sorted { ($0.element.group, $0.offset) < ($1.element.group, $1.offset) }
        .map(\.element.row)
    default: return nil
    }
  }

  /// The control words of a vCPU.
  func words(_ tid: Int32) -> ControlSetting? { snapshot?.controlWords[tid] ?? snapshot?.states[tid]?.words }

  /// Which parts of two values differ, in a few words: `A: IF, B: ZF`.
  func difference(_ row: ComparisonRow) -> String {
    if let control = row.control { return names.control(control.id).title }
    func parts(_ reading: FieldReading?, _ other: FieldReading?) -> [String] {
      guard let reading, let value = reading.value, let decoded = reading.field.decoded(value) else { return [] }
      let counterpart = Set(other?.value.flatMap { other?.field.decoded($0)?.parts } ?? [])
      return decoded.parts.filter { !counterpart.contains($0) }.map { part in
        part.value == 1 && !part.bits.contains(":") ? Decoded.withoutWord(part.name) : "\(part.name) \(part.meaning)"
      }
    }
    let (a, b) = (parts(row.a, row.b), parts(row.b, row.a))
    if a.isEmpty && b.isEmpty {
      let missing = [row.a, row.b].compactMap { $0 }.first { $0.value == nil }
      return missing?.how ?? (row.a ?? row.b)?.field.description ?? ""
    }
    return [("A", a), ("B", b)].filter { !$0.1.isEmpty }.map { "\($0.0): " + $0.1.joined(separator: " ") }
      .joined(separator: "  ")
  }

  // MARK: MSRs

  /// The MSRs that the guest reaches without an exit.
  func msrRows() -> [MSRAccess] {
    guard let tid = guestVCPU?.vcpu.tid, let ranges = msrRanges[tid] else { return [] }
    guard pattern != nil else { return ranges }
    return ranges.filter { range in
      passes(
        Format.hex(UInt64(range.first)), Format.hex(UInt64(range.last)), msrName(range.first) ?? "",
        range.last > range.first ? msrName(range.last) ?? "" : "")
    }
  }
}
