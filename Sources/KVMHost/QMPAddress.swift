import Errors
import Glibc
import HostFiles

/// Where a QEMU process listens for QMP, and why it cannot be reached where it cannot.
struct QMPAddress: Sendable, Hashable {
  enum Place: Sendable, Hashable {
    /// A path as the process sees it: absolute, or from its working folder.
    case path(String)
    /// A listening socket that it was given by whoever started it, libvirt for instance.
    case descriptor(Int32)
    /// A port of the loopback interface, over IPv6 where `isIPv6`.
    case loopback(port: UInt16, isIPv6: Bool)
    /// Nothing that vmctop connects to, and why.
    case unusable(String)
  }

  var place: Place
  /// The id of the character device; nil for `-qmp`.
  var device: String?

  /// The monitors of a QEMU command line in control mode, in the order in which they are tried: libvirt's own last, which
  /// is taken nearly always.
  static func all(in arguments: [String]) -> [QMPAddress] {
    var devices: [String: Place] = [:]
    var monitors: [String] = []
    var result: [QMPAddress] = []
    var index = 0
    // QEMU takes the argument after these options as their value, whatever it looks like.
    while index + 1 < arguments.count, result.count + monitors.count < 64 {
      let name = arguments[index].hasPrefix("--") ? String(arguments[index].dropFirst()) : arguments[index]
      let value = arguments[index + 1]
      index += 1
      switch name {
      case "-chardev":
        if let (id, place) = device(value), devices.count < 256 { devices[id] = place }
      case "-mon":
        let parts = VMMCommandLine.commaParts(value)
        guard parts.contains("mode=control"), let id = option("chardev", in: parts, isFirst: true) else { continue }
        monitors.append(id)
      case "-qmp", "-qmp-pretty":
        if value.hasPrefix("chardev:") {
          monitors.append(String(value.dropFirst(8)))
        } else {
          result.append(QMPAddress(place: place(value)))
        }
      default: continue
      }
      index += 1
    }
    for id in monitors {
      result.append(
        QMPAddress(
          place: devices[id] ?? .unusable("the command line has no socket of the name \(quoted(id))"), device: id))
    }
    let (usable, unusable) = (result.filter { !$0.isUnusable }, result.filter(\.isUnusable))
    return usable.filter { !$0.isLibvirts } + usable.filter(\.isLibvirts) + unusable
  }

  /// libvirt's name for its own monitor (`qemuBuildMonitorCommandLine`).
  var isLibvirts: Bool { device == "charmonitor" }

  private var isUnusable: Bool { if case .unusable = place { true } else { false } }

  // MARK: Options

  /// `-chardev socket,id=...`.
  private static func device(_ value: String) -> (id: String, place: Place)? {
    let parts = VMMCommandLine.commaParts(value)
    guard let id = option("id", in: parts) else { return nil }
    guard option("backend", in: parts, isFirst: true) == "socket" else {
      return (id, .unusable("the monitor \(quoted(id)) is no socket"))
    }
    if let text = option("fd", in: parts) {
      guard let descriptor = Int32(text), descriptor >= 0 else {
        return (
          id, .unusable("the monitor \(quoted(id)) was passed as \(quoted(text)), which is no descriptor's number")
        )
      }
      return (id, isServer(parts) ? .descriptor(descriptor) : client)
    }
    if let path = option("path", in: parts) { return (id, unix(path, parts)) }
    return (id, tcp(host: option("host", in: parts) ?? "", port: option("port", in: parts) ?? "", parts))
  }

  /// The older syntax, `unix:PATH,...` or `tcp:HOST:PORT,...` (`qemu_chr_parse_compat`).
  private static func place(_ value: String) -> Place {
    let isUnix = value.hasPrefix("unix:")
    guard isUnix || value.hasPrefix("tcp:") else {
      return .unusable("its monitor is \(quoted(value)), not a socket")
    }
    let parts = VMMCommandLine.commaParts(String(value.dropFirst(isUnix ? 5 : 4)))
    guard let first = parts.first else { return .unusable("its monitor has no address") }
    if isUnix { return unix(option("path", in: parts, isFirst: true) ?? first, parts) }
    guard let colon = first.lastIndex(of: ":") else { return .unusable("its monitor has no port") }
    return tcp(host: String(first[..<colon]), port: String(first[first.index(after: colon)...]), parts)
  }

  private static let client = Place.unusable("its monitor connects to somebody instead of listening")

