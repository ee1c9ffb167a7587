import Architecture
import KernelMemory
import Testing

@testable import VCPUState

/// One case for each bit that KVM may set otherwise than `vmcs_config` has it, and what it is read from.
private struct ReasonCase: Sendable, CustomTestStringConvertible {
  var word: ControlWord
  var bit: Int
  var isSet = false
  var reason: String
  var decide: @Sendable (inout ControlReasons) -> Void
  /// The same value the other way round, or left out: the reason must not be given then.
  var undecide: @Sendable (inout ControlReasons) -> Void

  init(
    _ word: ControlWord, _ bit: Int, isSet: Bool = false, _ reason: String,
    _ decide: @escaping @Sendable (inout ControlReasons) -> Void,
    not undecide: @escaping @Sendable (inout ControlReasons) -> Void = { _ in }
  ) {
    self.word = word
    self.bit = bit
    self.isSet = isSet
    self.reason = reason
    self.decide = decide
    self.undecide = undecide
  }

  var testDescription: String { "\(word.rawValue) bit \(bit) is \(isSet ? 1 : 0): \(reason)" }

  private static func parameter(_ name: String, _ value: String) -> @Sendable (inout ControlReasons) -> Void {
    { $0.parameters[name] = value }
  }

  private static func machine(_ change: @escaping @Sendable (inout VirtualMachine) -> Void)
    -> @Sendable (inout ControlReasons) -> Void
  {
    {
      var machine = VirtualMachine(address: 0, pid: 1, online: 1)
      change(&machine)
      $0.machine = machine
    }
  }

  /// A guest with one CPUID leaf: subleaf, and EAX, EBX, ECX, EDX.
  private static func leaf(_ leaf: UInt32, _ subleaf: UInt32 = 0, _ registers: UInt32...)
    -> @Sendable (inout ControlReasons) -> Void
  {
    let words = [leaf, subleaf, 1] + registers + [0, 0, 0]
    let bytes = words.flatMap { word in withUnsafeBytes(of: word.littleEndian) { Array($0) } }
    return { $0.readCPUID = { GuestCPUID(bytes) } }
  }

  private static let noLeaves: @Sendable (inout ControlReasons) -> Void = { $0.readCPUID = { GuestCPUID([]) } }

