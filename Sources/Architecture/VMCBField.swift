/// A field of the VMCB (AMD APM volume 2, appendix "Layout of VMCB"): the control area in the first 1024 bytes, the state save
/// area after it.
public struct VMCBField: Sendable, Hashable {
  /// Linux's member of `struct vmcb` (`arch/x86/include/asm/svm.h`): `control.tsc_offset`, `save.cs.base`. An array of more
  /// than eight bytes is several fields: `control.intercepts[0]`, `control.insn_bytes[8]`.
  public var name: String
  /// Bytes from the start of the VMCB.
  public var offset: Int
  /// 1 to 8.
  public var bytes: Int
  public var area: StateField.Area
  /// The instructions VMLOAD and VMSAVE carry it, not VMRUN and #VMEXIT.
  public var isVMSAVE: Bool
  /// What it holds.
  public var description: String

  init(
    _ name: String, at offset: Int, _ bytes: Int, _ area: StateField.Area, vmsave: Bool = false, _ description: String
  ) {
    self.name = name
    self.offset = offset
    self.bytes = bytes
    self.area = area
    self.isVMSAVE = vmsave
    self.description = description
  }

  /// Where the state save area begins.
  public static let saveArea = 0x400
  /// Bytes from the start to the end of the last field.
  public static let size = saveArea + 0x2e8

  /// The value in a copy of the VMCB; nil where the copy is too short.
  public func value(in vmcb: [UInt8]) -> UInt64? {
    guard offset + bytes <= vmcb.count else { return nil }
    return (0..<bytes).reversed().reduce(0) { $0 << 8 | UInt64(vmcb[offset + $1]) }
  }

  /// The field of that name.
  public static func lookup(name: String) -> VMCBField? { byName[name] }

  private static let byName = Dictionary(rows.map { ($0.name, $0) }) { first, _ in first }
}

extension StateField {
  public init(_ field: VMCBField) {
    self.init(
      kind: .vmcb, name: field.name, place: UInt32(truncatingIfNeeded: field.offset), width: field.bytes * 8,
      area: field.area, description: field.description)
  }
}
