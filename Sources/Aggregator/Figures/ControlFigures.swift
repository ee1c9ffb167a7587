/// The figures of a control: of the exits that are charged to it.
public enum ControlFigures {
  /// Every figure, in the order of a wide screen.
  public static let all: [Figure<ExitFigures>] = [
    .exits(priority: 1) { $0.intervalCount },
    .average(priority: 1) { $0.count },
    .percent(priority: 3),
    .time(priority: 2),
    .count(
      json: "exits",
      metric: FigureMetric(
        family: "vmctop_control_exits", help: "Exits of a VM by the control that they are charged to."),
      priority: 10
    ) { $0.count },
    Figure(
      id: "handling", title: "HANDLING", unit: "ns", help: "handling time of these exits, time halted left out",
      json: "handling_ns", value: { exits, _ in .nanoseconds(exits.busy) }),
  ]
}
