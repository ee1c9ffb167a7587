import Architecture
import TraceFormat

/// Everything that was counted in an interval of the trace clock, as a value: what a recording stores of each interval,
/// and what a jump in it adds up. See `Aggregator.cut`.
///
/// Sums of intervals that follow each other merge into those of the whole, in any grouping and without remainder: counts,
/// times, histograms, charges, settings and losses are those of counting it all at once. Only of details and instruction
/// pointers that are too many for a table, which ones are listed may differ; their totals do not, and the bounds that
/// each count comes with hold either way.
public struct Sums: Sendable, Equatable {
  /// The interval on the trace clock, raw: what came after `start`, up to and with `end`. 0: since counting began.
  public internal(set) var start: UInt64 = 0
  public internal(set) var end: UInt64 = 0
  /// Events of any kind.
  public internal(set) var events: UInt64 = 0
  var malformed: UInt64 = 0
  /// Raw timestamps of the first and the last event; 0 where there was none.
  public internal(set) var firstTimestamp: UInt64 = 0
  public internal(set) var lastTimestamp: UInt64 = 0
  /// In order of the ids.
  var eventCounts: [EventSum] = []
  /// In the order of the streams.
  var losses: [StreamSum] = []
  /// The settings that had occurred by the end, from counting's beginning on.
  var settings = [SettingDescription(setting: .asFound)]
  /// The exit reasons beside those of VMX and SVM that had occurred by the end, in the order of their appearance.
  var otherReasons: [UInt64] = []
  /// Threads that gave up their slots in the interval, each with all that it had counted before; in order of the ids.
  var retired: [RetiredThread] = []
  var endedThreads: UInt64 = 0
  /// What threads counted in the interval that have given up their slots since.
  var ended: ThreadSum?
  /// In order of the ids.
  var threads: [ThreadSum] = []
  /// What was open at the end; nil where sums are only to be added up.
  var open: OpenState?

  /// Whether counting can go on from the end (see `Aggregator.resume`).
  public var isResumable: Bool { open != nil }

  /// Exits of all vCPUs.
  public var exits: UInt64 { threads.reduce(ended?.exits ?? 0) { $0 &+ $1.exits } }

  /// Events known to be lost, and how often some were lost without a number.
  public var lost: UInt64 { losses.reduce(0) { $0 &+ max($1.lost, $1.counter ?? 0) } }
  public var uncountedLosses: UInt64 { losses.reduce(0) { $0 &+ ($1.counter == nil ? $1.uncounted : 0) } }

  /// How many threads counted in it and did not end.
  public var threadCount: Int { threads.count }

  /// Exits by thread; those of threads that ended are with the thread id 0.
  public var exitsByThread: [(thread: Int32, exits: UInt64)] {
    (ended.map { [(Aggregator.endedThread, $0.exits)] } ?? []) + threads.map { ($0.tid, $0.exits) }
  }

  /// Exit reasons that occurred, by ISA and code.
  public var reasons: Set<ReasonCode> {
    var result: Set<ReasonCode> = []
    for thread in threads + (ended.map { [$0] } ?? []) {
      for stay in thread.stays {
        for cell in stay.cells where cell.count > 0 { result.insert(ReasonCode(isa: cell.isa, code: cell.code)) }
      }
    }
    return result
  }

  /// Changes of settings by thread, at most the last 16 of each.
  public var settingChanges: [(thread: Int32, change: SettingChange)] {
    threads.flatMap { thread in thread.changes.map { (thread.tid, $0) } }
  }

  /// What the settings' numbers stand for.
  public var settingDescriptions: [SettingDescription] { settings }

  /// The same, without what it takes to go on counting from its end: a good part of its bytes.
  public var closed: Sums {
    var sums = self
    sums.open = nil
    return sums
  }

  /// Where events were counted, or lost.
  public var streams: [PageStream] { losses.map(\.stream) + (open?.streams.map(\.stream) ?? []) }

