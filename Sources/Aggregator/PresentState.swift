import Architecture
import TraceFormat

/// What the engine knows at a moment beside its counts: what a snapshot shows of each thread and VM.
struct PresentState {
  struct Thread {
    /// The host CPU it was last seen on.
    var cpu: Int?
    var lastExit: LastExit?
    /// Time that is still running: a guest that has not exited, an exit that is still handled. Counted live only.
    var running = TimeSplit()
  }

  /// By thread id.
  var threads: [Int32: Thread] = [:]
  var machines = MachineRegistry()
  var scale: TimeScale
  /// Names by event id.
  var eventNames: [String]
  var fallbackName: @Sendable (_ isa: UInt32, _ code: UInt32) -> String?
}

extension Aggregator {
  /// The threads that have slots and count.
  var knownThreads: [MachineRegistry.Member] {
    var members: [MachineRegistry.Member] = []
    for index in 0..<slots.count {
      let slot = slots.slots[index]
      members.append(MachineRegistry.Member(tid: slot.pointee.tid, vcpuID: slot.pointee.vcpuID))
    }
    return members
  }

  /// What there is to show beside the counts.
  func present(at now: UInt64) -> PresentState {
    var present = PresentState(
      machines: machines, scale: scale, eventNames: table.names, fallbackName: options.fallbackName)
    present.threads.reserveCapacity(slots.count)
    for index in 0..<slots.count where !slots.slots[index].pointee.isIgnored {
      let slot = slots.slots[index]
      present.threads[slot.pointee.tid] = PresentState.Thread(
        cpu: cpu(ofStream: Int(slot.pointee.machine.mark.stream)),
        lastExit: slot.pointee.machine.lastExitAt == 0
          ? nil : LastExit(slot.pointee.machine.lastExit, at: slot.pointee.machine.lastExitAt),
        running: options.countsOpenTime ? runningTime(of: slot, until: now) : TimeSplit())
    }
    return present
  }

  private func runningTime(of slot: UnsafeMutablePointer<VCPUSlot>, until now: UInt64) -> TimeSplit {
    let isHalt = slot.pointee.openCell.map { ReasonCode(isa: $0.pointee.isa, code: $0.pointee.code).halts } ?? false
    let scale = self.scale
    return slot.pointee.machine.openTime(until: now, isHalt: isHalt) { scale.nanoseconds($0) }
  }
}
