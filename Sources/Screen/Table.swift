/// A column of a table, as far as laying it out goes.
public struct TableColumn: Sendable, Hashable {
  public var title: String
  /// The fewest cells it is of use with.
  public var minimum: Int
  /// The cells it would like to have, where there is room.
  public var ideal: Int
  public var alignRight: Bool
  /// Which columns go first when there is no room: the highest number goes first, 0 never.
  public var priority: Int

  public init(title: String, minimum: Int, ideal: Int? = nil, alignRight: Bool = false, priority: Int = 0) {
    self.title = title
    self.minimum = minimum
    self.ideal = max(minimum, ideal ?? minimum)
    self.alignRight = alignRight
    self.priority = priority
  }
}

/// Where the columns of a table went.
public struct TableLayout: Sendable, Hashable {
  public struct Placed: Sendable, Hashable {
    /// Index into the columns given.
    public var index: Int
    public var x: Int
    public var width: Int
  }
  public var placed: [Placed]

  /// Fits columns into `width` cells: leaves out those of the highest priority number until the rest has its minimum,
  /// then gives what is left over to those that want more, in the reverse order: those that would go last come first.
  public init(_ columns: [TableColumn], width: Int, gap: Int = 1) {
    var kept = Array(columns.indices)
    func need(_ indices: [Int]) -> Int {
      indices.reduce(0) { $0 + columns[$1].minimum } + gap * max(0, indices.count - 1)
    }
    while need(kept) > width {
      let candidates = kept.filter { columns[$0].priority > 0 }
      guard let worst = candidates.max(by: { columns[$0].priority < columns[$1].priority }) else { break }
      kept.removeAll { $0 == worst }
    }
    var spare = max(0, width - need(kept))
    var widths = columns.map(\.minimum)
    for index in kept.sorted(by: { (columns[$0].priority, $0) < (columns[$1].priority, $1) }) {
      let more = min(spare, columns[index].ideal - columns[index].minimum)
      spare -= more
      widths[index] += more
    }
    placed = []
    var x = 0
    for index in kept {
      let cells = min(widths[index], max(0, width - x))
      if cells <= 0 { break }
      placed.append(Placed(index: index, x: x, width: cells))
      x += cells + gap
    }
  }
}
