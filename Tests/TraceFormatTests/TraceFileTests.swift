import Foundation
import Recording
import Testing

@testable import TraceFormat

@Suite struct TraceFileTests {
  @Test func theDemoRecordingOpens() throws {
    let file = try TraceFile(path: Fixture.demo)
    #expect(file.version == 7)
    #expect(file.compression == .zstd)
    #expect(file.streams == [PageStream(cpu: 0)])
    #expect(file.cpuCount == 1)
    #expect(file.metadata.clock == "local")
    #expect(file.metadata.timeScale == .nanoseconds)
    #expect(file.metadata.uname == "Linux (none) 6.1.0-56-amd64 x86_64")
    #expect(file.metadata.page == PageLayout())
    #expect(file.metadata.commandNames[117] == "qemu-system-x86")
    #expect(file.cpuStatistics.count == 1)
    #expect(file.cpuStatistics.first?.contains("read events: 219880") == true)
    let exit = try #require(file.metadata.formats.first { $0.system == "kvm" && $0.name == "kvm_exit" })
    #expect(try exit == Fixture.format("kvm_exit"))
    #expect(file.metadata.formats.contains { $0.system == "ftrace" && $0.name == "function" })
    let raw = try #require(file.texts.formats.first { $0.name == "kvm_exit" })
    #expect(try raw.text == Array(Fixture.text("formats/kvm_exit.format").utf8))

    let first = try #require(file.nextPage(stream: 0))
    #expect(first.count == 4096)
    // trace-cmd report: the first event is at 3.491020629 s.
    #expect(first.loadUnaligned(as: UInt64.self) == 3_491_020_629)
    var pages = 1
    var last: UInt64 = 0
    while let page = file.nextPage(stream: 0) {
      pages += 1
      last = page.loadUnaligned(as: UInt64.self)
    }
    // trace-cmd convert says that 11,923,456 bytes are in it.
    #expect(pages == 11_923_456 / 4096)
    // The last page's first event; trace-cmd convert writes the same.
    #expect(last == 4_239_128_795)
    #expect(file.damage.isEmpty)
    #expect(file.nextPage(stream: 1) == nil)
    #expect(file.nextPage(stream: -1) == nil)
  }

  @Test func rewindStartsAgain() throws {
    let file = try TraceFile(path: Fixture.demo)
    let first = try #require(file.nextPage(stream: 0)).map { $0 }
    for _ in 0..<25 { _ = file.nextPage(stream: 0) }
    file.rewind()
    let again = try #require(file.nextPage(stream: 0)).map { $0 }
    #expect(first.elementsEqual(again))
  }

  @Test func theSamePagesFromFileMemoryAndBorrowedMemory() throws {
    let bytes = try Fixture.bytes(Fixture.demo)
    let expected = try allPages(TraceFile(path: Fixture.demo))
    expectSameBytes(try allPages(TraceFile(bytes: bytes)), expected)
    let borrowed = try bytes.withUnsafeBytes { try allPages(TraceFile(borrowing: $0)) }
    expectSameBytes(borrowed, expected)
  }

  /// Every version and compression that the installed trace-cmd writes holds the same pages.
  @Test(
    .enabled(if: TraceCmd.isPresent, "trace-cmd is not installed"), arguments: [(6, "none"), (7, "none"), (7, "zstd")])
  func convertedByTraceCmd(version: Int, compression: String) throws {
    let path = Fixture.temporary("converted.dat")
    defer { try? FileManager.default.removeItem(atPath: path) }
    _ = try TraceCmd.run([
      "convert", "-i", Fixture.demo, "-o", path, "--file-version", "\(version)", "--compression", compression,
    ])
    let demo = try TraceFile(path: Fixture.demo)
    let file = try TraceFile(path: path)
    #expect(file.version == version)
    #expect(file.compression.rawValue == compression)
    let sameFormats = file.metadata.formats == demo.metadata.formats
    #expect(sameFormats)
    #expect(file.metadata.clock == demo.metadata.clock)
    #expect(file.metadata.uname == demo.metadata.uname)
    #expect(file.metadata.commandNames == demo.metadata.commandNames)
    #expect(file.cpuStatistics == demo.cpuStatistics)
    #expect(file.streams == demo.streams)
    expectSameBytes(allPages(file), allPages(demo))
    #expect(file.damage.isEmpty)
  }

