import Architecture
import Report
import VCPUState

/// `vmctop controls --host`: the bits of vmcs_config beside what the processor allows.
enum HostControlsPage {
  static func print(_ bits: [ControlBit], _ format: CatalogueFormat) throws {
    let host = try openStateReader().hostControls()
    let configuration = host.configuration.words
    let capabilities = host.capabilities
    func value(_ bit: ControlBit) -> Bool? { configuration.word(bit.word).map { $0 >> UInt64(bit.bit) & 1 == 1 } }
    switch format {
    case .json:
      Output.standard.write(
        try jsonLines(
          bits.map { bit in
            [
              "word": .string(bit.word.rawValue), "bit": CatalogueJSON(bit.bit), "name": .string(name(bit)),
              "configured": CatalogueJSON(value(bit)), "allowed": CatalogueJSON(capabilities.allowed(bit)),
              "kvm_use": .string(bit.kvmUse.rawValue), "kvm_condition": .string(bit.kvmCondition),
              "cpuinfo_flag": CatalogueJSON(bit.cpuinfoFlag),
            ]
          }))
    case .text:
      var text = ""
      for word in [ControlWord.pin, .primary, .secondary, .tertiary, .exit, .entry] {
        let rows = bits.filter { $0.word == word }
        if rows.isEmpty { continue }
        let now = configuration.word(word).map { hex($0, digits: word.width / 4) } ?? "not in this kernel"
        text += "\(word.sdmName): vmcs_config has \(now)\n"
        text += alignedTable(
          ["BIT", "NAME", "SET", "ALLOWED", "BEHIND IT"],
          rows.map { bit in
            [
              String(bit.bit), name(bit), value(bit).map { $0 ? "1" : "0" } ?? "-", capabilities.allowed(bit) ?? "?",
              "\(bit.kvmUse.rawValue): \(bit.kvmCondition)",
            ]
          }, right: [0])
        text += "\n"
      }
      if let missing = capabilities.missing { text += "What the processor allows: \(missing).\n" }
      Output.standard.write(text)
    }
    try Output.standard.flush()
  }

  private static func name(_ bit: ControlBit) -> String {
    ControlID(word: bit.word, bit: bit.bit)?.name ?? bit.sdmName
  }
}
