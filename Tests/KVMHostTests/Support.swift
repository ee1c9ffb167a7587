import Foundation
import HostFiles

/// A temporary folder laid out like the host's file systems.
final class Tree {
  let path: String
  var roots: HostRoots { HostRoots(prefix: path) }

  init() {
    path = NSTemporaryDirectory() + "vmctop-test-\(UUID().uuidString)"
    try? FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func file(_ name: String, _ text: String) { file(name, Array(text.utf8)) }

  func file(_ name: String, _ bytes: [UInt8]) {
    folder((name as NSString).deletingLastPathComponent)
    _ = FileManager.default.createFile(atPath: "\(path)/\(name)", contents: Data(bytes))
  }

  func folder(_ name: String) {
    try? FileManager.default.createDirectory(atPath: "\(path)/\(name)", withIntermediateDirectories: true)
  }

  func link(_ name: String, to target: String) {
    folder((name as NSString).deletingLastPathComponent)
    try? FileManager.default.createSymbolicLink(atPath: "\(path)/\(name)", withDestinationPath: target)
  }

  func remove(_ name: String) { try? FileManager.default.removeItem(atPath: "\(path)/\(name)") }

  /// A process with its threads and descriptors.
  func process(
    _ pid: Int32, command: [String], threads: [Int32: String] = [:], descriptors: [Int32: String] = [:],
    start: Int = 1000
  ) {
    file("proc/\(pid)/stat", "\(pid) (x (y) z) S \((1...18).map { "\($0)" }.joined(separator: " ")) \(start) 0 0\n")
    file("proc/\(pid)/cmdline", command.joined(separator: "\0") + "\0")
    file("proc/\(pid)/status", "Name:\tx\nTgid:\t\(pid)\nPid:\t\(pid)\n")
    file("proc/\(pid)/task/\(pid)/comm", "main\n")
    folder("proc/\(pid)/fd")
    for (tid, name) in threads {
      file("proc/\(pid)/task/\(tid)/comm", name + "\n")
      // A thread's folder is reachable by its number, though not listed.
      file("proc/\(tid)/status", "Name:\tx\nTgid:\t\(pid)\nPid:\t\(tid)\n")
    }
    for (fd, target) in descriptors { link("proc/\(pid)/fd/\(fd)", to: target) }
  }

  func debugfsVM(_ name: String, vcpus: [UInt32: Int32?]) {
    folder("sys/kernel/debug/kvm/\(name)")
    for (id, tid) in vcpus {
      folder("sys/kernel/debug/kvm/\(name)/vcpu\(id)")
      if let tid { file("sys/kernel/debug/kvm/\(name)/vcpu\(id)/pid", "\(tid)\n") }
    }
  }
}
