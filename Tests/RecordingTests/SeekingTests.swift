import Foundation
import Testing
import TraceFormat

@testable import Recording

@Suite("Any recording, sought in")
struct RecordingSeekingTests {
  private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()
  static let recordings =
    ["Sources/CDemo/demo.trace.dat", "Tests/Fixtures/recording-1/no-vmx-host.vmctop"]
    + ["lossy", "packed", "plain"].map { "Tests/Fixtures/perf-6.12/\($0).data" }

  private func open(_ name: String) throws -> any RecordingSource {
    try openRecording(path: Self.root.appendingPathComponent(name).path)
  }

  private func pages(_ source: any RecordingSource, _ stream: Int) -> [[UInt8]] {
    var pages: [[UInt8]] = []
    while let page = source.nextPage(stream: stream) { pages.append(Array(page)) }
    return pages
  }

  private func times(_ page: [UInt8], _ layout: PageLayout) -> [UInt64] {
    page.withUnsafeBytes { bytes in
      var cursor = SubBufferCursor(page: bytes, layout: layout)
      var times: [UInt64] = []
      while cursor.next() { times.append(cursor.timestamp) }
      return times
    }
  }

  private func check(_ source: any RecordingSource, step: Int) throws {
    let layout = source.metadata.page
    for stream in source.streams.indices {
      source.seek(stream: stream, to: nil)
      let all = pages(source, stream)
      let events = all.map { times($0, layout) }
      let moments = events.flatMap { $0 }
      guard let first = moments.first, let last = moments.last else { continue }
      var sought = stride(from: 0, to: moments.count, by: max(1, moments.count / step)).map { moments[$0] }
      sought += [0, first - 1, first, last, last + 1, .max]
      for moment in sought {
        source.seek(stream: stream, to: moment)
        let rest = pages(source, stream)
        // The same pages as without seeking, from one on.
        try #require(rest.count <= all.count)
        #expect(rest[...].elementsEqual(all[(all.count - rest.count)...]))
        let passed = events[..<(all.count - rest.count)].joined()
        #expect(passed.allSatisfy { $0 <= moment })
      }
      source.seek(stream: stream, to: nil)
      #expect(pages(source, stream) == all)
    }
  }

  @Test("hands out the same pages from there on, and misses none after that time", arguments: recordings)
  func seeking(name: String) throws {
    let source = try open(name)
    try check(source, step: 40)
    let another = try #require(source.reopen())
    try check(another, step: 7)
  }

  @Test("as a part of it, just so") func parts() throws {
    let demo = try open(Self.recordings[0])
    let bounds = try #require(demo.timeBounds())
    let third = (bounds.last - bounds.first) / 3
    let part = RangedRecording(demo, range: bounds.first + third...bounds.last - third)
    try check(part, step: 20)
    try check(try #require(part.reopen()), step: 5)
  }
}
