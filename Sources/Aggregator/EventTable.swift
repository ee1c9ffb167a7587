import Architecture
import HostFiles
import TraceFormat

/// What an event means to the aggregator.
enum EventKind: UInt8 {
  case other
  case exit
  case entry
  case userSpaceExit
  case fpu
  case wakeup
  /// Carries the detail of the exit before it.
  case msr, cpuid, pageFault, mmio, hypercall
  case apicvInhibit
}

/// One row per event id: what the event is, how long its record must be for the fields to be there, how many came.
struct EventTableRow {
  var kind: EventKind = .other
  var minimumLength: UInt16 = 8
  var count: UInt64 = 0
}

/// The fields of a kvm_exit record that are counted, laid out as the kernel's TRACE_EVENT_KVM_EXIT lays them out
/// (`arch/x86/kvm/trace.h`, 5.10 and later, 64 bits): such a record is taken over as it is.
struct ExitRecord: Hashable {
  /// Where they begin in the record: behind the common fields.
  static let start = 8

  var reason: UInt32 = 0
  var rip: UInt64 = 0
  var isa: UInt32 = 0
  var info1: UInt64 = 0
  var info2: UInt64 = 0
  var interruptionInformation: UInt32 = 0
  var errorCode: UInt32 = 0

  /// As constants, which `MemoryLayout.offset(of:)` is not for the optimizer.
  enum Offset {
    static var reason: Int { 0 }
    static var rip: Int { 8 }
    static var isa: Int { 16 }
    static var info1: Int { 24 }
    static var info2: Int { 32 }
    static var interruptionInformation: Int { 40 }
    static var errorCode: Int { 44 }
  }

  func facts(msr: UInt32? = nil) -> ExitFacts {
    ExitFacts(
      isa: isa, reason: reason, qualification: info1, interruptionInformation: interruptionInformation,
      errorCode: errorCode, msr: msr)
  }
}

/// Why the events of a source cannot be counted.
public struct AggregatorError: CodedError {
  public var message: String
  public var kind: ErrorKind { .unsupported }
}

/// Field offsets of the events that matter, compiled once from their formats: the per-event path only loads.
/// An offset of -1 stands for a field that this kernel's event lacks.
struct EventTable: ~Copyable {
  /// A field of kvm_exit that a kernel's event may lack: then it reads as 0.
  struct OptionalField {
    var offset = -1
    var size = 0

    init() {}

    /// - Parameter offset: -1 for a field that is not there.
    init(offset: Int, size: Int) {
      self.offset = offset
      self.size = size
    }

    func load(_ record: UnsafeRawPointer) -> UInt64 {
      if offset < 0 { return 0 }
      return size == 8
        ? record.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
        : UInt64(record.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }
  }

  struct ExitOffsets {
    /// `exit_reason` is wider than 32 bits on some kernels: only its low half is read.
    var reason = -1, isa = -1, vcpu = -1
    var rip = OptionalField(), info1 = OptionalField(), info2 = OptionalField()
    var interruptionInformation = OptionalField(), errorCode = OptionalField()
    /// The record's fields lie just as those of `ExitRecord` do: true for every 64-bit kernel since 5.10.
    var isNative = false

    mutating func compareWithNative() {
      func lies(_ field: OptionalField, _ place: Int, _ size: Int) -> Bool {
        field.size == size && field.offset == ExitRecord.start + place
      }
      isNative =
        lies(OptionalField(offset: reason, size: 4), ExitRecord.Offset.reason, 4)
        && lies(OptionalField(offset: isa, size: 4), ExitRecord.Offset.isa, 4)
        && lies(rip, ExitRecord.Offset.rip, 8) && lies(info1, ExitRecord.Offset.info1, 8)
        && lies(info2, ExitRecord.Offset.info2, 8)
        && lies(interruptionInformation, ExitRecord.Offset.interruptionInformation, 4)
        && lies(errorCode, ExitRecord.Offset.errorCode, 4)
    }

    /// Takes the fields from wherever this kernel has them.
    @inline(never)
    func gather(_ record: UnsafeRawPointer, into exit: UnsafeMutablePointer<ExitRecord>) {
      exit.pointee = ExitRecord(
        reason: record.loadUnaligned(fromByteOffset: reason, as: UInt32.self), rip: rip.load(record),
        isa: record.loadUnaligned(fromByteOffset: isa, as: UInt32.self), info1: info1.load(record),
        info2: info2.load(record),
        interruptionInformation: UInt32(truncatingIfNeeded: interruptionInformation.load(record)),
        errorCode: UInt32(truncatingIfNeeded: errorCode.load(record)))
    }
  }

  let rows: UnsafeMutablePointer<EventTableRow>
  let rowCount: Int
  /// Names by id, for the counts of events by kind.
  let names: [String]
  private(set) var exit = ExitOffsets()
  private(set) var entryVCPU = -1
  private(set) var fpuLoad = -1
  private(set) var wakeupNanoseconds = -1
  private(set) var msrIndex = -1
  private(set) var cpuidFunction = -1
  private(set) var cpuidIndex = -1
  private(set) var faultAddress = -1
  private(set) var mmioAddress = -1
  private(set) var fastMMIOAddress = -1
  private(set) var fastMMIOID = -1
  private(set) var hypercallNumber = -1
  private(set) var inhibits = -1
  private(set) var inhibitReason = -1
  private(set) var inhibitSet = -1

