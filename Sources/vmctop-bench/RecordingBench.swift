import Aggregator
import ArgumentParser
import Glibc
import Recording
import Session
import TraceFormat

/// Makes a long recording of vmctop's own format, for `jump`.
struct GenerateRecording: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "generate-recording",
    abstract: "Makes a long recording of the bundled capture's pages, not packed, with the sums of each second.")

  @Option(help: ArgumentHelp("How long.", valueName: "bytes"))
  var bytes: UInt64 = 10_000_000_000

  @Option(help: ArgumentHelp("The recording to write.", valueName: "file"))
  var output: String

  func run() throws {
    let demo = try demoRecording()
    var header = RecordingHeader()
    header.clock = demo.metadata.clock ?? "mono"
    header.headerPage = demo.texts.headerPage
    header.formats = demo.texts.formats
    var options = RecordingOptions()
    options.overwrites = true
    options.compression = .none
    let writer = try RecordingWriter(to: .file(path: output), header: header, options: options)
    let source = RepeatedPages(demo, writer)
    var aggregator = try Aggregator(metadata: demo.metadata)
    var ladder = IntervalLadder()
    var limit = source.first
    while writer.progress.written < bytes, writer.progress.failure == nil {
      limit &+= 1_000_000_000
      aggregator.run(source, until: limit)
      ladder.add(aggregator.cut(at: limit)) { sums, level, first, last in
        writer.write(sums: sums, level: UInt32(level), first: first, last: last)
      }
      while writer.progress.queued > 32 << 20 { usleep(500) }
    }
    source.finish()
    let progress = writer.finish()
    if let failure = progress.failure { throw failure }
    print("\(progress.events) events, \(progress.written) bytes")
  }
}

/// The pages of a capture over and over, each time later; what is taken is written.
private final class RepeatedPages: PageSource {
  let streams = [PageStream(cpu: 0)]
  let first: UInt64
  private var pages: [[UInt8]] = []
  private let layout: PageLayout
  private let writer: RecordingWriter
  private var collector: PageCollector
  private let page: UnsafeMutableRawBufferPointer
  private var next = 0
  private var shift: UInt64 = 0
  private let period: UInt64

  init(_ source: TraceFile, _ writer: RecordingWriter) {
    self.writer = writer
    let layout = source.metadata.page
    self.layout = layout
    collector = PageCollector(layout: layout)
    while let page = source.nextPage(stream: 0) { pages.append(Array(page)) }
    func base(_ page: [UInt8]?) -> UInt64 {
      page?.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: layout.timestampOffset, as: UInt64.self) } ?? 0
    }
    first = base(pages.first)
    period = base(pages.last) &- first &+ 1_000_000_000
    page = .allocate(byteCount: layout.subBufferSize, alignment: 16)
  }

  deinit { page.deallocate() }

  func nextPage(stream: Int) -> UnsafeRawBufferPointer? {
    if next == pages.count {
      next = 0
      shift &+= period
    }
    page.copyBytes(from: pages[next])
    next += 1
    let time = page.loadUnaligned(fromByteOffset: layout.timestampOffset, as: UInt64.self) &+ shift
    page.storeBytes(of: time, toByteOffset: layout.timestampOffset, as: UInt64.self)
    let whole = UnsafeRawBufferPointer(page)
    if let block = collector.add(whole, cpu: 0, now: 0, spare: { writer.spareMemory() }) { write(block) }
    return whole
  }

  private func write(_ block: PageBlock) {
    writer.write(block)
    // Of one CPU: what comes next is later.
    writer.write(ClockRecord(trace: block.last, realtime: block.last, monotonic: block.last), first: block.last)
  }

  /// Writes what no block is full of: sums have it already.
  func finish() {
    for block in collector.take(olderThan: 0, now: 0) { write(block) }
  }
}
