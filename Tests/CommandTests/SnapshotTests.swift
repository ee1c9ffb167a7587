import Foundation
import Testing

@testable import vmctop

/// What `--help` says, and what shells complete, as it was when somebody last read it and found it good. `VMCTOP_RECORD_GOLDEN=1` writes
/// it anew.
@Suite("Snapshots") struct SnapshotTests {
  static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Snapshots")

  static let commands = Vmctop.documentedCommands.compactMap { $0.configuration.commandName }

  private func check(_ arguments: [String], _ name: String) throws {
    let run = try vmctop(arguments, environment: [:])
    #expect(run.status == 0 && run.errors.isEmpty)
    let file = Self.folder.appendingPathComponent(name)
    if ProcessInfo.processInfo.environment["VMCTOP_RECORD_GOLDEN"] == "1" {
      try FileManager.default.createDirectory(at: Self.folder, withIntermediateDirectories: true)
      try run.output.write(to: file, atomically: true, encoding: .utf8)
      return
    }
    let golden = try String(contentsOf: file, encoding: .utf8)
    #expect(run.output == golden, "differs from Snapshots/\(name); VMCTOP_RECORD_GOLDEN=1 writes it anew")
  }

  @Test("of the program's help") func program() throws { try check(["--help"], "help.txt") }

  @Test("of each command's help", arguments: commands)
  func help(command: String) throws { try check([command, "--help"], "help-\(command).txt") }

  @Test("of what each shell completes", arguments: ["bash", "zsh", "fish"])
  func completions(shell: String) throws {
    try check(["--generate-completion-script", shell], "completions.\(shell)")
  }

  @Test("are of all commands: one that has no name of its own has no snapshot") func all() {
    #expect(Self.commands.count == Vmctop.documentedCommands.count)
  }
}
