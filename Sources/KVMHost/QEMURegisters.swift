import Architecture

/// The text of QEMU's `info registers` (`x86_cpu_dump_state`, `target/i386/cpu-dump.c`) as readings that are named like the
/// fields of the VMCS, of the VMCB, or of what KVM keeps beside them.
///
/// QEMU prints 16 digits of a register only while 64-bit code runs, and 8 otherwise, of segment bases too: such a reading is
/// as wide as what was printed. Its CR0 and CR4, and on SVM its EFER, are the guest's view, which is not what KVM puts into
/// the VMCS or VMCB; they have names of their own.
public enum QEMURegisters {
  /// What QEMU prints that has a field neither in the VMCS or VMCB nor among those that KVM keeps.
  static let own: [String: StateField] = Dictionary(
    uniqueKeysWithValues: [
      ("CR0", 64, "CR0 as the guest sees it"), ("CR4", 64, "CR4 as the guest sees it"),
      ("EFER", 64, "IA32_EFER as the guest sees it"), ("CPL", 8, "the current privilege level"),
      ("II", 8, "1 while interrupts are blocked by STI or MOV SS"), ("A20", 8, "1 while address line 20 is not masked"),
      ("SMM", 8, "1 in system-management mode"), ("HLT", 8, "1 while the vCPU is halted"),
    ].map { ($0, StateField(kind: .kvm, name: $0, width: $1, area: .guest, description: $2)) })

  private static let vmcs = Dictionary(uniqueKeysWithValues: VMCSField.rows.map { ($0.name, StateField($0)) })
  private static let segments = ["ES", "CS", "SS", "DS", "FS", "GS", "LDT", "TR"]
  private static let general = Set(
    ["RAX", "RCX", "RDX", "RBX", "RBP", "RSI", "RDI"] + (8..<16).map { "R\($0)" } + [
      "CR2", "DR0", "DR1", "DR2", "DR3", "DR6",
    ])

  /// Lines and words that are looked at; a dump has some 70 lines of at most 10.
  private static let mostLines = 4096
  private static let mostWords = 64

  /// The readings of one vCPU, in the order printed: the first in the text where it has several.
  ///
  /// - Parameter readAt: CLOCK_MONOTONIC in nanoseconds at which the answer came.
  public static func readings(_ text: String, isa: ISA, readAt: UInt64) -> [FieldReading] {
    var result: [FieldReading] = []
    var names: Set<String> = []
    var hasHeading = false
    for line in text.split(whereSeparator: \.isNewline).prefix(mostLines) {
      if line.hasPrefix("CPU#") {
        if hasHeading { break }
        hasHeading = true
        continue
      }
      for (name, words) in pairs(line) {
        for reading in readings(name, words, isa, readAt) where names.insert(reading.field.name).inserted {
          result.append(reading)
        }
      }
    }
    return result
  }

  /// `R8 =08 R9 =09` is R8 with 08 and R9 with 09; `GDT=     base limit` is GDT with two words.
  private static func pairs(_ line: Substring) -> [(name: Substring, words: [Substring])] {
    var result: [(name: Substring, words: [Substring])] = []
    var before: Substring?
    for word in line.split(separator: " ").prefix(mostWords) {
      guard let sign = word.firstIndex(of: "=") else {
        before = word
        if !result.isEmpty { result[result.count - 1].words.append(word) }
        continue
      }
      var name = word[..<sign]
      if name.isEmpty, let padded = before {
        // The name before a blank was taken for a word of the pair before.
        name = padded
        if !result.isEmpty { _ = result[result.count - 1].words.popLast() }
      }
      let value = word[word.index(after: sign)...]
      result.append((name, value.isEmpty ? [] : [value]))
      before = nil
    }
    return result
  }

