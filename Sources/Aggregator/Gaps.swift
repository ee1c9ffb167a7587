/// A place in the streams' losses: two marks of one thread that are equal enclose no gap. See `Gaps.isWhole`.
struct LossMark: Hashable, Sendable {
  /// The stream and its losses then.
  var stream: UInt32
  var losses: UInt32
  /// Beginnings and ends of gaps in any stream.
  var ofAll: UInt32
}

/// Where counting is resumed, losses are numbered from the beginning: of what came before, only this is known.
extension LossMark {
  /// What `Gaps` begins with then.
  static var carriedOver: UInt32 { 1 }

  /// - Parameters:
  ///   - stream: of the last event before.
  ///   - hasLost: events were lost since, on that stream or on any.
  init(stream: UInt32, hasLost: (onStream: Bool, anywhere: Bool)) {
    self.stream = stream
    losses = hasLost.onStream ? .max : 0
    ofAll = hasLost.anywhere ? 0 : Self.carriedOver
  }

  var hasLostOnStream: Bool { losses != 0 }
  var hasLostAnywhere: Bool { ofAll != Self.carriedOver }
}

/// The losses of one stream.
struct StreamGaps: Hashable, Sendable {
  var losses: UInt32 = 0
  /// No event of it was taken since the last loss.
  var isInGap = false
}

/// The gaps of all streams, merged in order of time.
struct Gaps: Hashable, Sendable {
  /// Counts up where a gap in any stream begins and where it ends: an open interval of a thread that changed CPUs is
  /// void across one.
  var all: UInt32 = 0
  /// Streams between their last event before a loss and their first after it.
  private var open = 0

  /// Where the sums before ended.
  init(all: UInt32 = 0) { self.all = all }

  /// Events were lost before the stream's next one.
  mutating func begin(_ stream: inout StreamGaps) {
    stream.losses &+= 1
    all &+= 1
    reopen(&stream)
  }

  /// The stream stands in a gap, whose beginning was counted.
  mutating func reopen(_ stream: inout StreamGaps) {
    guard !stream.isInGap else { return }
    stream.isInGap = true
    open += 1
  }

  /// The stream is heard of again, or ends.
  mutating func end(_ stream: inout StreamGaps) {
    guard stream.isInGap else { return }
    stream.isInGap = false
    open -= 1
    all &+= 1
  }

  /// The place of an event of a stream.
  @inline(__always)
  func mark(_ index: Int, _ stream: StreamGaps) -> LossMark {
    LossMark(stream: UInt32(truncatingIfNeeded: index), losses: stream.losses, ofAll: all)
  }

  /// Whether something was lost since an event, on any stream.
  func hasLost(since mark: LossMark) -> Bool { mark.ofAll != all || open > 0 }

  /// Whether nothing was lost between a thread's last event and its present one: on its own stream, or on any if it
  /// changed streams.
  @inline(__always)
  func isWhole(_ last: LossMark, _ mark: LossMark) -> Bool {
    last.stream == mark.stream ? last.losses == mark.losses : last.ofAll == mark.ofAll && open == 0
  }
}
