import Aggregator
import Architecture
import FrontSupport
import Screen
import Testing

@testable import Front

@Suite struct KeyTests {
  @Test func helpContainsEveryKeyOfTheKeymap() {
    var model = modelAfter(2)
    press(&model, "?")
    let help = render(model, 120, 160).text
    for binding in Keymap.bindings {
      #expect(help.contains(Keymap.label(binding)), "\(binding.command)")
      #expect(help.contains(binding.help), "\(binding.command)")
    }
    for column in ReasonFigures.columns { #expect(help.contains(column.help)) }
  }

  @Test func noKeyMeansTwoThings() {
    let keys = Keymap.bindings.flatMap(\.keys)
    #expect(Set(keys).count == keys.count)
  }

  @Test func quitIsAskedFor() {
    var model = modelAfter(1)
    #expect(model.handle(.character("q")) == [.quit])
    press(&model, ":q")
    #expect(model.handle(.enter) == [.quit])
  }

  @Test func panesAreReachedByNumberAndTab() {
    var model = modelAfter(1)
    for pane in Pane.allCases {
      press(&model, pane.key)
      #expect(model.pane == pane)
    }
    _ = model.handle(.tab)
    #expect(model.pane == .exits)
    _ = model.handle(.backTab)
    #expect(model.pane == .diff)
  }

  @Test func theIntervalGrowsAndShrinksInSteps() {
    var model = modelAfter(1)
    #expect(model.handle(.character("+")) == [.setInterval(2)])
    #expect(model.handle(.character("-")) == [.setInterval(1)])
    #expect(model.handle(.character("-")) == [.setInterval(0.5)])
    press(&model, ":interval 0.25")
    #expect(model.handle(.enter) == [.setInterval(0.25)])
    press(&model, ":interval 0")
    #expect(model.handle(.enter) == [])
    #expect(model.message != nil)
  }

  @Test func aPausedLiveViewKeepsItsFigures() {
    var host = SyntheticHost()
    var model = FrontModel(names: FixedNames())
    model.observe(host.next())
    #expect(model.handle(.character(" ")) == [.setPaused(true)])
    let sequence = model.snapshot?.sequence
    model.observe(host.next())
    #expect(model.snapshot?.sequence == sequence)
    #expect(render(model).text.contains("PAUSED"))
    #expect(model.handle(.character(" ")) == [.setPaused(false)])
    model.observe(host.next())
    #expect(model.snapshot?.sequence != sequence)
  }

  @Test func keysOfRecordingsDoNothingLive() {
    var model = modelAfter(1)
    for key in "tT[]bL".unicodeScalars {
      #expect(model.handle(.character(key)) == [])
      #expect(model.message?.contains("recordings") == true)
    }
  }

  @Test func recordingsAreSteppedAndSearched() {
    var host = SyntheticHost()
    var model = FrontModel(names: FixedNames())
    model.observe(SyntheticHost.asRecording(host.next(), position: 1_000_000_000, duration: 36_000_000_000))
    #expect(model.handle(.character("t")) == [.setPaused(true), .step(1)])
    #expect(model.handle(.character("T")) == [.setPaused(true), .step(-1)])
    #expect(model.handle(.character("]")) == [.seekBy(1.8)])
    #expect(model.handle(.character("[")) == [.seekBy(-1.8)])
    #expect(model.handle(.character("L")) == [.goLive])
    #expect(model.handle(.character(" ")) == [.setPaused(true)])
    press(&model, "b0:12.5")
    #expect(model.handle(.enter) == [.seekTo(12_500_000_000)])
    press(&model, "b50%")
    #expect(model.handle(.enter) == [.seekTo(18_000_000_000)])
    press(&model, "b99:00")
    #expect(model.handle(.enter) == [.seekTo(36_000_000_000)])
    press(&model, "bsoon")
    #expect(model.handle(.enter) == [])
    press(&model, ":speed 4")
    #expect(model.handle(.enter) == [.setSpeed(4)])
  }

  @Test func atTheEndOfARecordingJumpsHoldAndSpacePlaysAgain() {
    var host = SyntheticHost()
    var model = FrontModel(names: FixedNames())
    var last = SyntheticHost.asRecording(host.next(), position: 36_000_000_000, duration: 36_000_000_000)
    last.playback?.isFinished = true
    model.observe(last)
    #expect(render(model).text.contains("space play"))
    #expect(model.handle(.character("[")) == [.setPaused(true), .seekBy(-1.8)])
    press(&model, "b1")
    #expect(model.handle(.enter) == [.setPaused(true), .seekTo(1_000_000_000)])
    #expect(model.handle(.character(" ")) == [.seekTo(0), .setPaused(false)])
  }

  @Test func aTitleSaysHostKernelAndBackendAsFarAsThereIsRoom() {
    var source = SourceDescription()
    source.hostName = "skx01.example.org"
    source.kernelRelease = "6.12.0-1-amd64"
    source.backend = "kvm_intel"
    func title(_ room: Int) -> String? {
      Painter.hosts(source, isLive: source.kind == .tracefs, hasEvents: true).first { $0.displayWidth <= room }
    }
    #expect(title(80) == "skx01.example.org · 6.12.0-1-amd64 · kvm_intel")
    #expect(title(40) == "skx01 · 6.12.0-1-amd64 · kvm_intel")
    #expect(title(30) == "skx01 · 6.12.0 · kvm_intel")
    #expect(title(20) == "skx01 · kvm_intel")
    #expect(title(10) == "kvm_intel")
    #expect(title(3) == nil)
    source.kind = .traceDat
    #expect(title(20) == "6.12.0 · kvm_intel")
    source.hostName = "(none)"
    #expect(title(80) == "6.12.0-1-amd64 · kvm_intel")
  }

  @Test func troubleIsToldAtOnceUntilTheNextKey() {
    var host = SyntheticHost()
    var model = FrontModel(names: FixedNames())
    model.observe(host.next())
    var next = host.next()
    next.messages.append(LogMessage(level: .error, seconds: 2, text: "cannot go live: no tracefs"))
    model.observe(next)
    #expect(render(model).text.contains(" cannot go live: no tracefs"))
    press(&model, "j")
    next.sequence += 1
    model.observe(next)
    #expect(!render(model).text.contains("cannot go live"))
    next.messages.append(LogMessage(level: .error, seconds: 3, text: String(repeating: "long ", count: 30)))
    model.observe(next)
    #expect(render(model).text.split(separator: "\n").last?.hasSuffix("  7 log") == true)
  }

  @Test func ofTheTitleLossesAndKernelAreKeptLongest() {
    var host = SyntheticHost()
    var model = FrontModel(names: FixedNames())
    var snapshot = host.next()
    snapshot.source.hostName = "skx01"
    snapshot.source.kernelRelease = "6.12.0-1-amd64"
    snapshot.source.backend = "kvm_intel"
    snapshot.ownUse = OwnUse(cpu: 0.1, residentBytes: 1 << 24)
    snapshot.losses.lost = 7
    model.observe(snapshot)
    func title(_ columns: Int) -> String { String(render(model, columns, 12).text.split(separator: "\n")[0]) }
    #expect(title(80).contains("skx01 · 6.12.0-1-amd64 · kvm_intel"))
    #expect(title(80).contains("self 10.0%"))
    #expect(!title(60).contains("self"))
    #expect(title(60).contains("skx01 · 6.12.0 · kvm_intel"))
    #expect(title(40).contains("lost 7"))
  }

  @Test("The title of a stream says whose it is, how far behind, whether its figures are sums, and how it ended")
  func streams() {
    var host = SyntheticHost()
    var model = FrontModel(names: FixedNames())
    var snapshot = host.next()
    snapshot.source.kind = .vmctop
    snapshot.source.path = nil
    snapshot.source.hostName = "skx01"
    snapshot.source.kernelRelease = "6.12.0-1-amd64"
    snapshot.source.backend = "kvm_intel"
    snapshot.states = [:]
    snapshot.stateFailure = "nothing came"
    func title(_ stream: StreamState) -> String {
      snapshot.stream = stream
      snapshot.sequence += 1
      model.observe(snapshot)
      return String(render(model, 110, 12).text.split(separator: "\n")[0])
    }
    let running = title(StreamState())
    #expect(running.contains("vmctop  skx01 · 6.12.0-1-amd64 · kvm_intel"))
    #expect(running.contains("stream 1.0s  ") && !running.contains("live") && !running.contains("recording"))
    #expect(!title(StreamState(lag: 1_400_000_000)).contains("behind"))
    #expect(title(StreamState(source: .sumsForEvents, lag: 4_500_000_000)).contains("SUMMARIES 4.5s behind"))
    #expect(title(StreamState(source: .sums)).contains("stream 1.0s summaries"))
    #expect(title(StreamState(source: .incomplete)).contains("INCOMPLETE"))
    #expect(title(StreamState(progress: .ended)).contains("ended"))
    #expect(title(StreamState(progress: .cutOff)).contains("CUT OFF"))
    #expect(model.stateFailure == ["nothing came"])
    // Ages are by the other host's clock, or not known.
    model.tick(9_000_000_000)
    #expect(model.age(1_000_000_000) == nil)
    snapshot.monotonic = 3_000_000_000
    _ = title(StreamState())
    #expect(model.age(1_000_000_000) == 2_000_000_000)
    #expect(model.handle(.character("r")) == [])
    #expect(model.message?.contains("tee") == true)
    #expect(model.handle(.character("R")) == [])
    #expect(model.message == "R: the VMM is on the recorder's host")
  }

  @Test func whereNoExitIsToldTheEventsAreCounted() {
    var snapshot = Snapshot()
    snapshot.sequence = 1
    snapshot.intervalNanoseconds = 2_000_000_000
    snapshot.events = 10_000
    snapshot.intervalEvents = 8_000
    snapshot.source.backend = "kvm_pvm"
    var model = FrontModel(names: FixedNames())
    model.observe(snapshot)
    let text = render(model).text
    #expect(text.contains("4.0k KVM events/s, no kvm_exit"))
    #expect(!text.contains("0 exits/s"))
    #expect(render(model, 20, 5).text.contains("4.0k events/s"))
  }

  @Test func goingLiveLeavesTheRecordingsVMs() {
    var host = SyntheticHost()
    var model = FrontModel(names: FixedNames())
    model.observe(SyntheticHost.asRecording(host.next(), position: 1, duration: 2, isDemo: true))
    press(&model, "5")
    _ = model.handle(.enter)
    #expect(model.scope != .all)
    #expect(model.handle(.character("L")) == [.goLive])
    #expect(model.scope == .all)
  }
}

@Suite struct SortTests {
  func names(_ model: FrontModel) -> [String] { model.exitRows().map(\.reason.name) }

