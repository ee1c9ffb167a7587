import Aggregator
import FoundationEssentials

/// A value of a JSON document whose keys are known when it is written only: those that figures have in their registries.
enum JSONValue: Encodable {
  case null
  case integer(UInt64)
  case number(Double)
  case text(String)
  case object([String: JSONValue])
  /// A part whose keys are those of its type.
  case part(any Encodable)

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

  private struct Key: CodingKey {
    var stringValue: String
    var intValue: Int? { nil }
    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }

  func encode(to encoder: any Encoder) throws {
    if case .object(let members) = self {
      var container = encoder.container(keyedBy: Key.self)
      for (key, value) in members { try container.encode(value, forKey: Key(stringValue: key)) }
      return
    }
    var container = encoder.singleValueContainer()
    switch self {
    case .null, .object: try container.encodeNil()
    case .integer(let value): try container.encode(value)
    case .number(let value): try container.encode(value)
    case .text(let value): try container.encode(value)
    case .part(let value): try container.encode(value)
    }
  }
}
