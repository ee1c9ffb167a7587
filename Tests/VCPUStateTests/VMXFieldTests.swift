import Architecture
import FakeKernel
import KernelMemory
import Testing

@testable import VCPUState

@Suite("A field that no structure of KVM's holds as it is")
struct VMXFieldTests {
  private typealias Place = FakeHost.Place

  private func read(_ host: FakeHost) throws -> VCPUReading {
    try host.publish()
    return try #require(try StateReader(roots: host.roots).vcpus().first)
  }

  private func expect(
    _ reading: VCPUReading, _ name: String, _ value: UInt64?, _ provenance: Provenance, _ words: String = "",
    at location: SourceLocation = #_sourceLocation
  ) throws {
    let field = try #require(reading.reading(name), "\(name)", sourceLocation: location)
    #expect(field.value == value && field.provenance == provenance, "\(field)", sourceLocation: location)
    #expect(words.isEmpty || field.how.contains(words), "\(field.how)", sourceLocation: location)
  }

  @Test("HOST_TR_BASE is what the TSS descriptor of the CPU says, and HOST_GDTR_BASE the GDT beside that TSS")
  func descriptorTables() throws {
    let host = try FakeHost(vcpus: 1)
    host.core.put(FakeHost.gdt &- 0xb000, at: FakeHost.modules + 0x100)
    // 0xfffffe0000003000, limit 0x206f, busy.
    host.core.put(UInt64(0x0000_8b00_3000_206f), at: FakeHost.gdt + 64)
    host.core.put(UInt64(0xffff_fe00), at: FakeHost.gdt + 72)
    try expect(read(host), "HOST_TR_BASE", 0xffff_fe00_0000_3000, .measured, "gdt_page of CPU 0")
    try expect(read(host), "HOST_GDTR_BASE", 0xffff_fe00_0000_1000, .derived)
    // The VMCS is loaded nowhere: whose CPU's should it be?
    host.core.put(Int32(-1), at: FakeHost.vcpu(0) + Place.loadedCPU)
    try expect(read(host), "HOST_TR_BASE", nil, .unavailable, "loaded on no CPU")
    // A code segment is no TSS.
    host.core.put(Int32(0), at: FakeHost.vcpu(0) + Place.loadedCPU)
    host.core.put(UInt64(0x00af_9b00_0000_ffff), at: FakeHost.gdt + 64)
    try expect(read(host), "HOST_TR_BASE", nil, .unavailable)
  }

  @Test("HOST_FS_SELECTOR is 0 where VM entry would refuse the host's")
  func selectors() throws {
    let host = try FakeHost(vcpus: 1)
    host.core.put(UInt16(0x28), at: FakeHost.vcpu(0) + Place.vmcs01 + 62)
    try expect(read(host), "HOST_FS_SELECTOR", 0x28, .measured, "host_state.fs_sel")
    host.core.put(UInt16(0x2b), at: FakeHost.vcpu(0) + Place.vmcs01 + 62)
    try expect(read(host), "HOST_FS_SELECTOR", 0, .derived, "would refuse")
    try expect(read(host), "HOST_CR3", 0, .measured)
    try expect(read(host), "HOST_CR0", 0x8005_0033, .derived, "CR0_STATE")
  }

