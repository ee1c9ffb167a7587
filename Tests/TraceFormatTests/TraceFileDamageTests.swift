import Foundation
import RandomSupport
import Recording
import Testing

@testable import TraceFormat

/// A file's names may hold anything; none of it may reach the terminal.
func isOneCleanLine(_ text: String) -> Bool {
  !text.isEmpty && text.count < 400 && text.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7f }
}

@Suite struct TraceFileDamageTests {
  /// Opens and reads everything. Only errors and damage may come of it, each with a place in the file.
  @discardableResult
  func survive(_ bytes: UnsafeRawBufferPointer) -> (opened: Bool, pages: Int, damage: Int) {
    do {
      let file = try TraceFile(borrowing: bytes)
      var pages = 0
      for stream in file.streams.indices {
        while let page = file.nextPage(stream: stream) {
          pages += 1
          if page.count != file.metadata.page.subBufferSize { Issue.record("a page of \(page.count) bytes") }
        }
      }
      for damage in file.damage where !isOneCleanLine(damage.message) {
        Issue.record("damage without a clear message")
      }
      return (true, pages, file.damageCount)
    } catch {
      if !isOneCleanLine(error.description) { Issue.record("an error without a clear message") }
      if let offset = error.offset, offset > bytes.count { Issue.record("an error beyond the file: \(error)") }
      if error.offset == nil { Issue.record("an error without an offset: \(error)") }
      return (false, 0, 0)
    }
  }

  static func small(_ kind: String) throws -> [UInt8] {
    switch kind {
    case "v6": SmallTrace.version6()
    case "none": try SmallTrace.version7()
    case "zlib": try SmallTrace.version7(compression: .zlib)
    default: try SmallTrace.version7(compression: .zstd)
    }
  }

  @Test(arguments: ["v6", "none", "zlib", "zstd"])
  func everyPrefix(kind: String) throws {
    let bytes = try Self.small(kind)
    let whole = bytes.withUnsafeBytes { survive($0) }
    #expect(whole.opened && whole.pages == 6 && whole.damage == 0)
    var salvaged = Set<Int>()
    // Within a page all lengths are alike; around its ends, and everywhere else, each length counts.
    for length in 0..<bytes.count where length < 3500 || length % 4096 < 40 || length % 4096 > 4050 || length % 61 == 0
    {
      let result = bytes.withUnsafeBytes { survive(UnsafeRawBufferPointer(rebasing: $0[..<length])) }
      if result.opened {
        if result.pages < 6 && result.damage == 0 {
          Issue.record("\(6 - result.pages) pages lost silently at \(length)")
        }
        salvaged.insert(result.pages)
      }
    }
    // With compression a whole CPU's pages are one chunk.
    #expect(salvaged.isSuperset(of: kind == "v6" || kind == "none" ? [0, 1, 2, 3, 4, 5] : [0, 2, 5]))
  }

