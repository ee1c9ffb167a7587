import Testing

@testable import Architecture

@Suite("The VMCB's fields")
struct VMCBFieldTests {
  /// `struct vmcb_control_area` and `struct vmcb_save_area` of `arch/x86/include/asm/svm.h`: each member's bytes, those without
  /// a name reserved. Offsets follow from the order.
  private static let control: [(String?, Int)] =
    (0..<6).map { ("intercepts[\($0)]", 4) } + [
      (nil, 36), ("pause_filter_thresh", 2), ("pause_filter_count", 2), ("iopm_base_pa", 8), ("msrpm_base_pa", 8),
      ("tsc_offset", 8), ("asid", 4), ("tlb_ctl", 1), ("erap_ctl", 1), (nil, 2), ("int_ctl", 4), ("int_vector", 4),
      ("int_state", 4), (nil, 4), ("exit_code", 4), ("exit_code_hi", 4), ("exit_info_1", 8), ("exit_info_2", 8),
      ("exit_int_info", 4), ("exit_int_info_err", 4), ("nested_ctl", 8), ("avic_vapic_bar", 8), ("ghcb_gpa", 8),
      ("event_inj", 4), ("event_inj_err", 4), ("nested_cr3", 8), ("virt_ext", 8), ("clean", 4), (nil, 4),
      ("next_rip", 8), ("insn_len", 1), ("insn_bytes[0]", 8), ("insn_bytes[8]", 7), ("avic_backing_page", 8), (nil, 8),
      ("avic_logical_id", 8), ("avic_physical_id", 8), (nil, 8), ("vmsa_pa", 8), (nil, 16), ("bus_lock_counter", 2),
      (nil, 22), ("allowed_sev_features", 8), ("guest_sev_features", 8), (nil, 664), ("reserved_sw[0]", 8),
      ("reserved_sw[8]", 8), ("reserved_sw[16]", 8), ("reserved_sw[24]", 8),
    ]

  private static let save: [(String?, Int)] =
    ["es", "cs", "ss", "ds", "fs", "gs", "gdtr", "ldtr", "idtr", "tr"].flatMap { name -> [(String?, Int)] in
      name == "gdtr" || name == "idtr"
        ? [(nil, 4), (name + ".limit", 4), (name + ".base", 8)]
        : [(name + ".selector", 2), (name + ".attrib", 2), (name + ".limit", 4), (name + ".base", 8)]
    } + [
      (nil, 42), ("vmpl", 1), ("cpl", 1), (nil, 4), ("efer", 8), (nil, 112), ("cr4", 8), ("cr3", 8), ("cr0", 8),
      ("dr7", 8), ("dr6", 8), ("rflags", 8), ("rip", 8), (nil, 88), ("rsp", 8), ("s_cet", 8), ("ssp", 8),
      ("isst_addr", 8), ("rax", 8), ("star", 8), ("lstar", 8), ("cstar", 8), ("sfmask", 8), ("kernel_gs_base", 8),
      ("sysenter_cs", 8), ("sysenter_esp", 8), ("sysenter_eip", 8), ("cr2", 8), (nil, 32), ("g_pat", 8), ("dbgctl", 8),
      ("br_from", 8), ("br_to", 8), ("last_excp_from", 8), ("last_excp_to", 8), (nil, 72), ("spec_ctrl", 8),
    ]

  @Test("lie where Linux's structures have them, all of them, in order")
  func layout() {
    var expected: [String] = []
    var offset = 0
    for (area, members) in [("control", Self.control), ("save", Self.save)] {
      for (name, bytes) in members {
        if let name { expected.append("\(area).\(name) \(offset) \(bytes)") }
        offset += bytes
      }
      // EXPECTED_VMCB_CONTROL_AREA_SIZE; with EXPECTED_VMCB_SAVE_AREA_SIZE.
      #expect(offset == (area == "control" ? 1024 : 1024 + 744))
    }
    #expect(VMCBField.rows.map { "\($0.name) \($0.offset) \($0.bytes)" } == expected)
    #expect(VMCBField.size == offset)
  }

