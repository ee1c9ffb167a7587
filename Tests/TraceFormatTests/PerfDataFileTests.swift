import Foundation
import RandomSupport
import Testing

@testable import TraceFormat

/// Composes perf.data from records, as tools/perf writes it.
struct PerfDataBuilder {
  /// IDENTIFIER, IP, TID, TIME, CPU, PERIOD, RAW: what perf kvm stat record has.
  static let usual: UInt64 = 0x10587

  var attributes: [[UInt8]] = []
  var ids: [[UInt64]] = []
  var data: [UInt8] = []
  var features: [(bit: Int, bytes: [UInt8])] = []

  /// - Parameter size: of `struct perf_event_attr`.
  static func attribute(
    event: UInt16, type: UInt64 = usual, size: Int = 128, period: UInt64 = 1, flags: UInt64 = 1 << 18,
    readFormat: UInt64 = 0, clock: Int32 = 0, kind: UInt32 = 2
  ) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: size)
    func put<T: FixedWidthInteger>(_ value: T, _ offset: Int) {
      withUnsafeBytes(of: value.littleEndian) {
        for (index, byte) in $0.enumerated() where offset + index < size { bytes[offset + index] = byte }
      }
    }
    put(kind, 0)
    put(UInt32(size), 4)
    put(UInt64(event), 8)
    put(period, 16)
    put(type, 24)
    put(readFormat, 32)
    put(flags, 40)
    put(clock, 92)
    return bytes
  }

  static func record(_ type: UInt32, _ body: [UInt8], misc: UInt16 = 0) -> [UInt8] {
    var bytes: [UInt8] = []
    put(type, &bytes)
    put(misc, &bytes)
    put(UInt16(8 + body.count), &bytes)
    return bytes + body
  }

  static func put<T: FixedWidthInteger>(_ value: T, _ bytes: inout [UInt8]) {
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
  }

  /// An event's record: type, flags, preempt count, thread, and a number to know it by.
  static func payload(event: UInt16, thread: Int32, number: UInt64) -> [UInt8] {
    var bytes: [UInt8] = []
    put(event, &bytes)
    put(UInt16(0), &bytes)
    put(thread, &bytes)
    put(number, &bytes)
    return bytes + [UInt8](repeating: 0, count: 44)
  }

  static func sample(
    id: UInt64 = 1, process: Int32 = 100, thread: Int32 = 101, time: UInt64, cpu: UInt32 = 0, payload: [UInt8],
    type: UInt64 = usual, read: [UInt8] = [], chain: [UInt64] = []
  ) -> [UInt8] {
    var body: [UInt8] = []
    func has(_ bit: Int) -> Bool { type & 1 << UInt64(bit) != 0 }
    if has(16) { put(id, &body) }
    if has(0) { put(UInt64(0xffff), &body) }
    if has(1) {
      put(process, &body)
      put(thread, &body)
    }
    if has(2) { put(time, &body) }
    if has(3) { put(UInt64(0), &body) }
    if has(6) { put(id, &body) }
    if has(9) { put(id, &body) }
    if has(7) {
      put(cpu, &body)
      put(UInt32(0), &body)
    }
    if has(8) { put(UInt64(1), &body) }
    if has(4) { body += read }
    if has(5) {
      put(UInt64(chain.count), &body)
      for address in chain { put(address, &body) }
    }
    if has(10) {
      let padding = (8 - (4 + payload.count) % 8) % 8
      put(UInt32(payload.count + padding), &body)
      body += payload + [UInt8](repeating: 0, count: padding)
    }
    return record(9, body)
  }

  static func lost(id: UInt64 = 1, _ count: UInt64, time: UInt64, cpu: UInt32, type: UInt32 = 2) -> [UInt8] {
    var body: [UInt8] = []
    if type == 2 { put(id, &body) }
    put(count, &body)
    // The trailer of sample_id_all: TID, TIME, CPU, IDENTIFIER.
    put(UInt64(0), &body)
    put(time, &body)
    put(cpu, &body)
    put(UInt32(0), &body)
    put(id, &body)
    return record(type, body)
  }

  static func comm(_ process: Int32, _ thread: Int32, _ name: String) -> [UInt8] {
    var body: [UInt8] = []
    put(process, &body)
    put(thread, &body)
    body += Array(name.utf8)
    body += [UInt8](repeating: 0, count: 8 - name.utf8.count % 8)
    return record(3, body)
  }

  static let finishedRound = record(68, [])

  static func tracingData() throws -> [UInt8] {
    var bytes: [UInt8] = [0x17, 0x08, 0x44] + Array("tracing0.6".utf8) + [0, 0, 8]
    put(UInt32(4096), &bytes)
    for name in ["header_page", "header_event"] {
      let text = try Array(Fixture.text(name).utf8)
      bytes += Array(name.utf8) + [0]
      put(UInt64(text.count), &bytes)
      bytes += text
    }
    put(UInt32(0), &bytes)
    put(UInt32(1), &bytes)
    bytes += Array("kvm".utf8) + [0]
    put(UInt32(2), &bytes)
    for name in ["kvm_exit", "kvm_entry"] {
      let text = try Array(Fixture.text("formats/\(name).format").utf8)
      put(UInt64(text.count), &bytes)
      bytes += text
    }
    put(UInt32(0), &bytes)
    put(UInt32(0), &bytes)
    put(UInt64(0), &bytes)
    return bytes
  }

  mutating func add(_ attribute: [UInt8], ids: [UInt64] = [1]) {
    attributes.append(attribute)
    self.ids.append(ids)
  }

  func file() -> [UInt8] {
    var bytes = Array("PERFILE2".utf8)
    let entry = (attributes.first?.count ?? 128) + 16
    var idBytes: [UInt8] = []
    var sections: [(Int, Int)] = []
    for list in ids {
      sections.append((104 + idBytes.count, list.count * 8))
      for id in list { Self.put(id, &idBytes) }
    }
    let attributeOffset = 104 + idBytes.count
    let dataOffset = attributeOffset + attributes.count * entry
    for value in [104, entry, attributeOffset, attributes.count * entry, dataOffset, data.count, 0, 0] {
      Self.put(UInt64(value), &bytes)
    }
    var bitmap = [UInt64](repeating: 0, count: 4)
    for feature in features { bitmap[feature.bit / 64] |= 1 << UInt64(feature.bit % 64) }
    for word in bitmap { Self.put(word, &bytes) }
    bytes += idBytes
    for (attribute, section) in zip(attributes, sections) {
      bytes += attribute
      Self.put(UInt64(section.0), &bytes)
      Self.put(UInt64(section.1), &bytes)
    }
    bytes += data
    var offset = bytes.count + features.count * 16
    let sorted = features.sorted { $0.bit < $1.bit }
    for feature in sorted {
      Self.put(UInt64(offset), &bytes)
      Self.put(UInt64(feature.bytes.count), &bytes)
      offset += feature.bytes.count
    }
    for feature in sorted { bytes += feature.bytes }
    return bytes
  }

  /// The same as perf writes it to a pipe.
  func pipe() throws -> [UInt8] {
    var bytes = Array("PERFILE2".utf8)
    Self.put(UInt64(16), &bytes)
    for (attribute, list) in zip(attributes, ids) {
      var body = attribute
      for id in list { Self.put(id, &body) }
      bytes += Self.record(64, body)
    }
    var formats = try Self.tracingData()
    formats += [UInt8](repeating: 0, count: (8 - formats.count % 8) % 8)
    var size: [UInt8] = []
    Self.put(UInt32(formats.count), &size)
    bytes += Self.record(66, size) + formats
    for feature in features where feature.bit != 1 {
      var body: [UInt8] = []
      Self.put(UInt64(feature.bit), &body)
      bytes += Self.record(80, body + feature.bytes)
    }
    return bytes + data
  }

  /// A string as features have it.
  static func string(_ text: String) -> [UInt8] {
    var bytes: [UInt8] = []
    put(UInt32(64), &bytes)
    return bytes + Array(text.utf8) + [UInt8](repeating: 0, count: 64 - text.utf8.count)
  }

  /// With kvm_exit of this format as the one event.
  static func usual(_ records: [[UInt8]], attribute: [UInt8]? = nil) throws -> PerfDataBuilder {
    var builder = PerfDataBuilder()
    builder.add(try attribute ?? Self.attribute(event: exitID))
    builder.data = records.flatMap { $0 }
    builder.features = [(1, try tracingData()), (3, string("host")), (4, string("6.12")), (6, string("x86_64"))]
    return builder
  }

  static var exitID: UInt16 {
    get throws { try Fixture.format("kvm_exit").id }
  }
}

