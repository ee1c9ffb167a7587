import ArgumentParser
import Errors
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
    var end: (line: String?, status: Int32) = (nil, ExitStatus.ok.rawValue)
    do { try execute(arguments) } catch { end = ending(of: error, arguments: arguments) }
    // A command that failed by this very write says so itself; one that tells by what it prints has told nobody.
    do { try Output.standard.flush() } catch  where end.line == nil {
      end = (error.description, error.status.rawValue)
    } catch {}
    if let line = end.line { complain(line) }
    return end.status
  }

  private static func execute(_ arguments: [String]) throws {
    if asksForHelp(arguments) {
      Output.standard.write(DocumentedVmctop.helpMessage(columns: 80) + "\n")
      return
    }
    if let first = arguments.first, !first.hasPrefix("-"), first != "help", !commandNames.contains(first) {
      let names = commandNames.filter { $0 != Top.configuration.commandName }.joined(separator: ", ")
      throw Failure(.usage, "no command '\(first)'", hint: "there are \(names); see 'vmctop --help'")
    }
    do {
      var command = try Vmctop.parseAsRoot(arguments)
      try command.run()
    } catch  where DocumentedVmctop.exitCode(for: error) == .success {
      // Help and version are thrown too.
      let message = DocumentedVmctop.message(for: error)
      Output.standard.write(message.hasSuffix("\n") ? message : message + "\n")
    }
  }

  /// What an error that ended a command comes to: the line for standard error, which always says something, or nil where
  /// all was said already; and the exit status.
  static func ending(of error: any Error, arguments: [String]) -> (line: String?, status: Int32) {
    switch error {
    case let told as ToldStatus: return (nil, told.status)
    case let error as any CodedError:
      let failure = Failure(error)
      return (failure.description, failure.status.rawValue)
    default: break
    }
    let message = oneLine(DocumentedVmctop.message(for: error))
    if DocumentedVmctop.exitCode(for: error) == .validationFailure {
      return ("\(message); see '\(helpCommand(arguments))'", ExitStatus.usage.rawValue)
    }
    // The parser has no words for an exit code, nor for some errors of the library.
    return (message.isEmpty ? "unexpected error: \(error)" : message, ExitStatus.failure.rawValue)
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

/// Ends a command with a status and without a line: what it printed, or what the recorded command printed, has said it.
struct ToldStatus: Error {
  /// The exit status, not 0.
  var status: Int32

  init(_ status: Int32) { self.status = status }
}
