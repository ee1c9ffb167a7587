/// What is looked at of a snapshot: everything, one VM or one vCPU.
public enum ScopeSelection: Sendable, Hashable {
  case all
  case vm(VMIdentity)
  case vcpu(tid: Int32)
}

/// What stays the same about a VM from one snapshot to the next of the same counting.
public enum VMIdentity: Sendable, Hashable {
  case known(Int)
  /// The sum of the threads that ended.
  case ended
  /// The first thread of a VM whose pid a trace does not tell.
  case thread(Int32)
  case none

  public init(_ vm: VirtualMachineStatistics) {
    if vm.endedThreads > 0 {
      self = .ended
    } else if let number = vm.number {
      self = .known(number)
    } else if let first = vm.vcpus.first {
      self = .thread(first.tid)
    } else {
      self = .none
    }
  }
}
