/// VM_EXIT_REASON and EXIT_QUALIFICATION (SDM volume 3, chapter "Basic VM-Exit Information"; Linux `union vmx_exit_reason`).
extension Decoded {
  /// The whole VM_EXIT_REASON: basic reason and flag bits.
  public static func exitReason(_ value: UInt64) -> Decoded {
    let basic = UInt32(truncatingIfNeeded: value & 0xffff)
    let name = ExitReason.lookup(isa: 1, code: basic)?.name ?? "unknown \(basic)"
    let layout = BitLayout(
      32,
      [
        .init(15, 0, "basic reason", .text { "\(name) (\($0))" }),
        .init(25, "busy shadow stack", .flag("a shadow stack was left prematurely busy")),
        .init(26, "bus lock", .flag("a bus lock was pending when this exit came first")),
        .init(27, "enclave mode", .flag("the exit came from SGX enclave mode")),
        .init(28, "pending MTF", .flag("a monitor-trap-flag exit was pending (SMM exit)")),
        .init(29, "from VMX root", .flag("the exit came from VMX root operation (SMM exit)")),
        .init(31, "FAILED_VMENTRY", .flag("the VM entry failed")),
      ])
    return layout.decode("exit-reason", value) { value in
      ([name] + layout.parts(of: value).filter { $0.name != "basic reason" && $0.name != "reserved" }.map(\.name))
        .joined(separator: ", ")
    }
  }

  /// The exit qualification of a basic exit reason. For EXCEPTION_NMI its meaning depends on the vector, which
  /// `interruptionInformation` has; 0 means not known.
  public static func exitQualification(reason: UInt32, _ value: UInt64, interruptionInformation: UInt32 = 0) -> Decoded
  {
    let kind = "exit-qualification"
    let row = ExitReason.lookup(isa: 1, code: reason & 0xffff)
    switch row?.vmx?.qualification {
    case nil:
      let parts =
        value == 0
        ? []
        : [
          Part(
            bits: "63:0", name: "undefined", value: value,
            meaning: "\(row?.name ?? "unknown reason") has no exit qualification")
        ]
      return Decoded(kind: kind, value: value, width: 64, summary: "no exit qualification", parts: parts)
    case .crAccess: return controlRegisterLayout(value).decode(kind, value, summary: controlRegisterSummary)
    case .drAccess:
      return debugRegisterLayout.decode(kind, value) { value in
        let register = "DR\(value & 7)"
        let gpr = generalRegister(value >> 8)
        return value & 16 == 0 ? "MOV to \(register) from \(gpr)" : "MOV from \(register) to \(gpr)"
      }
    case .ioInstruction, .ioSmi: return ioLayout.decode(kind, value, summary: ioSummary)
    case .taskSwitch: return taskSwitchLayout.decode(kind, value)
    case .eptViolation: return eptViolationLayout(value).decode(kind, value, summary: eptViolationSummary)
    case .apicAccess:
      return apicAccessLayout.decode(kind, value) { value in
        let type = value >> 12 & 0xf
        if type == 10 || type == 15 { return apicAccessType(type) }
        return "\(apicAccessType(type)) of \(apicRegister(value & 0xfff))"
      }
    case .apicWriteOffset:
      return BitLayout(64, [.init(11, 0, "offset", .text(apicRegister))]).decode(kind, value) {
        "write of \(apicRegister($0 & 0xfff))"
      }
    case .eoiVector: return vectorLayout.decode(kind, value) { "EOI of vector \(hexadecimal($0 & 0xff))" }
    case .sipiVector:
      return vectorLayout.decode(kind, value) {
        "SIPI vector \(hexadecimal($0 & 0xff)), start at \(hexadecimal(($0 & 0xff) << 12))"
      }
    case .mwaitArmed:
      return BitLayout(
        64, [.init(0, "armed", .either("the monitor hardware was not armed", "the monitor hardware was armed"))]
      )
      .decode(kind, value) { $0 & 1 == 1 ? "monitor armed" : "monitor not armed" }
    case .linearAddress: return whole(kind, value, "linear address", "linear address \(hexadecimal(value))")
    case .displacement:
      return whole(kind, value, "displacement", "displacement \(signed(value)) (undefined for a register operand)")
    case .exception: return exceptionQualification(value, interruptionInformation)
    case .pmlFull:
      return BitLayout(
        64,
        [
          .init(12, "NMI unblocking", .flag("IRET had unblocked NMIs")),
          .init(16, "asynchronous", .flag("asynchronous to instruction execution")),
        ]
      ).decode(kind, value) { _ in "page-modification log full" }
    case .sppEvent:
      return BitLayout(
        64,
        [
          .init(11, "cause", .either("SPPT misconfiguration", "SPPT miss")),
          .init(12, "NMI unblocking", .flag("IRET had unblocked NMIs")),
        ]
      ).decode(kind, value) { $0 & 1 << 11 == 0 ? "SPPT misconfiguration" : "SPPT miss" }
    case .notify:
      return BitLayout(
        64,
        [
          .init(0, "context", .either("VM context valid", "VM context invalid: the guest must not be resumed")),
          .init(12, "NMI unblocking", .flag("IRET had unblocked NMIs")),
        ]
      ).decode(kind, value) { $0 & 1 == 0 ? "VM context valid" : "VM context invalid" }
    case .msrRw:
      let names = row?.rule.isMSRWrite == true ? ["WRMSR", "WRMSRNS"] : ["RDMSR"]
      return BitLayout(64, [.init(63, 0, "instruction", .choice(names))]).decode(kind, value) {
        "\($0 < UInt64(names.count) ? names[Int(truncatingIfNeeded: $0)] : "reserved value \($0)"), the MSR index is in ECX"
      }
    case .msrAddress:
      return BitLayout(64, [.init(31, 0, "MSR", .text(msrText))]).decode(kind, value) {
        $0 == 0 ? "MSR 0x0, or not reported" : "MSR \(msrText($0 & 0xffff_ffff))"
      }
    case .entryFailure:
      return BitLayout(64, [.init(63, 0, "failure", .choice(entryFailures))]).decode(kind, value) {
        $0 < UInt64(entryFailures.count) ? entryFailures[Int(truncatingIfNeeded: $0)] : "reserved value \($0)"
      }
    case .msrListIndex:
      return whole(
        kind, value, "entry",
        value == 0 ? "no entry: the first is 1" : "entry \(value) of the MSR-load list failed (1 is the first)")
    }
  }

