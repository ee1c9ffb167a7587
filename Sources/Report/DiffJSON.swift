import Aggregator
import Architecture

extension DiffReport {
  /// The report as one JSON object, `"schema":"vmctop/diff/1"`, on one line with a newline at its end. Every key is always
  /// there; null stands for what cannot be known. docs/diff-json.md describes the keys.
  ///
  /// - Throws: nothing that a snapshot can cause; every number in it is finite.
  public func json() throws -> String {
    try reportJSON(Document(self))
  }
}

/// The keys of `vmctop/diff/1`, printed as `window_ns`. Keys may be added; none is renamed or removed within version 1.
private struct Document: Encodable {
  var schema = "vmctop/diff/1"
  var a: Side
  var b: Side
  var significance = SnapshotComparison.significance
  var significantChange: Bool
  var scopes: [Scope]
  var onlyInA: [String]
  var onlyInB: [String]

  struct Side: Encodable {
    var kind: String
    @Nullable var path: String?
    @Nullable var host: String?
    @Nullable var kernel: String?
    @Nullable var fromNs: UInt64?
    @Nullable var toNs: UInt64?
    var windowNs: UInt64
    var events: UInt64
    var exits: UInt64
    var lostEvents: UInt64
    var lostUncounted: UInt64
    var malformedRecords: UInt64
    var damage: [String]

    init(_ side: DiffReport.Side) {
      let snapshot = side.snapshot
      kind = snapshot.source.kind.rawValue
      path = snapshot.source.path
      host = snapshot.source.hostName
      kernel = snapshot.source.kernelRelease
      fromNs = side.part?.lowerBound
      toNs = side.part?.upperBound
      windowNs = snapshot.windowNanoseconds
      events = snapshot.events
      exits = snapshot.total.exits
      lostEvents = snapshot.losses.lost
      lostUncounted = snapshot.losses.uncounted
      malformedRecords = snapshot.malformedRecords
      damage = side.damage
    }
  }

  struct Scope: Encodable {
    @Nullable var vm: String?
    var vcpus: Pair<Int>
    var time: Pair<TimeDocument>
    var total: Row
    var reasons: [Row]
    var controls: [Row]
    @Nullable var controlsChanged: [Change]?
    var settings: Pair<Int>
  }

  struct Pair<Value: Encodable>: Encodable {
    var a: Value
    var b: Value

    init(_ pair: (a: Value, b: Value)) { (a, b) = pair }
  }

  struct Row: Encodable {
    var name: String
    @Nullable var isa: UInt32?
    @Nullable var code: UInt32?
    @Nullable var word: String?
    @Nullable var bit: Int?
    var a: JSONValue
    var b: JSONValue
    var rateChange: Double
    var timeChangeNsPerSecond: Double
    var rateSignificant: Bool
    var timeSignificant: Bool

    init(_ row: SnapshotComparison.Row, _ vocabulary: Vocabulary) {
      name = row.name
      isa = row.reason?.isa
      code = row.reason?.code
      if let control = row.control {
        let known = vocabulary.control(control)
        name = known.name
        word = known.word
        bit = known.bit
      }
      a = JSONValue(row.a, DifferenceFigures.all)
      b = JSONValue(row.b, DifferenceFigures.all)
      rateChange = rounded(row.b.rate - row.a.rate)
      timeChangeNsPerSecond = rounded(row.b.timePerSecond - row.a.timePerSecond)
      rateSignificant = row.isRateSignificant
      timeSignificant = row.isTimeSignificant
    }
  }

  struct Change: Encodable {
    var word: String
    @Nullable var bit: Int?
    var name: String
    var a: String
    var b: String

    init(_ change: SnapshotComparison.ControlChange, _ vocabulary: Vocabulary) {
      let known = vocabulary.control(change.control)
      word = known.word
      bit = known.bit
      name = known.name
      func text(_ value: MeasuredControl) -> String {
        switch value {
        case .on: "on"
        case .off: "off"
        case .mixed: "mixed"
        }
      }
      a = text(change.a)
      b = text(change.b)
    }
  }

  init(_ report: DiffReport) {
    a = Side(report.a)
    b = Side(report.b)
    significantChange = report.hasSignificantChange
    let vocabulary = report.vocabulary
    scopes = report.scopes.map { scope in
      Scope(
        vm: scope.vm, vcpus: Pair(scope.vcpus), time: Pair((TimeDocument(scope.time.a), TimeDocument(scope.time.b))),
        total: Row(scope.total, vocabulary), reasons: scope.reasons.map { Row($0, vocabulary) },
        controls: scope.controls.map { Row($0, vocabulary) },
        controlsChanged: scope.changes.map { $0.map { Change($0, vocabulary) } }, settings: Pair(scope.settings))
    }
    onlyInA = report.onlyInA
    onlyInB = report.onlyInB
  }
}
