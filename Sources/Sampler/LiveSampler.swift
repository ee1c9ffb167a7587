import Errors
import Glibc
import HostFiles
import TraceFormat
import Tracefs

/// What to trace, and how.
public struct LiveOptions: Sendable {
  /// Where the host's file systems are; another prefix than none is for tests.
  public var roots: HostRoots
  public var events: EventSet
  /// Only these host threads (vCPU threads), fixed; nil for all. Together with `processes`: the threads of both.
  public var threads: [Int32]?
  /// Only the threads of these processes (VMMs); `maintain` follows threads that come and go.
  public var processes: [Int32]?
  /// `trace_clock`; see `TraceInstance.Options.clock`.
  public var clock: String
  /// Ring buffer per CPU in KiB; nil chooses.
  public var bufferKiBPerCPU: Int?
  /// Sub-buffer in KiB; nil chooses.
  public var subBufferKiB: Int?
  /// Bound on the memory for sub-buffers taken from the kernel and not yet from us, in bytes. At least two per CPU are
  /// always allowed.
  public var memoryLimit: Int
  /// Removes instances left behind by dead processes first.
  public var sweepsOrphans: Bool

  public init(
    roots: HostRoots = HostRoots(), events: EventSet = .standard, threads: [Int32]? = nil, processes: [Int32]? = nil,
    clock: String = "mono", bufferKiBPerCPU: Int? = nil, subBufferKiB: Int? = nil, memoryLimit: Int = 8 << 20,
    sweepsOrphans: Bool = true
  ) {
    self.roots = roots
    self.events = events
    self.threads = threads
    self.processes = processes
    self.clock = clock
    self.bufferKiBPerCPU = bufferKiBPerCPU
    self.subBufferKiB = subBufferKiB
    self.memoryLimit = memoryLimit
    self.sweepsOrphans = sweepsOrphans
  }
}

/// How often to drain. Each tick costs one read per CPU and each CPU's partly filled sub-buffer one copy; a wake-up by
/// the kernel at every event would cost the vCPU thread itself.
public enum Tick {
  /// Between drains while events come in whole sub-buffers.
  public static let busyMilliseconds: Int32 = 20
  /// Between drains otherwise. A buffer that becomes a quarter full ends `LiveSampler.wait` before that.
  public static let idleMilliseconds: Int32 = 100
  /// How long after its time stamp an event is surely in the buffer: the writer may be interrupted between the two, and
  /// the trace clock `mono` may be a little off CLOCK_MONOTONIC while the kernel adjusts it.
  public static let settlingNanoseconds: UInt64 = 1_000_000
}

/// The live source: the sub-buffers of a private trace instance.
///
/// `drain` moves what the kernel has into a queue per CPU, `nextPage` takes from the queues. In the steady state nothing is
/// allocated. One thread uses it.
public final class LiveSampler: PageSource {
  public private(set) var metadata: TraceMetadata
  /// Counts up whenever `metadata` changes, because the module kvm was loaded or loaded again: compile the layouts anew.
  public private(set) var metadataGeneration = 0
  public private(set) var streams: [PageStream] = []
  /// True while the module kvm is not loaded; `maintain` enables its events once it is.
  public var isWaitingForKVM: Bool { instance.enabledEvents.isEmpty }
  /// True if the last drain left data in the kernel because the queues were full: take the pages, then drain again at once.
  public private(set) var isBehind = false
  /// What the last drain found; see `recommendedTick`.
  public private(set) var pagesOfLastDrain = 0
  /// What the removal of orphaned instances came to.
  public let sweep: InstanceSweep
  /// The instance, for its settings and statistics.
  public let instance: TraceInstance

  private struct Queue {
    /// Sub-buffers in the order of their CPU; `count` of them from `head` on, wrapping.
    var ring: [UnsafeMutableRawPointer?]
    var head = 0
    var count = 0
    /// Lent out by `nextPage` until the next call.
    var lent: UnsafeMutableRawPointer?
    /// Base time stamp of the last sub-buffer read.
    var lastBase: UInt64 = 0
  }

  /// The instance's folder.
  public var instancePath: String { instance.path }

  private var options: LiveOptions
  private var messages: [String] = []
  /// When tracing began, on the trace clock; nil where that cannot be read. Earlier than anything this took, and than
  /// the end of `init`.
  public let startedAt: UInt64?
  private let clock: PresentClock
  private let pageSize: Int
  /// Sub-buffers per queue.
  private let queueLimit: Int
  private var queues: [Queue] = []
  private var pool: [UnsafeMutableRawPointer] = []
  private var watermark: UInt64 = 0
  private var pollSet: [pollfd] = []
  private var onlineText: String?
  private var sawFullPage = false
  private var isClosed = false

