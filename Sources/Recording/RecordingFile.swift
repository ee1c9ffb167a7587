import Glibc
import TraceFormat

/// A recording by `vmctop record`: one file, or the parts of one that rotated.
///
/// Opening reads the index at the end, or, where that is missing or wrong, the headers of the chunks; payloads are read
/// when they are asked for. Nothing in the file is trusted: a chunk counts only where both of its checksums are right, and
/// what is missing is listed in `damage`. One thread uses it.
public final class RecordingFile {
  /// How the last file ends.
  public enum Ending: Sendable, Hashable {
    /// As it should.
    case whole(EndRecord)
    /// It is being written now.
    case beingWritten
    /// Its writer did not come to end it: what was written until then is there.
    case cutOff
  }

  /// What was recorded under one header.
  public struct Generation: Sendable {
    public var number: UInt32
    public var header: RecordingHeader
    /// When it began, on the trace clock, raw.
    public var first: UInt64
  }

  /// The file's version of the format.
  public static var version: UInt32 { RecordingPrefix.version }

  public let ending: Ending
  /// All chunks, in the order in which they were written.
  public let chunks: [IndexedChunk]
  /// One, unless the host's events changed while it was recorded.
  public let generations: [Generation]
  /// The files, oldest first.
  public let paths: [String]
  /// Parts that were left out. It grows while payloads are read.
  public private(set) var damage: [TraceDamage] = []
  /// True where an index was used for every file: nothing else was looked at.
  public let isIndexed: Bool

  private let parts: [RecordingPart]
  private let decompressor = ChunkDecompressor()
  private let places: [ChunkKind: [Int]]
  private var reported: Set<TraceDamage> = []
  private static let mostDamageListed = 1000

  /// The newest generation's header.
  public var header: RecordingHeader { generations[generations.count - 1].header }

  /// Opens a recording; of one that rotated, by its own name, all the parts there are.
  ///
  /// - Throws: If it cannot be read, is no recording, or no copy of its header is left.
  public init(path: String) throws(RecordingError) {
    let main = try RecordingPart(path: path)
    var found = [(main, Self.scan(main))]
    let own = Self.firstHeader(main, found[0].1.chunks)
    if let own, own.part > 1 {
      for sibling in RecordingPath.parts(beside: path).reversed() where sibling.number < own.part {
        guard let part = try? RecordingPart(path: sibling.path) else { continue }
        let scan = Self.scan(part)
        guard let header = Self.firstHeader(part, scan.chunks), header.identity == own.identity else { continue }
        found.insert((part, scan), at: 0)
      }
    }
    parts = found.map(\.0)
    paths = parts.map(\.path)
    let last = found.count - 1
    if let end = found[last].1.end {
      ending = .whole(end)
    } else if FileOutput.isBeingWritten(found[last].0.descriptor) {
      ending = .beingWritten
      // What is being written now is not whole yet, and no damage.
      let tornFrom = found[last].1.tornFrom
      found[last].1.damage.removeAll { $0.offset >= tornFrom }
    } else {
      ending = .cutOff
    }
    var chunks: [IndexedChunk] = []
    var damage: [TraceDamage] = []
    for (index, (part, scan)) in found.enumerated() {
      damage += scan.damage.map {
        found.count > 1 ? TraceDamage(offset: $0.offset, message: "\(part.path): \($0.message)") : $0
      }
      for (place, chunk) in scan.chunks.enumerated() {
        var chunk = chunk
        chunk.part = index
        if place == 0, let last = chunks.last, chunk.header.sequence != last.header.sequence &+ 1 {
          chunk.followsDamage = true
          damage.append(
            TraceDamage(offset: 0, message: "\(part.path): what was recorded before this part is missing"))
        }
        chunks.append(chunk)
      }
    }
    self.chunks = chunks
    isIndexed = found.allSatisfy(\.1.isIndexed)
    var places: [ChunkKind: [Int]] = [:]
    for (index, chunk) in chunks.enumerated() { places[chunk.header.kind, default: []].append(index) }
    self.places = places
    // Any copy of a header is as good as the first.
    var generations: [UInt32: Generation] = [:]
    for index in places[.header] ?? [] where generations[chunks[index].header.stream] == nil {
      let chunk = chunks[index]
      guard let payload = parts[chunk.part].payload(chunk, decompressor),
        let header = try? RecordingHeader(decoding: payload)
      else { continue }
      generations[chunk.header.stream] = Generation(
        number: chunk.header.stream, header: header, first: chunk.header.first)
    }
    self.generations = generations.values.sorted { $0.number < $1.number }
    guard !self.generations.isEmpty else {
      throw RecordingError(
        chunks.isEmpty ? "\(path): not a recording of vmctop" : "\(path): the header of the recording is lost",
        code: chunks.isEmpty ? .notARecording : .damaged)
    }
    for item in damage { note(item) }
  }

