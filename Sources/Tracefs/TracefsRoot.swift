import Glibc
import HostFiles

/// A mounted tracefs.
public struct TracefsRoot: Sendable, Hashable {
  /// Its mount point, such as `/sys/kernel/tracing`.
  public let path: String
  /// The file systems around it: /proc for finding out which processes live.
  public let roots: HostRoots

  /// Finds tracefs: where /proc/mounts has it, else `/sys/kernel/tracing`, else `/sys/kernel/debug/tracing` (kernels
  /// before 4.1, and an automount since).
  /// - Throws: `notMounted` where there is none, `noTracing` where there can be none, `noPermission` where it cannot be
  ///   entered.
  public static func find(roots: HostRoots = HostRoots()) throws(TracefsError) -> TracefsRoot {
    var candidates: [String] = []
    if let mounts = try? HostFile.text("\(roots.proc)/mounts") {
      for line in mounts.split(separator: "\n") {
        let words = line.split(separator: " ")
        if words.count >= 3, words[2] == "tracefs" { candidates.append(roots.prefix + unescaped(words[1])) }
      }
    }
    let isMounted = !candidates.isEmpty
    candidates += ["\(roots.sys)/kernel/tracing", "\(roots.debugfs)/tracing"]
    var refused: FileError?
    for candidate in candidates {
      switch HostFile.folderFailure("\(candidate)/instances") ?? HostFile.folderFailure("\(candidate)/events") {
      case nil: return TracefsRoot(path: candidate, roots: roots)
      case let failure?: if failure.isPermission, refused == nil { refused = failure }
      }
    }
    let standard = "\(roots.sys)/kernel/tracing"
    if let refused {
      throw TracefsError(
        .noPermission, path: refused.path, errorNumber: refused.number, message: "tracefs cannot be entered",
        hint: TracefsError.privilegeHint)
    }
    if isMounted || HostFile.isFolder(standard) {
      throw TracefsError(
        .notMounted, path: standard, message: "tracefs is not mounted", hint: TracefsError.mountHint)
    }
    throw TracefsError(
      .noTracing, path: standard, message: "this kernel has no tracefs",
      hint: "a kernel with CONFIG_FTRACE and CONFIG_EVENT_TRACING is needed")
  }

  init(path: String, roots: HostRoots) {
    self.path = path
    self.roots = roots
  }

  /// The names of the events of a system there are now, sorted; empty where the module that has them is not loaded.
  public func events(ofSystem system: String) -> [String] {
    let folder = "\(path)/events/\(system)"
    guard let names = try? HostFile.names(folder) else { return [] }
    return names.filter { HostFile.exists("\(folder)/\($0)/id") }.sorted()
  }

  /// True once KVM's events are there: the module kvm is loaded or built in.
  public var hasKVMEvents: Bool { HostFile.exists("\(path)/events/kvm/kvm_exit/id") }

  /// Octal escapes of /proc/mounts (`\040` is a blank).
  private static func unescaped(_ text: Substring) -> String {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
      let digits = rest.prefix(3)
      if byte == UInt8(ascii: "\\"), digits.count == 3,
        let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 8)
      {
        bytes.append(value)
        rest = rest.dropFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

extension HostFile {
  /// The reason why a folder cannot be listed, or nil if it can.
  static func folderFailure(_ path: String) -> FileError? {
    guard let folder = opendir(path) else { return FileError(operation: "open", path: path, number: errno) }
    closedir(folder)
    return nil
  }
}
