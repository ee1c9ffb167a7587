import CTinyGuest
import Foundation
import HostFiles
import Testing
import TraceFormat
import Tracefs

@testable import Sampler

/// The live source on this host's tracefs and KVM.
@Suite(.serialized, .enabled(if: canTrace, tracingNeeds))
struct LiveSamplerTests {
  @Test(.enabled(if: canRunGuest, guestNeeds), arguments: [1, 1000, 200_000] as [UInt32])
  func everyOutOfARealGuestIsSeenExactlyOnce(outs: UInt32) async throws {
    let sampler = try LiveSampler()
    defer { sampler.close() }
    let (guest, harvests) = sample([sampler], outs: outs)
    #expect(guest.error == 0)
    #expect(guest.outs == UInt(outs))
    #expect(harvests[0].count("kvm_pio", thread: guest.thread) == Int(outs))
    // One more for the final hlt.
    #expect(harvests[0].count("kvm_userspace_exit", thread: guest.thread) == Int(outs) + 1)
    #expect(harvests[0].lossMarks == 0)
    #expect(sampler.lostEvents() == 0)
    #expect(harvests[0].events["unknown"] == nil)
    for (_, bases) in harvests[0].bases { #expect(bases == bases.sorted()) }
  }

  @Test(.enabled(if: canRunGuest, guestNeeds))
  func twoSamplersSideBySideEachSeeEverythingAndDisturbNobody() async throws {
    let root = try #require(hostTracefs)
    let before = topLevelState(root)
    let first = try LiveSampler()
    let second = try LiveSampler(options: LiveOptions(events: .full, clock: "boot", subBufferKiB: 16))
    #expect(first.instancePath != second.instancePath)
    let (guest, harvests) = sample([first, second], outs: 20_000)
    #expect(guest.error == 0)
    for harvest in harvests { #expect(harvest.count("kvm_pio", thread: guest.thread) == 20_000) }
    #expect(
      harvests[1].count("kvm_emulate_insn", thread: guest.thread)
        >= harvests[0].count("kvm_emulate_insn", thread: guest.thread))
    #expect(topLevelState(root) == before)
    #expect(first.close() == nil)
    #expect(HostFile.isFolder(second.instancePath))
    #expect(second.close() == nil)
    #expect(topLevelState(root) == before)
  }

  @Test(.enabled(if: canRunGuest, guestNeeds))
  func aConsumerThatTakesNothingLeavesTheDataInTheKernelAndMissesNothing() throws {
    let guest = WaitingGuest(outs: 5000)
    // Two 4 KiB sub-buffers per CPU at a time: far less than the events fill. All that this guest's thread makes fits into the
    // kernel's buffer; what other guests make meanwhile need not.
    let sampler = try LiveSampler(options: LiveOptions(threads: [guest.thread], subBufferKiB: 4, memoryLimit: 1))
    defer { sampler.close() }
    guest.run()
    var harvest = Harvest()
    var watermarks: [UInt64] = []
    let end = try #require(sampler.drain())
    watermarks.append(end)
    #expect(sampler.isBehind)
    #expect(sampler.recommendedTick == 0)
    #expect(sampler.drain() == end, "a full queue cannot move the watermark on")
    let done = Self.now()
    repeat {
      gather(sampler, into: &harvest)
      watermarks.append(try #require(sampler.drain()))
    } while sampler.isBehind
    gather(sampler, into: &harvest)
    #expect(harvest.count("kvm_pio", thread: guest.thread) == 5000)
    #expect(watermarks == watermarks.sorted())
    #expect(watermarks.first.map { $0 < done } == true)
    #expect(watermarks.last.map { $0 + Tick.settlingNanoseconds >= done } == true)
  }

  @Test(.enabled(if: canRunGuest, guestNeeds))
  func aBufferThatIsTooSmallSaysWhatItLost() async throws {
    let sampler = try LiveSampler(options: LiveOptions(bufferKiBPerCPU: 64, subBufferKiB: 4))
    defer { sampler.close() }
    let guest = await runGuest(outs: 50_000)
    var harvest = Harvest()
    repeat {
      sampler.drain()
      gather(sampler, into: &harvest)
    } while sampler.isBehind || sampler.pagesOfLastDrain > 0
    let seen = harvest.ofThread[guest.thread]?.values.reduce(0, +) ?? 0
    #expect(harvest.lossMarks > 0)
    #expect(sampler.lostEvents() > 0)
    #expect(harvest.count("kvm_pio", thread: guest.thread) < 50_000)
    #expect(Int(sampler.lostEvents()) + seen >= 100_000)
  }

  @Test(.enabled(if: canRunGuest, guestNeeds))
  func aFilterLetsOnlyTheChosenThreadsThrough() throws {
    let own = Int32(truncatingIfNeeded: getpid())
    let none = try LiveSampler(options: LiveOptions(threads: [own]))
    // The guest's thread is made after the sampler: `maintain` finds it among the threads of this process.
    let ours = try LiveSampler(options: LiveOptions(processes: [own]))
    defer {
      none.close()
      ours.close()
    }
    let started = Flag()
    let there = Flag()
    let ended = Flag()
    let guest = Box()
    Thread.detachNewThread {
      there.raise()
      while !started.isRaised { usleep(1000) }
      guest.put(tinyguest_run(300))
      ended.raise()
    }
    while !there.isRaised { usleep(1000) }
    ours.maintain()
    started.raise()
    while !ended.isRaised { usleep(1000) }
    let result = try #require(guest.take())
    var harvests = [Harvest(), Harvest()]
    for (index, sampler) in [none, ours].enumerated() {
      sampler.drain()
      gather(sampler, into: &harvests[index])
    }
    #expect(result.error == 0)
    #expect(harvests[0].count("kvm_pio", thread: result.thread) == 0)
    #expect(harvests[1].count("kvm_pio", thread: result.thread) == 300)
    // Guests of other tests run in this process too; of other processes' none may come through.
    let others = Set(harvests[1].ofThread.keys).subtracting([result.thread])
    #expect(others.allSatisfy { !FileManager.default.fileExists(atPath: "/proc/\($0)") || isOurs($0) })
  }

  /// Whether a thread is one of this process.
  private func isOurs(_ thread: Int32) -> Bool {
    FileManager.default.fileExists(atPath: "/proc/self/task/\(thread)")
  }

  @Test(arguments: ["mono", "boot", "mono_raw", "tai", "local", "global", "perf"])
  func theWatermarkFollowsTheClock(clock: String) throws {
    let sampler = try LiveSampler(options: LiveOptions(clock: clock, bufferKiBPerCPU: 64))
    defer { sampler.close() }
    #expect(sampler.instance.clock == clock)
    let start = try #require(sampler.startedAt)
    let first = try #require(sampler.drain())
    #expect(first + 20_000_000 >= start, "it settles for up to 10 ms")
    usleep(5000)
    let second = try #require(sampler.drain())
    #expect(second >= first + 4_000_000)
  }

  @Test func afterClosingThereIsNothingToTakeAndNothingToBreak() throws {
    let sampler = try LiveSampler(options: LiveOptions(bufferKiBPerCPU: 64))
    let path = sampler.instancePath
    #expect(sampler.close() == nil)
    #expect(!HostFile.exists(path))
    #expect(sampler.close() == nil)
    #expect(sampler.nextPage(stream: 0) == nil)
    #expect(sampler.nextPage(stream: -1) == nil)
    sampler.drain()
    sampler.maintain()
    #expect(sampler.wait(milliseconds: 0) == false)
  }

  @Test func aWakeDescriptorEndsTheWait() throws {
    let sampler = try LiveSampler(options: LiveOptions(bufferKiBPerCPU: 64))
    defer { sampler.close() }
    let wake = Pipe()
    try wake.fileHandleForWriting.write(contentsOf: Data([1]))
    let start = Self.now()
    #expect(sampler.wait(milliseconds: 10_000, wake: wake.fileHandleForReading.fileDescriptor))
    #expect(Self.now() - start < 5_000_000_000)
  }

  @Test func theMetadataSaysHowToReadTheEvents() throws {
    let sampler = try LiveSampler(options: LiveOptions(events: .minimal, bufferKiBPerCPU: 64))
    defer { sampler.close() }
    #expect(sampler.metadata.formats.map(\.name) == ["kvm_exit", "kvm_entry"])
    #expect(sampler.metadata.formats[0].field("exit_reason") != nil)
    #expect(sampler.metadata.clock == "mono")
    #expect(sampler.metadata.uname?.hasPrefix("Linux ") == true)
  }

  static func now() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}

@Suite struct SamplingWithoutTracefsTests {
  @Test func withoutTracefsTheErrorNamesTheCommandThatMountsIt() {
    let empty = NSTemporaryDirectory() + "vmctop-test-\(UUID().uuidString)"
    try? FileManager.default.createDirectory(atPath: empty + "/sys/kernel/tracing", withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: empty) }
    #expect { try LiveSampler(options: LiveOptions(roots: HostRoots(prefix: empty))) } throws: {
      let error = $0 as? TracefsError
      return error?.kind == .unavailable && error?.hint == "mount -t tracefs tracefs /sys/kernel/tracing"
    }
  }
}
