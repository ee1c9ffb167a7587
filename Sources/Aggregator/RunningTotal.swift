import Architecture
import TraceFormat

/// What the engine knows at a moment beside its counts: what a snapshot shows of each thread and VM.
struct PresentState {
  struct Thread {
    var tid: Int32
    var vcpuID: UInt32?
    /// The host CPU it was last seen on.
    var cpu: Int?
    var lastExit: LastExit?
    /// Time that is still running: a guest that has not exited, an exit that is still handled. Counted live only.
    var running = TimeSplit()
  }

  /// By thread id.
  var threads: [Int32: Thread] = [:]
  var machines = MachineRegistry()
  var scale: TimeScale
  /// Names by event id.
  var eventNames: [String]
  var fallbackName: @Sendable (_ isa: UInt32, _ code: UInt32) -> String?
}

/// What came since a moment, and what was known then of which a part is in it: since counting began, since the last snapshot, since
/// the moment that it is compared with.
struct CountedSpan: Sendable {
  /// Nothing was added yet.
  private(set) var isEmpty = true
  private(set) var sums = Sums()
  /// When it began, raw; nil: when counting did.
  private(set) var beganAt: UInt64?
  /// What was running then in each thread, and has been counted before.
  private(set) var runningBefore: [Int32: TimeSplit] = [:]
  /// Events that were lost before it, by stream.
  private(set) var lostBefore: [PageStream: UInt64] = [:]
  /// What of it came before the place from which on all may be replaced; nil for nothing.
  private var kept: Sums?
  /// What came after that place, but before the span began.
  private var passed: Sums?

  init() {}

  /// Begins now.
  init(at now: UInt64, running: [Int32: TimeSplit], lost: [PageStream: UInt64], replaceable: Sums?) {
    beganAt = now
    runningBefore = running
    lostBefore = lost
    passed = replaceable
  }

  /// Adds what comes next, in its numbers of settings.
  mutating func add(_ next: Sums) {
    if isEmpty { sums = next } else { sums.add(next) }
    sums.open = nil
    isEmpty = false
  }

  mutating func apply(_ change: (inout CountedSpan) -> Void) { change(&self) }

  /// As `Sums.numbered`.
  mutating func numbered(_ next: Sums) -> Sums { sums.numbered(next) }

  /// What comes from here on may be replaced.
  mutating func mark() {
    kept = isEmpty || sums.end == 0 ? nil : sums
    passed = nil
  }

  mutating func unmark() {
    kept = nil
    passed = nil
  }

