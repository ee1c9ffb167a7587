import CRecording
import Glibc
import HostFiles
import TraceFormat

/// One file of a recording: where its chunks are, and their bytes. Read with pread(2), not mapped: a file that is cut short
/// meanwhile gives an error, not SIGBUS.
final class RecordingPart {
  let path: String
  let descriptor: Int32
  let size: UInt64

  init(path: String) throws(RecordingError) {
    self.path = path
    // Not to hang on a FIFO without a writer.
    descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw RecordingError("cannot open \(path)", errorNumber: errno, code: .unavailable) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      let number = errno
      close(descriptor)
      throw RecordingError("cannot stat \(path)", errorNumber: number, code: .unavailable)
    }
    guard status.st_mode & S_IFMT == S_IFREG else {
      close(descriptor)
      throw RecordingError("\(path): not a regular file", code: .unavailable)
    }
    size = UInt64(max(0, status.st_size))
    guard size > 0 else {
      close(descriptor)
      throw RecordingError("\(path): empty", code: .notARecording)
    }
    var prefix = [UInt8](repeating: 0, count: RecordingPrefix.size)
    let count = pread(descriptor, &prefix, prefix.count, 0)
    if count == prefix.count, let version = prefix.withUnsafeBytes({ RecordingPrefix.version($0) }),
      version > RecordingPrefix.version
    {
      close(descriptor)
      throw RecordingError(
        "\(path): a recording of version \(version), this vmctop reads up to \(RecordingPrefix.version)",
        code: .unsupported)
    }
  }

  deinit { close(descriptor) }

  /// Reads exactly so many bytes; false where they are not there.
  func read(at offset: UInt64, into target: UnsafeMutableRawBufferPointer) -> Bool {
    var done = 0
    while done < target.count {
      guard let position = off_t(exactly: offset &+ UInt64(done)) else { return false }
      let count = retrying {
        pread(descriptor, target.baseAddress.map { $0 + done }, target.count - done, position)
      }
      guard count > 0 else { return false }
      done += count
    }
    return true
  }

  func bytes(at offset: UInt64, count: Int) -> [UInt8]? {
    guard UInt64(count) <= size, offset <= size - UInt64(count) else { return nil }
    var isGood = false
    let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
      isGood = read(at: offset, into: UnsafeMutableRawBufferPointer(buffer))
      filled = isGood ? count : 0
    }
    return isGood ? bytes : nil
  }

  /// The header that is there, where it is one.
  func header(at offset: UInt64) -> ChunkHeader? {
    bytes(at: offset, count: ChunkHeader.size)?.withUnsafeBytes { ChunkHeader($0) }
  }

  /// The payload, unpacked; nil where header or payload are other ones than they should be.
  func payload(_ chunk: IndexedChunk, _ decompressor: ChunkDecompressor) -> [UInt8]? {
    guard let bytes = bytes(at: chunk.offset, count: ChunkHeader.size + Int(chunk.header.storedLength)) else {
      return nil
    }
    return bytes.withUnsafeBytes { bytes in
      guard ChunkHeader(bytes) == chunk.header else { return nil }
      let stored = UnsafeRawBufferPointer(rebasing: bytes[ChunkHeader.size...])
      guard crc32c(stored) == chunk.header.payloadChecksum else { return nil }
      return decompressor.payload(chunk.header, stored)
    }
  }
}

/// What was found in a part.
struct PartScan {
  var chunks: [IndexedChunk] = []
  var damage: [TraceDamage] = []
  /// The last chunk, where that is END and nothing follows.
  var end: EndRecord?
  var isIndexed = true
  /// What is no whole chunk at the end of the file begins here; the file's size where there is no such.
  var tornFrom = Int.max
}

extension RecordingFile {
  static func firstHeader(_ part: RecordingPart, _ chunks: [IndexedChunk]) -> RecordingHeader? {
    let decompressor = ChunkDecompressor()
    for chunk in chunks where chunk.header.kind == .header {
      if let payload = part.payload(chunk, decompressor), let header = try? RecordingHeader(decoding: payload) {
        return header
      }
    }
    return nil
  }

