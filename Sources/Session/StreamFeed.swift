import Aggregator
import Architecture
import Glibc
import HostFiles
import Recording
import TraceFormat

/// The events of another host's recorder, as they come through a pipe (`vmctop record -o - | ...`), counted and shown as live
/// ones are.
///
/// Pages are counted up to each watermark: all before it have come. Where the recorder left pages out, since the pipe did not
/// carry them, nothing is counted from the first of them on, until the recorder's own sums of that time are there: those have every
/// event. From their end on pages are counted again. Where no sums come, what is missing counts as lost.
final class StreamFeed: Feed {
  private let reader: StreamReader
  private let options: SessionOptions
  private var header: RecordingHeader
  private var metadata: TraceMetadata
  private var queue: RecordingPageQueue
  private var counter: Counter
  private var description: SourceDescription
  private let began = monotonicNanoseconds()
  private var messages: [LogMessage] = []
  /// Beside what the reader met.
  private var ownDamage: [String] = []
  private var reportedDamage = 0
  /// How often something is missing that nobody counted.
  private var unknownLosses: UInt64 = 0
  /// The same as it was shown last, and when what is compared with was.
  private var unknownLossesShown: UInt64 = 0
  private var unknownLossesBefore: UInt64 = 0

  /// Up to where all is counted, and since when, on the recorder's trace clock, raw.
  private var time: UInt64 = 0
  private var start: UInt64?
  private var clock: Clock?
  private var firstWatermark: UInt64?
  /// The smallest that this host's CLOCK_MONOTONIC was ahead of the recorder's when a pair of clocks came.
  private var clockOffset: Int64?
  private var progress = StreamState.Progress.running
  private var shown: (time: UInt64, snapshot: Snapshot)?
  private(set) var isOver = false

  /// What was learned beside the events, and is not counted yet.
  private var notes: [TimelineNote] = []
  private var words: [Int32: ControlSetting] = [:]
  private var host = HostView()
  private var states = StateDecoder()
  private var hostControls: HostControls?
  private var names: [Int32: String] = [:]

  /// By CPU: the counters of the recorder's buffers, what they were when counting began, and events that are missing since
  /// pages were left out.
  private var losses: [Int: UInt64] = [:]
  private var lossesBefore: [Int: UInt64] = [:]
  private var leftOut: [Int: UInt64] = [:]

  private var gap = Gap()
  private var sums = Chain()
  /// The last interval has figures from sums, or lacks some.
  private var tookSums = false
  private var lacksEvents = false

  /// A pair of clocks, and up to where all pages had come with it.
  private struct Clock {
    var record: ClockRecord
    var watermark: UInt64
    var arrival: UInt64
  }

  /// Pages that did not come.
  private struct Gap {
    /// It goes on.
    var isOpen = false
    /// Up to where something is missing.
    var end: UInt64 = 0
    /// Those whose end came, not made up for yet.
    var records: [GapRecord] = []
    /// No sums come in their place: counting goes on without them.
    var isGivenUp = false
    /// What is missing up to here was given up.
    var lostThrough: UInt64 = 0
    /// A block of pages came while it was open: its end is told next.
    var lastPages: UInt64?
  }

  /// The sums that came. The counter is marked where the last ones end up to which all was counted: from there on, what was
  /// counted from pages can be replaced by sums.
  private struct Chain {
    /// Where the last ones end, or the first ones must begin.
    var end: UInt64 = 0
    /// The last ones, and how long their interval is.
    var latest: IntervalCounts?
    /// Everything from the mark to `end`; nil where nothing came since, or not all did.
    var sinceMark: IntervalCounts?
    /// Some of what was counted from pages since the mark is missing.
    var isMarkBehindLosses = false
    /// Events that were given up before the mark.
    var leftOutBefore: [Int: UInt64] = [:]
  }

  /// Bytes of pages that may wait for a watermark, or for sums.
  private static let mostQueued = 128 << 20
  private static let mostNotes = 10_000
  /// In one go, so that there are snapshots in between.
  private static let longestAdvance: UInt64 = 200_000_000

