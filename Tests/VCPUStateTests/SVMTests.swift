import Architecture
import FakeKernel
import Foundation
import KernelMemory
import RandomSupport
import Testing

@testable import VCPUState

@Suite("The VMCB of a vCPU")
struct SVMTests {
  private func read(_ host: FakeSVMHost) throws -> [VCPUReading] {
    try host.publish()
    return try StateReader(roots: host.roots).vcpus()
  }

  private func one(_ host: FakeSVMHost) throws -> VCPUReading { try #require(try read(host).first) }

  private static let arch = FakeSVMHost.vcpu(0) + FakeSVMHost.arch

  @Test("is read whole: every field of every vCPU as it is in memory")
  func fields() throws {
    let host = try FakeSVMHost(vcpus: 2)
    for (index, field) in VMCBField.rows.enumerated() where !field.name.hasPrefix("control.") {
      for byte in 0..<field.bytes {
        host.core.put(UInt8(truncatingIfNeeded: index + byte), at: FakeSVMHost.vmcb01(1) + UInt64(field.offset + byte))
      }
    }
    let readings = try read(host)
    #expect(readings.map(\.vcpuID) == [0, 1] && readings.allSatisfy { $0.isa == .svm && $0.pid == 4242 })
    let reading = readings[1]
    #expect(reading.fields.dropLast().map(\.field.name) == VMCBField.rows.map(\.name))
    for (index, field) in VMCBField.rows.enumerated() where !field.name.hasPrefix("control.") {
      let expected = (0..<field.bytes).reversed().reduce(UInt64(0)) {
        $0 << 8 | UInt64(UInt8(truncatingIfNeeded: index + $1))
      }
      #expect(reading.reading(field.name)?.value == expected, "\(field.name)")
    }
    let tsc = try #require(readings[0].reading("control.nested_ctl"))
    #expect((tsc.value, tsc.provenance, tsc.how) == (1, .measured, "vcpu_svm.vmcb->control.nested_ctl"))
    #expect(tsc.field.place == 0x90 && tsc.field.kind == .vmcb)
    for field in reading.fields + reading.others {
      #expect((field.value == nil) == (field.provenance == .unavailable), "\(field.field.name)")
      #expect(!field.how.isEmpty)
    }
    let state = try #require(reading.fields.last)
    #expect(state.field.area == .host && state.value == nil && state.how.contains("VM_HSAVE_PA"))
    #expect(reading.reads > 0 && reading.nanoseconds > 0)
  }

  @Test("is stale while the guest runs, but for what KVM alone writes")
  func running() throws {
    let host = try FakeSVMHost()
    func provenance(_ name: String) throws -> Provenance? { try one(host).reading(name)?.provenance }
    let names = ["save.rflags", "save.kernel_gs_base", "control.int_ctl", "RAX", "CR3"]
    for name in names { #expect(try provenance(name) == .measured) }
    for mode in [UInt32(1), 2] {
      host.core.put(mode, at: FakeSVMHost.vcpu(0) + FakeSVMHost.mode)
      for name in names { #expect(try provenance(name) == .stale) }
      for name in ["control.intercepts[3]", "control.exit_code", "CR4", "EFER", "DR0", "MP_STATE"] {
        #expect(try provenance(name) == .measured, "\(name)")
      }
    }
    // READING_SHADOW_PAGE_TABLES is outside.
    host.core.put(UInt32(3), at: FakeSVMHost.vcpu(0) + FakeSVMHost.mode)
    #expect(try provenance("save.rflags") == .measured)
    // The guest has its debug registers.
    host.core.put(UInt32(1), at: FakeSVMHost.vcpu(0) + FakeSVMHost.mode)
    host.core.put(UInt32(2), at: Self.arch + 0xd4)
    #expect(try provenance("DR0") == .stale)
  }

  @Test("has RIP as of the last exit: what KVM moved it to since is beside it, and said")
  func written() throws {
    let host = try FakeSVMHost()
    host.core.put(UInt64(0x1000), at: FakeSVMHost.vmcb01(0) + 0x578)
    host.core.put(UInt64(0x1002), at: Self.arch + 0x10 + 8 * 16)
    let reading = try one(host)
    let rip = try #require(reading.reading("save.rip"))
    #expect((rip.value, rip.provenance) == (0x1000, .stale))
    #expect(rip.how.contains("0x1002 from vcpu_svm.vcpu.arch.regs[16]"))
    #expect(reading.reading("RIP")?.value == 0x1002 && reading.reading("RIP")?.provenance == .measured)
    #expect(reading.reading("save.rsp")?.provenance == .measured)
  }

  @Test("comes with what KVM keeps beside it: registers, debug registers, events, the APIC page")
  func others() throws {
    let host = try FakeSVMHost()
    for index in 0..<17 { host.core.put(UInt64(0x100 + index), at: Self.arch + 0x10 + UInt64(8 * index)) }
    for index in 0..<4 { host.core.put(UInt64(0x200 + index), at: Self.arch + 0xd8 + UInt64(8 * index)) }
    host.core.put([1, 0, 14], at: Self.arch + 0x110)
    host.core.put(UInt32(0x90), at: FakeSVMHost.apicPage(0) + 0x80)
    for index in 0..<8 {
      host.core.put(UInt32(0x1000 + index), at: FakeSVMHost.apicPage(0) + 0x200 + UInt64(0x10 * index))
      host.core.put(UInt32(0x2000 + index), at: FakeSVMHost.apicPage(0) + 0x100 + UInt64(0x10 * index))
    }
    let reading = try one(host)
    func value(_ name: String) -> UInt64? { reading.reading(name)?.value }
    for (index, name) in ["RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "R8"].enumerated() {
      #expect(value(name) == UInt64(0x100 + index), "\(name)")
    }
    #expect(value("R15") == 0x10f && value("RIP") == 0x110 && value("DR3") == 0x203)
    #expect(value("EXCEPTION_PENDING") == 1 && value("EXCEPTION_INJECTED") == 0 && value("EXCEPTION_VECTOR") == 14)
    #expect(value("APIC_TPR") == 0x90 && value("CR8") == 9 && value("APIC_PPR") == 0)
    for index in 0..<8 {
      #expect(
        value("APIC_IRR\(index)") == UInt64(0x1000 + index) && value("APIC_ISR\(index)") == UInt64(0x2000 + index))
    }
    // Not in these types.
    #expect(value("INTERRUPT_VECTOR") == nil && reading.reading("INTERRUPT_VECTOR")?.provenance == .unavailable)
    // Without an APIC of KVM's, CR8 is where KVM keeps it.
    host.core.put(UInt64(0), at: Self.arch + 0xa8)
    host.core.put(UInt64(5), at: Self.arch + 0x120)
    let without = try one(host)
    #expect(without.reading("CR8")?.value == 5)
    #expect(without.reading("APIC_TPR")?.how.contains("vcpu.arch.apic") == true)
  }

  @Test("beside what KVM gives every vCPU says which intercepts differ and what in KVM's structures decided it")
  func reasons() throws {
    let host = try FakeSVMHost()
    #expect(try one(host).differences == [])
    func set(_ words: UInt32...) {
      for (index, word) in words.enumerated() { host.core.put(word, at: FakeSVMHost.vmcb01(0) + UInt64(4 * index)) }
    }
    // The guest owns CR0, no interrupt waits, exits of HLT, MONITOR and MWAIT are disabled, and its debug registers are loaded.
    host.core.put(UInt64(3), at: FakeSVMHost.kvm + 0x30)
    host.core.put(UInt32(2), at: Self.arch + 0xd4)
    set(0x0010_0010, 0, 0x0006_0042, 0xbc4c_8027, 0x0000_627f)
    let differences = try one(host).differences
    #expect(differences.allSatisfy { !$0.isSet && $0.isMeasured })
    #expect(differences.count == 3 + 16 + 3)
    let why = Dictionary(uniqueKeysWithValues: differences.map { ($0.control.name, $0.reason) })
    #expect(why["INTERCEPT_CR0_WRITE"]?.contains("vcpu.arch.cr0") == true)
    #expect(why["INTERCEPT_CR8_WRITE"]?.contains("IRR is 0") == true)
    #expect(why["INTERCEPT_DR7_READ"]?.contains("debug registers") == true)
    #expect(why["INTERCEPT_HLT"]?.contains("KVM_X86_DISABLE_EXITS_HLT") == true)
    #expect(why["INTERCEPT_MWAIT"]?.contains("KVM_X86_DISABLE_EXITS_MWAIT") == true)
    // An interrupt waits that the guest's priority holds back: this is not why CR8 does not exit.
    host.core.put(UInt32(0x90), at: FakeSVMHost.apicPage(0) + 0x80)
    host.core.put(UInt32(1), at: FakeSVMHost.apicPage(0) + 0x200 + 0x20)
    func difference(_ name: String) throws -> ControlDifference? {
      try one(host).differences.first { $0.control.name == name }
    }
    #expect(try difference("INTERCEPT_CR8_WRITE")?.isMeasured == false)
    // One above it does not wait.
    host.core.put(UInt32(1), at: FakeSVMHost.apicPage(0) + 0x200 + 0x50)
    #expect(try difference("INTERCEPT_CR8_WRITE")?.reason.contains("IRR, TPR") == true)
    host.core.put(UInt32(0x8100_0000), at: FakeSVMHost.vmcb01(0) + 0x60)
    #expect(try difference("INTERCEPT_CR8_WRITE")?.reason.contains("AVIC is on") == true)
    // Another CR0 than the VMCB's: KVM would intercept it.
    host.core.put(UInt64(0x6000_0010), at: Self.arch + 0xb0)
    #expect(try difference("INTERCEPT_CR0_READ")?.isMeasured == false)
  }

  @Test(
    "says why what is off at first is on: an interrupt window, an NMI, a debugger, a nested guest, no virtual VMLOAD")
  func reasonsOfMore() throws {
    let host = try FakeSVMHost(parameters: ["vls": "1"])
    let words: [UInt32] = [0x0111_0011, 0x00ff_00ff, 0x0006_2042 | 1 << 3, 0xbd5c_8037, 0x0000_6e7f, 1 << 5]
    for (index, word) in words.enumerated() { host.core.put(word, at: FakeSVMHost.vmcb01(0) + UInt64(4 * index)) }
    func differences() throws -> [String: ControlDifference] {
      Dictionary(uniqueKeysWithValues: try one(host).differences.map { ($0.control.name, $0) })
    }
    let names: Set = [
      "INTERCEPT_EXCEPTION_OFFSET+3", "INTERCEPT_EXCEPTION_OFFSET+13", "INTERCEPT_VINTR", "INTERCEPT_IRET",
      "INTERCEPT_VMLOAD", "INTERCEPT_VMSAVE", "INTERCEPT_BUSLOCK",
    ]
    // Where nothing that was read decides, the reason is KVM's rule, and says so. Virtual VMLOAD is off in the VMCB.
    let rules = try differences()
    #expect(Set(rules.keys) == names && rules.values.allSatisfy { $0.isSet && !$0.reason.isEmpty })
    #expect(Set(rules.values.filter(\.isMeasured).map(\.control.name)) == ["INTERCEPT_VMLOAD", "INTERCEPT_VMSAVE"])
    host.core.put(UInt32(0x0100_0100), at: FakeSVMHost.vmcb01(0) + 0x60)
    host.core.put(UInt8(1), at: FakeSVMHost.vcpu(0) + 0x628)
    host.core.put(UInt32(0x1_0001), at: FakeSVMHost.vcpu(0) + 0x570)
    host.core.put(UInt64(1 << 12), at: Self.arch + 0xc8)
    host.core.put(UInt8(1), at: FakeSVMHost.kvm + 0x38)
    #expect(try differences().values.allSatisfy { $0.isMeasured })
    #expect(try differences()["INTERCEPT_VINTR"]?.reason.contains("V_IRQ") == true)
  }

  @Test("is L2's while L2 is current: with its own intercepts and map, but what VMLOAD carries is in L1's")
  func nested() throws {
    let host = try FakeSVMHost()
    host.core.put(UInt64(0x11), at: FakeSVMHost.vmcb01(0) + 0x600)
    host.core.put(UInt64(0x22), at: FakeSVMHost.vmcb02(0) + 0x600)
    host.core.put(UInt64(0x33), at: FakeSVMHost.vmcb02(0) + 0x570)
    host.core.put(UInt32(0xffff), at: FakeSVMHost.vmcb02(0))
    host.core.put([0xfe], at: FakeSVMHost.nestedMap(0))
    host.core.put(UInt32(77), at: FakeSVMHost.vcpu(0) + 0x660)
    #expect(try !one(host).isNested && one(host).reading("save.star")?.value == 0x11)
    #expect(try one(host).vmcs12 == nil)
    host.enterL2(0)
    let reading = try one(host)
    #expect(reading.isNested && reading.words.intercepts?[0] == 0xffff)
    #expect(reading.reading("save.rflags")?.value == 0x33)
    #expect(reading.reading("save.star")?.value == 0x11)
    #expect(reading.reading("save.star")?.how == "vcpu_svm.vmcb01.ptr->save.star")
    #expect(reading.differences.allSatisfy { !$0.isMeasured && $0.reason.contains("L2 is current") })
    #expect(MSRAccess.ranges(in: try #require(reading.msrBitmap)).map(\.first) == [0])
    #expect(reading.vmcs12?.map(\.field.name) == ["control.tsc_offset", "control.asid"])
    #expect(reading.vmcs12?.last?.value == 77)
    // With the map of L1 in the VMCB of L2, that is the one in force.
    host.core.put(FakeSVMHost.vmcb01(0) + 0x8000_0000, at: FakeSVMHost.vmcb02(0) + 0x48)
    #expect(MSRAccess.ranges(in: try #require(try one(host).msrBitmap)).isEmpty)
  }

  @Test("of L1 decides the setting, whichever is current", arguments: [false, true])
  func controlWords(isOld: Bool) throws {
    let host = try FakeSVMHost(isOld: isOld)
    // Nobody ran it yet: there is no thread to know it by.
    try host.publish()
    #expect(try StateReader(roots: host.roots).controlWords().isEmpty)
    let backend = try SVMReader(roots: host.roots)
    let before = try #require(backend.controlWords(of: FakeSVMHost.vcpu(0)))
    #expect(before.intercepts == SIMD8(0x0111_0011, 0x00ff_00ff, 0x0006_0042, 0xbd4c_8027, 0x0000_6e7f, 0, 0, 0))
    if isOld {
      // Before 5.13 the one VMCB becomes L2's, and `hsave` has what L1 had.
      host.core.put(UInt32(1 << 5), at: Self.arch + 0xd0)
      host.core.put(UInt32(0xffff), at: FakeSVMHost.vmcb01(0))
    } else {
      host.enterL2(0)
      host.core.put(UInt32(0xffff), at: FakeSVMHost.vmcb02(0))
    }
    let reading = try one(host)
    #expect(reading.isNested && reading.words.intercepts?[0] == 0xffff)
    #expect(try SVMReader(roots: host.roots).controlWords(of: FakeSVMHost.vcpu(0)) == before)
  }

  @Test("of an SEV-ES guest has its control area only")
  func encrypted() throws {
    let host = try FakeSVMHost()
    host.core.put(UInt64(7), at: FakeSVMHost.vmcb01(0) + 0x90)
    let reading = try one(host)
    for field in reading.fields + reading.others where field.field.area == .guest {
      #expect(field.value == nil && field.how.contains("encrypted"), "\(field.field.name)")
    }
    #expect(reading.reading("control.nested_ctl")?.value == 7)
  }

  @Test("has fields that mean nothing now, and says so")
  func unused() throws {
    let host = try FakeSVMHost()
    func how(_ name: String) throws -> String { try #require(try one(host).reading(name)).how }
    #expect(try how("control.avic_backing_page").contains("AVIC is off"))
    #expect(try how("control.pause_filter_count").contains("PAUSE is not intercepted"))
    #expect(try !how("control.nested_cr3").contains("not in use"))
    host.core.put(UInt64(0), at: FakeSVMHost.vmcb01(0) + 0x90)
    #expect(try how("control.nested_cr3").contains("nested paging is off"))
  }

  @Test("lacks what a kernel's types lack, and nothing else")
  func missingMembers() throws {
    let reading = try one(FakeSVMHost(without: ["regs", "switch_db_regs", "nmi_masked", "mode", "msrpm", "stat"]))
    #expect(reading.reading("RAX")?.provenance == .unavailable)
    #expect(reading.reading("save.rip")?.provenance == .measured)
    #expect(reading.reading("CR3")?.provenance == .measured && reading.msrBitmap == nil)
    for member in ["vmcb", "vcpu_id", "vm_list", "vcpus"] {
      let host = try FakeSVMHost(without: [member])
      try host.publish()
      #expect(throws: KernelMemoryError.self, "\(member)") { try StateReader(roots: host.roots) }
    }
  }

  @Test("of what is not a vCPU any more is left out, never garbage")
  func gone() throws {
    let host = try FakeSVMHost(vcpus: 2)
    host.core.put(UInt64(0), at: FakeSVMHost.vcpu(0) + 8)
    #expect(try read(host).map(\.vcpuID) == [1])
    for pointer in [UInt64(0x1234), 0, FakeSVMHost.direct + 0x6_fff8, 0xffff_ffff_ffff_fff8] {
      host.core.put(pointer, at: FakeSVMHost.vcpu(1) + FakeSVMHost.vmcb)
      #expect(try read(host).isEmpty)
    }
  }

  @Test("is read from any memory without a trap")
  func hostileMemory() throws {
    var generator = Dice()
    for _ in 0..<60 {
      let host = try FakeSVMHost(vcpus: 3, isOld: Bool.random(using: &generator))
      let pages = [FakeSVMHost.kvm, FakeSVMHost.vcpu(0), FakeSVMHost.vcpu(1), FakeSVMHost.vmcb01(0)]
      for _ in 0..<200 {
        let place = pages.randomElement(using: &generator)! + UInt64.random(in: 0..<0x700, using: &generator)
        host.core.put(UInt8.random(in: 0...255, using: &generator), at: place)
      }
      for reading in try read(host) { #expect(reading.fields.count == VMCBField.rows.count + 1) }
    }
  }

  @Test("cannot be read without kcore, symbols or types: the error says which, and what helps")
  func missingSources() throws {
    for (file, word, remedy) in [
      ("proc/kcore", "kcore", "CONFIG_PROC_KCORE"), ("proc/kallsyms", "kallsyms", "CONFIG_KALLSYMS"),
      ("sys/kernel/btf/kvm_amd", "kvm_amd", "CONFIG_DEBUG_INFO_BTF"), ("sys/kernel/btf/vmlinux", "vmlinux", "BTF"),
      ("sys/module/kvm_amd", "neither kvm_intel nor kvm_amd", "modprobe"),
    ] {
      let host = try FakeSVMHost()
      try host.publish()
      host.remove(file)
      do {
        _ = try StateReader(roots: host.roots)
        Issue.record("it went on without \(file)")
      } catch { #expect(error.description.contains(word) && error.description.contains(remedy), "\(error)") }
    }
    let host = try FakeSVMHost()
    try host.publish()
    try host.file("proc/kallsyms", Array("0000000000000000 T _text\n0000000000000000 d vm_list\t[kvm]\n".utf8))
    do {
      _ = try StateReader(roots: host.roots)
      Issue.record("it went on without addresses")
    } catch { #expect(error.description.contains("kptr_restrict"), "\(error)") }
  }

  @Test("is that of the module that fits the processor, where both are built in")
  func module() throws {
    let host = try FakeSVMHost()
    try host.file("sys/module/kvm_intel/parameters/ept", Array("N\n".utf8))
    try host.file("proc/cpuinfo", Array("processor\t: 0\nflags\t\t: fpu svm npt\n".utf8))
    #expect(StateReader.module(roots: host.roots) == "kvm_amd")
    try host.file("proc/cpuinfo", Array("processor\t: 0\nflags\t\t: fpu vmx\n".utf8))
    #expect(StateReader.module(roots: host.roots) == "kvm_intel")
    host.remove("sys/module/kvm_intel")
    host.remove("sys/module/kvm_amd")
    #expect(StateReader.module(roots: host.roots) == nil)
  }
}
