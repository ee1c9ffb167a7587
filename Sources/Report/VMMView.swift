import Architecture
import Wording

/// QEMU's own view of a vCPU's registers, beside what was read from memory: a section of the page of `vmctop state --ask-vmm`.
struct VMMView {
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
