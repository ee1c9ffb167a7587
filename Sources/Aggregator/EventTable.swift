import Architecture
import Errors
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

/// A kvm_exit record has its fields as `KVMExit` has them, behind the common fields: true for every 64-bit kernel since 5.10.
extension KVMExit {
  /// Where they begin in the record.
  static var start: Int { 8 }

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
    /// The record's fields lie just as those of `KVMExit` do.
    var isNative = false

    mutating func compareWithNative() {
      func lies(_ field: OptionalField, _ place: Int, _ size: Int) -> Bool {
        field.size == size && field.offset == KVMExit.start + place
      }
      isNative =
        lies(OptionalField(offset: reason, size: 4), KVMExit.Offset.reason, 4)
        && lies(OptionalField(offset: isa, size: 4), KVMExit.Offset.isa, 4)
        && lies(rip, KVMExit.Offset.rip, 8) && lies(info1, KVMExit.Offset.info1, 8)
        && lies(info2, KVMExit.Offset.info2, 8)
        && lies(interruptionInformation, KVMExit.Offset.interruptionInformation, 4)
        && lies(errorCode, KVMExit.Offset.errorCode, 4)
    }

    /// Takes the fields of a record. Returns where they lie as in `KVMExit`: in the record, or where they were taken to.
    @inline(__always)
    func take(_ record: UnsafeRawPointer, into exit: UnsafeMutablePointer<KVMExit>) -> UnsafeRawPointer {
      guard isNative else {
        gather(record, into: exit)
        return UnsafeRawPointer(exit)
      }
      UnsafeMutableRawPointer(exit).copyMemory(from: record + KVMExit.start, byteCount: MemoryLayout<KVMExit>.size)
      return record + KVMExit.start
    }

    /// Takes the fields from wherever this kernel has them.
    @inline(never)
    private func gather(_ record: UnsafeRawPointer, into exit: UnsafeMutablePointer<KVMExit>) {
      exit.pointee = KVMExit(
        isa: ISA(rawValue: record.loadUnaligned(fromByteOffset: isa, as: UInt32.self)),
        reason: record.loadUnaligned(fromByteOffset: reason, as: UInt32.self), rip: rip.load(record),
        info1: info1.load(record),
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
  private(set) var userSpaceReason = -1
  private(set) var userSpaceError = -1
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

  /// What an event is, its id and its thread; nil for one that is not counted, or too short. The `Aggregator`, which
  /// counts these too, has the same in its loop.
  func event(_ cursor: SubBufferCursor) -> (kind: EventKind, id: Int, thread: Int32)? {
    guard cursor.payloadLength >= 8 else { return nil }
    let id = Int(cursor.payload.loadUnaligned(as: UInt16.self))
    guard id < rowCount, rows[id].kind != .other, cursor.payloadLength >= Int(rows[id].minimumLength) else {
      return nil
    }
    let thread = cursor.payload.loadUnaligned(fromByteOffset: 4, as: Int32.self)
    return thread == .min ? nil : (rows[id].kind, id, thread)
  }

  /// The vcpu_id of a kvm_exit or kvm_entry; nil where this kernel's event has none.
  @inline(__always)
  func vcpuID(_ kind: EventKind, _ record: UnsafeRawPointer) -> UInt32? {
    let offset = kind == .exit ? exit.vcpu : entryVCPU
    return offset < 0 ? nil : record.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
  }

  /// KVM_EXIT_HLT (`include/uapi/linux/kvm.h`): without a local APIC in the kernel, HLT is the VMM's to wait out.
  private static var userSpaceHalt: UInt64 { 5 }

  /// What one of the rarer events says of the open exit of its thread.
  @inline(__always)
  func note(_ kind: EventKind, _ id: Int, _ record: UnsafeRawPointer) -> ExitNote {
    func word(_ offset: Int) -> UInt64 { UInt64(record.loadUnaligned(fromByteOffset: offset, as: UInt32.self)) }
    func long(_ offset: Int) -> UInt64 { record.loadUnaligned(fromByteOffset: offset, as: UInt64.self) }
    switch kind {
    case .userSpaceExit:
      // After an error the reason may be that of the time before.
      let isHalt =
        userSpaceReason >= 0 && word(userSpaceReason) == Self.userSpaceHalt
        && (userSpaceError < 0 || word(userSpaceError) >> 31 == 0)
      return .userSpace(isHalt: isHalt)
    case .fpu: return word(fpuLoad) != 0 ? .running : .nothing
    case .wakeup: return .wakeup(nanoseconds: long(wakeupNanoseconds))
    case .msr: return .detail(.msr, word(msrIndex))
    case .cpuid: return .detail(.cpuidLeaf, word(cpuidFunction))
    case .pageFault: return .detail(.gpa, long(faultAddress))
    case .mmio: return .detail(.gpa, long(id == fastMMIOID ? fastMMIOAddress : mmioAddress))
    case .hypercall: return .detail(.hypercall, long(hypercallNumber))
    case .other, .exit, .entry, .apicvInhibit: return .nothing
    }
  }

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
    case "kvm_userspace_exit":
      userSpaceReason = offset("reason", 4)
      userSpaceError = offset("errno", 4)
      row.kind = .userSpaceExit
      row.minimumLength = length("reason", "errno")
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
