import Architecture
import Foundation
import Testing
import TraceFormat

@testable import Recording

@Suite("A recording") struct RecordingFileTests {
  private let folder: TemporaryFolder
  private let path: String

  init() throws {
    folder = try TemporaryFolder()
    path = folder.file()
  }

  /// Pages of three CPUs and a record of each kind.
  @discardableResult
  private func record(_ options: RecordingOptions = RecordingOptions(), pages: Int = 40) throws -> [Int: [[UInt8]]] {
    let writer = try RecordingWriter(to: .file(path: path), header: Sample.header, options: options)
    var expected: [Int: [[UInt8]]] = [:]
    for cpu in [0, 1, 5] {
      let made = Sample.pages(cpu: cpu, count: pages)
      expected[cpu] = made
      Sample.write(made, cpu: UInt32(cpu), to: writer)
    }
    writer.write(
      HostView(vms: [
        HostVM(
          pid: 10, fd: 7, name: "web", vmm: "qemu", vcpus: [HostVCPU(id: 0, tid: 11, threadName: "CPU 0/KVM")]),
        HostVM(pid: 20),
      ]), first: 1_000_000)
    writer.write(LossRecord(cpus: [LossRecord.CPU(cpu: 1, lost: 3, read: 900)]), first: 1_500_000)
    writer.write(
      ClockRecord(trace: 1_500_000, realtime: 1_700_000_000_000_000_000, monotonic: 1_500_000), first: 1_500_000)
    writer.write(WordsRecord(words: [11: ControlSetting(pin: 0x16, primary: 0xb5a0_6dfa)]), first: 1_200_000)
    writer.write(NoteRecord("CPUs online: 5"), first: 1_300_000)
    writer.write(ThreadNamesRecord(names: [11: "CPU 0/KVM", 12: "worker"]), first: 0)
    writer.write(sums: Array("sums".utf8), level: 0, first: 1_000_000, last: 2_000_000)
    writer.write(sums: Array("more".utf8), level: 1, first: 1_000_000, last: 9_000_000)
    let progress = writer.finish(commandStatus: 3)
    #expect(progress.failure == nil)
    #expect(progress.dropped == 0)
    #expect(progress.events == UInt64(expected.values.joined().reduce(0) { $0 + Sample.events($1) }))
    #expect(progress.kept == UInt64(try Data(contentsOf: URL(fileURLWithPath: path)).count))
    return expected
  }

  @Test("gives back every page and record as it was", arguments: [RecordingCompression.adaptive, .none, .level(-5)])
  func roundTrip(compression: RecordingCompression) throws {
    var options = RecordingOptions()
    options.compression = compression
    let expected = try record(options)
    let file = try RecordingFile(path: path)
    var header = Sample.header
    header.identity = file.header.identity
    #expect(file.header == header)
    #expect(file.header.identity.count == 16)
    #expect(file.isIndexed)
    #expect(try file.allPages() == expected)
    #expect(file.damage.isEmpty)
    guard case .whole(let end) = file.ending else {
      Issue.record("\(file.ending)")
      return
    }
    #expect(end.commandStatus == 3)
    #expect(end.reason == .asked)
    #expect(file.latest(HostView.self)?.record.vms.map(\.pid) == [10, 20])
    #expect(file.latest(HostView.self)?.record.vms.first?.vcpus.first?.threadName == "CPU 0/KVM")
    #expect(file.latest(LossRecord.self)?.record.cpus.first?.lost == 3)
    #expect(file.latest(ClockRecord.self)?.record.realtime == 1_700_000_000_000_000_000)
    #expect(file.latest(WordsRecord.self)?.record.words[11]?.primary == 0xb5a0_6dfa)
    #expect(file.latest(WordsRecord.self, at: 1_100_000) == nil, "the words were not known yet")
    #expect(file.records(NoteRecord.self).map(\.record.text) == ["CPUs online: 5"])
    #expect(file.commandNames == [11: "CPU 0/KVM", 12: "worker"])
    #expect(file.sums(level: 0).compactMap { file.payload($0) } == [Array("sums".utf8)])
    #expect(file.sums(level: 1, in: 0...8_000_000).isEmpty, "it reaches beyond")
    #expect(file.timeBounds?.first == 1_000_000)
    #expect(try file.header.metadata().page == Sample.layout)
  }

  @Test("opens without its index as with it") func scanned() throws {
    let expected = try record()
    let indexed = try RecordingFile(path: path)
    // Cut off the END, and with it the way to the index.
    truncate(path, try FileManager.default.attributesOfItem(atPath: path)[.size] as! Int - 1)
    let scanned = try RecordingFile(path: path)
    #expect(!scanned.isIndexed)
    #expect(scanned.ending == .cutOff)
    #expect(scanned.chunks.map(\.header) == indexed.chunks.dropLast().map(\.header))
    #expect(scanned.damage.count == 1)
    #expect(try scanned.allPages() == expected)
  }

