import Architecture

// A chunk STATE is a keyframe or what changed since the chunk before it. Strings and fields are written once, in the chunk
// that needs them first, and named by number from then on until the next keyframe. docs/recording-format.md has the bytes.

/// How a chunk STATE has one vCPU.
private enum ReadingForm: UInt8 {
  case whole = 0
  /// The values that are other ones than in the chunk before.
  case changed = 1
}

/// Composes the chunks STATE of a recording.
struct StateEncoder {
  private var keyframe: UInt32 = 0
  /// Of the chunk encoded last: 0 for a keyframe.
  private(set) var step: UInt32 = 0
  private var needsKeyframe = true
  private var strings: [String: Int] = [:]
  private var fields: [StateField: Int] = [:]
  private var newStrings: [String] = []
  private var newFields: [StateField] = []
  private var before: [VCPUReading] = []

  /// Chunks from one keyframe to the next, and strings that are named by number at most.
  private static let stepsPerKeyframe: UInt32 = 60
  private static let mostStrings = 1 << 16

  /// True where the last chunk had no vCPU, or there was none.
  var isEmpty: Bool { before.isEmpty }

  /// The next chunk is a keyframe.
  mutating func startAfresh() { needsKeyframe = true }

  mutating func encode(_ readings: [VCPUReading]) -> [UInt8] {
    if step >= Self.stepsPerKeyframe || strings.count > Self.mostStrings { needsKeyframe = true }
    let isKeyframe = needsKeyframe
    if isKeyframe {
      keyframe &+= 1
      step = 0
      strings = [:]
      fields = [:]
      before = []
      needsKeyframe = false
    } else {
      step += 1
    }
    newStrings = []
    newFields = []
    var places: [VCPUKey: Int] = [:]
    for (index, reading) in before.enumerated() { places[VCPUKey(reading)] = index }
    var body = FieldWriter()
    body.count(readings.count)
    for reading in readings {
      let place = places[VCPUKey(reading)]
      body.section { writer in
        if let place, before[place].isa == reading.isa {
          writer.number(UInt64(ReadingForm.changed.rawValue))
          writer.count(place)
          write(reading, after: before[place], &writer)
        } else {
          writer.number(UInt64(ReadingForm.whole.rawValue))
          write(reading, after: nil, &writer)
        }
      }
    }
    before = readings
    var writer = FieldWriter()
    writer.number(keyframe)
    writer.number(step)
    // Fields first names strings of its own.
    var table = FieldWriter()
    table.count(newFields.count)
    for field in newFields {
      table.section { writer in
        string(field.kind.rawValue, &writer)
        string(field.name, &writer)
        writer.optional(field.place)
        writer.count(field.width)
        string(field.area.rawValue, &writer)
        string(field.description, &writer)
      }
    }
    writer.count(newStrings.count)
    for text in newStrings { writer.text(text) }
    writer.append(table)
    writer.append(body)
    return writer.bytes
  }

  private mutating func string(_ text: String, _ writer: inout FieldWriter) {
    if let known = strings[text] {
      writer.count(known)
      return
    }
    writer.count(strings.count)
    strings[text] = strings.count
    newStrings.append(text)
  }

  private mutating func field(_ field: StateField, _ writer: inout FieldWriter) {
    if let known = fields[field] {
      writer.count(known)
      return
    }
    writer.count(fields.count)
    fields[field] = fields.count
    newFields.append(field)
  }

  private mutating func write(_ reading: VCPUReading, after before: VCPUReading?, _ writer: inout FieldWriter) {
    if before == nil {
      writer.number(reading.isa.rawValue)
      writer.signed(reading.pid)
      writer.number(reading.vcpuID)
    }
    writer.optional(reading.tid.map { UInt32(bitPattern: $0) })
    writer.flag(reading.cpu != nil)
    writer.signed(Int64(reading.cpu ?? 0))
    writer.flag(reading.isNested)
    writer.number(reading.readAt)
    writer.signed(Int64(reading.reads))
    writer.number(reading.nanoseconds)
    let wordsChanged = before.map { $0.words != reading.words } ?? true
    writer.flag(wordsChanged)
    if wordsChanged { writer.setting(reading.words) }
    let differencesChanged = before.map { $0.differences != reading.differences } ?? true
    writer.flag(differencesChanged)
    if differencesChanged {
      writer.count(reading.differences.count)
      for difference in reading.differences {
        string(difference.control.word, &writer)
        writer.flag(difference.control.bit != nil)
        writer.signed(Int64(difference.control.bit ?? 0))
        string(difference.control.name, &writer)
        writer.flag(difference.isSet)
        string(difference.reason, &writer)
        writer.flag(difference.isMeasured)
      }
    }
    let bitmapChanged = before.map { $0.msrBitmap != reading.msrBitmap } ?? true
    writer.flag(bitmapChanged)
    if bitmapChanged {
      writer.flag(reading.msrBitmap != nil)
      if let bitmap = reading.msrBitmap { writer.block(bitmap) }
    }
    write(reading.fields, after: before?.fields, &writer)
    write(reading.others, after: before?.others, &writer)
    writer.flag(reading.vmcs12 != nil)
    if let vmcs12 = reading.vmcs12 { write(vmcs12, after: before?.vmcs12, &writer) }
  }

