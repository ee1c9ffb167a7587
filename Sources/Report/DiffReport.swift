import Aggregator
import Architecture

/// Two recordings, or two parts of one, side by side, for a page and for JSON.
public struct DiffReport: Sendable {
  /// One of the two.
  public struct Side: Sendable {
    /// All of its figures are of its window.
    public var snapshot: Snapshot
    /// Which part of the recording it is, nanoseconds since the first event; nil: all.
    public var part: Range<UInt64>?
    /// What was found damaged in the recording, a line each.
    public var damage: [String]

    public init(snapshot: Snapshot, part: Range<UInt64>? = nil, damage: [String] = []) {
      self.snapshot = snapshot
      self.part = part
      self.damage = damage
    }
  }

  public var a: Side
  public var b: Side
  var vocabulary: Vocabulary
  /// Everything first, then the VMs of the same name on both sides, where there are several.
  let scopes: [SnapshotComparison.Scope]
  /// Names of VMs that only one of them has.
  let onlyInA: [String]
  let onlyInB: [String]

  public init(_ a: Side, _ b: Side, vocabulary: Vocabulary) {
    self.a = a
    self.b = b
    self.vocabulary = vocabulary
    let comparison = SnapshotComparison(
      SnapshotComparison.Side(a.snapshot), SnapshotComparison.Side(b.snapshot),
      controlName: { vocabulary.shortName($0) })
    let machines = comparison.machines
    (onlyInA, onlyInB) = (machines.onlyInA, machines.onlyInB)
    // With one VM on either side, it is everything.
    let hasSeveral = a.snapshot.vms.count > 1 || b.snapshot.vms.count > 1
    scopes = [comparison.everything] + (hasSeveral ? machines.both : [])
  }

  /// Whether anything is another one than before.
  public var hasSignificantChange: Bool { scopes.contains(where: \.hasSignificantChange) }
}
