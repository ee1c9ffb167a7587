import Foundation
import Testing

@testable import vmctop

private let realDump = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .appendingPathComponent("Fixtures/intel-6.1/dump_vmcs.txt").path

@Suite("decode vmcs-dump") struct VMCSDumpCommandTests {
  private func object(_ arguments: [String], input: String? = nil) throws -> [String: Any] {
    let run = try vmctop(["decode", "vmcs-dump", "--format", "json"] + arguments, input: input)
    #expect(run.status == 0)
    #expect(run.errors == "")
    #expect(run.output.split(separator: "\n").count == 1)
    return try #require(try JSONSerialization.jsonObject(with: Data(run.output.utf8)) as? [String: Any])
  }

  @Test("prints the broken rules before anything else of the dump") func text() throws {
    let run = try vmctop(["decode", "vmcs-dump", realDump])
    #expect(run.status == 0)
    #expect(run.errors == "")
    let lines = run.output.components(separatedBy: "\n")
    #expect(lines.first == "VMCS, last attempted VM entry on CPU 0, lines 1-46")
    let rules = try #require(lines.firstIndex(of: "4 BROKEN RULES"))
    let fields = try #require(lines.firstIndex(of: "CONTROL REGISTERS"))
    #expect(rules < fields)
    #expect(lines[rules + 1] == "  The DPL of CS is 0 if its type is 3.")
    for line in lines { #expect(line.count <= 80, "\(line)") }
  }

  @Test("reads standard input without a file, and for -") func standardInput() throws {
    let run = try vmctop(["decode", "vmcs-dump", realDump])
    #expect(try vmctop(["decode", "vmcs-dump"], input: realDump).output == run.output)
    #expect(try vmctop(["decode", "vmcs-dump", "-"], input: realDump).output == run.output)
  }

  @Test("prints one JSON object with a schema") func json() throws {
    let whole = try object([realDump])
    #expect(whole["schema"] as? String == "vmctop/vmcs-dump/1")
    let dumps = try #require(whole["dumps"] as? [[String: Any]])
    #expect(dumps.count == 1)
    let dump = try #require(dumps.first)
    #expect(dump["kind"] as? String == "vmcs")
    #expect(dump["cpu"] as? Int == 0)
    #expect(dump["vcpu"] is NSNull)
    let fields = try #require(dump["fields"] as? [[String: Any]])
    #expect(fields.count == 107)
    #expect(fields.first?["name"] as? String == "GUEST_CR0")
    #expect(fields.first?["encoding"] as? String == "0x6800")
    #expect(fields.first?["value"] as? String == "0x0000000000000030")
    #expect(fields.first?["line"] as? Int == 3)
    let broken = try #require(dump["broken"] as? [[String: Any]])
    #expect(
      broken.map { $0["rule"] as? String } == [
        "guest-cs-dpl-data", "guest-ss-dpl-zero", "guest-tr-present", "guest-tr-usable",
      ])
    #expect(broken.first?["section"] as? String == "Checks on Guest Segment Registers")
    #expect((dump["checked"] as? Int ?? 0) + (dump["unchecked"] as? [Any] ?? []).count == 238)
  }

  @Test("lists what could not be checked where it is asked to") func unchecked() throws {
    let run = try vmctop(["decode", "vmcs-dump", "--unchecked", realDump])
    #expect(run.output.contains("NOT CHECKED\n"))
    #expect(run.output.contains("guest-link-pointer: lacks VMCS_LINK_POINTER\n"))
  }

  @Test(
    "ends with status 3 and one line where there is no dump, or no file",
    arguments: [[], ["-"], ["/dev/null"], ["/nonexistent/log"], ["/"]])
  func nothing(arguments: [String]) throws {
    let run = try vmctop(["decode", "vmcs-dump"] + arguments)
    #expect(run.status == 3)
    #expect(run.output == "")
    expectOneLine(run.errors)
    if arguments == ["/dev/null"] { #expect(run.errors.contains("kvm_intel.dump_invalid_vmcs=1")) }
  }

  @Test("ends with status 2 for a mistake", arguments: [["a", "b"], ["--bogus"], ["--format", "xml"]])
  func mistakes(arguments: [String]) throws {
    let run = try vmctop(["decode", "vmcs-dump"] + arguments)
    #expect(run.status == 2)
    expectOneLine(run.errors)
  }

  @Test("is no obstacle to the other kinds") func others() throws {
    #expect(try vmctop(["decode", "eptp", "0x5e"]).output.hasPrefix("eptp 0x000000000000005e: "))
    #expect(try vmctop(["decode", "--format", "json", "cr0", "1"]).status == 0)
    #expect(try vmctop(["decode", "--help"]).output.contains("vmcs-dump"))
  }
}
