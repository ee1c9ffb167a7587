import Glibc
import HostFiles
import KVMHost
import KernelMemory
import Tracefs

/// One source of facts on this host: whether it is there, what it gives, and how to get it.
public struct SourceFinding: Sendable, Hashable, Encodable {
  /// A short stable key, such as `tracefs`.
  public var id: String
  public var isAvailable: Bool
  /// What was found, without a final stop.
  public var state: String
  /// What the source adds, or would add.
  public var adds: String
  /// The command or step that enables it; nil when it is available, or nothing can.
  public var enable: String?

  private enum CodingKeys: String, CodingKey {
    case id
    case isAvailable = "available"
    case state, adds, enable
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(id, forKey: .id)
    try container.encode(isAvailable, forKey: .isAvailable)
    try container.encode(state, forKey: .state)
    try container.encode(adds, forKey: .adds)
    try container.encode(enable, forKey: .enable)
  }
}

/// Which sources this host and these privileges offer. Looks, and changes nothing: no instance is made, no module loaded.
public struct HostSurvey: Sendable {
  /// Whether live tracing can work.
  public enum LiveTracing: String, Sendable, Hashable, Encodable {
    case possible
    /// Permission, a mount or a module is missing.
    case unavailable
    /// The host cannot.
    case unsupported
  }

  public let live: LiveTracing
  public let hostName: String?
  public let kernelRelease: String?
  /// In order of importance.
  public let sources: [SourceFinding]

