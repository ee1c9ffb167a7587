import Foundation
import Testing

@testable import Architecture

/// What the tables say of every reason, against what was reviewed once: a row that is changed by accident fails here, and one
/// that is changed on purpose shows as a line of the fixture (VMCTOP_RECORD_GOLDEN=1 writes it anew).
@Suite("What governs each reason")
struct CatalogueFixtureTests {
  /// Qualifications that reach every branch: each access of a control register, permissions, ports, MSRs, vectors.
  private static let qualifications: [UInt64] =
    (0...0x4f).map { $0 } + [
      0x80, 0x87, 0x8e, 0xb8, 0x181, 0x182, 0x184, 0x1ff, 0x300, 0x3f8_0000, 0x7fff_0000, 0x8000_0000, 0xffff_0008,
      0x6e0, 0xc000_0080, 0x4000_0000, 0x1_0000_0004, 0x1_0000_000d, .max,
    ]
  private static let interruptions: [UInt32] = [
    0, 0x8000_0030, 0x8000_0202, 0x8000_030e, 0x8000_0302, 0x8000_0506, 0x8000_0603, 0x8000_0325, 0x8000_0400,
  ]
  private static let msrs: [UInt32?] = [nil, 0x10, 0x4000_0000, 0xc000_0080]

  private static let settings: [ControlSetting?] = {
    let all = UInt32.max
    var result: [ControlSetting?] = [nil, ControlSetting(), ControlSetting(primary: all), ControlSetting(primary: 0)]
    for bit in [25, 28, 30] as [UInt32] { result.append(ControlSetting(primary: all & ~(1 << bit), secondary: all)) }
    for bits in [1 << 14, 1 << 8, 1 << 9, 1 << 8 | 1 << 9] as [UInt32] {
      result.append(ControlSetting(primary: all, secondary: all & ~bits))
    }
    result.append(ControlSetting(primary: all & ~(1 << 31), secondary: all))
    result.append(ControlSetting(secondary: all & ~(1 << 14)))
    return result
  }()

  private static func line(_ isa: ISA, _ code: UInt32) -> String {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    var seen: [ControlID: Bool] = [:]
    func mix(_ value: UInt64) { hash = (hash ^ value) &* 0x100_0000_01b3 }
    func take(_ exit: KVMExit, _ msr: UInt32?, _ setting: ControlSetting?) {
      let governing = governingControl(of: exit, msr: msr, setting: setting)
      mix(UInt64(governing.control.rawValue))
      mix(governing.entry ?? 0xdead)
      mix(governing.entry == nil ? 1 : 2)
      seen[governing.control, default: false] = seen[governing.control, default: false] || setting == nil
    }
    for setting in settings {
      for msr in msrs {
        for information in interruptions {
          take(KVMExit(isa: isa, reason: code, info1: 0, interruptionInformation: information), msr, setting)
        }
        for qualification in qualifications {
          take(KVMExit(isa: isa, reason: code, info1: qualification), msr, setting)
        }
      }
    }
    func text(_ control: ControlID) -> String {
      "\(control.word):\(control.bit.map(String.init) ?? "-"):\(control.name)"
    }
    let fixed = fixedGoverningControl(isa: isa.rawValue, code: code).map(text) ?? "-"
    let dependent = dependentControls(isa: isa.rawValue, code: code).map(text).joined(separator: ",")
    let charged = seen.sorted { $0.key < $1.key }.map { ($0.value ? "" : "?") + text($0.key) }
    let shown = charged.count > 6 ? "\(charged.count) controls" : charged.joined(separator: ",")
    return
      "\(isa.name) \(String(code, radix: 16)) \(String(hash, radix: 16)) fixed=\(fixed) may=\(dependent) charged=\(shown)"
  }

  @Test("is what it was: fixed, by the exit's facts, and by the control words") func governing() throws {
    var lines: [String] = []
    for code in Array(UInt32(0)...90) + [0xffff, 0x1_0000, 0x1_000c, 0x8000_0021, 0x800_0030, .max] {
      lines.append(Self.line(.vmx, code))
    }
    let others: [UInt32] = [0xa7, 0x3ff, 0x404, 0x500, 0x8000_0000, 0x8000_0006, 0x8000_0019, 0xf000_0001]
    for code in ExitReason.svmRows.map(\.code) + others { lines.append(Self.line(.svm, code)) }
    for code in [0, 12, .max] as [UInt32] { lines.append(Self.line(ISA(rawValue: 3), code)) }
    try hold(lines, to: "vectors/governing-table.txt")
  }

  @Test("is read per exit from plain values, which are those of the rows") func traits() {
    #expect(_isPOD(ReasonTraits.self))
    for reason in ExitReason.vmxRows + ExitReason.svmRows {
      let traits = ReasonTraits.of(isa: reason.isa, code: reason.code)
      #expect(traits.rule == reason.rule && traits.detail == reason.detail && traits.halts == reason.halts)
    }
    #expect(ReasonTraits.of(isa: .svm, code: 0x8000_0000).rule == .unknown)
  }

  @Test("is printed, with its remedies, as it was") func texts() throws {
    var lines: [String] = []
    for reason in ExitReason.vmxRows + ExitReason.svmRows {
      lines.append(
        "\(reason.isa.name) \(String(reason.code, radix: 16)) \(reason.name)\t\(reason.governingControls ?? "-")\t"
          + (reason.knobs ?? "-"))
    }
    try hold(lines, to: "vectors/reason-texts.txt")
  }

  @Test("and every field of the VMCS is listed where it was, and said to be had where it was") func fields() throws {
    let lines = VMCSField.rows.map {
      "\(String($0.encoding.rawValue, radix: 16)) \($0.name)\t\(StateField($0).group)\t\($0.group)\t"
        + ($0.valueWithoutVMREAD ?? "-")
    }
    try hold(lines, to: "vectors/field-groups.txt")
  }

  private func hold(_ lines: [String], to path: String) throws {
    if ProcessInfo.processInfo.environment["VMCTOP_RECORD_GOLDEN"] != nil {
      let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      try (lines.joined(separator: "\n") + "\n")
        .write(to: tests.appendingPathComponent("Fixtures/\(path)"), atomically: true, encoding: .utf8)
    }
    let expected = try fixture(path).split(separator: "\n").map(String.init)
    #expect(lines.count == expected.count)
    for (line, wanted) in zip(lines, expected) { #expect(line == wanted) }
  }
}
