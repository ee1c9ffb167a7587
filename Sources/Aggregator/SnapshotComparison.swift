import Architecture

/// Two countings side by side: what costs more now, what less, and which controls are others. The page and the JSON of
/// `vmctop diff` and the pane of the front only print it.
///
/// Rates of two countings never agree to the digit. A difference counts as one only where it is more than three times the
/// error that counting alone makes: see `Row.isSignificant`.
public struct SnapshotComparison: Sendable {
  /// One of the two.
  public struct Side: Sendable {
    /// All of its figures are of its window.
    public var snapshot: Snapshot

    public init(_ snapshot: Snapshot) { self.snapshot = snapshot }

    /// Length of what was counted, ns.
    public var windowNanoseconds: UInt64 { snapshot.windowNanoseconds }
    public var exits: UInt64 { snapshot.total.exits }
    /// Events known to be lost in the window; with those that nobody counted a lower bound.
    public var lost: UInt64 { snapshot.losses.lost }
    /// How often events were lost in the window without a number.
    public var uncountedLosses: UInt64 { snapshot.losses.uncounted }
    public var malformedRecords: UInt64 { snapshot.malformedRecords }

    /// Seconds that were counted; 0 for a window of no length.
    var seconds: Double { Double(windowNanoseconds) / 1e9 }
  }

  /// What one side has in one row.
  public struct Cost: Sendable, Hashable {
    public var count: UInt64 = 0
    /// Exits per second of the window.
    public var rate: Double = 0
    /// Of the exits of the scope, 0...1.
    public var share: Double = 0
    /// Handling time without the time halted, nanoseconds per second of the window.
    public var timePerSecond: Double = 0
    /// Handling time of an exit, time halted included, ns; nil where none was paired.
    public var mean: Double?
    /// Nil where none was paired, and where it is not kept.
    public var p99: UInt64?
    /// Exits that the times are of.
    public var paired: UInt64 = 0
  }

  /// One exit reason, one control, or everything.
  public struct Row: Sendable {
    public var name: String
    public var reason: ReasonCode?
    public var control: ControlID?
    public var a = Cost()
    public var b = Cost()
    public var isRateSignificant = false
    public var isTimeSignificant = false

    /// Whether it is more than counting alone can make.
    public var isSignificant: Bool { isRateSignificant || isTimeSignificant }
    /// How the exits per second changed, as `SnapshotComparison.change` writes it.
    public var rateChange: String { SnapshotComparison.change(a.rate, b.rate, isRateSignificant) }
    /// How the handling time per second changed.
    public var timeChange: String { SnapshotComparison.change(a.timePerSecond, b.timePerSecond, isTimeSignificant) }
  }

  /// A control that is another one on one side than on the other.
  public struct ControlChange: Sendable, Hashable {
    public var control: ControlID
    public var a: MeasuredControl
    public var b: MeasuredControl

    public init(control: ControlID, a: MeasuredControl, b: MeasuredControl) {
      self.control = control
      self.a = a
      self.b = b
    }
  }

  /// Everything, one VM or one vCPU.
  public struct Scope: Sendable {
    /// The name of the VM; nil: everything.
    public var vm: String?
    public var time: (a: TimeSplit, b: TimeSplit)
    public var vcpus: (a: Int, b: Int)
    public var total: Row
    /// What matters most first: by the change in time per second, then in exits per second; those that are no
    /// difference last.
    public var reasons: [Row]
    public var controls: [Row]
    /// In the order of words and bits; nil where the control words of one side are not known.
    public var changes: [ControlChange]?
    /// How many settings of its controls each side was counted in: the last one is compared.
    public var settings: (a: Int, b: Int)

    /// Whether anything is another one than before.
    public var hasSignificantChange: Bool {
      total.isSignificant || reasons.contains(where: \.isSignificant) || controls.contains(where: \.isSignificant)
        || !(changes ?? []).isEmpty
    }
  }

  public var a: Side
  public var b: Side
  /// The short name that a table has for a control.
  private let controlName: @Sendable (ControlID) -> String

  public init(_ a: Side, _ b: Side, controlName: @escaping @Sendable (ControlID) -> String) {
    self.a = a
    self.b = b
    self.controlName = controlName
  }

  // MARK: - Scopes

  /// All of both.
  public var everything: Scope { compare(nil, a.everything, b.everything) }