  static func whole(_ kind: String, _ value: UInt64, _ name: String, _ meaning: String) -> Decoded {
    Decoded(
      kind: kind, value: value, width: 64, summary: meaning,
      parts: [Part(bits: "63:0", name: name, value: value, meaning: meaning)])
  }

  private static func exceptionQualification(_ value: UInt64, _ interruptionInformation: UInt32) -> Decoded {
    let kind = "exit-qualification"
    let vector = interruptionInformation >> 31 == 1 ? UInt8(truncatingIfNeeded: interruptionInformation) : nil
    switch vector {
    case 1: return debugLayout(enabledBreakpoint: false).decode(kind, value)
    case 14: return whole(kind, value, "linear address", "page fault at linear address \(hexadecimal(value))")
    case let vector?:
      let name = exceptionName(vector) ?? "vector \(vector)"
      return BitLayout(64, []).decode(kind, value) { _ in "\(name) has no exit qualification" }
    case nil:
      return whole(
        kind, value, "exception",
        value == 0
          ? "nothing"
          : "#PF: linear address \(hexadecimal(value)); #DB: \(debugLayout(enabledBreakpoint: false).decode(kind, value).summary)"
      )
    }
  }
}

/// The `entry_failure` values. Linux: ENTRY_FAIL_DEFAULT 0, ENTRY_FAIL_PDPTE 2, ENTRY_FAIL_NMI 3, ENTRY_FAIL_VMCS_LINK_PTR 4.
private let entryFailures: [String] = [
  "no detail (ENTRY_FAIL_DEFAULT)", "unused", "PDPTE loading failed (ENTRY_FAIL_PDPTE)",
  "NMI injection while blocked by MOV SS or STI (ENTRY_FAIL_NMI)",
  "bad VMCS link pointer (ENTRY_FAIL_VMCS_LINK_PTR)",
]

