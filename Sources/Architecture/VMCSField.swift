/// The number VMREAD and VMWRITE take. Everything in it is computed: access type, index, type and width are bit fields of
/// the encoding (SDM volume 3, section "VMREAD, VMWRITE, and Encodings of VMCS Fields").
public struct VMCSEncoding: RawRepresentable, Hashable, Comparable, Sendable {
  /// Bits 14:13 of an encoding.
  public enum Width: UInt8, Sendable, CaseIterable {
    case bits16 = 0
    case bits64 = 1
    case bits32 = 2
    /// 64 bits on a processor with Intel 64, else 32.
    case natural = 3

    /// `16`, `32`, `64` or `natural`.
    public var name: String {
      switch self {
      case .bits16: "16"
      case .bits32: "32"
      case .bits64: "64"
      case .natural: "natural"
      }
    }
  }

  /// Bits 11:10 of an encoding: the area of the VMCS that the field is in.
  public enum Area: UInt8, Sendable, CaseIterable {
    case control = 0
    /// VM-exit information.
    case readOnly = 1
    case guest = 2
    case host = 3

    /// `control`, `read-only`, `guest` or `host`.
    public var name: String {
      switch self {
      case .control: "control"
      case .readOnly: "read-only"
      case .guest: "guest"
      case .host: "host"
      }
    }
  }

  /// The number itself.
  public var rawValue: UInt32

  /// Any number, well-formed or not.
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// Puts an encoding together; the index is cut to its nine bits.
  public init(width: Width, area: Area, index: UInt16, isHigh: Bool = false) {
    rawValue =
      UInt32(width.rawValue) << 13 | UInt32(area.rawValue) << 10 | UInt32(index & 0x1ff) << 1 | (isHigh ? 1 : 0)
  }

  /// Bit 0: the upper 32 bits of a 64-bit field.
  public var isHigh: Bool { rawValue & 1 != 0 }
  /// Bits 9:1.
  public var index: UInt16 { UInt16(truncatingIfNeeded: rawValue >> 1 & 0x1ff) }
  /// Bits 11:10.
  public var area: Area {
    switch rawValue >> 10 & 3 {
    case 0: .control
    case 1: .readOnly
    case 2: .guest
    default: .host
    }
  }
  /// Bits 14:13.
  public var width: Width {
    switch rawValue >> 13 & 3 {
    case 0: .bits16
    case 1: .bits64
    case 2: .bits32
    default: .natural
    }
  }
  /// Bits 12 and 31:15, which are 0 in every encoding.
  public var reservedBits: UInt32 { rawValue & ~UInt32(0x6fff) }
  /// False where a reserved bit is set, or where a field that is not 64 bits wide is said to have a high half.
  public var isWellFormed: Bool { reservedBits == 0 && (!isHigh || width == .bits64) }

  /// In order of the number.
  public static func < (a: VMCSEncoding, b: VMCSEncoding) -> Bool { a.rawValue < b.rawValue }
}

/// Where the value of a field can be had on a running host without VMREAD.
public enum WithoutVMREAD: Sendable, Hashable {
  /// Nowhere, since KVM does not use the field for a guest of its own.
  case unused(String)
  /// The VMM tells it, or a part of it.
  case vmm(String)
  /// Kernel memory or a tracepoint tells it, or nothing.
  case elsewhere(String)

  /// In words.
  public var text: String {
    switch self {
    case .unused(let text), .vmm(let text), .elsewhere(let text): text
    }
  }
}

