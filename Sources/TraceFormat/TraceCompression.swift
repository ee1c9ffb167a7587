import CZlib
import CZstd

/// How the sections of a trace.dat file are packed: the compression name in its header.
public enum TraceCompression: String, Sendable, Hashable, CaseIterable {
  case none
  /// RFC 1950. Not every trace-cmd build reads it: Debian 12's has zstd only.
  case zlib
  case zstd

  /// The version of the library, as trace-cmd writes it behind the name.
  public var version: String {
    switch self {
    case .none: ""
    case .zlib: String(cString: zlibVersion())
    case .zstd: String(cString: ZSTD_versionString())
    }
  }

  /// Packs bytes; nil where the library has no memory left, and for `none`.
  public func compress(_ bytes: UnsafeRawBufferPointer) -> [UInt8]? {
    switch self {
    case .none: return nil
    case .zlib:
      var size = compressBound(uLong(bytes.count))
      var packed = [UInt8](repeating: 0, count: Int(size))
      let source = bytes.assumingMemoryBound(to: Bytef.self).baseAddress
      guard compress2(&packed, &size, source, uLong(bytes.count), 6) == Z_OK else { return nil }
      packed.removeLast(packed.count - Int(size))
      return packed
    case .zstd:
      let bound = ZSTD_compressBound(bytes.count)
      var packed = [UInt8](repeating: 0, count: bound)
      let size = ZSTD_compress(&packed, bound, bytes.baseAddress, bytes.count, 3)
      guard ZSTD_isError(size) == 0, size <= bound else { return nil }
      packed.removeLast(bound - size)
      return packed
    }
  }
}

/// Unpacks chunks of one file.
final class TraceDecompressor {
  private let compression: TraceCompression
  private var context: OpaquePointer?

  init(_ compression: TraceCompression) { self.compression = compression }

  deinit { ZSTD_freeDCtx(context) }

  /// Unpacks into `target`; returns the number of bytes, nil if the data is corrupt or does not fit.
  func decompress(_ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer) -> Int? {
    switch compression {
    case .none: return nil
    case .zlib:
      var size = uLong(target.count)
      let result = uncompress(
        target.assumingMemoryBound(to: Bytef.self).baseAddress, &size,
        source.assumingMemoryBound(to: Bytef.self).baseAddress, uLong(source.count))
      return result == Z_OK ? Int(exactly: size) : nil
    case .zstd:
      if context == nil { context = ZSTD_createDCtx() }
      guard let context else { return nil }
      let size = ZSTD_decompressDCtx(context, target.baseAddress, target.count, source.baseAddress, source.count)
      return ZSTD_isError(size) == 0 && size <= target.count ? size : nil
    }
  }
}
