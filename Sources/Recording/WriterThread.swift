import CRecording
import Glibc
import Synchronization

/// The thread that packs and writes. All but `run` of it is used before that only.
final class WriterThread: @unchecked Sendable {
  private let queue: WriterQueue
  private let options: RecordingOptions
  private let path: String?
  private let level: RecordingLevel
  private let compressor = ChunkCompressor()
  let syncer: FileSyncer
  private var output: (any RecordingOutput)?
  private var file: FileOutput?
  private let recording = UInt32.random(in: 1...UInt32.max)
  private var sequence: UInt32 = 0
  /// Of the part being written: its chunks, and what went out of it.
  private var headers: [ChunkHeader] = []
  private var offset: UInt64 = 0
  /// What goes out with the next write.
  private var batch: [UInt8] = []
  private var waiting: [(chunk: QueuedChunk, header: ChunkHeader, end: Int)] = []
  /// Closed parts, oldest first.
  private var parts: [ClosedPart] = []
  /// How long packing and writing took lately, in nanoseconds.
  private var packing = 1.0
  private var writing = 1.0

  private struct ClosedPart {
    var path: String
    var size: UInt64
    /// CLOCK_MONOTONIC when its last chunk was written.
    var ended: UInt64
  }

  /// Of zstd, by what it costs: docs/performance.md. Nothing between it and none is worth having.
  private static let usualLevel: Int32 = 1
  /// As much is written at once as is there, up to this.
  private static let fullBatch = 4 << 20

  init(_ queue: WriterQueue, _ options: RecordingOptions, _ level: RecordingLevel, path: String?) {
    self.queue = queue
    self.options = options
    self.level = level
    self.path = path
    syncer = FileSyncer(period: options.syncPeriod)
  }

  func begin(_ file: FileOutput) throws(RecordingError) {
    self.file = file
    begin(file as any RecordingOutput)
    syncer.follow(file.descriptor)
    queue.state.withLock { $0.progress.path = file.path }
    if !flush(), let failure = queue.state.withLock(\.progress.failure) { throw failure }
  }

  func begin(_ output: any RecordingOutput) {
    self.output = output
    headers = []
    offset = 0
    batch = RecordingPrefix.encoded(level)
  }

  @Sendable func run() {
    while true {
      let (chunks, isOver) = queue.take()
      if isOver { break }
      for chunk in chunks {
        if let number = chunk.beginsPart {
          beginPart(number)
          continue
        }
        pack(chunk)
        if batch.count >= Self.fullBatch { flush() }
      }
      flush()
      if chunks.isEmpty {
        dropOldParts(room: 0)
        wait()
      }
    }
    end(.asked)
    syncer.stop()
    output = nil
    file = nil
  }

  /// Waits for chunks, the end, or the reader of a pipe to go.
  private func wait() {
    let hasLeft = queue.state.withLock(\.progress.hasReaderLeft)
    var set = [
      pollfd(fd: queue.bell.reading, events: Int16(POLLIN), revents: 0),
      pollfd(fd: hasLeft ? -1 : output?.watched ?? -1, events: 0, revents: 0),
    ]
    guard poll(&set, 2, 1000) > 0 else { return }
    if set[0].revents != 0 { queue.bell.drain() }
    if set[1].revents & Int16(POLLERR | POLLHUP | POLLNVAL) != 0 {
      queue.state.withLock { $0.progress.hasReaderLeft = true }
    }
  }

  // MARK: Chunks

  /// Zstd's level now, nil for none: where packing, and not writing, is what the queue waits for.
  private var packingLevel: Int32? {
    switch options.compression {
    case .none: return nil
    case .level(let level): return level
    case .adaptive:
      let filled = Double(queue.state.withLock(\.pageBytes)) / Double(max(1, options.queueLimit))
      return filled > 0.5 && packing > writing ? nil : Self.usualLevel
    }
  }

  private func pack(_ chunk: QueuedChunk) {
    let started = now()
    let start = batch.count
    batch.append(contentsOf: repeatElement(0, count: ChunkHeader.size))
    var flags = chunk.flags
    chunk.bytes.withUnsafeBytes { bytes in
      if let packingLevel, compressor.pack(bytes, level: packingLevel, into: &batch) {
        flags.insert(.zstd)
      } else {
        batch.append(contentsOf: bytes)
      }
    }
    let payload = start + ChunkHeader.size
    let checksum = batch.withUnsafeBytes { crc32c(UnsafeRawBufferPointer(rebasing: $0[payload...])) }
    let header = ChunkHeader(
      kind: chunk.kind, flags: flags, storedLength: UInt32(truncatingIfNeeded: batch.count - payload),
      rawLength: UInt32(truncatingIfNeeded: chunk.bytes.count), stream: chunk.stream, first: chunk.first,
      last: chunk.last, recording: recording, sequence: sequence, payloadChecksum: checksum)
    sequence &+= 1
    batch.replaceSubrange(start..<payload, with: header.encoded)
    waiting.append((chunk, header, batch.count))
    packing += Double(now() &- started)
  }

