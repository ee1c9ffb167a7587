import Architecture
import TraceFormat

/// One exit as a trace has it, with what came before and after: what exports are made of. Times are nanoseconds of the
/// trace clock.
public struct TracedExit: Sendable {
  /// Time inside an exit that was not spent in the kernel's handling.
  public struct OffKernel: Sendable, Hashable {
    public enum Kind: Sendable, Hashable {
      /// In the VMM: from kvm_userspace_exit until the thread is back in KVM_RUN.
      case userSpace
      /// Blocked or polling after HLT, as kvm_vcpu_wakeup tells it; or in the VMM because of it (KVM_EXIT_HLT).
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
  /// Stretches of it, in order of time, none touching another, at most `mostOffKernel`. Empty where there is no `entry`.
  public var offKernel: [OffKernel] = []
  /// The fields of kvm_exit.
  public var exit: KVMExit
  /// The control that it is charged to.
  public var control: ControlID
  public var detail: (kind: DetailKind, value: UInt64)?

  public static let mostOffKernel = 256
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
  private var gaps = Gaps()
  private var streamGaps: [StreamGaps] = []

  /// More than any host has; a hostile file names as many as it likes.
  private static let mostThreads = 65_536

  private struct Thread {
    var isIgnored = false
    var vcpuID: UInt32?
    var machine = ExitMachine()
    var open: TracedExit?
    var offKernel: [TracedExit.OffKernel] = []

    /// Adds a stretch behind those before it, as far as it lies behind them.
    mutating func add(_ stretch: TracedExit.OffKernel) {
      let start = max(stretch.start, offKernel.last?.end ?? 0, open?.time ?? 0)
      guard stretch.end > start, offKernel.count < TracedExit.mostOffKernel else { return }
      offKernel.append(TracedExit.OffKernel(kind: stretch.kind, start: start, end: stretch.end))
    }
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
    gaps = Gaps()
    streamGaps = Array(repeating: StreamGaps(), count: streams.count)
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
      gaps.end(&streamGaps[stream])
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
        gaps.end(&streamGaps[stream])
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
      gaps.begin(&streamGaps[stream])
    }
    if isLost {
      let time = scale.nanoseconds(cursors[stream].timestamp)
      try body(&self, .loss(TracedLoss(cpu: cpu, time: time, count: lost)))
    }
    return true
  }

  private mutating func take(
    _ cursor: SubBufferCursor, stream: Int, cpu: Int, _ body: (inout ExitTimeline, Item) throws -> Void
  ) rethrows {
    guard let (kind, id, tid) = table.event(cursor) else { return }
    let record = cursor.payload
    let time = cursor.timestamp
    let mark = gaps.mark(stream, streamGaps[stream])
    switch kind {
    case .exit, .entry:
      if threads[tid] == nil {
        if threads.count >= Self.mostThreads { try flush(body) }
        let vcpuID = table.vcpuID(kind, record)
        threads[tid] = Thread(isIgnored: !options.counts(tid, vcpuID: vcpuID), vcpuID: vcpuID)
      }
      guard threads[tid]?.isIgnored == false else { return }
      if kind == .exit {
        if let unpaired = begin(tid, record, time, cpu, mark) { try body(&self, .exit(unpaired)) }
      } else if let done = end(tid, time, mark) {
        try body(&self, .exit(done))
      }
    default:
      guard let thread = threads[tid], !thread.isIgnored, thread.machine.activity == .handlingExit else { return }
      note(table.note(kind, id, record), tid, time)
    }
  }

  /// Takes a kvm_exit. Returns the exit before it, where no kvm_entry ended that one.
  private mutating func begin(
    _ tid: Int32, _ record: UnsafeRawPointer, _ time: UInt64, _ cpu: Int, _ mark: LossMark
  ) -> TracedExit? {
    guard var thread = threads.removeValue(forKey: tid) else { return nil }
    defer { threads[tid] = thread }
    let unpaired = thread.open
    _ = table.exit.take(record, into: &thread.machine.lastExit)
    let fields = thread.machine.lastExit
    let source = ReasonTraits.of(isa: fields.isa, code: fields.code).detail
    let guest = thread.machine.exit(at: time, mark, gaps, awaiting: source.awaited)
    var exit = TracedExit(
      tid: tid, vcpuID: thread.vcpuID, cpu: cpu, time: scale.nanoseconds(time), exit: fields,
      control: governingControl(of: fields).control)
    exit.guestSince = guest.map { scale.nanoseconds(time &- $0) }
    exit.detail = source.kind.flatMap { kind in source.value(of: fields).map { (kind, $0) } }
    thread.open = exit
    thread.offKernel = []
    return unpaired
  }

  /// Takes a kvm_entry. Returns the exit that it ends; one across a loss is told without its end.
  private mutating func end(_ tid: Int32, _ time: UInt64, _ mark: LossMark) -> TracedExit? {
    guard var thread = threads.removeValue(forKey: tid) else { return nil }
    defer { threads[tid] = thread }
    if let span = thread.machine.entry(at: time, mark, gaps) {
      if thread.machine.isInUserSpace { thread.add(thread.machine.userSpace(until: time, scale)) }
      let handling = scale.nanoseconds(span)
      let offKernel = thread.machine.takeOffKernel(of: handling, scale)
      thread.open?.entry = scale.nanoseconds(time)
      thread.open?.handling = handling
      thread.open?.user = offKernel.user
      thread.open?.halted = offKernel.halted
      thread.open?.offKernel = thread.offKernel
    }
    defer { thread.open = nil }
    return thread.open
  }

  /// Takes what a rarer event says of the open exit.
  private mutating func note(_ note: ExitNote, _ tid: Int32, _ time: UInt64) {
    guard var thread = threads.removeValue(forKey: tid) else { return }
    defer { threads[tid] = thread }
    switch thread.machine.take(note, at: time, scale) {
    case .nothing: break
    case .offKernel(let stretch): thread.add(stretch)
    case .detail(let kind, let value):
      thread.open?.detail = (kind, value)
      if kind == .msr {
        let msr = UInt32(truncatingIfNeeded: value)
        thread.open?.control = governingControl(of: thread.machine.lastExit, msr: msr).control
      }
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
