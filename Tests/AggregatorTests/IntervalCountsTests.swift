import Architecture
import Foundation
import RandomSupport
import SnapshotSupport
import Testing
import TraceFormat

@testable import Aggregator

/// Pages in memory that can be gone back to.
final class SeekablePages: PageSource {
  let streams: [PageStream]
  private let pages: [[[UInt8]]]
  private var next: [Int]
  private var held: [UnsafeMutableRawBufferPointer?]
  private var dice = Dice(seed: 7)

  init(_ pages: [[[UInt8]]]) {
    self.pages = pages
    streams = pages.indices.map { PageStream(cpu: $0) }
    next = pages.map { _ in 0 }
    held = pages.map { _ in nil }
  }

  /// All pages of a file.
  convenience init(_ file: TraceFile) {
    var pages: [[[UInt8]]] = file.streams.map { _ in [] }
    for stream in file.streams.indices {
      while let page = file.nextPage(stream: stream) { pages[stream].append(Array(page)) }
    }
    self.init(pages)
  }

  deinit { for page in held { page?.deallocate() } }

  /// - Parameter stamps: by stream; the page of that time is handed out next, or one before it.
  func go(to stamps: [UInt64?]) {
    for stream in streams.indices {
      let stamp = stamps.indices.contains(stream) ? stamps[stream] : nil
      next[stream] = stamp.flatMap { stamp in pages[stream].firstIndex { Self.stamp($0) >= stamp } } ?? 0
      if next[stream] > 0, Bool.random(using: &dice) { next[stream] -= 1 }
    }
  }

  private static func stamp(_ page: [UInt8]) -> UInt64 {
    page.withUnsafeBytes { UInt64(littleEndian: $0.loadUnaligned(as: UInt64.self)) }
  }

  func nextPage(stream: Int) -> UnsafeRawBufferPointer? {
    held[stream]?.deallocate()
    held[stream] = nil
    guard next[stream] < pages[stream].count else { return nil }
    let page = pages[stream][next[stream]]
    next[stream] += 1
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: page.count, alignment: 8)
    memory.copyBytes(from: page)
    held[stream] = memory
    return UnsafeRawBufferPointer(memory)
  }
}

/// A trace of several CPUs in which everything happens that sums have to carry, and what is told to the aggregator
/// between the events.
struct EventfulTrace {
  enum Act {
    case words([Int32: ControlSetting])
    case host(HostView)
    case retire(Int)
  }

  var pages: [[[UInt8]]]
  var acts: [(time: UInt64, act: Act)] = []
  var last: UInt64 = 0

