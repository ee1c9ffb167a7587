import Glibc

/// A POSIX extended regular expression, without regard to case.
final class Pattern {
  let text: String
  private var expression = regex_t()

  /// - Returns: nil for what is no regular expression. Long ones and ones with many repeat counts, which the C library
  ///   would spend all memory on, are refused as well.
  init?(_ text: String) {
    guard text.utf8.count <= 200, text.utf8.count(where: { $0 == UInt8(ascii: "{") }) <= 1 else { return nil }
    self.text = text
    guard regcomp(&expression, text, REG_EXTENDED | REG_ICASE | REG_NOSUB) == 0 else { return nil }
  }

  deinit { regfree(&expression) }

  func matches(_ text: String) -> Bool { regexec(&expression, text, 0, nil, 0) == 0 }
}
