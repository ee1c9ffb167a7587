import Foundation
import HostFiles

/// A kvm_intel host made of bytes: /proc/kcore, kallsyms and BTF of a kernel with one VM of several vCPUs.
public final class FakeHost {
  public static let direct: UInt64 = 0xffff_8880_0000_0000
  public static let modules: UInt64 = 0xffff_ffff_c000_0000
  public static let vmList = modules + 0x10
  public static let configuration = modules + 0x40
  public static let capability = modules + 0x80
  public static let kvm = direct + 0x1000
  public static let node = direct + 0x1800
  public static let vmxSize = 2048

  public static func vcpu(_ index: Int) -> UInt64 { direct + 0x4000 + UInt64(index) * 0x1000 }
  public static func bitmap(_ index: Int) -> UInt64 { direct + 0x10000 + UInt64(index) * 0x1000 }

  /// Beside each vCPU: its `struct kvm_lapic`, its CPUID leaves, its virtual-APIC page, and the VMCS that L1 wrote.
  public static func lapic(_ index: Int) -> UInt64 { vcpu(index) + 0x800 }
  public static func leaves(_ index: Int) -> UInt64 { vcpu(index) + 0x840 }
  public static func apicPage(_ index: Int) -> UInt64 { vcpu(index) + 0xc00 }
  public static func vmcs12(_ index: Int) -> UInt64 { direct + 0x1a000 + UInt64(index) * 0x200 }
  /// `gdt_page` of CPU 0, the page of `vmx_bitmap[1]`, `struct kvm_memslots`, `struct kvm_memory_slot`, page tables.
  public static let gdt = direct + 0x1c000
  public static let vmwriteBitmap = direct + 0x1d000
  public static let slots = direct + 0x1e000
  public static let slot = direct + 0x1e800
  public static let pageTable = direct + 0x1f000
  /// Where a `struct vcpu_vmx` has what tests change.
  public enum Place {
    /// Within it `struct kvm_vcpu_arch`.
    public static let arch: UInt64 = 0x20
    public static let lapic: UInt64 = arch + 0xa8
    public static let requests: UInt64 = 0x1f0
    public static let vmcs01: UInt64 = 0x200
    public static let loadedCPU: UInt64 = vmcs01 + 56
    public static let timerIsOff: UInt64 = vmcs01 + 60
    public static let currentVMPointer: UInt64 = 0x340
    public static let postedInterrupts: UInt64 = 0x440
    public static let pmlPage: UInt64 = 0x480
    public static let fail: UInt64 = 0x490
    public static let featureControl: UInt64 = 0x498
  }

  public var core = FakeCore()
  public let roots: HostRoots
  private let folder: String
  private var moduleTypes: [UInt8]
  /// Whether `kvm.vcpus[]` (5.15) or an xarray (6.1) holds the vCPUs.
  public let usesArray: Bool

