import Glibc

/// What an error means for whoever runs the program. Each kind has one exit status.
public enum ErrorKind: Sendable, Hashable {
  /// No permission, or the source is missing.
  case unavailable
  /// The host or a layout is not supported, or no VM matched.
  case unsupported
  /// A recording cannot be read.
  case damaged
  /// What was asked for makes no sense.
  case usage
  /// Anything else.
  case failure
}

/// What the errors of the layers have in common. Each layer has its own type, with codes of its own to branch on; none
/// branches on words.
public protocol CodedError: Error, CustomStringConvertible {
  /// What it means for whoever runs the program.
  var kind: ErrorKind { get }
  /// What failed and where, without a final stop.
  var message: String { get }
  /// What to do about it: a command, where there is one.
  var hint: String? { get }
  /// The `errno` value of the system call that failed; nil where none did.
  var errorNumber: Int32? { get }
  /// The error of a lower layer that it came of; nil where there is none.
  var cause: (any CodedError)? { get }
  /// One line without the hint.
  var text: String { get }
}

extension CodedError {
  public var hint: String? { nil }
  public var errorNumber: Int32? { nil }
  public var cause: (any CodedError)? { nil }

  /// The message, and the system's words for its errno.
  public var text: String { errorNumber.map { "\(message): \(errorText($0))" } ?? message }

  /// One line: the text and the hint.
  public var description: String { hint.map { "\(text); \($0)" } ?? text }
}

/// The system's text for an `errno` value.
public func errorText(_ number: Int32) -> String {
  // glibc's text is per thread.
  strerror(number).map { String(cString: $0) } ?? "error \(number)"
}
