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
    // No event lies at this very nanosecond.
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
      ["diff", "a", "b", "--format", "xml"], ["diff", ""], ["diff", "a", "b", "--screen"],
      ["diff", "a", "b", "--screen", "--format", "json"], ["diff", "a", "b", "--ascii"], ["diff", "a", "--screen"],
    ])
  func usage(arguments: [String]) throws {
    let run = try vmctop(arguments)
    #expect(run.status == 2)
    #expect(run.output == "")
    expectOneLine(run.errors)
  }

  @Test("--screen without a terminal says so")
  func noTerminal() throws {
    #expect(try vmctop(["diff", demo, demo, "--screen"]).errors.contains("--screen: standard output is no terminal"))
  }

  @Test(
    "--screen opens the pane on the second recording, of any kind, or on a second part",
    arguments: [
      (["plain.data"], "A before  demo.trace.dat", "B after   plain.data, all of it"),
      (
        ["--to", "50%", "--from-b", "50%"], "A before  demo.trace.dat, 0.000 s to 0.395 s",
        "B after   0.395 s to 0.791 s"
      ),
    ])
  func screen(rest: [String], before: String, after: String) throws {
    let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("Fixtures/perf-6.12").path
    let rest = rest.map { $0.hasSuffix(".data") ? "\(fixtures)/\($0)" : $0 }
    let run = try vmctopOnTerminal(
      ["diff", demo] + rest + ["--screen", "--no-color"], until: [before, after], then: "q")
    #expect(run.status == 0)
    #expect(run.output.contains(before), "\(run.output)")
    #expect(run.output.contains(after))
    #expect(run.output.contains("BY REASON"))
  }

  @Test("a part of no length is status 2; a file that is missing 3; one that is no recording 5")
  func refusals() throws {
    #expect(try vmctop(["diff", demo, "--from", "5", "--to-b", "1"]).status == 2)
    #expect(try vmctop(["diff", demo, "/nonexistent"]).status == 3)
    #expect(try vmctop(["diff", #filePath, demo]).status == 5)
  }
}
