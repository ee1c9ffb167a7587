import CSignals
import Glibc
import HostFiles

/// What must be undone however the process ends: trace instances register themselves, a front its terminal. Runs
/// at exit and in the handlers of all signals that end the process, Swift traps and crashes included; only `kill -9`
/// escapes it, and after that the next start sweeps (`InstanceSweep`).
public enum CleanupRegistry {
  /// Installs the signal handlers and the exit function. Signals that are ignored now (`nohup`) stay ignored: to get
  /// EPIPE instead of SIGPIPE, ignore it before or after. May be called again.
  public static func install() throws(FileError) {
    let result = csignals_install()
    if result < 0 { throw FileError(operation: "sigaction", path: "", number: -result) }
  }

  /// Notes what to write to a terminal before dying (show the cursor, leave the alternate screen ...) and its modes as
  /// they are now: call it before the first change to them. Called again, as when the bytes are known only later, it
  /// keeps the modes noted first.
  public static func registerTerminal(descriptor: Int32, restore bytes: [UInt8]) throws(FileError) {
    try install()
    let result = bytes.withUnsafeBytes { csignals_terminal_set(descriptor, $0.baseAddress, $0.count) }
    if result < 0 { throw FileError(operation: "register", path: "terminal", number: -result) }
  }

  /// To be called once the terminal has been restored in the normal way.
  public static func unregisterTerminal() { csignals_terminal_clear() }
}

/// Signals that ask the program to end, taken in as a readable descriptor, so that the main loop can quit in the normal
/// way. A second one ends the process at once, after the clean-up of `CleanupRegistry`.
public enum ExitSignals {
  /// Takes over the signals. The descriptor is non-blocking and becomes readable at the first of them: put it into the
  /// poll set, do not read or close it.
  public static func install(_ signals: [Int32] = [SIGINT, SIGTERM, SIGHUP]) throws(FileError) -> Int32 {
    let result = csignals_exit_install(signals, Int32(truncatingIfNeeded: signals.count))
    if result < 0 { throw FileError(operation: "eventfd", path: "", number: -result) }
    return result
  }

  /// The signal that arrived, or nil.
  public static var received: Int32? {
    let number = csignals_exit_received()
    return number == 0 ? nil : number
  }

  /// Gives the signals back: each ends the process again, after a clean-up.
  public static func uninstall() { csignals_exit_uninstall() }
}
