import ArgumentParser
import Glibc
import Recording
import TraceFormat

/// Makes a long recording of vmctop's own format, for `open`.
struct GenerateRecording: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "generate-recording", abstract: "Makes a long recording of the bundled capture's pages, not packed.")

  @Option(help: ArgumentHelp("How long.", valueName: "bytes"))
  var bytes: UInt64 = 10_000_000_000

  @Option(help: ArgumentHelp("The recording to write.", valueName: "file"))
  var output: String

  func run() throws {
    let source = try demoRecording()
    let layout = source.metadata.page
    var pages: [[UInt8]] = []
    for stream in source.streams.indices {
      while let page = source.nextPage(stream: stream) { pages.append(Array(page)) }
    }
    func base(_ page: [UInt8]) -> UInt64 {
      page.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: layout.timestampOffset, as: UInt64.self) }
    }
    let period = (pages.last.map(base) ?? 0) &- (pages.first.map(base) ?? 0) &+ 1_000_000_000
    var header = RecordingHeader()
    header.clock = source.metadata.clock ?? "mono"
    header.headerPage = source.texts.headerPage
    header.formats = source.texts.formats
    var options = RecordingOptions()
    options.overwrites = true
    options.compression = .none
    let writer = try RecordingWriter(to: .file(path: output), header: header, options: options)
    var collector = PageCollector(layout: layout)
    var shift: UInt64 = 0
    while writer.progress.written < bytes, writer.progress.failure == nil {
      for var page in pages {
        let time = base(page) &+ shift
        page.withUnsafeMutableBytes {
          $0.storeBytes(of: time, toByteOffset: layout.timestampOffset, as: UInt64.self)
        }
        let block = page.withUnsafeBytes { collector.add($0, cpu: 0, now: 0, spare: { writer.spareMemory() }) }
        guard let block else { continue }
        while writer.progress.queued > 32 << 20 { usleep(500) }
        writer.write(block)
      }
      shift &+= period
    }
    let progress = writer.finish()
    if let failure = progress.failure { throw failure }
    print("\(progress.events) events, \(progress.written) bytes")
  }
}

/// Times what a replay does first.
struct OpenRecording: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "open", abstract: "Times opening a recording, and jumping in it.")

  @Argument(help: ArgumentHelp("A recording.", valueName: "file"))
  var file: String

  func run() throws {
    let clock = ContinuousClock()
    let start = clock.now
    let recording = try RecordingFile(path: file)
    let opened = clock.now - start
    print(
      "opened in \(opened): \(recording.chunks.count) chunks, \(recording.isIndexed ? "by the index" : "by scanning")")
    guard let bounds = recording.timeBounds else { return }
    let span = bounds.last - bounds.first
    var slowest = Duration.zero
    for jump in 0..<100 {
      let at = bounds.first + span / 100 * UInt64((jump * 37) % 100)
      let began = clock.now
      let pages = try recording.pages(in: at...(at + 1_000_000_000))
      for stream in pages.streams.indices { _ = pages.nextPage(stream: stream) }
      slowest = max(slowest, clock.now - began)
    }
    print("the first page of any time: \(slowest) at most, of 100")
  }
}
