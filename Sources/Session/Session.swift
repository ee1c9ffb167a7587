import Aggregator
import Architecture
import Glibc
import HostFiles
import Sampler
import Synchronization
import Threads
import TraceFormat
import Tracefs

/// What the front may ask of a running session.
public enum SessionCommand: Sendable {
  case setInterval(seconds: Double)
  case setPaused(Bool)
  /// Recordings: nanoseconds since the first event.
  case seek(UInt64)
  case seekBy(Int64)
  /// Recordings: so many samples forward or, negative, back.
  case step(Int)
  case setSpeed(Double)
  /// Recordings: to the next exit, or the one before; of this reason only, or of any.
  case seekToExit(reason: ReasonCode?, forward: Bool)
  /// Recordings: so many exits forward or, negative, back.
  case stepExit(Int)
  /// Recordings: to where this control of a vCPU, or any of its setting, changes next, or did before.
  case seekToChange(ControlID?, forward: Bool)
  /// Recordings: to where a part of a vCPU's recorded state is another one next, or became what it is.
  case seekToFieldChange(tid: Int32, field: StatePart, forward: Bool)
  /// Recordings: a moment of CLOCK_REALTIME, nanoseconds since 1970 (see `PlaybackState.wallClock`).
  case seekToWallClock(UInt64)
  /// Recordings: figures are of what came after one position and up to another, nanoseconds since the first event. The
  /// playing pauses.
  case setRange(from: UInt64, to: UInt64)
  /// Recordings: figures are of all up to the position again.
  case clearRange
  /// What comes after what was shown last is counted by itself, too (`Snapshot.sinceMark`): in a recording what lies between that
  /// place and the position, wherever it moves.
  case markBefore
  /// Ends that.
  case forgetBefore
  /// Live: read all of the state of these vCPUs, by thread, and of no others.
  case watch(Set<Int32>)
  /// Live: begin a recording into this file (nil: a name of its own in the working folder), with what the look-back holds;
  /// or end the one that runs. A message says where it is.
  case toggleRecording(path: String?)
  /// A line for the log.
  case say(LogMessage.Level, String)
  /// Live: asks the VMM of a vCPU's thread for its own view (`Snapshot.vmmReadings`), which kicks the vCPU; at most once a
  /// second. The log says what came of it.
  case askVMM(tid: Int32)
}

/// Runs a source into an aggregator and publishes snapshots: on the calling thread for triage and batch, on a thread
/// of its own for the terminal.
///
/// The live buffers are drained on a tick (see `Tick`) and not waited for event by event: such a wake-up would be paid
/// by the vCPU thread that writes it.
public final class Session {
  /// How often a held picture shows what more of the recording is known.
  private static let newsNanoseconds: UInt64 = 250_000_000

  private let feed: any Feed
  /// Seconds between snapshots; to be set before it runs.
  public var interval: Double = 1
  private let began = monotonicNanoseconds()
  private var log: [LogMessage] = []
  private var lastUse: (wall: UInt64, cpu: UInt64)?
  private var lastMaintenance: UInt64

  /// Opens the source. Live: the trace instance exists from here until `close`.
  public init(_ input: SessionInput, _ options: SessionOptions = SessionOptions()) throws(SessionError) {
    switch input {
    case .live(let live): feed = try LiveFeed(live, options)
    case .stream(let descriptor, let wake): feed = try StreamFeed(descriptor: descriptor, options, wake: wake)
    case .files, .demo: feed = try RecordingFeed(input, options)
    }
    lastMaintenance = monotonicNanoseconds()
  }

  /// True for a recording.
  public var isRecording: Bool { feed.length != nil }

  /// What was damaged in the recording, a line each.
  public var damage: [String] { feed.damage }

  /// What there is to say about what is counted of the recording, a line each.
  public var notes: [String] { feed.notes }

  /// Removes the trace instance. Must be called before the process ends.
  public func close() { feed.close() }

  // MARK: - On the calling thread

  /// Reads the control words of live vCPUs from kernel memory from now on, on a thread of its own. Does nothing for a
  /// recording.
  public func watchControls() { feed.watchControls() }

  /// Keeps the last seconds of live events in memory from now on, so that a recording may begin before it was asked for. Does
  /// nothing for a recording.
  ///
  /// - Parameters:
  ///   - seconds: how far back.
  ///   - bytes: of memory for it at most.
  public func keepLookBack(seconds: Double = 30, bytes: Int = 64 << 20) {
    feed.keepLookBack(seconds: seconds, bytes: bytes)
  }

  /// Reads a recording to its end and returns what it holds.
  public func readAll() -> Snapshot {
    feed.finish()
    return publish()
  }

