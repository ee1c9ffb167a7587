import Aggregator
import Architecture
import FakeVMM
import Foundation
import HostFiles
import Sampler
import Synchronization
import Testing

@testable import Session

@Suite("Asking a VMM while a session runs")
struct VMMQuestionsTests {
  /// A host on which QEMU is process 4000 and listens at the server's socket.
  private func tree(_ server: QMPServer) throws -> String {
    let path = server.folder + "/host"
    let files = FileManager.default
    try files.createDirectory(atPath: "\(path)/proc/4000/fd", withIntermediateDirectories: true)
    try files.createSymbolicLink(atPath: "\(path)/proc/4000/root", withDestinationPath: "/")
    let command = ["/usr/bin/qemu-system-x86_64", "-qmp", "unix:\(server.path),server=on", ""].joined(separator: "\0")
    _ = files.createFile(atPath: "\(path)/proc/4000/cmdline", contents: Data(command.utf8))
    return path
  }

  private static let host = HostView(vms: [
    HostVM(
      pid: 4000, fd: 9, name: "web01", vmm: "qemu",
      vcpus: [HostVCPU(id: 0, tid: 116, threadName: nil), HostVCPU(id: 1, tid: 117, threadName: nil)])
  ])

  private static func answer(_ line: String) -> String? {
    line.contains("capabilities") ? recordedAnswers[1] : line.contains("fast") ? recordedAnswers[2] : recordedAnswers[3]
  }

  /// What was said, once something was.
  private func said(by ask: (@escaping @Sendable (LogMessage.Level, String) -> Void) -> Void) -> (
    LogMessage.Level, String
  )? {
    let heard = Heard()
    let began = Date()
    ask { level, text in heard.value.withLock { $0 = (level, text) } }
    // Whoever asks does not wait for the answer.
    #expect(Date().timeIntervalSince(began) < 0.25)
    for _ in 0..<500 {
      if let value = heard.value.withLock({ $0 }) { return value }
      usleep(10_000)
    }
    return nil
  }

  private final class Heard: Sendable {
    let value = Mutex<(LogMessage.Level, String)?>(nil)
  }

  @Test("shows the answer, says that the vCPU was kicked, and refuses a second question within the second")
  func answers() throws {
    let server = try QMPServer { line in
      usleep(100_000)
      return Self.answer(line)
    }
    defer { keep(server) }
    let questions = VMMQuestions(roots: HostRoots(prefix: try tree(server)))
    defer { questions.stop() }
    func ask(_ thread: Int32) -> (LogMessage.Level, String)? {
      said { questions.ask(.init(pid: 4000, thread: thread, name: "web01", isa: .vmx, say: $0)) }
    }
    #expect(questions.readings(of: Self.host).isEmpty)
    let first = try #require(ask(116))
    #expect(first.0 == .info && first.1.hasPrefix("web01 was asked, which kicked the vCPU: "))
    let reading = try #require(questions.readings(of: Self.host)[116])
    #expect(reading.failure == nil && reading.fields.first { $0.field.name == "GUEST_CR3" }?.value == 0x280_c004)
    let second = try #require(ask(117))
    #expect(second.1.contains("less than a second ago"))
    // What was answered stands.
    #expect(questions.readings(of: Self.host).keys.sorted() == [116])
    #expect(questions.readings(of: HostView(vms: [])).isEmpty)
  }

  @Test("says why there is no answer, in a line of the log")
  func failures() throws {
    let server = try QMPServer { _ in nil }
    defer { keep(server) }
    let questions = VMMQuestions(roots: HostRoots(prefix: try tree(server)))
    let said = try #require(
      said { questions.ask(.init(pid: 4000, thread: 116, name: "web01", isa: .vmx, say: $0)) })
    #expect(said.0 == .error && said.1.hasPrefix("web01 gave no registers: ") && said.1.contains("closed"))
    #expect(questions.readings(of: Self.host)[116]?.failure != nil)
    questions.stop()
    let late = try #require(
      self.said { questions.ask(.init(pid: 4000, thread: 116, name: "web01", isa: .vmx, say: $0)) })
    #expect(late.1.contains("not asked"))
  }

  @Test("is possible on a running host only: a recording says so in its log")
  func recording() throws {
    let demo = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("Sources/CDemo/demo.trace.dat").path
    let bell = Doorbell()
    let running = RunningSession(try Session(.file(path: demo)), wake: bell)
    defer { running.stop() }
    running.perform(.askVMM(tid: 116))
    var isSaid = false
    for _ in 0..<300 where !isSaid {
      isSaid = running.takeLatest()?.messages.contains { $0.text.contains("no VMM that could be asked") } ?? false
      usleep(10_000)
    }
    #expect(isSaid)
  }
}
