import Architecture

extension ReasonCode {
  /// True for what halts the vCPU: its handling time is mostly idle time.
  public var halts: Bool { ReasonTraits.of(isa: ISA(rawValue: isa), code: code).halts }
}

extension ReasonStatistics {
  /// True for what halts the vCPU: its handling time is mostly idle time.
  public var halts: Bool { ReasonCode(isa: isa, code: code).halts }
}

/// The figures of an exit reason.
public enum ReasonFigures {
  /// Every figure, in the order of a wide screen.
  public static let all: [Figure<ReasonStatistics>] = [
    Figure(
      id: "reason", title: "REASON", unit: "", help: "basic exit reason, named as kvm_exit prints it",
      column: FigureColumn(isText: true, width: 18, priority: 0), json: "name",
      value: { reason, _ in .text(reason.name) }),
    .count(
      json: "count", metric: FigureMetric(family: "vmctop_vm_exits", help: "Exits of a VM by reason."), priority: 8
    ) { $0.count },
    .exits(priority: 1) { $0.intervalCount },
    .average(json: "rate", priority: 9) { $0.count },
    .percent(json: "percent", priority: 3),
    .time(json: "time_percent", priority: 2),
    Figure(
      id: "mean", title: "MEAN", unit: "ns", help: "mean handling time: kvm_exit to the thread's next kvm_entry",
      column: FigureColumn(width: 7, priority: 4), json: "handling_ns.mean",
      value: { reason, _ in reason.handling.mean.map { .fractionalNanoseconds($0) } ?? .none }),
    latency("min", "MIN", "shortest handling time", 13, "handling_ns.min", \.min),
    latency("p50", "P50", "median handling time, at most 2 % off", 10, "handling_ns.p50", \.p50),
    latency(
      "p90", "P90", "handling time that 90 % of the exits stay within, at most 2 % off", 11, "handling_ns.p90", \.p90),
    latency(
      "p99", "P99", "handling time that 99 % of the exits stay within, at most 2 % off", 6, "handling_ns.p99", \.p99),
    latency(
      "p99.9", "P99.9", "handling time that 99.9 % of the exits stay within, at most 2 % off", 12, "handling_ns.p999",
      \.p999),
    latency("max", "MAX", "longest handling time", 7, "handling_ns.max", \.max),
    latency(
      "total", "TOTAL", "handling time since the start, summed", 14, FigureKey("handling_ns.total", isSum: true),
      \.total),
    Figure(
      id: "paired", title: "PAIRED", unit: "",
      help: "exits that a kvm_entry followed: those that the handling times are of",
      json: "handling_ns.paired", value: { reason, _ in .integer(reason.handling.paired) }),
    Figure(
      id: "settings", title: "SETTINGS", unit: "", help: "in how many settings of the controls it occurred",
      json: "settings", value: { reason, _ in .integer(UInt64(max(0, reason.settings))) }),
    Figure(
      id: "charged", title: "CHARGED TO", unit: "",
      help: "the control that caused most of these exits; +N where N more share the blame",
      column: FigureColumn(isText: true, width: 26, priority: 5),
      value: { reason, context in
        guard let first = reason.charges.first else { return .none }
        let name = context.controlName(first.control)
        return .text(reason.charges.count > 1 ? "\(name) +\(reason.charges.count - 1)" : name)
      }),
  ]

  /// Those that a table can show and be sorted by.
  public static let columns = all.filter { $0.column != nil }

  /// The column of that id, or nil.
  public static func column(_ id: String) -> Figure<ReasonStatistics>? { columns.figure(id) }

  /// The rows in the order of a column; equal rows stay in the order of their count, then name.
  public static func sorted(
    _ reasons: [ReasonStatistics], by column: Figure<ReasonStatistics>, descending: Bool, context: FigureContext
  ) -> [ReasonStatistics] {
    let keyed = reasons.map { (row: $0, value: column.value($0, context)) }
    return keyed.sorted { a, b in
      switch a.value.compared(to: b.value) {
      case .some(let order) where order != 0: return descending ? order > 0 : order < 0
      case .none: return b.value == .none  // What is not known goes last, in either direction.
      default: break
      }
      if a.row.count != b.row.count { return a.row.count > b.row.count }
      if a.row.name != b.row.name { return a.row.name < b.row.name }
      return (a.row.isa, a.row.code) < (b.row.isa, b.row.code)
    }.map(\.row)
  }

  private static func latency(
    _ id: String, _ title: String, _ help: String, _ priority: Int, _ json: FigureKey,
    _ figure: KeyPath<LatencySummary, UInt64> & Sendable
  ) -> Figure<ReasonStatistics> {
    Figure(
      id: id, title: title, unit: "ns", help: help, column: FigureColumn(width: 7, priority: priority), json: json,
      value: { reason, _ in reason.handling.paired == 0 ? .none : .nanoseconds(reason.handling[keyPath: figure]) })
  }
}