  @Test func mostFrequentReasonsComeFirst() {
    let model = modelAfter(3)
    let counts = model.exitRows().map(\.reason.intervalCount)
    #expect(counts == counts.sorted(by: >))
    #expect(names(model).first == "EPT_MISCONFIG")
  }

  @Test func everyColumnSortsAndInverts() {
    for column in ReasonFigures.columns {
      var model = modelAfter(3)
      press(&model, ":sort \(column.id)")
      _ = model.handle(.enter)
      #expect(model.exitSortColumn.id == column.id)
      let forward = names(model)
      press(&model, "I")
      let context = model.context(model.scopeStatistics ?? ScopeStatistics())
      let values = model.exitRows().map { column.value($0.reason, context) }
      // Rows of equal value keep their order; all others are turned around.
      if Set(values).count == values.count { #expect(names(model) == forward.reversed(), "\(column.id)") }
    }
  }

  @Test func theSortMovesFromColumnToColumnAndAround() {
    var model = modelAfter(2)
    let columns = model.sortColumns(.exits)
    var seen: [String] = []
    for _ in columns {
      seen.append(model.exitSortColumn.id)
      _ = model.handle(.function(6))
    }
    #expect(Set(seen) == Set(columns))
    #expect(model.exitSortColumn.id == seen.first)
    press(&model, "<")
    #expect(model.exitSortColumn.id == seen.last)
  }

  @Test func theColumnSortedByIsShownHoweverNarrowTheScreen() {
    var model = modelAfter(2)
    press(&model, ":sort p99.9")
    _ = model.handle(.enter)
    #expect(render(model, 60, 20).text.contains("P99.9"))
  }

  @Test func theCursorStaysWithItsRowWhenTheOrderChanges() {
    var host = SyntheticHost()
    var model = FrontModel(names: FixedNames())
    model.observe(host.next())
    press(&model, "jj")
    let reason = model.selectedReason?.name
    press(&model, "I")
    #expect(model.selectedReason?.name == reason)
    model.observe(host.next())
    #expect(model.selectedReason?.name == reason)
  }

  @Test func theCursorStaysOnTopUntilItIsMoved() {
    var model = modelAfter(2)
    press(&model, "I")
    #expect(model.selectedReason?.name == names(model).first)
  }
}

@Suite struct FilterTests {
  @Test func aRegularExpressionFiltersWhileItIsTyped() {
    var model = modelAfter(2)
    press(&model, "/^(msr|hlt)")
    #expect(Set(model.exitRows().map(\.reason.name)) == ["MSR_WRITE", "MSR_READ", "HLT"])
    _ = model.handle(.enter)
    #expect(model.prompt == nil)
    #expect(model.exitRows().count == 3)
    _ = model.handle(.escape)
    #expect(model.exitRows().count > 3)
  }

