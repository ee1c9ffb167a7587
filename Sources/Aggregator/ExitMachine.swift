import Architecture
import TraceFormat

/// What a vCPU's thread was doing at its last event.
enum VCPUActivity: UInt8 {
  case unknown
  case inGuest
  /// Between kvm_exit and the next kvm_entry.
  case handlingExit
}

/// What one of the rarer events says of the open exit of its thread. See `EventTable.note`.
enum ExitNote {
  case nothing
  /// kvm_userspace_exit: KVM_RUN returned to the VMM, with KVM_EXIT_HLT or another reason.
  case userSpace(isHalt: Bool)
  /// kvm_fpu load=1: KVM_RUN has begun again. Other kvm events of the thread do not say so: QEMU raises interrupts from
  /// its vCPU threads while in user space.
  case running
  /// kvm_vcpu_wakeup: the vCPU was halted that long.
  case wakeup(nanoseconds: UInt64)
  /// What the exit was about, where kvm_exit does not say it.
  case detail(DetailKind, UInt64)
}

/// What is open in one vCPU thread, and the rules by which events change it: what pairs with what, what a loss makes
/// void, and where the time inside an exit went.
///
/// Everything that pairs exits does it with this: the `Aggregator` counts into cells what the transitions return,
/// `ExitTimeline` tells it exit by exit. Timestamps are raw; the transitions of every exit are inlined.
struct ExitMachine: Sendable, Equatable {
  var activity = VCPUActivity.unknown
  /// Kind of the detail that a later event of this thread is to bring, for the open exit.
  var awaited: DetailKind?
  /// User space or a halt was seen inside the open exit, or is there now: the `open…` figures are not all zero.
  var wasOffKernel = false
  var isInUserSpace = false
  /// In user space because of a HLT, without a local APIC in the kernel: that is the halt.
  var isHaltedInUserSpace = false
  /// The losses at the last event: a gap since makes every open interval void.
  var mark = LossMark(stream: 0, losses: 0, ofAll: 0)
  /// Timestamp of the last kvm_entry or kvm_exit.
  var since: UInt64 = 0
  /// Timestamp of the last kvm_exit; 0: none yet.
  var lastExitAt: UInt64 = 0
  var lastExit = KVMExit()
  /// Timestamp of the kvm_userspace_exit since which the thread is in user space.
  var userSince: UInt64 = 0
  /// Time of the open exit in user space, raw, and halted, in nanoseconds.
  var openUser: UInt64 = 0
  var openHalted: UInt64 = 0

  /// Takes a kvm_exit, whose fields are in `lastExit` already.
  ///
  /// - Parameter awaited: kind of the detail that a later event is to bring.
  /// - Returns: how long the guest ran until then; nil where it was not seen to enter, or events were lost since.
  @inline(__always)
  mutating func exit(at timestamp: UInt64, _ mark: LossMark, _ gaps: Gaps, awaiting awaited: DetailKind?) -> UInt64? {
    var guest: UInt64?
    if activity == .inGuest {
      if timestamp >= since, gaps.isWhole(self.mark, mark) { guest = timestamp &- since }
    } else {
      forgetAway()
    }
    activity = .handlingExit
    since = timestamp
    lastExitAt = timestamp
    self.mark = mark
    self.awaited = awaited
    return guest
  }

  /// Takes a kvm_entry.
  ///
  /// - Returns: how long the exit before it was handled; nil where there is none, or events were lost since. Where it
  ///   `wasOffKernel`, `takeOffKernel` is to be asked next.
  @inline(__always)
  mutating func entry(at timestamp: UInt64, _ mark: LossMark, _ gaps: Gaps) -> UInt64? {
    var handling: UInt64?
    if activity == .handlingExit, timestamp >= since, gaps.isWhole(self.mark, mark) {
      handling = timestamp &- since
    } else if wasOffKernel {
      forgetAway()
    }
    activity = .inGuest
    since = timestamp
    self.mark = mark
    return handling
  }

