/// The control words in force at an exit, as far as they are known.
public struct ControlSetting: Sendable, Hashable {
  /// PIN_BASED_VM_EXEC_CONTROL.
  public var pin: UInt32?
  /// CPU_BASED_VM_EXEC_CONTROL.
  public var primary: UInt32?
  /// SECONDARY_VM_EXEC_CONTROL.
  public var secondary: UInt32?
  /// TERTIARY_VM_EXEC_CONTROL.
  public var tertiary: UInt64?
  /// VM_EXIT_CONTROLS.
  public var exit: UInt32?
  /// VM_ENTRY_CONTROLS.
  public var entry: UInt32?
  /// SVM: the six intercept words at the start of the VMCB (the last two elements are 0); nil on VMX.
  public var intercepts: SIMD8<UInt32>?

  /// The words that are known; nil for the others.
  public init(
    pin: UInt32? = nil, primary: UInt32? = nil, secondary: UInt32? = nil, tertiary: UInt64? = nil, exit: UInt32? = nil,
    entry: UInt32? = nil, intercepts: SIMD8<UInt32>? = nil
  ) {
    self.pin = pin
    self.primary = primary
    self.secondary = secondary
    self.tertiary = tertiary
    self.exit = exit
    self.entry = entry
    self.intercepts = intercepts
  }

  /// The words as the processor takes them: a word that is not activated counts as 0.
  var effectiveSecondary: UInt32? {
    if let primary, primary & 1 << 31 == 0 { return 0 }
    return secondary
  }
}

/// What an exit is charged to.
public struct GoverningControl: Sendable, Hashable {
  /// The control, bitmap or mask.
  public var control: ControlID
  /// Which entry of a bitmap or bit of a mask: MSR index, port, vector, bit number. Nil where it is not known or there is none.
  public var entry: UInt64?

  /// A control, and the entry of it where there is one.
  @inlinable public init(_ control: ControlID, entry: UInt64? = nil) {
    self.control = control
    self.entry = entry
  }

  @inline(__always) init(number: UInt16, entry: UInt64? = nil) {
    self.init(ControlID(rawValue: number), entry: entry)
  }
}

/// The one control, bitmap entry or mask that caused an exit, or *unconditional*.
///
/// kvm_exit does not say which MSR RDMSR or WRMSR accessed: `msr`, where another event or a register told.
///
/// Without `setting`, a control that may be on or off is taken as KVM has it: unconditional I/O exiting, PAUSE-loop exiting, MSR
/// bitmaps and VMCS shadowing in use. With it, the words decide. Does not allocate.
///
/// A VM-entry failure (bit 31 of the VMX reason) is unconditional. What the catalogue does not know is charged to
/// `ControlID.unknown`. An access to an MSR outside both ranges of the VMX MSR bitmap is unconditional where the MSR is known.
///
/// Sources: SDM volume 3, chapter "VMX Non-Root Operation"; AMD APM volume 2, chapter "Secure Virtual Machine"; Linux kvm/vmx/vmx.c,
/// kvm/svm/svm.c for what KVM sets.
public func governingControl(of exit: KVMExit, msr: UInt32? = nil, setting: ControlSetting? = nil) -> GoverningControl {
  switch exit.isa {
  case .vmx: return vmxControl(of: exit, msr: msr, setting: setting)
  case .svm: return svmControl(of: exit, msr: msr)
  default: return GoverningControl(.unknown)
  }
}

/// The control that every exit of this reason is charged to, whatever its facts; nil where it depends on them, to be asked of
/// `governingControl(of:)`. `code` is the basic exit reason (VMX) or the exit code (SVM). A VMX code with a flag bit set (31:16)
/// answers nil.
public func fixedGoverningControl(isa: UInt32, code: UInt32) -> ControlID? {
  switch isa {
  case 1:
    switch code {
    case 0x1_0000...: return nil
    case 0, 28, 31, 32, 48, 78...81, 84, 85: return nil
    default: return ControlID(rawValue: vmxControlNumber(code))
    }
  case 2: return code == 0x400 ? nil : ControlID(rawValue: svmControlNumber(code))
  default: return .unknown
  }
}

