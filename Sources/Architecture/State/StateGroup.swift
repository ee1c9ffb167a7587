/// What a field of a vCPU's state belongs to, the way an engineer looks for it: not by encoding, but by what it is about.
public enum StateGroup: String, Sendable, CaseIterable, Comparable {
  case controlRegisters = "control registers"
  case generalRegisters = "general registers"
  case segments
  case descriptorTables = "descriptor tables"
  case modelSpecificRegisters = "MSRs"
  case debug
  /// Also the APIC page and the posted-interrupt descriptor.
  case interrupts = "interrupts and pending events"
  case tsc = "TSC"
  case addressTranslation = "EPT and address translation"
  case timers
  /// The control words, the bitmaps and the MSR lists.
  case controls = "execution controls"
  case other
  /// What the last exit left.
  case exitInformation = "exit information"

  public static func < (a: StateGroup, b: StateGroup) -> Bool { a.order < b.order }

  private var order: Int { Self.allCases.firstIndex(of: self) ?? 0 }
}

extension StateField {
  /// The group it is listed in.
  public var group: StateGroup {
    switch kind {
    case .vmcs: vmcsField?.stateGroup ?? .other
    case .vmcb: area == .exit ? .exitInformation : vmcbGroup
    case .kvm: kvmGroup
    }
  }

  /// The name without the part of the VMCB it is in, in lower case and without underscores: `save.rip` is `rip`.
  var vmcbKey: String {
    let path = name.split(separator: ".").map(String.init)
    let rest = path.first == "save" || path.first == "control" ? Array(path.dropFirst()) : path
    return rest.joined(separator: ".").lowercased().filter { $0 != "_" }
  }

  private var vmcbGroup: StateGroup {
    let key = vmcbKey
    let parts = key.split(separator: ".").map(String.init)
    let segments: Set<String> = ["es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"]
    if parts.count > 1, let first = parts.first {
      if segments.contains(first) { return .segments }
      if first == "gdtr" || first == "idtr" { return .descriptorTables }
    }
    switch key {
    case "cr0", "cr2", "cr3", "cr4", "cr8": return .controlRegisters
    case "rip", "rsp", "rax", "rflags", "cpl": return .generalRegisters
    case "efer", "star", "lstar", "cstar", "sfmask", "kernelgsbase", "sysentercs", "sysenteresp", "sysentereip", "gpat",
      "spectrl", "scet", "ssp", "isstaddr", "isst", "xss", "tscaux":
      return .modelSpecificRegisters
    case "dr6", "dr7", "dbgctl", "brfrom", "brto", "lastexcpfrom", "lastexcpto", "virtext": return .debug
    case "tscoffset", "tscscale": return .tsc
    case "nestedctl", "nestedcr3", "ncr3", "ncr4", "asid", "tlbctl": return .addressTranslation
    case "pausefilterthresh", "pausefiltercount", "busdlockcounter", "buslockcounter": return .timers
    default: break
    }
    for prefix in ["intercept", "msrpm", "iopm", "clean"] where key.hasPrefix(prefix) { return .controls }
    for prefix in ["avic", "int", "event", "vintr", "vapic", "vnmi"] where key.hasPrefix(prefix) { return .interrupts }
    if ["crread", "crwrite", "drread", "drwrite", "exceptions"].contains(key) { return .controls }
    return .other
  }

  private var kvmGroup: StateGroup {
    let upper = name.uppercased()
    if generalRegisters.contains(upper) || upper == "RIP" || upper == "RFLAGS" { return .generalRegisters }
    if upper.hasPrefix("CR"), upper.count <= 3 { return .controlRegisters }
    if upper.hasPrefix("XCR") { return .controlRegisters }
    if upper.hasPrefix("DR"), upper.count == 3 { return .debug }
    if upper == "EFER" || upper.hasPrefix("MSR") || upper.hasPrefix("IA32_") { return .modelSpecificRegisters }
    for part in ["TIMER", "DEADLINE", "TMICT", "TMCCT"] where upper.contains(part) { return .timers }
    if upper.contains("TSC") { return .tsc }
    for prefix in [
      "APIC", "PI_", "AVIC", "PENDING", "NMI", "SMI", "INTERRUPT", "EXCEPTION", "EVENT", "MP_STATE", "HFLAGS",
      "VCPU_MODE", "REQUESTS",
    ]
    where upper.hasPrefix(prefix) {
      return .interrupts
    }
    return area == .exit ? .exitInformation : .other
  }
}
