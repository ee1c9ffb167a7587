import ArgumentParser
import Report
import TraceFormat

/// `vmctop replay`.
struct Replay: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "replay",
    abstract: "Open the screen on a recording: play, pause, step, jump, and count any part of it.",
    discussion: """
      Reads recordings of vmctop, trace.dat of trace-cmd and perf.data of perf; several of one host count as one. \
      Keys: Space plays and pauses, t and T go sample by sample, b goes to a time, ? lists them all.
      """)

  @Argument(help: ArgumentHelp("The recordings.", valueName: "file"), completion: .file())
  var files: [String]

  @Option(
    name: [.customShort("p"), .customLong("pid")],
    help: ArgumentHelp("Only the VMs of these processes, or the vCPUs of these threads.", valueName: "pid,..."))
  var pids: NumberList?

  @Option(name: .customLong("vcpu"), help: ArgumentHelp("Only the vCPUs of these numbers.", valueName: "n,..."))
  var vcpus: NumberList?

  @OptionGroup var range: RangeOptions
  @OptionGroup var view: ViewOptions

  @Flag(name: .long, help: "End with status 6 if events were lost.")
  var strict = false

  func validate() throws {
    if pids?.numbers.contains(0) == true { throw ValidationError("-p: 0 is no process id") }
    if files.contains("") { throw ValidationError("the file name is empty") }
  }

  func run() throws {
    for path in files { try checkRecording(path) }
    let engine = try openEngine(
      .files(files, from: range.from, to: range.to), Selection(pids: pids?.numbers, vcpus: vcpus?.numbers))
    try show(engine, view, isStrict: strict)
  }
}
