import Architecture

/// What the host knows of its VMs, for naming and grouping threads. Empty for a recording.
public struct HostView: Sendable, Hashable {
  public typealias VM = HostVM
  public typealias VCPU = HostVCPU

  public var vms: [VM]

  public init(vms: [VM] = []) { self.vms = vms }
}

/// What lives from one snapshot to the next beside the counters.
struct SnapshotBuilder: Sendable {
  var sequence: UInt64 = 0
  var shownEvents: UInt64 = 0
  var shownEventCounts: [UInt64] = []
  var shownAt: UInt64?
  /// Every VM the host ever showed and that still has threads here, so that one that ended keeps its name. By a number
  /// of ours: process ids and file descriptors come again.
  private var knownVMs: [Int: HostView.VM] = [:]
  private var lastVM = 0
  private var presentVMs: Set<Int> = []
  private var vmOfThread: [Int32: Int] = [:]
  private var present: Set<Int32> = []
  private var histories: [HistoryKey: [Double]] = [:]
  static let historyLength = 240

  private enum HistoryKey: Hashable {
    case all
    case ended
    case vm(Int)
    case inferred(Int32)
    case thread(Int32)
  }

  typealias Slot = UnsafeMutablePointer<VCPUSlot>

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

  /// Drops the names and histories of threads that have no slot any more, and of VMs without threads.
  mutating func forget(allBut slots: borrowing SlotTable) {
    var inferred: Set<Int32> = []
    for index in 0..<slots.count { inferred.insert(slots.slots[index].pointee.tid) }
    let kept = present.union(inferred)
    vmOfThread = vmOfThread.filter { kept.contains($0.key) }
    let threads = Set(vmOfThread.values)
    knownVMs = knownVMs.filter { presentVMs.contains($0.key) || threads.contains($0.key) }
    histories = histories.filter { key, _ in
      switch key {
      case .all, .ended: true
      case .vm(let number): knownVMs[number] != nil
      case .inferred(let tid), .thread(let tid): kept.contains(tid)
      }
    }
  }

  /// The threads that share a VM with this one: by the host's word, else by inference; only the thread itself or
  /// nothing where neither tells.
  func group(of thread: Int32, in slots: borrowing SlotTable) -> [Int32] {
    if let index = vmOfThread[thread] { return vmOfThread.filter { $0.value == index }.map(\.key) }
    if let number = knownVMs.first(where: { presentVMs.contains($0.key) && $0.value.pid == thread })?.key {
      return vmOfThread.filter { $0.value == number }.map(\.key)
    }
    var all: [Slot] = []
    for index in 0..<slots.count { all.append(slots.slots[index]) }
    let groups = Self.inferredGroups(all)
    if let own = groups.first(where: { $0.contains { $0.pointee.tid == thread } }) { return own.map(\.pointee.tid) }
    return groups.count == 1 ? groups[0].map(\.pointee.tid) : []
  }

  /// A VMM makes a VM's vCPU threads one after another, so their ids ascend with the vCPU's: a vcpu_id that comes a
  /// second time begins another VM. An inference, and shown as one.
  static func inferredGroups(_ slots: [Slot]) -> [[Slot]] {
    var groups: [[Slot]] = []
    var seen: Set<UInt32> = []
    for slot in slots.sorted(by: { $0.pointee.tid < $1.pointee.tid }) {
      if groups.isEmpty || (slot.pointee.vcpuID.map { seen.contains($0) } ?? false) {
        groups.append([])
        seen = []
      }
      groups[groups.count - 1].append(slot)
      if let id = slot.pointee.vcpuID { seen.insert(id) }
    }
    return groups
  }

  // MARK: - Sums

  /// What the host has told.
  var knowledge: HostKnowledge {
    var knowledge = HostKnowledge(lastVM: lastVM)
    knowledge.vms = knownVMs.sorted { $0.key < $1.key }.map {
      HostKnowledge.VM(number: $0.key, isPresent: presentVMs.contains($0.key), vm: $0.value)
    }
    knowledge.members = vmOfThread.sorted { $0.key < $1.key }.map {
      HostKnowledge.Member(tid: $0.key, vm: $0.value, isPresent: present.contains($0.key))
    }
    return knowledge
  }

