import Architecture

/// What a column holds in one row, before any formatting: a terminal shows `41.6k`, JSON the number itself.
public enum ColumnValue: Sendable, Hashable {
  case integer(UInt64)
  /// Per second.
  case rate(Double)
  /// 0...100.
  case percent(Double)
  case nanoseconds(UInt64)
  case text(String)
  /// Not known, such as a latency of exits that no entry followed. Shown as `-`, null in JSON.
  case none
}

/// What a reason's figures are set against: the totals of its scope and the time they cover.
public struct ReasonContext: Sendable {
  /// Which figures shares are computed from.
  public enum Basis: Sendable { case interval, window }

  public var basis: Basis
  /// Lengths of the last interval and of the whole window, ns.
  public var intervalNanoseconds: UInt64
  public var windowNanoseconds: UInt64
  /// The sum over all reasons of the scope.
  public var figures: ExitFigures
  /// The short name to print for a control.
  public var controlName: @Sendable (ControlID) -> String

  /// - Parameter basis: nil takes the last interval, or everything since the start where the interval had no exit.
  public init(
    snapshot: Snapshot, scope: ScopeStatistics, basis: Basis? = nil,
    controlName: @escaping @Sendable (ControlID) -> String
  ) {
    let hasInterval = snapshot.intervalNanoseconds > 0 && scope.intervalExits > 0
    self.basis = basis ?? (hasInterval ? .interval : .window)
    intervalNanoseconds = snapshot.intervalNanoseconds
    windowNanoseconds = snapshot.windowNanoseconds
    figures = ExitFigures()
    for reason in scope.reasons { figures.add(reason.figures) }
    self.controlName = controlName
  }

  /// Of two sets of figures, those that shares are computed from.
  public func basic(_ figures: ExitFigures) -> ExitCounts { basis == .interval ? figures.interval : figures.total }

  /// Handling time of the basis without the time halted: what all exits of the scope cost, ns.
  public var busy: UInt64 { basic(figures).busy }
}

extension ReasonCode {
  /// True for what halts the vCPU: its handling time is mostly idle time.
  public var halts: Bool { (isa == 1 && code == 12) || (isa == 2 && code == 0x78) }
}

extension ReasonStatistics {
  /// True for what halts the vCPU: its handling time is mostly idle time.
  public var halts: Bool { ReasonCode(isa: isa, code: code).halts }
}

/// One column of the exit-reason table, declared once: the terminal, batch text, CSV, JSON, metrics, help and the
/// manual are read from here.
public struct ReasonColumn: Sendable, Identifiable {
  public enum Alignment: Sendable { case left, right }

  /// The name used to sort by it: `-s exits`.
  public var id: String
  /// The column's head.
  public var title: String
  /// `/s`, `%`, `ns`, or empty for a plain number or text. Machine formats use this unit.
  public var unit: String
  public var alignment: Alignment
  /// Cells on a terminal.
  public var width: Int
  /// Which columns go first when there is no room: the highest number goes first, 0 never.
  public var priority: Int
  /// One line for help and the manual.
  public var help: String
  public var jsonKey: String
  /// The OpenMetrics name, or nil where the figure can be computed from others.
  public var metricName: String?
  /// True where the greatest value is the interesting one.
  public var descendingFirst: Bool
  public var value: @Sendable (ReasonStatistics, ReasonContext) -> ColumnValue
}

