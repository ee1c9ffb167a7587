import Aggregator
import Architecture
import Front

/// Words that do not change when the catalogue's do, for golden screens.
public struct FixedNames: Names {
  public init() {}

  public func controls(isa: String?) -> [ControlID] {
    guard isa == "vmx" else { return [] }
    let bits: [(ControlWord, ClosedRange<Int>)] = [
      (.pin, 0...7), (.primary, 2...31), (.secondary, 0...31), (.entry, 2...20),
    ]
    return bits.flatMap { word, range in range.compactMap { ControlID(word: word, bit: $0) } }
  }

  public func control(_ id: ControlID) -> ControlName {
    ControlName(word: id.word, bit: id.bit, name: id.name, title: "what \(id.name) does")
  }

  public func detail(_ kind: DetailKind, _ value: UInt64) -> String { "\(kind.key)-\(String(value, radix: 16))" }

  public func reason(isa: UInt32, code: UInt32) -> ReasonNote? {
    isa == 1
      ? ReasonNote(
        meaning: "meaning of \(code)", cause: "a typical cause that is long enough for two lines on a narrow screen",
        knobs: "first knob; second knob with a long explanation that goes on and on until it has to be cut somewhere")
      : nil
  }

  public func exitFields(_ exit: KVMExit) -> [FieldNote] {
    [
      FieldNote(name: "VM_EXIT_REASON", value: "0x\(String(exit.reason, radix: 16))", remark: "reason \(exit.reason)"),
      FieldNote(name: "GUEST_RIP", value: "0x\(String(exit.rip, radix: 16))", remark: ""),
    ]
  }

  public func isUnconditional(_ id: ControlID) -> Bool { id == .unconditional }
  public func isForced(_ id: ControlID) -> Bool { id == ControlID(word: .pin, bit: 1) }
}
