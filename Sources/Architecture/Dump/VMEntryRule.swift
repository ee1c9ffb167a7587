/// A rule that VM entry or VMRUN checks, as a statement of what must hold.
public struct VMEntryRule: Sendable {
  /// The part of the manual that has the rule.
  public enum Section: String, Sendable, CaseIterable {
    // SDM volume 3, chapter "VM Entries", in the order of the chapter.
    case executionControls = "VM-Execution Control Fields"
    case exitControls = "VM-Exit Control Fields"
    case entryControls = "VM-Entry Control Fields"
    case hostRegisters = "Checks on Host Control Registers, MSRs, and SSP"
    case hostSegments = "Checks on Host Segment and Descriptor-Table Registers"
    case addressSpace = "Checks Related to Address-Space Size"
    case guestRegisters = "Checks on Guest Control Registers, Debug Registers, and MSRs"
    case guestSegments = "Checks on Guest Segment Registers"
    case guestDescriptorTables = "Checks on Guest Descriptor-Table Registers"
    case guestRIP = "Checks on Guest RIP, RFLAGS, and SSP"
    case guestNonRegister = "Checks on Guest Non-Register State"
    case guestPDPTE = "Checks on Guest Page-Directory-Pointer-Table Entries"
    case loadingMSRs = "Loading MSRs"
    // AMD APM volume 2, chapter "Secure Virtual Machine", section "VMRUN Instruction".
    case vmrun = "Canonicalization and Consistency Checks"

    /// The manual, and the section's title in it.
    public var citation: String {
      self == .vmrun ? "APM 2, VMRUN, \"\(rawValue)\"" : "SDM 3, VM Entries, \"\(rawValue)\""
    }

    /// What a broken rule leads to. A failure of the first kind is a VMfailValid with VM_INSTRUCTION_ERROR 7 or 8,
    /// where exit reason and qualification are those of an earlier exit; the others are exits with reason 33 or 34.
    public var consequence: String {
      switch self {
      case .executionControls, .exitControls, .entryControls:
        "VMfailValid, instruction error 7 (invalid control fields)"
      case .hostRegisters, .hostSegments, .addressSpace: "VMfailValid, instruction error 8 (invalid host-state fields)"
      case .loadingMSRs: "exit reason 34 (MSR loading)"
      case .vmrun: "exit code -1 (VMEXIT_INVALID)"
      default: "exit reason 33 (invalid guest state)"
      }
    }
  }

  /// A name of its own: `guest-cs-type`.
  public var id: String
  /// Where the manual has it.
  public var section: Section
  /// What must hold, in one sentence without a final stop.
  public var statement: String
  /// The fields it is about, those that decide whether it applies included.
  public var fields: [DumpFieldID]
  /// True where the rule holds. Reads fields from the state, which notes those that are missing.
  let holds: @Sendable (VMEntryState) -> Bool

  /// VMX or SVM.
  public var isa: ISA { section == .vmrun ? .svm : .vmx }

  init(
    _ id: String, _ section: Section, _ statement: String, _ fields: [UInt32],
    _ holds: @escaping @Sendable (VMEntryState) -> Bool
  ) {
    self.id = id
    self.section = section
    self.statement = statement
    self.fields = fields.map(DumpFieldID.init(rawValue:))
    self.holds = holds
  }

  /// Every rule, in the manual's order.
  public static let all: [VMEntryRule] =
    executionRules + exitControlRules + entryControlRules + hostRules + guestRegisterRules + guestSegmentRules
    + guestTailRules + vmrunRules

  /// The rule of this name.
  public static func lookup(id: String) -> VMEntryRule? { all.first { $0.id == id } }
}

/// What checking a dump against the rules gave.
public struct VMEntryCheck: Sendable {
  /// A rule that could not be checked.
  public struct Unchecked: Sendable {
    /// The rule.
    public var rule: VMEntryRule
    /// The first field that it needs and the dump does not have; or the capability MSR, where that decides.
    public var missing: String
  }

  /// The rules that the dump breaks, in the manual's order.
  public var broken: [VMEntryRule] = []
  /// How many rules could be decided, the broken ones included. One that asks nothing of this VMCS counts as decided.
  public var checked = 0
  /// The rules that could not be decided.
  public var unchecked: [Unchecked] = []