  /// The VMs that both sides have by the same name, and the names that only one has. A name that two have tells neither.
  public var machines: (both: [Scope], onlyInA: [String], onlyInB: [String]) {
    let (own, other) = (a.named, b.named)
    let both = own.keys.sorted().compactMap { name -> Scope? in
      guard let first = own[name], let second = other[name] else { return nil }
      return compare(name, a.part(first), b.part(second))
    }
    return (
      both, own.keys.filter { other[$0] == nil }.sorted(), other.keys.filter { own[$0] == nil }.sorted()
    )
  }

  /// What is looked at of the second side, beside the same of the first: of the same source by its identity, else a VM by
  /// its name, or by being the only one of either side, and a vCPU by its number. Nil where a side has none such.
  public func scope(_ selection: ScopeSelection) -> Scope? {
    switch selection {
    case .all: return everything
    case .vm(let identity):
      guard let own = b.snapshot.vms.first(where: { VMIdentity($0) == identity }),
        let other = counterpart(of: own)
      else { return nil }
      return compare(own.name, a.part(other), b.part(own))
    case .vcpu(let tid):
      guard let vm = b.snapshot.vms.first(where: { $0.vcpus.contains { $0.tid == tid } }),
        let own = vm.vcpus.first(where: { $0.tid == tid }), let other = counterpart(of: vm)
      else { return nil }
      let same = hasOneSource ? other.vcpus.first { $0.tid == tid } : nil
      guard let before = same ?? other.vcpus.first(where: { $0.id != nil && $0.id == own.id }) else { return nil }
      return compare(own.threadName, a.part(before), b.part(own))
    }
  }

  /// Both sides are of one counting or of one recording.
  private var hasOneSource: Bool {
    a.snapshot.source.isSame(as: b.snapshot.source)
  }

  private func counterpart(of vm: VirtualMachineStatistics) -> VirtualMachineStatistics? {
    let vms = a.snapshot.vms
    if hasOneSource, let same = vms.first(where: { VMIdentity($0) == VMIdentity(vm) }) { return same }
    if let name = vm.name, let named = a.named[name] { return named }
    return vms.count == 1 && b.snapshot.vms.count == 1 ? vms[0] : nil
  }

  // MARK: - Comparing

  private func compare(_ name: String?, _ first: Part, _ second: Part) -> Scope {
    var total = Row(name: "all exits")
    total.a = Self.cost(of: first.scope, a)
    total.b = Self.cost(of: second.scope, b)
    judge(&total)

    var reasons: [ReasonCode: Row] = [:]
    var controls: [ControlID: Row] = [:]
    for (part, side, cost) in [(first, a, \Row.a), (second, b, \Row.b)] {
      for reason in part.scope.reasons {
        let code = ReasonCode(isa: reason.isa, code: reason.code)
        reasons[code, default: Row(name: reason.name, reason: code)][keyPath: cost] = Self.cost(
          of: reason, part.scope, side)
      }
      for control in part.scope.controls {
        controls[control.control, default: Row(name: controlName(control.control), control: control.control)][
          keyPath: cost] = Self.cost(of: control, part.scope, side)
      }
    }
    let (own, other) = (a.words(first.vcpus), b.words(second.vcpus))
    return Scope(
      vm: name, time: (first.scope.time, second.scope.time), vcpus: (first.vcpus.count, second.vcpus.count),
      total: total, reasons: sorted(Array(reasons.values)), controls: sorted(Array(controls.values)),
      changes: own.isEmpty || other.isEmpty ? nil : Self.changes(own, other),
      settings: (first.scope.settings.count, second.scope.settings.count))
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

  private static func cost(of scope: ScopeStatistics, _ side: Side) -> Cost {
    var cost = Cost(count: scope.exits, rate: perSecond(scope.exits, side))
    cost.share = scope.exits == 0 ? 0 : 1
    var exits = ExitCounts()
    for reason in scope.reasons {
      exits.add(reason.figures.total)
      cost.paired &+= reason.handling.paired
    }
    cost.timePerSecond = perSecond(exits.busy, side)
    cost.mean = cost.paired == 0 ? nil : Double(exits.handling) / Double(cost.paired)
    return cost
  }

  private static func cost(of reason: ReasonStatistics, _ scope: ScopeStatistics, _ side: Side) -> Cost {
    var cost = Cost(count: reason.count, rate: perSecond(reason.count, side))
    cost.share = share(reason.count, scope.exits)
    cost.timePerSecond = perSecond(reason.busy, side)
    cost.paired = reason.handling.paired
    cost.mean = reason.handling.mean
    cost.p99 = reason.handling.paired == 0 ? nil : reason.handling.p99
    return cost
  }

  private static func cost(of control: ChargeStatistics, _ scope: ScopeStatistics, _ side: Side) -> Cost {
    var cost = Cost(count: control.count, rate: perSecond(control.count, side))
    cost.share = share(control.count, scope.exits)
    cost.timePerSecond = perSecond(control.busy, side)
    // How many were paired is not kept by control: nearly all, as a rule.
    cost.paired = control.handling == 0 ? 0 : control.count
    cost.mean = control.count == 0 || control.handling == 0 ? nil : Double(control.handling) / Double(control.count)
    return cost
  }

  // MARK: - What is a difference

  /// A difference is one where it is more than so many times its error.
  public static let significance = 3.0

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
    func timeError(_ cost: Cost) -> Double {
      cost.paired == 0 ? 0 : cost.timePerSecond * (2 / Double(cost.paired)).squareRoot()
    }
    row.isTimeSignificant = isMore(
      row.b.timePerSecond - row.a.timePerSecond, timeError(row.a), timeError(row.b))
  }