  /// - Throws: `AggregatorError` where kvm_exit or kvm_entry exist in a layout that cannot be counted.
  init(formats: [EventFormat]) throws(AggregatorError) {
    let highest = formats.map { Int($0.id) }.max() ?? 0
    rowCount = highest + 1
    rows = .allocate(capacity: rowCount)
    rows.initialize(repeating: EventTableRow(), count: rowCount)
    var names = [String](repeating: "", count: rowCount)
    for format in formats { names[Int(format.id)] = format.name }
    self.names = names
    // If this throws, everything is initialized and deinit gives the rows back. There is one set of offsets per event:
    // a file that describes an event twice is taken at its first word, or the second's offsets would be loaded from
    // records that are only known to be as long as the first's.
    var compiled: Set<String> = []
    for format in formats where format.system == "kvm" && compiled.insert(format.name).inserted { try compile(format) }
  }

  deinit { rows.deallocate() }

  private mutating func compile(_ format: EventFormat) throws(AggregatorError) {
    /// The offset of a field of one of the sizes the loads expect, or -1.
    func offset(_ name: String, _ sizes: Int...) -> Int {
      guard let field = format.field(name), sizes.contains(field.size), field.offset >= 8, field.offset <= 4096
      else { return -1 }
      return field.offset
    }
    func length(_ names: String...) -> UInt16 {
      let ends = names.compactMap { format.field($0) }.filter { $0.offset <= 4096 && $0.size <= 16 }
      return UInt16(ends.map { $0.offset + $0.size }.max() ?? 8)
    }
    var row = EventTableRow()
    switch format.name {
    case "kvm_exit":
      exit.reason = offset("exit_reason", 4, 8)
      exit.isa = offset("isa", 4)
      // `unsigned long` of the traced kernel may be 4 bytes.
      exit.rip = OptionalField(offset: offset("guest_rip", 4, 8), size: format.field("guest_rip")?.size ?? 0)
      exit.info1 = OptionalField(offset: offset("info1", 8), size: 8)
      exit.info2 = OptionalField(offset: offset("info2", 8), size: 8)
      exit.interruptionInformation = OptionalField(offset: offset("intr_info", 4), size: 4)
      exit.errorCode = OptionalField(offset: offset("error_code", 4), size: 4)
      exit.vcpu = offset("vcpu_id", 4)
      guard exit.reason >= 0, exit.isa >= 0 else {
        throw AggregatorError(
          message: "unknown layout of the event kvm_exit: it has no field exit_reason or isa (an x86 KVM has both)")
      }
      exit.compareWithNative()
      row.kind = .exit
      row.minimumLength = length(
        "exit_reason", "guest_rip", "isa", "info1", "info2", "intr_info", "error_code", "vcpu_id")
    case "kvm_entry":
      entryVCPU = offset("vcpu_id", 4)
      row.kind = .entry
      row.minimumLength = length("vcpu_id")
    case "kvm_userspace_exit": row.kind = .userSpaceExit
    case "kvm_fpu":
      fpuLoad = offset("load", 4)
      row.minimumLength = length("load")
      if fpuLoad >= 0 { row.kind = .fpu }
    case "kvm_vcpu_wakeup":
      wakeupNanoseconds = offset("ns", 8)
      row.minimumLength = length("ns")
      if wakeupNanoseconds >= 0 { row.kind = .wakeup }
    case "kvm_msr":
      msrIndex = offset("ecx", 4)
      row.minimumLength = length("ecx")
      if msrIndex >= 0 { row.kind = .msr }
    case "kvm_cpuid":
      cpuidFunction = offset("function", 4)
      cpuidIndex = offset("index", 4)
      row.minimumLength = length("function", "index")
      if cpuidFunction >= 0 { row.kind = .cpuid }
    case "kvm_page_fault":
      faultAddress = offset("fault_address", 8)
      row.minimumLength = length("fault_address")
      if faultAddress >= 0 { row.kind = .pageFault }
    case "kvm_mmio":
      mmioAddress = offset("gpa", 8)
      row.minimumLength = length("gpa")
      if mmioAddress >= 0 { row.kind = .mmio }
    case "kvm_fast_mmio":
      fastMMIOAddress = offset("gpa", 8)
      fastMMIOID = Int(format.id)
      row.minimumLength = length("gpa")
      if fastMMIOAddress >= 0 { row.kind = .mmio }
    case "kvm_hypercall":
      hypercallNumber = offset("nr", 8)
      row.minimumLength = length("nr")
      if hypercallNumber >= 0 { row.kind = .hypercall }
    case "kvm_apicv_inhibit_changed":
      inhibits = offset("inhibits", 8)
      inhibitReason = offset("reason", 4)
      inhibitSet = offset("set", 1)
      row.minimumLength = length("inhibits", "reason", "set")
      if inhibits >= 0, inhibitReason >= 0, inhibitSet >= 0 { row.kind = .apicvInhibit }
    default: break
    }
    // Two events of the same id: whichever is meant, its record is long enough for both.
    row.minimumLength = max(row.minimumLength, rows[Int(format.id)].minimumLength)
    rows[Int(format.id)] = row
  }
}
