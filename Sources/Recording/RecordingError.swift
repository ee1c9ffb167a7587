import Glibc

/// Why a recording cannot be written or read.
public struct RecordingError: Error, Sendable, Hashable, CustomStringConvertible {
  /// What failed, without a final stop.
  public var message: String
  /// The system's error number, such as ENOSPC; nil where the caller's data was wrong.
  public var errorNumber: Int32?

  /// What kind of failure it is, for the exit status.
  public enum Kind: Sendable, Hashable {
    /// Anything that has no name below.
    case failure
    /// The system would not open the file.
    case unavailable
    /// It is some other kind of file.
    case notARecording
    /// It is of a later version.
    case unsupported
    /// What is needed to read anything of it is lost.
    case damaged
  }
  public var kind = Kind.failure

  public init(_ message: String, errorNumber: Int32? = nil, kind: Kind = .failure) {
    self.message = message
    self.errorNumber = errorNumber
    self.kind = kind
  }

  public var description: String {
    errorNumber.map { "\(message): \(String(cString: strerror($0)))" } ?? message
  }
}
