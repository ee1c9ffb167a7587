import Aggregator
import Architecture
import Screen

/// Everything the front knows besides the snapshot: which pane, what is looked at, sorted, off in the what-if. A plain value: keys
/// change it, the renderer draws it.
public struct FrontModel {
  /// What a pane is sorted by.
  public struct Sort: Sendable, Hashable {
    public var column: String
    public var descending: Bool
  }

  /// Where a pane's cursor is.
  struct PaneState {
    var selected = 0
    /// Nil until the cursor was moved: then it stays on top, whatever comes there.
    var key: RowKey?
    /// The first row shown.
    var top = 0
  }

  /// A line being typed.
  public struct Prompt: Sendable, Hashable {
    public enum Kind: Sendable { case filter, command, time }
    public var kind: Kind
    public var text: String
  }

  public var names: any Names
  /// By which times of day are told.
  public var localTime = LocalTime.system
  public private(set) var snapshot: Snapshot?
  public private(set) var pane: Pane = .exits
  public private(set) var scope: ScopeSelection = .all
  public private(set) var isHelpOpen = false
  public private(set) var isPaused = false
  /// Seconds.
  public private(set) var interval: Double
  public private(set) var whatIfOff: Set<ControlID> = []
  /// The setting that the controls pane shows; nil for all.
  public private(set) var setting: VCPUSetting?
  public private(set) var prompt: Prompt?
  /// Shown in the last line until the next key.
  public private(set) var message: String?
  /// What the filter is, as typed; empty for none.
  public private(set) var filter = ""
  private(set) var pattern: Pattern?
  /// The reason drilled into, or nil for the one under the cursor.
  private(set) var detailKey: RowKey?
  /// Counts up when the terminal is to be drawn anew.
  public private(set) var redraws = 0
  /// The interval's counts of the snapshot before, to tell what changed.
  private(set) var earlierCounts: [RowKey: UInt64] = [:]

  private var states: [PaneState] = Array(repeating: PaneState(), count: Pane.allCases.count + 1)
  private var sorts: [Pane: Sort] = [
    .exits: Sort(column: "exits", descending: true),
    .controls: Sort(column: "exits", descending: true),
    .vcpus: Sort(column: "name", descending: false),
  ]
  private(set) var helpTop = 0
  private var regions: [Frame.Region] = []
  private var pageHeights: [Pane: Int] = [:]
  private var earlierPane: Pane?
  private var filterBefore = ""

  /// Where a range of the recording begins that has no other end yet, nanoseconds since the first event.
  var rangeStart: UInt64?
  /// A mark of the time line was asked for: it is told in words once one is there.
  var awaitsMark = false

  /// CLOCK_MONOTONIC in nanoseconds when `tick` was called last, for ages; 0 where nobody says.
  private(set) var now: UInt64 = 0
  /// The vCPU whose state was shown last, by thread.
  private(set) var favourite: Int32?
  /// Earlier values of the vCPUs that are read, by thread.
  private(set) var histories: [Int32: StateHistory] = [:]
  /// Which MSRs do not exit, by thread; worked out when the bitmap is another one.
  private(set) var msrRanges: [Int32: [MSRAccess]] = [:]
  private var msrBitmaps: [Int32: [UInt8]] = [:]
  /// The threads of the pinned vCPUs, in the order they were pinned: at most two, and with two they are compared.
  private(set) var pins: [Int32] = []
  /// Whether fields without a value are listed; nil for: where there is room for all.
  private(set) var showsUnavailable: Bool?
  /// The field or control that is explained in its pane's place.
  private(set) var explained: RowKey?
  private(set) var explanationTop = 0
  /// What was asked to be read of whole, by thread.
  private var watched: Set<Int32> = []
  /// The panes that were on the screen when it was drawn last.
  private var visible: Set<Pane> = []
  /// When the VMM was asked last, as `now`.
  private var asked: UInt64?

  /// What the diff pane compares with; nil until somebody says.
  public private(set) var before: Before?

