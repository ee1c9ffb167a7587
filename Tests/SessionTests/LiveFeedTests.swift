import Aggregator
import Architecture
import CTinyGuest
import Foundation
import Sampler
import Testing
import TraceFormat
import Tracefs

@testable import Session

/// True if a guest of a few instructions runs here and we may trace it.
private let canRunGuest: Bool = {
  guard getuid() == 0, let root = try? TracefsRoot.find(), root.hasKVMEvents else { return false }
  return tinyguest_run(1).error == 0
}()
private let guestNeeds: Comment = "needs root, tracefs, the module kvm and a usable /dev/kvm"

/// A guest on a thread of its own that runs until it is told to end.
private final class Guest: @unchecked Sendable {
  private let lock = NSLock()
  private var isEnding = false
  private let done = DispatchSemaphore(value: 0)

  init(outs: UInt32) {
    Thread.detachNewThread { [self] in
      while !lock.withLock({ isEnding }) { _ = tinyguest_run(outs) }
      done.signal()
    }
  }

  func end() {
    lock.withLock { isEnding = true }
    done.wait()
  }
}

@Suite("Live counting", .serialized, .enabled(if: canRunGuest, guestNeeds))
struct LiveFeedTests {
  @Test("the window begins with the tracing: no event lies outside it")
  func window() throws {
    let guest = Guest(outs: 2000)
    usleep(20_000)
    let feed = try LiveFeed(LiveOptions(), SessionOptions())
    defer { feed.close() }
    feed.advance()
    usleep(50_000)
    feed.finish()
    guest.end()
    let snapshot = feed.snapshot()
    // Of any kind: where guests run without hardware support there is no kvm_exit.
    #expect(snapshot.events > 0)
    #expect(snapshot.windowNanoseconds >= snapshot.lastTimestamp - snapshot.firstTimestamp)
  }

  @Test("told to end within an interval hands over what was counted until then")
  func woken() throws {
    let bell = Doorbell()
    bell.ring()
    let session = try Session(.live(LiveOptions(bufferKiBPerCPU: 64)))
    defer { session.close() }
    session.interval = 600
    var snapshots: [Snapshot] = []
    session.forEachInterval(count: nil, wake: bell.reading) { snapshot in
      snapshots.append(snapshot)
      return true
    }
    #expect(snapshots.count == 1)
    #expect((snapshots.first?.intervalNanoseconds ?? .max) < 600_000_000_000)
  }

