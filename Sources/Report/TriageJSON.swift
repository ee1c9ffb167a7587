import Aggregator
import Architecture
import FoundationEssentials
import Wording

extension TriageReport {
  /// The report as one JSON object, `"schema":"vmctop/triage/1"`, on one line with a newline at its end. Every key is
  /// always there; null stands for what cannot be known. docs/triage-json.md describes the keys.
  ///
  /// - Throws: nothing that a snapshot can cause; every number in it is finite.
  public func json() throws -> String {
    try reportJSON(Document(self))
  }
}

/// One object on one line with a newline at its end, keys as `window_ns`, safe to print.
func reportJSON(_ document: some Encodable) throws -> String {
  let encoder = JSONEncoder()
  encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
  encoder.keyEncodingStrategy = .convertToSnakeCase
  return escapedForTerminal(String(decoding: try encoder.encode(document), as: UTF8.self)) + "\n"
}

/// A time split in nanoseconds, as every report has it.
struct TimeDocument: Encodable {
  var guestNs: UInt64
  var kernelNs: UInt64
  var userNs: UInt64
  var haltedNs: UInt64

  init(_ time: TimeSplit) {
    (guestNs, kernelNs, userNs, haltedNs) = (time.guest, time.kernel, time.user, time.halted)
  }
}

/// JSON leaves C1 controls and format characters as they are; a terminal may obey them. They only occur inside strings,
/// so escaping them keeps the meaning.
func escapedForTerminal(_ json: String) -> String {
  guard json.unicodeScalars.contains(where: isUnprintable) else { return json }
  var result = ""
  for scalar in json.unicodeScalars {
    guard isUnprintable(scalar) else {
      result.unicodeScalars.append(scalar)
      continue
    }
    for unit in String(scalar).utf16 {
      let digits = String(unit, radix: 16)
      result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
    }
  }
  return result
}

/// Encodes nil as null instead of leaving the key out.
@propertyWrapper
struct Nullable<Value: Encodable>: Encodable {
  var wrappedValue: Value?

  init(wrappedValue value: Value?) { wrappedValue = value }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    if let wrappedValue { try container.encode(wrappedValue) } else { try container.encodeNil() }
  }
}

/// The keys of `vmctop/triage/1`, printed as `window_ns`. Keys may be added; none is renamed or removed within version 1.
private struct Document: Encodable {
  var schema = "vmctop/triage/1"
  var source: Source
  var windowNs: UInt64
  var events: UInt64
  var lostEvents: UInt64
  var lostUncounted: UInt64
  var malformedRecords: UInt64
  var damage: [String]
  var exits: UInt64
  @Nullable var rate: Double?
  var time: TimeDocument
  var losses: [Loss]
  var eventCounts: [Event]
  var vms: [VM]
  var reasons: [JSONValue]
  var controls: [JSONValue]
  var settings: [Setting]
  var advice: [Advice]

  struct Source: Encodable {
    var kind: String
    @Nullable var path: String?
    @Nullable var kernel: String?
    @Nullable var isa: String?
    @Nullable var host: String?
    @Nullable var backend: String?
    var demo: Bool
  }

  struct Loss: Encodable {
    var cpu: Int
    var lost: UInt64
  }

  struct Event: Encodable {
    var name: String
    var count: UInt64
  }

  struct VM: Encodable {
    @Nullable var pid: Int32?
    @Nullable var name: String?
    @Nullable var vmm: String?
    var inferred: Bool
    var endedThreads: UInt64
    var exits: UInt64
    var vcpus: [JSONValue]
  }

  struct Charge: Encodable {
    var word: String
    @Nullable var bit: Int?
    var name: String
    var count: UInt64
  }

  struct Detail: Encodable {
    var kind: String
    var value: String
    var text: String
    var count: UInt64
    /// The table overflowed: the count is a lower bound, short by at most `error`.
    var approximate: Bool
    var error: UInt64
  }

  struct Setting: Encodable {
    var label: String
    var words: Words
    var vcpus: Int
    var residenceNs: UInt64
    var exits: UInt64
    @Nullable var rate: Double?
    var time: TimeDocument
    var reasons: [SettingReason]
    var controls: [JSONValue]
  }

  struct Words: Encodable {
    @Nullable var pin: String?
    @Nullable var primary: String?
    @Nullable var secondary: String?
    @Nullable var tertiary: String?
    @Nullable var exit: String?
    @Nullable var entry: String?
    @Nullable var intercepts: [String]?

    init(_ words: ControlSetting?) {
      func text(_ word: ControlWord) -> String? { words?.word(word).map { hex($0) } }
      (pin, primary, secondary) = (text(.pin), text(.primary), text(.secondary))
      (tertiary, exit, entry) = (text(.tertiary), text(.exit), text(.entry))
      intercepts = words?.intercepts.map { words in (0..<6).map { hex(UInt64(words[$0])) } }
    }
  }

  struct SettingReason: Encodable {
    @Nullable var isa: String?
    var code: UInt32
    var name: String
    var count: UInt64
    var handlingNs: UInt64
  }

  struct Advice: Encodable {
    var reason: String
    var text: String
    @Nullable var knob: String?
    @Nullable var current: String?
    @Nullable var satisfied: Bool?
  }

