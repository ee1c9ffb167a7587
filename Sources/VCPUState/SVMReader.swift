import Architecture
import HostFiles
import KernelMemory

/// Reads vCPUs of kvm_amd: a copy of `struct vcpu_svm`, and the VMCB that it points at, which is plain memory.
final class SVMReader: StateBackend {
  static let module = "kvm_amd"

  let machines: VirtualMachines
  private let source: KernelSource
  private let layout: SVMLayout
  /// Of kvm and kvm_amd, by `module.name`.
  private let parameters: [String: String]
  private let defaults: SIMD8<UInt32>

  private var core: KernelCore { source.core }

  /// - Throws: where one of the sources is missing; the error says what helps.
  init(roots: HostRoots, _ isCancelled: () -> Bool = { false }) throws(KernelMemoryError) {
    source = try KernelSource(module: Self.module, symbols: [], roots: roots, isCancelled)
    layout = try SVMLayout(source.types)
    machines = try VirtualMachines(source, layout.kvm)
    var parameters: [String: String] = [:]
    for (name, value) in source.parameters { parameters["\(Self.module).\(name)"] = value }
    for (name, value) in KernelSource.parameters(of: "kvm", roots) { parameters["kvm.\(name)"] = value }
    self.parameters = parameters
    defaults = InterceptDefault.words(parameters: parameters)
  }

  func hostControls() -> HostControls {
    var host = HostControls()
    host.configuration.words.intercepts = defaults
    host.parameters = parameters
    host.capabilities.missing = "SVM has no capability MSRs for its intercepts: every one may be 0 or 1"
    return host
  }

  /// The intercepts of L1: of vmcb01, or before 5.13 of `nested.hsave` while L2 is current.
  func controlWords(of vcpu: UInt64) -> ControlSetting? {
    var place = layout.vmcb01
    if place == nil, let hsave = layout.hsave, let flags = layout.values["hflags"]?.integer(from: vcpu, core) {
      place = flags & SVMFields.guestModeFlag != 0 ? hsave : layout.vmcb
    }
    guard let vmcb = kernelPointer((place ?? layout.vmcb).integer(from: vcpu, core)),
      let bytes = core.bytes(at: vmcb, count: 24)
    else { return nil }
    return ControlSetting(intercepts: SVMFields.intercepts(in: bytes))
  }

  func reading(of address: UInt64, in machine: VirtualMachine) -> VCPUReading? {
    var result: VCPUReading?
    // A guest that ran in the middle, or a switch between L1 and L2, is tried again.
    for _ in 0..<3 {
      guard let copy = core.bytes(at: address, count: layout.kvm.vcpuSize),
        layout.kvm.owner.integer(in: copy) == machine.address, let vmcb = pointer(layout.vmcb, address, copy)
      else { return nil }
      let readAt = StateReader.now()
      guard let page = core.bytes(at: vmcb, count: VMCBField.size) else { return nil }
      let vmcb01 = layout.vmcb01.flatMap { pointer($0, address, copy) }
      let base = vmcb01.flatMap { $0 == vmcb ? nil : core.bytes(at: $0, count: VMCBField.size) }
      // The anchors again: a vCPU that was freed meanwhile has neither, or another's.
      guard machines.isVCPU(address, of: machine) else { return nil }
      guard pointer(layout.vmcb, address, nil) == vmcb else { continue }
      let hasRun = layout.exits.map { $0.integer(from: address, core) != $0.integer(in: copy) } ?? false
      let isRunning = Self.runs(layout.mode?.integer(in: copy)) || Self.runs(layout.mode?.integer(from: address, core))
      let fields = SVMFields(
        layout: layout, core: core, address: address, copy: copy, vmcb: page, vmcb01: base,
        isNested: vmcb01.map { $0 != vmcb }, isRunning: isRunning || hasRun, machine: machine, defaults: defaults)
      result = fields.reading(readAt: readAt)
      if !hasRun || isRunning { return result }
    }
    return result
  }

  /// `kvm_vcpu.mode` is IN_GUEST_MODE or EXITING_GUEST_MODE.
  private static func runs(_ mode: UInt64?) -> Bool { mode.map { $0 & 3 == 1 || $0 & 3 == 2 } ?? false }

  /// A pointer of the vCPU, in a copy of it where it is there.
  private func pointer(_ path: MemberPath, _ vcpu: UInt64, _ copy: [UInt8]?) -> UInt64? {
    if let copy, path.isInline { return kernelPointer(path.integer(in: copy)) }
    return kernelPointer(path.integer(from: vcpu, core))
  }
}
