/// Where each kind of control begins in the dense numbering of `ControlID`. Recordings hold these numbers: none may
/// change, and new ones go to the end.
enum ControlNumber {
  static let unconditional: UInt16 = 0
  static let unknown: UInt16 = 1
  static let pin: UInt16 = 2  // bits 0...7
  static let primary: UInt16 = 10  // bits 0...31
  static let secondary: UInt16 = 42  // bits 0...31
  static let tertiary: UInt16 = 74  // bits 0...13
  static let exit: UInt16 = 88  // bits 0...31
  static let secondaryExit: UInt16 = 120  // bits 0...3
  static let entry: UInt16 = 124  // bits 0...24
  static let exceptionBitmap: UInt16 = 149  // vectors 0...31
  static let msrBitmapRead: UInt16 = 181
  static let msrBitmapWrite: UInt16 = 182
  static let ioBitmapA: UInt16 = 183
  static let ioBitmapB: UInt16 = 184
  static let cr0Mask: UInt16 = 185
  static let cr4Mask: UInt16 = 186
  static let cr3Target: UInt16 = 187
  static let eptNotPresent: UInt16 = 188
  static let eptRead: UInt16 = 189
  static let eptWrite: UInt16 = 190
  static let eptExecute: UInt16 = 191
  static let eptMisconfig: UInt16 = 192
  static let vmreadBitmap: UInt16 = 193
  static let vmwriteBitmap: UInt16 = 194
  static let eoiExitBitmap: UInt16 = 195
  static let nptNotPresent: UInt16 = 196
  static let nptRead: UInt16 = 197
  static let nptWrite: UInt16 = 198
  static let nptExecute: UInt16 = 199
  static let nptReserved: UInt16 = 200
  static let avic: UInt16 = 201
  static let intercept: UInt16 = 202  // exit codes 0x00...0xa6
  static let count: UInt16 = 369

  /// The last exit code that an intercept bit governs.
  static let lastIntercept: UInt32 = 0xa6

  /// The first number of a word and how many of its bits are numbered.
  static func range(of word: ControlWord) -> Range<UInt16> {
    switch word {
    case .pin: pin..<primary
    case .primary: primary..<secondary
    case .secondary: secondary..<tertiary
    case .tertiary: tertiary..<exit
    case .exit: exit..<secondaryExit
    case .secondaryExit: secondaryExit..<entry
    case .entry: entry..<exceptionBitmap
    }
  }
}

extension ControlID {
  /// Exits that nothing in the VMCS or VMCB can suppress.
  @inlinable public static var unconditional: ControlID { ControlID(rawValue: 0) }
  /// Exits of an ISA, a reason or a qualification that the catalogue does not know, so that sums still hold.
  @inlinable public static var unknown: ControlID { ControlID(rawValue: 1) }
  /// How many controls there are: every number below it is one.
  public static var count: Int { Int(ControlNumber.count) }
  /// Every control, in order of number.
  public static var all: [ControlID] { (0..<ControlNumber.count).map(ControlID.init(rawValue:)) }

  /// The control of a bit that the tables name.
  init(_ word: ControlWord, _ bit: Int) {
    self.init(rawValue: ControlNumber.range(of: word).lowerBound &+ UInt16(truncatingIfNeeded: bit))
  }

  /// The intercept of an exit code that the tables name.
  init(interceptBit code: UInt16) { self.init(rawValue: ControlNumber.intercept &+ code) }

  /// The control of a bit of a VMX control word; nil for a bit beyond those that any manual names.
  public init?(word: ControlWord, bit: Int) {
    let range = ControlNumber.range(of: word)
    guard bit >= 0, bit < range.count else { return nil }
    self.init(rawValue: range.lowerBound + UInt16(truncatingIfNeeded: bit))
  }

  /// SVM: the exit code that an intercept suppresses where it is 0, which is 32 * VMCB intercept word + bit; nil for
  /// every other control.
  public var interceptCode: UInt32? {
    guard rawValue >= ControlNumber.intercept, rawValue < ControlNumber.count else { return nil }
    return UInt32(rawValue - ControlNumber.intercept)
  }

  /// SVM: the exit code's row, for an intercept.
  public var interceptReason: ExitReason? {
    interceptCode.flatMap { ExitReason.lookup(isa: ISA.svm.rawValue, code: $0) }
  }

  /// What an entry of it stands for, for a bitmap with an entry for each MSR or port.
  public var entryKind: DetailKind? {
    switch self {
    case .msrBitmapRead, .msrBitmapWrite: .msr
    case .ioBitmapA, .ioBitmapB: .port
    default: nil
    }
  }

