import Aggregator
import Architecture
import Report

/// Controls of the tests' own making: what is tested is that the report prints what its vocabulary says.
let hltExiting = ControlID(rawValue: 7)
let unconditionalIO = ControlID(rawValue: 24)
let noControl = ControlID(rawValue: 0)

let vocabulary = Vocabulary(
  control: { id in
    switch id {
    case hltExiting: .init(word: "primary", bit: 7, name: "CPU_BASED_HLT_EXITING", title: "HLT exiting")
    case unconditionalIO: .init(word: "primary", bit: 24, name: "CPU_BASED_UNCOND_IO_EXITING")
    default: .init(word: "none", bit: nil, name: "UNCONDITIONAL", title: "unconditional")
    }
  },
  reason: { isa, code in
    switch (isa, code) {
    case (1, 30):
      .init(
        cause: "legacy device ports", remedies: [Remedy("virtio-1.0 with ioeventfd=on"), Remedy("guest console=hvc0")])
    case (1, 12):
      .init(
        cause: "guest idle",
        remedies: [Remedy("kvm.halt_poll_ns changes the wake-up cost, not the count", .kvm("halt_poll_ns"))])
    case (1, 40):
      .init(
        cause: "spinning",
        remedies: [
          Remedy("kvm_intel.ple_gap=0 turns PLE off", .kvmIntel("ple_gap", wanted: "0")),
          Remedy("kvm_intel.ept=1", .kvmIntel("ept", wanted: "1")),
        ])
    default: nil
    }
  },
  detailName: { kind, value in kind == .port && value == 0x3f8 ? "COM1" : nil })

func latency(_ values: [UInt64]) -> LatencySummary {
  var summary = LatencySummary()
  let sorted = values.sorted()
  guard let first = sorted.first, let last = sorted.last else { return summary }
  summary.paired = UInt64(sorted.count)
  summary.total = sorted.reduce(0, +)
  summary.min = first
  summary.max = last
  summary.p50 = sorted[sorted.count / 2]
  summary.p90 = sorted[sorted.count * 9 / 10]
  summary.p99 = last
  summary.p999 = last
  return summary
}

func charge(_ control: ControlID, _ count: UInt64) -> ChargeStatistics {
  ChargeStatistics(
    control: control, figures: ExitFigures(total: ExitCounts(count: count), interval: ExitCounts(count: count)))
}

/// One guest on a kvm_intel host, ten seconds, 100 exits: 60 port writes, 30 HLT, 10 CPUID of which none was paired.
func sampleSnapshot() -> Snapshot {
  var snapshot = Snapshot()
  snapshot.source.kind = .tracefs
  snapshot.source.hostName = "skx01"
  snapshot.source.kernelRelease = "6.1.0"
  snapshot.source.backend = "kvm_intel"
  snapshot.source.isa = "vmx"
  snapshot.windowNanoseconds = 10_000_000_000
  snapshot.intervalNanoseconds = 1_000_000_000
  snapshot.events = 250
  snapshot.eventCounts = [
    EventCount(name: "kvm_exit", count: 100, intervalCount: 10),
    EventCount(name: "kvm_entry", count: 100, intervalCount: 10),
  ]
  var total = ScopeStatistics()
  total.exits = 100
  total.intervalExits = 100
  total.time.guest = 900
  total.time.kernel = 60
  total.time.user = 40
  total.reasons = [
    ReasonStatistics(
      isa: 1, code: 30, name: "IO_INSTRUCTION",
      figures: ExitFigures(total: ExitCounts(count: 60), interval: ExitCounts(count: 60)),
      handling: latency([10_000, 20_000, 30_000]), charges: [charge(unconditionalIO, 60)],
      details: [
        DetailStatistics(
          kind: .port, total: 60, isApproximate: false,
          entries: [DetailCount(value: 0x3f8, count: 54, error: 0), DetailCount(value: 0x70, count: 6, error: 0)])
      ]),
    ReasonStatistics(
      isa: 1, code: 12, name: "HLT",
      figures: ExitFigures(total: ExitCounts(count: 30), interval: ExitCounts(count: 30)),
      handling: latency([1000, 2000]), charges: [charge(hltExiting, 30)]),
    ReasonStatistics(
      isa: 1, code: 10, name: "CPUID",
      figures: ExitFigures(total: ExitCounts(count: 10), interval: ExitCounts(count: 10)),
      charges: [charge(noControl, 10)]),
  ]
  total.controls = [
    ChargeStatistics(
      control: unconditionalIO, figures: ExitFigures(total: ExitCounts(count: 60), interval: ExitCounts(count: 60))),
    ChargeStatistics(
      control: hltExiting, figures: ExitFigures(total: ExitCounts(count: 30), interval: ExitCounts(count: 30))),
    ChargeStatistics(
      control: noControl, figures: ExitFigures(total: ExitCounts(count: 10), interval: ExitCounts(count: 10))),
  ]
  var second = ScopeStatistics()
  second.exits = 100
  second.time = total.time
  snapshot.scopes = [total, second, second]
  var vm = VirtualMachineStatistics()
  vm.pid = 1234
  vm.name = "web01"
  vm.vmm = "qemu"
  vm.scope = 1
  var vcpu = VCPUStatistics(tid: 1236)
  vcpu.id = 0
  vcpu.scope = 2
  vm.vcpus = [vcpu]
  snapshot.vms = [vm]
  return snapshot
}

func report(_ snapshot: Snapshot, knobs: [String: String] = [:]) -> TriageReport {
  TriageReport(snapshot: snapshot, knobs: Knobs(knobs), vocabulary: vocabulary)
}