  @Test func escapeGivesUpAFilterBeingTyped() {
    var model = modelAfter(2)
    press(&model, "/hlt")
    _ = model.handle(.escape)
    #expect(model.filter.isEmpty)
    #expect(model.exitRows().count > 3)
  }

  @Test(arguments: ["(", "[", "*(", "a{1,9}{1,9}{2", String(repeating: "(", count: 5000), "\\"])
  func whatIsNoRegularExpressionIsSaid(_ text: String) {
    var model = modelAfter(2)
    press(&model, ":filter \(text)")
    _ = model.handle(.enter)
    #expect(!model.exitRows().isEmpty || Pattern(model.filter) != nil)
    _ = render(model)
  }

  @Test func controlsAreFoundByNameAndByWord() {
    var model = modelAfter(2)
    press(&model, "2/hlt_exit")
    #expect(model.controlRows().map(\.name.short) == ["HLT_EXITING"])
    _ = model.handle(.escape)
    press(&model, "/^pin$")
    #expect(!model.controlRows().isEmpty && model.controlRows().allSatisfy { $0.name.word == "pin" })
  }

  @Test func nothingFoundIsSaid() {
    var model = modelAfter(2)
    press(&model, "/zzz")
    #expect(render(model).text.contains("no reason matches /zzz"))
  }
}

@Suite struct DrillTests {
  @Test func enterOnAReasonShowsItsDetailsAndEscGoesBack() {
    var model = modelAfter(3)
    press(&model, "j")
    _ = model.handle(.enter)
    #expect(model.pane == .details)
    let text = render(model).text
    #expect(text.contains(" MSR_WRITE  reason 32 (0x20)  meaning of 32"))
    #expect(text.contains("msr-6e0"))
    _ = model.handle(.escape)
    #expect(model.pane == .exits)
  }

