/// One virtual machine as its host knows it: found on this host, or told by a recording. There is no other such type: names
/// and threads of VMs are this in every target.
///
/// Names are data of another's making, made fit for a terminal where they were read.
public struct HostVM: Sendable, Hashable {
  /// The VMM's process id.
  public var pid: Int32
  /// The VM's descriptor in that process, by which several VMs of one process differ; nil where only its vCPUs were seen.
  public var fd: Int32?
  /// The guest's name, from the VMM's command line.
  public var name: String?
  /// The guest's UUID, where the command line has one. Not recorded.
  public var uuid: String?
  /// `qemu`, `firecracker`, `cloud-hypervisor`, `crosvm` ..., where recognised.
  public var vmm: String?
  /// The vCPUs whose thread is known, in order of id.
  public var vcpus: [HostVCPU]
  /// The ids of vCPUs whose thread the host does not tell: those that have not run yet, and on kernels before 6.1 those of
  /// a VMM that does not name its threads. Not recorded.
  public var vcpusWithoutThread: [UInt32] = []

  public init(
    pid: Int32, fd: Int32? = nil, name: String? = nil, uuid: String? = nil, vmm: String? = nil, vcpus: [HostVCPU] = []
  ) {
    self.pid = pid
    self.fd = fd
    self.name = name
    self.uuid = uuid
    self.vmm = vmm
    self.vcpus = vcpus
  }

  /// The same with every name changed.
  public func map(names change: (String) -> String) -> HostVM {
    var vm = self
    vm.name = name.map(change)
    vm.vmm = vmm.map(change)
    for index in vm.vcpus.indices { vm.vcpus[index].threadName = vm.vcpus[index].threadName.map(change) }
    return vm
  }
}

/// One vCPU of a VM and the thread that runs it.
public struct HostVCPU: Sendable, Hashable {
  /// KVM's vcpu_id.
  public var id: UInt32?
  /// The host thread that runs it.
  public var tid: Int32
  /// That thread's name.
  public var threadName: String?

  public init(id: UInt32? = nil, tid: Int32, threadName: String? = nil) {
    self.id = id
    self.tid = tid
    self.threadName = threadName
  }
}

/// The VMs that there are at a moment, by the host's word. Empty where nobody tells.
public struct HostView: Sendable, Hashable {
  public var vms: [HostVM]

  public init(vms: [HostVM] = []) { self.vms = vms }
}
