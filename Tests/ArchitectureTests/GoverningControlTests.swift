import Foundation
import RandomSupport
import Testing

@testable import Architecture

private struct Vector: CustomStringConvertible, Sendable {
  var line: Int
  var text: String
  var exit: KVMExit
  var msr: UInt32?
  var setting: ControlSetting?
  var word: String
  var bit: Int?
  var name: String
  var entry: UInt64?

  var description: String { "line \(line): \(text)" }
}

private func narrow<T: FixedWidthInteger>(_ value: UInt64) throws -> T { try #require(T(exactly: value)) }

private func vectors() throws -> [Vector] {
  try vectorLines("vectors/governing.txt").map { line, text in
    let halves = text.components(separatedBy: "|").map { $0.split(separator: " ").map(String.init) }
    try #require(halves.count == 2 && halves[0].count >= 2 && halves[1].count >= 2, "line \(line)")
    let isa = try #require(ISA(name: halves[0][0]), "line \(line)")
    let reason = try #require(parseNumber(halves[0][1]).flatMap(UInt32.init(exactly:)), "line \(line)")
    var exit = KVMExit(isa: isa, reason: reason)
    var msr: UInt32?
    var setting: ControlSetting?
    for fact in halves[0].dropFirst(2) {
      let parts = fact.components(separatedBy: "=")
      let value = try #require(parseNumber(parts[1]), "line \(line)")
      switch parts[0] {
      case "q": exit.info1 = value
      case "i": exit.interruptionInformation = try narrow(value)
      case "msr": msr = try narrow(value)
      case "primary":
        if setting == nil { setting = ControlSetting() }
        setting?.primary = try narrow(value)
      case "secondary":
        if setting == nil { setting = ControlSetting() }
        setting?.secondary = try narrow(value)
      default: Issue.record("line \(line): no fact \(parts[0])")
      }
    }
    let place = halves[1][0].components(separatedBy: ":")
    return Vector(
      line: line, text: text, exit: exit, msr: msr, setting: setting, word: place[0],
      bit: place.count > 1 ? Int(place[1]) : nil, name: halves[1][1],
      entry: halves[1].count > 2 ? parseNumber(halves[1][2]) : nil)
  }
}

@Suite struct GoverningControlTests {
  @Test func `Each exit is charged as the manuals and KVM say`() throws {
    for vector in try vectors() {
      let governing = governingControl(of: vector.exit, msr: vector.msr, setting: vector.setting)
      #expect(governing.control.word == vector.word, "\(vector)")
      #expect(governing.control.bit == vector.bit, "\(vector)")
      #expect(governing.control.name == vector.name, "\(vector)")
      #expect(governing.entry == vector.entry, "\(vector)")
    }
  }

  @Test func `The vectors cover every VMX reason`() throws {
    let covered = Set(try vectors().filter { $0.exit.isa == .vmx }.map { $0.exit.reason })
    for code in UInt32(0)...85 { #expect(covered.contains(code), "reason \(code)") }
  }

  @Test func `A fixed control is what every exit of the reason is charged to`() throws {
    for vector in try vectors() where vector.setting == nil {
      guard let fixed = fixedGoverningControl(isa: vector.exit.isa.rawValue, code: vector.exit.reason) else { continue }
      #expect(fixed == governingControl(of: vector.exit, msr: vector.msr).control, "\(vector)")
    }
    var generator = Dice(seed: 7)
    for isa in UInt32(0)...3 {
      for code in Array(UInt32(0)...0x410) + [0xffff, 0x1_0000, 0x8000_0010, 0x8000_0021, 0xf000_0000, .max] {
        guard let fixed = fixedGoverningControl(isa: isa, code: code) else { continue }
        for _ in 0..<20 {
          let random = generator.next()
          let exit = KVMExit(
            isa: ISA(rawValue: isa), reason: code, info1: random,
            interruptionInformation: UInt32(truncatingIfNeeded: random >> 7),
            errorCode: UInt32(truncatingIfNeeded: random))
          let msr = random & 1 == 0 ? nil : UInt32(truncatingIfNeeded: random >> 32)
          #expect(governingControl(of: exit, msr: msr).control == fixed, "isa \(isa) code \(code)")
        }
      }
    }
  }

  @Test
  func `Whatever the facts, an exit is charged to one control of its ISA, and one that the reason may be charged to`() {
    var generator = Dice(seed: 11)
    for _ in 0..<200_000 {
      let random = generator.next()
      let isa = UInt32(random & 3)
      let reason =
        UInt32(random >> 2 & 0x7f) | (random >> 20 & 7 == 0 ? UInt32(truncatingIfNeeded: generator.next()) : 0)
      let exit = KVMExit(
        isa: ISA(rawValue: isa), reason: reason, info1: generator.next() & (random >> 30 & 1 == 0 ? 0xfff : .max),
        interruptionInformation: UInt32(truncatingIfNeeded: generator.next()))
      let msr = random >> 40 & 1 == 0 ? nil : UInt32(truncatingIfNeeded: generator.next())
      let setting =
        random >> 41 & 1 == 0
        ? nil
        : ControlSetting(
          primary: UInt32(truncatingIfNeeded: generator.next()), secondary: UInt32(truncatingIfNeeded: generator.next())
        )
      let control = governingControl(of: exit, msr: msr, setting: setting).control
      if Int(control.rawValue) >= ControlID.count { Issue.record("\(exit): number \(control.rawValue)") }
      let number = control.rawValue
      if number > 1 && (number >= ControlNumber.nptNotPresent) != (isa == 2) {
        Issue.record("\(exit) charged to \(control.name)")
      }
    }
  }

  @Test func `Every SVM exit with an intercept bit is charged to that bit`() throws {
    var count = 0
    for row in ExitReason.svmRows {
      guard let name = row.svm?.interceptName else { continue }
      count += 1
      let control = try #require(fixedGoverningControl(isa: 2, code: row.code))
      #expect(control.word == "intercept")
      #expect(control.bit == Int(row.code))
      #expect(control.name == name)
      #expect(ControlID(intercept: row.code) == control)
    }
    #expect(count == 167)
    #expect(ControlID(intercept: 0xa7) == nil)
  }

  @Test func `An SVM exit without an intercept bit is never unknown`() {
    for row in ExitReason.svmRows where row.svm?.interceptName == nil {
      #expect(governingControl(of: KVMExit(isa: .svm, reason: row.code)).control != .unknown, "\(row.name)")
    }
  }

  @Test func `A VMX reason without controls in the table is charged to none, and one with controls to one of them`() {
    // EPT entries and VM-entry checks have no name of one control in the table; the others must name what is charged.
    let byOtherMeans: Set<UInt32> = [4, 5, 6, 33, 34, 48, 49]
    for row in ExitReason.vmxRows where !byOtherMeans.contains(row.code) {
      let control = fixedGoverningControl(isa: 1, code: row.code)
      guard let governing = row.governingControls else {
        #expect(control == .unconditional || (control == .unknown && row.vmx?.information == nil), "\(row.name)")
        continue
      }
      guard let control else { continue }
      let bit = "\(control.word) bit \(control.bit ?? -1)"
      #expect(governing.contains(control.name) || (governing + ";").contains(bit + ";"), "\(row.name): \(control.name)")
    }
  }

  @Test func `A control knows the reasons that are charged to it`() throws {
    let hlt = try #require(ControlID(word: .primary, bit: 7))
    #expect(hlt.reasons.map(\.name) == ["HLT"])
    let rdtsc = try #require(ControlID(word: .primary, bit: 12))
    #expect(rdtsc.reasons.map(\.name) == ["RDTSC", "RDTSCP", "UMWAIT", "TPAUSE"])
    let pageFault = try #require(ControlID(exceptionVector: 14))
    #expect(pageFault.reasons.map(\.name) == ["EXCEPTION_NMI"])
    #expect(ControlID(exceptionVector: 32) == nil)
    #expect(ControlID.unconditional.reasons.contains { $0.name == "CPUID" })
  }

  @Test func `The bits of an MSR are where the manuals have them`() {
    #expect(MSRBitmap.position(of: 0x10, isWrite: false) == BitmapPosition(byte: 2, bit: 0))
    #expect(MSRBitmap.position(of: 0xc000_0080, isWrite: true) == BitmapPosition(byte: 0xc10, bit: 0))
    #expect(MSRBitmap.position(of: 0x2000, isWrite: false) == nil)
    #expect(MSRBitmap.position(of: 0x4000_0000, isWrite: false) == nil)
    #expect(MSRBitmap.position(of: 0x8000_0000, isWrite: false) == nil)
    #expect(MSRPermissionMap.position(of: 0xc001_1fff, isWrite: true) == BitmapPosition(byte: 0x17ff, bit: 7))
    #expect(MSRPermissionMap.position(of: 0x4b56_4d00, isWrite: true) == nil)
    #expect(IOBitmap.position(of: 0x8000).field.rawValue == 0x2002)
    #expect(ShadowBitmap.position(of: VMCSEncoding(rawValue: 0x681e)) == BitmapPosition(byte: 0xd03, bit: 6))
    #expect(ShadowBitmap.position(of: VMCSEncoding(rawValue: 0x8000)) == nil)
  }
}
