import Architecture
import ArgumentParser
import Report
import Wording

/// `vmctop controls`: everything that an exit can be charged to.
struct ControlsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "controls",
    abstract: "Look up control bits, bitmaps, masks and intercepts.",
    discussion: """
      Without an argument, every bit of the seven VMX control words. A name, a word (primary) or a bit of one \
      (primary:7) answers just that, of VMX or SVM; anything else is a regular expression that is matched, case \
      ignored, anywhere in the name.
      """)

  @Argument(help: "A name (CPU_BASED_HLT_EXITING), a word, word:bit, or a regular expression.")
  var control: String?

  @Flag(
    help: """
      What KVM settled on here (vmcs_config; on AMD the intercepts of every vCPU), what the processor allows, and what is \
      behind each bit. Needs root.
      """)
  var host = false

  @Option(help: "text or json.")
  var format = CatalogueFormat.text

  func run() throws {
    let controls = try selected()
    if host { return try HostControlsPage.print(control == nil ? nil : controls, format) }
    switch format {
    case .json: Output.standard.write(try jsonLines(controls.map(json)))
    case .text where controls.count == 1: Output.standard.write(card(controls[0]))
    case .text: Output.standard.write(table(controls))
    }
  }

  private func selected() throws -> [ControlID] {
    let all = ControlID.all
    guard let control else { return all.filter { $0.controlBit != nil } }
    let exact = ControlID.lookup(name: control)
    if !exact.isEmpty { return exact }
    // A word may be written with a hyphen: secondary-exit.
    let wanted = control.lowercased().replacing("secondary-exit", with: "secondary_exit")
    let word = all.filter { $0.word == wanted && ($0.controlWord == nil || $0.controlBit != nil) }
    if !word.isEmpty { return word }
    let parts = wanted.split(separator: ":", omittingEmptySubsequences: false)
    if parts.count == 2, let bits = Optional(all.filter({ $0.word == parts[0] })), !bits.isEmpty {
      let found = bits.filter { $0.bit.map(String.init) == String(parts[1]) }
      if !found.isEmpty { return found }
      let last = bits.compactMap(\.bit).max()
      throw Failure(
        .usage, "\(parts[0]) has no bit \(quoted(String(parts[1])))", hint: last.map { "its bits are at most \($0)" })
    }
    return try matching(
      all.filter { $0.controlWord == nil || $0.controlBit != nil }, control, what: "control", name: \.name,
      others: { [$0.title, $0.controlBit?.cpuinfoFlag, $0.controlBit?.description] })
  }

  private func json(_ control: ControlID) -> JSONValue {
    let row = control.controlBit
    return [
      "word": .text(control.word),
      "bit": JSONValue(control.bit),
      "name": .text(control.name),
      "title": .text(control.title),
      "isa": JSONValue(control.isa?.name),
      "linux_name": JSONValue(row?.linuxName),
      "sdm_name": JSONValue(row?.sdmName),
      "cpuinfo_flag": JSONValue(row?.cpuinfoFlag),
      "default1": JSONValue(row?.isDefault1),
      "capability_msr": JSONValue(row.map { hex($0.word.capabilityMSR) }),
      "true_capability_msr": JSONValue(row?.word.trueCapabilityMSR.map { hex($0) }),
      "description": JSONValue(row?.description),
      "kvm_use": JSONValue(row?.kvmUse.rawValue),
      "kvm_condition": JSONValue(row?.kvmCondition ?? interceptUse(control)),
      "kvm_capability": JSONValue(row?.kvmCapability),
      "first_kernel": JSONValue(row?.firstKernel),
      "flag_first_kernel": JSONValue(row?.flagFirstKernel),
      "confidence": JSONValue(row?.confidence.rawValue),
      "reasons": .array(control.reasons.map { .text($0.name) }),
    ]
  }

  /// When KVM has an SVM intercept on.
  private func interceptUse(_ control: ControlID) -> String? {
    control.interceptReason?.svm?.kvmUse
  }

  private func card(_ control: ControlID) -> String {
    let row = control.controlBit
    let reasons = control.reasons.map(\.name)
    var place = control.bit.map { "\(control.word) bit \($0)" } ?? control.word
    if let code = control.interceptCode {
      place = "VMCB intercept word \(code / 32) bit \(code % 32), byte \(hex(code / 32 * 4))"
    }
    return factCard(
      "\(control.name)  \(control.bit.map { "\(control.word):\($0)" } ?? control.word)",
      [
        (row == nil ? "title" : "SDM name", control.title),
        ("does", row?.description),
        ("place", row.map { "\($0.word.sdmName) (\(hex($0.word.encoding.rawValue))), bit \($0.bit)" } ?? place),
        ("exits", reasons.isEmpty ? nil : reasons.joined(separator: ", ")),
        ("KVM sets it", row.map { "\($0.kvmUse.rawValue): \($0.kvmCondition)" } ?? interceptUse(control)),
        ("KVM needs it", row?.kvmCapability),
        (
          "capability MSR",
          row.map { bit in
            let msr = bit.word.capabilityMSR
            let trueMSR = bit.word.trueCapabilityMSR.map { ", \(msrName($0) ?? "") \(hex($0))" } ?? ""
            return "\(msrName(msr) ?? "") \(hex(msr))\(trueMSR)"
          }
        ),
        ("default1", row.map { $0.isDefault1 ? "yes" : "no" }),
        ("cpuinfo flag", row?.cpuinfoFlag.map { "\($0)\(row?.flagFirstKernel.map { ", first kernel \($0)" } ?? "")" }),
        ("Linux", row.map { $0.linuxName == nil ? "no constant" : "first kernel \($0.firstKernel ?? "?")" }),
        ("confidence", row?.confidence.rawValue),
      ])
  }

  private func table(_ controls: [ControlID]) -> String {
    alignedTable(
      ["WORD", "BIT", "NAME", "KVM", "TITLE"],
      controls.map {
        [$0.word, $0.bit.map(String.init) ?? "-", $0.name, $0.controlBit?.kvmUse.rawValue ?? "-", $0.title]
      }, right: [1])
  }
}
