import Aggregator
import Architecture
import Glibc
import HostFiles
import KVMHost
import Synchronization
import Threads

/// Asks VMMs for their own view of a vCPU, one after the other, on a thread of its own: an answer may take two seconds, and
/// nothing else is to wait for it. Nothing is asked that nobody wanted.
final class VMMQuestions: Sendable {
  struct Question: Sendable {
    var pid: Int32
    var thread: Int32
    /// For the log.
    var name: String
    var isa: ISA
    var say: @Sendable (LogMessage.Level, String) -> Void
  }

  private struct State {
    var pending: [Question] = []
    var readings: [Int32: VMMReading] = [:]
    var isRunning = false
    var isStopped = false
  }

  /// More than a person can ask for.
  private static let mostPending = 16

  private let questioner: VMMQuestioner
  private let state = Mutex(State())
  private let worker = WorkerThread("ask")
  private let stopping = Doorbell()

  init(roots: HostRoots) { questioner = VMMQuestioner(roots: roots, wake: stopping.reading) }

  /// The answers so far, newest of each thread; without those of vCPUs that are gone.
  func readings(of host: HostView) -> [Int32: VMMReading] {
    let threads = Set(host.vms.flatMap { $0.vcpus.map(\.tid) })
    return state.withLock { state in
      state.readings = state.readings.filter { threads.contains($0.key) }
      return state.readings
    }
  }

  /// Begins the thread, which ends when there is nothing more to ask.
  func ask(_ question: Question) {
    let begins: Bool? = state.withLock { state in
      guard !state.isStopped, state.pending.count < Self.mostPending else { return nil }
      state.pending.append(question)
      defer { state.isRunning = true }
      return !state.isRunning
    }
    guard let begins else { return question.say(.info, "\(question.name) was not asked: too many questions wait") }
    guard begins else { return }
    if !worker.start({ [self] in run() }) {
      state.withLock { state in
        state.isRunning = false
        state.pending = []
      }
      question.say(.error, "\(question.name) was not asked: no thread for it")
    }
  }

  /// Asks nothing more, ends a question under way, unheard, and waits for the thread.
  func stop() {
    state.withLock { state in
      state.isStopped = true
      state.pending = []
    }
    stopping.ring()
    worker.join()
  }

  private func run() {
    while true {
      let next: Question? = state.withLock { state in
        guard !state.isStopped, !state.pending.isEmpty else {
          state.isRunning = false
          return nil
        }
        return state.pending.removeFirst()
      }
      guard let next else { return }
      answer(next)
    }
  }

  private func answer(_ question: Question) {
    let say = question.say
    switch questioner.ask(pid: question.pid, threads: [question.thread], isa: question.isa) {
    case .tooEarly(let milliseconds):
      // What it said before stands.
      say(.info, "\(question.name) was asked less than a second ago; again in \(milliseconds) ms")
    case .readings(let readings):
      guard let reading = readings[question.thread] else { return }
      let isStopped = state.withLock { state in
        if !state.isStopped { state.readings[question.thread] = reading }
        return state.isStopped
      }
      if isStopped { return }
      if let failure = reading.failure {
        say(.error, "\(question.name) gave no registers: \(failure)")
      } else {
        say(
          .info,
          "\(question.name) was asked, which kicked the vCPU: \(reading.fields.count) registers of thread \(question.thread)"
        )
      }
    }
  }
}