  @Test func enterOnAVCPUShowsThatVCPUOnly() {
    var model = modelAfter(3)
    press(&model, "5jj")
    _ = model.handle(.enter)
    #expect(model.scope == .vcpu(tid: 4011))
    #expect(model.pane == .exits)
    let exits = model.exitRows().reduce(0) { $0 + $1.reason.count }
    #expect(exits == model.statistics(model.snapshot?.vms[0].vcpus[1].scope ?? 0).exits)
    #expect(exits < model.statistics(0).exits)
    #expect(render(model).text.contains("web01 · vCPU 1"))
    _ = model.handle(.escape)
    #expect(model.scope == .all)
  }

  @Test func controlsThatWereReadFromKernelMemoryAreOnOrOffOrMixed() throws {
    var model = modelAfter(3)
    var snapshot = try #require(model.snapshot)
    let threads = snapshot.vms.flatMap(\.vcpus).map(\.tid)
    for (index, tid) in threads.enumerated() {
      // HLT exiting on for all, MWAIT exiting for none, RDTSC exiting for one.
      snapshot.controlWords[tid] = ControlSetting(pin: 0x16, primary: 1 << 7 | (index == 0 ? 1 << 12 : 0))
    }
    model.observe(snapshot)
    func state(_ name: String) -> ControlRow.State? { model.controlRows().first { $0.name.name == name }?.state }
    #expect(state("CPU_BASED_HLT_EXITING") == .on)
    #expect(state("CPU_BASED_MWAIT_EXITING") == .off)
    #expect(state("CPU_BASED_RDTSC_EXITING") == .mixed)
    #expect(state("VM_ENTRY_LOAD_IA32_PAT") == .unknown, "the word was not read")
    press(&model, "2")
    #expect(render(model, 100, 40).text.contains("read from kernel memory"))
    #expect(render(model, 100, 60).text.contains("[ ] MWAIT_EXITING"))
  }

