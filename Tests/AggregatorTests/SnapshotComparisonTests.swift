import Aggregator
import Architecture
import Testing

@Suite("The comparison of two countings")
struct SnapshotComparisonTests {
  private typealias Exits = (code: UInt32, name: String, count: UInt64, each: UInt64, control: ControlID)
  private typealias Side = SnapshotComparison.Side

  // Three controls that no exit of these codes would be charged to: what is tested is the arithmetic.
  private static let io = ControlID(rawValue: 24)
  private static let none = ControlID(rawValue: 0)

  /// A snapshot of so many seconds, of each reason: code, name, exits, time of each exit, and what it is charged to.
  private func snapshot(seconds: Double = 10, _ exits: [Exits], halted: UInt64 = 0) -> Snapshot {
    var snapshot = Snapshot()
    snapshot.source.kind = .traceDat
    snapshot.windowNanoseconds = UInt64(seconds * 1e9)
    snapshot.scopes = [scope(exits, halted: halted)]
    return snapshot
  }

  private func scope(_ exits: [Exits], halted: UInt64 = 0) -> ScopeStatistics {
    var scope = ScopeStatistics()
    scope.time.halted = halted
    var controls: [ControlID: ChargeStatistics] = [:]
    for (code, name, count, each, control) in exits {
      var handling = LatencySummary()
      (handling.paired, handling.total, handling.p99) = (count, count * each, each * 3)
      // All of the time halted is HLT's.
      let figures = ExitFigures(
        total: ExitCounts(count: count, handling: count * each, halted: code == 12 ? halted : 0))
      let charge = ChargeStatistics(control: control, figures: figures)
      if let row = scope.reasons.firstIndex(where: { $0.code == code }) {
        scope.reasons[row].figures.add(figures)
        scope.reasons[row].handling.paired += count
        scope.reasons[row].handling.total += count * each
        scope.reasons[row].charges.append(charge)
      } else {
        scope.reasons.append(
          ReasonStatistics(
            isa: 1, code: code, name: name, figures: figures, handling: handling, charges: [charge]))
      }
      scope.exits += count
      controls[control, default: ChargeStatistics(control: control)].figures.add(figures)
    }
    scope.controls = controls.values.sorted { $0.control < $1.control }
    return scope
  }

  private func compare(_ a: Side, _ b: Side) -> SnapshotComparison {
    SnapshotComparison(a, b, controlName: { $0.name })
  }

  private func everything(_ a: Snapshot, _ b: Snapshot) -> SnapshotComparison.Scope {
    compare(Side(a), Side(b)).everything
  }

  // MARK: - Two countings

  @Test("puts the change in time per second first, then that in exits per second")
  func order() {
    let scope = everything(
      snapshot([
        (30, "IO_INSTRUCTION", 10_000, 5000, Self.io), (10, "CPUID", 100_000, 100, Self.none),
        (54, "WBINVD", 5000, 100, Self.none),
      ]),
      snapshot([
        (30, "IO_INSTRUCTION", 20_000, 5000, Self.io), (10, "CPUID", 200_000, 100, Self.none),
        (54, "WBINVD", 5010, 100, Self.none),
      ]))
    #expect(scope.reasons.map(\.name) == ["IO_INSTRUCTION", "CPUID", "WBINVD"])
    #expect(scope.reasons.map(\.isSignificant) == [true, true, false])
    #expect(scope.reasons.map(\.rateChange) == ["+100%", "+100%", "~"])
    #expect(scope.reasons[0].a.rate == 1000)
    #expect(scope.reasons[0].b.timePerSecond == 10_000_000)
    #expect(scope.controls.first?.control == Self.io)
    #expect(scope.total.b.count == 225_010)
    #expect(scope.total.b.share == 1)
  }

  @Test("compares rates, not counts: windows of different lengths of the same load are no change")
  func windows() {
    let scope = everything(
      snapshot(seconds: 10, [(10, "CPUID", 100_000, 100, Self.none)]),
      snapshot(seconds: 20, [(10, "CPUID", 200_100, 100, Self.none)]))
    #expect(!scope.hasSignificantChange)
  }

  @Test("takes what counting alone can make for no change", arguments: [(9, 20, false), (9, 40, true)])
  func poisson(before: UInt64, after: UInt64, isChange: Bool) {
    // sqrt(9 + 20) = 5.4, three times that is 16; sqrt(9 + 40) = 7, three times that is 21.
    let scope = everything(
      snapshot([(10, "CPUID", before, 100, Self.none)]), snapshot([(10, "CPUID", after, 100, Self.none)]))
    #expect(scope.reasons[0].isRateSignificant == isChange)
    #expect(scope.hasSignificantChange == isChange)
  }

