import Architecture
import TraceFormat

/// One exit as a trace has it, with what came before and after: what exports are made of. Times are nanoseconds of the
/// trace clock.
public struct TracedExit: Sendable {
  /// Time inside an exit that was not spent in the kernel's handling.
  public struct Away: Sendable, Hashable {
    public enum Kind: Sendable, Hashable {
      /// In the VMM: from kvm_userspace_exit until the thread is back in KVM_RUN.
      case userSpace
      /// Blocked or polling after HLT, as kvm_vcpu_wakeup tells it.
      case halted
    }
    public var kind: Kind
    public var start: UInt64
    public var end: UInt64
  }

  public var tid: Int32
  public var vcpuID: UInt32?
  /// The CPU that kvm_exit was recorded on.
  public var cpu: Int
  /// Time of the kvm_entry before, since when the guest ran; nil where there was none, or events were lost since.
  public var guestSince: UInt64?
  /// Time of kvm_exit.
  public var time: UInt64
  /// Time of the kvm_entry after it; nil where there is none, or events were lost in between.
  public var entry: UInt64?
  /// From kvm_exit to that kvm_entry; its parts in user space and halted.
  public var handling: UInt64?
  public var user: UInt64 = 0
  public var halted: UInt64 = 0
  /// Stretches of it, in order of time, none touching another, at most `mostAway`. Empty where there is no `entry`.
  public var away: [Away] = []
  /// The fields of kvm_exit.
  public var exit: KVMExit
  /// The control that it is charged to.
  public var control: ControlID
  public var detail: (kind: DetailKind, value: UInt64)?

  public static let mostAway = 256
}

/// Events lost on a CPU, as its pages tell.
public struct TracedLoss: Sendable, Hashable {
  public var cpu: Int
  /// Of the first event after it.
  public var time: UInt64
  /// Nil: some.
  public var count: UInt64?
}

/// Walks a source event by event and tells its exits one by one, each as soon as it is complete. What is an exit, what
/// pairs with what, and what a loss makes void is as the `Aggregator` has it: sums over these are its figures.
public struct ExitTimeline: ~Copyable {
  public enum Item {
    case exit(TracedExit)
    case loss(TracedLoss)
  }

  private let table: EventTable
  private let layout: PageLayout
  private let scale: TimeScale
  private let options: AggregatorOptions
  private var threads: [Int32: Thread] = [:]
  private var names: [UInt64: String] = [:]
  private var losses: [UInt32] = []
  private var isInGap: [Bool] = []
  private var allLosses: UInt32 = 0
  private var openGaps = 0

  /// More than any host has; a hostile file names as many as it likes.
  private static let mostThreads = 65_536

  private struct Thread {
    var isIgnored = false
    var activity = VCPUActivity.unknown
    var vcpuID: UInt32?
    /// Raw, of the last entry or exit.
    var since: UInt64 = 0
    var mark = LossMark(stream: 0, losses: 0, ofAll: 0)
    var open: TracedExit?
    var awaited: DetailKind?
    var userSince: UInt64?
    var user: UInt64 = 0
    var halted: UInt64 = 0
    var away: [TracedExit.Away] = []
  }

  /// - Throws: `AggregatorError` where the formats have a kvm_exit that cannot be counted.
  public init(metadata: TraceMetadata, options: AggregatorOptions) throws(AggregatorError) {
    table = try EventTable(formats: metadata.formats)
    layout = metadata.page
    scale = metadata.timeScale
    self.options = options
  }

  /// As kvm_exit prints it.
  public mutating func name(isa: UInt32, code: UInt32) -> String {
    let key = UInt64(isa) << 32 | UInt64(code)
    if let name = names[key] { return name }
    let name = SnapshotBuilder.name(isa: isa, code: code, options.fallbackName)
    if names.count < Self.mostThreads { names[key] = name }
    return name
  }

  /// Walks the whole source. Exits come in the order in which they end; at the end those that never did.
  public mutating func run(
    _ source: some PageSource, _ body: (inout ExitTimeline, Item) throws -> Void
  ) rethrows {
    let streams = source.streams
    losses = Array(repeating: 0, count: streams.count)
    isInGap = Array(repeating: false, count: streams.count)
    var cursors = streams.map { _ in SubBufferCursor.exhausted(at: 0) }
    var heap = StreamHeap(capacity: streams.count)
    defer { heap.deallocate() }
    for stream in streams.indices {
      if try load(stream, &cursors, source, streams[stream].cpu, body) {
        heap.push(StreamHeap.Node(timestamp: cursors[stream].timestamp, stream: stream))
      }
    }
    while let first = heap.first {
      let stream = first.stream
      if isInGap[stream] { endGap(stream) }
      try take(cursors[stream], stream: stream, cpu: streams[stream].cpu, body)
      if try load(stream, &cursors, source, streams[stream].cpu, body) {
        heap.replaceFirst(timestamp: cursors[stream].timestamp)
      } else {
        heap.removeFirst()
      }
    }
    try flush(body)
  }

