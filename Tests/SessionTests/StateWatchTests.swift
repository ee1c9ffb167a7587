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
    #expect(watch.takeMessages().map { $0.contains("kcore") } == [true])
    #expect(watch.takeMessages().isEmpty)
  }

  @Test("waits for a module that is loaded later")
  func loadedLater() throws {
    let host = try host(vcpus: 1)
    try host.unload()
    let watch = StateWatch(roots: host.roots)
    defer { watch.stop() }
    let before = try #require(wait(watch) { $0.failure != nil })
    #expect(before.failure?.hasPrefix("neither kvm_intel nor kvm_amd is loaded") == true)
    #expect(before.words.isEmpty)
    // Looked at once more: the same is no news.
    usleep(1_200_000)
    #expect(watch.takeMessages().map { $0.hasPrefix("the state of vCPUs is not read: neither") } == [true])
    try host.load()
    let after = try #require(wait(watch) { !$0.words.isEmpty })
    #expect(after.failure == nil)
    #expect(after.words[Self.thread(0)]?.primary == 0xb5a0_6dfa)
    #expect(watch.takeMessages() == ["control words are read from kernel memory, ten times a second"])
  }

  @Test("begins anew after a module was loaded anew, and shows nothing that was read meanwhile")
  func loadedAnew() throws {
    let host = try host(vcpus: 1)
    let watch = StateWatch(roots: host.roots)
    defer { watch.stop() }
    watch.watch([Self.thread(0)])
    _ = try #require(wait(watch) { !$0.states.isEmpty })
    _ = watch.takeMessages()
    let place = FakeHost.vcpu(0) + 0x20c
    // The memory is somebody else's from now on, and has the form of what was there.
    try host.unload()
    let wrong: UInt32 = 0xdead_beef
    host.core.put(wrong, at: place)
    try host.update()
    var primary: Set<UInt32?> = []
    func note(_ latest: StateWatch.Latest) { primary.formUnion(latest.words.values.map(\.primary)) }
    let gone = try #require(
      wait(watch) { latest in
        note(latest)
        return latest.failure?.hasPrefix("neither kvm_intel") == true
      })
    #expect(gone.words.isEmpty)
    #expect(gone.states.isEmpty)
    #expect(gone.hostControls == nil)
    // Elsewhere, with other controls.
    let distance: UInt64 = 0x400
    host.core.put([UInt8](repeating: 0, count: 0x200), at: FakeHost.modules)
    host.core.put(FakeHost.kvm + 8, at: FakeHost.vmList + distance)
    host.core.put(FakeHost.vmList + distance, at: FakeHost.kvm + 8)
    host.core.put(UInt32(0xb5a0_6d7a), at: FakeHost.configuration + distance + 4)
    host.core.put(UInt32(0xb5a0_6d7a), at: place)
    try host.update()
    try host.load(movedBy: distance)
    let anew = try #require(
      wait(watch) { latest in
        note(latest)
        return !latest.states.isEmpty
      })
    #expect(anew.words[Self.thread(0)]?.primary == 0xb5a0_6d7a)
    #expect(anew.hostControls?.configuration.words.primary == 0xb5a0_6d7a)
    #expect(anew.failure == nil)
    #expect(!primary.contains(wrong))
    #expect(watch.takeChanges(until: .max).map { $0.words[Self.thread(0)]?.primary } == [0xb5a0_6dfa, 0xb5a0_6d7a])
    let messages = watch.takeMessages()
    #expect(messages.count == 2)
    #expect(messages.first?.hasPrefix("the state of vCPUs is not read any more: neither kvm_intel") == true)
    #expect(messages.last?.hasPrefix("KVM's modules were loaded anew: ") == true)
  }

  @Test("that is read while a module is replaced at once is dropped, too")
  func replaced() throws {
    let host = try host(vcpus: 1)
    let watch = StateWatch(roots: host.roots)
    defer { watch.stop() }
    _ = try #require(wait(watch) { !$0.words.isEmpty })
    _ = watch.takeMessages()
    // Only where its code is tells.
    host.core.put(FakeHost.kvm + 8, at: FakeHost.vmList + 0x400)
    host.core.put(FakeHost.vmList + 0x400, at: FakeHost.kvm + 8)
    host.core.put(UInt32(0xb5a0_6d7a), at: FakeHost.configuration + 0x400 + 4)
    try host.update()
    try host.load(movedBy: 0x400)
    let anew = try #require(
      wait(watch) { $0.hostControls?.configuration.words.primary == 0xb5a0_6d7a && !$0.words.isEmpty })
    #expect(anew.words[Self.thread(0)]?.primary == 0xb5a0_6dfa)
    #expect(watch.takeMessages().map { $0.hasPrefix("KVM's modules were loaded anew: ") } == [true])
  }
}
