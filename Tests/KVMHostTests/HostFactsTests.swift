import Foundation
import KernelMemory
import Testing

@testable import KVMHost

@Suite struct HostFactsTests {
  let tree = Tree()

  init() {
    for (name, value) in [
      ("ept", "Y"), ("ple_gap", "128"), ("ple_window", "4096"), ("ple_window_grow", "2"), ("enable_apicv", "N"),
    ] {
      tree.file("sys/module/kvm_intel/parameters/\(name)", value + "\n")
    }
    for (name, value) in [("halt_poll_ns", "200000"), ("pi_inject_timer", "0"), ("ple_window_shrink", "7")] {
      tree.file("sys/module/kvm/parameters/\(name)", value + "\n")
    }
    tree.file("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu vmx sse2\n\nflags\t\t: fpu\n")
    tree.file("proc/sys/kernel/hostname", "host\u{1B}1\n")
    tree.file("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n")
  }

  @Test func theHostIsKnownByNameKernelAndBackend() {
    let facts = HostFacts.read(roots: tree.roots)
    #expect(facts.hostName == "host\u{FFFD}1")
    #expect(facts.kernelRelease == "6.1.0-18-amd64")
    #expect(facts.virtualizationFlag == .vmx)
    #expect(facts.backend == "kvm_intel")
    #expect(facts.hasModule("kvm"))
    #expect(facts.parameter("kvm_intel", "ept") == "Y")
    #expect(facts.parameters("kvm").map(\.name) == ["halt_poll_ns", "pi_inject_timer", "ple_window_shrink"])
  }

  @Test func ofTwoBuiltInBackendsTheOneThatFitsTheCPUIsTaken() {
    tree.file("sys/module/kvm_amd/parameters/npt", "Y\n")
    #expect(HostFacts.read(roots: tree.roots).backend == "kvm_intel")
    tree.file("proc/cpuinfo", "flags\t\t: fpu svm\n")
    #expect(HostFacts.read(roots: tree.roots).backend == "kvm_amd")
    #expect(HostFacts.read(roots: Tree().roots).backend == nil)
  }

  @Test func noPathEscapesTheParametersFolder() {
    tree.file("sys/secret", "x")
    let facts = HostFacts.read(roots: tree.roots)
    #expect(facts.parameter("..", "secret") == nil)
    #expect(facts.parameter("kvm", "../../../secret") == nil)
  }
}

@Suite struct KernelMemoryProbeTests {
  let tree = Tree()

  private var coreHeader: [UInt8] {
    [0x7F, 0x45, 0x4C, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0] + [UInt8](repeating: 0, count: 46)
  }

  @Test func aHostThatOffersEverythingIsSeenAsSuch() {
    tree.file("proc/kcore", coreHeader)
    tree.file(
      "proc/kallsyms",
      "0000000000000000 A fixed_percpu_data\nffffffff81000000 T _text\nffffffffc0a00000 d vm_list\t[kvm]\n")
    for name in ["vmlinux", "kvm", "kvm_intel"] { tree.file("sys/kernel/btf/\(name)", [0x9F, 0xEB]) }
    tree.file("sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
    let probe = KernelMemoryProbe(roots: tree.roots)
    #expect(probe.kcore.isAvailable)
    #expect(probe.symbolAddresses.isAvailable)
    #expect(probe.dataSymbols.isAvailable)
    #expect(probe.typeInformation.values.allSatisfy { $0.isAvailable })
    #expect(probe.lockdown == "integrity")
  }

  @Test func eachMissingPartSaysWhy() {
    tree.file("proc/kcore", "not a core")
    tree.file("proc/kallsyms", "0000000000000000 T _text\n0000000000000000 d vm_list\t[kvm]\n")
    tree.file("sys/kernel/btf/vmlinux", [0x9F, 0xEB])
    tree.file("sys/module/kvm/initstate", "live\n")
    let probe = KernelMemoryProbe(roots: tree.roots)
    #expect(probe.kcore.reason?.contains("no 64-bit ELF core header") == true)
    #expect(probe.symbolAddresses.reason?.contains("CAP_SYSLOG") == true)
    #expect(probe.typeInformation["kvm"]?.reason?.contains("CONFIG_DEBUG_INFO_BTF_MODULES") == true)
    #expect(probe.typeInformation["kvm_intel"]?.reason == "kvm_intel is not loaded")
    #expect(probe.lockdown == nil)
  }

  @Test func anEmptyHostIsAllMissingAndNoTrap() {
    let probe = KernelMemoryProbe(roots: Tree().roots)
    #expect(probe.kcore.reason?.contains("does not exist") == true)
    #expect(!probe.symbolAddresses.isAvailable && !probe.dataSymbols.isAvailable)
    #expect(probe.typeInformation.values.allSatisfy { !$0.isAvailable })
  }

  @Test func aBuiltInKVMHasItsTypesInVmlinux() {
    tree.file("sys/kernel/btf/vmlinux", [0x9F, 0xEB])
    tree.file("sys/module/kvm/parameters/halt_poll_ns", "0")
    #expect(KernelMemoryProbe(roots: tree.roots).typeInformation["kvm"]?.isAvailable == true)
  }
}
