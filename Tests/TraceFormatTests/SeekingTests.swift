import Foundation
import Recording
import Testing
import TraceFormat

@Suite("Going to a time in a recording")
struct SeekingTests {
  private static let demo = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("Sources/CDemo/demo.trace.dat").path

  /// The bundled recording, packed in some way.
  private func recording(_ compression: TraceCompression) throws -> String {
    let source = try TraceFile(path: Self.demo)
    let path = NSTemporaryDirectory() + "vmctop-seek-\(UUID().uuidString).dat"
    let file = try TraceFileWriter(path: path, contents: TraceFileContents(of: source), compression: compression)
    try file.beginBuffer()
    for (index, stream) in source.streams.enumerated() {
      try file.beginCPU(stream.cpu)
      while let page = source.nextPage(stream: index) { try file.append(page) }
    }
    try file.finish()
    return path
  }

  private func stamp(_ page: UnsafeRawBufferPointer) -> UInt64 {
    UInt64(littleEndian: page.loadUnaligned(as: UInt64.self))
  }

  @Test("finds the page that the time is in, whichever way the pages are packed", arguments: TraceCompression.allCases)
  func pages(compression: TraceCompression) throws {
    let path = try recording(compression)
    defer { try? FileManager.default.removeItem(atPath: path) }
    let file = try TraceFile(path: path)
    for stream in file.streams.indices {
      var stamps: [UInt64] = []
      while let page = file.nextPage(stream: stream) { stamps.append(stamp(page)) }
      guard let first = stamps.first, let last = stamps.last else { continue }
      #expect(stamps == stamps.sorted())
      for time in [0, first - 1, first, first + 1, (first + last) / 2, last - 1, last, last + 1, .max] {
        file.seek(stream: stream, to: time)
        let expected = stamps.last { $0 <= time } ?? first
        let found = file.nextPage(stream: stream).map(stamp)
        #expect(found == expected)
        // And it goes on from there to the end.
        var count = 1
        while file.nextPage(stream: stream) != nil { count += 1 }
        #expect(count == stamps.count - (stamps.firstIndex(of: expected) ?? 0))
      }
      file.seek(stream: stream, to: nil)
      #expect(file.nextPage(stream: stream).map(stamp) == first)
    }
    file.seek(stream: 999, to: 5)
  }

  @Test("the bounds are the same, whichever way the pages are packed")
  func bounds() throws {
    let expected = try #require(try TraceFile(path: Self.demo).timeBounds())
    for compression in TraceCompression.allCases {
      let path = try recording(compression)
      defer { try? FileManager.default.removeItem(atPath: path) }
      let bounds = try #require(try TraceFile(path: path).timeBounds())
      #expect(bounds == expected)
    }
  }

  @Test("of a file with flipped bits ends somewhere, and does not trap", arguments: TraceCompression.allCases)
  func hostile(compression: TraceCompression) throws {
    let path = try recording(compression)
    defer { try? FileManager.default.removeItem(atPath: path) }
    let good = try [UInt8](Data(contentsOf: URL(fileURLWithPath: path)))
    var state: UInt64 = 7
    func random(_ below: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % below
    }
    for _ in 0..<60 {
      var bytes = good
      for _ in 0..<200 { bytes[random(bytes.count)] ^= UInt8(1 << random(8)) }
      if random(2) == 0 { bytes.removeLast(random(bytes.count)) }
      guard let file = try? TraceFile(bytes: bytes) else { continue }
      _ = file.timeBounds()
      for stream in file.streams.indices.prefix(4) {
        for _ in 0..<4 {
          file.seek(stream: stream, to: UInt64(random(1 << 30)) &* UInt64(random(1 << 30)))
          for _ in 0..<3 { _ = file.nextPage(stream: stream) }
        }
      }
    }
  }
}