  mutating func learn(_ knowledge: HostKnowledge) {
    lastVM = max(lastVM, knowledge.lastVM)
    knownVMs = Dictionary(knowledge.vms.map { ($0.number, $0.vm) }, uniquingKeysWith: { $1 })
    presentVMs = Set(knowledge.vms.lazy.filter(\.isPresent).map(\.number))
    let members = knowledge.members.filter { knownVMs[$0.vm] != nil }
    vmOfThread = Dictionary(members.map { ($0.tid, $0.vm) }, uniquingKeysWith: { $1 })
    present = Set(members.lazy.filter(\.isPresent).map(\.tid))
  }

  /// Counting goes on from zero.
  mutating func restart(at now: UInt64) {
    shownAt = now
    shownEvents = 0
    shownEventCounts = []
  }

  /// Takes over what another one showed. What the host has told is this one's own.
  mutating func continueShowing(_ other: SnapshotBuilder) {
    sequence = other.sequence
    shownEvents = other.shownEvents
    shownEventCounts = other.shownEventCounts
    shownAt = other.shownAt
    histories = other.histories
  }

  /// Replaces the courses of the rates.
  mutating func setHistory(
    _ intervals: some Collection<(seconds: Double, exits: [Int32: Double])>, _ slots: [Slot]
  ) {
    histories = [:]
    func add(_ key: HistoryKey, _ exits: Double, _ seconds: Double) {
      histories[key, default: []].append(seconds > 0 ? exits / seconds : 0)
    }
    let groups = Self.inferredGroups(slots.filter { vmOfThread[$0.pointee.tid] == nil })
      .map { group in (first: group[0].pointee.tid, threads: group.map(\.pointee.tid)) }
    for (seconds, exits) in intervals {
      add(.all, exits.values.reduce(0, +), seconds)
      add(.ended, exits[Aggregator.endedThread] ?? 0, seconds)
      var byVM = knownVMs.mapValues { _ in 0.0 }
      for (thread, vm) in vmOfThread { byVM[vm, default: 0] += exits[thread] ?? 0 }
      for (vm, exits) in byVM { add(.vm(vm), exits, seconds) }
      for group in groups {
        add(.inferred(group.first), group.threads.reduce(0) { $0 + (exits[$1] ?? 0) }, seconds)
      }
      for slot in slots { add(.thread(slot.pointee.tid), exits[slot.pointee.tid] ?? 0, seconds) }
    }
  }

  private mutating func history(_ key: HistoryKey, _ rate: Double?) -> [Double] {
    guard let rate else { return histories[key] ?? [] }
    var values = histories[key] ?? []
    if values.count >= Self.historyLength { values.removeFirst(values.count - Self.historyLength + 1) }
    values.append(rate)
    histories[key] = values
    return values
  }