  @Test("APIC_ACCESS_ADDR is the VMM's page behind KVM's memory slot for 0xfee00000")
  func apicAccess() throws {
    let host = try FakeHost(vcpus: 1)
    let kvm = FakeHost.kvm
    host.core.put(UInt32(0x0210_17ea | 1), at: FakeHost.vcpu(0) + 0x210)
    try expect(read(host), "APIC_ACCESS_ADDR", nil, .unavailable, "no page now")
    host.core.put(UInt8(1), at: kvm + 0x30 + 0x2c4)
    host.core.put(FakeHost.pageTable - 0x200, at: kvm + 0x300)
    host.core.put(FakeHost.pageTable, at: FakeHost.pageTable - 0x200)
    host.core.put(FakeHost.slots, at: kvm + 0x308)
    let bucket = UInt64((32765 as UInt32 &* 0x61c8_8647) >> 25)
    host.core.put(FakeHost.slot + 16, at: FakeHost.slots + bucket * 8)
    host.core.put(UInt32(1), at: FakeHost.slots + 0x400)
    host.core.put(UInt64(0xfee00), at: FakeHost.slot + 0x20)
    host.core.put(UInt64(1), at: FakeHost.slot + 0x28)
    // One table that is its own child: 4-level paging of address 0x0000008040201000 goes through entry 1 each time.
    host.core.put(UInt64(0x0000_0080_4020_1000), at: FakeHost.slot + 0x30)
    host.core.put(UInt16(32765), at: FakeHost.slot + 0x38)
    let table = FakeHost.pageTable - FakeHost.direct
    host.core.put(table | 0x67, at: FakeHost.pageTable + 8)
    try expect(read(host), "APIC_ACCESS_ADDR", table, .derived, "0xfee00000")
    // Another slot in the same bucket is not taken for it, nor a page that is not there.
    host.core.put(UInt16(32764), at: FakeHost.slot + 0x38)
    try expect(read(host), "APIC_ACCESS_ADDR", nil, .unavailable)
    host.core.put(UInt16(32765), at: FakeHost.slot + 0x38)
    host.core.put(table | 0x66, at: FakeHost.pageTable + 8)
    try expect(read(host), "APIC_ACCESS_ADDR", nil, .unavailable)
    host.core.put(UInt32(0x0210_17ea & ~1), at: FakeHost.vcpu(0) + 0x210)
    try expect(read(host), "APIC_ACCESS_ADDR", nil, .unavailable, "not in use")
  }

  @Test("PML_ADDRESS is the page of vcpu_vmx.pml_pg, and GUEST_PML_INDEX the whole log while nothing is logged")
  func pageModificationLog() throws {
    let host = try FakeHost(vcpus: 1)
    try host.parameter("pml", "Y")
    host.core.put(0xffff_ea00_0000_0000 + 64 * 0x1234 as UInt64, at: FakeHost.vcpu(0) + Place.pmlPage)
    try expect(read(host), "PML_ADDRESS", 0x123_4000, .derived)
    try expect(read(host), "GUEST_PML_INDEX", 511, .derived)
    host.core.put(UInt32(0x0210_17ea | 1 << 17), at: FakeHost.vcpu(0) + 0x210)
    try expect(read(host), "GUEST_PML_INDEX", nil, .unavailable, "counts it down")
    host.core.put(0xffff_ea00_0000_0001 as UInt64, at: FakeHost.vcpu(0) + Place.pmlPage)
    try expect(read(host), "PML_ADDRESS", nil, .unavailable)
    try host.parameter("pml", "N")
    try expect(read(host), "GUEST_PML_INDEX", nil, .unavailable, "pml=N")
  }

  @Test("TPR_THRESHOLD is derived only where the last VM entry cannot have set anything else")
  func taskPriority() throws {
    let host = try FakeHost(vcpus: 1)
    host.addAPIC()
    try expect(read(host), "TPR_THRESHOLD", 0, .derived, "no interrupt is requested")
    // Vector 0x31 is requested, the TPR is 0: it is not held back.
    host.core.put(UInt32(1 << 17), at: FakeHost.apicPage(0) + 0x210)
    try expect(read(host), "TPR_THRESHOLD", 0, .derived, "does not hold")
    host.core.put(UInt32(0x50), at: FakeHost.apicPage(0) + 0x80)
    try expect(read(host), "TPR_THRESHOLD", nil, .unavailable, "only VMREAD")
    // KVM_REQ_EVENT waits.
    host.core.put(UInt32(0), at: FakeHost.apicPage(0) + 0x210)
    host.core.put(UInt64(1 << 14), at: FakeHost.vcpu(0) + Place.requests)
    try expect(read(host), "TPR_THRESHOLD", nil, .unavailable, "KVM_REQ_EVENT")
    host.core.put(UInt8(1), at: FakeHost.vcpu(0) + Place.arch + 0xb0)
    try expect(read(host), "TPR_THRESHOLD", 0, .derived, "APICv")
    // Without an APIC of KVM's there is no TPR shadow.
    host.core.put(UInt64(0), at: FakeHost.vcpu(0) + Place.lapic)
    try expect(read(host), "TPR_THRESHOLD", nil, .unavailable, "not in use")
  }

