/// Reads everything of a trace.dat file but its pages.
struct TraceFileParser {
  /// Where one CPU's data is.
  struct StreamExtent {
    var stream: PageStream
    /// Within the file; a multiple of the sub-buffer size unless compressed.
    var range: Range<Int>
    var isCompressed: Bool
  }

  private(set) var version = 0
  private(set) var compression = TraceCompression.none
  private(set) var metadata = TraceMetadata(formats: [], page: PageLayout())
  private(set) var damage: [TraceDamage] = []
  private(set) var cpuStatistics: [String] = []
  private(set) var guests: [TraceGuest] = []
  private(set) var cpuCount = 0
  private(set) var timestampOffset: Int64 = 0
  private(set) var texts = TraceFileTexts()
  private(set) var extents: [StreamExtent] = []
  private(set) var decompressor = TraceDecompressor(.none)

  var bufferClocks: [String: String] {
    Dictionary(buffers.compactMap { entry in entry.clock.map { (entry.name, $0) } }) { first, _ in first }
  }

  private let storage: ByteStorage
  private var pageSize = 0
  private var pieces: [UInt16: UInt64] = [:]
  private var buffers: [BufferEntry] = []
  private var traceClock: String?
  private var knownStreams: Set<PageStream> = []
  private var knownFormats: [UInt16: String] = [:]

  /// One BUFFER option.
  private struct BufferEntry {
    var name: String
    var optionOffset: Int
    var offset: UInt64
    var clock: String?
    /// Nil in version 6, where the file's own holds.
    var pageSize: UInt32?
    var cpus: [(cpu: UInt32, offset: UInt64, size: UInt64)] = []
  }

  /// Section and option ids of trace-cmd.dat.v7(5); `TRACECMD_OPTION_...` in trace-cmd's sources.
  private enum ID {
    static let done: UInt16 = 0
    static let date: UInt16 = 1
    static let cpuStatistics: UInt16 = 2
    static let buffer: UInt16 = 3
    static let traceClock: UInt16 = 4
    static let uname: UInt16 = 5
    static let offset: UInt16 = 7
    static let cpuCount: UInt16 = 8
    static let guest: UInt16 = 13
    static let tscToNanoseconds: UInt16 = 14
    static let headerInfo: UInt16 = 16
    static let ftraceEvents: UInt16 = 17
    static let eventFormats: UInt16 = 18
    static let commandLines: UInt16 = 21
  }

  private static let largestMetadataSection: UInt32 = 32 << 20
  private static let mostOptionSections = 4096
  private static let mostCPUs = 65536
  /// `common_type` has 16 bits.
  private static let mostFormats = 65536
  private static let mostCommandNames = 1 << 20
  private static let mostDamage = 10_000

  init(storage: ByteStorage) { self.storage = storage }

  private var fileSize: Int { storage.bytes.count }

  mutating func parse() throws(TraceFileError) {
    var reader = ByteReader(storage)
    do throws(TraceFileError) {
      try reader.expect("\u{17}\u{08}\u{44}tracing", "the mark 17 08 44 \"tracing\" of a trace.dat file")
    } catch {
      throw TraceFileError(
        .notATraceFile, offset: 0,
        "not a trace.dat file: it does not begin with 17 08 44 \"tracing\"; record one with trace-cmd record -e kvm")
    }
    let versionOffset = reader.offset
    let versionText = try reader.string(limit: 16, "the version")
    guard let version = Int(versionText), version == 6 || version == 7 else {
      throw TraceFileError(
        .unsupported, offset: versionOffset,
        "trace.dat version \"\(printable(versionText))\"; versions 6 and 7 can be read")
    }
    self.version = version
    try parseMachine(&reader)
    if version == 6 {
      try parseVersion6(&reader)
    } else {
      try parseVersion7(&reader)
    }
    guard !metadata.formats.isEmpty else {
      throw TraceFileError(
        .malformed, offset: reader.offset,
        "the file has no readable event format, so its events cannot be told apart; record it again")
    }
  }

