import Aggregator
import Architecture
import Screen

/// What the diff pane compares with.
public struct Before: Sendable {
  /// Its figures are of all of its window.
  public let snapshot: Snapshot
  /// What it is of, in a few words.
  public let title: String
  /// All that had been counted at a moment of what is shown: what comes after that moment is compared with it.
  let isUntilMark: Bool

  /// Another recording, or a part of one.
  public init(snapshot: Snapshot, title: String) {
    self.snapshot = snapshot.countsAlone
    self.title = title
    isUntilMark = false
  }

  /// What is shown now, or was when what comes after it began to be counted.
  init(marking shown: Snapshot) {
    snapshot = shown.countsAlone
    isUntilMark = shown.playback?.range == nil
    title = shown.playback.map { Before.part($0) } ?? "all until D was pressed"
  }

  /// Which part of a recording is shown.
  static func part(_ playback: PlaybackState) -> String {
    if let range = playback.range {
      return "\(place(range.lowerBound, in: playback)) to \(place(range.upperBound, in: playback))"
    }
    return playback.isFinished ? "all of it" : "up to \(place(playback.position, in: playback))"
  }

  /// A place in a recording, fine enough for a short one.
  static func place(_ position: UInt64, in playback: PlaybackState) -> String {
    playback.duration < 60_000_000_000
      ? "\(Format.fixed(Double(position) / 1e9, 3)) s" : Format.position(position)
  }
}

/// A row of the diff pane.
struct DiffRow {
  enum Kind {
    case change(SnapshotComparison.ControlChange)
    case cost(SnapshotComparison.Row)
  }
  var key: RowKey
  var kind: Kind
}

extension FrontModel {
  enum Difference {
    /// Why nothing is compared, in one line.
    case nothing(String)
    /// - after: what the second side is of, in a few words.
    case scope(SnapshotComparison.Scope, of: SnapshotComparison, after: String)
  }

  /// What is looked at, before and after.
  var differenceFromBefore: Difference {
    guard let before else { return .nothing("nothing to compare with: D takes what is shown as the before") }
    guard let snapshot else { return .nothing("nothing was counted yet") }
    var after = snapshot
    var title = snapshot.playback.map { Before.part($0) } ?? "all that was counted"
    if before.isUntilMark, snapshot.playback?.range == nil, snapshot.source.isSame(as: before.snapshot.source) {
      let mark = before.snapshot.playback.map { Before.place($0.position, in: $0) }
      let counted = snapshot.sinceMark.flatMap { $0.before.sequence == before.snapshot.sequence ? $0.after : nil }
      guard let counted, counted.windowNanoseconds > 0 else {
        let isBehind = snapshot.windowNanoseconds < before.snapshot.windowNanoseconds
        guard isBehind else { return .nothing("nothing was counted since D was pressed") }
        return .nothing(
          mark.map { "D was pressed at \($0), which is after this: go on to there, or select a range" }
            ?? "counting began afresh since D was pressed: D takes what is shown as the before")
      }
      after = counted
      title =
        mark.flatMap { mark in snapshot.playback.map { "\(mark) to \(Before.place($0.position, in: $0))" } }
        ?? "since D was pressed"
    } else if !snapshot.source.isSame(as: before.snapshot.source), let path = snapshot.source.path,
      snapshot.playback != nil
    {
      title = "\(Painter.lastComponent(path)), \(title)"
    }
    let names = names
    let comparison = SnapshotComparison(
      SnapshotComparison.Side(before.snapshot), SnapshotComparison.Side(after),
      controlName: { id in
        // Bitmaps and masks are told apart by their titles only.
        let name = names.control(id)
        return name.bit == nil ? name.title : name.short
      })
    guard let scope = comparison.scope(scope) else { return .nothing("\(scopeText): not in the before; Esc shows all") }
    return .scope(scope, of: comparison, after: title)
  }

