import Aggregator
import Architecture
import Glibc
import HostFiles
import KVMHost
import Recording
import Sampler
import TraceFormat
import Tracefs

/// Where a session's events come from.
public enum SessionInput {
  /// The KVM of this host, through a private trace instance.
  case live(LiveOptions)
  /// Recordings of one host, counted as one: all of their time, or what lies between two points, both included.
  case files(paths: [String], from: TimePoint?, to: TimePoint?)
  /// The recording that is part of the program; its bytes live as long as the process.
  case demo(UnsafeRawBufferPointer)
}

extension SessionInput {
  /// One recording, all of it.
  public static func file(path: String) -> SessionInput { .files(paths: [path], from: nil, to: nil) }
}

/// Opens recordings, and leaves of them what lies between two points.
///
/// - Parameter countsOnce: leaves out buffers with events that another has; false for a copy of everything.
/// - Throws: `SessionError` where a file cannot be opened, they cannot be counted together, or a point is not in them.
public func openRecording(
  _ paths: [String], from: TimePoint? = nil, to: TimePoint? = nil, countsOnce: Bool = true
) throws(SessionError) -> any RecordingSource {
  let source: any RecordingSource
  do {
    source = try CombinedRecording.open(paths, countsOnce: countsOnce)
  } catch {
    throw SessionError(error)
  }
  guard from != nil || to != nil, let bounds = source.timeBounds() else { return source }
  let scale = source.metadata.timeScale
  let offset = source.metadata.wallClockOffset
  var time = RecordingTime(
    duration: scale.nanoseconds(bounds.last &- bounds.first),
    wallClock: offset.map { $0 &+ Int64(clamping: scale.nanoseconds(bounds.first)) })
  func raw(_ point: TimePoint, _ name: String) throws(SessionError) -> UInt64 {
    guard let position = point.position(in: time) else {
      throw SessionError(.usage, "\(name) lies before the recording's first event")
    }
    time.position = position
    let (sum, overflow) = bounds.first.addingReportingOverflow(scale.raw(position))
    return overflow ? .max : sum
  }
  let first = try from.map { point throws(SessionError) in try raw(point, "--from") } ?? bounds.first
  let last = try to.map { point throws(SessionError) in try raw(point, "--to") } ?? bounds.last
  guard first <= last else { throw SessionError(.usage, "--to lies before --from") }
  return RangedRecording(source, range: first...last)
}

/// What to count, whatever the source.
public struct SessionOptions: Sendable {
  /// VMM process ids; of a recording, vCPU thread ids as well, since most recordings tell no process ids. Empty: all.
  public var processes: [Int32] = []
  /// vcpu_id numbers. Empty: all.
  public var vcpus: [UInt32] = []

  public init(processes: [Int32] = [], vcpus: [UInt32] = []) {
    self.processes = processes
    self.vcpus = vcpus
  }
}

/// Why a session cannot start.
public struct SessionError: Error, Sendable, CustomStringConvertible {
  public enum Code: Sendable {
    /// No permission, or the source is missing.
    case unavailable
    /// The host or the event layout is not supported, or no VM matched.
    case unsupported
    /// The recording cannot be read.
    case damaged
    /// What was asked for makes no sense on this recording.
    case usage
    /// Anything else.
    case failure
  }
  public var code: Code
  public var message: String
  public var hint: String?

  public init(_ code: Code, _ message: String, hint: String? = nil) {
    self.code = code
    self.message = message
    self.hint = hint
  }

  init(_ error: SamplerError) {
    let code: Code =
      switch error.kind {
      case .unavailable: .unavailable
      case .unsupported: .unsupported
      case .failed: .failure
      }
    self.init(code, error.message, hint: error.hint)
  }

  public var description: String { hint.map { "\(message); \($0)" } ?? message }
}

/// A source joined to its aggregator: the one place that knows whether events are live or recorded. Used by one
/// thread at a time.
protocol Feed: AnyObject {
  /// Brings in and counts what there is up to now (live) or up to the playing position.
  func advance()
  /// Waits for the next tick, or until `wake` is readable. Returns whether it is.
  func wait(milliseconds: Int32, wake: Int32) -> Bool
  /// Ends counting: what was written until now is counted to the last event.
  func finish()
  /// Publishes the state of now and begins the next interval.
  func snapshot() -> Snapshot
  /// Once a second or so: what changes slowly (CPUs, modules, VMs).
  func maintain()
  /// What the source has to say since the last call.
  func takeMessages() -> [LogMessage]
  func close()
  /// Damage met in a recording.
  var damage: [String] { get }
  /// What there is to say about what is counted of a recording, no damage.
  var notes: [String] { get }
}

