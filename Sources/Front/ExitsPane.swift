import Aggregator
import Screen

extension Painter {
  mutating func paintExits(_ area: Rectangle) {
    guard let snapshot = model.snapshot else { return }
    guard let statistics = model.scopeStatistics else {
      text(area, y: 1, "\(scopeText); Esc goes back to all", .warning)
      return
    }
    if let notice = notice(snapshot) { return paintNotice(area, notice, snapshot) }
    let model = model
    let rows = model.exitRows()
    let context = model.context(statistics)
    let window = model.showsWindow
    let sorted = model.exitSortColumn.id
    // The average stands in for the rate of an interval that there is none of.
    let hidden = window ? "exits" : "average"
    let shown = ReasonFigures.columns.filter { column in column.id != hidden || column.id == sorted }
    func value(_ column: Figure<ReasonStatistics>, _ reason: ReasonStatistics, _ width: Int) -> String {
      let text = Painter.text(column.value(reason, context), width: width)
      return column.id == "charged" ? text + model.bitmapEntry(reason) : text
    }
    func longest(_ column: Figure<ReasonStatistics>) -> Int {
      rows.reduce(column.title.count) {
        max($0, value(column, $1.reason, column.column?.width ?? 0).displayWidth)
      }
    }
    let columns = shown.map { column -> TableColumn in
      var shape = TableColumn(column)
      if column.isText {
        shape.minimum = column.id == "charged" ? 22 : min(18, shape.minimum)
        shape.ideal = max(shape.minimum, min(longest(column), 44))
      }
      if column.id == sorted { shape.priority = 0 } else if column.id == "average" && window { shape.priority = 1 }
      return shape
    }
    // With much room, all of the reason under the cursor is shown; with little, what matters most; with less, nothing.
    let left = area.height - rows.count - 1
    let hasRoom = left >= 18 && model.pane != .details
    let strip = hasRoom ? left : area.height >= 26 ? 7 : area.height >= 20 ? 5 : area.height >= 14 ? 3 : 0
    let table = Rectangle(x: area.x, y: area.y, width: area.width, height: area.height - strip)
    let keys = rows.map { RowKey($0.reason) }
    let cursor = model.cursorIndex(.exits, keys)
    let changed = rows.map { hasChanged($0.reason, context) }
    paintTable(
      .exits, table, columns: columns, ids: shown.map(\.id), sortedBy: sorted, count: rows.count, cursor: cursor,
      cell: { row, column, width in
        let text = value(shown[column], rows[row].reason, width)
        let role: Role =
          switch shown[column].id {
          case "exits" where changed[row]: .changed
          case "charged": .charged
          case "reason": .normal
          default: text == "·" || text == "-" ? .dim : shown[column].id == sorted ? .value : .normal
          }
        return Span(text, rows[row].whatIfOff == .wholly ? .whatIfOff : role)
      },
      marker: { row in
        switch rows[row].whatIfOff {
        case .no: Span(" ")
        case .partly: Span("~", .whatIfOff)
        case .wholly: Span("-", .whatIfOff)
        }
      })
    if rows.isEmpty {
      text(area, y: 1, model.filter.isEmpty ? "no exit yet" : "no reason matches /\(model.filter)", .dim)
    } else if strip > 0, rows.indices.contains(cursor) {
      let below = Rectangle(x: area.x, y: table.bottom, width: area.width, height: strip)
      if hasRoom {
        for (offset, line) in detailLines(rows[cursor].reason, width: below.width).prefix(strip - 2).enumerated() {
          frame.screen.put(line, x: below.x, y: below.y + 2 + offset, limit: below.right)
        }
      } else {
        paintStrip(below, rows[cursor].reason)
      }
    }
  }

  /// Twice or half of the interval before, in a reason that matters.
  private func hasChanged(_ reason: ReasonStatistics, _ context: FigureContext) -> Bool {
    guard !model.earlierCounts.isEmpty, context.basis == .interval else { return false }
    let now = reason.intervalCount
    guard max(now, model.earlierCounts[RowKey(reason)] ?? 0) &* 100 >= context.figures.interval.count else {
      return false
    }
    guard let before = model.earlierCounts[RowKey(reason)], before > 0 else { return now > 0 }
    return Double(now) >= 2 * Double(before) || Double(now) * 2 <= Double(before)
  }

  /// What is most frequent in the reason under the cursor, what it means and what changes it.
  private mutating func paintStrip(_ area: Rectangle, _ reason: ReasonStatistics) {
    var y = area.height > 3 ? 1 : 0
    var line = Line(" \(reason.name)", .value)
    for detail in reason.details where detail.total > 0 {
      line.append("  \(detail.kind.label)", .dim)
      for entry in detail.entries.prefix(detail.kind == .rip ? 1 : 2) {
        line.append(" \(model.names.detail(detail.kind, entry.value))")
        line.append(" \(Format.percent(100 * Double(entry.count) / Double(detail.total))) %", .dim)
      }
    }
    if reason.details.allSatisfy({ $0.total == 0 }) { line.append("  no details", .dim) }
    frame.screen.put(line, x: area.x, y: area.y + y, limit: area.right)
    y += 1
    guard let note = model.names.reason(isa: reason.isa, code: reason.code) else { return }
    let meaning = [note.meaning, note.cause].compactMap { $0 }.joined(separator: ": ")
    let knobs = note.knobs.map { "knobs: \($0)" }
    let room = area.height - y
    let knobLines = knobs?.wrapped(to: max(10, area.width - 2)) ?? []
    let meaningLines = meaning.wrapped(to: max(10, area.width - 2))
    let shownMeaning = min(meaningLines.count, max(1, room - max(1, knobLines.count)))
    for (lines, count, role) in [
      (meaningLines, shownMeaning, Role.normal), (knobLines, min(knobLines.count, room - shownMeaning), .charged),
    ] where count > 0 {
      for index in 0..<count {
        let isCut = index == count - 1 && count < lines.count
        let text = isCut ? lines[index...].joined(separator: " ") : lines[index]
        frame.screen.put(text, x: area.x + 1, y: area.y + y, role: role, limit: area.right)
        y += 1
      }
    }
  }

  /// Why there is no table, where there is none.
  private func notice(_ snapshot: Snapshot) -> [String]? {
    guard model.statistics(0).exits == 0 else { return nil }
    if snapshot.events == 0 {
      return snapshot.playback == nil
        ? ["no KVM event yet: no VM runs here, or none does anything"] : ["no KVM event in this recording so far"]
    }
    let backend = snapshot.source.backend.map { " (\($0))" } ?? ""
    return [
      "no kvm_exit here: no VMCS to look into\(backend)",
      "KVM events come, but none of them is kvm_exit: this backend does not tell why its guests exit.",
    ]
  }

  private mutating func paintNotice(_ area: Rectangle, _ notice: [String], _ snapshot: Snapshot) {
    var y = min(1, area.height - 1)
    for (index, sentence) in notice.enumerated() {
      for line in sentence.wrapped(to: max(10, area.width - 2)) {
        text(area, y: y, line, index == 0 ? .warning : .normal)
        y += 1
      }
    }
    y += 1
    for line in eventLines(snapshot) {
      guard y < area.height else { return }
      frame.screen.put(line, x: area.x, y: area.y + y, limit: area.right)
      y += 1
    }
  }
}