  @Test func enterOnAVMShowsAllItsVCPUs() {
    var model = modelAfter(3)
    press(&model, "5")
    _ = model.handle(.enter)
    #expect(model.scope == .vm(.known(1)))
    #expect(model.exitRows().reduce(0) { $0 + $1.reason.count } == model.statistics(1).exits)
  }

  @Test func aVMThatEndedIsSaidToBeGone() {
    var model = modelAfter(3)
    press(&model, "5")
    _ = model.handle(.enter)
    var snapshot = Snapshot()
    snapshot.sequence = 99
    model.observe(snapshot)
    #expect(render(model).text.contains("gone"))
    _ = model.handle(.escape)
    #expect(model.scope == .all)
  }
}

@Suite struct WhatIfTests {
  @Test func strikingAControlTakesItsExitsOff() throws {
    var model = modelAfter(3)
    press(&model, "2/uncond_io_exiting")
    _ = model.handle(.enter)
    press(&model, "x")
    let io = try #require(model.snapshot?.total.controls.first { $0.control.name == "CPU_BASED_UNCOND_IO_EXITING" })
    let total = try #require(model.snapshot?.total)
    let whatIf = try #require(model.whatIf)
    #expect(abs(whatIf.remainingRate - Double(total.intervalExits - io.intervalCount)) < 0.001)
    #expect(abs(whatIf.less - 100 * Double(io.intervalCount) / Double(total.intervalExits)) < 1e-9)
    let before = try #require(whatIf.time)
    let after = try #require(whatIf.remainingTime)
    #expect(after < before)
    #expect(
      render(model).text.contains("what-if: UNCOND_IO_EXITING off → \(Format.count(whatIf.remainingRate)) exits/s"))
    press(&model, "x")
    #expect(model.whatIf == nil)
  }

  @Test func timeHaltedIsNoCost() throws {
    // HLT: 900 us of its 1000 us the vCPU was halted.
    let hltExiting = try #require(ControlID.all.first { $0.name == "CPU_BASED_HLT_EXITING" })
    func reason(_ code: UInt32, _ name: String, _ control: ControlID, _ handling: UInt64) -> ReasonStatistics {
      var latency = LatencySummary()
      latency.total = handling
      latency.paired = 10
      let exits = ExitCounts(count: 10, handling: handling, halted: code == 12 ? 900_000 : 0)
      let figures = ExitFigures(total: exits, interval: exits)
      return ReasonStatistics(
        isa: 1, code: code, name: name, figures: figures, handling: latency,
        charges: [ChargeStatistics(control: control, figures: figures)])
    }
    var scope = ScopeStatistics()
    scope.exits = 20
    scope.intervalExits = 20
    scope.time.guest = 700_000
    scope.time.kernel = 400_000
    scope.time.halted = 900_000
    scope.intervalTime = scope.time
    scope.reasons = [
      reason(12, "HLT", hltExiting, 1_000_000), reason(10, "CPUID", .unconditional, 300_000),
    ]
    scope.controls = scope.reasons.flatMap(\.charges)
    var snapshot = Snapshot()
    snapshot.sequence = 1
    snapshot.source.isa = "vmx"
    snapshot.intervalNanoseconds = 1_000_000_000
    snapshot.windowNanoseconds = 1_000_000_000
    snapshot.events = 40
    snapshot.scopes = [scope]
    var model = FrontModel(names: FixedNames())
    model.observe(snapshot)
    let row = try #require(model.controlRows().first { $0.control == hltExiting })
    #expect(row.busy == 100_000)
    #expect(row.intervalBusy == 100_000)
    let column = try #require(ReasonFigures.column("time"))
    #expect(column.value(scope.reasons[0], model.context(scope)) == .percent(25))
    #expect(column.value(scope.reasons[1], model.context(scope)) == .percent(75))
    press(&model, "/hlt")
    _ = model.handle(.enter)
    press(&model, "6")
    #expect(render(model).text.contains("halted 900us of 1.0ms: idle"))
    press(&model, "1x")
    let whatIf = try #require(model.whatIf)
    #expect(whatIf.time == 20)
    #expect(whatIf.remainingTime == 15)
  }

