import KernelMemory

/// Where this kernel keeps what every virtual machine and vCPU has, whichever module runs it: `struct kvm` and the
/// `struct kvm_vcpu` at the start of `struct vcpu_vmx` and `struct vcpu_svm` (`include/linux/kvm_host.h`,
/// `arch/x86/include/asm/kvm_host.h`). A path that a kernel lacks is nil.
struct KVMLayout: Sendable {
  // MARK: struct kvm

  let vmList: MemberPath
  let userspacePID: MemberPath
  let onlineVCPUs: MemberPath
  /// `vcpu_array` (6.1 and later), an xarray; else `vcpus[]`.
  let vcpuArrayHead: MemberPath?
  let vcpus: MemberPath?
  let nodeShift: MemberPath?
  let nodeSlots: MemberPath?
  let disabledExits: MemberPath?
  let exitsInGuest: [(bit: UInt64, path: MemberPath)]
  let apicvInhibitReasons: MemberPath?
  let notifyWindow: MemberPath?
  let busLockDetection: MemberPath?
  let maxVCPUIDs: MemberPath?
  let dirtyLoggedSlots: MemberPath?

  // MARK: struct kvm_vcpu

  /// Bytes of the structure that holds it: all of it is read at once.
  let vcpuSize: Int
  let vcpuID: MemberPath
  let owner: MemberPath
  let cpu: MemberPath?
  let tid: MemberPath?

  /// - Parameter structure: what a vCPU is to the module: `vcpu_vmx` or `vcpu_svm`.
  /// - Throws: where the types lack what nothing goes without.
  init(_ types: TypeInformation, vcpu structure: String) throws(KernelMemoryError) {
    vmList = try types.need("kvm", "vm_list")
    userspacePID = try types.need("kvm", "userspace_pid")
    onlineVCPUs = try types.need("kvm", "online_vcpus.counter")
    vcpuArrayHead = types.path("kvm", "vcpu_array.xa_head")
    vcpus = types.path("kvm", "vcpus[0]")
    nodeShift = types.path("xa_node", "shift")
    nodeSlots = types.path("xa_node", "slots[0]")
    guard vcpus != nil || vcpuArrayHead != nil && nodeShift != nil && nodeSlots != nil else {
      throw KernelMemoryError("the kernel's type information has neither kvm.vcpus nor kvm.vcpu_array")
    }
    // KVM_X86_DISABLE_EXITS_* of include/uapi/linux/kvm.h.
    disabledExits = types.path("kvm", "arch.disabled_exits")
    exitsInGuest = [
      (1, "arch.mwait_in_guest"), (2, "arch.hlt_in_guest"), (4, "arch.pause_in_guest"), (8, "arch.cstate_in_guest"),
    ].compactMap { bit, path in types.path("kvm", path).map { (bit, $0) } }
    apicvInhibitReasons = types.path("kvm", "arch.apicv_inhibit_reasons")
    notifyWindow = types.path("kvm", "arch.notify_window")
    busLockDetection = types.path("kvm", "arch.bus_lock_detection_enabled")
    maxVCPUIDs = types.path("kvm", "arch.max_vcpu_ids")
    dirtyLoggedSlots = types.first("kvm", ["nr_memslots_dirty_logging.counter", "arch.cpu_dirty_logging_count"])

    guard let size = types.size(ofStructure: structure), (1024...1 << 18).contains(size) else {
      throw KernelMemoryError("the kernel's type information has no struct \(structure)")
    }
    vcpuSize = size
    vcpuID = try types.need(structure, "vcpu.vcpu_id")
    owner = try types.need(structure, "vcpu.kvm")
    cpu = types.path(structure, "vcpu.cpu")
    tid = types.path(structure, "vcpu.pid->numbers[0].nr")
  }

  /// The thread that ran a vCPU last; nil before the first KVM_RUN.
  func thread(of vcpu: UInt64, _ core: KernelCore) -> Int32? {
    guard let number = tid?.integer(from: vcpu, core) else { return nil }
    let thread = Int32(truncatingIfNeeded: number)
    return thread > 0 ? thread : nil
  }

  /// The CPU that a vCPU is loaded on, in a copy of its structure; nil where it is on none.
  func processor(in copy: [UInt8]) -> Int? {
    guard let number = cpu.flatMap({ $0.integer(in: copy) }).map({ Int32(truncatingIfNeeded: $0) }), number >= 0
    else { return nil }
    return Int(number)
  }

  /// The number of a vCPU in its virtual machine, in a copy of its structure.
  func number(in copy: [UInt8]) -> UInt32 { UInt32(truncatingIfNeeded: vcpuID.integer(in: copy) ?? 0) }
}

extension TypeInformation {
  /// A member that nothing goes without.
  func need(_ structure: String, _ path: String) throws(KernelMemoryError) -> MemberPath {
    if let found = self.path(structure, path) { return found }
    throw KernelMemoryError("the kernel's type information has no \(structure).\(path)")
  }

  /// The first of these paths that this kernel has.
  func first(_ structure: String, _ paths: [String]) -> MemberPath? {
    for path in paths { if let found = self.path(structure, path) { return found } }
    return nil
  }

  /// By name, the first of each name's alternatives that this kernel has.
  func paths(_ structure: String, _ alternatives: [(name: String, paths: [String])]) -> [String: MemberPath] {
    var result: [String: MemberPath] = [:]
    for (name, paths) in alternatives { result[name] = first(structure, paths) }
    return result
  }
}
