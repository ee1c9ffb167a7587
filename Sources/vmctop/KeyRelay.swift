import Glibc
import Session

/// Keys of the terminal where another program of the same pipeline may want them too: in `ssh HOST ... | vmctop replay -` ssh reads
/// the terminal for its remote command. It would take keys, and once it waits for one that we took it does nothing else, the stream
/// included.
///
/// ssh reads when poll(2) says that there is something. With VMIN above 1 and VTIME 0, the terminal says so only once so many
/// bytes wait (input_available_p() in the kernel's drivers/tty/n_tty.c), while a read that does not block gets what there is.
/// So a thread of ours looks without being told, and hands keys on through a pipe.
enum KeyRelay {
  /// How often it looks, in milliseconds: sooner than a person notices, and than what takes a sequence of an escape for a key
  /// waits for its rest.
  private static let tick: Int32 = 10

  /// Nobody types so many bytes within a tick.
  private static let leastForOthers: UInt8 = 255

  /// Opens the terminal and starts the thread.
  ///
  /// - Returns: The descriptor that keys come from: its end is the terminal's. Nil where there is no terminal.
  static func start(_ path: String = "/dev/tty") -> Int32? {
    let terminal = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
    guard terminal >= 0 else { return nil }
    var ends: [Int32] = [-1, -1]
    let relay = UnsafeMutablePointer<Relay>.allocate(capacity: 1)
    guard pipe(&ends) == 0 else {
      close(terminal)
      relay.deallocate()
      return nil
    }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    relay.initialize(to: Relay(terminal: terminal, keys: ends[1]))
    var thread = pthread_t()
    guard pthread_create(&thread, nil, runKeyRelay, relay) == 0 else {
      for descriptor in [terminal] + ends { close(descriptor) }
      relay.deallocate()
      return nil
    }
    pthread_detach(thread)
    return ends[0]
  }

  fileprivate struct Relay {
    var terminal: Int32
    var keys: Int32
  }

  fileprivate static func run(_ relay: Relay) {
    var bytes = [UInt8](repeating: 0, count: 256)
    while keepFromOthers(relay.terminal) {
      var set = pollfd(fd: relay.terminal, events: 0, revents: 0)
      poll(&set, 1, tick)
      if set.revents != 0 { break }
      guard isOurs(relay.terminal) else { continue }
      let count = read(relay.terminal, &bytes, bytes.count)
      if count > 0 {
        guard write(relay.keys, &bytes, count) == count else { break }
      } else if count == 0 || errno != EAGAIN && errno != EINTR {
        break
      }
    }
    close(relay.terminal)
    close(relay.keys)
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
    guard tcgetattr(terminal, &modes) == 0 else { return errno == EINTR }
    guard modes.c_lflag & tcflag_t(ICANON) == 0 else { return true }
    return withUnsafeMutableBytes(of: &modes.c_cc) { characters in
      guard characters[Int(VMIN)] != leastForOthers || characters[Int(VTIME)] != 0 else { return true }
      characters[Int(VMIN)] = leastForOthers
      characters[Int(VTIME)] = 0
      return false
    } || tcsetattr(terminal, TCSANOW, &modes) == 0 || errno == EINTR
  }
}

/// A free function: a closure made on the main actor would trap on another thread.
private func runKeyRelay(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  guard let argument else { return nil }
  beginThread()
  let relay = argument.assumingMemoryBound(to: KeyRelay.Relay.self)
  KeyRelay.run(relay.move())
  relay.deallocate()
  return nil
}
