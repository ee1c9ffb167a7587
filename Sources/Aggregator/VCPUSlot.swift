import Architecture

/// One exit reason of one vCPU in one setting: counters in raw memory, found by a dense reason index. It counts since the last
/// cut.
///
/// What every exit touches comes first, so that it shares two cache lines (`make` aligns it).
struct ReasonCell {
  var exits = ExitCounts()
  var paired: UInt64 = 0
  var minimum: UInt64 = .max
  var maximum: UInt64 = 0
  /// Empty only past the limit that keeps a hostile input from taking all memory.
  var histogram: Histogram
  var rule: DetailRule
  /// Every exit of this reason is charged to one control: `fixedControl`. Else `charges` says it exit by exit.
  let isChargeFixed: Bool
  var instructionPointers = FrequentValues()
  var details = DetailTable()
  /// Exits without an instruction pointer.
  var unlocated: UInt64 = 0

  let isa: UInt32
  let code: UInt32
  let fixedControl: ControlID?
  var charges = ChargeTable()
  /// Kind of the main detail, and where it comes from.
  let detail: DetailSource
  /// Its place in the tables of cells.
  let index: Int
  /// The setting that it is of.
  var setting: VCPUSetting

  static func make(
    isa: UInt32, code: UInt32, index: Int, setting: VCPUSetting, hasHistogram: Bool
  ) -> UnsafeMutablePointer<ReasonCell> {
    let detail = ReasonTraits.of(isa: ISA(rawValue: isa), code: code).detail
    let fixedControl = fixedGoverningControl(isa: isa, code: code)
    let cell = UnsafeMutableRawPointer.allocate(byteCount: MemoryLayout<ReasonCell>.size, alignment: 64)
      .bindMemory(to: ReasonCell.self, capacity: 1)
    cell.initialize(
      to: ReasonCell(
        histogram: hasHistogram ? Histogram() : .none, rule: DetailRule(detail), isChargeFixed: fixedControl != nil,
        isa: isa, code: code, fixedControl: fixedControl, detail: detail, index: index, setting: setting))
    return cell
  }

  mutating func deallocate() {
    histogram.deallocate()
    charges.deallocate()
    details.deallocate()
    instructionPointers.deallocate()
  }

  /// Takes the counts out.
  mutating func take() -> ReasonCounts {
    var counts = ReasonCounts(isa: isa, code: code)
    counts.exits = exits
    counts.paired = paired
    counts.minimum = minimum
    counts.maximum = maximum
    counts.unlocated = unlocated
    counts.histogram = histogram.take(from: minimum, to: maximum)
    counts.charges = charges.take()
    counts.details = details.take()
    counts.instructionPointers = instructionPointers.take(total: exits.count &- unlocated)
    exits = ExitCounts()
    paired = 0
    minimum = .max
    maximum = 0
    unlocated = 0
    return counts
  }
}

/// Exits and handling time by control, for the reasons whose control depends on the exit. Few controls per reason, so
/// a linear search beats a hash; and the same facts as the time before are charged to the same control without one.
struct ChargeTable {
  private(set) var entries: UnsafeMutablePointer<ChargeCounts>?
  private(set) var count = 0
  private var capacity = 0
  /// The last exit's facts, and the entry it was charged to.
  private var last = KVMExit()
  private var lastIndex = -1

  /// Charges an exit to the control that its facts tell. Returns the entry's index.
  @inline(__always)
  mutating func add(_ exit: borrowing KVMExit) -> Int {
    if lastIndex >= 0, let entries, exit.info1 == last.info1, exit.reason == last.reason,
      exit.interruptionInformation == last.interruptionInformation, exit.errorCode == last.errorCode
    {
      entries[lastIndex].exits.count &+= 1
      return lastIndex
    }
    return find(copy exit)
  }

  @inline(never)
  private mutating func find(_ exit: KVMExit) -> Int {
    last = exit
    lastIndex = add(governingControl(of: exit).control)
    return lastIndex
  }

  mutating func add(_ control: ControlID) -> Int {
    let index = index(of: control)
    entries?[index].exits.count &+= 1
    return index
  }

  /// The control's entry, which may be a new one.
  mutating func index(of control: ControlID) -> Int {
    if let entries {
      for index in 0..<count where entries[index].control == control { return index }
    }
    return insert(control)
  }

  @inline(never)
  private mutating func insert(_ control: ControlID) -> Int {
    if count == capacity {
      let larger = UnsafeMutablePointer<ChargeCounts>.allocate(capacity: max(4, capacity * 2))
      if let entries {
        larger.moveInitialize(from: entries, count: count)
        entries.deallocate()
      }
      entries = larger
      capacity = max(4, capacity * 2)
    }
    (entries! + count).initialize(to: ChargeCounts(control: control, exits: ExitCounts()))
    count += 1
    return count - 1
  }

