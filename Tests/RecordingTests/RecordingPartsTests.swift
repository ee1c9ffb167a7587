import Foundation
import Recording
import Testing
import TraceFormat

/// A recording in memory: events of a thread at times, by stream.
private final class MemoryRecording: RecordingSource {
  let formatName = "trace.dat"
  var metadata: TraceMetadata
  let texts = TraceFileTexts()
  let damage: [TraceDamage] = []
  let cpuCount = 4
  let cpuStatistics: [String] = []
  let guests: [TraceGuest] = []
  let streams: [PageStream]
  private let events: [[(time: UInt64, thread: Int32, event: UInt16)]]
  private var isRead: [Bool]
  private var pages: [UnsafeMutableRawBufferPointer] = []

  init(
    host: String = "a", clock: String = "mono", _ streams: [PageStream],
    _ events: [[(time: UInt64, thread: Int32, event: UInt16)]], exitID: UInt16 = 7
  ) {
    self.streams = streams
    self.events = events
    isRead = streams.map { _ in false }
    metadata = TraceMetadata(
      formats: [
        EventFormat(system: "kvm", name: "kvm_exit", id: exitID, fields: [], printFormat: ""),
        EventFormat(system: "kvm", name: "kvm_entry", id: 8, fields: [], printFormat: ""),
      ], page: PageLayout(), clock: clock, uname: "Linux \(host) 6.12 x86_64")
  }

  deinit { for page in pages { page.deallocate() } }

  func rewind() { isRead = streams.map { _ in false } }

  func seek(stream: Int, to time: UInt64?) { isRead[stream] = false }

  func reopen() -> (any RecordingSource)? { nil }

  func timeBounds() -> (first: UInt64, last: UInt64)? {
    rewind()
    let times = events.joined().map(\.time)
    guard let first = times.min(), let last = times.max() else { return nil }
    return (first, last)
  }

  func nextPage(stream: Int) -> UnsafeRawBufferPointer? {
    guard !isRead[stream] else { return nil }
    isRead[stream] = true
    var writer = SubBufferWriter(layout: metadata.page)
    for event in events[stream] {
      var payload: [UInt8] = []
      withUnsafeBytes(of: event.event.littleEndian) { payload += $0 }
      payload += [0, 0]
      withUnsafeBytes(of: event.thread.littleEndian) { payload += $0 }
      _ = writer.append(timestamp: event.time, payload: payload)
    }
    let bytes = writer.finish(lost: .events(3))
    let page = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 8)
    page.copyBytes(from: bytes)
    pages.append(page)
    return UnsafeRawBufferPointer(page)
  }
}

private func times(_ source: any RecordingSource) -> [[UInt64]] {
  source.rewind()
  return source.streams.indices.map { stream in
    var result: [UInt64] = []
    while let page = source.nextPage(stream: stream) {
      var cursor = SubBufferCursor(page: page, layout: source.metadata.page)
      while cursor.next() { result.append(cursor.timestamp) }
    }
    return result
  }
}

@Suite("Parts of recordings") struct RecordingPartsTests {
  private let exits: [(time: UInt64, thread: Int32, event: UInt16)] = [(10, 1, 7), (20, 1, 8), (30, 1, 7), (40, 1, 8)]

  @Test(
    "a range has the events stamped within it, both ends included",
    arguments: [
      (10, 40, [10, 20, 30, 40]), (20, 30, [20, 30]), (11, 19, []), (40, 99, [40]), (0, 9, []), (15, 40, [20, 30, 40]),
    ]
      as [(UInt64, UInt64, [UInt64])])
  func range(_ first: UInt64, _ last: UInt64, _ expected: [UInt64]) {
    let source = RangedRecording(MemoryRecording([PageStream(cpu: 0)], [exits]), range: first...last)
    #expect(times(source) == [expected])
    #expect(times(source) == [expected], "again from the start")
  }

