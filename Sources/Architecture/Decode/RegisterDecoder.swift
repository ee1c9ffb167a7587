/// Control registers, EFER, RFLAGS and debug registers (SDM volume 3, chapter "System Architecture Overview"; AMD APM volume 2 for AMD's
/// EFER bits).
extension Decoded {
  /// Control register 0.
  public static func cr0(_ value: UInt64) -> Decoded { cr0Layout.decode("cr0", value) }

  /// Control register 3.
  public static func cr3(_ value: UInt64) -> Decoded {
    BitLayout(
      64,
      [
        .init(11, 0, "PCID", .text { "\(hexadecimal($0)) with CR4.PCIDE; else PWT is bit 3 and PCD bit 4" }),
        .init(51, 12, "root", .text { hexadecimal($0 << 12) }),
        .init(61, "LAM_U57", .flag("linear-address masking for user addresses, 57 bits")),
        .init(62, "LAM_U48", .flag("linear-address masking for user addresses, 48 bits")),
        .init(63, "no flush", .flag("a MOV to CR3 does not invalidate the PCID's entries")),
      ]
    ).decode("cr3", value) { "root \(hexadecimal($0 & 0xf_ffff_ffff_f000)), PCID \(hexadecimal($0 & 0xfff))" }
  }

  /// Control register 4.
  public static func cr4(_ value: UInt64) -> Decoded { cr4Layout.decode("cr4", value) }

  /// IA32_EFER, MSR 0xc0000080.
  public static func efer(_ value: UInt64) -> Decoded {
    BitLayout(
      64,
      [
        .init(0, "SCE", .flag("SYSCALL and SYSRET")),
        .init(8, "LME", .flag("IA-32e mode enabled")),
        .init(10, "LMA", .flag("IA-32e mode active")),
        .init(11, "NX", .flag("execute-disable pages")),
        .init(12, "SVME", .flag("SVM (AMD)")),
        .init(13, "LMSLE", .flag("long-mode segment limits (AMD)")),
        .init(14, "FFXSR", .flag("fast FXSAVE and FXRSTOR (AMD)")),
        .init(15, "TCE", .flag("translation-cache extension (AMD)")),
        .init(17, "MCOMMIT", .flag("MCOMMIT (AMD)")),
        .init(18, "INTWB", .flag("interruptible WBINVD (AMD)")),
        .init(20, "UAIE", .flag("upper-address ignore (AMD)")),
        .init(21, "AIBRSE", .flag("automatic IBRS (AMD)")),
      ]
    ).decode("efer", value)
  }

  /// The flags register.
  public static func rflags(_ value: UInt64) -> Decoded {
    BitLayout(
      64,
      [
        .init(0, "CF", .flag("carry")),
        .init(1, "1", .one),
        .init(2, "PF", .flag("parity")),
        .init(4, "AF", .flag("auxiliary carry")),
        .init(6, "ZF", .flag("zero")),
        .init(7, "SF", .flag("sign")),
        .init(8, "TF", .flag("trap")),
        .init(9, "IF", .flag("interrupts enabled")),
        .init(10, "DF", .flag("direction down")),
        .init(11, "OF", .flag("overflow")),
        .init(13, 12, "IOPL", .decimal),
        .init(14, "NT", .flag("nested task")),
        .init(16, "RF", .flag("resume")),
        .init(17, "VM", .flag("virtual-8086 mode")),
        .init(18, "AC", .flag("alignment check, access control")),
        .init(19, "VIF", .flag("virtual interrupt flag")),
        .init(20, "VIP", .flag("virtual interrupt pending")),
        .init(21, "ID", .flag("CPUID available")),
      ]
    ).decode("rflags", value)
  }

  /// Debug status: what a #DB reported. BLD and RTM are 0 when they are meant.
  public static func dr6(_ value: UInt64) -> Decoded {
    BitLayout(
      64,
      (0..<4).map { .init($0, "B\($0)", .flag("breakpoint \($0) met")) } + [
        .init(10, 4, "fixed", .text { $0 == 0x7f ? "all 1" : "\(hexadecimal($0)): must be all 1" }),
        .init(11, "BLD", .either("bus lock detected", "no bus lock")),
        .init(13, "BD", .flag("debug-register access detected")),
        .init(14, "BS", .flag("single step")),
        .init(15, "BT", .flag("task switch")),
        .init(16, "RTM", .either("in a transactional region", "not in a transactional region")),
        .init(31, 17, "fixed", .text { $0 == 0x7fff ? "all 1" : "\(hexadecimal($0)): must be all 1" }),
      ]
    ).decode("dr6", value) { value in
      var names = (0..<4).filter { value & 1 << UInt64($0) != 0 }.map { "B\($0)" }
      if value & 1 << 11 == 0 { names.append("BLD") }
      for (bit, name) in [(UInt64(13), "BD"), (14, "BS"), (15, "BT")] where value & 1 << bit != 0 { names.append(name) }
      if value & 1 << 16 == 0 { names.append("RTM") }
      return names.isEmpty ? "nothing" : names.joined(separator: ", ")
    }
  }

