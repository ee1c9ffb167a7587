import Aggregator
import Glibc
import Report

/// Where the events come from.
enum Input {
  /// - Parameter orDemo: play the bundled recording where no guest runs or tracing is not allowed.
  case live(LiveSettings, orDemo: Bool)
  case file(String)
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
  var hasColor: Bool
  var isASCII: Bool
  var hasMouse: Bool
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
  func resolvedInput(orDemo: Bool = false) throws(Failure) -> Input {
    guard let input else { return .live(liveSettings, orDemo: orDemo) }
    try checkRecording(input)
    return .file(input)
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
  var head = [UInt8](repeating: 0, count: 10)
  let length = read(descriptor, &head, head.count)
  guard length >= 0 else { throw Failure(.unavailable, "\(path): \(errorText(errno))") }
  // trace-cmd.dat(5): the first ten bytes of every version.
  guard length == head.count, head == [0x17, 0x08, 0x44] + Array("tracing".utf8) else {
    throw Failure(.damaged, "\(path): \(status.st_size == 0 ? "empty" : "not a trace.dat recording")")
  }
}

/// Goes, with the tests' conditions on it, when the engine is joined.
let buildHasEngine = false

/// - Throws: `Failure` with status 3 or 4 where the input cannot be had, 5 where it is damaged from the start.
func openEngine(_ input: Input, _ selection: Selection) throws -> any Engine {
  // The seam for the target `Session`.
  throw Failure(.unsupported, "this build has no engine to read events with")
}
