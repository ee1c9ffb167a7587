import Aggregator
import Architecture
import FrontSupport
import Screen
import Testing

@testable import Front

/// A front with a session behind it that reads what is watched, all of it made up: one tick is one second, and each
/// reading is drawn 40 ms after it was made.
struct WatchedFront {
  enum Kind { case vmx, svm, nested, noKernelMemory, recording }

  var host: SyntheticHost
  var model: FrontModel
  let kind: Kind
  let columns: Int
  let rows: Int
  private(set) var watched: Set<Int32> = []
  private(set) var ticks: UInt64 = 0
  /// What the front asked for beside that.
  private(set) var actions: [Action] = []
  var answers: [Int32: VMMReading] = [:]

  init(_ kind: Kind = .vmx, _ columns: Int = 80, _ rows: Int = 24, names: any Names = FixedNames(), ticks: Int = 3) {
    host = SyntheticHost(vmNames: ["web01", "db-primary"], vcpusPerVM: 2)
    model = FrontModel(names: names)
    self.kind = kind
    self.columns = columns
    self.rows = rows
    for _ in 0..<ticks { tick() }
  }

  /// The snapshot of the next second.
  private mutating func next() -> Snapshot {
    ticks += 1
    let snapshot = host.next()
    switch kind {
    case .recording:
      return SyntheticHost.asRecording(snapshot, position: ticks * 1_000_000_000, duration: 60_000_000_000)
    case .noKernelMemory:
      var snapshot = snapshot
      snapshot.stateFailure = "/proc/kcore cannot be read: Operation not permitted; run as root"
      return snapshot
    case .vmx, .svm, .nested:
      var snapshot = snapshot
      SyntheticState.fill(
        &snapshot, watched: watched, tick: ticks, isNested: kind == .nested, isSVM: kind == .svm)
      snapshot.vmmReadings = answers
      return snapshot
    }
  }

  mutating func tick() {
    model.tick(ticks * 1_000_000_000 + 1_040_000_000)
    model.observe(next())
    draw()
  }

  mutating func draw() {
    model.adopt(Renderer.render(model, columns: columns, rows: rows))
    guard let action = model.watchAction() else { return }
    guard case .watch(let tids) = action else { return }
    watched = tids
  }

  mutating func press(_ text: String) {
    for scalar in text.unicodeScalars { press(.character(scalar)) }
  }

  mutating func press(_ key: Key) {
    actions += model.handle(key)
    draw()
  }

  /// Presses keys, then lets two seconds pass, so that what is looked at now has been read.
  mutating func look(_ keys: String) {
    press(keys)
    tick()
    tick()
  }

  var screen: Screen { Renderer.render(model, columns: columns, rows: rows).screen }
  var text: String { screen.text }

  /// The roles of the cells in which a text is.
  func roles(of text: String) -> [Role] {
    for (y, line) in self.text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      guard let range = line.range(of: text) else { continue }
      let x = line.distance(from: line.startIndex, to: range.lowerBound)
      return (x..<x + text.count).map { screen[$0, y].role }
    }
    return []
  }

  func line(with text: String) -> String {
    self.text.split(separator: "\n").first { $0.contains(text) }.map(String.init) ?? ""
  }
}

@Suite struct WatchTests {
  @Test func onlyWhatIsOnTheScreenIsRead() throws {
    var front = WatchedFront()
    #expect(front.watched.isEmpty)
    front.press("3")
    let tid = try #require(front.model.guestVCPU?.vcpu.tid)
    #expect(front.watched == [tid])
    #expect(front.model.watchAction() == nil, "it is asked for once")
    for pane in "4289" {
      front.press(String(pane))
      #expect(front.watched == [tid], "pane \(pane)")
    }
    front.press("?")
    #expect(front.watched == [tid], "help lies over the pane and goes away again")
    front.press("?1")
    #expect(front.watched.isEmpty)
  }