  init(_ report: TriageReport) {
    let snapshot = report.snapshot
    let total = snapshot.total
    source = Source(
      kind: snapshot.source.kind.rawValue, path: snapshot.source.path, kernel: snapshot.source.kernelRelease,
      isa: snapshot.source.isa, host: snapshot.source.hostName, backend: snapshot.source.backend,
      demo: snapshot.source.isDemo)
    windowNs = snapshot.windowNanoseconds
    events = snapshot.events
    lostEvents = snapshot.losses.lost
    lostUncounted = snapshot.losses.uncounted
    malformedRecords = snapshot.malformedRecords
    damage = report.damage
    exits = total.exits
    _rate = Nullable(wrappedValue: report.exitsPerSecond.map(rounded))
    time = TimeDocument(total.time)
    losses = snapshot.losses.perCPU.map { Loss(cpu: $0.cpu, lost: $0.lost) }
    eventCounts = snapshot.eventCounts.map { Event(name: $0.name, count: $0.count) }
    vms = snapshot.vms.map { vm in
      VM(
        pid: vm.pid, name: vm.name, vmm: vm.vmm, inferred: vm.isInferred, endedThreads: vm.endedThreads,
        exits: report.scope(vm.scope).exits,
        vcpus: vm.vcpus.map { vcpu in
          JSONValue(
            report.scope(vcpu.scope), ScopeFigures.all, FigureContext(),
            [
              "id": JSONValue(optional: vcpu.id), "tid": JSONValue(optional: vm.endedThreads > 0 ? nil : vcpu.tid),
              "name": JSONValue(optional: vcpu.threadName),
            ])
        })
    }
    let context = report.context
    reasons = report.reasons.map { row in
      JSONValue(
        row, ReasonFigures.all, context,
        [
          "isa": .text(ISA(rawValue: row.isa).name), "code": .integer(UInt64(row.code)),
          // Percentiles of several settings come from one histogram; kept for those who read it.
          "handling_ns": .object(["approximate": .part(false)]),
          "controls": .part(
            row.charges.map { charge in
              let name = report.vocabulary.control(charge.control)
              return Charge(word: name.word, bit: name.bit, name: name.name, count: charge.count)
            }),
          "details": .part(row.details.flatMap { Self.details($0, report.vocabulary) }),
        ])
    }
    let threads = snapshot.vms.flatMap(\.vcpus).map(\.tid)
    controls = report.controls.map { control in
      let status = snapshot.status(control.control, on: threads)
      // A trace proves that a control was on for those exits; what it is set to now it cannot tell. One value for all vCPUs, or
      // none.
      let value: Int? =
        switch status.now {
        case .on: 1
        case .off: 0
        case .mixed, nil: nil
        }
      return Self.control(
        control, report, context,
        [
          "value": JSONValue(optional: value), "provenance": .text(value == nil ? "inferred" : "measured"),
          "configured": JSONValue(optional: status.configured.map { $0 ? 1 : 0 }),
          "allowed": JSONValue(optional: status.allowed?.text),
          "changed_ns_ago": JSONValue(optional: status.since.map { snapshot.age(of: $0) }),
        ])
    }
    settings = total.settings.map { Self.setting($0, report, context) }
    advice = report.advice.map {
      Advice(reason: $0.reason, text: $0.text, knob: $0.knob, current: $0.current, satisfied: $0.isSatisfied)
    }
  }

  private static func setting(
    _ row: SettingStatistics, _ report: TriageReport, _ context: FigureContext
  ) -> Setting {
    let description = report.snapshot.description(row.setting) ?? SettingDescription(setting: row.setting)
    let names = Dictionary(
      report.reasons.map { (UInt64($0.isa) << 32 | UInt64($0.code), $0.name) },
      uniquingKeysWith: { first, _ in first })
    return Setting(
      label: description.label, words: Words(description.words), vcpus: row.vcpus, residenceNs: row.duration,
      exits: row.count, rate: row.rate.map(rounded), time: TimeDocument(row.time),
      reasons: row.reasons.map { reason in
        SettingReason(
          isa: ISA(rawValue: reason.isa).name, code: reason.code,
          name: names[UInt64(reason.isa) << 32 | UInt64(reason.code)] ?? hex(UInt64(reason.code)), count: reason.count,
          handlingNs: reason.handling)
      },
      controls: row.controls.map { control in
        // What the control was set to in this setting; null where that was not read, and for what is no bit.
        let value = description.words?.value(of: control.control).map { $0 ? 1 : 0 }
        return Self.control(control, report, context, ["value": JSONValue(optional: value)])
      })
  }

  private static func control(
    _ control: ChargeStatistics, _ report: TriageReport, _ context: FigureContext, _ rest: [String: JSONValue]
  ) -> JSONValue {
    let name = report.vocabulary.control(control.control)
    let names: [String: JSONValue] = [
      "word": .text(name.word), "bit": JSONValue(optional: name.bit), "name": .text(name.name),
    ]
    return JSONValue(control.figures, ControlFigures.all, context, rest.merging(names) { $1 })
  }

  private static func details(_ detail: DetailStatistics, _ vocabulary: Vocabulary) -> [Detail] {
    detail.entries.map { entry in
      Detail(
        kind: detail.kind.key, value: hex(detail.kind == .cpuidLeaf ? entry.value & 0xffff_ffff : entry.value),
        text: vocabulary.text(detail.kind, entry.value), count: entry.count, approximate: detail.isApproximate,
        error: entry.error)
    }
  }
}

/// To three decimals; 0 for what JSON cannot say.
func rounded(_ value: Double) -> Double {
  let result = (value * 1000).rounded() / 1000
  return result.isFinite ? result : 0
}