extension Feed {
  var notes: [String] { [] }
}

/// Names for the exits of a backend that the catalogue does not know, from kvm_exit's own print format.
public func fallbackNames(_ formats: [EventFormat]) -> @Sendable (UInt32, UInt32) -> String? {
  guard let exit = formats.first(where: { $0.system == "kvm" && $0.name == "kvm_exit" }) else { return { _, _ in nil } }
  // kvm_exit's isa is 1 (VMX), 2 (SVM) or 3 (PVM, out of tree).
  let names = (0...3).map { exit.exitReasonNames(isa: $0) }
  return { isa, code in names.indices.contains(Int(isa)) ? names[Int(isa)][code] : names[3][code] }
}

/// Live events of this host.
final class LiveFeed: Feed {
  private let sampler: LiveSampler
  /// What passes from the sampler to the aggregator goes through here, and where it is wanted into a recording.
  private let tap: RecordingTap
  private var recordingPath: String?
  private var aggregator: Aggregator
  private let inventory: VMInventory
  private let options: SessionOptions
  private let description: SourceDescription
  private let roots: HostRoots
  private var stateWatch: StateWatch?
  private var questions: VMMQuestions?
  private var host: HostView
  private var messages: [LogMessage] = []
  private let began = monotonicNanoseconds()
  private var watermark: UInt64?
  /// When counting began, on the trace clock; nil where that clock cannot be compared with ours.
  private var start: UInt64?
  private var generation = 0
  private var threadsSeen = 0
  private var isFinished = false

  init(_ liveOptions: LiveOptions, _ options: SessionOptions) throws(SessionError) {
    self.options = options
    inventory = VMInventory(roots: liveOptions.roots)
    let vms = inventory.scan()
    var liveOptions = liveOptions
    if !options.processes.isEmpty {
      try Self.check(options.processes, against: vms)
      liveOptions.processes = options.processes
    }
    do { sampler = try LiveSampler(options: liveOptions) } catch { throw SessionError(error) }
    tap = RecordingTap(
      sampler, roots: liveOptions.roots, processes: liveOptions.processes ?? [], eventSet: liveOptions.events.rawValue)
    do {
      aggregator = try Self.makeAggregator(sampler.metadata, options)
    } catch {
      sampler.close()
      throw SessionError(.unsupported, error.description)
    }
    let facts = HostFacts.read(roots: liveOptions.roots)
    var description = SourceDescription()
    description.kind = .tracefs
    description.path = sampler.instance.path
    description.hostName = facts.hostName
    description.kernelRelease = facts.kernelRelease
    description.backend = facts.backend
    self.description = description
    host = Self.view(vms)
    roots = liveOptions.roots
    for text in sampler.takeMessages() { note(.info, text) }
    aggregator.learn(shownHost())
    start = sampler.startedAt
  }

  /// Reads the control words from kernel memory from now on: for those who show them, since it costs something.
  func watchControls() {
    if stateWatch == nil { stateWatch = StateWatch(roots: roots) }
  }

  /// Reads all of the state of these vCPUs, by thread, from now on.
  func watch(_ threads: Set<Int32>) { stateWatch?.watch(threads) }

  /// Asks the VMM of a vCPU's thread, on another thread than this one: that may take two seconds. `say` is called on that
  /// thread when it is over.
  func askVMM(_ thread: Int32, say: @escaping @Sendable (LogMessage.Level, String) -> Void) {
    let vm = host.vms.first { vm in vm.vcpus.contains { $0.tid == thread } }
    guard let vm else { return say(.error, "no vCPU here has the thread \(thread)") }
    let questions = self.questions ?? VMMQuestions(roots: roots)
    self.questions = questions
    questions.ask(
      VMMQuestions.Question(
        pid: vm.pid, thread: thread, name: vm.name ?? "the VMM of pid \(vm.pid)",
        isa: description.backend == "kvm_amd" ? .svm : .vmx, say: say))
  }