  @Test func pinnedVCPUsAreReadTooAcrossVMs() {
    var front = WatchedFront()
    front.look("3nNnN")
    let first = front.watched
    front.press("=nnn")
    front.tick()
    #expect(front.watched.count == 2)
    #expect(front.watched.isSuperset(of: first))
    front.press("=")
    #expect(front.model.comparison != nil)
    front.press("1")
    #expect(front.watched.isEmpty)
  }

  @Test func aRecordingIsNotRead() {
    var front = WatchedFront(.recording)
    front.look("3")
    #expect(front.watched.isEmpty)
    #expect(front.text.contains("A recording has no state but what the last exit told."))
    #expect(front.text.contains("VM_EXIT_REASON"))
    #expect(front.text.contains("u lists them"))
  }

  @Test func anotherSourceIsAskedAnew() {
    var front = WatchedFront()
    front.look("3")
    var host = SyntheticHost()
    front.model.observe(SyntheticHost.asRecording(host.next(), position: 1, duration: 2))
    #expect(front.model.watchAction() == .watch([]))
    #expect(front.model.handle(.character("L")) == [.goLive])
    front.model.observe(host.next())
    front.model.adopt(Renderer.render(front.model, columns: 80, rows: 24))
    let tid = front.model.guestVCPU?.vcpu.tid ?? 0
    #expect(front.model.watchAction() == .watch([tid]))
  }

  @Test func whereThereIsRoomStateIsReadAndShownBesideTheExits() {
    var front = WatchedFront(.vmx, 200, 70)
    front.tick()
    #expect(front.watched.count == 1)
    #expect(front.text.contains("CONTROL REGISTERS"))
    #expect(front.text.contains("EPT_MISCONFIG"))
  }

  @Test func theBusiestVCPUStaysUntilAnotherIsClearlyBusier() throws {
    var snapshot = Snapshot()
    var vm = VirtualMachineStatistics()
    vm.number = 1
    for index in 0..<2 {
      var vcpu = VCPUStatistics(tid: Int32(10 + index))
      vcpu.scope = index + 1
      vm.vcpus.append(vcpu)
    }
    snapshot.vms = [vm]
    func observed(_ a: UInt64, _ b: UInt64, _ model: inout FrontModel) -> Int32? {
      snapshot.sequence += 1
      snapshot.scopes = [0, a, b].map { exits in
        var scope = ScopeStatistics()
        scope.exits = exits
        return scope
      }
      model.observe(snapshot)
      return model.guestVCPU?.vcpu.tid
    }
    var model = FrontModel(names: FixedNames())
    #expect(observed(100, 90, &model) == 10)
    #expect(observed(100, 110, &model) == 10)
    #expect(observed(100, 200, &model) == 11)
  }

  @Test func nGoesThroughTheVCPUsOfAllVMs() {
    var front = WatchedFront()
    front.press("3")
    var seen: Set<ScopeSelection> = []
    for _ in 0..<4 {
      front.press("n")
      seen.insert(front.model.scope)
    }
    #expect(seen.count == 4)
    front.press("N")
    front.press(.escape)
    #expect(front.model.scope == .all)
  }
}

@Suite struct StatePaneTests {
  @Test func valuesStandBesideWhatTheyMeanAndWhereTheyAreFrom() {
    var front = WatchedFront(.vmx, 100, 60)
    front.look("3")
    #expect(front.line(with: " CR0 ").contains("0x80050033="))
    #expect(front.line(with: "CR3 ").contains("0x280c004~"))
    #expect(front.text.contains("code RX DPL 0 64-bit base 0x0 limit 0xffffffff"))
    #expect(front.text.contains("measured 40.0ms ago"))
    #expect(front.text.contains("~ stale  = derived  c configured  ? unavailable  * changed"))
  }