private func controlRegisterLayout(_ value: UInt64) -> BitLayout {
  var fields: [BitLayout.Field] = [
    .init(3, 0, "register", .text { [0, 3, 4, 8].contains($0) ? "CR\($0)" : "CR\($0): no such access exits" }),
    .init(5, 4, "access", .choice(["MOV to CR", "MOV from CR", "CLTS", "LMSW"])),
  ]
  if value >> 4 & 3 == 3 {
    fields.append(.init(6, "LMSW operand", .either("register", "memory")))
    fields.append(.init(31, 16, "LMSW source", .hexadecimal))
  } else if value >> 4 & 3 < 2 {
    fields.append(.init(11, 8, "GPR", .text(generalRegister)))
  }
  return BitLayout(64, fields)
}

private func controlRegisterSummary(_ value: UInt64) -> String {
  let register = "CR\(value & 15)"
  switch value >> 4 & 3 {
  case 0: return "MOV to \(register) from \(generalRegister(value >> 8))"
  case 1: return "MOV from \(register) to \(generalRegister(value >> 8))"
  case 2: return "CLTS"
  default: return "LMSW \(hexadecimal(value >> 16 & 0xffff)) from \(value & 64 == 0 ? "a register" : "memory")"
  }
}

private let debugRegisterLayout = BitLayout(
  64,
  [
    .init(2, 0, "register", .text { "DR\($0)" }),
    .init(4, "direction", .either("MOV to DR", "MOV from DR")),
    .init(11, 8, "GPR", .text(generalRegister)),
  ])

private let ioLayout = BitLayout(
  64,
  [
    .init(2, 0, "size", .text(ioSize)),
    .init(3, "direction", .either("OUT", "IN")),
    .init(4, "string", .flag("INS or OUTS")),
    .init(5, "REP", .flag("REP prefix")),
    .init(6, "operand", .either("DX", "immediate")),
    .init(31, 16, "port", .text { "\(hexadecimal($0))\(portNote($0))" }),
  ])

private func ioSize(_ value: UInt64) -> String {
  switch value {
  case 0: "1 byte"
  case 1: "2 bytes"
  case 3: "4 bytes"
  default: "reserved"
  }
}

private func portNote(_ port: UInt64) -> String {
  portName(UInt16(truncatingIfNeeded: port)).map { " \($0)" } ?? ""
}

private func ioSummary(_ value: UInt64) -> String {
  let isIn = value & 8 != 0
  let instruction = value & 16 != 0 ? (isIn ? "INS" : "OUTS") : (isIn ? "IN" : "OUT")
  let port = value >> 16 & 0xffff
  return
    "\(value & 32 != 0 ? "REP " : "")\(instruction) \(ioSize(value & 7)), port \(hexadecimal(port))\(portNote(port))"
}

private let taskSwitchLayout = BitLayout(
  64,
  [
    .init(15, 0, "TSS selector", .hexadecimal),
    .init(31, 30, "source", .choice(["CALL", "IRET", "JMP", "task gate in IDT"])),
  ])

