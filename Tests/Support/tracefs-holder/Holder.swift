import Glibc
import Tracefs

/// Holds a trace instance, says its name on a line, and ends as told: `wait` for a signal, `exit`, `trap`, `segv`,
/// `abort`, `overflow`, or `quit` upon SIGINT, SIGTERM and SIGHUP in the normal way.
@main
enum Holder {
  static func main() throws {
    let how = CommandLine.arguments.dropFirst().first ?? "wait"
    // Whatever the runner of the tests ignores or blocks; and an end if the test forgets us.
    for number in [SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGUSR1] { signal(number, SIG_DFL) }
    var none = sigset_t()
    sigemptyset(&none)
    sigprocmask(SIG_SETMASK, &none, nil)
    alarm(30)
    let root = try TracefsRoot.find()
    let quit = how == "quit" ? try ExitSignals.install() : -1
    if how == "terminal" { try CleanupRegistry.registerTerminal(descriptor: 1, restore: Array("<restored>".utf8)) }
    let instance = try TraceInstance(in: root, options: .init(bufferKiBPerCPU: 64))
    say("\(instance.name)\n")
    switch how {
    case "exit": exit(7)
    case "trap": trap(CommandLine.arguments.count)
    case "segv": crash()
    case "abort": abort()
    case "overflow": print(deep(1))
    case "quit":
      var set = pollfd(fd: quit, events: Int16(POLLIN), revents: 0)
      while poll(&set, 1, -1) < 1 {}
      let failure = instance.close()
      say("quit \(ExitSignals.received ?? 0) \(failure.map { "\($0)" } ?? "removed")\n")
    default: while true { pause() }
    }
  }

  static func say(_ text: String) {
    _ = text.utf8.withContiguousStorageIfAvailable { write(1, $0.baseAddress, $0.count) }
  }

  @inline(never) static func trap(_ count: Int) {
    let empty: [Int] = []
    print(empty[count])
  }

  @inline(never) static func crash() {
    UnsafeMutablePointer<Int>(bitPattern: 8)?.pointee = 1
  }

  @inline(never) static func deep(_ depth: Int) -> Int {
    depth == -1 ? 0 : deep(depth &+ 1) &+ getpid().leadingZeroBitCount
  }
}
