import Aggregator
import Architecture
import Screen

extension Painter {
  mutating func paintControls(_ area: Rectangle) {
    guard let snapshot = model.snapshot else { return }
    if model.comparison != nil { return paintComparison(.controls, area) }
    let model = model
    let statistics = model.scopeStatistics ?? ScopeStatistics()
    var context = model.context(statistics)
    let rows = model.controlRows()
    let by = model.sort(.controls).column
    // What was counted in a setting is counted over all of its time.
    let setting = model.shownSetting
    let window = model.showsWindow || setting != nil
    if let setting { context = FigureContext(setting) }
    let interval = context.basis == .interval
    let rate = window ? "average" : "exits"
    func ideal(_ least: Int, _ text: (ControlRow) -> String) -> Int {
      rows.reduce(least) { max($0, text($1).displayWidth) }
    }
    let words = ideal(7) { $0.name.word }
    // Where nothing but the exits is known of the controls, there is nothing to set beside them.
    let threads = model.scopeThreads
    let hasWords = threads.contains { model.words($0) != nil }
    let host = snapshot.hostControls
    let hasConfiguration = host.map { $0.configuration.words != ControlSetting() } ?? false
    // Of intercepts the processor allows all.
    let hasAllowed = host != nil && snapshot.source.isa == "vmx"
    // Why a bit differs was read of what is in force now.
    let reasons = hasWords && setting == nil ? differences(threads) : [:]
    func why(_ row: ControlRow) -> (text: String, isReason: Bool) {
      if let reason = reasons[row.control] { return (reason, true) }
      if let configured = model.configured(row.control), row.state != .mixed, row.state != .none,
        model.now(row.control, threads) == (configured ? .off : .on)
      {
        return (row.control.controlBit?.kvmCondition ?? row.name.title, true)
      }
      // What KVM does with an intercept says more than its name in other words.
      let use = row.control.interceptCode.flatMap { ExitReason.lookup(isa: 2, code: $0)?.svm?.kvmUse }
      return (use.map { "\(row.name.title): \($0)" } ?? row.name.title, false)
    }
    var shown: [(id: String, column: TableColumn)] = [
      ("bit", TableColumn(title: "WORD", minimum: min(9, words), ideal: min(16, words))),
      ("bit", TableColumn(title: "BIT", minimum: 3, alignRight: true, priority: 8)),
      ("state", TableColumn(title: "ON", minimum: 3)),
      (
        "name",
        TableColumn(title: "CONTROL", minimum: area.width >= 78 ? 22 : 16, ideal: min(40, ideal(16) { $0.name.short }))
      ),
      ("now", TableColumn(title: setting == nil ? "NOW" : "SET", minimum: 3, priority: hasWords ? 5 : 99)),
      ("configured", TableColumn(title: "CFG", minimum: 3, priority: hasConfiguration ? 4 : 99)),
      ("allowed", TableColumn(title: "ALLOW", minimum: 5, priority: hasAllowed ? 6 : 99)),
    ]
    for (id, figure) in [("exits", rate), ("percent", "percent"), ("time", "time"), ("count", "count")] {
      if let figure = ControlFigures.all.figure(figure) { shown.append((id, TableColumn(figure))) }
    }
    shown.append(
      (
        "why",
        TableColumn(
          title: hasWords ? "WHY" : "WHAT IT DOES", minimum: hasWords ? 26 : 16,
          ideal: min(120, ideal(16) { why($0).text }),
          priority: 9)
      ))
    shown.removeAll { $0.column.priority >= 99 }
    let ids = shown.map(\.id)
    let columns = shown.map(\.column)
    let strip = area.height >= 12 ? 2 : 0
    let table = Rectangle(x: area.x, y: area.y, width: area.width, height: area.height - strip)
    func differs(_ id: ControlID, _ isSet: Bool) -> Bool { model.configured(id).map { $0 != isSet } ?? false }
    let cursor = model.cursorIndex(.controls, rows.map { .control($0.control) })
    func figure(_ id: String, _ control: ControlRow, _ width: Int) -> String {
      Painter.text(ControlFigures.all.figure(id)?.value(control.figures, context) ?? .none, width: width)
    }
    func share(_ id: String, _ control: ControlRow, _ width: Int) -> String {
      let share = figure(id, control, width)
      return share == "-" ? "·" : share
    }
    paintTable(
      .controls, table, columns: columns, ids: ids, sortedBy: by, count: rows.count, cursor: cursor,
      cell: { row, column, width in
        let control = rows[row]
        let isWhatIfOff = model.whatIfOff.contains(control.control)
        let isCause = interval ? control.intervalCount > 0 : control.count > 0
        let span: Span =
          switch ids[column] {
          case "bit" where column == 0:
            // In the order of words, a word is named once.
            Span(
              by == "bit" && row > 0 && rows[row - 1].name.word == control.name.word ? "" : control.name.word, .dim)
          case "bit": Span(control.name.bit.map(String.init) ?? "", .dim)
          case "state":
            switch control.state {
            case _ where isWhatIfOff: Span("[-]", .whatIfOff)
            case .on: Span("[x]", .value)
            case .off: Span("[ ]")
            case .mixed: Span("[~]", .value)
            case .unknown: Span("[?]", .dim)
            case .none: Span(" · ", .dim)
            }
          case "name": Span(control.name.short, isCause ? .charged : .normal)
          case "exits":
            Span(figure(rate, control, width))
          case "percent", "time": Span(share(ids[column], control, width))
          case "now":
            switch model.now(control.control, threads) {
            case .on: Span("1", differs(control.control, true) ? .changed : .normal)
            case .off: Span("0", differs(control.control, false) ? .changed : .normal)
            case .mixed: Span("~", .value)
            case nil: Span("·", .dim)
            }
          case "configured": Span(model.configured(control.control).map { $0 ? "1" : "0" } ?? "·", .normal)
          case "allowed": Span(model.allowed(control.control) ?? "·", .dim)
          case "count": Span(figure("count", control, width))
          default:
            why(control).isReason ? Span(why(control).text, .changed) : Span(why(control).text, .dim)
          }
        if isWhatIfOff { return Span(span.text, .whatIfOff) }
        return Span(span.text, span.text == "·" || span.text == "0" ? .dim : span.role)
      },
      marker: { row in model.whatIfOff.contains(rows[row].control) ? Span("-", .whatIfOff) : Span(" ") })
    if rows.isEmpty {
      let why =
        !model.filter.isEmpty
        ? "no control matches /\(model.filter)"
        : snapshot.source.isa == nil && !model.hasNoExits
          ? "no exit yet" : "no control words here: kvm_intel and kvm_amd have them"
      text(area, y: 1, why, .dim)
    } else if strip > 0 {
      if rows.indices.contains(cursor) {
        let name = rows[cursor].name
        let reason = why(rows[cursor])
        var line = Line(" \(name.name)", .value)
        line.append("  \(reason.text)", reason.isReason ? .changed : .normal)
        frame.screen.put(line, x: area.x, y: table.bottom, limit: area.right)
      }
      if let line = setting.map({ "SETTING \(model.text(of: $0))" }) ?? model.settingsHint {
        return text(area, y: area.height - 1, line, setting == nil ? .dim : .value)
      }
      let legend =
        !hasWords
        ? "[x] on: an exit proves it  [?] no exit tells  [-] off (what-if)"
        : hasAllowed && hasConfiguration
          ? "NOW: kernel memory  CFG: vmcs_config  ALLOW: the processor  ~ vCPUs differ"
          : "[x] on  [ ] off  [~] on for some: read from kernel memory  [-] off (what-if)"
      text(area, y: area.height - 1, legend, .dim)
    }
  }

  /// Why bits are not as configured, of the vCPUs of what is looked at that were read.
  private func differences(_ threads: [Int32]) -> [ControlID: String] {
    var result: [ControlID: String] = [:]
    for tid in threads {
      for difference in model.snapshot?.states[tid]?.differences ?? [] where result[difference.control] == nil {
        result[difference.control] = difference.reason
      }
    }
    return result
  }
}

extension FigureContext {
  /// A setting of the controls is counted over all of its time.
  fileprivate init(_ setting: SettingStatistics) {
    self.init()
    windowNanoseconds = setting.duration
    figures.total = setting.figures.total
  }
}