  @Test("a longer time of the same number of exits is a change, of a few exits none")
  func slower() {
    let many = everything(
      snapshot([(30, "IO_INSTRUCTION", 5000, 4000, Self.io)]), snapshot([(30, "IO_INSTRUCTION", 5000, 6000, Self.io)]))
    #expect(!many.reasons[0].isRateSignificant)
    #expect(many.reasons[0].isTimeSignificant)
    let few = everything(
      snapshot([(30, "IO_INSTRUCTION", 5, 4000, Self.io)]), snapshot([(30, "IO_INSTRUCTION", 5, 6000, Self.io)]))
    #expect(!few.hasSignificantChange)
  }

  @Test("writes a change in at most six characters, whatever the figures")
  func changes() {
    for (before, after, text) in [
      (1.0, 1.12, "+12%"), (100, 65, "-35%"), (1, 12, "x12"), (0, 5, "new"), (5, 0, "gone"), (1, 1e9, "x>9999"),
      (1e-300, 1e300, "x>9999"), (1000, 1001, "+<1%"), (1000, 999, "-<1%"), (1, 9.994, "+899%"), (1, 9999.4, "x9999"),
    ] {
      #expect(SnapshotComparison.change(before, after, true) == text)
      #expect(text.count <= 6)
      #expect(SnapshotComparison.change(before, after, false) == "~")
    }
  }

  @Test("a halted vCPU is idle: that time is no cost on either side")
  func halted() throws {
    let control = try #require(fixedGoverningControl(isa: 1, code: 12))
    let scope = everything(
      snapshot([(12, "HLT", 1000, 1_000_000, control)], halted: 990_000_000),
      snapshot([(12, "HLT", 1000, 5_000_000, control)], halted: 4_990_000_000))
    #expect(scope.reasons[0].a.timePerSecond == 1_000_000)
    #expect(scope.reasons[0].b.timePerSecond == 1_000_000)
    #expect(!scope.hasSignificantChange)
  }

  @Test("names the controls that are others, from the words that the vCPUs had at the end")
  func controls() throws {
    func with(_ words: [ControlSetting]) -> Snapshot {
      var snapshot = snapshot([(10, "CPUID", 1000, 100, Self.none)])
      var vm = VirtualMachineStatistics()
      vm.vcpus = words.indices.map { VCPUStatistics(tid: Int32($0)) }
      for index in words.indices {
        snapshot.settings.append(
          SettingDescription(setting: VCPUSetting(rawValue: index + 2), number: index + 1, words: words[index]))
        vm.vcpus[index].setting = VCPUSetting(rawValue: index + 2)
      }
      snapshot.vms = [vm]
      return snapshot
    }
    let on = ControlSetting(primary: 0xb5a0_6dfa)
    let off = ControlSetting(primary: 0xb5a0_6d7a)
    // The interrupt window comes and goes: no setting.
    let window = ControlSetting(primary: 0xb5a0_6dfe)
    let hlt = try #require(ControlID(word: .primary, bit: 7))
    #expect(everything(with([on, on]), with([off, off])).changes == [.init(control: hlt, a: .on, b: .off)])
    #expect(everything(with([on, on]), with([on, off])).changes == [.init(control: hlt, a: .on, b: .mixed)])
    #expect(everything(with([on]), with([window])).changes == [])
    #expect(everything(with([on]), with([])).changes == nil)
    // Live, the words that were just read are what counts.
    var read = with([on])
    read.controlWords[0] = off
    #expect(everything(with([on]), read).changes == [.init(control: hlt, a: .on, b: .off)])
  }

  // MARK: - VMs

  /// VMs by name and number; CPUID exits of the only vCPU of each. Threads are numbered from `threads`.
  private func host(
    _ vms: [(name: String?, number: Int?, exits: UInt64)], threads: Int32 = 100, path: String = "/t",
    seconds: Double = 10
  ) -> Snapshot {
    let all = vms.reduce(0) { $0 + $1.exits }
    var snapshot = snapshot(seconds: seconds, [(10, "CPUID", all, 100, Self.none)])
    snapshot.source.path = path
    for (index, vm) in vms.enumerated() {
      var row = VirtualMachineStatistics()
      row.name = vm.name
      row.number = vm.number
      row.scope = snapshot.scopes.count
      var vcpu = VCPUStatistics(tid: threads + Int32(index))
      vcpu.id = 0
      vcpu.scope = row.scope + 1
      row.vcpus = [vcpu]
      for _ in 0..<2 { snapshot.scopes.append(scope([(10, "CPUID", vm.exits, 100, Self.none)])) }
      snapshot.vms.append(row)
    }
    return snapshot
  }