  @Test func severalControlsAreStruckAtOnceAndXClearsAll() {
    var model = modelAfter(3)
    press(&model, "xjxjx")
    #expect(model.whatIfOff.count == 3)
    #expect(model.exitRows().filter { $0.whatIfOff == .wholly }.count == 3)
    let screen = render(model)
    let whatIfOff = screen.text.split(separator: "\n").filter { $0.dropFirst().hasPrefix("-") }
    #expect(whatIfOff.count == 3)
    press(&model, "X")
    #expect(model.whatIfOff.isEmpty)
  }

  @Test func strikingEveryControlLeavesTheUnconditionalExits() throws {
    var model = modelAfter(3)
    for _ in model.exitRows() { press(&model, "xj") }
    let total = try #require(model.snapshot?.total)
    let unconditional = total.controls.filter { $0.control == .unconditional }.reduce(0) { $0 + $1.intervalCount }
    let whatIf = try #require(model.whatIf)
    #expect(abs(whatIf.remainingRate - Double(unconditional)) < 0.001)
  }

  @Test func whatNothingSuppressesCannotBeStruck() {
    var model = modelAfter(3)
    press(&model, "/cpuid")
    _ = model.handle(.enter)
    press(&model, "x")
    #expect(model.whatIfOff.isEmpty)
    #expect(model.message == "nothing can suppress these exits")
  }
}

@Suite struct ControlsTests {
  @Test func aControlIsOnOnlyWhereAnExitProvesIt() {
    let model = modelAfter(3)
    for row in model.controlRows() where row.state == .on {
      #expect(row.count > 0 || model.names.isForced(row.control), "\(row.name.name)")
    }
    #expect(model.controlRows().contains { $0.state == .unknown })
  }

  @Test func theRowsAddUpToTheExits() {
    for selection in ["", "5\r", "5jj\r"] {
      var model = modelAfter(3)
      for scalar in selection.unicodeScalars { _ = model.handle(scalar == "\r" ? .enter : .character(scalar)) }
      #expect(model.controlRows().reduce(0) { $0 + $1.count } == model.scopeStatistics?.exits)
    }
  }

  @Test func everyBitOfEveryWordIsListed() {
    let model = modelAfter(3)
    let listed = Set(model.controlRows().map(\.control))
    #expect(listed.isSuperset(of: FixedNames().controls(isa: "vmx")))
  }
}

@Suite struct MouseTests {
  func clicked(_ model: inout FrontModel, _ text: String, columns: Int = 80, rows: Int = 24) {
    let frame = Renderer.render(model, columns: columns, rows: rows)
    model.adopt(frame)
    for (y, line) in frame.screen.text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      guard let range = line.range(of: text) else { continue }
      _ = model.handle(.click(x: line.distance(from: line.startIndex, to: range.lowerBound), y: y))
      return
    }
    Issue.record("\(text) is not on the screen")
  }

  @Test func clicksSelectRowsSortColumnsAndSwitchPanes() {
    var model = modelAfter(3)
    clicked(&model, "IO_INSTRUCTION")
    #expect(model.selectedReason?.name == "IO_INSTRUCTION")
    clicked(&model, "P99")
    #expect(model.exitSortColumn.id == "p99")
    #expect(model.sort(.exits).descending)
    clicked(&model, "P99")
    #expect(!model.sort(.exits).descending)
    clicked(&model, "5 vcpus")
    #expect(model.pane == .vcpus)
  }

  @Test func clicksReachThePaneBesideInAWideLayout() {
    var model = modelAfter(3)
    clicked(&model, "USE_TSC_OFFSETT", columns: 160, rows: 50)
    #expect(model.pane == .controls)
    clicked(&model, "db-primary", columns: 160, rows: 50)
    #expect(model.pane == .vcpus)
  }

  @Test func theWheelScrolls() {
    var model = modelAfter(3)
    _ = model.handle(.wheel(up: false))
    #expect(model.selectedReason.map { $0.name } == model.exitRows()[3].reason.name)
    _ = model.handle(.wheel(up: true))
    #expect(model.selectedReason.map { $0.name } == model.exitRows()[0].reason.name)
  }
}

