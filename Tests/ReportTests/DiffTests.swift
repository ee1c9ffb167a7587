import Aggregator
import Architecture
import Foundation
import Testing

@testable import Report

@Suite("The comparison of two recordings")
struct DiffTests {
  /// A side of so many seconds; of each reason: code, name, exits, time of each exit, and what it is charged to.
  private func side(
    seconds: Double = 10,
    _ reasons: [(code: UInt32, name: String, count: UInt64, each: UInt64, control: ControlID)],
    halted: UInt64 = 0
  ) -> DiffReport.Side {
    var snapshot = Snapshot()
    snapshot.source.kind = .traceDat
    snapshot.source.path = "trace.dat"
    snapshot.windowNanoseconds = UInt64(seconds * 1e9)
    snapshot.scopes = [scope(reasons, halted: halted)]
    return DiffReport.Side(snapshot: snapshot)
  }

  private func scope(
    _ reasons: [(code: UInt32, name: String, count: UInt64, each: UInt64, control: ControlID)], halted: UInt64 = 0
  ) -> ScopeStatistics {
    var scope = ScopeStatistics()
    scope.time.halted = halted
    var controls: [ControlID: ChargeStatistics] = [:]
    for (code, name, count, each, control) in reasons {
      var handling = LatencySummary()
      (handling.paired, handling.total, handling.p99) = (count, count * each, each * 3)
      // All of the time halted is HLT's.
      let figures = ExitFigures(
        total: ExitCounts(count: count, handling: count * each, halted: code == 12 ? halted : 0))
      scope.reasons.append(
        ReasonStatistics(isa: 1, code: code, name: name, figures: figures, handling: handling))
      scope.exits += count
      controls[control, default: ChargeStatistics(control: control)].figures.add(figures)
    }
    scope.controls = controls.values.sorted { $0.control < $1.control }
    return scope
  }

  private func diff(_ a: DiffReport.Side, _ b: DiffReport.Side) -> DiffReport {
    DiffReport(a, b, vocabulary: vocabulary)
  }

  @Test("as a page has the rows that changed, and counts the others; 80 columns hold it")
  func rows() {
    let page = diff(
      side([
        (30, "IO_INSTRUCTION", 10_000, 5000, unconditionalIO), (10, "CPUID", 100_000, 100, noControl),
        (12, "HLT", 5000, 100, hltExiting),
      ]),
      side([
        (30, "IO_INSTRUCTION", 20_000, 5000, unconditionalIO), (10, "CPUID", 200_000, 100, noControl),
        (12, "HLT", 5010, 100, hltExiting),
      ])
    ).page()
    #expect(page.contains("+100%"))
    #expect(page.contains("no significant change in 1 more reason\n"))
    #expect(page.split(separator: "\n").allSatisfy { $0.count <= 80 })
  }

  @Test("says so where there is no change to speak of")
  func noChange() {
    let report = diff(
      side(seconds: 10, [(10, "CPUID", 100_000, 100, noControl)]),
      side(seconds: 20, [(10, "CPUID", 200_100, 100, noControl)]))
    #expect(!report.hasSignificantChange)
    #expect(report.page().contains("No significant change: no rate and no time differs by more than 3 times"))
  }

  @Test("what is new and what is gone is told by name")
  func newAndGone() {
    let page = diff(
      side([(10, "CPUID", 1000, 100, noControl)]), side([(30, "IO_INSTRUCTION", 900, 100, unconditionalIO)])
    ).page()
    #expect(page.contains("gone"))
    #expect(page.contains("new"))
  }

  @Test("names the controls that are others")
  func controls() throws {
    func with(_ words: [ControlSetting]) -> DiffReport.Side {
      var side = side([(10, "CPUID", 1000, 100, noControl)])
      var vm = VirtualMachineStatistics()
      vm.vcpus = words.indices.map { VCPUStatistics(tid: Int32($0)) }
      for index in words.indices {
        side.snapshot.settings.append(
          SettingDescription(setting: VCPUSetting(rawValue: index + 2), number: index + 1, words: words[index]))
        vm.vcpus[index].setting = VCPUSetting(rawValue: index + 2)
      }
      side.snapshot.vms = [vm]
      return side
    }
    let on = ControlSetting(primary: 0xb5a0_6dfa)
    let off = ControlSetting(primary: 0xb5a0_6d7a)
    #expect(diff(with([on]), with([off])).page().contains("1 -> 0"))
    #expect(diff(with([on]), with([])).page().contains("Control words were not recorded on both sides"))
    #expect(diff(with([on]), with([on])).page().contains("The control words are the same on both sides."))
  }

