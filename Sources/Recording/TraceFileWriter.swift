import TraceFormat

/// What a trace.dat file says besides its pages.
public struct TraceFileContents: Sendable {
  public var texts: TraceFileTexts
  /// The size of every sub-buffer, in bytes.
  public var pageSize: Int
  /// The name of the trace clock.
  public var clock: String
  public var uname: String?
  public var cpuCount: Int
  public var timeScale: TimeScale
  public var cpuStatistics: [String]
  public var guests: [TraceGuest]

  public init(
    texts: TraceFileTexts, pageSize: Int, clock: String, uname: String? = nil, cpuCount: Int,
    timeScale: TimeScale = .nanoseconds, cpuStatistics: [String] = [], guests: [TraceGuest] = []
  ) {
    self.texts = texts
    self.pageSize = pageSize
    self.clock = clock
    self.uname = uname
    self.cpuCount = cpuCount
    self.timeScale = timeScale
    self.cpuStatistics = cpuStatistics
    self.guests = guests
  }

  /// Everything but the pages of a file that was read.
  public init(of file: TraceFile) {
    self.init(
      texts: file.texts, pageSize: file.metadata.page.subBufferSize, clock: file.metadata.clock ?? "local",
      uname: file.metadata.uname, cpuCount: file.cpuCount, timeScale: file.metadata.timeScale,
      cpuStatistics: file.cpuStatistics, guests: file.guests)
  }
}

/// Writes a trace.dat file of version 7 that `trace-cmd report` and KernelShark open (trace-cmd.dat.v7(5)).
///
/// The order of calls: for each buffer `beginBuffer`, for each of its CPUs `beginCPU` and any number of `append`, and
/// `finish` at the end. Until then the file lacks the table that says which CPU's data is where; `TraceFile` still
/// salvages the pages of such a file.
public final class TraceFileWriter {
  private let file: OutputFile
  private let contents: TraceFileContents
  private let compression: TraceCompression
  private var state = State.betweenBuffers
  private var isFinished = false
  /// Where to write the offset of the next section of options.
  private var optionsLink: UInt64 = 0
  private var buffers: [Buffer] = []

  private enum State {
    case betweenBuffers, inBuffer, inCPU
  }

  private struct Buffer {
    var name: String
    var clock: String
    var section: UInt64
    var cpus: [CPU] = []
  }

  private struct CPU {
    var number: Int
    var offset: UInt64
    var size: UInt64 = 0
    var chunks: UInt32 = 0
  }

  private enum Section: UInt16, CaseIterable {
    case options = 0
    case buffer = 3
    case strings = 15
    case headerInfo = 16
    case ftraceEvents = 17
    case eventFormats = 18
    case kernelSymbols = 19
    case printkFormats = 20
    case commandLines = 21

    var name: String {
      switch self {
      case .options: "options"
      case .buffer: "buffer flyrecord"
      case .strings: "strings"
      case .headerInfo: "headers"
      case .ftraceEvents: "ftrace events"
      case .eventFormats: "events format"
      case .kernelSymbols: "kallsyms"
      case .printkFormats: "printk"
      case .commandLines: "command lines"
      }
    }
  }

  /// As trace-cmd does: ten pages to a chunk.
  private static let pagesPerChunk = 10
  private var chunk: [UInt8] = []

  /// Creates the file, and writes all that comes before the pages.
  ///
  /// - Throws: If the file cannot be created or written, or the page size is none.
  public init(
    path: String, contents: TraceFileContents, compression: TraceCompression = .none
  ) throws(RecordingError) {
    guard PageLayout.isSubBufferSize(contents.pageSize) else {
      throw RecordingError("a page size of \(contents.pageSize) bytes, expected a power of two from 4096 to 524288")
    }
    file = try OutputFile(path: path)
    self.contents = contents
    self.compression = compression
    try writeStart()
  }

  /// Starts a trace instance's data; an empty name is the top-level buffer.
  public func beginBuffer(name: String = "", clock: String? = nil) throws(RecordingError) {
    try endBuffer()
    buffers.append(Buffer(name: name, clock: clock ?? contents.clock, section: file.offset))
    try file.write(header(.buffer, isCompressed: compression != .none, size: 0))
    state = .inBuffer
  }

  /// Starts a CPU's data in the buffer begun last. Each CPU may be begun once per buffer.
  public func beginCPU(_ cpu: Int) throws(RecordingError) {
    guard state != .betweenBuffers, var buffer = buffers.last else {
      throw RecordingError("CPU \(cpu) begun outside of a buffer")
    }
    guard UInt32(exactly: cpu) != nil, !buffer.cpus.contains(where: { $0.number == cpu }) else {
      throw RecordingError("CPU \(cpu) cannot be begun, or was already")
    }
    try endCPU()
    buffer = buffers[buffers.count - 1]
    try alignToPage()
    buffer.cpus.append(CPU(number: cpu, offset: file.offset))
    buffers[buffers.count - 1] = buffer
    if compression != .none { try file.write([UInt8](littleEndian: UInt32(0))) }
    state = .inCPU
  }