/// What a source's pages hold, in order, by stream.
func numbers(_ file: PerfDataFile) -> [[(time: UInt64, number: UInt64, lost: UInt64)]] {
  file.streams.indices.map { stream in
    var result: [(time: UInt64, number: UInt64, lost: UInt64)] = []
    while let page = file.nextPage(stream: stream) {
      var cursor = SubBufferCursor(page: page, layout: file.metadata.page)
      var lost: UInt64 = 0
      if case .counted(let count) = cursor.missed { lost = count }
      while cursor.next() {
        result.append(
          (cursor.timestamp, cursor.payload.loadUnaligned(fromByteOffset: 8, as: UInt64.self), lost))
        lost = 0
      }
      if cursor.isMalformed { Issue.record("a page that contradicts itself") }
    }
    return result
  }
}

@Suite("A perf.data file") struct PerfDataFileTests {
  private static let fixture = Fixture.root.appendingPathComponent("Tests/Fixtures/perf-6.12")

  private func sample(_ time: UInt64, _ number: UInt64, cpu: UInt32 = 0, id: UInt64 = 1) throws -> [UInt8] {
    PerfDataBuilder.sample(
      id: id, time: time, cpu: cpu,
      payload: PerfDataBuilder.payload(event: try PerfDataBuilder.exitID, thread: 101, number: number))
  }

