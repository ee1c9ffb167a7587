import Aggregator
import ArgumentParser
import CInstructionCount
import Glibc
import TraceFormat

/// Decoding and aggregation alone: no file, no page fault, no output, one thread.
struct Decode: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Times decoding and aggregation of a recording from memory, on one thread.",
    discussion: """
      Copies the recording's pages into memory first. Then each pass decodes all of it, and each pass of the second row \
      counts all of it in a fresh aggregator besides. Rates are by the thread's own CPU time, so that what else runs on \
      the machine matters less; wall clock is that of the best pass. Instructions per event are printed where the \
      processor's counters can be read.
      """)

  @Option(help: ArgumentHelp("The recording; the bundled demo recording if left out.", valueName: "file"))
  var input: String?

  @Option(help: ArgumentHelp("How often to go through it.", valueName: "count"))
  var passes = 7

  @Flag(help: "Only the second row: for a profiler.")
  var aggregateOnly = false

  func validate() throws {
    guard (1...100_000).contains(passes) else { throw ValidationError("--passes must be from 1 to 100000") }
  }

  func run() throws {
    let file = try input.map { path in try TraceFile(path: path) } ?? demoRecording()
    let layout = file.metadata.page
    let memory = PagesInMemory(copying: file, pageSize: layout.subBufferSize)
    var rows: [(name: String, measurements: Measurements)] = []
    if !aggregateOnly {
      rows.append(
        ("decode", try Measurements(passes: passes) { decode(memory, layout) }))
    }
    rows.append(
      (
        "decode and aggregate",
        try Measurements(passes: passes) {
          memory.rewind()
          var counter = try Counter(metadata: file.metadata)
          let before = Instant.now()
          counter.run(memory)
          let after = Instant.now()
          return (counter.snapshot().events, before, after)
        }
      ))
    print(pad("M events/s of CPU time", 24) + pad("min", 10) + pad("median", 10) + pad("max", 10), terminator: "")
    print(pad("ns/event", 10) + pad("wall max", 10) + "instructions/event")
    for (name, figures) in rows {
      let rates = figures.cpuRates
      print(pad(name, 24), terminator: "")
      for rate in [rates[0], rates[rates.count / 2], rates[rates.count - 1]] { print(pad(rate, 10), terminator: "") }
      print(pad(1000 / rates[rates.count - 1], 10), terminator: "")
      print(pad(figures.wallRates[rates.count - 1], 10), terminator: "")
      print(figures.instructionsPerEvent.map { pad($0, 0) } ?? "no counters")
    }
    print("\(rows[0].measurements.events) events, \(passes) passes")
  }
}

/// The page walk alone. The sum keeps the compiler from leaving the loop out.
@inline(never)
private func decode(_ memory: PagesInMemory, _ layout: PageLayout) -> (UInt64, Instant, Instant) {
  memory.rewind()
  var events: UInt64 = 0
  var sum: UInt64 = 0
  let before = Instant.now()
  for stream in memory.streams.indices {
    while let page = memory.nextPage(stream: stream) {
      var cursor = SubBufferCursor(page: page, layout: layout)
      while cursor.next() {
        events &+= 1
        sum &+= cursor.timestamp
        if cursor.payloadLength >= 2 { sum &+= UInt64(cursor.payload.loadUnaligned(as: UInt16.self)) }
      }
    }
  }
  let after = Instant.now()
  if sum == 0 { print("no event had a timestamp") }
  return (events, before, after)
}

/// What the clocks and the counter say at one moment.
struct Instant {
  var cpu: UInt64
  var wall: UInt64
  /// User-mode instructions of this thread, or nil where they cannot be counted.
  var instructions: UInt64?

  static func now() -> Instant {
    func nanoseconds(_ clock: clockid_t) -> UInt64 {
      var time = timespec()
      clock_gettime(clock, &time)
      return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
    }
    var count: UInt64 = 0
    let counted = instructioncount_read(&count) == 0
    return Instant(
      cpu: nanoseconds(CLOCK_THREAD_CPUTIME_ID), wall: nanoseconds(CLOCK_MONOTONIC), instructions: counted ? count : nil
    )
  }
}

