import ArgumentParser
import CTinyGuest
import Glibc

/// The load of the live benchmark: a guest that does nothing but leave for user space.
struct Guest: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Runs a guest of three real-mode instructions that writes to a port, and times it.",
    discussion: "Prints how often it left for user space, and in how many nanoseconds.")

  @Option(help: ArgumentHelp("How often it writes to the port.", valueName: "count"))
  var outs: UInt32 = 100_000

  func run() throws {
    var before = timespec()
    clock_gettime(CLOCK_MONOTONIC, &before)
    let result = tinyguest_run(outs)
    var after = timespec()
    clock_gettime(CLOCK_MONOTONIC, &after)
    guard result.error == 0 else {
      throw ValidationError("\(String(cString: result.failed)): \(String(cString: strerror(result.error)))")
    }
    let nanoseconds = (after.tv_sec - before.tv_sec) * 1_000_000_000 + after.tv_nsec - before.tv_nsec
    print("\(result.outs) \(nanoseconds)")
  }
}
