import Architecture
import TraceFormat

/// What to count, and how to name it.
public struct AggregatorOptions: Sendable {
  /// Count only these threads; nil: all.
  public var threads: Set<Int32>?
  /// Count only vCPUs with these ids; nil: all.
  public var vcpuIDs: Set<UInt32>?
  /// Exit reason names for backends that the catalogue does not know, by isa and code: from the event's print format.
  public var fallbackName: @Sendable (_ isa: UInt32, _ code: UInt32) -> String?
  /// Whether time that is still running (a guest that has not exited, a halt that has not ended) counts up to now.
  /// True for a live view; false for a recording, where only what its events enclose is known.
  public var countsOpenTime: Bool

  public init(
    threads: Set<Int32>? = nil, vcpuIDs: Set<UInt32>? = nil, countsOpenTime: Bool = false,
    fallbackName: @escaping @Sendable (UInt32, UInt32) -> String? = { _, _ in nil }
  ) {
    self.threads = threads
    self.vcpuIDs = vcpuIDs
    self.countsOpenTime = countsOpenTime
    self.fallbackName = fallbackName
  }

  /// Whether they ask for a vCPU.
  func counts(_ thread: Int32, vcpuID: UInt32?) -> Bool {
    if let threads, !threads.contains(thread) { return false }
    guard let vcpuIDs else { return true }
    return vcpuID.map(vcpuIDs.contains) ?? false
  }
}

/// Counts exits, handling times, details and charges from ring-buffer pages, since the last cut and nothing else: `cut` hands
/// out what was counted as a value, and what adds such values up (`RunningTotal`) knows everything since counting began.
///
/// `run` merges all streams in order of time and works event by event without allocation, reference counting or
/// existentials; what is not per event (a new vCPU, a new reason) is out of line. One thread at a time may use it.
public struct Aggregator: ~Copyable {
  var table: EventTable
  var slots = SlotTable()
  /// What was counted since the last cut of threads that have no slot any more.
  var ended: ThreadSum?
  var endedThreads: UInt64 = 0
  /// Those of them that earlier cuts have counts of.
  var retired: [RetiredThread] = []
  /// Where the last sums end, on the trace clock.
  var lastCut: UInt64 = 0
  /// How many threads were seen so far: when it grows, the host may know a VM that nobody asked about yet.
  public private(set) var threadCount = 0
  let options: AggregatorOptions
  private let layout: PageLayout
  let scale: TimeScale
  /// False where the trace clock counts nanoseconds already.
  private let isScaled: Bool
  private var streams: UnsafeMutablePointer<StreamState>
  private var streamCapacity = 8
  private(set) var streamCount = 0
  private var streamNames: [PageStream] = []
  var reasonCodes = ReasonIndex()
  private(set) var gaps = Gaps()
  /// Until `run` stops, and then 0 as the latest event to be counted.
  private var pagesLeft = Int.max
  private var latestCounted = UInt64.max
  private var cellCount = 0
  var events: UInt64 = 0
  var malformed: UInt64 = 0
  var firstTimestamp: UInt64 = 0
  var lastTimestamp: UInt64 = 0
  /// What the host has told of its VMs.
  var machines = MachineRegistry()
  var settings = SettingRegistry()
  /// The control words of every vCPU thread as they were read last.
  var words: [Int32: ControlSetting] = [:]

  /// One stream's place in its present page.
  struct StreamState {
    var cursor: SubBufferCursor
    /// The cursor stands on an event that is not counted yet.
    var isPending = false
    var gaps = StreamGaps()
    /// Since the last cut.
    var lost: UInt64 = 0
    var uncounted: UInt64 = 0
    /// The page that the cursor is in, as long as the source keeps it.
    var page: UnsafeRawBufferPointer?
    /// The timestamp in the header of the last page; nil before the first.
    var pageTimestamp: UInt64?
    /// Counting goes on within or after this page: those before it, and what was counted of it, are passed over.
    var resumption: (page: UInt64, counted: UInt32?)?
  }

  /// - Throws: `AggregatorError` where the formats have a kvm_exit that cannot be counted.
  public init(metadata: TraceMetadata, options: AggregatorOptions = AggregatorOptions()) throws(AggregatorError) {
    table = try EventTable(formats: metadata.formats)
    layout = metadata.page
    scale = metadata.timeScale
    isScaled = scale != .nanoseconds
    self.options = options
    streams = .allocate(capacity: streamCapacity)
  }