  /// Waits for the recording's header.
  ///
  /// - Throws: With the code `damaged` where what comes is no recording, `unsupported` where it cannot be counted, `unavailable`
  ///   where `wake` was readable first.
  init(descriptor: Int32, _ options: SessionOptions, wake: Int32 = -1) throws(SessionError) {
    guard options.processes.isEmpty else {
      throw SessionError(.usage, "of a stream, the recorder chooses the VMs", hint: "vmctop record -p PID -o - | ...")
    }
    self.options = options
    reader = try StreamReader(descriptor: descriptor)
    let items: ArraySlice<StreamReader.Item>
    do throws(SessionError) {
      (header, items) = try Self.receiveHeader(reader, wake)
      metadata = try Self.metadata(header)
      queue = RecordingPageQueue(layout: metadata.page)
      counter = try Self.makeCounter(metadata, options)
    } catch {
      reader.stop()
      throw error
    }
    description = SourceDescription(header)
    start = header.startedAt
    time = start ?? 0
    counter.mark(at: 0)
    for item in items { take(item) }
  }

  deinit { reader.stop() }

  private static func receiveHeader(
    _ reader: StreamReader, _ wake: Int32
  ) throws(SessionError) -> (RecordingHeader, ArraySlice<StreamReader.Item>) {
    while true {
      let items = reader.take()
      for (index, item) in items.enumerated() {
        switch item {
        case .chunk(let chunk, let payload, _, _):
          guard chunk.kind == .header, let header = try? RecordingHeader(decoding: payload) else { continue }
          return (header, items[(index + 1)...])
        case .end(_, let isEmpty):
          throw SessionError(
            .damaged,
            isEmpty ? "no recording came: there is nothing in the stream" : "the stream is no recording of vmctop")
        case .failed(let error): throw SessionError(error)
        }
      }
      if waitFor(reader, milliseconds: -1, wake: wake) {
        throw SessionError(.unavailable, "no recording came")
      }
    }
  }

  /// Returns whether `wake` is readable.
  private static func waitFor(_ reader: StreamReader, milliseconds: Int32, wake: Int32) -> Bool {
    var set = [
      pollfd(fd: wake, events: Int16(POLLIN), revents: 0),
      pollfd(fd: reader.bell.reading, events: Int16(POLLIN), revents: 0),
    ]
    return poll(&set, 2, milliseconds) > 0 && set[0].revents != 0
  }

  private static func metadata(_ header: RecordingHeader) throws(SessionError) -> TraceMetadata {
    do { return try header.metadata() } catch { throw SessionError(error) }
  }

  private static func makeCounter(
    _ metadata: TraceMetadata, _ options: SessionOptions
  ) throws(SessionError) -> Counter {
    do {
      return try Counter(metadata: metadata, options: options.counting(metadata, isLive: true))
    } catch {
      throw SessionError(error)
    }
  }

  // MARK: - What comes

  func advance() {
    let end = monotonicNanoseconds() &+ Self.longestAdvance
    while !isOver {
      let items = reader.take()
      if items.isEmpty { return }
      for item in items { take(item) }
      if monotonicNanoseconds() >= end { return }
    }
  }

  private func take(_ item: StreamReader.Item) {
    switch item {
    case .chunk(let chunk, let payload, let arrival, let followsDamage):
      if followsDamage {
        queue.noteDamage()
        unknownLosses &+= 1
      }
      // Its end is told with the first pages after it: where it is not, that is what is damaged.
      if let last = gap.lastPages, chunk.kind != .gap { endGap(GapRecord(isOpen: false), last: last) }
      do throws(RecordingError) { try take(chunk, payload, arrival) } catch { noteDamage("\(error)") }
    case .end(let isWhole, _): end(isWhole: isWhole)
    case .failed(let error):
      noteDamage("\(error)")
      end(isWhole: false)
    }
  }