  /// Debug control: which breakpoints are on.
  public static func dr7(_ value: UInt64) -> Decoded {
    let conditions = ["execution", "write", "I/O", "read or write"]
    let lengths = ["1 byte", "2 bytes", "8 bytes", "4 bytes"]
    var fields: [BitLayout.Field] = (0..<4).flatMap { breakpoint -> [BitLayout.Field] in
      [
        .init(breakpoint * 2, "L\(breakpoint)", .flag("breakpoint \(breakpoint) on, local")),
        .init(breakpoint * 2 + 1, "G\(breakpoint)", .flag("breakpoint \(breakpoint) on, global")),
      ]
    }
    fields += [
      .init(8, "LE", .flag("exact, local")), .init(9, "GE", .flag("exact, global")), .init(10, "1", .one),
      .init(11, "RTM", .flag("advanced debugging of transactional regions")),
      .init(13, "GD", .flag("access to debug registers faults")),
    ]
    for breakpoint in 0..<4
    where value & 3 << UInt64(breakpoint * 2) != 0 || value >> UInt64(16 + breakpoint * 4) & 15 != 0 {
      fields.append(.init(17 + breakpoint * 4, 16 + breakpoint * 4, "R/W\(breakpoint)", .choice(conditions)))
      fields.append(.init(19 + breakpoint * 4, 18 + breakpoint * 4, "LEN\(breakpoint)", .choice(lengths)))
    }
    return BitLayout(64, fields).decode("dr7", value)
  }
}

let cr0Layout = BitLayout(
  64,
  [
    .init(0, "PE", .flag("protected mode")),
    .init(1, "MP", .flag("monitor coprocessor")),
    .init(2, "EM", .flag("emulate x87")),
    .init(3, "TS", .flag("task switched")),
    .init(4, "ET", .flag("extension type")),
    .init(5, "NE", .flag("numeric error")),
    .init(16, "WP", .flag("write protect")),
    .init(18, "AM", .flag("alignment mask")),
    .init(29, "NW", .flag("not write-through")),
    .init(30, "CD", .flag("cache disable")),
    .init(31, "PG", .flag("paging")),
  ])

let cr4Layout = BitLayout(
  64,
  [
    .init(0, "VME", .flag("virtual-8086 mode extensions")),
    .init(1, "PVI", .flag("protected-mode virtual interrupts")),
    .init(2, "TSD", .flag("RDTSC at CPL 0 only")),
    .init(3, "DE", .flag("debugging extensions")),
    .init(4, "PSE", .flag("4 MiB pages")),
    .init(5, "PAE", .flag("physical-address extension")),
    .init(6, "MCE", .flag("machine checks")),
    .init(7, "PGE", .flag("global pages")),
    .init(8, "PCE", .flag("RDPMC at any CPL")),
    .init(9, "OSFXSR", .flag("FXSAVE and FXRSTOR")),
    .init(10, "OSXMMEXCPT", .flag("SIMD floating-point exceptions")),
    .init(11, "UMIP", .flag("user-mode instruction prevention")),
    .init(12, "LA57", .flag("57-bit linear addresses")),
    .init(13, "VMXE", .flag("VMX")),
    .init(14, "SMXE", .flag("SMX")),
    .init(16, "FSGSBASE", .flag("RDFSBASE and its kin")),
    .init(17, "PCIDE", .flag("process-context identifiers")),
    .init(18, "OSXSAVE", .flag("XSAVE")),
    .init(19, "KL", .flag("Key Locker")),
    .init(20, "SMEP", .flag("supervisor-mode execution prevention")),
    .init(21, "SMAP", .flag("supervisor-mode access prevention")),
    .init(22, "PKE", .flag("protection keys for user pages")),
    .init(23, "CET", .flag("control-flow enforcement")),
    .init(24, "PKS", .flag("protection keys for supervisor pages")),
    .init(25, "UINTR", .flag("user interrupts")),
    .init(27, "LASS", .flag("linear-address-space separation")),
    .init(28, "LAM_SUP", .flag("linear-address masking for supervisor addresses")),
    .init(32, "FRED", .flag("flexible return and event delivery")),
  ])