private func eptViolationLayout(_ value: UInt64) -> BitLayout {
  var fields: [BitLayout.Field] = [
    .init(0, "read", .flag("data read")),
    .init(1, "write", .flag("data write")),
    .init(2, "fetch", .flag("instruction fetch")),
    .init(3, "readable", .either("the entry is not readable", "the entry is readable")),
    .init(4, "writable", .either("the entry is not writable", "the entry is writable")),
    .init(5, "executable", .either("the entry is not executable", "the entry is executable")),
    .init(
      6, "user-executable",
      .flag("executable for user-mode linear addresses; defined with mode-based execute control only")),
    .init(7, "linear address", .either("GUEST_LINEAR_ADDRESS is not valid", "GUEST_LINEAR_ADDRESS is valid")),
  ]
  if value & 0x80 != 0 {
    fields.append(
      .init(
        8, "translated",
        .either("the access was to a guest paging structure", "the access was to the translated address")))
    if value & 0x100 != 0 {
      fields += [
        .init(9, "user-mode address", .flag("user-mode linear address; with advanced exit information")),
        .init(10, "read/write page", .flag("linear address is read/write; with advanced exit information")),
        .init(11, "execute-disable page", .flag("linear address is execute-disable; with advanced exit information")),
      ]
    }
  }
  fields += [
    .init(12, "NMI unblocking", .flag("IRET had unblocked NMIs")),
    .init(13, "shadow stack", .flag("shadow-stack access")),
    .init(14, "supervisor shadow stack", .flag("the entry allows supervisor shadow stacks")),
    .init(15, "guest-paging verification", .flag("caused by guest-paging verification")),
    .init(16, "asynchronous", .flag("asynchronous to instruction execution")),
  ]
  return BitLayout(64, fields)
}

private func eptViolationSummary(_ value: UInt64) -> String {
  var access: [String] = []
  if value & 1 != 0 { access.append("read") }
  if value & 2 != 0 { access.append("write") }
  if value & 4 != 0 { access.append("fetch") }
  let permissions =
    value & 0x38 == 0
    ? "not present" : "\(value & 8 != 0 ? "R" : "-")\(value & 16 != 0 ? "W" : "-")\(value & 32 != 0 ? "X" : "-")"
  let structure = value & 0x180 == 0x80 ? ", to a guest paging structure" : ""
  return "\(access.isEmpty ? "no access type" : access.joined(separator: "+")), entry \(permissions)\(structure)"
}

private let apicAccessLayout = BitLayout(
  64,
  [
    .init(11, 0, "offset", .text(apicRegister)),
    .init(15, 12, "access", .text(apicAccessType)),
    .init(16, "asynchronous", .flag("asynchronous to instruction execution")),
  ])

private func apicRegister(_ offset: UInt64) -> String {
  let name = localAPICRegisterName(offset: UInt32(truncatingIfNeeded: offset))
  return "\(hexadecimal(offset))\(name.map { " \($0)" } ?? "")"
}

private func apicAccessType(_ type: UInt64) -> String {
  switch type {
  case 0: "linear read"
  case 1: "linear write"
  case 2: "linear fetch"
  case 3: "linear access in event delivery"
  case 4: "linear access for monitoring"
  case 10: "guest-physical access in event delivery"
  case 15: "guest-physical fetch or access in instruction execution"
  default: "reserved access type \(type)"
  }
}

private let vectorLayout = BitLayout(64, [.init(7, 0, "vector", .hexadecimal)])

/// `0x6e0 IA32_TSC_DEADLINE`.
func msrText(_ msr: UInt64) -> String {
  let name = UInt32(exactly: msr).flatMap(msrName)
  return "\(hexadecimal(msr))\(name.map { " \($0)" } ?? "")"
}

/// A two's complement number with its sign.
func signed(_ value: UInt64) -> String {
  let number = Int64(bitPattern: value)
  return number < 0 ? "-\(hexadecimal(number.magnitude))" : hexadecimal(value)
}

/// Debug conditions: the exit qualification of #DB, and pending debug exceptions, which also have bit 12.
func debugLayout(enabledBreakpoint: Bool) -> BitLayout {
  var fields: [BitLayout.Field] = (0..<4).map { .init($0, "B\($0)", .flag("breakpoint \($0) met")) }
  fields.append(.init(11, "BLD", .flag("bus lock detected")))
  if enabledBreakpoint {
    fields.append(.init(12, "enabled breakpoint", .flag("a data or I/O breakpoint was met that DR7 enables")))
  } else {
    fields.append(.init(13, "BD", .flag("debug-register access detected")))
  }
  fields.append(.init(14, "BS", .flag("single step")))
  fields.append(.init(16, "RTM", .flag("in a transactional region with advanced debugging")))
  return BitLayout(64, fields)
}
