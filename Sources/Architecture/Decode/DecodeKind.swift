import Errors

/// Why text could not be decoded.
public struct DecodeError: CodedError, Hashable {
  /// What is wrong, without a final stop.
  public var message: String

  /// An error that says this.
  public init(_ message: String) { self.message = message }

  public var kind: ErrorKind { .usage }
}

/// One kind of value that can be taken apart by name, from text arguments: what `vmctop decode` offers.
public struct DecodeKind: Sendable {
  /// As it is given on the command line.
  public var name: String
  /// The arguments as usage text: `REASON VALUE [INTR-INFO]`.
  public var arguments: String
  /// What it is, in one line.
  public var help: String
  var decoder: @Sendable ([String]) throws(DecodeError) -> [Decoded]

  /// Takes the arguments apart. Most kinds answer one value; `svm-exitinfo` answers one for each register given.
  public func decode(_ arguments: [String]) throws(DecodeError) -> [Decoded] {
    let words = self.arguments.split(separator: " ")
    let required = words.filter { !$0.hasPrefix("[") }.count
    guard arguments.count >= required, arguments.count <= words.count else {
      throw DecodeError(
        "\(name) takes \(self.arguments), not \(arguments.count) value\(arguments.count == 1 ? "" : "s")")
    }
    return try decoder(arguments)
  }

  /// The kind of this name; an underscore counts as a hyphen.
  public static func lookup(_ name: String) throws(DecodeError) -> DecodeKind {
    let wanted = String(name.lowercased().map { $0 == "_" ? "-" : $0 })
    if let kind = all.first(where: { $0.name == wanted }) { return kind }
    let names = all.map(\.name)
    let hint = nearest(to: wanted, in: names).map { ", did you mean \($0)" } ?? ""
    throw DecodeError("no kind \(printable(name))\(hint); the kinds are \(names.joined(separator: ", "))")
  }

  /// Decodes a kind by name.
  public static func decode(_ kind: String, _ arguments: [String]) throws(DecodeError) -> [Decoded] {
    try lookup(kind).decode(arguments)
  }

  private init(
    _ name: String, _ arguments: String, _ help: String,
    _ decoder: @escaping @Sendable ([String]) throws(DecodeError) -> [Decoded]
  ) {
    self.name = name
    self.arguments = arguments
    self.help = help
    self.decoder = decoder
  }

  /// A kind with one value.
  private init(_ name: String, _ help: String, _ decoder: @escaping @Sendable (UInt64) -> Decoded) {
    self.init(name, "VALUE", help) { (arguments) throws(DecodeError) in [decoder(try number(arguments[0]))] }
  }

