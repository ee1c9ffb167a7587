import Architecture
import Glibc
import HostFiles
import Synchronization
import VCPUState

/// Reads the control words of every vCPU once a second, on a thread of its own: to find symbols and types takes a good part
/// of a second at the start, and nothing else is to wait for that.
final class ControlWatch: Sendable {
  private struct State {
    var words: [Int32: ControlSetting] = [:]
    /// What there is to say; taken once.
    var message: String?
    var isStopped = false
  }

  private let state = Mutex(State())
  private let roots: HostRoots

  init(roots: HostRoots) {
    self.roots = roots
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
    defer { pthread_attr_destroy(&attributes) }
    let reference = Unmanaged.passRetained(self)
    var thread = pthread_t()
    if pthread_create(&thread, &attributes, runControlWatch, reference.toOpaque()) != 0 { reference.release() }
  }

  /// The words as they were read last, by thread; empty before the first time, and where they cannot be read.
  var words: [Int32: ControlSetting] { state.withLock(\.words) }

  func takeMessage() -> String? {
    state.withLock { state in
      defer { state.message = nil }
      return state.message
    }
  }

  /// Ends the thread at its next look.
  func stop() { state.withLock { $0.isStopped = true } }

  fileprivate func run() {
    beginThread()
    // The search must not take the processor from anybody. On Linux, 0 is the calling thread alone (setpriority(2), "C library/kernel differences").
    setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 19)
    let reader: StateReader
    do {
      reader = try StateReader(roots: roots)
    } catch {
      state.withLock { $0.message = "control words are not read: \(error.message)" }
      return
    }
    setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 0)
    state.withLock { $0.message = "control words are read from kernel memory, once a second" }
    while true {
      let words = reader.controlWords()
      let isStopped = state.withLock { state in
        state.words = words
        return state.isStopped
      }
      if isStopped { return }
      for _ in 0..<10 {
        usleep(100_000)
        if state.withLock(\.isStopped) { return }
      }
    }
  }
}

private func runControlWatch(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  guard let argument else { return nil }
  Unmanaged<ControlWatch>.fromOpaque(argument).takeRetainedValue().run()
  return nil
}
