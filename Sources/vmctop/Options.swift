import ArgumentParser
import Glibc
import Report
import Session
import TraceFormat

/// Numbers separated by commas: `-p 1234,1300`.
struct NumberList: ExpressibleByArgument {
  var numbers: [UInt32]

  init?(argument: String) {
    let parts = argument.split(separator: ",", omittingEmptySubsequences: false)
    numbers = parts.compactMap { UInt32($0) }
    // Process ids and vcpu_ids are positive ints to the kernel.
    guard numbers.count == parts.count, !numbers.isEmpty, numbers.allSatisfy({ $0 <= UInt32(Int32.max) }) else {
      return nil
    }
  }
}

/// Which KVM events are traced live.
enum EventSelection: String, ExpressibleByArgument, CaseIterable {
  /// kvm_exit and kvm_entry.
  case minimal
  /// Those, and what the details and the time split need.
  case standard
  /// Every event of KVM.
  case full
}

/// The trace clocks that count nanoseconds (Documentation/trace/ftrace.rst, trace_clock).
enum TraceClock: String, ExpressibleByArgument, CaseIterable {
  case local, global, mono, boot, tai, perf
  case monoRaw = "mono_raw"

  var kernelName: String { rawValue }
}

extension TimePoint: ExpressibleByArgument {
  public init?(argument: String) { self.init(argument) }
}

enum ReportFormat: String, ExpressibleByArgument, CaseIterable {
  case text, json
}

/// Which guests, and how a live trace is set up.
struct SourceOptions: ParsableArguments {
  @Option(
    name: .long,
    help: ArgumentHelp(
      "Read a recording (trace.dat of trace-cmd, perf.data of perf) instead of tracing; several of one host count as one.",
      valueName: "file"))
  var input: [String] = []

  @Option(
    name: [.customShort("p"), .customLong("pid")],
    help: ArgumentHelp(
      "Only the VMs of these processes; of a recording, also the vCPUs of these threads.", valueName: "pid,..."))
  var pids: NumberList?

  @Option(name: .customLong("vcpu"), help: ArgumentHelp("Only the vCPUs of these numbers.", valueName: "n,..."))
  var vcpus: NumberList?

  @Option(
    name: .long,
    help: ArgumentHelp(
      "Which events to trace: exit and entry only, with details and the time split, or all of KVM; default standard.",
      valueName: "events"),
    completion: .list(EventSelection.allCases.map(\.rawValue)))
  var events: EventSelection?

  @Option(name: .long, help: ArgumentHelp("Size of the trace buffer of each CPU.", valueName: "KiB"))
  var bufferSize: Int?

  @Option(
    name: .long, help: ArgumentHelp("The clock of the trace; default mono.", valueName: "clock"),
    completion: .list(TraceClock.allCases.map(\.rawValue)))
  var clock: TraceClock?

  @Flag(name: .long, help: "End with status 6 if events were lost.")
  var strict = false

  func validate() throws {
    if let bufferSize, !(16...4_194_304).contains(bufferSize) {
      throw ValidationError("--buffer-size: \(bufferSize) is not between 16 and 4194304 KiB")
    }
    if pids?.numbers.contains(0) == true { throw ValidationError("-p: 0 is no process id") }
    if !input.isEmpty {
      for (name, isGiven) in [
        ("--events", events != nil), ("--buffer-size", bufferSize != nil), ("--clock", clock != nil),
      ]
      where isGiven {
        throw ValidationError("\(name) sets up a live trace and does not go with --input")
      }
      if input.contains("") { throw ValidationError("--input: the file name is empty") }
    }
  }
}

/// Which guests of a recording.
struct RecordedSelectionOptions: ParsableArguments {
  @Option(
    name: [.customShort("p"), .customLong("pid")],
    help: ArgumentHelp("Only the VMs of these processes, or the vCPUs of these threads.", valueName: "pid,..."))
  var pids: NumberList?

  @Option(name: .customLong("vcpu"), help: ArgumentHelp("Only the vCPUs of these numbers.", valueName: "n,..."))
  var vcpus: NumberList?

  func validate() throws {
    if pids?.numbers.contains(0) == true { throw ValidationError("-p: 0 is no process id") }
  }

  var selection: Selection { Selection(pids: pids?.numbers, vcpus: vcpus?.numbers) }
}

/// Which part of a recording.
struct RangeOptions: ParsableArguments {
  @Option(
    name: .long,
    help: ArgumentHelp("Only exits from this point of the recording on: \(TimePoint.forms).", valueName: "time"))
  var from: TimePoint?

  @Option(
    name: [.long, .customLong("to-time")],
    help: ArgumentHelp("Only exits up to this point; +5s counts from --from.", valueName: "time"))
  var to: TimePoint?

  var span: RecordingSpan { RecordingSpan(from: from, to: to) }
}

/// How `triage` and `record` were told how long, before `-d` was an interval in every command: accepted still, and in no help.
struct EarlierDuration: ParsableArguments {
  @Option(name: .customShort("d"), help: ArgumentHelp("", visibility: .hidden))
  var seconds: Double?

  /// - Throws: Where both are given.
  func duration(or duration: Double?) throws -> Double? {
    if duration != nil, seconds != nil { throw ValidationError("-d and --duration are the same: give one of them") }
    return duration ?? seconds
  }
}

/// What to do where a live start is not possible.
struct StartOptions: ParsableArguments {
  @Flag(
    name: .long,
    help: "Play the bundled recording where no guest runs or tracing is not allowed; the title line says so.")
  var fallbackDemo = false
}

/// How the screen is drawn.
struct DrawingOptions: ParsableArguments {
  @Flag(name: .long, help: "No colours; the same as NO_COLOR in the environment.")
  var noColor = false

  @Flag(name: .long, help: "Draw with ASCII characters only.")
  var ascii = false

  @Flag(name: .long, help: "Leave the mouse to the terminal.")
  var noMouse = false

  var hasColor: Bool { !noColor && (getenv("NO_COLOR").map { $0.pointee == 0 } ?? true) }
}

/// How what was counted is shown.
struct ViewOptions: ParsableArguments {
  @Option(
    name: [.customShort("d"), .customLong("interval")],
    help: ArgumentHelp("Time between two updates, 0.1 to 3600.", valueName: "seconds"))
  var interval: Double = 1

  @Option(
    name: [.customShort("n"), .customLong("count")],
    help: ArgumentHelp("End after so many intervals.", valueName: "count"))
  var count: Int?

  @Flag(name: .shortAndLong, help: "Print the main table each interval, as where standard output is no terminal.")
  var batch = false

  @Option(
    name: [.customShort("f"), .customLong("filter")],
    help: ArgumentHelp("Only the exit reasons whose name matches.", valueName: "regex"))
  var filter: String?

  @Option(
    name: [.customShort("s"), .customLong("sort")],
    help: ArgumentHelp("Sort by this column, such as exits, time, p99.", valueName: "column"))
  var sort: String?

  @OptionGroup var drawing: DrawingOptions

  func validate() throws {
    guard (0.1...3600).contains(interval) else {
      throw ValidationError("--interval: \(interval) is not between 0.1 and 3600 seconds")
    }
    if let count, count < 1 { throw ValidationError("-n: \(count) is not a positive number") }
    do {
      if let filter { _ = try ReasonFilter(filter) }
      if let sort { _ = try BatchTable.column(sort) }
    } catch {
      throw ValidationError(error.description)
    }
  }
}
