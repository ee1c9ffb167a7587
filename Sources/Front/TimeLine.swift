import Aggregator
import Screen

/// A recording laid out over so many columns.
struct TimeLine {
  let width: Int
  /// Nanoseconds.
  let duration: UInt64

  /// The column of a position.
  func column(_ position: UInt64) -> Int {
    guard width > 0, duration > 0 else { return 0 }
    return min(width - 1, max(0, Int(Double(min(position, duration)) / Double(duration) * Double(width))))
  }

  /// The position in the middle of a column; the first and the last are the recording's ends.
  func position(_ column: Int) -> UInt64 {
    guard width > 1, column > 0 else { return 0 }
    guard column < width - 1 else { return duration }
    return min(duration, UInt64(max(0, (Double(column) + 0.5) / Double(width) * Double(duration))))
  }

  /// Rates in other equal parts: the mean of what a part has of each, by time. Nil where nothing of a part is known.
  static func resampled(_ rates: [Double?], width: Int) -> [Double?] {
    guard width > 0, !rates.isEmpty else { return Array(repeating: nil, count: max(0, width)) }
    let length = Double(rates.count) / Double(width)
    return (0..<width).map { column in
      let (start, end) = (Double(column) * length, Double(column + 1) * length)
      var sum = 0.0
      var known = 0.0
      for index in Int(start)..<max(Int(start) + 1, min(rates.count, Int(end.rounded(.up)))) {
        guard index < rates.count, let rate = rates[index], rate.isFinite, rate >= 0 else { continue }
        let part = min(end, Double(index + 1)) - max(start, Double(index))
        guard part > 0 else { continue }
        sum += rate * part
        known += part
      }
      return known > 0 && sum.isFinite ? sum / known : nil
    }
  }

  /// How high a rate stands, in eighths of a row: at least one where there is any.
  static func height(_ rate: Double, of top: Double, rows: Int) -> Int {
    guard rate > 0, top > 0 else { return 0 }
    return max(1, min(8 * rows, Int((rate / top * Double(8 * rows)).rounded())))
  }
}

extension RateTimeline.Mark {
  /// Its sign on the time line: letters and signs that every terminal has.
  var sign: Character {
    switch self {
    case .settingChanged: "s"
    case .lost: "!"
    case .vmStarted: "+"
    case .vmEnded: "x"
    }
  }

  var meaning: String {
    switch self {
    case .settingChanged: "setting"
    case .lost: "lost"
    case .vmStarted: "VM start"
    case .vmEnded: "VM end"
    }
  }

  /// Of those in one column, the one with the highest is shown.
  var rank: Int {
    switch self {
    case .settingChanged: 0
    case .vmStarted: 1
    case .vmEnded: 2
    case .lost: 3
    }
  }
}

/// What the time line says in words.
extension FrontModel {
  /// How many rows a time line has on a screen of so many: with few, panes need them more.
  func timeLineRows(_ rows: Int) -> Int {
    guard let playback = snapshot?.playback, rows >= Painter.least.rows else { return 0 }
    if rows < 14 { return 1 }
    if rows < 30 { return 2 }
    // A legend is worth a row where there is something to explain; a higher graph where there is plenty of room.
    return 2 + (playback.rateTimeline?.marks.isEmpty == false ? 1 : 0) + (rows >= 50 ? 1 : 0)
  }

  /// A time of day, or a place in the recording where it does not tell.
  func timeText(_ position: UInt64) -> String {
    guard let playback = snapshot?.playback else { return "" }
    return timeOfDay(position) ?? Format.position(position, decimals: Self.decimals(playback.duration))
  }

  /// Nil where the recording does not tell.
  func timeOfDay(_ position: UInt64) -> String? {
    guard let playback = snapshot?.playback, let first = playback.wallClock else { return nil }
    let (moment, overflow) = first.addingReportingOverflow(position)
    return overflow ? nil : localTime.text(moment, withDay: playback.duration >= 86_400_000_000_000)
  }

  /// So many decimals of a second that a place can be told from its neighbours on a screen.
  static func decimals(_ span: UInt64) -> Int {
    span >= 100_000_000_000 ? 1 : span >= 10_000_000 ? 3 : 6
  }

  /// `0:10.0-0:20.0`
  func text(of range: Range<UInt64>) -> String {
    let decimals = Self.decimals(range.upperBound - range.lowerBound)
    return "\(Format.position(range.lowerBound, decimals: decimals))-"
      + Format.position(range.upperBound, decimals: decimals)
  }

