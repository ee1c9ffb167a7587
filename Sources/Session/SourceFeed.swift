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
  /// A recording.
  case file(path: String)
  /// The recording that is part of the program; its bytes live as long as the process.
  case demo(UnsafeRawBufferPointer)
}

/// What to count, whatever the source.
public struct SessionOptions: Sendable {
  /// VMM process ids (live), or vCPU thread ids (a recording tells no process ids). Empty: all.
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
}

func monotonicNanoseconds() -> UInt64 {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
}

/// Names for the exits of a backend that the catalogue does not know, from kvm_exit's own print format.
func fallbackNames(_ formats: [EventFormat]) -> @Sendable (UInt32, UInt32) -> String? {
  guard let exit = formats.first(where: { $0.system == "kvm" && $0.name == "kvm_exit" }) else { return { _, _ in nil } }
  // kvm_exit's isa is 1 (VMX), 2 (SVM) or 3 (PVM, out of tree).
  let names = (0...3).map { exit.exitReasonNames(isa: $0) }
  return { isa, code in names.indices.contains(Int(isa)) ? names[Int(isa)][code] : names[3][code] }
}

/// Live events of this host.
final class LiveFeed: Feed {
  private let sampler: LiveSampler
  private var aggregator: Aggregator
  private let inventory: VMInventory
  private let options: SessionOptions
  private let description: SourceDescription
  private let roots: HostRoots
  private var stateWatch: StateWatch?
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
    do {
      sampler = try LiveSampler(options: liveOptions)
    } catch {
      throw SessionError(
        error.kind == .unavailable ? .unavailable : error.kind == .unsupported ? .unsupported : .failure, error.message,
        hint: error.hint)
    }
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

  private static func makeAggregator(
    _ metadata: TraceMetadata, _ options: SessionOptions
  ) throws(AggregatorError) -> Aggregator {
    try Aggregator(
      metadata: metadata,
      options: AggregatorOptions(
        vcpuIDs: options.vcpus.isEmpty ? nil : Set(options.vcpus), countsOpenTime: true,
        fallbackName: fallbackNames(metadata.formats)))
  }

  private static func check(_ processes: [Int32], against vms: [HostVM]) throws(SessionError) {
    for pid in processes where !vms.contains(where: { $0.pid == pid }) {
      let known = vms.map { vm in vm.name.map { "\(vm.pid) (\($0))" } ?? "\(vm.pid)" }
      throw SessionError(
        .unsupported, "no VM with pid \(pid) on this host",
        hint: known.isEmpty ? "no VM runs here" : "VMs here: \(known.joined(separator: ", "))")
    }
  }

  private static func view(_ vms: [HostVM]) -> HostView {
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
      watermark = sampler.drain()
      learnWords(until: watermark)
      aggregator.run(sampler, until: watermark ?? .max)
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
      if isComparable { aggregator.run(sampler, until: change.time) }
      aggregator.learn(change.words, at: isComparable ? change.time : aggregator.lastCounted)
    }
  }

  private func lookAtHost() {
    host = Self.view(inventory.scan())
    aggregator.learn(shownHost())
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
      aggregator.run(sampler)
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
  }

  func snapshot() -> Snapshot {
    aggregator.countLosses(all: isFinished) { sampler.lostEvents(cpu: $0) }
    var snapshot = aggregator.snapshot(now: start == nil ? nil : watermark, start: start)
    let isa = snapshot.source.isa
    snapshot.source = description
    snapshot.source.isa = isa
    if let latest = stateWatch?.latest {
      snapshot.controlWords = latest.words
      snapshot.states = latest.states
      snapshot.hostControls = latest.hostControls
      snapshot.stateFailure = latest.failure
    }
    return snapshot
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
    if let failure = sampler.close() { note(.error, failure.description) }
  }

  var damage: [String] { [] }
}

/// A recording, played at its own pace, stepped, sought in, or read in one go.
final class RecordingFeed: Feed {
  private let source: any TimelineSource
  private let options: AggregatorOptions
  private lazy var timeline = Timeline(source, bounds: source.timeBounds() ?? (0, 0), options)
  private lazy var head = try? Playhead(source, timeline, options)
  private lazy var search = source.another().flatMap { ExitSearch($0, timeline, options) }
  private var isReadWhole = false
  /// Nanoseconds from the first event to the playing position.
  private(set) var position: UInt64 = 0
  private var reportedDamage = 0
  private var messages: [LogMessage] = []
  /// Seconds of the recording per second of the clock.
  var speed = 1.0
  var isPaused = false
  private var lastAdvance: UInt64?
  /// What the figures are of, where it is not all up to the position; and those figures.
  private var range: (positions: Range<UInt64>, snapshot: Snapshot)?
  private var damageOfParts: [String] = []
  /// What was shown last: where nothing moved since, its interval is still the last one.
  private var shown: (position: UInt64, snapshot: Snapshot)?
  private var sequence: UInt64 = 0
  private var course: (version: Int, course: RecordingCourse)?