  deinit {
    streams.deallocate()
    for index in 0..<slots.count { slots.slots[index].pointee.deallocate() }
    for index in 0..<slots.count { slots.slots[index].deinitialize(count: 1).deallocate() }
  }

  /// The CPU of a stream, where known.
  func cpu(ofStream index: Int) -> Int? { streamNames.indices.contains(index) ? streamNames[index].cpu : nil }

  // MARK: - Streams in sums

  /// The losses since the last cut.
  var streamSums: [StreamSum] {
    (0..<streamCount).map { index in
      StreamSum(stream: streamNames[index], lost: streams[index].lost, uncounted: streams[index].uncounted)
    }
  }

  mutating func takeStreamSums() -> [StreamSum] {
    let sums = streamSums
    for index in 0..<streamCount {
      streams[index].lost = 0
      streams[index].uncounted = 0
    }
    return sums
  }

  func openStreams() -> [OpenStream] {
    (0..<streamCount).map { index in
      var state = OpenStream(
        stream: streamNames[index], isInGap: streams[index].gaps.isInGap, page: streams[index].pageTimestamp)
      if let resumption = streams[index].resumption {
        state.page = resumption.page
        state.counted = resumption.counted
      } else if streams[index].isPending, let page = streams[index].page {
        // The pending event is the first that is not counted.
        var cursor = SubBufferCursor(page: page, layout: layout)
        var counted: UInt32 = 0
        while cursor.next(), cursor.payload != streams[index].cursor.payload { counted &+= 1 }
        state.counted = counted
      }
      return state
    }
  }

  /// Returns where each of the state's streams is here.
  mutating func resumeStreams(_ state: OpenState) -> [Int: UInt32] {
    gaps = Gaps(all: LossMark.carriedOver)
    for index in 0..<streamCount {
      streams[index].cursor = SubBufferCursor.exhausted(at: 0)
      streams[index].isPending = false
      streams[index].gaps = StreamGaps()
      streams[index].page = nil
      streams[index].pageTimestamp = nil
      streams[index].resumption = nil
    }
    var places: [Int: UInt32] = [:]
    for (number, open) in state.streams.enumerated() {
      guard let index = streamNames.firstIndex(of: open.stream) else { continue }
      places[number] = UInt32(truncatingIfNeeded: index)
      if open.isInGap { gaps.reopen(&streams[index].gaps) }
      streams[index].pageTimestamp = open.page
      if let page = open.page { streams[index].resumption = (page, open.counted) }
    }
    return places
  }

  /// The mark of a thread's last event as counting that is resumed here sees it.
  func carriedOver(_ mark: LossMark) -> LossMark {
    let place = Int(mark.stream)
    let onStream = place >= streamCount || streams[place].gaps.losses != mark.losses
    return LossMark(stream: mark.stream, hasLost: (onStream, gaps.hasLost(since: mark)))
  }

  /// The timestamp in the header of the page that each stream is to be read on from; nil: from its first.
  public var pagesToResume: [UInt64?] { (0..<streamCount).map { streams[$0].resumption?.page } }

  // MARK: - Merging

  /// Counts every event of the source stamped at or before `limit`, all streams merged in order of time. Events that
  /// the source does not have yet are taken up by the next call.
  ///
  /// - Parameter pages: to stop after so many; events after `lastCounted` are then still to come.
  /// - Returns: False where it stopped for the number of pages.
  @discardableResult
  public mutating func run(_ source: some PageSource, until limit: UInt64 = .max, pages: Int = .max) -> Bool {
    prepare(source.streams)
    var heap = StreamHeap(capacity: streamCount)
    for stream in 0..<streamCount where streams[stream].isPending || load(stream, from: source) {
      heap.push(StreamHeap.Node(timestamp: streams[stream].cursor.timestamp, stream: stream))
    }
    pagesLeft = pages
    latestCounted = .max
    while let first = heap.first, first.timestamp <= limit, pagesLeft > 0 {
      let nextOther = heap.secondTimestamp
      if advance(first.stream, until: nextOther < limit ? nextOther : limit, source) {
        heap.replaceFirst(timestamp: streams[first.stream].cursor.timestamp)
      } else {
        heap.removeFirst()
      }
    }
    heap.deallocate()
    return pagesLeft > 0
  }

