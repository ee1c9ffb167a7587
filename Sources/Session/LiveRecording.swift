import Aggregator
import Architecture
import Glibc
import HostFiles
import KVMHost
import Recording
import Sampler
import TraceFormat
import Tracefs

/// Keeps what passes through a live pipeline: for a recording, for the look-back, or for neither, when it costs nothing.
final class LiveRecording: LiveConsumer {
  private let sampler: LiveSampler
  private let roots: HostRoots
  private let processes: [Int32]
  private let eventSet: String
  private var collector: PageCollector
  private var lookBack: LookBack?
  private(set) var writer: RecordingWriter?
  /// Whether pages are recorded, and not only what was counted.
  private var hasPages: Bool { level == .events }
  private var level = RecordingLevel.events
  /// Present time, read once for each drain: pages are stamped by the thousand.
  private var present: UInt64 = 0
  private var lastFlush: UInt64 = 0
  private var lastNames: UInt64 = 0
  private var lastLosses: LossRecord?
  private var lastLossesAt: UInt64 = 0
  /// As it was written last.
  private var lastHost: [UInt8]?
  private var hasControls = false
  private var generation: Int
  /// How long pages wait for a block to become full, in nanoseconds.
  private var flushPeriod: UInt64 = 1_000_000_000
  /// Nanoseconds that sums are of, and between two states; nil: no sums, and states each second.
  private let sumsPeriod: UInt64?
  private var ladder = IntervalLadder()
  private var nextSums: UInt64
  private var nextStates: UInt64

  /// Named in the header, such as `vmctop 0.1.0`.
  var program = "vmctop"

  /// - Parameter sumsPeriod: what is counted is cut into sums of so many nanoseconds; nil for none.
  init(_ pipeline: LivePipeline, processes: [Int32], eventSet: String, sumsPeriod: UInt64? = nil) {
    sampler = pipeline.sampler
    roots = pipeline.roots
    self.processes = processes
    self.eventSet = eventSet
    self.sumsPeriod = sumsPeriod
    nextStates = monotonicNanoseconds()
    nextSums = nextStates &+ (sumsPeriod ?? 0)
    collector = PageCollector(layout: sampler.metadata.page)
    generation = sampler.metadataGeneration
  }

  private func keep(_ block: PageBlock) {
    if let writer { writer.write(block) } else { lookBack?.add(block, now: present) }
  }

  private var keeps: Bool { writer != nil || lookBack != nil }

  // MARK: Beginning and ending

  /// From now on the last seconds are kept in memory.
  func keepLookBack(seconds: Double, bytes: Int) {
    guard lookBack == nil else { return }
    lookBack = LookBack(longestAge: UInt64(max(0, min(seconds, 3600)) * 1e9), limit: bytes)
    lastHost = nil
    hasControls = false
  }

  /// Begins a recording, with what the look-back holds. Returns how far back that reaches, in nanoseconds.
  @discardableResult
  func start(
    _ target: RecordingTarget, level: RecordingLevel = .events, options: RecordingOptions = RecordingOptions()
  ) throws(SessionError) -> UInt64 {
    present = monotonicNanoseconds()
    let now = present
    if lookBack != nil {
      for block in collector.take(olderThan: 0, now: now) { lookBack?.add(block, now: now) }
    }
    var before: UInt64 = 0
    do {
      var header = try makeHeader(level)
      // Without a look-back everything since tracing began is recorded.
      let began = lookBack == nil && collector.threads.isEmpty ? sampler.startedAt : lookBack?.firstTime
      if let first = began, let now = header.startedAt, first < now {
        before = header.timeScale.nanoseconds(now - first)
        header.startedAt = first
        header.startedAtRealtime = header.startedAtRealtime > before ? header.startedAtRealtime - before : 0
      }
      let writer = try RecordingWriter(to: target, header: header, options: options)
      self.writer = writer
    } catch {
      throw SessionError(error, as: error.isPermission ? .unavailable : .failure)
    }
    self.level = level
    if case .stream = target { flushPeriod = 200_000_000 } else { flushPeriod = 1_000_000_000 }
    if let writer { lookBack?.empty(into: writer) }
    if lookBack == nil {
      lastHost = nil
      hasControls = false
    }
    lastLosses = nil
    lastNames = 0
    return before
  }

