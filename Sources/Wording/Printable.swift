/// Text that somebody else wrote (a guest's name, a thread's name, a path in a recording), made fit for a terminal:
/// control characters, line and paragraph separators and invisible format characters (the bidirectional overrides
/// among them) become `?`.
public func printable(_ text: String) -> String {
  guard text.unicodeScalars.contains(where: isUnprintable) else { return text }
  return String(String.UnicodeScalarView(text.unicodeScalars.map { isUnprintable($0) ? "?" : $0 }))
}

/// What a terminal may obey, or not show.
public func isUnprintable(_ scalar: Unicode.Scalar) -> Bool {
  if scalar.value < 0x7f { return scalar.value < 0x20 }
  switch scalar.properties.generalCategory {
  case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate: return true
  default: return false
  }
}
