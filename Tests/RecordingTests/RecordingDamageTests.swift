import Architecture
import Foundation
import Testing
import TraceFormat

@testable import Recording

/// What a reader may show of a damaged recording: pages and records that were written, and nothing else.
private struct Original {
  var bytes: [UInt8]
  var pages: [Int: [[UInt8]]]
  var chunkEnds: [Int]
  var headerEnd: Int

  /// - Parameter repeatsHeader: as it is every 64 MiB.
  init(pageCount: Int, compression: RecordingCompression, repeatsHeader: Bool = false) throws {
    let folder = try TemporaryFolder()
    var options = RecordingOptions()
    options.compression = compression
    let writer = try RecordingWriter(to: .file(path: folder.file()), header: Sample.header, options: options)
    pages = [:]
    for part in 0..<4 {
      for cpu in 0..<2 {
        let made = Sample.pages(cpu: cpu, count: pageCount / 4, from: UInt64(part + 1) * 1_000_000_000)
        pages[cpu, default: []] += made
        Sample.write(made, cpu: UInt32(cpu), to: writer, perBlock: 4)
      }
      writer.write(HostView(vms: [HostVM(pid: Int32(part))]), first: UInt64(part + 1) * 1_000_000_000)
      writer.write(sums: [UInt8](repeating: UInt8(part), count: 40), level: 0, first: 0, last: UInt64(part))
      if repeatsHeader, part == 1 { writer.write(Sample.header, first: 0) }
    }
    writer.finish()
    let file = try RecordingFile(path: folder.file())
    bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder.file())))
    chunkEnds = file.chunks.map { Int($0.end) }
    headerEnd = chunkEnds[0]
  }

  /// Reads damaged bytes, and holds what comes out against what went in. Returns nil where it was refused, else the pages and
  /// whether damage was told.
  ///
  /// - Parameter isForged: somebody made the checksums right again; he could have left pages out in the first place.
  func check(
    _ damaged: [UInt8], _ path: String, _ what: String, isForged: Bool = false,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> (pages: Int, isDamaged: Bool)? {
    damaged.withUnsafeBytes { bytes in
      let descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC, 0o600)
      _ = write(descriptor, bytes.baseAddress, bytes.count)
      close(descriptor)
    }
    let file: RecordingFile
    do { file = try RecordingFile(path: path) } catch { return nil }
    var count = 0
    let read = try file.allPages()
    for (cpu, found) in read {
      let all = try #require(pages[cpu], "\(what): CPU \(cpu)", sourceLocation: sourceLocation)
      // Each page is one that was written, in their order; where some are missing the next one says so.
      var next = 0
      for page in found {
        let isMarked = Sample.missed(page) != .none
        guard let place = all[next...].firstIndex(where: { Self.isSame($0, page, isMarked: isMarked) }) else {
          Issue.record("\(what): a page of CPU \(cpu) that nobody wrote", sourceLocation: sourceLocation)
          return nil
        }
        if place != next, !isForged {
          #expect(isMarked, "\(what): pages are missing without a word", sourceLocation: sourceLocation)
        }
        next = place + 1
      }
      count += found.count
    }
    for (_, record) in file.records(HostView.self) {
      #expect(record.vms.count == 1 && (0..<4).contains(record.vms[0].pid), "\(what)", sourceLocation: sourceLocation)
    }
    for index in file.indices(of: .sums) {
      guard let payload = file.payload(index) else { continue }
      #expect(payload.count == 40 && Set(payload).count == 1, "\(what)", sourceLocation: sourceLocation)
    }
    let isDamaged = !file.damage.isEmpty || file.ending == .cutOff
    let total = pages.values.reduce(0) { $0 + $1.count }
    if count < total, !isForged {
      #expect(isDamaged, "\(what): less than all is shown as whole", sourceLocation: sourceLocation)
    }
    return (count, isDamaged)
  }

  /// But for the mark that something is missing before it.
  private static func isSame(_ one: [UInt8], _ other: [UInt8], isMarked: Bool) -> Bool {
    guard isMarked else { return one == other }
    var one = one
    one[11] = one[11] & 0x3f | 0x80
    return one == other
  }
}

