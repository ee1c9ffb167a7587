import Foundation
import HostFiles
import Testing

@testable import Sampler

@Suite struct HostSurveyTests {
  let prefix: String
  init() throws {
    prefix = NSTemporaryDirectory() + "vmctop-test-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: prefix, withIntermediateDirectories: true)
  }

  func file(_ name: String, _ text: String) throws {
    let path = "\(prefix)/\(name)"
    try FileManager.default.createDirectory(
      atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
    try text.write(toFile: path, atomically: false, encoding: .utf8)
  }

  func survey() -> HostSurvey {
    defer { try? FileManager.default.removeItem(atPath: prefix) }
    return HostSurvey(roots: HostRoots(prefix: prefix))
  }

  func makeIntelHost() throws {
    try file("proc/self/status", "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n")
    try file("proc/cpuinfo", "flags\t: vmx\n")
    try file("proc/sys/kernel/osrelease", "6.1.0\n")
    try file("sys/kernel/tracing/instances/other/x", "")
    for event in ["kvm_exit", "kvm_entry", "kvm_msr"] { try file("sys/kernel/tracing/events/kvm/\(event)/id", "7\n") }
    try file("sys/module/kvm/parameters/halt_poll_ns", "1\n")
    try file("sys/module/kvm_intel/parameters/ept", "Y\n")
  }

  @Test func aKvmIntelHostCanTraceAndSaysWhichEventsItsKernelLacks() throws {
    try makeIntelHost()
    let survey = survey()
    #expect(survey.live == .possible)
    let events = try #require(survey.sources.first { $0.id == "kvm-events" })
    #expect(events.isAvailable)
    #expect(events.state.hasPrefix("3 events; this kernel has no kvm_userspace_exit"))
    #expect(survey.sources.first { $0.id == "kvm" }?.state == "kvm with kvm_intel")
    #expect(survey.sources.first { $0.id == "msr" }?.enable == "modprobe msr")
    #expect(survey.sources.allSatisfy { $0.isAvailable == ($0.enable == nil) })
  }

  @Test func aModuleNotLoadedIsAMatterOfOneCommand() throws {
    try makeIntelHost()
    try FileManager.default.removeItem(atPath: prefix + "/sys/kernel/tracing/events/kvm")
    try FileManager.default.removeItem(atPath: prefix + "/sys/module")
    let survey = survey()
    #expect(survey.live == .unavailable)
    #expect(survey.sources.first { $0.id == "kvm-events" }?.enable == "modprobe kvm_intel")
  }

  @Test func aCPUWithoutVirtualizationAndWithoutKVMCannotTrace() throws {
    try makeIntelHost()
    try FileManager.default.removeItem(atPath: prefix + "/sys/kernel/tracing/events/kvm")
    try FileManager.default.removeItem(atPath: prefix + "/sys/module")
    try file("proc/cpuinfo", "flags\t: fpu\n")
    #expect(survey().live == .unsupported)
  }

  @Test func anUnmountedTracefsNamesTheMount() throws {
    try file("sys/kernel/tracing/.keep", "")
    let survey = survey()
    #expect(survey.live == .unavailable)
    #expect(survey.sources.first { $0.id == "tracefs" }?.enable == "mount -t tracefs tracefs /sys/kernel/tracing")
  }

  @Test func aKernelWithoutTracingIsUnsupportedAndEverySourceIsStillListed() {
    let survey = survey()
    #expect(survey.live == .unsupported)
    #expect(survey.sources.count >= 15)
    #expect(survey.sources.filter { !$0.isAvailable }.allSatisfy { !$0.adds.isEmpty && $0.enable != nil })
  }

  @Test func whoCannotSeeOthersProcessesIsNotToldThatTheyRunNothing() throws {
    try makeIntelHost()
    try file("proc/self/status", "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n")
    let survey = survey()
    for id in ["vms", "qmp"] {
      let source = try #require(survey.sources.first { $0.id == id })
      #expect(source.state.contains("hidden from us"))
      #expect(source.enable == "sudo vmctop")
    }
  }

  @Test func privilegesAreNamedTruthfully() throws {
    try file("proc/self/status", "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n")
    #expect(Privileges(roots: HostRoots(prefix: prefix)).description == "not root, no capabilities")
    try file("proc/self/status", "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000002\n")
    #expect(Privileges(roots: HostRoots(prefix: prefix)).description == "not root, with CAP_DAC_OVERRIDE")
    try file("proc/self/status", "Uid:\t0\t0\t0\t0\nCapEff:\t0000000000000000\n")
    #expect(Privileges(roots: HostRoots(prefix: prefix)).description.hasPrefix("root, without CAP_DAC_OVERRIDE"))
    try? FileManager.default.removeItem(atPath: prefix)
  }
}