  /// Changed controls first, then the reasons, then the controls, each in the order of what matters.
  func diffRows(_ scope: SnapshotComparison.Scope) -> [DiffRow] {
    func passes(_ id: ControlID) -> Bool {
      let name = names.control(id)
      return self.passes(name.name, name.word, name.title)
    }
    var rows = (scope.changes ?? []).filter { passes($0.control) }.map {
      DiffRow(key: .change($0.control), kind: .change($0))
    }
    for row in scope.reasons where self.passes(row.name) {
      guard let reason = row.reason else { continue }
      rows.append(DiffRow(key: .reason(isa: reason.isa, code: reason.code), kind: .cost(row)))
    }
    for row in scope.controls {
      guard let control = row.control, passes(control) else { continue }
      rows.append(DiffRow(key: .control(control), kind: .cost(row)))
    }
    return rows
  }

  /// The keys of its rows; none while nothing is compared.
  var diffKeys: [RowKey] {
    guard case .scope(let scope, _, _) = differenceFromBefore else { return [] }
    return diffRows(scope).map(\.key)
  }
}

extension Painter {
  /// What one line of the pane's list is.
  private enum DiffLine {
    case note(String)
    case heading(String, remark: String)
    /// The two lines of a table's head.
    case head(String)
    case sides(String)
    case total
    case row(Int)
  }

  /// Figures that belong together: the two sides, and the change where it has one.
  private enum DiffGroup: Int, CaseIterable {
    case rate, time, timeChange, mean, share, p99

    var title: String {
      switch self {
      case .rate: DifferenceFigures.rate.title
      case .time: DifferenceFigures.time.title
      case .timeChange: ""
      case .mean: DifferenceFigures.mean.title
      case .share: DifferenceFigures.percent.title
      case .p99: DifferenceFigures.p99.title
      }
    }

    /// The heads of its columns, and how wide they are.
    var columns: (titles: [String], width: Int) {
      switch self {
      case .rate: (["A", "B", "CHANGE"], 6)
      case .timeChange: (["CHANGE"], 6)
      case .time, .mean, .p99: (["A", "B"], 6)
      case .share: (["A", "B"], 4)
      }
    }

    var width: Int { columns.titles.count * (columns.width + 1) - 1 }

    /// Which go first where there is no room; see `TableColumn.priority`.
    var priority: Int {
      switch self {
      case .rate: 1
      case .time: 2
      case .share: 3
      case .mean: 4
      case .p99: 5
      case .timeChange: 6
      }
    }

    func cells(_ row: SnapshotComparison.Row) -> [String] {
      func duration(_ value: Double?, _ unknown: String = "-") -> String {
        guard let value, value >= 0, value < 1e18 else { return unknown }
        return value == 0 ? "0" : Format.duration(UInt64(value.rounded(.up)))
      }
      switch self {
      case .rate: return [Format.count(row.a.rate), Format.count(row.b.rate), row.rateChange]
      case .time: return [duration(row.a.timePerSecond), duration(row.b.timePerSecond)]
      case .timeChange: return [row.timeChange]
      case .mean: return [duration(row.a.mean), duration(row.b.mean)]
      case .share: return [Format.percent(100 * row.a.share), Format.percent(100 * row.b.share)]
      case .p99: return [duration(row.a.p99.map { Double($0) }, "·"), duration(row.b.p99.map { Double($0) }, "·")]
      }
    }
  }

