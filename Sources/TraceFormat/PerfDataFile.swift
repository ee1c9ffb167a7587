/// A recording by `perf record` or `perf kvm stat record`: perf.data with a header or written to a pipe, packed or not
/// (tools/perf/Documentation/perf.data-file-format.txt, include/uapi/linux/perf_event.h).
///
/// A sample's raw data is the record that ftrace would have written, so sub-buffers are composed of them, one stream per
/// CPU, times as they are. perf writes one buffer after another: a stream's samples are put in order of time by the rule
/// perf has itself (after a round of draining all buffers, nothing older than the round before the last one comes). So
/// memory holds two rounds, and the list of where each CPU's samples are, which takes one pass over the file at the
/// start.
///
/// Nothing in the file is trusted. What is cut off or corrupt is left out and listed in `damage`; perf writes the event
/// formats last, so a file with a header that is cut off cannot be opened.
public final class PerfDataFile: RecordingSource {
  /// How such files begin: as they are, of the other byte order, and of before 2013. Only the first can be read.
  public static let marks = ["PERFILE2", "2ELIFREP", "PERFFILE"]

  public let formatName = "perf.data"
  public let metadata: TraceMetadata
  public let streams: [PageStream]
  public let texts: TraceFileTexts
  public let cpuCount: Int
  public let cpuStatistics: [String]
  public private(set) var damage: [TraceDamage]
  public var guests: [TraceGuest] { [] }

  private let scanner: PerfDataScanner
  private var states: [StreamState] = []
  private let page: UnsafeMutableRawBufferPointer
  private var regular: [Int: Bool] = [:]
  private var largeReported = false
  private var orderReported = false

  /// A sample or a loss, by its place.
  private struct Pending {
    var time: UInt64
    var offset: Int
  }

  private struct StreamState {
    var nextRun = 0
    /// From `head` on in order of time.
    var pending: [Pending] = []
    var head = 0
    var latest: UInt64 = 0
    /// Where the reading of a run goes on that was too large at once.
    var restart: Int?
    var writer: SubBufferWriter
    var lost: UInt64 = 0
    var handedOut: UInt64 = 0
  }

  /// No two rounds of one CPU come near; a file without rounds would be held in memory whole.
  private static let mostPending = 1 << 20
  private static let mostDamage = 1000

  /// Opens and maps a file, and looks at each of its records once.
  ///
  /// - Throws: If it cannot be read, is no perf.data file, lacks the event formats, or holds only a part of the events.
  public convenience init(path: String) throws(TraceFileError) {
    do throws(TraceFileError) {
      try self.init(storage: ByteStorage(mapping: path))
    } catch {
      var error = error
      error.path = path
      throw error
    }
  }

  /// Reads a file that is in memory.
  public convenience init(bytes: [UInt8]) throws(TraceFileError) {
    try self.init(storage: ByteStorage(copying: bytes))
  }

  private init(storage: ByteStorage) throws(TraceFileError) {
    var scanner = PerfDataScanner(storage: storage)
    try scanner.scan()
    self.scanner = scanner
    metadata = scanner.metadata
    texts = scanner.texts
    damage = scanner.damage
    cpuCount = scanner.cpuCount
    streams = scanner.streams.map { PageStream(cpu: $0.cpu) }
    cpuStatistics = scanner.streams.map {
      CPUBufferStatistics.text(cpu: $0.cpu, entries: $0.events, lost: $0.lost)
    }
    let layout = scanner.metadata.page
    page = .allocate(byteCount: layout.subBufferSize * max(1, scanner.streams.count), alignment: 16)
    states = scanner.streams.map { _ in StreamState(writer: SubBufferWriter(layout: layout)) }
  }

  private init(_ other: PerfDataFile) {
    (scanner, metadata, streams, texts) = (other.scanner, other.metadata, other.streams, other.texts)
    (cpuCount, cpuStatistics, damage) = (other.cpuCount, other.cpuStatistics, other.damage)
    let layout = metadata.page
    page = .allocate(byteCount: layout.subBufferSize * max(1, streams.count), alignment: 16)
    states = streams.map { _ in StreamState(writer: SubBufferWriter(layout: layout)) }
  }

