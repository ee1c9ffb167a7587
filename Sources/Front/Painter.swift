import Aggregator
import Architecture
import Screen
import TraceFormat

/// Draws one frame. Every pane has an extension of its own.
struct Painter {
  let model: FrontModel
  var frame: Frame
  var columns: Int { frame.screen.columns }
  var rows: Int { frame.screen.rows }

  init(model: FrontModel, columns: Int, rows: Int, isASCII: Bool) {
    self.model = model
    frame = Frame(screen: Screen(columns: columns, rows: rows, isASCII: isASCII))
  }

  /// From this size on, several panes are shown at once.
  static let wide = (columns: 140, rows: 40)
  /// From so many rows between the lines at the top and the foot on, state is shown beneath exits and controls.
  static let high = 50
  /// Below this size there is no room for panes.
  static let least = (columns: 40, rows: 8)

  mutating func paint() {
    guard columns > 0, rows > 0 else { return }
    if columns < Painter.least.columns || rows < Painter.least.rows { return paintTiny() }
    paintTitle(y: 0)
    paintTotals(y: 1)
    var y = 2
    if let whatIf = model.whatIf, !model.isHelpOpen {
      paint(whatIf, y: y)
      y += 1
    }
    let tabs = y
    let line = model.timeLineRows(rows)
    let body = Rectangle(x: 0, y: y + 1, width: columns, height: rows - y - 2 - line)
    if model.isHelpOpen {
      paintHelp(body)
    } else if model.snapshot == nil {
      text(body, y: body.height / 3, "waiting for the first interval", .dim)
    } else if columns >= Painter.wide.columns && rows >= Painter.wide.rows {
      paintWide(body)
    } else {
      frame.regions.append(.init(area: body, target: .pane(model.pane)))
      paint(model.pane, body)
    }
    paintTabs(y: tabs)
    if line > 0 { paintTimeLine(Rectangle(x: 0, y: rows - 1 - line, width: columns, height: line)) }
    paintFoot(y: rows - 1)
  }

  mutating func paint(_ pane: Pane, _ area: Rectangle) {
    if pane == model.pane, let explained = model.explained { return paintExplanation(explained, pane, area) }
    switch pane {
    case .exits: paintExits(area)
    case .controls: paintControls(area)
    case .guest, .host, .nested: paintState(pane, area)
    case .msrs: paintMSRs(area)
    case .vcpus: paintMachines(area)
    case .details: paintLines(.details, area, detailLines(width: area.width))
    case .log: paintLines(.log, area, logLines(width: area.width))
    case .diff: paintDiff(area)
    }
  }

  private mutating func paintExplanation(_ key: RowKey, _ pane: Pane, _ area: Rectangle) {
    let lines = explanationLines(key, pane, width: area.width)
    frame.pageHeights[pane] = max(1, area.height)
    frame.tops[pane] = model.state(pane).top
    let top = min(max(0, model.explanationTop), max(0, lines.count - area.height))
    frame.explanationTop = top
    if lines.count > area.height { frame.position = "\(top + 1)-\(min(lines.count, top + area.height))/\(lines.count)" }
    for offset in 0..<max(0, min(area.height, lines.count - top)) {
      frame.screen.put(lines[top + offset], x: area.x, y: area.y + offset, limit: area.right)
    }
  }

  /// Exits left, controls or the pane asked for right, VMs and vCPUs below; state takes all of the width, and where the
  /// screen is high it has a place of its own.
  private mutating func paintWide(_ body: Rectangle) {
    let machines = min(max(3, model.machineRows().count + 1), body.height / 4)
    var upper = body.height - machines - 2
    func sub(_ pane: Pane, _ area: Rectangle, _ painter: inout Painter) {
      painter.frame.regions.append(.init(area: area, target: .pane(pane)))
      painter.paintHeading(pane, area)
      painter.paint(pane, Rectangle(x: area.x, y: area.y + 1, width: area.width, height: area.height - 1))
    }
    if model.pane.showsState || model.pane == .diff || model.pane == .controls && model.comparison != nil {
      // The tabs say already which pane it is.
      let area = Rectangle(x: 0, y: body.y, width: columns, height: upper)
      frame.regions.append(.init(area: area, target: .pane(model.pane)))
      paint(model.pane, area)
    } else {
      if body.height >= Painter.high, model.snapshot?.states.isEmpty == false {
        let state = body.height * 2 / 5
        upper -= state + 1
        sub(.guest, Rectangle(x: 0, y: body.y + upper + 1, width: columns, height: state), &self)
      }
      let left = max(80, columns * (model.snapshot?.hostControls == nil ? 56 : 50) / 100)
      let side: Pane = [.exits, .vcpus].contains(model.pane) ? .controls : model.pane
      sub(.exits, Rectangle(x: 0, y: body.y, width: left, height: upper), &self)
      sub(side, Rectangle(x: left + 2, y: body.y, width: columns - left - 2, height: upper), &self)
    }
    sub(
      .vcpus, Rectangle(x: 0, y: body.bottom - machines - 1, width: columns, height: machines + 1), &self)
  }

