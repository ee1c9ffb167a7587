import Foundation
import RandomSupport
import Testing

@testable import Architecture

/// A dump of the long way: what a 7.3 kernel prints with every condition true, each value its own.
let newestDump = """
  VMCS 00000000a0f94182, last attempted VM-entry on CPU 17
  *** Guest State ***
  CR0: actual=0x0000000080050033, shadow=0x0000000080050031, gh_mask=fffffffffffefff7
  CR4: actual=0x00000000003726f0, shadow=0x00000000003706e0, gh_mask=fffffffffffef871
  CR3 = 0x0000000001234000
  PDPTR0 = 0x0000000000000001  PDPTR1 = 0x0000000000001001
  PDPTR2 = 0x0000000000002001  PDPTR3 = 0x0000000000003001
  RSP = 0xffffc90000123e58  RIP = 0xffffffff81001234
  RFLAGS=0x00000246         DR7 = 0x0000000000000400
  Sysenter RSP=fffffe0000003000 CS:RIP=0010:ffffffff81c018f0
  CS:   sel=0x0010, attr=0x0a09b, limit=0xffffffff, base=0x0000000000000000
  DS:   sel=0x0000, attr=0x1c001, limit=0xffffffff, base=0x0000000000000000
  SS:   sel=0x0018, attr=0x0c093, limit=0xffffffff, base=0x0000000000000000
  ES:   sel=0x0000, attr=0x1c000, limit=0xffffffff, base=0x0000000000000000
  FS:   sel=0x0000, attr=0x1c000, limit=0xffffffff, base=0x00007f0000000000
  GS:   sel=0x0000, attr=0x1c000, limit=0xffffffff, base=0xffff88807ec00000
  GDTR:                           limit=0x0000007f, base=0xfffffe0000001000
  LDTR: sel=0x0000, attr=0x1c000, limit=0xffffffff, base=0x0000000000000000
  IDTR:                           limit=0x00000fff, base=0xfffffe0000000000
  TR:   sel=0x0040, attr=0x0008b, limit=0x0000206f, base=0xfffffe0000003000
  EFER= 0x0000000000000d01 (autoload)
  PAT = 0x0407050600070106
  DebugCtl = 0x0000000000000002  DebugExceptions = 0x0000000000004000
  PerfGlobCtl = 0x000000070000000f
  BndCfgS = 0x0000000000000003
  Interruptibility = 00000008  ActivityState = 00000001
  InterruptStatus = 2130
  MSR guest autoload:
     0: msr=0xc0000080 value=0x0000000000000d01
     1: msr=0x0000038f value=0x0000000000000007
  MSR autostore:
     0: msr=0x00000010 value=0x0000123456789abc
  S_CET = 0x0000000000000001, SSP = 0xffffc90000001000, SSP TABLE = 0xffffc90000002000
  *** Host State ***
  RIP = 0xffffffffc045444e  RSP = 0xffffc90000653b40
  CS=0010 SS=0018 DS=0000 ES=0000 FS=0000 GS=0000 TR=0040
  FSBase=0000000028b6b380 GSBase=ffff88803ca00000 TRBase=fffffe0000003000
  GDTBase=fffffe0000001000 IDTBase=fffffe0000000000
  CR0=0000000080050033 CR3=000000000bc4a004 CR4=00000000003326f0
  Sysenter RSP=fffffe0000003000 CS:RIP=0010:ffffffff81c018f0
  EFER= 0x0000000000000d01
  PAT = 0x0407050600070106
  PerfGlobCtl = 0x000000070000000f
  MSR host autoload:
     0: msr=0xc0000080 value=0x0000000000000d01
  S_CET = 0x0000000000000000, SSP = 0x0000000000000000, SSP TABLE = 0x0000000000000000
  *** Control State ***
  CPUBased=0xb5a26dfa SecondaryExec=0x02052fe3 TertiaryExec=0x0000000000000010
  PinBased=0x000000ff EntryControls=0010f3ff ExitControls=102bffff
  ExceptionBitmap=00060042 PFECmask=00000001 PFECmatch=00000002
  VMEntry: intr_info=80000b0e errcode=00000004 ilen=00000002
  VMExit: intr_info=00000000 errcode=00000000 ilen=00000003
          reason=80000022 qualification=0000000000000002
  IDTVectoring: info=80000030 errcode=00000000
  TSC Offset = 0xfffffffa34bb5682
  TSC Multiplier = 0x0001000000000000
  SVI|RVI = 21|30 TPR Threshold = 0x05
  APIC-access addr = 0x00000000fee00000 virt-APIC addr = 0x0000000012345000
  PostedIntrVec = 0xf2
  EPT pointer = 0x000000003fe9b05e
  PLE Gap=00000080 Window=00001000
  Virtual processor ID = 0x0001
  VE info address = 0x0000000012346000(corrupted!)
  ve_info: 0x00000030 0xffffffff 0x0000000000000181 0x00007f0000001000 0x00000000fee00300 0x0002

  """

