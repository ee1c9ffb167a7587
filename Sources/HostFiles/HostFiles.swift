import Errors
import Glibc

/// A system call on a file that failed.
public struct FileError: CodedError, Hashable {
  /// What was tried: `open`, `read`, `write`, `mkdir` ...
  public var operation: String
  public var path: String
  /// The `errno` value.
  public var number: Int32

  public init(operation: String, path: String, number: Int32) {
    self.operation = operation
    self.path = path
    self.number = number
  }

  /// `open /proc/kcore`; with the system's words, the text is `open /proc/kcore: Permission denied`.
  public var message: String { "\(operation) \(path)" }
  public var errorNumber: Int32? { number }
  public var kind: ErrorKind { isPermission || isAbsence ? .unavailable : .failure }

  /// True for a file that is not there, or whose process, thread, CPU or module has gone meanwhile.
  public var isAbsence: Bool {
    number == ENOENT || number == ESRCH || number == ENOTDIR || number == ENODEV || number == ENXIO
  }

  /// True where more privilege would help.
  public var isPermission: Bool { number == EACCES || number == EPERM }
}

/// Where the host's file systems are. The prefix is empty on a real host; a test puts a temporary tree before the paths.
public struct HostRoots: Sendable, Hashable {
  /// What stands before `/proc`, `/sys` and `/dev`.
  public var prefix: String

  public init(prefix: String = "") { self.prefix = prefix }

  public var proc: String { "\(prefix)/proc" }
  public var sys: String { "\(prefix)/sys" }
  public var dev: String { "\(prefix)/dev" }
  /// Where debugfs is mounted by convention.
  public var debugfs: String { "\(prefix)/sys/kernel/debug" }
  /// True for the host itself, where system calls may supplement the files.
  public var isHost: Bool { prefix.isEmpty }
}

