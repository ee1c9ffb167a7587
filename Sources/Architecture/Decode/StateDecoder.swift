/// What the value of a field of a vCPU's state means: one table for VMX, SVM and what KVM keeps beside them.
extension StateField {
  /// A value taken apart; nil where the number says it all. Some values need others: an exit qualification its exit reason.
  /// - Parameter other: the value of another field of the same reading by name; nil where it is not known.
  public func decoded(_ value: UInt64, other: (String) -> UInt64? = { _ in nil }) -> Decoded? {
    switch kind {
    case .vmcs:
      place.flatMap { place in
        Decoded.vmcs(place, value) { VMCSField.lookup(encoding: $0).flatMap { other($0.name) } }
      }
    case .vmcb: vmcbDecoded(value, other: other)
    case .kvm: kvmDecoded(value)
    }
  }

  private func kvmDecoded(_ value: UInt64) -> Decoded? {
    if let first = firstVector { return .vectors(first: first, value) }
    return switch name.uppercased() {
    case "CR0": .cr0(value)
    case "CR3": .cr3(value)
    case "CR4": .cr4(value)
    case "CR8": .taskPriority(value, class: value & 15)
    case "APIC_TPR", "APIC_TASKPRI": .taskPriority(value, class: value >> 4 & 15)
    case "DR6": .dr6(value)
    case "DR7": .dr7(value)
    case "RFLAGS": .rflags(value)
    case "IA32_EFER", "EFER": .efer(value)
    case "IA32_APIC_BASE", "APIC_BASE": .apicBase(value)
    case "PI_CONTROL": .postedInterrupt(value)
    case "MP_STATE":
      // KVM_MP_STATE_* of the kernel's uapi/linux/kvm.h.
      .choice(
        "mp-state", value,
        [
          "runnable", "uninitialized", "INIT received", "halted", "SIPI received", "stopped", "check stop", "operating",
          "load", "AP reset hold", "suspended",
        ])
    case "VCPU_MODE":
      .choice(
        "vcpu-mode", value,
        ["outside guest mode", "in guest mode", "exiting guest mode", "reading shadow page tables"])
    default: nil
    }
  }

  /// The vector of bit 0, for a field that is a part of a set of vectors: the APIC's ISR and IRR, posted requests.
  private var firstVector: UInt64? {
    for (prefix, bits) in [("APIC_ISR", UInt64(32)), ("APIC_IRR", 32), ("APIC_TMR", 32), ("PI_PIR", 64)]
    where name.hasPrefix(prefix) {
      guard let index = UInt64(name.dropFirst(prefix.count)), index < 256 / bits else { return nil }
      return index * bits
    }
    return nil
  }

  private func vmcbDecoded(_ value: UInt64, other: (String) -> UInt64?) -> Decoded? {
    let key = vmcbKey
    switch key {
    case "cr0": return .cr0(value)
    case "cr3": return .cr3(value)
    case "cr4": return .cr4(value)
    case "dr6": return .dr6(value)
    case "dr7": return .dr7(value)
    case "efer": return .efer(value)
    case "rflags": return .rflags(value)
    case "gpat": return .pageAttributes(value)
    case "scet": return .supervisorCET(value)
    case "dbgctl": return .debugControl(value)
    case "tscoffset": return .named("tsc-offset", value, signed(value))
    case "exitcode":
      guard let code = UInt32(exactly: value) ?? (value == .max ? .max : nil) else { return nil }
      return .named("exit-code", value, ExitReason.lookup(isa: 2, code: code)?.name ?? "unknown exit code")
    case "exitinfo1", "exitinfo2":
      let names = ["control.exit_code", "exit_code", "exitcode", "EXITCODE"]
      guard let code = names.lazy.compactMap(other).first.flatMap({ UInt32(exactly: $0) }) else { return nil }
      return key == "exitinfo1" ? .svmExitInfo1(code: code, value) : .svmExitInfo2(code: code, value)
    case "exitintinfo", "eventinj": return .svmInterruptionInformation(value)
    case "intstate", "interruptshadow": return svmInterruptShadowLayout.decode("int-state", value)
    case "intctl", "vintr": return svmVirtualInterruptLayout.decode("int-ctl", value)
    case "nestedctl": return svmNestedControlLayout.decode("nested-ctl", value)
    case "virtext": return svmVirtualExtensionLayout.decode("virt-ext", value)
    case "clean": return svmCleanLayout.decode("clean", value)
    case "tlbctl":
      let texts: [UInt64: String] = [
        0: "nothing flushed", 1: "all of the TLB flushed", 3: "this guest's entries flushed",
        7: "this guest's non-global entries flushed",
      ]
      return .named("tlb-ctl", value, texts[value & 0xff] ?? "reserved")
    case let key where key.hasSuffix(".attrib"):
      if key.hasPrefix("gdtr") || key.hasPrefix("idtr") { return nil }
      return .svmAttributes(value)
    case let key where key.hasSuffix(".selector"): return .named("selector", value, selectorText(value))
    default:
      if let first = svmInterceptWord(key) { return .svmIntercepts(first: first, value) }
      return nil
    }
  }

