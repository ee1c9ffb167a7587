import Aggregator
import Architecture
import Testing

@testable import Report

@Suite("the catalogue's words in a report") struct CatalogueTests {
  @Test("every control has a word and a name, and the unconditional one is none, UNCONDITIONAL") func controls() {
    for id in ControlID.all {
      let control = Vocabulary.catalogue.control(id)
      #expect(!control.word.isEmpty && !control.name.isEmpty && !control.title.isEmpty)
      #expect(!Vocabulary.catalogue.shortName(id).isEmpty)
    }
    let none = Vocabulary.catalogue.control(.unconditional)
    #expect(none.word == "none" && none.name == "UNCONDITIONAL" && none.bit == nil)
  }

  @Test("a control bit is named by its constant, cut to what says something") func shortNames() throws {
    let hlt = try #require(ControlID.lookup(name: "CPU_BASED_HLT_EXITING").first)
    #expect(Vocabulary.catalogue.control(hlt).word == "primary")
    #expect(Vocabulary.catalogue.control(hlt).bit == 7)
    #expect(Vocabulary.catalogue.shortName(hlt) == "HLT_EXITING")
    #expect(Vocabulary.catalogue.shortName(try #require(ControlID(exceptionVector: 14))) == "#PF exception")
  }

  @Test("values are called by name where they have one") func details() {
    let words = Vocabulary.catalogue
    #expect(words.text(.msr, 0x6e0) == "0x6e0 IA32_TSC_DEADLINE")
    #expect(words.text(.port, 0xed00) == "0xed00")
    #expect(words.text(.vector, 14) == "14 #PF")
    #expect(words.text(.vector, 0xec) == "0xec")
    #expect(words.text(.controlRegister, 0x103) == "MOV from CR3")
    #expect(words.text(.debugRegister, 0x007) == "MOV to DR7")
    #expect(words.text(.cpuidLeaf, 0x1_0000_000b).hasPrefix("0xb.0x1 "))
    for kind in DetailKind.allCases { #expect(!words.text(kind, .max).isEmpty) }
  }

  @Test(
    "the module parameters of the remedies are found",
    arguments: ["kvm_intel.ple_gap", "kvm_intel.enable_apicv", "kvm_intel.ept"])
  func parameters(name: String) throws {
    let knobs = Knobs([name: "1"])
    let all = ExitReason.vmxRows.flatMap { $0.remedies ?? [] }
    #expect(all.contains { knobs.mentions(in: $0).contains { $0.parameter == name && $0.current == "1" } })
  }
}
