import Aggregator
import Architecture
import Wording

/// What the reports ask of the catalogue, as values: a report can be tested with a vocabulary of three words.
public struct Vocabulary: Sendable {
  /// How a control is called: `primary`, 7, `CPU_BASED_HLT_EXITING`.
  public struct ControlName: Sendable, Hashable {
    /// The control word, bitmap or mask; `none` for exits that nothing can suppress.
    public var word: String
    /// The bit in the word; nil for a bitmap, a mask, or nothing at all.
    public var bit: Int?
    /// Linux's constant, or `UNCONDITIONAL`.
    public var name: String
    /// A few words for a person: `HLT exiting`, `#PF exception`.
    public var title: String

    public init(word: String, bit: Int?, name: String, title: String? = nil) {
      self.word = word
      self.bit = bit
      self.name = name
      self.title = title ?? name
    }
  }

  /// What is known about a reason beyond its name.
  public struct ReasonNotes: Sendable, Hashable {
    /// What usually causes it, in a few words.
    public var cause: String?
    /// What changes it.
    public var remedies: [Remedy]

    public init(cause: String?, remedies: [Remedy]) {
      self.cause = cause
      self.remedies = remedies
    }
  }

  public var control: @Sendable (ControlID) -> ControlName
  /// By the tracepoint's `isa` and the basic reason or exit code.
  public var reason: @Sendable (_ isa: UInt32, _ code: UInt32) -> ReasonNotes?
  /// What a detail's value is called, such as `IA32_TSC_DEADLINE` for MSR 0x6e0; nil where it has no name.
  public var detailName: @Sendable (DetailKind, UInt64) -> String?

  public init(
    control: @escaping @Sendable (ControlID) -> ControlName,
    reason: @escaping @Sendable (_ isa: UInt32, _ code: UInt32) -> ReasonNotes? = { _, _ in nil },
    detailName: @escaping @Sendable (DetailKind, UInt64) -> String? = { _, _ in nil }
  ) {
    self.control = control
    self.reason = reason
    self.detailName = detailName
  }

  /// What a narrow table calls a control: the constant of a control bit without the prefix that only says which word it
  /// is in (`HLT_EXITING`), words for everything else (`#PF exception`, `EPT misconfig (MMIO)`).
  public func shortName(_ id: ControlID) -> String {
    let control = control(id)
    switch control.word {
    case "pin", "primary", "secondary", "tertiary", "exit", "secondary_exit", "entry":
      for prefix in ["CPU_BASED_", "SECONDARY_EXEC_", "TERTIARY_EXEC_", "PIN_BASED_"]
      where control.name.hasPrefix(prefix) {
        return String(control.name.dropFirst(prefix.count))
      }
      return control.name
    default: return control.title
    }
  }

  /// A detail's value for people; see `DetailKind.text`.
  public func text(_ kind: DetailKind, _ value: UInt64) -> String { kind.text(value, name: detailName(kind, value)) }
}
