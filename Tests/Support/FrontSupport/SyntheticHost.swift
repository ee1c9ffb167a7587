import Aggregator
import Architecture
import RandomSupport

/// A host that does not exist: makes snapshots that add up, for looking at the front and for its tests. What comes out
/// is made up, and nothing but tests and previews may show it.
public struct SyntheticHost {
  struct Kind {
    var code: UInt32
    var name: String
    var rate: Double
    var handling: UInt64
    var control: ControlID
    var details: [(DetailKind, [(UInt64, Double)])]
  }

  public var generator: Dice
  public private(set) var snapshot = Snapshot()
  let vmNames: [String]
  let vcpusPerVM: Int
  var history: [Double] = []
  /// What counts since the mark, where there is one, and what was shown then.
  private var sinceMark: [SyntheticHost] = []
  private var before: Snapshot?
  /// How many times as often exits of a reason come from now on, by code.
  public var factors: [UInt32: Double] = [:]

  static func control(_ name: String, _ word: String? = nil) -> ControlID {
    ControlID.lookup(name: name).first { word == nil || $0.word == word } ?? .unknown
  }

  static let vmx: [Kind] = [
    Kind(
      code: 49, name: "EPT_MISCONFIG", rate: 61_200, handling: 4_600, control: control("EPT_MISCONFIG"),
      details: [
        (.gpa, [(0xfe00_1000, 0.88), (0xfee0_0300, 0.09), (0xfed0_0000, 0.03)]),
        (.rip, [(0xffff_ffff_81a3_c2d4, 0.91)]),
      ]),
    Kind(
      code: 32, name: "MSR_WRITE", rate: 40_800, handling: 2_000, control: control("MSR_BITMAP", "msr_bitmap_write"),
      details: [(.msr, [(0x6e0, 0.8), (0x830, 0.2)]), (.rip, [(0xffff_ffff_8107_6a10, 0.8)])]),
    Kind(
      code: 12, name: "HLT", rate: 31_000, handling: 37_000, control: control("CPU_BASED_HLT_EXITING"),
      details: [(.rip, [(0xffff_ffff_81c0_0e4b, 1)])]),
    Kind(
      code: 30, name: "IO_INSTRUCTION", rate: 22_400, handling: 5_300, control: control("CPU_BASED_UNCOND_IO_EXITING"),
      details: [(.port, [(0x3f8, 0.7), (0x608, 0.2), (0xcf8, 0.1)]), (.rip, [(0xffff_ffff_8150_1234, 0.6)])]),
    Kind(
      code: 1, name: "EXTERNAL_INTERRUPT", rate: 9_100, handling: 1_900, control: control("PIN_BASED_EXT_INTR_MASK"),
      details: [(.vector, [(0xec, 0.9), (0xfd, 0.1)]), (.rip, [(0xffff_ffff_8100_0000, 0.1)])]),
    Kind(
      code: 52, name: "PREEMPTION_TIMER", rate: 6_000, handling: 1_500,
      control: control("PIN_BASED_VMX_PREEMPTION_TIMER"), details: []),
    Kind(
      code: 48, name: "EPT_VIOLATION", rate: 5_200, handling: 6_100, control: control("EPT_VIOLATION_NOT_PRESENT"),
      details: [(.gpa, [(0x1_2345_6000, 0.01)])]),
    Kind(
      code: 28, name: "CR_ACCESS", rate: 3_300, handling: 1_700, control: control("CR0_GUEST_HOST_MASK"),
      details: [(.controlRegister, [(0x0, 0.7), (0x104, 0.3)])]),
    Kind(
      code: 10, name: "CPUID", rate: 2_100, handling: 1_300, control: .unconditional,
      details: [(.cpuidLeaf, [(0x1, 0.4), (0x4000_0000, 0.3), (0xb, 0.3)])]),
    Kind(
      code: 31, name: "MSR_READ", rate: 1_800, handling: 1_400, control: control("MSR_BITMAP", "msr_bitmap_read"),
      details: [(.msr, [(0x10, 0.6), (0x1a0, 0.4)])]),
    Kind(
      code: 40, name: "PAUSE_INSTRUCTION", rate: 900, handling: 8_000,
      control: control("SECONDARY_EXEC_PAUSE_LOOP_EXITING"), details: []),
    Kind(
      code: 7, name: "INTERRUPT_WINDOW", rate: 350, handling: 900, control: control("CPU_BASED_INTR_WINDOW_EXITING"),
      details: []),
    Kind(
      code: 0, name: "EXCEPTION_NMI", rate: 40, handling: 2_600, control: control("EXCEPTION_BITMAP"),
      details: [(.vector, [(14, 0.6), (6, 0.4)])]),
    Kind(code: 54, name: "WBINVD", rate: 0.3, handling: 90_000, control: .unconditional, details: []),
  ]

