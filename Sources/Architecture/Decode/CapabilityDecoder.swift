/// What the processor allows a control word to be: the allowed-0 and allowed-1 settings (SDM volume 3, appendix "VMX Capability
/// Reporting Facility").
public struct ControlCapability: Sendable, Hashable {
  /// What one bit may be.
  public enum State: String, Sendable {
    /// Must be 1.
    case forcedOn = "forced-on"
    /// Must be 0.
    case unsupported
    /// May be either.
    case switchable
    /// Allowed to be neither: no processor says so.
    case contradictory
  }

  /// The word whose bits it is about.
  public var word: ControlWord
  /// A 1 means that the control must be 1.
  public var allowed0: UInt64
  /// A 1 means that the control may be 1.
  public var allowed1: UInt64

  /// From the two settings.
  public init(word: ControlWord, allowed0: UInt64, allowed1: UInt64) {
    self.word = word
    self.allowed0 = allowed0
    self.allowed1 = allowed1
  }

  /// From the value of the word's capability MSR. The tertiary and the secondary VM-exit controls have one 64-bit allowed-1 setting
  /// and no allowed-0; the others have allowed-0 in bits 31:0 and allowed-1 in bits 63:32.
  public init(word: ControlWord, msr: UInt64) {
    if word.width == 64 {
      self.init(word: word, allowed0: 0, allowed1: msr)
    } else {
      self.init(word: word, allowed0: msr & 0xffff_ffff, allowed1: msr >> 32)
    }
  }

  /// What a bit may be; `unsupported` for a bit that the word does not have.
  public func state(bit: Int) -> State {
    guard bit >= 0, bit < word.width else { return .unsupported }
    switch (allowed0 >> UInt64(bit) & 1, allowed1 >> UInt64(bit) & 1) {
    case (1, 1): return .forcedOn
    case (0, 0): return .unsupported
    case (0, _): return .switchable
    default: return .contradictory
    }
  }

  /// The nearest value that the processor takes: (wanted | allowed0) & allowed1, as KVM's adjust_vmx_controls().
  public func adjust(wanted: UInt64) -> UInt64 { (wanted | allowed0) & allowed1 }

  /// The bits of a value that the processor does not take: 0 where 1 is forced, or 1 where 0 is.
  public func violations(of value: UInt64) -> UInt64 { value ^ adjust(wanted: value) }
}

extension Decoded {
  /// The capability MSR of a control word, bit by bit.
  public static func capability(_ word: ControlWord, _ msr: UInt64) -> Decoded {
    let capability = ControlCapability(word: word, msr: msr)
    var parts: [Part] = []
    var counts: [ControlCapability.State: Int] = [:]
    for bit in 0..<word.width {
      let state = capability.state(bit: bit)
      let row = ControlBit.lookup(word, bit: bit)
      if row == nil && state == .unsupported { continue }
      counts[state, default: 0] += 1
      parts.append(
        Part(
          bits: "\(bit)", name: row?.name ?? "RESERVED_BIT_\(bit)",
          value: (capability.allowed1 >> UInt64(bit) & 1) << 1 | capability.allowed0 >> UInt64(bit) & 1,
          meaning: state.rawValue + (row == nil ? ", a bit that the catalogue does not know" : "")))
    }
    if word == .secondary && capability.allowed0 != 0 {
      parts += reservedParts(capability.allowed0, width: 0).map {
        Part(bits: $0.bits, name: "reserved", value: $0.value, meaning: "allowed-0 bits of this MSR are 0")
      }
    }
    let order: [ControlCapability.State] = [.switchable, .forcedOn, .unsupported, .contradictory]
    let summary = order.compactMap { state in counts[state].map { "\($0) \(state.rawValue)" } }.joined(separator: ", ")
    return Decoded(kind: "capability", value: msr, width: 64, summary: "\(word.rawValue): \(summary)", parts: parts)
  }

  /// A control word: the bits that are 1, and what is wrong with it: bits that no manual names, default1 bits that are 0.
  public static func controls(_ word: ControlWord, _ value: UInt64) -> Decoded {
    var parts: [Part] = []
    var names: [String] = []
    var known: UInt64 = 0
    for row in ControlBit.rows(of: word) {
      let mask: UInt64 = 1 << UInt64(row.bit)
      known |= mask
      if value & mask != 0 {
        parts.append(
          Part(bits: "\(row.bit)", name: row.name, value: 1, meaning: row.isReserved ? "default1" : row.sdmName))
        if !row.isReserved { names.append(row.name) }
      } else if row.isReserved {
        parts.append(Part(bits: "\(row.bit)", name: "reserved", value: 0, meaning: "default1 bit is 0"))
      }
    }
    parts += reservedParts(value & ~known, width: word.width).map {
      Part(bits: $0.bits, name: "reserved", value: $0.value, meaning: "set, but no manual names it")
    }
    return Decoded(
      kind: word.rawValue, value: value, width: word.width,
      summary: (names.isEmpty ? "none set" : names.joined(separator: ", ")) + reservedNote(parts), parts: parts)
  }

