/// The parts of a segment register or a descriptor table, each a field of its own.
public enum SegmentPart: String, Sendable, CaseIterable {
  case selector, base, limit
  case accessRights = "access rights"
}

extension StateField {
  /// The register that the field is a part of, such as `CS` or `GDTR`, and which part; nil for fields of other groups.
  public var segment: (register: String, part: SegmentPart)? {
    guard group == .segments || group == .descriptorTables else { return nil }
    let parts: [String]
    switch kind {
    case .vmcs: parts = name.split(separator: "_").dropFirst().map(String.init)
    case .vmcb: parts = vmcbKey.split(separator: ".").map { $0.uppercased() }
    case .kvm: return nil
    }
    guard parts.count > 1 else { return nil }
    switch parts[1] {
    case "SELECTOR": return (parts[0], .selector)
    case "BASE": return (parts[0], .base)
    case "LIMIT": return (parts[0], .limit)
    case "AR", "ATTRIB": return (parts[0], .accessRights)
    default: return nil
    }
  }
}