  /// Cleans the names of VMs, VMMs and threads: sums from outside have what somebody else wrote.
  public mutating func cleanNames(_ clean: (String) -> String) {
    guard var host = open?.host else { return }
    for index in host.vms.indices {
      host.vms[index].vm.name = host.vms[index].vm.name.map(clean)
      host.vms[index].vm.vmm = host.vms[index].vm.vmm.map(clean)
      for vcpu in host.vms[index].vm.vcpus.indices {
        host.vms[index].vm.vcpus[vcpu].threadName = host.vms[index].vm.vcpus[vcpu].threadName.map(clean)
      }
    }
    open?.host = host
  }

  // MARK: - Merging

  /// Adds the sums of an interval that begins where this one ends.
  public mutating func merge(_ later: Sums) {
    let numbers = adopt(later.settings)
    for code in later.otherReasons where !otherReasons.contains(code) { otherReasons.append(code) }
    end = max(end, later.end)
    events &+= later.events
    malformed &+= later.malformed
    if firstTimestamp == 0 { firstTimestamp = later.firstTimestamp }
    lastTimestamp = max(lastTimestamp, later.lastTimestamp)
    eventCounts = merged(eventCounts, later.eventCounts, by: \.id) { $0.count &+= $1.count }
    for loss in later.losses {
      if let known = losses.firstIndex(where: { $0.stream == loss.stream }) {
        losses[known].add(loss)
      } else {
        losses.append(loss)
      }
    }
    merge(threadsOf: later, numbers)
    open = later.open?.numbered(numbers)
  }

  /// The own number of each of another's settings.
  private mutating func adopt(_ others: [SettingDescription]) -> SettingNumbers {
    // Of one run, the later ones are the earlier ones and more.
    if others.starts(with: settings) {
      settings = others
      return SettingNumbers()
    }
    if settings.starts(with: others) { return SettingNumbers() }
    var registry = SettingRegistry(settings)
    let numbers = SettingNumbers(others.map { registry.adopt($0) })
    settings = registry.descriptions
    return numbers
  }

  private mutating func merge(threadsOf later: Sums, _ numbers: SettingNumbers) {
    var gone: [Int32: SettingRenaming?] = [:]
    for thread in later.retired { gone[thread.tid] = .some(thread.renaming.map(numbers.number)) }
    var ended = self.ended
    var retired = self.retired
    if !gone.isEmpty {
      var kept: [ThreadSum] = []
      for var thread in threads {
        guard let renaming = gone[thread.tid] else {
          kept.append(thread)
          continue
        }
        if let renaming { thread.rename(renaming) }
        ended = Self.adding(thread, toEnded: ended)
      }
      // Of those that were there before this interval already, the one before it has to know.
      let known = Set(retired.map(\.tid))
      for (tid, renaming) in gone where !known.contains(tid) {
        let own = threads.first { $0.tid == tid }?.renaming
        retired.append(RetiredThread(tid: tid, renaming: own ?? renaming))
      }
      retired.sort { $0.tid < $1.tid }
      threads = kept
    }
    if let later = later.ended { ended = Self.adding(later.numbered(numbers), toEnded: ended) }
    self.ended = ended
    self.retired = retired
    endedThreads &+= later.endedThreads
    threads = merged(threads, later.threads.map { $0.numbered(numbers) }, by: \.tid) { $0.merge($1) }
  }

  private static func adding(_ thread: ThreadSum, toEnded ended: ThreadSum?) -> ThreadSum {
    var sum = ended ?? ThreadSum(tid: Aggregator.endedThread, vcpuID: nil, setting: VCPUSetting(rawValue: 0))
    sum.time.add(thread.time)
    sum.stays = merged(sum.stays, thread.stays, by: \.setting) { $0.merge($1) }
    return sum
  }
}

/// An exit reason by the tracepoint's `isa` and the basic exit reason (VMX) or exit code (SVM).
public struct ReasonCode: Sendable, Hashable {
  public var isa: UInt32
  public var code: UInt32

  public init(isa: UInt32, code: UInt32) {
    self.isa = isa
    self.code = code
  }
}

