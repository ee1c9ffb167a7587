import Glibc
import HostFiles

/// Where the bytes of a recording go. Used by the writer's thread alone.
protocol RecordingOutput: AnyObject {
  /// Writes all of it. Returns how many bytes went out and the error number where that is not all; EPIPE where the
  /// reader left.
  func write(_ bytes: UnsafeRawBufferPointer) -> (count: Int, failure: Int32)
  /// Readable or in error while nobody writes: to notice that the reader left. Nil for a file.
  var watched: Int32? { get }
}

/// A regular file, under a lock that a second writer cannot get.
final class FileOutput: RecordingOutput {
  let path: String
  let descriptor: Int32
  private(set) var size: UInt64 = 0

  /// Creates the file.
  ///
  /// - Parameter overwrites: takes a file that is there, and empties it.
  init(path: String, overwrites: Bool) throws(RecordingError) {
    self.path = path
    var descriptor: Int32 = -1
    // A trace shows guest addresses: like perf.data, for its owner only.
    while true {
      descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | (overwrites ? 0 : O_EXCL), 0o600)
      guard descriptor >= 0 else {
        let number = errno
        guard number == EEXIST else { throw RecordingError("cannot create \(path)", errorNumber: number) }
        if let writer = Self.writer(of: path) { throw Self.busy(path, writer) }
        throw RecordingError("\(path) exists", code: .exists)
      }
      guard Self.lock(descriptor) else {
        let writer = Self.writer(of: path) ?? 0
        close(descriptor)
        throw Self.busy(path, writer)
      }
      // Whoever had the lock may have put another file in its place meanwhile.
      var opened = stat()
      var named = stat()
      if fstat(descriptor, &opened) == 0, stat(path, &named) == 0, opened.st_ino == named.st_ino,
        opened.st_dev == named.st_dev
      {
        break
      }
      close(descriptor)
    }
    self.descriptor = descriptor
    guard ftruncate(descriptor, 0) == 0 else {
      let number = errno
      close(descriptor)
      throw RecordingError("cannot empty \(path)", errorNumber: number)
    }
  }

  deinit { close(descriptor) }

  private static func busy(_ path: String, _ writer: Int32) -> RecordingError {
    RecordingError(
      "\(path) is being written" + (writer > 0 ? " by process \(writer)" : " by another process"), errorNumber: nil)
  }

  /// Takes the lock for writing, or returns false. It belongs to the open file, not to the process (fcntl(2), "Open file
  /// description locks"), and goes with it however the process ends.
  private static func lock(_ descriptor: Int32) -> Bool {
    var lock = flock()
    lock.l_type = Int16(F_WRLCK)
    lock.l_whence = Int16(SEEK_SET)
    return fcntl(descriptor, setLock, &lock) == 0
  }

  /// F_OFD_GETLK and F_OFD_SETLK of <fcntl.h>.
  private static let (getLock, setLock): (Int32, Int32) = (36, 37)

  /// True while somebody records into an open file.
  static func isBeingWritten(_ descriptor: Int32) -> Bool {
    var lock = flock()
    lock.l_type = Int16(F_RDLCK)
    lock.l_whence = Int16(SEEK_SET)
    return fcntl(descriptor, getLock, &lock) == 0 && lock.l_type != Int16(F_UNLCK)
  }

  /// The process that records into a file: 0 where it is not known, nil where nobody does.
  private static func writer(of path: String) -> Int32? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    guard isBeingWritten(descriptor) else { return nil }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { return 0 }
    return holder(device: status.st_dev, inode: status.st_ino) ?? 0
  }

  /// Looks through /proc for a process that has the file open for writing: the lock itself names none.
  private static func holder(device: dev_t, inode: ino_t) -> Int32? {
    guard let processes = opendir("/proc") else { return nil }
    defer { closedir(processes) }
    while let entry = readdir(processes) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      guard let process = Int32(name), let files = opendir("/proc/\(name)/fd") else { continue }
      defer { closedir(files) }
      while let file = readdir(files) {
        let number = withUnsafePointer(to: &file.pointee.d_name) {
          $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        var status = stat()
        if number.first != ".", stat("/proc/\(name)/fd/\(number)", &status) == 0, status.st_ino == inode,
          status.st_dev == device
        {
          return process
        }
      }
    }
    return nil
  }

  var watched: Int32? { nil }

  func write(_ bytes: UnsafeRawBufferPointer) -> (count: Int, failure: Int32) {
    let result = writeAll(bytes, to: descriptor)
    size &+= UInt64(result.count)
    return result
  }

  /// Takes back what was written beyond so many bytes.
  func cut(to length: UInt64) {
    guard let end = off_t(exactly: length), ftruncate(descriptor, end) == 0, lseek(descriptor, end, SEEK_SET) == end
    else { return }
    size = length
  }
}

/// A pipe, a socket or a device. Never blocks for longer than `patience` once it was told to end.
final class StreamOutput: RecordingOutput {
  private let descriptor: Int32
  private let isSocket: Bool
  /// It has an open file description of our own, which does not block: nobody else's is changed.
  private let isOwn: Bool
  /// Readable once the writer is told to end.
  private let stop: Int32
  private let isEnding: () -> Bool

  /// How long a reader may take nothing before it is given up, once recording ends.
  static let patience: Int32 = 5000

  /// - Parameter descriptor: stays open, and is not closed.
  init(descriptor: Int32, stop: Int32, isEnding: @escaping () -> Bool) {
    var status = stat()
    isSocket = fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFSOCK
    // A pipe can be opened again through its link in /proc.
    let own =
      status.st_mode & S_IFMT == S_IFIFO
      ? open("/proc/self/fd/\(descriptor)", O_WRONLY | O_NONBLOCK | O_CLOEXEC) : -1
    self.descriptor = own >= 0 ? own : descriptor
    isOwn = own >= 0
    self.stop = stop
    self.isEnding = isEnding
    if isOwn {
      // Room for what comes while the reader does something else (fcntl(2), F_SETPIPE_SZ: up to 1 MiB unprivileged).
      _ = fcntl(own, 1031, 1 << 20)
    }
  }

  deinit { if isOwn { close(descriptor) } }

  var watched: Int32? { descriptor }

  func write(_ bytes: UnsafeRawBufferPointer) -> (count: Int, failure: Int32) {
    var done = 0
    while done < bytes.count {
      let rest = UnsafeRawBufferPointer(rebasing: bytes[done...])
      let count: Int
      if isSocket {
        count = retrying {
          send(descriptor, rest.baseAddress, rest.count, Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL))
        }
      } else if isOwn {
        count = retrying { Glibc.write(descriptor, rest.baseAddress, rest.count) }
      } else {
        // What may block is written only when there is room, and no more than surely fits (pipe(7), PIPE_BUF).
        guard wait() else { return (done, ETIMEDOUT) }
        count = retrying { Glibc.write(descriptor, rest.baseAddress, min(rest.count, 4096)) }
      }
      if count > 0 {
        done += count
        continue
      }
      if count < 0, errno != EAGAIN { return (done, errno) }
      guard wait() else { return (done, ETIMEDOUT) }
    }
    return (done, 0)
  }

  /// Waits until something can be written; false where recording ends and the reader takes nothing.
  private func wait() -> Bool {
    while true {
      let wasEnding = isEnding()
      var set = [
        pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0),
        pollfd(fd: wasEnding ? -1 : stop, events: Int16(POLLIN), revents: 0),
      ]
      let count = poll(&set, 2, wasEnding ? Self.patience : -1)
      if count < 0, errno == EINTR { continue }
      if set[0].revents != 0 { return true }
      if count == 0 { return false }
    }
  }
}