  deinit { page.deallocate() }

  public func reopen() -> (any RecordingSource)? { PerfDataFile(self) }

  public func rewind() {
    states = streams.map { _ in StreamState(writer: SubBufferWriter(layout: metadata.page)) }
  }

  // MARK: - Going to a time

  /// Goes to the round of draining in which a time comes first: pages end where a round does, so that they are the same
  /// wherever reading began.
  public func seek(stream: Int, to time: UInt64?) {
    guard states.indices.contains(stream) else { return }
    states[stream] = StreamState(writer: SubBufferWriter(layout: metadata.page))
    let runs = scanner.streams[stream].runs
    guard let time, isRegular(stream) else { return }
    // When the first run of a round is loaded, all up to the end of the round before the last one was handed out.
    var place = runs.partitioningIndex(where: { $0.round >= 2 && scanner.roundMaxima[$0.round - 2] >= time }) - 1
    while place > 0, runs[place - 1].round == runs[place].round { place -= 1 }
    guard place > 0, runs[place].round >= 2 else { return }
    let round = runs[place].round
    var before = place
    while before > 0, runs[before - 1].round == round - 1 { before -= 1 }
    states[stream].nextRun = before
    if before < place { load(stream) }
    passOver(stream, through: scanner.roundMaxima[round - 2])
  }

  /// Takes what was handed out before out of what is pending.
  private func passOver(_ stream: Int, through limit: UInt64) {
    while states[stream].head < states[stream].pending.count {
      let item = states[stream].pending[states[stream].head]
      guard item.time <= limit else { return }
      states[stream].head += 1
      states[stream].handedOut = max(states[stream].handedOut, item.time)
      guard let record = scanner.record(at: item.offset, end: scanner.records.bytes.count, in: scanner.records.bytes)
      else { continue }
      // A loss belongs to the next page, unless samples came after it.
      states[stream].lost =
        PerfDataScanner.type(record) == PerfDataScanner.RecordType.lost
        ? states[stream].lost &+ UInt64(littleEndian: record.loadUnaligned(fromByteOffset: 16, as: UInt64.self)) : 0
    }
  }

  /// Whether two rounds surely fit in what is held at once. Where not, what is handed out when depends on all before.
  private func isRegular(_ stream: Int) -> Bool {
    if let known = regular[stream] { return known }
    var (round, bytes, largest) = (-1, 0, 0)
    for run in scanner.streams[stream].runs {
      bytes = run.round == round ? bytes + run.end - run.start : run.end - run.start
      round = run.round
      largest = max(largest, bytes)
    }
    // No record of interest is shorter than 24 bytes.
    let isRegular = largest / 24 < Self.mostPending / 2
    regular[stream] = isRegular
    return isRegular
  }

  public func timeBounds() -> (first: UInt64, last: UInt64)? {
    rewind()
    return scanner.bounds
  }

  public func nextPage(stream: Int) -> UnsafeRawBufferPointer? {
    guard states.indices.contains(stream) else { return nil }
    while true {
      guard let next = takePending(stream) else {
        // A page ends with its round, so that it is the same from wherever the stream is read.
        if !states[stream].writer.isEmpty { return handOut(stream, thenLost: 0) }
        guard states[stream].nextRun < scanner.streams[stream].runs.count else { break }
        load(stream)
        continue
      }
      guard
        let record = scanner.record(
          at: next.offset, end: scanner.records.bytes.count, in: scanner.records.bytes)
      else { continue }
      if PerfDataScanner.type(record) == PerfDataScanner.RecordType.lost {
        let lost = UInt64(littleEndian: record.loadUnaligned(fromByteOffset: 16, as: UInt64.self))
        if !states[stream].writer.isEmpty { return handOut(stream, thenLost: lost) }
        states[stream].lost &+= lost
        continue
      }
      guard let raw = scanner.layout(of: record)?.raw(record) else { continue }
      let payload = UnsafeRawBufferPointer(rebasing: record[raw])
      if states[stream].writer.append(timestamp: next.time, payload: payload) { continue }
      guard !states[stream].writer.isEmpty else {
        leaveOut(next.offset, payload.count)
        continue
      }
      let full = handOut(stream, thenLost: 0)
      if !states[stream].writer.append(timestamp: next.time, payload: payload) { leaveOut(next.offset, payload.count) }
      return full
    }
    if states[stream].lost == 0 { return nil }
    return handOut(stream, thenLost: 0)
  }

