import Architecture
import FakeKernel
import Foundation
import KernelMemory
import RandomSupport
import Testing

@testable import VCPUState

@Suite("The state of a vCPU")
struct VCPUStateTests {
  private func read(_ host: FakeHost) throws -> [VCPUReading] {
    try host.publish()
    return try StateReader(roots: host.roots).vcpus()
  }

  @Test(
    "is found through vm_list and the vCPUs' array or xarray, every vCPU once", arguments: [1, 2, 5], [false, true])
  func walk(vcpus: Int, usesArray: Bool) throws {
    let readings = try read(FakeHost(vcpus: vcpus, usesArray: usesArray))
    #expect(readings.map(\.vcpuID) == Array(0..<UInt32(vcpus)))
    #expect(readings.allSatisfy { $0.pid == 4242 })
    #expect(readings.map(\.cpu) == Array(0..<vcpus))
    for (index, reading) in readings.enumerated() {
      #expect(reading.reading("GUEST_CR3")?.value == UInt64(0x1000 * (index + 1)))
    }
  }

  @Test("can be asked for by thread, says what it cost, and its control words stay L1's while L2 is current")
  func threads() throws {
    let host = try FakeHost(vcpus: 3)
    for index in [0, 2] { host.run(index, by: Int32(7000 + index)) }
    // vCPU 2 runs a guest of its own.
    host.core.put(FakeHost.vcpu(2) + 0x300, at: FakeHost.vcpu(2) + 0x10)
    try host.publish()
    let reader = try StateReader(roots: host.roots)
    #expect(reader.vcpus().map(\.tid) == [7000, nil, 7002])
    let before = reader.reads
    let one = reader.vcpus(threads: [7002, 1])
    #expect(one.map(\.vcpuID) == [2])
    #expect(one[0].isNested && one[0].words.primary == 0)
    #expect(one[0].reads > 0 && one[0].reads < reader.reads - before && one[0].nanoseconds > 0)
    #expect(reader.vcpus(threads: []).isEmpty)
    let words = reader.controlWords()
    #expect(words.keys.sorted() == [7000, 7002])
    #expect(words[7002]?.primary == 0xb5a0_6dfa && words[7002] == words[7000])
  }

  @Test("has each of the 206 fields as a value or a reason")
  func allFields() throws {
    let reading = try #require(try read(FakeHost(vcpus: 1)).first)
    #expect(reading.fields.count == 206)
    #expect(reading.fields.map(\.field.place) == VMCSField.rows.map(\.encoding.rawValue))
    for field in reading.fields {
      #expect((field.value == nil) == (field.provenance == .unavailable), "\(field.field.name)")
      #expect(!field.how.isEmpty)
    }
    let exec = try #require(reading.reading("CPU_BASED_VM_EXEC_CONTROL"))
    #expect((exec.value, exec.provenance) == (0xb5a0_6dfa, .measured))
    #expect(exec.how == "vcpu_vmx.loaded_vmcs->controls_shadow.exec")
    #expect(reading.reading("HOST_RIP")?.value == 0xffff_ffff_c0ab_c000)
    #expect(reading.reading("HOST_IA32_PAT")?.how.contains("modprobe msr") == true)
    #expect(reading.reading("GUEST_LINEAR_ADDRESS")?.how == "only VMREAD could tell")
  }

  @Test("tells registers that KVM has read from those it has not read again since the guest ran")
  func lazyRegisters() throws {
    let host = try FakeHost(vcpus: 1)
    func provenance() throws -> [Provenance?] {
      let reading = try #require(try read(host).first)
      return ["GUEST_RSP", "GUEST_RIP", "GUEST_CR3"].map { reading.reading($0)?.provenance }
    }
    #expect(try provenance() == [.stale, .stale, .stale])
    host.core.put(UInt32(1 << 4 | 1 << 16), at: FakeHost.vcpu(0) + 0xc0)
    #expect(try provenance() == [.measured, .measured, .stale])
    host.core.put(UInt32(1 << 19), at: FakeHost.vcpu(0) + 0xc0)
    #expect(try provenance() == [.stale, .stale, .measured])
    // What was read before the guest went on is not what it is now.
    host.core.put(UInt32(1), at: FakeHost.vcpu(0) + 0x18)
    #expect(try provenance() == [.stale, .stale, .stale])
  }

