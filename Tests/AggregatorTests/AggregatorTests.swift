import Architecture
import Foundation
import Recording
import Testing
import TraceFormat

@testable import Aggregator

/// What must hold of every snapshot, whatever was counted.
func expectSumsToHold(_ snapshot: Snapshot, sourceLocation: SourceLocation = #_sourceLocation) {
  for scope in snapshot.scopes {
    #expect(scope.reasons.reduce(0) { $0 + $1.count } == scope.exits, sourceLocation: sourceLocation)
    #expect(scope.controls.reduce(0) { $0 + $1.count } == scope.exits, sourceLocation: sourceLocation)
    #expect(scope.settings.reduce(0) { $0 + $1.count } == scope.exits, sourceLocation: sourceLocation)
    for setting in scope.settings {
      #expect(setting.reasons.reduce(0) { $0 + $1.count } == setting.count, sourceLocation: sourceLocation)
      #expect(setting.controls.reduce(0) { $0 + $1.count } == setting.count, sourceLocation: sourceLocation)
    }
    for reason in scope.reasons {
      #expect(reason.charges.reduce(0) { $0 + $1.count } == reason.count, sourceLocation: sourceLocation)
      #expect(reason.charges.reduce(0) { $0 + $1.handling } == reason.handling.total, sourceLocation: sourceLocation)
      for detail in reason.details { #expect(detail.total <= reason.count, sourceLocation: sourceLocation) }
    }
  }
  let byVCPU = snapshot.vms.flatMap(\.vcpus).reduce(0) { $0 + snapshot.scopes[$1.scope].exits }
  #expect(byVCPU == snapshot.total.exits, sourceLocation: sourceLocation)
  let byVM = snapshot.vms.reduce(0) { $0 + snapshot.scopes[$1.scope].exits }
  #expect(byVM == snapshot.total.exits, sourceLocation: sourceLocation)
}

@Suite("A real capture of a kvm_intel host")
struct RealCaptureTests {
  static func counted() throws -> Snapshot {
    let file = try TraceFile(path: SyntheticTrace.demo)
    var counter = try Counter(metadata: file.metadata)
    counter.run(file)
    return counter.snapshot(commandNames: file.metadata.commandNames)
  }

  @Test("has every event and every exit that trace-cmd report prints")
  func totals() throws {
    let snapshot = try Self.counted()
    #expect(snapshot.events == 235_651)
    #expect(snapshot.total.exits == 109_437)
    #expect(snapshot.eventCounts.first { $0.name == "kvm_entry" }?.count == 109_437)
    #expect(snapshot.malformedRecords == 0)
    #expect(snapshot.losses.lost == 0)
    #expect(snapshot.source.isa == "vmx")
  }

  @Test("is charged in full: the sums over controls, reasons and vCPUs equal the exits")
  func sums() throws { expectSumsToHold(try Self.counted()) }

  @Test("gives the handling times that a plain pairing of its events gives")
  func handling() throws {
    // The yardstick: every event in a list, paired with a dictionary, sorted for exact percentiles.
    let file = try TraceFile(path: SyntheticTrace.demo)
    let exit = try #require(file.metadata.formats.first { $0.name == "kvm_exit" })
    let entry = try #require(file.metadata.formats.first { $0.name == "kvm_entry" })
    var open: [Int32: (UInt32, UInt64)] = [:]
    var times: [UInt32: [UInt64]] = [:]
    while let page = file.nextPage(stream: 0) {
      var cursor = SubBufferCursor(page: page, layout: file.metadata.page)
      while cursor.next() {
        let id = cursor.payload.loadUnaligned(as: UInt16.self)
        let thread = cursor.payload.loadUnaligned(fromByteOffset: 4, as: Int32.self)
        if id == exit.id {
          open[thread] = (cursor.payload.loadUnaligned(fromByteOffset: 8, as: UInt32.self), cursor.timestamp)
        } else if id == entry.id, let (reason, since) = open.removeValue(forKey: thread) {
          times[reason, default: []].append(cursor.timestamp - since)
        }
      }
    }
    let snapshot = try Self.counted()
    #expect(snapshot.total.reasons.count == times.count)
    for row in snapshot.total.reasons {
      let sorted = try #require(times[row.code]).sorted()
      #expect(row.handling.paired == UInt64(sorted.count), "\(row.name)")
      #expect(row.handling.total == sorted.reduce(0, +), "\(row.name)")
      #expect(row.handling.min == sorted.first, "\(row.name)")
      #expect(row.handling.max == sorted.last, "\(row.name)")
      for (share, value) in [(0.5, row.handling.p50), (0.9, row.handling.p90), (0.99, row.handling.p99)] {
        let exact = sorted[max(0, Int((share * Double(sorted.count)).rounded(.up)) - 1)]
        #expect(abs(Double(value) - Double(exact)) <= 0.02 * Double(exact), "\(row.name) at \(share)")
      }
    }
  }

  @Test("played in steps adds up to the same as read at once")
  func steps() throws {
    let whole = try Self.counted()
    let file = try TraceFile(path: SyntheticTrace.demo)
    var counter = try Counter(metadata: file.metadata)
    var exits: UInt64 = 0
    var handling: UInt64 = 0
    var position = whole.firstTimestamp
    while position < whole.lastTimestamp {
      position += 37_000_000
      counter.run(file, until: position)
      let snapshot = counter.snapshot(now: position, start: whole.firstTimestamp)
      exits += snapshot.total.intervalExits
      handling += snapshot.total.reasons.reduce(0) { $0 + $1.intervalHandling }
      expectSumsToHold(snapshot)
    }
    #expect(exits == whole.total.exits)
    #expect(handling == whole.total.reasons.reduce(0) { $0 + $1.handling.total })
  }
}

@Suite("Exits of one vCPU")
struct CountingTests {
  @Test("are timed from kvm_exit to the thread's next kvm_entry")
  func pairing() throws {
    var trace = SyntheticTrace()
    trace.entry(at: 1000)
    trace.exit(10, at: 1500)
    trace.entry(at: 1700)
    trace.exit(10, at: 2500)
    trace.entry(at: 2900)
    let snapshot = try trace.snapshot()
    let row = try #require(snapshot.reason("CPUID"))
    #expect(row.count == 2)
    #expect(row.handling.paired == 2)
    #expect(row.handling.total == 600)
    #expect(row.handling.min == 200 && row.handling.max == 400)
    #expect(snapshot.total.time.guest == 1300)
    #expect(snapshot.total.time.kernel == 600)
    expectSumsToHold(snapshot)
  }

  @Test("an exit that the next exit follows without an entry is counted, not timed")
  func unpaired() throws {
    var trace = SyntheticTrace()
    trace.exit(10, at: 1000)
    trace.exit(12, at: 2000)
    trace.entry(at: 2500)
    let snapshot = try trace.snapshot()
    #expect(snapshot.reason("CPUID")?.handling.paired == 0)
    #expect(snapshot.reason("HLT")?.handling.total == 500)
  }

  @Test("time in user space lasts from kvm_userspace_exit to kvm_fpu load, or to the entry where there is none")
  func userSpace() throws {
    var trace = SyntheticTrace()
    trace.exit(30, at: 1000, info1: 0x3f8 << 16)
    trace.add("kvm_fpu", at: 1090, thread: 100, ["load": 0])
    trace.add("kvm_userspace_exit", at: 1100, thread: 100, ["reason": 2])
    trace.add("kvm_set_irq", at: 1500, thread: 100)
    trace.add("kvm_fpu", at: 1900, thread: 100, ["load": 1])
    trace.entry(at: 2000)
    trace.exit(30, at: 3000, info1: 0x3f8 << 16)
    trace.add("kvm_userspace_exit", at: 3100, thread: 100, ["reason": 2])
    trace.entry(at: 4000)
    let snapshot = try trace.snapshot()
    #expect(snapshot.total.time.user == 800 + 900)
    #expect(snapshot.total.time.kernel == 200 + 100)
    #expect(snapshot.total.time.guest == 1000)
    #expect(snapshot.reason("IO_INSTRUCTION")?.handling.total == 2000)
  }

  @Test("a halt lasts as long as kvm_vcpu_wakeup says")
  func halted() throws {
    var trace = SyntheticTrace()
    trace.exit(12, at: 1000)
    trace.add("kvm_vcpu_wakeup", at: 9500, thread: 100, ["ns": 8000, "waited": 1, "valid": 1])
    trace.entry(at: 10_000)
    let time = try trace.snapshot().total.time
    #expect(time.halted == 8000)
    #expect(time.kernel == 1000)
  }

  @Test("live, a halt that has not ended counts up to now, and a recording's does not")
  func openHalt() throws {
    for isLive in [true, false] {
      var trace = SyntheticTrace()
      trace.entry(at: 1000)
      trace.exit(12, at: 2000)
      var counter = try Counter(
        metadata: SyntheticTrace.metadata(), options: AggregatorOptions(countsOpenTime: isLive))
      counter.run(MemoryPages(trace.finished()))
      let first = counter.snapshot(now: 12_000, start: 1000)
      #expect(first.total.time.halted == (isLive ? 10_000 : 0))
      let second = counter.snapshot(now: 13_000, start: 1000)
      #expect(second.total.intervalTime.halted == (isLive ? 1000 : 0))
      #expect(second.total.time.guest == 1000)
    }
  }

  @Test("that differ by a control are charged one by one")
  func charges() throws {
    var trace = SyntheticTrace()
    var time: UInt64 = 1000
    func step() -> UInt64 {
      time += 100
      return time
    }
    for _ in 0..<3 {  // MOV to CR3
      trace.exit(28, at: step(), info1: 0x003)
      trace.entry(at: step())
    }
    for _ in 0..<2 {  // MOV to CR4
      trace.exit(28, at: step(), info1: 0x004)
      trace.entry(at: step())
    }
    trace.exit(0, at: step(), interruption: 0x8000_0b0e)  // #PF
    trace.entry(at: step())
    trace.exit(0, at: step(), interruption: 0x8000_0202)  // NMI
    trace.entry(at: step())
    trace.exit(0x8000_0021, at: step())  // VM-entry failure
    let snapshot = try trace.snapshot()
    expectSumsToHold(snapshot)
    func exits(_ name: String) -> UInt64 {
      snapshot.total.controls.filter { $0.control.name == name }.reduce(0) { $0 + $1.count }
    }
    #expect(exits("CPU_BASED_CR3_LOAD_EXITING") == 3)
    #expect(exits("CR4_GUEST_HOST_MASK") == 2)
    #expect(exits("EXCEPTION_BITMAP") == 1)
    #expect(exits("PIN_BASED_NMI_EXITING") == 1)
    #expect(exits("UNCONDITIONAL") == 1)
  }

  @Test("on an MSR outside the bitmap's ranges are unconditional once kvm_msr names it")
  func msrOutsideBitmap() throws {
    var trace = SyntheticTrace()
    for (index, msr) in [UInt64(0x6e0), 0x4b56_4d00, 0x6e0].enumerated() {
      let time = UInt64(1000 + index * 1000)
      trace.exit(32, at: time)
      trace.add("kvm_msr", at: time + 10, thread: 100, ["write": 1, "ecx": msr])
      trace.entry(at: time + 100)
    }
    let snapshot = try trace.snapshot()
    expectSumsToHold(snapshot)
    let row = try #require(snapshot.reason("MSR_WRITE"))
    #expect(row.charges.map(\.control.name) == ["MSR_BITMAP", "UNCONDITIONAL"])
    #expect(row.charges.map(\.count) == [2, 1])
    #expect(row.charges.map(\.handling) == [200, 100])
    #expect(row.details.first?.entries.map(\.value) == [0x6e0, 0x4b56_4d00])
  }

  @Test("have one detail each, whatever events follow")
  func details() throws {
    var trace = SyntheticTrace()
    trace.exit(49, at: 1000)
    trace.add("kvm_mmio", at: 1010, thread: 100, ["gpa": 0xfec0_0010])
    trace.add("kvm_mmio", at: 1020, thread: 100, ["gpa": 0xdead])
    trace.entry(at: 1100)
    trace.add("kvm_mmio", at: 1110, thread: 100, ["gpa": 0xbeef])
    trace.exit(30, at: 1200, info1: 0xcf8 << 16)
    trace.add("kvm_mmio", at: 1210, thread: 100, ["gpa": 0xbeef])
    trace.exit(28, at: 1300, info1: 0x13)  // MOV from CR3
    trace.exit(7, at: 1400, rip: 0)
    let snapshot = try trace.snapshot()
    #expect(snapshot.reason("EPT_MISCONFIG")?.details.first?.entries.map(\.value) == [0xfec0_0010])
    #expect(snapshot.reason("IO_INSTRUCTION")?.details.first?.entries.map(\.value) == [0xcf8])
    #expect(snapshot.reason("CR_ACCESS")?.details.first?.entries.map(\.value) == [0x103])
    #expect(snapshot.reason("INTERRUPT_WINDOW")?.details.isEmpty == true)
  }

  @Test("of SVM are counted by exit code, with the details of its info words")
  func svm() throws {
    var trace = SyntheticTrace()
    trace.exit(0x78, at: 1000, isa: 2)
    trace.exit(0x7b, at: 2000, isa: 2, info1: 0x3f8 << 16)
    trace.exit(0x400, at: 3000, isa: 2, info2: 0xfe00_1000)
    trace.exit(0xffff_ffff, at: 4000, isa: 2)
    trace.exit(0x8000_0001, at: 5000, isa: 2)
    let snapshot = try trace.snapshot()
    expectSumsToHold(snapshot)
    #expect(snapshot.source.isa == "svm")
    #expect(snapshot.reason("hlt")?.charges.first?.control.name == "INTERCEPT_HLT")
    #expect(snapshot.reason("io")?.details.first?.entries.first?.value == 0x3f8)
    #expect(snapshot.reason("npf")?.details.first?.entries.first?.value == 0xfe00_1000)
    #expect(snapshot.reason("invalid_guest_state")?.count == 1)
    #expect(snapshot.reason("vmgexit_mmio_read")?.count == 1)
  }

  @Test("of another backend keep the names of the event's print format, else hex")
  func otherBackend() throws {
    var trace = SyntheticTrace()
    trace.exit(5, at: 1000, isa: 3)
    trace.exit(6, at: 2000, isa: 3)
    let snapshot = try trace.snapshot(
      AggregatorOptions(fallbackName: { isa, code in isa == 3 && code == 5 ? "syscall" : nil }))
    expectSumsToHold(snapshot)
    #expect(Set(snapshot.total.reasons.map(\.name)) == ["syscall", "0x6"])
    #expect(snapshot.total.controls.map(\.control.name) == ["UNKNOWN"])
  }
}

@Suite("Charges that move")
struct MovedChargeTests {
  @Test("after they were shown keep the interval's sums")
  func recharge() throws {
    let pages = MemoryPages([[]])
    var counter = try Counter(metadata: SyntheticTrace.metadata())
    var first = SyntheticTrace()
    first.exit(32, at: 1000)
    pages.append(first.finished()[0][0], stream: 0)
    counter.run(pages)
    _ = counter.snapshot()
    var second = SyntheticTrace()
    second.add("kvm_msr", at: 1100, thread: 100, ["write": 1, "ecx": 0x4b56_4d00])
    second.entry(at: 1200)
    pages.append(second.finished()[0][0], stream: 0)
    counter.run(pages)
    let row = try #require(counter.snapshot().reason("MSR_WRITE"))
    #expect(row.intervalCount == 0)
    #expect(row.charges.reduce(0) { $0 + $1.intervalCount } == 0)
    #expect(row.charges.reduce(0) { $0 + $1.count } == 1)
  }
}

@Suite("Several CPUs and vCPUs")
struct MergingTests {
  @Test("an exit on one CPU and the entry on another are paired in order of time")
  func migration() throws {
    var trace = SyntheticTrace(streams: 2)
    trace.exit(12, at: 1000, cpu: 0)
    trace.entry(at: 5000, cpu: 1)
    trace.exit(10, at: 6000, cpu: 1)
    trace.entry(at: 6500, cpu: 0)
    let snapshot = try trace.snapshot()
    #expect(snapshot.reason("HLT")?.handling.total == 4000)
    #expect(snapshot.reason("CPUID")?.handling.total == 500)
    #expect(snapshot.total.time.guest == 1000)
  }

  @Test("streams that interleave event by event lose nothing and invent nothing")
  func interleaved() throws {
    var trace = SyntheticTrace(streams: 5)
    for step in 0..<UInt64(2000) {
      for vcpu in 0..<UInt64(5) {
        let cpu = Int((vcpu + step / 7) % 5)
        trace.exit(10, at: 10_000 + step * 1000 + vcpu * 3, thread: Int32(100 + vcpu), vcpu: vcpu, cpu: cpu)
        trace.entry(at: 10_000 + step * 1000 + vcpu * 3 + 500, thread: Int32(100 + vcpu), vcpu: vcpu, cpu: cpu)
      }
    }
    let snapshot = try trace.snapshot()
    expectSumsToHold(snapshot)
    let row = try #require(snapshot.reason("CPUID"))
    #expect(row.count == 10_000)
    #expect(row.handling.paired == 10_000)
    #expect(row.handling.min == 500 && row.handling.max == 500)
    #expect(snapshot.vms.count == 1)
    #expect(snapshot.vms[0].vcpus.map(\.id) == [0, 1, 2, 3, 4])
    #expect(snapshot.vms[0].vcpus.allSatisfy { snapshot.scopes[$0.scope].exits == 2000 })
  }

  @Test("stand at the last event that was counted, whatever was read beyond it", arguments: [31, 32, 33] as [UInt64])
  func standing(seed: UInt64) throws {
    let made = EventfulTrace(seed: seed, steps: 3000, usesHost: false)
    var times: [UInt64] = []
    for page in made.pages.joined() {
      page.withUnsafeBytes { bytes in
        var cursor = SubBufferCursor(page: bytes, layout: PageLayout())
        while cursor.next() { times.append(cursor.timestamp) }
      }
    }
    times.sort()
    var aggregator = try Aggregator(metadata: SyntheticTrace.metadata())
    let source = MemoryPages(made.pages)
    for limit in stride(from: times[0], to: made.last, by: 1777) {
      aggregator.run(source, until: limit)
      #expect(aggregator.lastCounted == times.last { $0 <= limit }, "seed \(seed), up to \(limit)")
    }
  }

  @Test("live pages that come later are merged up to the watermark")
  func watermark() throws {
    var first = SyntheticTrace(streams: 2)
    first.exit(12, at: 1000, cpu: 0)
    first.exit(10, at: 1500, thread: 200, vcpu: 1, cpu: 0)
    let source = MemoryPages(first.finished())
    var counter = try Counter(metadata: SyntheticTrace.metadata())
    counter.run(source, until: 1200)
    #expect(counter.snapshot(now: 1200, start: 0).total.exits == 1)
    // The entry came on a CPU that was drained later, before an event that was already there.
    var second = SyntheticTrace(streams: 2)
    second.entry(at: 1400, cpu: 1)
    for page in second.finished()[1] { source.append(page, stream: 1) }
    counter.run(source, until: 2000)
    let snapshot = counter.snapshot(now: 2000, start: 0)
    #expect(snapshot.reason("HLT")?.handling.total == 400)
    #expect(snapshot.total.intervalExits == 1)
  }

  @Test("a vcpu_id that comes twice begins another VM, by inference")
  func inferredVMs() throws {
    var trace = SyntheticTrace()
    for (index, vcpu) in [UInt64(0), 1, 0, 1, 2].enumerated() {
      trace.exit(10, at: UInt64(1000 * (index + 1)), thread: Int32(100 + index), vcpu: vcpu)
    }
    let snapshot = try trace.snapshot()
    #expect(snapshot.vms.map { $0.vcpus.map(\.tid) } == [[100, 101], [102, 103, 104]])
    #expect(snapshot.vms.allSatisfy { $0.isInferred && $0.pid == nil })
    expectSumsToHold(snapshot)
  }

  @Test("the host's word on VMs is taken, idle vCPUs are shown, and a VM that ended keeps its name")
  func hostVMs() throws {
    var trace = SyntheticTrace()
    trace.exit(10, at: 1000, thread: 11, vcpu: 0)
    trace.exit(10, at: 2000, thread: 21, vcpu: 0)
    var counter = try Counter(metadata: SyntheticTrace.metadata())
    counter.run(MemoryPages(trace.finished()))
    let host = HostView(vms: [
      .init(pid: 20, name: "db", vcpus: [.init(id: 0, tid: 21)]),
      .init(pid: 10, name: "web", vcpus: [.init(id: 0, tid: 11), .init(id: 1, tid: 12)]),
    ])
    let first = counter.snapshot(host: host)
    #expect(first.vms.map(\.name) == ["web", "db"])
    #expect(first.vms[0].vcpus.map(\.tid) == [11, 12])
    #expect(first.scopes[first.vms[0].vcpus[1].scope].exits == 0)
    expectSumsToHold(first)
    let second = counter.snapshot(host: HostView(vms: [host.vms[0]]))
    #expect(second.vms.map(\.name) == ["web", "db"])
    #expect(second.vms[0].vcpus.map(\.isGone) == [true, true])
    #expect(second.vms[1].vcpus.map(\.isGone) == [false])
    expectSumsToHold(second)
  }

  /// One machine with one vCPU of that thread, which makes so many CPUID exits of 100 ns each.
  private func run(
    _ counter: inout Counter, _ source: MemoryPages, thread: Int32, exits: Int, at time: inout UInt64
  ) {
    var trace = SyntheticTrace()
    for _ in 0..<exits {
      trace.exit(10, at: time, thread: thread, rip: UInt64(thread) << 12)
      trace.entry(at: time + 100, thread: thread)
      time += 1000
    }
    for page in trace.finished()[0] { source.append(page, stream: 0) }
    counter.run(source)
  }

  @Test("a process and file descriptor that come again are another VM, and so is a thread id")
  func reusedIDs() throws {
    var counter = try Counter(metadata: SyntheticTrace.metadata())
    let source = MemoryPages([[]])
    var time: UInt64 = 1000
    func host(_ name: String, pid: Int32, tid: Int32) -> HostView {
      HostView(vms: [.init(pid: pid, fd: 7, name: name, vcpus: [.init(id: 0, tid: tid)])])
    }
    counter.engine.learn(host("first", pid: 50, tid: 51))
    run(&counter, source, thread: 51, exits: 3, at: &time)
    counter.engine.learn(HostView())
    counter.engine.learn(host("second", pid: 50, tid: 52))
    run(&counter, source, thread: 52, exits: 2, at: &time)
    let both = counter.snapshot()
    #expect(both.vms.map(\.name) == ["first", "second"])
    #expect(both.vms.map { both.scopes[$0.scope].exits } == [3, 2])
    #expect(both.vms[0].number != both.vms[1].number)
    // The first one's thread id is given to a third VM.
    counter.engine.learn(host("third", pid: 60, tid: 51))
    run(&counter, source, thread: 51, exits: 4, at: &time)
    let three = counter.snapshot()
    expectSumsToHold(three)
    #expect(three.vms.map(\.name) == ["second", "third", nil])
    #expect(three.vms.map { three.scopes[$0.scope].exits } == [2, 4, 3])
    #expect(three.vms.map(\.endedThreads) == [0, 0, 1])
    #expect(three.total.exits == 9)
    #expect(three.total.intervalExits == 4)
  }

  @Test("threads that ended are added up where there are many, and nothing of what they counted is lost")
  func endedThreads() throws {
    var counter = try Counter(metadata: SyntheticTrace.metadata())
    let source = MemoryPages([[]])
    var time: UInt64 = 1000
    var shown: UInt64 = 0
    for round in 0..<500 as Range<Int32> {
      let thread = 1000 + round
      counter.engine.learn(
        HostView(vms: [.init(pid: thread, fd: 7, name: "vm\(round)", vcpus: [.init(id: 0, tid: thread)])]))
      run(&counter, source, thread: thread, exits: 10, at: &time)
      if round % 50 == 49 {
        let snapshot = counter.snapshot()
        expectSumsToHold(snapshot)
        shown += snapshot.total.intervalExits
      }
    }
    let snapshot = counter.snapshot()
    #expect(shown == 5000)
    #expect(snapshot.total.exits == 5000)
    #expect(snapshot.vms.count <= Aggregator.mostEndedRows + 2)
    #expect(snapshot.vms.dropLast().last?.name == "vm499", "the latest keep their names")
    let ended = try #require(snapshot.vms.last)
    #expect(ended.endedThreads >= 400)
    #expect(snapshot.scopes[ended.scope].exits == 10 * ended.endedThreads)
    let row = try #require(snapshot.reason("CPUID"))
    #expect((row.count, row.handling.paired, row.handling.total) == (5000, 5000, 500_000))
    #expect((row.handling.min, row.handling.p50, row.handling.max) == (100, 100, 100))
    #expect(row.details.first { $0.kind == .rip }?.total == 5000)
  }

  @Test("of more threads than there is room for, those that were quiet longest are added up")
  func tooManyThreads() throws {
    var counter = try Counter(metadata: SyntheticTrace.metadata())
    let source = MemoryPages([[]])
    var time: UInt64 = 1000
    for thread in 1...5000 as ClosedRange<Int32> { run(&counter, source, thread: thread, exits: 1, at: &time) }
    let snapshot = counter.snapshot()
    #expect(snapshot.total.exits == 5000)
    let ended = try #require(snapshot.vms.last)
    #expect(ended.endedThreads == 2048)
    #expect(snapshot.scopes[ended.scope].exits == 2048)
    expectSumsToHold(snapshot)
  }

  @Test("only the vCPUs asked for are counted, and every event is still decoded")
  func filters() throws {
    var trace = SyntheticTrace()
    for vcpu in 0..<UInt64(4) {
      trace.exit(10, at: 1000 + vcpu, thread: Int32(100 + vcpu), vcpu: vcpu)
      trace.entry(at: 2000 + vcpu, thread: Int32(100 + vcpu), vcpu: vcpu)
    }
    var byID = trace
    let some = try byID.snapshot(AggregatorOptions(vcpuIDs: [1, 3]))
    #expect(some.total.exits == 2)
    #expect(some.events == 8)
    let one = try trace.snapshot(AggregatorOptions(threads: [102]))
    #expect(one.vms.flatMap(\.vcpus).map(\.tid) == [102])
  }
}

@Suite("Events that were lost")
struct LossTests {
  @Test("are counted by CPU, and no time is computed across them")
  func losses() throws {
    var trace = SyntheticTrace(streams: 2)
    trace.exit(12, at: 1000, cpu: 0)
    trace.exit(10, at: 1000, thread: 200, vcpu: 1, cpu: 1)
    trace.lose(.events(7), cpu: 0)
    trace.entry(at: 9000, cpu: 0)
    trace.entry(at: 1400, thread: 200, vcpu: 1, cpu: 1)
    trace.exit(12, at: 9500, cpu: 0)
    trace.entry(at: 9900, cpu: 0)
    let snapshot = try trace.snapshot()
    #expect(snapshot.losses.lost == 7)
    #expect(snapshot.losses.perCPU == [.init(cpu: 0, lost: 7, intervalLost: 7)])
    let row = try #require(snapshot.reason("HLT"))
    #expect(row.count == 2)
    #expect(row.handling.paired == 1)
    #expect(row.handling.total == 400)
    #expect(snapshot.reason("CPUID")?.handling.total == 400, "the other CPU lost nothing")
    #expect(snapshot.total.time.guest == 500)
  }

  @Test("of unknown number are told apart from a number")
  func uncounted() throws {
    var trace = SyntheticTrace()
    trace.exit(12, at: 1000)
    trace.lose(.unknown)
    trace.entry(at: 2000)
    let snapshot = try trace.snapshot()
    #expect(snapshot.losses.lost == 0)
    #expect(snapshot.losses.uncounted == 1)
    #expect(snapshot.reason("HLT")?.handling.paired == 0)
  }

  @Test("on either CPU void the time of a thread that changed CPUs")
  func migrationAcrossLoss() throws {
    var trace = SyntheticTrace(streams: 2)
    trace.exit(10, at: 500, thread: 200, vcpu: 1, cpu: 1)
    trace.lose(.events(1), cpu: 1)
    trace.exit(12, at: 1000, cpu: 0)
    trace.entry(at: 3000, cpu: 1)
    let snapshot = try trace.snapshot()
    // The gap lasts from 500 to 3000, whichever CPU is read first.
    #expect(snapshot.reason("HLT")?.handling.paired == 0)
    #expect(snapshot.reason("CPUID")?.handling.paired == 0)
  }

  @Test("void nothing once the CPU that lost them is heard of again")
  func migrationAfterLoss() throws {
    var trace = SyntheticTrace(streams: 3)
    trace.exit(10, at: 500, thread: 200, vcpu: 1, cpu: 1)
    trace.lose(.events(1), cpu: 1)
    trace.entry(at: 800, thread: 200, vcpu: 1, cpu: 1)
    trace.exit(12, at: 1000, cpu: 0)
    trace.entry(at: 3000, cpu: 2)
    #expect(try trace.snapshot().reason("HLT")?.handling.total == 2000)
  }

  @Test("are counted by the buffers' own counters where no sub-buffer could say how many")
  func counters() throws {
    var trace = SyntheticTrace(streams: 2)
    trace.exit(12, at: 1000, cpu: 0)
    trace.lose(.unknown, cpu: 0)
    trace.entry(at: 2000, cpu: 0)
    trace.exit(12, at: 1500, thread: 200, cpu: 1)
    trace.lose(.events(4), cpu: 1)
    trace.entry(at: 2500, thread: 200, cpu: 1)
    var counter = try Counter(metadata: SyntheticTrace.metadata())
    counter.run(MemoryPages(trace.finished()))
    counter.countLosses(all: false) { $0 == 0 ? 9 : 5 }
    let first = counter.snapshot().losses
    #expect(first.perCPU == [.init(cpu: 0, lost: 9, intervalLost: 9), .init(cpu: 1, lost: 4, intervalLost: 4)])
    #expect(first.uncounted == 0)
    // One more at the end, that no sub-buffer follows.
    counter.countLosses(all: true) { $0 == 0 ? 9 : 5 }
    let last = counter.snapshot().losses
    #expect(last.lost == 14)
    #expect(last.intervalLost == 1)
  }
}

@Suite("When a control flips")
struct SettingTests {
  @Test("counting goes on in a new setting and the old one stays readable")
  func apicvInhibit() throws {
    var trace = SyntheticTrace()
    trace.exit(12, at: 1000)
    trace.entry(at: 1100)
    trace.add("kvm_apicv_inhibit_changed", at: 1200, thread: 100, ["reason": 2, "set": 1, "inhibits": 4])
    trace.exit(12, at: 2000)
    trace.add("kvm_apicv_inhibit_changed", at: 2100, thread: 100, ["reason": 3, "set": 1, "inhibits": 12])
    trace.exit(10, at: 3000)
    let snapshot = try trace.snapshot()
    expectSumsToHold(snapshot)
    #expect(snapshot.reason("HLT")?.count == 2)
    #expect(snapshot.reason("HLT")?.settings == 2)
    #expect(
      snapshot.total.settings.map { snapshot.settings[$0.setting.rawValue - 1].label } == [
        "as found", "APICv inhibited",
      ])
    #expect(snapshot.total.settings.map(\.count) == [1, 2], "a second inhibit flips nothing")
    #expect(snapshot.total.settings[1].reasons.map(\.code).sorted() == [10, 12])
    #expect(snapshot.vms[0].vcpus[0].settingChanges.map(\.timestamp) == [1200])
  }

  @Test("back and forth, the same state is the same setting, however often it comes (AVIC and its interrupt windows)")
  func flipsBackAndForth() throws {
    var trace = SyntheticTrace()
    trace.exit(12, at: 1000)
    for step in 0..<300 as Range<UInt64> {
      let isSet = step & 1
      trace.add(
        "kvm_apicv_inhibit_changed", at: 2000 + step * 10, thread: 100,
        ["reason": 2, "set": 1 - isSet, "inhibits": (1 - isSet) * 4])
      trace.exit(12, at: 2005 + step * 10)
    }
    let snapshot = try trace.snapshot()
    #expect(
      snapshot.total.settings.map { snapshot.settings[$0.setting.rawValue - 1].label } == [
        "as found", "APICv inhibited", "APICv back",
      ])
    #expect(snapshot.total.settings.map(\.count) == [1, 150, 150])
    #expect(snapshot.total.settings.map(\.vcpus) == [0, 0, 1])
    // From the first event to the first flip; then ten nanoseconds each time.
    #expect(snapshot.total.settings.map(\.duration) == [1000, 1500, 1495])
    #expect(snapshot.vms[0].vcpus[0].settingChanges.count == 16)
    expectSumsToHold(snapshot)
  }
}

