// Grammar: kernel/trace/trace_events.c, f_show(), and ring_buffer.c, ring_buffer_print_page_header().

extension EventFormat {
  /// The furthest a record can reach: a sub-buffer holds less, so an offset beyond it is nonsense.
  static let largestRecord = 64 * 1024
  /// No kernel event comes near; a hostile file would otherwise make us keep millions.
  static let mostFields = 1024

  /// Reads the text of an `events/SYSTEM/NAME/format` file.
  ///
  /// - Parameters:
  ///   - text: The file's content. Lines of a kind not known here are skipped, so that newer kernels can add some.
  ///   - system: The event's system, such as `kvm`; the text itself does not say.
  /// - Throws: If name or ID is missing, or a field's offset and size cannot lie in a record.
  public static func parse(_ text: String, system: String) throws(TraceFormatError) -> EventFormat {
    try parse(bytes: Array(text.utf8), system: system)
  }

  /// Reads the text of an `events/SYSTEM/NAME/format` file from its bytes, which need not be valid UTF-8.
  public static func parse(bytes: [UInt8], system: String) throws(TraceFormatError) -> EventFormat {
    var name: String?
    var id: UInt16?
    var fields: [EventField] = []
    var printFormat = ""
    var lineNumber = 0
    for line in bytes.split(separator: UInt8.newline, omittingEmptySubsequences: false) {
      lineNumber += 1
      let line = line.trimmed
      if line.starts(with: "name:".utf8) {
        name = name ?? String(decoding: line.dropFirst(5).trimmed, as: UTF8.self)
      } else if line.starts(with: "ID:".utf8) {
        guard let number = decimal(line.dropFirst(3).trimmed), let value = UInt16(exactly: number) else {
          throw TraceFormatError("the event's ID is not a number from 0 to 65535", line: lineNumber)
        }
        id = id ?? value
      } else if line.starts(with: "field:".utf8) {
        guard fields.count < mostFields else {
          throw TraceFormatError("more than \(mostFields) fields in one event", line: lineNumber)
        }
        fields.append(try EventField.parse(line: line, lineNumber: lineNumber))
      } else if line.starts(with: "print fmt:".utf8) {
        printFormat = String(decoding: line.dropFirst(10).trimmed, as: UTF8.self)
      }
    }
    guard let name, !name.isEmpty else { throw TraceFormatError("no line 'name:' in the event format") }
    guard let id else { throw TraceFormatError("no line 'ID:' in the format of event \(printable(name))") }
    return EventFormat(system: system, name: name, id: id, fields: fields, printFormat: printFormat)
  }
}

extension PageLayout {
  /// The smallest and the largest sub-buffer the kernel makes: one page, and 128 pages of 4 KiB.
  public static let subBufferSizes = 4096...(512 * 1024)

  /// Reads the text of `events/header_page`.
  ///
  /// - Throws: If a field is missing, or what it says is no layout of a sub-buffer.
  public static func parse(headerPage text: String) throws(TraceFormatError) -> PageLayout {
    try parse(headerPageBytes: Array(text.utf8))
  }

  /// Reads the text of `events/header_page` from its bytes.
  public static func parse(headerPageBytes bytes: [UInt8]) throws(TraceFormatError) -> PageLayout {
    var timestamp: EventField?
    var commit: EventField?
    var data: EventField?
    var lineNumber = 0
    for line in bytes.split(separator: UInt8.newline, omittingEmptySubsequences: false) {
      lineNumber += 1
      let line = line.trimmed
      guard line.starts(with: "field:".utf8) else { continue }
      let field = try EventField.parse(line: line, lineNumber: lineNumber, limit: subBufferSizes.upperBound)
      switch field.name {
      case "timestamp": timestamp = field
      case "commit": commit = field
      case "data": data = field
      default: break
      }
    }
    guard let timestamp, let commit, let data else {
      throw TraceFormatError("header_page lacks one of the fields timestamp, commit, data")
    }
    guard timestamp.size == 8 else {
      throw TraceFormatError("header_page gives the timestamp \(timestamp.size) bytes, expected 8")
    }
    guard commit.size == 4 || commit.size == 8 else {
      throw TraceFormatError("header_page gives the commit word \(commit.size) bytes, expected 4 or 8")
    }
    guard timestamp.offset + timestamp.size <= data.offset, commit.offset + commit.size <= data.offset,
      timestamp.offset + timestamp.size <= commit.offset || commit.offset + commit.size <= timestamp.offset
    else { throw TraceFormatError("header_page lets its fields overlap") }
    let size = data.offset + data.size
    guard isSubBufferSize(size) else {
      throw TraceFormatError(
        "header_page makes a sub-buffer of \(size) bytes, expected a power of two from 4096 to 524288")
    }
    return PageLayout(
      timestampOffset: timestamp.offset, commitOffset: commit.offset, commitSize: commit.size, dataOffset: data.offset,
      subBufferSize: size)
  }

  /// Whether the kernel can have made sub-buffers of so many bytes.
  public static func isSubBufferSize(_ size: Int) -> Bool {
    subBufferSizes.contains(size) && size & (size - 1) == 0
  }
}

