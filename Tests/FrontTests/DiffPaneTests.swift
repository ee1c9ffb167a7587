import Aggregator
import Architecture
import FrontSupport
import Screen
import Testing

@testable import Front

@Suite("The diff pane") struct DiffPaneTests {
  /// Primary controls with and without HLT exiting.
  private static let on = ControlSetting(primary: 0xb5a0_6dfa)
  private static let off = ControlSetting(primary: 0xb5a0_6d7a)

  private func words(_ snapshot: Snapshot, _ words: ControlSetting) -> Snapshot {
    var snapshot = snapshot
    for vcpu in snapshot.vms.flatMap(\.vcpus) { snapshot.controlWords[vcpu.tid] = words }
    if let mark = snapshot.sinceMark, var after = mark.after {
      after.controlWords = snapshot.controlWords
      snapshot.sinceMark = SinceMark(before: mark.before, after: after)
    }
    return snapshot
  }

  /// Presses D, and does what a session does then.
  private func mark(_ model: inout FrontModel, _ host: inout SyntheticHost) {
    #expect(model.handle(.character("D")) == [.markBefore])
    host.mark(model.snapshot)
  }

  /// A live view of three intervals, then D, then three more with fewer I/O exits, no CPUID and no HLT exiting.
  private func changed(_ host: inout SyntheticHost) -> FrontModel {
    var model = FrontModel(names: FixedNames())
    for _ in 0..<3 { model.observe(words(host.next(), Self.on)) }
    mark(&model, &host)
    press(&model, "0")
    host.factors = [30: 0.3, 10: 0, 54: 0, 12: 0.1]
    for _ in 0..<3 { model.observe(words(host.next(), Self.off)) }
    return model
  }

  private func changed() -> FrontModel {
    var host = SyntheticHost()
    return changed(&host)
  }

  private func recording(
    _ host: inout SyntheticHost, at seconds: UInt64, range: Range<UInt64>? = nil, path: String? = nil
  ) -> Snapshot {
    var snapshot = SyntheticHost.asRecording(
      host.next(), position: seconds * 1_000_000_000, duration: 36_000_000_000)
    snapshot.playback?.range = range
    if let path { snapshot.source.path = path }
    return snapshot
  }

  /// The row of a name, without the blanks between its cells.
  private func row(_ model: FrontModel, _ name: String, _ columns: Int = 80, _ rows: Int = 60) -> [String] {
    let line = render(model, columns, rows).text.split(separator: "\n").first { $0.contains(" \(name) ") }
    return (line ?? "").split(separator: " ").map(String.init)
  }

  @Test("looks as it did when it was found good", arguments: [(80, 24), (120, 40), (160, 45), (40, 10)])
  func golden(_ columns: Int, _ rows: Int) throws {
    try GoldenTests.check(render(changed(), columns, rows), "diff-\(columns)x\(rows)")
  }

  @Test func goldenInASCII() throws {
    var model = changed()
    press(&model, "jjjjjjjjjjjjjjjjjj")
    let frame = Renderer.render(model, columns: 80, rows: 24, isASCII: true)
    #expect(frame.screen.text.unicodeScalars.allSatisfy { $0.isASCII })
    try GoldenTests.check(frame.screen, "diff-ascii-80x24")
  }

  @Test("without a before says in one line how to get one")
  func nothing() {
    var model = modelAfter(2)
    press(&model, "0")
    #expect(render(model).text.contains(" nothing to compare with: D takes what is shown as the before\n"))
    #expect(model.handle(.enter) == [])
    press(&model, "jG")
    #expect(model.pane == .diff)
  }