/// The registry of columns for exit reasons.
public enum ReasonColumns {
  /// Every column, in the order of a wide screen.
  public static let all: [ReasonColumn] = [
    ReasonColumn(
      id: "reason", title: "REASON", unit: "", alignment: .left, width: 18, priority: 0,
      help: "basic exit reason, named as kvm_exit prints it",
      jsonKey: "name", metricName: nil, descendingFirst: false,
      value: { reason, _ in .text(reason.name) }),
    ReasonColumn(
      id: "count", title: "COUNT", unit: "", alignment: .right, width: 9, priority: 8,
      help: "exits since the start", jsonKey: "count", metricName: "vmctop_exits_total", descendingFirst: true,
      value: { reason, _ in .integer(reason.count) }),
    ReasonColumn(
      id: "exits", title: "EXITS/S", unit: "/s", alignment: .right, width: 8, priority: 1,
      help: "exits per second in the last interval", jsonKey: "exits_per_second", metricName: nil,
      descendingFirst: true,
      value: { reason, context in rate(reason.intervalCount, context.intervalNanoseconds) }),
    ReasonColumn(
      id: "average", title: "AVG/S", unit: "/s", alignment: .right, width: 8, priority: 9,
      help: "exits per second since the start", jsonKey: "exits_per_second_average", metricName: nil,
      descendingFirst: true, value: { reason, context in rate(reason.count, context.windowNanoseconds) }),
    ReasonColumn(
      id: "percent", title: "%", unit: "%", alignment: .right, width: 5, priority: 3,
      help: "share of all exits, in the last interval (since the start while the interval has none)",
      jsonKey: "percent",
      metricName: nil, descendingFirst: true,
      value: { reason, context in
        share(context.basic(reason.figures).count, context.basic(context.figures).count)
      }),
    ReasonColumn(
      id: "time", title: "TIME%", unit: "%", alignment: .right, width: 5, priority: 2,
      help: "share of all handling time, time halted left out, in the last interval (else since the start)",
      jsonKey: "time_percent", metricName: nil, descendingFirst: true,
      value: { reason, context in
        share(context.basic(reason.figures).busy, context.busy)
      }),
    ReasonColumn(
      id: "mean", title: "MEAN", unit: "ns", alignment: .right, width: 7, priority: 4,
      help: "mean handling time: kvm_exit to the thread's next kvm_entry", jsonKey: "mean_ns", metricName: nil,
      descendingFirst: true,
      value: { reason, _ in
        reason.handling.mean.map { .nanoseconds(UInt64(exactly: $0.rounded()) ?? UInt64.max) } ?? .none
      }),
    ReasonColumn(
      id: "min", title: "MIN", unit: "ns", alignment: .right, width: 7, priority: 13, help: "shortest handling time",
      jsonKey: "min_ns", metricName: nil, descendingFirst: true, value: { reason, _ in latency(reason, \.min) }),
    ReasonColumn(
      id: "p50", title: "P50", unit: "ns", alignment: .right, width: 7, priority: 10,
      help: "median handling time, at most 2 % off", jsonKey: "p50_ns", metricName: nil, descendingFirst: true,
      value: { reason, _ in latency(reason, \.p50) }),
    ReasonColumn(
      id: "p90", title: "P90", unit: "ns", alignment: .right, width: 7, priority: 11,
      help: "handling time that 90 % of the exits stay within, at most 2 % off", jsonKey: "p90_ns", metricName: nil,
      descendingFirst: true, value: { reason, _ in latency(reason, \.p90) }),
    ReasonColumn(
      id: "p99", title: "P99", unit: "ns", alignment: .right, width: 7, priority: 6,
      help: "handling time that 99 % of the exits stay within, at most 2 % off", jsonKey: "p99_ns", metricName: nil,
      descendingFirst: true, value: { reason, _ in latency(reason, \.p99) }),
    ReasonColumn(
      id: "p99.9", title: "P99.9", unit: "ns", alignment: .right, width: 7, priority: 12,
      help: "handling time that 99.9 % of the exits stay within, at most 2 % off", jsonKey: "p999_ns", metricName: nil,
      descendingFirst: true, value: { reason, _ in latency(reason, \.p999) }),
    ReasonColumn(
      id: "max", title: "MAX", unit: "ns", alignment: .right, width: 7, priority: 7, help: "longest handling time",
      jsonKey: "max_ns", metricName: nil, descendingFirst: true, value: { reason, _ in latency(reason, \.max) }),
    ReasonColumn(
      id: "total", title: "TOTAL", unit: "ns", alignment: .right, width: 7, priority: 14,
      help: "handling time since the start, summed", jsonKey: "total_ns",
      metricName: "vmctop_exit_handling_nanoseconds_total", descendingFirst: true,
      value: { reason, _ in latency(reason, \.total) }),
    ReasonColumn(
      id: "charged", title: "CHARGED TO", unit: "", alignment: .left, width: 26, priority: 5,
      help: "the control that caused most of these exits; +N where N more share the blame", jsonKey: "charged_to",
      metricName: nil, descendingFirst: false,
      value: { reason, context in
        guard let first = reason.charges.first else { return .none }
        let name = context.controlName(first.control)
        return .text(reason.charges.count > 1 ? "\(name) +\(reason.charges.count - 1)" : name)
      }),
  ]

  /// The column of that id, or nil.
  public static func column(_ id: String) -> ReasonColumn? { all.first { $0.id == id } }

  /// The rows in the order of a column; equal rows stay in the order of their count, then name.
  public static func sorted(
    _ reasons: [ReasonStatistics], by column: ReasonColumn, descending: Bool, context: ReasonContext
  ) -> [ReasonStatistics] {
    let keyed = reasons.map { (row: $0, value: column.value($0, context)) }
    return keyed.sorted { a, b in
      switch a.value.compared(to: b.value) {
      case .some(let order) where order != 0: return descending ? order > 0 : order < 0
      case .none: return b.value == .none  // What is not known goes last, in either direction.
      default: break
      }
      if a.row.count != b.row.count { return a.row.count > b.row.count }
      if a.row.name != b.row.name { return a.row.name < b.row.name }
      return (a.row.isa, a.row.code) < (b.row.isa, b.row.code)
    }.map(\.row)
  }

  private static func rate(_ count: UInt64, _ nanoseconds: UInt64) -> ColumnValue {
    nanoseconds == 0 ? .none : .rate(Double(count) * 1e9 / Double(nanoseconds))
  }

  private static func share(_ part: UInt64, _ whole: UInt64) -> ColumnValue {
    whole == 0 ? .none : .percent(100 * Double(part) / Double(whole))
  }

  private static func latency(_ reason: ReasonStatistics, _ figure: KeyPath<LatencySummary, UInt64>) -> ColumnValue {
    reason.handling.paired == 0 ? .none : .nanoseconds(reason.handling[keyPath: figure])
  }
}

extension ColumnValue {
  /// Negative, 0 or positive; nil where exactly one of the two is `.none` or they are of different kinds.
  fileprivate func compared(to other: ColumnValue) -> Int? {
    func order<T: Comparable>(_ a: T, _ b: T) -> Int { a < b ? -1 : a == b ? 0 : 1 }
    return switch (self, other) {
    case (.integer(let a), .integer(let b)): order(a, b)
    case (.rate(let a), .rate(let b)), (.percent(let a), .percent(let b)): order(a, b)
    case (.nanoseconds(let a), .nanoseconds(let b)): order(a, b)
    case (.text(let a), .text(let b)): order(a, b)
    case (.none, .none): 0
    default: nil
    }
  }
}
