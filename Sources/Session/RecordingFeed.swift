import Aggregator
import Architecture
import Glibc
import HostFiles
import Recording
import TraceFormat
import Tracefs

/// A recording, played at its own pace, stepped, sought in, or read in one go.
final class RecordingFeed: Feed {
  private let source: RecordedSource
  private let options: AggregatorOptions
  private lazy var timeline = Timeline(source, bounds: source.timeBounds() ?? (0, 0), options)
  private lazy var head = try? ReplayCursor(source, timeline, options)
  private lazy var search = source.reopen().flatMap { ExitSearch($0, timeline, options) }
  private var isReadWhole = false
  /// Nanoseconds from the first event to the playing position.
  private(set) var position: UInt64 = 0
  private var reportedDamage = 0
  private var messages: [LogMessage] = []
  private let began = monotonicNanoseconds()
  /// Seconds of the recording per second of the clock.
  var speed = 1.0
  var isPaused = false
  private var lastAdvance: UInt64?
  /// What the figures are of, where it is not all up to the position; and those figures.
  private var range: (positions: Range<UInt64>, snapshot: Snapshot)?
  private var damageOfParts: [String] = []
  /// The figures of the part, once it is read whole.
  private var counted: Snapshot?
  /// What was shown last, and up to where all was counted: where nothing moved since, its interval is still the last one.
  private var shown: (position: UInt64, time: UInt64, snapshot: Snapshot)?
  /// What is compared with what comes after it.
  private var before: Snapshot?
  private var sequence: UInt64 = 0
  private var rateTimeline: (version: Int, timeline: RateTimeline)?

  /// What is counted of the recording, raw; nil for all of it.
  private let part: ClosedRange<UInt64>?

  /// - Parameter part: of it, to count only that; raw.
  /// - Throws: Where the recording's events cannot be counted.
  init(
    _ source: RecordedSource, _ options: SessionOptions, part: ClosedRange<UInt64>? = nil
  ) throws(SessionError) {
    self.source = source
    self.part = part
    self.options = options.counting(source.metadata)
    do {
      _ = try Aggregator(metadata: source.metadata, options: self.options)
    } catch {
      throw SessionError(error)
    }
  }

  convenience init(_ input: SessionInput, _ options: SessionOptions) throws(SessionError) {
    switch input {
    case .files(let paths, let span):
      let recording = try openRecording(paths)
      let part = try span.range(in: recording)
      let source = RecordedSource(recording, path: paths.joined(separator: ", "), options)
      try self.init(source, options, part: part)
    case .demo(let bytes):
      let file: TraceFile
      do { file = try TraceFile(borrowing: bytes) } catch { throw SessionError(error) }
      try self.init(RecordedSource(file, path: nil, isDemo: true, options), options)
    case .live, .stream: throw SessionError(.failure, "a live source is no recording")
    }
  }

  var duration: UInt64 { timeline.duration }

  var length: UInt64? { duration }

  var isFinished: Bool { isReadWhole || position >= end }

  /// Nothing comes after this.
  private var isAtEnd: Bool { isReadWhole || position >= duration }

  /// Where playing ends, nanoseconds from the recording's start.
  private var end: UInt64 { isInPart ? part.map { timeline.position(of: $0.upperBound) } ?? duration : duration }

  /// Since when it is counted, on the trace clock, raw.
  private var firstCounted: UInt64 { isInPart ? part?.lowerBound ?? timeline.bounds.first : timeline.bounds.first }

  /// Only the part is played; else all of the recording.
  private var isInPart = false

  /// Goes to the beginning of the part that was asked for, with nothing counted before it, and stays in it.
  func beginIntervals() {
    guard let part, !isInPart else { return }
    isInPart = true
    guard part.lowerBound > timeline.bounds.first else { return }
    position = timeline.position(of: part.lowerBound)
    head?.begin(at: part.lowerBound - 1)
  }

