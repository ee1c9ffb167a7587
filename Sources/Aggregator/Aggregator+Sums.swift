import Architecture
import TraceFormat

extension Aggregator {
  // MARK: - Taking sums out

  /// Takes out everything counted since the last cut; counting goes on from zero, with what is open in each thread kept.
  /// `run` has counted all events until then, and none after.
  ///
  /// An exit counts in the interval that it came in, its handling time and its details in the one that they came in: an
  /// interval may have more exits paired than made. Merged, `cut`s are what counting it all at once gives.
  ///
  /// A screen that is to show everything while sums are cut needs an aggregator of its own, which `absorb`s them and
  /// `resume`s from them.
  ///
  /// - Parameter end: on the trace clock, raw.
  public mutating func cut(at end: UInt64) -> Sums {
    var sums = Sums()
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
    // Before the counts: the open exits are known by their cells.
    sums.open = openState()
    sums.retired = retired
    sums.endedThreads = endedThreads
    if let ended {
      let sum = ended.pointee.take(until: end)
      if !sum.stays.isEmpty || endedThreads > 0 { sums.ended = sum }
    }
    for index in 0..<slots.count where !slots.slots[index].pointee.isIgnored {
      sums.threads.append(slots.slots[index].pointee.take(until: end))
    }
    sums.threads.sort { $0.tid < $1.tid }
    events = 0
    malformed = 0
    firstTimestamp = 0
    retired = []
    endedThreads = 0
    lastCut = end
    builder.restart(at: end)
    return sums
  }

  private func openState() -> OpenState {
    var state = OpenState(streams: openStreams(), allLosses: gaps.all)
    state.words = words.map { ThreadWords(tid: $0.key, words: $0.value) }.sorted { $0.tid < $1.tid }
    state.host = builder.knowledge
    for index in 0..<slots.count { state.threads.append(OpenThread(slots.slots[index].pointee)) }
    state.threads.sort { $0.tid < $1.tid }
    return state
  }

  // MARK: - Putting sums in

  /// Adds the sums of an interval that begins where what was counted ends. What `snapshot` shows then is what it would
  /// show had the interval been counted here; to go on counting events, call `resume` as well.
  ///
  /// With options that count some threads only, the others are left out; so are those that ended and are not told apart
  /// any more.
  public mutating func absorb(_ sums: Sums) {
    let numbers = SettingNumbers(sums.settings.map { settings.adopt($0) })
    for key in sums.otherReasons {
      _ = reasonCodes.index(isa: UInt32(truncatingIfNeeded: key >> 32), code: UInt32(truncatingIfNeeded: key))
    }
    events &+= sums.events
    malformed &+= sums.malformed
    if firstTimestamp == 0 { firstTimestamp = sums.firstTimestamp }
    lastTimestamp = max(lastTimestamp, sums.lastTimestamp)
    for event in sums.eventCounts where Int(event.id) < table.rowCount {
      table.rows[Int(event.id)].count &+= event.count
    }
    for loss in sums.losses { add(loss) }
    for index in 0..<slots.count { slots.slots[index].pointee.close(at: sums.start, renaming: nil) }
    let endedBefore = endedThreads
    if !sums.retired.isEmpty {
      for thread in sums.retired {
        slots.find(thread.tid)?.pointee.close(at: sums.start, renaming: thread.renaming.map(numbers.number))
      }
      let leaving = Set(sums.retired.map(\.tid))
      retire(slots.remove { leaving.contains($0.pointee.tid) })
    }
    endedThreads = endedBefore &+ sums.endedThreads
    if let sum = sums.ended, options.threads == nil, options.vcpuIDs == nil {
      add(sum.numbered(numbers), to: endedSlot(), until: sums.end)
    }
    for thread in sums.threads {
      guard options.counts(thread.tid, vcpuID: thread.vcpuID) else { continue }
      let sum = thread.numbered(numbers)
      let slot: UnsafeMutablePointer<VCPUSlot>
      if let known = slots.find(thread.tid) {
        slot = known
        slot.pointee.close(at: sums.start, renaming: sum.renaming)
      } else {
        slot = insertSlot(thread.tid, vcpuID: thread.vcpuID, setting: sum.setting, at: sums.end)
      }
      add(sum, to: slot, until: sums.end)
    }
    lastCut = max(lastCut, sums.end)
  }

