import Architecture
import Foundation
import Recording
import SnapshotSupport
import Testing
import TraceFormat

@testable import Aggregator
@testable import Session

private let demo = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent().appendingPathComponent("Sources/CDemo/demo.trace.dat").path

/// A recording of ours with the events of the bundled trace, and what is said to be known beside them.
private struct StoredRecording {
  /// Of intervals, in order; sixteen of a level are one of the next.
  var sums: [(level: Int, start: UInt64, end: UInt64, bytes: [UInt8])] = []
  var notes: [TimelineNote] = []
  /// CLOCK_REALTIME at the first event.
  var wallClock: UInt64?

  /// Written to a file, and opened again.
  func opened() throws -> RecordedSource {
    let trace = try TraceFile(path: demo)
    let first = try #require(trace.timeBounds()).first
    var header = RecordingHeader()
    header.headerPage = trace.texts.headerPage
    header.headerEvent = trace.texts.headerEvent
    header.formats = trace.texts.formats
    header.startedAt = first
    let path = NSTemporaryDirectory() + "vmctop-timeline-\(UUID().uuidString).vmctop"
    // An open file stays readable.
    defer { try? FileManager.default.removeItem(atPath: path) }
    let writer = try RecordingWriter(to: .file(path: path), header: header)
    var collector = PageCollector(layout: trace.metadata.page)
    for (stream, name) in trace.streams.enumerated() {
      while let page = trace.nextPage(stream: stream) {
        if let block = collector.add(page, cpu: UInt32(name.cpu), now: 0) { writer.write(block, force: true) }
      }
    }
    for block in collector.take(olderThan: 0, now: 0) { writer.write(block, force: true) }
    for sums in sums {
      while !writer.write(sums: sums.bytes, level: UInt32(sums.level), first: sums.start, last: sums.end) {
        usleep(1000)
      }
    }
    writer.write(ThreadNamesRecord(names: trace.metadata.commandNames), first: first)
    for note in notes {
      switch note.content {
      case .words(let words): writer.write(WordsRecord(words: words), first: note.time)
      case .host(let host): writer.write(host, first: note.time)
      }
    }
    if let wallClock { writer.write(ClockRecord(trace: first, realtime: wallClock, monotonic: first), first: first) }
    let progress = writer.finish()
    #expect(progress.dropped == 0)
    return RecordedSource(try RecordedEvents(path: path), path: path, SessionOptions())
  }
}

@Suite("The time line of a recording")
struct TimelineTests {
  private func source() throws -> RecordedSource {
    RecordedSource(try TraceFile(path: demo), path: demo, SessionOptions())
  }

  /// The times of all exits, in order, with their reasons.
  private func exits(_ path: String = demo) throws -> [(time: UInt64, code: UInt32)] {
    let file = try TraceFile(path: path)
    let exit = try #require(file.metadata.formats.first { $0.name == "kvm_exit" })
    let reason = try #require(exit.field("exit_reason"))
    var exits: [(UInt64, UInt32)] = []
    for stream in file.streams.indices {
      while let page = file.nextPage(stream: stream) {
        var cursor = SubBufferCursor(page: page, layout: file.metadata.page)
        while cursor.next() {
          guard cursor.payload.loadUnaligned(as: UInt16.self) == exit.id else { continue }
          exits.append(
            (
              cursor.timestamp,
              cursor.payload.loadUnaligned(fromByteOffset: reason.offset, as: UInt32.self) & 0xffff
            ))
        }
      }
    }
    return exits.sorted { $0.0 < $1.0 }
  }

  private static let options = AggregatorOptions()