/// Small whole-file operations on /proc, /sys, tracefs and debugfs. Such files have no size in advance and may vanish
/// at any moment.
public enum HostFile {
  /// The file's bytes, at most `limit` of them.
  public static func bytes(_ path: String, limit: Int = 1 << 20) throws(FileError) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw FileError(operation: "open", path: path, number: errno) }
    defer { close(descriptor) }
    var result: [UInt8] = []
    var failure: Int32 = 0
    withUnsafeTemporaryAllocation(byteCount: 16384, alignment: 16) { buffer in
      while result.count < limit {
        let count = retrying { read(descriptor, buffer.baseAddress, min(buffer.count, limit - result.count)) }
        if count < 0 {
          failure = errno
          return
        }
        if count == 0 { return }
        result.append(contentsOf: buffer[..<count])
      }
    }
    if failure != 0 { throw FileError(operation: "read", path: path, number: failure) }
    return result
  }

  /// Reads a long file piece by piece, at most 256 MiB of it, until `body` says that it has enough.
  public static func scan(_ path: String, _ body: (UnsafeRawBufferPointer) -> Bool) throws(FileError) {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw FileError(operation: "open", path: path, number: errno) }
    defer { close(descriptor) }
    withUnsafeTemporaryAllocation(byteCount: 65536, alignment: 16) { buffer in
      for _ in 0..<4096 {
        let count = retrying { read(descriptor, buffer.baseAddress, buffer.count) }
        if count <= 0 || !body(UnsafeRawBufferPointer(rebasing: buffer[..<count])) { return }
      }
    }
  }

  /// The file as text; invalid UTF-8 is repaired. For the kernel's own words only: names chosen by others go through
  /// `sanitized`.
  public static func text(_ path: String, limit: Int = 1 << 20) throws(FileError) -> String {
    String(decoding: try bytes(path, limit: limit), as: UTF8.self)
  }

  /// The text without its final newline and blanks, or nil if it cannot be read.
  public static func line(_ path: String) -> String? {
    guard let text = try? text(path, limit: 65536) else { return nil }
    var slice = Substring(text)
    while let last = slice.last, last.isWhitespace { slice.removeLast() }
    return String(slice)
  }

  /// Writes the whole text with one system call: control files take a value as one write.
  public static func write(_ text: String, to path: String, truncate: Bool = true) throws(FileError) {
    let descriptor = open(path, O_WRONLY | O_CLOEXEC | (truncate ? O_TRUNC : 0))
    guard descriptor >= 0 else { throw FileError(operation: "open", path: path, number: errno) }
    defer { close(descriptor) }
    var copy = text
    let failure: Int32 = copy.withUTF8 { bytes in
      let count = retrying { Glibc.write(descriptor, bytes.baseAddress, bytes.count) }
      return count == bytes.count ? 0 : count >= 0 ? EIO : errno
    }
    if failure != 0 { throw FileError(operation: "write", path: path, number: failure) }
  }

  /// The names in a folder, without `.` and `..`, unordered.
  public static func names(_ path: String) throws(FileError) -> [String] {
    guard let folder = opendir(path) else { throw FileError(operation: "open", path: path, number: errno) }
    defer { closedir(folder) }
    var result: [String] = []
    while let entry = readdir(folder) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != "." && name != ".." { result.append(name) }
    }
    return result
  }

  /// The names in a folder that are decimal numbers, such as the processes in /proc, unordered. No string is made.
  public static func numbers(_ path: String) throws(FileError) -> [Int32] {
    guard let folder = opendir(path) else { throw FileError(operation: "open", path: path, number: errno) }
    defer { closedir(folder) }
    var result: [Int32] = []
    while let entry = readdir(folder) {
      let number: Int32? = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        var value: Int32 = 0
        for (index, byte) in bytes.enumerated() {
          if byte == 0 { return index == 0 ? nil : value }
          guard byte >= 0x30, byte <= 0x39 else { return nil }
          let (scaled, overflow) = value.multipliedReportingOverflow(by: 10)
          let (sum, carry) = scaled.addingReportingOverflow(Int32(byte &- 0x30))
          if overflow || carry { return nil }
          value = sum
        }
        return nil
      }
      if let number { result.append(number) }
    }
    return result
  }

  /// What a symbolic link says, or nil.
  public static func link(_ path: String) -> String? {
    withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { buffer in
      guard let base = buffer.baseAddress?.assumingMemoryBound(to: CChar.self) else { return nil }
      let count = readlink(path, base, buffer.count)
      guard count > 0 else { return nil }
      return String(decoding: buffer[..<count], as: UTF8.self)
    }
  }

  public static func isFolder(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
  }

  /// The number of a file or folder within its file system, `st_ino`; nil where there is none.
  public static func inode(_ path: String) -> UInt64? {
    var status = stat()
    return stat(path, &status) == 0 ? UInt64(status.st_ino) : nil
  }

  public static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

  /// The reason why a file cannot be opened for reading, or nil if it can.
  public static func readFailure(_ path: String) -> FileError? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { return FileError(operation: "open", path: path, number: errno) }
    close(descriptor)
    return nil
  }
}

/// CLOCK_MONOTONIC in nanoseconds (clock_gettime(2)).
public func monotonicNanoseconds() -> UInt64 {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return UInt64(truncatingIfNeeded: time.tv_sec) &* 1_000_000_000 &+ UInt64(truncatingIfNeeded: time.tv_nsec)
}

/// A name chosen by a guest, another user or a file, made fit for a terminal: control characters, invalid UTF-8 and
/// characters that change the direction or the lines of text become U+FFFD; at most `limit` characters are kept.
public func sanitized(_ bytes: some Sequence<UInt8>, limit: Int = 256) -> String {
  sanitized(String(decoding: Array(bytes.prefix(limit &* 4)), as: UTF8.self), limit: limit)
}

/// See `sanitized(_:limit:)` for bytes.
public func sanitized(_ text: String, limit: Int = 256) -> String {
  var scalars = String.UnicodeScalarView()
  for scalar in text.unicodeScalars.prefix(limit) {
    switch scalar.properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned:
      scalars.append("\u{FFFD}")
    default:
      scalars.append(scalar)
    }
  }
  return String(scalars)
}

/// A list of CPUs as the kernel writes it: `0-3,8,10-11`. Nil if malformed or absurdly large.
public func cpuList(_ text: String) -> [Int]? {
  var result: [Int] = []
  for part in text.split(whereSeparator: { $0 == "," || $0.isWhitespace }) {
    let ends = part.split(separator: "-", omittingEmptySubsequences: false)
    guard let first = Int(ends[0]), first >= 0, ends.count <= 2 else { return nil }
    guard let last = ends.count == 2 ? Int(ends[1]) : first, last >= first, last < 65536 else { return nil }
    result.append(contentsOf: first...last)
  }
  return result
}