/// Two ascending lists as one; what both have is combined.
func merged<Element, Key: Comparable>(
  _ a: [Element], _ b: [Element], by key: (Element) -> Key, _ combine: (inout Element, Element) -> Void
) -> [Element] {
  if b.isEmpty { return a }
  if a.isEmpty { return b }
  var result: [Element] = []
  result.reserveCapacity(max(a.count, b.count))
  var (i, j) = (0, 0)
  while i < a.count, j < b.count {
    let (own, other) = (key(a[i]), key(b[j]))
    if own < other {
      result.append(a[i])
      i += 1
    } else if other < own {
      result.append(b[j])
      j += 1
    } else {
      result.append(a[i])
      combine(&result[result.count - 1], b[j])
      i += 1
      j += 1
    }
  }
  result += a[i...]
  result += b[j...]
  return result
}

// MARK: - What sums are made of

/// Events of one kind, by the id of their format.
struct EventSum: Sendable, Hashable {
  var id: UInt16
  var count: UInt64
}

/// Losses of one stream.
struct StreamSum: Sendable, Hashable {
  var stream: PageStream
  var lost: UInt64 = 0
  var uncounted: UInt64 = 0
  /// By the buffer's own counter; nil where nobody has read it.
  var counter: UInt64?

  mutating func add(_ other: StreamSum) {
    lost &+= other.lost
    uncounted &+= other.uncounted
    if let more = other.counter { counter = (counter ?? 0) &+ more }
  }
}

/// What was counted in one setting turned out to be another's (see `VCPUSlot.learn`): sums before it have the old one.
struct SettingRenaming: Sendable, Hashable {
  var from: VCPUSetting
  var to: VCPUSetting
}

/// A thread whose counts up to its retirement are those of ended threads.
struct RetiredThread: Sendable, Hashable {
  var tid: Int32
  /// What it learned of its setting before it went.
  var renaming: SettingRenaming?
}

extension SettingChange {
  mutating func rename(_ renaming: SettingRenaming) {
    if setting == renaming.from { setting = renaming.to }
    if previous == renaming.from { previous = renaming.to }
  }
}

/// The numbers that one registry has for another's settings.
struct SettingNumbers {
  /// Nil: the same.
  private let numbers: [VCPUSetting]?

  init(_ numbers: [VCPUSetting]? = nil) { self.numbers = numbers }

  func number(_ setting: VCPUSetting) -> VCPUSetting {
    guard let numbers, setting.rawValue > 0 else { return setting }
    return numbers.indices.contains(setting.rawValue - 1) ? numbers[setting.rawValue - 1] : .asFound
  }

  func number(_ renaming: SettingRenaming) -> SettingRenaming {
    SettingRenaming(from: number(renaming.from), to: number(renaming.to))
  }

  func number(_ change: SettingChange) -> SettingChange {
    SettingChange(
      setting: number(change.setting), previous: change.previous.map { number($0) }, timestamp: change.timestamp)
  }

  var isSame: Bool { numbers == nil }
}

/// What one vCPU thread counted.
struct ThreadSum: Sendable, Equatable {
  var tid: Int32
  var vcpuID: UInt32?
  /// At the end; 0 for the slot of ended threads, which is in none.
  var setting: VCPUSetting
  /// What sums before this one have is to be renamed.
  var renaming: SettingRenaming?
  /// At most 16, oldest first.
  var changes: [SettingChange] = []
  var time = TimeSplit()
  /// In order of the settings.
  var stays: [StaySum] = []

  init(tid: Int32, vcpuID: UInt32?, setting: VCPUSetting) {
    self.tid = tid
    self.vcpuID = vcpuID
    self.setting = setting
  }

  var exits: UInt64 {
    stays.reduce(0) { sum, stay in stay.cells.reduce(sum) { $0 &+ $1.count } }
  }

  mutating func rename(_ renaming: SettingRenaming) {
    guard renaming.from != renaming.to else { return }
    if setting == renaming.from { setting = renaming.to }
    for index in changes.indices { changes[index].rename(renaming) }
    guard let place = stays.firstIndex(where: { $0.setting == renaming.from }) else { return }
    var stay = stays.remove(at: place)
    stay.setting = renaming.to
    stays = merged(stays, [stay], by: \.setting) { $0.merge($1) }
  }

