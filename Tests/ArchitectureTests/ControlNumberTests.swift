import Foundation
import Testing

@testable import Architecture

@Suite("The numbers of controls")
struct ControlNumberTests {
  /// Recordings have them in their sums: what a number stood for once it stands for in every version after.
  @Test("are those that recordings were written with; new ones come after them")
  func fixed() throws {
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("Fixtures/vectors/control-numbers.txt")
    let present = ControlID.all.map { "\($0.rawValue) \($0.word) \($0.bit.map(String.init) ?? "-") \($0.name)" }
    if ProcessInfo.processInfo.environment["VMCTOP_RECORD_GOLDEN"] != nil {
      try (present.joined(separator: "\n") + "\n").write(to: file, atomically: true, encoding: .utf8)
    }
    let fixed = try String(contentsOf: file, encoding: .utf8).split(separator: "\n").map(String.init)
    #expect(fixed.count >= 369)
    #expect(Array(present.prefix(fixed.count)) == fixed)
  }
}
