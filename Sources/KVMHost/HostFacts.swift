import Glibc
import HostFiles

/// What this host is: its name, kernel and KVM backend; and its module parameters, read on demand. All of it is
/// world-readable.
public struct HostFacts: Sendable {
  public let roots: HostRoots
  /// `/proc/sys/kernel/hostname`, fit for a terminal.
  public var hostName: String?
  /// The kernel release, as `uname -r`.
  public var kernelRelease: String?
  /// The CPU's virtualization; nil where it has none, or hides it (a guest without nesting).
  public var virtualizationFlag: VirtualizationFlag?
  /// The module that runs the guests: `kvm_intel`, `kvm_amd`, `kvm_pvm`, or nil if none is there. A built-in module shows
  /// only if it has parameters, which these have.
  public var backend: String?

  /// A way in which a CPU runs guests, by its flag in /proc/cpuinfo.
  public enum VirtualizationFlag: String, Sendable, Hashable { case vmx, svm }

  /// Reads the facts as they are now.
  public static func read(roots: HostRoots = HostRoots()) -> HostFacts { HostFacts(roots: roots) }

  init(roots: HostRoots) {
    self.roots = roots
    hostName = HostFile.line("\(roots.proc)/sys/kernel/hostname").map { sanitized($0, limit: 64) }
    kernelRelease = HostFile.line("\(roots.proc)/sys/kernel/osrelease").map { sanitized($0, limit: 64) }
    virtualizationFlag = readVirtualizationFlag()
    backend = readBackend()
  }

  private func readVirtualizationFlag() -> VirtualizationFlag? {
    guard let text = try? HostFile.text("\(roots.proc)/cpuinfo", limit: 65536),
      let line = text.split(separator: "\n").first(where: { $0.hasPrefix("flags") })
    else { return nil }
    let flags = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
    return flags.contains("vmx") ? .vmx : flags.contains("svm") ? .svm : nil
  }

  private func readBackend() -> String? {
    let modules = ["kvm_intel", "kvm_amd", "kvm_pvm"].filter { hasModule($0) }
    // Several may be built in: the CPU then decides.
    if modules.count > 1, let flag = virtualizationFlag {
      let fitting = flag == .vmx ? "kvm_intel" : "kvm_amd"
      if modules.contains(fitting) { return fitting }
    }
    return modules.first
  }

  /// True if the module is loaded or built in.
  public func hasModule(_ name: String) -> Bool {
    HostFile.isFolder("\(roots.sys)/module/\(name.replacing("-", with: "_"))")
  }

  /// A module parameter's value now, or nil if there is none of that name or it cannot be read.
  public func parameter(_ module: String, _ name: String) -> String? {
    guard HostFacts.isIdentifier(module), HostFacts.isIdentifier(name) else { return nil }
    return HostFile.line("\(roots.sys)/module/\(module)/parameters/\(name)").map { sanitized($0, limit: 128) }
  }

  /// All parameters of a module, in order of name.
  public func parameters(_ module: String) -> [(name: String, value: String)] {
    guard HostFacts.isIdentifier(module) else { return [] }
    let names = ((try? HostFile.names("\(roots.sys)/module/\(module)/parameters")) ?? []).sorted()
    return names.compactMap { name in parameter(module, name).map { (name, $0) } }
  }

  private static func isIdentifier(_ name: String) -> Bool {
    !name.isEmpty && name.utf8.count <= 64
      && name.utf8.allSatisfy {
        $0 == UInt8(ascii: "_") || (0x30...0x39).contains($0) || (0x41...0x5A).contains($0)
          || (0x61...0x7A).contains($0)
      }
  }
}
