import Architecture

/// What adds up over exits: of one reason of one vCPU in an interval, of all that one control caused, of anything.
///
/// Every stored property is a `UInt64` that adds up, and adding, subtracting and storing go over all of them: a new counter is
/// a property here and the line that counts it.
public struct ExitCounts: Sendable, Hashable {
  /// Exits. Wraps below 0 in a charge of an interval where an exit of an interval before turned out to be another control's
  /// (see `Aggregator.recharge`): that one has one more.
  public var count: UInt64 = 0
  /// Handling time: kvm_exit to the thread's next kvm_entry, time halted included, ns.
  public var handling: UInt64 = 0
  /// How much of it the vCPU was halted: idle time, and no cost of the exit, ns.
  public var halted: UInt64 = 0

  public init(count: UInt64 = 0, handling: UInt64 = 0, halted: UInt64 = 0) {
    self.count = count
    self.handling = handling
    self.halted = halted
  }

  /// Handling time without the time halted: what the exits cost, ns.
  public var busy: UInt64 { handling > halted ? handling - halted : 0 }

  static var figureCount: Int { MemoryLayout<ExitCounts>.size / MemoryLayout<UInt64>.size }

  /// Every figure, in the order of their declaration.
  subscript(figure index: Int) -> UInt64 {
    get {
      withUnsafeBytes(of: self) { $0.load(fromByteOffset: index * MemoryLayout<UInt64>.size, as: UInt64.self) }
    }
    set {
      withUnsafeMutableBytes(of: &self) {
        $0.storeBytes(of: newValue, toByteOffset: index * MemoryLayout<UInt64>.size, as: UInt64.self)
      }
    }
  }

  /// Adds figure by figure.
  public mutating func add(_ other: ExitCounts) {
    for index in 0..<Self.figureCount { self[figure: index] &+= other[figure: index] }
  }

  /// Takes out what is part of it.
  mutating func subtract(_ part: ExitCounts) {
    for index in 0..<Self.figureCount { self[figure: index] &-= part[figure: index] }
  }

  var isZero: Bool { self == ExitCounts() }
}

/// Exits since counting began and in the last interval.
public struct ExitFigures: Sendable, Hashable {
  public var total: ExitCounts
  public var interval: ExitCounts

  public init(total: ExitCounts = ExitCounts(), interval: ExitCounts = ExitCounts()) {
    self.total = total
    self.interval = interval
  }

  /// Adds both.
  public mutating func add(_ other: ExitFigures) {
    total.add(other.total)
    interval.add(other.interval)
  }
}

extension ExitFigures: ExitStatistics {
  /// Itself: what has no more than these is a row like any other.
  public var figures: ExitFigures {
    get { self }
    set { self = newValue }
  }
}

/// What is kept in ascending lists, and adds up with what has the same key.
protocol Summand {
  associatedtype Key: Comparable
  /// By which a list of them is ordered.
  var key: Key { get }
  /// Adds what has its key.
  mutating func merge(_ other: Self)
}

/// Adds an ascending list to another one.
@inline(__always)
func mergeAscending<Element: Summand>(_ list: inout [Element], _ more: [Element]) {
  if more.isEmpty { return }
  if list.isEmpty {
    list = more
    return
  }
  var new: [Element] = []
  var place = 0
  for element in more {
    while place < list.count, list[place].key < element.key { place += 1 }
    if place < list.count, list[place].key == element.key {
      list[place].merge(element)
    } else {
      new.append(element)
    }
  }
  guard let first = new.first else { return }
  if list[list.count - 1].key < first.key {
    list += new
    return
  }
  var result: [Element] = []
  result.reserveCapacity(list.count + new.count)
  place = 0
  for element in list {
    while place < new.count, new[place].key < element.key {
      result.append(new[place])
      place += 1
    }
    result.append(element)
  }
  result += new[place...]
  list = result
}

/// What was counted of one exit reason.
struct ReasonCounts: Summand, Sendable, Equatable {
  var isa: UInt32
  var code: UInt32
  var exits = ExitCounts()
  /// Exits that the handling times are of.
  var paired: UInt64 = 0
  /// The shortest and the longest of them.
  var minimum: UInt64 = .max
  var maximum: UInt64 = 0
  /// Exits without an instruction pointer.
  var unlocated: UInt64 = 0
  /// In order of the buckets.
  var histogram: [BucketSum] = []
  /// In order of the controls.
  var charges: [ChargeCounts] = []
  var details = DetailSum()
  var instructionPointers = DetailSum()

  var key: UInt64 { UInt64(isa) << 32 | UInt64(code) }

  /// There was no exit, and no end of one.
  var isZero: Bool { exits.isZero && paired == 0 }

  /// Nothing at all was counted: of an exit of before, a detail may come in an interval that has nothing else of it.
  var isEmpty: Bool { isZero && charges.isEmpty && details.total == 0 }