  /// - Parameter before: what to compare with from the start; the diff pane is open then.
  public init(names: any Names, interval: Double = 1, before: Before? = nil) {
    self.names = names
    self.interval = interval
    self.before = before
    if before != nil { pane = .diff }
  }

  public func sort(_ pane: Pane) -> Sort { sorts[pane] ?? Sort(column: "", descending: false) }
  func state(_ pane: Pane) -> PaneState { states[pane.rawValue] }

  /// True where the events come through a pipe from another host's recorder.
  public var isStream: Bool { snapshot?.stream != nil }

  /// True while a recording is shown.
  public var isRecording: Bool { snapshot?.playback != nil }

  /// Takes the next snapshot. While a live view is paused it is not taken; a recording that is held still steps.
  public mutating func observe(_ next: Snapshot) {
    if isPaused && next.playback == nil && snapshot != nil { return }
    if let playback = next.playback { isPaused = playback.isPaused }
    if let newest = next.messages.last, newest != snapshot?.messages.last, prompt == nil,
      newest.level != .info || next.playback != nil && snapshot != nil
    {
      // Trouble is told at once, whatever pane is open, and what a recording answers to a key; all of it is in the log.
      message = newest.text
    }
    if let snapshot, snapshot.sequence != next.sequence {
      earlierCounts = [:]
      if snapshot.intervalNanoseconds > 0 {
        for reason in scopeStatistics?.reasons ?? [] { earlierCounts[RowKey(reason)] = reason.intervalCount }
      }
    }
    let position = snapshot?.playback?.position
    snapshot = next
    // What was shown last when the key was read may be another than what was seen when it was pressed.
    if let before, before.isUntilMark, let marked = next.sinceMark?.before,
      marked.sequence > before.snapshot.sequence, marked.source.isSame(as: before.snapshot.source)
    {
      self.before = Before(marking: marked)
    }
    if awaitsMark, let playback = next.playback, playback.position != position {
      awaitsMark = false
      let mark = playback.rateTimeline?.marks.last { $0.position == playback.position }
      if let mark, message == nil, prompt == nil { message = text(of: mark) }
    }
    for tid in Array(histories.keys) where next.states[tid] == nil && !pins.contains(tid) { histories[tid] = nil }
    for (tid, reading) in next.states {
      histories[tid, default: StateHistory()].add(reading)
      if msrBitmaps[tid] != reading.msrBitmap {
        msrBitmaps[tid] = reading.msrBitmap
        msrRanges[tid] = reading.msrBitmap.map(MSRAccess.ranges)
      }
    }
    for tid in Array(msrBitmaps.keys) where next.states[tid] == nil {
      msrBitmaps[tid] = nil
      msrRanges[tid] = nil
    }
    favourite = guestVCPU?.vcpu.tid
  }

  /// Says what time it is: CLOCK_MONOTONIC in nanoseconds.
  public mutating func tick(_ now: UInt64) { self.now = now }

  /// How long ago that was; nil where it is not known.
  func age(_ time: UInt64) -> UInt64? {
    let isHere = snapshot?.playback == nil && !isStream
    let now = snapshot?.monotonic ?? (isHere ? now : 0)
    return now == 0 ? nil : now - min(now, time)
  }

  /// What to read from now on, where that is something else than before. To be called when a frame was adopted: what is
  /// read depends on what is on the screen.
  public mutating func watchAction() -> Action? {
    guard !isHelpOpen else { return nil }
    var wanted: Set<Int32> = []
    if let snapshot, snapshot.playback == nil, snapshot.source.kind == .tracefs,
      visible.contains(where: { $0.showsState || $0 == .controls })
    {
      wanted = Set(pins)
      if let tid = guestVCPU?.vcpu.tid { wanted.insert(tid) }
      // Not a thread, but the sum of those that ended.
      wanted.remove(0)
    }
    guard wanted != watched else { return nil }
    watched = wanted
    return .watch(wanted)
  }

  /// Remembers where things were drawn, for the mouse, and how far panes were scrolled.
  public mutating func adopt(_ frame: Frame) {
    regions = frame.regions
    pageHeights = frame.pageHeights
    for (pane, top) in frame.tops { states[pane.rawValue].top = top }
    helpTop = frame.helpTop
    explanationTop = frame.explanationTop
    visible = Set(frame.tops.keys)
  }