  @Test("GUEST_INTR_STATUS is the highest vectors in service and requested, while the processor delivers")
  func interruptStatus() throws {
    let host = try FakeHost(vcpus: 1)
    host.addAPIC()
    host.core.put(UInt32(1 << 3), at: FakeHost.apicPage(0) + 0x120)  // 0x43
    host.core.put(UInt32(1 << 17 | 1), at: FakeHost.apicPage(0) + 0x210)  // 0x31, 0x20
    try expect(read(host), "GUEST_INTR_STATUS", 0x4331, .derived)
    host.core.put(UInt32(0x0210_17ea & ~(1 << 9)), at: FakeHost.vcpu(0) + 0x210)
    try expect(read(host), "GUEST_INTR_STATUS", nil, .unavailable, "not in use")
  }

  @Test("VMX_PREEMPTION_TIMER_VALUE is all ones while no deadline is armed, else only VMREAD could tell")
  func preemptionTimer() throws {
    let host = try FakeHost(vcpus: 1)
    try expect(read(host), "VMX_PREEMPTION_TIMER_VALUE", nil, .unavailable, "hv_deadline_tsc")
    host.core.put(UInt8(1), at: FakeHost.vcpu(0) + Place.timerIsOff)
    try expect(read(host), "VMX_PREEMPTION_TIMER_VALUE", 0xffff_ffff, .derived)
    host.core.put(UInt32(0xff & ~(1 << 6)), at: FakeHost.vcpu(0) + 0x208)
    try expect(read(host), "VMX_PREEMPTION_TIMER_VALUE", nil, .unavailable, "not in use")
  }

  @Test("GUEST_ACTIVITY_STATE is active where HLT exits; where it does not, nobody knows")
  func activity() throws {
    let host = try FakeHost(vcpus: 1)
    try expect(read(host), "GUEST_ACTIVITY_STATE", 0, .derived)
    host.core.put(UInt32(0xb5a0_6dfa & ~(1 << 7)), at: FakeHost.vcpu(0) + 0x20c)
    try expect(read(host), "GUEST_ACTIVITY_STATE", nil, .unavailable)
  }

  @Test("ENCLS_EXITING_BITMAP is all ones for a guest without SGX")
  func enclaves() throws {
    let host = try FakeHost(vcpus: 1)
    try expect(read(host), "ENCLS_EXITING_BITMAP", nil, .unavailable, "not in use")
    host.core.put(UInt32(0x0210_17ea | 1 << 15), at: FakeHost.vcpu(0) + 0x210)
    try expect(read(host), "ENCLS_EXITING_BITMAP", .max, .derived, "SGX is off")
    host.core.put(UInt64(0x4_0001), at: FakeHost.vcpu(0) + Place.featureControl)
    try expect(read(host), "ENCLS_EXITING_BITMAP", .max, .derived, "CPUID has no SGX")
    host.setCPUID([(7, 0, [0, 1 << 2, 0, 0])])
    try expect(read(host), "ENCLS_EXITING_BITMAP", nil, .unavailable)
  }

  @Test("VMREAD_BITMAP and VMWRITE_BITMAP are the pages of vmx_bitmap where VMCS shadowing may be used")
  func shadowing() throws {
    let host = try FakeHost(vcpus: 1)
    host.core.put(FakeHost.vmwriteBitmap, at: FakeHost.modules + 0x188)
    try expect(read(host), "VMWRITE_BITMAP", nil, .unavailable, "not in use")
    try host.parameter("nested", "Y")
    try host.parameter("enable_shadow_vmcs", "Y")
    try expect(read(host), "VMWRITE_BITMAP", FakeHost.vmwriteBitmap - FakeHost.direct, .derived)
  }

