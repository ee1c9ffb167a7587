import Glibc

/// Bytes that live as long as someone refers to this: a file's mapping, or memory of our own.
final class ByteStorage {
  let bytes: UnsafeRawBufferPointer
  private let release: (UnsafeRawBufferPointer) -> Void

  init(borrowing bytes: UnsafeRawBufferPointer) {
    self.bytes = bytes
    release = { _ in }
  }

  init(copying source: [UInt8]) {
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: max(source.count, 1), alignment: 16)
    copy.copyBytes(from: source)
    bytes = UnsafeRawBufferPointer(rebasing: copy[..<source.count])
    release = { _ in copy.deallocate() }
  }

  /// Memory of so many bytes, filled by `fill`, which returns how many of them are good.
  init(count: Int, fill: (UnsafeMutableRawBufferPointer) -> Int) {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(count, 1), alignment: 16)
    let good = min(max(fill(UnsafeMutableRawBufferPointer(rebasing: memory[..<count])), 0), count)
    bytes = UnsafeRawBufferPointer(rebasing: memory[..<good])
    release = { _ in memory.deallocate() }
  }

  /// Maps a regular file read-only.
  ///
  /// The size is taken once, here. If another process cuts the file while it is mapped, touching what is gone raises
  /// SIGBUS; a copy of a whole recording would be the only protection, and costs more than it gains.
  init(mapping path: String) throws(TraceFileError) {
    func unreadable(_ what: String) -> TraceFileError { TraceFileError(.unreadable, what, path: path) }
    // Not to hang on a FIFO without a writer.
    let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard file >= 0 else { throw unreadable("cannot open: \(String(cString: strerror(errno)))") }
    defer { close(file) }
    var status = stat()
    guard fstat(file, &status) == 0 else { throw unreadable("cannot stat: \(String(cString: strerror(errno)))") }
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw unreadable("not a regular file; copy the trace into one first")
    }
    guard let size = Int(exactly: status.st_size), size > 0 else {
      throw TraceFileError(.notATraceFile, offset: 0, "the file is empty, expected a recording", path: path)
    }
    guard let address = mmap(nil, size, PROT_READ, MAP_PRIVATE, file, 0), address != MAP_FAILED else {
      throw unreadable("cannot map \(size) bytes: \(String(cString: strerror(errno)))")
    }
    madvise(address, size, MADV_SEQUENTIAL)
    bytes = UnsafeRawBufferPointer(start: address, count: size)
    release = { munmap(UnsafeMutableRawPointer(mutating: $0.baseAddress), $0.count) }
  }

  /// Maps a file of our own that has no name.
  init(mapping descriptor: Int32, count: Int) throws(TraceFileError) {
    guard count > 0 else {
      bytes = UnsafeRawBufferPointer(start: nil, count: 0)
      release = { _ in }
      return
    }
    guard let address = mmap(nil, count, PROT_READ, MAP_PRIVATE, descriptor, 0), address != MAP_FAILED else {
      throw TraceFileError(.unreadable, "cannot map \(count) bytes: \(String(cString: strerror(errno)))")
    }
    bytes = UnsafeRawBufferPointer(start: address, count: count)
    release = { munmap(UnsafeMutableRawPointer(mutating: $0.baseAddress), $0.count) }
  }

  deinit { release(bytes) }
}

/// Reads little-endian values one after another, and throws instead of passing the end.
struct ByteReader {
  /// Keeps the bytes alive.
  private let storage: ByteStorage
  let bytes: UnsafeRawBufferPointer
  /// The file offset of the first byte; of the section, where the bytes were decompressed from it.
  private let origin: Int
  private let isDecompressed: Bool
  private(set) var position = 0

  init(_ storage: ByteStorage, range: Range<Int>? = nil, origin: Int = 0, isDecompressed: Bool = false) {
    self.storage = storage
    if let range = range?.clamped(to: 0..<storage.bytes.count) {
      bytes = UnsafeRawBufferPointer(rebasing: storage.bytes[range])
    } else {
      bytes = storage.bytes
    }
    self.origin = origin
    self.isDecompressed = isDecompressed
  }

  var remaining: Int { bytes.count - position }
  /// Where in the file the next byte is.
  var offset: Int { isDecompressed ? origin : origin + position }

  func cut(_ what: String) -> TraceFileError {
    let place = isDecompressed ? ", byte \(position) of the decompressed section" : ""
    return TraceFileError(.truncated, offset: offset, "the file or section ends within \(what)\(place)")
  }

  mutating func integer<T: FixedWidthInteger>(_ what: String, as type: T.Type = T.self) throws(TraceFileError) -> T {
    guard remaining >= MemoryLayout<T>.size else { throw cut(what) }
    defer { position += MemoryLayout<T>.size }
    return T(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: T.self))
  }

  /// The next `count` bytes.
  mutating func take(_ count: UInt64, _ what: String) throws(TraceFileError) -> UnsafeRawBufferPointer {
    guard let count = Int(exactly: count), count <= remaining else { throw cut(what) }
    defer { position += count }
    return UnsafeRawBufferPointer(rebasing: bytes[position..<position + count])
  }

  /// A NUL-terminated string of at most `limit` bytes; its NUL is passed too.
  mutating func string(limit: Int = 4096, _ what: String) throws(TraceFileError) -> String {
    let window = bytes[position..<position + min(limit, remaining)]
    guard let end = window.firstIndex(of: 0) else {
      if remaining > limit {
        throw TraceFileError(.malformed, offset: offset, "\(what) is longer than \(limit) bytes")
      }
      throw cut(what)
    }
    defer { position = end + 1 }
    return String(decoding: bytes[position..<end], as: UTF8.self)
  }

  mutating func expect(_ literal: StaticString, _ what: String) throws(TraceFileError) {
    let count = literal.utf8CodeUnitCount
    guard count <= remaining else { throw cut(what) }
    let matches = bytes[position..<position + count].elementsEqual(
      UnsafeBufferPointer(start: literal.utf8Start, count: count))
    guard matches else { throw TraceFileError(.malformed, offset: offset, "\(what) not found here") }
    position += count
  }
}
