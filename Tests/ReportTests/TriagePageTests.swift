import Aggregator
import Architecture
import Report
import Testing

@Suite("triage as a page") struct TriagePageTests {
  @Test("is what an operator pastes: golden") func golden() {
    let page = report(sampleSnapshot(), knobs: ["kvm.halt_poll_ns": "200000"]).page()
    let expected = """
      vmctop triage  skx01  Linux 6.1.0  kvm_intel (vmx)
      10.00 s live: 250 events, 100 exits (10.0/s)
      vCPU time: guest 90.0%  kernel 6.0%  user 4.0%  halted 0.0%
      No event was lost: the counts are exact.

      WHY IT EXITS
      REASON         COUNT    % TIME%   MEAN    P99    MAX  CHARGED TO
      IO_INSTRUCTION    60 60.0  95.2 20.0us 30.0us 30.0us  UNCOND_IO_EXITING
      HLT               30 30.0   4.8  1.5us  2.0us  2.0us  HLT_EXITING
      CPUID             10 10.0   0.0      -      -      -  unconditional

      WHAT IN PARTICULAR
      IO_INSTRUCTION  port 0x3f8 COM1 90.0 %, 0x70 10.0 %

      WHICH CONTROLS CAUSE IT
         %  EXITS  TIME%  CONTROL
      60.0     60    0.0  CPU_BASED_UNCOND_IO_EXITING  (primary bit 24)
      30.0     30    0.0  CPU_BASED_HLT_EXITING  (primary bit 7)
      10.0     10    0.0  UNCONDITIONAL  (no control suppresses them)

      WHO
      VM pid 1234, 1 vCPU: 100 exits (100 %)  qemu  web01
        vCPU 0  tid 1236  100  guest 90.0%  kernel 6.0%  user 4.0%  halted 0.0%

      WHAT IT MEANS, WHAT TO DO
      IO_INSTRUCTION: legacy device ports
        - virtio-1.0 with ioeventfd=on
        - guest console=hvc0
      HLT: guest idle
        - kvm.halt_poll_ns changes the wake-up cost, not the count (now
          kvm.halt_poll_ns=200000)
      CPUID: no known cause

      """
    #expect(page == expected)
  }

  @Test("says of each control what it is now, what vmcs_config has and what the processor allows, where they were read")
  func standing() {
    var snapshot = sampleSnapshot()
    for vcpu in snapshot.vms.flatMap(\.vcpus) { snapshot.controlWords[vcpu.tid] = ControlSetting(pin: 1 << 5) }
    var host = HostControls()
    host.configuration.words = ControlSetting(pin: 1 << 5)
    host.capabilities.words[.pin] = ControlCapability(word: .pin, allowed0: 0, allowed1: 1 << 5)
    snapshot.hostControls = host
    let page = report(snapshot).page()
    #expect(page.contains("   %  EXITS  TIME%  NOW  CFG  ALLOWED  CONTROL"))
    #expect(page.contains("30.0     30    0.0    1    1      0/1  CPU_BASED_HLT_EXITING  (primary bit 7)"))
    #expect(page.contains("10.0     10    0.0    -    -        -  UNCONDITIONAL  (no control suppresses them)"))
  }

  @Test("says of losses where they were and that counts are lower bounds") func losses() {
    var snapshot = sampleSnapshot()
    snapshot.losses.lost = 1234
    snapshot.losses.perCPU = [
      .init(cpu: 1, lost: 0, intervalLost: 0), .init(cpu: 3, lost: 1000, intervalLost: 0),
      .init(cpu: 5, lost: 234, intervalLost: 0),
    ]
    let page = report(snapshot).page()
    #expect(page.contains("1,234 events lost (CPU 3: 1,000, CPU 5: 234)"))
    #expect(!page.contains("CPU 1"))
    #expect(page.contains("lower bounds"))
    #expect(!page.contains("exact"))
  }

  @Test("does not call a loss counted that nobody counted") func uncountedLosses() {
    var snapshot = sampleSnapshot()
    snapshot.losses.uncounted = 2
    #expect(report(snapshot).page().contains("did not say how many"))
    snapshot.losses.lost = 7
    #expect(report(snapshot).page().contains("at least 7 events lost"))
  }

  @Test("a damaged recording is not called exact, and the page says where it is damaged") func damage() throws {
    var damaged = report(sampleSnapshot())
    damaged.damage = ["at byte 4096: a page of \u{1b} nonsense"]
    #expect(damaged.page().contains("DAMAGED  at byte 4096: a page of ? nonsense"))
    #expect(!damaged.page().contains("exact"))
    #expect(try damaged.json().contains("\"damage\":[\"at byte 4096"))
    var snapshot = sampleSnapshot()
    snapshot.malformedRecords = 3
    #expect(report(snapshot).page().contains("3 records contradicted their own format"))
    #expect(!report(snapshot).page().contains("exact"))
  }