  /// How many rows of a pane fit on the screen.
  func capacity(_ pane: Pane) -> Int { pageHeights[pane] ?? 20 }

  /// Shows one line at the foot until the next key.
  public mutating func say(_ text: String) { message = text }

  // MARK: Keys

  /// What a key does. The model changes; what others have to do is returned.
  public mutating func handle(_ key: Key) -> [Action] {
    message = nil
    awaitsMark = false
    if prompt != nil { return handlePrompt(key) }
    switch key {
    case .click(let x, let y): return click(x: x, y: y)
    case .wheel(let up): return wheel(up: up)
    default: break
    }
    guard let binding = Keymap.command(key) else {
      if case .character(let c) = key, c.properties.generalCategory != .control {
        message = "\(Character(c)): no such key; ? lists them"
      }
      return []
    }
    if isHelpOpen { return handleHelp(binding.command) }
    if explained != nil, handleExplanation(binding.command) { return [] }
    if binding.needsRecording && !isRecording {
      message = "\(key.label): for recordings only"
      return []
    }
    return perform(binding.command)
  }

  private mutating func handleHelp(_ command: Command) -> [Action] {
    let page = max(1, pageHeights[pane] ?? 10)
    switch command {
    case .quit, .help, .back, .drill: isHelpOpen = false
    case .down: helpTop += 1
    case .up: helpTop = max(0, helpTop - 1)
    case .pageDown: helpTop += page
    case .pageUp: helpTop = max(0, helpTop - page)
    case .top: helpTop = 0
    case .bottom: helpTop = 10_000
    case .pane(let pane):
      isHelpOpen = false
      show(pane)
    case .redraw: redraws += 1
    default: break
    }
    return []
  }

  /// Scrolls what is explained, or closes it. False for keys that mean the same as elsewhere.
  private mutating func handleExplanation(_ command: Command) -> Bool {
    let page = max(1, pageHeights[pane] ?? 10)
    switch command {
    case .back, .drill: explained = nil
    case .down: explanationTop += 1
    case .up: explanationTop = max(0, explanationTop - 1)
    case .pageDown: explanationTop += page
    case .pageUp: explanationTop = max(0, explanationTop - page)
    case .top: explanationTop = 0
    case .bottom: explanationTop = 10_000
    default: return false
    }
    return true
  }

  private mutating func perform(_ command: Command) -> [Action] {
    switch command {
    case .quit: return [.quit]
    case .help:
      isHelpOpen = true
      helpTop = 0
    case .up: move(by: -1)
    case .down: move(by: 1)
    case .pageUp: move(by: -page)
    case .pageDown: move(by: page)
    case .top: move(by: -1_000_000)
    case .bottom: move(by: 1_000_000)
    case .nextPane: show(Pane(rawValue: pane.rawValue + 1) ?? .exits)
    case .previousPane: show(Pane(rawValue: pane.rawValue - 1) ?? .diff)
    case .pane(let pane): show(pane)
    case .filter:
      filterBefore = filter
      prompt = Prompt(kind: .filter, text: filter)
    case .previousSort: cycleSort(by: -1)
    case .nextSort: cycleSort(by: 1)
    case .invert:
      guard var sort = sorts[sortedPane] else { break }
      sort.descending.toggle()
      sorts[sortedPane] = sort
    case .pause:
      if snapshot?.playback?.isFinished == true {
        isPaused = false
        return [.seekTo(0), .setPaused(false)]
      }
      isPaused = !(snapshot?.playback?.isPaused ?? isPaused)
      return [.setPaused(isPaused)]
    case .shorterInterval: return changeInterval(longer: false)
    case .longerInterval: return changeInterval(longer: true)
    case .stepForward: return [.setPaused(true), .step(1)]
    case .stepBack: return [.setPaused(true), .step(-1)]
    case .jumpForward: return held + [.seekBy(jump)]
    case .jumpBack: return held + [.seekBy(-jump)]
    case .jumpTo: prompt = Prompt(kind: .time, text: "")
    case .exitForward, .exitBack, .reasonForward, .reasonBack, .changeForward, .changeBack, .nextMark, .previousMark,
      .markRange, .faster, .slower:
      return travel(command)
    case .drill: drill()
    case .back: return goBack()
    case .markBefore: return markBefore()
    case .whatIf: toggleWhatIf()
    case .clearWhatIf: whatIfOff = []
    case .nextVCPU: nextVCPU(by: 1)
    case .previousVCPU: nextVCPU(by: -1)
    case .pin: pin()
    case .unavailable:
      let shown = showsUnavailable ?? (!pane.showsState || showsAllFields(pane))
      showsUnavailable = !shown
      message = shown ? "fields that only VMREAD could tell: hidden" : "fields that only VMREAD could tell: shown"
    case .askVMM: return askVMM()
    case .nextSetting: showNextSetting()
    case .record:
      guard !isRecording, !isStream else {
        message =
          isStream
          ? "r: it is recorded where it comes from; tee keeps it here: ... | tee FILE | vmctop replay -"
          : "r: this is a recording already"
        return []
      }
      return [.toggleRecording]
    case .live: return goLive()
    case .prompt: prompt = Prompt(kind: .command, text: "")
    case .redraw: redraws += 1
    }
    return []
  }