  /// Adds whole pages to the CPU begun last, in the order in which the kernel wrote them.
  public func append(_ pages: UnsafeRawBufferPointer) throws(RecordingError) {
    guard state == .inCPU else { throw RecordingError("pages added outside of a CPU") }
    guard pages.count % contents.pageSize == 0 else {
      throw RecordingError("\(pages.count) bytes are not whole pages of \(contents.pageSize)")
    }
    guard compression != .none else {
      try file.write(pages)
      return
    }
    var rest = pages[...]
    let chunkSize = Self.pagesPerChunk * contents.pageSize
    while !rest.isEmpty {
      let part = rest.prefix(chunkSize - chunk.count)
      chunk.append(contentsOf: part)
      rest = rest.dropFirst(part.count)
      if chunk.count == chunkSize { try writeChunk() }
    }
  }

  /// Adds whole pages from an array.
  public func append(_ pages: [UInt8]) throws(RecordingError) {
    var failure: RecordingError?
    pages.withUnsafeBytes { bytes in
      do throws(RecordingError) { try append(bytes) } catch { failure = error }
    }
    if let failure { throw failure }
  }

  /// Writes the tables. Nothing can be added afterwards.
  public func finish() throws(RecordingError) {
    guard !isFinished else { return }
    try endBuffer()
    try writeBufferOptions()
    var strings: [UInt8] = []
    for section in Section.allCases { strings.append(terminated: section.name) }
    try writeSection(.strings, strings)
    try file.flush()
    isFinished = true
  }

  // MARK: Sections

  private func writeStart() throws(RecordingError) {
    var start: [UInt8] = [0x17, 0x08, 0x44]
    start += Array("tracing".utf8)
    start.append(terminated: "7")
    start += [0, 8]
    start.append(littleEndian: UInt32(contents.pageSize))
    start.append(terminated: compression.rawValue)
    start.append(terminated: compression.version)
    optionsLink = UInt64(start.count)
    start.append(littleEndian: UInt64(0))
    try file.write(start)

    let texts = contents.texts
    var offsets: [(Section, UInt64)] = []
    func section(_ id: Section, _ content: [UInt8]) throws(RecordingError) {
      offsets.append((id, file.offset))
      try writeSection(id, content)
    }
    var header: [UInt8] = []
    header.append(terminated: "header_page")
    header.append(littleEndian: UInt64(texts.headerPage.count))
    header += texts.headerPage
    header.append(terminated: "header_event")
    header.append(littleEndian: UInt64(texts.headerEvent.count))
    header += texts.headerEvent
    try section(.headerInfo, header)

    var events = [UInt8](littleEndian: UInt32(texts.ftraceFormats.count))
    for text in texts.ftraceFormats {
      events.append(littleEndian: UInt64(text.count))
      events += text
    }
    try section(.ftraceEvents, events)

    var systems: [(name: String, texts: [[UInt8]])] = []
    var indices: [String: Int] = [:]
    for format in texts.formats {
      if let index = indices[format.system] {
        systems[index].texts.append(format.text)
      } else {
        indices[format.system] = systems.count
        systems.append((format.system, [format.text]))
      }
    }
    var formats = [UInt8](littleEndian: UInt32(systems.count))
    for (name, texts) in systems {
      formats.append(terminated: name)
      formats.append(littleEndian: UInt32(texts.count))
      for text in texts {
        formats.append(littleEndian: UInt64(text.count))
        formats += text
      }
    }
    try section(.eventFormats, formats)
    try section(.kernelSymbols, [UInt8](littleEndian: UInt32(0)))
    try section(.printkFormats, [UInt8](littleEndian: UInt32(0)))
    try section(.commandLines, [UInt8](littleEndian: UInt64(texts.commandLines.count)) + texts.commandLines)

    var options: [UInt8] = []
    for (id, offset) in offsets { option(&options, id.rawValue, [UInt8](littleEndian: offset)) }
    option(&options, OptionID.traceClock, Array("[\(contents.clock)]\n\0".utf8))
    if let uname = contents.uname { option(&options, OptionID.uname, Array(uname.utf8) + [0]) }
    for text in contents.cpuStatistics { option(&options, OptionID.cpuStatistics, Array(text.utf8) + [0]) }
    option(
      &options, OptionID.cpuCount, [UInt8](littleEndian: UInt32(truncatingIfNeeded: contents.cpuCount)))
    if contents.timeScale != .nanoseconds {
      var scale = [UInt8](littleEndian: contents.timeScale.multiplier)
      scale.append(littleEndian: contents.timeScale.shift)
      scale.append(littleEndian: UInt64(0))
      option(&options, OptionID.tscToNanoseconds, scale)
    }
    for guest in contents.guests {
      var data: [UInt8] = []
      data.append(terminated: guest.name)
      data.append(littleEndian: guest.traceID)
      data.append(littleEndian: UInt32(guest.threads.count))
      for (vcpu, thread) in guest.threads.sorted(by: { $0.key < $1.key }) {
        data.append(littleEndian: vcpu)
        data.append(littleEndian: thread)
      }
      option(&options, OptionID.guest, data)
    }
    try writeOptions(options)
  }