  init(seed: UInt64, steps: Int, usesHost: Bool, haltsInUserSpace: Bool = false) {
    var dice = Dice(seed: seed)
    var trace = SyntheticTrace(streams: 3)
    var cpus: [Int32: Int] = [:]
    var inGuest: Set<Int32> = []
    var time: UInt64 = 1000
    let reasons: [UInt64] = [0, 1, 7, 10, 12, 18, 28, 29, 30, 31, 32, 40, 44, 48, 49, 52, 200]
    var inhibits: UInt64 = 0
    for _ in 0..<steps {
      time += UInt64.random(in: 1...2000, using: &dice)
      // Threads come one after another, and the first ones end.
      let newest = Int32(100 + Int(time / 200_000))
      let thread = Int32.random(in: max(100, newest - 5)...newest, using: &dice)
      let vcpu = UInt64(thread % 4)
      if Int.random(in: 0..<8, using: &dice) == 0 { cpus[thread] = Int.random(in: 0..<3, using: &dice) }
      let cpu = cpus[thread] ?? Int(thread) % 3
      switch Int.random(in: 0..<40, using: &dice) {
      case 0: trace.lose(.events(UInt64.random(in: 1...9, using: &dice)), cpu: cpu)
      case 1: trace.lose(.unknown, cpu: cpu)
      case 2, 3: trace.endPage(cpu: cpu)
      case 4:
        inhibits ^= 4
        trace.add(
          "kvm_apicv_inhibit_changed", at: time, thread: thread, cpu: cpu,
          ["reason": 2, "set": inhibits == 0 ? 0 : 1, "inhibits": inhibits])
      case 5:
        let isHalt = haltsInUserSpace && Bool.random(using: &dice)
        trace.add("kvm_userspace_exit", at: time, thread: thread, cpu: cpu, ["reason": isHalt ? 5 : 0])
      case 6: trace.add("kvm_fpu", at: time, thread: thread, cpu: cpu, ["load": 1])
      case 7:
        trace.add(
          "kvm_vcpu_wakeup", at: time, thread: thread, cpu: cpu, ["ns": UInt64.random(in: 1...500, using: &dice)])
      case 8...13:
        trace.add(
          "kvm_msr", at: time, thread: thread, cpu: cpu,
          ["ecx": [0x10, 0x6e0, 0x4000_0020, 0xc000_0080].randomElement(using: &dice)!])
      default:
        if inGuest.contains(thread) || Int.random(in: 0..<9, using: &dice) == 0 {
          trace.exit(
            reasons.randomElement(using: &dice)!, at: time, thread: thread, vcpu: vcpu, cpu: cpu,
            isa: Int.random(in: 0..<50, using: &dice) == 0 ? 3 : 1,
            info1: UInt64.random(in: 0..<40, using: &dice) << 16 | UInt64.random(in: 0..<64, using: &dice),
            interruption: 0x8000_0300 | UInt64.random(in: 0..<32, using: &dice),
            rip: UInt64.random(in: 0..<7, using: &dice) * 0x1000)
          inGuest.remove(thread)
        } else {
          trace.entry(at: time, thread: thread, vcpu: vcpu, cpu: cpu)
          inGuest.insert(thread)
        }
      }
      if Int.random(in: 0..<60, using: &dice) == 0 {
        var words: [Int32: ControlSetting] = [:]
        for thread in max(100, newest - 5)...newest where Int.random(in: 0..<4, using: &dice) > 0 {
          let primary: UInt32 = [0xb5a0_6dfa, 0xb5a0_6d7a, 0xb5a0_6dfe].randomElement(using: &dice)!
          words[thread] = ControlSetting(pin: 0x3f, primary: primary, secondary: 0x10_17ea)
        }
        acts.append((time, .words(words)))
      }
      if Int.random(in: 0..<300, using: &dice) == 0 {
        acts.append((time, .retire(Int.random(in: 1...3, using: &dice))))
      }
      if usesHost, Int.random(in: 0..<200, using: &dice) == 0 {
        let vms = [0, 1].map { number in
          HostVM(
            pid: Int32(50 + number), name: "vm\(number)",
            vcpus: (max(100, newest - 4)...newest).filter { Int($0) % 2 == number }
              .map { HostVCPU(id: UInt32($0 % 4), tid: $0, threadName: "CPU \($0)/KVM") })
        }
        acts.append((time, .host(HostView(vms: vms))))
      }
    }
    pages = trace.finished()
    last = time
  }

  /// Counts up to a time, doing what is to be done at its time.
  func count(_ aggregator: inout Aggregator, _ source: some PageSource, after: UInt64, through: UInt64) {
    for (time, act) in acts where time > after && time <= through {
      aggregator.run(source, until: time)
      switch act {
      case .words(let words): aggregator.learn(words, at: time)
      case .host(let host): aggregator.learn(host)
      case .retire(let number): aggregator.retireOldest(number) { _ in true }
      }
    }
    aggregator.run(source, until: through)
  }
}

@Suite("IntervalCounts of intervals")
struct IntervalCountsTests {
  private func aggregator(_ options: AggregatorOptions = AggregatorOptions()) throws -> Aggregator {
    try Aggregator(metadata: SyntheticTrace.metadata(scale: TimeScale(multiplier: 3, shift: 2)), options: options)
  }

  private func counter(_ options: AggregatorOptions = AggregatorOptions()) throws -> Counter {
    Counter(try aggregator(options))
  }