  /// What of the handling that the last kvm_entry ended was in user space, and what halted: both happened inside it, and
  /// a halt cannot be longer than what user space left. All in nanoseconds.
  mutating func takeOffKernel(of handling: UInt64, _ scale: TimeScale) -> (user: UInt64, halted: UInt64) {
    let offKernel = offKernel(until: since, of: handling) { scale.nanoseconds($0) }
    forgetAway()
    return offKernel
  }

  /// The same of an exit that is still open at a time.
  @inline(__always)
  private func offKernel(
    until timestamp: UInt64, of handling: UInt64, _ nanoseconds: (UInt64) -> UInt64
  ) -> (user: UInt64, halted: UInt64) {
    var end = self
    if isInUserSpace { end.leaveUserSpace(at: timestamp, nanoseconds) }
    let user = min(nanoseconds(end.openUser), handling)
    return (user, min(end.openHalted, handling &- user))
  }

  /// What is still running, from the last kvm_entry or kvm_exit up to now.
  ///
  /// - Parameter isHalt: the open exit is a HLT: without its kvm_vcpu_wakeup and not in user space, the vCPU still sleeps.
  func openTime(until now: UInt64, isHalt: Bool, _ nanoseconds: (UInt64) -> UInt64) -> TimeSplit {
    var time = TimeSplit()
    guard now > since else { return time }
    let open = nanoseconds(now - since)
    switch activity {
    case .unknown: break
    case .inGuest: time.guest = open
    case .handlingExit:
      (time.user, time.halted) = offKernel(until: now, of: open, nanoseconds)
      if isHalt, !isInUserSpace, time.user | time.halted == 0 { time.halted = open }
      time.kernel = open - time.user - time.halted
    }
    return time
  }

  /// What a rarer event changed.
  enum Change {
    case nothing
    /// The detail that was awaited.
    case detail(DetailKind, UInt64)
    /// The exit was elsewhere, from and to nanoseconds of the trace clock.
    case offKernel(TracedExit.OffKernel)
  }

  /// Takes what a rarer event says.
  @inline(__always)
  mutating func take(_ note: ExitNote, at timestamp: UInt64, _ scale: TimeScale) -> Change {
    guard activity == .handlingExit else { return .nothing }
    switch note {
    case .nothing: return .nothing
    case .userSpace(let isHalt):
      if !isInUserSpace {
        wasOffKernel = true
        isInUserSpace = true
        isHaltedInUserSpace = isHalt
        userSince = timestamp
      }
      return .nothing
    case .running:
      guard isInUserSpace else { return .nothing }
      let stretch = userSpace(until: timestamp, scale)
      leaveUserSpace(at: timestamp) { scale.nanoseconds($0) }
      return .offKernel(stretch)
    case .wakeup(let nanoseconds):
      wasOffKernel = true
      openHalted &+= nanoseconds
      let end = scale.nanoseconds(timestamp)
      return .offKernel(TracedExit.OffKernel(kind: .halted, start: end &- min(end, nanoseconds), end: end))
    case .detail(let kind, let value):
      guard awaited == kind else { return .nothing }
      awaited = nil
      return .detail(kind, value)
    }
  }

  @inline(__always)
  private mutating func leaveUserSpace(at timestamp: UInt64, _ nanoseconds: (UInt64) -> UInt64) {
    let span = timestamp &- min(timestamp, userSince)
    if isHaltedInUserSpace { openHalted &+= nanoseconds(span) } else { openUser &+= span }
    isInUserSpace = false
    isHaltedInUserSpace = false
  }

  /// The stretch in user space that the thread is in.
  func userSpace(until timestamp: UInt64, _ scale: TimeScale) -> TracedExit.OffKernel {
    TracedExit.OffKernel(
      kind: isHaltedInUserSpace ? .halted : .userSpace, start: scale.nanoseconds(userSince),
      end: scale.nanoseconds(timestamp))
  }

  /// Nothing is known of what the open exit did.
  @inline(__always)
  mutating func forgetAway() {
    wasOffKernel = false
    isInUserSpace = false
    isHaltedInUserSpace = false
    openUser = 0
    openHalted = 0
  }
}
