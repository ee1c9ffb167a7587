import Architecture
import Glibc
import HostFiles
import KernelMemory

/// Reads the state of every vCPU of a kvm_intel host from the kernel's own structures, without a lock and without touching
/// the guest: all of it may change while it is read, so lists are bounded, anchors are read again, and a vCPU that went
/// away is left out.
public final class VMXReader {
  private let core: KernelCore
  private let layout: VMXLayout
  private let vmList: UInt64
  private let configurationAddress: UInt64?
  private let capabilityAddress: UInt64?
  /// Where the direct map of physical memory begins.
  private let pageOffset: UInt64?
  private let vmExitHandler: UInt64?
  private let hostIDTBase: UInt64?
  private let host: VMXHost
  private let parameters: [String: String]
  private let roots: HostRoots

  /// System calls made on /proc/kcore so far.
  public var reads: Int { core.reads }

  private static let mostVMs = 4096
  private static let mostVCPUs = 4096

  /// - Throws: where one of the sources is missing; the error says what helps.
  public init(roots: HostRoots = HostRoots()) throws(KernelMemoryError) {
    guard HostFile.isFolder("\(roots.sys)/module/kvm_intel") else {
      throw KernelMemoryError("kvm_intel is not loaded: there is no VMCS on this host")
    }
    core = try KernelCore(path: "\(roots.proc)/kcore")
    layout = try VMXLayout(try Self.types(roots))
    let symbols = try KernelSymbols(
      path: "\(roots.proc)/kallsyms",
      wanted: VMXHost.symbols.union(["vm_list", "vmcs_config", "vmx_capability", "vmx_vmexit", "host_idt_base"]))
    guard let list = symbols.address("vm_list", in: ["kvm", nil]) else {
      throw KernelMemoryError("/proc/kallsyms has no vm_list", hint: "the kernel was built without CONFIG_KALLSYMS_ALL")
    }
    vmList = list
    configurationAddress = symbols.address("vmcs_config", in: ["kvm_intel", nil])
    capabilityAddress = symbols.address("vmx_capability", in: ["kvm_intel", nil])
    vmExitHandler = symbols.address("vmx_vmexit", in: ["kvm_intel", nil])
    hostIDTBase = symbols.address("host_idt_base", in: ["kvm_intel", nil]).flatMap { [core] in core.integer(at: $0) }
    self.roots = roots
    // Without CONFIG_RANDOMIZE_MEMORY it is a constant, __PAGE_OFFSET_BASE_L4.
    let direct: UInt64 =
      symbols.address("page_offset_base", in: [nil]).flatMap { [core] in core.integer(at: $0) } ?? 0xffff_8880_0000_0000
    pageOffset = direct
    host = VMXHost(symbols, core, layout, pageOffset: direct)
    var parameters: [String: String] = [:]
    for name in (try? HostFile.names("\(roots.sys)/module/kvm_intel/parameters")) ?? [] {
      parameters[name] = HostFile.line("\(roots.sys)/module/kvm_intel/parameters/\(name)")
    }
    parameters["kvm.enable_vmware_backdoor"] = HostFile.line(
      "\(roots.sys)/module/kvm/parameters/enable_vmware_backdoor")
    self.parameters = parameters
  }

  private static func types(_ roots: HostRoots) throws(KernelMemoryError) -> TypeInformation {
    func read(_ name: String) throws(KernelMemoryError) -> [UInt8] {
      let path = "\(roots.sys)/kernel/btf/\(name)"
      do {
        return try HostFile.bytes(path, limit: 64 << 20)
      } catch {
        throw KernelMemoryError(
          "\(error)",
          hint: error.isAbsence ? "the kernel was built without CONFIG_DEBUG_INFO_BTF or ..._BTF_MODULES" : nil)
      }
    }
    let kernel = try TypeInformation(try read("vmlinux"), name: "/sys/kernel/btf/vmlinux")
    // A module that is built in has its types in vmlinux.
    guard
      HostFile.exists("\(roots.sys)/kernel/btf/kvm_intel") || HostFile.exists("\(roots.sys)/module/kvm_intel/initstate")
    else { return kernel }
    return try TypeInformation(try read("kvm_intel"), base: kernel, name: "/sys/kernel/btf/kvm_intel")
  }

