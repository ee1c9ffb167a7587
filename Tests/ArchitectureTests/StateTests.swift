import Testing

@testable import Architecture

@Suite struct StateGroupTests {
  @Test(arguments: [
    ("GUEST_CR0", StateGroup.controlRegisters), ("CR4_READ_SHADOW", .controlRegisters),
    ("CR3_TARGET_VALUE0", .controlRegisters), ("GUEST_RIP", .generalRegisters), ("GUEST_CS_AR_BYTES", .segments),
    ("GUEST_GDTR_LIMIT", .descriptorTables), ("GUEST_IA32_EFER", .modelSpecificRegisters), ("GUEST_DR7", .debug),
    ("GUEST_PENDING_DBG_EXCEPTIONS", .debug), ("GUEST_INTERRUPTIBILITY_INFO", .interrupts),
    ("GUEST_ACTIVITY_STATE", .interrupts), ("GUEST_INTR_STATUS", .interrupts), ("POSTED_INTR_DESC_ADDR", .interrupts),
    ("VM_ENTRY_INTR_INFO_FIELD", .interrupts), ("TSC_OFFSET", .tsc), ("TSC_MULTIPLIER", .tsc),
    ("EPT_POINTER", .addressTranslation), ("VIRTUAL_PROCESSOR_ID", .addressTranslation),
    ("GUEST_PDPTR0", .addressTranslation), ("VMX_PREEMPTION_TIMER_VALUE", .timers), ("PLE_WINDOW", .timers),
    ("PIN_BASED_VM_EXEC_CONTROL", .controls), ("MSR_BITMAP", .controls), ("VM_EXIT_MSR_LOAD_ADDR", .controls),
    ("VMCS_LINK_POINTER", .other), ("EXIT_QUALIFICATION", .exitInformation), ("HOST_FS_BASE", .segments),
    ("HOST_CR3", .controlRegisters), ("HOST_RIP", .generalRegisters),
  ])
  func aFieldIsWhereAnEngineerLooksForIt(_ name: String, _ group: StateGroup) throws {
    let field = try #require(VMCSField.lookup(name: name))
    #expect(StateField(field).group == group)
  }

  @Test func fewFieldsAreInNoGroupOfTheirOwn() {
    let other = VMCSField.rows.map(StateField.init).filter { $0.group == .other }.map(\.name)
    #expect(other.count <= 6, "\(other)")
  }

  @Test(arguments: [
    ("save.cr0", StateGroup.controlRegisters), ("save.es.attrib", .segments), ("save.gdtr.base", .descriptorTables),
    ("save.rip", .generalRegisters), ("save.efer", .modelSpecificRegisters), ("save.dr6", .debug),
    ("control.int_ctl", .interrupts), ("control.event_inj", .interrupts), ("control.avic_backing_page", .interrupts),
    ("control.tsc_offset", .tsc), ("control.nested_cr3", .addressTranslation), ("control.pause_filter_count", .timers),
    ("control.intercepts[3]", .controls), ("control.msrpm_base_pa", .controls), ("cr_read", .controls),
  ])
  func theVMCBIsGroupedAlike(_ name: String, _ group: StateGroup) {
    #expect(StateField(kind: .vmcb, name: name, place: 0, width: 64, area: .guest, description: "").group == group)
  }

  @Test(arguments: [
    ("RAX", StateGroup.generalRegisters), ("R15", .generalRegisters), ("CR2", .controlRegisters),
    ("CR8", .controlRegisters), ("DR0", .debug), ("APIC_IRR0", .interrupts), ("PI_CONTROL", .interrupts),
    ("PENDING_NMI", .interrupts),
  ])
  func soIsWhatKVMKeepsBeside(_ name: String, _ group: StateGroup) {
    #expect(StateField(kind: .kvm, name: name, width: 64, area: .guest, description: "").group == group)
  }

  @Test func segmentsArePutTogetherFromTheirParts() throws {
    func part(_ name: String, _ kind: StateField.Kind = .vmcs) -> String? {
      let field =
        kind == .vmcs
        ? VMCSField.lookup(name: name).map(StateField.init)
        : StateField(kind: kind, name: name, place: 0, width: 16, area: .guest, description: "")
      return field?.segment.map { "\($0.register) \($0.part.rawValue)" }
    }
    #expect(part("GUEST_CS_SELECTOR") == "CS selector")
    #expect(part("GUEST_LDTR_AR_BYTES") == "LDTR access rights")
    #expect(part("HOST_TR_BASE") == "TR base")
    #expect(part("GUEST_IDTR_LIMIT") == "IDTR limit")
    #expect(part("GUEST_RIP") == nil)
    #expect(part("save.fs.base", .vmcb) == "FS base")
    #expect(part("save.tr.attrib", .vmcb) == "TR access rights")
    #expect(part("save.rip", .vmcb) == nil)
    #expect(part("CS", .kvm) == nil)
  }
}

@Suite struct StateDecoderTests {
  private func vmcs(_ name: String, _ value: UInt64, _ others: [String: UInt64] = [:]) -> Decoded? {
    VMCSField.lookup(name: name).flatMap { StateField($0).decoded(value) { others[$0] } }
  }

