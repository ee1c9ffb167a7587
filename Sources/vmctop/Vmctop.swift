import ArgumentParser

/// The version of the program, as `--version` prints it.
let vmctopVersion = "0.1.0"

/// The root command: opens the screen unless a command is named.
struct Vmctop: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "vmctop",
    abstract: "Why KVM guests exit, and which VMCS control causes each exit.",
    version: "vmctop \(vmctopVersion)",
    subcommands: [Top.self] + documentedCommands,
    defaultSubcommand: Top.self)

  static let documentedCommands: [any ParsableCommand.Type] = [
    Demo.self, Triage.self, Record.self, Replay.self, Diff.self, ExportCommand.self, StateCommand.self,
    DoctorCommand.self,
    FieldsCommand.self,
    ControlsCommand.self,
    ReasonsCommand.self, DecodeCommand.self,
  ]
}

/// What help and completions are made from: as a person sees it, the screen's options belong to `vmctop` itself.
/// (Declared on the root, the parser would take them from behind a command's name too.)
struct DocumentedVmctop: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "vmctop",
    abstract: Vmctop.configuration.abstract,
    usage: """
      vmctop [options]                    the screen, live
      vmctop --input FILE [options]       the screen, on a recording
      vmctop COMMAND [options]
      """,
    discussion: """
      Opens a full-screen view of the exits of all running guests. Where standard output is no terminal, the main \
      table is printed each interval instead. '?' on the screen lists the keys; man vmctop has it all.
      """,
    version: Vmctop.configuration.version,
    subcommands: Vmctop.documentedCommands)

  @OptionGroup var source: SourceOptions
  @OptionGroup var view: ViewOptions
  @OptionGroup var start: StartOptions
}
