import Aggregator
import Architecture
import Screen

/// The panes of one vCPU's state: guest, host, nested, and the MSR bitmap; and two vCPUs side by side.
extension Painter {
  /// The width from which rows are set in two columns, three in one and a half times that, and so on.
  static let stateColumn = 60

  mutating func paintState(_ pane: Pane, _ area: Rectangle) {
    if model.comparison != nil, pane != .nested { return paintComparison(pane, area) }
    let y = paintStateHead(pane, area)
    let foot = paintStateFoot(pane, area, from: y)
    let height = max(0, foot - y)
    let count = max(1, area.width / Painter.stateColumn)
    let (lines, rows) = model.stateLines(pane, capacity: height * count)
    frame.pageHeights[pane] = max(1, height * count)
    frame.tops[pane] = 0
    if rows.isEmpty && lines.isEmpty {
      text(area, y: y, emptyState(pane), .dim)
      return
    }
    guard height > 0 else { return }
    let cursor = model.cursorIndex(pane, rows.map(\.key))
    let place = lines.firstIndex { if case .row(cursor) = $0 { true } else { false } } ?? 0
    let capacity = height * count
    var top = model.state(pane).top
    // The heading above the first row of a group is shown with it.
    if place - 1 < top { top = max(0, place - 1) }
    if place >= top + capacity { top = place - capacity + 1 }
    top = min(max(0, top), max(0, lines.count - capacity))
    frame.tops[pane] = top
    if lines.count > capacity && pane == model.pane {
      frame.position = "\(top + 1)-\(min(lines.count, top + capacity))/\(lines.count)"
    }
    let width = (area.width - (count - 1) * 2) / count
    // In several columns each takes what its own names need; in one, which is scrolled, all have the same.
    func nameWidth(_ lines: ArraySlice<StateLine>) -> Int {
      lines.reduce(min(12, width / 3)) { widest, line in
        guard case .row(let index) = line else { return widest }
        return max(widest, min(width * 2 / 5, rows[index].name.displayWidth))
      }
    }
    let valueWidth = width >= 50 ? 18 : 12
    for column in 0..<count {
      let first = top + column * height
      guard first < lines.count else { break }
      let shown = lines[first..<min(lines.count, first + height)]
      let nameWidth = nameWidth(count == 1 ? lines[...] : shown)
      let x = area.x + column * (width + 2)
      for (offset, line) in shown.enumerated() {
        let place = Rectangle(x: x, y: area.y + y + offset, width: width, height: 1)
        switch line {
        case .heading(let title, let hidden):
          let end = frame.screen.put(title.uppercased(), x: x + 1, y: place.y, role: .heading, limit: place.right)
          if hidden > 0 {
            frame.screen.put("  + \(hidden) unavailable (u)", x: end, y: place.y, role: .dim, limit: place.right)
          }
        case .note(let note): frame.screen.put(note, x: x + 2, y: place.y, role: .dim, limit: place.right)
        case .row(let index):
          paint(rows[index], pane, place, nameWidth: nameWidth, valueWidth: valueWidth)
          if index == cursor, pane == model.pane {
            frame.screen.put("▸", x: x, y: place.y, role: .key)
            frame.screen.select(y: place.y, from: x, to: place.right)
          }
          frame.regions.append(.init(area: place, target: .row(pane, index)))
        }
      }
    }
    if rows.indices.contains(cursor), pane == model.pane { paintStrip(rows[cursor], pane, area, from: foot) }
  }

  private mutating func paint(_ row: StateRow, _ pane: Pane, _ line: Rectangle, nameWidth: Int, valueWidth: Int) {
    if row.isChanged { frame.screen.put("*", x: line.x + 1, y: line.y, role: .changed, limit: line.right) }
    var x = line.x + 2
    frame.screen.put(
      row.name.padded(to: nameWidth), x: x, y: line.y, role: row.isAvailable ? .normal : .dim, limit: line.right)
    x += nameWidth + 1
    let value = model.valueText(row)
    let role: Role =
      switch value.provenance {
      case _ where row.isChanged: .changed
      case .stale: .stale
      case .unavailable: .dim
      default: .normal
      }
    let end = frame.screen.put(value.text, x: x, y: line.y, role: role, limit: min(line.right, x + valueWidth))
    frame.screen.put(value.mark, x: end, y: line.y, role: value.provenance == .stale ? .stale : .dim, limit: line.right)
    x += valueWidth + 2
    guard x < line.right - 1 else { return }
    if let vmm = model.vmmText(row, pane) {
      x = frame.screen.put(vmm, x: x, y: line.y, role: .warning, limit: line.right) + 2
    }
    frame.screen.put(
      model.meaning(row, pane), x: x, y: line.y, role: row.isAvailable ? .normal : .dim, limit: line.right)
  }

