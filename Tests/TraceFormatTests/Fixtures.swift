import Foundation
import TraceFormat

/// Files of the repository, found from this source file.
enum Fixture {
  static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()
  static let intel = root.appendingPathComponent("Tests/Fixtures/intel-6.1")
  /// A recording by trace-cmd of a kvm_intel host: 1 CPU, 235,651 events.
  static let demo = root.appendingPathComponent("Sources/CDemo/demo.trace.dat").path

  static func text(_ name: String) throws -> String {
    try String(contentsOf: intel.appendingPathComponent(name), encoding: .utf8)
  }

  static func format(_ name: String) throws -> EventFormat {
    try EventFormat.parse(text("formats/\(name).format"), system: "kvm")
  }

  static var formatFiles: [String] {
    get throws {
      try FileManager.default.contentsOfDirectory(atPath: intel.appendingPathComponent("formats").path).sorted()
    }
  }

  static func bytes(_ path: String) throws -> [UInt8] {
    [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
  }

  /// A path in the temporary folder that no other test uses.
  static func temporary(_ name: String) -> String {
    NSTemporaryDirectory() + "vmctop-test-\(UUID().uuidString)-\(name)"
  }
}

/// The real trace-cmd, as the oracle.
enum TraceCmd {
  static let path = ["/usr/bin/trace-cmd", "/usr/local/bin/trace-cmd"].first {
    FileManager.default.isExecutableFile(atPath: $0)
  }
  static var isPresent: Bool { path != nil }

  struct Failed: Error { var status: Int32, output: String }

  /// Runs it, and returns what it writes to stdout.
  static func run(_ arguments: [String]) throws -> Data {
    let output = Fixture.temporary("stdout")
    _ = FileManager.default.createFile(atPath: output, contents: nil)
    defer { try? FileManager.default.removeItem(atPath: output) }
    guard let path, let handle = FileHandle(forWritingAtPath: output) else {
      throw Failed(status: -1, output: "trace-cmd is not here")
    }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    process.standardOutput = handle
    process.standardError = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    let data = try Data(contentsOf: URL(fileURLWithPath: output))
    guard process.terminationStatus == 0 else {
      throw Failed(status: process.terminationStatus, output: String(decoding: data.prefix(500), as: UTF8.self))
    }
    return data
  }

  struct Line: Equatable {
    var cpu: Int
    var nanoseconds: UInt64
    var name: String
  }

  /// The events of `report -t -R`, in the order of the report (merged over CPUs by time).
  static func report(_ file: String, arguments: [String] = []) throws -> [Line] {
    var lines: [Line] = []
    for line in try run(["report", "-t", "-R", "-i", file] + arguments).split(separator: UInt8(ascii: "\n")) {
      // `comm-123   [000]     3.491020629: kvm_entry:   ...`; instances put `name: ` in front.
      guard let open = line.firstIndex(of: UInt8(ascii: "[")),
        let close = line[open...].firstIndex(of: UInt8(ascii: "]")),
        let cpu = Int(String(decoding: line[(open + 1)..<close], as: UTF8.self))
      else { continue }
      let fields = line[(close + 1)...].split(separator: UInt8(ascii: ":"), maxSplits: 2)
      guard fields.count == 3 else { continue }
      let time = String(decoding: fields[0], as: UTF8.self).trimmingCharacters(in: .whitespaces)
      let parts = time.split(separator: ".")
      guard parts.count == 2, let seconds = UInt64(parts[0]), let fraction = UInt64(parts[1]) else { continue }
      let name = String(decoding: fields[1], as: UTF8.self).trimmingCharacters(in: .whitespaces)
      lines.append(Line(cpu: cpu, nanoseconds: seconds * 1_000_000_000 + fraction, name: name))
    }
    return lines
  }
}
