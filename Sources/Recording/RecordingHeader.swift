import TraceFormat

/// What a recording holds of the events.
public enum RecordingLevel: String, Sendable, Hashable, CaseIterable {
  /// Every event, and what was counted.
  case events
  /// What was counted in each interval, and no event.
  case summary
}

/// What was recorded, where, and how: enough to read everything else. All names in it are data of another's making:
/// print them only sanitized.
public struct RecordingHeader: Sendable, Hashable {
  /// The program that recorded, such as `vmctop 0.1.0`.
  public var program = ""
  public var hostName: String?
  /// As `uname -r`.
  public var kernelRelease: String?
  /// `sysname nodename release`.
  public var uname: String?
  /// The processor, as /proc/cpuinfo names it.
  public var processor: String?
  /// `kvm_intel`, `kvm_amd`, ..., where one was loaded.
  public var backend: String?
  /// CPUs of the host.
  public var cpuCount: UInt32 = 0
  /// The trace clock, such as `mono`.
  public var clock = "mono"
  /// How the trace clock's values become nanoseconds.
  public var timeScale = TimeScale.nanoseconds
  /// `events/header_page`: the layout of the pages.
  public var headerPage: [UInt8] = []
  /// `events/header_event`.
  public var headerEvent: [UInt8] = []
  /// `events/SYSTEM/NAME/format` of every event recorded, byte for byte.
  public var formats: [RawEventFormat] = []
  /// Module parameters, such as `kvm_intel.ple_gap`, with their values when recording began.
  public var parameters: [Parameter] = []
  /// The command line of the recorder.
  public var commandLine: [String] = []
  public var level = RecordingLevel.events
  /// The events that were asked for: `minimal`, `standard` or `full`.
  public var eventSet: String?
  /// The VMM processes that were asked for; empty for all.
  public var processes: [Int32] = []
  /// When recording began, on the trace clock, raw; nil where it could not be read.
  public var startedAt: UInt64?
  /// The same in nanoseconds since 1970 (CLOCK_REALTIME).
  public var startedAtRealtime: UInt64 = 0
  /// Seconds east of UTC of the recording host's local time.
  public var secondsEast: Int32 = 0
  /// Counts up when the host's events changed while recording (the module kvm was loaded): the pages after this header
  /// follow its formats. Copies of a header have the number of the first.
  public var generation: UInt32 = 0
  /// Which part of the recording the file is, from 1.
  public var part: UInt32 = 1
  /// Drawn at random for each recording; it tells which files are parts of one.
  public var identity: [UInt8] = []

  public struct Parameter: Sendable, Hashable {
    /// `MODULE.NAME`.
    public var name: String
    public var value: String

    public init(name: String, value: String) {
      self.name = name
      self.value = value
    }
  }

  public init() {}

  private enum Tag: UInt64 {
    case program = 1
    case hostName, kernelRelease, uname, processor, backend, cpuCount, clock, timeScale, headerPage, headerEvent
    case format, parameter, argument, level, eventSet, process, startedAt, startedAtRealtime, secondsEast, generation
    case part, identity
  }

  /// The sub-buffers' layout.
  ///
  /// - Throws: If `headerPage` is no such text.
  public func pageLayout() throws(RecordingError) -> PageLayout {
    do { return try PageLayout.parse(headerPageBytes: headerPage) } catch {
      throw RecordingError("the layout of the recording's pages is not understood", of: error)
    }
  }

  /// What the aggregator wants to know. Formats that are not understood are left out.
  public func metadata(commandNames: [Int32: String] = [:]) throws(RecordingError) -> TraceMetadata {
    TraceMetadata(
      formats: formats.compactMap { try? EventFormat.parse(bytes: $0.text, system: $0.system) },
      page: try pageLayout(), clock: clock, timeScale: timeScale, commandNames: commandNames, uname: uname)
  }
}

extension RecordingHeader: RecordingRecord {
  public static var kind: ChunkKind { .header }

  public func encoded() -> [UInt8] {
    var writer = FieldWriter()
    func field(_ tag: Tag, _ body: (inout FieldWriter) -> Void) {
      writer.number(tag.rawValue)
      writer.section(body)
    }
    func text(_ tag: Tag, _ value: String?) {
      if let value { field(tag) { $0.text(value) } }
    }
    text(.program, program)
    text(.hostName, hostName)
    text(.kernelRelease, kernelRelease)
    text(.uname, uname)
    text(.processor, processor)
    text(.backend, backend)
    field(.cpuCount) { $0.number(cpuCount) }
    text(.clock, clock)
    field(.timeScale) {
      $0.number(timeScale.multiplier)
      $0.number(timeScale.shift)
    }
    field(.headerPage) { $0.block(headerPage) }
    field(.headerEvent) { $0.block(headerEvent) }
    for format in formats {
      field(.format) {
        $0.text(format.system)
        $0.optional(format.name)
        $0.block(format.text)
      }
    }
    for parameter in parameters {
      field(.parameter) {
        $0.text(parameter.name)
        $0.text(parameter.value)
      }
    }
    for argument in commandLine { text(.argument, argument) }
    text(.level, level.rawValue)
    text(.eventSet, eventSet)
    for process in processes { field(.process) { $0.signed(process) } }
    if let startedAt { field(.startedAt) { $0.number(startedAt) } }
    field(.startedAtRealtime) { $0.number(startedAtRealtime) }
    field(.secondsEast) { $0.signed(secondsEast) }
    field(.generation) { $0.number(generation) }
    field(.part) { $0.number(part) }
    field(.identity) { $0.block(identity) }
    return writer.bytes
  }

  public init(decoding bytes: [UInt8]) throws(RecordingError) {
    self.init()
    var reader = FieldReader(bytes)
    do throws(MalformedRecord) {
      while !reader.isAtEnd {
        let number = try reader.number()
        var field = try reader.section()
        // Fields of later versions are passed over.
        guard let tag = Tag(rawValue: number) else { continue }
        try read(tag, &field)
      }
    } catch {
      throw RecordingError("the recording's header is malformed", of: error)
    }
  }

  private mutating func read(_ tag: Tag, _ field: inout FieldReader) throws(MalformedRecord) {
    switch tag {
    case .program: program = try field.text()
    case .hostName: hostName = try field.text()
    case .kernelRelease: kernelRelease = try field.text()
    case .uname: uname = try field.text()
    case .processor: processor = try field.text()
    case .backend: backend = try field.text()
    case .cpuCount: cpuCount = try field.number(as: UInt32.self)
    case .clock: clock = try field.text()
    case .timeScale:
      timeScale = TimeScale(
        multiplier: try field.number(as: UInt32.self), shift: try field.number(as: UInt32.self))
    case .headerPage: headerPage = try field.block()
    case .headerEvent: headerEvent = try field.block()
    case .format:
      formats.append(
        RawEventFormat(system: try field.text(), name: try field.optionalText(), text: try field.block()))
    case .parameter: parameters.append(Parameter(name: try field.text(), value: try field.text()))
    case .argument: commandLine.append(try field.text())
    case .level:
      guard let level = RecordingLevel(rawValue: try field.text()) else { throw MalformedRecord("an unknown level") }
      self.level = level
    case .eventSet: eventSet = try field.text()
    case .process: processes.append(try field.signed(as: Int32.self))
    case .startedAt: startedAt = try field.number()
    case .startedAtRealtime: startedAtRealtime = try field.number()
    case .secondsEast: secondsEast = try field.signed(as: Int32.self)
    case .generation: generation = try field.number(as: UInt32.self)
    case .part: part = try field.number(as: UInt32.self)
    case .identity: identity = try field.block()
    }
  }
}