  /// Checks a dump against every rule of its instruction set.
  public init(_ dump: VMCSDump) {
    let state = VMEntryState(dump)
    for rule in VMEntryRule.all where rule.isa == dump.kind.isa {
      state.missing = nil
      let holds = rule.holds(state)
      if let missing = state.missing {
        unchecked.append(Unchecked(rule: rule, missing: missing))
      } else {
        checked += 1
        if !holds { broken.append(rule) }
      }
    }
  }
}

/// The fields of a dump as the rules read them. A field that the dump does not have reads as 0 and is noted, which
/// makes the rule that asked for it undecided; so a rule asks for a field only where it decides.
final class VMEntryState {
  private var values: [UInt32: UInt64] = [:]
  let dump: VMCSDump
  /// The first field that a rule asked for and that is not there.
  var missing: String?
  /// The fields that were asked for, where a test wants to know.
  var reads: Set<UInt32>?

  init(_ dump: VMCSDump) {
    self.dump = dump
    // An EFER from elsewhere is not the field that VM entry checks.
    for field in dump.fields where field.note != "autoload" && field.note != "effective" {
      values[field.id.rawValue] = field.value
    }
  }

  subscript(_ field: UInt32) -> UInt64 {
    reads?.insert(field)
    if let value = values[field] { return value }
    lacks(DumpFieldID(rawValue: field).name)
    return 0
  }

  /// Notes that something is needed that is not in the dump; true, so that a rule can end with it.
  @discardableResult func lacks(_ name: String) -> Bool {
    if missing == nil { missing = name }
    return true
  }

  /// A field that the dump may lack without harm.
  func known(_ field: UInt32) -> UInt64? { values[field] }

  func bit(_ field: UInt32, _ bit: Int) -> Bool { self[field] >> UInt64(bit) & 1 == 1 }

  /// A control; those of a word that is not activated are 0 (SDM volume 3, section "Processor-Based VM-Execution
  /// Controls").
  func control(_ control: ControlID) -> Bool {
    guard let (word, bit) = control.place, isActivated(word) else { return false }
    return self.bit(word.encoding.rawValue, bit)
  }

  /// Whether the processor looks at a word at all.
  func isActivated(_ word: ControlWord) -> Bool { word.activation.map(control) ?? true }

  /// Canonical to the processor's linear-address width, which is 48 or 57. A CR4 with LA57 proves 57; where neither has
  /// it, the host is taken at its word: Linux uses what the processor has.
  func isCanonical(_ address: UInt64) -> Bool {
    if fits(address, 48) { return true }
    if !fits(address, 57) { return false }
    return (known(F.guestCR4) ?? 0) >> 12 & 1 == 1 || bit(F.hostCR4, 12)
  }

  private func fits(_ address: UInt64, _ width: Int64) -> Bool {
    let shift = 64 - width
    return (Int64(bitPattern: address) << shift) >> shift == Int64(bitPattern: address)
  }

  /// No bit beyond the widest physical address there is.
  func isPhysical(_ address: UInt64, alignment: UInt64) -> Bool {
    address & (alignment - 1) == 0 && address >> 52 == 0
  }

  // What the guest will be.
  var isVirtual8086: Bool { bit(F.rflags, 17) }
  var isUnrestricted: Bool { control(.secondaryExecUnrestrictedGuest) }
  var isIA32e: Bool { control(.vmEntryIA32EMode) }
  var is64Bit: Bool { isIA32e && bit(F.ar(1), 13) }

  // The event to inject.
  var injects: Bool { bit(F.entryInfo, 31) }
  var eventType: UInt64 { self[F.entryInfo] >> 8 & 7 }
  var eventVector: UInt64 { self[F.entryInfo] & 0xff }
}

