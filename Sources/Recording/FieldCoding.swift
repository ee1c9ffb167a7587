import Errors

/// Why the payload of a chunk cannot be read although its checksum is right.
struct MalformedRecord: CodedError {
  var message: String
  var kind: ErrorKind { .damaged }
  init(_ message: String) { self.message = message }
}

/// Composes the payloads of the smaller chunks: numbers of seven bits a byte (LEB128), texts and sections with their
/// length before them.
struct FieldWriter {
  private(set) var bytes: [UInt8] = []

  mutating func number(_ value: some FixedWidthInteger & UnsignedInteger) {
    var rest = UInt64(value)
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(rest))
  }

  /// Small for negative numbers near 0 too: the sign is the lowest bit.
  mutating func signed(_ value: some FixedWidthInteger & SignedInteger) {
    let wide = Int64(value)
    number(UInt64(bitPattern: wide << 1 ^ wide >> 63))
  }

  mutating func count(_ value: Int) { number(UInt64(value.magnitude)) }

  /// 0 for nil, else one more than the number.
  mutating func optional(_ value: UInt32?) { number(value.map { UInt64($0) + 1 } ?? 0) }

  mutating func flag(_ value: Bool) { bytes.append(value ? 1 : 0) }

  mutating func block(_ block: [UInt8]) {
    count(block.count)
    bytes.append(contentsOf: block)
  }

  mutating func append(raw other: [UInt8]) { bytes.append(contentsOf: other) }

  mutating func text(_ text: String) {
    count(text.utf8.count)
    bytes.append(contentsOf: text.utf8)
  }

  mutating func optional(_ value: String?) {
    flag(value != nil)
    if let value { text(value) }
  }

  /// A part that may grow: a reader takes what it knows of it and passes over the rest.
  mutating func section(_ body: (inout FieldWriter) -> Void) {
    var inner = FieldWriter()
    body(&inner)
    block(inner.bytes)
  }
}

/// Reads what `FieldWriter` composed, and throws instead of passing the end.
struct FieldReader {
  private let bytes: [UInt8]
  private var position: Int
  private let end: Int

  init(_ bytes: [UInt8]) {
    self.bytes = bytes
    position = 0
    end = bytes.count
  }

  private init(_ bytes: [UInt8], _ range: Range<Int>) {
    self.bytes = bytes
    position = range.lowerBound
    end = range.upperBound
  }

  var isAtEnd: Bool { position >= end }
  var remaining: Int { end - position }

  mutating func byte() throws(MalformedRecord) -> UInt8 {
    guard position < end else { throw MalformedRecord("it ends too early") }
    defer { position += 1 }
    return bytes[position]
  }

  mutating func number() throws(MalformedRecord) -> UInt64 {
    var value: UInt64 = 0
    for shift in stride(from: UInt64(0), to: 70, by: 7) {
      let next = try byte()
      if shift == 63, next > 1 { throw MalformedRecord("a number exceeds 64 bits") }
      value |= UInt64(next & 0x7f) << shift
      if next & 0x80 == 0 { return value }
    }
    throw MalformedRecord("a number exceeds 64 bits")
  }

  mutating func number<T: FixedWidthInteger>(as type: T.Type) throws(MalformedRecord) -> T {
    guard let value = T(exactly: try number()) else { throw MalformedRecord("a number exceeds its range") }
    return value
  }

  mutating func signed<T: FixedWidthInteger & SignedInteger>(as type: T.Type) throws(MalformedRecord) -> T {
    let raw = try number()
    let value = Int64(bitPattern: raw >> 1) ^ -Int64(bitPattern: raw & 1)
    guard let exact = T(exactly: value) else { throw MalformedRecord("a number exceeds its range") }
    return exact
  }

  /// A number of things that follow, of at least so many bytes each: no more than there is room for, so that it can be
  /// taken as a reason to allocate.
  mutating func count(of size: Int = 1) throws(MalformedRecord) -> Int {
    guard let value = Int(exactly: try number()), value <= remaining / max(1, size) else {
      throw MalformedRecord("a number of items exceeds the room for them")
    }
    return value
  }

  mutating func optionalNumber() throws(MalformedRecord) -> UInt32? {
    let value = try number()
    if value == 0 { return nil }
    guard let exact = UInt32(exactly: value - 1) else { throw MalformedRecord("a number exceeds its range") }
    return exact
  }

  mutating func flag() throws(MalformedRecord) -> Bool {
    switch try byte() {
    case 0: false
    case 1: true
    default: throw MalformedRecord("a flag is neither 0 nor 1")
    }
  }

  private mutating func range() throws(MalformedRecord) -> Range<Int> {
    let length = try count()
    defer { position += length }
    return position..<position + length
  }

  mutating func block() throws(MalformedRecord) -> [UInt8] { Array(bytes[try range()]) }

  /// Bytes that are not UTF-8 are repaired.
  mutating func text() throws(MalformedRecord) -> String { String(decoding: bytes[try range()], as: UTF8.self) }

  mutating func optionalText() throws(MalformedRecord) -> String? { try flag() ? try text() : nil }

  mutating func section() throws(MalformedRecord) -> FieldReader { FieldReader(bytes, try range()) }
}