  @Test("has a part for each VM that both sides have, and names the others")
  func machines() {
    func with(_ names: [String?]) -> DiffReport.Side {
      var side = side([(10, "CPUID", 1000, 100, noControl)])
      for name in names {
        var vm = VirtualMachineStatistics()
        vm.name = name
        vm.scope = side.snapshot.scopes.count
        side.snapshot.scopes.append(scope([(10, "CPUID", name == "b" ? 900 : 100, 100, noControl)]))
        side.snapshot.vms.append(vm)
      }
      return side
    }
    let report = diff(with(["a", "b", nil, "twice", "twice"]), with(["b", "c", "twice"]))
    #expect(report.scopes.map(\.vm) == [nil, "b"])
    #expect(report.scopes[1].total.a.count == 900)
    #expect(report.onlyInA == ["a"])
    #expect(report.onlyInB == ["c", "twice"])
    #expect(report.page().contains("Only in A: a\n"))
    #expect(diff(with(["b"]), with(["b"])).scopes.map(\.vm) == [nil], "with one VM it is everything")
  }

  @Test("losses and damage of a side are told where its counts are")
  func damage() {
    var lossy = side([(10, "CPUID", 1000, 100, noControl)])
    lossy.snapshot.losses.lost = 7
    lossy.snapshot.losses.uncounted = 1
    lossy.snapshot.malformedRecords = 2
    lossy.damage = ["byte 5: evil \u{1b}[2J"]
    let page = diff(side([(10, "CPUID", 1000, 100, noControl)]), lossy).page()
    #expect(page.contains("LOST at least 7 events: counts are lower bounds"))
    #expect(page.contains("DAMAGED: 2 records passed over"))
    #expect(!page.contains("\u{1b}"))
  }

  @Test("of nothing says so, and of a window of no length makes no rates")
  func nothing() throws {
    #expect(diff(side([]), side([])).page().contains("No exit was seen on either side."))
    let report = diff(side(seconds: 0, [(10, "CPUID", 1, 1, noControl)]), side([]))
    #expect(report.scopes[0].reasons[0].a.rate == 0)
    _ = try report.json()
  }

  @Test("as JSON has every key of its description")
  func json() throws {
    let text = try diff(
      side([(30, "IO_INSTRUCTION", 10_000, 5000, unconditionalIO)]),
      side([(30, "IO_INSTRUCTION", 20_000, 5000, unconditionalIO)])
    ).json()
    #expect(text.hasSuffix("}\n") && text.split(separator: "\n").count == 1)
    let object = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
    #expect(object["schema"] as? String == "vmctop/diff/1")
    #expect(object["significant_change"] as? Bool == true)
    let scopes = try #require(object["scopes"] as? [[String: Any]])
    let row = try #require((scopes[0]["reasons"] as? [[String: Any]])?.first)
    #expect(row["rate_change"] as? Double == 1000)
    #expect(row["time_change_ns_per_second"] as? Double == 5_000_000)
    #expect((row["a"] as? [String: Any])?["mean_ns"] as? Double == 5000)
    #expect((row["b"] as? [String: Any])?["p99_ns"] as? Double == 15_000)
    #expect(scopes[0]["controls_changed"] is NSNull)
    // Every key is described.
    let page = try String(
      contentsOf: URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("docs/diff-json.md"), encoding: .utf8)
    func keys(_ value: Any) -> Set<String> {
      if let object = value as? [String: Any] {
        return object.reduce(into: Set(object.keys)) { $0.formUnion(keys($1.value)) }
      }
      return (value as? [Any])?.reduce(into: []) { $0.formUnion(keys($1)) } ?? []
    }
    for key in keys(object) { #expect(page.contains("`\(key)`"), "\(key)") }
  }
}
