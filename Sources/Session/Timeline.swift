import Aggregator
import Architecture
import Glibc
import Synchronization
import Threads
import TraceFormat

/// What was counted when, over a whole recording: sums of intervals one after another, and of sixteen of them, and of
/// sixteen of those ... Any stretch of the recording is a few of them and the events at its edges.
///
/// A recording of ours has the sums; for others they are counted in the background, in one reading of the file that stays
/// in bounded memory. Everything works while that goes on: what is not covered yet is counted event by event.
final class Timeline: Sendable {
  /// Sums of one interval, in memory or in the recording.
  struct Node: Sendable {
    enum Content: Sendable {
      case bytes([UInt8])
      case stored(StoredInterval)
    }
    var start: UInt64
    var end: UInt64
    /// How many, where that is known; else the maximum.
    var events: UInt64
    var content: Content

    var size: Int { if case .bytes(let bytes) = content { bytes.count } else { 0 } }
  }

  /// What is kept of each interval for graphs and searches.
  struct Summary: Sendable {
    var start: UInt64
    var end: UInt64
    /// By thread, ascending; those of ended threads first, as thread 0.
    var exits: [(thread: Int32, count: UInt64)]
    var lost: Bool
    var reasons: Set<ReasonCode>

    var count: UInt64 { exits.reduce(0) { $0 &+ $1.count } }

    mutating func merge(_ later: Summary) {
      var sums = Dictionary(exits.map { ($0.thread, $0.count) }, uniquingKeysWith: { $0 &+ $1 })
      for (thread, count) in later.exits { sums[thread, default: 0] &+= count }
      exits = sums.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
      end = later.end
      lost = lost || later.lost
      reasons.formUnion(later.reasons)
    }
  }

  /// A change of a vCPU's setting.
  struct Change: Sendable {
    var thread: Int32
    var change: SettingChange
  }

  private struct State {
    /// By level; each in order of time, none overlaps another.
    var levels: [[Node]] = [[]]
    var bytes = 0
    var summaries: [Summary] = []
    var changes: [Change] = []
    var settings: [SettingDescription] = []
    /// VMs that came and went, in order of time.
    var hostMarks: [RateTimeline.PlacedMark] = []
    /// Up to where all is summed up.
    var known: UInt64 = 0
    var isComplete = false
    var isStarted = false
    var isStopped = false
    /// Counts up with what is new.
    var version = 0
  }

  private let state = Mutex(State())
  /// Whoever plays the recording meanwhile goes first.
  private let worker = WorkerThread("timeline", niceness: 5)
  /// Raw timestamps of the first and the last event.
  let bounds: (first: UInt64, last: UInt64)
  private let scale: TimeScale
  private let options: AggregatorOptions

  /// Sums in memory take no more than this; where they would, neighbours are merged. It is reached with some hundred
  /// vCPUs, or where each exit is from another place.
  private let mostBytes: Int
  private static let fanOut = IntervalLadder.fanOut
  /// At first, the recording is cut into so many intervals of equal length, and more where there are more events.
  private static let intervals: UInt64 = 1024
  /// An interval's pages have no more bytes than this: a third of a million events, some milliseconds to count again.
  private let largestInterval: Int
  private static let mostSummaries = 8192
  private static let mostChanges = 100_000

  /// - Parameters:
  ///   - options: what to count; as for the aggregators that are to take the sums.
  ///   - mostBytes, largestInterval: for tests.
  init(
    _ source: RecordedSource, bounds: (first: UInt64, last: UInt64), _ options: AggregatorOptions,
    mostBytes: Int = 48 << 20, largestInterval: Int = 16 << 20
  ) {
    self.bounds = bounds
    self.options = options
    self.mostBytes = mostBytes
    self.largestInterval = largestInterval
    scale = source.metadata.timeScale
    let stored = source.storedIntervals
    guard !stored.isEmpty else { return }
    state.withLock { state in
      for sums in stored where sums.level >= 0 && sums.level < 16 && sums.end > sums.start {
        while state.levels.count <= sums.level { state.levels.append([]) }
        // What begins within the one before is damage: the later one goes.
        guard state.levels[sums.level].last.map({ $0.end <= sums.start }) ?? true else { continue }
        state.levels[sums.level].append(
          Node(start: sums.start, end: sums.end, events: .max, content: .stored(sums)))
      }
    }
  }

  // MARK: - Looking up

  /// The sums that reach farthest of those that begin at a moment and end no later than another.
  func node(from start: UInt64, through end: UInt64) -> Node? {
    state.withLock { state in
      for level in state.levels.reversed() {
        let place = level.partitioningIndex(where: { $0.start >= start })
        if place < level.count, level[place].start == start, level[place].end <= end { return level[place] }
      }
      return nil
    }
  }

  /// The next sums that begin after a moment and end no later than another.
  func nextNode(after start: UInt64, through end: UInt64) -> Node? {
    state.withLock { state in
      let level = state.levels[0]
      let place = level.partitioningIndex(where: { $0.start > start })
      return place < level.count && level[place].end <= end ? level[place] : nil
    }
  }

