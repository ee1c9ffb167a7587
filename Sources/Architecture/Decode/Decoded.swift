/// A raw value taken apart. The same for every kind, so that one routine prints them all.
public struct Decoded: Sendable, Hashable {
  /// One field of the value.
  public struct Part: Sendable, Hashable {
    /// `11:8`, or `3` for a single bit.
    public var bits: String
    /// The manual's name of the field; `reserved` for what must not be so, `undefined` for what has no meaning.
    public var name: String
    /// The field's own value, shifted down.
    public var value: UInt64
    /// What that value means.
    public var meaning: String

    /// One field; see the properties.
    public init(bits: String, name: String, value: UInt64, meaning: String) {
      self.bits = bits
      self.name = name
      self.value = value
      self.meaning = meaning
    }
  }

  /// What the value was taken as, such as `exit-qualification`.
  public var kind: String
  /// The value as it was given.
  public var value: UInt64
  /// How wide the value is: 8, 16, 32 or 64 bits.
  public var width: Int
  /// All of it in one line.
  public var summary: String
  /// Lowest bits first. Flags that are 0 are left out unless the 0 has a meaning of its own. Reserved bits that are set are
  /// parts named `reserved`.
  public var parts: [Part]

  /// True where a bit is set that must be 0, or clear that must be 1.
  public var hasReservedBits: Bool { parts.contains { $0.name == "reserved" } }

  /// The value in hexadecimal, as wide as the kind is.
  public var hexadecimalValue: String { hexadecimal(value, digits: width / 4) }
}

/// How the bits of one kind of value are laid out.
struct BitLayout: Sendable {
  /// What a field says.
  enum Meaning: Sendable {
    /// A flag that is worth a line only where it is 1.
    case flag(String)
    /// A bit with a meaning either way: of 0, of 1.
    case either(String, String)
    /// One text per value; beyond them: reserved.
    case choice([String])
    case decimal
    case hexadecimal
    /// Computed.
    case text(@Sendable (UInt64) -> String)
    /// Must be 1; a 0 is said to be reserved.
    case one
  }

  struct Field: Sendable {
    var low: Int
    var high: Int
    var name: String
    var meaning: Meaning

    init(_ bit: Int, _ name: String, _ meaning: Meaning) { self.init(bit, bit, name, meaning) }

    init(_ high: Int, _ low: Int, _ name: String, _ meaning: Meaning) {
      self.low = low
      self.high = high
      self.name = name
      self.meaning = meaning
    }

    var mask: UInt64 { ones(high - low + 1) << UInt64(low) }
    var bits: String { low == high ? "\(low)" : "\(high):\(low)" }
    func value(in whole: UInt64) -> UInt64 { whole >> UInt64(low) & ones(high - low + 1) }
  }

  var width: Int
  var fields: [Field]

  init(_ width: Int, _ fields: [Field]) {
    self.width = width
    self.fields = fields
  }

  /// The parts of a value: fields in order, then what is set beyond them.
  func parts(of whole: UInt64) -> [Decoded.Part] {
    var parts: [Decoded.Part] = []
    var covered: UInt64 = 0
    for field in fields {
      covered |= field.mask
      let value = field.value(in: whole)
      let meaning: String
      var name = field.name
      switch field.meaning {
      case .flag(let text):
        if value == 0 { continue }
        meaning = text
      case .either(let zero, let one): meaning = value == 0 ? zero : one
      case .choice(let texts):
        meaning = value < UInt64(texts.count) ? texts[Int(truncatingIfNeeded: value)] : "reserved"
      case .decimal: meaning = "\(value)"
      case .hexadecimal: meaning = Architecture.hexadecimal(value)
      case .text(let make): meaning = make(value)
      case .one:
        if value == ones(field.high - field.low + 1) { continue }
        name = "reserved"
        meaning = "must be 1"
      }
      parts.append(Decoded.Part(bits: field.bits, name: name, value: value, meaning: meaning))
    }
    return parts + reservedParts(whole & ~covered, width: width)
  }

  /// The value taken apart; the summary is made from the parts that are flags or choices unless another is given.
  func decode(_ kind: String, _ whole: UInt64, summary: ((UInt64) -> String)? = nil) -> Decoded {
    let parts = parts(of: whole)
    return Decoded(
      kind: kind, value: whole, width: width, summary: (summary?(whole) ?? flagNames(parts)) + reservedNote(parts),
      parts: parts)
  }

  /// The names of the flags that are set, and of the other fields with their meaning.
  private func flagNames(_ parts: [Decoded.Part]) -> String {
    var texts: [String] = []
    for part in parts where part.name != "reserved" {
      let field = fields.first { $0.name == part.name && $0.bits == part.bits }
      switch field?.meaning {
      case .flag: texts.append(part.name)
      case .either: if part.value != 0 { texts.append(part.name) }
      default: texts.append("\(part.name) \(part.meaning)")
      }
    }
    return texts.isEmpty ? "none set" : texts.joined(separator: ", ")
  }
}

/// The lowest `count` bits set; `count` is 1...64.
func ones(_ count: Int) -> UInt64 { count >= 64 ? .max : (1 << UInt64(count)) - 1 }

/// One part per run of set bits that no field covers.
func reservedParts(_ bits: UInt64, width: Int) -> [Decoded.Part] {
  var parts: [Decoded.Part] = []
  var bit = 0
  while bit < 64 {
    guard bits >> UInt64(bit) & 1 != 0 else {
      bit += 1
      continue
    }
    var end = bit
    while end < 63, bits >> UInt64(end + 1) & 1 != 0 { end += 1 }
    let count = end - bit + 1
    let meaning = bit >= width ? "beyond the \(width) bits of the value" : "set, must be 0"
    parts.append(
      Decoded.Part(
        bits: count == 1 ? "\(bit)" : "\(end):\(bit)", name: "reserved", value: bits >> UInt64(bit) & ones(count),
        meaning: meaning))
    bit = end + 1
  }
  return parts
}

/// `; reserved: bits 12, 31:28`, or nothing.
func reservedNote(_ parts: [Decoded.Part]) -> String {
  let bits = parts.filter { $0.name == "reserved" }.map(\.bits)
  if bits.isEmpty { return "" }
  let isOne = bits.count == 1 && !bits[0].contains(":")
  return "; reserved: bit\(isOne ? "" : "s") \(bits.joined(separator: ", "))"
}

/// General-purpose registers by their number in qualifications and instruction information.
let generalRegisters: [String] = [
  "RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15",
]

func generalRegister(_ number: UInt64) -> String { generalRegisters[Int(truncatingIfNeeded: number & 15)] }
