import Aggregator
import Architecture

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
    /// What changes it, one remedy each.
    public var knobs: [String]

    public init(cause: String?, knobs: [String]) {
      self.cause = cause
      self.knobs = knobs
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

  /// A detail for people: `0x3f8 COM1`, `CR3 mov-from`.
  public func text(_ kind: DetailKind, _ value: UInt64) -> String {
    let name = detailName(kind, value).map { " \($0)" } ?? ""
    switch kind {
    case .port, .msr, .gpa, .linearAddress, .apicOffset, .hypercall, .rip:
      return hex(value) + name
    case .cpuidLeaf:
      let subleaf = value >> 32
      return "leaf \(hex(value & 0xffff_ffff))\(subleaf == 0 ? "" : ".\(hex(subleaf))")\(name)"
    case .vector:
      // Exceptions are known by number and name; interrupt vectors stand in hexadecimal in the kernel's sources.
      return value < 32 ? "vector \(value)\(name)" : "vector \(hex(value))"
    case .controlRegister:
      // Access types of the exit qualification for control-register accesses, bits 5:4.
      let access =
        switch (value >> 8) & 0xff {
        case 0: "mov-to"
        case 1: "mov-from"
        case 2: "clts"
        case 3: "lmsw"
        default: "access-\((value >> 8) & 0xff)"
        }
      return "CR\(value & 0xff) \(access)"
    case .debugRegister:
      return "DR\(value & 0xff) \((value >> 8) & 0xff == 0 ? "mov-to" : "mov-from")"
    }
  }
}

func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }
