import Aggregator
import Screen

extension Painter {
  mutating func paintControls(_ area: Rectangle) {
    guard let snapshot = model.snapshot else { return }
    let model = model
    let statistics = model.scopeStatistics ?? ScopeStatistics()
    let context = model.context(statistics)
    let rows = model.controlRows()
    let by = model.sort(.controls).column
    let window = model.showsWindow
    let interval = context.basis == .interval
    func ideal(_ least: Int, _ text: (ControlRow) -> String) -> Int {
      rows.reduce(least) { max($0, text($1).displayWidth) }
    }
    let words = ideal(7) { $0.name.word }
    let ids = ["bit", "bit", "state", "name", "exits", "percent", "time", "count", "title"]
    let columns = [
      TableColumn(title: "WORD", minimum: min(12, words), ideal: min(16, words)),
      TableColumn(title: "BIT", minimum: 3, alignRight: true, priority: 6),
      TableColumn(title: "ON", minimum: 3),
      TableColumn(title: "CONTROL", minimum: 16, ideal: min(40, ideal(16) { $0.name.short })),
      TableColumn(title: window ? "AVG/S" : "EXITS/S", minimum: 8, alignRight: true, priority: 1),
      TableColumn(title: "%", minimum: 5, alignRight: true, priority: 3),
      TableColumn(title: "TIME%", minimum: 5, alignRight: true, priority: 2),
      TableColumn(title: "COUNT", minimum: 9, alignRight: true, priority: 5),
      TableColumn(title: "WHAT IT DOES", minimum: 16, ideal: min(80, ideal(16) { $0.name.title }), priority: 4),
    ]
    let strip = area.height >= 12 ? 2 : 0
    let table = Rectangle(x: area.x, y: area.y, width: area.width, height: area.height - strip)
    let cursor = model.cursorIndex(.controls, rows.map { .control($0.control) })
    func share(_ part: UInt64, _ whole: UInt64) -> String {
      whole == 0 || part == 0 ? "·" : Format.percent(100 * Double(part) / Double(whole))
    }
    paintTable(
      .controls, table, columns: columns, ids: ids, sortedBy: by, count: rows.count, cursor: cursor,
      cell: { row, column, width in
        let control = rows[row]
        let isStruck = model.struck.contains(control.control)
        let isCause = interval ? control.intervalExits > 0 : control.exits > 0
        let span: Span =
          switch ids[column] {
          case "bit" where column == 0:
            // In the order of words, a word is named once.
            Span(
              by == "bit" && row > 0 && rows[row - 1].name.word == control.name.word ? "" : control.name.word, .dim)
          case "bit": Span(control.name.bit.map(String.init) ?? "", .dim)
          case "state":
            switch control.state {
            case _ where isStruck: Span("[-]", .struck)
            case .on: Span("[x]", .value)
            case .off: Span("[ ]")
            case .mixed: Span("[~]", .value)
            case .unknown: Span("[?]", .dim)
            case .none: Span(" · ", .dim)
            }
          case "name": Span(control.name.short, isCause ? .charged : .normal)
          case "exits":
            Span(Painter.rate(control, window, snapshot))
          case "percent":
            Span(
              interval
                ? share(control.intervalExits, context.intervalExits) : share(control.exits, context.exits))
          case "time":
            Span(share(interval ? control.intervalHandling : control.handling, context.busy))
          case "count": Span(Painter.text(.integer(control.exits), width: width))
          default: Span(control.name.title, .dim)
          }
        if isStruck { return Span(span.text, .struck) }
        return Span(span.text, span.text == "·" || span.text == "0" ? .dim : span.role)
      },
      marker: { row in model.struck.contains(rows[row].control) ? Span("-", .struck) : Span(" ") })
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
        var line = Line(" \(name.name)", .value)
        line.append("  \(name.title)")
        frame.screen.put(line, x: area.x, y: table.bottom, limit: area.right)
      }
      let legend =
        snapshot.controlWords.isEmpty
        ? "[x] on: an exit proves it  [?] no exit tells  [-] struck (x key)"
        : "[x] on  [ ] off  [~] on for some: read from kernel memory  [-] struck (x key)"
      text(area, y: area.height - 1, legend, .dim)
    }
  }

  private static func rate(_ control: ControlRow, _ window: Bool, _ snapshot: Snapshot) -> String {
    let count = window ? control.exits : control.intervalExits
    let nanoseconds = window ? snapshot.windowNanoseconds : snapshot.intervalNanoseconds
    guard nanoseconds > 0 else { return "-" }
    return count == 0 ? "·" : Format.count(Double(count) * 1e9 / Double(nanoseconds))
  }
}
