import CTinyGuest
import Foundation
import Recording
import Testing
import TraceFormat

@testable import vmctop

private let canRecord =
  getuid() == 0 && (try? vmctop(["doctor"]).status) == 0
  && tinyguest_run(1).error == 0
private let needs: Comment = "needs root, tracefs, the module kvm and a usable /dev/kvm"

/// The program, running.
private final class Running {
  let process = Process()
  let errors = Pipe()

  init(_ arguments: [String], output: Pipe? = nil) throws {
    let bundle = CommandLine.arguments.first { $0.hasSuffix(".xctest") } ?? CommandLine.arguments[0]
    process.executableURL = URL(fileURLWithPath: bundle).resolvingSymlinksInPath().deletingLastPathComponent()
      .appendingPathComponent("vmctop")
    process.arguments = arguments
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = output ?? FileHandle.nullDevice
    process.standardError = errors
    try process.run()
    // Its end of the pipe is its own.
    try output?.fileHandleForWriting.close()
  }

  func end() -> (status: Int32, errors: String) {
    process.waitUntilExit()
    return (
      process.terminationStatus, String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    )
  }
}

/// Runs guests on a thread of its own until it is told to end.
private final class Guests: @unchecked Sendable {
  private let lock = NSLock()
  private var isEnding = false
  private let done = DispatchSemaphore(value: 0)

  init() {
    Thread.detachNewThread { [self] in
      while !lock.withLock({ isEnding }) { _ = tinyguest_run(5000) }
      done.signal()
    }
  }

  func end() {
    lock.withLock { isEnding = true }
    done.wait()
  }
}

private func events(_ source: some PageSource, _ layout: PageLayout) -> UInt64 {
  var count: UInt64 = 0
  for stream in source.streams.indices {
    while let page = source.nextPage(stream: stream) {
      var cursor = SubBufferCursor(page: page, layout: layout)
      while cursor.next() { count += 1 }
    }
  }
  return count
}

@Suite("vmctop record, asked wrongly") struct RecordUsageTests {
  @Test(
    "is one line and status 2",
    arguments: [
      ["--duration", "0"], ["--duration", "nan"], ["--max-size", "1K"], ["--max-size", "x"],
      ["--max-size", "99999999T"],
      ["--max-age", "2"], ["--level", "all"], ["-o", "-", "--max-size", "10M"], ["-o", ""], ["-p", "0"], ["extra"],
    ])
  func usage(arguments: [String]) throws {
    let run = try vmctop(["record"] + arguments)
    #expect(run.status == 2)
    expectOneLine(run.errors)
  }
}

