import Architecture
import KVMHost

/// Asks the VMMs for `vmctop state --ask-vmm`.
enum VMMView {
  /// One line on standard error, before anything is asked.
  static let warning =
    "--ask-vmm kicks each vCPU shown: one forced exit, its halt polling starts afresh, all its registers are written back"

  /// Asks each VMM of these vCPUs once: in their order, an answer or the reason why there is none.
  ///
  /// - Parameter vms: what runs here, for the process of a thread.
  static func ask(_ vcpus: [VCPUReading], vms: [HostVM], questioner: VMMQuestioner = VMMQuestioner()) -> [VMMReading] {
    var processes: [Int32: Int32] = [:]
    for vm in vms { for vcpu in vm.vcpus { processes[vcpu.tid] = vm.pid } }
    func process(_ vcpu: VCPUReading) -> Int32 { vcpu.tid.flatMap { processes[$0] } ?? vcpu.pid }
    var answers: [Int32: VMMReading] = [:]
    for pid in Set(vcpus.map(process)).sorted() {
      let own = vcpus.filter { process($0) == pid }
      let threads = own.compactMap(\.tid)
      guard let isa = own.first?.isa, !threads.isEmpty else { continue }
      switch questioner.ask(pid: pid, threads: threads, isa: isa) {
      case .readings(let readings): answers.merge(readings) { first, _ in first }
      case .tooEarly(let milliseconds):
        for thread in threads {
          answers[thread] = VMMReading(
            readAt: 0, failure: "asked less than a second ago; again in \(milliseconds) ms")
        }
      }
    }
    return vcpus.map { vcpu in
      vcpu.tid.flatMap { answers[$0] }
        ?? VMMReading(readAt: 0, failure: "the vCPU has not run yet: it has no thread to know it by")
    }
  }
}
