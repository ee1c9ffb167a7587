/// An event's format file as it was recorded, byte for byte.
public struct RawEventFormat: Sendable, Hashable {
  public var system: String
  /// The event's name; nil where the text could not be parsed.
  public var name: String?
  public var text: [UInt8]

  public init(system: String, name: String?, text: [UInt8]) {
    self.system = system
    self.name = name
    self.text = text
  }
}

/// A guest as trace-cmd's GUEST option describes it.
public struct TraceGuest: Sendable, Hashable {
  /// Data of another's making: print it only sanitized.
  public var name: String
  /// The trace id of the guest's own recording; 0 where there is none.
  public var traceID: UInt64
  /// Host thread id of each vCPU.
  public var threads: [UInt32: Int32]

  public init(name: String, traceID: UInt64, threads: [UInt32: Int32]) {
    self.name = name
    self.traceID = traceID
    self.threads = threads
  }
}

/// The texts a trace.dat file carries besides its pages, unparsed: what it takes to write the file again.
public struct TraceFileTexts: Sendable, Hashable {
  /// `events/header_page` and `events/header_event`.
  public var headerPage: [UInt8]
  public var headerEvent: [UInt8]
  /// `events/ftrace/*/format`.
  public var ftraceFormats: [[UInt8]]
  /// `events/SYSTEM/NAME/format` of every system recorded.
  public var formats: [RawEventFormat]
  /// `PID COMM` lines.
  public var commandLines: [UInt8]

  public init(
    headerPage: [UInt8] = [], headerEvent: [UInt8] = [], ftraceFormats: [[UInt8]] = [], formats: [RawEventFormat] = [],
    commandLines: [UInt8] = []
  ) {
    self.headerPage = headerPage
    self.headerEvent = headerEvent
    self.ftraceFormats = ftraceFormats
    self.formats = formats
    self.commandLines = commandLines
  }
}

/// A recording by `trace-cmd record`, or by vmctop: trace.dat version 6 or 7 (trace-cmd.dat.v6(5), trace-cmd.dat.v7(5)).
///
/// Nothing in the file is trusted. What is cut off or corrupt is left out and listed in `damage`; only a file whose
/// event formats or page layout are lost cannot be opened.
///
/// Uncompressed pages are handed out straight from the file's mapping. Compressed ones are unpacked chunk by chunk,
/// into one buffer per CPU that is used again.
public final class TraceFile: RecordingSource {
  public let formatName = "trace.dat"
  public let metadata: TraceMetadata
  public let streams: [PageStream]
  /// The file format's version: 6 or 7.
  public let version: Int
  public let compression: TraceCompression
  /// Parts of the file that were left out. It grows while pages are read.
  public private(set) var damage: [TraceDamage]
  /// How many parts were left out; more than `damage` lists, where there are very many.
  public private(set) var damageCount: Int
  /// The text of `per_cpu/cpuN/stats` at the end of the recording, one per CPU and buffer.
  public let cpuStatistics: [String]
  /// vCPU threads, where the recorder noted them.
  public let guests: [TraceGuest]
  /// The number of CPUs of the traced host, where the file says; else of those with data.
  public let cpuCount: Int
  /// What to add to a raw timestamp for the recorder's chosen time base, in nanoseconds (OFFSET option).
  public let timestampOffset: Int64
  public let texts: TraceFileTexts
  /// The trace clock of each buffer by its name, where the file says it of each (version 7).
  public let bufferClocks: [String: String]

  private let storage: ByteStorage
  private let decompressor: TraceDecompressor
  private var states: [StreamState]
  private var reported: Set<TraceDamage>

  private struct StreamState {
    let extent: TraceFileParser.StreamExtent
    /// Where in the file to read on.
    var position: Int
    var chunksLeft: UInt32 = 0
    var buffer: UnsafeMutableRawBufferPointer?
    var bufferStart = 0
    var bufferEnd = 0
    /// Pages were left out before the next one.
    var followsGap = false
    /// Pages were left out at the end of what the buffer holds.
    var gapAfterBuffer = false
    /// Where each chunk's header is, and the time of its first page; looked up when it is first sought in.
    var chunks: [Int]?
    var chunkTimes: [Int: UInt64] = [:]

    init(_ extent: TraceFileParser.StreamExtent) {
      self.extent = extent
      position = extent.range.lowerBound
    }
  }

  /// More than trace-cmd's ten pages of 512 KiB, and little enough to allocate on a file's word.
  private static let largestChunk = 8 << 20
  private static let mostDamageListed = 1000
  /// For the chunks of all CPUs together. It is room for 200 CPUs with the largest sub-buffers there are.
  private static let largestBuffers = 1 << 30
  private var bufferBytes = 0

