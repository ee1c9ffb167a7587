import Architecture
import ArgumentParser
import Report
import Wording

/// `vmctop fields`: the VMCS fields of the catalogue.
struct FieldsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "fields",
    abstract: "Look up VMCS fields.",
    discussion: """
      Without an argument, every field. A name or an encoding answers that field, the upper half of a 64-bit field \
      as ..._HIGH; anything else is a regular expression that is matched, case ignored, anywhere in the name.
      """)

  @Argument(help: "A name (GUEST_RIP), an encoding (0x681e) or a regular expression.")
  var field: String?

  @Flag(help: "List the upper halves of 64-bit fields too.")
  var high = false

  @Option(help: "text or json.")
  var format = CatalogueFormat.text

  func run() throws {
    let fields = try selected()
    switch format {
    case .json: Output.standard.write(try jsonLines(fields.map(json)))
    case .text where fields.count == 1: Output.standard.write(card(fields[0]))
    case .text: Output.standard.write(table(fields))
    }
  }

  private func selected() throws -> [VMCSField] {
    let rows = high ? VMCSField.all : VMCSField.rows
    guard let field else { return rows }
    if let exact = VMCSField.lookup(name: field) { return [exact] }
    if let number = parseNumber(field) {
      if let encoding = UInt32(exactly: number), let exact = VMCSField.lookup(encoding: encoding) { return [exact] }
      throw Failure(
        .usage, "no VMCS field has the encoding \(hex(number))", hint: "vmctop decode encoding \(hex(number))")
    }
    // Upper halves only where they are asked for by that name.
    return try matching(
      field.uppercased().contains("HIGH") ? VMCSField.all : rows, field, what: "VMCS field", name: \.name,
      others: { [$0.sdmName, $0.otherNames, $0.group] })
  }

  private func json(_ field: VMCSField) -> JSONValue {
    [
      "encoding": .text(hex(field.encoding.rawValue, digits: 4)),
      "name": .text(field.name),
      "linux_name": JSONValue(field.linuxName),
      "sdm_name": .text(field.sdmName),
      "width": .text(field.encoding.width.name),
      "type": .text(field.encoding.area.name),
      "index": JSONValue(Int(field.encoding.index)),
      "access": .text(field.encoding.isHigh ? "high" : "full"),
      "group": .text(field.group),
      "exists_if": .text(field.existsIf),
      "description": .text(field.description),
      "high_encoding": JSONValue(field.highEncoding.map { hex($0.rawValue, digits: 4) }),
      "first_kernel": JSONValue(field.firstKernel),
      "other_names": JSONValue(field.otherNames),
      "value_without_vmread": JSONValue(field.valueWithoutVMREAD),
      "confidence": .text(field.confidence.rawValue),
    ]
  }

  private func card(_ field: VMCSField) -> String {
    let encoding = field.encoding
    return factCard(
      "\(field.name)  \(hex(encoding.rawValue, digits: 4))",
      [
        ("SDM name", field.sdmName),
        ("is", field.description),
        ("width", encoding.width == .natural ? "natural" : "\(encoding.width.name) bits"),
        ("type", encoding.area.name),
        ("index", "\(encoding.index)"),
        ("access", encoding.isHigh ? "high" : "full"),
        ("high half", field.highEncoding.map { hex($0.rawValue, digits: 4) }),
        ("group", field.group),
        ("exists if", field.existsIf),
        (
          "Linux",
          field.linuxName == nil
            ? "no constant" : field.firstKernel.map { "\(field.linuxName ?? ""), first kernel \($0)" }
        ),
        ("other names", field.otherNames),
        ("without VMREAD", field.valueWithoutVMREAD),
        ("confidence", field.confidence.rawValue),
      ])
  }

  private func table(_ fields: [VMCSField]) -> String {
    alignedTable(
      ["ENCODING", "NAME", "WIDTH", "TYPE", "SDM NAME"],
      fields.map {
        [hex($0.encoding.rawValue, digits: 4), $0.name, $0.encoding.width.name, $0.encoding.area.name, $0.sdmName]
      })
  }
}