  /// Makes the instance and starts tracing. Without the module kvm it waits: see `isWaitingForKVM`.
  public init(options: LiveOptions = LiveOptions()) throws(TracefsError) {
    self.options = options
    let root = try TracefsRoot.find(roots: options.roots)
    sweep = options.sweepsOrphans ? InstanceSweep.run(in: root) : InstanceSweep()
    let instance = try TraceInstance(
      in: root,
      options: TraceInstance.Options(
        events: options.events, clock: options.clock, bufferKiBPerCPU: options.bufferKiBPerCPU,
        subBufferKiB: options.subBufferKiB, threads: LiveSampler.chosenThreads(options)))
    clock = PresentClock(named: instance.clock)
    startedAt = clock.now(instance)
    let formats = try instance.formats()
    self.instance = instance
    pageSize = instance.page.subBufferSize
    queueLimit = max(2, min(4096, options.memoryLimit / max(1, pageSize) / max(1, instance.streams.count)))
    metadata = TraceMetadata(
      formats: formats, page: instance.page, clock: instance.clock, uname: LiveSampler.systemName(options.roots))
    onlineText = readOnline()
    addQueues()
    if !sweep.removed.isEmpty {
      note("removed what dead processes left behind: \(sweep.removed.joined(separator: ", "))")
    }
    for left in sweep.left {
      note("cannot remove the orphaned instance \(left.name): \(errorText(left.errorNumber))")
    }
    if isWaitingForKVM {
      note("the module kvm is not loaded: waiting for it")
    } else if !instance.missingEvents.isEmpty {
      note("events this kernel does not have: \(instance.missingEvents.joined(separator: ", "))")
    }
  }

  deinit { close() }

  private func addQueues() {
    // By CPU alone, as they are in a recording: the instance's name is of no use to who reads sums of these streams.
    streams = instance.streams.map { PageStream(cpu: $0.cpu) }
    while queues.count < streams.count { queues.append(Queue(ring: Array(repeating: nil, count: queueLimit))) }
    pollSet = instance.descriptorsForPoll.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
    pollSet.append(pollfd(fd: -1, events: Int16(POLLIN), revents: 0))
  }

  // MARK: Pages

  public func nextPage(stream: Int) -> UnsafeRawBufferPointer? {
    guard queues.indices.contains(stream) else { return nil }
    if let lent = queues[stream].lent {
      pool.append(lent)
      queues[stream].lent = nil
    }
    guard queues[stream].count > 0, let page = queues[stream].ring[queues[stream].head] else { return nil }
    let next = queues[stream].head &+ 1
    queues[stream].head = next == queueLimit ? 0 : next
    queues[stream].count &-= 1
    queues[stream].lent = page
    return UnsafeRawBufferPointer(start: page, count: pageSize)
  }

  private func takeBuffer() -> UnsafeMutableRawPointer {
    pool.popLast() ?? UnsafeMutableRawPointer.allocate(byteCount: pageSize, alignment: 4096)
  }

  /// Reads every CPU's buffer until it is empty, or its queue full.
  ///
  /// - Parameter taken: told of each sub-buffer as it is read; its bytes are valid during the call.
  /// - Returns: the watermark in nanoseconds of the trace clock: every event stamped earlier is in the queues or was taken
  ///   from them. It never falls. Nil where the trace clock cannot be read.
  @discardableResult
  public func drain(_ taken: (_ page: UnsafeRawBufferPointer, _ cpu: Int) -> Void = { _, _ in }) -> UInt64? {
    let start = clock.now(instance)
    var reached = start.map { $0 > clock.settling ? $0 - clock.settling : 0 }
    isBehind = false
    sawFullPage = false
    pagesOfLastDrain = 0
    for index in queues.indices {
      var isDone = false
      var smallPages = 0
      while queues[index].count < queueLimit {
        let buffer = takeBuffer()
        guard instance.readPage(stream: index, into: buffer) == .page else {
          pool.append(buffer)
          isDone = true
          break
        }
        var slot = queues[index].head &+ queues[index].count
        if slot >= queueLimit { slot &-= queueLimit }
        queues[index].ring[slot] = buffer
        queues[index].count &+= 1
        pagesOfLastDrain &+= 1
        taken(UnsafeRawBufferPointer(start: buffer, count: pageSize), streams[index].cpu)
        let base = UnsafeRawPointer(buffer).loadUnaligned(
          fromByteOffset: metadata.page.timestampOffset, as: UInt64.self)
        queues[index].lastBase = base
        let used = Int(
          UnsafeRawPointer(buffer).loadUnaligned(fromByteOffset: metadata.page.commitOffset, as: UInt32.self) & 0xF_FFFF
        )
        let isSmall = used < pageSize / 4
        if used > pageSize / 2 { sawFullPage = true }
        // A fast writer adds events while its partly filled sub-buffer is copied; do not run after it. What was
        // written since the start is left for the next drain. Without a clock, small sub-buffers tell.
        smallPages = isSmall ? smallPages &+ 1 : 0
        if let start { isDone = base >= start } else { isDone = smallPages >= 4 }
        if isDone { break }
      }
      if !isDone {
        isBehind = true
        // Sub-buffers of a CPU are in order: what is stamped before the last one read has been read.
        if let present = reached { reached = min(present, queues[index].lastBase) }
      }
    }
    guard let reached else { return nil }
    watermark = max(watermark, reached)
    return watermark
  }

  // MARK: Waiting