  /// VMs, vCPUs and scopes of a snapshot from the slots that count.
  mutating func fill(
    _ snapshot: inout Snapshot, slots: [Slot], ended: Slot?, endedThreads: UInt64, now: UInt64, openTime: Bool,
    commandNames: [Int32: String], fallbackName: (UInt32, UInt32) -> String?, cpu: (Int) -> Int?,
    nanoseconds: (UInt64) -> UInt64
  ) {
    let seconds = Double(snapshot.intervalNanoseconds) / 1e9
    func rate(_ scope: ScopeStatistics) -> Double? { seconds > 0 ? Double(scope.intervalExits) / seconds : nil }
    // Merging is most of a snapshot's work: what a scope has that contains no more is not merged again.
    func build(_ group: [Slot], like other: (slots: Int, scope: ScopeStatistics)? = nil) -> ScopeStatistics {
      if let other, other.slots == group.count { return other.scope }
      return statistics(of: group, now: now, openTime: openTime, fallbackName: fallbackName, nanoseconds: nanoseconds)
    }

    let everything = slots + (ended.map { [$0] } ?? [])
    var total = build(everything)
    let all = (slots: everything.count, scope: total)
    total.history = history(.all, rate(total))
    snapshot.scopes = [total]
    snapshot.vms = []

    var known: [Int: [Slot]] = [:]
    var others: [Slot] = []
    for slot in slots {
      if let vm = vmOfThread[slot.pointee.tid] { known[vm, default: []].append(slot) } else { others.append(slot) }
    }
    func vcpu(_ slot: Slot?, _ host: HostView.VCPU?, hostKnown: Bool) -> VCPUStatistics {
      let tid = slot?.pointee.tid ?? host?.tid ?? 0
      var row = VCPUStatistics(tid: tid)
      row.id = slot?.pointee.vcpuID ?? host?.id
      row.threadName = host?.threadName ?? commandNames[tid]
      if let slot {
        row.cpu = cpu(Int(slot.pointee.mark.stream))
        row.setting = slot.pointee.setting
        row.settingChanges = slot.pointee.changes
        row.lastExit = LastExit(slot.pointee)
      }
      row.isGone = hostKnown && !present.contains(tid)
      return row
    }

    for (number, vm) in knownVMs {
      let group = known[number] ?? []
      if group.isEmpty && !presentVMs.contains(number) { continue }
      var row = VirtualMachineStatistics()
      row.number = number
      row.pid = vm.pid
      row.name = vm.name
      row.vmm = vm.vmm
      var scope = build(group, like: all)
      let whole = (slots: group.count, scope: scope)
      scope.history = history(.vm(number), rate(scope))
      row.scope = snapshot.scopes.count
      snapshot.scopes.append(scope)
      var pairs: [(Slot?, HostView.VCPU?)] = group.map { slot in
        (slot, vm.vcpus.first { $0.tid == slot.pointee.tid })
      }
      // vCPUs that made no event yet are idle, not absent.
      for vcpu in vm.vcpus where !group.contains(where: { $0.pointee.tid == vcpu.tid }) { pairs.append((nil, vcpu)) }
      for (slot, host) in pairs {
        var own = vcpu(slot, host, hostKnown: true)
        var scope = slot.map { build([$0], like: whole) } ?? ScopeStatistics()
        scope.history = history(.thread(own.tid), rate(scope))
        own.scope = snapshot.scopes.count
        snapshot.scopes.append(scope)
        row.vcpus.append(own)
      }
      row.vcpus.sort { ($0.id ?? .max, $0.tid) < ($1.id ?? .max, $1.tid) }
      snapshot.vms.append(row)
    }
    for group in Self.inferredGroups(others) {
      var row = VirtualMachineStatistics()
      row.isInferred = true
      var scope = build(group, like: all)
      let whole = (slots: group.count, scope: scope)
      scope.history = history(.inferred(group[0].pointee.tid), rate(scope))
      row.scope = snapshot.scopes.count
      snapshot.scopes.append(scope)
      for slot in group {
        var own = vcpu(slot, nil, hostKnown: false)
        var scope = build([slot], like: whole)
        scope.history = history(.thread(own.tid), rate(scope))
        own.scope = snapshot.scopes.count
        snapshot.scopes.append(scope)
        row.vcpus.append(own)
      }
      row.vcpus.sort { ($0.id ?? .max, $0.tid) < ($1.id ?? .max, $1.tid) }
      snapshot.vms.append(row)
    }
    snapshot.vms.sort {
      ($0.pid ?? .max, $0.vcpus.first?.tid ?? .max, $0.number ?? 0)
        < ($1.pid ?? .max, $1.vcpus.first?.tid ?? .max, $1.number ?? 0)
    }
    if let ended {
      var row = VirtualMachineStatistics()
      row.endedThreads = endedThreads
      var scope = build([ended], like: all)
      scope.history = history(.ended, rate(scope))
      row.scope = snapshot.scopes.count
      snapshot.scopes.append(scope)
      var vcpu = VCPUStatistics(tid: ended.pointee.tid)
      vcpu.isGone = true
      vcpu.scope = row.scope
      row.vcpus = [vcpu]
      snapshot.vms.append(row)
    }
    remember(everything, now: now, openTime: openTime, nanoseconds: nanoseconds)
  }

