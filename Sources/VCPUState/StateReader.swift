import Architecture
import Glibc
import HostFiles
import KernelMemory

/// What reads the vCPUs of one module's structures.
protocol StateBackend: AnyObject {
  var machines: VirtualMachines { get }

  /// All of one vCPU; nil where it went away meanwhile.
  func reading(of vcpu: UInt64, in machine: VirtualMachine) -> VCPUReading?

  /// L1's control words alone, which a switch to L2 and back does not change.
  func controlWords(of vcpu: UInt64) -> ControlSetting?

  func hostControls() -> HostControls
}

/// Reads the state of every vCPU of this host from the kernel's own structures, without a lock and without touching the
/// guests: all of it may change while it is read, so lists are bounded, anchors are read again, and a vCPU that went away is
/// left out.
///
/// It belongs to one thread. To open it takes a good part of a second: symbols and types are searched.
public final class StateReader {
  private let backend: any StateBackend

  /// - Parameter isCancelled: asked between the steps of the search; true gives it up.
  /// - Throws: where the host runs neither kvm_intel nor kvm_amd, or one of the sources is missing; the error says what helps.
  public init(
    roots: HostRoots = HostRoots(), isCancelled: () -> Bool = { false }
  ) throws(KernelMemoryError) {
    switch Self.module(roots: roots) {
    case VMXReader.module: backend = try VMXReader(roots: roots, isCancelled)
    case SVMReader.module: backend = try SVMReader(roots: roots, isCancelled)
    default:
      throw KernelMemoryError(
        "neither kvm_intel nor kvm_amd is loaded: there is no VMCS and no VMCB on this host",
        hint: "modprobe kvm_intel or kvm_amd, where the processor has VMX or SVM", kind: .unsupported)
    }
  }

  /// The module whose guests can be read, `kvm_intel` or `kvm_amd`; nil where there is neither. Where both are built in, both
  /// have a folder, and the processor's flags decide.
  public static func module(roots: HostRoots = HostRoots()) -> String? {
    let modules = [VMXReader.module, SVMReader.module].filter { HostFile.isFolder("\(roots.sys)/module/\($0)") }
    if modules.count < 2 { return modules.first }
    let flags =
      (try? HostFile.text("\(roots.proc)/cpuinfo", limit: 1 << 16))?.split(separator: "\n")
      .first { $0.hasPrefix("flags") }?.split(separator: " ") ?? []
    return flags.contains("svm") ? modules.last : modules.first
  }

  /// System calls made on /proc/kcore so far.
  public var reads: Int { backend.machines.core.reads }

  /// Every vCPU of every virtual machine there is now, or those that one of these threads ran last. Each says what it cost.
  public func vcpus(threads: Set<Int32>? = nil) -> [VCPUReading] {
    var result: [VCPUReading] = []
    eachVCPU { vcpu, machine, tid in
      if let threads { guard let tid, threads.contains(tid) else { return } }
      let (reads, start) = (self.reads, Self.now())
      guard var reading = backend.reading(of: vcpu, in: machine) else { return }
      reading.tid = tid
      reading.reads = self.reads - reads
      let end = Self.now()
      reading.nanoseconds = end > start ? end - start : 0
      result.append(reading)
    }
    return result
  }

  /// The control words of every vCPU, by the thread that ran it last: a small part of `vcpus()`. They are those of the guest
  /// itself, L1: that a guest of its own runs is no change of them.
  public func controlWords() -> [Int32: ControlSetting] {
    var result: [Int32: ControlSetting] = [:]
    eachVCPU { vcpu, _, tid in
      if let tid, let words = backend.controlWords(of: vcpu) { result[tid] = words }
    }
    return result
  }

  /// What the controls may be on this host and what KVM settled on.
  public func hostControls() -> HostControls { backend.hostControls() }

  private func eachVCPU(_ body: (_ vcpu: UInt64, _ machine: VirtualMachine, _ tid: Int32?) -> Void) {
    let machines = backend.machines
    for machine in machines.all() {
      for vcpu in machines.vcpus(of: machine) { body(vcpu, machine, machines.layout.thread(of: vcpu, machines.core)) }
    }
  }

  /// CLOCK_MONOTONIC in nanoseconds, as in `VCPUReading.readAt`.
  public static func now() -> UInt64 { monotonicNanoseconds() }
}
