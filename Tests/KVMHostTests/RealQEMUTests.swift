import Architecture
import FakeVMM
import Foundation
import Glibc
import HostFiles
import Testing

@testable import KVMHost

private let qemu = ["/usr/bin/qemu-system-x86_64", "/usr/libexec/qemu-kvm"].first {
  FileManager.default.isExecutableFile(atPath: $0)
}

@Suite("A real QEMU", .serialized) struct RealQEMUTests {
  /// A machine of two vCPUs without KVM, stopped before its first instruction.
  private final class Machine {
    let folder = NSTemporaryDirectory() + "vmctop-qemu-\(UUID().uuidString.prefix(8))"
    let process = Process()
    var pid: Int32 { process.processIdentifier }

    init(_ program: String, _ options: (_ folder: String) -> [String]) throws {
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      process.executableURL = URL(fileURLWithPath: program)
      process.currentDirectoryURL = URL(fileURLWithPath: folder)
      process.arguments =
        [
          "-accel", "tcg", "-M", "isapc", "-m", "1", "-smp", "1", "-S", "-display", "none", "-nodefaults", "-name",
          "t,debug-threads=on",
        ]
        + options(folder)
      process.standardError = FileHandle.nullDevice
      try process.run()
      // Until it listens.
      for _ in 0..<200 where !FileManager.default.fileExists(atPath: "\(folder)/qmp") { usleep(50_000) }
    }

    deinit {
      // Not SIGTERM: a child of one of Foundation's threads has it blocked.
      kill(pid, SIGKILL)
      process.waitUntilExit()
      try? FileManager.default.removeItem(atPath: folder)
    }

    /// The thread that runs the first vCPU.
    func thread() -> Int32? {
      for _ in 0..<100 {
        let threads = (try? HostFile.numbers("/proc/\(pid)/task")) ?? []
        if let found = threads.first(where: {
          HostFile.line("/proc/\(pid)/task/\($0)/comm")?.hasPrefix("CPU 0/") == true
        }) {
          return found
        }
        usleep(50_000)
      }
      return nil
    }
  }

  private static let forms: [@Sendable (String) -> [String]] = [
    { ["-qmp", "unix:\($0)/qmp,server=on,wait=off"] },
    { _ in ["-qmp-pretty", "unix:qmp,server=on,wait=off"] },
    { ["-chardev", "socket,id=m,path=\($0)/qmp,server=on,wait=off", "-mon", "chardev=m,mode=control"] },
  ]

  @Test(arguments: 0..<forms.count)
  func tellsTheRegistersThatAProcessorHasAtReset(form: Int) throws {
    guard let qemu else {
      return print("SKIPPED: no qemu-system-x86_64 here (apt-get install qemu-system-x86): real QEMU not tested")
    }
    let machine = try Machine(qemu, Self.forms[form])
    defer { keep(machine) }
    let thread = try #require(machine.thread())
    guard case .readings(let answer) = VMMQuestioner().ask(pid: machine.pid, threads: [thread], isa: .vmx) else {
      Issue.record("it was not asked")
      return
    }
    let reading = try #require(answer[thread])
    #expect(reading.failure == nil)
    let values = Dictionary(uniqueKeysWithValues: reading.fields.map { ($0.field.name, $0.value) })
    // SDM volume 3, table "IA-32 and Intel 64 Processor States Following Power-up, Reset, or INIT".
    for (name, value) in [
      ("GUEST_RIP", 0xfff0), ("GUEST_RFLAGS", 2), ("GUEST_CS_SELECTOR", 0xf000), ("GUEST_CS_BASE", 0xffff_0000),
      ("GUEST_CS_LIMIT", 0xffff), ("GUEST_CS_AR_BYTES", 0x9b), ("GUEST_DS_AR_BYTES", 0x93),
      ("GUEST_GDTR_LIMIT", 0xffff),
      ("GUEST_LDTR_AR_BYTES", 0x82), ("GUEST_TR_AR_BYTES", 0x8b), ("CR0", 0x6000_0010), ("CR2", 0), ("GUEST_CR3", 0),
      ("CR4", 0),
      ("DR6", 0xffff_0ff0), ("GUEST_DR7", 0x400), ("GUEST_IA32_EFER", 0), ("CPL", 0), ("RAX", 0), ("HLT", 0),
      ("A20", 1), ("SMM", 0),
    ] as [(String, UInt64)] { #expect(values[name] == value, "\(name)") }
    // Without R8 to R15, which QEMU prints while 64-bit code runs.
    #expect(reading.fields.count == 7 + 3 + 5 + 32 + 4 + 4 + 6 + 1)
  }

  @Test func whoseSocketIsInUseIsLeftAloneInTime() throws {
    guard let qemu else {
      return print("SKIPPED: no qemu-system-x86_64 here (apt-get install qemu-system-x86): real QEMU not tested")
    }
    let machine = try Machine(qemu, Self.forms[0])
    defer { keep(machine) }
    let thread = try #require(machine.thread())
    guard case .success(let sockets) = QMPDiscovery().sockets(pid: machine.pid) else {
      Issue.record("no socket found")
      return
    }
    #expect(QMPDiscovery().finding(pid: machine.pid).text == "\(machine.folder)/qmp")
    // Somebody who stays, as libvirt does.
    let other = try QMPConnection(sockets[0].socket, deadline: monotonicNanoseconds() &+ 5_000_000_000)
    let questioner = VMMQuestioner(roots: HostRoots(), patience: 500_000_000, now: monotonicNanoseconds)
    let began = monotonicNanoseconds()
    guard case .readings(let answer) = questioner.ask(pid: machine.pid, threads: [thread], isa: .vmx) else { return }
    #expect(answer[thread]?.failure?.contains("another client holds it, as libvirt does") == true)
    #expect((monotonicNanoseconds() &- began) / 1_000_000 < 2000)
    // And undisturbed.
    #expect(try other.cpus().count == 1)
  }
}
