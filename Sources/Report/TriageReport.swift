import Aggregator
import Architecture

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
    reasons = Self.mergedReasons(snapshot.total.reasons)
    controls = Self.mergedControls(snapshot.total.controls)
    halted = snapshot.total.time.halted
    advice = []
    advice = makeAdvice()
  }

  /// One reason over all settings of the controls.
  struct Reason: Sendable {
    /// As one row of the table.
    var statistics: ReasonStatistics
    /// In how many settings it occurred.
    var settings: Int
    /// Handling time without the time halted, ns: what the host spent on it. Only HLT has time halted.
    var busy: UInt64
  }

  struct Control: Sendable {
    var id: ControlID
    var exits: UInt64
    var handling: UInt64
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
  private(set) var reasons: [Reason]
  /// Most exits first; they add up to the exits.
  private(set) var controls: [Control]
  private(set) var advice: [Advice]
  /// What is worth a word, what costs most first.
  private(set) var notable: [Reason] = []
  private let halted: UInt64

  /// All handling time, and that without the time halted, ns.
  var handling: UInt64 { reasons.reduce(0) { $0 &+ $1.statistics.handling.total } }
  var busy: UInt64 { reasons.reduce(0) { $0 &+ $1.busy } }

  /// The scope of a VM or vCPU, or an empty one where a snapshot names none.
  func scope(_ index: Int) -> ScopeStatistics {
    snapshot.scopes.indices.contains(index) ? snapshot.scopes[index] : ScopeStatistics()
  }

  /// Exits per second over the whole window; nil for a window of no length.
  var exitsPerSecond: Double? {
    snapshot.windowNanoseconds == 0 ? nil : Double(snapshot.total.exits) * 1e9 / Double(snapshot.windowNanoseconds)
  }

  // MARK: - Merging the settings

  private static func mergedReasons(_ rows: [ReasonStatistics]) -> [Reason] {
    struct Key: Hashable {
      var isa: UInt32
      var code: UInt32
    }
    var order: [Key] = []
    var groups: [Key: [ReasonStatistics]] = [:]
    for row in rows {
      let key = Key(isa: row.isa, code: row.code)
      if groups[key] == nil { order.append(key) }
      groups[key, default: []].append(row)
    }
    var result: [Reason] = order.compactMap { key in
      guard let rows = groups[key], var first = rows.first else { return nil }
      for other in rows.dropFirst() {
        first.count &+= other.count
        first.intervalCount &+= other.intervalCount
        first.intervalHandling &+= other.intervalHandling
        first.handling = merged(first.handling, other.handling)
        first.charges = merged(first.charges + other.charges)
        first.details = merged(first.details + other.details)
      }
      first.setting = .asFound
      return Reason(statistics: first, settings: rows.count, busy: first.handling.total)
    }
    result.sort { a, b in
      if a.statistics.count != b.statistics.count { return a.statistics.count > b.statistics.count }
      return a.statistics.name < b.statistics.name
    }
    return result
  }

  /// Counts, sums and extremes are exact. Percentiles of a union cannot be had from those of its parts: the greater one
  /// is kept, which no true percentile exceeds.
  static func merged(_ a: LatencySummary, _ b: LatencySummary) -> LatencySummary {
    if a.paired == 0 { return b }
    if b.paired == 0 { return a }
    var result = LatencySummary()
    result.paired = a.paired &+ b.paired
    result.total = a.total &+ b.total
    result.min = Swift.min(a.min, b.min)
    result.max = Swift.max(a.max, b.max)
    result.p50 = Swift.max(a.p50, b.p50)
    result.p90 = Swift.max(a.p90, b.p90)
    result.p99 = Swift.max(a.p99, b.p99)
    result.p999 = Swift.max(a.p999, b.p999)
    return result
  }

  private static func merged(_ charges: [ChargeStatistics]) -> [ChargeStatistics] {
    var sums: [ControlID: ChargeStatistics] = [:]
    for charge in charges {
      if var sum = sums[charge.control] {
        sum.count &+= charge.count
        sum.intervalCount &+= charge.intervalCount
        sum.handling &+= charge.handling
        sum.intervalHandling &+= charge.intervalHandling
        sums[charge.control] = sum
      } else {
        sums[charge.control] = charge
      }
    }
    return sums.values.sorted { $0.count != $1.count ? $0.count > $1.count : $0.control < $1.control }
  }

  private static func merged(_ details: [DetailStatistics]) -> [DetailStatistics] {
    var order: [DetailKind] = []
    var groups: [DetailKind: [DetailStatistics]] = [:]
    for detail in details {
      if groups[detail.kind] == nil { order.append(detail.kind) }
      groups[detail.kind, default: []].append(detail)
    }
    return order.compactMap { kind in
      guard let parts = groups[kind], let first = parts.first else { return nil }
      if parts.count == 1 { return first }
      var counts: [UInt64: DetailCount] = [:]
      for entry in parts.flatMap(\.entries) {
        counts[entry.value, default: DetailCount(value: entry.value, count: 0, error: 0)].count &+= entry.count
      }
      for part in parts {
        // A value that is not listed may still have been counted: at most as often as the last one that is, where the
        // list was cut, and as much more as the table forgot, where it overflowed.
        let forgotten = part.isApproximate ? part.entries.reduce(0) { Swift.max($0, $1.error) } : 0
        let unseen = forgotten &+ (part.isCut ? part.entries.last?.count ?? 0 : 0)
        var errors: [UInt64: UInt64] = [:]
        for entry in part.entries { errors[entry.value] = entry.error }
        for value in counts.keys { counts[value]?.error &+= errors[value] ?? unseen }
      }
      return DetailStatistics(
        kind: kind, total: parts.reduce(0) { $0 &+ $1.total },
        isApproximate: parts.contains { $0.isApproximate || $0.isCut },
        entries: counts.values.sorted { $0.count != $1.count ? $0.count > $1.count : $0.value < $1.value })
    }
  }

  private static func mergedControls(_ rows: [ControlStatistics]) -> [Control] {
    var sums: [ControlID: Control] = [:]
    for row in rows {
      var sum = sums[row.control] ?? Control(id: row.control, exits: 0, handling: 0)
      sum.exits &+= row.exits
      sum.handling &+= row.handling
      sums[row.control] = sum
    }
    return sums.values.sorted { $0.exits != $1.exits ? $0.exits > $1.exits : $0.id < $1.id }
  }

  // MARK: - Advice

  /// Whether exits of that reason halt the vCPU, so that their handling time is mostly idle time.
  static func halts(_ reason: ReasonStatistics) -> Bool {
    (reason.isa == 1 && reason.code == 12) || (reason.isa == 2 && reason.code == 0x78)
  }

  /// Remedies for every notable reason.
  private mutating func makeAdvice() -> [Advice] {
    for index in reasons.indices where Self.halts(reasons[index].statistics) {
      reasons[index].busy -= Swift.min(halted, reasons[index].busy)
    }
    notable = notableReasons()
    return notable.flatMap { advice(for: $0.statistics) }
  }

  /// The reasons that are at least 1 % of the exits or of the host's time, what costs most first; the greatest one in any
  /// case.
  private func notableReasons() -> [Reason] {
    let exits = reasons.reduce(0) { $0 &+ $1.statistics.count }
    let busy = self.busy
    func share(_ part: UInt64, _ whole: UInt64) -> Double { whole == 0 ? 0 : Double(part) / Double(whole) }
    let weighed = reasons.map { reason in
      (reason: reason, weight: Swift.max(share(reason.statistics.count, exits), share(reason.busy, busy)))
    }
    let ordered = weighed.sorted { a, b in
      a.weight != b.weight ? a.weight > b.weight : a.reason.statistics.name < b.reason.statistics.name
    }
    return ordered.enumerated().filter { $0.offset == 0 || $0.element.weight >= 0.01 }.map(\.element.reason)
  }

  private func advice(for reason: ReasonStatistics) -> [Advice] {
    let notes = vocabulary.reason(reason.isa, reason.code)
    let text = notes?.cause ?? "no known cause"
    let name = printable(reason.name)
    guard let remedies = notes?.knobs, !remedies.isEmpty else {
      return [Advice(reason: name, text: text, knob: nil, current: nil, isSatisfied: nil)]
    }
    let advice = remedies.map { remedy -> Advice in
      let mentions = knobs.mentions(in: remedy)
      let known = mentions.compactMap { mention in mention.current.map { "\(mention.parameter)=\(printable($0))" } }
      let verdicts = mentions.map(\.isSatisfied)
      let satisfied: Bool? =
        verdicts.contains(false) ? false : (verdicts.isEmpty || verdicts.contains(nil) ? nil : true)
      return Advice(
        reason: name, text: text, knob: remedy, current: known.isEmpty ? nil : known.joined(separator: " "),
        isSatisfied: satisfied)
    }
    // What the host already has is worth the least.
    return advice.filter { $0.isSatisfied != true } + advice.filter { $0.isSatisfied == true }
  }
}

extension DetailStatistics {
  /// There are values that are not listed.
  fileprivate var isCut: Bool { entries.count >= Self.mostEntries && entries.reduce(0) { $0 &+ $1.count } < total }
}
