/// The figures of a VM or a vCPU.
public enum ScopeFigures {
  /// Every figure, in the order of a wide screen.
  public static let all: [Figure<ScopeStatistics>] =
    [
      .exits(priority: 0) { $0.intervalExits },
      .average(priority: 0) { $0.exits },
    ]
    + parts.flatMap { part in
      [
        Figure(
          id: part.name, title: part.title, unit: "%", help: "share of the time \(part.help)",
          column: FigureColumn(width: 6, priority: part.priority),
          value: { scope, context in
            let time = scope.time(context.basis)
            return FigureValue(time[keyPath: part.time], of: time.total)
          }),
        Figure(
          id: "\(part.name)-time", title: "\(part.name.uppercased()) TIME", unit: "ns", help: "time \(part.help)",
          json: FigureKey("\(part.name)_ns"),
          metric: FigureMetric(
            family: "vmctop_vcpu_time_seconds", unit: "seconds",
            help: "Time of a VM's vCPUs: in the guest, in the kernel's handling, in the VMM, halted.",
            label: ("part", part.name)),
          value: { scope, _ in .nanoseconds(scope.time[keyPath: part.time]) }),
      ]
    } + [
      .count(json: "exits", width: 11, priority: 11) { $0.exits }
    ]

  private struct Part: Sendable {
    var name: String
    var title: String
    var help: String
    var priority: Int
    var time: KeyPath<TimeSplit, UInt64> & Sendable
  }

  private static let parts = [
    Part(name: "guest", title: "GUEST", help: "in the guest", priority: 1, time: \.guest),
    Part(name: "kernel", title: "KERNEL", help: "in the kernel, handling exits", priority: 2, time: \.kernel),
    Part(name: "user", title: "USER", help: "in the VMM", priority: 3, time: \.user),
    Part(name: "halted", title: "HALT%", help: "halted", priority: 4, time: \.halted),
  ]
}

extension ScopeStatistics {
  /// Where the vCPUs' time went, of the interval where that has any.
  public func time(_ basis: FigureContext.Basis) -> TimeSplit {
    basis == .interval && intervalTime.total > 0 ? intervalTime : time
  }
}
