import Aggregator
import Architecture
import ArgumentParser
import FoundationEssentials
import Report

/// How the catalogue's commands print.
enum CatalogueFormat: String, CaseIterable, ExpressibleByArgument {
  /// For people: a card for one answer, a table for several.
  case text
  /// One object per line. Keys are always there; what is not known is null.
  case json
}

/// A JSON value whose absent parts are null, never left out.
enum CatalogueJSON: Encodable, ExpressibleByStringLiteral, ExpressibleByDictionaryLiteral {
  case null
  case bool(Bool)
  case number(UInt64)
  case string(String)
  case array([CatalogueJSON])
  case object([String: CatalogueJSON])

  init(_ text: String?) { self = text.map(CatalogueJSON.string) ?? .null }
  init(_ flag: Bool?) { self = flag.map(CatalogueJSON.bool) ?? .null }
  init(_ number: Int?) { self = number.flatMap(UInt64.init(exactly:)).map(CatalogueJSON.number) ?? .null }
  init(stringLiteral text: String) { self = .string(text) }
  init(dictionaryLiteral elements: (String, CatalogueJSON)...) {
    self = .object(Dictionary(elements) { _, last in last })
  }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    switch self {
    case .null: try container.encodeNil()
    case .bool(let flag): try container.encode(flag)
    case .number(let number): try container.encode(number)
    case .string(let text): try container.encode(text)
    case .array(let values): try container.encode(values)
    case .object(let values): try container.encode(values)
    }
  }
}

/// One line of JSON per value.
func jsonLines(_ values: [CatalogueJSON]) throws -> String {
  let encoder = JSONEncoder()
  encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
  var text = ""
  for value in values { text += String(decoding: try encoder.encode(value), as: UTF8.self) + "\n" }
  return text
}

/// Rows under a head, columns as wide as their widest cell, the last one unpadded. Columns in `right` are right-aligned.
func alignedTable(_ head: [String], _ rows: [[String]], right: Set<Int> = []) -> String {
  let lines = [head] + rows
  let widths = head.indices.map { column in lines.map { $0[column].count }.max() ?? 0 }
  var text = ""
  for line in lines {
    var cells: [String] = []
    for (column, cell) in line.enumerated() {
      let padding = String(repeating: " ", count: max(0, widths[column] - cell.count))
      if right.contains(column) {
        cells.append(padding + cell)
      } else {
        cells.append(column == line.count - 1 ? cell : cell + padding)
      }
    }
    let joined = cells.joined(separator: "  ")
    text += String(joined.reversed().drop { $0 == " " }.reversed()) + "\n"
  }
  return text
}

/// A title and one fact per line, facts that are nil left out, long ones folded at 100 columns.
func factCard(_ title: String, _ facts: [(String, String?)]) -> String {
  let known = facts.compactMap { name, value in value.map { (name, $0) } }
  let indent = (known.map(\.0.count).max() ?? 0) + 4
  var text = title + "\n"
  for (name, value) in known {
    var line = "  " + name + String(repeating: " ", count: indent - 2 - name.count)
    var isEmpty = true
    for word in value.split(separator: " ") {
      if !isEmpty && line.count + 1 + word.count > 100 {
        text += line + "\n"
        line = String(repeating: " ", count: indent)
        isEmpty = true
      }
      line += (isEmpty ? "" : " ") + word
      isEmpty = false
    }
    text += line + "\n"
  }
  return text
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

/// `0x` and at least so many hexadecimal digits.
func hex(_ value: some BinaryInteger, digits: Int = 1) -> String {
  let text = String(value, radix: 16)
  return "0x" + String(repeating: "0", count: max(0, digits - text.count)) + text
}