  /// Finds the chunks of a file: by the index at its end, and those of files that stand before it in the same one
  /// (concatenated) likewise; else by walking from header to header.
  static func scan(_ part: RecordingPart) -> PartScan {
    var pieces: [PartScan] = []
    var limit = part.size
    while limit > 0 {
      guard let (piece, start) = indexed(part, end: limit) else {
        // Only headers are read, far from one another: what the kernel reads ahead would be the whole file.
        _ = posix_fadvise(part.descriptor, 0, 0, POSIX_FADV_RANDOM)
        var scan = walk(part, from: 0, to: limit)
        _ = posix_fadvise(part.descriptor, 0, 0, POSIX_FADV_NORMAL)
        scan.isIndexed = false
        pieces.append(scan)
        break
      }
      pieces.append(piece)
      limit = start
    }
    var result = PartScan()
    for piece in pieces.reversed() {
      var chunks = piece.chunks
      if let last = result.chunks.last, let first = chunks.first, first.header.sequence != last.header.sequence &+ 1 {
        chunks[0].followsDamage = true
        result.damage.append(
          TraceDamage(offset: Int(clamping: first.offset), message: "what was recorded before this is missing"))
      }
      result.chunks += chunks
      result.damage += piece.damage
      result.isIndexed = result.isIndexed && piece.isIndexed
      result.end = piece.end
      result.tornFrom = piece.tornFrom
    }
    return result
  }

  /// The chunks of the file that ends at `end`, by its index, and where it begins. Nil where it does not end with END, or
  /// the index is missing or wrong.
  private static func indexed(_ part: RecordingPart, end: UInt64) -> (PartScan, start: UInt64)? {
    let size = UInt64(ChunkHeader.size + EndRecord.size)
    guard end >= size, let endHeader = part.header(at: end - size), endHeader.kind == .end else { return nil }
    let decompressor = ChunkDecompressor()
    let endChunk = IndexedChunk(header: endHeader, offset: end - size)
    guard endChunk.end == end, let payload = part.payload(endChunk, decompressor),
      let record = try? EndRecord(decoding: payload), record.indexDistance > 0,
      record.indexDistance <= endChunk.offset, record.startDistance <= endChunk.offset,
      record.startDistance >= record.indexDistance
    else { return nil }
    let start = endChunk.offset - record.startDistance
    let offset = endChunk.offset - record.indexDistance
    guard let prefix = part.bytes(at: start, count: RecordingPrefix.size),
      prefix.withUnsafeBytes({ RecordingPrefix.version($0) }) != nil,
      let header = part.header(at: offset), header.kind == .index, header.recording == endHeader.recording
    else { return nil }
    let index = IndexedChunk(header: header, offset: offset)
    guard index.end == endChunk.offset, let bytes = part.payload(index, decompressor),
      let chunks = ChunkIndex.decode(
        bytes, recording: header.recording, start: start + UInt64(RecordingPrefix.size), end: offset, part: 0)
    else { return nil }
    var scan = PartScan()
    scan.chunks = chunks + [index, endChunk]
    scan.end = record
    for place in scan.chunks.indices.dropFirst()
    where scan.chunks[place].header.sequence != scan.chunks[place - 1].header.sequence &+ 1 {
      scan.chunks[place].followsDamage = true
    }
    return (scan, start)
  }

  /// Walks from header to header. Where one is damaged it goes on at the next that is whole and of the same recording.
  private static func walk(_ part: RecordingPart, from start: UInt64, to limit: UInt64) -> PartScan {
    var scan = PartScan()
    var window = HeaderWindow(part, limit)
    var offset = start
    var recording: UInt32?
    if let prefix = window.bytes(at: offset, count: RecordingPrefix.size), RecordingPrefix.version(prefix) != nil {
      offset += UInt64(RecordingPrefix.size)
      recording = window.header(at: offset)?.recording
    }
    // A first chunk that is damaged does not tell; the last one may.
    let endSize = UInt64(ChunkHeader.size + EndRecord.size)
    if recording == nil, limit >= endSize { recording = part.header(at: limit - endSize)?.recording }
    var isDamaged = offset == start
    var damagedFrom = start
    while offset < limit {
      if let header = window.header(at: offset), recording == nil || header.recording == recording {
        let chunk = IndexedChunk(header: header, offset: offset)
        if chunk.end <= limit {
          recording = header.recording
          append(chunk, to: &scan, isDamaged ? damagedFrom : nil)
          isDamaged = false
          offset = chunk.end
          continue
        }
      }
      // A file that follows another in the same one.
      if let prefix = window.bytes(at: offset, count: RecordingPrefix.size), RecordingPrefix.version(prefix) != nil,
        window.header(at: offset + UInt64(RecordingPrefix.size)) != nil
      {
        offset += UInt64(RecordingPrefix.size)
        continue
      }
      if !isDamaged { damagedFrom = offset }
      isDamaged = true
      // Where nothing says that it is a recording at all, not all of a large file is searched.
      guard let next = window.nextMark(after: offset, before: recording == nil ? start + longestSearch : limit) else {
        break
      }
      offset = next
    }
    if isDamaged, damagedFrom < limit {
      scan.tornFrom = Int(clamping: damagedFrom)
      scan.damage.append(
        TraceDamage(
          offset: scan.tornFrom,
          message: "the file is cut off or damaged: its last \(limit - damagedFrom) bytes are no whole chunk"))
    }
    if let last = scan.chunks.last, last.header.kind == .end, !isDamaged,
      let payload = part.payload(last, ChunkDecompressor())
    {
      scan.end = try? EndRecord(decoding: payload)
    }
    return scan
  }

