import TraceFormat

/// Sub-buffers of one CPU, as a chunk PAGES holds them: of each the bytes up to the end of its data, with their number
/// before them. What a sub-buffer has behind its data is zero.
public struct PageBlock: Sendable {
  /// The CPU's number on the traced host.
  public var cpu: UInt32
  public var bytes: [UInt8]
  public var pages = 0
  public var events: UInt64 = 0
  /// The base time stamp of the first page and the time stamp of the last event, raw.
  public var first: UInt64 = 0
  public var last: UInt64 = 0
  /// Pages of this CPU before these were not recorded.
  public var isAfterGap = false

  init(cpu: UInt32, bytes: [UInt8]) {
    self.cpu = cpu
    self.bytes = bytes
  }

  /// Adds a sub-buffer of the layout, and to `threads` those that its events name.
  mutating func append(_ page: UnsafeRawBufferPointer, layout: PageLayout, threads: inout Set<Int32>) {
    var cursor = SubBufferCursor(page: page, layout: layout)
    let base = cursor.timestamp
    var lastThread: Int32 = 0
    while cursor.next() {
      events &+= 1
      guard cursor.payloadLength >= 8 else { continue }
      // common_pid, as every event has it.
      let thread = cursor.payload.loadUnaligned(fromByteOffset: 4, as: Int32.self)
      if thread != lastThread {
        lastThread = thread
        if threads.count < Self.mostThreads { threads.insert(thread) }
      }
    }
    if pages == 0 { first = base }
    last = max(last, cursor.timestamp, base)
    let kept = Self.length(page, layout)
    bytes.append(littleEndian: UInt32(truncatingIfNeeded: kept))
    bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: page[..<kept]))
    pages += 1
  }

  /// Threads beyond these are not named.
  static let mostThreads = 1 << 16

  /// Bytes of a sub-buffer that say something: header, data, and the number of events lost where it stands behind them.
  static func length(_ page: UnsafeRawBufferPointer, _ layout: PageLayout) -> Int {
    guard layout.commitOffset >= 0, layout.dataOffset >= 0, page.count >= layout.commitOffset + 4 else {
      return page.count
    }
    let commit = UInt32(
      littleEndian: page.loadUnaligned(fromByteOffset: layout.commitOffset, as: UInt32.self))
    let data = layout.dataOffset + Int(commit & 0x3fff_ffff)
    return min(page.count, data + (commit & 0x4000_0000 != 0 ? layout.commitSize : 0))
  }
}

/// Gathers the sub-buffers of each CPU into blocks. One thread uses it.
public struct PageCollector {
  /// A block this long is full. It may be passed by less than one sub-buffer.
  public static let fullBlock = 1 << 20

  /// The threads that the events name.
  public private(set) var threads: Set<Int32> = []

  private let layout: PageLayout
  private var open: [UInt32: (block: PageBlock, began: UInt64)] = [:]

  public init(layout: PageLayout) { self.layout = layout }

  /// Takes a sub-buffer; returns a block where that made one full.
  ///
  /// - Parameters:
  ///   - now: any clock in nanoseconds, the one of `take(olderThan:now:)`.
  ///   - spare: memory for a new block, where one is begun.
  public mutating func add(
    _ page: UnsafeRawBufferPointer, cpu: UInt32, now: UInt64, spare: () -> [UInt8] = { [] }
  ) -> PageBlock? {
    // In place: a copy of the block would cost more than all the rest.
    open[cpu, default: (PageBlock(cpu: cpu, bytes: spare()), now)].block
      .append(page, layout: layout, threads: &threads)
    guard let count = open[cpu]?.block.bytes.count, count + layout.subBufferSize > Self.fullBlock else { return nil }
    return open.removeValue(forKey: cpu)?.block
  }

  /// Takes the blocks begun at least so many nanoseconds ago, in the order in which they were begun.
  public mutating func take(olderThan age: UInt64, now: UInt64) -> [PageBlock] {
    let due = open.filter { now &- $0.value.began >= age || now < $0.value.began }
    for cpu in due.keys { open[cpu] = nil }
    return due.values.sorted { ($0.began, $0.block.cpu) < ($1.began, $1.block.cpu) }.map(\.block)
  }
}
