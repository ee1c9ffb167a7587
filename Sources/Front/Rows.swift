import Aggregator
import Architecture
import Screen

/// What stays the same about a row from one snapshot to the next, whatever its place.
public enum RowKey: Sendable, Hashable {
  case reason(isa: UInt32, code: UInt32)
  case control(ControlID)
  /// A control that is another one than before.
  case change(ControlID)
  case vm(VMIdentity)
  case vcpu(tid: Int32)
  /// A field of a vCPU's state by name; a segment by its name.
  case field(String)
  /// A range of MSRs by its first.
  case msr(UInt32)

  init(_ reason: ReasonStatistics) {
    self = .reason(isa: reason.isa, code: reason.code)
  }
}

/// A row of the exits pane.
struct ReasonRow {
  enum WhatIfEffect { case no, partly, wholly }
  var reason: ReasonStatistics
  var whatIfOff: WhatIfEffect
}

/// A row of the controls pane: a control with what is charged to it, over all settings.
struct ControlRow: ExitStatistics {
  enum State {
    /// Read from kernel memory; or an exit proves that it was on, or the architecture leaves no choice.
    case on
    /// Read from kernel memory.
    case off
    /// Read from kernel memory: on for some of the vCPUs.
    case mixed
    /// Not read, and no exit says anything about it.
    case unknown
    /// Not a switch: nothing can suppress these exits.
    case none
  }
  var control: ControlID
  var name: ControlName
  var state: State
  var figures = ExitFigures()
}

extension TableColumn {
  /// The column of a registry's figure.
  init<Row>(_ figure: Figure<Row>) {
    self.init(
      title: figure.title, minimum: figure.column?.width ?? 0, alignRight: !figure.isText,
      priority: figure.column?.priority ?? 0)
  }
}

/// A row of the vcpus pane.
struct MachineRow {
  var vm: VirtualMachineStatistics
  /// Nil in the VM's own row.
  var vcpu: VCPUStatistics?
  var statistics: ScopeStatistics

  var key: RowKey { vcpu.map { .vcpu(tid: $0.tid) } ?? .vm(VMIdentity(vm)) }
}

/// Names of VMs and vCPUs on screen.
enum MachineName {
  static func vm(_ vm: VirtualMachineStatistics) -> String {
    if vm.endedThreads > 0 { return "\(vm.endedThreads) ended threads" }
    if let name = vm.name, !name.isEmpty { return name }
    if let pid = vm.pid { return "\(vm.vmm ?? "VM") \(pid)" }
    if let first = vm.vcpus.first { return "VM of \(first.tid)" }
    return "VM"
  }

  static func vcpu(_ vcpu: VCPUStatistics) -> String {
    if let id = vcpu.id { return "vCPU \(id)" }
    if let name = vcpu.threadName, !name.isEmpty { return name }
    return vcpu.tid == 0 ? "all of them" : "thread \(vcpu.tid)"
  }
}

/// The sum of what the what-if takes off, and of what is left.
public struct WhatIf: Sendable, Hashable {
  /// Exits per second now and without it.
  public var rate: Double
  public var remainingRate: Double
  /// How many percent less.
  public var less: Double
  /// Percent of the vCPUs' time spent handling exits, halts taken out, now and then; nil while the time is not known.
  public var time: Double?
  public var remainingTime: Double?

  init(scope: ScopeStatistics, whatIfOff: Set<ControlID>, context: FigureContext) {
    var whatIfOffFigures = ExitFigures()
    for control in scope.controls where whatIfOff.contains(control.control) { whatIfOffFigures.add(control.figures) }
    let (exits, handling) = (context.basic(whatIfOffFigures).count, context.basic(whatIfOffFigures).busy)
    let interval = context.basis == .interval
    let all = interval ? scope.intervalExits : scope.exits
    let nanoseconds = Double(interval ? context.intervalNanoseconds : context.windowNanoseconds)
    let seconds = nanoseconds / 1e9
    let remaining = all - min(all, exits)
    rate = seconds > 0 ? Double(all) / seconds : 0
    remainingRate = seconds > 0 ? Double(remaining) / seconds : 0
    less = all > 0 ? 100 * Double(all - remaining) / Double(all) : 0
    let total = interval ? scope.intervalTime.total : scope.time.total
    if total > 0 {
      let spent = context.busy
      time = min(100, 100 * Double(spent) / Double(total))
      remainingTime = min(100, 100 * Double(spent - min(spent, handling)) / Double(total))
    }
  }
}

