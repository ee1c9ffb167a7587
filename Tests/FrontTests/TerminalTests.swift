import Foundation
import Glibc
import Testing

@testable import Front

/// The front on a real pseudo-terminal: what is sent to it, and what is left behind.
@Suite(.serialized) struct TerminalTests {
  struct Run {
    var output = ""
    var status: Int32 = -1
    /// The line discipline before and after.
    var flagsBefore: tcflag_t = 0
    var flagsAfter: tcflag_t = 0
    /// Seconds until the first byte came.
    var first = Double.infinity
  }

  /// Runs the preview in a terminal of 80x24, types, and waits for its end.
  func run(_ environment: [String: String], arguments: [String] = [], typing keys: [String]) throws -> Run {
    var run = Run()
    // ioctl_tty(2): TIOCSPTLCK unlocks the other side, TIOCGPTN tells its number.
    let master = open("/dev/ptmx", O_RDWR | O_NOCTTY)
    var lock: Int32 = 0
    var number: Int32 = -1
    try #require(master >= 0 && ioctl(master, 0x4004_5431, &lock) == 0 && ioctl(master, 0x8004_5430, &number) == 0)
    let name = "/dev/pts/\(number)"
    let slave = open(name, O_RDWR | O_NOCTTY)
    try #require(slave >= 0)
    defer {
      close(master)
      close(slave)
    }
    var size = winsize(ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0)
    try #require(ioctl(slave, UInt(TIOCSWINSZ), &size) == 0)
    var settings = termios()
    tcgetattr(slave, &settings)
    run.flagsBefore = settings.c_lflag

    let process = Process()
    process.executableURL = Bundle.main.executableURL?.deletingLastPathComponent().appendingPathComponent(
      "front-preview")
    if !FileManager.default.isExecutableFile(atPath: process.executableURL?.path ?? "") {
      // Under swift-testing's helper the main bundle is the toolchain's.
      process.executableURL = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent(".build/debug/front-preview")
    }
    process.arguments = arguments
    process.environment = environment.merging(["PATH": "/usr/bin:/bin"]) { a, _ in a }
    let terminal = FileHandle(fileDescriptor: slave, closeOnDealloc: false)
    process.standardInput = terminal
    process.standardOutput = terminal
    process.standardError = terminal
    let start = Date()
    try process.run()

    var bytes: [UInt8] = []
    func read(for seconds: Double) {
      let end = Date().addingTimeInterval(seconds)
      while Date() < end {
        var polled = pollfd(fd: master, events: Int16(POLLIN), revents: 0)
        guard poll(&polled, 1, 50) > 0 else { continue }
        var buffer = [UInt8](repeating: 0, count: 65536)
        let count = Glibc.read(master, &buffer, buffer.count)
        guard count > 0 else { return }
        if bytes.isEmpty { run.first = Date().timeIntervalSince(start) }
        bytes += buffer.prefix(count)
      }
    }
    read(for: 1.5)
    for key in keys {
      _ = key.withCString { write(master, $0, strlen($0)) }
      read(for: 0.3)
    }
    let deadline = Date().addingTimeInterval(5)
    while process.isRunning && Date() < deadline { read(for: 0.1) }
    if process.isRunning {
      process.terminate()
      Issue.record("the front did not end")
    }
    process.waitUntilExit()
    read(for: 0.1)
    run.status = process.terminationStatus
    tcgetattr(slave, &settings)
    run.flagsAfter = settings.c_lflag
    run.output = String(decoding: bytes, as: UTF8.self)
    return run
  }

  @Test func theTerminalIsGivenBackAsItWas() throws {
    let run = try run(["TERM": "xterm-256color", "LC_ALL": "C.UTF-8"], typing: ["2", "x", "q"])
    #expect(run.status == 0)
    #expect(run.flagsAfter == run.flagsBefore)
    #expect(run.first < 1)
    #expect(run.output.contains("ended: quit"))
    #expect(run.output.contains("\u{1b}[?1049h") && run.output.contains("\u{1b}[?1049l"))
    #expect(run.output.contains("\u{1b}[?25h"))
    #expect(run.output.contains("exits/s"))
  }

  @Test func aSignalEndsTheFrontAndTheTerminalIsGivenBack() throws {
    let run = try run(["TERM": "xterm", "LC_ALL": "C.UTF-8"], arguments: ["signalled"], typing: [])
    #expect(run.output.contains("ended: signal"))
    #expect(run.flagsAfter == run.flagsBefore)
  }

  @Test func aLocaleWithoutUTF8GetsNothingButASCII() throws {
    let run = try run(["TERM": "vt100", "LC_ALL": "C"], typing: ["4", "?", "q", "q"])
    #expect(run.status == 0)
    let beyondASCII = run.output.unicodeScalars.filter { !$0.isASCII }
    #expect(beyondASCII.isEmpty)
    #expect(run.output.contains("exits/s"))
  }

  @Test func noColoursAreSentWhereNoneAreWanted() throws {
    let run = try run(["TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "NO_COLOR": "1"], typing: ["x", "q"])
    #expect(run.status == 0)
    for colour in 30...37 { #expect(!run.output.contains("\u{1b}[\(colour)m") && !run.output.contains(";\(colour)m")) }
  }

  @Test(arguments: ["nosuchterminal", "dumb", ""])
  func anUnknownTerminalIsDrawnAsXterm(_ type: String) throws {
    let run = try run(["TERM": type, "LC_ALL": "C.UTF-8"], typing: ["q"])
    #expect(run.status == 0)
    #expect(run.output.contains("drawing as xterm"))
  }

  @Test func aLocaleThatIsNotInstalledStillGetsUTF8() throws {
    let run = try run(["TERM": "xterm", "LC_ALL": "xx_YY.UTF-8"], typing: ["q"])
    #expect(run.output.contains("▸"))
  }

  @Test func escapeSequencesOfKeysAndMiceAreUnderstood() throws {
    // F1 opens help; a click at column 13, row 3 (from 1) switches to the controls.
    let run = try run(
      ["TERM": "xterm-256color", "LC_ALL": "C.UTF-8"], typing: ["\u{1b}OP", "q", "\u{1b}[<0;13;3M\u{1b}[<0;13;3m", "q"])
    #expect(run.output.contains("KEYS"))
    #expect(run.output.contains("CONTROL"))
    #expect(run.status == 0)
  }
}
