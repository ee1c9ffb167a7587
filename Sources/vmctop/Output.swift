import Errors
import Glibc
import HostFiles
import Report
import Synchronization
import Wording

/// Standard output. Everything that the commands print goes through here, so that a full disk or a closed pipe ends in
/// one clear line and status 1 rather than in a lost page or a death by SIGPIPE.
final class Output: Sendable {
  static let standard = Output(descriptor: STDOUT_FILENO)

  private struct State {
    var buffer: [UInt8] = []
    /// The errno of the first write that failed; nothing is written after it.
    var failure: Int32?
  }

  private let descriptor: Int32
  private let state = Mutex(State())

  /// - Parameter descriptor: an open file; it is not closed.
  init(descriptor: Int32) { self.descriptor = descriptor }

  /// Keeps the text until there is a good deal of it, or `flush()`. A failure is kept too, and thrown by `flush()`.
  func write(_ text: String) { write(text.utf8) }

  /// The same for bytes.
  func write(_ bytes: some Collection<UInt8> & Sendable) {
    state.withLock { state in
      state.buffer.append(contentsOf: bytes)
      if state.buffer.count >= 1 << 16 { drain(&state) }
    }
  }

  /// Writes out what was kept.
  ///
  /// - Throws: `Failure` with status 1 when this or an earlier write failed.
  func flush() throws(Failure) {
    let failure = state.withLock { state in
      drain(&state)
      return state.failure
    }
    if let failure { throw Failure(.failure, "cannot write to standard output: \(errorText(failure))") }
  }

  /// The reader of a pipe has closed it.
  struct Closed: Error {}

  /// For long output, whose making is to end where it cannot be written.
  ///
  /// - Parameter path: of the file it goes to; nil for standard output.
  /// - Throws: `Closed` for a pipe that nobody reads any more, else `Failure` with status 1, where a write failed.
  func check(_ path: String?) throws {
    guard let failure = state.withLock(\.failure) else { return }
    if failure == EPIPE { throw Closed() }
    throw Failure(.failure, "cannot write to \(path ?? "standard output"): \(errorText(failure))")
  }

  /// Writes out what was kept, and checks it.
  func flush(_ path: String?) throws {
    state.withLock { drain(&$0) }
    try check(path)
  }

  private func drain(_ state: inout State) {
    defer { state.buffer.removeAll(keepingCapacity: true) }
    guard state.failure == nil else { return }
    state.buffer.withUnsafeBytes { bytes in
      var done = 0
      while done < bytes.count {
        guard let base = bytes.baseAddress else { return }
        let written = retrying { Glibc.write(descriptor, base + done, bytes.count - done) }
        if written > 0 {
          done += written
        } else if written < 0, errno == EAGAIN {
          // Standard output may share a description that somebody made non-blocking.
          var wait = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
          _ = poll(&wait, 1, -1)
        } else {
          state.failure = written < 0 ? errno : EIO
          return
        }
      }
    }
  }
}

/// One line on standard error, `vmctop: ...`. Where that fails too there is nobody left to tell.
func complain(_ message: String) {
  let line = message.split(whereSeparator: \.isNewline).map { printable(String($0)) }.joined(separator: " ")
  _ = Array("vmctop: \(line)\n".utf8).withUnsafeBytes { writeAll($0, to: STDERR_FILENO) }
}

/// A process may be started with its standard files closed; the next file it opens would then take their place, and a
/// trace buffer receive what was meant for the screen. Fills the gaps with a /dev/null that fails as the closed file would.
func occupyStandardDescriptors() {
  for descriptor in [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO] where fcntl(descriptor, F_GETFD) < 0 && errno == EBADF
  {
    // The lowest free number is taken, and the lower ones are open by now.
    _ = open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY)
  }
}
