import Errors
import Foundation
import Testing

@testable import vmctop

/// What one run of the program left behind.
struct Run {
  var status: Int32
  var output: String
  var errors: String
}

/// The program as it was built for the tests: beside the test bundle.
private let program: URL = {
  let bundle = CommandLine.arguments.first { $0.hasSuffix(".xctest") } ?? CommandLine.arguments[0]
  return URL(fileURLWithPath: bundle).resolvingSymlinksInPath().deletingLastPathComponent()
    .appendingPathComponent("vmctop")
}()

enum StandardOutput {
  case kept
  case path(String)
  /// A pipe that nobody reads.
  case brokenPipe
}

/// - Parameters:
///   - input: a file as standard input; nothing without.
///   - environment: all of it; nil for that of the tests.
func vmctop(
  _ arguments: [String], output: StandardOutput = .kept, input: String? = nil, environment: [String: String]? = nil
) throws -> Run {
  try run(program, arguments, output: output, input: input, environment: environment)
}

/// Runs the program as the user `nobody`, without home, in a folder that it may not read. Needs root and setpriv(1).
func vmctopAsNobody(_ arguments: [String]) throws -> Run {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent("vmctop-test-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  // Where it was built may be closed to others.
  let copy = folder.appendingPathComponent("vmctop")
  try FileManager.default.copyItem(at: program, to: copy)
  try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: copy.path)
  try FileManager.default.setAttributes([.posixPermissions: 0o711], ofItemAtPath: folder.path)
  return try run(
    URL(fileURLWithPath: "/usr/bin/setpriv"),
    ["--reuid=65534", "--regid=65534", "--clear-groups", copy.path] + arguments, environment: [:], folder: folder)
}

private func run(
  _ program: URL, _ arguments: [String], output: StandardOutput = .kept, input: String? = nil,
  environment: [String: String]? = nil, folder: URL? = nil
) throws -> Run {
  let process = Process()
  process.executableURL = program
  process.arguments = arguments
  process.environment = environment
  process.currentDirectoryURL = folder
  process.standardInput = input.flatMap { FileHandle(forReadingAtPath: $0) } ?? FileHandle.nullDevice
  let errors = Pipe()
  process.standardError = errors
  let kept = Pipe()
  switch output {
  case .kept: process.standardOutput = kept
  case .path(let path): process.standardOutput = FileHandle(forWritingAtPath: path)
  case .brokenPipe:
    process.standardOutput = kept
    try kept.fileHandleForReading.close()
  }
  try process.run()
  // The output first: what stands on standard error is one line and never fills its pipe.
  var text = Data()
  if case .kept = output { text = try kept.fileHandleForReading.readToEnd() ?? Data() }
  let errorText = try errors.fileHandleForReading.readToEnd() ?? Data()
  process.waitUntilExit()
  #expect(process.terminationReason == .exit, "the program died of a signal")
  return Run(
    status: process.terminationStatus, output: String(decoding: text, as: UTF8.self),
    errors: String(decoding: errorText, as: UTF8.self))
}

/// Runs the program on a terminal of 80 columns and 24 rows, types once all of the texts were on it, and waits for its end.
func vmctopOnTerminal(_ arguments: [String], until texts: [String], then keys: String) throws -> Run {
  var (own, other): (Int32, Int32) = (-1, -1)
  var size = winsize(ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0)
  try #require(openpty(&own, &other, nil, nil, &size) == 0)
  defer { close(own) }
  let process = Process()
  process.executableURL = program
  process.arguments = arguments
  process.environment = ProcessInfo.processInfo.environment.merging(["TERM": "xterm", "LC_ALL": "C.UTF-8"]) { $1 }
  let terminal = FileHandle(fileDescriptor: other, closeOnDealloc: true)
  process.standardInput = terminal
  process.standardOutput = terminal
  let errors = Pipe()
  process.standardError = errors
  try process.run()
  try terminal.close()
  var (bytes, text, hasTyped) = ([UInt8](), "", false)
  let deadline = ContinuousClock.now + .seconds(30)
  while ContinuousClock.now < deadline {
    var descriptor = pollfd(fd: own, events: Int16(POLLIN), revents: 0)
    guard poll(&descriptor, 1, 100) > 0 else { continue }
    var buffer = [UInt8](repeating: 0, count: 65_536)
    let count = read(own, &buffer, buffer.count)
    // The other end was closed: it has ended.
    if count <= 0 { break }
    bytes += buffer.prefix(count)
    text = String(decoding: bytes, as: UTF8.self)
    if !hasTyped, texts.allSatisfy({ text.contains($0) }) {
      hasTyped = true
      write(own, keys, keys.utf8.count)
    }
  }
  if process.isRunning, !hasTyped { process.terminate() }
  process.waitUntilExit()
  let errorText = try errors.fileHandleForReading.readToEnd() ?? Data()
  return Run(status: process.terminationStatus, output: text, errors: String(decoding: errorText, as: UTF8.self))
}

/// One line, for people, that begins with the program's name.
func expectOneLine(_ errors: String, sourceLocation: SourceLocation = #_sourceLocation) {
  #expect(errors.hasPrefix("vmctop: "), sourceLocation: sourceLocation)
  #expect(
    errors.hasSuffix("\n") && errors.split(separator: "\n", omittingEmptySubsequences: false).count == 2,
    sourceLocation: sourceLocation)
}