  /// The last sums that end at or before a moment: counting can go on from there.
  func checkpoint(through moment: UInt64) -> Node? {
    state.withLock { state in
      let level = state.levels[0]
      let place = level.partitioningIndex(where: { $0.end > moment }) - 1
      return place >= 0 ? level[place] : nil
    }
  }

  /// The node's sums. Those that turn out to be damaged are not found any more; nil then.
  func load(_ node: Node, from source: RecordedSource) -> IntervalCounts? {
    let sums: IntervalCounts?
    switch node.content {
    case .bytes(let bytes): sums = try? IntervalCounts(bytes: bytes)
    case .stored(let stored): sums = source.sums(stored)
    }
    if let sums, sums.start == node.start, sums.end == node.end { return sums }
    forget { $0.start == node.start && $0.end == node.end }
    return nil
  }

  /// Of sums that end at a moment, none is used any more: what was open then is not known.
  func forget(nodesEndingAt end: UInt64) { forget { $0.end == end } }

  private func forget(_ isDamaged: (Node) -> Bool) {
    state.withLock { state in
      for level in state.levels.indices { state.levels[level].removeAll(where: isDamaged) }
    }
  }

  /// Up to where all is summed up, raw, and whether that is all there is.
  var progress: (known: UInt64, isComplete: Bool) { state.withLock { ($0.known, $0.isComplete) } }

  /// Counts up when there is more to show.
  var version: Int { state.withLock(\.version) }

  /// Summaries of the intervals that touch a stretch.
  func summaries(from start: UInt64 = 0, through end: UInt64 = .max) -> [Summary] {
    state.withLock { state in
      let all = state.summaries
      return Array(all[all.partitioningIndex(where: { $0.end > start })...].prefix { $0.start < end })
    }
  }

  /// Those that were noticed so far, in order of time, and what the settings' numbers stand for. Of very frequent ones, the
  /// last sixteen of each thread and interval.
  var changes: (all: [Change], settings: [SettingDescription]) { state.withLock { ($0.changes, $0.settings) } }

  var hostMarks: [RateTimeline.PlacedMark] { state.withLock(\.hostMarks) }

  /// Nanoseconds from the first event to a moment of the trace clock.
  func position(of moment: UInt64) -> UInt64 {
    scale.nanoseconds(moment > bounds.first ? moment - bounds.first : 0)
  }

  var duration: UInt64 { position(of: bounds.last) }

  /// A position as a moment of the trace clock.
  func moment(of position: UInt64) -> UInt64 {
    guard scale != .nanoseconds, scale.multiplier != 0 else {
      let (moment, overflow) = bounds.first.addingReportingOverflow(position)
      return overflow ? .max : moment
    }
    let raw = Double(position) * Double(UInt64(1) << UInt64(min(scale.shift, 63))) / Double(scale.multiplier)
    let (moment, overflow) = bounds.first.addingReportingOverflow(UInt64(max(0, min(raw, 1.8e19))))
    return overflow ? .max : moment
  }

  // MARK: - Counting

  /// Begins to sum up, on a thread of its own. Does nothing the second time.
  func start(_ source: RecordedSource) {
    let isFirst = state.withLock { state in
      defer { state.isStarted = true }
      return !state.isStarted
    }
    guard isFirst, let own = source.reopen() else { return }
    // Nobody else has it.
    nonisolated(unsafe) let another = own
    _ = worker.start { [self] in build(another) }
  }

  /// Ends the thread and waits for it: no longer than the counting of one interval takes.
  func stop() {
    state.withLock { $0.isStopped = true }
    worker.join()
  }

  private var isStopped: Bool { state.withLock(\.isStopped) }

  /// Sums up the whole recording on the calling thread.
  func build(_ source: RecordedSource) {
    let marks = hostMarks(source.notes(after: 0, through: .max))
    state.withLock { $0.hostMarks = marks }
    if state.withLock({ $0.levels[0].isEmpty }) {
      count(source)
    } else {
      summarize(source)
    }
    state.withLock { state in
      state.isComplete = !state.isStopped
      if state.isComplete { state.known = max(state.known, bounds.last) }
      state.version += 1
    }
  }

  /// Reads what the recording has, and counts what it has no sums of: at its end, where its recorder was killed, and
  /// where they are damaged.
  private func summarize(_ source: RecordedSource) {
    var last: IntervalCounts?
    for node in state.withLock({ $0.levels[0] }) {
      if isStopped { return }
      guard let sums = load(node, from: source) else { continue }
      if sums.start > last?.end ?? 0 { countGap(after: last, through: sums.start, source) }
      note(sums)
      last = sums
    }
    if last?.end ?? 0 < bounds.last, !isStopped { countGap(after: last, through: bounds.last, source) }
  }

