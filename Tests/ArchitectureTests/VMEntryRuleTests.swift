import Foundation
import Testing

@testable import Architecture

private typealias Values = [UInt32: UInt64]

private func bits(_ numbers: Int...) -> UInt64 { numbers.reduce(0) { $0 | 1 << UInt64($1) } }

/// The states that the rules are tried on. Every one of them breaks nothing.
private enum Base: String, CaseIterable {
  /// A 64-bit guest with every control that has a rule.
  case long
  /// The same in virtual-8086 mode, without an unrestricted guest.
  case virtual8086
  /// The same in 32-bit protected mode with PAE paging, without an unrestricted guest.
  case protected
  /// An unrestricted guest in real mode.
  case real
  /// A 64-bit guest that halts with no event.
  case halted

  var values: Values {
    switch self {
    case .long: Base.longMode
    case .virtual8086:
      Base.protected.values.merging(
        [F.rflags: 0x20202].merging(
          Dictionary(
            uniqueKeysWithValues: (0..<6).flatMap { (segment: UInt32) -> [(UInt32, UInt64)] in
              [
                (F.selector(segment), 0x1000), (F.base(segment), 0x10000), (F.limit(segment), 0xffff),
                (F.ar(segment), 0xf3),
              ]
            })
        ) { $1 }
      ) { $1 }
    case .protected:
      Base.longMode.merging([
        F.entry: Base.longMode[F.entry, default: 0] & ~bits(9), F.guestEFER: 0x800,
        F.secondary: Base.longMode[F.secondary, default: 0] & ~bits(7), F.guestCR4: 0x0080_2020,
        F.rip: 0x1000, F.guestSSP: 0x2000, F.ar(1): 0xc09b, F.pdpte0: 0x1001,
      ]) { $1 }
    case .real:
      Base.longMode.merging([
        F.entry: Base.longMode[F.entry, default: 0] & ~bits(9), F.guestEFER: 0, F.guestCR0: 0x10020,
        F.guestCR4: 0x2000, F.rip: 0xfff0, F.guestSSP: 0, F.selector(1): 0xf000, F.base(1): 0xf0000,
        F.limit(1): 0xffff, F.ar(1): 0x93, F.ar(2): 0x93, F.limit(2): 0xffff, F.ar(3): 0x93, F.limit(3): 0xffff,
      ]) { $1 }
    case .halted: Base.longMode.merging([F.activity: 1, F.rflags: 0x202]) { $1 }
    }
  }

