import Architecture

/// Makes the VMs, vCPUs and scopes of a snapshot: a function of what was counted and of what is known beside it.
struct SnapshotBuilder {
  private let total: IntervalCounts
  private let present: PresentState
  private let commandNames: [Int32: String]
  /// What each thread counted; the last one, where there is one, is that of all that ended.
  private var members: [Counted] = []
  /// What was counted of each reason in each setting, thread by thread.
  private var cells: [Cell] = []

  /// One thread's counts, or those of all that ended.
  private struct Counted {
    /// Place in the total's threads; nil: those that ended.
    var place: Int?
    var tid: Int32
    var vcpuID: UInt32?
    /// Of `cells`.
    var cells: Range<Int>
    /// With what is still running.
    var time: TimeSplit
    var intervalTime: TimeSplit
    var residencies: [Residency]
  }

  /// How long a thread was in a setting.
  private struct Residency {
    var setting: VCPUSetting
    var duration: UInt64
    var time: TimeSplit
    /// It is in it now.
    var isPresent: Bool
  }

  private struct Cell {
    var setting: VCPUSetting
    var counts: ReasonCounts
    var interval: ExitCounts
    /// Of the interval, without negative ones.
    var intervalCharges: [ChargeCounts]
  }

  /// - Parameters:
  ///   - total: what is shown.
  ///   - interval: the last part of it.
  init(total span: CountedSpan, interval recent: CountedSpan, present: PresentState, commandNames: [Int32: String]) {
    let (total, interval) = (span.sums, recent.sums)
    self.total = total
    self.present = present
    self.commandNames = commandNames
    func before(_ span: CountedSpan, _ threads: [Int32]) -> TimeSplit {
      var before = TimeSplit()
      for thread in threads { before.add(span.runningBefore[thread] ?? TimeSplit()) }
      return before
    }
    var next = 0
    for place in total.threads.indices {
      let tid = total.threads[place].tid
      while next < interval.threads.count, interval.threads[next].tid < tid { next += 1 }
      let isRecent = next < interval.threads.count && interval.threads[next].tid == tid
      add(
        total.threads[place], place: place, isRecent ? interval.threads[next] : nil,
        running: present.threads[tid]?.running ?? TimeSplit(), before: before(span, [tid]),
        intervalBefore: before(recent, [tid]))
    }
    if let ended = total.ended {
      add(
        ended, place: nil, interval.ended, running: TimeSplit(), before: before(span, total.retired.map(\.tid)),
        intervalBefore: before(recent, interval.retired.map(\.tid)))
    }
  }

  /// - Parameters:
  ///   - running: what is still running.
  ///   - before: what of the time was running when counting began, and is counted before.
  ///   - intervalBefore: the same of the interval.
  private mutating func add(
    _ thread: ThreadSum, place: Int?, _ recent: ThreadSum?, running: TimeSplit, before: TimeSplit,
    intervalBefore: TimeSplit
  ) {
    let first = cells.count
    var left = before
    var residencies: [Residency] = []
    for residency in thread.residencies {
      // Of an interval alone, time that one before it counted too much may be more than its own.
      var shown = Residency(
        setting: residency.setting, duration: Int64(bitPattern: residency.duration) < 0 ? 0 : residency.duration,
        time: residency.time,
        isPresent: residency.setting == thread.setting)
      if shown.isPresent { shown.time.add(running) }
      let time = shown.time
      shown.time = time.since(left)
      left = left.since(time)
      residencies.append(shown)
      let other = recent?.residencies.firstIndex { $0.setting == residency.setting }
      var next = 0
      for reason in residency.reasons {
        var cell = Cell(setting: residency.setting, counts: reason, interval: ExitCounts(), intervalCharges: [])
        cell.counts.charges = ChargeCounts.settled(reason.charges)
        if let recent, let other {
          let reasons = recent.residencies[other].reasons
          while next < reasons.count, reasons[next].key < reason.key { next += 1 }
          if next < reasons.count, reasons[next].key == reason.key {
            cell.interval = reasons[next].exits
            cell.intervalCharges = ChargeCounts.settled(reasons[next].charges)
          }
        }
        cells.append(cell)
      }
    }
    var time = thread.time
    time.add(running)
    var intervalTime = recent?.time ?? TimeSplit()
    intervalTime.add(running)
    members.append(
      Counted(
        place: place, tid: thread.tid, vcpuID: thread.vcpuID, cells: first..<cells.count, time: time.since(before),
        intervalTime: intervalTime.since(intervalBefore), residencies: residencies))
  }

  // MARK: - VMs and vCPUs

