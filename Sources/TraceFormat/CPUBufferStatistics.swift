/// One CPU's ring-buffer counters: `per_cpu/cpuN/stats`. They count since the buffer was last reset.
public struct CPUBufferStatistics: Sendable, Hashable {
  /// The CPU, where the text says it: trace-cmd puts it before what the kernel writes.
  public var cpu: Int?
  /// Events in the buffer, not yet read.
  public var entries: UInt64 = 0
  /// Events overwritten before they were read.
  public var overrun: UInt64 = 0
  /// Events lost to a nested writer that ran over a whole buffer: should be 0.
  public var commitOverrun: UInt64 = 0
  /// Bytes in the buffer, not yet read.
  public var bytes: UInt64 = 0
  /// Events refused because the buffer was full; only without the option overwrite.
  public var droppedEvents: UInt64 = 0
  /// Events read.
  public var readEvents: UInt64 = 0
  /// What the trace clock says now, in nanoseconds, cut to whole microseconds; nil where it does not count time.
  public var now: UInt64?

  public init() {}

  /// Events that nobody will ever read.
  public var lost: UInt64 { overrun &+ commitOverrun &+ droppedEvents }

  /// Reads the text of a stats file; nil if it has none of the counters.
  public init?(_ text: String) {
    var found = false
    for line in text.split(separator: "\n") {
      guard let colon = line.firstIndex(of: ":") else { continue }
      let digits = line[line.index(after: colon)...].drop { $0 == " " }
      if line[..<colon] == "now ts" { now = Self.nanoseconds(digits) }
      if line[..<colon] == "CPU" { cpu = Int(digits) }
      guard let value = UInt64(digits) else { continue }
      switch line[..<colon] {
      case "entries": entries = value
      case "overrun": overrun = value
      case "commit overrun": commitOverrun = value
      case "bytes": bytes = value
      case "dropped events": droppedEvents = value
      case "read events": readEvents = value
      default: continue
      }
      found = true
    }
    if !found { return nil }
  }

  /// The text for a CPU of which no more is known (tracing_stats_read() in `kernel/trace/trace.c`).
  ///
  /// - Parameters:
  ///   - entries: events that it has.
  ///   - lost: events that it lost.
  public static func text(cpu: Int, entries: UInt64 = 0, lost: UInt64) -> String {
    """
    CPU: \(cpu)
    entries: \(entries)
    overrun: \(lost)
    commit overrun: 0
    dropped events: 0
    read events: 0

    """
  }

  /// Seconds and six digits of microseconds (tracing_stats_read() in `kernel/trace/trace.c`); clocks that count anything
  /// else have no point.
  private static func nanoseconds(_ text: Substring) -> UInt64? {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 2, parts[1].utf8.count == 6, let seconds = UInt64(parts[0]), let micros = UInt64(parts[1]),
      seconds < 1 << 33
    else { return nil }
    return seconds * 1_000_000_000 + micros * 1000
  }
}