  public init(roots: HostRoots = HostRoots()) {
    let facts = HostFacts.read(roots: roots)
    hostName = facts.hostName
    kernelRelease = facts.kernelRelease
    var sources: [SourceFinding] = []
    func add(_ id: String, _ isAvailable: Bool, _ state: String, adds: String, enable: String?) {
      sources.append(
        SourceFinding(id: id, isAvailable: isAvailable, state: state, adds: adds, enable: isAvailable ? nil : enable))
    }

    let privileges = Privileges(roots: roots)
    add(
      "privileges", privileges.suffices, privileges.description, adds: "access to tracefs, debugfs and kernel memory",
      enable: "sudo vmctop")

    // Tracing.
    var root: TracefsRoot?
    var traceFailure: TracefsError?
    do { root = try TracefsRoot.find(roots: roots) } catch { traceFailure = error }
    let canMakeInstances = root.map { access("\($0.path)/instances", W_OK) == 0 } ?? false
    let tracefsState =
      root.map { canMakeInstances ? $0.path : "\($0.path) is there, but instances cannot be made in it" }
      ?? traceFailure?.text ?? "not found"
    add(
      "tracefs", canMakeInstances, tracefsState, adds: "every exit as it happens: counts, times, details",
      enable: root == nil ? traceFailure?.hint : "sudo vmctop")

    let kvmEvents = root?.events(ofSystem: "kvm") ?? []
    let wanted = EventSet.standard.wanted(of: kvmEvents)
    let missing = wanted.filter { !kvmEvents.contains($0) }
    let hasExit = root?.hasKVMEvents ?? false
    let loadCommand =
      switch facts.virtualizationFlag {
      case .vmx: "modprobe kvm_intel"
      case .svm: "modprobe kvm_amd"
      case nil: "modprobe kvm"
      }
    let eventsState: String
    if root == nil {
      eventsState = "cannot be told without entering tracefs"
    } else if !hasExit {
      eventsState = "no kvm_exit event: the module kvm is not loaded"
    } else {
      eventsState =
        "\(kvmEvents.count) events" + (missing.isEmpty ? "" : "; this kernel has no \(missing.joined(separator: ", "))")
    }
    add(
      "kvm-events", hasExit, eventsState, adds: "kvm_exit, kvm_entry and the events that name MSR, port, address, leaf",
      enable: root == nil ? "first make tracefs accessible, see above" : loadCommand)

    // KVM.
    let hasKVM = facts.hasModule("kvm")
    add(
      "kvm", hasKVM && facts.backend != nil,
      hasKVM ? "kvm with \(facts.backend ?? "no backend (kvm_intel or kvm_amd)")" : "the module kvm is not loaded",
      adds: "guests to watch", enable: loadCommand)
    let flag = facts.virtualizationFlag
    add(
      "vmx-svm", flag != nil,
      flag.map { "the CPU has \($0.rawValue)" }
        ?? (facts.backend == "kvm_pvm"
          ? "neither vmx nor svm; guests run without them (kvm_pvm), exits have no VMCS control to charge"
          : "neither vmx nor svm in /proc/cpuinfo"),
      adds: "exits that a VMCS control or a VMCB intercept causes",
      enable: "switch on VT-x or AMD-V in the firmware; inside a VM, nested virtualization on its host")
    let vms = VMInventory(roots: roots).scan()
    let vcpus = vms.reduce(0) { $0 + $1.vcpus.count + $1.vcpusWithoutThread.count }
    let shown = vms.prefix(8).map { vm in vm.name.map { "\($0) (\(vm.pid))" } ?? "pid \(vm.pid)" }
    add(
      "vms", !vms.isEmpty,
      vms.isEmpty
        ? privileges.suffices ? "no VM runs now" : "none seen; other users' processes are hidden from us"
        : "\(vms.count) VM\(vms.count == 1 ? "" : "s"), \(vcpus) vCPU\(vcpus == 1 ? "" : "s"): "
          + shown.joined(separator: ", ") + (vms.count > shown.count ? " ..." : ""),
      adds: "names of VMs and vCPUs beside their exits", enable: privileges.suffices ? "start a guest" : "sudo vmctop")
    // Only looked for: nothing is asked. Whose processes are hidden may have a QEMU all the same.
    let discovery = QMPDiscovery(roots: roots)
    let sockets = vms.filter { $0.vmm == "qemu" }.map { vm in
      (vm: vm.name.map { "\($0) (\(vm.pid))" } ?? "pid \(vm.pid)", finding: discovery.finding(pid: vm.pid))
    }
    let socketTexts = sockets.map { "\($0.vm): \($0.finding.text)" }
    add(
      "qmp", !sockets.isEmpty && sockets.allSatisfy(\.finding.isFound),
      sockets.isEmpty
        ? privileges.suffices ? "no QEMU runs now" : "none seen; other users' processes are hidden from us"
        : socketTexts.prefix(8).joined(separator: "; ") + (socketTexts.count > 8 ? " ..." : ""),
      adds: "QEMU's own view of the registers, when asked for (vmctop state --ask-vmm)",
      enable: !sockets.isEmpty ? QMPDiscovery.remedy : privileges.suffices ? "start a guest" : "sudo vmctop")

    // debugfs.
    let debugfsFailure = folderFailure(roots.debugfs)
    let debugfsNames = debugfsFailure == nil ? (try? HostFile.names(roots.debugfs)) ?? [] : []
    let hasDebugfs = !debugfsNames.isEmpty
    add(
      "debugfs", hasDebugfs, hasDebugfs ? roots.debugfs : debugfsFailure.map { "\($0)" } ?? "not mounted",
      adds: "which VMs and vCPUs there are, and their threads",
      enable: debugfsFailure?.isPermission == true ? "sudo vmctop" : "mount -t debugfs debugfs /sys/kernel/debug")
    let exits = "\(roots.debugfs)/kvm/exits"
    let exitsFailure = HostFile.readFailure(exits)
    // Lockdown closes the files of debugfs that can be written, even to root: debugfs_locked_down() in fs/debugfs/file.c.
    let isLocked = hasDebugfs && exitsFailure?.isPermission == true && privileges.suffices
    add(
      "kvm-stats", exitsFailure == nil,
      exitsFailure.map { isLocked ? "\($0), even for root: the kernel is locked down" : "\($0)" }
        ?? "\(roots.debugfs)/kvm, \(HostFile.line(exits) ?? "?") exits so far",
      adds: "KVM's own counters, a check on lost events",
      enable: !hasDebugfs
        ? "first make debugfs accessible, see above" : isLocked ? "boot without lockdown" : loadCommand)

    // What the CPU and the module allow.
    let msr = "\(roots.dev)/cpu/0/msr"
    let msrFailure = HostFile.readFailure(msr)
    add(
      "msr", msrFailure == nil, msrFailure.map { "\($0)" } ?? msr,
      adds: "the IA32_VMX_* capability MSRs: what each control may be",
      enable: msrFailure?.isPermission == true ? "sudo vmctop" : "modprobe msr")
    let parameters = [facts.backend, "kvm"].compactMap { $0 }.map { ($0, facts.parameters($0).count) }
    let hasParameters = facts.backend.map { !facts.parameters($0).isEmpty } ?? false
    add(
      "module-parameters", hasParameters,
      parameters.map { "\($0.0) \($0.1)" }.joined(separator: ", "),
      adds: "which features KVM uses; current values beside the advice",
      enable: loadCommand)

    // Kernel memory.
    let memory = KernelMemoryProbe(roots: roots, backend: facts.backend ?? "kvm_intel")
    add(
      "kcore", memory.kcore.isAvailable, memory.kcore.reason ?? "\(roots.proc)/kcore",
      adds: "control words in force, of each vCPU",
      enable: HostFile.exists("\(roots.proc)/kcore") ? "sudo vmctop" : "boot a kernel with CONFIG_PROC_KCORE")
    add(
      "kallsyms", memory.symbolAddresses.isAvailable && memory.dataSymbols.isAvailable,
      memory.symbolAddresses.reason ?? memory.dataSymbols.reason
        ?? "\(roots.proc)/kallsyms, with addresses and data symbols",
      adds: "where KVM's structures are",
      enable: memory.symbolAddresses.isAvailable
        ? "boot a kernel with CONFIG_KALLSYMS_ALL" : "sudo sysctl kernel.kptr_restrict=1, then sudo vmctop")
    let absent = memory.typeInformation.filter { !$0.value.isAvailable }.sorted { $0.key < $1.key }
    add(
      "btf", absent.isEmpty,
      absent.isEmpty
        ? "\(roots.sys)/kernel/btf: \(memory.typeInformation.keys.sorted().joined(separator: ", "))"
        : absent.compactMap { $0.value.reason }.joined(separator: "; "),
      adds: "how KVM's structures are laid out",
      enable: absent.allSatisfy { $0.value.isModuleToLoad }
        ? loadCommand : "boot a kernel with CONFIG_DEBUG_INFO_BTF and CONFIG_DEBUG_INFO_BTF_MODULES")
    let security = "\(roots.sys)/kernel/security"
    let isSecurityMounted = (try? HostFile.names(security))?.isEmpty == false
    // Without the file there is no lockdown, or no way to see it.
    let isLockdownKnown = memory.lockdown != nil || isSecurityMounted
    add(
      "lockdown", isLockdownKnown && memory.lockdown != "confidentiality",
      memory.lockdown.map { "mode \($0)" }
        ?? (isSecurityMounted
          ? "this kernel has none"
          : "mode unknown: securityfs is not mounted" + (isLocked ? "; debugfs says it is on" : "")),
      adds: "whether kernel memory may be read (not in mode confidentiality)",
      enable: isLockdownKnown ? "boot without lockdown=confidentiality" : "mount -t securityfs securityfs \(security)")
    let paranoid = HostFile.line("\(roots.proc)/sys/kernel/perf_event_paranoid").flatMap { Int($0) }
    add(
      "perf", paranoid != nil && (privileges.suffices || paranoid ?? 3 <= -1),
      paranoid.map { "kernel.perf_event_paranoid is \($0)" + (privileges.suffices ? ", no limit for us" : "") }
        ?? "this kernel has no perf events",
      adds: "the same events through perf, where tracefs is closed to us", enable: "sudo vmctop")

    self.sources = sources
    if canMakeInstances, hasExit {
      live = .possible
    } else if root == nil, traceFailure?.code == .noTracing {
      live = .unsupported
    } else if canMakeInstances, !hasKVM, flag == nil {
      live = .unsupported
    } else {
      live = .unavailable
    }
  }
}

