import Errors
import FoundationEssentials
import Glibc
import HostFiles

/// A QMP conversation with one deadline for all of it (QEMU's `docs/interop/qmp-spec`). What the other side sends is
/// bounded in size, depth and number, and can do no worse than end in a failure.
final class QMPConnection {
  /// An answer of more bytes is refused.
  static let longestAnswer = 1 << 20
  /// Braces and brackets within each other; QMP's own answers have four or so.
  static let deepestAnswer = 64
  /// Events and other messages that may come before an answer.
  static let mostMessages = 4096

  private let descriptor: Int32
  private let shown: String
  /// CLOCK_MONOTONIC in nanoseconds.
  private var deadline: UInt64
  private let began: UInt64
  /// Ends every waiting once it is readable; -1 for none.
  private let wake: Int32
  private var buffer: [UInt8] = []
  private var frame = QMPFrame()
  private var messages = 0
  private var commands = 0

  /// Connects, waits for the greeting and leaves the negotiation mode.
  ///
  /// - Parameters:
  ///   - greetingBefore: a deadline of its own for the greeting; nil for the same.
  ///   - deadline: CLOCK_MONOTONIC in nanoseconds, for everything that is done on it.
  ///   - wake: a descriptor that ends the conversation when it is readable.
  init(
    _ socket: QMPSocket, greetingBefore: UInt64? = nil, deadline: UInt64, wake: Int32 = -1
  ) throws(QMPFailure) {
    self.wake = wake
    shown = socket.shown
    self.deadline = greetingBefore ?? deadline
    began = monotonicNanoseconds()
    descriptor = try Self.connect(socket, deadline: greetingBefore ?? deadline, wake)
    guard try next(waitingFor: "greeting").isGreeting else {
      throw QMPFailure("\(shown) is no QMP socket: it did not greet")
    }
    self.deadline = deadline
    _ = try execute("qmp_capabilities")
  }

  deinit { close(descriptor) }

  // MARK: Commands

  /// The vCPUs of the machine: index and thread.
  func cpus() throws(QMPFailure) -> [QMPMessage.CPU] {
    guard let cpus = try execute("query-cpus-fast").cpus else {
      throw QMPFailure("\(shown) answered query-cpus-fast with something else than a list of vCPUs")
    }
    return cpus
  }