  /// Writes the batch. False where that failed, now or before.
  @discardableResult
  private func flush() -> Bool {
    defer {
      for item in waiting { queue.done(item.chunk) }
      waiting = []
      batch.removeAll(keepingCapacity: true)
    }
    let isOver = queue.state.withLock { $0.progress.failure != nil || $0.progress.hasReaderLeft }
    guard !isOver, let output else {
      drop(waiting[...])
      return false
    }
    guard !batch.isEmpty else { return true }
    dropOldParts(room: UInt64(batch.count))
    let started = now()
    let (count, failure) = batch.withUnsafeBytes { output.write($0) }
    writing += Double(now() &- started)
    // Of the last ten batches or so.
    (packing, writing) = (packing * 0.9, writing * 0.9)
    // What is whole stays. A file is cut behind it, so that it does not even look torn.
    let whole = failure == 0 ? waiting.count : waiting.firstIndex { $0.end > count } ?? waiting.count
    let end = failure == 0 ? batch.count : whole == 0 ? 0 : waiting[whole - 1].end
    headers += waiting[..<whole].map(\.header)
    offset &+= UInt64(end)
    if failure != 0 { file?.cut(to: offset) }
    let closed = parts.reduce(0) { $0 &+ $1.size }
    queue.state.withLock { state in
      state.progress.written &+= UInt64(end)
      state.partSize = offset
      state.progress.kept = closed &+ offset
      for item in waiting[..<whole] {
        state.progress.unpacked &+= UInt64(item.chunk.bytes.count)
        state.progress.events &+= item.chunk.events
      }
      if failure == EPIPE || failure == ECONNRESET {
        state.progress.hasReaderLeft = true
      } else if failure != 0 {
        let what = file.map { "cannot write to \($0.path)" } ?? "cannot write the recording"
        state.progress.failure =
          failure == ETIMEDOUT
          ? RecordingError("the reader takes nothing any more: its copy of the recording is cut off")
          : RecordingError(what, errorNumber: failure)
      }
    }
    drop(waiting[whole...])
    if let file { syncer.noteWrite(to: file.descriptor) }
    return failure == 0
  }

  private func drop(_ items: ArraySlice<(chunk: QueuedChunk, header: ChunkHeader, end: Int)>) {
    // Numbers are for what is in the file: the end is to follow what was written last.
    if let first = items.first { sequence = first.header.sequence }
    let events = items.reduce(0) { $0 &+ $1.chunk.events }
    if events > 0 { queue.state.withLock { $0.progress.dropped &+= events } }
  }

  // MARK: Parts

  /// Ends the part with its index. Where the disk is full there may be no room for that, but for the end alone.
  private func end(_ reason: EndRecord.Reason) {
    flush()
    let (failure, hasLeft, dropped, status) = queue.state.withLock { state in
      (state.progress.failure, state.progress.hasReaderLeft, state.progress.dropped, state.commandStatus)
    }
    guard !hasLeft, let output else { return }
    if failure != nil, file == nil { return }
    let (indexOffset, firstNumber) = (offset, sequence)
    for hasIndex in [true, false] {
      sequence = firstNumber
      batch.removeAll(keepingCapacity: true)
      waiting = []
      if hasIndex {
        pack(QueuedChunk(kind: .index, bytes: ChunkIndex.encode(headers)))
      }
      let record = EndRecord(
        indexDistance: hasIndex ? UInt64(batch.count) : 0, startDistance: indexOffset &+ UInt64(batch.count),
        reason: failure == nil ? reason : .failed, commandStatus: reason == .continued ? nil : status, dropped: dropped)
      packPlain(record)
      let (count, error) = batch.withUnsafeBytes { output.write($0) }
      if error == 0 {
        offset &+= UInt64(count)
        break
      }
      file?.cut(to: indexOffset)
      if error == EPIPE || error == ECONNRESET {
        queue.state.withLock { $0.progress.hasReaderLeft = true }
        break
      }
      if failure == nil, let file, !hasIndex {
        queue.state.withLock {
          $0.progress.failure = RecordingError("cannot write to \(file.path)", errorNumber: error)
        }
      }
    }
    let closed = parts.reduce(0) { $0 &+ $1.size }
    queue.state.withLock { state in
      state.progress.written &+= offset &- indexOffset
      state.progress.kept = closed &+ offset
    }
    batch.removeAll(keepingCapacity: true)
    waiting = []
  }

