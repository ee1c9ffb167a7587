import Aggregator
import Architecture
import TraceFormat
import Tracefs

/// A recording, as far as playing it and moving about in it need to know.
///
/// Used by one thread at a time; `another` gives one for a second thread.
public protocol TimelineSource: SeekablePageSource {
  var metadata: TraceMetadata { get }
  var description: SourceDescription { get }
  /// Raw timestamps of the first and the last event; nil where there is none.
  func timeBounds() -> (first: UInt64, last: UInt64)?
  /// A second reader of the same recording; nil where that cannot be had.
  func another() -> (any TimelineSource)?
  /// The sums that the recording has, in order of their beginning, of all levels. Those of level 0 have what it takes to
  /// go on counting from their end. Empty: the time line counts for itself.
  var storedSums: [StoredSums] { get }
  /// Nil where they are damaged.
  func sums(_ stored: StoredSums) -> Sums?
  /// What was learned beside the events after one moment and up to another, in order of time.
  func notes(after: UInt64, through: UInt64) -> [TimelineNote]
  /// Events lost by CPU in the whole recording by its recorder's own statistics, which know of those that no page tells.
  var lostByCPU: [Int: UInt64] { get }
  /// CLOCK_REALTIME less the trace clock in nanoseconds; nil where the recording does not tell.
  var wallClockOffset: Int64? { get }
  /// What was found damaged so far, a line each.
  var damage: [String] { get }
  /// What there is to say about what is counted, a line each; no damage.
  var remarks: [String] { get }
  /// The VMs that the recording tells without a time.
  var host: HostView? { get }
  /// What was known of the vCPUs at a moment of the trace clock, raw; nil where the recording has nothing of the kind.
  func standing(at moment: UInt64) -> RecordedStanding?
  /// Where a part of a vCPU's recorded state is another one after a moment of the trace clock, raw, or was another one
  /// before. Nil where the recording has no state.
  func stateChange(of part: StatePart, thread: Int32, from moment: UInt64, forward: Bool) -> StateChange?
}

extension TimelineSource {
  public var storedSums: [StoredSums] { [] }
  public func sums(_ stored: StoredSums) -> Sums? { nil }
  public func notes(after: UInt64, through: UInt64) -> [TimelineNote] { [] }
  public var lostByCPU: [Int: UInt64] { [:] }
  public var wallClockOffset: Int64? { nil }
  public var remarks: [String] { [] }
  public var host: HostView? { nil }
  public func standing(at moment: UInt64) -> RecordedStanding? { nil }
  public func stateChange(of part: StatePart, thread: Int32, from moment: UInt64, forward: Bool) -> StateChange? { nil }
}

/// What a recording knows of the vCPUs at a moment, as it would have been on the screen then.
public struct RecordedStanding: Sendable {
  /// By thread.
  public var words: [Int32: ControlSetting] = [:]
  public var states: [Int32: VCPUReading] = [:]
  public var hostControls: HostControls?
  /// The moment on CLOCK_MONOTONIC, which readings are stamped with; nil where the recording does not tell.
  public var monotonic: UInt64?
  /// Whether the trace clock is that clock.
  public var isClockMonotonic = false
}

/// What came of looking for a change of a vCPU's recorded state.
public enum StateChange: Sendable, Hashable {
  /// The moment of the first reading with the other value, on the trace clock, raw.
  case found(UInt64)
  /// It does not change after that, or did not before.
  case none
  /// No change up to this moment, and enough read for one answer: asked the same again, the search goes on from there.
  case looked(to: UInt64)
}

/// Where a recording has sums.
public struct StoredSums: Sendable, Hashable {
  /// 0: not made of others; sums of level n are of sixteen of level n - 1, or fewer at the end.
  public var level: Int
  /// As in `Sums`.
  public var start: UInt64
  public var end: UInt64
  /// By which the source finds them again.
  public var id: UInt64

  public init(level: Int, start: UInt64, end: UInt64, id: UInt64) {
    self.level = level
    self.start = start
    self.end = end
    self.id = id
  }
}

/// What a recording knows beside its events.
public struct TimelineNote: Sendable {
  public enum Content: Sendable {
    /// The control words of all vCPUs, as `Aggregator.learn` takes them.
    case words([Int32: ControlSetting])
    case host(HostView)
  }
  /// On the trace clock, raw.
  public var time: UInt64
  public var content: Content

  public init(time: UInt64, content: Content) {
    self.time = time
    self.content = content
  }
}

extension TimelineSource {
  /// An aggregator that stands before the first event, and knows what the recording tells without a time.
  func makeAggregator(_ options: AggregatorOptions) throws(AggregatorError) -> Aggregator {
    var aggregator = try Aggregator(metadata: metadata, options: options)
    aggregator.prepare(streams)
    if let host { aggregator.learn(host) }
    return aggregator
  }

  /// The same for who shows what it counts.
  func makeCounter(_ options: AggregatorOptions) throws(AggregatorError) -> Counter {
    Counter(try makeAggregator(options))
  }

  /// Goes to where an aggregator stands that was resumed; to the beginning for a new one.
  func seek(toWhere aggregator: borrowing Aggregator) {
    let pages = aggregator.pagesToResume
    for stream in streams.indices { seek(stream: stream, to: pages.indices.contains(stream) ? pages[stream] : nil) }
  }
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
    _ source: any TimelineSource, after start: UInt64, through end: UInt64, pages: Int = .max
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
