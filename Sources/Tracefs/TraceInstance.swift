import CSignals
import Glibc
import HostFiles
import Synchronization
import TraceFormat

/// A trace instance of our own: `instances/vmctop-…`, with its own clock, buffers and events, read in whole sub-buffers.
///
/// It is removed by `close`, by `deinit`, and through `CleanupRegistry` on every other way out. Not thread-safe: one
/// thread uses it.
public final class TraceInstance {
  /// What to set up.
  public struct Options: Sendable {
    public var events: EventSet
    /// `trace_clock`: `mono` (the default; comparable with CLOCK_MONOTONIC), `boot`, `mono_raw`, `tai`, `local`,
    /// `global`, `perf`. Where the kernel lacks it, `local` is taken.
    public var clock: String
    /// Ring buffer per CPU in KiB; nil chooses, see `defaultBufferKiB`.
    public var bufferKiBPerCPU: Int?
    /// Sub-buffer in KiB, where the kernel lets it be set (6.8 and later); nil chooses.
    public var subBufferKiB: Int?
    /// Only events of these host threads; nil for all.
    public var threads: [Int32]?

    public init(
      events: EventSet = .standard, clock: String = "mono", bufferKiBPerCPU: Int? = nil, subBufferKiB: Int? = nil,
      threads: [Int32]? = nil
    ) {
      self.events = events
      self.clock = clock
      self.bufferKiBPerCPU = bufferKiBPerCPU
      self.subBufferKiB = subBufferKiB
      self.threads = threads
    }
  }

  /// The result of reading one sub-buffer.
  public enum PageRead: Sendable, Hashable {
    /// A whole sub-buffer was stored.
    case page
    /// There is nothing now.
    case empty
    /// The CPU has no buffer (it has not been online yet: ENODEV) or its file failed; it is passed over until
    /// `scanCPUs` finds it online again.
    case unavailable(errorNumber: Int32)
  }

  /// How events are limited to threads.
  public enum ThreadFilter: Sendable, Hashable {
    case none
    /// `common_pid == a || …` in `events/kvm/filter`, which applies it to every event of the system at once.
    case expression
    /// `set_event_pid`: for more threads than `maximumFilterThreads`. Its bitmap costs the same for any number, but
    /// it hooks sched_switch on the whole host, so it is not the first choice.
    case eventPID
  }

  /// Above this many threads the filter expression, evaluated term by term for each event, is slower than
  /// `set_event_pid` and comes near the kernel's limit of one page of text.
  public static let maximumFilterThreads = 64

  public let root: TracefsRoot
  public let name: String
  /// The instance's folder.
  public let path: String
  public private(set) var clock: String
  public private(set) var page: PageLayout
  /// Ring buffer per CPU in KiB, as the kernel granted it.
  public private(set) var bufferKiBPerCPU: Int
  public private(set) var threadFilter = ThreadFilter.none
  /// The events of system kvm that are enabled, in the order wanted.
  public private(set) var enabledEvents: [String] = []
  /// Events of the wanted set that this kernel does not have (now).
  public private(set) var missingEvents: [String] = []
  /// One per CPU whose buffer is open; grows, never shrinks.
  public private(set) var streams: [PageStream] = []
  /// Reads that returned part of a sub-buffer and had to be repeated.
  public private(set) var shortReads: UInt64 = 0

  private let events: EventSet
  private var threads: [Int32]?
  private var descriptors: [Int32] = []
  private var isDormant: [Bool] = []
  /// In the clean-up's table.
  private let slot: Int32
  private var isOpen = true

  private static let counter = Atomic<Int>(0)

