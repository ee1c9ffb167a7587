import Aggregator
import ArgumentParser
import Front
import Glibc
import Report
import Session
import TraceFormat
import Wording

/// `vmctop diff`: two recordings, or two parts of one, side by side.
struct Diff: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "diff",
    abstract:
      "Compare two recordings, or two parts of one: exits per second, time per exit, and which controls changed.",
    usage: """
      vmctop diff BEFORE AFTER [--from T] [--to T] [--from-b T] [--to-b T]
      vmctop diff FILE [--from T] [--to T] [--from-b T] [--to-b T]
      vmctop diff ... --screen [--no-color] [--ascii] [--no-mouse]
      """,
    discussion: """
      What matters most comes first: the change in time per second, then in exits per second. Differences that counting \
      alone can make are not called changes. Times are those of triage --from. docs/diff-json.md describes the JSON.
      """)

  @Argument(help: ArgumentHelp("The recording before.", valueName: "before"), completion: .file())
  var before: String

  @Argument(
    help: ArgumentHelp(
      "The recording after; without it, the second part is one of the first recording.", valueName: "after"),
    completion: .file())
  var after: String?

  @OptionGroup var part: RangeOptions

  @Option(name: .long, help: ArgumentHelp("Where the part of the second begins.", valueName: "time"))
  var fromB: TimePoint?

  @Option(name: .long, help: ArgumentHelp("Where it ends.", valueName: "time"))
  var toB: TimePoint?

  @Option(
    name: .long, help: ArgumentHelp("A page for people, or one JSON object.", valueName: "format"),
    completion: .list(ReportFormat.allCases.map(\.rawValue)))
  var format: ReportFormat?

  @Flag(name: .long, help: "Open the screen on the second recording, with the first as what it is compared with.")
  var screen = false

  @OptionGroup var drawing: DrawingOptions

  private var partB: RecordingSpan { RecordingSpan(from: fromB, to: toB) }

  func validate() throws {
    if after == nil, part.span.isAll || partB.isAll {
      throw ValidationError("one recording needs two parts: --from or --to, and --from-b or --to-b")
    }
    if before.isEmpty || after?.isEmpty == true { throw ValidationError("the file name is empty") }
    if screen {
      if format != nil { throw ValidationError("--format does not go with --screen") }
      if isatty(STDOUT_FILENO) == 0 { throw ValidationError("--screen: standard output is no terminal") }
    } else {
      for (name, isGiven) in [
        ("--no-color", drawing.noColor), ("--ascii", drawing.ascii), ("--no-mouse", drawing.noMouse),
      ] where isGiven { throw ValidationError("\(name) goes with --screen only") }
    }
  }

  func run() throws {
    let first = try Self.read(before, part.span)
    if screen { return try open(first) }
    let second = try Self.read(after ?? before, partB)
    let report = DiffReport(first, second, vocabulary: .catalogue)
    Output.standard.write(format == .json ? try report.json() : report.page())
    try Output.standard.flush()
    for side in [first, second] { try checkInput(side.snapshot, damage: side.damage, isStrict: false) }
  }

  /// The screen on the second recording or part, which is not counted before it opens.
  private func open(_ first: DiffReport.Side) throws {
    let path = after ?? before
    try checkRecording(path)
    let engine = try openEngine(.files([path], span: partB), Selection())
    defer { engine.close() }
    var title = before.split(separator: "/").last.map(String.init) ?? before
    if let part = first.part {
      title += ", \(DiffReport.seconds(part.lowerBound)) to \(DiffReport.seconds(part.upperBound))"
    }
    let last = try engine.screen(
      ScreenOptions(
        interval: 1, drawing: drawing, before: Before(snapshot: first.snapshot, title: printable(title)),
        isHeldAtEnd: partB.isAll))
    try checkInput(first.snapshot, damage: first.damage, isStrict: false)
    if let last { try checkInput(last, damage: engine.damage, isStrict: false) }
  }

  private static func read(_ path: String, _ span: RecordingSpan) throws -> DiffReport.Side {
    try checkRecording(path)
    let engine = try openEngine(.files([path], span: span), Selection())
    defer { engine.close() }
    let snapshot = try engine.readAll()
    return DiffReport.Side(
      snapshot: snapshot, part: span.isAll ? nil : try part(of: path, snapshot), damage: engine.damage)
  }

  /// From the first to the last event that was counted, since the recording's first.
  private static func part(of path: String, _ snapshot: Snapshot) throws -> Range<UInt64>? {
    let source: any RecordingSource
    do { source = try openRecording([path]) } catch { throw Failure(error) }
    guard let bounds = source.timeBounds(), snapshot.firstTimestamp >= bounds.first,
      snapshot.lastTimestamp >= snapshot.firstTimestamp
    else { return nil }
    let scale = source.metadata.timeScale
    return scale.nanoseconds(snapshot.firstTimestamp - bounds.first)..<scale.nanoseconds(
      snapshot.lastTimestamp - bounds.first) &+ 1
  }
}
