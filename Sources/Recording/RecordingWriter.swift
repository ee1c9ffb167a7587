import Architecture
import Glibc
import Synchronization
import Threads

/// Where a recording goes.
public enum RecordingTarget: Sendable, Hashable {
  /// A regular file.
  case file(path: String)
  /// An open pipe, socket or device; it stays open.
  case stream(descriptor: Int32)
}

/// How a recording is written.
public struct RecordingOptions: Sendable {
  /// Takes the place of a file that is there.
  public var overwrites = false
  /// Bytes that the recording may have on the disk; the oldest part is dropped as it goes on. Nil: no limit.
  public var largestSize: UInt64?
  /// How far back a recording need reach, in nanoseconds; older parts are dropped as it goes on. Nil: no limit.
  public var longestAge: UInt64?
  /// Bytes of pages that may wait to be written. What comes beyond is counted as dropped.
  public var queueLimit = 64 << 20
  public var compression = RecordingCompression.adaptive
  /// Nanoseconds between two calls of fdatasync(2).
  public var syncPeriod: UInt64 = 5_000_000_000

  public init() {}

  /// The smallest `largestSize`: a header, a keyframe and some pages must fit into an eighth of it.
  public static let smallestSize: UInt64 = 4 << 20
}

/// What a writer did so far.
public struct RecordingProgress: Sendable {
  /// The part that is written now, or was last; nil for a stream.
  public var path: String?
  /// Bytes written, parts dropped since included.
  public var written: UInt64 = 0
  /// Bytes on the disk now, all parts.
  public var kept: UInt64 = 0
  /// The same before packing.
  public var unpacked: UInt64 = 0
  /// Events in the pages written.
  public var events: UInt64 = 0
  /// Events in pages that were not taken or could not be written.
  public var dropped: UInt64 = 0
  /// Bytes of pages that wait.
  public var queued = 0
  /// Pages are being dropped now.
  public var isDegraded = false
  /// Parts that were dropped to keep the size or age.
  public var partsDropped: UInt32 = 0
  /// Parts there are now.
  public var parts: UInt32 = 1
  /// Why nothing is written any more. The file is whole up to there.
  public var failure: RecordingError?
  /// The reader of a pipe went away.
  public var hasReaderLeft = false

  public init() {}
}

/// Writes a recording. Nothing here waits for the disk or the pipe but `finish`: chunks are queued, and packed and
/// written by a thread of the writer's. One thread uses it.
public final class RecordingWriter {
  private let shared: WriterQueue
  private let options: RecordingOptions
  private let isFile: Bool
  private let packer = WorkerThread("writer")
  private let syncer = WorkerThread("sync")
  private var isRunning = false
  private var header: RecordingHeader
  private var states = StateEncoder()
  /// What a part must begin with, as it was written last.
  private var repeated: [ChunkKind: QueuedChunk] = [:]
  private var gap: OpenGap?
  /// CPUs whose next block follows one that was dropped.
  private var afterGap: Set<UInt32> = []
  private var writtenAtRepeat: UInt64 = 0
  private var partBegan: UInt64

  private struct OpenGap {
    var first: UInt64
    var last: UInt64
    var events: [UInt32: UInt64]
    /// The recording says that it began.
    var isTold = false
  }

  /// How many parts a recording with limits has at most.
  static let partsOfLimit: UInt64 = 8
  /// Bytes between two copies of the header.
  static let repeatDistance: UInt64 = 64 << 20
  /// The kinds whose newest chunk is repeated, in this order, behind the header.
  private static let repeatedKinds: [ChunkKind] = [.controls, .host, .words, .threadNames, .losses]