  mutating func fill(_ snapshot: inout Snapshot, _ rates: inout RateHistory) {
    let seconds = Double(snapshot.intervalNanoseconds) / 1e9
    func rate(_ scope: ScopeStatistics) -> Double? { seconds > 0 ? Double(scope.intervalExits) / seconds : nil }
    // Merging is most of a snapshot's work: what a scope has that contains no more is not merged again.
    func build(_ group: [Int], like other: (members: Int, scope: ScopeStatistics)? = nil) -> ScopeStatistics {
      if let other, other.members == group.count { return other.scope }
      return statistics(of: group)
    }

    let threads = members.indices.filter { members[$0].place != nil }
    var whole = build(Array(members.indices))
    let all = (members: members.count, scope: whole)
    whole.history = rates.add(rate(whole), to: .all)
    snapshot.scopes = [whole]
    snapshot.vms = []

    var known: [Int: [Int]] = [:]
    var others: [Int] = []
    for member in threads {
      if let vm = present.machines.vmOfThread[members[member].tid] {
        known[vm, default: []].append(member)
      } else {
        others.append(member)
      }
    }
    func add(_ scope: ScopeStatistics, _ key: RateHistory.Key) -> Int {
      var scope = scope
      scope.history = rates.add(rate(scope), to: key)
      snapshot.scopes.append(scope)
      return snapshot.scopes.count - 1
    }

    for (number, vm) in present.machines.knownVMs {
      let group = known[number] ?? []
      if group.isEmpty && !present.machines.presentVMs.contains(number) { continue }
      var row = VirtualMachineStatistics()
      row.number = number
      row.pid = vm.pid
      row.name = vm.name
      row.vmm = vm.vmm
      let scope = build(group, like: all)
      row.scope = add(scope, .vm(number))
      var pairs: [(Int?, HostVCPU?)] = group.map { member in
        (member, vm.vcpus.first { $0.tid == members[member].tid })
      }
      // vCPUs that made no event yet are idle, not absent.
      for vcpu in vm.vcpus where !group.contains(where: { members[$0].tid == vcpu.tid }) { pairs.append((nil, vcpu)) }
      for (member, host) in pairs {
        var own = vcpu(member, host, isHostKnown: true)
        own.scope = add(
          member.map { build([$0], like: (group.count, scope)) } ?? ScopeStatistics(), .thread(own.tid))
        row.vcpus.append(own)
      }
      row.vcpus.sort { ($0.id ?? .max, $0.tid) < ($1.id ?? .max, $1.tid) }
      snapshot.vms.append(row)
    }
    let unknown = others.map { MachineRegistry.Member(tid: members[$0].tid, vcpuID: members[$0].vcpuID) }
    for group in MachineRegistry.inferredGroups(unknown).map({ $0.map { others[$0] } }) {
      var row = VirtualMachineStatistics()
      row.isInferred = true
      let scope = build(group, like: all)
      row.scope = add(scope, .inferred(members[group[0]].tid))
      for member in group {
        var own = vcpu(member, nil, isHostKnown: false)
        own.scope = add(build([member], like: (group.count, scope)), .thread(own.tid))
        row.vcpus.append(own)
      }
      row.vcpus.sort { ($0.id ?? .max, $0.tid) < ($1.id ?? .max, $1.tid) }
      snapshot.vms.append(row)
    }
    snapshot.vms.sort {
      ($0.pid ?? .max, $0.vcpus.first?.tid ?? .max, $0.number ?? 0)
        < ($1.pid ?? .max, $1.vcpus.first?.tid ?? .max, $1.number ?? 0)
    }
    if let ended = members.indices.last, members[ended].place == nil {
      var row = VirtualMachineStatistics()
      row.endedThreads = total.endedThreads
      row.scope = add(build([ended], like: all), .ended)
      var vcpu = VCPUStatistics(tid: members[ended].tid)
      vcpu.isGone = true
      vcpu.scope = row.scope
      row.vcpus = [vcpu]
      snapshot.vms.append(row)
    }
    rates.forgetOthers()
  }

  private func vcpu(_ member: Int?, _ host: HostVCPU?, isHostKnown: Bool) -> VCPUStatistics {
    let tid = member.map { members[$0].tid } ?? host?.tid ?? 0
    var row = VCPUStatistics(tid: tid)
    row.id = member.flatMap { members[$0].vcpuID } ?? host?.id
    row.threadName = host?.threadName ?? commandNames[tid]
    if let member, let place = members[member].place {
      row.setting = total.threads[place].setting
      row.settingChanges = total.threads[place].changes
    }
    row.cpu = present.threads[tid]?.cpu
    row.lastExit = present.threads[tid]?.lastExit
    row.isGone = isHostKnown && !present.machines.isPresent(tid)
    return row
  }

  // MARK: - Scopes