  /// Sums the recording up in the background, so that every place in it is near; shows the figures of the part that was asked
  /// for, with the playing position at its beginning.
  func beginShowing(interval: UInt64) {
    startTimeline()
    guard let part else { return }
    let first = timeline.position(of: part.lowerBound)
    seek(to: first, interval: interval)
    setRange(from: first, to: timeline.position(of: part.upperBound))
    isPaused = true
  }

  // MARK: - Requests

  func handle(
    _ command: SessionCommand, interval: UInt64, say: @escaping @Sendable (LogMessage.Level, String) -> Void
  ) -> CommandOutcome {
    switch command {
    case .setPaused(let isPaused): self.isPaused = isPaused
    case .setSpeed(let speed): self.speed = max(0.01, min(speed, 1000))
    case .seek(let position): seek(to: position, interval: interval)
    case .seekBy(let offset): seek(by: offset, interval: interval)
    case .step(let count):
      let span = Int64(clamping: count).multipliedReportingOverflow(by: Int64(clamping: interval)).partialValue
      seek(by: span, interval: interval)
    case .seekToExit(let reason, let forward): seekToExit(reason, forward: forward, interval: interval)
    case .stepExit(let count): stepExit(count, interval: interval)
    case .seekToChange(let control, let forward): seekToChange(control, forward: forward, interval: interval)
    case .seekToFieldChange(let tid, let part, let forward):
      seekToFieldChange(thread: tid, part, forward: forward, interval: interval)
    case .seekToWallClock(let time): seek(toWallClock: time, interval: interval)
    case .setRange(let from, let to):
      isPaused = true
      setRange(from: from, to: to)
    case .clearRange: clearRange()
    case .markBefore: markBefore()
    case .forgetBefore: forgetBefore()
    case .setInterval, .say, .watch: return .done
    case .toggleRecording: return .refused("this is a recording already")
    case .askVMM: return .refused("a recording has no VMM that could be asked")
    }
    return .changed
  }

  // MARK: - Pace

  /// A short recording gets finer samples, so that it still shows a course: sixty of them, but no more than twenty a second.
  func sampleLength(_ wanted: UInt64) -> UInt64 { min(wanted, max(duration / 60, 50_000_000)) }

  var isOver: Bool { isFinished }

  var isHeld: Bool { isFinished || isPaused }

  /// How often it moves on while it plays.
  var longestWait: Int32 { 40 }

  /// Its intervals are those of its own clock.
  func passInterval(_ interval: UInt64, isFirst: Bool, wake: Int32) -> IntervalPassage {
    if isFinished && !isFirst || wait(milliseconds: 0, wake: wake) { return .over }
    let quiet = skipQuiet(interval: interval) ?? 0
    let (next, overflow) = position.addingReportingOverflow(interval)
    playOn(to: overflow ? .max : next)
    return .passed(quiet: quiet)
  }

  // MARK: - Moving

  /// Sums the recording up in the background.
  func startTimeline() { timeline.start(source) }

  /// How much of it is summed up, nanoseconds from its start.
  var summedUp: UInt64 { timeline.position(of: timeline.progress.known) }

  func advance() {
    let now = monotonicNanoseconds()
    defer { lastAdvance = now }
    guard let lastAdvance, !isPaused, !isFinished else { return }
    let step = Double(now &- lastAdvance) * speed
    play(to: position &+ UInt64(max(0, min(step, 1e18))))
  }

  /// Counts up to a position, forward only.
  private func play(to target: UInt64) {
    position = min(max(position, target), end)
    head?.move(to: position >= duration ? .max : max(timeline.moment(of: position), head?.time ?? 0))
  }

  /// Plays up to a position at once: the next snapshot's interval is what came since the last one.
  func playOn(to target: UInt64) {
    play(to: target)
    lastAdvance = nil
  }

  /// Goes to a position. The interval before it is counted as one, so that rates read as if it had been played; the
  /// course of the rates is the time line's.
  func seek(to target: UInt64, interval: UInt64) {
    let target = min(target, duration)
    go(to: target >= duration ? .max : timeline.moment(of: target), position: target, interval)
  }

