/// Composes ring-buffer sub-buffers, as kernel/trace/ring_buffer.c does: for events that come in another form, for parts of
/// a page, for the benchmark's recordings and for tests.
public struct SubBufferWriter: Sendable {
  /// What a page says about events lost just before it.
  public enum Loss: Sendable, Hashable {
    case none
    /// Some, the number unknown (RB_MISSED_EVENTS without RB_MISSED_STORED).
    case unknown
    /// So many. As in the kernel it becomes `unknown` where the number does not fit behind the data.
    case events(UInt64)
  }

  public let layout: PageLayout
  /// The timestamp of the last record, in the clock's units.
  public private(set) var timestamp: UInt64 = 0
  /// Bytes of data so far.
  public var count: Int { end - layout.dataOffset }
  public var isEmpty: Bool { end == layout.dataOffset }

  private var bytes: [UInt8]
  private var end: Int

  /// The largest time delta of one record: 27 bits.
  public static let largestDelta: UInt64 = (1 << 27) - 1
  /// The largest payload whose length the header itself holds (RINGBUF_TYPE_DATA_TYPE_LEN_MAX words).
  public static let largestShortPayload = 112

  private enum TypeLength {
    static let padding: UInt32 = 29
    static let timeExtend: UInt32 = 30
    static let timeStamp: UInt32 = 31
  }

  /// - Parameter layout: of the pages to make; its offsets lie within the sub-buffer.
  public init(layout: PageLayout) {
    self.layout = layout
    bytes = [UInt8](repeating: 0, count: layout.subBufferSize)
    end = layout.dataOffset
  }

  /// Adds an event, with a TIME_EXTEND before it where its delta needs one.
  ///
  /// - Parameters:
  ///   - timestamp: In the clock's units. The first one becomes the page's base; one that goes back counts as equal
  ///     to the one before.
  ///   - payload: The record from `common_type` on; padded with zeros to whole words, as the kernel does.
  ///   - longForm: Uses the form with a separate length word (type_len 0) even where the short one would do.
  /// - Returns: False if there is no room left; nothing is then written.
  public mutating func append(timestamp: UInt64, payload: UnsafeRawBufferPointer, longForm: Bool = false) -> Bool {
    let padded = max((payload.count + 3) / 4 * 4, 4)
    let isLong = longForm || padded > Self.largestShortPayload
    let size = (isLong ? 8 : 4) + padded
    guard let delta = advance(to: timestamp, room: size) else { return false }
    header(isLong ? 0 : UInt32(padded / 4), delta)
    if isLong { put(UInt32(padded + 4)) }
    bytes.withUnsafeMutableBytes { target in
      UnsafeMutableRawBufferPointer(rebasing: target[end..<end + payload.count]).copyMemory(from: payload)
    }
    end += padded
    return true
  }

  /// Adds an event whose payload is an array.
  public mutating func append(timestamp: UInt64, payload: [UInt8], longForm: Bool = false) -> Bool {
    payload.withUnsafeBytes { append(timestamp: timestamp, payload: $0, longForm: longForm) }
  }

  /// Adds a discarded event (type_len 29): its time counts, unless the delta is 0 or 1, which the kernel writes as
  /// the filler value 1.
  ///
  /// - Parameter payloadSize: The bytes of the event that was discarded.
  public mutating func appendDiscarded(timestamp: UInt64, payloadSize: Int) -> Bool {
    let padded = max((payloadSize + 3) / 4 * 4, 4)
    let before = self.timestamp
    let wasEmpty = isEmpty
    guard let delta = advance(to: timestamp, room: 4 + padded) else { return false }
    header(TypeLength.padding, max(delta, 1))
    if delta <= 1 && !wasEmpty { self.timestamp = before }
    put(UInt32(padded))
    end += padded - 4
    return true
  }

  /// Adds a TIME_EXTEND (type_len 30) whether or not it is needed: the next event's delta counts from there.
  public mutating func appendTimeExtend(by delta: UInt64) -> Bool {
    guard layout.subBufferSize - end >= 8, delta < 1 << 59 else { return false }
    startPage(timestamp)
    header(TypeLength.timeExtend, UInt32(truncatingIfNeeded: delta & Self.largestDelta))
    put(UInt32(truncatingIfNeeded: delta >> 27))
    timestamp &+= delta
    return true
  }

  /// Adds an absolute TIME_STAMP (type_len 31), as the kernel does after an erased event: the low 59 bits.
  public mutating func appendTimeStamp(_ absolute: UInt64) -> Bool {
    guard layout.subBufferSize - end >= 8 else { return false }
    startPage(absolute)
    timestamp = max(timestamp, absolute)
    header(TypeLength.timeStamp, UInt32(truncatingIfNeeded: timestamp & Self.largestDelta))
    put(UInt32(truncatingIfNeeded: timestamp >> 27))
    return true
  }

  /// Ends the page and starts the next one, empty.
  ///
  /// - Returns: The whole sub-buffer: base timestamp, commit word, data, zeros.
  public mutating func finish(lost: Loss = .none) -> [UInt8] {
    var commit = UInt64(count)
    switch lost {
    case .none: break
    case .unknown: commit |= 1 << 31
    case .events(let events):
      commit |= 1 << 31
      if layout.subBufferSize - end >= layout.commitSize {
        commit |= 1 << 30
        store(events, at: end, size: layout.commitSize)
      }
    }
    store(commit, at: layout.commitOffset, size: layout.commitSize)
    defer {
      bytes = [UInt8](repeating: 0, count: layout.subBufferSize)
      end = layout.dataOffset
    }
    return bytes
  }

  private mutating func startPage(_ base: UInt64) {
    guard isEmpty else { return }
    store(base, at: layout.timestampOffset, size: 8)
    timestamp = base
  }

  /// Moves the time on, and checks for room for a record of so many bytes; returns the record's own delta.
  private mutating func advance(to next: UInt64, room: Int) -> UInt32? {
    let delta = isEmpty || next < timestamp ? 0 : next - timestamp
    let needsExtend = delta > Self.largestDelta
    guard layout.subBufferSize - end >= room + (needsExtend ? 8 : 0), delta < 1 << 59 else { return nil }
    startPage(next)
    guard needsExtend else {
      timestamp &+= delta
      return UInt32(truncatingIfNeeded: delta)
    }
    return appendTimeExtend(by: delta) ? 0 : nil
  }

  private mutating func header(_ typeLength: UInt32, _ delta: UInt32) {
    put(typeLength | delta << 5)
  }

  private mutating func put(_ word: UInt32) {
    store(UInt64(word), at: end, size: 4)
    end += 4
  }

  private mutating func store(_ value: UInt64, at offset: Int, size: Int) {
    for index in 0..<size { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * UInt64(index))) }
  }
}
