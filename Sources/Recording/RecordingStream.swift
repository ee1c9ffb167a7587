import Glibc
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

  private let descriptor: Int32
  private let decompressor = ChunkDecompressor()
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
    let old = buffer.count
    buffer.append(contentsOf: repeatElement(0, count: Self.portion))
    let count = buffer.withUnsafeMutableBytes { read(descriptor, $0.baseAddress.map { $0 + old }, Self.portion) }
    let number = errno
    buffer.removeLast(Self.portion - max(0, count))
    if count == 0 { isAtEnd = true }
    if count < 0, number != EINTR, number != EAGAIN {
      throw RecordingError("cannot read the recording", errorNumber: number, kind: .unavailable)
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
          throw RecordingError("this is no recording of vmctop", kind: .notARecording)
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
          "a recording of version \(version), this vmctop reads up to \(RecordingPrefix.version)", kind: .unsupported)
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
      let mark = ChunkHeader.mark
      let next = bytes.indices.dropFirst().first { bytes[$0] == mark[0] }
      return .damaged(next ?? bytes.count)
    }
  }
}

/// The pages of a stream, as they come: what is given to `add` is handed out by `nextPage`. One thread uses it.
public final class RecordingPageQueue: PageSource {
  public private(set) var streams: [PageStream] = []
  private let layout: PageLayout
  private var places: [UInt32: Int] = [:]
  private var queues: [[(payload: [UInt8], isAfterGap: Bool)]] = []
  private var runs: [PageRun] = []
  private var memory: [UnsafeMutableRawBufferPointer] = []
  private var followsDamage: Set<Int> = []

  /// More CPUs than this no host has; a hostile stream would otherwise make us keep memory for each.
  private static let mostStreams = 8192

  public init(layout: PageLayout) { self.layout = layout }

  deinit { for page in memory { page.deallocate() } }

  /// Chunks are missing, of streams unknown: the next page of each follows a gap.
  public func noteDamage() { followsDamage.formUnion(streams.indices) }

  /// Takes the payload of a chunk PAGES. Returns false where there is no room for another stream.
  @discardableResult
  public func add(_ header: ChunkHeader, _ payload: [UInt8]) -> Bool {
    let place: Int
    if let known = places[header.stream] {
      place = known
    } else {
      place = streams.count
      guard place < Self.mostStreams else { return false }
      let page = UnsafeMutableRawBufferPointer.allocate(byteCount: layout.subBufferSize, alignment: 16)
      memory.append(page)
      streams.append(PageStream(cpu: Int(header.stream)))
      queues.append([])
      runs.append(PageRun(layout: layout, page: page))
      places[header.stream] = place
    }
    let isAfterGap = header.flags.contains(.afterGap) || followsDamage.remove(place) != nil
    queues[place].append((payload, isAfterGap))
    return true
  }

  public func nextPage(stream: Int) -> UnsafeRawBufferPointer? {
    guard queues.indices.contains(stream) else { return nil }
    while true {
      if let page = runs[stream].next() { return page }
      guard !queues[stream].isEmpty else { return nil }
      let next = queues[stream].removeFirst()
      if next.isAfterGap { runs[stream].isAfterGap = true }
      runs[stream].take(next.payload)
    }
  }
}
