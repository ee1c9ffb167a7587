import Aggregator
import Architecture
import FrontSupport
import RandomSupport
import Screen
import Testing

@testable import Front

/// Whatever comes, in whatever size: nothing traps, and no control character reaches the terminal.
@Suite struct FuzzTests {
  static let hostileNames = [
    "", "\u{1b}[31mred\u{1b}]0;title\u{7}", "日本語のとても長い名前の仮想マシン", "a\nb\tc\r", "e\u{301}\u{302}\u{303}\u{304}",
    "\u{202e}drawkcab", "\u{0}\u{7f}\u{9b}", String(repeating: "x", count: 5000), "👩‍👩‍👧‍👦 family", "\u{fffe}\u{10ffff}",
  ]

  /// A snapshot that keeps to the types and to nothing else.
  static func hostileSnapshot(_ generator: inout Dice, _ sequence: UInt64) -> Snapshot {
    func number() -> UInt64 {
      switch UInt8.random(in: 0...5, using: &generator) {
      case 0: 0
      case 1: UInt64.max
      case 2: UInt64.random(in: 0...UInt64.max, using: &generator)
      case 3: 1
      default: UInt64.random(in: 0...1_000_000, using: &generator)
      }
    }
    func name() -> String { hostileNames.randomElement(using: &generator) ?? "" }
    func double() -> Double {
      [0, -1, .nan, .infinity, -.infinity, 1e308, 0.5, 123_456].randomElement(using: &generator) ?? 0
    }
    func maybe() -> Bool { Bool.random(using: &generator) }
    func control() -> ControlID { ControlID(rawValue: UInt16.random(in: 0...600, using: &generator)) }
    func split() -> TimeSplit {
      var split = TimeSplit()
      split.guest = number()
      split.kernel = number()
      split.user = number()
      split.halted = number()
      return split
    }
    var snapshot = Snapshot()
    snapshot.sequence = sequence
    snapshot.source.kind = [.tracefs, .traceDat, .vmctop].randomElement(using: &generator) ?? .tracefs
    snapshot.source.path = maybe() ? name() : nil
    snapshot.source.isDemo = maybe()
    snapshot.source.hostName = maybe() ? name() : nil
    snapshot.source.kernelRelease = maybe() ? name() : nil
    snapshot.source.backend = maybe() ? name() : nil
    snapshot.source.isa = ["vmx", "svm", "isa-3", nil].randomElement(using: &generator) ?? nil
    snapshot.firstTimestamp = number()
    snapshot.lastTimestamp = number()
    snapshot.windowNanoseconds = number()
    snapshot.intervalNanoseconds = number()
    snapshot.events = number()
    snapshot.losses.lost = number()
    snapshot.losses.uncounted = number()
    snapshot.losses.intervalLost = number()
    snapshot.losses.perCPU = [
      .init(cpu: Int.random(in: Int.min...Int.max, using: &generator), lost: number(), intervalLost: 0)
    ]
    snapshot.malformedRecords = number()
    snapshot.eventCounts = (0..<3).map { _ in EventCount(name: name(), count: number(), intervalCount: number()) }
    snapshot.messages = (0..<5).map { _ in LogMessage(level: .warning, seconds: double(), text: name()) }
    if maybe() { snapshot.ownUse = OwnUse(cpu: double(), residentBytes: number()) }
    if maybe() {
      snapshot.playback = PlaybackState(
        position: number(), duration: number(), isPaused: maybe(), isFinished: maybe(), speed: double())
      if maybe() { snapshot.playback?.wallClock = number() }
      if maybe() {
        let ends = [number(), number()].sorted()
        snapshot.playback?.range = ends[0]..<ends[1]
      }
      if maybe() {
        let marks: [RateTimeline.Mark] = [
          .lost, .settingChanged(thread: 3), .vmStarted(pid: -1, name: name()), .vmEnded(pid: 1, name: nil),
        ]
        snapshot.playback?.rateTimeline = RateTimeline(
          rates: (0..<Int.random(in: 0...600, using: &generator)).map { _ in maybe() ? double() : nil },
          marks: marks.map { .init(position: number(), mark: $0) }, known: number())
      }
    }
    let scopeCount = Int.random(in: 0...6, using: &generator)
    snapshot.scopes = (0..<scopeCount).map { _ in
      var scope = ScopeStatistics()
      scope.exits = number()
      scope.intervalExits = number()
      scope.time = split()
      scope.intervalTime = split()
      scope.history = (0..<Int.random(in: 0...240, using: &generator)).map { _ in double() }
      scope.reasons = (0..<Int.random(in: 0...40, using: &generator)).map { _ in
        var latency = LatencySummary()
        latency.paired = number()
        latency.total = number()
        latency.min = number()
        latency.max = number()
        latency.p50 = number()
        latency.p99 = number()
        let charges = (0..<Int.random(in: 0...3, using: &generator)).map { _ in
          ChargeStatistics(
            control: control(),
            figures: ExitFigures(
              total: ExitCounts(count: number(), handling: number()),
              interval: ExitCounts(count: number(), handling: number())))
        }
        let details = DetailKind.allCases.filter { _ in maybe() }.map { kind in
          DetailStatistics(
            kind: kind, total: number(), isApproximate: maybe(),
            entries: (0..<Int.random(in: 0...4, using: &generator)).map { _ in
              DetailCount(value: number(), count: number(), error: number())
            })
        }
        return ReasonStatistics(
          isa: UInt32.random(in: 0...4, using: &generator),
          code: UInt32.random(in: 0...UInt32.max, using: &generator) & 0xff, name: name(),
          settings: Int.random(in: 1...3, using: &generator),
          figures: ExitFigures(
            total: ExitCounts(count: number()), interval: ExitCounts(count: number(), handling: number())),
          handling: latency, charges: charges, details: details)
      }
      scope.controls = (0..<Int.random(in: 0...20, using: &generator)).map { _ in
        ChargeStatistics(
          control: control(),
          figures: ExitFigures(
            total: ExitCounts(count: number(), handling: number()),
            interval: ExitCounts(count: number(), handling: number())))
      }
      return scope
    }
    snapshot.vms = (0..<Int.random(in: 0...4, using: &generator)).map { _ in
      var vm = VirtualMachineStatistics()
      vm.number = maybe() ? Int.random(in: -1...4, using: &generator) : nil
      vm.endedThreads = maybe() ? number() : 0
      vm.pid = maybe() ? Int32.random(in: 1...4, using: &generator) : nil
      vm.name = maybe() ? name() : nil
      vm.vmm = maybe() ? name() : nil
      vm.isInferred = maybe()
      vm.scope = Int.random(in: -2...8, using: &generator)
      vm.vcpus = (0..<Int.random(in: 0...5, using: &generator)).map { _ in
        var vcpu = VCPUStatistics(tid: Int32.random(in: -1...9, using: &generator))
        vcpu.id = maybe() ? UInt32.random(in: 0...UInt32.max, using: &generator) : nil
        vcpu.threadName = maybe() ? name() : nil
        vcpu.scope = Int.random(in: -2...8, using: &generator)
        vcpu.cpu = maybe() ? Int.random(in: Int.min...Int.max, using: &generator) : nil
        vcpu.isGone = maybe()
        if maybe() {
          let time = number()
          vcpu.lastExit = LastExit(
            KVMExit(
              isa: ISA(rawValue: UInt32.random(in: 0...4, using: &generator)),
              reason: UInt32(truncatingIfNeeded: number()),
              rip: number(), info1: number(), info2: number(),
              interruptionInformation: UInt32(truncatingIfNeeded: number()),
              errorCode: UInt32(truncatingIfNeeded: number())),
            at: time)
        }
        return vcpu
      }
      return vm
    }
    addStates(&snapshot, &generator)
    return snapshot
  }

