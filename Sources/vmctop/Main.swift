import ArgumentParser
import Glibc
import Report

/// Parses the command line, runs the command, and turns whatever comes of it into one of the documented exit statuses.
@main
struct Program {
  static func main() {
    occupyStandardDescriptors()
    // A closed pipe is reported by write(2), where it can be told in words.
    signal(SIGPIPE, SIG_IGN)
    exit(run(Array(CommandLine.arguments.dropFirst())))
  }

  private static func run(_ arguments: [String]) -> Int32 {
    var status = ExitStatus.ok
    do throws(CommandStatus) { status = try execute(arguments) } catch { return error.status }
    do {
      try Output.standard.flush()
    } catch {
      // A command that failed by this very write has told already.
      if status == .ok {
        complain(error.description)
        status = error.status
      }
    }
    return status.rawValue
  }

  /// - Throws: The status of a command that was recorded.
  private static func execute(_ arguments: [String]) throws(CommandStatus) -> ExitStatus {
    do {
      if asksForHelp(arguments) {
        Output.standard.write(DocumentedVmctop.helpMessage(columns: 80) + "\n")
        return .ok
      }
      if let first = arguments.first, !first.hasPrefix("-"), first != "help", !commandNames.contains(first) {
        let names = commandNames.filter { $0 != Top.configuration.commandName }.joined(separator: ", ")
        throw Failure(.usage, "no command '\(first)'", hint: "there are \(names); see 'vmctop --help'")
      }
      var command = try Vmctop.parseAsRoot(arguments)
      try command.run()
      return .ok
    } catch let status as CommandStatus {
      throw status
    } catch let failure as Failure {
      complain(failure.description)
      return failure.status
    } catch {
      let code = DocumentedVmctop.exitCode(for: error)
      let message = DocumentedVmctop.message(for: error)
      if code == .success {
        Output.standard.write(message.hasSuffix("\n") ? message : message + "\n")
        return .ok
      }
      if code == .validationFailure {
        complain("\(oneLine(message)); see '\(helpCommand(arguments))'")
        return .usage
      }
      complain(message.isEmpty ? "failed" : oneLine(message))
      return .failure
    }
  }

  /// Help for the program as a whole, rather than for one of its commands.
  private static func asksForHelp(_ arguments: [String]) -> Bool {
    if arguments == ["help"] { return true }
    guard let first = arguments.first, first.hasPrefix("-") else { return false }
    return arguments.prefix { $0 != "--" }.contains { $0 == "-h" || $0 == "--help" }
  }

  private static var commandNames: [String] {
    Vmctop.configuration.subcommands.compactMap { $0.configuration.commandName }
  }

  private static func helpCommand(_ arguments: [String]) -> String {
    guard let first = arguments.first, commandNames.contains(first), first != Top.configuration.commandName else {
      return "vmctop --help"
    }
    return "vmctop \(first) --help"
  }

  private static func oneLine(_ message: String) -> String {
    var text = message.split(whereSeparator: \.isNewline)
      .map { $0.trimmingPrefix { $0 == " " } }.joined(separator: " ")
    while text.hasSuffix(".") { text.removeLast() }
    return text
  }
}