  mutating func paintDiff(_ area: Rectangle) {
    frame.tops[.diff] = model.state(.diff).top
    frame.pageHeights[.diff] = max(1, area.height)
    switch model.differenceFromBefore {
    case .nothing(let why): text(area, y: min(1, area.height - 1), why, .dim)
    case .scope(let scope, let comparison, let after):
      let sides = [("A before", model.before?.title ?? "", comparison.a), ("B after", after, comparison.b)]
      var y = 0
      for (label, title, side) in sides where y < area.height {
        paintSide(label, title, side, Rectangle(x: area.x, y: area.y + y, width: area.width, height: 1))
        y += 1
      }
      if area.height >= 12 {
        frame.screen.put(timeLine(scope, width: area.width), x: area.x, y: area.y + y, limit: area.right)
        y += 1
      }
      let strip = area.height >= 16 ? 1 : 0
      let rows = model.diffRows(scope)
      let list = Rectangle(x: area.x, y: area.y + y, width: area.width, height: area.height - y - strip)
      let cursor = model.cursorIndex(.diff, rows.map(\.key))
      paintList(list, lines(scope, comparison, rows), rows, scope.total, cursor)
      if strip > 0, rows.indices.contains(cursor) {
        frame.screen.put(stripLine(rows[cursor]), x: area.x, y: area.bottom - 1, limit: area.right)
      }
    }
  }

  /// What a side is of, how long that is, and how many exits it has.
  private mutating func paintSide(_ label: String, _ title: String, _ side: SnapshotComparison.Side, _ area: Rectangle)
  {
    var tail = Line(": \(Format.duration(side.windowNanoseconds)), \(Format.exact(side.exits)) exits")
    if side.lost > 0 || side.uncountedLosses > 0 {
      tail.append("  LOST \(Format.count(side.lost))\(side.uncountedLosses > 0 ? "+?" : ""): lower bounds", .warning)
    }
    if side.malformedRecords > 0 { tail.append("  DAMAGED", .error) }
    var line = Line(" \(label.padded(to: 8))  ", .heading)
    line.append(title.truncated(to: max(4, area.width - line.width - tail.width)), .value)
    frame.screen.put(Line(line.spans + tail.spans), x: area.x, y: area.y, limit: area.right)
  }

  private func timeLine(_ scope: SnapshotComparison.Scope, width: Int) -> Line {
    var line = Line()
    func add(_ name: String, _ a: String, _ b: String) {
      var next = line
      next.append("  \(name) ", .dim)
      next.append("\(a) → \(b)")
      if next.width < width { line = next }
    }
    let (a, b) = scope.time
    func percent(_ part: UInt64, _ time: TimeSplit) -> String {
      time.total == 0 ? "-" : Format.percent(100 * Double(part) / Double(time.total))
    }
    for (name, part) in [
      ("guest", \TimeSplit.guest), ("kernel", \.kernel), ("user", \.user), ("halted", \.halted),
    ] where a.total > 0 || b.total > 0 {
      add(name, percent(a[keyPath: part], a), percent(b[keyPath: part], b))
    }
    if a.total > 0 || b.total > 0 { line.append(" %", .dim) }
    add("vCPUs", "\(scope.vcpus.a)", "\(scope.vcpus.b)")
    return line
  }

  private func lines(
    _ scope: SnapshotComparison.Scope, _ comparison: SnapshotComparison, _ rows: [DiffRow]
  ) -> [DiffLine] {
    if scope.total.a.count == 0, scope.total.b.count == 0 { return [.note("no exit was seen on either side")] }
    var lines: [DiffLine] = []
    let several = [("A", scope.settings.a), ("B", scope.settings.b)].filter { $0.1 > 1 }.map {
      "\($0.0) has \($0.1) settings"
    }
    let settings = several.isEmpty ? "" : "\(several.joined(separator: ", ")): the last is compared"
    var changed: [DiffLine] = []
    var reasons: [DiffLine] = []
    var controls: [DiffLine] = []
    for (index, row) in rows.enumerated() {
      switch row.kind {
      case .change: changed.append(.row(index))
      case .cost(let cost): if cost.reason != nil { reasons.append(.row(index)) } else { controls.append(.row(index)) }
      }
    }
    switch scope.changes {
    case nil: lines.append(.note("control words are not known on both sides: no telling which were changed"))
    case []?:
      lines.append(.note("the control words are the same on both sides\(settings.isEmpty ? "" : "; \(settings)")"))
    default: if !changed.isEmpty { lines += [.heading("CONTROLS THAT ARE OTHERS", remark: settings)] + changed }
    }
    if !scope.hasSignificantChange {
      lines.append(.note("no significant change: none is more than 3 times the error of counting"))
    }
    if rows.isEmpty, !model.filter.isEmpty { lines.append(.note("no reason and no control matches /\(model.filter)")) }
    if !reasons.isEmpty || model.filter.isEmpty {
      lines += [.head("BY REASON"), .sides("BY REASON"), .total] + reasons
    }
    if !controls.isEmpty { lines += [.head("BY CONTROL"), .sides("BY CONTROL")] + controls }
    return lines
  }

