import Aggregator
import Architecture
import Foundation
import Testing
import TraceFormat

@testable import Recording
@testable import Session

/// Ten seconds of a vCPU that exits every ten milliseconds, and a reading of its state every hundred: over keyframes,
/// since those come every sixty-first reading.
private final class Composed {
  let path = FileManager.default.temporaryDirectory.appendingPathComponent("vmctop-fields-\(UUID().uuidString).vmctop")
    .path

  static let start: UInt64 = 50_000_000_000
  static let thread: Int32 = 500

  /// When a reading was made, on the trace clock.
  static func time(_ reading: Int) -> UInt64 { start + UInt64(reading) * 100_000_000 + 5_000_000 }

  static let cr3 = StateField(kind: .vmcs, name: "GUEST_CR3", place: 0x6802, width: 64, area: .guest, description: "")
  static let cr0 = StateField(kind: .vmcs, name: "GUEST_CR0", place: 0x6800, width: 64, area: .guest, description: "")
  static let rax = StateField(kind: .kvm, name: "RAX", width: 64, area: .guest, description: "")

  /// CR3 changes at 30 and 70, is not known from 40 to 45, and from 50 to 55 the VMCS is that of L2. RAX is another one each
  /// time, CR0 never. From 80 on the guest writes MSR 0x6e0 without an exit.
  static func reading(_ index: Int, thread: Int32) -> VCPUReading {
    let isNested = (50...55).contains(index) && thread == Self.thread
    var bitmap = [UInt8](repeating: 0xff, count: 4096)
    if index >= 80 { bitmap[0x800 + 0x6e0 / 8] &= ~1 }
    var reading = VCPUReading(
      isa: .vmx, pid: 400, vcpuID: thread == Self.thread ? 0 : 1, tid: thread, cpu: nil, isNested: isNested,
      readAt: time(index),
      fields: [
        FieldReading(cr0, 0x8005_0033, .measured, ""),
        FieldReading(
          cr3,
          (40...45).contains(index)
            ? nil : isNested ? 0xbad000 : index < 30 ? 0x1000 : index < 70 ? 0x2000 : 0x3000, .measured, ""),
      ], words: ControlSetting(), differences: [], msrBitmap: bitmap)
    reading.others = [FieldReading(rax, UInt64(index), .measured, "")]
    if index < 90 { reading.vmcs12 = [FieldReading(cr3, index < 20 ? 1 : 2, .measured, "")] }
    return reading
  }

  /// - Parameter damaged: the payload of the chunk STATE of this reading is overwritten.
  init(damaged: Int? = nil) throws {
    let formats = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("Fixtures/intel-6.1")
    func bytes(_ name: String) throws -> [UInt8] {
      [UInt8](try Data(contentsOf: formats.appendingPathComponent(name)))
    }
    var header = RecordingHeader()
    header.clock = "mono"
    header.headerPage = try bytes("header_page")
    header.headerEvent = try bytes("header_event")
    header.formats = try ["kvm_exit", "kvm_entry"].map { (name: String) in
      RawEventFormat(system: "kvm", name: name, text: try bytes("formats/\(name).format"))
    }
    let writer = try RecordingWriter(to: .file(path: path), header: header)
    let layout = try header.pageLayout()
    let metadata = try header.metadata()
    let exit = try #require(metadata.formats.first { $0.name == "kvm_exit" })
    let entry = try #require(metadata.formats.first { $0.name == "kvm_entry" })
    func event(_ format: EventFormat, _ values: [String: UInt32]) -> [UInt8] {
      var payload = [UInt8](repeating: 0, count: format.fields.reduce(0) { max($0, $1.offset + $1.size) })
      let common = ["common_type": UInt32(format.id), "common_pid": UInt32(Self.thread)]
      for (name, value) in values.merging(common, uniquingKeysWith: { $1 }) {
        guard let field = format.field(name) else { continue }
        for byte in 0..<min(4, field.size) {
          payload[field.offset + byte] = UInt8(truncatingIfNeeded: value >> UInt32(8 * byte))
        }
      }
      return payload
    }
    var pages = SubBufferWriter(layout: layout)
    var block = PageBlock(cpu: 0, bytes: [])
    var threads: Set<Int32> = []
    func finishPage() {
      pages.finish().withUnsafeBytes { block.append($0, layout: layout, threads: &threads) }
    }
    for index in 0..<1000 {
      let time = Self.start + UInt64(index) * 10_000_000
      let isOut = index % 100 == 42
      _ = pages.append(timestamp: time, payload: event(exit, ["isa": 1, "exit_reason": isOut ? 30 : 12]))
      _ = pages.append(timestamp: time + 2000, payload: event(entry, [:]))
      if index % 20 == 19 { finishPage() }
    }
    writer.write(block)
    writer.write(
      ClockRecord(trace: Self.start, realtime: 1_795_788_120_000_000_000, monotonic: Self.start), first: Self.start)
    for index in 0..<100 {
      writer.write(
        states: [Self.reading(index, thread: 501), Self.reading(index, thread: Self.thread)], at: Self.time(index))
    }
    #expect(writer.finish().failure == nil)
    guard let damaged else { return }
    let file = try RecordingFile(path: path)
    let chunk = file.chunks[file.indices(of: .state)[damaged]]
    let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
    try handle.seek(toOffset: chunk.offset + 70)
    handle.write(Data([0xff, 0x00, 0xff]))
    try handle.close()
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func feed() throws -> RecordingFeed { try RecordingFeed(.file(path: path), SessionOptions()) }
}

@Suite("Changes of a field of a recorded vCPU")
struct FieldChangeTests {
  private static let interval: UInt64 = 100_000_000