@Suite("Control words that were read")
struct ReadWordsTests {
  /// HLT_EXITING on, and off.
  private static let on = ControlSetting(pin: 0x3f, primary: 0xb5a0_6dfa, secondary: 0x0210_17ea)
  private static let off = ControlSetting(pin: 0x3f, primary: 0xb5a0_6d7a, secondary: 0x0210_17ea)

  private func labels(_ snapshot: Snapshot) -> [String] {
    snapshot.total.settings.map { snapshot.description($0.setting)?.label ?? "?" }
  }

  /// HLT exits one after another, ten nanoseconds apart; counting stops where it is told.
  private func pages(exits: Int, threads: [Int32] = [100]) -> MemoryPages {
    var trace = SyntheticTrace()
    for index in 0..<exits {
      let thread = threads[index % threads.count]
      trace.exit(12, at: 1000 + UInt64(index) * 10, thread: thread, vcpu: UInt64(index % threads.count))
      trace.entry(at: 1005 + UInt64(index) * 10, thread: thread)
    }
    return MemoryPages(trace.finished())
  }

  @Test("divide the exits at the moment they were seen to change, to the exit")
  func change() throws {
    var counter = try Counter(metadata: SyntheticTrace.metadata())
    let pages = pages(exits: 100)
    counter.run(pages, until: 1195)
    counter.engine.learn([100: Self.on], at: 1195)
    counter.run(pages, until: 1599)
    counter.engine.learn([100: Self.off], at: 1599)
    counter.run(pages)
    let snapshot = counter.snapshot()
    expectSumsToHold(snapshot)
    #expect(labels(snapshot) == ["#1", "#2"])
    #expect(snapshot.total.settings.map(\.count) == [60, 40], "what was counted before the first look is of the first")
    #expect(snapshot.total.settings.map(\.vcpus) == [0, 1])
    #expect(snapshot.total.settings.map(\.duration) == [599, 396])
    #expect(snapshot.reason("HLT")?.count == 100)
    let hlt = try #require(ControlID(word: .primary, bit: 7))
    var shown = snapshot
    shown.controlWords = [100: Self.off]
    #expect(shown.status(hlt, on: [100]).now == .off)
    #expect(shown.status(hlt, on: [100]).since == 1599)
    let mwait = try #require(ControlID(word: .primary, bit: 10))
    #expect(shown.status(mwait, on: [100]).since == nil)
    let second = try #require(snapshot.description(snapshot.total.settings[1].setting))
    let first = try #require(snapshot.description(snapshot.total.settings[0].setting))
    #expect(second.difference(from: first).map(\.control) == [hlt])
    #expect(second.difference(from: first).map(\.isOn) == [false])
  }

