import CSignals
import Glibc
import Synchronization

/// A thread of ours: it has a name, all signals but those of its own faults go to the main thread, even its stack overflow
/// is cleaned up after, and somebody waits for its end.
///
/// Its owner holds it and, when it closes, tells the body to end and calls `join`. The body may hold the owner: what a
/// thread holds is let go when the body returns. Where that was the owner's last reference, this goes on the thread itself,
/// which then waits for nobody: nothing leaks, nothing blocks.
public final class WorkerThread: Sendable {
  private let name: String
  private let niceness: Int32
  /// Started and not joined.
  private let thread = Mutex<pthread_t?>(nil)

  /// - Parameters:
  ///   - name: what it does; `vmctop-` is put before it, and the kernel keeps 15 bytes of both (`TASK_COMM_LEN`).
  ///   - niceness: see setpriority(2).
  public init(_ name: String, niceness: Int32 = 0) {
    self.name = String(decoding: "vmctop-\(name)".utf8.prefix(15), as: UTF8.self)
    self.niceness = niceness
  }

  /// Starts it; waits first for what it did before. To be called by one thread at a time.
  ///
  /// - Parameter body: runs on the thread.
  /// - Returns: False where there is no thread to be had, or the thread would start itself.
  public func start(_ body: sending @escaping () -> Void) -> Bool {
    guard !isCurrent else { return false }
    join()
    let start = Unmanaged.passRetained(ThreadStart(name, niceness, body))
    // A thread inherits the mask: there is no moment at which it takes a signal that is the main thread's.
    var (ours, before) = (sigset_t(), sigset_t())
    sigfillset(&ours)
    for fault in [SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGABRT] { sigdelset(&ours, fault) }
    pthread_sigmask(SIG_SETMASK, &ours, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    return thread.withLock { thread in
      var started = pthread_t()
      guard pthread_create(&started, nil, runWorkerThread, start.toOpaque()) == 0 else {
        start.release()
        return false
      }
      thread = started
      return true
    }
  }

  /// Waits until the body has returned. Of several callers one waits; on the thread itself nobody does.
  public func join() {
    let started = thread.withLock { thread in
      defer { thread = nil }
      return thread
    }
    guard let started else { return }
    if pthread_equal(started, pthread_self()) != 0 {
      // Nobody can wait for it any more: it is freed when it ends.
      pthread_detach(started)
    } else {
      pthread_join(started, nil)
    }
  }

  /// Whether this is the thread that asks.
  private var isCurrent: Bool { thread.withLock { $0.map { pthread_equal($0, pthread_self()) != 0 } ?? false } }

  /// Sets the niceness of the calling thread.
  public static func setNiceness(_ niceness: Int32) {
    // On Linux, 0 is the calling thread alone (setpriority(2), "C library/kernel differences").
    setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, niceness)
  }

  deinit { join() }
}

private final class ThreadStart {
  let name: String
  let niceness: Int32
  let body: () -> Void

  init(_ name: String, _ niceness: Int32, _ body: sending @escaping () -> Void) {
    self.name = name
    self.niceness = niceness
    self.body = body
  }
}

/// A free function: a closure made on the main actor would trap on another thread.
private func runWorkerThread(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  guard let argument else { return nil }
  runBody(argument)
  // After everything that the body held is gone.
  csignals_thread_end()
  return nil
}

@inline(never)
private func runBody(_ argument: UnsafeMutableRawPointer) {
  let start = Unmanaged<ThreadStart>.fromOpaque(argument).takeRetainedValue()
  csignals_thread_begin(start.name)
  if start.niceness != 0 { WorkerThread.setNiceness(start.niceness) }
  start.body()
}
