import Errors

/// The documented exit statuses.
public enum ExitStatus: Int32, Sendable {
  case ok = 0
  /// A run-time error: a full disk, a closed output.
  case failure = 1
  /// A wrong command line.
  case usage = 2
  /// No permission, or the source is missing.
  case unavailable = 3
  /// The host is not supported, or no VM matched.
  case unsupported = 4
  /// The recording is damaged; it was read up to the damage.
  case damaged = 5
  /// Events were lost and `--strict` was given.
  case lostEvents = 6
}

/// What ends a command: one line that says what, where and what to do, and the exit status.
public struct Failure: CodedError {
  public var status: ExitStatus
  /// What went wrong and where, without a final stop or newline.
  public var message: String
  /// What to do about it: a command, where there is one.
  public var hint: String?
  public var cause: (any CodedError)?

  public init(_ status: ExitStatus, _ message: String, hint: String? = nil) {
    self.status = status
    self.message = message
    self.hint = hint
  }

  /// What an error of any layer comes to: the one place that gives each kind its exit status.
  public init(_ error: some CodedError) {
    if let failure = error as? Failure {
      self = failure
      return
    }
    let status: ExitStatus =
      switch error.kind {
      case .unavailable: .unavailable
      case .unsupported: .unsupported
      case .damaged: .damaged
      case .usage: .usage
      case .failure: .failure
      }
    self.init(status, error.text, hint: error.hint)
    cause = error
  }

  public var kind: ErrorKind {
    switch status {
    case .unavailable: .unavailable
    case .unsupported: .unsupported
    case .damaged: .damaged
    case .usage: .usage
    case .ok, .failure, .lostEvents: .failure
    }
  }
}
