/// Where a chunk is, and what its header says.
public struct IndexedChunk: Sendable, Hashable {
  public var header: ChunkHeader
  /// Of its header, in bytes from the start of its file.
  public var offset: UInt64
  /// Index of its file among those of the recording.
  public var part = 0
  /// Chunks before this one are damaged or missing, and nobody knows which: every stream has a gap here.
  public var followsDamage = false

  /// Where the next chunk begins.
  var end: UInt64 { offset &+ UInt64(ChunkHeader.size) &+ UInt64(header.storedLength) }
}

/// The chunks of a file, as the chunk INDEX holds them: 44 bytes each, the fields of the header without mark and
/// recording, and without the offset, which follows from the lengths of the chunks before.
enum ChunkIndex {
  static let entrySize = 44

  static func encode(_ headers: [ChunkHeader]) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(headers.count * entrySize)
    for header in headers {
      bytes.append(littleEndian: header.kind.rawValue)
      bytes.append(littleEndian: header.flags.rawValue)
      bytes.append(littleEndian: header.storedLength)
      bytes.append(littleEndian: header.rawLength)
      bytes.append(littleEndian: header.stream)
      bytes.append(littleEndian: header.first)
      bytes.append(littleEndian: header.last)
      bytes.append(littleEndian: header.sequence)
      bytes.append(littleEndian: header.payloadChecksum)
      bytes.append(littleEndian: UInt32(0))
    }
    return bytes
  }

  /// The chunks, the first of them at `start`; nil where the bytes are no index of a file in which the chunk INDEX
  /// itself is at `end`.
  static func decode(
    _ bytes: [UInt8], recording: UInt32, start: UInt64, end: UInt64, part: Int
  ) -> [IndexedChunk]? {
    guard bytes.count % entrySize == 0 else { return nil }
    return bytes.withUnsafeBytes { bytes in
      var result: [IndexedChunk] = []
      result.reserveCapacity(bytes.count / entrySize)
      var offset = start
      for position in stride(from: 0, to: bytes.count, by: entrySize) {
        func word<T: FixedWidthInteger>(_ offset: Int, _: T.Type = T.self) -> T {
          T(littleEndian: bytes.loadUnaligned(fromByteOffset: position + offset, as: T.self))
        }
        let header = ChunkHeader(
          kind: ChunkKind(rawValue: word(0)), flags: ChunkFlags(rawValue: word(2)), storedLength: word(4),
          rawLength: word(8), stream: word(12), first: word(16), last: word(24), recording: recording,
          sequence: word(32), payloadChecksum: word(36))
        let chunk = IndexedChunk(header: header, offset: offset, part: part)
        guard header.storedLength <= ChunkHeader.longestPayload, header.rawLength <= ChunkHeader.longestPayload,
          chunk.end <= end
        else { return nil }
        result.append(chunk)
        offset = chunk.end
      }
      return offset == end ? result : nil
    }
  }
}