  /// Takes the charges out. The entries stay: an open exit knows its own by number.
  mutating func take() -> [ChargeCounts] {
    guard let entries else { return [] }
    var counts: [ChargeCounts] = []
    for index in 0..<count where !entries[index].exits.isZero {
      counts.append(entries[index])
      entries[index].exits = ExitCounts()
    }
    return counts.count > 1 ? counts.sorted { $0.control < $1.control } : counts
  }

  mutating func deallocate() {
    entries?.deallocate()
    entries = nil
    count = 0
    capacity = 0
    lastIndex = -1
  }
}

/// A `DetailSource` as the per-exit path takes it: most exits have none, or bits of one word, or wait for an event.
struct DetailRule {
  enum Action: UInt8 {
    case nothing, word, other
  }
  var action: Action
  var awaited: DetailKind?
  var shift: UInt8 = 0
  /// Where the word is in `KVMExit`.
  var offset: UInt8 = 0
  /// Bits of it that must be set for the detail to be there.
  var valid: UInt32 = 0
  var mask: UInt64 = 0

  init(_ source: DetailSource) {
    awaited = source.awaited
    switch source {
    case .none, .event: action = .nothing
    case .info1(_, let shift, let mask):
      action = .word
      offset = UInt8(KVMExit.Offset.info1)
      self.shift = UInt8(shift)
      self.mask = mask
    case .info2:
      action = .word
      offset = UInt8(KVMExit.Offset.info2)
      mask = .max
    case .interruptionVector:
      action = .word
      // With the error code behind it, eight bytes.
      offset = UInt8(KVMExit.Offset.interruptionInformation)
      valid = 0x8000_0000
      mask = 0xff
    case .constant, .controlRegister, .debugRegister: action = .other
    }
  }
}

/// Everything counted for one vCPU thread since the last cut, and what is open in it, in raw memory at a stable address.
struct VCPUSlot {
  typealias Cells = UnsafeMutablePointer<UnsafeMutablePointer<ReasonCell>?>

  /// The cells of the present setting in which something was counted since the last cut, by dense reason index.
  var cells: Cells
  /// What is open: all but the cell it is counted in.
  var machine = ExitMachine()
  /// Filtered out: seen, but not counted.
  var isIgnored = false
  var openCell: UnsafeMutablePointer<ReasonCell>?
  /// Where the time went that its events enclosed.
  var time = TimeSplit()
  /// Index into the open cell's charges, or -1 where its control is fixed.
  var openCharge = -1

  let tid: Int32
  let vcpuID: UInt32?
  private(set) var setting: VCPUSetting
  /// Its control words were read at least once.
  var isSettingRead = false
  /// Timestamp since when it is in the setting, and its time split then.
  private(set) var settingSince: UInt64
  private var settingTime = TimeSplit()
  /// How long it was in it before, and what of the time since then earlier cuts took.
  private var earlierDuration: UInt64 = 0
  private var takenDuration: UInt64 = 0
  /// The latest changes, oldest first.
  private(set) var changes: [SettingChange] = []
  /// The settings it was in before.
  private var past: [VCPUSetting: Residency] = [:]
  /// An earlier cut has counts of it.
  var isContinued = false
  /// What `learn` made of a setting that an earlier cut has counts of.
  private(set) var renaming: SettingRenaming?
  /// All cells, of all settings, and those of them that the next cut takes.
  private var made: [UnsafeMutablePointer<ReasonCell>] = []
  private var awake: [UnsafeMutablePointer<ReasonCell>] = []

  /// What was counted in a setting.
  private struct Residency {
    var cells: Cells
    /// How long it was in it, on the trace clock. Wraps below 0 where it takes back what an earlier cut had too much.
    var duration: UInt64 = 0
    var time = TimeSplit()
    /// It was not in it since the last cut.
    var isQuiet = false
  }

  static let mostChanges = 16

  init(tid: Int32, vcpuID: UInt32?, setting: VCPUSetting = .asFound, at timestamp: UInt64 = 0) {
    self.tid = tid
    self.vcpuID = vcpuID
    self.setting = setting
    settingSince = timestamp
    cells = Self.makeCells()
  }

  private static func makeCells() -> Cells {
    let cells = Cells.allocate(capacity: ReasonIndex.capacity)
    cells.initialize(repeating: nil, count: ReasonIndex.capacity)
    return cells
  }

  mutating func deallocate() {
    for cells in past.values.map(\.cells) + [cells] { cells.deallocate() }
    past = [:]
    for cell in made {
      cell.pointee.deallocate()
      cell.deallocate()
    }
    made = []
    awake = []
  }

