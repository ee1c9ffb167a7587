import Glibc
import HostFiles

/// The name of a trace instance of ours: `vmctop-PID-START-NAMESPACE-NUMBER`. It tells whether its owner still lives:
/// START is the process's start time in clock ticks since boot (proc_pid_stat(5), field 22), which a reused pid does
/// not share, and NAMESPACE the inode of its pid namespace, since a pid means nothing in another.
public struct InstanceName: Sendable, Hashable, CustomStringConvertible {
  public var pid: Int32
  /// Nil in a name that does not say.
  public var startTime: UInt64?
  public var pidNamespace: UInt64?
  public let description: String

  static let prefix = "vmctop-"

  /// A name for this process; `number` tells several instances of one process apart.
  init(ofThisProcessIn processes: ProcessTable, number: Int) {
    let pid = getpid()
    self.pid = pid
    startTime = processes.startTime(of: pid)
    pidNamespace = processes.ownNamespace
    description = "\(InstanceName.prefix)\(pid)-\(startTime ?? 0)-\(pidNamespace ?? 0)-\(number)"
  }

  /// Reads a name; nil for one that is not ours.
  public init?(_ name: String) {
    guard name.hasPrefix(InstanceName.prefix) else { return nil }
    let parts = name.dropFirst(InstanceName.prefix.count).split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count >= 2, let pid = Int32(parts[0]), pid > 0 else { return nil }
    self.pid = pid
    if parts.count == 4 {
      startTime = UInt64(parts[1]).flatMap { $0 == 0 ? nil : $0 }
      pidNamespace = UInt64(parts[2]).flatMap { $0 == 0 ? nil : $0 }
    }
    description = name
  }
}

/// Which processes live.
public struct ProcessTable: Sendable, Hashable {
  public var roots: HostRoots

  public init(roots: HostRoots = HostRoots()) { self.roots = roots }

  /// The start time in clock ticks since boot, or nil if the process is gone or hidden.
  public func startTime(of pid: Int32) -> UInt64? {
    guard let text = try? HostFile.text("\(roots.proc)/\(pid)/stat", limit: 4096) else { return nil }
    return ProcessTable.startTime(inStat: text)
  }

  /// Field 22 of a stat line. The command in field 2 may hold blanks and parentheses: fields are counted from its end.
  public static func startTime(inStat text: String) -> UInt64? {
    guard let end = text.lastIndex(of: ")") else { return nil }
    let fields = text[text.index(after: end)...].split(separator: " ")
    guard fields.count > 19 else { return nil }
    return UInt64(fields[19])
  }

  /// The inode of our own pid namespace.
  public var ownNamespace: UInt64? {
    guard let link = HostFile.link("\(roots.proc)/self/ns/pid"), link.hasPrefix("pid:["), link.hasSuffix("]") else {
      return nil
    }
    return UInt64(link.dropFirst(5).dropLast())
  }

  enum Life: Hashable { case alive, dead, unknown }

  /// Whether the process that made an instance lives; `unknown` where it cannot be told, which counts as alive.
  func life(ofOwner name: InstanceName) -> Life {
    if let namespace = name.pidNamespace, let own = ownNamespace, namespace != own { return .unknown }
    if let now = startTime(of: name.pid) {
      guard let then = name.startTime else { return .alive }
      return now == then ? .alive : .dead
    }
    if roots.isHost {
      // /proc may hide other users' processes (hidepid): ask the kernel as well.
      guard kill(name.pid, 0) != 0, errno == ESRCH else { return .unknown }
      return .dead
    }
    return HostFile.exists("\(roots.proc)/\(name.pid)") ? .unknown : .dead
  }
}