  static let all: [ReasonCase] = [
    ReasonCase(.pin, 5, "kvm_intel.vnmi=N", parameter("vnmi", "N"), not: parameter("vnmi", "Y")),
    ReasonCase(
      .pin, 6, "preemption_timer=N", parameter("preemption_timer", "N"), not: parameter("preemption_timer", "Y")),
    ReasonCase(.pin, 7, "enable_apicv=N", parameter("enable_apicv", "N"), not: parameter("enable_apicv", "Y")),
    ReasonCase(.pin, 7, "APICv is not active", { $0.isAPICvActive = false }, not: { $0.isAPICvActive = true }),
    ReasonCase(
      .primary, 2, "no interrupt waits", { $0.hasRequestedInterrupts = false },
      not: { $0.hasRequestedInterrupts = true }),
    ReasonCase(
      .primary, 2, isSet: true, "an interrupt waits", { $0.hasRequestedInterrupts = true },
      not: { $0.hasRequestedInterrupts = false }),
    ReasonCase(
      .primary, 7, "KVM_X86_DISABLE_EXITS_HLT", machine { $0.disabledExits = 2 }, not: machine { $0.disabledExits = 5 }),
    ReasonCase(.primary, 9, "kvm_intel.ept=Y", parameter("ept", "Y"), not: parameter("ept", "N")),
    ReasonCase(
      .primary, 10, "KVM_X86_DISABLE_EXITS_MWAIT", machine { $0.disabledExits = 1 },
      not: machine { $0.disabledExits = 2 }),
    ReasonCase(.primary, 15, "kvm_intel.ept=Y", parameter("ept", "Y"), not: parameter("ept", "N")),
    ReasonCase(.primary, 16, "kvm_intel.ept=Y", parameter("ept", "Y"), not: parameter("ept", "N")),
    ReasonCase(.primary, 19, "CPU_BASED_TPR_SHADOW is 1", { $0.words.primary = ($0.words.primary ?? 0) | 1 << 21 }),
    ReasonCase(.primary, 19, isSet: true, "vcpu.arch.apic is null", { $0.hasAPIC = false }, not: { $0.hasAPIC = true }),
    ReasonCase(.primary, 20, "CPU_BASED_TPR_SHADOW is 1", { $0.words.primary = ($0.words.primary ?? 0) | 1 << 21 }),
    ReasonCase(.primary, 20, isSet: true, "vcpu.arch.apic is null", { $0.hasAPIC = false }, not: { $0.hasAPIC = true }),
    ReasonCase(.primary, 21, "vcpu.arch.apic is null", { $0.hasAPIC = false }, not: { $0.hasAPIC = true }),
    ReasonCase(.primary, 22, "no NMI waits", { $0.pendingNMIs = 0 }, not: { $0.pendingNMIs = 1 }),
    ReasonCase(.primary, 22, isSet: true, "an NMI waits", { $0.pendingNMIs = 1 }, not: { $0.pendingNMIs = 0 }),
    ReasonCase(
      .primary, 23, "debug registers are loaded", { $0.switchDebugRegisters = 2 }, not: { $0.switchDebugRegisters = 1 }),
    ReasonCase(
      .primary, 29, "KVM_X86_DISABLE_EXITS_MWAIT", machine { $0.disabledExits = 1 },
      not: machine { $0.disabledExits = 2 }),
    ReasonCase(.secondary, 0, "vcpu.arch.apic is null", { $0.hasAPIC = false }, not: { $0.hasAPIC = true }),
    ReasonCase(.secondary, 0, "flexpriority=N", parameter("flexpriority", "N"), not: parameter("flexpriority", "Y")),
    ReasonCase(.secondary, 0, "in x2APIC mode", { $0.apicBase = 0xfee0_0c00 }, not: { $0.apicBase = 0xfee0_0800 }),
    ReasonCase(.secondary, 0, "disabled", { $0.apicBase = 0xfee0_0000 }, not: { $0.apicBase = 0xfee0_0800 }),
    ReasonCase(.secondary, 1, "kvm_intel.ept=N", parameter("ept", "N"), not: parameter("ept", "Y")),
    ReasonCase(.secondary, 2, "CR4.UMIP is 0", { $0.cr4 = 0 }, not: { $0.cr4 = 1 << 11 }),
    ReasonCase(.secondary, 2, isSet: true, "CR4.UMIP is 1", { $0.cr4 = 1 << 11 }, not: { $0.cr4 = 0 }),
    ReasonCase(.secondary, 3, "no RDTSCP or RDPID", noLeaves, not: leaf(0x8000_0001, 0, 0, 0, 0, 1 << 27)),
    ReasonCase(.secondary, 3, "no RDTSCP or RDPID", noLeaves, not: leaf(7, 0, 0, 0, 1 << 22, 0)),
    ReasonCase(.secondary, 4, "not in x2APIC mode", { $0.apicBase = 0xfee0_0800 }, not: { $0.apicBase = 0xfee0_0c00 }),
    ReasonCase(.secondary, 5, "kvm_intel.vpid=N", parameter("vpid", "N"), not: parameter("vpid", "Y")),
    ReasonCase(.secondary, 5, "vcpu_vmx.vpid is 0", { $0.vpid = 0 }, not: { $0.vpid = 3 }),
    ReasonCase(
      .secondary, 7, "unrestricted_guest=N", parameter("unrestricted_guest", "N"),
      not: parameter("unrestricted_guest", "Y")),
    ReasonCase(.secondary, 7, "kvm_intel.ept=N", parameter("ept", "N"), not: parameter("ept", "Y")),
    ReasonCase(
      .secondary, 8, "apicv_inhibit_reasons = 0x4",
      {
        machine { $0.apicvInhibits = 4 }(&$0)
        $0.isAPICvActive = false
      }, not: { $0.isAPICvActive = true }),
    ReasonCase(.secondary, 9, "APICv is not active", { $0.isAPICvActive = false }, not: { $0.isAPICvActive = true }),
    ReasonCase(
      .secondary, 10, "KVM_X86_DISABLE_EXITS_PAUSE", machine { $0.disabledExits = 4 },
      not: machine { $0.disabledExits = 3 }),
    ReasonCase(.secondary, 10, "kvm_intel.ple_gap=0", parameter("ple_gap", "0"), not: parameter("ple_gap", "128")),
    ReasonCase(.secondary, 11, "has RDRAND", leaf(1, 0, 0, 0, 1 << 30, 0), not: noLeaves),
    ReasonCase(.secondary, 11, isSet: true, "no RDRAND", noLeaves, not: leaf(1, 0, 0, 0, 1 << 30, 0)),
    ReasonCase(.secondary, 12, "no INVPCID", noLeaves, not: leaf(7, 0, 0, 1 << 10, 0, 0)),
    ReasonCase(
      .secondary, 14, "no current VMCS", { $0.currentVMPointer = .max }, not: { $0.currentVMPointer = 0x1000 }),
    ReasonCase(
      .secondary, 14, "enable_shadow_vmcs=N", parameter("enable_shadow_vmcs", "N"),
      not: parameter("enable_shadow_vmcs", "Y")),
    ReasonCase(
      .secondary, 14, isSet: true, "has a current VMCS", { $0.currentVMPointer = 0x1000 },
      not: { $0.currentVMPointer = .max }),
    ReasonCase(.secondary, 16, "has RDSEED", leaf(7, 0, 0, 1 << 18, 0, 0), not: noLeaves),
    ReasonCase(.secondary, 16, isSet: true, "no RDSEED", noLeaves, not: leaf(7, 0, 0, 1 << 18, 0, 0)),
    ReasonCase(
      .secondary, 17, "no memory slot is logged", machine { $0.dirtyLoggedSlots = 0 },
      not: machine { $0.dirtyLoggedSlots = 1 }),
    ReasonCase(.secondary, 17, "kvm_intel.pml=N", parameter("pml", "N"), not: parameter("pml", "Y")),
    ReasonCase(.secondary, 18, "kvm_intel.ept=N", parameter("ept", "N"), not: parameter("ept", "Y")),
    ReasonCase(.secondary, 19, "pt_mode=0", parameter("pt_mode", "0"), not: parameter("pt_mode", "1")),
    ReasonCase(.secondary, 20, "no XSAVE and XSAVES", leaf(0xd, 1, 1 << 3, 0, 0, 0)),
    ReasonCase(.secondary, 24, "pt_mode=0", parameter("pt_mode", "0"), not: parameter("pt_mode", "1")),
    ReasonCase(.secondary, 26, "no WAITPKG", noLeaves, not: leaf(7, 0, 0, 0, 1 << 5, 0)),
    ReasonCase(
      .secondary, 30, "KVM_CAP_X86_BUS_LOCK_EXIT", machine { $0.busLockDetection = false },
      not: machine { $0.busLockDetection = true }),
    ReasonCase(.secondary, 31, "KVM_CAP_X86_NOTIFY_VMEXIT", { $0.notifyFlags = 0 }, not: { $0.notifyFlags = 1 }),
    ReasonCase(.tertiary, 4, "enable_ipiv=N", parameter("enable_ipiv", "N"), not: parameter("enable_ipiv", "Y")),
    ReasonCase(.tertiary, 4, "APICv is not active", { $0.isAPICvActive = false }, not: { $0.isAPICvActive = true }),
    ReasonCase(
      .exit, 21, "equals the host's",
      {
        $0.efer = 0xd01
        $0.hostEFER = 0xd01
      },
      not: {
        $0.efer = 0
        $0.hostEFER = 0xd01
      }),
    ReasonCase(
      .exit, 21, isSet: true, "differs from the host's",
      {
        $0.efer = 0
        $0.hostEFER = 0xd01
      },
      not: {
        $0.efer = 0xd01
        $0.hostEFER = 0xd01
      }),
    ReasonCase(.exit, 24, "pt_mode=0", parameter("pt_mode", "0"), not: parameter("pt_mode", "1")),
    ReasonCase(.exit, 25, "pt_mode=0", parameter("pt_mode", "0"), not: parameter("pt_mode", "1")),
    ReasonCase(.entry, 9, "EFER.LMA is 0", { $0.efer = 0 }, not: { $0.efer = 0x500 }),
    ReasonCase(.entry, 9, isSet: true, "EFER.LMA is 1", { $0.efer = 0x500 }, not: { $0.efer = 0 }),
    ReasonCase(
      .entry, 15, "equals the host's",
      {
        $0.efer = 0xd01
        $0.hostEFER = 0xd01
      },
      not: {
        $0.efer = 0
        $0.hostEFER = 0xd01
      }),
    ReasonCase(.entry, 17, "pt_mode=0", parameter("pt_mode", "0"), not: parameter("pt_mode", "1")),
    ReasonCase(.entry, 18, "pt_mode=0", parameter("pt_mode", "0"), not: parameter("pt_mode", "1")),
  ]
}