  private static func unix(_ path: String, _ parts: [String]) -> Place {
    guard !path.isEmpty, !path.utf8.contains(0) else { return .unusable("its monitor has no path") }
    if isOn("abstract", parts) { return .unusable("its monitor is an abstract socket, which vmctop does not use") }
    return isServer(parts) ? .path(path) : client
  }

  private static func tcp(host: String, port: String, _ parts: [String]) -> Place {
    guard let number = UInt16(port), number > 0 else { return .unusable("its monitor has no address") }
    guard isServer(parts) else { return client }
    switch host {
    case "127.0.0.1", "localhost": return .loopback(port: number, isIPv6: false)
    case "::1", "[::1]": return .loopback(port: number, isIPv6: true)
    default:
      return .unusable("its monitor listens on the network (\(quoted(host))), and vmctop connects to loopback only")
    }
  }

  private static func isServer(_ parts: [String]) -> Bool { isOn("server", parts) }

  private static func isOn(_ key: String, _ parts: [String]) -> Bool {
    parts.contains { $0 == key } || ["on", "yes", "true", "y"].contains(option(key, in: parts))
  }

  /// - Parameter isFirst: the key may be left out in the first place.
  private static func option(_ key: String, in parts: [String], isFirst: Bool = false) -> String? {
    if let part = parts.last(where: { $0.hasPrefix(key + "=") }) { return String(part.dropFirst(key.count + 1)) }
    guard isFirst, let first = parts.first, !first.isEmpty, !first.contains("=") else { return nil }
    return first
  }

  static func quoted(_ text: String) -> String { "'\(sanitized(text, limit: 100))'" }
}

/// A socket that can be connected to from here.
enum QMPSocket: Sendable, Hashable {
  /// `folder` opens the folder of the socket from here, across mount namespaces; `shown` is for people.
  case unix(folder: String, name: String, shown: String)
  case loopback(port: UInt16, isIPv6: Bool)

  var shown: String {
    switch self {
    case .unix(_, _, let shown): sanitized(shown, limit: 200)
    case .loopback(let port, let isIPv6): isIPv6 ? "[::1]:\(port)" : "127.0.0.1:\(port)"
    }
  }
}

/// Finds the QMP sockets of QEMU processes.
public struct QMPDiscovery: Sendable {
  public let roots: HostRoots

  public init(roots: HostRoots = HostRoots()) { self.roots = roots }

  /// What gives a QEMU a socket for vmctop.
  public static let remedy = "start QEMU with -qmp unix:/path,server=on,wait=off"

  /// A sentence on the process: where it would be asked, or why it cannot be.
  public func finding(pid: Int32) -> (isFound: Bool, text: String) {
    switch sockets(pid: pid) {
    case .success(let sockets):
      (
        true,
        sockets.first.map { $0.socket.shown + ($0.isLibvirts ? " (libvirt's own, which takes one client)" : "") } ?? ""
      )
    case .failure(let failure): (false, failure.message)
    }
  }

  /// The sockets to try, in order; at least one on success.
  func sockets(pid: Int32) -> Result<[(socket: QMPSocket, isLibvirts: Bool)], QMPFailure> {
    let process = "\(roots.proc)/\(pid)"
    let bytes: [UInt8]
    do {
      bytes = try HostFile.bytes("\(process)/cmdline", limit: 1 << 20)
    } catch {
      return .failure(QMPFailure(error.isAbsence ? "process \(pid) is gone" : "\(error)"))
    }
    let vmm = VMMCommandLine(bytes).vmm
    guard vmm == "qemu" else {
      return .failure(
        QMPFailure(
          "\(vmm ?? "a VMM without a command line") cannot be asked: only QEMU tells registers, by QMP",
          isOtherVMM: true))
    }
    let addresses = QMPAddress.all(in: VMMCommandLine.arguments(bytes))
    var why = "QEMU has no QMP socket"
    var result: [(socket: QMPSocket, isLibvirts: Bool)] = []
    for address in addresses {
      switch socket(address, pid) {
      case .success(let socket): result.append((socket, address.isLibvirts))
      case .failure(let failure): why = failure.message
      }
    }
    return result.isEmpty ? .failure(QMPFailure(why)) : .success(result)
  }

