import TraceFormat

/// What came since a moment, and what was known then of which a part is in it: since counting began, since the last snapshot, since
/// the moment that it is compared with.
struct CountedSpan: Sendable {
  /// Nothing was added yet.
  private(set) var isEmpty = true
  private(set) var sums = IntervalCounts()
  /// When it began, raw; nil: when counting did.
  private(set) var beganAt: UInt64?
  /// What was running then in each thread, and has been counted before.
  private(set) var runningBefore: [Int32: TimeSplit] = [:]
  /// Events that were lost before it, by stream.
  private(set) var lostBefore: [PageStream: UInt64] = [:]
  /// What of it came before the place from which on all may be replaced; nil for nothing.
  private var kept: IntervalCounts?
  /// What came after that place, but before the span began.
  private var passed: IntervalCounts?

  init() {}

  /// Begins now.
  init(at now: UInt64, running: [Int32: TimeSplit], lost: [PageStream: UInt64], replaceable: IntervalCounts?) {
    beganAt = now
    runningBefore = running
    lostBefore = lost
    passed = replaceable
  }

  /// Adds what comes next, in its numbers of settings.
  mutating func add(_ next: IntervalCounts) {
    if isEmpty { sums = next } else { sums.add(next) }
    sums.open = nil
    isEmpty = false
  }

  mutating func apply(_ change: (inout CountedSpan) -> Void) { change(&self) }

  /// As `IntervalCounts.numbered`.
  mutating func numbered(_ next: IntervalCounts) -> IntervalCounts { sums.numbered(next) }

  /// What comes from here on may be replaced.
  mutating func mark() {
    kept = isEmpty || sums.end == 0 ? nil : sums
    passed = nil
  }

  mutating func unmark() {
    kept = nil
    passed = nil
  }

  /// Puts an interval that begins at the mark in the place of all since then; what of it came before the span is not in it.
  mutating func replaceSinceMark(with next: IntervalCounts) {
    var rest = next
    if let passed { rest.subtract(passed) }
    isEmpty = kept == nil
    if let kept { sums = kept }
    add(rest)
  }
}