  /// Makes the instance and starts tracing. Events that are missing are enabled later by `enableNewEvents`.
  public convenience init(in root: TracefsRoot, options: Options = Options()) throws(TracefsError) {
    do { try CleanupRegistry.install() } catch { throw TracefsError(error, "signal handlers cannot be installed") }
    let cpus = max(1, TraceInstance.onlineCPUs(root)?.count ?? 1)
    let processes = ProcessTable(roots: root.roots)
    for _ in 0..<100 {
      let number = TraceInstance.counter.wrappingAdd(1, ordering: .relaxed).oldValue
      let name = InstanceName(ofThisProcessIn: processes, number: number).description
      let path = "\(root.path)/instances/\(name)"
      // Registered before it exists, so that no signal can come between.
      let slot = csignals_instance_open(path, Int32(truncatingIfNeeded: cpus &+ 4096))
      guard slot >= 0 else {
        throw TracefsError(
          FileError(operation: "register", path: path, number: -slot), "the instance cannot be registered for clean-up")
      }
      if mkdir(path, 0o700) == 0 {
        try self.init(adopting: name, in: root, slot: slot, cpus: cpus, options: options)
        return
      }
      let failure = errno
      csignals_instance_close(slot)
      if failure != EEXIST {
        throw TracefsError(
          FileError(operation: "mkdir", path: path, number: failure), "the trace instance cannot be made")
      }
    }
    throw TracefsError(.busy, path: "\(root.path)/instances", message: "no free name for a trace instance")
  }

  /// Sets up an instance whose folder exists. The instance owns the folder from now on.
  init(adopting name: String, in root: TracefsRoot, slot: Int32, cpus: Int, options: Options) throws(TracefsError) {
    self.root = root
    self.name = name
    self.slot = slot
    path = "\(root.path)/instances/\(name)"
    events = options.events
    threads = options.threads
    clock = options.clock
    page = PageLayout()
    bufferKiBPerCPU = 0
    TraceInstance.allowDescriptors(cpus)
    do {
      try setUp(options, cpus: cpus)
    } catch {
      _ = close()
      throw error
    }
  }

  deinit { _ = close() }

  /// The order matters: a new clock and a new sub-buffer size both discard what is in the buffer, and nothing is to be
  /// recorded before the filter is in place.
  private func setUp(_ options: Options, cpus: Int) throws(TracefsError) {
    try write("0", to: "tracing_on")
    try setClock(options.clock)
    setSubBuffer(kiB: options.subBufferKiB ?? TraceInstance.defaultSubBufferKiB(cpus: cpus))
    let wanted =
      options.bufferKiBPerCPU
      ?? TraceInstance.defaultBufferKiB(cpus: cpus, memoryKiB: TraceInstance.memoryKiB(root.roots))
    try setBuffer(kiB: wanted)
    try write("1", to: "options/overwrite")
    // The watermark of poll, see `descriptorsForPoll`. Absent before 5.1.
    try? write("25", to: "buffer_percent")
    page = try readPageLayout()
    try applyThreadFilter()
    enableNewEvents()
    try scanCPUs()
    try write("1", to: "tracing_on")
  }

  // MARK: Sizes

  /// 8 MiB per CPU: 150 ms at a million events per second and CPU, so a tick of 20 to 50 ms loses nothing even when the
  /// reader is late. Less where that would exceed 256 MiB or a sixteenth of the memory in all, but 512 KiB at least.
  public static func defaultBufferKiB(cpus: Int, memoryKiB: Int?) -> Int {
    let total = min(256 << 10, (memoryKiB ?? 4 << 20) / 16)
    return min(8 << 10, max(512, total / max(1, cpus)))
  }

  /// 64 KiB, so that a million events a second need some hundred reads; less on hosts with many CPUs, where every CPU's
  /// partly filled sub-buffer takes that much of our memory.
  public static func defaultSubBufferKiB(cpus: Int) -> Int { cpus <= 32 ? 64 : cpus <= 128 ? 32 : 16 }

  /// The whole ring buffer over all CPUs, in KiB.
  public var totalBufferKiB: Int { bufferKiBPerCPU &* max(1, streams.count) }

  private static func memoryKiB(_ roots: HostRoots) -> Int? {
    guard let text = try? HostFile.text("\(roots.proc)/meminfo"),
      let line = text.split(separator: "\n").first(where: { $0.hasPrefix("MemTotal:") })
    else { return nil }
    return line.split(separator: " ").dropFirst().first.flatMap { Int($0) }
  }

