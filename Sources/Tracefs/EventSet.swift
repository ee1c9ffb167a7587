/// Which KVM events are traced: `--events`. Every event costs the vCPU thread some 100 to 300 ns each time.
public enum EventSet: String, Sendable, Hashable, CaseIterable {
  /// kvm_exit and kvm_entry: counts, reasons, charged controls and handling times.
  case minimal
  /// Those plus what the details of a reason and the split of a vCPU's time need.
  case standard
  /// Every event of system kvm.
  case full

  /// The names wanted, given those that the kernel has. `full` wants all it has.
  public func wanted(of available: [String]) -> [String] {
    switch self {
    case .minimal: EventSet.minimalEvents
    case .standard: EventSet.minimalEvents + EventSet.detailEvents
    case .full: available
    }
  }

  static let minimalEvents = ["kvm_exit", "kvm_entry"]

  /// kvm_userspace_exit, kvm_fpu (`load` 1: the thread is back in KVM_RUN) and kvm_vcpu_wakeup split the time; the
  /// others name the MSR, port, leaf, address ... of an exit, or a change of the controls.
  static let detailEvents = [
    "kvm_userspace_exit", "kvm_fpu", "kvm_vcpu_wakeup", "kvm_msr", "kvm_cpuid", "kvm_cr", "kvm_page_fault", "kvm_mmio",
    "kvm_fast_mmio", "kvm_pio", "kvm_hypercall", "kvm_apicv_inhibit_changed",
  ]
}