  private func take(_ chunk: ChunkHeader, _ payload: [UInt8], _ arrival: UInt64) throws(RecordingError) {
    switch chunk.kind {
    case .header: begin(try RecordingHeader(decoding: payload), at: chunk.first)
    case .pages: takePages(chunk, payload)
    case .gap:
      let record = try GapRecord(decoding: payload)
      if record.isOpen { beginGap() } else { endGap(record, last: chunk.last) }
    case .sums where chunk.stream == 0: try takeSums(payload)
    case .clock:
      let record = try ClockRecord(decoding: payload)
      note(record, arrival)
      clock = Clock(record: record, watermark: chunk.first, arrival: arrival)
      firstWatermark = firstWatermark ?? chunk.first
      countOn()
    case .words: add(TimelineNote(time: chunk.first, content: .words(try WordsRecord(decoding: payload).words)))
    case .host:
      let host = try HostView(decoding: payload).selected(threads: nil, vcpus: options.vcpus)
      add(TimelineNote(time: chunk.first, content: .host(host)))
      // Sums have it: until they come, there is nothing that it could be early for.
      if header.level == .summary, sums.latest == nil { counter.engine.learn(host) }
    case .state: try states.decode(payload)
    case .controls: hostControls = try ControlsRecord(decoding: payload).controls
    case .losses:
      for cpu in try LossRecord(decoding: payload).cpus {
        // Also of a CPU that lost everything.
        guard queue.prepare(cpu: cpu.cpu) != nil else { continue }
        losses[Int(cpu.cpu)] = cpu.lost
      }
    case .note:
      let record = try NoteRecord(decoding: payload)
      say(record.isError ? .warning : .info, "recorder: \(sanitized(record.text))")
    case .threadNames: names = try ThreadNamesRecord(decoding: payload).names.mapValues { sanitized($0) }
    case .end: takeEnd(try EndRecord(decoding: payload))
    default: break
    }
  }

  /// The header once more, or that of other events: then counting starts afresh, as it did for the recorder.
  private func begin(_ next: RecordingHeader, at moment: UInt64) {
    guard next.generation != header.generation else { return }
    do throws(SessionError) {
      let metadata = try Self.metadata(next)
      counter = try Self.makeCounter(metadata, options)
      self.metadata = metadata
    } catch {
      return noteDamage("\(error)")
    }
    header = next
    description = SourceDescription(next)
    queue = RecordingPageQueue(layout: metadata.page)
    counter.engine.learn(host)
    counter.engine.learn(words, at: moment)
    time = moment
    start = moment
    shown = nil
    gap = Gap()
    sums = Chain(end: moment)
    counter.mark(at: moment)
    lossesBefore = losses
    leftOut = [:]
    say(.info, "the kernel's events changed: counting starts afresh")
  }

  private func takePages(_ chunk: ChunkHeader, _ payload: [UInt8]) {
    guard chunk.flags.generation == header.generation & 0xff else {
      // Their header is missing: there is no reading them.
      unknownLosses &+= 1
      return queue.noteDamage()
    }
    queue.add(chunk, payload)
    if gap.isOpen { gap.lastPages = max(gap.lastPages ?? 0, chunk.last) }
    guard queue.bytes > Self.mostQueued else { return }
    // Neither a watermark nor sums: with the latter, it is a gap like any other.
    gap.end = max(gap.end, queue.dropAll())
    lacksEvents = true
    if sums.latest == nil {
      unknownLosses &+= 1
      noteDamage("more pages came than can be kept, and nothing that tells how far they may be counted")
    }
  }

  private func add(_ note: TimelineNote) {
    if notes.count >= Self.mostNotes { notes.removeFirst() }
    notes.append(note)
  }

  private func takeEnd(_ record: EndRecord) {
    if record.reason == .failed { noteDamage("the recorder failed to write all of it") }
    if let status = record.commandStatus { say(.info, "the recorded command ended with status \(status)") }
  }

