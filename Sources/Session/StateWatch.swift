import Architecture
import Glibc
import HostFiles
import KernelMemory
import Synchronization
import Threads
import VCPUState

/// Reads vCPUs from kernel memory on a thread of its own: the control words of all of them ten times a second, and all of the
/// state of those that somebody looks at. To find symbols and types takes a good part of a second at the start, and nothing
/// else is to wait for that.
///
/// Where KVM's modules are not loaded it waits for them. Where they were loaded anew, symbols and types are others, and all
/// that was known is dropped: what was read is shown only if the modules are still those that the reader was opened for.
final class StateWatch: Sendable {
  /// Control words that are other ones than before, with the CLOCK_MONOTONIC time at which reading them began.
  struct Change {
    var time: UInt64
    var words: [Int32: ControlSetting]
  }

  /// What was read last.
  struct Latest {
    var words: [Int32: ControlSetting] = [:]
    var states: [Int32: VCPUReading] = [:]
    var hostControls: HostControls?
    /// Why nothing can be read; nil where it can.
    var failure: String?
  }

  private struct State {
    var latest = Latest()
    /// Oldest first; taken by the one who counts.
    var changes: [Change] = []
    /// Threads of vCPUs whose state is wanted.
    var watched: Set<Int32> = []
    /// What there is to say; each is taken once.
    var messages: [String] = []
    var isStopped = false
  }

  private let state = Mutex(State())
  private let roots: HostRoots
  private let worker = WorkerThread("state")
  private let stopping = Doorbell()

  /// Between two readings of the control words, nanoseconds.
  private static let period: UInt64 = 100_000_000
  /// Between two readings of states, nanoseconds, where somebody looks at them.
  private static let statePeriod: UInt64 = 200_000_000
  /// Reading takes at most 2 % of a core: on a host with very many vCPUs it is done less often. Most of that is for the
  /// control words, since by them exits are told apart: reading states must not keep a change from being seen.
  private static let wordsShare: UInt64 = 64
  private static let statesShare: UInt64 = 256
  /// Between two looks at which modules are loaded, while nothing is read, nanoseconds.
  private static let modulesPeriod: UInt64 = 1_000_000_000
  /// More changes than this between two looks are not told apart.
  private static let mostChanges = 64

  init(roots: HostRoots) {
    self.roots = roots
    _ = worker.start { [self] in run() }
  }

  var latest: Latest { state.withLock(\.latest) }

  /// The changes of control words since the last call, oldest first, up to a moment of CLOCK_MONOTONIC.
  func takeChanges(until time: UInt64) -> [Change] {
    state.withLock { state in
      let count = state.changes.prefix { $0.time <= time }.count
      defer { state.changes.removeFirst(count) }
      return Array(state.changes.prefix(count))
    }
  }

  func takeMessages() -> [String] {
    state.withLock { state in
      defer { state.messages = [] }
      return state.messages
    }
  }

  /// All of the state of these vCPUs is read from now on, and of no others.
  func watch(_ threads: Set<Int32>) {
    state.withLock { state in
      state.watched = threads
      state.latest.states = state.latest.states.filter { threads.contains($0.key) }
    }
  }

  /// Ends the thread and waits for it: no longer than one reading takes, or one step of the search.
  func stop() {
    state.withLock { $0.isStopped = true }
    stopping.ring()
    worker.join()
  }

  private func run() {
    var failed: LoadedModules?
    var wasReading = false
    while !isStopped {
      let modules = LoadedModules(roots: roots)
      guard modules.isSettled, modules != failed else {
        sleep(Self.modulesPeriod)
        continue
      }
      let opened = open().map { ($0, $0.hostControls()) }
      // What was found, or not found, while a module came or went is of no use.
      guard LoadedModules(roots: roots) == modules else { continue }
      switch opened {
      case .success((let reader, let hostControls)):
        state.withLock { state in
          state.latest = Latest(hostControls: hostControls)
          state.messages.append(
            (wasReading ? "KVM's modules were loaded anew: " : "")
              + "control words are read from kernel memory, ten times a second")
        }
        (failed, wasReading) = (nil, true)
        watch(reader, modules)
      case .failure(let error):
        failed = modules
        state.withLock { state in
          // The same again is no news.
          if state.latest.failure != "\(error)" {
            state.messages.append("the state of vCPUs is not read\(wasReading ? " any more" : ""): \(error)")
          }
          state.latest = Latest(failure: "\(error)")
        }
      }
    }
  }

  private func open() -> Result<StateReader, KernelMemoryError> {
    // The search must not take the processor from anybody.
    WorkerThread.setNiceness(19)
    defer { WorkerThread.setNiceness(0) }
    do { return .success(try StateReader(roots: roots, isCancelled: { isStopped })) } catch { return .failure(error) }
  }

  private var isStopped: Bool { state.withLock(\.isStopped) }

  /// In short steps, so that the end is not waited for.
  private func sleep(_ nanoseconds: UInt64) {
    var left = nanoseconds
    while left > 0, !isStopped {
      let step = min(left, Self.period)
      var end = pollfd(fd: stopping.reading, events: Int16(POLLIN), revents: 0)
      poll(&end, 1, Int32(step / 1_000_000))
      left -= step
    }
  }

  /// Reads until it is to end, or until other modules are loaded than those it was opened for.
  private func watch(_ reader: StateReader, _ modules: LoadedModules) {
    var before: [Int32: ControlSetting] = [:]
    var nextStates: UInt64 = 0
    var isFirst = true
    while true {
      let start = monotonicNanoseconds()
      let words = reader.controlWords()
      let governing = words.mapValues(\.governing)
      let change = isFirst || governing != before ? Change(time: start, words: words) : nil
      (before, isFirst) = (governing, false)
      let watched = state.withLock(\.watched)
      var states: [Int32: VCPUReading]?
      let cost = monotonicNanoseconds() &- start
      if start >= nextStates {
        states = [:]
        let began = monotonicNanoseconds()
        for reading in watched.isEmpty ? [] : reader.vcpus(threads: watched) {
          if let tid = reading.tid { states?[tid] = reading }
        }
        let now = monotonicNanoseconds()
        nextStates = now &+ max(Self.statePeriod, (now &- began) &* Self.statesShare)
      }
      // After the reading: before it, they might have gone meanwhile.
      guard LoadedModules(roots: roots) == modules else { return forget() }
      let isStopped = state.withLock { state in
        state.latest.words = words
        // Whoever stopped being watched meanwhile is not shown any more.
        if let states { state.latest.states = states.filter { state.watched.contains($0.key) } }
        if let change {
          if state.changes.count >= Self.mostChanges { state.changes.removeLast() }
          state.changes.append(change)
        }
        return state.isStopped
      }
      if isStopped { return }
      var left = max(Self.period, cost &* Self.wordsShare)
      var sinceLook: UInt64 = 0
      // Somebody who begins to look waits no longer than a step.
      while left > 0 {
        let step = min(left, Self.period)
        sleep(step)
        left -= step
        sinceLook += step
        if self.isStopped { return }
        if sinceLook >= Self.modulesPeriod {
          guard LoadedModules(roots: roots) == modules else { return forget() }
          sinceLook = 0
        }
        if state.withLock({ $0.watched != watched }) {
          nextStates = 0
          break
        }
      }
    }
  }

  /// Drops what was read of modules that are gone.
  private func forget() {
    state.withLock { $0.latest = Latest(failure: "KVM's modules were unloaded, or loaded anew") }
  }
}