  private func vmcb(_ name: String, _ value: UInt64, _ others: [String: UInt64] = [:]) -> Decoded? {
    StateField(kind: .vmcb, name: name, place: 0, width: 64, area: .guest, description: "")
      .decoded(value) { others[$0] }
  }

  @Test(
    arguments: [
      ("GUEST_CR0", 0x8005_0033, "PE MP ET NE WP AM PG"), ("GUEST_RFLAGS", 0x246, "PF ZF IF"),
      ("GUEST_RFLAGS", 0x3002, "IOPL 3"), ("GUEST_RFLAGS", 0x2, "none"), ("GUEST_IA32_EFER", 0xd01, "SCE LME LMA NX"),
      ("GUEST_CS_AR_BYTES", 0xa09b, "code RX DPL 0 64-bit"), ("GUEST_FS_AR_BYTES", 0x1_0000, "unusable"),
      ("GUEST_ACTIVITY_STATE", 1, "HLT"), ("GUEST_IA32_PAT", 0x0407_0506_0007_0106, "WB WC UC- UC WB WP UC- WT"),
      ("TSC_OFFSET", .max, "-0x1"), ("TSC_MULTIPLIER", 0x0001_8000_0000_0000, "x 1.500"),
      ("EXCEPTION_BITMAP", 0x6_0042, "#DB #UD #AC #MC"), ("VMCS_LINK_POINTER", .max, "no shadow VMCS"),
      ("CR0_GUEST_HOST_MASK", ~8, "guest owns TS"), ("PIN_BASED_VM_EXEC_CONTROL", 0x9, "EXT_INTR_MASK NMI_EXITING"),
      ("GUEST_PDPTR0", 0x1001, "page directory 0x1000"), ("GUEST_CS_SELECTOR", 0x10, "index 2 RPL 0"),
    ] as [(String, UInt64, String)])
  func aValueInFewWords(_ name: String, _ value: UInt64, _ words: String) throws {
    let short = try #require(vmcs(name, value)?.short)
    #expect(short.hasPrefix(words), "\(short)")
  }

  @Test func anExitQualificationNeedsItsReason() {
    #expect(vmcs("EXIT_QUALIFICATION", 0x03f8_0000) == nil)
    #expect(
      vmcs("EXIT_QUALIFICATION", 0x03f8_0000, ["VM_EXIT_REASON": 30])?.summary.contains("port 0x3f8") == true)
  }

  @Test func theVMCBSaysTheSameInItsOwnLayout() {
    #expect(vmcb("save.cr4", 0x20)?.short == "PAE")
    #expect(vmcb("save.cs.attrib", 0xa9b)?.short == "code RX DPL 0 64-bit")
    #expect(vmcb("save.es.attrib", 0)?.short == "null")
    #expect(vmcb("control.intercepts[3]", 1)?.parts.first?.name == "interrupt")
    #expect(vmcb("control.intercepts[0]", 0x1_0000)?.short == "write_cr0")
    #expect(vmcb("control.exit_code", 0x78)?.short == "hlt")
    #expect(vmcb("control.exit_code", .max) != nil)
    #expect(vmcb("control.nested_ctl", 1)?.short == "NP")
    #expect(vmcb("control.int_ctl", 1 << 31)?.short.contains("AVIC") == true)
    #expect(vmcb("control.exit_info_1", 0x0211, ["control.exit_code": 0x7b]) != nil)
  }

  @Test func aTaskPriorityHoldsBackItsClassAndThoseBelow() {
    func cr8(_ value: UInt64) -> String? {
      StateField(kind: .kvm, name: "CR8", width: 8, area: .guest, description: "").decoded(value)?.summary
    }
    #expect(cr8(0) == "no interrupt held back")
    #expect(cr8(1) == "holds back vectors below 0x20")
    #expect(cr8(15) == "holds back vectors below 0x100")
  }

  @Test func whatKVMKeepsIsNamedToo() {
    func kept(_ name: String, _ value: UInt64) -> String? {
      StateField(kind: .kvm, name: name, width: 64, area: .guest, description: "").decoded(value)?.summary
    }
    #expect(kept("MP_STATE", 3) == "halted")
    #expect(kept("MP_STATE", 99) == "unknown")
    #expect(kept("VCPU_MODE", 1) == "in guest mode")
    #expect(kept("APIC_IRR7", 0x1000) == "vectors 0xec")
    #expect(kept("PI_PIR3", 1 << 44 | 1) == "vectors 0xc0, 0xec")
    #expect(kept("APIC_ISR0", 0) == "no vector")
    #expect(kept("APIC_IRR9", 1) == nil)
    #expect(kept("RAX", 1) == nil)
  }

  @Test func everyFieldTakesEveryValue() {
    let values: [UInt64] = [0, 1, .max, 1 << 63, 0x8000_0b0e, 0xaaaa_aaaa_aaaa_aaaa, 0x5555_5555_5555_5555]
    for row in VMCSField.rows {
      for value in values {
        for reason in [UInt64(0), 30, .max] {
          let decoded = StateField(row).decoded(value) { _ in reason }
          #expect(decoded.map { !$0.summary.isEmpty && !$0.short.isEmpty } ?? true, "\(row.name) \(value)")
        }
      }
    }
  }
}