  /// Option ids of trace-cmd.dat.v7(5).
  private enum OptionID {
    static let cpuStatistics: UInt16 = 2
    static let buffer: UInt16 = 3
    static let traceClock: UInt16 = 4
    static let uname: UInt16 = 5
    static let cpuCount: UInt16 = 8
    static let guest: UInt16 = 13
    static let tscToNanoseconds: UInt16 = 14
  }

  private func option(_ options: inout [UInt8], _ id: UInt16, _ data: [UInt8]) {
    options.append(littleEndian: id)
    options.append(littleEndian: UInt32(data.count))
    options += data
  }

  /// Writes a section of options and links the one before to it.
  private func writeOptions(_ options: [UInt8]) throws(RecordingError) {
    var options = options
    option(&options, 0, [UInt8](littleEndian: UInt64(0)))
    let offset = file.offset
    try file.write(header(.options, isCompressed: false, size: UInt64(options.count)))
    try file.write(options)
    try file.patch([UInt8](littleEndian: offset), at: optionsLink)
    optionsLink = file.offset - 8
  }

  private func writeBufferOptions() throws(RecordingError) {
    guard !buffers.isEmpty else { return }
    var options: [UInt8] = []
    for buffer in buffers {
      var data = [UInt8](littleEndian: buffer.section)
      data.append(terminated: buffer.name)
      data.append(terminated: buffer.clock)
      data.append(littleEndian: UInt32(contents.pageSize))
      let cpus = buffer.cpus.filter { $0.size > 0 }
      data.append(littleEndian: UInt32(cpus.count))
      for cpu in cpus {
        data.append(littleEndian: UInt32(truncatingIfNeeded: cpu.number))
        data.append(littleEndian: cpu.offset)
        data.append(littleEndian: cpu.size)
      }
      option(&options, OptionID.buffer, data)
    }
    try writeOptions(options)
  }

  private func header(_ id: Section, isCompressed: Bool, size: UInt64) -> [UInt8] {
    var header = [UInt8](littleEndian: id.rawValue)
    header.append(littleEndian: UInt16(isCompressed ? 1 : 0))
    var name = 0
    for section in Section.allCases {
      if section == id { break }
      name += section.name.utf8.count + 1
    }
    header.append(littleEndian: UInt32(name))
    header.append(littleEndian: size)
    return header
  }

  private func writeSection(_ id: Section, _ content: [UInt8]) throws(RecordingError) {
    guard compression != .none else {
      try file.write(header(id, isCompressed: false, size: UInt64(content.count)))
      try file.write(content)
      return
    }
    let packed = try pack(content)
    try file.write(header(id, isCompressed: true, size: UInt64(packed.count)))
    try file.write(packed)
  }

  /// The bytes compressed, after both sizes.
  private func pack(_ content: [UInt8]) throws(RecordingError) -> [UInt8] {
    guard let packed = content.withUnsafeBytes(compression.compress), let packedSize = UInt32(exactly: packed.count),
      let size = UInt32(exactly: content.count)
    else { throw RecordingError("\(content.count) bytes cannot be compressed with \(compression.rawValue)") }
    return [UInt8](littleEndian: packedSize) + [UInt8](littleEndian: size) + packed
  }

  private func writeChunk() throws(RecordingError) {
    guard !chunk.isEmpty else { return }
    try file.write(pack(chunk))
    chunk.removeAll(keepingCapacity: true)
    buffers[buffers.count - 1].cpus[buffers[buffers.count - 1].cpus.count - 1].chunks += 1
  }

  private func endCPU() throws(RecordingError) {
    guard state == .inCPU, var cpu = buffers.last?.cpus.last else { return }
    if compression != .none {
      try writeChunk()
      cpu.chunks = buffers.last?.cpus.last?.chunks ?? 0
      try file.patch([UInt8](littleEndian: cpu.chunks), at: cpu.offset)
    }
    // As trace-cmd counts it: without the number of chunks.
    cpu.size = file.offset - cpu.offset - (compression == .none ? 0 : 4)
    buffers[buffers.count - 1].cpus[buffers[buffers.count - 1].cpus.count - 1] = cpu
    state = .inBuffer
  }

  private func endBuffer() throws(RecordingError) {
    guard !isFinished else { throw RecordingError("the file is finished") }
    guard state != .betweenBuffers else { return }
    try endCPU()
    // The reader walks from section to section, so the size counts all up to the next one.
    let section = buffers[buffers.count - 1].section
    try file.patch([UInt8](littleEndian: file.offset - section - 16), at: section + 8)
    state = .betweenBuffers
  }

  private func alignToPage() throws(RecordingError) {
    let excess = Int(file.offset % UInt64(contents.pageSize))
    if excess > 0 { try file.write([UInt8](repeating: 0, count: contents.pageSize - excess)) }
  }
}
