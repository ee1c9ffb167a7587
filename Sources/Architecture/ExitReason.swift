/// What the exit-information fields hold after an exit. Each is defined always, never, or in some cases only.
public struct ExitInformation: Sendable, Hashable {
  /// When a field is defined.
  public enum Presence: String, Sendable { case always, sometimes, never }

  /// EXIT_QUALIFICATION.
  public var qualification: Presence
  /// VMX_INSTRUCTION_INFO.
  public var instructionInformation: Presence
  /// GUEST_LINEAR_ADDRESS.
  public var linearAddress: Presence
  /// GUEST_PHYSICAL_ADDRESS.
  public var physicalAddress: Presence
  /// VM_EXIT_INSTRUCTION_LEN.
  public var length: Presence

  init(
    qualification: Presence = .never, instructionInformation: Presence = .never, linearAddress: Presence = .never,
    physicalAddress: Presence = .never, length: Presence = .never
  ) {
    self.qualification = qualification
    self.instructionInformation = instructionInformation
    self.linearAddress = linearAddress
    self.physicalAddress = physicalAddress
    self.length = length
  }
}

/// How the exit qualification of a reason is laid out. A raw value is the layout's name.
public enum QualificationLayout: String, Sendable, CaseIterable {
  case apicAccess = "apic_access"
  case apicWriteOffset = "apic_write_offset"
  case crAccess = "cr_access"
  case displacement
  case drAccess = "dr_access"
  case entryFailure = "entry_failure"
  case eoiVector = "eoi_vector"
  case eptViolation = "ept_violation"
  /// #DB: what triggered it; #PF: the linear address; nothing for the others.
  case exception
  case ioInstruction = "io_instruction"
  case ioSmi = "io_smi"
  case linearAddress = "linear_address"
  case msrAddress = "msr_address"
  case msrListIndex = "msr_list_index"
  case msrRw = "msr_rw"
  case mwaitArmed = "mwait_armed"
  case notify
  case pmlFull = "pml_full"
  case sipiVector = "sipi_vector"
  case sppEvent = "spp_event"
  case taskSwitch = "task_switch"
}

/// How the instruction information of a reason is laid out.
public enum InstructionLayout: Sendable, Hashable {
  /// INS and OUTS.
  case stringIO
  /// A memory operand.
  case memory
  /// A memory operand, and the register with the type of the invalidation.
  case memoryAndType
  /// VMREAD and VMWRITE: an operand, and the register with the encoding.
  case operandAndField
  /// LGDT, LIDT, SGDT and SIDT.
  case descriptorTable
  /// LLDT, LTR, SLDT and STR.
  case systemSegment
  /// A register and the operand size.
  case register
  /// Two XMM registers.
  case vectorRegisters
  /// The register of an MSR instruction.
  case msrRegister
}

/// One reason for which a guest exits: a VMX basic exit reason or an SVM exit code.
public struct ExitReason: Sendable, Hashable {
  /// What only VMX has.
  public struct VMX: Sendable, Hashable {
    /// The SDM's name.
    public var sdmName: String
    /// When the exit happens, in terms of the controls.
    public var exitWhen: String?
    /// How EXIT_QUALIFICATION is laid out; nil where it has no meaning.
    public var qualification: QualificationLayout?
    /// How VMX_INSTRUCTION_INFO is laid out; nil where it has no meaning.
    public var instruction: InstructionLayout?
    /// Nil for the reserved numbers.
    public var information: ExitInformation?
    /// True where KVM 7.3 can handle it without leaving the inner loop of vcpu_run.
    public var hasFastPath: Bool
  }

  /// What only SVM has.
  public struct SVM: Sendable, Hashable {
    /// Linux's name of the intercept bit; nil where no intercept bit governs the exit.
    public var interceptName: String?
    /// What EXITINFO1 and EXITINFO2 hold.
    public var exitInfo1: String?
    public var exitInfo2: String?
    /// When KVM has the intercept on.
    public var kvmUse: String?
  }

  /// Whose reason it is.
  public var isa: ISA
  /// The basic exit reason (VMX), or the low 32 bits of EXITCODE (SVM).
  public var code: UInt32
  /// As the kvm_exit tracepoint prints it: `EPT_MISCONFIG`, `npf`. Where it has no name: the SDM's name as a constant (VMX), the
  /// number as the kernel prints it (SVM).
  public var name: String
  /// Linux's constant: `EXIT_REASON_HLT`, `SVM_EXIT_HLT`.
  public var linuxName: String?
  /// What can cause it: controls, bitmaps, masks, as the manual has them. Empty: unconditional.
  public var causes: [GoverningCause]
  /// Which of them an exit is charged to.
  public var rule: GoverningRule
  /// Where the exit's main detail is read.
  public var detail: DetailSource
  /// True for what halts the vCPU: its handling time is mostly idle time.
  public var halts: Bool
  /// Why a guest does this, usually.
  public var typicalCause: String?
  /// What changes how often it happens; empty where nothing does, nil where the catalogue does not say.
  public var remedies: [Remedy]?
  /// The function that handles it in Linux 7.3.
  public var handler: String?
  /// The first kernel, of those read, that has the constant; `<=5.10` means all of them.
  public var firstKernel: String?
  /// The first kernel, of those read, whose kvm_exit prints the name.
  public var printedFirstKernel: String?
  /// Nil for an SVM exit code.
  public var vmx: VMX?
  /// Nil for a VMX reason.
  public var svm: SVM?

