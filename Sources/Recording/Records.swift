import Architecture
import HostFiles

/// What one chunk of a kind holds, as a value.
public protocol RecordingRecord: Sendable {
  static var kind: ChunkKind { get }
  /// The chunk's payload, not packed.
  func encoded() -> [UInt8]
  /// - Throws: If the bytes are no such payload.
  init(decoding bytes: [UInt8]) throws(RecordingError)
}

extension RecordingRecord {
  /// Runs a reader, and names the kind of chunk where that fails.
  fileprivate static func decode<T>(
    _ bytes: [UInt8], _ body: (inout FieldReader) throws(MalformedRecord) -> T
  ) throws(RecordingError) -> T {
    var reader = FieldReader(bytes)
    do throws(MalformedRecord) { return try body(&reader) } catch {
      throw RecordingError("a chunk \(kind) is malformed", of: error)
    }
  }
}

/// The VMs and vCPUs there are from a moment on.
extension HostView: RecordingRecord {
  public static var kind: ChunkKind { .host }

  public func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.count(vms.count)
    for vm in vms {
      writer.section { writer in
        writer.signed(vm.pid)
        writer.optional(vm.fd.map { UInt32(bitPattern: $0) })
        writer.optional(vm.name)
        writer.optional(vm.vmm)
        writer.count(vm.vcpus.count)
        for vcpu in vm.vcpus {
          writer.section { writer in
            writer.optional(vcpu.id)
            writer.signed(vcpu.tid)
            writer.optional(vcpu.threadName)
          }
        }
      }
    }
    return writer.bytes
  }

  public init(decoding bytes: [UInt8]) throws(RecordingError) {
    self.init(
      vms: try Self.decode(bytes) { reader throws(MalformedRecord) in
        var vms: [HostVM] = []
        for _ in 0..<(try reader.count()) {
          var part = try reader.section()
          var vm = HostVM(
            pid: try part.signed(as: Int32.self), fd: try part.optionalNumber().map { Int32(bitPattern: $0) },
            name: try part.optionalText(), vmm: try part.optionalText())
          for _ in 0..<(try part.count()) {
            var inner = try part.section()
            vm.vcpus.append(
              HostVCPU(
                id: try inner.optionalNumber(), tid: try inner.signed(as: Int32.self),
                threadName: try inner.optionalText()))
          }
          vms.append(vm.map { sanitized($0) })
        }
        return vms
      })
  }
}

/// The ring buffers' own counters since recording began, by CPU.
public struct LossRecord: RecordingRecord, Hashable {
  public struct CPU: Sendable, Hashable {
    public var cpu: UInt32
    /// Events that nobody will ever read.
    public var lost: UInt64
    /// Events that were read.
    public var read: UInt64

    public init(cpu: UInt32, lost: UInt64, read: UInt64) {
      self.cpu = cpu
      self.lost = lost
      self.read = read
    }
  }

  public var cpus: [CPU]

  public init(cpus: [CPU] = []) { self.cpus = cpus }

  public static var kind: ChunkKind { .losses }

  public func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.count(cpus.count)
    for cpu in cpus {
      writer.section { writer in
        writer.number(cpu.cpu)
        writer.number(cpu.lost)
        writer.number(cpu.read)
      }
    }
    return writer.bytes
  }

  public init(decoding bytes: [UInt8]) throws(RecordingError) {
    cpus = try Self.decode(bytes) { reader throws(MalformedRecord) in
      var cpus: [CPU] = []
      for _ in 0..<(try reader.count()) {
        var part = try reader.section()
        cpus.append(
          CPU(cpu: try part.number(as: UInt32.self), lost: try part.number(), read: try part.number()))
      }
      return cpus
    }
  }
}

/// The same moment on several clocks, in nanoseconds.
public struct ClockRecord: RecordingRecord, Hashable {
  /// The trace clock, raw; nil where it could not be read.
  public var trace: UInt64?
  /// CLOCK_REALTIME: since 1970, UTC.
  public var realtime: UInt64
  /// CLOCK_MONOTONIC, which readings of vCPUs are stamped with.
  public var monotonic: UInt64

  public init(trace: UInt64?, realtime: UInt64, monotonic: UInt64) {
    self.trace = trace
    self.realtime = realtime
    self.monotonic = monotonic
  }

  public static var kind: ChunkKind { .clock }

  public func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.number(realtime)
    writer.number(monotonic)
    writer.flag(trace != nil)
    writer.number(trace ?? 0)
    return writer.bytes
  }

  public init(decoding bytes: [UInt8]) throws(RecordingError) {
    self = try Self.decode(bytes) { reader throws(MalformedRecord) in
      let (realtime, monotonic) = (try reader.number(), try reader.number())
      let isKnown = try reader.flag()
      let trace = try reader.number()
      return ClockRecord(trace: isKnown ? trace : nil, realtime: realtime, monotonic: monotonic)
    }
  }
}

