import Architecture

/// What a figure is in one row, before any formatting: a terminal shows `41.6k`, JSON the number itself.
public enum FigureValue: Sendable, Hashable {
  case integer(UInt64)
  /// Per second.
  case rate(Double)
  /// 0...100.
  case percent(Double)
  case nanoseconds(UInt64)
  /// A mean, or nanoseconds per second.
  case fractionalNanoseconds(Double)
  case text(String)
  /// Not known, such as a latency of exits that no entry followed. Shown as `-`, null in JSON.
  case none
}

/// One figure of the rows of a kind, declared once: its column on the screen and in printed tables, the name that `-s` sorts
/// by, its line of help and of the manual, its key in JSON and its metric. The rows' registries are `ReasonFigures`,
/// `ControlFigures`, `ScopeFigures` (VMs and vCPUs) and `DifferenceFigures`.
public struct Figure<Row>: Sendable, Identifiable {
  /// The name used to sort by it: `-s exits`.
  public var id: String
  /// The column's head.
  public var title: String
  /// `/s`, `%`, `ns`, or empty for a plain number or text. Machine formats use this unit.
  public var unit: String
  /// One line for help and the manual.
  public var help: String
  /// Its column; nil for what only machine formats have.
  public var column: FigureColumn?
  /// Its key in a row's JSON object; nil where JSON has more than a figure of it, or nothing.
  public var json: FigureKey?
  /// Its metric; nil where the figure can be computed from others.
  public var metric: FigureMetric?
  public var value: @Sendable (Row, FigureContext) -> FigureValue

  /// Whether its column holds text, which is aligned to the left.
  public var isText: Bool { column?.isText ?? false }
  /// Whether the greatest goes first where nobody asked otherwise: not of text.
  public var descendingFirst: Bool { !isText }
}

/// How a figure is shown as a column.
public struct FigureColumn: Sendable {
  /// It holds text, not a number.
  public var isText = false
  /// Cells on a terminal.
  public var width: Int
  /// Which columns go first when there is no room: the highest number goes first, 0 never.
  public var priority: Int
}

/// Where a figure is in a row's JSON object.
public struct FigureKey: Sendable, ExpressibleByStringLiteral {
  /// The keys from the row's object on, such as `handling_ns`, `mean`.
  public var path: [String]
  /// A sum of nothing is 0 there, and not null.
  public var isSum = false

  /// - Parameter text: the keys with dots between them.
  public init(_ text: String, isSum: Bool = false) {
    path = text.split(separator: ".").map(String.init)
    self.isSum = isSum
  }

  public init(stringLiteral text: String) { self.init(text) }
}

/// A counter of OpenMetrics.
public struct FigureMetric: Sendable {
  /// The family's name, without `_total`. Figures of one family follow one another in their registry.
  public var family: String
  /// `seconds` for a time.
  public var unit: String?
  public var help: String
  /// Tells it from others of its family.
  public var label: (name: String, value: String)?
}

/// What a row's figures are set against: the totals of its scope and the time they cover.
public struct FigureContext: Sendable {
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

  /// For rows whose figures need nothing beside them.
  public init() {
    (basis, intervalNanoseconds, windowNanoseconds, figures) = (.window, 0, 0, ExitFigures())
    controlName = { _ in "" }
  }

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

extension FigureValue {
  /// So many in so long, per second.
  init(_ count: UInt64, per nanoseconds: UInt64) {
    self = nanoseconds == 0 ? .none : .rate(Double(count) * 1e9 / Double(nanoseconds))
  }

  /// A part in percent of its whole.
  init(_ part: UInt64, of whole: UInt64) {
    self = whole == 0 ? .none : .percent(100 * Double(part) / Double(whole))
  }

  /// Negative, 0 or positive; nil where exactly one of the two is `.none` or they are of different kinds.
  func compared(to other: FigureValue) -> Int? {
    func order<T: Comparable>(_ a: T, _ b: T) -> Int { a < b ? -1 : a == b ? 0 : 1 }
    return switch (self, other) {
    case (.integer(let a), .integer(let b)), (.nanoseconds(let a), .nanoseconds(let b)): order(a, b)
    case (.rate(let a), .rate(let b)), (.percent(let a), .percent(let b)),
      (.fractionalNanoseconds(let a), .fractionalNanoseconds(let b)):
      order(a, b)
    case (.text(let a), .text(let b)): order(a, b)
    case (.none, .none): 0
    default: nil
    }
  }
}

extension Collection {
  /// The figure of that id, or nil.
  public func figure<Row>(_ id: String) -> Figure<Row>? where Element == Figure<Row> { first { $0.id == id } }
}

/// The figures of whatever has exits.
extension Figure {
  static func count(
    json: FigureKey, metric: FigureMetric? = nil, width: Int = 9, priority: Int,
    of exits: @escaping @Sendable (Row) -> UInt64
  ) -> Figure {
    Figure(
      id: "count", title: "COUNT", unit: "", help: "exits since the start",
      column: FigureColumn(width: width, priority: priority), json: json, metric: metric,
      value: { row, _ in .integer(exits(row)) })
  }

  static func exits(priority: Int, of exits: @escaping @Sendable (Row) -> UInt64) -> Figure {
    Figure(
      id: "exits", title: "EXITS/S", unit: "/s", help: "exits per second in the last interval",
      column: FigureColumn(width: 8, priority: priority),
      value: { row, context in FigureValue(exits(row), per: context.intervalNanoseconds) })
  }

  static func average(
    json: FigureKey? = nil, priority: Int, of exits: @escaping @Sendable (Row) -> UInt64
  ) -> Figure {
    Figure(
      id: "average", title: "AVG/S", unit: "/s", help: "exits per second since the start",
      column: FigureColumn(width: 8, priority: priority), json: json,
      value: { row, context in FigureValue(exits(row), per: context.windowNanoseconds) })
  }
}

/// The shares of what has handling times too.
extension Figure where Row: ExitStatistics {
  static func percent(json: FigureKey? = nil, priority: Int) -> Figure {
    Figure(
      id: "percent", title: "%", unit: "%",
      help: "share of all exits, in the last interval (since the start while the interval has none)",
      column: FigureColumn(width: 5, priority: priority), json: json,
      value: { row, context in FigureValue(context.basic(row.figures).count, of: context.basic(context.figures).count) }
    )
  }

  static func time(json: FigureKey? = nil, priority: Int) -> Figure {
    Figure(
      id: "time", title: "TIME%", unit: "%",
      help: "share of all handling time, time halted left out, in the last interval (else since the start)",
      column: FigureColumn(width: 5, priority: priority), json: json,
      value: { row, context in FigureValue(context.basic(row.figures).busy, of: context.busy) })
  }
}
