import Aggregator
import TraceFormat

/// A place in a recording with everything counted up to it: sums where the time line has them, events for the rest.
final class ReplayCursor {
  private let source: RecordedSource
  private let timeline: Timeline
  private let options: AggregatorOptions
  private(set) var counter: Counter
  /// Up to where all is counted, on the trace clock, raw; 0 before the first event.
  private(set) var time: UInt64 = 0
  /// What lies after this moment is counted by itself, too, beside what was shown there.
  private var mark: (time: UInt64, before: Snapshot)?
  /// Neither the source nor the engine stands there.
  private var isDetached = false

  /// Sums of fewer events than this are not worth taking instead: the events are counted as fast.
  private static let fewEvents: UInt64 = 20_000

  /// - Throws: Where the recording's events cannot be counted.
  init(
    _ source: RecordedSource, _ timeline: Timeline, _ options: AggregatorOptions
  ) throws(AggregatorError) {
    self.source = source
    self.timeline = timeline
    self.options = options
    counter = try source.makeCounter(options)
  }

  /// Forgets everything, and stands before the first event.
  func goToStart() {
    if let fresh = try? source.makeCounter(options) { counter = fresh }
    source.seek(toWhere: counter.engine)
    time = 0
    isDetached = false
  }

  /// Counts up to a moment. For one that is behind, from the start again: from sums, where there are any.
  ///
  /// - Parameter target: on the trace clock, raw; the maximum for the recording's end.
  func move(to target: UInt64) {
    if target < time { goToStart() }
    while let mark, mark.time <= target, !counter.totals.isComparing {
      // Sums that turned out to be damaged made it begin anew.
      if time > mark.time { goToStart() }
      count(to: mark.time)
      counter.compare(with: mark.before, at: mark.time)
      count(to: target)
    }
    count(to: target)
  }

  private func count(to target: UInt64) {
    while time < target {
      if let node = timeline.node(from: time, through: target),
        isDetached || node.events >= Self.fewEvents, let sums = timeline.load(node, from: source)
      {
        if !isDetached { counter.bringIn(at: time) }
        counter.add(sums)
        time = node.end
        isDetached = true
        continue
      }
      if isDetached, !attach() { continue }
      // Up to where the next sums begin, unless the target is before their end.
      let stop = timeline.nextNode(after: time, through: target).map { min($0.start, target) } ?? target
      counter.engine.run(source, after: time, through: stop)
      time = stop
    }
    // What is open is part of what is shown.
    if isDetached { resume() }
  }

  /// Begins at a moment: what came before is not counted, but what was open then is open.
  func begin(at moment: UInt64) {
    goToStart()
    if let node = timeline.checkpoint(through: moment), let sums = timeline.load(node, from: source),
      counter.engine.resume(from: sums, streams: source.streams)
    {
      time = node.end
      source.seek(toWhere: counter.engine)
    }
    move(to: moment)
    counter.forget(at: moment)
  }

  /// Makes source and engine stand where it does. Where the sums of that place are damaged, it begins anew without
  /// them: false.
  private func attach() -> Bool {
    guard resume() || source.streams.isEmpty else {
      timeline.forget(nodesEndingAt: time)
      goToStart()
      return false
    }
    source.seek(toWhere: counter.engine)
    isDetached = false
    return true
  }

  @discardableResult
  private func resume() -> Bool {
    guard let node = timeline.checkpoint(through: time), node.end == time,
      let sums = timeline.load(node, from: source)
    else { return false }
    return counter.engine.resume(from: sums, streams: source.streams)
  }

  /// What comes after the last snapshot is counted by itself, too, wherever it goes from here.
  ///
  /// - Parameters:
  ///   - before: that snapshot.
  ///   - time: where it was made, on the trace clock, raw.
  func compare(with before: Snapshot, at time: UInt64) {
    mark = (time, before)
    counter.compare(with: before)
  }

  func endComparison() {
    mark = nil
    counter.endComparison()
  }

  // MARK: - What it counted

  func beginInterval(at moment: UInt64) { counter.beginInterval(at: moment) }

  func setHistory(_ intervals: [(seconds: Double, exits: [Int32: Double])]) { counter.setHistory(intervals) }

  func countLosses(_ counter: (Int) -> UInt64?) { self.counter.countLosses(all: true, counter) }

  /// - Parameters: as of `Counter.snapshot`.
  func snapshot(now: UInt64?, start: UInt64?) -> Snapshot {
    counter.snapshot(now: now, start: start, commandNames: source.metadata.commandNames)
  }

  /// The next event that is not counted yet, where the source stands there.
  var nextTimestamp: UInt64? { isDetached ? nil : counter.engine.nextTimestamp }
}