func dumps(_ text: String) -> DumpLog { DumpLog(Array(text.utf8)) }

private func byName(_ dump: VMCSDump) -> [String: UInt64] {
  Dictionary(dump.fields.map { ($0.id.name, $0.value) }) { first, _ in first }
}

/// The real dump without its time stamps.
private func realDump() throws -> String {
  try fixture("intel-6.1/dump_vmcs.txt").components(separatedBy: "\n")
    .map { line in line.components(separatedBy: "] ").last ?? "" }.joined(separator: "\n")
}

@Suite struct VMCSDumpTests {
  @Test func `Every line of a real dump is read, and every number on it is a field`() throws {
    let lines = try fixture("intel-6.1/dump_vmcs.txt").components(separatedBy: "\n")
    let log = DumpLog(Array(try fixture("intel-6.1/dump_vmcs.txt").utf8))
    let dump = try #require(log.dumps.first)
    #expect(log.dumps.count == 1)
    #expect(dump.kind == .vmcs)
    #expect(dump.cpu == 0)
    #expect(dump.line == 1)
    #expect(dump.lastLine == log.lineCount)
    #expect(dump.damagedLines.isEmpty)
    for (index, line) in lines.enumerated() where !line.isEmpty {
      let text = line.components(separatedBy: "] ").last ?? ""
      let wanted = try matches(#"(?:=\s?|:)(?:0x)?([0-9a-f]{2,16})\b"#, in: text).compactMap {
        UInt64($0[1], radix: 16)
      }
      let found = dump.fields.filter { $0.line == index + 1 }.map(\.value)
      #expect(found == wanted, "\(line)")
      #expect(!wanted.isEmpty || text.hasPrefix("***") || text.hasPrefix("VMCS "), "\(line)")
    }
    #expect(dump.fields.allSatisfy { $0.id.catalogueField != nil })
    #expect(dump[DumpFieldID(rawValue: 0x6800)] == 0x30)
    #expect(dump[DumpFieldID(rawValue: 0x4822)] == 0x10003)
    #expect(dump[DumpFieldID(rawValue: 0x6c16)] == 0xffff_ffff_c045_444e)
    #expect(dump[DumpFieldID(rawValue: 0x4402)] == 0x8000_0021)
    #expect(dump[DumpFieldID(rawValue: 0x0000)] == 1)
  }