  /// The number of the first intercept of a word of intercepts; nil for other fields.
  private func svmInterceptWord(_ key: String) -> UInt32? {
    switch key {
    case "crread": return 0
    case "crwrite": return 16
    case "drread": return 32
    case "drwrite": return 48
    case "exceptions": return 64
    default:
      guard key.hasPrefix("intercept") else { return nil }
      let digits = key.filter(\.isASCII).filter(\.isNumber)
      guard let word = UInt32(digits), word < 6 else { return nil }
      return word * 32
    }
  }
}

extension VCPUReading {
  /// A value of this reading taken apart, with what it needs of the others; nil where there is none, or the number says it all.
  public func decoded(_ reading: FieldReading) -> Decoded? {
    reading.value.flatMap { value in
      reading.field.decoded(value) { name in self.reading(name)?.value }
    }
  }
}

extension Decoded {
  /// The value of the VMCS field of this encoding; nil where the number says it all.
  /// - Parameter other: the value of another field by encoding.
  public static func vmcs(_ encoding: UInt32, _ value: UInt64, other: (UInt32) -> UInt64? = { _ in nil }) -> Decoded? {
    if let word = ControlWord.allCases.first(where: { $0.encoding.rawValue == encoding }) {
      return .controls(word, value)
    }
    switch VMCSEncoding(rawValue: encoding) {
    case .cr0ReadShadow, .guestCR0, .hostCR0: return .cr0(value)
    case .cr4ReadShadow, .guestCR4, .hostCR4: return .cr4(value)
    case .cr0GuestHostMask: return ownership("cr0-mask", cr0Layout, value)
    case .cr4GuestHostMask: return ownership("cr4-mask", cr4Layout, value)
    case .guestCR3, .hostCR3: return .cr3(value)
    case .guestDR7: return .dr7(value)
    case .guestRFLAGS: return .rflags(value)
    case .guestIA32EFER, .hostIA32EFER: return .efer(value)
    case .guestIA32PAT, .hostIA32PAT: return .pageAttributes(value)
    case .guestESARBytes, .guestCSARBytes, .guestSSARBytes, .guestDSARBytes, .guestFSARBytes, .guestGSARBytes,
      .guestLDTRARBytes, .guestTRARBytes:
      return .accessRights(value)
    case .guestInterruptibilityInfo: return .interruptibility(value)
    case .guestActivityState: return .activityState(value)
    case .guestPendingDbgExceptions: return .pendingDebugExceptions(value)
    case .guestIntrStatus: return .guestInterruptStatus(value)
    case .guestIA32DEBUGCTL: return .debugControl(value)
    case .guestSCET, .hostSCET: return .supervisorCET(value)
    case .eptPointer: return .eptPointer(value)
    case .vmEntryIntrInfoField: return .interruptionInformation(.entry, value)
    case .vmExitIntrInfo: return .interruptionInformation(.exit, value)
    case .idtVectoringInfoField: return .interruptionInformation(.idtVectoring, value)
    case .vmExitReason: return .exitReason(value)
    case .vmInstructionError: return .instructionError(value)
    case .exitQualification:
      return other(VMCSEncoding.vmExitReason.rawValue).map { reason in
        .exitQualification(
          reason: UInt32(truncatingIfNeeded: reason & 0xffff), value,
          interruptionInformation: UInt32(truncatingIfNeeded: other(VMCSEncoding.vmExitIntrInfo.rawValue) ?? 0))
      }
    case .vmxInstructionInfo:
      return other(VMCSEncoding.vmExitReason.rawValue).map {
        .instructionInformation(reason: UInt32(truncatingIfNeeded: $0 & 0xffff), value)
      }
    case .exceptionBitmap:
      return exceptionBitmapLayout.decode("exception-bitmap", value)
    case .tscOffset: return .named("tsc-offset", value, signed(value))
    case .tscMultiplier: return .named("tsc-multiplier", value, scale(value))
    case .guestESSelector, .guestCSSelector, .guestSSSelector, .guestDSSelector, .guestFSSelector, .guestGSSelector,
      .guestLDTRSelector, .guestTRSelector, .hostESSelector, .hostCSSelector, .hostSSSelector, .hostDSSelector,
      .hostFSSelector, .hostGSSelector, .hostTRSelector:
      return .named("selector", value, selectorText(value))
    case .guestPDPTR0, .guestPDPTR1, .guestPDPTR2, .guestPDPTR3:
      return .named(
        "pdpte", value,
        value & 1 == 0 ? "not present" : "page directory \(hexadecimal(value & 0xf_ffff_ffff_f000))")
    case .vmcsLinkPointer: return value == .max ? .named("link-pointer", value, "no shadow VMCS") : nil
    case .vmFunctionControl: return .vmFunctions(value)
    case .guestPhysicalAddress: return guestPhysicalAddressName(value).map { .named("gpa", value, $0) }
    default: return nil
    }
  }