  /// Every kind, in the order they are listed in.
  public static let all: [DecodeKind] =
    [
      DecodeKind("exit-reason", "VM_EXIT_REASON with its flag bits", Decoded.exitReason),
      DecodeKind(
        "exit-qualification", "REASON VALUE [INTR-INFO]",
        "EXIT_QUALIFICATION of a VMX exit reason (name or number); EXCEPTION_NMI needs the interruption information"
      ) { (arguments) throws(DecodeError) in
        let reason = try vmxReason(arguments[0])
        let value = try number(arguments[1])
        let information = arguments.count > 2 ? try number32(arguments[2]) : 0
        return [Decoded.exitQualification(reason: reason, value, interruptionInformation: information)]
      },
      DecodeKind("intr-info", "VM_EXIT_INTR_INFO") { Decoded.interruptionInformation(.exit, $0) },
      DecodeKind("entry-intr-info", "VM_ENTRY_INTR_INFO_FIELD") { Decoded.interruptionInformation(.entry, $0) },
      DecodeKind("idt-vectoring", "IDT_VECTORING_INFO_FIELD") { Decoded.interruptionInformation(.idtVectoring, $0) },
      DecodeKind("svm-intr-info", "EXITINTINFO or EVENTINJ of SVM", Decoded.svmInterruptionInformation),
      DecodeKind("access-rights", "a segment's access rights, 0x4814 to 0x4822", Decoded.accessRights),
      DecodeKind("qemu-segment-flags", "the flags column of QEMU's `info registers`", Decoded.qemuSegmentFlags),
      DecodeKind("interruptibility", "GUEST_INTERRUPTIBILITY_INFO", Decoded.interruptibility),
      DecodeKind("activity-state", "GUEST_ACTIVITY_STATE", Decoded.activityState),
      DecodeKind("pending-debug", "GUEST_PENDING_DBG_EXCEPTIONS", Decoded.pendingDebugExceptions),
      DecodeKind("interrupt-status", "GUEST_INTR_STATUS: RVI and SVI", Decoded.guestInterruptStatus),
      DecodeKind("instruction-info", "REASON VALUE", "VMX_INSTRUCTION_INFO of a VMX exit reason (name or number)") {
        (arguments) throws(DecodeError) in
        [Decoded.instructionInformation(reason: try vmxReason(arguments[0]), try number(arguments[1]))]
      },
      DecodeKind("instruction-error", "VM_INSTRUCTION_ERROR", Decoded.instructionError),
      DecodeKind("vmx-abort", "the VMX-abort indicator", Decoded.vmxAbort),
      DecodeKind("vmcs-revision", "the first dword of a VMCS region", Decoded.vmcsRevision),
      DecodeKind("posted-interrupt", "the qword at byte 32 of a posted-interrupt descriptor", Decoded.postedInterrupt),
      DecodeKind("encoding", "the encoding of a VMCS field", Decoded.encoding),
      DecodeKind("eptp", "EPT_POINTER", Decoded.eptPointer),
      DecodeKind("ept-entry", "an EPT paging-structure entry", Decoded.eptEntry),
      DecodeKind("cr0", "CR0", Decoded.cr0),
      DecodeKind("cr3", "CR3", Decoded.cr3),
      DecodeKind("cr4", "CR4", Decoded.cr4),
      DecodeKind("dr6", "DR6", Decoded.dr6),
      DecodeKind("dr7", "DR7", Decoded.dr7),
      DecodeKind("efer", "IA32_EFER", Decoded.efer),
      DecodeKind("rflags", "RFLAGS", Decoded.rflags),
      DecodeKind("pf-error-code", "the error code of a page fault") { Decoded.pageFaultErrorCode($0) },
      DecodeKind("npf-error-code", "EXITINFO1 of a nested page fault") {
        Decoded.pageFaultErrorCode($0, kind: "npf-error-code", isNested: true)
      },
    ]
    + ControlWord.allCases.map { word in
      DecodeKind(
        word == .secondaryExit ? "secondary-exit" : word.rawValue,
        "the \(word.phrase)"
      ) { Decoded.controls(word, $0) }
    }
    + [
      DecodeKind("capability", "WORD VALUE", "the capability MSR of a control word: what each bit may be") {
        (arguments) throws(DecodeError) in
        let name = String(arguments[0].lowercased().map { $0 == "-" ? "_" : $0 })
        guard let word = ControlWord(rawValue: name) else {
          throw DecodeError(
            "no control word \(printable(arguments[0])); the words are \(ControlWord.allCases.map(\.rawValue).joined(separator: ", "))"
          )
        }
        return [Decoded.capability(word, try number(arguments[1]))]
      },
      DecodeKind("basic", "IA32_VMX_BASIC", Decoded.vmxBasic),
      DecodeKind("misc", "IA32_VMX_MISC", Decoded.vmxMisc),
      DecodeKind("ept-vpid-cap", "IA32_VMX_EPT_VPID_CAP", Decoded.eptVPIDCapability),
      DecodeKind("vmcs-enum", "IA32_VMX_VMCS_ENUM", Decoded.vmcsEnumeration),
      DecodeKind("vmfunc", "IA32_VMX_VMFUNC or VM_FUNCTION_CONTROL", Decoded.vmFunctions),
      DecodeKind("cr0-fixed0", "IA32_VMX_CR0_FIXED0") { Decoded.fixedBits(register: 0, isFixed0: true, $0) },
      DecodeKind("cr0-fixed1", "IA32_VMX_CR0_FIXED1") { Decoded.fixedBits(register: 0, isFixed0: false, $0) },
      DecodeKind("cr4-fixed0", "IA32_VMX_CR4_FIXED0") { Decoded.fixedBits(register: 4, isFixed0: true, $0) },
      DecodeKind("cr4-fixed1", "IA32_VMX_CR4_FIXED1") { Decoded.fixedBits(register: 4, isFixed0: false, $0) },
      DecodeKind("svm-exitinfo", "CODE INFO1 [INFO2]", "EXITINFO1 and EXITINFO2 of an SVM exit code (name or number)") {
        (arguments) throws(DecodeError) in
        let code = try svmCode(arguments[0])
        var result = [Decoded.svmExitInfo1(code: code, try number(arguments[1]))]
        if arguments.count > 2 { result.append(Decoded.svmExitInfo2(code: code, try number(arguments[2]))) }
        return result
      },
      DecodeKind("msr", "the name of an MSR and its bits in the MSR bitmaps", Decoded.msr),
      DecodeKind("port", "what an I/O port belongs to and its bit in the I/O bitmaps", Decoded.port),
      DecodeKind("gpa", "what is at a guest-physical address of a PC") {
        Decoded.named("gpa", $0, guestPhysicalAddressName($0) ?? "no well-known device")
      },
      DecodeKind("vector", "the name of an exception vector") { value in
        let vector = UInt8(exactly: value)
        let name = vector.flatMap(exceptionName)
        let title = vector.flatMap(exceptionTitle)
        let text = value > 255 ? "no vector: the highest is 255" : value > 31 ? "an interrupt" : "reserved"
        return Decoded.named("vector", value, [name, title].compactMap { $0 }.joined(separator: ", "), fallback: text)
      },
      DecodeKind("cpuid-leaf", "what a CPUID leaf tells") {
        Decoded.named("cpuid-leaf", $0, UInt32(exactly: $0).flatMap(cpuidLeafName) ?? "no well-known leaf")
      },
      DecodeKind("kvm-exit", "the name of a return from KVM_RUN to user space") {
        Decoded.named("kvm-exit", $0, UInt32(exactly: $0).flatMap(userspaceExitName) ?? "no such exit")
      },
    ]
}

