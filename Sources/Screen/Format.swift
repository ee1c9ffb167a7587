/// Figures as people read them: about three digits and a unit.
public enum Format {
  /// A count or a rate: `0`, `7.3`, `941`, `1.2k`, `41.6k`, `184.2k`, `1.2M`, `3.4G`.
  public static func count(_ value: Double) -> String {
    guard value.isFinite else { return "-" }
    if value < 0 { return "-" + count(-value) }
    if value == 0 { return "0" }
    if value < 0.05 { return "<0.1" }
    if value < 9.95 { return value == value.rounded() ? whole(value) : fixed(value, 1) }
    if value < 999.5 { return whole(value) }
    for (limit, divisor, unit) in [(999_950.0, 1e3, "k"), (999_950_000, 1e6, "M"), (999_950_000_000, 1e9, "G")]
    where value < limit {
      return fixed(value / divisor, 1) + unit
    }
    return value < 9.9995e17 ? fixed(value / 1e12, 1) + "T" : ">999P"
  }

  public static func count(_ value: UInt64) -> String { count(Double(value)) }

  /// Every digit, in groups of three: `109,437`.
  public static func exact(_ value: UInt64) -> String {
    var digits = Array(String(value))
    var at = digits.count - 3
    while at > 0 {
      digits.insert(",", at: at)
      at -= 3
    }
    return String(digits)
  }

  /// A length of time in nanoseconds: `850ns`, `4.6us`, `412us`, `1.2ms`, `3.4s`, `2m05s`, `3h12m`, `5d`.
  public static func duration(_ nanoseconds: UInt64) -> String {
    let value = Double(nanoseconds)
    if nanoseconds < 1000 { return "\(nanoseconds)ns" }
    for (divisor, unit) in [(1e3, "us"), (1e6, "ms")] {
      if value < 99.95 * divisor { return fixed(value / divisor, 1) + unit }
      if value < 999.5 * divisor { return whole(value / divisor) + unit }
    }
    if value < 99.95e9 { return fixed(value / 1e9, 1) + "s" }
    let seconds = nanoseconds / 1_000_000_000
    if seconds < 3600 { return "\(seconds / 60)m\(two(seconds % 60))s" }
    if seconds < 86400 { return "\(seconds / 3600)h\(two(seconds / 60 % 60))m" }
    return "\(seconds / 86400)d"
  }

  /// A place in a recording: `0:07.3`, `12:04.0`, `1:02:03.0`, or with more decimals of a second, at most nine.
  public static func position(_ nanoseconds: UInt64, decimals: Int = 1) -> String {
    let seconds = nanoseconds / 1_000_000_000
    let digits = String(nanoseconds % 1_000_000_000)
    let fraction = (String(repeating: "0", count: 9 - digits.count) + digits).prefix(min(max(1, decimals), 9))
    let tail = "\(two(seconds % 60)).\(fraction)"
    return seconds < 3600
      ? "\(seconds / 60):\(tail)" : "\(seconds / 3600):\(two(seconds / 60 % 60)):\(tail)"
  }

  /// A share of 0...100: `33.2`, `100`, `<0.1`; without the sign.
  public static func percent(_ value: Double) -> String {
    guard value.isFinite else { return "-" }
    if value <= 0 { return "0" }
    if value < 0.05 { return "<0.1" }
    return value >= 99.95 ? whole(value) : fixed(value, 1)
  }

  /// `18.4M`, in bytes, by 1024.
  public static func bytes(_ value: UInt64) -> String {
    if value < 1024 { return "\(value)B" }
    var scaled = Double(value) / 1024
    for unit in ["K", "M", "G"] {
      if scaled < 999.5 { return fixed(scaled, 1) + unit }
      scaled /= 1024
    }
    return fixed(scaled, 1) + "T"
  }

  public static func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }

  /// Sixteen digits, as a register is written.
  public static func register(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: max(0, 16 - digits.count)) + digits
  }

  /// A number with so many decimals, without help of the C library's locale. Not for numbers beyond 2^53.
  public static func fixed(_ value: Double, _ decimals: Int) -> String {
    guard value.isFinite, abs(value) < 9e15 else { return "-" }
    if decimals == 0 { return whole(value) }
    var scale = 1.0
    for _ in 0..<min(max(decimals, 0), 6) { scale *= 10 }
    let scaled = (abs(value) * scale).rounded()
    guard let digits = Int64(exactly: scaled), let unit = Int64(exactly: scale), unit > 0 else { return "-" }
    let tail = String(digits % unit)
    return (value < 0 && digits != 0 ? "-" : "") + "\(digits / unit)."
      + String(repeating: "0", count: max(0, decimals - tail.count)) + tail
  }

  private static func whole(_ value: Double) -> String {
    Int64(exactly: value.rounded()).map(String.init) ?? "-"
  }

  private static func two(_ value: UInt64) -> String { value < 10 ? "0\(value)" : "\(value)" }
}

/// Small pictures made of characters.
public enum Graph {
  private static let levels: [Character] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"]

  /// The last `width` values as a line of eighth blocks, the greatest one full.
  public static func sparkline(_ values: [Double], width: Int) -> String {
    guard width > 0 else { return "" }
    let shown = values.suffix(width)
    let top = shown.reduce(0) { $1.isFinite ? max($0, $1) : $0 }
    return String(
      shown.map { value in
        guard top > 0, value.isFinite, value > 0 else { return levels[0] }
        // Between 0 and 1, so that the conversion cannot trap; the smallest value still gets the lowest level.
        return levels[min(7, max(0, Int((value / top * 8).rounded(.up)) - 1))]
      })
  }

  /// The cells of a bar of `width`, one index per cell into the parts, -1 where the bar is empty. Parts are shares of
  /// `whole`; one that is not nothing gets a cell before one that has several gets another.
  public static func bar(_ parts: [Double], whole: Double, width: Int) -> [Int] {
    guard width > 0 else { return [] }
    guard whole > 0, whole.isFinite else { return Array(repeating: -1, count: width) }
    var cells: [Int] = []
    var sum = 0.0
    for (index, part) in parts.enumerated() {
      sum += part.isFinite ? max(0, part) : 0
      let end = min(Double(width), (sum / whole * Double(width)).rounded())
      while Double(cells.count) < end { cells.append(index) }
    }
    while cells.count < width { cells.append(-1) }
    return cells
  }
}
