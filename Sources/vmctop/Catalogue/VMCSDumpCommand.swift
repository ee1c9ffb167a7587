import Architecture
import ArgumentParser
import Errors
import Glibc
import HostFiles
import Report
import Wording

/// `vmctop decode vmcs-dump`: the VMCS or VMCB that the kernel printed when an entry failed, and the rules it breaks.
struct VMCSDumpCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "vmcs-dump",
    abstract: "Find out why VM entry failed, from the kernel's log.",
    discussion: """
      Reads the VMCS that kvm_intel, or the VMCB that kvm_amd, prints when it cannot enter a guest \
      ('KVM: entry failed, hardware error 0x80000021'), and names every rule of VM entry that it breaks; then shows \
      each field and what it means. A log may hold several, among anything else. The kernel prints them only with \
      the module parameter kvm_intel.dump_invalid_vmcs=1, or kvm_amd.dump_invalid_vmcb=1.
      """)

  @Argument(help: "The log, as dmesg, journalctl or a serial console has it; '-' or none: standard input.")
  var file: String = "-"

  @Flag(help: "List the rules that could not be checked, and what they lack.")
  var unchecked = false

  @Option(help: "text or json.")
  var format = CatalogueFormat.text

  func run() throws {
    let log = try read()
    guard !log.dumps.isEmpty else { throw nothing(log) }
    switch format {
    case .json:
      let document: JSONValue = [
        "schema": "vmctop/vmcs-dump/1", "dumps": .array(log.dumps.map { json($0, VMEntryCheck($0)) }),
      ]
      Output.standard.write(try jsonLines([document]))
    case .text:
      for (index, dump) in log.dumps.enumerated() {
        if index > 0 { Output.standard.write("\n") }
        Output.standard.write(VMCSDumpPage.text(dump, check: VMEntryCheck(dump), listsUnchecked: unchecked))
      }
    }
  }

  // MARK: Reading

  private var source: String { file == "-" ? "standard input" : printable(file) }

  private func read() throws(Failure) -> DumpLog {
    var descriptor = STDIN_FILENO
    if file != "-" {
      descriptor = open(file, O_RDONLY | O_CLOEXEC)
      guard descriptor >= 0 else { throw Failure(.unavailable, "cannot open \(source): \(errorText(errno))") }
    }
    defer { if file != "-" { close(descriptor) } }
    var parser = VMCSDumpParser()
    var error: Int32 = 0
    withUnsafeTemporaryAllocation(byteCount: 1 << 16, alignment: 16) { buffer in
      while true {
        let count = retrying { Glibc.read(descriptor, buffer.baseAddress, buffer.count) }
        if count > 0 {
          parser.feed(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        } else {
          if count < 0 { error = errno }
          return
        }
      }
    }
    if error != 0 { throw Failure(.unavailable, "cannot read \(source): \(errorText(error))") }
    return parser.finish()
  }

  private func nothing(_ log: DumpLog) -> Failure {
    var message = "no VMCS or VMCB dump in \(source)"
    if let remark = log.remarks.first(where: { $0.kind == .suppressed }) {
      message += ", though KVM had one to print (line \(remark.line))"
    } else if let remark = log.remarks.first {
      message += "; line \(remark.line): \(VMCSDumpPage.words(remark))"
    }
    return Failure(
      .unavailable, message,
      hint:
        "load KVM with kvm_intel.dump_invalid_vmcs=1 (AMD: kvm_amd.dump_invalid_vmcb=1) and make the entry fail again")
  }

  // MARK: JSON

  private func json(_ dump: VMCSDump, _ check: VMEntryCheck) -> JSONValue {
    [
      "kind": .text(dump.kind.rawValue),
      "cpu": JSONValue(dump.cpu),
      "vcpu": JSONValue(dump.vcpu),
      "guest_type": JSONValue(dump.guestType),
      "line": JSONValue(dump.line),
      "last_line": JSONValue(dump.lastLine),
      "exit_reason": JSONValue(dump.exit?.reason.summary),
      "exit_qualification": JSONValue(dump.exit?.qualification?.summary),
      "fields": .array(dump.fields.map { json($0, in: dump) }),
      "msr_lists": .array(
        dump.msrLists.map { list in
          [
            "name": .text(list.name), "line": JSONValue(list.line),
            "entries": .array(
              list.entries.map {
                [
                  "index": JSONValue($0.index), "msr": .text(hex($0.msr)), "value": .text(hex($0.value)),
                  "line": JSONValue($0.line),
                ]
              }),
          ]
        }),
      "damaged_lines": .array(dump.damagedLines.map { JSONValue($0) }),
      "remarks": .array(
        dump.remarks.map { ["line": JSONValue($0.line), "text": .text(VMCSDumpPage.words($0))] }),
      "broken": .array(
        check.broken.map { rule in
          [
            "rule": .text(rule.id), "section": .text(rule.section.rawValue), "text": .text(rule.statement),
            "consequence": .text(rule.section.consequence),
            "fields": .array(rule.fields.compactMap(dump.field).map { json($0, in: dump) }),
          ]
        }),
      "checked": JSONValue(check.checked),
      "unchecked": .array(
        check.unchecked.map { ["rule": .text($0.rule.id), "missing": .text($0.missing)] }),
    ]
  }

  private func json(_ field: VMCSDump.Field, in dump: VMCSDump) -> JSONValue {
    [
      "name": .text(field.id.name),
      "encoding": JSONValue(field.id.encoding.map { hex($0.rawValue, digits: 4) }),
      "value": .text(VMCSDump.hexadecimal(field)),
      "meaning": JSONValue(dump.meaning(of: field)),
      "line": JSONValue(field.line),
    ]
  }
}
