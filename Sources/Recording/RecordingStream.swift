import Glibc
import HostFiles
import TraceFormat

/// A recording as it comes through a pipe: whole chunks, one after another. One thread uses it.
public final class RecordingStream {
  /// What came.
  public enum Item: Sendable {
    /// A chunk whose checksums are right, unpacked. Chunks of kinds not known here come too, to be passed over.
    case chunk(ChunkHeader, [UInt8])
    /// Nothing within the time given.
    case nothing
    /// The other descriptor is readable.
    case woken
    /// The writer is gone.
    case end
  }

  /// What was damaged on the way, or left out.
  public private(set) var damage: [TraceDamage] = []
  /// True once the chunk END came: the recording is whole.
  public private(set) var isWhole = false
  /// True where chunks before the one handed out last are missing: nobody knows whose.
  public private(set) var followsDamage = false

  /// Nothing came at all.
  public var isEmpty: Bool { before == 0 && buffer.isEmpty }

  private let descriptor: Int32
  private let decompressor = ChunkDecompressor()
  private let input = UnsafeMutableRawBufferPointer.allocate(byteCount: portion, alignment: 16)
  private var buffer: [UInt8] = []
  /// Bytes of the buffer that were taken, and of the stream before the buffer.
  private var taken = 0
  private var before = 0
  private var recording: UInt32?
  private var sequence: UInt32?
  private var hasPrefix = false
  private var damagedFrom: Int?
  private var isAtEnd = false

  /// As much is read at once, where it is there.
  private static let portion = 1 << 18
  /// Where nothing says within so many bytes that it is a recording, it is none.
  private static let longestSearch = 1 << 20

  /// - Parameter descriptor: stays open, and is not closed. It is polled before it is read.
  public init(descriptor: Int32) { self.descriptor = descriptor }

  deinit { input.deallocate() }

  /// The next chunk, or why there is none.
  ///
  /// - Parameters:
  ///   - milliseconds: how long to wait for it; negative for as long as it takes.
  ///   - wake: a descriptor that ends the waiting when it is readable.
  /// - Throws: If what comes is no recording, is of a later version, or cannot be read.
  public func next(milliseconds: Int32 = -1, wake: Int32 = -1) throws(RecordingError) -> Item {
    let deadline = milliseconds < 0 ? UInt64.max : now() &+ UInt64(milliseconds) &* 1_000_000
    while true {
      if let item = try parse() { return item }
      if isAtEnd { return .end }
      let left = deadline == .max ? -1 : Int32(clamping: deadline > now() ? (deadline &- now()) / 1_000_000 &+ 1 : 0)
      var set = [
        pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0), pollfd(fd: wake, events: Int16(POLLIN), revents: 0),
      ]
      let count = poll(&set, 2, left)
      if count < 0, errno == EINTR { continue }
      if set[1].revents & Int16(POLLIN) != 0 { return .woken }
      if count == 0 { return .nothing }
      try fill()
    }
  }

  private func fill() throws(RecordingError) {
    if taken > Self.portion {
      buffer.removeFirst(taken)
      before += taken
      taken = 0
    }
    let count = retrying { read(descriptor, input.baseAddress, input.count) }
    let number = errno
    if count > 0 { buffer.append(contentsOf: UnsafeRawBufferPointer(rebasing: input[..<count])) }
    if count == 0 { isAtEnd = true }
    if count < 0, number != EAGAIN {
      throw RecordingError("cannot read the recording", errorNumber: number, code: .unavailable)
    }
  }

  private enum Step {
    case chunk(ChunkHeader, [UInt8])
    /// So many bytes are understood.
    case skip(Int)
    /// So many bytes are none.
    case damaged(Int)
    case more
  }

  private func parse() throws(RecordingError) -> Item? {
    while taken < buffer.count {
      switch try step() {
      case .more:
        guard isAtEnd else { return nil }
        note(damagedFrom ?? before + taken, "the stream is cut off")
        taken = buffer.count
      case .skip(let count): taken += count
      case .damaged(let count):
        if damagedFrom == nil { damagedFrom = before + taken }
        taken += count
        if recording == nil, before + taken > Self.longestSearch {
          throw RecordingError("this is no recording of vmctop", code: .notARecording)
        }
      case .chunk(let header, let payload):
        taken += ChunkHeader.size + Int(header.storedLength)
        let missing = sequence.map { header.sequence &- $0 &- 1 } ?? 0
        followsDamage = missing != 0
        if let damagedFrom { note(damagedFrom, "\(before + taken - damagedFrom) bytes are damaged") }
        if missing != 0, damagedFrom == nil { note(before + taken, "chunks are missing before this place") }
        damagedFrom = nil
        sequence = header.sequence
        recording = header.recording
        isWhole = header.kind == .end
        return .chunk(header, payload)
      }
    }
    return nil
  }

  private func note(_ offset: Int, _ message: String) {
    if damage.count < 1000 { damage.append(TraceDamage(offset: offset, message: message)) }
  }

  /// What stands at the beginning of what was not taken yet.
  private func step() throws(RecordingError) -> Step {
    let rest = buffer.count - taken
    if !hasPrefix {
      guard rest >= RecordingPrefix.size || isAtEnd else { return .more }
      hasPrefix = true
      let version = buffer[taken...].withUnsafeBytes { RecordingPrefix.version($0) }
      if let version, version > RecordingPrefix.version {
        throw RecordingError(
          "a recording of version \(version), this vmctop reads up to \(RecordingPrefix.version)", code: .unsupported)
      }
      return version == nil ? .damaged(0) : .skip(RecordingPrefix.size)
    }
    guard rest >= ChunkHeader.size else { return .more }
    return buffer[taken...].withUnsafeBytes { bytes in
      if let header = ChunkHeader(bytes), recording == nil || header.recording == recording {
        let size = ChunkHeader.size + Int(header.storedLength)
        guard bytes.count >= size else { return .more }
        let stored = UnsafeRawBufferPointer(rebasing: bytes[ChunkHeader.size..<size])
        if crc32c(stored) == header.payloadChecksum, let payload = decompressor.payload(header, stored) {
          return .chunk(header, payload)
        }
        return .damaged(1)
      }
      // Parts of a recording may follow each other.
      if recording != nil, let version = RecordingPrefix.version(bytes), version <= RecordingPrefix.version {
        return .skip(RecordingPrefix.size)
      }
      let mark = ChunkHeader.mark
      let starts = [mark[0], RecordingPrefix.magic[0]]
      let next = bytes.indices.dropFirst().first { starts.contains(bytes[$0]) }
      return .damaged(next ?? bytes.count)
    }
  }
}