  private static let longMode: Values = {
    var values: Values = [
      F.pin: 0xff,
      F.primary: 0x0401_e172 | bits(3, 7, 17, 21, 25, 28, 31),
      F.secondary: bits(0, 1, 5, 7, 8, 9, 13, 14, 17, 18, 22, 23, 24, 25),
      F.tertiary: bits(4),
      F.exit: 0x3_6dff | bits(9, 12, 15, 19, 21, 22, 25, 28, 29, 31),
      F.secondaryExit: 0,
      F.entry: 0x11ff | bits(9, 13, 14, 15, 16, 18, 20, 22),
      F.cr3TargetCount: 0, F.vpid: 1, F.postedVector: 0xf2, F.eptPointer: 0x3fe9_b05e, F.tscMultiplier: 1 << 48,
      F.tprThreshold: 0, F.vmFunctions: 1,
      F.exitStoreCount: 1, F.exitLoadCount: 1, F.entryLoadCount: 1,
      F.entryInfo: 0, F.entryErrorCode: 0, F.entryLength: 0,
      F.exitReason: 0x8000_0021, F.exitQualification: 0,
      // The host.
      F.hostCR0: 0x8005_0033, F.hostCR3: 0xbc4_a004, F.hostCR4: 0xb3_26f0, F.hostRIP: 0xffff_ffff_c045_444e,
      0x6c14: 0xffff_c900_0065_3b40, 0x0c00: 0, 0x0c02: 0x10, 0x0c04: 0x18, 0x0c06: 0, 0x0c08: 0, 0x0c0a: 0,
      0x0c0c: 0x40,
      0x6c06: 0x28b6_b380, 0x6c08: 0xffff_8880_3ca0_0000, 0x6c0a: 0xffff_fe00_0000_3000,
      0x6c0c: 0xffff_fe00_0000_1000, 0x6c0e: 0xffff_fe00_0000_0000, 0x4c00: 0x10,
      F.hostSysenterESP: 0xffff_fe00_0000_3000, F.hostSysenterEIP: 0xffff_ffff_81c0_18f0, F.hostEFER: 0xd01,
      F.hostPAT: 0x0407_0506_0007_0106, F.hostPerfGlobal: 0x7_0000_000f, F.hostSCET: 1,
      F.hostSSP: 0xffff_c900_0000_1000,
      F.hostSSPTable: 0xffff_c900_0000_2000, F.hostPKRS: 0,
      // The guest.
      F.guestCR0: 0x8005_0033, F.guestCR3: 0x123_4000, F.guestCR4: 0x00a2_2020, F.dr7: 0x400, F.rflags: 0x202,
      F.rip: 0xffff_ffff_8100_1234, F.debugControl: 0, F.guestPAT: 0x0007_0406_0007_0406, F.guestEFER: 0xd01,
      F.guestPerfGlobal: 0xf, F.bndcfgs: 0x7f00_0000_0003, F.guestPKRS: 0, F.guestSCET: 1,
      F.guestSSP: 0xffff_c900_0000_1000, F.guestSSPTable: 0xffff_c900_0000_2000,
      F.sysenterESP: 0xffff_fe00_0000_3000, F.sysenterEIP: 0xffff_ffff_81c0_18f0,
      F.gdtrBase: 0xffff_fe00_0000_1000, F.gdtrLimit: 0x7f, F.idtrBase: 0xffff_fe00_0000_0000, F.idtrLimit: 0xfff,
      F.interruptibility: 0, F.activity: 0, F.pendingDebug: 0, F.linkPointer: .max,
      F.pdpte0: 0, 0x280c: 0, 0x280e: 0, 0x2810: 0,
    ]
    for field in [
      F.ioBitmapA, F.ioBitmapB, F.msrBitmap, F.pmlAddress, F.virtualAPIC, F.apicAccess, F.eptpList, F.vmreadBitmap,
      F.vmwriteBitmap, F.veInformation, F.sppPointer, F.pidPointerTable, F.exitStoreAddress, F.exitLoadAddress,
      F.entryLoadAddress, F.postedDescriptor,
    ] { values[field] = 0x1234_5000 }
    for segment: UInt32 in 0..<8 {
      values[F.selector(segment)] = 0x18
      values[F.ar(segment)] = 0xc093
      values[F.limit(segment)] = 0xffff_ffff
      values[F.base(segment)] = 0
    }
    values[F.selector(1)] = 0x10
    values[F.ar(1)] = 0xa09b
    values[F.ar(6)] = 0x82
    values[F.limit(6)] = 0xffff
    values[F.ar(7)] = 0x8b
    values[F.limit(7)] = 0x206f
    return values
  }()
}

private func dump(_ values: Values) -> VMCSDump {
  var dump = VMCSDump(kind: .vmcs, line: 1)
  dump.cpu = 0
  dump.fields = values.sorted { $0.key < $1.key }.map {
    VMCSDump.Field(id: DumpFieldID(rawValue: $0.key), value: $0.value, line: 1)
  }
  return dump
}

/// One field changed, and the rule that this breaks. Where a change cannot but break others too, they are named.
private struct Change: CustomTestStringConvertible {
  var rule: String
  var base: Base
  var changes: Values
  var others: Set<String>

  init(_ rule: String, _ changes: Values, others: Set<String> = []) {
    self.init(rule, .long, changes, others: others)
  }

  init(_ rule: String, _ base: Base, _ changes: Values, others: Set<String> = []) {
    self.rule = rule
    self.base = base
    self.changes = changes
    self.others = others
  }

  var testDescription: String { rule }

  /// The bits of the base's field turned over.
  init(_ rule: String, flip field: UInt32, _ mask: UInt64) { self.init(rule, .long, flip: field, mask) }

  init(_ rule: String, _ base: Base, flip field: UInt32, _ mask: UInt64, others: Set<String> = []) {
    self.init(rule, base, [field: (base.values[field] ?? 0) ^ mask], others: others)
  }
}

private let far: UInt64 = 0x0100_0000_0000_0000

