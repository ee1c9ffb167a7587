import Aggregator
import Architecture

/// Two recordings, or two parts of one, side by side: what costs more now, what less, and which controls are others.
/// Everything in it is computed from two snapshots here; the page and the JSON only print it.
///
/// Rates of two countings never agree to the digit. A difference counts as one only where it is more than three times the
/// error that counting alone makes: see `isSignificant`.
public struct DiffReport: Sendable {
  /// One of the two.
  public struct Side: Sendable {
    /// All of its figures are of its window.
    public var snapshot: Snapshot
    /// Which part of the recording it is, nanoseconds since the first event; nil: all.
    public var part: Range<UInt64>?
    /// What was found damaged in the recording, a line each.
    public var damage: [String]

    public init(snapshot: Snapshot, part: Range<UInt64>? = nil, damage: [String] = []) {
      self.snapshot = snapshot
      self.part = part
      self.damage = damage
    }

    /// Seconds that were counted; 0 for a window of no length.
    var seconds: Double { Double(snapshot.windowNanoseconds) / 1e9 }
  }

  /// What one side has in one row.
  struct Cost: Sendable, Hashable {
    var count: UInt64 = 0
    /// Exits per second of the window.
    var rate: Double = 0
    /// Of the exits of the scope, 0...1.
    var share: Double = 0
    /// Handling time without the time halted, nanoseconds per second of the window.
    var timePerSecond: Double = 0
    /// Handling time of an exit, time halted included, ns; nil where none was paired, or for p99 where it is not kept.
    var mean: Double?
    var p99: UInt64?
    /// Exits that the times are of.
    var paired: UInt64 = 0
  }

  /// One exit reason, one control, or everything.
  struct Row: Sendable {
    var name: String
    var reason: ReasonCode?
    var control: ControlID?
    var a = Cost()
    var b = Cost()
    var isRateSignificant = false
    var isTimeSignificant = false

    var isSignificant: Bool { isRateSignificant || isTimeSignificant }
  }

  /// A control that is another one on one side than on the other.
  struct ControlChange: Sendable, Hashable {
    var control: ControlID
    var a: MeasuredControl
    var b: MeasuredControl
  }

  /// Everything, or one VM.
  struct Scope: Sendable {
    /// Nil: everything.
    var vm: String?
    var time: (a: TimeSplit, b: TimeSplit)
    var vcpus: (a: Int, b: Int)
    var total: Row
    /// What matters most first: by the change in time per second, then in exits per second; those that are no
    /// difference last.
    var reasons: [Row]
    var controls: [Row]
    /// In the order of words and bits; nil where the control words of one side are not known.
    var changes: [ControlChange]?
    /// How many settings of its controls each side was counted in: the last one is compared.
    var settings: (a: Int, b: Int)
  }

  public var a: Side
  public var b: Side
  var vocabulary: Vocabulary
  /// Everything first, then the VMs of the same name on both sides, where there are several.
  private(set) var scopes: [Scope] = []
  /// Names of VMs that only one of them has.
  private(set) var onlyInA: [String] = []
  private(set) var onlyInB: [String] = []

  public init(_ a: Side, _ b: Side, vocabulary: Vocabulary) {
    self.a = a
    self.b = b
    self.vocabulary = vocabulary
    let everything = compare(nil, (a.snapshot.total, b.snapshot.total), (a.snapshot.vms, b.snapshot.vms))
    scopes = [everything]
    let (own, other) = (Self.named(a.snapshot), Self.named(b.snapshot))
    let both = own.keys.filter { other[$0] != nil }.sorted()
    onlyInA = own.keys.filter { other[$0] == nil }.sorted()
    onlyInB = other.keys.filter { own[$0] == nil }.sorted()
    // With one VM on either side, it is everything.
    guard a.snapshot.vms.count > 1 || b.snapshot.vms.count > 1 else { return }
    for name in both {
      guard let first = own[name], let second = other[name] else { continue }
      scopes.append(
        compare(name, (Self.scope(first, a.snapshot), Self.scope(second, b.snapshot)), ([first], [second])))
    }
  }

