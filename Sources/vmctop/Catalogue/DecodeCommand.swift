import Architecture
import ArgumentParser
import Report
import Wording

/// `vmctop decode`: a raw value taken apart, or a dump of them.
struct DecodeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "decode",
    abstract: "Take a raw value, or the kernel's dump of a VMCS, apart.",
    usage: """
      vmctop decode KIND VALUE ... [--format text|json]
      vmctop decode vmcs-dump [FILE] [--unchecked] [--format text|json]
      """,
    discussion: """
      Values are decimal or hexadecimal with 0x; a REASON or CODE may be a name. The kinds:

      \(DecodeKind.all.map { "  \($0.name) \($0.arguments)\n      \($0.help)" }.joined(separator: "\n"))
      """,
    subcommands: [VMCSDumpCommand.self, DecodeValueCommand.self],
    defaultSubcommand: DecodeValueCommand.self)
}

/// `vmctop decode KIND VALUE`. A command of its own: the parser would take `vmcs-dump` for a KIND of the one above.
struct DecodeValueCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "value", abstract: "Take a raw value apart.", shouldDisplay: false)

  @Argument(help: "What the value is; see the list above.")
  var kind: String

  @Argument(help: "The value, after a reason, code or word where the kind takes one.")
  var values: [String] = []

  @Option(help: "text or json.")
  var format = CatalogueFormat.text

  func run() throws {
    let decoded: [Decoded]
    do {
      decoded = try DecodeKind.decode(kind, values)
    } catch {
      throw Failure(error)
    }
    switch format {
    case .json: Output.standard.write(try jsonLines(decoded.map(json)))
    case .text: Output.standard.write(decoded.map(text).joined(separator: "\n"))
    }
  }

  private func json(_ decoded: Decoded) -> JSONValue {
    [
      "kind": .text(decoded.kind),
      "value": .text(decoded.hexadecimalValue),
      "width": JSONValue(decoded.width),
      "summary": .text(decoded.summary),
      "has_reserved_bits": .bool(decoded.hasReservedBits),
      "parts": .array(
        decoded.parts.map {
          [
            "bits": .text($0.bits), "name": .text($0.name), "value": .text(hex($0.value)),
            "meaning": .text($0.meaning),
          ]
        }),
    ]
  }

  private func text(_ decoded: Decoded) -> String {
    var text = "\(decoded.kind) \(decoded.hexadecimalValue): \(decoded.summary)\n"
    if decoded.parts.count > 1 || decoded.parts.first?.meaning != decoded.summary {
      guard !decoded.parts.isEmpty else { return text }
      text += alignedTable(
        ["BITS", "NAME", "VALUE", "MEANING"], decoded.parts.map { [$0.bits, $0.name, hex($0.value), $0.meaning] },
        right: [0, 2])
    }
    return text
  }
}
