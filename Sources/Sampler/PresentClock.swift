import Glibc
import Tracefs

/// Reads the trace clock's present value: by clock_gettime(2) where that has the same clock, otherwise (`local`,
/// `global`, `perf`) from `now ts` in an instance's `per_cpu/cpuN/stats`.
struct PresentClock {
  private let clockID: clockid_t?
  /// How long after its time stamp an event is surely in the buffer.
  let settling: UInt64

  init(named name: String) {
    switch name {
    case "mono": clockID = CLOCK_MONOTONIC
    case "mono_raw": clockID = CLOCK_MONOTONIC_RAW
    case "boot": clockID = CLOCK_BOOTTIME
    case "tai": clockID = CLOCK_TAI
    default: clockID = nil
    }
    // The CPUs' own clocks need not agree to the millisecond.
    settling = clockID == nil ? 10 * Tick.settlingNanoseconds : Tick.settlingNanoseconds
  }

  /// Nanoseconds of the trace clock; nil where the kernel does not tell.
  func now(_ instance: TraceInstance) -> UInt64? {
    guard let clockID else {
      for stream in instance.streams {
        if let now = instance.statistics(cpu: stream.cpu)?.now { return now }
      }
      return nil
    }
    var time = timespec()
    clock_gettime(clockID, &time)
    return UInt64(truncatingIfNeeded: time.tv_sec) &* 1_000_000_000 &+ UInt64(truncatingIfNeeded: time.tv_nsec)
  }
}
