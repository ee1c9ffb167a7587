import Architecture
import Glibc
import HostFiles
import Synchronization

/// Asks VMMs for their own view of their vCPUs, when somebody wants it and never otherwise: QEMU kicks a vCPU out of guest
/// mode for `info registers`, which costs an exit, resets halt polling, and has all registers written back before the next
/// VM entry. A VMM is asked at most once a second, whoever wants it.
public final class VMMQuestioner: Sendable {
  /// What came of a question.
  public enum Answer: Sendable {
    /// By thread: of every vCPU that was asked for, with a failure where there is nothing else.
    case readings([Int32: VMMReading])
    /// It was not asked: that is possible again after so many milliseconds.
    case tooEarly(milliseconds: Int)
  }

  /// The least time between two questions to a VMM, in nanoseconds.
  public static let pause: UInt64 = 1_000_000_000
  /// The longest that one question takes, in nanoseconds.
  public static let patience: UInt64 = 2_000_000_000

  private let roots: HostRoots
  private let patience: UInt64
  private let wake: Int32
  private let now: @Sendable () -> UInt64
  /// When each VMM was asked last.
  private let asked = Mutex<[Int32: UInt64]>([:])

  /// - Parameter wake: a descriptor that ends a question under way when it is readable; -1 for none.
  public convenience init(roots: HostRoots = HostRoots(), wake: Int32 = -1) {
    self.init(roots: roots, patience: Self.patience, wake: wake, now: monotonicNanoseconds)
  }

  /// - Parameter now: the clock of the rate limit; CLOCK_MONOTONIC in nanoseconds.
  init(roots: HostRoots, patience: UInt64, wake: Int32 = -1, now: @escaping @Sendable () -> UInt64) {
    self.roots = roots
    self.patience = patience
    self.wake = wake
    self.now = now
  }

  /// Asks one VMM of some of its vCPUs, in one conversation of at most `patience`. Blocks for that long.
  ///
  /// - Parameter threads: host thread ids of the vCPUs wanted; no other vCPU is disturbed.
  public func ask(pid: Int32, threads: [Int32], isa: ISA) -> Answer {
    let now = self.now()
    let left: UInt64 = asked.withLock { asked in
      asked = asked.filter { now &- $0.value < Self.pause }
      if let last = asked[pid] { return Self.pause &- (now &- last) }
      asked[pid] = now
      return 0
    }
    if left > 0 { return .tooEarly(milliseconds: Int(clamping: left / 1_000_000 &+ 1)) }
    var result: [Int32: VMMReading] = [:]
    do throws(QMPFailure) {
      try converse(pid, threads, isa, &result)
    } catch {
      // Those that answered before it went wrong are kept.
      for thread in threads where result[thread] == nil {
        result[thread] = VMMReading(readAt: monotonicNanoseconds(), failure: error.message)
      }
    }
    return .readings(result)
  }

  private func converse(
    _ pid: Int32, _ threads: [Int32], _ isa: ISA, _ result: inout [Int32: VMMReading]
  ) throws(QMPFailure) {
    let deadline = monotonicNanoseconds() &+ patience
    let connection = try connect(pid, deadline)
    let cpus = try connection.cpus()
    // QEMU in a container numbers its threads otherwise.
    let wanted = threads.map { (thread: $0, own: innermostNumber(of: $0, pid)) }
    for (thread, own) in wanted {
      guard let cpu = cpus.first(where: { $0.thread == own }) else {
        result[thread] = VMMReading(
          readAt: monotonicNanoseconds(),
          failure: "QEMU has no vCPU whose thread is \(own): is the socket another VM's?")
        continue
      }
      let text = try connection.registers(ofCPU: cpu.index)
      let readAt = monotonicNanoseconds()
      let fields = QEMURegisters.readings(text, isa: isa, readAt: readAt)
      let printed = sanitized(String(text.drop(while: \.isWhitespace)), limit: 60)
      result[thread] = VMMReading(
        readAt: readAt, fields: fields,
        failure: fields.isEmpty ? "QEMU's answer to info registers has no register: '\(printed)'" : nil)
    }
  }

  /// Tries the sockets in turn, each for its share of the time that is left.
  private func connect(_ pid: Int32, _ deadline: UInt64) throws(QMPFailure) -> QMPConnection {
    let sockets: [(socket: QMPSocket, isLibvirts: Bool)]
    switch QMPDiscovery(roots: roots).sockets(pid: pid) {
    case .success(let found): sockets = found
    case .failure(let failure):
      throw failure.isOtherVMM ? failure : QMPFailure("\(failure.message); \(QMPDiscovery.remedy)")
    }
    var failure = QMPFailure("QEMU has no QMP socket")
    for (index, entry) in sockets.enumerated() {
      let now = monotonicNanoseconds()
      guard now < deadline else { break }
      let isLast = index == sockets.count - 1
      do throws(QMPFailure) {
        if isLast { return try QMPConnection(entry.socket, deadline: deadline, wake: wake) }
        // Only the greeting has the shorter time.
        return try QMPConnection(
          entry.socket, greetingBefore: now &+ (deadline &- now) / UInt64(sockets.count - index), deadline: deadline,
          wake: wake)
      } catch {
        failure = error
      }
    }
    throw failure
  }

  /// A thread's number in its own pid namespace: the last one of `NSpid` (proc_pid_status(5)).
  private func innermostNumber(of thread: Int32, _ pid: Int32) -> Int32 {
    guard let status = try? HostFile.text("\(roots.proc)/\(pid)/task/\(thread)/status", limit: 8192),
      let line = status.split(separator: "\n").first(where: { $0.hasPrefix("NSpid:") }),
      let last = line.split(whereSeparator: \.isWhitespace).last, let number = Int32(last)
    else { return thread }
    return number
  }
}