  /// Endianness, size of long, page size: behind the version, whichever it is.
  private mutating func parseMachine(_ reader: inout ByteReader) throws(TraceFileError) {
    let endianOffset = reader.offset
    switch try reader.integer("the endianness", as: UInt8.self) {
    case 0: break
    case 1:
      throw TraceFileError(
        .unsupported, offset: endianOffset,
        "recorded on a big-endian machine; only little-endian recordings can be read")
    case let other:
      throw TraceFileError(.malformed, offset: endianOffset, "endianness \(other), expected 0 or 1")
    }
    let longOffset = reader.offset
    let longSize = try reader.integer("the size of long", as: UInt8.self)
    guard longSize == 4 || longSize == 8 else {
      throw TraceFileError(.malformed, offset: longOffset, "a long of \(longSize) bytes, expected 4 or 8")
    }
    let sizeOffset = reader.offset
    pageSize = try subBufferSize(reader.integer("the page size", as: UInt32.self), offset: sizeOffset)
  }

  /// Reads what perf.data carries of tracefs (its feature TRACING_DATA): the same bytes as the head of a trace.dat of
  /// version 6, under the versions 0.5 and 0.6 (tools/perf/util/trace-event-info.c).
  ///
  /// - Parameter reader: the feature's bytes.
  /// - Throws: If there is no readable event format.
  mutating func parseTracingData(_ reader: inout ByteReader) throws(TraceFileError) {
    try reader.expect("\u{17}\u{08}\u{44}tracing", "the mark 17 08 44 \"tracing\" of the event formats")
    let versionOffset = reader.offset
    let version = try reader.string(limit: 16, "the version of the event formats")
    guard version == "0.5" || version == "0.6" else {
      throw TraceFileError(
        .unsupported, offset: versionOffset,
        "event formats of version \"\(printable(version))\"; 0.5 and 0.6 can be read")
    }
    try parseMachine(&reader)
    try parseHeaderInfo(&reader)
    do throws(TraceFileError) {
      try parseFtraceEvents(&reader)
      try parseEventFormats(&reader)
      _ = try reader.take(UInt64(reader.integer("the size of kallsyms", as: UInt32.self)), "kallsyms")
      _ = try reader.take(
        UInt64(reader.integer("the size of the printk formats", as: UInt32.self)), "the printk formats")
      if version == "0.6" { try parseCommandLines(&reader) }
    } catch {
      note(error)
    }
    guard !metadata.formats.isEmpty else {
      throw TraceFileError(
        .malformed, offset: reader.offset,
        "the file has no readable event format, so its events cannot be told apart; record it again")
    }
  }

  private func subBufferSize(_ value: UInt32, offset: Int) throws(TraceFileError) -> Int {
    guard let size = Int(exactly: value), PageLayout.isSubBufferSize(size) else {
      throw TraceFileError(
        .malformed, offset: offset, "a page size of \(value) bytes, expected a power of two from 4096 to 524288")
    }
    return size
  }

  private mutating func note(_ offset: Int, _ message: String) {
    guard damage.count < Self.mostDamage else { return }
    damage.append(TraceDamage(offset: offset, message: message))
  }

  private mutating func note(_ error: TraceFileError) {
    note(error.offset ?? 0, error.message)
  }

  // MARK: Pieces that both versions share

  private mutating func parseHeaderInfo(_ reader: inout ByteReader) throws(TraceFileError) {
    try reader.expect("header_page\0", "the header_page text")
    let offset = reader.offset
    texts.headerPage = Array(
      try reader.take(reader.integer("the size of header_page"), "header_page"))
    do throws(TraceFormatError) {
      metadata.page = try PageLayout.parse(headerPageBytes: texts.headerPage)
    } catch {
      throw TraceFileError(.malformed, offset: offset, error.description)
    }
    guard metadata.page.dataOffset < pageSize else {
      throw TraceFileError(.malformed, offset: offset, "header_page leaves no room for events in a page of \(pageSize)")
    }
    // The recorded buffer's own size counts: header_page may be the top-level buffer's, with another size.
    metadata.page.subBufferSize = pageSize
    try reader.expect("header_event\0", "the header_event text")
    texts.headerEvent = Array(
      try reader.take(reader.integer("the size of header_event"), "header_event"))
  }

  private mutating func addFormat(_ text: [UInt8], system: String, offset: Int) -> String? {
    do throws(TraceFormatError) {
      let format = try EventFormat.parse(bytes: text, system: system)
      if knownFormats[format.id] == nil {
        knownFormats[format.id] = format.name
        metadata.formats.append(format)
      } else if knownFormats[format.id] != format.name {
        note(offset, "event \(printable(format.name)) has the ID \(format.id) of another event and is left out")
      }
      return format.name
    } catch {
      note(offset, "an event format of system \(printable(system)) is left out: \(error)")
      return nil
    }
  }