@Suite("A damaged recording") struct RecordingDamageTests {
  private let folder: TemporaryFolder
  init() throws { folder = try TemporaryFolder() }

  @Test("cut anywhere has every chunk before the cut", arguments: [RecordingCompression.none, .level(1)])
  func cut(compression: RecordingCompression) throws {
    let original = try Original(pageCount: 16, compression: compression)
    var generator = Sample.Generator(state: 42)
    // Every byte of the last chunks, and a thousand other places.
    let last = original.chunkEnds.count >= 6 ? original.chunkEnds[original.chunkEnds.count - 6] : 0
    var places = Array(last..<original.bytes.count)
    for _ in 0..<1000 { places.append(Int.random(in: 0..<original.bytes.count, using: &generator)) }
    let total = original.pages.values.reduce(0) { $0 + $1.count }
    #expect(try original.check(original.bytes, folder.file(), "whole")?.pages == total)
    for place in places {
      let result = try original.check(Array(original.bytes[..<place]), folder.file(), "cut at \(place)")
      guard place >= original.headerEnd else {
        #expect(result == nil, "there is no header in \(place) bytes")
        continue
      }
      let read = try #require(result, "cut at \(place)")
      #expect(read.isDamaged, "cut at \(place)")
      // The chunks before the cut, all of them.
      let whole = original.chunkEnds.prefix { $0 <= place }.count
      let file = try RecordingFile(path: folder.file())
      #expect(file.chunks.count == whole, "cut at \(place)")
    }
  }

  @Test("with any byte flipped shows what is good of it, and nothing that was not recorded")
  func flipped() throws {
    for compression in [RecordingCompression.none, .level(1)] {
      let original = try Original(pageCount: 16, compression: compression, repeatsHeader: true)
      let total = original.pages.values.reduce(0) { $0 + $1.count }
      var generator = Sample.Generator(state: 7)
      var refused = 0
      for round in 0..<5000 {
        var bytes = original.bytes
        let place = Int.random(in: 0..<bytes.count, using: &generator)
        bytes[place] ^= UInt8.random(in: 1...255, using: &generator)
        guard let read = try original.check(bytes, folder.file(), "round \(round), byte \(place)") else {
          refused += 1
          continue
        }
        // One byte costs one chunk at most: four pages.
        #expect(read.pages >= total - 4, "round \(round), byte \(place)")
      }
      #expect(refused == 0, "the header is there twice")
    }
  }

  @Test("with many bytes flipped, pieces removed and pieces doubled is read without a trap")
  func mangled() throws {
    let original = try Original(pageCount: 16, compression: .level(1), repeatsHeader: true)
    var generator = Sample.Generator(state: 99)
    for round in 0..<1000 {
      var bytes = original.bytes
      for _ in 0..<Int.random(in: 1...20, using: &generator) {
        let place = Int.random(in: 0..<bytes.count, using: &generator)
        bytes[place] = UInt8.random(in: 0...255, using: &generator)
      }
      let start = Int.random(in: 0..<bytes.count, using: &generator)
      let end = min(bytes.count, start + Int.random(in: 1...3000, using: &generator))
      switch round % 3 {
      case 0: bytes.removeSubrange(start..<end)
      case 1: bytes.insert(contentsOf: [UInt8](repeating: 0, count: end - start), at: start)
      default: break
      }
      _ = try original.check(bytes, folder.file(), "round \(round)")
    }
  }