  private func end(isWhole: Bool) {
    isOver = true
    gap.lastPages = nil
    if isWhole {
      catchUp()
      if isHoley { giveUp() }
      play(to: .max)
      say(.info, "the recording ended")
    } else {
      // The first thing to be told: it is why.
      ownDamage.insert("the stream is cut off: the recorder or the way to it is gone", at: 0)
      say(.error, ownDamage[0])
    }
    progress = isWhole ? .ended : .cutOff
  }

  // MARK: - Counting

  private func countOn() {
    catchUp()
    guard !isHoley, header.level == .events, let clock else { return }
    // Nothing tells the time: what came is counted, as the recorder did.
    if clock.watermark == 0 { play(to: .max) } else if clock.watermark > time { play(to: clock.watermark) }
  }

  /// Counts pages up to a moment, and what is known beside them at its time; `.max`: all that came.
  private func play(to end: UInt64) {
    var left: [TimelineNote] = []
    for note in notes {
      guard note.time <= end else {
        left.append(note)
        continue
      }
      if clock?.watermark != 0 { count(to: note.time) }
      apply(note)
    }
    notes = left
    count(to: end)
  }

  private func count(to end: UInt64) {
    if sums.end > time, sums.end <= end, !sums.isMarkBehindLosses {
      counter.run(queue, until: sums.end)
      time = sums.end
      mark()
    }
    guard end > time else { return }
    counter.run(queue, until: end)
    time = end == .max ? max(time, counter.engine.lastCounted, clock?.watermark ?? 0) : end
  }

  private func apply(_ note: TimelineNote) {
    switch note.content {
    case .words(let words):
      self.words = words
      counter.engine.learn(words, at: note.time)
    case .host(let host):
      self.host = host
      counter.engine.learn(host)
    }
  }

  // MARK: - Gaps

  /// Something after the present moment is missing, and sums may tell what.
  private var isHoley: Bool { !gap.isGivenUp && (gap.isOpen || gap.end > time) }

  private func beginGap() {
    if !gap.isOpen {
      gap.isOpen = true
      queue.beginGap()
      say(.warning, "the pipe does not carry all events: what the recorder counted is shown, second by second")
    }
    catchUp()
  }

  private func endGap(_ record: GapRecord, last: UInt64) {
    gap.isOpen = false
    gap.lastPages = nil
    if !record.cpus.isEmpty { gap.records.append(record) }
    if gap.isGivenUp || last <= gap.lostThrough { return giveUp() }
    gap.end = max(gap.end, last)
    // What is counted from sums already is not missing.
    if gap.end <= time { heal() } else { catchUp() }
  }

  /// All that is missing is counted from sums.
  private func heal() {
    let events = gap.records.reduce(0) { $0 &+ $1.events }
    if events > 0 { say(.info, "all events come again; \(events) were counted by the recorder alone") }
    gap = Gap()
    queue.forgiveGaps()
  }

  /// No sums come: what is missing is lost.
  private func giveUp() {
    for cpu in gap.records.flatMap(\.cpus) { leftOut[Int(cpu.cpu), default: 0] &+= cpu.events }
    gap.records = []
    gap.lostThrough = max(gap.lostThrough, gap.end, clock?.watermark ?? 0)
    gap.end = 0
    gap.isGivenUp = gap.isOpen
    lacksEvents = true
    // Without sums since the mark nothing would make up for it: the next mark is as good.
    sums.isMarkBehindLosses = counter.totals.isMarked
  }

  // MARK: - Sums

  private func takeSums(_ payload: [UInt8]) throws(RecordingError) {
    let next: IntervalCounts
    do { next = try IntervalCounts(bytes: payload) } catch {
      throw RecordingError("a chunk SUMS is malformed", of: error)
    }
    guard next.isResumable, next.end > next.start else { return }
    let isNext = next.start == sums.end
    sums.latest = next
    sums.end = next.end
    if header.level == .summary {
      if next.start > time, time > 0 { unknownLosses &+= 1 }
      return countSums(next)
    }
    if !isNext || !counter.totals.isMarked {
      // Without those before them they are no sum of all. There is one as soon as pages are counted up to their end.
      sums.sinceMark = nil
      sums.isMarkBehindLosses = false
      counter.unmark()
    } else if sums.sinceMark != nil {
      sums.sinceMark?.merge(next)
    } else {
      sums.sinceMark = next
    }
    // Late, but here.
    if isNext, gap.isOpen { gap.isGivenUp = false }
    catchUp()
  }

