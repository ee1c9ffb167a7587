/// One bit of a bitmap page: the byte from the start of the page and the bit in it.
public struct BitmapPosition: Sendable, Hashable {
  /// The byte, from the start of the page.
  public var byte: Int
  /// The bit in that byte, 0 to 7.
  public var bit: Int
}

/// The VMX MSR bitmap, a 4 KiB page: read low at 0x000, read high at 0x400, write low at 0x800, write high at 0xc00. A 1 exits.
/// MSRs outside both ranges always exit (SDM volume 3, section "MSR-Bitmap Address").
public enum MSRBitmap {
  /// True for the MSRs that have bits: 0-0x1fff and 0xc0000000-0xc0001fff.
  @inlinable public static func covers(_ msr: UInt32) -> Bool {
    msr & 0x3fff_ffff < 0x2000 && (msr >> 30 == 0 || msr >> 30 == 3)
  }

  /// Where an MSR's bit is; nil for one that has none.
  public static func position(of msr: UInt32, isWrite: Bool) -> BitmapPosition? {
    guard covers(msr) else { return nil }
    let index = Int(msr & 0x1fff)
    return BitmapPosition(byte: (isWrite ? 0x800 : 0) + (msr >> 30 == 3 ? 0x400 : 0) + index / 8, bit: index % 8)
  }
}

/// The SVM MSR permission map: two bits per MSR, read then write, for 0-0x1fff, 0xc0000000-0xc0001fff and 0xc0010000-0xc0011fff, 2 KiB
/// each (AMD APM volume 2, section "MSR Intercepts").
public enum MSRPermissionMap {
  /// Where an MSR's bit is; nil for one that has none and is therefore always intercepted.
  public static func position(of msr: UInt32, isWrite: Bool) -> BitmapPosition? {
    let bases: [UInt32] = [0, 0xc000_0000, 0xc001_0000]
    for (range, base) in bases.enumerated() where msr >= base && msr - base < 0x2000 {
      let bit = Int(msr - base) * 2 + (isWrite ? 1 : 0)
      return BitmapPosition(byte: range * 0x800 + bit / 8, bit: bit % 8)
    }
    return nil
  }
}

/// The two I/O bitmaps: A has the ports 0-0x7fff, B the others. An access exits if the bit of any of its bytes is 1, or if it goes
/// past port 0xffff.
public enum IOBitmap {
  /// The bitmap that has the port, and where its bit is.
  public static func position(of port: UInt16) -> (field: VMCSEncoding, position: BitmapPosition) {
    let index = Int(port & 0x7fff)
    return (
      port < 0x8000 ? .ioBitmapA : .ioBitmapB, BitmapPosition(byte: index / 8, bit: index % 8)
    )
  }
}

/// The VMREAD and VMWRITE bitmaps: bit n stands for the encoding whose bits 14:0 are n. An encoding with a bit above 14 set always
/// exits.
public enum ShadowBitmap {
  /// Where an encoding's bit is; nil for one that has none.
  public static func position(of encoding: VMCSEncoding) -> BitmapPosition? {
    guard encoding.rawValue < 0x8000 else { return nil }
    return BitmapPosition(byte: Int(encoding.rawValue / 8), bit: Int(encoding.rawValue % 8))
  }
}