  private mutating func parseFtraceEvents(_ reader: inout ByteReader) throws(TraceFileError) {
    let count = try reader.integer("the number of ftrace events", as: UInt32.self)
    for _ in 0..<count {
      let offset = reader.offset
      let text = Array(try reader.take(reader.integer("the size of an ftrace event"), "an ftrace event"))
      guard texts.ftraceFormats.count < Self.mostFormats else {
        throw TraceFileError(.malformed, offset: offset, "more than \(Self.mostFormats) ftrace events")
      }
      texts.ftraceFormats.append(text)
      _ = addFormat(text, system: "ftrace", offset: offset)
    }
  }

  private mutating func parseEventFormats(_ reader: inout ByteReader) throws(TraceFileError) {
    let systems = try reader.integer("the number of event systems", as: UInt32.self)
    for _ in 0..<systems {
      let system = try reader.string("the name of an event system")
      let count = try reader.integer("the number of events of a system", as: UInt32.self)
      for _ in 0..<count {
        let offset = reader.offset
        let text = Array(try reader.take(reader.integer("the size of an event format"), "an event format"))
        guard texts.formats.count < Self.mostFormats else {
          throw TraceFileError(.malformed, offset: offset, "more than \(Self.mostFormats) event formats")
        }
        let name = addFormat(text, system: system, offset: offset)
        texts.formats.append(RawEventFormat(system: system, name: name, text: text))
      }
    }
  }

  private mutating func parseCommandLines(_ reader: inout ByteReader) throws(TraceFileError) {
    let bytes = Array(try reader.take(reader.integer("the size of the command lines"), "the command lines"))
    texts.commandLines = bytes
    for line in bytes.split(separator: UInt8.newline) {
      guard let space = line.firstIndex(of: UInt8(ascii: " ")),
        let number = decimal(line[..<space]), let thread = Int32(exactly: number),
        metadata.commandNames.count < Self.mostCommandNames
      else { continue }
      var name = line[(space + 1)...]
      while name.last == 0 { name = name.dropLast() }
      metadata.commandNames[thread] = String(decoding: name, as: UTF8.self)
    }
  }

  /// Reads one option; one that makes no sense is damage, not an end.
  private mutating func parseOption(_ id: UInt16, _ data: UnsafeRawBufferPointer, offset: Int) {
    var reader = ByteReader(ByteStorage(borrowing: data), origin: offset)
    do throws(TraceFileError) {
      switch id {
      case ID.cpuStatistics:
        cpuStatistics.append(text(data))
      case ID.buffer:
        try parseBufferOption(&reader, offset: offset)
      case ID.traceClock:
        traceClock = clockName(text(data)) ?? traceClock
      case ID.uname:
        metadata.uname = text(data)
      case ID.offset:
        let value = text(data)
        if let number = value.hasPrefix("0x") ? Int64(value.dropFirst(2), radix: 16) : Int64(value) {
          timestampOffset = number
        } else {
          note(offset, "the OFFSET option is not a number")
        }
      case ID.date:
        // Microseconds from the trace clock to the wall clock.
        let value = text(data)
        let number = value.hasPrefix("0x") ? Int64(value.dropFirst(2), radix: 16) : Int64(value)
        if let (offset, overflow) = number?.multipliedReportingOverflow(by: 1000), !overflow {
          metadata.wallClockOffset = offset
        }
      case ID.cpuCount:
        let count = try reader.integer("the CPUCOUNT option", as: UInt32.self)
        if let count = Int(exactly: count), count <= Self.mostCPUs {
          cpuCount = max(cpuCount, count)
        } else {
          note(offset, "the CPUCOUNT option claims \(count) CPUs")
        }
      case ID.guest:
        let name = try reader.string("the GUEST option")
        let traceID = try reader.integer("the GUEST option", as: UInt64.self)
        var threads: [UInt32: Int32] = [:]
        for _ in 0..<(try reader.integer("the GUEST option", as: UInt32.self)) {
          let vcpu = try reader.integer("the GUEST option", as: UInt32.self)
          threads[vcpu] = try reader.integer("the GUEST option", as: Int32.self)
        }
        guests.append(TraceGuest(name: name, traceID: traceID, threads: threads))
      case ID.tscToNanoseconds:
        let multiplier = try reader.integer("the TSC2NSEC option", as: UInt32.self)
        let shift = try reader.integer("the TSC2NSEC option", as: UInt32.self)
        if multiplier > 0, shift < 64 {
          metadata.timeScale = TimeScale(multiplier: multiplier, shift: shift)
        } else {
          note(offset, "the TSC2NSEC option has multiplier \(multiplier) and shift \(shift)")
        }
      case ID.headerInfo...ID.commandLines where version == 7:
        pieces[id] = try reader.integer("a section's offset", as: UInt64.self)
      default: break
      }
    } catch {
      note(error)
    }
  }