  @Test("what the host's counters are switched to is not taken from the guest's own")
  func performanceCounters() throws {
    let host = try FakeHost(vcpus: 1)
    host.core.put(UInt32(0x0001_d3ff & ~(1 << 13)), at: FakeHost.vcpu(0) + 0x200)
    try expect(read(host), "GUEST_IA32_PERF_GLOBAL_CTRL", nil, .unavailable, "not in use")
    host.core.put(UInt32(0x0001_d3ff | 1 << 13), at: FakeHost.vcpu(0) + 0x200)
    try expect(read(host), "GUEST_IA32_PERF_GLOBAL_CTRL", nil, .unavailable, "perf computes")
  }

  @Test("HOST_IA32_EFER is the variable of KVM's")
  func hostEFER() throws {
    let host = try FakeHost(vcpus: 1)
    host.core.put(UInt64(0xd01), at: FakeHost.modules + 0x1a0)
    try expect(read(host), "HOST_IA32_EFER", 0xd01, .measured, "host_efer")
  }
}

@Suite("Beside the VMCS")
struct VMXKeptTests {
  private typealias Place = FakeHost.Place

  private func read(_ host: FakeHost) throws -> VCPUReading {
    try host.publish()
    return try #require(try StateReader(roots: host.roots).vcpus().first)
  }

  private func value(_ reading: VCPUReading, _ name: String) -> UInt64? { reading.reading(name)?.value }

  @Test("every field of the list has a value or a reason, in its order")
  func all() throws {
    let reading = try read(FakeHost(vcpus: 1))
    #expect(reading.others.map(\.field) == StateField.softwareState)
    for field in reading.others {
      #expect((field.value == nil) == (field.provenance == .unavailable) && !field.how.isEmpty, "\(field.field.name)")
    }
  }

  @Test("are the general, control and debug registers, measured; stale while the guest has them")
  func registers() throws {
    let host = try FakeHost(vcpus: 1)
    let arch = FakeHost.vcpu(0) + Place.arch
    for index in 0..<16 { host.core.put(UInt64(0x100 + index), at: arch + 0x10 + UInt64(8 * index)) }
    host.core.put(UInt64(0xc2), at: arch + 0x100)
    host.core.put(UInt64(0xd3), at: arch + 0x118 + 24)
    host.core.put(UInt64(0xffff_0ff0), at: arch + 0x110)
    let reading = try read(host)
    // The numbers that instructions have for them.
    for (name, number) in [
      ("RAX", 0), ("RCX", 1), ("RDX", 2), ("RBX", 3), ("RBP", 5), ("RSI", 6), ("RDI", 7), ("R15", 15),
    ] {
      #expect(value(reading, name) == UInt64(0x100 + number), "\(name)")
    }
    #expect(value(reading, "CR2") == 0xc2 && value(reading, "DR3") == 0xd3 && value(reading, "DR6") == 0xffff_0ff0)
    #expect(reading.reading("RAX")?.provenance == .measured)
    #expect(reading.reading("RAX")?.how == "vcpu_vmx.vcpu.arch.regs[0]")
    host.core.put(UInt32(1), at: FakeHost.vcpu(0) + 0x18)
    let running = try read(host)
    #expect(["RAX", "CR2", "DR0"].allSatisfy { running.reading($0)?.provenance == .stale })
    #expect(value(running, "VCPU_MODE") == 1 && running.reading("VCPU_MODE")?.provenance == .measured)
  }

