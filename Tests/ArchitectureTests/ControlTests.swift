import Foundation
import Testing

@testable import Architecture

@Suite struct ControlTests {
  @Test func `Every bit of the tables is one control, under the same word, bit and name`() {
    #expect(ControlBit.rows.count == 141)
    var seen: Set<ControlID> = []
    for row in ControlBit.rows {
      let control = row.id
      #expect(control != .unknown, "\(row.name)")
      #expect(seen.insert(control).inserted, "\(row.name)")
      #expect(control.word == row.word.rawValue)
      #expect(control.bit == row.bit)
      #expect(control.name == row.name)
      #expect(control.title == row.sdmName)
      #expect(control.controlBit == row)
      #expect(control.controlWord == row.word)
      #expect(row.bit < row.word.width)
      #expect(ControlID.lookup(word: row.word.rawValue, bit: row.bit) == control)
    }
  }

  @Test func `Controls are dense, and word, bit and name tell any two apart`() {
    #expect(ControlDescription.rows.count == ControlID.count)
    let all = ControlID.all
    #expect(all.map { Int($0.rawValue) } == Array(0..<ControlID.count))
    let keys = Set(all.map { "\($0.word):\($0.bit.map(String.init) ?? "-"):\($0.name)" })
    #expect(keys.count == all.count)
    #expect(all.allSatisfy { !$0.word.isEmpty && !$0.name.isEmpty && !$0.title.isEmpty })
  }

  @Test func `A number beyond the last control prints as unknown`() {
    #expect(ControlID(rawValue: .max).name == "UNKNOWN")
    #expect(ControlID(rawValue: UInt16(ControlID.count)).word == "unknown")
  }

  @Test(arguments: [
    (ControlNumber.unconditional, "none", "UNCONDITIONAL"), (ControlNumber.unknown, "unknown", "UNKNOWN"),
    (ControlNumber.exceptionBitmap, "exception_bitmap", "EXCEPTION_BITMAP"),
    (ControlNumber.exceptionBitmap + 31, "exception_bitmap", "EXCEPTION_BITMAP"),
    (ControlNumber.msrBitmapRead, "msr_bitmap_read", "MSR_BITMAP"),
    (ControlNumber.msrBitmapWrite, "msr_bitmap_write", "MSR_BITMAP"),
    (ControlNumber.ioBitmapA, "io_bitmap", "IO_BITMAP_A"), (ControlNumber.ioBitmapB, "io_bitmap", "IO_BITMAP_B"),
    (ControlNumber.cr0Mask, "cr_mask", "CR0_GUEST_HOST_MASK"),
    (ControlNumber.cr4Mask, "cr_mask", "CR4_GUEST_HOST_MASK"),
    (ControlNumber.cr3Target, "cr3_target", "CR3_TARGET_COUNT"),
    (ControlNumber.eptNotPresent, "ept", "EPT_VIOLATION_NOT_PRESENT"),
    (ControlNumber.eptRead, "ept", "EPT_VIOLATION_READ"),
    (ControlNumber.eptWrite, "ept", "EPT_VIOLATION_WRITE"), (ControlNumber.eptExecute, "ept", "EPT_VIOLATION_EXECUTE"),
    (ControlNumber.eptMisconfig, "ept", "EPT_MISCONFIG"),
    (ControlNumber.vmreadBitmap, "vmread_bitmap", "VMREAD_BITMAP"),
    (ControlNumber.vmwriteBitmap, "vmwrite_bitmap", "VMWRITE_BITMAP"),
    (ControlNumber.eoiExitBitmap, "eoi_exit_bitmap", "EOI_EXIT_BITMAP"),
    (ControlNumber.nptNotPresent, "npt", "NPF_NOT_PRESENT"), (ControlNumber.nptRead, "npt", "NPF_READ"),
    (ControlNumber.nptWrite, "npt", "NPF_WRITE"), (ControlNumber.nptExecute, "npt", "NPF_EXECUTE"),
    (ControlNumber.nptReserved, "npt", "NPF_RESERVED"), (ControlNumber.avic, "avic", "AVIC_ENABLE_MASK"),
    (ControlNumber.intercept, "intercept", "INTERCEPT_CR0_READ"),
    (ControlNumber.count - 1, "intercept", "INTERCEPT_IDLE_HLT"),
  ]) func `Each control has its number`(_ number: UInt16, _ word: String, _ name: String) {
    let control = ControlID(rawValue: number)
    #expect(control.word == word)
    #expect(control.name == name)
  }

  @Test func `The default1 bits of the rows are the masks of the manual`() {
    for word in ControlWord.allCases {
      let mask = ControlBit.rows(of: word).filter(\.isDefault1).reduce(UInt64(0)) { $0 | 1 << UInt64($1.bit) }
      #expect(mask == word.default1, "\(word)")
    }
  }

