import Architecture
import Foundation
import Testing
import TraceFormat

@testable import Recording

@Suite("A recording through a pipe") struct RecordingStreamTests {
  private func makePipe() -> (reading: Int32, writing: Int32) {
    var ends: [Int32] = [-1, -1]
    #expect(pipe(&ends) == 0)
    return (ends[0], ends[1])
  }

  @Test("gives the same chunks as a file") func roundTrip() async throws {
    let ends = makePipe()
    let made = (0..<3).map { Sample.pages(cpu: $0, count: 200) }
    let reader = Task.detached { () -> ([ChunkKind], [Int: [[UInt8]]], Bool, Int) in
      let stream = RecordingStream(descriptor: ends.reading)
      let queue = RecordingPageQueue(layout: Sample.layout)
      var kinds: [ChunkKind] = []
      reading: while true {
        switch try stream.next() {
        case .chunk(let header, let payload):
          kinds.append(header.kind)
          if header.kind == .pages { queue.add(header, payload) }
        case .end: break reading
        case .nothing, .woken: Issue.record("nobody asked for that")
        }
      }
      return (kinds, Sample.read(queue), stream.isWhole, stream.damage.count)
    }
    let writer = try RecordingWriter(to: .stream(descriptor: ends.writing), header: Sample.header)
    for (cpu, pages) in made.enumerated() { Sample.write(pages, cpu: UInt32(cpu), to: writer) }
    let progress = writer.finish()
    close(ends.writing)
    let (kinds, pages, isWhole, damage) = try await reader.value
    close(ends.reading)
    #expect(progress.failure == nil && progress.dropped == 0)
    #expect(kinds.first == .header)
    #expect(kinds.suffix(2) == [.index, .end])
    #expect(isWhole)
    #expect(damage == 0)
    for (cpu, all) in made.enumerated() { #expect(pages[cpu] == all) }
  }

  @Test("that nobody reads drops pages, keeps all else, and never makes the sampler wait")
  func slowReader() async throws {
    let ends = makePipe()
    var options = RecordingOptions()
    options.queueLimit = 1 << 18
    options.compression = .none
    let writer = try RecordingWriter(to: .stream(descriptor: ends.writing), header: Sample.header, options: options)
    let made = Sample.pages(cpu: 0, count: 2500)
    let start = now()
    Sample.write(made, cpu: 0, to: writer)
    for second in 0..<50 {
      writer.write(sums: [UInt8(second)], level: 0, first: UInt64(second), last: UInt64(second) + 1)
    }
    #expect(now() - start < 20_000_000_000, "nobody waited for the reader")
    let before = writer.progress
    #expect(before.dropped > 0)
    // Now it is read after all.
    let reader = Task.detached { () -> (UInt64, Int, [GapRecord], Bool) in
      let stream = RecordingStream(descriptor: ends.reading)
      var events: UInt64 = 0
      var sums = 0
      var gaps: [GapRecord] = []
      let queue = RecordingPageQueue(layout: Sample.layout)
      while case .chunk(let header, let payload) = try stream.next() {
        switch header.kind {
        case .pages: queue.add(header, payload)
        case .sums: sums += 1
        case .gap: gaps.append(try GapRecord(decoding: payload))
        default: break
        }
      }
      while let page = queue.nextPage(stream: 0) { events += UInt64(Sample.events(Array(page))) }
      return (events, sums, gaps, stream.isWhole)
    }
    while writer.progress.queued > 0 { usleep(1000) }
    // There is room again: it goes on.
    Sample.write(Sample.pages(cpu: 0, count: 8, from: 9_000_000_000), cpu: 0, to: writer)
    let progress = writer.finish()
    close(ends.writing)
    let (events, sums, gaps, isWhole) = try await reader.value
    close(ends.reading)
    #expect(isWhole)
    #expect(sums == 50)
    #expect(events == progress.events)
    #expect(gaps.filter { !$0.isOpen }.reduce(0) { $0 + $1.events } == progress.dropped)
    #expect(gaps.first?.isOpen == true, "told at once, not when it is over")
    #expect(!progress.isDegraded)
  }

  @Test("whose reader leaves ends in peace") func readerLeaves() throws {
    let ends = makePipe()
    let writer = try RecordingWriter(to: .stream(descriptor: ends.writing), header: Sample.header)
    close(ends.reading)
    let limit = now() + 5_000_000_000
    // Noticed without anything being written.
    while !writer.progress.hasReaderLeft, now() < limit { usleep(1000) }
    #expect(writer.progress.hasReaderLeft)
    Sample.write(Sample.pages(cpu: 0, count: 100), cpu: 0, to: writer)
    let progress = writer.finish()
    #expect(progress.failure == nil)
    close(ends.writing)
  }

  @Test("cut, flipped or of something else is told, and never a trap") func damaged() throws {
    let folder = try TemporaryFolder()
    let writer = try RecordingWriter(to: .file(path: folder.file()), header: Sample.header)
    let made = Sample.pages(cpu: 0, count: 60)
    Sample.write(made, cpu: 0, to: writer, perBlock: 4)
    writer.finish()
    let good = [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder.file())))
    var generator = Sample.Generator(state: 21)
    for round in 0..<300 {
      var bytes = good
      let place = Int.random(in: 0..<bytes.count, using: &generator)
      if round % 3 == 0 { bytes.removeLast(bytes.count - place) } else { bytes[place] ^= 0x10 }
      let ends = makePipe()
      // Small enough for the pipe as a whole: nobody waits for anybody.
      _ = fcntl(ends.writing, 1031, 1 << 20)
      #expect(bytes.withUnsafeBytes { write(ends.writing, $0.baseAddress, $0.count) } == bytes.count)
      close(ends.writing)
      defer { close(ends.reading) }
      let stream = RecordingStream(descriptor: ends.reading)
      let queue = RecordingPageQueue(layout: Sample.layout)
      var failed = false
      do {
        while case .chunk(let header, let payload) = try stream.next() {
          if stream.followsDamage { queue.noteDamage() }
          if header.kind == .pages { queue.add(header, payload) }
        }
      } catch { failed = true }
      let pages = Sample.read(queue)[0] ?? []
      #expect(failed || !stream.isWhole || !stream.damage.isEmpty, "round \(round), byte \(place)")
      for page in pages where Sample.missed(page) == .none {
        let isKnown = made.contains(page)
        #expect(isKnown, "round \(round), byte \(place)")
      }
    }
    let ends = makePipe()
    let nonsense = [UInt8](repeating: 0x41, count: 100)
    _ = nonsense.withUnsafeBytes { write(ends.writing, $0.baseAddress, $0.count) }
    close(ends.writing)
    let stream = RecordingStream(descriptor: ends.reading)
    guard case .end = try stream.next() else {
      Issue.record("there is nothing in it")
      return
    }
    #expect(!stream.isWhole)
    close(ends.reading)
  }
}

