/// Event-information fields and the guest's non-register state (SDM volume 3, chapters "VM-Entry Controls for Event Injection",
/// "Information for VM Exits Due to Vectored Events" and "Guest Non-Register State"; Linux asm/vmx.h).
extension Decoded {
  /// Which of the three fields of the same layout.
  public enum InterruptionField: String, Sendable, CaseIterable {
    /// VM_EXIT_INTR_INFO, 0x4404.
    case exit = "intr-info"
    /// VM_ENTRY_INTR_INFO_FIELD, 0x4016.
    case entry = "entry-intr-info"
    /// IDT_VECTORING_INFO_FIELD, 0x4408.
    case idtVectoring = "idt-vectoring"
  }

  /// One of the three interruption-information fields.
  public static func interruptionInformation(_ field: InterruptionField, _ value: UInt64) -> Decoded {
    let isValid = value & 1 << 31 != 0
    let type = value >> 8 & 7
    var fields: [BitLayout.Field] = [
      .init(7, 0, "vector", .text { vectorText($0, type: type, field: field) }),
      .init(10, 8, "type", .text { eventType($0, field) }),
      .init(11, "error code", .flag(field == .entry ? "an error code is delivered" : "the error-code field is valid")),
    ]
    switch field {
    case .exit: fields.append(.init(12, "NMI unblocking", .flag("IRET had unblocked NMIs")))
    case .idtVectoring: fields.append(.init(12, "undefined", .flag("undefined")))
    case .entry: break
    }
    fields.append(.init(13, "nested exception", .flag("nested exception (FRED)")))
    fields.append(.init(31, "valid", .either("not valid: the rest has no meaning", "valid")))
    return BitLayout(32, fields).decode(field.rawValue, value) { value in
      guard isValid else { return "not valid" }
      let text = "\(eventType(type, field)), \(vectorText(value & 0xff, type: type, field: field))"
      return text + (value & 1 << 11 != 0 ? ", error code" : "")
        + (value & 1 << 12 != 0 && field == .exit ? ", NMI unblocking" : "")
    }
  }

  /// A segment's access rights (0x4814 to 0x4822).
  public static func accessRights(_ value: UInt64) -> Decoded {
    accessRights(value, kind: "access-rights", given: value, width: 32)
  }

  /// The flags column of QEMU's `info registers`: the second dword of a descriptor. VMCS access rights are its bits 23:20 and 15:8;
  /// a segment that is not present counts as unusable, as KVM has it.
  public static func qemuSegmentFlags(_ flags: UInt64) -> Decoded {
    var rights = flags >> 8 & 0xf0ff
    if flags & 1 << 15 == 0 { rights |= 1 << 16 }
    return accessRights(rights, kind: "qemu-segment-flags", given: flags, width: 32)
  }

  private static func accessRights(_ value: UInt64, kind: String, given: UInt64, width: Int) -> Decoded {
    let isCode = value & 0x18 == 0x18
    let isSystem = value & 0x10 == 0
    let layout = BitLayout(
      32,
      [
        .init(3, 0, "type", .text { segmentType($0, isSystem: isSystem) }),
        .init(4, "S", .either("system segment", "code or data segment")),
        .init(6, 5, "DPL", .decimal),
        .init(7, "P", .either("not present", "present")),
        .init(12, "AVL", .flag("available to software")),
        .init(13, "L", .flag(isCode ? "64-bit code" : "set, meaningful for code only")),
        .init(14, "D/B", .either(isCode ? "16-bit default" : "16-bit", isCode ? "32-bit default" : "32-bit")),
        .init(15, "G", .either("limit in bytes", "limit in 4 KiB")),
        .init(16, "unusable", .flag("unusable: the segment has no effect")),
      ])
    var decoded = layout.decode(kind, value) { value in
      if value & 1 << 16 != 0 { return "unusable" }
      var texts = [segmentType(value & 15, isSystem: isSystem), "DPL \(value >> 5 & 3)"]
      if value & 1 << 7 == 0 { texts.append("not present") }
      if isCode {
        texts.append(value & 1 << 13 != 0 ? "64-bit" : value & 1 << 14 != 0 ? "32-bit" : "16-bit")
      } else if !isSystem {
        texts.append(value & 1 << 14 != 0 ? "32-bit" : "16-bit")
      }
      if value & 1 << 15 != 0 { texts.append("4 KiB granular") }
      return texts.joined(separator: ", ")
    }
    if kind != "access-rights" {
      decoded.summary = "access rights \(hexadecimal(value, digits: 5)): " + decoded.summary
      decoded.value = given
    }
    return decoded
  }

  /// GUEST_INTERRUPTIBILITY_INFO, 0x4824.
  public static func interruptibility(_ value: UInt64) -> Decoded {
    BitLayout(
      32,
      [
        .init(0, "STI", .flag("blocking by STI")),
        .init(1, "MOV SS", .flag("blocking by MOV SS")),
        .init(2, "SMI", .flag("blocking by SMI")),
        .init(3, "NMI", .flag("blocking by NMI")),
        .init(4, "enclave", .flag("enclave interruption")),
      ]
    ).decode("interruptibility", value) { value in
      let names =
        ["STI", "MOV SS", "SMI", "NMI"].enumerated().filter { value & 1 << UInt64($0.offset) != 0 }
        .map { "blocking by \($0.element)" } + (value & 16 != 0 ? ["enclave interruption"] : [])
      return names.isEmpty ? "not blocked" : names.joined(separator: ", ")
    }
  }

