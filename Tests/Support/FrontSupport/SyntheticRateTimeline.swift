import Aggregator
import Architecture
import Foundation

/// A made-up minute of a recording from 2026-11-27 14:02:00 UTC on: a busy half, a quiet part, and marks of every kind.
public enum SyntheticRateTimeline {
  public static let duration: UInt64 = 60_000_000_000
  public static let wallClock: UInt64 = 1_795_788_120_000_000_000

  public static let marks: [RateTimeline.PlacedMark] = [
    .init(position: 6_000_000_000, mark: .vmStarted(pid: 4200, name: "build")),
    .init(position: 21_000_000_000, mark: .settingChanged(thread: 4012)),
    .init(position: 33_500_000_000, mark: .lost),
    .init(position: 33_600_000_000, mark: .settingChanged(thread: 4013)),
    .init(position: 48_000_000_000, mark: .vmEnded(pid: 4300, name: nil)),
  ]

  /// Rates with a peak in the first half and none at all from 40 s to 45 s.
  public static func rates(known: Double = 1) -> [Double?] {
    (0..<480).map { index in
      let at = Double(index) / 480
      if at >= known { return nil }
      if at >= 40.0 / 60, at < 45.0 / 60 { return 0 }
      return 60_000 + 120_000 * exp(-pow((at - 0.3) * 8, 2)) + 9_000 * sin(at * 90)
    }
  }

  /// The snapshot as it is at a place of that recording.
  public static func at(
    _ position: UInt64, _ snapshot: Snapshot, known: Double = 1, marks: [RateTimeline.PlacedMark] = marks,
    range: Range<UInt64>? = nil
  ) -> Snapshot {
    var snapshot = SyntheticHost.asRecording(snapshot, position: position, duration: duration)
    snapshot.source.kind = .vmctop
    snapshot.source.path = "/var/tmp/before.vmctop"
    snapshot.playback?.isPaused = true
    snapshot.playback?.wallClock = wallClock
    snapshot.playback?.range = range
    snapshot.playback?.rateTimeline = RateTimeline(
      rates: rates(known: known), marks: marks.filter { Double($0.position) <= known * Double(duration) },
      known: UInt64(known * Double(duration)))
    return snapshot
  }
}
