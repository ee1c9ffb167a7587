import Foundation
import Recording
import Testing
import TraceFormat

@Suite struct TraceFileWriterTests {
  static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()
  static let demo = root.appendingPathComponent("Sources/CDemo/demo.trace.dat").path
  static let traceCmd = "/usr/bin/trace-cmd"
  static var hasTraceCmd: Bool { FileManager.default.isExecutableFile(atPath: traceCmd) }

  static func temporary() -> String { NSTemporaryDirectory() + "vmctop-test-\(UUID().uuidString).dat" }

  /// `trace-cmd report -t -R` of a file, without the line of the CPU count.
  static func report(_ path: String, _ arguments: [String] = []) throws -> [String] {
    let output = temporary()
    _ = FileManager.default.createFile(atPath: output, contents: nil)
    defer { try? FileManager.default.removeItem(atPath: output) }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: traceCmd)
    process.arguments = ["report", "-t", "-R", "-i", path] + arguments
    process.standardOutput = FileHandle(forWritingAtPath: output)
    process.standardError = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
    return try String(decoding: Data(contentsOf: URL(fileURLWithPath: output)), as: UTF8.self)
      .split(separator: "\n").filter { !$0.hasPrefix("cpus=") }.map(String.init)
  }

  /// The demo's first pages, written again to several CPUs and an instance.
  static func write(_ path: String, compression: TraceCompression, pages: Int) throws {
    let source = try TraceFile(path: demo)
    var contents = TraceFileContents(of: source)
    contents.cpuCount = 4
    let writer = try TraceFileWriter(path: path, contents: contents, compression: compression)
    try writer.beginBuffer()
    for cpu in [0, 3] {
      try writer.beginCPU(cpu)
      source.rewind()
      for _ in 0..<pages {
        guard let page = source.nextPage(stream: 0) else { break }
        try writer.append(page)
      }
    }
    try writer.beginBuffer(name: "web")
    try writer.beginCPU(1)
    source.rewind()
    for _ in 0..<3 {
      guard let page = source.nextPage(stream: 0) else { break }
      try writer.append(page)
    }
    try writer.finish()
  }

  @Test(arguments: TraceCompression.allCases)
  func whatIsWrittenIsReadAgain(compression: TraceCompression) throws {
    let path = Self.temporary()
    defer { try? FileManager.default.removeItem(atPath: path) }
    try Self.write(path, compression: compression, pages: 23)
    let source = try TraceFile(path: Self.demo)
    let file = try TraceFile(path: path)
    #expect(file.damage.isEmpty)
    #expect(file.compression == compression)
    #expect(file.texts == source.texts)
    #expect(file.metadata.formats.map(\.id) == source.metadata.formats.map(\.id))
    #expect(file.metadata.commandNames == source.metadata.commandNames)
    #expect(file.metadata.uname == source.metadata.uname)
    #expect(file.cpuCount == 4)
    #expect(
      file.streams == [PageStream(cpu: 0), PageStream(cpu: 3), PageStream(cpu: 1, buffer: "web")])
    for (stream, count) in [(0, 23), (1, 23), (2, 3)] {
      source.rewind()
      var pages = 0
      while let page = file.nextPage(stream: stream) {
        let original = try #require(source.nextPage(stream: 0))
        #expect(page.elementsEqual(original))
        pages += 1
      }
      #expect(pages == count)
    }
  }

  /// Debian 12's trace-cmd is built without zlib.
  @Test(
    .enabled(if: hasTraceCmd, "trace-cmd is not installed"), arguments: [TraceCompression.none, .zstd])
  func traceCmdReadsIt(compression: TraceCompression) throws {
    let path = Self.temporary()
    defer { try? FileManager.default.removeItem(atPath: path) }
    try Self.write(path, compression: compression, pages: 150)
    let lines = try Self.report(path)
    let first = lines.filter { $0.contains("[000]") }
    let fourth = lines.filter { $0.contains("[003]") }
    // What trace-cmd makes of the same pages in the file that it recorded itself; times and names stand behind the CPU.
    let original = try Self.report(Self.demo).prefix(first.count)
    func tail(_ line: String) -> Substring { line.firstIndex(of: "]").map { line[$0...] } ?? "" }
    #expect(first.count > 10_000)
    #expect(first.first?.hasSuffix("vcpu_id=0 need_flush_tlb=0") == true)
    let same =
      zip(original, first).allSatisfy { tail($0) == tail($1) } && zip(first, fourth).allSatisfy { tail($0) == tail($1) }
    #expect(same)
    #expect(first.count == fourth.count)
    #expect(first.allSatisfy { $0.contains("qemu-system-x86-117") })
    #expect(lines.contains { $0.contains("[001]") }, "the instance's events are in the report")
  }

  @Test func wrongOrderOfCallsIsAnError() throws {
    let path = Self.temporary()
    defer { try? FileManager.default.removeItem(atPath: path) }
    let contents = TraceFileContents(of: try TraceFile(path: Self.demo))
    let writer = try TraceFileWriter(path: path, contents: contents)
    #expect(throws: RecordingError.self) { try writer.beginCPU(0) }
    #expect(throws: RecordingError.self) { try writer.append([UInt8](repeating: 0, count: 4096)) }
    try writer.beginBuffer()
    try writer.beginCPU(0)
    #expect(throws: RecordingError.self) { try writer.append([UInt8](repeating: 0, count: 4095)) }
    #expect(throws: RecordingError.self) { try writer.beginCPU(0) }
    #expect(throws: RecordingError.self) { try writer.beginCPU(-1) }
    try writer.finish()
    #expect(throws: RecordingError.self) { try writer.beginBuffer() }
    #expect(throws: RecordingError.self) {
      var contents = contents
      contents.pageSize = 5000
      _ = try TraceFileWriter(path: path, contents: contents)
    }
  }

  @Test func aFullDiskIsAnErrorThatNamesIt() throws {
    let contents = TraceFileContents(of: try TraceFile(path: Self.demo))
    let error = #expect(throws: RecordingError.self) {
      let writer = try TraceFileWriter(path: "/dev/full", contents: contents)
      try writer.beginBuffer()
      try writer.beginCPU(0)
      try writer.append([UInt8](repeating: 0, count: 4096 * 512))
      try writer.finish()
    }
    #expect(error?.errorNumber == ENOSPC)
    #expect(error?.description.contains("/dev/full") == true)
    #expect(throws: RecordingError.self) { try TraceFileWriter(path: "/no/such/folder/x", contents: contents) }
  }

  /// As a killed recorder leaves it: no table, and the data's size never written.
  @Test func aFileThatWasNeverFinishedStillGivesItsPages() throws {
    let path = Self.temporary()
    defer { try? FileManager.default.removeItem(atPath: path) }
    let source = try TraceFile(path: Self.demo)
    var writer: TraceFileWriter? = try TraceFileWriter(path: path, contents: TraceFileContents(of: source))
    try writer?.beginBuffer()
    for cpu in 0..<2 {
      try writer?.beginCPU(cpu)
      source.rewind()
      var pages: [UInt8] = []
      for _ in 0..<300 { pages += try #require(source.nextPage(stream: 0)) }
      try writer?.append(pages)
    }
    writer = nil
    let file = try TraceFile(path: path)
    #expect(!file.damage.isEmpty)
    #expect(file.streams.map(\.cpu) == [0, 1])
    for stream in 0...1 {
      source.rewind()
      var pages = 0
      while let page = file.nextPage(stream: stream) {
        #expect(source.nextPage(stream: 0)?.elementsEqual(page) == true)
        pages += 1
      }
      #expect(pages == 300)
    }
  }
}
