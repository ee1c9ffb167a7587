import Aggregator

/// Puts the sums of a recording together as they come: of sixteen intervals, of sixteen of those, and so on.
public struct IntervalLadder {
  public init() {}

  /// So many of a level are one of the next.
  static let fanOut = 16
  /// 16^8 intervals of a second are 136 years.
  private static let mostLevels = 8

  /// What was put together at each level above the lowest, and of how many.
  private var steps: [(sums: IntervalCounts, count: Int)] = []

  /// Sums that could not be written: the next ones are of that time too.
  private var refused: IntervalCounts?

  /// Takes the next interval, and hands out what is to be written: the interval itself, and what it completes.
  ///
  /// - Parameter write: returns false where there is no room for it.
  public mutating func add(
    _ sums: IntervalCounts, _ write: (_ bytes: [UInt8], _ level: Int, _ first: UInt64, _ last: UInt64) -> Bool
  ) {
    var next = sums
    if var earlier = refused {
      earlier.merge(sums)
      next = earlier
      refused = nil
    }
    guard write(next.bytes(open: true), 0, next.start, next.end) else {
      refused = next
      return
    }
    for level in 0..<Self.mostLevels {
      if steps.count <= level {
        steps.append((next, 1))
      } else if steps[level].count == 0 {
        steps[level] = (next, 1)
      } else {
        steps[level].sums.merge(next)
        steps[level].count += 1
      }
      guard steps[level].count == Self.fanOut else { return }
      next = steps[level].sums
      steps[level].count = 0
      // Where these are missing the ones below do, only slower.
      _ = write(next.bytes(open: false), level + 1, next.start, next.end)
    }
  }
}