  @Test func prefixesOfTheDemo() throws {
    let bytes = try Fixture.bytes(Fixture.demo)
    bytes.withUnsafeBytes { all in
      func cut(_ length: Int) -> (opened: Bool, pages: Int, damage: Int) {
        survive(UnsafeRawBufferPointer(rebasing: all[..<length]))
      }
      for length in stride(from: 0, to: 11_500, by: 97) { #expect(!cut(length).opened) }
      // The sections' offsets are from `trace-cmd dump --all`.
      for boundary in [37, 316, 2090, 11537, 988_081, 989_476, 989_605, 990_045, 1_898_202, 1_898_281] {
        for length in max(0, boundary - 2)...(boundary + 18) {
          let result = cut(length)
          #expect(!result.opened || result.pages == 2911 || result.damage > 0)
        }
      }
      // From the formats' end on the file opens; the more of the data is there, the more pages come of it.
      #expect(cut(11_537).opened)
      var last = 0
      for length in stride(from: 1_000_000, to: all.count, by: 130_000) {
        let result = cut(length)
        #expect(result.opened && result.damage > 0)
        #expect(result.pages > last)
        #expect(result.pages % 10 == 0, "whole chunks of ten pages")
        last = result.pages
      }
      let cutInTheTable = cut(1_898_230)
      #expect(cutInTheTable.pages == 2911)
    }
  }

  @Test(arguments: ["v6", "none", "zlib", "zstd"])
  func flippedBytes(kind: String) throws {
    let bytes = try Self.small(kind)
    var generator = Dice(seed: 0x7a11)
    // Mostly where the structure is, not in the pages' zeros.
    let structure = bytes.indices.filter { $0 < 2500 || bytes[$0] != 0 || $0 > bytes.count - 600 }
    var refused = 0
    var damaged = 0
    for _ in 0..<1500 {
      var copy = bytes
      for _ in 0..<Int.random(in: 1...6, using: &generator) {
        guard let index = structure.randomElement(using: &generator) else { continue }
        copy[index] = UInt8.random(in: 0...255, using: &generator)
      }
      let result = copy.withUnsafeBytes { survive($0) }
      refused += result.opened ? 0 : 1
      damaged += result.damage > 0 ? 1 : 0
    }
    #expect(refused > 50)
    #expect(damaged > 10)
  }

  /// A size that makes no sense, written over every place where one could be.
  @Test(arguments: ["v6", "none", "zlib", "zstd"])
  func absurdSizes(kind: String) throws {
    let bytes = try Self.small(kind)
    let values: [[UInt8]] = [
      [UInt8](repeating: 0xff, count: 8), [0, 0, 0, 0, 0, 0, 0, 0], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
      [0xf0, 0xff, 0xff, 0x7f],
    ]
    for value in values {
      for offset in 0..<(bytes.count - 8) where offset < 1500 || bytes[offset] != 0 || offset > bytes.count - 500 {
        // Within a text there is no size.
        if bytes[offset..<offset + 8].allSatisfy({ $0 >= 0x20 && $0 < 0x7f }) { continue }
        var copy = bytes
        copy.replaceSubrange(offset..<offset + value.count, with: value)
        copy.withUnsafeBytes { _ = survive($0) }
      }
    }
  }

  @Test func theDemoWithFlippedBytes() throws {
    let bytes = try Fixture.bytes(Fixture.demo)
    var generator = Dice(seed: 99)
    for round in 0..<12 {
      var copy = bytes
      // The data section only: the formats stay good.
      let range = round % 2 == 0 ? 990_080..<1_898_200 : 0..<1_898_398
      for _ in 0..<3 { copy[Int.random(in: range, using: &generator)] ^= UInt8.random(in: 1...255, using: &generator) }
      copy.withUnsafeBytes { _ = survive($0) }
    }
  }

  /// A reader must not pair an exit before a corrupt chunk with an entry after it.
  @Test func thePageAfterACorruptChunkSaysThatEventsWereLost() throws {
    var bytes = try Fixture.bytes(Fixture.demo)
    let data = 0xf2000
    let second = data + 4 + 8 + Int(bytes[data + 4]) + Int(bytes[data + 5]) << 8 + Int(bytes[data + 6]) << 16
    for index in 0..<64 { bytes[second + 8 + index] = 0xaa }
    let good = try ReferenceDecoder.decode(TraceFile(path: Fixture.demo), stream: 0, layout: PageLayout())
    let file = try TraceFile(bytes: bytes)
    let pages = ReferenceDecoder.decode(file, stream: 0, layout: PageLayout())
    #expect(file.damage.map(\.offset) == [second])
    #expect(pages.count == good.count - 10)
    let before = pages[9] == good[9]
    #expect(before)
    #expect(pages[10].lost == .unknown)
    let after = pages[10].events == good[20].events && pages[11] == good[21]
    #expect(after)
    file.rewind()
    _ = file.nextPage(stream: 0)
    while file.nextPage(stream: 0) != nil {}
    #expect(file.damageCount == 1, "read twice, reported once")
  }

  @Test(
    arguments: [
      ([], TraceFileError.Code.notATraceFile), (Array("PERFILE2 and so on".utf8), .notATraceFile),
      (Array("\u{17}\u{8}Dtracing5\0".utf8), .unsupported),
      (Array("\u{17}\u{8}Dtracing7\0\u{1}\u{8}".utf8), .unsupported),
      (Array("\u{17}\u{8}Dtracing7\0\0\u{8}\u{1}\u{10}\0\0".utf8), .malformed),
      (Array("\u{17}\u{8}Dtracing7\0\0\u{8}\0\0\u{10}\0".utf8), .malformed),
      (Array("\u{17}\u{8}Dtracing7\0\0\u{8}\0\u{10}\0\0lz4\0001\0".utf8), .unsupported),
      (Array("\u{17}\u{8}Dtracing6\0".utf8), .truncated),
    ] as [([UInt8], TraceFileError.Code)])
  func clearErrors(bytes: [UInt8], code: TraceFileError.Code) {
    let error = #expect(throws: TraceFileError.self) { try TraceFile(bytes: bytes) }
    #expect(error?.code == code)
    #expect(error?.offset != nil)
  }

  @Test func aLatencyTraceIsRefused() {
    var bytes = SmallTrace.version6()
    let mark = Array("flyrecord\0".utf8)
    guard let start = bytes.indices.first(where: { bytes[$0...].starts(with: mark) }) else {
      Issue.record("no flyrecord in the fixture")
      return
    }
    bytes.replaceSubrange(start..<start + 10, with: Array("latency  \0".utf8))
    let error = #expect(throws: TraceFileError.self) { try TraceFile(bytes: bytes) }
    #expect(error?.code == .unsupported)
    #expect(error?.offset == start)
  }

  @Test func filesThatCannotBeMapped() throws {
    for path in ["/no/such/file", "/proc", "/dev/null"] {
      let error = #expect(throws: TraceFileError.self) { try TraceFile(path: path) }
      #expect(error?.code == .unreadable)
      #expect(error?.description.hasPrefix(path) == true)
    }
    let empty = Fixture.temporary("empty")
    try Data().write(to: URL(fileURLWithPath: empty))
    defer { try? FileManager.default.removeItem(atPath: empty) }
    let error = #expect(throws: TraceFileError.self) { try TraceFile(path: empty) }
    #expect(error?.code == .notATraceFile)
  }

  @Test func aLoopOfOptionSectionsEnds() throws {
    var bytes = try SmallTrace.version7()
    // The options' offset stands behind "none\0\0" in the header.
    let first = 3 + 7 + 2 + 1 + 1 + 4 + 5 + 1
    let options = Int(bytes[first]) | Int(bytes[first + 1]) << 8
    let size = Int(bytes[options + 8]) | Int(bytes[options + 9]) << 8
    bytes.replaceSubrange(options + 16 + size - 8..<options + 16 + size, with: bytes[first..<first + 8])
    let file = try TraceFile(bytes: bytes)
    #expect(file.damage.contains { $0.message.contains("does not end") })
    // The table of CPUs is lost with the second section: pages are still found.
    #expect(SmallTrace.pages(of: file).joined().count == 6)
  }
}