  /// Goes so far forward or, negative, back.
  private func seek(by offset: Int64, interval: UInt64) {
    let (sum, overflow) = Int64(clamping: position).addingReportingOverflow(offset)
    seek(to: overflow ? duration : UInt64(max(0, sum)), interval: interval)
  }

  /// Goes to a moment of the trace clock, where clocks that are no nanoseconds would miss it by their rounding.
  private func go(to moment: UInt64, position target: UInt64, _ interval: UInt64) {
    guard let head else { return }
    let begin = target > interval ? target - interval : 0
    if begin < position || moment < head.time || isReadWhole {
      isReadWhole = false
      head.goToStart()
    }
    let start = timeline.moment(of: begin)
    // The first event, too, is in the first interval.
    if begin > 0 { head.move(to: start) }
    head.beginInterval(at: start)
    // Where it was played up to there, the course is what was shown.
    if begin != position {
      let length = timeline.moment(of: interval) &- timeline.bounds.first
      head.setHistory(timeline.history(until: start, length: length, count: Self.historyLength - 1))
    }
    if target > 0 { head.move(to: moment) }
    shown = nil
    position = target
    lastAdvance = nil
  }

  private static let historyLength = 240

  /// Goes to the last whole interval before the next event if there are many without any: a damaged time stamp may lie
  /// centuries ahead. Returns what was passed over, in nanoseconds.
  func skipQuiet(interval: UInt64) -> UInt64? {
    let moment = timeline.moment(of: position)
    guard !isFinished, let head, let next = head.nextTimestamp, next > moment else { return nil }
    let intervals = head.counter.engine.nanoseconds(at: next &- moment) / max(1, interval)
    guard intervals > Self.mostQuietIntervals else { return nil }
    let before = position
    play(to: position &+ intervals &* max(1, interval))
    head.beginInterval(at: timeline.moment(of: position))
    shown = nil
    return position &- before
  }

  /// This many intervals without an event are shown one by one.
  private static let mostQuietIntervals: UInt64 = 60

  /// The moment up to which all is counted.
  private var present: UInt64 { isAtEnd ? timeline.bounds.last : head?.time ?? 0 }

  /// Goes to the next exit, or the one before.
  ///
  /// - Parameter reason: only exits of this one; nil: any.
  func seekToExit(_ reason: ReasonCode?, forward: Bool, interval: UInt64) {
    let found = search?.exit(reason, from: present, forward: forward)
    guard let found else { return note(forward ? "no such exit after this" : "no such exit before this") }
    go(to: found, position: timeline.position(of: found), interval)
  }

  /// Goes so many exits forward or, negative, back. Exits at the same time are passed together.
  func stepExit(_ count: Int, interval: UInt64) {
    var moment = present
    var steps = 0
    while steps < min(count.magnitude, Self.mostSteps),
      let next = search?.exit(nil, from: moment, forward: count > 0)
    {
      moment = next
      steps += 1
    }
    guard steps > 0 else { return note(count > 0 ? "no exit after this" : "no exit before this") }
    go(to: moment, position: timeline.position(of: moment), interval)
  }

  private static let mostSteps: UInt = 1000

  /// Goes to where a vCPU's control, or any of its setting, changes next, or did before.
  func seekToChange(_ control: ControlID?, forward: Bool, interval: UInt64) {
    guard let found = timeline.change(of: control, from: present, forward: forward) else {
      let isAll = timeline.progress.isComplete
      return note(
        "no such change \(forward ? "after" : "before") this\(isAll ? "" : ", as far as the recording is read")")
    }
    go(to: found, position: timeline.position(of: found), interval)
  }

