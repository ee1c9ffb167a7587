import CZstd
import Glibc

/// Where the fields of a PERF_RECORD_SAMPLE are, by the attribute it was recorded with: perf_event_open(2), `sample_type`.
struct PerfSampleLayout: Hashable {
  /// Offsets from the record's start; -1 for a field that is not there.
  private(set) var time = -1
  private(set) var thread = -1
  private(set) var id = -1
  private(set) var cpu = -1
  let type: UInt64
  private let readFormat: UInt64
  private let fixedEnd: Int

  enum Bit {
    static let ip: UInt64 = 1 << 0
    static let thread: UInt64 = 1 << 1
    static let time: UInt64 = 1 << 2
    static let address: UInt64 = 1 << 3
    static let read: UInt64 = 1 << 4
    static let callChain: UInt64 = 1 << 5
    static let id: UInt64 = 1 << 6
    static let cpu: UInt64 = 1 << 7
    static let period: UInt64 = 1 << 8
    static let streamID: UInt64 = 1 << 9
    static let raw: UInt64 = 1 << 10
    static let identifier: UInt64 = 1 << 16
  }

  init(type: UInt64, readFormat: UInt64) {
    self.type = type
    self.readFormat = readFormat
    var offset = 8
    func has(_ bit: UInt64) -> Bool { type & bit != 0 }
    if has(Bit.identifier) {
      id = offset
      offset += 8
    }
    if has(Bit.ip) { offset += 8 }
    if has(Bit.thread) {
      thread = offset
      offset += 8
    }
    if has(Bit.time) {
      time = offset
      offset += 8
    }
    if has(Bit.address) { offset += 8 }
    if has(Bit.id) {
      if id < 0 { id = offset }
      offset += 8
    }
    if has(Bit.streamID) { offset += 8 }
    if has(Bit.cpu) {
      cpu = offset
      offset += 8
    }
    if has(Bit.period) { offset += 8 }
    fixedEnd = offset
  }

  var hasRaw: Bool { type & Bit.raw != 0 }

  /// Where the tracepoint's record is in a sample; nil where there is none, or the sample ends before it.
  func raw(_ record: UnsafeRawBufferPointer) -> Range<Int>? {
    var offset = fixedEnd
    func long(_ place: Int) -> UInt64? {
      guard place >= 0, place <= record.count - 8 else { return nil }
      return record.loadUnaligned(fromByteOffset: place, as: UInt64.self)
    }
    if type & Bit.read != 0 {
      let isGroup = readFormat & 8 != 0
      let times = (readFormat & 3).nonzeroBitCount
      let perValue = 1 + (readFormat & 4 != 0 ? 1 : 0) + (readFormat & 16 != 0 ? 1 : 0)
      var values = 1
      if isGroup {
        guard let count = long(offset), count <= UInt64(record.count / 8) else { return nil }
        values = Int(count)
        offset += 8
      }
      offset += 8 * (times + values * perValue)
    }
    if type & Bit.callChain != 0 {
      guard let count = long(offset), count <= UInt64(record.count / 8) else { return nil }
      offset += 8 + 8 * Int(count)
    }
    guard hasRaw, offset <= record.count - 4 else { return nil }
    let size = Int(record.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    guard size >= 8, size <= record.count - offset - 4 else { return nil }
    return offset + 4..<offset + 4 + size
  }

  /// The CPU and the id at the end of a record that is no sample, where the attribute has `sample_id_all`.
  func trailer(_ record: UnsafeRawBufferPointer, headerSize: Int) -> (cpu: Int?, id: UInt64?) {
    var end = record.count
    func long() -> UInt64? {
      guard end - 8 >= headerSize else { return nil }
      end -= 8
      return record.loadUnaligned(fromByteOffset: end, as: UInt64.self)
    }
    var id: UInt64?
    var cpu: Int?
    if type & Bit.identifier != 0 { id = long() }
    if type & Bit.cpu != 0 { cpu = long().map { Int($0 & 0xffff_ffff) } }
    if type & Bit.streamID != 0 { _ = long() }
    if type & Bit.id != 0 {
      let own = long()
      id = id ?? own
    }
    return (cpu, id)
  }
}

/// Reads everything of a perf.data file but its samples, and finds where those are: one pass over the file.
struct PerfDataScanner {
  /// One `struct perf_event_attr` (include/uapi/linux/perf_event.h) with its ids.
  struct Attribute {
    var type: UInt32
    var config: UInt64
    var period: UInt64
    var flags: UInt64
    var clock: Int32?
    var ids: [UInt64]
    var layout: PerfSampleLayout