/// One field of the VMCS, as the manual and Linux know it.
public struct VMCSField: Sendable, Hashable {
  /// The number of the field.
  public var encoding: VMCSEncoding
  /// The constant of `enum vmcs_field` in Linux's asm/vmx.h; nil where Linux has none.
  public var linuxName: String?
  /// The name in the SDM's tables.
  public var sdmName: String
  /// As the row says; tests hold it against the encoding's own.
  public var width: VMCSEncoding.Width
  /// As the row says; tests hold it against the encoding's own.
  public var area: VMCSEncoding.Area
  /// What it belongs to, such as `guest segment` or `exec controls: bitmaps`.
  public var group: String
  /// Where an engineer looks for it.
  public var stateGroup: StateGroup
  /// `always`, or the control whose allowed-1 setting brings the field into being.
  public var existsIf: String
  /// What the field holds.
  public var description: String
  /// The encoding of the upper half, for 64-bit fields.
  public var highEncoding: VMCSEncoding?
  /// The first kernel, of those read (5.10, 5.15, 6.1, 6.6, 6.12, 6.18, 7.3), whose asm/vmx.h has the constant;
  /// `<=5.10` means all of them. Nil where none has.
  public var firstKernel: String?
  /// What else it is called, and where.
  public var otherNames: String?
  /// Whether its value, or an equivalent, can be had on a running host without VMREAD; nil where the catalogue does not say.
  public var withoutVMREAD: WithoutVMREAD?
  /// How sure the row is.
  public var confidence: Confidence

  init(
    _ encoding: VMCSEncoding, _ linuxName: String?, sdm: String, _ width: VMCSEncoding.Width, _ area: VMCSEncoding.Area,
    group: String, listed: StateGroup, exists: String, _ description: String, high: UInt32? = nil, since: String? = nil,
    others: String? = nil, value: WithoutVMREAD? = nil, _ confidence: Confidence
  ) {
    self.encoding = encoding
    self.linuxName = linuxName
    self.sdmName = sdm
    self.width = width
    self.area = area
    self.group = group
    self.stateGroup = listed
    self.existsIf = exists
    self.description = description
    self.highEncoding = high.map(VMCSEncoding.init(rawValue:))
    self.firstKernel = since
    self.otherNames = others
    self.withoutVMREAD = value
    self.confidence = confidence
  }

  /// Linux's constant; where there is none, the constant of whoever has one, or the SDM's name as a constant.
  public var name: String {
    if let linuxName { return linuxName }
    if let constant = otherNames?.split(separator: " ").first { return String(constant) }
    return constantName(sdmName)
  }

  /// Where its value, or an equivalent, can be had on a running host without VMREAD, in words.
  public var valueWithoutVMREAD: String? { withoutVMREAD?.text }

  /// True for the answer to the encoding of an upper half.
  public var isHighHalf: Bool { encoding.isHigh }

  /// The upper half as a field of its own, `..._HIGH`; nil for fields that are not 64 bits wide.
  public var highHalf: VMCSField? {
    guard let highEncoding else { return nil }
    var field = self
    field.encoding = highEncoding
    field.highEncoding = nil
    field.linuxName = linuxName.map { $0 + "_HIGH" }
    field.otherNames = linuxName == nil ? name + "_HIGH" : nil
    field.sdmName = sdmName + " (high)"
    field.description = "upper 32 bits of \(name): " + description
    return field
  }

  /// Every encoding, full and high, in ascending order.
  public static let all: [VMCSField] = rows.flatMap { row in [row] + (row.highHalf.map { [$0] } ?? []) }

  /// The field of this encoding; 0x2001 answers `IO_BITMAP_A_HIGH`. Nil for an encoding that no field has.
  public static func lookup(encoding: UInt32) -> VMCSField? {
    var low = 0
    var high = all.count
    while low < high {
      let middle = (low + high) / 2
      if all[middle].encoding.rawValue < encoding { low = middle + 1 } else { high = middle }
    }
    return low < all.count && all[low].encoding.rawValue == encoding ? all[low] : nil
  }

  /// The field of this name, case ignored.
  public static func lookup(name: String) -> VMCSField? {
    let wanted = name.uppercased()
    return all.first { $0.name == wanted }
  }
}

/// A name from a manual as a constant: what is in parentheses left out, `/` closed up, every other gap an underscore.
func constantName(_ name: String) -> String {
  var result = ""
  var depth = 0
  var gap = false
  for byte in name.utf8 {
    switch byte {
    case UInt8(ascii: "("): depth += 1
    case UInt8(ascii: ")"): depth -= 1
    case _ where depth > 0: break
    case UInt8(ascii: "/"): break
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
      if gap && !result.isEmpty { result += "_" }
      gap = false
      result.unicodeScalars.append(Unicode.Scalar(byte >= 0x61 && byte <= 0x7a ? byte - 0x20 : byte))
    default: gap = true
    }
  }
  return result
}