  @Test(
    "merged are what counting it all at once gives, figure by figure, wherever it was cut",
    arguments: [false, true], [1, 2, 3] as [UInt64])
  func exactness(usesHost: Bool, seed: UInt64) throws {
    let trace = EventfulTrace(seed: seed, steps: 1200, usesHost: usesHost)
    var dice = Dice(seed: seed &* 77)
    var whole = try counter()
    let pages = SeekablePages(trace.pages)
    trace.count(&whole.engine, pages, after: 0, through: trace.last)
    whole.countLosses(all: true) { UInt64(3000 + $0) }
    let expected = whole.snapshot(now: trace.last, start: 1000)
    expectSumsToHold(expected)
    #expect(expected.losses.lost > 0)
    #expect(expected.total.settings.count > 3)
    #expect(expected.vms.last?.endedThreads ?? 0 > 0)

    // Cut at random times, and some of them twice.
    var times = (0..<7).map { _ in UInt64.random(in: 900...trace.last, using: &dice) }.sorted() + [trace.last]
    times.append(trace.last)
    var cutting = try aggregator()
    pages.go(to: [])
    var sums: [IntervalCounts] = []
    var before: UInt64 = 0
    for time in times {
      trace.count(&cutting, pages, after: before, through: time)
      let sum = cutting.cut(at: time)
      #expect(try IntervalCounts(bytes: sum.bytes()) == sum)
      #expect(try IntervalCounts(bytes: sum.bytes(open: false)) == sum.closed)
      let heading = try IntervalHeading(bytes: sum.bytes())
      #expect(heading.exitsByThread == Dictionary(uniqueKeysWithValues: sum.exitsByThread.map { ($0, $1) }))
      #expect((heading.start, heading.end, heading.events) == (sum.start, sum.end, sum.events))
      sums.append(sum)
      before = time
    }

    func expectWhole(_ counter: inout Counter, _ comment: Comment) {
      counter.countLosses(all: true) { UInt64(3000 + $0) }
      let snapshot = counter.snapshot(now: trace.last, start: 1000)
      let (a, b) = (figures(expected), figures(snapshot))
      #expect(a == b, "\(comment): \(difference(a, b))")
    }
    // One after another.
    var adding = try counter()
    for sum in sums { adding.add(sum) }
    adding.engine.resume(from: sums[sums.count - 1], streams: pages.streams)
    expectWhole(&adding, "added")

    // Merged from the left, from the right, and by chance.
    var left = sums[0]
    for sum in sums.dropFirst() { left.merge(sum) }
    var right = sums[sums.count - 1]
    for sum in sums.dropLast().reversed() {
      var sum = sum
      sum.merge(right)
      right = sum
    }
    var groups = sums
    while groups.count > 1 {
      let index = Int.random(in: 0..<(groups.count - 1), using: &dice)
      groups[index].merge(groups[index + 1])
      groups.remove(at: index + 1)
    }
    for merged in [left, right, groups[0]] {
      #expect(merged == left, "associative")
      #expect(try IntervalCounts(bytes: merged.bytes()) == merged)
      var counter = try counter()
      counter.add(merged)
      counter.engine.resume(from: merged, streams: pages.streams)
      expectWhole(&counter, "merged")
    }

    // Going on from each of them.
    for place in sums.indices where place % 2 == 1 {
      var counter = try counter()
      for sum in sums[...place] { counter.add(try IntervalCounts(bytes: sum.bytes(open: false))) }
      #expect(counter.engine.resume(from: try IntervalCounts(bytes: sums[place].bytes()), streams: pages.streams))
      pages.go(to: counter.engine.pagesToResume)
      trace.count(&counter.engine, pages, after: times[place], through: trace.last)
      expectWhole(&counter, "resumed at \(times[place])")
    }
  }

