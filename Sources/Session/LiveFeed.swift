import Aggregator
import Architecture
import Glibc
import HostFiles
import KVMHost
import Recording
import Sampler
import TraceFormat
import Tracefs

/// Live events of this host.
final class LiveFeed: Feed {
  private let sampler: LiveSampler
  /// What passes from the sampler to the aggregator goes through here, and where it is wanted into a recording.
  private let tap: RecordingTap
  private var recordingPath: String?
  private var counter: Counter
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
      counter = try Self.makeCounter(sampler.metadata, options)
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
    counter.engine.learn(shownHost())
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

  private static func makeCounter(
    _ metadata: TraceMetadata, _ options: SessionOptions
  ) throws(AggregatorError) -> Counter {
    try Counter(
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
      counter.run(tap, until: watermark ?? .max)
      tap.endDrain(watermark: watermark, isBehind: sampler.isBehind)
    } while sampler.isBehind && monotonicNanoseconds() < end
    // A VM may live for less than a second: look who it is while its threads are there.
    if counter.engine.threadCount > threadsSeen {
      threadsSeen = counter.engine.threadCount
      lookAtHost()
    }
  }

  /// Counting goes on in other settings from the moment on at which control words were seen to be others. Where the trace
  /// clock is not the one that such moments are of, from now on.
  private func learnWords(until watermark: UInt64?) {
    guard let stateWatch else { return }
    let isComparable = sampler.instance.clock == "mono"
    for change in stateWatch.takeChanges(until: isComparable ? watermark ?? .max : .max) {
      if isComparable { counter.run(tap, until: change.time) }
      let time = isComparable ? change.time : counter.engine.lastCounted
      counter.engine.learn(change.words, at: time)
      tap.note(words: change.words, at: time)
    }
  }

  private func lookAtHost() {
    let vms = inventory.scan()
    host = Self.view(vms)
    counter.engine.learn(shownHost())
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
      counter.run(tap)
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
        counter = try Self.makeCounter(sampler.metadata, options)
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
    counter.countLosses(all: isFinished) { sampler.lostEvents(cpu: $0) }
    var snapshot = counter.snapshot(now: start == nil ? nil : watermark, start: start)
    snapshot.describe(description)
    if let recordingPath, let writing = tap.writer?.progress {
      snapshot.recording = RecordingStatus(
        path: recordingPath, bytes: writing.written, events: writing.events, dropped: writing.dropped)
    }
    if let latest = stateWatch?.latest {
      snapshot.controlWords = latest.words
      // The last exit is newer only where the trace clock is the one that readings are stamped with.
      snapshot.states = sampler.instance.clock == "mono" ? snapshot.freshened(latest.states) : latest.states
      snapshot.hostControls = latest.hostControls
      snapshot.stateFailure = latest.failure
    }
    if let questions { snapshot.vmmReadings = questions.readings(of: host) }
    return snapshot
  }

  /// Only the VMs and vCPUs that were asked for.
  private func shownHost() -> HostView {
    var shown = host
    if !options.processes.isEmpty { shown.vms.removeAll { !options.processes.contains($0.pid) } }
    return shown.selected(threads: nil, vcpus: options.vcpus)
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

extension Snapshot {
  /// What the last exit says of a vCPU's fields, where it is newer than what was read.
  func freshened(_ states: [Int32: VCPUReading]) -> [Int32: VCPUReading] {
    guard !states.isEmpty else { return states }
    var states = states
    for vcpu in vms.lazy.flatMap(\.vcpus) {
      guard let state = states[vcpu.tid], let last = vcpu.lastExit else { continue }
      states[vcpu.tid] = state.updated(by: last.exit, at: last.timestamp)
    }
    return states
  }
}