  @Test("a loss before the first event of a range is none of it") func lossAtEdge() throws {
    for (first, expected) in [(10, MissedEvents.counted(3)), (20, .none)] as [(UInt64, MissedEvents)] {
      let source = RangedRecording(MemoryRecording([PageStream(cpu: 0)], [exits]), range: first...30)
      let page = try #require(source.nextPage(stream: 0))
      #expect(SubBufferCursor(page: page, layout: source.metadata.page).missed == expected)
    }
  }

  @Test("any range of the demo has as many events as lie in it, by a walk over all") func demoRange() throws {
    let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("Sources/CDemo/demo.trace.dat").path
    let file = try TraceFile(path: path)
    let all = times(file)[0]
    for (low, high) in [(0.1, 0.2), (0.5, 0.5001), (0, 1), (0.99, 1)] {
      let span = Double(all[all.count - 1] - all[0])
      let range = all[0] + UInt64(span * low)...all[0] + UInt64(span * high)
      #expect(times(RangedRecording(file, range: range))[0] == all.filter(range.contains))
    }
  }

  @Test("buffers with events of their own all count") func separateBuffers() throws {
    let source = MemoryRecording(
      [PageStream(cpu: 0), PageStream(cpu: 0, buffer: "b")], [exits, exits.map { ($0.time, 2, $0.event) }])
    let joined = try CombinedRecording.join([source], names: ["f"])
    #expect(joined.notes == [] && times(joined) == [[10, 20, 30, 40], [10, 20, 30, 40]])
  }

  @Test("the same events in two buffers count once, in the fuller one, and that is said") func sameEvents() throws {
    let more = exits.map { ($0.time + 1, $0.thread, $0.event) } + [(50, 2, 7)]
    let source = MemoryRecording([PageStream(cpu: 0), PageStream(cpu: 0, buffer: "b")], [exits, more])
    let joined = try CombinedRecording.join([source], names: ["f"])
    #expect(times(joined) == [[11, 21, 31, 41, 50]])
    #expect(joined.notes.count == 1)
    #expect(
      joined.notes[0].contains(
        "the top-level buffer is not counted: instance b has the same events (kvm_exit of thread 1)"))
    let copy = try CombinedRecording.join([source], names: ["f"], countsOnce: false)
    #expect(times(copy).count == 2, "a copy has everything")
  }

  @Test("one after the other, two buffers may have the same thread") func oneAfterTheOther() throws {
    let later = exits.map { ($0.time + 100, $0.thread, $0.event) }
    let source = MemoryRecording([PageStream(cpu: 0), PageStream(cpu: 0, buffer: "b")], [exits, later])
    #expect(times(try CombinedRecording.join([source], names: ["f"])).joined().count == 8)
  }

  @Test("files of one host and clock are joined; of others not, and the line says why") func files() throws {
    func file(_ host: String = "a", _ clock: String = "mono", _ thread: Int32 = 2, id: UInt16 = 7) -> MemoryRecording {
      MemoryRecording(
        host: host, clock: clock, [PageStream(cpu: 0)], [exits.map { ($0.time, thread, $0.event) }], exitID: id)
    }
    let joined = try CombinedRecording.join([file("a", "mono", 1), file()], names: ["f", "g"])
    #expect(joined.notes == [] && times(joined).joined().count == 8)
    #expect(Set(joined.streams).count == 2)
    #expect(joined.timeBounds()?.first == 10 && joined.timeBounds()?.last == 40)
    for (other, words) in [
      (file("b"), "two hosts, a and b"), (file("a", "boot"), "clocks are mono and boot"),
      (file("a", "mono", 2, id: 9), "kvm_exit"),
    ] {
      #expect { try CombinedRecording.join([file(), other], names: ["f", "g"]) } throws: { error in
        "\(error)".contains(words) && "\(error)".contains("f and g cannot be counted together")
      }
    }
  }
}
