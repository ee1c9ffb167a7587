import Aggregator
import Architecture
import Screen

/// The panes that are text to scroll through: details, log.
extension Painter {
  func detailLines(width: Int) -> [Line] {
    guard let reason = model.detailedReason else {
      if model.hasNoExits { return [Line(" no kvm_exit here; pane 1 has the events by kind", .dim)] }
      return [Line(model.detailKey == nil ? " no exit yet" : " no exit of that reason here", .dim)]
    }
    return detailLines(reason, width: width)
  }

  /// All that is known of one reason.
  func detailLines(_ reason: ReasonStatistics, width: Int) -> [Line] {
    guard let statistics = model.scopeStatistics else { return [] }
    let context = model.context(statistics)
    let note = model.names.reason(isa: reason.isa, code: reason.code)
    var lines: [Line] = []
    var head = Line(" \(reason.name)", .title)
    head.append("  reason \(reason.code) (0x\(String(reason.code, radix: 16)))", .dim)
    if reason.settings > 1 { head.append("  in \(reason.settings) settings of the controls", .dim) }
    if let note { head.append("  \(note.meaning)") }
    lines.append(head)

    func figures(_ ids: [String]) -> [Line] {
      var lines: [Line] = []
      var line = Line(" ")
      for column in ids.compactMap(ReasonFigures.column) {
        let label = "\(column.title.lowercased()) "
        let value = Painter.text(column.value(reason, context), width: 14)
        if line.width > 1 && line.width + 2 + label.displayWidth + value.displayWidth > width {
          lines.append(line)
          line = Line(" ")
        }
        if line.width > 1 { line.append("  ") }
        line.append(label, .dim)
        line.append(value, .value)
      }
      return lines + [line]
    }
    lines += figures(["count", model.showsWindow ? "average" : "exits", "percent", "time", "total"])
    lines += figures(["min", "p50", "p90", "p99", "p99.9", "max", "mean"])
    if reason.handling.paired < reason.count {
      lines.append(
        Line(" handling times of \(Format.exact(reason.handling.paired)) of \(Format.exact(reason.count)) exits", .dim))
    }

    if reason.figures.total.halted > 0 {
      let (all, idle) = (reason.handling.total, reason.figures.total.halted)
      lines.append(
        Line(
          " halted \(Format.duration(idle)) of \(Format.duration(all)): idle, no cost, and not in time%", .stale))
    }

    if let note {
      for (title, text) in [("TYPICAL CAUSE", note.cause), ("KNOBS", note.knobs)] {
        guard let text else { continue }
        lines.append("")
        lines.append(Line(" \(title)", .heading))
        lines += text.wrapped(to: max(10, width - 3)).map { Line("  \($0)", title == "KNOBS" ? .charged : .normal) }
      }
    }
    lines.append("")
    lines.append(Line(" CHARGED TO", .heading))
    for charge in reason.charges {
      let name = model.names.control(charge.control)
      let isWhatIfOff = model.whatIfOff.contains(charge.control)
      var line = Line(" \(isWhatIfOff ? "-" : " ")", .whatIfOff)
      line.append(Painter.text(.integer(charge.count), width: 11).padded(to: 11, alignRight: true), .value)
      line.append(" " + shareText(charge.count, reason.count))
      line.append("  \(name.word) \(name.bit.map { "bit \($0) " } ?? "")", .dim)
      line.append(name.name, isWhatIfOff ? .whatIfOff : .charged)
      line.append("  \(name.title)", .dim)
      lines.append(line)
    }

    for detail in reason.details where detail.total > 0 {
      lines.append("")
      var heading = Line(" \(detail.kind.key.uppercased())", .heading)
      heading.append("  of \(Format.exact(detail.total)) exits", .dim)
      if detail.isApproximate { heading.append(", more values than the table holds: counts are lower bounds", .dim) }
      lines.append(heading)
      for entry in detail.entries {
        var line = Line("  " + Painter.text(.integer(entry.count), width: 11).padded(to: 11, alignRight: true), .value)
        line.append(" " + shareText(entry.count, detail.total) + " ")
        let cells = Graph.bar([Double(entry.count)], whole: Double(detail.total), width: 10)
        line.append(String(cells.map { $0 < 0 ? " " : "█" }), .dim)
        line.append("  \(model.names.detail(detail.kind, entry.value))")
        if entry.error > 0 { line.append("  (at most \(Format.exact(entry.error)) more)", .dim) }
        lines.append(line)
      }
    }

    return lines
  }

