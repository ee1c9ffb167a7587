import Aggregator
import Architecture
import Wording

extension ExportContext {
  /// Writes totals as OpenMetrics 1.0 text (OpenMetrics.md): exits by VM and reason and by VM and control, a histogram of
  /// handling times, where the vCPUs' time went, losses.
  ///
  /// - Parameters:
  ///   - snapshot: what `count` gave.
  ///   - version: of the program, such as `0.1.0`.
  /// - Throws: `AggregatorError`, and what `send` throws, at once.
  public func writeOpenMetrics(
    _ snapshot: Snapshot, version: String, _ send: @escaping ([UInt8]) throws -> Void
  ) throws {
    var sink = ExportSink(send)
    let machines = Machines(snapshot)
    var histograms: [Key: HandlingHistogram] = [:]
    try forEachItem { _, item in
      guard case .exit(let exit) = item, let handling = exit.handling,
        let machine = machines.machineOfThread[exit.tid]
      else { return }
      histograms[Key(machine: machine, isa: exit.exit.isa.rawValue, code: exit.exit.code), default: HandlingHistogram()]
        .add(handling)
    }

    func family(_ name: String, _ type: String, unit: String? = nil, _ help: String) throws {
      try sink.write("# TYPE \(name) \(type)\n")
      if let unit { try sink.write("# UNIT \(name) \(unit)\n") }
      try sink.write("# HELP \(name) \(help)\n")
    }
    func vm(_ machine: Machines.Machine) -> [(String, String)] {
      [("vm", machine.name)] + (machine.isProcessKnown ? [("pid", String(machine.number))] : [])
    }

    try family("vmctop_build", "info", "The program that counted.")
    try sink.write("vmctop_build_info\(labels([("version", version)])) 1\n")
    try family("vmctop_recording_seconds", "gauge", unit: "seconds", "Time from the first to the last event.")
    try sink.write("vmctop_recording_seconds \(decimal(snapshot.windowNanoseconds, digits: 9))\n")
    let context = FigureContext()
    /// The counters of a registry, family by family, of each of the rows.
    func counters<Row>(_ figures: [Figure<Row>], _ rows: [(row: Row, labels: [(String, String)])]) throws {
      let counted = figures.compactMap { figure in figure.metric.map { (figure, $0) } }
      var families: [String] = []
      for (_, metric) in counted where !families.contains(metric.family) { families.append(metric.family) }
      for name in families {
        let members = counted.filter { $0.1.family == name }
        try family(name, "counter", unit: members[0].1.unit, members[0].1.help)
        for (row, own) in rows {
          for (figure, metric) in members {
            let value = metricText(figure.value(row, context))
            try sink.write("\(name)_total\(labels(own + (metric.label.map { [$0] } ?? []))) \(value)\n")
          }
        }
      }
    }
    try counters(
      ReasonFigures.all,
      machines.all.flatMap { machine in
        snapshot.scopes[machine.scope].reasons.map { reason in
          (reason, vm(machine) + [("isa", ISA(rawValue: reason.isa).name), ("reason", reason.name)])
        }
      })
    try counters(
      ControlFigures.all,
      machines.all.flatMap { machine in
        snapshot.scopes[machine.scope].controls.map { control in
          (control.figures, vm(machine) + [("word", control.control.word), ("control", control.control.name)])
        }
      })
    try family(
      "vmctop_exit_handling_seconds", "histogram", unit: "seconds",
      "Time from kvm_exit to the next kvm_entry of the same vCPU.")
    for (index, machine) in machines.all.enumerated() {
      for reason in snapshot.scopes[machine.scope].reasons {
        guard let histogram = histograms[Key(machine: index, isa: reason.isa, code: reason.code)] else { continue }
        let own = vm(machine) + [("isa", ISA(rawValue: reason.isa).name), ("reason", reason.name)]
        var sum: UInt64 = 0
        for (bound, count) in zip(HandlingHistogram.bounds, histogram.counts) {
          sum &+= count
          try sink.write("vmctop_exit_handling_seconds_bucket\(labels(own + [("le", bound.text)])) \(sum)\n")
        }
        try sink.write("vmctop_exit_handling_seconds_bucket\(labels(own + [("le", "+Inf")])) \(histogram.count)\n")
        try sink.write("vmctop_exit_handling_seconds_count\(labels(own)) \(histogram.count)\n")
        try sink.write("vmctop_exit_handling_seconds_sum\(labels(own)) \(decimal(histogram.total, digits: 9))\n")
      }
    }
    try counters(ScopeFigures.all, machines.all.map { (snapshot.scopes[$0.scope], vm($0)) })
    try family(
      "vmctop_events_lost", "counter", "Events that the trace buffers dropped, by CPU; those that were counted.")
    for loss in snapshot.losses.perCPU.sorted(by: { $0.cpu < $1.cpu }) {
      try sink.write("vmctop_events_lost_total\(labels([("cpu", String(loss.cpu))])) \(loss.lost)\n")
    }
    try family("vmctop_uncounted_losses", "counter", "How often a buffer dropped events and did not say how many.")
    try sink.write("vmctop_uncounted_losses_total \(snapshot.losses.uncounted)\n# EOF\n")
    try sink.flush()
  }
}

private struct Key: Hashable {
  var machine: Int
  var isa: UInt32
  var code: UInt32
}

/// Handling times in the buckets of the metric, exactly.
private struct HandlingHistogram {
  var counts: [UInt64] = Array(repeating: 0, count: bounds.count)
  var count: UInt64 = 0
  var total: UInt64 = 0

  /// 1, 2, 5 in each decade from 1 us to 10 s; the texts are canonical numbers of OpenMetrics.
  static let bounds: [(nanoseconds: UInt64, text: String)] = [
    (1000, "1e-06"), (2000, "2e-06"), (5000, "5e-06"), (10_000, "1e-05"), (20_000, "2e-05"), (50_000, "5e-05"),
    (100_000, "0.0001"), (200_000, "0.0002"), (500_000, "0.0005"), (1_000_000, "0.001"), (2_000_000, "0.002"),
    (5_000_000, "0.005"), (10_000_000, "0.01"), (20_000_000, "0.02"), (50_000_000, "0.05"), (100_000_000, "0.1"),
    (200_000_000, "0.2"), (500_000_000, "0.5"), (1_000_000_000, "1.0"), (2_000_000_000, "2.0"),
    (5_000_000_000, "5.0"), (10_000_000_000, "10.0"),
  ]

  mutating func add(_ nanoseconds: UInt64) {
    count &+= 1
    total &+= nanoseconds
    if let index = Self.bounds.firstIndex(where: { nanoseconds <= $0.nanoseconds }) { counts[index] &+= 1 }
  }
}

/// A figure in OpenMetrics' units. Counters are known, or are not written.
private func metricText(_ value: FigureValue) -> String {
  switch value {
  case .integer(let value): String(value)
  case .nanoseconds(let value): decimal(value, digits: 9)
  case .rate(let value), .percent(let value), .fractionalNanoseconds(let value): String(value)
  case .text, .none: "NaN"
  }
}

/// A label set. Values may hold any character; three of them are escaped.
private func labels(_ pairs: [(String, String)]) -> String {
  let texts = pairs.map { name, value in
    var escaped = ""
    for character in printable(value) {
      switch character {
      case "\\": escaped += "\\\\"
      case "\"": escaped += "\\\""
      default: escaped.append(character)
      }
    }
    return "\(name)=\"\(escaped)\""
  }
  return "{\(texts.joined(separator: ","))}"
}
