import Aggregator
import Foundation
import Recording
import Testing
import TraceFormat

@testable import Session

private let demo = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent().appendingPathComponent("Sources/CDemo/demo.trace.dat").path

@Suite("Playing a recording")
struct PlayingTests {
  private func feed(_ options: SessionOptions = SessionOptions()) throws -> RecordingFeed {
    try RecordingFeed(.file(path: demo), options)
  }

  @Test("to its end in any steps, forward and back, shows what reading it at once shows")
  func seeking() throws {
    let whole = try Session(.file(path: demo)).readAll()
    #expect(whole.total.exits == 109_437)
    let feed = try feed()
    for position: UInt64 in [100_000_000, 700_000_000, 50_000_000, 400_000_000, 399_999_999, .max] {
      feed.seek(to: position, interval: 50_000_000)
      let snapshot = feed.snapshot()
      #expect(snapshot.playback?.position == min(position, feed.duration))
      #expect(snapshot.total.controls.reduce(0) { $0 + $1.count } == snapshot.total.exits)
    }
    #expect(feed.isFinished)
    let end = feed.snapshot()
    #expect(end.total.exits == whole.total.exits)
    #expect(end.total.time == whole.total.time)
    #expect(end.events == whole.events)
  }

  @Test("the same place shows the same figures whichever way it was reached")
  func sameFromBothSides() throws {
    let forward = try feed()
    forward.seek(to: 300_000_000, interval: 100_000_000)
    let first = forward.snapshot()
    forward.seek(to: 600_000_000, interval: 100_000_000)
    _ = forward.snapshot()
    forward.seek(to: 300_000_000, interval: 100_000_000)
    let second = forward.snapshot()
    #expect(first.total.exits == second.total.exits)
    #expect(first.total.intervalExits == second.total.intervalExits)
    #expect(first.intervalNanoseconds == second.intervalNanoseconds)
    #expect(first.total.history == second.total.history)
  }

  @Test("at its very start shows a window of no length, also when it is sought back")
  func start() throws {
    let feed = try feed()
    for position: UInt64 in [0, 300_000_000, 0] {
      feed.seek(to: position, interval: 100_000_000)
      let snapshot = feed.snapshot()
      #expect(snapshot.windowNanoseconds == position)
      #expect(snapshot.intervalNanoseconds <= 100_000_000)
    }
  }

  @Test("intervals of batch output add up to the whole, and end with the recording")
  func intervals() throws {
    let session = try Session(.file(path: demo))
    session.interval = 0.1
    var exits: UInt64 = 0
    var count = 0
    session.forEachInterval(count: nil) { snapshot in
      exits += snapshot.total.intervalExits
      count += 1
      return true
    }
    #expect(exits == 109_437)
    #expect(count == 8)
  }

  @Test("on its own thread goes at the recording's pace and is then held")
  func pace() throws {
    let bell = Doorbell()
    let session = try Session(.file(path: demo))
    session.interval = 0.1
    nonisolated(unsafe) let moved = session
    let running = RunningSession(moved, wake: bell)
    var snapshots: [Snapshot] = []
    let began = Date()
    while snapshots.last?.playback?.isFinished != true, Date().timeIntervalSince(began) < 60 {
      var descriptor = pollfd(fd: bell.reading, events: Int16(POLLIN), revents: 0)
      poll(&descriptor, 1, 1000)
      if let snapshot = running.takeLatest() { snapshots.append(snapshot) }
    }
    #expect(snapshots.last?.total.exits == 109_437)
    let positions = snapshots.compactMap { $0.playback?.position }
    #expect(positions == positions.sorted())
    #expect(Date().timeIntervalSince(began) >= 0.79, "not faster than it was recorded")
    // Held: commands still work.
    running.perform(.seek(0))
    var back: Snapshot?
    while back == nil, Date().timeIntervalSince(began) < 60 {
      if let next = running.takeLatest(), next.playback?.position ?? 1 < 300_000_000 { back = next }
      usleep(10_000)
    }
    #expect(back != nil)
    #expect(running.stop().isEmpty)
  }

  @Test("batch output of a recording ends when it is told to")
  func woken() throws {
    let bell = Doorbell()
    let session = try Session(.file(path: demo))
    session.interval = 0.1
    var count = 0
    session.forEachInterval(count: nil, wake: bell.reading) { _ in
      count += 1
      if count == 3 { bell.ring() }
      return true
    }
    #expect(count == 3)
  }

