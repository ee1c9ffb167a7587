import Aggregator
import Architecture
import CTinyGuest
import Foundation
import HostFiles
import RandomSupport
import Sampler
import SnapshotSupport
import Synchronization
import Testing
import TraceFormat
import Tracefs

@testable import Recording
@testable import Session

private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent()
private let demo = root.appendingPathComponent("Sources/CDemo/demo.trace.dat").path

private func fixture(_ name: String) throws -> [UInt8] {
  [UInt8](try Data(contentsOf: root.appendingPathComponent("Tests/Fixtures/\(name)")))
}

/// Bytes of a recording, chunk by chunk, as its writer makes them.
private struct Chunks {
  var bytes = RecordingPrefix.encoded()
  private var sequence: UInt32 = 0

  mutating func add(
    _ kind: ChunkKind, _ payload: [UInt8], flags: ChunkFlags = [], stream: UInt32 = 0, first: UInt64 = 0,
    last: UInt64? = nil
  ) {
    let header = ChunkHeader(
      kind: kind, flags: flags, storedLength: UInt32(payload.count), rawLength: UInt32(payload.count), stream: stream,
      first: first, last: last ?? first, recording: 77, sequence: sequence,
      payloadChecksum: payload.withUnsafeBytes { crc32c($0) })
    sequence += 1
    bytes += header.encoded + payload
  }

  mutating func add(_ record: some RecordingRecord, first: UInt64, last: UInt64? = nil, stream: UInt32 = 0) {
    add(type(of: record).kind, record.encoded(), stream: stream, first: first, last: last)
  }
}

/// The first pages of the bundled trace on their way to an aggregator, gathered as the recorder does. Every sixteenth is another
/// CPU's: its thread goes from one to the other, and that CPU's next page waits while many of the first one's are counted.
private final class Tap: PageSource {
  let file: TraceFile
  let streams = [PageStream(cpu: 2), PageStream(cpu: 5)]
  var collector: PageCollector
  var full: [PageBlock] = []
  /// Pages that begin later are not there yet.
  var present = UInt64.max
  private var next = [0, 0]

  init() throws {
    file = try TraceFile(path: demo)
    collector = PageCollector(layout: file.metadata.page)
  }

  /// By stream; never freed.
  nonisolated(unsafe) private static let pages: [[UnsafeRawBufferPointer]] = {
    var pages: [[UnsafeRawBufferPointer]] = [[], []]
    guard let file = try? TraceFile(path: demo) else { return pages }
    for number in 1...300 {
      guard let page = file.nextPage(stream: 0) else { break }
      let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: page.count, alignment: 16)
      copy.copyMemory(from: page)
      pages[number % 16 == 0 ? 1 : 0].append(UnsafeRawBufferPointer(copy))
    }
    return pages
  }()

  func nextPage(stream: Int) -> UnsafeRawBufferPointer? {
    guard next[stream] < Self.pages[stream].count else { return nil }
    let page = Self.pages[stream][next[stream]]
    guard SubBufferCursor(page: page, layout: file.metadata.page).timestamp <= present else { return nil }
    next[stream] += 1
    if let block = collector.add(page, cpu: UInt32(streams[stream].cpu), now: 0) { full.append(block) }
    return page
  }
}

/// A recorder of the bundled trace, whose pipe is what the test says.
private struct SimulatedRecorder {
  /// Watermarks.
  var steps = 100
  /// Every so many of them there are sums; 0: never.
  var sumsEvery = 5
  /// Between which of them no pages are taken.
  var gaps: [Range<Int>] = []
  /// Sums come before the watermark of their end, or after it.
  var sumsAreEarly = true
  /// The next page of each CPU is there already, and waits.
  var seesAhead = false
  /// Sums that do not come.
  var missingSums: Set<Int> = []
  var hasWords = true
  var level = RecordingLevel.events
  var isEnded = true