  /// The intercept behind an SVM exit code; nil for a code that no intercept bit governs.
  public init?(intercept code: UInt32) {
    guard code <= ControlNumber.lastIntercept else { return nil }
    self.init(rawValue: ControlNumber.intercept + UInt16(truncatingIfNeeded: code))
  }

  /// The bit of the exception bitmap for a vector below 32.
  public init?(exceptionVector vector: UInt8) {
    guard vector < 32 else { return nil }
    self.init(rawValue: ControlNumber.exceptionBitmap + UInt16(vector))
  }

  /// The control of this word and bit, as printed; where several have them, the first.
  public static func lookup(word: String, bit: Int?) -> ControlID? { all.first { $0.word == word && $0.bit == bit } }

  /// The controls of this name, case ignored.
  public static func lookup(name: String) -> [ControlID] {
    let wanted = name.uppercased()
    return all.filter { $0.name.uppercased() == wanted }
  }

  private var row: ControlDescription {
    let rows = ControlDescription.rows
    return Int(rawValue) < rows.count ? rows[Int(rawValue)] : rows[Int(ControlNumber.unknown)]
  }

  /// What the bit is in: `pin`, `primary`, `secondary`, `tertiary`, `exit`, `secondary_exit`, `entry`, `exception_bitmap`,
  /// `msr_bitmap_read`, `msr_bitmap_write`, `io_bitmap`, `cr_mask`, `cr3_target`, `ept`, `vmread_bitmap`, `vmwrite_bitmap`,
  /// `eoi_exit_bitmap`, `intercept` (SVM), `npt`, `avic`, `none` or `unknown`. Word, bit and name together name one control.
  public var word: String { row.word }
  /// The bit in the word, the vector in the exception bitmap, the permission bit of an EPT entry. For `intercept`: Linux's
  /// number of the intercept, which is 32 * VMCB intercept word + bit. Nil for a bitmap with an entry per MSR, port or vector.
  public var bit: Int? { row.bit }
  /// Linux's constant where there is one: `CPU_BASED_HLT_EXITING`, `EXCEPTION_BITMAP`, `INTERCEPT_HLT`.
  public var name: String { row.name }
  /// A few words for a person: `HLT exiting`.
  public var title: String { row.title }
  /// The row of the control word's table behind it, for a bit of a VMX control word.
  public var controlBit: ControlBit? { row.controlBit }

  /// The word of the VMX controls it is a bit of.
  public var controlWord: ControlWord? { place?.word }

  /// The word of the VMX controls it is a bit of, and that bit; nil for everything else. Does not allocate.
  public var place: (word: ControlWord, bit: Int)? {
    let word: ControlWord
    switch rawValue {
    case ControlNumber.pin..<ControlNumber.primary: word = .pin
    case ControlNumber.primary..<ControlNumber.secondary: word = .primary
    case ControlNumber.secondary..<ControlNumber.tertiary: word = .secondary
    case ControlNumber.tertiary..<ControlNumber.exit: word = .tertiary
    case ControlNumber.exit..<ControlNumber.secondaryExit: word = .exit
    case ControlNumber.secondaryExit..<ControlNumber.entry: word = .secondaryExit
    case ControlNumber.entry..<ControlNumber.exceptionBitmap: word = .entry
    default: return nil
    }
    return (word, Int(rawValue - ControlNumber.range(of: word).lowerBound))
  }

  /// Its bit in its control word; 0 for what is no bit of one.
  public var mask: UInt64 { place.map { 1 << UInt64($0.bit) } ?? 0 }

  /// `vmx`, `svm`, or nil for what belongs to neither.
  public var isa: ISA? {
    switch rawValue {
    case ControlNumber.unconditional, ControlNumber.unknown: nil
    case ControlNumber.nptNotPresent...: .svm
    default: .vmx
    }
  }

  /// The reasons whose exits may be charged to it: always, or depending on the exit's facts.
  public var reasons: [ExitReason] {
    (ExitReason.vmxRows + ExitReason.svmRows).filter { reason in
      if let fixed = reason.rule.fixedControl { return fixed == self }
      return reason.rule.dependentControls.contains(self)
    }
  }
}

extension ControlBit {
  /// Its number among everything that an exit can be charged to.
  public var id: ControlID { ControlID(word: word, bit: bit) ?? .unknown }
}

/// What is printed of one control.
struct ControlDescription: Sendable {
  var word: String
  var bit: Int?
  var name: String
  var title: String
  var controlBit: ControlBit?

  init(_ word: String, _ name: String, _ title: String, bit: Int? = nil, controlBit: ControlBit? = nil) {
    self.word = word
    self.bit = bit
    self.name = name
    self.title = title
    self.controlBit = controlBit
  }

