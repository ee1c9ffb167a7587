import Aggregator
import Architecture
import Wording

/// A table as plain text: columns of a registry, each as wide as its contents, the last one ragged.
struct FigureTable<Row> {
  var columns: [Figure<Row>]

  /// The head, then one line per row.
  func lines(_ rows: [Row], context: FigureContext) -> [String] {
    let cells = rows.map { row in columns.map { figureText($0.value(row, context)) } }
    let widths = columns.indices.map { index in
      cells.reduce(columns[index].title.count) { max($0, $1[index].count) }
    }
    return ([columns.map(\.title)] + cells).map { line in
      var text = ""
      for (index, cell) in line.enumerated() {
        let isRight = !columns[index].isText
        let isLast = index == line.count - 1
        text += isLast && !isRight ? cell : padded(cell, widths[index], right: isRight)
        if !isLast { text += !columns[index].isText && columns[index + 1].isText ? "  " : " " }
      }
      return text
    }
  }
}

/// A figure for people.
func figureText(_ value: FigureValue) -> String {
  switch value {
  case .integer(let value): Figures.count(value)
  case .rate(let value): Figures.short(value)
  case .percent(let value): Figures.percent(value)
  case .nanoseconds(let value): Figures.duration(value)
  case .fractionalNanoseconds(let value): Figures.duration(UInt64(exactly: value.rounded()) ?? .max)
  case .text(let value): printable(value)
  case .none: "-"
  }
}

/// Rows by a regular expression on their reason's name, as `-f` and `/` take it: anywhere in the name, in either case.
public struct ReasonFilter: Sendable {
  private let pattern: Pattern

  /// - Throws: `Failure` with status 2 where the pattern is no regular expression.
  public init(_ text: String) throws(Failure) {
    guard let pattern = Pattern(text) else {
      throw Failure(.usage, "-f: '\(printable(text))' is not a regular expression")
    }
    self.pattern = pattern
  }

  /// The rows whose name the pattern finds.
  public func apply(_ rows: [ReasonStatistics]) -> [ReasonStatistics] { rows.filter { pattern.matches($0.name) } }
}
