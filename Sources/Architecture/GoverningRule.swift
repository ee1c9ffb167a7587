/// How the control that the exits of one reason are charged to follows from what is known of an exit: a column of the tables of
/// reasons.
public enum GoverningRule: Sendable, Hashable {
  /// Always this one. Reasons that need two controls are charged to the one that asks for the exit: RDTSC exiting for RDTSCP, UMWAIT
  /// and TPAUSE, INVLPG exiting for INVPCID. The other only says whether the instruction faults.
  case control(ControlID, entry: Entry = .none)
  /// An exception by its bit in the exception bitmap, an NMI by NMI exiting.
  case exceptionOrNMI
  /// MOV to CR0 and CR4, CLTS and LMSW by the guest/host mask; CR3 and CR8 by their load and store controls.
  case controlRegister
  /// Unconditional I/O exiting, or the I/O bitmap that has the port, where those are in use.
  case ioBitmaps
  /// This half of the MSR bitmap; the use of MSR bitmaps where that is off; unconditional for an MSR that has no bit. The MSR may be
  /// in the exit qualification.
  case msrBitmap(ControlID, inQualification: Bool = false)
  /// This bitmap of VMCS shadowing; VMCS shadowing itself where that is off.
  case vmcsShadowing(ControlID)
  /// PAUSE-loop exiting, or PAUSE exiting where that is on.
  case pause
  /// APIC-register virtualization; without it the processor virtualizes writes for virtual-interrupt delivery only.
  case apicWrite
  /// What the EPT entry lacked.
  case eptPermission
  /// What the NPT entry lacked.
  case nptPermission

  /// No control suppresses the exit.
  public static var unconditional: GoverningRule { .control(.unconditional) }
  /// The catalogue does not know: the number is reserved.
  public static var unknown: GoverningRule { .control(.unknown) }

  /// Which entry of the control the exit names.
  public enum Entry: Sendable, Hashable {
    /// None, or it is not known.
    case none
    /// This one, whichever exit.
    case number(UInt8)
    /// The vector in the interruption information, where that is valid.
    case interruptionVector
    /// The number of the debug register, bits 2:0 of the qualification.
    case debugRegister
    /// The vector in bits 7:0 of the qualification.
    case vector
    /// The port in bits 31:16 of the qualification or of EXITINFO1.
    case port
    /// The MSR, where another event told it.
    case msr
  }

  /// True for writes of MSRs, where the reason tells them from reads.
  public var isMSRWrite: Bool {
    if case .msrBitmap(.msrBitmapWrite, _) = self { true } else { false }
  }

  /// The control that every exit is charged to while the control words are not known; nil where it depends on the exit.
  public var fixedControl: ControlID? {
    switch self {
    case .control(let control, _), .vmcsShadowing(let control): control
    case .ioBitmaps: .cpuBasedUncondIOExiting
    case .pause: .secondaryExecPauseLoopExiting
    case .apicWrite: .secondaryExecAPICRegisterVirt
    case .exceptionOrNMI, .controlRegister, .msrBitmap, .eptPermission, .nptPermission: nil
    }
  }

  /// What the exits may be charged to where it depends on them, in the order of a page.
  public var dependentControls: [ControlID] {
    switch self {
    case .exceptionOrNMI: (0..<32).map(ControlID.exception) + [.pinBasedNMIExiting]
    case .controlRegister:
      [
        .cr0Mask, .cr4Mask, .cpuBasedCR3LoadExiting, .cpuBasedCR3StoreExiting, .cpuBasedCR8LoadExiting,
        .cpuBasedCR8StoreExiting,
      ]
    case .msrBitmap(let bitmap, _): [bitmap, .unconditional]
    case .eptPermission: [.eptNotPresent, .eptRead, .eptWrite, .eptExecute]
    case .nptPermission: [.nptNotPresent, .nptRead, .nptWrite, .nptExecute, .nptReserved]
    case .control, .ioBitmaps, .vmcsShadowing, .pause, .apicWrite: []
    }
  }

  /// What an exit is charged to; see `governingControl(of:)`. Does not allocate.
  @inline(__always)
  func control(of exit: KVMExit, msr: UInt32?, setting: ControlSetting?) -> GoverningControl {
    switch self {
    case .control(let control, let entry): GoverningControl(control, entry: entry.value(exit, msr))
    case .exceptionOrNMI: exceptionControl(of: exit)
    case .controlRegister: controlRegisterControl(exit.info1)
    case .ioBitmaps: ioControl(exit, setting)
    case .msrBitmap(let bitmap, let inQualification):
      msrControl(bitmap, msr ?? (inQualification ? qualificationMSR(exit) : nil), setting)
    case .vmcsShadowing(let bitmap):
      GoverningControl(setting?.value(of: .secondaryExecShadowVMCS) == false ? .secondaryExecShadowVMCS : bitmap)
    case .pause:
      GoverningControl(
        setting?.value(of: .cpuBasedPauseExiting) == true ? .cpuBasedPauseExiting : .secondaryExecPauseLoopExiting)
    case .apicWrite:
      GoverningControl(
        setting?.value(of: .secondaryExecAPICRegisterVirt) == false
          && setting?.value(of: .secondaryExecVirtualIntrDelivery) == true
          ? .secondaryExecVirtualIntrDelivery : .secondaryExecAPICRegisterVirt)
    case .eptPermission: GoverningControl(eptControl(exit.info1))
    case .nptPermission: GoverningControl(nptControl(exit.info1))
    }
  }
}

