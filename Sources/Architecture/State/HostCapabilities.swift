/// What the processor allows each control word to be, and where that was read.
public struct HostCapabilities: Sendable {
  /// From the capability MSRs, by word.
  public var words: [ControlWord: ControlCapability] = [:]
  /// The `vmx flags` line of /proc/cpuinfo: names of bits that are allowed to be 1. Nil before 5.7.
  public var flags: Set<String>?
  /// Why the MSRs are not there; nil where they are.
  public var missing: String?

  public init() {}

  /// The values that the processor takes for a bit; nil where nothing tells.
  public func allowed(_ bit: ControlBit) -> AllowedSettings? {
    if let capability = words[bit.word] {
      switch capability.state(bit: bit.bit) {
      case .switchable: return .either
      case .forcedOn: return .onlyOne
      case .unsupported: return .onlyZero
      case .contradictory: return .neither
      }
    }
    if missing == nil { return .noSuchWord }
    guard let flags, let flag = bit.cpuinfoFlag else { return nil }
    return flags.contains(flag) ? .oneToo : .onlyZero
  }
}

/// The values that the processor takes for a bit of a control word.
public enum AllowedSettings: Sendable, Hashable, CaseIterable {
  case either
  case onlyOne
  case onlyZero
  /// No processor says so.
  case neither
  /// A 1 is allowed, as /proc/cpuinfo tells; whether a 0 is, it does not.
  case oneToo
  /// The processor has no capability MSR for the word.
  case noSuchWord

  /// In words: `0 or 1`.
  public var text: String {
    switch self {
    case .either: "0 or 1"
    case .onlyOne: "1 only"
    case .onlyZero: "0 only"
    case .neither: "neither"
    case .oneToo: "1 too"
    case .noSuchWord: "no such word"
    }
  }
}