  /// What `info registers` prints of one vCPU. `human-monitor-command` has had `cpu-index` since it exists (QEMU 0.14);
  /// `info registers -a` would kick every vCPU.
  func registers(ofCPU index: Int) throws(QMPFailure) -> String {
    let answer = try execute(
      "human-monitor-command", arguments: #"{"command-line":"info registers","cpu-index":\#(index)}"#)
    guard let text = answer.text else {
      throw QMPFailure("\(shown) answered info registers with something else than text")
    }
    return text
  }

  private func execute(_ command: String, arguments: String? = nil) throws(QMPFailure) -> QMPMessage {
    commands += 1
    let id = "vmctop-\(commands)"
    try send(
      #"{"execute":"\#(command)""# + (arguments.map { #","arguments":\#($0)"# } ?? "") + #","id":"\#(id)"}"# + "\r\n")
    while true {
      let message = try next(waitingFor: "answer to \(command)")
      if message.isEvent { continue }
      guard message.id == nil || message.id == id else {
        throw QMPFailure("\(shown) answered a question that was not asked")
      }
      if let error = message.error { throw QMPFailure("QEMU refused \(command): \(error)") }
      guard message.isAnswer else { throw QMPFailure("\(shown) sent something that is no answer to \(command)") }
      return message
    }
  }

  // MARK: Bytes

  /// A non-blocking, connected socket.
  private static func connect(_ socket: QMPSocket, deadline: UInt64, _ wake: Int32) throws(QMPFailure) -> Int32 {
    let shown = socket.shown
    var family = AF_UNIX
    if case .loopback(_, let isIPv6) = socket { family = isIPv6 ? AF_INET6 : AF_INET }
    let descriptor = Glibc.socket(
      family,
      Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw QMPFailure("socket: \(errorText(errno))") }
    var isKept = false
    defer { if !isKept { close(descriptor) } }
    var folder: Int32 = -1
    defer { if folder >= 0 { close(folder) } }
    var address = sockaddr_storage()
    var length = socklen_t(0)
    switch socket {
    case .unix(let path, let name, _):
      // By the folder's descriptor: sun_path holds 108 bytes, and a path below /proc/PID/root has more.
      folder = open(path, pathOnly | O_DIRECTORY | O_CLOEXEC)
      guard folder >= 0 else { throw QMPFailure("cannot reach \(shown): \(errorText(errno))") }
      length = Self.fill(&address, path: "/proc/self/fd/\(folder)/\(name)")
    case .loopback(let port, let isIPv6): length = Self.fill(&address, port: port, isIPv6: isIPv6)
    }
    guard length > 0 else { throw QMPFailure("cannot reach \(shown): the path is too long") }
    while true {
      let result = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
          retrying { Glibc.connect(descriptor, address, length) }
        }
      }
      if result == 0 { break }
      switch errno {
      case EAGAIN:
        // The queue of a unix socket is full: somebody before us waits too, and poll(2) does not tell when there is room.
        guard monotonicNanoseconds() < deadline else { throw QMPFailure("\(shown): \(Self.busy)") }
        var end = pollfd(fd: wake, events: Int16(POLLIN), revents: 0)
        guard poll(&end, 1, 10) <= 0 else { throw QMPFailure("\(shown) was not waited for") }
      case EINPROGRESS:
        guard waits(descriptor, POLLOUT, until: deadline, wake) else { throw QMPFailure("\(shown) does not answer") }
        var error: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &size)
        guard error == 0 else { throw QMPFailure("cannot connect to \(shown): \(errorText(error))") }
        isKept = true
        return descriptor
      case let number: throw QMPFailure("cannot connect to \(shown): \(errorText(number))")
      }
    }
    isKept = true
    return descriptor
  }

  private static func fill(_ storage: inout sockaddr_storage, path: String) -> socklen_t {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { return 0 }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    withUnsafeMutableBytes(of: &storage) { target in withUnsafeBytes(of: &address) { target.copyBytes(from: $0) } }
    return socklen_t(MemoryLayout<sockaddr_un>.size)
  }

  private static func fill(_ storage: inout sockaddr_storage, port: UInt16, isIPv6: Bool) -> socklen_t {
    if isIPv6 {
      var address = sockaddr_in6()
      address.sin6_family = sa_family_t(AF_INET6)
      address.sin6_port = port.bigEndian
      address.sin6_addr = in6addr_loopback
      withUnsafeMutableBytes(of: &storage) { target in withUnsafeBytes(of: &address) { target.copyBytes(from: $0) } }
      return socklen_t(MemoryLayout<sockaddr_in6>.size)
    }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr = in_addr(s_addr: UInt32(0x7f00_0001).bigEndian)
    withUnsafeMutableBytes(of: &storage) { target in withUnsafeBytes(of: &address) { target.copyBytes(from: $0) } }
    return socklen_t(MemoryLayout<sockaddr_in>.size)
  }

  private func send(_ text: String) throws(QMPFailure) {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      // Without SIGPIPE: a monitor may close at any moment.
      let count = bytes.withUnsafeBytes { bytes in
        retrying { Glibc.send(descriptor, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL)) }
      }
      if count > 0 {
        bytes = bytes.dropFirst(count)
      } else if count < 0, errno == EAGAIN {
        guard waits(descriptor, POLLOUT, until: deadline, wake) else { throw QMPFailure("\(shown) takes no command") }
      } else {
        throw QMPFailure("\(shown) closed: \(errorText(errno))")
      }
    }
  }

  private static let busy =
    "no greeting: another client holds it, as libvirt does "
    + "(virsh qemu-monitor-command --hmp DOMAIN 'info registers -a')"

  private func next(waitingFor what: String) throws(QMPFailure) -> QMPMessage {
    messages += 1
    guard messages <= Self.mostMessages else { throw QMPFailure("\(shown) sends too many messages") }
    if messages > 1, monotonicNanoseconds() >= deadline { throw QMPFailure("\(shown) gave no \(what) in time") }
    while true {
      switch frame.advance(in: buffer) {
      case .whole(let end):
        let bytes = buffer[..<end]
        let message = try? JSONDecoder().decode(QMPMessage.self, from: Data(bytes))
        buffer.removeFirst(end)
        frame = QMPFrame()
        guard let message else { throw QMPFailure("\(shown) sent something that is not JSON") }
        return message
      case .malformed: throw QMPFailure("\(shown) is no QMP socket: it sent something that is not JSON")
      case .tooDeep: throw QMPFailure("\(shown) sent an answer that is nested too deeply")
      case .incomplete: break
      }
      guard buffer.count < Self.longestAnswer else {
        throw QMPFailure("\(shown) sent an answer of more than \(Self.longestAnswer >> 20) MiB")
      }
      guard monotonicNanoseconds() < deadline, waits(descriptor, POLLIN, until: deadline, wake) else {
        let isGreeting = what == "greeting"
        let waited = (monotonicNanoseconds() &- began) / 1_000_000
        throw QMPFailure(
          isGreeting && buffer.isEmpty
            ? "\(shown): \(Self.busy)" : "\(shown) gave no whole \(what) within \(waited) ms")
      }
      try receive(what)
    }
  }

  private func receive(_ what: String) throws(QMPFailure) {
    var failure: String?
    let shown = self.shown
    withUnsafeTemporaryAllocation(byteCount: 65536, alignment: 16) { bytes in
      let count = retrying { recv(descriptor, bytes.baseAddress, bytes.count, 0) }
      if count > 0 {
        buffer.append(contentsOf: bytes[..<count])
      } else if count == 0 {
        failure = "\(shown) closed before the \(what) was whole"
      } else if errno != EAGAIN {
        failure = "\(shown) closed: \(errorText(errno))"
      }
    }
    if let failure { throw QMPFailure(failure) }
  }
}

