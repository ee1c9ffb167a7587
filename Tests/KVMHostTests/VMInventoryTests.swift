import Architecture
import Foundation
import Testing

@testable import KVMHost

@Suite struct VMInventoryTests {
  let tree = Tree()

  @Test func aLibvirtGuestIsFoundByDebugfsWithNameVCPUsAndThreads() {
    tree.process(
      500,
      command: [
        "/usr/bin/qemu-system-x86_64", "-name", "guest=web01,debug-threads=on", "-uuid",
        "11111111-2222-3333-4444-555555555555",
      ],
      threads: [501: "CPU 0/KVM", 502: "CPU 1/KVM", 503: "IO mon_iothread"],
      descriptors: [9: "/dev/kvm", 10: "anon_inode:kvm-vm", 20: "anon_inode:kvm-vcpu:0", 21: "anon_inode:kvm-vcpu:1"])
    tree.debugfsVM("500-10", vcpus: [0: 501, 1: 502])
    let vms = VMInventory(roots: tree.roots).scan()
    #expect(
      vms == [
        HostVM(
          pid: 500, fd: 10, name: "web01", uuid: "11111111-2222-3333-4444-555555555555", vmm: "qemu",
          vcpus: [
            HostVCPU(id: 0, tid: 501, threadName: "CPU 0/KVM"), HostVCPU(id: 1, tid: 502, threadName: "CPU 1/KVM"),
          ])
      ])
  }

  @Test func theFolderNamesAThreadNotTheProcess() {
    tree.process(700, command: ["/firecracker", "--id=vm-a"], threads: [701: "fc_vcpu 0", 702: "fc_api"])
    tree.debugfsVM("702-13", vcpus: [0: 701])
    let vms = VMInventory(roots: tree.roots).scan()
    #expect(vms.map(\.pid) == [700])
    #expect(vms.first?.name == "vm-a")
    #expect(vms.first?.vmm == "firecracker")
    #expect(vms.first?.vcpus.map(\.tid) == [701])
  }

  @Test func evenIfTheThreadThatMadeTheVMHasEnded() {
    tree.process(700, command: ["/usr/bin/crosvm", "run", "--name", "arc"], threads: [705: "crosvm_vcpu0"])
    tree.debugfsVM("704-13", vcpus: [0: 705])
    let vms = VMInventory(roots: tree.roots).scan()
    #expect(vms.map(\.pid) == [700])
    #expect(vms.first?.name == "arc")
  }

  @Test func onKernelsBefore61ThreadNamesTellWhichThreadRunsAVCPU() {
    tree.process(900, command: ["qemu-system-x86_64", "-name", "old"], threads: [901: "CPU 0/KVM", 902: "CPU 1/KVM"])
    tree.debugfsVM("900-11", vcpus: [0: nil, 1: nil, 2: nil])
    let vms = VMInventory(roots: tree.roots).scan()
    #expect(vms.first?.vcpus.map(\.tid) == [901, 902])
    #expect(vms.first?.vcpusWithoutThread == [2])
  }

  @Test(arguments: [
    (["/usr/bin/qemu-kvm", "-name", "web01"], "CPU 0/KVM", "qemu", "web01"),
    (["/usr/bin/firecracker", "--id", "fc-1", "--api-sock", "/run/fc.sock"], "fc_vcpu 0", "firecracker", "fc-1"),
    (
      ["cloud-hypervisor", "--api-socket", "/run/vms/ch-1.sock", "--cpus", "boot=1"], "vcpu0", "cloud-hypervisor",
      "ch-1"
    ),
    (["crosvm", "run", "--name", "cros-1", "vmlinux"], "crosvm_vcpu0", "crosvm", "cros-1"),
  ])
  func withoutDebugfsDescriptorsAndThreadNamesTellForEveryVMM(
    command: [String], thread: String, vmm: String, name: String
  ) {
    tree.process(1, command: ["/sbin/init"], descriptors: [0: "/dev/null"])
    tree.process(
      300, command: command, threads: [301: thread, 302: "worker"],
      descriptors: [
        3: "anon_inode:kvm-vcpu:0", 4: "anon_inode:kvm-vm", 5: "anon_inode:kvm-vcpu-stats:0", 6: "socket:[7]",
      ])
    let vms = VMInventory(roots: tree.roots).scan()
    #expect(
      vms == [
        HostVM(pid: 300, fd: 4, name: name, vmm: vmm, vcpus: [HostVCPU(id: 0, tid: 301, threadName: thread)])
      ])
  }

  @Test func severalVMsOfOneProcessStayApart() {
    tree.process(
      300, command: ["/usr/bin/selftest"],
      descriptors: [
        4: "anon_inode:kvm-vm", 5: "anon_inode:kvm-vcpu:0", 6: "anon_inode:kvm-vm", 7: "anon_inode:kvm-vcpu:0",
        8: "anon_inode:kvm-vcpu:1",
      ])
    let vms = VMInventory(roots: tree.roots).scan()
    #expect(vms.map(\.fd) == [4, 6])
    #expect(vms.map(\.vcpusWithoutThread) == [[0], [0, 1]])
    #expect(vms.allSatisfy { $0.vmm == "selftest" && $0.name == nil })
  }

  @Test func guestsThatStartAndEndAreFollowed() {
    let inventory = VMInventory(roots: tree.roots)
    tree.folder("sys/kernel/debug/kvm")
    #expect(inventory.scan().isEmpty)
    tree.process(400, command: ["qemu-system-x86_64", "-name", "a"], threads: [401: "CPU 0/KVM"])
    tree.debugfsVM("400-8", vcpus: [0: 401])
    #expect(inventory.scan().map(\.name) == ["a"])
    tree.process(400, command: ["qemu-system-x86_64", "-name", "a"], threads: [402: "CPU 1/KVM"])
    tree.debugfsVM("400-8", vcpus: [1: 402])
    let grown = (0..<VMInventory.refreshInterval + 1).map { _ in inventory.scan() }.last
    #expect(grown?.first?.vcpus.map(\.tid) == [401, 402])
    // The pid is used again by another guest.
    tree.process(400, command: ["qemu-system-x86_64", "-name", "b"], start: 2000)
    #expect(inventory.scan().map(\.name) == ["b"])
    tree.remove("proc/400")
    tree.remove("sys/kernel/debug/kvm/400-8")
    #expect(inventory.scan().isEmpty)
  }

  @Test func withoutDebugfsAGuestThatStartsLaterIsSeenWithinAFewScans() {
    let inventory = VMInventory(roots: tree.roots)
    for pid in 1...300 { tree.process(Int32(pid), command: ["idle"]) }
    #expect(inventory.scan().isEmpty)
    tree.process(
      5000, command: ["firecracker", "--id", "late"], threads: [5001: "fc_vcpu 0"],
      descriptors: [4: "anon_inode:kvm-vm"])
    // A process that ran before turns into a VMM.
    tree.link("proc/7/fd/5", to: "anon_inode:kvm-vm")
    var found: [HostVM] = []
    for _ in 0..<12 { found = inventory.scan() }
    #expect(found.map(\.pid) == [7, 5000])
    #expect(found.last?.vcpus.map(\.tid) == [5001])
  }

  @Test func hostileNamesNeverReachATerminal() {
    let bytes: [UInt8] = Array("qemu-system-x86_64\0-name\0guest=a\u{1B}[2Jb\u{202E}c".utf8) + [0xFF, 0xFE, 0x9B, 0]
    tree.process(300, command: [], threads: [301: "CPU 0/KVM"])
    tree.file("proc/300/cmdline", bytes)
    tree.file("proc/300/task/301/comm", [0x1B, 0x5D, 0x30, 0x07, 0x0A])
    tree.debugfsVM("300-4", vcpus: [0: 301])
    #expect(VMMCommandLine(Array("/bin/a\u{1B}[2Jb\0".utf8)).vmm == "a\u{FFFD}[2Jb")
    let vm = VMInventory(roots: tree.roots).scan().first
    #expect(vm?.name?.hasPrefix("a\u{FFFD}[2Jb\u{FFFD}c") == true)
    for text in [vm?.name ?? "\u{1B}", vm?.vcpus.first?.threadName ?? "\u{1B}"] {
      #expect(
        !text.unicodeScalars.contains { $0.value < 0x20 || (0x7F...0x9F).contains($0.value) || $0.value == 0x202E })
    }
  }

  @Test func nonsenseInDebugfsAndProcIsPassedOver() {
    for name in ["exits", "-", "1-", "-1", "1-2-3", "99999999999-1", "12-34"] {
      tree.folder("sys/kernel/debug/kvm/\(name)")
    }
    tree.file("sys/kernel/debug/kvm/12-34/vcpu0/pid", "not a number\n")
    tree.folder("sys/kernel/debug/kvm/12-34/vcpux")
    tree.file("proc/12/status", "garbage")
    tree.file("proc/12/stat", "12 (no end")
    #expect(VMInventory(roots: tree.roots).scan().isEmpty)
    #expect(VMInventory(roots: Tree().roots).scan().isEmpty)
  }

  @Test(arguments: [
    ("guest=web01,debug-threads=on", "web01"), ("web01", "web01"), ("web01,process=qemu", "web01"),
    ("guest=a,,b,process=x", "a,b"),
    ("debug-threads=on,guest=late", "late"),
  ])
  func qemuNamesAreReadAsQemuReadsThem(text: String, name: String) {
    #expect(VMMCommandLine.qemuName(text) == name)
  }

  @Test func aNamelessQemuHasNoName() {
    #expect(VMMCommandLine.qemuName("debug-threads=on") == nil)
    #expect(VMMCommandLine(Array("qemu-system-x86_64\0-name".utf8)).name == nil)
    #expect(VMMCommandLine([]).vmm == nil)
    #expect(VMMCommandLine([0, 0, 0]).vmm == nil)
  }

  @Test func aSocketsPathNamesTheGuestItServes() {
    #expect(VMMCommandLine.socketName("/run/libvirt/ch/web01-socket") == "web01")
    #expect(VMMCommandLine.socketName("path=/run/vc/vm/abc123/clh-api.sock") == "abc123")
    #expect(VMMCommandLine.socketName("/tmp/ch.sock") == nil)
    #expect(VMMCommandLine.socketName("") == nil)
  }

  @Test func onlyVCPUThreadsAreTakenForVCPUs() {
    #expect(VMMCommandLine.vcpuIndex(ofThread: "CPU 12/KVM") == 12)
    #expect(VMMCommandLine.vcpuIndex(ofThread: "fc_vcpu 3") == 3)
    #expect(VMMCommandLine.vcpuIndex(ofThread: "vcpu7") == 7)
    #expect(VMMCommandLine.vcpuIndex(ofThread: "crosvm_vcpu1") == 1)
    for name in ["CPU 0/TCG", "CPU /KVM", "vcpu", "vcpu-manager", "CPU -1/KVM", "CPU 99999999999/KVM", ""] {
      #expect(VMMCommandLine.vcpuIndex(ofThread: name) == nil)
    }
  }
}
