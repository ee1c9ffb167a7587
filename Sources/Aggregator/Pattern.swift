import Glibc

/// A POSIX extended regular expression (regex(7)), found anywhere in a name and without regard to case: what every filter
/// takes. The C library's matcher is an automaton: no pattern keeps it busy for long on a short name.
///
/// Sendable, because regexec(3) only reads the compiled expression.
public final class Pattern: @unchecked Sendable {
  public let text: String
  private var expression = regex_t()

  /// - Returns: nil for what is no regular expression. Long ones and ones with many repeat counts, which the C library
  ///   would spend all memory on, are refused as well.
  public init?(_ text: String) {
    guard text.utf8.count <= 200, text.utf8.count(where: { $0 == UInt8(ascii: "{") }) <= 1, !text.utf8.contains(0)
    else {
      return nil
    }
    self.text = text
    guard regcomp(&expression, text, REG_EXTENDED | REG_ICASE | REG_NOSUB) == 0 else { return nil }
  }

  deinit { regfree(&expression) }

  public func matches(_ text: String) -> Bool { regexec(&expression, text, 0, nil, 0) == 0 }
}