/// The rows of the panes: a snapshot seen through scope, filter, sort and what-if.
extension FrontModel {
  /// The statistics of what is looked at, or nil where it is gone (a VM that ended) or nothing came yet.
  var scopeStatistics: ScopeStatistics? {
    guard let snapshot else { return nil }
    var index = 0
    switch scope {
    case .all: break
    case .vm(let identity):
      guard let vm = snapshot.vms.first(where: { VMIdentity($0) == identity }) else { return nil }
      index = vm.scope
    case .vcpu(let tid):
      guard let vcpu = snapshot.vms.lazy.flatMap(\.vcpus).first(where: { $0.tid == tid }) else { return nil }
      index = vcpu.scope
    }
    return statistics(index)
  }

  /// What is looked at, in words.
  var scopeText: String {
    guard let snapshot else { return "" }
    switch scope {
    case .all: return snapshot.vms.count == 1 ? "\(MachineName.vm(snapshot.vms[0])) · all vCPUs" : "all VMs"
    case .vm(let identity):
      guard let vm = snapshot.vms.first(where: { VMIdentity($0) == identity }) else { return "a VM that is gone" }
      return "\(MachineName.vm(vm)) · all vCPUs"
    case .vcpu(let tid):
      for vm in snapshot.vms {
        if let vcpu = vm.vcpus.first(where: { $0.tid == tid }) {
          return "\(MachineName.vm(vm)) · \(MachineName.vcpu(vcpu))"
        }
      }
      return "thread \(tid), gone"
    }
  }

  func statistics(_ index: Int) -> ScopeStatistics {
    guard let snapshot, snapshot.scopes.indices.contains(index) else { return ScopeStatistics() }
    return snapshot.scopes[index]
  }

  /// True where events come but no exit was ever among them: a backend without the tracepoint.
  var hasNoExits: Bool { snapshot.map { $0.events > 0 && statistics(0).exits == 0 } ?? false }

  /// True where there is no interval to speak of: then everything since the start is shown instead. A recording that
  /// came to its end is held as a whole, and a range of it is one.
  var showsWindow: Bool {
    guard let snapshot else { return false }
    return snapshot.intervalNanoseconds == 0 || snapshot.playback?.isFinished == true || snapshot.playback?.range != nil
  }

  func context(_ statistics: ScopeStatistics) -> FigureContext {
    let names = names
    return FigureContext(
      snapshot: snapshot ?? Snapshot(), scope: statistics, basis: showsWindow ? .window : nil,
      controlName: { names.control($0).short })
  }

  func rate(_ statistics: ScopeStatistics) -> Double? {
    guard let snapshot else { return nil }
    let (count, nanoseconds) =
      showsWindow
      ? (statistics.exits, snapshot.windowNanoseconds) : (statistics.intervalExits, snapshot.intervalNanoseconds)
    return nanoseconds == 0 ? nil : Double(count) * 1e9 / Double(nanoseconds)
  }

  func timeSplit(_ statistics: ScopeStatistics) -> TimeSplit {
    statistics.time(showsWindow ? .window : .interval)
  }

  /// For the figures of VMs and vCPUs, which are not set against others.
  var timeContext: FigureContext {
    FigureContext(
      snapshot: snapshot ?? Snapshot(), scope: ScopeStatistics(), basis: showsWindow ? .window : .interval,
      controlName: { _ in "" })
  }

  public var whatIf: WhatIf? {
    guard !whatIfOff.isEmpty, snapshot != nil, let statistics = scopeStatistics else { return nil }
    return WhatIf(scope: statistics, whatIfOff: whatIfOff, context: context(statistics))
  }

  func passes(_ texts: String...) -> Bool { passes(texts) }

  func passes(_ texts: [String]) -> Bool {
    guard let pattern else { return true }
    return texts.contains { pattern.matches($0) }
  }

  /// The column the exits are sorted by: the average stands in for the rate where there is no interval.
  var exitSortColumn: Figure<ReasonStatistics> {
    var id = sort(.exits).column
    if id == "exits" && showsWindow { id = "average" }
    return ReasonFigures.column(id) ?? ReasonFigures.columns[0]
  }

  func exitRows() -> [ReasonRow] {
    guard let statistics = scopeStatistics else { return [] }
    let context = context(statistics)
    let shown =
      pattern == nil
      ? statistics.reasons
      : statistics.reasons.filter { reason in
        passes([reason.name] + reason.charges.map { context.controlName($0.control) })
      }
    return ReasonFigures.sorted(
      shown, by: exitSortColumn, descending: sort(.exits).descending, context: context
    ).map { ReasonRow(reason: $0, whatIfOff: whatIfEffect($0)) }
  }

