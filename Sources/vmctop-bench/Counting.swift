import Aggregator
import ArgumentParser
import TraceFormat

/// What it costs to cut, to add up and to show the counts of a large host.
struct Counting: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "counting",
    abstract: "Times cuts and snapshots of the counts of many vCPUs.",
    discussion: """
      Each round counts some exits of each vCPU and reason, or of every hundredth, and then takes the counts out, adds them up, or \
      makes a snapshot. Instructions are printed where the processor's counters are there; callgrind's difference between two \
      runs with other --rounds tells them anywhere.
      """)

  enum Work: String, ExpressibleByArgument, CaseIterable {
    case count, cut, add, snapshot
  }

  @Option(help: "How many vCPUs.") var vcpus = 1000
  @Option(help: "How many exit reasons each has.") var reasons = 20
  @Option(help: "Of how many in a hundred something is counted in a round.") var percent = 100
  @Option(help: "How many rounds are measured.") var rounds = 5
  @Option(help: "What a round does: count only; cut what was counted; add it up as well; make a snapshot as well.")
  var work = Work.snapshot

  func validate() throws {
    guard (1...4000).contains(vcpus) else { throw ValidationError("--vcpus must be from 1 to 4000") }
    guard (1...60).contains(reasons) else { throw ValidationError("--reasons must be from 1 to 60") }
    guard (1...100).contains(percent) else { throw ValidationError("--percent must be from 1 to 100") }
    guard rounds >= 1 else { throw ValidationError("--rounds must be at least 1") }
  }

  func run() throws {
    var host = LargeHost(formats: try demoRecording().metadata.formats, vcpus: vcpus, reasons: reasons)
    var counter = Counter(try Aggregator(metadata: host.metadata, options: AggregatorOptions(countsOpenTime: true)))
    // Everything exists before anything is measured.
    counter.run(host.round(percent: 100))
    _ = counter.snapshot(now: host.time)
    var figures: [(milliseconds: Double, instructions: UInt64?)] = []
    for _ in 0..<rounds {
      counter.run(host.round(percent: percent))
      let before = Instant.now()
      switch work {
      case .count: break
      case .cut: _ = counter.engine.cut(at: host.time, resumable: false)
      case .add: counter.bringIn(at: host.time)
      case .snapshot: _ = counter.snapshot(now: host.time)
      }
      let after = Instant.now()
      figures.append(
        (
          Double(after.cpu - before.cpu) / 1e6,
          after.instructions.flatMap { last in before.instructions.map { last - $0 } }
        ))
    }
    figures.sort { $0.milliseconds < $1.milliseconds }
    let middle = figures[figures.count / 2]
    print(
      "\(work.rawValue), \(vcpus) vCPUs x \(reasons) reasons, \(percent) % counted in: \(fixed(middle.milliseconds)) ms of CPU time"
        + (middle.instructions.map { ", \($0) instructions" } ?? ", no counters"))
  }
}

/// Exits of many vCPUs, each thread on a CPU of its own half of the time.
private struct LargeHost {
  let metadata: TraceMetadata
  private let exit: EventFormat
  private let entry: EventFormat
  private let vcpus: Int
  private let reasons: [UInt64]
  private(set) var time: UInt64 = 1_000_000
  private var dice: UInt64 = 1

  init(formats: [EventFormat], vcpus: Int, reasons: Int) {
    metadata = TraceMetadata(formats: formats, page: PageLayout(), timeScale: .nanoseconds)
    exit = formats.first { $0.name == "kvm_exit" }!
    entry = formats.first { $0.name == "kvm_entry" }!
    self.vcpus = vcpus
    // VMX's, those first that guests have: interrupts, HLT, ports, MSRs, EPT.
    let frequent: [UInt64] = [12, 30, 32, 48, 49, 1, 7, 10, 31, 28]
    self.reasons = Array((frequent + (0..<70).filter { !frequent.contains($0) }).prefix(reasons))
  }

  private mutating func random(_ limit: UInt64) -> UInt64 {
    dice = dice &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return (dice >> 33) % limit
  }

  /// Three exits of each vCPU and reason, or of some.
  mutating func round(percent: Int) -> PagesInMemory {
    var writer = SubBufferWriter(layout: PageLayout())
    var pages: [[UInt8]] = []
    func record(_ format: EventFormat, _ thread: Int, _ fields: [(String, UInt64)]) -> [UInt8] {
      var bytes = [UInt8](repeating: 0, count: format.fields.map { $0.offset + $0.size }.max() ?? 8)
      func put(_ value: UInt64, _ offset: Int, _ size: Int) {
        for byte in 0..<size { bytes[offset + byte] = UInt8(truncatingIfNeeded: value >> UInt64(8 * byte)) }
      }
      put(UInt64(format.id), 0, 2)
      put(UInt64(thread), 4, 4)
      for (name, value) in fields {
        if let field = format.field(name) { put(value, field.offset, field.size) }
      }
      return bytes
    }
    func add(_ bytes: [UInt8]) {
      if !writer.append(timestamp: time, payload: bytes) {
        pages.append(writer.finish(lost: .none))
        _ = writer.append(timestamp: time, payload: bytes)
      }
    }
    var cell = 0
    for vcpu in 0..<vcpus {
      for reason in reasons {
        defer { cell += 1 }
        guard percent == 100 || cell % (100 / percent) == 0 else { continue }
        for _ in 0..<3 {
          time += 100 + random(400)
          add(
            record(
              exit, 1000 + vcpu,
              [
                ("exit_reason", reason), ("isa", 1), ("vcpu_id", UInt64(vcpu % 8)), ("info1", random(4) << 16),
                ("guest_rip", 0xffff_ffff_8100_0000 + random(24) * 64),
              ]))
          time += 500 + random(8000)
          add(record(entry, 1000 + vcpu, [("vcpu_id", UInt64(vcpu % 8))]))
        }
      }
    }
    if !writer.isEmpty { pages.append(writer.finish(lost: .none)) }
    return PagesInMemory(pages, pageSize: metadata.page.subBufferSize)
  }
}
