import ArgumentParser
import Errors
import Glibc
import KVMHost
import Recording
import Report
import Sampler
import Screen
import Session
import Tracefs

extension RecordingLevel: ExpressibleByArgument {}

/// A size such as `500M`: bytes, or with K, M, G, T the power of 1024.
struct ByteSize: ExpressibleByArgument {
  var bytes: UInt64

  init?(argument: String) {
    guard let bytes = scaled(argument, ["K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40]) else { return nil }
    self.bytes = bytes
  }
}

/// A time such as `90`, `15m` or `2h`: seconds, or minutes, hours, days.
struct TimeSpan: ExpressibleByArgument {
  var seconds: UInt64

  init?(argument: String) {
    guard let seconds = scaled(argument, ["s": 1, "m": 60, "h": 3600, "d": 86_400]) else { return nil }
    self.seconds = seconds
  }
}

private func scaled(_ text: String, _ units: [Character: UInt64]) -> UInt64? {
  guard let last = text.last else { return nil }
  let unit = units[last]
  guard let number = UInt64(unit == nil ? Substring(text) : text.dropLast()), number > 0 else { return nil }
  let (product, overflow) = number.multipliedReportingOverflow(by: unit ?? 1)
  return overflow || product > 1 << 60 ? nil : product
}

/// `vmctop record`.
struct Record: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "record",
    abstract: "Record this host's exits, and all that is known beside them, into a file or a pipe.",
    discussion: """
      Ends cleanly after --duration, with the command, on Ctrl-C, SIGTERM and SIGHUP; killed at any moment, the file is \
      good up to its last whole chunk. With a command the exit status is the command's, unless recording itself failed. \
      docs/recording-format.md describes the file.
      """)

  @Option(
    name: .shortAndLong,
    help: ArgumentHelp(
      "The file, or '-' for standard output; default vmctop-HOST-DATE.vmctop.", valueName: "file"))
  var output: String?

  @Flag(name: .long, help: "Overwrite a file that is there.")
  var force = false

  @Option(name: [.customShort("t"), .long], help: ArgumentHelp("How long to record.", valueName: "seconds"))
  var duration: Double?

  @OptionGroup var before: EarlierDuration

  @Option(
    name: .long, help: ArgumentHelp("Every event, or only what was counted in each interval.", valueName: "level"),
    completion: .list(RecordingLevel.allCases.map(\.rawValue)))
  var level: RecordingLevel = .events

  @Option(
    name: .long,
    help: ArgumentHelp(
      "How much time what was counted, and the state of the vCPUs, is noted for at once, 0.1 to 3600; default 1, of a summary 5.",
      valueName: "seconds"))
  var interval: Double?

  @Option(
    name: .long,
    help: ArgumentHelp(
      "Keep no more than so many bytes (K, M, G): the oldest part goes as recording goes on.", valueName: "size"))
  var maxSize: ByteSize?

  @Option(
    name: .long,
    help: ArgumentHelp("Keep no more than the last so many seconds (m, h, d).", valueName: "time"))
  var maxAge: TimeSpan?

  @Option(
    name: [.customShort("p"), .customLong("pid")], parsing: .singleValue,
    help: ArgumentHelp("Only the VMs of these processes; may be given again.", valueName: "pid,..."))
  var pids: [NumberList] = []

  @Option(
    name: .long,
    help: ArgumentHelp(
      "Which events: exit and entry only, with details and the time split, or all of KVM; default standard.",
      valueName: "events"),
    completion: .list(EventSelection.allCases.map(\.rawValue)))
  var events: EventSelection = .standard

  @Option(name: .long, help: ArgumentHelp("Size of the trace buffer of each CPU.", valueName: "KiB"))
  var bufferSize: Int?

  @Option(
    name: .long, help: ArgumentHelp("The clock of the trace; default mono.", valueName: "clock"),
    completion: .list(TraceClock.allCases.map(\.rawValue)))
  var clock: TraceClock = .mono

  @Flag(name: .long, help: "End with status 6 if events were lost.")
  var strict = false

  @Argument(parsing: .postTerminator, help: "Record while this command runs.")
  var command: [String] = []

  func validate() throws {
    if let duration = try before.duration(or: duration), !(duration > 0 && duration <= 1e8) {
      throw ValidationError("--duration: \(duration) is not above 0 and at most 100000000 seconds")
    }
    if let maxSize, maxSize.bytes < RecordingOptions.smallestSize {
      throw ValidationError("--max-size: less than 4M leaves no room for a recording")
    }
    if let maxAge, maxAge.seconds < 8 { throw ValidationError("--max-age: less than 8 seconds") }
    if let interval, !(0.1...3600).contains(interval) {
      throw ValidationError("--interval: \(interval) is not between 0.1 and 3600 seconds")
    }
    if output == "-", maxSize != nil || maxAge != nil {
      throw ValidationError(
        "\(maxSize != nil ? "--max-size" : "--max-age") does not go with '-o -': nothing is kept there")
    }
    if output == "" { throw ValidationError("-o: no file name") }
    if let bufferSize, !(16...4_194_304).contains(bufferSize) {
      throw ValidationError("--buffer-size: \(bufferSize) is not between 16 and 4194304 KiB")
    }
    if pids.contains(where: { $0.numbers.contains(0) }) { throw ValidationError("-p: 0 is no process id") }
  }

