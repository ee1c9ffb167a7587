import Architecture
import KernelMemory

/// What KVM keeps of a vCPU beside its VMCS or VMCB, in `struct kvm_vcpu_arch` (`arch/x86/include/asm/kvm_host.h`): general
/// registers, debug registers, pending events, the APIC page.
struct KVMRegisters: Sendable {
  private let values: [String: MemberPath]
  private let apic: MemberPath?

  /// As `enum kvm_reg` numbers them.
  private static let general = [
    "RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15",
  ]

  private static let alternatives: [(name: String, paths: [String])] =
    general.enumerated().map { ($1, ["arch.regs[\($0)]"]) } + [
      ("RIP", ["arch.rip", "arch.regs[16]"]), ("CR0", ["arch.cr0"]), ("CR2", ["arch.cr2"]), ("CR3", ["arch.cr3"]),
      ("CR4", ["arch.cr4"]), ("CR8", ["arch.cr8"]), ("EFER", ["arch.efer"]), ("DR0", ["arch.db[0]"]),
      ("DR1", ["arch.db[1]"]), ("DR2", ["arch.db[2]"]), ("DR3", ["arch.db[3]"]), ("DR6", ["arch.dr6"]),
      ("DR7", ["arch.dr7"]), ("MP_STATE", ["arch.mp_state"]), ("EXCEPTION_PENDING", ["arch.exception.pending"]),
      ("EXCEPTION_INJECTED", ["arch.exception.injected"]),
      ("EXCEPTION_VECTOR", ["arch.exception.vector", "arch.exception.nr"]),
      ("INTERRUPT_INJECTED", ["arch.interrupt.injected"]), ("INTERRUPT_VECTOR", ["arch.interrupt.nr"]),
      ("NMI_PENDING", ["arch.nmi_pending"]), ("NMI_INJECTED", ["arch.nmi_injected"]),
      ("switch_db_regs", ["arch.switch_db_regs"]),
    ]

  /// - Parameter structure: `vcpu_svm` or `vcpu_vmx`.
  init(_ types: TypeInformation, vcpu structure: String) {
    values = types.paths(
      structure, Self.alternatives.map { name, paths in (name, paths.map { "vcpu." + $0 }) })
    apic = types.path(structure, "vcpu.arch.apic->regs")
  }

  /// What there is of one vCPU now.
  struct Copy {
    let registers: KVMRegisters
    let bytes: [UInt8]
    /// The guest runs, or may have since: KVM's copies are those of its last exit.
    let isRunning: Bool
    /// Bytes 0x80 to 0x280 of the APIC page; nil without an APIC of KVM's.
    private let apic: [UInt8]?

    init(_ registers: KVMRegisters, vcpu: UInt64, _ bytes: [UInt8], isRunning: Bool, _ core: KernelCore) {
      self.registers = registers
      self.bytes = bytes
      self.isRunning = isRunning
      apic = registers.apic?.integer(from: vcpu, core).flatMap { core.bytes(at: $0 &+ 0x80, count: 0x200) }
    }

    func value(_ name: String) -> UInt64? { registers.values[name].flatMap { $0.integer(in: bytes) } }

    func path(_ name: String) -> String? { registers.values[name]?.text }

    /// A 32-bit register of the APIC page, by its offset (SDM volume 3, section "Local APIC Registers").
    private func page(_ offset: Int) -> UInt64? {
      guard let apic, offset >= 0x80, offset + 4 <= 0x280 else { return nil }
      let place = offset - 0x80
      return (0..<4).reversed().reduce(0) { $0 << 8 | UInt64(apic[place + $1]) }
    }

    /// The highest vector that is requested; nil where there is none, or no APIC.
    var highestRequest: Int? {
      for index in (0..<8).reversed() {
        guard let bits = page(0x200 + 0x10 * index), bits != 0 else { continue }
        return index * 32 + 63 - bits.leadingZeroBitCount
      }
      return nil
    }

    /// The task-priority register; nil without an APIC of KVM's.
    var taskPriority: UInt64? { page(0x80) }

    // MARK: Readings

    /// All of it, or the reason why there is none.
    func readings(hidden: String?) -> [FieldReading] {
      var result: [FieldReading] = []
      func put(_ name: String, _ value: UInt64?, _ how: String, isKVMs: Bool = true) {
        guard let field = StateField.softwareState(name) else { return }
        if let hidden {
          result.append(FieldReading(field, nil, .unavailable, hidden))
        } else if let value {
          result.append(FieldReading(field, value & field.mask, isKVMs || !isRunning ? .measured : .stale, how))
        } else {
          result.append(FieldReading(field, nil, .unavailable, how))
        }
      }
      /// KVM's copy of a register that the guest changes without it.
      func register(_ name: String, isKVMs: Bool = false) {
        put(name, value(name), path(name) ?? "not in this kernel's structures", isKVMs: isKVMs)
      }
      for name in KVMRegisters.general { register(name) }
      for name in ["RIP", "CR0", "CR2", "CR3"] { register(name) }
      register("CR4", isKVMs: true)
      if let taskPriority {
        put("CR8", taskPriority >> 4, "vcpu.arch.apic->regs + 0x80, bits 7:4", isKVMs: false)
      } else {
        register("CR8")
      }
      register("EFER", isKVMs: true)
      // While the guest has its debug registers (KVM_DEBUGREG_WONT_EXIT), KVM re-reads them at the exit.
      let ownsDebug = value("switch_db_regs").map { $0 & 2 != 0 } ?? false
      for name in ["DR0", "DR1", "DR2", "DR3", "DR6", "DR7"] { register(name, isKVMs: !ownsDebug) }
      for name in [
        "MP_STATE", "EXCEPTION_PENDING", "EXCEPTION_INJECTED", "EXCEPTION_VECTOR", "INTERRUPT_INJECTED",
        "INTERRUPT_VECTOR", "NMI_PENDING", "NMI_INJECTED",
      ] { put(name, value(name), path(name) ?? "not in this kernel's structures") }
      let absent = "no APIC of KVM's: the VMM emulates it (vcpu.arch.apic is null)"
      for (name, offset) in Self.apicRegisters {
        put(
          name, page(offset), apic == nil ? absent : "vcpu.arch.apic->regs + 0x\(String(offset, radix: 16))",
          isKVMs: offset >= 0x100)
      }
      return result
    }

    private static let apicRegisters: [(name: String, offset: Int)] =
      [("APIC_TPR", 0x80), ("APIC_PPR", 0xa0)] + (0..<8).map { ("APIC_ISR\($0)", 0x100 + 0x10 * $0) }
      + (0..<8).map { ("APIC_IRR\($0)", 0x200 + 0x10 * $0) }
  }
}