  @Test func aFieldThatChangedIsLitForOneTick() {
    var front = WatchedFront(.vmx, 120, 60)
    front.look("3")
    #expect(front.line(with: "RIP ").contains("*RIP"))
    #expect(front.roles(of: "*RIP").first == .changed)
    #expect(!front.line(with: "RSP ").contains("*RSP"))
    // The same reading once more: nothing new was read.
    if let snapshot = front.model.snapshot { front.model.observe(snapshot) }
    #expect(!front.text.contains("*RIP"))
  }

  @Test func theLastValuesAreKeptWithTheirTimesAndAreFew() throws {
    var front = WatchedFront(.vmx, 120, 60)
    front.press("3")
    for _ in 0..<30 { front.tick() }
    let tid = try #require(front.model.guestVCPU?.vcpu.tid)
    let rip = try #require(front.model.histories[tid]?.values["GUEST_RIP"])
    #expect(rip.count == StateHistory.mostValues)
    #expect(rip.last?.since == front.ticks * 1_000_000_000)
    #expect(zip(rip, rip.dropFirst()).allSatisfy { $0.value != $1.value && $0.since < $1.since })
    #expect(front.model.histories[tid]?.values["GUEST_CR0"]?.count == 1)
    front.look("1")
    #expect(front.model.histories.isEmpty, "what is not watched any more is forgotten")
  }

  @Test(arguments: ["681e", "0x681E", "guest_rip", "^GUEST_RIP$", "guest instruction pointer"])
  func aFieldIsFoundByNameEncodingOrDescription(_ text: String) {
    var front = WatchedFront()
    front.look("3/\(text)")
    front.press(.enter)
    #expect(front.model.stateRows(.guest).contains { $0.key == .field("GUEST_RIP") })
    #expect(front.model.stateRows(.guest).count <= 2)
  }

  @Test func fieldsWithoutAValueAreFoundToo() {
    var front = WatchedFront()
    front.look("3/io_bitmap_a")
    #expect(front.line(with: "IO_BITMAP_A").contains("not used by KVM for L1"))
    #expect(front.model.stateRows(.guest).allSatisfy { !$0.isAvailable })
  }

  @Test func uShowsAndHidesWhatOnlyVMREADCouldTell() {
    var front = WatchedFront()
    front.look("3")
    let few = front.model.stateRows(.guest).count
    #expect(front.text.contains("unavailable (u)"))
    front.press("u")
    let all = front.model.stateRows(.guest)
    #expect(all.count > few + 50)
    #expect(all.contains { $0.key == .field("IO_BITMAP_A") })
    front.press("u")
    #expect(front.model.stateRows(.guest).count == few)
  }

  @Test func whereThereIsRoomForAllFieldsAllAreShown() {
    var front = WatchedFront(.vmx, 250, 80)
    front.look("3")
    #expect(front.model.stateRows(.guest).contains { $0.key == .field("IO_BITMAP_A") })
    front.press("u")
    #expect(!front.model.stateRows(.guest).contains { $0.key == .field("IO_BITMAP_A") })
  }

  @Test func everyFieldOfTheVMCSIsInOneOfTheTwoPanes() {
    var front = WatchedFront(.vmx, 80, 24)
    front.look("3u")
    let shown = (front.model.stateRows(.guest) + front.model.stateRows(.host)).flatMap(\.readings).map(\.field.name)
    #expect(Set(shown).isSuperset(of: VMCSField.rows.map(\.name)))
    #expect(shown.count == Set(shown).count)
  }