  private func setSubBuffer(kiB: Int) {
    var kiB = kiB
    // Large sub-buffers need contiguous memory: take the largest there is. Absent before 6.8: 4 KiB then.
    while kiB >= 4, HostFile.exists("\(path)/buffer_subbuf_size_kb") {
      if (try? write("\(kiB)", to: "buffer_subbuf_size_kb")) != nil { return }
      kiB /= 2
    }
  }

  private func setBuffer(kiB: Int) throws(TracefsError) {
    var kiB = max(64, kiB)
    while true {
      do {
        try write("\(kiB)", to: "buffer_size_kb")
        break
      } catch {
        guard error.code == .noMemory, kiB > 512 else { throw error }
        kiB /= 2
      }
    }
    let granted = HostFile.line("\(path)/buffer_size_kb")?.split(separator: " ").first.flatMap { Int($0) }
    bufferKiBPerCPU = granted ?? kiB
  }

  private func setClock(_ wanted: String) throws(TracefsError) {
    let offered = (HostFile.line("\(path)/trace_clock") ?? "").split(whereSeparator: { " []".contains($0) })
    clock = offered.contains(Substring(wanted)) || offered.isEmpty ? wanted : "local"
    try write(clock, to: "trace_clock")
  }

  private func readPageLayout() throws(TracefsError) -> PageLayout {
    let file = "\(path)/events/header_page"
    let text: String
    do { text = try HostFile.text(file) } catch { throw TracefsError(error, "the page layout cannot be read") }
    do { return try PageLayout.parse(headerPage: text) } catch {
      throw TracefsError(error, path: file, "the page layout is not understood")
    }
  }

  private func write(_ text: String, to file: String) throws(TracefsError) {
    do { try HostFile.write(text, to: "\(path)/\(file)") } catch {
      throw TracefsError(error, "the trace instance cannot be set up (\(text) refused)")
    }
  }

  // MARK: Events

  /// Enables the wanted events that are there and not enabled: at the start, when the module kvm has been loaded, or
  /// loaded again. Returns the names newly enabled.
  @discardableResult
  public func enableNewEvents() -> [String] {
    let system = "\(path)/events/kvm"
    let wanted = events.wanted(of: events == .full ? availableEvents() : [])
    var enabled: [String] = []
    var new: [String] = []
    var missing: [String] = []
    for event in wanted {
      let file = "\(system)/\(event)/enable"
      switch HostFile.line(file) {
      case nil: missing.append(event)
      case let state? where state.hasPrefix("1"): enabled.append(event)
      default: new.append(event)
      }
    }
    if !new.isEmpty {
      // Events of a module just loaded have no filter yet.
      try? applyThreadFilter()
      for event in new {
        if (try? HostFile.write("1", to: "\(system)/\(event)/enable")) != nil {
          enabled.append(event)
        } else {
          missing.append(event)
        }
      }
      new = new.filter { enabled.contains($0) }
    }
    enabledEvents = wanted.filter { enabled.contains($0) }
    missingEvents = missing
    return new
  }

  private func availableEvents() -> [String] {
    ((try? HostFile.names("\(path)/events/kvm")) ?? []).filter { $0 != "enable" && $0 != "filter" }.sorted()
  }

  /// True while the wanted events may have changed: some are missing, or the first one is no longer enabled because its
  /// module was unloaded.
  public var mayHaveNewEvents: Bool {
    guard let first = enabledEvents.first else { return true }
    if HostFile.line("\(path)/events/kvm/\(first)/enable")?.hasPrefix("1") != true { return true }
    return missingEvents.contains { HostFile.exists("\(path)/events/kvm/\($0)/enable") }
  }

  /// The layouts of the enabled events, as they are now.
  public func formats() throws(TracefsError) -> [EventFormat] {
    var result: [EventFormat] = []
    for event in enabledEvents {
      let file = "\(path)/events/kvm/\(event)/format"
      let text: String
      do { text = try HostFile.text(file) } catch {
        if error.isAbsence { continue }
        throw TracefsError(error, "an event's layout cannot be read")
      }
      do { result.append(try EventFormat.parse(text, system: "kvm")) } catch {
        // Only the events that everything rests on must be understood.
        guard EventSet.minimalEvents.contains(event) else { continue }
        throw TracefsError(error, path: file, "an event's layout is not understood")
      }
    }
    return result
  }

