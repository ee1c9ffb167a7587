import Aggregator
import Architecture
import Foundation
import Recording
import Testing
import TraceFormat
import Wording

@testable import Export

private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent()
private let demo = root.appendingPathComponent("Sources/CDemo/demo.trace.dat").path
private let perf = root.appendingPathComponent("Tests/Fixtures/perf-6.12/plain.data").path
private let lossy = root.appendingPathComponent("Tests/Fixtures/perf-6.12/lossy.data").path

private func context(_ path: String, options: AggregatorOptions = AggregatorOptions()) throws -> ExportContext {
  let source = try openRecording(path: path)
  let vms = Dictionary(grouping: source.metadata.processes) { $0.value }
  let host = HostView(
    vms: vms.map { process, threads in
      HostVM(
        pid: process, vmm: source.metadata.commandNames[process],
        vcpus: threads.map { HostVCPU(id: nil, tid: $0.key, threadName: source.metadata.commandNames[$0.key]) })
    })
  return ExportContext(source: source, options: options, host: host, producer: "vmctop \"test\"")
}

private func text(_ write: (@escaping ([UInt8]) throws -> Void) throws -> Void) throws -> String {
  final class Box { var bytes: [UInt8] = [] }
  let box = Box()
  try write { box.bytes += $0 }
  return try #require(String(validating: box.bytes, as: UTF8.self))
}