  /// Where pages are missing, goes on by sums as far as there are any.
  private func catchUp() {
    guard isHoley else { return }
    if let latest = sums.latest, sums.end > time {
      let before = time
      if let all = sums.sinceMark {
        prepareStreams(all)
        counter.replaceSinceMark(with: all)
        // They have what was given up since.
        leftOut = sums.leftOutBefore
        gap.lostThrough = 0
        resume(latest)
      } else if latest.start >= time {
        if latest.start > time { unknownLosses &+= 1 }
        countSums(latest)
      }
      if time > before {
        tookSums = true
        mark()
      }
    }
    guard isHoley else { return }
    if !gap.isOpen, gap.end <= time { return heal() }
    if let clock {
      let since = max(time, firstWatermark ?? clock.watermark)
      if clock.watermark > since, scaled(clock.watermark - since) > patience { giveUp() }
    }
  }

  /// All is counted up to the end of the last sums: what comes from here on may be replaced by the next ones.
  private func mark() {
    counter.mark(at: time)
    sums.sinceMark = nil
    sums.isMarkBehindLosses = false
    sums.leftOutBefore = leftOut
  }

  /// How long sums are waited for.
  private var patience: UInt64 {
    guard let latest = sums.latest else { return Self.shortestPatience }
    let span = scaled(latest.end &- latest.start)
    return max(Self.shortestPatience, min(span, .max / 2) * 2)
  }

  private static let shortestPatience: UInt64 = 3_000_000_000

  private func scaled(_ span: UInt64) -> UInt64 { metadata.timeScale.nanoseconds(span) }

  /// Adds the sums of the time after the present moment.
  private func countSums(_ next: IntervalCounts) {
    prepareStreams(next)
    counter.bringIn(at: time)
    counter.add(next)
    resume(next)
  }

  /// Of the engine's streams, those of the queue come first, in its order.
  private func prepareStreams(_ sums: IntervalCounts) {
    for stream in sums.streams where stream.cpu >= 0 { queue.prepare(cpu: UInt32(clamping: stream.cpu)) }
    counter.engine.prepare(queue.streams)
  }

  private func resume(_ sums: IntervalCounts) {
    queue.repeatPages()
    guard counter.engine.resume(from: sums, streams: queue.streams) else { return }
    time = sums.end
    queue.drop(through: time)
    // They know it already.
    for note in notes where note.time <= time {
      switch note.content {
      case .words(let words): self.words = words
      case .host(let host): self.host = host
      }
    }
    notes.removeAll { $0.time <= time }
    if !options.vcpus.isEmpty { counter.engine.learn(host) }
    if !gap.isOpen, gap.end > 0, gap.end <= time { heal() }
  }

  // MARK: - Clocks

  private func note(_ record: ClockRecord, _ arrival: UInt64) {
    let ahead = Int64(clamping: arrival) &- Int64(clamping: record.monotonic)
    guard let known = clockOffset else {
      clockOffset = ahead
      return
    }
    // Two hosts' clocks drift apart, by less than a ten thousandth.
    let allowance = Int64(clamping: (arrival &- min(arrival, clock?.arrival ?? arrival)) / 10_000)
    clockOffset = ahead <= known ? ahead : known &+ min(ahead &- known, allowance)
  }

  /// CLOCK_MONOTONIC of the recorder's host now, as far as the fastest chunk told; when it ended, that of its last word.
  private var recorderClock: UInt64? {
    guard let clock, let clockOffset else { return nil }
    if progress != .running { return clock.record.monotonic }
    let now = Int64(clamping: monotonicNanoseconds())
    return UInt64(max(0, now &- clockOffset))
  }

