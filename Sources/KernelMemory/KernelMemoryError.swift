import Errors
import HostFiles

/// Why the kernel's memory cannot be read, in words for its user.
public struct KernelMemoryError: CodedError {
  /// What is wrong and where, without a final stop.
  public var message: String
  /// What would help, where something would.
  public var hint: String?

  /// `unsupported` where this host has nothing to read.
  public var kind: ErrorKind
  public var cause: (any CodedError)?

  public init(_ message: String, hint: String? = nil, kind: ErrorKind = .unavailable) {
    self.kind = kind
    self.message = message
    self.hint = hint
  }

  /// A file of the kernel's that could not be read.
  public init(_ cause: FileError) {
    self.init(cause.text, kind: cause.kind)
    self.cause = cause
  }

  /// Whoever wanted it does no more.
  public static let cancelled = KernelMemoryError("kernel memory was not searched to the end: nobody waits for it")

  /// One line: the message and what would help.
  public var description: String { hint.map { "\(message): \($0)" } ?? message }
}