  private mutating func parseBufferOption(_ reader: inout ByteReader, offset: Int) throws(TraceFileError) {
    var entry = BufferEntry(
      name: "", optionOffset: offset, offset: try reader.integer("the BUFFER option", as: UInt64.self))
    entry.name = try reader.string("the BUFFER option")
    guard version == 7 else {
      buffers.append(entry)
      return
    }
    entry.clock = clockName(try reader.string("the BUFFER option"))
    entry.pageSize = try reader.integer("the BUFFER option", as: UInt32.self)
    let count = try reader.integer("the BUFFER option", as: UInt32.self)
    // What was read before the option ends is good.
    defer { buffers.append(entry) }
    for _ in 0..<count {
      let cpu = try reader.integer("the BUFFER option", as: UInt32.self)
      let offset = try reader.integer("the BUFFER option", as: UInt64.self)
      entry.cpus.append((cpu, offset, try reader.integer("the BUFFER option", as: UInt64.self)))
    }
  }

  private func text(_ data: UnsafeRawBufferPointer) -> String {
    let end = data.firstIndex(of: 0) ?? data.count
    return String(decoding: data[..<end], as: UTF8.self)
  }

  /// `[local] global mono` and `local` both name the clock local.
  private func clockName(_ text: String) -> String? {
    var name = text[...]
    if let open = text.firstIndex(of: "[") {
      name = text[text.index(after: open)...].prefix { $0 != "]" }
    }
    let word = name.prefix { $0 != " " && $0 != "\n" }
    return word.isEmpty ? nil : String(word)
  }

  /// Takes a CPU's data into the streams, as far as the file has it.
  private mutating func addStream(
    _ stream: PageStream, offset: UInt64, size: UInt64, compressedIn section: Section? = nil, tableOffset: Int
  ) {
    guard size > 0 else { return }
    guard stream.cpu < Self.mostCPUs else {
      note(tableOffset, "CPU number \(stream.cpu) makes no sense, its data is left out")
      return
    }
    guard knownStreams.insert(stream).inserted else {
      note(tableOffset, "\(stream.name) is listed twice, its second data is left out")
      return
    }
    let (end, overflow) = offset.addingReportingOverflow(size)
    guard !overflow, let start = Int(exactly: offset), start < fileSize else {
      note(fileSize, "all data of \(stream.name) is missing: the file ends before it")
      return
    }
    if let section {
      // Chunks are counted, so the section's end is bound enough; and trace-cmd's size leaves out the 4 bytes of the count.
      guard section.content.contains(start) else {
        note(tableOffset, "the data of \(stream.name) is not within its section, it is left out")
        return
      }
      if section.isCut { note(fileSize, "the file ends within the section with the data of \(stream.name)") }
      extents.append(
        StreamExtent(stream: stream, range: start..<section.content.upperBound, isCompressed: true))
      return
    }
    var stop = fileSize
    if let end = Int(exactly: end), end <= fileSize {
      stop = end
    } else {
      note(fileSize, "the file ends within the data of \(stream.name): \(fileSize - start) of \(size) bytes are there")
    }
    let whole = (stop - start) / pageSize * pageSize
    if whole != stop - start, stop != fileSize || end == UInt64(fileSize) {
      note(start + whole, "the data of \(stream.name) does not end with a whole page of \(pageSize) bytes")
    }
    extents.append(StreamExtent(stream: stream, range: start..<start + whole, isCompressed: false))
  }

  // MARK: Version 6