/// What the exits of a reason may be charged to where it depends on their exit.
func dependentControls(isa: UInt32, code: UInt32) -> [ControlID] {
  let numbers: [UInt16]
  switch (isa, code) {
  case (1, 0): numbers = (0..<32).map { ControlNumber.exceptionBitmap + $0 } + [ControlNumber.pin + 3]
  case (1, 28):
    numbers = [
      ControlNumber.cr0Mask, ControlNumber.cr4Mask, ControlNumber.primary + 15, ControlNumber.primary + 16,
      ControlNumber.primary + 19, ControlNumber.primary + 20,
    ]
  case (1, 31), (1, 78), (1, 80), (1, 84): numbers = [ControlNumber.msrBitmapRead, ControlNumber.unconditional]
  case (1, 32), (1, 79), (1, 81), (1, 85): numbers = [ControlNumber.msrBitmapWrite, ControlNumber.unconditional]
  case (1, 48):
    numbers = [
      ControlNumber.eptNotPresent, ControlNumber.eptRead, ControlNumber.eptWrite, ControlNumber.eptExecute,
    ]
  case (2, 0x400):
    numbers = [
      ControlNumber.nptNotPresent, ControlNumber.nptRead, ControlNumber.nptWrite, ControlNumber.nptExecute,
      ControlNumber.nptReserved,
    ]
  default: numbers = []
  }
  return numbers.map(ControlID.init(rawValue:))
}

/// The control of a VMX reason that does not depend on the exit's exit. Two reasons that need two controls are charged to the one
/// that asks for the exit: RDTSC exiting for RDTSCP, UMWAIT and TPAUSE, INVLPG exiting for INVPCID. The other only says whether the
/// instruction faults.
private func vmxControlNumber(_ reason: UInt32) -> UInt16 {
  switch reason {
  case 1: ControlNumber.pin + 0  // EXTERNAL_INTERRUPT
  case 2, 3, 4, 5, 6: ControlNumber.unconditional  // triple fault, INIT, SIPI, SMIs
  case 7: ControlNumber.primary + 2  // INTERRUPT_WINDOW
  case 8: ControlNumber.primary + 22  // NMI_WINDOW
  case 9, 10, 11, 13: ControlNumber.unconditional  // TASK_SWITCH, CPUID, GETSEC, INVD
  case 12: ControlNumber.primary + 7  // HLT
  case 14: ControlNumber.primary + 9  // INVLPG
  case 15: ControlNumber.primary + 11  // RDPMC
  case 16: ControlNumber.primary + 12  // RDTSC
  case 17, 18, 19, 20, 21, 22, 24, 26, 27: ControlNumber.unconditional  // RSM, VMCALL, VMX instructions
  case 23: ControlNumber.vmreadBitmap
  case 25: ControlNumber.vmwriteBitmap
  case 29: ControlNumber.primary + 23  // DR_ACCESS
  case 30: ControlNumber.primary + 24  // IO_INSTRUCTION
  case 33, 34, 41: ControlNumber.unconditional  // VM-entry failures
  case 36: ControlNumber.primary + 10  // MWAIT
  case 37: ControlNumber.primary + 27  // MONITOR_TRAP_FLAG
  case 39: ControlNumber.primary + 29  // MONITOR
  case 40: ControlNumber.secondary + 10  // PAUSE: KVM uses PAUSE-loop exiting
  case 43: ControlNumber.primary + 21  // TPR_BELOW_THRESHOLD
  case 44: ControlNumber.secondary + 0  // APIC_ACCESS
  case 45: ControlNumber.eoiExitBitmap
  case 46, 47: ControlNumber.secondary + 2  // GDTR_IDTR, LDTR_TR
  case 49: ControlNumber.eptMisconfig
  case 50, 53: ControlNumber.unconditional  // INVEPT, INVVPID
  case 51: ControlNumber.primary + 12  // RDTSCP
  case 52: ControlNumber.pin + 6  // PREEMPTION_TIMER
  case 54: ControlNumber.secondary + 6  // WBINVD
  case 55: ControlNumber.unconditional  // XSETBV
  case 56: ControlNumber.secondary + 8  // APIC_WRITE
  case 57: ControlNumber.secondary + 11  // RDRAND
  case 58: ControlNumber.primary + 9  // INVPCID
  case 59: ControlNumber.secondary + 13  // VMFUNC
  case 60: ControlNumber.secondary + 15  // ENCLS
  case 61: ControlNumber.secondary + 16  // RDSEED
  case 62: ControlNumber.secondary + 17  // PML_FULL
  case 63, 64: ControlNumber.secondary + 20  // XSAVES, XRSTORS
  case 65: ControlNumber.secondary + 27  // PCONFIG
  case 66: ControlNumber.secondary + 23  // SPP
  case 67, 68: ControlNumber.primary + 12  // UMWAIT, TPAUSE
  case 69: ControlNumber.tertiary + 0  // LOADIWKEY
  case 70: ControlNumber.secondary + 28  // ENCLV
  case 71: ControlNumber.secondary + 29  // EPC virtualization extensions
  case 72, 73: ControlNumber.secondary + 21  // ENQCMD, ENQCMDS
  case 74: ControlNumber.secondary + 30  // BUS_LOCK
  case 75: ControlNumber.secondary + 31  // NOTIFY
  case 76, 77: ControlNumber.unconditional  // SEAMCALL, TDCALL
  default: ControlNumber.unknown
  }
}