  /// Our own file of several CPUs and an instance, made over by trace-cmd.
  @Test(
    .enabled(if: TraceCmd.isPresent, "trace-cmd is not installed"), arguments: [(6, "none"), (7, "none"), (7, "zstd")])
  func severalCPUsConvertedByTraceCmd(version: Int, compression: String) throws {
    let small = Fixture.temporary("small.dat")
    let path = Fixture.temporary("converted.dat")
    defer {
      try? FileManager.default.removeItem(atPath: small)
      try? FileManager.default.removeItem(atPath: path)
    }
    try Data(SmallTrace.version7()).write(to: URL(fileURLWithPath: small))
    _ = try TraceCmd.run([
      "convert", "-i", small, "-o", path, "--file-version", "\(version)", "--compression", compression,
    ])
    let file = try TraceFile(path: path)
    #expect(file.version == version)
    let expected =
      [
        PageStream(cpu: 0): [1, 2], PageStream(cpu: 2): [20, 21, 22], PageStream(cpu: 1, buffer: "web"): [110],
      ] as [PageStream: [UInt64]]
    #expect(Dictionary(uniqueKeysWithValues: zip(file.streams, SmallTrace.pages(of: file))) == expected)
    #expect(file.metadata.timeScale == TimeScale(multiplier: 6_000_000, shift: 24))
    #expect(file.damage.isEmpty)
  }

  @Test func severalCPUsAndInstancesOfVersion6() throws {
    let file = try TraceFile(bytes: SmallTrace.version6())
    #expect(file.version == 6)
    #expect(file.streams == [PageStream(cpu: 0), PageStream(cpu: 2), PageStream(cpu: 1, buffer: "web")])
    #expect(file.cpuCount == 3)
    #expect(file.metadata.clock == "mono")
    #expect(SmallTrace.pages(of: file) == [[1, 2], [20, 21, 22], [110]])
    #expect(file.damage.isEmpty)
  }

  @Test(arguments: TraceCompression.allCases)
  func severalCPUsAndInstancesOfVersion7(compression: TraceCompression) throws {
    let file = try TraceFile(bytes: SmallTrace.version7(compression: compression))
    #expect(file.version == 7)
    #expect(file.compression == compression)
    #expect(file.streams == [PageStream(cpu: 0), PageStream(cpu: 2), PageStream(cpu: 1, buffer: "web")])
    #expect(file.metadata.clock == "x86-tsc")
    #expect(file.metadata.timeScale == TimeScale(multiplier: 6_000_000, shift: 24))
    #expect(file.guests == [TraceGuest(name: "web01", traceID: 7, threads: [0: 1234, 1: 1235])])
    #expect(file.cpuCount == 4)
    #expect(SmallTrace.pages(of: file) == [[1, 2], [20, 21, 22], [110]])
    #expect(file.damage.isEmpty)
  }
}

/// `#expect` would print megabytes.
func expectSameBytes(_ left: [UInt8], _ right: [UInt8], sourceLocation: SourceLocation = #_sourceLocation) {
  let same = left == right
  #expect(same, "\(left.count) and \(right.count) bytes differ", sourceLocation: sourceLocation)
}

/// Every page of every stream, one after another.
func allPages(_ file: TraceFile) -> [UInt8] {
  var bytes: [UInt8] = []
  for stream in file.streams.indices {
    while let page = file.nextPage(stream: stream) { bytes.append(contentsOf: page) }
  }
  return bytes
}

/// Small files with everything in them: two CPUs with a gap between their numbers, and an instance.
enum SmallTrace {
  static let exitFormat = """
    name: kvm_exit
    ID: 5
    format:
    \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
    \tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

    print fmt: "%s", __print_symbolic(REC->exit_reason, { 12, "HLT" })

    """
  static let headerPage = """
    \tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;
    \tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;
    \tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;
    \tfield: char data;\toffset:16;\tsize:4080;\tsigned:1;

    """

  /// A page with one event, whose base timestamp is its mark.
  static func page(_ mark: UInt64) -> [UInt8] {
    var writer = SubBufferWriter(layout: PageLayout())
    _ = writer.append(timestamp: mark, payload: [5, 0, 0, 0, 9, 0, 0, 0])
    return writer.finish()
  }