  private func shareText(_ part: UInt64, _ whole: UInt64) -> String {
    (whole == 0 ? "-" : Format.percent(100 * Double(part) / Double(whole))).padded(to: 5, alignRight: true) + " %"
  }

  func logLines(width: Int) -> [Line] {
    guard let snapshot = model.snapshot else { return [] }
    var messages = snapshot.messages.reversed().flatMap { message -> [Line] in
      let role: Role =
        switch message.level {
        case .info: .normal
        case .warning: .warning
        case .error: .error
        }
      let time = (Format.fixed(message.seconds, 1) + "s").padded(to: 9, alignRight: true)
      return message.text.wrapped(to: max(10, width - 12)).enumerated().map { index, text in
        var line = Line(index == 0 ? time : String(repeating: " ", count: 9), .dim)
        line.append("  \(text)", role)
        return line
      }
    }
    if let pattern = model.pattern { messages = messages.filter { pattern.matches($0.text) } }
    var lines = [Line(" MESSAGES, newest first", .heading)]
    if messages.isEmpty { lines.append(Line("  none", .dim)) }
    lines += messages.prefix(6)
    lines.append("")
    let losses = snapshot.losses
    lines.append(Line(" LOST EVENTS", .heading))
    if losses.lost == 0 && losses.uncounted == 0 {
      lines.append(Line("  none of \(Format.exact(snapshot.events)) events", .dim))
    } else {
      lines.append(
        Line(
          "  \(losses.uncounted > 0 ? "at least " : "")\(Format.exact(losses.lost)) lost, "
            + "\(Format.exact(losses.intervalLost)) in the last interval; "
            + "\(Format.exact(snapshot.events)) events counted", .warning))
      if losses.uncounted > 0 {
        lines.append(
          Line("  \(Format.exact(losses.uncounted)) times a buffer did not say how many", .warning))
      }
      for cpu in losses.perCPU where cpu.lost > 0 {
        lines.append(
          Line("  CPU \(cpu.cpu)".padded(to: 12) + Format.exact(cpu.lost) + "  +" + Format.exact(cpu.intervalLost)))
      }
    }
    if snapshot.malformedRecords > 0 {
      lines.append(Line("  \(Format.exact(snapshot.malformedRecords)) damaged records passed over", .error))
    }
    lines.append("")
    lines += eventLines(snapshot)
    if messages.count > 6 {
      lines.append("")
      lines.append(Line(" OLDER MESSAGES", .heading))
      lines += messages.dropFirst(6)
    }
    return lines
  }

  func eventLines(_ snapshot: Snapshot) -> [Line] {
    let window = model.showsWindow
    let heads = ["COUNT".padded(to: 14, alignRight: true), window ? "AVG/S" : "EVENTS/S", "%"]
    var lines = [
      Line(
        " " + "EVENT".padded(to: 28) + heads[0] + heads[1].padded(to: 10, alignRight: true)
          + heads[2].padded(to: 7, alignRight: true), .heading)
    ]
    let nanoseconds = window ? snapshot.windowNanoseconds : snapshot.intervalNanoseconds
    let all = window ? snapshot.events : snapshot.intervalEvents
    for event in snapshot.eventCounts {
      let count = window ? event.count : event.intervalCount
      let rate = nanoseconds == 0 || count == 0 ? "·" : Format.count(Double(count) * 1e9 / Double(nanoseconds))
      let share = all == 0 || count == 0 ? "·" : Format.percent(100 * Double(count) / Double(all))
      var line = Line(" " + event.name.padded(to: 28))
      line.append(Format.exact(event.count).padded(to: 14, alignRight: true))
      line.append(rate.padded(to: 10, alignRight: true), .value)
      line.append(share.padded(to: 7, alignRight: true))
      lines.append(line)
    }
    if snapshot.eventCounts.isEmpty { lines.append(Line("  none", .dim)) }
    return lines
  }
}
