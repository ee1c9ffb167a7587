/// A strict reader of OpenMetrics 1.0 text (OpenMetrics.md, "ABNF" and "Overall Structure"): whatever it does not
/// know is wrong.
struct OpenMetricsChecker {
  struct Sample {
    var name: String
    var labels: [String: String]
    var value: String
  }

  struct Family {
    var type: String
    var samples: [Sample] = []
  }

  struct Wrong: Error, CustomStringConvertible {
    var line: Int
    var description: String
  }

  private(set) var families: [String: Family] = [:]

  private static let suffixes: [String: [String]] = [
    "counter": ["_total", "_created"], "gauge": [""], "info": ["_info"],
    "histogram": ["_bucket", "_count", "_sum", "_created"],
  ]

  init(_ text: String) throws {
    var lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    guard lines.last == "", lines.dropLast().last == "# EOF" else {
      throw Wrong(line: lines.count, description: "does not end with # EOF and a line feed")
    }
    lines.removeLast(2)
    var current: String?
    var meta: Set<String> = []
    var seen: Set<String> = []
    for (index, line) in lines.enumerated() {
      func wrong(_ text: String) -> Wrong { Wrong(line: index + 1, description: "\(text): \(line)") }
      guard !line.isEmpty, !line.contains("\r") else { throw wrong("an empty line or a carriage return") }
      if line.hasPrefix("#") {
        let parts = line.split(separator: " ", maxSplits: 3, omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 4, parts[0] == "#", ["TYPE", "UNIT", "HELP"].contains(parts[1]) else {
          throw wrong("a comment")
        }
        if parts[2] != current {
          guard families[parts[2]] == nil, Self.isName(parts[2], colon: true) else {
            throw wrong("a family that comes again, or no name")
          }
          guard parts[1] == "TYPE", Self.suffixes[parts[3]] != nil else { throw wrong("no type first") }
          current = parts[2]
          meta = []
          families[parts[2]] = Family(type: parts[3])
        }
        guard meta.insert(parts[1]).inserted, families[parts[2]]?.samples.isEmpty ?? false else {
          throw wrong("twice, or behind samples")
        }
        if parts[1] == "UNIT", !parts[2].hasSuffix("_\(parts[3])") { throw wrong("the unit is no suffix of the name") }
        continue
      }
      guard let current, let family = families[current] else { throw wrong("a sample before its family") }
      let sample = try Self.sample(String(line)) ?? { throw wrong("no sample") }()
      let suffix = sample.name.hasPrefix(current) ? String(sample.name.dropFirst(current.count)) : "?"
      guard Self.suffixes[family.type]?.contains(suffix) ?? false else { throw wrong("not of family \(current)") }
      guard Double(sample.value) != nil else { throw wrong("no number") }
      if family.type == "counter", sample.value.hasPrefix("-") { throw wrong("a negative counter") }
      if ["_bucket", "_count"].contains(suffix), UInt64(sample.value) == nil { throw wrong("no whole number") }
      if suffix == "_info", sample.value != "1" { throw wrong("an info that is not 1") }
      let key = sample.name + sample.labels.sorted { $0.key < $1.key }.map { "\u{1}\($0.key)\u{2}\($0.value)" }.joined()
      guard seen.insert(key).inserted else { throw wrong("twice the same") }
      families[current]?.samples.append(sample)
    }
    for (name, family) in families where family.type == "histogram" { try Self.checkHistogram(name, family) }
  }

  private static func isName(_ text: some StringProtocol, colon: Bool) -> Bool {
    guard let first = text.utf8.first, !(0x30...0x39).contains(first) else { return false }
    return text.utf8.allSatisfy { byte in
      (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
        || byte == UInt8(ascii: "_") || colon && byte == UInt8(ascii: ":")
    }
  }

  private static func sample(_ line: String) throws -> Sample? {
    var rest = line[...]
    let name = rest.prefix { $0 != "{" && $0 != " " }
    guard isName(name, colon: true) else { return nil }
    rest = rest.dropFirst(name.count)
    var labels: [String: String] = [:]
    if rest.first == "{" {
      rest = rest.dropFirst()
      while rest.first != "}" {
        if !labels.isEmpty {
          guard rest.first == "," else { return nil }
          rest = rest.dropFirst()
        }
        let label = rest.prefix { $0 != "=" }
        guard isName(label, colon: false), rest.dropFirst(label.count).hasPrefix("=\"") else { return nil }
        rest = rest.dropFirst(label.count + 2)
        var value = ""
        while let character = rest.first, character != "\"" {
          rest = rest.dropFirst()
          guard character == "\\" else {
            value.append(character)
            continue
          }
          guard let escaped = rest.first, let meant = ["\\": "\\", "\"": "\"", "n": "\n"][escaped] else { return nil }
          value += meant
          rest = rest.dropFirst()
        }
        guard rest.first == "\"", labels.updateValue(value, forKey: String(label)) == nil else { return nil }
        rest = rest.dropFirst()
      }
      rest = rest.dropFirst()
    }
    guard rest.first == " " else { return nil }
    let value = rest.dropFirst()
    guard !value.isEmpty, !value.contains(" ") else { return nil }
    return Sample(name: String(name), labels: labels, value: String(value))
  }

  /// Buckets rise, the last is +Inf and equals the count.
  private static func checkHistogram(_ name: String, _ family: Family) throws {
    var groups: [[String: String]: [Sample]] = [:]
    for sample in family.samples {
      var labels = sample.labels
      labels["le"] = nil
      groups[labels, default: []].append(sample)
    }
    for (labels, samples) in groups {
      func wrong(_ text: String) -> Wrong { Wrong(line: 0, description: "\(name) \(labels): \(text)") }
      let buckets = samples.filter { $0.name.hasSuffix("_bucket") }
      let bounds = buckets.compactMap { $0.labels["le"] }
      guard bounds.count == buckets.count, bounds.last == "+Inf" else { throw wrong("no +Inf at the end") }
      let numbers = bounds.dropLast().compactMap(Double.init)
      guard numbers.count == bounds.count - 1, zip(numbers, numbers.dropFirst()).allSatisfy(<) else {
        throw wrong("the bounds do not rise")
      }
      let counts = buckets.compactMap { UInt64($0.value) }
      guard zip(counts, counts.dropFirst()).allSatisfy(<=) else { throw wrong("the buckets fall") }
      guard samples.filter({ $0.name.hasSuffix("_count") }).map(\.value) == [buckets.last?.value ?? ""],
        samples.count(where: { $0.name.hasSuffix("_sum") }) == 1
      else { throw wrong("count or sum") }
    }
  }
}