@Suite struct LossTests {
  @Test func lostEventsAreAWarningAndUncountedOnesALowerBound() throws {
    var host = SyntheticHost()
    var snapshot = host.next()
    snapshot.losses.lost = 41_600
    snapshot.losses.intervalLost = 7
    snapshot.losses.uncounted = 2
    snapshot.losses.perCPU = [.init(cpu: 3, lost: 41_600, intervalLost: 7)]
    var model = FrontModel(names: FixedNames())
    model.observe(snapshot)
    let screen = render(model)
    let title = try #require(screen.text.split(separator: "\n").first)
    let at = try #require(title.range(of: "lost 41.6k+?"))
    #expect(screen[title.distance(from: title.startIndex, to: at.lowerBound), 0].role == .warning)
    press(&model, "7")
    #expect(render(model).text.contains("at least 41,600 lost, 7 in the last interval"))
    #expect(render(model).text.contains("CPU 3"))
  }
}

@Suite struct ChangeTests {
  @Test func aRateThatDoublesIsMarkedAsChanged() throws {
    var host = SyntheticHost()
    var model = FrontModel(names: FixedNames())
    model.observe(host.next())
    var snapshot = host.next()
    let at = try #require(snapshot.scopes[0].reasons.firstIndex { $0.name == "CPUID" })
    snapshot.scopes[0].reasons[at].intervalCount *= 3
    model.observe(snapshot)
    let screen = render(model)
    let y = try #require(screen.text.split(separator: "\n").firstIndex { $0.contains("CPUID") })
    #expect((0..<80).contains { screen[$0, y].role == .changed })
    let steady = try #require(screen.text.split(separator: "\n").firstIndex { $0.contains("MSR_WRITE") })
    #expect(!(0..<80).contains { screen[$0, steady].role == .changed })
  }

  @Test func aScreenOnWhichNothingChangedSendsNothing() {
    let model = modelAfter(3)
    #expect(render(model).changes(from: render(model)).isEmpty)
  }

  @Test func fewCellsChangeFromOneIntervalToTheNext() {
    var host = SyntheticHost()
    var model = FrontModel(names: FixedNames())
    for _ in 0..<3 { model.observe(host.next()) }
    let before = render(model, 200, 60)
    model.observe(host.next())
    #expect(render(model, 200, 60).changes(from: before).count < 1500)
  }
}

@Suite struct ColumnTests {
  @Test func sharesOfAllReasonsAddUpToAHundred() {
    let model = modelAfter(3)
    let statistics = model.scopeStatistics ?? ScopeStatistics()
    for id in ["percent", "time"] {
      let sum = statistics.reasons.reduce(0.0) { sum, reason in
        guard case .percent(let share) = ReasonFigures.column(id)?.value(reason, model.context(statistics)) else {
          return sum
        }
        return sum + share
      }
      #expect(abs(sum - 100) < 1e-6, "\(id)")
    }
  }

  @Test func whatIsNotKnownComesLastInEitherDirection() throws {
    let known = ReasonStatistics(
      isa: 1, code: 1, name: "KNOWN", figures: ExitFigures(total: ExitCounts(count: 1)),
      handling: {
        var latency = LatencySummary()
        latency.paired = 1
        latency.total = 5
        return latency
      }())
    let unknown = ReasonStatistics(isa: 1, code: 2, name: "UNKNOWN", figures: ExitFigures(total: ExitCounts(count: 9)))
    let column = try #require(ReasonFigures.column("mean"))
    let context = FigureContext(snapshot: Snapshot(), scope: ScopeStatistics(), controlName: { _ in "" })
    for descending in [true, false] {
      let sorted = ReasonFigures.sorted([unknown, known], by: column, descending: descending, context: context)
      #expect(sorted.map(\.name) == ["KNOWN", "UNKNOWN"])
    }
  }
}

@Suite("The key r")
struct RecordKeyTests {
  @Test("begins and ends a recording of a live host, and says of a recording that it is one already")
  func toggles() throws {
    var live = modelAfter(2)
    #expect(live.handle(.character("r")) == [.toggleRecording])
    #expect(live.handle(.character("r")) == [.toggleRecording])
    var snapshot = try #require(live.snapshot)
    snapshot.recording = RecordingStatus(path: "x.vmctop", bytes: 2048, events: 9, dropped: 0)
    snapshot.sequence += 1
    live.observe(snapshot)
    #expect(render(live, 120, 40).text.contains("REC 2.0K"))
    snapshot.playback = PlaybackState(position: 0, duration: 10, isPaused: true, isFinished: false, speed: 1)
    snapshot.sequence += 1
    live.observe(snapshot)
    #expect(live.handle(.character("r")).isEmpty)
    #expect(live.message == "r: this is a recording already")
  }
}
