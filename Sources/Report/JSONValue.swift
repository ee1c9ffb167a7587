import Aggregator
import FoundationEssentials

/// A value of a JSON document whose keys are known when it is written only, such as those that figures have in their registries. What
/// is not known is null, never left out.
package enum JSONValue: Encodable, ExpressibleByStringLiteral, ExpressibleByDictionaryLiteral {
  case null
  case bool(Bool)
  case integer(UInt64)
  case number(Double)
  case text(String)
  case array([JSONValue])
  case object([String: JSONValue])
  /// A part whose keys are those of its type.
  case part(any Encodable)

  package init(_ text: String?) { self = text.map(JSONValue.text) ?? .null }
  package init(_ flag: Bool?) { self = flag.map(JSONValue.bool) ?? .null }
  package init(_ number: Int?) { self = number.flatMap(UInt64.init(exactly:)).map(JSONValue.integer) ?? .null }
  package init(stringLiteral text: String) { self = .text(text) }
  package init(dictionaryLiteral elements: (String, JSONValue)...) {
    self = .object(Dictionary(elements) { _, last in last })
  }

  init(_ value: FigureValue, isSum: Bool = false) {
    self =
      switch value {
      case .integer(let value), .nanoseconds(let value): .integer(value)
      case .rate(let value), .percent(let value), .fractionalNanoseconds(let value): .number(rounded(value))
      case .text(let value): .text(value)
      case .none: isSum ? .integer(0) : .null
      }
  }

  /// A row: its figures, and what else there is of it.
  init<Row>(
    _ row: Row, _ figures: [Figure<Row>], _ context: FigureContext = FigureContext(), _ rest: [String: JSONValue] = [:]
  ) {
    var members = rest
    for figure in figures {
      guard let key = figure.json else { continue }
      Self.put(JSONValue(figure.value(row, context), isSum: key.isSum), at: key.path[...], in: &members)
    }
    self = .object(members)
  }

  private static func put(_ value: JSONValue, at path: ArraySlice<String>, in members: inout [String: JSONValue]) {
    guard let key = path.first else { return }
    guard path.count > 1 else {
      members[key] = value
      return
    }
    var inner: [String: JSONValue] = [:]
    if case .object(let known)? = members[key] { inner = known }
    put(value, at: path.dropFirst(), in: &inner)
    members[key] = .object(inner)
  }

  /// The value, or null.
  init(optional value: (some Encodable)?) { self = value.map { .part($0) } ?? .null }

  private struct MemberName: CodingKey {
    var stringValue: String
    var intValue: Int? { nil }
    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }

  package func encode(to encoder: any Encoder) throws {
    if case .object(let members) = self {
      var container = encoder.container(keyedBy: MemberName.self)
      for (key, value) in members { try container.encode(value, forKey: MemberName(stringValue: key)) }
      return
    }
    var container = encoder.singleValueContainer()
    switch self {
    case .null, .object: try container.encodeNil()
    case .bool(let value): try container.encode(value)
    case .array(let values): try container.encode(values)
    case .integer(let value): try container.encode(value)
    case .number(let value): try container.encode(value)
    case .text(let value): try container.encode(value)
    case .part(let value): try container.encode(value)
    }
  }
}

/// One line of JSON per value.
package func jsonLines(_ values: [JSONValue]) throws -> String {
  let encoder = JSONEncoder()
  encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
  var text = ""
  for value in values { text += String(decoding: try encoder.encode(value), as: UTF8.self) + "\n" }
  return text
}