  @Test(
    "as perf 6.1 wrote it on kvm_amd, packed and not",
    arguments: ["plain.data", "packed.data"])
  func real(name: String) throws {
    let file = try PerfDataFile(path: Self.fixture.appendingPathComponent(name).path)
    #expect(file.damage == [])
    var previous: UInt64 = 0
    var counts: [String: Int] = [:]
    let names = Dictionary(file.metadata.formats.map { ($0.id, $0.name) }) { first, _ in first }
    for stream in file.streams.indices {
      previous = 0
      while let page = file.nextPage(stream: stream) {
        var cursor = SubBufferCursor(page: page, layout: file.metadata.page)
        while cursor.next() {
          #expect(cursor.timestamp >= previous)
          previous = cursor.timestamp
          counts[names[cursor.payload.loadUnaligned(as: UInt16.self)] ?? "?", default: 0] += 1
        }
      }
    }
    #expect(counts["?"] == nil)
    // exitgen --cpuid 20 --rdmsr 5 --wrmsr 4 --in 3 --out 2 --hlt 3 --mmio 3 --vmcall 2 --cr 2, and its last OUT.
    #expect(counts["kvm_msr"] == 9)
    #expect(counts["kvm_vcpu_wakeup"] ?? 0 >= 1)
    #expect(counts["kvm_entry"] == counts["kvm_exit"])
    #expect(file.metadata.processes.count == 1)
    for (thread, process) in file.metadata.processes {
      #expect(file.metadata.commandNames[process] == "exitgen")
      #expect(file.metadata.commandNames[thread] == "CPU 0/KVM")
    }
    #expect(file.metadata.clock == (name == "plain.data" ? "mono" : "perf"))
    #expect((file.metadata.wallClockOffset != nil) == (name == "plain.data"))
    #expect(file.metadata.uname?.contains("6.12") ?? false)
    #expect(file.formatName == "perf.data" && RecordingFormat(head: Array("PERFILE2xx".utf8)) == .perfData)
  }

  @Test("that lost events: as many as perf counts, each gap where it was") func realLosses() throws {
    let file = try PerfDataFile(path: Self.fixture.appendingPathComponent("lossy.data").path)
    var lost: UInt64 = 0
    var events = 0
    for stream in numbers(file) {
      events += stream.count
      lost += stream.reduce(0) { $0 + $1.lost }
    }
    let statistics = file.cpuStatistics.joined().split(separator: "\n").filter { $0.hasPrefix("overrun") }
    let counted = statistics.reduce(0) { $0 + (UInt64($1.split(separator: " ")[1]) ?? 0) }
    #expect(lost > 0 && lost <= counted && events > 0)
  }

  @Test("is put in order of time over two rounds") func order() throws {
    let records = try [
      sample(10, 0), sample(30, 2), sample(20, 1), sample(5, 100, cpu: 1), PerfDataBuilder.finishedRound,
      sample(50, 5), sample(40, 4), sample(35, 3), PerfDataBuilder.finishedRound, sample(60, 6),
    ]
    let file = try PerfDataFile(bytes: PerfDataBuilder.usual(records).file())
    #expect(file.streams.map(\.cpu) == [0, 1])
    #expect(file.timeBounds()?.first == 5 && file.timeBounds()?.last == 60)
    for _ in 0..<2 {
      let all = numbers(file)
      #expect(all[0].map(\.number) == [0, 1, 2, 3, 4, 5, 6])
      #expect(all[0].map(\.time) == [10, 20, 30, 35, 40, 50, 60])
      #expect(all[1].map(\.number) == [100])
      file.rewind()
    }
    #expect(file.damage == [])
    #expect(file.metadata.processes == [101: 100] && file.metadata.uname == "Linux host 6.12 x86_64")
  }