  /// The stream's bytes; everything counted at once; events that were left out.
  func make() throws -> (bytes: [UInt8], expected: Snapshot, leftOut: UInt64, start: UInt64) {
    let bounds = Self.bounds
    let tap = try Tap()
    let file = tap.file
    let options = AggregatorOptions(countsOpenTime: true)
    var aggregator = try Aggregator(metadata: file.metadata, options: options)
    var whole = try Counter(metadata: file.metadata, options: options)
    let all = try Tap()
    var header = RecordingHeader()
    header.headerPage = file.texts.headerPage
    header.headerEvent = file.texts.headerEvent
    header.formats = file.texts.formats
    header.hostName = "elsewhere\u{1b}[2J"
    header.level = level
    header.startedAt = bounds.first - 1
    var chunks = Chunks()
    chunks.add(header, first: bounds.first)
    var leftOut: UInt64 = 0
    var open: (first: UInt64, last: UInt64, events: [UInt32: UInt64])?
    var afterGap: Set<UInt32> = []
    func close(_ chunks: inout Chunks) {
      guard let gap = open else { return }
      let cpus = gap.events.sorted { $0.key < $1.key }.map { GapRecord.CPU(cpu: $0.key, events: $0.value) }
      chunks.add(GapRecord(isOpen: false, cpus: cpus), first: gap.first, last: gap.last)
      open = nil
    }
    var watermark: UInt64 = 0
    for step in 1...steps {
      watermark = bounds.first + (bounds.last - bounds.first) * UInt64(step) / UInt64(steps)
      if !seesAhead { tap.present = watermark }
      if hasWords, step % 30 == 7 {
        let words = ControlSetting(pin: 0x7f, primary: step % 60 == 7 ? 0xb5a0_6dfa : 0xb5a0_6d7a, secondary: 0x10_17ea)
        var record: [Int32: ControlSetting] = [:]
        let thread = try #require(Self.thread)
        record[thread] = words
        let time = watermark - (bounds.last - bounds.first) / UInt64(steps) / 2
        aggregator.run(tap, until: time)
        whole.run(all, until: time)
        aggregator.learn(record, at: time)
        whole.engine.learn(record, at: time)
        chunks.add(WordsRecord(words: record), first: time)
      }
      aggregator.run(tap, until: watermark)
      whole.run(all, until: watermark)
      var sums: IntervalCounts?
      if sumsEvery > 0, step % sumsEvery == 0 || step == steps { sums = aggregator.cut(at: watermark) }
      if missingSums.contains(step) { sums = nil }
      if sumsAreEarly, let sums { chunks.add(.sums, sums.bytes(), first: sums.start, last: sums.end) }
      for block in tap.full + tap.collector.take(olderThan: 0, now: 0) where level == .events {
        if gaps.contains(where: { $0.contains(step) }) {
          leftOut += block.events
          afterGap.insert(block.cpu)
          if open == nil { chunks.add(GapRecord(isOpen: true), first: block.first) }
          var gap = open ?? (block.first, block.last, [:])
          gap.last = max(gap.last, block.last)
          gap.events[block.cpu, default: 0] += block.events
          open = gap
        } else {
          chunks.add(
            .pages, block.bytes, flags: afterGap.remove(block.cpu) == nil ? [] : .afterGap, stream: block.cpu,
            first: block.first, last: block.last)
          close(&chunks)
        }
      }
      tap.full = []
      chunks.add(
        ClockRecord(trace: watermark, realtime: 1_700_000_000_000_000_000 + watermark, monotonic: watermark),
        first: watermark)
      if !sumsAreEarly, let sums { chunks.add(.sums, sums.bytes(), first: sums.start, last: sums.end) }
    }
    close(&chunks)
    if isEnded { chunks.add(EndRecord(indexDistance: 0, startDistance: 0, reason: .asked), first: 0) }
    let start = bounds.first - 1
    return (chunks.bytes, whole.snapshot(now: watermark, start: start), leftOut, start)
  }

  /// A vCPU thread of these pages, the times of their first and last event, and their exits.
  private static let facts: (thread: Int32?, first: UInt64, last: UInt64, exits: UInt64) = {
    guard let tap = try? Tap(), var counter = try? Counter(metadata: tap.file.metadata) else {
      return (nil, 0, 0, 0)
    }
    counter.run(tap)
    let snapshot = counter.snapshot()
    return (
      snapshot.vms.first?.vcpus.first?.tid, snapshot.firstTimestamp, snapshot.lastTimestamp, snapshot.total.exits
    )
  }()
  static var thread: Int32? { facts.thread }
  static var bounds: (first: UInt64, last: UInt64) { (facts.first, facts.last) }
  static var exits: UInt64 { facts.exits }
}

