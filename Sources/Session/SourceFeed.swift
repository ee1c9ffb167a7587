import Aggregator
import Architecture
import Glibc
import KVMHost
import Recording
import Sampler
import TraceFormat

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
  /// Seconds between snapshots.
  public var interval: Double = 1

  public init() {}
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
  return { isa, code in exit.exitReasonNames(isa: isa)[code] }
}

/// Live events of this host.
final class LiveFeed: Feed {
  private let sampler: LiveSampler
  private var aggregator: Aggregator
  private let inventory: VMInventory
  private let facts: HostFacts
  private let options: SessionOptions
  private var host = HostView()
  private var messages: [LogMessage] = []
  private let began: UInt64
  private var watermark: UInt64?
  /// The same instant on the trace clock; nil where that clock cannot be compared with ours.
  private let start: UInt64?
  private var formatCount: Int

  init(_ liveOptions: LiveOptions, _ options: SessionOptions) throws(SessionError) {
    self.options = options
    inventory = VMInventory()
    facts = HostFacts.read()
    var liveOptions = liveOptions
    let vms = inventory.scan()
    if !options.processes.isEmpty {
      liveOptions.threads = try Self.threads(of: options, in: vms)
    }
    do {
      sampler = try LiveSampler(options: liveOptions)
    } catch {
      throw SessionError(
        error.isUnsupported ? .unsupported : .unavailable, error.message, hint: error.hint)
    }
    began = monotonicNanoseconds()
    start = sampler.isClockComparable ? began : nil
    formatCount = sampler.metadata.formats.count
    do {
      aggregator = try Self.makeAggregator(sampler.metadata, options)
    } catch {
      sampler.close()
      throw SessionError(.unsupported, error.description)
    }
    host = Self.view(vms)
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

  private static func threads(of options: SessionOptions, in vms: [HostVM]) throws(SessionError) -> [Int32] {
    var threads: [Int32] = []
    for pid in options.processes {
      let own = vms.filter { $0.pid == pid }
      guard !own.isEmpty else {
        let known = vms.map { vm in vm.name.map { "\(vm.pid) (\($0))" } ?? "\(vm.pid)" }
        throw SessionError(
          .unsupported, "no VM with pid \(pid) on this host",
          hint: known.isEmpty ? "no VM runs here" : "VMs here: \(known.joined(separator: ", "))")
      }
      threads += own.flatMap(\.vcpus).map(\.tid)
    }
    return threads
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
    watermark = sampler.drain()
    aggregator.run(sampler, until: watermark ?? .max)
  }

  func maintain() {
    sampler.maintain()
    if sampler.metadata.formats.count != formatCount {
      // A module came: its events could not be counted before, so nothing is lost by starting afresh.
      formatCount = sampler.metadata.formats.count
      do {
        aggregator = try Self.makeAggregator(sampler.metadata, options)
        note(.info, "the kernel has new events: counting starts afresh")
      } catch {
        note(.error, error.description)
      }
    }
    let vms = inventory.scan()
    host = Self.view(vms)
    if !options.processes.isEmpty, let threads = try? Self.threads(of: options, in: vms) {
      sampler.follow(threads: threads)
    }
  }

  func snapshot() -> Snapshot {
    var snapshot = aggregator.snapshot(now: start == nil ? nil : watermark, start: start, host: shownHost())
    snapshot.source.kind = .tracefs
    snapshot.source.path = sampler.instancePath
    snapshot.source.hostName = facts.hostName
    snapshot.source.kernelRelease = facts.kernelRelease
    snapshot.source.backend = facts.backend
    return snapshot
  }

  /// With a filter on VMs, only those are shown.
  private func shownHost() -> HostView {
    guard !options.processes.isEmpty else { return host }
    return HostView(vms: host.vms.filter { options.processes.contains($0.pid) })
  }

  private func note(_ level: LogMessage.Level, _ text: String) {
    messages.append(LogMessage(level: level, seconds: Double(monotonicNanoseconds() &- began) / 1e9, text: text))
  }

  func takeMessages() -> [LogMessage] {
    for text in sampler.takeMessages() { note(.info, text) }
    defer { messages = [] }
    return messages
  }

  func close() { sampler.close() }

  var damage: [String] { [] }
}

/// A recording, played at its own pace, stepped, or read in one go.
final class RecordingFeed: Feed {
  private let file: TraceFile
  private var aggregator: Aggregator
  private let options: SessionOptions
  private let source: SourceDescription
  private let firstTimestamp: UInt64
  private let lastTimestamp: UInt64
  /// Nanoseconds from the first event to the playing position.
  private(set) var position: UInt64 = 0
  private var reportedDamage = 0
  /// Seconds of the recording per second of the clock.
  var speed = 1.0
  var isPaused = false
  private var lastAdvance: UInt64?
  let duration: UInt64

