import CRecording
import CZstd
import TraceFormat

// The layout is specified in docs/recording-format.md.

/// What a chunk of a recording holds. Kinds that are not known here are passed over: newer writers may add some.
public struct ChunkKind: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
  public var rawValue: UInt16
  public init(rawValue: UInt16) { self.rawValue = rawValue }

  /// What was recorded and how: `RecordingHeader`. Repeated, so that one damaged copy costs nothing.
  public static let header = ChunkKind(rawValue: 1)
  /// Whole sub-buffers of one CPU's ring buffer, in the order in which the CPU wrote them.
  public static let pages = ChunkKind(rawValue: 2)
  /// The state of vCPUs, whole or what changed: `StateDecoder`.
  public static let state = ChunkKind(rawValue: 3)
  /// The VMs and vCPUs there are: `HostView`.
  public static let host = ChunkKind(rawValue: 4)
  /// The counters of the ring buffers: `LossRecord`.
  public static let losses = ChunkKind(rawValue: 5)
  /// The trace clock and the time of day at one moment: `ClockRecord`.
  public static let clock = ChunkKind(rawValue: 6)
  /// What was counted in an interval; the bytes are the aggregator's, the stream is the level.
  public static let sums = ChunkKind(rawValue: 7)
  /// Where the chunks before it are; a convenience.
  public static let index = ChunkKind(rawValue: 8)
  /// The recording, or a part of it, was ended and not cut off: `EndRecord`.
  public static let end = ChunkKind(rawValue: 9)
  /// Control words by thread: `WordsRecord`.
  public static let words = ChunkKind(rawValue: 10)
  /// Pages that are not there, since the file or the pipe could not take them: `GapRecord`.
  public static let gap = ChunkKind(rawValue: 11)
  /// What KVM settled on and the processor allows: `ControlsRecord`.
  public static let controls = ChunkKind(rawValue: 12)
  /// A line that the recorder had to say: `NoteRecord`.
  public static let note = ChunkKind(rawValue: 13)
  /// Names of threads: `ThreadNamesRecord`.
  public static let threadNames = ChunkKind(rawValue: 14)

  public var description: String {
    let names = [
      "HEADER", "PAGES", "STATE", "HOST", "LOSSES", "CLOCK", "SUMS", "INDEX", "END", "WORDS", "GAP", "CONTROLS", "NOTE",
      "NAMES",
    ]
    return names.indices.contains(Int(rawValue) - 1) ? names[Int(rawValue) - 1] : "kind \(rawValue)"
  }
}

/// Properties of a chunk.
public struct ChunkFlags: OptionSet, Sendable, Hashable {
  public var rawValue: UInt16
  public init(rawValue: UInt16) { self.rawValue = rawValue }

  /// The payload is one zstd frame.
  public static let zstd = ChunkFlags(rawValue: 1)
  /// PAGES: pages of the same CPU that came before these were not recorded.
  public static let afterGap = ChunkFlags(rawValue: 2)

  /// PAGES: the generation of the header that they follow, in the upper byte.
  public init(generation: UInt32) { self.init(rawValue: UInt16(truncatingIfNeeded: generation & 0xff) << 8) }

  /// See `init(generation:)`.
  public var generation: UInt32 { UInt32(rawValue >> 8) }
}

/// What stands before each payload.
public struct ChunkHeader: Sendable, Hashable {
  public var kind: ChunkKind
  public var flags: ChunkFlags
  /// Bytes of the payload as it is in the file.
  public var storedLength: UInt32
  /// Bytes of the payload once it is unpacked.
  public var rawLength: UInt32
  /// PAGES: the CPU. SUMS: the level. HEADER: the generation. STATE: the step, 0 for a keyframe. 0 for the others.
  public var stream: UInt32
  /// The trace clock at the first and the last of what it holds, raw; 0 where it has no time.
  public var first: UInt64
  public var last: UInt64
  /// A number drawn at random, the same in all chunks of one recording: what looks like a chunk inside a payload is none.
  public var recording: UInt32
  /// Counts the chunks of a recording from 0, over all of its parts; a step tells of chunks that are missing.
  public var sequence: UInt32
  /// CRC-32C of the payload as it is in the file.
  public var payloadChecksum: UInt32

  /// Bytes of a header.
  public static let size = 56
  /// What every header begins with.
  static let mark: [UInt8] = [0xd7] + Array("vmchunk".utf8)
  /// No payload is longer, packed or not.
  public static let longestPayload = 64 << 20

  public init(
    kind: ChunkKind, flags: ChunkFlags = [], storedLength: UInt32 = 0, rawLength: UInt32 = 0, stream: UInt32 = 0,
    first: UInt64 = 0, last: UInt64 = 0, recording: UInt32 = 0, sequence: UInt32 = 0, payloadChecksum: UInt32 = 0
  ) {
    self.kind = kind
    self.flags = flags
    self.storedLength = storedLength
    self.rawLength = rawLength
    self.stream = stream
    self.first = first
    self.last = last
    self.recording = recording
    self.sequence = sequence
    self.payloadChecksum = payloadChecksum
  }