private func folderFailure(_ path: String) -> FileError? {
  guard let folder = opendir(path) else { return FileError(operation: "open", path: path, number: errno) }
  closedir(folder)
  return nil
}

/// What this process may do.
struct Privileges: CustomStringConvertible {
  var isRoot: Bool
  /// The effective capabilities that matter here and that we have, by name.
  var capabilities: [String]

  /// Bit numbers of include/uapi/linux/capability.h.
  static let relevant: [(name: String, bit: UInt64)] = [
    ("CAP_DAC_OVERRIDE", 1), ("CAP_DAC_READ_SEARCH", 2), ("CAP_SYS_RAWIO", 17), ("CAP_SYS_PTRACE", 19),
    ("CAP_SYS_ADMIN", 21),
    ("CAP_SYSLOG", 34), ("CAP_PERFMON", 38), ("CAP_BPF", 39),
  ]

  init(roots: HostRoots) {
    var effective: UInt64 = 0
    var user: Substring = "?"
    for line in (HostFile.line("\(roots.proc)/self/status") ?? "").split(separator: "\n") {
      let words = line.split(whereSeparator: { $0 == "\t" || $0 == " " })
      if words.first == "CapEff:", words.count > 1 { effective = UInt64(words[1], radix: 16) ?? 0 }
      // Real, effective, saved, file system.
      if words.first == "Uid:", words.count > 2 { user = words[2] }
    }
    isRoot = user == "0"
    capabilities = Privileges.relevant.filter { effective >> $0.bit & 1 == 1 }.map(\.name)
  }

  /// Files of root can be read and written.
  var suffices: Bool { isRoot || capabilities.contains("CAP_DAC_OVERRIDE") }

  var description: String {
    let missing = Privileges.relevant.map(\.name).filter { !capabilities.contains($0) }
    if missing.isEmpty { return isRoot ? "root" : "all capabilities needed" }
    if isRoot { return "root, without \(missing.joined(separator: ", "))" }
    return capabilities.isEmpty ? "not root, no capabilities" : "not root, with \(capabilities.joined(separator: ", "))"
  }
}