  // MARK: Configuration

  /// What KVM settled on at load time.
  public func configuration() -> VMCSConfiguration {
    var result = VMCSConfiguration()
    func word(_ name: String) -> UInt64? {
      guard let address = configurationAddress, let path = layout.configuration[name] else { return nil }
      return value(path, at: address)
    }
    func word32(_ name: String) -> UInt32? { word(name).map { UInt32(truncatingIfNeeded: $0) } }
    result.words = ControlSetting(
      pin: word32("pin_based_exec_ctrl"), primary: word32("cpu_based_exec_ctrl"),
      secondary: word32("cpu_based_2nd_exec_ctrl"), tertiary: word("cpu_based_3rd_exec_ctrl"),
      exit: word32("vmexit_ctrl"), entry: word32("vmentry_ctrl"))
    if let capabilityAddress {
      result.eptCapability = layout.eptCapability.flatMap { value($0, at: capabilityAddress) }.map {
        UInt32(truncatingIfNeeded: $0)
      }
      result.vpidCapability = layout.vpidCapability.flatMap { value($0, at: capabilityAddress) }.map {
        UInt32(truncatingIfNeeded: $0)
      }
    }
    return result
  }

  private func value(_ path: MemberPath, at structure: UInt64) -> UInt64? { path.integer(from: structure, core) }

  // MARK: VMs and vCPUs

  /// Every vCPU of every VM there is now.
  public func vcpus() -> [VCPUReading] {
    let configuration = self.configuration()
    var result: [VCPUReading] = []
    for vm in machines() {
      guard let facts = machine(vm) else { continue }
      for index in 0..<facts.online {
        guard let address = vcpu(index, of: vm), let reading = read(address, of: vm, facts, configuration) else {
          continue
        }
        result.append(reading)
      }
    }
    return result
  }

  /// The control words in force of every vCPU, by the thread that ran it last: a small part of `vcpus()`.
  public func controlWords() -> [Int32: ControlSetting] {
    var result: [Int32: ControlSetting] = [:]
    for vm in machines() {
      guard let online = value(layout.onlineVCPUs, at: vm), online <= UInt64(Self.mostVCPUs) else { continue }
      for index in 0..<Int(online) {
        guard let address = vcpu(index, of: vm),
          let owner: UInt64 = core.integer(at: address &+ UInt64(layout.owner.offset)),
          owner == vm, let tid = layout.thread(of: address, core),
          let loaded = pointer(core.integer(at: address &+ UInt64(layout.loaded.offset))),
          let bytes = core.bytes(at: loaded, count: layout.loadedSize),
          let again: UInt64 = core.integer(at: address &+ UInt64(layout.loaded.offset)), again == loaded
        else { continue }
        result[tid] = layout.controlWords(in: bytes)
      }
    }
    return result
  }

  /// What of a `struct kvm` is needed for its vCPUs.
  struct Machine {
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

  private func machines() -> [UInt64] {
    var result: [UInt64] = []
    guard var node: UInt64 = core.integer(at: vmList) else { return [] }
    var seen: Set<UInt64> = []
    while node != vmList, result.count < Self.mostVMs, seen.insert(node).inserted {
      result.append(node &- UInt64(layout.vmList.offset))
      guard let next: UInt64 = core.integer(at: node) else { return result }
      node = next
    }
    return result
  }

