import Architecture
import TraceFormat

/// Everything that was counted in an interval of the trace clock, as a value: what the engine hands out (`Aggregator.cut`), what
/// the totals of a view are, what a recording stores of each interval, and what a jump in it adds up.
///
/// Those of intervals that follow each other merge into those of the whole, in any grouping and without remainder: counts,
/// times, histograms, charges, settings and losses are those of counting it all at once. Only of details and instruction
/// pointers that are too many for a table, which ones are listed may differ; their totals do not, and the bounds that
/// each count comes with hold either way.
public struct IntervalCounts: Sendable, Equatable {
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
  /// Some of it was told of vCPUs and not of exit reasons how long they were halted (sums of version 1): that time is HLT's then.
  public internal(set) var isHaltShared = false
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
  public var lost: UInt64 { losses.reduce(0) { $0 &+ $1.lost } }
  public var uncountedLosses: UInt64 { losses.reduce(0) { $0 &+ $1.uncounted } }

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
      for residency in thread.residencies {
        for reason in residency.reasons where reason.exits.count > 0 {
          result.insert(ReasonCode(isa: reason.isa, code: reason.code))
        }
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
  public var closed: IntervalCounts {
    var sums = self
    sums.open = nil
    return sums
  }

  /// Where events were counted, or lost.
  public var streams: [PageStream] { losses.map(\.stream) + (open?.streams.map(\.stream) ?? []) }

  /// The same without the threads that are not asked for; those that ended are not told apart any more, and left out with them.
  public func selected(_ options: AggregatorOptions) -> IntervalCounts {
    guard options.threads != nil || options.vcpuIDs != nil else { return self }
    var sums = self
    sums.threads.removeAll { !options.counts($0.tid, vcpuID: $0.vcpuID) }
    sums.ended = nil
    return sums
  }

  // MARK: - Merging

  /// Adds the sums of an interval that begins where this one ends.
  public mutating func merge(_ later: IntervalCounts) { add(numbered(later)) }

  /// An interval's sums with this one's numbers for settings, of which this one knows all then.
  mutating func numbered(_ later: IntervalCounts) -> IntervalCounts {
    // Of one run, the later ones are the earlier ones and more.
    if later.settings.starts(with: settings) {
      settings = later.settings
      return later
    }
    var registry = SettingRegistry(settings)
    let numbers = SettingNumbers(later.settings.map { registry.adopt($0) })
    settings = registry.descriptions
    var own = later
    own.settings = settings
    own.retired = later.retired.map { RetiredThread(tid: $0.tid, renaming: $0.renaming.map(numbers.number)) }
    own.ended = later.ended?.numbered(numbers)
    own.threads = later.threads.map { $0.numbered(numbers) }
    own.open = later.open?.numbered(numbers)
    return own
  }

  /// Adds the sums of an interval that begins where this one ends, and that have its numbers.
  mutating func add(_ later: IntervalCounts) {
    if later.settings.count > settings.count { settings = later.settings }
    for code in later.otherReasons where !otherReasons.contains(code) { otherReasons.append(code) }
    end = max(end, later.end)
    events &+= later.events
    malformed &+= later.malformed
    if firstTimestamp == 0 { firstTimestamp = later.firstTimestamp }
    lastTimestamp = max(lastTimestamp, later.lastTimestamp)
    mergeAscending(&eventCounts, later.eventCounts)
    for loss in later.losses {
      if let known = losses.firstIndex(where: { $0.stream == loss.stream }) {
        losses[known].add(loss)
      } else {
        losses.append(loss)
      }
    }
    retire(later.retired)
    if let more = later.ended { ended.add(ended: more) }
    endedThreads &+= later.endedThreads
    isHaltShared = isHaltShared || later.isHaltShared
    mergeAscending(&threads, later.threads)
    if threads.count > Self.mostThreads { retireOthers(than: later.threads) }
    open = later.open
  }

  /// An engine has less than half as many: more are from a recording that nobody made.
  private static let mostThreads = 16_384

  /// Adds up threads that are not in the last interval, and of those that are what are too many, as if they had ended.
  private mutating func retireOthers(than last: [ThreadSum]) {
    let present = Set(last.prefix(Self.mostThreads / 2).map(\.tid))
    threads.removeAll { thread in
      if present.contains(thread.tid) { return false }
      ended.add(ended: thread)
      endedThreads &+= 1
      return true
    }
  }

  private mutating func retire(_ leaving: [RetiredThread]) {
    guard !leaving.isEmpty else { return }
    var gone: [Int32: SettingRenaming?] = [:]
    for thread in leaving { gone[thread.tid] = .some(thread.renaming) }
    var own: [Int32: SettingRenaming] = [:]
    threads.removeAll { thread in
      guard let renaming = gone[thread.tid] else { return false }
      own[thread.tid] = thread.renaming
      var thread = thread
      if let renaming { thread.rename(renaming) }
      ended.add(ended: thread)
      return true
    }
    // Of those that were there before this interval already, the one before it has to know.
    let known = Set(retired.map(\.tid))
    for (tid, renaming) in gone where !known.contains(tid) {
      retired.append(RetiredThread(tid: tid, renaming: own[tid] ?? renaming))
    }
    retired.sort { $0.tid < $1.tid }
  }

  /// Takes out what is part of this interval, from its beginning: of what is left, all that adds up is right (see
  /// `ReasonCounts.subtract`), in this one's settings.
  mutating func subtract(_ part: IntervalCounts) {
    start = part.end
    events &-= part.events
    malformed &-= part.malformed
    for count in part.eventCounts {
      guard let index = eventCounts.firstIndex(where: { $0.id == count.id }) else { continue }
      eventCounts[index].count &-= count.count
    }
    for loss in part.losses {
      guard let index = losses.firstIndex(where: { $0.stream == loss.stream }) else { continue }
      losses[index].lost &-= min(losses[index].lost, loss.lost)
      losses[index].uncounted &-= min(losses[index].uncounted, loss.uncounted)
    }
    endedThreads &-= min(endedThreads, part.endedThreads)
    if let gone = part.ended { ended?.subtract(gone) }
    for thread in part.threads {
      if let index = threads.firstIndex(where: { $0.tid == thread.tid }) {
        threads[index].subtract(thread)
      } else {
        // It ended meanwhile.
        ended?.subtract(thread)
      }
    }
  }
}

extension ThreadSum? {
  /// Adds the counts of a thread, or of some, that ended.
  mutating func add(ended thread: ThreadSum) {
    var sum = self ?? ThreadSum(tid: Aggregator.endedThread, vcpuID: nil, setting: VCPUSetting(rawValue: 0))
    self = nil
    sum.time.add(thread.time)
    mergeAscending(&sum.residencies, thread.residencies)
    self = sum
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

// MARK: - What sums are made of

/// Events of one kind, by the id of their format.
struct EventSum: Summand, Sendable, Hashable {
  var id: UInt16
  var count: UInt64

  var key: UInt16 { id }
  mutating func merge(_ other: EventSum) { count &+= other.count }
}

/// Losses of one stream, as its pages tell.
struct StreamSum: Sendable, Hashable {
  var stream: PageStream
  var lost: UInt64 = 0
  /// How often some were lost without a number.
  var uncounted: UInt64 = 0

  mutating func add(_ other: StreamSum) {
    lost &+= other.lost
    uncounted &+= other.uncounted
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
struct ThreadSum: Summand, Sendable, Equatable {
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
  var residencies: [ResidencyCounts] = []

  init(tid: Int32, vcpuID: UInt32?, setting: VCPUSetting) {
    self.tid = tid
    self.vcpuID = vcpuID
    self.setting = setting
  }

  var key: Int32 { tid }

  var exits: UInt64 {
    residencies.reduce(0) { sum, residency in residency.reasons.reduce(sum) { $0 &+ $1.exits.count } }
  }

  mutating func rename(_ renaming: SettingRenaming) {
    guard renaming.from != renaming.to else { return }
    if setting == renaming.from { setting = renaming.to }
    for index in changes.indices { changes[index].rename(renaming) }
    guard let place = residencies.firstIndex(where: { $0.setting == renaming.from }) else { return }
    var residency = residencies.remove(at: place)
    residency.setting = renaming.to
    mergeAscending(&residencies, [residency])
  }

  /// Takes out what is part of it. What was counted before anybody had read the controls may be another setting's by now.
  mutating func subtract(_ part: ThreadSum) {
    time.subtract(part.time)
    for residency in part.residencies {
      let own = residencies.firstIndex { $0.setting == residency.setting } ?? residencies.indices.first
      if let own {
        residencies[own].duration &-= residency.duration
        residencies[own].time.subtract(residency.time)
      }
      for reason in residency.reasons {
        let candidates = (own.map { [$0] } ?? []) + Array(residencies.indices)
        for index in candidates {
          guard let place = residencies[index].reasons.firstIndex(where: { $0.key == reason.key }) else { continue }
          residencies[index].reasons[place].subtract(reason)
          if residencies[index].reasons[place].isZero { residencies[index].reasons.remove(at: place) }
          break
        }
      }
    }
  }

  mutating func merge(_ later: ThreadSum) {
    if let renaming = later.renaming {
      rename(renaming)
      if self.renaming == nil { self.renaming = renaming }
    }
    vcpuID = vcpuID ?? later.vcpuID
    setting = later.setting
    if !later.changes.isEmpty { changes = Array((changes + later.changes).suffix(VCPUSlot.mostChanges)) }
    time.add(later.time)
    mergeAscending(&residencies, later.residencies)
  }

  func numbered(_ numbers: SettingNumbers) -> ThreadSum {
    if numbers.isSame { return self }
    var sum = self
    sum.setting = numbers.number(setting)
    sum.renaming = renaming.map(numbers.number)
    sum.changes = changes.map(numbers.number)
    sum.residencies = []
    for var residency in residencies {
      residency.setting = numbers.number(residency.setting)
      mergeAscending(&sum.residencies, [residency])
    }
    return sum
  }
}

/// What one vCPU thread counted in one setting.
struct ResidencyCounts: Summand, Sendable, Equatable {
  var setting: VCPUSetting
  /// On the trace clock. Wraps below 0 where an earlier interval counted time that a thread was not there any more.
  var duration: UInt64 = 0
  var time = TimeSplit()
  /// In order of ISA and code.
  var reasons: [ReasonCounts] = []

  var key: VCPUSetting { setting }

  mutating func merge(_ other: ResidencyCounts) {
    duration &+= other.duration
    time.add(other.time)
    mergeAscending(&reasons, other.reasons)
  }
}

/// What is open at a moment: with it, counting goes on as if it had not stopped.
struct OpenState: Sendable, Equatable {
  var streams: [OpenStream] = []
  /// The control words as they were read last, in order of the threads.
  var words: [ThreadWords] = []
  /// What the host has told of its VMs so far, those included that ended and still have counts.
  var machines = MachineRegistry()
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
  /// What is open in it. The stream of its mark is an index into those of the state; see `LossMark.carriedOver`.
  var machine = ExitMachine()
  var setting = VCPUSetting.asFound
  var settingSince: UInt64 = 0
  /// The settings it was in before, ascending.
  var past: [VCPUSetting] = []
  /// The setting that the open exit was counted in, and what it is charged to where that differs from exit to exit.
  var exitSetting: VCPUSetting?
  var charge: ControlID?

  mutating func number(_ numbers: SettingNumbers) {
    setting = numbers.number(setting)
    past = Set(past.map(numbers.number)).subtracting([setting]).sorted()
    exitSetting = exitSetting.map(numbers.number)
  }
}