  /// Creates the file and its threads, and writes the header.
  ///
  /// - Throws: If the file is there, is being written by somebody else, or cannot be written.
  public init(
    to target: RecordingTarget, header: RecordingHeader, options: RecordingOptions = RecordingOptions()
  ) throws(RecordingError) {
    self.options = options
    var header = header
    if header.identity.isEmpty { header.identity = Self.randomBytes(16) }
    header.part = 1
    self.header = header
    partBegan = now()
    shared = try WriterQueue(limit: options.queueLimit)
    let thread: WriterThread
    switch target {
    case .file(let path):
      isFile = true
      try Self.clear(path, options)
      thread = WriterThread(shared, options, header.level, path: path)
      try thread.begin(FileOutput(path: path, overwrites: options.overwrites))
    case .stream(let descriptor):
      isFile = false
      thread = WriterThread(shared, options, header.level, path: nil)
      let shared = shared
      thread.begin(
        StreamOutput(descriptor: descriptor, stop: shared.stop.reading) { shared.state.withLock(\.isEnding) })
    }
    write(header, first: header.startedAt ?? 0)
    guard packer.start(thread.run) else { throw RecordingError("no thread for writing", errorNumber: EAGAIN) }
    isRunning = true
    // Without it the kernel writes back as it likes.
    if isFile { _ = syncer.start(thread.syncer.run) }
  }

  deinit { if isRunning { _ = finish() } }

  /// Parts of an older recording of the same name must not be taken for this one's.
  private static func clear(_ path: String, _ options: RecordingOptions) throws(RecordingError) {
    guard options.largestSize != nil || options.longestAge != nil else { return }
    for part in RecordingPath.parts(beside: path) {
      guard options.overwrites else { throw RecordingError("\(part.path) exists") }
      guard unlink(part.path) == 0 else { throw RecordingError("cannot remove \(part.path)", errorNumber: errno) }
    }
  }