  /// The time of a slot up to now: what its events enclosed and, live, what is still running.
  private func time(of slot: Slot, now: UInt64, openTime: Bool, nanoseconds: (UInt64) -> UInt64) -> TimeSplit {
    var time = slot.pointee.time
    guard openTime, now > slot.pointee.since else { return time }
    let open = nanoseconds(now - slot.pointee.since)
    switch slot.pointee.activity {
    case .unknown: break
    case .inGuest: time.guest &+= open
    case .handlingExit:
      var user = nanoseconds(slot.pointee.openUser)
      if slot.pointee.isInUserSpace, now > slot.pointee.userSince {
        user &+= nanoseconds(now - slot.pointee.userSince)
      }
      user = min(user, open)
      var halted = min(slot.pointee.openHalted, open - user)
      // A HLT without its kvm_vcpu_wakeup and not in user space is a vCPU that still sleeps.
      if halted == 0, !slot.pointee.isInUserSpace, user == 0, let cell = slot.pointee.openCell,
        (cell.pointee.isa, cell.pointee.code) == (1, 12) || (cell.pointee.isa, cell.pointee.code) == (2, 0x78)
      {
        halted = open
      }
      time.user &+= user
      time.halted &+= halted
      time.kernel &+= open - user - halted
    }
    return time
  }

  private func statistics(
    of slots: [Slot], now: UInt64, openTime: Bool, fallbackName: (UInt32, UInt32) -> String?,
    nanoseconds: (UInt64) -> UInt64
  ) -> ScopeStatistics {
    typealias Cell = UnsafeMutablePointer<ReasonCell>
    var scope = ScopeStatistics()
    var settings: [VCPUSetting: SettingStatistics] = [:]
    var cells: [VCPUSetting: [Int: [Cell]]] = [:]
    for slot in slots {
      scope.exits &+= slot.pointee.exits
      scope.intervalExits &+= slot.pointee.exits &- slot.pointee.shownExits
      let time = time(of: slot, now: now, openTime: openTime, nanoseconds: nanoseconds)
      scope.time.add(time)
      scope.intervalTime.add(time.since(slot.pointee.shownTime))
      for stay in slot.pointee.stays(until: now) where stay.setting.rawValue > 0 {
        var setting = settings[stay.setting] ?? SettingStatistics(setting: stay.setting)
        // Of an interval alone, time that one before it counted too much may be more than its own.
        setting.residence &+= nanoseconds(Int64(bitPattern: stay.residence) < 0 ? 0 : stay.residence)
        setting.time.add(stay.time)
        if stay.setting == slot.pointee.setting {
          setting.vcpus += 1
          setting.time.add(time.since(slot.pointee.time))
        }
        settings[stay.setting] = setting
        for index in 0..<ReasonIndex.capacity {
          guard let cell = stay.cells[index], !cell.pointee.isEmpty else { continue }
          cells[stay.setting, default: [:]][index, default: []].append(cell)
        }
      }
    }
    var all: [Int: (cells: [Cell], settings: Int)] = [:]
    for (setting, byReason) in cells {
      for (index, cells) in byReason {
        all[index, default: ([], 0)].cells += cells
        all[index, default: ([], 0)].settings += 1
      }
      // With one setting only, what follows from its reasons is what the scope has.
      if settings.count > 1 { settings[setting]?.count(byReason.values.map { Self.counts($0) }) }
    }
    for (_, entry) in all {
      var row = reason(entry.cells, fallbackName: fallbackName)
      row.settings = entry.settings
      scope.reasons.append(row)
    }
    scope.controls = Self.controls(scope.reasons.flatMap(\.charges))
    scope.reasons.sort { ($1.count, $0.isa, $0.code) < ($0.count, $1.isa, $1.code) }
    if settings.count == 1, let only = settings.keys.first { settings[only]?.take(scope) }
    scope.settings = settings.values.sorted { $0.setting < $1.setting }
    return scope
  }

  fileprivate static func controls(_ charges: [ChargeStatistics]) -> [ControlStatistics] {
    var sums: [ControlID: ControlStatistics] = [:]
    for charge in charges {
      sums[
        charge.control,
        default: ControlStatistics(
          control: charge.control, exits: 0, intervalExits: 0, handling: 0, intervalHandling: 0)
      ].add(charge)
    }
    return sums.values.sorted { ($1.exits, $0.control) < ($0.exits, $1.control) }
  }