  private mutating func parseVersion6(_ reader: inout ByteReader) throws(TraceFileError) {
    try parseHeaderInfo(&reader)
    try parseFtraceEvents(&reader)
    try parseEventFormats(&reader)
    _ = try reader.take(UInt64(reader.integer("the size of kallsyms", as: UInt32.self)), "kallsyms")
    _ = try reader.take(UInt64(reader.integer("the size of the printk formats", as: UInt32.self)), "the printk formats")
    try parseCommandLines(&reader)
    let countOffset = reader.offset
    let count = try reader.integer("the CPU count", as: UInt32.self)
    guard let cpus = Int(exactly: count), cpus <= Self.mostCPUs else {
      throw TraceFileError(.malformed, offset: countOffset, "the file claims \(count) CPUs")
    }
    cpuCount = cpus
    do throws(TraceFileError) {
      try parseFlyrecord(&reader, buffer: "")
    } catch  where error.code != .unsupported {
      // The formats are good; without the table there is no data, and the damage says so.
      note(error)
    }
    // Options of an instance may not name further instances.
    for entry in buffers {
      guard let offset = Int(exactly: entry.offset), offset < fileSize else {
        note(entry.optionOffset, "instance \(printable(entry.name)) is missing: the file ends before it")
        continue
      }
      var instance = ByteReader(storage, range: offset..<fileSize, origin: offset)
      do throws(TraceFileError) {
        try parseFlyrecord(&instance, buffer: entry.name)
      } catch {
        note(error)
      }
    }
    metadata.clock = traceClock
  }

  /// Reads options and the table of CPU data, up to the data.
  private mutating func parseFlyrecord(_ reader: inout ByteReader, buffer: String) throws(TraceFileError) {
    while true {
      let offset = reader.offset
      let kind = try reader.take(10, "the kind of trace data")
      if kind.elementsEqual("options  \0".utf8) {
        while true {
          let id = try reader.integer("an option", as: UInt16.self)
          if id == ID.done { break }
          let size = try reader.integer("an option's size", as: UInt32.self)
          let offset = reader.offset
          let data = try reader.take(UInt64(size), "an option")
          if id != ID.buffer || buffer.isEmpty { parseOption(id, data, offset: offset) }
        }
      } else if kind.elementsEqual("flyrecord\0".utf8) {
        break
      } else if kind.elementsEqual("latency  \0".utf8) {
        throw TraceFileError(
          .unsupported, offset: offset,
          "a latency trace: text without event records; record with trace-cmd record -e kvm instead")
      } else {
        throw TraceFileError(.malformed, offset: offset, "neither \"options\" nor \"flyrecord\" found here")
      }
    }
    // A table longer than the file's CPU count has entries without data; both numbers are only bounds here.
    for cpu in 0..<cpuCount {
      let tableOffset = reader.offset
      let offset = try reader.integer("the table of CPU data", as: UInt64.self)
      let size = try reader.integer("the table of CPU data", as: UInt64.self)
      addStream(
        PageStream(cpu: cpu, buffer: buffer), offset: offset, size: size, tableOffset: tableOffset)
    }
  }

  // MARK: Version 7

  private struct Section {
    var id: UInt16
    var isCompressed: Bool
    /// Of its header.
    var offset: Int
    /// Its content, as far as the file has it.
    var content: Range<Int>
    var isCut: Bool
  }

  private func section(at offset: UInt64) throws(TraceFileError) -> Section {
    guard let start = Int(exactly: offset), start <= fileSize - 16 else {
      throw TraceFileError(.truncated, offset: fileSize, "the file ends before a section at byte \(offset)")
    }
    var reader = ByteReader(storage, range: start..<fileSize, origin: start)
    let id = try reader.integer("a section header", as: UInt16.self)
    let flags = try reader.integer("a section header", as: UInt16.self)
    _ = try reader.integer("a section header", as: UInt32.self)
    let size = try reader.integer("a section header", as: UInt64.self)
    let content = start + 16
    let whole = Int(exactly: size).map { $0 <= fileSize - content } ?? false
    let end = whole ? content + Int(truncatingIfNeeded: size) : fileSize
    return Section(id: id, isCompressed: flags & 1 != 0, offset: start, content: content..<end, isCut: !whole)
  }