    static let tracepoint: UInt32 = 2
    var isFrequency: Bool { flags & 1 << 10 != 0 }
    var identifiesAll: Bool { flags & 1 << 18 != 0 }
    var usesClock: Bool { flags & 1 << 25 != 0 }
  }

  /// Consecutive records, all of whose samples are one CPU's.
  struct Run {
    var start: Int
    var end: Int
    var round: Int
  }

  struct Stream {
    var cpu: Int
    var runs: [Run] = []
    var events: UInt64 = 0
    var lost: UInt64 = 0
    var lostSamples: UInt64 = 0
    var ids: Set<UInt64> = []
    var lastID: UInt64?
  }

  enum RecordType {
    static let lost: UInt32 = 2
    static let comm: UInt32 = 3
    static let sample: UInt32 = 9
    static let lostSamples: UInt32 = 13
    static let headerAttribute: UInt32 = 64
    static let tracingData: UInt32 = 66
    static let finishedRound: UInt32 = 68
    static let auxTrace: UInt32 = 71
    static let headerFeature: UInt32 = 80
    static let compressed: UInt32 = 81
    static let compressed2: UInt32 = 83
  }

  /// Bits of the file header's map of features (tools/perf/util/header.h).
  private enum Feature {
    static let tracingData: UInt64 = 1
    static let hostName: UInt64 = 3
    static let release: UInt64 = 4
    static let machine: UInt64 = 6
    static let cpuCount: UInt64 = 7
    static let clockData: UInt64 = 29
    static let known: Set<UInt64> = [tracingData, hostName, release, machine, cpuCount, clockData]
  }

  private(set) var metadata = TraceMetadata(formats: [], page: PageLayout())
  private(set) var texts = TraceFileTexts()
  private(set) var damage: [TraceDamage] = []
  private(set) var attributes: [Attribute] = []
  private(set) var attributeOfID: [UInt64: Int] = [:]
  /// All attributes have it; nil where each sample must be looked up by its id.
  private(set) var commonLayout: PerfSampleLayout?
  private(set) var streams: [Stream] = []
  /// The latest time before the end of each round of draining the buffers.
  private(set) var roundMaxima: [UInt64] = []
  private(set) var bounds: (first: UInt64, last: UInt64)?
  private(set) var cpuCount = 0
  /// What the runs lie in: the file, or what was unpacked of it.
  private(set) var records: ByteStorage

  private let storage: ByteStorage
  private var streamOfCPU: [Int: Int] = [:]
  private var hasTracingData = false
  private var lostByID: [UInt64: UInt64] = [:]
  private var threadNames: [Int32: String] = [:]
  private var threads: [Int32: (process: Int32, thread: Int32)] = [:]
  private var vcpuEvents: Set<UInt16> = []
  private var latest: UInt64 = 0
  private var hasSamplesSinceRound = false
  private var wallClock: (clock: UInt32, offset: Int64)?
  private var hostName: String?
  private var release: String?
  private var machine: String?
  private var badSamples = 0
  private var foreignSamples = 0

  private static let mostDamage = 1000
  private static let mostThreads = 1 << 20
  private static let mostCPUs = 65536
  private static let mostAttributes = 65536
  private static let fileHeaderSize = 104
  private static let pipeHeaderSize = 16
  /// More than any zstd stream of records gains; a hostile file would otherwise fill the disk.
  private static let largestExpansion = 1024

  init(storage: ByteStorage) {
    self.storage = storage
    records = storage
  }

  private var fileSize: Int { storage.bytes.count }

  private mutating func note(_ offset: Int, _ message: String) {
    guard damage.count < Self.mostDamage else { return }
    damage.append(TraceDamage(offset: offset, message: message))
  }

