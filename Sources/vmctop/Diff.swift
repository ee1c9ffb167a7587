import Aggregator
import ArgumentParser
import Report

/// `vmctop diff`: two recordings, or two parts of one, side by side.
struct Diff: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "diff",
    abstract:
      "Compare two recordings, or two parts of one: exits per second, time per exit, and which controls changed.",
    usage: """
      vmctop diff BEFORE AFTER [--from T] [--to T] [--from-b T] [--to-b T]
      vmctop diff FILE [--from T] [--to T] [--from-b T] [--to-b T]
      """,
    discussion: """
      What matters most comes first: the change in time per second, then in exits per second. Differences that counting \
      alone can make are not called changes. A time is one since the first event: 12.5, 350ms, 1:02.5, or 50%. \
      docs/diff-json.md describes the JSON.
      """)

  @Argument(help: ArgumentHelp("The recording before.", valueName: "before"), completion: .file())
  var before: String

  @Argument(
    help: ArgumentHelp(
      "The recording after; without it, the second part is one of the first recording.", valueName: "after"),
    completion: .file())
  var after: String?

  @OptionGroup var part: PartOptions

  @Option(name: .long, help: ArgumentHelp("Where the part of the second begins.", valueName: "time"))
  var fromB: RecordingTime?

  @Option(name: .long, help: ArgumentHelp("Where it ends.", valueName: "time"))
  var toB: RecordingTime?

  @Option(
    name: .long, help: ArgumentHelp("A page for people, or one JSON object.", valueName: "format"),
    completion: .list(ReportFormat.allCases.map(\.rawValue)))
  var format: ReportFormat = .text

  func validate() throws {
    if after == nil, part.isAll || (fromB == nil && toB == nil) {
      throw ValidationError("one recording needs two parts: --from or --to, and --from-b or --to-b")
    }
    if before.isEmpty || after?.isEmpty == true { throw ValidationError("the file name is empty") }
  }

  func run() throws {
    let first = try Self.read(before, from: part.from, to: part.to)
    let second = try Self.read(after ?? before, from: fromB, to: toB)
    let report = DiffReport(first, second, vocabulary: .catalogue)
    Output.standard.write(format == .json ? try report.json() : report.page())
    try Output.standard.flush()
    for side in [first, second] { try checkInput(side.snapshot, damage: side.damage, isStrict: false) }
  }

  private static func read(
    _ path: String, from: RecordingTime?, to: RecordingTime?
  ) throws -> DiffReport.Side {
    try checkRecording(path)
    let engine = try openEngine(.file(path), Selection())
    defer { engine.close() }
    let (snapshot, part) = try engine.read(from: from, to: to)
    return DiffReport.Side(snapshot: snapshot, part: part, damage: engine.damage)
  }
}

/// A place in a recording: `12.5` seconds after its first event, `350ms`, `1:02.5`, `1:00:00`, or `50%` of it.
enum RecordingTime: ExpressibleByArgument, Equatable {
  case nanoseconds(UInt64)
  /// 0...1.
  case share(Double)

  init?(argument: String) {
    func number(_ text: Substring) -> Double? {
      guard !text.isEmpty, text.allSatisfy({ $0.isASCII && ($0.isNumber || $0 == ".") }) else { return nil }
      return Double(text)
    }
    if argument.hasSuffix("%") {
      guard let percent = number(argument.dropLast()), percent <= 100 else { return nil }
      self = .share(percent / 100)
      return
    }
    var seconds: Double?
    let parts = argument.split(separator: ":", omittingEmptySubsequences: false)
    if parts.count == 2 || parts.count == 3 {
      let numbers = parts.map(number)
      // Only the last may have a fraction, and only the first may be above 59.
      guard numbers.allSatisfy({ $0 != nil }), parts.dropLast().allSatisfy({ !$0.contains(".") }),
        numbers.dropFirst().allSatisfy({ $0 ?? 60 < 60 })
      else { return nil }
      seconds = numbers.reduce(0) { $0 * 60 + ($1 ?? 0) }
    } else if parts.count == 1 {
      for (unit, scale) in [("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("s", 1), ("", 1)] where argument.hasSuffix(unit)
      {
        seconds = number(argument.dropLast(unit.count)).map { $0 * scale }
        break
      }
    }
    guard let seconds, seconds < 1e10 else { return nil }
    self = .nanoseconds(UInt64((seconds * 1e9).rounded()))
  }

  /// Nanoseconds since the first event.
  func position(in duration: UInt64) -> UInt64 {
    switch self {
    case .nanoseconds(let position): min(position, duration)
    case .share(let share): UInt64(min(Double(duration), share * Double(duration)))
    }
  }
}

/// Which part of a recording.
struct PartOptions: ParsableArguments {
  @Option(name: .long, help: ArgumentHelp("Only what came after this time of the recording.", valueName: "time"))
  var from: RecordingTime?

  @Option(name: .long, help: ArgumentHelp("Only what came up to this time of the recording.", valueName: "time"))
  var to: RecordingTime?

  var isAll: Bool { from == nil && to == nil }
}