  /// How far behind that what is counted is.
  private var lag: UInt64 {
    guard progress == .running, let clock, let now = recorderClock else { return 0 }
    var counted = clock.record.monotonic
    if let trace = clock.record.trace, time > 0 {
      counted = trace > time ? counted - min(counted, scaled(trace - time)) : counted
    }
    return now - min(now, counted)
  }

  // MARK: - Showing

  func handle(
    _ command: SessionCommand, interval: UInt64, say: @escaping @Sendable (LogMessage.Level, String) -> Void
  ) -> CommandOutcome {
    switch command {
    case .markBefore:
      guard let shown else { return .refused("nothing was counted yet") }
      counter.compare(with: shown.snapshot)
      unknownLossesBefore = unknownLossesShown
    case .forgetBefore: counter.endComparison()
    default: break
    }
    return command.outcomeOfTimeThatPasses
  }

  func wait(milliseconds: Int32, wake: Int32) -> Bool {
    guard isOver else { return Self.waitFor(reader, milliseconds: milliseconds, wake: wake) }
    var set = pollfd(fd: wake, events: Int16(POLLIN), revents: 0)
    return poll(&set, 1, milliseconds) > 0
  }

  /// Counts what came until now.
  func finish() { advance() }

  func maintain() {}

  var isStale: Bool { progress == .running && shown?.time == time }

  func snapshot() -> Snapshot {
    // Where nothing more was counted, the last interval still is the last one.
    var snapshot: Snapshot
    if let shown, shown.time == time { snapshot = shown.snapshot } else { snapshot = countedSnapshot() }
    snapshot.stream?.progress = progress
    snapshot.stream?.lag = lag
    snapshot.monotonic = recorderClock
    return snapshot
  }

  private func countedSnapshot() -> Snapshot {
    counter.countLosses(all: true) { cpu in
      let lost = losses[cpu].map { $0 &- min($0, lossesBefore[cpu] ?? 0) }
      let left = leftOut[cpu]
      return lost == nil && left == nil ? nil : (lost ?? 0) &+ (left ?? 0)
    }
    var snapshot = counter.snapshot(
      now: start.map { max($0, time) }, start: start, commandNames: names)
    snapshot.losses.uncounted &+= unknownLosses
    unknownLossesShown = unknownLosses
    snapshot.describe(description)
    snapshot.controlWords = words
    let states = self.states.byThread
    // The last exit is newer only where the trace clock is the one that readings are stamped with.
    snapshot.states = header.clock == "mono" ? snapshot.freshened(states) : states
    if snapshot.states.isEmpty { snapshot.stateFailure = "the recorder has sent no state of its vCPUs" }
    snapshot.hostControls = hostControls
    let source: StreamState.Source =
      if header.level == .summary {
        .sums
      } else if lacksEvents || gap.isGivenUp {
        .incomplete
      } else {
        tookSums || isHoley ? .sumsForEvents : .events
      }
    snapshot.stream = StreamState(source: source)
    tookSums = false
    lacksEvents = false
    snapshot.describeSinceMark(uncounted: unknownLosses &- unknownLossesBefore)
    shown = (time, snapshot)
    return snapshot
  }

  // MARK: - Telling

  private func say(_ level: LogMessage.Level, _ text: String) {
    guard messages.count < 100 else { return }
    messages.append(LogMessage(level, text, since: began))
  }

  private func noteDamage(_ text: String) {
    guard ownDamage.count < 100 else { return }
    ownDamage.append(text)
    say(.error, text)
  }

  func takeMessages() -> [LogMessage] {
    for damage in reader.damage.dropFirst(reportedDamage) {
      say(.error, "\(damage)")
      reportedDamage += 1
    }
    defer { messages = [] }
    return messages
  }

  var damage: [String] { ownDamage + reader.damage.map { "\($0)" } }

  func close() { reader.stop() }
}
