/// The instruction set whose exits are counted, as the `isa` field of the kvm_exit tracepoint has it. Open: a backend that the
/// catalogue does not know keeps its number.
public struct ISA: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
  /// The number in the tracepoint.
  public var rawValue: UInt32

  /// The ISA of a number, known or not.
  @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// Intel VMX. The corresponding constant is `KVM_ISA_VMX` (arch/x86/kvm/trace.h).
  @inlinable public static var vmx: ISA { ISA(rawValue: 1) }
  /// AMD SVM. The corresponding constant is `KVM_ISA_SVM`.
  @inlinable public static var svm: ISA { ISA(rawValue: 2) }

  /// `vmx`, `svm`, or `isa-3` for one that the catalogue does not know.
  public var name: String {
    switch rawValue {
    case 1: "vmx"
    case 2: "svm"
    default: "isa-\(rawValue)"
    }
  }

  /// The name.
  public var description: String { name }

  /// The ISA of this name: `vmx`, `svm` or `isa-N`.
  public init?(name: String) {
    switch name {
    case "vmx": self = .vmx
    case "svm": self = .svm
    default:
      guard name.hasPrefix("isa-"), let number = UInt32(name.dropFirst(4)) else { return nil }
      self.init(rawValue: number)
    }
  }
}

/// How sure the catalogue is of a row.
public enum Confidence: String, Sendable {
  /// In kernel code or in two independent sources.
  case high
  /// In one source, or from out-of-tree code.
  case medium
  /// Seen once only, or from memory of a manual.
  case low
}
