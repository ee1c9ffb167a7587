import TraceFormat

/// A slow, plain decoder of ring-buffer pages, written from the kernel's description alone: the yardstick for the
/// fast one. One step per rule, nothing shared with the product.
enum ReferenceDecoder {
  struct Event: Equatable {
    var timestamp: UInt64
    /// The record from `common_type` on, padding to whole words included.
    var payload: [UInt8]

    var type: UInt16 { UInt16(payload[0]) | UInt16(payload[1]) << 8 }
    var thread: Int32 {
      Int32(bitPattern: (0..<4).reduce(UInt32(0)) { $0 | UInt32(payload[4 + $1]) << (8 * UInt32($1)) })
    }
  }

  enum Loss: Equatable {
    case none
    case unknown
    case events(UInt64)
  }

  struct Page: Equatable {
    var base: UInt64
    var lost: Loss
    var events: [Event] = []
    /// How many records of types 29 (discarded), 30 and 31 there were.
    var discarded = 0
    var extends = 0
    var stamps = 0
    /// Where the page stops making sense, as an offset in it; events before it are good.
    var damagedAt: Int?
  }

  static func decode(_ page: [UInt8], layout: PageLayout) -> Page {
    func number(_ offset: Int, _ size: Int) -> UInt64 {
      (0..<size).reduce(UInt64(0)) { $0 | UInt64(page[offset + $1]) << (8 * UInt64($1)) }
    }
    let base = number(layout.timestampOffset, 8)
    let word = number(layout.commitOffset, layout.commitSize)
    let commit = Int(word & 0x3fff_ffff)
    let missed = word & (1 << 31) != 0
    let stored = word & (1 << 30) != 0
    var result = Page(base: base, lost: missed ? .unknown : .none)
    guard layout.dataOffset + commit <= layout.subBufferSize else {
      result.damagedAt = layout.commitOffset
      return result
    }
    let end = layout.dataOffset + commit
    if missed && stored {
      guard end + layout.commitSize <= layout.subBufferSize else {
        result.damagedAt = layout.commitOffset
        return result
      }
      result.lost = .events(number(end, layout.commitSize))
    }

    var time = base
    var offset = layout.dataOffset
    while offset < end {
      guard end - offset >= 4 else {
        result.damagedAt = offset
        return result
      }
      let header = number(offset, 4)
      let typeLength = Int(header & 0x1f)
      let delta = header >> 5
      let second: UInt64? = end - offset >= 8 ? number(offset + 4, 4) : nil
      switch typeLength {
      case 1...28:
        let length = typeLength * 4
        guard end - offset >= 4 + length else {
          result.damagedAt = offset
          return result
        }
        time &+= delta
        result.events.append(Event(timestamp: time, payload: Array(page[(offset + 4)..<(offset + 4 + length)])))
        offset += 4 + length
      case 0:
        guard let second, second >= 4, second <= UInt64(end - offset - 4) else {
          result.damagedAt = offset
          return result
        }
        let length = (Int(second) - 4 + 3) / 4 * 4
        guard end - offset >= 8 + length else {
          result.damagedAt = offset
          return result
        }
        time &+= delta
        result.events.append(Event(timestamp: time, payload: Array(page[(offset + 8)..<(offset + 8 + length)])))
        offset += 8 + length
      case 29:
        if delta == 0 { return result }
        guard let second, second >= 4, second <= UInt64(end - offset - 4) else {
          result.damagedAt = offset
          return result
        }
        if delta != 1 { time &+= delta }
        result.discarded += 1
        offset += 4 + Int(second)
      case 30:
        guard let second else {
          result.damagedAt = offset
          return result
        }
        time &+= (second << 27) &+ delta
        result.extends += 1
        offset += 8
      default:
        guard let second else {
          result.damagedAt = offset
          return result
        }
        var absolute = ((second << 27) | delta) & ((1 << 59) - 1)
        absolute |= time & ~((1 << 59) - 1)
        if absolute < time { absolute &+= 1 << 59 }
        time = absolute
        result.stamps += 1
        offset += 8
      }
    }
    return result
  }

  /// All pages of one stream of a source.
  static func decode(_ source: some PageSource, stream: Int, layout: PageLayout) -> [Page] {
    var pages: [Page] = []
    while let page = source.nextPage(stream: stream) { pages.append(decode(Array(page), layout: layout)) }
    return pages
  }
}
