import Aggregator
import Glibc
import HostFiles
import KVMHost
import Recording
import Sampler
import TraceFormat
import Tracefs

/// What to record, and where to.
public struct RecorderOptions: Sendable {
  public var live: LiveOptions
  public var target: RecordingTarget
  public var level: RecordingLevel
  public var writing: RecordingOptions
  /// Seconds that sums are of: how near to a moment a summary tells what was counted.
  public var interval = 1.0
  /// The program that records, for the header.
  public var program = "vmctop"

  public init(
    live: LiveOptions = LiveOptions(), target: RecordingTarget, level: RecordingLevel = .events,
    writing: RecordingOptions = RecordingOptions()
  ) {
    self.live = live
    self.target = target
    self.level = level
    self.writing = writing
  }

  /// `vmctop-web01-2026-11-26-140231.vmctop`, in the working folder.
  public static func defaultPath(hostName: String?) -> String {
    var now = time(nil)
    var local = tm()
    localtime_r(&now, &local)
    func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
    let host = String((hostName ?? "host").map { $0.isLetter || $0.isNumber || "-._".contains($0) ? $0 : "_" })
    return "vmctop-\(host)-\(local.tm_year &+ 1900)-\(two(local.tm_mon &+ 1))-\(two(local.tm_mday))-"
      + "\(two(local.tm_hour))\(two(local.tm_min))\(two(local.tm_sec)).vmctop"
  }
}

/// What a recorder did so far.
public struct RecorderProgress: Sendable {
  /// Seconds since recording began.
  public var seconds = 0.0
  /// Events that were traced and read.
  public var events: UInt64 = 0
  /// Events that the kernel's buffers lost.
  public var lost: UInt64 = 0
  public var writing = RecordingProgress()

  public init() {}
}

/// Records this host: moves the sampler's pages to a writer at full speed, with what else there is to know. The trace
/// instance exists from `init` to `close`.
public final class Recorder {
  /// Why recording ended.
  public enum Ending: Sendable, Hashable {
    case timeIsOver
    /// By a signal: the descriptor `wake` was readable.
    case woken
    /// `isOver` said so.
    case asked
    /// The reader of the pipe went away.
    case readerLeft
    /// Nothing can be written any more.
    case failed(RecordingError)
  }

  private let sampler: LiveSampler
  private let tap: RecordingTap
  private let inventory: VMInventory
  private let stateWatch: StateWatch
  private var aggregator: Aggregator
  private var ladder = SumsLadder()
  private let sumsPeriod: UInt64
  private var nextSums: UInt64
  private var nextStates: UInt64
  /// Events of the sums that were cut.
  private var eventsCut: UInt64 = 0
  private var generation = 0
  private var threadsSeen = 0
  private var vms: [HostVM]
  private let processes: [Int32]
  private let began = monotonicNanoseconds()
  private var watermark: UInt64?
  private var lost: UInt64 = 0
  private var wasDegraded = false
  private var isClosed = false

  /// Makes the trace instance and the recording.
  ///
  /// - Throws: With the code `unavailable` or `unsupported` where this host cannot be traced, or none of the processes is a VM's.
  public init(_ options: RecorderOptions) throws(SessionError) {
    inventory = VMInventory(roots: options.live.roots)
    vms = inventory.scan()
    processes = options.live.processes ?? []
    sumsPeriod = UInt64(max(0.1, min(options.interval, 86_400)) * 1e9)
    nextSums = began &+ sumsPeriod
    nextStates = began
    try LiveFeed.check(processes, against: vms)
    do { sampler = try LiveSampler(options: options.live) } catch { throw SessionError(error) }
    tap = RecordingTap(
      sampler, roots: options.live.roots, processes: processes, eventSet: options.live.events.rawValue)
    tap.program = options.program
    do throws(SessionError) {
      aggregator = try Self.makeAggregator(sampler.metadata)
      try tap.start(options.target, level: options.level, options: options.writing)
    } catch {
      sampler.close()
      throw error
    }
    stateWatch = StateWatch(roots: options.live.roots)
    noteHost()
    for text in sampler.takeMessages() { tap.note(text, at: present) }
  }

  private static func makeAggregator(_ metadata: TraceMetadata) throws(SessionError) -> Aggregator {
    do {
      return try Aggregator(
        metadata: metadata,
        options: AggregatorOptions(countsOpenTime: true, fallbackName: fallbackNames(metadata.formats)))
    } catch {
      throw SessionError(.unsupported, error.description)
    }
  }

  /// The trace clock as far as everything is counted; CLOCK_MONOTONIC where it cannot be read.
  private var present: UInt64 { watermark ?? sampler.startedAt ?? monotonicNanoseconds() }

