import Aggregator
import Recording
import TraceFormat

extension ExportContext {
  /// Writes a trace.dat file of version 7: the same events in the same order, the buffers and CPUs as they were, which
  /// thread is which vCPU in GUEST options. Where only some guests are wanted, only their vCPUs' own events.
  ///
  /// - Parameters:
  ///   - path: of a file to be made.
  ///   - snapshot: what `count` gave.
  /// - Throws: `RecordingError` where it cannot be written.
  public func writeTraceDat(path: String, _ snapshot: Snapshot) throws(RecordingError) {
    let metadata = source.metadata
    let size = metadata.page.subBufferSize
    let isFiltered = options.threads != nil || options.vcpuIDs != nil
    let threads = isFiltered ? Set(snapshot.vms.flatMap { $0.vcpus.map(\.tid) }) : nil
    let writer = try TraceFileWriter(
      path: path,
      contents: TraceFileContents(
        texts: source.texts, pageSize: size, clock: metadata.clock ?? "local", uname: metadata.uname,
        cpuCount: source.cpuCount, timeScale: metadata.timeScale,
        cpuStatistics: isFiltered ? [] : source.cpuStatistics, guests: guests(snapshot)))
    source.rewind()
    let streams = source.streams
    var buffers: [String] = []
    for stream in streams where !buffers.contains(stream.buffer) { buffers.append(stream.buffer) }
    for buffer in buffers {
      try writer.beginBuffer(name: buffer)
      let own = streams.indices.filter { streams[$0].buffer == buffer }.sorted { streams[$0].cpu < streams[$1].cpu }
      for stream in own {
        try writer.beginCPU(streams[stream].cpu)
        var filter = PageFilter(layout: metadata.page, threads: threads)
        while let page = source.nextPage(stream: stream) {
          if threads == nil, page.count == size {
            try writer.append(page)
          } else {
            try filter.add(page) { bytes throws(RecordingError) in try writer.append(bytes) }
          }
        }
        try filter.finish { bytes throws(RecordingError) in try writer.append(bytes) }
      }
    }
    try writer.finish()
  }

  /// As the recording has it, else as its events tell: vcpu_id and thread of each vCPU of a VM.
  private func guests(_ snapshot: Snapshot) -> [TraceGuest] {
    if !source.guests.isEmpty { return source.guests }
    return Machines(snapshot).all.compactMap { machine in
      var threads: [UInt32: Int32] = [:]
      for vcpu in machine.vcpus { if let id = vcpu.id, threads[id] == nil { threads[id] = vcpu.tid } }
      return threads.isEmpty ? nil : TraceGuest(name: machine.name, traceID: 0, threads: threads)
    }
  }
}

/// Composes pages of some of the events of others, and keeps what those say of losses.
private struct PageFilter {
  private let layout: PageLayout
  /// Nil: all events, in pages of another size.
  private let threads: Set<Int32>?
  private var writer: SubBufferWriter
  private var loss = SubBufferWriter.Loss.none

  init(layout: PageLayout, threads: Set<Int32>?) {
    self.layout = layout
    self.threads = threads
    writer = SubBufferWriter(layout: layout)
  }

  mutating func add(
    _ page: UnsafeRawBufferPointer, _ send: ([UInt8]) throws(RecordingError) -> Void
  ) throws(RecordingError) {
    var cursor = SubBufferCursor(page: page, layout: layout)
    let missed = SubBufferWriter.Loss(cursor.missed)
    if missed != .none {
      try finish(send)
      loss = loss.adding(missed)
    }
    while cursor.next() {
      guard cursor.payloadLength >= 8 else { continue }
      if let threads, !threads.contains(cursor.payload.loadUnaligned(fromByteOffset: 4, as: Int32.self)) { continue }
      let payload = UnsafeRawBufferPointer(start: cursor.payload, count: cursor.payloadLength)
      if writer.append(timestamp: cursor.timestamp, payload: payload) { continue }
      try finish(send)
      // It came from a page no larger than this.
      _ = writer.append(timestamp: cursor.timestamp, payload: payload)
    }
  }

  /// Ends the page that was begun. A loss is kept until there is an event behind it.
  mutating func finish(_ send: ([UInt8]) throws(RecordingError) -> Void) throws(RecordingError) {
    guard !writer.isEmpty else { return }
    try send(writer.finish(lost: loss))
    loss = .none
  }
}

extension SubBufferWriter.Loss {
  fileprivate func adding(_ other: Self) -> Self {
    switch (self, other) {
    case (.none, let only), (let only, .none): only
    case (.events(let first), .events(let second)): .events(first &+ second)
    default: .unknown
    }
  }
}
