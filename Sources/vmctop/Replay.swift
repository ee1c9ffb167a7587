import ArgumentParser
import Report

/// `vmctop replay -`.
struct Replay: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "replay",
    abstract: "Open the screen on what a recorder on another host sends: ssh -n HOST vmctop record -o - | vmctop replay -")

  @Argument(help: ArgumentHelp("'-': the recording comes through standard input.", valueName: "-"))
  var input: String

  @Option(name: .customLong("vcpu"), help: ArgumentHelp("Only the vCPUs of these numbers.", valueName: "n,..."))
  var vcpus: NumberList?

  @OptionGroup var view: ViewOptions

  @Flag(name: .long, help: "End with status 6 if events were lost.")
  var strict = false

  func validate() throws {
    if input != "-" { throw ValidationError("only '-' can be replayed") }
  }

  func run() throws { try show(try openEngine(.stream, Selection(vcpus: vcpus?.numbers)), view, isStrict: strict) }
}
