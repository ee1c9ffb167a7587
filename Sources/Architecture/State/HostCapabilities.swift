/// What the processor allows each control word to be, and where that was read.
public struct HostCapabilities: Sendable {
  /// From the capability MSRs, by word.
  public var words: [ControlWord: ControlCapability] = [:]
  /// The `vmx flags` line of /proc/cpuinfo: names of bits that are allowed to be 1. Nil before 5.7.
  public var flags: Set<String>?
  /// Why the MSRs are not there; nil where they are.
  public var missing: String?

  public init() {}

  /// The values that the processor takes for a bit, such as `0 or 1`; nil where nothing tells.
  public func allowed(_ bit: ControlBit) -> String? {
    if let capability = words[bit.word] {
      switch capability.state(bit: bit.bit) {
      case .switchable: return "0 or 1"
      case .forcedOn: return "1 only"
      case .unsupported: return "0 only"
      case .contradictory: return "neither"
      }
    }
    if missing == nil { return "no such word" }
    guard let flags, let flag = bit.cpuinfoFlag else { return nil }
    return flags.contains(flag) ? "1 too" : "0 only"
  }
}
