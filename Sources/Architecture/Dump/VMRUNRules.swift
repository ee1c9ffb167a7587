/// AMD APM volume 2, chapter "Secure Virtual Machine", section "VMRUN Instruction", "Canonicalization and Consistency
/// Checks": what ends VMRUN with exit code VMEXIT_INVALID (-1).
extension VMEntryRule {
  private static func rule(
    _ id: String, _ statement: String, _ fields: [String], _ holds: @escaping @Sendable (VMEntryState) -> Bool
  ) -> VMEntryRule { VMEntryRule(id, .vmrun, statement, fields.map(number), holds) }

  private static func number(_ name: String) -> UInt32 { DumpFieldID(other: name)?.rawValue ?? .max }

  static let vmrunRules: [VMEntryRule] = {
    let efer = number("efer")
    let cr0 = number("cr0")
    let cr3 = number("cr3")
    let cr4 = number("cr4")
    let dr6 = number("dr6")
    let dr7 = number("dr7")
    let cs = number("cs.attrib")
    let asid = number("asid")
    let word4 = number("intercepts_4")
    let iopm = number("iopm_base_pa")
    let msrpm = number("msrpm_base_pa")
    let eventInj = number("event_inj")
    let isLong: @Sendable (VMEntryState) -> Bool = { $0.bit(efer, 8) && $0.bit(cr0, 31) }
    return [
      rule("vmrun-efer-svme", "EFER.SVME is 1", ["efer"]) { $0.bit(efer, 12) },
      rule("vmrun-cr0-cd-nw", "CR0.NW is 1 only where CR0.CD is 1", ["cr0"]) { !$0.bit(cr0, 29) || $0.bit(cr0, 30) },
      rule("vmrun-cr0-upper", "CR0 bits 63:32 are 0", ["cr0"]) { $0[cr0] >> 32 == 0 },
      rule("vmrun-cr3-mbz", "CR3 bits 63:52 are 0", ["cr3"]) { $0[cr3] >> 52 == 0 },
      rule("vmrun-cr4-mbz", "CR4 bits 63:32 are 0", ["cr4"]) { $0[cr4] >> 32 == 0 },
      rule("vmrun-dr6-upper", "DR6 bits 63:32 are 0", ["dr6"]) { $0[dr6] >> 32 == 0 },
      rule("vmrun-dr7-upper", "DR7 bits 63:32 are 0", ["dr7"]) { $0[dr7] >> 32 == 0 },
      rule("vmrun-efer-mbz", "EFER bits 63:22, 19, 16, 9 and 7:1 are 0", ["efer"]) {
        $0[efer] & 0xffff_ffff_ffc9_02fe == 0
      },
      rule("vmrun-long-pae", "With EFER.LME and CR0.PG, CR4.PAE is 1", ["efer", "cr0", "cr4"]) {
        !isLong($0) || $0.bit(cr4, 5)
      },
      rule("vmrun-long-pe", "With EFER.LME and CR0.PG, CR0.PE is 1", ["efer", "cr0"]) { !isLong($0) || $0.bit(cr0, 0) },
      rule(
        "vmrun-long-cs", "With EFER.LME, CR0.PG and CR4.PAE, CS.L and CS.D are not both 1",
        ["efer", "cr0", "cr4", "cs.attrib"]
      ) {
        // Bits 9 and 10 of a VMCB's attributes are L and D/B.
        !isLong($0) || !$0.bit(cr4, 5) || $0[cs] & 0x600 != 0x600
      },
      rule("vmrun-intercept", "VMRUN is intercepted", ["intercepts_4"]) { $0.bit(word4, 0) },
      rule("vmrun-asid", "The ASID is not 0", ["asid"]) { $0[asid] != 0 },
      rule("vmrun-iopm", "The I/O permission map is inside the physical-address width", ["iopm_base_pa"]) {
        $0[iopm] >> 52 == 0
      },
      rule("vmrun-msrpm", "The MSR permission map is inside the physical-address width", ["msrpm_base_pa"]) {
        $0[msrpm] >> 52 == 0
      },
      rule(
        "vmrun-event",
        "An event to inject is an interrupt, an NMI, an exception (vector 0 to 31, not 2) or a software interrupt",
        ["event_inj"]
      ) { state in
        guard state.bit(eventInj, 31) else { return true }
        let vector = state[eventInj] & 0xff
        switch state[eventInj] >> 8 & 7 {
        case 0, 2, 4: return true
        case 3: return vector < 32 && vector != 2
        default: return false
        }
      },
    ]
  }()
}