  @Test("without an exit it says so, what was seen instead and what to check") func noExits() {
    var snapshot = Snapshot()
    snapshot.events = 5
    snapshot.eventCounts = [EventCount(name: "sched_switch", count: 5, intervalCount: 5)]
    let page = report(snapshot).page()
    #expect(page.contains("No exit was seen."))
    #expect(page.contains("5  sched_switch"))
    #expect(page.contains("vmctop doctor"))
    snapshot.source.kind = .traceDat
    #expect(report(snapshot).page().contains("trace-cmd record"))
  }

  @Test("halted time is not held against HLT") func halted() {
    var snapshot = sampleSnapshot()
    snapshot.scopes[0].reasons[1].handling = latency([1_000_000, 3_000_000])
    snapshot.scopes[0].reasons[1].figures.total = ExitCounts(count: 30, handling: 4_000_000, halted: 3_990_000)
    let page = report(snapshot).page()
    #expect(page.contains("HLT: 99.8 % of its time the vCPU was halted"))
    // IO_INSTRUCTION costs less than the idle time, and is still what to look at first.
    let advice = page.components(after: "WHAT TO DO\n")
    #expect(advice.hasPrefix("IO_INSTRUCTION"))
  }

  @Test("shows remedies that the host already has last, with their values") func satisfiedKnobs() throws {
    var snapshot = sampleSnapshot()
    snapshot.scopes[0].reasons = [
      ReasonStatistics(
        isa: 1, code: 40, name: "PAUSE_INSTRUCTION", figures: ExitFigures(total: ExitCounts(count: 9)),
        charges: [charge(noControl, 9)])
    ]
    let page = report(snapshot, knobs: ["kvm_intel.ple_gap": "0", "kvm_intel.ept": "N"]).page()
    let ept = try #require(page.range(of: "kvm_intel.ept=1 (now kvm_intel.ept=N)"))
    let gap = try #require(page.range(of: "turns PLE off (already: kvm_intel.ple_gap=0)"))
    #expect(ept.lowerBound < gap.lowerBound)
  }

  @Test("a hostile name stays on its line and sends nothing to the terminal") func hostileNames() {
    var snapshot = sampleSnapshot()
    snapshot.vms[0].name = "a\u{1b}]0;x\u{7}\r\nEVIL\u{202e}\u{2028}b"
    snapshot.source.hostName = "\u{9b}2J"
    snapshot.scopes[0].reasons[0].name = "IO\nX"
    let page = report(snapshot).page()
    for scalar in page.unicodeScalars where scalar != "\n" {
      #expect(scalar.value >= 0x20 && scalar.value != 0x7f && !(0x80...0x9f).contains(scalar.value))
    }
    #expect(page.contains("a?]0;x???EVIL??b"))
    #expect(!page.split(separator: "\n").contains("EVIL"))
  }

  @Test("a hundred reasons, VMs and vCPUs still make one page") func isOnePage() {
    var snapshot = sampleSnapshot()
    snapshot.scopes[0].reasons = (0..<100).map { index in
      ReasonStatistics(
        isa: 1, code: 100 + UInt32(index), name: "REASON_\(index)",
        figures: ExitFigures(total: ExitCounts(count: UInt64(1000 - index))), handling: latency([1000]),
        charges: [charge(noControl, UInt64(1000 - index))])
    }
    let vcpu = snapshot.vms[0].vcpus[0]
    snapshot.vms[0].vcpus = Array(repeating: vcpu, count: 100)
    snapshot.vms = Array(repeating: snapshot.vms[0], count: 100)
    let lines = report(snapshot).page().split(separator: "\n", omittingEmptySubsequences: false)
    #expect(lines.count < 66)
    #expect(lines.filter { $0.count > 80 } == [])
    #expect(lines.contains { $0.hasPrefix("and 90 more reasons: ") })
    #expect(lines.contains { $0.hasPrefix("and 97 more VMs") })
  }

  @Test("figures at the end of their range are no crash") func extremes() throws {
    var snapshot = sampleSnapshot()
    snapshot.events = .max
    snapshot.windowNanoseconds = .max
    snapshot.scopes[0].exits = .max
    snapshot.scopes[0].time.guest = .max
    snapshot.scopes[0].time.halted = .max
    snapshot.scopes[0].reasons[0].count = .max
    snapshot.scopes[0].reasons[0].handling.total = .max
    snapshot.scopes[0].reasons[0].handling.max = .max
    snapshot.scopes[0].reasons[0].details[0].entries[0].value = .max
    snapshot.losses.lost = .max
    snapshot.losses.perCPU = [.init(cpu: .max, lost: .max, intervalLost: .max)]
    #expect(report(snapshot).page().contains("18,446,744,073,709,551,615 events"))
    _ = try report(snapshot).json()
    _ = try BatchTable(vocabulary: vocabulary).text(snapshot)
  }
}

extension String {
  fileprivate func components(after marker: String) -> Substring {
    guard let range = self.range(of: marker) else { return "" }
    return self[range.upperBound...]
  }

  fileprivate func range(of text: String) -> Range<String.Index>? { firstRange(of: text) }
}