  /// All of a list, or where it has the same fields as before the places and values of those that changed.
  private mutating func write(_ list: [FieldReading], after before: [FieldReading]?, _ writer: inout FieldWriter) {
    guard let before, before.count == list.count, zip(before, list).allSatisfy({ $0.field == $1.field }) else {
      writer.flag(true)
      writer.count(list.count)
      for reading in list {
        field(reading.field, &writer)
        value(reading, &writer)
      }
      return
    }
    writer.flag(false)
    let changed = list.indices.filter { list[$0] != before[$0] }
    writer.count(changed.count)
    var next = 0
    for index in changed {
      writer.count(index - next)
      next = index + 1
      value(list[index], &writer)
    }
  }

  private mutating func value(_ reading: FieldReading, _ writer: inout FieldWriter) {
    writer.number(UInt64((reading.value == nil ? 0 : 1) | (reading.readAt == nil ? 0 : 2)))
    string(reading.provenance.rawValue, &writer)
    string(reading.how, &writer)
    if let value = reading.value { writer.number(value) }
    if let readAt = reading.readAt { writer.number(readAt) }
  }
}

/// Which vCPU a reading is of.
private struct VCPUKey: Hashable {
  var pid: Int32
  var vcpuID: UInt32
  var tid: Int32?

  init(_ reading: VCPUReading) {
    (pid, vcpuID, tid) = (reading.pid, reading.vcpuID, reading.tid)
  }
}

extension FieldWriter {
  fileprivate mutating func append(_ other: FieldWriter) { append(raw: other.bytes) }
}

/// Reads the chunks STATE of a recording in their order, and holds the state after each.
public struct StateDecoder: Sendable {
  /// The vCPUs as they were at the chunk decoded last; empty where a chunk that this one rests on is missing.
  public private(set) var readings: [VCPUReading] = []
  /// Those whose thread is known, by it.
  public var byThread: [Int32: VCPUReading] {
    Dictionary(readings.compactMap { reading in reading.tid.map { ($0, reading) } }, uniquingKeysWith: { $1 })
  }
  /// False until a keyframe was read, and after a chunk that is missing until the next one.
  public private(set) var isKnown = false

  private var keyframe: UInt32 = 0
  private var step: UInt32 = 0
  private var strings: [String] = []
  private var fields: [StateField] = []

  private static let mostStrings = 1 << 20

  public init() {}

  /// Takes the next chunk's payload.
  ///
  /// - Throws: If the bytes are no such payload. What was known before is then forgotten.
  public mutating func decode(_ bytes: [UInt8]) throws(RecordingError) {
    do throws(MalformedRecord) { try read(bytes) } catch {
      forget()
      throw RecordingError("a chunk STATE is malformed", of: error)
    }
  }

  private mutating func forget() {
    isKnown = false
    readings = []
    strings = []
    fields = []
  }

  private mutating func read(_ bytes: [UInt8]) throws(MalformedRecord) {
    var reader = FieldReader(bytes)
    let newKeyframe = try reader.number(as: UInt32.self)
    let newStep = try reader.number(as: UInt32.self)
    if newStep == 0 {
      forget()
    } else if !isKnown || newKeyframe != keyframe || newStep != step &+ 1 {
      forget()
      return
    }
    for _ in 0..<(try reader.count()) {
      guard strings.count < Self.mostStrings else { throw MalformedRecord("too many texts") }
      strings.append(try reader.text())
    }
    for _ in 0..<(try reader.count()) {
      guard fields.count < Self.mostStrings else { throw MalformedRecord("too many fields") }
      fields.append(try readField(&reader))
    }
    var result: [VCPUReading] = []
    for _ in 0..<(try reader.count()) {
      var part = try reader.section()
      switch ReadingForm(rawValue: try part.number(as: UInt8.self)) {
      case .whole: result.append(try readReading(&part, after: nil))
      case .changed:
        let place = try part.number()
        guard let index = Int(exactly: place), readings.indices.contains(index) else {
          throw MalformedRecord("a vCPU that was not there before")
        }
        result.append(try readReading(&part, after: readings[index]))
      case nil: throw MalformedRecord("an unknown form of a reading")
      }
    }
    readings = result
    keyframe = newKeyframe
    step = newStep
    isKnown = true
  }

  private func string(_ reader: inout FieldReader) throws(MalformedRecord) -> String {
    guard let index = Int(exactly: try reader.number()), strings.indices.contains(index) else {
      throw MalformedRecord("a text that is not there")
    }
    return strings[index]
  }

