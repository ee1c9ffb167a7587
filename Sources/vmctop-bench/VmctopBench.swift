import ArgumentParser
import CDemo
import Recording
import TraceFormat

/// What `make bench` runs. Not installed.
@main
struct VmctopBench: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "vmctop-bench", abstract: "Benchmarks of vmctop, and the recordings they run on.",
    subcommands: [Generate.self, Decode.self, Jump.self, Guest.self, GenerateRecording.self, Counting.self])
}

func demoRecording() throws -> TraceFile {
  try TraceFile(borrowing: UnsafeRawBufferPointer(start: cdemo_bytes(), count: cdemo_size()))
}

extension TraceCompression: ExpressibleByArgument {}

struct Generate: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Makes a long trace.dat of a short one.",
    discussion: """
      Repeats the captured events with later times, on each CPU with thread ids and vCPU numbers of its own. Where each \
      CPU gets whole repetitions, every count is an exact multiple of the capture's.
      """)

  @Option(help: ArgumentHelp("The capture; the bundled demo recording if left out.", valueName: "file"))
  var input: String?

  @Option(help: ArgumentHelp("How many events to write in all.", valueName: "count"))
  var events = 10_000_000

  @Option(help: ArgumentHelp("How many CPUs to spread them over.", valueName: "count"))
  var cpus = 1

  @Option(help: ArgumentHelp("The trace.dat to write.", valueName: "file"))
  var output: String

  @Option(help: "How to pack it: none, zlib or zstd.")
  var compression = TraceCompression.none

  func validate() throws {
    guard events > 0 else { throw ValidationError("--events must be at least 1") }
    guard (1...4096).contains(cpus) else { throw ValidationError("--cpus must be from 1 to 4096") }
    guard input != output else { throw ValidationError("--output must not be the input") }
  }

  func run() throws {
    let source = try input.map { path in try TraceFile(path: path) } ?? demoRecording()
    let repeater = try CaptureRepeater(source)
    let clock = ContinuousClock()
    let start = clock.now
    let summary = try repeater.write(to: output, events: events, cpus: cpus, compression: compression)
    let repetitions = Double(summary.events) / Double(repeater.eventsPerRepetition)
    print(
      """
      \(summary.events) events on \(cpus) CPUs in \(summary.pages) pages: \(repetitions) times the capture's \
      \(repeater.eventsPerRepetition), written in \(clock.now - start)
      """)
  }
}
