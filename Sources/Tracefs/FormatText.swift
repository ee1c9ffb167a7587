import TraceFormat

/// The texts with which tracefs describes its records.
enum FormatText {
  /// Reads `events/header_page`: lines such as `field: local_t commit;  offset:8;  size:8;  signed:1;`.
  static func pageLayout(ofHeaderPage text: String) -> PageLayout? {
    var layout = PageLayout()
    var hasCommit = false
    var dataSize: Int?
    for line in text.split(separator: "\n") {
      var name: Substring?
      var offset: Int?
      var size: Int?
      for part in line.split(separator: ";") {
        guard let colon = part.firstIndex(of: ":") else { continue }
        let key = part[..<colon].drop { $0.isWhitespace }
        let value = part[part.index(after: colon)...]
        switch key {
        case "field": name = value.split(separator: " ").last
        case "offset": offset = Int(value)
        case "size": size = Int(value)
        default: break
        }
      }
      guard let name, let offset, let size, offset >= 0, size > 0, offset <= 64, size <= 1 << 20 else { continue }
      switch name {
      case "timestamp": layout.timestampOffset = offset
      case "commit":
        layout.commitOffset = offset
        layout.commitSize = size
        hasCommit = true
      case "data":
        layout.dataOffset = offset
        dataSize = size
      default: break
      }
    }
    guard hasCommit, let dataSize, layout.commitSize == 4 || layout.commitSize == 8 else { return nil }
    layout.subBufferSize = layout.dataOffset + dataSize
    guard (4096...(1 << 20)).contains(layout.subBufferSize) else { return nil }
    return layout
  }

  /// Reads `events/SYSTEM/NAME/format`.
  static func eventFormat(_ text: String, system: String) -> EventFormat? {
    var name: String?
    var id: UInt16?
    var fields: [EventField] = []
    var printFormat = ""
    for line in text.split(separator: "\n") {
      let line = line.drop { $0 == " " || $0 == "\t" }
      if line.hasPrefix("name: ") { name = String(line.dropFirst(6)) }
      if line.hasPrefix("ID: ") { id = UInt16(line.dropFirst(4)) }
      if line.hasPrefix("print fmt: ") { printFormat = String(line.dropFirst(11)) }
      if line.hasPrefix("field:") {
        guard let field = eventField(line) else { return nil }
        fields.append(field)
      }
    }
    guard let name, let id, fields.contains(where: { $0.name == "common_type" }) else { return nil }
    return EventFormat(system: system, name: name, id: id, fields: fields, printFormat: printFormat)
  }

  private static func eventField(_ line: Substring) -> EventField? {
    let parts = line.split(separator: ";")
    guard parts.count >= 3 else { return nil }
    func number(_ key: String) -> Int? {
      for part in parts {
        let part = part.drop { $0.isWhitespace }
        if part.hasPrefix(key) { return Int(part.dropFirst(key.count)) }
      }
      return nil
    }
    var declaration = parts[0].dropFirst("field:".count)
    var count: Int?
    if declaration.hasSuffix("]"), let open = declaration.lastIndex(of: "[") {
      count = Int(declaration[declaration.index(after: open)...].dropLast())
      declaration = declaration[..<open]
    }
    guard let blank = declaration.lastIndex(where: { $0 == " " || $0 == "*" }) else { return nil }
    let fieldName = declaration[declaration.index(after: blank)...]
    guard !fieldName.isEmpty, let offset = number("offset:"), let size = number("size:"), offset >= 0, size >= 0 else {
      return nil
    }
    let type = String(declaration[...blank]).split(separator: " ").joined(separator: " ")
    return EventField(
      name: String(fieldName), type: type, offset: offset, size: size, isSigned: number("signed:") == 1,
      arrayCount: count)
  }
}