  @Test("are pending events")
  func events() throws {
    let host = try FakeHost(vcpus: 1)
    let arch = FakeHost.vcpu(0) + Place.arch
    host.core.put([0, 1, 0, 13], at: arch + 0x140)
    host.core.put([1, 0, 0x61], at: arch + 0x150)
    host.core.put(UInt32(2), at: arch + 0x13c)
    host.core.put(UInt32(3), at: arch + 0x138)
    let reading = try read(host)
    for (name, expected) in [
      ("EXCEPTION_PENDING", UInt64(0)), ("EXCEPTION_INJECTED", 1), ("EXCEPTION_VECTOR", 13), ("INTERRUPT_INJECTED", 1),
      ("INTERRUPT_VECTOR", 0x61), ("NMI_PENDING", 2), ("NMI_INJECTED", 0), ("MP_STATE", 3),
    ] { #expect(value(reading, name) == expected, "\(name)") }
  }

  @Test("is the local APIC, or that the VMM has it")
  func apic() throws {
    let host = try FakeHost(vcpus: 1)
    host.core.put(UInt64(7), at: FakeHost.vcpu(0) + Place.arch + 0x108)
    var reading = try read(host)
    #expect(reading.reading("APIC_TPR")?.how.contains("the VMM emulates it") == true)
    #expect(value(reading, "CR8") == 7 && value(reading, "APICV_ACTIVE") == 0)
    host.addAPIC()
    host.core.put(UInt32(0x50), at: FakeHost.apicPage(0) + 0x80)
    host.core.put(UInt32(0x60), at: FakeHost.apicPage(0) + 0xa0)
    host.core.put(UInt32(0x88), at: FakeHost.apicPage(0) + 0x170)
    host.core.put(UInt32(0x99), at: FakeHost.apicPage(0) + 0x200)
    reading = try read(host)
    #expect(value(reading, "APIC_TPR") == 0x50 && value(reading, "CR8") == 5 && value(reading, "APIC_PPR") == 0x60)
    #expect(
      value(reading, "APIC_ISR7") == 0x88 && value(reading, "APIC_IRR0") == 0x99 && value(reading, "APIC_IRR7") == 0)
    // A page that cannot be read is not an empty one.
    host.core.put(UInt64(0xffff_9999_0000_0000), at: FakeHost.lapic(0))
    #expect(try read(host).reading("APIC_ISR7")?.provenance == .unavailable)
  }

  @Test("is the posted-interrupt descriptor, in the processor's format")
  func postedInterrupts() throws {
    let host = try FakeHost(vcpus: 1)
    let place = FakeHost.vcpu(0) + Place.postedInterrupts
    host.core.put(UInt64(1 << 49), at: place)
    host.core.put(UInt64(0xf2_0003), at: place + 32)
    host.core.put(UInt32(0x1234_5678), at: place + 36)
    let reading = try read(host)
    for (name, expected) in [
      ("PI_PIR0", UInt64(1) << 49), ("PI_PIR3", 0), ("PI_ON", 1), ("PI_SN", 1), ("PI_NV", 0xf2),
      ("PI_NDST", 0x1234_5678),
    ] { #expect(value(reading, name) == expected, "\(name)") }
    try host.parameter("enable_apicv", "N")
    #expect(try read(host).reading("PI_NV")?.how.contains("enable_apicv=N") == true)
  }

  @Test("costs few reads: the structure once, and what it points at once each")
  func cost() throws {
    let host = try FakeHost(vcpus: 1)
    host.addAPIC()
    #expect(try read(host).reads <= 12)
  }
}

@Suite("The VMCS that L1 wrote")
struct VMXNestedTests {
  private typealias Place = FakeHost.Place

  private func read(_ host: FakeHost) throws -> VCPUReading {
    try host.publish()
    return try #require(try StateReader(roots: host.roots).vcpus().first)
  }

  private func host() throws -> FakeHost {
    let host = try FakeHost(vcpus: 1)
    let place = FakeHost.vmcs12(0)
    host.core.put(UInt64(0xa02000), at: FakeHost.vcpu(0) + Place.currentVMPointer)
    host.core.put(UInt16(0x1234), at: place + 0x10)
    host.core.put(UInt64(0xfedc_ba98_7654_3210), at: place + 0x18)
    host.core.put(UInt32(0x8400_e172), at: place + 0x20)
    host.core.put(UInt64(0x7777), at: place + 0x28)
    host.core.put(UInt64(0x654000), at: place + 0x30)
    return host
  }

