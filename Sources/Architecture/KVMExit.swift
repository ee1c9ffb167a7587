/// One kvm_exit, as the tracepoint gave it: `TRACE_EVENT_KVM_EXIT` (`arch/x86/kvm/trace.h`).
///
/// The fields lie in memory as they do in the event of a 64-bit kernel since 5.10, so that such a record can be taken over as it is:
/// their order matters. What a kernel's event lacks is 0.
public struct KVMExit: Sendable, Hashable {
  /// The full 32-bit VM_EXIT_REASON (VMX) or the exit code (SVM).
  public var reason: UInt32
  /// Where the guest was: its instruction pointer.
  public var rip: UInt64
  /// Whose numbers `reason` has.
  public var isa: ISA
  /// EXIT_QUALIFICATION (VMX) or EXITINFO1 (SVM).
  public var info1: UInt64
  /// IDT_VECTORING_INFO_FIELD (VMX) or EXITINFO2 (SVM).
  public var info2: UInt64
  /// VM_EXIT_INTR_INFO (VMX) or EXITINTINFO without its error code (SVM).
  public var interruptionInformation: UInt32
  /// VM_EXIT_INTR_ERROR_CODE (VMX) or the error code of EXITINTINFO (SVM). Means something where `hasErrorCode`.
  public var errorCode: UInt32

  /// What is known; the rest is 0.
  @inlinable public init(
    isa: ISA, reason: UInt32, rip: UInt64 = 0, info1: UInt64 = 0, info2: UInt64 = 0,
    interruptionInformation: UInt32 = 0, errorCode: UInt32 = 0
  ) {
    self.isa = isa
    self.reason = reason
    self.rip = rip
    self.info1 = info1
    self.info2 = info2
    self.interruptionInformation = interruptionInformation
    self.errorCode = errorCode
  }

  /// Nothing: isa 0 is no backend.
  @inlinable public init() { self.init(isa: ISA(rawValue: 0), reason: 0) }

  /// The basic exit reason (VMX) or the exit code (SVM).
  @inlinable public var code: UInt32 { Self.code(isa: isa, reason: reason) }

  /// The same of a whole reason: on VMX its upper half holds flags (failed VM entry, enclave mode, bus lock).
  @inline(__always) @inlinable public static func code(isa: ISA, reason: UInt32) -> UInt32 {
    isa.rawValue == 1 ? reason & 0xffff : reason
  }

  /// Valid interruption information, and an error code with it: bits 31 and 11, the same on both.
  public var hasErrorCode: Bool { interruptionInformation & 0x8000_0800 == 0x8000_0800 }

  /// What it says of fields of the VMCS or the VMCB, by name. A failed VM entry (bit 31 of the reason) is reported with zeros
  /// for what the processor did not write (vmx_get_exit_info()); an error code is read only where one was delivered.
  var values: [(name: String, value: UInt64)] {
    var result: [(String, UInt64)] = []
    switch isa {
    case .vmx:
      result = [("GUEST_RIP", rip), ("VM_EXIT_REASON", UInt64(reason)), ("EXIT_QUALIFICATION", info1)]
      if reason >> 31 == 0 {
        result.append(("IDT_VECTORING_INFO_FIELD", info2))
        result.append(("VM_EXIT_INTR_INFO", UInt64(interruptionInformation)))
        if hasErrorCode { result.append(("VM_EXIT_INTR_ERROR_CODE", UInt64(errorCode))) }
      }
    case .svm:
      // The event has 32 bits of the exit code: VMEXIT_INVALID and its like are small negative numbers of 64.
      let code = reason >= 0xffff_fff0 ? UInt64(reason) | 0xffff_ffff_0000_0000 : UInt64(reason)
      result = [
        ("save.rip", rip), ("control.exit_code", code), ("control.exit_info_1", info1), ("control.exit_info_2", info2),
        ("control.exit_int_info", UInt64(interruptionInformation)),
      ]
      if hasErrorCode { result.append(("control.exit_int_info_err", UInt64(errorCode))) }
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
  ///
  /// - Parameter timestamp: of the event, CLOCK_MONOTONIC in nanoseconds: only where the trace clock is `mono`.
  public func updated(by exit: KVMExit, at timestamp: UInt64) -> VCPUReading {
    guard exit.isa == isa, !isNested, vmcs12 == nil else { return self }
    var result = self
    for (name, value) in exit.values {
      guard let index = fields.firstIndex(where: { $0.field.name == name }) else { continue }
      let old = fields[index]
      guard timestamp > (old.readAt ?? readAt) || old.value == nil || old.provenance == .stale else { continue }
      result.fields[index] = FieldReading(
        old.field, value & old.field.mask, .measured, "kvm_exit tracepoint", readAt: timestamp)
    }
    return result
  }
}