  init(_ file: TraceFile, path: String?, isDemo: Bool, _ options: SessionOptions) throws(SessionError) {
    self.file = file
    self.options = options
    var source = SourceDescription()
    source.kind = .traceDat
    source.path = path
    source.isDemo = isDemo
    if let uname = file.metadata.uname?.split(separator: " "), uname.count >= 3 {
      source.hostName = String(uname[1])
      source.kernelRelease = String(uname[2])
    }
    self.source = source
    do {
      aggregator = try Self.makeAggregator(file.metadata, options)
    } catch {
      throw SessionError(.unsupported, error.description)
    }
    let bounds = file.timeBounds()
    firstTimestamp = bounds?.first ?? 0
    lastTimestamp = bounds?.last ?? 0
    duration = file.metadata.timeScale.nanoseconds(lastTimestamp &- min(firstTimestamp, lastTimestamp))
  }

  convenience init(_ input: SessionInput, _ options: SessionOptions) throws(SessionError) {
    do {
      switch input {
      case .file(let path): try self.init(try TraceFile(path: path), path: path, isDemo: false, options)
      case .demo(let bytes): try self.init(try TraceFile(bytes: bytes), path: nil, isDemo: true, options)
      case .live: throw SessionError(.failure, "a live source is no recording")
      }
    } catch let error as TraceFileError {
      throw SessionError(error.isMissing ? .unavailable : .damaged, error.description)
    } catch let error as SessionError {
      throw error
    } catch {
      throw SessionError(.failure, "\(error)")
    }
  }

  private static func makeAggregator(
    _ metadata: TraceMetadata, _ options: SessionOptions
  ) throws(AggregatorError) -> Aggregator {
    try Aggregator(
      metadata: metadata,
      options: AggregatorOptions(
        threads: options.processes.isEmpty ? nil : Set(options.processes),
        vcpuIDs: options.vcpus.isEmpty ? nil : Set(options.vcpus),
        fallbackName: fallbackNames(metadata.formats)))
  }

  var isFinished: Bool { position >= duration }

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
    aggregator.run(file, until: isFinished ? .max : raw(position))
  }

  /// A position as a timestamp of the recording's clock.
  private func raw(_ position: UInt64) -> UInt64 {
    let scale = file.metadata.timeScale
    guard scale != .nanoseconds, scale.multiplier != 0 else { return firstTimestamp &+ position }
    let raw = Double(position) * Double(UInt64(1) << UInt64(min(scale.shift, 63))) / Double(scale.multiplier)
    return firstTimestamp &+ UInt64(max(0, min(raw, 1.8e19)))
  }

  /// Goes to a position, backward by counting again from the start. The intervals before it are rebuilt, so that
  /// rates and history read as if it had been played.
  func seek(to target: UInt64, interval: UInt64) {
    let target = min(target, duration)
    if target < position {
      file.rewind()
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

  /// Reads everything, as fast as it goes.
  func readAll() {
    position = duration
    aggregator.run(file)
  }

  func snapshot() -> Snapshot {
    var snapshot = aggregator.snapshot(
      now: isFinished ? nil : raw(position), start: nil, commandNames: file.metadata.commandNames)
    let isa = snapshot.source.isa
    snapshot.source = source
    snapshot.source.isa = isa
    snapshot.source.backend = isa == "vmx" ? "kvm_intel" : isa == "svm" ? "kvm_amd" : nil
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
}
