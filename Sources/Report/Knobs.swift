import Architecture

/// The module parameters of a host, as `/sys/module/<module>/parameters/<name>` had them.
public struct Knobs: Sendable {
  /// By `module.name`, such as `kvm_intel.ple_gap`.
  public var values: [String: String]

  /// - Parameter values: empty where the host is not known, such as for a recording.
  public init(_ values: [String: String] = [:]) { self.values = values }

  /// One parameter that a remedy is about.
  public struct Mention: Sendable, Hashable {
    /// `kvm_intel.ple_gap`.
    public var parameter: String
    /// What the remedy wants it to be; nil where it only names the parameter.
    public var wanted: String?
    /// What it is on this host.
    public var current: String?

    /// Whether the host already is as the remedy wants it; nil where that cannot be told.
    public var isSatisfied: Bool? {
      guard let wanted, let current else { return nil }
      return Knobs.canonical(wanted) == Knobs.canonical(current)
    }
  }

  /// The module parameters that a remedy is about, with what they are on this host.
  public func mentions(in remedy: Remedy) -> [Mention] {
    remedy.parameters.map {
      Mention(parameter: $0.fullName, wanted: $0.wanted, current: values[$0.fullName])
    }
  }

  /// A module parameter of type bool reads as Y or N and may be written as 1, 0, y, n, on, off.
  private static func canonical(_ value: String) -> String {
    switch value.lowercased() {
    case "y", "1", "on", "yes": "1"
    case "n", "0", "off", "no": "0"
    default: value
    }
  }
}