  /// GUEST_ACTIVITY_STATE, 0x4826.
  public static func activityState(_ value: UInt64) -> Decoded {
    let states = ["active", "HLT", "shutdown", "wait-for-SIPI"]
    return BitLayout(32, [.init(31, 0, "state", .choice(states))]).decode("activity-state", value) {
      $0 < 4 ? states[Int(truncatingIfNeeded: $0)] : "no such state"
    }
  }

  /// GUEST_PENDING_DBG_EXCEPTIONS, 0x6822.
  public static func pendingDebugExceptions(_ value: UInt64) -> Decoded {
    debugLayout(enabledBreakpoint: true).decode("pending-debug", value)
  }

  /// GUEST_INTR_STATUS, 0x0810.
  public static func guestInterruptStatus(_ value: UInt64) -> Decoded {
    BitLayout(
      16,
      [
        .init(
          7, 0, "RVI", .text { $0 == 0 ? "no virtual interrupt requested" : "vector \(hexadecimal($0)) requested" }),
        .init(
          15, 8, "SVI", .text { $0 == 0 ? "no virtual interrupt in service" : "vector \(hexadecimal($0)) in service" }),
      ]
    ).decode("interrupt-status", value)
  }

  /// Bits 319:256 of a posted-interrupt descriptor (SDM volume 3, table "Format of Posted-Interrupt Descriptor").
  public static func postedInterrupt(_ value: UInt64) -> Decoded {
    BitLayout(
      64,
      [
        .init(0, "ON", .flag("a notification is outstanding")),
        .init(1, "SN", .flag("notifications are suppressed")),
        .init(23, 16, "NV", .text { "notification vector \(Architecture.hexadecimal($0))" }),
        .init(63, 32, "NDST", .text { "destination APIC \(Architecture.hexadecimal($0))" }),
      ]
    ).decode("posted-interrupt", value)
  }

  /// EXITINTINFO and EVENTINJ of SVM: what kvm_exit prints as `intr_info` on AMD (AMD APM volume 2, section "Event Injection").
  public static func svmInterruptionInformation(_ value: UInt64) -> Decoded {
    let types = [
      "external interrupt", "reserved type 1", "NMI", "exception", "software interrupt", "reserved type 5",
      "reserved type 6", "reserved type 7",
    ]
    return BitLayout(
      64,
      [
        .init(7, 0, "vector", .text { value & 0x700 == 0x300 ? exceptionText($0) : hexadecimal($0) }),
        .init(10, 8, "type", .choice(types)),
        .init(11, "EV", .flag("an error code is valid")),
        .init(31, "V", .either("not valid: the rest has no meaning", "valid")),
        .init(63, 32, "error code", .hexadecimal),
      ]
    ).decode("svm-intr-info", value) { value in
      guard value & 1 << 31 != 0 else { return "not valid" }
      let type = value >> 8 & 7
      let vector = type == 3 ? exceptionText(value & 0xff) : "vector \(hexadecimal(value & 0xff))"
      return "\(types[Int(truncatingIfNeeded: type)]), \(vector)"
        + (value & 1 << 11 != 0 ? ", error code \(hexadecimal(value >> 32))" : "")
    }
  }
}

/// `#PF (14)`.
func exceptionText(_ vector: UInt64) -> String {
  guard let name = exceptionName(UInt8(truncatingIfNeeded: vector)), vector < 32 else { return "vector \(vector)" }
  return "\(name) (\(vector))"
}

private func vectorText(_ vector: UInt64, type: UInt64, field: Decoded.InterruptionField) -> String {
  switch type {
  case 2, 3, 5, 6: exceptionText(vector)
  case 7 where field == .entry && vector == 0: "pending MTF"
  case 7 where field == .entry && vector == 1: "SYSCALL (FRED)"
  case 7 where field == .entry && vector == 2: "SYSENTER (FRED)"
  default: "vector \(hexadecimal(vector))"
  }
}

private func eventType(_ type: UInt64, _ field: Decoded.InterruptionField) -> String {
  switch type {
  case 0: "external interrupt"
  case 2: "NMI"
  case 3: "hardware exception"
  case 4: "software interrupt"
  case 5: "privileged software exception"
  case 6: "software exception"
  case 7: field == .exit ? "reserved type 7" : "other event"
  default: "reserved type \(type)"
  }
}

private func segmentType(_ type: UInt64, isSystem: Bool) -> String {
  if isSystem {
    switch type {
    case 1: return "16-bit TSS, available"
    case 2: return "LDT"
    case 3: return "16-bit TSS, busy"
    case 4: return "16-bit call gate"
    case 5: return "task gate"
    case 6: return "16-bit interrupt gate"
    case 7: return "16-bit trap gate"
    case 9: return "TSS, available"
    case 11: return "TSS, busy"
    case 12: return "call gate"
    case 14: return "interrupt gate"
    case 15: return "trap gate"
    default: return "reserved system type \(type)"
    }
  }
  let accessed = type & 1 != 0 ? ", accessed" : ""
  if type & 8 != 0 { return "code\(type & 4 != 0 ? " conforming" : "") \(type & 2 != 0 ? "RX" : "X")\(accessed)" }
  return "data\(type & 4 != 0 ? " expand-down" : "") \(type & 2 != 0 ? "RW" : "R")\(accessed)"
}