  public init(seed: UInt64 = 1, vmNames: [String] = ["web01", "db-primary", "build"], vcpusPerVM: Int = 4) {
    generator = Dice(seed: seed)
    self.vmNames = vmNames
    self.vcpusPerVM = vcpusPerVM
    snapshot.source.kind = .tracefs
    snapshot.source.hostName = "skx01"
    snapshot.source.kernelRelease = "6.12.0"
    snapshot.source.backend = "kvm_intel"
    snapshot.source.isa = "vmx"
    snapshot.firstTimestamp = 1_000_000_000
    snapshot.lastTimestamp = 1_000_000_000
    var scopes = [ScopeStatistics()]
    for (index, name) in vmNames.enumerated() {
      var vm = VirtualMachineStatistics()
      vm.number = index + 1
      vm.pid = 4000 + Int32(index) * 100
      vm.name = name
      vm.vmm = "qemu"
      vm.scope = scopes.count
      scopes.append(ScopeStatistics())
      for id in 0..<vcpusPerVM {
        var vcpu = VCPUStatistics(tid: 4010 + Int32(index) * 100 + Int32(id))
        vcpu.id = UInt32(id)
        vcpu.threadName = "CPU \(id)/KVM"
        vcpu.scope = scopes.count
        vcpu.cpu = index * vcpusPerVM + id
        scopes.append(ScopeStatistics())
        vm.vcpus.append(vcpu)
      }
      snapshot.vms.append(vm)
    }
    snapshot.scopes = scopes
    snapshot.messages = [
      LogMessage(level: .info, seconds: 0.01, text: "tracing in instances/vmctop-4242-0, clock mono, 12 CPUs"),
      LogMessage(level: .info, seconds: 0.02, text: "\(vmNames.count) VMs, \(vmNames.count * vcpusPerVM) vCPUs"),
    ]
  }

  /// Counts what comes from now on by itself, too, as a session does that is told to.
  public mutating func mark(_ shown: Snapshot? = nil) {
    before = (shown ?? snapshot).countsAlone
    var part = self
    part.sinceMark = []
    part.before = nil
    part.snapshot.windowNanoseconds = 0
    part.snapshot.scopes = snapshot.scopes.map { _ in ScopeStatistics() }
    sinceMark = [part]
  }

