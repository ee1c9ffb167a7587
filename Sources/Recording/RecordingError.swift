import Glibc
import HostFiles

/// Why a recording cannot be written or read.
public struct RecordingError: CodedError, Hashable {
  /// What kind of failure it is.
  public enum Code: Sendable, Hashable {
    /// Anything that has no name below.
    case failure
    /// The system would not open the file.
    case unavailable
    /// There is a file of that name, which is not to be overwritten.
    case exists
    /// It is some other kind of file.
    case notARecording
    /// It is of a later version.
    case unsupported
    /// What is needed to read anything of it is lost.
    case damaged
  }

  public var code: Code
  public var message: String
  public var errorNumber: Int32?

  public init(_ message: String, errorNumber: Int32? = nil, code: Code = .failure) {
    self.message = message
    self.errorNumber = errorNumber
    self.code = code
  }

  public var kind: ErrorKind {
    switch code {
    case .unavailable: .unavailable
    case .unsupported: .unsupported
    case .notARecording, .damaged: .damaged
    case .failure, .exists: .failure
    }
  }

  /// True where more privilege would help.
  public var isPermission: Bool { errorNumber == EACCES || errorNumber == EPERM }
}
