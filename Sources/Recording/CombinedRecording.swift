import TraceFormat

/// The buffers of one file or of several, counted as one. What is in two of them is counted once: see `notes`.
public final class CombinedRecording: RecordingSource {
  public let formatName: String
  public let metadata: TraceMetadata
  public let texts: TraceFileTexts
  public let cpuCount: Int
  public let notes: [String]
  public let streams: [PageStream]
  public let cpuStatistics: [String]
  public var damage: [TraceDamage] { files.flatMap(\.damage) }
  public var guests: [TraceGuest] { files.flatMap(\.guests) }

  private let files: [any RecordingSource]
  /// Which file's which stream each stream is.
  private let places: [(file: Int, stream: Int)]

  /// One buffer of one file.
  private struct Buffer {
    var file: Int
    var name: String
    var streams: [Int]
    var clock: String?
    var label: String
    var survey = Survey()
  }

  /// Which KVM events of which threads a buffer has, and from when to when.
  private struct Survey {
    struct Key: Hashable {
      var thread: Int32
      var event: UInt16
    }
    struct Span {
      var first: UInt64
      var last: UInt64
      var count: UInt64
    }
    var spans: [Key: Span] = [:]
    var count: UInt64 { spans.values.reduce(0) { $0 &+ $1.count } }
    static let mostKeys = 1 << 20

    mutating func add(_ page: UnsafeRawBufferPointer, _ layout: PageLayout, _ events: Set<UInt16>) {
      var cursor = SubBufferCursor(page: page, layout: layout)
      while cursor.next() {
        guard cursor.payloadLength >= 8 else { continue }
        let event = cursor.payload.loadUnaligned(as: UInt16.self)
        guard events.contains(event) else { continue }
        let key = Key(thread: cursor.payload.loadUnaligned(fromByteOffset: 4, as: Int32.self), event: event)
        let time = cursor.timestamp
        if let span = spans[key] {
          spans[key] = Span(first: min(span.first, time), last: max(span.last, time), count: span.count &+ 1)
        } else if spans.count < Self.mostKeys {
          spans[key] = Span(first: time, last: time, count: 1)
        }
      }
    }

    /// An event that both have at the same time.
    func shared(with other: Survey) -> Key? {
      spans.keys.filter { key in
        guard let own = spans[key], let others = other.spans[key] else { return false }
        return own.first <= others.last && others.first <= own.last
      }.min { ($0.thread, $0.event) < ($1.thread, $1.event) }
    }
  }

  /// Opens files and joins them; one file with one buffer is that file itself.
  ///
  /// - Parameter countsOnce: leaves out buffers with events that another has; false for a copy of everything.
  /// - Throws: If a file cannot be opened, or the files' clocks cannot be compared.
  public static func open(
    _ paths: [String], countsOnce: Bool = true
  ) throws(TraceFileError) -> any RecordingSource {
    var files: [any RecordingSource] = []
    for path in paths { files.append(try openRecording(path: path)) }
    return try join(files, names: paths, countsOnce: countsOnce)
  }

  /// Joins files that were opened.
  ///
  /// - Parameters:
  ///   - names: what to call them, in the same order.
  ///   - countsOnce: leaves out buffers with events that another has; false for a copy of everything.
  /// - Throws: If the files' clocks cannot be compared.
  public static func join(
    _ files: [any RecordingSource], names: [String], countsOnce: Bool = true
  ) throws(TraceFileError) -> any RecordingSource {
    guard let first = files.first, names.count == files.count else {
      throw TraceFileError(.unreadable, "no recording to open")
    }
    if files.count > 1, let summary = zip(files, names).first(where: { !$0.0.hasEvents }) {
      throw TraceFileError(.unsupported, "\(summary.1): a summary cannot be counted together with others")
    }
    for (file, name) in zip(files, names).dropFirst() {
      if let reason = reasonNotToJoin(first, file) {
        throw TraceFileError(
          .unsupported, "\(names[0]) and \(name) cannot be counted together: \(reason); count each by itself")
      }
    }
    var buffers: [Buffer] = []
    for (number, file) in files.enumerated() {
      var indices: [String: Int] = [:]
      for (stream, description) in file.streams.enumerated() {
        let name = description.buffer
        if let index = indices[name] {
          buffers[index].streams.append(stream)
        } else {
          indices[name] = buffers.count
          let own = name.isEmpty ? "the top-level buffer" : "instance \(TraceFileError.shown(name))"
          buffers.append(
            Buffer(
              file: number, name: name, streams: [stream],
              clock: (file as? TraceFile)?.bufferClocks[name] ?? file.metadata.clock,
              label: files.count == 1 ? own : file is TraceFile ? "\(own) of \(names[number])" : names[number]))
        }
      }
    }
    if files.count == 1, buffers.count <= 1 || !countsOnce { return first }
    return CombinedRecording(files, buffers, countsOnce)
  }

