import Architecture

/// One exit reason of one vCPU in one setting: counters in raw memory, found by a dense reason index.
///
/// What every exit touches comes first, so that it shares two cache lines (`make` aligns it).
struct ReasonCell {
  var count: UInt64 = 0
  var paired: UInt64 = 0
  var handling: UInt64 = 0
  var minimum: UInt64 = .max
  var maximum: UInt64 = 0
  /// Empty only past the limit that keeps a hostile input from taking all memory.
  var histogram: Histogram
  var rule: DetailRule
  /// Every exit of this reason is charged to one control: `fixedControl`. Else `charges` says it exit by exit.
  let isChargeFixed: Bool
  var details = DetailTable()
  var instructionPointers = FrequentValues()
  /// Exits without an instruction pointer.
  var unlocated: UInt64 = 0
  /// Nanoseconds of `handling` that the vCPU was halted.
  var halted: UInt64 = 0

  let isa: UInt32
  let code: UInt32
  let fixedControl: ControlID?
  var charges = ChargeTable()
  /// Kind of the main detail, and where it comes from.
  let detail: DetailSource
  /// What the last snapshot showed, for the interval's figures.
  var shownCount: UInt64 = 0
  var shownHandling: UInt64 = 0

  static func make(isa: UInt32, code: UInt32, hasHistogram: Bool) -> UnsafeMutablePointer<ReasonCell> {
    let detail = DetailSource(isa: isa, code: code)
    let fixedControl = fixedGoverningControl(isa: isa, code: code)
    let cell = UnsafeMutableRawPointer.allocate(byteCount: MemoryLayout<ReasonCell>.size, alignment: 64)
      .bindMemory(to: ReasonCell.self, capacity: 1)
    cell.initialize(
      to: ReasonCell(
        histogram: hasHistogram ? Histogram() : .none, rule: DetailRule(detail), isChargeFixed: fixedControl != nil,
        isa: isa, code: code, fixedControl: fixedControl, detail: detail))
    return cell
  }

  mutating func deallocate() {
    histogram.deallocate()
    charges.deallocate()
    details.deallocate()
    instructionPointers.deallocate()
  }

  /// Takes the counts out.
  mutating func take() -> CellSum {
    var sum = CellSum(isa: isa, code: code)
    sum.count = count
    sum.paired = paired
    sum.handling = handling
    sum.minimum = minimum
    sum.maximum = maximum
    sum.unlocated = unlocated
    sum.histogram = histogram.take(from: minimum, to: maximum)
    sum.charges = charges.take()
    sum.details = details.take()
    sum.instructionPointers = instructionPointers.take()
    count = 0
    paired = 0
    handling = 0
    minimum = .max
    maximum = 0
    unlocated = 0
    shownCount = 0
    shownHandling = 0
    return sum
  }

  mutating func add(_ sum: CellSum) {
    count &+= sum.count
    paired &+= sum.paired
    handling &+= sum.handling
    minimum = min(minimum, sum.minimum)
    maximum = max(maximum, sum.maximum)
    unlocated &+= sum.unlocated
    for bucket in sum.histogram { histogram.add(bucket.count, at: bucket.bucket) }
    for charge in sum.charges { charges.add(charge) }
    details.absorb(sum.details, limit: Aggregator.detailLimit)
    instructionPointers.absorb(sum.instructionPointers)
  }

  /// Nothing was counted in it since it was made, or since its counts were taken.
  var isEmpty: Bool {
    count | paired | handling | unlocated == 0 && charges.isEmpty && details.isEmpty && instructionPointers.isEmpty
  }
}

/// Exits and handling time by control, for the reasons whose control depends on the exit. Few controls per reason, so
/// a linear search beats a hash; and the same facts as the time before are charged to the same control without one.
struct ChargeTable {
  struct Entry {
    var control: ControlID
    var count: UInt64 = 0
    var handling: UInt64 = 0
    /// Nanoseconds of it that the vCPU was halted.
    var halted: UInt64 = 0
    var shownCount: UInt64 = 0
    var shownHandling: UInt64 = 0
  }

