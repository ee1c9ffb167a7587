import Foundation

@testable import Architecture

/// A file of Tests/Fixtures.
func fixture(_ path: String) throws -> String {
  let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  return try String(contentsOf: folder.appendingPathComponent("Fixtures/\(path)"), encoding: .utf8)
}

/// The lines of a fixture that are neither empty nor a comment, with their numbers.
func vectorLines(_ path: String) throws -> [(number: Int, text: String)] {
  try fixture(path).components(separatedBy: "\n").enumerated()
    .map { ($0.offset + 1, $0.element.trimmingCharacters(in: .whitespaces)) }
    .filter { !$0.1.isEmpty && !$0.1.hasPrefix("#") }
}

/// All matches of a pattern, as their groups.
func matches(_ pattern: String, in text: String) throws -> [[String]] {
  let expression = try NSRegularExpression(pattern: pattern)
  let whole = text as NSString
  return expression.matches(in: text, range: NSRange(location: 0, length: whole.length)).map { match in
    (0..<match.numberOfRanges).map { index in
      let range = match.range(at: index)
      return range.location == NSNotFound ? "" : whole.substring(with: range)
    }
  }
}
