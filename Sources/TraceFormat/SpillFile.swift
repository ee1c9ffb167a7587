import Errors
import Glibc
import HostFiles

/// A file without a name for what is too large for memory, in $TMPDIR or /var/tmp.
final class SpillFile {
  private let descriptor: Int32
  private let folder: String
  private(set) var count = 0
  private var pending: [UInt8] = []

  init() throws(TraceFileError) {
    let folder = getenv("TMPDIR").map { String(cString: $0) } ?? "/var/tmp"
    self.folder = folder
    // O_TMPFILE, which glibc's header builds from an expression that is not imported (asm-generic/fcntl.h).
    var file = open(folder, O_RDWR | O_CLOEXEC | 0o20000000 | O_DIRECTORY, 0o600)
    if file < 0 {
      var template = Array("\(folder)/vmctop-XXXXXX".utf8CString)
      file = mkstemp(&template)
      if file >= 0 { unlink(&template) }
    }
    guard file >= 0 else { throw Self.failed(folder, errno) }
    descriptor = file
    pending.reserveCapacity(1 << 20)
  }

  deinit { close(descriptor) }

  private static func failed(_ folder: String, _ number: Int32) -> TraceFileError {
    TraceFileError(
      .unreadable, "cannot unpack into \(folder): \(errorText(number)); TMPDIR names another folder")
  }

  func write(_ bytes: UnsafeRawBufferPointer) throws(TraceFileError) {
    pending.append(contentsOf: bytes)
    count += bytes.count
    if pending.count >= 1 << 20 { try flush() }
  }

  private func flush() throws(TraceFileError) {
    let failure = pending.withUnsafeBytes { writeAll($0, to: descriptor).failure }
    pending.removeAll(keepingCapacity: true)
    if failure != 0 { throw Self.failed(folder, failure) }
  }

  func mapped() throws(TraceFileError) -> ByteStorage {
    try flush()
    return try ByteStorage(mapping: descriptor, count: count)
  }
}