  private mutating func paintHeading(_ pane: Pane, _ area: Rectangle) {
    var line = Line(" \(pane.key) \(pane.title) ", pane == model.pane ? .tab : .heading)
    switch pane {
    case .details:
      if let reason = model.detailedReason { line.append(" \(reason.name)", .value) }
    case .guest, .host, .msrs, .nested, .log: break
    default: line.append(" \(scopeText)", .dim)
    }
    frame.screen.put(line, x: area.x, y: area.y, limit: area.right)
  }

  // MARK: The frame around the panes

  var scopeText: String { model.scopeText }

  private mutating func paintTitle(y: Int) {
    guard let snapshot = model.snapshot else {
      frame.screen.put("vmctop", x: 0, y: y, role: .title)
      return
    }
    let source = snapshot.source
    // Right: state, losses, own use; the last of them goes first where there is no room.
    var parts: [Line] = []
    if let playback = snapshot.playback {
      if let range = playback.range { parts.append(Line("RANGE \(model.text(of: range))", .warning)) }
      let state = playback.isFinished ? "held" : playback.isPaused ? "paused" : "playing"
      var line = Line(state, playback.isPaused ? .warning : .value)
      // The time line says the same: once is enough where room is scarce.
      if columns >= 120 {
        line.append(" \(Format.position(playback.position))")
        if !playback.isFinished { line.append("/\(Format.position(playback.duration))") }
        if playback.speed != 1 { line.append(" x\(Format.count(playback.speed))") }
      }
      parts.append(line)
    } else if model.isPaused {
      parts.append(Line("PAUSED", .warning))
    } else if let stream = snapshot.stream {
      parts.append(streamLine(stream))
    } else {
      parts.append(Line("live \(Format.fixed(model.interval, model.interval < 1 ? 2 : 1))s"))
    }
    if let recording = snapshot.recording {
      parts.insert(Line("REC \(Format.bytes(recording.bytes))", .warning), at: 0)
    }
    let losses = snapshot.losses
    let lost = losses.lost > 0 || losses.uncounted > 0
    // Where there is room for one only, it is the losses, if there are any.
    parts.insert(
      Line("lost \(Format.count(losses.lost))\(losses.uncounted > 0 ? "+?" : "")", lost ? .warning : .normal),
      at: lost ? 0 : parts.count)
    if let own = snapshot.ownUse {
      var line = Line("self \(Format.percent(own.cpu * 100))%")
      if columns >= 120 { line.append(" \(Format.bytes(own.residentBytes))") }
      parts.append(line)
    }
    func width(_ parts: [Line]) -> Int { parts.reduce(0) { $0 + $1.width + 3 } }
    var left = Line("vmctop", .title)
    if source.isDemo {
      left.append("  DEMO recording", .warning)
      left.append(" (L: go live)")
    } else if snapshot.playback != nil || source.kind != .tracefs && snapshot.stream == nil {
      left.append("  \(source.path.map(Painter.lastComponent) ?? "recording")", .value)
    }
    let isLive = source.kind == .tracefs || snapshot.stream != nil
    let hosts = Painter.hosts(source, isLive: isLive, hasEvents: snapshot.events > 0)
    // What vmctop itself uses is worth less than the kernel and the backend in short.
    let short = isLive ? 2 : 3
    let ideal = left.width + 2 + (hosts.indices.contains(short) ? hosts[short].displayWidth : 0)
    while parts.count > 2 && columns - width(parts) < ideal { parts.removeLast() }
    while parts.count > 1 && columns - width(parts) < (source.isDemo ? 44 : 24) { parts.removeLast() }
    let start = columns - width(parts)
    let host = hosts.first { $0.displayWidth <= start - left.width - 2 } ?? ""
    if !host.isEmpty { left.append("  \(host)") }
    frame.screen.put(left, x: 0, y: y, limit: max(6, start))
    var x = start + 3
    for part in parts { x = frame.screen.put(part, x: x, y: y) + 3 }
  }

