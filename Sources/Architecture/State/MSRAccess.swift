/// What the MSR bitmap says of a range of MSRs (SDM volume 3, section "MSR-Bitmap Address"). An MSR outside the two
/// ranges of the bitmap always exits.
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
  /// The bitmap is 4096 bytes: reads of 0...0x1fff, reads of 0xc0000000...0xc0001fff, then the same of writes.
  public static func ranges(in bitmap: [UInt8]) -> [MSRAccess] {
    guard bitmap.count == 4096 else { return [] }
    func isSet(_ base: Int, _ index: Int) -> Bool { bitmap[base + index / 8] >> UInt8(index % 8) & 1 == 1 }
    var result: [MSRAccess] = []
    for (read, write, start) in [(0, 0x800, UInt32(0)), (0x400, 0xc00, 0xc000_0000)] {
      for index in 0..<0x2000 {
        let (readExits, writeExits) = (isSet(read, index), isSet(write, index))
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