  func whatIfEffect(_ reason: ReasonStatistics) -> ReasonRow.WhatIfEffect {
    if whatIfOff.isEmpty { return .no }
    let hit = reason.charges.count { whatIfOff.contains($0.control) }
    return hit == 0 ? .no : hit == reason.charges.count ? .wholly : .partly
  }

  /// The vCPU threads of what is looked at.
  var scopeThreads: [Int32] {
    guard let snapshot else { return [] }
    switch scope {
    case .all: return snapshot.vms.flatMap(\.vcpus).map(\.tid)
    case .vm(let identity):
      return snapshot.vms.filter { VMIdentity($0) == identity }.flatMap(\.vcpus).map(\.tid)
    case .vcpu(let tid): return [tid]
    }
  }

  func controlRows() -> [ControlRow] {
    guard let snapshot else { return [] }
    let statistics = scopeStatistics ?? ScopeStatistics()
    let setting = shownSetting
    var sums: [ControlID: ControlRow] = [:]
    for row in setting?.controls ?? statistics.controls {
      let name = names.control(row.control)
      let state: ControlRow.State = names.isUnconditional(row.control) ? .none : row.count > 0 ? .on : .unknown
      sums[
        row.control,
        default: ControlRow(control: row.control, name: name, state: state)
      ].add(row, state)
    }
    var rows: [ControlRow] = []
    for id in names.controls(isa: snapshot.source.isa) {
      rows.append(
        sums.removeValue(forKey: id)
          ?? ControlRow(control: id, name: names.control(id), state: names.isForced(id) ? .on : .unknown))
    }
    let threads = scopeThreads
    for index in rows.indices {
      switch now(rows[index].control, threads) {
      case .on: rows[index].state = .on
      case .off: rows[index].state = .off
      case .mixed: rows[index].state = .mixed
      case nil: break
      }
    }
    // What is no bit of a control word (bitmaps, masks, EPT, unconditional) is listed where it has exits.
    rows += sums.values.sorted { $0.control < $1.control }
    if pattern != nil { rows = rows.filter { passes($0.name.name, $0.name.word, $0.name.title) } }
    let by = sort(.controls)
    // Reserved bits are of interest to those only who read the words bit by bit.
    var order: [ControlID: Int] = [:]
    for (index, row) in rows.enumerated() {
      order[row.control] = by.column != "bit" && names.isForced(row.control) ? index + rows.count : index
    }
    // What was counted in a setting is counted over all of its time.
    let window = showsWindow || setting != nil
    func figure(_ row: ControlRow) -> (UInt64, UInt64) {
      switch by.column {
      case "exits": window ? (row.count, 0) : (row.intervalCount, row.count)
      case "time": window ? (row.busy, 0) : (row.intervalBusy, row.busy)
      default: (0, 0)
      }
    }
    return rows.sorted { a, b in
      if by.column == "name" && a.name.short != b.name.short {
        return (a.name.short < b.name.short) != by.descending
      }
      let (x, y) = (figure(a), figure(b))
      if x != y { return by.descending ? x > y : x < y }
      let before = order[a.control] ?? 0 < order[b.control] ?? 0
      return by.column == "bit" && by.descending ? !before && a.control != b.control : before
    }
  }

  /// What a control is now on these vCPUs, or was in the setting that is shown.
  func now(_ control: ControlID, _ threads: [Int32]) -> MeasuredControl? {
    guard let setting = shownSetting else { return snapshot?.measured(control, on: threads) }
    return snapshot?.description(setting.setting)?.words?.value(of: control).map { $0 ? .on : .off }
  }

  func machineRows() -> [MachineRow] {
    guard let snapshot else { return [] }
    let by = sort(.vcpus)
    let context = timeContext
    let column = ScopeFigures.all.figure(by.column == "exits" && showsWindow ? "average" : by.column)
    func figure(_ statistics: ScopeStatistics) -> Double {
      switch column?.value(statistics, context) {
      case .rate(let value), .percent(let value): value
      default: 0
      }
    }
    func sorted<T>(_ items: [T], _ statistics: (T) -> ScopeStatistics) -> [T] {
      let keyed = items.enumerated().map { (at: $0, item: $1, figure: figure(statistics($1))) }
      return keyed.sorted { a, b in
        if a.figure != b.figure { return by.descending ? a.figure > b.figure : a.figure < b.figure }
        return by.column == "name" && by.descending ? a.at > b.at : a.at < b.at
      }.map(\.item)
    }
    var rows: [MachineRow] = []
    for vm in sorted(snapshot.vms, { self.statistics($0.scope) }) {
      let vmPasses = passes(MachineName.vm(vm), topReason(statistics(vm.scope)))
      let vcpus = sorted(vm.vcpus, { self.statistics($0.scope) }).filter { vcpu in
        vmPasses || passes(MachineName.vcpu(vcpu), vcpu.threadName ?? "", topReason(statistics(vcpu.scope)))
      }
      guard vmPasses || !vcpus.isEmpty else { continue }
      rows.append(MachineRow(vm: vm, vcpu: nil, statistics: statistics(vm.scope)))
      rows += vcpus.map { MachineRow(vm: vm, vcpu: $0, statistics: statistics($0.scope)) }
    }
    return rows
  }

