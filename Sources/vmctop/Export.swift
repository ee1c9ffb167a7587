import Aggregator
import Architecture
import ArgumentParser
import Errors
import Export
import Glibc
import HostFiles
import Recording
import Report
import Session
import TraceFormat

/// What `vmctop export` writes.
enum ExportFormat: String, ExpressibleByArgument, CaseIterable {
  case traceDat = "trace.dat"
  case jsonLines = "jsonl"
  case csv, perfetto
  case openMetrics = "openmetrics"
}

/// The value of `export --to`: a point in time, as in every command; or a format, as it was before there was `--format`.
enum ExportEnd: ExpressibleByArgument {
  case time(TimePoint)
  case format(ExportFormat)

  init?(argument: String) {
    if let format = ExportFormat(rawValue: argument) {
      self = .format(format)
    } else if let time = TimePoint(argument: argument) {
      self = .time(time)
    } else {
      return nil
    }
  }
}

/// `vmctop export`: a recording in the form of another tool.
struct ExportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export",
    abstract: "Write a recording in the form of another tool: trace-cmd, KernelShark, Perfetto, a table, metrics.",
    discussion: "Any recording that vmctop reads; several files of one host become one.")

  @Argument(help: ArgumentHelp("The recordings.", valueName: "file"))
  var files: [String]

  @Option(
    name: .customLong("format"), help: ArgumentHelp("What to write.", valueName: "format"),
    completion: .list(ExportFormat.allCases.map(\.rawValue)))
  var chosenFormat: ExportFormat?

  @Option(
    name: [.customShort("o"), .long],
    help: ArgumentHelp("Where to; - is standard output, the default for all but trace.dat.", valueName: "file"))
  var output: String?

  @Option(name: .long, help: ArgumentHelp("Only events from this point on: \(TimePoint.forms).", valueName: "time"))
  var from: TimePoint?

  @Option(
    name: [.customLong("to"), .customLong("to-time")], parsing: .singleValue,
    help: ArgumentHelp("Only events up to this point; +5s counts from --from.", valueName: "time"))
  var ends: [ExportEnd] = []

  @OptionGroup var guests: RecordedSelectionOptions

  private var formats: [ExportFormat] {
    (chosenFormat.map { [$0] } ?? [])
      + ends.compactMap { if case .format(let format) = $0 { format } else { nil } }
  }
  private var times: [TimePoint] { ends.compactMap { if case .time(let time) = $0 { time } else { nil } } }
  /// Of what `validate` has found to be one.
  private var format: ExportFormat { formats.first ?? .jsonLines }

  func validate() throws {
    if files.contains("") { throw ValidationError("the file name is empty") }
    if output == "" { throw ValidationError("-o: the file name is empty") }
    if formats.isEmpty {
      let names = ExportFormat.allCases.map(\.rawValue).joined(separator: ", ")
      throw ValidationError("--format is missing: one of \(names)")
    }
    if formats.count > 1 { throw ValidationError("--format is given more than once") }
    if times.count > 1 { throw ValidationError("--to is given more than once") }
    if format == .traceDat, output ?? "-" == "-" {
      throw ValidationError("--format trace.dat needs -o FILE: its tables are written last, to places before them")
    }
  }

  func run() throws {
    for path in files { try checkRecording(path) }
    let target = output.flatMap { $0 == "-" ? nil : $0 }
    if let target { try refuseOverwriting(target) }
    let source: any RecordingSource
    do {
      source = try openRecording(
        files, span: RecordingSpan(from: from, to: times.first), countsOnce: format != .traceDat)
    } catch {
      throw Failure(error)
    }
    if !source.hasEvents {
      throw Failure(
        .unsupported, "\(files[0]): a summary has no events to export", hint: "vmctop triage and vmctop replay read it")
    }
    for note in source.notes { complain(note) }
    let options = guests.selection.options
    let context = ExportContext(
      source: source, options: options.counting(source.metadata),
      host: HostView(source.metadata, threads: options.threads(source.metadata)), producer: "vmctop \(vmctopVersion)")
    do {
      try write(context, to: target)
    } catch let error as any CodedError {
      throw Failure(error)
    }
    if let first = source.damage.first {
      let more = source.damage.count > 1 ? " (and \(source.damage.count - 1) more)" : ""
      throw Failure(.damaged, "damaged, exported up to the damage: \(first)\(more)")
    }
  }

  /// What is written may be what is read.
  private func refuseOverwriting(_ target: String) throws(Failure) {
    var own = stat()
    guard stat(target, &own) == 0 else { return }
    for path in files {
      var other = stat()
      if stat(path, &other) == 0, other.st_dev == own.st_dev, other.st_ino == own.st_ino {
        throw Failure(.usage, "-o \(target) is a recording to be read")
      }
    }
  }

  private func write(_ context: ExportContext, to target: String?) throws {
    // A file takes its name once it is whole; what is no file (a device, a pipe) is written as it is.
    var status = stat()
    let isFile = target.map { stat($0, &status) != 0 || status.st_mode & S_IFMT == S_IFREG } ?? false
    let path = target.map { isFile ? "\($0).part-\(getpid())" : $0 }
    do {
      if let path, format == .traceDat {
        guard isFile else { throw Failure(.usage, "-o \(path): trace.dat needs a file") }
        try context.writeTraceDat(path: path, try context.count())
      } else {
        try writeText(context, to: path)
      }
      if let path, let target, isFile, rename(path, target) != 0 {
        throw Failure(.failure, "cannot rename \(path) to \(target): \(errorText(errno))")
      }
    } catch {
      if let path, isFile { unlink(path) }
      throw error
    }
  }

  private func writeText(_ context: ExportContext, to path: String?) throws {
    var descriptor = STDOUT_FILENO
    if let path {
      // It shows guest addresses: for its owner only, as perf.data is.
      descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
      guard descriptor >= 0 else { throw Failure(.failure, "cannot create \(path): \(errorText(errno))") }
    }
    defer { if path != nil { close(descriptor) } }
    let output = Output(descriptor: descriptor)
    let send: ([UInt8]) throws -> Void = { bytes in
      output.write(bytes)
      try output.check(path)
    }
    do {
      switch format {
      case .jsonLines: try context.writeExits(.jsonLines, send)
      case .csv: try context.writeExits(.csv, send)
      case .perfetto: try context.writePerfetto(try context.count(), send)
      case .openMetrics: try context.writeOpenMetrics(try context.count(), version: vmctopVersion, send)
      case .traceDat: break
      }
      try output.flush(path)
    } catch is Output.Closed {
      // Whoever read it has enough.
    }
  }
}
