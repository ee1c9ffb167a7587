import Foundation
import Synchronization
import Testing

@testable import Threads

/// The calling thread's folder, `/proc/PID/task/TID`.
private func ownFolder() -> String {
  (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/thread-self")).map { "/proc/\($0)" } ?? ""
}

private func text(_ path: String) -> String { (try? String(contentsOfFile: path, encoding: .utf8)) ?? "" }

/// Signals by number that a thread blocks (proc_pid_status(5), `SigBlk`).
private func blocked(_ folder: String) -> UInt64 {
  let line = text(folder + "/status").split(separator: "\n").first { $0.hasPrefix("SigBlk:") } ?? ""
  return UInt64(line.split(separator: "\t").last ?? "", radix: 16) ?? 0
}

private final class Note<Value: Sendable>: Sendable {
  let value: Mutex<Value>
  init(_ value: Value) { self.value = Mutex(value) }
  var now: Value { value.withLock { $0 } }
  func set(_ new: Value) { value.withLock { $0 = new } }
}

/// Owns a thread whose body holds the owner.
private final class Owner: Sendable {
  let worker = WorkerThread("owner")
  let gone: Note<String>
  init(_ gone: Note<String>) { self.gone = gone }
  func start(until isLetGo: Atomic<Bool>.Box) -> Bool {
    worker.start { [self] in
      while !isLetGo.flag.load(ordering: .acquiring) { usleep(1000) }
      withExtendedLifetime(self) {}
    }
  }
  deinit { gone.set(ownFolder()) }
}

extension Atomic where Value == Bool {
  fileprivate final class Box: Sendable {
    let flag = Atomic<Bool>(false)
  }
}

@Suite("A worker thread") struct WorkerThreadTests {
  @Test func hasItsNameAndLeavesSignalsToTheMainThread() {
    let worker = WorkerThread("a-long-name-for-a-thread", niceness: 3)
    let seen = Note(("", "", UInt64(0), Int32(0)))
    #expect(
      worker.start {
        let folder = ownFolder()
        seen.set(
          (folder, text(folder + "/comm"), blocked(folder), getpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0)))
      })
    worker.join()
    let (folder, name, mask, niceness) = seen.now
    #expect(name == "vmctop-a-long-n\n")
    #expect(niceness == 3)
    for number in [SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGPIPE, SIGXFSZ, SIGALRM, SIGCHLD] {
      #expect(mask >> UInt64(number - 1) & 1 == 1, "signal \(number) is the main thread's")
    }
    for number in [SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGABRT] {
      #expect(mask >> UInt64(number - 1) & 1 == 0, "signal \(number) is a fault of its own")
    }
    #expect(!FileManager.default.fileExists(atPath: folder), "it is gone once it was joined")
  }

  @Test func leavesTheMaskOfWhoStartsItAsItWas() {
    let before = blocked(ownFolder())
    let worker = WorkerThread("mask")
    #expect(worker.start {})
    #expect(blocked(ownFolder()) == before)
    worker.join()
  }

  @Test func canBeStartedAgainAndJoinedTwice() {
    let worker = WorkerThread("again")
    let count = Note(0)
    for _ in 0..<3 { #expect(worker.start { count.set(count.now + 1) }) }
    worker.join()
    worker.join()
    #expect(count.now == 3)
  }

  @Test @MainActor func mayBeStartedByTheMainActor() {
    let worker = WorkerThread("main")
    let folder = Note("")
    #expect(worker.start { folder.set(ownFolder()) })
    worker.join()
    #expect(!folder.now.isEmpty && folder.now != ownFolder())
  }

  @Test func neitherWaitsForItselfNorStartsItself() {
    let worker = WorkerThread("self")
    let restarted = Note<Bool?>(nil)
    let isOver = Note(false)
    #expect(
      worker.start {
        restarted.set(worker.start {})
        worker.join()
        isOver.set(true)
      })
    while !isOver.now { usleep(1000) }
    #expect(restarted.now == false)
  }

  @Test func letsAnOwnerGoThatItWasTheLastToHold() throws {
    let gone = Note("")
    let isLetGo = Atomic<Bool>.Box()
    do {
      let owner = Owner(gone)
      #expect(owner.start(until: isLetGo))
    }
    isLetGo.flag.store(true, ordering: .releasing)
    while gone.now.isEmpty { usleep(1000) }
    #expect(gone.now != ownFolder(), "its last reference went on the thread")
    while FileManager.default.fileExists(atPath: gone.now) { usleep(1000) }
  }
}