  private mutating func showNextSetting() {
    let settings = self.settings.map(\.setting)
    guard settings.count > 1 else {
      message = "one setting of the controls so far: none has changed, and all vCPUs are set alike"
      setting = nil
      return
    }
    if pane != .controls { show(.controls) }
    let next = setting.flatMap { settings.firstIndex(of: $0) }.map { $0 + 1 } ?? 0
    setting = settings.indices.contains(next) ? settings[next] : nil
    message = setting == nil ? "all settings of the controls together" : nil
  }

  private mutating func goLive() -> [Action] {
    // The recording's VMs are not this host's.
    scope = .all
    detailKey = nil
    earlierCounts = [:]
    isPaused = false
    pins = []
    rangeStart = nil
    histories = [:]
    watched = []
    return [.goLive]
  }

  // MARK: vCPUs

  private mutating func nextVCPU(by step: Int) {
    let threads = (snapshot?.vms ?? []).flatMap(\.vcpus).map(\.tid)
    guard !threads.isEmpty else { return }
    let at = guestVCPU.flatMap { threads.firstIndex(of: $0.vcpu.tid) } ?? 0
    scope = .vcpu(tid: threads[(at + step + threads.count) % threads.count])
    earlierCounts = [:]
    message = scopeText
  }

  /// The vCPU that a key is about: under the cursor of the list of vCPUs, otherwise the one whose state is shown.
  private var meant: (vm: VirtualMachineStatistics, vcpu: VCPUStatistics)? {
    guard pane == .vcpus else { return guestVCPU }
    let rows = machineRows()
    let index = cursorIndex(.vcpus, rows.map(\.key))
    guard rows.indices.contains(index) else { return nil }
    return rows[index].vcpu.map { (rows[index].vm, $0) }
  }

  private mutating func pin() {
    if pins.count == 2 {
      pins = []
      message = "comparison ended"
      return
    }
    guard let (vm, vcpu) = meant, vcpu.tid != 0 else {
      message = "no vCPU to pin here"
      return
    }
    let name = "\(MachineName.vm(vm)) · \(MachineName.vcpu(vcpu))"
    if pins == [vcpu.tid] {
      pins = []
      message = "\(name): not pinned any more"
      return
    }
    pins.append(vcpu.tid)
    explained = nil
    if pins.count == 2 {
      if pane != .host && pane != .controls { show(.guest) }
      message = "only what differs; = or Esc ends it"
    } else {
      message = "\(name) is pinned: go to another vCPU (n) and press = again to see what differs"
    }
  }