  private static let longestSearch: UInt64 = 64 << 20

  private static func append(_ chunk: IndexedChunk, to scan: inout PartScan, _ damagedFrom: UInt64?) {
    var chunk = chunk
    let missing = scan.chunks.last.map { chunk.header.sequence &- $0.header.sequence &- 1 }
    // Without a chunk before there is nothing to compare with: the very first has the number 0.
    let isGap = missing.map { $0 != 0 } ?? (damagedFrom != nil && chunk.header.sequence != 0)
    chunk.followsDamage = isGap
    let count = missing.map { $0 < 1 << 31 ? "\($0) chunk\($0 == 1 ? "" : "s")" : "an unknown number of chunks" }
    if let damagedFrom, chunk.offset > damagedFrom || isGap {
      scan.damage.append(
        TraceDamage(
          offset: Int(clamping: damagedFrom),
          message: "\(chunk.offset - damagedFrom) bytes are damaged" + (isGap ? ", \(count ?? "chunks") missing" : "")))
    } else if isGap {
      scan.damage.append(
        TraceDamage(offset: Int(clamping: chunk.offset), message: "\(count ?? "chunks") missing before this place"))
    }
    scan.chunks.append(chunk)
  }
}

/// Reads headers with as few system calls as their distances allow.
private struct HeaderWindow {
  private let part: RecordingPart
  private let limit: UInt64
  private var start: UInt64 = 0
  private var count = 0
  private let memory: UnsafeMutableRawBufferPointer
  private let owner: Memory

  private static let ahead = 4096
  private static let search = 1 << 20

  private final class Memory {
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: HeaderWindow.search, alignment: 16)
    deinit { bytes.deallocate() }
  }

  init(_ part: RecordingPart, _ limit: UInt64) {
    self.part = part
    self.limit = limit
    owner = Memory()
    memory = owner.bytes
  }

  private mutating func fill(at offset: UInt64, count wanted: Int) {
    start = offset
    count = Int(min(UInt64(wanted), limit - min(offset, limit)))
    if !part.read(at: offset, into: UnsafeMutableRawBufferPointer(rebasing: memory[..<count])) { count = 0 }
  }

  /// Bytes within the limit, or nil. Valid until the next call.
  mutating func bytes(at offset: UInt64, count wanted: Int) -> UnsafeRawBufferPointer? {
    guard offset <= limit, UInt64(wanted) <= limit - offset else { return nil }
    if offset < start || offset - start > UInt64(count) || UInt64(count) - (offset - start) < UInt64(wanted) {
      fill(at: offset, count: Self.ahead)
    }
    let place = Int(offset - start)
    guard count - place >= wanted else { return nil }
    return UnsafeRawBufferPointer(rebasing: memory[place..<place + wanted])
  }

  mutating func header(at offset: UInt64) -> ChunkHeader? {
    bytes(at: offset, count: ChunkHeader.size).flatMap { ChunkHeader($0) }
  }

  /// Where the next mark of a chunk, or of a file, begins behind an offset.
  ///
  /// - Parameter end: a mark that begins there or later is not looked for.
  mutating func nextMark(after offset: UInt64, before end: UInt64) -> UInt64? {
    var from = offset + 1
    while from < min(limit, end) {
      fill(at: from, count: Self.search)
      guard count >= 8 else { return nil }
      let mark = crecording_find(memory.baseAddress, count, ChunkHeader.mark, ChunkHeader.mark.count)
      let prefix = crecording_find(memory.baseAddress, count, RecordingPrefix.magic, RecordingPrefix.magic.count)
      if let found = [mark, prefix].filter({ $0 >= 0 }).min() { return from + UInt64(found) }
      if UInt64(count) >= limit - from { return nil }
      // A mark may lie across the windows.
      from += UInt64(count - 7)
    }
    return nil
  }
}