  private mutating func paintList(
    _ area: Rectangle, _ lines: [DiffLine], _ rows: [DiffRow], _ total: SnapshotComparison.Row, _ cursor: Int
  ) {
    let height = area.height
    frame.pageHeights[.diff] = max(1, height - 2)
    guard height > 0 else { return }
    let place = lines.firstIndex { if case .row(cursor) = $0 { true } else { false } } ?? 0
    // The head of the table that a row is in stays above it, and what is over the first row is shown with that.
    func isRow(_ line: DiffLine) -> Bool { if case .row = line { true } else { false } }
    let isFirst = place > 0 && !isRow(lines[place - 1])
    var top = model.state(.diff).top
    top = min(top, max(0, place - (isFirst ? 3 : 2)))
    if cursor == 0 { top = 0 }
    if place >= top + height { top = place - height + 1 }
    top = min(max(0, top), max(0, lines.count - height))
    // No head is put above no row of its table.
    for next in 1...2 where height >= 4 && top > 0 && lines.indices.contains(top + next) {
      if case .head = lines[top + next] {
        top += next
        break
      }
    }
    frame.tops[.diff] = top
    if lines.count > height, model.pane == .diff {
      frame.position = "\(top + 1)-\(min(lines.count, top + height))/\(lines.count)"
    }
    // One layout for all of the list, so that the columns of the two tables stand below each other.
    let names = rows.reduce(12) { widest, row in
      if case .cost(let cost) = row.kind { max(widest, cost.name.displayWidth) } else { widest }
    }
    let columns =
      [TableColumn(title: "", minimum: area.width >= 78 ? 18 : 14, ideal: min(44, names))]
      + DiffGroup.allCases.map {
        TableColumn(title: $0.title, minimum: $0.width, alignRight: true, priority: $0.priority)
      }
    let layout = TableLayout(columns, width: area.width - 2)
    var shown = Array(lines[top..<min(lines.count, top + height)])
    if height >= 4, let section = section(above: top, in: lines), shown.count > 2 {
      shown.replaceSubrange(0..<2, with: [.head(section), .sides(section)])
    }
    for (offset, line) in shown.enumerated() {
      let place = Rectangle(x: area.x, y: area.y + offset, width: area.width, height: 1)
      switch line {
      case .note(let note): frame.screen.put(note, x: place.x + 1, y: place.y, role: .dim, limit: place.right)
      case .heading(let title, let remark):
        let end = frame.screen.put(title, x: place.x + 1, y: place.y, role: .heading, limit: place.right)
        if !remark.isEmpty { frame.screen.put("  \(remark)", x: end, y: place.y, role: .dim, limit: place.right) }
      case .head(let section):
        frame.screen.put(section, x: place.x + 2, y: place.y, role: .heading, limit: place.right)
        paintTitles(layout, place)
      case .sides: paintGroups(layout, place) { group in group.columns.titles.map { Span($0, .heading) } }
      case .total: paint(total, layout, place)
      case .row(let index):
        switch rows[index].kind {
        case .change(let change): paint(change, place)
        case .cost(let row): paint(row, layout, place)
        }
        if index == cursor {
          frame.screen.put("▸", x: place.x, y: place.y, role: .key)
          if model.pane == .diff { frame.screen.select(y: place.y, from: place.x, to: place.right) }
        }
        frame.regions.append(.init(area: place, target: .row(.diff, index)))
      }
    }
  }

