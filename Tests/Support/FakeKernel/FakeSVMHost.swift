import Foundation
import HostFiles

/// A kvm_amd host made of bytes: /proc/kcore, kallsyms and BTF of a kernel with one VM of several vCPUs.
public final class FakeSVMHost {
  public static let direct: UInt64 = 0xffff_8880_0000_0000
  public static let modules: UInt64 = 0xffff_ffff_c000_0000
  public static let vmList = modules + 0x10
  public static let kvm = direct + 0x1000
  public static let vcpuSize = 4096

  public static func vcpu(_ index: Int) -> UInt64 { direct + 0x1_0000 + UInt64(index) * 0x1000 }
  /// L1's VMCB, and that of its guest.
  public static func vmcb01(_ index: Int) -> UInt64 { direct + 0x2_0000 + UInt64(index) * 0x1000 }
  public static func vmcb02(_ index: Int) -> UInt64 { direct + 0x3_0000 + UInt64(index) * 0x1000 }
  public static func map(_ index: Int) -> UInt64 { direct + 0x4_0000 + UInt64(index) * 0x2000 }
  public static func nestedMap(_ index: Int) -> UInt64 { direct + 0x5_0000 + UInt64(index) * 0x2000 }
  public static func apicPage(_ index: Int) -> UInt64 { direct + 0x6_0000 + UInt64(index) * 0x1000 }

  /// Places in `struct vcpu_svm`.
  public static let vmcb: UInt64 = 0x600
  public static let exits: UInt64 = 0x580
  public static let mode: UInt64 = 0x18
  public static let arch: UInt64 = 0x20

  public var core = FakeCore()
  public let roots: HostRoots
  private let folder: String