  /// Snapshots at several places, by playing up to each of them.
  private func expectSameAsPlayed(
    _ source: RecordedSource, _ timeline: Timeline, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let played = try #require(source.reopen())
    var counter = try Counter(metadata: source.metadata, options: Self.options)
    let head = try ReplayCursor(try #require(source.reopen()), timeline, Self.options)
    let (first, last) = timeline.bounds
    let length = (last - first) / 40
    var before: UInt64 = 0
    // Forward in one go; the time line's head comes to each place from elsewhere.
    for part in [2, 9, 17, 25, 40] as [UInt64] {
      let end = first + part * length
      counter.engine.run(played, after: before, through: end - length)
      counter.beginInterval(at: end - length)
      counter.engine.run(played, after: end - length, through: end)
      before = end
      let expected = counter.snapshot(now: end, start: first, commandNames: source.metadata.commandNames)
      head.move(to: part == 9 ? 5 : last)
      head.move(to: end - length)
      head.beginInterval(at: end - length)
      head.move(to: end)
      let (a, b) = (figures(expected), figures(head.snapshot(now: end, start: first)))
      #expect(a == b, "at \(part): \(difference(a, b))", sourceLocation: sourceLocation)
    }
  }

  @Test("shows every place as playing up to it does, figure by figure", arguments: [16 << 20, 64 << 10])
  func places(largestInterval: Int) throws {
    let source = try source()
    let bounds = try #require(source.timeBounds())
    let timeline = Timeline(source, bounds: bounds, Self.options, largestInterval: largestInterval)
    timeline.build(source)
    #expect(timeline.progress.isComplete)
    try expectSameAsPlayed(source, timeline)
  }

  @Test("stays in its bounds of memory by taking neighbours together, and is as exact then")
  func bounded() throws {
    let source = try source()
    let bounds = try #require(source.timeBounds())
    let timeline = Timeline(source, bounds: bounds, Self.options, mostBytes: 60_000)
    timeline.build(source)
    var nodes = 0
    var start: UInt64 = 0
    while let node = timeline.nextNode(after: start, through: .max) {
      (start, nodes) = (node.start, nodes + 1)
    }
    #expect((3...200).contains(nodes))
    try expectSameAsPlayed(source, timeline)
  }

  @Test("is used as far as it goes while it is still being built")
  func unfinished() throws {
    let source = try source()
    let bounds = try #require(source.timeBounds())
    let timeline = Timeline(source, bounds: bounds, Self.options)
    let own = try #require(source.reopen())
    timeline.start(own)
    let head = try ReplayCursor(source, timeline, Self.options)
    let expected = try exits()
    // Whatever is there when it is asked.
    for part in [9, 3, 7, 1, 8] as [UInt64] {
      let moment = bounds.first + (bounds.last - bounds.first) / 10 * part
      head.move(to: moment)
      #expect(
        head.snapshot(now: moment, start: bounds.first).total.exits
          == UInt64(expected.prefix { $0.time <= moment }.count))
    }
    timeline.stop()
  }

  /// The bundled recording with sums of sixty intervals, of sixteen of them, and of sixteen of those.
  ///
  /// - Parameter mark: changes the sums of a level before they are stored.
  private func stored(
    notes: [TimelineNote] = [], mark: (_ level: Int, inout IntervalCounts) -> Void = { _, _ in }
  ) throws -> StoredRecording {
    let source = try StoredRecording(notes: notes).opened()
    let bounds = try #require(source.timeBounds())
    var aggregator = try Aggregator(metadata: source.metadata)
    var levels: [[IntervalCounts]] = [[], [], []]
    var before: UInt64 = 0
    for part in 1...60 as ClosedRange<UInt64> {
      let end = part == 60 ? bounds.last : bounds.first + (bounds.last - bounds.first) / 60 * part
      aggregator.run(source, after: before, through: end)
      levels[0].append(aggregator.cut(at: end))
      before = end
    }
    for level in 1...2 {
      for place in stride(from: 0, to: levels[level - 1].count / 16 * 16, by: 16) {
        var sums = levels[level - 1][place]
        for next in levels[level - 1][place + 1..<place + 16] { sums.merge(next) }
        levels[level].append(sums)
      }
    }
    var recording = StoredRecording(notes: notes)
    for (level, all) in levels.enumerated() {
      for var sums in all {
        mark(level, &sums)
        recording.sums.append((level, sums.start, sums.end, sums.bytes(open: level == 0)))
      }
    }
    return recording
  }

  @Test("takes the sums that a recording has, the largest that fit")
  func storedIntervals() throws {
    let source = try stored().opened()
    let bounds = try #require(source.timeBounds())
    try expectSameAsPlayed(source, Timeline(source, bounds: bounds, Self.options))
    // Malformed records are a figure like any other: here they tell which sums were taken.
    let marked = try stored { $1.malformed += $0 == 0 ? 1 : 1000 }.opened()
    let head = try ReplayCursor(marked, Timeline(marked, bounds: bounds, Self.options), Self.options)
    head.move(to: bounds.last - 1000)
    let taken = head.snapshot(now: bounds.last - 1000, start: bounds.first).malformedRecords
    #expect(taken / 1000 == 3, "48 of the 59 intervals")
    #expect(taken % 1000 == 11)
  }