  private(set) var entries: UnsafeMutablePointer<Entry>?
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
      entries[lastIndex].count &+= 1
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
    entries?[index].count &+= 1
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
      let larger = UnsafeMutablePointer<Entry>.allocate(capacity: max(4, capacity * 2))
      if let entries {
        larger.moveInitialize(from: entries, count: count)
        entries.deallocate()
      }
      entries = larger
      capacity = max(4, capacity * 2)
    }
    (entries! + count).initialize(to: Entry(control: control))
    count += 1
    return count - 1
  }

  /// Nothing is charged.
  var isEmpty: Bool {
    guard let entries else { return true }
    return (0..<count).allSatisfy { entries[$0].count | entries[$0].handling == 0 }
  }

  /// Takes the charges out. The entries stay: an open exit knows its own by number.
  mutating func take() -> [ChargeSum] {
    guard let entries else { return [] }
    var sums: [ChargeSum] = []
    for index in 0..<count {
      let entry = entries[index]
      if entry.count | entry.handling != 0 {
        sums.append(ChargeSum(control: entry.control, count: entry.count, handling: entry.handling))
      }
      entries[index] = Entry(control: entry.control)
    }
    return sums.sorted { $0.control < $1.control }
  }

  mutating func add(_ sum: ChargeSum) {
    let index = index(of: sum.control)
    entries?[index].count &+= sum.count
    entries?[index].handling &+= sum.handling
  }

  /// Adds another table's charges.
  mutating func absorb(_ other: ChargeTable) {
    guard let others = other.entries else { return }
    for place in 0..<other.count {
      let index = index(of: others[place].control)
      guard let entries else { return }
      entries[index].count &+= others[place].count
      entries[index].handling &+= others[place].handling
      entries[index].shownCount &+= others[place].shownCount
      entries[index].shownHandling &+= others[place].shownHandling
    }
  }

  mutating func deallocate() {
    entries?.deallocate()
    entries = nil
    count = 0
    capacity = 0
    lastIndex = -1
  }
}

/// Where an exit's main detail is read.
enum DetailSource {
  case none
  /// Bits of the exit qualification or EXITINFO1: `(info1 >> shift) & mask`.
  case info1(DetailKind, shift: UInt64, mask: UInt64)
  case info2(DetailKind)
  /// The vector in valid interruption information.
  case interruptionVector
  /// A constant that follows from the exit code (SVM CR and DR accesses, exceptions).
  case constant(DetailKind, UInt64)
  /// Register number and access type from a VMX CR access.
  case controlRegister
  /// Register number and direction from a VMX DR access.
  case debugRegister
  /// The first event of that kind on the same thread, before its next entry.
  case event(DetailKind)

  /// The kind of that event.
  var awaited: DetailKind? {
    if case .event(let kind) = self { kind } else { nil }
  }

  var kind: DetailKind? {
    switch self {
    case .none: nil
    case .info1(let kind, _, _), .info2(let kind), .constant(let kind, _), .event(let kind): kind
    case .interruptionVector: .vector
    case .controlRegister: .controlRegister
    case .debugRegister: .debugRegister
    }
  }

