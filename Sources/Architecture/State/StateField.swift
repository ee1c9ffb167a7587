/// One named value of a vCPU's state: a field of the VMCS, a field of the VMCB, or what KVM keeps beside them.
public struct StateField: Sendable, Hashable {
  /// Where the value is defined.
  public enum Kind: String, Sendable {
    /// A field of the VMCS; `place` is its encoding.
    case vmcs
    /// A field of the VMCB (AMD APM volume 2, appendix B); `place` is its offset in bytes.
    case vmcb
    /// Kept by KVM and in neither: general registers, CR2, DR0 to DR3, the APIC page. It has no `place`.
    case kvm
  }

  /// The part of a vCPU's state that a field is in.
  public enum Area: String, Sendable, CaseIterable {
    case control
    /// What the last exit left.
    case exit = "exit information"
    case guest
    case host
  }

  public var kind: Kind
  /// `GUEST_RIP`, `save.rip`, `RAX`.
  public var name: String
  /// The encoding, or the offset in the VMCB; nil for what has neither.
  public var place: UInt32?
  /// Bits: 8, 16, 32 or 64; 56 for the rest of the VMCB's instruction bytes.
  public var width: Int
  public var area: Area
  /// What it holds, in a sentence.
  public var description: String

  public init(
    kind: Kind, name: String, place: UInt32? = nil, width: Int, area: Area, description: String
  ) {
    self.kind = kind
    self.name = name
    self.place = place
    self.width = width
    self.area = area
    self.description = description
  }

  public init(_ field: VMCSField) {
    let width =
      switch field.width {
      case .bits16: 16
      case .bits32: 32
      case .bits64, .natural: 64
      }
    let area: Area =
      switch field.area {
      case .control: .control
      case .readOnly: .exit
      case .guest: .guest
      case .host: .host
      }
    self.init(
      kind: .vmcs, name: field.name, place: field.encoding.rawValue, width: width, area: area,
      description: field.description)
  }

  /// The row of the catalogue, of a field of the VMCS.
  public var vmcsField: VMCSField? { kind == .vmcs ? place.flatMap { VMCSField.lookup(encoding: $0) } : nil }

  /// All ones in the field's width.
  public var mask: UInt64 { width >= 64 ? .max : width <= 0 ? 0 : (1 << UInt64(width)) - 1 }
}
