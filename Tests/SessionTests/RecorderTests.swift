import Aggregator
import Architecture
import CTinyGuest
import Foundation
import Recording
import Sampler
import Testing
import TraceFormat
import Tracefs

@testable import Session

/// True if a guest of a few instructions runs here and we may trace it.
private let canRunGuest: Bool = {
  guard getuid() == 0, let root = try? TracefsRoot.find(), root.hasKVMEvents else { return false }
  return tinyguest_run(1).error == 0
}()
private let guestNeeds: Comment = "needs root, tracefs, the module kvm and a usable /dev/kvm"

private func temporaryFile() -> String {
  FileManager.default.temporaryDirectory.appendingPathComponent("vmctop-recorder-\(UUID().uuidString).vmctop").path
}

/// Events in a recording's pages, and of one thread.
private func count(_ file: RecordingFile, thread: Int32 = 0) throws -> (all: UInt64, ofThread: UInt64, first: UInt64) {
  let pages = try file.pages()
  var result: (all: UInt64, ofThread: UInt64, first: UInt64) = (0, 0, .max)
  for stream in pages.streams.indices {
    while let page = pages.nextPage(stream: stream) {
      var cursor = SubBufferCursor(page: page, layout: pages.layout)
      while cursor.next() {
        result.all += 1
        result.first = min(result.first, cursor.timestamp)
        if cursor.payload.loadUnaligned(fromByteOffset: 4, as: Int32.self) == thread { result.ofThread += 1 }
      }
    }
  }
  return result
}

@Suite("Recording this host", .serialized, .enabled(if: canRunGuest, guestNeeds))
struct RecorderTests {
  @Test("has every event that was traced, and says how many those were") func everyEvent() throws {
    let path = temporaryFile()
    defer { try? FileManager.default.removeItem(atPath: path) }
    let recorder = try Recorder(RecorderOptions(live: LiveOptions(events: .full), target: .file(path: path)))
    let done = DispatchSemaphore(value: 0)
    nonisolated(unsafe) var guest = tinyguest_result()
    Thread.detachNewThread {
      guest = tinyguest_run(50_000)
      done.signal()
    }
    let ending = recorder.run(seconds: 60, isOver: { done.wait(timeout: .now()) == .success })
    #expect(ending == .asked)
    let progress = recorder.finish(commandStatus: 0)
    #expect(progress.writing.failure == nil)
    #expect(guest.outs == 50_000)
    let file = try RecordingFile(path: path)
    #expect(file.damage.isEmpty)
    guard case .whole = file.ending else {
      Issue.record("\(file.ending)")
      return
    }
    let counted = try count(file, thread: guest.thread)
    // By the kernel's own counters: what was read is what is in the file and what was left out.
    let statistics = try #require(file.latest(LossRecord.self)?.record)
    let read = statistics.cpus.reduce(0) { $0 + $1.read }
    #expect(counted.all + progress.writing.dropped == read)
    #expect(counted.all == progress.writing.events)
    #expect(progress.events == read)
    let lost = statistics.cpus.reduce(0) { $0 + $1.lost }
    #expect(lost == progress.lost)
    // Each time to user space is at least one event.
    if lost == 0, progress.writing.dropped == 0 { #expect(counted.ofThread >= 50_000) }
    #expect(file.header.level == .events)
    // Events come while the trace is being set up, too.
    #expect(file.header.startedAt.map { $0 <= counted.first + 1_000_000_000 } == true)
    let clocks = file.records(ClockRecord.self)
    #expect(clocks.count >= 1)
    #expect(clocks.last?.chunk.first ?? 0 >= clocks.first?.chunk.first ?? 1)
    // What a watermark promises: no page before it comes after it.
    var watermark: UInt64 = 0
    for chunk in file.chunks {
      if chunk.header.kind == .clock { watermark = max(watermark, chunk.header.first) }
    }
    #expect(watermark > counted.first)
    #expect(file.commandNames[guest.thread] != nil)
    #expect((try? file.header.metadata().formats.isEmpty) == false)
    // Read by the aggregator it counts the same.
    var counter = try Counter(metadata: try file.header.metadata())
    counter.run(try file.pages())
    #expect(counter.snapshot().events == counted.all)
  }

  @Test("before a watermark has all that was stamped before it") func watermarks() throws {
    let path = temporaryFile()
    defer { try? FileManager.default.removeItem(atPath: path) }
    let recorder = try Recorder(RecorderOptions(target: .file(path: path)))
    let stop = DispatchSemaphore(value: 0)
    let stopped = DispatchSemaphore(value: 0)
    Thread.detachNewThread {
      while stop.wait(timeout: .now()) != .success { _ = tinyguest_run(3000) }
      stopped.signal()
    }
    _ = recorder.run(seconds: 3.5)
    stop.signal()
    stopped.wait()
    _ = recorder.finish()
    let file = try RecordingFile(path: path)
    var watermark: UInt64 = 0
    var checked = 0
    for (index, chunk) in file.chunks.enumerated() {
      if chunk.header.kind == .clock { watermark = max(watermark, chunk.header.first) }
      guard chunk.header.kind == .pages, let payload = file.payload(index) else { continue }
      #expect(payload.count > 4)
      // The last event of a chunk behind a watermark is later; its first may be of a page begun before.
      #expect(chunk.header.last >= watermark)
      checked += 1
    }
    #expect(checked > 2)
    #expect(watermark > 0)
  }

  @Test("as a summary has no pages, and still what else there is") func summary() throws {
    let path = temporaryFile()
    defer { try? FileManager.default.removeItem(atPath: path) }
    let recorder = try Recorder(RecorderOptions(target: .file(path: path), level: .summary))
    _ = tinyguest_run(1000)
    _ = recorder.run(seconds: 0.2)
    let progress = recorder.finish()
    let file = try RecordingFile(path: path)
    // What was counted is all there.
    let snapshot = try Session(.file(path: path)).readAll()
    #expect(snapshot.events == progress.events)
    #expect(file.indices(of: .pages).isEmpty)
    #expect(file.header.level == .summary)
    #expect(progress.events > 0)
    #expect(file.latest(LossRecord.self) != nil)
    #expect(!file.records(HostView.self).isEmpty)
  }

  @Test("has sums of its intervals, from which all and any part is counted as from its events") func sums() throws {
    let path = temporaryFile()
    defer { try? FileManager.default.removeItem(atPath: path) }
    var options = RecorderOptions(target: .file(path: path))
    options.interval = 0.1
    options.live.events = .full
    let recorder = try Recorder(options)
    let stop = DispatchSemaphore(value: 0)
    let stopped = DispatchSemaphore(value: 0)
    Thread.detachNewThread {
      while stop.wait(timeout: .now()) != .success { _ = tinyguest_run(2000) }
      stopped.signal()
    }
    // Each of them is longer than an interval, however busy the machine is.
    for _ in 0..<20 { _ = recorder.run(seconds: 0.15) }
    stop.signal()
    stopped.wait()
    let progress = recorder.finish()
    let events = try RecordedEvents(path: path)
    let source = RecordedSource(events, path: path, SessionOptions())
    let stored = source.storedIntervals
    #expect(stored.filter { $0.level == 0 }.count >= 17)
    #expect(stored.contains { $0.level == 1 })
    #expect(stored.filter { $0.level == 0 }.reduce(0) { $0 + (source.sums($1)?.events ?? 0) } == progress.events)
    guard progress.writing.dropped == 0 else { return }
    var times: [UInt64] = []
    for stream in events.streams.indices {
      while let page = events.nextPage(stream: stream) {
        var cursor = SubBufferCursor(page: page, layout: events.metadata.page)
        while cursor.next() { times.append(cursor.timestamp) }
      }
    }
    #expect(UInt64(times.count) == progress.events)
    // An event whose writer lost the processor before it committed it comes after its watermark, and counts in the
    // interval in which it came.
    var late = 0
    for stored in stored where stored.level == 0 {
      let events = Int(source.sums(stored)?.events ?? 0)
      late += abs(events - times.count { $0 > stored.start && $0 <= stored.end })
    }
    #expect(late < times.count / 1000)
    // Parts that begin and end within intervals.
    let session = try Session(.file(path: path))
    #expect(session.readAll().events == progress.events)
    let duration = try #require(session.duration)
    let first = try #require(events.timeBounds()).first
    for (from, to) in [(0.13, 0.77), (0.25, 0.5), (0.5, 0.99), (0.501, 0.502)] {
      let part = UInt64(Double(duration) * from)..<UInt64(Double(duration) * to)
      let expected = times.count { $0 > first + part.lowerBound && $0 <= first + part.upperBound }
      #expect(abs(Int(session.count(part)?.events ?? 0) - expected) <= late)
    }
  }

  @Test("leaves no trace instance, however it ends") func instance() throws {
    let path = temporaryFile()
    defer { try? FileManager.default.removeItem(atPath: path) }
    let root = try TracefsRoot.find()
    let before = try FileManager.default.contentsOfDirectory(atPath: "\(root.path)/instances").filter {
      $0.contains("\(getpid())")
    }
    #expect(throws: SessionError.self) {
      try Recorder(RecorderOptions(target: .file(path: "/nonexistent/folder/file.vmctop")))
    }
    let recorder = try Recorder(RecorderOptions(target: .file(path: path)))
    _ = recorder.finish()
    let after = try FileManager.default.contentsOfDirectory(atPath: "\(root.path)/instances").filter {
      $0.contains("\(getpid())")
    }
    #expect(after.count <= before.count)
  }