  @Test("give the last interval its figures, as playing up to there gives them", arguments: [11, 12, 13] as [UInt64])
  func intervals(seed: UInt64) throws {
    let trace = EventfulTrace(seed: seed, steps: 800, usesHost: false)
    var dice = Dice(seed: seed)
    for _ in 0..<3 {
      let cuts = (0..<4).map { _ in UInt64.random(in: 1000...trace.last, using: &dice) }.sorted()
      var played = try counter()
      let pages = SeekablePages(trace.pages)
      trace.count(&played.engine, pages, after: 0, through: cuts[1])
      _ = played.snapshot(now: cuts[1], start: 1000)
      trace.count(&played.engine, pages, after: cuts[1], through: cuts[3])
      let expected = figures(played.snapshot(now: cuts[3], start: 1000))

      var cutting = try aggregator()
      pages.go(to: [])
      var sums: [IntervalCounts] = []
      for (index, time) in cuts.enumerated() {
        trace.count(&cutting, pages, after: index == 0 ? 0 : cuts[index - 1], through: time)
        sums.append(cutting.cut(at: time))
      }
      var jumping = try counter()
      jumping.add(sums[0])
      jumping.add(sums[1])
      jumping.engine.resume(from: sums[1], streams: pages.streams)
      jumping.beginInterval(at: cuts[1])
      jumping.add(sums[2])
      jumping.add(sums[3])
      jumping.engine.resume(from: sums[3], streams: pages.streams)
      let snapshot = figures(jumping.snapshot(now: cuts[3], start: 1000))
      #expect(snapshot == expected, "\(difference(expected, snapshot))")
    }
  }

  @Test(
    "what comes after a snapshot is counted by itself, too, as a fresh engine counts it that goes on there",
    arguments: [false, true], [61, 62, 63] as [UInt64])
  func sinceSnapshot(usesHost: Bool, seed: UInt64) throws {
    let trace = EventfulTrace(seed: seed, steps: 900, usesHost: usesHost, haltsInUserSpace: true)
    let options = AggregatorOptions(countsOpenTime: true)
    var dice = Dice(seed: seed)
    for _ in 0..<4 {
      let times = (0..<5).map { _ in UInt64.random(in: 1000...trace.last, using: &dice) }.sorted() + [trace.last]
      // The state at the mark.
      var cutting = try aggregator(options)
      let pages = SeekablePages(trace.pages)
      trace.count(&cutting, pages, after: 0, through: times[1])
      let state = cutting.cut(at: times[1])
      var fresh = try counter(options)
      fresh.engine.resume(from: state, streams: pages.streams)
      pages.go(to: fresh.engine.pagesToResume)
      fresh.forget(at: times[1])

      var whole = try counter(options)
      let others = SeekablePages(trace.pages)
      trace.count(&whole.engine, others, after: 0, through: times[0])
      _ = whole.snapshot(now: times[0], start: 1000)
      trace.count(&whole.engine, others, after: times[0], through: times[1])
      let shown = whole.snapshot(now: times[1], start: 1000)
      #expect(shown.sinceMark == nil)
      for place in 2..<times.count {
        trace.count(&whole.engine, others, after: times[place - 1], through: times[place])
        // The key comes some time after the snapshot.
        if place == 2 {
          whole.bringIn(at: times[2])
          whole.compare(with: shown)
          #expect(whole.totals.isComparing)
          trace.count(&fresh.engine, pages, after: times[1], through: times[3])
          continue
        }
        if place > 3 { trace.count(&fresh.engine, pages, after: times[place - 1], through: times[place]) }
        let snapshot = whole.snapshot(now: times[place], start: 1000)
        let mark = try #require(snapshot.sinceMark)
        let after = try #require(mark.after)
        let expected = fresh.snapshot(now: times[place], start: times[1])
        let (a, b) = (figures(expected), figures(after))
        #expect(a == b, "\(difference(a, b))")
        #expect(mark.before.total.exits &+ after.total.exits == snapshot.total.exits)
        #expect(mark.before.events &+ after.events == snapshot.events)
        #expect(mark.before.losses.lost &+ after.losses.lost == snapshot.losses.lost)
        expectChargesToHold(after)
      }
      whole.endComparison()
      #expect(whole.snapshot(now: trace.last, start: 1000).sinceMark == nil)
    }
  }

