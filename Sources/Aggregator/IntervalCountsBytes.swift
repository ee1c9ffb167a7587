import Architecture
import Errors
import HostFiles
import TraceFormat

/// Why bytes are no sums.
public struct IntervalCountsError: CodedError, Hashable {
  /// Byte of the input.
  public var offset: Int
  public var message: String

  public var kind: ErrorKind { .damaged }

  /// The place and the message.
  public var text: String { "byte \(offset): \(message)" }
}

/// The byte form of `IntervalCounts`: a version, then every figure as a variable-length integer (LEB128, least significant group
/// first; signed ones zigzagged), lists by their length and in their order, ascending keys as differences. Nothing that
/// is 0 in a cell takes more than a byte.
extension IntervalCounts {
  /// Counts up when the form changes; what an older one wrote is still read.
  static let version: UInt8 = 2

  /// - Parameter open: whether what it takes to go on counting from the end is part of it.
  public func bytes(open: Bool = true) -> [UInt8] {
    var writer = IntervalWriter()
    writer.bytes.append(Self.version)
    writer.put(start)
    writer.put(end &- start)
    writer.put(events)
    writer.put(malformed)
    writer.put(firstTimestamp)
    writer.put(lastTimestamp)
    writer.put(threads.count + (ended == nil ? 0 : 1))
    // Who counted how much comes first: a graph of rates needs no more.
    writer.put(ended == nil ? 0 : 1)
    if let ended { writer.put(ended.exits) }
    var tid: Int32 = 0
    for thread in threads {
      writer.put(difference: UInt64(bitPattern: Int64(thread.tid) - Int64(tid)))
      tid = thread.tid
      writer.put(thread.exits)
    }
    writer.put(settings) { $0.put($1) }
    writer.put(otherReasons) { $0.put($1) }
    writer.put(eventCounts) {
      $0.put(UInt64($1.id))
      $0.put($1.count)
    }
    writer.put(losses) { $0.put($1) }
    writer.put(retired) {
      $0.put($1.tid)
      $0.put($1.renaming)
    }
    writer.put(endedThreads)
    if let ended { writer.put(ended) }
    for thread in threads { writer.put(thread) }
    if open, let state = self.open {
      writer.put(1)
      writer.put(state)
    } else {
      writer.put(0)
    }
    return writer.bytes
  }

  /// - Throws: Where the bytes are anything but what `bytes` gives, in this version.
  public init(bytes: [UInt8]) throws(IntervalCountsError) {
    self = try bytes.withUnsafeBytes { buffer in
      Result { () throws(IntervalCountsError) in try IntervalCounts(bytes: buffer) }
    }.get()
  }

  /// - Throws: Where the bytes are anything but what `bytes` gives, in this version.
  public init(bytes: UnsafeRawBufferPointer) throws(IntervalCountsError) {
    var reader = IntervalReader(bytes)
    try reader.readVersion()
    self.init()
    try readHead(&reader)
    var ids: [Int32] = []
    let count = try reader.count(limit: IntervalReader.mostThreads)
    let hasEnded = try reader.flag()
    guard !hasEnded || count > 0 else { throw reader.error("threads that ended, but no thread") }
    if hasEnded { _ = try reader.number() }
    var tid: Int64 = 0
    for index in 0..<(count - (hasEnded ? 1 : 0)) {
      let step = try reader.signed()
      let (next, overflow) = tid.addingReportingOverflow(step)
      guard !overflow, index == 0 || step > 0, let id = Int32(exactly: next) else {
        throw reader.error("thread ids that do not ascend")
      }
      tid = next
      ids.append(id)
      _ = try reader.number()
    }
    settings = try reader.list(limit: SettingRegistry.limit) { reader, index throws(IntervalCountsError) in
      try reader.setting(index)
    }
    guard settings.first == SettingDescription(setting: .asFound) else { throw reader.error("no first setting") }
    reader.settings = settings.count
    otherReasons = try reader.list(limit: ReasonIndex.capacity) { reader, _ throws(IntervalCountsError) in
      try reader.number()
    }
    var lastID = -1
    eventCounts = try reader.list(limit: 65536) { reader, _ throws(IntervalCountsError) in
      let id = try reader.narrow(UInt16.self)
      guard Int(id) > lastID else { throw reader.error("event ids that do not ascend") }
      lastID = Int(id)
      return EventSum(id: id, count: try reader.number())
    }
    losses = try reader.list(limit: IntervalReader.mostStreams) { reader, _ throws(IntervalCountsError) in
      try reader.loss()
    }
    retired = try reader.list(limit: IntervalReader.mostThreads) { reader, _ throws(IntervalCountsError) in
      RetiredThread(tid: try reader.int32(), renaming: try reader.renaming())
    }
    guard zip(retired, retired.dropFirst()).allSatisfy({ $0.tid < $1.tid }) else {
      throw reader.error("retired threads that do not ascend")
    }
    endedThreads = try reader.number()
    if hasEnded { ended = try reader.thread(Aggregator.endedThread, isEnded: true) }
    threads.reserveCapacity(ids.count)
    for id in ids { threads.append(try reader.thread(id, isEnded: false)) }
    if try reader.flag() { open = try reader.open() }
    guard reader.remaining == 0 else { throw reader.error("\(reader.remaining) bytes too many") }
    isHaltShared = reader.isHaltShared
  }

