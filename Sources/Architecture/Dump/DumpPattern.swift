/// What one printk of dump_vmcs() or dump_vmcb() looks like: text and the numbers in it. `{16}` is a hexadecimal number
/// of 16 digits, with or without `0x`; `{2-8}` one of 2 to 8; `{d}` a decimal one. A gap is any number of blanks, none
/// included.
struct DumpPattern: Sendable {
  enum Element: Sendable, Equatable {
    case text([UInt8])
    case gap
    /// So many hexadecimal digits, not one more.
    case hexadecimal(ClosedRange<Int>)
    case decimal
  }

  /// Which part of a dump the line is in. Patterns of `state` stand in the guest's and in the host's.
  enum Area: Sendable { case guest, host, state, control, vmcb }

  var area: Area
  var elements: [Element]
  /// The fields of the numbers, in order. For an area of `state`, the guest's; `hostFields` are the host's.
  var fields: [DumpFieldID]
  var hostFields: [DumpFieldID]
  /// Nobody else prints such a line: it begins a dump whose head is lost.
  var isDistinctive: Bool

  /// The first byte of the text.
  var first: UInt8 {
    if case .text(let bytes)? = elements.first, let byte = bytes.first { return byte }
    return 0
  }

  init(
    _ area: Area, _ text: String, _ fields: [VMCSEncoding], host: [VMCSEncoding] = [], isDistinctive: Bool = true
  ) {
    self.init(
      area, text, ids: fields.map { DumpFieldID(rawValue: $0.rawValue) },
      host: host.map { DumpFieldID(rawValue: $0.rawValue) },
      isDistinctive: isDistinctive)
  }

  init(_ area: Area, _ text: String, ids: [DumpFieldID], host: [DumpFieldID] = [], isDistinctive: Bool) {
    self.area = area
    self.elements = DumpPattern.parse(text)
    self.fields = ids
    self.hostFields = host
    self.isDistinctive = isDistinctive
  }

  private static func parse(_ text: String) -> [Element] {
    var elements: [Element] = []
    var literal: [UInt8] = []
    var slot: [UInt8]?
    func flush() {
      if !literal.isEmpty { elements.append(.text(literal)) }
      literal = []
    }
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "{"):
        flush()
        slot = []
      case UInt8(ascii: "}"):
        let numbers = String(decoding: slot ?? [], as: UTF8.self).split(separator: "-").compactMap { Int($0) }
        if let low = numbers.first, let high = numbers.last, low <= high {
          elements.append(.hexadecimal(low...high))
        } else {
          elements.append(.decimal)
        }
        slot = nil
      case _ where slot != nil: slot?.append(byte)
      case UInt8(ascii: " "):
        flush()
        if elements.last != .gap { elements.append(.gap) }
      default: literal.append(byte)
      }
    }
    flush()
    return elements
  }

  /// What became of a line, from `start` on.
  struct Match {
    var numbers: [UInt64]
    /// Where the text goes on behind the pattern.
    var end: Int
    /// False where the text ends, or differs, behind the last of `numbers`.
    var isWhole: Bool
  }

  /// The numbers, if the line begins with the pattern up to its first number at least. `isComplete` is false for a line
  /// that may go on: a number without a fixed length may lack digits at its end.
  func match(_ line: [UInt8], from start: Int, isComplete: Bool) -> Match? {
    var position = start
    var numbers: [UInt64] = []
    for element in elements {
      var isMet = false
      switch element {
      case .text(let bytes):
        isMet = line.count - position >= bytes.count
        for (offset, byte) in bytes.enumerated() where isMet && line[position + offset] != byte { isMet = false }
        if isMet { position += bytes.count }
      case .gap:
        while position < line.count, isBlank(line[position]) { position += 1 }
        isMet = true
      case .hexadecimal(let digits):
        if let (value, end) = hexadecimalNumber(line, from: position, digits: digits),
          end < line.count || isComplete || digits.lowerBound == digits.upperBound
        {
          numbers.append(value)
          position = end
          isMet = true
        }
      case .decimal:
        if let (value, end) = decimalNumber(line, from: position), end < line.count || isComplete {
          numbers.append(value)
          position = end
          isMet = true
        }
      }
      if !isMet { return numbers.isEmpty ? nil : Match(numbers: numbers, end: position, isWhole: false) }
    }
    return Match(numbers: numbers, end: position, isWhole: true)
  }
}

