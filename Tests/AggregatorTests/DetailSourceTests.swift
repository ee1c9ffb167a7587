import Architecture
import Foundation
import Testing

@testable import Aggregator

@Suite("Where the detail of each reason comes from")
struct DetailSourceTests {
  /// Against what was reviewed once; VMCTOP_RECORD_GOLDEN=1 writes the fixture anew.
  @Test("is what it was, and so is which reasons halt") func sources() throws {
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("Fixtures/vectors/reason-details.txt")
    var codes: [(UInt32, UInt32)] = (ExitReason.vmxRows + ExitReason.svmRows).map { ($0.isa.rawValue, $0.code) }
    codes += [(1, 86), (1, 0x1_000c), (2, 0xa7), (2, 0x404), (3, 0), (3, 12)]
    let lines = codes.map { isa, code in
      let source = ReasonTraits.of(isa: ISA(rawValue: isa), code: code).detail
      let halts = ReasonCode(isa: isa, code: code).halts
      let text = "\(source)".replacing("Aggregator.", with: "").replacing("Architecture.", with: "")
      return "\(isa) \(String(code, radix: 16)) \(text)\(halts ? " halts" : "")"
    }
    if ProcessInfo.processInfo.environment["VMCTOP_RECORD_GOLDEN"] != nil {
      try (lines.joined(separator: "\n") + "\n").write(to: file, atomically: true, encoding: .utf8)
    }
    let expected = try String(contentsOf: file, encoding: .utf8).split(separator: "\n").map(String.init)
    #expect(lines == expected)
  }
}
