/// The last kvm_exit of a vCPU's thread, as the tracepoint gave it (`arch/x86/kvm/trace.h`).
public struct ExitEvent: Sendable, Hashable {
  /// CLOCK_MONOTONIC in nanoseconds: only where the trace clock is `mono`.
  public var timestamp: UInt64
  public var isa: ISA
  /// The full 32-bit VM_EXIT_REASON (VMX) or the exit code (SVM).
  public var reason: UInt32
  public var rip: UInt64
  /// EXIT_QUALIFICATION (VMX) or EXITINFO1 (SVM).
  public var info1: UInt64
  /// IDT_VECTORING_INFO_FIELD (VMX) or EXITINFO2 (SVM).
  public var info2: UInt64
  /// VM_EXIT_INTR_INFO (VMX) or EXITINTINFO without its error code (SVM); nil before 5.10, whose event lacks it.
  public var interruptionInformation: UInt32?
  /// Means something where `interruptionInformation` says that there is one.
  public var errorCode: UInt32?

  public init(
    timestamp: UInt64, isa: ISA, reason: UInt32, rip: UInt64, info1: UInt64, info2: UInt64,
    interruptionInformation: UInt32? = nil, errorCode: UInt32? = nil
  ) {
    self.timestamp = timestamp
    self.isa = isa
    self.reason = reason
    self.rip = rip
    self.info1 = info1
    self.info2 = info2
    self.interruptionInformation = interruptionInformation
    self.errorCode = errorCode
  }

  /// What it says of fields of the VMCS or the VMCB, by name. A failed VM entry (bit 31 of the reason) is reported with zeros
  /// for what the processor did not write (vmx_get_exit_info()); an error code is read only where one was delivered.
  var values: [(name: String, value: UInt64)] {
    var result: [(String, UInt64)] = []
    // Valid, and with an error code: bits 31 and 11, the same on both.
    let hasErrorCode = interruptionInformation.map { $0 & 0x8000_0800 == 0x8000_0800 } ?? false
    switch isa {
    case .vmx:
      result = [("GUEST_RIP", rip), ("VM_EXIT_REASON", UInt64(reason)), ("EXIT_QUALIFICATION", info1)]
      if reason >> 31 == 0 {
        result.append(("IDT_VECTORING_INFO_FIELD", info2))
        if let interruptionInformation { result.append(("VM_EXIT_INTR_INFO", UInt64(interruptionInformation))) }
        if hasErrorCode, let errorCode { result.append(("VM_EXIT_INTR_ERROR_CODE", UInt64(errorCode))) }
      }
    case .svm:
      // The event has 32 bits of the exit code: VMEXIT_INVALID and its like are small negative numbers of 64.
      let code = reason >= 0xffff_fff0 ? UInt64(reason) | 0xffff_ffff_0000_0000 : UInt64(reason)
      result = [
        ("save.rip", rip), ("control.exit_code", code), ("control.exit_info_1", info1), ("control.exit_info_2", info2),
      ]
      if let interruptionInformation {
        result.append(("control.exit_int_info", UInt64(interruptionInformation)))
        if hasErrorCode, let errorCode { result.append(("control.exit_int_info_err", UInt64(errorCode))) }
      }
    default: break
    }
    return result
  }
}

extension VCPUReading {
  /// The reading with what the last exit of the same thread says where that is newer than the reading, or where the reading
  /// has no value or a stale one. A value from the event is measured, as of its time stamp.
  ///
  /// Nothing is taken where L2 is current or L1 has a VMCS of its own: the event does not say whose exit it was.
  public func updated(by event: ExitEvent) -> VCPUReading {
    guard event.isa == isa, !isNested, vmcs12 == nil else { return self }
    var result = self
    for (name, value) in event.values {
      guard let index = fields.firstIndex(where: { $0.field.name == name }) else { continue }
      let old = fields[index]
      guard event.timestamp > (old.readAt ?? readAt) || old.value == nil || old.provenance == .stale else { continue }
      result.fields[index] = FieldReading(
        old.field, value & old.field.mask, .measured, "kvm_exit tracepoint", readAt: event.timestamp)
    }
    return result
  }
}
