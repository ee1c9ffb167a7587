/// A register as the VMM told it, beside the same register as it was read from the kernel's memory.
public struct VMMComparison: Sendable, Hashable {
  public enum Outcome: String, Sendable {
    case equal
    case differs
    /// The kernel's memory has no value of it.
    case unknown
  }

  /// What the VMM told.
  public var told: FieldReading
  /// The field that it is compared with, as it was read; nil where there is none.
  public var own: FieldReading?
  public var outcome: Outcome
  /// What has to be known of the comparison: another field's name, bits left out.
  public var note: String?

  /// Where a register is that the VMM tells from the guest's view, if not under its own name: the field, the bits of it that are
  /// the guest's, and what the VMM's value is made of it.
  private struct Counterpart {
    var name: String
    var mask: UInt64 = .max
    var note: String
    var value: @Sendable (UInt64) -> UInt64 = { $0 }
  }

  /// KVM_MP_STATE_HALTED.
  private static let halted: UInt64 = 3
  private static let vmx: [String: Counterpart] = [
    // KVM puts its own CR0 and CR4 of the guest into the read shadows.
    "CR0": Counterpart(name: "CR0_READ_SHADOW", note: "CR0_READ_SHADOW"),
    "CR4": Counterpart(name: "CR4_READ_SHADOW", note: "CR4_READ_SHADOW"),
    "HLT": Counterpart(name: "MP_STATE", note: "MP_STATE", value: { $0 == halted ? 1 : 0 }),
    "II": Counterpart(
      name: "GUEST_INTERRUPTIBILITY_INFO", note: "GUEST_INTERRUPTIBILITY_INFO", value: { $0 & 3 == 0 ? 0 : 1 }),
  ]
  private static let svm: [String: Counterpart] = [
    // svm_set_cr0(), svm_set_cr4() with nested paging, svm_set_efer().
    "CR0": Counterpart(name: "save.cr0", mask: ~0x6000_0000, note: "save.cr0 but NW and CD, which KVM clears"),
    "CR4": Counterpart(name: "save.cr4", mask: ~0x40, note: "save.cr4 but MCE, which is the host's"),
    "EFER": Counterpart(name: "save.efer", mask: ~0x1000, note: "save.efer but SVME, which KVM sets"),
    "RIP": Counterpart(name: "save.rip", note: "save.rip"), "RSP": Counterpart(name: "save.rsp", note: "save.rsp"),
    "CR3": Counterpart(name: "save.cr3", note: "save.cr3"), "DR7": Counterpart(name: "save.dr7", note: "save.dr7"),
    "HLT": Counterpart(name: "MP_STATE", note: "MP_STATE", value: { $0 == halted ? 1 : 0 }),
    "II": Counterpart(name: "control.int_state", note: "control.int_state", value: { $0 & 1 }),
  ]

  init(_ told: FieldReading, in reading: VCPUReading) {
    self.told = told
    let name = told.field.name
    var counterpart: Counterpart?
    own = reading.reading(name)
    if own?.value == nil, let other = (reading.isa == .vmx ? Self.vmx : Self.svm)[name],
      let found = reading.reading(other.name)
    {
      own = found
      counterpart = other
    }
    note = counterpart?.note
    guard let mine = own?.value, let theirs = told.value else {
      outcome = .unknown
      return
    }
    var mask = told.field.mask & (counterpart?.mask ?? .max)
    // The present bit of an unusable segment means nothing, and KVM does not hand it on (`vmx_get_segment`).
    if name.hasSuffix("_AR_BYTES"), mine & theirs & 1 << 16 != 0 {
      mask &= ~0x80
      note = "an unusable segment: without its present bit"
    }
    outcome = ((counterpart?.value(mine) ?? mine) ^ theirs) & mask == 0 ? .equal : .differs
  }
}

extension VCPUReading {
  /// Every register that the VMM told, beside what was read, in the VMM's order.
  public func compared(with vmm: VMMReading) -> [VMMComparison] { vmm.fields.map { VMMComparison($0, in: self) } }

  /// The register of that name alone, which costs a screen with a row for each less than all of them each time; nil where the
  /// VMM did not tell it.
  public func compared(_ name: String, with vmm: VMMReading) -> VMMComparison? {
    vmm.fields.first { $0.field.name == name }.map { VMMComparison($0, in: self) }
  }
}