  private func socket(_ address: QMPAddress, _ pid: Int32) -> Result<QMPSocket, QMPFailure> {
    switch address.place {
    case .unusable(let why): .failure(QMPFailure(why))
    case .loopback(let port, let isIPv6):
      sharesNamespace("net", pid)
        ? .success(.loopback(port: port, isIPv6: isIPv6))
        : .failure(QMPFailure("its monitor listens in another network namespace"))
    case .path(let path): unix(path, pid)
    case .descriptor(let descriptor):
      // Whoever made the socket did so in his own mount namespace; on a host that is ours.
      path(ofDescriptor: descriptor, pid).flatMap { path in
        guard path.hasPrefix("/"), roots.isHost, HostFile.exists(path) else { return unix(path, pid) }
        return direct(path)
      }
    }
  }

  private func unix(_ path: String, _ pid: Int32) -> Result<QMPSocket, QMPFailure> {
    let process = "\(roots.proc)/\(pid)"
    let (folder, name) = Self.split(path)
    guard !name.isEmpty, name != ".", name != "..", name.utf8.count < 80 else {
      return .failure(QMPFailure("its monitor has no usable path"))
    }
    if path.hasPrefix("/"), roots.isHost, sharesNamespace("mnt", pid), HostFile.link("\(process)/root") ?? "/" == "/" {
      return direct(path)
    }
    return .success(
      .unix(
        folder: path.hasPrefix("/") ? "\(process)/root\(folder)" : "\(process)/cwd/\(folder)", name: name, shown: path))
  }

  private func direct(_ path: String) -> Result<QMPSocket, QMPFailure> {
    let (folder, name) = Self.split(path)
    return .success(.unix(folder: folder, name: name, shown: path))
  }

  private static func split(_ path: String) -> (folder: String, name: String) {
    guard let slash = path.lastIndex(of: "/") else { return (".", path) }
    let folder = path[..<slash]
    return (folder.isEmpty ? "/" : String(folder), String(path[path.index(after: slash)...]))
  }

  /// True too where the namespace cannot be read: without privilege there is none but our own.
  private func sharesNamespace(_ name: String, _ pid: Int32) -> Bool {
    guard let own = HostFile.link("\(roots.proc)/self/ns/\(name)"),
      let other = HostFile.link("\(roots.proc)/\(pid)/ns/\(name)")
    else { return roots.isHost }
    return own == other
  }

  /// The path that a listening socket is bound to, by /proc/PID/net/unix (proc(5)):
  /// `Num RefCount Protocol Flags Type St Inode Path`.
  private func path(ofDescriptor descriptor: Int32, _ pid: Int32) -> Result<String, QMPFailure> {
    guard let link = HostFile.link("\(roots.proc)/\(pid)/fd/\(descriptor)") else {
      return .failure(QMPFailure("its monitor's descriptor \(descriptor) cannot be read"))
    }
    guard link.hasPrefix("socket:["), link.hasSuffix("]") else {
      return .failure(QMPFailure("its monitor's descriptor \(descriptor) is no socket"))
    }
    let inode = link.dropFirst(8).dropLast()
    guard let table = try? HostFile.bytes("\(roots.proc)/\(pid)/net/unix", limit: 16 << 20) else {
      return .failure(QMPFailure("/proc/\(pid)/net/unix cannot be read"))
    }
    for line in table.split(separator: 10) {
      let parts = line.split(separator: 32, maxSplits: 7, omittingEmptySubsequences: true)
      guard parts.count >= 7, parts[6].elementsEqual(inode.utf8) else { continue }
      // __SO_ACCEPTCON: it listens.
      guard let flags = UInt32(String(decoding: parts[3], as: UTF8.self), radix: 16), flags & 0x1_0000 != 0 else {
        return .failure(QMPFailure("its monitor's descriptor \(descriptor) does not listen"))
      }
      guard parts.count == 8, let first = parts[7].first, first != UInt8(ascii: "@") else {
        return .failure(QMPFailure("its monitor's descriptor \(descriptor) has no path"))
      }
      return .success(String(decoding: parts[7], as: UTF8.self))
    }
    return .failure(QMPFailure("its monitor's descriptor \(descriptor) is no unix socket of its network namespace"))
  }
}

/// Why a VMM was not asked or gave no answer: fit for a terminal.
struct QMPFailure: CodedError, Hashable {
  var message: String
  /// It is no QEMU: no socket would help.
  var isOtherVMM: Bool

  var kind: ErrorKind { isOtherVMM ? .unsupported : .unavailable }

  init(_ message: String, isOtherVMM: Bool = false) {
    self.message = sanitized(message, limit: 400)
    self.isOtherVMM = isOtherVMM
  }
}
