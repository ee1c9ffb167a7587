import HostFiles

/// What a VMM's command line says about its guest.
public struct VMMCommandLine: Sendable, Hashable {
  /// `qemu`, `firecracker`, `cloud-hypervisor`, `crosvm`, `kvmtool`, `stratovirt`; the program's own name where it is
  /// none of these, fit for a terminal; nil without a command line.
  public var vmm: String?
  /// The guest's name, fit for a terminal.
  public var name: String?
  public var uuid: String?

  /// Reads `/proc/PID/cmdline`: arguments that each end with a zero byte.
  public init(_ bytes: [UInt8]) {
    let arguments = Self.arguments(bytes)
    let program = (arguments.first ?? "").split(separator: "/").last ?? ""
    let rest = Array(arguments.dropFirst())
    if program.hasPrefix("qemu-") || program == "qemu" || program == "kvm" || program.hasPrefix("qemu:") {
      vmm = "qemu"
      name = VMMCommandLine.value(of: ["-name", "--name"], in: rest).flatMap(VMMCommandLine.qemuName)
      uuid = VMMCommandLine.value(of: ["-uuid", "--uuid"], in: rest)
    } else if program.hasPrefix("firecracker") {
      vmm = "firecracker"
      name = VMMCommandLine.value(of: ["--id"], in: rest)
    } else if program.hasPrefix("cloud-hyperviso") {
      vmm = "cloud-hypervisor"
      // It has no name of its own; the socket by which it is managed has: libvirt's NAME-socket, or a folder per guest.
      name = VMMCommandLine.value(of: ["--api-socket"], in: rest).flatMap(VMMCommandLine.socketName)
      uuid = VMMCommandLine.value(of: ["--platform"], in: rest).flatMap { VMMCommandLine.option("uuid", in: $0) }
    } else if program.hasPrefix("crosvm") {
      vmm = "crosvm"
      name =
        VMMCommandLine.value(of: ["--name"], in: rest)
        ?? VMMCommandLine.value(of: ["-s", "--socket"], in: rest).flatMap(VMMCommandLine.socketName)
    } else if program == "lkvm" || program == "kvmtool" || program == "vm" && rest.first == "run" {
      vmm = "kvmtool"
      name = VMMCommandLine.value(of: ["--name", "-n"], in: rest)
    } else if program.hasPrefix("stratovirt") {
      vmm = "stratovirt"
      name = VMMCommandLine.value(of: ["-name"], in: rest).flatMap(VMMCommandLine.qemuName)
    }
    if vmm == nil, !program.isEmpty { vmm = sanitized(String(program), limit: 20) }
    name = name.flatMap { $0.isEmpty ? nil : sanitized($0) }
    uuid = uuid.flatMap { $0.isEmpty ? nil : sanitized($0, limit: 36) }
  }

  /// The arguments of `/proc/PID/cmdline`, the program's own name first.
  static func arguments(_ bytes: [UInt8]) -> [String] {
    bytes.split(separator: 0, omittingEmptySubsequences: false).map { String(decoding: $0, as: UTF8.self) }
  }

  /// The value of the last such option, as `--id NAME` or `--id=NAME`.
  private static func value(of options: [String], in arguments: [String]) -> String? {
    var found: String?
    for (index, argument) in arguments.enumerated() {
      for option in options {
        if argument == option, index + 1 < arguments.count { found = arguments[index + 1] }
        if option.hasPrefix("--"), argument.hasPrefix(option + "=") {
          found = String(argument.dropFirst(option.count + 1))
        }
      }
    }
    return found
  }

  /// QEMU's `guest=NAME,debug-threads=on` or `NAME,process=...`; a doubled comma stands for one.
  static func qemuName(_ text: String) -> String? {
    let parts = commaParts(text)
    if let guest = parts.first(where: { $0.hasPrefix("guest=") }) { return String(guest.dropFirst(6)) }
    guard let first = parts.first, !first.contains("=") else { return nil }
    return first
  }

  private static func option(_ key: String, in text: String) -> String? {
    commaParts(text).first { $0.hasPrefix(key + "=") }.map { String($0.dropFirst(key.count + 1)) }
  }

  /// The parts of an option's value between commas; a doubled comma stands for one.
  static func commaParts(_ text: String) -> [String] {
    var parts: [String] = [""]
    var rest = text.unicodeScalars[...]
    while let scalar = rest.popFirst() {
      if scalar == ",", rest.first != "," {
        parts.append("")
      } else {
        if scalar == "," { rest.removeFirst() }
        parts[parts.count - 1].unicodeScalars.append(scalar)
      }
    }
    return parts
  }

  /// A guest's name from the path of its socket: `…/web01.sock`, `…/ch/web01-socket`, `…/web01/clh-api.sock`.
  static func socketName(_ text: String) -> String? {
    let path = option("path", in: text) ?? text
    guard !path.hasPrefix("fd=") else { return nil }
    let parts = path.split(separator: "/")
    guard var last = parts.last else { return nil }
    for suffix in [".sock", ".socket", "-socket", "-api", ".api"] where last.hasSuffix(suffix) {
      last = last.dropLast(suffix.count)
    }
    let general: Set<Substring> = ["", "clh", "ch", "api", "cloud-hypervisor", "crosvm", "vmm", "socket"]
    if !general.contains(last) { return String(last) }
    guard parts.count >= 2 else { return nil }
    let folder = parts[parts.count - 2]
    return ["tmp", "run", "var"].contains(folder) ? nil : String(folder)
  }

  /// The vCPU's index in a thread's name: QEMU `CPU 3/KVM` and `CPU 3/TCG`'s brother only for KVM, Firecracker `fc_vcpu 3`,
  /// Cloud Hypervisor `vcpu3`, crosvm `crosvm_vcpu3`, kvmtool `kvm-vcpu-3`, StratoVirt `CPU 3/KVM`.
  public static func vcpuIndex(ofThread name: String) -> UInt32? {
    if name.hasPrefix("CPU "), name.hasSuffix("/KVM") { return UInt32(name.dropFirst(4).dropLast(4)) }
    for prefix in ["fc_vcpu ", "crosvm_vcpu", "vcpu", "kvm-vcpu-"] where name.hasPrefix(prefix) {
      return UInt32(name.dropFirst(prefix.count))
    }
    return nil
  }
}
