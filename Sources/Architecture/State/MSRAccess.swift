/// What the page that says which MSRs exit has for a range of them: the MSR bitmap of VMX (SDM volume 3, section "MSR-Bitmap
/// Address") or the MSR permission map of SVM (AMD APM volume 2, section "MSR Intercepts"). An MSR outside its ranges always
/// exits.
public struct MSRAccess: Sendable, Hashable {
  public var first: UInt32
  public var last: UInt32
  public var readExits: Bool
  public var writeExits: Bool

  public init(first: UInt32, last: UInt32, readExits: Bool, writeExits: Bool) {
    self.first = first
    self.last = last
    self.readExits = readExits
    self.writeExits = writeExits
  }

  /// Neighbours that are treated alike, one row each, in ascending order: only those that do not exit on both accesses.
  ///
  /// The MSR bitmap is 4096 bytes: reads of 0...0x1fff, reads of 0xc0000000...0xc0001fff, then the same of writes. The MSR
  /// permission map is 8192 bytes, two bits for each MSR, read and write: 0...0x1fff, 0xc0000000...0xc0001fff,
  /// 0xc0010000...0xc0011fff; the last 2 KiB mean nothing. Bytes of any other number are neither.
  public static func ranges(in page: [UInt8]) -> [MSRAccess] {
    guard let starts = starts(page) else { return [] }
    return ranges(starts) { exits(page, part: $0, index: $1) }
  }

  /// Whether reads and writes of one MSR exit; nil where the bytes are no such page. Outside its ranges both always do.
  public static func exits(of msr: UInt32, in page: [UInt8]) -> (read: Bool, write: Bool)? {
    guard let starts = starts(page) else { return nil }
    guard let part = starts.firstIndex(where: { msr >= $0 && msr - $0 < 0x2000 }) else { return (true, true) }
    return exits(page, part: part, index: Int(msr - starts[part]))
  }

  /// Where its ranges begin, by the number of bytes; nil for any other number.
  private static func starts(_ page: [UInt8]) -> [UInt32]? {
    switch page.count {
    case 4096: [0, 0xc000_0000]
    case 8192: [0, 0xc000_0000, 0xc001_0000]
    default: nil
    }
  }

  private static func exits(_ page: [UInt8], part: Int, index: Int) -> (read: Bool, write: Bool) {
    func isSet(_ base: Int, _ bit: Int) -> Bool { page[base + bit / 8] >> UInt8(bit % 8) & 1 == 1 }
    return page.count == 4096
      ? (isSet(0x400 * part, index), isSet(0x800 + 0x400 * part, index))
      : (isSet(0x800 * part, 2 * index), isSet(0x800 * part, 2 * index + 1))
  }

  private static func ranges(
    _ starts: [UInt32], _ exits: (_ part: Int, _ index: Int) -> (read: Bool, write: Bool)
  ) -> [MSRAccess] {
    var result: [MSRAccess] = []
    for (part, start) in starts.enumerated() {
      for index in 0..<0x2000 {
        let (readExits, writeExits) = exits(part, index)
        if readExits && writeExits { continue }
        let msr = start + UInt32(index)
        if let last = result.last, last.last &+ 1 == msr, last.readExits == readExits, last.writeExits == writeExits {
          result[result.count - 1].last = msr
        } else {
          result.append(MSRAccess(first: msr, last: msr, readExits: readExits, writeExits: writeExits))
        }
      }
    }
    return result
  }
}
