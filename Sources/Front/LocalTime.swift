import Glibc

/// The time of day where the screen is looked at.
public struct LocalTime: Sendable {
  /// A moment by the calendar.
  struct Moment: Hashable {
    var month: Int
    var day: Int
    var hour: Int
    var minute: Int
    var second: Int
  }

  private let convert: @Sendable (time_t) -> tm?

  /// By this machine's time zone (localtime(3)).
  public static let system = LocalTime { seconds in
    var (seconds, result) = (seconds, tm())
    return localtime_r(&seconds, &result) == nil ? nil : result
  }

  /// UTC: the same everywhere.
  public static let utc = LocalTime { seconds in
    var (seconds, result) = (seconds, tm())
    return gmtime_r(&seconds, &result) == nil ? nil : result
  }

  /// - Parameter wallClock: nanoseconds since 1970.
  func moment(_ wallClock: UInt64) -> Moment? {
    convert(time_t(wallClock / 1_000_000_000)).map { time in
      Moment(
        month: Int(time.tm_mon) + 1, day: Int(time.tm_mday), hour: Int(time.tm_hour), minute: Int(time.tm_min),
        second: Int(min(time.tm_sec, 59)))
    }
  }

  /// Nanoseconds since midnight.
  func sinceMidnight(_ wallClock: UInt64) -> UInt64? {
    moment(wallClock).map { time in
      UInt64(max(0, time.hour * 3600 + time.minute * 60 + time.second)) * 1_000_000_000 + wallClock % 1_000_000_000
    }
  }

  /// `14:02:31`, or with the day `11-27 14:02:31`.
  func text(_ wallClock: UInt64, withDay: Bool = false) -> String? {
    func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
    return moment(wallClock).map { time in
      (withDay ? "\(two(time.month))-\(two(time.day)) " : "")
        + "\(two(time.hour)):\(two(time.minute)):\(two(time.second))"
    }
  }
}