  /// The readings that the changes of a part lead to, one after the other, until there is none; and what is said then.
  private func visit(
    _ feed: RecordingFeed, _ part: StatePart, thread: Int32 = Composed.thread, forward: Bool
  ) -> (readings: [Int], message: String?) {
    var readings: [Int] = []
    while readings.count < 200 {
      let before = feed.position
      feed.seekToFieldChange(thread: thread, part, forward: forward, interval: Self.interval)
      if let message = feed.takeMessages().last(where: { $0.level == .info }) { return (readings, message.text) }
      #expect(forward ? feed.position > before : feed.position < before)
      readings.append(Int(feed.position / 100_000_000))
      #expect(feed.position == Composed.time(readings.last ?? 0) - Composed.start)
    }
    return (readings, nil)
  }

  @Test("are found forward and back, unknown values and another VMCS passed over")
  func both() throws {
    let feed = try Composed().feed()
    let part = StatePart.fields(["GUEST_CR3"])
    #expect(visit(feed, part, forward: true).readings == [30, 70])
    feed.seek(to: .max, interval: Self.interval)
    let back = visit(feed, part, forward: false)
    #expect(back.readings == [70, 30])
    #expect(back.message == "no other value recorded before this")
    // Where it leads to, the new value is on the screen.
    feed.seek(to: 0, interval: Self.interval)
    feed.seekToFieldChange(thread: Composed.thread, part, forward: true, interval: Self.interval)
    #expect(feed.snapshot().states[Composed.thread]?.reading("GUEST_CR3")?.value == 0x2000)
  }

  @Test("are followed while a range is selected: figures are the range's, state is that of the place")
  func inRange() throws {
    let feed = try Composed().feed()
    feed.setRange(from: 1_000_000_000, to: 2_000_000_000)
    let before = feed.snapshot()
    #expect(before.total.exits == 100)
    feed.seekToFieldChange(
      thread: Composed.thread, .fields(["GUEST_CR3"]), forward: true, interval: Self.interval)
    let after = feed.snapshot()
    #expect(after.total.exits == 100)
    #expect(after.playback?.range == 1_000_000_000..<2_000_000_000)
    #expect(after.playback?.position == Composed.time(30) - Composed.start)
    #expect(after.states[Composed.thread]?.reading("GUEST_CR3")?.value == 0x2000)
  }