  /// The bytes in the file, checksum included.
  var encoded: [UInt8] {
    var bytes = Self.mark
    bytes.reserveCapacity(Self.size)
    bytes.append(littleEndian: kind.rawValue)
    bytes.append(littleEndian: flags.rawValue)
    bytes.append(littleEndian: storedLength)
    bytes.append(littleEndian: rawLength)
    bytes.append(littleEndian: stream)
    bytes.append(littleEndian: first)
    bytes.append(littleEndian: last)
    bytes.append(littleEndian: recording)
    bytes.append(littleEndian: sequence)
    bytes.append(littleEndian: payloadChecksum)
    bytes.append(littleEndian: bytes.withUnsafeBytes { crc32c($0) })
    return bytes
  }

  /// Reads a header; nil where the bytes are none: no mark, a wrong checksum, lengths that no chunk has.
  init?(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count >= Self.size, Self.hasMark(bytes) else { return nil }
    func word<T: FixedWidthInteger>(_ offset: Int, _: T.Type = T.self) -> T {
      T(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: T.self))
    }
    guard word(52) == crc32c(UnsafeRawBufferPointer(rebasing: bytes[..<52])) else { return nil }
    self.init(
      kind: ChunkKind(rawValue: word(8)), flags: ChunkFlags(rawValue: word(10)), storedLength: word(12),
      rawLength: word(16), stream: word(20), first: word(24), last: word(32), recording: word(40), sequence: word(44),
      payloadChecksum: word(48))
    guard storedLength <= Self.longestPayload, rawLength <= Self.longestPayload,
      flags.contains(.zstd) || storedLength == rawLength
    else { return nil }
  }

  static func hasMark(_ bytes: UnsafeRawBufferPointer) -> Bool {
    bytes.count >= mark.count && bytes.prefix(mark.count).elementsEqual(mark)
  }
}

/// The first bytes of a file or a stream.
enum RecordingPrefix {
  /// As PNG's: the first byte is no text, and the line end tells of a transfer that changed it.
  static let magic = RecordingFormat.vmctopMark
  static let size = 16
  /// The latest: 2, where there are SUMS of version 2 and no events. Who knows version 1 only would find nothing in it.
  static let version: UInt32 = 2

  /// - Parameter level: of the recording.
  static func encoded(_ level: RecordingLevel = .events) -> [UInt8] {
    var bytes = magic
    bytes.append(littleEndian: level == .summary ? version : 1)
    bytes.append(littleEndian: bytes.withUnsafeBytes { crc32c($0) })
    return bytes
  }

  /// The version, or nil where the bytes are no such beginning.
  static func version(_ bytes: UnsafeRawBufferPointer) -> UInt32? {
    guard bytes.count >= size, bytes.prefix(magic.count).elementsEqual(magic) else { return nil }
    let version = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt32.self))
    let checksum = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 12, as: UInt32.self))
    return checksum == crc32c(UnsafeRawBufferPointer(rebasing: bytes[..<12])) ? version : nil
  }
}

/// CRC-32C (Castagnoli).
func crc32c(_ bytes: UnsafeRawBufferPointer, after before: UInt32 = 0) -> UInt32 {
  guard let start = bytes.baseAddress else { return before }
  return crecording_crc32c(before, start, bytes.count)
}

/// How payloads are packed. The levels and their costs are in docs/performance.md.
public enum RecordingCompression: Sendable, Hashable {
  /// The usual level, and less where packing does not keep up.
  case adaptive
  case none
  /// A level of zstd; negative ones are faster.
  case level(Int32)
}

/// Packs payloads, one after another.
final class ChunkCompressor {
  private let context = ZSTD_createCCtx()

  deinit { ZSTD_freeCCtx(context) }

  /// Packs into `target`, behind what is there. False, and `target` as it was, where that does not make it smaller.
  func pack(_ source: UnsafeRawBufferPointer, level: Int32, into target: inout [UInt8]) -> Bool {
    let start = target.count
    let bound = ZSTD_compressBound(source.count)
    guard source.count > 64, let context, ZSTD_isError(bound) == 0 else { return false }
    target.append(contentsOf: repeatElement(0, count: bound))
    let size = target.withUnsafeMutableBytes { bytes in
      ZSTD_compressCCtx(
        context, bytes.baseAddress.map { $0 + start }, bound, source.baseAddress, source.count, level)
    }
    let isSmaller = ZSTD_isError(size) == 0 && size < source.count
    target.removeLast(isSmaller ? bound - size : bound)
    return isSmaller
  }
}

/// Unpacks payloads.
final class ChunkDecompressor {
  private let context = ZSTD_createDCtx()

  deinit { ZSTD_freeDCtx(context) }

  /// True where exactly all of `target` was filled.
  func unpack(_ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer) -> Bool {
    guard let context else { return false }
    let size = ZSTD_decompressDCtx(context, target.baseAddress, target.count, source.baseAddress, source.count)
    return ZSTD_isError(size) == 0 && size == target.count
  }

  /// The payload of a chunk whose checksum was found right; nil where it cannot be unpacked.
  func payload(_ header: ChunkHeader, _ stored: UnsafeRawBufferPointer) -> [UInt8]? {
    guard header.flags.contains(.zstd) else { return Array(stored) }
    let size = Int(header.rawLength)
    var isGood = false
    let bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      isGood = unpack(stored, into: UnsafeMutableRawBufferPointer(buffer))
      count = isGood ? size : 0
    }
    return isGood ? bytes : nil
  }
}
