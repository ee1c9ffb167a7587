import Recording
import TraceFormat

/// Makes a long recording of a short one: the captured pages again and again, later each time, and on every CPU with
/// threads and vCPUs of its own. Where the number of events is a multiple of the capture's on each CPU, every count is
/// an exact multiple too.
struct CaptureRepeater {
  /// What there is to change in one page.
  private struct Page {
    var bytes: [UInt8]
    /// Offsets of `common_pid`, of `vcpu_id` fields, and of absolute TIME_STAMP records.
    var threads: [Int] = []
    var vcpus: [Int] = []
    var stamps: [Int] = []
    /// Where each event ends; their number is the page's.
    var ends: [Int] = []
  }

  struct Summary: Equatable {
    var events = 0
    var pages = 0
  }

  private let contents: TraceFileContents
  private let layout: PageLayout
  private var pages: [Page] = []
  /// How much later each repetition is, in the clock's units.
  private let period: UInt64
  /// What to add to a thread id for each further CPU.
  private let threadStride: Int32
  private let commandNames: [Int32: String]
  /// Events in the capture.
  let eventsPerRepetition: Int

  /// Reads the stream of a capture with the most events.
  ///
  /// - Throws: If it has none.
  init(_ source: TraceFile) throws(RecordingError) {
    layout = source.metadata.page
    contents = TraceFileContents(of: source)
    commandNames = source.metadata.commandNames
    var vcpuOffsets: [UInt16: Int] = [:]
    for format in source.metadata.formats {
      if let field = format.field("vcpu_id"), field.size == 4 { vcpuOffsets[format.id] = field.offset }
    }
    var last: UInt64 = 0
    var largestThread: Int32 = 0
    for stream in source.streams.indices {
      var found: [Page] = []
      while let raw = source.nextPage(stream: stream) {
        var page = Page(bytes: Array(raw))
        Self.scan(&page, layout: layout, vcpuOffsets: vcpuOffsets)
        if !page.ends.isEmpty { found.append(page) }
      }
      if found.reduce(0, { $0 + $1.ends.count }) > pages.reduce(0, { $0 + $1.ends.count }) { pages = found }
    }
    for page in pages {
      last = max(last, page.bytes.load64(layout.timestampOffset))
      for offset in page.threads { largestThread = max(largestThread, Int32(bitPattern: page.bytes.load32(offset))) }
    }
    guard let first = pages.first else { throw RecordingError("the input has no events to repeat") }
    eventsPerRepetition = pages.reduce(0) { $0 + $1.ends.count }
    // The last page may reach on by some extends of 134 ms each; a second more keeps the time going forward.
    period = last &- first.bytes.load64(layout.timestampOffset) &+ 1_000_000_000
    var stride: Int32 = 1000
    while stride <= largestThread, stride < 100_000_000 { stride *= 10 }
    threadStride = stride
  }

  /// Writes a recording of exactly `events` events, spread evenly over the CPUs.
  func write(
    to path: String, events: Int, cpus: Int, compression: TraceCompression = .none
  ) throws(RecordingError) -> Summary {
    var contents = contents
    contents.cpuCount = cpus
    contents.cpuStatistics = []
    contents.guests = []
    var lines = ""
    for cpu in 0..<cpus {
      for (thread, name) in commandNames.sorted(by: { $0.key < $1.key }) where thread != 0 || cpu == 0 {
        lines += "\(moved(thread, cpu)) \(name)\n"
      }
    }
    contents.texts.commandLines = Array(lines.utf8)
    let writer = try TraceFileWriter(path: path, contents: contents, compression: compression)
    try writer.beginBuffer()
    var summary = Summary()
    for cpu in 0..<cpus {
      try writer.beginCPU(cpu)
      var left = events / cpus + (cpu < events % cpus ? 1 : 0)
      var shift: UInt64 = 0
      var batch: [UInt8] = []
      batch.reserveCapacity(256 * layout.subBufferSize)
      while left > 0 {
        for page in pages where left > 0 {
          let count = min(left, page.ends.count)
          add(page, events: count, shift: shift, cpu: cpu, to: &batch)
          left -= count
          summary.events += count
          summary.pages += 1
          if batch.count >= 256 * layout.subBufferSize {
            try writer.append(batch)
            batch.removeAll(keepingCapacity: true)
          }
        }
        shift &+= period
      }
      try writer.append(batch)
    }
    try writer.finish()
    return summary
  }

