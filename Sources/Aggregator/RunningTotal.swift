import Architecture
import TraceFormat

/// Everything counted since counting began, in the last interval, and since a moment that is compared with: the sum of what the
/// engine cut, or of what a recording has.
public struct RunningTotal: Sendable {
  private var whole = CountedSpan()
  /// What came since the last snapshot, or since `beginInterval`.
  private var interval = CountedSpan()
  /// What came since a moment, beside what was shown then.
  private var comparison: (before: Snapshot, after: CountedSpan)?
  private var sequence: UInt64 = 0
  private var rates = RateHistory()
  /// Events lost by stream since counting began, by the buffers' own counters.
  private var counters: [PageStream: UInt64] = [:]
  /// Whether what comes may be replaced (see `mark`), and what came since it may.
  public private(set) var isMarked = false
  private var sinceMark: IntervalCounts?

  public init() {}

  /// Everything since counting began.
  public var total: IntervalCounts { whole.sums }

  // MARK: - Adding

  /// Adds an interval that begins where what was counted ends.
  public mutating func add(_ next: IntervalCounts) {
    let next = whole.numbered(next)
    forEachSpan { $0.add(next) }
    guard isMarked else { return }
    if sinceMark == nil { sinceMark = next } else { sinceMark?.add(next) }
  }

  private mutating func forEachSpan(_ body: (inout CountedSpan) -> Void) {
    body(&whole)
    body(&interval)
    comparison?.after.apply(body)
  }

  /// Remembers what is counted now: what comes from here on may be replaced.
  public mutating func mark() {
    forEachSpan { $0.mark() }
    sinceMark = nil
    isMarked = true
  }

  /// What comes from here on is not replaced any more.
  public mutating func unmark() {
    forEachSpan { $0.unmark() }
    sinceMark = nil
    isMarked = false
  }

  /// Puts an interval in the place of all that came since the mark, of which that is a part: what was shown of it is not shown once
  /// more. Marks again. Without a mark it is added.
  public mutating func replaceSinceMark(with next: IntervalCounts) {
    guard isMarked else { return add(next) }
    let next = whole.numbered(next)
    forEachSpan { $0.replaceSinceMark(with: next) }
    mark()
  }

  /// Takes the exact number of events lost from the buffers' own counters: a sub-buffer that is full to the brim has
  /// no room to say how many were lost before it, and what was lost after the last one, none says.
  ///
  /// - Parameters:
  ///   - all: every stream; else only those that lost an unknown number, since reading the counters costs something.
  ///   - pending: what the engine counted that is not added yet.
  ///   - counter: events lost on a CPU since counting began, or nil if it cannot be read.
  mutating func countLosses(all: Bool, pending: [StreamSum], _ counter: (_ cpu: Int) -> UInt64?) {
    let losses = (whole.sums.losses + pending).filter { all || $0.uncounted > 0 }
    for stream in Set(losses.map(\.stream)) {
      if let lost = counter(stream.cpu) { counters[stream] = max(counters[stream] ?? 0, lost) }
    }
  }

  // MARK: - Spans

  /// A span that begins now.
  private func span(at now: UInt64, _ present: PresentState) -> CountedSpan {
    CountedSpan(
      at: now, running: present.threads.compactMapValues { $0.running.total == 0 ? nil : $0.running },
      lost: Dictionary(whole.sums.losses.map { ($0.stream, lost($0)) }, uniquingKeysWith: { $1 }),
      replaceable: sinceMark)
  }

  /// The next snapshot's interval begins here.
  ///
  /// - Parameters:
  ///   - now: on the trace clock, raw.
  ///   - engine: stands there.
  public mutating func beginInterval(at now: UInt64, _ engine: borrowing Aggregator) {
    interval = span(at: now, engine.present(at: now))
  }

  /// Counting begins here: what is running is counted from now on.
  mutating func begin(at now: UInt64, _ engine: borrowing Aggregator) {
    whole = span(at: now, engine.present(at: now))
    interval = whole
  }

  /// Counts what comes after the last snapshot as a value of its own, too, from now on: each snapshot has both (see
  /// `Snapshot.sinceMark`).
  ///
  /// - Parameter before: the last snapshot.
  public mutating func compare(with before: Snapshot) { comparison = (before.countsAlone, interval) }

  /// The same of what comes from now on.
  ///
  /// - Parameters:
  ///   - before: what was counted up to now.
  ///   - now: on the trace clock, raw.
  ///   - engine: stands there.
  public mutating func compare(with before: Snapshot, at now: UInt64, _ engine: borrowing Aggregator) {
    comparison = (before.countsAlone, span(at: now, engine.present(at: now)))
  }

  /// Ends that.
  public mutating func endComparison() { comparison = nil }

  public var isComparing: Bool { comparison != nil }

  // MARK: - Showing

  private func lost(_ loss: StreamSum) -> UInt64 { max(loss.lost, counters[loss.stream] ?? 0) }

