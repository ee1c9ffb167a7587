import Foundation
import Recording
import Testing
import TraceFormat

@testable import vmctop_bench

@Suite struct CaptureRepeaterTests {
  /// The first four pages of the demo.
  static func capture() throws -> TraceFile {
    let demo = try TraceFile(path: TraceFileWriterTests.demo)
    let path = TraceFileWriterTests.temporary()
    defer { try? FileManager.default.removeItem(atPath: path) }
    let writer = try TraceFileWriter(path: path, contents: TraceFileContents(of: demo))
    try writer.beginBuffer()
    try writer.beginCPU(0)
    for _ in 0..<4 { try writer.append(#require(demo.nextPage(stream: 0))) }
    try writer.finish()
    return try TraceFile(bytes: [UInt8](Data(contentsOf: URL(fileURLWithPath: path))))
  }

  @Test func wholeRepetitionsAreExactMultiples() throws {
    let path = TraceFileWriterTests.temporary()
    defer { try? FileManager.default.removeItem(atPath: path) }
    let source = try Self.capture()
    let repeater = try CaptureRepeater(source)
    let each = repeater.eventsPerRepetition
    let summary = try repeater.write(to: path, events: each * 6, cpus: 2)
    #expect(summary == CaptureRepeater.Summary(events: each * 6, pages: 4 * 6))
    let file = try TraceFile(path: path)
    #expect(file.streams == [PageStream(cpu: 0), PageStream(cpu: 1)])
    #expect(file.damage.isEmpty)
    #expect(file.metadata.commandNames[117] == "qemu-system-x86")
    #expect(file.metadata.commandNames[1117] == "qemu-system-x86")
    var last: UInt64 = 0
    var pages = 0
    while let page = file.nextPage(stream: 1) {
      let base = page.loadUnaligned(as: UInt64.self)
      #expect(base > last)
      last = base
      pages += 1
    }
    #expect(pages == 12)
  }

  /// Counts, threads and times as trace-cmd sees them.
  @Test(.enabled(if: TraceFileWriterTests.hasTraceCmd, "trace-cmd is not installed"))
  func traceCmdCountsTheSame() throws {
    let path = TraceFileWriterTests.temporary()
    defer { try? FileManager.default.removeItem(atPath: path) }
    let demo = try TraceFile(path: TraceFileWriterTests.demo)
    let repeater = try CaptureRepeater(demo)
    #expect(repeater.eventsPerRepetition == 235_651)
    _ = try repeater.write(to: path, events: 30_001, cpus: 2)
    let lines = try TraceFileWriterTests.report(path)
    #expect(lines.count == 30_001)
    let second = lines.filter { $0.contains("[001]") }
    #expect(second.count == 15_000)
    #expect(second.allSatisfy { $0.contains("qemu-system-x86-1117") })
    #expect(second.allSatisfy { !$0.contains("vcpu_id=") || $0.contains("vcpu_id=1") })
    let first = lines.filter { $0.contains("[000]") }.prefix(15_000)
    // The same events at the same times, apart from what makes the CPUs different.
    func event(_ line: String) -> [Substring] {
      line.split(separator: "]").dropFirst().first?.split(separator: " ").filter { !$0.hasPrefix("vcpu_id=") } ?? []
    }
    let same = zip(first, second).allSatisfy { event($0) == event($1) }
    #expect(same)
  }

  @Test func aCaptureWithoutEventsIsRefused() throws {
    let demo = try TraceFile(path: TraceFileWriterTests.demo)
    let path = TraceFileWriterTests.temporary()
    defer { try? FileManager.default.removeItem(atPath: path) }
    let writer = try TraceFileWriter(path: path, contents: TraceFileContents(of: demo))
    try writer.finish()
    let empty = try TraceFile(path: path)
    #expect(throws: RecordingError.self) { try CaptureRepeater(empty) }
  }
}
