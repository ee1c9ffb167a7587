import Architecture
import TraceFormat

/// An engine and what it counted, for who shows it: counts, adds up, and publishes snapshots.
public struct Counter: ~Copyable {
  public var engine: Aggregator
  public private(set) var totals = RunningTotal()

  /// - Throws: `AggregatorError` where the formats have a kvm_exit that cannot be counted.
  public init(metadata: TraceMetadata, options: AggregatorOptions = AggregatorOptions()) throws(AggregatorError) {
    engine = try Aggregator(metadata: metadata, options: options)
  }

  public init(_ engine: consuming Aggregator) { self.engine = engine }

  /// As `Aggregator.run`.
  @discardableResult
  public mutating func run(_ source: some PageSource, until limit: UInt64 = .max, pages: Int = .max) -> Bool {
    engine.run(source, until: limit, pages: pages)
  }

  /// As `RunningTotal.countLosses`.
  public mutating func countLosses(all: Bool, _ counter: (_ cpu: Int) -> UInt64?) {
    totals.countLosses(all: all, pending: engine.streamSums, counter)
  }

  /// Adds what the engine counted up to a moment.
  public mutating func bringIn(at now: UInt64) { totals.add(engine.cut(at: now, resumable: false)) }

  /// Adds what others counted in an interval that begins where what was counted ends: threads that the options do not ask for are
  /// left out. To go on counting events from its end, the engine is to be resumed as well.
  public mutating func add(_ sums: IntervalCounts) { totals.add(sums.selected(engine.options)) }

  /// Forgets what was counted up to a moment, where the engine stands: counting begins there.
  public mutating func forget(at now: UInt64) {
    _ = engine.cut(at: now, resumable: false)
    totals = RunningTotal()
    totals.begin(at: now, engine)
  }

  /// Remembers what is counted now (see `RunningTotal.mark`).
  public mutating func mark(at now: UInt64) {
    bringIn(at: now)
    totals.mark()
  }

  /// As `RunningTotal.unmark`.
  public mutating func unmark() { totals.unmark() }

  /// As `RunningTotal.replaceSinceMark`; what the engine counted since is dropped with the rest.
  public mutating func replaceSinceMark(with sums: IntervalCounts) {
    bringIn(at: max(totals.total.end, engine.lastCounted))
    totals.replaceSinceMark(with: sums.selected(engine.options))
  }

  /// The next snapshot's interval begins here; the engine stands there.
  public mutating func beginInterval(at now: UInt64) {
    bringIn(at: now)
    totals.beginInterval(at: now, engine)
  }

  /// As `RunningTotal.compare`: with what came after the last snapshot.
  public mutating func compare(with before: Snapshot) { totals.compare(with: before) }

  /// As `RunningTotal.compare`: with what comes from now on, where the engine stands.
  public mutating func compare(with before: Snapshot, at now: UInt64) {
    bringIn(at: now)
    totals.compare(with: before, at: now, engine)
  }

  /// As `RunningTotal.endComparison`.
  public mutating func endComparison() { totals.endComparison() }

  /// As `RunningTotal.setHistory`.
  public mutating func setHistory(_ intervals: [(seconds: Double, exits: [Int32: Double])]) {
    totals.setHistory(intervals, engine)
  }

  /// Publishes what was counted up to now, and begins the next interval.
  ///
  /// - Parameters:
  ///   - now: the trace clock's present value (live), or how far a recording was played; nil: the last event.
  ///   - start: when counting began, in the same clock; nil: the first event.
  ///   - host: VMs as the host knows them now; nil leaves what `learn` was told.
  public mutating func snapshot(
    now: UInt64? = nil, start: UInt64? = nil, host: HostView? = nil, commandNames: [Int32: String] = [:]
  ) -> Snapshot {
    if let host { engine.learn(host) }
    let now = now ?? max(engine.lastCounted, totals.total.lastTimestamp)
    bringIn(at: now)
    return totals.snapshot(engine, now: now, start: start, commandNames: commandNames)
  }
}
