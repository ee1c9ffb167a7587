import Foundation
import Testing

private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent()
private let demo = root.appendingPathComponent("Sources/CDemo/demo.trace.dat").path
private let perf = root.appendingPathComponent("Tests/Fixtures/perf-6.12/plain.data").path

private func triage(_ arguments: [String]) throws -> [String: Any] {
  let run = try vmctop(["triage", "--format", "json"] + arguments)
  #expect(run.status == 0 && run.errors == "", "\(run.errors)")
  return try #require(try JSONSerialization.jsonObject(with: Data(run.output.utf8)) as? [String: Any])
}

@Suite("perf.data as --input") struct PerfInputTests {
  @Test("is counted as perf kvm stat report counts it") func triagePerf() throws {
    let report = try triage(["--input", perf])
    #expect((report["source"] as? [String: Any])?["kind"] as? String == "perf.data")
    let vms = try #require(report["vms"] as? [[String: Any]])
    #expect(vms.count == 1 && vms[0]["vmm"] as? String == "exitgen" && vms[0]["inferred"] as? Bool == false)
    let reasons = try #require(report["reasons"] as? [[String: Any]])
    let counts = Dictionary(
      uniqueKeysWithValues: reasons.map { ($0["name"] as? String ?? "", ($0["count"] as? NSNumber)?.intValue ?? 0) })
    // What exitgen said that it made.
    for (reason, count) in ["cpuid": 20, "msr": 9, "io": 6, "hlt": 3, "hypercall": 2, "write_cr4": 2, "npf": 6] {
      #expect(counts[reason] == count, "\(reason)")
    }
    let pid = try #require(vms[0]["pid"] as? Int)
    #expect(try triage(["--input", perf, "-p", "\(pid)"])["exits"] as? Int == report["exits"] as? Int)
    #expect(try vmctop(["triage", "--input", perf, "-p", "1"]).status == 4)
    #expect(try vmctop(["-b", "--input", perf]).output.contains("cpuid"))
  }

  @Test("--from and --to count what lies between") func range() throws {
    let all = try #require(try triage(["--input", demo])["exits"] as? Int)
    let first = try #require(try triage(["--input", demo, "--to", "49.9999%"])["exits"] as? Int)
    let second = try #require(try triage(["--input", demo, "--from", "50%"])["exits"] as? Int)
    #expect(first > 0 && second > 0 && abs(all - first - second) < 50)
    #expect(try triage(["--input", demo, "--from", "100ms", "--to", "+0ns"])["exits"] as? Int ?? 9 <= 1)
    for arguments in [["--from", "5ms", "--to", "1ms"], ["--from", "100h ago"], ["--from", "x"]] {
      let run = try vmctop(["triage", "--input", demo] + arguments)
      #expect(run.status == 2)
      expectOneLine(run.errors)
    }
    #expect(try vmctop(["triage", "--from", "1"]).status == 2)
  }

  @Test("files of different clocks are not counted as one") func severalFiles() throws {
    let run = try vmctop(["triage", "--input", demo, "--input", perf])
    #expect(run.status == 5)
    expectOneLine(run.errors)
    #expect(run.errors.contains("cannot be counted together"))
  }
}

@Suite("vmctop export") struct ExportCommandTests {
  @Test(
    "a mistake is one line and status 2",
    arguments: [
      [], ["f"], ["--format", "csv"], ["f", "--format", "xml"], ["f", "--format", "trace.dat"],
      ["f", "--format", "trace.dat", "-o", "-"],
      ["f", "--format", "csv", "--from", "abc"], ["", "--format", "csv"], ["f", "--format", "csv", "-o", ""],
      [perf, "--format", "csv", "-o", perf], ["f", "--to", "50%"], ["f", "--format", "csv", "--to", "jsonl"],
      ["f", "--format", "csv", "--to", "1s", "--to-time", "2s"],
    ])
  func usage(arguments: [String]) throws {
    let run = try vmctop(["export"] + arguments)
    #expect(run.status == 2 && run.output == "")
    expectOneLine(run.errors)
  }

  @Test("what --to and --to-time meant before there was --format, they mean still") func earlierOptions() throws {
    let now = try vmctop(["export", perf, "--format", "csv", "--from", "10%", "--to", "60%"])
    let before = try vmctop(["export", perf, "--to", "csv", "--from", "10%", "--to-time", "60%"])
    #expect(now.status == 0 && now.output.count > 1000)
    #expect(before.output == now.output && before.status == 0 && before.errors == "")
  }

  @Test("a file that cannot be read or written is one line", arguments: [["/nonexistent"], [#filePath]])
  func badFiles(arguments: [String]) throws {
    let run = try vmctop(["export"] + arguments + ["--format", "csv"])
    #expect([3, 5].contains(run.status))
    expectOneLine(run.errors)
    let full = try vmctop(["export", perf, "--format", "csv", "-o", "/nonexistent/x"])
    #expect(full.status == 1)
    expectOneLine(full.errors)
    let device = try vmctop(["export", perf, "--format", "csv", "-o", "/dev/full"])
    #expect(device.status == 1)
    expectOneLine(device.errors)
  }

  @Test("a closed pipe ends it quietly") func closedPipe() throws {
    let run = try vmctop(["export", demo, "--format", "jsonl"], output: .brokenPipe)
    #expect(run.status == 0 && run.errors == "")
  }

  @Test("to a file is whole or not there", arguments: ["trace.dat", "jsonl", "csv", "perfetto", "openmetrics"])
  func toFile(format: String) throws {
    let folder = NSTemporaryDirectory() + "vmctop-test-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let run = try vmctop(["export", perf, "--format", format, "-o", folder + "/out", "--from", "10%", "--to", "90%"])
    #expect(run.status == 0 && run.errors == "" && run.output == "")
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == ["out"])
    #expect(try Data(contentsOf: URL(fileURLWithPath: folder + "/out")).count > 1000)
  }
}
