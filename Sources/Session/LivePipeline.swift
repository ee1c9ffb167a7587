import Aggregator
import Architecture
import HostFiles
import KVMHost
import Sampler
import TraceFormat
import Tracefs

/// Who is handed what passes through a live pipeline, as it passes: on the pipeline's thread, and before it is counted.
protocol LiveConsumer: AnyObject {
  /// The pages of a drain follow.
  func beginDrain()
  /// A page as it was read from the kernel. The bytes are valid during the call.
  func take(_ page: UnsafeRawBufferPointer, cpu: Int)
  /// All that was handed over is counted up to the watermark.
  func endDrain(_ pipeline: LivePipeline)
  /// Control words that were seen to be others, at a moment on the trace clock, raw.
  func take(words: [Int32: ControlSetting], at time: UInt64)
  /// The VMs there are, of those that are counted, at a moment on the trace clock, raw.
  func take(host: [HostVM], at time: UInt64)
  /// The kernel's events changed: the last chance to take what the pipeline counted.
  func willCountAfresh(_ pipeline: LivePipeline)
  /// What changes slowly was looked at.
  func everySecond(_ pipeline: LivePipeline)
}

/// Live events of this host, from the kernel's buffers to the counter, with what is to be known beside them: the VMs, and
/// the state of vCPUs. There is one for the screen, for triage and batch, and for the recorder. One thread uses it.
final class LivePipeline {
  let sampler: LiveSampler
  let roots: HostRoots
  /// All VMs of this host when it was last looked.
  private(set) var host: [HostVM]
  /// Up to where everything is counted, on the trace clock; nil where that cannot be read.
  private(set) var watermark: UInt64?
  /// When counting began, on the trace clock; nil where that clock cannot be compared with ours.
  private(set) var start: UInt64?
  /// All is counted to the last event.
  private(set) var isFinished = false

  private let options: SessionOptions
  private let inventory: VMInventory
  private var counter: Counter
  private var consumer: (any LiveConsumer)?
  private var stateWatch: StateWatch?
  /// The state of every vCPU is read, and not only of those that somebody looks at.
  private var watchesAll = false
  private var generation: Int
  private var threadsSeen = 0
  private var messages: [(level: LogMessage.Level, text: String)] = []
  /// Events of the sums that were cut, and of what was counted before the kernel's events changed.
  private var eventsBefore: UInt64 = 0
  private var isCut = false

  /// In one go, so that writers that are faster than we are keep nobody from publishing, nor from ending.
  private static let longestAdvance: UInt64 = 200_000_000

  /// Makes the trace instance, which is there until `close`.
  ///
  /// - Throws: With the code `unavailable` or `unsupported` where this host cannot be traced, or none of the processes is a VM's.
  init(_ liveOptions: LiveOptions, _ options: SessionOptions) throws(SessionError) {
    self.options = options
    roots = liveOptions.roots
    inventory = VMInventory(roots: roots)
    host = inventory.scan()
    var liveOptions = liveOptions
    if !options.processes.isEmpty {
      try Self.check(options.processes, against: host)
      liveOptions.processes = options.processes
    }
    do { sampler = try LiveSampler(options: liveOptions) } catch { throw SessionError(error) }
    generation = sampler.metadataGeneration
    do {
      counter = try Self.makeCounter(sampler.metadata, options)
    } catch {
      sampler.close()
      throw SessionError(.unsupported, error.description)
    }
    start = sampler.startedAt
    takeSamplerMessages()
    counter.engine.learn(shownHost)
  }

  private static func makeCounter(
    _ metadata: TraceMetadata, _ options: SessionOptions
  ) throws(AggregatorError) -> Counter {
    try Counter(metadata: metadata, options: options.counting(metadata, isLive: true))
  }

  private static func check(_ processes: [Int32], against vms: [HostVM]) throws(SessionError) {
    for pid in processes where !vms.contains(where: { $0.pid == pid }) {
      let known = vms.map { vm in vm.name.map { "\(vm.pid) (\($0))" } ?? "\(vm.pid)" }
      throw SessionError(
        .unsupported, "no VM with pid \(pid) on this host",
        hint: known.isEmpty ? "no VM runs here" : "VMs here: \(known.joined(separator: ", "))")
    }
  }

  /// Hands over what passes from now on, and first which VMs there are.
  func hand(to consumer: any LiveConsumer) {
    self.consumer = consumer
    lookAtHost()
  }

  // MARK: Events

  /// Whether the trace clock is the one that readings of kernel memory are stamped with.
  private var isClockMonotonic: Bool { sampler.instance.clock == "mono" }

  /// The trace clock as far as everything is counted; CLOCK_MONOTONIC where it cannot be read.
  var present: UInt64 { watermark ?? start ?? monotonicNanoseconds() }

  /// Brings in and counts what there is up to now, or as much of it as can be done in a moment.
  func advance() {
    guard !isFinished else { return }
    take(until: monotonicNanoseconds() &+ Self.longestAdvance)
  }

  /// In bounded portions: the sampler's queues are small, the kernel's buffers are not.
  private func take(until end: UInt64) {
    repeat {
      watermark = drain()
      learnWords(until: watermark)
      counter.run(sampler, until: watermark ?? .max)
      consumer?.endDrain(self)
    } while sampler.isBehind && monotonicNanoseconds() < end
    // A VM may live for less than a second: look who it is while its threads are there.
    if counter.engine.threadCount > threadsSeen {
      threadsSeen = counter.engine.threadCount
      lookAtHost()
    }
  }

  private func drain() -> UInt64? {
    guard let consumer else { return sampler.drain() }
    consumer.beginDrain()
    return sampler.drain { page, cpu in consumer.take(page, cpu: cpu) }
  }