  /// Records until the time is over, `wake` is readable, `isOver` returns true, or nothing can be written any more.
  ///
  /// - Parameters:
  ///   - seconds: how long; nil for ever.
  ///   - wake: a descriptor that ends it, such as that of a signal.
  ///   - isOver: asked ten times a second.
  ///   - report: told once a second how it goes.
  public func run(
    seconds: Double?, wake: Int32 = -1, isOver: () -> Bool = { false }, report: (RecorderProgress) -> Void = { _ in }
  ) -> Ending {
    let end = seconds.map { monotonicNanoseconds() &+ UInt64(max(0, min($0, 1e9)) * 1e9) } ?? .max
    var nextSecond = monotonicNanoseconds()
    while true {
      drain()
      let now = monotonicNanoseconds()
      if now >= nextSecond {
        nextSecond = max(nextSecond &+ 1_000_000_000, now)
        everySecond()
        report(progress)
      }
      let writing = tap.writer?.progress ?? RecordingProgress()
      if let failure = writing.failure { return .failed(failure) }
      if writing.hasReaderLeft { return .readerLeft }
      if writing.isDegraded != wasDegraded {
        wasDegraded = writing.isDegraded
        tap.note(
          wasDegraded ? "events are left out: they cannot be written fast enough" : "events are recorded again",
          isError: wasDegraded, at: present)
      }
      if now >= end { return .timeIsOver }
      if isOver() { return .asked }
      let left = Int32(clamping: (min(end, nextSecond) &- now) / 1_000_000 &+ 1)
      // A wake-up at a quarter of the kernel's buffer comes of itself: no need to look more often while it is busy.
      if sampler.wait(milliseconds: sampler.isBehind ? 0 : min(left, Tick.idleMilliseconds), wake: wake) {
        return .woken
      }
    }
  }

  public var progress: RecorderProgress {
    var progress = RecorderProgress()
    progress.seconds = Double(monotonicNanoseconds() &- began) / 1e9
    progress.events = eventsCut &+ aggregator.countedEvents
    progress.lost = lost
    progress.writing = tap.writer?.progress ?? RecordingProgress()
    return progress
  }

  private func drain() {
    tap.beginDrain()
    watermark = sampler.drain()
    learnWords()
    aggregator.run(tap, until: watermark ?? .max)
    // Before the watermark is written: who reads the stream has the sums of what it has the pages of.
    if monotonicNanoseconds() >= nextSums {
      nextSums = max(nextSums &+ sumsPeriod, monotonicNanoseconds())
      cutSums()
    }
    tap.endDrain(watermark: watermark, isBehind: sampler.isBehind)
    if aggregator.threadCount > threadsSeen {
      threadsSeen = aggregator.threadCount
      lookAtHost()
    }
  }

  private func learnWords() {
    let isComparable = sampler.instance.clock == "mono"
    for change in stateWatch.takeChanges(until: isComparable ? watermark ?? .max : .max) {
      let time = isComparable ? change.time : present
      if isComparable { aggregator.run(tap, until: time) }
      aggregator.learn(change.words, at: time)
      tap.note(words: change.words, at: time)
    }
  }

  private func lookAtHost() {
    vms = inventory.scan()
    noteHost()
  }

  private func noteHost() {
    let shown = processes.isEmpty ? vms : vms.filter { processes.contains($0.pid) }
    aggregator.learn(LiveFeed.view(shown))
    stateWatch.watch(Set(shown.flatMap(\.vcpus).map(\.tid)))
    tap.note(host: shown, at: present)
  }

  private func everySecond() {
    sampler.maintain()
    for text in sampler.takeMessages() { tap.note(text, at: present) }
    if let text = stateWatch.takeMessage() { tap.note(text, at: present) }
    if sampler.metadataGeneration != generation {
      generation = sampler.metadataGeneration
      if let fresh = try? Self.makeAggregator(sampler.metadata) {
        cutSums()
        aggregator = fresh
        // What was counted before is another generation's.
        _ = aggregator.cut(at: present)
        ladder = SumsLadder()
        threadsSeen = 0
      }
    }
    lookAtHost()
    let latest = stateWatch.latest
    let isStateDue = monotonicNanoseconds() >= nextStates
    if isStateDue { nextStates = max(nextStates &+ sumsPeriod, monotonicNanoseconds()) }
    tap.everySecond(
      present, states: isStateDue ? latest.states.sorted { $0.key < $1.key }.map(\.value) : nil,
      controls: latest.hostControls)
    lost = sampler.lostEvents()
  }

  /// The counts of the interval that ends at the watermark go into a chunk SUMS, and into those of the levels above.
  private func cutSums() {
    let sums = aggregator.cut(at: max(watermark ?? 0, aggregator.lastCounted))
    eventsCut &+= sums.events
    guard sums.end > sums.start else { return }
    ladder.add(sums) { bytes, level, first, last in
      tap.note(sums: bytes, level: UInt32(level), first: first, last: last)
    }
  }

  /// Takes what is left in the buffers, writes the end, and removes the trace instance.
  ///
  /// - Parameter commandStatus: the exit status of the command that was recorded.
  public func finish(commandStatus: UInt32? = nil) -> RecorderProgress {
    let stopped = sampler.stop()
    // A reader that left gets nothing more; otherwise all of it is in order once nothing more comes.
    repeat {
      tap.beginDrain()
      _ = sampler.drain()
      aggregator.run(tap)
    } while sampler.isBehind || sampler.pagesOfLastDrain > 0
    watermark = stopped ?? watermark
    cutSums()
    stateWatch.stop()
    lost = sampler.lostEvents()
    var last = progress
    last.writing = tap.stop(commandStatus: commandStatus, watermark: stopped)
    _ = close()
    return last
  }

  /// Removes the trace instance. Returns what prevented that.
  @discardableResult
  public func close() -> TracefsError? {
    guard !isClosed else { return nil }
    isClosed = true
    stateWatch.stop()
    return sampler.close()
  }

  deinit { close() }
}