  /// Readings of any shape: unknown fields, absurd widths, bitmaps cut short.
  static func addStates(_ snapshot: inout Snapshot, _ generator: inout Dice) {
    func maybe() -> Bool { Bool.random(using: &generator) }
    func number() -> UInt64 {
      [0, 1, .max, 0x8000_0000, UInt64.random(in: 0...UInt64.max, using: &generator)].randomElement(using: &generator)
        ?? 0
    }
    func reading() -> FieldReading {
      let field: StateField
      if maybe(), let row = VMCSField.rows.randomElement(using: &generator) {
        field = StateField(row)
      } else if maybe(), let known = SyntheticState.svm(tid: 1, id: 0, tick: 1).fields.randomElement(using: &generator)
      {
        field = known.field
      } else {
        field = StateField(
          kind: [.vmcs, .vmcb, .kvm].randomElement(using: &generator) ?? .kvm,
          name: (hostileNames + ["CR8", "save..", "HOST_", "control.intercepts[9]", "PENDING_NMI"])
            .randomElement(using: &generator) ?? "",
          place: maybe() ? UInt32.random(in: 0...UInt32.max, using: &generator) : nil,
          width: [-8, 0, 8, 16, 32, 64, 4096].randomElement(using: &generator) ?? 8,
          area: StateField.Area.allCases.randomElement(using: &generator) ?? .guest,
          description: hostileNames.randomElement(using: &generator) ?? "")
      }
      return FieldReading(
        field, maybe() ? number() : nil, Provenance.allCases.randomElement(using: &generator) ?? .measured,
        hostileNames.randomElement(using: &generator) ?? "", readAt: maybe() ? number() : nil)
    }
    func words() -> ControlSetting {
      ControlSetting(
        pin: UInt32(truncatingIfNeeded: number()), primary: maybe() ? UInt32(truncatingIfNeeded: number()) : nil,
        secondary: UInt32(truncatingIfNeeded: number()), tertiary: maybe() ? number() : nil,
        exit: nil, entry: UInt32(truncatingIfNeeded: number()),
        intercepts: maybe() ? SIMD8(repeating: UInt32(truncatingIfNeeded: number())) : nil)
    }
    for tid in Int32(-1)...9 where maybe() {
      var state = VCPUReading(
        isa: maybe() ? .vmx : .svm, pid: 1, vcpuID: 0, tid: maybe() ? tid : nil,
        cpu: maybe() ? Int.random(in: Int.min...Int.max, using: &generator) : nil, isNested: maybe(),
        readAt: number(), fields: (0..<Int.random(in: 0...80, using: &generator)).map { _ in reading() },
        words: words(),
        differences: (0..<3).map { _ in
          ControlDifference(
            control: ControlID(rawValue: UInt16.random(in: 0...600, using: &generator)), isSet: maybe(),
            reason: hostileNames.randomElement(using: &generator) ?? "", isMeasured: maybe())
        },
        msrBitmap: maybe()
          ? [UInt8](
            repeating: UInt8(truncatingIfNeeded: number()),
            count: [0, 1, 4096, 8192].randomElement(using: &generator) ?? 0) : nil)
      state.others = (0..<Int.random(in: 0...20, using: &generator)).map { _ in reading() }
      state.vmcs12 = maybe() ? (0..<20).map { _ in reading() } : nil
      snapshot.states[tid] = state
      if maybe() { snapshot.controlWords[tid] = words() }
      if maybe() {
        snapshot.vmmReadings[tid] = VMMReading(
          readAt: number(), fields: (0..<5).map { _ in reading() },
          failure: maybe() ? hostileNames.randomElement(using: &generator) : nil)
      }
    }
    if maybe() { snapshot.hostControls = SyntheticState.host }
    if maybe() { snapshot.stateFailure = hostileNames.randomElement(using: &generator) }
  }