  @Test("of several fields together are those of any")
  func several() throws {
    let feed = try Composed().feed()
    #expect(visit(feed, .fields(["GUEST_CR0", "GUEST_CR3"]), forward: true).readings == [30, 70])
    #expect(visit(feed, .fields(["GUEST_CR0"]), forward: false).readings == [])
    feed.seek(to: 9_700_000_000, interval: Self.interval)
    #expect(visit(feed, .fields(["RAX"]), forward: true).readings == [97, 98, 99])
  }

  @Test("of what L1 wrote and of the MSR bitmap are found as well")
  func others() throws {
    let feed = try Composed().feed()
    #expect(visit(feed, .vmcs12(["GUEST_CR3"]), forward: true).readings == [20])
    #expect(visit(feed, .msrs(first: 0x6e0, last: 0x6e0), forward: true).readings == [80])
    #expect(visit(feed, .msrs(first: 0x6e0, last: 0x6e0), forward: false).readings == [])
    #expect(visit(feed, .msrs(first: 0x6d0, last: 0x6ff), forward: true).readings == [])
    feed.seek(to: 0, interval: Self.interval)
    #expect(visit(feed, .msrs(first: 0x6d0, last: 0x6ff), forward: true).readings == [80])
    for part in [StatePart.msrs(first: 9, last: 3), .msrs(first: 0, last: .max), .fields([]), .fields(["no such"])] {
      feed.seek(to: 0, interval: Self.interval)
      #expect(visit(feed, part, forward: true).readings == [])
    }
  }

  @Test("of a vCPU that is not there, or of a recording without state, are none, and that is said")
  func none() throws {
    let feed = try Composed().feed()
    #expect(
      visit(feed, .fields(["GUEST_CR3"]), thread: 9, forward: true).message == "no other value recorded after this")
    let demo = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("Sources/CDemo/demo.trace.dat").path
    let trace = try RecordingFeed(.file(path: demo), SessionOptions())
    #expect(visit(trace, .fields(["GUEST_CR3"]), forward: true).message == "the recording has no state of vCPUs")
  }

  @Test("take bounded work for each answer, and are looked for on from there when asked again")
  func bounded() throws {
    let composed = try Composed()
    let file = try RecordingFile(path: composed.path)
    var search = StateSearch(file, mostReadings: 10)
    let bounds = try #require(try Composed().feed().snapshotBounds)
    func ask(_ forward: Bool, _ moment: UInt64, _ part: StatePart = .fields(["GUEST_CR3"])) -> StateChange {
      search.change(of: part, thread: Composed.thread, from: moment, forward: forward, in: bounds)
    }
    #expect(ask(true, Composed.time(35)) == .looked(to: Composed.time(61)))
    #expect(ask(true, Composed.time(35)) == .found(Composed.time(70)))
    // Another question begins anew.
    #expect(ask(true, Composed.time(35)) == .looked(to: Composed.time(61)))
    #expect(ask(true, Composed.time(35), .fields(["GUEST_CR0"])) == .looked(to: Composed.time(61)))
    #expect(ask(true, Composed.time(35), .fields(["GUEST_CR0"])) == .none)
    #expect(ask(false, Composed.time(65)) == .looked(to: Composed.time(60)))
    #expect(ask(false, Composed.time(65)) == .found(Composed.time(30)))
    #expect(ask(false, Composed.time(30)) == .none)
  }

  @Test("are not made up where a reading is damaged")
  func damage() throws {
    // Nothing from the damage to the next keyframe is known: the change at 30 is noticed there, the one at 70 as it was.
    let feed = try Composed(damaged: 25).feed()
    let found = visit(feed, .fields(["GUEST_CR3"]), forward: true).readings
    #expect(found == [61, 70])
    #expect(!feed.damage.isEmpty)
    // What is known of 24 is true, and so is what is known of 61.
    feed.seek(to: .max, interval: Self.interval)
    #expect(visit(feed, .fields(["GUEST_CR3"]), forward: false).readings == [70, 61])
  }
}

extension RecordingFeed {
  /// The trace clock at the first and the last event of a composed recording.
  fileprivate var snapshotBounds: (first: UInt64, last: UInt64)? {
    (Composed.start, Composed.start + duration)
  }
}
