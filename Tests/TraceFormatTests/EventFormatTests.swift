import RandomSupport
import Testing

@testable import TraceFormat

@Suite struct EventFormatTests {
  @Test func kvmExitOfLinux61() throws {
    let format = try Fixture.format("kvm_exit")
    #expect(format.name == "kvm_exit")
    #expect(format.system == "kvm")
    #expect(format.id == 1457)
    #expect(
      format.fields.map(\.name) == [
        "common_type", "common_flags", "common_preempt_count", "common_pid", "exit_reason", "guest_rip", "isa",
        "info1", "info2", "intr_info", "error_code", "vcpu_id",
      ])
    #expect(
      format.field("guest_rip")
        == EventField(name: "guest_rip", type: "unsigned long", offset: 16, size: 8, isSigned: false))
    #expect(format.field("common_pid")?.isSigned == true)
    #expect(format.field("no_such_field") == nil)
    #expect(format.printFormat.hasPrefix("\"vcpu %u reason"))
    #expect(format.printFormat.hasSuffix("REC->error_code"))
  }

  @Test func everyCapturedFormatParses() throws {
    let files = try Fixture.formatFiles
    #expect(files.count > 80)
    var ids: Set<UInt16> = []
    for file in files {
      let format = try EventFormat.parse(Fixture.text("formats/\(file)"), system: "kvm")
      #expect("\(format.name).format" == file)
      #expect(ids.insert(format.id).inserted, "ID \(format.id) twice")
      #expect(format.fields.prefix(4).map(\.name).last == "common_pid")
      #expect(format.fields.allSatisfy { !$0.type.isEmpty && !$0.name.isEmpty })
    }
  }

  @Test func fixedArray() throws {
    let field = try #require(Fixture.format("kvm_emulate_insn").field("insn"))
    #expect(field.type == "__u8")
    #expect(field.arrayCount == 15)
    #expect(field.size == 15)
  }

  @Test func dynamicArray() throws {
    let field = try #require(
      Fixture.format("kvm_nested_vmenter_failed").fields.last { $0.type.hasPrefix("__data_loc") })
    #expect(field.isDataLocation)
    #expect(!field.isRelativeLocation)
    #expect(field.type == "__data_loc char[]")
    #expect(field.size == 4)
    #expect(field.arrayCount == nil)
  }

  @Test(
    arguments: [
      ("field:__rel_loc u8[] buf;\toffset:12;\tsize:4;\tsigned:0;", "__rel_loc u8[]", "buf", nil, false),
      ("field:char comm[TASK_COMM_LEN];\toffset:8;\tsize:16;\tsigned:1;", "char", "comm", 16, true),
      ("field:u16 grid[2][3];\toffset:8;\tsize:12;\tsigned:0;", "u16", "grid", 6, false),
      ("field:const char * fmt;\toffset:16;\tsize:8;\tsigned:0;", "const char *", "fmt", nil, false),
      ("field:u32 buf[];\toffset:24;\tsize:0;\tsigned:0;", "u32", "buf", nil, false),
      // Before Linux 2.6.36 there was no `signed:`.
      ("field:int common_pid;\toffset:4;\tsize:4;", "int", "common_pid", nil, true),
      ("field:unsigned int vector;\toffset:8;\tsize:4;", "unsigned int", "vector", nil, false),
    ] as [(String, String, String, Int?, Bool)])
  func declaration(line: String, type: String, name: String, count: Int?, signed: Bool) throws {
    let format = try EventFormat.parse("name: x\nID: 1\nformat:\n\t\(line)\n", system: "s")
    let field = try #require(format.fields.first)
    #expect(field.type == type)
    #expect(field.name == name)
    #expect(field.arrayCount == count)
    #expect(field.isSigned == signed)
  }

  @Test(arguments: [
    "", "ID: 5\n", "name: x\n", "name: x\nID: 65536\n", "name: x\nID: -1\n", "name: x\nID: 99999999999999999999\n",
    "name: x\nID: 1\nfield:int a;\toffset:-4;\tsize:4;\tsigned:1;\n",
    "name: x\nID: 1\nfield:int a;\toffset:4;\tsize:-4;\tsigned:1;\n",
    "name: x\nID: 1\nfield:int a;\toffset:65535;\tsize:4;\tsigned:1;\n",
    "name: x\nID: 1\nfield:int a;\toffset:9223372036854775807;\tsize:9223372036854775807;\tsigned:1;\n",
    "name: x\nID: 1\nfield:int a;\tsize:4;\tsigned:1;\n", "name: x\nID: 1\nfield:;\toffset:0;\tsize:4;\n",
    "name: x\nID: 1\nfield:",
    "name: x\nID: 1\n" + String(repeating: "\tfield:int a;\toffset:8;\tsize:4;\tsigned:1;\n", count: 2000),
  ])
  func nonsenseIsRefused(text: String) {
    #expect(throws: TraceFormatError.self) { try EventFormat.parse(text, system: "s") }
  }

  @Test func corruptTextNeverTraps() throws {
    let text = Array(try Fixture.text("formats/kvm_exit.format").utf8)
    var generator = Dice(seed: 6)
    var refused = 0
    for _ in 0..<500 {
      var copy = text
      for _ in 0..<8 {
        // The layout is in the first 900 bytes.
        copy[Int.random(in: 0..<900, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
      }
      copy.removeLast(Int.random(in: 0..<copy.count, using: &generator))
      do {
        let format = try EventFormat.parse(bytes: copy, system: "kvm")
        #expect(format.fields.allSatisfy { $0.offset >= 0 && $0.size >= 0 && $0.offset + $0.size <= 65536 })
        _ = format.exitReasonNames(isa: 1)
      } catch {
        refused += 1
      }
    }
    #expect(refused > 20)
  }
}

@Suite struct PageLayoutTests {
  @Test func headerPageOfLinux61() throws {
    #expect(
      try PageLayout.parse(headerPage: Fixture.text("header_page"))
        == PageLayout(timestampOffset: 0, commitOffset: 8, commitSize: 8, dataOffset: 16, subBufferSize: 4096))
  }

  static func text(commitSize: Int, dataOffset: Int, dataSize: Int, timestampSize: Int = 8) -> String {
    """
    \tfield: u64 timestamp;\toffset:0;\tsize:\(timestampSize);\tsigned:0;
    \tfield: local_t commit;\toffset:8;\tsize:\(commitSize);\tsigned:1;
    \tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;
    \tfield: char data;\toffset:\(dataOffset);\tsize:\(dataSize);\tsigned:1;

    """
  }

  @Test func subBuffersOf64KiB() throws {
    let layout = try PageLayout.parse(headerPage: Self.text(commitSize: 8, dataOffset: 16, dataSize: 65520))
    #expect(layout.subBufferSize == 65536)
  }

  @Test func a32BitKernelHasAShortCommitWord() throws {
    let layout = try PageLayout.parse(headerPage: Self.text(commitSize: 4, dataOffset: 12, dataSize: 4084))
    #expect(layout == PageLayout(commitOffset: 8, commitSize: 4, dataOffset: 12, subBufferSize: 4096))
  }

  @Test(arguments: [
    "", text(commitSize: 2, dataOffset: 16, dataSize: 4080), text(commitSize: 8, dataOffset: 12, dataSize: 4084),
    text(commitSize: 8, dataOffset: 16, dataSize: 4081), text(commitSize: 8, dataOffset: 16, dataSize: 1_048_560),
    text(commitSize: 8, dataOffset: 16, dataSize: 2032), text(commitSize: 8, dataOffset: -16, dataSize: 4112),
    text(commitSize: 8, dataOffset: 16, dataSize: 4080, timestampSize: 4),
    text(commitSize: 8, dataOffset: 16, dataSize: 4080, timestampSize: 16),
  ])
  func nonsenseIsRefused(text: String) {
    #expect(throws: TraceFormatError.self) { try PageLayout.parse(headerPage: text) }
  }
}

