import Glibc

/// A point in a recording as people write it: `12.5` or `1:02.5` from the start, `+500ms` from where one is, `3m ago` from
/// the end, `14:02:31` by the wall clock, `50%` of the whole.
public enum TimePoint: Sendable, Hashable {
  /// Nanoseconds from the first event.
  case sinceStart(UInt64)
  /// Nanoseconds from where one is: forward, or back where negative.
  case relative(Int64)
  /// Nanoseconds before the last event.
  case beforeEnd(UInt64)
  /// Nanoseconds since midnight where the recording knows the wall clock, else from its start.
  case timeOfDay(UInt64)
  /// Of the recording's length, 0 to 100.
  case percent(Double)

  /// What the forms are, for a message or a help text.
  public static let forms = "12.5, 1:02.5, +500ms, 3m ago, 14:02:31 or 50%"

  /// - Returns: nil for what is no point in time.
  public init?(_ text: some StringProtocol) {
    var text = String(text.filter { $0 != " " })
    guard !text.isEmpty, text.utf8.count <= 40 else { return nil }
    if text.last == "%" {
      text.removeLast()
      guard text.first?.isNumber ?? false, let percent = Double(text), percent.isFinite, (0...100).contains(percent)
      else { return nil }
      self = .percent(percent)
    } else if text.first == "+" || text.first == "-" {
      guard let span = Self.span(text.dropFirst()), let signed = Int64(exactly: span) else { return nil }
      self = .relative(text.first == "-" ? -signed : signed)
    } else if text.hasSuffix("ago") {
      guard let span = Self.span(text.dropLast(3)) else { return nil }
      self = .beforeEnd(span)
    } else if text.contains(":") {
      let parts = text.split(separator: ":", omittingEmptySubsequences: false)
      guard parts.count <= 3, let last = parts.last, let seconds = Self.number(last, unit: 1_000_000_000) else {
        return nil
      }
      var total: UInt64 = 0
      for part in parts.dropLast() {
        guard part.utf8.count <= 6, part.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let value = UInt64(part)
        else {
          return nil
        }
        total = total * 60 + value
      }
      let (sum, overflow) = (total * 60).multipliedReportingOverflow(by: 1_000_000_000)
      let (nanoseconds, more) = sum.addingReportingOverflow(seconds)
      guard !overflow, !more, nanoseconds < 1 << 62 else { return nil }
      self = parts.count == 3 && nanoseconds < Self.day ? .timeOfDay(nanoseconds) : .sinceStart(nanoseconds)
    } else {
      guard let span = Self.span(text[...]) else { return nil }
      self = .sinceStart(span)
    }
  }

  private static let day: UInt64 = 86_400_000_000_000

  private static let units: [(suffix: String, nanoseconds: UInt64)] = [
    ("ns", 1), ("us", 1000), ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000),
  ]

  /// `500ms`, `3m`, `12.5`: seconds without a unit.
  private static func span(_ text: Substring) -> UInt64? {
    for unit in units where text.hasSuffix(unit.suffix) {
      return number(text.dropLast(unit.suffix.count), unit: unit.nanoseconds)
    }
    return number(text, unit: 1_000_000_000)
  }

  /// Digits with or without a point, in integers, so that no nanosecond is lost.
  private static func number(_ text: Substring, unit: UInt64) -> UInt64? {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    let isDigits = parts.allSatisfy { $0.utf8.allSatisfy { (0x30...0x39).contains($0) } }
    guard parts.count <= 2, isDigits, let whole = UInt64(parts[0].isEmpty && parts.count == 2 ? "0" : parts[0]) else {
      return nil
    }
    let (product, overflow) = whole.multipliedReportingOverflow(by: unit)
    guard !overflow, product < 1 << 62 else { return nil }
    guard parts.count == 2 else { return product }
    guard !parts[1].isEmpty else { return nil }
    var fraction: UInt64 = 0
    var scale = unit
    for digit in parts[1].utf8.prefix(13) {
      scale /= 10
      fraction += UInt64(digit - 0x30) * scale
    }
    return product + fraction
  }

  /// Where it is in a recording, in nanoseconds from the first event; it may lie behind the end.
  ///
  /// - Returns: nil where it lies before the first event.
  public func position(in recording: RecordingTime) -> UInt64? {
    switch self {
    case .sinceStart(let nanoseconds): return nanoseconds
    case .relative(let offset):
      let (sum, overflow) = Int64(clamping: recording.position).addingReportingOverflow(offset)
      return overflow ? .max : UInt64(exactly: sum)
    case .beforeEnd(let nanoseconds):
      return nanoseconds <= recording.duration ? recording.duration - nanoseconds : nil
    case .percent(let percent):
      return UInt64(exactly: (Double(recording.duration) * percent / 100).rounded(.down))
    case .timeOfDay(let nanoseconds):
      guard let start = recording.sinceMidnight else { return nanoseconds }
      // The first such time of day from the recording's start on, unless that is behind its end and the one before nearer.
      let ahead = (nanoseconds + Self.day - start % Self.day) % Self.day
      return ahead > recording.duration && Self.day - ahead < ahead ? nil : ahead
    }
  }
}

/// What a `TimePoint` is set against.
public struct RecordingTime: Sendable, Hashable {
  /// From the first event to the last, nanoseconds.
  public var duration: UInt64
  /// Where one is, nanoseconds from the first event: what `+500ms` counts from.
  public var position: UInt64
  /// Nanoseconds from local midnight to the first event; nil where the wall clock is not known.
  public var sinceMidnight: UInt64?

  public init(duration: UInt64, position: UInt64 = 0, sinceMidnight: UInt64? = nil) {
    self.duration = duration
    self.position = position
    self.sinceMidnight = sinceMidnight
  }

  /// - Parameter wallClock: CLOCK_REALTIME at the first event, nanoseconds; the day is that of this machine's time zone.
  public init(duration: UInt64, position: UInt64 = 0, wallClock: Int64?) {
    self.init(duration: duration, position: position)
    guard let wallClock, wallClock >= 0 else { return }
    var seconds = time_t(wallClock / 1_000_000_000)
    var local = tm()
    guard localtime_r(&seconds, &local) != nil else { return }
    let second = Int64(local.tm_hour) * 3600 + Int64(local.tm_min) * 60 + Int64(min(local.tm_sec, 59))
    sinceMidnight = UInt64(second * 1_000_000_000 + wallClock % 1_000_000_000)
  }
}
