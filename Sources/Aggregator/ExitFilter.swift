import Architecture
import TraceFormat

/// Tells which records are exits that the `Aggregator` counts, for a search that needs nothing else of them.
public final class ExitFilter {
  private let table: EventTable
  private let options: AggregatorOptions

  /// - Throws: `AggregatorError` where the formats have a kvm_exit that cannot be counted.
  public init(metadata: TraceMetadata, options: AggregatorOptions) throws(AggregatorError) {
    table = try EventTable(formats: metadata.formats)
    self.options = options
  }

  /// Whether there is a kvm_exit at all.
  public var hasExits: Bool { table.exit.reason >= 0 }

  /// Whether the event is an exit of a thread and a vCPU that the options ask for, and of this reason; nil: of any.
  public func matches(_ cursor: SubBufferCursor, _ reason: ReasonCode?) -> Bool {
    guard let (kind, _, thread) = table.event(cursor), kind == .exit else { return false }
    let record = cursor.payload
    guard options.counts(thread, vcpuID: table.vcpuID(kind, record)) else { return false }
    guard let reason else { return true }
    let isa = record.loadUnaligned(fromByteOffset: table.exit.isa, as: UInt32.self)
    let whole = record.loadUnaligned(fromByteOffset: table.exit.reason, as: UInt32.self)
    return isa == reason.isa && KVMExit.code(isa: ISA(rawValue: isa), reason: whole) == reason.code
  }
}