/// A space or a tabulator.
func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

/// The value of a hexadecimal digit; nil for what is none. The kernel prints small letters.
func hexadecimalDigit(_ byte: UInt8) -> UInt64? {
  switch byte {
  case 0x30...0x39: UInt64(byte - 0x30)
  case 0x61...0x66: UInt64(byte - 0x61 + 10)
  case 0x41...0x46: UInt64(byte - 0x41 + 10)
  default: nil
  }
}

/// A number of so many digits, and where it ends; nil if there are fewer or more.
private func hexadecimalNumber(_ line: [UInt8], from start: Int, digits: ClosedRange<Int>) -> (UInt64, Int)? {
  var position = start
  if position + 1 < line.count, line[position] == UInt8(ascii: "0"), line[position + 1] == UInt8(ascii: "x") {
    position += 2
  }
  let first = position
  var value: UInt64 = 0
  while position < line.count, let digit = hexadecimalDigit(line[position]) {
    if position - first >= min(digits.upperBound, 16) { return nil }
    value = value << 4 | digit
    position += 1
  }
  return position - first >= digits.lowerBound && position > first ? (value, position) : nil
}

/// A decimal number, with a sign or without, and where it ends; nil beyond 64 bits.
func decimalNumber(_ line: [UInt8], from start: Int) -> (UInt64, Int)? {
  var position = start
  let isNegative = position < line.count && line[position] == UInt8(ascii: "-")
  if isNegative { position += 1 }
  let first = position
  var value: UInt64 = 0
  while position < line.count, line[position] >= 0x30, line[position] <= 0x39 {
    let (product, overflow) = value.multipliedReportingOverflow(by: 10)
    let (sum, carry) = product.addingReportingOverflow(UInt64(line[position] - 0x30))
    if overflow || carry { return nil }
    value = sum
    position += 1
  }
  return position > first ? (isNegative ? 0 &- value : value, position) : nil
}

/// A field of dump_vmcb(): the name it is printed under and the number behind it.
struct VMCBLabel: Sendable {
  /// The name in vmctop: the printed one, blanks as underscores; those of a segment with a dot.
  var name: String
  /// What is printed, without the number.
  var label: String
  /// `{16}` and its kin.
  var slot: String
  var bits: Int

  private init(_ label: String, _ slot: String, _ bits: Int) {
    self.label = label
    self.slot = slot
    self.bits = bits
    // Two words in one line.
    let isPair = label == "intercepts:"
    name = isPair ? "intercepts_3" : String(label.filter { $0 != ":" }.map { $0 == " " ? "_" : $0 })
  }

  private init(segment: String, _ part: String, _ bits: Int) {
    name = "\(segment).\(part)"
    label = ""
    slot = ""
    self.bits = bits
  }

  /// In one line each, but for those of the segments.
  static let segments = ["es", "cs", "ss", "ds", "fs", "gs", "gdtr", "ldtr", "idtr", "tr"]