  private mutating func readHead(_ reader: inout IntervalReader) throws(IntervalCountsError) {
    start = try reader.number()
    let (end, overflow) = start.addingReportingOverflow(try reader.number())
    guard !overflow else { throw reader.error("an interval that does not end") }
    self.end = end
    events = try reader.number()
    malformed = try reader.number()
    firstTimestamp = try reader.number()
    lastTimestamp = try reader.number()
  }
}

/// The first of the figures in the bytes of sums: enough for a graph, without reading all of them.
public struct IntervalHeading: Sendable, Hashable {
  /// As in `IntervalCounts`.
  public var start: UInt64
  public var end: UInt64
  public var events: UInt64
  /// As `IntervalCounts.exitsByThread`.
  public var exitsByThread: [Int32: UInt64] = [:]

  /// - Throws: Where the bytes do not begin as sums do.
  public init(bytes: [UInt8]) throws(IntervalCountsError) {
    self = try bytes.withUnsafeBytes { buffer in
      Result { () throws(IntervalCountsError) in try IntervalHeading(buffer) }
    }.get()
  }

  private init(_ bytes: UnsafeRawBufferPointer) throws(IntervalCountsError) {
    var reader = IntervalReader(bytes)
    try reader.readVersion()
    start = try reader.number()
    end = start &+ (try reader.number())
    events = try reader.number()
    for _ in 0..<3 { _ = try reader.number() }
    let count = try reader.count(limit: IntervalReader.mostThreads)
    let hasEnded = try reader.flag()
    guard !hasEnded || count > 0 else { throw reader.error("threads that ended, but no thread") }
    if hasEnded { exitsByThread[Aggregator.endedThread] = try reader.number() }
    var tid: Int64 = 0
    for _ in 0..<(count - (hasEnded ? 1 : 0)) {
      tid &+= try reader.signed()
      guard let id = Int32(exactly: tid) else { throw reader.error("a thread id of more than 32 bits") }
      exitsByThread[id] = try reader.number()
    }
  }
}

// MARK: - Writing

private struct IntervalWriter {
  var bytes: [UInt8] = []

