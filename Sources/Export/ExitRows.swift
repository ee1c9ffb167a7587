import Aggregator
import Architecture
import Wording

/// One column of the exports by exit: declared once, for JSON lines and CSV alike.
struct ExitColumn: Sendable {
  enum Value {
    case number(UInt64)
    case signed(Int32)
    case hex(UInt64)
    case text(String)
    /// Not known, or not there: null in JSON, empty in CSV.
    case none
  }

  var key: String
  var value: @Sendable (TracedExit, _ reason: String, _ process: Int32?) -> Value

  private static func number(_ value: UInt64?) -> Value { value.map(Value.number) ?? .none }

  /// Times are nanoseconds of the trace clock; `docs/vmctop.1` describes each.
  static let all: [ExitColumn] = [
    ExitColumn(key: "time_ns") { exit, _, _ in .number(exit.time) },
    ExitColumn(key: "cpu") { exit, _, _ in .number(UInt64(max(0, exit.cpu))) },
    ExitColumn(key: "pid") { _, _, process in process.map(Value.signed) ?? .none },
    ExitColumn(key: "tid") { exit, _, _ in .signed(exit.tid) },
    ExitColumn(key: "vcpu") { exit, _, _ in number(exit.vcpuID.map(UInt64.init)) },
    ExitColumn(key: "isa") { exit, _, _ in
      .text(exit.exit.isa.name)
    },
    ExitColumn(key: "code") { exit, _, _ in .number(UInt64(exit.exit.code)) },
    ExitColumn(key: "reason") { _, reason, _ in .text(reason) },
    ExitColumn(key: "raw_reason") { exit, _, _ in .hex(UInt64(exit.exit.reason)) },
    ExitColumn(key: "control_word") { exit, _, _ in .text(exit.control.word) },
    ExitColumn(key: "control_bit") { exit, _, _ in number(exit.control.bit.map { UInt64(max(0, $0)) }) },
    ExitColumn(key: "control") { exit, _, _ in .text(exit.control.name) },
    ExitColumn(key: "rip") { exit, _, _ in .hex(exit.exit.rip) },
    ExitColumn(key: "info1") { exit, _, _ in .hex(exit.exit.info1) },
    ExitColumn(key: "info2") { exit, _, _ in .hex(exit.exit.info2) },
    ExitColumn(key: "intr_info") { exit, _, _ in .hex(UInt64(exit.exit.interruptionInformation)) },
    ExitColumn(key: "error_code") { exit, _, _ in .hex(UInt64(exit.exit.errorCode)) },
    ExitColumn(key: "detail_kind") { exit, _, _ in exit.detail.map { .text($0.kind.key) } ?? .none },
    ExitColumn(key: "detail") { exit, _, _ in exit.detail.map { .hex($0.value) } ?? .none },
    ExitColumn(key: "guest_ns") { exit, _, _ in number(exit.guestSince.map { exit.time &- $0 }) },
    ExitColumn(key: "entry_ns") { exit, _, _ in number(exit.entry) },
    ExitColumn(key: "handling_ns") { exit, _, _ in number(exit.handling) },
    ExitColumn(key: "user_ns") { exit, _, _ in exit.handling == nil ? .none : .number(exit.user) },
    ExitColumn(key: "halted_ns") { exit, _, _ in exit.handling == nil ? .none : .number(exit.halted) },
  ]
}

/// Which text each exit becomes.
public enum ExitRowFormat: Sendable {
  /// One JSON object on each line.
  case jsonLines
  /// RFC 4180: one line of names, CRLF.
  case csv
}

extension ExportContext {
  /// Writes one row per exit with the entry after it, in the order in which they end.
  ///
  /// - Throws: `AggregatorError`, and what `send` throws, at once.
  public func writeExits(_ format: ExitRowFormat, _ send: @escaping ([UInt8]) throws -> Void) throws {
    var sink = ExportSink(send)
    let columns = ExitColumn.all
    let heads = columns.map { "\"\($0.key)\":" }
    let processes = source.metadata.processes
    if format == .csv { try sink.write(columns.map(\.key).joined(separator: ",") + "\r\n") }
    try forEachItem { timeline, item in
      guard case .exit(let exit) = item else { return }
      let reason = timeline.name(isa: exit.exit.isa.rawValue, code: exit.exit.code)
      let process = processes[exit.tid]
      var line = format == .jsonLines ? "{" : ""
      for (index, column) in columns.enumerated() {
        if index > 0 { line += "," }
        let value = column.value(exit, reason, process)
        switch format {
        case .jsonLines: line += heads[index] + json(value)
        case .csv: line += csv(value)
        }
      }
      try sink.write(line + (format == .jsonLines ? "}\n" : "\r\n"))
    }
    try sink.flush()
  }
}

private func json(_ value: ExitColumn.Value) -> String {
  switch value {
  case .number(let number): String(number)
  case .signed(let number): String(number)
  case .hex(let number): "\"\(hex(number))\""
  case .text(let text): jsonString(text)
  case .none: "null"
  }
}

private func csv(_ value: ExitColumn.Value) -> String {
  switch value {
  case .number(let number): return String(number)
  case .signed(let number): return String(number)
  case .hex(let number): return hex(number)
  case .text(let text):
    let text = printable(text)
    guard text.utf8.contains(where: { $0 == UInt8(ascii: ",") || $0 == UInt8(ascii: "\"") }) else { return text }
    var quoted = "\""
    for character in text { quoted += character == "\"" ? "\"\"" : String(character) }
    return quoted + "\""
  case .none: return ""
  }
}