  @Test("from the live view begins before it was asked for, and says where it is") func lookBack() throws {
    let path = temporaryFile()
    defer { try? FileManager.default.removeItem(atPath: path) }
    let feed = try LiveFeed(LiveOptions(), SessionOptions())
    defer { feed.close() }
    feed.keepLookBack(seconds: 30, bytes: 64 << 20)
    func runGuest() -> Int32 {
      let done = DispatchSemaphore(value: 0)
      nonisolated(unsafe) var thread: Int32 = 0
      Thread.detachNewThread {
        thread = Int32(tinyguest_run(2000).thread)
        done.signal()
      }
      done.wait()
      return thread
    }
    let early = runGuest()
    usleep(50_000)
    feed.advance()
    #expect(feed.snapshot().recording == nil)
    feed.toggleRecording(path: path)
    #expect(feed.snapshot().recording?.path == path)
    let late = runGuest()
    usleep(50_000)
    feed.advance()
    feed.maintain()
    feed.toggleRecording(path: nil)
    #expect(feed.snapshot().recording == nil)
    let messages = feed.takeMessages().map(\.text)
    #expect(messages.contains { $0.hasPrefix("recording into \(path), from ") })
    #expect(messages.contains { $0.hasPrefix("recorded ") && $0.contains(path) })
    let file = try RecordingFile(path: path)
    #expect(file.damage.isEmpty)
    #expect(try count(file, thread: early).ofThread > 2000, "before the key")
    #expect(try count(file, thread: late).ofThread > 2000)
    #expect(file.header.startedAt.map { start in file.timeBounds.map { start <= $0.first } ?? false } == true)
    // A file that is there is not taken; the view goes on.
    feed.toggleRecording(path: path)
    #expect(feed.takeMessages().map(\.text).contains("cannot record: \(path) exists"))
  }
}
