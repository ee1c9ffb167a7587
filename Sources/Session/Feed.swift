import Aggregator
import HostFiles

/// What came of a command.
enum CommandOutcome: Sendable, Hashable {
  /// Nothing that is to be shown before it is due.
  case done
  /// What is shown changed: a snapshot is due now.
  case changed
  /// This kind of source cannot do it; why, for the log.
  case refused(String)
}

/// What became of an interval.
enum IntervalPassage: Sendable, Hashable {
  /// It takes as long as our clock says: events are brought in until then.
  case takesTime
  /// All of it is counted, and before it so many nanoseconds in which there was nothing.
  case passed(quiet: UInt64)
  /// There is no more of the source.
  case over
}

/// A source joined to its counter. What can be asked of a source, and at what pace it goes, each one answers for itself; a
/// session paces and publishes, and knows none by its type. Used by one thread at a time.
protocol Feed: AnyObject {
  // MARK: Counting

  /// Brings in and counts what there is up to now (live) or up to the playing position.
  func advance()
  /// Waits for the next tick, or until `wake` is readable. Returns whether it is.
  func wait(milliseconds: Int32, wake: Int32) -> Bool
  /// Ends counting: what was written until now is counted to the last event.
  func finish()
  /// Publishes the state of now and begins the next interval.
  func snapshot() -> Snapshot
  /// Once a second or so: what changes slowly (CPUs, modules, VMs).
  func maintain()
  /// What the source has to say since the last call.
  func takeMessages() -> [LogMessage]
  func close()
  /// Damage met in a recording.
  var damage: [String] { get }
  /// What there is to say about what is counted of a recording, no damage.
  var notes: [String] { get }

  // MARK: Requests

  /// Does what the front asks for.
  ///
  /// - Parameters:
  ///   - interval: nanoseconds from one snapshot to the next.
  ///   - say: adds a line to the log, later too, on any thread.
  func handle(
    _ command: SessionCommand, interval: UInt64, say: @escaping @Sendable (LogMessage.Level, String) -> Void
  ) -> CommandOutcome
  /// Reads the control words of vCPUs from kernel memory from now on, where there is one.
  func watchControls()
  /// Keeps the last events in memory from now on, where they are on their way only once.
  func keepLookBack(seconds: Double, bytes: Int)
  /// What came after one position and up to another, nanoseconds since the first event; nil where there is no going back.
  func count(_ positions: Range<UInt64>) -> Snapshot?
  /// Nanoseconds from the first event to the last, where it is known before they are read: of a recording.
  var length: UInt64? { get }

  // MARK: Pace

  /// Snapshots of it are going to be shown from now on.
  func beginShowing(interval: UInt64)
  /// It is going to be counted interval by interval.
  func beginIntervals()
  /// Goes on by an interval, where that takes no time.
  ///
  /// - Parameter wake: where it is readable, nothing more is counted.
  func passInterval(_ interval: UInt64, isFirst: Bool, wake: Int32) -> IntervalPassage
  /// Nanoseconds from one snapshot to the next that suit it, where so many are wanted.
  func sampleLength(_ wanted: UInt64) -> UInt64
  /// Nothing more will come.
  var isOver: Bool { get }
  /// Nothing was counted since the last snapshot, though something may be on its way: the interval may wait for it.
  var isStale: Bool { get }
  /// Its time stands still: no snapshot is due.
  var isHeld: Bool { get }
  /// There is something to be shown even while its time stands still.
  var hasNews: Bool { get }
  /// It is to be let go on that often.
  var longestWait: Int32 { get }
}

extension Feed {
  var notes: [String] { [] }
  func watchControls() {}
  func keepLookBack(seconds: Double, bytes: Int) {}
  func count(_ positions: Range<UInt64>) -> Snapshot? { nil }
  var length: UInt64? { nil }
  func beginShowing(interval: UInt64) {}
  func beginIntervals() {}
  func passInterval(_ interval: UInt64, isFirst: Bool, wake: Int32) -> IntervalPassage { .takesTime }
  func sampleLength(_ wanted: UInt64) -> UInt64 { wanted }
  var isOver: Bool { false }
  var isStale: Bool { false }
  var isHeld: Bool { false }
  var hasNews: Bool { false }
  var longestWait: Int32 { .max }
}

extension SessionCommand {
  /// What a source answers that goes on by itself, to a command that moves a recording. Not to hold still is no refusal: who
  /// asked for that holds its picture.
  var outcomeOfTimeThatPasses: CommandOutcome {
    switch self {
    case .setPaused, .setInterval, .say, .watch, .markBefore, .forgetBefore: .done
    case .toggleRecording: .refused("it is recorded where it comes from")
    case .askVMM: .refused("a recording has no VMM that could be asked")
    case .seek, .seekBy, .step, .setSpeed, .seekToExit, .stepExit, .seekToChange, .seekToFieldChange, .seekToWallClock,
      .setRange, .clearRange:
      .refused("for recordings only")
    }
  }
}

extension LogMessage {
  /// - Parameter began: CLOCK_MONOTONIC when the program did, nanoseconds.
  init(_ level: Level, _ text: String, since began: UInt64) {
    self.init(level: level, seconds: Double(monotonicNanoseconds() &- began) / 1e9, text: text)
  }
}

extension Snapshot {
  /// Says of what came after the mark what is known of all of it beside the counts.
  ///
  /// - Parameter uncounted: losses without a number that no buffer told.
  mutating func describeSinceMark(uncounted: UInt64 = 0) {
    guard let sinceMark, var after = sinceMark.after else { return }
    after.source = source
    after.controlWords = controlWords
    after.losses.uncounted &+= uncounted
    self.sinceMark = SinceMark(before: sinceMark.before, after: after)
  }
}