@Suite("the command line") struct CommandLineTests {
  @Test(
    "a mistake is one line on standard error and status 2",
    arguments: [
      ["--bogus"], ["bogus"], ["-d", "0"], ["-d", "3601"], ["-d", "nan"], ["-d", "x"], ["-n", "0"], ["-n", "-1"],
      ["-n"],
      ["-p", ""], ["-p", "1,"], ["-p", "0"], ["-p", "4294967296"], ["--vcpu", "-1"], ["--events", "all"],
      ["--buffer-size", "1"], ["--buffer-size", "99999999999999999999"], ["--clock", "x86-tsc"], ["-s", "speed"],
      ["-f", "("], ["--input", ""], ["--input", "f", "--clock", "mono"], ["--input", "f", "--fallback-demo"],
      ["-d", "1", "triage"], ["triage", "--duration", "0"], ["triage", "-d", "0"], ["triage", "-d", "1", "-t", "1"],
      ["triage", "--duration", "inf"],
      ["triage", "--format", "xml"],
      ["triage", "--demo", "--input", "f"], ["triage", "extra"], ["demo", "--strict"],
    ])
  func usage(arguments: [String]) throws {
    let run = try vmctop(arguments)
    #expect(run.status == 2)
    #expect(run.output == "")
    expectOneLine(run.errors)
  }

  @Test(
    "help is on standard output, status 0, and as wide as a terminal",
    arguments: [["--help"], ["-h"], ["help"], ["triage", "--help"], ["help", "demo"], ["-b", "--help"]])
  func help(arguments: [String]) throws {
    let run = try vmctop(arguments)
    #expect(run.status == 0)
    #expect(run.errors == "")
    #expect(run.output.hasPrefix("OVERVIEW: "))
  }

  @Test("help of the program names every option of the screen and every command") func mainHelp() throws {
    let text = try vmctop(["--help"]).output
    for word in [
      "--input", "-p,", "--vcpu", "--events", "--buffer-size", "--clock", "--strict", "-d,", "-n,", "-b,", "-f,", "-s,",
      "--no-color", "--ascii", "--no-mouse", "--fallback-demo", "--version", "demo", "triage", "fields", "controls",
      "reasons", "decode",
    ] { #expect(text.contains(word), "\(word)") }
  }

  @Test func version() throws {
    let run = try vmctop(["--version"])
    #expect(run.status == 0)
    #expect(run.output == "vmctop \(vmctopVersion)\n")
  }

  @Test("completions offer the screen's options at the first word", arguments: ["bash", "zsh", "fish"])
  func completions(shell: String) throws {
    let run = try vmctop(["--generate-completion-script", shell])
    #expect(run.status == 0)
    #expect(run.output.contains("fallback-demo") && run.output.contains("triage"))
  }
}

@Suite("a file that is no recording") struct BadInputTests {
  private func temporaryFile(_ bytes: [UInt8]) throws -> String {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("vmctop-test-\(UUID().uuidString)").path
    try Data(bytes).write(to: URL(fileURLWithPath: path))
    return path
  }

  @Test("that is not there, or is a folder, has status 3", arguments: ["/nonexistent/trace.dat", "/tmp", "/dev/null"])
  func missing(path: String) throws {
    for command in [["triage", "--input", path], ["-b", "--input", path]] {
      let run = try vmctop(command)
      #expect(run.status == 3)
      #expect(run.output == "")
      expectOneLine(run.errors)
      #expect(run.errors.contains(path))
    }
  }

  @Test(
    "that is empty, short or something else has status 5", arguments: [[], [0x17], Array("\u{7f}ELF and so on".utf8)])
  func notARecording(bytes: [UInt8]) throws {
    let path = try temporaryFile(bytes)
    defer { try? FileManager.default.removeItem(atPath: path) }
    let run = try vmctop(["triage", "--input", path])
    #expect(run.status == 5)
    expectOneLine(run.errors)
  }

  @Test("a name with control characters is printed without them") func hostileName() throws {
    let run = try vmctop(["triage", "--input", "/tmp/\u{1b}[2Jx\ny"])
    #expect(run.status == 3)
    expectOneLine(run.errors)
    #expect(!run.errors.contains("\u{1b}"))
  }
}

@Suite("standard output") struct OutputTests {
  @Test(
    "a full disk is one clear line and status 1",
    .enabled(if: FileManager.default.fileExists(atPath: "/dev/full"), "needs /dev/full"),
    arguments: [["--help"], ["--version"], ["fields"]])
  func fullDisk(arguments: [String]) throws {
    let run = try vmctop(arguments, output: .path("/dev/full"))
    #expect(run.status == 1)
    #expect(run.errors == "vmctop: cannot write to standard output: No space left on device\n")
  }

  @Test("a pipe that nobody reads is one clear line and status 1, not a death by SIGPIPE") func brokenPipe() throws {
    let run = try vmctop(["--help"], output: .brokenPipe)
    #expect(run.status == 1)
    #expect(run.errors == "vmctop: cannot write to standard output: Broken pipe\n")
  }

  @Test("a closed standard output is one clear line and status 1") func closed() throws {
    let shell = Process()
    shell.executableURL = URL(fileURLWithPath: "/bin/sh")
    shell.arguments = ["-c", "exec \"$0\" --help >&-", program.path]
    let errors = Pipe()
    shell.standardError = errors
    try shell.run()
    let text = try errors.fileHandleForReading.readToEnd() ?? Data()
    shell.waitUntilExit()
    #expect(shell.terminationStatus == 1)
    #expect(String(decoding: text, as: UTF8.self) == "vmctop: cannot write to standard output: Bad file descriptor\n")
  }
}
