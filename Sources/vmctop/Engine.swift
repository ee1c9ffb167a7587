import Aggregator
import CDemo
import Errors
import Front
import Glibc
import HostFiles
import KVMHost
import Report
import Sampler
import Session
import TraceFormat
import Tracefs

/// Where the events come from.
enum Input {
  /// - Parameter orDemo: play the bundled recording where no guest runs or tracing is not allowed.
  case live(LiveSettings, orDemo: Bool)
  /// Recordings of one host, whole or a part.
  case files([String], span: RecordingSpan = .all)
  /// A recording as it comes through standard input.
  case stream
  case demo
}

/// How a live trace is set up.
struct LiveSettings {
  var events: EventSelection = .standard
  /// KiB for each CPU; nil for the default.
  var bufferSize: Int?
  /// Nil for the default.
  var clock: TraceClock?
}

/// Which guests are counted, whatever the input.
struct Selection {
  /// Process ids of VMMs; nil for all.
  var pids: [UInt32]?
  /// vcpu_ids; nil for all.
  var vcpus: [UInt32]?
}

/// What the screen is opened with.
struct ScreenOptions {
  var interval: Double
  /// Ends after so many intervals; nil for never.
  var count: Int?
  var filter: String?
  /// The id of a column.
  var sort: String?
  var drawing: DrawingOptions
  /// What to compare with from the start.
  var before: Before?
  /// Shows a recording as a whole, at its end, instead of playing it.
  var isHeldAtEnd = false
}

/// What the commands ask of whatever reads and counts the events. SIGINT, SIGTERM and SIGHUP end counting early; what
/// was counted until then is still printed.
protocol Engine {
  /// The traced host's module parameters; empty for a recording.
  var knobs: Knobs { get }
  /// What was found damaged in a recording, a line each.
  var damage: [String] { get }
  /// Counts a whole recording, as fast as it can be read.
  func readAll() throws -> Snapshot
  /// Counts live for that long.
  func collect(seconds: Double) throws -> Snapshot
  /// Hands over a snapshot after each interval: so many, or until the recording ends.
  func forEachInterval(count: Int?, seconds: Double, _ body: (Snapshot) throws -> Void) throws
  /// Opens the screen and returns when it is closed; the last snapshot, where there was one, tells whether events were lost.
  func screen(_ options: ScreenOptions) throws -> Snapshot?
  /// Gives back what is held of the system: the trace instance. Is called on every way out, once.
  func close()
}

extension SourceOptions {
  var liveSettings: LiveSettings { LiveSettings(events: events ?? .standard, bufferSize: bufferSize, clock: clock) }
  var selection: Selection { Selection(pids: pids?.numbers, vcpus: vcpus?.numbers) }

  /// - Throws: `Failure` with status 3 for a file that cannot be read, 5 for one that is no recording.
  func resolvedInput(orDemo: Bool = false, span: RecordingSpan = .all) throws(Failure) -> Input {
    guard !input.isEmpty else { return .live(liveSettings, orDemo: orDemo) }
    for path in input { try checkRecording(path) }
    return .files(input, span: span)
  }
}

/// Says early and in one line what is wrong with a file that cannot be a recording at all.
func checkRecording(_ path: String) throws(Failure) {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
  guard descriptor >= 0 else { throw Failure(.unavailable, "\(path): \(errorText(errno))") }
  defer { close(descriptor) }
  var status = stat()
  guard fstat(descriptor, &status) == 0 else { throw Failure(.unavailable, "\(path): \(errorText(errno))") }
  guard status.st_mode & S_IFMT == S_IFREG else { throw Failure(.unavailable, "\(path): not a regular file") }
  var head = [UInt8](repeating: 0, count: RecordingFormat.headSize)
  let length = read(descriptor, &head, head.count)
  guard length >= 0 else { throw Failure(.unavailable, "\(path): \(errorText(errno))") }
  guard RecordingFormat(head: head.prefix(length)) != nil else {
    let what = status.st_size == 0 ? "empty" : "neither a recording of vmctop nor a trace.dat nor a perf.data"
    throw Failure(.damaged, "\(path): \(what)")
  }
}

/// - Throws: `Failure` with status 3 or 4 where the input cannot be had, 5 where it is damaged from the start.
func openEngine(_ input: Input, _ selection: Selection) throws -> any Engine {
  try SessionEngine(input, selection)
}

/// The commands' engine: a `Session`, on this thread or, under the screen, on its own.
final class SessionEngine: Engine {
  /// Nil while or after a screen has run it.
  private var session: Session?
  private var running: RunningSession?
  /// Where the terminal is another program's too.
  private var keyRelay: KeyRelay?
  private let settings: LiveSettings
  private let selection: Selection
  private let isLive: Bool
  private var isStream = false
  private(set) var damage: [String] = []
  /// Readable once SIGINT, SIGTERM or SIGHUP came.
  private let exitDescriptor: Int32

