import Foundation
import Testing

@testable import vmctop

private let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .appendingPathComponent("Fixtures")

private func file(_ bytes: Data) throws -> String {
  let path = FileManager.default.temporaryDirectory.appendingPathComponent("vmctop-\(UUID().uuidString)").path
  try bytes.write(to: URL(fileURLWithPath: path))
  return path
}

@Suite("vmctop replay -")
struct ReplayStreamTests {
  @Test("prints what came, and ends with the stream") func whole() throws {
    let run = try vmctop(["replay", "-", "-b"], input: fixtures.path + "/recording-1/no-vmx-host.vmctop")
    #expect(run.status == 0)
    #expect(run.errors == "")
    #expect(run.output.contains("  vm  6.18.44") && run.output.contains("  ended\n"))
  }

  @Test("of a stream that is cut off ends with status 5, and prints what came") func cutOff() throws {
    let whole = try Data(contentsOf: fixtures.appendingPathComponent("recording-1/no-vmx-host.vmctop"))
    let path = try file(whole.prefix(20_000))
    defer { try? FileManager.default.removeItem(atPath: path) }
    let run = try vmctop(["replay", "-", "-b"], input: path)
    #expect(run.status == 5)
    #expect(run.output.contains("  cut off\n"))
    #expect(run.errors.hasPrefix("vmctop: damaged, read up to the damage: the stream is cut off"))
    #expect(run.errors.split(separator: "\n").count == 1)
  }

  @Test("of something else ends with status 5 and one line") func none() throws {
    #expect(try vmctop(["replay", "-", "-b"]).status == 5)
    let path = try file(Data("no recording\n".utf8))
    defer { try? FileManager.default.removeItem(atPath: path) }
    let run = try vmctop(["replay", "-", "-b"], input: path)
    #expect(run.status == 5)
    #expect(run.errors == "vmctop: the stream is no recording of vmctop\n")
  }

  @Test(
    "of a part, beside files, or of chosen processes is a mistake to tell",
    arguments: [["replay", "-", "--from", "1"], ["replay", "-", "other.vmctop"], ["replay", "-", "-p", "12"]])
  func usage(arguments: [String]) throws {
    let run = try vmctop(arguments)
    #expect(run.status == 2)
    #expect(run.output == "")
  }

  @Test("does not wait for somebody to type a recording") func terminal() throws {
    let run = try vmctopOnTerminal(["replay", "-"], until: [], then: "")
    #expect(run.status == 2)
    #expect(run.errors.hasPrefix("vmctop: standard input is a terminal, not a recording"))
  }

  @Test("reads keys that poll(2) tells nobody else of") func keys() throws {
    var (own, other): (Int32, Int32) = (-1, -1)
    var name = [CChar](repeating: 0, count: 128)
    try #require(openpty(&own, &other, &name, nil, nil) == 0)
    defer { for end in [own, other] { close(end) } }
    var modes = termios()
    #expect(tcgetattr(other, &modes) == 0)
    let path = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let relay = try #require(KeyRelay(path))
    let keys = relay.keys
    // As the screen does when it opens.
    modes.c_lflag &= ~tcflag_t(ICANON | ECHO)
    withUnsafeMutableBytes(of: &modes.c_cc) { ($0[Int(VMIN)], $0[Int(VTIME)]) = (1, 0) }
    #expect(tcsetattr(other, TCSANOW, &modes) == 0)
    usleep(200_000)
    for key in ["q", "\u{1b}[A", "é"] {
      let bytes = Array(key.utf8)
      #expect(write(own, bytes, bytes.count) == bytes.count)
      var set = pollfd(fd: other, events: Int16(POLLIN), revents: 0)
      #expect(poll(&set, 1, 100) == 0, "another reader is told of \(key)")
      var read = [UInt8](repeating: 0, count: 16)
      let count = Glibc.read(keys, &read, read.count)
      #expect(Array(read.prefix(max(0, count))) == bytes)
    }
    // The terminal goes: so does the relay.
    close(own)
    own = -1
    var set = pollfd(fd: keys, events: Int16(POLLIN), revents: 0)
    #expect(poll(&set, 1, 5000) == 1)
    var read = [UInt8](repeating: 0, count: 16)
    #expect(Glibc.read(keys, &read, read.count) == 0)
    relay.stop()
  }

  @Test("lets the terminal go when it is told to") func relayEnds() throws {
    var (own, other): (Int32, Int32) = (-1, -1)
    var name = [CChar](repeating: 0, count: 128)
    try #require(openpty(&own, &other, &name, nil, nil) == 0)
    defer { for end in [own, other] { close(end) } }
    let path = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let relay = try #require(KeyRelay(path))
    relay.stop()
    var byte: UInt8 = 0
    #expect(Glibc.read(relay.keys, &byte, 1) == 0)
  }

  @Test("is read on a thread of its own, which takes no signals") func thread() throws {
    let bundle = CommandLine.arguments.first { $0.hasSuffix(".xctest") } ?? CommandLine.arguments[0]
    let process = Process()
    process.executableURL = URL(fileURLWithPath: bundle).resolvingSymlinksInPath().deletingLastPathComponent()
      .appendingPathComponent("vmctop")
    process.arguments = ["replay", "-b", "-"]
    let input = Pipe()
    process.standardInput = input
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    let tasks = "/proc/\(process.processIdentifier)/task"
    func text(_ path: String) -> String { (try? String(contentsOfFile: path, encoding: .utf8)) ?? "" }
    var blocked: UInt64?
    while blocked == nil, process.isRunning {
      for task in (try? FileManager.default.contentsOfDirectory(atPath: tasks)) ?? []
      where text("\(tasks)/\(task)/comm") == "vmctop-stream\n" {
        let line = text("\(tasks)/\(task)/status").split(separator: "\n").first { $0.hasPrefix("SigBlk:") }
        blocked = line.flatMap { UInt64($0.dropFirst(8), radix: 16) }
      }
      usleep(10_000)
    }
    for number in [SIGINT, SIGTERM, SIGHUP] { #expect((blocked ?? 0) >> UInt64(number - 1) & 1 == 1) }
    process.terminate()
    process.waitUntilExit()
    #expect(process.terminationReason == .exit, "the main thread takes the signal and ends in the normal way")
    try input.fileHandleForWriting.close()
  }
}