/// The passes of one row.
struct Measurements {
  private(set) var events: UInt64 = 0
  /// Millions of events per second, ascending.
  private(set) var cpuRates: [Double] = []
  private(set) var wallRates: [Double] = []
  /// The smallest of the passes.
  private(set) var instructionsPerEvent: Double?

  /// - Throws: If a pass has no events.
  init(passes: Int, _ pass: () throws -> (events: UInt64, before: Instant, after: Instant)) throws {
    for _ in 0..<passes {
      let (events, before, after) = try pass()
      guard events > 0 else { throw ValidationError("the recording has no events") }
      self.events = events
      cpuRates.append(Double(events) * 1000 / Double(max(1, after.cpu &- before.cpu)))
      wallRates.append(Double(events) * 1000 / Double(max(1, after.wall &- before.wall)))
      if let first = before.instructions, let last = after.instructions {
        instructionsPerEvent = min(instructionsPerEvent ?? .infinity, Double(last &- first) / Double(events))
      }
    }
    cpuRates.sort()
    wallRates.sort()
  }
}

/// All pages of a recording in memory of our own, to be gone through again and again.
final class PagesInMemory: PageSource {
  let streams: [PageStream]
  private let bytes: UnsafeMutableRawPointer
  private let pageSize: Int
  /// Where each stream's pages are, as page numbers.
  private var ranges: [Range<Int>] = []
  private var next: [Int] = []

  /// Reads the source to its end. Copying touches every page.
  init(copying source: some PageSource, pageSize: Int) {
    streams = source.streams
    self.pageSize = pageSize
    var capacity = 1024
    var bytes = UnsafeMutableRawPointer.allocate(byteCount: capacity * pageSize, alignment: 4096)
    var count = 0
    for stream in source.streams.indices {
      let first = count
      while let page = source.nextPage(stream: stream), page.count == pageSize {
        if count == capacity {
          let larger = UnsafeMutableRawPointer.allocate(byteCount: 2 * capacity * pageSize, alignment: 4096)
          larger.copyMemory(from: bytes, byteCount: count * pageSize)
          bytes.deallocate()
          bytes = larger
          capacity *= 2
        }
        UnsafeMutableRawBufferPointer(start: bytes + count * pageSize, count: pageSize).copyMemory(from: page)
        count += 1
      }
      ranges.append(first..<count)
    }
    self.bytes = bytes
    rewind()
  }

  /// Composed pages of one stream.
  init(_ pages: [[UInt8]], pageSize: Int) {
    streams = [PageStream(cpu: 0)]
    self.pageSize = pageSize
    bytes = .allocate(byteCount: max(1, pages.count) * pageSize, alignment: 4096)
    bytes.initializeMemory(as: UInt8.self, repeating: 0, count: pages.count * pageSize)
    for (place, page) in pages.enumerated() {
      UnsafeMutableRawBufferPointer(start: bytes + place * pageSize, count: pageSize).copyBytes(
        from: page.prefix(pageSize))
    }
    ranges = [0..<pages.count]
    rewind()
  }

  deinit { bytes.deallocate() }

  func rewind() { next = ranges.map(\.lowerBound) }

  func nextPage(stream: Int) -> UnsafeRawBufferPointer? {
    let page = next[stream]
    guard page < ranges[stream].upperBound else { return nil }
    next[stream] = page + 1
    return UnsafeRawBufferPointer(start: bytes + page * pageSize, count: pageSize)
  }
}

private func pad(_ text: String, _ width: Int) -> String {
  text + String(repeating: " ", count: max(0, width - text.count))
}

/// With one digit after the point.
private func pad(_ value: Double, _ width: Int) -> String {
  guard value.isFinite, value < 1e15 else { return pad("-", width) }
  let tenths = Int((value * 10).rounded())
  return pad("\(tenths / 10).\(tenths % 10)", width)
}