  /// A recording that has one kvm_exit of the bundled one, again and again, each in a page of its own.
  private func recording(exitsAt times: [UInt64], statistics: [String] = [], lost: SubBufferWriter.Loss = .none) throws
    -> String
  {
    let source = try TraceFile(path: demo)
    let page = try #require(source.nextPage(stream: 0))
    var cursor = SubBufferCursor(page: page, layout: source.metadata.page)
    let exit = try #require(source.metadata.formats.first { $0.name == "kvm_exit" })
    while cursor.next(), cursor.payload.loadUnaligned(as: UInt16.self) != exit.id {}
    let record = Array(UnsafeRawBufferPointer(start: cursor.payload, count: cursor.payloadLength))
    let path = NSTemporaryDirectory() + "vmctop-recording-\(UUID().uuidString).dat"
    var contents = TraceFileContents(of: source)
    contents.cpuStatistics = statistics
    let file = try TraceFileWriter(path: path, contents: contents)
    try file.beginBuffer()
    try file.beginCPU(0)
    for time in times {
      var writer = SubBufferWriter(layout: source.metadata.page)
      let isWritten = writer.append(timestamp: time, payload: record)
      #expect(isWritten)
      try writer.finish(lost: time == times.last ? lost : .none).withUnsafeBytes { try file.append($0) }
    }
    try file.finish()
    return path
  }

  @Test("with a time stamp of another century does not print a line for every second until then")
  func quietCenturies() throws {
    let second: UInt64 = 1_000_000_000
    let path = try recording(exitsAt: [1000, second / 2, 90 * second, 4_000_000_000 * second])
    defer { try? FileManager.default.removeItem(atPath: path) }
    let session = try Session(.file(path: path))
    var counts: [UInt64] = []
    var skipped: [UInt64] = []
    func count(_ snapshot: Snapshot) -> Bool {
      counts.append(snapshot.total.intervalExits)
      #expect(snapshot.intervalNanoseconds <= second)
      return counts.count < 1000
    }
    session.forEachInterval(count: nil, skipped: { skipped.append($0) }, count)
    #expect(counts == [2, 1, 1])
    #expect(skipped.map { $0 / second } == [88, 3_999_999_909])
  }

  @Test("losses that no page has a number for are taken from the recorder's statistics")
  func recorderStatistics() throws {
    let statistics =
      "CPU: 0\nentries: 0\noverrun: 123\ncommit overrun: 0\nbytes: 0\ndropped events: 4\nread events: 2\n"
    for (texts, isCounted) in [
      ([statistics], true), ([], false), ([statistics, statistics], false), (["CPU: x"], false),
    ] {
      let path = try recording(exitsAt: [1000, 2000], statistics: texts, lost: .unknown)
      defer { try? FileManager.default.removeItem(atPath: path) }
      let losses = try Session(.file(path: path)).readAll().losses
      #expect((losses.lost, losses.uncounted) == (isCounted ? (127, 0) : (0, 1)))
    }
  }

  @Test("of one instant is counted all the same")
  func oneInstant() throws {
    let path = try recording(exitsAt: [1_000_000])
    defer { try? FileManager.default.removeItem(atPath: path) }
    let feed = try RecordingFeed(.file(path: path), SessionOptions())
    #expect(feed.duration == 0)
    #expect(feed.snapshot().total.exits == 1)
  }

  @Test("only the vCPUs asked for are counted")
  func selection() throws {
    #expect(try Session(.file(path: demo), SessionOptions(processes: [117])).readAll().total.exits == 109_437)
    #expect(try Session(.file(path: demo), SessionOptions(processes: [118])).readAll().total.exits == 0)
    #expect(try Session(.file(path: demo), SessionOptions(vcpus: [1])).readAll().total.exits == 0)
  }

  @Test("a file that is missing and one that is no recording are told apart")
  func errors() throws {
    #expect(throws: SessionError.self) { try Session(.file(path: "/nonexistent")) }
    do { _ = try Session(.file(path: "/nonexistent")) } catch { #expect(error.kind == .unavailable) }
    do { _ = try Session(.file(path: #filePath)) } catch { #expect(error.kind == .damaged) }
  }

  @Test("answers each request itself: what it shows changes, or it says why it cannot")
  func requests() throws {
    let feed = try feed()
    defer { feed.close() }
    func ask(_ command: SessionCommand) -> CommandOutcome {
      feed.handle(command, interval: 50_000_000) { _, _ in Issue.record("nothing comes later") }
    }
    #expect(ask(.seek(100_000_000)) == .changed)
    #expect(feed.position == 100_000_000)
    #expect(ask(.step(-1)) == .changed)
    #expect(feed.position == 50_000_000)
    #expect(ask(.seekBy(.min)) == .changed)
    #expect(feed.position == 0)
    #expect(ask(.seekBy(.max)) == .changed)
    #expect(feed.position == feed.duration)
    #expect(feed.isHeld)
    #expect(feed.isOver)
    #expect(ask(.seek(0)) == .changed)
    #expect(!feed.isHeld)
    #expect(ask(.setRange(from: 0, to: 1000)) == .changed)
    #expect(feed.isHeld)
    #expect(!feed.isOver)
    #expect(ask(.watch([1])) == .done)
    #expect(ask(.askVMM(tid: 1)) == .refused("a recording has no VMM that could be asked"))
    #expect(ask(.toggleRecording(path: nil)) == .refused("this is a recording already"))
    #expect(feed.passInterval(50_000_000, isFirst: true, wake: -1) == .passed(quiet: 0))
  }
}