  /// A reader over a section's content, unpacked if need be.
  private func reader(of section: Section) throws(TraceFileError) -> ByteReader {
    let start = section.content.lowerBound
    var packed = ByteReader(storage, range: section.content, origin: start)
    guard section.isCompressed else { return packed }
    let packedSize = try packed.integer("a compressed section", as: UInt32.self)
    let size = try packed.integer("a compressed section", as: UInt32.self)
    guard size <= Self.largestMetadataSection else {
      throw TraceFileError(.malformed, offset: section.offset, "a section claims \(size) bytes")
    }
    let source = try packed.take(UInt64(packedSize), "a compressed section")
    var isGood = false
    let unpacked = ByteStorage(count: Int(size)) { target in
      let count = decompressor.decompress(source, into: target)
      isGood = count == target.count
      return count ?? 0
    }
    guard isGood else {
      throw TraceFileError(.malformed, offset: section.offset, "a compressed section is corrupt")
    }
    return ByteReader(unpacked, origin: section.offset, isDecompressed: true)
  }

  private mutating func parseVersion7(_ reader: inout ByteReader) throws(TraceFileError) {
    let nameOffset = reader.offset
    let name = try reader.string(limit: 64, "the compression name")
    guard let compression = name.isEmpty ? TraceCompression.none : TraceCompression(rawValue: name) else {
      throw TraceFileError(
        .unsupported, offset: nameOffset,
        "compressed with \"\(printable(name))\"; none, zlib and zstd can be read: trace-cmd convert --compression none")
    }
    self.compression = compression
    decompressor = TraceDecompressor(compression)
    _ = try reader.string(limit: 64, "the compression version")
    let options = try reader.integer("the offset of the options", as: UInt64.self)
    let firstSection = reader.offset

    parseOptionSections(from: options)
    var walked: [Section] = []
    if pieces[ID.headerInfo] == nil || pieces[ID.eventFormats] == nil || buffers.isEmpty {
      // The recorder was killed, or the end is cut off. Sections lie back to back, so they can be found without options.
      walked = walkSections(from: firstSection)
      for section in walked where section.id >= ID.headerInfo && section.id <= ID.commandLines {
        pieces[section.id] = pieces[section.id] ?? UInt64(section.offset)
      }
    }
    for entry in buffers {
      if let size = entry.pageSize.flatMap({ Int(exactly: $0) }), PageLayout.isSubBufferSize(size),
        entry.cpus.contains(where: { $0.size > 0 })
      {
        pageSize = size
        metadata.clock = entry.clock
        break
      }
    }
    metadata.clock = metadata.clock ?? traceClock

    guard var header = try piece(ID.headerInfo) else {
      throw TraceFileError(
        .truncated, offset: firstSection, "the section with the page layout is missing; record the trace again")
    }
    try parseHeaderInfo(&header)
    guard var formats = try piece(ID.eventFormats) else {
      throw TraceFileError(
        .truncated, offset: firstSection, "the section with the event formats is missing; record the trace again")
    }
    do throws(TraceFileError) {
      if var events = try piece(ID.ftraceEvents) { try parseFtraceEvents(&events) }
    } catch {
      note(error)
    }
    do throws(TraceFileError) {
      try parseEventFormats(&formats)
    } catch {
      note(error)
    }
    do throws(TraceFileError) {
      if var names = try piece(ID.commandLines) { try parseCommandLines(&names) }
    } catch {
      note(error)
    }
    addBuffers()
    if buffers.isEmpty { salvageBuffers(walked) }
  }

  /// A metadata section's content; nil where the file has none.
  private func piece(_ id: UInt16) throws(TraceFileError) -> ByteReader? {
    guard let offset = pieces[id] else { return nil }
    let section = try section(at: offset)
    guard section.id == id else {
      throw TraceFileError(
        .malformed, offset: section.offset, "a section with id \(section.id) where one with id \(id) should be")
    }
    return try reader(of: section)
  }

  private mutating func parseOptionSections(from first: UInt64) {
    var next = first
    var visited: Set<UInt64> = []
    while next != 0 {
      guard visited.insert(next).inserted, visited.count <= Self.mostOptionSections else {
        note(Int(truncatingIfNeeded: next), "the chain of option sections does not end")
        return
      }
      do throws(TraceFileError) {
        let section = try section(at: next)
        guard section.id == ID.done else {
          throw TraceFileError(
            .malformed, offset: section.offset, "a section with id \(section.id) where options should be")
        }
        if section.isCut { note(section.offset, "the file ends within a section of options") }
        var reader = try reader(of: section)
        next = 0
        while reader.remaining > 0 {
          let id = try reader.integer("an option", as: UInt16.self)
          let size = try reader.integer("an option's size", as: UInt32.self)
          let offset = reader.offset
          let data = try reader.take(UInt64(size), "an option")
          if id == ID.done {
            if size >= 8 { next = UInt64(littleEndian: data.loadUnaligned(as: UInt64.self)) }
            break
          }
          parseOption(id, data, offset: offset)
        }
      } catch {
        note(error)
        return
      }
    }
  }