  @Test("of a span of time has the pages with its events, and few others") func range() throws {
    let expected = try record()
    let file = try RecordingFile(path: path)
    let all = try #require(expected[1])
    let bases = all.map { $0.withUnsafeBytes { $0.loadUnaligned(as: UInt64.self) } }
    let pages = Sample.read(try file.pages(in: bases[20] + 5...bases[22]))
    #expect(pages[1]?.first == all[20])
    #expect(pages[1]?.last == all[22])
    #expect(pages[1]?.count == 3)
  }

  @Test("that is there is not overwritten unless that is asked for") func overwriting() throws {
    try record()
    let error = #expect(throws: RecordingError.self) {
      try RecordingWriter(to: .file(path: path), header: Sample.header)
    }
    #expect(error?.description == "\(path) exists")
    var options = RecordingOptions()
    options.overwrites = true
    try record(options, pages: 3)
    #expect(try RecordingFile(path: path).allPages()[0]?.count == 3)
  }

  @Test("has one writer: a second is refused, also where it may overwrite", arguments: [false, true])
  func secondWriter(overwrites: Bool) throws {
    let writer = try RecordingWriter(to: .file(path: path), header: Sample.header)
    let made = Sample.pages(cpu: 0, count: 20)
    Sample.write(made, cpu: 0, to: writer)
    var options = RecordingOptions()
    options.overwrites = overwrites
    let error = #expect(throws: RecordingError.self) {
      try RecordingWriter(to: .file(path: path), header: Sample.header, options: options)
    }
    #expect(error?.description == "\(path) is being written by process \(getpid())")
    while writer.progress.queued > 0 { usleep(1000) }
    let early = try RecordingFile(path: path)
    #expect(early.ending == .beingWritten)
    #expect(early.damage.isEmpty)
    #expect(try early.allPages()[0] == made)
    writer.finish()
    let file = try RecordingFile(path: path)
    #expect(try file.allPages()[0] == made)
    guard case .whole = file.ending else {
      Issue.record("\(file.ending)")
      return
    }
  }

  @Test("says exactly what its queue could not take, and where") func fullQueue() throws {
    var options = RecordingOptions()
    options.queueLimit = 100_000
    options.compression = .level(19)
    let writer = try RecordingWriter(to: .file(path: path), header: Sample.header, options: options)
    let made = Sample.pages(cpu: 2, count: 1500)
    Sample.write(made, cpu: 2, to: writer)
    // Room again: the gap ends.
    while writer.progress.queued > 0 { usleep(1000) }
    let more = Sample.pages(cpu: 2, count: 8, from: 10_000_000_000)
    Sample.write(more, cpu: 2, to: writer)
    let progress = writer.finish()
    let total = UInt64((made + more).reduce(0) { $0 + Sample.events($1) })
    #expect(progress.dropped > 0)
    #expect(progress.events + progress.dropped == total)
    let file = try RecordingFile(path: path)
    let pages = try #require(try file.allPages()[2])
    #expect(pages.reduce(0) { $0 + Sample.events($1) } == Int(progress.events))
    #expect(file.lostEvents() == [2: progress.dropped])
    let gaps = file.records(GapRecord.self).filter { !$0.record.isOpen }
    #expect(gaps.reduce(0) { $0 + $1.record.events } == progress.dropped)
    #expect(pages.filter { Sample.missed($0) == .uncounted }.count == gaps.count)
    guard case .whole(let end) = file.ending else { return }
    #expect(end.dropped == progress.dropped)
  }

  @Test("keeps the pages of each set of formats apart, when the host's events change") func generations() throws {
    let writer = try RecordingWriter(to: .file(path: path), header: Sample.header)
    let early = Sample.pages(cpu: 0, count: 4)
    let late = Sample.pages(cpu: 0, count: 4, from: 5_000_000_000)
    Sample.write(early, cpu: 0, to: writer)
    var changed = Sample.header
    changed.formats = []
    writer.change(to: changed, at: 4_000_000_000)
    Sample.write(late, cpu: 0, to: writer)
    writer.finish()
    let file = try RecordingFile(path: path)
    #expect(file.generations.map(\.number) == [0, 1])
    #expect(file.generations.map(\.header.formats.count) == [1, 0])
    #expect(Sample.read(try file.pages(generation: 0))[0] == early)
    #expect(Sample.read(try file.pages())[0] == late)
  }

  @Test("keeps the parts that are young enough, and each begins with what there is to know") func age() throws {
    var options = RecordingOptions()
    options.longestAge = 2_000_000_000
    let writer = try RecordingWriter(to: .file(path: path), header: Sample.header, options: options)
    writer.write(HostView(vms: [HostVM(pid: 3)]), first: 5)
    let start = now()
    var count: UInt64 = 0
    // A part each quarter of a second; the first ones are too old by the end.
    while now() &- start < 4_000_000_000 {
      Sample.write(Sample.pages(cpu: 0, count: 1, from: 1_000_000_000 * (count + 1)), cpu: 0, to: writer)
      count += 1
      usleep(50_000)
      writer.maintain()
    }
    let progress = writer.finish()
    #expect(progress.partsDropped > 0)
    let file = try RecordingFile(path: path)
    #expect(file.damage.isEmpty)
    #expect(file.paths.count == Int(progress.parts))
    let kept = try #require(try file.allPages()[0]).count
    #expect(kept >= Int(count) / 4 && kept < Int(count))
    #expect(file.latest(HostView.self)?.record.vms.first?.pid == 3)
    for part in file.paths.dropLast() {
      #expect(try RecordingFile(path: part).latest(HostView.self)?.record.vms.first?.pid == 3, "\(part)")
    }
  }

  @Test("that rotates keeps its size, drops the oldest, and is read through its own name") func rotation() throws {
    var options = RecordingOptions()
    options.largestSize = RecordingOptions.smallestSize
    options.compression = .none
    let writer = try RecordingWriter(to: .file(path: path), header: Sample.header, options: options)
    let made = Sample.pages(cpu: 0, count: 8000)
    writer.write(HostView(vms: [HostVM(pid: 42)]), first: 1)
    for start in stride(from: 0, to: made.count, by: 200) {
      Sample.write(Array(made[start..<start + 200]), cpu: 0, to: writer)
      while writer.progress.queued > 0 { usleep(200) }
      writer.maintain()
      let size = try FileManager.default.contentsOfDirectory(atPath: folder.path).reduce(0) {
        $0 + (try FileManager.default.attributesOfItem(atPath: "\(folder.path)/\($1)")[.size] as! Int)
      }
      #expect(size <= Int(RecordingOptions.smallestSize))
    }
    let progress = writer.finish()
    #expect(progress.failure == nil)
    #expect(progress.partsDropped > 0)
    let file = try RecordingFile(path: path)
    #expect(file.paths.count == Int(progress.parts))
    #expect(file.isIndexed)
    #expect(file.damage.isEmpty)
    #expect(file.latest(HostView.self)?.record.vms.first?.pid == 42, "repeated in each part")
    let pages = try #require(try file.allPages()[0])
    #expect(pages.count > made.count / 10)
    #expect(pages.elementsEqual(made.suffix(pages.count)))
    // All the parts, one behind the other, are a recording too.
    var whole = Data()
    for path in file.paths { whole += try Data(contentsOf: URL(fileURLWithPath: path)) }
    try whole.write(to: URL(fileURLWithPath: folder.file("joined")))
    let joined = try RecordingFile(path: folder.file("joined"))
    #expect(joined.isIndexed)
    #expect(joined.damage.isEmpty)
    #expect(joined.chunks.count == file.chunks.count)
    #expect(try joined.allPages()[0]?.elementsEqual(pages) == true)
    // A part that is missing is told.
    try FileManager.default.removeItem(atPath: file.paths[file.paths.count / 2])
    let holed = try RecordingFile(path: path)
    #expect(holed.damage.count == 1)
    let rest = try #require(try holed.allPages()[0])
    #expect(rest.filter { Sample.missed($0) == .uncounted }.count == 1)
  }

  @Test(
    "of another program, or none at all, is refused in words",
    arguments: ["", "PERFILE2 and more", "\u{17}\u{8}Dtracing6"])
  func notARecording(text: String) throws {
    try Data(text.utf8).write(to: URL(fileURLWithPath: path))
    let error = #expect(throws: RecordingError.self) { try RecordingFile(path: path) }
    #expect(error?.code == .notARecording)
  }

  @Test("of a later version is refused, and says so") func laterVersion() throws {
    try record()
    var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
    bytes[8] = UInt8(RecordingFile.version + 1)
    bytes.replaceSubrange(12..<16, with: [UInt8](littleEndian: bytes[..<12].withUnsafeBytes { crc32c($0) }))
    try Data(bytes).write(to: URL(fileURLWithPath: path))
    let error = #expect(throws: RecordingError.self) { try RecordingFile(path: path) }
    #expect(error?.code == .unsupported)
  }

  @Test("says version 2 where nothing but sums of version 2 is in it: who reads 1 only would take it for an idle host")
  func versions() {
    func version(_ level: RecordingLevel) -> UInt32? {
      RecordingPrefix.encoded(level).withUnsafeBytes { RecordingPrefix.version($0) }
    }
    #expect(version(.events) == 1)
    #expect(version(.summary) == 2)
  }
}

@Suite("The checksum CRC-32C") struct ChecksumTests {
  @Test("is that of RFC 3720, appendix B.4") func vectors() {
    #expect([UInt8](repeating: 0, count: 32).withUnsafeBytes { crc32c($0) } == 0x8a91_36aa)
    #expect([UInt8](repeating: 0xff, count: 32).withUnsafeBytes { crc32c($0) } == 0x62a8_ab43)
    #expect([UInt8](0..<32).withUnsafeBytes { crc32c($0) } == 0x46dd_794e)
    #expect(Array("123456789".utf8).withUnsafeBytes { crc32c($0) } == 0xe306_9283)
  }
}
