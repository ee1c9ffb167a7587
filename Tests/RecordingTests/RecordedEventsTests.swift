import Foundation
import Testing
import TraceFormat

@testable import Recording

@Suite("A recording by vmctop record, opened like any other")
struct RecordedEventsTests {
  private static let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent()

  @Test("is told by how it begins; what is no recording is told by a line")
  func format() throws {
    #expect(RecordingFormat(head: RecordingPrefix.encoded()) == .vmctop)
    #expect(RecordingFormat(head: RecordingPrefix.encoded().dropFirst()) == nil)
    #expect(RecordingFormat(head: []) == nil)
    let path = NSTemporaryDirectory() + "vmctop-test-\(UUID().uuidString)"
    defer { try? FileManager.default.removeItem(atPath: path) }
    try Data(RecordingPrefix.encoded()).write(to: URL(fileURLWithPath: path))
    #expect(throws: TraceFileError.self) { _ = try openRecording(path: path) }
    try Data("hello".utf8).write(to: URL(fileURLWithPath: path))
    #expect(throws: TraceFileError.self) { _ = try openRecording(path: path) }
    #expect(throws: TraceFileError.self) { _ = try openRecording(path: path + "-absent") }
  }

  /// The pages of a source, counted by event id.
  private func events(_ source: any RecordingSource) -> [Int: Int] {
    var count: [Int: Int] = [:]
    for stream in source.streams.indices {
      while let page = source.nextPage(stream: stream) {
        var cursor = SubBufferCursor(page: page, layout: source.metadata.page)
        while cursor.next() { count[Int(cursor.payload.loadUnaligned(as: UInt16.self)), default: 0] += 1 }
      }
    }
    return count
  }

  private var recording: String {
    Self.fixtures.deletingLastPathComponent().appendingPathComponent("Fixtures/recording-1/no-vmx-host.vmctop").path
  }

  @Test("has its events, formats, host and losses, and can be read twice")
  func whole() throws {
    let source = try openRecording(path: recording)
    #expect(source.formatName == "vmctop")
    let ids = Dictionary(uniqueKeysWithValues: source.metadata.formats.map { ($0.name, $0.id) })
    let first = events(source)
    #expect(first[Int(try #require(ids["kvm_pio"]))] == 2000)
    #expect(first[Int(try #require(ids["kvm_userspace_exit"]))] == 2001)
    let bounds = try #require(source.timeBounds())
    #expect(bounds.first < bounds.last)
    #expect(events(source) == first, "timeBounds() begins again")
    source.rewind()
    #expect(events(source) == first)
    #expect(source.damage.isEmpty && source.notes.isEmpty)
    #expect(source.metadata.uname?.contains("6.18") == true)
    #expect(!source.texts.formats.isEmpty && !source.texts.headerPage.isEmpty)
  }

  @Test("that was cut off has what was written, and says so as damage")
  func cut() throws {
    let bytes = try Data(contentsOf: URL(fileURLWithPath: recording))
    let path = NSTemporaryDirectory() + "vmctop-test-\(UUID().uuidString)"
    defer { try? FileManager.default.removeItem(atPath: path) }
    try bytes.prefix(bytes.count - 40).write(to: URL(fileURLWithPath: path))
    let source = try openRecording(path: path)
    #expect(source.damage.contains { $0.message.contains("did not come to end it") })
    #expect(!events(source).isEmpty)
  }
}
