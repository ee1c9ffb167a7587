import Aggregator
import ArgumentParser
import Report
import TraceFormat

/// `vmctop triage`: counts for a while, then one page.
struct Triage: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "triage",
    abstract: "Count for a while, then print one page: what exits, which control causes it, what to do.",
    discussion: "The page is made to be pasted into a ticket. docs/triage-json.md describes the JSON.")

  @OptionGroup var source: SourceOptions

  @Option(
    name: [.customShort("t"), .long],
    help: ArgumentHelp("How long to count, 10 by default; a recording is counted whole.", valueName: "seconds"))
  var duration: Double?

  @OptionGroup var before: EarlierDuration

  @Option(
    name: .long, help: ArgumentHelp("A page for people, or one JSON object.", valueName: "format"),
    completion: .list(ReportFormat.allCases.map(\.rawValue)))
  var format: ReportFormat = .text

  @Flag(name: .long, help: "Count the bundled recording.")
  var demo = false

  @OptionGroup var range: RangeOptions

  private func seconds() throws -> Double { try before.duration(or: duration) ?? 10 }

  func validate() throws {
    let seconds = try seconds()
    guard seconds > 0, seconds <= 86_400 else {
      throw ValidationError("--duration: \(seconds) is not above 0 and at most 86400 seconds")
    }
    if demo, !source.input.isEmpty { throw ValidationError("--demo does not go with --input") }
    if source.input.isEmpty, !range.span.isAll {
      throw ValidationError("--from and --to need a recording: --input FILE")
    }
  }

  func run() throws {
    let input = demo ? Input.demo : try source.resolvedInput(span: range.span)
    let engine = try openEngine(input, source.selection)
    defer { engine.close() }
    let snapshot =
      switch input {
      case .live, .stream: try engine.collect(seconds: seconds())
      case .files, .demo: try engine.readAll()
      }
    let report = TriageReport(snapshot: snapshot, knobs: engine.knobs, vocabulary: .catalogue, damage: engine.damage)
    Output.standard.write(format == .json ? try report.json() : report.page())
    try Output.standard.flush()
    try checkInput(snapshot, damage: engine.damage, isStrict: source.strict)
  }
}