/// The fields that rules name, as short as a rule wants them.
enum F {
  static var vpid: UInt32 { VMCSEncoding.virtualProcessorID.rawValue }
  static var postedVector: UInt32 { VMCSEncoding.postedIntrNV.rawValue }
  static var ioBitmapA: UInt32 { VMCSEncoding.ioBitmapA.rawValue }
  static var ioBitmapB: UInt32 { VMCSEncoding.ioBitmapB.rawValue }
  static var msrBitmap: UInt32 { VMCSEncoding.msrBitmap.rawValue }
  static var pmlAddress: UInt32 { VMCSEncoding.pmlAddress.rawValue }
  static var virtualAPIC: UInt32 { VMCSEncoding.virtualAPICPageAddr.rawValue }
  static var apicAccess: UInt32 { VMCSEncoding.apicAccessAddr.rawValue }
  static var postedDescriptor: UInt32 { VMCSEncoding.postedIntrDescAddr.rawValue }
  static var vmFunctions: UInt32 { VMCSEncoding.vmFunctionControl.rawValue }
  static var eptPointer: UInt32 { VMCSEncoding.eptPointer.rawValue }
  static var eptpList: UInt32 { VMCSEncoding.eptpListAddress.rawValue }
  static var vmreadBitmap: UInt32 { VMCSEncoding.vmreadBitmap.rawValue }
  static var vmwriteBitmap: UInt32 { VMCSEncoding.vmwriteBitmap.rawValue }
  static var veInformation: UInt32 { VMCSEncoding.veInformationAddress.rawValue }
  static var sppPointer: UInt32 { VMCSEncoding.subPagePermissionTablePointerSPPTP.rawValue }
  static var tscMultiplier: UInt32 { VMCSEncoding.tscMultiplier.rawValue }
  static var tertiary: UInt32 { VMCSEncoding.tertiaryVMExecControl.rawValue }
  static var pidPointerTable: UInt32 { VMCSEncoding.pidPointerTable.rawValue }
  static var secondaryExit: UInt32 { VMCSEncoding.secondaryVMExitControls.rawValue }
  static var linkPointer: UInt32 { VMCSEncoding.vmcsLinkPointer.rawValue }
  static var debugControl: UInt32 { VMCSEncoding.guestIA32DEBUGCTL.rawValue }
  static var guestPAT: UInt32 { VMCSEncoding.guestIA32PAT.rawValue }
  static var guestEFER: UInt32 { VMCSEncoding.guestIA32EFER.rawValue }
  static var guestPerfGlobal: UInt32 { VMCSEncoding.guestIA32PerfGlobalCtrl.rawValue }
  static var pdpte0: UInt32 { VMCSEncoding.guestPDPTR0.rawValue }
  static var bndcfgs: UInt32 { VMCSEncoding.guestBNDCFGS.rawValue }
  static var guestPKRS: UInt32 { VMCSEncoding.guestIA32PKRS.rawValue }
  static var hostPAT: UInt32 { VMCSEncoding.hostIA32PAT.rawValue }
  static var hostEFER: UInt32 { VMCSEncoding.hostIA32EFER.rawValue }
  static var hostPerfGlobal: UInt32 { VMCSEncoding.hostIA32PerfGlobalCtrl.rawValue }
  static var hostPKRS: UInt32 { VMCSEncoding.hostIA32PKRS.rawValue }
  static var pin: UInt32 { VMCSEncoding.pinBasedVMExecControl.rawValue }
  static var primary: UInt32 { VMCSEncoding.cpuBasedVMExecControl.rawValue }
  static var cr3TargetCount: UInt32 { VMCSEncoding.cr3TargetCount.rawValue }
  static var exit: UInt32 { VMCSEncoding.vmExitControls.rawValue }
  static var exitStoreCount: UInt32 { VMCSEncoding.vmExitMSRStoreCount.rawValue }
  static var exitStoreAddress: UInt32 { VMCSEncoding.vmExitMSRStoreAddr.rawValue }
  static var exitLoadCount: UInt32 { VMCSEncoding.vmExitMSRLoadCount.rawValue }
  static var exitLoadAddress: UInt32 { VMCSEncoding.vmExitMSRLoadAddr.rawValue }
  static var entry: UInt32 { VMCSEncoding.vmEntryControls.rawValue }
  static var entryLoadCount: UInt32 { VMCSEncoding.vmEntryMSRLoadCount.rawValue }
  static var entryLoadAddress: UInt32 { VMCSEncoding.vmEntryMSRLoadAddr.rawValue }
  static var entryInfo: UInt32 { VMCSEncoding.vmEntryIntrInfoField.rawValue }
  static var entryErrorCode: UInt32 { VMCSEncoding.vmEntryExceptionErrorCode.rawValue }
  static var entryLength: UInt32 { VMCSEncoding.vmEntryInstructionLen.rawValue }
  static var tprThreshold: UInt32 { VMCSEncoding.tprThreshold.rawValue }
  static var secondary: UInt32 { VMCSEncoding.secondaryVMExecControl.rawValue }
  static var exitReason: UInt32 { VMCSEncoding.vmExitReason.rawValue }
  static var exitQualification: UInt32 { VMCSEncoding.exitQualification.rawValue }
  static var gdtrLimit: UInt32 { VMCSEncoding.guestGDTRLimit.rawValue }
  static var idtrLimit: UInt32 { VMCSEncoding.guestIDTRLimit.rawValue }
  static var interruptibility: UInt32 { VMCSEncoding.guestInterruptibilityInfo.rawValue }
  static var activity: UInt32 { VMCSEncoding.guestActivityState.rawValue }
  static var guestCR0: UInt32 { VMCSEncoding.guestCR0.rawValue }
  static var guestCR3: UInt32 { VMCSEncoding.guestCR3.rawValue }
  static var guestCR4: UInt32 { VMCSEncoding.guestCR4.rawValue }
  static var gdtrBase: UInt32 { VMCSEncoding.guestGDTRBase.rawValue }
  static var idtrBase: UInt32 { VMCSEncoding.guestIDTRBase.rawValue }
  static var dr7: UInt32 { VMCSEncoding.guestDR7.rawValue }
  static var rip: UInt32 { VMCSEncoding.guestRIP.rawValue }
  static var rflags: UInt32 { VMCSEncoding.guestRFLAGS.rawValue }
  static var pendingDebug: UInt32 { VMCSEncoding.guestPendingDbgExceptions.rawValue }
  static var sysenterESP: UInt32 { VMCSEncoding.guestSYSENTERESP.rawValue }
  static var sysenterEIP: UInt32 { VMCSEncoding.guestSYSENTEREIP.rawValue }
  static var guestSCET: UInt32 { VMCSEncoding.guestSCET.rawValue }
  static var guestSSP: UInt32 { VMCSEncoding.guestSSP.rawValue }
  static var guestSSPTable: UInt32 { VMCSEncoding.guestIntrSSPTable.rawValue }
  static var hostCR0: UInt32 { VMCSEncoding.hostCR0.rawValue }
  static var hostCR3: UInt32 { VMCSEncoding.hostCR3.rawValue }
  static var hostCR4: UInt32 { VMCSEncoding.hostCR4.rawValue }
  static var hostSysenterESP: UInt32 { VMCSEncoding.hostIA32SYSENTERESP.rawValue }
  static var hostSysenterEIP: UInt32 { VMCSEncoding.hostIA32SYSENTEREIP.rawValue }
  static var hostRIP: UInt32 { VMCSEncoding.hostRIP.rawValue }
  static var hostCS: UInt32 { VMCSEncoding.hostCSSelector.rawValue }
  static var hostSS: UInt32 { VMCSEncoding.hostSSSelector.rawValue }
  static var hostTR: UInt32 { VMCSEncoding.hostTRSelector.rawValue }
  static var hostSCET: UInt32 { VMCSEncoding.hostSCET.rawValue }
  static var hostSSP: UInt32 { VMCSEncoding.hostSSP.rawValue }
  static var hostSSPTable: UInt32 { VMCSEncoding.hostIntrSSPTable.rawValue }

