import RandomSupport
import Recording
import Testing
import TraceFormat

/// `#expect` cannot call what changes its subject.
func expectRoom(_ fits: Bool, sourceLocation: SourceLocation = #_sourceLocation) {
  #expect(fits, "the page is full", sourceLocation: sourceLocation)
}

@Suite struct ReferenceDecoderTests {
  /// Times, names and order of all 235,651 events, against the tool that recorded them.
  @Test(.enabled(if: TraceCmd.isPresent, "trace-cmd is not installed"))
  func demoEventsAreThoseOfTraceCmd() throws {
    let file = try TraceFile(path: Fixture.demo)
    let names = Dictionary(uniqueKeysWithValues: file.metadata.formats.map { ($0.id, $0.name) })
    let pages = ReferenceDecoder.decode(file, stream: 0, layout: file.metadata.page)
    #expect(file.damage.isEmpty)
    #expect(pages.allSatisfy { $0.damagedAt == nil && $0.lost == .none })
    let events = pages.flatMap(\.events)
    let lines = try TraceCmd.report(Fixture.demo)
    #expect(events.count == 235_651)
    try #require(lines.count == events.count)
    var counts: [String: Int] = [:]
    var differing = 0
    for (event, line) in zip(events, lines) {
      let name = names[event.type] ?? "?"
      counts[name, default: 0] += 1
      if name != line.name || event.timestamp != line.nanoseconds { differing += 1 }
    }
    #expect(differing == 0)
    #expect(counts["kvm_exit"] == 109_437)
    #expect(counts["kvm_entry"] == 109_437)
  }

  /// Sub-buffers as read(2) of trace_pipe_raw gave them, part of a page at the end included.
  @Test func pagesFromTheLiveFileDecode() throws {
    let layout = try PageLayout.parse(headerPage: Fixture.text("header_page"))
    let bytes = try Fixture.bytes(Fixture.intel.appendingPathComponent("trace_pipe_raw.cpu0").path)
    let known = Set(try Fixture.formatFiles.map { try Fixture.format(String($0.dropLast(".format".count))).id })
    #expect(bytes.count % layout.subBufferSize == 0)
    var last: UInt64 = 0
    var events = 0
    for start in stride(from: 0, to: bytes.count, by: layout.subBufferSize) {
      let page = ReferenceDecoder.decode(Array(bytes[start..<start + layout.subBufferSize]), layout: layout)
      #expect(page.damagedAt == nil)
      events += page.events.count
      for event in page.events {
        if event.timestamp < last { Issue.record("time goes back in the page at \(start)") }
        if !known.contains(event.type) { Issue.record("no format for event \(event.type)") }
        last = event.timestamp
      }
    }
    #expect(events > 10_000)
  }

  @Test func everyKindOfRecordSurvivesARoundTrip() throws {
    for layout in [
      PageLayout(), PageLayout(commitSize: 4, dataOffset: 12), PageLayout(subBufferSize: 65536),
    ] {
      var writer = SubBufferWriter(layout: layout)
      var expected: [ReferenceDecoder.Event] = []
      func add(_ timestamp: UInt64, _ size: Int, long: Bool = false) {
        let payload = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ 1) }
        let fits = writer.append(timestamp: timestamp, payload: payload, longForm: long)
        #expect(fits)
        let padded = payload + [UInt8](repeating: 0, count: (4 - size % 4) % 4)
        expected.append(.init(timestamp: timestamp, payload: padded))
      }
      add(1_000, 64)
      add(1_000, 32)
      add(1_007, 112)
      add(2_000, 113)
      add(2_001, 8, long: true)
      add(2_001 + SubBufferWriter.largestDelta, 12)
      // One more than 27 bits hold: a TIME_EXTEND goes before.
      add(2_001 + 2 * SubBufferWriter.largestDelta + 1, 12)
      expectRoom(writer.appendDiscarded(timestamp: writer.timestamp + 500, payloadSize: 40))
      add(writer.timestamp + 1, 16)
      expectRoom(writer.appendDiscarded(timestamp: writer.timestamp, payloadSize: 8))
      add(writer.timestamp + 3, 16)
      expectRoom(writer.appendTimeExtend(by: 0))
      add(writer.timestamp, 8)
      expectRoom(writer.appendTimeStamp(1 << 40))
      add((1 << 40) + 5, 8)
      let page = writer.finish(lost: .events(42))
      #expect(page.count == layout.subBufferSize)
      let decoded = ReferenceDecoder.decode(page, layout: layout)
      #expect(decoded.damagedAt == nil)
      #expect(decoded.events == expected)
      #expect(decoded.lost == .events(42))
      #expect(decoded.discarded == 2)
      #expect(decoded.extends == 2)
      #expect(decoded.stamps == 1)
    }
  }

  @Test func theTopFiveBitsOfAnAbsoluteStampAreThoseBefore() {
    var writer = SubBufferWriter(layout: PageLayout())
    let start: UInt64 = 0xf800_0000_0000_0000 | 12345
    expectRoom(writer.append(timestamp: start, payload: [1, 0, 0, 0]))
    expectRoom(writer.appendTimeStamp(start + 1_000_000))
    expectRoom(writer.append(timestamp: start + 1_000_001, payload: [1, 0, 0, 0]))
    let page = ReferenceDecoder.decode(writer.finish(), layout: PageLayout())
    #expect(page.events.map(\.timestamp) == [start, start + 1_000_001])
  }

  @Test func aLossThatDoesNotFitIsOfUnknownNumber() {
    var writer = SubBufferWriter(layout: PageLayout())
    var time: UInt64 = 5
    while writer.append(timestamp: time, payload: [UInt8](repeating: 1, count: 64)) { time += 1 }
    // 4080 = 60 * 68.
    #expect(writer.count == 4080)
    let full = ReferenceDecoder.decode(writer.finish(lost: .events(9)), layout: PageLayout())
    #expect(full.lost == .unknown)
    #expect(full.events.count == 60)
    #expect(writer.isEmpty, "a page that was finished is followed by an empty one")
    expectRoom(writer.append(timestamp: 1, payload: [1]))
    let next = ReferenceDecoder.decode(writer.finish(), layout: PageLayout())
    #expect(next.lost == .none)
  }

  @Test func corruptPagesEndWithAnOffset() {
    var generator = Dice(seed: 1)
    var damaged = 0
    for _ in 0..<300 {
      var page = [UInt8](repeating: 0, count: 4096)
      for index in page.indices { page[index] = UInt8.random(in: 0...255, using: &generator) }
      page[8] = 0xf0
      page[9] = 0x0f
      page[10] = 0
      page[11] &= 0xc0
      let decoded = ReferenceDecoder.decode(page, layout: PageLayout())
      if let offset = decoded.damagedAt {
        damaged += 1
        #expect(offset < 4096)
      }
    }
    #expect(damaged > 50)
  }
}
