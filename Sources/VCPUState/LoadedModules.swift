import HostFiles

/// Which of KVM's modules are loaded, and which loading of each that is. Where two looks are equal, no module came or went
/// between them: addresses and types found in between hold, and so do values that were read by them.
///
/// When a module goes, it is no longer `live` before any of its memory is given back (`delete_module` in
/// kernel/module/main.c), so that what is read before a look that finds it so was read from its memory.
public struct LoadedModules: Sendable, Hashable {
  private struct Module: Sendable, Hashable {
    var name: String
    /// Of its folder in sysfs: kernfs gives the next number to each folder that it makes (`kernfs_new_node` in fs/kernfs/dir.c).
    var folder: UInt64
    /// `live`, `coming` or `going`; nil for a module that is built in.
    var state: String?
    /// Where its code is; nil where the kernel does not tell.
    var text: String?
  }

  private static let names = ["kvm", VMXReader.module, SVMReader.module]
  private let modules: [Module]

  /// Looks: a few small files, or none where no module is loaded.
  public init(roots: HostRoots = HostRoots()) {
    modules = Self.names.compactMap { name in
      let folder = "\(roots.sys)/module/\(name)"
      guard let inode = HostFile.inode(folder) else { return nil }
      return Module(
        name: name, folder: inode, state: HostFile.line("\(folder)/initstate"),
        text: HostFile.line("\(folder)/sections/.text"))
    }
  }

  /// None of them is just coming or going.
  public var isSettled: Bool { modules.allSatisfy { $0.state == nil || $0.state == "live" } }
}