  init(_ input: Input, _ selection: Selection) throws {
    self.selection = selection
    do {
      try CleanupRegistry.install()
      exitDescriptor = try ExitSignals.install()
    } catch {
      throw Failure(error)
    }
    do {
      switch input {
      case .live(let settings, let orDemo):
        self.settings = settings
        if orDemo, let session = Self.demoUnlessLive(settings, selection) {
          self.session = session
          isLive = !session.isRecording
        } else {
          session = try Self.live(settings, selection)
          isLive = true
        }
      case .files(let paths, let span):
        settings = LiveSettings()
        let session = try Session(.files(paths: paths, span: span), selection.options)
        for note in session.notes { complain(note) }
        self.session = session
        isLive = false
      case .stream:
        settings = LiveSettings()
        session = try Session(
          .stream(descriptor: Self.takeStandardInput(), wake: exitDescriptor), selection.options)
        isLive = false
        isStream = true
      case .demo:
        settings = LiveSettings()
        session = try Self.demo()
        isLive = false
      }
    } catch let error as SessionError {
      throw Failure(error)
    }
  }

  /// Standard input under another number: its own becomes the terminal's, for the keys.
  private static func takeStandardInput() throws(Failure) -> Int32 {
    guard isatty(STDIN_FILENO) == 0 else {
      throw Failure(
        .usage, "standard input is a terminal, not a recording",
        hint: "ssh -n HOST vmctop record -o - | vmctop replay -")
    }
    let descriptor = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
    guard descriptor >= 0 else { throw Failure(.unavailable, "standard input: \(errorText(errno))") }
    return descriptor
  }

  private static func live(_ settings: LiveSettings, _ selection: Selection) throws(SessionError) -> Session {
    try Session(
      .live(
        LiveOptions(
          events: EventSet(rawValue: settings.events.rawValue) ?? .standard,
          clock: settings.clock?.kernelName ?? "mono", bufferKiBPerCPU: settings.bufferSize)), selection.options)
  }

  private static func demo() throws(SessionError) -> Session {
    try Session(.demo(UnsafeRawBufferPointer(start: cdemo_bytes(), count: cdemo_size())))
  }

  /// Live where a guest runs and tracing is allowed, else the bundled recording.
  private static func demoUnlessLive(_ settings: LiveSettings, _ selection: Selection) -> Session? {
    let inventory = VMInventory()
    if !inventory.scan().isEmpty, let session = try? live(settings, selection) { return session }
    return try? demo()
  }

  /// Only of this host: what a recording's host was set to is not known.
  var knobs: Knobs {
    guard isLive else { return Knobs() }
    let facts = HostFacts.read()
    var values: [String: String] = [:]
    for module in ["kvm", "kvm_intel", "kvm_amd"] {
      for (name, value) in facts.parameters(module) { values["\(module).\(name)"] = value }
    }
    return Knobs(values)
  }

  func readAll() throws -> Snapshot {
    guard let session else { return Snapshot() }
    let snapshot = session.readAll()
    damage = session.damage
    try checkMatch(snapshot)
    return snapshot
  }

  func collect(seconds: Double) throws -> Snapshot {
    session?.watchControls()
    let snapshot = session?.collect(seconds: seconds, wake: exitDescriptor) ?? Snapshot()
    try checkMatch(snapshot)
    return snapshot
  }

  /// A choice of VMs or vCPUs that fits none is a mistake to tell, not a host without exits.
  private func checkMatch(_ snapshot: Snapshot) throws(Failure) {
    guard selection.pids != nil || selection.vcpus != nil, snapshot.vms.allSatisfy(\.vcpus.isEmpty) else { return }
    throw Failure(
      .unsupported, "no vCPU matched -p or --vcpu",
      hint: isLive ? "vmctop -b -n 1 lists what runs" : "vmctop triage --input FILE --format json lists the threads")
  }

  func forEachInterval(count: Int?, seconds: Double, _ body: (Snapshot) throws -> Void) throws {
    guard let session else { return }
    session.interval = seconds
    try session.forEachInterval(count: count, wake: exitDescriptor, skipped: Self.noteSkipped) { snapshot in
      try body(snapshot)
      return true
    }
    damage = session.damage
  }

  private static func noteSkipped(_ nanoseconds: UInt64) {
    complain("no event for \(nanoseconds / 1_000_000_000) s of the recording: those intervals are left out")
  }