  /// IA32_PAT: the memory types, entry 0 first.
  public static func pageAttributes(_ value: UInt64) -> Decoded {
    let types: [UInt64: String] = [0: "UC", 1: "WC", 4: "WT", 5: "WP", 6: "WB", 7: "UC-"]
    let fields = (0..<8).map { entry in
      BitLayout.Field(
        entry * 8 + 7, entry * 8, "PA\(entry)", .text { types[$0] ?? "reserved \(hexadecimal($0))" })
    }
    return BitLayout(64, fields).decode("pat", value) { value in
      fields.map { field in
        let type = field.value(in: value)
        return types[type] ?? "reserved \(hexadecimal(type))"
      }.joined(separator: " ")
    }
  }

  /// IA32_DEBUGCTL, MSR 0x1d9.
  public static func debugControl(_ value: UInt64) -> Decoded { debugControlLayout.decode("debugctl", value) }

  /// IA32_S_CET, MSR 0x6a2.
  public static func supervisorCET(_ value: UInt64) -> Decoded { supervisorCETLayout.decode("s-cet", value) }

  /// IA32_APIC_BASE, MSR 0x1b.
  public static func apicBase(_ value: UInt64) -> Decoded {
    BitLayout(
      64,
      [
        .init(8, "BSP", .flag("bootstrap processor")), .init(10, "EXTD", .flag("x2APIC mode")),
        .init(11, "EN", .flag("APIC enabled")), .init(51, 12, "base", .text { hexadecimal($0 << 12) }),
      ]
    ).decode("apic-base", value)
  }

  /// A number with a name for each value.
  static func choice(_ kind: String, _ value: UInt64, _ names: [String]) -> Decoded {
    .named(kind, value, value < UInt64(names.count) ? names[Int(truncatingIfNeeded: value)] : "unknown")
  }

  /// A set of interrupt vectors.
  /// - Parameter first: the vector of bit 0.
  static func vectors(first: UInt64, _ value: UInt64) -> Decoded {
    let parts = (UInt64(0)..<64).filter { value >> $0 & 1 == 1 }.map { bit in
      Part(bits: "\(bit)", name: hexadecimal(first &+ bit), value: 1, meaning: "vector \(first &+ bit)")
    }
    return Decoded(
      kind: "vectors", value: value, width: 64,
      summary: parts.isEmpty ? "no vector" : "vectors " + parts.map(\.name).joined(separator: ", "), parts: parts)
  }

  /// A task priority: it holds back the interrupts of its class and of those below.
  static func taskPriority(_ value: UInt64, class priority: UInt64) -> Decoded {
    .named(
      "task-priority", value,
      priority == 0 ? "no interrupt held back" : "holds back vectors below \(hexadecimal((priority + 1) << 4))")
  }

  /// A segment's attributes in the VMCB (AMD APM volume 2, section "VMCB State-Save Area"): bits 11:8 are AVL, L, D/B and G,
  /// which VMCS access rights have as bits 15:12.
  public static func svmAttributes(_ value: UInt64) -> Decoded {
    var decoded = accessRights(value & 0xff | (value & 0xf00) << 4)
    if value == 0 { decoded.summary = "null" }
    decoded.kind = "svm-attributes"
    decoded.width = 16
    decoded.value = value
    return decoded
  }

