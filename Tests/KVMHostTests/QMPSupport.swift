import FakeVMM
import Foundation

@testable import KVMHost

extension QMPServer {
  var socket: QMPSocket { .unix(folder: folder, name: "qmp", shown: path) }

  /// A tree in which a QEMU process listens at this socket.
  func tree(pid: Int32 = 4000, threads: [Int32: String] = [:]) -> Tree {
    let tree = Tree()
    tree.process(
      pid, command: ["/usr/bin/qemu-system-x86_64", "-qmp", "unix:\(path),server=on,wait=off"], threads: threads)
    tree.link("proc/\(pid)/root", to: "/")
    return tree
  }
}
