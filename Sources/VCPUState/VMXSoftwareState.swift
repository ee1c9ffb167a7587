import Architecture
import KernelMemory

/// The virtual-APIC page of a vCPU (SDM volume 3, "Local APIC Register Address Map"), where KVM has one for it.
struct VirtualAPICPage {
  private let bytes: [UInt8]

  /// Reads what is used of the page: up to the last of the interrupt-request registers.
  init?(at address: UInt64, _ memory: some KernelBytes) {
    guard let bytes = memory.bytes(at: address, count: 0x280) else { return nil }
    self.bytes = bytes
  }

  func register(_ offset: Int) -> UInt32 {
    guard offset >= 0, offset + 4 <= bytes.count else { return 0 }
    return bytes.withUnsafeBytes { UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: UInt32.self)) }
  }

  /// One of the eight registers of a vector bitmap, which are 16 bytes apart.
  func inService(_ index: Int) -> UInt32 { register(0x100 + 16 * index) }
  func requested(_ index: Int) -> UInt32 { register(0x200 + 16 * index) }
  var taskPriority: UInt32 { register(0x80) }
  var processorPriority: UInt32 { register(0xa0) }

  private func highest(_ register: (Int) -> UInt32) -> Int? {
    for index in (0..<8).reversed() {
      let bits = register(index)
      if bits != 0 { return 32 * index + 31 - bits.leadingZeroBitCount }
    }
    return nil
  }

  var highestInService: Int? { highest(inService) }
  var highestRequested: Int? { highest(requested) }
}

/// What KVM keeps beside the VMCS.
extension VMXFields {
  func softwareState() -> [FieldReading] {
    var found: [String: FieldReading] = [:]
    func put(_ name: String, _ value: UInt64?, _ provenance: Provenance, _ how: String) {
      guard let field = StateField.softwareState(name) else { return }
      found[name] =
        value.map { FieldReading(field, $0 & field.mask, provenance, how) }
        ?? FieldReading(field, nil, .unavailable, "\(how): not in this kernel's structures")
    }
    func missing(_ names: [String], _ why: String) {
      for name in names {
        if let field = StateField.softwareState(name) { found[name] = FieldReading(field, nil, .unavailable, why) }
      }
    }
    /// A register that is in the guest's hands while it runs.
    func register(_ name: String, _ key: String) {
      put(name, value(key), isRunning ? .stale : .measured, path(key))
    }

    for (index, name) in [
      "RAX", "RCX", "RDX", "RBX", nil, "RBP", "RSI", "RDI", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15",
    ].enumerated() {
      if let name { register(name, "reg\(index)") }
    }
    register("CR2", "cr2")
    for index in 0..<4 { register("DR\(index)", "dr\(index)") }
    register("DR6", "dr6")
    for (name, key) in [
      ("MP_STATE", "mp_state"), ("EXCEPTION_PENDING", "exception_pending"),
      ("EXCEPTION_INJECTED", "exception_injected"), ("EXCEPTION_VECTOR", "exception_vector"),
      ("INTERRUPT_INJECTED", "interrupt_injected"), ("INTERRUPT_VECTOR", "interrupt_vector"),
      ("NMI_PENDING", "nmi_pending"), ("NMI_INJECTED", "nmi_injected"), ("VCPU_MODE", "mode"),
      ("REQUESTS", "requests"), ("APIC_BASE", "apic_base"),
    ] { put(name, value(key), .measured, path(key)) }

    let apicRegisters =
      ["APIC_TPR", "APIC_PPR"] + (0..<8).flatMap { ["APIC_ISR\($0)", "APIC_IRR\($0)"] }
    if let apicPage {
      let page = path("apic_page")
      put("APIC_TPR", UInt64(apicPage.taskPriority), .measured, "\(page) + 0x80")
      put("APIC_PPR", UInt64(apicPage.processorPriority), .measured, "\(page) + 0xa0")
      for index in 0..<8 {
        put(
          "APIC_ISR\(index)", UInt64(apicPage.inService(index)), .measured,
          "\(page) + 0x\(String(0x100 + 16 * index, radix: 16))")
        put(
          "APIC_IRR\(index)", UInt64(apicPage.requested(index)), .measured,
          "\(page) + 0x\(String(0x200 + 16 * index, radix: 16))")
      }
      put("CR8", UInt64(apicPage.taskPriority >> 4 & 0xf), .derived, "bits 7:4 of the TPR in \(page)")
      put("APICV_ACTIVE", isAPICvActive.map { $0 ? 1 : 0 }, .measured, apicvActivePath)
    } else if hasAPIC == false {
      missing(apicRegisters, "no APIC of KVM's: the VMM emulates it (vcpu.arch.apic is null)")
      put("CR8", value("cr8"), isRunning ? .stale : .measured, path("cr8"))
      put("APICV_ACTIVE", 0, .derived, "no APIC of KVM's (vcpu.arch.apic is null)")
    } else {
      missing(apicRegisters + ["CR8"], "\(path("apic_page")) could not be read")
      put("APICV_ACTIVE", isAPICvActive.map { $0 ? 1 : 0 }, .measured, apicvActivePath)
    }
    postedInterrupts(put, missing)
    return StateField.softwareState.map {
      found[$0.name] ?? FieldReading($0, nil, .unavailable, "not in this kernel's structures")
    }
  }

  /// The descriptor has the processor's format, whatever the kernel calls its members.
  private func postedInterrupts(
    _ put: (String, UInt64?, Provenance, String) -> Void, _ missing: ([String], String) -> Void
  ) {
    let names = (0..<4).map { "PI_PIR\($0)" } + ["PI_ON", "PI_SN", "PI_NV", "PI_NDST"]
    guard let place = layout.values["pi_desc"], place.isInline,
      let bytes = memory.bytes(at: address &+ UInt64(place.offset), count: 64)
    else { return missing(names, "vcpu_vmx.pi_desc: not in this kernel's structures") }
    if isOn("enable_apicv") == false { return missing(names, "not in use: kvm_intel.enable_apicv=N") }
    func part(_ offset: Int, _ count: Int) -> UInt64 {
      bytes[offset..<offset + count].reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
    for index in 0..<4 {
      put("PI_PIR\(index)", part(8 * index, 8), .measured, "\(place.text), bits from \(64 * index)")
    }
    put("PI_ON", part(32, 1) & 1, .measured, "\(place.text), bit 256")
    put("PI_SN", part(32, 1) >> 1 & 1, .measured, "\(place.text), bit 257")
    put("PI_NV", part(34, 1), .measured, "\(place.text), bits 279:272")
    put("PI_NDST", part(36, 4), .measured, "\(place.text), bits 319:288")
  }
}
