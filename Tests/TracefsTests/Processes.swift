import Foundation
import Glibc

/// The helper executable, beside the test executable.
let holderPath: String = {
  let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
  let beside = (own as NSString).deletingLastPathComponent + "/tracefs-holder"
  if FileManager.default.isExecutableFile(atPath: beside) { return beside }
  // Where a runner of its own loads the tests: the build folder of this package.
  return URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()
    .appendingPathComponent(".build/debug/tracefs-holder").path
}()

struct Finished {
  /// Exit status, or minus the signal's number.
  var status: Int32
  var output: String
  var errors: String
}

/// A child process with its output in a pipe.
final class Child {
  let process = Process()
  private let output = Pipe()
  private let errors = Pipe()

  init(_ path: String, _ arguments: [String], asUser user: Int? = nil) throws {
    if let user {
      process.executableURL = URL(fileURLWithPath: "/usr/bin/setpriv")
      process.arguments =
        ["--reuid=\(user)", "--regid=\(user)", "--clear-groups", "--bounding-set=-all", path] + arguments
    } else {
      process.executableURL = URL(fileURLWithPath: path)
      process.arguments = arguments
    }
    process.standardOutput = output
    process.standardError = errors
    // The runtime's backtracer would take seconds over each crash.
    process.environment = ProcessInfo.processInfo.environment.merging(["SWIFT_BACKTRACE": "enable=no"]) { $1 }
    try process.run()
  }

  /// The next line of its output; what follows it in the pipe goes to `finish`.
  func line() -> String {
    var bytes: [UInt8] = []
    var byte: UInt8 = 0
    while read(output.fileHandleForReading.fileDescriptor, &byte, 1) == 1, byte != 10 { bytes.append(byte) }
    return String(decoding: bytes, as: UTF8.self)
  }

  func finish() -> Finished {
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    let complaint = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    let status = process.terminationStatus
    return Finished(
      status: process.terminationReason == .uncaughtSignal ? -status : status, output: text, errors: complaint)
  }
}

func run(_ path: String, _ arguments: [String], asUser user: Int? = nil) throws -> Finished {
  try Child(path, arguments, asUser: user).finish()
}
