import Aggregator
import Architecture
import Wording

extension DiffReport {
  /// A page of plain text, 80 columns wide but for a long name at the end of a line.
  public func page() -> String {
    var lines = ["vmctop diff"] + heading("A", a) + heading("B", b) + [""]
    if scopes[0].total.a.count == 0, scopes[0].total.b.count == 0 {
      lines.append("No exit was seen on either side.")
      return lines.joined(separator: "\n") + "\n"
    }
    if !hasSignificantChange {
      lines += wrapped(
        "No significant change: no rate and no time differs by more than \(Int(SnapshotComparison.significance)) times the error of"
          + " counting.", head: "", width: Self.width)
      lines.append("")
    }
    for scope in scopes { lines += text(scope) }
    for (side, names) in [("A", onlyInA), ("B", onlyInB)] where !names.isEmpty {
      lines += wrapped(
        names.map { printable($0) }.joined(separator: ", "), head: "Only in \(side): ", indent: 2, width: Self.width)
    }
    while lines.last == "" { lines.removeLast() }
    return lines.joined(separator: "\n") + "\n"
  }

  private static let width = 80
  private static let mostRows = 12

  // MARK: - Head

  private func heading(_ letter: String, _ side: Side) -> [String] {
    let snapshot = side.snapshot
    var text = snapshot.source.isDemo ? "the bundled recording" : printable(snapshot.source.path ?? "a recording")
    if let part = side.part {
      text += ", \(Self.seconds(part.lowerBound)) to \(Self.seconds(part.upperBound))"
    }
    if let host = snapshot.source.hostName { text += "  \(printable(host))" }
    if let kernel = snapshot.source.kernelRelease { text += "  Linux \(printable(kernel))" }
    var lines = wrapped(text, head: "\(letter)  ", width: Self.width)
    var counts = "\(Self.seconds(snapshot.windowNanoseconds)), \(Figures.plural(snapshot.total.exits, "exit"))"
    let losses = snapshot.losses
    if losses.lost > 0 || losses.uncounted > 0 {
      let number = losses.lost > 0 ? Figures.plural(losses.lost, "event") : "events"
      counts += "; LOST \(losses.uncounted > 0 && losses.lost > 0 ? "at least " : "")\(number): counts are lower bounds"
    }
    lines.append("   \(counts)")
    if snapshot.malformedRecords > 0 {
      lines.append("   DAMAGED: \(Figures.plural(snapshot.malformedRecords, "record")) passed over")
    }
    for line in side.damage.prefix(3) { lines += wrapped(printable(line), head: "   DAMAGED: ", width: Self.width) }
    if side.damage.count > 3 { lines.append("   DAMAGED: and \(side.damage.count - 3) more places") }
    return lines
  }

  /// With three decimals: `12.345 s`.
  public static func seconds(_ nanoseconds: UInt64) -> String {
    let milliseconds = nanoseconds / 1_000_000
    let fraction = String(1000 + milliseconds % 1000).dropFirst()
    return "\(milliseconds / 1000).\(fraction) s"
  }

  // MARK: - One scope

  private func text(_ scope: SnapshotComparison.Scope) -> [String] {
    var lines: [String] = []
    if let vm = scope.vm { lines += ["VM \(printable(vm))", ""] }
    lines += totals(scope) + [""]
    lines += table("BY REASON", scope.reasons) + [""]
    lines += table("BY CONTROL", scope.controls) + [""]
    return lines + changes(scope) + [""]
  }

  private func totals(_ scope: SnapshotComparison.Scope) -> [String] {
    func percent(_ part: UInt64, _ time: TimeSplit) -> String { Figures.share(part, of: time.total) }
    var rows = [["", "A", "B", "CHANGE"]]
    let (own, other) = (scope.total.a, scope.total.b)
    rows.append([
      "exits per second", Figures.short(own.rate), Figures.short(other.rate),
      scope.total.rateChange,
    ])
    rows.append([
      "host time per second", Self.duration(own.timePerSecond), Self.duration(other.timePerSecond),
      scope.total.timeChange,
    ])
    rows.append(["mean time per exit", Self.duration(own.mean), Self.duration(other.mean), ""])
    if scope.time.a.total > 0 || scope.time.b.total > 0 {
      for (name, part) in [
        ("guest %", \TimeSplit.guest), ("kernel %", \.kernel), ("user %", \.user), ("halted %", \.halted),
      ] {
        rows.append([
          name, percent(scope.time.a[keyPath: part], scope.time.a), percent(scope.time.b[keyPath: part], scope.time.b),
          "",
        ])
      }
    }
    rows.append(["vCPUs", "\(scope.vcpus.a)", "\(scope.vcpus.b)", ""])
    return Self.aligned(rows)
  }