  /// What comes through a pipe: whether it still does, from how long ago, and whether as events.
  private func streamLine(_ stream: StreamState) -> Line {
    switch stream.progress {
    case .ended: return Line("ended", .value)
    case .cutOff: return Line("CUT OFF", .warning)
    case .running: break
    }
    var line = Line("stream \(Format.fixed(model.interval, model.interval < 1 ? 2 : 1))s")
    switch stream.source {
    case .events: break
    case .sums: line.append(" summaries")
    case .sumsForEvents: line.append(" SUMMARIES", .warning)
    case .incomplete: line.append(" INCOMPLETE", .warning)
    }
    if stream.lag >= Self.worthTelling { line.append(" \(Format.duration(stream.lag)) behind", .warning) }
    return line
  }

  /// Watermarks come five times a second, summaries once: a lag of less is no news.
  private static let worthTelling: UInt64 = 2_000_000_000

  /// Host, kernel and backend, from much to little detail.
  static func hosts(_ source: SourceDescription, isLive: Bool, hasEvents: Bool) -> [String] {
    // What an initial RAM disk is called before anybody gave it a name.
    let name = ["(none)", ""].contains(source.hostName) ? nil : source.hostName
    let backend = source.backend ?? source.isa ?? (isLive && !hasEvents ? "no KVM module" : nil)
    let shortName = name?.split(separator: ".").first.map(String.init)
    let version = source.kernelRelease?.split(separator: "-").first.map(String.init)
    return [
      [name, source.kernelRelease, backend], [shortName, source.kernelRelease, backend], [shortName, version, backend],
      isLive ? [shortName, backend] : [version, backend], [backend],
    ].map { $0.compactMap { $0 }.joined(separator: " · ") }
  }

  static func lastComponent(_ path: String) -> String { path.split(separator: "/").last.map(String.init) ?? path }

  private mutating func paintTotals(y: Int) {
    guard let snapshot = model.snapshot else { return }
    let statistics = model.scopeStatistics ?? ScopeStatistics()
    let vcpus = snapshot.vms.reduce(0) { $0 + $1.vcpus.count }
    var rate = rateLine(snapshot, statistics)
    rate.append(model.showsWindow ? " on average " : " ")
    let time = model.hasNoExits ? Line() : timeLine(model.timeSplit(statistics), room: columns - rate.width)
    let machines = Line(
      "\(snapshot.vms.count) VM\(snapshot.vms.count == 1 ? "" : "s") \(vcpus) vCPU\(vcpus == 1 ? "" : "s") ")
    let gap = columns >= 100 ? 2 : 0
    var x = 0
    if columns >= machines.width + rate.width + time.width + 1 {
      x = frame.screen.put(machines, x: 0, y: y) + gap
    }
    x = frame.screen.put(rate, x: x, y: y)
    let spark = min(60, columns - x - time.width - 1 - gap)
    if spark >= 4 && !statistics.history.isEmpty && !model.hasNoExits {
      x = frame.screen.put(Graph.sparkline(statistics.history, width: spark), x: x, y: y, role: .value) + 1 + gap
    }
    frame.screen.put(time, x: x, y: y)
  }