private let changes: [Change] = {
  var list: [Change] = [
    // Controls.
    Change("controls-pin-reserved", flip: F.pin, bits(8)),
    Change("controls-primary-reserved", flip: F.primary, bits(0)),
    Change("controls-secondary-reserved", flip: F.secondary, bits(32)),
    Change("controls-tertiary-reserved", flip: F.tertiary, bits(20)),
    Change("controls-exit-reserved", flip: F.exit, bits(0)),
    Change("controls-secondary-exit-reserved", [F.secondaryExit: bits(10)]),
    Change("controls-entry-reserved", flip: F.entry, bits(30)),
    Change("controls-cr3-target-count", [F.cr3TargetCount: 5]),
    Change("controls-io-bitmap-a", [F.ioBitmapA: 0x800]),
    Change("controls-io-bitmap-b", [F.ioBitmapB: far]),
    Change("controls-msr-bitmap", [F.msrBitmap: 1]),
    Change("controls-virtual-apic-address", [F.virtualAPIC: 0x10]),
    Change("controls-apic-access-address", [F.apicAccess: 0x10]),
    Change("controls-posted-interrupt-vector", [F.postedVector: 256]),
    Change("controls-posted-interrupt-descriptor", [F.postedDescriptor: 0x20]),
    Change("controls-vpid", [F.vpid: 0]),
    Change("controls-eptp-memory-type", [F.eptPointer: 0x3fe9_b05c]),
    Change("controls-eptp-walk-length", [F.eptPointer: 0x3fe9_b056]),
    Change("controls-eptp-reserved", [F.eptPointer: 0x3fe9_b15e]),
    Change("controls-pml-address", [F.pmlAddress: 8]),
    Change("controls-sppt-pointer", [F.sppPointer: 8]),
    Change("controls-vm-functions-reserved", [F.vmFunctions: 3]),
    Change("controls-eptp-switching", [F.eptpList: 8]),
    Change("controls-vmread-bitmap", [F.vmreadBitmap: 8]),
    Change("controls-vmwrite-bitmap", [F.vmwriteBitmap: 8]),
    Change("controls-ve-information", [F.veInformation: 8]),
    Change("controls-pid-pointer-table", [F.pidPointerTable: 4]),
    Change("controls-tsc-multiplier", [F.tscMultiplier: 0]),
    Change("controls-exit-msr-store", [F.exitStoreAddress: 8]),
    Change("controls-exit-msr-load", [F.exitLoadAddress: 8]),
    Change("controls-entry-msr-load", [F.entryLoadAddress: 8]),
    Change("controls-entry-to-smm", flip: F.entry, bits(10)),
    Change("controls-deactivate-dual-monitor", flip: F.entry, bits(11)),
    // Without virtual-interrupt delivery and what needs it.
    Change(
      "controls-tpr-threshold",
      [F.pin: 0x7f, F.secondary: (Base.long.values[F.secondary] ?? 0) & ~bits(9), F.tprThreshold: 0x10]),
    // Between controls.
    Change("controls-process-posted-interrupts-needs-virtual-interrupt-delivery", flip: F.secondary, bits(9)),
    Change("controls-process-posted-interrupts-needs-acknowledge-interrupt-on-exit", flip: F.exit, bits(15)),
    Change("controls-virtual-nmis-needs-nmi-exiting", flip: F.pin, bits(3)),
    Change(
      "controls-nmi-window-exiting-needs-virtual-nmis",
      [F.pin: 0xdf, F.primary: (Base.long.values[F.primary] ?? 0) | bits(22)]),
    Change("controls-virtual-interrupt-delivery-needs-external-interrupt-exiting", flip: F.pin, bits(0)),
    Change("controls-virtualize-apic-accesses-excludes-virtualize-x2apic-mode", flip: F.secondary, bits(4)),
    Change("controls-save-vmx-preemption-timer-value-needs-activate-vmx-preemption-timer", flip: F.pin, bits(6)),
    Change("controls-intel-pt-uses-guest-physical-addresses-needs-load-ia32-rtit-ctl", flip: F.entry, bits(18)),
    Change("controls-intel-pt-uses-guest-physical-addresses-needs-clear-ia32-rtit-ctl", flip: F.exit, bits(25)),
    // Events.
    Change("injection-type", [F.entryInfo: 0x8000_0120]),
    Change("injection-vector", [F.entryInfo: 0x8000_0203]),
    Change("injection-error-code-type", [F.entryInfo: 0x8000_0820]),
    Change("injection-error-code-real-mode", .real, [F.entryInfo: 0x8000_0b0d]),
    Change("injection-reserved", [F.entryInfo: 0x8000_4020]),
    Change("injection-error-code-reserved", [F.entryInfo: 0x8000_0b0d, F.entryErrorCode: 0x1_0000]),
    Change("injection-length", [F.entryInfo: 0x8000_0480, F.entryLength: 16]),
    // The host.
    Change("host-cr0-fixed", flip: F.hostCR0, bits(5)),
    Change("host-cr4-vmxe", flip: F.hostCR4, bits(13)),
    Change("host-cr4-cet-wp", flip: F.hostCR0, bits(16)),
    Change("host-cr3-width", [F.hostCR3: far]),
    Change("host-sysenter-esp", [F.hostSysenterESP: far]),
    Change("host-sysenter-eip", [F.hostSysenterEIP: 0x8000_0000_0000]),
    Change("host-perf-global", [F.hostPerfGlobal: bits(63)]),
    Change("host-pat", [F.hostPAT: 2]),
    Change("host-efer-reserved", flip: F.hostEFER, bits(1)),
    Change("host-efer-lma", flip: F.hostEFER, bits(10)),
    Change("host-efer-lme", flip: F.hostEFER, bits(8)),
    Change("host-s-cet", [F.hostSCET: 0xc00]),
    Change("host-ssp", [F.hostSSP: 2]),
    Change("host-ssp-table", [F.hostSSPTable: far]),
    Change("host-pkrs", [F.hostPKRS: bits(32)]),
    Change("host-cs-null", [0x0c02: 0]),
    Change("host-tr-null", [0x0c0c: 0]),
    Change("host-fs-base", [0x6c06: far]),
    Change("host-gs-base", [0x6c08: far]),
    Change("host-tr-base", [0x6c0a: far]),
    Change("host-gdtr-base", [0x6c0c: far]),
    Change("host-idtr-base", [0x6c0e: far]),
    Change("address-space-host-pae", flip: F.hostCR4, bits(5)),
    Change("address-space-host-rip", [F.hostRIP: far]),
    // A 32-bit host.
    Change(
      "host-ss-null", .protected,
      [
        F.exit: (Base.long.values[F.exit] ?? 0) & ~bits(9), F.hostEFER: 0, F.hostSSP: 0x1000, F.hostRIP: 0x1000,
        F.hostCR4: 0x91_26f0,
        0x0c04: 0,
      ]),
    Change(
      "address-space-host-pcide", .protected,
      [
        F.exit: (Base.long.values[F.exit] ?? 0) & ~bits(9), F.hostEFER: 0, F.hostSSP: 0x1000, F.hostRIP: 0x1000,
        F.hostCR4: 0x93_26f0,
      ]),
    Change(
      "address-space-host-rip-32", .protected,
      [F.exit: (Base.long.values[F.exit] ?? 0) & ~bits(9), F.hostEFER: 0, F.hostSSP: 0x1000, F.hostCR4: 0x91_26f0]),
    Change(
      "address-space-host-cet", .protected,
      [F.exit: (Base.long.values[F.exit] ?? 0) & ~bits(9), F.hostEFER: 0, F.hostRIP: 0x1000, F.hostCR4: 0x91_26f0]),
    Change(
      "address-space-guest",
      [
        F.exit: (Base.long.values[F.exit] ?? 0) & ~bits(9), F.hostEFER: 0, F.hostSSP: 0x1000, F.hostRIP: 0x1000,
        F.hostCR4: 0x91_26f0,
      ]),
    // Registers of the guest.
    Change("guest-cr0-ne", flip: F.guestCR0, bits(5)),
    Change(
      "guest-cr0-pe", .protected, flip: F.guestCR0, bits(0), others: ["guest-cr0-pg-pe"]),
    Change("guest-cr0-pg", .protected, flip: F.guestCR0, bits(31)),
    Change("guest-cr0-pg-pe", flip: F.guestCR0, bits(0)),
    Change("guest-cr4-vmxe", flip: F.guestCR4, bits(13)),
    Change("guest-cr4-reserved", flip: F.guestCR4, bits(40)),
    Change("guest-cr4-cet-wp", flip: F.guestCR0, bits(16)),
    Change("guest-debugctl", [F.debugControl: bits(3)]),
    Change("guest-ia32e-pg", flip: F.guestCR0, bits(31)),
    Change("guest-ia32e-pae", flip: F.guestCR4, bits(5)),
    Change("guest-pcide", .protected, flip: F.guestCR4, bits(17)),
    Change("guest-cr3-width", [F.guestCR3: far]),
    Change("guest-dr7", [F.dr7: bits(32)]),
    Change("guest-sysenter-esp", [F.sysenterESP: far]),
    Change("guest-sysenter-eip", [F.sysenterEIP: far]),
    Change("guest-perf-global", [F.guestPerfGlobal: bits(50)]),
    Change("guest-pat", [F.guestPAT: 0x0800]),
    Change("guest-efer-reserved", flip: F.guestEFER, bits(12)),
    Change("guest-efer-lma", .real, [F.guestEFER: 0x400]),
    Change("guest-efer-lme", flip: F.guestEFER, bits(8)),
    Change("guest-bndcfgs", [F.bndcfgs: 4]),
    Change("guest-s-cet", [F.guestSCET: 0x40]),
    Change("guest-ssp-table", [F.guestSSPTable: far]),
    Change("guest-pkrs", [F.guestPKRS: bits(40)]),
    Change("guest-gdtr-base", [F.gdtrBase: far]),
    Change("guest-idtr-base", [F.idtrBase: far]),
    Change("guest-gdtr-limit", [F.gdtrLimit: 0x1_0000]),
    Change("guest-idtr-limit", [F.idtrLimit: 0x1_0000]),
    Change("guest-rip-32", .protected, [F.rip: bits(32)]),
    Change("guest-rip-64", [F.rip: far]),
    Change("guest-rflags-reserved", [F.rflags: 0x200]),
    Change(
      "guest-rflags-vm", .virtual8086, flip: F.guestCR0, bits(0), others: ["guest-cr0-pe", "guest-cr0-pg-pe"]),
    Change("guest-rflags-if", [F.rflags: 2, F.entryInfo: 0x8000_0020]),
    Change("guest-ssp", [F.guestSSP: 1]),
    Change("guest-pdpte0", .protected, [F.pdpte0: 3]),
    Change("guest-pdpte1", .protected, [0x280c: 0x21]),
    Change("guest-pdpte2", .protected, [0x280e: far | 1]),
    Change("guest-pdpte3", .protected, [0x2810: 0x101]),
    // Non-register state.
    Change("guest-activity", [F.activity: 4]),
    Change("guest-activity-hlt-dpl", .halted, [F.ar(2): 0xc0f3, F.ar(1): 0xa0fb]),
    Change("guest-activity-blocking", .long, [F.activity: 2, F.interruptibility: 1]),
    Change("guest-activity-hlt-event", .halted, [F.entryInfo: 0x8000_0306]),
    Change("guest-activity-shutdown-event", [F.activity: 2, F.entryInfo: 0x8000_0020]),
    Change("guest-activity-sipi-event", [F.activity: 3, F.entryInfo: 0x8000_0020]),
    Change(
      "guest-activity-smm", [F.activity: 3, F.entry: (Base.long.values[F.entry] ?? 0) | bits(10)],
      others: ["controls-entry-to-smm"]),
    Change("guest-interruptibility-reserved", [F.interruptibility: 0x20]),
    Change("guest-interruptibility-sti-mov-ss", [F.interruptibility: 3]),
    Change("guest-interruptibility-sti-if", [F.interruptibility: 1, F.rflags: 2]),
    Change("guest-interruptibility-interrupt", [F.interruptibility: 2, F.entryInfo: 0x8000_0020]),
    Change("guest-interruptibility-nmi-mov-ss", [F.interruptibility: 2, F.entryInfo: 0x8000_0202]),
    Change(
      "guest-interruptibility-nmi-sti",
      [F.interruptibility: 1, F.entryInfo: 0x8000_0202, F.exitQualification: 3]),
    Change("guest-interruptibility-smi", [F.interruptibility: 4]),
    Change("guest-interruptibility-virtual-nmi", [F.interruptibility: 8, F.entryInfo: 0x8000_0202]),
    Change("guest-interruptibility-enclave", [F.interruptibility: 0x12]),
    Change("guest-pending-debug-reserved", [F.pendingDebug: bits(13)]),
    Change("guest-pending-debug-bs", .halted, [F.rflags: 0x302]),
    Change("guest-pending-debug-rtm", [F.pendingDebug: bits(16)]),
    Change("guest-link-pointer", [F.linkPointer: 0x801]),
    // Segments.
    Change("guest-tr-selector-ti", flip: F.selector(7), 4),
    Change("guest-ldtr-selector-ti", flip: F.selector(6), 4),
    Change("guest-ss-selector-rpl", .protected, [F.selector(1): 0x13]),
    Change("guest-tr-base", [F.base(7): far]),
    Change("guest-fs-base", [F.base(4): far]),
    Change("guest-gs-base", [F.base(5): far]),
    Change("guest-ldtr-base", [F.base(6): far]),
    Change("guest-cs-base", [F.base(1): bits(32)]),
    Change("guest-ss-base", [F.base(2): bits(32)]),
    Change("guest-ds-base", [F.base(3): bits(32)]),
    Change("guest-es-base", [F.base(0): bits(32)]),
    Change("guest-cs-type", .protected, [F.ar(1): 0xc093]),
    Change("guest-cs-s", flip: F.ar(1), bits(4)),
    Change("guest-cs-dpl-data", .real, [F.ar(1): 0xf3]),
    Change("guest-cs-dpl-non-conforming", flip: F.ar(1), 0x60),
    Change("guest-cs-dpl-conforming", [F.ar(1): 0xa0ff]),
    Change("guest-cs-d-l", flip: F.ar(1), bits(14)),
    Change("guest-ss-type", flip: F.ar(2), 1),
    Change("guest-ss-s", flip: F.ar(2), bits(4)),
    Change("guest-ss-dpl-rpl", .protected, [F.selector(2): 0x1b, F.selector(1): 0x13]),
    Change("guest-ss-dpl-zero", .real, [F.ar(2): 0xf3]),
    Change("guest-tr-type", [F.ar(7): 0x83]),
    Change("guest-tr-s", flip: F.ar(7), bits(4)),
    Change("guest-tr-usable", flip: F.ar(7), bits(16)),
    Change("guest-ldtr-type", [F.ar(6): 0x83]),
    Change("guest-ldtr-s", flip: F.ar(6), bits(4)),
  ]
  // Controls that need the TPR shadow, and EPT: the other controls that need them off.
  let secondary = Base.long.values[F.secondary] ?? 0
  let primary = Base.long.values[F.primary] ?? 0
  for (name, bit) in [
    ("virtualize-x2apic-mode", 4), ("apic-register-virtualization", 8), ("virtual-interrupt-delivery", 9),
  ] {
    list.append(
      Change(
        "controls-\(name)-needs-use-tpr-shadow",
        [
          F.primary: primary & ~bits(21, 17), F.pin: 0x7f, F.secondary: secondary & ~bits(0, 8, 9) | bits(bit),
        ]))
  }
  list.append(
    Change(
      "controls-ipi-virtualization-needs-use-tpr-shadow",
      [F.primary: primary & ~bits(21), F.pin: 0x7f, F.secondary: secondary & ~bits(8, 9)]))
  let needsEPT: [(String, Int)] = [
    ("unrestricted-guest", 7), ("enable-pml", 17), ("ept-violation-ve", 18), ("mode-based-execute-control-for-ept", 22),
    ("sub-page-write-permissions-for-ept", 23), ("intel-pt-uses-guest-physical-addresses", 24),
  ]
  for (name, bit) in needsEPT {
    list.append(
      Change(
        "controls-\(name)-needs-enable-ept",
        [F.secondary: secondary & ~bits(1, 7, 13, 17, 18, 22, 23, 24) | bits(bit)]))
  }
  for (name, field) in [
    ("es", 0x0c00), ("cs", 0x0c02), ("ss", 0x0c04), ("ds", 0x0c06), ("fs", 0x0c08), ("gs", 0x0c0a), ("tr", 0x0c0c),
  ] as [(String, UInt32)] {
    list.append(Change("host-\(name)-selector", [field: 0x44]))
  }
  for segment: UInt32 in 0..<8 {
    let name = F.segmentNames[Int(segment)].lowercased()
    list.append(Change("guest-\(name)-present", flip: F.ar(segment), bits(7)))
    list.append(Change("guest-\(name)-reserved", flip: F.ar(segment), bits(9)))
    list.append(Change("guest-\(name)-granularity", [F.limit(segment): segment < 6 ? 0xffff_0fff & ~1 : 0xfff0_0fff]))
    guard segment < 6 else { continue }
    list.append(Change("guest-\(name)-v86-base", .virtual8086, [F.base(segment): 0x20000]))
    list.append(Change("guest-\(name)-v86-limit", .virtual8086, [F.limit(segment): 0x1fffff]))
    list.append(Change("guest-\(name)-v86-rights", .virtual8086, [F.ar(segment): 0x93]))
    guard ![1, 2].contains(segment) else { continue }
    list.append(Change("guest-\(name)-type", [F.ar(segment): 0xc099]))
    list.append(Change("guest-\(name)-s", flip: F.ar(segment), bits(4)))
    list.append(Change("guest-\(name)-dpl", .protected, [F.selector(segment): 0x1b]))
  }
  return list
}()