  @Test("is shown by the names of the VMCS's fields, measured, where it is current")
  func fields() throws {
    let host = try host()
    let fields = try #require(try read(host).vmcs12)
    #expect(
      fields.map(\.field.name) == [
        "VIRTUAL_PROCESSOR_ID", "TSC_OFFSET", "CPU_BASED_VM_EXEC_CONTROL", "SECONDARY_VM_EXEC_CONTROL", "GUEST_CR3",
        "GUEST_RIP",
      ])
    #expect(fields.map(\.value) == [0x1234, 0xfedc_ba98_7654_3210, 0x8400_e172, 0, 0x654000, 0x7777])
    #expect(fields.allSatisfy { $0.provenance == .measured })
    #expect(fields[1].how == "vcpu_vmx.nested.cached_vmcs12->tsc_offset")
  }

  @Test("is not there without a current VMCS, nor where it cannot be read")
  func absent() throws {
    let host = try host()
    host.core.put(UInt64.max, at: FakeHost.vcpu(0) + Place.currentVMPointer)
    #expect(try read(host).vmcs12 == nil)
    host.core.put(UInt64(0xa02000), at: FakeHost.vcpu(0) + Place.currentVMPointer)
    host.core.put(UInt64(0x1000), at: FakeHost.vcpu(0) + Place.currentVMPointer + 8)
    #expect(try read(host).vmcs12 == nil)
  }

  @Test("is stale in what L1 writes without an exit, as the VMWRITE bitmap has it")
  func shadowed() throws {
    let host = try host()
    host.core.put(UInt32(0x0210_17ea | 1 << 14), at: FakeHost.vcpu(0) + 0x210)
    host.core.put([UInt8](repeating: 0xff, count: 4096), at: FakeHost.vmwriteBitmap)
    host.core.put(FakeHost.vmwriteBitmap, at: FakeHost.modules + 0x188)
    // GUEST_RIP is 0x681e.
    host.core.put(UInt8(0xff & ~(1 << 6)), at: FakeHost.vmwriteBitmap + 0x681e / 8)
    let fields = try #require(try read(host).vmcs12)
    #expect(fields.filter { $0.provenance == .stale }.map(\.field.name) == ["GUEST_RIP"])
    // Without the bitmap any of them may be.
    host.core.put(UInt64(0), at: FakeHost.modules + 0x188)
    #expect(try read(host).vmcs12?.allSatisfy { $0.provenance == .stale } == true)
    // While L2 runs, KVM has copied them.
    host.core.put(FakeHost.vcpu(0) + 0x300, at: FakeHost.vcpu(0) + 0x10)
    #expect(try read(host).vmcs12?.allSatisfy { $0.provenance == .measured } == true)
  }

  @Test("names what L1 asked for among the reasons, while L2 is current")
  func reasons() throws {
    let host = try host()
    let vcpu = FakeHost.vcpu(0)
    host.core.put(vcpu + 0x300, at: vcpu + 0x10)
    host.core.put(UInt32(0xb5a0_6dfa), at: FakeHost.configuration + 4)
    // L1 wants CPU_BASED_UNCOND_IO_EXITING (in vmcs_config too), and MONITOR_TRAP_FLAG, which is not.
    host.core.put(UInt32(0xb5a0_6dfa | 1 << 27), at: vcpu + 0x300 + 12)
    host.core.put(UInt32(1 << 27), at: FakeHost.vmcs12(0) + 0x20)
    let difference = try #require(
      try read(host).differences.first { $0.control.name == "CPU_BASED_MONITOR_TRAP_FLAG" })
    #expect(difference.isSet && difference.isMeasured && difference.reason.contains("vmcs12"))
  }
}
