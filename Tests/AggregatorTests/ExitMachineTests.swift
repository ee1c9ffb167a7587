import Architecture
import RandomSupport
import Testing
import TraceFormat

@testable import Aggregator

/// What is counted of a reason, from whichever side.
private struct Figures: Equatable {
  var count: UInt64 = 0
  var paired: UInt64 = 0
  var handling: UInt64 = 0
  var halted: UInt64 = 0
  var controls: [ControlID: UInt64] = [:]
}

private struct Reason: Hashable {
  var tid: Int32
  var code: ReasonCode
}

@Suite("The rules of exits")
struct ExitMachineTests {
  /// The figures of every reason of every thread, over all settings.
  private func figures(_ sums: IntervalCounts) -> [Reason: Figures] {
    var all: [Reason: Figures] = [:]
    for thread in sums.threads {
      for counts in thread.residencies.flatMap(\.reasons) {
        let reason = Reason(tid: thread.tid, code: ReasonCode(isa: counts.isa, code: counts.code))
        var own = all[reason] ?? Figures()
        own.count += counts.exits.count
        own.paired += counts.paired
        own.handling += counts.exits.handling
        own.halted += counts.exits.halted
        if let control = fixedGoverningControl(isa: counts.isa, code: counts.code) {
          own.controls[control, default: 0] += counts.exits.count
        } else {
          for charge in counts.charges where charge.exits.count > 0 {
            own.controls[charge.control, default: 0] += charge.exits.count
          }
          let halted = counts.charges.reduce(0) { $0 + $1.exits.halted }
          #expect(halted == counts.exits.halted, "the charges of a reason have its halts")
        }
        all[reason] = own
      }
    }
    return all
  }

  @Test(
    "are one for counting, for telling exit by exit and for a search, whatever was lost",
    arguments: [1, 2, 3, Dice.seed(of: "the exit machine")])
  func agreement(seed: UInt64) throws {
    let trace = EventfulTrace(seed: seed, steps: 4000, usesHost: false, haltsInUserSpace: true)
    for options in [
      AggregatorOptions(), AggregatorOptions(threads: Set(101...110)), AggregatorOptions(vcpuIDs: [1, 2]),
    ] {
      let metadata = SyntheticTrace.metadata(scale: TimeScale(multiplier: 3, shift: 2))
      var counter = try Counter(metadata: metadata, options: options)
      counter.run(MemoryPages(trace.pages))
      let snapshot = counter.snapshot()
      let counted = figures(counter.totals.total)

      var told: [Reason: Figures] = [:]
      var time = TimeSplit()
      var timeline = try ExitTimeline(metadata: metadata, options: options)
      timeline.run(MemoryPages(trace.pages)) { _, item in
        guard case .exit(let exit) = item else { return }
        let reason = Reason(tid: exit.tid, code: ReasonCode(isa: exit.exit.isa.rawValue, code: exit.exit.code))
        told[reason, default: Figures()].count += 1
        told[reason, default: Figures()].controls[exit.control, default: 0] += 1
        guard let handling = exit.handling else { return }
        told[reason, default: Figures()].paired += 1
        told[reason, default: Figures()].handling += handling
        told[reason, default: Figures()].halted += exit.halted
        time.user += exit.user
        time.halted += exit.halted
        time.kernel += handling - exit.user - exit.halted
      }
      #expect(told == counted)
      // In a guest is what exits do not tell to the tick where the clock is scaled.
      time.guest = snapshot.total.time.guest
      #expect(time == snapshot.total.time)
      #expect(time.halted > 0 && time.user > 0)
      #expect(counted.values.reduce(0) { $0 + $1.halted } == snapshot.total.time.halted)

      let filter = try ExitFilter(metadata: metadata, options: options)
      var found: [Reason: UInt64] = [:]
      for page in trace.pages.joined() {
        page.withUnsafeBytes { bytes in
          var cursor = SubBufferCursor(page: bytes, layout: metadata.page)
          while cursor.next() {
            guard filter.matches(cursor, nil) else { continue }
            let tid = cursor.payload.loadUnaligned(fromByteOffset: 4, as: Int32.self)
            for reason in counted.keys where reason.tid == tid && filter.matches(cursor, reason.code) {
              found[reason, default: 0] += 1
            }
          }
        }
      }
      #expect(found == counted.mapValues(\.count).filter { $0.value > 0 })
    }
  }

  @Test("have a HLT that the VMM waits out as halted, not as user space")
  func userSpaceHalt() throws {
    var trace = SyntheticTrace()
    trace.exit(12, at: 1000)
    trace.add("kvm_userspace_exit", at: 1100, thread: 100, ["reason": 5])
    trace.add("kvm_fpu", at: 8100, thread: 100, ["load": 1])
    trace.entry(at: 8200)
    // A port next, of the same vCPU, which is the VMM's work.
    trace.exit(30, at: 9000)
    trace.add("kvm_userspace_exit", at: 9100, thread: 100, ["reason": 2])
    trace.entry(at: 9500)
    // Interrupted: the reason is what it was the time before.
    trace.exit(1, at: 10_000)
    trace.add("kvm_userspace_exit", at: 10_100, thread: 100, ["reason": 5, "errno": UInt64(UInt32(bitPattern: -14))])
    trace.entry(at: 10_400)
    // Until the entry, where there is no kvm_fpu.
    trace.exit(12, at: 11_000)
    trace.add("kvm_userspace_exit", at: 11_100, thread: 100, ["reason": 5])
    trace.entry(at: 11_400)
    var counter = try Counter(metadata: SyntheticTrace.metadata())
    counter.run(MemoryPages(trace.finished()))
    let time = counter.snapshot().total.time
    #expect(time.halted == 7000 + 300)
    #expect(time.user == 400 + 300)
    #expect(time.kernel == 200 + 100 + 100 + 100)
    let counted = figures(counter.totals.total)
    #expect(counted[Reason(tid: 100, code: ReasonCode(isa: 1, code: 12))]?.halted == 7300)
    #expect(counted[Reason(tid: 100, code: ReasonCode(isa: 1, code: 30))]?.halted == 0)
  }

  @Test("count a halt with the exit it was part of, whatever that is, and with what it is charged to")
  func haltsByExit() throws {
    var trace = SyntheticTrace()
    // A page fault on which the guest waits, and a HLT.
    trace.exit(48, at: 1000, info1: 2)
    trace.add("kvm_vcpu_wakeup", at: 1900, thread: 100, ["ns": 600])
    trace.entry(at: 2000)
    trace.exit(12, at: 3000)
    trace.add("kvm_vcpu_wakeup", at: 3900, thread: 100, ["ns": 700])
    trace.entry(at: 4000)
    // One that claims more than there was, and one that never ends.
    trace.exit(48, at: 5000, info1: 1)
    trace.add("kvm_vcpu_wakeup", at: 5100, thread: 100, ["ns": .max])
    trace.entry(at: 5200)
    trace.exit(12, at: 6000)
    trace.add("kvm_vcpu_wakeup", at: 6100, thread: 100, ["ns": 50])
    var counter = try Counter(metadata: SyntheticTrace.metadata())
    counter.run(MemoryPages(trace.finished()))
    #expect(counter.snapshot().total.time.halted == 1500)
    let counted = figures(counter.totals.total)
    #expect(counted[Reason(tid: 100, code: ReasonCode(isa: 1, code: 48))]?.halted == 800)
    #expect(counted[Reason(tid: 100, code: ReasonCode(isa: 1, code: 12))]?.halted == 700)
  }
}