/// Writes bytes into a pipe, in portions, on another thread. The reading end is closed with this.
private final class Sender {
  let reading: Int32
  private let done = DispatchSemaphore(value: 0)

  init(_ bytes: [UInt8], portions: ClosedRange<Int> = 1...70_000, seed: UInt64 = 1, pause: UInt32 = 0) {
    var ends: [Int32] = [-1, -1]
    #expect(pipe(&ends) == 0)
    reading = ends[0]
    let (writing, done) = (ends[1], done)
    Thread.detachNewThread {
      var dice = Dice(seed: seed)
      var place = 0
      while place < bytes.count {
        let length = min(Int.random(in: portions, using: &dice), bytes.count - place)
        let count = bytes[place..<place + length].withUnsafeBytes { write(writing, $0.baseAddress, $0.count) }
        if count <= 0 { break }
        place += count
        if pause > 0 { usleep(pause) }
      }
      close(writing)
      done.signal()
    }
  }

  deinit {
    close(reading)
    done.wait()
  }
}

/// Takes everything that comes, with a snapshot now and then. Returns the last.
private func follow(_ feed: StreamFeed, _ body: (Snapshot) -> Void = { _ in }) -> Snapshot {
  while !feed.isOver {
    feed.advance()
    body(feed.snapshot())
    if feed.isOver || feed.wait(milliseconds: 5000, wake: -1) { break }
  }
  return feed.snapshot()
}

/// A snapshot without what a stream has beside its figures.
private func bare(_ snapshot: Snapshot) -> Snapshot {
  var bare = snapshot
  let isa = bare.source.isa
  bare.source = SourceDescription()
  bare.source.isa = isa
  bare.stream = nil
  bare.monotonic = nil
  bare.stateFailure = nil
  bare.controlWords = [:]
  bare.messages = []
  return bare
}

@Suite("A stream of another host's events")
struct StreamFeedTests {
  private func feed(_ bytes: [UInt8], portions: ClosedRange<Int> = 1...70_000, seed: UInt64 = 1) throws -> (
    StreamFeed, Sender
  ) {
    let sender = Sender(bytes, portions: portions, seed: seed)
    signal(SIGPIPE, SIG_IGN)
    return (try StreamFeed(descriptor: sender.reading, SessionOptions()), sender)
  }

  /// Only one snapshot, so that its interval is everything.
  private func last(_ bytes: [UInt8], seed: UInt64 = 1) throws -> (Snapshot, StreamFeed) {
    let (feed, sender) = try feed(bytes, seed: seed)
    while !feed.isOver {
      feed.advance()
      if feed.isOver || feed.wait(milliseconds: 5000, wake: -1) { break }
    }
    withExtendedLifetime(sender) {}
    return (feed.snapshot(), feed)
  }

  @Test("counts what reading the same events at once counts", arguments: [0, 5, 13])
  func whole(sumsEvery: Int) throws {
    let made = try SimulatedRecorder(sumsEvery: sumsEvery).make()
    let (snapshot, feed) = try last(made.bytes)
    #expect(made.expected.total.exits == SimulatedRecorder.exits)
    #expect(made.expected.total.exits > 5000)
    let (a, b) = (figures(bare(made.expected)), figures(bare(snapshot)))
    let isSame = a == b
    #expect(isSame, "\(difference(a, b))")
    #expect(snapshot.stream == StreamState(source: .events, progress: .ended, lag: 0))
    #expect(snapshot.source.hostName?.contains("\u{1b}") == false)
    #expect(feed.damage.isEmpty)
  }