  /// - Throws: Where the recording's events cannot be counted.
  init(_ source: any TimelineSource, _ options: SessionOptions) throws(SessionError) {
    self.source = source
    self.options = AggregatorOptions(
      threads: options.processes.isEmpty ? nil : Set(options.processes),
      vcpuIDs: options.vcpus.isEmpty ? nil : Set(options.vcpus),
      fallbackName: fallbackNames(source.metadata.formats))
    do {
      _ = try Aggregator(metadata: source.metadata, options: self.options)
    } catch {
      throw SessionError(.unsupported, error.description)
    }
  }

  convenience init(_ input: SessionInput, _ options: SessionOptions) throws(SessionError) {
    let source: any TimelineSource
    do {
      switch input {
      case .file(let path): source = TraceFileSource(try TraceFile(path: path), path: path, isDemo: false)
      case .demo(let bytes): source = TraceFileSource(try TraceFile(borrowing: bytes), path: nil, isDemo: true)
      case .live: throw SessionError(.failure, "a live source is no recording")
      }
    } catch let error as TraceFileError {
      throw SessionError(error.code == .unreadable ? .unavailable : .damaged, error.description)
    } catch let error as SessionError {
      throw error
    } catch {
      throw SessionError(.failure, "\(error)")
    }
    try self.init(source, options)
  }

  var duration: UInt64 { timeline.duration }

  var isFinished: Bool { isReadWhole || position >= duration }

  // MARK: - Moving

  /// Sums the recording up in the background, so that every place in it is near.
  func startTimeline() { timeline.start(source) }