  static func key(_ generator: inout Dice) -> Key {
    let keys: [Key] = [
      .up, .down, .left, .right, .pageUp, .pageDown, .home, .end, .enter, .escape, .tab, .backTab, .backspace, .delete,
      .function(1), .function(6), .function(10), .wheel(up: true), .wheel(up: false),
      .click(x: Int.random(in: -1...260, using: &generator), y: Int.random(in: -1...80, using: &generator)),
    ]
    if UInt8.random(in: 0...1, using: &generator) == 0 { return keys.randomElement(using: &generator) ?? .up }
    // Mostly keys that mean something; digits and letters for prompts as well.
    let characters = Array(
      "?qhjkgG1234567890D0D=nNuR/<>Ixx  X+-LtT[]b:GI%.()*eEfFcCmm{},ago\u{c}\u{15}é日".unicodeScalars)
    return .character(characters.randomElement(using: &generator) ?? "x")
  }

  @Test(arguments: 0..<8 as Range<UInt64>)
  func randomKeysOnRandomSnapshotsInRandomSizesNeverTrap(_ seed: UInt64) {
    var generator = Dice(seed: seed)
    var host = SyntheticHost(seed: seed, vmNames: FuzzTests.hostileNames, vcpusPerVM: 2)
    var model = FrontModel(names: CatalogueNames())
    let sizes = [
      (1, 1), (20, 5), (39, 8), (40, 8), (40, 10), (80, 24), (120, 40), (140, 40), (250, 70), (0, 0), (3, 200),
      (300, 2),
    ]
    for step in 0..<500 {
      if step % 5 == 0 {
        var next = FuzzTests.hostileSnapshot(&generator, UInt64(step))
        if Bool.random(using: &generator) {
          next = host.next()
          SyntheticState.fill(
            &next, watched: Set(next.vms.flatMap(\.vcpus).map(\.tid)), tick: UInt64(step),
            isNested: step % 2 == 0, isSVM: step % 15 == 0)
        }
        model.tick(UInt64(step) &* 1_000_000_000)
        model.observe(next)
      }
      for action in model.handle(FuzzTests.key(&generator)) where action == .setPaused(true) {
        _ = model.handle(.character(" "))
      }
      var size = sizes.randomElement(using: &generator) ?? (80, 24)
      if step % 3 == 0 {
        size = (Int.random(in: 0...180, using: &generator), Int.random(in: 0...60, using: &generator))
      }
      let frame = Renderer.render(model, columns: size.0, rows: size.1, isASCII: step % 7 == 0)
      #expect(frame.screen.columns == size.0 && frame.screen.rows == size.1)
      for cell in frame.screen.cells {
        if cell.scalar < 0x20 && cell.width != 0 || (0x7f..<0xa0).contains(cell.scalar) || cell.scalar == 0x202e {
          Issue.record("control character \(cell.scalar) in a cell")
        }
        if step % 7 == 0 && cell.scalar > 0x7e { Issue.record("\(cell.scalar) on an ASCII screen") }
      }
      model.adopt(frame)
      _ = model.watchAction()
    }
  }

  @Test func everySizeDownToNothingIsDrawn() {
    let model = modelAfter(2)
    for columns in 0...60 {
      for rows in 0...14 {
        let screen = render(model, columns, rows)
        if columns >= 7 && rows >= 1 { #expect(screen.text.trimmingPrefix("\n").isEmpty == false) }
      }
    }
    #expect(render(model, 20, 5).text.contains("exits/s"))
  }
}
