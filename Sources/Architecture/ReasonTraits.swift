/// What the path of each exit wants to know of its reason, compiled from the tables once: dense by number, plain values that are read
/// without reference counting.
public struct ReasonTraits: Sendable {
  /// Which control an exit is charged to.
  public var rule: GoverningRule
  /// Where its main detail is read.
  public var detail: DetailSource
  /// True for what halts the vCPU: its handling time is mostly idle time.
  public var halts: Bool

  /// What holds of a reason that the catalogue does not know.
  static let unknown = ReasonTraits(rule: .unknown, detail: .none, halts: false)

  /// Those of a basic exit reason (VMX, without flag bits) or an exit code (SVM).
  public static func of(isa: ISA, code: UInt32) -> ReasonTraits {
    switch isa {
    case .vmx: TraitsTable.vmx[code]
    case .svm: TraitsTable.svm[code]
    default: .unknown
    }
  }
}

/// The traits of one ISA's reasons. Never changed, never freed: there are two.
private struct TraitsTable: @unchecked Sendable {
  static let vmx = TraitsTable(ExitReason.vmxRows)
  static let svm = TraitsTable(ExitReason.svmRows)

  /// Codes from here on are few, and searched.
  private static let denseLimit: UInt32 = 0x404

  private let dense: UnsafeMutableBufferPointer<ReasonTraits>
  private let others: UnsafeMutableBufferPointer<(code: UInt32, traits: ReasonTraits)>

  private init(_ rows: [ExitReason]) {
    let low = rows.filter { $0.code < Self.denseLimit }
    let high = rows.filter { $0.code >= Self.denseLimit }
    dense = .allocate(capacity: low.reduce(0) { max($0, Int($1.code) + 1) })
    dense.initialize(repeating: .unknown)
    for row in low { dense[Int(row.code)] = row.traits }
    others = .allocate(capacity: high.count)
    _ = others.initialize(from: high.map { ($0.code, $0.traits) })
  }

  subscript(code: UInt32) -> ReasonTraits {
    if code < UInt32(truncatingIfNeeded: dense.count) { return dense[Int(code)] }
    for index in others.indices where others[index].code == code { return others[index].traits }
    return .unknown
  }
}

extension ExitReason {
  fileprivate var traits: ReasonTraits { ReasonTraits(rule: rule, detail: detail, halts: halts) }
}
