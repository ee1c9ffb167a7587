import Aggregator
import Architecture
import ArgumentParser
import Glibc
import KVMHost
import KernelMemory
import Report
import VCPUState

/// `vmctop state`: what is in the VMCS or VMCB of every vCPU now, each value with where it is from.
struct StateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "state",
    abstract: "Print what is in the VMCS or VMCB of every vCPU now, each value with where it is from.",
    discussion: """
      Reads KVM's own structures through /proc/kcore, once, without stopping or disturbing the guests. Values are marked \
      m measured, c configured, d derived, s stale (KVM has not re-read the register since the guest ran, or the guest runs); \
      fields that only VMREAD could tell are listed as unavailable, with the reason. Needs root, kallsyms with addresses and BTF.
      """)

  @Option(
    name: [.customShort("p"), .customLong("pid")],
    help: ArgumentHelp("Only the VMs of these processes.", valueName: "pid,..."))
  var pids: NumberList?

  @Option(name: .customLong("vcpu"), help: ArgumentHelp("Only the vCPUs of these numbers.", valueName: "n,..."))
  var vcpus: NumberList?

  @Option(help: ArgumentHelp("Only the fields whose name, encoding or VMCB offset matches.", valueName: "regex"))
  var field: String?

  @Flag(
    name: .customLong("ask-vmm"),
    help: "Ask QEMU too, by QMP, and compare. Disturbs: each vCPU shown is kicked out of guest mode once.")
  var asksVMM = false

  @Option(help: ArgumentHelp("Text for people, or one JSON object.", valueName: "text|json"))
  var format = CatalogueFormat.text

  func run() throws {
    let pattern = try field.map { text throws(Failure) in
      guard let pattern = Pattern(text) else {
        throw Failure(.usage, "--field: \(quoted(text)) is not a regular expression")
      }
      return pattern
    }
    let reader = try openStateReader()
    let readings = reader.vcpus().filter { vcpu in
      pids.map { $0.numbers.contains(UInt32(bitPattern: vcpu.pid)) } ?? true
        && vcpus.map { $0.numbers.contains(vcpu.vcpuID) } ?? true
    }
    if readings.isEmpty, pids != nil || vcpus != nil {
      throw Failure(.unsupported, "no vCPU matched -p or --vcpu", hint: "vmctop state lists all there are")
    }
    let vms = VMInventory().scan()
    var answers: [VMMReading]?
    if asksVMM {
      complain(VMMView.warning)
      answers = VMMView.ask(readings, vms: vms)
      for failure in Set(answers?.compactMap(\.failure) ?? []).sorted() { complain("the VMM's view: \(failure)") }
    }
    let page = StatePage(
      configuration: reader.hostControls().configuration, vcpus: readings, vmm: answers, names: Self.names(vms),
      pattern: pattern, now: StateReader.now())
    Output.standard.write(format == .json ? try jsonLines([page.json]) : page.text)
    try Output.standard.flush()
  }

  /// Names of VMs by thread and by process.
  private static func names(_ vms: [HostVM]) -> [Int32: String] {
    var result: [Int32: String] = [:]
    for vm in vms {
      guard let name = vm.name ?? vm.vmm else { continue }
      result[vm.pid] = name
      for vcpu in vm.vcpus { result[vcpu.tid] = name }
    }
    return result
  }
}

/// - Throws: `Failure` with status 4 where KVM's guests have no structures to read here, 3 where a source or a permission is
///   missing.
func openStateReader() throws(Failure) -> StateReader {
  do {
    return try StateReader()
  } catch {
    throw Failure(error)
  }
}