  @Test("counts the events where sums are damaged or missing", arguments: [0, 1, 2])
  func damagedSums(kind: Int) throws {
    var recording = try stored()
    switch kind {
    case 0:  // Bytes that are no sums, at both levels.
      for index in [3, 15, 16, 40, 61] { recording.sums[index].bytes[20] = 0xff }
    case 1:  // A hole, and no beginning.
      recording.sums.removeSubrange(20..<26)
      recording.sums.removeSubrange(0..<4)
    default:  // What was open is not told.
      for index in 14..<18 {
        recording.sums[index].bytes = try IntervalCounts(bytes: recording.sums[index].bytes).bytes(open: false)
      }
    }
    let source = try recording.opened()
    let bounds = try #require(source.timeBounds())
    try expectSameAsPlayed(source, Timeline(source, bounds: bounds, Self.options))
  }

  @Test("a part of it counts what lies between its ends, to the exit")
  func ranges() throws {
    let feed = try RecordingFeed(source(), SessionOptions())
    let expected = try exits()
    let first = try #require(try source().timeBounds()).first
    let duration = feed.duration
    for isSummedUp in [false, true] {
      if isSummedUp { feed.startTimeline() }
      while isSummedUp, feed.summedUp < duration { usleep(10_000) }
      for range in [0..<duration, 0..<duration / 3, duration / 3..<duration / 2, duration / 2..<duration, 5..<5] {
        let snapshot = try #require(feed.count(range))
        let inside = expected.filter {
          ($0.time - first > range.lowerBound || range.lowerBound == 0) && $0.time - first <= range.upperBound
        }
        #expect(snapshot.total.exits == UInt64(inside.count))
        #expect(snapshot.total.controls.reduce(0) { $0 + $1.count } == snapshot.total.exits)
        #expect(snapshot.windowNanoseconds == range.upperBound - range.lowerBound)
        for reason in snapshot.total.reasons {
          #expect(reason.count == UInt64(inside.count { $0.code == reason.code }))
        }
      }
    }
    feed.close()
  }

  @Test("what came after a place is what counting it alone says, figure by figure, whichever way it was gone")
  func sinceMark() throws {
    for isSummedUp in [false, true] {
      let feed = try RecordingFeed(source(), SessionOptions())
      defer { feed.close() }
      let duration = feed.duration
      if isSummedUp { feed.startTimeline() }
      while isSummedUp, feed.summedUp < duration { usleep(10_000) }
      func ask(_ command: SessionCommand) {
        #expect(feed.handle(command, interval: 50_000_000) { _, _ in } == .changed)
      }
      func place(_ tenth: UInt64) -> UInt64 { tenth == 10 ? duration : duration / 10 * tenth }
      func expectAfter(_ mark: UInt64, _ comment: Comment, isPlayed: Bool = false) throws {
        let snapshot = feed.snapshot()
        let counted = try #require(feed.count(mark..<feed.position))
        var after = try #require(snapshot.sinceMark?.after, comment)
        // The last interval of a part alone is all of it; what else there is to a moment is the whole snapshot's.
        (after.intervalNanoseconds, after.intervalEvents) = (counted.intervalNanoseconds, counted.intervalEvents)
        let (a, b) = (totals(counted), totals(after))
        #expect(a == b, "\(comment): \(difference(a, b))")
        #expect(after.total.exits > 0)
        let before = try #require(snapshot.sinceMark?.before)
        #expect(before.total.exits + after.total.exits == snapshot.total.exits)
        #expect(before.playback?.position == mark)
      }
      ask(.seek(place(3)))
      ask(.markBefore)
      #expect(feed.snapshot().sinceMark?.before.total.exits == feed.snapshot().total.exits)
      #expect(feed.snapshot().sinceMark?.after == nil, "nothing was counted since")
      for tenth in [4, 9, 5, 10, 7, 4] as [UInt64] {
        ask(.seek(place(tenth)))
        try expectAfter(place(3), "at \(tenth)")
      }
      ask(.seek(place(3) + 10_000_000))
      try expectAfter(place(3), "a bit after it")
      for tenth in [2, 0] as [UInt64] {
        ask(.seek(place(tenth)))
        #expect(feed.snapshot().sinceMark?.after?.windowNanoseconds ?? 0 == 0)
        #expect(feed.snapshot().sinceMark?.before.playback?.position == place(3))
      }
      feed.playOn(to: place(6))
      try expectAfter(place(3), "played")
      _ = feed.snapshot()
      feed.playOn(to: place(7))
      try expectAfter(place(3), "played on")
      // Where it was played on since, what was shown is the before.
      feed.playOn(to: place(8))
      ask(.markBefore)
      try expectAfter(place(7), "marked while it plays")
      ask(.seek(duration))
      ask(.markBefore)
      ask(.seek(place(2)))
      #expect(feed.snapshot().sinceMark?.after == nil)
      ask(.seek(duration))
      #expect(feed.snapshot().sinceMark?.after?.total.exits ?? 0 == 0)
      ask(.forgetBefore)
      #expect(feed.snapshot().sinceMark == nil)
      ask(.seek(place(5)))
      #expect(feed.snapshot().sinceMark == nil)
    }
  }