  /// How many exits a second, or, where a backend tells of none, how many events.
  private func rateLine(_ snapshot: Snapshot, _ statistics: ScopeStatistics) -> Line {
    guard model.hasNoExits else {
      return Line([Span(model.rate(statistics).map { Format.count($0) } ?? "-", .value), Span(" exits/s")])
    }
    let (events, nanoseconds) =
      model.showsWindow
      ? (snapshot.events, snapshot.windowNanoseconds) : (snapshot.intervalEvents, snapshot.intervalNanoseconds)
    let rate = nanoseconds == 0 ? "-" : Format.count(Double(events) * 1e9 / Double(nanoseconds))
    let unit = columns < Painter.least.columns ? " events/s" : " KVM events/s, no kvm_exit"
    return Line([Span(rate, .value), Span(unit)])
  }

  /// Where the vCPUs' time went, as many parts of it as there is room for.
  private func timeLine(_ split: TimeSplit, room: Int) -> Line {
    var line = Line()
    for (name, part) in [
      ("guest", split.guest), ("kernel", split.kernel), ("user", split.user), ("halted", split.halted),
    ] {
      let share = split.total > 0 ? Format.percent(100 * Double(part) / Double(split.total)) : "-"
      var next = line
      next.append("\(name) ", .dim)
      next.append(share, split.total > 0 ? .value : .dim)
      next.append(columns >= 100 ? "  " : " ")
      if next.width + 1 > room { break }
      line = next
    }
    if !line.spans.isEmpty { line.spans[line.spans.count - 1].text = " %" }
    return line
  }

  private mutating func paint(_ whatIf: WhatIf, y: Int) {
    let names = model.whatIfOff.sorted().map { model.names.control($0).short }
    var tail = Line(" off → ")
    tail.append("\(Format.count(whatIf.remainingRate)) exits/s", .value)
    tail.append(" (−\(Format.percent(whatIf.less)) %)")
    if let time = whatIf.time, let remaining = whatIf.remainingTime {
      tail.append(columns >= 100 ? ", time in exits " : ", in exits ")
      tail.append("\(Format.percent(time)) → ")
      tail.append("\(Format.percent(remaining)) %", .value)
    }
    let head = Line(" what-if: ", .heading)
    // What comes out matters more than the names, which are marked in the tables as well.
    let room = max(8, columns - head.width - tail.width)
    var shown = names.joined(separator: ", ")
    if shown.displayWidth > room, names.count > 1 {
      let more = " +\(names.count - 1)"
      shown = (names.first ?? "").truncated(to: max(4, room - more.displayWidth)) + more
    }
    frame.screen.put(
      Line(head.spans + [Span(shown.truncated(to: room), .whatIfOff)] + tail.spans), x: 0, y: y)
  }

  private mutating func paintTabs(y: Int) {
    var right = Line()
    if !model.filter.isEmpty { right.append("/\(model.filter)", .warning) }
    if model.pins.count == 1 { right.append(right.spans.isEmpty ? "= pinned" : "  = pinned", .warning) }
    let scope = Span(scopeText, model.scope == .all ? .dim : .value)
    // That everything is looked at goes without saying where room is scarce.
    if model.scope != .all || columns >= 100 {
      right.append((right.spans.isEmpty ? "" : "  ") + scope.text, scope.role)
    }
    if !frame.position.isEmpty { right.append((right.spans.isEmpty ? "" : "  ") + frame.position, .dim) }
    let gap = columns >= 100 ? 2 : 1
    func width(_ named: Int) -> Int {
      Pane.allCases.enumerated().reduce(1) { sum, next in
        let isNamed = next.offset < named || next.element == model.pane
        return sum + 1 + (isNamed ? 1 + next.element.title.count : 0) + gap
      }
    }
    // The names of the last panes go first: their numbers stay.
    let room = columns - min(right.width + 1, max(0, columns / 2))
    let named = (0...Pane.allCases.count).last { width($0) <= room } ?? 0
    var x = 1
    for (index, pane) in Pane.allCases.enumerated() {
      let start = x
      if pane == model.pane && !model.isHelpOpen {
        x = frame.screen.put(" \(pane.key) \(pane.title) ", x: x - 1, y: y, role: .tab) - 1
      } else {
        x = frame.screen.put(pane.key, x: x, y: y, role: .key)
        if index < named { x = frame.screen.put(" \(pane.title)", x: x, y: y) }
      }
      frame.regions.append(
        .init(area: Rectangle(x: start - 1, y: y, width: x - start + 1, height: 1), target: .tab(pane)))
      x += gap
      if x >= columns { return }
    }
    let left = columns - x - 1
    guard left >= 6 else { return }
    while right.width > left, right.spans.count > 1 { right.spans.removeLast() }
    frame.screen.put(right, x: max(x, columns - right.width), y: y)
  }