  @Test("VMs are matched by name; those without, or with one that two have, only count in the whole")
  func machines() {
    let before = host([("a", 1, 100), ("b", 2, 900), (nil, 3, 100), ("twice", 4, 1), ("twice", 5, 2)])
    let after = host([("b", 1, 300), ("c", 2, 100), ("twice", 3, 1)], threads: 500, path: "/other")
    let machines = compare(Side(before), Side(after)).machines
    #expect(machines.both.map(\.vm) == ["b"])
    #expect(machines.both[0].total.a.count == 900)
    #expect(machines.both[0].total.b.count == 300)
    #expect(machines.onlyInA == ["a"])
    #expect(machines.onlyInB == ["c", "twice"])
  }

  @Test("what is looked at has a counterpart: of one source itself, of another the VM of its name, or the only one")
  func counterparts() {
    let first = host([("a", 1, 100), ("b", 2, 900)])
    let same = compare(Side(first), Side(host([("a", 1, 150), ("b", 2, 950), ("new", 3, 5)])))
    #expect(same.scope(.vm(.known(2)))?.total.a.count == 900)
    #expect(same.scope(.vcpu(tid: 101))?.total.b.count == 950)
    #expect(same.scope(.vm(.known(3))) == nil)
    #expect(same.scope(.vcpu(tid: 102)) == nil)
    #expect(same.scope(.vcpu(tid: 999)) == nil)
    let other = compare(Side(first), Side(host([("b", 1, 7), (nil, 2, 8)], threads: 500, path: "/other")))
    #expect(other.scope(.vm(.known(1)))?.total.a.count == 900)
    #expect(other.scope(.vcpu(tid: 500))?.total.a.count == 900)
    #expect(other.scope(.vm(.known(2))) == nil, "no name, and not the only one")
    let only = compare(
      Side(host([(nil, nil, 3)])), Side(host([(nil, nil, 4)], threads: 500, path: "/other")))
    #expect(only.scope(.vm(.thread(500)))?.total.a.count == 3)
    // A guest that was started anew is still the guest of that name.
    let anew = compare(Side(first), Side(host([("a", 1, 150), ("b", 7, 20)], threads: 300)))
    #expect(anew.scope(.vm(.known(7)))?.total.a.count == 900)
  }

  @Test("a VM whose threads ended is compared as it was with what is left of it, and so are those that ended")
  func endedThreads() {
    var early = host([("a", 1, 100), ("b", 2, 900)])
    var late = host([("a", 1, 50), ("b", 2, 50)], seconds: 2)
    // Its second thread has ended since: what it counted after the mark is with those that did.
    early.scopes[early.vms[0].scope] = scope([(10, "CPUID", 100 + 5000, 100, Self.none)])
    let same = compare(Side(early), Side(late)).scope(.vm(.known(1)))
    #expect(same?.total.a.count == 5100)
    #expect(same?.total.b.count == 50)
    (late.vms[1].number, late.vms[1].name) = (nil, nil)
    late.vms[1].endedThreads = 9
    #expect(compare(Side(early), Side(late)).scope(.vm(.ended)) == nil, "none had ended before")
    (early.vms[1].number, early.vms[1].name) = (nil, nil)
    early.vms[1].endedThreads = 3
    #expect(compare(Side(early), Side(late)).scope(.vm(.ended))?.total.b.count == 50)
  }

  @Test("what is kept to compare with has the counts, and no details")
  func countsAlone() {
    var full = snapshot([(10, "CPUID", 1000, 100, Self.none)])
    full.scopes[0].history = [1, 2, 3]
    full.scopes[0].reasons[0].details = [DetailStatistics(kind: .rip, total: 1, isApproximate: false, entries: [])]
    full.sinceMark = SinceMark(before: full, after: full)
    full.messages = [LogMessage(level: .info, seconds: 0, text: "x")]
    let kept = full.countsAlone
    #expect(kept.scopes[0].reasons[0].details.isEmpty)
    #expect(kept.scopes[0].history.isEmpty)
    #expect(kept.messages.isEmpty)
    #expect(kept.sinceMark == nil)
    #expect(!everything(full, kept).hasSignificantChange)
  }
}
