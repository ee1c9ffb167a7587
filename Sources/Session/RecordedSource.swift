import Aggregator
import Architecture
import HostFiles
import Recording
import TraceFormat

/// A recording of any format, as a time line and a screen need it: its events, and of a recording of ours what it knows besides.
///
/// Used by one thread at a time; `another` gives one for a second thread.
final class RecordedSource: SeekablePageSource {
  let description: SourceDescription
  /// Events lost by CPU in the whole recording by its recorder's own statistics, which know of those that no page tells.
  let lostByCPU: [Int: UInt64]
  /// The VMs that the recording tells without a time.
  let host: HostView?
  private let recording: any RecordingSource
  /// A recording of ours, which knows more than events.
  private let own: RecordedEvents?
  private let timed: [TimelineNote]
  private let selection: SessionOptions
  private var cached: (state: Int?, words: Int?, states: [Int32: VCPUReading], controls: HostControls?) =
    (nil, nil, [:], nil)
  /// Why sums of a summary are not counted: there is nothing else that could be.
  private var damageOfSums: [String] = []

  /// - Parameter path: nil for the bundled recording.
  init(_ recording: any RecordingSource, path: String?, isDemo: Bool = false, _ selection: SessionOptions) {
    self.recording = recording
    self.selection = selection
    own = recording as? RecordedEvents
    let threads = selection.threads(recording.metadata)
    var source: SourceDescription
    if let file = own?.file {
      source = SourceDescription(file.header)
      // Events that were counted and not recorded are not lost.
      lostByCPU = file.lostEvents(countsGaps: file.indices(of: .sums).isEmpty)
      host = nil
      timed = Self.notes(file, threads, selection.vcpus)
    } else {
      source = SourceDescription()
      source.kind = SourceDescription.Kind(rawValue: recording.formatName) ?? .traceDat
      lostByCPU = recording.lostByCPU
      host = HostView(recording.metadata, threads: threads)
      timed = []
    }
    if let uname = recording.metadata.uname?.split(separator: " "), uname.count >= 3 {
      source.hostName = source.hostName ?? String(uname[1])
      source.kernelRelease = source.kernelRelease ?? String(uname[2])
    }
    source.path = path
    source.isDemo = isDemo
    description = source
  }

  private init(_ recording: any RecordingSource, like other: RecordedSource) {
    self.recording = recording
    own = recording as? RecordedEvents
    (description, lostByCPU, host) = (other.description, other.lostByCPU, other.host)
    (timed, selection) = (other.timed, other.selection)
  }

  private static func notes(_ file: RecordingFile, _ threads: Set<Int32>?, _ vcpus: [UInt32]) -> [TimelineNote] {
    var notes = file.records(HostView.self).map { chunk, record in
      TimelineNote(time: chunk.first, content: .host(record.selected(threads: threads, vcpus: vcpus)))
    }
    notes += file.records(WordsRecord.self).map { TimelineNote(time: $0.first, content: .words($1.words)) }
    return notes.enumerated().sorted { ($0.element.time, $0.offset) < ($1.element.time, $1.offset) }.map(\.element)
  }

  var metadata: TraceMetadata { recording.metadata }
  var streams: [PageStream] { recording.streams }
  /// What was found damaged so far, a line each.
  var damage: [String] { recording.damage.map { "\($0)" } + damageOfSums }
  /// What there is to say about what is counted, a line each; no damage.
  var remarks: [String] { recording.notes }

  /// CLOCK_REALTIME less the trace clock in nanoseconds; nil where the recording does not tell.
  ///
  /// trace-cmd's OFFSET is that of any time base, DATE that of the wall clock: with the first, what lies after 2001 (10^18 ns) is one,
  /// since no other clock of a host gets there in thirty years.
  lazy var wallClockOffset: Int64? = {
    if let offset = recording.metadata.wallClockOffset { return offset }
    guard let offset = (recording as? TraceFile)?.timestampOffset, offset != 0, let bounds = recording.timeBounds()
    else { return nil }
    let first = Int64(clamping: recording.metadata.timeScale.nanoseconds(bounds.first))
    let (sum, overflow) = first.addingReportingOverflow(offset)
    return !overflow && sum > 1_000_000_000_000_000_000 ? offset : nil
  }()

  /// Raw timestamps of the first and the last event; nil where there is none.
  func timeBounds() -> (first: UInt64, last: UInt64)? { recording.timeBounds() }
  func nextPage(stream: Int) -> UnsafeRawBufferPointer? { recording.nextPage(stream: stream) }
  func seek(stream: Int, to time: UInt64?) { recording.seek(stream: stream, to: time) }
  /// A second reader of the same recording; nil where that cannot be had.
  func reopen() -> RecordedSource? { recording.reopen().map { RecordedSource($0, like: self) } }

  // MARK: - What a recording of ours knows besides

  /// The sums that the recording has, in order of their beginning, of all levels. Those of level 0 have what it takes to go on
  /// counting from their end. Empty: the time line counts for itself.
  var storedIntervals: [StoredInterval] {
    guard let file = own?.file else { return [] }
    // What was counted under an earlier header is not that of the pages that are read.
    let first = file.generations.count > 1 ? file.generations[file.generations.count - 1].first : 0
    return file.indices(of: .sums).compactMap { index in
      let header = file.chunks[index].header
      guard header.first >= first else { return nil }
      return StoredInterval(level: Int(header.stream), start: header.first, end: header.last, id: UInt64(index))
    }.sorted { $0.start < $1.start }
  }

