import CTinyGuest
import Foundation
import HostFiles
import Testing
import TraceFormat

@testable import Tracefs

/// On this host's own tracefs. Serialized: they compare what is in `instances`.
@Suite(.serialized, .enabled(if: canTrace, Comment(rawValue: tracingNeeds)))
struct RealTracefsTests {
  let root: TracefsRoot

  init() throws { root = try #require(hostTracefs) }

  func ours(_ name: String) -> Bool { instances(root).contains(name) }

  @Test func anInstanceIsMadeAsAskedAndRemovedWithoutATraceInTheTopLevel() throws {
    let before = topLevelState(root)
    let instance = try TraceInstance(in: root, options: .init(events: .standard, bufferKiBPerCPU: 1024))
    #expect(ours(instance.name))
    #expect(instance.clock == "mono")
    #expect(HostFile.line("\(instance.path)/trace_clock")?.contains("[mono]") == true)
    #expect(HostFile.line("\(instance.path)/tracing_on") == "1")
    #expect(HostFile.line("\(instance.path)/options/overwrite") == "1")
    #expect(instance.bufferKiBPerCPU >= 1024)
    #expect(instance.enabledEvents.starts(with: ["kvm_exit", "kvm_entry"]))
    #expect(HostFile.line("\(instance.path)/events/kvm/kvm_exit/enable") == "1")
    #expect(HostFile.line("\(instance.path)/events/kvm/kvm_eoi/enable") == "0")
    #expect(try instance.formats().map(\.name) == instance.enabledEvents)
    #expect(instance.streams.map(\.cpu) == cpuList(HostFile.line("/sys/devices/system/cpu/online") ?? ""))
    #expect(topLevelState(root) == before)
    #expect(instance.close() == nil)
    #expect(!ours(instance.name))
    #expect(topLevelState(root) == before)
  }

  @Test(
    .enabled(if: HostFile.exists("/sys/kernel/tracing/buffer_subbuf_size_kb"), "needs a kernel from 6.8 on"),
    arguments: [4, 16, 64])
  func theSubBufferHasTheSizeAskedFor(kiB: Int) throws {
    let instance = try TraceInstance(in: root, options: .init(bufferKiBPerCPU: 1024, subBufferKiB: kiB))
    defer { instance.close() }
    #expect(instance.page.subBufferSize == kiB << 10)
  }

  @Test func goingOutOfScopeRemovesTheInstance() throws {
    var name = ""
    do {
      let instance = try TraceInstance(in: root, options: .init(bufferKiBPerCPU: 64))
      name = instance.name
      #expect(ours(name))
    }
    #expect(!ours(name))
  }

  @Test func everyEventOfTheSystemBelongsToTheFullSet() throws {
    let instance = try TraceInstance(in: root, options: .init(events: .full, bufferKiBPerCPU: 64))
    defer { instance.close() }
    #expect(instance.enabledEvents == root.events(ofSystem: "kvm"))
    #expect(instance.missingEvents.isEmpty)
    #expect(HostFile.line("\(instance.path)/events/kvm/enable") == "1")
    #expect(HostFile.line("\(instance.path)/events/kvmmmu/enable") == "0")
  }

  @Test func anUnknownClockFallsBackToOneThatThereIs() throws {
    let instance = try TraceInstance(in: root, options: .init(clock: "sundial", bufferKiBPerCPU: 64))
    defer { instance.close() }
    #expect(instance.clock == "local")
  }

  @Test func twoInstancesOfOneProcessAreTwo() throws {
    let first = try TraceInstance(in: root, options: .init(events: .minimal, bufferKiBPerCPU: 64))
    let second = try TraceInstance(in: root, options: .init(events: .standard, clock: "boot", bufferKiBPerCPU: 128))
    #expect(first.name != second.name)
    #expect(HostFile.line("\(first.path)/trace_clock")?.contains("[mono]") == true)
    #expect(HostFile.line("\(first.path)/events/kvm/kvm_pio/enable") == "0")
    first.close()
    #expect(ours(second.name))
    second.close()
    #expect(!ours(second.name))
  }

  @Test func aFilterTakesFewThreadsAsAnExpressionAndManyAsAList() throws {
    let instance = try TraceInstance(in: root, options: .init(bufferKiBPerCPU: 64, threads: [11, 12]))
    defer { instance.close() }
    #expect(instance.threadFilter == .expression)
    #expect(HostFile.line("\(instance.path)/events/kvm/kvm_exit/filter") == "common_pid == 11 || common_pid == 12")
    #expect(HostFile.line("\(instance.path)/events/kvm/kvm_pio/filter") == "common_pid == 11 || common_pid == 12")
    try instance.setThreads([])
    #expect(HostFile.line("\(instance.path)/events/kvm/kvm_exit/filter") == "common_pid == -1")
    let many = (1...3000).map { Int32($0) }
    try instance.setThreads(many)
    #expect(instance.threadFilter == .eventPID)
    #expect(HostFile.line("\(instance.path)/events/kvm/kvm_exit/filter") == "none")
    let pids = try HostFile.text("\(instance.path)/set_event_pid").split(separator: "\n").compactMap { Int32($0) }
    #expect(pids == many)
    try instance.setThreads(Array(many.prefix(TraceInstance.maximumFilterThreads)))
    #expect(instance.threadFilter == .expression)
    #expect(HostFile.line("\(instance.path)/set_event_pid") == "")
    try instance.setThreads(nil)
    #expect(HostFile.line("\(instance.path)/events/kvm/kvm_exit/filter") == "none")
  }

  // MARK: Ways out

  @Test(arguments: [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGSEGV, SIGBUS, SIGABRT, SIGUSR1])
  func aSignalThatEndsTheProcessLeavesNoInstance(signal: Int32) throws {
    let child = try Child(holderPath, ["wait"])
    let name = child.line()
    #expect(ours(name))
    kill(child.process.processIdentifier, signal)
    #expect(child.finish().status == -signal)
    #expect(!ours(name))
  }

  @Test(arguments: [("exit", 7), ("trap", -SIGILL), ("segv", -SIGSEGV), ("abort", -SIGABRT), ("overflow", -SIGSEGV)])
  func aCrashOrExitOfOurOwnLeavesNoInstance(how: String, status: Int32) throws {
    let child = try Child(holderPath, [how])
    let name = child.line()
    #expect(name.hasPrefix("vmctop-"))
    #expect(child.finish().status == status)
    #expect(!ours(name))
  }

  @Test(arguments: [SIGINT, SIGTERM, SIGHUP])
  func anExitSignalOnlyAsksTheMainLoopToQuit(signal: Int32) throws {
    let child = try Child(holderPath, ["quit"])
    let name = child.line()
    kill(child.process.processIdentifier, signal)
    let end = child.finish()
    #expect(end.status == 0)
    #expect(end.output == "quit \(signal) removed\n")
    #expect(!ours(name))
  }

  @Test func theTerminalIsRestoredBeforeTheProcessDies() throws {
    let child = try Child(holderPath, ["terminal"])
    let name = child.line()
    kill(child.process.processIdentifier, SIGSEGV)
    let end = child.finish()
    #expect(end.status == -SIGSEGV)
    #expect(end.output == "<restored>")
    #expect(!ours(name))
  }

  @Test func killNineLeavesAnOrphanThatTheNextStartSweepsButNotTheLivingOnes() throws {
    let living = try Child(holderPath, ["wait"])
    let livingName = living.line()
    let child = try Child(holderPath, ["wait"])
    let name = child.line()
    kill(child.process.processIdentifier, SIGKILL)
    #expect(child.finish().status == -SIGKILL)
    #expect(ours(name))
    let sweep = InstanceSweep.run(in: root)
    #expect(sweep.removed.contains(name))
    #expect(!ours(name))
    #expect(!sweep.removed.contains(livingName))
    #expect(ours(livingName))
    kill(living.process.processIdentifier, SIGTERM)
    _ = living.finish()
    #expect(!ours(livingName))
  }
}
