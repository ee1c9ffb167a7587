import ArgumentParser
import Errors
import Foundation
import HostFiles
import Testing

@testable import Report
@testable import vmctop

private let isRootWithSetpriv = getuid() == 0 && access("/usr/bin/setpriv", X_OK) == 0

@Suite("vmctop doctor") struct DoctorCommandTests {
  private struct Page: Decodable {
    struct Source: Decodable {
      var id: String
      var available: Bool
      var enable: String?
    }
    var live: String
    var sources: [Source]
  }

  private func check(_ run: (_ arguments: [String]) throws -> Run) throws {
    let json = try run(["doctor", "--format", "json"])
    let page = try JSONDecoder().decode(Page.self, from: Data(json.output.utf8))
    let status = try #require(["possible": 0, "unavailable": 3, "unsupported": 4][page.live])
    #expect(json.status == status)
    #expect(json.errors == "")
    #expect(page.sources.allSatisfy { $0.available || $0.enable != nil })
    let text = try run(["doctor"])
    #expect(text.status == status)
    #expect(text.errors == "")
    for source in page.sources { #expect(text.output.contains("] \(source.id) ")) }
  }

  @Test func endsWithTheStatusThatItsPageGivesAndSaysNothingElse() throws { try check { try vmctop($0) } }

  @Test(.enabled(if: isRootWithSetpriv, "needs root and setpriv"))
  func saysToAnOrdinaryUserWhatIsClosedAndHowToOpenIt() throws {
    try check(vmctopAsNobody)
    let page = try vmctopAsNobody(["doctor"])
    #expect(page.status != 0)
    #expect(page.output.contains("[--] privileges "))
  }

  @Test func aPageThatNobodyGotIsAFailure() throws {
    let run = try vmctop(["doctor"], output: .path("/dev/full"))
    #expect(run.status == 1)
    #expect(run.errors == "vmctop: cannot write to standard output: No space left on device\n")
  }
}

@Suite("An error that ends a command") struct CommandEndingTests {
  private struct Wordless: Error {}

  @Test func alwaysSaysSomething() {
    for error in [Wordless(), ExitCode(1), Failure(.failure, "x"), ValidationError("y")] as [any Error] {
      let end = Program.ending(of: error, arguments: ["triage"])
      #expect(end.status != 0)
      #expect(end.line.map { !$0.isEmpty && $0 != "failed" } == true)
    }
  }

  private struct Coded: CodedError {
    var kind: ErrorKind
    var message = "it"
    var hint: String? = "do that"
  }

  @Test(
    "has one status for each kind, whatever the layer",
    arguments: [
      (.unavailable, 3), (.unsupported, 4), (.damaged, 5), (.usage, 2), (.failure, 1),
    ] as [(ErrorKind, Int32)])
  func status(kind: ErrorKind, status: Int32) {
    for error in [Coded(kind: kind), Failure(Coded(kind: kind))] as [any Error] {
      #expect(Program.ending(of: error, arguments: []) == ("it; do that", status))
    }
  }

  @Test func isSilentOnlyWhereAllWasSaid() {
    #expect(Program.ending(of: ToldStatus(3), arguments: ["doctor"]) == (nil, 3))
  }
}