  @Test("that come back are the same setting again, and its time adds up")
  func backAgain() throws {
    var counter = try Counter(metadata: SyntheticTrace.metadata())
    let pages = pages(exits: 90)
    for (time, words) in [(UInt64(1000), Self.on), (1299, Self.off), (1599, Self.on)] {
      counter.run(pages, until: time)
      counter.engine.learn([100: words], at: time)
    }
    counter.run(pages)
    let snapshot = counter.snapshot()
    expectSumsToHold(snapshot)
    #expect(snapshot.total.settings.map(\.count) == [60, 30])
    #expect(snapshot.total.settings.map(\.duration) == [299 + 296, 300])
    #expect(snapshot.total.settings.map(\.time.total).reduce(0, +) == snapshot.total.time.total)
  }

  @Test("of two vCPUs that differ are two settings from the start, and alike ones are one")
  func twoVCPUs() throws {
    var counter = try Counter(metadata: SyntheticTrace.metadata())
    let pages = pages(exits: 90, threads: [100, 101, 102])
    counter.run(pages, until: 1500)
    counter.engine.learn([100: Self.on, 101: Self.off, 102: Self.on], at: 1500)
    counter.run(pages)
    let snapshot = counter.snapshot()
    expectSumsToHold(snapshot)
    #expect(labels(snapshot).sorted() == ["#1", "#2"])
    let byWords = Dictionary(
      uniqueKeysWithValues: snapshot.total.settings.map { (snapshot.description($0.setting)?.words, $0) })
    #expect(byWords[Self.on]?.count == 60)
    #expect(byWords[Self.on]?.vcpus == 2)
    #expect(byWords[Self.off]?.count == 30)
    #expect(snapshot.vms.flatMap(\.vcpus).allSatisfy { $0.settingChanges.isEmpty })
  }