  /// Whose state it is, what the last exit was, or why there is none. Returns the first line below.
  private mutating func paintStateHead(_ pane: Pane, _ area: Rectangle) -> Int {
    guard let (vm, vcpu) = model.guestVCPU else {
      text(area, y: 0, "no vCPU yet", .dim)
      return 1
    }
    var head = Line(" \(MachineName.vm(vm)) · \(MachineName.vcpu(vcpu))", .value)
    head.append(vcpu.tid == 0 ? "" : " · thread \(vcpu.tid)", .dim)
    let reading = model.stateReading
    if let reading {
      head.append(reading.cpu.map { " · on CPU \($0)" } ?? " · not loaded on a CPU", .dim)
      if pane == .nested {
        head.append(
          reading.vmcs12 == nil ? "" : reading.isa == .svm ? "  L1's VMCB for L2" : "  vmcs12, as L1 wrote it", .heading
        )
      }
      if reading.isNested {
        head.append(pane == .nested ? ", L2 runs" : "  L2 is current: this is vmcs02", .warning)
      }
    }
    frame.screen.put(head, x: area.x, y: area.y, limit: area.right)
    var y = 1
    if reading == nil {
      for failure in model.stateFailure {
        for line in failure.wrapped(to: max(10, area.width - 2)).prefix(3) where y < area.height {
          text(area, y: y, line, .warning)
          y += 1
        }
      }
    } else if pane == .guest, area.height >= 12, let last = vcpu.lastExit, let snapshot = model.snapshot {
      let age = snapshot.lastTimestamp - min(snapshot.lastTimestamp, last.timestamp)
      let notes = model.names.exitFields(last.exit)
      var line = Line(" last exit", .dim)
      for note in notes.prefix(3) {
        let isAddress = note.remark.isEmpty
        line.append(isAddress ? "  rip " : "  ", .dim)
        line.append(isAddress ? note.value ?? "?" : note.remark, note.name == notes.first?.name ? .value : .normal)
      }
      line.append("  \(Format.duration(age)) before the newest event", .dim)
      frame.screen.put(line, x: area.x, y: area.y + y, limit: area.right)
      y += 1
    }
    return min(y, area.height)
  }

  private func emptyState(_ pane: Pane) -> String {
    if !model.filter.isEmpty { return "no field matches /\(model.filter)" }
    guard let reading = model.stateReading else { return "" }
    if pane == .nested {
      return reading.isa == .svm
        ? "L1 runs no guest of its own on this vCPU."
        : "L1 has no current VMCS: it runs no guest of its own on this vCPU."
    }
    return "nothing of it could be read"
  }

  /// The row under the cursor in full, and the legend. Returns the first of these lines.
  private mutating func paintStateFoot(_ pane: Pane, _ area: Rectangle, from: Int) -> Int {
    guard area.height - from >= 5 else { return area.height }
    paintLegend(area, pane)
    let strip = pane != model.pane ? 0 : area.height >= 40 ? 3 : area.height >= 14 ? 2 : 0
    return area.height - 1 - strip
  }

  private mutating func paintStrip(_ row: StateRow, _ pane: Pane, _ area: Rectangle, from y: Int) {
    let room = area.height - 1 - y
    guard room > 0 else { return }
    var line = Line(" ")
    line.append(row.readings.count == 1 ? row.readings[0].field.name : row.name, .value)
    if let place = row.readings.count == 1 ? row.readings[0].field.place : nil {
      line.append(" \(Format.hex(UInt64(place)))", .dim)
    }
    let description = row.readings.count == 1 ? row.readings[0].field.description : ""
    if !description.isEmpty { line.append("  \(description)", .dim) }
    frame.screen.put(line, x: area.x, y: area.y + y, limit: area.right)
    guard room > 1 else { return }
    var text = model.meaning(row, pane)
    if let main = row.main, row.isAvailable, row.note == nil {
      text += (text.isEmpty ? "" : " · ") + "\(main.provenance.rawValue): \(main.how)"
    }
    let lines = text.wrapped(to: max(10, area.width - 2))
    for offset in 0..<min(room - 1, lines.count) {
      // What does not fit is cut in the last line, and seen to be.
      let isLast = offset == room - 2
      self.text(area, y: y + 1 + offset, isLast ? lines[offset...].joined(separator: " ") : lines[offset])
    }
  }