  private static func makeAggregator(
    _ metadata: TraceMetadata, _ options: SessionOptions
  ) throws(AggregatorError) -> Aggregator {
    try Aggregator(
      metadata: metadata,
      options: AggregatorOptions(
        vcpuIDs: options.vcpus.isEmpty ? nil : Set(options.vcpus), countsOpenTime: true,
        fallbackName: fallbackNames(metadata.formats)))
  }

  static func check(_ processes: [Int32], against vms: [HostVM]) throws(SessionError) {
    for pid in processes where !vms.contains(where: { $0.pid == pid }) {
      let known = vms.map { vm in vm.name.map { "\(vm.pid) (\($0))" } ?? "\(vm.pid)" }
      throw SessionError(
        .unsupported, "no VM with pid \(pid) on this host",
        hint: known.isEmpty ? "no VM runs here" : "VMs here: \(known.joined(separator: ", "))")
    }
  }

  static func view(_ vms: [HostVM]) -> HostView {
    HostView(
      vms: vms.map { vm in
        HostView.VM(
          pid: vm.pid, fd: vm.fd, name: vm.name, vmm: vm.vmm,
          vcpus: vm.vcpus.map { HostView.VCPU(id: $0.id, tid: $0.tid, threadName: $0.threadName) })
      })
  }

  func advance() {
    guard !isFinished else { return }
    // Writers that are faster than we are must not keep us from publishing, nor from ending.
    take(until: monotonicNanoseconds() &+ Self.longestAdvance)
  }

  private static let longestAdvance: UInt64 = 200_000_000

  /// In bounded portions: the sampler's queues are small, the kernel's buffers are not.
  private func take(until end: UInt64) {
    repeat {
      tap.beginDrain()
      watermark = sampler.drain()
      learnWords(until: watermark)
      aggregator.run(tap, until: watermark ?? .max)
      tap.endDrain(watermark: watermark, isBehind: sampler.isBehind)
    } while sampler.isBehind && monotonicNanoseconds() < end
    // A VM may live for less than a second: look who it is while its threads are there.
    if aggregator.threadCount > threadsSeen {
      threadsSeen = aggregator.threadCount
      lookAtHost()
    }
  }

  /// Counting goes on in other settings from the moment on at which control words were seen to be others. Where the trace
  /// clock is not the one that such moments are of, from now on.
  private func learnWords(until watermark: UInt64?) {
    guard let stateWatch else { return }
    let isComparable = sampler.instance.clock == "mono"
    for change in stateWatch.takeChanges(until: isComparable ? watermark ?? .max : .max) {
      if isComparable { aggregator.run(tap, until: change.time) }
      let time = isComparable ? change.time : aggregator.lastCounted
      aggregator.learn(change.words, at: time)
      tap.note(words: change.words, at: time)
    }
  }

  private func lookAtHost() {
    let vms = inventory.scan()
    host = Self.view(vms)
    aggregator.learn(shownHost())
    tap.note(host: vms.filter { options.processes.isEmpty || options.processes.contains($0.pid) }, at: present)
  }

  func wait(milliseconds: Int32, wake: Int32) -> Bool {
    sampler.wait(milliseconds: min(milliseconds, sampler.recommendedTick), wake: wake)
  }

  func finish() {
    guard !isFinished else { return }
    let stopped = sampler.stop()
    take(until: .max)
    // The watermark stays behind the clock; with tracing off nothing more comes, so all of the rest is in order too.
    repeat {
      _ = sampler.drain()
      aggregator.run(tap)
    } while sampler.isBehind
    watermark = stopped
    isFinished = true
  }

  func maintain() {
    guard !isFinished else { return }
    sampler.maintain()
    for text in sampler.takeMessages() { note(.info, text) }
    if let text = stateWatch?.takeMessage() { note(.info, text) }
    if sampler.metadataGeneration != generation {
      generation = sampler.metadataGeneration
      do {
        aggregator = try Self.makeAggregator(sampler.metadata, options)
        start = watermark
        threadsSeen = 0
        note(.info, "the kernel's events changed: counting starts afresh")
      } catch {
        note(.error, error.description)
      }
    }
    lookAtHost()
    let latest = stateWatch?.latest
    tap.everySecond(
      present, states: (latest?.states ?? [:]).sorted { $0.key < $1.key }.map(\.value), controls: latest?.hostControls)
    if let writing = tap.writer?.progress {
      if let failure = writing.failure {
        note(.error, "the recording ended: \(failure)")
        _ = stopRecording()
      } else if writing.isDegraded {
        note(.warning, "the recording leaves events out: they cannot be written fast enough")
      }
    }
  }