  func run() throws {
    let (target, name) = try chooseTarget()
    let seconds = try before.duration(or: duration)
    let wake: Int32
    do {
      try CleanupRegistry.install()
      wake = try ExitSignals.install()
    } catch {
      throw Failure(error)
    }
    // A file that may not grow is told by write(2), in words.
    signal(SIGXFSZ, SIG_IGN)
    let recorder: Recorder
    do { recorder = try Recorder(options(target)) } catch {
      var failure = Failure(error)
      if (error.cause as? RecordingError)?.code == .exists { failure.hint = "--force overwrites it" }
      throw failure
    }
    defer { recorder.close() }
    var child: RecordedCommand?
    if !command.isEmpty { child = try RecordedCommand(command) }
    let line = ProgressLine()
    let ending = recorder.run(
      seconds: seconds, wake: wake, isOver: { child?.hasEnded() ?? false }, report: { line.show($0) })
    if ending != .asked { child?.end(signal: ExitSignals.received ?? SIGTERM) }
    let last = recorder.finish(commandStatus: child?.status.map { UInt32(bitPattern: $0) })
    line.clear()
    let summary = Self.summary(last, name)
    if let failure = last.writing.failure { throw Failure(.failure, "\(failure); \(summary)") }
    complain(summary)
    if strict, last.lost > 0 || last.writing.dropped > 0 {
      throw Failure(.lostEvents, "\(last.lost &+ last.writing.dropped) events were lost")
    }
    // It was not we who failed.
    if let status = child?.status, status != 0 { throw ToldStatus(status) }
  }

  private func options(_ target: RecordingTarget) -> RecorderOptions {
    var live = LiveOptions(
      events: EventSet(rawValue: events.rawValue) ?? .standard, clock: clock.kernelName, bufferKiBPerCPU: bufferSize)
    let processes = pids.flatMap(\.numbers).map { Int32(truncatingIfNeeded: $0) }
    if !processes.isEmpty { live.processes = processes }
    var writing = RecordingOptions()
    writing.overwrites = force
    writing.largestSize = maxSize?.bytes
    writing.longestAge = maxAge.map { $0.seconds &* 1_000_000_000 }
    // A pipe has its own room, and what waits is late: a short queue degrades early and recovers early.
    if case .stream = target { writing.queueLimit = 8 << 20 }
    var options = RecorderOptions(live: live, target: target, level: level, writing: writing)
    options.interval = interval ?? (level == .summary ? 5 : 1)
    options.program = "vmctop \(vmctopVersion)"
    return options
  }

  private func chooseTarget() throws(Failure) -> (RecordingTarget, String) {
    if output == "-" {
      guard isatty(STDOUT_FILENO) == 0 else {
        throw Failure(.usage, "standard output is a terminal", hint: "vmctop record -o - | ... , or -o FILE")
      }
      return (.stream(descriptor: STDOUT_FILENO), "standard output")
    }
    let path = output ?? RecorderOptions.defaultPath(hostName: HostFacts.read().hostName)
    // A pipe by name, or a device, is a stream too.
    var status = stat()
    if stat(path, &status) == 0, status.st_mode & S_IFMT != S_IFREG {
      guard status.st_mode & S_IFMT != S_IFDIR else { throw Failure(.failure, "\(path) is a folder") }
      let descriptor = open(path, O_WRONLY | O_CLOEXEC)
      guard descriptor >= 0 else { throw Failure(.unavailable, "cannot open \(path): \(errorText(errno))") }
      return (.stream(descriptor: descriptor), path)
    }
    return (.file(path: path), path)
  }

  /// One line of what there is to know at the end.
  static func summary(_ progress: RecorderProgress, _ name: String) -> String {
    let writing = progress.writing
    var text =
      "recorded \(tenths(progress.seconds)) s, \(Format.exact(progress.events)) events, \(bytes(writing.written)) in \(name)"
    if writing.events > 0 { text += ", \(tenths(Double(writing.written) / Double(writing.events))) bytes an event" }
    if writing.partsDropped > 0 {
      text += "; \(bytes(writing.kept)) kept, \(writing.partsDropped) older parts dropped"
    }
    text += "; \(Format.exact(progress.lost)) lost"
    // What the reader did not wait for is no fault of the pipe.
    if writing.dropped > 0 {
      text +=
        ", \(Format.exact(writing.dropped)) \(writing.hasReaderLeft ? "not sent" : "left out: they could not be written fast enough")"
    }
    if writing.hasReaderLeft { text += "; the reader left" }
    return text
  }
}

private func tenths(_ number: Double) -> String {
  let tenths = UInt64(max(0, min(number, 1e15)) * 10 + 0.5)
  return "\(Format.exact(tenths / 10)).\(tenths % 10)"
}

private func bytes(_ number: UInt64) -> String {
  switch number {
  case ..<10_000: "\(number) bytes"
  case ..<10_000_000: "\(tenths(Double(number) / 1e3)) kB"
  case ..<10_000_000_000: "\(tenths(Double(number) / 1e6)) MB"
  default: "\(tenths(Double(number) / 1e9)) GB"
  }
}

/// How it goes, on a line of standard error that is written over each second; nothing where that is no terminal.
private struct ProgressLine {
  private let isTerminal = isatty(STDERR_FILENO) != 0

  func show(_ progress: RecorderProgress) {
    guard isTerminal else { return }
    let writing = progress.writing
    var text =
      "\(UInt64(progress.seconds)) s  \(Format.exact(progress.events)) events  \(bytes(writing.written))  lost \(Format.exact(progress.lost))"
    if writing.dropped > 0 { text += "  left out \(Format.exact(writing.dropped))" }
    if writing.isDegraded { text += "  TOO SLOW, events are left out" }
    write("\r\(text)\u{1b}[K")
  }

  func clear() {
    if isTerminal { write("\r\u{1b}[K") }
  }

  private func write(_ text: String) {
    var text = text
    text.withUTF8 { _ = Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
  }
}