  private func readField(_ reader: inout FieldReader) throws(MalformedRecord) -> StateField {
    var part = try reader.section()
    guard let kind = StateField.Kind(rawValue: try string(&part)) else {
      throw MalformedRecord("an unknown kind of field")
    }
    let name = try string(&part)
    let place = try part.optionalNumber()
    let width = try part.number()
    guard (1...64).contains(width) else { throw MalformedRecord("a field of \(width) bits") }
    guard let area = StateField.Area(rawValue: try string(&part)) else { throw MalformedRecord("an unknown area") }
    return StateField(
      kind: kind, name: name, place: place, width: Int(width), area: area, description: try string(&part))
  }

  private func readReading(
    _ reader: inout FieldReader, after before: VCPUReading?
  ) throws(MalformedRecord) -> VCPUReading {
    var reading: VCPUReading
    if let before {
      reading = before
    } else {
      let isa = ISA(rawValue: try reader.number(as: UInt32.self))
      let pid = try reader.signed(as: Int32.self)
      reading = VCPUReading(
        isa: isa, pid: pid, vcpuID: try reader.number(as: UInt32.self), tid: nil, cpu: nil, isNested: false, readAt: 0,
        fields: [], words: ControlSetting(), differences: [], msrBitmap: nil)
    }
    reading.tid = try reader.optionalNumber().map { Int32(bitPattern: $0) }
    let hasCPU = try reader.flag()
    let cpu = try reader.signed(as: Int.self)
    reading.cpu = hasCPU ? cpu : nil
    reading.isNested = try reader.flag()
    reading.readAt = try reader.number()
    reading.reads = try reader.signed(as: Int.self)
    reading.nanoseconds = try reader.number()
    if try reader.flag() { reading.words = try reader.setting() }
    if try reader.flag() {
      reading.differences = []
      for _ in 0..<(try reader.count(of: 7)) { reading.differences.append(try readDifference(&reader)) }
    }
    if try reader.flag() { reading.msrBitmap = try reader.flag() ? try reader.block() : nil }
    reading.fields = try readList(&reader, after: before?.fields)
    reading.others = try readList(&reader, after: before?.others)
    reading.vmcs12 = try reader.flag() ? try readList(&reader, after: before?.vmcs12) : nil
    return reading
  }

  private func readDifference(_ reader: inout FieldReader) throws(MalformedRecord) -> ControlDifference {
    let word = try string(&reader)
    let hasBit = try reader.flag()
    let bit = try reader.signed(as: Int.self)
    let name = try string(&reader)
    // Numbers of controls are this program's own and change from one version to the next; names do not.
    let key = ControlKey(word: word, bit: hasBit ? bit : nil, name: name)
    let isSet = try reader.flag()
    let reason = try string(&reader)
    return ControlDifference(
      control: ControlKey.numbers[key] ?? .unknown, isSet: isSet, reason: reason, isMeasured: try reader.flag())
  }

  private func readList(
    _ reader: inout FieldReader, after before: [FieldReading]?
  ) throws(MalformedRecord) -> [FieldReading] {
    if try reader.flag() {
      var list: [FieldReading] = []
      for _ in 0..<(try reader.count(of: 4)) {
        guard let index = Int(exactly: try reader.number()), fields.indices.contains(index) else {
          throw MalformedRecord("a field that is not there")
        }
        list.append(try readValue(&reader, of: fields[index]))
      }
      return list
    }
    guard var list = before else { throw MalformedRecord("changes of a list that is not there") }
    var next = 0
    for _ in 0..<(try reader.count(of: 4)) {
      guard let step = Int(exactly: try reader.number()), step < list.count - next else {
        throw MalformedRecord("a change of a field that is not there")
      }
      next += step
      list[next] = try readValue(&reader, of: list[next].field)
      next += 1
    }
    return list
  }

  private func readValue(
    _ reader: inout FieldReader, of field: StateField
  ) throws(MalformedRecord) -> FieldReading {
    let flags = try reader.number()
    guard flags < 4 else { throw MalformedRecord("unknown flags of a value") }
    guard let provenance = Provenance(rawValue: try string(&reader)) else {
      throw MalformedRecord("an unknown provenance")
    }
    let how = try string(&reader)
    let value = flags & 1 != 0 ? try reader.number() : nil
    return FieldReading(field, value, provenance, how, readAt: flags & 2 != 0 ? try reader.number() : nil)
  }
}

/// What names a control in every version of the program.
private struct ControlKey: Hashable {
  var word: String
  var bit: Int?
  var name: String

  static let numbers: [ControlKey: ControlID] = Dictionary(
    ControlID.all.map { (ControlKey(word: $0.word, bit: $0.bit, name: $0.name), $0) },
    uniquingKeysWith: { first, _ in first })
}