  /// The table that a line is in whose head is not in sight any more.
  private func section(above top: Int, in lines: [DiffLine]) -> String? {
    switch lines[top] {
    case .note, .heading, .head: return nil
    case .sides(let section): return section
    case .total, .row: break
    }
    for line in lines[..<top].reversed() {
      switch line {
      case .head(let section), .sides(let section): return section
      case .note, .heading: return nil
      case .total, .row: continue
      }
    }
    return nil
  }

  private mutating func paint(_ row: SnapshotComparison.Row, _ layout: TableLayout, _ area: Rectangle) {
    let role: Role = row.isSignificant ? .normal : .dim
    if let name = layout.placed.first {
      frame.screen.put(row.name, x: area.x + 2, y: area.y, role: role, limit: min(area.right, area.x + 2 + name.width))
    }
    paintGroups(layout, area) { group in
      let isSignificant = group == .rate ? row.isRateSignificant : row.isTimeSignificant
      return zip(group.columns.titles, group.cells(row)).map { title, cell in
        Span(cell, title == "CHANGE" ? (isSignificant ? .changed : .dim) : role)
      }
    }
  }

  /// Puts the columns of each group that has a place, right-aligned.
  private mutating func paintGroups(_ layout: TableLayout, _ area: Rectangle, _ cells: (DiffGroup) -> [Span]) {
    for placed in layout.placed.dropFirst() {
      guard let group = DiffGroup(rawValue: placed.index - 1) else { continue }
      let width = group.columns.width
      for (index, cell) in cells(group).enumerated() {
        let x = area.x + 2 + placed.x + index * (width + 1)
        frame.screen.putRight(cell.text, end: min(area.right, x + width), y: area.y, role: cell.role, from: x)
      }
    }
  }

  /// Puts the title of each group above the middle of its columns.
  private mutating func paintTitles(_ layout: TableLayout, _ area: Rectangle) {
    for placed in layout.placed.dropFirst() {
      guard let title = DiffGroup(rawValue: placed.index - 1)?.title else { continue }
      let x = area.x + 2 + placed.x + max(0, placed.width - title.count + 1) / 2
      frame.screen.put(title, x: x, y: area.y, role: .heading, limit: area.right)
    }
  }

  private mutating func paint(_ change: SnapshotComparison.ControlChange, _ area: Rectangle) {
    let name = model.names.control(change.control)
    var line = Line("  \(Painter.text(change.a)) → \(Painter.text(change.b))  ", .changed)
    line.append(name.name, .value)
    line.append("  \(name.word)\(name.bit.map { " bit \($0)" } ?? "")  \(name.title)", .dim)
    frame.screen.put(line, x: area.x, y: area.y, limit: area.right)
  }

  private static func text(_ control: MeasuredControl) -> String {
    switch control {
    case .on: "1"
    case .off: "0"
    case .mixed: "mixed"
    }
  }

  /// The row under the cursor in full.
  private func stripLine(_ row: DiffRow) -> Line {
    switch row.kind {
    case .change(let change):
      let name = model.names.control(change.control)
      var line = Line(" \(name.name)", .value)
      line.append("  \(name.title)", .normal)
      return line
    case .cost(let row):
      var line = Line(" ")
      line.append(row.control.map { model.names.control($0).name } ?? row.name, .value)
      for (side, cost) in [("A", row.a), ("B", row.b)] {
        line.append("  \(side) ", .dim)
        line.append("\(Format.exact(cost.count)) exits, \(Format.percent(100 * cost.share)) %")
        if let p99 = cost.p99 { line.append(", p99 \(Format.duration(p99))") }
      }
      return line
    }
  }
}
