/// One of the things that decide whether a reason's exits happen, as the manual has them: a column of the tables of reasons.
public enum GoverningCause: Sendable, Hashable {
  /// A bit of a control word.
  case control(ControlID)
  /// A field: a bitmap, a mask, an address or a count.
  case field(VMCSEncoding)
  /// What is neither, or several fields in one.
  case other(String)

  /// Linux's constant; for a bit without one its word and number, for a field the name in the table.
  public var text: String {
    switch self {
    case .control(let control):
      control.controlBit.map { $0.linuxName ?? "\($0.word.rawValue) bit \($0.bit)" } ?? control.name
    case .field(let encoding): VMCSField.lookup(encoding: encoding.rawValue)?.name ?? hexadecimal(encoding.rawValue)
    case .other(let text): text
    }
  }
}
