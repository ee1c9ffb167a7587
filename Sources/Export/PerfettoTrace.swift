import Aggregator
import Architecture
import Wording

extension ExportContext {
  /// Writes the JSON that ui.perfetto.dev and chrome://tracing open ("Trace Event Format"): for each vCPU slices of the
  /// guest running and of each exit, in an exit those of user space and of a halt; for each VM a counter of exits per
  /// second; marks where events were lost.
  ///
  /// Slices of one thread nest or touch and never overlap. Times are microseconds from the first event with all three
  /// decimals, so that no viewer's doubles round a nanosecond away.
  ///
  /// - Parameter snapshot: what `count` gave.
  /// - Throws: `AggregatorError`, and what `send` throws, at once.
  public func writePerfetto(_ snapshot: Snapshot, _ send: @escaping ([UInt8]) throws -> Void) throws {
    var writer = PerfettoWriter(
      sink: ExportSink(send), machines: Machines(snapshot),
      first: source.metadata.timeScale.nanoseconds(snapshot.firstTimestamp))
    let other = [
      "\"recorder\":\(jsonString(producer))", "\"clock\":\(jsonString(source.metadata.clock ?? "unknown"))",
      "\"first_event_ns\":\"\(writer.first)\"", "\"events\":\"\(snapshot.events)\"",
      "\"events_lost\":\"\(snapshot.losses.lost)\"",
    ]
    try writer.begin(other.joined(separator: ","))
    try forEachItem { timeline, item in
      switch item {
      case .exit(let exit): try writer.write(exit, timeline.name(isa: exit.exit.isa.rawValue, code: exit.exit.code))
      case .loss(let loss): try writer.write(loss)
      }
    }
    try writer.end()
  }
}

private struct PerfettoWriter {
  var sink: ExportSink
  let machines: Machines
  let first: UInt64
  private var isFirst = true
  private var counters: [Counter]

  /// Exits that ended in the present tenth of a second.
  private struct Counter {
    var bucket: UInt64 = 0
    var count: UInt64 = 0
    var wasShown = false
  }

  private static let bucketLength: UInt64 = 100_000_000

  init(sink: ExportSink, machines: Machines, first: UInt64) {
    self.sink = sink
    self.machines = machines
    self.first = first
    counters = Array(repeating: Counter(), count: machines.all.count)
  }

  mutating func begin(_ other: String) throws {
    try sink.write("{\"displayTimeUnit\":\"ns\",\"otherData\":{\(other)},\"traceEvents\":[\n")
    for machine in machines.all {
      let name = machine.isProcessKnown ? machine.name : "\(machine.name) (process not known)"
      try event(
        "\"ph\":\"M\",\"name\":\"process_name\",\"pid\":\(machine.number),\"args\":{\"name\":\(jsonString(name))}")
      for vcpu in machine.vcpus {
        let title = (vcpu.id.map { "vCPU \($0)" } ?? "vCPU") + (vcpu.name.map { " (\($0))" } ?? "")
        try event(
          "\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":\(machine.number),\"tid\":\(vcpu.tid),\"args\":{\"name\":\(jsonString(title))}"
        )
      }
    }
  }

  mutating func end() throws {
    for index in counters.indices where counters[index].count > 0 || counters[index].wasShown {
      try show(index)
      try counter(index, counters[index].bucket &+ 1, 0)
    }
    try sink.write("\n]}\n")
    try sink.flush()
  }

  mutating func write(_ exit: TracedExit, _ reason: String) throws {
    let place = machines.machineOfThread[exit.tid]
    let process = place.map { machines.all[$0].number } ?? exit.tid
    let track = "\"pid\":\(process),\"tid\":\(exit.tid)"
    if let since = exit.guestSince {
      try event("\"ph\":\"X\",\"name\":\"guest\",\"cat\":\"guest\",\(span(since, exit.time)),\(track)")
    }
    var arguments = "\"control\":\(jsonString("\(exit.control.word)/\(exit.control.name)"))"
    arguments +=
      ",\"rip\":\"\(hex(exit.exit.rip))\",\"info1\":\"\(hex(exit.exit.info1))\",\"info2\":\"\(hex(exit.exit.info2))\""
    if let detail = exit.detail { arguments += ",\"\(detail.kind.key)\":\"\(hex(detail.value))\"" }
    arguments += ",\"cpu\":\(exit.cpu)"
    let name = "\"name\":\(jsonString(reason)),\"cat\":\"exit\""
    if let entry = exit.entry {
      try event("\"ph\":\"X\",\(name),\(span(exit.time, entry)),\(track),\"args\":{\(arguments)}")
      for stretch in exit.offKernel {
        let end = min(stretch.end, entry)
        guard end > stretch.start else { continue }
        let title = stretch.kind == .userSpace ? "user space" : "halted"
        try event("\"ph\":\"X\",\"name\":\"\(title)\",\"cat\":\"off-kernel\",\(span(stretch.start, end)),\(track)")
      }
    } else {
      // How long it took is not known.
      try event("\"ph\":\"i\",\"s\":\"t\",\(name),\"ts\":\(microseconds(exit.time)),\(track),\"args\":{\(arguments)}")
    }
    if let place { try count(place, exit.entry ?? exit.time) }
  }

  mutating func write(_ loss: TracedLoss) throws {
    let count = loss.count.map(String.init) ?? "some"
    try event(
      "\"ph\":\"i\",\"s\":\"g\",\"name\":\"\(count) events lost on CPU \(loss.cpu)\",\"cat\":\"lost\",\"ts\":\(microseconds(loss.time)),\"pid\":0,\"tid\":0"
    )
  }

  private mutating func count(_ index: Int, _ time: UInt64) throws {
    let bucket = (time &- min(first, time)) / Self.bucketLength
    if bucket > counters[index].bucket {
      if counters[index].count > 0 || counters[index].wasShown { try show(index) }
      // A pause is shown as one.
      if counters[index].wasShown, bucket > counters[index].bucket &+ 1 {
        try counter(index, counters[index].bucket &+ 1, 0)
      }
      counters[index].bucket = bucket
      counters[index].count = 0
    }
    counters[index].count &+= 1
  }

  private mutating func show(_ index: Int) throws {
    try counter(index, counters[index].bucket, counters[index].count &* (1_000_000_000 / Self.bucketLength))
    counters[index].wasShown = true
  }

  private mutating func counter(_ index: Int, _ bucket: UInt64, _ value: UInt64) throws {
    try event(
      "\"ph\":\"C\",\"name\":\"exits/s\",\"ts\":\(decimal(bucket &* Self.bucketLength, digits: 3)),\"pid\":\(machines.all[index].number),\"args\":{\"exits/s\":\(value)}"
    )
  }

  private func microseconds(_ time: UInt64) -> String { decimal(time &- min(first, time), digits: 3) }

  private func span(_ start: UInt64, _ end: UInt64) -> String {
    "\"ts\":\(microseconds(start)),\"dur\":\(decimal(end &- min(start, end), digits: 3))"
  }

  private mutating func event(_ fields: String) throws {
    try sink.write((isFirst ? "{" : ",\n{") + fields + "}")
    isFirst = false
  }
}
