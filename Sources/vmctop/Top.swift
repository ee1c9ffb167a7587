import Aggregator
import ArgumentParser
import Glibc
import Report

/// `vmctop` itself: the screen, or batch output.
struct Top: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "top", abstract: "Open the screen (what vmctop does when no command is named).", shouldDisplay: false)

  @OptionGroup var source: SourceOptions
  @OptionGroup var view: ViewOptions

  @OptionGroup var start: StartOptions

  func validate() throws {
    if start.fallbackDemo, !source.input.isEmpty { throw ValidationError("--fallback-demo does not go with --input") }
  }

  func run() throws {
    let input = try source.resolvedInput(orDemo: start.fallbackDemo)
    try show(try openEngine(input, source.selection), view, isStrict: source.strict)
  }
}

/// `vmctop demo`.
struct Demo: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "demo",
    abstract: "Open the screen on the bundled recording: a QEMU guest booting on a kvm_intel host.")

  @OptionGroup var view: ViewOptions

  func run() throws {
    try show(try openEngine(.demo, Selection()), view, isStrict: false)
  }
}

/// The screen where there is a terminal to draw on, the main table each interval where not.
func show(_ engine: any Engine, _ view: ViewOptions, isStrict: Bool) throws {
  defer { engine.close() }
  var last: Snapshot?
  if view.batch || isatty(STDOUT_FILENO) == 0 {
    let table = try BatchTable(
      sort: view.sort, filter: try view.filter.map { pattern throws(Failure) in try ReasonFilter(pattern) },
      vocabulary: .catalogue)
    try engine.forEachInterval(count: view.count, seconds: view.interval) { snapshot in
      Output.standard.write(table.text(snapshot))
      try Output.standard.flush()
      last = snapshot
    }
  } else {
    last = try engine.screen(
      ScreenOptions(
        interval: view.interval, count: view.count, filter: view.filter, sort: view.sort, drawing: view.drawing))
  }
  if let last { try checkInput(last, damage: engine.damage, isStrict: isStrict) }
}

/// What the input itself has to say in the exit status, once everything is printed.
///
/// - Throws: `Failure` with status 5 for a damaged recording, 6 for lost events where that is asked for.
func checkInput(_ snapshot: Snapshot, damage: [String], isStrict: Bool) throws(Failure) {
  if let first = damage.first {
    let more = damage.count > 1 ? " (and \(damage.count - 1) more)" : ""
    throw Failure(.damaged, "damaged, read up to the damage: \(first)\(more)")
  }
  if snapshot.malformedRecords > 0, snapshot.source.kind != .tracefs {
    throw Failure(
      .damaged,
      "\(snapshot.source.path ?? "the recording") is damaged: \(snapshot.malformedRecords) records were passed over")
  }
  let losses = snapshot.losses
  if isStrict, losses.lost > 0 || losses.uncounted > 0 {
    throw Failure(
      .lostEvents, losses.lost > 0 ? "\(losses.lost) events were lost" : "events were lost, nobody counted how many")
  }
}