  /// Counts a part of a recording: what came after one position and up to another, nanoseconds since the first event.
  /// Nil for a live source.
  public func count(_ positions: Range<UInt64>) -> Snapshot? { feed.count(positions) }

  /// Nanoseconds from a recording's first event to its last; nil for a live source.
  public var duration: UInt64? { feed.length }

  /// Counts live events for that long, or until `wake` is readable.
  public func collect(seconds: Double, wake: Int32 = -1) -> Snapshot {
    _ = pump(until: monotonicNanoseconds() &+ UInt64(max(0, min(seconds, 1e9)) * 1e9), wake)
    feed.finish()
    return publish()
  }

  /// Calls `body` with a snapshot per interval until it returns false, `count` are through, the recording ends, or
  /// `wake` is readable. A recording is not waited for: its intervals are those of its own clock, and where many follow
  /// each other without an event, `skipped` is told how long that is instead.
  public func forEachInterval(
    count: Int?, wake: Int32 = -1, skipped: (_ nanoseconds: UInt64) -> Void = { _ in },
    _ body: (Snapshot) throws -> Bool
  ) rethrows {
    let interval = UInt64(self.interval * 1e9)
    feed.beginIntervals()
    var done = 0
    var due = monotonicNanoseconds() &+ interval
    while count.map({ done < $0 }) ?? true {
      switch feed.passInterval(interval, isFirst: done == 0, wake: wake) {
      case .over: return
      case .passed(let quiet): if quiet > 0 { skipped(quiet) }
      case .takesTime:
        if pump(until: due, wake) {
          // What was counted until then is still shown.
          _ = try body(publish())
          return
        }
        due = max(due &+ interval, monotonicNanoseconds())
      }
      done += 1
      if try !body(publish()) { return }
    }
  }

  /// Drains on the tick until an instant of CLOCK_MONOTONIC. Returns whether `wake`, or the source's end, ended it.
  private func pump(until end: UInt64, _ wake: Int32) -> Bool {
    while true {
      feed.advance()
      let now = monotonicNanoseconds()
      maintainIfDue(now)
      if feed.isOver { return true }
      let due = feed.isStale ? end &+ Self.graceNanoseconds : end
      if now >= due { return false }
      if feed.wait(milliseconds: Int32(clamping: (due &- now) / 1_000_000 &+ 1), wake: wake) { return true }
    }
  }

  /// An interval waits so long for figures that are on their way.
  private static let graceNanoseconds: UInt64 = 1_500_000_000

  private func maintainIfDue(_ now: UInt64) {
    guard now &- lastMaintenance >= 1_000_000_000 else { return }
    lastMaintenance = now
    feed.maintain()
  }

  private func publish() -> Snapshot {
    var snapshot = feed.snapshot()
    log += feed.takeMessages()
    if log.count > 200 { log.removeFirst(log.count - 200) }
    snapshot.messages = log
    snapshot.ownUse = ownUse()
    return snapshot
  }

  private func say(_ level: LogMessage.Level, _ text: String) {
    log.append(LogMessage(level, text, since: began))
  }

  private func ownUse() -> OwnUse? {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    func microseconds(_ time: timeval) -> UInt64 { UInt64(time.tv_sec) &* 1_000_000 &+ UInt64(time.tv_usec) }
    let cpu = (microseconds(usage.ru_utime) &+ microseconds(usage.ru_stime)) &* 1000
    let wall = monotonicNanoseconds()
    defer { lastUse = (wall, cpu) }
    guard let lastUse, wall > lastUse.wall else { return nil }
    return OwnUse(
      cpu: Double(cpu &- lastUse.cpu) / Double(wall &- lastUse.wall), residentBytes: Self.residentBytes())
  }

