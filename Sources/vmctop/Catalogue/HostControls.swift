import Architecture
import Report
import VCPUState
import Wording

/// `vmctop controls --host`: the bits of vmcs_config beside what the processor allows; on SVM the intercepts that KVM gives every
/// vCPU.
enum HostControlsPage {
  /// - Parameter controls: those that were asked for; nil: all that this host has.
  static func print(_ controls: [ControlID]?, _ format: CatalogueFormat) throws {
    let host = try openStateReader().hostControls()
    if let words = host.configuration.words.intercepts {
      let asked = (controls ?? ControlID.all).filter { $0.interceptCode != nil }
      Output.standard.write(try intercepts(asked, words, host, format))
      return try Output.standard.flush()
    }
    let bits = (controls ?? ControlID.all).compactMap(\.controlBit)
    let configuration = host.configuration.words
    let capabilities = host.capabilities
    func value(_ bit: ControlBit) -> Bool? { configuration.word(bit.word).map { $0 >> UInt64(bit.bit) & 1 == 1 } }
    switch format {
    case .json:
      Output.standard.write(
        try jsonLines(
          bits.map { bit in
            [
              "word": .text(bit.word.rawValue), "bit": JSONValue(bit.bit), "name": .text(name(bit)),
              "configured": JSONValue(value(bit)), "allowed": JSONValue(capabilities.allowed(bit)?.text),
              "kvm_use": .text(bit.kvmUse.rawValue), "kvm_condition": .text(bit.kvmCondition),
              "cpuinfo_flag": JSONValue(bit.cpuinfoFlag),
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
              String(bit.bit), name(bit), value(bit).map { $0 ? "1" : "0" } ?? "-",
              capabilities.allowed(bit)?.text ?? "?",
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

  /// A row for each intercept: what KVM gives every vCPU at first, and what decides it.
  static func intercepts(
    _ controls: [ControlID], _ words: SIMD8<UInt32>, _ host: HostControls, _ format: CatalogueFormat
  ) throws -> String {
    let rows = controls.compactMap { control in
      control.interceptCode.map { code in
        (control, code, words[Int(code / 32)] >> (code % 32) & 1 == 1, behind(control, host))
      }
    }
    if format == .json {
      return try jsonLines(
        rows.map { control, code, isSet, behind in
          [
            "word": .text(control.word), "bit": JSONValue(Int(code)), "name": .text(control.name),
            "configured": .bool(isSet), "allowed": .null, "kvm_use": .null, "kvm_condition": JSONValue(behind),
            "cpuinfo_flag": .null,
          ]
        })
    }
    var text = "Intercepts that kvm_amd gives every vCPU at first\n"
    text += alignedTable(
      ["CODE", "NAME", "SET", "BEHIND IT"],
      rows.map { control, code, isSet, behind in
        [hex(code, digits: 3), control.name, isSet ? "1" : "0", behind ?? "-"]
      }, right: [0])
    return text
  }

  /// The parameters with their values, and what changes the bit for one vCPU later; nil for an intercept that KVM never has.
  private static func behind(_ control: ControlID, _ host: HostControls) -> String? {
    guard let row = InterceptDefault.lookup(control) else { return control.interceptReason?.svm?.kvmUse }
    let parameters = row.parameters.map { "\($0.fullName)=\(host.parameters[$0.fullName] ?? "not in this kernel")" }
    let parts = [parameters.isEmpty ? "always" : parameters.joined(separator: ", "), row.change].compactMap { $0 }
    return parts.joined(separator: "; ")
  }

  private static func name(_ bit: ControlBit) -> String {
    ControlID(word: bit.word, bit: bit.bit)?.name ?? bit.sdmName
  }
}