extension Decoded {
  static func named(_ kind: String, _ value: UInt64, _ name: String, fallback: String = "") -> Decoded {
    let text = name.isEmpty ? fallback : name
    return Decoded(
      kind: kind, value: value, width: 64, summary: text,
      parts: [Part(bits: "63:0", name: kind, value: value, meaning: text)])
  }

  /// An MSR's name and where its bits are in the bitmaps of VMX and SVM.
  static func msr(_ value: UInt64) -> Decoded {
    guard let msr = UInt32(exactly: value) else {
      return named("msr", value, "no MSR: an index has 32 bits")
    }
    var decoded = named("msr", value, msrName(msr) ?? "no well-known MSR")
    decoded.width = 32
    decoded.parts[0].bits = "31:0"
    for isWrite in [false, true] {
      let access = isWrite ? "write" : "read"
      let vmx = MSRBitmap.position(of: msr, isWrite: isWrite)
      let svm = MSRPermissionMap.position(of: msr, isWrite: isWrite)
      decoded.parts += [
        Part(
          bits: "31:0", name: "MSR_BITMAP \(access)", value: value,
          meaning: vmx.map { "byte \(hexadecimal($0.byte)) bit \($0.bit)" } ?? "no bit: always exits"),
        Part(
          bits: "31:0", name: "MSRPM \(access)", value: value,
          meaning: svm.map { "byte \(hexadecimal($0.byte)) bit \($0.bit)" } ?? "no bit: always intercepted"),
      ]
    }
    return decoded
  }

  /// What an I/O port belongs to and where its bit is in the I/O bitmaps.
  static func port(_ value: UInt64) -> Decoded {
    guard let port = UInt16(exactly: value) else { return named("port", value, "no port: the highest is 0xffff") }
    var decoded = named("port", value, portName(port) ?? "no well-known port")
    decoded.width = 16
    decoded.parts[0].bits = "15:0"
    let (field, position) = IOBitmap.position(of: port)
    let name = VMCSField.lookup(encoding: field.rawValue)?.name ?? ""
    decoded.parts.append(
      Part(bits: "15:0", name: name, value: value, meaning: "byte \(hexadecimal(position.byte)) bit \(position.bit)"))
    return decoded
  }
}