  public init(vcpus: Int = 2, usesArray: Bool = false, without: Set<String> = []) throws {
    self.usesArray = usesArray
    moduleTypes = []
    folder = NSTemporaryDirectory() + "vmctop-test-\(UUID().uuidString)"
    roots = HostRoots(prefix: folder)
    core.add([UInt8](repeating: 0, count: 0x20000), at: Self.direct)
    core.add([UInt8](repeating: 0, count: 0x1000), at: Self.modules)
    core.put(Self.kvm + 8, at: Self.vmList)
    core.put(Self.vmList, at: Self.kvm + 8)
    core.put(Int32(4242), at: Self.kvm)
    core.put(UInt32(vcpus), at: Self.kvm + 4)
    for (index, word) in [UInt32(0xff), 0xb5a0_6dfa, 0x0210_17ea, 0x0027_fefb, 0x0001_d3ff].enumerated() {
      core.put(word, at: Self.configuration + UInt64(4 * index))
    }
    core.put(UInt64(0x10), at: Self.configuration + 24)
    for index in 0..<vcpus {
      let vcpu = Self.vcpu(index)
      if usesArray {
        core.put(vcpu, at: Self.kvm + 0x40 + UInt64(8 * index))
      } else {
        core.put(vcpu, at: Self.node + 8 + UInt64(8 * index))
      }
      core.put(UInt32(index), at: vcpu)
      core.put(Int32(index), at: vcpu + 4)
      core.put(Self.kvm, at: vcpu + 8)
      core.put(vcpu + 0x200, at: vcpu + 0x10)
      // controls_shadow: entry, exit, pin, exec, secondary_exec, tertiary_exec.
      for (place, word) in [UInt32(0x0001_d3ff), 0x0027_fefb, 0xff, 0xb5a0_6dfa, 0x0210_17ea].enumerated() {
        core.put(word, at: vcpu + 0x200 + UInt64(4 * place))
      }
      core.put(UInt64(0x10), at: vcpu + 0x200 + 24)
      core.put(Self.bitmap(index), at: vcpu + 0x200 + 32)
      core.put([UInt8](repeating: 0xff, count: 4096), at: Self.bitmap(index))
      core.put(UInt64(0x1000) * UInt64(index + 1), at: vcpu + 0x20)  // cr3
      core.put(UInt64(0x7ffe), at: vcpu + 0x50)  // regs[4], RSP
      core.put(UInt64(0xffff_8000), at: vcpu + 0xb0)  // regs[16], RIP
    }
    for index in 0..<vcpus {
      let vcpu = Self.vcpu(index)
      core.put(UInt64.max, at: vcpu + Place.currentVMPointer)
      core.put(Self.vmcs12(index), at: vcpu + Place.currentVMPointer + 8)
      core.put(Self.apicPage(index), at: Self.lapic(index))
      core.put(Self.leaves(index), at: vcpu + Place.arch + 0x160)
    }
    if !usesArray { core.put(vcpus == 1 ? Self.vcpu(0) : Self.node | 2, at: Self.kvm + 0x10) }
    try file("sys/kernel/btf/vmlinux", FakeTypes().bytes)
    moduleTypes = types(without: without)
    try load()
  }

  /// Loads the module, as the kernel does it: it is `live` at last.
  ///
  /// - Parameter distance: how far its variables are from where they usually are, 1 KiB at most. What they hold is to be put there.
  public func load(movedBy distance: UInt64 = 0) throws {
    func symbol(_ address: UInt64) -> String { String(address + distance, radix: 16) }
    let symbols = """
      ffffffff81000000 T _text
      \(symbol(Self.vmList)) D vm_list\t[kvm]
      \(symbol(Self.configuration)) D vmcs_config\t[kvm_intel]
      \(symbol(Self.capability)) D vmx_capability\t[kvm_intel]
      ffffffffc0abc000 T vmx_vmexit\t[kvm_intel]
      \(String(Self.modules + 0x100, radix: 16)) D __per_cpu_offset
      000000000000b000 A gdt_page
      \(symbol(Self.modules + 0x180)) b vmx_bitmap\t[kvm_intel]
      \(symbol(Self.modules + 0x1a0)) B host_efer\t[kvm]

      """
    try file("proc/kallsyms", Array(symbols.utf8))
    try file("sys/module/kvm_intel/initstate", Array("coming\n".utf8))
    try file("sys/kernel/btf/kvm_intel", moduleTypes)
    try file("sys/module/kvm_intel/parameters/ple_gap", Array("128\n".utf8))
    try file("sys/module/kvm_intel/parameters/eptad", Array("Y\n".utf8))
    try file("sys/module/kvm_intel/sections/.text", Array("0x\(symbol(0xffff_ffff_c0ab_0000))\n".utf8))
    try file("sys/module/kvm_intel/initstate", Array("live\n".utf8))
  }

  /// Unloads it. Its memory is as it was; what it becomes is up to who calls this.
  public func unload() throws {
    try file("sys/module/kvm_intel/initstate", Array("going\n".utf8))
    remove("sys/module/kvm_intel")
    remove("sys/kernel/btf/kvm_intel")
    try file("proc/kallsyms", Array("ffffffff81000000 T _text\n".utf8))
  }