@Suite("vmctop record", .serialized, .enabled(if: canRecord, needs)) struct RecordCommandTests {
  private let folder: String

  init() throws {
    folder = FileManager.default.temporaryDirectory.appendingPathComponent("vmctop-record-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
  }

  private func remove() { try? FileManager.default.removeItem(atPath: folder) }

  @Test(
    "takes over the status of the command it records",
    arguments: [(["true"], 0), (["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -9 $$"], 137)])
  func command(words: [String], status: Int) throws {
    defer { remove() }
    let run = try vmctop(["record", "-o", "\(folder)/r", "--"] + words)
    #expect(Int(run.status) == status)
    expectOneLine(run.errors)
    guard case .whole(let end) = try RecordingFile(path: "\(folder)/r").ending else {
      Issue.record("not whole")
      return
    }
    #expect(end.commandStatus.map { Int($0) } == status)
  }

  @Test("says in one line what it cannot do") func failures() throws {
    defer { remove() }
    let missing = try vmctop(["record", "-o", "\(folder)/r", "--", "/nonexistent/command"])
    #expect(missing.status == 1)
    expectOneLine(missing.errors)
    let exists = try vmctop(["record", "-o", "\(folder)/r", "-d", "1"])
    #expect(exists.status == 1)
    #expect(exists.errors == "vmctop: \(folder)/r exists; --force overwrites it\n")
    let full = try vmctop(["record", "-o", "/dev/full", "-t", "5"])
    #expect(full.status == 1)
    expectOneLine(full.errors)
    #expect(full.errors.contains("No space left on device"))
    let nobody = try vmctop(["record", "-o", "\(folder)/s", "-p", "2147483647"])
    #expect(nobody.status == 4)
    expectOneLine(nobody.errors)
    #expect(!FileManager.default.fileExists(atPath: "\(folder)/s"))
  }

  @Test("killed while it records leaves a file that is good up to its last whole chunk") func killed() throws {
    defer { remove() }
    let path = "\(folder)/r.vmctop"
    let guests = Guests()
    let run = try Running(["record", "-o", path, "--events", "full"])
    sleep(4)
    // A second one is refused meanwhile, forced or not.
    let second = try vmctop(["record", "-o", path, "--force", "-t", "1"])
    #expect(second.status == 1)
    #expect(second.errors == "vmctop: \(path) is being written by process \(run.process.processIdentifier)\n")
    kill(run.process.processIdentifier, SIGKILL)
    _ = run.end()
    guests.end()
    let file = try RecordingFile(path: path)
    #expect(file.ending == .cutOff)
    // A torn end is all the damage there may be.
    #expect(file.damage.count <= 1)
    let pages = try file.pages()
    #expect(events(pages, pages.layout) > 1000)
    // Its instance is swept away by the next.
    _ = try vmctop(["record", "-o", "\(folder)/next", "-d", "0.1"])
    let left = (try? FileManager.default.contentsOfDirectory(atPath: "/sys/kernel/tracing/instances")) ?? []
    #expect(!left.contains { $0.contains("-\(run.process.processIdentifier)-") })
  }

  @Test("ends cleanly on each of the signals", arguments: [SIGINT, SIGTERM, SIGHUP]) func signals(number: Int32) throws
  {
    defer { remove() }
    // A shell lets what it runs in the background ignore SIGINT, and we keep to that.
    let before = signal(number, SIG_DFL)
    let run = try Running(["record", "-o", "\(folder)/r"])
    signal(number, before)
    // Caught once the file is there.
    while !FileManager.default.fileExists(atPath: "\(folder)/r") { usleep(20_000) }
    usleep(500_000)
    kill(run.process.processIdentifier, number)
    let (status, errors) = run.end()
    #expect(status == 0)
    expectOneLine(errors)
    guard case .whole = try RecordingFile(path: "\(folder)/r").ending else {
      Issue.record("not whole")
      return
    }
  }

  @Test("through a pipe brings every event, or says which it left out") func pipe() throws {
    defer { remove() }
    let output = Pipe()
    let run = try Running(["record", "-o", "-", "--events", "full", "-t", "4"], output: output)
    let guests = Guests()
    let stream = RecordingStream(descriptor: output.fileHandleForReading.fileDescriptor)
    var queue: RecordingPageQueue?
    var layout = PageLayout()
    var seen: UInt64 = 0
    var leftOut: UInt64 = 0
    var read: UInt64 = 0
    while case .chunk(let header, let payload) = try stream.next() {
      switch header.kind {
      case .header:
        layout = try RecordingHeader(decoding: payload).pageLayout()
        if queue == nil { queue = RecordingPageQueue(layout: layout) }
      case .pages:
        queue?.add(header, payload)
        if let queue { seen += events(queue, layout) }
      case .gap:
        let gap = try GapRecord(decoding: payload)
        if !gap.isOpen { leftOut += gap.events }
      case .losses: read = try LossRecord(decoding: payload).cpus.reduce(0) { $0 + $1.read }
      default: break
      }
    }
    guests.end()
    let (status, errors) = run.end()
    #expect(status == 0)
    expectOneLine(errors)
    #expect(stream.isWhole)
    #expect(stream.damage.isEmpty)
    #expect(seen > 10_000)
    #expect(seen + leftOut == read)
  }

  @Test("whose reader leaves ends in peace, status 0") func readerLeaves() throws {
    defer { remove() }
    let output = Pipe()
    let run = try Running(["record", "-o", "-", "-t", "60"], output: output)
    _ = output.fileHandleForReading.readData(ofLength: 100)
    try output.fileHandleForReading.close()
    let (status, errors) = run.end()
    #expect(status == 0)
    expectOneLine(errors)
    #expect(errors.contains("the reader left"))
  }
}