  /// `+12%`, `-35%`, `x12`, `new`, `gone`; `~` where it is none to speak of. At most six characters.
  public static func change(_ before: Double, _ after: Double, _ isSignificant: Bool) -> String {
    guard isSignificant else { return "~" }
    if before == 0 { return "new" }
    if after == 0 { return "gone" }
    let ratio = after / before
    if ratio >= 10 { return ratio < 9999.5 ? "x\(Int(ratio.rounded()))" : "x>9999" }
    let percent = Int((100 * (ratio - 1)).rounded())
    return percent > 0 ? "+\(percent)%" : percent < 0 ? "\(percent)%" : ratio > 1 ? "+<1%" : "-<1%"
  }

  // MARK: - Controls

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

// MARK: - What a side counted

/// What was counted in a scope that is compared, and whose it is.
private struct Part {
  var scope: ScopeStatistics
  var vcpus: [VCPUStatistics]
}

extension SnapshotComparison.Side {
  fileprivate var everything: Part { Part(scope: scope(0), vcpus: snapshot.vms.flatMap(\.vcpus)) }

  fileprivate func part(_ vm: VirtualMachineStatistics) -> Part { Part(scope: scope(vm.scope), vcpus: vm.vcpus) }

  fileprivate func part(_ vcpu: VCPUStatistics) -> Part { Part(scope: scope(vcpu.scope), vcpus: [vcpu]) }

  private func scope(_ index: Int) -> ScopeStatistics {
    snapshot.scopes.indices.contains(index) ? snapshot.scopes[index] : ScopeStatistics()
  }

  /// VMs by name; a name that two of them have tells neither.
  fileprivate var named: [String: VirtualMachineStatistics] {
    var named: [String: VirtualMachineStatistics] = [:]
    var twice: Set<String> = []
    for vm in snapshot.vms {
      guard let name = vm.name, !name.isEmpty else { continue }
      if named.updateValue(vm, forKey: name) != nil { twice.insert(name) }
    }
    return named.filter { !twice.contains($0.key) }
  }

  /// The control words that the vCPUs have at the end, those that differ from each other.
  fileprivate func words(_ vcpus: [VCPUStatistics]) -> Set<ControlSetting> {
    var all: Set<ControlSetting> = []
    for vcpu in vcpus {
      let read = snapshot.controlWords[vcpu.tid] ?? snapshot.description(vcpu.setting)?.words
      if let read { all.insert(read.governing) }
    }
    return all
  }
}

extension Snapshot {
  /// The same without what no comparison needs: details, courses, state, messages. What is kept to compare with is small
  /// then.
  public var countsAlone: Snapshot {
    var snapshot = self
    for scope in snapshot.scopes.indices {
      snapshot.scopes[scope].history = []
      for reason in snapshot.scopes[scope].reasons.indices { snapshot.scopes[scope].reasons[reason].details = [] }
    }
    snapshot.states = [:]
    snapshot.vmmReadings = [:]
    snapshot.hostControls = nil
    snapshot.messages = []
    snapshot.sinceMark = nil
    snapshot.playback?.rateTimeline = nil
    return snapshot
  }
}