  @Test("are each in the area they belong to, and those of VMLOAD and VMSAVE are known")
  func areas() {
    for field in VMCBField.rows {
      #expect((field.area == .guest) == field.name.hasPrefix("save."))
      #expect(!field.description.isEmpty && StateField(field).mask.nonzeroBitCount == field.bytes * 8)
    }
    #expect(
      VMCBField.rows.filter { $0.area == .exit }.map(\.name) == [
        "control.exit_code", "control.exit_code_hi", "control.exit_info_1", "control.exit_info_2",
        "control.exit_int_info", "control.exit_int_info_err", "control.next_rip", "control.insn_len",
        "control.insn_bytes[0]", "control.insn_bytes[8]",
      ])
    // AMD APM volume 3, VMSAVE: FS, GS, TR, LDTR with their hidden parts, KernelGsBase, STAR..., SYSENTER_*.
    let carried = VMCBField.rows.filter(\.isVMSAVE).map { String($0.name.dropFirst(5).prefix { $0 != "." }) }
    #expect(
      Set(carried) == [
        "fs", "gs", "ldtr", "tr", "star", "lstar", "cstar", "sfmask", "kernel_gs_base", "sysenter_cs", "sysenter_esp",
        "sysenter_eip",
      ])
    #expect(carried.count == 24)
  }

  @Test("have a value in a copy that is long enough, and none in any other")
  func values() throws {
    let vmcb = (0..<VMCBField.size).map { UInt8(truncatingIfNeeded: $0) }
    #expect(VMCBField.lookup(name: "control.asid")?.value(in: vmcb) == 0x5b5a_5958)
    #expect(VMCBField.lookup(name: "control.insn_bytes[8]")?.value(in: vmcb) == 0xdf_dedd_dcdb_dad9)
    #expect(VMCBField.lookup(name: "save.spec_ctrl")?.value(in: vmcb) == 0xe7e6_e5e4_e3e2_e1e0)
    #expect(VMCBField.lookup(name: "save.spec_ctrl")?.value(in: Array(vmcb.dropLast())) == nil)
    #expect(VMCBField.lookup(name: "save.rbx") == nil)
  }

  @Test("say of the intercepts what KVM gives every vCPU with these parameters")
  func defaults() {
    // As read in a VMCB of kvm_amd of 6.12, before the guest's CR0 and interrupts cleared bits 0, 16 and 24.
    let usual = ["kvm_amd.npt": "Y", "kvm_amd.intercept_smi": "Y", "kvm_amd.vls": "0", "kvm_amd.vgif": "0"]
    #expect(
      InterceptDefault.words(parameters: usual)
        == SIMD8(0x0111_0011, 0x00ff_00ff, 0x0006_0042, 0xbd4c_8027, 0x0000_6e7f, 0, 0, 0))
    func changed(_ name: String, _ value: String) -> [UInt32] {
      let words = InterceptDefault.words(parameters: usual.merging([name: value]) { $1 })
      let before = InterceptDefault.words(parameters: usual)
      return (0..<192).filter { (words[Int($0 / 32)] ^ before[Int($0 / 32)]) >> ($0 % 32) & 1 == 1 }
    }
    #expect(changed("kvm_amd.npt", "N") == [3, 19, 78, 121, 162])
    #expect(changed("kvm_amd.vls", "1") == [130, 131])
    #expect(changed("kvm_amd.vgif", "1") == [132, 133])
    #expect(changed("kvm_amd.intercept_smi", "N") == [98])
    #expect(changed("kvm.enable_vmware_backdoor", "Y") == [77])
    // PAUSE is intercepted with both.
    #expect(changed("kvm_amd.pause_filter_count", "3000") == [])
    let rows = InterceptDefault.rows
    let all = rows.flatMap(\.controls)
    #expect(all == all.sorted() && Set(all).count == all.count && all.allSatisfy { $0.interceptCode != nil })
    #expect(InterceptDefault.lookup(.interceptPause)?.parameters.count == 2)
    #expect(InterceptDefault.lookup(.interceptCR1Read) == nil)
  }

  @Test("of the MSR permission map are the MSRs of three ranges, two bits each")
  func permissionMap() {
    #expect(MSRAccess.ranges(in: [UInt8](repeating: 0xff, count: 8192)).isEmpty)
    #expect(
      MSRAccess.ranges(in: [UInt8](repeating: 0, count: 8192)).map { [$0.first, $0.last] } == [
        [0, 0x1fff], [0xc000_0000, 0xc000_1fff], [0xc001_0000, 0xc001_1fff],
      ])
    var map = [UInt8](repeating: 0xff, count: 8192)
    // Four MSRs a byte: 0x174 to 0x176 read and written, 0xc0000080 read only, 0xc0010130 written only.
    map[0x174 / 4] = 0b1100_0000
    map[0x800 + 0x80 / 4] = 0b1111_1110
    map[0x1000 + 0x130 / 4] = 0b1111_1101
    map[0x1800] = 0
    #expect(
      MSRAccess.ranges(in: map) == [
        MSRAccess(first: 0x174, last: 0x176, readExits: false, writeExits: false),
        MSRAccess(first: 0xc000_0080, last: 0xc000_0080, readExits: false, writeExits: true),
        MSRAccess(first: 0xc001_0130, last: 0xc001_0130, readExits: true, writeExits: false),
      ])
    func exits(_ msr: UInt32) -> [Bool]? { MSRAccess.exits(of: msr, in: map).map { [$0.read, $0.write] } }
    #expect(exits(0x175) == [false, false] && exits(0x177) == [true, true])
    #expect(exits(0xc000_0080) == [false, true] && exits(0xc001_0130) == [true, false])
    // Outside the ranges both always exit.
    for msr: UInt32 in [0x2000, 0x4000_0000, 0xc001_2000, .max] { #expect(exits(msr) == [true, true]) }
    for count in [0, 1, 4095, 4097, 8191, 12288] {
      #expect(MSRAccess.ranges(in: [UInt8](repeating: 0, count: count)).isEmpty)
      #expect(MSRAccess.exits(of: 0x10, in: [UInt8](repeating: 0, count: count)) == nil)
    }
  }
}