  mutating func put(_ value: UInt64) {
    var left = value
    while left >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: left) | 0x80)
      left >>= 7
    }
    bytes.append(UInt8(truncatingIfNeeded: left))
  }

  mutating func put(_ value: Int) { put(UInt64(truncatingIfNeeded: value)) }

  /// A difference that wrapped: zigzagged, small ones of either sign are short.
  mutating func put(difference: UInt64) {
    let signed = Int64(bitPattern: difference)
    put(UInt64(bitPattern: (signed << 1) ^ (signed >> 63)))
  }

  mutating func put(_ value: Int32) { put(difference: UInt64(bitPattern: Int64(value))) }

  mutating func put(_ value: Bool) { bytes.append(value ? 1 : 0) }

  mutating func put(optional value: UInt64?) {
    put(value != nil)
    if let value { put(value) }
  }

  mutating func put(_ text: String) {
    let text = Array(text.utf8.prefix(IntervalReader.longestText))
    put(text.count)
    bytes += text
  }

  mutating func put<Element>(_ list: [Element], _ element: (inout IntervalWriter, Element) -> Void) {
    put(list.count)
    for value in list { element(&self, value) }
  }

  mutating func put(_ setting: VCPUSetting) { put(setting.rawValue) }

  mutating func put(_ renaming: SettingRenaming?) {
    put(renaming != nil)
    guard let renaming else { return }
    put(renaming.from)
    put(renaming.to)
  }

  /// 0 for nil, else one more than the number.
  mutating func put(shortOptional value: UInt32?) { put(value.map { UInt64($0) + 1 } ?? 0) }

  /// As the chunk WORDS has them.
  mutating func put(_ words: ControlSetting) {
    put(shortOptional: words.pin)
    put(shortOptional: words.primary)
    put(shortOptional: words.secondary)
    put(optional: words.tertiary)
    put(shortOptional: words.exit)
    put(shortOptional: words.entry)
    put(words.intercepts != nil)
    if let intercepts = words.intercepts { for index in 0..<8 { put(UInt64(intercepts[index])) } }
  }

  mutating func put(_ description: SettingDescription) {
    switch description.apicVirtualization {
    case .asFound: put(0)
    case .inhibited: put(1)
    case .active: put(2)
    }
    put(description.words != nil)
    if let words = description.words { put(words) }
  }

  mutating func put(_ stream: PageStream) {
    put(stream.cpu)
    put(stream.buffer)
  }

  mutating func put(_ loss: StreamSum) {
    put(loss.stream)
    put(loss.lost)
    put(loss.uncounted)
  }

  mutating func put(_ time: TimeSplit) {
    put(time.guest)
    put(time.kernel)
    put(time.user)
    put(time.halted)
  }

  mutating func put(_ thread: ThreadSum) {
    put(optional: thread.vcpuID.map(UInt64.init))
    put(thread.setting)
    put(thread.renaming)
    put(thread.changes) {
      $0.put($1.setting)
      $0.put(optional: $1.previous.map { UInt64(truncatingIfNeeded: $0.rawValue) })
      $0.put($1.timestamp)
    }
    put(thread.time)
    put(thread.residencies) { writer, residency in
      writer.put(residency.setting)
      writer.put(difference: residency.duration)
      writer.put(residency.time)
      writer.put(residency.reasons) { $0.put($1) }
    }
  }

  mutating func put(_ exits: ExitCounts) {
    put(difference: exits.count)
    for figure in 1..<ExitCounts.figureCount { put(exits[figure: figure]) }
  }

  mutating func put(_ reason: ReasonCounts) {
    put(UInt64(reason.isa))
    put(UInt64(reason.code))
    put(reason.exits)
    put(reason.unlocated)
    put(reason.paired)
    put(reason.minimum <= reason.maximum)
    if reason.minimum <= reason.maximum {
      put(reason.minimum)
      put(reason.maximum &- reason.minimum)
    }
    var bucket = 0
    put(reason.histogram) {
      $0.put($1.bucket - bucket)
      bucket = $1.bucket
      $0.put($1.count)
    }
    put(reason.charges) {
      $0.put(UInt64($1.control.rawValue))
      $0.put($1.exits)
    }
    put(reason.details)
    put(reason.instructionPointers)
  }

  private mutating func put(_ details: DetailSum) {
    put(details.entries)
    put(details.isApproximate)
    if details.isApproximate {
      put(details.evicted)
      put(details.mostEvicted)
    }
  }

  private mutating func put(_ entries: [DetailTable.Entry]) {
    var key: UInt64 = 0
    put(entries) {
      $0.put($1.key &- key)
      key = $1.key
      // Few have an error: that is told by a bit of the count.
      $0.put($1.count &<< 1 | ($1.error == 0 ? 0 : 1))
      $0.put($1.count >> 63 != 0)
      if $1.error != 0 { $0.put($1.error) }
    }
  }

  mutating func put(_ state: OpenState) {
    put(state.streams) {
      $0.put($1.stream)
      $0.put($1.isInGap)
      $0.put(optional: $1.page)
      $0.put(optional: $1.counted.map(UInt64.init))
    }
    put(state.words) {
      $0.put($1.tid)
      $0.put($1.words)
    }
    put(state.machines)
    put(state.threads) { $0.put($1) }
  }

  private mutating func put(_ machines: MachineRegistry) {
    put(machines.lastVM)
    put(machines.knownVMs.sorted { $0.key < $1.key }) { writer, known in
      let vm = known.value
      writer.put(known.key)
      writer.put(machines.presentVMs.contains(known.key))
      writer.put(vm.pid)
      writer.put(optional: vm.fd.map { UInt64(UInt32(bitPattern: $0)) })
      writer.put(vm.name != nil)
      if let name = vm.name { writer.put(name) }
      writer.put(vm.vmm != nil)
      if let vmm = vm.vmm { writer.put(vmm) }
      writer.put(vm.vcpus) {
        $0.put(optional: $1.id.map(UInt64.init))
        $0.put($1.tid)
        $0.put($1.threadName != nil)
        if let name = $1.threadName { $0.put(name) }
      }
    }
    put(machines.vmOfThread.sorted { $0.key < $1.key }) {
      $0.put($1.key)
      $0.put($1.value)
      $0.put(machines.isPresent($1.key))
    }
  }

  private mutating func put(_ thread: OpenThread) {
    let machine = thread.machine
    put(thread.tid)
    put(optional: thread.vcpuID.map(UInt64.init))
    put(UInt64(machine.activity.rawValue))
    put(optional: machine.awaited.map { UInt64($0.rawValue) })
    put(
      UInt64(
        (machine.wasOffKernel ? 1 : 0) | (machine.isInUserSpace ? 2 : 0) | (thread.isSettingRead ? 4 : 0)
          | (machine.mark.hasLostOnStream ? 8 : 0) | (machine.mark.hasLostAnywhere ? 16 : 0)
          | (machine.isHaltedInUserSpace ? 32 : 0)))
    put(UInt64(machine.mark.stream))
    put(machine.since)
    put(thread.setting)
    put(thread.settingSince)
    put(thread.past) { $0.put($1) }
    put(optional: thread.exitSetting.map { UInt64(truncatingIfNeeded: $0.rawValue) })
    put(optional: thread.charge.map { UInt64($0.rawValue) })
    put(machine.lastExitAt)
    let exit = machine.lastExit
    for word in [exit.reason, exit.isa.rawValue, exit.interruptionInformation, exit.errorCode] { put(UInt64(word)) }
    for word in [exit.rip, exit.info1, exit.info2] { put(word) }
    put(machine.userSince)
    put(machine.openUser)
    put(machine.openHalted)
  }
}