  /// A word of intercepts of the VMCB.
  /// - Parameter first: the number of its lowest bit among all intercepts.
  public static func svmIntercepts(first: UInt32, _ value: UInt64) -> Decoded {
    let parts = (0..<32).filter { value >> UInt64($0) & 1 == 1 }.map { bit in
      let code = first &+ UInt32(bit)
      return Part(
        bits: "\(bit)", name: ExitReason.lookup(isa: 2, code: code)?.name ?? "\(code)", value: 1,
        meaning: ControlID(intercept: code)?.title ?? "intercept \(code)")
    }
    return Decoded(
      kind: "intercepts", value: value, width: 32,
      summary: parts.isEmpty ? "none" : parts.map(\.name).joined(separator: ", "), parts: parts)
  }

  /// A guest/host mask: a 1 is the host's, so that the guest reads the shadow and a write exits.
  private static func ownership(_ kind: String, _ layout: BitLayout, _ mask: UInt64) -> Decoded {
    let guests = layout.fields.filter { mask & $0.mask == 0 }.map(\.name)
    return Decoded(
      kind: kind, value: mask, width: layout.width,
      summary: "guest owns " + (guests.isEmpty ? "none" : guests.joined(separator: ", ")),
      parts: layout.fields.map { field in
        Part(
          bits: field.bits, name: field.name, value: field.value(in: mask),
          meaning: mask & field.mask == 0 ? "the guest's" : "the host's: read from the shadow, a change exits")
      })
  }

  /// The same in as few words as a narrow column has: `PE MP ET NE WP AM PG`, `code RX 64-bit DPL 0`.
  public var short: String {
    let note = reservedNote(parts)
    func listed(_ parts: [Part], _ name: (Part) -> String) -> String {
      (parts.isEmpty ? "none" : parts.map(name).joined(separator: " ")) + note
    }
    let flags = parts.filter { $0.name != "reserved" }
    switch kind {
    case "rflags":
      return listed(flags.filter { $0.value != 0 }) { $0.name == "IOPL" ? "IOPL \($0.value)" : $0.name }
    case "access-rights", "svm-attributes":
      return summary.split(separator: ", ").filter { $0 != "accessed" && $0 != "4 KiB granular" }
        .joined(separator: " ")
    case "pin", "primary", "secondary", "tertiary", "exit", "secondary-exit", "entry":
      // Bits that are 1 because they have to be say nothing.
      return listed(flags.filter { $0.value != 0 && !$0.name.hasPrefix("RESERVED_BIT") }) { Self.withoutWord($0.name) }
    default: return summary.split(separator: ", ").joined(separator: " ")
    }
  }

  /// Linux's constant without the prefix that every bit of its word has.
  public static func withoutWord(_ name: String) -> String {
    for prefix in [
      "CPU_BASED_", "SECONDARY_EXEC_", "TERTIARY_EXEC_", "PIN_BASED_", "VM_EXIT_", "VM_ENTRY_", "INTERCEPT_",
    ] where name.hasPrefix(prefix) {
      return String(name.dropFirst(prefix.count))
    }
    return name
  }
}

private let exceptionBitmapLayout = BitLayout(
  32,
  (0..<32).map { vector in
    BitLayout.Field(
      vector, exceptionName(UInt8(vector)) ?? "\(vector)",
      .flag(exceptionTitle(UInt8(vector)) ?? "vector \(vector)"))
  })

private let debugControlLayout = BitLayout(
  64,
  [
    .init(0, "LBR", .flag("last-branch records")), .init(1, "BTF", .flag("single-step on branches")),
    .init(2, "BLD", .flag("bus-lock detection")), .init(6, "TR", .flag("trace messages")),
    .init(7, "BTS", .flag("branch-trace store")), .init(8, "BTINT", .flag("interrupt on full buffer")),
    .init(9, "BTS_OFF_OS", .flag("no BTS in CPL 0")), .init(10, "BTS_OFF_USR", .flag("no BTS above CPL 0")),
    .init(11, "FREEZE_LBRS", .flag("freeze LBRs on PMI")),
    .init(12, "FREEZE_PERFMON", .flag("freeze counters on PMI")),
    .init(13, "UNCORE_PMI", .flag("uncore PMIs")), .init(14, "FREEZE_SMM", .flag("freeze in SMM")),
    .init(15, "RTM_DEBUG", .flag("debugging of transactional regions")),
  ])