  @Test("does not take for a chunk what a guest wrote into its events")
  func forgedChunk() throws {
    // A page whose event holds a whole chunk, checksums and all, of another recording number.
    let forged = HostView(vms: [HostVM(pid: 666)]).encoded()
    var header = ChunkHeader(
      kind: .host, storedLength: UInt32(forged.count), rawLength: UInt32(forged.count), first: 5, last: 5, recording: 1,
      sequence: 2, payloadChecksum: forged.withUnsafeBytes { crc32c($0) })
    header.sequence = 2
    var page = SubBufferWriter(layout: Sample.layout)
    var payload = [UInt8](littleEndian: UInt64(77))
    payload += header.encoded + forged
    let isTaken = page.append(timestamp: 1000, payload: payload)
    #expect(isTaken)
    var options = RecordingOptions()
    options.compression = .none
    let writer = try RecordingWriter(to: .file(path: folder.file()), header: Sample.header, options: options)
    Sample.write([page.finish()], cpu: 0, to: writer)
    Sample.write(Sample.pages(cpu: 0, count: 4, from: 5000), cpu: 0, to: writer)
    writer.finish()
    var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder.file())))
    let file = try RecordingFile(path: folder.file())
    let place = Int(try #require(file.chunks.first { $0.header.kind == .pages }).offset)
    bytes[place + 20] ^= 1
    bytes.removeLast()
    try Data(bytes).write(to: URL(fileURLWithPath: folder.file()))
    let damaged = try RecordingFile(path: folder.file())
    #expect(damaged.latest(HostView.self) == nil)
    #expect(!damaged.damage.isEmpty)
  }

  @Test("whose index was forged shows no page that was not recorded", arguments: [0, 4, 8, 16, 24, 32, 36])
  func forgedIndex(field: Int) throws {
    let original = try Original(pageCount: 16, compression: .none)
    var bytes = original.bytes
    // The entry of the second chunk, with the checksums made right again.
    let index = original.chunkEnds[original.chunkEnds.count - 3]
    bytes[index + ChunkHeader.size + ChunkIndex.entrySize + field] ^= 1
    var header = try #require(bytes[index...].withUnsafeBytes { ChunkHeader($0) })
    let payload = bytes[(index + ChunkHeader.size)..<(index + ChunkHeader.size + Int(header.storedLength))]
    header.payloadChecksum = payload.withUnsafeBytes { crc32c($0) }
    bytes.replaceSubrange(index..<index + ChunkHeader.size, with: header.encoded)
    _ = try #require(try original.check(bytes, folder.file(), "field \(field)", isForged: true))
  }
}

@Suite("Room on the disk", .serialized) struct FullDiskTests {
  /// A tmpfs of a few MiB.
  private func withSmallDisk(_ body: (String) throws -> Void) throws {
    let folder = try TemporaryFolder()
    guard mount("tmpfs", folder.path, "tmpfs", 0, "size=3m") == 0 else {
      Issue.record("cannot mount a tmpfs: \(String(cString: strerror(errno)))")
      return
    }
    defer { umount2(folder.path, Int32(MNT_DETACH)) }
    try body(folder.file())
  }

  @Test(
    "that runs out ends the recording in one line, and loses nothing that was written",
    .enabled(if: getuid() == 0, "needs root to mount a tmpfs"))
  func fullDisk() throws {
    try withSmallDisk { path in
      var options = RecordingOptions()
      options.compression = .none
      let writer = try RecordingWriter(to: .file(path: path), header: Sample.header, options: options)
      let made = Sample.pages(cpu: 0, count: 4000)
      Sample.write(made, cpu: 0, to: writer)
      let progress = writer.finish()
      #expect(progress.failure?.errorNumber == ENOSPC)
      #expect(progress.failure?.description == "cannot write to \(path): No space left on device")
      let total = made.reduce(0) { $0 + Sample.events($1) }
      #expect(progress.events + progress.dropped == UInt64(total))
      let file = try RecordingFile(path: path)
      #expect(file.damage.isEmpty)
      let pages = try #require(try file.allPages()[0])
      #expect(pages.reduce(0) { $0 + Sample.events($1) } == Int(progress.events))
      #expect(pages.elementsEqual(made.prefix(pages.count)))
      #expect(progress.written > 2 << 20, "nearly all of the disk was used")
      guard case .whole(let end) = file.ending else {
        Issue.record("\(file.ending)")
        return
      }
      #expect(end.reason == .failed)
    }
  }
}
