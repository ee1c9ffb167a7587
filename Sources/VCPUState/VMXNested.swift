import Architecture
import KernelMemory

/// The VMCS that L1 wrote for its guest.
extension VMXFields {
  /// Whether L1 has a current VMCS, so that KVM's cache of it means something.
  var hasNestedVMCS: Bool { value("current_vmptr").map { $0 != .max } ?? false }

  /// `struct vmcs12` as KVM caches it; nil where L1 has no current VMCS, or it could not be read. A field that L1 writes into
  /// a shadow VMCS, without an exit, is stale: KVM copies those when L1 enters L2 or leaves the VMCS.
  func nestedVMCS() -> [FieldReading]? {
    guard hasNestedVMCS, let address = value("cached_vmcs12"), address != 0, layout.places.nestedSize > 0,
      let bytes = core.bytes(at: address, count: layout.places.nestedSize)
    else { return nil }
    let isShadowing = !isNested && words.value(of: .secondaryExecShadowVMCS) ?? false
    let writes = isShadowing ? host.vmwriteBitmap.flatMap { core.bytes(at: $0, count: 4096) } : nil
    let pointer = path("cached_vmcs12")
    return layout.places.nested.compactMap { field, path in
      guard let value = path.integer(in: bytes), let place = field.place else { return nil }
      let isShadowed = isShadowing && (writes.map { $0[Int(place / 8) & 4095] >> UInt8(place % 8) & 1 == 0 } ?? true)
      return FieldReading(
        field, value & field.mask, isShadowed ? .stale : .measured,
        "\(pointer)->\(field.name.lowercased())\(isShadowed ? "; L1 writes it without an exit (VMCS shadowing)" : "")")
    }
  }

  /// The control words that L1 asked for.
  func nestedWords(_ fields: [FieldReading]) -> ControlSetting {
    func word(_ name: VMCSEncoding) -> UInt64? { fields.first { $0.field.place == name.rawValue }?.value }
    func half(_ name: VMCSEncoding) -> UInt32? { word(name).map { UInt32(truncatingIfNeeded: $0) } }
    return ControlSetting(
      pin: half(.pinBasedVMExecControl), primary: half(.cpuBasedVMExecControl),
      secondary: half(.secondaryVMExecControl), tertiary: word(.tertiaryVMExecControl),
      exit: half(.vmExitControls), entry: half(.vmEntryControls))
  }
}
