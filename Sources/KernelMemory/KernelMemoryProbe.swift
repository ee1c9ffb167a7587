import Glibc
import HostFiles

/// Which prerequisites for reading KVM's own structures this host and these privileges offer: /proc/kcore, symbol
/// addresses, type information, and no lockdown in the way. Nothing is read but what tells that.
public struct KernelMemoryProbe: Sendable, Hashable {
  /// One prerequisite.
  public enum Finding: Sendable, Hashable {
    case available
    /// Why not, in words without a final stop.
    case missing(String)
    /// The module of this name is not loaded.
    case notLoaded(String)

    public var isAvailable: Bool { self == .available }
    /// Nil when available.
    public var reason: String? {
      switch self {
      case .available: nil
      case .missing(let reason): reason
      case .notLoaded(let module): "\(module) is not loaded"
      }
    }
    /// To load a module is all that is missing.
    public var isModuleToLoad: Bool { if case .notLoaded = self { true } else { false } }
  }

  /// `/proc/kcore` opens and starts with an ELF header.
  public var kcore: Finding
  /// `/proc/kallsyms` shows addresses that are not zero.
  public var symbolAddresses: Finding
  /// KVM's data symbols, such as `vm_list`, are among them (CONFIG_KALLSYMS_ALL).
  public var dataSymbols: Finding
  /// `/sys/kernel/btf/NAME` for `vmlinux`, `kvm` and the backend's module; a built-in kvm is in vmlinux.
  public var typeInformation: [String: Finding]
  /// `none`, `integrity` or `confidentiality`; nil where the kernel has no lockdown.
  public var lockdown: String?

  /// - Parameter backend: the module beside kvm whose types count, such as `kvm_intel`.
  public init(roots: HostRoots = HostRoots(), backend: String = "kvm_intel") {
    lockdown = KernelMemoryProbe.lockdownMode(roots)
    kcore = KernelMemoryProbe.probeKcore("\(roots.proc)/kcore", lockdown: lockdown)
    (symbolAddresses, dataSymbols) = KernelMemoryProbe.probeSymbols("\(roots.proc)/kallsyms")
    var types: [String: Finding] = [:]
    for name in ["vmlinux", "kvm", backend] {
      types[name] = KernelMemoryProbe.probeTypes(name, roots: roots)
    }
    typeInformation = types
  }

  private static func lockdownMode(_ roots: HostRoots) -> String? {
    guard let line = HostFile.line("\(roots.sys)/kernel/security/lockdown"), let open = line.firstIndex(of: "["),
      let close = line[open...].firstIndex(of: "]")
    else { return nil }
    return String(line[line.index(after: open)..<close])
  }

  private static func probeKcore(_ path: String, lockdown: String?) -> Finding {
    do {
      // ELF magic, 64-bit, little-endian, and type ET_CORE at offset 16.
      let header = try HostFile.bytes(path, limit: 64)
      guard header.count == 64, header.starts(with: [0x7F, 0x45, 0x4C, 0x46, 2, 1]), header[16] == 4, header[17] == 0
      else {
        return .missing("\(path) has no 64-bit ELF core header")
      }
      return .available
    } catch {
      if error.number == ENOENT {
        return .missing("\(path) does not exist: the kernel was built without CONFIG_PROC_KCORE")
      }
      if error.isPermission, lockdown == "confidentiality" { return .missing("lockdown is confidentiality") }
      if error.isPermission { return .missing("\(error): needs root with CAP_SYS_RAWIO") }
      return .missing("\(error)")
    }
  }

  /// Only as much of kallsyms is read as tells: the first symbols, then those of the module kvm near the end.
  private static func probeSymbols(_ path: String) -> (addresses: Finding, data: Finding) {
    var scanner = SymbolScanner()
    do {
      try HostFile.scan(path) { piece in
        for byte in piece { scanner.take(byte) }
        return !scanner.isDecided
      }
    } catch {
      return (.missing("\(error)"), .missing("\(error)"))
    }
    if scanner.lines == 0 { return (.missing("\(path) is empty"), .missing("\(path) is empty")) }
    let addresses: Finding =
      scanner.hasAddresses
      ? .available : .missing("addresses are hidden: needs CAP_SYSLOG, and kernel.kptr_restrict below 2")
    let data: Finding =
      scanner.hasVMList ? .available : .missing("no symbol vm_list: kvm is not loaded, or no CONFIG_KALLSYMS_ALL")
    return (addresses, data)
  }

  /// Reads `ffffffff81000000 T name [module]` byte by byte.
  private struct SymbolScanner {
    private(set) var lines = 0
    private(set) var hasAddresses = false
    private(set) var hasVMList = false
    private var field = 0
    private var name: [UInt8] = []
    private static let wanted = Array("vm_list".utf8)

    /// Either all is found, or enough lines show no address at all.
    var isDecided: Bool { hasAddresses ? hasVMList : lines > 1000 }

    mutating func take(_ byte: UInt8) {
      switch byte {
      case UInt8(ascii: "\n"):
        finish()
        lines &+= 1
        field = 0
      case UInt8(ascii: " "), UInt8(ascii: "\t"):
        if field == 2 { finish() }
        field &+= 1
      default:
        if field == 0, byte != UInt8(ascii: "0") { hasAddresses = true }
        if field == 2, name.count < 16 { name.append(byte) }
      }
    }

    private mutating func finish() {
      if name == SymbolScanner.wanted { hasVMList = true }
      name.removeAll(keepingCapacity: true)
    }
  }

  private static func probeTypes(_ name: String, roots: HostRoots) -> Finding {
    let path = "\(roots.sys)/kernel/btf/\(name)"
    guard let failure = HostFile.readFailure(path) else { return .available }
    if !failure.isAbsence { return .missing("\(failure)") }
    if name == "vmlinux" { return .missing("the kernel was built without CONFIG_DEBUG_INFO_BTF") }
    // A module that is built in, or not loaded, has no file of its own; a loaded one has `initstate`.
    if !HostFile.exists("\(roots.sys)/module/\(name)") { return .notLoaded(name) }
    if !HostFile.exists("\(roots.sys)/module/\(name)/initstate") {
      return HostFile.exists("\(roots.sys)/kernel/btf/vmlinux")
        ? .available : .missing("\(name) is built in, and vmlinux has no type information")
    }
    return .missing("the kernel was built without CONFIG_DEBUG_INFO_BTF_MODULES")
  }
}