  /// The cell of a reason in a setting, if there is one: the next cut takes it.
  mutating func wake(_ index: Int, in setting: VCPUSetting) -> UnsafeMutablePointer<ReasonCell>? {
    let cells = cells(of: setting)
    if let known = cells[index] { return known }
    guard let cell = made.first(where: { $0.pointee.index == index && $0.pointee.setting == setting })
    else { return nil }
    cells[index] = cell
    awake.append(cell)
    return cell
  }

  /// Takes in a new cell.
  mutating func take(in cell: UnsafeMutablePointer<ReasonCell>) {
    made.append(cell)
    _ = wake(cell.pointee.index, in: cell.pointee.setting)
  }

  /// Counting goes on in that setting's cells. What the open exit still costs stays with the cell it was counted in.
  mutating func change(to new: VCPUSetting, at timestamp: UInt64) {
    guard new != setting else { return }
    let previous = setting
    enter(new, at: timestamp)
    changes.append(SettingChange(setting: new, previous: previous, timestamp: timestamp))
    if changes.count > Self.mostChanges { changes.removeFirst(changes.count - Self.mostChanges) }
  }

  private mutating func enter(_ new: VCPUSetting, at timestamp: UInt64) {
    past[setting] = present(until: timestamp)
    let again = past.removeValue(forKey: new)
    cells = again?.cells ?? Self.makeCells()
    setting = new
    settingSince = timestamp
    takenDuration = 0
    // As if it had been here all along: what it was before, from now on it adds to.
    earlierDuration = again?.duration ?? 0
    settingTime = time.since(again?.time ?? TimeSplit())
  }

  /// The setting as its control words tell. What was counted before anybody looked is of the first that was seen.
  mutating func learn(_ new: VCPUSetting, at timestamp: UInt64) {
    defer { isSettingRead = true }
    guard new != setting else { return }
    if isSettingRead || past[new] != nil { return change(to: new, at: timestamp) }
    let renaming = SettingRenaming(from: setting, to: new)
    if isContinued { self.renaming = renaming }
    rename(renaming)
  }

  /// What was counted in one setting was counted in another one, which it has not been in.
  private mutating func rename(_ renaming: SettingRenaming) {
    guard renaming.to != setting, past[renaming.to] == nil else { return }
    for index in changes.indices { changes[index].rename(renaming) }
    if setting == renaming.from {
      setting = renaming.to
    } else if let residency = past.removeValue(forKey: renaming.from) {
      past[renaming.to] = residency
    } else {
      return
    }
    for cell in made where cell.pointee.setting == renaming.from { cell.pointee.setting = renaming.to }
  }

  private func present(until timestamp: UInt64) -> Residency {
    let span = timestamp > settingSince ? timestamp - settingSince : 0
    return Residency(
      cells: cells, duration: earlierDuration &+ span &- takenDuration, time: time.since(settingTime))
  }

  // MARK: - Cutting

  /// Takes out what was counted up to a time. What is open goes on.
  mutating func take(until timestamp: UInt64) -> ThreadSum {
    var sum = ThreadSum(tid: tid, vcpuID: vcpuID, setting: setting)
    sum.renaming = renaming
    sum.changes = changes
    sum.time = time
    let residency = present(until: timestamp)
    sum.residencies.append(ResidencyCounts(setting: setting, duration: residency.duration, time: residency.time))
    for (setting, residency) in past where !residency.isQuiet {
      sum.residencies.append(ResidencyCounts(setting: setting, duration: residency.duration, time: residency.time))
    }
    takeCells(into: &sum)
    if sum.residencies.count > 1 { sum.residencies.sort { $0.setting < $1.setting } }
    for setting in past.keys {
      past[setting]?.duration = 0
      past[setting]?.time = TimeSplit()
      past[setting]?.isQuiet = true
    }
    earlierDuration = 0
    takenDuration = timestamp > settingSince ? timestamp - settingSince : 0
    time = TimeSplit()
    settingTime = TimeSplit()
    changes = []
    renaming = nil
    isContinued = true
    return sum
  }

  private mutating func takeCells(into sum: inout ThreadSum) {
    if sum.residencies.count == 1 { sum.residencies[0].reasons.reserveCapacity(awake.count) }
    for cell in awake {
      cells(of: cell.pointee.setting)[cell.pointee.index] = nil
      let counts = cell.pointee.take()
      guard !counts.isEmpty else { continue }
      let index: Int
      if let known = sum.residencies.firstIndex(where: { $0.setting == cell.pointee.setting }) {
        index = known
      } else {
        index = sum.residencies.count
        sum.residencies.append(ResidencyCounts(setting: cell.pointee.setting))
      }
      sum.residencies[index].reasons.append(counts)
    }
    awake.removeAll(keepingCapacity: true)
    for index in sum.residencies.indices { sum.residencies[index].reasons.sort { $0.key < $1.key } }
    // What the open exit still costs is counted without looking for its cell.
    if machine.activity == .handlingExit, let openCell {
      _ = wake(openCell.pointee.index, in: openCell.pointee.setting)
    }
  }

