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
  func control(_ word: ControlWord, _ bit: Int) -> Bool {
    switch word {
    case .secondary where !self.bit(F.primary, 31), .tertiary where !self.bit(F.primary, 17),
      .secondaryExit where !self.bit(F.exit, 31):
      return false
    default: return self.bit(word.encoding.rawValue, bit)
    }
  }

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
  var isUnrestricted: Bool { control(.secondary, 7) }
  var isIA32e: Bool { control(.entry, 9) }
  var is64Bit: Bool { isIA32e && bit(F.ar(1), 13) }

  // The event to inject.
  var injects: Bool { bit(F.entryInfo, 31) }
  var eventType: UInt64 { self[F.entryInfo] >> 8 & 7 }
  var eventVector: UInt64 { self[F.entryInfo] & 0xff }
}

/// The fields that rules name. Encodings as in the catalogue.
enum F {
  static let vpid: UInt32 = 0x0000
  static let postedVector: UInt32 = 0x0002
  static let ioBitmapA: UInt32 = 0x2000
  static let ioBitmapB: UInt32 = 0x2002
  static let msrBitmap: UInt32 = 0x2004
  static let pmlAddress: UInt32 = 0x200e
  static let virtualAPIC: UInt32 = 0x2012
  static let apicAccess: UInt32 = 0x2014
  static let postedDescriptor: UInt32 = 0x2016
  static let vmFunctions: UInt32 = 0x2018
  static let eptPointer: UInt32 = 0x201a
  static let eptpList: UInt32 = 0x2024
  static let vmreadBitmap: UInt32 = 0x2026
  static let vmwriteBitmap: UInt32 = 0x2028
  static let veInformation: UInt32 = 0x202a
  static let sppPointer: UInt32 = 0x2030
  static let tscMultiplier: UInt32 = 0x2032
  static let tertiary: UInt32 = 0x2034
  static let pidPointerTable: UInt32 = 0x2042
  static let secondaryExit: UInt32 = 0x2044
  static let linkPointer: UInt32 = 0x2800
  static let debugControl: UInt32 = 0x2802
  static let guestPAT: UInt32 = 0x2804
  static let guestEFER: UInt32 = 0x2806
  static let guestPerfGlobal: UInt32 = 0x2808
  static let pdpte0: UInt32 = 0x280a
  static let bndcfgs: UInt32 = 0x2812
  static let guestPKRS: UInt32 = 0x2818
  static let hostPAT: UInt32 = 0x2c00
  static let hostEFER: UInt32 = 0x2c02
  static let hostPerfGlobal: UInt32 = 0x2c04
  static let hostPKRS: UInt32 = 0x2c06
  static let pin: UInt32 = 0x4000
  static let primary: UInt32 = 0x4002
  static let cr3TargetCount: UInt32 = 0x400a
  static let exit: UInt32 = 0x400c
  static let exitStoreCount: UInt32 = 0x400e
  static let exitStoreAddress: UInt32 = 0x2006
  static let exitLoadCount: UInt32 = 0x4010
  static let exitLoadAddress: UInt32 = 0x2008
  static let entry: UInt32 = 0x4012
  static let entryLoadCount: UInt32 = 0x4014
  static let entryLoadAddress: UInt32 = 0x200a
  static let entryInfo: UInt32 = 0x4016
  static let entryErrorCode: UInt32 = 0x4018
  static let entryLength: UInt32 = 0x401a
  static let tprThreshold: UInt32 = 0x401c
  static let secondary: UInt32 = 0x401e
  static let exitReason: UInt32 = 0x4402
  static let exitQualification: UInt32 = 0x6400
  static let gdtrLimit: UInt32 = 0x4810
  static let idtrLimit: UInt32 = 0x4812
  static let interruptibility: UInt32 = 0x4824
  static let activity: UInt32 = 0x4826
  static let guestCR0: UInt32 = 0x6800
  static let guestCR3: UInt32 = 0x6802
  static let guestCR4: UInt32 = 0x6804
  static let gdtrBase: UInt32 = 0x6816
  static let idtrBase: UInt32 = 0x6818
  static let dr7: UInt32 = 0x681a
  static let rip: UInt32 = 0x681e
  static let rflags: UInt32 = 0x6820
  static let pendingDebug: UInt32 = 0x6822
  static let sysenterESP: UInt32 = 0x6824
  static let sysenterEIP: UInt32 = 0x6826
  static let guestSCET: UInt32 = 0x6828
  static let guestSSP: UInt32 = 0x682a
  static let guestSSPTable: UInt32 = 0x682c
  static let hostCR0: UInt32 = 0x6c00
  static let hostCR3: UInt32 = 0x6c02
  static let hostCR4: UInt32 = 0x6c04
  static let hostSysenterESP: UInt32 = 0x6c10
  static let hostSysenterEIP: UInt32 = 0x6c12
  static let hostRIP: UInt32 = 0x6c16
  static let hostSCET: UInt32 = 0x6c18
  static let hostSSP: UInt32 = 0x6c1a
  static let hostSSPTable: UInt32 = 0x6c1c

  // Segments by number: ES, CS, SS, DS, FS, GS, LDTR, TR.
  static let segmentNames = ["ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR"]
  static func selector(_ segment: UInt32) -> UInt32 { 0x0800 + segment * 2 }
  static func limit(_ segment: UInt32) -> UInt32 { 0x4800 + segment * 2 }
  static func ar(_ segment: UInt32) -> UInt32 { 0x4814 + segment * 2 }
  static func base(_ segment: UInt32) -> UInt32 { 0x6806 + segment * 2 }
}

/// Memory types in each byte of a PAT: 0, 1, 4, 5, 6 and 7.
func isValidPAT(_ value: UInt64) -> Bool {
  (0..<8).allSatisfy { [0, 1, 4, 5, 6, 7].contains(value >> (UInt64($0) * 8) & 0xff) }
}

/// The bits of IA32_EFER that Intel defines: SCE, LME, LMA, NXE.
let eferIntelBits: UInt64 = 0xd01

/// IA32_S_CET: bits 9:6 are reserved, SUPPRESS and TRACKER exclude each other.
func isValidSCET(_ value: UInt64) -> Bool { value & 0x3c0 == 0 && value & 0xc00 != 0xc00 }
