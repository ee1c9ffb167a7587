import TraceFormat

/// Takes the pages out of the payload of a chunk PAGES, one after another.
struct PageRun {
  private(set) var bytes: [UInt8] = []
  private var position = 0
  private let layout: PageLayout
  /// The next page follows a gap: pages before it were not recorded, or are damaged.
  var isAfterGap = false
  /// The payload contradicted itself; the pages before that are good.
  private(set) var isMalformed = false
  /// Where a page that is not kept whole is put together; and how much of it may be other than zero.
  private let page: UnsafeMutableRawBufferPointer
  private var used = 0

  /// - Parameter page: one sub-buffer of memory, that lives as long as this.
  init(layout: PageLayout, page: UnsafeMutableRawBufferPointer) {
    self.layout = layout
    self.page = page
    page.initializeMemory(as: UInt8.self, repeating: 0)
  }

  var isEmpty: Bool { position >= bytes.count }

  /// Goes on with another payload.
  mutating func take(_ payload: [UInt8]) {
    bytes = payload
    position = 0
    isMalformed = false
  }

  /// The base time stamp of the page after the next one, where this payload has it.
  private func base(at position: Int) -> UInt64? {
    guard position + 4 + layout.timestampOffset + 8 <= bytes.count else { return nil }
    return bytes.withUnsafeBytes {
      UInt64(littleEndian: $0.loadUnaligned(fromByteOffset: position + 4 + layout.timestampOffset, as: UInt64.self))
    }
  }

  /// The next page, as the kernel had it. It is valid until the next call. Nil at the end.
  ///
  /// - Parameter range: pages that surely have no event in it are passed over.
  mutating func next(in range: ClosedRange<UInt64> = 0...UInt64.max) -> UnsafeRawBufferPointer? {
    while position < bytes.count {
      guard bytes.count - position >= 4 else { break }
      let length = bytes.withUnsafeBytes {
        Int(UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: position, as: UInt32.self)))
      }
      guard length >= layout.dataOffset, length <= layout.subBufferSize, length <= bytes.count - position - 4 else {
        break
      }
      let start = position + 4
      let own = base(at: position) ?? 0
      position = start + length
      if own > range.upperBound { continue }
      // All events of a page are before the next page's base.
      if let following = base(at: position), following < range.lowerBound {
        isAfterGap = false
        continue
      }
      bytes.withUnsafeBytes { source in
        page.copyMemory(from: UnsafeRawBufferPointer(rebasing: source[start..<start + length]))
      }
      if length < used {
        UnsafeMutableRawBufferPointer(rebasing: page[length..<used]).initializeMemory(as: UInt8.self, repeating: 0)
      }
      used = length
      if isAfterGap {
        isAfterGap = false
        // Said as the kernel does, so that nobody pairs events across the gap: events were lost, the number unknown.
        let highByte = layout.commitOffset + 3
        page[highByte] = page[highByte] & 0x3f | 0x80
      }
      return UnsafeRawBufferPointer(page)
    }
    if position < bytes.count {
      isMalformed = true
      isAfterGap = true
      position = bytes.count
    }
    return nil
  }
}