  @Test func `A dump of 7.3 with everything in it`() throws {
    let log = dumps(newestDump)
    let dump = try #require(log.dumps.first)
    #expect(log.dumps.count == 1)
    #expect(dump.damagedLines.isEmpty)
    #expect(dump.cpu == 17)
    let fields = byName(dump)
    let wanted: [String: UInt64] = [
      "GUEST_CR0": 0x8005_0033, "CR0_READ_SHADOW": 0x8005_0031, "CR4_GUEST_HOST_MASK": 0xffff_ffff_fffe_f871,
      "GUEST_PDPTR3": 0x3001, "GUEST_RFLAGS": 0x246, "GUEST_SYSENTER_CS": 0x10, "GUEST_CS_AR_BYTES": 0xa09b,
      "GUEST_GS_BASE": 0xffff_8880_7ec0_0000, "GUEST_TR_LIMIT": 0x206f, "GUEST_IDTR_LIMIT": 0xfff,
      "GUEST_IA32_EFER": 0xd01, "GUEST_IA32_PERF_GLOBAL_CTRL": 0x7_0000_000f, "GUEST_BNDCFGS": 3,
      "GUEST_INTR_STATUS": 0x2130, "GUEST_S_CET": 1, "GUEST_SSP": 0xffff_c900_0000_1000,
      "GUEST_INTR_SSP_TABLE": 0xffff_c900_0000_2000, "HOST_RSP": 0xffff_c900_0065_3b40, "HOST_TR_SELECTOR": 0x40,
      "HOST_IA32_SYSENTER_CS": 0x10, "HOST_S_CET": 0, "HOST_IA32_PERF_GLOBAL_CTRL": 0x7_0000_000f,
      "TERTIARY_VM_EXEC_CONTROL": 0x10, "VM_ENTRY_CONTROLS": 0x10_f3ff, "VM_EXIT_CONTROLS": 0x102b_ffff,
      "PAGE_FAULT_ERROR_CODE_MATCH": 2, "VM_ENTRY_INTR_INFO_FIELD": 0x8000_0b0e, "VM_ENTRY_INSTRUCTION_LEN": 2,
      "VM_EXIT_REASON": 0x8000_0022, "EXIT_QUALIFICATION": 2, "IDT_VECTORING_INFO_FIELD": 0x8000_0030,
      "TPR_THRESHOLD": 5, "APIC_ACCESS_ADDR": 0xfee0_0000, "VIRTUAL_APIC_PAGE_ADDR": 0x1234_5000,
      "POSTED_INTR_NV": 0xf2, "PLE_WINDOW": 0x1000, "VIRTUAL_PROCESSOR_ID": 1, "VE_INFORMATION_ADDRESS": 0x1234_6000,
      "ve_info.guest_physical_address": 0xfee0_0300, "ve_info.eptp_index": 2,
    ]
    for (name, value) in wanted { #expect(fields[name] == value, "\(name)") }
    #expect(dump.field(DumpFieldID(rawValue: 0x2806))?.note == "autoload")
    #expect(dump.field(DumpFieldID(rawValue: 0x2c02))?.note == nil)
    #expect(dump.field(DumpFieldID(rawValue: 0x202a))?.note == "corrupted!")
    #expect(dump.msrLists.map(\.name) == ["guest autoload", "autostore", "host autoload"])
    #expect(dump.msrLists.map(\.entries.count) == [2, 1, 1])
    // The second MSR of the list is the one that could not be loaded.
    #expect(dump.failedMSR?.msr == 0x38f)
  }

  @Test func `5.10 prints EFER and PAT on one line, the controls on others, and no head`() throws {
    let log = dumps(
      """
      *** Guest State ***
      CR0: actual=0x0000000080050033, shadow=0x0000000080050031, gh_mask=fffffffffffffff7
      EFER =     0x0000000000000d01  PAT = 0x0007040600070406
      DebugCtl = 0x0000000000000000  DebugExceptions = 0x0000000000000000
      Interruptibility = 00000000  ActivityState = 00000000
      *** Host State ***
      RIP = 0xffffffffc045444e  RSP = 0xffffc90000653b40
      EFER = 0x0000000000000d01  PAT = 0x0407050600070106
      *** Control State ***
      PinBased=0000003f CPUBased=b5986dfa SecondaryExec=000034e2
      EntryControls=0000d1ff ExitControls=002befff
      TPR Threshold = 0x00
      virt-APIC addr = 0x0000000012345000
      """)
    let dump = try #require(log.dumps.first)
    #expect(log.dumps.count == 1)
    #expect(dump.cpu == nil)
    #expect(dump.damagedLines.isEmpty)
    let fields = byName(dump)
    #expect(fields["GUEST_IA32_PAT"] == 0x0007_0406_0007_0406)
    #expect(fields["HOST_IA32_PAT"] == 0x0407_0506_0007_0106)
    #expect(fields["PIN_BASED_VM_EXEC_CONTROL"] == 0x3f)
    #expect(fields["SECONDARY_VM_EXEC_CONTROL"] == 0x34e2)
    #expect(fields["VM_EXIT_CONTROLS"] == 0x2b_efff)
    #expect(fields["TPR_THRESHOLD"] == 0)
    #expect(fields["VIRTUAL_APIC_PAGE_ADDR"] == 0x1234_5000)
  }

  @Test func `5.15 has the head of 6.1 and the controls of 5.10`() throws {
    let text = try realDump().replacingOccurrences(
      of: "CPUBased=0xb5986dfa SecondaryExec=0x02012ce2 TertiaryExec=0x0000000000000000\n"
        + "PinBased=0x0000003f EntryControls=0000d1ff ExitControls=002befff",
      with: "PinBased=0000003f CPUBased=b5986dfa SecondaryExec=02012ce2\nEntryControls=0000d1ff ExitControls=002befff")
    var wanted = byName(try #require(dumps(try realDump()).dumps.first))
    wanted["TERTIARY_VM_EXEC_CONTROL"] = nil
    let dump = try #require(dumps(text).dumps.first)
    #expect(byName(dump) == wanted)
    #expect(dump.cpu == 0)
    // A processor with no tertiary controls: the primary word says that they are off.
    #expect(VMEntryCheck(dump).broken.count == 4)
    #expect(!VMEntryCheck(dump).unchecked.contains { $0.missing == "TERTIARY_VM_EXEC_CONTROL" })
  }

  @Test(
    "Whatever stands before the kernel's text, the fields are the same",
    arguments: [
      "", "[   11.365020] ", "[11.365020] ", "<3>[   11.365020] ", "<3>", "kvm_intel: ", "[   11.365020] kvm_intel: ",
      "Nov 24 03:16:17 host kernel: ", "Nov 24 03:16:17 host kernel: [   11.365020] kvm_intel: ",
      "2026-11-24T03:16:17.123456+00:00 host kernel: [   11.365020] ", "[Tue Nov 24 03:16:17 2026] ",
      "kern  :err   : [   11.365020] ", "kern  :err   : [Tue Nov 24 03:16:17 2026] kvm_intel: ",
      "3,1234,11365020,-;", "3,1234,11365020,-,caller=T17;kvm_intel: ", "[   11.365020][ T1234] ",
      "[   11.365020][    C3] kvm_intel: ", "> [   11.365020] ", "\t[   11.365020] ",
    ])
  func prefixes(prefix: String) throws {
    let text = try realDump()
    let wanted = try #require(dumps(text).dumps.first)
    #expect(wanted.fields.count == 107)
    for end in ["\n", "\r\n"] {
      let log = dumps(
        text.components(separatedBy: "\n").map { $0.isEmpty ? "" : prefix + $0 }.joined(separator: end))
      #expect(log.dumps.count == 1)
      #expect(log.dumps.first?.fields == wanted.fields)
      #expect(log.dumps.first?.cpu == 0)
      #expect(log.dumps.first?.damagedLines == [])
    }
  }

  @Test func `Lines of others between those of a dump change nothing but the line numbers`() throws {
    let text = try realDump()
    let other =
      "[   11.4] BUG: kernel NULL pointer dereference\nRIP: 0010:foo+0x1\nCR2: 0000000000000000 CR3: 0000000012\n"
    let log = dumps(text.replacingOccurrences(of: "\n", with: "\n" + other))
    #expect(log.dumps.count == 1)
    #expect(log.dumps.first?.fields.map(\.value) == dumps(text).dumps.first?.fields.map(\.value))
    #expect(log.dumps.first?.fields.first?.line == 9)
  }

  @Test func `Several dumps in one log are several`() throws {
    let text = try realDump() + "\n"
    let log = dumps("before\n" + text + "between\n" + newestDump + text)
    #expect(log.dumps.count == 3)
    #expect(log.dumps.map(\.cpu) == [0, 17, 0])
    #expect(log.dumps[0].fields.map(\.value) == log.dumps[2].fields.map(\.value))
  }

  @Test func `Two dumps of 5.10, which have no head, are told apart`() throws {
    let text = try realDump().split(separator: "\n").dropFirst().joined(separator: "\n") + "\n"
    let log = dumps(text + text)
    #expect(log.dumps.count == 2)
    #expect(log.dumps.map(\.fields.count) == [107, 107])
  }

  @Test func `Two processors that dump at once are told apart by the caller`() throws {
    let lines = try realDump().components(separatedBy: "\n").filter { !$0.isEmpty }
    let text = lines.map { "[   11.365020][  T100] \($0)\n[   11.365020][  T200] \($0)" }.joined(separator: "\n")
    let log = dumps(text + "\n")
    #expect(log.dumps.count == 2)
    #expect(log.dumps.allSatisfy { $0.fields.count == 107 && $0.damagedLines.isEmpty })
  }

  @Test func `A dump without its head is still read`() throws {
    let lines = try realDump().components(separatedBy: "\n")
    for first in 1..<45 {
      let log = dumps(lines[first...].joined(separator: "\n"))
      #expect(log.dumps.count == 1, "from \(lines[first])")
      let whole = try #require(dumps(lines.joined(separator: "\n")).dumps.first)
      let part = try #require(log.dumps.first)
      // What remains has the meaning it had.
      for field in part.fields { #expect(whole[field.id] == field.value, "from \(lines[first]): \(field.id.name)") }
    }
  }

  @Test func `A dump may end anywhere: what is read of it is what stands there`() throws {
    for (text, step) in [(try realDump(), 1), (newestDump, 3)] {
      let bytes = Array(text.utf8)
      let whole = try #require(DumpLog(bytes).dumps.first)
      for count in stride(from: 0, to: bytes.count, by: step) {
        let log = DumpLog(Array(bytes[..<count]))
        #expect(log.dumps.count <= 1)
        guard let part = log.dumps.first else { continue }
        let fields = part.fields.map { VMCSDump.Field(id: $0.id, value: $0.value, line: $0.line) }
        let same = whole.fields.prefix(fields.count).map { VMCSDump.Field(id: $0.id, value: $0.value, line: $0.line) }
        #expect(fields == same, "cut at \(count)")
        #expect(part.cpu == nil || part.cpu == whole.cpu, "cut at \(count)")
      }
    }
  }

  @Test func `A damaged line gives what stands before the damage, and is told`() throws {
    let text = try realDump().replacingOccurrences(
      of: "shadow=0x0000000060000010", with: "shadow=0x00000000600[   12.0] usb 1-1: new device")
    let dump = try #require(dumps(text).dumps.first)
    #expect(dump.damagedLines == [3])
    #expect(dump[DumpFieldID(rawValue: 0x6800)] == 0x30)
    #expect(dump[DumpFieldID(rawValue: 0x6004)] == nil)
    #expect(dump.fields.count == 105)
  }

  @Test(
    "A number with too many digits is no number of the kernel's",
    arguments: ["0x00000000000000030", "0x" + String(repeating: "f", count: 5000), "0x", "", "-1", "0xg"])
  func digits(number: String) throws {
    let dump = try #require(
      dumps("*** Guest State ***\nCR3 = 0x0000000000000001\nCR0: actual=\(number), shadow=0x0000000000000000\n").dumps
        .first)
    #expect(dump[DumpFieldID(rawValue: 0x6800)] == nil)
    #expect(dump[DumpFieldID(rawValue: 0x6802)] == 1)
  }

  @Test func `What KVM and the VMM say around a dump is kept with it`() throws {
    let text = try realDump()
    let log = dumps(
      "kvm [1234]: vcpu0, guest rIP: 0xfff0 vmx: unexpected exit reason 0x25\n" + text
        + "\nKVM: entry failed, hardware error 0x80000021\n")
    let dump = try #require(log.dumps.first)
    #expect(dump.remarks.map(\.kind) == [.unexpectedExit, .hardwareError])
    #expect(dump.remarks.map(\.value) == [0x25, 0x8000_0021])
    let none = dumps("[ 1.0] kvm_intel: set kvm_intel.dump_invalid_vmcs=1 to dump internal KVM state.\n")
    #expect(none.dumps.isEmpty)
    #expect(none.remarks.map(\.kind) == [.suppressed])
  }

  @Test func `Text of anything else has no dump`() {
    for text in [
      "", "\n", "\n\n\n", "CR3 = 0x0000000001234000\n", "VMCS\n", "VMCS 1, last attempted\n", "MSR guest autoload:\n",
      "EFER= 0x0000000000000d01\n", "rip:            0000000000001000 rflags:        0000000000000002\n",
    ] {
      #expect(dumps(text).dumps.isEmpty, "\(text)")
    }
  }
}

// MARK: - VMCB

/// What dump_vmcb() prints. `isNew`: as 7.3 does, for an SEV-ES guest; else as 5.10.
func vmcbDump(isNew: Bool) -> String {
  func control(_ name: String, _ value: String) -> String {
    name.padding(toLength: max(20, name.count), withPad: " ", startingAt: 0) + value + "\n"
  }
  func pair(_ a: String, _ x: String, _ b: String, _ y: String) -> String {
    a.padding(toLength: 15, withPad: " ", startingAt: 0) + " \(x) "
      + b.padding(toLength: 13, withPad: " ", startingAt: 0)
      + " \(y)\n"
  }
  let zero = "0000000000000000"
  var text = isNew ? "SEV-ES vCPU3 VMCB 00000000a0f94182, last attempted VMRUN on CPU 5\n" : ""
  text += "VMCB Control Area:\n"
  text += control("cr_read:", "0010") + control("cr_write:", "0110") + control("dr_read:", "00ff")
  text +=
    control("dr_write:", "00ff") + control("exceptions:", "00060042") + control("intercepts:", "bc4c8027 0000207f")
  text += control("pause filter count:", "3000") + control("pause filter threshold:", "128")
  text += control("iopm_base_pa:", "0000000100000000") + control("msrpm_base_pa:", "0000000100004000")
  text += control("tsc_offset:", "fffffffa34bb5682") + control("asid:", "1") + control("tlb_ctl:", "0")
  if isNew { text += control("erap_ctl:", "0") }
  text += control("int_ctl:", "03000000") + control("int_vector:", "00000000") + control("int_state:", "00000000")
  text += control("exit_code:", isNew ? "ffffffffffffffff" : "ffffffff")
  text += control("exit_info1:", zero) + control("exit_info2:", zero) + control("exit_int_info:", "00000000")
  text += control("exit_int_info_err:", "00000000") + control(isNew ? "misc_ctl:" : "nested_ctl:", "1")
  text += control("nested_cr3:", "0000000100008000") + control("avic_vapic_bar:", zero)
  if isNew { text += control("ghcb:", zero) }
  text += control("event_inj:", "80000b0e") + control("event_inj_err:", "00000004")
  text += control(isNew ? "misc_ctl2:" : "virt_ext:", "-1") + control("next_rip:", "0000000000001002")
  text += control("avic_backing_page:", zero) + control("avic_logical_id:", zero) + control("avic_physical_id:", zero)
  if isNew {
    text += control("vmsa_pa:", zero) + control("allowed_sev_features:", zero) + control("guest_sev_features:", zero)
  }
  text += "VMCB State Save Area:\n"
  for (name, attributes) in [
    ("es:", "0c93"), ("cs:", "0a9b"), ("ss:", "0c93"), ("ds:", "0c93"), ("fs:", "0000"), ("gs:", "0000"),
    ("gdtr:", "0000"), ("ldtr:", "0000"), ("idtr:", "0000"), ("tr:", "008b"),
  ] {
    text +=
      name.padding(toLength: 5, withPad: " ", startingAt: 0) + " s: 0010 a: \(attributes) l: ffffffff b: \(zero)\n"
  }
  text +=
    isNew
    ? "vmpl: 1   cpl:  0               efer:          0000000000001d01\n"
    : "cpl:            0                efer:         0000000000001d01\n"
  text += pair("cr0:", "0000000080050033", "cr2:", zero) + pair("cr3:", "0000000001234000", "cr4:", "00000000000006f0")
  text += pair("dr6:", "00000000ffff0ff0", "dr7:", "0000000000000400")
  text +=
    pair("rip:", "0000000000001000", "rflags:", "0000000000000002") + pair("rsp:", zero, "rax:", "0000000000000077")
  if isNew { text += pair("s_cet:", zero, "ssp:", zero) + "isst_addr:      \(zero)\n" }
  text += pair("star:", zero, "lstar:", zero) + pair("cstar:", zero, "sfmask:", zero)
  text += pair("kernel_gs_base:", zero, "sysenter_cs:", zero) + pair("sysenter_esp:", zero, "sysenter_eip:", zero)
  text += pair("gpat:", "0007040600070406", "dbgctl:", zero) + pair("br_from:", zero, "br_to:", zero)
  text += pair("excp_from:", zero, "excp_to:", zero)
  if isNew {
    text += "sev_features    0000000000000001\n" + pair("pl0_ssp:", zero, "pl1_ssp:", zero)
    text += pair("rax:", "0000000000000078", "rbx:", "0000000000000079")
  }
  return text
}

@Suite struct VMCBDumpTests {
  @Test func `A dump of 5.10`() throws {
    let log = dumps(vmcbDump(isNew: false))
    let dump = try #require(log.dumps.first)
    #expect(log.dumps.count == 1)
    #expect(dump.kind == .vmcb)
    #expect(dump.damagedLines.isEmpty)
    let fields = byName(dump)
    let wanted: [String: UInt64] = [
      "cr_read": 0x10, "cr_write": 0x110, "exceptions": 0x60042, "intercepts_3": 0xbc4c_8027, "intercepts_4": 0x207f,
      "pause_filter_count": 3000, "pause_filter_threshold": 128, "iopm_base_pa": 0x1_0000_0000, "asid": 1,
      "exit_code": 0xffff_ffff, "nested_ctl": 1, "event_inj": 0x8000_0b0e, "event_inj_err": 4, "virt_ext": .max,
      "cs.attrib": 0xa9b, "tr.selector": 0x10, "ss.limit": 0xffff_ffff, "cpl": 0, "efer": 0x1d01, "cr0": 0x8005_0033,
      "cr4": 0x6f0, "dr6": 0xffff_0ff0, "rflags": 2, "rax": 0x77, "gpat": 0x0007_0406_0007_0406, "excp_to": 0,
    ]
    for (name, value) in wanted { #expect(fields[name] == value, "\(name)") }
    // The control area, ten segments, CPL and EFER, 26 registers.
    #expect(dump.fields.count == 32 + 40 + 2 + 24)
  }

  @Test func `A dump of 7.3, of an encrypted guest`() throws {
    let log = dumps(vmcbDump(isNew: true))
    let dump = try #require(log.dumps.first)
    #expect(log.dumps.count == 1)
    #expect(dump.damagedLines.isEmpty)
    #expect(dump.cpu == 5)
    #expect(dump.vcpu == 3)
    #expect(dump.guestType == "SEV-ES")
    let fields = byName(dump)
    #expect(fields["exit_code"] == .max)
    #expect(fields["vmpl"] == 1)
    #expect(fields["misc_ctl2"] == .max)
    #expect(fields["sev_features"] == 1)
    // The VMCB's RAX, not the one of the save area that repeats it.
    #expect(fields["rax"] == 0x77)
    #expect(fields["rbx"] == 0x79)
    #expect(dump.exit?.reason.summary == ExitReason.lookup(isa: 2, code: .max)?.name)
  }

  @Test func `May end anywhere`() throws {
    let bytes = Array(vmcbDump(isNew: true).utf8)
    let whole = try #require(DumpLog(bytes).dumps.first)
    for count in stride(from: 0, to: bytes.count, by: 3) {
      guard let part = DumpLog(Array(bytes[..<count])).dumps.first else { continue }
      #expect(part.fields == Array(whole.fields.prefix(part.fields.count)), "cut at \(count)")
    }
  }
}

// MARK: - Hostile text

@Suite struct HostileDumpTests {
  /// Everything that the command does with a log.
  private func use(_ bytes: [UInt8]) {
    let log = DumpLog(bytes)
    for dump in log.dumps {
      _ = VMEntryCheck(dump)
      for field in dump.fields { _ = dump.meaning(of: field) }
      _ = dump.exit
      _ = dump.failedMSR
    }
  }

  @Test func `Random bytes`() {
    var random = Dice(seed: 1)
    for _ in 0..<200 { use((0..<500).map { _ in UInt8(truncatingIfNeeded: random.next()) }) }
  }

  @Test func `Dumps with bytes changed, lost and doubled`() throws {
    var random = Dice(seed: 2)
    let texts = [try fixture("intel-6.1/dump_vmcs.txt"), newestDump, vmcbDump(isNew: true)].map { Array($0.utf8) }
    for round in 0..<300 {
      var bytes = texts[round % texts.count]
      for _ in 0..<(1 + random.next() % 30) {
        let place = Int(random.next() % UInt64(bytes.count))
        switch random.next() % 4 {
        case 0: bytes[place] = UInt8(truncatingIfNeeded: random.next())
        case 1: bytes.remove(at: place)
        case 2:
          bytes.insert(contentsOf: Array("0123456789abcdef{[:=\n".utf8).shuffled(using: &random).prefix(5), at: place)
        default: bytes.swapAt(place, Int(random.next() % UInt64(bytes.count)))
        }
      }
      use(bytes)
    }
  }

  @Test func `Dumps of random values`() {
    var random = Dice(seed: 3)
    for round in 0..<300 {
      var dump = VMCSDump(kind: round % 4 == 0 ? .vmcb : .vmcs, line: 1)
      let ids =
        dump.kind == .vmcb ? DumpFieldID.vmcbFields : VMCSField.rows.map { DumpFieldID(rawValue: $0.encoding.rawValue) }
      for id in ids where random.next() % 8 != 0 {
        // Wider than the field, which no text gives: nothing may rely on the width.
        let value = random.next() >> (random.next() % 64)
        dump.fields.append(VMCSDump.Field(id: id, value: value, line: 1))
      }
      let check = VMEntryCheck(dump)
      #expect(check.checked + check.unchecked.count == VMEntryRule.all.filter { $0.isa == dump.kind.isa }.count)
      for field in dump.fields { _ = dump.meaning(of: field) }
      _ = dump.exit
    }
  }

  @Test func `Gigantic lines and lists`() {
    use(Array("VMCS x, last attempted VM-entry on CPU 99999999999999999999999999\n".utf8))
    use(
      Array("vCPU99999999999999999999 VMCB x, last attempted VMRUN on CPU 1\nasid: 99999999999999999999999999\n".utf8))
    use(Array(("CR0: actual=0x" + String(repeating: "0", count: 1_000_000)).utf8))
    use(Array(("[" + String(repeating: "[", count: 100_000)).utf8))
    use(Array(String(repeating: "<3>", count: 100_000).utf8))
    let list =
      "*** Guest State ***\nMSR guest autoload:\n"
      + String(repeating: "   0: msr=0xc0000080 value=0x0000000000000d01\n", count: 20_000)
    let log = dumps(list)
    #expect(log.dumps.first?.msrLists.first?.entries.count == 512)
  }

  @Test func `A million lines`() {
    var parser = VMCSDumpParser()
    let lines = Array(
      String(repeating: "[   11.365020] usb 1-1: new\n[   11.365020] RIP: 0010:x+0x1/0x2\n", count: 500).utf8)
    for _ in 0..<1000 { lines.withUnsafeBytes { parser.feed($0) } }
    let log = parser.finish()
    #expect(log.lineCount == 1_000_000)
    #expect(log.dumps.isEmpty)
  }

  @Test func `Thousands of dumps that are one line each`() {
    let log = dumps(
      String(
        repeating: "CR0: actual=0x0000000080050033, shadow=0x0000000080050031, gh_mask=fffffffffffefff7\n", count: 5000)
    )
    #expect(log.dumps.count == 5000)
  }
}
