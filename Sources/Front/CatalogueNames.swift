import Aggregator
import Architecture
import Screen
import Wording

/// The words for numbers, from the catalogue of the manuals.
public struct CatalogueNames: Names {
  public init() {}

  private static let vmxControls = ControlID.all.filter { $0.controlBit != nil }
  private static let svmControls = ControlID.all.filter { $0.interceptCode != nil }

  public func controls(isa: String?) -> [ControlID] {
    switch isa {
    case "vmx": CatalogueNames.vmxControls
    case "svm": CatalogueNames.svmControls
    default: []
    }
  }

  public func control(_ id: ControlID) -> ControlName {
    ControlName(word: id.word, bit: id.bit, name: id.name, title: id.title)
  }

  public func isUnconditional(_ id: ControlID) -> Bool { id == .unconditional || id == .unknown }

  public func isForced(_ id: ControlID) -> Bool { id.controlBit?.isReserved ?? false }

  public func reason(isa: UInt32, code: UInt32) -> ReasonNote? {
    guard let reason = ExitReason.lookup(isa: isa, code: code) else { return nil }
    return ReasonNote(
      meaning: reason.title, cause: reason.typicalCause == reason.title ? nil : reason.typicalCause, knobs: reason.knobs
    )
  }

  public func detail(_ kind: DetailKind, _ value: UInt64) -> String {
    kind.text(value, name: kind.name(of: value))
  }

  public func exitFields(_ exit: KVMExit) -> [FieldNote] {
    func hex(_ value: UInt32) -> String { Format.hex(UInt64(value)) }
    switch exit.isa {
    case .vmx:
      return [
        note("VM_EXIT_REASON", hex(exit.reason), .exitReason(UInt64(exit.reason))),
        FieldNote(name: "GUEST_RIP", value: Format.register(exit.rip), remark: ""),
        note(
          "EXIT_QUALIFICATION", Format.hex(exit.info1),
          .exitQualification(
            reason: exit.code, exit.info1, interruptionInformation: exit.interruptionInformation)),
        note("IDT_VECTORING_INFO_FIELD", Format.hex(exit.info2), .interruptionInformation(.idtVectoring, exit.info2)),
        note(
          "VM_EXIT_INTR_INFO", hex(exit.interruptionInformation),
          .interruptionInformation(.exit, UInt64(exit.interruptionInformation))),
        FieldNote(
          name: "VM_EXIT_INTR_ERROR_CODE", value: hex(exit.errorCode), remark: exit.hasErrorCode ? "" : "not valid"),
      ]
    case .svm:
      return [
        FieldNote(
          name: "EXITCODE", value: hex(exit.reason),
          remark: ExitReason.lookup(isa: 2, code: exit.reason)?.name ?? "unknown"),
        FieldNote(name: "RIP", value: Format.register(exit.rip), remark: ""),
        note("EXITINFO1", Format.hex(exit.info1), .svmExitInfo1(code: exit.reason, exit.info1)),
        note("EXITINFO2", Format.hex(exit.info2), .svmExitInfo2(code: exit.reason, exit.info2)),
        note(
          "EXITINTINFO", hex(exit.interruptionInformation),
          .svmInterruptionInformation(UInt64(exit.interruptionInformation))),
        FieldNote(name: "error code", value: hex(exit.errorCode), remark: exit.hasErrorCode ? "" : "not valid"),
      ]
    default:
      return [
        FieldNote(name: "exit reason", value: hex(exit.reason), remark: "no VMCS here"),
        FieldNote(name: "instruction pointer", value: Format.register(exit.rip), remark: ""),
      ]
    }
  }

  /// The decoded value in one line; parts are spelled out where the line alone does not.
  private func note(_ name: String, _ value: String, _ decoded: Decoded) -> FieldNote {
    let bits = decoded.parts.filter { $0.name == "reserved" }.map { "reserved bits \($0.bits) are set" }
    return FieldNote(name: name, value: value, remark: ([decoded.summary] + bits).joined(separator: "; "))
  }
}