  /// What the marks mean, and how old the values are.
  private mutating func paintLegend(_ area: Rectangle, _ pane: Pane) {
    let y = area.y + area.height - 1
    guard let (_, vcpu) = model.guestVCPU, let reading = model.snapshot?.states[vcpu.tid] else { return }
    var line = Line(" ")
    line.append(model.age(reading.readAt).map { "measured \(Format.duration($0)) ago" } ?? "measured", .normal)
    for (mark, role, meaning) in [
      ("~", Role.stale, "stale"), ("=", .normal, "derived"), ("c", .normal, "configured"), ("?", .dim, "unavailable"),
      ("*", .changed, "changed"),
    ] {
      line.append("  \(mark)", role)
      line.append(" \(meaning)", .dim)
    }
    if pane == .guest, let vmm = model.snapshot?.vmmReadings[vcpu.tid] {
      let age = model.age(vmm.readAt).map { " \(Format.duration($0)) ago" } ?? ""
      if let failure = vmm.failure {
        line = Line(" the VMM did not answer\(age): \(failure)", .warning)
      } else {
        line.append("  VMM", .warning)
        line.append(" said\(age)", .dim)
      }
    }
    frame.screen.put(line, x: area.x, y: y, limit: area.right)
  }

  // MARK: Side by side

  /// Only what differs between the two pinned vCPUs.
  mutating func paintComparison(_ pane: Pane, _ area: Rectangle) {
    guard let (a, b) = model.comparison, let rows = model.comparisonRows(pane) else { return }
    let model = model
    func name(_ tid: Int32) -> String {
      model.machine(tid).map { "\(MachineName.vm($0.vm)) · \(MachineName.vcpu($0.vcpu))" } ?? "thread \(tid), gone"
    }
    var head = Line(" A ", .key)
    head.append(name(a), .value)
    head.append("   B ", .key)
    head.append(name(b), .value)
    let missing = [a, b].filter { tid in
      pane == .controls ? model.words(tid) == nil : model.snapshot?.states[tid] == nil
    }
    if missing.isEmpty {
      head.append("   \(rows.count) differ\(rows.count == 1 ? "s" : "")", .dim)
    }
    frame.screen.put(head, x: area.x, y: area.y, limit: area.right)
    let strip = area.height >= 12 ? 1 : 0
    let table = Rectangle(x: area.x, y: area.y + 1, width: area.width, height: area.height - 2 - strip)
    frame.tops[pane] = 0
    if !missing.isEmpty {
      for (offset, line) in model.stateFailure.enumerated() {
        let isOther = model.snapshot?.states.isEmpty == false
        text(area, y: 2 + offset, isOther ? "\(name(missing[0])): not read yet" : line, .warning)
      }
      return
    }
    let isControls = pane == .controls
    let columns = [
      TableColumn(
        title: isControls ? "CONTROL" : "FIELD", minimum: 16,
        ideal: rows.reduce(16) { max($0, $1.name.displayWidth) }),
      TableColumn(title: "A", minimum: isControls ? 3 : 12, ideal: isControls ? 3 : 19),
      TableColumn(title: "B", minimum: isControls ? 3 : 12, ideal: isControls ? 3 : 19),
      TableColumn(title: isControls ? "WHAT IT DOES" : "DIFFERENCE", minimum: 8, ideal: 120, priority: 1),
    ]
    let changes = [a, b].map { model.histories[$0]?.changed ?? [] }
    func value(_ reading: FieldReading?, _ at: Int) -> Span {
      guard let reading, let value = reading.value else { return Span("?", .dim) }
      let isChanged = changes[at].contains(
        StateHistory.key(reading.field.name, isNested: model.snapshot?.states[at == 0 ? a : b]?.isNested ?? false))
      return Span(
        FrontModel.hexadecimal(value, reading.field) + reading.provenance.mark,
        isChanged ? .changed : reading.provenance == .stale ? .stale : .normal)
    }
    let cursor = model.cursorIndex(pane, rows.map(\.key))
    paintTable(
      pane, table, columns: columns, ids: ["name", "a", "b", "difference"], sortedBy: "", count: rows.count,
      cursor: cursor,
      cell: { index, column, _ in
        let row = rows[index]
        switch column {
        case 0: return Span(row.name, .value)
        case 1: return row.control.map { Span($0.a ? "[x]" : "[ ]") } ?? value(row.a, 0)
        case 2: return row.control.map { Span($0.b ? "[x]" : "[ ]") } ?? value(row.b, 1)
        default: return Span(model.difference(row), .dim)
        }
      }, marker: { _ in Span(" ") })
    if rows.isEmpty {
      text(table, y: 1, model.filter.isEmpty ? "nothing differs" : "no difference matches /\(model.filter)", .dim)
    }
    if strip > 0, rows.indices.contains(cursor) {
      var line = Line(" \(rows[cursor].name)", .value)
      line.append("  \(model.difference(rows[cursor]))")
      frame.screen.put(line, x: area.x, y: table.bottom, limit: area.right)
    }
    text(area, y: area.height - 1, "= or Esc ends the comparison   Enter explains a row", .dim)
  }

