import Architecture
import TraceFormat

/// Opens a recording of any of the formats.
///
/// - Throws: If it cannot be read, is of no known format, or lacks what is needed to read any event.
public func openRecording(path: String) throws(TraceFileError) -> any RecordingSource {
  switch try RecordingFormat.of(path: path) {
  case .perfData: return try PerfDataFile(path: path)
  case .vmctop: return try RecordedEvents(path: path)
  case .traceDat, nil: return try TraceFile(path: path)
  }
}

/// The events of a recording by `vmctop record`, read as those of any other recording. A summary has none: what was counted
/// is in the chunks SUMS of its `file`.
public final class RecordedEvents: RecordingSource {
  public let metadata: TraceMetadata
  public let texts: TraceFileTexts
  public let cpuCount: Int
  public let cpuStatistics: [String]
  public let guests: [TraceGuest]
  public let notes: [String]

  /// What it has besides its events.
  public let file: RecordingFile
  private let pages: RecordingPages
  private let endDamage: [TraceDamage]

  public init(path: String) throws(TraceFileError) {
    do throws(RecordingError) {
      file = try RecordingFile(path: path)
      pages = try file.pages()
      var metadata = try file.header.metadata(commandNames: file.commandNames)
      metadata.wallClockOffset = Self.wallClockOffset(file, metadata.timeScale)
      let hosts = file.records(HostView.self).map(\.record)
      for vm in hosts.flatMap(\.vms) {
        for vcpu in vm.vcpus { metadata.processes[vcpu.tid] = vm.pid }
        // What a process is called here is what its VM is called.
        metadata.commandNames[vm.pid] = vm.name ?? vm.vmm ?? metadata.commandNames[vm.pid]
      }
      self.metadata = metadata
      guests = Self.guests(hosts)
    } catch {
      throw TraceFileError(error, path: path)
    }
    let header = file.header
    let names = file.commandNames.sorted { $0.key < $1.key }
    texts = TraceFileTexts(
      headerPage: header.headerPage, headerEvent: header.headerEvent, formats: header.formats,
      commandLines: names.flatMap { Array("\($0.key) \($0.value.filter { $0 != "\n" })\n".utf8) })
    cpuCount = Int(header.cpuCount)
    cpuStatistics = file.lostEvents().sorted { $0.key < $1.key }.map { CPUBufferStatistics.text(cpu: $0, lost: $1) }
    var notes: [String] = []
    if file.generations.count > 1 {
      notes.append("the kernel's events changed while it was recorded: what came before that is not counted")
    }
    if file.ending == .beingWritten { notes.append("it is being written now: what was written until now is counted") }
    self.notes = notes
    endDamage =
      file.ending == .cutOff
      ? [
        TraceDamage(
          offset: file.chunks.last.map { Int(clamping: $0.offset) } ?? 0,
          message: "its recorder did not come to end it: what was written until then is counted")
      ] : []
  }

  private init?(_ other: RecordedEvents) {
    file = RecordingFile(other.file)
    guard let pages = try? file.pages() else { return nil }
    self.pages = pages
    (metadata, texts, cpuCount, cpuStatistics) = (other.metadata, other.texts, other.cpuCount, other.cpuStatistics)
    (guests, notes, endDamage) = (other.guests, other.notes, other.endDamage)
  }

  /// By the first pair of clocks that was noted.
  private static func wallClockOffset(_ file: RecordingFile, _ scale: TimeScale) -> Int64? {
    func offset(_ trace: UInt64, _ realtime: UInt64) -> Int64 {
      Int64(clamping: realtime) &- Int64(clamping: scale.nanoseconds(trace))
    }
    for index in file.indices(of: .clock) {
      if let pair = file.record(ClockRecord.self, index), let trace = pair.trace { return offset(trace, pair.realtime) }
    }
    let header = file.header
    return header.startedAt.map { offset($0, header.startedAtRealtime) }
  }

  /// Each VM once, as it was seen last.
  private static func guests(_ hosts: [HostView]) -> [TraceGuest] {
    var guests: [Int32: TraceGuest] = [:]
    for vm in hosts.flatMap(\.vms) {
      var threads = guests[vm.pid]?.threads ?? [:]
      for vcpu in vm.vcpus { if let id = vcpu.id { threads[id] = vcpu.tid } }
      guests[vm.pid] = TraceGuest(name: vm.name ?? vm.vmm ?? "\(vm.pid)", traceID: 0, threads: threads)
    }
    return guests.sorted { $0.key < $1.key }.map(\.value)
  }

  public var formatName: String { "vmctop" }
  public var hasEvents: Bool { file.header.level == .events }
  public var damage: [TraceDamage] { file.damage + endDamage }
  public var streams: [PageStream] { pages.streams }
  public func nextPage(stream: Int) -> UnsafeRawBufferPointer? { pages.nextPage(stream: stream) }
  public func rewind() { pages.rewind() }
  public func seek(stream: Int, to time: UInt64?) { pages.seek(stream: stream, to: time) }
  public func reopen() -> (any RecordingSource)? { RecordedEvents(self) }

  public func timeBounds() -> (first: UInt64, last: UInt64)? {
    rewind()
    return file.timeBounds
  }
}

extension TraceFileError {
  fileprivate init(_ error: RecordingError, path: String) {
    let code: Code =
      switch error.code {
      case .unavailable: .unreadable
      case .notARecording: .notATraceFile
      case .unsupported: .unsupported
      case .damaged, .exists, .failure: .malformed
      }
    self.init(code, error.description, path: path)
    cause = error
  }
}