// MARK: - Reading

/// Takes every number for what a hostile file might hold: lists are bounded, keys must ascend.
private struct IntervalReader {
  /// More than an aggregator has slots, several times.
  static let mostThreads = 65536
  static let mostStreams = 65536
  static let mostVMs = 65536
  static let longestText = 4096

  private let bytes: UnsafeRawBufferPointer
  private var position = 0
  /// How many settings there are.
  var settings = 1
  private var version: UInt8 = IntervalCounts.version
  /// Time halted was told of vCPUs and not of exit reasons.
  private(set) var isHaltShared = false

  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  var remaining: Int { bytes.count - position }

  func error(_ message: String) -> IntervalCountsError { IntervalCountsError(offset: position, message: message) }

  mutating func readVersion() throws(IntervalCountsError) {
    version = try byte()
    guard (1...IntervalCounts.version).contains(version) else {
      throw error("sums of version \(version), 1 to \(IntervalCounts.version) can be read")
    }
  }

  mutating func byte() throws(IntervalCountsError) -> UInt8 {
    guard position < bytes.count else { throw error("the sums are cut off") }
    position += 1
    return bytes[position - 1]
  }

  mutating func number() throws(IntervalCountsError) -> UInt64 {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while true {
      let byte = try byte()
      if shift == 63, byte > 1 { throw error("a number of more than 64 bits") }
      value |= UInt64(byte & 0x7f) &<< shift
      if byte & 0x80 == 0 {
        // One form for each number, so that equal sums have equal bytes.
        if byte == 0, shift > 0 { throw error("a number with leading zeros") }
        return value
      }
      shift += 7
    }
  }

