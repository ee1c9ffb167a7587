/// One virtual machine that runs on this host.
public struct HostVM: Sendable, Hashable {
  /// The VMM's process id.
  public var pid: Int32
  /// The VM's descriptor in that process; nil where only its vCPUs were seen.
  public var fd: Int32?
  /// The guest's name from the VMM's command line, fit for a terminal.
  public var name: String?
  /// The guest's UUID, where the command line has one.
  public var uuid: String?
  /// `qemu`, `firecracker`, `cloud-hypervisor`, `crosvm` ..., where recognised.
  public var vmm: String?
  /// The vCPUs whose thread is known, in order of id.
  public var vcpus: [HostVCPU]
  /// The ids of vCPUs whose thread the host does not tell: those that have not run yet, and on kernels before 6.1 those of
  /// a VMM that does not name its threads.
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
}

/// One vCPU of a VM and the thread that runs it.
public struct HostVCPU: Sendable, Hashable {
  /// KVM's vcpu_id.
  public var id: UInt32?
  /// The host thread that runs it.
  public var tid: Int32
  /// That thread's name, fit for a terminal.
  public var threadName: String?

  public init(id: UInt32? = nil, tid: Int32, threadName: String? = nil) {
    self.id = id
    self.tid = tid
    self.threadName = threadName
  }
}