  private mutating func askVMM() -> [Action] {
    guard !isRecording, snapshot?.source.kind == .tracefs else {
      message = isStream ? "R: the VMM is on the recorder's host" : "R: a recording has no VMM to ask"
      return []
    }
    guard let (vm, vcpu) = meant, vcpu.tid != 0, !vcpu.isGone else {
      message = "R: no vCPU here to ask for"
      return []
    }
    if let asked, now - min(now, asked) < 1_000_000_000 {
      message = "R: asked less than a second ago"
      return []
    }
    asked = now
    message = "asked the VMM of \(MachineName.vm(vm)) · \(MachineName.vcpu(vcpu)): this kicks the vCPU out of the guest"
    return [.askVMM(tid: vcpu.tid)]
  }

  /// From the end of a recording one jumps to look, not to have it run away again.
  var held: [Action] { snapshot?.playback?.isFinished == true ? [.setPaused(true)] : [] }

  private var page: Int { max(1, (pageHeights[pane] ?? 10) - 1) }

  /// A twentieth of the recording, at most ten seconds.
  private var jump: Double {
    guard let duration = snapshot?.playback?.duration else { return 10 }
    return min(10, max(0.1, Double(duration) / 20e9))
  }

  private mutating func show(_ next: Pane) {
    if next != pane { earlierPane = pane }
    if next != .details { detailKey = nil }
    explained = nil
    pane = next
  }

  private mutating func move(by distance: Int) {
    let keys = rowKeys(pane)
    if keys.isEmpty {
      // A pane that only scrolls; the renderer stops at its end.
      states[pane.rawValue].top = min(max(0, states[pane.rawValue].top + distance), 1_000_000)
      return
    }
    select(pane, cursorIndex(pane, keys) + distance, keys)
  }

  private mutating func select(_ pane: Pane, _ index: Int, _ keys: [RowKey]) {
    let index = min(max(0, index), keys.count - 1)
    guard keys.indices.contains(index) else { return }
    states[pane.rawValue].selected = index
    states[pane.rawValue].key = keys[index]
  }

  private mutating func changeInterval(longer: Bool) -> [Action] {
    let steps: [Double] = [0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60]
    let next = longer ? steps.first { $0 > interval * 1.001 } : steps.last { $0 < interval * 0.999 }
    guard let next else { return [] }
    return setInterval(next)
  }

  private mutating func setInterval(_ seconds: Double) -> [Action] {
    interval = seconds
    message = "interval \(Format.fixed(seconds, seconds < 1 ? 2 : 1)) s"
    return [.setInterval(seconds)]
  }

  // MARK: Sorting

  /// The columns a pane can be sorted by, in the order of the screen.
  public func sortColumns(_ pane: Pane) -> [String] {
    switch pane {
    case .exits: ReasonFigures.columns.map(\.id).filter { $0 != (showsWindow ? "exits" : "") }
    case .controls: ["bit", "name", "exits", "time"]
    case .vcpus: ["name", "exits", "guest", "kernel", "user", "halted"]
    case .guest, .host, .details, .log, .msrs, .nested, .diff: []
    }
  }

  /// Panes without an order of their own sort the exits.
  private var sortedPane: Pane { sorts[pane] == nil ? .exits : pane }

  private mutating func cycleSort(by step: Int) {
    let pane = sortedPane
    let columns = sortColumns(pane)
    guard !columns.isEmpty else { return }
    let current = pane == .exits ? exitSortColumn.id : sort(pane).column
    let at = columns.firstIndex(of: current) ?? 0
    setSort(pane, columns[(at + step + columns.count) % columns.count])
    message = "sorted by \(sort(pane).column)"
  }

  /// Sorts a pane by a column's id, in the direction that is most useful for it.
  public mutating func setSort(_ pane: Pane, _ column: String) {
    let descending =
      pane == .exits ? ReasonFigures.column(column)?.descendingFirst ?? true : !["name", "bit"].contains(column)
    sorts[pane] = Sort(column: column, descending: descending)
    states[pane.rawValue] = PaneState()
  }

  // MARK: Drilling, scopes, what-if

