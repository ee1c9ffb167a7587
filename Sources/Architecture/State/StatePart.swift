/// A part of one vCPU's state that may be followed through time: what a row of the screen shows.
public enum StatePart: Sendable, Hashable {
  /// Fields of the VMCS, the VMCB or beside them, by name: of a segment all of its parts.
  case fields([String])
  /// Fields of what L1 wrote for its own guest.
  case vmcs12([String])
  /// Whether reads and writes of these MSRs exit, by the page of the bitmap.
  case msrs(first: UInt32, last: UInt32)

  /// What a reading has of it, value by value in an order that is always the same; nil for each that the reading does not know.
  public func values(in reading: VCPUReading) -> [UInt64?] {
    switch self {
    case .fields(let names): return names.map { reading.reading($0)?.value }
    case .vmcs12(let names):
      return names.map { name in reading.vmcs12?.first { $0.field.name == name }?.value }
    case .msrs(let first, let last):
      guard first <= last, last - first < 0x2000 else { return [] }
      return (first...last).map { msr in
        guard let exits = reading.msrBitmap.flatMap({ MSRAccess.exits(of: msr, in: $0) }) else { return nil }
        return (exits.read ? 1 : 0) | (exits.write ? 2 : 0)
      }
    }
  }

  /// Whether it is of the VMCS that is current: another one while L2 runs.
  public var isOfCurrent: Bool { if case .vmcs12 = self { false } else { true } }
}
