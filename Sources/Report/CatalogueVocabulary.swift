import Aggregator
import Architecture
import Wording

extension Vocabulary {
  /// The words of the catalogue.
  public static let catalogue = Vocabulary(
    control: { ControlName(word: $0.word, bit: $0.bit, name: $0.name, title: $0.title) },
    reason: { isa, code in
      guard let reason = ExitReason.lookup(isa: isa, code: code) else { return nil }
      return ReasonNotes(cause: reason.typicalCause, knobs: remedies(reason.knobs ?? ""))
    },
    detailName: { $0.name(of: $1) })

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
