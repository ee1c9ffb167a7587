import Aggregator
import ArgumentParser
import Glibc
import Session

/// Opening a recording and jumping about in it, as the screen does.
struct Jump: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Times the first snapshot of a recording, and jumps in it.",
    discussion: """
      Times are from the command to the snapshot that answers it: first of the opening, then of jumps while the recording \
      is still summed up in the background, then of jumps when that is done. Places are the same in every run.
      """)

  @Option(help: ArgumentHelp("The recording.", valueName: "file"))
  var input: String

  @Option(help: ArgumentHelp("How many jumps.", valueName: "count"))
  var jumps = 40

  func run() throws {
    let began = now()
    let bell = Doorbell()
    let session = try Session(.file(path: input))
    let duration = session.duration ?? 0
    nonisolated(unsafe) let moved = session
    let running = RunningSession(moved, wake: bell)
    defer { running.stop() }
    func wait(_ condition: (Snapshot) -> Bool) -> Snapshot? {
      let start = now()
      while now() &- start < 600_000_000_000 {
        if let snapshot = running.takeLatest(), condition(snapshot) { return snapshot }
        var descriptor = pollfd(fd: bell.reading, events: Int16(POLLIN), revents: 0)
        _ = poll(&descriptor, 1, 100)
        var bytes = [UInt8](repeating: 0, count: 64)
        _ = read(bell.reading, &bytes, bytes.count)
      }
      return nil
    }
    _ = wait { _ in true }
    print("first snapshot                            \(milliseconds(now() &- began)) ms")
    running.perform(.setPaused(true))
    func jump(to position: UInt64) -> Double {
      let start = now()
      running.perform(.seek(position))
      guard wait({ $0.playback?.position == position }) != nil else { return .infinity }
      return Double(now() &- start) / 1e6
    }
    var places: [UInt64] = []
    var state: UInt64 = 1
    for _ in 0..<max(1, jumps) {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      places.append(UInt64(Double(state >> 11) / Double(UInt64(1) << 53) * Double(duration)))
    }
    // What is not summed up yet is counted from where it is: of these, the last place is the farthest.
    let early = jump(to: duration / 2)
    print("a jump to the middle, at once             \(fixed(early)) ms")
    _ = wait { $0.playback?.rateTimeline?.known == $0.playback?.duration }
    print("summed up after                           \(milliseconds(now() &- began)) ms")
    report("jumps", places.map { jump(to: $0) })
    report(
      "ranges of a tenth",
      places.map { place in
        let start = now()
        let from = min(place, duration / 10 * 9)
        running.perform(.setRange(from: from, to: from + duration / 10))
        _ = wait { $0.playback?.range == from..<from + duration / 10 }
        return Double(now() &- start) / 1e6
      })
    running.perform(.clearRange)
    if let use = wait({ $0.playback?.range == nil })?.ownUse { print("resident \(use.residentBytes >> 20) MiB") }
  }

  private func report(_ name: String, _ times: [Double]) {
    let sorted = times.sorted()
    print(
      "\(name), median and slowest of \(times.count): \(fixed(sorted[sorted.count / 2])) ms, "
        + "\(fixed(sorted[sorted.count - 1])) ms")
  }

  private func now() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
  }

  private func milliseconds(_ nanoseconds: UInt64) -> UInt64 { nanoseconds / 1_000_000 }
}

/// With one decimal place.
func fixed(_ value: Double) -> String {
  guard value.isFinite, value < 1e12 else { return "-" }
  let tenths = Int((value * 10).rounded())
  return "\(tenths / 10).\(tenths % 10)"
}
