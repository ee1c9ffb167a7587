import Aggregator
import Glibc
import HostFiles
import Recording
import Sampler
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
    /// Nothing can be written any more: the progress says why.
    case failed
  }

  private let pipeline: LivePipeline
  private let recording: LiveRecording
  private let began = monotonicNanoseconds()
  private var lost: UInt64 = 0
  private var wasDegraded = false
  private var isClosed = false

  /// Makes the trace instance and the recording.
  ///
  /// - Throws: With the code `unavailable` or `unsupported` where this host cannot be traced, or none of the processes is a VM's.
  public init(_ options: RecorderOptions) throws(SessionError) {
    let processes = options.live.processes ?? []
    pipeline = try LivePipeline(options.live, SessionOptions(processes: processes))
    recording = LiveRecording(
      pipeline, processes: processes, eventSet: options.live.events.rawValue,
      sumsPeriod: UInt64(max(0.1, min(options.interval, 86_400)) * 1e9))
    recording.program = options.program
    do throws(SessionError) {
      try recording.start(options.target, level: options.level, options: options.writing)
    } catch {
      pipeline.close()
      throw error
    }
    pipeline.watchState(ofAll: true)
    pipeline.hand(to: recording)
    noteMessages()
  }

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
      pipeline.advance()
      let now = monotonicNanoseconds()
      if now >= nextSecond {
        nextSecond = max(nextSecond &+ 1_000_000_000, now)
        everySecond()
        report(progress)
      }
      let writing = recording.writer?.progress ?? RecordingProgress()
      if writing.failure != nil { return .failed }
      if writing.hasReaderLeft { return .readerLeft }
      if writing.isDegraded != wasDegraded {
        wasDegraded = writing.isDegraded
        recording.note(
          wasDegraded ? "events are left out: they cannot be written fast enough" : "events are recorded again",
          isError: wasDegraded, at: pipeline.present)
      }
      if now >= end { return .timeIsOver }
      if isOver() { return .asked }
      let left = Int32(clamping: (min(end, nextSecond) &- now) / 1_000_000 &+ 1)
      // A wake-up at a quarter of the kernel's buffer comes of itself: no need to look more often while it is busy.
      if pipeline.wait(milliseconds: pipeline.sampler.isBehind ? 0 : min(left, Tick.idleMilliseconds), wake: wake) {
        return .woken
      }
    }
  }

  public var progress: RecorderProgress {
    var progress = RecorderProgress()
    progress.seconds = Double(monotonicNanoseconds() &- began) / 1e9
    progress.events = pipeline.countedEvents
    progress.lost = lost
    progress.writing = recording.writer?.progress ?? RecordingProgress()
    return progress
  }

  private func everySecond() {
    pipeline.maintain()
    noteMessages()
    lost = pipeline.sampler.lostEvents()
  }

  private func noteMessages() {
    for message in pipeline.takeMessages() {
      recording.note(message.text, isError: message.level == .error, at: pipeline.present)
    }
  }

  /// Takes what is left in the buffers, writes the end, and removes the trace instance.
  ///
  /// - Parameter commandStatus: the exit status of the command that was recorded.
  public func finish(commandStatus: UInt32? = nil) -> RecorderProgress {
    // A reader that left gets nothing more; otherwise all of it is in order once nothing more comes.
    pipeline.finish()
    lost = pipeline.sampler.lostEvents()
    var last = progress
    last.writing = recording.stop(pipeline, commandStatus: commandStatus)
    _ = close()
    return last
  }

  /// Removes the trace instance. Returns what prevented that.
  @discardableResult
  public func close() -> TracefsError? {
    guard !isClosed else { return nil }
    isClosed = true
    return pipeline.close()
  }

  deinit { close() }
}