  /// Says that a thread ran a vCPU last: `kvm_vcpu.pid`, a `struct pid`.
  public func run(_ index: Int, by thread: Int32) {
    let pid = Self.direct + 0x2000 + UInt64(index) * 16
    core.put(thread, at: pid)
    core.put(pid, at: Self.vcpu(index) + 0x1e0)
  }

  /// Gives a vCPU an APIC of KVM's, with its page empty.
  public func addAPIC(_ index: Int = 0) { core.put(Self.lapic(index), at: Self.vcpu(index) + Place.lapic) }

  /// Tells a guest of features: leaf, subleaf, then EAX, EBX, ECX, EDX; seven leaves at most.
  public func setCPUID(_ leaves: [(UInt32, UInt32, [UInt32])], vcpu index: Int = 0) {
    core.put(UInt32(leaves.count), at: Self.vcpu(index) + Place.arch + 0x158)
    for (place, leaf) in leaves.enumerated() {
      for (word, value) in ([leaf.0, leaf.1, 1] + leaf.2).enumerated() {
        core.put(value, at: Self.leaves(index) + UInt64(place * 40 + word * 4))
      }
    }
  }

  /// A module parameter of kvm_intel.
  public func parameter(_ name: String, _ value: String) throws {
    try file("sys/module/kvm_intel/parameters/\(name)", Array("\(value)\n".utf8))
  }

  deinit { try? FileManager.default.removeItem(atPath: folder) }

