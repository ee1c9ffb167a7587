import Errors
import HostFiles

/// Why a trace.dat file cannot be read at all.
public struct TraceFileError: CodedError {
  /// The kind of failure; more may be added.
  public struct Code: RawRepresentable, Sendable, Hashable {
    public var rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    /// The system would not open or map the file.
    public static let unreadable = Code(rawValue: "unreadable")
    /// It is some other kind of file.
    public static let notATraceFile = Code(rawValue: "not-a-trace-file")
    /// It is a trace.dat file of a kind not supported: big-endian, latency, a foreign compression.
    public static let unsupported = Code(rawValue: "unsupported")
    /// The file ends before what is needed to read any event.
    public static let truncated = Code(rawValue: "truncated")
    /// A length or a value makes no sense.
    public static let malformed = Code(rawValue: "malformed")
  }

  public var code: Code
  /// Where in the file, in bytes from its start; nil where the whole file is meant.
  public var offset: Int?
  /// What was found and what was expected, and what to do, without a final stop.
  public var message: String
  /// The file's path as it was given; nil for bytes in memory.
  public var path: String?
  public var cause: (any CodedError)?

  public init(_ code: Code, offset: Int? = nil, _ message: String, path: String? = nil) {
    self.code = code
    self.offset = offset
    self.message = message
    self.path = path
  }

  /// A name from a file as messages show it: at most 40 characters, control characters as dots.
  public static func shown(_ name: String) -> String { printable(name) }

  public var kind: ErrorKind { code == .unreadable ? .unavailable : .damaged }

  /// The path, the message and the place.
  public var text: String {
    (path.map { "\($0): " } ?? "") + message + (offset.map { " (at byte \($0))" } ?? "")
  }
}

/// A part of a trace.dat file that is cut off or corrupt and was left out; reading goes on with the rest.
public struct TraceDamage: Sendable, Hashable, CustomStringConvertible {
  /// Where in the file, in bytes from its start.
  public var offset: Int
  /// What is missing, without a final stop.
  public var message: String

  public init(offset: Int, message: String) {
    self.offset = offset
    self.message = message
  }

  public var description: String { "\(message) (at byte \(offset))" }
}
