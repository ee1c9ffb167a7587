/// Writes text to standard output.
func emit(_ text: String) throws { print(text, terminator: "") }