  @Test(
    "what is replaced by sums is right after a mark too, whichever came first, and in the last interval",
    arguments: [71, 72, 73] as [UInt64])
  func replaced(seed: UInt64) throws {
    var trace = EventfulTrace(seed: seed, steps: 900, usesHost: false)
    // Of a thread that gave up its slot and came again, what was taken out of the rest cannot be told apart.
    trace.acts.removeAll { if case .retire = $0.act { true } else { false } }
    var dice = Dice(seed: seed)
    for isMarkInside in [false, true] {
      let times = (0..<4).map { _ in UInt64.random(in: 1000...trace.last, using: &dice) }.sorted() + [trace.last]
      // From one of them on all is replaced, from the other one on it is compared; the third is a snapshot in between.
      let (place, mark) = isMarkInside ? (times[0], times[1]) : (times[1], times[0])
      var cutting = try aggregator()
      let pages = SeekablePages(trace.pages)
      trace.count(&cutting, pages, after: 0, through: place)
      _ = cutting.cut(at: place)
      trace.count(&cutting, pages, after: place, through: times[3])
      let sums = cutting.cut(at: times[3])

      var whole = try counter()
      let others = SeekablePages(trace.pages)
      var before: UInt64 = 0
      for time in times[..<3] {
        trace.count(&whole.engine, others, after: before, through: time)
        before = time
        if time == place { whole.mark(at: place) }
        if time == mark {
          let shown = whole.snapshot(now: mark, start: 1000)
          whole.compare(with: shown)
        } else {
          _ = whole.snapshot(now: time, start: 1000)
        }
      }
      trace.count(&whole.engine, others, after: times[2], through: (times[2] + times[3]) / 2)
      whole.replaceSinceMark(with: sums)
      whole.engine.resume(from: sums, streams: others.streams)
      others.go(to: whole.engine.pagesToResume)
      var plain = try counter()
      let again = SeekablePages(trace.pages)
      trace.count(&plain.engine, again, after: 0, through: mark)
      let shown = plain.snapshot(now: mark, start: 1000)
      plain.compare(with: shown)
      trace.count(&plain.engine, again, after: mark, through: times[2])
      _ = plain.snapshot(now: times[2], start: 1000)
      before = times[2]
      for time in times[3...] {
        trace.count(&plain.engine, again, after: before, through: time)
        if time > times[3] { trace.count(&whole.engine, others, after: before, through: time) }
        before = time
        let expected = try #require(plain.snapshot(now: time, start: 1000).sinceMark?.after)
        let after = try #require(whole.snapshot(now: time, start: 1000).sinceMark?.after)
        // Of what lies within the replaced part, which exits took longest cannot be told.
        let (a, b) =
          isMarkInside ? (figures(additive(expected)), figures(additive(after))) : (figures(expected), figures(after))
        #expect(a == b, "\(isMarkInside): \(difference(a, b))")
        expectChargesToHold(after)
      }
    }
  }

  /// What came of an exit after a part began may be more than its exits; these are not.
  private func expectChargesToHold(_ snapshot: Snapshot) {
    for scope in snapshot.scopes {
      #expect(scope.reasons.reduce(0) { $0 + $1.count } == scope.exits)
      #expect(scope.controls.reduce(0) { $0 + $1.count } == scope.exits)
      #expect(scope.settings.reduce(0) { $0 + $1.count } == scope.exits)
    }
  }

