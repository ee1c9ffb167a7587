import Foundation
import Testing

@testable import vmctop

/// The lines of a command that prints one JSON object each.
private func objects(_ arguments: [String]) throws -> [[String: Any]] {
  let run = try vmctop(arguments + ["--format", "json"])
  #expect(run.status == 0)
  #expect(run.errors == "")
  return try run.output.split(separator: "\n").map { line in
    try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any], "\(line)")
  }
}

@Suite("the catalogue's commands") struct CatalogueCommandTests {
  @Test("print one JSON object per line", arguments: [["fields"], ["controls"], ["reasons"]])
  func lines(arguments: [String]) throws {
    let rows = try objects(arguments)
    #expect(rows.count > 50)
    for row in rows { #expect((row["name"] as? String)?.isEmpty == false) }
  }

  @Test("know a field by name and by encoding") func field() throws {
    for key in ["GUEST_RIP", "0x681e"] {
      let row = try #require(try objects(["fields", key]).first)
      #expect(row["encoding"] as? String == "0x681e")
      #expect(row["name"] as? String == "GUEST_RIP")
    }
  }

  @Test("know a control and a reason") func controlAndReason() throws {
    let control = try #require(try objects(["controls", "CPU_BASED_HLT_EXITING"]).first)
    #expect(control["word"] as? String == "primary")
    #expect(control["bit"] as? Int == 7)
    let reason = try #require(try objects(["reasons", "HLT"]).first { $0["isa"] as? String == "vmx" })
    #expect(reason["code"] as? Int == 12)
    #expect(reason["name"] as? String == "HLT")
  }

  @Test(
    "end with status 2 and one line for what they do not know",
    arguments: [
      ["fields", "NO_SUCH_FIELD"], ["controls", "NO_SUCH"], ["reasons", "NO_SUCH"], ["decode", "nothing", "0"],
      ["decode", "eptp", "zz"],
    ])
  func unknown(arguments: [String]) throws {
    let run = try vmctop(arguments)
    #expect(run.status == 2)
    expectOneLine(run.errors)
  }

  @Test("end with status 1 and one line where nobody reads", arguments: [["fields"], ["reasons", "--format", "json"]])
  func brokenPipe(arguments: [String]) throws {
    let run = try vmctop(arguments, output: .brokenPipe)
    #expect(run.status == 1)
    #expect(run.errors == "vmctop: cannot write to standard output: Broken pipe\n")
  }
}