  @Test func enterExplainsAFieldAndEscGoesBack() {
    var front = WatchedFront(.vmx, 100, 50)
    front.look("3/^CR4$")
    front.press(.enter)
    front.press(.enter)
    #expect(front.model.explained == .field("GUEST_CR4"))
    for text in [
      "GUEST_CR4", "0x6804", "natural width, 64 bits here", "guest area", "exists if", "Guest CR4",
      "derived, 40.0ms ago",
      "20  SMEP", "supervisor-mode execution prevention", "LAST VALUES",
    ] { #expect(front.text.contains(text), "\(text)") }
    front.press("j")
    #expect(front.model.explained != nil)
    front.press(.escape)
    #expect(front.model.explained == nil)
    #expect(front.model.pane == .guest)
  }

  @Test func aSegmentIsExplainedPartByPart() {
    var front = WatchedFront(.vmx, 100, 90)
    front.look("3/^CS$")
    front.press(.enter)
    front.press(.enter)
    for text in ["GUEST_CS_SELECTOR", "GUEST_CS_BASE", "GUEST_CS_LIMIT", "GUEST_CS_AR_BYTES", "64-bit code"] {
      #expect(front.text.contains(text), "\(text)")
    }
  }

  @Test func aFieldThatIsGoneIsNotExplainedAsAnother() {
    var front = WatchedFront()
    front.look("3")
    front.press(.enter)
    front.model.observe(Snapshot())
    #expect(front.text.contains("Esc goes back"))
  }

  @Test func withoutKernelMemoryTheReasonIsSaid() {
    var front = WatchedFront(.noKernelMemory)
    for pane in "3489" {
      front.look(String(pane))
      #expect(front.text.contains("/proc/kcore cannot be read: Operation not permitted; run as root"), "pane \(pane)")
    }
  }

  @Test func nestedStateIsSaidToBeWhoseItIs() {
    var front = WatchedFront(.nested)
    front.look("3")
    #expect(front.text.contains("L2 is current: this is vmcs02"))
    front.look("9")
    #expect(front.text.contains("vmcs12, as L1 wrote it"))
    var plain = WatchedFront()
    plain.look("9")
    #expect(plain.text.contains("L1 has no current VMCS"))
  }

  @Test func valuesOfAnotherVMCSAreNoChange() {
    var history = StateHistory()
    history.add(SyntheticState.vmx(tid: 1, id: 0, tick: 1))
    history.add(SyntheticState.vmx(tid: 1, id: 0, tick: 2, isNested: true))
    #expect(history.changed.isEmpty)
    history.add(SyntheticState.vmx(tid: 1, id: 0, tick: 3))
    #expect(history.changed.contains("GUEST_RIP"))
  }

  @Test func theMSRPaneListsWhatDoesNotExitAndWhatDid() {
    var front = WatchedFront()
    front.look("8")
    #expect(front.line(with: "0x174-0x176").contains("direct direct"))
    #expect(front.line(with: " 0x6e0 ").contains("exits  direct"))
    #expect(front.text.contains("MSRS THAT DID EXIT"))
    front.press("/kernel_gs")
    #expect(front.text.contains("0xc0000100-0xc0000102"))
    #expect(!front.text.contains("0x174"))
  }
}

@Suite struct AskVMMTests {
  @Test func theVMMIsAskedAtMostOnceASecond() {
    var front = WatchedFront()
    front.look("3")
    let tid = front.model.guestVCPU?.vcpu.tid ?? 0
    front.press("R")
    #expect(front.actions == [.askVMM(tid: tid)])
    #expect(front.model.message?.contains("kicks the vCPU") == true)
    front.press("R")
    #expect(front.actions == [.askVMM(tid: tid)])
    #expect(front.model.message == "R: asked less than a second ago")
    front.tick()
    front.press("R")
    #expect(front.actions.count == 2)
  }

  @Test func aRecordingHasNoVMM() {
    var front = WatchedFront(.recording)
    front.press("3R")
    #expect(front.actions.isEmpty)
    #expect(front.model.message == "R: a recording has no VMM to ask")
  }