@Suite struct SymbolTableTests {
  @Test func kvmExitHasATableForVMXAndOneForSVM() throws {
    let tables = try Fixture.format("kvm_exit").symbolTables
    #expect(tables.map(\.kind) == [.symbolic, .symbolic, .flags])
    #expect(
      tables.map(\.expression) == ["REC->exit_reason & 0xffff", "REC->exit_reason", "REC->exit_reason & ~0xffff"])
    #expect(tables[0].conditions == [.init(expression: "(REC->isa == 1)", holds: true)])
    #expect(tables[1].conditions == [.init(expression: "(REC->isa == 1)", holds: false)])
    #expect(tables[2].entries == [.init(value: 0x8000_0000, name: "FAILED_VMENTRY")])
  }

  @Test func exitReasonNamesFollowTheISA() throws {
    let format = try Fixture.format("kvm_exit")
    let vmx = format.exitReasonNames(isa: 1)
    #expect(vmx.count == 62)
    #expect(vmx[0] == "EXCEPTION_NMI")
    #expect(vmx[12] == "HLT")
    #expect(vmx[48] == "EPT_VIOLATION")
    #expect(vmx[75] == "NOTIFY")
    #expect(vmx[0x400] == nil)
    let svm = format.exitReasonNames(isa: 2)
    #expect(svm[0x400] == "npf")
    #expect(svm[0x41] == "DB excp", "0x040 + 1")
    #expect(svm[0x53] == "XF excp", "0x040 + 19")
    #expect(svm[0x78] == "hlt")
    #expect(svm[0x8000_fffd] == "vmgexit_hypervisor_feature")
    #expect(svm[UInt32.max] == "invalid_guest_state", "-1")
    #expect(svm[12] == nil)
  }

  @Test func anotherBackendsOnlyTableAnswersForAnyISA() throws {
    // arm64, arch/arm64/kvm/trace_arm.h.
    var format = EventFormat(system: "kvm", name: "kvm_exit", id: 1, fields: [], printFormat: "")
    format.printFormat =
      #""%s: HSR_EC: 0x%04x (%s), PC: 0x%016lx", __print_symbolic(REC->ret, {0, "IRQ" }, {1, "EL1_SERROR"}, {2, "TRAP"}), REC->esr_ec, 1"#
    #expect(format.exitReasonNames(isa: 0) == [0: "IRQ", 1: "EL1_SERROR", 2: "TRAP"])
    format.printFormat = #""%s", __print_symbolic(REC->exit_reason, { 7, "SEVEN" })"#
    #expect(format.exitReasonNames(isa: 1) == [7: "SEVEN"])
    #expect(format.exitReasonNames(isa: 99) == [7: "SEVEN"])
    format.printFormat = #""%lx", REC->exit_reason"#
    #expect(format.exitReasonNames(isa: 1).isEmpty)
  }

  @Test func adjacentLiteralsAreOneName() throws {
    let table = try #require(Fixture.format("kvm_userspace_exit").symbolTables.first)
    #expect(table.expression == "REC->reason")
    #expect(table.entries.first == .init(value: 0, name: "KVM_EXIT_UNKNOWN"))
    #expect(table.entries.first { $0.value == 2 }?.name == "KVM_EXIT_IO")
    #expect(table.entries.count == 31)
    #expect(table.conditions.map(\.holds) == [false])
    let exceptions = try #require(Fixture.format("kvm_inj_exception").symbolTables.first)
    #expect(exceptions.entries.first?.name == "#DE")
  }

  @Test func shiftedAndCombinedFlags() throws {
    let flags = try #require(Fixture.format("fast_page_fault").symbolTables.first)
    #expect(flags.kind == .flags)
    #expect(flags.entries.map(\.value) == [1, 2, 4, 8, 16])
    let modes = try #require(Fixture.format("kvm_emulate_insn").symbolTables.first)
    #expect(modes.entries.map(\.value) == [0, 3, 1, 5, 9])
    #expect(modes.entries.map(\.name) == ["real", "vm16", "prot16", "prot32", "prot64"])
  }

  @Test(
    arguments: [
      ("1", 1), ("0x10", 16), ("010", 8), ("-1", UInt64.max), ("((1UL << (63)))", 1 << 63), ("~0xffULL", ~0xff),
      ("(unsigned long)7", 7), ("1 | 2 | 4", 7), ("2 + 3 * 4", 14), ("1 ? 2 : 3", nil), ("KVM_EXIT_IO", nil),
      ("1 / 0", nil), ("1 << 64", 0), ("", nil), ("(1", nil), ("0x", nil),
      (String(repeating: "(", count: 5000) + "1" + String(repeating: ")", count: 5000), nil),
      (String(repeating: "-", count: 5000) + "1", nil),
    ] as [(String, UInt64?)])
  func constant(text: String, value: UInt64?) {
    let format = EventFormat(
      system: "s", name: "n", id: 1, fields: [], printFormat: "\"%s\", __print_symbolic(REC->a, { \(text), \"x\" })")
    #expect(format.symbolTables.first?.entries.first?.value == value)
  }

  @Test func hostilePrintFormatsNeverTrap() throws {
    for text in [
      "__print_symbolic", "__print_symbolic(", "__print_symbolic(,", "__print_symbolic({", "__print_symbolic(a, {",
      "__print_symbolic(a, { 1", "__print_symbolic(a, { 1, ", "__print_symbolic(a, { 1, \"", "))))((((", "?:?:::??",
      "\"\\", "__print_flags(a", "__print_flags(a,", "__print_flags(a,\"|\",{}",
      String(repeating: "a ? (", count: 10000), String(repeating: "a ? ", count: 10000),
    ] {
      let format = EventFormat(system: "s", name: "n", id: 1, fields: [], printFormat: text)
      #expect(format.symbolTables.flatMap(\.entries).isEmpty)
      #expect(format.exitReasonNames(isa: 1).isEmpty)
    }
  }

  @Test func everyCapturedFormatsTablesHaveNames() throws {
    var tables = 0
    for file in try Fixture.formatFiles {
      let format = try EventFormat.parse(Fixture.text("formats/\(file)"), system: "kvm")
      let found = format.symbolTables
      tables += found.count
      let mentioned =
        format.printFormat.ranges(of: "__print_symbolic(").count
        + format.printFormat.ranges(of: "__print_flags(").count
      #expect(found.count == mentioned, "\(file)")
      #expect(found.allSatisfy { !$0.expression.isEmpty })
    }
    #expect(tables > 20)
  }
}
