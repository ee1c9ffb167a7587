import Aggregator
import Architecture
import Report
import Testing
import Wording

@Suite("figures for people") struct FigureTests {
  @Test(
    arguments: [
      (0, "0"), (0.04, "0.0"), (7.5, "7.5"), (99.94, "99.9"), (99.96, "100"), (999.4, "999"), (999.6, "1.0k"),
      (41_600, "41.6k"), (184_200, "184k"), (1_200_000, "1.2M"), (1e15, "1.0P"), (.infinity, "-"), (.nan, "-"),
      (-1, "-"),
      (1e300, "-"),
    ] as [(Double, String)])
  func rates(value: Double, text: String) { #expect(Figures.short(value) == text) }

  @Test(
    arguments: [
      (0, "0ns"), (999, "999ns"), (1000, "1.0us"), (4600, "4.6us"), (99_949, "99.9us"), (99_951, "100us"),
      (412_000, "412us"), (999_600, "1.0ms"), (1_200_000, "1.2ms"), (3_400_000_000, "3.4s"), (120_000_000_000, "120s"),
    ] as [(UInt64, String)])
  func durations(value: UInt64, text: String) { #expect(Figures.duration(value) == text) }

  @Test(arguments: [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] as [(UInt64, String)])
  func counts(value: UInt64, text: String) { #expect(Figures.count(value) == text) }

  @Test("a share that is there is never shown as nothing") func smallShare() {
    #expect(Figures.share(1, of: 1_000_000) == "<0.1")
    #expect(Figures.share(0, of: 1_000_000) == "0.0")
    #expect(Figures.share(5, of: 5) == "100")
    #expect(Figures.share(0, of: 0) == "-")
  }

  @Test("what is printable stays as it is, whatever the script") func printableText() {
    for text in ["web01", "máquina", "虚拟机", "🖥"] { #expect(printable(text) == text) }
    #expect(printable("\u{1b}[31m\u{0}\t") == "?[31m??")
  }
}

@Suite("module parameters of a remedy") struct KnobTests {
  private let knobs = Knobs(["kvm_intel.ple_gap": "128", "kvm_intel.ept": "Y", "kvm.halt_poll_ns": "200000"])

  @Test("are found with what is wanted and what they are") func named() throws {
    let mention = try #require(knobs.mentions(in: Remedy("keep EPT on", .kvmIntel("ept", wanted: "1"))).first)
    #expect(mention.parameter == "kvm_intel.ept")
    #expect(mention.wanted == "1" && mention.current == "Y")
    #expect(mention.isSatisfied == true, "Y and 1 are the same to a bool parameter")
    #expect(Knobs().mentions(in: Remedy("", .kvmIntel("ept", wanted: "1"))).first?.isSatisfied == nil)
  }

  @Test("are what the remedy says, and nothing is read out of its text") func prose() {
    #expect(knobs.mentions(in: Remedy("kvm_intel.ept=1, ple_gap=0")).isEmpty)
  }

  @Test("are not judged where no value is wished for") func unjudged() {
    let mentions = knobs.mentions(in: Remedy("changes the wake-up cost", .kvm("halt_poll_ns")))
    #expect(mentions.first?.wanted == nil && mentions.first?.current == "200000")
    #expect(mentions.first?.isSatisfied == nil)
  }
}

@Suite("batch output") struct BatchTests {
  @Test("prints totals and the main table: golden") func golden() throws {
    let text = try BatchTable(vocabulary: vocabulary).text(sampleSnapshot())
    #expect(
      text == """
        vmctop +10.00 s  skx01  6.1.0  kvm_intel  interval 1.00 s  lost 0 (0 in all)
        1 VM  1 vCPU  100 exits/s  100 exits  guest 90.0%  kernel 6.0%  user 4.0%  halted 0.0%
        REASON         COUNT EXITS/S    % TIME%   MEAN    P99    MAX  CHARGED TO
        IO_INSTRUCTION    60    60.0 60.0     - 20.0us 30.0us 30.0us  UNCOND_IO_EXITING
        HLT               30    30.0 30.0     -  1.5us  2.0us  2.0us  HLT_EXITING
        CPUID             10    10.0 10.0     -      -      -      -  unconditional


        """)
  }

  @Test("sorts by any column of the registry and shows it", arguments: ReasonFigures.columns.map(\.id))
  func sorting(id: String) throws {
    let table = try BatchTable(sort: id, vocabulary: vocabulary)
    let lines = table.text(sampleSnapshot()).split(separator: "\n")
    #expect(lines.count == 6)
    #expect(lines[2].contains(try #require(ReasonFigures.column(id)).title))
  }

  @Test("sorted by reason, the names are in order") func order() throws {
    let lines = try BatchTable(sort: "reason", vocabulary: vocabulary).text(sampleSnapshot()).split(separator: "\n")
    #expect(lines.dropFirst(3).map { $0.prefix(3) } == ["CPU", "HLT", "IO_"])
  }

  @Test("filters by a regular expression in either case; the totals stay") func filter() throws {
    let table = try BatchTable(filter: ReasonFilter("^(io_|hl)"), vocabulary: vocabulary)
    let lines = table.text(sampleSnapshot()).split(separator: "\n")
    #expect(lines.count == 5)
    #expect(lines[1].contains("100 exits"))
  }

  @Test("an unknown column and a broken expression are usage errors") func mistakes() {
    #expect { try BatchTable(sort: "speed", vocabulary: vocabulary) } throws: { ($0 as? Failure)?.status == .usage }
    #expect { try ReasonFilter("(") } throws: { ($0 as? Failure)?.status == .usage }
  }
}