  /// Opens and maps a file.
  ///
  /// - Throws: If it cannot be read, is no trace.dat file, or lacks what is needed to read any event.
  public convenience init(path: String) throws(TraceFileError) {
    do throws(TraceFileError) {
      try self.init(storage: ByteStorage(mapping: path))
    } catch {
      var error = error
      error.path = path
      throw error
    }
  }

  /// Reads a file that is in memory.
  public convenience init(bytes: [UInt8]) throws(TraceFileError) {
    try self.init(storage: ByteStorage(copying: bytes))
  }

  /// Reads a file that is in memory, without copying it: the bytes must stay valid and unchanged as long as this lives.
  public convenience init(borrowing bytes: UnsafeRawBufferPointer) throws(TraceFileError) {
    try self.init(storage: ByteStorage(borrowing: bytes))
  }

  private init(storage: ByteStorage) throws(TraceFileError) {
    var parser = TraceFileParser(storage: storage)
    try parser.parse()
    self.storage = storage
    decompressor = parser.decompressor
    metadata = parser.metadata
    version = parser.version
    compression = parser.compression
    damage = Array(parser.damage.prefix(Self.mostDamageListed))
    damageCount = parser.damage.count
    reported = Set(damage)
    cpuStatistics = parser.cpuStatistics
    guests = parser.guests
    timestampOffset = parser.timestampOffset
    texts = parser.texts
    bufferClocks = parser.bufferClocks
    streams = parser.extents.map(\.stream)
    cpuCount = max(parser.cpuCount, (parser.extents.map(\.stream.cpu).max() ?? -1) + 1)
    states = parser.extents.map(StreamState.init)
  }

  deinit {
    for state in states { state.buffer?.deallocate() }
  }

  /// A second reader of the same file, for another thread: the bytes are shared, the places in them are not.
  public func reopen() -> (any RecordingSource)? { try? TraceFile(storage: storage) }

  /// Starts again from the first page of every stream. Pages handed out before are no longer valid.
  public func rewind() {
    for index in states.indices { rewind(stream: index) }
  }

  private func rewind(stream: Int) {
    states[stream].position = states[stream].extent.range.lowerBound
    states[stream].chunksLeft = 0
    states[stream].bufferStart = 0
    states[stream].bufferEnd = 0
    states[stream].followsGap = false
    states[stream].gapAfterBuffer = false
  }

  // MARK: - Going to a time

  /// By halving: the pages of a stream lie in order of time. Of compressed ones, some twenty chunks are unpacked.
  public func seek(stream: Int, to time: UInt64?) {
    guard states.indices.contains(stream) else { return }
    rewind(stream: stream)
    guard let time else { return }
    let size = metadata.page.subBufferSize
    let extent = states[stream].extent
    if extent.isCompressed { return seekChunk(stream: stream, time) }
    let pages = UnsafeRawBufferPointer(rebasing: storage.bytes[extent.range])
    states[stream].position += self.page(at: time, in: pages) * size
  }

  /// The number of the page to go to.
  private func page(at time: UInt64, in pages: UnsafeRawBufferPointer) -> Int {
    let size = metadata.page.subBufferSize
    let offset = metadata.page.timestampOffset
    guard offset >= 0, offset <= size - 8 else { return 0 }
    func begin(_ page: Int) -> UInt64 {
      UInt64(littleEndian: pages.loadUnaligned(fromByteOffset: page * size + offset, as: UInt64.self))
    }
    var place = (0..<pages.count / size).partitioningIndex(where: { begin($0) > time }) - 1
    guard place > 0 else { return 0 }
    while place > 0, begin(place - 1) == begin(place) { place -= 1 }
    return place
  }

  /// More chunks than a recording of 100 GB has.
  private static let mostChunks = 1 << 22

  private func chunks(stream: Int) -> [Int] {
    if let known = states[stream].chunks { return known }
    let range = states[stream].extent.range
    var chunks: [Int] = []
    if range.count >= 4 {
      var position = range.lowerBound + 4
      for _ in 0..<min(Int(word(range.lowerBound)), Self.mostChunks) {
        guard range.upperBound - position >= 8 else { break }
        let packedSize = Int(word(position))
        guard packedSize <= range.upperBound - position - 8 else { break }
        chunks.append(position)
        position += 8 + packedSize
      }
    }
    states[stream].chunks = chunks
    return chunks
  }