  /// A second reader of the same files, for another thread.
  init(_ other: RecordingFile) {
    (ending, chunks, generations, paths) = (other.ending, other.chunks, other.generations, other.paths)
    (isIndexed, parts, places) = (other.isIndexed, other.parts, other.places)
    for item in other.damage { note(item) }
  }

  // MARK: What there is

  /// The chunks of a kind, as indices of `chunks`.
  public func indices(of kind: ChunkKind) -> [Int] { places[kind] ?? [] }

  /// The trace clock, raw, at the first and the last of what was recorded; nil where nothing was.
  public var timeBounds: (first: UInt64, last: UInt64)? {
    for kinds in [[ChunkKind.pages, .sums], [.clock, .host, .words, .state]] {
      var bounds: (first: UInt64, last: UInt64)?
      for kind in kinds {
        for index in indices(of: kind) where chunks[index].header.last > 0 {
          let header = chunks[index].header
          // The first sums begin before all events.
          let first = kind == .sums && header.first == 0 ? self.header.startedAt ?? header.last : header.first
          bounds = (min(bounds?.first ?? .max, first), max(bounds?.last ?? 0, header.last))
        }
      }
      if let bounds { return bounds }
    }
    return nil
  }

  /// The payload of a chunk, unpacked; nil, and noted in `damage`, where it is damaged.
  public func payload(_ index: Int) -> [UInt8]? {
    guard chunks.indices.contains(index) else { return nil }
    let chunk = chunks[index]
    if let payload = parts[chunk.part].payload(chunk, decompressor) { return payload }
    noteDamage(chunk, "a chunk \(chunk.header.kind) is damaged")
    return nil
  }

  fileprivate func noteDamage(_ chunk: IndexedChunk, _ message: String) {
    note(
      TraceDamage(
        offset: Int(clamping: chunk.offset), message: parts.count > 1 ? "\(paths[chunk.part]): \(message)" : message))
  }

  private func note(_ item: TraceDamage) {
    guard damage.count < Self.mostDamageListed, reported.insert(item).inserted else { return }
    damage.append(item)
  }

  /// The value of a chunk; nil, and noted in `damage`, where it is damaged.
  public func record<R: RecordingRecord>(_ type: R.Type, _ index: Int) -> R? {
    guard chunks.indices.contains(index), chunks[index].header.kind == R.kind, let payload = payload(index) else {
      return nil
    }
    do { return try R(decoding: payload) } catch {
      noteDamage(chunks[index], error.message)
      return nil
    }
  }

  /// The values of a kind that are of a span of the trace clock, raw, in their order. Copies are left out.
  public func records<R: RecordingRecord>(
    _ type: R.Type, in range: ClosedRange<UInt64> = 0...UInt64.max
  ) -> [(chunk: ChunkHeader, record: R)] {
    var result: [(chunk: ChunkHeader, record: R)] = []
    for index in indices(of: R.kind) {
      let header = chunks[index].header
      guard header.first <= range.upperBound, header.last >= range.lowerBound else { continue }
      // A copy has the times of the original; nothing else of a kind is twice at one time.
      if let last = result.last, last.chunk.first == header.first, last.chunk.last == header.last,
        last.chunk.rawLength == header.rawLength
      {
        continue
      }
      if let record = record(R.self, index) { result.append((header, record)) }
    }
    return result
  }

