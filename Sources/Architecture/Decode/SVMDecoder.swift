/// EXITINFO1 and EXITINFO2 of SVM (AMD APM volume 2, chapter "Secure Virtual Machine"; Linux asm/svm.h and kvm/svm/*.c).
extension Decoded {
  /// EXITINFO1 of an exit code. `info2` is used where only both together tell what happened.
  public static func svmExitInfo1(code: UInt32, _ value: UInt64) -> Decoded {
    let kind = "svm-exitinfo1"
    let name = ExitReason.lookup(isa: 2, code: code)?.name ?? hexadecimal(code)
    switch code {
    case 0x010...0x01f:
      return BitLayout(
        64,
        [
          .init(3, 0, "GPR", .text(generalRegister)),
          .init(63, "MOV CR", .either("not decoded: LMSW, CLTS, or no decode assist", "MOV to CR: the GPR is valid")),
        ]
      ).decode(kind, value) {
        $0 >> 63 == 1 ? "MOV to CR\(code - 0x10) from \(generalRegister($0))" : "write of CR\(code - 0x10), not decoded"
      }
    case 0x000...0x00f:
      return BitLayout(
        64,
        [
          .init(3, 0, "GPR", .text(generalRegister)),
          .init(63, "MOV CR", .either("not decoded: SMSW, or no decode assist", "MOV from CR: the GPR is valid")),
        ]
      ).decode(kind, value) {
        $0 >> 63 == 1 ? "MOV from CR\(code) to \(generalRegister($0))" : "read of CR\(code), not decoded"
      }
    case 0x020...0x03f:
      let isWrite = code >= 0x30
      return BitLayout(64, [.init(3, 0, "GPR", .text(generalRegister))]).decode(kind, value) {
        "MOV \(isWrite ? "to" : "from") DR\(code & 15) \(isWrite ? "from" : "to") \(generalRegister($0))"
      }
    case 0x04e: return pageFaultErrorCode(value, kind: kind, isNested: false)
    case 0x048, 0x04a...0x04d, 0x051, 0x055, 0x05d, 0x05e: return selectorErrorCode(kind, value)
    case 0x079: return whole(kind, value, "linear address", "linear address \(hexadecimal(value))")
    case 0x07b: return svmIOLayout.decode(kind, value, summary: svmIOSummary)
    case 0x07c:
      return BitLayout(64, [.init(0, "access", .either("RDMSR", "WRMSR"))]).decode(kind, value) {
        $0 & 1 == 0 ? "RDMSR, the index is in ECX" : "WRMSR, the index is in ECX"
      }
    case 0x07d: return BitLayout(64, [.init(15, 0, "TSS selector", .hexadecimal)]).decode(kind, value)
    case 0x0a2:
      return whole(kind, value, "linear address", "INVPCID descriptor at linear address \(hexadecimal(value))")
    case 0x400: return pageFaultErrorCode(value, kind: kind, isNested: true)
    case 0x401:
      return BitLayout(
        64,
        [
          .init(7, 0, "vector", .hexadecimal), .init(10, 8, "delivery mode", .decimal),
          .init(11, "destination mode", .either("physical", "logical")),
          .init(12, "busy", .flag("delivery pending")), .init(14, "level", .either("de-assert", "assert")),
          .init(15, "trigger", .either("edge", "level")),
          .init(19, 18, "shorthand", .choice(["none", "self", "all", "all but self"])),
          .init(63, 32, "ICR high", .hexadecimal),
        ]
      ).decode(kind, value) {
        "ICR \(hexadecimal($0 & 0xffff_ffff)), vector \(hexadecimal($0 & 0xff)), destination \(hexadecimal($0 >> 32))"
      }
    case 0x402:
      return BitLayout(
        64,
        [
          .init(
            11, 4, "APIC offset",
            .text { offset in
              let name = localAPICRegisterName(offset: UInt32(truncatingIfNeeded: offset << 4))
              return "\(hexadecimal(offset << 4))\(name.map { " \($0)" } ?? "")"
            }),
          .init(32, "access", .either("read", "write")),
        ]
      ).decode(kind, value)
    default:
      return value == 0
        ? Decoded(kind: kind, value: value, width: 64, summary: "\(name) has no EXITINFO1", parts: [])
        : whole(kind, value, "EXITINFO1", "\(hexadecimal(value)), not defined for \(name)")
    }
  }