  // MARK: The MSR bitmap

  mutating func paintMSRs(_ area: Rectangle) {
    let top = paintStateHead(.msrs, area)
    frame.tops[.msrs] = 0
    guard let reading = model.stateReading else { return }
    guard let bitmap = reading.msrBitmap else {
      let usesBitmap = reading.words.value(of: .cpuBasedUseMSRBitmaps)
      let why =
        usesBitmap == false
        ? "CPU_BASED_USE_MSR_BITMAPS is 0: every RDMSR and WRMSR exits." : "The page of the bitmap could not be read."
      return text(area, y: top, why, .dim)
    }
    let rows = model.msrRows()
    let model = model
    let busiest = busiestMSRs
    let side = area.width >= 120 ? min(60, area.width / 2 - 2) : 0
    // Beside each other where there is room, below otherwise.
    let below = side > 0 || area.height < 12 ? 0 : min(busiest.count + 1, max(3, area.height / 3))
    let table = Rectangle(
      x: area.x, y: area.y + top, width: area.width - (side > 0 ? side + 2 : 0),
      height: max(0, area.height - top - below - 1))
    func access(_ exits: Bool) -> Span { exits ? Span("exits", .charged) : Span("direct", .normal) }
    let columns = [
      TableColumn(title: "MSR", minimum: 10, ideal: 21),
      TableColumn(title: "COUNT", minimum: 5, alignRight: true, priority: 3),
      TableColumn(title: "READ", minimum: 6), TableColumn(title: "WRITE", minimum: 6),
      TableColumn(title: "NAME", minimum: 12, ideal: 44, priority: 1),
    ]
    let cursor = model.cursorIndex(.msrs, rows.map { .msr($0.first) })
    paintTable(
      .msrs, table, columns: columns, ids: ["msr", "count", "read", "write", "name"], sortedBy: "", count: rows.count,
      cursor: cursor,
      cell: { index, column, _ in
        let row = rows[index]
        switch column {
        case 0:
          let first = Format.hex(UInt64(row.first))
          return Span(row.first == row.last ? first : "\(first)-\(Format.hex(UInt64(row.last)))", .value)
        case 1: return Span(String(UInt64(row.last) &- UInt64(row.first) &+ 1), .dim)
        case 2: return access(row.readExits)
        case 3: return access(row.writeExits)
        default:
          let name = msrName(row.first) ?? ""
          return Span(row.first == row.last ? name : name.isEmpty ? "" : "\(name) ...")
        }
      }, marker: { _ in Span(" ") })
    if rows.isEmpty {
      let why =
        !model.filter.isEmpty
        ? "no MSR matches /\(model.filter)"
        : bitmap.contains { $0 != 0xff } ? "the bitmap could not be made sense of" : "none: every MSR exits"
      text(table, y: 1, why, .dim)
    }
    let list =
      side > 0
      ? Rectangle(x: area.right - side, y: table.y, width: side, height: table.height)
      : Rectangle(x: area.x, y: table.bottom, width: area.width, height: below)
    if list.height > 1 {
      frame.screen.put("MSRS THAT DID EXIT", x: list.x + 1, y: list.y, role: .heading, limit: list.right)
      for (offset, entry) in busiest.prefix(list.height - 1).enumerated() {
        var line = Line(" " + Painter.text(.integer(entry.count), width: 11).padded(to: 11, alignRight: true), .value)
        line.append(entry.isWrite ? "  write  " : "  read   ", .dim)
        line.append(model.names.detail(.msr, entry.msr))
        frame.screen.put(line, x: list.x, y: list.y + 1 + offset, limit: list.right)
      }
      if busiest.isEmpty { text(list, y: 1, "none so far", .dim) }
    }
    let age = model.age(reading.readAt).map { " \(Format.duration($0)) ago" } ?? ""
    text(
      area, y: area.height - 1,
      "measured\(age)   direct: without an exit   MSRs not listed exit", .dim)
  }

  /// The MSRs of this vCPU's exits, most first.
  private var busiestMSRs: [(msr: UInt64, isWrite: Bool, count: UInt64)] {
    guard let vcpu = model.guestVCPU?.vcpu else { return [] }
    var result: [(msr: UInt64, isWrite: Bool, count: UInt64)] = []
    for reason in model.statistics(vcpu.scope).reasons {
      guard let details = reason.details.first(where: { $0.kind == .msr }) else { continue }
      let isWrite = ReasonTraits.of(isa: ISA(rawValue: reason.isa), code: reason.code).rule.isMSRWrite
      result += details.entries.map { ($0.value, isWrite, $0.count) }
    }
    return result.sorted { $0.count > $1.count }
  }
}
