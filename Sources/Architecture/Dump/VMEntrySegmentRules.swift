/// SDM volume 3, chapter "VM Entries", section "Checks on Guest Segment Registers".
extension VMEntryRule {
  // ES, CS, SS, DS, FS, GS, LDTR, TR.
  private static let cs: UInt32 = 1
  private static let ss: UInt32 = 2
  private static let ldtr: UInt32 = 6
  private static let tr: UInt32 = 7

  private static func name(_ segment: UInt32) -> String { F.segmentNames[Int(segment)] }

  private static func segmentRule(
    _ segment: UInt32, _ what: String, _ statement: String, _ fields: [UInt32],
    _ holds: @escaping @Sendable (VMEntryState) -> Bool
  ) -> VMEntryRule {
    VMEntryRule("guest-\(name(segment).lowercased())-\(what)", .guestSegments, statement, fields, holds)
  }

  /// A rule about access rights that a virtual-8086 guest does not have; but for CS and TR, one of usable registers
  /// only.
  private static func rightsRule(
    _ segment: UInt32, _ what: String, _ statement: String, also fields: [UInt32] = [],
    _ holds: @escaping @Sendable (VMEntryState, _ rights: UInt64) -> Bool
  ) -> VMEntryRule {
    let isAlwaysUsable = segment == cs || segment == tr
    let isSystem = segment >= ldtr
    let field = F.ar(segment)
    return segmentRule(
      segment, what,
      isAlwaysUsable
        ? statement.prefix(1).uppercased() + statement.dropFirst() : "If \(name(segment)) is usable, \(statement)",
      [field] + fields + (isSystem ? [] : [F.rflags])
    ) { state in
      if !isSystem && state.isVirtual8086 { return true }
      let rights = state[field]
      if !isAlwaysUsable && rights >> 16 & 1 == 1 { return true }
      return holds(state, rights)
    }
  }

  /// Bits 31:20 and 11:0 of a limit say what G may be.
  private static func granularityRule(_ segment: UInt32) -> VMEntryRule {
    rightsRule(
      segment, "granularity",
      "G of \(name(segment)) is 0 if a bit of limit 11:0 is 0, and 1 if a bit of limit 31:20 is 1",
      also: [F.limit(segment)]
    ) { state, rights in
      let limit = state[F.limit(segment)]
      let isGranular = rights >> 15 & 1 == 1
      return !(isGranular && limit & 0xfff != 0xfff) && !(!isGranular && limit >> 20 != 0)
    }
  }

  private static func commonRules(_ segment: UInt32) -> [VMEntryRule] {
    let name = name(segment)
    return [
      rightsRule(segment, "present", "P of \(name) is 1") { _, rights in rights >> 7 & 1 == 1 },
      rightsRule(segment, "reserved", "bits 11:8 and 31:17 of the access rights of \(name) are 0") { _, rights in
        rights & 0xfffe_0f00 == 0
      },
      granularityRule(segment),
    ]
  }

  static let guestSegmentRules: [VMEntryRule] =
    [
      segmentRule(tr, "selector-ti", "TI (bit 2) of the TR selector is 0", [F.selector(tr)]) {
        !$0.bit(F.selector(tr), 2)
      },
      segmentRule(
        ldtr, "selector-ti", "If LDTR is usable, TI (bit 2) of its selector is 0", [F.selector(ldtr), F.ar(ldtr)]
      ) { !$0.bit(F.selector(ldtr), 2) || $0.bit(F.ar(ldtr), 16) },
      segmentRule(
        ss, "selector-rpl",
        "Without \"Unrestricted guest\", and outside virtual-8086 mode, the RPL of SS equals that of CS",
        [F.selector(ss), F.selector(cs), F.rflags, F.secondary, F.primary]
      ) { state in
        (state[F.selector(ss)] ^ state[F.selector(cs)]) & 3 == 0 || state.isVirtual8086 || state.isUnrestricted
      },
    ]
    + virtual8086Rules
    + [
      canonical("guest-tr-base", .guestSegments, "the TR base", F.base(tr)),
      canonical("guest-fs-base", .guestSegments, "the FS base", F.base(4)),
      canonical("guest-gs-base", .guestSegments, "the GS base", F.base(5)),
      segmentRule(
        ldtr, "base", "If LDTR is usable, its base is canonical", [F.base(ldtr), F.ar(ldtr)]
      ) { $0.bit(F.ar(ldtr), 16) || $0.isCanonical($0[F.base(ldtr)]) },
      segmentRule(cs, "base", "Bits 63:32 of the CS base are 0", [F.base(cs)]) { $0[F.base(cs)] >> 32 == 0 },
    ]
    + [ss, 3, 0].map { (segment: UInt32) in
      segmentRule(
        segment, "base", "If \(name(segment)) is usable, bits 63:32 of its base are 0",
        [F.base(segment), F.ar(segment)]
      ) { $0[F.base(segment)] >> 32 == 0 || $0.bit(F.ar(segment), 16) }
    }
    + csRules + ssRules + [3, 0, 4, 5].flatMap(dataRules) + trRules + ldtrRules