  /// Timestamp of the last event counted, raw; 0 before the first.
  public var lastCounted: UInt64 { lastTimestamp }

  /// How many events were counted, of every kind.
  public var countedEvents: UInt64 { events }

  /// The earliest event that was read and not counted yet; nil where `run` left none behind.
  public var nextTimestamp: UInt64? {
    var earliest: UInt64?
    for index in 0..<streamCount where streams[index].isPending {
      earliest = min(earliest ?? .max, streams[index].cursor.timestamp)
    }
    return earliest
  }

  /// Takes up streams that are new. Those of a source come before others that only sums know.
  public mutating func prepare(_ all: [PageStream]) {
    guard all.count > streamCount else { return }
    if all.count > streamCapacity {
      let larger = UnsafeMutablePointer<StreamState>.allocate(capacity: all.count * 2)
      larger.moveInitialize(from: streams, count: streamCount)
      streams.deallocate()
      streams = larger
      streamCapacity = all.count * 2
    }
    let empty = UnsafeRawBufferPointer(start: nil, count: 0)
    for index in streamCount..<all.count {
      var cursor = SubBufferCursor(page: empty, layout: layout)
      cursor.isMalformed = false
      (streams + index).initialize(to: StreamState(cursor: cursor))
      streamNames.append(all[index])
    }
    streamCount = all.count
  }

  /// Goes to the stream's next event, over page ends. False when the source has no more of it now.
  @inline(never)
  private mutating func load(_ index: Int, from source: some PageSource) -> Bool {
    while true {
      if streams[index].cursor.next() {
        streams[index].isPending = true
        return true
      }
      if streams[index].cursor.isMalformed {
        malformed &+= 1
        streams[index].cursor.isMalformed = false
      }
      guard let page = source.nextPage(stream: index) else {
        // Nothing of the old page may be touched after this: the source may reuse it.
        streams[index].cursor = SubBufferCursor.exhausted(at: streams[index].cursor.timestamp)
        streams[index].page = nil
        streams[index].isPending = false
        gaps.end(&streams[index].gaps)
        return false
      }
      streams[index].cursor = SubBufferCursor(page: page, layout: layout)
      if streams[index].resumption != nil, passOver(page, index) { continue }
      streams[index].page = page
      streams[index].pageTimestamp = streams[index].cursor.timestamp
      pagesLeft &-= 1
      if pagesLeft <= 0 { latestCounted = 0 }
      switch streams[index].cursor.missed {
      case .none: continue
      case .counted(let count): streams[index].lost &+= count
      case .uncounted: streams[index].uncounted &+= 1
      }
      gaps.begin(&streams[index].gaps)
    }
  }

  /// Passes over what earlier sums have of a page that was just begun. True where that settles it: all of the page, or
  /// all before the cursor, with the loss before the page.
  private mutating func passOver(_ page: UnsafeRawBufferPointer, _ index: Int) -> Bool {
    guard let resumption = streams[index].resumption else { return false }
    let timestamp = streams[index].cursor.timestamp
    if timestamp > resumption.page {
      streams[index].resumption = nil
      return false
    }
    if timestamp == resumption.page, var left = resumption.counted {
      var cursor = streams[index].cursor
      while left > 0, cursor.next() { left -= 1 }
      var next = cursor
      if left == 0, next.next() {
        streams[index].cursor = cursor
        streams[index].page = page
        streams[index].resumption = nil
        return true
      }
    }
    streams[index].cursor = SubBufferCursor.exhausted(at: timestamp)
    return true
  }