  /// Unpacks a chunk as if all before it had been read. False where it is corrupt.
  private func goTo(chunk: Int, stream: Int, _ chunks: [Int]) -> Bool {
    rewind(stream: stream)
    states[stream].position = chunks[chunk]
    states[stream].chunksLeft = word(states[stream].extent.range.lowerBound) - UInt32(chunk)
    return unpackChunk(stream: stream) && states[stream].bufferEnd >= metadata.page.subBufferSize
  }

  /// The time of a chunk's first page; of the one before it, where it is corrupt.
  private func time(ofChunk chunk: Int, stream: Int, _ chunks: [Int]) -> UInt64 {
    var chunk = chunk
    while true {
      if let known = states[stream].chunkTimes[chunk] { return known }
      if goTo(chunk: chunk, stream: stream, chunks), let buffer = states[stream].buffer,
        metadata.page.timestampOffset <= metadata.page.subBufferSize - 8
      {
        let time = UInt64(
          littleEndian: buffer.loadUnaligned(fromByteOffset: metadata.page.timestampOffset, as: UInt64.self))
        states[stream].chunkTimes[chunk] = time
        return time
      }
      guard chunk > 0 else { return 0 }
      chunk -= 1
    }
  }

  private func seekChunk(stream: Int, _ time: UInt64) {
    let chunks = chunks(stream: stream)
    var chunk = chunks.indices.partitioningIndex(where: { self.time(ofChunk: $0, stream: stream, chunks) > time }) - 1
    while chunk >= 0 {
      if goTo(chunk: chunk, stream: stream, chunks), let buffer = states[stream].buffer {
        let pages = UnsafeRawBufferPointer(rebasing: buffer[..<states[stream].bufferEnd])
        states[stream].bufferStart = page(at: time, in: pages) * metadata.page.subBufferSize
        return
      }
      chunk -= 1
    }
    rewind(stream: stream)
  }

  /// Timestamps of the first and the last event of all streams, or nil where there is none. Only the outermost pages
  /// and chunks are looked at. Starts again from the first page.
  public func timeBounds() -> (first: UInt64, last: UInt64)? {
    var bounds: (first: UInt64, last: UInt64)?
    func widen(_ page: UnsafeRawBufferPointer, toFirst: Bool, toLast: Bool) {
      var cursor = SubBufferCursor(page: page, layout: metadata.page)
      guard cursor.next() else { return }
      if toFirst { bounds = (min(bounds?.first ?? .max, cursor.timestamp), bounds?.last ?? 0) }
      guard toLast else { return }
      while cursor.next() {}
      bounds = (bounds?.first ?? cursor.timestamp, max(bounds?.last ?? 0, cursor.timestamp))
    }
    // The outermost pages may be empty, so a few more are looked at.
    func look(at pages: UnsafeRawBufferPointer, isFirst: Bool, isLast: Bool) {
      let size = metadata.page.subBufferSize
      let count = pages.count / size
      for number in 0..<count {
        let (toFirst, toLast) = (isFirst && number < 8, isLast && number >= count - 8)
        guard toFirst || toLast else { continue }
        let start = number * size
        widen(UnsafeRawBufferPointer(rebasing: pages[start..<start + size]), toFirst: toFirst, toLast: toLast)
      }
    }
    for stream in states.indices {
      let extent = states[stream].extent
      guard extent.isCompressed else {
        look(at: UnsafeRawBufferPointer(rebasing: storage.bytes[extent.range]), isFirst: true, isLast: true)
        continue
      }
      let chunks = chunks(stream: stream)
      func lookAtChunk(_ chunk: Int, isFirst: Bool) -> Bool {
        guard goTo(chunk: chunk, stream: stream, chunks), let buffer = states[stream].buffer else { return false }
        look(
          at: UnsafeRawBufferPointer(rebasing: buffer[..<states[stream].bufferEnd]), isFirst: isFirst, isLast: !isFirst)
        return true
      }
      _ = chunks.indices.first { lookAtChunk($0, isFirst: true) }
      _ = chunks.indices.reversed().first { lookAtChunk($0, isFirst: false) }
    }
    rewind()
    return bounds
  }