  private func moved(_ thread: Int32, _ cpu: Int) -> Int32 {
    // The idle task is 0 on every CPU.
    thread == 0 ? 0 : thread &+ threadStride &* Int32(truncatingIfNeeded: cpu)
  }

  private func add(_ page: Page, events: Int, shift: UInt64, cpu: Int, to batch: inout [UInt8]) {
    let start = batch.count
    batch.append(contentsOf: page.bytes)
    batch.withUnsafeMutableBytes { all in
      let bytes = UnsafeMutableRawBufferPointer(rebasing: all[start...])
      func store(_ value: UInt32, _ offset: Int) {
        bytes.storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt32.self)
      }
      func load(_ offset: Int) -> UInt32 {
        UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
      }
      let base = page.bytes.load64(layout.timestampOffset) &+ shift
      bytes.storeBytes(of: base.littleEndian, toByteOffset: layout.timestampOffset, as: UInt64.self)
      if cpu > 0 {
        for offset in page.threads { store(UInt32(bitPattern: moved(Int32(bitPattern: load(offset)), cpu)), offset) }
        for offset in page.vcpus { store(load(offset) &+ UInt32(truncatingIfNeeded: cpu), offset) }
      }
      for offset in page.stamps {
        let time = (UInt64(load(offset + 4)) << 27 | UInt64(load(offset) >> 5)) &+ shift
        store(31 | UInt32(truncatingIfNeeded: time << 5), offset)
        store(UInt32(truncatingIfNeeded: time >> 27), offset + 4)
      }
      guard events < page.ends.count, events > 0 else { return }
      let end = page.ends[events - 1]
      store(UInt32(end - layout.dataOffset) | load(layout.commitOffset) & 1 << 31, layout.commitOffset)
      for offset in end..<layout.subBufferSize { bytes[offset] = 0 }
    }
  }

  /// Finds the places to change. A page that makes no sense ends where it stops making sense.
  private static func scan(_ page: inout Page, layout: PageLayout, vcpuOffsets: [UInt16: Int]) {
    let commit = Int(page.bytes.load32(layout.commitOffset) & 0x0fff_ffff)
    let end = layout.dataOffset + commit
    guard end <= layout.subBufferSize else { return }
    var offset = layout.dataOffset
    while end - offset >= 4 {
      let header = page.bytes.load32(offset)
      let second = end - offset >= 8 ? Int(page.bytes.load32(offset + 4)) : 0
      let payload: Range<Int>
      switch header & 0x1f {
      case 0:
        guard second >= 4 else { return }
        payload = offset + 8..<offset + 4 + (second + 3) / 4 * 4
      case let words where words <= 28:
        payload = offset + 4..<offset + 4 + Int(words) * 4
      case 29:
        guard header >> 5 != 0, second >= 4 else { return }
        offset += 4 + second
        continue
      case 31:
        page.stamps.append(offset)
        offset += 8
        continue
      default:
        offset += 8
        continue
      }
      guard payload.upperBound <= end, payload.count >= 8 else { return }
      page.threads.append(payload.lowerBound + 4)
      let type = UInt16(truncatingIfNeeded: page.bytes.load32(payload.lowerBound))
      if let field = vcpuOffsets[type], field + 4 <= payload.count { page.vcpus.append(payload.lowerBound + field) }
      page.ends.append(payload.upperBound)
      offset = payload.upperBound
    }
  }
}

extension [UInt8] {
  fileprivate func load32(_ offset: Int) -> UInt32 {
    withUnsafeBytes { UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: UInt32.self)) }
  }
  fileprivate func load64(_ offset: Int) -> UInt64 {
    withUnsafeBytes { UInt64(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: UInt64.self)) }
  }
}