/// Finds where a message ends. QMP ends each with CRLF, but one that is set to be pretty breaks lines within it too.
struct QMPFrame {
  enum State: Hashable {
    case incomplete
    /// The message ends before this index.
    case whole(Int)
    case malformed
    case tooDeep
  }

  private var position = 0
  private var depth = 0
  private var isInString = false
  private var isEscaped = false

  /// Looks at the bytes that came since the last call.
  mutating func advance(in bytes: [UInt8]) -> State {
    while position < bytes.count {
      let byte = bytes[position]
      position += 1
      if isInString {
        if isEscaped {
          isEscaped = false
        } else if byte == UInt8(ascii: "\\") {
          isEscaped = true
        } else if byte == UInt8(ascii: "\"") {
          isInString = false
        }
        continue
      }
      switch byte {
      case UInt8(ascii: "{"), UInt8(ascii: "["):
        if depth == 0, byte != UInt8(ascii: "{") { return .malformed }
        depth += 1
        if depth > QMPConnection.deepestAnswer { return .tooDeep }
      case UInt8(ascii: "}"), UInt8(ascii: "]"):
        if depth == 0 { return .malformed }
        depth -= 1
        if depth == 0 { return .whole(position) }
      case 9, 10, 13, 32: continue
      default:
        if depth == 0 { return .malformed }
        if byte == UInt8(ascii: "\"") { isInString = true }
      }
    }
    return .incomplete
  }
}

/// What vmctop wants to know of a message. Of a wrong type is as good as absent.
struct QMPMessage: Decodable {
  struct CPU: Decodable, Hashable {
    var index: Int
    /// In QEMU's own pid namespace.
    var thread: Int32

    enum CodingKeys: String, CodingKey {
      case index = "cpu-index"
      case thread = "thread-id"
    }
  }

  private struct Reason: Decodable { var desc: String }

  enum CodingKeys: String, CodingKey {
    case greeting = "QMP"
    case answer = "return"
    case error, event, id
  }

  var isGreeting: Bool
  var isEvent: Bool
  var isAnswer: Bool
  var id: String?
  var error: String?
  var text: String?
  var cpus: [CPU]?

  init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    isGreeting = container.contains(.greeting)
    isEvent = container.contains(.event)
    isAnswer = container.contains(.answer)
    id = try? container.decode(String.self, forKey: .id)
    if container.contains(.error) {
      error = (try? container.decode(Reason.self, forKey: .error).desc) ?? "without a reason"
    }
    text = try? container.decode(String.self, forKey: .answer)
    if text == nil { cpus = try? container.decode([CPU].self, forKey: .answer) }
  }
}

/// O_PATH, whose macro Swift does not import (`asm-generic/fcntl.h`).
private let pathOnly: Int32 = 0o10000000

/// Whether the descriptor is ready before the deadline, and before `wake` is readable.
private func waits(_ descriptor: Int32, _ events: Int32, until deadline: UInt64, _ wake: Int32) -> Bool {
  while true {
    let now = monotonicNanoseconds()
    guard now < deadline else { return false }
    var set = [
      pollfd(fd: descriptor, events: Int16(truncatingIfNeeded: events), revents: 0),
      pollfd(fd: wake, events: Int16(POLLIN), revents: 0),
    ]
    let count = poll(&set, 2, Int32(clamping: (deadline - now) / 1_000_000 &+ 1))
    if count > 0 { return set[1].revents == 0 }
    if count < 0, errno != EINTR { return false }
  }
}
