/// What a detail's value is.
public enum DetailKind: UInt8, Sendable, CaseIterable {
  case port, msr, gpa, cpuidLeaf, controlRegister, vector, debugRegister, linearAddress, apicOffset, hypercall, rip

  /// The key in JSON, such as `port` or `cpuid-leaf`.
  public var key: String {
    switch self {
    case .port: "port"
    case .msr: "msr"
    case .gpa: "gpa"
    case .cpuidLeaf: "cpuid-leaf"
    case .controlRegister: "cr"
    case .vector: "vector"
    case .debugRegister: "dr"
    case .linearAddress: "linear-address"
    case .apicOffset: "apic-offset"
    case .hypercall: "hypercall"
    case .rip: "rip"
    }
  }
}

/// Where an exit's main detail is read: a column of the tables of reasons (SDM volume 3, "Basic VM-exit information"; APM volume 2,
/// chapter 15 and appendix C).
public enum DetailSource: Sendable, Hashable {
  /// It has none.
  case none
  /// Bits of the exit qualification or EXITINFO1: `(info1 >> shift) & mask`.
  case info1(DetailKind, shift: UInt64 = 0, mask: UInt64 = .max)
  /// EXITINFO2.
  case info2(DetailKind)
  /// The vector in valid interruption information.
  case interruptionVector
  /// A constant that follows from the exit code (SVM CR and DR accesses, exceptions).
  case constant(DetailKind, UInt64)
  /// Register number and access type from a VMX CR access.
  case controlRegister
  /// Register number and direction from a VMX DR access.
  case debugRegister
  /// The first event of that kind on the same thread, before its next entry.
  case event(DetailKind)

  /// The kind of that event.
  public var awaited: DetailKind? {
    if case .event(let kind) = self { kind } else { nil }
  }

  /// What the detail is.
  public var kind: DetailKind? {
    switch self {
    case .none: nil
    case .info1(let kind, _, _), .info2(let kind), .constant(let kind, _), .event(let kind): kind
    case .interruptionVector: .vector
    case .controlRegister: .controlRegister
    case .debugRegister: .debugRegister
    }
  }
}