  mutating func scan() throws(TraceFileError) {
    var reader = ByteReader(storage)
    let mark = reader.remaining >= 8 ? String(decoding: storage.bytes[..<8], as: UTF8.self) : ""
    switch mark {
    case "PERFILE2": break
    case "2ELIFREP":
      throw TraceFileError(
        .unsupported, offset: 0,
        "recorded on a machine of the other byte order; only little-endian recordings can be read")
    case "PERFFILE":
      throw TraceFileError(.unsupported, offset: 0, "a perf.data file of before 2013 (PERFFILE); record it again")
    default:
      throw TraceFileError(
        .notATraceFile, offset: 0,
        "not a perf.data file: it does not begin with PERFILE2; record one with perf kvm stat record")
    }
    _ = try reader.take(8, "the mark")
    let sizeOffset = reader.offset
    let headerSize = try reader.integer("the size of the header", as: UInt64.self)
    var data: Range<Int>
    switch headerSize {
    case UInt64(Self.pipeHeaderSize):
      data = Self.pipeHeaderSize..<fileSize
      try scanPipeHeader(data)
    case UInt64(Self.fileHeaderSize)...4096:
      data = try scanFileHeader(&reader)
    default:
      throw TraceFileError(.malformed, offset: sizeOffset, "a header of \(headerSize) bytes, expected 104 or 16")
    }
    try checkAttributes()
    guard hasTracingData else {
      throw TraceFileError(
        .truncated, offset: fileSize,
        "the event formats are missing: they come last in the file, so it is cut off, or perf was killed; record it again"
      )
    }
    for format in metadata.formats
    where format.system == "kvm" && (format.name == "kvm_exit" || format.name == "kvm_entry") {
      vcpuEvents.insert(format.id)
    }
    try refuseSampling()
    if containsCompressed(data) {
      records = try unpacked(data)
      data = 0..<records.bytes.count
    }
    walk(data)
    finish()
  }

  // MARK: - Header

  private mutating func scanFileHeader(_ reader: inout ByteReader) throws(TraceFileError) -> Range<Int> {
    let entryOffset = reader.offset
    let entrySize = try reader.integer("the size of an attribute", as: UInt64.self)
    let attributes = try section(&reader, "the attributes")
    let dataOffset = reader.offset
    var data = try section(&reader, "the data")
    _ = try section(&reader, "the event types")
    var bitmap: [UInt64] = []
    for _ in 0..<4 { bitmap.append(try reader.integer("the features", as: UInt64.self)) }
    guard (64 + 16...65536).contains(entrySize) else {
      throw TraceFileError(.malformed, offset: entryOffset, "attributes of \(entrySize) bytes, expected 80 or more")
    }
    let count = attributes.size / entrySize
    guard count <= UInt64(Self.mostAttributes) else {
      throw TraceFileError(.malformed, offset: entryOffset, "the file claims \(count) attributes")
    }
    for number in 0..<count {
      let (offset, overflow) = attributes.offset.addingReportingOverflow(number * entrySize)
      guard !overflow, let start = Int(exactly: offset), start <= fileSize - Int(entrySize) else {
        throw TraceFileError(.truncated, offset: fileSize, "the file ends within the attributes")
      }
      var entry = ByteReader(storage, range: start..<start + Int(entrySize), origin: start)
      let bytes = try entry.take(entrySize - 16, "an attribute")
      let ids = try section(&entry, "the ids of an attribute")
      try addAttribute(bytes, offset: start, ids: idList(ids, offset: start))
    }
    guard let start = Int(exactly: data.offset), start <= fileSize else {
      throw TraceFileError(
        .truncated, offset: fileSize, "the file ends before its data, which begins at \(data.offset)")
    }
    if data.size == 0 {
      note(dataOffset, "perf was killed before it wrote how much data there is")
      data.size = UInt64(fileSize - start)
    }
    var end = fileSize
    if let size = Int(exactly: data.size), size <= fileSize - start {
      end = start + size
      scanFeatures(bitmap, table: end)
    } else {
      note(fileSize, "the file ends within its data: \(fileSize - start) of \(data.size) bytes are there")
    }
    return start..<end
  }