  /// Nil where they are damaged.
  func sums(_ stored: StoredInterval) -> IntervalCounts? {
    guard let payload = own?.file.payload(Int(clamping: stored.id)) else { return nil }
    do {
      return try IntervalCounts(bytes: payload)
    } catch {
      let message = "a chunk SUMS is malformed: \(error)"
      if own?.file.header.level == .summary, !damageOfSums.contains(message) { damageOfSums.append(message) }
      return nil
    }
  }

  /// What was learned beside the events after one moment and up to another, in order of time.
  func notes(after: UInt64, through: UInt64) -> [TimelineNote] {
    let begin = after == 0 ? 0 : timed.partitioningIndex(where: { $0.time > after })
    let end = timed.partitioningIndex(where: { $0.time > through })
    return begin < end ? Array(timed[begin..<end]) : []
  }

  private lazy var stateSearch = own.map { StateSearch($0.file) }

  /// Where a part of a vCPU's recorded state is another one after a moment of the trace clock, raw, or was another one before.
  /// Nil where the recording has no state.
  func stateChange(of part: StatePart, thread: Int32, from moment: UInt64, forward: Bool) -> StateChange? {
    guard let file = own?.file, !file.indices(of: .state).isEmpty, let bounds = timeBounds() else { return nil }
    return stateSearch?.change(of: part, thread: thread, from: moment, forward: forward, in: bounds)
  }

  /// What was known of the vCPUs at a moment of the trace clock, raw; nil where the recording has nothing of the kind.
  func recorded(at moment: UInt64) -> RecordedMoment? {
    guard let file = own?.file else { return nil }
    var result = RecordedMoment()
    // The same chunk as before says the same as before.
    let state = file.lastIndex(of: .state, at: moment)
    if state != cached.state {
      cached.state = state
      cached.states = file.states(at: moment)?.byThread ?? [:]
      cached.controls = file.latest(ControlsRecord.self, at: moment)?.record.controls
    }
    result.states = cached.states
    result.hostControls = cached.controls
    for note in timed[..<timed.partitioningIndex(where: { $0.time > moment })].reversed() {
      guard case .words(let words) = note.content else { continue }
      result.words = words
      break
    }
    let header = file.header
    result.isClockMonotonic = header.clock == "mono"
    if result.isClockMonotonic {
      result.monotonic = moment
    } else if let pair = file.latest(ClockRecord.self, at: moment)?.record, let trace = pair.trace {
      let scale = header.timeScale
      result.monotonic =
        moment >= trace
        ? pair.monotonic &+ scale.nanoseconds(moment - trace)
        : pair.monotonic - min(pair.monotonic, scale.nanoseconds(trace - moment))
    }
    return result
  }
}

extension RecordedSource {
  /// An aggregator that stands before the first event, and knows what the recording tells without a time.
  func makeAggregator(_ options: AggregatorOptions) throws(AggregatorError) -> Aggregator {
    var aggregator = try Aggregator(metadata: metadata, options: options)
    aggregator.prepare(streams)
    if let host { aggregator.learn(host) }
    return aggregator
  }

  /// The same for who shows what it counts.
  func makeCounter(_ options: AggregatorOptions) throws(AggregatorError) -> Counter {
    Counter(try makeAggregator(options))
  }

  /// Goes to where an aggregator stands that was resumed; to the beginning for a new one.
  func seek(toWhere aggregator: borrowing Aggregator) {
    let pages = aggregator.pagesToResume
    for stream in streams.indices { seek(stream: stream, to: pages.indices.contains(stream) ? pages[stream] : nil) }
  }
}

extension SourceDescription {
  /// Where a recording of ours comes from. Names of another's making are made fit for a terminal.
  init(_ header: RecordingHeader) {
    self.init()
    kind = .vmctop
    hostName = header.hostName.map { sanitized($0) }
    kernelRelease = header.kernelRelease.map { sanitized($0) }
    backend = header.backend.map { sanitized($0) }
  }
}

extension Snapshot {
  /// Says where it comes from; of the source, what the events told stays.
  mutating func describe(_ source: SourceDescription) {
    let isa = self.source.isa
    self.source = source
    self.source.isa = isa
  }
}

extension HostView {
  /// The VMs of a recording that tells the processes of its threads. Their names are those of the processes.
  public init(_ metadata: TraceMetadata, threads: Set<Int32>? = nil) {
    var vms: [Int32: HostVM] = [:]
    for (thread, process) in metadata.processes.sorted(by: { $0.key < $1.key }) {
      guard threads?.contains(thread) ?? true else { continue }
      vms[process, default: HostVM(pid: process, vmm: metadata.commandNames[process].map { sanitized($0) })].vcpus
        .append(
          HostVCPU(id: nil, tid: thread, threadName: metadata.commandNames[thread].map { sanitized($0) }))
    }
    self.init(vms: vms.values.sorted { $0.pid < $1.pid })
  }

  /// Only some threads' and vCPUs': nil and empty for all.
  func selected(threads: Set<Int32>?, vcpus: [UInt32]) -> HostView {
    guard threads != nil || !vcpus.isEmpty else { return self }
    var selected = self
    for index in selected.vms.indices {
      selected.vms[index].vcpus.removeAll { vcpu in
        if let threads, !threads.contains(vcpu.tid) { return true }
        return !vcpus.isEmpty && !(vcpu.id.map { vcpus.contains($0) } ?? false)
      }
    }
    selected.vms.removeAll(where: \.vcpus.isEmpty)
    return selected
  }
}

extension SessionOptions {
  /// The threads to count of a recording: those named, and those of the processes named; nil for all.
  public func threads(_ metadata: TraceMetadata) -> Set<Int32>? {
    if processes.isEmpty { return nil }
    var threads = Set(processes)
    for (thread, process) in metadata.processes where threads.contains(process) { threads.insert(thread) }
    return threads
  }
}