  mutating func merge(_ other: ReasonCounts) {
    exits.add(other.exits)
    paired &+= other.paired
    minimum = min(minimum, other.minimum)
    maximum = max(maximum, other.maximum)
    unlocated &+= other.unlocated
    mergeAscending(&histogram, other.histogram)
    mergeAscending(&charges, other.charges)
    charges.removeAll { $0.exits.isZero }
    details.add(other.details)
    instructionPointers.add(other.instructionPointers)
  }

  /// Takes out what is part of it: all that adds up. Which were the shortest and the longest cannot be told of the rest: they stay
  /// those of the whole.
  mutating func subtract(_ part: ReasonCounts) {
    exits.subtract(part.exits)
    paired &-= part.paired
    unlocated &-= part.unlocated
    mergeAscending(&histogram, part.histogram.map { BucketSum(bucket: $0.bucket, count: 0 &- $0.count) })
    histogram.removeAll { $0.count == 0 }
    let negative = part.charges.map { charge in
      var counts = ExitCounts()
      counts.subtract(charge.exits)
      return ChargeCounts(control: charge.control, exits: counts)
    }
    mergeAscending(&charges, negative)
    charges.removeAll { $0.exits.isZero }
    details.subtract(part.details)
    instructionPointers.subtract(part.instructionPointers)
  }
}

/// What was charged to one control.
struct ChargeCounts: Summand, Sendable, Hashable {
  var control: ControlID
  var exits: ExitCounts

  var key: ControlID { control }
  mutating func merge(_ other: ChargeCounts) { exits.add(other.exits) }

  /// The charges without negative ones: an exit of before that turned out to be another control's (see `Aggregator.recharge`) is
  /// not one of this interval, for either of them.
  static func settled(_ charges: [ChargeCounts]) -> [ChargeCounts] {
    var settled = charges
    for figure in 0..<ExitCounts.figureCount {
      var missing: UInt64 = 0
      for index in settled.indices where Int64(bitPattern: settled[index].exits[figure: figure]) < 0 {
        missing &-= settled[index].exits[figure: figure]
        settled[index].exits[figure: figure] = 0
      }
      for index in settled.indices where missing > 0 {
        let part = min(missing, settled[index].exits[figure: figure])
        settled[index].exits[figure: figure] -= part
        missing -= part
      }
    }
    return settled
  }
}

/// One bucket of a `Histogram`.
struct BucketSum: Summand, Sendable, Hashable {
  var bucket: Int
  var count: UInt64

  var key: Int { bucket }
  mutating func merge(_ other: BucketSum) { count &+= other.count }
}

/// A `DetailTable` as a value.
struct DetailSum: Sendable, Equatable {
  /// In order of the values.
  var entries: [DetailTable.Entry] = []
  var evicted: UInt64 = 0
  var mostEvicted: UInt64 = 0
  var isApproximate = false

  /// All values ever added: exact, since each is in an entry's count or was evicted with one.
  var total: UInt64 { entries.reduce(evicted) { $0 &+ $1.count } }

  /// How much more often than its count (0 where it is not here) a value may have occurred.
  func error(of key: UInt64) -> UInt64 {
    guard isApproximate else { return 0 }
    var (low, high) = (0, entries.count)
    while low < high {
      let middle = (low + high) / 2
      if entries[middle].key < key { low = middle + 1 } else { high = middle }
    }
    return low < entries.count && entries[low].key == key ? entries[low].error : mostEvicted
  }

  /// Adds counts; every error grows by what the side that lacks the value may have forgotten of it. The rarest of more values than
  /// there is room for give way.
  mutating func add(_ other: DetailSum) {
    let (own, theirs) = (mostEvicted, other.mostEvicted)
    if own | theirs == 0 {
      mergeAscending(&entries, other.entries)
    } else {
      let mine = Set(entries.map(\.key))
      let others = Set(other.entries.map(\.key))
      for index in entries.indices where !others.contains(entries[index].key) { entries[index].error &+= theirs }
      var more = other.entries
      for index in more.indices where !mine.contains(more[index].key) { more[index].error &+= own }
      mergeAscending(&entries, more)
    }
    evicted &+= other.evicted
    mostEvicted &+= theirs
    isApproximate = isApproximate || other.isApproximate
    truncate(to: Aggregator.detailLimit)
  }

  /// Takes out what is part of it. What of a value gave way since is taken from what did.
  mutating func subtract(_ part: DetailSum) {
    guard part.total > 0 else { return }
    var left = Dictionary(part.entries.map { ($0.key, $0.count) }, uniquingKeysWith: &+)
    for index in entries.indices {
      let own = min(entries[index].count, left[entries[index].key] ?? 0)
      entries[index].count -= own
      left[entries[index].key]? -= own
    }
    entries.removeAll { $0.count == 0 }
    evicted -= min(evicted, left.values.reduce(part.evicted, &+))
  }

  private mutating func truncate(to limit: Int) {
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