  /// Ends the page, and notes what was lost behind it.
  private func handOut(_ stream: Int, thenLost lost: UInt64) -> UnsafeRawBufferPointer {
    let before = states[stream].lost
    states[stream].lost = lost
    let bytes = states[stream].writer.finish(lost: before > 0 ? .events(before) : .none)
    let size = metadata.page.subBufferSize
    let target = UnsafeMutableRawBufferPointer(rebasing: page[stream * size..<(stream + 1) * size])
    target.copyBytes(from: bytes)
    return UnsafeRawBufferPointer(target)
  }

  /// The stream's next sample or loss in order of time, of those that were loaded.
  private func takePending(_ stream: Int) -> Pending? {
    guard states[stream].head < states[stream].pending.count else { return nil }
    let next = states[stream].pending[states[stream].head]
    guard next.time <= limit(stream) || states[stream].pending.count - states[stream].head >= Self.mostPending else {
      return nil
    }
    states[stream].head += 1
    if next.time < states[stream].handedOut, !orderReported {
      orderReported = true
      note(next.offset, "samples come later than all after them: their times are taken to be those")
    }
    states[stream].handedOut = max(states[stream].handedOut, next.time)
    return next
  }

  /// What comes later in the file is younger than this.
  private func limit(_ stream: Int) -> UInt64 {
    guard states[stream].restart == nil else { return 0 }
    let runs = scanner.streams[stream].runs
    guard states[stream].nextRun < runs.count else { return .max }
    let round = runs[states[stream].nextRun].round
    return round >= 2 ? scanner.roundMaxima[round - 2] : 0
  }

  /// Takes in the samples of the next round.
  private func load(_ stream: Int) {
    let runs = scanner.streams[stream].runs
    let bytes = scanner.records.bytes
    states[stream].pending.removeFirst(states[stream].head)
    states[stream].head = 0
    let round = runs[states[stream].nextRun].round
    while states[stream].nextRun < runs.count, runs[states[stream].nextRun].round == round {
      let run = runs[states[stream].nextRun]
      var position = states[stream].restart ?? run.start
      states[stream].restart = nil
      while let record = scanner.record(at: position, end: run.end, in: bytes) {
        if states[stream].pending.count >= 2 * Self.mostPending {
          states[stream].restart = position
          break
        }
        let start = position
        position += record.count
        switch PerfDataScanner.type(record) {
        case PerfDataScanner.RecordType.sample:
          guard let layout = scanner.layout(of: record), layout.raw(record) != nil, layout.time >= 0,
            layout.time <= record.count - 8
          else { continue }
          let time = UInt64(littleEndian: record.loadUnaligned(fromByteOffset: layout.time, as: UInt64.self))
          states[stream].latest = max(states[stream].latest, time)
          states[stream].pending.append(Pending(time: time, offset: start))
        case PerfDataScanner.RecordType.lost where record.count >= 24:
          // Its own time is that of the next sample or later: what was lost lies behind the samples before it.
          states[stream].pending.append(Pending(time: states[stream].latest, offset: start))
        default: break
        }
      }
      if states[stream].restart != nil { break }
      states[stream].nextRun += 1
    }
    states[stream].pending.sort { ($0.time, $0.offset) < ($1.time, $1.offset) }
  }

  private func leaveOut(_ offset: Int, _ size: Int) {
    guard !largeReported else { return }
    largeReported = true
    note(offset, "samples of \(size) bytes and more are left out: no page of \(metadata.page.subBufferSize) holds one")
  }

  private func note(_ offset: Int, _ message: String) {
    guard damage.count < Self.mostDamage else { return }
    damage.append(TraceDamage(offset: offset, message: message))
  }
}