/// The pages of a stream, as they come: what is given to `add` is handed out by `nextPage`. One thread uses it.
public final class RecordingPageQueue: PageSource {
  public private(set) var streams: [PageStream] = []
  /// Bytes of the payloads that wait.
  public private(set) var bytes = 0
  private let layout: PageLayout
  private var places: [UInt32: Int] = [:]
  private var entries: [Entry] = []

  private struct Entry {
    var run: PageRun
    let page: UnsafeMutableRawBufferPointer
    var blocks: [Block] = []
    /// The page handed out last.
    var hasPage = false
    /// It is to be handed out once more.
    var isRepeated = false
    /// Chunks before the next block are missing.
    var followsDamage = false
    /// Blocks before the next one were let go of.
    var lacksBlocks = false
    /// The gap before the next block is made up for.
    var isForgiven = false
  }

  private struct Block {
    var payload: [UInt8]
    /// The last time in it, as its header says.
    var last: UInt64
    var isAfterGap: Bool
  }

  /// More CPUs than this no host has; a hostile stream would otherwise make us keep memory for each.
  private static let mostStreams = 8192

  public init(layout: PageLayout) { self.layout = layout }

  deinit { for entry in entries { entry.page.deallocate() } }

  /// Chunks are missing, of streams unknown: the next page of each follows a gap.
  public func noteDamage() {
    for index in entries.indices { entries[index].followsDamage = true }
  }

  /// Makes a CPU's stream, where there is none yet. Nil where there is no room for another.
  @discardableResult
  public func prepare(cpu: UInt32) -> Int? {
    if let known = places[cpu] { return known }
    let place = entries.count
    guard place < Self.mostStreams else { return nil }
    let page = UnsafeMutableRawBufferPointer.allocate(byteCount: layout.subBufferSize, alignment: 16)
    streams.append(PageStream(cpu: Int(cpu)))
    entries.append(Entry(run: PageRun(layout: layout, page: page), page: page))
    places[cpu] = place
    return place
  }

  /// Takes the payload of a chunk PAGES. Returns false where there is no room for another stream.
  @discardableResult
  public func add(_ header: ChunkHeader, _ payload: [UInt8]) -> Bool {
    guard let place = prepare(cpu: header.stream) else { return false }
    let isAfterGap = header.flags.contains(.afterGap) && !entries[place].isForgiven
    let lacksBlocks = entries[place].followsDamage || entries[place].lacksBlocks
    entries[place].isForgiven = false
    entries[place].followsDamage = false
    entries[place].lacksBlocks = false
    entries[place].blocks.append(Block(payload: payload, last: header.last, isAfterGap: isAfterGap || lacksBlocks))
    bytes += payload.count
    return true
  }

  public func nextPage(stream: Int) -> UnsafeRawBufferPointer? {
    guard entries.indices.contains(stream) else { return nil }
    if entries[stream].isRepeated {
      entries[stream].isRepeated = false
      return UnsafeRawBufferPointer(entries[stream].page)
    }
    while true {
      if let page = entries[stream].run.next() {
        entries[stream].hasPage = true
        return page
      }
      guard !entries[stream].blocks.isEmpty else { return nil }
      let next = entries[stream].blocks.removeFirst()
      bytes -= next.payload.count
      if next.isAfterGap { entries[stream].run.isAfterGap = true }
      entries[stream].run.take(next.payload)
    }
  }

  // MARK: - Where what was counted meanwhile is known from elsewhere

  /// Hands out the page that each stream handed out last once more: counting goes on from a place within it, or after it.
  public func repeatPages() {
    for index in entries.indices { entries[index].isRepeated = entries[index].hasPage }
  }

  /// Lets go of blocks that end at a moment or before it.
  public func drop(through time: UInt64) {
    for index in entries.indices {
      while let first = entries[index].blocks.first, first.last <= time {
        bytes -= first.payload.count
        entries[index].blocks.removeFirst()
      }
    }
  }

  /// What is missing before the next block of each stream is known from elsewhere: it follows no gap.
  public func forgiveGaps() {
    for index in entries.indices {
      entries[index].lacksBlocks = false
      if entries[index].blocks.isEmpty {
        entries[index].isForgiven = true
      } else {
        entries[index].blocks[0].isAfterGap = false
      }
    }
  }

  /// Another gap begins: nothing that comes from here on is made up for.
  public func beginGap() {
    for index in entries.indices { entries[index].isForgiven = false }
  }

  /// Lets go of all blocks; the next of each such stream follows a gap. Returns the last time in them.
  public func dropAll() -> UInt64 {
    var last: UInt64 = 0
    for index in entries.indices where !entries[index].blocks.isEmpty {
      for block in entries[index].blocks { last = max(last, block.last) }
      entries[index].blocks = []
      entries[index].lacksBlocks = true
    }
    bytes = 0
    return last
  }
}