  // MARK: Threads

  /// Limits the events to these threads from now on; nil lifts the limit, an empty list lets none through.
  public func setThreads(_ newThreads: [Int32]?) throws(TracefsError) {
    guard newThreads != threads else { return }
    threads = newThreads
    try applyThreadFilter()
  }

  private func applyThreadFilter() throws(TracefsError) {
    let hasEvents = HostFile.exists("\(path)/events/kvm/filter")
    guard let threads else {
      if threadFilter == .expression { try write("0", to: "events/kvm/filter") }
      if threadFilter == .eventPID { try write("", to: "set_event_pid") }
      threadFilter = .none
      return
    }
    if threads.count <= TraceInstance.maximumFilterThreads {
      if hasEvents { try write(TraceInstance.filterExpression(threads), to: "events/kvm/filter") }
      if threadFilter == .eventPID { try clearEventPIDs() }
      threadFilter = .expression
    } else {
      // O_TRUNC clears the list, which lets everything through for a moment: with the expression of no thread in the
      // way, nothing foreign slips in.
      if hasEvents { try write(TraceInstance.filterExpression([]), to: "events/kvm/filter") }
      let text = threads.map { "\($0)" }.joined(separator: " ")
      do { try HostFile.writeInParts(text, to: "\(path)/set_event_pid") } catch {
        throw TracefsError(error, "the threads cannot be chosen")
      }
      if hasEvents { try write("0", to: "events/kvm/filter") }
      threadFilter = .eventPID
    }
  }

  private func clearEventPIDs() throws(TracefsError) {
    // Opening it for writing with O_TRUNC is what clears it.
    let descriptor = open("\(path)/set_event_pid", O_WRONLY | O_TRUNC | O_CLOEXEC)
    if descriptor < 0 {
      throw TracefsError(
        FileError(operation: "open", path: "\(path)/set_event_pid", number: errno), "the threads cannot be chosen")
    }
    Glibc.close(descriptor)
  }

  /// `common_pid == 12 || common_pid == 13`. No thread has the number -1.
  static func filterExpression(_ threads: [Int32]) -> String {
    threads.isEmpty ? "common_pid == -1" : threads.map { "common_pid == \($0)" }.joined(separator: " || ")
  }

  // MARK: CPUs