  /// EXITINFO2 of an exit code.
  public static func svmExitInfo2(code: UInt32, _ value: UInt64) -> Decoded {
    let kind = "svm-exitinfo2"
    let name = ExitReason.lookup(isa: 2, code: code)?.name ?? hexadecimal(code)
    switch code {
    case 0x04e: return whole(kind, value, "faulting address", "linear address \(hexadecimal(value))")
    case 0x07b: return whole(kind, value, "next RIP", "next RIP \(hexadecimal(value))")
    case 0x07d:
      return BitLayout(
        64,
        [
          .init(31, 0, "error code", .hexadecimal),
          .init(36, "IRET", .flag("task switch by IRET")),
          .init(38, "JMP", .flag("task switch by far JMP")),
          .init(44, "has error code", .flag("the error code is valid")),
          .init(48, "RF", .flag("RFLAGS.RF of the task left")),
        ]
      ).decode(kind, value)
    case 0x0a2:
      return BitLayout(
        64,
        [
          .init(
            63, 0, "type",
            .choice(["individual address", "single context", "all contexts and globals", "all contexts"]))
        ]
      ).decode(kind, value)
    case 0x400:
      return whole(
        kind, value, "guest-physical address",
        "\(hexadecimal(value))\(guestPhysicalAddressName(value).map { " \($0)" } ?? "")")
    case 0x401:
      let failures = [
        "invalid interrupt type", "target not running", "invalid target", "invalid backing page", "invalid vector",
      ]
      return BitLayout(64, [.init(11, 0, "index", .decimal), .init(63, 32, "failure", .choice(failures))]).decode(
        kind, value
      ) {
        "\($0 >> 32 < 5 ? failures[Int(truncatingIfNeeded: $0 >> 32)] : "reserved failure \($0 >> 32)"), physical APIC table index \($0 & 0xfff)"
      }
    case 0x402: return BitLayout(64, [.init(31, 0, "vector", .hexadecimal)]).decode(kind, value)
    default:
      return value == 0
        ? Decoded(kind: kind, value: value, width: 64, summary: "\(name) has no EXITINFO2", parts: [])
        : whole(kind, value, "EXITINFO2", "\(hexadecimal(value)), not defined for \(name)")
    }
  }

  /// The error code of a page fault: of #PF, or of a nested page fault, which has bits above 31.
  public static func pageFaultErrorCode(_ value: UInt64, kind: String = "pf-error-code", isNested: Bool = false)
    -> Decoded
  {
    var fields: [BitLayout.Field] = [
      .init(0, "P", .either("the page is not present", "a permission was violated")),
      .init(1, "W", .either("read", "write")),
      .init(2, "U", .either("supervisor access", "user access")),
      .init(3, "RSVD", .flag("a reserved bit is set in a paging structure")),
      .init(4, "ID", .flag("instruction fetch")),
      .init(5, "PK", .flag("protection key")),
      .init(6, "SS", .flag("shadow-stack access")),
      .init(15, "SGX", .flag("SGX access control")),
      .init(31, "RMP", .flag("reverse-map table (SEV-SNP)")),
    ]
    if isNested {
      fields += [
        .init(32, "final", .flag("the fault is in the translation of the final guest-physical address")),
        .init(33, "table walk", .flag("the fault is in the translation of a guest paging structure")),
        .init(34, "ENC", .flag("the guest's C bit was set")),
        .init(35, "SIZEM", .flag("page-size mismatch with the RMP entry")),
        .init(36, "VMPL", .flag("VMPL permission")),
        .init(37, "SSS", .flag("supervisor shadow stack")),
      ]
    }
    return BitLayout(isNested ? 64 : 32, fields).decode(kind, value) { value in
      let access = value & 16 != 0 ? "fetch" : value & 2 != 0 ? "write" : "read"
      let cause = value & 8 != 0 ? "reserved bit set" : value & 1 == 0 ? "not present" : "permission"
      return
        "\(value & 4 != 0 ? "user" : "supervisor") \(access), \(cause)\(value >> 33 & 1 == 1 && isNested ? ", in a guest table walk" : "")"
    }
  }

  private static func selectorErrorCode(_ kind: String, _ value: UInt64) -> Decoded {
    BitLayout(
      64,
      [
        .init(0, "EXT", .flag("caused by an external event")),
        .init(1, "IDT", .flag("the selector index is in the IDT")),
        .init(2, "TI", .flag("the selector index is in the LDT")),
        .init(15, 3, "index", .hexadecimal),
        .init(31, 16, "upper", .text { $0 == 0 ? "0" : hexadecimal($0) }),
      ]
    ).decode(kind, value) { "error code \(hexadecimal($0))" }
  }
}

private let svmIOLayout = BitLayout(
  64,
  [
    .init(0, "direction", .either("OUT", "IN")),
    .init(2, "string", .flag("INS or OUTS")),
    .init(3, "REP", .flag("REP prefix")),
    .init(4, "SZ8", .flag("1 byte")),
    .init(5, "SZ16", .flag("2 bytes")),
    .init(6, "SZ32", .flag("4 bytes")),
    .init(7, "A16", .flag("16-bit address")),
    .init(8, "A32", .flag("32-bit address")),
    .init(9, "A64", .flag("64-bit address")),
    .init(12, 10, "segment", .choice(["ES", "CS", "SS", "DS", "FS", "GS"])),
    .init(
      31, 16, "port",
      .text { port in
        "\(hexadecimal(port))\(portName(UInt16(truncatingIfNeeded: port)).map { " \($0)" } ?? "")"
      }),
  ])

private func svmIOSummary(_ value: UInt64) -> String {
  let isIn = value & 1 != 0
  let instruction = value & 4 != 0 ? (isIn ? "INS" : "OUTS") : (isIn ? "IN" : "OUT")
  let size = value & 16 != 0 ? "1 byte" : value & 32 != 0 ? "2 bytes" : value & 64 != 0 ? "4 bytes" : "no size"
  let port = value >> 16 & 0xffff
  let name = portName(UInt16(truncatingIfNeeded: port)).map { " \($0)" } ?? ""
  return "\(value & 8 != 0 ? "REP " : "")\(instruction) \(size), port \(hexadecimal(port))\(name)"
}