  /// Goes to where a part of a vCPU's recorded state is another one next, or became what it is.
  func seekToFieldChange(thread: Int32, _ part: StatePart, forward: Bool, interval: UInt64) {
    // What is shown at its start is what was known at its first event.
    let moment = max(present, timeline.bounds.first)
    switch source.stateChange(of: part, thread: thread, from: moment, forward: forward) {
    case nil: note("the recording has no state of vCPUs")
    case .some(.none): note("no other value recorded \(forward ? "after" : "before") this")
    case .looked(let end):
      let (a, b) = (timeline.position(of: moment), min(timeline.position(of: end), duration))
      let seconds = (max(a, b) - min(a, b)) / 1_000_000_000
      note("no other value in the \(seconds) s \(forward ? "after" : "before") this; once more looks further")
    case .found(let found): go(to: found, position: timeline.position(of: found), interval)
    }
  }

  /// Goes to a moment of CLOCK_REALTIME, nanoseconds since 1970.
  func seek(toWallClock time: UInt64, interval: UInt64) {
    guard let first = wallClock else { return note("this recording does not tell the time of day") }
    seek(to: time > first ? time - first : 0, interval: interval)
  }

  private var wallClock: UInt64? {
    guard let offset = source.wallClockOffset else { return nil }
    let first = Int64(clamping: source.metadata.timeScale.nanoseconds(timeline.bounds.first))
    let (sum, overflow) = first.addingReportingOverflow(offset)
    return overflow || sum < 0 ? nil : UInt64(sum)
  }

  // MARK: - A part of it

  /// Every figure is of what came after one position and up to another from now on. The playing position stays.
  func setRange(from: UInt64, to: UInt64) {
    let positions = min(from, to, duration)..<min(max(from, to), duration)
    guard let snapshot = count(positions) else { return note("the range cannot be counted") }
    range = (positions, snapshot)
  }

  func clearRange() { range = nil }

  /// What came after one position and up to another: exact at both ends. A range from the start has the first event.
  func count(_ positions: Range<UInt64>) -> Snapshot? {
    count(
      after: positions.lowerBound > 0 ? timeline.moment(of: positions.lowerBound) : 0,
      through: positions.upperBound >= duration ? .max : timeline.moment(of: positions.upperBound))
  }

  /// What came after one moment of the trace clock and up to another.
  private func count(after start: UInt64, through end: UInt64) -> Snapshot? {
    // The playing position keeps its source.
    guard let own = source.reopen(), let head = try? ReplayCursor(own, timeline, options) else { return nil }
    let isFromStart = start < timeline.bounds.first
    let isToEnd = end >= timeline.bounds.last
    if !isFromStart { head.begin(at: start) }
    head.move(to: isToEnd ? .max : end)
    if isFromStart, isToEnd { head.countLosses { source.lostByCPU[$0] } }
    var snapshot = head.snapshot(
      now: isToEnd ? timeline.bounds.last : end, start: isFromStart ? timeline.bounds.first : start)
    describe(&snapshot, at: isToEnd ? timeline.bounds.last : end)
    // What is damaged shows where it is read.
    damageOfParts += own.damage.filter { !damageOfParts.contains($0) }
    return snapshot
  }

  // MARK: - Showing

  /// Reads everything, as fast as it goes.
  func finish() {
    isReadWhole = true
    shown = nil
    if let part {
      counted = count(after: part.lowerBound > 0 ? part.lowerBound - 1 : 0, through: part.upperBound)
    } else {
      head?.move(to: .max)
    }
  }

  func wait(milliseconds: Int32, wake: Int32) -> Bool {
    var descriptor = pollfd(fd: wake, events: Int16(POLLIN), revents: 0)
    return poll(&descriptor, 1, milliseconds) > 0
  }

  func snapshot() -> Snapshot {
    var snapshot = counted ?? range?.snapshot ?? countedSnapshot()
    sequence += 1
    snapshot.sequence = sequence
    if isReadWhole { return snapshot }
    // Figures are the range's; what the vCPUs' state was is a matter of the position.
    if range != nil { describe(&snapshot, at: present, isCountedUpTo: false) }
    var playback = playback(at: position)
    playback.range = range?.positions
    playback.rateTimeline = presentRateTimeline()
    snapshot.playback = playback
    return snapshot
  }