  /// The trace clock as far as everything is counted.
  private var present: UInt64 { watermark ?? start ?? monotonicNanoseconds() }

  // MARK: Recording

  /// From now on the last seconds are kept in memory, for a recording that begins before it was asked for.
  func keepLookBack(seconds: Double, bytes: Int) {
    tap.keepLookBack(seconds: seconds, bytes: bytes)
    lookAtHost()
  }

  /// Begins a recording, or ends the one that runs; says so in a message.
  ///
  /// - Parameter path: of the file; nil for the default name in the working folder.
  func toggleRecording(path: String?) {
    if tap.writer != nil {
      let progress = stopRecording()
      note(
        progress.failure == nil ? .info : .error,
        "recorded \(progress.events) events, \(progress.written) bytes in \(progress.path ?? "?")"
          + (progress.dropped > 0 ? "; \(progress.dropped) events left out" : "")
          + (progress.failure.map { "; \($0)" } ?? ""))
      return
    }
    let path = path ?? RecorderOptions.defaultPath(hostName: description.hostName)
    do {
      let before = try tap.start(.file(path: path))
      recordingPath = path
      lookAtHost()
      note(
        .info,
        "recording into \(path)"
          + (before > 0 ? ", from \(before / 1_000_000_000).\(before / 100_000_000 % 10) seconds ago" : ""))
    } catch {
      note(.error, "cannot record: \(error)")
    }
  }

  private func stopRecording() -> RecordingProgress {
    recordingPath = nil
    return tap.stop(watermark: watermark)
  }

  func snapshot() -> Snapshot {
    aggregator.countLosses(all: isFinished) { sampler.lostEvents(cpu: $0) }
    var snapshot = aggregator.snapshot(now: start == nil ? nil : watermark, start: start)
    let isa = snapshot.source.isa
    snapshot.source = description
    snapshot.source.isa = isa
    if let recordingPath, let writing = tap.writer?.progress {
      snapshot.recording = RecordingStatus(
        path: recordingPath, bytes: writing.written, events: writing.events, dropped: writing.dropped)
    }
    if let latest = stateWatch?.latest {
      snapshot.controlWords = latest.words
      snapshot.states = freshened(latest.states, by: snapshot)
      snapshot.hostControls = latest.hostControls
      snapshot.stateFailure = latest.failure
    }
    if let questions { snapshot.vmmReadings = questions.readings(of: host) }
    return snapshot
  }

  /// What the last exit says of a vCPU's fields where it is newer: only where the trace clock is the one that readings have.
  private func freshened(_ states: [Int32: VCPUReading], by snapshot: Snapshot) -> [Int32: VCPUReading] {
    guard !states.isEmpty, sampler.instance.clock == "mono" else { return states }
    var states = states
    for vcpu in snapshot.vms.lazy.flatMap(\.vcpus) {
      guard let state = states[vcpu.tid], let exit = vcpu.lastExit else { continue }
      states[vcpu.tid] = state.updated(by: ExitEvent(exit))
    }
    return states
  }

  /// Only the VMs and vCPUs that were asked for.
  private func shownHost() -> HostView {
    var shown = host
    if !options.processes.isEmpty { shown.vms.removeAll { !options.processes.contains($0.pid) } }
    if !options.vcpus.isEmpty {
      for index in shown.vms.indices {
        shown.vms[index].vcpus.removeAll { vcpu in vcpu.id.map { !options.vcpus.contains($0) } ?? true }
      }
      shown.vms.removeAll(where: \.vcpus.isEmpty)
    }
    return shown
  }

  private func note(_ level: LogMessage.Level, _ text: String) {
    messages.append(LogMessage(level: level, seconds: Double(monotonicNanoseconds() &- began) / 1e9, text: text))
  }

  func takeMessages() -> [LogMessage] {
    defer { messages = [] }
    return messages
  }

  func close() {
    stateWatch?.stop()
    questions?.stop()
    if tap.writer != nil { _ = stopRecording() }
    if let failure = sampler.close() { note(.error, failure.description) }
  }

  var damage: [String] { [] }
}

