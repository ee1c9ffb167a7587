import Wording

/// Text on its way out, in portions: an export never holds more of it.
struct ExportSink {
  private var bytes: [UInt8] = []
  private let send: ([UInt8]) throws -> Void
  private static let portion = 1 << 16

  init(_ send: @escaping ([UInt8]) throws -> Void) {
    self.send = send
    bytes.reserveCapacity(Self.portion + 4096)
  }

  mutating func write(_ text: String) throws {
    bytes.append(contentsOf: text.utf8)
    if bytes.count >= Self.portion { try flush() }
  }

  mutating func flush() throws {
    guard !bytes.isEmpty else { return }
    try send(bytes)
    bytes.removeAll(keepingCapacity: true)
  }
}

/// Text as a JSON string (RFC 8259), in quotes. Control and format characters are escaped, so that no terminal obeys them.
func jsonString(_ text: String) -> String {
  var result = "\""
  for scalar in text.unicodeScalars {
    switch scalar {
    case "\"": result += "\\\""
    case "\\": result += "\\\\"
    case "\n": result += "\\n"
    case _ where isUnprintable(scalar):
      for unit in String(scalar).utf16 {
        let digits = String(unit, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      }
    default: result.unicodeScalars.append(scalar)
    }
  }
  return result + "\""
}

/// Nanoseconds in another unit with all digits: `1234567` in thousands is `1234.567`.
func decimal(_ nanoseconds: UInt64, digits: Int) -> String {
  var unit: UInt64 = 1
  for _ in 0..<digits { unit *= 10 }
  let fraction = String(nanoseconds % unit)
  return "\(nanoseconds / unit).\(String(repeating: "0", count: digits - fraction.count))\(fraction)"
}
