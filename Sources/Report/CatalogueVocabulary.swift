import Aggregator
import Architecture
import Wording

extension Vocabulary {
  /// The words of the catalogue.
  public static let catalogue = Vocabulary(
    control: { ControlName(word: $0.word, bit: $0.bit, name: $0.name, title: $0.title) },
    reason: { isa, code in
      guard let reason = ExitReason.lookup(isa: isa, code: code) else { return nil }
      return ReasonNotes(cause: reason.typicalCause, remedies: reason.remedies ?? [])
    },
    detailName: { $0.name(of: $1) })
}
