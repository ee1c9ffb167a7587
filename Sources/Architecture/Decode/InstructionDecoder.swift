/// VMX_INSTRUCTION_INFO and the error numbers of VMX instructions (SDM volume 3, section "Information for VM Exits Due to Instruction
/// Execution" and chapter "VMX Instruction Reference"; Linux asm/vmx.h).
extension Decoded {
  /// VMX_INSTRUCTION_INFO, 0x440e, for a basic exit reason.
  public static func instructionInformation(reason: UInt32, _ value: UInt64) -> Decoded {
    let kind = "instruction-info"
    let row = ExitReason.lookup(isa: 1, code: reason)
    let fields: [BitLayout.Field]
    switch row?.vmx?.instruction {
    case .stringIO:
      fields = [addressSize, .init(17, 15, "segment", .text(segmentName))]
    case .memory:
      fields = memoryOperand(value)
    case .memoryAndType:
      fields = memoryOperand(value) + [.init(31, 28, "type register", .text(generalRegister))]
    case .operandAndField:
      fields = operand(value) + [.init(31, 28, "field register", .text(generalRegister))]
    case .descriptorTable:
      fields =
        memoryOperand(value) + [
          .init(11, "operand size", .either("16 bits", "32 bits")),
          .init(29, 28, "instruction", .choice(["SGDT", "SIDT", "LGDT", "LIDT"])),
        ]
    case .systemSegment:
      fields = operand(value) + [.init(29, 28, "instruction", .choice(["SLDT", "STR", "LLDT", "LTR"]))]
    case .register:
      fields = [
        .init(6, 3, "register", .text(generalRegister)),
        .init(12, 11, "operand size", .choice(["16 bits", "32 bits", "64 bits"])),
      ]
    case .vectorRegisters:
      fields = [
        .init(6, 3, "register 1", .text { "XMM\($0)" }), .init(31, 28, "register 2", .text { "XMM\($0)" }),
      ]
    case .msrRegister:
      fields = [.init(6, 3, "register", .text(generalRegister))]
    case nil:
      let meaning = "\(row?.name ?? "unknown reason") has no instruction information"
      let undefined = Part(bits: "31:0", name: "undefined", value: value & 0xffff_ffff, meaning: meaning)
      let beyond = reservedParts(value & ~0xffff_ffff, width: 32)
      return Decoded(
        kind: kind, value: value, width: 32, summary: "no instruction information" + reservedNote(beyond),
        parts: (undefined.value == 0 ? [] : [undefined]) + beyond)
    }
    // What the manual leaves undefined is not said to be wrong: bits 31 and up are.
    let covered = fields.reduce(0) { $0 | $1.mask }
    let parts = BitLayout(32, fields).parts(of: value).filter { $0.name != "reserved" }
    var undefined = reservedParts(value & ~covered & 0xffff_ffff, width: 32)
    for index in undefined.indices {
      undefined[index].name = "undefined"
      undefined[index].meaning = "undefined for this instruction"
    }
    let beyond = reservedParts(value & ~0xffff_ffff, width: 32)
    return Decoded(
      kind: kind, value: value, width: 32,
      summary: instructionSummary(row?.name ?? "", value, fields) + reservedNote(beyond),
      parts: parts + undefined + beyond)
  }

  /// VM_INSTRUCTION_ERROR, 0x4400. Linux's names begin with `VMXERR_`.
  public static func instructionError(_ value: UInt64) -> Decoded {
    let name = vmInstructionErrorName(value)
    let meaning = name ?? (value == 0 ? "no error" : [14, 21, 27].contains(value) ? "unused" : "no such error")
    return Decoded(
      kind: "instruction-error", value: value, width: 32, summary: meaning,
      parts: [Part(bits: "31:0", name: "error", value: value, meaning: meaning)]
        + reservedParts(value & ~0xffff_ffff, width: 32))
  }

  /// The VMX-abort indicator in the header of a VMCS region.
  public static func vmxAbort(_ value: UInt64) -> Decoded {
    let causes = [
      "no abort", "saving guest MSRs failed (VMX_ABORT_SAVE_GUEST_MSR_FAIL)",
      "host PDPTE check failed (VMX_ABORT_LOAD_HOST_PDPTE_FAIL)", "the current VMCS is corrupted",
      "loading host MSRs failed (VMX_ABORT_LOAD_HOST_MSR_FAIL)", "machine check during the VM exit",
      "VM exit from 64-bit guest to 32-bit host",
    ]
    return BitLayout(32, [.init(31, 0, "indicator", .choice(causes))]).decode("vmx-abort", value) {
      $0 < UInt64(causes.count) ? causes[Int(truncatingIfNeeded: $0)] : "no such code"
    }
  }

  /// The first dword of a VMCS region; the second is the VMX-abort indicator.
  public static func vmcsRevision(_ value: UInt64) -> Decoded {
    BitLayout(
      32,
      [
        .init(30, 0, "revision", .hexadecimal),
        .init(31, "shadow", .either("ordinary VMCS", "shadow VMCS")),
      ]
    ).decode("vmcs-revision", value)
  }

  /// The encoding of a VMCS field.
  public static func encoding(_ value: UInt64) -> Decoded {
    let number = UInt32(truncatingIfNeeded: value)
    let encoding = VMCSEncoding(rawValue: number)
    var fields: [BitLayout.Field] = [
      .init(9, 1, "index", .decimal),
      .init(11, 10, "type", .choice(VMCSEncoding.Area.allCases.map(\.name))),
      .init(14, 13, "width", .choice(["16", "64", "32", "natural"])),
    ]
    if encoding.width == .bits64 || !encoding.isHigh {
      fields.insert(.init(0, "access", .either("full", "high")), at: 0)
    }
    let name = value > UInt64(UInt32.max) ? nil : VMCSField.lookup(encoding: number)?.name
    return BitLayout(32, fields).decode("encoding", value) { _ in
      let width = encoding.width == .natural ? "natural width" : "\(encoding.width.name) bits"
      return "\(name ?? "no known field"): \(width), \(encoding.area.name), index \(encoding.index)"
        + (encoding.isHigh && encoding.width == .bits64 ? ", high half" : "")
    }
  }
}