  /// Every field in the order of the dump, those of all kernels from 5.10 to 7.3.
  static let all: [VMCBLabel] =
    [
      VMCBLabel("cr_read:", "{4}", 16), VMCBLabel("cr_write:", "{4}", 16), VMCBLabel("dr_read:", "{4}", 16),
      VMCBLabel("dr_write:", "{4}", 16), VMCBLabel("exceptions:", "{8}", 32),
      VMCBLabel("intercepts:", "{8}", 32), VMCBLabel("intercepts 4:", "", 32),
      VMCBLabel("pause filter count:", "{d}", 16), VMCBLabel("pause filter threshold:", "{d}", 16),
      VMCBLabel("iopm_base_pa:", "{16}", 64), VMCBLabel("msrpm_base_pa:", "{16}", 64),
      VMCBLabel("tsc_offset:", "{16}", 64), VMCBLabel("asid:", "{d}", 32), VMCBLabel("tlb_ctl:", "{d}", 8),
      VMCBLabel("erap_ctl:", "{d}", 8), VMCBLabel("int_ctl:", "{8}", 32), VMCBLabel("int_vector:", "{8}", 32),
      VMCBLabel("int_state:", "{8}", 32), VMCBLabel("exit_code:", "{8-16}", 64),
      VMCBLabel("exit_info1:", "{16}", 64), VMCBLabel("exit_info2:", "{16}", 64),
      VMCBLabel("exit_int_info:", "{8}", 32), VMCBLabel("exit_int_info_err:", "{8}", 32),
      VMCBLabel("nested_ctl:", "{d}", 64), VMCBLabel("misc_ctl:", "{d}", 64), VMCBLabel("nested_cr3:", "{16}", 64),
      VMCBLabel("avic_vapic_bar:", "{16}", 64), VMCBLabel("ghcb:", "{16}", 64), VMCBLabel("event_inj:", "{8}", 32),
      VMCBLabel("event_inj_err:", "{8}", 32), VMCBLabel("virt_ext:", "{d}", 64), VMCBLabel("misc_ctl2:", "{d}", 64),
      VMCBLabel("next_rip:", "{16}", 64), VMCBLabel("avic_backing_page:", "{16}", 64),
      VMCBLabel("avic_logical_id:", "{16}", 64), VMCBLabel("avic_physical_id:", "{16}", 64),
      VMCBLabel("vmsa_pa:", "{16}", 64), VMCBLabel("allowed_sev_features:", "{16}", 64),
      VMCBLabel("guest_sev_features:", "{16}", 64),
    ]
    + segments.flatMap { segment in
      [
        VMCBLabel(segment: segment, "selector", 16), VMCBLabel(segment: segment, "attrib", 16),
        VMCBLabel(segment: segment, "limit", 32), VMCBLabel(segment: segment, "base", 64),
      ]
    }
    + [VMCBLabel("vmpl:", "{d}", 8), VMCBLabel("cpl:", "{d}", 8)]
    + [
      "efer:", "cr0:", "cr2:", "cr3:", "cr4:", "dr6:", "dr7:", "rip:", "rflags:", "rsp:", "rax:", "s_cet:", "ssp:",
      "isst_addr:", "star:", "lstar:", "cstar:", "sfmask:", "kernel_gs_base:", "sysenter_cs:", "sysenter_esp:",
      "sysenter_eip:", "gpat:", "dbgctl:", "br_from:", "br_to:", "excp_from:", "excp_to:", "sev_features", "pl0_ssp:",
      "pl1_ssp:", "pl2_ssp:", "pl3_ssp:", "u_cet:", "rbx:", "rcx:", "rdx:", "rsi:", "rdi:", "rbp:", "r8:", "r9:",
      "r10:", "r11:", "r12:", "r13:", "r14:", "r15:", "xcr0:",
    ].map { VMCBLabel($0, "{16}", 64) }
}

extension DumpPattern {
  /// The printk formats of dump_vmcs() and dump_vmcb() from 5.10 to 7.3. Where one kernel prints in one line what
  /// another prints in two, each half is a pattern: a line is read as one pattern behind the other.
  static let all: [DumpPattern] = vmcs + vmcb

