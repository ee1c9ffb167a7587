import Architecture
import FakeVMM
import Foundation
import RandomSupport
import Testing

@testable import KVMHost

@Suite("What info registers prints") struct QEMURegistersTests {
  private func values(_ text: String, _ isa: ISA) -> [String: UInt64] {
    Dictionary(
      uniqueKeysWithValues: QEMURegisters.readings(text, isa: isa, readAt: 7).map { ($0.field.name, $0.value ?? .max) })
  }

  /// The first vCPU of the recording, as text.
  private func recorded() throws -> String {
    struct Answer: Decodable { var `return`: String }
    return try JSONDecoder().decode(Answer.self, from: Data(recordedAnswers[3].utf8)).return
  }

  @Test func becomesFieldsOfTheVMCS() throws {
    let readings = QEMURegisters.readings(try recorded(), isa: .vmx, readAt: 7)
    let values = values(try recorded(), .vmx)
    for (name, value) in [
      ("RAX", 0x2269_9e6c), ("R8", 0x5bfd8e), ("R9", 0xffeb_4efb), ("R15", 0xcbf8_a87d), ("RDI", 0x7ffc_f4d8_dd38),
      ("GUEST_RIP", 0x57a0c2), ("GUEST_RSP", 0x7ffc_f4d8_dcb8), ("GUEST_RFLAGS", 0x282), ("CPL", 3), ("II", 0),
      ("A20", 1),
      ("SMM", 0), ("HLT", 0), ("GUEST_CS_SELECTOR", 0x33), ("GUEST_CS_BASE", 0), ("GUEST_CS_LIMIT", 0xffff_ffff),
      ("GUEST_CS_AR_BYTES", 0xa0fb), ("GUEST_SS_AR_BYTES", 0xc0f3), ("GUEST_ES_AR_BYTES", 0x10010),
      ("GUEST_FS_BASE", 0x1bb_73c0), ("GUEST_LDTR_AR_BYTES", 0x10002), ("GUEST_TR_SELECTOR", 0x40),
      ("GUEST_TR_BASE", 0xffff_fe00_0000_3000), ("GUEST_TR_AR_BYTES", 0x8b), ("GUEST_GDTR_BASE", 0xffff_fe00_0000_1000),
      ("GUEST_GDTR_LIMIT", 0x7f), ("GUEST_IDTR_BASE", 0xffff_fe00_0000_0000), ("GUEST_IDTR_LIMIT", 0xfff),
      ("CR0", 0x8005_0033), ("CR2", 0x1bb_b3c8), ("GUEST_CR3", 0x280_c004), ("CR4", 0x33_0ef0), ("DR3", 0),
      ("DR6", 0xffff_0ff0), ("GUEST_DR7", 0x400), ("GUEST_IA32_EFER", 0xd01),
    ] as [(String, UInt64)] { #expect(values[name] == value, "\(name)") }
    // 15 general registers, RSP, RIP, RFLAGS, 5 flags, 8 segments of 4, 2 tables of 2, 4 CRs, 6 DRs, EFER.
    #expect(readings.count == 15 + 3 + 5 + 32 + 4 + 4 + 6 + 1)
    #expect(
      readings.allSatisfy { $0.provenance == .measured && $0.readAt == 7 && $0.how.hasPrefix("QMP: info registers") })
    // A VMCS field keeps its encoding.
    #expect(readings.first { $0.field.name == "GUEST_RIP" }?.field.place == 0x681e)
    #expect(readings.first { $0.field.name == "GUEST_CS_AR_BYTES" }?.field.kind == .vmcs)
    #expect(readings.filter { $0.how != QEMURegisters.how }.map(\.field.name) == ["CR4"])
  }