@Suite("A control that differs from vmcs_config")
struct ControlReasonTests {
  private static func setting(_ word: ControlWord, _ value: UInt64) -> ControlSetting {
    let half = UInt32(truncatingIfNeeded: value)
    // EPT is on throughout, so that EFER is compared as it is.
    return ControlSetting(
      pin: word == .pin ? half : 0, primary: word == .primary ? half : 0, secondary: word == .secondary ? half | 2 : 2,
      tertiary: word == .tertiary ? value : 0, exit: word == .exit ? half : 0, entry: word == .entry ? half : 0)
  }

  private func difference(
    _ row: ReasonCase, _ decide: (inout ControlReasons) -> Void
  ) throws -> ControlDifference {
    let bit = UInt64(1) << UInt64(row.bit)
    var with = Self.setting(row.word, bit)
    var without = Self.setting(row.word, 0)
    if row.word == .secondary, row.bit == 1 { without.secondary = 0 }
    if row.isSet { swap(&with, &without) }
    var reasons = ControlReasons(words: without, configuration: with, isNested: false)
    decide(&reasons)
    return try #require(
      reasons.differences.first { $0.control.word == row.word.rawValue && $0.control.bit == row.bit }, "\(row)")
  }

  @Test("says what was read that decides it, and never when that says otherwise", arguments: ReasonCase.all)
  fileprivate func measured(_ row: ReasonCase) throws {
    let decided = try difference(row, row.decide)
    #expect(decided.isSet == row.isSet && decided.isMeasured && decided.reason.contains(row.reason), "\(decided)")
    let undecided = try difference(row, row.undecide)
    #expect(!undecided.isMeasured && !undecided.reason.isEmpty && undecided.reason != "not known", "\(undecided)")
  }

  @Test(
    "has KVM's rule where no structure decides it",
    arguments: [
      (ControlWord.primary, 12), (.primary, 25), (.primary, 27), (.primary, 30), (.secondary, 13), (.exit, 12),
      (.exit, 18),
      (.exit, 20), (.exit, 22), (.entry, 13),
    ])
  func rules(_ word: ControlWord, _ bit: Int) throws {
    let reasons = ControlReasons(
      words: Self.setting(word, 0), configuration: Self.setting(word, 1 << UInt64(bit)), isNested: false)
    let difference = try #require(reasons.differences.first { $0.control.bit == bit })
    #expect(!difference.isMeasured && difference.reason != "not known" && difference.reason.count > 8)
  }
}

@Suite("The CPUID leaves of a guest")
struct GuestCPUIDTests {
  @Test("are told apart by subleaf, and cut ones do not trap")
  func leaves() {
    func bytes(_ words: [UInt32]) -> [UInt8] {
      (words + [UInt32](repeating: 0, count: 10 - words.count)).flatMap { word in
        withUnsafeBytes(of: word.littleEndian) { Array($0) }
      }
    }
    let all = bytes([0xd, 0, 1, 1 << 3]) + bytes([0xd, 1, 1, 0]) + bytes([7, 0, 1, 0, 1 << 2])
    #expect(!GuestCPUID(all).has(.xsaves) && GuestCPUID(all).has(.sgx))
    #expect(!GuestCPUID(Array(all.prefix(119))).has(.sgx))
    #expect(!GuestCPUID([1, 2, 3]).has(.sgx) && !GuestCPUID([]).has(.sgx))
  }
}
