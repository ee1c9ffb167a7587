/// What an exit is charged to, as a dense number: a control bit, a bitmap, a mask, EPT, an SVM intercept, or
/// *unconditional*. The catalogue's row behind it has the word, the bit and the names. Recordings hold
/// the numbers (chunk SUMS), so none ever changes. Print `word` and `name`, never the number.
public struct ControlID: RawRepresentable, Hashable, Comparable, Sendable {
  public var rawValue: UInt16

  @inlinable public init(rawValue: UInt16) { self.rawValue = rawValue }
  @inlinable public static func < (a: ControlID, b: ControlID) -> Bool { a.rawValue < b.rawValue }
}