  mutating func signed() throws(IntervalCountsError) -> Int64 {
    let value = try number()
    return Int64(bitPattern: value >> 1) ^ -Int64(bitPattern: value & 1)
  }

  mutating func difference() throws(IntervalCountsError) -> UInt64 { UInt64(bitPattern: try signed()) }

  mutating func narrow<T: FixedWidthInteger>(_ type: T.Type) throws(IntervalCountsError) -> T {
    guard let value = T(exactly: try number()) else { throw error("a number of more than \(T.bitWidth) bits") }
    return value
  }

  mutating func int32() throws(IntervalCountsError) -> Int32 {
    guard let value = Int32(exactly: try signed()) else { throw error("a number of more than 32 bits") }
    return value
  }

  mutating func flag() throws(IntervalCountsError) -> Bool {
    switch try byte() {
    case 0: return false
    case 1: return true
    default: throw error("neither 0 nor 1")
    }
  }

  mutating func optional() throws(IntervalCountsError) -> UInt64? { try flag() ? try number() : nil }

  mutating func optional<T: FixedWidthInteger>(_ type: T.Type) throws(IntervalCountsError) -> T? {
    try flag() ? try narrow(type) : nil
  }

  mutating func count(limit: Int) throws(IntervalCountsError) -> Int {
    // Every element is a byte at least.
    guard let count = Int(exactly: try number()), count <= min(limit, remaining) else {
      throw error("a list longer than the sums, or than \(limit)")
    }
    return count
  }

  mutating func list<Element>(
    limit: Int, _ element: (inout IntervalReader, Int) throws(IntervalCountsError) -> Element
  ) throws(IntervalCountsError) -> [Element] {
    let count = try count(limit: limit)
    var list: [Element] = []
    list.reserveCapacity(min(count, 1024))
    for index in 0..<count { list.append(try element(&self, index)) }
    return list
  }

  mutating func text() throws(IntervalCountsError) -> String {
    let count = try count(limit: Self.longestText)
    defer { position += count }
    return String(decoding: bytes[position..<position + count], as: UTF8.self)
  }

  mutating func optionalText() throws(IntervalCountsError) -> String? { try flag() ? try text() : nil }

  mutating func settingNumber(from lowest: Int = 1) throws(IntervalCountsError) -> VCPUSetting {
    let number = try narrow(Int.self)
    guard (lowest...settings).contains(number) else { throw error("setting \(number) of \(settings)") }
    return VCPUSetting(rawValue: number)
  }

  mutating func renaming() throws(IntervalCountsError) -> SettingRenaming? {
    try flag() ? SettingRenaming(from: try settingNumber(), to: try settingNumber()) : nil
  }

  private mutating func word() throws(IntervalCountsError) -> UInt32? {
    if version == 1 { return try optional(UInt32.self) }
    let value = try number()
    if value == 0 { return nil }
    guard let exact = UInt32(exactly: value - 1) else { throw error("a number of more than 32 bits") }
    return exact
  }

  mutating func words() throws(IntervalCountsError) -> ControlSetting {
    var words = ControlSetting(
      pin: try word(), primary: try word(), secondary: try word(), tertiary: try optional(UInt64.self),
      exit: try word(), entry: try word())
    if try flag() {
      var intercepts = SIMD8<UInt32>()
      for index in 0..<8 { intercepts[index] = try narrow(UInt32.self) }
      words.intercepts = intercepts
    }
    return words
  }

