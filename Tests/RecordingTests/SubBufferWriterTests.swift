import Recording
import Testing
import TraceFormat

/// The bytes themselves, written out by hand from kernel/trace/ring_buffer.c.
@Suite struct SubBufferWriterTests {
  @Test func aShortRecord() {
    var writer = SubBufferWriter(layout: PageLayout())
    let fits = writer.append(timestamp: 0x1122_3344_5566_7788, payload: [1, 2, 3, 4, 5])
    #expect(fits)
    let page = writer.finish()
    #expect(page.count == 4096)
    #expect(
      page.prefix(32).elementsEqual([
        0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,  // base timestamp
        12, 0, 0, 0, 0, 0, 0, 0,  // commit
        2, 0, 0, 0,  // two words, no delta
        1, 2, 3, 4, 5, 0, 0, 0,  // payload, padded
        0, 0, 0, 0,
      ]))
  }

  @Test func aTimeExtendGoesBeforeALongDelta() {
    var writer = SubBufferWriter(layout: PageLayout())
    var fits = writer.append(timestamp: 0, payload: [9])
    fits = writer.append(timestamp: 5 << 27 | 3, payload: [7]) && fits
    #expect(fits)
    let page = writer.finish(lost: .events(0x0102))
    #expect(
      page[8..<48].elementsEqual([
        24, 0, 0, 0xc0, 0, 0, 0, 0,  // commit with both missed-events bits
        1, 0, 0, 0, 9, 0, 0, 0,
        30 | 3 << 5, 0, 0, 0, 5, 0, 0, 0,  // TIME_EXTEND
        1, 0, 0, 0, 7, 0, 0, 0,
        2, 1, 0, 0, 0, 0, 0, 0,  // the number of events lost
      ]))
  }

  @Test func aLongRecordHasALengthWord() {
    var writer = SubBufferWriter(layout: PageLayout(commitSize: 4, dataOffset: 12))
    let fits = writer.append(timestamp: 1, payload: [UInt8](repeating: 0xee, count: 113))
    #expect(fits)
    let page = writer.finish(lost: .unknown)
    #expect(page[8..<24].elementsEqual([124, 0, 0, 0x80, 0, 0, 0, 0, 120, 0, 0, 0, 0xee, 0xee, 0xee, 0xee]))
  }

  @Test func aFullPageTakesNothingMore() {
    var writer = SubBufferWriter(layout: PageLayout())
    var count = 0
    while writer.append(timestamp: UInt64(count), payload: [UInt8](repeating: 0, count: 36)) { count += 1 }
    #expect(count == 4080 / 40)
    let before = writer.timestamp
    let extended = writer.appendTimeExtend(by: 1)
    let discarded = writer.appendDiscarded(timestamp: before + 9, payloadSize: 8)
    let stamped = writer.appendTimeStamp(before + 9)
    #expect(!extended && !discarded && !stamped)
    #expect(writer.timestamp == before)
    #expect(writer.count == 4080)
  }
}
