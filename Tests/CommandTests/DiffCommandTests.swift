import Foundation
import Testing

@testable import vmctop

@Suite("vmctop diff") struct DiffCommandTests {
  private let demo = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("Sources/CDemo/demo.trace.dat").path

  @Test("of a recording and itself finds no change")
  func same() throws {
    let run = try vmctop(["diff", demo, demo])
    #expect(run.status == 0)
    #expect(run.output.hasPrefix("vmctop diff\n"))
    #expect(run.output.contains("No significant change"))
    #expect(run.errors == "")
  }

  @Test("of two halves of one adds up to the whole")
  func halves() throws {
    let run = try vmctop(["diff", demo, "--to", "50%", "--from-b", "50%", "--format", "json"])
    #expect(run.status == 0)
    let object = try #require(try JSONSerialization.jsonObject(with: Data(run.output.utf8)) as? [String: Any])
    let exits = ["a", "b"].compactMap { (object[$0] as? [String: Any])?["exits"] as? Int }
    #expect(exits.reduce(0, +) == 109_437)
    #expect(object["significant_change"] as? Bool == true)
  }

  @Test(
    "a wrong command line is one line and status 2",
    arguments: [
      ["diff"], ["diff", "a", "b", "c"], ["diff", "a"], ["diff", "a", "--from", "1"],
      ["diff", "a", "--from", "x", "b"],
      ["diff", "a", "b", "--format", "xml"], ["diff", ""], ["triage", "--from", "1"], ["triage", "--to", "1:60"],
    ])
  func usage(arguments: [String]) throws {
    let run = try vmctop(arguments)
    #expect(run.status == 2)
    #expect(run.output == "")
    expectOneLine(run.errors)
  }

  @Test("a part of no length is status 2; a file that is missing 3; one that is no recording 5")
  func refusals() throws {
    #expect(try vmctop(["diff", demo, "--from", "5", "--to-b", "1"]).status == 2)
    #expect(try vmctop(["diff", demo, "/nonexistent"]).status == 3)
    #expect(try vmctop(["diff", #filePath, demo]).status == 5)
  }

  @Test("triage of parts of a recording adds up to triage of the whole")
  func triage() throws {
    func exits(_ part: [String]) throws -> Int {
      let run = try vmctop(["triage", "--input", demo, "--format", "json"] + part)
      #expect(run.status == 0)
      let object = try #require(try JSONSerialization.jsonObject(with: Data(run.output.utf8)) as? [String: Any])
      return try #require(object["exits"] as? Int)
    }
    let parts = [["--to", "100ms"], ["--from", "0.1", "--to", "70%"], ["--from", "70%"]]
    #expect(try parts.reduce(0) { $0 + (try exits($1)) } == 109_437)
  }

  @Test("times are read in the ways that people write them")
  func times() {
    func parse(_ text: String) -> RecordingTime? { RecordingTime(argument: text) }
    #expect(parse("12.5") == .nanoseconds(12_500_000_000))
    #expect(parse("350ms") == .nanoseconds(350_000_000))
    #expect(parse("7us") == .nanoseconds(7000))
    #expect(parse("9ns") == .nanoseconds(9))
    #expect(parse("3s") == .nanoseconds(3_000_000_000))
    #expect(parse("1:02.5") == .nanoseconds(62_500_000_000))
    #expect(parse("1:00:00") == .nanoseconds(3_600_000_000_000))
    #expect(parse("50%") == .share(0.5))
    for text in ["", "x", "-1", "1e3", "inf", "1:60", "1.5:00", "101%", "%", "1:", "::", "99999999999999"] {
      #expect(parse(text) == nil, "\(text)")
    }
    #expect(RecordingTime.share(0.25).position(in: 1000) == 250)
    #expect(RecordingTime.nanoseconds(5000).position(in: 1000) == 1000)
  }
}