  private mutating func paintFoot(y: Int) {
    if let prompt = model.prompt {
      let label =
        switch prompt.kind {
        case .filter: "/"
        case .command: ":"
        case .time: "go to: "
        }
      var line = Line(label, .key)
      // The end of what is being typed is what must be seen.
      var text = prompt.text
      while text.displayWidth > max(1, columns - label.count - 2) { text.removeFirst() }
      line.append(text, .value)
      line.append("_", .key)
      if let message = model.message {
        line.append("   \(message)", .warning)
      } else if prompt.text.isEmpty {
        let example =
          switch prompt.kind {
          case .filter: "a regular expression; Esc: no filter"
          case .command where model.isRecording: "goto TIME  range FROM TO  exit REASON  speed N  filter RE  pane N  q"
          case .command: "interval N  filter RE  sort COLUMN  pane N  q"
          case .time: TimePoint.forms
          }
        line.append("   \(example)", .dim)
      }
      frame.screen.put(line, x: 0, y: y)
      return
    }
    if let message = model.message {
      let isCut = message.displayWidth > columns - 1
      let more = isCut ? "  7 log" : ""
      frame.screen.put(message, x: 1, y: y, role: .warning, limit: columns - more.count)
      frame.screen.putRight(more, end: columns, y: y, role: .key, from: columns - more.count)
      return
    }
    let candidates = Keymap.bindings.filter { $0.hint != nil && (!$0.needsRecording || model.isRecording) }
    func label(_ binding: Binding) -> String {
      switch binding.command {
      case .nextSort: "<>"
      case .stepForward: "tT"
      case .exitForward: "eE"
      case .reasonForward: "fF"
      case .changeForward: "cC"
      case .jumpForward: "[]"
      default: binding.keys.first?.label.lowercasedWord ?? ""
      }
    }
    let isHeld = model.isPaused || model.snapshot?.playback?.isFinished == true
    func hint(_ binding: Binding) -> String {
      binding.command == .pause && isHeld ? (model.isRecording ? "play" : "go on") : binding.hint ?? ""
    }
    func width(_ binding: Binding) -> Int { label(binding).displayWidth + 1 + hint(binding).displayWidth + 2 }
    var room = columns - 1
    var kept: Set<Command> = []
    // In a recording, going about in it is what one does.
    func order(_ binding: Binding) -> Int {
      guard model.isRecording else { return binding.hintOrder }
      return binding.command == .pause ? 1 : binding.needsRecording ? binding.hintOrder - 3 : binding.hintOrder
    }
    for binding in candidates.sorted(by: { order($0) < order($1) }) where width(binding) <= room {
      kept.insert(binding.command)
      room -= width(binding)
    }
    var line = Line(" ")
    for binding in candidates where kept.contains(binding.command) {
      line.append(label(binding), .key)
      line.append(" \(hint(binding))  ", .dim)
    }
    frame.screen.put(line, x: 0, y: y)
  }

  /// What is left where there is no room for panes: how bad, and what most.
  private mutating func paintTiny() {
    let statistics = model.scopeStatistics ?? ScopeStatistics()
    guard model.snapshot != nil else {
      frame.screen.put("vmctop: waiting", x: 0, y: 0)
      return
    }
    if let snapshot = model.snapshot { frame.screen.put(rateLine(snapshot, statistics), x: 0, y: 0) }
    if let prompt = model.prompt {
      frame.screen.put(prompt.text + "_", x: 0, y: rows - 1, role: .key)
    }
    if rows < 3 || columns < 12 { return }
    let split = model.timeSplit(statistics)
    if split.total > 0 {
      let guest = Format.percent(100 * Double(split.guest) / Double(split.total))
      frame.screen.put(Line([Span("guest "), Span(guest, .value), Span(" %")]), x: 0, y: 1)
    }
    let context = model.context(statistics)
    let column = ReasonFigures.column(model.showsWindow ? "average" : "exits")
    for (offset, row) in model.exitRows().prefix(rows - 3).enumerated() {
      let y = 2 + offset
      let figure = column.map { Painter.text($0.value(row.reason, context), width: 6) } ?? ""
      frame.screen.put(row.reason.name, x: 0, y: y, role: role(row, .normal), limit: columns - 7)
      frame.screen.putRight(figure, end: columns, y: y, role: .value, from: columns - 6)
    }
    if model.prompt != nil { return }
    if let losses = model.snapshot?.losses, losses.lost > 0 || losses.uncounted > 0 {
      frame.screen.put("lost \(Format.count(losses.lost))", x: 0, y: rows - 1, role: .warning)
    } else if model.message == nil, model.isRecording {
      paintTimeLine(Rectangle(x: 0, y: rows - 1, width: columns, height: 1))
    } else {
      frame.screen.put(model.message ?? "terminal too small", x: 0, y: rows - 1, role: .dim)
    }
  }