  private func statistics(of group: [Int]) -> ScopeStatistics {
    var scope = ScopeStatistics()
    var settings: [VCPUSetting: SettingStatistics] = [:]
    /// Places in `cells`, by reason.
    var all: [UInt64: [Int]] = [:]
    for member in group {
      scope.time.add(members[member].time)
      scope.intervalTime.add(members[member].intervalTime)
      for residency in members[member].residencies {
        settings[residency.setting, default: SettingStatistics(setting: residency.setting)].add(
          duration: present.scale.nanoseconds(residency.duration), residency.time, isPresent: residency.isPresent)
      }
      for place in members[member].cells { all[cells[place].counts.key, default: []].append(place) }
    }
    for places in all.values {
      var row = reason(places)
      if settings.count > 1 {
        let bySetting = Dictionary(grouping: places) { cells[$0].setting }
        row.settings = bySetting.count
        for (setting, places) in bySetting {
          let part = figures(places)
          settings[setting]?.add(part, charges(places, of: part.figures))
        }
      }
      scope.exits &+= row.figures.total.count
      scope.intervalExits &+= row.figures.interval.count
      scope.reasons.append(row)
    }
    for reason in scope.reasons { scope.controls.add(reason.charges) }
    scope.controls.sortByCount()
    scope.reasons.sort { ($1.count, $0.isa, $0.code) < ($0.count, $1.isa, $1.code) }
    // With one setting only, what follows from its reasons is what the scope has.
    if settings.count == 1, let only = settings.keys.first { settings[only]?.take(scope) }
    scope.settings = settings.values.map { $0.sorted }.sorted { $0.setting < $1.setting }
    return scope
  }

  private func figures(_ places: [Int]) -> SettingReason {
    var row = SettingReason(isa: cells[places[0]].counts.isa, code: cells[places[0]].counts.code)
    for place in places {
      row.figures.add(ExitFigures(total: cells[place].counts.exits, interval: cells[place].interval))
    }
    return row
  }

  /// - Parameter figures: of all of them.
  private func charges(_ places: [Int], of figures: ExitFigures) -> [ChargeStatistics] {
    let first = cells[places[0]].counts
    if let control = fixedGoverningControl(isa: first.isa, code: first.code) {
      return [ChargeStatistics(control: control, figures: figures)]
    }
    var charges: [ChargeStatistics] = []
    for place in places {
      let cell = cells[place]
      for charge in cell.counts.charges { charges.add(ExitFigures(total: charge.exits), to: charge.control) }
      for charge in cell.intervalCharges { charges.add(ExitFigures(interval: charge.exits), to: charge.control) }
    }
    charges.removeAll { $0.count | $0.handling == 0 }
    charges.sortByCount()
    return charges
  }

  private func reason(_ places: [Int]) -> ReasonStatistics {
    let (isa, code) = (cells[places[0]].counts.isa, cells[places[0]].counts.code)
    var row = ReasonStatistics(isa: isa, code: code, name: Self.name(isa: isa, code: code, present.fallbackName))
    row.figures = figures(places).figures
    row.charges = charges(places, of: row.figures)
    row.handling.total = row.figures.total.handling
    var minimum = UInt64.max
    for place in places {
      row.handling.paired &+= cells[place].counts.paired
      minimum = min(minimum, cells[place].counts.minimum)
      row.handling.max = max(row.handling.max, cells[place].counts.maximum)
    }
    row.handling.min = minimum == .max ? 0 : minimum
    fillPercentiles(&row.handling, places)
    if let kind = ReasonTraits.of(isa: ISA(rawValue: isa), code: code).detail.kind {
      row.details += details(kind, places, total: places.reduce(0) { $0 &+ cells[$1].counts.details.total }, \.details)
    }
    let located = places.reduce(0) { $0 &+ cells[$1].counts.exits.count &- cells[$1].counts.unlocated }
    row.details += details(.rip, places, total: located, \.instructionPointers)
    return row
  }

  /// Nearest-rank percentiles; what the exact minimum and maximum know better than a bucket's middle, they say.
  private func fillPercentiles(_ handling: inout LatencySummary, _ places: [Int]) {
    var buckets = cells[places[0]].counts.histogram
    if places.count > 1 {
      buckets = withUnsafeTemporaryAllocation(of: UInt64.self, capacity: Histogram.bucketCount) { dense in
        dense.initialize(repeating: 0)
        for place in places {
          for bucket in cells[place].counts.histogram { dense[bucket.bucket] &+= bucket.count }
        }
        var sums: [BucketSum] = []
        for bucket in 0..<Histogram.bucketCount where dense[bucket] > 0 {
          sums.append(BucketSum(bucket: bucket, count: dense[bucket]))
        }
        return sums
      }
    }
    let recorded = buckets.reduce(0) { $0 &+ $1.count }
    guard recorded > 0 else { return }
    func rank(_ perMille: UInt64) -> UInt64 {
      let (quotient, remainder) = recorded.quotientAndRemainder(dividingBy: 1000)
      return max(1, quotient * perMille + (remainder * perMille + 999) / 1000)
    }
    let (low, high) = (handling.min, handling.max)
    let values = Histogram.values(atRanks: [rank(500), rank(900), rank(990), rank(999)], in: buckets)
      .map { Swift.min(Swift.max($0, low), high) }
    handling.p50 = values[0]
    handling.p90 = values[1]
    handling.p99 = values[2]
    handling.p999 = values[3]
  }

