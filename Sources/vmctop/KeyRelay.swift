import Glibc
import HostFiles
import Synchronization
import Threads

/// Keys of the terminal where another program of the same pipeline may want them too: in `ssh HOST ... | vmctop replay -` ssh reads
/// the terminal for its remote command. It would take keys, and once it waits for one that we took it does nothing else, the stream
/// included.
///
/// ssh reads when poll(2) says that there is something. With VMIN above 1 and VTIME 0, the terminal says so only once so many
/// bytes wait (input_available_p() in the kernel's drivers/tty/n_tty.c), while a read that does not block gets what there is.
/// So a thread of ours looks without being told, and hands keys on through a pipe.
final class KeyRelay: Sendable {
  /// How often it looks, in milliseconds: sooner than a person notices, and than what takes a sequence of an escape for a key
  /// waits for its rest.
  private static let tick: Int32 = 10

  /// Nobody types so many bytes within a tick.
  private static let leastForOthers: UInt8 = 255

  /// Keys come from here: its end is the terminal's.
  let keys: Int32
  private let terminal: Int32
  private let writing: Int32
  private let isStopped = Atomic<Bool>(false)
  private let worker = WorkerThread("keys")

  /// Opens the terminal and starts the thread; nil where there is no terminal.
  init?(_ path: String = "/dev/tty") {
    let terminal = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
    guard terminal >= 0 else { return nil }
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else {
      close(terminal)
      return nil
    }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    // Keys that nobody takes are not waited for: a full pipe holds 64 KiB of them.
    _ = fcntl(ends[1], F_SETFL, O_NONBLOCK)
    (self.terminal, keys, writing) = (terminal, ends[0], ends[1])
    guard worker.start({ [self] in run() }) else {
      for descriptor in [terminal, ends[1]] { close(descriptor) }
      return nil
    }
  }

  deinit { close(keys) }

  /// Ends the thread and waits for it: a tick at most.
  func stop() {
    isStopped.store(true, ordering: .releasing)
    worker.join()
  }

  private func run() {
    var bytes = [UInt8](repeating: 0, count: 256)
    while !isStopped.load(ordering: .acquiring), Self.keepFromOthers(terminal) {
      var set = pollfd(fd: terminal, events: 0, revents: 0)
      poll(&set, 1, Self.tick)
      if set.revents != 0 { break }
      guard Self.isOurs(terminal) else { continue }
      let count = retrying { read(terminal, &bytes, bytes.count) }
      if count > 0 {
        guard retrying({ write(writing, &bytes, count) }) >= 0 || errno == EAGAIN else { break }
      } else if count == 0 || errno != EAGAIN {
        break
      }
    }
    close(terminal)
    close(writing)
  }

  /// Whether the screen is open: lines that are typed before and after it are a shell's.
  private static func isOurs(_ terminal: Int32) -> Bool {
    var modes = termios()
    return tcgetattr(terminal, &modes) == 0 && modes.c_lflag & tcflag_t(ICANON) == 0
  }

  /// Sets VMIN where the screen has just set its modes. What it sets at its end it kept from before. False where the terminal is
  /// gone.
  private static func keepFromOthers(_ terminal: Int32) -> Bool {
    var modes = termios()
    guard retrying({ tcgetattr(terminal, &modes) }) == 0 else { return false }
    guard modes.c_lflag & tcflag_t(ICANON) == 0 else { return true }
    return withUnsafeMutableBytes(of: &modes.c_cc) { characters in
      guard characters[Int(VMIN)] != leastForOthers || characters[Int(VTIME)] != 0 else { return true }
      characters[Int(VMIN)] = leastForOthers
      characters[Int(VTIME)] = 0
      return false
    } || retrying { tcsetattr(terminal, TCSANOW, &modes) } == 0
  }
}