  func role(_ row: ReasonRow, _ otherwise: Role) -> Role { row.whatIfOff == .wholly ? .whatIfOff : otherwise }

  // MARK: Pieces

  /// One line of a pane, counted from its upper edge.
  mutating func text(_ area: Rectangle, y: Int, _ text: String, _ role: Role = .normal) {
    guard y >= 0, y < area.height else { return }
    frame.screen.put(text, x: area.x + 1, y: area.y + y, role: role, limit: area.right)
  }

  /// A value of the registry in so many cells.
  static func text(_ value: FigureValue, width: Int) -> String {
    switch value {
    case .integer(let n):
      let exact = Format.exact(n)
      return exact.count <= width ? exact : Format.count(n)
    case .rate(let rate): return rate == 0 ? "·" : Format.count(rate)
    case .percent(let share): return share == 0 ? "·" : Format.percent(share)
    case .nanoseconds(let time): return Format.duration(time)
    case .fractionalNanoseconds(let time): return Format.duration(UInt64(exactly: time.rounded()) ?? .max)
    case .text(let text): return text
    case .none: return "-"
    }
  }

  /// A table with a cursor: heads, then the rows from the one that keeps the cursor in sight.
  mutating func paintTable(
    _ pane: Pane, _ area: Rectangle, columns: [TableColumn], ids: [String], sortedBy: String, count: Int, cursor: Int,
    cell: (_ row: Int, _ column: Int, _ width: Int) -> Span, marker: (_ row: Int) -> Span
  ) {
    guard area.height > 0, area.width > 2 else { return }
    let layout = TableLayout(columns, width: area.width - 2)
    let left = area.x + 2
    for place in layout.placed {
      let column = columns[place.index]
      let title = column.title.padded(to: place.width, alignRight: column.alignRight)
      let isSorted = ids[place.index] == sortedBy
      frame.screen.put(
        title, x: left + place.x, y: area.y, role: isSorted ? .sorted : .heading, limit: left + place.x + place.width)
      frame.regions.append(
        .init(
          area: Rectangle(x: left + place.x, y: area.y, width: place.width, height: 1),
          target: .column(pane, ids[place.index])))
    }
    let height = area.height - 1
    frame.pageHeights[pane] = max(1, height)
    guard height > 0 else { return }
    var top = model.state(pane).top
    if cursor < top { top = cursor }
    if cursor >= top + height { top = cursor - height + 1 }
    top = min(max(0, top), max(0, count - height))
    frame.tops[pane] = top
    if count > height && pane == model.pane { frame.position = "\(top + 1)-\(min(count, top + height))/\(count)" }
    for offset in 0..<max(0, min(height, count - top)) {
      let row = top + offset
      let y = area.y + 1 + offset
      let isCursor = row == cursor
      frame.screen.put(isCursor ? "▸" : " ", x: area.x, y: y, role: .key)
      let mark = marker(row)
      frame.screen.put(mark.text, x: area.x + 1, y: y, role: mark.role)
      for place in layout.placed {
        let span = cell(row, place.index, place.width)
        let text = span.text.padded(to: place.width, alignRight: columns[place.index].alignRight)
        frame.screen.put(text, x: left + place.x, y: y, role: span.role, limit: left + place.x + place.width)
      }
      if isCursor && pane == model.pane { frame.screen.select(y: y, from: area.x, to: area.right) }
      frame.regions.append(
        .init(area: Rectangle(x: area.x, y: y, width: area.width, height: 1), target: .row(pane, row)))
    }
  }

