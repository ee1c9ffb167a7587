import Aggregator
import Architecture
import Foundation
import Report
import Testing

private func parsed(_ report: TriageReport) throws -> [String: Any] {
  let text = try report.json()
  #expect(text.hasSuffix("}\n"))
  #expect(!text.dropLast().contains("\n"), "one object on one line")
  return try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
}

private func objects(_ value: Any?) throws -> [[String: Any]] { try #require(value as? [[String: Any]]) }
private func number(_ value: Any?) throws -> UInt64 { try #require(value as? NSNumber).uint64Value }

/// Asserts that an object has these keys, and null as the value of none but those allowed.
private func expectKeys(_ object: [String: Any], _ keys: Set<String>, mayBeNull: Set<String> = []) {
  #expect(keys.subtracting(object.keys).isEmpty, "missing keys")
  let nulls = Set(object.filter { $0.value is NSNull }.keys)
  #expect(nulls.subtracting(mayBeNull).isEmpty, "unexpected nulls")
}

@Suite("triage as JSON") struct TriageJSONTests {
  @Test("names its schema and has every key of it") func schema() throws {
    let root = try parsed(report(sampleSnapshot()))
    #expect(root["schema"] as? String == "vmctop/triage/1")
    expectKeys(
      root,
      [
        "schema", "source", "window_ns", "events", "lost_events", "exits", "vms", "reasons", "controls", "settings",
        "advice",
      ])
    let source = try #require(root["source"] as? [String: Any])
    expectKeys(source, ["kind", "path", "kernel", "isa"], mayBeNull: ["path"])
    #expect(source["kind"] as? String == "tracefs")
    #expect(source["isa"] as? String == "vmx")
    #expect(try number(root["window_ns"]) == 10_000_000_000)
    #expect(try number(root["events"]) == 250)
    #expect(try number(root["lost_events"]) == 0)
    #expect(try number(root["exits"]) == 100)
    let vm = try #require(try objects(root["vms"]).first)
    expectKeys(vm, ["pid", "name", "vcpus"])
    let vcpu = try #require(try objects(vm["vcpus"]).first)
    expectKeys(vcpu, ["id", "tid", "exits", "guest_ns", "kernel_ns", "user_ns", "halted_ns"], mayBeNull: ["name"])
    #expect(try number(vcpu["guest_ns"]) == 900)
    for reason in try objects(root["reasons"]) {
      expectKeys(reason, ["isa", "code", "name", "count", "percent", "handling_ns", "controls", "details"])
      let handling = try #require(reason["handling_ns"] as? [String: Any])
      #expect(Set(["paired", "total", "min", "mean", "p50", "p90", "p99", "max"]).isSubset(of: Set(handling.keys)))
      for control in try objects(reason["controls"]) {
        expectKeys(control, ["word", "name", "count"], mayBeNull: ["bit"])
      }
    }
    for control in try objects(root["controls"]) {
      expectKeys(
        control,
        [
          "word", "bit", "name", "value", "provenance", "configured", "allowed", "changed_ns_ago", "exits",
          "handling_ns",
        ],
        mayBeNull: ["bit", "value", "configured", "allowed", "changed_ns_ago"])
      #expect(control["value"] is NSNull)
      #expect(control["provenance"] as? String == "inferred")
    }
    for advice in try objects(root["advice"]) {
      expectKeys(advice, ["reason", "text", "knob", "current"], mayBeNull: ["knob", "current", "satisfied"])
    }
  }

  @Test("every reason's controls add up to its count, and all controls to the exits") func sums() throws {
    let root = try parsed(report(sampleSnapshot()))
    for reason in try objects(root["reasons"]) {
      let sum = try objects(reason["controls"]).reduce(0) { try $0 + number($1["count"]) }
      #expect(try sum == number(reason["count"]))
    }
    #expect(try objects(root["controls"]).reduce(0) { try $0 + number($1["exits"]) } == number(root["exits"]))
  }

  @Test("exits that nothing can suppress are charged to none, UNCONDITIONAL, without a bit") func unconditional() throws
  {
    let controls = try objects(try parsed(report(sampleSnapshot()))["controls"])
    let control = try #require(controls.first { $0["name"] as? String == "UNCONDITIONAL" })
    #expect(control["word"] as? String == "none")
    #expect(control["bit"] is NSNull)
  }

  @Test("where no entry followed an exit, the handling time is null, not 0") func unpaired() throws {
    let reasons = try objects(try parsed(report(sampleSnapshot()))["reasons"])
    let cpuid = try #require(reasons.first { $0["name"] as? String == "CPUID" })
    let handling = try #require(cpuid["handling_ns"] as? [String: Any])
    #expect(try number(handling["paired"]) == 0)
    for key in ["min", "mean", "p50", "p90", "p99", "max"] { #expect(handling[key] is NSNull, "\(key)") }
  }

  @Test("details are named by kind and hexadecimal value") func details() throws {
    let reasons = try objects(try parsed(report(sampleSnapshot()))["reasons"])
    let details = try objects(try #require(reasons.first)["details"])
    #expect(details.map { $0["value"] as? String } == ["0x3f8", "0x70"])
    #expect(details.map { $0["kind"] as? String } == ["port", "port"])
    #expect(details.first?["text"] as? String == "0x3f8 COM1")
    #expect(try details.map { try number($0["count"]) } == [54, 6])
  }

  @Test("a trace that cannot tell pid, name and vcpu_id says null") func unknowns() throws {
    var snapshot = sampleSnapshot()
    snapshot.vms[0].pid = nil
    snapshot.vms[0].name = nil
    snapshot.vms[0].vcpus[0].id = nil
    snapshot.source.kernelRelease = nil
    snapshot.source.isa = nil
    let root = try parsed(report(snapshot))
    let vm = try #require(try objects(root["vms"]).first)
    #expect(vm["pid"] is NSNull && vm["name"] is NSNull)
    #expect(try #require(try objects(vm["vcpus"]).first)["id"] is NSNull)
    let source = try #require(root["source"] as? [String: Any])
    #expect(source["kernel"] is NSNull && source["isa"] is NSNull)
  }

  @Test("a control that was read from kernel memory has its value where all vCPUs agree") func measuredControls() throws
  {
    var snapshot = sampleSnapshot()
    let threads = snapshot.vms.flatMap(\.vcpus).map(\.tid)
    func hlt() throws -> [String: Any] {
      try #require(
        try objects(try parsed(report(snapshot))["controls"]).first { $0["name"] as? String == "CPU_BASED_HLT_EXITING" }
      )
    }
    #expect(try hlt()["value"] is NSNull && (try hlt()["provenance"]) as? String == "inferred")
    // The sample's numbers of controls are its own: its HLT exiting is bit 5 of the first word, pin.
    for (pin, expected) in [(UInt32(1 << 5), UInt64(1)), (0, 0)] {
      for tid in threads { snapshot.controlWords[tid] = ControlSetting(pin: pin) }
      #expect(try number(try hlt()["value"]) == expected)
      #expect(try hlt()["provenance"] as? String == "measured")
    }
    snapshot.controlWords[try #require(threads.first)] = ControlSetting(pin: 1 << 5)
    snapshot.controlWords[99] = ControlSetting(pin: 0)
    snapshot.vms[0].vcpus.append(VCPUStatistics(tid: 99))
    #expect(try hlt()["value"] is NSNull)
    #expect(try hlt()["provenance"] as? String == "inferred")
  }

  @Test("each setting of the controls has its exits, its words, and what was charged in it") func settings() throws {
    var snapshot = sampleSnapshot()
    snapshot.settings = [
      SettingDescription(setting: .asFound),
      SettingDescription(
        setting: VCPUSetting(rawValue: 2), number: 1, words: ControlSetting(primary: 0xb5a0_6dfa)),
      SettingDescription(
        setting: VCPUSetting(rawValue: 3), number: 2, words: ControlSetting(primary: 0xb5a0_6d7a)),
    ]
    var first = SettingStatistics(setting: VCPUSetting(rawValue: 2))
    first.count = 60
    first.duration = 2_000_000_000
    first.controls = [
      ChargeStatistics(control: hltExiting, figures: ExitFigures(total: ExitCounts(count: 60, handling: 900)))
    ]
    var second = SettingStatistics(setting: VCPUSetting(rawValue: 3))
    second.count = 40
    second.vcpus = 1
    snapshot.scopes[0].settings = [first, second]
    snapshot.scopes[0].reasons[0].settings = 2
    let root = try parsed(report(snapshot))
    let settings = try objects(root["settings"])
    #expect(settings.map { $0["label"] as? String } == ["#1", "#2"])
    #expect(try settings.map { try number($0["exits"]) } == [60, 40])
    #expect(try settings.map { try number($0["vcpus"]) } == [0, 1])
    #expect(settings[0]["rate"] as? Double == 30)
    #expect((settings[1]["words"] as? [String: Any])?["primary"] as? String == "0xb5a06d7a")
    #expect((settings[1]["words"] as? [String: Any])?["pin"] is NSNull)
    #expect(try objects(settings[0]["controls"]).map { try number($0["handling_ns"]) } == [900])
    #expect(try number(try #require(try objects(root["reasons"]).first)["settings"]) == 2)
    let page = report(snapshot).page()
    #expect(page.contains("SETTINGS OF THE CONTROLS"))
  }

  @Test("no exits at all is a complete report with empty lists") func empty() throws {
    let root = try parsed(report(Snapshot()))
    #expect(try number(root["exits"]) == 0)
    for key in ["vms", "reasons", "controls", "advice"] { #expect(try objects(root[key]).isEmpty) }
    #expect(root["rate"] is NSNull)
  }

  @Test("numbers at the end of their range stay exact", arguments: [UInt64.max, UInt64(1) << 53 + 1])
  func bigNumbers(value: UInt64) throws {
    var snapshot = sampleSnapshot()
    snapshot.windowNanoseconds = value
    snapshot.losses.lost = value
    let text = try report(snapshot).json()
    #expect(text.contains("\"window_ns\":\(value)"))
    #expect(text.contains("\"lost_events\":\(value)"))
  }

  @Test("a hostile name cannot send an escape sequence, in any of its encodings, and is not changed by that")
  func hostileNames() throws {
    var snapshot = sampleSnapshot()
    let name = "a\u{1b}[2J\"\\\u{9b}31m\u{7f}\u{202e}\u{e0001}\nb"
    snapshot.vms[0].name = name
    let text = try report(snapshot).json()
    for scalar in text.unicodeScalars.dropLast() {
      #expect(scalar.value >= 0x20 && scalar.value != 0x7f && !(0x80...0x9f).contains(scalar.value))
      #expect(scalar != "\u{202e}" && scalar.value != 0xe0001)
    }
    let vms = try objects(try parsed(report(snapshot))["vms"])
    #expect(vms.first?["name"] as? String == name)
  }

  @Test("a scope that the snapshot does not have is no crash") func missingScope() throws {
    var snapshot = sampleSnapshot()
    snapshot.vms[0].scope = 99
    snapshot.vms[0].vcpus[0].scope = -1
    let vm = try #require(try objects(try parsed(report(snapshot))["vms"]).first)
    #expect(try number(vm["exits"]) == 0)
    #expect(report(snapshot).page().contains("web01"))
  }
}