  /// Counts the stream's pending event and those after it up to `limit`. Leaves the first later event pending; false
  /// when the stream has no more now. This is the hot loop: decoding and counting in one, on local state.
  private mutating func advance(_ index: Int, until limit: UInt64, _ source: some PageSource) -> Bool {
    var limit = limit
    let stream = streams + index
    let rows = table.rows
    let rowCount = table.rowCount
    let exit = table.exit
    var lastThread: Int32 = .min
    var lastSlot: UnsafeMutablePointer<VCPUSlot>?
    if firstTimestamp == 0 { firstTimestamp = stream.pointee.cursor.timestamp }
    while true {
      var cursor = stream.pointee.cursor
      if stream.pointee.gaps.isInGap, cursor.timestamp <= limit { gaps.end(&stream.pointee.gaps) }
      let mark = gaps.mark(index, stream.pointee.gaps)
      var counted: UInt64 = 0
      var passedLimit = false
      var latest = cursor.timestamp
      repeat {
        let timestamp = cursor.timestamp
        if timestamp > limit {
          passedLimit = true
          break
        }
        latest = timestamp
        counted &+= 1
        let record = cursor.payload
        let length = cursor.payloadLength
        if length < 8 {
          malformed &+= 1
          continue
        }
        let id = Int(record.loadUnaligned(as: UInt16.self))
        if id >= rowCount { continue }
        let row = rows + id
        row.pointee.count &+= 1
        let kind = row.pointee.kind
        if kind == .other { continue }
        if length < Int(row.pointee.minimumLength) {
          malformed &+= 1
          continue
        }
        let thread = record.loadUnaligned(fromByteOffset: 4, as: Int32.self)
        if thread != lastThread {
          if thread == .min { continue }
          lastThread = thread
          lastSlot = slots.find(thread)
        }
        if kind == .exit {
          let slot: UnsafeMutablePointer<VCPUSlot>
          if let known = lastSlot {
            slot = known
          } else {
            slot = makeSlot(thread, vcpuID: table.vcpuID(.exit, record), at: timestamp)
            lastSlot = slot
          }
          if slot.pointee.isIgnored { continue }
          countExit(slot, record, exit, timestamp, mark)
        } else if kind == .entry {
          let slot: UnsafeMutablePointer<VCPUSlot>
          if let known = lastSlot {
            slot = known
          } else {
            slot = makeSlot(thread, vcpuID: table.vcpuID(.entry, record), at: timestamp)
            lastSlot = slot
          }
          if slot.pointee.isIgnored { continue }
          countEntry(slot, timestamp, mark)
        } else if let slot = lastSlot, !slot.pointee.isIgnored {
          countOther(kind, id, slot, record, timestamp)
        } else if kind == .apicvInhibit {
          noteInhibit(record, thread: thread, at: timestamp)
        }
      } while cursor.next()
      events &+= counted
      // The first of a page may be after the limit: it was read, not counted.
      if counted > 0, latest > lastTimestamp { lastTimestamp = latest }
      stream.pointee.cursor = cursor
      if passedLimit {
        stream.pointee.isPending = true
        return true
      }
      if !load(index, from: source) { return false }
      // Cheaper for the loop than another way out of it.
      limit = min(limit, latestCounted)
    }
  }

  // MARK: - Counting

  @inline(__always)
  private mutating func countExit(
    _ slot: UnsafeMutablePointer<VCPUSlot>, _ record: UnsafeRawPointer, _ offsets: EventTable.ExitOffsets,
    _ timestamp: UInt64, _ mark: LossMark
  ) {
    let fields = withUnsafeMutablePointer(to: &slot.pointee.machine.lastExit) { offsets.take(record, into: $0) }
    let reason = fields.loadUnaligned(fromByteOffset: KVMExit.Offset.reason, as: UInt32.self)
    let isa = fields.loadUnaligned(fromByteOffset: KVMExit.Offset.isa, as: UInt32.self)
    let rip = fields.loadUnaligned(fromByteOffset: KVMExit.Offset.rip, as: UInt64.self)

    let code = KVMExit.code(isa: ISA(rawValue: isa), reason: reason)
    var index: Int
    if isa == 1, code < ReasonIndex.vmxCount {
      index = Int(truncatingIfNeeded: code)
    } else if isa == 2, code < ReasonIndex.svmCount {
      index = ReasonIndex.firstSVM &+ Int(truncatingIfNeeded: code)
    } else {
      index = reasonCodes.index(isa: isa, code: code)
    }
    let cell: UnsafeMutablePointer<ReasonCell>
    if let known = slot.pointee.cells[index] {
      cell = known
    } else {
      cell = self.cell(slot, index, isa: isa, code: code)
    }
    cell.pointee.exits.count &+= 1

    let guest = slot.pointee.machine.exit(at: timestamp, mark, gaps, awaiting: cell.pointee.rule.awaited)
    if let guest { slot.pointee.time.guest &+= nanoseconds(guest) }
    slot.pointee.openCell = cell
    slot.pointee.openCharge = cell.pointee.isChargeFixed ? -1 : Self.charge(cell, slot)
    switch cell.pointee.rule.action {
    case .nothing: break
    case .word:
      let word = fields.loadUnaligned(
        fromByteOffset: Int(truncatingIfNeeded: cell.pointee.rule.offset), as: UInt64.self)
      let valid = UInt64(cell.pointee.rule.valid)
      if word & valid == valid {
        cell.pointee.details.add(
          (word &>> UInt64(cell.pointee.rule.shift)) & cell.pointee.rule.mask, limit: Self.detailLimit)
      }
    case .other: Self.addDetail(cell, slot)
    }
    if rip != 0 { cell.pointee.instructionPointers.add(rip) } else { cell.pointee.unlocated &+= 1 }
  }