  /// A pane that only scrolls.
  mutating func paintLines(_ pane: Pane, _ area: Rectangle, _ lines: [Line]) {
    frame.pageHeights[pane] = max(1, area.height)
    let top = min(max(0, model.state(pane).top), max(0, lines.count - area.height))
    frame.tops[pane] = top
    if lines.count > area.height && pane == model.pane {
      frame.position = "\(top + 1)-\(min(lines.count, top + area.height))/\(lines.count)"
    }
    for offset in 0..<max(0, min(area.height, lines.count - top)) {
      frame.screen.put(lines[top + offset], x: area.x, y: area.y + offset, limit: area.right)
    }
  }

  private mutating func paintHelp(_ area: Rectangle) {
    var lines: [Line] = [Line(" KEYS", .heading)]
    func add(_ term: String, _ text: String) {
      for (index, part) in text.wrapped(to: max(10, area.width - 15)).enumerated() {
        var line = Line("  " + (index == 0 ? term : "").padded(to: 10), .key)
        line.append("  \(part)")
        lines.append(line)
      }
    }
    for binding in Keymap.bindings {
      add(Keymap.label(binding), "\(binding.help)\(binding.needsRecording ? " (recordings)" : "")")
    }
    add(
      "mouse", "click a row, a column's head to sort by it, a pane's name, a moment of the time line; the wheel scrolls"
    )
    lines.append("")
    lines.append(Line(" COLUMNS OF THE EXITS PANE", .heading))
    for column in ReasonFigures.columns { add(column.title, "\(column.help) (sort \(column.id))") }
    lines.append("")
    lines.append(Line(" WHAT IS SHOWN", .heading))
    for (term, text) in [
      ("guest", "from kvm_entry to kvm_exit"), ("kernel", "handling exits in the kernel"),
      ("user", "in the VMM, from kvm_userspace_exit until the thread is back in KVM_RUN"),
      ("halted", "blocked or polling after HLT: idle, and in no TIME%; MEAN to MAX are all of the time to kvm_entry"),
      ("lost", "events the ring buffers dropped; +? where a buffer did not say how many"),
      ("[x]", "the control is on: read from kernel memory, or an exit proves it"), ("[ ]", "off"),
      ("[~]", "on for some of the vCPUs"), ("[?]", "not read, and no exit tells"), ("[-]", "off in the what-if"),
      ("NOW CFG", "a control as it is in force and as KVM configures every vCPU (vmcs_config)"),
      ("ALLOW", "what the processor takes: 0/1 either, 1 or 0 only that; ?/1 where only /proc/cpuinfo tells"),
      ("~", "behind a value: stale, KVM has not read the register again since the guest ran"),
      ("=", "behind a value: derived from values that were read"), ("c", "behind a value: configured"),
      ("?", "in a value's place: unavailable, only VMREAD could tell"), ("*", "before a name: it changed just now"),
      ("VMM", "what the VMM said when asked (R), where it is something else"),
      ("what-if", "the exits charged to the controls that are off are taken off; nothing is changed on the host"),
      (
        "time line",
        "exits a second over the whole recording, its highest rate full; blank: no exit; ░ or ?: not read yet"
      ),
      (
        "[═]",
        "on the time line: the range that every pane counts; s a setting changed, ! events lost, + x a VM began, ended"
      ),
    ] { add(term, text) }
    let top = min(max(0, model.helpTop), max(0, lines.count - area.height))
    frame.helpTop = top
    frame.pageHeights[model.pane] = max(1, area.height)
    if lines.count > area.height {
      frame.position = "\(top + 1)-\(min(lines.count, top + area.height))/\(lines.count)"
    }
    for offset in 0..<max(0, min(area.height, lines.count - top)) {
      frame.screen.put(lines[top + offset], x: area.x, y: area.y + offset, limit: area.right)
    }
  }
}

extension String {
  /// `Space` as `space`, `Enter` as `enter`; single characters as they are.
  fileprivate var lowercasedWord: String { count > 1 ? lowercased() : self }
}