  // MARK: - Going on

  /// The settings that it was in before, ascending.
  var pastSettings: [VCPUSetting] { past.keys.sorted() }

  /// It has been in a setting, before anything was counted here.
  mutating func know(_ setting: VCPUSetting) { _ = cells(of: setting) }

  /// The cells of a setting, which it may never have been in.
  private mutating func cells(of other: VCPUSetting) -> Cells {
    if other == setting { return cells }
    if let known = past[other] { return known.cells }
    let residency = Residency(cells: Self.makeCells(), isQuiet: true)
    past[other] = residency
    return residency.cells
  }

  /// Goes on in a setting that it is in since then, up to `end` counted already.
  mutating func resume(in setting: VCPUSetting, since: UInt64, countedUntil end: UInt64) {
    earlierDuration = 0
    takenDuration = 0
    if setting != self.setting {
      let before = self.setting
      enter(setting, at: settingSince)
      past[before]?.isQuiet = true
    }
    settingSince = since
    takenDuration = end > since ? end - since : 0
    isContinued = true
    renaming = nil
  }
}

/// Threads to slots: open addressing on raw memory.
struct SlotTable: ~Copyable {
  private var keys: UnsafeMutablePointer<Int32>
  private var places: UnsafeMutablePointer<Int>
  private var capacity = 256
  private(set) var slots: UnsafeMutablePointer<UnsafeMutablePointer<VCPUSlot>>
  private var slotCapacity = 64
  private(set) var count = 0

  init() {
    keys = .allocate(capacity: capacity)
    keys.initialize(repeating: .min, count: capacity)
    places = .allocate(capacity: capacity)
    places.initialize(repeating: 0, count: capacity)
    slots = .allocate(capacity: slotCapacity)
  }

  deinit {
    keys.deallocate()
    places.deallocate()
    slots.deallocate()
  }

  @inline(__always)
  func find(_ tid: Int32) -> UnsafeMutablePointer<VCPUSlot>? {
    var place = Int(truncatingIfNeeded: UInt32(bitPattern: tid) &* 0x9E37_79B1) & (capacity &- 1)
    while true {
      let key = keys[place]
      if key == tid { return slots[places[place]] }
      if key == .min { return nil }
      place = (place &+ 1) & (capacity &- 1)
    }
  }

  mutating func insert(_ slot: UnsafeMutablePointer<VCPUSlot>) {
    if (count + 1) * 2 > capacity { rehash() }
    if count == slotCapacity {
      let larger = UnsafeMutablePointer<UnsafeMutablePointer<VCPUSlot>>.allocate(capacity: slotCapacity * 2)
      larger.moveInitialize(from: slots, count: count)
      slots.deallocate()
      slots = larger
      slotCapacity *= 2
    }
    (slots + count).initialize(to: slot)
    enter(slot.pointee.tid, at: count)
    count += 1
  }

  /// Takes out the slots that meet the condition, and returns them.
  mutating func remove(where isLeaving: (UnsafeMutablePointer<VCPUSlot>) -> Bool) -> [UnsafeMutablePointer<VCPUSlot>] {
    var leaving: [UnsafeMutablePointer<VCPUSlot>] = []
    var kept = 0
    for index in 0..<count {
      let slot = slots[index]
      if isLeaving(slot) {
        leaving.append(slot)
      } else {
        slots[kept] = slot
        kept += 1
      }
    }
    count = kept
    keys.update(repeating: .min, count: capacity)
    for index in 0..<count { enter(slots[index].pointee.tid, at: index) }
    return leaving
  }

  private func enter(_ tid: Int32, at index: Int) {
    var place = Int(truncatingIfNeeded: UInt32(bitPattern: tid) &* 0x9E37_79B1) & (capacity - 1)
    while keys[place] != .min { place = (place + 1) & (capacity - 1) }
    keys[place] = tid
    places[place] = index
  }

  private mutating func rehash() {
    keys.deallocate()
    places.deallocate()
    capacity *= 2
    keys = .allocate(capacity: capacity)
    keys.initialize(repeating: .min, count: capacity)
    places = .allocate(capacity: capacity)
    places.initialize(repeating: 0, count: capacity)
    for index in 0..<count { enter(slots[index].pointee.tid, at: index) }
  }
}