extension ExitEvent {
  fileprivate init(_ exit: LastExit) {
    self.init(
      timestamp: exit.timestamp, isa: ISA(rawValue: exit.isa), reason: exit.reason, rip: exit.rip, info1: exit.info1,
      info2: exit.info2, interruptionInformation: exit.interruptionInformation, errorCode: exit.errorCode)
  }
}

/// A recording, played at its own pace, stepped, or read in one go.
final class RecordingFeed: Feed {
  private let file: any RecordingSource
  private var aggregator: Aggregator
  private let options: SessionOptions
  private let source: SourceDescription
  /// The recording's first and last timestamp: looked up when it is first played.
  private lazy var bounds: (first: UInt64, last: UInt64) = file.timeBounds() ?? (0, 0)
  private(set) lazy var duration: UInt64 = file.metadata.timeScale.nanoseconds(
    bounds.last > bounds.first ? bounds.last - bounds.first : 0)
  private var firstTimestamp: UInt64 { bounds.first }
  private var isReadWhole = false
  /// Nanoseconds from the first event to the playing position.
  private(set) var position: UInt64 = 0
  private var reportedDamage = 0
  /// Seconds of the recording per second of the clock.
  var speed = 1.0
  var isPaused = false
  private var lastAdvance: UInt64?
  /// Events lost by CPU, as the recorder's own statistics have it: what was lost after a CPU's last page, and before one
  /// that had no room to say it, stands nowhere else.
  private let lostByCPU: [Int: UInt64]

  init(
    _ file: any RecordingSource, path: String?, isDemo: Bool, _ options: SessionOptions
  ) throws(SessionError) {
    self.file = file
    self.options = options
    var source = SourceDescription()
    source.kind = SourceDescription.Kind(rawValue: file.formatName) ?? .traceDat
    source.path = path
    source.isDemo = isDemo
    if let uname = file.metadata.uname?.split(separator: " "), uname.count >= 3 {
      source.hostName = String(uname[1])
      source.kernelRelease = String(uname[2])
    }
    self.source = source
    lostByCPU = Self.lostByCPU(file)
    do {
      aggregator = try Self.makeAggregator(file.metadata, options)
    } catch {
      throw SessionError(.unsupported, error.description)
    }
  }

  convenience init(_ input: SessionInput, _ options: SessionOptions) throws(SessionError) {
    do {
      switch input {
      case .files(let paths, let from, let to):
        try self.init(
          try openRecording(paths, from: from, to: to), path: paths.joined(separator: ", "), isDemo: false, options)
      case .demo(let bytes): try self.init(try TraceFile(borrowing: bytes), path: nil, isDemo: true, options)
      case .live: throw SessionError(.failure, "a live source is no recording")
      }
    } catch let error as TraceFileError {
      throw SessionError(error)
    } catch let error as SessionError {
      throw error
    } catch {
      throw SessionError(.failure, "\(error)")
    }
  }

  private static func lostByCPU(_ file: any RecordingSource) -> [Int: UInt64] {
    // The statistics do not say of which buffer they are.
    guard Set(file.streams.map(\.buffer)).count <= 1 else { return [:] }
    var result: [Int: UInt64] = [:]
    for text in file.cpuStatistics {
      guard text.hasPrefix("CPU: "), let cpu = Int(text.dropFirst(5).prefix { $0.isNumber }),
        let statistics = CPUBufferStatistics(text), result.updateValue(statistics.lost, forKey: cpu) == nil
      else { return [:] }
    }
    return result
  }

  private static func makeAggregator(
    _ metadata: TraceMetadata, _ options: SessionOptions
  ) throws(AggregatorError) -> Aggregator {
    let threads = options.threads(metadata)
    var aggregator = try Aggregator(
      metadata: metadata,
      options: AggregatorOptions(
        threads: threads, vcpuIDs: options.vcpus.isEmpty ? nil : Set(options.vcpus),
        fallbackName: fallbackNames(metadata.formats)))
    aggregator.learn(HostView(metadata, threads: threads))
    return aggregator
  }

  var isFinished: Bool { isReadWhole || position >= duration }

  func advance() {
    let now = monotonicNanoseconds()
    defer { lastAdvance = now }
    guard let lastAdvance, !isPaused, !isFinished else { return }
    let step = Double(now &- lastAdvance) * speed
    play(to: position &+ UInt64(max(0, min(step, 1e18))))
  }

  /// Counts up to a position, forward only.
  private func play(to target: UInt64) {
    position = min(max(position, target), duration)
    file.count(into: &aggregator, until: isFinished ? .max : raw(position))
  }