  @Test(
    "whose pipe leaves pages out has the same figures, from the recorder's sums",
    arguments: [
      [3..<4], [1..<9], [5..<6], [4..<17, 18..<19, 40..<41], [60..<101], [1..<101],
      [9..<11, 12..<14, 15..<17, 33..<48],
      [50..<51, 52..<53, 54..<55, 56..<57, 58..<59],
    ], [true, false])
  func gaps(gaps: [Range<Int>], sumsAreEarly: Bool) throws {
    for (sumsEvery, seesAhead) in sumsAreEarly ? [(5, false), (1, true)] : [(7, false), (3, true)] {
      let recorder = SimulatedRecorder(
        sumsEvery: sumsEvery, gaps: gaps, sumsAreEarly: sumsAreEarly, seesAhead: seesAhead)
      let made = try recorder.make()
      #expect(made.leftOut > 0)
      let (snapshot, feed) = try last(made.bytes, seed: UInt64(sumsEvery))
      let (a, b) = (figures(bare(made.expected)), figures(bare(snapshot)))
      let isSame = a == b
      #expect(isSame, "sums every \(sumsEvery): \(difference(a, b))")
      #expect(snapshot.stream?.source == .sumsForEvents)
      #expect(snapshot.losses.lost == 0 && snapshot.losses.uncounted == 0)
      let texts = feed.takeMessages().map(\.text)
      #expect(texts.contains { $0.hasPrefix("the pipe does not carry all events") })
      #expect(feed.damage.isEmpty)
    }
  }

