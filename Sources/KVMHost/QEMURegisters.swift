import Architecture

/// The text of QEMU's `info registers` (`x86_cpu_dump_state`, `target/i386/cpu-dump.c`) as readings that are named like the
/// fields of the VMCS, of the VMCB, or of what KVM keeps beside them.
///
/// QEMU prints 16 digits of a register only while 64-bit code runs, and 8 otherwise, of segment bases too: such a reading is
/// as wide as what was printed. What is the guest's view and not what KVM puts into the VMCS or VMCB has the name of that view:
/// CR0 and CR4, and on SVM RIP, RSP, CR3, EFER and DR7 too.
public enum QEMURegisters {
  /// What QEMU prints that has a field neither in the VMCS or VMCB nor among those that KVM keeps.
  static let own: [String: StateField] = Dictionary(
    uniqueKeysWithValues: [
      ("CPL", "the current privilege level"), ("II", "1 while interrupts are blocked by STI or MOV SS"),
      ("A20", "1 while address line 20 is not masked"), ("SMM", "1 in system-management mode"),
      ("HLT", "1 while the vCPU is halted"),
    ].map { ($0, StateField(kind: .kvm, name: $0, width: 8, area: .guest, description: $1)) })

  private static let segments = ["ES", "CS", "SS", "DS", "FS", "GS", "LDT", "TR"]
  private static let vmx = fields([
    "RIP": "GUEST_RIP", "RSP": "GUEST_RSP", "RFL": "GUEST_RFLAGS", "CR3": "GUEST_CR3", "DR7": "GUEST_DR7",
    "EFER": "GUEST_IA32_EFER", "GDT base": "GUEST_GDTR_BASE", "GDT limit": "GUEST_GDTR_LIMIT",
    "IDT base": "GUEST_IDTR_BASE", "IDT limit": "GUEST_IDTR_LIMIT",
  ]) { segment in
    ["selector": "SELECTOR", "base": "BASE", "limit": "LIMIT", "rights": "AR_BYTES"].mapValues {
      "GUEST_\(segment)_\($0)"
    }
  }
  private static let svm = fields([
    "RFL": "save.rflags", "CPL": "save.cpl", "GDT base": "save.gdtr.base", "GDT limit": "save.gdtr.limit",
    "IDT base": "save.idtr.base", "IDT limit": "save.idtr.limit",
  ]) { segment in
    ["selector": "selector", "base": "base", "limit": "limit", "rights": "attrib"].mapValues {
      "save.\(segment.lowercased()).\($0)"
    }
  }

  /// What QEMU prints, by its own name of it, such as `EAX` or `CS base`.
  private static func fields(_ named: [String: String], segment: (String) -> [String: String]) -> [String: StateField] {
    var names = named
    for name in segments {
      for (part, field) in segment(name == "LDT" ? "LDTR" : name) { names["\(name) \(part)"] = field }
    }
    var result = own
    for field in StateField.softwareState + StateField.guestView
    where field.name.hasPrefix("R") || field.name.hasPrefix("CR") || field.name.hasPrefix("DR") || field.name == "EFER"
    {
      if field.name != "REQUESTS", field.name != "CR8" { result[field.name] = field }
    }
    for (name, field) in names {
      result[name] =
        VMCSField.rows.first { $0.name == field }.map { StateField($0) }
        ?? VMCBField.lookup(name: field).map { StateField($0) }
    }
    for name in ["AX", "BX", "CX", "DX", "SI", "DI", "BP", "SP", "IP", "FL"] { result["E" + name] = result["R" + name] }
    return result
  }

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

  private static func readings(
    _ name: Substring, _ words: [Substring], _ isa: ISA, _ readAt: UInt64
  ) -> [FieldReading] {
    let fields = isa == .vmx ? vmx : svm
    var values: [(name: String, value: (value: UInt64, width: Int))] = []
    if segments.contains(String(name)) {
      guard words.count >= 4, let selector = number(words[0]), let base = number(words[1]),
        let limit = number(words[2]), let flags = number(words[3])
      else { return [] }
      values = [
        ("\(name) selector", selector), ("\(name) base", base), ("\(name) limit", limit),
        ("\(name) rights", (rights(flags.value, isa), 32)),
      ]
    } else if name == "GDT" || name == "IDT" {
      guard words.count >= 2, let base = number(words[0]), let limit = number(words[1]) else { return [] }
      values = [("\(name) base", base), ("\(name) limit", limit)]
    } else if let word = words.first, let value = number(word) {
      values = [(String(name), value)]
    }
    // What has no field is none of ours: the FPU's registers, and whatever else a VMM may print.
    return values.compactMap { name, value in fields[name].flatMap { reading($0, value, readAt) } }
  }

  /// A segment's access rights, of the upper half of its descriptor as QEMU prints it.
  private static func rights(_ flags: UInt64, _ isa: ISA) -> UInt64 {
    // AMD APM volume 2, "Segment State in the VMCB": without the gap.
    guard isa == .vmx else { return flags >> 8 & 0xff | flags >> 12 & 0xf00 }
    // SDM volume 3, table "Format of Access Rights". QEMU takes an unusable segment for one that is not present.
    return flags >> 8 & 0xf0ff | (flags >> 15 & 1 == 1 ? 0 : 1 << 16)
  }

  /// Nil for a value that the field has no room for.
  private static func reading(
    _ field: StateField, _ value: (value: UInt64, width: Int), _ readAt: UInt64
  ) -> FieldReading? {
    guard value.value & ~field.mask == 0 else { return nil }
    // A flag is one digit, and all of it; of CR0 and RFLAGS the upper half is reserved.
    let isCut = value.width == 32 && field.width == 64
    let isReserved = ["GUEST_RFLAGS", "save.rflags", "CR0"].contains(field.name)
    var field = field
    if isCut { field.width = 32 }
    return FieldReading(
      field, value.value, .measured, isCut && !isReserved ? "\(how), which prints the low 32 bits" : how, readAt: readAt
    )
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
}