  private static let vmcs: [DumpPattern] =
    [
      DumpPattern(
        .guest, "CR0: actual={16}, shadow={16}, gh_mask={16}", [.guestCR0, .cr0ReadShadow, .cr0GuestHostMask]),
      DumpPattern(
        .guest, "CR4: actual={16}, shadow={16}, gh_mask={16}", [.guestCR4, .cr4ReadShadow, .cr4GuestHostMask]),
      DumpPattern(.guest, "CR3 = {16}", [.guestCR3], isDistinctive: false),
      DumpPattern(.guest, "PDPTR0 = {16} PDPTR1 = {16}", [.guestPDPTR0, .guestPDPTR1]),
      DumpPattern(.guest, "PDPTR2 = {16} PDPTR3 = {16}", [.guestPDPTR2, .guestPDPTR3]),
      DumpPattern(.guest, "RSP = {16} RIP = {16}", [.guestRSP, .guestRIP], isDistinctive: false),
      DumpPattern(.guest, "RFLAGS={8-16} DR7 = {16}", [.guestRFLAGS, .guestDR7]),
    ]
    + ["ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR"].enumerated().map { index, name in
      let number = UInt32(index)
      return DumpPattern(
        .guest, "\(name): sel={4}, attr={5-8}, limit={8}, base={16}",
        [F.selector(number), F.ar(number), F.limit(number), F.base(number)].map(VMCSEncoding.init(rawValue:)))
    }
    + [
      DumpPattern(.guest, "GDTR: limit={8}, base={16}", [.guestGDTRLimit, .guestGDTRBase]),
      DumpPattern(.guest, "IDTR: limit={8}, base={16}", [.guestIDTRLimit, .guestIDTRBase]),
      DumpPattern(.guest, "DebugCtl = {16} DebugExceptions = {16}", [.guestIA32DEBUGCTL, .guestPendingDbgExceptions]),
      DumpPattern(.guest, "BndCfgS = {16}", [.guestBNDCFGS]),
      DumpPattern(
        .guest, "Interruptibility = {8} ActivityState = {8}", [.guestInterruptibilityInfo, .guestActivityState]),
      DumpPattern(.guest, "InterruptStatus = {4}", [.guestIntrStatus]),
      DumpPattern(
        .state, "Sysenter RSP={16} CS:RIP={4-8}:{16}", [.guestSYSENTERESP, .guestSYSENTERCS, .guestSYSENTEREIP],
        host: [.hostIA32SYSENTERESP, .hostIA32SYSENTERCS, .hostIA32SYSENTEREIP]),
      DumpPattern(.state, "EFER = {16}", [.guestIA32EFER], host: [.hostIA32EFER]),
      DumpPattern(.state, "PAT = {16}", [.guestIA32PAT], host: [.hostIA32PAT]),
      DumpPattern(.state, "PerfGlobCtl = {16}", [.guestIA32PerfGlobalCtrl], host: [.hostIA32PerfGlobalCtrl]),
      DumpPattern(
        .state, "S_CET = {16}, SSP = {16}, SSP TABLE = {16}", [.guestSCET, .guestSSP, .guestIntrSSPTable],
        host: [.hostSCET, .hostSSP, .hostIntrSSPTable]),
      DumpPattern(.host, "RIP = {16} RSP = {16}", [.hostRIP, .hostRSP], isDistinctive: false),
      DumpPattern(
        .host, "CS={4} SS={4} DS={4} ES={4} FS={4} GS={4} TR={4}",
        [
          .hostCSSelector, .hostSSSelector, .hostDSSelector, .hostESSelector, .hostFSSelector, .hostGSSelector,
          .hostTRSelector,
        ]),
      DumpPattern(.host, "FSBase={16} GSBase={16} TRBase={16}", [.hostFSBase, .hostGSBase, .hostTRBase]),
      DumpPattern(.host, "GDTBase={16} IDTBase={16}", [.hostGDTRBase, .hostIDTRBase]),
      DumpPattern(.host, "CR0={16} CR3={16} CR4={16}", [.hostCR0, .hostCR3, .hostCR4]),
      DumpPattern(.control, "PinBased={8}", [.pinBasedVMExecControl]),
      DumpPattern(.control, "CPUBased={8}", [.cpuBasedVMExecControl]),
      DumpPattern(.control, "SecondaryExec={8}", [.secondaryVMExecControl]),
      DumpPattern(.control, "TertiaryExec={16}", [.tertiaryVMExecControl]),
      DumpPattern(.control, "EntryControls={8}", [.vmEntryControls]),
      DumpPattern(.control, "ExitControls={8}", [.vmExitControls]),
      DumpPattern(.control, "SecondaryExitControls={16}", [.secondaryVMExitControls]),
      DumpPattern(
        .control, "ExceptionBitmap={8} PFECmask={8} PFECmatch={8}",
        [.exceptionBitmap, .pageFaultErrorCodeMask, .pageFaultErrorCodeMatch]),
      DumpPattern(
        .control, "VMEntry: intr_info={8} errcode={8} ilen={8}",
        [.vmEntryIntrInfoField, .vmEntryExceptionErrorCode, .vmEntryInstructionLen]),
      DumpPattern(
        .control, "VMExit: intr_info={8} errcode={8} ilen={8}",
        [.vmExitIntrInfo, .vmExitIntrErrorCode, .vmExitInstructionLen]),
      DumpPattern(.control, "reason={8} qualification={16}", [.vmExitReason, .exitQualification]),
      DumpPattern(.control, "IDTVectoring: info={8} errcode={8}", [.idtVectoringInfoField, .idtVectoringErrorCode]),
      DumpPattern(.control, "TSC Offset = {16}", [.tscOffset]),
      DumpPattern(.control, "TSC Multiplier = {16}", [.tscMultiplier]),
      // Two bytes of one field, which the guest's part has too.
      DumpPattern(.control, "SVI|RVI = {2}|{2}", [.guestIntrStatus, .guestIntrStatus]),
      DumpPattern(.control, "TPR Threshold = {2-8}", [.tprThreshold]),
      DumpPattern(.control, "APIC-access addr = {16}", [.apicAccessAddr]),
      DumpPattern(.control, "virt-APIC addr = {16}", [.virtualAPICPageAddr]),
      DumpPattern(.control, "PostedIntrVec = {2-4}", [.postedIntrNV]),
      DumpPattern(.control, "EPT pointer = {16}", [.eptPointer]),
      DumpPattern(.control, "PLE Gap={8} Window={8}", [.pleGap, .pleWindow]),
      DumpPattern(.control, "Virtual processor ID = {4}", [.virtualProcessorID]),
      DumpPattern(.control, "VE info address = {16}", [.veInformationAddress]),
      DumpPattern(
        .control, "ve_info: {8} {8} {16} {16} {16} {4}",
        ids: (0..<6).map { DumpFieldID(rawValue: 0x10000 + $0) }, isDistinctive: true),
    ]

  private static let vmcb: [DumpPattern] =
    VMCBLabel.segments.map { segment in
      DumpPattern(
        .vmcb, "\(segment): s: {4} a: {4} l: {8} b: {16}",
        ids: ["selector", "attrib", "limit", "base"].compactMap { DumpFieldID(other: "\(segment).\($0)") },
        isDistinctive: true)
    }
    + VMCBLabel.all.filter { !$0.slot.isEmpty }.map { label in
      // The two words of intercepts stand in one line.
      let isPair = label.name == "intercepts_3"
      let names = isPair ? ["intercepts_3", "intercepts_4"] : [label.name]
      return DumpPattern(
        .vmcb, "\(label.label) \(label.slot)\(isPair ? " {8}" : "")", ids: names.compactMap { DumpFieldID(other: $0) },
        isDistinctive: false)
    }

  /// The patterns by their first byte.
  static let byFirst: [[DumpPattern]] = {
    var table = [[DumpPattern]](repeating: [], count: 256)
    for pattern in all { table[Int(pattern.first)].append(pattern) }
    return table
  }()
}