@Suite struct VMEntryRuleTests {
  @Test(arguments: Base.allCases) private func `A valid state breaks no rule, and every rule can be checked`(base: Base)
  {
    let check = VMEntryCheck(dump(base.values))
    #expect(check.broken.map(\.id) == [])
    #expect(check.unchecked.map { "\($0.rule.id): \($0.missing)" }.filter { !$0.hasPrefix("msr-load") } == [])
  }

  @Test(arguments: changes) private func `One change breaks one rule`(change: Change) {
    let values = change.base.values.merging(change.changes) { $1 }
    let broken = Set(VMEntryCheck(dump(values)).broken.map(\.id))
    #expect(broken == change.others.union([change.rule]))
  }

  @Test func `Every rule of VM entry is broken by some test`() {
    let tried = Set(changes.map(\.rule))
    // These need a processor's answer, or a list: tests of their own.
    let elsewhere: Set<String> = [
      "injection-error-code-vector", "msr-load-bases", "msr-load-x2apic", "msr-load-smm",
    ]
    let rules = VMEntryRule.all.filter { $0.isa == .vmx }.map(\.id)
    #expect(rules.filter { !tried.contains($0) && !elsewhere.contains($0) } == [])
    #expect(tried.subtracting(rules) == [])
  }

  @Test func `Rules have names of their own, and a statement without a stop`() {
    let ids = VMEntryRule.all.map(\.id)
    #expect(Set(ids).count == ids.count)
    #expect(ids.count > 200)
    for rule in VMEntryRule.all {
      #expect(!rule.statement.hasSuffix(".") && rule.statement.first?.isLowercase == false, "\(rule.id)")
      #expect(!rule.fields.isEmpty, "\(rule.id)")
      for field in rule.fields { #expect(field.catalogueField != nil || rule.isa == .svm, "\(rule.id)") }
      #expect(Set(rule.fields).count == rule.fields.count, "\(rule.id)")
    }
    #expect(VMEntryRule.lookup(id: "guest-cs-type")?.section == .guestSegments)
  }

  @Test func `A rule reads no field that it does not name`() {
    var cases = Base.allCases.map(\.values)
    cases += changes.map { $0.base.values.merging($0.changes) { $1 } }
    // A canonical address is judged by CR4, a control by the word that activates its own.
    let shared: Set<UInt32> = [F.hostCR4, F.guestCR4, F.primary, F.exit]
    for values in cases {
      let state = VMEntryState(dump(values))
      for rule in VMEntryRule.all where rule.isa == .vmx && rule.section != .loadingMSRs {
        state.reads = []
        _ = rule.holds(state)
        let named = Set(rule.fields.map(\.rawValue)).union(shared)
        #expect(state.reads?.isSubset(of: named) == true, "\(rule.id)")
      }
    }
  }

  @Test func `What is not in the dump is not checked, and is named`() throws {
    var values = Base.long.values
    values[F.guestCR0] = nil
    let check = VMEntryCheck(dump(values))
    #expect(check.broken.isEmpty)
    #expect(check.unchecked.contains { $0.rule.id == "guest-cr0-pg-pe" && $0.missing == "GUEST_CR0" })
    let nothing = VMEntryCheck(VMCSDump(kind: .vmcs, line: 1))
    #expect(nothing.checked == 0)
    #expect(nothing.broken.isEmpty)
  }

  @Test func `A word that is not activated counts as 0`() {
    var values = Base.long.values
    values[F.primary, default: 0] &= ~bits(31, 17)
    values[F.vpid] = 0
    values[F.eptPointer] = 0
    values[F.secondary, default: 0] = bits(1, 5)
    values[F.tertiary] = .max
    let broken = VMEntryCheck(dump(values)).broken.map(\.id)
    // Posted interrupts need virtual-interrupt delivery, which is off with its word.
    #expect(broken == ["controls-process-posted-interrupts-needs-virtual-interrupt-delivery"])
  }

  @Test func `A control that is 0 needs no field`() throws {
    var values = Base.real.values
    values[F.entry, default: 0] &= ~bits(13, 14, 15, 16, 20)
    for field in [F.guestPAT, F.guestEFER, F.guestPerfGlobal, F.bndcfgs, F.guestSCET, F.guestSSP] {
      values[field] = nil
    }
    let unchecked = VMEntryCheck(dump(values)).unchecked.filter { $0.rule.section != .loadingMSRs }
    #expect(unchecked.map(\.rule.id) == [])
  }

  @Test(
    "An error code is a matter of IA32_VMX_BASIC only where the vector has none",
    arguments: [
      (0x8000_0b0d, true), (0x8000_0b06, false), (0x8000_030d, false), (0x8000_0306, true), (0x8000_0020, true),
    ])
  func errorCode(information: UInt64, isDecided: Bool) {
    var values = Base.long.values
    values[F.entryInfo] = information
    let check = VMEntryCheck(dump(values))
    #expect(check.broken.isEmpty)
    let lacks = check.unchecked.filter { $0.rule.id == "injection-error-code-vector" }.map(\.missing)
    #expect(lacks == (isDecided ? [] : ["IA32_VMX_BASIC"]))
  }

  @Test func `A 57-bit address is canonical where a CR4 has LA57`() {
    var values = Base.long.values
    values[F.rip] = 0x00ff_ffff_ffff_0000 >> 1
    #expect(VMEntryCheck(dump(values)).broken.map(\.id) == ["guest-rip-64"])
    values[F.hostCR4, default: 0] |= bits(12)
    #expect(VMEntryCheck(dump(values)).broken.map(\.id) == [])
  }

  @Test(
    "MSRs that VM entry does not load",
    arguments: [
      (0xc000_0100, "msr-load-bases"), (0xc000_0101, "msr-load-bases"), (0x808, "msr-load-x2apic"),
      (0x9b, "msr-load-smm"), (0x38f, nil), (0xc000_0102, nil),
    ] as [(UInt32, String?)])
  func msrs(msr: UInt32, rule: String?) {
    var state = dump(Base.long.values)
    state.msrLists = [
      VMCSDump.MSRList(
        name: "guest autoload", line: 1, entries: [.init(index: 0, msr: msr, value: 0, line: 2)])
    ]
    let check = VMEntryCheck(state)
    #expect(check.broken.map(\.id) == (rule.map { [$0] } ?? []))
    #expect(check.unchecked.isEmpty)
  }

  @Test func `The real dump, whose guest state was made invalid, breaks what was made so`() throws {
    let log = DumpLog(Array(try fixture("intel-6.1/dump_vmcs.txt").utf8))
    let check = VMEntryCheck(try #require(log.dumps.first))
    #expect(
      check.broken.map(\.id) == ["guest-cs-dpl-data", "guest-ss-dpl-zero", "guest-tr-present", "guest-tr-usable"])
    #expect(check.checked == 230)
    #expect(
      Set(check.unchecked.map(\.missing)) == [
        "CR3_TARGET_COUNT", "MSR_BITMAP", "VM_FUNCTION_CONTROL", "VM_EXIT_MSR_STORE_COUNT", "VM_EXIT_MSR_LOAD_COUNT",
        "VM_ENTRY_MSR_LOAD_COUNT", "VMCS_LINK_POINTER",
      ])
  }