  /// What adds up.
  private func additive(_ snapshot: Snapshot) -> Snapshot {
    var snapshot = snapshot
    (snapshot.firstTimestamp, snapshot.lastTimestamp) = (0, 0)
    for vm in snapshot.vms.indices {
      for vcpu in snapshot.vms[vm].vcpus.indices { snapshot.vms[vm].vcpus[vcpu].settingChanges = [] }
    }
    for scope in snapshot.scopes.indices {
      snapshot.scopes[scope].reasons.removeAll { $0.count | $0.handling.paired == 0 }
      snapshot.scopes[scope].settings.removeAll { $0.count | $0.duration == 0 }
      for setting in snapshot.scopes[scope].settings.indices {
        snapshot.scopes[scope].settings[setting].reasons.removeAll { $0.count | $0.figures.total.handling == 0 }
      }
      for reason in snapshot.scopes[scope].reasons.indices {
        snapshot.scopes[scope].reasons[reason].settings = 1
        snapshot.scopes[scope].reasons[reason].details = []
        var handling = LatencySummary()
        handling.paired = snapshot.scopes[scope].reasons[reason].handling.paired
        handling.total = snapshot.scopes[scope].reasons[reason].handling.total
        snapshot.scopes[scope].reasons[reason].handling = handling
      }
    }
    return snapshot
  }

  @Test("of an interval alone add up: no exit is charged twice, none is missing", arguments: [21, 22] as [UInt64])
  func alone(seed: UInt64) throws {
    let trace = EventfulTrace(seed: seed, steps: 600, usesHost: false)
    var cutting = try aggregator()
    let pages = SeekablePages(trace.pages)
    var before: UInt64 = 0
    // After every event or two: an exit's control is often told after the cut.
    for time in stride(from: 1000, through: trace.last, by: 1500) {
      trace.count(&cutting, pages, after: before, through: time)
      let sum = cutting.cut(at: time)
      var single = try counter()
      single.add(sum)
      let snapshot = single.snapshot(now: time, start: before)
      for scope in snapshot.scopes {
        #expect(scope.reasons.reduce(0) { $0 + $1.count } == scope.exits)
        #expect(scope.controls.reduce(0) { $0 + $1.count } == scope.exits)
        #expect(scope.controls.reduce(0) { $0 + $1.intervalCount } == scope.intervalExits)
        #expect(scope.settings.reduce(0) { $0 + $1.count } == scope.exits)
      }
      #expect(snapshot.total.exits == sum.exits)
      before = time
    }
  }

  @Test("of the bundled recording, cut at random times, are those of the whole")
  func recording() throws {
    let file = try TraceFile(path: SyntheticTrace.demo)
    let pages = SeekablePages(file)
    var whole = try Counter(metadata: file.metadata)
    whole.run(pages)
    let (first, last) = (whole.engine.firstTimestamp, whole.engine.lastTimestamp)
    let expected = whole.snapshot(now: last, start: first)
    var truth = ExactValues(file.metadata.formats)
    truth.count(file)
    var dice = Dice(seed: 4)
    let times = (0..<20).map { _ in UInt64.random(in: first...last, using: &dice) }.sorted() + [last]
    pages.go(to: [])
    var cutting = try Aggregator(metadata: file.metadata)
    var merged: IntervalCounts?
    var adding = try Counter(metadata: file.metadata)
    for time in times {
      cutting.run(pages, until: time)
      let sum = cutting.cut(at: time)
      adding.add(try IntervalCounts(bytes: sum.bytes(open: false)))
      if merged == nil { merged = sum } else { merged?.merge(sum) }
    }
    var counter = try Counter(metadata: file.metadata)
    let sums = try #require(merged)
    counter.add(sums)
    counter.engine.resume(from: sums, streams: pages.streams)
    let snapshot = counter.snapshot(now: last, start: first)
    let (a, b) = (figures(expected), figures(snapshot))
    #expect(a == b, "\(difference(a, b))")
    // What the bounds of instruction pointers and other details promise holds in each way to count.
    for counted in [expected, snapshot, adding.snapshot(now: last, start: first)] {
      for reason in counted.total.reasons {
        for detail in reason.details where detail.kind == .rip {
          let values = truth.instructionPointers[reason.code] ?? [:]
          #expect(detail.total == values.values.reduce(0, +))
          for entry in detail.entries {
            let real = values[entry.value] ?? 0
            #expect((entry.count...entry.count + entry.error).contains(real), "\(reason.name)")
          }
        }
      }
    }
  }