  /// IA32_VMX_BASIC, MSR 0x480.
  public static func vmxBasic(_ value: UInt64) -> Decoded {
    BitLayout(
      64,
      [
        .init(30, 0, "VMCS revision", .hexadecimal),
        .init(44, 32, "region size", .text { "\($0) bytes" }),
        .init(48, "32-bit addresses", .flag("VMX structures must be below 4 GiB")),
        .init(49, "dual monitor", .flag("dual-monitor treatment of SMIs and SMM")),
        .init(53, 50, "memory type", .text(memoryType)),
        .init(54, "INS/OUTS information", .flag("exits on INS and OUTS report instruction information")),
        .init(55, "TRUE controls", .flag("default1 bits may be cleared: the TRUE capability MSRs exist")),
        .init(56, "any error code", .flag("hardware exceptions can be injected with or without an error code")),
        .init(58, "nested exceptions", .flag("nested-exception bit in event information (FRED)")),
        .init(60, "NO_SEAMRET_INVD_VMCS", .flag("SEAMRET does not invalidate the current VMCS")),
      ]
    ).decode("basic", value)
  }

  /// IA32_VMX_MISC, MSR 0x485.
  public static func vmxMisc(_ value: UInt64) -> Decoded {
    BitLayout(
      64,
      [
        .init(4, 0, "preemption-timer shift", .text { "one tick per \(1 << $0) TSC ticks" }),
        .init(5, "EFER.LMA", .flag("exits store EFER.LMA into the IA-32e mode guest control")),
        .init(6, "HLT", .flag("activity state HLT")),
        .init(7, "shutdown", .flag("activity state shutdown")),
        .init(8, "wait-for-SIPI", .flag("activity state wait-for-SIPI")),
        .init(14, "PT", .flag("Processor Trace can be used in VMX operation")),
        .init(15, "SMBASE", .flag("RDMSR of IA32_SMBASE in SMM")),
        .init(24, 16, "CR3-target count", .decimal),
        .init(27, 25, "MSR-list limit", .text { "\(512 * ($0 + 1)) entries" }),
        .init(28, "SMM_MONITOR_CTL[2]", .flag("bit 2 of IA32_SMM_MONITOR_CTL may be 1")),
        .init(29, "VMWRITE any", .flag("VMWRITE to exit-information fields")),
        .init(30, "zero-length injection", .flag("injection with instruction length 0")),
        .init(63, 32, "MSEG revision", .hexadecimal),
      ]
    ).decode("misc", value)
  }

  /// IA32_VMX_EPT_VPID_CAP, MSR 0x48c.
  public static func eptVPIDCapability(_ value: UInt64) -> Decoded {
    BitLayout(
      64,
      [
        .init(0, "execute-only", .flag("execute-only translations")),
        .init(6, "4-level", .flag("page-walk length 4")),
        .init(7, "5-level", .flag("page-walk length 5")),
        .init(8, "UC", .flag("uncacheable EPT structures")),
        .init(14, "WB", .flag("write-back EPT structures")),
        .init(16, "2M", .flag("2 MiB pages")),
        .init(17, "1G", .flag("1 GiB pages")),
        .init(20, "INVEPT", .flag("INVEPT")),
        .init(21, "A/D", .flag("accessed and dirty flags")),
        .init(22, "advanced exit information", .flag("advanced exit information for EPT violations")),
        .init(23, "supervisor shadow stack", .flag("supervisor shadow-stack control")),
        .init(25, "INVEPT single", .flag("single-context INVEPT")),
        .init(26, "INVEPT all", .flag("all-context INVEPT")),
        .init(32, "INVVPID", .flag("INVVPID")),
        .init(40, "INVVPID address", .flag("individual-address INVVPID")),
        .init(41, "INVVPID single", .flag("single-context INVVPID")),
        .init(42, "INVVPID all", .flag("all-context INVVPID")),
        .init(43, "INVVPID single retaining globals", .flag("single-context-retaining-globals INVVPID")),
        .init(53, 48, "HLAT prefix", .text { "at most \($0) bits" }),
      ]
    ).decode("ept-vpid-cap", value)
  }

  /// IA32_VMX_VMCS_ENUM, MSR 0x48a.
  public static func vmcsEnumeration(_ value: UInt64) -> Decoded {
    BitLayout(64, [.init(9, 1, "highest index", .decimal)]).decode("vmcs-enum", value)
  }

  /// IA32_VMX_VMFUNC, MSR 0x491, and the VM-function controls.
  public static func vmFunctions(_ value: UInt64) -> Decoded {
    BitLayout(64, [.init(0, "EPTP switching", .flag("VM function 0"))]).decode("vmfunc", value)
  }