  /// Keys come from the terminal even where standard input is something else, as in a pipeline.
  ///
  /// - Parameter isShared: another program of the pipeline may read them.
  private func takeKeysFromTerminal(isShared: Bool) throws(Failure) {
    guard isatty(STDIN_FILENO) == 0 else { return }
    if isShared { keyRelay = KeyRelay() }
    let terminal = isShared ? keyRelay?.keys ?? -1 : open("/dev/tty", O_RDWR | O_CLOEXEC)
    guard terminal >= 0 else {
      throw Failure(.failure, "no terminal to read keys from", hint: "-b prints the table as text")
    }
    dup2(terminal, STDIN_FILENO)
    if !isShared { _ = Glibc.close(terminal) }
  }

  func screen(_ options: ScreenOptions) throws -> Snapshot? {
    guard let session else { return nil }
    try takeKeysFromTerminal(isShared: isStream)
    let bell = Doorbell()
    var model = FrontModel(names: CatalogueNames(), interval: options.interval, before: options.before)
    if let filter = options.filter { model.setFilter(filter) }
    if let sort = options.sort { model.setSort(.exits, sort) }
    var interval = options.interval
    session.interval = interval
    self.session = nil
    var current = Self.start(session, bell, options.isHeldAtEnd ? [.seek(.max)] : [])
    running = current
    var last: Snapshot?
    var intervals = 0
    let ending: TerminalFront.Ending
    // The modes are noted before ncurses changes them, the bytes once it knows the terminal.
    try? CleanupRegistry.registerTerminal(descriptor: STDOUT_FILENO, restore: [])
    defer { CleanupRegistry.unregisterTerminal() }
    do {
      ending = try TerminalFront.run(
        initial: model,
        options: TerminalFront.Options(
          usesColours: options.drawing.hasColor, usesMouse: !options.drawing.noMouse,
          isASCII: options.drawing.ascii),
        snapshots: {
          guard let snapshot = current.takeLatest() else { return nil }
          if snapshot.intervalNanoseconds > 0 { intervals += 1 }
          last = snapshot
          // After so many intervals the front ends as a signal would end it. A second signal would end the process.
          if let count = options.count, intervals >= count, ExitSignals.received == nil { raise(SIGTERM) }
          return snapshot
        }, wakeFD: bell.reading, exitFD: exitDescriptor,
        opened: {
          try? CleanupRegistry.registerTerminal(descriptor: STDOUT_FILENO, restore: TerminalFront.resetBytes)
        },
        perform: { action in
          switch action {
          case .quit: break
          case .setInterval(let seconds):
            interval = seconds
            current.perform(.setInterval(seconds: seconds))
          case .setPaused(let isPaused): current.perform(.setPaused(isPaused))
          case .seekBy(let seconds):
            current.perform(.seekBy(Int64(max(-1e9, min(seconds, 1e9)) * 1e9)))
          case .seekTo(let position): current.perform(.seek(position))
          case .step(let count): current.perform(.step(count))
          case .setSpeed(let speed): current.perform(.setSpeed(speed))
          case .stepExit(let count): current.perform(.stepExit(count))
          case .seekToExit(let reason, let forward): current.perform(.seekToExit(reason: reason, forward: forward))
          case .seekToChange(let control, let forward): current.perform(.seekToChange(control, forward: forward))
          case .seekToFieldChange(let tid, let part, let forward):
            current.perform(.seekToFieldChange(tid: tid, field: part, forward: forward))
          case .setRange(let from, let to): current.perform(.setRange(from: from, to: to))
          case .clearRange: current.perform(.clearRange)
          case .markBefore: current.perform(.markBefore)
          case .forgetBefore: current.perform(.forgetBefore)
          case .watch(let tids): current.perform(.watch(tids))
          case .askVMM(let tid): current.perform(.askVMM(tid: tid))
          case .toggleRecording: current.perform(.toggleRecording(path: nil))
          case .goLive:
            do {
              let live = try Self.live(settings, selection)
              live.interval = interval
              current.stop()
              current = Self.start(live, bell)
              running = current
            } catch {
              current.say(.error, "cannot go live: \(error)")
            }
          }
        })
    } catch {
      throw Failure(error)
    }
    CleanupRegistry.unregisterTerminal()
    if ending == .inputClosed { complain("the terminal is gone") }
    damage = current.stop()
    running = nil
    return last
  }

  private static func start(
    _ session: Session, _ bell: Doorbell, _ commands: [SessionCommand] = []
  ) -> RunningSession {
    session.watchControls()
    // At a hundred thousand exits a second the last seconds, at a thousand the last half minute.
    session.keepLookBack(bytes: 16 << 20)
    // The caller gives it up: nothing else refers to it from here on.
    nonisolated(unsafe) let moved = session
    return RunningSession(moved, wake: bell, commands: commands)
  }

  func close() {
    running?.stop()
    keyRelay?.stop()
    session?.close()
    session = nil
  }
}

extension Selection {
  /// The same as the session takes it.
  var options: SessionOptions {
    SessionOptions(processes: (pids ?? []).map { Int32(truncatingIfNeeded: $0) }, vcpus: vcpus ?? [])
  }
}
