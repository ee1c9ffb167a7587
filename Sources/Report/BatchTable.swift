import Aggregator
import Architecture
import Wording

/// What `vmctop -b` prints each interval: two lines of totals, the main table, an empty line.
public struct BatchTable: Sendable {
  public var sort: Figure<ReasonStatistics>
  public var filter: ReasonFilter?
  public var vocabulary: Vocabulary

  /// - Parameters:
  ///   - sort: the id of the column to sort by, its usual direction first.
  ///   - filter: which reasons to list; the totals stay those of everything.
  /// - Throws: `Failure` with status 2 for a column that does not exist.
  public init(sort: String? = nil, filter: ReasonFilter? = nil, vocabulary: Vocabulary) throws(Failure) {
    self.sort = try Self.column(sort ?? "exits")
    self.filter = filter
    self.vocabulary = vocabulary
  }

  /// The column of the registry that `-s` names.
  public static func column(_ id: String) throws(Failure) -> Figure<ReasonStatistics> {
    if let column = ReasonFigures.column(id.lowercased()) { return column }
    let ids = ReasonFigures.columns.map(\.id).joined(separator: ", ")
    throw Failure(.usage, "-s: no column '\(printable(id))'", hint: "there are \(ids)")
  }

  private static let columnIDs = ["reason", "count", "exits", "percent", "time", "mean", "p99", "max", "charged"]

  /// The text of one interval, with a newline at the end of each line.
  public func text(_ snapshot: Snapshot) -> String {
    let total = snapshot.total
    let names = vocabulary
    let context = FigureContext(snapshot: snapshot, scope: total, controlName: { names.shortName($0) })
    var lines = [headline(snapshot), totals(snapshot)]
    let rows = filter.map { $0.apply(total.reasons) } ?? total.reasons
    // Sorted by another column than those shown, that one is shown too.
    var ids = Self.columnIDs
    if !ids.contains(sort.id) { ids.insert(sort.id, at: ids.count - 1) }
    let table = FigureTable(columns: ids.compactMap { ReasonFigures.column($0) })
    let sorted = ReasonFigures.sorted(rows, by: sort, descending: sort.descendingFirst, context: context)
    lines += table.lines(sorted, context: context)
    return lines.joined(separator: "\n") + "\n\n"
  }

  private func headline(_ snapshot: Snapshot) -> String {
    var parts = ["vmctop +\(seconds(snapshot.windowNanoseconds))"]
    if let host = snapshot.source.hostName { parts.append(printable(host)) }
    if let kernel = snapshot.source.kernelRelease { parts.append(printable(kernel)) }
    if let backend = snapshot.source.backend { parts.append(backend) }
    parts.append("interval \(seconds(snapshot.intervalNanoseconds))")
    let losses = snapshot.losses
    parts.append(
      losses.lost == 0 && losses.uncounted > 0
        ? "lost some, uncounted"
        : "lost \(Figures.count(losses.intervalLost)) (\(losses.uncounted > 0 ? ">" : "")\(Figures.count(losses.lost)) in all)"
    )
    if let stream = snapshot.stream { parts += Self.notes(stream) }
    if snapshot.malformedRecords > 0 { parts.append("malformed \(Figures.count(snapshot.malformedRecords))") }
    return parts.joined(separator: "  ")
  }

  /// What a reader must know of figures that came through a pipe.
  private static func notes(_ stream: StreamState) -> [String] {
    var notes: [String] = []
    switch stream.source {
    case .events: break
    case .sums, .sumsForEvents: notes.append("summaries")
    case .incomplete: notes.append("incomplete")
    }
    switch stream.progress {
    case .running: if stream.lag >= 2_000_000_000 { notes.append("\(seconds(stream.lag)) behind") }
    case .ended: notes.append("ended")
    case .cutOff: notes.append("cut off")
    }
    return notes
  }

  private func totals(_ snapshot: Snapshot) -> String {
    let total = snapshot.total
    let vcpus = snapshot.vms.reduce(0) { $0 + $1.vcpus.count }
    let rate =
      snapshot.intervalNanoseconds == 0
      ? "-" : Figures.short(Double(total.intervalExits) * 1e9 / Double(snapshot.intervalNanoseconds))
    let vms = Figures.plural(UInt64(snapshot.vms.count), "VM")
    return "\(vms)  \(Figures.plural(UInt64(vcpus), "vCPU"))  \(rate) exits/s  \(Figures.plural(total.exits, "exit"))  "
      + timeSplit(total.intervalTime.total > 0 ? total.intervalTime : total.time)
  }
}

func seconds(_ nanoseconds: UInt64) -> String {
  let hundredths = (nanoseconds &+ 5_000_000) / 10_000_000
  let fraction = hundredths % 100
  return "\(hundredths / 100).\(fraction < 10 ? "0" : "")\(fraction) s"
}

/// `guest 91.2%  kernel 5.9%  user 0.4%  halted 2.5%`
func timeSplit(_ time: TimeSplit) -> String {
  let total = time.total
  return
    "guest \(share(time.guest))  kernel \(share(time.kernel))  user \(share(time.user))  halted \(share(time.halted))"
  func share(_ part: UInt64) -> String { total == 0 ? "-" : Figures.share(part, of: total) + "%" }
}