  private func countGap(after last: IntervalCounts?, through end: UInt64, _ source: RecordedSource) {
    guard !source.streams.isEmpty, var aggregator = try? source.makeAggregator(options) else { return }
    if let last { aggregator.resume(from: last, streams: source.streams) }
    source.seek(toWhere: aggregator)
    var before = last?.end ?? 0
    while before < end, !isStopped {
      let reached = aggregator.run(
        source, after: before, through: end, pages: max(1, largestInterval / max(1, source.metadata.page.subBufferSize))
      )
      guard reached > before else { return }
      note(aggregator.cut(at: reached))
      before = reached
    }
  }

  private func count(_ source: RecordedSource) {
    guard var aggregator = try? source.makeAggregator(options) else { return }
    var span = max(1, (bounds.last &- bounds.first) / Self.intervals)
    var pages = max(1, largestInterval / max(1, source.metadata.page.subBufferSize))
    var before: UInt64 = 0
    var limit = bounds.first
    while !isStopped, before < bounds.last {
      // Quiet stretches are one interval.
      let (next, overflow) = max(limit, aggregator.nextTimestamp ?? limit).addingReportingOverflow(span)
      limit = overflow ? bounds.last : min(next, bounds.last)
      let end = aggregator.run(source, after: before, through: limit, pages: pages)
      limit = end
      guard end > before else { continue }
      let sums = aggregator.cut(at: end)
      note(sums)
      append(
        Node(start: sums.start, end: sums.end, events: sums.events, content: .bytes(sums.bytes())), level: 0)
      before = end
      while state.withLock({ $0.bytes > mostBytes && $0.levels[0].count > 2 }) {
        coarsen()
        span &*= 2
        pages = pages < .max / 2 ? pages * 2 : pages
      }
    }
  }

  /// Adds sums, and those of sixteen where they are full.
  private func append(_ node: Node, level: Int) {
    let full: [Node]? = state.withLock { state in
      while state.levels.count <= level { state.levels.append([]) }
      state.levels[level].append(node)
      state.bytes += node.size
      if level == 0 {
        state.known = node.end
        state.version += 1
      }
      let count = state.levels[level].count
      return count % Self.fanOut == 0 ? Array(state.levels[level][(count - Self.fanOut)...]) : nil
    }
    guard let full, let merged = Self.merge(full, open: false) else { return }
    append(merged, level: level + 1)
  }

  private static func merge(_ nodes: [Node], open: Bool) -> Node? {
    var all: IntervalCounts?
    for node in nodes {
      guard case .bytes(let bytes) = node.content, let sums = try? IntervalCounts(bytes: bytes) else { return nil }
      if all == nil { all = sums } else { all?.merge(sums) }
    }
    return all.map { sums in
      Node(start: sums.start, end: sums.end, events: sums.events, content: .bytes(sums.bytes(open: open)))
    }
  }

  /// Merges neighbours two by two, and builds the levels above anew.
  private func coarsen() {
    let fine = state.withLock { $0.levels[0] }
    var coarse: [Node] = []
    for place in stride(from: 0, to: fine.count, by: 2) {
      let pair = Array(fine[place..<min(place + 2, fine.count)])
      coarse.append(contentsOf: Self.merge(pair, open: true).map { [$0] } ?? pair)
    }
    var levels = [coarse]
    while let below = levels.last, below.count >= Self.fanOut {
      var level: [Node] = []
      for place in stride(from: 0, to: below.count / Self.fanOut * Self.fanOut, by: Self.fanOut) {
        guard let node = Self.merge(Array(below[place..<place + Self.fanOut]), open: false) else { break }
        level.append(node)
      }
      levels.append(level)
    }
    let bytes = levels.joined().reduce(0) { $0 + $1.size }
    state.withLock { state in
      state.levels = levels
      state.bytes = bytes
    }
  }

  /// Keeps what graphs and searches need of an interval.
  private func note(_ sums: IntervalCounts) {
    let summary = Summary(
      start: sums.start, end: sums.end,
      exits: sums.exitsByThread.filter { $0.exits > 0 }.map { ($0.thread, $0.exits) },
      lost: sums.lost > 0 || sums.uncountedLosses > 0, reasons: sums.reasons)
    let changes = sums.settingChanges.map { Change(thread: $0.thread, change: $0.change) }
      .sorted { $0.change.timestamp < $1.change.timestamp }
    let settings = sums.settingDescriptions
    state.withLock { state in
      state.summaries.append(summary)
      if state.summaries.count > Self.mostSummaries {
        var halved: [Summary] = []
        for place in stride(from: 0, to: state.summaries.count, by: 2) {
          var first = state.summaries[place]
          if place + 1 < state.summaries.count { first.merge(state.summaries[place + 1]) }
          halved.append(first)
        }
        state.summaries = halved
      }
      state.changes += changes.prefix(Self.mostChanges - state.changes.count)
      if settings.count > state.settings.count { state.settings = settings }
      state.known = max(state.known, sums.end)
      state.version += 1
    }
  }
}