  /// Takes the course of the rates from elsewhere: what snapshots showed before is forgotten.
  ///
  /// - Parameters:
  ///   - intervals: oldest first; of each, its length and the exits by thread, those of ended threads as thread 0.
  ///   - engine: knows which VM a thread is of.
  public mutating func setHistory(
    _ intervals: [(seconds: Double, exits: [Int32: Double])], _ engine: borrowing Aggregator
  ) {
    rates.set(
      intervals.suffix(RateHistory.length), engine.machines,
      whole.sums.threads.map { MachineRegistry.Member(tid: $0.tid, vcpuID: $0.vcpuID) })
  }

  /// Publishes what was counted up to now, and begins the next interval.
  ///
  /// - Parameters:
  ///   - engine: counted up to now, and was cut; its counts were added.
  ///   - now: on the trace clock, raw.
  ///   - start: when counting began, in the same clock; nil: the first event.
  public mutating func snapshot(
    _ engine: borrowing Aggregator, now: UInt64, start: UInt64? = nil, commandNames: [Int32: String] = [:]
  ) -> Snapshot {
    let present = engine.present(at: now)
    let start = start ?? whole.sums.firstTimestamp
    sequence += 1
    var histories = RateHistory()
    swap(&histories, &rates)
    var snapshot = show(whole, from: start, until: now, present, commandNames, &histories)
    swap(&histories, &rates)
    if let (before, span) = comparison {
      // The course of the rates is that of the whole.
      var none = RateHistory()
      var after = show(span, from: span.beganAt ?? start, until: now, present, commandNames, &none)
      for scope in after.scopes.indices { after.scopes[scope].history = [] }
      snapshot.sinceMark = SinceMark(before: before, after: after)
    }
    interval = span(at: now, present)
    return snapshot
  }

  /// What was counted in a span, as a snapshot.
  private func show(
    _ span: CountedSpan, from start: UInt64, until now: UInt64, _ present: PresentState,
    _ commandNames: [Int32: String], _ rates: inout RateHistory
  ) -> Snapshot {
    // The last interval is that of the span, where it began within.
    let recent = span.beganAt ?? 0 > interval.beganAt ?? start ? span : interval
    var snapshot = Snapshot()
    snapshot.sequence = sequence
    snapshot.firstTimestamp = span.sums.firstTimestamp
    snapshot.lastTimestamp = span.sums.lastTimestamp
    snapshot.windowNanoseconds = now > start ? present.scale.nanoseconds(now - start) : 0
    let since = recent.beganAt ?? start
    snapshot.intervalNanoseconds = now > since ? present.scale.nanoseconds(now - since) : 0
    snapshot.events = span.sums.events
    snapshot.intervalEvents = recent.sums.events
    snapshot.malformedRecords = span.sums.malformed
    snapshot.losses = losses(span, recent)
    snapshot.eventCounts = Self.eventCounts(span.sums, recent.sums, present.eventNames)
    snapshot.settings = whole.sums.settings
    snapshot.isHaltShared = span.sums.isHaltShared
    var builder = SnapshotBuilder(total: span, interval: recent, present: present, commandNames: commandNames)
    builder.fill(&snapshot, &rates)
    snapshot.source.isa = snapshot.total.reasons.first.map { ISA(rawValue: $0.isa).name }
    return snapshot
  }

  private static func eventCounts(_ total: IntervalCounts, _ interval: IntervalCounts, _ names: [String])
    -> [EventCount]
  {
    let recent = Dictionary(interval.eventCounts.map { ($0.id, $0.count) }, uniquingKeysWith: { $1 })
    return total.eventCounts.compactMap { event in
      guard event.count > 0, names.indices.contains(Int(event.id)) else { return nil }
      let name = names[Int(event.id)].isEmpty ? "event \(event.id)" : names[Int(event.id)]
      return EventCount(name: name, count: event.count, intervalCount: recent[event.id] ?? 0)
    }.sorted { ($1.count, $0.name) < ($0.count, $1.name) }
  }

  private func losses(_ span: CountedSpan, _ interval: CountedSpan) -> Losses {
    func since(_ before: [PageStream: UInt64], _ loss: StreamSum) -> UInt64 {
      let (lost, before) = (lost(loss), before[loss.stream] ?? 0)
      return lost > before ? lost - before : 0
    }
    let unknown = Dictionary(span.sums.losses.map { ($0.stream, $0.uncounted) }, uniquingKeysWith: { $1 })
    var losses = Losses()
    for loss in whole.sums.losses {
      let lost = since(span.lostBefore, loss)
      let recent = since(interval.lostBefore, loss)
      let uncounted = counters[loss.stream] == nil ? unknown[loss.stream] ?? 0 : 0
      losses.lost &+= lost
      losses.intervalLost &+= recent
      losses.uncounted &+= uncounted
      if lost > 0 || uncounted > 0 {
        losses.perCPU.append(Losses.CPULoss(cpu: loss.stream.cpu, lost: lost, intervalLost: recent))
      }
    }
    return losses
  }
}
