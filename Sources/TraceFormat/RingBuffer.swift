/// What a sub-buffer says about events that were dropped just before it.
public enum MissedEvents: Sendable, Hashable {
  case none
  /// Bit 31 of the commit word alone: some, number not stored.
  case uncounted
  /// Bit 30 as well: the number stands behind the data.
  case counted(UInt64)
}

/// Walks the events of one sub-buffer in the order they were written, by the rules of the kernel's own validator
/// (`kernel/trace/ring_buffer.c`, rb_read_data_buffer()): time extends and absolute stamps are taken into
/// `timestamp`, padding and discarded events are passed over.
///
/// Nothing outside the page is ever read, whatever its bytes say: a length that leaves the committed data ends the
/// page and sets `isMalformed`. The page must outlive the cursor. The methods are inlined into the caller's loop:
/// without that, decoding is three times slower.
public struct SubBufferCursor {
  @usableFromInline var base: UnsafeRawPointer
  @usableFromInline var offset: Int
  @usableFromInline var end: Int
  /// The current event's timestamp, in units of the trace clock.
  public var timestamp: UInt64
  /// The current event's record, starting with `common_type`.
  public var payload: UnsafeRawPointer
  /// Bytes of the record, padding to a multiple of 4 included.
  public var payloadLength: Int
  /// True once the page contradicted itself; what came before is good.
  public var isMalformed: Bool
  /// Events dropped just before this page.
  public let missed: MissedEvents

  /// - Parameters:
  ///   - page: one whole sub-buffer; one too short for its header is malformed and empty.
  ///   - layout: from `events/header_page`.
  @inlinable
  public init(page: UnsafeRawBufferPointer, layout: PageLayout) {
    let headerFits =
      layout.dataOffset >= 0 && layout.timestampOffset >= 0 && layout.commitOffset >= 0
      && page.count >= layout.dataOffset && page.count >= layout.timestampOffset &+ 8
      && page.count >= layout.commitOffset &+ layout.commitSize
    guard let start = page.baseAddress, headerFits else {
      base = UnsafeRawPointer(bitPattern: 1)!  // never read: offset == end
      payload = base
      offset = 0
      end = 0
      timestamp = 0
      payloadLength = 0
      isMalformed = true
      missed = .none
      return
    }
    base = start
    payload = start
    payloadLength = 0
    timestamp = start.loadUnaligned(fromByteOffset: layout.timestampOffset, as: UInt64.self)
    let commit = start.loadUnaligned(fromByteOffset: layout.commitOffset, as: UInt32.self)
    let committed = Int(truncatingIfNeeded: commit & 0x3fff_ffff)
    offset = layout.dataOffset
    let room = page.count &- layout.dataOffset
    isMalformed = committed > room
    end = layout.dataOffset &+ (committed > room ? 0 : committed)
    if commit & 0x8000_0000 == 0 {
      missed = .none
    } else if commit & 0x4000_0000 != 0, committed &+ layout.commitSize <= room {
      let behind = layout.dataOffset &+ committed
      missed = .counted(
        layout.commitSize == 8
          ? start.loadUnaligned(fromByteOffset: behind, as: UInt64.self)
          : UInt64(start.loadUnaligned(fromByteOffset: behind, as: UInt32.self)))
    } else {
      missed = .uncounted
    }
  }

  /// A cursor that has nothing and touches nothing, for a stream whose page was handed back.
  @inlinable
  public static func exhausted(at timestamp: UInt64) -> SubBufferCursor {
    var cursor = SubBufferCursor(page: UnsafeRawBufferPointer(start: nil, count: 0), layout: PageLayout())
    cursor.isMalformed = false
    cursor.timestamp = timestamp
    return cursor
  }

  /// Goes to the next data record. False at the end of the page.
  @inlinable @inline(__always)
  public mutating func next() -> Bool {
    while true {
      guard end &- offset >= 4 else {
        if offset != end { damaged() }
        return false
      }
      let header = base.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
      let typeLength = header & 31
      let delta = UInt64(header >> 5)
      if typeLength &- 1 < 28 {  // 1...28: a data record of that many words
        let length = Int(truncatingIfNeeded: typeLength) &* 4
        guard end &- offset &- 4 >= length else {
          damaged()
          return false
        }
        payload = base + (offset &+ 4)
        payloadLength = length
        offset &+= 4 &+ length
        timestamp &+= delta
        return true
      }
      // The rare kinds are one word and its follower: a length or the high bits of a time.
      guard end &- offset >= 8 else {
        // Padding without a delta ends the page; it has no follower.
        if typeLength != 29 || delta != 0 { damaged() }
        offset = end
        return false
      }
      let follower = base.loadUnaligned(fromByteOffset: offset &+ 4, as: UInt32.self)
      switch typeLength {
      case 0:  // a larger data record: the follower is the payload's length + 4
        let length = Int(truncatingIfNeeded: follower) &- 4
        guard length >= 0, end &- offset &- 8 >= length else {
          damaged()
          return false
        }
        payload = base + (offset &+ 8)
        payloadLength = length
        offset &+= 8 &+ ((length &+ 3) & ~3)
        if offset > end { offset = end }
        timestamp &+= delta
        return true
      case 29:
        if delta == 0 {
          offset = end
          return false
        }
        let length = Int(truncatingIfNeeded: follower)
        guard length >= 4, end &- offset &- 4 >= length else {
          damaged()
          return false
        }
        offset &+= 4 &+ length
        if delta != 1 { timestamp &+= delta }  // 1 is a filler value, not a time
      case 30:
        timestamp &+= (UInt64(follower) << 27) &+ delta
        offset &+= 8
      default:  // 31
        var stamp = (UInt64(follower) << 27) &+ delta
        let top = timestamp & 0xf800_0000_0000_0000
        if top != 0 {  // the kernel's rb_fix_abs_ts(): only 59 bits are stored
          stamp |= top
          if stamp < timestamp { stamp &+= 1 << 59 }
        }
        timestamp = stamp
        offset &+= 8
      }
    }
  }

  // Inlined, so that nothing keeps a local cursor from living in registers.
  @inlinable @inline(__always)
  mutating func damaged() {
    isMalformed = true
    offset = end
  }
}