  /// The marks of the pages of each stream.
  static func pages(of file: TraceFile) -> [[UInt64]] {
    file.streams.indices.map { stream in
      var marks: [UInt64] = []
      while let page = file.nextPage(stream: stream) { marks.append(page.loadUnaligned(as: UInt64.self)) }
      return marks
    }
  }

  static var texts: TraceFileTexts {
    TraceFileTexts(
      headerPage: Array(headerPage.utf8), headerEvent: Array("# compressed entry header\n".utf8),
      ftraceFormats: [], formats: [RawEventFormat(system: "kvm", name: "kvm_exit", text: Array(exitFormat.utf8))],
      commandLines: Array("9 CPU 0/KVM\n".utf8))
  }

  static func version7(compression: TraceCompression = .none) throws -> [UInt8] {
    let path = Fixture.temporary("small.dat")
    defer { try? FileManager.default.removeItem(atPath: path) }
    let contents = TraceFileContents(
      texts: texts, pageSize: 4096, clock: "x86-tsc", uname: "Linux host 6.12.0 x86_64", cpuCount: 4,
      timeScale: TimeScale(multiplier: 6_000_000, shift: 24), cpuStatistics: ["CPU: 0\nentries: 0\n"],
      guests: [TraceGuest(name: "web01", traceID: 7, threads: [0: 1234, 1: 1235])])
    let writer = try TraceFileWriter(path: path, contents: contents, compression: compression)
    try writer.beginBuffer()
    try writer.beginCPU(0)
    try writer.append(page(1) + page(2))
    try writer.beginCPU(1)
    try writer.beginCPU(2)
    for mark in 20...22 { try writer.append(page(UInt64(mark))) }
    try writer.beginBuffer(name: "web")
    try writer.beginCPU(1)
    try writer.append(page(110))
    try writer.finish()
    return try Fixture.bytes(path)
  }

  /// Written here byte by byte, as trace-cmd.dat.v6(5) describes it.
  static func version6() -> [UInt8] {
    var file: [UInt8] = []
    func number(_ value: UInt64, _ size: Int) {
      for index in 0..<size { file.append(UInt8(truncatingIfNeeded: value >> (8 * UInt64(index)))) }
    }
    func text(_ string: String) { file += Array(string.utf8) }
    func option(_ id: UInt64, _ data: [UInt8]) {
      number(id, 2)
      number(UInt64(data.count), 4)
      file += data
    }
    func patch(_ value: Int, at offset: Int) {
      for index in 0..<8 { file[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index)) }
    }
    file += [0x17, 0x08, 0x44]
    text("tracing6\0\0\u{8}")
    number(4096, 4)
    text("header_page\0")
    number(UInt64(headerPage.utf8.count), 8)
    text(headerPage + "header_event\0")
    number(3, 8)
    text("abc")
    number(0, 4)
    number(1, 4)
    text("kvm\0")
    number(1, 4)
    number(UInt64(exitFormat.utf8.count), 8)
    text(exitFormat)
    number(0, 4)
    number(0, 4)
    number(12, 8)
    text("9 CPU 0/KVM\n")
    number(3, 4)
    text("options  \0")
    option(4, Array("local [mono] boot\n\0".utf8))
    let link = file.count + 6
    option(3, [0, 0, 0, 0, 0, 0, 0, 0] + Array("web\0".utf8))
    number(0, 2)
    func flyrecord(_ cpus: [[UInt64]]) {
      text("flyrecord\0")
      let table = file.count
      for _ in cpus { number(0, 16) }
      number(7, 8)
      text("[mono]\n")
      for (cpu, marks) in cpus.enumerated() where !marks.isEmpty {
        while file.count % 4096 != 0 { file.append(0) }
        patch(file.count, at: table + 16 * cpu)
        patch(4096 * marks.count, at: table + 16 * cpu + 8)
        for mark in marks { file += page(mark) }
      }
    }
    flyrecord([[1, 2], [], [20, 21, 22]])
    patch(file.count, at: link)
    flyrecord([[], [110], []])
    return file
  }
}