  @Test("a loss lies behind what was written before it, and is counted once") func losses() throws {
    let records = try [
      sample(10, 0), sample(20, 1), PerfDataBuilder.lost(7, time: 31, cpu: 0), sample(30, 2),
      PerfDataBuilder.lost(id: 2, 2, time: 41, cpu: 3), sample(40, 3, cpu: 3, id: 2),
      PerfDataBuilder.lost(9, time: 0, cpu: 0, type: 13),
    ]
    var builder = try PerfDataBuilder.usual(records)
    builder.ids = [[1, 2]]
    let file = try PerfDataFile(bytes: builder.file())
    let all = numbers(file)
    #expect(all[0].map(\.lost) == [0, 0, 7] && all[0].map(\.number) == [0, 1, 2])
    #expect(all[1].map(\.lost) == [2])
    // perf's total at the end says that two more were lost after the last event.
    #expect(file.cpuStatistics[0].contains("overrun: 9\n") && file.cpuStatistics[1].contains("overrun: 2\n"))
  }

  @Test("a loss at the very end is told by a page without events") func lossAtEnd() throws {
    let file = try PerfDataFile(
      bytes: PerfDataBuilder.usual([sample(10, 0), PerfDataBuilder.lost(5, time: 20, cpu: 0)]).file())
    var missed: [MissedEvents] = []
    while let page = file.nextPage(stream: 0) {
      missed.append(SubBufferCursor(page: page, layout: file.metadata.page).missed)
    }
    #expect(missed == [.none, .counted(5)])
  }

  @Test("with attributes of every size since 2009", arguments: [64, 72, 96, 112, 128, 136, 144, 4096])
  func attributeSizes(size: Int) throws {
    let builder = try PerfDataBuilder.usual(
      [sample(1, 7)], attribute: PerfDataBuilder.attribute(event: PerfDataBuilder.exitID, size: size))
    for bytes in [builder.file(), try builder.pipe()] {
      #expect(numbers(try PerfDataFile(bytes: bytes)).map { $0.map(\.number) } == [[7]])
    }
  }

  @Test("samples of any layout are found by their ids") func layouts() throws {
    // IP, TID, TIME, ADDR, ID, STREAM_ID, CPU, PERIOD, READ, CALLCHAIN, RAW, IDENTIFIER.
    let all: UInt64 = 0x107ff
    var read: [UInt8] = []
    for value in [2, 11, 12, 5, 1, 6, 2] as [UInt64] { PerfDataBuilder.put(value, &read) }
    let event = try PerfDataBuilder.exitID
    var builder = try PerfDataBuilder.usual([])
    builder.attributes = [
      PerfDataBuilder.attribute(event: event),
      // GROUP, ID, both times.
      PerfDataBuilder.attribute(event: event, type: all, readFormat: 0xf),
      PerfDataBuilder.attribute(event: 0, type: 0x10187, kind: 1),
    ]
    builder.ids = [[1], [2], [3]]
    let payload = PerfDataBuilder.payload(event: event, thread: 101, number: 8)
    builder.data =
      try sample(10, 7)
      + PerfDataBuilder.sample(
        id: 2, time: 20, payload: payload, type: all, read: read, chain: [1, 2, 3])
      + PerfDataBuilder.sample(id: 3, time: 30, payload: [], type: 0x10187)
      + PerfDataBuilder.sample(id: 99, time: 40, payload: payload)
    let file = try PerfDataFile(bytes: builder.file())
    #expect(numbers(file)[0].map(\.number) == [7, 8])
    #expect(file.damage.count == 1, "the sample without a known id is damage")
  }

  @Test("packed records are unpacked, also where a record is cut in two") func compressed() throws {
    let records = try (0..<500).flatMap { try sample(UInt64($0), UInt64($0)) }
    let packed = try #require(records.withUnsafeBytes(TraceCompression.zstd.compress))
    let half = packed.count / 2
    func second(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
      var body: [UInt8] = []
      PerfDataBuilder.put(UInt64(bytes.count), &body)
      return PerfDataBuilder.record(83, body + bytes + [UInt8](repeating: 0, count: (8 - bytes.count % 8) % 8))
    }
    for data in [
      PerfDataBuilder.record(81, Array(packed[..<half])) + PerfDataBuilder.record(81, Array(packed[half...])),
      second(packed[..<half]) + second(packed[half...]),
    ] {
      var builder = try PerfDataBuilder.usual([PerfDataBuilder.comm(100, 101, "CPU 0/KVM")])
      builder.data += data + PerfDataBuilder.finishedRound
      let file = try PerfDataFile(bytes: builder.file())
      #expect(numbers(file)[0].map(\.number) == Array(0..<500))
      #expect(file.damage == [] && file.metadata.commandNames[101] == "CPU 0/KVM")
    }
    var damaged = packed
    damaged[half] ^= 0xff
    var builder = try PerfDataBuilder.usual([])
    builder.data = PerfDataBuilder.record(81, damaged) + (try sample(1000, 1000))
    #expect(try !PerfDataFile(bytes: builder.file()).damage.isEmpty)
  }