  private func section(_ reader: inout ByteReader, _ what: String) throws(TraceFileError) -> (
    offset: UInt64, size: UInt64
  ) {
    let offset = try reader.integer(what, as: UInt64.self)
    return (offset, try reader.integer(what, as: UInt64.self))
  }

  private mutating func idList(_ section: (offset: UInt64, size: UInt64), offset: Int) -> [UInt64] {
    guard section.size > 0 else { return [] }
    guard let start = Int(exactly: section.offset), let size = Int(exactly: section.size), start <= fileSize,
      size <= fileSize - start
    else {
      note(offset, "the ids of an attribute are not in the file")
      return []
    }
    return longs(storage.bytes[start..<start + size])
  }

  private func longs(_ bytes: Slice<UnsafeRawBufferPointer>) -> [UInt64] {
    let bytes = UnsafeRawBufferPointer(rebasing: bytes)
    return (0..<bytes.count / 8).map {
      UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self))
    }
  }

  /// Attributes of every size since 2009 (PERF_ATTR_SIZE_VER0, 64 bytes): what is not there is 0.
  private mutating func addAttribute(
    _ bytes: UnsafeRawBufferPointer, offset: Int, ids: [UInt64]
  ) throws(TraceFileError) {
    guard bytes.count >= 64 else {
      throw TraceFileError(.malformed, offset: offset, "an attribute of \(bytes.count) bytes, expected 64 or more")
    }
    func long(_ place: Int) -> UInt64 {
      UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: place, as: UInt64.self))
    }
    let flags = long(40)
    let attribute = Attribute(
      type: UInt32(littleEndian: bytes.loadUnaligned(as: UInt32.self)), config: long(8), period: long(16), flags: flags,
      clock: bytes.count >= 96 ? Int32(littleEndian: bytes.loadUnaligned(fromByteOffset: 92, as: Int32.self)) : nil,
      ids: ids, layout: PerfSampleLayout(type: long(24), readFormat: long(32)))
    for id in ids where attributeOfID.count < 1 << 22 { attributeOfID[id] = attributes.count }
    attributes.append(attribute)
  }

  private mutating func scanFeatures(_ bitmap: [UInt64], table: Int) {
    var place = table
    for bit in 0..<UInt64(256) where bitmap[Int(bit / 64)] & 1 << (bit % 64) != 0 {
      defer { place += 16 }
      guard place <= fileSize - 16 else {
        note(fileSize, "the file ends within the table of its features")
        return
      }
      guard Feature.known.contains(bit) else { continue }
      let pair = longs(storage.bytes[place..<place + 16])
      guard let start = Int(exactly: pair[0]), let size = Int(exactly: pair[1]), start <= fileSize,
        size <= fileSize - start
      else {
        note(place, "feature \(bit) is not in the file")
        continue
      }
      scanFeature(bit, ByteReader(storage, range: start..<start + size, origin: start))
    }
  }

  private mutating func scanFeature(_ feature: UInt64, _ source: ByteReader) {
    var reader = source
    /// perf's strings have their length in front, padding included.
    func string() throws(TraceFileError) -> String {
      let bytes = try reader.take(UInt64(reader.integer("a feature", as: UInt32.self)), "a feature")
      return String(decoding: bytes.prefix { $0 != 0 }.prefix(256), as: UTF8.self)
    }
    do throws(TraceFileError) {
      switch feature {
      case Feature.tracingData where !hasTracingData:
        var parser = TraceFileParser(storage: storage)
        try parser.parseTracingData(&reader)
        let clock = metadata.clock
        metadata = parser.metadata
        metadata.clock = clock
        texts = parser.texts
        for item in parser.damage { note(item.offset, item.message) }
        hasTracingData = true
      case Feature.hostName: hostName = try string()
      case Feature.release: release = try string()
      case Feature.machine: machine = try string()
      case Feature.cpuCount:
        let count = try reader.integer("the number of CPUs", as: UInt32.self)
        cpuCount = min(Int(count), Self.mostCPUs)
      case Feature.clockData:
        // version, clockid, wall clock and that clock at one moment.
        _ = try reader.integer("the clock data", as: UInt32.self)
        let clock = try reader.integer("the clock data", as: UInt32.self)
        let wall = try reader.integer("the clock data", as: UInt64.self)
        let own = try reader.integer("the clock data", as: UInt64.self)
        wallClock = (clock, Int64(bitPattern: wall &- own))
      default: break
      }
    } catch {
      note(error.offset ?? source.offset, error.message)
    }
  }

  /// In pipe mode attributes, event formats and features are records among the others.
  private mutating func scanPipeHeader(_ data: Range<Int>) throws(TraceFileError) {
    var position = data.lowerBound
    while let record = record(at: position, end: data.upperBound, in: storage.bytes) {
      let start = position
      position += record.count
      switch Self.type(record) {
      case RecordType.headerAttribute:
        guard record.count >= 8 + 64 else { continue }
        let size = Int(UInt32(littleEndian: record.loadUnaligned(fromByteOffset: 12, as: UInt32.self)))
        guard size >= 64, size <= record.count - 8, attributes.count < Self.mostAttributes else {
          note(start, "an attribute of \(size) bytes in a record of \(record.count)")
          continue
        }
        try addAttribute(
          UnsafeRawBufferPointer(rebasing: record[8..<8 + size]), offset: start, ids: longs(record[(8 + size)...]))
      case RecordType.tracingData, RecordType.auxTrace:
        let extra = Self.extraSize(record)
        if Self.type(record) == RecordType.tracingData {
          let size = min(extra, data.upperBound - position)
          scanFeature(
            Feature.tracingData, ByteReader(storage, range: position..<position + size, origin: position))
        }
        guard extra <= data.upperBound - position else { return }
        position += extra
      case RecordType.headerFeature:
        guard record.count >= 16 else { continue }
        let feature = UInt64(littleEndian: record.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        scanFeature(feature, ByteReader(storage, range: start + 16..<start + record.count, origin: start + 16))
      default: break
      }
    }
  }

  private mutating func checkAttributes() throws(TraceFileError) {
    guard let first = attributes.first else {
      throw TraceFileError(.malformed, offset: 16, "the file says of no event how it was recorded")
    }
    let tracepoints = attributes.filter { $0.type == Attribute.tracepoint }
    guard !tracepoints.isEmpty else {
      throw TraceFileError(
        .unsupported, offset: 16,
        "no tracepoint was recorded; record with perf kvm stat record, or perf record -e 'kvm:*'")
    }
    for attribute in tracepoints {
      guard attribute.layout.time >= 0, attribute.layout.hasRaw else {
        throw TraceFileError(
          .unsupported, offset: 16,
          "the samples lack \(attribute.layout.hasRaw ? "their times" : "the tracepoints' fields"); record with perf record -R -T"
        )
      }
    }
    if attributes.allSatisfy({ $0.layout == first.layout }) { commonLayout = first.layout }
    let clock = tracepoints[0]
    // CLOCK_... numbers of <time.h>, as ftrace calls them.
    let names: [Int32: String] = [0: "realtime", 1: "mono", 4: "mono_raw", 7: "boot", 11: "tai"]
    metadata.clock = clock.usesClock ? clock.clock.map { names[$0] ?? "clock \($0)" } ?? "perf" : "perf"
  }

  /// Every exit must be there: a sample of them gives no counts.
  private func refuseSampling() throws(TraceFileError) {
    for attribute in attributes where attribute.type == Attribute.tracepoint {
      guard let id = UInt16(exactly: attribute.config), vcpuEvents.contains(id) else { continue }
      guard !attribute.isFrequency, attribute.period == 1 else {
        let name = metadata.formats.first { $0.id == id }?.name ?? ""
        throw TraceFileError(
          .unsupported, offset: 16,
          "only one of \(attribute.isFrequency ? "many" : "\(attribute.period)") \(name) events was recorded; record all with perf record -c 1"
        )
      }
    }
  }

  // MARK: - Records

  /// The whole record at an offset; nil at the end, or where there is none.
  func record(at position: Int, end: Int, in bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    guard position >= 0, end <= bytes.count, end - position >= 8 else { return nil }
    let size = Int(UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: position + 6, as: UInt16.self)))
    guard size >= 8, size <= end - position else { return nil }
    return UnsafeRawBufferPointer(rebasing: bytes[position..<position + size])
  }

  static func type(_ record: UnsafeRawBufferPointer) -> UInt32 {
    UInt32(littleEndian: record.loadUnaligned(as: UInt32.self))
  }

  /// Bytes that follow a record of a few kinds, beyond its own size: a length in the record.
  private static func extraSize(_ record: UnsafeRawBufferPointer) -> Int {
    switch type(record) {
    case RecordType.tracingData where record.count >= 12:
      // At most 4 GiB, so it fits.
      Int(UInt32(littleEndian: record.loadUnaligned(fromByteOffset: 8, as: UInt32.self)))
    case RecordType.auxTrace where record.count >= 16:
      Int(clamping: min(UInt64(littleEndian: record.loadUnaligned(fromByteOffset: 8, as: UInt64.self)), 1 << 62))
    default: 0
    }
  }

  private func containsCompressed(_ data: Range<Int>) -> Bool {
    var position = data.lowerBound
    while let record = record(at: position, end: data.upperBound, in: storage.bytes) {
      let type = Self.type(record)
      if type == RecordType.compressed || type == RecordType.compressed2 { return true }
      // perf compresses from the first sample on.
      if type == RecordType.sample { return false }
      let extra = Self.extraSize(record)
      guard extra <= data.upperBound - position - record.count else { return false }
      position += record.count + extra
    }
    return false
  }

  /// Unpacks what `perf record -z` packed, into a file without a name: one zstd stream runs through all records, so there
  /// is no other way to read parts of it again. Other records are taken over in their places.
  private mutating func unpacked(_ data: Range<Int>) throws(TraceFileError) -> ByteStorage {
    let spill = try SpillFile()
    guard let stream = ZSTD_createDStream() else {
      throw TraceFileError(.unreadable, "no memory to unpack the records")
    }
    defer { ZSTD_freeDStream(stream) }
    let limit = max(1 << 26, fileSize.multipliedReportingOverflow(by: Self.largestExpansion).partialValue)
    let target = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 17, alignment: 16)
    defer { target.deallocate() }
    var position = data.lowerBound
    while let record = record(at: position, end: data.upperBound, in: storage.bytes) {
      let start = position
      let type = Self.type(record)
      let extra = Self.extraSize(record)
      guard extra <= data.upperBound - position - record.count else { break }
      position += record.count + extra
      guard type == RecordType.compressed || type == RecordType.compressed2 else {
        // What follows a record (tables, AUX data) was read, or is of no use.
        if extra == 0 { try spill.write(record) }
        continue
      }
      var packed = record[8...]
      if type == RecordType.compressed2 {
        guard record.count >= 16, case let size = record.loadUnaligned(fromByteOffset: 8, as: UInt64.self),
          size <= UInt64(record.count - 16)
        else {
          note(start, "a compressed record is longer than its record")
          break
        }
        packed = record[16..<16 + Int(size)]
      }
      let source = UnsafeRawBufferPointer(rebasing: packed)
      var input = ZSTD_inBuffer(src: source.baseAddress, size: source.count, pos: 0)
      var isFull = true
      var failure: String?
      while input.pos < input.size || isFull {
        var output = ZSTD_outBuffer(dst: target.baseAddress, size: target.count, pos: 0)
        let result = ZSTD_decompressStream(stream, &output, &input)
        if ZSTD_isError(result) != 0 {
          failure = "a compressed record is corrupt, all after it is lost"
          break
        }
        isFull = output.pos == output.size
        try spill.write(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(target)[..<output.pos]))
        if spill.count > limit {
          failure = "the compressed records unpack to more than \(limit) bytes"
          break
        }
        if output.pos == 0, input.pos >= input.size { break }
      }
      if let failure {
        note(start, failure)
        break
      }
    }
    if position < data.upperBound, damage.isEmpty {
      note(position, "the file ends within a record: \(data.upperBound - position) bytes are left over")
    }
    return try spill.mapped()
  }

  /// Looks at every record once.
  private mutating func walk(_ data: Range<Int>) {
    let bytes = records.bytes
    var position = data.lowerBound
    var current = -1
    while let record = record(at: position, end: data.upperBound, in: bytes) {
      let start = position
      position += record.count
      switch Self.type(record) {
      case RecordType.sample:
        guard let sample = sample(record) else { continue }
        current = stream(of: sample.cpu)
        extend(current, start, position)
        streams[current].events &+= 1
        if let id = sample.id, streams[current].lastID != id {
          streams[current].lastID = id
          if streams[current].ids.count < 65536 { streams[current].ids.insert(id) }
        }
        bounds = (min(bounds?.first ?? .max, sample.time), max(bounds?.last ?? 0, sample.time))
        latest = max(latest, sample.time)
        hasSamplesSinceRound = true
      case RecordType.finishedRound:
        if hasSamplesSinceRound { roundMaxima.append(latest) }
        hasSamplesSinceRound = false
      case RecordType.lost:
        guard record.count >= 24 else { continue }
        let id = UInt64(littleEndian: record.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        let lost = UInt64(littleEndian: record.loadUnaligned(fromByteOffset: 16, as: UInt64.self))
        let cpu = attribute(of: id).flatMap { $0.identifiesAll ? $0.layout.trailer(record, headerSize: 24).cpu : nil }
        if let cpu, cpu < Self.mostCPUs { current = stream(of: cpu) } else if current < 0 { current = stream(of: 0) }
        streams[current].lost &+= lost
        extend(current, start, position)
      case RecordType.lostSamples:
        // Bit 15 of misc: left out by a filter, not lost (PERF_RECORD_MISC_LOST_SAMPLES_BPF).
        guard record.count >= 16, record.loadUnaligned(fromByteOffset: 4, as: UInt16.self) & 0x8000 == 0,
          let first = attributes.first
        else { continue }
        let lost = UInt64(littleEndian: record.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        let id = first.identifiesAll ? first.layout.trailer(record, headerSize: 16).id : nil
        if lostByID.count < 1 << 20 { lostByID[id ?? 0, default: 0] &+= lost }
      case RecordType.comm:
        guard record.count > 16, threadNames.count < Self.mostThreads else { continue }
        let thread = Int32(littleEndian: record.loadUnaligned(fromByteOffset: 12, as: Int32.self))
        threadNames[thread] = String(decoding: record[16...].prefix(16).prefix { $0 != 0 }, as: UTF8.self)
      case RecordType.tracingData, RecordType.auxTrace:
        let extra = records === storage ? Self.extraSize(record) : 0
        position = extra <= data.upperBound - position ? position + extra : data.upperBound
      default: break
      }
    }
    if position < data.upperBound {
      let left = data.upperBound - position
      let claim = left >= 8 ? Int(bytes.loadUnaligned(fromByteOffset: position + 6, as: UInt16.self)) : 8
      note(
        position,
        claim < 8
          ? "a record of \(claim) bytes, all after it is lost"
          : "the data ends within a record, \(left) of its \(claim) bytes are there")
    }
    if badSamples > 0 { note(data.lowerBound, "\(badSamples) samples are too short for what they should hold") }
    if foreignSamples > 0 { note(data.lowerBound, "\(foreignSamples) samples are of no event the file describes") }
  }

  func attribute(of id: UInt64) -> Attribute? {
    if let index = attributeOfID[id] { return attributes[index] }
    return attributes.first
  }

  /// How a sample is laid out; nil where the file does not tell.
  func layout(of record: UnsafeRawBufferPointer) -> PerfSampleLayout? {
    if let commonLayout { return commonLayout }
    // All attributes of one file have the id in the same place: tools/perf/util/evlist.c, evlist__valid_sample_type().
    guard let first = attributes.first, first.layout.id >= 0, first.layout.id <= record.count - 8 else { return nil }
    let id = UInt64(littleEndian: record.loadUnaligned(fromByteOffset: first.layout.id, as: UInt64.self))
    return attributeOfID[id].map { attributes[$0].layout }
  }

  private mutating func sample(_ record: UnsafeRawBufferPointer) -> (time: UInt64, cpu: Int, id: UInt64?)? {
    guard let layout = layout(of: record) else {
      foreignSamples += 1
      return nil
    }
    func has(_ offset: Int, _ size: Int) -> Bool { offset >= 0 && offset <= record.count - size }
    // A sample without a tracepoint's record is of a processor event, say.
    guard layout.hasRaw else { return nil }
    guard has(layout.time, 8), let raw = layout.raw(record) else {
      badSamples += 1
      return nil
    }
    var cpu = 0
    if layout.cpu >= 0 {
      let number = Int(UInt32(littleEndian: record.loadUnaligned(fromByteOffset: layout.cpu, as: UInt32.self)))
      guard number < Self.mostCPUs else {
        badSamples += 1
        return nil
      }
      cpu = number
    }
    let event = UInt16(littleEndian: record.loadUnaligned(fromByteOffset: raw.lowerBound, as: UInt16.self))
    if layout.thread >= 0, vcpuEvents.contains(event) {
      let own = Int32(littleEndian: record.loadUnaligned(fromByteOffset: raw.lowerBound + 4, as: Int32.self))
      if threads[own] == nil, threads.count < Self.mostThreads {
        threads[own] = (
          Int32(littleEndian: record.loadUnaligned(fromByteOffset: layout.thread, as: Int32.self)),
          Int32(littleEndian: record.loadUnaligned(fromByteOffset: layout.thread + 4, as: Int32.self))
        )
      }
    }
    return (
      UInt64(littleEndian: record.loadUnaligned(fromByteOffset: layout.time, as: UInt64.self)), cpu,
      layout.id >= 0 ? UInt64(littleEndian: record.loadUnaligned(fromByteOffset: layout.id, as: UInt64.self)) : nil
    )
  }

  private mutating func stream(of cpu: Int) -> Int {
    if let index = streamOfCPU[cpu] { return index }
    streamOfCPU[cpu] = streams.count
    streams.append(Stream(cpu: cpu))
    return streams.count - 1
  }

  private mutating func extend(_ stream: Int, _ start: Int, _ end: Int) {
    let round = roundMaxima.count
    if let last = streams[stream].runs.last, last.round == round, last.end == start || lastExtended == stream {
      streams[stream].runs[streams[stream].runs.count - 1].end = end
    } else {
      streams[stream].runs.append(Run(start: start, end: end, round: round))
    }
    lastExtended = stream
  }

  /// The stream of the latest sample: records of other kinds after it do not end its run.
  private var lastExtended = -1

  // MARK: - Conclusions

  private mutating func finish() {
    streams.sort { $0.cpu < $1.cpu }
    var streamOfID: [UInt64: Int] = [:]
    for index in streams.indices { for id in streams[index].ids { streamOfID[id] = index } }
    for (id, lost) in lostByID {
      // An event that lost all it had on a CPU: its ids stand in the order of the CPUs.
      let index =
        streamOfID[id] ?? attributeOfID[id].flatMap { attributes[$0].ids.firstIndex(of: id) }
        .flatMap { place in streams.firstIndex { $0.cpu == place } } ?? streams.indices.first
      if let index { streams[index].lostSamples &+= lost }
    }
    for index in streams.indices {
      // Both count the same events: the buffer's own records as far as there was room to say it, the total at the end.
      streams[index].lost = max(streams[index].lost, streams[index].lostSamples)
      streams[index].ids = []
    }
    cpuCount = max(cpuCount, (streams.last?.cpu ?? -1) + 1)
    for (own, entry) in threads {
      metadata.processes[own] = entry.process
      // perf's own numbers are those of the pid namespace it ran in.
      if let name = threadNames[entry.thread] { metadata.commandNames[own] = name }
    }
    for (thread, name) in threadNames where metadata.commandNames[thread] == nil {
      metadata.commandNames[thread] = name
    }
    texts.commandLines = []
    for (thread, name) in metadata.commandNames.sorted(by: { $0.key < $1.key }) {
      texts.commandLines += Array("\(thread) \(name.filter { $0 != "\n" })\n".utf8)
    }
    if let hostName { metadata.uname = "Linux \(hostName) \(release ?? "?") \(machine ?? "")" }
    let clock = attributes.first { $0.type == Attribute.tracepoint }
    if let wallClock, let clock, clock.usesClock, clock.clock.map({ UInt32(bitPattern: $0) }) == wallClock.clock {
      metadata.wallClockOffset = wallClock.offset
    }
  }
}