  /// IA32_VMX_CR0_FIXED0/1 and IA32_VMX_CR4_FIXED0/1, MSRs 0x486 to 0x489. `isFixed0`: a 1 means the bit must be 1; else a 0 means that
  /// it must be 0.
  public static func fixedBits(register: Int, isFixed0: Bool, _ value: UInt64) -> Decoded {
    let layout = register == 0 ? cr0Layout : cr4Layout
    let forced = isFixed0 ? value : ~value
    var parts: [Part] = []
    for field in layout.fields where forced & field.mask != 0 {
      let exempt = register == 0 && (field.name == "PE" || field.name == "PG")
      parts.append(
        Part(
          bits: field.bits, name: field.name, value: field.value(in: value),
          meaning: (isFixed0 ? "must be 1" : "must be 0") + (exempt ? " (not with unrestricted guest)" : "")))
    }
    if isFixed0 {
      let known = layout.fields.reduce(0) { $0 | $1.mask }
      parts += reservedParts(value & ~known, width: 64)
    }
    let names = parts.filter { $0.name != "reserved" }.map(\.name)
    let rule = isFixed0 ? "must be 1" : "must be 0"
    return Decoded(
      kind: "cr\(register)-fixed\(isFixed0 ? 0 : 1)", value: value, width: 64,
      summary: (names.isEmpty ? "nothing \(rule)" : "\(rule): \(names.joined(separator: ", "))") + reservedNote(parts),
      parts: parts)
  }

  /// EPT_POINTER, 0x201a.
  public static func eptPointer(_ value: UInt64) -> Decoded {
    BitLayout(
      64,
      [
        .init(2, 0, "memory type", .text(memoryType)),
        .init(5, 3, "walk length", .text { [3, 4].contains($0) ? "\($0 + 1) levels" : "\($0 + 1) levels: not valid" }),
        .init(6, "A/D", .flag("accessed and dirty flags on")),
        .init(7, "supervisor shadow stack", .flag("access rights for supervisor shadow-stack pages enforced")),
        .init(51, 12, "root", .text { hexadecimal($0 << 12) }),
      ]
    ).decode("eptp", value) {
      "root \(hexadecimal($0 & 0xf_ffff_ffff_f000)), \(memoryType($0 & 7)), \(($0 >> 3 & 7) + 1) levels\($0 & 64 != 0 ? ", A/D" : "")"
    }
  }

  /// An EPT paging-structure entry, of any level.
  public static func eptEntry(_ value: UInt64) -> Decoded {
    let isPresent = value & 7 != 0
    let isMisconfigured = value & 3 == 2
    return BitLayout(
      64,
      [
        .init(0, "R", .flag("readable")),
        .init(1, "W", .flag("writable")),
        .init(2, "X", .flag("executable (supervisor-executable with mode-based execute control)")),
        .init(5, 3, "memory type", .text { memoryType($0) + ", in a leaf" }),
        .init(6, "ignore PAT", .flag("the guest's PAT is ignored, in a leaf")),
        .init(7, "large page", .flag("maps a 2 MiB or 1 GiB page")),
        .init(8, "A", .flag("accessed")),
        .init(9, "D", .flag("dirty")),
        .init(10, "XU", .flag("user-executable, with mode-based execute control")),
        .init(11, "software", .flag("ignored by the processor")),
        .init(51, 12, "address", .text { hexadecimal($0 << 12) }),
        .init(56, 52, "software", .text { "ignored by the processor: \(hexadecimal($0))" }),
        .init(57, "verify guest paging", .flag("guest-paging verification")),
        .init(58, "paging-write", .flag("page walks may set A/D flags")),
        .init(59, "software", .flag("ignored by the processor")),
        .init(60, "SSS", .flag("supervisor shadow stack")),
        .init(61, "sub-page write", .flag("sub-page write permissions")),
        .init(62, "software", .flag("ignored by the processor")),
        .init(63, "suppress #VE", .flag("violations are not turned into #VE")),
      ]
    ).decode("ept-entry", value) { value in
      guard isPresent else { return value == 0 ? "not present" : "not present, software bits \(hexadecimal(value))" }
      let rights = "\(value & 1 != 0 ? "R" : "-")\(value & 2 != 0 ? "W" : "-")\(value & 4 != 0 ? "X" : "-")"
      if isMisconfigured { return "\(rights): writable but not readable, gives EPT_MISCONFIG (KVM marks MMIO so)" }
      return "\(rights), address \(hexadecimal(value & 0xf_ffff_ffff_f000))\(value & 128 != 0 ? ", large page" : "")"
    }
  }
}

/// Memory types as MTRRs, PAT and EPT number them.
private func memoryType(_ type: UInt64) -> String {
  switch type {
  case 0: "UC"
  case 1: "WC"
  case 4: "WT"
  case 5: "WP"
  case 6: "WB"
  default: "reserved memory type \(type)"
  }
}