  @Test("live compares what came before D with what came after it, and with nothing else")
  func live() throws {
    var host = SyntheticHost()
    let model = changed(&host)
    let total = try #require(model.snapshot?.total)
    let before = try #require(model.before?.snapshot)
    guard case .scope(let scope, let comparison, let after) = model.differenceFromBefore else {
      Issue.record("nothing is compared")
      return
    }
    #expect(after == "since D was pressed")
    #expect(comparison.a.windowNanoseconds == 3_000_000_000)
    #expect(comparison.b.windowNanoseconds == 3_000_000_000)
    #expect(scope.total.a.count == before.total.exits)
    #expect(scope.total.b.count == total.exits - before.total.exits)
    let io = try #require(scope.reasons.first { $0.reason?.code == 30 })
    #expect(abs(io.b.rate / io.a.rate - 0.3) < 0.03)
    #expect(scope.changes == [.init(control: try #require(ControlID(word: .primary, bit: 7)), a: .on, b: .off)])
    let text = render(model).text
    #expect(text.contains("CONTROLS THAT ARE OTHERS"))
    #expect(text.contains("1 → 0  CPU_BASED_HLT_EXITING  primary bit 7"))
  }

  @Test("D takes another before each time, and nothing counted since is told as that")
  func again() {
    var host = SyntheticHost()
    var model = changed(&host)
    mark(&model, &host)
    #expect(model.before?.snapshot.windowNanoseconds == 6_000_000_000)
    #expect(render(model).text.contains("nothing was counted since D was pressed"))
    model.observe(words(host.next(), Self.off))
    #expect(render(model).text.contains("A before  all until D was pressed: 6.0s"))
    #expect(render(model).text.contains("the control words are the same on both sides"))
  }

  @Test("what was shown when the key was read is the before, also where that was not seen yet")
  func late() {
    var host = SyntheticHost()
    var model = FrontModel(names: FixedNames())
    for _ in 0..<2 { model.observe(host.next()) }
    press(&model, "D0")
    let read = host.next()
    host.mark(read)
    model.observe(read)
    #expect(render(model).text.contains("nothing was counted since D was pressed"))
    model.observe(host.next())
    #expect(model.before?.snapshot.windowNanoseconds == 3_000_000_000)
    #expect(render(model).text.contains("A before  all until D was pressed: 3.0s"))
    #expect(render(model).text.contains("B after   since D was pressed: 1.0s"))
    // Counted afresh, nothing that came after it is known.
    var afresh = SyntheticHost()
    model.observe(afresh.next())
    #expect(render(model).text.contains("counting began afresh since D was pressed"))
  }

  @Test("what came after D has the percentiles of its own exits")
  func percentiles() throws {
    guard case .scope(let scope, _, _) = changed().differenceFromBefore else {
      Issue.record("nothing is compared")
      return
    }
    let io = try #require(scope.reasons.first { $0.reason?.code == 30 })
    #expect(io.a.p99 == 26_500 && io.b.p99 == 26_500)
    let cpuid = try #require(scope.reasons.first { $0.reason?.code == 10 })
    #expect(cpuid.b.p99 == nil)
  }

  @Test("D before anything was counted takes nothing")
  func tooEarly() {
    var model = FrontModel(names: FixedNames())
    press(&model, "D")
    #expect(model.before == nil)
    #expect(model.message?.contains("nothing was counted") == true)
  }

  @Test("Esc gives up the filter, then the VM, then the before, then the pane")
  func escape() {
    var model = changed()
    press(&model, "5")
    _ = model.handle(.enter)
    press(&model, "0/HLT")
    _ = model.handle(.enter)
    #expect(model.scope == .vm(.known(1)))
    _ = model.handle(.escape)
    #expect(model.filter == "" && model.before != nil)
    _ = model.handle(.escape)
    #expect(model.scope == .all && model.before != nil)
    #expect(model.handle(.escape) == [.forgetBefore])
    #expect(model.before == nil && model.pane == .diff)
    _ = model.handle(.escape)
    #expect(model.pane == .exits)
  }

  @Test("rows that are no change are dim and say ~, others say by how much")
  func significance() {
    let model = changed()
    let io = row(model, "IO_INSTRUCTION")
    #expect(io.contains("-72%"))
    #expect(row(model, "CPUID").contains("gone"))
    #expect(row(model, "EXCEPTION_NMI").contains("~"))
    let screen = render(model, 80, 60)
    let lines = screen.text.split(separator: "\n", omittingEmptySubsequences: false)
    let roles = screen.roles.split(separator: "\n", omittingEmptySubsequences: false)
    for (line, roles) in zip(lines, roles) where line.contains(" EXCEPTION_NMI ") {
      #expect(roles.contains(".") && !roles.contains("c"))
    }
    for (line, roles) in zip(lines, roles) where line.contains(" IO_INSTRUCTION ") && line.contains("k ") {
      #expect(roles.contains("c"))
    }
  }