@Suite("An export") struct ExportTests {
  @Test("by rows adds up to what is counted, by reason, control and time", arguments: [demo, perf, lossy])
  func rows(path: String) throws {
    let context = try context(path)
    let snapshot = try context.count()
    var counts: [String: UInt64] = [:]
    var paired: [String: UInt64] = [:]
    var handling: [String: UInt64] = [:]
    var controls: [String: UInt64] = [:]
    var guest: UInt64 = 0
    var user: UInt64 = 0
    var halted: UInt64 = 0
    for line in try text({ try context.writeExits(.jsonLines, $0) }).split(separator: "\n") {
      let row = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
      #expect(row.count == ExitColumn.all.count)
      let reason = try #require(row["reason"] as? String)
      counts[reason, default: 0] += 1
      let word = try #require(row["control_word"] as? String)
      controls["\(word)/\(try #require(row["control"] as? String))", default: 0] += 1
      guest += (row["guest_ns"] as? NSNumber)?.uint64Value ?? 0
      if let time = (row["handling_ns"] as? NSNumber)?.uint64Value {
        paired[reason, default: 0] += 1
        handling[reason, default: 0] += time
        user += try #require(row["user_ns"] as? NSNumber).uint64Value
        halted += try #require(row["halted_ns"] as? NSNumber).uint64Value
      }
    }
    #expect(counts.count > 1)
    for reason in snapshot.total.reasons {
      #expect(counts[reason.name] == reason.count)
      #expect(paired[reason.name] ?? 0 == reason.handling.paired)
      #expect(handling[reason.name] ?? 0 == reason.handling.total)
    }
    #expect(counts.values.reduce(0, +) == snapshot.total.exits)
    for row in snapshot.total.controls { #expect(controls["\(row.control.word)/\(row.control.name)"] == row.count) }
    #expect((guest, user, halted) == (snapshot.total.time.guest, snapshot.total.time.user, snapshot.total.time.halted))
  }

  @Test("as CSV has the same rows, each with all columns, as RFC 4180 wants them") func csv() throws {
    let context = try context(perf)
    let text = try text { try context.writeExits(.csv, $0) }
    #expect(text.hasSuffix("\r\n"))
    let lines = text.components(separatedBy: "\r\n").dropLast()
    #expect(lines.first == ExitColumn.all.map(\.key).joined(separator: ","))
    #expect(UInt64(lines.count - 1) == (try context.count().total.exits))
    for line in lines {
      #expect(line.split(separator: ",", omittingEmptySubsequences: false).count == ExitColumn.all.count)
    }
  }

  @Test("of a range has the exits whose kvm_exit lies in it") func range() throws {
    var context = try context(perf)
    func times() throws -> [UInt64] {
      try text { try context.writeExits(.jsonLines, $0) }.split(separator: "\n").map { line in
        let row = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
        return try #require(row["time_ns"] as? NSNumber).uint64Value
      }
    }
    let all = try times()
    let range = all[10]...all[20]
    context.source = RangedRecording(context.source, range: range)
    #expect(try times() == Array(all[10...20]))
    #expect(try context.count().total.exits == 11)
  }

  @Test("for Perfetto nests all slices, and has one for each exit that ended", arguments: [demo, perf, lossy])
  func perfetto(path: String) throws {
    let context = try context(path)
    let snapshot = try context.count()
    let text = try text { try context.writePerfetto(snapshot, $0) }
    let trace = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
    let events = try #require(trace["traceEvents"] as? [[String: Any]])
    var slices: [String: [(start: Int64, end: Int64, name: String)]] = [:]
    var exits: UInt64 = 0
    var processes: Set<Int> = []
    func nanoseconds(_ value: Any?) throws -> Int64 {
      Int64((try #require(value as? NSNumber).doubleValue * 1000).rounded())
    }
    for event in events {
      switch event["ph"] as? String {
      case "M": processes.insert(try #require(event["pid"] as? Int))
      case "C":
        let arguments = try #require(event["args"] as? [String: Any])
        #expect((arguments["exits/s"] as? NSNumber)?.intValue ?? -1 >= 0)
      case "X":
        #expect(processes.contains(try #require(event["pid"] as? Int)), "a process without a name")
        let start = try nanoseconds(event["ts"])
        let name = try #require(event["name"] as? String)
        if event["cat"] as? String == "exit" { exits += 1 }
        slices["\(try #require(event["tid"]))", default: []].append(
          (start, start + (try nanoseconds(event["dur"])), name))
      case "i": break
      default: Issue.record("an event of another kind: \(event)")
      }
    }
    #expect(exits == snapshot.total.reasons.reduce(0) { $0 + $1.handling.paired })
    for (thread, own) in slices {
      var stack: [Int64] = []
      for slice in own.sorted(by: { ($0.start, $1.end) < ($1.start, $0.end) }) {
        while let last = stack.last, last <= slice.start { stack.removeLast() }
        if let last = stack.last, slice.end > last {
          Issue.record("thread \(thread): \(slice) overlaps")
          return
        }
        stack.append(slice.end)
      }
    }
  }

  @Test("as OpenMetrics is of its grammar, and its totals are what is counted", arguments: [demo, perf, lossy])
  func openMetrics(path: String) throws {
    let context = try context(path)
    let snapshot = try context.count()
    let text = try text { try context.writeOpenMetrics(snapshot, version: "0.1.0", $0) }
    let metrics = try OpenMetricsChecker(text)
    func sum(_ family: String, _ suffix: String) -> UInt64 {
      (metrics.families[family]?.samples ?? []).filter { $0.name == family + suffix }
        .reduce(0) { $0 + (UInt64($1.value) ?? 0) }
    }
    #expect(sum("vmctop_vm_exits", "_total") == snapshot.total.exits)
    #expect(sum("vmctop_control_exits", "_total") == snapshot.total.exits)
    #expect(
      sum("vmctop_exit_handling_seconds", "_count") == snapshot.total.reasons.reduce(0) { $0 + $1.handling.paired })
    #expect(sum("vmctop_events_lost", "_total") == snapshot.losses.lost)
    #expect(metrics.families["vmctop_build"]?.samples.first?.labels == ["version": "0.1.0"])
  }

  @Test(
    "the checker of OpenMetrics notices what is wrong",
    arguments: [
      ("# EOF\n", ""), ("_total{", "{"), ("# TYPE vmctop_vm_exits counter\n", ""), (" 1\n", " one\n"),
      ("le=\"+Inf\"", "le=\"99\""), ("# HELP vmctop_build", "# NOTE vmctop_build"), ("\n# TYPE", "\n\n# TYPE"),
      ("version=\"", "version=\"\\x"),
      ("# UNIT vmctop_recording_seconds seconds", "# UNIT vmctop_recording_seconds bytes"),
      ("# TYPE vmctop_control_exits", "# TYPE vmctop_vm_exits"), ("le=\"1e-06\"", "le=\"9e-06\""),
    ])
  func checker(part: String, instead: String) throws {
    let context = try context(perf)
    let text = try text { try context.writeOpenMetrics(try context.count(), version: "0.1.0", $0) }
    _ = try OpenMetricsChecker(text)
    let range = try #require(text.range(of: part))
    #expect(throws: OpenMetricsChecker.Wrong.self) {
      try OpenMetricsChecker(text.replacingCharacters(in: range, with: instead))
    }
  }

  private func events(_ source: any RecordingSource) -> [String] {
    source.rewind()
    var result: [String] = []
    for (index, stream) in source.streams.enumerated() {
      while let page = source.nextPage(stream: index) {
        var cursor = SubBufferCursor(page: page, layout: source.metadata.page)
        if cursor.missed != .none { result.append("\(stream) missed \(cursor.missed)") }
        while cursor.next() {
          let payload = UnsafeRawBufferPointer(start: cursor.payload, count: cursor.payloadLength)
          result.append("\(stream) \(cursor.timestamp) \(Array(payload))")
        }
      }
    }
    return result
  }

  @Test("as trace.dat has the same events, losses, names and vCPUs", arguments: [perf, lossy])
  func traceDat(path: String) throws {
    let target = NSTemporaryDirectory() + "vmctop-test-\(UUID().uuidString).dat"
    defer { try? FileManager.default.removeItem(atPath: target) }
    let context = try context(path)
    let snapshot = try context.count()
    try context.writeTraceDat(path: target, snapshot)
    let copy = try TraceFile(path: target)
    #expect(copy.damage == [])
    #expect(events(copy) == events(context.source))
    #expect(
      copy.metadata.clock == context.source.metadata.clock && copy.metadata.uname == context.source.metadata.uname)
    #expect(copy.metadata.commandNames == context.source.metadata.commandNames)
    #expect(copy.cpuCount == context.source.cpuCount && copy.cpuStatistics == context.source.cpuStatistics)
    #expect(copy.guests.map(\.threads) == [[0: try #require(snapshot.vms.first?.vcpus.first?.tid)]])
    #expect(copy.guests.map(\.name) == ["exitgen"])
  }

  @Test("of some vCPUs has their events and no others") func filtered() throws {
    let target = NSTemporaryDirectory() + "vmctop-test-\(UUID().uuidString).dat"
    defer { try? FileManager.default.removeItem(atPath: target) }
    let thread = try #require(try openRecording(path: perf).metadata.processes.keys.first)
    let context = try context(perf, options: AggregatorOptions(threads: [thread]))
    try context.writeTraceDat(path: target, try context.count())
    let copy = try TraceFile(path: target)
    let all = try TraceFile(
      path: { () throws -> String in
        let path = target + ".all"
        let context = try self.wholeContext()
        try context.writeTraceDat(path: path, try context.count())
        return path
      }())
    defer { try? FileManager.default.removeItem(atPath: target + ".all") }
    func own(_ source: any RecordingSource) -> [String] {
      events(source).filter { line in
        let bytes = line.split(separator: "[")[1].dropLast().split(separator: ", ").compactMap { UInt8($0) }
        return Int32(bytes[4]) | Int32(bytes[5]) << 8 == thread
      }
    }
    #expect(events(copy) == own(all) && !events(copy).isEmpty && events(copy).count <= events(all).count)
    #expect(try ExportTests.exits(copy) == ExportTests.exits(all))
  }

  private func wholeContext() throws -> ExportContext { try context(perf) }

  private static func exits(_ source: any RecordingSource) throws -> UInt64 {
    try ExportContext(source: source, options: AggregatorOptions(), host: HostView(), producer: "").count().total.exits
  }

  @Test("ends at once where it cannot be written") func failingSink() throws {
    struct Full: Error {}
    final class Box { var calls = 0 }
    let context = try context(demo)
    let box = Box()
    #expect(throws: Full.self) {
      try context.writeExits(.csv) { _ in
        box.calls += 1
        throw Full()
      }
    }
    #expect(box.calls == 1)
  }

  @Test("text from a recording cannot command a terminal or leave its string") func hostileText() throws {
    #expect(jsonString("a\"\\\n\u{1b}[2J\u{9b}\u{202e}é") == "\"a\\\"\\\\\\n\\u001b[2J\\u009b\\u202eé\"")
    #expect(printable("a\u{1b}b\u{85}") == "a?b?")
    #expect(decimal(1_234_567, digits: 3) == "1234.567" && decimal(5, digits: 9) == "0.000000005")
  }
}