  private mutating func flush(_ body: (inout ExitTimeline, Item) throws -> Void) rethrows {
    let open = threads.values.compactMap(\.open).sorted { ($0.time, $0.tid) < ($1.time, $1.tid) }
    threads = [:]
    for exit in open { try body(&self, .exit(exit)) }
  }

  /// Goes to the stream's next event, over page ends; false at its end.
  private mutating func load(
    _ stream: Int, _ cursors: inout [SubBufferCursor], _ source: some PageSource, _ cpu: Int,
    _ body: (inout ExitTimeline, Item) throws -> Void
  ) rethrows -> Bool {
    var lost: UInt64?
    var isLost = false
    while !cursors[stream].next() {
      guard let page = source.nextPage(stream: stream) else {
        cursors[stream] = .exhausted(at: cursors[stream].timestamp)
        if isInGap[stream] { endGap(stream) }
        if isLost {
          let time = scale.nanoseconds(cursors[stream].timestamp)
          try body(&self, .loss(TracedLoss(cpu: cpu, time: time, count: lost)))
        }
        return false
      }
      cursors[stream] = SubBufferCursor(page: page, layout: layout)
      switch cursors[stream].missed {
      case .none: continue
      case .counted(let count): lost = (lost ?? 0) &+ count
      case .uncounted: break
      }
      isLost = true
      losses[stream] &+= 1
      allLosses &+= 1
      if !isInGap[stream] {
        isInGap[stream] = true
        openGaps += 1
      }
    }
    if isLost {
      let time = scale.nanoseconds(cursors[stream].timestamp)
      try body(&self, .loss(TracedLoss(cpu: cpu, time: time, count: lost)))
    }
    return true
  }

  private mutating func endGap(_ stream: Int) {
    isInGap[stream] = false
    openGaps -= 1
    allLosses &+= 1
  }

  private func isWhole(_ last: LossMark, _ mark: LossMark) -> Bool {
    last.stream == mark.stream ? last.losses == mark.losses : last.ofAll == mark.ofAll && openGaps == 0
  }

  private mutating func take(
    _ cursor: SubBufferCursor, stream: Int, cpu: Int, _ body: (inout ExitTimeline, Item) throws -> Void
  ) rethrows {
    guard cursor.payloadLength >= 8 else { return }
    let record = cursor.payload
    let id = Int(record.loadUnaligned(as: UInt16.self))
    guard id < table.rowCount, case let kind = table.rows[id].kind, kind != .other,
      cursor.payloadLength >= Int(table.rows[id].minimumLength)
    else { return }
    let tid = record.loadUnaligned(fromByteOffset: 4, as: Int32.self)
    guard tid != .min else { return }
    let time = cursor.timestamp
    let mark = LossMark(stream: UInt32(truncatingIfNeeded: stream), losses: losses[stream], ofAll: allLosses)
    switch kind {
    case .exit, .entry:
      if threads[tid] == nil {
        if threads.count >= Self.mostThreads { try flush(body) }
        let place = kind == .exit ? table.exit.vcpu : table.entryVCPU
        threads[tid] = makeThread(
          tid, vcpuID: place < 0 ? nil : record.loadUnaligned(fromByteOffset: place, as: UInt32.self))
      }
      guard threads[tid]?.isIgnored == false else { return }
      if kind == .exit {
        if let unpaired = begin(tid, record, time, cpu, mark) { try body(&self, .exit(unpaired)) }
      } else if let done = end(tid, time, mark) {
        try body(&self, .exit(done))
      }
    default:
      guard let thread = threads[tid], !thread.isIgnored, thread.activity == .handlingExit else { return }
      other(kind, id, tid, record, time)
    }
  }

  private func makeThread(_ tid: Int32, vcpuID: UInt32?) -> Thread {
    var thread = Thread()
    thread.vcpuID = vcpuID
    if let threads = options.threads, !threads.contains(tid) { thread.isIgnored = true }
    if let ids = options.vcpuIDs, !(vcpuID.map(ids.contains) ?? false) { thread.isIgnored = true }
    return thread
  }

  /// Takes a kvm_exit. Returns the exit before it, where no kvm_entry ended that one.
  private mutating func begin(
    _ tid: Int32, _ record: UnsafeRawPointer, _ time: UInt64, _ cpu: Int, _ mark: LossMark
  ) -> TracedExit? {
    guard var thread = threads.removeValue(forKey: tid) else { return nil }
    defer { threads[tid] = thread }
    let unpaired = thread.open
    var fields = KVMExit()
    table.exit.gather(record, into: &fields)
    var exit = TracedExit(
      tid: tid, vcpuID: thread.vcpuID, cpu: cpu, time: scale.nanoseconds(time),
      exit: fields, control: governingControl(of: fields).control)
    if thread.activity == .inGuest, time >= thread.since, isWhole(thread.mark, mark) {
      exit.guestSince = scale.nanoseconds(thread.since)
    }
    let source = DetailSource(isa: fields.isa.rawValue, code: fields.code)
    exit.detail = source.kind.flatMap { kind in source.value(of: fields).map { (kind, $0) } }
    thread.awaited = nil
    if case .event(let kind) = source { thread.awaited = kind }
    thread.open = exit
    thread.activity = .handlingExit
    thread.since = time
    thread.mark = mark
    thread.userSince = nil
    thread.user = 0
    thread.halted = 0
    thread.away = []
    return unpaired
  }