/// The name of a VM-instruction error without `VMXERR_`; nil for an unused number.
public func vmInstructionErrorName(_ error: UInt64) -> String? {
  switch error {
  case 1: "VMCALL_IN_VMX_ROOT_OPERATION"
  case 2: "VMCLEAR_INVALID_ADDRESS"
  case 3: "VMCLEAR_VMXON_POINTER"
  case 4: "VMLAUNCH_NONCLEAR_VMCS"
  case 5: "VMRESUME_NONLAUNCHED_VMCS"
  case 6: "VMRESUME_AFTER_VMXOFF"
  case 7: "ENTRY_INVALID_CONTROL_FIELD"
  case 8: "ENTRY_INVALID_HOST_STATE_FIELD"
  case 9: "VMPTRLD_INVALID_ADDRESS"
  case 10: "VMPTRLD_VMXON_POINTER"
  case 11: "VMPTRLD_INCORRECT_VMCS_REVISION_ID"
  case 12: "UNSUPPORTED_VMCS_COMPONENT"
  case 13: "VMWRITE_READ_ONLY_VMCS_COMPONENT"
  case 15: "VMXON_IN_VMX_ROOT_OPERATION"
  case 16: "ENTRY_INVALID_EXECUTIVE_VMCS_POINTER"
  case 17: "ENTRY_NONLAUNCHED_EXECUTIVE_VMCS"
  case 18: "ENTRY_EXECUTIVE_VMCS_POINTER_NOT_VMXON_POINTER"
  case 19: "VMCALL_NONCLEAR_VMCS"
  case 20: "VMCALL_INVALID_VM_EXIT_CONTROL_FIELDS"
  case 22: "VMCALL_INCORRECT_MSEG_REVISION_ID"
  case 23: "VMXOFF_UNDER_DUAL_MONITOR_TREATMENT_OF_SMIS_AND_SMM"
  case 24: "VMCALL_INVALID_SMM_MONITOR_FEATURES"
  case 25: "ENTRY_INVALID_VM_EXECUTION_CONTROL_FIELDS_IN_EXECUTIVE_VMCS"
  case 26: "ENTRY_EVENTS_BLOCKED_BY_MOV_SS"
  case 28: "INVALID_OPERAND_TO_INVEPT_INVVPID"
  default: nil
  }
}

private let addressSize = BitLayout.Field(9, 7, "address size", .choice(["16 bits", "32 bits", "64 bits"]))

private func segmentName(_ segment: UInt64) -> String {
  let names = ["ES", "CS", "SS", "DS", "FS", "GS"]
  return segment < 6 ? names[Int(truncatingIfNeeded: segment)] : "reserved"
}

/// The fields of a memory operand. An index or a base that is not used is said to be so.
private func memoryOperand(_ value: UInt64) -> [BitLayout.Field] {
  let hasIndex = value & 1 << 22 == 0
  let hasBase = value & 1 << 27 == 0
  return [
    .init(1, 0, "scale", .text { "times \(1 << $0)" }),
    addressSize,
    .init(10, "operand", .either("memory", "register")),
    .init(17, 15, "segment", .text(segmentName)),
    .init(21, 18, "index", .text { hasIndex ? generalRegister($0) : "not used" }),
    .init(22, "index invalid", .flag("there is no index register")),
    .init(26, 23, "base", .text { hasBase ? generalRegister($0) : "not used" }),
    .init(27, "base invalid", .flag("there is no base register")),
  ]
}

/// A memory operand, or Reg1 where bit 10 says register.
private func operand(_ value: UInt64) -> [BitLayout.Field] {
  guard value & 1 << 10 != 0 else { return memoryOperand(value) }
  return [
    .init(6, 3, "register 1", .text(generalRegister)),
    .init(10, "operand", .either("memory", "register")),
  ]
}

private func instructionSummary(_ name: String, _ value: UInt64, _ fields: [BitLayout.Field]) -> String {
  var instruction = name
  if let field = fields.first(where: { $0.name == "instruction" }), case .choice(let names) = field.meaning {
    instruction = names[Int(truncatingIfNeeded: field.value(in: value) & 3)]
  }
  let hasMemory = fields.contains { $0.name == "scale" }
  var text: String
  if hasMemory {
    var terms: [String] = []
    if value & 1 << 27 == 0 { terms.append(generalRegister(value >> 23)) }
    if value & 1 << 22 == 0 {
      let scale = 1 << (value & 3)
      terms.append(generalRegister(value >> 18) + (scale == 1 ? "" : "*\(scale)"))
    }
    terms.append("displacement")
    text = "\(instruction) \(segmentName(value >> 15 & 7)):[\(terms.joined(separator: "+"))]"
  } else if let field = fields.first(where: { $0.name == "register" || $0.name == "register 1" }) {
    let number = field.value(in: value)
    text = "\(instruction) \(fields.contains { $0.name == "register 2" } ? "XMM\(number)" : generalRegister(number))"
  } else {
    text = "\(instruction) \(segmentName(value >> 15 & 7)) segment"
  }
  for name in ["type register", "field register", "register 2"] {
    guard let field = fields.first(where: { $0.name == name }) else { continue }
    text +=
      ", \(name) \(name == "register 2" ? "XMM\(field.value(in: value))" : generalRegister(field.value(in: value)))"
  }
  return text
}
