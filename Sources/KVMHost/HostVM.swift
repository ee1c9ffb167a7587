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
  /// In order of id.
  public var vcpus: [HostVCPU]

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

/// One vCPU of a VM, as far as the host tells: its id, its thread, or both.
public struct HostVCPU: Sendable, Hashable {
  /// KVM's vcpu_id.
  public var id: UInt32?
  /// The host thread that runs it; nil where the host does not tell (before its first run, or without debugfs and
  /// telling thread names).
  public var tid: Int32?
  /// That thread's name, fit for a terminal.
  public var threadName: String?

  public init(id: UInt32? = nil, tid: Int32? = nil, threadName: String? = nil) {
    self.id = id
    self.tid = tid
    self.threadName = threadName
  }
}