  private static func readings(_ name: Substring, _ words: [Substring], _ isa: ISA, _ readAt: UInt64) -> [FieldReading]
  {
    let isVMX = isa == .vmx
    let name = String(name)
    if segments.contains(name) {
      guard words.count >= 4, let selector = number(words[0]), let base = number(words[1]),
        let limit = number(words[2]),
        let flags = number(words[3])
      else { return [] }
      let segment = name == "LDT" ? "LDTR" : name
      if isVMX {
        // SDM volume 3, table "Format of Access Rights": bits 7:0 and 15:12 are those of the descriptor's upper half.
        let isPresent = flags.value >> 15 & 1 == 1
        let rights = flags.value >> 8 & 0xf0ff | (isPresent ? 0 : 1 << 16)
        return [
          reading("GUEST_\(segment)_SELECTOR", selector, isa, readAt),
          reading("GUEST_\(segment)_BASE", base, isa, readAt),
          reading("GUEST_\(segment)_LIMIT", limit, isa, readAt),
          reading("GUEST_\(segment)_AR_BYTES", (rights, 32), isa, readAt),
        ].compactMap { $0 }
      }
      // AMD APM volume 2, "Segment State in the VMCB": the same bits, packed.
      let attributes = flags.value >> 8 & 0xff | flags.value >> 12 & 0xf00
      let lower = segment.lowercased()
      return [
        reading("save.\(lower).selector", selector, isa, readAt),
        reading("save.\(lower).attrib", (attributes, 16), isa, readAt),
        reading("save.\(lower).limit", limit, isa, readAt), reading("save.\(lower).base", base, isa, readAt),
      ].compactMap { $0 }
    }
    if name == "GDT" || name == "IDT" {
      guard words.count >= 2, let base = number(words[0]), let limit = number(words[1]) else { return [] }
      let (baseName, limitName) =
        isVMX
        ? ("GUEST_\(name)R_BASE", "GUEST_\(name)R_LIMIT")
        : ("save.\(name.lowercased())r.base", "save.\(name.lowercased())r.limit")
      return [reading(baseName, base, isa, readAt), reading(limitName, limit, isa, readAt)].compactMap { $0 }
    }
    guard let word = words.first, let value = number(word) else { return [] }
    return reading(fieldName(name, isVMX), value, isa, readAt).map { [$0] } ?? []
  }

  private static func fieldName(_ name: String, _ isVMX: Bool) -> String {
    switch name {
    case "RIP", "EIP": isVMX ? "GUEST_RIP" : "save.rip"
    case "RSP", "ESP": isVMX ? "GUEST_RSP" : "save.rsp"
    case "RFL", "EFL": isVMX ? "GUEST_RFLAGS" : "save.rflags"
    case "CR3": isVMX ? "GUEST_CR3" : "save.cr3"
    case "DR7": isVMX ? "GUEST_DR7" : "save.dr7"
    case "CPL": isVMX ? "CPL" : "save.cpl"
    case "EFER": isVMX ? "GUEST_IA32_EFER" : "EFER"
    case "EAX", "ECX", "EDX", "EBX", "EBP", "ESI", "EDI": "R" + name.dropFirst()
    default: name
    }
  }

  /// Nil for a name that is none of ours: the FPU's registers, and whatever else a VMM may print.
  private static func reading(
    _ name: String, _ value: (value: UInt64, width: Int), _ isa: ISA, _ readAt: UInt64
  ) -> FieldReading? {
    guard
      var field = vmcs[name] ?? vmcb[name] ?? own[name] ?? (general.contains(name) ? StateField.kept(name) : nil)
    else { return nil }
    guard value.value & ~field.mask == 0 else { return nil }
    let isCut = value.width < field.width && !["GUEST_RFLAGS", "save.rflags", "CR0", "save.cpl"].contains(name)
    // A flag is one digit, and all of it.
    if value.width >= 16 { field.width = min(field.width, value.width) }
    return FieldReading(
      field, value.value, .measured,
      isCut && value.width >= 32 ? "QMP: info registers, which prints the low 32 bits" : how,
      readAt: readAt)
  }

  static let how = "QMP: info registers"

  /// Up to 16 hexadecimal digits, and how many bits they stand for.
  private static func number(_ word: Substring) -> (value: UInt64, width: Int)? {
    let digits = word.utf8
    guard (1...16).contains(digits.count),
      digits.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) || (0x41...0x46).contains($0) })
    else { return nil }
    return UInt64(word, radix: 16).map { ($0, digits.count * 4) }
  }

  // MARK: SVM

  /// The fields of the VMCB's save area that `info registers` has (AMD APM volume 2, table "VMCB Layout, State Save Area").
  private static let vmcb: [String: StateField] = {
    var result: [String: StateField] = [:]
    func add(_ name: String, _ offset: UInt32, _ width: Int, _ description: String) {
      result["save.\(name)"] = StateField(
        kind: .vmcb, name: "save.\(name)", place: 0x400 + offset, width: width, area: .guest, description: description)
    }
    for (index, name) in ["es", "cs", "ss", "ds", "fs", "gs", "gdtr", "ldtr", "idtr", "tr"].enumerated() {
      let offset = UInt32(index * 16)
      if !["gdtr", "idtr"].contains(name) {
        add("\(name).selector", offset, 16, "the guest's \(name.uppercased()): selector")
        add("\(name).attrib", offset + 2, 16, "the guest's \(name.uppercased()): attributes")
      }
      add("\(name).limit", offset + 4, 32, "the guest's \(name.uppercased()): limit")
      add("\(name).base", offset + 8, 64, "the guest's \(name.uppercased()): base")
    }
    add("cpl", 0xcb, 8, "the current privilege level")
    add("cr3", 0x150, 64, "the guest's CR3")
    add("dr7", 0x160, 64, "the guest's DR7")
    add("rflags", 0x170, 64, "the guest's RFLAGS")
    add("rip", 0x178, 64, "the guest's RIP")
    add("rsp", 0x1d8, 64, "the guest's RSP")
    return result
  }()
}