  /// Whether anything is another one than before.
  public var hasSignificantChange: Bool {
    scopes.contains { scope in
      scope.total.isSignificant || scope.reasons.contains(where: \.isSignificant)
        || scope.controls.contains(where: \.isSignificant) || !(scope.changes ?? []).isEmpty
    }
  }

  /// VMs by name; a name that two of them have tells neither.
  private static func named(_ snapshot: Snapshot) -> [String: VirtualMachineStatistics] {
    var named: [String: VirtualMachineStatistics] = [:]
    var twice: Set<String> = []
    for vm in snapshot.vms {
      guard let name = vm.name, !name.isEmpty else { continue }
      if named.updateValue(vm, forKey: name) != nil { twice.insert(name) }
    }
    return named.filter { !twice.contains($0.key) }
  }

  private static func scope(_ vm: VirtualMachineStatistics, _ snapshot: Snapshot) -> ScopeStatistics {
    snapshot.scopes.indices.contains(vm.scope) ? snapshot.scopes[vm.scope] : ScopeStatistics()
  }

  // MARK: - Comparing

  private func compare(
    _ name: String?, _ scopes: (a: ScopeStatistics, b: ScopeStatistics),
    _ vms: (a: [VirtualMachineStatistics], b: [VirtualMachineStatistics])
  ) -> Scope {
    var total = Row(name: "all exits")
    total.a = figures(scopes.a, a)
    total.b = figures(scopes.b, b)
    judge(&total)

    var reasons: [ReasonCode: Row] = [:]
    for (scope, side, figure) in [(scopes.a, a, \Row.a), (scopes.b, b, \Row.b)] {
      for reason in scope.reasons {
        let code = ReasonCode(isa: reason.isa, code: reason.code)
        var row = reasons[code] ?? Row(name: reason.name, reason: code)
        row[keyPath: figure] = figures(reason, scope, side)
        reasons[code] = row
      }
    }
    var controls: [ControlID: Row] = [:]
    for (scope, side, figure) in [(scopes.a, a, \Row.a), (scopes.b, b, \Row.b)] {
      for control in scope.controls {
        var row =
          controls[control.control]
          ?? Row(name: vocabulary.shortName(control.control), control: control.control)
        row[keyPath: figure] = figures(control, scope, side)
        controls[control.control] = row
      }
    }
    let (first, second) = (words(vms.a, a.snapshot), words(vms.b, b.snapshot))
    return Scope(
      vm: name, time: (scopes.a.time, scopes.b.time),
      vcpus: (vms.a.reduce(0) { $0 + $1.vcpus.count }, vms.b.reduce(0) { $0 + $1.vcpus.count }), total: total,
      reasons: sorted(Array(reasons.values)), controls: sorted(Array(controls.values)),
      changes: first.isEmpty || second.isEmpty ? nil : Self.changes(first, second),
      settings: (scopes.a.settings.count, scopes.b.settings.count))
  }

  private func sorted(_ rows: [Row]) -> [Row] {
    func weight(_ row: Row) -> (Int, Double, Double) {
      (
        row.isSignificant ? 0 : 1, -abs(row.b.timePerSecond - row.a.timePerSecond), -abs(row.b.rate - row.a.rate)
      )
    }
    return rows.map { row in
      var row = row
      judge(&row)
      return row
    }.sorted { first, second in
      let (own, other) = (weight(first), weight(second))
      return own != other ? own < other : first.name < second.name
    }
  }

  private static func perSecond(_ amount: UInt64, _ side: Side) -> Double {
    side.seconds > 0 ? Double(amount) / side.seconds : 0
  }

  private static func share(_ part: UInt64, _ whole: UInt64) -> Double {
    whole == 0 ? 0 : Double(part) / Double(whole)
  }

  private func figures(_ scope: ScopeStatistics, _ side: Side) -> Cost {
    var figures = Cost(count: scope.exits, rate: Self.perSecond(scope.exits, side))
    figures.share = scope.exits == 0 ? 0 : 1
    var (handling, busy): (UInt64, UInt64) = (0, 0)
    for reason in scope.reasons {
      handling &+= reason.handling.total
      busy &+= Self.busy(reason, scope)
      figures.paired &+= reason.handling.paired
    }
    figures.timePerSecond = Self.perSecond(busy, side)
    figures.mean = figures.paired == 0 ? nil : Double(handling) / Double(figures.paired)
    return figures
  }

