import Errors

/// Why the text of a `format`, `header_page` or print format could not be understood.
public struct TraceFormatError: CodedError, Hashable {
  /// What was wrong and what was expected, without a final stop.
  public var message: String
  /// The line of the text it concerns, counted from 1; nil where it concerns the whole.
  public var line: Int?

  public init(_ message: String, line: Int? = nil) {
    self.message = message
    self.line = line
  }

  public var kind: ErrorKind { .unsupported }

  /// The message and the line.
  public var text: String { line.map { "\(message) (line \($0))" } ?? message }
}