  func text(of mark: RateTimeline.PlacedMark) -> String {
    let what =
      switch mark.mark {
      case .settingChanged(let thread): "\(vcpuName(thread)): setting changed"
      case .lost: "events lost"
      case .vmStarted(let pid, let name): "\(vmName(pid, name)) started"
      case .vmEnded(let pid, let name): "\(vmName(pid, name)) ended"
      }
    return "\(timeText(mark.position)) \(what)"
  }

  private func vmName(_ pid: Int32, _ name: String?) -> String {
    name.flatMap { $0.isEmpty ? nil : $0 } ?? "VM of process \(pid)"
  }

  private func vcpuName(_ thread: Int32) -> String {
    guard let (vm, vcpu) = machine(thread) else { return "thread \(thread)" }
    return (snapshot?.vms.count ?? 0) > 1
      ? "\(MachineName.vm(vm)) · \(MachineName.vcpu(vcpu))" : MachineName.vcpu(vcpu)
  }

  /// The range that is selected, or that would be with the next `m`.
  var shownRange: (positions: Range<UInt64>, isOpen: Bool)? {
    guard let playback = snapshot?.playback else { return nil }
    if let range = playback.range { return (range, false) }
    return rangeStart.map { (min($0, playback.position)..<max($0, playback.position), true) }
  }

  /// The marks before and behind the position, as far as there are any; the first may be right at it.
  var nearMarks: (before: RateTimeline.PlacedMark?, after: RateTimeline.PlacedMark?) {
    guard let playback = snapshot?.playback, let marks = playback.rateTimeline?.marks else { return (nil, nil) }
    return (marks.last { $0.position <= playback.position }, marks.first { $0.position > playback.position })
  }

  /// The nearest mark on one side of the position.
  func mark(forward: Bool) -> RateTimeline.PlacedMark? {
    guard let playback = snapshot?.playback, let marks = playback.rateTimeline?.marks else { return nil }
    return forward
      ? marks.first { $0.position > playback.position } : marks.last { $0.position < playback.position }
  }
}

extension Painter {
  /// The course of the recording, where one is in it, and what was marked: above the line at the foot.
  mutating func paintTimeLine(_ area: Rectangle) {
    guard let playback = model.snapshot?.playback, area.height > 0, area.width > 0 else { return }
    let legend = playback.rateTimeline?.marks.isEmpty == false && area.height >= 3 ? 1 : 0
    let facts = timeLineFacts(playback, rows: area.height - legend)
    let side = min(area.width / 2, facts.reduce(0) { max($0, $1.width) } + 2)
    let x = area.x + side
    for (offset, line) in facts.enumerated() {
      frame.screen.put(line, x: area.x + 1, y: area.y + offset, limit: max(area.x, x - 1))
    }
    let width = area.right - x
    let line = TimeLine(width: width, duration: playback.duration)
    let ruler = area.height - legend >= 2 ? 1 : 0
    let graph = Rectangle(x: x, y: area.y + ruler, width: width, height: area.height - legend - ruler)
    if ruler > 0 { paintRuler(line, playback, x: x, y: area.y) }
    paintRates(line, playback, graph)
    frame.regions.append(
      .init(area: Rectangle(x: x, y: area.y, width: width, height: ruler + graph.height), target: .timeLine))
    if legend > 0 { paintTimeLegend(playback, Rectangle(x: area.x, y: area.bottom - 1, width: area.width, height: 1)) }
  }

  /// What stands at the left: time of day and speed, place and length, and how high the highest is.
  private func timeLineFacts(_ playback: PlaybackState, rows: Int) -> [Line] {
    // Rounded up: no place is behind the end.
    let coarse = FrontModel.decimals(playback.duration)
    let unit: UInt64 = coarse == 1 ? 100_000_000 : coarse == 3 ? 1_000_000 : 1000
    let (end, overflow) = playback.duration.addingReportingOverflow(unit - 1)
    let length = Format.position(overflow ? playback.duration : end, decimals: coarse)
    // Held, one wants to know it to the microsecond, since an exit is a step; the width is the same all the time.
    let isHeld = playback.isPaused || playback.isFinished
    let whole = Format.position(playback.duration, decimals: 6).count
    let decimals = isHeld ? 6 : coarse
    let place = Format.position(playback.position, decimals: decimals).padded(to: whole, alignRight: true)
    if rows < 2 { return [Line(place, .value)] }
    var first = Line()
    if let time = model.timeOfDay(playback.position) { first.append("\(time)  ") }
    first.append("x\(Format.count(playback.speed))", playback.speed == 1 ? .dim : .value)
    var second = Line(place, .value)
    second.append("/\(length)", .dim)
    let top = playback.rateTimeline.map { $0.rates.reduce(0) { max($0, $1.map { $0.isFinite ? $0 : 0 } ?? 0) } } ?? 0
    return rows < 3 ? [first, second] : [first, second, Line("peak \(Format.count(top)) exits/s", .dim)]
  }

