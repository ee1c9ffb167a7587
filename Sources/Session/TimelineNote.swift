import Aggregator
import Architecture
import TraceFormat

/// What a recording knows of the vCPUs at a moment, as it would have been on the screen then.
struct RecordedMoment: Sendable {
  /// By thread.
  var words: [Int32: ControlSetting] = [:]
  var states: [Int32: VCPUReading] = [:]
  var hostControls: HostControls?
  /// The moment on CLOCK_MONOTONIC, which readings are stamped with; nil where the recording does not tell.
  var monotonic: UInt64?
  /// Whether the trace clock is that clock.
  var isClockMonotonic = false
}

/// What came of looking for a change of a vCPU's recorded state.
enum StateChange: Sendable, Hashable {
  /// The moment of the first reading with the other value, on the trace clock, raw.
  case found(UInt64)
  /// It does not change after that, or did not before.
  case none
  /// No change up to this moment, and enough read for one answer: asked the same again, the search goes on from there.
  case looked(to: UInt64)
}

/// Where a recording has sums.
struct StoredInterval: Sendable, Hashable {
  /// 0: not made of others; sums of level n are of sixteen of level n - 1, or fewer at the end.
  var level: Int
  /// As in `IntervalCounts`.
  var start: UInt64
  var end: UInt64
  /// By which the source finds them again.
  var id: UInt64
}

/// What a recording knows beside its events.
struct TimelineNote: Sendable {
  enum Content: Sendable {
    /// The control words of all vCPUs, as `Aggregator.learn` takes them.
    case words([Int32: ControlSetting])
    case host(HostView)
  }
  /// On the trace clock, raw.
  var time: UInt64
  var content: Content
}

extension Aggregator {
  /// Counts a recording's events up to a moment, with what is known beside them at its time.
  ///
  /// - Parameters:
  ///   - start: up to where it was counted before.
  ///   - pages: to stop after so many.
  /// - Returns: Up to where it counted: short of `end` where it stopped for the number of pages.
  @discardableResult
  mutating func run(
    _ source: RecordedSource, after start: UInt64, through end: UInt64, pages: Int = .max
  ) -> UInt64 {
    var noted = start
    for note in source.notes(after: start, through: end) {
      guard run(source, until: note.time, pages: pages) else { return max(noted, min(lastCounted, note.time)) }
      switch note.content {
      case .words(let words): learn(words, at: note.time)
      case .host(let host): learn(host)
      }
      noted = note.time
    }
    return run(source, until: end, pages: pages) ? end : max(noted, min(lastCounted, end))
  }
}
