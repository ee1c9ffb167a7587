import Architecture
import FakeVMM
import Foundation
import HostFiles
import RandomSupport
import Synchronization
import Testing

@testable import KVMHost

/// What a conversation with such a server ended in, and how long it took.
private func failure(
  _ server: QMPServer, patience: UInt64 = 300_000_000, _ body: (QMPConnection) throws -> Void = { _ in }
) -> (message: String?, milliseconds: UInt64) {
  let began = monotonicNanoseconds()
  var message: String?
  do {
    try body(try QMPConnection(server.socket, deadline: began &+ patience))
  } catch {
    message = (error as? QMPFailure)?.message ?? "\(error)"
  }
  return (message, (monotonicNanoseconds() &- began) / 1_000_000)
}

@Suite("A conversation by QMP") struct QMPConversationTests {
  @Test func asksForNothingButTheVCPUsAndTheRegistersOfTheOneWanted() throws {
    let heard = Mutex<[String]>([])
    let server = try QMPServer { line in
      heard.withLock { $0.append(line) }
      return line.contains("capabilities")
        ? recordedAnswers[1] : line.contains("fast") ? recordedAnswers[2] : recordedAnswers[3]
    }
    defer { keep(server) }
    let connection = try QMPConnection(server.socket, deadline: monotonicNanoseconds() &+ 2_000_000_000)
    #expect(try connection.cpus().map(\.thread) == [116, 117])
    #expect(try connection.registers(ofCPU: 1).contains("RAX=0000000022699e6c"))
    let commands = heard.withLock { $0 }
    #expect(commands.count == 3)
    #expect(commands[0].hasPrefix(#"{"execute":"qmp_capabilities""#))
    #expect(commands[1].hasPrefix(#"{"execute":"query-cpus-fast""#))
    #expect(commands[2].contains(#""command-line":"info registers","cpu-index":1}"#))
  }

  @Test func passesOverEventsAndTakesAnswersThatAreBrokenIntoLines() throws {
    let server = try QMPServer { line in
      let event = recordedAnswers[recordedAnswers.count - 1] + "\r\n"
      return event
        + (line.contains("fast")
          ? "{\n  \"return\": [\n    {\"cpu-index\": 3, \"thread-id\": 9}\n  ]\n}" : event + recordedAnswers[1])
    }
    defer { keep(server) }
    let connection = try QMPConnection(server.socket, deadline: monotonicNanoseconds() &+ 2_000_000_000)
    #expect(try connection.cpus() == [QMPMessage.CPU(index: 3, thread: 9)])
  }

  @Test func takesWhatComesByteByByte() throws {
    let server = try QMPServer { connection in
      for text in [QMPServer.greeting, "{\"return\": {}}\r\n"] {
        if text != QMPServer.greeting { _ = connection.line() }
        for byte in text.utf8 { connection.send([byte]) }
      }
    }
    #expect(failure(server).message == nil)
  }

  @Test func saysWhatQEMURefused() throws {
    let server = try QMPServer { line in
      line.contains("fast")
        ? #"{"error":{"class":"CommandNotFound","desc":"no \u001b[31mquery\n"}}"# : recordedAnswers[1]
    }
    let (message, _) = failure(server) { _ = try $0.cpus() }
    #expect(message == "QEMU refused query-cpus-fast: no \u{FFFD}[31mquery\u{FFFD}")
  }

  @Test func isGivenUpByWhoNoLongerWaitsForIt() throws {
    var ends: [Int32] = [-1, -1]
    try #require(pipe(&ends) == 0)
    defer { for end in ends { close(end) } }
    var byte: UInt8 = 1
    try #require(write(ends[1], &byte, 1) == 1)
    // Nobody takes the connection, and the queue fills up; without the wake this waits for ever.
    let server = try QMPServer(nil)
    for _ in 0..<3 {
      #expect(throws: QMPFailure.self) { _ = try QMPConnection(server.socket, deadline: .max, wake: ends[0]) }
    }
  }