  @Test func becomesFieldsOfTheVMCB() throws {
    let values = values(try recorded(), .svm)
    for (name, value) in [
      ("RAX", 0x2269_9e6c), ("RIP", 0x57a0c2), ("RSP", 0x7ffc_f4d8_dcb8), ("save.rflags", 0x282),
      ("save.cpl", 3),
      ("save.cs.selector", 0x33), ("save.cs.attrib", 0xafb), ("save.cs.limit", 0xffff_ffff), ("save.ss.attrib", 0xcf3),
      ("save.ldtr.attrib", 2), ("save.tr.attrib", 0x8b), ("save.tr.base", 0xffff_fe00_0000_3000),
      ("save.gdtr.base", 0xffff_fe00_0000_1000), ("save.idtr.limit", 0xfff), ("CR0", 0x8005_0033), ("CR4", 0x33_0ef0),
      ("EFER", 0xd01), ("CR3", 0x280_c004), ("DR7", 0x400), ("DR6", 0xffff_0ff0), ("CR2", 0x1bb_b3c8),
    ] as [(String, UInt64)] { #expect(values[name] == value, "\(name)") }
    #expect(!values.keys.contains { $0.hasPrefix("GUEST_") })
    let readings = QEMURegisters.readings(try recorded(), isa: .svm, readAt: 7)
    #expect(readings.first { $0.field.name == "save.rflags" }?.field.place == 0x570)
    #expect(readings.first { $0.field.name == "save.tr.base" }?.field.place == 0x498)
  }

  @Test func ofThe32BitFormatIsAsWideAsItWasPrinted() {
    let text = """
      EAX=a4a5a6a7 EBX=b4b5b6b7 ECX=c4c5c6c7 EDX=d4d5d6d7
      ESI=54555657 EDI=dddedfd0 EBP=bcbdbebf ESP=00004fe0
      EIP=000f01e0 EFL=00003cd7 [DOSZAPC] CPL=0 II=1 A20=1 SMM=0 HLT=1
      FS =0038 22334000 34567fff 00c39300 DPL=0 DS   [-WA]
      GDT=     ffffff8000006000 0000007f
      CR0=80050033 CR2=000000000bad5eed CR3=0000000000010018 CR4=000006a8
      """
    let readings = QEMURegisters.readings(text, isa: .vmx, readAt: 7)
    func reading(_ name: String) -> FieldReading? { readings.first { $0.field.name == name } }
    #expect(reading("RAX")?.value == 0xa4a5_a6a7 && reading("RAX")?.field.width == 32)
    #expect(reading("RAX")?.how == "QMP: info registers, which prints the low 32 bits")
    // The base of FS is 0x7f1122334000.
    #expect(reading("GUEST_FS_BASE")?.value == 0x2233_4000 && reading("GUEST_FS_BASE")?.field.width == 32)
    #expect(reading("GUEST_FS_LIMIT")?.value == 0x3456_7fff && reading("GUEST_FS_AR_BYTES")?.value == 0xc093)
    #expect(reading("GUEST_GDTR_BASE")?.value == 0xffff_ff80_0000_6000 && reading("GUEST_GDTR_BASE")?.field.width == 64)
    #expect(reading("II")?.value == 1 && reading("HLT")?.value == 1)
    #expect(reading("R8") == nil)
  }

  @Test func isOfTheFirstVCPUOnly() throws {
    #expect(values(try recorded(), .vmx)["RDX"] == 0x5bb6_8536)
    let bare = "RAX=1\r\nRAX=2\r\nRIP=3\r\nCPU#0\r\nRBX=4\r\nCPU#1\r\nRCX=5\r\n"
    #expect(values(bare, .vmx) == ["RAX": 1, "GUEST_RIP": 3, "RBX": 4])
  }

  @Test(arguments: [
    "", "\r\n", "unknown command: 'info registers'", "RAX", "RAX=", "=", "= = =", "RAX=xyz", "RAX=-1", "RAX=+1",
    "RAX=00000000000000001",
    "CS =0033 0 ffffffff", "CS =", "CS =g 0 0 0", "CS =12345 0 0 0", "GDT= 0", "GDT=", "EXIT_REASON=1", "MP_STATE=3",
    "XMM00=0 1 FPR0=0 0", "CPL=fff", "GUEST_RIP=5", "save.cr0=1", "CR8=1", "REQUESTS=1", "GUEST_RIP=z",
  ])
  func isNothingWhereItMakesNoSense(text: String) {
    let readings = QEMURegisters.readings(text, isa: .vmx, readAt: 7).filter { !$0.field.name.hasPrefix("GUEST_CS") }
    #expect(readings.isEmpty, "\(readings.map(\.field.name))")
  }

  @Test func withAnyDamageIsReadWithoutHarmAndNeverWiderThanTheField() throws {
    var generator = Dice()
    let text = Array(try recorded().utf8.prefix(2000))
    for _ in 0..<400 {
      var bytes = text
      for _ in 0..<Int.random(in: 1...60, using: &generator) {
        bytes[Int.random(in: 0..<bytes.count, using: &generator)] =
          Bool.random(using: &generator)
          ? UInt8.random(in: 0...255, using: &generator) : Array("= \n#0f".utf8).randomElement(using: &generator) ?? 0
      }
      for isa in [ISA.vmx, .svm] {
        let readings = QEMURegisters.readings(String(decoding: bytes, as: UTF8.self), isa: isa, readAt: 7)
        #expect(readings.count <= 80)
        #expect(Set(readings.map(\.field.name)).count == readings.count)
        #expect(readings.allSatisfy { ($0.value ?? 0) & ~$0.field.mask == 0 })
      }
    }
    let long = String(repeating: "CS =", count: 200_000) + String(repeating: "\nRAX=1", count: 100_000)
    #expect(QEMURegisters.readings(long, isa: .vmx, readAt: 7).count <= 80)
  }

  // MARK: Beside what was read

  private func reading(_ fields: [(String, UInt64)], others: [(String, UInt64)] = [], isa: ISA = .vmx) -> VCPUReading {
    func make(_ name: String, _ value: UInt64) -> FieldReading {
      FieldReading(
        StateField(kind: .kvm, name: name, width: 64, area: .guest, description: ""), value, .measured, "memory")
    }
    var result = VCPUReading(
      isa: isa, pid: 1, vcpuID: 0, tid: 2, cpu: nil, isNested: false, readAt: 0, fields: fields.map(make),
      words: ControlSetting(),
      differences: [], msrBitmap: nil)
    result.others = others.map(make)
    return result
  }

  private func outcomes(_ text: String, _ reading: VCPUReading) -> [String: VMMComparison] {
    let fields = QEMURegisters.readings(text, isa: reading.isa, readAt: 7)
    return Dictionary(
      uniqueKeysWithValues: reading.compared(with: VMMReading(readAt: 7, fields: fields)).map {
        ($0.told.field.name, $0)
      })
  }

  @Test func isEqualOrDiffersOrStandsAlone() {
    let rows = outcomes(
      "RAX=0000000000000001 RBX=0000000000000002 RCX=0000000000000003 EDX=00000004",
      reading([], others: [("RAX", 1), ("RBX", 5), ("RDX", 0x7_0000_0004)]))
    #expect(rows["RAX"]?.outcome == .equal)
    #expect(rows["RBX"]?.outcome == .differs && rows["RBX"]?.own?.value == 5)
    #expect(rows["RCX"]?.outcome == .unknown && rows["RCX"]?.own == nil)
    // Only what was printed can be compared.
    #expect(rows["RDX"]?.outcome == .equal)
  }

  @Test func isComparedAsTheGuestSeesIt() {
    let vmx = outcomes(
      "CR0=60000010 CR4=00000040 HLT=1",
      reading([("CR0_READ_SHADOW", 0x6000_0010), ("CR4_READ_SHADOW", 0)], others: [("MP_STATE", 3)]))
    #expect(vmx["CR0"]?.outcome == .equal && vmx["CR0"]?.note == "CR0_READ_SHADOW")
    #expect(vmx["CR4"]?.outcome == .differs && vmx["HLT"]?.outcome == .equal)
    let svm = outcomes(
      "CR0=60000010 CR4=00000000 EFER=0000000000000d01",
      reading([("save.cr0", 0x10), ("save.cr4", 0x40), ("save.efer", 0x1d01)], isa: .svm))
    #expect(svm.values.allSatisfy { $0.outcome == .equal && $0.note != nil } && svm.count == 3)
    // KVM's own copy of the guest's view comes first, where it is there.
    let kept = outcomes("RIP=0000000000000005", reading([("save.rip", 4)], others: [("RIP", 5)], isa: .svm))
    #expect(kept["RIP"]?.outcome == .equal && kept["RIP"]?.note == nil)
    #expect(outcomes("RIP=0000000000000005", reading([("save.rip", 4)], isa: .svm))["RIP"]?.outcome == .differs)
    for (state, outcome) in [(1, VMMComparison.Outcome.equal), (0, .differs)] as [(UInt64, VMMComparison.Outcome)] {
      #expect(outcomes("II=1", reading([("control.int_state", state)], isa: .svm))["II"]?.outcome == outcome)
      #expect(outcomes("II=1", reading([("GUEST_INTERRUPTIBILITY_INFO", state * 2)]))["II"]?.outcome == outcome)
    }
    #expect(outcomes("EFER=0000000000000d00", reading([("save.efer", 0x1d01)], isa: .svm))["EFER"]?.outcome == .differs)
  }

  @Test func ofAnUnusableSegmentSaysNothingOfItsPresentBit() {
    let reading = reading([("GUEST_ES_AR_BYTES", 0x10093), ("GUEST_DS_AR_BYTES", 0x93)])
    let rows = outcomes("ES =0000 0 0 00001300\nDS =0000 0 0 00001300", reading)
    #expect(rows["GUEST_ES_AR_BYTES"]?.outcome == .equal)
    #expect(rows["GUEST_DS_AR_BYTES"]?.outcome == .differs)
  }
}