  mutating func merge(_ later: ThreadSum) {
    if let renaming = later.renaming {
      rename(renaming)
      if self.renaming == nil { self.renaming = renaming }
    }
    vcpuID = vcpuID ?? later.vcpuID
    setting = later.setting
    changes = Array((changes + later.changes).suffix(VCPUSlot.mostChanges))
    time.add(later.time)
    stays = merged(stays, later.stays, by: \.setting) { $0.merge($1) }
  }

  func numbered(_ numbers: SettingNumbers) -> ThreadSum {
    if numbers.isSame { return self }
    var sum = self
    sum.setting = numbers.number(setting)
    sum.renaming = renaming.map(numbers.number)
    sum.changes = changes.map(numbers.number)
    sum.stays = []
    for var stay in stays {
      stay.setting = numbers.number(stay.setting)
      sum.stays = merged(sum.stays, [stay], by: \.setting) { $0.merge($1) }
    }
    return sum
  }
}

/// What one vCPU thread counted in one setting.
struct StaySum: Sendable, Equatable {
  var setting: VCPUSetting
  /// On the trace clock. Wraps below 0 where an earlier interval counted time that a thread was not there any more.
  var residence: UInt64 = 0
  var time = TimeSplit()
  /// In order of ISA and code.
  var cells: [CellSum] = []

  mutating func merge(_ other: StaySum) {
    residence &+= other.residence
    time.add(other.time)
    cells = merged(cells, other.cells, by: \.key) { $0.merge($1) }
  }
}

/// What was counted of one exit reason.
struct CellSum: Sendable, Equatable {
  var isa: UInt32
  var code: UInt32
  var count: UInt64 = 0
  var paired: UInt64 = 0
  var handling: UInt64 = 0
  var minimum: UInt64 = .max
  var maximum: UInt64 = 0
  var unlocated: UInt64 = 0
  /// In order of the buckets.
  var histogram: [BucketSum] = []
  /// In order of the controls.
  var charges: [ChargeSum] = []
  var details = DetailSum()
  /// In order of the values, at most two of a pair (see `FrequentValues`).
  var instructionPointers: [DetailTable.Entry] = []

  /// By which cells are ordered.
  var key: UInt64 { UInt64(isa) << 32 | UInt64(code) }

  mutating func merge(_ other: CellSum) {
    count &+= other.count
    paired &+= other.paired
    handling &+= other.handling
    minimum = min(minimum, other.minimum)
    maximum = max(maximum, other.maximum)
    unlocated &+= other.unlocated
    histogram = merged(histogram, other.histogram, by: \.bucket) { $0.count &+= $1.count }
    charges = merged(charges, other.charges, by: \.control) {
      $0.count &+= $1.count
      $0.handling &+= $1.handling
    }
    charges.removeAll { $0.count | $0.handling == 0 }
    details.add(other.details)
    details.truncate(to: Aggregator.detailLimit)
    if instructionPointers.isEmpty {
      instructionPointers = other.instructionPointers
    } else if !other.instructionPointers.isEmpty {
      var values = FrequentValues()
      defer { values.deallocate() }
      values.absorb(instructionPointers)
      values.absorb(other.instructionPointers)
      instructionPointers = values.take()
    }
  }
}

/// One bucket of a `Histogram`.
struct BucketSum: Sendable, Hashable {
  var bucket: Int
  var count: UInt64
}

/// What was charged to one control. The count wraps below 0 where an exit of an interval before turned out to be
/// another control's (see `Aggregator.recharge`): that one has one more.
struct ChargeSum: Sendable, Hashable {
  var control: ControlID
  var count: UInt64
  var handling: UInt64
}

/// A `DetailTable` as a value.
struct DetailSum: Sendable, Equatable {
  /// In order of the values.
  var entries: [DetailTable.Entry] = []
  var evicted: UInt64 = 0
  var mostEvicted: UInt64 = 0
  var isApproximate = false

