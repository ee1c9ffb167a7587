import Foundation
import HostFiles
import RandomSupport
import Testing

@testable import KVMHost

@Suite("Where a QEMU listens for QMP") struct QMPDiscoveryTests {
  @Test(arguments: [
    ("-qmp unix:/run/q,server=on,wait=off", QMPAddress.Place.path("/run/q")),
    ("--qmp unix:/run/q,server,nowait", .path("/run/q")),
    ("-qmp-pretty unix:q.sock,server=on,wait=off", .path("q.sock")),
    ("-qmp unix:/run/a,,b,server=yes", .path("/run/a,b")),
    ("-qmp unix:path=/run/q,server=on", .path("/run/q")),
    ("-chardev socket,id=m,path=/run/q,server=on,wait=off -mon chardev=m,mode=control", .path("/run/q")),
    ("-mon m,mode=control,pretty=on -chardev socket,path=/run/q,server=on,id=m", .path("/run/q")),
    ("-chardev socket,id=m,path=/run/q,server=on -qmp chardev:m", .path("/run/q")),
    (
      "-chardev socket,id=charmonitor,fd=35,server=on,wait=off -mon chardev=charmonitor,id=monitor,mode=control",
      .descriptor(35)
    ),
    ("-qmp tcp:127.0.0.1:4444,server=on,wait=off", .loopback(port: 4444, isIPv6: false)),
    ("-qmp tcp:localhost:4444,server", .loopback(port: 4444, isIPv6: false)),
    ("-qmp tcp:[::1]:4444,server=on", .loopback(port: 4444, isIPv6: true)),
    (
      "-chardev socket,id=m,host=127.0.0.1,port=5,server=on -mon chardev=m,mode=control",
      .loopback(port: 5, isIPv6: false)
    ),
  ])
  func isReadFromItsCommandLine(options: String, place: QMPAddress.Place) {
    let arguments = ["/usr/bin/qemu-system-x86_64", "-m", "16"] + options.split(separator: " ").map(String.init)
    #expect(QMPAddress.all(in: arguments).map(\.place) == [place])
  }