  private mutating func drill() {
    switch pane {
    case .exits: if let reason = selectedReason { showDetails(RowKey(reason)) }
    case .diff:
      let keys = rowKeys(.diff)
      let index = cursorIndex(.diff, keys)
      guard keys.indices.contains(index) else { return }
      switch keys[index] {
      case .reason: showDetails(keys[index])
      case .change(let control):
        explained = .control(control)
        explanationTop = 0
      default:
        explained = keys[index]
        explanationTop = 0
      }
    case .controls, .guest, .host, .nested:
      let keys = rowKeys(pane)
      let index = cursorIndex(pane, keys)
      guard keys.indices.contains(index) else { return }
      explained = keys[index]
      explanationTop = 0
    case .vcpus:
      let rows = machineRows()
      let index = cursorIndex(.vcpus, rows.map(\.key))
      guard rows.indices.contains(index) else { return }
      if let vcpu = rows[index].vcpu {
        scope = .vcpu(tid: vcpu.tid)
      } else {
        scope = .vm(VMIdentity(rows[index].vm))
      }
      earlierCounts = [:]
      show(.exits)
    case .details, .log, .msrs: break
    }
  }

  private mutating func showDetails(_ reason: RowKey) {
    detailKey = reason
    earlierPane = pane
    pane = .details
    states[Pane.details.rawValue] = PaneState()
  }

  private mutating func markBefore() -> [Action] {
    guard let snapshot, snapshot.windowNanoseconds > 0 else {
      message = "D: nothing was counted yet"
      return []
    }
    let next = Before(marking: snapshot)
    let actions = next.isUntilMark ? [.markBefore] : endOfComparison
    before = next
    message = "the before: \(next.title)\(pane == .diff ? "" : "; \(Pane.diff.key) shows the difference")"
    return actions
  }

  /// A before that is given up needs nothing to be counted after it.
  private var endOfComparison: [Action] { before?.isUntilMark == true ? [.forgetBefore] : [] }

  private mutating func goBack() -> [Action] {
    if pins.count == 2, pane == .controls || pane == .guest || pane == .host {
      pins = []
      return []
    }
    if pane == .details, let earlierPane {
      pane = earlierPane
      detailKey = nil
      self.earlierPane = nil
    } else if !filter.isEmpty {
      setFilter("")
    } else if rangeStart != nil || snapshot?.playback?.range != nil {
      return clearRange()
    } else if scope != .all {
      scope = .all
      earlierCounts = [:]
    } else if pane == .diff, before != nil {
      let actions = endOfComparison
      before = nil
      message = "the before is given up"
      return actions
    } else if pane != .exits {
      show(.exits)
    }
    return []
  }

  private mutating func toggleWhatIf() {
    var controls: [ControlID] = []
    switch pane {
    case .controls:
      let rows = controlRows()
      let index = cursorIndex(.controls, rows.map { .control($0.control) })
      if rows.indices.contains(index) { controls = [rows[index].control] }
    default:
      controls = (pane == .details ? detailedReason : selectedReason)?.charges.map(\.control) ?? []
    }
    let switches = controls.filter { !names.isUnconditional($0) }
    guard let first = switches.first else {
      message = controls.isEmpty ? "no control under the cursor" : "nothing can suppress these exits"
      return
    }
    if switches.allSatisfy(whatIfOff.contains) {
      whatIfOff.subtract(switches)
    } else {
      whatIfOff.formUnion(switches)
      let cost = scopeStatistics?.controls.first { $0.control == first }
      if cost == nil { message = "\(names.control(first).short): no exit is charged to it" }
    }
  }

  // MARK: Prompts

  /// Shows only the rows whose name matches the regular expression; empty for all.
  public mutating func setFilter(_ text: String) {
    filter = text
    if text.isEmpty {
      pattern = nil
    } else if let next = Pattern(text) {
      pattern = next
    } else {
      message = "not a regular expression yet: \(text)"
    }
  }