  private mutating func add(_ sum: ThreadSum, to slot: UnsafeMutablePointer<VCPUSlot>, until end: UInt64) {
    slot.pointee.add(sum, until: end) { cells, part in
      let index = reasonIndex(isa: part.isa, code: part.code)
      return cells[index] ?? makeCell(cells, index, isa: part.isa, code: part.code)
    }
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

  /// Goes on from where sums end: what was open then is open now. Counts are not touched.
  ///
  /// The source has to hand out, for each stream, the page that was being read (see `pagesToResume`) or an earlier one
  /// next; what was counted of it is passed over.
  ///
  /// - Parameter streams: those of the source that is to be `run`.
  /// - Returns: False for sums that are not resumable; nothing is changed then.
  @discardableResult
  public mutating func resume(from sums: Sums, streams: [PageStream]) -> Bool {
    guard let state = sums.open else { return false }
    prepare(streams)
    let numbers = SettingNumbers(sums.settings.map { settings.adopt($0) })
    for key in sums.otherReasons {
      _ = reasonCodes.index(isa: UInt32(truncatingIfNeeded: key >> 32), code: UInt32(truncatingIfNeeded: key))
    }
    let places = resumeStreams(state)
    words = Dictionary(state.words.map { ($0.tid, $0.words) }, uniquingKeysWith: { $1 })
    builder.learn(state.host)
    for var thread in state.threads {
      thread.number(numbers)
      let slot =
        slots.find(thread.tid)
        ?? insertSlot(thread.tid, vcpuID: thread.vcpuID, setting: thread.setting, at: sums.end)
      slot.pointee.resume(thread, countedUntil: sums.end)
      slot.pointee.machine.mark.stream = places[Int(thread.machine.mark.stream)] ?? .max
      for setting in thread.past { _ = slot.pointee.cells(of: setting) }
      guard let open = thread.cell else { continue }
      let cells = slot.pointee.cells(of: open.setting)
      let index = reasonIndex(isa: open.isa, code: open.code)
      let cell = cells[index] ?? makeCell(cells, index, isa: open.isa, code: open.code)
      slot.pointee.openCell = cell
      if let charge = thread.charge, !cell.pointee.isChargeFixed {
        slot.pointee.openCharge = cell.pointee.charges.index(of: charge)
      }
    }
    lastCut = sums.end
    return true
  }

  /// Marks everything counted so far as shown: the next snapshot's interval begins here.
  ///
  /// - Parameter now: on the trace clock, raw.
  public mutating func beginInterval(at now: UInt64) {
    builder.shownAt = now
    builder.shownEvents = events
    builder.shownEventCounts = (0..<table.rowCount).map { table.rows[$0].count }
    _ = takeLosses()
    var all: [SnapshotBuilder.Slot] = ended.map { [$0] } ?? []
    for index in 0..<slots.count where !slots.slots[index].pointee.isIgnored { all.append(slots.slots[index]) }
    let scale = self.scale
    builder.remember(all, now: now, openTime: options.countsOpenTime) { scale.nanoseconds($0) }
  }

  /// Takes the course of the rates from elsewhere: what snapshots showed before is forgotten.
  ///
  /// - Parameter intervals: oldest first; of each, its length and the exits by thread, those of ended threads as
  ///   thread 0.
  public mutating func setHistory(_ intervals: [(seconds: Double, exits: [Int32: Double])]) {
    var threads: [SnapshotBuilder.Slot] = []
    for index in 0..<slots.count where !slots.slots[index].pointee.isIgnored { threads.append(slots.slots[index]) }
    builder.setHistory(intervals.suffix(SnapshotBuilder.historyLength), threads)
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
    guard let setting = slot.setting(of: open) else { return }
    cell = OpenCell(setting: setting, isa: open.pointee.isa, code: open.pointee.code)
    if slot.openCharge >= 0, let entries = open.pointee.charges.entries {
      charge = entries[slot.openCharge].control
    }
  }
}