  /// One interval later.
  public mutating func next(seconds: Double = 1) -> Snapshot {
    var after: Snapshot?
    if !sinceMark.isEmpty {
      sinceMark[0].factors = factors
      after = sinceMark[0].next(seconds: seconds)
    }
    let interval = UInt64(seconds * 1e9)
    snapshot.sequence += 1
    snapshot.intervalNanoseconds = interval
    snapshot.windowNanoseconds += interval
    snapshot.lastTimestamp += interval
    let previous = snapshot.scopes
    for index in snapshot.scopes.indices {
      let old = previous[index]
      var scope = ScopeStatistics()
      scope.exits = old.exits
      scope.time = old.time
      scope.history = old.history
      scope.reasons = old.reasons
      scope.controls = old.controls
      for row in scope.reasons.indices {
        scope.reasons[row].figures.interval = ExitCounts()
        for charge in scope.reasons[row].charges.indices {
          scope.reasons[row].charges[charge].figures.interval = ExitCounts()
        }
      }
      for row in scope.controls.indices {
        scope.controls[row].figures.interval = ExitCounts()
      }
      snapshot.scopes[index] = scope
    }
    let weight = 1.0 / Double(max(1, vmNames.count * vcpusPerVM))
    for vm in snapshot.vms.indices {
      for vcpu in snapshot.vms[vm].vcpus.indices {
        let share = weight * Double.random(in: 0.4...1.6, using: &generator)
        let scopes = [0, snapshot.vms[vm].scope, snapshot.vms[vm].vcpus[vcpu].scope]
        var spent: UInt64 = 0
        var halted: UInt64 = 0
        for kind in SyntheticHost.vmx {
          let count = UInt64(
            kind.rate * (factors[kind.code] ?? 1) * share * seconds * Double.random(in: 0.85...1.15, using: &generator)
              + 0.5)
          guard count > 0 else { continue }
          let handling = count * kind.handling
          if kind.name == "HLT" { halted += handling } else { spent += handling }
          for scope in scopes { add(kind, count, handling, to: scope) }
        }
        halted = min(halted, interval / 2)
        spent = min(spent, interval / 3)
        let user = spent / 12
        for scope in scopes {
          for path in [\ScopeStatistics.time, \ScopeStatistics.intervalTime] {
            snapshot.scopes[scope][keyPath: path].halted += halted
            snapshot.scopes[scope][keyPath: path].kernel += spent - user
            snapshot.scopes[scope][keyPath: path].user += user
            snapshot.scopes[scope][keyPath: path].guest += interval - halted - spent
          }
        }
        snapshot.vms[vm].vcpus[vcpu].lastExit = LastExit(
          KVMExit(isa: .vmx, reason: 30, rip: 0xffff_ffff_81a3_c2d4, info1: 0x03f8_0000),
          at: snapshot.lastTimestamp - 40_000_000)
      }
    }
    for index in snapshot.scopes.indices {
      let scope = snapshot.scopes[index]
      snapshot.scopes[index].history = Array((scope.history + [Double(scope.intervalExits) / seconds]).suffix(240))
      snapshot.scopes[index].reasons.sort { $0.count > $1.count }
      snapshot.scopes[index].controls.sort { $0.count > $1.count }
    }
    let exits = snapshot.total.intervalExits
    snapshot.events += exits * 2
    snapshot.intervalEvents = exits * 2
    snapshot.eventCounts = [
      EventCount(name: "kvm_entry", count: snapshot.total.exits, intervalCount: exits),
      EventCount(name: "kvm_exit", count: snapshot.total.exits, intervalCount: exits),
    ]
    snapshot.ownUse = OwnUse(cpu: 0.008, residentBytes: 14 << 20)
    snapshot.sinceMark = before.map { SinceMark(before: $0, after: after) }
    return snapshot
  }

  /// The same as a recording that is being played.
  public static func asRecording(_ snapshot: Snapshot, position: UInt64, duration: UInt64, isDemo: Bool = false)
    -> Snapshot
  {
    var snapshot = snapshot
    snapshot.source.kind = .traceDat
    snapshot.source.path = "/var/tmp/boot.trace.dat"
    snapshot.source.isDemo = isDemo
    snapshot.ownUse = nil
    if let mark = snapshot.sinceMark, var after = mark.after {
      after.source = snapshot.source
      snapshot.sinceMark = SinceMark(before: mark.before, after: after)
    }
    snapshot.playback = PlaybackState(
      position: min(position, duration), duration: duration, isPaused: false, isFinished: position >= duration, speed: 1
    )
    return snapshot
  }

  private mutating func add(_ kind: Kind, _ count: UInt64, _ handling: UInt64, to index: Int) {
    var scope = snapshot.scopes[index]
    scope.exits += count
    scope.intervalExits += count
    let row =
      scope.reasons.firstIndex { $0.code == kind.code }
      ?? {
        scope.reasons.append(ReasonStatistics(isa: 1, code: kind.code, name: kind.name))
        return scope.reasons.count - 1
      }()
    var reason = scope.reasons[row]
    // A HLT is all halt.
    let exits = ExitCounts(count: count, handling: handling, halted: kind.name == "HLT" ? handling : 0)
    let figures = ExitFigures(total: exits, interval: exits)
    reason.figures.add(figures)
    reason.handling.paired += count
    reason.handling.total += handling
    reason.handling.min = kind.handling / 3
    reason.handling.p50 = kind.handling * 9 / 10
    reason.handling.p90 = kind.handling * 2
    reason.handling.p99 = kind.handling * 5
    reason.handling.p999 = kind.handling * 12
    reason.handling.max = kind.handling * 40
    if reason.charges.isEmpty {
      reason.charges = [ChargeStatistics(control: kind.control)]
    }
    reason.charges[0].figures.add(figures)
    reason.details = kind.details.map { kind, entries in
      DetailStatistics(
        kind: kind, total: reason.count, isApproximate: false,
        entries: entries.map { DetailCount(value: $0.0, count: UInt64(Double(reason.count) * $0.1), error: 0) })
    }
    scope.reasons[row] = reason
    if let row = scope.controls.firstIndex(where: { $0.control == kind.control }) {
      scope.controls[row].figures.add(figures)
    } else {
      scope.controls.append(ChargeStatistics(control: kind.control, figures: figures))
    }
    snapshot.scopes[index] = scope
  }
}
