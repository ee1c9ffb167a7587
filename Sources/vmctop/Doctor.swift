import ArgumentParser
import FoundationEssentials
import Report
import Sampler

/// `vmctop doctor`: which sources this host offers, what each missing one would add, and the command that enables it.
struct DoctorCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract: "Say which sources this host offers, and how to enable those that are missing.",
    discussion: """
      Looks only: nothing is traced, loaded or changed. Exit status 0 if live tracing can work, 3 if a permission, a \
      mount or a module is missing, 4 if this host cannot.
      """)

  enum Format: String, CaseIterable, ExpressibleByArgument { case text, json }

  @Option(help: ArgumentHelp("Text for people, or one JSON object.", valueName: "text|json"))
  var format: Format = .text

  func run() throws {
    let survey = HostSurvey()
    let text =
      switch format {
      case .text: DoctorCommand.text(survey)
      case .json: try DoctorCommand.json(survey)
      }
    Output.standard.write(text)
    let status: ExitStatus =
      switch survey.live {
      case .possible: .ok
      case .unavailable: .unavailable
      case .unsupported: .unsupported
      }
    // The page has said it, source by source.
    if status != .ok { throw ToldStatus(status.rawValue) }
  }

  /// The page for people: one row per source, and below a missing one what it would add and how to get it.
  static func text(_ survey: HostSurvey) -> String {
    let host = [survey.hostName, survey.kernelRelease.map { "Linux \($0)" }].compactMap { $0 }.joined(separator: ", ")
    var text = host.isEmpty ? "" : "\(host)\n"
    let verdict =
      switch survey.live {
      case .possible: "Live tracing is possible.\n\n"
      case .unavailable: "Live tracing is not possible yet: see what is missing.\n\n"
      case .unsupported: "Live tracing is not possible on this host. Recordings can be read: vmctop --input FILE.\n\n"
      }
    text += verdict
    let width = survey.sources.map(\.id.count).max() ?? 0
    let indent = String(repeating: " ", count: width + 7)
    for source in survey.sources {
      let name = source.id + String(repeating: " ", count: width - source.id.count)
      text += wrapped("[\(source.isAvailable ? "ok" : "--")] \(name)  \(source.state)", indent: indent)
      if !source.isAvailable {
        text += wrapped("\(indent)would add: \(source.adds)", indent: indent + "  ")
        if let enable = source.enable { text += wrapped("\(indent)enable: \(enable)", indent: indent + "  ") }
      }
    }
    return text
  }

  /// Breaks a line at blanks before column 80; the first line is taken as it is, indentation included.
  private static func wrapped(_ line: String, indent: String, width: Int = 80) -> String {
    var rest = Substring(line)
    var lines: [String] = []
    while rest.count > width {
      let end = rest.index(rest.startIndex, offsetBy: width)
      let start = rest.index(rest.startIndex, offsetBy: indent.count)
      guard let blank = rest[start...end].lastIndex(of: " "), blank > start else { break }
      lines.append(String(rest[..<blank]))
      rest = indent + rest[rest.index(after: blank)...]
    }
    lines.append(String(rest))
    return lines.joined(separator: "\n") + "\n"
  }

  private struct Document: Encodable {
    var schema = "vmctop/doctor/1"
    var host: String?
    var kernel: String?
    var live: HostSurvey.LiveTracing
    var sources: [SourceFinding]

    private enum CodingKeys: String, CodingKey { case schema, host, kernel, live, sources }

    func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: CodingKeys.self)
      try container.encode(schema, forKey: .schema)
      // Unknown is null, not absent.
      try container.encode(host, forKey: .host)
      try container.encode(kernel, forKey: .kernel)
      try container.encode(live, forKey: .live)
      try container.encode(sources, forKey: .sources)
    }
  }

  static func json(_ survey: HostSurvey) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    let document = Document(
      host: survey.hostName, kernel: survey.kernelRelease, live: survey.live, sources: survey.sources)
    return String(decoding: try encoder.encode(document), as: UTF8.self) + "\n"
  }
}
