/// One field of an event record, as its `format` file states it.
public struct EventField: Sendable, Hashable {
  public var name: String
  /// The C type as written, such as `unsigned int`, `u64`, `__data_loc char[]`.
  public var type: String
  /// Offset from the start of the record (of `common_type`).
  public var offset: Int
  public var size: Int
  public var isSigned: Bool
  /// Element count of a fixed array such as `insn[15]`, else nil.
  public var arrayCount: Int?

  public init(name: String, type: String, offset: Int, size: Int, isSigned: Bool, arrayCount: Int? = nil) {
    self.name = name
    self.type = type
    self.offset = offset
    self.size = size
    self.isSigned = isSigned
    self.arrayCount = arrayCount
  }
}

/// One event's layout: `events/SYSTEM/NAME/format`.
public struct EventFormat: Sendable, Hashable {
  public var system: String
  public var name: String
  /// The value of `common_type` in its records.
  public var id: UInt16
  /// Common fields first, then the event's own, in record order.
  public var fields: [EventField]
  /// The text after `print fmt:`.
  public var printFormat: String

  public init(system: String, name: String, id: UInt16, fields: [EventField], printFormat: String) {
    self.system = system
    self.name = name
    self.id = id
    self.fields = fields
    self.printFormat = printFormat
  }

  /// The field of that name, or nil where this kernel's event has none.
  public func field(_ name: String) -> EventField? { fields.first { $0.name == name } }
}