  @Test("of a vCPU that could not be read are not taken from another")
  func unread() throws {
    var counter = try Counter(metadata: SyntheticTrace.metadata())
    let pages = pages(exits: 40, threads: [100, 101])
    counter.run(pages, until: 1200)
    counter.engine.learn([100: Self.on], at: 1200)
    counter.run(pages)
    let snapshot = counter.snapshot()
    #expect(Set(labels(snapshot)) == ["as found", "#1"])
    #expect(snapshot.total.settings.map(\.count) == [20, 20])
  }

  @Test("that KVM flips in normal running open no setting: interrupt and NMI window, preemption timer")
  func normalRunning() throws {
    var counter = try Counter(metadata: SyntheticTrace.metadata())
    let pages = pages(exits: 100)
    for step in 0..<90 as Range<UInt64> {
      counter.run(pages, until: 1000 + step * 10)
      var words = Self.on
      if step % 2 == 1 { words.primary = Self.on.primary.map { $0 | 1 << 2 } }
      if step % 3 == 1 { words.primary = Self.on.primary.map { $0 | 1 << 22 } }
      if step % 5 == 1 { words.pin = words.pin.map { $0 ^ 1 << 6 } }
      counter.engine.learn([100: words], at: 1000 + step * 10)
    }
    counter.run(pages)
    #expect(labels(counter.snapshot()) == ["#1"])
  }