  /// VMX: SDM vol. 3, "Basic VM-exit information"; SVM: APM vol. 2, chapter 15 and appendix C.
  init(isa: UInt32, code: UInt32) {
    switch (isa, code) {
    case (1, 0), (1, 1): self = .interruptionVector
    case (1, 10): self = .event(.cpuidLeaf)
    case (1, 14): self = .info1(.linearAddress, shift: 0, mask: .max)
    case (1, 18): self = .event(.hypercall)
    case (1, 28): self = .controlRegister
    case (1, 29): self = .debugRegister
    case (1, 30): self = .info1(.port, shift: 16, mask: 0xffff)
    case (1, 31), (1, 32): self = .event(.msr)
    case (1, 44): self = .info1(.apicOffset, shift: 0, mask: 0xfff)
    case (1, 45): self = .info1(.vector, shift: 0, mask: 0xff)
    case (1, 48), (1, 49): self = .event(.gpa)
    case (1, 56): self = .info1(.apicOffset, shift: 0, mask: 0xfff)
    case (1, 84), (1, 85): self = .info1(.msr, shift: 0, mask: 0xffff_ffff)
    case (2, 0x00...0x0f): self = .constant(.controlRegister, UInt64(code) | 1 << 8)
    case (2, 0x10...0x1f): self = .constant(.controlRegister, UInt64(code & 0xf))
    case (2, 0x20...0x2f): self = .constant(.debugRegister, UInt64(code & 0xf) | 1 << 8)
    case (2, 0x30...0x3f): self = .constant(.debugRegister, UInt64(code & 0xf))
    case (2, 0x40...0x5f): self = .constant(.vector, UInt64(code & 0x1f))
    case (2, 0x72): self = .event(.cpuidLeaf)
    case (2, 0x7b): self = .info1(.port, shift: 16, mask: 0xffff)
    case (2, 0x7c): self = .event(.msr)
    case (2, 0x81): self = .event(.hypercall)
    case (2, 0x400): self = .info2(.gpa)
    default: self = .none
    }
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

/// Everything counted for one vCPU thread, in raw memory at a stable address.
struct VCPUSlot {
  typealias Cells = UnsafeMutablePointer<UnsafeMutablePointer<ReasonCell>?>

  /// The cells of the present setting, by dense reason index.
  var cells: Cells
  /// What is open: all but the cell it is counted in.
  var machine = ExitMachine()
  /// Filtered out: seen, but not counted.
  var isIgnored = false
  var exits: UInt64 = 0
  var openCell: UnsafeMutablePointer<ReasonCell>?
  var time = TimeSplit()
  /// Index into the open cell's charges, or -1 where its control is fixed.
  var openCharge = -1

  let tid: Int32
  let vcpuID: UInt32?
  private(set) var setting: VCPUSetting
  /// Its control words were read at least once.
  var isSettingRead = false
  /// Timestamp since when it is in the setting, and its time split then.
  var settingSince: UInt64
  private var settingTime = TimeSplit()
  /// How long it was in it before, and what of the time since then went into earlier sums (see `Aggregator.cut`).
  private var earlierResidence: UInt64 = 0
  private var takenResidence: UInt64 = 0
  /// The latest changes, oldest first.
  private(set) var changes: [SettingChange] = []
  /// The settings it was in before.
  private var past: [VCPUSetting: Stay] = [:]
  /// Earlier sums have counts of it.
  var isContinued = false
  /// What `learn` made of a setting that earlier sums have counts of.
  private(set) var renaming: SettingRenaming?
  /// What the last snapshot showed.
  var shownExits: UInt64 = 0
  var shownTime = TimeSplit()

  /// What was counted in a setting.
  struct Stay {
    var setting: VCPUSetting
    var cells: Cells
    /// How long it was in it, on the trace clock. Wraps below 0 in sums that take back what earlier ones had too much.
    var residence: UInt64 = 0
    var time = TimeSplit()
    /// It was not in it since the last sums were taken.
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
    for cells in past.values.map(\.cells) + [cells] {
      for index in 0..<ReasonIndex.capacity {
        guard let cell = cells[index] else { continue }
        cell.pointee.deallocate()
        cell.deallocate()
      }
      cells.deallocate()
    }
    past = [:]
  }

  /// Counting goes on in that setting's cells. What the open exit still costs stays with the cell it was counted in.
  mutating func change(to new: VCPUSetting, at timestamp: UInt64) {
    guard new != setting else { return }
    let previous = setting
    enter(new, at: timestamp)
    add([SettingChange(setting: new, previous: previous, timestamp: timestamp)])
  }

  private mutating func enter(_ new: VCPUSetting, at timestamp: UInt64) {
    past[setting] = present(until: timestamp)
    let again = past.removeValue(forKey: new)
    cells = again?.cells ?? Self.makeCells()
    setting = new
    settingSince = timestamp
    takenResidence = 0
    // As if it had been here all along: what it was before, from now on it adds to.
    earlierResidence = again?.residence ?? 0
    settingTime = time.since(again?.time ?? TimeSplit())
  }

  private mutating func add(_ new: [SettingChange]) {
    changes += new
    if changes.count > Self.mostChanges { changes.removeFirst(changes.count - Self.mostChanges) }
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
    } else if var stay = past.removeValue(forKey: renaming.from) {
      stay.setting = renaming.to
      past[renaming.to] = stay
    }
  }

  private func present(until timestamp: UInt64) -> Stay {
    let span = timestamp > settingSince ? timestamp - settingSince : 0
    return Stay(
      setting: setting, cells: cells, residence: earlierResidence &+ span &- takenResidence,
      time: time.since(settingTime))
  }

  /// The settings it was in so far, with what was counted in each.
  func stays(until timestamp: UInt64) -> [Stay] {
    past.values.filter { !$0.isQuiet || Self.hasCounts($0.cells) } + [present(until: timestamp)]
  }

  private static func hasCounts(_ cells: Cells) -> Bool {
    (0..<ReasonIndex.capacity).contains { index in cells[index].map { !$0.pointee.isEmpty } ?? false }
  }

  /// Adds what another slot's vCPU spent in a setting. Returns the cells for what it counted there.
  mutating func absorb(_ stay: Stay) -> Cells {
    var own = past[stay.setting] ?? Stay(setting: stay.setting, cells: Self.makeCells())
    own.residence &+= stay.residence
    own.time.add(stay.time)
    own.isQuiet = false
    past[stay.setting] = own
    return own.cells
  }

  // MARK: - Sums

  /// Takes out what was counted up to a time. What is open goes on.
  mutating func take(until timestamp: UInt64) -> ThreadSum {
    var sum = ThreadSum(tid: tid, vcpuID: vcpuID, setting: setting)
    sum.renaming = renaming
    sum.changes = changes
    sum.time = time
    for stay in stays(until: timestamp) where stay.setting.rawValue > 0 {
      var part = StaySum(setting: stay.setting, residence: stay.residence, time: stay.time)
      for index in 0..<ReasonIndex.capacity {
        if let cell = stay.cells[index], !cell.pointee.isEmpty { part.cells.append(cell.pointee.take()) }
      }
      part.cells.sort { ($0.isa, $0.code) < ($1.isa, $1.code) }
      sum.stays.append(part)
    }
    sum.stays.sort { $0.setting < $1.setting }
    for setting in past.keys {
      past[setting]?.residence = 0
      past[setting]?.time = TimeSplit()
      past[setting]?.isQuiet = true
    }
    earlierResidence = 0
    takenResidence = timestamp > settingSince ? timestamp - settingSince : 0
    time = TimeSplit()
    settingTime = TimeSplit()
    exits = 0
    shownExits = 0
    shownTime = TimeSplit()
    changes = []
    renaming = nil
    isContinued = true
    return sum
  }

  /// Ends its present stay in time, so that sums can be added that begin there.
  mutating func close(at timestamp: UInt64, renaming: SettingRenaming?) {
    earlierResidence = present(until: timestamp).residence
    takenResidence = 0
    settingSince = timestamp
    if let renaming { rename(renaming) }
  }

  /// Adds what a thread counted in an interval that begins where this slot's counts end.
  ///
  /// - Parameter cell: finds or makes the cell of a reason.
  mutating func add(_ sum: ThreadSum, until end: UInt64, cell: (Cells, CellSum) -> UnsafeMutablePointer<ReasonCell>) {
    if sum.setting != setting, sum.setting.rawValue > 0 { enter(sum.setting, at: settingSince) }
    settingSince = end
    add(sum.changes)
    // The slot of ended threads is in no setting: what they spent is its time as a whole, and by setting besides.
    if setting.rawValue == 0 { time.add(sum.time) }
    for stay in sum.stays {
      let cells: Cells
      if stay.setting == setting {
        earlierResidence &+= stay.residence
        time.add(stay.time)
        cells = self.cells
      } else {
        cells = absorb(Stay(setting: stay.setting, cells: self.cells, residence: stay.residence, time: stay.time))
        if setting.rawValue > 0 {
          time.add(stay.time)
          settingTime.add(stay.time)
        }
      }
      for part in stay.cells {
        exits &+= part.count
        cell(cells, part).pointee.add(part)
      }
    }
  }

  /// The settings that it was in before, ascending.
  var pastSettings: [VCPUSetting] { past.keys.sorted() }

  /// The cells of a setting, which it may never have been in.
  mutating func cells(of other: VCPUSetting) -> Cells {
    if other == setting { return cells }
    if let known = past[other] { return known.cells }
    let stay = Stay(setting: other, cells: Self.makeCells(), isQuiet: true)
    past[other] = stay
    return stay.cells
  }

  /// The setting that a cell is of.
  func setting(of cell: UnsafeMutablePointer<ReasonCell>) -> VCPUSetting? {
    func have(_ cells: Cells) -> Bool { (0..<ReasonIndex.capacity).contains { cells[$0] == cell } }
    return have(cells) ? setting : past.values.first { have($0.cells) }?.setting
  }

  /// Goes on in a setting that it is in since then, up to `end` counted already.
  mutating func resume(in setting: VCPUSetting, since: UInt64, countedUntil end: UInt64) {
    if setting != self.setting { enter(setting, at: settingSince) }
    settingSince = since
    takenResidence = end > since ? end - since : 0
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