  @Test("beside vmcs_config says which bits differ and what in KVM's structures decided it")
  func reasons() throws {
    let host = try FakeHost(vcpus: 1)
    #expect(try read(host).first?.differences == [])
    // HLT and MWAIT exits are disabled, and there is no APIC of KVM's.
    host.core.put([1, 1], at: FakeHost.kvm + 0x30)
    let cleared: [UInt32] = [7, 10, 21, 29]
    let exec = cleared.reduce(0xb5a0_6dfa as UInt32) { $0 & ~(1 << $1) }
    host.core.put(exec, at: FakeHost.vcpu(0) + 0x20c)
    host.core.put(UInt32(0x7f), at: FakeHost.vcpu(0) + 0x208)
    let differences = try #require(try read(host).first).differences
    #expect(
      differences.map(\.control.name) == [
        "PIN_BASED_POSTED_INTR", "CPU_BASED_HLT_EXITING", "CPU_BASED_MWAIT_EXITING", "CPU_BASED_TPR_SHADOW",
        "CPU_BASED_MONITOR_EXITING",
      ])
    #expect(differences.allSatisfy { !$0.isSet && $0.isMeasured })
    #expect(differences[1].reason.contains("KVM_X86_DISABLE_EXITS_HLT"))
    #expect(differences[2].reason.contains("KVM_X86_DISABLE_EXITS_MWAIT"))
    #expect(differences[3].reason.contains("vcpu.arch.apic"))
    // Nothing measured decides this one: the reason is KVM's rule, and says so.
    host.core.put(UInt32(0xb5a0_6dfa | 1 << 2), at: FakeHost.vcpu(0) + 0x20c)
    let window = try #require(
      try read(host).first?.differences.first { $0.control.name == "CPU_BASED_INTR_WINDOW_EXITING" })
    #expect(window.isSet && !window.isMeasured)
  }

  @Test("is that of vmcs02 while L2 is current")
  func nested() throws {
    let host = try FakeHost(vcpus: 1)
    host.core.put(FakeHost.vcpu(0) + 0x300, at: FakeHost.vcpu(0) + 0x10)
    host.core.put(UInt32(0x16), at: FakeHost.vcpu(0) + 0x308)
    let reading = try #require(try read(host).first)
    #expect(reading.isNested)
    #expect(reading.words.pin == 0x16)
    #expect(reading.reading("PIN_BASED_VM_EXEC_CONTROL")?.provenance == .measured)
    #expect(reading.reading("CR0_GUEST_HOST_MASK")?.how.contains("L2 is current") == true)
    #expect(!reading.fields.contains { $0.provenance == .derived && $0.field.area != .host })
  }

  @Test("lists the MSRs that do not exit")
  func msrBitmap() throws {
    let host = try FakeHost(vcpus: 1)
    let bitmap = FakeHost.bitmap(0)
    host.core.put(UInt8(0xff & ~(1 << 0)), at: bitmap + 0x10 / 8)  // read of IA32_TIME_STAMP_COUNTER, 0x10
    host.core.put([0xf8], at: bitmap + 0x174 / 8)
    host.core.put(UInt8(0xff & ~7), at: bitmap + 0x400 + 0x100 / 8)  // read and write of 0xc0000100...102
    host.core.put(UInt8(0xff & ~7), at: bitmap + 0xc00 + 0x100 / 8)
    let page = try #require(try read(host).first?.msrBitmap)
    let ranges = MSRAccess.ranges(in: page)
    #expect(ranges.contains(MSRAccess(first: 0x10, last: 0x10, readExits: false, writeExits: true)))
    #expect(ranges.contains(MSRAccess(first: 0xc000_0100, last: 0xc000_0102, readExits: false, writeExits: false)))
    #expect(MSRAccess.ranges(in: [UInt8](repeating: 0xff, count: 4096)).isEmpty)
    #expect(
      MSRAccess.ranges(in: [UInt8](repeating: 0, count: 4096)) == [
        MSRAccess(first: 0, last: 0x1fff, readExits: false, writeExits: false),
        MSRAccess(first: 0xc000_0000, last: 0xc000_1fff, readExits: false, writeExits: false),
      ])
    #expect(MSRAccess.ranges(in: []).isEmpty)
  }

  @Test("lacks the fields of members that a kernel's types lack, and nothing else")
  func oldTypes() throws {
    let reading = try #require(try read(FakeHost(vcpus: 1, without: ["tertiary_exec", "efer", "regs_avail"])).first)
    #expect(reading.reading("TERTIARY_VM_EXEC_CONTROL")?.value == nil)
    #expect(reading.reading("GUEST_IA32_EFER")?.value == nil)
    #expect(reading.reading("GUEST_RSP")?.provenance == .stale)
    #expect(reading.reading("GUEST_CR3")?.value == 0x1000)
    #expect(reading.words.tertiary == nil)
  }

  @Test("of what is not a vCPU any more is left out, never garbage")
  func gone() throws {
    let host = try FakeHost(vcpus: 2)
    host.core.put(UInt64(0), at: FakeHost.vcpu(0) + 8)
    #expect(try read(host).map(\.vcpuID) == [1])
    host.core.put(UInt64(0x1234), at: FakeHost.vcpu(1) + 0x10)
    #expect(try read(host).isEmpty)
    // A list that does not come back to its head.
    host.core.put(FakeHost.kvm + 8, at: FakeHost.kvm + 8)
    #expect(try read(host).isEmpty)
    host.core.put(UInt64(0xdead_0000_0000_0100), at: FakeHost.kvm + 8)
    #expect(try read(host).isEmpty)
    host.core.put(UInt32.max, at: FakeHost.kvm + 4)
    #expect(try read(host).isEmpty)
  }

  @Test("is read from any memory without a trap")
  func hostileMemory() throws {
    var generator = Dice()
    for _ in 0..<60 {
      let host = try FakeHost(vcpus: 3, usesArray: Bool.random(using: &generator))
      for _ in 0..<40 {
        let page = [FakeHost.kvm, FakeHost.node, FakeHost.vcpu(0), FakeHost.vcpu(1)].randomElement(using: &generator)!
        let place = page + UInt64.random(in: 0..<0x400, using: &generator)
        host.core.put(UInt8.random(in: 0...255, using: &generator), at: place)
      }
      for reading in try read(host) { #expect(reading.fields.count == 206) }
    }
  }

  @Test("cannot be read without kcore, symbols, types or kvm_intel: the error says which")
  func missingSources() throws {
    for (file, word) in [
      ("proc/kcore", "kcore"), ("proc/kallsyms", "kallsyms"), ("sys/kernel/btf/kvm_intel", "BTF"),
      ("sys/module/kvm_intel", "no VMCS"),
    ] {
      let host = try FakeHost(vcpus: 1)
      try host.publish()
      host.remove(file)
      do {
        _ = try StateReader(roots: host.roots)
        Issue.record("it went on without \(file)")
      } catch { #expect(error.description.contains(word), "\(error)") }
    }
  }
}