  /// Ends the recording and waits until it is written.
  func stop(_ pipeline: LivePipeline, commandStatus: UInt32? = nil) -> RecordingProgress {
    guard let writer else { return RecordingProgress() }
    if sumsPeriod != nil { writeSums(pipeline) }
    let watermark = pipeline.watermark
    present = monotonicNanoseconds()
    for block in collector.take(olderThan: 0, now: present) { writer.write(block) }
    writeLosses(always: true, at: watermark ?? present)
    writeNames(at: watermark ?? present)
    writeClock(watermark)
    let progress = writer.finish(commandStatus: commandStatus)
    self.writer = nil
    return progress
  }

  // MARK: As time passes

  func beginDrain() { present = monotonicNanoseconds() }

  func take(_ page: UnsafeRawBufferPointer, cpu: Int) {
    guard writer != nil ? hasPages : lookBack != nil else { return }
    // The look-back keeps its blocks for long: memory that is used again is the writer's.
    let block = collector.add(
      page, cpu: UInt32(truncatingIfNeeded: cpu), now: present, spare: { self.writer?.spareMemory() ?? [] })
    if let block { keep(block) }
  }

  /// Pages that waited long enough go on, and then the watermark that they are complete to.
  func endDrain(_ pipeline: LivePipeline) {
    // Before the watermark is written: who reads the stream has the sums of what it has the pages of.
    if let sumsPeriod, monotonicNanoseconds() >= nextSums {
      nextSums = max(nextSums &+ sumsPeriod, monotonicNanoseconds())
      writeSums(pipeline)
    }
    guard keeps, !sampler.isBehind, present &- lastFlush >= (writer != nil ? flushPeriod : Self.lookBackPeriod)
    else { return }
    lastFlush = present
    for block in collector.take(olderThan: 0, now: present) { keep(block) }
    writeClock(pipeline.watermark)
  }

  /// The counts of the interval that ends at the watermark go into a chunk SUMS, and into those of the levels above.
  private func writeSums(_ pipeline: LivePipeline) {
    let sums = pipeline.cut()
    guard sums.end > sums.start else { return }
    ladder.add(sums) { bytes, level, first, last in
      writer?.write(sums: bytes, level: UInt32(level), first: first, last: last) ?? true
    }
  }

  func willCountAfresh(_ pipeline: LivePipeline) {
    guard sumsPeriod != nil else { return }
    writeSums(pipeline)
    ladder = IntervalLadder()
  }

  private static let lookBackPeriod: UInt64 = 5_000_000_000

  private func writeClock(_ watermark: UInt64?) {
    guard let writer else { return }
    writer.write(
      ClockRecord(trace: sampler.presentTime, realtime: realtimeNanoseconds(), monotonic: monotonicNanoseconds()),
      first: watermark ?? 0)
  }

  func everySecond(_ pipeline: LivePipeline) {
    let time = pipeline.present
    let latest = pipeline.latestState
    guard keeps else { return }
    present = monotonicNanoseconds()
    if sampler.metadataGeneration != generation {
      generation = sampler.metadataGeneration
      for block in collector.take(olderThan: 0, now: present) { keep(block) }
      // Pages of other formats are of no use to a recording that begins now.
      if lookBack != nil, writer == nil {
        lookBack = LookBack(longestAge: lookBack?.longestAge ?? 0, limit: lookBack?.limit ?? 0)
      }
      if let writer, let header = try? makeHeader(level) { writer.change(to: header, at: time) }
    }
    if let controls = latest?.hostControls, !hasControls {
      hasControls = true
      keep(ControlsRecord(controls), at: time)
    }
    guard let writer else { return }
    if present >= nextStates {
      nextStates = sumsPeriod.map { max(nextStates &+ $0, present) } ?? 0
      writer.write(states: (latest?.states ?? [:]).sorted { $0.key < $1.key }.map(\.value), at: time)
    }
    writeLosses(always: present &- lastLossesAt >= 10_000_000_000, at: time)
    if present &- lastNames >= 60_000_000_000 { writeNames(at: time) }
    writer.maintain()
  }

  /// Kept where they are other ones than before.
  func take(host: [HostVM], at time: UInt64) {
    guard keeps else { return }
    let record = HostView(vms: host)
    let bytes = record.encoded()
    guard bytes != lastHost else { return }
    lastHost = bytes
    keep(record, at: time)
  }

  func take(words: [Int32: ControlSetting], at time: UInt64) {
    if keeps { keep(WordsRecord(words: words), at: time) }
  }

  func note(_ text: String, isError: Bool = false, at time: UInt64) {
    if keeps { keep(NoteRecord(text, isError: isError), at: time) }
  }