  @Test("a filter keeps the rows whose reason or control it finds")
  func filter() {
    var model = changed()
    press(&model, "/hlt")
    _ = model.handle(.enter)
    let text = render(model).text
    #expect(text.contains("CPU_BASED_HLT_EXITING"))
    #expect(text.contains(" HLT "))
    #expect(!text.contains("IO_INSTRUCTION"))
    press(&model, "/\u{15}nowhere")
    _ = model.handle(.enter)
    #expect(render(model).text.contains("no reason and no control matches /nowhere"))
  }

  @Test("Enter opens the details of a reason and explains a control, and Esc comes back")
  func drill() throws {
    var model = changed()
    // The first row is the control that is another.
    _ = model.handle(.enter)
    #expect(model.explained == .control(try #require(ControlID(word: .primary, bit: 7))))
    #expect(render(model).text.contains("CPU_BASED_HLT_EXITING"))
    _ = model.handle(.escape)
    #expect(model.explained == nil && model.before != nil)
    press(&model, "j")
    _ = model.handle(.enter)
    #expect(model.pane == .details)
    let keys = model.diffKeys
    #expect(model.detailKey == keys[1])
    _ = model.handle(.escape)
    #expect(model.pane == .diff && model.before != nil)
    press(&model, "G")
    _ = model.handle(.enter)
    #expect(model.explained == keys.last)
  }

  @Test("the cursor is always in sight, under the head of its table", arguments: [9, 12, 24, 40])
  func scrolling(_ rows: Int) throws {
    var model = changed()
    let count = model.diffKeys.count
    for step in 0..<2 * count {
      let frame = Renderer.render(model, columns: 80, rows: rows)
      model.adopt(frame)
      let lines = frame.screen.text.split(separator: "\n", omittingEmptySubsequences: false)
      #expect(lines.count { $0.hasPrefix("▸") } == 1, "step \(step)")
      let cursor = try #require(lines.firstIndex { $0.hasPrefix("▸") })
      let index = model.cursorIndex(.diff, model.diffKeys)
      if case .change = model.diffKeys[index] {
      } else if rows >= 12 {
        let isControl = if case .control = model.diffKeys[index] { true } else { false }
        let head = lines[..<cursor].last { $0.hasPrefix("  BY ") }
        #expect(head?.hasPrefix(isControl ? "  BY CONTROL" : "  BY REASON") == true, "step \(step)")
      }
      press(&model, step < count ? "j" : "k")
    }
  }

  @Test("a click selects a row")
  func mouse() throws {
    var model = changed()
    let frame = Renderer.render(model, columns: 80, rows: 24)
    model.adopt(frame)
    let y = try #require(frame.screen.text.split(separator: "\n").firstIndex { $0.contains(" IO_INSTRUCTION ") })
    _ = model.handle(.click(x: 10, y: y))
    #expect(model.diffKeys[model.cursorIndex(.diff, model.diffKeys)] == .reason(isa: 1, code: 30))
  }

  @Test("of a VM or a vCPU compares that VM or vCPU")
  func scopes() throws {
    var model = changed()
    press(&model, "5")
    _ = model.handle(.enter)
    press(&model, "0")
    guard case .scope(let scope, _, _) = model.differenceFromBefore else {
      Issue.record("nothing is compared")
      return
    }
    let vm = try #require(model.snapshot?.vms[0])
    let before = try #require(model.before?.snapshot)
    #expect(scope.vm == "web01")
    #expect(scope.total.b.count == model.statistics(vm.scope).exits - before.scopes[vm.scope].exits)
  }

