/// A recording, whatever its file format: all of its pages are there, and can be read again from any place.
public protocol RecordingSource: SeekablePageSource {
  /// What kind of file it is, as a person would call it: `trace.dat`, `perf.data`.
  var formatName: String { get }
  var metadata: TraceMetadata { get }
  /// The texts its events are described by.
  var texts: TraceFileTexts { get }
  /// Parts that were left out. It may grow while pages are read.
  var damage: [TraceDamage] { get }
  /// What there is to say about what is counted and what is not, a line each; no damage.
  var notes: [String] { get }
  /// False for a summary: its counts are elsewhere.
  var hasEvents: Bool { get }
  /// The number of CPUs of the traced host, where the file says; else of those with data.
  var cpuCount: Int { get }
  /// The text of `per_cpu/cpuN/stats` at the end of the recording, one per CPU; of a file in another form, made from
  /// what it says of events and losses.
  var cpuStatistics: [String] { get }
  /// vCPU threads, where the recorder noted them.
  var guests: [TraceGuest] { get }

  /// Starts again from the first page of every stream. Pages handed out before are no longer valid.
  func rewind()
  /// Timestamps of the first and the last event of all streams, or nil where there is none. Starts again from the first
  /// page.
  func timeBounds() -> (first: UInt64, last: UInt64)?
  /// A second reader of the same recording, for another thread; nil where that cannot be had.
  func reopen() -> (any RecordingSource)?
}

extension RecordingSource {
  public var notes: [String] { [] }
  public var hasEvents: Bool { true }

  /// Events lost by CPU, as `cpuStatistics` tell. Empty where those are not one per CPU, and for several buffers: they do not say
  /// of which they are.
  public var lostByCPU: [Int: UInt64] {
    guard Set(streams.map(\.buffer)).count <= 1 else { return [:] }
    var result: [Int: UInt64] = [:]
    for text in cpuStatistics {
      guard let statistics = CPUBufferStatistics(text), let cpu = statistics.cpu,
        result.updateValue(statistics.lost, forKey: cpu) == nil
      else { return [:] }
    }
    return result
  }
}

/// The file formats that can be opened, told by how a file begins.
public enum RecordingFormat: Sendable, CaseIterable {
  case traceDat
  case perfData
  /// By `vmctop record`.
  case vmctop

  /// How a recording by `vmctop record` begins (docs/recording-format.md).
  public static let vmctopMark: [UInt8] = [0x89] + Array("VMCTOP\n".utf8)

  /// Bytes of a file that tell its format.
  public static let headSize = 10

  /// - Parameter head: the file's first `headSize` bytes.
  public init?(head: some Sequence<UInt8>) {
    let head = Array(head)
    if head.starts(with: [0x17, 0x08, 0x44] + Array("tracing".utf8)) {
      self = .traceDat
    } else if PerfDataFile.marks.contains(where: { head.starts(with: $0.utf8) }) {
      self = .perfData
    } else if head.starts(with: Self.vmctopMark) {
      self = .vmctop
    } else {
      return nil
    }
  }

  /// The format of a file; nil for one of no known format.
  ///
  /// - Throws: If the file cannot be read.
  public static func of(path: String) throws(TraceFileError) -> RecordingFormat? {
    let storage = try ByteStorage(mapping: path)
    // The bytes are the mapping's, which ends with its owner.
    return withExtendedLifetime(storage) { RecordingFormat(head: storage.bytes.prefix(headSize)) }
  }
}