  private func keep(_ record: some RecordingRecord, at time: UInt64) {
    // The look-back keeps what is true for the recording after this one too.
    lookBack?.add(record, at: time, now: present)
    writer?.write(record, first: time)
  }

  private func writeLosses(always: Bool, at time: UInt64) {
    var record = LossRecord()
    for stream in sampler.streams {
      guard let statistics = sampler.instance.statistics(cpu: stream.cpu) else { continue }
      record.cpus.append(
        LossRecord.CPU(
          cpu: UInt32(truncatingIfNeeded: stream.cpu), lost: statistics.lost, read: statistics.readEvents))
    }
    let isNew = record.cpus.map(\.lost) != lastLosses?.cpus.map(\.lost)
    guard always || isNew else { return }
    lastLosses = record
    lastLossesAt = present
    writer?.write(record, first: time)
  }

  /// Only of threads that the events name: the others are nobody's business.
  private func writeNames(at time: UInt64) {
    lastNames = present
    // As many as saved_cmdlines_size: half a megabyte and more on a large host.
    guard !collector.threads.isEmpty,
      let text = try? HostFile.text("\(sampler.instance.root.path)/saved_cmdlines", limit: 16 << 20)
    else { return }
    var names: [Int32: String] = [:]
    for line in text.split(separator: "\n") {
      guard let blank = line.firstIndex(of: " "), let thread = Int32(line[..<blank]),
        collector.threads.contains(thread)
      else { continue }
      names[thread] = String(line[line.index(after: blank)...])
    }
    // The kernel saves a name when the thread is switched away from: one that has a CPU of its own has none yet.
    for thread in collector.threads where names[thread] == nil {
      names[thread] = HostFile.line("\(roots.proc)/\(thread)/comm")
    }
    writer?.write(ThreadNamesRecord(names: names), first: time)
  }

  // MARK: The header

  private func makeHeader(_ level: RecordingLevel) throws(RecordingError) -> RecordingHeader {
    let facts = HostFacts.read(roots: roots)
    var header = RecordingHeader()
    header.program = program
    header.hostName = facts.hostName
    header.kernelRelease = facts.kernelRelease
    header.uname = sampler.metadata.uname
    header.processor = processorName()
    header.backend = facts.backend
    header.cpuCount = UInt32(clamping: sysconf(Int32(_SC_NPROCESSORS_CONF)))
    header.clock = sampler.instance.clock
    header.timeScale = sampler.metadata.timeScale
    let events = "\(sampler.instance.path)/events"
    do throws(FileError) {
      header.headerPage = try HostFile.bytes("\(events)/header_page")
      header.headerEvent = (try? HostFile.bytes("\(events)/header_event")) ?? []
    } catch {
      throw RecordingError("the layout of the pages cannot be read", of: error)
    }
    for event in sampler.instance.enabledEvents {
      guard let text = try? HostFile.bytes("\(events)/kvm/\(event)/format") else { continue }
      header.formats.append(RawEventFormat(system: "kvm", name: event, text: text))
    }
    for module in ["kvm", "kvm_intel", "kvm_amd"] {
      header.parameters += facts.parameters(module).map {
        RecordingHeader.Parameter(name: "\(module).\($0.name)", value: $0.value)
      }
    }
    header.commandLine = CommandLine.arguments
    header.level = level
    header.eventSet = eventSet
    header.processes = processes
    header.startedAt = sampler.presentTime ?? sampler.startedAt
    header.startedAtRealtime = realtimeNanoseconds()
    header.secondsEast = secondsEastOfUTC()
    return header
  }

  private func processorName() -> String? {
    guard let text = try? HostFile.text("\(roots.proc)/cpuinfo", limit: 65536),
      let line = text.split(separator: "\n").first(where: { $0.hasPrefix("model name") }),
      let colon = line.firstIndex(of: ":")
    else { return nil }
    return sanitized(String(line[line.index(after: colon)...].trimmingPrefix { $0 == " " }), limit: 128)
  }
}

/// CLOCK_REALTIME.
func realtimeNanoseconds() -> UInt64 {
  var time = timespec()
  clock_gettime(CLOCK_REALTIME, &time)
  return UInt64(truncatingIfNeeded: time.tv_sec) &* 1_000_000_000 &+ UInt64(truncatingIfNeeded: time.tv_nsec)
}

private func secondsEastOfUTC() -> Int32 {
  var now = time(nil)
  var local = tm()
  localtime_r(&now, &local)
  return Int32(clamping: local.tm_gmtoff)
}
