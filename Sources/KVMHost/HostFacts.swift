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

  /// The module parameters that a text about knobs names, with their values now. A parameter is named as
  /// `kvm_intel.ple_gap=0` or `kvm.halt_poll_ns`; once one of a module was named, its neighbours may stand alone:
  /// `ple_window_grow`, and `ple_window_grow/shrink` for two that share their beginning. Names without a module are
  /// tried with the backend, then with kvm, and left out if neither has them. Each appears once, in order of the text.
  public func currentValues(ofKnobs text: String) -> [(name: String, current: String?)] {
    var result: [(name: String, current: String?)] = []
    var known: Set<String> = []
    func add(_ name: String, _ current: String?) {
      if known.insert(name).inserted { result.append((name, current)) }
    }
    let words = text.split { !($0.isLetter || $0.isNumber || "_.=/-".contains($0)) }
    for word in words {
      if word.hasPrefix("-") { continue }
      let name = word.prefix { $0 != "=" }
      let parts = name.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
      let isModule = parts.count >= 2 && (parts[0] == "kvm" || parts[0].hasPrefix("kvm_"))
      if isModule, HostFacts.isIdentifier(parts[0]), HostFacts.isIdentifier(parts[1]) {
        add("\(parts[0]).\(parts[1])", parameter(parts[0], parts[1]))
        continue
      }
      // A full stop may end a sentence.
      guard parts.count == 1 || parts.count == 2 && parts[1].isEmpty else { continue }
      let alternatives = parts[0].split(separator: "/").map(String.init)
      guard let first = alternatives.first, first.contains("_") || first == "ept" || first == "pml" || first == "nested"
      else {
        continue
      }
      for (index, alternative) in alternatives.enumerated() {
        var full = alternative
        if index > 0, let end = first.lastIndex(of: "_"), !alternative.contains("_") {
          full = first[...end] + alternative
        }
        guard HostFacts.isIdentifier(full) else { continue }
        for module in ([backend].compactMap { $0 } + ["kvm"]) {
          if let current = parameter(module, full) {
            add("\(module).\(full)", current)
            break
          }
        }
      }
    }
    return result
  }

  private static func isIdentifier(_ name: String) -> Bool {
    !name.isEmpty && name.utf8.count <= 64
      && name.utf8.allSatisfy {
        $0 == UInt8(ascii: "_") || (0x30...0x39).contains($0) || (0x41...0x5A).contains($0)
          || (0x61...0x7A).contains($0)
      }
  }
}