  @Test func `The real dump, put right, breaks nothing`() throws {
    let text = try fixture("intel-6.1/dump_vmcs.txt")
      .replacingOccurrences(of: "attr=0x000f3", with: "attr=0x00093")
      .replacingOccurrences(of: "attr=0x000b3", with: "attr=0x00093")
      .replacingOccurrences(of: "attr=0x10003", with: "attr=0x00083")
    let check = VMEntryCheck(try #require(DumpLog(Array(text.utf8)).dumps.first))
    #expect(check.broken.map(\.id) == [])
  }
}

@Suite struct VMRUNRuleTests {
  private func broken(_ changes: [String: UInt64]) throws -> [String] {
    var dump = try #require(DumpLog(Array(vmcbDump(isNew: false).utf8)).dumps.first)
    for index in dump.fields.indices {
      if let value = changes[dump.fields[index].id.name] { dump.fields[index].value = value }
    }
    let check = VMEntryCheck(dump)
    #expect(check.unchecked.isEmpty)
    return check.broken.map(\.id)
  }

  @Test func `A VMCB that is well breaks nothing`() throws { #expect(try broken([:]) == []) }

  @Test(
    "One change breaks one rule",
    arguments: [
      ("vmrun-efer-svme", ["efer": 0xd01]), ("vmrun-cr0-cd-nw", ["cr0": 0xa005_0033]),
      ("vmrun-cr0-upper", ["cr0": 0x1_8005_0033]), ("vmrun-cr3-mbz", ["cr3": far]),
      ("vmrun-cr4-mbz", ["cr4": far | 0x6f0]),
      ("vmrun-dr6-upper", ["dr6": far]), ("vmrun-dr7-upper", ["dr7": far]), ("vmrun-efer-mbz", ["efer": 0x1d03]),
      ("vmrun-long-pae", ["cr4": 0x6d0]), ("vmrun-long-pe", ["cr0": 0x8005_0032]),
      ("vmrun-long-cs", ["cs.attrib": 0xe9b]),
      ("vmrun-intercept", ["intercepts_4": 0x207e]), ("vmrun-asid", ["asid": 0]), ("vmrun-iopm", ["iopm_base_pa": far]),
      ("vmrun-msrpm", ["msrpm_base_pa": far]), ("vmrun-event", ["event_inj": 0x8000_0302]),
    ] as [(String, [String: UInt64])])
  func change(rule: String, changes: [String: UInt64]) throws { #expect(try broken(changes) == [rule]) }
}