  /// One table for several vCPUs: counts and errors add up, the errors of those tables too that lack the value.
  private func details(
    _ kind: DetailKind, _ places: [Int], total: UInt64, _ values: (ReasonCounts) -> DetailSum
  ) -> [DetailStatistics] {
    guard total > 0 else { return [] }
    var most: [(value: UInt64, count: UInt64)]
    var approximate: [DetailSum] = []
    if places.count == 1 {
      let own = values(cells[places[0]].counts)
      if own.isApproximate { approximate = [own] }
      most = own.entries.map { ($0.key, $0.count) }
    } else {
      var sums: [UInt64: UInt64] = [:]
      for place in places {
        let own = values(cells[place].counts)
        if own.isApproximate { approximate.append(own) }
        for entry in own.entries { sums[entry.key, default: 0] &+= entry.count }
      }
      most = sums.map { ($0.key, $0.value) }
    }
    most.sort { ($1.count, $0.value) < ($0.count, $1.value) }
    return [
      DetailStatistics(
        kind: kind, total: total, isApproximate: !approximate.isEmpty,
        entries: most.prefix(DetailStatistics.mostEntries).map { value, count in
          DetailCount(value: value, count: count, error: approximate.reduce(0) { $0 &+ $1.error(of: value) })
        })
    ]
  }

  static func name(isa: UInt32, code: UInt32, _ fallbackName: (UInt32, UInt32) -> String?) -> String {
    if isa == .max { return "OTHER" }
    if let row = ExitReason.lookup(isa: isa, code: code) { return row.name }
    return fallbackName(isa, code) ?? "0x" + String(code, radix: 16)
  }
}

extension [ChargeStatistics] {
  fileprivate mutating func add(_ figures: ExitFigures, to control: ControlID) {
    if let known = firstIndex(where: { $0.control == control }) {
      self[known].figures.add(figures)
    } else {
      append(ChargeStatistics(control: control, figures: figures))
    }
  }

  fileprivate mutating func add(_ charges: [ChargeStatistics]) {
    for charge in charges { add(charge.figures, to: charge.control) }
  }

  /// Most exits first.
  fileprivate mutating func sortByCount() { sort { ($1.count, $0.control) < ($0.count, $1.control) } }
}

extension SettingStatistics {
  fileprivate mutating func add(duration: UInt64, _ time: TimeSplit, isPresent: Bool) {
    if isPresent { vcpus += 1 }
    self.duration &+= duration
    self.time.add(time)
  }

  fileprivate mutating func add(_ reason: SettingReason, _ charges: [ChargeStatistics]) {
    figures.add(reason.figures)
    reasons.append(reason)
    controls.add(charges)
  }

  fileprivate var sorted: SettingStatistics {
    var sorted = self
    sorted.reasons.sort { ($1.count, $0.isa, $0.code) < ($0.count, $1.isa, $1.code) }
    sorted.controls.sortByCount()
    return sorted
  }

  /// The only setting has all of its scope.
  fileprivate mutating func take(_ scope: ScopeStatistics) {
    for reason in scope.reasons {
      figures.add(reason.figures)
      reasons.append(SettingReason(isa: reason.isa, code: reason.code, figures: reason.figures))
    }
    controls = scope.controls
  }
}

extension TimeSplit {
  mutating func add(_ other: TimeSplit) {
    guest &+= other.guest
    kernel &+= other.kernel
    user &+= other.user
    halted &+= other.halted
  }

  /// Takes out what is part of it.
  mutating func subtract(_ part: TimeSplit) {
    guest &-= part.guest
    kernel &-= part.kernel
    user &-= part.user
    halted &-= part.halted
  }

  /// What came since an earlier state. A share that shrank (running time taken for a halt that turned out to be
  /// user space) counts as nothing rather than as negative.
  func since(_ earlier: TimeSplit) -> TimeSplit {
    func grown(_ now: UInt64, _ then: UInt64) -> UInt64 { now > then ? now - then : 0 }
    var result = TimeSplit()
    result.guest = grown(guest, earlier.guest)
    result.kernel = grown(kernel, earlier.kernel)
    result.user = grown(user, earlier.user)
    result.halted = grown(halted, earlier.halted)
    return result
  }
}