private let supervisorCETLayout = BitLayout(
  64,
  [
    .init(0, "SH_STK", .flag("shadow stacks")), .init(1, "WR_SHSTK", .flag("WRSS")),
    .init(2, "ENDBR", .flag("indirect-branch tracking")), .init(3, "LEG_IW", .flag("legacy code page bitmap")),
    .init(4, "NO_TRACK", .flag("no-track prefix")), .init(5, "SUPPRESS_DIS", .flag("suppression disabled")),
    .init(10, "SUPPRESS", .flag("tracking suppressed")), .init(11, "TRACKER", .flag("waits for ENDBRANCH")),
    .init(63, 12, "bitmap", .text { hexadecimal($0 << 12) }),
  ])

/// AMD APM volume 2, appendix "Layout of VMCB", control area: offset 0x68.
private let svmInterruptShadowLayout = BitLayout(
  64,
  [
    .init(0, "shadow", .either("no interrupt shadow", "interrupt shadow")),
    .init(1, "guest IF", .flag("the guest's interrupt mask, with SEV-ES")),
  ])

/// Offset 0x60.
private let svmVirtualInterruptLayout = BitLayout(
  64,
  [
    .init(7, 0, "V_TPR", .hexadecimal), .init(8, "V_IRQ", .flag("a virtual interrupt is pending")),
    .init(9, "VGIF", .flag("virtual GIF is 1")), .init(11, "V_NMI", .flag("a virtual NMI is pending")),
    .init(12, "V_NMI_MASK", .flag("virtual NMIs are masked")),
    .init(19, 16, "V_INTR_PRIO", .decimal), .init(20, "V_IGN_TPR", .flag("the virtual interrupt ignores the TPR")),
    .init(24, "V_INTR_MASKING", .flag("RFLAGS.IF masks virtual interrupts only")),
    .init(25, "VGIF_ENABLE", .flag("STGI and CLGI act on the virtual GIF")),
    .init(26, "V_NMI_ENABLE", .flag("virtual NMIs")), .init(30, "X2AVIC", .flag("x2AVIC mode")),
    .init(31, "AVIC", .flag("AVIC enabled")),
    .init(39, 32, "V_INTR_VECTOR", .hexadecimal),
  ])

/// Offset 0x90.
private let svmNestedControlLayout = BitLayout(
  64,
  [
    .init(0, "NP", .flag("nested paging")), .init(1, "SEV", .flag("encrypted memory")),
    .init(2, "SEV-ES", .flag("encrypted state")), .init(3, "GMET", .flag("guest-mode execute trap")),
    .init(4, "SSS", .flag("supervisor shadow-stack check")), .init(5, "VTE", .flag("virtual transparent encryption")),
  ])

/// Offset 0xb8.
private let svmVirtualExtensionLayout = BitLayout(
  64,
  [
    .init(0, "LBR_VIRT", .flag("last-branch registers virtualized")),
    .init(1, "VMSAVE_VMLOAD", .flag("VMSAVE and VMLOAD virtualized")),
    .init(2, "IBS_VIRT", .flag("instruction-based sampling virtualized")),
  ])

/// Offset 0xc0: what the processor need not load again.
private let svmCleanLayout = BitLayout(
  32,
  [
    .init(0, "I", .flag("intercepts, TSC offset, PAUSE filter")), .init(1, "IOPM", .flag("addresses of the maps")),
    .init(2, "ASID", .flag("ASID")), .init(3, "TPR", .flag("virtual interrupts")),
    .init(4, "NP", .flag("nested paging")), .init(5, "CRx", .flag("CR0, CR3, CR4, EFER")),
    .init(6, "DRx", .flag("DR6, DR7")), .init(7, "DT", .flag("GDTR, IDTR")), .init(8, "SEG", .flag("segments, CPL")),
    .init(9, "CR2", .flag("CR2")), .init(10, "LBR", .flag("last-branch registers")), .init(11, "AVIC", .flag("AVIC")),
    .init(12, "CET", .flag("CET")),
  ])

/// `index 2, RPL 0`.
private func selectorText(_ value: UInt64) -> String {
  value & 0xfffc == 0 && value & 3 == 0
    ? "null" : "index \(value >> 3)\(value & 4 != 0 ? ", LDT" : ""), RPL \(value & 3)"
}

/// A TSC multiplier, which has 48 bits behind the point.
private func scale(_ value: UInt64) -> String {
  let whole = value >> 48
  let thousandths = ((value & 0xffff_ffff_ffff) * 1000) >> 48
  let digits = "\(thousandths)"
  return "x \(whole).\(String(repeating: "0", count: 3 - digits.count))\(digits)"
}
