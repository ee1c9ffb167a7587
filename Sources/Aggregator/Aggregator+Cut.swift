import Architecture
import TraceFormat

extension Aggregator {
  // MARK: - Cutting

  /// Takes out everything counted since the last cut; counting goes on from zero, with what is open in each thread kept.
  /// `run` has counted all events until then, and none after.
  ///
  /// An exit counts in the interval that it came in, its handling time and its details in the one that they came in: an
  /// interval may have more exits paired than made. Merged, `cut`s are what counting it all at once gives.
  ///
  /// - Parameters:
  ///   - end: on the trace clock, raw.
  ///   - resumable: whether what it takes to go on counting from there is part of it.
  public mutating func cut(at end: UInt64, resumable: Bool = true) -> IntervalCounts {
    var sums = IntervalCounts()
    sums.start = lastCut
    sums.end = end
    sums.events = events
    sums.malformed = malformed
    sums.firstTimestamp = firstTimestamp
    sums.lastTimestamp = events > 0 ? lastTimestamp : 0
    for id in 0..<table.rowCount where table.rows[id].count > 0 {
      sums.eventCounts.append(EventSum(id: UInt16(truncatingIfNeeded: id), count: table.rows[id].count))
      table.rows[id].count = 0
    }
    sums.settings = settings.descriptions
    sums.otherReasons = reasonCodes.others
    sums.losses = takeStreamSums()
    // Before the counts: what open exits are charged to is known by their cells.
    if resumable { sums.open = openState() }
    sums.retired = retired
    sums.endedThreads = endedThreads
    sums.ended = ended
    sums.threads.reserveCapacity(slots.count)
    for index in 0..<slots.count where !slots.slots[index].pointee.isIgnored {
      sums.threads.append(slots.slots[index].pointee.take(until: end))
    }
    sums.threads.sort { $0.tid < $1.tid }
    events = 0
    malformed = 0
    firstTimestamp = 0
    ended = nil
    retired = []
    endedThreads = 0
    lastCut = end
    return sums
  }

  private func openState() -> OpenState {
    var state = OpenState(streams: openStreams())
    state.words = words.map { ThreadWords(tid: $0.key, words: $0.value) }.sorted { $0.tid < $1.tid }
    state.machines = machines
    for index in 0..<slots.count {
      var thread = OpenThread(slots.slots[index].pointee)
      thread.machine.mark = carriedOver(thread.machine.mark)
      state.threads.append(thread)
    }
    state.threads.sort { $0.tid < $1.tid }
    return state
  }

  mutating func reasonIndex(isa: UInt32, code: UInt32) -> Int {
    switch isa {
    case 1 where code < ReasonIndex.vmxCount: Int(code)
    case 2 where code < ReasonIndex.svmCount: ReasonIndex.firstSVM + Int(code)
    case .max where code == .max: ReasonIndex.capacity - 1
    default: reasonCodes.index(isa: isa, code: code)
    }
  }

  // MARK: - Going on from sums

  /// Goes on from where sums end: what was open then is open now. There is nothing here that was counted and not cut.
  ///
  /// The source has to hand out, for each stream, the page that was being read (see `pagesToResume`) or an earlier one
  /// next; what was counted of it is passed over.
  ///
  /// - Parameter streams: those of the source that is to be `run`.
  /// - Returns: False for sums that are not resumable; nothing is changed then.
  @discardableResult
  public mutating func resume(from sums: IntervalCounts, streams: [PageStream]) -> Bool {
    guard let state = sums.open else { return false }
    prepare(streams)
    let numbers = SettingNumbers(sums.settings.map { settings.adopt($0) })
    for key in sums.otherReasons {
      _ = reasonCodes.index(isa: UInt32(truncatingIfNeeded: key >> 32), code: UInt32(truncatingIfNeeded: key))
    }
    let places = resumeStreams(state)
    words = Dictionary(state.words.map { ($0.tid, $0.words) }, uniquingKeysWith: { $1 })
    machines.resume(from: state.machines)
    let open = Set(state.threads.map(\.tid))
    for slot in slots.remove(where: { !open.contains($0.pointee.tid) }) {
      slot.pointee.deallocate()
      slot.deinitialize(count: 1).deallocate()
    }
    for var thread in state.threads {
      thread.number(numbers)
      let slot =
        slots.find(thread.tid)
        ?? insertSlot(thread.tid, vcpuID: thread.vcpuID, setting: thread.setting, at: sums.end)
      slot.pointee.resume(thread, countedUntil: sums.end)
      slot.pointee.machine.mark.stream = places[Int(thread.machine.mark.stream)] ?? .max
      for setting in thread.past { slot.pointee.know(setting) }
      guard let setting = thread.exitSetting else { continue }
      let (isa, code) = (thread.machine.lastExit.isa.rawValue, thread.machine.lastExit.code)
      let index = reasonIndex(isa: isa, code: code)
      let cell = cell(slot, index, isa: isa, code: code, in: setting)
      slot.pointee.openCell = cell
      if let charge = thread.charge, !cell.pointee.isChargeFixed {
        slot.pointee.openCharge = cell.pointee.charges.index(of: charge)
      }
    }
    lastCut = sums.end
    return true
  }
}

extension VCPUSlot {
  mutating func resume(_ thread: OpenThread, countedUntil end: UInt64) {
    resume(in: thread.setting, since: thread.settingSince, countedUntil: end)
    machine = thread.machine
    isSettingRead = thread.isSettingRead
    openCell = nil
    openCharge = -1
  }
}

extension OpenThread {
  init(_ slot: VCPUSlot) {
    tid = slot.tid
    vcpuID = slot.vcpuID
    isSettingRead = slot.isSettingRead
    machine = slot.machine
    setting = slot.setting
    settingSince = slot.settingSince
    past = slot.pastSettings
    guard machine.activity == .handlingExit, let open = slot.openCell else { return }
    exitSetting = open.pointee.setting
    if slot.openCharge >= 0, let entries = open.pointee.charges.entries {
      charge = entries[slot.openCharge].control
    }
  }
}