  /// What the cells of one reason counted, and what it was charged to.
  fileprivate struct Counts {
    var isa: UInt32
    var code: UInt32
    var count: UInt64 = 0
    var intervalCount: UInt64 = 0
    var handling: UInt64 = 0
    var intervalHandling: UInt64 = 0
    var charges: [ChargeStatistics] = []
  }

  private static func counts(_ cells: [UnsafeMutablePointer<ReasonCell>]) -> Counts {
    var counts = Counts(isa: cells[0].pointee.isa, code: cells[0].pointee.code)
    var charges: [ControlID: ChargeStatistics] = [:]
    func charge(_ control: ControlID, _ count: UInt64, _ interval: UInt64, _ handling: UInt64, _ recent: UInt64) {
      var sum =
        charges[control]
        ?? ChargeStatistics(control: control, count: 0, intervalCount: 0, handling: 0, intervalHandling: 0)
      sum.count &+= count
      sum.intervalCount &+= interval
      sum.handling &+= handling
      sum.intervalHandling &+= recent
      charges[control] = sum
    }
    for cell in cells {
      let count = cell.pointee.count
      let interval = count &- cell.pointee.shownCount
      let recent = cell.pointee.handling &- cell.pointee.shownHandling
      counts.count &+= count
      counts.intervalCount &+= interval
      counts.handling &+= cell.pointee.handling
      counts.intervalHandling &+= recent
      if let control = cell.pointee.fixedControl {
        charge(control, count, interval, cell.pointee.handling, recent)
      } else {
        for entry in settled(cell.pointee.charges) where entry.count | entry.handling != 0 {
          charge(
            entry.control, entry.count, entry.count &- entry.shownCount, entry.handling,
            entry.handling &- entry.shownHandling)
        }
      }
    }
    counts.charges = charges.values.sorted { ($1.count, $0.control) < ($0.count, $1.control) }
    return counts
  }

  /// The charges without negative ones: an exit of before that turned out to be another control's (see
  /// `Aggregator.recharge`) is not one of this interval, for either of them.
  private static func settled(_ table: ChargeTable) -> [ChargeTable.Entry] {
    guard let first = table.entries else { return [] }
    var entries = Array(UnsafeBufferPointer(start: first, count: table.count))
    settle(&entries, \.count)
    for index in entries.indices { entries[index].shownCount = entries[index].count &- entries[index].shownCount }
    settle(&entries, \.shownCount)
    for index in entries.indices { entries[index].shownCount = entries[index].count &- entries[index].shownCount }
    return entries
  }

  private static func settle(_ entries: inout [ChargeTable.Entry], _ figure: WritableKeyPath<ChargeTable.Entry, UInt64>)
  {
    func isNegative(_ entry: ChargeTable.Entry) -> Bool { Int64(bitPattern: entry[keyPath: figure]) < 0 }
    guard entries.contains(where: isNegative) else { return }
    var missing: UInt64 = 0
    for index in entries.indices where isNegative(entries[index]) {
      missing &-= entries[index][keyPath: figure]
      entries[index][keyPath: figure] = 0
    }
    for index in entries.indices where missing > 0 {
      let part = min(missing, entries[index][keyPath: figure])
      entries[index][keyPath: figure] -= part
      missing -= part
    }
  }

  private func reason(
    _ cells: [UnsafeMutablePointer<ReasonCell>], fallbackName: (UInt32, UInt32) -> String?
  ) -> ReasonStatistics {
    let counts = Self.counts(cells)
    var row = ReasonStatistics(
      isa: counts.isa, code: counts.code, name: Self.name(isa: counts.isa, code: counts.code, fallbackName),
      count: counts.count, intervalCount: counts.intervalCount, intervalHandling: counts.intervalHandling,
      charges: counts.charges)
    row.handling.total = counts.handling
    var minimum = UInt64.max
    for cell in cells {
      row.handling.paired &+= cell.pointee.paired
      minimum = min(minimum, cell.pointee.minimum)
      row.handling.max = max(row.handling.max, cell.pointee.maximum)
    }
    row.handling.min = minimum == .max ? 0 : minimum
    fillPercentiles(&row.handling, cells)
    if let kind = cells[0].pointee.detail.kind {
      row.details += merge(
        kind, total: cells.reduce(0) { $0 &+ $1.pointee.details.total },
        isApproximate: cells.contains { $0.pointee.details.isApproximate },
        error: { value in cells.reduce(0) { $0 &+ $1.pointee.details.error(of: value) } },
        each: { body in for cell in cells { cell.pointee.details.each(body) } })
    }
    row.details += merge(
      .rip, total: cells.reduce(0) { $0 &+ $1.pointee.count &- $1.pointee.unlocated },
      isApproximate: cells.contains { $0.pointee.instructionPointers.isApproximate },
      error: { value in cells.reduce(0) { $0 &+ $1.pointee.instructionPointers.error(of: value) } },
      each: { body in for cell in cells { cell.pointee.instructionPointers.each(body) } })
    return row
  }