  /// How long to wait before the next drain, in milliseconds: 0 when behind, `Tick.busyMilliseconds` while sub-buffers come
  /// more than half full, else `Tick.idleMilliseconds`.
  public var recommendedTick: Int32 {
    isBehind ? 0 : sawFullPage ? Tick.busyMilliseconds : Tick.idleMilliseconds
  }

  /// Sleeps until a buffer is a quarter full, `wake` is readable or the time is over. Returns true if `wake` (an eventfd, to end
  /// the sampler's thread) is readable.
  @discardableResult
  public func wait(milliseconds: Int32, wake: Int32 = -1) -> Bool {
    guard let last = pollSet.indices.last else { return false }
    pollSet[last].fd = wake
    pollSet[last].revents = 0
    guard poll(&pollSet, nfds_t(pollSet.count), milliseconds) > 0 else { return false }
    // A CPU whose buffer is gone would end every wait at once: it is left out until the next change of CPUs.
    for index in pollSet.indices.dropLast() where pollSet[index].revents & Int16(POLLNVAL | POLLERR | POLLHUP) != 0 {
      if pollSet[index].revents & Int16(POLLIN) == 0 { pollSet[index].fd = -1 }
    }
    return pollSet[last].revents & Int16(POLLIN) != 0
  }

  // MARK: Once a second

  /// Follows the host: CPUs that come online, events of modules loaded meanwhile, threads of the chosen processes. To be
  /// called once a second. What is worth telling goes to `takeMessages`.
  public func maintain() {
    guard !isClosed else { return }
    let online = readOnline()
    if online != onlineText {
      onlineText = online
      do {
        if try instance.scanCPUs() {
          let count = queues.count
          addQueues()
          note("CPUs online: \(streams[count...].map { "\($0.cpu)" }.joined(separator: ", "))")
        }
      } catch { note("\(error)") }
    }
    if instance.mayHaveNewEvents {
      let wasWaiting = isWaitingForKVM
      let new = instance.enableNewEvents()
      if !new.isEmpty {
        do {
          metadata.formats = try instance.formats()
          metadataGeneration &+= 1
        } catch { note("\(error)") }
        note(
          wasWaiting
            ? "the module kvm is loaded: tracing \(new.count) events" : "events enabled: \(new.joined(separator: ", "))"
        )
      } else if !wasWaiting, isWaitingForKVM {
        note("the module kvm was unloaded: waiting for it")
      }
    }
    if options.processes != nil {
      do { try instance.setThreads(LiveSampler.chosenThreads(options)) } catch { note("\(error)") }
    }
  }

  /// What there is to tell since the last call, one line each.
  public func takeMessages() -> [String] {
    defer { messages = [] }
    return messages
  }

  private func note(_ text: String) {
    if messages.count < 100 { messages.append(text) }
  }

  /// The threads to trace, or nil for all.
  private static func chosenThreads(_ options: LiveOptions) -> [Int32]? {
    guard options.threads != nil || options.processes != nil else { return nil }
    var threads = Set(options.threads ?? [])
    for process in options.processes ?? [] {
      threads.formUnion((try? HostFile.numbers("\(options.roots.proc)/\(process)/task")) ?? [])
    }
    return threads.sorted()
  }

  private func readOnline() -> String? { HostFile.line("\(options.roots.sys)/devices/system/cpu/online") }

  // MARK: Losses

  /// Events lost since the start by the buffers' own counters, over all CPUs: an independent check on what the sub-buffers
  /// say. A few reads per CPU: for the end, not for each tick.
  public func lostEvents() -> UInt64 {
    streams.reduce(0) { $0 &+ (lostEvents(cpu: $1.cpu) ?? 0) }
  }

  /// Events lost on one CPU since the start, by its buffer's own counters; nil if they cannot be read.
  public func lostEvents(cpu: Int) -> UInt64? { instance.statistics(cpu: cpu)?.lost }

  // MARK: The end

  /// The trace clock now; nil where it cannot be read.
  public var presentTime: UInt64? { clock.now(instance) }

  /// Stops tracing; what is in the buffers can still be drained. Returns when that was, on the trace clock, or nil where
  /// that cannot be read.
  public func stop() -> UInt64? {
    instance.stop()
    return clock.now(instance)
  }

  /// Removes the instance and gives the memory back; pages still lent become invalid. Returns what prevented the removal.
  @discardableResult
  public func close() -> TracefsError? {
    guard !isClosed else { return nil }
    isClosed = true
    let failure = instance.close()
    for index in queues.indices {
      if let lent = queues[index].lent { lent.deallocate() }
      for offset in 0..<queues[index].count {
        queues[index].ring[(queues[index].head &+ offset) % queueLimit]?.deallocate()
      }
    }
    queues = []
    pollSet = []
    for buffer in pool { buffer.deallocate() }
    pool = []
    return failure
  }

  // MARK: System

  /// `sysname nodename release`, as trace.dat has it.
  private static func systemName(_ roots: HostRoots) -> String? {
    let names = ["ostype", "hostname", "osrelease"].map { HostFile.line("\(roots.proc)/sys/kernel/\($0)") }
    let known = names.compactMap { $0 }
    return known.count == names.count ? sanitized(known.joined(separator: " ")) : nil
  }
}