private func vmxControl(of exit: KVMExit, msr: UInt32?, setting: ControlSetting?) -> GoverningControl {
  if exit.reason & 1 << 31 != 0 { return GoverningControl(.unconditional) }
  let reason = exit.reason & 0xffff
  switch reason {
  case 0: return exceptionControl(of: exit)
  case 1:
    let information = exit.interruptionInformation
    return GoverningControl(number: ControlNumber.pin, entry: information >> 31 == 1 ? UInt64(information & 0xff) : nil)
  case 28: return controlRegisterControl(exit.info1)
  case 29: return GoverningControl(number: vmxControlNumber(reason), entry: exit.info1 & 7)
  case 30:
    let port = UInt16(truncatingIfNeeded: exit.info1 >> 16)
    if let primary = setting?.primary, primary & 1 << 25 != 0 {
      return GoverningControl(
        number: port < 0x8000 ? ControlNumber.ioBitmapA : ControlNumber.ioBitmapB, entry: UInt64(port))
    }
    return GoverningControl(number: vmxControlNumber(reason), entry: UInt64(port))
  case 31: return msrControl(ControlNumber.msrBitmapRead, msr, setting)
  case 32: return msrControl(ControlNumber.msrBitmapWrite, msr, setting)
  case 78, 80, 84: return msrControl(ControlNumber.msrBitmapRead, msr ?? qualificationMSR(exit), setting)
  case 79, 81, 85: return msrControl(ControlNumber.msrBitmapWrite, msr ?? qualificationMSR(exit), setting)
  case 23, 25:
    if let secondary = setting?.effectiveSecondary, secondary & 1 << 14 == 0 {
      return GoverningControl(number: ControlNumber.secondary + 14)
    }
    return GoverningControl(number: vmxControlNumber(reason))
  case 40:
    if let primary = setting?.primary, primary & 1 << 30 != 0 {
      return GoverningControl(number: ControlNumber.primary + 30)
    }
    return GoverningControl(number: vmxControlNumber(reason))
  case 45: return GoverningControl(number: ControlNumber.eoiExitBitmap, entry: exit.info1 & 0xff)
  case 48: return GoverningControl(number: eptControlNumber(exit.info1))
  case 56:
    // Without APIC-register virtualization the processor virtualizes writes for virtual-interrupt delivery only.
    if let secondary = setting?.effectiveSecondary, secondary & 1 << 8 == 0, secondary & 1 << 9 != 0 {
      return GoverningControl(number: ControlNumber.secondary + 9)
    }
    return GoverningControl(number: vmxControlNumber(reason))
  default: return GoverningControl(number: vmxControlNumber(reason))
  }
}

/// An exception by its bit in the exception bitmap, an NMI by NMI exiting. Without valid interruption information there is no telling
/// which of the two it was.
private func exceptionControl(of exit: KVMExit) -> GoverningControl {
  let information = exit.interruptionInformation
  guard information >> 31 == 1 else { return GoverningControl(.unknown) }
  let vector = UInt8(truncatingIfNeeded: information)
  switch information >> 8 & 7 {
  case 2: return GoverningControl(number: ControlNumber.pin + 3, entry: 2)
  case 3, 5, 6:
    guard vector < 32 else { return GoverningControl(.unknown) }
    if vector == 2 { return GoverningControl(number: ControlNumber.pin + 3, entry: 2) }
    return GoverningControl(number: ControlNumber.exceptionBitmap + UInt16(vector), entry: UInt64(vector))
  default: return GoverningControl(.unknown)
  }
}