  public func nextPage(stream: Int) -> UnsafeRawBufferPointer? {
    guard states.indices.contains(stream) else { return nil }
    let size = metadata.page.subBufferSize
    guard states[stream].extent.isCompressed else {
      let position = states[stream].position
      guard states[stream].extent.range.upperBound - position >= size else { return nil }
      states[stream].position = position + size
      return UnsafeRawBufferPointer(rebasing: storage.bytes[position..<position + size])
    }
    while states[stream].bufferEnd - states[stream].bufferStart < size {
      guard unpackChunk(stream: stream) else { return nil }
    }
    guard let buffer = states[stream].buffer else { return nil }
    let start = states[stream].bufferStart
    states[stream].bufferStart = start + size
    let page = UnsafeMutableRawBufferPointer(rebasing: buffer[start..<start + size])
    if states[stream].followsGap {
      states[stream].followsGap = false
      // Say it as the kernel does, so that nobody pairs events across the gap: events were lost, the number unknown.
      let highByte = metadata.page.commitOffset + 3
      page[highByte] = page[highByte] & 0x3f | 0x80
    }
    return UnsafeRawBufferPointer(page)
  }

  /// Unpacks the next chunk of a stream into its buffer; false at the end. A chunk that is corrupt leaves it empty.
  private func unpackChunk(stream: Int) -> Bool {
    let range = states[stream].extent.range
    var position = states[stream].position
    defer { states[stream].position = position }
    states[stream].bufferStart = 0
    states[stream].bufferEnd = 0
    if states[stream].gapAfterBuffer {
      states[stream].gapAfterBuffer = false
      states[stream].followsGap = true
    }

    if position == range.lowerBound {
      guard range.count >= 4 else { return false }
      states[stream].chunksLeft = word(position)
      position += 4
    }
    guard states[stream].chunksLeft > 0 else {
      releaseBuffer(stream: stream)
      return false
    }
    states[stream].chunksLeft -= 1
    let name = states[stream].extent.stream.name
    guard range.upperBound - position >= 8 else {
      note(position, "\(states[stream].chunksLeft &+ 1) or more chunks of \(name) are missing")
      states[stream].chunksLeft = 0
      return false
    }
    let header = position
    let packedSize = Int(word(position))
    let size = Int(word(position + 4))
    position += 8
    guard packedSize <= range.upperBound - position else {
      note(header, "a chunk of \(name) is cut off, \(range.upperBound - position) of its \(packedSize) bytes are there")
      states[stream].chunksLeft = 0
      return false
    }
    guard size <= Self.largestChunk else {
      note(header, "a chunk of \(name) claims \(size) bytes, the limit is \(Self.largestChunk)")
      states[stream].followsGap = true
      position += packedSize
      return true
    }
    if (states[stream].buffer?.count ?? 0) < size {
      releaseBuffer(stream: stream)
      guard bufferBytes + size <= Self.largestBuffers else {
        note(header, "a chunk of \(name) is left out: the chunks of all CPUs need over \(Self.largestBuffers) bytes")
        states[stream].followsGap = true
        position += packedSize
        return true
      }
      states[stream].buffer = .allocate(byteCount: size, alignment: 16)
      bufferBytes += size
    }
    guard size > 0, let buffer = states[stream].buffer else {
      position += packedSize
      return true
    }
    let packed = UnsafeRawBufferPointer(rebasing: storage.bytes[position..<position + packedSize])
    position += packedSize
    let target = UnsafeMutableRawBufferPointer(rebasing: buffer[..<size])
    guard let unpacked = decompressor.decompress(packed, into: target) else {
      note(header, "a chunk of \(name) is corrupt, \(size) bytes of pages are lost")
      states[stream].followsGap = true
      return true
    }
    let pageSize = metadata.page.subBufferSize
    if unpacked != size || size % pageSize != 0 {
      note(header, "a chunk of \(name) holds \(unpacked) bytes, expected \(size) and whole pages of \(pageSize)")
      // Only pages that the chunk holds whole; the page after them then follows a gap.
      states[stream].bufferEnd = unpacked / pageSize * pageSize
      states[stream].gapAfterBuffer = true
      return true
    }
    states[stream].bufferEnd = unpacked
    return true
  }

  private func releaseBuffer(stream: Int) {
    guard let buffer = states[stream].buffer else { return }
    bufferBytes -= buffer.count
    buffer.deallocate()
    states[stream].buffer = nil
  }

  private func word(_ offset: Int) -> UInt32 {
    UInt32(littleEndian: storage.bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }

  private func note(_ offset: Int, _ message: String) {
    let item = TraceDamage(offset: offset, message: message)
    guard !reported.contains(item) else { return }
    damageCount += 1
    guard damage.count < Self.mostDamageListed else { return }
    reported.insert(item)
    damage.append(item)
  }
}

extension PageStream {
  /// For messages: `CPU 3`, `CPU 3 of instance web`.
  var name: String { buffer.isEmpty ? "CPU \(cpu)" : "CPU \(cpu) of instance \(printable(buffer))" }
}
