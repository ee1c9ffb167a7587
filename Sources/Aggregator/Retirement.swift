/// Threads end, and their ids are given out again. What an ended thread has counted is added to one slot that stands
/// for all such threads: the sums stay exact, and memory and the work of a snapshot stay bounded by what runs.
extension Aggregator {
  /// The thread id of the slot for all that ended. No vCPU has it: 0 is the idle task's.
  static var endedThread: Int32 { 0 }
  /// Ended threads keep rows of their own up to this number, so that one can look at a guest that has just gone.
  static var mostEndedRows: Int { 64 }

  /// Takes the host's word on which VMs there are now. A VM that has ended since keeps its name.
  public mutating func learn(_ host: HostView) {
    let reused = builder.learn(host)
    if !reused.isEmpty { retire(slots.remove { reused.contains($0.pointee.tid) }) }
    let gone = (0..<slots.count).count { builder.hasEnded(slots.slots[$0].pointee.tid) }
    if gone > Self.mostEndedRows {
      let builder = self.builder
      retireOldest(gone - Self.mostEndedRows / 2) { builder.hasEnded($0) }
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

  /// The slot for all that ended.
  mutating func endedSlot() -> UnsafeMutablePointer<VCPUSlot> {
    if let ended { return ended }
    let all = UnsafeMutablePointer<VCPUSlot>.allocate(capacity: 1)
    // In no setting itself: it only holds what others counted in theirs.
    all.initialize(to: VCPUSlot(tid: Self.endedThread, vcpuID: nil, setting: VCPUSetting(rawValue: 0), at: 0))
    ended = all
    return all
  }

  mutating func retire(_ leaving: [UnsafeMutablePointer<VCPUSlot>]) {
    for slot in leaving {
      if !slot.pointee.isIgnored {
        endedSlot().pointee.absorb(&slot.pointee)
        endedThreads &+= 1
        if slot.pointee.isContinued, !retired.contains(where: { $0.tid == slot.pointee.tid }) {
          retired.append(RetiredThread(tid: slot.pointee.tid, renaming: slot.pointee.renaming))
          retired.sort { $0.tid < $1.tid }
        }
      }
      slot.pointee.deallocate()
      slot.deinitialize(count: 1).deallocate()
    }
    builder.forget(allBut: slots)
  }
}

extension VCPUSlot {
  /// Adds another slot's counts, setting by setting. Cells that have no counterpart here move over.
  mutating func absorb(_ other: inout VCPUSlot) {
    exits &+= other.exits
    time.add(other.time)
    shownExits &+= other.shownExits
    shownTime.add(other.shownTime)
    for stay in other.stays(until: other.machine.since) {
      let own = absorb(stay)
      let others = stay.cells
      for index in 0..<ReasonIndex.capacity {
        guard let cell = others[index] else { continue }
        if let known = own[index] {
          known.pointee.absorb(cell.pointee)
        } else {
          own[index] = cell
          others[index] = nil
        }
      }
    }
  }
}

extension ReasonCell {
  mutating func absorb(_ other: ReasonCell) {
    count &+= other.count
    paired &+= other.paired
    handling &+= other.handling
    minimum = min(minimum, other.minimum)
    maximum = max(maximum, other.maximum)
    unlocated &+= other.unlocated
    shownCount &+= other.shownCount
    shownHandling &+= other.shownHandling
    histogram.absorb(other.histogram, from: other.minimum, to: other.maximum)
    charges.absorb(other.charges)
    details.absorb(other.details, limit: Aggregator.detailLimit)
    instructionPointers.absorb(other.instructionPointers)
  }
}
