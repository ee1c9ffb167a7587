import Aggregator
import Screen

extension Painter {
  mutating func paintMachines(_ area: Rectangle) {
    guard model.snapshot != nil else { return }
    let model = model
    let rows = model.machineRows()
    func name(_ row: MachineRow) -> String {
      guard let vcpu = row.vcpu else { return MachineName.vm(row.vm) }
      return "  \(MachineName.vcpu(vcpu))\(vcpu.isGone ? " (gone)" : "")"
    }
    let context = model.timeContext
    func figure(_ id: String, _ row: MachineRow, _ width: Int) -> String {
      Painter.text(ScopeFigures.all.figure(id)?.value(row.statistics, context) ?? .none, width: width)
    }
    let nameWidth = rows.reduce(8) { max($0, name($1).displayWidth) }
    let ids = [
      "name", "vmm", "pid", "cpu", "exits", "guest", "kernel", "user", "halted", "bar", "count", "reason",
    ]
    let rate = model.showsWindow ? "average" : "exits"
    let columns = ids.map { id in
      switch id {
      case "name": TableColumn(title: "VM / VCPU", minimum: 10, ideal: min(32, nameWidth))
      case "vmm": TableColumn(title: "VMM", minimum: 10, ideal: 16, priority: 10)
      case "pid": TableColumn(title: "PID/TID", minimum: 7, alignRight: true, priority: 6)
      case "cpu": TableColumn(title: "CPU", minimum: 4, alignRight: true, priority: 5)
      case "bar": TableColumn(title: "TIME", minimum: 10, ideal: 60, priority: 9)
      case "reason": TableColumn(title: "TOP REASON", minimum: 12, ideal: 24, priority: 7)
      default:
        ScopeFigures.all.figure(id == "exits" ? rate : id).map { TableColumn($0) } ?? TableColumn(title: id, minimum: 0)
      }
    }
    let cursor = model.cursorIndex(.vcpus, rows.map(\.key))
    paintTable(
      .vcpus, area, columns: columns, ids: ids, sortedBy: model.sort(.vcpus).column, count: rows.count, cursor: cursor,
      cell: { index, column, width in
        let row = rows[index]
        let split = model.timeSplit(row.statistics)
        switch ids[column] {
        case "name": return Span(name(row), row.vcpu == nil ? .value : .normal)
        case "vmm":
          guard row.vcpu == nil else { return Span(row.vcpu?.threadName ?? "", .dim) }
          return Span((row.vm.vmm ?? "") + (row.vm.isInferred ? " inferred" : ""), .dim)
        case "pid":
          // A VM is a process, a vCPU one of its threads.
          guard let vcpu = row.vcpu else { return Span(row.vm.pid.map { String($0) } ?? "-") }
          return Span(vcpu.tid == 0 ? "-" : String(vcpu.tid), .dim)
        case "cpu": return Span(row.vcpu.map { $0.cpu.map { String($0) } ?? "-" } ?? "")
        case "exits": return Span(figure(rate, row, width), .value)
        case "guest", "kernel", "user", "halted":
          let share = figure(ids[column], row, width)
          return Span(share, share == "-" || share == "·" ? .dim : .normal)
        case "bar": return Span(Painter.bar(split, width: width), .guest)
        case "count": return Span(figure("count", row, width))
        default: return Span(model.topReason(row.statistics), .charged)
        }
      },
      marker: { index in
        if let tid = rows[index].vcpu?.tid, model.pins.contains(tid) { return Span("P", .warning) }
        let isShown: Bool =
          switch (model.scope, rows[index].key) {
          case (.vm(let a), .vm(let b)): a == b
          case (.vcpu(let a), .vcpu(let b)): a == b
          default: false
          }
        return isShown ? Span("*", .key) : Span(" ")
      })
    colourBars(area)
    if rows.isEmpty { text(area, y: 1, model.filter.isEmpty ? "no VM" : "no VM matches /\(model.filter)", .dim) }
  }

  /// The parts of the time as different signs, so that the bar reads without colours too.
  static func bar(_ split: TimeSplit, width: Int) -> String {
    let signs: [Character] = ["█", "▓", "▒", "░"]
    let parts = [split.guest, split.kernel, split.user, split.halted].map { Double($0) }
    return String(Graph.bar(parts, whole: Double(split.total), width: width).map { $0 < 0 ? " " : signs[$0] })
  }

  private mutating func colourBars(_ area: Rectangle) {
    let roles: [Role] = [.guest, .kernel, .user, .halted]
    for y in area.y..<max(area.y, min(area.bottom, rows)) {
      for x in area.x..<max(area.x, min(area.right, columns)) where frame.screen[x, y].role == .guest {
        let scalar = frame.screen[x, y].scalar
        let index: Int? =
          switch scalar {
          case 0x2588, 0x23: 0
          case 0x2593, 0x3d: 1
          case 0x2592, 0x2b: 2
          case 0x2591, 0x2e: 3
          default: nil
          }
        if let index { frame.screen.setRole(roles[index], y: y, from: x, to: x + 1) }
      }
    }
  }
}
