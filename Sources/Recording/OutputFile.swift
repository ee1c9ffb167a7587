import Glibc
import HostFiles

/// A file that is written from start to end, and patched behind.
final class OutputFile {
  private let descriptor: Int32
  private let path: String
  private var pending: [UInt8] = []
  private var written: UInt64 = 0

  private static let batch = 1 << 20

  init(path: String) throws(RecordingError) {
    self.path = path
    // A trace shows guest addresses: like perf.data, for its owner only.
    descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw RecordingError("cannot create \(path)", errorNumber: errno) }
    pending.reserveCapacity(Self.batch)
  }

  deinit { close(descriptor) }

  /// Where the next byte goes.
  var offset: UInt64 { written + UInt64(pending.count) }

  func write(_ bytes: [UInt8]) throws(RecordingError) {
    pending.append(contentsOf: bytes)
    if pending.count >= Self.batch { try flush() }
  }

  func write(_ bytes: UnsafeRawBufferPointer) throws(RecordingError) {
    if bytes.count >= Self.batch {
      try flush()
      try send(bytes)
    } else {
      pending.append(contentsOf: bytes)
      if pending.count >= Self.batch { try flush() }
    }
  }

  func flush() throws(RecordingError) {
    let bytes = pending
    pending.removeAll(keepingCapacity: true)
    var failure: RecordingError?
    bytes.withUnsafeBytes { source in
      do throws(RecordingError) { try send(source) } catch { failure = error }
    }
    if let failure { throw failure }
  }

  /// Overwrites bytes written before.
  func patch(_ bytes: [UInt8], at offset: UInt64) throws(RecordingError) {
    try flush()
    guard let position = off_t(exactly: offset), pwrite(descriptor, bytes, bytes.count, position) == bytes.count else {
      throw RecordingError("cannot write to \(path)", errorNumber: errno)
    }
  }

  private func send(_ bytes: UnsafeRawBufferPointer) throws(RecordingError) {
    let (count, failure) = writeAll(bytes, to: descriptor)
    written += UInt64(count)
    if failure != 0 { throw RecordingError("cannot write to \(path)", errorNumber: failure) }
  }
}

extension [UInt8] {
  /// The value's bytes, little-endian.
  init<T: FixedWidthInteger>(littleEndian value: T) {
    self = Swift.withUnsafeBytes(of: value.littleEndian) { Array($0) }
  }

  mutating func append<T: FixedWidthInteger>(littleEndian value: T) {
    Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) }
  }

  /// The text and a NUL; a NUL within the text ends it, since the reader would.
  mutating func append(terminated text: String) {
    append(contentsOf: text.utf8.prefix { $0 != 0 })
    append(0)
  }
}
