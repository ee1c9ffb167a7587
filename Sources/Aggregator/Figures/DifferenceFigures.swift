/// The figures of one side of a comparison, and of the same row on the other side.
public enum DifferenceFigures {
  public typealias Cost = SnapshotComparison.Cost

  /// Every figure, in the order of a wide screen.
  public static let all: [Figure<Cost>] = [rate, time, mean, percent, p99, count]

  public static let rate = Figure<Cost>(
    id: "rate", title: "EXITS/S", unit: "/s", help: "exits per second", json: "rate",
    value: { cost, _ in .rate(cost.rate) })
  public static let time = Figure<Cost>(
    id: "time", title: "TIME/S", unit: "ns", help: "handling time per second, time halted left out",
    json: "time_ns_per_second", value: { cost, _ in .fractionalNanoseconds(cost.timePerSecond) })
  public static let mean = Figure<Cost>(
    id: "mean", title: "MEAN", unit: "ns", help: "mean handling time, time halted included", json: "mean_ns",
    value: { cost, _ in cost.mean.map { .fractionalNanoseconds($0) } ?? .none })
  public static let percent = Figure<Cost>(
    id: "percent", title: "%", unit: "%", help: "share of all exits", json: "percent",
    value: { cost, _ in .percent(100 * cost.share) })
  public static let p99 = Figure<Cost>(
    id: "p99", title: "P99", unit: "ns", help: "handling time that 99 % of the exits stay within, at most 2 % off",
    json: "p99_ns", value: { cost, _ in cost.p99.map { .nanoseconds($0) } ?? .none })
  public static let count = Figure<Cost>(
    id: "count", title: "COUNT", unit: "", help: "exits", json: "count", value: { cost, _ in .integer(cost.count) })
}