  // Segments by number: ES, CS, SS, DS, FS, GS, LDTR, TR.
  static let segmentNames = ["ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR"]
  static func selector(_ segment: UInt32) -> UInt32 { VMCSEncoding.guestESSelector.rawValue + segment * 2 }
  static func limit(_ segment: UInt32) -> UInt32 { VMCSEncoding.guestESLimit.rawValue + segment * 2 }
  static func ar(_ segment: UInt32) -> UInt32 { VMCSEncoding.guestESARBytes.rawValue + segment * 2 }
  static func base(_ segment: UInt32) -> UInt32 { VMCSEncoding.guestESBase.rawValue + segment * 2 }
}

/// Memory types in each byte of a PAT: 0, 1, 4, 5, 6 and 7.
func isValidPAT(_ value: UInt64) -> Bool {
  (0..<8).allSatisfy { [0, 1, 4, 5, 6, 7].contains(value >> (UInt64($0) * 8) & 0xff) }
}

/// The bits of IA32_EFER that Intel defines: SCE, LME, LMA, NXE.
let eferIntelBits: UInt64 = 0xd01

/// IA32_S_CET: bits 9:6 are reserved, SUPPRESS and TRACKER exclude each other.
func isValidSCET(_ value: UInt64) -> Bool { value & 0x3c0 == 0 && value & 0xc00 != 0xc00 }