  @Test("more than a host has are counted together, and no exit is lost")
  func tooMany() throws {
    var counter = try Counter(metadata: SyntheticTrace.metadata())
    let pages = pages(exits: 500)
    for step in 0..<400 as Range<UInt64> {
      counter.run(pages, until: 1000 + step * 10)
      counter.engine.learn([100: ControlSetting(secondary: UInt32(step) << 16)], at: 1000 + step * 10)
    }
    counter.run(pages)
    let snapshot = counter.snapshot()
    expectSumsToHold(snapshot)
    #expect(snapshot.settings.count == SettingRegistry.limit)
    #expect(snapshot.total.exits == 500)
  }

  @Test("stay with what was counted when the thread has ended")
  func retirement() throws {
    var counter = try Counter(metadata: SyntheticTrace.metadata())
    let pages = pages(exits: 60)
    counter.run(pages, until: 1299)
    counter.engine.learn([100: Self.on], at: 1299)
    counter.engine.learn([100: Self.off], at: 1299)
    counter.run(pages)
    counter.engine.retireOldest(1) { _ in true }
    let snapshot = counter.snapshot()
    expectSumsToHold(snapshot)
    #expect(snapshot.total.settings.map(\.count) == [30, 30])
    #expect(snapshot.total.settings.map(\.vcpus) == [0, 0])
  }
}
