/// A log-linear histogram of nanoseconds in raw memory: 32 sub-buckets per power of two, so that a bucket's middle is
/// at most 1/64 (1.6 %) off any value in it. Values from 2^42 ns (73 minutes) on share the last bucket.
struct Histogram {
  static let subBucketBits = 5
  static let bucketCount = (42 - subBucketBits + 1) << subBucketBits

  /// Nil where there is none. Half as wide as a counter, since they share the cache with everything else.
  private var buckets: UnsafeMutablePointer<UInt32>?
  /// How often each bucket ran over; nil as long as none did.
  private var carries: UnsafeMutablePointer<UInt32>?

  /// A histogram that counts nothing.
  static var none: Histogram { Histogram(buckets: nil) }

  private init(buckets: UnsafeMutablePointer<UInt32>?) { self.buckets = buckets }

  init() { self.init(buckets: Self.makeBuckets()) }

  private static func makeBuckets() -> UnsafeMutablePointer<UInt32> {
    let buckets = UnsafeMutablePointer<UInt32>.allocate(capacity: bucketCount)
    buckets.initialize(repeating: 0, count: bucketCount)
    return buckets
  }

  mutating func deallocate() {
    buckets?.deallocate()
    carries?.deallocate()
    self = .none
  }

  @inline(__always)
  mutating func add(_ value: UInt64) {
    guard let buckets else { return }
    let index = Self.index(of: value)
    buckets[index] &+= 1
    if buckets[index] == 0 { carry(index) }
  }

  @inline(never)
  private mutating func carry(_ index: Int) {
    if carries == nil { carries = Self.makeBuckets() }
    carries?[index] &+= 1
  }

  /// Takes out the counts, all of which lie between two values.
  mutating func take(from low: UInt64, to high: UInt64) -> [BucketSum] {
    guard let buckets, low <= high else { return [] }
    var sums: [BucketSum] = []
    let range = Self.index(of: low)...Self.index(of: high)
    sums.reserveCapacity(range.reduce(0) { count(at: $1) == 0 ? $0 : $0 + 1 })
    for index in range where count(at: index) != 0 {
      sums.append(BucketSum(bucket: index, count: count(at: index)))
      buckets[index] = 0
      carries?[index] = 0
    }
    return sums
  }

  /// For tests: counting to where a bucket runs over takes too long.
  func fill(bucket index: Int) { buckets?[index] = .max }

  /// Values counted in a bucket.
  func count(at index: Int) -> UInt64 {
    guard let buckets else { return 0 }
    return UInt64(buckets[index]) | UInt64(carries?[index] ?? 0) << 32
  }

  @inline(__always)
  static func index(of value: UInt64) -> Int {
    if value < 32 { return Int(truncatingIfNeeded: value) }
    let exponent = 63 &- value.leadingZeroBitCount
    let index = ((exponent &- 4) &<< 5) | Int(truncatingIfNeeded: (value &>> UInt64(exponent &- 5)) & 31)
    return index < bucketCount ? index : bucketCount &- 1
  }

  /// The middle of a bucket.
  static func value(at index: Int) -> UInt64 {
    if index < 32 { return UInt64(index) }
    let exponent = (index >> 5) + 4
    let width = UInt64(1) << UInt64(exponent - 5)
    return (UInt64(1) << UInt64(exponent)) + UInt64(index & 31) * width + width / 2
  }

  /// The values at the given ranks (1-based, ascending), all found in one walk over buckets that ascend.
  static func values(atRanks ranks: [UInt64], in buckets: [BucketSum]) -> [UInt64] {
    var result: [UInt64] = []
    var seen: UInt64 = 0
    var place = 0
    for rank in ranks {
      while place < buckets.count - 1, seen &+ buckets[place].count < rank {
        seen &+= buckets[place].count
        place += 1
      }
      result.append(buckets.isEmpty ? 0 : value(at: buckets[place].bucket))
    }
    return result
  }
}