extension EventField {
  /// Reads one line `field:DECLARATION; offset:N; size:N; signed:N;`, white space at both ends already gone.
  static func parse(
    line: ArraySlice<UInt8>, lineNumber: Int, limit: Int = EventFormat.largestRecord
  ) throws(TraceFormatError) -> EventField {
    var parts = line.split(separator: UInt8(ascii: ";")).makeIterator()
    let declaration = (parts.next() ?? []).dropFirst("field:".utf8.count).trimmed
    var offset: Int?
    var size: Int?
    var signed: Bool?
    while let part = parts.next()?.trimmed {
      if part.starts(with: "offset:".utf8) {
        offset = decimal(part.dropFirst(7).trimmed)
      } else if part.starts(with: "size:".utf8) {
        size = decimal(part.dropFirst(5).trimmed)
      } else if part.starts(with: "signed:".utf8) {
        signed = decimal(part.dropFirst(7).trimmed).map { $0 != 0 }
      }
    }
    let (type, name, dimension) = split(declaration: declaration)
    guard !name.isEmpty else { throw TraceFormatError("a field without a name", line: lineNumber) }
    // Both are below 2^53 by `decimal`, so the sum cannot overflow.
    guard let offset, let size, offset >= 0, size >= 0, offset + size <= limit else {
      throw TraceFormatError(
        "field \(printable(name)) has no offset and size within \(limit) bytes", line: lineNumber)
    }
    var count: Int?
    if let dimension {
      // The dimension may be a name, such as TASK_COMM_LEN; then the element's size tells.
      count = dimension ?? elementSize(type).map { size / $0 }
      if let known = count, known <= 0 || known > size { count = nil }
    }
    return EventField(
      name: name, type: type, offset: offset, size: size, isSigned: signed ?? isSignedType(type), arrayCount: count)
  }

  /// Whether the record holds only where the data lies: u32, low 16 bits offset from the record's start, high 16 length.
  public var isDataLocation: Bool { type.hasPrefix("__data_loc") }
  /// As `isDataLocation`, but with an offset that counts from the end of this field.
  public var isRelativeLocation: Bool { type.hasPrefix("__rel_loc") }

  /// Splits `unsigned char buf[16]` into type, name and dimension. The dimension is nil where there is none, and
  /// `.some(nil)` where it is not a number.
  private static func split(declaration: ArraySlice<UInt8>) -> (type: String, name: String, dimension: Int??) {
    var rest = declaration
    var dimension: Int?? = .none
    while rest.last == UInt8(ascii: "]"), let open = rest.lastIndex(of: UInt8(ascii: "[")) {
      let inside = decimal(rest[(open + 1)...].dropLast().trimmed)
      switch (dimension, inside) {
      case (.none, _): dimension = .some(inside)
      case (.some(.some(let outer)), .some(let inner)):
        let (product, overflow) = outer.multipliedReportingOverflow(by: inner)
        dimension = .some(overflow ? nil : product)
      default: dimension = .some(nil)
      }
      rest = rest[..<open].trimmed
    }
    let start = rest.lastIndex { !$0.isIdentifier }.map { $0 + 1 } ?? rest.startIndex
    let name = String(decoding: rest[start...], as: UTF8.self)
    return (String(decoding: rest[..<start].trimmed, as: UTF8.self), name, dimension)
  }

  /// The size of a type whose size is the same on every architecture.
  private static func elementSize(_ type: String) -> Int? {
    switch type.split(separator: " ").last {
    case "char", "u8", "s8", "__u8", "bool": 1
    case "short", "u16", "s16", "__u16": 2
    case "int", "u32", "s32", "__u32": 4
    case "u64", "s64", "__u64": 8
    default: nil
    }
  }

  /// The guess for kernels before 2.6.36, which do not write `signed:`.
  private static func isSignedType(_ type: String) -> Bool {
    if type.contains("unsigned") || type.contains("*") { return false }
    switch type.split(separator: " ").last {
    case "char", "short", "int", "long", "s8", "s16", "s32", "s64", "pid_t": return true
    default: return false
    }
  }
}

extension UInt8 {
  static let newline = UInt8(ascii: "\n")
}

extension UInt8 {
  var isDigit: Bool { self >= 0x30 && self <= 0x39 }
  var isIdentifier: Bool {
    isDigit || self >= 0x61 && self <= 0x7a || self >= 0x41 && self <= 0x5a || self == UInt8(ascii: "_")
  }
  var isBlank: Bool { self == 0x20 || self >= 0x09 && self <= 0x0d }
}

extension ArraySlice<UInt8> {
  /// Without white space at both ends.
  var trimmed: ArraySlice<UInt8> {
    var slice = self
    while let first = slice.first, first.isBlank { slice = slice.dropFirst() }
    while let last = slice.last, last.isBlank { slice = slice.dropLast() }
    return slice
  }
}

/// A decimal number with an optional minus, nil for anything else and for more than 15 digits.
func decimal(_ digits: ArraySlice<UInt8>) -> Int? {
  let negative = digits.first == UInt8(ascii: "-")
  let digits = negative ? digits.dropFirst() : digits
  guard !digits.isEmpty, digits.count <= 15, digits.allSatisfy(\.isDigit) else { return nil }
  let value = digits.reduce(0) { $0 * 10 + Int($1 - 0x30) }
  return negative ? -value : value
}