  public func file(_ name: String, _ bytes: [UInt8]) throws {
    let path = "\(folder)/\(name)"
    try FileManager.default.createDirectory(
      atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
    try Data(bytes).write(to: URL(fileURLWithPath: path))
  }

  public func remove(_ name: String) { try? FileManager.default.removeItem(atPath: "\(folder)/\(name)") }

  /// Writes the memory as it is now.
  public func publish() throws { try file("proc/kcore", core.bytes) }

  /// Changes what was published, for those who have it open.
  public func update() throws {
    let file = try FileHandle(forUpdating: URL(fileURLWithPath: "\(folder)/proc/kcore"))
    try file.write(contentsOf: Data(core.bytes))
    try file.close()
  }

  private func types(without: Set<String>) -> [UInt8] {
    var types = FakeTypes(after: FakeTypes())
    let u8 = types.integer("unsigned char", bytes: 1)
    let u32 = types.integer("unsigned int", bytes: 4)
    let u64 = types.integer("unsigned long", bytes: 8)
    let list = types.structure("list_head", size: 16, [.init("next", u64, at: 0), .init("prev", u64, at: 8)])
    let atomic = types.structure("atomic", size: 4, [.init("counter", u32, at: 0)])
    let pointers = types.array(of: u64, count: 64)
    let pointer = types.pointer(to: u8)
    let xarray = types.structure("xarray", size: 8, [.init("xa_head", u64, at: 0)])
    _ = types.structure("xa_node", size: 520, [.init("shift", u8, at: 0), .init("slots", pointers, at: 8)])
    let kvmArch = types.structure(
      "kvm_arch", size: 0x2d0,
      [
        .init("mwait_in_guest", u8, at: 0), .init("hlt_in_guest", u8, at: 1), .init("pause_in_guest", u8, at: 2),
        .init("cstate_in_guest", u8, at: 3), .init("apicv_inhibit_reasons", u64, at: 8),
        .init("notify_vmexit_flags", u32, at: 0x2c0), .init("apic_access_memslot_enabled", u8, at: 0x2c4),
        .init("bus_lock_detection_enabled", u8, at: 0x2c5), .init("notify_window", u32, at: 0x2c8),
      ])
    let memory = types.structure("mm_struct", size: 8, [.init("pgd", u64, at: 0)])
    let link = types.structure("hlist_node", size: 16, [.init("next", u64, at: 0), .init("pprev", u64, at: 8)])
    let head = types.structure("hlist_head", size: 8, [.init("first", u64, at: 0)])
    let heads = types.array(of: head, count: 128)
    let slots = types.structure(
      "kvm_memslots", size: 0x408, [.init("id_hash", heads, at: 0), .init("node_idx", u32, at: 0x400)])
    let links = types.array(of: link, count: 2)
    let u16 = types.integer("short", bytes: 2)
    _ = types.structure(
      "kvm_memory_slot", size: 0x48,
      [
        .init("id_node", links, at: 0), .init("base_gfn", u64, at: 0x20), .init("npages", u64, at: 0x28),
        .init("userspace_addr", u64, at: 0x30), .init("id", u16, at: 0x38),
      ])
    let slotsPointer = types.pointer(to: slots)
    let slotsPointers = types.array(of: slotsPointer, count: 2)
    let memoryPointer = types.pointer(to: memory)
    _ = types.structure(
      "kvm", size: 0x400,
      [
        .init("userspace_pid", u32, at: 0), .init("online_vcpus", atomic, at: 4), .init("vm_list", list, at: 8),
        .init("arch", kvmArch, at: 0x30), .init("mm", memoryPointer, at: 0x300),
        .init("memslots", slotsPointers, at: 0x308), .init("nr_memslots_dirty_logging", atomic, at: 0x320),
        usesArray ? .init("vcpus", pointers, at: 0x40) : .init("vcpu_array", xarray, at: 0x10),
      ])
    _ = types.enumeration("kvm_reg", [("VCPU_REGS_RIP", 16), ("VCPU_EXREG_CR3", 19), ("VCPU_EXREG_SEGMENTS", 22)])
    let registers = types.array(of: u64, count: 17)
    let lapic = types.structure(
      "kvm_lapic", size: 0x40,
      [.init("regs", pointer, at: 0), .init("apicv_active", u8, at: 8), .init("vapic_addr", u64, at: 16)])
    let apicPointer = types.pointer(to: lapic)
    let exception = types.structure(
      "kvm_queued_exception", size: 8,
      [.init("pending", u8, at: 0), .init("injected", u8, at: 1), .init("vector", u8, at: 3)])
    let interrupt = types.structure(
      "kvm_queued_interrupt", size: 4, [.init("injected", u8, at: 0), .init("nr", u8, at: 2)])
    let breakpoints = types.array(of: u64, count: 4)
    let arch = types.structure(
      "kvm_vcpu_arch", size: 0x1b8,
      [
        .init("cr3", u64, at: 0), .init("regs", registers, at: 0x10), .init("regs_avail", u32, at: 0xa0),
        .init("apic", apicPointer, at: 0xa8), .init("apicv_active", u8, at: 0xb0), .init("tsc_offset", u64, at: 0xb8),
        .init("cr0", u64, at: 0xc0), .init("cr0_guest_owned_bits", u64, at: 0xc8), .init("efer", u64, at: 0xd0),
        .init("apic_base", u64, at: 0xd8), .init("switch_db_regs", u32, at: 0xe0), .init("cr4", u64, at: 0xe8),
        .init("cr2", u64, at: 0x100), .init("cr8", u64, at: 0x108), .init("dr6", u64, at: 0x110),
        .init("db", breakpoints, at: 0x118), .init("mp_state", u32, at: 0x138),
        .init("nmi_pending", u32, at: 0x13c), .init("exception", exception, at: 0x140),
        .init("interrupt", interrupt, at: 0x150), .init("nmi_injected", u8, at: 0x154),
        .init("cpuid_nent", u32, at: 0x158), .init("cpuid_entries", pointer, at: 0x160),
      ].filter { !without.contains($0.name) })
    let upid = types.structure("upid", size: 16, [.init("nr", u32, at: 0)])
    let pid = types.structure("pid", size: 16, [.init("numbers", types.array(of: upid, count: 1), at: 0)])
    let vcpu = types.structure(
      "kvm_vcpu", size: 0x1f8,
      [
        .init("vcpu_id", u32, at: 0), .init("cpu", u32, at: 4), .init("kvm", u64, at: 8), .init("mode", u32, at: 0x18),
        .init("arch", arch, at: 0x20), .init("pid", types.pointer(to: pid), at: 0x1e0),
        .init("guest_debug", u64, at: 0x1e8), .init("requests", u64, at: 0x1f0),
      ])
    let shadow = types.structure(
      "vmcs_controls_shadow", size: 32,
      [
        .init("vm_entry", u32, at: 0), .init("vm_exit", u32, at: 4), .init("pin", u32, at: 8),
        .init("exec", u32, at: 12),
        .init("secondary_exec", u32, at: 16), .init("tertiary_exec", u64, at: 24),
      ].filter { !without.contains($0.name) })
    let hostState = types.structure(
      "vmcs_host_state", size: 24,
      [.init("cr3", u64, at: 0), .init("cr4", u64, at: 8), .init("fs_sel", u16, at: 22)])
    let loaded = types.structure(
      "loaded_vmcs", size: 64,
      [
        .init("controls_shadow", shadow, at: 0), .init("msr_bitmap", pointer, at: 32),
        .init("host_state", hostState, at: 40), .init("cpu", u32, at: 56), .init("hv_timer_soft_disabled", u8, at: 60),
      ])
    let vmcs12 = types.structure(
      "vmcs12", size: 0x200,
      [
        .init("virtual_processor_id", u16, at: 0x10), .init("tsc_offset", u64, at: 0x18),
        .init("cpu_based_vm_exec_control", u32, at: 0x20), .init("secondary_vm_exec_control", u32, at: 0x24),
        .init("guest_rip", u64, at: 0x28), .init("guest_cr3", u64, at: 0x30),
      ])
    let vmcs12Pointer = types.pointer(to: vmcs12)
    let nested = types.structure(
      "nested_vmx", size: 80,
      [
        .init("vmcs02", loaded, at: 0), .init("current_vmptr", u64, at: 64),
        .init("cached_vmcs12", vmcs12Pointer, at: 72),
      ])
    let taskState = types.array(of: u8, count: 104)
    let task = types.structure("tss_struct", size: 0x80, [.init("x86_tss", taskState, at: 0)])
    let page = types.array(of: u8, count: 4096)
    _ = types.structure("cpu_entry_area", size: 0x3000, [.init("gdt", page, at: 0), .init("tss", task, at: 0x2000)])
    _ = types.structure("page", size: 64, [.init("flags", u64, at: 0)])
    let descriptor = types.array(of: u64, count: 8)
    _ = types.structure(
      "vcpu_vmx", size: Self.vmxSize,
      [
        .init("vcpu", vcpu, at: 0), .init("loaded_vmcs", types.pointer(to: loaded), at: 0x10),
        .init("vmcs01", loaded, at: 0x200),
        .init("nested", nested, at: 0x300), .init("vpid", u32, at: 0x400),
        .init("pi_desc", descriptor, at: 0x440), .init("pml_pg", pointer, at: 0x480), .init("fail", u8, at: 0x490),
        .init("msr_ia32_feature_control", u64, at: 0x498),
      ])
    _ = types.structure(
      "vmcs_config", size: 32,
      [
        .init("pin_based_exec_ctrl", u32, at: 0), .init("cpu_based_exec_ctrl", u32, at: 4),
        .init("cpu_based_2nd_exec_ctrl", u32, at: 8), .init("vmexit_ctrl", u32, at: 12),
        .init("vmentry_ctrl", u32, at: 16),
        .init("cpu_based_3rd_exec_ctrl", u64, at: 24),
      ])
    _ = types.structure("vmx_capability", size: 8, [.init("ept", u32, at: 0), .init("vpid", u32, at: 4)])
    return types.bytes
  }
}