  private static func residentBytes() -> UInt64 {
    let file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return 0 }
    defer { _ = Glibc.close(file) }
    var bytes = [UInt8](repeating: 0, count: 128)
    let count = read(file, &bytes, bytes.count)
    guard count > 0 else { return 0 }
    let fields = String(decoding: bytes[..<count], as: UTF8.self).split(separator: " ")
    return fields.count > 1 ? (UInt64(fields[1]) ?? 0) &* UInt64(getpagesize()) : 0
  }

  // MARK: - On a thread of its own

  /// The thread's loop: drain, count, publish each interval, do as told.
  fileprivate func loop(_ shared: RunningSession.Shared) {
    func sampleLength(_ seconds: Double) -> UInt64 { feed.sampleLength(UInt64(seconds * 1e9)) }
    var interval = sampleLength(self.interval)
    var due = monotonicNanoseconds()
    var publishNow = true
    var published: UInt64 = 0
    feed.beginShowing(interval: interval)
    while !shared.isStopped.load(ordering: .acquiring) {
      for command in shared.takeCommands() {
        switch command {
        case .setInterval(let seconds):
          interval = sampleLength(max(0.05, min(seconds, 3600)))
          due = monotonicNanoseconds() &+ interval
        case .say(let level, let text):
          say(level, text)
          publishNow = true
        default:
          switch feed.handle(command, interval: interval, say: { shared.add(.say($0, $1)) }) {
          case .done: break
          case .changed: publishNow = true
          case .refused(let reason):
            say(.info, reason)
            publishNow = true
          }
        }
      }
      let wasOver = feed.isOver
      feed.advance()
      if feed.isOver, !wasOver { publishNow = true }
      let now = monotonicNanoseconds()
      maintainIfDue(now)
      if feed.isHeld {
        // The time line grows while the picture stands.
        if feed.hasNews, now &- published >= Self.newsNanoseconds { publishNow = true }
        due = now &+ interval
      }
      // Figures that are on their way are waited for.
      let latest = feed.isStale ? due &+ min(interval, Self.graceNanoseconds) : due
      if now >= latest {
        publishNow = true
        due = max(due &+ interval, now)
      }
      if publishNow {
        shared.publish(publish())
        published = now
        publishNow = false
      }
      let next = max(due, latest)
      let left = Int32(clamping: next > now ? (next - now) / 1_000_000 &+ 1 : 0)
      let longest = feed.isHeld ? Int32(Self.newsNanoseconds / 1_000_000) : min(left, feed.longestWait)
      if feed.wait(milliseconds: longest, wake: shared.order.reading) { shared.order.drain() }
    }
    shared.damage.withLock { $0 = feed.damage }
    feed.close()
  }
}

/// A session on its own thread: the handle that the front holds.
public final class RunningSession: Sendable {
  /// What both threads touch.
  final class Shared: Sendable {
    let latest = Mutex<Snapshot?>(nil)
    let commands = Mutex<[SessionCommand]>([])
    let damage = Mutex<[String]>([])
    let isStopped = Atomic<Bool>(false)
    /// Readable when a snapshot is there.
    let wake: Doorbell
    /// Readable when a command is there.
    let order = Doorbell()

    init(wake: Doorbell) { self.wake = wake }

    func publish(_ snapshot: Snapshot) {
      latest.withLock { $0 = snapshot }
      wake.ring()
    }

    func add(_ command: SessionCommand) {
      commands.withLock { $0.append(command) }
      order.ring()
    }

    func takeCommands() -> [SessionCommand] {
      commands.withLock { list in
        defer { list = [] }
        return list
      }
    }
  }

  private let shared: Shared
  private let worker = WorkerThread("session")

  /// Hands the session to a thread of its own.
  ///
  /// - Parameters:
  ///   - wake: rung with each new snapshot; the front drains it.
  ///   - commands: what it does before it shows anything.
  public init(_ session: sending Session, wake: Doorbell, commands: [SessionCommand] = []) {
    shared = Shared(wake: wake)
    for command in commands { shared.add(command) }
    let shared = shared
    _ = worker.start { session.loop(shared) }
  }

  /// The newest snapshot that was not taken yet.
  public func takeLatest() -> Snapshot? {
    shared.latest.withLock { value in
      defer { value = nil }
      return value
    }
  }

  public func perform(_ command: SessionCommand) { shared.add(command) }

  /// Adds a line to the log of the snapshots to come.
  public func say(_ level: LogMessage.Level, _ text: String) { perform(.say(level, text)) }

  /// Ends the thread and waits for it; the trace instance is gone when this returns. Returns the damage met in a
  /// recording.
  @discardableResult
  public func stop() -> [String] {
    shared.isStopped.store(true, ordering: .releasing)
    shared.order.ring()
    worker.join()
    return shared.damage.withLock { $0 }
  }

  deinit { stop() }
}

/// A pipe that wakes the other thread's poll.
public final class Doorbell: Sendable {
  /// Readable once rung.
  public let reading: Int32
  private let writing: Int32

  public init() {
    var ends: [Int32] = [-1, -1]
    _ = pipe(&ends)
    for end in ends where end >= 0 {
      _ = fcntl(end, F_SETFL, O_NONBLOCK)
      _ = fcntl(end, F_SETFD, FD_CLOEXEC)
    }
    reading = ends[0]
    writing = ends[1]
  }

  deinit {
    _ = close(reading)
    _ = close(writing)
  }

  /// A full pipe has rung already.
  func ring() {
    var byte: UInt8 = 1
    _ = write(writing, &byte, 1)
  }

  func drain() {
    var bytes = [UInt8](repeating: 0, count: 64)
    while read(reading, &bytes, bytes.count) > 0 {}
  }
}
