/// The module parameters of a host, as `/sys/module/<module>/parameters/<name>` had them.
public struct Knobs: Sendable {
  /// By `module.name`, such as `kvm_intel.ple_gap`.
  public var values: [String: String]

  /// - Parameter values: empty where the host is not known, such as for a recording.
  public init(_ values: [String: String] = [:]) { self.values = values }

  /// One parameter that a remedy names.
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

  /// The module parameters that a remedy's text names: `kvm_intel.ept=1`, or a bare `ple_window` that this host has.
  public func mentions(in text: String) -> [Mention] {
    var result: [Mention] = []
    let words = text.split { !($0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_" || $0 == "." || $0 == "=")) }
    for word in words {
      let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      var name = String(parts[0])
      while name.hasSuffix(".") { name.removeLast() }
      var wanted = parts.count == 2 ? String(parts[1]) : nil
      while wanted?.hasSuffix(".") == true { wanted?.removeLast() }
      if wanted?.isEmpty == true { wanted = nil }
      guard let parameter = parameter(named: name, isAssigned: parts.count == 2),
        !result.contains(where: { $0.parameter == parameter })
      else { continue }
      result.append(Mention(parameter: parameter, wanted: wanted, current: values[parameter]))
    }
    return result
  }

  /// A bare word counts only where it can hardly be prose: with an underscore, or assigned to.
  private func parameter(named name: String, isAssigned: Bool) -> String? {
    if Self.modules.contains(where: { name.hasPrefix($0 + ".") && name.count > $0.count + 1 }) { return name }
    guard !name.contains("."), isAssigned || name.contains("_") else { return nil }
    return Self.modules.lazy.map { "\($0).\(name)" }.first { values[$0] != nil }
  }

  private static let modules = ["kvm_intel", "kvm_amd", "kvm"]

  /// A module parameter of type bool reads as Y or N and may be written as 1, 0, y, n, on, off.
  private static func canonical(_ value: String) -> String {
    switch value.lowercased() {
    case "y", "1", "on", "yes": "1"
    case "n", "0", "off", "no": "0"
    default: value
    }
  }
}