  /// Adds counts; every error grows by what the side that lacks the value may have forgotten of it.
  mutating func add(_ other: DetailSum) {
    let (own, theirs) = (mostEvicted, other.mostEvicted)
    if own | theirs == 0 {
      entries = merged(entries, other.entries, by: \.key) {
        $0.count &+= $1.count
        $0.error &+= $1.error
      }
    } else {
      let mine = Set(entries.map(\.key))
      let others = Set(other.entries.map(\.key))
      for index in entries.indices where !others.contains(entries[index].key) { entries[index].error &+= theirs }
      var more = other.entries
      for index in more.indices where !mine.contains(more[index].key) { more[index].error &+= own }
      entries = merged(entries, more, by: \.key) {
        $0.count &+= $1.count
        $0.error &+= $1.error
      }
    }
    evicted &+= other.evicted
    mostEvicted &+= theirs
    isApproximate = isApproximate || other.isApproximate
  }

  /// The rarest give way.
  mutating func truncate(to limit: Int) {
    guard entries.count > limit else { return }
    entries.sort { ($1.most, $0.key) < ($0.most, $1.key) }
    for entry in entries[limit...] {
      mostEvicted = max(mostEvicted, entry.most)
      evicted &+= entry.count
    }
    entries.removeLast(entries.count - limit)
    entries.sort { $0.key < $1.key }
    isApproximate = true
  }
}

/// What is open at a moment: with it, counting goes on as if it had not stopped.
struct OpenState: Sendable, Equatable {
  var streams: [OpenStream] = []
  /// Beginnings and ends of gaps in any stream.
  var allLosses: UInt32 = 0
  /// The control words as they were read last, in order of the threads.
  var words: [ThreadWords] = []
  var host = HostKnowledge()
  /// In order of the ids.
  var threads: [OpenThread] = []

  func numbered(_ numbers: SettingNumbers) -> OpenState {
    if numbers.isSame { return self }
    var state = self
    for index in state.threads.indices { state.threads[index].number(numbers) }
    return state
  }
}

struct ThreadWords: Sendable, Hashable {
  var tid: Int32
  var words: ControlSetting
}

/// How far one stream was counted.
struct OpenStream: Sendable, Hashable {
  var stream: PageStream
  var losses: UInt32 = 0
  var isInGap = false
  /// The page it stands in: the timestamp in the page's header, and how many of its events were counted; nil: all.
  var page: UInt64?
  var counted: UInt32?
}

/// What one vCPU thread is doing.
struct OpenThread: Sendable, Equatable {
  var tid: Int32
  var vcpuID: UInt32?
  var isSettingRead = false
  /// What is open in it. The stream of its mark is an index into those of the state.
  var machine = ExitMachine()
  var setting = VCPUSetting.asFound
  var settingSince: UInt64 = 0
  /// The settings it was in before, ascending.
  var past: [VCPUSetting] = []
  /// The cell of the open exit, and what the exit is charged to where that differs from exit to exit.
  var cell: OpenCell?
  var charge: ControlID?

  mutating func number(_ numbers: SettingNumbers) {
    setting = numbers.number(setting)
    past = Set(past.map(numbers.number)).subtracting([setting]).sorted()
    if let known = cell?.setting { cell?.setting = numbers.number(known) }
  }
}

struct OpenCell: Sendable, Hashable {
  var setting: VCPUSetting
  var isa: UInt32
  var code: UInt32
}

/// What the host has told of its VMs so far, those included that ended and still have counts.
struct HostKnowledge: Sendable, Equatable {
  struct VM: Sendable, Equatable {
    /// A number of ours.
    var number: Int
    var isPresent: Bool
    var vm: HostView.VM
  }

  struct Member: Sendable, Hashable {
    var tid: Int32
    /// The number of its VM.
    var vm: Int
    var isPresent: Bool
  }

  /// The highest number that was given out.
  var lastVM = 0
  /// In order of the numbers.
  var vms: [VM] = []
  /// In order of the ids.
  var members: [Member] = []
}