  /// What was known last at a moment of the trace clock, raw: the newest value that began at or before it.
  public func latest<R: RecordingRecord>(_ type: R.Type, at time: UInt64 = .max) -> (chunk: ChunkHeader, record: R)? {
    for index in indices(of: R.kind).reversed() where chunks[index].header.first <= time {
      if let record = record(R.self, index) { return (chunks[index].header, record) }
    }
    return nil
  }

  /// The index, in `chunks`, of the last chunk of a kind that began at or before a moment of the trace clock, raw.
  public func lastIndex(of kind: ChunkKind, at time: UInt64) -> Int? {
    indices(of: kind).last { chunks[$0].header.first <= time }
  }

  /// The state of the vCPUs as it was read last at a moment of the trace clock, raw; nil where nothing is known.
  public func states(at time: UInt64 = .max) -> StateDecoder? {
    let places = indices(of: .state)
    guard let last = places.lastIndex(where: { chunks[$0].header.first <= time }) else { return nil }
    guard let keyframe = places[...last].lastIndex(where: { chunks[$0].header.stream == 0 }) else { return nil }
    var decoder = StateDecoder()
    for index in places[keyframe...last] {
      guard let payload = payload(index) else { continue }
      do { try decoder.decode(payload) } catch { noteDamage(chunks[index], error.message) }
    }
    return decoder.isKnown ? decoder : nil
  }

  /// The chunks SUMS of a level, as indices of `chunks`, in order of time, that lie wholly in a span of the trace clock.
  public func sums(level: UInt32, in range: ClosedRange<UInt64> = 0...UInt64.max) -> [Int] {
    indices(of: .sums).filter {
      let header = chunks[$0].header
      return header.stream == level && header.first >= range.lowerBound && header.last <= range.upperBound
    }
  }

  /// Events lost on each CPU in a span of the trace clock: by the ring buffers' own counters as they were recorded last
  /// before its ends, and in pages that were not recorded. Damage is not in it: `RecordingPages` says where it is.
  ///
  /// - Parameter countsGaps: false for the buffers' own losses alone.
  public func lostEvents(
    in range: ClosedRange<UInt64> = 0...UInt64.max, countsGaps: Bool = true
  ) -> [Int: UInt64] {
    var lost: [Int: UInt64] = [:]
    let start = range.lowerBound == 0 ? nil : latest(LossRecord.self, at: range.lowerBound - 1)?.record
    let before = Dictionary(
      (start?.cpus ?? []).map { ($0.cpu, $0.lost) }, uniquingKeysWith: { max($0, $1) })
    for cpu in latest(LossRecord.self, at: range.upperBound)?.record.cpus ?? [] {
      let known = before[cpu.cpu] ?? 0
      if cpu.lost > known { lost[Int(cpu.cpu), default: 0] &+= cpu.lost - known }
    }
    for (_, gap) in countsGaps ? records(GapRecord.self, in: range) : [] where !gap.isOpen {
      for cpu in gap.cpus where cpu.events > 0 { lost[Int(cpu.cpu), default: 0] &+= cpu.events }
    }
    return lost
  }

  /// The pages of a span of the trace clock, raw: those that may have an event in it, and of each CPU all between them.
  ///
  /// - Parameter generation: whose; the newest without.
  /// - Throws: If the header's page layout is not understood.
  public func pages(
    in range: ClosedRange<UInt64> = 0...UInt64.max, generation: UInt32? = nil
  ) throws(RecordingError) -> RecordingPages {
    let wanted = generations.last { generation == nil || $0.number == generation } ?? generations[generations.count - 1]
    return RecordingPages(self, wanted, try wanted.header.pageLayout(), range)
  }

  /// The names of threads that were saved last.
  public var commandNames: [Int32: String] { latest(ThreadNamesRecord.self)?.record.names ?? [:] }
}