  mutating func setting(_ index: Int) throws(IntervalCountsError) -> SettingDescription {
    var description = SettingDescription(setting: VCPUSetting(rawValue: index + 1))
    switch try byte() {
    case 0: description.apicVirtualization = .asFound
    case 1: description.apicVirtualization = .inhibited
    case 2: description.apicVirtualization = .active
    default: throw error("an unknown state of APIC virtualization")
    }
    if try flag() {
      description.words = try words()
      description.number = numbered + 1
      numbered += 1
    }
    return description
  }
  private var numbered = 0

  mutating func stream() throws(IntervalCountsError) -> PageStream {
    PageStream(cpu: Int(try narrow(UInt32.self)), buffer: try text())
  }

  mutating func loss() throws(IntervalCountsError) -> StreamSum {
    var loss = StreamSum(stream: try stream(), lost: try number(), uncounted: try number())
    if version == 1, let counter = try optional() {
      loss.lost = max(loss.lost, counter)
      loss.uncounted = 0
    }
    return loss
  }

  mutating func time() throws(IntervalCountsError) -> TimeSplit {
    var time = TimeSplit()
    time.guest = try number()
    time.kernel = try number()
    time.user = try number()
    time.halted = try number()
    return time
  }

  mutating func thread(_ tid: Int32, isEnded: Bool) throws(IntervalCountsError) -> ThreadSum {
    let vcpuID = try optional(UInt32.self)
    let setting = try settingNumber(from: isEnded ? 0 : 1)
    guard !isEnded || setting.rawValue == 0 else { throw error("ended threads in a setting") }
    var thread = ThreadSum(tid: tid, vcpuID: vcpuID, setting: setting)
    thread.renaming = try renaming()
    thread.changes = try list(limit: VCPUSlot.mostChanges) { reader, _ throws(IntervalCountsError) in
      let setting = try reader.settingNumber()
      let previous: VCPUSetting? = try reader.flag() ? try reader.settingNumber() : nil
      return SettingChange(setting: setting, previous: previous, timestamp: try reader.number())
    }
    thread.time = try time()
    var last = 0
    thread.residencies = try list(limit: SettingRegistry.limit) { reader, _ throws(IntervalCountsError) in
      var residency = ResidencyCounts(setting: try reader.settingNumber())
      guard residency.setting.rawValue > last else { throw reader.error("settings that do not ascend") }
      last = residency.setting.rawValue
      residency.duration = try reader.difference()
      residency.time = try reader.time()
      var key: UInt64?
      residency.reasons = try reader.list(limit: ReasonIndex.capacity) { reader, _ throws(IntervalCountsError) in
        let reason = try reader.reason()
        guard key.map({ reason.key > $0 }) ?? true else { throw reader.error("exit reasons that do not ascend") }
        key = reason.key
        return reason
      }
      reader.shareHalts(&residency)
      return residency
    }
    return thread
  }

  /// Version 1 has the time halted of the vCPU: HLT had it, as far as its handling time reaches.
  private mutating func shareHalts(_ residency: inout ResidencyCounts) {
    guard version == 1, residency.time.halted > 0 else { return }
    isHaltShared = true
    var left = residency.time.halted
    for index in residency.reasons.indices
    where ReasonCode(isa: residency.reasons[index].isa, code: residency.reasons[index].code).halts {
      let part = min(left, residency.reasons[index].exits.handling)
      residency.reasons[index].exits.halted = part
      left -= part
    }
  }

  private mutating func exits() throws(IntervalCountsError) -> ExitCounts {
    var exits = ExitCounts(count: try difference())
    for figure in 1..<ExitCounts.figureCount { exits[figure: figure] = try number() }
    return exits
  }

