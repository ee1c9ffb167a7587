/// A parameter of one of KVM's modules that a remedy is about, or that decides what KVM sets.
public struct ModuleParameter: Sendable, Hashable {
  /// The module: `kvm`, `kvm_intel` or `kvm_amd`.
  public var module: String
  /// The parameter's name, as in `/sys/module/<module>/parameters`.
  public var name: String
  /// What the remedy wants it to be; nil where it only names it.
  public var wanted: String?

  /// `kvm_intel.ple_gap`.
  public var fullName: String { "\(module).\(name)" }

  /// A parameter of kvm_intel.
  public static func kvmIntel(_ name: String, wanted: String? = nil) -> ModuleParameter {
    ModuleParameter(module: "kvm_intel", name: name, wanted: wanted)
  }

  /// A parameter of kvm_amd.
  public static func kvmAMD(_ name: String, wanted: String? = nil) -> ModuleParameter {
    ModuleParameter(module: "kvm_amd", name: name, wanted: wanted)
  }

  /// A parameter of kvm.
  public static func kvm(_ name: String, wanted: String? = nil) -> ModuleParameter {
    ModuleParameter(module: "kvm", name: name, wanted: wanted)
  }
}

/// One thing that changes how often a reason's exits happen.
public struct Remedy: Sendable, Hashable {
  /// What to do, in a few words.
  public var text: String
  /// The module parameters that it is about, in the order of the text.
  public var parameters: [ModuleParameter]

  /// A remedy and the parameters that it is about.
  public init(_ text: String, _ parameters: ModuleParameter...) {
    self.text = text
    self.parameters = parameters
  }
}
