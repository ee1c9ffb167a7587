/// The figures of a control: of the exits that are charged to it.
///
/// They are the same for a row of its own making, as a pane has that lists controls without exits too.
public enum ControlFigures<Row: ExitStatistics> {
  /// Every figure, in the order of a wide screen.
  public static var all: [Figure<Row>] {
    [
      .exits(priority: 1),
      .average(json: nil, priority: 1),
      .percent(json: nil, priority: 3),
      .time(json: nil, priority: 2),
      .count(
        json: "exits",
        metric: FigureMetric(
          family: "vmctop_control_exits", help: "Exits of a VM by the control that they are charged to."),
        priority: 10),
      Figure(
        id: "handling", title: "HANDLING", unit: "ns", help: "handling time of these exits, time halted left out",
        json: "handling_ns", value: { row, _ in .nanoseconds(row.busy) }),
    ]
  }
}