  @Test func whatTheVMMSaysOtherwiseStandsBesideTheValue() throws {
    var front = WatchedFront(.vmx, 120, 40)
    front.look("3")
    let tid = try #require(front.model.guestVCPU?.vcpu.tid)
    let reading = try #require(front.model.snapshot?.states[tid])
    front.answers[tid] = SyntheticState.vmm(reading)
    front.tick()
    #expect(front.line(with: " CR3 ").contains("VMM 0x280d004"))
    #expect(!front.line(with: " CS ").contains("VMM"), "where it says the same, nothing is added")
    #expect(front.text.contains("VMM said 1.0s ago"))
    front.answers[tid] = VMMReading(readAt: 1, failure: "no QMP socket")
    front.tick()
    #expect(front.text.contains("the VMM did not answer"))
    #expect(front.text.contains("no QMP socket"))
  }
}

@Suite struct ComparisonTests {
  /// vCPU 0 of web01 pinned, vCPU 0 of db-primary looked at, both read.
  func compared(_ columns: Int = 80, _ rows: Int = 24, pane: String = "3") -> WatchedFront {
    var front = WatchedFront(.vmx, columns, rows)
    front.press("5j")
    front.press(.enter)
    front.press("\(pane)=")
    front.press("nn")
    front.look("=")
    return front
  }

  @Test func onlyDifferencesAreShownSideBySide() {
    var front = compared()
    #expect(front.text.contains("A web01 · vCPU 0   B db-primary · vCPU 0"))
    #expect(front.line(with: "GUEST_CR4").contains("0x772ef0=           0x372ef0="))
    #expect(front.line(with: "GUEST_CR4").contains("A: PKE"))
    #expect(front.line(with: "CPU_BASED_VM_EXEC_CONTR").contains("0xb5a06dfe"))
    #expect(!front.text.contains("GUEST_CR0"))
    front.press("2")
    #expect(front.line(with: " HLT_EXITING").contains("[x] [ ]"))
    #expect(!front.text.contains("EXT_INTR_MASK"))
    front.press("4")
    #expect(front.text.contains("nothing differs"))
  }

  @Test func aThirdPressOrEscEndsIt() {
    var front = compared()
    front.press("=")
    #expect(front.model.pins.isEmpty)
    front = compared()
    front.press(.escape)
    #expect(front.model.pins.isEmpty)
    #expect(front.text.contains("CONTROL REGISTERS"))
  }

  @Test func theSameVCPUTwiceIsNoComparison() {
    var front = WatchedFront()
    front.look("3==")
    #expect(front.model.pins.isEmpty)
    #expect(front.model.message?.contains("not pinned any more") == true)
  }

  @Test func pinnedVCPUsAreMarkedInTheListOfVCPUs() {
    var front = WatchedFront()
    front.press("5jj=")
    #expect(front.line(with: "  vCPU 1").hasPrefix("▸P"))
    front.press("j")
    #expect(front.text.split(separator: "\n").contains { $0.hasPrefix(" P") && $0.contains("vCPU 1") })
    front.press("j=")
    #expect(front.model.pane == .guest)
    #expect(front.model.comparison?.a == 4011)
  }

  @Test func enterExplainsTheValuesOfBoth() {
    var front = compared(100, 90)
    front.press(.enter)
    #expect(front.text.contains(" A GUEST_CR4"))
    #expect(front.text.contains(" B GUEST_CR4"))
  }
}

@Suite struct ControlStateTests {
  @Test func nowConfiguredAndAllowedStandSideBySide() {
    var front = WatchedFront(.vmx, 160, 60, names: CatalogueNames())
    front.look("2")
    #expect(front.line(with: " INTR_WINDOW_EXITING").contains("1   0   0/1"))
    #expect(front.line(with: " HLT_EXITING").contains("~   1   0/1"), "two VMs disagree")
    #expect(front.text.contains("~ vCPUs differ"))
    front.press("nn")
    front.tick()
    front.tick()
    let own = front.model.guestVCPU.flatMap { front.model.words($0.vcpu.tid)?.primary } ?? 0
    #expect(front.line(with: " HLT_EXITING").contains(own >> 7 & 1 == 1 ? "1   1   0/1" : "0   1   0/1"))
  }

  @Test func interceptsHaveNothingThatTheProcessorAllows() {
    var front = WatchedFront(.svm, 120, 40, names: CatalogueNames())
    front.look("2/HLT")
    #expect(front.line(with: " HLT ").contains("[x]"))
    #expect(!front.text.contains("ALLOW"))
  }

