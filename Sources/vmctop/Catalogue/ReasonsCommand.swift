import Architecture
import ArgumentParser
import Report
import Wording

/// `vmctop reasons`: the exit reasons of VMX and the exit codes of SVM.
struct ReasonsCommand: ParsableCommand {
  enum Instructions: String, CaseIterable, ExpressibleByArgument { case vmx, svm }

  static let configuration = CommandConfiguration(
    commandName: "reasons",
    abstract: "Look up exit reasons: what causes them, what they are charged to, which knobs change them.",
    discussion: """
      Without an argument, every reason. A name as kvm_exit prints it (EPT_MISCONFIG, npf), Linux's constant \
      (EXIT_REASON_HLT) or a number answers that reason; anything else is a regular expression that is matched, \
      case ignored, anywhere in the name.
      """)

  @Argument(help: "A name (EPT_MISCONFIG), a number (49, 0x400) or a regular expression.")
  var reason: String?

  @Option(help: "vmx or svm only.")
  var isa: Instructions?

  @Option(help: "text or json.")
  var format = CatalogueFormat.text

  func run() throws {
    let (reasons, isExact) = try selected()
    switch format {
    case .json: Output.standard.write(try jsonLines(reasons.map(json)))
    case .text where reasons.count == 1 || isExact: Output.standard.write(reasons.map(card).joined(separator: "\n"))
    case .text: Output.standard.write(table(reasons))
    }
  }

  /// The reasons, and whether each of them is just what was asked for.
  private func selected() throws -> ([ExitReason], Bool) {
    let rows = (ExitReason.vmxRows + ExitReason.svmRows).filter { isa == nil || $0.isa.name == isa?.rawValue }
    guard let reason else { return (rows, false) }
    let exact = ExitReason.lookup(name: reason).filter { isa == nil || $0.isa.name == isa?.rawValue }
    if !exact.isEmpty { return (exact, true) }
    if let number = reason == "-1" ? UInt64(UInt32.max) : parseNumber(reason) {
      let found = rows.filter { UInt64($0.code) == number }
      if !found.isEmpty { return (found, true) }
      throw Failure(
        .usage, "no exit reason \(hex(number)) (\(number)) of \(isa?.rawValue ?? "VMX or SVM") is known",
        hint: number > 0xffff ? "vmctop decode exit-reason \(hex(number)) takes flag bits apart" : nil)
    }
    return (
      try matching(
        rows, reason, what: "exit reason", name: \.name, others: { [$0.linuxName, $0.title, $0.svm?.interceptName] }),
      false
    )
  }

  private func charged(_ reason: ExitReason) -> [ControlID] {
    if let fixed = fixedGoverningControl(isa: reason.isa.rawValue, code: reason.code) { return [fixed] }
    return ControlID.all.filter { $0.reasons.contains(reason) }
  }

  private func json(_ reason: ExitReason) -> JSONValue {
    let information = reason.vmx?.information
    return [
      "isa": .text(reason.isa.name),
      "code": .integer(UInt64(reason.code)),
      "name": .text(reason.name),
      "linux_name": JSONValue(reason.linuxName),
      "sdm_name": JSONValue(reason.vmx?.sdmName),
      "charged_to": .array(
        charged(reason).map { ["word": .text($0.word), "bit": JSONValue($0.bit), "name": .text($0.name)] }),
      "governing_controls": JSONValue(reason.governingControls),
      "exit_when": JSONValue(reason.vmx?.exitWhen),
      "typical_cause": JSONValue(reason.typicalCause),
      "knobs": JSONValue(reason.knobs),
      "qualification_layout": JSONValue(reason.vmx?.qualification?.rawValue),
      "has_qualification": JSONValue(information?.qualification.rawValue),
      "has_instruction_information": JSONValue(information?.instructionInformation.rawValue),
      "has_guest_linear_address": JSONValue(information?.linearAddress.rawValue),
      "has_guest_physical_address": JSONValue(information?.physicalAddress.rawValue),
      "has_instruction_length": JSONValue(information?.length.rawValue),
      "exit_info_1": JSONValue(reason.svm?.exitInfo1),
      "exit_info_2": JSONValue(reason.svm?.exitInfo2),
      "kvm_use": JSONValue(reason.svm?.kvmUse),
      "kvm_handler": JSONValue(reason.handler),
      "fast_path": JSONValue(reason.vmx?.hasFastPath),
      "first_kernel": JSONValue(reason.firstKernel),
      "printed_first_kernel": JSONValue(reason.printedFirstKernel),
    ]
  }

  private func chargedText(_ reason: ExitReason) -> String {
    let controls = charged(reason)
    let first = controls.first.map {
      "\($0.name) (\($0.bit.map { bit in "\(controls[0].word):\(bit)" } ?? controls[0].word))"
    }
    return controls.count == 1 ? first ?? "" : "depends on the exit: " + names(controls).joined(separator: ", ")
  }

  /// Names, each once.
  private func names(_ controls: [ControlID]) -> [String] {
    var seen: Set<String> = []
    return controls.map(\.name).filter { seen.insert($0).inserted }
  }

  private func card(_ reason: ExitReason) -> String {
    let information = reason.vmx?.information
    func note(_ name: String, _ presence: ExitInformation.Presence?) -> String? {
      presence == nil || presence == .never ? nil : presence == .sometimes ? "\(name) (sometimes)" : name
    }
    let given = [
      note("exit qualification", information?.qualification),
      note("instruction information", information?.instructionInformation),
      note("guest linear address", information?.linearAddress),
      note("guest-physical address", information?.physicalAddress),
      note("instruction length", information?.length),
    ].compactMap { $0 }
    return factCard(
      "\(reason.name)  \(reason.isa.name) \(reason.isa == .vmx ? "\(reason.code)" : hex(reason.code, digits: 3))",
      [
        ("SDM name", reason.vmx?.sdmName),
        (
          "Linux",
          reason.linuxName.map { "\($0)\(reason.firstKernel.map { ", first kernel \($0)" } ?? "")" } ?? "no constant"
        ),
        ("charged to", chargedText(reason)),
        ("governed by", reason.governingControls),
        ("exits when", reason.vmx?.exitWhen),
        ("intercept on", reason.svm?.kvmUse),
        ("usual cause", reason.typicalCause),
        ("knobs", reason.knobs),
        ("qualification", reason.vmx?.qualification?.rawValue),
        ("gives", given.isEmpty ? nil : given.joined(separator: ", ")),
        ("EXITINFO1", reason.svm?.exitInfo1),
        ("EXITINFO2", reason.svm?.exitInfo2),
        (
          "handled by",
          reason.handler.map { "\($0)\(reason.vmx?.hasFastPath == true ? ", in the fast path where it can" : "")" }
        ),
        ("printed since", reason.printedFirstKernel ?? "never by name"),
      ])
  }

  private func table(_ reasons: [ExitReason]) -> String {
    alignedTable(
      ["ISA", "CODE", "NAME", "CHARGED TO", "USUAL CAUSE"],
      reasons.map { reason in
        let controls = charged(reason)
        return [
          reason.isa.name, reason.isa == .vmx ? "\(reason.code)" : hex(reason.code, digits: 3), reason.name,
          controls.count == 1 ? controls[0].name : "(depends)", reason.typicalCause ?? "-",
        ]
      }, right: [1])
  }
}
