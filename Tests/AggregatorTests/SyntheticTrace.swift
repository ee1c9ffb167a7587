import Foundation
import Recording
import TraceFormat

@testable import Aggregator

/// Pages in memory, by stream.
final class MemoryPages: PageSource {
  var streams: [PageStream]
  private var pages: [[[UInt8]]]
  private var held: [UnsafeMutableRawBufferPointer?]

  init(_ pages: [[[UInt8]]]) {
    self.pages = pages
    streams = pages.indices.map { PageStream(cpu: $0) }
    held = pages.map { _ in nil }
  }

  deinit {
    for page in held { page?.deallocate() }
  }

  /// Pages that arrive later, as live buffers bring them.
  func append(_ page: [UInt8], stream: Int) { pages[stream].append(page) }

  func nextPage(stream: Int) -> UnsafeRawBufferPointer? {
    // Freed, so that a cursor that outlives its page is found by a sanitizer.
    held[stream]?.deallocate()
    held[stream] = nil
    guard !pages[stream].isEmpty else { return nil }
    let page = pages[stream].removeFirst()
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: page.count, alignment: 8)
    memory.copyBytes(from: page)
    held[stream] = memory
    return UnsafeRawBufferPointer(memory)
  }
}

/// Composes events in the layout of the captured formats of a kvm_intel host.
struct SyntheticTrace {
  static let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("Fixtures/intel-6.1")
  static let demo = fixtures.deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("Sources/CDemo/demo.trace.dat").path

  static let formats: [EventFormat] = {
    let folder = fixtures.appendingPathComponent("formats")
    let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
    return names.sorted().compactMap { name in
      guard let text = try? String(contentsOf: folder.appendingPathComponent(name), encoding: .utf8) else { return nil }
      return try? EventFormat.parse(text, system: name.hasPrefix("kvm_") ? "kvm" : "kvmmmu")
    }
  }()

  static func metadata(scale: TimeScale = .nanoseconds) -> TraceMetadata {
    TraceMetadata(formats: formats, page: PageLayout(), timeScale: scale)
  }

  private var writers: [SubBufferWriter]
  private(set) var pages: [[[UInt8]]]
  private var pendingLoss: [SubBufferWriter.Loss]

  init(streams: Int = 1) {
    writers = (0..<streams).map { _ in SubBufferWriter(layout: PageLayout()) }
    pages = (0..<streams).map { _ in [] }
    pendingLoss = (0..<streams).map { _ in .none }
  }

  /// Adds an event by name with the fields given; the others are 0.
  mutating func add(_ name: String, at time: UInt64, thread: Int32, cpu: Int = 0, _ fields: [String: UInt64] = [:]) {
    guard let format = Self.formats.first(where: { $0.name == name }) else { fatalError("no format of \(name)") }
    let size = format.fields.map { $0.offset + $0.size }.max() ?? 8
    var record = [UInt8](repeating: 0, count: size)
    func put(_ value: UInt64, _ offset: Int, _ size: Int) {
      for byte in 0..<size { record[offset + byte] = UInt8(truncatingIfNeeded: value >> UInt64(8 * byte)) }
    }
    put(UInt64(format.id), 0, 2)
    put(UInt64(UInt32(bitPattern: thread)), 4, 4)
    for (key, value) in fields {
      guard let field = format.field(key) else { fatalError("\(name) has no field \(key)") }
      put(value, field.offset, field.size)
    }
    if !writers[cpu].append(timestamp: time, payload: record) {
      endPage(cpu: cpu)
      _ = writers[cpu].append(timestamp: time, payload: record)
    }
  }

  mutating func exit(
    _ reason: UInt64, at time: UInt64, thread: Int32 = 100, vcpu: UInt64 = 0, cpu: Int = 0, isa: UInt64 = 1,
    info1: UInt64 = 0, info2: UInt64 = 0, interruption: UInt64 = 0, rip: UInt64 = 0x1000
  ) {
    add(
      "kvm_exit", at: time, thread: thread, cpu: cpu,
      [
        "exit_reason": reason, "isa": isa, "vcpu_id": vcpu, "info1": info1, "info2": info2, "intr_info": interruption,
        "guest_rip": rip,
      ])
  }

  mutating func entry(at time: UInt64, thread: Int32 = 100, vcpu: UInt64 = 0, cpu: Int = 0) {
    add("kvm_entry", at: time, thread: thread, cpu: cpu, ["vcpu_id": vcpu])
  }

  /// Ends the page; the next one says that events were lost before it.
  mutating func lose(_ loss: SubBufferWriter.Loss, cpu: Int = 0) {
    endPage(cpu: cpu)
    pendingLoss[cpu] = loss
  }

  mutating func endPage(cpu: Int) {
    guard !writers[cpu].isEmpty else { return }
    pages[cpu].append(writers[cpu].finish(lost: pendingLoss[cpu]))
    pendingLoss[cpu] = .none
  }

  mutating func finished() -> [[[UInt8]]] {
    for cpu in writers.indices { endPage(cpu: cpu) }
    return pages
  }

  /// Counts it all.
  mutating func snapshot(_ options: AggregatorOptions = AggregatorOptions(), scale: TimeScale = .nanoseconds) throws
    -> Snapshot
  {
    var counter = try Counter(metadata: Self.metadata(scale: scale), options: options)
    counter.run(MemoryPages(finished()))
    return counter.snapshot()
  }
}

extension Snapshot {
  /// The reason's row over all VMs.
  func reason(_ name: String) -> ReasonStatistics? { total.reasons.first { $0.name == name } }
}
