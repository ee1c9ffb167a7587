import Aggregator
import Architecture

/// The main table as plain text: the columns of the registry, each as wide as its contents, the last one ragged.
public struct ReasonTable: Sendable {
  public var columns: [ReasonColumn]

  public init(columns: [ReasonColumn]) { self.columns = columns }

  /// The head, then one line per row.
  public func lines(_ rows: [ReasonStatistics], context: ReasonContext) -> [String] {
    let cells = rows.map { row in columns.map { cell($0.value(row, context)) } }
    let widths = columns.indices.map { index in
      cells.reduce(columns[index].title.count) { max($0, $1[index].count) }
    }
    return ([columns.map(\.title)] + cells).map { line in
      var text = ""
      for (index, cell) in line.enumerated() {
        let isRight = columns[index].alignment == .right
        let isLast = index == line.count - 1
        text += isLast && !isRight ? cell : padded(cell, widths[index], right: isRight)
        if !isLast { text += columns[index].alignment == .right && columns[index + 1].alignment == .left ? "  " : " " }
      }
      return text
    }
  }

  func cell(_ value: ColumnValue) -> String {
    switch value {
    case .integer(let value): Figures.count(value)
    case .rate(let value): Figures.short(value)
    case .percent(let value): Figures.percent(value)
    case .nanoseconds(let value): Figures.duration(value)
    case .text(let value): printable(value)
    case .none: "-"
    }
  }
}

/// Rows by a regular expression on their reason's name, as `-f` and `/` take it: anywhere in the name, in either case.
public struct ReasonFilter: Sendable {
  public let pattern: String

  /// - Throws: `Failure` with status 2 where the pattern is no regular expression.
  public init(_ pattern: String) throws(Failure) {
    self.pattern = pattern
    _ = try Self.compiled(pattern)
  }

  private static func compiled(_ pattern: String) throws(Failure) -> Regex<AnyRegexOutput> {
    do {
      return try Regex(pattern).ignoresCase()
    } catch {
      throw Failure(.usage, "-f: '\(printable(pattern))' is not a regular expression")
    }
  }

  /// The rows whose name the pattern finds.
  public func apply(_ rows: [ReasonStatistics]) -> [ReasonStatistics] {
    guard let regex = try? Self.compiled(pattern) else { return rows }
    return rows.filter { $0.name.contains(regex) }
  }
}
