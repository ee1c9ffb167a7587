import Architecture

/// Which threads are vCPUs of which VM: by the host's word, also of VMs that ended and still have counts. Process ids, file
/// descriptors and thread ids come again, so VMs have numbers of ours.
struct MachineRegistry: Sendable, Equatable {
  /// Every VM the host ever showed and that still has threads here, so that one that ended keeps its name.
  private(set) var knownVMs: [Int: HostVM] = [:]
  /// The highest number that was given out.
  var lastVM = 0
  private(set) var presentVMs: Set<Int> = []
  private(set) var vmOfThread: [Int32: Int] = [:]
  private var present: Set<Int32> = []

  /// A thread that exits, and what its events said of it.
  struct Member: Sendable {
    var tid: Int32
    var vcpuID: UInt32?
  }

  /// Takes the host's word. Returns the threads that were another VM's before: their ids were given out again.
  mutating func learn(_ host: HostView) -> Set<Int32> {
    var reused: Set<Int32> = []
    let before = presentVMs
    presentVMs = []
    present.removeAll(keepingCapacity: true)
    for vm in host.vms {
      // The same process and file descriptor after a time without are another VM, unless a thread says otherwise.
      let known = knownVMs.first { number, known in
        known.pid == vm.pid && known.fd == vm.fd
          && (before.contains(number) || known.vcpus.contains { old in vm.vcpus.contains { $0.tid == old.tid } })
      }
      let number = known?.key ?? lastVM + 1
      lastVM = max(lastVM, number)
      knownVMs[number] = vm
      presentVMs.insert(number)
      for vcpu in vm.vcpus {
        if let old = vmOfThread.updateValue(number, forKey: vcpu.tid), old != number { reused.insert(vcpu.tid) }
        present.insert(vcpu.tid)
      }
    }
    return reused
  }

  /// Whether the host knows the thread as a vCPU that is there now.
  func isPresent(_ tid: Int32) -> Bool { present.contains(tid) }

  /// Whether the host knew it as a vCPU, and it is not there any more.
  func hasEnded(_ tid: Int32) -> Bool { vmOfThread[tid] != nil && !present.contains(tid) }

  /// Drops the names of threads that have no slot any more, and of VMs without threads.
  mutating func forget(allBut slots: borrowing SlotTable) {
    var kept = present
    for index in 0..<slots.count { kept.insert(slots.slots[index].pointee.tid) }
    vmOfThread = vmOfThread.filter { kept.contains($0.key) }
    let threads = Set(vmOfThread.values)
    knownVMs = knownVMs.filter { presentVMs.contains($0.key) || threads.contains($0.key) }
  }

  /// The threads that share a VM with this one: by the host's word, else by inference; only the thread itself or
  /// nothing where neither tells.
  func group(of thread: Int32, among members: [Member]) -> [Int32] {
    if let index = vmOfThread[thread] { return vmOfThread.filter { $0.value == index }.map(\.key) }
    if let number = knownVMs.first(where: { presentVMs.contains($0.key) && $0.value.pid == thread })?.key {
      return vmOfThread.filter { $0.value == number }.map(\.key)
    }
    let groups = Self.inferredGroups(members)
    if let own = groups.first(where: { $0.contains { members[$0].tid == thread } }) {
      return own.map { members[$0].tid }
    }
    return groups.count == 1 ? groups[0].map { members[$0].tid } : []
  }

  /// A VMM makes a VM's vCPU threads one after another, so their ids ascend with the vCPU's: a vcpu_id that comes a
  /// second time begins another VM. An inference, and shown as one.
  ///
  /// - Returns: The groups, as places in the list.
  static func inferredGroups(_ members: [Member]) -> [[Int]] {
    var groups: [[Int]] = []
    var seen: Set<UInt32> = []
    for place in members.indices.sorted(by: { members[$0].tid < members[$1].tid }) {
      if groups.isEmpty || (members[place].vcpuID.map { seen.contains($0) } ?? false) {
        groups.append([])
        seen = []
      }
      groups[groups.count - 1].append(place)
      if let id = members[place].vcpuID { seen.insert(id) }
    }
    return groups
  }

  // MARK: - Sums

  /// Adds what sums say of a VM.
  mutating func restore(_ vm: HostVM, number: Int, isPresent: Bool) {
    // Numbers are counted on from here.
    lastVM = max(lastVM, number)
    knownVMs[number] = vm
    if isPresent { presentVMs.insert(number) }
  }

  /// Adds what sums say of a thread of a VM that they told of before.
  mutating func restore(thread: Int32, vm: Int, isPresent: Bool) {
    guard knownVMs[vm] != nil else { return }
    vmOfThread[thread] = vm
    if isPresent { present.insert(thread) }
  }

  /// Goes on from what sums have. No number is given out twice.
  mutating func resume(from other: MachineRegistry) {
    let highest = max(lastVM, other.lastVM)
    self = other
    lastVM = highest
  }
}