  /// Nearest-rank percentiles; what the exact minimum and maximum know better than a bucket's middle, they say.
  private func fillPercentiles(_ handling: inout LatencySummary, _ cells: [UnsafeMutablePointer<ReasonCell>]) {
    var buckets = [UInt64](repeating: 0, count: Histogram.bucketCount)
    var recorded: UInt64 = 0
    for cell in cells {
      guard cell.pointee.paired > 0 else { continue }
      let low = Histogram.index(of: cell.pointee.minimum)
      let high = Histogram.index(of: cell.pointee.maximum)
      for index in low...max(low, high) {
        let count = cell.pointee.histogram.count(at: index)
        buckets[index] &+= count
        recorded &+= count
      }
    }
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
  private func merge(
    _ kind: DetailKind, total: UInt64, isApproximate: Bool, error: (UInt64) -> UInt64,
    each: ((DetailTable.Entry) -> Void) -> Void
  ) -> [DetailStatistics] {
    guard total > 0 else { return [] }
    var sums: [UInt64: UInt64] = [:]
    each { sums[$0.key, default: 0] &+= $0.count }
    let most = sums.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.prefix(DetailStatistics.mostEntries)
    return [
      DetailStatistics(
        kind: kind, total: total, isApproximate: isApproximate,
        entries: most.map { DetailCount(value: $0.key, count: $0.value, error: error($0.key)) })
    ]
  }

  static func name(isa: UInt32, code: UInt32, _ fallbackName: (UInt32, UInt32) -> String?) -> String {
    if isa == .max { return "OTHER" }
    if let row = ExitReason.lookup(isa: isa, code: code) { return row.name }
    return fallbackName(isa, code) ?? "0x" + String(code, radix: 16)
  }

  /// Marks everything counted so far as shown: the next snapshot's interval begins here.
  func remember(_ slots: [Slot], now: UInt64, openTime: Bool, nanoseconds: (UInt64) -> UInt64) {
    for slot in slots {
      slot.pointee.shownExits = slot.pointee.exits
      slot.pointee.shownTime = time(of: slot, now: now, openTime: openTime, nanoseconds: nanoseconds)
      for stay in slot.pointee.stays(until: now) {
        for index in 0..<ReasonIndex.capacity {
          guard let cell = stay.cells[index] else { continue }
          cell.pointee.shownCount = cell.pointee.count
          cell.pointee.shownHandling = cell.pointee.handling
          guard let charges = cell.pointee.charges.entries else { continue }
          for charge in 0..<cell.pointee.charges.count {
            charges[charge].shownCount = charges[charge].count
            charges[charge].shownHandling = charges[charge].handling
          }
        }
      }
    }
  }
}

extension LastExit {
  /// Nil before the first.
  fileprivate init?(_ slot: VCPUSlot) {
    guard slot.lastExitAt != 0 else { return nil }
    let exit = slot.lastExit
    self.init(
      timestamp: slot.lastExitAt, isa: exit.isa, reason: exit.reason, rip: exit.rip, info1: exit.info1,
      info2: exit.info2, interruptionInformation: exit.interruptionInformation, errorCode: exit.errorCode)
  }
}

extension SettingStatistics {
  fileprivate mutating func count(_ reasons: [SnapshotBuilder.Counts]) {
    for reason in reasons {
      exits &+= reason.count
      intervalExits &+= reason.intervalCount
      handling &+= reason.handling
      intervalHandling &+= reason.intervalHandling
      self.reasons.append(
        SettingReason(
          isa: reason.isa, code: reason.code, count: reason.count, intervalCount: reason.intervalCount,
          handling: reason.handling))
    }
    self.reasons.sort { ($1.count, $0.isa, $0.code) < ($0.count, $1.isa, $1.code) }
    controls = SnapshotBuilder.controls(reasons.flatMap(\.charges))
  }

