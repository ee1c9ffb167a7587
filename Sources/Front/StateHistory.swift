import Architecture

/// The last values of the fields of one vCPU, as far as they were seen: for what lights up and for what Enter tells.
struct StateHistory {
  struct Entry: Hashable {
    var value: UInt64
    /// CLOCK_MONOTONIC in nanoseconds at which it was read first.
    var since: UInt64
  }

  /// So many distinct values of a field are kept.
  static let mostValues = 16
  /// More fields than any reading has.
  static let mostFields = 2048

  /// By key, newest last.
  private(set) var values: [String: [Entry]] = [:]
  /// The fields that the newest reading changed.
  private(set) var changed: Set<String> = []
  private var readAt: UInt64?

  /// What a field is remembered as: while L2 is current, the fields are those of another VMCS.
  static func key(_ name: String, isNested: Bool) -> String { isNested ? "vmcs02 \(name)" : name }

  /// The same of what L1 wrote.
  static func key(vmcs12 name: String) -> String { "vmcs12 \(name)" }

  /// Takes the next reading. One that was there before only ends what was lit.
  mutating func add(_ reading: VCPUReading) {
    changed = []
    guard reading.readAt != readAt else { return }
    readAt = reading.readAt
    for field in reading.fields { add(field, Self.key(field.field.name, isNested: reading.isNested), reading.readAt) }
    for field in reading.others { add(field, Self.key(field.field.name, isNested: reading.isNested), reading.readAt) }
    for field in reading.vmcs12 ?? [] { add(field, Self.key(vmcs12: field.field.name), reading.readAt) }
  }

  private mutating func add(_ field: FieldReading, _ key: String, _ time: UInt64) {
    guard let value = field.value else { return }
    guard let last = values[key]?.last else {
      if values.count < Self.mostFields { values[key] = [Entry(value: value, since: time)] }
      return
    }
    guard last.value != value else { return }
    changed.insert(key)
    values[key]?.append(Entry(value: value, since: time))
    if let count = values[key]?.count, count > Self.mostValues { values[key]?.removeFirst(count - Self.mostValues) }
  }
}
