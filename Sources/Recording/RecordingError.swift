import Errors
import Glibc
import HostFiles

/// Why a recording cannot be written or read.
public struct RecordingError: CodedError {
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
  public var cause: (any CodedError)?

  public init(_ message: String, errorNumber: Int32? = nil, code: Code = .failure) {
    self.message = message
    self.errorNumber = errorNumber
    self.code = code
  }

  /// What an error of a lower layer means for the recording.
  ///
  /// - Parameter message: what could not be done; the cause's words come after it.
  public init(_ message: String, of cause: any CodedError, code: Code = .failure) {
    self.init("\(message): \(cause.text)", code: code)
    self.cause = cause
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