extension GoverningRule.Entry {
  @inline(__always)
  fileprivate func value(_ exit: KVMExit, _ msr: UInt32?) -> UInt64? {
    switch self {
    case .none: nil
    case .number(let number): UInt64(number)
    case .interruptionVector:
      exit.interruptionInformation >> 31 == 1 ? UInt64(exit.interruptionInformation & 0xff) : nil
    case .debugRegister: exit.info1 & 7
    case .vector: exit.info1 & 0xff
    case .port: exit.info1 >> 16 & 0xffff
    case .msr: msr.map(UInt64.init)
    }
  }
}

/// An exception by its bit in the exception bitmap, an NMI by NMI exiting. Without valid interruption information there is no telling
/// which of the two it was.
private func exceptionControl(of exit: KVMExit) -> GoverningControl {
  let information = exit.interruptionInformation
  guard information >> 31 == 1 else { return GoverningControl(.unknown) }
  let vector = UInt16(information & 0xff)
  switch information >> 8 & 7 {
  case 2: return GoverningControl(.pinBasedNMIExiting, entry: 2)
  case 3, 5, 6:
    guard vector < 32 else { return GoverningControl(.unknown) }
    if vector == 2 { return GoverningControl(.pinBasedNMIExiting, entry: 2) }
    return GoverningControl(.exception(vector), entry: UInt64(vector))
  default: return GoverningControl(.unknown)
  }
}

/// By register and access type. Reading CR0 and CR4 never exits, and there is no other register.
private func controlRegisterControl(_ qualification: UInt64) -> GoverningControl {
  switch (qualification & 0xf, qualification >> 4 & 3) {
  case (0, 0): GoverningControl(.cr0Mask)
  case (4, 0): GoverningControl(.cr4Mask)
  case (3, 0): GoverningControl(.cpuBasedCR3LoadExiting)
  case (3, 1): GoverningControl(.cpuBasedCR3StoreExiting)
  case (8, 0): GoverningControl(.cpuBasedCR8LoadExiting)
  case (8, 1): GoverningControl(.cpuBasedCR8StoreExiting)
  case (_, 2): GoverningControl(.cr0Mask, entry: 3)  // CLTS clears CR0.TS
  case (_, 3): GoverningControl(.cr0Mask)  // LMSW
  default: GoverningControl(.unknown)
  }
}

private func ioControl(_ exit: KVMExit, _ setting: ControlSetting?) -> GoverningControl {
  let port = exit.info1 >> 16 & 0xffff
  guard setting?.value(of: .cpuBasedUseIOBitmaps) == true else {
    return GoverningControl(.cpuBasedUncondIOExiting, entry: port)
  }
  return GoverningControl(port < 0x8000 ? .ioBitmapA : .ioBitmapB, entry: port)
}

/// The index of the MSR in the exit qualification; 0 counts as unknown, because not every implementation fills it in.
private func qualificationMSR(_ exit: KVMExit) -> UInt32? {
  exit.info1 == 0 ? nil : UInt32(exactly: exit.info1)
}

private func msrControl(_ bitmap: ControlID, _ msr: UInt32?, _ setting: ControlSetting?) -> GoverningControl {
  let entry = msr.map(UInt64.init)
  if setting?.value(of: .cpuBasedUseMSRBitmaps) == false {
    return GoverningControl(.cpuBasedUseMSRBitmaps, entry: entry)
  }
  if let msr, !MSRBitmap.covers(msr) { return GoverningControl(.unconditional, entry: entry) }
  return GoverningControl(bitmap, entry: entry)
}

/// By what the entry lacked: everything, or the permission for the access. An access that reads and writes is a write.
private func eptControl(_ qualification: UInt64) -> ControlID {
  if qualification >> 3 & 7 == 0 { return .eptNotPresent }
  if qualification & 4 != 0 { return .eptExecute }
  return qualification & 2 != 0 ? .eptWrite : .eptRead
}

/// EXITINFO1 is a page-fault error code: P 0, W 1, RSVD 3, ID 4.
private func nptControl(_ error: UInt64) -> ControlID {
  if error & 8 != 0 { return .nptReserved }
  if error & 1 == 0 { return .nptNotPresent }
  if error & 16 != 0 { return .nptExecute }
  return error & 2 != 0 ? .nptWrite : .nptRead
}