  @Test("shows each exit in one interval and no other, whatever came as events and what as sums")
  func intervals() throws {
    for seed in 1...4 as ClosedRange<UInt64> {
      let made = try SimulatedRecorder(
        sumsEvery: 5, gaps: [7..<12, 23..<24, 50..<77], sumsAreEarly: seed % 2 == 0
      ).make()
      let sender = Sender(made.bytes, portions: 1...4000, seed: seed, pause: 500)
      let feed = try StreamFeed(descriptor: sender.reading, SessionOptions())
      var exits: UInt64 = 0
      var events: UInt64 = 0
      var handling: UInt64 = 0
      var seen: Set<StreamState.Source> = []
      var byReason: [String: UInt64] = [:]
      var byControl: [ControlID: UInt64] = [:]
      var sequence: UInt64 = 0
      var before: UInt64 = 0
      let end = follow(feed) { snapshot in
        guard snapshot.sequence != sequence else { return }
        sequence = snapshot.sequence
        #expect(snapshot.total.exits >= before)
        before = snapshot.total.exits
        exits += snapshot.total.intervalExits
        events += snapshot.intervalEvents
        for reason in snapshot.total.reasons {
          byReason[reason.name, default: 0] += reason.intervalCount
          handling += reason.intervalHandling
        }
        for control in snapshot.total.controls {
          byControl[control.control] = (byControl[control.control] ?? 0) &+ control.intervalCount
        }
        if let source = snapshot.stream?.source { seen.insert(source) }
      }
      #expect(exits == made.expected.total.exits)
      #expect(events == made.expected.events)
      #expect(handling == made.expected.total.reasons.reduce(0) { $0 + $1.handling.total })
      for reason in made.expected.total.reasons { #expect(byReason[reason.name] == reason.count) }
      for control in made.expected.total.controls { #expect(byControl[control.control] == control.count) }
      #expect(end.total.exits == made.expected.total.exits)
      #expect(end.total.time == made.expected.total.time)
      #expect(seen == [.events, .sumsForEvents])
      #expect(end.total.history.count > 3)
    }
  }

  @Test(
    "what came after a mark is all of it less what was shown then, whatever came as events and what as sums",
    arguments: [2, 6, 13, 30])
  func sinceMark(place: Int) throws {
    for seed in 1...4 as ClosedRange<UInt64> {
      let made = try SimulatedRecorder(
        sumsEvery: 5, gaps: [7..<12, 23..<24, 50..<77], sumsAreEarly: seed % 2 == 0
      ).make()
      let sender = Sender(made.bytes, portions: 1...4000, seed: seed, pause: 500)
      let feed = try StreamFeed(descriptor: sender.reading, SessionOptions())
      var sequence: UInt64 = 0
      var shown: Snapshot?
      var marks = 0
      func check(_ snapshot: Snapshot) throws {
        guard let shown, snapshot.sequence > shown.sequence else { return }
        let after = try #require(snapshot.sinceMark?.after)
        let before = try #require(snapshot.sinceMark?.before)
        #expect(before.sequence == shown.sequence)
        #expect(before.total.exits == shown.total.exits)
        #expect(shown.total.exits + after.total.exits == snapshot.total.exits)
        #expect(shown.events + after.events == snapshot.events)
        #expect(shown.windowNanoseconds + after.windowNanoseconds == snapshot.windowNanoseconds)
        for reason in snapshot.total.reasons {
          let old = shown.total.reasons.first { $0.isa == reason.isa && $0.code == reason.code }
          let new = after.total.reasons.first { $0.isa == reason.isa && $0.code == reason.code }
          #expect((old?.count ?? 0) + (new?.count ?? 0) == reason.count)
          #expect((old?.handling.total ?? 0) + (new?.handling.total ?? 0) == reason.handling.total)
          #expect((old?.handling.paired ?? 0) + (new?.handling.paired ?? 0) == reason.handling.paired)
        }
        for scope in after.scopes {
          #expect(scope.reasons.reduce(0) { $0 + $1.count } == scope.exits)
          #expect(scope.controls.reduce(0) { $0 + $1.count } == scope.exits)
        }
      }
      let end = follow(feed) { snapshot in
        guard snapshot.sequence != sequence else { return }
        sequence = snapshot.sequence
        marks += 1
        if marks == place {
          shown = snapshot
          #expect(feed.handle(.markBefore, interval: 1, say: { _, _ in }) == .done)
        }
        do { try check(snapshot) } catch { Issue.record(error) }
      }
      try check(end)
      #expect(end.total.exits == made.expected.total.exits)
      #expect(feed.handle(.forgetBefore, interval: 1, say: { _, _ in }) == .done)
    }
  }

  @Test("without sums says how many events are missing, CPU by CPU, and that figures lack them")
  func gapsWithoutSums() throws {
    let made = try SimulatedRecorder(sumsEvery: 0, gaps: [20..<31, 60..<64]).make()
    let sender = Sender(made.bytes, portions: 1...30_000, pause: 1000)
    let feed = try StreamFeed(descriptor: sender.reading, SessionOptions())
    var seen: Set<StreamState.Source> = []
    let end = follow(feed) { snapshot in
      if let source = snapshot.stream?.source { seen.insert(source) }
    }
    #expect(end.losses.lost == made.leftOut)
    #expect(end.losses.perCPU.reduce(0) { $0 + $1.lost } == made.leftOut)
    #expect(end.events + made.leftOut == made.expected.events)
    #expect(seen.contains(.incomplete))
  }

  @Test("goes on from sums that some are missing before, and says that something is")
  func missingSums() throws {
    // In the midst of a gap.
    let inGap = try SimulatedRecorder(sumsEvery: 5, gaps: [22..<48], missingSums: [35]).make()
    let (partial, _) = try last(inGap.bytes)
    #expect(partial.losses.uncounted > 0)
    #expect(partial.total.exits < inGap.expected.total.exits)
    #expect(partial.total.exits > inGap.expected.total.exits / 2)
    // Before it: what pages told is what later sums add to.
    let before = try SimulatedRecorder(sumsEvery: 5, gaps: [52..<68], missingSums: [15, 20]).make()
    let (whole, _) = try last(before.bytes)
    let (a, b) = (figures(bare(before.expected)), figures(bare(whole)))
    let isSame = a == b
    #expect(isSame, "\(difference(a, b))")
  }

  @Test("of a summary has the figures without a single page")
  func summary() throws {
    let made = try SimulatedRecorder(sumsEvery: 4, level: .summary).make()
    let (snapshot, feed) = try last(made.bytes)
    let (a, b) = (figures(bare(made.expected)), figures(bare(snapshot)))
    let isSame = a == b
    #expect(isSame, "\(difference(a, b))")
    #expect(snapshot.stream == StreamState(source: .sums, progress: .ended, lag: 0))
    #expect(feed.damage.isEmpty)
  }

  @Test("counts the same in whatever portions it comes", arguments: [1...1, 1...7, 50...60, 4000...5000])
  func portions(portions: ClosedRange<Int>) throws {
    let bytes = try fixture("recording-1/no-vmx-host.vmctop")
    let path = root.appendingPathComponent("Tests/Fixtures/recording-1/no-vmx-host.vmctop").path
    let file = try Session(.file(path: path)).readAll()
    let (feed, sender) = try feed(bytes, portions: portions)
    let end = follow(feed)
    withExtendedLifetime(sender) {}
    #expect(file.events > 0)
    #expect(end.events == file.events)
    #expect(end.total.exits == file.total.exits)
    #expect(end.eventCounts.map(\.name) == file.eventCounts.map(\.name))
    #expect(end.eventCounts.map(\.count) == file.eventCounts.map(\.count))
    #expect(end.losses.lost == file.losses.lost)
    #expect(end.source.hostName == file.source.hostName && end.source.kernelRelease == file.source.kernelRelease)
    #expect(end.stream?.progress == .ended)
  }

  @Test("cut off anywhere shows what all CPUs had told by then, and says that it is cut off")
  func cutOff() throws {
    let made = try SimulatedRecorder(sumsEvery: 5, gaps: [41..<44]).make()
    let whole = made.bytes
    var dice = Dice(seed: 5)
    var exits: [(length: Int, exits: UInt64)] = []
    for _ in 0..<25 {
      let length = Int.random(in: 5000..<whole.count, using: &dice)
      guard let (snapshot, feed) = try? last(Array(whole[..<length])) else { continue }
      #expect(snapshot.stream?.progress == .cutOff)
      #expect(feed.damage.first?.hasPrefix("the stream is cut off") == true)
      #expect(snapshot.total.controls.reduce(0) { $0 + $1.count } == snapshot.total.exits)
      exits.append((length, snapshot.total.exits))
    }
    #expect(exits.count > 10)
    exits.sort { $0.length < $1.length }
    for (earlier, later) in zip(exits, exits.dropFirst()) { #expect(earlier.exits <= later.exits) }
    #expect(exits.allSatisfy { $0.exits <= made.expected.total.exits })
  }

  @Test("with flipped bytes never shows a count that is too high, nor one that is too low as whole")
  func flipped() throws {
    for sumsEvery in [0, 5] {
      let made = try SimulatedRecorder(steps: 40, sumsEvery: sumsEvery, gaps: [20..<24]).make()
      let names = Dictionary(
        made.expected.eventCounts.map { ($0.name, $0.count) }, uniquingKeysWith: { $1 })
      var dice = Dice(seed: 99 + UInt64(sumsEvery))
      for round in 0..<25 {
        var bytes = made.bytes
        for _ in 0...(round % 4) {
          bytes[Int.random(in: 0..<bytes.count, using: &dice)] ^= UInt8(1 << Int.random(in: 0..<8, using: &dice))
        }
        guard let (snapshot, feed) = try? last(bytes, seed: UInt64(round)) else { continue }
        #expect(snapshot.total.exits <= made.expected.total.exits, "round \(round)")
        for event in snapshot.eventCounts { #expect(event.count <= names[event.name] ?? 0, "round \(round)") }
        let isLow = snapshot.total.exits + (sumsEvery == 0 ? made.leftOut : 0) < made.expected.total.exits
        let isTold = !feed.damage.isEmpty && (snapshot.losses.lost > 0 || snapshot.losses.uncounted > 0)
        #expect(!isLow || isTold || snapshot.stream?.progress == .cutOff, "round \(round)")
      }
    }
  }

  @Test("that is none is told in a line: nothing, garbage, a recording of a later version")
  func none() throws {
    func error(_ bytes: [UInt8]) -> SessionError? {
      do {
        _ = try feed(bytes)
        return nil
      } catch { return error as? SessionError }
    }
    #expect(error([])?.kind == .damaged)
    #expect(error(Array("hello\n".utf8))?.kind == .damaged)
    #expect(error([UInt8](repeating: 0xd7, count: 3 << 20))?.kind == .damaged)
    var later = RecordingPrefix.encoded()
    later[8] = 9
    let checksum = later[..<12].withUnsafeBytes { crc32c($0) }
    later.replaceSubrange(12..., with: [UInt8](littleEndian: checksum))
    #expect(error(later)?.kind == .unsupported)
  }

  @Test("that does not begin is waited for until somebody wants to leave")
  func waiting() throws {
    var ends: [Int32] = [-1, -1]
    #expect(pipe(&ends) == 0)
    defer { for end in ends { close(end) } }
    let bell = Doorbell()
    bell.ring()
    #expect(throws: SessionError.self) {
      try StreamFeed(descriptor: ends[0], SessionOptions(), wake: bell.reading)
    }
  }

  @Test("is not read any further while nobody takes it, so that its memory has a bound")
  func bounded() throws {
    // One chunk of a kind that nobody knows, over and over.
    var chunks = Chunks()
    chunks.add(RecordingHeader(), first: 0)
    let made = try SimulatedRecorder(steps: 2, sumsEvery: 0).make()
    let reading: Int32
    var ends: [Int32] = [-1, -1]
    #expect(pipe(&ends) == 0)
    reading = ends[0]
    defer { close(reading) }
    _ = fcntl(ends[1], F_SETFL, O_NONBLOCK)
    signal(SIGPIPE, SIG_IGN)
    let reader = try StreamReader(descriptor: reading)
    defer { reader.stop() }
    var bytes = made.bytes
    for number in 0..<80 {
      let payload = [UInt8](repeating: UInt8(number), count: 1 << 20)
      let header = ChunkHeader(
        kind: ChunkKind(rawValue: 999), storedLength: 1 << 20, rawLength: 1 << 20, recording: 77,
        sequence: 10_000 + UInt32(number), payloadChecksum: payload.withUnsafeBytes { crc32c($0) })
      bytes += header.encoded + payload
    }
    var place = 0
    var idle = 0
    while place < bytes.count, idle < 300 {
      let count = bytes[place...].withUnsafeBytes { write(ends[1], $0.baseAddress, min($0.count, 65536)) }
      if count > 0 {
        place += count
        idle = 0
      } else {
        idle += 1
        usleep(1000)
      }
    }
    #expect(place < StreamReader.limit + (4 << 20) + made.bytes.count, "the pipe is full")
    // Once it is taken, it goes on.
    var taken = 0
    let limit = Date().addingTimeInterval(20)
    while place < bytes.count || taken < 80, Date() < limit {
      for item in reader.take() {
        if case .chunk(let header, _, _, _) = item, header.kind.rawValue == 999 { taken += 1 }
      }
      guard place < bytes.count else { continue }
      let count = bytes[place...].withUnsafeBytes { write(ends[1], $0.baseAddress, min($0.count, 65536)) }
      if count > 0 { place += count }
    }
    close(ends[1])
    #expect(taken == 80)
  }
}

/// True if a guest of a few instructions runs here and we may trace it.
private let canRunGuest: Bool = {
  guard getuid() == 0, let root = try? TracefsRoot.find(), root.hasKVMEvents else { return false }
  return tinyguest_run(1).error == 0
}()

@Suite("A stream from a recorder", .serialized, .enabled(if: canRunGuest, "needs root, tracefs and a usable /dev/kvm"))
struct LiveStreamTests {
  private func makePipe() -> (reading: Int32, writing: Int32) {
    var ends: [Int32] = [-1, -1]
    #expect(pipe(&ends) == 0)
    signal(SIGPIPE, SIG_IGN)
    return (ends[0], ends[1])
  }

  @Test("has every event that was traced") func everyEvent() throws {
    let ends = makePipe()
    let recorder = try Recorder(
      RecorderOptions(live: LiveOptions(events: .full), target: .stream(descriptor: ends.writing)))
    let done = DispatchSemaphore(value: 0)
    nonisolated(unsafe) var progress = RecorderProgress()
    nonisolated(unsafe) let moved = recorder
    nonisolated(unsafe) var guest = tinyguest_result()
    let guestEnded = DispatchSemaphore(value: 0)
    Thread.detachNewThread {
      guest = tinyguest_run(60_000)
      guestEnded.signal()
    }
    Thread.detachNewThread {
      _ = moved.run(seconds: 60, isOver: { guestEnded.wait(timeout: .now()) == .success })
      progress = moved.finish()
      close(ends.writing)
      done.signal()
    }
    let feed = try StreamFeed(descriptor: ends.reading, SessionOptions())
    var running = 0
    let end = follow(feed) { snapshot in
      if snapshot.stream?.progress == .running { running += 1 }
      if let monotonic = snapshot.monotonic, snapshot.stream?.progress == .running {
        #expect(monotonicNanoseconds() &- monotonic < 5_000_000_000)
      }
    }
    done.wait()
    close(ends.reading)
    #expect(guest.outs == 60_000)
    #expect(running > 0)
    #expect(end.stream?.progress == .ended)
    #expect(end.events == progress.events)
    #expect(end.events > 60_000)
    #expect(end.losses.lost == progress.lost)
    #expect(feed.damage.isEmpty)
  }

  @Test("through a pipe too slow for all of them has every event in its figures, and the sampler loses none")
  func slowPipe() throws {
    let ends = makePipe()
    let slow = makePipe()
    var options = RecorderOptions(live: LiveOptions(events: .full), target: .stream(descriptor: ends.writing))
    options.interval = 0.2
    options.writing.queueLimit = 256 << 10
    options.writing.compression = .none
    let recorder = try Recorder(options)
    let done = DispatchSemaphore(value: 0)
    let isStopped = Atomic(false)
    nonisolated(unsafe) var progress = RecorderProgress()
    nonisolated(unsafe) let moved = recorder
    let guestEnded = DispatchSemaphore(value: 0)
    Thread.detachNewThread {
      while !isStopped.load(ordering: .relaxed) {
        _ = tinyguest_run(2000)
        usleep(20_000)
      }
      guestEnded.signal()
    }
    Thread.detachNewThread {
      _ = moved.run(seconds: 4)
      isStopped.store(true, ordering: .relaxed)
      progress = moved.finish()
      close(ends.writing)
      done.signal()
    }
    // A fifth of a megabyte a second, and all of it at the end.
    Thread.detachNewThread {
      var buffer = [UInt8](repeating: 0, count: 8192)
      while true {
        let count = read(ends.reading, &buffer, buffer.count)
        guard count > 0, write(slow.writing, &buffer, count) == count else { break }
        if !isStopped.load(ordering: .relaxed) { usleep(40_000) }
      }
      close(slow.writing)
    }
    let feed = try StreamFeed(descriptor: slow.reading, SessionOptions())
    var seen: Set<StreamState.Source> = []
    var events: UInt64 = 0
    var sequence: UInt64 = 0
    let end = follow(feed) { snapshot in
      guard snapshot.sequence != sequence else { return }
      sequence = snapshot.sequence
      events += snapshot.intervalEvents
      if let source = snapshot.stream?.source { seen.insert(source) }
    }
    if sequence != end.sequence { events += end.intervalEvents }
    done.wait()
    guestEnded.wait()
    for end in [ends.reading, slow.reading] { close(end) }
    #expect(progress.lost == 0)
    #expect(progress.writing.dropped > 0)
    #expect(seen.contains(.sumsForEvents))
    #expect(!seen.contains(.incomplete))
    #expect(end.stream?.progress == .ended)
    #expect(end.events == progress.events)
    #expect(events == progress.events)
    #expect(end.losses.lost == 0 && end.losses.uncounted == 0)
    #expect(feed.damage.isEmpty)
  }

  @Test("ends in peace for the recorder when we leave") func leaving() throws {
    let ends = makePipe()
    let recorder = try Recorder(RecorderOptions(target: .stream(descriptor: ends.writing)))
    let done = DispatchSemaphore(value: 0)
    nonisolated(unsafe) var ending = Recorder.Ending.timeIsOver
    nonisolated(unsafe) var progress = RecorderProgress()
    nonisolated(unsafe) let moved = recorder
    Thread.detachNewThread {
      ending = moved.run(seconds: 60)
      progress = moved.finish()
      close(ends.writing)
      done.signal()
    }
    let feed = try StreamFeed(descriptor: ends.reading, SessionOptions())
    feed.advance()
    feed.close()
    close(ends.reading)
    #expect(done.wait(timeout: .now() + 20) == .success)
    #expect(ending == .readerLeft)
    #expect(progress.writing.failure == nil && progress.writing.hasReaderLeft)
  }
}