  /// Figures without those of the last interval.
  private func totals(_ snapshot: Snapshot) -> String {
    var snapshot = snapshot
    snapshot.source = SourceDescription()
    snapshot.controlWords = [:]
    snapshot.states = [:]
    snapshot.hostControls = nil
    snapshot.monotonic = nil
    snapshot.stateFailure = nil
    snapshot.playback = nil
    snapshot.losses.intervalLost = 0
    for cpu in snapshot.losses.perCPU.indices { snapshot.losses.perCPU[cpu].intervalLost = 0 }
    for event in snapshot.eventCounts.indices { snapshot.eventCounts[event].intervalCount = 0 }
    for scope in snapshot.scopes.indices {
      snapshot.scopes[scope].intervalExits = 0
      snapshot.scopes[scope].intervalTime = TimeSplit()
      for row in snapshot.scopes[scope].controls.indices {
        snapshot.scopes[scope].controls[row].figures.interval = ExitCounts()
      }
      for row in snapshot.scopes[scope].reasons.indices {
        snapshot.scopes[scope].reasons[row].figures.interval = ExitCounts()
        for charge in snapshot.scopes[scope].reasons[row].charges.indices {
          snapshot.scopes[scope].reasons[row].charges[charge].figures.interval = ExitCounts()
        }
      }
      for row in snapshot.scopes[scope].settings.indices {
        snapshot.scopes[scope].settings[row].figures.interval = ExitCounts()
        for reason in snapshot.scopes[scope].settings[row].reasons.indices {
          snapshot.scopes[scope].settings[row].reasons[reason].figures.interval = ExitCounts()
        }
        for control in snapshot.scopes[scope].settings[row].controls.indices {
          snapshot.scopes[scope].settings[row].controls[control].figures.interval = ExitCounts()
        }
      }
    }
    return figures(snapshot)
  }

  @Test("a part of it is what is shown, until it is given up")
  func shownRange() throws {
    let feed = try RecordingFeed(source(), SessionOptions())
    feed.seek(to: feed.duration / 2, interval: 50_000_000)
    let before = feed.snapshot()
    feed.setRange(from: feed.duration / 2, to: feed.duration / 4)
    let shown = feed.snapshot()
    #expect(shown.playback?.range == feed.duration / 4..<feed.duration / 2)
    #expect(shown.playback?.position == before.playback?.position)
    #expect(shown.total.exits < before.total.exits)
    #expect(shown.windowNanoseconds == feed.duration / 2 - feed.duration / 4)
    feed.clearRange()
    #expect(feed.snapshot().total.exits == before.total.exits)
    #expect(feed.snapshot().playback?.range == nil)
  }