  @Test("what a small buffer lost is counted to the last event, though full sub-buffers have no room for the number")
  func losses() throws {
    let feed = try LiveFeed(LiveOptions(bufferKiBPerCPU: 64, subBufferKiB: 4), SessionOptions())
    defer { feed.close() }
    // Several rounds of overruns: about one sub-buffer in ten is too full to hold a number.
    for round in 0..<30 {
      let guest = Guest(outs: 3000)
      usleep(2000)
      guest.end()
      feed.advance()
      if round % 10 == 9 { #expect(feed.snapshot().losses.uncounted == 0) }
    }
    feed.finish()
    let losses = feed.snapshot().losses
    #expect(losses.lost > 0)
    #expect(losses.uncounted == 0)
    #expect(losses.perCPU.reduce(0) { $0 + $1.lost } == losses.lost)
  }

  @Test("what comes after a mark is counted by itself: each event is before it or after it")
  func sinceMark() throws {
    let feed = try LiveFeed(LiveOptions(), SessionOptions())
    defer { feed.close() }
    func ask(_ command: SessionCommand) -> CommandOutcome { feed.handle(command, interval: 1) { _, _ in } }
    #expect(ask(.markBefore) == .refused("nothing was counted yet"))
    let guest = Guest(outs: 2000)
    defer { guest.end() }
    func next() -> Snapshot {
      usleep(30_000)
      feed.advance()
      return feed.snapshot()
    }
    _ = next()
    let shown = next()
    usleep(10_000)
    feed.advance()
    #expect(ask(.markBefore) == .done)
    for _ in 0..<3 {
      let snapshot = next()
      let mark = try #require(snapshot.sinceMark)
      let after = try #require(mark.after)
      #expect(mark.before.sequence == shown.sequence)
      #expect(mark.before.events + after.events == snapshot.events)
      #expect(mark.before.total.exits + after.total.exits == snapshot.total.exits)
      #expect(mark.before.windowNanoseconds + after.windowNanoseconds == snapshot.windowNanoseconds)
      #expect(after.events >= snapshot.intervalEvents)
      #expect(after.source.isSame(as: snapshot.source))
    }
    #expect(ask(.forgetBefore) == .done)
    #expect(next().sinceMark == nil)
  }

  @Test("refuses to be moved about in, and takes time for its intervals") func requests() throws {
    let feed = try LiveFeed(LiveOptions(bufferKiBPerCPU: 64), SessionOptions())
    defer { feed.close() }
    func ask(_ command: SessionCommand) -> CommandOutcome { feed.handle(command, interval: 1) { _, _ in } }
    #expect(ask(.seek(1)) == .refused("for recordings only"))
    #expect(ask(.setSpeed(2)) == .refused("for recordings only"))
    #expect(ask(.setPaused(true)) == .done)
    #expect(!feed.isHeld)
    #expect(ask(.watch([])) == .done)
    #expect(feed.length == nil)
    #expect(feed.passInterval(1, isFirst: true, wake: -1) == .takesTime)
  }

  @Test(
    "hands each page to its consumer as it is read: every event that is counted, and before the watermark that says so")
  func consumer() throws {
    let pipeline = try LivePipeline(LiveOptions(bufferKiBPerCPU: 256), SessionOptions())
    defer { pipeline.close() }
    let consumer = CountingConsumer(layout: pipeline.sampler.metadata.page)
    pipeline.hand(to: consumer)
    #expect(consumer.hosts == 1, "what is known already comes first")
    let guest = Guest(outs: 2000)
    var rounds = 0
    // However long the guest takes to come to its turn.
    while rounds < 5 || consumer.events == 0 && rounds < 3000 {
      usleep(20_000)
      pipeline.advance()
      #expect(consumer.events >= pipeline.countedEvents)
      rounds += 1
    }
    pipeline.maintain()
    #expect(consumer.seconds == 1)
    #expect(consumer.hosts >= 2)
    guest.end()
    pipeline.finish()
    #expect(consumer.drains >= 6)
    #expect(consumer.events > 0)
    #expect(consumer.events == pipeline.countedEvents)
    // Cut or not, what was counted is what was counted.
    let sums = pipeline.cut()
    #expect(sums.events == consumer.events)
    #expect(pipeline.countedEvents == consumer.events)
    #expect(pipeline.cut().events == 0)
  }
}

/// Counts what it is handed.
private final class CountingConsumer: LiveConsumer {
  private let layout: PageLayout
  private(set) var events: UInt64 = 0
  private(set) var drains = 0
  private(set) var hosts = 0
  private(set) var seconds = 0
  private var watermark: UInt64 = 0

  init(layout: PageLayout) { self.layout = layout }

  func beginDrain() {}

  func take(_ page: UnsafeRawBufferPointer, cpu: Int) {
    var cursor = SubBufferCursor(page: page, layout: layout)
    while cursor.next() { events += 1 }
  }

  func endDrain(_ pipeline: LivePipeline) {
    drains += 1
    #expect(pipeline.watermark ?? 0 >= watermark)
    watermark = pipeline.watermark ?? 0
  }

  func take(words: [Int32: ControlSetting], at time: UInt64) {}
  func take(host: [HostVM], at time: UInt64) { hosts += 1 }
  func willCountAfresh(_ pipeline: LivePipeline) { Issue.record("nothing changed") }
  func everySecond(_ pipeline: LivePipeline) { seconds += 1 }
}
