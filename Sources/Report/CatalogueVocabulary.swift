import Aggregator
import Architecture

extension Vocabulary {
  /// The words of the catalogue.
  public static let catalogue = Vocabulary(
    control: { ControlName(word: $0.word, bit: $0.bit, name: $0.name, title: $0.title) },
    reason: { isa, code in
      guard let reason = ExitReason.lookup(isa: isa, code: code) else { return nil }
      return ReasonNotes(cause: reason.typicalCause, knobs: remedies(reason.knobs ?? ""))
    },
    detailName: { kind, value in
      switch kind {
      case .port: UInt16(exactly: value).flatMap(portName)
      case .msr: UInt32(exactly: value).flatMap(msrName)
      case .gpa: guestPhysicalAddressName(value)
      case .cpuidLeaf: cpuidLeafName(UInt32(truncatingIfNeeded: value))
      case .vector: UInt8(exactly: value).flatMap(exceptionName)
      case .apicOffset: UInt32(exactly: value).flatMap { localAPICRegisterName(offset: $0) }
      case .controlRegister, .debugRegister, .linearAddress, .hypercall, .rip: nil
      }
    })

  /// The catalogue separates remedies by `; `, and says `none` where there is none.
  static func remedies(_ text: String) -> [String] {
    var result: [String] = []
    var depth = 0
    var current = ""
    for character in text {
      switch character {
      case "(": depth += 1
      case ")": depth = max(0, depth - 1)
      default: break
      }
      if character == ";", depth == 0 {
        result.append(current)
        current = ""
      } else {
        current.append(character)
      }
    }
    result.append(current)
    return result.map { String($0.trimmingPrefix { $0 == " " }) }.filter { !$0.isEmpty && $0 != "none" && $0 != "-" }
  }
}