  @Test("that are damaged are refused or counted, and never trap")
  func hostile() throws {
    let trace = EventfulTrace(seed: 31, steps: 300, usesHost: true)
    var cutting = try aggregator()
    let pages = SeekablePages(trace.pages)
    trace.count(&cutting, pages, after: 0, through: trace.last)
    let good = cutting.cut(at: trace.last).bytes()
    for length in stride(from: 0, to: good.count, by: 3) {
      #expect(throws: IntervalCountsError.self, "cut at \(length)") {
        try IntervalCounts(bytes: Array(good[..<length]))
      }
    }
    var dice = Dice(seed: 9)
    var accepted = 0
    for _ in 0..<500 {
      var bytes = good
      for _ in 0..<Int.random(in: 1...3, using: &dice) {
        let place = Int.random(in: 0..<bytes.count, using: &dice)
        switch Int.random(in: 0..<3, using: &dice) {
        case 0: bytes[place] = UInt8.random(in: 0...255, using: &dice)
        case 1: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &dice)
        default: bytes.replaceSubrange(place...place, with: [255, 255, 255, 255, 255, 255, 255, 255, 255, 1])
        }
      }
      _ = try? IntervalHeading(bytes: bytes)
      guard let sums = try? IntervalCounts(bytes: bytes) else { continue }
      accepted += 1
      #expect(try IntervalCounts(bytes: sums.bytes()) == sums)
      var counter = try counter()
      counter.add(sums)
      counter.mark(at: 4000)
      counter.beginInterval(at: 5000)
      counter.add(sums)
      counter.engine.resume(from: sums, streams: pages.streams)
      pages.go(to: counter.engine.pagesToResume)
      counter.run(pages)
      _ = counter.snapshot()
      counter.replaceSinceMark(with: sums)
      _ = counter.snapshot()
      _ = counter.engine.cut(at: trace.last)
      var twice = sums
      twice.merge(sums)
    }
    #expect(accepted > 20)
  }

  @Test("of version 1 know how long a vCPU was halted, not in which exits: that is taken for HLT's, and said")
  func version1() throws {
    let thread: [UInt8] = [
      0, 1, 0, 0,  // no vcpu_id, setting 1, no renaming, no changes
      0, 100, 0, 0x84, 7,  // kernel 100 ns, halted 900 ns
      1, 1, 0, 0, 100, 0, 0x84, 7,  // in setting 1, the same time
      2,
      1, 12, 2, 0, 2, 0xe8, 7, 1, 100, 0xa0, 6, 0, 0, 0, 0, 0,  // HLT: 2 exits, 1000 ns
      1, 40, 1, 0, 1, 0x64, 1, 100, 0, 0, 0, 0, 0, 0,  // PAUSE: 1 exit, 100 ns
    ]
    let bytes: [UInt8] = [
      1, 0, 100, 6, 0, 10, 80,  // version, 0 to 100, 6 events, from 10 to 90
      1, 0, 10, 3,  // one thread, 5, with 3 exits
      1, 0, 0, 0, 0, 0, 0, 0,  // the first setting; no other reasons, event kinds, losses, threads that ended
    ]
    let sums = try IntervalCounts(bytes: bytes + thread + [0])
    #expect(sums.isHaltShared)
    let reasons = try #require(sums.threads.first?.residencies.first?.reasons)
    #expect(reasons.map(\.code) == [12, 40])
    #expect(
      reasons.map(\.exits) == [
        ExitCounts(count: 2, handling: 1000, halted: 900), ExitCounts(count: 1, handling: 100, halted: 0),
      ])
    var counter = try counter()
    counter.add(sums)
    let snapshot = counter.snapshot(now: 100)
    #expect(snapshot.isHaltShared)
    #expect(snapshot.reason("HLT")?.busy == 100)
    // Written again they are of the present version, which has no word for it.
    #expect(try IntervalCounts(bytes: sums.bytes()).threads == sums.threads)
  }

  @Test("count only the vCPUs that are asked for")
  func selection() throws {
    let trace = EventfulTrace(seed: 41, steps: 1000, usesHost: false)
    let pages = SeekablePages(trace.pages)
    let options = AggregatorOptions(threads: [101])
    var whole = try counter(options)
    whole.run(pages)
    let expected = whole.snapshot(now: trace.last, start: 1000)
    #expect(expected.total.exits > 0)
    pages.go(to: [])
    var cutting = try aggregator()
    cutting.run(pages)
    let sum = cutting.cut(at: trace.last)
    var selecting = try counter(options)
    selecting.add(sum)
    #expect(selecting.snapshot(now: trace.last, start: 1000).total.exits == expected.total.exits)
  }

  @Test("of different runs keep their settings apart and join those that are the same")
  func differentRuns() throws {
    let (on, off) = (ControlSetting(primary: 0xb5a0_6dfa), ControlSetting(primary: 0xb5a0_6d7a))
    func sums(_ words: [ControlSetting], thread: Int32) throws -> IntervalCounts {
      var trace = SyntheticTrace()
      for index in 0..<20 as Range<UInt64> { trace.exit(12, at: 1000 + index * 10, thread: thread) }
      var aggregator = try Aggregator(metadata: SyntheticTrace.metadata())
      let pages = MemoryPages(trace.finished())
      for (index, word) in words.enumerated() {
        aggregator.run(pages, until: 1000 + UInt64(index) * 50)
        aggregator.learn([thread: word], at: 1000 + UInt64(index) * 50)
      }
      aggregator.run(pages)
      return aggregator.cut(at: 2000)
    }
    var both = try sums([on, off], thread: 100)
    both.merge(try sums([off, on], thread: 200))
    var counter = try Counter(metadata: SyntheticTrace.metadata())
    counter.add(both)
    let snapshot = counter.snapshot()
    let exits = Dictionary(
      uniqueKeysWithValues: snapshot.total.settings.map { (snapshot.description($0.setting)?.words, $0.count) })
    #expect(exits == [on: 6 + 14, off: 14 + 6])
  }

  @Test("show everything beside a recorder that cuts: one counts, the other adds up")
  func shownBeside() throws {
    let trace = EventfulTrace(seed: 51, steps: 800, usesHost: false)
    let pages = SeekablePages(trace.pages)
    let options = AggregatorOptions(countsOpenTime: true)
    var whole = try counter(options)
    var counting = try aggregator(options)
    var shown = try counter(options)
    let others = SeekablePages(trace.pages)
    var before: UInt64 = 0
    for time in stride(from: 2000, through: trace.last, by: Int(trace.last / 5)).map({ UInt64($0) }) {
      trace.count(&whole.engine, pages, after: before, through: time)
      trace.count(&counting, others, after: before, through: time)
      let sum = counting.cut(at: time)
      shown.add(sum)
      shown.engine.resume(from: sum, streams: others.streams)
      let (a, b) = (
        figures(whole.snapshot(now: time, start: 1000)), figures(shown.snapshot(now: time, start: 1000))
      )
      #expect(a == b, "\(difference(a, b))")
      before = time
    }
  }
}

/// What details really were, in memory without a bound.
struct ExactValues {
  /// By exit reason.
  private(set) var instructionPointers: [UInt32: [UInt64: UInt64]] = [:]
  private let exit: EventFormat?

  init(_ formats: [EventFormat]) { exit = formats.first { $0.name == "kvm_exit" } }

  mutating func count(_ file: TraceFile) {
    guard let exit, let reason = exit.field("exit_reason"), let rip = exit.field("guest_rip") else { return }
    file.rewind()
    for stream in file.streams.indices {
      while let page = file.nextPage(stream: stream) {
        var cursor = SubBufferCursor(page: page, layout: file.metadata.page)
        while cursor.next() {
          guard cursor.payload.loadUnaligned(as: UInt16.self) == exit.id else { continue }
          let code = cursor.payload.loadUnaligned(fromByteOffset: reason.offset, as: UInt32.self) & 0xffff
          let value = cursor.payload.loadUnaligned(fromByteOffset: rip.offset, as: UInt64.self)
          if value != 0 { instructionPointers[code, default: [:]][value, default: 0] += 1 }
        }
      }
    }
  }
}