  /// Charges an exit to the control that its facts tell. Returns the charge's index.
  @inline(never)
  private static func charge(
    _ cell: UnsafeMutablePointer<ReasonCell>, _ slot: UnsafeMutablePointer<VCPUSlot>
  ) -> Int {
    cell.pointee.charges.add(slot.pointee.machine.lastExit)
  }

  /// The main details that are more than bits of one word.
  @inline(never)
  private static func addDetail(
    _ cell: UnsafeMutablePointer<ReasonCell>, _ slot: UnsafeMutablePointer<VCPUSlot>
  ) {
    guard let value = cell.pointee.detail.value(of: slot.pointee.machine.lastExit) else { return }
    cell.pointee.details.add(value, limit: detailLimit)
  }

  static var detailLimit: Int { 256 }

  @inline(__always)
  private mutating func countEntry(_ slot: UnsafeMutablePointer<VCPUSlot>, _ timestamp: UInt64, _ mark: LossMark) {
    guard let span = slot.pointee.machine.entry(at: timestamp, mark, gaps) else { return }
    guard let cell = slot.pointee.openCell else { return slot.pointee.machine.forgetAway() }
    let handling = nanoseconds(span)
    cell.pointee.paired &+= 1
    cell.pointee.exits.handling &+= handling
    if handling < cell.pointee.minimum { cell.pointee.minimum = handling }
    if handling > cell.pointee.maximum { cell.pointee.maximum = handling }
    cell.pointee.histogram.add(handling)
    if slot.pointee.openCharge >= 0, let charges = cell.pointee.charges.entries {
      charges[slot.pointee.openCharge].exits.handling &+= handling
    }
    if slot.pointee.machine.wasOffKernel {
      Self.countAway(handling, slot, cell, scale)
    } else {
      slot.pointee.time.kernel &+= handling
    }
  }

  /// Halted time is counted with the exit it was part of, and with what that one is charged to.
  @inline(never)
  private static func countAway(
    _ handling: UInt64, _ slot: UnsafeMutablePointer<VCPUSlot>, _ cell: UnsafeMutablePointer<ReasonCell>,
    _ scale: TimeScale
  ) {
    let (user, halted) = slot.pointee.machine.takeOffKernel(of: handling, scale)
    slot.pointee.time.user &+= user
    slot.pointee.time.halted &+= halted
    slot.pointee.time.kernel &+= handling &- user &- halted
    cell.pointee.exits.halted &+= halted
    if slot.pointee.openCharge >= 0, let charges = cell.pointee.charges.entries {
      charges[slot.pointee.openCharge].exits.halted &+= halted
    }
  }

  /// The rarer events: what they say about the open exit of their thread.
  @inline(never)
  private mutating func countOther(
    _ kind: EventKind, _ id: Int, _ slot: UnsafeMutablePointer<VCPUSlot>, _ record: UnsafeRawPointer,
    _ timestamp: UInt64
  ) {
    if kind == .apicvInhibit { return noteInhibit(record, thread: slot.pointee.tid, at: timestamp) }
    let change = slot.pointee.machine.take(table.note(kind, id, record), at: timestamp, scale)
    guard case .detail(let kind, let value) = change, let cell = slot.pointee.openCell else { return }
    if kind == .msr { recharge(slot, msr: UInt32(truncatingIfNeeded: value)) }
    cell.pointee.details.add(value, limit: Self.detailLimit)
  }