  @Test(arguments: [
    ("-qmp unix:/run/q", "connects to somebody instead of listening"),
    ("-qmp stdio", "'stdio', not a socket"),
    ("-qmp tcp:0.0.0.0:4444,server=on", "listens on the network ('0.0.0.0')"),
    ("-qmp tcp::4444,server=on", "listens on the network ('')"),
    ("-qmp tcp:127.0.0.1:99999999999,server=on", "no address"),
    ("-qmp unix:,server=on", "no path"),
    ("-qmp unix:/run/q,abstract=on,server=on", "abstract socket"),
    ("-mon chardev=m,mode=control", "no socket of the name 'm'"),
    ("-chardev pty,id=m -mon chardev=m,mode=control", "'m' is no socket"),
    ("-chardev socket,id=m,fd=x,server=on -mon chardev=m,mode=control", "'x', which is no descriptor's number"),
    ("-chardev socket,id=m,path=/run/\u{1b}[2J -mon chardev=m,mode=control", "connects to somebody"),
  ])
  func isNowhereThatCanBeUsedAndTheReasonIsGiven(options: String, reason: String) throws {
    let arguments = ["qemu-system-x86_64"] + options.split(separator: " ").map(String.init)
    let all = QMPAddress.all(in: arguments)
    #expect(all.count == 1)
    guard case .unusable(let why) = try #require(all.first).place else {
      Issue.record("\(all)")
      return
    }
    #expect(why.contains(reason), "\(why)")
  }

  @Test func isNotTheMonitorForPeople() {
    for options in [
      ["-monitor", "unix:/run/hmp,server=on,wait=off"], ["-mon", "chardev=m,mode=readline"], ["-mon", "chardev=m"],
      ["-qmp"],
      ["-serial", "-qmp"], [],
    ] {
      #expect(
        QMPAddress.all(in: ["qemu-system-x86_64", "-chardev", "socket,id=m,path=/run/m,server=on"] + options).isEmpty)
    }
  }

  @Test func isItsOwnSocketBeforeLibvirts() {
    let all = QMPAddress.all(in: [
      "qemu-system-x86_64", "-chardev", "socket,id=charmonitor,fd=35,server=on,wait=off", "-mon",
      "chardev=charmonitor,id=monitor,mode=control", "-chardev", "socket,id=mine,path=/run/mine,server=on", "-mon",
      "chardev=mine,mode=control",
    ])
    #expect(all.map(\.place) == [.path("/run/mine"), .descriptor(35)])
    #expect(all.map(\.isLibvirts) == [false, true])
  }

  // MARK: From the command line to a socket

  private func folder(_ tree: Tree, _ options: [String]) -> QMPSocket? {
    tree.process(7, command: ["/usr/bin/qemu-system-x86_64"] + options)
    guard case .success(let sockets) = QMPDiscovery(roots: tree.roots).sockets(pid: 7) else { return nil }
    return sockets.first?.socket
  }

  @Test func isReachedThroughTheProcessesOwnRootAndWorkingFolder() {
    let tree = Tree()
    #expect(
      folder(tree, ["-qmp", "unix:/run/q/s,server=on"])
        == .unix(folder: "\(tree.path)/proc/7/root/run/q", name: "s", shown: "/run/q/s"))
    #expect(
      folder(tree, ["-qmp", "unix:q/s,server=on"])
        == .unix(folder: "\(tree.path)/proc/7/cwd/q", name: "s", shown: "q/s"))
    #expect(
      folder(tree, ["-qmp", "unix:s,server=on"]) == .unix(folder: "\(tree.path)/proc/7/cwd/.", name: "s", shown: "s"))
    for bad in [
      "unix:/run/..,server=on", "unix:/run/,server=on", "unix:/\(String(repeating: "x", count: 200)),server=on",
    ] {
      #expect(folder(tree, ["-qmp", bad]) == nil)
    }
  }

  private static let libvirts = [
    "-chardev", "socket,id=charmonitor,fd=35,server=on,wait=off", "-mon", "chardev=charmonitor,id=monitor,mode=control",
  ]

  @Test func isThePathOfTheSocketThatLibvirtHandedOver() {
    let tree = Tree()
    tree.link("proc/7/fd/35", to: "socket:[4711]")
    tree.file(
      "proc/7/net/unix",
      """
      Num       RefCount Protocol Flags    Type St Inode Path
      0000000000000000: 00000002 00000000 00010000 0001 01  471 /run/other
      0000000000000000: 00000002 00000000 00010000 0001 01 4711 /var/lib/libvirt/qemu/domain-1-web 01/monitor.sock
      0000000000000000: 00000003 00000000 00000000 0001 03 4712

      """)
    #expect(
      folder(tree, Self.libvirts)
        == .unix(
          folder: "\(tree.path)/proc/7/root/var/lib/libvirt/qemu/domain-1-web 01", name: "monitor.sock",
          shown: "/var/lib/libvirt/qemu/domain-1-web 01/monitor.sock"))
    #expect(
      QMPDiscovery(roots: tree.roots).finding(pid: 7).text
        == "/var/lib/libvirt/qemu/domain-1-web 01/monitor.sock (libvirt's own, which takes one client)")
  }

  @Test(arguments: [
    ("/dev/null", "", "is no socket"), ("socket:[5]", "", "no unix socket"),
    ("socket:[5]", "0: 00000003 00000000 00000000 0001 03 5 /run/q\n", "does not listen"),
    ("socket:[5]", "0: 00000003 00000000 00010000 0001 01 5 @abstract\n", "has no path"),
    ("socket:[5]", "0: 00000003 00000000 00010000 0001 01 5\n", "has no path"),
    ("socket:[5]", "0: 00000003 00000000 zzz 0001 01 5 /run/q\n", "does not listen"),
    ("socket:[5]", "\n \n0\n\u{0}\n", "no unix socket"),
  ])
  func isSaidToBeMissingWhereADescriptorIsSomethingElse(link: String, table: String, reason: String) {
    let tree = Tree()
    tree.process(7, command: ["/usr/bin/qemu-system-x86_64"] + Self.libvirts)
    tree.link("proc/7/fd/35", to: link)
    tree.file("proc/7/net/unix", table)
    let finding = QMPDiscovery(roots: tree.roots).finding(pid: 7)
    #expect(!finding.isFound && finding.text.contains(reason), "\(finding.text)")
  }

  @Test func onLoopbackIsOnlyOursInOurNetworkNamespace() {
    for (own, other, isFound) in [("net:[1]", "net:[1]", true), ("net:[1]", "net:[2]", false)] {
      let tree = Tree()
      tree.link("proc/self/ns/net", to: own)
      tree.link("proc/7/ns/net", to: other)
      #expect((folder(tree, ["-qmp", "tcp:127.0.0.1:5,server=on"]) != nil) == isFound)
    }
  }

  @Test func survivesAnyCommandLine() {
    var generator = Dice()
    let words = [
      "-qmp", "-mon", "-chardev", "unix:", "tcp:", ",", ",,", "id=", "=", "socket", "fd=", "-1", "path=/", "server",
      "mode=control",
      "chardev:", "\u{0}", "é", "::", "[::1]:", "9999999999999999999", "m",
    ]
    for _ in 0..<3000 {
      let line = (0..<Int.random(in: 0...12, using: &generator)).map { _ in
        (0..<Int.random(in: 0...4, using: &generator)).map { _ in words.randomElement(using: &generator) ?? "" }
          .joined()
      }
      for address in QMPAddress.all(in: line) {
        if case .unusable(let why) = address.place { #expect(!why.isEmpty) }
      }
    }
  }
}