  /// A virtual-8086 guest has the segments of a real one.
  private static let virtual8086Rules: [VMEntryRule] = (0..<6).flatMap { (segment: UInt32) -> [VMEntryRule] in
    let name = name(segment)
    return [
      segmentRule(
        segment, "v86-base", "In virtual-8086 mode, the \(name) base is the selector times 16",
        [F.base(segment), F.selector(segment), F.rflags]
      ) { !$0.isVirtual8086 || $0[F.base(segment)] == $0[F.selector(segment)] << 4 },
      segmentRule(
        segment, "v86-limit", "In virtual-8086 mode, the \(name) limit is 0xffff", [F.limit(segment), F.rflags]
      ) { !$0.isVirtual8086 || $0[F.limit(segment)] == 0xffff },
      segmentRule(
        segment, "v86-rights", "In virtual-8086 mode, the access rights of \(name) are 0xf3", [F.ar(segment), F.rflags]
      ) { !$0.isVirtual8086 || $0[F.ar(segment)] == 0xf3 },
    ]
  }

  private static let csRules: [VMEntryRule] =
    [
      rightsRule(
        cs, "type", "the type of CS is 9, 11, 13 or 15 (accessed code), or 3 with \"Unrestricted guest\"",
        also: [F.secondary, F.primary]
      ) { state, rights in
        [9, 11, 13, 15].contains(rights & 15) || (rights & 15 == 3 && state.isUnrestricted)
      },
      rightsRule(cs, "s", "S of CS is 1") { _, rights in rights >> 4 & 1 == 1 },
      rightsRule(cs, "dpl-data", "the DPL of CS is 0 if its type is 3") { _, rights in
        rights & 15 != 3 || rights >> 5 & 3 == 0
      },
      rightsRule(
        cs, "dpl-non-conforming", "the DPL of CS equals that of SS if CS is non-conforming code (type 9 or 11)",
        also: [F.ar(ss)]
      ) { state, rights in
        ![9, 11].contains(rights & 15) || rights >> 5 & 3 == state[F.ar(ss)] >> 5 & 3
      },
      rightsRule(
        cs, "dpl-conforming", "the DPL of CS is not above that of SS if CS is conforming code (type 13 or 15)",
        also: [F.ar(ss)]
      ) { state, rights in
        ![13, 15].contains(rights & 15) || rights >> 5 & 3 <= state[F.ar(ss)] >> 5 & 3
      },
      rightsRule(
        cs, "d-l", "D/B of CS is 0 with \"IA-32e mode guest\" and L set", also: [F.entry]
      ) { state, rights in !(rights >> 13 & 1 == 1 && rights >> 14 & 1 == 1) || !state.isIA32e },
    ] + commonRules(cs)

  private static let ssRules: [VMEntryRule] =
    [
      rightsRule(ss, "type", "its type is 3 or 7 (read/write, accessed data)") { _, rights in
        [3, 7].contains(rights & 15)
      },
      rightsRule(ss, "s", "its S is 1") { _, rights in rights >> 4 & 1 == 1 },
      segmentRule(
        ss, "dpl-rpl", "Without \"Unrestricted guest\", the DPL of SS equals the RPL of its selector",
        [F.ar(ss), F.selector(ss), F.rflags, F.secondary, F.primary]
      ) { state in
        state[F.ar(ss)] >> 5 & 3 == state[F.selector(ss)] & 3 || state.isVirtual8086 || state.isUnrestricted
      },
      segmentRule(
        ss, "dpl-zero", "The DPL of SS is 0 where the type of CS is 3 or CR0.PE is 0",
        [F.ar(ss), F.ar(cs), F.guestCR0, F.rflags]
      ) { state in
        state[F.ar(ss)] >> 5 & 3 == 0 || state.isVirtual8086
          || (state[F.ar(cs)] & 15 != 3 && state.bit(F.guestCR0, 0))
      },
    ] + commonRules(ss)

  private static func dataRules(_ segment: UInt32) -> [VMEntryRule] {
    let name = name(segment)
    return [
      rightsRule(segment, "type", "its type has bit 0 (accessed), and bit 1 (readable) if it is code") { _, rights in
        rights & 1 == 1 && (rights & 8 == 0 || rights & 2 == 2)
      },
      rightsRule(segment, "s", "its S is 1") { _, rights in rights >> 4 & 1 == 1 },
      rightsRule(
        segment, "dpl",
        "its type is below 12 and \"Unrestricted guest\" is 0, the DPL of \(name) is not below the RPL of its selector",
        also: [F.selector(segment), F.secondary, F.primary]
      ) { state, rights in
        rights & 15 > 11 || rights >> 5 & 3 >= state[F.selector(segment)] & 3 || state.isUnrestricted
      },
    ] + commonRules(segment)
  }

  private static let trRules: [VMEntryRule] =
    [
      rightsRule(
        tr, "type", "the type of TR is 11 (busy TSS), or 3 (busy 16-bit TSS) without \"IA-32e mode guest\"",
        also: [F.entry]
      ) { state, rights in rights & 15 == 11 || (rights & 15 == 3 && !state.isIA32e) },
      rightsRule(tr, "s", "S of TR is 0") { _, rights in rights >> 4 & 1 == 0 },
    ] + commonRules(tr) + [
      rightsRule(tr, "usable", "TR is usable (bit 16 is 0)") { _, rights in rights >> 16 & 1 == 0 }
    ]

  private static let ldtrRules: [VMEntryRule] =
    [
      rightsRule(ldtr, "type", "its type is 2 (LDT)") { _, rights in rights & 15 == 2 },
      rightsRule(ldtr, "s", "its S is 0") { _, rights in rights >> 4 & 1 == 0 },
    ] + commonRules(ldtr)
}