  /// The only setting has all of its scope.
  fileprivate mutating func take(_ scope: ScopeStatistics) {
    exits = scope.exits
    intervalExits = scope.intervalExits
    for reason in scope.reasons {
      handling &+= reason.handling.total
      intervalHandling &+= reason.intervalHandling
    }
    reasons = scope.reasons.map {
      SettingReason(
        isa: $0.isa, code: $0.code, count: $0.count, intervalCount: $0.intervalCount, handling: $0.handling.total)
    }
    controls = scope.controls
  }
}

extension ControlStatistics {
  fileprivate mutating func add(_ charge: ChargeStatistics) {
    exits &+= charge.count
    intervalExits &+= charge.intervalCount
    handling &+= charge.handling
    intervalHandling &+= charge.intervalHandling
  }
}

extension TimeSplit {
  mutating func add(_ other: TimeSplit) {
    guest &+= other.guest
    kernel &+= other.kernel
    user &+= other.user
    halted &+= other.halted
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

extension Aggregator {
  /// Publishes what was counted up to now, and begins the next interval.
  ///
  /// - Parameters:
  ///   - now: the trace clock's present value (live), or how far a recording was played; nil: the last event.
  ///   - start: when counting began, in the same clock; nil: the first event.
  ///   - host: VMs as the host knows them now; nil leaves what `learn` was told.
  public mutating func snapshot(
    now: UInt64? = nil, start: UInt64? = nil, host: HostView? = nil, commandNames: [Int32: String] = [:]
  ) -> Snapshot {
    if let host { learn(host) }
    var snapshot = Snapshot()
    let now = now ?? lastTimestamp
    let start = start ?? firstTimestamp
    builder.sequence += 1
    snapshot.sequence = builder.sequence
    snapshot.firstTimestamp = firstTimestamp
    snapshot.lastTimestamp = lastTimestamp
    snapshot.windowNanoseconds = now > start ? nanoseconds(at: now - start) : 0
    let since = builder.shownAt ?? start
    snapshot.intervalNanoseconds = now > since ? nanoseconds(at: now - since) : 0
    builder.shownAt = now
    snapshot.events = events
    snapshot.intervalEvents = events &- builder.shownEvents
    builder.shownEvents = events
    snapshot.malformedRecords = malformed
    snapshot.losses = takeLosses()
    if builder.shownEventCounts.isEmpty { builder.shownEventCounts = Array(repeating: 0, count: table.rowCount) }
    for id in 0..<table.rowCount where table.rows[id].count > 0 {
      let count = table.rows[id].count
      let name = table.names[id].isEmpty ? "event \(id)" : table.names[id]
      snapshot.eventCounts.append(
        EventCount(name: name, count: count, intervalCount: count &- builder.shownEventCounts[id]))
      builder.shownEventCounts[id] = count
    }
    snapshot.eventCounts.sort { ($1.count, $0.name) < ($0.count, $1.name) }

    var counted: [SnapshotBuilder.Slot] = []
    for index in 0..<slots.count where !slots.slots[index].pointee.isIgnored { counted.append(slots.slots[index]) }
    let cpus = (0..<streamCount).map { cpu(ofStream: $0) }
    let scale = self.scale
    var builder = self.builder
    self.builder = SnapshotBuilder()
    builder.fill(
      &snapshot, slots: counted, ended: ended, endedThreads: endedThreads, now: now, openTime: options.countsOpenTime,
      commandNames: commandNames,
      fallbackName: options.fallbackName, cpu: { cpus.indices.contains($0) ? cpus[$0] : nil },
      nanoseconds: { scale.nanoseconds($0) })
    self.builder = builder
    snapshot.settings = settings.descriptions
    snapshot.source.isa = snapshot.total.reasons.first.map {
      switch $0.isa {
      case 1: "vmx"
      case 2: "svm"
      default: "isa-\($0.isa)"
      }
    }
    return snapshot
  }
}