  @Test func withoutControlWordsThereIsNothingToSetBeside() {
    var front = WatchedFront(.recording, 120, 40)
    front.look("2")
    #expect(!front.text.contains("CFG"))
    #expect(front.text.contains("WHAT IT DOES"))
  }

  @Test func enterExplainsAControl() {
    var front = WatchedFront(.vmx, 120, 50, names: CatalogueNames())
    front.look("2/^HLT_EXITING|CPU_BASED_HLT")
    front.press(.enter)
    front.press(.enter)
    for text in [
      "CPU_BASED_HLT_EXITING", "primary bit 7", "1 on 2 of 4 vCPUs, 0 on the others", "1 in vmcs_config",
      "0 or 1 by MSR 0x482", "KVM_X86_DISABLE_EXITS_HLT", "EXITS THAT IT CAUSES", "HLT",
    ] { #expect(front.text.contains(text), "\(text)") }
    front.press(.escape)
    #expect(front.model.pane == .controls && front.model.explained == nil)
  }
}

@Suite struct StateGoldenTests {
  @Test(arguments: ["3", "4", "2", "8", "9"], [(80, 24), (200, 60)])
  func vmx(_ pane: String, _ size: (Int, Int)) throws {
    try check(.vmx, pane, "vmx", size)
  }

  @Test(arguments: ["3", "2", "9"], [(80, 24), (200, 60)])
  func svm(_ pane: String, _ size: (Int, Int)) throws {
    var front = WatchedFront(.svm, size.0, size.1, names: CatalogueNames())
    front.look(pane)
    try GoldenTests.check(front.screen, "state-svm-\(front.model.pane.title)-\(size.0)x\(size.1)")
  }

  @Test(arguments: ["3", "9"], [(80, 24), (200, 60)])
  func nested(_ pane: String, _ size: (Int, Int)) throws { try check(.nested, pane, "nested", size) }

  @Test(arguments: ["3", "2", "8"])
  func withoutKernelMemory(_ pane: String) throws { try check(.noKernelMemory, pane, "no-kcore", (80, 24)) }

  @Test(arguments: ["3", "4", "9"])
  func recording(_ pane: String) throws { try check(.recording, pane, "recording", (80, 24)) }

  @Test(arguments: [(120, 40), (40, 10)])
  func otherSizes(_ size: (Int, Int)) throws {
    try check(.vmx, "3", "vmx", size)
    try check(.vmx, "2", "vmx", size)
  }

  @Test func everythingAtOnce() throws { try check(.vmx, "1", "all", (250, 70)) }

  @Test func ascii() throws {
    var front = WatchedFront()
    front.look("3")
    try GoldenTests.check(
      Renderer.render(front.model, columns: 80, rows: 24, isASCII: true).screen, "state-guest-ascii-80x24")
  }

  @Test(arguments: ["3", "2"], [(80, 24), (120, 40)])
  func comparison(_ pane: String, _ size: (Int, Int)) throws {
    let front = ComparisonTests().compared(size.0, size.1, pane: pane)
    try GoldenTests.check(front.screen, "comparison-\(front.model.pane.title)-\(size.0)x\(size.1)")
  }

  @Test(arguments: [("3/^CR0$", "field"), ("2/HLT_EXITING", "control")], [(80, 24), (120, 40)])
  func explanation(_ what: (String, String), _ size: (Int, Int)) throws {
    var front = WatchedFront(.vmx, size.0, size.1, names: CatalogueNames())
    front.look(what.0)
    front.press(.enter)
    front.press(.enter)
    try GoldenTests.check(front.screen, "explanation-\(what.1)-\(size.0)x\(size.1)")
  }

  @Test func aFieldFound() throws { try check(.vmx, "3/681e", "found", (80, 24)) }