  private func table(_ title: String, _ rows: [SnapshotComparison.Row]) -> [String] {
    let shown = rows.filter(\.isSignificant).prefix(Self.mostRows)
    let more = rows.count { $0.isSignificant } - shown.count
    let rest = rows.count { !$0.isSignificant }
    var lines: [String] = []
    if !shown.isEmpty {
      let width = min(20, shown.reduce(title.count) { max($0, $1.name.count) })
      func line(_ name: String, _ cells: [String]) -> String {
        let name = name.count > width ? String(name.prefix(width - 1)) + "~" : name
        return trimmed(padded(name, width) + zip(cells, Self.widths).map { padded($0, $1, right: true) }.joined())
      }
      typealias Figure = DifferenceFigures
      lines.append(
        line(
          title,
          [Figure.rate.title, "", "", Figure.time.title, "", Figure.mean.title, "", Figure.p99.title, ""]))
      lines.append(line("", ["A", "B", "CHANGE", "A", "B", "A", "B", "A", "B"]))
      for row in shown {
        lines.append(
          line(
            printable(row.name),
            [
              Figures.short(row.a.rate), Figures.short(row.b.rate),
              row.rateChange, Self.duration(row.a.timePerSecond),
              Self.duration(row.b.timePerSecond), Self.duration(row.a.mean), Self.duration(row.b.mean),
              Self.duration(row.a.p99.map { Double($0) }), Self.duration(row.b.p99.map { Double($0) }),
            ]))
      }
      let shares = shown.filter { $0.a.share > 0 || $0.b.share > 0 }.map { row in
        "\(printable(row.name)) \(Figures.percent(100 * row.a.share)) to \(Figures.percent(100 * row.b.share)) %"
      }
      lines += wrapped(shares.joined(separator: ", "), head: "share of exits: ", indent: 2, width: Self.width)
    }
    let what = title == "BY REASON" ? "reason" : "control"
    if more > 0 { lines.append("and \(Figures.plural(UInt64(more), "more \(what)")) with a change") }
    if rest > 0 {
      lines.append(
        shown.isEmpty
          ? "\(title): no significant change in \(Figures.plural(UInt64(rest), what))"
          : "no significant change in \(Figures.plural(UInt64(rest), "more \(what)"))")
    }
    return lines
  }

  /// Of the figures behind the name; 80 with a name of 20.
  private static let widths = [8, 6, 7, 7, 6, 7, 6, 7, 6]

  private func changes(_ scope: SnapshotComparison.Scope) -> [String] {
    guard let changes = scope.changes else {
      return wrapped(
        "Control words were not recorded on both sides: which controls were changed cannot be told.", head: "",
        width: Self.width)
    }
    var lines: [String] = []
    if changes.isEmpty {
      lines.append("The control words are the same on both sides.")
    } else {
      lines.append("CONTROLS THAT ARE OTHERS")
      func text(_ value: MeasuredControl) -> String {
        switch value {
        case .on: "1"
        case .off: "0"
        case .mixed: "mixed"
        }
      }
      for change in changes {
        let name = vocabulary.control(change.control)
        let place = name.bit.map { "\(name.word) bit \($0)" } ?? name.word
        lines.append("\(text(change.a)) -> \(text(change.b))  \(name.name)  (\(place))")
      }
    }
    for (side, count) in [("A", scope.settings.a), ("B", scope.settings.b)] where count > 1 {
      lines.append("\(side) was counted in \(count) settings of its controls; the last one is compared.")
    }
    return lines
  }

  // MARK: - Figures

  /// Nanoseconds in at most five characters; `-` where they are not known.
  private static func duration(_ value: Double?) -> String {
    guard let value, value >= 0, value < 1e18 else { return "-" }
    if value < 999.5 { return value == 0 ? "0" : "\(UInt64(value.rounded(.up)))ns" }
    var scaled = value / 1000
    for unit in ["us", "ms", "s"] {
      if scaled < 999.5 || unit == "s" { return Figures.fixed(scaled, scaled < 9.95 ? 1 : 0) + unit }
      scaled /= 1000
    }
    return "-"
  }

  private static func aligned(_ rows: [[String]]) -> [String] {
    let widths = rows[0].indices.map { column in rows.reduce(0) { max($0, $1[column].count) } }
    return rows.map { row in
      trimmed(
        row.indices.map { column in padded(row[column], widths[column], right: column > 0) }.joined(separator: "  "))
    }
  }
}

/// Without blanks at the end.
private func trimmed(_ line: String) -> String {
  var line = line
  while line.hasSuffix(" ") { line.removeLast() }
  return line
}