  private mutating func reason() throws(IntervalCountsError) -> ReasonCounts {
    var reason = ReasonCounts(isa: try narrow(UInt32.self), code: try narrow(UInt32.self))
    if version == 1 {
      reason.exits.count = try number()
      reason.unlocated = try number()
      reason.paired = try number()
      reason.exits.handling = try number()
    } else {
      reason.exits = try exits()
      reason.unlocated = try number()
      reason.paired = try number()
    }
    if try flag() {
      reason.minimum = try number()
      let (maximum, overflow) = reason.minimum.addingReportingOverflow(try number())
      guard !overflow else { throw error("a time of more than 64 bits") }
      reason.maximum = maximum
    }
    var bucket = 0
    reason.histogram = try list(limit: Histogram.bucketCount) { reader, index throws(IntervalCountsError) in
      let step = try reader.narrow(UInt16.self)
      bucket += Int(step)
      guard bucket < Histogram.bucketCount, index == 0 || step > 0 else {
        throw reader.error("buckets that do not ascend")
      }
      return BucketSum(bucket: bucket, count: try reader.number())
    }
    var control: UInt16?
    reason.charges = try list(limit: 1024) { reader, _ throws(IntervalCountsError) in
      let next = try reader.narrow(UInt16.self)
      guard control.map({ next > $0 }) ?? true else { throw reader.error("controls that do not ascend") }
      control = next
      let exits =
        reader.version == 1
        ? ExitCounts(count: try reader.difference(), handling: try reader.number()) : try reader.exits()
      return ChargeCounts(control: ControlID(rawValue: next), exits: exits)
    }
    reason.details = try details()
    if version == 1 {
      reason.instructionPointers = try frequentValues(total: reason.exits.count &- reason.unlocated)
    } else {
      reason.instructionPointers = try details()
    }
    return reason
  }

  private mutating func details() throws(IntervalCountsError) -> DetailSum {
    var details = DetailSum(entries: try entries(limit: Aggregator.detailLimit))
    if try flag() {
      details.isApproximate = true
      details.evicted = try number()
      details.mostEvicted = try number()
    }
    return details
  }

  /// Version 1 has what `FrequentValues` kept, without a word on what it did not keep.
  private mutating func frequentValues(total: UInt64) throws(IntervalCountsError) -> DetailSum {
    var values = FrequentValues()
    defer { values.deallocate() }
    values.fill(try entries(limit: FrequentValues.capacity))
    return values.take(total: total)
  }

  private mutating func entries(limit: Int) throws(IntervalCountsError) -> [DetailTable.Entry] {
    var key: UInt64 = 0
    return try list(limit: limit) { reader, index throws(IntervalCountsError) in
      let (next, overflow) = key.addingReportingOverflow(try reader.number())
      guard !overflow, index == 0 || next > key else { throw reader.error("values that do not ascend") }
      key = next
      let count = try reader.number()
      let top: UInt64 = try reader.flag() ? 1 << 63 : 0
      let entry = DetailTable.Entry(
        key: key, count: count >> 1 | top, error: count & 1 == 0 ? 0 : try reader.number())
      guard entry.count != 0 else { throw reader.error("a value that did not occur") }
      return entry
    }
  }

  mutating func open() throws(IntervalCountsError) -> OpenState {
    var state = OpenState()
    // Version 1 numbers losses as they come: what a thread's last event came after is told by comparing.
    let allLosses = version == 1 ? try narrow(UInt32.self) : 0
    var losses: [UInt32] = []
    state.streams = try list(limit: Self.mostStreams) { reader, _ throws(IntervalCountsError) in
      let stream = try reader.stream()
      if reader.version == 1 { losses.append(try reader.narrow(UInt32.self)) }
      return OpenStream(
        stream: stream, isInGap: try reader.flag(), page: try reader.optional(),
        counted: try reader.optional(UInt32.self))
    }
    let isInGap = state.streams.contains(where: \.isInGap)
    state.words = try list(limit: Self.mostThreads) { reader, _ throws(IntervalCountsError) in
      ThreadWords(tid: try reader.int32(), words: try reader.words())
    }
    state.machines = try machines()
    var last: Int32?
    state.threads = try list(limit: Self.mostThreads) { reader, _ throws(IntervalCountsError) in
      let thread = try reader.openThread(losses, allLosses, isInGap: isInGap)
      guard last.map({ thread.tid > $0 }) ?? true else { throw reader.error("thread ids that do not ascend") }
      last = thread.tid
      return thread
    }
    return state
  }

