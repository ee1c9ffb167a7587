import Architecture

/// Threads end, and their ids are given out again. What an ended thread has counted is added to the counts of all such
/// threads: the sums stay exact, and memory and the work of a cut stay bounded by what runs.
extension Aggregator {
  /// The thread id that stands for all that ended. No vCPU has it: 0 is the idle task's.
  static var endedThread: Int32 { 0 }
  /// Ended threads keep rows of their own up to this number, so that one can look at a guest that has just gone.
  static var mostEndedRows: Int { 64 }

  /// Takes the host's word on which VMs there are now. A VM that has ended since keeps its name.
  public mutating func learn(_ host: HostView) {
    let reused = machines.learn(host)
    if !reused.isEmpty { retire(slots.remove { reused.contains($0.pointee.tid) }) }
    let gone = (0..<slots.count).count { machines.hasEnded(slots.slots[$0].pointee.tid) }
    if gone > Self.mostEndedRows {
      let machines = self.machines
      retireOldest(gone - Self.mostEndedRows / 2) { machines.hasEnded($0) }
    }
  }

  /// Of the threads that meet the condition, retires those whose last event is longest ago.
  mutating func retireOldest(_ number: Int, where condition: (Int32) -> Bool) {
    var candidates: [(since: UInt64, tid: Int32)] = []
    for index in 0..<slots.count where condition(slots.slots[index].pointee.tid) {
      candidates.append((slots.slots[index].pointee.machine.since, slots.slots[index].pointee.tid))
    }
    let leaving = Set(candidates.sorted { $0 < $1 }.prefix(number).map(\.tid))
    retire(slots.remove { leaving.contains($0.pointee.tid) })
  }

  mutating func retire(_ leaving: [UnsafeMutablePointer<VCPUSlot>]) {
    for slot in leaving {
      if !slot.pointee.isIgnored {
        let (isContinued, renaming) = (slot.pointee.isContinued, slot.pointee.renaming)
        ended.add(ended: slot.pointee.take(until: slot.pointee.machine.since))
        endedThreads &+= 1
        if isContinued, !retired.contains(where: { $0.tid == slot.pointee.tid }) {
          retired.append(RetiredThread(tid: slot.pointee.tid, renaming: renaming))
          retired.sort { $0.tid < $1.tid }
        }
      }
      slot.pointee.deallocate()
      slot.deinitialize(count: 1).deallocate()
    }
    machines.forget(allBut: slots)
  }
}