  /// The most frequent reason of the interval, or since the start.
  func topReason(_ statistics: ScopeStatistics) -> String {
    let interval = statistics.intervalExits > 0 && !showsWindow
    let top = statistics.reasons.max {
      interval ? $0.intervalCount < $1.intervalCount : $0.count < $1.count
    }
    return top?.name ?? ""
  }

  /// The keys of a pane's rows, in order; empty for panes that only scroll.
  func rowKeys(_ pane: Pane) -> [RowKey] {
    switch pane {
    case .exits: exitRows().map { RowKey($0.reason) }
    case .controls: comparisonRows(pane)?.map(\.key) ?? controlRows().map { .control($0.control) }
    case .vcpus: machineRows().map(\.key)
    case .guest, .host, .nested: comparisonRows(pane)?.map(\.key) ?? stateRows(pane).map(\.key)
    case .msrs: msrRows().map { .msr($0.first) }
    case .diff: diffKeys
    case .details, .log: []
    }
  }

  /// The row the cursor of a pane is on.
  func cursorIndex(_ pane: Pane, _ keys: [RowKey]) -> Int {
    let state = state(pane)
    if let key = state.key, let index = keys.firstIndex(of: key) { return index }
    // The row is gone, or the cursor was never moved: it stays at its place.
    return min(max(0, state.selected), max(0, keys.count - 1))
  }

  /// For exits charged to a bitmap: its entry that is hit most, such as ` 0x6e0 IA32_TSC_DEADLINE`.
  func bitmapEntry(_ reason: ReasonStatistics) -> String {
    guard let control = reason.charges.first?.control else { return "" }
    guard let kind = control.entryKind, let entry = reason.details.first(where: { $0.kind == kind })?.entries.first
    else { return "" }
    return " " + names.detail(kind, entry.value)
  }

  var selectedReason: ReasonStatistics? {
    let rows = exitRows()
    let index = cursorIndex(.exits, rows.map { RowKey($0.reason) })
    return rows.indices.contains(index) ? rows[index].reason : nil
  }

  /// The reason of the details pane: the one drilled into, otherwise the one under the cursor.
  var detailedReason: ReasonStatistics? {
    guard let detailKey else { return selectedReason }
    return scopeStatistics?.reasons.first { RowKey($0) == detailKey }
  }

  /// The vCPU whose state is shown: the one looked at, otherwise the busiest of what is looked at. It stays the same
  /// until another is clearly busier: two that take turns would make the pane unreadable.
  var guestVCPU: (vm: VirtualMachineStatistics, vcpu: VCPUStatistics)? {
    guard let snapshot else { return nil }
    var best: (vm: VirtualMachineStatistics, vcpu: VCPUStatistics)?
    var bestExits: UInt64 = 0
    var earlier: (vm: VirtualMachineStatistics, vcpu: VCPUStatistics)?
    for vm in snapshot.vms {
      if case .vm(let identity) = scope, VMIdentity(vm) != identity { continue }
      for vcpu in vm.vcpus {
        if case .vcpu(let tid) = scope {
          if vcpu.tid == tid { return (vm, vcpu) }
          continue
        }
        let exits = statistics(vcpu.scope).exits
        if best == nil || exits > bestExits { (best, bestExits) = ((vm, vcpu), exits) }
        if vcpu.tid == favourite, !vcpu.isGone { earlier = (vm, vcpu) }
      }
    }
    if let earlier, statistics(earlier.vcpu.scope).exits >= bestExits / 5 &* 4 { return earlier }
    return best
  }

  /// A vCPU by its thread.
  func machine(_ tid: Int32) -> (vm: VirtualMachineStatistics, vcpu: VCPUStatistics)? {
    for vm in snapshot?.vms ?? [] {
      if let vcpu = vm.vcpus.first(where: { $0.tid == tid }) { return (vm, vcpu) }
    }
    return nil
  }
}

extension ControlRow {
  fileprivate mutating func add(_ row: ChargeStatistics, _ state: State) {
    if state == .on { self.state = .on }
    figures.add(row.figures)
  }
}