  private init(_ files: [any RecordingSource], _ all: [Buffer], _ countsOnce: Bool) {
    self.files = files
    var buffers = all
    var metadata = files[0].metadata
    var texts = files[0].texts
    for file in files.dropFirst() {
      let known = Set(metadata.formats.map(\.id))
      metadata.formats += file.metadata.formats.filter { !known.contains($0.id) }
      texts.formats += file.texts.formats.filter { format in
        !texts.formats.contains { $0.system == format.system && $0.name == format.name }
      }
      texts.commandLines += file.texts.commandLines
      metadata.commandNames.merge(file.metadata.commandNames) { own, _ in own }
      metadata.processes.merge(file.metadata.processes) { own, _ in own }
      metadata.page.subBufferSize = max(metadata.page.subBufferSize, file.metadata.page.subBufferSize)
      metadata.wallClockOffset = metadata.wallClockOffset ?? file.metadata.wallClockOffset
    }
    let events = Set(metadata.formats.filter { $0.system == "kvm" }.map(\.id))
    for index in buffers.indices {
      let file = files[buffers[index].file]
      for stream in buffers[index].streams {
        while let page = file.nextPage(stream: stream) { buffers[index].survey.add(page, metadata.page, events) }
      }
    }
    for file in files { file.rewind() }

    var notes: [String] = []
    var taken: [Int] = []
    let order = buffers.indices.sorted { (buffers[$1].survey.count, $0) < (buffers[$0].survey.count, $1) }
    if let clock = order.first.map({ buffers[$0].clock }) { metadata.clock = clock }
    for index in order {
      let buffer = buffers[index]
      if buffer.clock != metadata.clock, let main = order.first {
        notes.append(
          "\(buffer.label) is not counted: its clock is \(buffer.clock ?? "unknown"), that of \(buffers[main].label) is \(metadata.clock ?? "unknown")"
        )
        continue
      }
      let double = taken.lazy.compactMap { other in
        countsOnce ? buffer.survey.shared(with: buffers[other].survey).map { (other, $0) } : nil
      }.first
      guard let (other, key) = double else {
        taken.append(index)
        continue
      }
      let event = metadata.formats.first { $0.id == key.event }?.name ?? "event \(key.event)"
      let lone = buffer.survey.spans.filter { own in
        !taken.contains { buffers[$0].survey.spans[own.key] != nil }
      }.values.reduce(0) { $0 &+ $1.count }
      notes.append(
        "\(buffer.label) is not counted: \(buffers[other].label) has the same events (\(TraceFileError.shown(event)) of thread \(key.thread))"
          + (lone > 0 ? "; \(lone) other events go with it" : ""))
    }
    taken.sort()
    var places: [(file: Int, stream: Int)] = []
    var streams: [PageStream] = []
    for index in taken {
      for stream in buffers[index].streams {
        places.append((buffers[index].file, stream))
        var description = files[buffers[index].file].streams[stream]
        // One buffer of one name has each CPU once; a writer relies on it.
        if streams.contains(description) { description.buffer += "file\(buffers[index].file + 1)" }
        streams.append(description)
      }
    }
    self.places = places
    self.streams = streams
    self.notes = notes
    self.metadata = metadata
    self.texts = texts
    formatName = files[0].formatName
    cpuCount = files.map(\.cpuCount).max() ?? 0
    // Statistics do not say of which buffer they are.
    cpuStatistics = []
  }

  /// Why two files are not of one clock and one kernel; nil where they are.
  private static func reasonNotToJoin(_ a: any RecordingSource, _ b: any RecordingSource) -> String? {
    func host(_ file: any RecordingSource) -> String? {
      file.metadata.uname.flatMap { text in text.split(separator: " ").dropFirst().first.map(String.init) }
    }
    guard let first = host(a), let second = host(b) else { return "they do not say which host they are of" }
    guard first == second else {
      return
        "they are of two hosts, \(TraceFileError.shown(first)) and \(TraceFileError.shown(second)), whose clocks and thread ids cannot be compared"
    }
    guard let clock = a.metadata.clock, let other = b.metadata.clock, clock == other else {
      return "their clocks are \(a.metadata.clock ?? "unknown") and \(b.metadata.clock ?? "unknown")"
    }
    guard a.metadata.timeScale == b.metadata.timeScale else { return "their clocks run at different rates" }
    var (own, others) = (a.metadata.page, b.metadata.page)
    own.subBufferSize = 0
    others.subBufferSize = 0
    guard own == others else { return "their pages are laid out differently" }
    for format in a.metadata.formats where format.system == "kvm" {
      if let same = b.metadata.formats.first(where: { $0.system == format.system && $0.name == format.name }),
        same.id != format.id || same.fields != format.fields
      {
        return
          "the event \(TraceFileError.shown(format.name)) is another in each: they are of two kernels, or of two starts of one"
      }
    }
    let names = Dictionary(a.metadata.formats.map { ($0.id, $0.name) }) { first, _ in first }
    for format in b.metadata.formats where names[format.id].map({ $0 != format.name }) ?? false {
      return "event \(format.id) is another in each: they are of two kernels, or of two starts of one"
    }
    return nil
  }

  private init(_ other: CombinedRecording, _ files: [any RecordingSource]) {
    self.files = files
    (formatName, metadata, texts, cpuCount) = (other.formatName, other.metadata, other.texts, other.cpuCount)
    (notes, streams, cpuStatistics, places) = (other.notes, other.streams, other.cpuStatistics, other.places)
  }

  public func reopen() -> (any RecordingSource)? {
    let others = files.compactMap { $0.reopen() }
    return others.count == files.count ? CombinedRecording(self, others) : nil
  }

  public func seek(stream: Int, to time: UInt64?) {
    guard places.indices.contains(stream) else { return }
    files[places[stream].file].seek(stream: places[stream].stream, to: time)
  }

  public func rewind() { for file in files { file.rewind() } }

  public func timeBounds() -> (first: UInt64, last: UInt64)? {
    var result: (first: UInt64, last: UInt64)?
    for file in files {
      guard let bounds = file.timeBounds() else { continue }
      result = (min(result?.first ?? .max, bounds.first), max(result?.last ?? 0, bounds.last))
    }
    return result
  }

  public func nextPage(stream: Int) -> UnsafeRawBufferPointer? {
    guard places.indices.contains(stream) else { return nil }
    return files[places[stream].file].nextPage(stream: places[stream].stream)
  }
}
