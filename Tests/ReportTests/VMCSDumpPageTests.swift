import Architecture
import Testing

@testable import Report

@Suite("the page of a VMCS dump") struct VMCSDumpPageTests {
  private func page(_ text: String, listsUnchecked: Bool = false) throws -> String {
    let dump = try #require(DumpLog(Array(text.utf8)).dumps.first)
    return VMCSDumpPage.text(dump, check: VMEntryCheck(dump), listsUnchecked: listsUnchecked)
  }

  @Test("says that no rule is broken, and how many could not be checked") func unbroken() throws {
    let text = try page("*** Guest State ***\nCR3 = 0x0000000000001000\n")
    #expect(text.hasPrefix("VMCS, lines 1-2\n\nNO RULE IS BROKEN\n  1 rule of VM entry checked, 237 not"))
    #expect(text.hasSuffix("\nCONTROL REGISTERS\n  GUEST_CR3  0x0000000000001000  root 0x1000, PCID 0x0\n"))
  }

  @Test(
    "decodes why the kernel dumped it", arguments: [(2, "ENTRY_FAIL_PDPTE"), (3, "ENTRY_FAIL_NMI"), (4, "LINK_PTR")])
  func qualification(value: Int, name: String) throws {
    let text = try page(
      """
      *** Control State ***
              reason=80000021 qualification=000000000000000\(value)
      KVM: entry failed, hardware error 0x80000021
      """)
    #expect(text.contains("  exit reason    0x80000021  INVALID_STATE, FAILED_VMENTRY\n"))
    #expect(text.contains(name))
    #expect(text.contains("KVM: entry failed, hardware error 0x80000021: INVALID_STATE"))
  }

  @Test("names the MSR that could not be loaded") func failedMSR() throws {
    let text = try page(
      """
      *** Guest State ***
      Interruptibility = 00000000  ActivityState = 00000000
      MSR guest autoload:
         0: msr=0xc0000080 value=0x0000000000000d01
         1: msr=0x0000038f value=0x00000000000000ff
      *** Control State ***
              reason=80000022 qualification=0000000000000002
      """)
    #expect(text.contains("  failed MSR     0x38f IA32_PERF_GLOBAL_CTRL = 0xff, line 5\n"))
  }

  @Test("shows what the guest reads, a word that is not activated, and damage") func details() throws {
    let text = try page(
      """
      *** Guest State ***
      CR0: actual=0x0000000080050033, shadow=0x0000000080050031, gh_mask=0000000000000002
      CR4: actual=0x00000000000026f0, shadow=0x0000000000
      *** Control State ***
      CPUBased=0x0401e172 SecondaryExec=0x00000002
      """)
    #expect(text.contains("  guest reads          0x0000000080050031  PE, ET, NE, WP, AM, PG\n"))
    #expect(text.contains("SECONDARY_EXEC_ENABLE_EPT (not activated: counts as 0)\n"))
    #expect(text.contains("  damaged line 3: read up to the damage\n"))
  }

  @Test("shows a VMCB with its intercepts by name") func vmcb() throws {
    let text = try page(
      """
      SVM VMCB 00000000a0f94182, last attempted VMRUN on CPU 5
      VMCB Control Area:
      intercepts:         bc4c8027 00002078
      asid:               0
      exit_code:          ffffffff
      VMCB State Save Area:
      cs:   s: f000 a: 009b l: 0000ffff b: 00000000ffff0000
      cpl:            0                efer:         0000000000001000
      """)
    #expect(text.hasPrefix("SVM VMCB, last attempted VMRUN on CPU 5, lines 1-8\n"))
    #expect(text.contains("2 BROKEN RULES\n  VMRUN is intercepted.\n"))
    #expect(text.contains("  The ASID is not 0.\n"))
    #expect(
      text.contains(
        "  CS    0xf000  0x00000000ffff0000  0x0000ffff  0x0009b\n        code RX, accessed, DPL 0, 16-bit\n"))
    for line in text.split(separator: "\n") { #expect(line.count <= 80, "\(line)") }
  }
}