  private mutating func machines() throws(IntervalCountsError) -> MachineRegistry {
    var machines = MachineRegistry()
    machines.lastVM = Int(try narrow(UInt32.self))
    for _ in 0..<(try count(limit: Self.mostVMs)) {
      let number = Int(try narrow(UInt32.self))
      let isPresent = try flag()
      var vm = HostVM(pid: try int32())
      vm.fd = try optional(UInt32.self).map { Int32(bitPattern: $0) }
      vm.name = try optionalText()
      vm.vmm = try optionalText()
      vm.vcpus = try list(limit: Self.mostThreads) { reader, _ throws(IntervalCountsError) in
        HostVCPU(id: try reader.optional(UInt32.self), tid: try reader.int32(), threadName: try reader.optionalText())
      }
      // What somebody else wrote, made fit for a terminal.
      machines.restore(vm.map { sanitized($0) }, number: number, isPresent: isPresent)
    }
    for _ in 0..<(try count(limit: Self.mostThreads)) {
      machines.restore(thread: try int32(), vm: Int(try narrow(UInt32.self)), isPresent: try flag())
    }
    return machines
  }

  private mutating func openThread(
    _ losses: [UInt32], _ allLosses: UInt32, isInGap: Bool
  ) throws(IntervalCountsError) -> OpenThread {
    var thread = OpenThread(tid: try int32())
    thread.vcpuID = try optional(UInt32.self)
    guard let activity = VCPUActivity(rawValue: try byte()) else { throw error("an unknown activity") }
    thread.machine.activity = activity
    if try flag() {
      guard let kind = DetailKind(rawValue: try byte()) else { throw error("an unknown kind of detail") }
      thread.machine.awaited = kind
    }
    let flags = try byte()
    guard flags < (version == 1 ? 8 : 64) else { throw error("unknown flags of a thread") }
    thread.machine.wasOffKernel = flags & 1 != 0
    thread.machine.isInUserSpace = flags & 2 != 0
    thread.isSettingRead = flags & 4 != 0
    thread.machine.isHaltedInUserSpace = flags & 32 != 0
    var hasLost = (onStream: flags & 8 != 0, anywhere: flags & 16 != 0)
    let stream = try narrow(UInt32.self)
    if version == 1 {
      let lost = try narrow(UInt32.self)
      hasLost.onStream = !losses.indices.contains(Int(stream)) || losses[Int(stream)] != lost
      hasLost.anywhere = try narrow(UInt32.self) != allLosses || isInGap
    }
    thread.machine.mark = LossMark(stream: stream, hasLost: hasLost)
    thread.machine.since = try number()
    thread.setting = try settingNumber()
    thread.settingSince = try number()
    thread.past = try list(limit: SettingRegistry.limit) { reader, _ throws(IntervalCountsError) in
      try reader.settingNumber()
    }
    if try flag() {
      thread.exitSetting = try settingNumber()
      // Version 1 repeats which reason it is.
      if version == 1 { for _ in 0..<2 { _ = try narrow(UInt32.self) } }
    }
    thread.charge = try optional(UInt16.self).map { ControlID(rawValue: $0) }
    thread.machine.lastExitAt = try number()
    thread.machine.lastExit.reason = try narrow(UInt32.self)
    thread.machine.lastExit.isa = ISA(rawValue: try narrow(UInt32.self))
    thread.machine.lastExit.interruptionInformation = try narrow(UInt32.self)
    thread.machine.lastExit.errorCode = try narrow(UInt32.self)
    thread.machine.lastExit.rip = try number()
    thread.machine.lastExit.info1 = try number()
    thread.machine.lastExit.info2 = try number()
    thread.machine.userSince = try number()
    thread.machine.openUser = try number()
    thread.machine.openHalted = try number()
    return thread
  }
}