  @Test("the order of bytes, sampling, missing times or fields are refused in one line") func refusals() throws {
    let event = try PerfDataBuilder.exitID
    let good = try PerfDataBuilder.usual([sample(1, 1)])
    func refused(_ bytes: [UInt8], _ words: String) {
      do {
        _ = try PerfDataFile(bytes: bytes)
        Issue.record("opened: \(words)")
      } catch {
        #expect(error.message.contains(words) && isOneCleanLine(error.description), "\(error)")
      }
    }
    refused(Array("2ELIFREP".utf8) + good.file().dropFirst(8), "other byte order")
    refused(Array("PERFFILE".utf8) + good.file().dropFirst(8), "2013")
    refused(Array("something".utf8), "PERFILE2")
    refused([], "PERFILE2")
    for (attribute, words) in [
      (PerfDataBuilder.attribute(event: event, flags: 1 << 10 | 1 << 18), "only one of many"),
      (PerfDataBuilder.attribute(event: event, period: 1000), "only one of 1000"),
      (PerfDataBuilder.attribute(event: event, type: 0x10583), "lack their times"),
      (PerfDataBuilder.attribute(event: event, type: 0x10187), "lack the tracepoints' fields"),
      (PerfDataBuilder.attribute(event: 0, kind: 0), "no tracepoint"),
    ] { refused(try PerfDataBuilder.usual([sample(1, 1)], attribute: attribute).file(), words) }
    var bare = good
    bare.features = []
    refused(bare.file(), "event formats are missing")
    refused(Array(good.file().dropLast(2000)), "event formats")
  }

  @Test("cut at any byte keeps what is whole, and says so; any other byte never traps") func hostile() throws {
    let records = try [
      PerfDataBuilder.comm(100, 101, "CPU 0/KVM"), sample(10, 0), sample(20, 1, cpu: 1), PerfDataBuilder.finishedRound,
      PerfDataBuilder.lost(3, time: 30, cpu: 0), sample(40, 2), PerfDataBuilder.finishedRound, sample(50, 3),
    ]
    let builder = try PerfDataBuilder.usual(records)
    let pipe = try builder.pipe()
    var seen: Set<Int> = []
    for length in (pipe.count - builder.data.count)...pipe.count {
      let file = try PerfDataFile(bytes: Array(pipe[..<length]))
      let count = numbers(file).reduce(0) { $0 + $1.count }
      seen.insert(count)
      let isBoundary =
        records.indices.contains { index in
          length == pipe.count - records[(index + 1)...].reduce(0) { $0 + $1.count }
        } || length == pipe.count - builder.data.count
      #expect(file.damage.isEmpty == isBoundary, "\(length)")
    }
    #expect(seen == [0, 1, 2, 3, 4])

    var generator = Dice(seed: 4)
    var packed = try PerfDataBuilder.usual([])
    packed.data = PerfDataBuilder.record(
      81, try #require(builder.data.withUnsafeBytes(TraceCompression.zstd.compress)))
    var opened = 0
    for bytes in [pipe, builder.file(), packed.file()] {
      for round in 0..<400 {
        var bytes = bytes
        for _ in 0...Int.random(in: 0...3, using: &generator) {
          // Half of the time in what is not the long text of the formats.
          let place =
            round % 2 == 0
            ? Int.random(in: 0..<bytes.count, using: &generator)
            : Int.random(in: 0..<min(700, bytes.count), using: &generator)
          bytes[place] =
            [0, 0xff, 0x7f, 0x80, UInt8.random(in: 0...255, using: &generator)].randomElement(using: &generator) ?? 0
        }
        if round % 7 == 0 { bytes.removeLast(Int.random(in: 0..<bytes.count, using: &generator)) }
        do {
          let file = try PerfDataFile(bytes: bytes)
          opened += 1
          for stream in file.streams.indices {
            while let page = file.nextPage(stream: stream) {
              if page.count != file.metadata.page.subBufferSize { Issue.record("a page of \(page.count) bytes") }
            }
          }
          for damage in file.damage where !isOneCleanLine(damage.message) { Issue.record("\(damage)") }
        } catch {
          if !isOneCleanLine(error.description) { Issue.record("\(error)") }
        }
      }
    }
    #expect(opened > 150)
  }
}