/// MOV to CR0 and CR4, CLTS and LMSW by the guest/host mask; CR3 and CR8 by their load and store controls. Reading CR0 and CR4 never
/// exits, and there is no other register.
private func controlRegisterControl(_ qualification: UInt64) -> GoverningControl {
  switch (qualification & 0xf, qualification >> 4 & 3) {
  case (0, 0): return GoverningControl(number: ControlNumber.cr0Mask)
  case (4, 0): return GoverningControl(number: ControlNumber.cr4Mask)
  case (3, 0): return GoverningControl(number: ControlNumber.primary + 15)
  case (3, 1): return GoverningControl(number: ControlNumber.primary + 16)
  case (8, 0): return GoverningControl(number: ControlNumber.primary + 19)
  case (8, 1): return GoverningControl(number: ControlNumber.primary + 20)
  case (_, 2): return GoverningControl(number: ControlNumber.cr0Mask, entry: 3)  // CLTS clears CR0.TS
  case (_, 3): return GoverningControl(number: ControlNumber.cr0Mask)  // LMSW
  default: return GoverningControl(.unknown)
  }
}

/// The index of the MSR in the exit qualification; 0 counts as unknown, because not every implementation fills it in.
private func qualificationMSR(_ exit: KVMExit) -> UInt32? {
  exit.info1 == 0 ? nil : UInt32(exactly: exit.info1)
}

private func msrControl(_ bitmap: UInt16, _ msr: UInt32?, _ setting: ControlSetting?) -> GoverningControl {
  let entry = msr.map(UInt64.init)
  if let primary = setting?.primary, primary & 1 << 28 == 0 {
    return GoverningControl(number: ControlNumber.primary + 28, entry: entry)
  }
  if let msr, !MSRBitmap.covers(msr) { return GoverningControl(number: ControlNumber.unconditional, entry: entry) }
  return GoverningControl(number: bitmap, entry: entry)
}

/// By what the entry lacked: everything, or the permission for the access. An access that reads and writes is a write.
private func eptControlNumber(_ qualification: UInt64) -> UInt16 {
  if qualification >> 3 & 7 == 0 { return ControlNumber.eptNotPresent }
  if qualification & 4 != 0 { return ControlNumber.eptExecute }
  if qualification & 2 != 0 { return ControlNumber.eptWrite }
  return ControlNumber.eptRead
}

/// The control of an SVM exit code that does not depend on the exit's exit.
private func svmControlNumber(_ code: UInt32) -> UInt16 {
  switch code {
  case 0...ControlNumber.lastIntercept: ControlNumber.intercept + UInt16(truncatingIfNeeded: code)
  case 0x401, 0x402: ControlNumber.avic
  case 0x403: ControlNumber.unconditional  // VMGEXIT
  // Software codes of the GHCB and of the hypervisor, and VMRUN with a bad VMCB.
  case 0x8000_0001...0x8000_0005, 0x8000_0010...0x8000_0013, 0x8000_0018, 0x8000_001a: ControlNumber.unconditional
  case 0x8000_fffd...0x8000_ffff, 0xf000_0000, 0xffff_ffff: ControlNumber.unconditional
  default: ControlNumber.unknown
  }
}

private func svmControl(of exit: KVMExit, msr: UInt32?) -> GoverningControl {
  switch exit.reason {
  case 0x40...0x5f: return GoverningControl(number: svmControlNumber(exit.reason), entry: UInt64(exit.reason - 0x40))
  case 0x7b:
    let port = UInt16(truncatingIfNeeded: exit.info1 >> 16)
    return GoverningControl(number: svmControlNumber(exit.reason), entry: UInt64(port))
  case 0x7c: return GoverningControl(number: svmControlNumber(exit.reason), entry: msr.map(UInt64.init))
  case 0x400:
    // EXITINFO1 is a page-fault error code: P 0, W 1, RSVD 3, ID 4.
    let error = exit.info1
    if error & 8 != 0 { return GoverningControl(number: ControlNumber.nptReserved) }
    if error & 1 == 0 { return GoverningControl(number: ControlNumber.nptNotPresent) }
    if error & 16 != 0 { return GoverningControl(number: ControlNumber.nptExecute) }
    return GoverningControl(number: error & 2 != 0 ? ControlNumber.nptWrite : ControlNumber.nptRead)
  default: return GoverningControl(number: svmControlNumber(exit.reason))
  }
}
