import Errors
import Glibc
import HostFiles
import Report

/// A command that runs while it is recorded.
struct RecordedCommand {
  let process: pid_t
  /// As a shell has it: the exit status, or 128 and the number of the signal that ended it. Nil while it runs.
  private(set) var status: Int32?

  /// Starts it, with the signals as they were when we were started.
  ///
  /// - Throws: `Failure` where it cannot be run.
  init(_ words: [String]) throws(Failure) {
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    // Ours are ignored or caught for our own sake. What is caught is reset by exec itself.
    var defaults = sigset_t()
    sigemptyset(&defaults)
    for number in [SIGPIPE, SIGXFSZ] { sigaddset(&defaults, number) }
    posix_spawnattr_setsigdefault(&attributes, &defaults)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF))
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
    defer { for argument in arguments { free(argument) } }
    arguments.append(nil)
    var process: pid_t = 0
    let number = posix_spawnp(&process, words[0], nil, &attributes, arguments, environ)
    guard number == 0 else { throw Failure(.failure, "cannot run \(words[0]): \(errorText(number))") }
    self.process = process
  }

  /// Whether it has ended; its status is known then.
  mutating func hasEnded() -> Bool {
    if status != nil { return true }
    var raw: Int32 = 0
    let result = retrying { waitpid(process, &raw, WNOHANG) }
    if result == 0 { return false }
    // Lost to somebody else who waits for all children: how it ended is not known.
    status = result < 0 ? 0 : raw & 0x7f == 0 ? raw >> 8 & 0xff : 128 + raw & 0x7f
    return true
  }

  /// Asks it to end, and gives it some time for that.
  mutating func end(signal: Int32) {
    guard !hasEnded() else { return }
    kill(process, signal)
    for _ in 0..<200 where !hasEnded() { usleep(10_000) }
  }
}