  private func check(_ kind: WatchedFront.Kind, _ keys: String, _ name: String, _ size: (Int, Int)) throws {
    var front = WatchedFront(kind, size.0, size.1)
    front.look(keys)
    try GoldenTests.check(front.screen, "state-\(name)-\(front.model.pane.title)-\(size.0)x\(size.1)")
  }
}

@Suite("Settings of the controls on the screen")
struct SettingPaneTests {
  private static let on = ControlSetting(primary: 0xb5a0_6dfa)
  private static let off = ControlSetting(primary: 0xb5a0_6d7a)

  private func model(settings count: Int) throws -> FrontModel {
    var model = modelAfter(5)
    var snapshot = try #require(model.snapshot)
    snapshot.sequence += 1
    snapshot.settings = [
      SettingDescription(setting: .asFound),
      SettingDescription(setting: VCPUSetting(rawValue: 2), number: 1, words: Self.on),
      SettingDescription(setting: VCPUSetting(rawValue: 3), number: 2, words: Self.off),
    ]
    let hlt = try #require(ControlID(word: .primary, bit: 7))
    let io = try #require(ControlID(word: .primary, bit: 24))
    var first = SettingStatistics(setting: VCPUSetting(rawValue: 2))
    first.count = 3000
    first.duration = 2_000_000_000
    first.time.halted = 500
    first.controls = [
      ChargeStatistics(control: hlt, figures: ExitFigures(total: ExitCounts(count: 2000, handling: 700, halted: 500))),
      ChargeStatistics(control: io, figures: ExitFigures(total: ExitCounts(count: 1000, handling: 800))),
    ]
    var second = SettingStatistics(setting: VCPUSetting(rawValue: 3))
    second.count = 500
    second.vcpus = 1
    second.duration = 1_000_000_000
    second.controls = [
      ChargeStatistics(
        control: io,
        figures: ExitFigures(
          total: ExitCounts(count: 500, handling: 400), interval: ExitCounts(count: 500, handling: 400)))
    ]
    snapshot.scopes[0].settings = Array([first, second].prefix(count))
    model.observe(snapshot)
    return model
  }

  @Test("s goes through them: each with what its controls were set to and what was charged to them then")
  func walk() throws {
    var model = try model(settings: 2)
    press(&model, "2")
    #expect(render(model, 120, 40).text.contains("2 settings of the controls (s shows each)"))
    press(&model, "s")
    let hlt = try #require(model.controlRows().first { $0.name.short == "HLT_EXITING" })
    #expect((hlt.state, hlt.count, hlt.busy) == (.on, 2000, 200))
    let text = render(model, 120, 40).text
    #expect(text.contains("SETTING #1: 0 vCPUs now, 3,000 exits in 2.00s (1500/s)") || text.contains("SETTING #1"))
    press(&model, "s")
    let off = try #require(model.controlRows().first { $0.name.short == "HLT_EXITING" })
    #expect((off.state, off.count) == (.off, 0))
    #expect(render(model, 120, 40).text.contains("unlike #1: HLT_EXITING=0"))
    press(&model, "s")
    #expect(model.setting == nil)
    #expect(model.message == "all settings of the controls together")
  }

  @Test("where there is one only, s says so")
  func one() throws {
    var model = try model(settings: 1)
    press(&model, "2s")
    #expect(model.setting == nil)
    #expect(model.message?.hasPrefix("one setting of the controls so far") == true)
  }

  @Test("Enter on a control has them side by side")
  func explanation() throws {
    var model = try model(settings: 2)
    press(&model, "2")
    press(&model, "/IO_EXITING$")
    _ = model.handle(.enter)
    _ = model.handle(.enter)
    let lines = render(model, 120, 40).text.split(separator: "\n").map(String.init)
    let at = try #require(lines.firstIndex { $0.contains("BY SETTING OF THE CONTROLS") })
    #expect(lines[at + 2].split(separator: " ").prefix(3) == ["#1", "1", "1,000"])
    #expect(lines[at + 3].split(separator: " ").prefix(3) == ["#2", "1", "500"])
  }
}
