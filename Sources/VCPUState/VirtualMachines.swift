import KernelMemory

/// What of a `struct kvm` is needed for its vCPUs.
struct VirtualMachine {
  var address: UInt64
  var pid: Int32
  var online: Int
  /// KVM_X86_DISABLE_EXITS_*; nil where this kernel keeps it elsewhere.
  var disabledExits: UInt64?
  var apicvInhibits: UInt64?
  var notifyWindow: UInt64?
  var busLockDetection: Bool?
  var maxVCPUIDs: UInt64?
  /// Memory slots whose dirty pages are logged (6.1 and later).
  var dirtyLoggedSlots: UInt64?
}

/// The walk from `vm_list` to every vCPU, without a lock: all of it may change meanwhile, so lists are bounded and what does
/// not look like a vCPU is left out.
struct VirtualMachines {
  static let symbol = "vm_list"
  private static let mostVMs = 4096
  private static let mostVCPUs = 4096

  let core: KernelCore
  let layout: KVMLayout
  private let head: UInt64

  /// - Throws: where the symbol is missing.
  init(_ source: KernelSource, _ layout: KVMLayout) throws(KernelMemoryError) {
    core = source.core
    self.layout = layout
    guard let list = source.symbols.address(Self.symbol, in: ["kvm", nil]) else {
      throw KernelMemoryError("/proc/kallsyms has no vm_list", hint: "the kernel was built without CONFIG_KALLSYMS_ALL")
    }
    head = list
  }

  /// Every virtual machine there is now.
  func all() -> [VirtualMachine] { addresses().compactMap(machine) }

  /// The addresses of a machine's vCPUs, those that exist and are its own.
  func vcpus(of machine: VirtualMachine) -> [UInt64] {
    (0..<machine.online).compactMap { index in
      vcpu(index, of: machine.address).flatMap { isVCPU($0, of: machine) ? $0 : nil }
    }
  }

  /// Whether there is a vCPU of this machine: one that was freed has no owner, or another's.
  func isVCPU(_ address: UInt64, of machine: VirtualMachine) -> Bool {
    layout.owner.integer(from: address, core) == machine.address
  }

  private func addresses() -> [UInt64] {
    var result: [UInt64] = []
    guard var node: UInt64 = core.integer(at: head) else { return [] }
    var seen: Set<UInt64> = []
    while node != head, result.count < Self.mostVMs, seen.insert(node).inserted {
      result.append(node &- UInt64(layout.vmList.offset))
      guard let next: UInt64 = core.integer(at: node) else { return result }
      node = next
    }
    return result
  }

  private func machine(_ address: UInt64) -> VirtualMachine? {
    func value(_ path: MemberPath?) -> UInt64? { path?.integer(from: address, core) }
    guard let pid = value(layout.userspacePID), let online = value(layout.onlineVCPUs),
      online <= UInt64(Self.mostVCPUs)
    else { return nil }
    var disabled = value(layout.disabledExits)
    if disabled == nil, !layout.exitsInGuest.isEmpty {
      disabled = layout.exitsInGuest.reduce(0) { bits, flag in
        value(flag.path).map { $0 & 1 == 0 ? bits : bits | flag.bit } ?? bits
      }
    }
    return VirtualMachine(
      address: address, pid: Int32(truncatingIfNeeded: pid), online: Int(online), disabledExits: disabled,
      apicvInhibits: value(layout.apicvInhibitReasons), notifyWindow: value(layout.notifyWindow),
      busLockDetection: value(layout.busLockDetection).map { $0 & 1 != 0 }, maxVCPUIDs: value(layout.maxVCPUIDs),
      dirtyLoggedSlots: value(layout.dirtyLoggedSlots))
  }

  /// The vCPU at an index: `vcpus[index]`, or by xa_load() of `vcpu_array` (`lib/xarray.c`): an entry whose low bits are 10
  /// is a node, whose slots are the next level.
  private func vcpu(_ index: Int, of vm: UInt64) -> UInt64? {
    if let vcpus = layout.vcpus { return kernelPointer(core.integer(at: vm &+ UInt64(vcpus.offset + 8 * index))) }
    guard let head = layout.vcpuArrayHead, let shiftPath = layout.nodeShift, let slots = layout.nodeSlots,
      var entry: UInt64 = core.integer(at: vm &+ UInt64(head.offset))
    else { return nil }
    for _ in 0..<8 {
      guard entry & 3 == 2, entry > 4096 else {
        // A lone entry at the head is index 0.
        return kernelPointer(entry)
      }
      let node = entry & ~3
      guard let shift = shiftPath.integer(from: node, core), shift <= 30, index >> Int(shift + 6) == 0 || shift >= 30,
        let next: UInt64 = core.integer(at: node &+ UInt64(slots.offset + 8 * ((index >> Int(shift)) & 63)))
      else { return nil }
      if shift == 0 { return kernelPointer(next) }
      entry = next
    }
    return nil
  }
}

/// A kernel address, or nil.
func kernelPointer(_ value: UInt64?) -> UInt64? {
  guard let value, value >= 0xff00_0000_0000_0000, value & 7 == 0 else { return nil }
  return value
}