  @Test func withASocketThatAnotherClientHoldsEndsInTimeAndSaysSo() throws {
    // libvirt's monitor: the connection is queued, and nobody takes it.
    let server = try QMPServer(nil)
    for _ in 0..<3 {
      // The last finds the queue full, too.
      let (message, milliseconds) = failure(server)
      #expect(
        message?.contains("another client holds it, as libvirt does (virsh qemu-monitor-command") == true,
        "\(message ?? "")")
      #expect(milliseconds >= 290 && milliseconds < 1500)
    }
  }

  @Test func withAFullQueueEndsInTimeToo() throws {
    let server = try QMPServer(nil)
    let waiting = (0..<3).map { _ in
      // Held open, so that the queue stays full.
      Thread { _ = failure(server, patience: 1_000_000_000) }
    }
    for thread in waiting { thread.start() }
    usleep(100_000)
    let (message, milliseconds) = failure(server)
    #expect(message?.contains("no greeting") == true)
    #expect(milliseconds < 1500)
    usleep(1_200_000)
  }

  @Test func withoutASocketSaysWhatIsMissing() throws {
    let tree = Tree()
    let (message, _): (String?, UInt64) = {
      do throws(QMPFailure) {
        _ = try QMPConnection(
          .unix(folder: tree.path, name: "none", shown: "/run/none"), deadline: monotonicNanoseconds() &+ 100_000_000)
        return (nil, 0)
      } catch { return (error.message, 0) }
    }()
    #expect(message == "cannot connect to /run/none: No such file or directory")
  }

  /// Every one of these is a server that means ill, or none.
  static let hostile: [(name: String, serve: @Sendable (QMPServer.Connection) -> Void, says: String)] = [
    ("garbage", { $0.send("HTTP/1.1 400 Bad Request\r\n") }, "is no QMP socket: it sent something that is not JSON"),
    ("zeroes", { $0.send([UInt8](repeating: 0, count: 5000)) }, "not JSON"),
    ("a list", { $0.send("[1]\n") }, "not JSON"),
    ("no greeting", { $0.send("{\"return\": {}}\r\n") }, "did not greet"),
    ("silence", { _ in usleep(600_000) }, "no greeting"),
    (
      "half a greeting",
      {
        $0.send("{\"QMP\": {\"ver")
        usleep(600_000)
      }, "gave no whole greeting within"
    ),
    ("closed at once", { _ in }, "closed"),
    ("closed in the middle", { $0.send("{\"QMP\": {\"ver") }, "closed before the greeting was whole"),
    ("closed after the greeting", { $0.send(QMPServer.greeting) }, "closed"),
    (
      "an endless string",
      { connection in
        connection.send("{\"QMP\":\"")
        while connection.send([UInt8](repeating: 0x61, count: 65536)) {}
      }, "more than 1 MiB"
    ),
    ("endless blanks", { while $0.send([UInt8](repeating: 32, count: 65536)) {} }, "more than 1 MiB"),
    (
      "nesting",
      { connection in
        connection.send("{\"QMP\":" + String(repeating: "[", count: 100_000))
        usleep(600_000)
      },
      "nested too deeply"
    ),
    (
      "endless events",
      { connection in
        connection.send(QMPServer.greeting)
        while connection.send("{\"event\":\"RESET\",\"data\":{}}\r\n") {}
      }, "s"
    ),
    (
      "gigantic numbers",
      { connection in
        connection.send(
          QMPServer.greeting
            + "{\"return\":{}}\r\n{\"return\":[{\"cpu-index\":1e999,\"thread-id\":99999999999999999999999999}]}\r\n")
        usleep(600_000)
      }, "something else than a list of vCPUs"
    ),
    (
      "wrong types",
      { connection in
        connection.send(QMPServer.greeting + "{\"return\":17}\r\n{\"return\":{\"a\":[null,true]}}\r\n")
        usleep(600_000)
      }, "something else than a list of vCPUs"
    ),
    (
      "an error of a wrong type",
      { connection in
        connection.send(QMPServer.greeting + "{\"error\":[[]]}\r\n")
        usleep(600_000)
      }, "QEMU refused qmp_capabilities: without a reason"
    ),
    (
      "another question's answer",
      { connection in
        connection.send(QMPServer.greeting + "{\"return\":{},\"id\":\"virsh-7\"}\r\n")
        usleep(600_000)
      }, "answered a question that was not asked"
    ),
    (
      "broken text",
      { connection in
        connection.send(QMPServer.greeting)
        connection.send(Array("{\"return\":\"".utf8) + [0xff, 0xfe, 0x80] + Array("\"}\r\n".utf8))
        usleep(600_000)
      }, "within"
    ),
    (
      "neither answer nor error",
      { connection in
        connection.send(QMPServer.greeting + "{}\r\n")
        usleep(600_000)
      }, "no answer to qmp_capabilities"
    ),
  ]

  @Test(arguments: 0..<hostile.count)
  func withAHostileServerEndsInOneClearLineInTime(index: Int) throws {
    let (name, serve, says) = Self.hostile[index]
    let server = try QMPServer(serve)
    let (message, milliseconds) = failure(server) { _ = try $0.cpus() }
    let text = try #require(message, "\(name)")
    #expect(text.contains(says), "\(name): \(text)")
    #expect(!text.unicodeScalars.contains { $0.properties.generalCategory == .control }, "\(name): \(text)")
    #expect(text.count <= 400)
    #expect(milliseconds < 2000, "\(name)")
  }

  @Test func survivesAnyBytes() throws {
    var generator = Dice()
    let seeds = recordedAnswers.map { Array($0.utf8.prefix(3000)) + [13, 10] }
    for _ in 0..<150 {
      var bytes =
        Array(QMPServer.greeting.utf8) + (seeds.randomElement(using: &generator) ?? [])
        + (seeds.randomElement(using: &generator) ?? [])
      for _ in 0..<Int.random(in: 1...12, using: &generator) {
        let place = Int.random(in: 0..<bytes.count, using: &generator)
        bytes[place] =
          Bool.random(using: &generator)
          ? UInt8.random(in: 0...255, using: &generator) : [34, 92, 91, 123, 125][place % 5]
      }
      let sent = bytes
      let server = try QMPServer { $0.send(sent) }
      // Whatever it is: it ends.
      let result = failure(server) { connection in
        _ = try connection.cpus()
        _ = try connection.registers(ofCPU: 0)
      }
      #expect(result.milliseconds < 2000)
    }
  }

  @Test func theEndOfAMessageIsFoundWhateverItsStringsHold() {
    for (text, length) in [("{}", 2), ("\r\n {\"a\":\"}\\\"}\"} {}", 15), ("{\"a\":[{\"b\":\"\\\\\"}]}x", 18)]
      as [(String, Int)]
    {
      var frame = QMPFrame()
      #expect(frame.advance(in: Array(text.utf8)) == .whole(length), "\(text)")
    }
    for (text, state) in [("", .incomplete), ("{\"a\":\"}", .incomplete), ("}", .malformed), ("5", .malformed)]
      as [(String, QMPFrame.State)]
    {
      var frame = QMPFrame()
      #expect(frame.advance(in: Array(text.utf8)) == state, "\(text)")
    }
  }
}