  private func walkSections(from first: Int) -> [Section] {
    var sections: [Section] = []
    var offset = first
    while sections.count < Self.mostOptionSections {
      guard var section = try? section(at: UInt64(offset)) else { break }
      if section.id == ID.buffer, section.content.isEmpty {
        // The size is written last: what a killed recorder left reaches to the end.
        section.content = section.content.lowerBound..<fileSize
        section.isCut = true
      }
      sections.append(section)
      if section.isCut { break }
      offset = section.content.upperBound
    }
    return sections
  }

  private mutating func addBuffers() {
    for entry in buffers {
      guard entry.cpus.contains(where: { $0.size > 0 }) else { continue }
      let label = entry.name.isEmpty ? "the top-level buffer" : "instance \(printable(entry.name))"
      guard let size = entry.pageSize, size == UInt32(pageSize) else {
        note(
          entry.optionOffset,
          "\(label) is left out: its pages have \(entry.pageSize ?? 0) bytes, the others \(pageSize)")
        continue
      }
      do throws(TraceFileError) {
        let section = try section(at: entry.offset)
        guard section.id == ID.buffer else {
          throw TraceFileError(
            .malformed, offset: section.offset, "a section with id \(section.id) where the data of \(label) should be")
        }
        for (cpu, offset, size) in entry.cpus {
          addStream(
            PageStream(cpu: Int(cpu), buffer: entry.name), offset: offset, size: size,
            compressedIn: section.isCompressed ? section : nil, tableOffset: entry.optionOffset)
        }
      } catch {
        note(error)
      }
    }
  }

  /// Finds the pages of buffer sections that no option describes: that option comes last, so a killed recorder has not
  /// written it. The CPUs' numbers are then lost: they are numbered in the order of the file.
  private mutating func salvageBuffers(_ sections: [Section]) {
    for section in sections where section.id == ID.buffer {
      let firstPage = (section.content.lowerBound + pageSize - 1) / pageSize * pageSize
      guard firstPage < section.content.upperBound else { continue }
      note(
        section.offset,
        "the table of this data is missing: CPUs are numbered in the order of the file, instance names are lost")
      var start = firstPage
      while start < section.content.upperBound, extents.count < Self.mostCPUs {
        let end: Int
        if section.isCompressed {
          end = endOfChunks(start, limit: section.content.upperBound)
        } else {
          end = endOfOneCPU(start, limit: section.content.upperBound)
        }
        guard end > start else { break }
        addStream(
          PageStream(cpu: extents.count), offset: UInt64(start), size: UInt64(end - start),
          compressedIn: section.isCompressed ? section : nil, tableOffset: section.offset)
        // Every CPU's data begins on a page boundary, also where it is compressed.
        start = section.isCompressed ? (end + pageSize - 1) / pageSize * pageSize : end
      }
    }
  }

  private func word(_ offset: Int) -> UInt32 {
    UInt32(littleEndian: storage.bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }

  private func endOfChunks(_ start: Int, limit: Int) -> Int {
    guard limit - start >= 4 else { return start }
    var position = start + 4
    for _ in 0..<word(start) {
      guard limit - position >= 8 else { return limit }
      position += 8 + Int(word(position))
      guard position <= limit else { return limit }
    }
    return position
  }

  /// One CPU's pages never go back in time; the next CPU's first page nearly always does.
  private func endOfOneCPU(_ start: Int, limit: Int) -> Int {
    var position = start
    var last: UInt64 = 0
    while limit - position >= pageSize {
      let stamp = UInt64(
        littleEndian: storage.bytes.loadUnaligned(
          fromByteOffset: position + metadata.page.timestampOffset, as: UInt64.self))
      if stamp < last { return position }
      last = stamp
      position += pageSize
    }
    return position > start ? position : limit
  }
}

/// For messages: at most 40 characters, and control characters as dots, since the text may be hostile.
func printable(_ text: String) -> String {
  String(
    String.UnicodeScalarView(
      text.unicodeScalars.prefix(40).map { scalar in
        scalar.value < 0x20 || (0x7f..<0xa0).contains(scalar.value) ? "." : scalar
      }))
}
