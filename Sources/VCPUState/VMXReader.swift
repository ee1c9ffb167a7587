import Architecture
import HostFiles
import KernelMemory

/// Reads vCPUs of kvm_intel: a copy of `struct vcpu_vmx`, and what it points at.
final class VMXReader: StateBackend {
  static let module = "kvm_intel"

  let machines: VirtualMachines
  private let source: KernelSource
  private let layout: VMXLayout
  private let vmExitHandler: UInt64?
  private let hostIDTBase: UInt64?
  private let host: VMXHost
  /// It does not change after the module was loaded.
  private let configuration: VMCSConfiguration

  private var core: KernelCore { source.core }

  /// - Throws: where one of the sources is missing; the error says what helps.
  init(roots: HostRoots, _ isCancelled: () -> Bool = { false }) throws(KernelMemoryError) {
    source = try KernelSource(
      module: Self.module,
      symbols: VMXHost.symbols.union(["vmcs_config", "vmx_capability", "vmx_vmexit", "host_idt_base"]), roots: roots,
      isCancelled)
    layout = try VMXLayout(source.types)
    machines = try VirtualMachines(source, layout.kvm)
    vmExitHandler = source.symbols.address("vmx_vmexit", in: [Self.module, nil])
    hostIDTBase = source.variable("host_idt_base")
    host = VMXHost(source, layout)
    configuration = Self.configuration(source, layout)
  }

  /// What KVM settled on at load time.
  private static func configuration(_ source: KernelSource, _ layout: VMXLayout) -> VMCSConfiguration {
    func value(_ variable: String, _ path: MemberPath?) -> UInt64? {
      source.symbols.address(variable, in: [module, nil]).flatMap { path?.integer(from: $0, source.core) }
    }
    func word(_ name: String) -> UInt64? { value("vmcs_config", layout.configuration[name]) }
    func half(_ value: UInt64?) -> UInt32? { value.map { UInt32(truncatingIfNeeded: $0) } }
    var result = VMCSConfiguration()
    result.words = ControlSetting(
      pin: half(word("pin_based_exec_ctrl")), primary: half(word("cpu_based_exec_ctrl")),
      secondary: half(word("cpu_based_2nd_exec_ctrl")), tertiary: word("cpu_based_3rd_exec_ctrl"),
      exit: half(word("vmexit_ctrl")), entry: half(word("vmentry_ctrl")))
    result.eptCapability = half(value("vmx_capability", layout.eptCapability))
    result.vpidCapability = half(value("vmx_capability", layout.vpidCapability))
    return result
  }

  func hostControls() -> HostControls {
    HostControls(configuration: configuration, capabilities: HostCapabilities.read(roots: source.roots))
  }

  /// `controls_shadow` of vmcs01, which is part of the structure.
  func controlWords(of vcpu: UInt64) -> ControlSetting? {
    core.bytes(at: vcpu &+ UInt64(layout.vmcs01.offset), count: layout.loadedSize).map(layout.controlWords)
  }

  func reading(of address: UInt64, in machine: VirtualMachine) -> VCPUReading? {
    // A switch between L1 and L2 in the middle is tried once more.
    for _ in 0..<3 {
      guard let copy = core.bytes(at: address, count: layout.kvm.vcpuSize),
        layout.kvm.owner.integer(in: copy) == machine.address,
        let loaded = kernelPointer(layout.loaded.integer(in: copy))
      else { return nil }
      let readAt = StateReader.now()
      var fields = VMXFields(
        layout: layout, core: core, address: address, copy: copy, machine: machine, configuration: configuration,
        host: host, pageOffset: source.pageOffset, vmExitHandler: vmExitHandler, hostIDTBase: hostIDTBase,
        parameters: source.parameters,
        hostMSR: { [roots = source.roots] msr, cpu in HostMSR.read(msr, cpu: cpu, roots: roots) })
      guard fields.take(loaded: loaded) else { return nil }
      let result = fields.reading(readAt: readAt)
      // The anchors again: a vCPU that was freed meanwhile has neither, or another's.
      guard machines.isVCPU(address, of: machine) else { return nil }
      if let again: UInt64 = core.integer(at: address &+ UInt64(layout.loaded.offset)), again == loaded {
        return result
      }
    }
    return nil
  }
}