  /// Puts an interval that begins at the mark in the place of all since then; what of it came before the span is not in it.
  mutating func replaceSinceMark(with next: Sums) {
    var rest = next
    if let passed { rest.subtract(passed) }
    isEmpty = kept == nil
    if let kept { sums = kept }
    add(rest)
  }
}

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
  private var sinceMark: Sums?

  public init() {}

  /// Everything since counting began.
  public var total: Sums { whole.sums }

  // MARK: - Adding

  /// Adds an interval that begins where what was counted ends.
  public mutating func add(_ next: Sums) {
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
  public mutating func replaceSinceMark(with next: Sums) {
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
  ///   - counter: events lost on a CPU since counting began, or nil if it cannot be read.
  public mutating func countLosses(all: Bool, _ counter: (_ cpu: Int) -> UInt64?) {
    for loss in whole.sums.losses where all || loss.uncounted > 0 {
      if let lost = counter(loss.stream.cpu) { counters[loss.stream] = max(counters[loss.stream] ?? 0, lost) }
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
    var courses = RateHistory()
    swap(&courses, &rates)
    var snapshot = show(whole, from: start, until: now, present, commandNames, &courses)
    swap(&courses, &rates)
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
    _ commandNames: [Int32: String],
    _ rates: inout RateHistory
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
    snapshot.source.isa = snapshot.total.reasons.first.map {
      switch $0.isa {
      case 1: "vmx"
      case 2: "svm"
      default: "isa-\($0.isa)"
      }
    }
    return snapshot
  }

  private static func eventCounts(_ total: Sums, _ interval: Sums, _ names: [String]) -> [EventCount] {
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

/// Exits per second of the last intervals: of everything, each VM and each vCPU.
struct RateHistory: Sendable {
  enum Key: Hashable {
    case all
    case ended
    case vm(Int)
    /// By its first thread.
    case inferred(Int32)
    case thread(Int32)
  }

  static let length = 240

  private var courses: [Key: [Double]] = [:]
  private var shown: Set<Key> = []

  /// Adds the rate of the last interval, where it has one. Returns the course, oldest first.
  mutating func add(_ rate: Double?, to key: Key) -> [Double] {
    shown.insert(key)
    guard let rate else { return courses[key] ?? [] }
    var values = courses.removeValue(forKey: key) ?? []
    if values.count >= Self.length { values.removeFirst(values.count - Self.length + 1) }
    values.append(rate)
    courses[key] = values
    return values
  }

  /// Drops the courses of what is not shown any more.
  mutating func forgetOthers() {
    if courses.count > shown.count { courses = courses.filter { shown.contains($0.key) } }
    shown.removeAll(keepingCapacity: true)
  }

  /// Replaces all courses.
  mutating func set(
    _ intervals: some Collection<(seconds: Double, exits: [Int32: Double])>, _ machines: MachineRegistry,
    _ members: [MachineRegistry.Member]
  ) {
    courses = [:]
    func add(_ key: Key, _ exits: Double, _ seconds: Double) {
      courses[key, default: []].append(seconds > 0 ? exits / seconds : 0)
    }
    let unknown = members.filter { machines.vmOfThread[$0.tid] == nil }
    let groups = MachineRegistry.inferredGroups(unknown).map { group in group.map { unknown[$0].tid } }
    for (seconds, exits) in intervals {
      add(.all, exits.values.reduce(0, +), seconds)
      add(.ended, exits[Aggregator.endedThread] ?? 0, seconds)
      var byVM = machines.knownVMs.mapValues { _ in 0.0 }
      for (thread, vm) in machines.vmOfThread { byVM[vm, default: 0] += exits[thread] ?? 0 }
      for (vm, exits) in byVM { add(.vm(vm), exits, seconds) }
      for group in groups { add(.inferred(group[0]), group.reduce(0) { $0 + (exits[$1] ?? 0) }, seconds) }
      for member in members { add(.thread(member.tid), exits[member.tid] ?? 0, seconds) }
    }
  }
}

extension Aggregator {
  /// The threads that have slots and count.
  var knownThreads: [MachineRegistry.Member] {
    var members: [MachineRegistry.Member] = []
    for index in 0..<slots.count {
      let slot = slots.slots[index]
      members.append(MachineRegistry.Member(tid: slot.pointee.tid, vcpuID: slot.pointee.vcpuID))
    }
    return members
  }

  /// What there is to show beside the counts.
  func present(at now: UInt64) -> PresentState {
    var present = PresentState(
      machines: machines, scale: scale, eventNames: table.names, fallbackName: options.fallbackName)
    present.threads.reserveCapacity(slots.count)
    for index in 0..<slots.count where !slots.slots[index].pointee.isIgnored {
      let slot = slots.slots[index]
      present.threads[slot.pointee.tid] = PresentState.Thread(
        tid: slot.pointee.tid, vcpuID: slot.pointee.vcpuID, cpu: cpu(ofStream: Int(slot.pointee.machine.mark.stream)),
        lastExit: slot.pointee.machine.lastExitAt == 0
          ? nil : LastExit(slot.pointee.machine.lastExit, at: slot.pointee.machine.lastExitAt),
        running: options.countsOpenTime ? runningTime(of: slot, until: now) : TimeSplit())
    }
    return present
  }

  private func runningTime(of slot: UnsafeMutablePointer<VCPUSlot>, until now: UInt64) -> TimeSplit {
    let isHalt = slot.pointee.openCell.map { ReasonCode(isa: $0.pointee.isa, code: $0.pointee.code).halts } ?? false
    let scale = self.scale
    return slot.pointee.machine.openTime(until: now, isHalt: isHalt) { scale.nanoseconds($0) }
  }
}

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
    bringIn(at: max(totals.total.end, engine.lastCounted))
    totals.countLosses(all: all, counter)
  }

  /// Adds what the engine counted up to a moment.
  public mutating func bringIn(at now: UInt64) { totals.add(engine.cut(at: now, resumable: false)) }

  /// Adds what others counted in an interval that begins where what was counted ends: threads that the options do not ask for are
  /// left out. To go on counting events from its end, the engine is to be resumed as well.
  public mutating func add(_ sums: Sums) { totals.add(sums.selected(engine.options)) }

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
  public mutating func replaceSinceMark(with sums: Sums) {
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