/// The control words of every vCPU thread, as they were read at a moment at which some had changed.
public struct WordsRecord: RecordingRecord, Hashable {
  public var words: [Int32: ControlSetting]

  public init(words: [Int32: ControlSetting] = [:]) { self.words = words }

  public static var kind: ChunkKind { .words }

  public func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.count(words.count)
    for (thread, setting) in words.sorted(by: { $0.key < $1.key }) {
      writer.section { writer in
        writer.signed(thread)
        writer.setting(setting)
      }
    }
    return writer.bytes
  }

  public init(decoding bytes: [UInt8]) throws(RecordingError) {
    words = try Self.decode(bytes) { reader throws(MalformedRecord) in
      var words: [Int32: ControlSetting] = [:]
      for _ in 0..<(try reader.count()) {
        var part = try reader.section()
        let thread = try part.signed(as: Int32.self)
        words[thread] = try part.setting()
      }
      return words
    }
  }
}

extension FieldWriter {
  mutating func setting(_ setting: ControlSetting) {
    optional(setting.pin)
    optional(setting.primary)
    optional(setting.secondary)
    flag(setting.tertiary != nil)
    if let tertiary = setting.tertiary { number(tertiary) }
    optional(setting.exit)
    optional(setting.entry)
    flag(setting.intercepts != nil)
    if let intercepts = setting.intercepts {
      for index in 0..<intercepts.scalarCount { number(intercepts[index]) }
    }
  }
}

extension FieldReader {
  mutating func setting() throws(MalformedRecord) -> ControlSetting {
    var setting = ControlSetting(
      pin: try optionalNumber(), primary: try optionalNumber(), secondary: try optionalNumber())
    if try flag() { setting.tertiary = try number() }
    setting.exit = try optionalNumber()
    setting.entry = try optionalNumber()
    if try flag() {
      var intercepts = SIMD8<UInt32>()
      for index in 0..<intercepts.scalarCount { intercepts[index] = try number(as: UInt32.self) }
      setting.intercepts = intercepts
    }
    return setting
  }
}

/// Pages that were traced and are not in the recording: the disk or the pipe did not take them fast enough. The chunk's
/// times say from when to when.
public struct GapRecord: RecordingRecord, Hashable {
  public struct CPU: Sendable, Hashable {
    public var cpu: UInt32
    /// Events in the pages that are missing, exactly.
    public var events: UInt64

    public init(cpu: UInt32, events: UInt64) {
      self.cpu = cpu
      self.events = events
    }
  }

  /// True at its beginning, while the end is not known; another record with the same first time follows.
  public var isOpen: Bool
  public var cpus: [CPU]

  public init(isOpen: Bool, cpus: [CPU] = []) {
    self.isOpen = isOpen
    self.cpus = cpus
  }

  public var events: UInt64 { cpus.reduce(0) { $0 &+ $1.events } }

  public static var kind: ChunkKind { .gap }

  public func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.flag(isOpen)
    writer.count(cpus.count)
    for cpu in cpus {
      writer.number(cpu.cpu)
      writer.number(cpu.events)
    }
    return writer.bytes
  }

  public init(decoding bytes: [UInt8]) throws(RecordingError) {
    self = try Self.decode(bytes) { reader throws(MalformedRecord) in
      var record = GapRecord(isOpen: try reader.flag())
      for _ in 0..<(try reader.count(of: 2)) {
        record.cpus.append(CPU(cpu: try reader.number(as: UInt32.self), events: try reader.number()))
      }
      return record
    }
  }
}

/// What KVM settled on and what the processor allows: `HostControls`, or why it is not known.
public struct ControlsRecord: RecordingRecord {
  public var controls: HostControls

  public init(_ controls: HostControls) { self.controls = controls }

  public static var kind: ChunkKind { .controls }

  public func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.section { writer in
      writer.setting(controls.configuration.words)
      writer.optional(controls.configuration.eptCapability)
      writer.optional(controls.configuration.vpidCapability)
    }
    let capabilities = controls.capabilities
    writer.section { writer in
      let words = ControlWord.allCases.compactMap { word in capabilities.words[word].map { (word, $0) } }
      writer.count(words.count)
      for (word, capability) in words {
        writer.text(word.rawValue)
        writer.number(capability.allowed0)
        writer.number(capability.allowed1)
      }
      writer.flag(capabilities.flags != nil)
      if let flags = capabilities.flags {
        writer.count(flags.count)
        for flag in flags.sorted() { writer.text(flag) }
      }
      writer.optional(capabilities.missing)
    }
    return writer.bytes
  }

  public init(decoding bytes: [UInt8]) throws(RecordingError) {
    controls = try Self.decode(bytes) { reader throws(MalformedRecord) in
      var controls = HostControls()
      var part = try reader.section()
      controls.configuration.words = try part.setting()
      controls.configuration.eptCapability = try part.optionalNumber()
      controls.configuration.vpidCapability = try part.optionalNumber()
      part = try reader.section()
      for _ in 0..<(try part.count(of: 3)) {
        let name = try part.text()
        let (allowed0, allowed1) = (try part.number(), try part.number())
        // A word of a later version is passed over.
        guard let word = ControlWord(rawValue: name) else { continue }
        controls.capabilities.words[word] = ControlCapability(word: word, allowed0: allowed0, allowed1: allowed1)
      }
      if try part.flag() {
        var flags: Set<String> = []
        for _ in 0..<(try part.count()) { flags.insert(try part.text()) }
        controls.capabilities.flags = flags
      }
      controls.capabilities.missing = try part.optionalText()
      return controls
    }
  }
}

