import Errors
import Glibc
import HostFiles
import TraceFormat

/// What went wrong with tracefs, where, and what to do about it.
public struct TracefsError: CodedError {
  /// The kind of failure. Open: cases may be added.
  public struct Code: Sendable, Hashable {
    private enum Value {
      case notMounted, noTracing, noPermission, absent, busy, noMemory, unsupported, unexpectedFormat, failed
    }
    private let value: Value

    /// tracefs is not mounted.
    public static let notMounted = Code(value: .notMounted)
    /// The kernel was built without tracing.
    public static let noTracing = Code(value: .noTracing)
    /// EACCES or EPERM.
    public static let noPermission = Code(value: .noPermission)
    /// A file or folder that should be there is not.
    public static let absent = Code(value: .absent)
    /// Somebody holds it: EBUSY.
    public static let busy = Code(value: .busy)
    /// The kernel could not allocate the buffers: ENOMEM.
    public static let noMemory = Code(value: .noMemory)
    /// This kernel does not take the value.
    public static let unsupported = Code(value: .unsupported)
    /// A file of the kernel is not laid out as expected.
    public static let unexpectedFormat = Code(value: .unexpectedFormat)
    /// Any other failure of a system call.
    public static let failed = Code(value: .failed)
  }

  public var code: Code
  public var path: String
  public var errorNumber: Int32?
  /// What was tried or found, in words.
  public var message: String
  /// What to do: a command, where there is one.
  public var hint: String?
  public var cause: (any CodedError)?

  public init(_ code: Code, path: String, errorNumber: Int32? = nil, message: String, hint: String? = nil) {
    self.code = code
    self.path = path
    self.errorNumber = errorNumber
    self.message = message
    self.hint = hint
  }

  public var kind: ErrorKind {
    switch code {
    case .notMounted, .noTracing, .noPermission, .absent, .busy: .unavailable
    case .unexpectedFormat, .unsupported: .unsupported
    default: .failure
    }
  }

  /// The message, the path and the system's words.
  public var text: String { "\(message): \(path)" + (errorNumber.map { ": \(errorText($0))" } ?? "") }

  static let privilegeHint = "run as root, or give CAP_DAC_OVERRIDE and CAP_SYS_ADMIN"
  static let mountHint = "mount -t tracefs tracefs /sys/kernel/tracing"

  /// A file of the kernel's that is not laid out as expected.
  init(_ error: TraceFormatError, path: String, _ message: String) {
    self.init(.unexpectedFormat, path: path, message: "\(message): \(error.text)")
    cause = error
  }

  /// A failed system call, its code taken from errno.
  init(_ error: FileError, _ message: String) {
    let code: Code
    var hint: String?
    switch error.number {
    case EACCES, EPERM, EROFS:
      code = .noPermission
      hint =
        error.number == EROFS
        ? "remount tracefs writable: mount -o remount,rw /sys/kernel/tracing" : TracefsError.privilegeHint
    case ENOENT, ENOTDIR: code = .absent
    case EBUSY: code = .busy
    case ENOMEM:
      code = .noMemory
      hint = "ask for smaller buffers"
    case EINVAL: code = .unsupported
    default: code = .failed
    }
    self.init(code, path: error.path, errorNumber: error.number, message: message, hint: hint)
    cause = error
  }
}
