/// The pages of the last seconds, in memory, so that a recording can begin before somebody asked for it. One thread uses it.
public struct LookBack {
  /// How far back it reaches, in nanoseconds of CLOCK_MONOTONIC.
  public let longestAge: UInt64
  /// Bytes of memory for pages.
  public let limit: Int
  /// Bytes of pages held now.
  public private(set) var bytes = 0

  private var blocks: [(block: PageBlock, at: UInt64)] = []
  private var first = 0
  /// By kind, oldest first: the last of those older than the pages is kept, since it still holds for them.
  private var records: [ChunkKind: [(record: any RecordingRecord, time: UInt64, at: UInt64)]] = [:]

  /// Records of a kind at most.
  private static let mostRecords = 1024

  public init(longestAge: UInt64 = 30_000_000_000, limit: Int = 64 << 20) {
    self.longestAge = longestAge
    self.limit = limit
  }

  /// Takes a block.
  ///
  /// - Parameter now: CLOCK_MONOTONIC.
  public mutating func add(_ block: PageBlock, now: UInt64) {
    var block = block
    // A block that was not filled may have memory for a full one.
    if block.bytes.capacity > block.bytes.count + block.bytes.count / 2 {
      // A copy: a slice of all of it would share the memory.
      block.bytes = block.bytes.withUnsafeBytes { Array($0) }
    }
    bytes += block.bytes.capacity
    blocks.append((block, now))
    prune(now)
  }

  /// Takes what is true from a moment on.
  ///
  /// - Parameter time: that moment on the trace clock, raw.
  public mutating func add(_ record: some RecordingRecord, at time: UInt64, now: UInt64) {
    let kind = type(of: record).kind
    records[kind, default: []].append((record, time, now))
    prune(now)
  }

  /// Drops what is too old, or too much.
  public mutating func prune(_ now: UInt64) {
    while first < blocks.count, bytes > limit || now &- blocks[first].at > longestAge {
      bytes -= blocks[first].block.bytes.capacity
      blocks[first].block.bytes = []
      first += 1
    }
    if first > 256, first * 2 > blocks.count {
      blocks.removeFirst(first)
      first = 0
    }
    for kind in records.keys {
      guard let list = records[kind] else { continue }
      let old = list.count { now &- $0.at > longestAge }
      let surplus = max(old - 1, list.count - Self.mostRecords)
      if surplus > 0 { records[kind]?.removeFirst(surplus) }
    }
  }

  /// When the oldest page that is held begins, on the trace clock, raw; nil without one.
  public var firstTime: UInt64? { blocks[first...].map(\.block.first).min() }

  /// Hands over all there is to a writer: first what was true before the pages, then the pages, and what came among them.
  /// It is empty afterwards.
  public mutating func empty(into writer: RecordingWriter) {
    var items: [(at: UInt64, write: (RecordingWriter) -> Void)] = []
    for list in records.values {
      for (index, item) in list.enumerated() {
        let record = item.record
        let time = item.time
        items.append((index == 0 ? 0 : item.at, { writer in writer.write(record, first: time) }))
      }
    }
    for item in blocks[first...] {
      let block = item.block
      items.append((item.at, { writer in writer.write(block, force: true) }))
    }
    // In the order of their coming; the sort is stable.
    for item in items.sorted(by: { $0.at < $1.at }) { item.write(writer) }
    blocks = []
    first = 0
    bytes = 0
    // What is true now stays true.
    for kind in records.keys { records[kind] = records[kind].map { Array($0.suffix(1)) } }
  }
}
