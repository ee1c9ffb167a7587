import Architecture
import FakeKernel
import Glibc
import Testing

@testable import Session

@Suite("Kernel memory that is watched")
struct StateWatchTests {
  private static func thread(_ vcpu: Int) -> Int32 { Int32(900 + vcpu) }

  /// Looks until it is so; a busy machine may take its time.
  private func wait(_ watch: StateWatch, until isSo: (StateWatch.Latest) -> Bool) -> StateWatch.Latest? {
    for _ in 0..<600 {
      let latest = watch.latest
      if isSo(latest) { return latest }
      usleep(50_000)
    }
    return nil
  }

  /// A host whose vCPUs have run.
  private func host(vcpus: Int) throws -> FakeHost {
    let host = try FakeHost(vcpus: vcpus)
    for index in 0..<vcpus { host.run(index, by: Self.thread(index)) }
    try host.publish()
    return host
  }

  @Test("tells the control words of every vCPU, and each change of what governs exits once")
  func changes() throws {
    let host = try host(vcpus: 2)
    let watch = StateWatch(roots: host.roots)
    defer { watch.stop() }
    let first = try #require(wait(watch) { $0.words.count == 2 })
    #expect(Set(first.words.keys) == Set((0..<2).map { Self.thread($0) }))
    #expect(first.words[Self.thread(0)]?.primary == 0xb5a0_6dfa)
    #expect(first.hostControls?.configuration.words.primary == 0xb5a0_6dfa)
    #expect(watch.takeChanges(until: .max).count == 1, "the first look")
    // An interrupt window comes: no change.
    host.core.put(UInt32(0xb5a0_6dfa | 1 << 2), at: FakeHost.vcpu(1) + 0x20c)
    try host.update()
    _ = try #require(wait(watch) { $0.words[Self.thread(1)]?.primary == 0xb5a0_6dfe })
    #expect(watch.takeChanges(until: .max).isEmpty)
    // HLT exiting goes.
    host.core.put(UInt32(0xb5a0_6d7a), at: FakeHost.vcpu(1) + 0x20c)
    try host.update()
    _ = try #require(wait(watch) { $0.words[Self.thread(1)]?.primary == 0xb5a0_6d7a })
    #expect(watch.takeChanges(until: 0).isEmpty, "what was later is not taken")
    let changes = watch.takeChanges(until: .max)
    #expect(changes.map { $0.words[Self.thread(1)]?.primary } == [0xb5a0_6d7a])
    #expect(watch.takeChanges(until: .max).isEmpty)
  }

  @Test("reads all of the state of those vCPUs only that somebody looks at")
  func watched() throws {
    let host = try host(vcpus: 3)
    let watch = StateWatch(roots: host.roots)
    defer { watch.stop() }
    #expect(try #require(wait(watch) { $0.words.count == 3 }).states.isEmpty)
    watch.watch([Self.thread(1)])
    let latest = try #require(wait(watch) { !$0.states.isEmpty })
    #expect(Array(latest.states.keys) == [Self.thread(1)])
    #expect(latest.states[Self.thread(1)]?.fields.count == 206)
    #expect(latest.states[Self.thread(1)]?.vcpuID == 1)
    watch.watch([])
    #expect(watch.latest.states.isEmpty)
  }

  @Test("says in one line why nothing can be read, and what would help")
  func refused() throws {
    let host = try host(vcpus: 1)
    host.remove("proc/kcore")
    let watch = StateWatch(roots: host.roots)
    defer { watch.stop() }
    let failure = try #require(wait(watch) { $0.failure != nil }?.failure)
    #expect(failure.contains("kcore"))
    #expect(failure.contains("CONFIG_PROC_KCORE"))
    #expect(!failure.contains("\n"))
    #expect(watch.takeMessage()?.contains("kcore") == true)
    #expect(watch.takeMessage() == nil)
  }
}