  private static func randomBytes(_ count: Int) -> [UInt8] {
    var generator = SystemRandomNumberGenerator()
    return (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
  }

  // MARK: What is written

  public var progress: RecordingProgress { shared.state.withLock(\.progress) }

  /// Memory of blocks that were written, for new ones.
  public func spareMemory() -> [UInt8] { shared.state.withLock { $0.spare.popLast() ?? [] } }

  /// Queues a block of pages. Where the queue is full it is dropped, and the recording says so; so are those after it, until
  /// the queue has room again.
  ///
  /// - Parameter force: takes it even where there is no room, for pages that are in memory anyway.
  public func write(_ block: PageBlock, force: Bool = false) {
    var block = block
    if afterGap.contains(block.cpu) { block.isAfterGap = true }
    var flags = ChunkFlags(generation: header.generation)
    if block.isAfterGap { flags.insert(.afterGap) }
    let isTaken = shared.enqueue(
      QueuedChunk(
        kind: .pages, flags: flags, stream: block.cpu, first: block.first, last: block.last, events: block.events,
        bytes: block.bytes), force: force)
    if isTaken {
      afterGap.remove(block.cpu)
      if gap != nil { endGap() }
      return
    }
    afterGap.insert(block.cpu)
    var open = gap ?? OpenGap(first: block.first, last: block.last, events: [:])
    open.first = min(open.first, block.first)
    open.last = max(open.last, block.last)
    open.events[block.cpu, default: 0] &+= block.events
    gap = open
    tellGap()
  }

  /// Says that a gap began. False where there is no room even for that yet.
  @discardableResult
  private func tellGap() -> Bool {
    guard let gap, !gap.isTold else { return true }
    let record = GapRecord(isOpen: true)
    let isTold = shared.enqueue(
      QueuedChunk(kind: .gap, first: gap.first, last: gap.first, bytes: record.encoded()))
    self.gap?.isTold = isTold
    return isTold
  }

  /// Says what is missing. Where there is no room for that, it is said later.
  private func endGap() {
    guard let gap else { return }
    let cpus = gap.events.sorted { $0.key < $1.key }.map { GapRecord.CPU(cpu: $0.key, events: $0.value) }
    let record = GapRecord(isOpen: false, cpus: cpus)
    if shared.enqueue(QueuedChunk(kind: .gap, first: gap.first, last: gap.last, bytes: record.encoded())) {
      self.gap = nil
    }
  }

  /// Queues a record.
  ///
  /// - Parameters:
  ///   - first: the trace clock at which it was so, raw.
  ///   - last: the same at its end, for a record that spans time.
  public func write(_ record: some RecordingRecord, first: UInt64, last: UInt64? = nil) {
    let kind = type(of: record).kind
    // A watermark promises that what is missing before it is told.
    if kind == .clock, !tellGap() { return }
    var chunk = QueuedChunk(kind: kind, first: first, last: last ?? first, bytes: record.encoded())
    if kind == .header { chunk.stream = header.generation }
    if Self.repeatedKinds.contains(kind) { repeated[kind] = chunk }
    _ = shared.enqueue(chunk)
  }

  /// Queues what was counted in an interval. The bytes are the aggregator's own. False where there was no room for it: the
  /// next interval's should then have this one's in it.
  @discardableResult
  public func write(sums bytes: [UInt8], level: UInt32, first: UInt64, last: UInt64) -> Bool {
    shared.enqueue(QueuedChunk(kind: .sums, stream: level, first: first, last: last, bytes: bytes))
  }

  /// Queues what changed in the state of vCPUs; whole readings where a reader could not have the one before.
  ///
  /// - Parameter states: those of all vCPUs that are known now; one that is missing is gone.
  public func write(states: [VCPUReading], at time: UInt64) {
    if states.isEmpty, self.states.isEmpty { return }
    let bytes = self.states.encode(states)
    let chunk = QueuedChunk(kind: .state, stream: self.states.step, first: time, last: time, bytes: bytes)
    // A reader that misses one knows nothing until the next keyframe.
    if !shared.enqueue(chunk) { self.states.startAfresh() }
  }

  /// The events of the host changed: pages from here on follow another header. There are 256 at most.
  public func change(to header: RecordingHeader, at time: UInt64) {
    var header = header
    header.identity = self.header.identity
    header.part = self.header.part
    header.generation = self.header.generation &+ 1
    self.header = header
    write(header, first: time)
  }

  /// To be called every second or so, between blocks: begins a new part where it is time, and repeats what a reader of a
  /// damaged file, or of a late part, must know.
  public func maintain() {
    let progress = self.progress
    guard progress.failure == nil, !progress.hasReaderLeft else { return }
    let (partSize, partPath) = shared.state.withLock { ($0.partSize, $0.progress.path) }
    let isFull = options.largestSize.map { partSize >= $0 / Self.partsOfLimit } ?? false
    let isOld = options.longestAge.map { now() &- partBegan >= $0 / Self.partsOfLimit } ?? false
    if isFile, partPath != nil, isFull || isOld {
      header.part &+= 1
      partBegan = now()
      shared.beginPart(header.part)
    } else if progress.written &- writtenAtRepeat < Self.repeatDistance {
      return
    }
    writtenAtRepeat = progress.written
    write(header, first: header.startedAt ?? 0)
    for kind in Self.repeatedKinds {
      if let chunk = repeated[kind] { _ = shared.enqueue(chunk) }
    }
    states.startAfresh()
  }

  /// Writes what waits, the index and the end, and waits for that: for the disk as long as it takes, for the reader of a pipe
  /// some seconds.
  @discardableResult
  public func finish(commandStatus: UInt32? = nil) -> RecordingProgress {
    guard isRunning else { return progress }
    endGap()
    shared.end(commandStatus: commandStatus)
    packer.join()
    syncer.join()
    isRunning = false
    return progress
  }
}

/// A chunk that waits to be packed and written.
struct QueuedChunk: Sendable {
  var kind: ChunkKind
  var flags: ChunkFlags = []
  var stream: UInt32 = 0
  var first: UInt64 = 0
  var last: UInt64 = 0
  /// PAGES: how many there are in it.
  var events: UInt64 = 0
  var bytes: [UInt8]
  /// Not a chunk: the next part begins, with this number.
  var beginsPart: UInt32?
}

/// What the recording thread and the writing thread share.
final class WriterQueue: Sendable {
  struct State {
    var chunks: [QueuedChunk] = []
    /// Bytes of pages, and of all else, queued or being packed.
    var pageBytes = 0
    var otherBytes = 0
    var isEnding = false
    var commandStatus: UInt32?
    var spare: [[UInt8]] = []
    var partSize: UInt64 = 0
    var progress = RecordingProgress()
  }