/// The pages of a span of a recording. As long as it lives it holds its file open.
public final class RecordingPages: SeekablePageSource {
  public let streams: [PageStream]
  public let layout: PageLayout
  private let file: RecordingFile
  private let range: ClosedRange<UInt64>
  private var states: [StreamState]
  private var memory: [UnsafeMutableRawBufferPointer]

  private struct StreamState {
    var run: PageRun
    /// Indices of chunks, in order.
    var chunks: [Int]
    var next = 0
    /// Index of the chunk before the next one: damage between them is a gap.
    var previous = -1
  }

  fileprivate init(
    _ file: RecordingFile, _ generation: RecordingFile.Generation, _ layout: PageLayout, _ range: ClosedRange<UInt64>
  ) {
    self.file = file
    self.layout = layout
    self.range = range
    var chunks: [UInt32: [Int]] = [:]
    for index in file.indices(of: .pages) {
      let header = file.chunks[index].header
      guard header.flags.generation == generation.number & 0xff else { continue }
      chunks[header.stream, default: []].append(index)
    }
    let cpus = chunks.keys.sorted()
    streams = cpus.map { PageStream(cpu: Int($0)) }
    memory = []
    states = []
    for cpu in cpus {
      let page = UnsafeMutableRawBufferPointer.allocate(byteCount: layout.subBufferSize, alignment: 16)
      memory.append(page)
      states.append(StreamState(run: PageRun(layout: layout, page: page), chunks: chunks[cpu] ?? []))
    }
    damaged = file.chunks.indices.filter { file.chunks[$0].followsDamage }
  }

  /// Indices of chunks before which others are missing.
  private let damaged: [Int]

  deinit { for page in memory { page.deallocate() } }

  /// Starts again from the first page of every stream. Pages handed out before are no longer valid.
  public func rewind() { for stream in states.indices { seek(stream: stream, to: nil) } }

  /// Goes to the beginning of a chunk: its pages are unpacked together.
  public func seek(stream: Int, to time: UInt64?) {
    guard states.indices.contains(stream) else { return }
    states[stream].run.take([])
    states[stream].run.isAfterGap = false
    // What begins at the same time may have begun in the chunk before.
    let later = time.map { time in
      states[stream].chunks.partitioningIndex(where: { file.chunks[$0].header.first >= time })
    }
    states[stream].next = max(0, (later ?? 0) - 1)
    states[stream].previous = states[stream].next > 0 ? states[stream].chunks[states[stream].next - 1] : -1
  }

  public func nextPage(stream: Int) -> UnsafeRawBufferPointer? {
    guard states.indices.contains(stream) else { return nil }
    while true {
      if let page = states[stream].run.next(in: range) { return page }
      if states[stream].run.isMalformed, states[stream].previous >= 0 {
        file.noteDamage(file.chunks[states[stream].previous], "a chunk PAGES has pages of impossible lengths")
        states[stream].run.take([])
      }
      guard load(stream) else { return nil }
    }
  }

  /// Takes the next chunk of a stream that may have something in the range. False at the end.
  private func load(_ stream: Int) -> Bool {
    while states[stream].next < states[stream].chunks.count {
      let index = states[stream].chunks[states[stream].next]
      states[stream].next += 1
      let previous = states[stream].previous
      let header = file.chunks[index].header
      // Before the range, or after it: times of a file that lies are no worse than its pages.
      if header.last < range.lowerBound {
        states[stream].previous = index
        continue
      }
      if header.first > range.upperBound { continue }
      let isGap = header.flags.contains(.afterGap) || isDamaged(after: previous, through: index)
      states[stream].previous = index
      guard let payload = file.payload(index) else {
        states[stream].run.isAfterGap = true
        continue
      }
      if isGap { states[stream].run.isAfterGap = true }
      states[stream].run.take(payload)
      return true
    }
    return false
  }

  /// Whether chunks are missing between two of a stream; before its first one, where they would be in the range.
  private func isDamaged(after previous: Int, through index: Int) -> Bool {
    // The first damaged place behind `previous`.
    let place = damaged.partitioningIndex(where: { $0 > previous })
    return place < damaged.count && damaged[place] <= index
  }
}