  /// Handling time without the time halted, which is idle and no cost.
  private static func busy(_ reason: ReasonStatistics, _ scope: ScopeStatistics) -> UInt64 {
    guard TriageReport.halts(reason) else { return reason.handling.total }
    return reason.handling.total &- min(scope.time.halted, reason.handling.total)
  }

  private func figures(_ reason: ReasonStatistics, _ scope: ScopeStatistics, _ side: Side) -> Cost {
    var figures = Cost(count: reason.count, rate: Self.perSecond(reason.count, side))
    figures.share = Self.share(reason.count, scope.exits)
    figures.timePerSecond = Self.perSecond(Self.busy(reason, scope), side)
    figures.paired = reason.handling.paired
    figures.mean = reason.handling.mean
    figures.p99 = reason.handling.paired == 0 ? nil : reason.handling.p99
    return figures
  }

  private func figures(_ control: ControlStatistics, _ scope: ScopeStatistics, _ side: Side) -> Cost {
    var figures = Cost(count: control.exits, rate: Self.perSecond(control.exits, side))
    figures.share = Self.share(control.exits, scope.exits)
    figures.timePerSecond = Self.perSecond(control.busy(halted: scope.time.halted), side)
    // How many were paired is not kept by control: nearly all, as a rule.
    figures.paired = control.handling == 0 ? 0 : control.exits
    figures.mean =
      control.exits == 0 || control.handling == 0 ? nil : Double(control.handling) / Double(control.exits)
    return figures
  }

  // MARK: - What is a difference

  /// A difference is one where it is more than so many times its error.
  static let significance = 3.0

  /// The error of a rate is that of a count by Poisson, its square root. The error of a time adds how handling times
  /// spread: taken as exponential, a sum of n of them has an error of sqrt(2 / n) of itself. Exits that come in bursts
  /// spread more, those of a timer less: it is a simple measure, and keeps small counts from looking like news.
  private func judge(_ row: inout Row) {
    guard a.seconds > 0, b.seconds > 0 else { return }
    func isMore(_ difference: Double, _ first: Double, _ second: Double) -> Bool {
      abs(difference) > Self.significance * (first * first + second * second).squareRoot()
    }
    row.isRateSignificant = isMore(
      row.b.rate - row.a.rate, Double(row.a.count).squareRoot() / a.seconds,
      Double(row.b.count).squareRoot() / b.seconds)
    func timeError(_ figures: Cost) -> Double {
      figures.paired == 0 ? 0 : figures.timePerSecond * (2 / Double(figures.paired)).squareRoot()
    }
    row.isTimeSignificant = isMore(
      row.b.timePerSecond - row.a.timePerSecond, timeError(row.a), timeError(row.b))
  }

  // MARK: - Controls

  /// The control words that the vCPUs have at the end, those that differ from each other.
  private func words(_ vms: [VirtualMachineStatistics], _ snapshot: Snapshot) -> Set<ControlSetting> {
    var all: Set<ControlSetting> = []
    for vcpu in vms.flatMap(\.vcpus) {
      let read = snapshot.controlWords[vcpu.tid] ?? snapshot.description(vcpu.setting)?.words
      if let read { all.insert(read.governing) }
    }
    return all
  }

  private static func changes(_ a: Set<ControlSetting>, _ b: Set<ControlSetting>) -> [ControlChange] {
    func value(_ control: ControlID, _ words: Set<ControlSetting>) -> MeasuredControl? {
      let values = Set(words.compactMap { $0.value(of: control) })
      return values.count > 1 ? .mixed : values.first.map { $0 ? .on : .off }
    }
    return ControlID.all.compactMap { control in
      guard let first = value(control, a), let second = value(control, b), first != second else { return nil }
      return ControlChange(control: control, a: first, b: second)
    }
  }
}