  private func machine(_ vm: UInt64) -> Machine? {
    guard let pid = value(layout.userspacePID, at: vm), let online = value(layout.onlineVCPUs, at: vm),
      online <= UInt64(Self.mostVCPUs)
    else { return nil }
    var disabled = layout.disabledExits.flatMap { value($0, at: vm) }
    if disabled == nil, !layout.exitsInGuest.isEmpty {
      disabled = layout.exitsInGuest.reduce(0) { bits, flag in
        value(flag.path, at: vm).map { $0 & 1 == 0 ? bits : bits | flag.bit } ?? bits
      }
    }
    return Machine(
      pid: Int32(truncatingIfNeeded: pid), online: Int(online), disabledExits: disabled,
      apicvInhibits: layout.apicvInhibitReasons.flatMap { value($0, at: vm) },
      notifyWindow: layout.notifyWindow.flatMap { value($0, at: vm) },
      busLockDetection: layout.busLockDetection.flatMap { value($0, at: vm) }.map { $0 & 1 != 0 },
      maxVCPUIDs: layout.maxVCPUIDs.flatMap { value($0, at: vm) },
      dirtyLoggedSlots: layout.dirtyLoggedSlots.flatMap { value($0, at: vm) })
  }

  /// The vCPU at an index: `vcpus[index]`, or by xa_load() of `vcpu_array` (`lib/xarray.c`): an entry whose low bits are 10
  /// is a node, whose slots are the next level.
  private func vcpu(_ index: Int, of vm: UInt64) -> UInt64? {
    if let vcpus = layout.vcpus { return pointer(core.integer(at: vm &+ UInt64(vcpus.offset + 8 * index))) }
    guard let head = layout.vcpuArrayHead, let shiftPath = layout.nodeShift, let slots = layout.nodeSlots,
      var entry: UInt64 = core.integer(at: vm &+ UInt64(head.offset))
    else { return nil }
    for _ in 0..<8 {
      guard entry & 3 == 2, entry > 4096 else {
        // A lone entry at the head is index 0.
        return pointer(entry)
      }
      let node = entry & ~3
      guard let shift = value(shiftPath, at: node), shift <= 30, index >> Int(shift + 6) == 0 || shift >= 30,
        let next: UInt64 = core.integer(at: node &+ UInt64(slots.offset + 8 * ((index >> Int(shift)) & 63)))
      else { return nil }
      if shift == 0 { return pointer(next) }
      entry = next
    }
    return nil
  }

  /// A kernel address, or nil.
  private func pointer(_ value: UInt64?) -> UInt64? {
    guard let value, value >= 0xff00_0000_0000_0000, value & 7 == 0 else { return nil }
    return value
  }

  private func read(
    _ address: UInt64, of vm: UInt64, _ machine: Machine, _ configuration: VMCSConfiguration
  ) -> VCPUReading? {
    // A switch between L1 and L2 in the middle is tried once more.
    let (reads, start) = (core.reads, Self.now())
    for _ in 0..<3 {
      guard let copy = core.bytes(at: address, count: layout.vcpuSize), layout.owner.integer(in: copy) == vm,
        let loaded = pointer(layout.loaded.integer(in: copy))
      else { return nil }
      let readAt = Self.now()
      var fields = VMXFields(
        layout: layout, core: core, address: address, copy: copy, machine: machine, configuration: configuration,
        host: host, pageOffset: pageOffset, vmExitHandler: vmExitHandler, hostIDTBase: hostIDTBase,
        parameters: parameters,
        hostMSR: { [roots] msr, cpu in HostMSR.read(msr, cpu: cpu, roots: roots) })
      guard fields.take(loaded: loaded) else { return nil }
      var result = fields.reading(readAt: readAt)
      // The anchors again: a vCPU that was freed meanwhile has neither, or another's.
      guard let after: UInt64 = core.integer(at: address &+ UInt64(layout.owner.offset)), after == vm else {
        return nil
      }
      if let again: UInt64 = core.integer(at: address &+ UInt64(layout.loaded.offset)), again == loaded {
        result.reads = core.reads - reads
        result.nanoseconds = Self.now() &- start
        return result
      }
    }
    return nil
  }

  /// CLOCK_MONOTONIC in nanoseconds, as in `VCPUReading.readAt`.
  public static func now() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(truncatingIfNeeded: time.tv_sec) &* 1_000_000_000 &+ UInt64(truncatingIfNeeded: time.tv_nsec)
  }
}
