import Glibc

/// Why a recording cannot be written.
public struct RecordingError: Error, Sendable, Hashable, CustomStringConvertible {
  /// What failed, without a final stop.
  public var message: String
  /// The system's error number, such as ENOSPC; nil where the caller's data was wrong.
  public var errorNumber: Int32?

  public init(_ message: String, errorNumber: Int32? = nil) {
    self.message = message
    self.errorNumber = errorNumber
  }

  public var description: String {
    errorNumber.map { "\(message): \(String(cString: strerror($0)))" } ?? message
  }
}
