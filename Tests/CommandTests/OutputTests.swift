import Aggregator
import Foundation
import Report
import Testing

@testable import vmctop

private final class Received: @unchecked Sendable {
  /// Touched by the reader until `isComplete`, by the test after it.
  private(set) var bytes: [UInt8] = []
  let isComplete = DispatchSemaphore(value: 0)

  func append(_ chunk: ArraySlice<UInt8>) { bytes += chunk }
}

@Suite("the writer of standard output") struct OutputWriterTests {
  @Test("loses nothing to a slow reader of a non-blocking pipe") func slowReader() throws {
    var ends: [Int32] = [0, 0]
    try #require(pipe(&ends) == 0)
    let (readEnd, writeEnd) = (ends[0], ends[1])
    _ = fcntl(writeEnd, F_SETFL, O_NONBLOCK)
    let line = "a line that is longer than a pipe's page is not needed, only many of them\n"
    // A thread of its own: a task could wait for ever for one of the few threads that tasks share.
    let received = Received()
    Thread.detachNewThread {
      var chunk = [UInt8](repeating: 0, count: 10_000)
      while true {
        usleep(200)
        let count = read(readEnd, &chunk, chunk.count)
        if count <= 0 { break }
        received.append(chunk[..<count])
      }
      received.isComplete.signal()
    }
    let output = Output(descriptor: writeEnd)
    for _ in 0..<20_000 { output.write(line) }
    try output.flush()
    close(writeEnd)
    received.isComplete.wait()
    let bytes = received.bytes
    close(readEnd)
    #expect(bytes.count == 20_000 * line.utf8.count)
    #expect(bytes == Array(String(repeating: line, count: 20_000).utf8))
  }

  @Test("tells of the first failure at each flush, and writes nothing after it") func failure() throws {
    let file = open("/dev/full", O_WRONLY)
    try #require(file >= 0)
    defer { close(file) }
    let output = Output(descriptor: file)
    output.write("x")
    for _ in 0..<2 {
      let failure = #expect(throws: Failure.self) { try output.flush() }
      #expect(failure?.status == .failure)
      #expect(failure?.message.contains("No space left on device") == true)
    }
  }
}

@Suite("the exit status") struct ExitStatusTests {
  private func status(_ snapshot: Snapshot, damage: [String] = [], isStrict: Bool = true) -> Report.ExitStatus {
    do {
      try checkInput(snapshot, damage: damage, isStrict: isStrict)
      return .ok
    } catch {
      return error.status
    }
  }

  @Test("is 6 for lost events only where --strict asks for it, counted or not") func losses() {
    var snapshot = Snapshot()
    #expect(status(snapshot) == .ok)
    snapshot.losses.lost = 1
    #expect(status(snapshot) == .lostEvents)
    #expect(status(snapshot, isStrict: false) == .ok)
    snapshot.losses.lost = 0
    snapshot.losses.uncounted = 1
    #expect(status(snapshot) == .lostEvents)
  }

  @Test("is 5 for a damaged recording, which weighs more than a loss") func damage() {
    var snapshot = Snapshot()
    snapshot.source.kind = .traceDat
    snapshot.losses.lost = 1
    #expect(status(snapshot, damage: ["cut short at byte 7"]) == .damaged)
    snapshot.malformedRecords = 1
    #expect(status(snapshot, isStrict: false) == .damaged)
  }
}

@Suite("triage of the bundled recording")
struct DemoTests {
  private func triage() throws -> [String: Any] {
    let run = try vmctop(["triage", "--demo", "--format", "json"])
    #expect(run.status == 0)
    #expect(run.errors == "")
    return try #require(try JSONSerialization.jsonObject(with: Data(run.output.utf8)) as? [String: Any])
  }

  private func number(_ value: Any?) throws -> UInt64 { try #require(value as? NSNumber).uint64Value }

  @Test("counts what trace-cmd report counts: 235,651 events, 109,437 exits") func counts() throws {
    let root = try triage()
    #expect(try number(root["events"]) == 235_651)
    #expect(try number(root["exits"]) == 109_437)
    #expect(try number(root["lost_events"]) == 0)
  }

  @Test("reasons, controls and vCPUs each add up to the exits") func sums() throws {
    let root = try triage()
    let exits = try number(root["exits"])
    func sum(_ list: Any?, _ key: String) throws -> UInt64 {
      try #require(list as? [[String: Any]]).reduce(0) { try $0 + number($1[key]) }
    }
    #expect(try sum(root["reasons"], "count") == exits)
    #expect(try sum(root["controls"], "exits") == exits)
    for reason in try #require(root["reasons"] as? [[String: Any]]) {
      #expect(try sum(reason["controls"], "count") == number(reason["count"]))
    }
    let vcpus = try #require(root["vms"] as? [[String: Any]]).flatMap { $0["vcpus"] as? [[String: Any]] ?? [] }
    #expect(try vcpus.reduce(0) { try $0 + number($1["exits"]) } == exits)
  }

  @Test("the page names the host's kernel and the greatest reason") func page() throws {
    let run = try vmctop(["triage", "--demo"])
    #expect(run.status == 0)
    #expect(run.output.hasPrefix("vmctop triage"))
    #expect(run.output.contains("WHY IT EXITS") && run.output.contains("WHAT TO DO"))
    #expect(run.output.split(separator: "\n").count < 70)
  }

  @Test("batch prints as many tables as asked for") func batch() throws {
    let run = try vmctop(["demo", "-b", "-n", "3", "-d", "0.2"])
    #expect(run.status == 0)
    #expect(run.output.split(separator: "\n").filter { $0.hasPrefix("vmctop +") }.count == 3)
  }
}