@Suite("Asking a VMM") struct VMMQuestionerTests {
  private func readings(_ answer: VMMQuestioner.Answer) throws -> [Int32: VMMReading] {
    guard case .readings(let readings) = answer else {
      Issue.record("it was not asked")
      return [:]
    }
    return readings
  }

  private static let patience: UInt64 = 400_000_000

  /// The recording's two vCPUs, each asked for alone.
  private static func answer(_ line: String) -> String? {
    if line.contains("capabilities") { return recordedAnswers[1] }
    if line.contains("fast") { return recordedAnswers[2] }
    guard let start = recordedAnswers[3].range(of: "\\r\\nCPU#1") else { return nil }
    return line.contains(#""cpu-index":0"#)
      ? String(recordedAnswers[3][..<start.lowerBound]) + "\"}"
      : "{\"return\": \"" + recordedAnswers[3][start.lowerBound...]
  }

  @Test func givesTheRegistersOfEachThreadThatWasAskedFor() throws {
    let server = try QMPServer(answering: Self.answer)
    let tree = server.tree(threads: [116: "CPU 0/KVM", 117: "CPU 1/KVM"])
    defer { keep(server, tree) }
    let questioner = VMMQuestioner(roots: tree.roots)
    let before = monotonicNanoseconds()
    let result = try readings(questioner.ask(pid: 4000, threads: [116, 117, 118], isa: .vmx))
    func value(_ thread: Int32, _ name: String) -> UInt64? {
      result[thread]?.fields.first { $0.field.name == name }?.value
    }
    #expect(value(116, "GUEST_RIP") == 0x57a0c2)
    #expect(value(117, "GUEST_RIP") == 0xffff_ffff_9e67_d546)
    #expect(value(117, "GUEST_CR3") == 0x110_4003)
    #expect(result[116]?.failure == nil)
    #expect(result[118]?.failure?.contains("no vCPU whose thread is 118") == true)
    let reading = try #require(result[116])
    #expect(reading.readAt >= before && reading.readAt <= monotonicNanoseconds())
    #expect(reading.fields.allSatisfy { $0.provenance == .measured && $0.readAt == reading.readAt })
  }

  @Test func knowsTheThreadsOfAQEMUInAContainerByTheirOwnNumbers() throws {
    let server = try QMPServer(answering: Self.answer)
    let tree = server.tree(threads: [90116: "CPU 0/KVM"])
    defer { keep(server, tree) }
    tree.file("proc/4000/task/90116/status", "Name:\tx\nTgid:\t4000\nPid:\t90116\nNSpid:\t90116\t300\t116\n")
    let result = try readings(VMMQuestioner(roots: tree.roots).ask(pid: 4000, threads: [90116], isa: .vmx))
    #expect(result[90116]?.fields.first { $0.field.name == "RAX" }?.value == 0x2269_9e6c)
  }

  @Test func asksAVMMAtMostOnceASecond() throws {
    let asked = Atomic<Int>(0)
    let server = try QMPServer { line in
      if line.contains("fast") { asked.add(1, ordering: .relaxed) }
      return Self.answer(line)
    }
    let tree = server.tree()
    defer { keep(server, tree) }
    let clock = Atomic<UInt64>(5_000_000_000)
    let questioner = VMMQuestioner(roots: tree.roots, patience: Self.patience) { clock.load(ordering: .relaxed) }
    _ = try readings(questioner.ask(pid: 4000, threads: [116], isa: .vmx))
    clock.add(999_000_000, ordering: .relaxed)
    // Another vCPU of it, too.
    for thread: Int32 in [116, 117] {
      guard case .tooEarly(let milliseconds) = questioner.ask(pid: 4000, threads: [thread], isa: .vmx) else {
        Issue.record("it was asked")
        continue
      }
      #expect(milliseconds == 2)
    }
    #expect(asked.load(ordering: .relaxed) == 1)
    // Another VMM is another matter.
    _ = try readings(questioner.ask(pid: 4001, threads: [1], isa: .vmx))
    clock.add(1_000_000, ordering: .relaxed)
    _ = try readings(questioner.ask(pid: 4000, threads: [117], isa: .vmx))
    #expect(asked.load(ordering: .relaxed) == 2)
  }

  @Test func keepsWhatWasAnsweredBeforeItWentWrong() throws {
    let server = try QMPServer { line in line.contains(#""cpu-index":1"#) ? nil : Self.answer(line) }
    let tree = server.tree()
    defer { keep(server, tree) }
    let result = try readings(VMMQuestioner(roots: tree.roots).ask(pid: 4000, threads: [116, 117], isa: .vmx))
    #expect(result[116]?.failure == nil && result[116]?.fields.isEmpty == false)
    #expect(result[117]?.failure?.contains("closed") == true && result[117]?.fields.isEmpty == true)
  }

  @Test func saysOfAnAnswerWithoutRegistersWhatItWas() throws {
    let server = try QMPServer { line in
      line.contains("human") ? #"{"return":"\r\nunknown command: 'info\u0007'\r\n"}"# : Self.answer(line)
    }
    let tree = server.tree()
    defer { keep(server, tree) }
    let result = try readings(VMMQuestioner(roots: tree.roots).ask(pid: 4000, threads: [116], isa: .vmx))
    #expect(result[116]?.failure?.contains("has no register: 'unknown command: 'info\u{FFFD}'") == true)
  }

  @Test func triesEverySocketAndLibvirtsLast() throws {
    let silent = try QMPServer(nil)
    let server = try QMPServer(answering: Self.answer)
    let tree = Tree()
    tree.process(
      4000,
      command: [
        "qemu-system-x86_64", "-qmp", "unix:\(silent.path),server,nowait", "-qmp",
        "unix:\(server.path),server=on,wait=off",
      ])
    tree.link("proc/4000/root", to: "/")
    defer { keep(silent, server, tree) }
    let questioner = VMMQuestioner(roots: tree.roots, patience: 600_000_000, now: monotonicNanoseconds)
    let result = try readings(questioner.ask(pid: 4000, threads: [116], isa: .vmx))
    #expect(result[116]?.failure == nil)
  }

  @Test func saysOfOtherVMMsThatTheyCannotBeAskedAndOfQEMUHowItCan() throws {
    let tree = Tree()
    defer { keep(tree) }
    tree.process(1, command: ["/usr/bin/firecracker", "--id=a"])
    tree.process(2, command: ["/usr/bin/qemu-system-x86_64", "-name", "web01"])
    let questioner = VMMQuestioner(roots: tree.roots)
    #expect(
      try readings(questioner.ask(pid: 1, threads: [1], isa: .vmx))[1]?.failure
        == "firecracker cannot be asked: only QEMU tells registers, by QMP")
    #expect(
      try readings(questioner.ask(pid: 2, threads: [2], isa: .vmx))[2]?.failure
        == "QEMU has no QMP socket; start QEMU with -qmp unix:/path,server=on,wait=off")
    #expect(
      try readings(questioner.ask(pid: 3, threads: [3], isa: .vmx))[3]?.failure?.contains("process 3 is gone") == true)
  }
}
