import Aggregator
import Architecture
import ArgumentParser
import Report

/// How the catalogue's commands print.
enum CatalogueFormat: String, CaseIterable, ExpressibleByArgument {
  /// For people: a card for one answer, a table for several.
  case text
  /// One object per line. Keys are always there; what is not known is null.
  case json
}

/// The rows whose name the pattern, a regular expression, matches anywhere, case ignored; where it matches none, the rows one of
/// whose other names it matches.
func matching<Row>(
  _ rows: [Row], _ pattern: String, what: String, name: (Row) -> String, others: (Row) -> [String?]
) throws -> [Row] {
  guard let regex = Pattern(pattern) else {
    throw Failure(.usage, "\(quoted(pattern)) is neither a known \(what) nor a regular expression")
  }
  let found = rows.filter { regex.matches(name($0)) }
  if !found.isEmpty { return found }
  let wider = rows.filter { row in others(row).contains { $0.map(regex.matches) ?? false } }
  if !wider.isEmpty { return wider }
  let hint = nearest(to: pattern.uppercased(), in: rows.map { name($0).uppercased() })
  throw Failure(.usage, "no \(what) matches \(quoted(pattern))", hint: hint.map { "did you mean \($0)" })
}

/// Text from the command line, fit for a terminal: in quotes, control characters replaced, cut to 64 characters.
func quoted(_ text: String) -> String {
  let safe = text.unicodeScalars.prefix(64).map { scalar -> String in
    scalar.properties.generalCategory == .control || scalar.properties.generalCategory == .format ? "?" : String(scalar)
  }
  return "'" + safe.joined() + (text.unicodeScalars.count > 64 ? "...'" : "'")
}