  @Test func `Rows go word by word, bits ascending`() {
    for (a, b) in zip(ControlBit.rows, ControlBit.rows.dropFirst()) where a.word == b.word { #expect(a.bit < b.bit) }
    #expect(ControlWord.allCases.map { ControlBit.rows(of: $0).count }.reduce(0, +) == 141)
  }

  @Test func `A control word's field and MSRs are those of the catalogue`() throws {
    for word in ControlWord.allCases {
      let field = try #require(VMCSField.lookup(encoding: word.encoding.rawValue))
      #expect(field.area == .control)
      #expect((field.width == .bits64) == (word.width == 64))
      #expect(msrName(word.capabilityMSR)?.hasPrefix("IA32_VMX_") == true)
      if let trueMSR = word.trueCapabilityMSR { #expect(msrName(trueMSR)?.hasPrefix("IA32_VMX_TRUE_") == true) }
    }
  }

  @Test func `A capability says which bits are forced, unsupported and switchable`() {
    let capability = ControlCapability(word: .pin, msr: 0x0000_007f_0000_0016)
    #expect(capability.state(bit: 0) == .switchable)
    #expect(capability.state(bit: 1) == .forcedOn)
    #expect(capability.state(bit: 7) == .unsupported)
    #expect(capability.state(bit: 32) == .unsupported)
    #expect(capability.state(bit: -1) == .unsupported)
    #expect(ControlCapability(word: .pin, allowed0: 1, allowed1: 0).state(bit: 0) == .contradictory)
  }

  @Test func `Adjusting forces what must be 1 and drops what cannot be`() {
    let capability = ControlCapability(word: .pin, msr: 0x0000_007f_0000_0016)
    #expect(capability.adjust(wanted: 0xa9) == 0x3f)
    #expect(capability.violations(of: 0xa9) == 0x96)
    #expect(capability.violations(of: 0x3f) == 0)
  }

  @Test func `The 64-bit words have one allowed-1 setting`() {
    let capability = ControlCapability(word: .tertiary, msr: 0x8000_0000_0000_0010)
    #expect(capability.state(bit: 4) == .switchable)
    #expect(capability.state(bit: 63) == .switchable)
    #expect(capability.state(bit: 0) == .unsupported)
    #expect(capability.adjust(wanted: .max) == 0x8000_0000_0000_0010)
  }

  @Test func `The control words of a real dump have no bit that the catalogue does not know`() throws {
    let dump = try fixture("intel-6.1/dump_vmcs.txt")
    let words: [(ControlWord, String)] = [
      (.pin, "PinBased"), (.primary, "CPUBased"), (.secondary, "SecondaryExec"), (.tertiary, "TertiaryExec"),
      (.exit, "ExitControls"), (.entry, "EntryControls"),
    ]
    for (word, label) in words {
      let text = try #require(try matches("\(label)=(?:0x)?([0-9a-f]+)", in: dump).first?[1])
      let value = try #require(UInt64(text, radix: 16))
      let decoded = Decoded.controls(word, value)
      #expect(!decoded.hasReservedBits, "\(label): \(decoded.summary)")
      for part in decoded.parts { #expect(value >> UInt64(try #require(Int(part.bits))) & 1 == 1) }
      #expect(decoded.parts.count == value.nonzeroBitCount)
    }
  }

  @Test func `The controls that a real dump has on are those that KVM requires`() throws {
    for row in ControlBit.rows where row.kvmUse == .required || row.kvmUse == .forced {
      let value: UInt64
      switch row.word {
      case .pin: value = 0x3f
      case .primary: value = 0xb598_6dfa
      case .exit: value = 0x2b_efff
      case .entry: value = 0xd1ff
      default: continue
      }
      #expect(value >> UInt64(row.bit) & 1 == 1, "\(row.name)")
    }
  }
}

@Suite struct ControlDependencyTests {
  /// The words of the real dump.
  let real = ControlSetting(
    pin: 0x3f, primary: 0xb598_6dfa, secondary: 0x0201_2ce2, tertiary: 0, exit: 0x2b_efff, entry: 0xd1ff)

  @Test func `A setting that KVM made breaks no rule`() { #expect(real.brokenDependencies.isEmpty) }

  @Test func `A setting knows the value of each bit whose word it knows`() throws {
    #expect(real.value(of: try #require(ControlID(word: .primary, bit: 7))) == true)
    #expect(real.value(of: try #require(ControlID(word: .primary, bit: 25))) == false)
    #expect(real.value(of: try #require(ControlID(word: .secondaryExit, bit: 0))) == nil)
    #expect(real.value(of: .unconditional) == nil)
    #expect(ControlSetting().value(of: try #require(ControlID(word: .pin, bit: 0))) == nil)
  }

  @Test func `Posted interrupts alone lack virtual-interrupt delivery and acknowledge on exit`() {
    var setting = real
    setting.pin = 0xbf
    setting.exit = 0x2b_6fff
    #expect(
      setting.brokenDependencies.map(\.other.name) == [
        "SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY", "VM_EXIT_ACK_INTR_ON_EXIT",
      ])
    setting.secondary = nil
    #expect(setting.brokenDependencies.map(\.other.name) == ["VM_EXIT_ACK_INTR_ON_EXIT"])
  }

  @Test func `The two APIC virtualization modes exclude each other`() {
    var setting = ControlSetting(primary: 0x8020_0000, secondary: 0x11)
    #expect(setting.brokenDependencies.map(\.rule) == [.excludes])
    // Without the activation bit the secondary word counts as 0.
    setting.primary = 0x0020_0000
    #expect(setting.brokenDependencies.isEmpty)
  }

  @Test func `Every rule is about two bits that the catalogue has`() {
    for rule in ControlDependency.all { #expect(rule.control.controlBit != nil && rule.other.controlBit != nil) }
  }
}