  /// Takes a kvm_entry. Returns the exit that it ends; one across a loss is told without its end.
  private mutating func end(_ tid: Int32, _ time: UInt64, _ mark: LossMark) -> TracedExit? {
    guard var thread = threads.removeValue(forKey: tid) else { return nil }
    defer { threads[tid] = thread }
    var exit = thread.open
    if exit != nil, time >= thread.since, isWhole(thread.mark, mark) {
      if let since = thread.userSince { leave(&thread, .userSpace, since, time) }
      let handling = scale.nanoseconds(time &- thread.since)
      exit?.entry = scale.nanoseconds(time)
      exit?.handling = handling
      let user = min(scale.nanoseconds(thread.user), handling)
      exit?.user = user
      exit?.halted = min(thread.halted, handling &- user)
      exit?.away = thread.away
    }
    thread.open = nil
    thread.activity = .inGuest
    thread.since = time
    thread.mark = mark
    thread.userSince = nil
    return exit
  }

  /// Adds a stretch in user space, from and to raw timestamps.
  private func leave(_ thread: inout Thread, _ kind: TracedExit.Away.Kind, _ since: UInt64, _ time: UInt64) {
    thread.user &+= time &- min(time, since)
    add(&thread, kind, scale.nanoseconds(since), scale.nanoseconds(time))
  }

  /// Adds a stretch behind those before it, as far as it lies behind them.
  private func add(_ thread: inout Thread, _ kind: TracedExit.Away.Kind, _ start: UInt64, _ end: UInt64) {
    let start = max(start, thread.away.last?.end ?? 0, thread.open?.time ?? 0)
    guard end > start, thread.away.count < TracedExit.mostAway else { return }
    thread.away.append(TracedExit.Away(kind: kind, start: start, end: end))
  }

  private mutating func other(_ kind: EventKind, _ id: Int, _ tid: Int32, _ record: UnsafeRawPointer, _ time: UInt64) {
    guard var thread = threads.removeValue(forKey: tid) else { return }
    defer { threads[tid] = thread }
    func word(_ offset: Int) -> UInt64 { UInt64(record.loadUnaligned(fromByteOffset: offset, as: UInt32.self)) }
    func long(_ offset: Int) -> UInt64 { record.loadUnaligned(fromByteOffset: offset, as: UInt64.self) }
    func detail(_ kind: DetailKind, _ value: UInt64) {
      guard thread.awaited == kind else { return }
      thread.awaited = nil
      thread.open?.detail = (kind, value)
    }
    switch kind {
    case .userSpaceExit: if thread.userSince == nil { thread.userSince = time }
    case .fpu:
      guard word(table.fpuLoad) != 0, let since = thread.userSince else { return }
      leave(&thread, .userSpace, since, time)
      thread.userSince = nil
    case .wakeup:
      let nanoseconds = long(table.wakeupNanoseconds)
      thread.halted &+= nanoseconds
      let end = scale.nanoseconds(time)
      add(&thread, .halted, end &- min(end, nanoseconds), end)
    case .msr:
      let index = UInt32(truncatingIfNeeded: word(table.msrIndex))
      if thread.awaited == .msr, let exit = thread.open?.exit {
        thread.open?.control = governingControl(of: exit, msr: index).control
      }
      detail(.msr, UInt64(index))
    case .cpuid: detail(.cpuidLeaf, word(table.cpuidFunction))
    case .pageFault: detail(.gpa, long(table.faultAddress))
    case .mmio: detail(.gpa, long(id == table.fastMMIOID ? table.fastMMIOAddress : table.mmioAddress))
    case .hypercall: detail(.hypercall, long(table.hypercallNumber))
    case .other, .exit, .entry, .apicvInhibit: break
    }
  }
}

extension DetailSource {
  /// The detail that the exit's own fields tell; nil where it has none, or where a later event is to bring it.
  func value(of exit: KVMExit) -> UInt64? {
    switch self {
    case .none, .event: nil
    case .info1(_, let shift, let mask): (exit.info1 &>> shift) & mask
    case .info2: exit.info2
    case .interruptionVector:
      exit.interruptionInformation & 0x8000_0000 == 0 ? nil : UInt64(exit.interruptionInformation & 0xff)
    case .constant(_, let constant): constant
    case .controlRegister: (exit.info1 & 0xf) | ((exit.info1 &>> 4) & 3) &<< 8
    case .debugRegister: (exit.info1 & 7) | ((exit.info1 &>> 4) & 1) &<< 8
    }
  }
}