/// A number as a person writes it: decimal, or hexadecimal with `0x`. Nil for anything else, and beyond 64 bits.
public func parseNumber(_ text: String) -> UInt64? {
  let lower = text.lowercased()
  if lower.hasPrefix("0x") {
    let digits = lower.dropFirst(2)
    guard !digits.isEmpty, digits.utf8.allSatisfy({ ($0 >= 48 && $0 <= 57) || ($0 >= 97 && $0 <= 102) }) else {
      return nil
    }
    return UInt64(digits, radix: 16)
  }
  guard !lower.isEmpty, lower.utf8.allSatisfy({ $0 >= 48 && $0 <= 57 }) else { return nil }
  return UInt64(lower)
}

private func number(_ text: String) throws(DecodeError) -> UInt64 {
  if let value = parseNumber(text) { return value }
  if parseNumber("0x" + text) != nil {
    throw DecodeError("\(printable(text)) is not a number; write 0x\(text) if it is hexadecimal")
  }
  throw DecodeError("\(printable(text)) is not a number of at most 64 bits; write 26 or 0x1a")
}

private func number32(_ text: String) throws(DecodeError) -> UInt32 {
  guard let value = UInt32(exactly: try number(text)) else {
    throw DecodeError("\(printable(text)) has more than 32 bits")
  }
  return value
}

private func vmxReason(_ text: String) throws(DecodeError) -> UInt32 {
  if let row = ExitReason.lookup(name: text).first(where: { $0.isa == .vmx }) { return row.code }
  guard let value = parseNumber(text) else {
    let hint = nearest(to: text.uppercased(), in: ExitReason.vmxRows.map(\.name)).map { ", did you mean \($0)" } ?? ""
    throw DecodeError("no VMX exit reason \(printable(text))\(hint)")
  }
  // The whole VM_EXIT_REASON may be given, flag bits and all.
  guard let code = UInt32(exactly: value), ExitReason.lookup(isa: 1, code: code & 0xffff) != nil else {
    throw DecodeError("no VMX exit reason \(printable(text)); the highest is \(ExitReason.vmxRows.count - 1)")
  }
  return code & 0xffff
}

private func svmCode(_ text: String) throws(DecodeError) -> UInt32 {
  if let row = ExitReason.lookup(name: text).first(where: { $0.isa == .svm }) { return row.code }
  guard let value = parseNumber(text) else {
    let hint = nearest(to: text.lowercased(), in: ExitReason.svmRows.map(\.name)).map { ", did you mean \($0)" } ?? ""
    throw DecodeError("no SVM exit code \(printable(text))\(hint)")
  }
  guard let code = UInt32(exactly: value) else { throw DecodeError("no SVM exit code \(printable(text))") }
  return code
}

/// Text from outside in quotes, control characters replaced, cut to 64 characters.
func printable(_ text: String) -> String {
  var result = "'"
  for scalar in text.unicodeScalars.prefix(64) {
    switch scalar.properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned: result += "?"
    default: result.unicodeScalars.append(scalar)
    }
  }
  return result + (text.unicodeScalars.count > 64 ? "...'" : "'")
}

/// The candidate that fewest edits lead to, if they are few enough to be a slip: a third of the letters.
public func nearest(to text: String, in candidates: [String]) -> String? {
  let wanted = Array(text.unicodeScalars.prefix(64))
  var best: (distance: Int, name: String)?
  for candidate in candidates {
    let letters = Array(candidate.unicodeScalars)
    let limit = min(best?.distance ?? Int.max, max(wanted.count, letters.count) / 3 + 1)
    if abs(letters.count - wanted.count) >= limit { continue }
    // Edit distance where swapping two neighbours counts as one.
    var before: [Int] = []
    var row = Array(0...letters.count)
    for i in wanted.indices {
      var next = [i + 1]
      for j in letters.indices {
        var distance = min(row[j] + (wanted[i] == letters[j] ? 0 : 1), row[j + 1] + 1, next[j] + 1)
        if i > 0, j > 0, wanted[i] == letters[j - 1], wanted[i - 1] == letters[j] {
          distance = min(distance, before[j - 1] + 1)
        }
        next.append(distance)
      }
      before = row
      row = next
    }
    if row[letters.count] < limit { best = (row[letters.count], candidate) }
  }
  return best?.name
}