  /// By number: tests hold the order against `ControlNumber`.
  static let rows: [ControlDescription] = {
    var rows: [ControlDescription] = [
      ControlDescription("none", "UNCONDITIONAL", "unconditional"),
      ControlDescription("unknown", "UNKNOWN", "not known"),
    ]
    rows.reserveCapacity(Int(ControlNumber.count))
    for word in ControlWord.allCases {
      for bit in 0..<ControlNumber.range(of: word).count {
        if let row = ControlBit.lookup(word, bit: bit) {
          rows.append(ControlDescription(word.rawValue, row.name, row.sdmName, bit: bit, controlBit: row))
        } else {
          rows.append(ControlDescription(word.rawValue, "RESERVED_BIT_\(bit)", "Reserved bit \(bit)", bit: bit))
        }
      }
    }
    for vector in 0..<32 {
      let name = exceptionName(UInt8(vector)) ?? "vector \(vector)"
      rows.append(ControlDescription("exception_bitmap", "EXCEPTION_BITMAP", "\(name) exception", bit: vector))
    }
    rows += [
      ControlDescription("msr_bitmap_read", "MSR_BITMAP", "MSR bitmap, read"),
      ControlDescription("msr_bitmap_write", "MSR_BITMAP", "MSR bitmap, write"),
      ControlDescription("io_bitmap", "IO_BITMAP_A", "I/O bitmap, ports 0x0000-0x7fff"),
      ControlDescription("io_bitmap", "IO_BITMAP_B", "I/O bitmap, ports 0x8000-0xffff"),
      ControlDescription("cr_mask", "CR0_GUEST_HOST_MASK", "CR0 guest/host mask"),
      ControlDescription("cr_mask", "CR4_GUEST_HOST_MASK", "CR4 guest/host mask"),
      ControlDescription("cr3_target", "CR3_TARGET_COUNT", "CR3-target list"),
      ControlDescription("ept", "EPT_VIOLATION_NOT_PRESENT", "EPT entry not present"),
      ControlDescription("ept", "EPT_VIOLATION_READ", "EPT read permission", bit: 0),
      ControlDescription("ept", "EPT_VIOLATION_WRITE", "EPT write permission", bit: 1),
      ControlDescription("ept", "EPT_VIOLATION_EXECUTE", "EPT execute permission", bit: 2),
      ControlDescription("ept", "EPT_MISCONFIG", "EPT misconfig (MMIO)"),
      ControlDescription("vmread_bitmap", "VMREAD_BITMAP", "VMREAD bitmap"),
      ControlDescription("vmwrite_bitmap", "VMWRITE_BITMAP", "VMWRITE bitmap"),
      ControlDescription("eoi_exit_bitmap", "EOI_EXIT_BITMAP", "EOI-exit bitmap"),
      ControlDescription("npt", "NPF_NOT_PRESENT", "NPT entry not present"),
      ControlDescription("npt", "NPF_READ", "NPT read permission"),
      ControlDescription("npt", "NPF_WRITE", "NPT write permission"),
      ControlDescription("npt", "NPF_EXECUTE", "NPT execute permission"),
      ControlDescription("npt", "NPF_RESERVED", "NPT reserved bit (MMIO)"),
      ControlDescription("avic", "AVIC_ENABLE_MASK", "AVIC"),
    ]
    for reason in ExitReason.svmRows where reason.code <= ControlNumber.lastIntercept {
      let name = reason.svm?.interceptName ?? "INTERCEPT_\(reason.code)"
      let title: String
      switch reason.code {
      case 0x40...0x5f:
        title =
          "\(exceptionName(UInt8(truncatingIfNeeded: reason.code - 0x40)) ?? "vector \(reason.code - 0x40)") intercept"
      default: title = "\(interceptTitle(name))"
      }
      rows.append(ControlDescription("intercept", name, title, bit: Int(reason.code)))
    }
    return rows
  }()
}

/// `INTERCEPT_CR0_READ` as `CR0 read intercept`, `TRAP_EFER_WRITE` as `EFER write trap`.
private func interceptTitle(_ name: String) -> String {
  var parts = name.split(separator: "_").map(String.init)
  guard let kind = parts.first else { return name }
  parts.removeFirst()
  for (index, part) in parts.enumerated()
  where ["READ", "WRITE", "STORE", "LOAD", "SELECTIVE", "COND", "ILLEGAL"].contains(part) {
    parts[index] = part.lowercased()
  }
  return parts.joined(separator: " ") + " " + kind.lowercased()
}