  /// kvm_exit does not say which MSR it was. An MSR outside the bitmap's ranges exits whatever the bitmap holds: its
  /// exit's charge moves as soon as kvm_msr names it.
  private func recharge(_ slot: UnsafeMutablePointer<VCPUSlot>, msr: UInt32) {
    guard slot.pointee.openCharge >= 0, let cell = slot.pointee.openCell, let entries = cell.pointee.charges.entries
    else { return }
    let control = governingControl(of: slot.pointee.machine.lastExit, msr: msr).control
    guard entries[slot.pointee.openCharge].control != control else { return }
    let old = slot.pointee.openCharge
    entries[old].exits.count &-= 1
    slot.pointee.openCharge = cell.pointee.charges.add(control)
  }

  @inline(__always)
  private func nanoseconds(_ raw: UInt64) -> UInt64 { isScaled ? Self.scaled(raw, scale) : raw }

  // Not a method: calling one from the loop would copy all of self.
  @inline(never)
  private static func scaled(_ raw: UInt64, _ scale: TimeScale) -> UInt64 { scale.nanoseconds(raw) }

  /// A span of the trace clock in nanoseconds.
  public func nanoseconds(at span: UInt64) -> UInt64 { scale.nanoseconds(span) }

  // MARK: - New vCPUs, reasons, settings

  /// More threads than any host has vCPUs at a time. At this many, those unheard of for longest give up their slots.
  private static var slotLimit: Int { 4096 }
  private static var cellLimit: Int { 65_536 }

  @inline(never)
  private mutating func makeSlot(
    _ thread: Int32, vcpuID: UInt32?, at timestamp: UInt64
  ) -> UnsafeMutablePointer<VCPUSlot> {
    let slot = insertSlot(thread, vcpuID: vcpuID, setting: .asFound, at: timestamp)
    if let words = words[thread] {
      slot.pointee.learn(settings.setting(after: .asFound, words: words), at: timestamp)
    }
    threadCount += 1
    return slot
  }

  mutating func insertSlot(
    _ thread: Int32, vcpuID: UInt32?, setting: VCPUSetting, at timestamp: UInt64
  ) -> UnsafeMutablePointer<VCPUSlot> {
    if slots.count >= Self.slotLimit { retireOldest(Self.slotLimit / 2) { _ in true } }
    let slot = UnsafeMutablePointer<VCPUSlot>.allocate(capacity: 1)
    slot.initialize(to: VCPUSlot(tid: thread, vcpuID: vcpuID, setting: setting, at: timestamp))
    slot.pointee.isIgnored = !options.counts(thread, vcpuID: vcpuID)
    slots.insert(slot)
    return slot
  }

  /// The cell of a reason in which nothing was counted since the last cut, in the slot's present setting.
  @inline(never)
  private mutating func cell(
    _ slot: UnsafeMutablePointer<VCPUSlot>, _ index: Int, isa: UInt32, code: UInt32
  ) -> UnsafeMutablePointer<ReasonCell> {
    cell(slot, index, isa: isa, code: code, in: slot.pointee.setting)
  }

  /// The cell of a reason in a setting: from now on the next cut takes what is counted in it.
  mutating func cell(
    _ slot: UnsafeMutablePointer<VCPUSlot>, _ index: Int, isa: UInt32, code: UInt32, in setting: VCPUSetting
  ) -> UnsafeMutablePointer<ReasonCell> {
    if let known = slot.pointee.wake(index, in: setting) { return known }
    let (isa, code) = index == ReasonIndex.capacity - 1 ? (UInt32.max, UInt32.max) : (isa, code)
    let cell = ReasonCell.make(
      isa: isa, code: code, index: index, setting: setting, hasHistogram: cellCount < Self.cellLimit)
    cellCount += 1
    slot.pointee.take(in: cell)
    return cell
  }