  @Test("in a recording compares what came after the mark, a range with what was marked, and tells a place before it")
  func recordings() {
    var host = SyntheticHost()
    var model = FrontModel(names: FixedNames())
    model.observe(recording(&host, at: 1))
    model.observe(recording(&host, at: 2))
    mark(&model, &host)
    press(&model, "0")
    model.observe(recording(&host, at: 3))
    #expect(render(model).text.contains("A before  up to 2.000 s: 2.0s"))
    #expect(render(model).text.contains("B after   2.000 s to 3.000 s: 1.0s"))
    // A range stands for itself.
    model.observe(recording(&host, at: 3, range: 500_000_000..<1_500_000_000))
    #expect(render(model).text.contains("A before  up to 2.000 s: 2.0s"))
    #expect(render(model).text.contains("B after   0.500 s to 1.500 s: 4.0s"))
    #expect(model.handle(.character("D")) == [.forgetBefore])
    model.observe(recording(&host, at: 3, range: 1_500_000_000..<3_000_000_000))
    #expect(render(model).text.contains("A before  0.500 s to 1.500 s: 4.0s"))
    #expect(render(model).text.contains("B after   1.500 s to 3.000 s: 5.0s"))
    var earlier = SyntheticHost()
    model = FrontModel(names: FixedNames())
    model.observe(recording(&host, at: 6))
    mark(&model, &host)
    press(&model, "0")
    model.observe(recording(&earlier, at: 1))
    #expect(render(model).text.contains("D was pressed at 6.000 s, which is after this"))
  }

  @Test("opened with a before shows the pane at once, and compares with all of that")
  func given() {
    var host = SyntheticHost(seed: 7)
    var other = SyntheticHost()
    for _ in 0..<3 { _ = host.next() }
    var model = FrontModel(
      names: FixedNames(), before: Before(snapshot: host.next(), title: "before.vmctop"))
    #expect(model.pane == .diff)
    #expect(render(model).text.contains("waiting"))
    other.factors = [30: 5]
    model.observe(recording(&other, at: 1, path: "/tmp/after.data"))
    let text = render(model).text
    #expect(text.contains("A before  before.vmctop: 4.0s"))
    #expect(text.contains("B after   after.data, up to 1.000 s: 1.0s"))
    #expect(
      row(model, "IO_INSTRUCTION").contains("+401%") || row(model, "IO_INSTRUCTION").contains { $0.hasPrefix("+") })
  }

  @Test("losses and damage of a side are told beside its counts")
  func losses() {
    var host = SyntheticHost()
    var model = FrontModel(names: FixedNames())
    model.observe(host.next())
    mark(&model, &host)
    press(&model, "0")
    var next = host.next()
    var after = next.sinceMark?.after ?? Snapshot()
    after.losses.lost = 17
    after.losses.uncounted = 1
    after.malformedRecords = 3
    next.sinceMark = next.sinceMark.map { SinceMark(before: $0.before, after: after) }
    model.observe(next)
    let line = render(model).text.split(separator: "\n").first { $0.hasPrefix(" B after") }
    #expect(line?.contains("LOST 17+?: lower bounds  DAMAGED") == true)
    #expect(render(model).text.split(separator: "\n").first { $0.hasPrefix(" A before") }?.contains("LOST") == false)
  }

  @Test("every size is drawn without a trap, whatever is compared")
  func sizes() {
    for model in [changed(), modelAfter(1)] {
      var model = model
      press(&model, "0")
      for columns in [1, 12, 20, 40, 41, 60, 79, 80, 81, 93, 94, 101, 139, 140, 300] {
        for rows in [1, 3, 8, 9, 10, 14, 24, 40, 60] { _ = render(model, columns, rows) }
      }
    }
  }

  @Test("the tabs of all panes fit 80 columns")
  func tabs() {
    for pane in Pane.allCases {
      var model = changed()
      press(&model, pane.key)
      let line = render(model).text.split(separator: "\n")[2]
      for other in Pane.allCases { #expect(line.contains(" \(other.key)"), "\(pane): \(line)") }
      #expect(line.contains(" \(pane.key) \(pane.title)"))
    }
  }
}