  /// Counting goes on in other settings from the moment on at which control words were seen to be others. Where the trace
  /// clock is not the one that such moments are of, from now on.
  private func learnWords(until watermark: UInt64?) {
    guard let stateWatch else { return }
    for change in stateWatch.takeChanges(until: isClockMonotonic ? watermark ?? .max : .max) {
      if isClockMonotonic { counter.run(sampler, until: change.time) }
      let time = isClockMonotonic ? change.time : max(counter.engine.lastCounted, start ?? 0)
      counter.engine.learn(change.words, at: time)
      consumer?.take(words: change.words, at: time)
    }
  }

  /// Waits until a buffer is a quarter full, `wake` is readable or the time is over. Returns whether `wake` is.
  func wait(milliseconds: Int32, wake: Int32) -> Bool { sampler.wait(milliseconds: milliseconds, wake: wake) }

  /// Ends tracing, and counts what was written until then to the last event.
  func finish() {
    guard !isFinished else { return }
    let stopped = sampler.stop()
    take(until: .max)
    // The watermark stays behind the clock; with tracing off nothing more comes, so all of the rest is in order too.
    repeat {
      _ = drain()
      counter.run(sampler)
    } while sampler.isBehind || sampler.pagesOfLastDrain > 0
    watermark = stopped ?? watermark
    isFinished = true
  }

  /// Removes the trace instance. Returns what prevented that.
  @discardableResult
  func close() -> TracefsError? {
    stateWatch?.stop()
    return sampler.close()
  }

  // MARK: What changes slowly

  /// To be called once a second. Returns whether counting began afresh, since the kernel's events changed.
  @discardableResult
  func maintain() -> Bool {
    guard !isFinished else { return false }
    sampler.maintain()
    takeSamplerMessages()
    for text in stateWatch?.takeMessages() ?? [] { messages.append((.info, text)) }
    let isAfresh = sampler.metadataGeneration != generation && countAfresh()
    lookAtHost()
    consumer?.everySecond(self)
    return isAfresh
  }

  private func countAfresh() -> Bool {
    generation = sampler.metadataGeneration
    let fresh: Counter
    do { fresh = try Self.makeCounter(sampler.metadata, options) } catch {
      messages.append((.error, error.description))
      return false
    }
    consumer?.willCountAfresh(self)
    eventsBefore &+= counter.engine.countedEvents
    counter = fresh
    // The first sums begin now: what was counted before is another generation's.
    if isCut { _ = counter.engine.cut(at: present) }
    if let words = stateWatch?.latest.words, !words.isEmpty { counter.engine.learn(words, at: present) }
    start = watermark
    threadsSeen = 0
    return true
  }

  private func takeSamplerMessages() { messages += sampler.takeMessages().map { (.info, $0) } }

  /// What there is to say since the last call.
  func takeMessages() -> [(level: LogMessage.Level, text: String)] {
    defer { messages = [] }
    return messages
  }

  // MARK: VMs

  func lookAtHost() {
    host = inventory.scan()
    counter.engine.learn(shownHost)
    let counted = host.filter { options.processes.isEmpty || options.processes.contains($0.pid) }
    if watchesAll { stateWatch?.watch(Set(counted.flatMap(\.vcpus).map(\.tid))) }
    consumer?.take(host: counted, at: present)
  }

  /// Only the VMs and vCPUs that were asked for.
  private var shownHost: HostView {
    var shown = HostView(vms: host)
    if !options.processes.isEmpty { shown.vms.removeAll { !options.processes.contains($0.pid) } }
    return shown.selected(threads: nil, vcpus: options.vcpus)
  }

  // MARK: The state of vCPUs

  /// Reads the control words from kernel memory from now on: for those who show them, since it costs something.
  ///
  /// - Parameter all: all of the state of every vCPU that is counted, too.
  func watchState(ofAll all: Bool = false) {
    watchesAll = all
    if stateWatch == nil { stateWatch = StateWatch(roots: roots) }
  }

  /// Reads all of the state of these vCPUs, by thread, from now on.
  func watch(_ threads: Set<Int32>) { stateWatch?.watch(threads) }

  /// What was read last; nil where nothing is read.
  var latestState: StateWatch.Latest? { stateWatch?.latest }

  // MARK: What was counted

  /// Events counted since it began, by who takes its counts with `cut` and no snapshots.
  var countedEvents: UInt64 { eventsBefore &+ counter.engine.countedEvents }

  /// What was counted since the last call, up to the watermark.
  func cut() -> IntervalCounts {
    isCut = true
    let sums = counter.engine.cut(at: max(watermark ?? 0, counter.engine.lastCounted))
    eventsBefore &+= sums.events
    return sums
  }

  /// As `Counter.compare`: with what comes after the last snapshot. Counting that begins afresh ends it.
  func compare(with before: Snapshot) { counter.compare(with: before) }

  func endComparison() { counter.endComparison() }

  /// What was counted and read, and begins the next interval.
  func snapshot() -> Snapshot {
    counter.countLosses(all: isFinished) { sampler.lostEvents(cpu: $0) }
    var snapshot = counter.snapshot(now: start == nil ? nil : watermark, start: start)
    if let latest = latestState {
      snapshot.controlWords = latest.words
      // The last exit is newer only where the trace clock is the one that readings are stamped with.
      snapshot.states = isClockMonotonic ? snapshot.freshened(latest.states) : latest.states
      snapshot.hostControls = latest.hostControls
      snapshot.stateFailure = latest.failure
    }
    return snapshot
  }
}
