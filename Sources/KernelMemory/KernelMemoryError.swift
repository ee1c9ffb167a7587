/// Why the kernel's memory cannot be read, in words for its user.
public struct KernelMemoryError: Error, Sendable, Hashable, CustomStringConvertible {
  /// What is wrong and where, without a final stop.
  public var message: String
  /// What would help, where something would.
  public var hint: String?

  public init(_ message: String, hint: String? = nil) {
    self.message = message
    self.hint = hint
  }

  /// Whoever wanted it does no more.
  public static let cancelled = KernelMemoryError("kernel memory was not searched to the end: nobody waits for it")

  public var description: String { hint.map { "\(message): \($0)" } ?? message }
}
