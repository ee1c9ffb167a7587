import Aggregator
import Architecture
import Glibc
import HostFiles
import KVMHost
import Recording
import Sampler
import TraceFormat
import Tracefs

/// Stands between the live sampler and the aggregator, and keeps what passes: for a recording, for the look-back, or for
/// neither, when it costs nothing. The sampler's thread uses it.
final class RecordingTap: PageSource {
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
  private var lastHost: HostRecord?
  private var hasControls = false
  private var generation: Int
  /// How long pages wait for a block to become full, in nanoseconds.
  private var flushPeriod: UInt64 = 1_000_000_000

  /// Named in the header, such as `vmctop 0.1.0`.
  var program = "vmctop"

  init(_ sampler: LiveSampler, roots: HostRoots, processes: [Int32], eventSet: String) {
    self.sampler = sampler
    self.roots = roots
    self.processes = processes
    self.eventSet = eventSet
    collector = PageCollector(layout: sampler.metadata.page)
    generation = sampler.metadataGeneration
  }

  /// By CPU alone, as they are in a recording: the instance's name is of no use to who reads the sums of these streams.
  var streams: [PageStream] {
    if named.count < sampler.streams.count { named = sampler.streams.map { PageStream(cpu: $0.cpu) } }
    return named
  }
  private var named: [PageStream] = []

  func nextPage(stream: Int) -> UnsafeRawBufferPointer? {
    guard let page = sampler.nextPage(stream: stream) else { return nil }
    guard writer != nil ? hasPages : lookBack != nil else { return page }
    let cpu = UInt32(truncatingIfNeeded: sampler.streams[stream].cpu)
    // The look-back keeps its blocks for long: memory that is used again is the writer's.
    if let block = collector.add(page, cpu: cpu, now: present, spare: { self.writer?.spareMemory() ?? [] }) {
      keep(block)
    }
    return page
  }

  private func keep(_ block: PageBlock) {
    if let writer { writer.write(block) } else { lookBack?.add(block, now: present) }
  }

  private var keeps: Bool { writer != nil || lookBack != nil }

  /// To be called before the pages of a drain are taken.
  func beginDrain() { present = monotonicNanoseconds() }

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
  func stop(commandStatus: UInt32? = nil, watermark: UInt64? = nil) -> RecordingProgress {
    guard let writer else { return RecordingProgress() }
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

  /// To be called when the events up to the watermark were taken: pages that waited long enough go on.
  func endDrain(watermark: UInt64?, isBehind: Bool) {
    guard keeps, !isBehind, present &- lastFlush >= (writer != nil ? flushPeriod : Self.lookBackPeriod) else { return }
    lastFlush = present
    for block in collector.take(olderThan: 0, now: present) { keep(block) }
    writeClock(watermark)
  }

  private static let lookBackPeriod: UInt64 = 5_000_000_000

  private func writeClock(_ watermark: UInt64?) {
    guard let writer else { return }
    writer.write(
      ClockRecord(trace: sampler.presentTime, realtime: realtimeNanoseconds(), monotonic: monotonicNanoseconds()),
      first: watermark ?? 0)
  }

  /// What there is to know once a second. `time` is a moment on the trace clock; `states` are those of all vCPUs, nil where
  /// none are to be written now.
  func everySecond(_ time: UInt64, states: [VCPUReading]?, controls: HostControls?) {
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
    if let controls, !hasControls {
      hasControls = true
      keep(ControlsRecord(controls), at: time)
    }
    guard let writer else { return }
    if let states { writer.write(states: states, at: time) }
    writeLosses(always: present &- lastLossesAt >= 10_000_000_000, at: time)
    if present &- lastNames >= 60_000_000_000 { writeNames(at: time) }
    writer.maintain()
  }

  /// The VMs there are, where they are other ones than before.
  func note(host: [HostVM], at time: UInt64) {
    guard keeps else { return }
    let record = HostRecord(
      vms: host.map { vm in
        HostRecord.VM(
          pid: vm.pid, fd: vm.fd, name: vm.name, vmm: vm.vmm,
          vcpus: vm.vcpus.map { HostRecord.VCPU(id: $0.id, tid: $0.tid, threadName: $0.threadName) })
      })
    guard record != lastHost else { return }
    lastHost = record
    keep(record, at: time)
  }

  /// Control words that were seen to be others.
  func note(words: [Int32: ControlSetting], at time: UInt64) {
    if keeps { keep(WordsRecord(words: words), at: time) }
  }

  func note(_ text: String, isError: Bool = false, at time: UInt64) {
    if keeps { keep(NoteRecord(text, isError: isError), at: time) }
  }

  /// What was counted in an interval: the aggregator's bytes.
  ///
  /// - Returns: False where there is no room for it.
  func note(sums: [UInt8], level: UInt32, first: UInt64, last: UInt64) -> Bool {
    writer?.write(sums: sums, level: level, first: first, last: last) ?? true
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
      throw RecordingError("\(error)")
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