  /// kvm_apicv_inhibit_changed: when the first inhibit comes or the last one goes, KVM flips the APICv controls of
  /// every vCPU of the VM (POSTED_INTR, APIC_REGISTER_VIRT, VIRTUAL_INTR_DELIVERY, IPI_VIRT): counting goes on in another
  /// setting. Which VM it was is known for the event of a vCPU's own thread, and where there is only one vCPU group.
  @inline(never)
  private mutating func noteInhibit(_ record: UnsafeRawPointer, thread: Int32, at timestamp: UInt64) {
    guard table.inhibits >= 0 else { return }
    let now = record.loadUnaligned(fromByteOffset: table.inhibits, as: UInt64.self)
    let reason = record.loadUnaligned(fromByteOffset: table.inhibitReason, as: UInt32.self)
    let isSet = record.load(fromByteOffset: table.inhibitSet, as: UInt8.self) != 0
    guard reason < 64 else { return }
    let bit = UInt64(1) << UInt64(reason)
    let flips = isSet ? now == bit : now == 0
    guard flips else { return }
    let group = machines.group(of: thread, among: knownThreads)
    for tid in group {
      guard let slot = slots.find(tid), !slot.pointee.isIgnored else { continue }
      slot.pointee.change(
        to: settings.setting(
          after: slot.pointee.setting, apicVirtualization: isSet ? .inhibited : .active), at: timestamp)
    }
  }

  /// Takes the control words of all vCPUs as they were read at one moment: counting goes on in another setting for those
  /// whose controls are other ones now. `run` has counted all events until then, and none after.
  ///
  /// - Parameters:
  ///   - words: by thread; those of a vCPU that is not among them are not known any more.
  ///   - timestamp: when, on the trace clock.
  public mutating func learn(_ words: [Int32: ControlSetting], at timestamp: UInt64) {
    self.words = words
    for (thread, words) in words {
      guard let slot = slots.find(thread), !slot.pointee.isIgnored else { continue }
      slot.pointee.learn(settings.setting(after: slot.pointee.setting, words: words), at: timestamp)
    }
  }
}

/// Dense indices for exit reasons: VMX and SVM codes directly, anything else in order of appearance.
struct ReasonIndex {
  static let vmxCount: UInt32 = 128
  static let firstSVM = 128
  static let svmCount: UInt32 = 256
  static let firstOther = 384
  static let capacity = 512

  /// ISA and code in the upper and the lower half.
  private(set) var others: [UInt64] = []

  /// The last index is shared by all that do not fit any more.
  @inline(never)
  mutating func index(isa: UInt32, code: UInt32) -> Int {
    let key = UInt64(isa) << 32 | UInt64(code)
    if let known = others.firstIndex(of: key) { return Self.firstOther + known }
    guard Self.firstOther + others.count < Self.capacity - 1 else { return Self.capacity - 1 }
    others.append(key)
    return Self.firstOther + others.count - 1
  }
}

/// A binary heap of streams by the timestamp of their pending event; equal times in order of stream.
struct StreamHeap {
  struct Node {
    var timestamp: UInt64
    var stream: Int

    @inline(__always)
    static func < (a: Node, b: Node) -> Bool {
      a.timestamp < b.timestamp || (a.timestamp == b.timestamp && a.stream < b.stream)
    }
  }

  private let nodes: UnsafeMutablePointer<Node>
  private var count = 0

  init(capacity: Int) { nodes = .allocate(capacity: max(1, capacity)) }

  func deallocate() { nodes.deallocate() }

  var first: Node? { count == 0 ? nil : nodes[0] }

  /// The earliest timestamp of all but the first stream; the maximum where there is no other.
  var secondTimestamp: UInt64 {
    switch count {
    case 0, 1: .max
    case 2: nodes[1].timestamp
    default: min(nodes[1].timestamp, nodes[2].timestamp)
    }
  }

  mutating func push(_ node: Node) {
    var place = count
    count += 1
    while place > 0, node < nodes[(place - 1) / 2] {
      nodes[place] = nodes[(place - 1) / 2]
      place = (place - 1) / 2
    }
    nodes[place] = node
  }

  mutating func replaceFirst(timestamp: UInt64) {
    sink(Node(timestamp: timestamp, stream: nodes[0].stream))
  }

  mutating func removeFirst() {
    count -= 1
    if count > 0 { sink(nodes[count]) }
  }

  private mutating func sink(_ node: Node) {
    var place = 0
    while true {
      var child = 2 &* place &+ 1
      if child >= count { break }
      if child &+ 1 < count, nodes[child &+ 1] < nodes[child] { child &+= 1 }
      if !(nodes[child] < node) { break }
      nodes[place] = nodes[child]
      place = child
    }
    nodes[place] = node
  }
}
