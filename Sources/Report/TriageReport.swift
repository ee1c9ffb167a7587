import Aggregator
import Architecture
import Wording

/// One page, or one JSON object, that names what makes the guests exit, which control causes it and what to do.
/// Everything in it is computed from a snapshot here; the page and the JSON only print it.
public struct TriageReport: Sendable {
  public var snapshot: Snapshot
  public var knobs: Knobs
  public var vocabulary: Vocabulary
  /// What was found damaged in a recording, a line each.
  public var damage: [String]

  /// - Parameters:
  ///   - knobs: the module parameters of the host that was traced; empty for a recording, whose host is not here.
  ///   - damage: what was found damaged in a recording, a line each.
  public init(snapshot: Snapshot, knobs: Knobs, vocabulary: Vocabulary, damage: [String] = []) {
    self.damage = damage
    self.snapshot = snapshot
    self.knobs = knobs
    self.vocabulary = vocabulary
    reasons = snapshot.total.reasons
    advice = []
    advice = makeAdvice()
  }

  /// What to do about one reason: one remedy.
  struct Advice: Sendable {
    var reason: String
    /// The cause and what the trace shows of it.
    var text: String
    /// The remedy; nil where there is none.
    var knob: String?
    /// The parameters that the remedy names and their values, such as `kvm_intel.ept=Y`; nil where none is known.
    var current: String?
    /// The host already is as the remedy wants it; nil where that cannot be told.
    var isSatisfied: Bool?
  }

  /// Most frequent first.
  let reasons: [ReasonStatistics]
  /// Most exits first; they add up to the exits.
  var controls: [ChargeStatistics] { snapshot.total.controls }
  private(set) var advice: [Advice]
  /// What is worth a word, what costs most first.
  private(set) var notable: [ReasonStatistics] = []

  /// All handling time, and that without the time halted, ns.
  var handling: UInt64 { reasons.reduce(0) { $0 &+ $1.handling.total } }
  var busy: UInt64 { reasons.reduce(0) { $0 &+ $1.busy } }

  /// What figures of everything that was counted are set against.
  var context: FigureContext {
    let names = vocabulary
    return FigureContext(
      snapshot: snapshot, scope: snapshot.total, basis: .window, controlName: { names.shortName($0) })
  }

  /// The scope of a VM or vCPU, or an empty one where a snapshot names none.
  func scope(_ index: Int) -> ScopeStatistics {
    snapshot.scopes.indices.contains(index) ? snapshot.scopes[index] : ScopeStatistics()
  }

  /// Exits per second over the whole window; nil for a window of no length.
  var exitsPerSecond: Double? {
    snapshot.windowNanoseconds == 0 ? nil : Double(snapshot.total.exits) * 1e9 / Double(snapshot.windowNanoseconds)
  }

  // MARK: - Advice

  /// Remedies for every notable reason.
  private mutating func makeAdvice() -> [Advice] {
    notable = notableReasons()
    return notable.flatMap { advice(for: $0) }
  }

  /// The reasons that are at least 1 % of the exits or of the host's time, what costs most first; the greatest one in any
  /// case.
  private func notableReasons() -> [ReasonStatistics] {
    let exits = reasons.reduce(0) { $0 &+ $1.count }
    let busy = self.busy
    func share(_ part: UInt64, _ whole: UInt64) -> Double { whole == 0 ? 0 : Double(part) / Double(whole) }
    let weighed = reasons.map { reason in
      (reason: reason, weight: Swift.max(share(reason.count, exits), share(reason.busy, busy)))
    }
    let ordered = weighed.sorted { a, b in
      a.weight != b.weight ? a.weight > b.weight : a.reason.name < b.reason.name
    }
    return ordered.enumerated().filter { $0.offset == 0 || $0.element.weight >= 0.01 }.map(\.element.reason)
  }

  private func advice(for reason: ReasonStatistics) -> [Advice] {
    let notes = vocabulary.reason(reason.isa, reason.code)
    let text = notes?.cause ?? "no known cause"
    let name = printable(reason.name)
    guard let remedies = notes?.remedies, !remedies.isEmpty else {
      return [Advice(reason: name, text: text, knob: nil, current: nil, isSatisfied: nil)]
    }
    let advice = remedies.map { remedy -> Advice in
      let mentions = knobs.mentions(in: remedy)
      let known = mentions.compactMap { mention in mention.current.map { "\(mention.parameter)=\(printable($0))" } }
      let verdicts = mentions.map(\.isSatisfied)
      let satisfied: Bool? =
        verdicts.contains(false) ? false : (verdicts.isEmpty || verdicts.contains(nil) ? nil : true)
      return Advice(
        reason: name, text: text, knob: remedy.text, current: known.isEmpty ? nil : known.joined(separator: " "),
        isSatisfied: satisfied)
    }
    // What the host already has is worth the least.
    return advice.filter { $0.isSatisfied != true } + advice.filter { $0.isSatisfied == true }
  }
}