  let state = Mutex(State())
  /// Something is queued.
  let bell = Bell()
  /// The writer is to end; never drained.
  let stop = Bell()
  private let limit: Int

  /// What is no page is small, and must be taken where pages are not. It has a bound too.
  private static let otherLimit = 16 << 20
  private static let mostSpare = 16

  init(limit: Int) throws(RecordingError) {
    self.limit = limit
    if !bell.isGood || !stop.isGood { throw RecordingError("no pipe to wake the writer", errorNumber: errno) }
  }

  /// Returns false where there is no room, or nothing is written any more.
  func enqueue(_ chunk: QueuedChunk, force: Bool = false) -> Bool {
    let isTaken = state.withLock { state -> Bool in
      let isOver = state.progress.failure != nil || state.progress.hasReaderLeft
      if chunk.kind == .pages {
        // Once it was full it takes pages again when there is room for many: one long gap tells more than many short ones.
        if state.progress.isDegraded, state.pageBytes <= limit / 4 { state.progress.isDegraded = false }
        if !force, state.pageBytes + chunk.bytes.count > limit { state.progress.isDegraded = true }
        guard !isOver, force || !state.progress.isDegraded else {
          state.progress.dropped &+= chunk.events
          recycle(chunk.bytes, &state)
          return false
        }
        state.pageBytes += chunk.bytes.count
        state.progress.queued = state.pageBytes
      } else {
        guard !isOver, state.otherBytes + chunk.bytes.count <= Self.otherLimit else { return false }
        state.otherBytes += chunk.bytes.count
      }
      state.chunks.append(chunk)
      return true
    }
    if isTaken { bell.ring() }
    return isTaken
  }

  private func recycle(_ bytes: [UInt8], _ state: inout State) {
    guard state.spare.count < Self.mostSpare else { return }
    var bytes = bytes
    bytes.removeAll(keepingCapacity: true)
    state.spare.append(bytes)
  }

  func beginPart(_ number: UInt32) {
    state.withLock { $0.chunks.append(QueuedChunk(kind: .header, bytes: [], beginsPart: number)) }
    bell.ring()
  }

  func end(commandStatus: UInt32?) {
    state.withLock { state in
      state.isEnding = true
      state.commandStatus = commandStatus
    }
    stop.ring()
    bell.ring()
  }

  /// Takes what is queued; `isOver` where nothing will come any more.
  func take() -> (chunks: [QueuedChunk], isOver: Bool) {
    state.withLock { state in
      defer { state.chunks = [] }
      return (state.chunks, state.chunks.isEmpty && state.isEnding)
    }
  }

  /// A chunk taken before is written, or was given up.
  func done(_ chunk: QueuedChunk) {
    state.withLock { state in
      if chunk.kind == .pages {
        state.pageBytes -= chunk.bytes.count
        state.progress.queued = state.pageBytes
        recycle(chunk.bytes, &state)
      } else {
        state.otherBytes -= chunk.bytes.count
      }
    }
  }
}

/// CLOCK_MONOTONIC in nanoseconds.
func now() -> UInt64 {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return UInt64(truncatingIfNeeded: time.tv_sec) &* 1_000_000_000 &+ UInt64(truncatingIfNeeded: time.tv_nsec)
}