  @Test("its course has every exit, and says what is not read yet")
  func rateTimeline() throws {
    let source = try source()
    let bounds = try #require(source.timeBounds())
    let timeline = Timeline(source, bounds: bounds, Self.options)
    #expect(timeline.rateTimeline(buckets: 10).rates == [Double?](repeating: nil, count: 10))
    timeline.build(source)
    let rateTimeline = timeline.rateTimeline(buckets: 50)
    #expect(rateTimeline.rates.count == 50)
    #expect(rateTimeline.known == timeline.duration)
    let width = Double(timeline.duration) / 1e9 / 50
    let sum = rateTimeline.rates.reduce(0) { $0 + ($1 ?? .nan) * width }
    #expect(abs(sum - 109_437) < 1)
    // Each bucket within what its edges may have been shared out wrongly.
    let times = try exits().map { Double($0.time - bounds.first) / 1e9 }
    for (index, rate) in rateTimeline.rates.enumerated() {
      let real = times.count { $0 > Double(index) * width && $0 <= Double(index + 1) * width }
      #expect(abs((rate ?? 0) * width - Double(real)) < 400)
    }
  }

  @Test("finds the next exit and the one before, of any reason or of one", arguments: [false, true])
  func steps(isSummedUp: Bool) throws {
    let source = try source()
    let bounds = try #require(source.timeBounds())
    let timeline = Timeline(source, bounds: bounds, Self.options)
    if isSummedUp { timeline.build(source) }
    let search = try #require(ExitSearch(source, timeline, Self.options))
    let expected = try exits()
    let rarest = try #require(
      Dictionary(grouping: expected, by: \.code).min { ($0.value.count, $0.key) < ($1.value.count, $1.key) })
    for code in [nil, 12, 30, rarest.key, 77] as [UInt32?] {
      let all = expected.filter { code == nil || $0.code == code }
      let reason = code.map { ReasonCode(isa: 1, code: $0) }
      for part in [0, 3, 6] as [UInt64] {
        let moment = bounds.first + (bounds.last - bounds.first) / 6 * part
        #expect(search.exit(reason, from: moment, forward: true) == all.first { $0.time > moment }?.time)
        #expect(search.exit(reason, from: moment, forward: false) == all.last { $0.time < moment }?.time)
      }
      if let exit = all.dropFirst(all.count / 2).first {
        #expect(
          search.exit(reason, from: exit.time, forward: true) == all.first { $0.time > exit.time }?.time)
        #expect(
          search.exit(reason, from: exit.time, forward: false) == all.last { $0.time < exit.time }?.time)
      }
    }
  }

  @Test("stepping goes exit by exit, forward and back, and to the end and from it")
  func stepping() throws {
    let feed = try RecordingFeed(source(), SessionOptions())
    feed.seek(to: 400_000_000, interval: 50_000_000)
    let before = feed.snapshot().total.exits
    for step in 1...3 as ClosedRange<UInt64> {
      feed.stepExit(1, interval: 50_000_000)
      #expect(feed.snapshot().total.exits == before + step)
    }
    feed.stepExit(-2, interval: 50_000_000)
    #expect(feed.snapshot().total.exits == before + 1)
    feed.seek(to: feed.duration, interval: 50_000_000)
    #expect(feed.isFinished)
    feed.stepExit(-1, interval: 50_000_000)
    let last = feed.snapshot()
    feed.stepExit(-1, interval: 50_000_000)
    #expect(feed.snapshot().total.exits < last.total.exits)
    feed.seekToExit(ReasonCode(isa: 1, code: 77), forward: true, interval: 50_000_000)
    #expect(feed.takeMessages().last?.text == "no such exit after this")
  }

  /// HLT_EXITING on, and off.
  private static let on = ControlSetting(pin: 0x3f, primary: 0xb5a0_6dfa, secondary: 0x0210_17ea)
  private static let off = ControlSetting(pin: 0x3f, primary: 0xb5a0_6d7a, secondary: 0x0210_17ea)

  @Test("control words and VMs that a recording has are told at their time, and the changes can be gone to")
  func notes() throws {
    let first = try #require(try source().timeBounds()).first
    func host(_ pids: [Int32]) -> HostView {
      HostView(vms: pids.map { HostVM(pid: $0, name: "vm\($0)", vcpus: [.init(id: 0, tid: 117 + $0 - 1)]) })
    }
    let notes = [
      TimelineNote(time: first + 1, content: .host(host([1]))),
      TimelineNote(time: first + 10_000_000, content: .words([117: Self.on])),
      TimelineNote(time: first + 300_000_000, content: .words([117: Self.off])),
      TimelineNote(time: first + 400_000_000, content: .host(host([1, 2]))),
      TimelineNote(time: first + 500_000_000, content: .words([117: Self.on])),
      TimelineNote(time: first + 600_000_000, content: .host(host([1]))),
    ]
    let hlt = try #require(ControlID(word: .primary, bit: 7))
    let mwait = try #require(ControlID(word: .primary, bit: 10))
    for hasSums in [false, true] {
      let source = try (hasSums ? stored(notes: notes) : StoredRecording(notes: notes)).opened()
      let bounds = try #require(source.timeBounds())
      let timeline = Timeline(source, bounds: bounds, Self.options)
      timeline.build(source)
      try expectSameAsPlayed(source, timeline)
      #expect(timeline.change(of: hlt, from: first, forward: true) == first + 300_000_000)
      #expect(timeline.change(of: hlt, from: first + 300_000_000, forward: true) == first + 500_000_000)
      #expect(timeline.change(of: nil, from: first + 500_000_000, forward: false) == first + 300_000_000)
      #expect(timeline.change(of: mwait, from: first, forward: true) == nil)
      let marks = timeline.rateTimeline(buckets: 100).marks
      #expect(
        marks == [
          .init(position: 300_000_000, mark: .settingChanged(thread: 117)),
          .init(position: 400_000_000, mark: .vmStarted(pid: 2, name: "vm2")),
          .init(position: 500_000_000, mark: .settingChanged(thread: 117)),
          .init(position: 600_000_000, mark: .vmEnded(pid: 2, name: "vm2")),
        ])
      let feed = try RecordingFeed(source, SessionOptions())
      let part = try #require(feed.count(300_000_000..<450_000_000))
      #expect(part.total.settings.map { part.description($0.setting)?.words } == [Self.off])
      #expect(part.vms.first { $0.pid == 1 }?.name == "vm1")
    }
  }

  @Test("a moment of the day is gone to where the recording tells the time")
  func wallClock() throws {
    let source = try StoredRecording(wallClock: 1_700_000_000_000_000_000).opened()
    let feed = try RecordingFeed(source, SessionOptions())
    feed.seek(toWallClock: 1_700_000_000_200_000_000, interval: 50_000_000)
    #expect(feed.snapshot().playback?.position == 200_000_000)
    #expect(feed.snapshot().playback?.wallClock == 1_700_000_000_000_000_000)
    feed.seek(toWallClock: 5, interval: 50_000_000)
    #expect(feed.position == 0)
  }

  @Test("a session's thread does as it is told: a range, an exit, a moment of the day")
  func commands() throws {
    let bell = Doorbell()
    let session = try Session(.file(path: demo))
    session.interval = 0.1
    nonisolated(unsafe) let moved = session
    let running = RunningSession(moved, wake: bell)
    defer { running.stop() }
    func next(_ condition: (Snapshot) -> Bool) -> Snapshot? {
      let began = Date()
      while Date().timeIntervalSince(began) < 120 {
        if let snapshot = running.takeLatest(), condition(snapshot) { return snapshot }
        usleep(5000)
      }
      return nil
    }
    running.perform(.setPaused(true))
    running.perform(.setRange(from: 100_000_000, to: 200_000_000))
    let range = next { $0.playback?.range != nil }
    #expect(range?.windowNanoseconds == 100_000_000)
    running.perform(.clearRange)
    running.perform(.seek(300_000_000))
    let before = next { $0.playback?.range == nil && $0.playback?.position == 300_000_000 }
    running.perform(.stepExit(2))
    let stepped = next { $0.playback?.position ?? 0 > 300_000_000 }
    #expect(stepped.map(\.total.exits) == before.map { $0.total.exits + 2 })
    #expect(stepped?.intervalNanoseconds == 50_000_000, "samples of a short recording are finer")
    running.perform(.seekToExit(reason: ReasonCode(isa: 1, code: 12), forward: true))
    #expect(next { $0.playback?.position ?? 0 > stepped?.playback?.position ?? .max } != nil)
    running.perform(.seekToWallClock(5))
    #expect(next { $0.messages.contains { $0.text == "this recording does not tell the time of day" } } != nil)
    running.perform(.seekToChange(nil, forward: true))
    #expect(next { $0.messages.contains { $0.text.hasPrefix("no such change after this") } } != nil)
    // Held, and yet it tells how the time line grows.
    let rateTimeline = next { $0.playback?.rateTimeline?.known == $0.playback?.duration }
    #expect(rateTimeline?.playback?.rateTimeline?.rates.contains(nil) == false)
  }
}