  /// - Parameters:
  ///   - isOld: one VMCB for L1 and L2, as before 5.13, and `vcpus[]`.
  ///   - without: members that the types lack.
  public init(
    vcpus: Int = 1, isOld: Bool = false, without: Set<String> = [], parameters: [String: String] = [:]
  ) throws {
    folder = NSTemporaryDirectory() + "vmctop-test-\(UUID().uuidString)"
    roots = HostRoots(prefix: folder)
    core.add([UInt8](repeating: 0, count: 0x7_0000), at: Self.direct)
    core.add([UInt8](repeating: 0, count: 0x1000), at: Self.modules)
    core.put(Self.kvm + 8, at: Self.vmList)
    core.put(Self.vmList, at: Self.kvm + 8)
    core.put(Int32(4242), at: Self.kvm)
    core.put(UInt32(vcpus), at: Self.kvm + 4)
    for index in 0..<vcpus {
      let vcpu = Self.vcpu(index)
      core.put(vcpu, at: Self.kvm + 0x40 + UInt64(8 * index))
      core.put(UInt32(index), at: vcpu)
      core.put(Int32(index), at: vcpu + 4)
      core.put(Self.kvm, at: vcpu + 8)
      core.put(Self.vmcb01(index), at: vcpu + Self.vmcb)
      core.put(Self.vmcb01(index), at: vcpu + 0x608)
      core.put(Self.vmcb02(index), at: vcpu + 0x640)
      core.put(Self.map(index), at: vcpu + 0x620)
      core.put(Self.nestedMap(index), at: vcpu + 0x648)
      for map in [Self.map(index), Self.nestedMap(index)] { core.put([UInt8](repeating: 0xff, count: 8192), at: map) }
      // struct kvm_lapic: the page.
      core.put(vcpu + 0x800, at: vcpu + Self.arch + 0xa8)
      core.put(Self.apicPage(index), at: vcpu + 0x800)
      for vmcb in [Self.vmcb01(index), Self.vmcb02(index)] {
        // What kvm_amd gives every vCPU with nested paging and none of the newer features.
        for (word, value) in [UInt32(0x0111_0011), 0x00ff_00ff, 0x0006_0042, 0xbd4c_8027, 0x0000_6e7f].enumerated() {
          core.put(value, at: vmcb + UInt64(4 * word))
        }
        core.put(vmcb + 0x8000_0000, at: vmcb + 0x48)
        core.put(UInt64(1), at: vmcb + 0x90)
        core.put(UInt32(0x0100_0000), at: vmcb + 0x60)
      }
    }
    try file("sys/kernel/btf/vmlinux", FakeTypes().bytes)
    try file("sys/kernel/btf/kvm_amd", types(isOld: isOld, without: without))
    try file("sys/module/kvm_amd/initstate", Array("live\n".utf8))
    var values = ["npt": "Y", "vls": "0", "vgif": "0", "intercept_smi": "Y", "pause_filter_count": "0"]
    values.merge(parameters) { $1 }
    for (name, value) in values { try file("sys/module/kvm_amd/parameters/\(name)", Array("\(value)\n".utf8)) }
    try file("sys/module/kvm/parameters/enable_vmware_backdoor", Array("N\n".utf8))
    let symbols = """
      ffffffff81000000 T _text
      \(String(Self.vmList, radix: 16)) D vm_list\t[kvm]

      """
    try file("proc/kallsyms", Array(symbols.utf8))
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

  /// Makes L2 current.
  public func enterL2(_ index: Int) { core.put(Self.vmcb02(index), at: Self.vcpu(index) + Self.vmcb) }

  private func types(isOld: Bool, without: Set<String>) -> [UInt8] {
    var types = FakeTypes(after: FakeTypes())
    func kept(_ members: [FakeTypes.Member]) -> [FakeTypes.Member] { members.filter { !without.contains($0.name) } }
    let u8 = types.integer("unsigned char", bytes: 1)
    let u32 = types.integer("unsigned int", bytes: 4)
    let u64 = types.integer("unsigned long", bytes: 8)
    let pointer = types.pointer(to: u8)
    let list = types.structure("list_head", size: 16, [.init("next", u64, at: 0), .init("prev", u64, at: 8)])
    let atomic = types.structure("atomic", size: 4, [.init("counter", u32, at: 0)])
    let pointers = types.array(of: u64, count: 64)
    let kvmArch = types.structure(
      "kvm_arch", size: 16, kept([.init("disabled_exits", u64, at: 0), .init("bus_lock_detection_enabled", u8, at: 8)]))
    _ = types.structure(
      "kvm", size: 0x400,
      kept([
        .init("userspace_pid", u32, at: 0), .init("online_vcpus", atomic, at: 4), .init("vm_list", list, at: 8),
        .init("arch", kvmArch, at: 0x30), .init("vcpus", pointers, at: 0x40),
      ]))
    let lapic = types.structure("kvm_lapic", size: 8, [.init("regs", pointer, at: 0)])
    let apic = types.pointer(to: lapic)
    let exception = types.structure(
      "kvm_queued_exception", size: 4,
      [.init("pending", u8, at: 0), .init("injected", u8, at: 1), .init(isOld ? "nr" : "vector", u8, at: 2)])
    let registers = types.array(of: u64, count: 17)
    let debug = types.array(of: u64, count: 4)
    let arch = types.structure(
      "kvm_vcpu_arch", size: 0x400,
      kept([
        .init("cr3", u64, at: 0), .init("regs", registers, at: 0x10), .init("apic", apic, at: 0xa8),
        .init("cr0", u64, at: 0xb0), .init("cr2", u64, at: 0xb8), .init("cr4", u64, at: 0xc0),
        .init("efer", u64, at: 0xc8), .init("hflags", u32, at: 0xd0), .init("switch_db_regs", u32, at: 0xd4),
        .init("db", debug, at: 0xd8), .init("dr6", u64, at: 0xf8), .init("dr7", u64, at: 0x100),
        .init("mp_state", u32, at: 0x108), .init("exception", exception, at: 0x110),
        .init("nmi_pending", u32, at: 0x118),
        .init("nmi_injected", u8, at: 0x11c), .init("cr8", u64, at: 0x120),
      ]))
    let stat = types.structure("kvm_vcpu_stat", size: 8, [.init("exits", u64, at: 0)])
    let vcpu = types.structure(
      "kvm_vcpu", size: 0x600,
      kept([
        .init("vcpu_id", u32, at: 0), .init("cpu", u32, at: 4), .init("kvm", u64, at: 8), .init("mode", u32, at: 0x18),
        .init("arch", arch, at: 0x20), .init("guest_debug", u32, at: 0x570), .init("stat", stat, at: 0x580),
      ]))
    let info = types.structure("kvm_vmcb_info", size: 8, [.init("ptr", pointer, at: 0)])
    let control = types.structure(
      "vmcb_ctrl_area_cached", size: 64, [.init("asid", u32, at: 0), .init("tsc_offset", u64, at: 8)])
    let nested = types.structure(
      "svm_nested_state", size: 0x100,
      kept(
        (isOld ? [.init("hsave", pointer, at: 0)] : [.init("vmcb02", info, at: 0), .init("ctl", control, at: 0x20)])
          + [.init("msrpm", pointer, at: 8)]))
    _ = types.structure(
      "vcpu_svm", size: Self.vcpuSize,
      kept(
        [
          .init("vcpu", vcpu, at: 0), .init("vmcb", pointer, at: 0x600), .init("msrpm", pointer, at: 0x620),
          .init("nmi_masked", u8, at: 0x628), .init("nested", nested, at: 0x640),
        ] + (isOld ? [] : [.init("vmcb01", info, at: 0x608)])))
    return types.bytes
  }
}
