/// Numbers as people read them. Machine formats never go through here.
public enum Figures {
  /// `1,234,567`.
  public static func count(_ value: UInt64) -> String {
    let digits = String(value)
    var result = ""
    for (index, digit) in digits.enumerated() {
      if index > 0, (digits.count - index) % 3 == 0 { result.append(",") }
      result.append(digit)
    }
    return result
  }

  /// `0`, `7.5`, `950`, `41.6k`, `1.20M`: at most five characters below 10^15.
  public static func short(_ value: Double) -> String {
    guard value.isFinite, value >= 0 else { return "-" }
    if value == 0 { return "0" }
    if value < 99.95 { return fixed(value, 1) }
    if value < 999.5 { return fixed(value, 0) }
    var scaled = value
    for unit in ["k", "M", "G", "T", "P", "E"] {
      scaled /= 1000
      if scaled < 99.95 { return fixed(scaled, 1) + unit }
      if scaled < 999.5 { return fixed(scaled, 0) + unit }
    }
    return "-"
  }

  /// `0ns`, `850ns`, `4.6us`, `21.0us`, `412us`, `1.2ms`, `3.4s`.
  public static func duration(_ nanoseconds: UInt64) -> String {
    if nanoseconds < 1000 { return "\(nanoseconds)ns" }
    var scaled = Double(nanoseconds) / 1000
    for unit in ["us", "ms"] {
      if scaled < 99.95 { return fixed(scaled, 1) + unit }
      if scaled < 999.5 { return fixed(scaled, 0) + unit }
      scaled /= 1000
    }
    return fixed(scaled, scaled < 99.95 ? 1 : 0) + "s"
  }

  /// `33.2`, `100`; `<0.1` for what is there but would be rounded to nothing.
  public static func percent(_ value: Double) -> String {
    guard value.isFinite else { return "-" }
    if value > 0, value < 0.05 { return "<0.1" }
    return value >= 99.95 ? fixed(value, 0) : fixed(value, 1)
  }

  /// A share of a whole, for people; `-` of nothing.
  public static func share(_ part: UInt64, of whole: UInt64) -> String {
    whole == 0 ? "-" : percent(100 * Double(part) / Double(whole))
  }

  /// `noun` in the right number: `1 exit`, `2 exits`.
  public static func plural(_ value: UInt64, _ noun: String) -> String {
    "\(count(value)) \(noun)\(value == 1 ? "" : "s")"
  }

  static func fixed(_ value: Double, _ decimals: Int) -> String {
    let scale: Double = decimals == 0 ? 1 : 10
    let rounded = (value * scale).rounded()
    guard let whole = UInt64(exactly: rounded) else { return "-" }
    return decimals == 0 ? "\(whole)" : "\(whole / 10).\(whole % 10)"
  }
}

func padded(_ text: String, _ width: Int, right: Bool = false) -> String {
  let fill = String(repeating: " ", count: max(0, width - text.count))
  return right ? fill + text : text + fill
}

/// Lines of at most `width` characters, broken at blanks; the first begins with `head`, the others with `indent` blanks, as
/// many as `head` is long unless told otherwise. A word longer than a line stands on its own.
func wrapped(_ text: String, head: String, indent: Int? = nil, width: Int) -> [String] {
  let indent = String(repeating: " ", count: indent ?? head.count)
  var lines: [String] = []
  var line = head
  var isEmpty = true
  for word in text.split(separator: " ") {
    if !isEmpty, line.count + 1 + word.count > width {
      lines.append(line)
      line = indent
      isEmpty = true
    }
    line += isEmpty ? String(word) : " \(word)"
    isEmpty = false
  }
  lines.append(line)
  return lines
}

/// Rows under a head, columns as wide as their widest cell, the last one unpadded. Columns in `right` are right-aligned.
package func alignedTable(_ head: [String], _ rows: [[String]], right: Set<Int> = []) -> String {
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
package func factCard(_ title: String, _ facts: [(String, String?)]) -> String {
  let known = facts.compactMap { name, value in value.map { (name, $0) } }
  let indent = (known.map(\.0.count).max() ?? 0) + 4
  let lines = known.flatMap { name, value in
    wrapped(value, head: "  " + padded(name, indent - 2), indent: indent, width: 100)
  }
  return ([title] + lines).map { $0 + "\n" }.joined()
}
