import Aggregator
import Architecture

/// How a control is written on screen.
public struct ControlName: Sendable, Hashable {
  /// `primary`, `msr-bitmap`, `none` ...
  public var word: String
  /// The bit in that word; nil for what is no single bit.
  public var bit: Int?
  /// Linux's constant, such as `CPU_BASED_HLT_EXITING`.
  public var name: String
  /// What it does, in a few words.
  public var title: String

  public init(word: String, bit: Int?, name: String, title: String) {
    self.word = word
    self.bit = bit
    self.name = name
    self.title = title
  }

  /// The name without the word's prefix, for a table that has the word beside it.
  public var short: String {
    Decoded.withoutWord(name)
  }
}

/// What is known of an exit reason whatever the host.
public struct ReasonNote: Sendable, Hashable {
  public var meaning: String
  public var cause: String?
  public var knobs: String?

  public init(meaning: String, cause: String?, knobs: String?) {
    self.meaning = meaning
    self.cause = cause
    self.knobs = knobs
  }
}

/// One field of the guest's state.
public struct FieldNote: Sendable, Hashable {
  public var name: String
  /// The value as text; nil where only VMREAD could tell.
  public var value: String?
  /// The value decoded, or where it could be had.
  public var remark: String

  public init(name: String, value: String?, remark: String) {
    self.name = name
    self.value = value
    self.remark = remark
  }
}

/// The words for numbers. The catalogue stands behind it; tests bring fixed ones.
public protocol Names: Sendable {
  /// Every control that has a switch of its own, in the order of words and bits; `isa` as in `SourceDescription.isa`.
  func controls(isa: String?) -> [ControlID]
  func control(_ id: ControlID) -> ControlName
  /// A detail's value: a port, an MSR ... with its name where it has one.
  func detail(_ kind: DetailKind, _ value: UInt64) -> String
  func reason(isa: UInt32, code: UInt32) -> ReasonNote?
  /// The fields of the last exit, decoded.
  func exitFields(_ exit: KVMExit) -> [FieldNote]
  /// True for what nothing can suppress.
  func isUnconditional(_ id: ControlID) -> Bool
  /// True for reserved bits that the architecture wants to be 1.
  func isForced(_ id: ControlID) -> Bool
}
