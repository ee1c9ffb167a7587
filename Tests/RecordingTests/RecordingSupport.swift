import Foundation
import TraceFormat

@testable import Recording

/// A folder that is gone afterwards.
final class TemporaryFolder {
  let path: String

  init() throws {
    path = FileManager.default.temporaryDirectory.appendingPathComponent("vmctop-recording-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func file(_ name: String = "r.vmctop") -> String { "\(path)/\(name)" }
}

enum Sample {
  static let layout = PageLayout()

  static let headerPage = Array(
    """
    \tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;
    \tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;
    \tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;
    \tfield: char data;\toffset:16;\tsize:4080;\tsigned:0;

    """.utf8)

  static var header: RecordingHeader {
    var header = RecordingHeader()
    header.program = "vmctop test"
    header.hostName = "host"
    header.kernelRelease = "6.1.0"
    header.uname = "Linux host 6.1.0"
    header.cpuCount = 4
    header.headerPage = headerPage
    header.headerEvent = Array("# compressed entry header\n".utf8)
    header.formats = [
      RawEventFormat(
        system: "kvm", name: "kvm_exit",
        text: Array(
          "name: kvm_exit\nID: 77\nformat:\n\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n".utf8))
    ]
    header.parameters = [RecordingHeader.Parameter(name: "kvm.halt_poll_ns", value: "200000")]
    header.commandLine = ["vmctop", "record", "-o", "r.vmctop"]
    header.eventSet = "standard"
    header.processes = [12, -1]
    header.startedAt = 1000
    header.startedAtRealtime = 1_700_000_000_000_000_000
    header.secondsEast = -3600
    return header
  }

  /// Sub-buffers of one CPU: events of a few bytes, a microsecond apart, every page another number of them.
  static func pages(cpu: Int, count: Int, from start: UInt64 = 1_000_000) -> [[UInt8]] {
    var writer = SubBufferWriter(layout: layout)
    var time = start
    var state = UInt64(cpu) &* 0x9e37_79b9_7f4a_7c15 &+ 1
    return (0..<count).map { page in
      for _ in 0..<(10 + (page * 7 + cpu) % 60) {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        var payload = [UInt8](littleEndian: UInt16(77))
        payload.append(littleEndian: UInt16(0))
        payload.append(littleEndian: UInt32(100 + cpu))
        payload.append(littleEndian: state >> 40)
        _ = writer.append(timestamp: time, payload: payload)
        time += 1000
      }
      return writer.finish()
    }
  }

  /// Writes pages as the recorder does, a block every so many pages.
  static func write(
    _ pages: [[UInt8]], cpu: UInt32, to writer: RecordingWriter, perBlock: Int = 8, force: Bool = false
  ) {
    for start in stride(from: 0, to: pages.count, by: perBlock) {
      var block = PageBlock(cpu: cpu, bytes: [])
      for page in pages[start..<min(start + perBlock, pages.count)] {
        page.withUnsafeBytes { block.add($0) }
      }
      writer.write(block, force: force)
    }
  }

  /// The pages of each CPU.
  static func read(_ source: some PageSource) -> [Int: [[UInt8]]] {
    var result: [Int: [[UInt8]]] = [:]
    for stream in source.streams.indices {
      while let page = source.nextPage(stream: stream) {
        result[source.streams[stream].cpu, default: []].append(Array(page))
      }
    }
    return result
  }

  static func events(_ page: [UInt8]) -> Int {
    page.withUnsafeBytes { bytes in
      var cursor = SubBufferCursor(page: bytes, layout: layout)
      var count = 0
      while cursor.next() { count += 1 }
      return count
    }
  }

  static func missed(_ page: [UInt8]) -> MissedEvents {
    page.withUnsafeBytes { SubBufferCursor(page: $0, layout: layout).missed }
  }

  /// The same random numbers each time.
  struct Generator: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return state
    }
  }
}

extension RecordingFile {
  func allPages() throws -> [Int: [[UInt8]]] { Sample.read(try pages()) }
}

extension PageBlock {
  mutating func add(_ page: UnsafeRawBufferPointer) {
    var threads: Set<Int32> = []
    append(page, layout: Sample.layout, threads: &threads)
  }
}
