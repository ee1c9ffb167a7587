import Architecture
import Testing

@Suite("The last exit of a thread")
struct KVMExitTests {
  private let now: UInt64 = 1_000_000

  private func vmx(_ provenances: [String: Provenance] = [:]) -> VCPUReading {
    let fields = VMCSField.rows.map { row -> FieldReading in
      let provenance = provenances[row.name] ?? .measured
      return FieldReading(StateField(row), provenance == .unavailable ? nil : 1, provenance, "old")
    }
    return VCPUReading(
      isa: .vmx, pid: 1, vcpuID: 0, tid: 2, cpu: 0, isNested: false, readAt: now, fields: fields,
      words: ControlSetting(),
      differences: [], msrBitmap: nil)
  }

  private func event(reason: UInt32 = 0, information: UInt32 = 0x8000_0b0e) -> KVMExit {
    KVMExit(
      isa: .vmx, reason: reason, rip: 0xffff_8000, info1: 0x181, info2: 0x8000_0020,
      interruptionInformation: information, errorCode: 4)
  }

  private func taken(_ reading: VCPUReading) -> [String: UInt64] {
    Dictionary(
      uniqueKeysWithValues: reading.fields.filter { $0.how == "kvm_exit tracepoint" }.map {
        ($0.field.name, $0.value ?? 0)
      })
  }

  @Test("that is newer than the reading says where the guest was and why it left")
  func newer() throws {
    let reading = vmx().updated(by: event(), at: now + 5)
    #expect(
      taken(reading) == [
        "GUEST_RIP": 0xffff_8000, "VM_EXIT_REASON": 0, "EXIT_QUALIFICATION": 0x181,
        "IDT_VECTORING_INFO_FIELD": 0x8000_0020, "VM_EXIT_INTR_INFO": 0x8000_0b0e, "VM_EXIT_INTR_ERROR_CODE": 4,
      ])
    let rip = try #require(reading.reading("GUEST_RIP"))
    #expect(rip.provenance == .measured && rip.readAt == now + 5)
  }

  @Test("that is older replaces only what is stale or was not there")
  func older() {
    let reading = vmx(["GUEST_RIP": .stale, "VM_EXIT_INTR_ERROR_CODE": .unavailable]).updated(by: event(), at: now - 5)
    #expect(Set(taken(reading).keys) == ["GUEST_RIP", "VM_EXIT_INTR_ERROR_CODE"])
    #expect(taken(vmx().updated(by: event(), at: now)).isEmpty)
    // An event that was taken is not replaced by an older one.
    let again = vmx(["GUEST_RIP": .stale]).updated(by: event(), at: now + 9).updated(by: event(), at: now + 8)
    #expect(again.reading("GUEST_RIP")?.readAt == now + 9)
  }

  @Test("that is a failed VM entry, or delivered no error code, says no more than the processor wrote")
  func incomplete() {
    #expect(
      Set(taken(vmx().updated(by: event(reason: 0x8000_0021), at: now + 5)).keys)
        == ["GUEST_RIP", "VM_EXIT_REASON", "EXIT_QUALIFICATION"])
    #expect(taken(vmx().updated(by: event(information: 0x8000_0306), at: now + 5))["VM_EXIT_INTR_ERROR_CODE"] == nil)
    #expect(taken(vmx().updated(by: event(information: 0x0b0e), at: now + 5))["VM_EXIT_INTR_ERROR_CODE"] == nil)
  }

  @Test("says nothing of a guest that has a guest, nor of another architecture's")
  func ambiguous() {
    var nested = vmx()
    nested.isNested = true
    #expect(taken(nested.updated(by: event(), at: now + 5)).isEmpty)
    var outer = vmx()
    outer.vmcs12 = []
    #expect(taken(outer.updated(by: event(), at: now + 5)).isEmpty)
    var other = event()
    other.isa = .svm
    #expect(taken(vmx().updated(by: other, at: now + 5)).isEmpty)
  }

  @Test("on AMD is the exit code, EXITINFO and EXITINTINFO")
  func svm() {
    let names = [
      "control.exit_code", "control.exit_info_1", "control.exit_info_2", "control.exit_int_info",
      "control.exit_int_info_err", "save.rip",
    ]
    let fields = names.map {
      FieldReading(
        StateField(kind: .vmcb, name: $0, place: 0, width: 64, area: .control, description: ""), 0, .measured, "old")
    }
    let reading = VCPUReading(
      isa: .svm, pid: 1, vcpuID: 0, tid: 2, cpu: 0, isNested: false, readAt: now, fields: fields,
      words: ControlSetting(),
      differences: [], msrBitmap: nil)
    var exit = event(reason: 0x4e)
    exit.isa = .svm
    #expect(
      reading.updated(by: exit, at: now + 1).fields.map(\.value) == [
        0x4e, 0x181, 0x8000_0020, 0x8000_0b0e, 4, 0xffff_8000,
      ])
    exit.reason = 0xffff_ffff
    #expect(reading.updated(by: exit, at: now + 1).fields.first?.value == .max)
  }
}
