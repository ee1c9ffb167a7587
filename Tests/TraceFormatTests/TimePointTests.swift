import Testing
import TraceFormat

@Suite("Points in time") struct TimePointTests {
  @Test(
    "are written as people write them",
    arguments: [
      ("12.5", 12_500_000_000), ("1:02.5", 62_500_000_000), ("1:00:00", 3_600_000_000_000), ("25%", 2_500_000_000),
      ("0", 0), ("500ms", 500_000_000), ("3us", 3000), ("7ns", 7), ("1.5h", 5_400_000_000_000), ("2m", 120_000_000_000),
      ("+500ms", 4_500_000_000), ("+ 1", 5_000_000_000), ("-1s", 3_000_000_000), ("4s ago", 6_000_000_000),
      ("0.123456789", 123_456_789), (".5", 500_000_000), ("100%", 10_000_000_000), ("0:00", 0),
    ] as [(String, UInt64)])
  func forms(_ text: String, _ position: UInt64) {
    let time = RecordingTime(duration: 10_000_000_000, position: 4_000_000_000)
    #expect(TimePoint(text)?.position(in: time) == position)
  }

  @Test(
    "are nothing else",
    arguments: [
      "", "x", "1:2:3:4", "101%", "nan", "nan%", "1e300", "%", "-5%", "1.2.3", "1:", ":1", "1:-1", "5x", "+", "ago",
      "-",
      "99999999999999999999", "9999999999h", "1.", "٣", "0x10", "1:1.5:2", "--1",
    ])
  func nonsense(_ text: String) { #expect(TimePoint(text) == nil) }

  @Test("before the first event is no point of the recording") func before() {
    let time = RecordingTime(duration: 10, position: 3)
    #expect(TimePoint("-4ns")?.position(in: time) == nil)
    #expect(TimePoint("11ns ago")?.position(in: time) == nil)
    #expect(TimePoint("10ns ago")?.position(in: time) == 0)
  }

  @Test("a time of day is one of the wall clock, where the recording knows it") func wallClock() {
    let second: UInt64 = 1_000_000_000
    // From 23:59:50 on, for half a minute.
    let start = (23 * 3600 + 59 * 60 + 50) * second
    let time = RecordingTime(duration: 30 * second, sinceMidnight: start + second / 2)
    #expect(TimePoint("23:59:55.5")?.position(in: time) == 5 * second)
    #expect(TimePoint("0:00:05")?.position(in: time) == 14 * second + second / 2)
    #expect(TimePoint("23:59:00")?.position(in: time) == nil)
    #expect(TimePoint("0:01")?.position(in: time) == second)
    // The nearer one, before it or behind its end.
    #expect(TimePoint("14:00:00")?.position(in: time) == nil)
    #expect((TimePoint("8:00:00")?.position(in: time) ?? 0) > time.duration)
  }
}
