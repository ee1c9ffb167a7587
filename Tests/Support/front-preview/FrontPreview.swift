// Shows the front on made-up figures, to look at it without a host: `swift run front-preview [recording|demo|nokvm|
// svm|nested|nokcore]`.
import Aggregator
import Architecture
import Front
import FrontSupport
import Glibc

@main
struct FrontPreview {
  static func main() {
    let arguments = CommandLine.arguments.dropFirst()
    var host = SyntheticHost()
    var options = TerminalFront.Options()
    options.usesColours = getenv("NO_COLOR").map { $0.pointee == 0 } ?? true
    options.isASCII = arguments.contains("ascii")
    // What the program gets from a session's bell and from its signal handlers, both rung from the start.
    var wake: [Int32] = [-1, -1]
    var signals: [Int32] = [-1, -1]
    if arguments.contains("signalled") {
      guard pipe(&wake) == 0, pipe(&signals) == 0 else { exit(1) }
      write(wake[1], "12345678", 8)
      write(signals[1], "1", 1)
    }
    var ticks: UInt64 = 0
    var watched: Set<Int32> = []
    var asked: [Int32: VMMReading] = [:]
    var last = 0
    do {
      let ending = try TerminalFront.run(
        initial: FrontModel(names: CatalogueNames()), options: options,
        snapshots: {
          let now = time(nil)
          guard now != last else { return nil }
          last = now
          ticks += 1
          var snapshot = host.next()
          if arguments.contains("nokcore") {
            snapshot.stateFailure = "/proc/kcore: permission denied; run as root"
          } else if !arguments.contains("recording"), !arguments.contains("demo") {
            SyntheticState.fill(
              &snapshot, watched: watched, tick: ticks, isNested: arguments.contains("nested"),
              isSVM: arguments.contains("svm"))
            // Read 40 ms before they are drawn.
            var time = timespec()
            clock_gettime(CLOCK_MONOTONIC, &time)
            let readAt = UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec) - 40_000_000
            for tid in snapshot.states.keys { snapshot.states[tid]?.readAt = readAt }
            for (tid, answer) in asked where answer.readAt == 0 {
              if let reading = snapshot.states[tid] { asked[tid] = SyntheticState.vmm(reading) }
            }
            snapshot.vmmReadings = asked
          }
          if arguments.contains("recording") || arguments.contains("demo") {
            snapshot = SyntheticHost.asRecording(
              snapshot, position: ticks * 1_000_000_000, duration: 20_000_000_000, isDemo: arguments.contains("demo"))
          }
          if arguments.contains("nokvm") {
            var other = Snapshot()
            other.sequence = ticks
            other.source = snapshot.source
            other.source.backend = "kvm_arm"
            other.source.isa = nil
            other.intervalNanoseconds = 1_000_000_000
            other.windowNanoseconds = ticks * 1_000_000_000
            other.events = ticks * 100
            other.eventCounts = [EventCount(name: "kvm_vcpu_wakeup", count: ticks * 100, intervalCount: 100)]
            snapshot = other
          }
          return snapshot
        }, wakeFD: wake[0], exitFD: signals[0],
        perform: { action in
          switch action {
          case .watch(let tids): watched = tids
          case .askVMM(let tid): asked[tid] = VMMReading(readAt: 0)
          case .markBefore: host.mark()
          default: break
          }
        })
      print("ended: \(ending)")
    } catch {
      print("front-preview: \(error)")
      exit(1)
    }
  }
}