@Suite("The look-back") struct LookBackTests {
  @Test("holds what its seconds and bytes allow, and what was true before") func bounds() throws {
    var lookBack = LookBack(longestAge: 10_000_000_000, limit: 200_000)
    let pages = Sample.pages(cpu: 0, count: 400)
    var at: UInt64 = 0
    lookBack.add(HostView(vms: [HostVM(pid: 1)]), at: 10, now: 0)
    for start in stride(from: 0, to: pages.count, by: 4) {
      var block = PageBlock(cpu: 0, bytes: [])
      block.bytes.reserveCapacity(1 << 20)
      for page in pages[start..<start + 4] { page.withUnsafeBytes { block.add($0) } }
      lookBack.add(block, now: at)
      at += 100_000_000
      #expect(lookBack.bytes <= 200_000)
      if start == 200 { lookBack.add(HostView(vms: [HostVM(pid: 2)]), at: 1 << 40, now: at) }
    }
    let folder = try TemporaryFolder()
    let writer = try RecordingWriter(to: .file(path: folder.file()), header: Sample.header)
    lookBack.empty(into: writer)
    #expect(lookBack.bytes == 0)
    #expect(lookBack.firstTime == nil)
    writer.finish()
    let file = try RecordingFile(path: folder.file())
    let kept = try #require(try file.allPages()[0])
    #expect(kept.count > 20 && kept.count < 400)
    #expect(kept.elementsEqual(pages.suffix(kept.count)))
    #expect(file.records(HostView.self).map { $0.record.vms[0].pid } == [1, 2])
  }

  @Test("forgets what is too old") func age() {
    var lookBack = LookBack(longestAge: 1000, limit: 1 << 20)
    var block = PageBlock(cpu: 0, bytes: [])
    Sample.pages(cpu: 0, count: 1)[0].withUnsafeBytes { block.add($0) }
    lookBack.add(block, now: 0)
    lookBack.add(block, now: 900)
    lookBack.prune(1500)
    #expect((block.bytes.count..<block.bytes.count + 64).contains(lookBack.bytes), "one of the two")
    lookBack.prune(5000)
    #expect(lookBack.bytes == 0)
  }
}