  /// Not packed, so that its size is known to those who look for it from the end.
  private func packPlain(_ record: EndRecord) {
    let bytes = record.encoded()
    let header = ChunkHeader(
      kind: .end, storedLength: UInt32(bytes.count), rawLength: UInt32(bytes.count), recording: recording,
      sequence: sequence, payloadChecksum: bytes.withUnsafeBytes { crc32c($0) })
    sequence &+= 1
    batch.append(contentsOf: header.encoded)
    batch.append(contentsOf: bytes)
  }

  /// Ends this part and begins the next under the recording's name. At every moment there is a file of that name, and
  /// each part that is there is whole up to its last chunk.
  private func beginPart(_ number: UInt32) {
    guard flush(), let path, let old = file else { return }
    let name = RecordingPath.part(number &- 1, of: path)
    do throws(RecordingError) {
      // Whatever else has that name is not ours; better to end here than to destroy it.
      let next = try FileOutput(path: name, overwrites: false)
      end(.continued)
      guard queue.state.withLock(\.progress.failure) == nil else {
        unlink(name)
        return
      }
      guard Self.exchange(path, name) else {
        throw RecordingError("cannot rename \(path) to \(name)", errorNumber: errno)
      }
      parts.append(ClosedPart(path: name, size: offset, ended: now()))
      syncer.retire(old.descriptor)
      begin(next as any RecordingOutput)
      file = next
      syncer.follow(next.descriptor)
      let count = UInt32(truncatingIfNeeded: parts.count + 1)
      queue.state.withLock { state in
        state.partSize = 0
        state.progress.parts = count
      }
    } catch {
      queue.state.withLock { $0.progress.failure = error }
    }
  }

  /// Swaps two names in one step (renameat2(2), RENAME_EXCHANGE); where the file system cannot, in two, between which the
  /// recording has only its parts' names.
  private static func exchange(_ path: String, _ name: String) -> Bool {
    if crecording_exchange(path, name) == 0 { return true }
    let interim = "\(name).new"
    guard rename(name, interim) == 0 else { return false }
    return rename(path, name) == 0 && rename(interim, path) == 0
  }

  /// Removes the oldest parts while all of them with so many bytes more would be too large, or they are too old.
  private func dropOldParts(room: UInt64) {
    var dropped: UInt32 = 0
    while let oldest = parts.first {
      let size = parts.reduce(offset &+ room) { $0 &+ $1.size }
      let isTooLarge = options.largestSize.map { size > $0 } ?? false
      let isTooOld = options.longestAge.map { now() &- oldest.ended > $0 } ?? false
      guard isTooLarge || isTooOld else { break }
      unlink(oldest.path)
      parts.removeFirst()
      dropped += 1
    }
    guard dropped > 0 else { return }
    let (count, kept) = (UInt32(truncatingIfNeeded: parts.count + 1), parts.reduce(offset) { $0 &+ $1.size })
    queue.state.withLock { state in
      state.progress.partsDropped += dropped
      state.progress.parts = count
      state.progress.kept = kept
    }
  }
}

/// Brings to the disk what was written, every few seconds, on a thread of its own: it may take long, and nobody is to
/// wait for it.
final class FileSyncer: Sendable {
  private struct State {
    /// Duplicates of the descriptors of the part being written, and of those that are done.
    var current: Int32 = -1
    var retired: [Int32] = []
    var isDirty = false
    var isStopped = false
  }

  private let state = Mutex(State())
  private let bell = Bell()
  private let period: UInt64

  init(period: UInt64) { self.period = period }

  deinit {
    state.withLock { state in
      for descriptor in state.retired + [state.current] where descriptor >= 0 { close(descriptor) }
    }
  }

  /// A file is being written from now on.
  func follow(_ descriptor: Int32) {
    let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
    state.withLock { $0.current = copy }
  }

  /// The file written until now is done.
  func retire(_ descriptor: Int32) {
    state.withLock { state in
      if state.current >= 0 { state.retired.append(state.current) }
      state.current = -1
    }
  }

  func noteWrite(to descriptor: Int32) { state.withLock { $0.isDirty = true } }

  func stop() {
    state.withLock { $0.isStopped = true }
    bell.ring()
  }

  @Sendable func run() {
    var isStopped = false
    while !isStopped {
      var set = pollfd(fd: bell.reading, events: Int16(POLLIN), revents: 0)
      poll(&set, 1, Int32(clamping: period / 1_000_000))
      let (retired, current): ([Int32], Int32)
      (retired, current, isStopped) = state.withLock { state in
        defer {
          state.retired = []
          state.isDirty = false
        }
        return (state.retired, state.isDirty || state.isStopped ? state.current : -1, state.isStopped)
      }
      for descriptor in retired {
        fdatasync(descriptor)
        close(descriptor)
      }
      if current >= 0 { fdatasync(current) }
    }
  }
}
