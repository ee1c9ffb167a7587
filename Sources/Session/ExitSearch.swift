import Aggregator
import TraceFormat

/// Finds single exits in a recording: by what the time line knows of its intervals, then event by event.
///
/// It reads from a source of its own, since it leaves the pages where it found something.
struct ExitSearch {
  private let source: RecordedSource
  private let timeline: Timeline
  private let filter: ExitFilter

  /// Nil where the recording has no kvm_exit that can be told.
  init?(_ source: RecordedSource, _ timeline: Timeline, _ options: AggregatorOptions) {
    guard let filter = try? ExitFilter(metadata: source.metadata, options: options), filter.hasExits else { return nil }
    self.source = source
    self.timeline = timeline
    self.filter = filter
  }

  /// The time of the first exit after a moment, or of the last one before it; nil where there is none.
  ///
  /// - Parameter reason: only exits of this one; nil: any.
  func exit(_ reason: ReasonCode?, from moment: UInt64, forward: Bool) -> UInt64? {
    let known = timeline.progress.known
    func mayHave(_ summary: Timeline.Summary) -> Bool {
      reason.map { summary.reasons.contains($0) || $0.isa > 2 } ?? !summary.reasons.isEmpty
    }
    if forward {
      for summary in timeline.summaries(from: moment) where mayHave(summary) {
        if let found = first(reason, after: max(moment, summary.start), through: summary.end) { return found }
      }
      return first(reason, after: max(moment, known), through: .max)
    }
    if moment > known, let found = last(reason, after: known, before: moment) { return found }
    for summary in timeline.summaries(through: moment).reversed() where mayHave(summary) {
      // What ends where this one begins may have been counted here, where several came at one time.
      let start = summary.start > 0 ? summary.start - 1 : 0
      let end = summary.end < .max ? min(moment, summary.end + 1) : moment
      if let found = last(reason, after: start, before: end) { return found }
    }
    return nil
  }

  private func first(_ reason: ReasonCode?, after start: UInt64, through end: UInt64) -> UInt64? {
    var found: UInt64?
    for stream in source.streams.indices {
      let end = found.map { $0 - 1 } ?? end
      walk(stream, from: start) { time, isMatch in
        if time > end { return false }
        guard time > start, isMatch(reason) else { return true }
        found = time
        return false
      }
    }
    return found
  }

  private func last(_ reason: ReasonCode?, after start: UInt64, before end: UInt64) -> UInt64? {
    var found: UInt64?
    for stream in source.streams.indices {
      walk(stream, from: start) { time, isMatch in
        if time >= end { return false }
        if time > found ?? start, isMatch(reason) { found = time }
        return true
      }
    }
    return found
  }

  /// Goes through a stream's events until told to stop.
  private func walk(_ stream: Int, from start: UInt64, _ body: (UInt64, (ReasonCode?) -> Bool) -> Bool) {
    source.seek(stream: stream, to: start)
    while let page = source.nextPage(stream: stream) {
      var cursor = SubBufferCursor(page: page, layout: source.metadata.page)
      while cursor.next() {
        if !body(cursor.timestamp, { filter.matches(cursor, $0) }) { return }
      }
    }
  }
}