  /// A position as a timestamp of the recording's clock.
  private func raw(_ position: UInt64) -> UInt64 {
    let scale = file.metadata.timeScale
    return firstTimestamp &+ scale.raw(position)
  }

  /// Goes to a position, backward by counting again from the start. The intervals before it are rebuilt, so that
  /// rates and history read as if it had been played.
  func seek(to target: UInt64, interval: UInt64) {
    let target = min(target, duration)
    if target < position {
      file.rewind()
      isReadWhole = false
      if let fresh = try? Self.makeAggregator(file.metadata, options) { aggregator = fresh }
      position = 0
    }
    let step = max(interval, (target - position) / 240, 1)
    while position < target {
      play(to: min(position &+ step, target))
      if position < target { _ = aggregator.snapshot(now: raw(position), start: firstTimestamp) }
    }
    lastAdvance = nil
  }

  /// Goes to the last whole interval before the next event if there are many without any: a damaged time stamp may lie
  /// centuries ahead. Returns what was passed over, in nanoseconds.
  func skipQuiet(interval: UInt64) -> UInt64? {
    guard !isFinished, let next = aggregator.nextTimestamp, next > raw(position) else { return nil }
    let intervals = aggregator.nanoseconds(at: next &- raw(position)) / max(1, interval)
    guard intervals > Self.mostQuietIntervals else { return nil }
    let before = position
    play(to: position &+ intervals &* max(1, interval))
    _ = aggregator.snapshot(now: raw(position), start: firstTimestamp)
    return position &- before
  }

  /// This many intervals without an event are shown one by one.
  private static let mostQuietIntervals: UInt64 = 60

  /// Reads everything, as fast as it goes.
  func finish() {
    isReadWhole = true
    file.count(into: &aggregator)
  }

  func wait(milliseconds: Int32, wake: Int32) -> Bool {
    var descriptor = pollfd(fd: wake, events: Int16(POLLIN), revents: 0)
    return poll(&descriptor, 1, milliseconds) > 0
  }

  func snapshot() -> Snapshot {
    // A recording of one instant is at its end before it was played.
    if isFinished {
      file.count(into: &aggregator)
      aggregator.countLosses(all: true) { lostByCPU[$0] }
    }
    var snapshot = aggregator.snapshot(
      now: isFinished ? nil : raw(position), start: isFinished ? nil : firstTimestamp,
      commandNames: file.metadata.commandNames)
    let isa = snapshot.source.isa
    snapshot.source = source
    snapshot.source.isa = isa
    snapshot.source.backend = isa == "vmx" ? "kvm_intel" : isa == "svm" ? "kvm_amd" : nil
    if isReadWhole { return snapshot }
    snapshot.playback = PlaybackState(
      position: position, duration: duration, isPaused: isPaused, isFinished: isFinished, speed: speed)
    return snapshot
  }

  func maintain() {}

  func takeMessages() -> [LogMessage] {
    let all = damage
    defer { reportedDamage = all.count }
    return all.dropFirst(reportedDamage).prefix(100).map { LogMessage(level: .error, seconds: 0, text: $0) }
  }

  func close() {}

  var damage: [String] { file.damage.map { "\($0)" } }
  var notes: [String] { file.notes }
}

extension RecordingSource {
  /// A method of the source, since only that opens an existential.
  fileprivate func count(into aggregator: inout Aggregator, until limit: UInt64 = .max) {
    aggregator.run(self, until: limit)
  }
}

extension SessionError {
  init(_ error: TraceFileError) {
    self.init(error.code == .unreadable ? .unavailable : .damaged, error.description)
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

extension HostView {
  /// The VMs of a recording that tells the processes of its threads. Their names are those of the processes.
  public init(_ metadata: TraceMetadata, threads: Set<Int32>? = nil) {
    var vms: [Int32: VM] = [:]
    for (thread, process) in metadata.processes.sorted(by: { $0.key < $1.key }) {
      guard threads?.contains(thread) ?? true else { continue }
      vms[process, default: VM(pid: process, vmm: metadata.commandNames[process].map { sanitized($0) })].vcpus.append(
        VCPU(id: nil, tid: thread, threadName: metadata.commandNames[thread].map { sanitized($0) }))
    }
    self.init(vms: vms.values.sorted { $0.pid < $1.pid })
  }
}
