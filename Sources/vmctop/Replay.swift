import ArgumentParser
import Report
import TraceFormat

/// `vmctop replay`.
struct Replay: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "replay",
    abstract: "Open the screen on a recording: play, pause, step, jump, and count any part of it.",
    discussion: """
      Reads recordings of vmctop, trace.dat of trace-cmd and perf.data of perf; several of one host count as one. With \
      '-' what another host records is live here: ssh -n HOST vmctop record -o - | vmctop replay -. \
      Keys: Space plays and pauses, t and T go sample by sample, b goes to a time, ? lists them all.
      """)

  @Argument(help: ArgumentHelp("The recordings, or '-' for standard input.", valueName: "file"), completion: .file())
  var files: [String]

  @OptionGroup var guests: RecordedSelectionOptions
  @OptionGroup var range: RangeOptions
  @OptionGroup var view: ViewOptions

  @Flag(name: .long, help: "End with status 6 if events were lost.")
  var strict = false

  func validate() throws {
    if files.contains("") { throw ValidationError("the file name is empty") }
    guard files.contains("-") else { return }
    if files.count > 1 { throw ValidationError("'-' stands alone: what comes through a pipe is one recording") }
    if !range.span.isAll { throw ValidationError("--from and --to need a file, not '-'") }
    if guests.pids != nil {
      throw ValidationError("-p: of what comes through a pipe, the recorder chooses (record -p)")
    }
  }

  func run() throws {
    if files == ["-"] {
      return try show(try openEngine(.stream, guests.selection), view, isStrict: strict)
    }
    for path in files { try checkRecording(path) }
    let engine = try openEngine(.files(files, span: range.span), guests.selection)
    try show(engine, view, isStrict: strict)
  }
}