  private func playback(at position: UInt64) -> PlaybackState {
    var playback = PlaybackState(
      position: position, duration: duration, isPaused: isPaused, isFinished: isReadWhole || position >= end,
      speed: speed)
    playback.wallClock = wallClock
    return playback
  }

  // MARK: - What came after a place

  /// What lies between the place that was shown last and the position is counted by itself, too, wherever that goes.
  private func markBefore() {
    guard let head else { return }
    if shown == nil { _ = countedSnapshot() }
    guard let shown else { return }
    var before = shown.snapshot.countsAlone
    before.sequence = sequence
    before.playback = playback(at: shown.position)
    self.before = before
    head.compare(with: before, at: shown.time)
    self.shown?.snapshot.sinceMark = SinceMark(before: before, after: nil)
  }

  private func forgetBefore() {
    before = nil
    head?.endComparison()
    shown?.snapshot.sinceMark = nil
  }

  /// All up to the position.
  private func countedSnapshot() -> Snapshot {
    guard let head else { return Snapshot() }
    if let shown, shown.position == position { return shown.snapshot }
    // A recording of one instant is at its end before it was played.
    if isAtEnd {
      head.move(to: .max)
      head.countLosses { source.lostByCPU[$0] }
    }
    var snapshot = head.snapshot(
      now: isAtEnd ? timeline.bounds.last : timeline.moment(of: position), start: firstCounted)
    describe(&snapshot, at: present)
    snapshot.describeSinceMark()
    // At an earlier place there is nothing to compare with.
    if let before, snapshot.sinceMark == nil { snapshot.sinceMark = SinceMark(before: before, after: nil) }
    shown = (position, min(head.time, timeline.bounds.last), snapshot)
    return snapshot
  }

  /// A front draws it narrower than this.
  private static let rateBuckets = 480

  private func presentRateTimeline() -> RateTimeline? {
    let version = timeline.version
    if rateTimeline?.version != version { rateTimeline = (version, timeline.rateTimeline(buckets: Self.rateBuckets)) }
    return version == 0 ? nil : rateTimeline?.timeline
  }

  /// More of the recording is known than was shown.
  var hasNews: Bool { rateTimeline.map { $0.version != timeline.version } ?? true }

  /// Adds what is not counted: the source, and what the recording knows of the vCPUs at that moment.
  ///
  /// - Parameter isCountedUpTo: false where the events counted are not those up to that moment.
  private func describe(_ snapshot: inout Snapshot, at moment: UInt64, isCountedUpTo: Bool = true) {
    snapshot.describe(source.description)
    if snapshot.source.backend == nil {
      let isa = snapshot.source.isa
      snapshot.source.backend = isa == "vmx" ? "kvm_intel" : isa == "svm" ? "kvm_amd" : nil
    }
    guard let recorded = source.recorded(at: moment) else { return }
    snapshot.controlWords = recorded.words
    snapshot.states =
      recorded.isClockMonotonic && isCountedUpTo ? snapshot.freshened(recorded.states) : recorded.states
    snapshot.hostControls = recorded.hostControls
    snapshot.monotonic = recorded.monotonic
    snapshot.stateFailure =
      snapshot.states.isEmpty ? "Up to this moment no state was recorded but what the last exit told." : nil
  }

  private func note(_ text: String) { messages.append(LogMessage(.info, text, since: began)) }

  func maintain() {}

  func takeMessages() -> [LogMessage] {
    let all = damage
    defer {
      reportedDamage = all.count
      messages = []
    }
    return messages
      + all.dropFirst(reportedDamage).prefix(100).map { LogMessage(level: .error, seconds: 0, text: $0) }
  }

  func close() { timeline.stop() }

  var notes: [String] { source.remarks }

  var damage: [String] {
    let known = source.damage
    return damageOfParts.isEmpty ? known : known + damageOfParts.filter { !known.contains($0) }
  }
}