  private mutating func handlePrompt(_ key: Key) -> [Action] {
    guard var line = prompt else { return [] }
    switch key {
    case .escape:
      prompt = nil
      if line.kind == .filter { setFilter("") }
      return []
    case .enter:
      prompt = nil
      switch line.kind {
      case .filter:
        setFilter(line.text)
        if pattern?.text != filter && !filter.isEmpty {
          setFilter(filterBefore)
          message = "not a regular expression: \(line.text)"
        }
        return []
      case .command: return run(line.text)
      case .time: return seek(line.text)
      }
    case .backspace, .delete:
      if line.text.isEmpty {
        prompt = nil
      } else {
        line.text.removeLast()
        prompt = line
      }
    case .character("\u{15}"):  // ^U
      line.text = ""
      prompt = line
    case .character(let c):
      switch c.cellClass {
      case .cells, .mark:
        if line.text.unicodeScalars.count < 200 { line.text.unicodeScalars.append(c) }
        prompt = line
      case .hidden, .unprintable: break
      }
    default: break
    }
    if line.kind == .filter { setFilter(line.text) }
    return []
  }

  private mutating func run(_ text: String) -> [Action] {
    let words = text.split(separator: " ", maxSplits: 1).map(String.init)
    guard let command = words.first else { return [] }
    let argument = words.count > 1 ? words[1] : ""
    switch command {
    case "q", "quit": return [.quit]
    case "interval", "i":
      guard let seconds = Double(argument), seconds.isFinite, seconds >= 0.05, seconds <= 3600 else {
        message = "interval: seconds from 0.05 to 3600"
        return []
      }
      return setInterval(seconds)
    case "filter", "f": setFilter(argument)
    case "sort", "s":
      let id = argument.lowercased()
      if sortColumns(sortedPane).contains(id) {
        setSort(sortedPane, id)
      } else {
        message = "sort: one of \(sortColumns(sortedPane).joined(separator: " "))"
      }
    case "pane", "p":
      if let next = Pane.allCases.first(where: { $0.key == argument || $0.title == argument }) {
        show(next)
      } else {
        message = "pane: a digit as on the keys, or a pane's name"
      }
    case "speed":
      guard isRecording else {
        message = "speed: for recordings only"
        return []
      }
      guard let speed = Double(argument), speed.isFinite, speed > 0, speed <= 1000 else {
        message = "speed: a factor above 0, 1 is the pace of the recording"
        return []
      }
      return [.setSpeed(speed)]
    case "live":
      guard isRecording else {
        message = isStream ? "live already, from another host" : "live already"
        return []
      }
      return goLive()
    case "goto", "range", "exit":
      guard isRecording else {
        message = "\(command): for recordings only"
        return []
      }
      return command == "goto" ? seek(argument) : command == "range" ? range(argument) : exit(argument)
    case "help": isHelpOpen = true
    default:
      message =
        "\(command): no such command; q, interval N, filter RE, sort COLUMN, pane N"
        + (isRecording ? ", speed N, goto TIME, range FROM TO, exit REASON, live" : "")
    }
    return []
  }

  // MARK: Mouse

  private mutating func click(x: Int, y: Int) -> [Action] {
    if isHelpOpen {
      isHelpOpen = false
      return []
    }
    guard let region = regions.last(where: { $0.area.contains(x: x, y: y) }) else { return [] }
    switch region.target {
    case .tab(let pane): show(pane)
    case .column(let pane, let column):
      let current = pane == .exits ? exitSortColumn.id : sort(pane).column
      if current == column {
        sorts[pane]?.descending.toggle()
      } else if sortColumns(pane).contains(column) {
        setSort(pane, column)
      }
    case .row(let pane, let index):
      if self.pane != pane { show(pane) }
      explained = nil
      select(pane, index, rowKeys(pane))
    case .pane(let pane): if self.pane != pane { show(pane) }
    case .timeLine:
      guard let playback = snapshot?.playback else { break }
      let line = TimeLine(width: region.area.width, duration: playback.duration)
      return held + [.seekTo(line.position(x - region.area.x))]
    }
    return []
  }

  private mutating func wheel(up: Bool) -> [Action] {
    if isHelpOpen {
      helpTop = max(0, helpTop + (up ? -3 : 3))
    } else if explained != nil {
      explanationTop = max(0, explanationTop + (up ? -3 : 3))
    } else {
      move(by: up ? -3 : 3)
    }
    return []
  }
}