  /// Opens the buffers of CPUs that have come online, and tries those again that had none. Returns true if there are new
  /// streams. The buffer of a CPU that went offline stays open: what is left in it can still be read.
  @discardableResult
  public func scanCPUs() throws(TracefsError) -> Bool {
    let folder = "\(path)/per_cpu"
    var cpus: [Int] = []
    do {
      for name in try HostFile.names(folder) where name.hasPrefix("cpu") {
        if let cpu = Int(name.dropFirst(3)) { cpus.append(cpu) }
      }
    } catch { throw TracefsError(error, "the CPUs' buffers cannot be listed") }
    if let online = TraceInstance.onlineCPUs(root) {
      let set = Set(online)
      cpus.removeAll { !set.contains($0) }
    }
    let known = Set(streams.map(\.cpu))
    var grew = false
    for cpu in cpus.sorted() where !known.contains(cpu) {
      let file = "\(folder)/cpu\(cpu)/trace_pipe_raw"
      let descriptor = open(file, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
      if descriptor < 0 {
        let error = FileError(operation: "open", path: file, number: errno)
        if error.isAbsence { continue }
        throw TracefsError(error, "a CPU's buffer cannot be opened")
      }
      guard csignals_instance_hold(slot, descriptor) == 0 else {
        Glibc.close(descriptor)
        throw TracefsError(.failed, path: file, message: "too many CPUs")
      }
      streams.append(PageStream(cpu: cpu, buffer: name))
      descriptors.append(descriptor)
      isDormant.append(false)
      grew = true
    }
    for index in streams.indices where isDormant[index] && cpus.contains(streams[index].cpu) {
      isDormant[index] = false
    }
    return grew
  }

  /// The CPUs online now, from sysfs.
  static func onlineCPUs(_ root: TracefsRoot) -> [Int]? {
    HostFile.line("\(root.roots.sys)/devices/system/cpu/online").flatMap { cpuList($0) }
  }

  /// One descriptor per CPU may exceed the soft limit of 1024.
  private static func allowDescriptors(_ cpus: Int) {
    var limit = rlimit()
    let wanted = rlim_t(clamping: cpus &+ 256)
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0, limit.rlim_cur < wanted else { return }
    limit.rlim_cur = min(limit.rlim_max, wanted)
    _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  }

  // MARK: Reading

  /// Takes the next sub-buffer of a stream. `buffer` must hold `page.subBufferSize` bytes.
  public func readPage(stream index: Int, into buffer: UnsafeMutableRawPointer) -> PageRead {
    guard descriptors.indices.contains(index), !isDormant[index] else { return .unavailable(errorNumber: ENODEV) }
    let size = page.subBufferSize
    var filled = 0
    while filled < size {
      let count = retrying { read(descriptors[index], buffer + filled, size &- filled) }
      if count > 0 {
        filled &+= count
        if filled < size { shortReads &+= 1 }
        continue
      }
      let number = count == 0 ? EAGAIN : errno
      if filled > 0 {
        // The rest does not come: the bytes there are still are a page, whose unused end is zero.
        (buffer + filled).initializeMemory(as: UInt8.self, repeating: 0, count: size &- filled)
        return filled >= page.dataOffset ? .page : .empty
      }
      if number == EAGAIN { return .empty }
      isDormant[index] = true
      return .unavailable(errorNumber: number)
    }
    return .page
  }

  /// The buffers' descriptors, in the order of `streams`, for poll(2): each is readable once its buffer is a quarter full
  /// (`buffer_percent`), which costs the writer nothing until then.
  public var descriptorsForPoll: [Int32] { descriptors }

  /// One CPU's counters, or nil if they cannot be read.
  public func statistics(cpu: Int) -> CPUBufferStatistics? {
    guard let text = try? HostFile.text("\(path)/per_cpu/cpu\(cpu)/stats") else { return nil }
    return CPUBufferStatistics(text)
  }

  // MARK: The end

  /// Stops tracing; what is in the buffers can still be read.
  public func stop() { try? HostFile.write("0", to: "\(path)/tracing_on") }

  /// Removes the instance. Returns what prevented it, if anything: the next start then sweeps it away.
  @discardableResult
  public func close() -> TracefsError? {
    guard isOpen else { return nil }
    isOpen = false
    stop()
    for descriptor in descriptors {
      csignals_instance_release(slot, descriptor)
      Glibc.close(descriptor)
    }
    descriptors = []
    isDormant = []
    streams = []
    var result: Int32 = 0
    for _ in 0..<50 {
      result = rmdir(path) == 0 ? 0 : errno
      if result != EBUSY { break }
      usleep(2000)
    }
    csignals_instance_close(slot)
    if result == 0 || result == ENOENT { return nil }
    return TracefsError(
      FileError(operation: "rmdir", path: path, number: result), "the trace instance cannot be removed")
  }
}

extension HostFile {
  /// Writes a list of words in several writes of at most 4000 bytes through one descriptor, split between words.
  static func writeInParts(_ text: String, to path: String) throws(FileError) {
    let descriptor = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC)
    guard descriptor >= 0 else { throw FileError(operation: "open", path: path, number: errno) }
    defer { close(descriptor) }
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      var part = rest.prefix(4000)
      if part.count < rest.count, let blank = part.lastIndex(of: UInt8(ascii: " ")) { part = part[...blank] }
      let count = part.withUnsafeBytes { part in retrying { Glibc.write(descriptor, part.baseAddress, part.count) } }
      guard count > 0 else { throw FileError(operation: "write", path: path, number: count < 0 ? errno : EIO) }
      rest = rest.dropFirst(count)
    }
  }
}