  /// The marks, the range and the place.
  private mutating func paintRuler(_ line: TimeLine, _ playback: PlaybackState, x: Int, y: Int) {
    let known = playback.rateTimeline.map { line.column($0.known) } ?? -1
    for column in 0..<line.width {
      frame.screen.put(column <= known ? "─" : " ", x: x + column, y: y, role: .dim)
    }
    var shown: [Int: RateTimeline.Mark] = [:]
    for placed in playback.rateTimeline?.marks ?? [] {
      let column = line.column(placed.position)
      if shown[column].map({ $0.rank < placed.mark.rank }) ?? true { shown[column] = placed.mark }
    }
    let cursor = line.column(playback.position)
    if let (range, isOpen) = model.shownRange {
      let (from, to) = (line.column(range.lowerBound), line.column(range.upperBound))
      for column in from...max(from, to) { frame.screen.put("═", x: x + column, y: y, role: .warning) }
      frame.screen.put("[", x: x + from, y: y, role: .warning)
      if !isOpen { frame.screen.put(to > from ? "]" : "|", x: x + to, y: y, role: .warning) }
      let words = isOpen ? ["m ends it"] : ["RANGE \(Format.duration(range.upperBound - range.lowerBound))", "RANGE"]
      // In the widest gap between the marks.
      var (gap, start) = (0..<0, from + 1)
      for column in (from + 1)...(to + 1) where column >= to || column == cursor || shown[column] != nil {
        if column - start > gap.count { gap = start..<column }
        start = column + 1
      }
      if let word = words.first(where: { $0.count + 4 <= gap.count }) {
        let place = x + gap.lowerBound + (gap.count - word.count - 2) / 2
        frame.screen.put(" \(word) ", x: place, y: y, role: .warning)
      }
    }
    for (column, mark) in shown {
      frame.screen.put(String(mark.sign), x: x + column, y: y, role: mark == .lost ? .warning : .value)
    }
    if let range = playback.range {
      let (from, to) = (line.column(range.lowerBound), line.column(range.upperBound))
      frame.screen.select(y: y, from: x + from, to: x + to + 1)
    }
    frame.screen.put("▾", x: x + cursor, y: y, role: .key)
  }

  /// How many exits a second, part by part. What is not read yet is no zero, and looks otherwise.
  private mutating func paintRates(_ line: TimeLine, _ playback: PlaybackState, _ area: Rectangle) {
    let rates = TimeLine.resampled(playback.rateTimeline?.rates ?? [], width: line.width)
    let top = rates.reduce(0) { max($0, $1 ?? 0) }
    let range = model.shownRange?.positions
    let inside = range.map { line.column($0.lowerBound)...line.column($0.upperBound) }
    let blocks: [Character] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"]
    for (column, rate) in rates.enumerated() {
      let role: Role = inside.map { $0.contains(column) ? .value : .dim } ?? .normal
      let height = rate.map { TimeLine.height($0, of: top, rows: area.height) }
      for row in 0..<area.height {
        let y = area.bottom - 1 - row
        if let height {
          let cell = String(blocks[max(0, min(8, height - 8 * row))])
          frame.screen.put(cell, x: area.x + column, y: y, role: role)
        } else if row == 0 {
          frame.screen.put(frame.screen.isASCII ? "?" : "░", x: area.x + column, y: y, role: .dim)
        }
      }
    }
    let cursor = area.x + line.column(playback.position)
    for y in area.y..<area.bottom { frame.screen.select(y: y, from: cursor, to: cursor + 1) }
  }

  /// The marks next to the position in words, and what the signs mean.
  private mutating func paintTimeLegend(_ playback: PlaybackState, _ area: Rectangle) {
    var signs = Line()
    var kinds: Set<Character> = []
    for placed in playback.rateTimeline?.marks ?? [] where kinds.insert(placed.mark.sign).inserted {
      signs.append("  \(placed.mark.sign)", placed.mark == .lost ? .warning : .value)
      signs.append(" \(placed.mark.meaning)", .dim)
    }
    var line = Line(" ")
    let (before, after) = model.nearMarks
    if let before {
      line.append("← ", .dim)
      line.append(model.text(of: before), before.position == playback.position ? .value : .normal)
    }
    if let after {
      line.append(before == nil ? "→ " : "   → ", .dim)
      line.append(model.text(of: after))
    }
    let room = area.width - signs.width - 1
    let hasSigns = room >= 30
    frame.screen.put(line, x: area.x, y: area.y, limit: hasSigns ? area.x + room : area.right)
    if hasSigns { frame.screen.put(signs, x: area.right - signs.width, y: area.y, limit: area.right) }
  }
}