  init(
    vmx code: UInt32, _ name: String?, sdm: String, controls: [GoverningCause] = [],
    rule: GoverningRule = .unconditional,
    detail: DetailSource = .none, halts: Bool = false, when: String? = nil,
    qualification: QualificationLayout? = nil, instruction: InstructionLayout? = nil,
    gives: ExitInformation? = ExitInformation(), cause: String? = nil,
    remedies: [Remedy]? = nil, handler: String? = nil, fastPath: Bool = false, since: String? = nil,
    printedSince: String? = nil
  ) {
    self.isa = .vmx
    self.code = code
    self.name = name ?? (gives == nil ? "RESERVED_\(code)" : constantName(sdm))
    self.linuxName = name.map { "EXIT_REASON_" + $0 }
    self.causes = controls
    self.rule = rule
    self.detail = detail
    self.halts = halts
    self.typicalCause = cause
    self.remedies = remedies
    self.handler = handler
    self.firstKernel = since
    self.printedFirstKernel = printedSince
    self.vmx = VMX(
      sdmName: sdm, exitWhen: when, qualification: qualification, instruction: instruction, information: gives,
      hasFastPath: fastPath)
  }

  init(
    svm code: UInt32, _ name: String?, constant: String?, intercept: String? = nil, rule: GoverningRule? = nil,
    detail: DetailSource = .none, halts: Bool = false, info1: String? = nil,
    info2: String? = nil, use: String? = nil, cause: String? = nil, remedies: [Remedy]? = nil, handler: String? = nil,
    since: String? = nil, printedSince: String? = nil
  ) {
    self.isa = .svm
    self.code = code
    self.name = name ?? hexadecimal(code)
    self.linuxName = constant
    let bit = intercept == nil ? nil : ControlID(intercept: code)
    self.causes = bit.map { [.control($0)] } ?? []
    self.rule = rule ?? bit.map { .control($0) } ?? .unconditional
    self.detail = detail
    self.halts = halts
    self.typicalCause = cause
    self.remedies = remedies
    self.handler = handler
    self.firstKernel = since
    self.printedFirstKernel = printedSince
    self.svm = SVM(interceptName: intercept, exitInfo1: info1, exitInfo2: info2, kvmUse: use)
  }

  /// What can cause it, separated by `; `; nil: unconditional.
  public var governingControls: String? {
    svm != nil ? svm?.interceptName : causes.isEmpty ? nil : causes.map(\.text).joined(separator: "; ")
  }

  /// What changes how often it happens, separated by `; `; `none` where nothing does.
  public var knobs: String? {
    remedies.map { $0.isEmpty ? "none" : $0.map(\.text).joined(separator: "; ") }
  }

  /// Bit 31 of VM_EXIT_REASON: VM entry failed.
  public static var entryFailure: UInt32 { 1 << 31 }

  /// The manual's words for it: the SDM's name, or what causes the SVM exit.
  public var title: String { vmx?.sdmName ?? typicalCause ?? name }

  /// The row of a VMX basic exit reason (flag bits of VM_EXIT_REASON must be masked off) or of an SVM exit code; nil where the
  /// catalogue has none.
  public static func lookup(isa: UInt32, code: UInt32) -> ExitReason? {
    switch isa {
    case 1:
      guard let index = Int(exactly: code), index < vmxRows.count else { return nil }
      return vmxRows[index]
    case 2:
      var low = 0
      var high = svmRows.count
      while low < high {
        let middle = (low + high) / 2
        if svmRows[middle].code < code { low = middle + 1 } else { high = middle }
      }
      return low < svmRows.count && svmRows[low].code == code ? svmRows[low] : nil
    default: return nil
    }
  }

  /// Every reason of this name in either ISA, case ignored: what kvm_exit prints, or Linux's constant.
  public static func lookup(name: String) -> [ExitReason] {
    let wanted = name.uppercased()
    return (vmxRows + svmRows).filter { $0.name.uppercased() == wanted || $0.linuxName?.uppercased() == wanted }
  }
}

/// `0x` and the digits, without leading zeros, as the kernel's `%#lx`.
func hexadecimal(_ value: some FixedWidthInteger) -> String { "0x" + String(value, radix: 16) }

/// `0x` and at least so many digits.
func hexadecimal(_ value: UInt64, digits: Int) -> String {
  let text = String(value, radix: 16)
  return "0x" + String(repeating: "0", count: max(0, digits - text.count)) + text
}