  /// How much of it is summed up, nanoseconds from its start.
  var summedUp: UInt64 { timeline.position(of: timeline.progress.known) }

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
    head?.move(to: isFinished ? .max : max(timeline.moment(of: position), head?.time ?? 0))
  }

  /// Plays up to a position at once: the next snapshot's interval is what came since the last one.
  func playOn(to target: UInt64) {
    play(to: target)
    lastAdvance = nil
  }

  /// Goes to a position. The interval before it is counted as one, so that rates read as if it had been played; the
  /// course of the rates is the time line's.
  func seek(to target: UInt64, interval: UInt64) {
    let target = min(target, duration)
    go(to: target >= duration ? .max : timeline.moment(of: target), position: target, interval)
  }

  /// Goes to a moment of the trace clock, where clocks that are no nanoseconds would miss it by their rounding.
  private func go(to moment: UInt64, position target: UInt64, _ interval: UInt64) {
    guard let head else { return }
    let begin = target > interval ? target - interval : 0
    if begin < position || moment < head.time || isReadWhole {
      isReadWhole = false
      head.goToStart()
    }
    let start = timeline.moment(of: begin)
    // The first event, too, is in the first interval.
    if begin > 0 { head.move(to: start) }
    head.beginInterval(at: start)
    // Where it was played up to there, the course is what was shown.
    if begin != position {
      let length = timeline.moment(of: interval) &- timeline.bounds.first
      head.setHistory(timeline.history(until: start, length: length, count: Self.historyLength - 1))
    }
    if target > 0 { head.move(to: moment) }
    shown = nil
    position = target
    lastAdvance = nil
  }

  private static let historyLength = 240

  /// Goes to the last whole interval before the next event if there are many without any: a damaged time stamp may lie
  /// centuries ahead. Returns what was passed over, in nanoseconds.
  func skipQuiet(interval: UInt64) -> UInt64? {
    let moment = timeline.moment(of: position)
    guard !isFinished, let head, let next = head.nextTimestamp, next > moment else { return nil }
    let intervals = head.aggregator.nanoseconds(at: next &- moment) / max(1, interval)
    guard intervals > Self.mostQuietIntervals else { return nil }
    let before = position
    play(to: position &+ intervals &* max(1, interval))
    head.beginInterval(at: timeline.moment(of: position))
    shown = nil
    return position &- before
  }

  /// This many intervals without an event are shown one by one.
  private static let mostQuietIntervals: UInt64 = 60

  /// The moment up to which all is counted.
  private var present: UInt64 { isFinished ? timeline.bounds.last : head?.time ?? 0 }

  /// Goes to the next exit, or the one before.
  ///
  /// - Parameter reason: only exits of this one; nil: any.
  func seekToExit(_ reason: ReasonCode?, forward: Bool, interval: UInt64) {
    let found = search?.exit(reason, from: present, forward: forward)
    guard let found else { return note(forward ? "no such exit after this" : "no such exit before this") }
    go(to: found, position: timeline.position(of: found), interval)
  }

  /// Goes so many exits forward or, negative, back. Exits at the same time are passed together.
  func stepExit(_ count: Int, interval: UInt64) {
    var moment = present
    var steps = 0
    while steps < min(count.magnitude, Self.mostSteps),
      let next = search?.exit(nil, from: moment, forward: count > 0)
    {
      moment = next
      steps += 1
    }
    guard steps > 0 else { return note(count > 0 ? "no exit after this" : "no exit before this") }
    go(to: moment, position: timeline.position(of: moment), interval)
  }

  private static let mostSteps: UInt = 1000

  /// Goes to where a vCPU's control, or any of its setting, changes next, or did before.
  func seekToChange(_ control: ControlID?, forward: Bool, interval: UInt64) {
    guard let found = timeline.change(of: control, from: present, forward: forward) else {
      let isAll = timeline.progress.isComplete
      return note(
        "no such change \(forward ? "after" : "before") this\(isAll ? "" : ", as far as the recording is read")")
    }
    go(to: found, position: timeline.position(of: found), interval)
  }

  /// Goes to a moment of CLOCK_REALTIME, nanoseconds since 1970.
  func seek(toWallClock time: UInt64, interval: UInt64) {
    guard let first = wallClock else { return note("this recording does not tell the time of day") }
    seek(to: time > first ? time - first : 0, interval: interval)
  }

  private var wallClock: UInt64? {
    guard let offset = source.wallClockOffset else { return nil }
    let first = Int64(clamping: source.metadata.timeScale.nanoseconds(timeline.bounds.first))
    let (sum, overflow) = first.addingReportingOverflow(offset)
    return overflow || sum < 0 ? nil : UInt64(sum)
  }

  // MARK: - A part of it

  /// Every figure is of what came after one position and up to another from now on. The playing position stays.
  func setRange(from: UInt64, to: UInt64) {
    let positions = min(from, to, duration)..<min(max(from, to), duration)
    guard let snapshot = count(positions) else { return note("the range cannot be counted") }
    range = (positions, snapshot)
  }

  func clearRange() { range = nil }

  /// What came after one position and up to another: exact at both ends. A range from the start has the first event.
  func count(_ positions: Range<UInt64>) -> Snapshot? {
    // The playing position keeps its source.
    guard let own = source.another(), let head = try? Playhead(own, timeline, options) else { return nil }
    let start = timeline.moment(of: positions.lowerBound)
    let isToEnd = positions.upperBound >= duration
    let end = isToEnd ? timeline.bounds.last : timeline.moment(of: positions.upperBound)
    if positions.lowerBound > 0 { head.begin(at: start) }
    head.move(to: isToEnd ? .max : end)
    if positions.lowerBound == 0, isToEnd { head.countLosses { source.lostByCPU[$0] } }
    var snapshot = head.snapshot(now: end, start: start)
    describe(&snapshot)
    // What is damaged shows where it is read.
    damageOfParts += own.damage.filter { !damageOfParts.contains($0) }
    return snapshot
  }

  // MARK: - Showing

  /// Reads everything, as fast as it goes.
  func finish() {
    isReadWhole = true
    shown = nil
    head?.move(to: .max)
  }

  func wait(milliseconds: Int32, wake: Int32) -> Bool {
    var descriptor = pollfd(fd: wake, events: Int16(POLLIN), revents: 0)
    return poll(&descriptor, 1, milliseconds) > 0
  }

  func snapshot() -> Snapshot {
    var snapshot = range?.snapshot ?? countedSnapshot()
    sequence += 1
    snapshot.sequence = sequence
    if isReadWhole { return snapshot }
    var playback = PlaybackState(
      position: position, duration: duration, isPaused: isPaused, isFinished: isFinished, speed: speed)
    playback.range = range?.positions
    playback.wallClock = wallClock
    playback.course = presentCourse()
    snapshot.playback = playback
    return snapshot
  }

  /// All up to the position.
  private func countedSnapshot() -> Snapshot {
    guard let head else { return Snapshot() }
    if let shown, shown.position == position { return shown.snapshot }
    // A recording of one instant is at its end before it was played.
    if isFinished {
      head.move(to: .max)
      head.countLosses { source.lostByCPU[$0] }
    }
    var snapshot = head.snapshot(
      now: isFinished ? nil : timeline.moment(of: position), start: isFinished ? nil : timeline.bounds.first)
    describe(&snapshot)
    shown = (position, snapshot)
    return snapshot
  }

  /// A front draws it narrower than this.
  private static let courseBuckets = 480

  private func presentCourse() -> RecordingCourse? {
    let version = timeline.version
    if course?.version != version { course = (version, timeline.course(buckets: Self.courseBuckets)) }
    return version == 0 ? nil : course?.course
  }

  /// More of the recording is known than was shown.
  var hasNews: Bool { course.map { $0.version != timeline.version } ?? true }

  private func describe(_ snapshot: inout Snapshot) {
    let isa = snapshot.source.isa
    snapshot.source = source.description
    snapshot.source.isa = isa
    if snapshot.source.backend == nil {
      snapshot.source.backend = isa == "vmx" ? "kvm_intel" : isa == "svm" ? "kvm_amd" : nil
    }
  }

  private func note(_ text: String) { messages.append(LogMessage(level: .info, seconds: 0, text: text)) }

  func maintain() {}

  func takeMessages() -> [LogMessage] {
    let all = damage
    defer {
      reportedDamage = all.count
      messages = []
    }
    return messages
      + all.dropFirst(reportedDamage).prefix(100).map { LogMessage(level: .error, seconds: 0, text: $0) }
  }

  func close() { timeline.stop() }

  var damage: [String] {
    let known = source.damage
    return damageOfParts.isEmpty ? known : known + damageOfParts.filter { !known.contains($0) }
  }
}
