import Architecture
import KVMHost
import Report
import Wording

/// What `vmctop state --ask-vmm` adds to a vCPU: QEMU's own view of the registers, beside what was read from memory.
struct VMMView {
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

  var vcpu: VCPUReading
  var vmm: VMMReading
  var marks: [Provenance: String]

  /// The section of the page; `isWanted` is what `--field` asks for.
  func text(where isWanted: (FieldReading) -> Bool) -> String {
    if let failure = vmm.failure, vmm.fields.isEmpty {
      return factCard("\nTHE VMM'S VIEW", [("none", printable(failure))])
    }
    let later = vmm.readAt > vcpu.readAt ? (vmm.readAt - vcpu.readAt) / 1_000_000 : 0
    let rows = vcpu.compared(with: vmm).filter { isWanted($0.told) }
    var text = "\nTHE VMM'S VIEW (info registers, \(later) ms later)\n"
    if rows.isEmpty { return text + "none of the fields asked for is in it\n" }
    text += alignedTable(
      ["REGISTER", "THE VMM", "VMCTOP", "", "", ""],
      rows.map { row in
        [
          row.told.field.name, hex(row.told.value ?? 0), row.own?.value.map { hex($0) } ?? "-",
          row.own.flatMap { marks[$0.provenance] } ?? "",
          row.outcome == .equal ? "=" : row.outcome == .differs ? "differs" : "", row.note ?? "",
        ]
      }, right: [1, 2])
    let equal = rows.filter { $0.outcome == .equal }.count
    let differing = rows.filter { $0.outcome == .differs }.count
    return text
      + "\(rows.count) registers: \(equal) equal, \(differing) differ, \(rows.count - equal - differing) only the VMM has\n"
  }
}