/// A line that the recorder had to say: CPUs that came online, a module that was loaded.
public struct NoteRecord: RecordingRecord, Hashable {
  public var isError: Bool
  /// Print it only sanitized.
  public var text: String

  public init(_ text: String, isError: Bool = false) {
    self.isError = isError
    self.text = text
  }

  public static var kind: ChunkKind { .note }

  public func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.flag(isError)
    writer.text(text)
    return writer.bytes
  }

  public init(decoding bytes: [UInt8]) throws(RecordingError) {
    self = try Self.decode(bytes) { reader throws(MalformedRecord) in
      let isError = try reader.flag()
      return NoteRecord(try reader.text(), isError: isError)
    }
  }
}

/// Names of threads (comm), as the kernel saved them: of all threads that events name, not only of vCPUs.
public struct ThreadNamesRecord: RecordingRecord, Hashable {
  /// Data of another's making: print it only sanitized.
  public var names: [Int32: String]

  public init(names: [Int32: String] = [:]) { self.names = names }

  public static var kind: ChunkKind { .threadNames }

  public func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.count(names.count)
    for (thread, name) in names.sorted(by: { $0.key < $1.key }) {
      writer.signed(thread)
      writer.text(name)
    }
    return writer.bytes
  }

  public init(decoding bytes: [UInt8]) throws(RecordingError) {
    names = try Self.decode(bytes) { reader throws(MalformedRecord) in
      var names: [Int32: String] = [:]
      for _ in 0..<(try reader.count(of: 2)) {
        let thread = try reader.signed(as: Int32.self)
        names[thread] = try reader.text()
      }
      return names
    }
  }
}

/// The last chunk of a recording, or of one of its parts, that was ended and not cut off. Its size never changes, so that it
/// is found from the end of the file.
public struct EndRecord: RecordingRecord, Hashable {
  /// Why it ended.
  public struct Reason: RawRepresentable, Sendable, Hashable {
    public var rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// It was asked to, or its time was over.
    public static let asked = Reason(rawValue: 0)
    /// Another part follows.
    public static let continued = Reason(rawValue: 1)
    /// The disk was full, or failed: what came after is lost.
    public static let failed = Reason(rawValue: 2)
  }

  /// Bytes from the start of the chunk INDEX to that of this one; 0 without one.
  public var indexDistance: UInt64
  /// Bytes from the start of the file, or of the part of a file, to that of this chunk.
  public var startDistance: UInt64
  public var reason: Reason
  /// The exit status of the command that was recorded; nil without one.
  public var commandStatus: UInt32?
  /// Events in pages that could not be written, all in all.
  public var dropped: UInt64

  public init(
    indexDistance: UInt64, startDistance: UInt64, reason: Reason, commandStatus: UInt32? = nil, dropped: UInt64 = 0
  ) {
    self.indexDistance = indexDistance
    self.startDistance = startDistance
    self.reason = reason
    self.commandStatus = commandStatus
    self.dropped = dropped
  }

  public static var kind: ChunkKind { .end }
  static let size = 32

  public func encoded() -> [UInt8] {
    var bytes = [UInt8](littleEndian: indexDistance)
    bytes.append(littleEndian: startDistance)
    bytes.append(littleEndian: reason.rawValue)
    bytes.append(littleEndian: commandStatus ?? .max)
    bytes.append(littleEndian: dropped)
    return bytes
  }

  public init(decoding bytes: [UInt8]) throws(RecordingError) {
    guard bytes.count >= Self.size else { throw RecordingError("a chunk END is too short") }
    self = bytes.withUnsafeBytes { bytes in
      func word<T: FixedWidthInteger>(_ offset: Int, _: T.Type = T.self) -> T {
        T(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: T.self))
      }
      let status: UInt32 = word(20)
      return EndRecord(
        indexDistance: word(0), startDistance: word(8), reason: Reason(rawValue: word(16)),
        commandStatus: status == .max ? nil : status, dropped: word(24))
    }
  }
}
