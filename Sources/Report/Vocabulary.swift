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
  public var msrName: @Sendable (UInt32) -> String?
  public var portName: @Sendable (UInt16) -> String?

  public init(
    control: @escaping @Sendable (ControlID) -> ControlName,
    reason: @escaping @Sendable (_ isa: UInt32, _ code: UInt32) -> ReasonNotes? = { _, _ in nil },
    msrName: @escaping @Sendable (UInt32) -> String? = { _ in nil },
    portName: @escaping @Sendable (UInt16) -> String? = { _ in nil }
  ) {
    self.control = control
    self.reason = reason
    self.msrName = msrName
    self.portName = portName
  }

  /// What a narrow table calls a control: the constant of a control bit without the prefix that only says which word it
  /// is in (`HLT_EXITING`), words for everything else (`#PF exception`, `EPT misconfig (MMIO)`).
  public func shortName(_ id: ControlID) -> String {
    let control = control(id)
    switch control.word {
    case "pin", "primary", "secondary", "tertiary", "exit", "secondary_exit", "entry":
      for prefix in ["CPU_BASED_", "SECONDARY_EXEC_", "TERTIARY_EXEC_", "PIN_BASED_"] where control.name.hasPrefix(prefix) {
        return String(control.name.dropFirst(prefix.count))
      }
      return control.name
    default: return control.title
    }
  }

  /// A detail for people: `0x3f8 COM1`, `CR3 mov-from`.
  public func text(_ kind: DetailKind, _ value: UInt64) -> String {
    switch kind {
    case .port:
      let name = UInt16(exactly: value).flatMap(portName)
      return name.map { "\(hex(value)) \($0)" } ?? hex(value)
    case .msr:
      let name = UInt32(exactly: value).flatMap(msrName)
      return name.map { "\(hex(value)) \($0)" } ?? hex(value)
    case .cpuidLeaf:
      let subleaf = value >> 32
      let leaf = hex(value & 0xffff_ffff)
      return subleaf == 0 ? "leaf \(leaf)" : "leaf \(leaf).\(hex(subleaf))"
    case .controlRegister:
      // The access types of SDM table 28-3 (exit qualification for control-register accesses, bits 5:4).
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
    case .vector:
      return exceptionNames[value].map { "vector \(value) \($0)" } ?? "vector \(value)"
    case .gpa, .linearAddress, .apicOffset, .hypercall, .rip:
      return hex(value)
    }
  }
}

/// Exceptions by vector (SDM table 7-1).
private let exceptionNames: [UInt64: String] = [
  0: "#DE", 1: "#DB", 2: "NMI", 3: "#BP", 4: "#OF", 5: "#BR", 6: "#UD", 7: "#NM", 8: "#DF", 10: "#TS", 11: "#NP",
  12: "#SS", 13: "#GP", 14: "#PF", 16: "#MF", 17: "#AC", 18: "#MC", 19: "#XM", 20: "#VE", 21: "#CP",
]

func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }
