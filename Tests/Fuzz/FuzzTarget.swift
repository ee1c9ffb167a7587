import Aggregator
import Architecture
import CDemo
import CRecording
import Glibc
import Recording
import Report
import TraceFormat

/// A format of which the bytes come from outside.
enum FuzzTarget: String, CaseIterable {
  /// Ring-buffer sub-buffers of one CPU, with the event formats of the bundled recording.
  case pages
  /// trace.dat of trace-cmd.
  case traceDat = "trace.dat"
  /// perf.data of perf record.
  case perfData = "perf.data"
  /// vmctop's own recordings, as a file and as a stream. Checksums are made right first, or nothing behind them would be reached.
  case recording
  /// The kernel's dumps of a VMCS or VMCB, and the rules of VM entry.
  case dump
  /// The `format` file of an event.
  case format

  /// Reads one input to its end: whatever is in it, the only ways out are an error, damage, or figures.
  func run(_ bytes: UnsafeRawBufferPointer) {
    switch self {
    case .pages:
      let metadata = Self.demo.metadata
      count(BufferedPages(bytes, size: metadata.page.subBufferSize), metadata)
    case .traceDat:
      if let file = try? TraceFile(borrowing: bytes) { count(file, file.metadata, damage: file.damage) }
    case .perfData:
      if let file = try? PerfDataFile(bytes: Array(bytes)) { count(file, file.metadata, damage: file.damage) }
    case .recording:
      withFile(of: Self.withChecksums(bytes)) { descriptor in
        let stream = RecordingStream(descriptor: descriptor)
        reading: while let item = try? stream.next(milliseconds: 0) {
          switch item {
          case .chunk: continue
          case .nothing, .woken, .end: break reading
          }
        }
        if let file = try? openRecording(path: "/proc/self/fd/\(descriptor)") {
          count(file, file.metadata, damage: file.damage)
        }
      }
    case .dump:
      var parser = VMCSDumpParser()
      parser.feed(bytes)
      for dump in parser.finish().dumps {
        _ = VMCSDumpPage.text(dump, check: VMEntryCheck(dump), listsUnchecked: true)
      }
    case .format: _ = try? EventFormat.parse(bytes: Array(bytes), system: "kvm")
    }
  }

  /// Counts all events, and prints what was counted, twice.
  private func count(_ source: some PageSource, _ metadata: TraceMetadata, damage: [TraceDamage] = []) {
    guard var counter = try? Counter(metadata: metadata) else { return }
    counter.run(source)
    let report = TriageReport(
      snapshot: counter.snapshot(), knobs: Knobs(), vocabulary: .catalogue, damage: damage.map { "\($0)" })
    _ = report.page()
    _ = try? report.json()
  }

  // MARK: - Inputs to begin with

  /// Valid inputs, made of the bundled recording and of the files in Tests/Fixtures.
  func seeds() -> [[UInt8]] {
    let fixtures = "Tests/Fixtures"
    switch self {
    case .pages:
      let size = Self.demo.metadata.page.subBufferSize
      let raw = read("\(fixtures)/intel-6.1/trace_pipe_raw.cpu0")
      return stride(from: 0, to: min(raw.count / size * size, 16 * size), by: 2 * size).map {
        Array(raw[$0..<$0 + 2 * size])
      }
    case .traceDat: return TraceCompression.allCases.map(smallTrace) + [read("\(fixtures)/trace.dat-6/small.dat")]
    case .perfData: return ["lossy", "packed", "plain"].map { read("\(fixtures)/perf-6.12/\($0).data") }
    case .recording:
      return ["recording-1/all-kinds", "recording-1/no-vmx-host", "recording-1/summary", "recording-2/summary"].flatMap
      {
        let packed = read("\(fixtures)/\($0).vmctop")
        return [packed, Self.unpacked(packed)]
      }
    case .dump: return [read("\(fixtures)/intel-6.1/dump_vmcs.txt")]
    case .format:
      return ["kvm_exit", "kvm_entry", "kvm_msr", "kvm_page_fault", "kvm_nested_vmexit", "kvm_pio"].map {
        read("\(fixtures)/intel-6.1/formats/\($0).format")
      }
    }
  }

  /// The first pages of the bundled recording, with the formats of a few events, as trace.dat of version 7.
  private func smallTrace(_ compression: TraceCompression) -> [UInt8] {
    let path = "/dev/shm/vmctop-fuzz-\(getpid())"
    defer { unlink(path) }
    var contents = TraceFileContents(of: Self.demo)
    let wanted: Set = ["kvm_entry", "kvm_exit", "kvm_msr", "kvm_page_fault"]
    contents.texts.formats.removeAll { format in format.name.map { !wanted.contains($0) } ?? true }
    contents.texts.ftraceFormats = []
    do {
      let writer = try TraceFileWriter(path: path, contents: contents, compression: compression)
      try writer.beginBuffer()
      for (stream, place) in Self.demo.streams.enumerated().prefix(2) {
        try writer.beginCPU(place.cpu)
        for _ in 0..<2 { if let page = Self.demo.nextPage(stream: stream) { try writer.append(page) } }
      }
      try writer.finish()
    } catch {
      fatalError("cannot write \(path): \(error)")
    }
    return read(path)
  }

  private func read(_ path: String) -> [UInt8] {
    guard let file = fopen(path, "r") else {
      complain("cannot read \(path): run this in the root of the project")
      exit(1)
    }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var part = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = fread(&part, 1, part.count, file)
      if count == 0 { return bytes }
      bytes += part[..<count]
    }
  }

  nonisolated(unsafe) private static let demoBytes = UnsafeRawBufferPointer(start: cdemo_bytes(), count: cdemo_size())

  nonisolated(unsafe) private static let demo: TraceFile = {
    guard let file = try? TraceFile(borrowing: demoBytes) else { fatalError("the bundled recording cannot be read") }
    return file
  }()

  // MARK: - Recordings

  private static let mark: [UInt8] = [0xd7] + Array("vmchunk".utf8)
  private static let headerSize = 56

  /// Calls with the place of each thing that looks like a chunk's header, and how long its payload says it is, cut to what is there.
  private static func forEachChunk(_ bytes: [UInt8], _ body: (_ place: Int, _ payload: Range<Int>) -> Void) {
    var place = 0
    while place + headerSize <= bytes.count {
      guard bytes[place] == mark[0], bytes[place..<place + mark.count].elementsEqual(mark) else {
        place += 1
        continue
      }
      let length = bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: place + 12, as: UInt32.self) }
      let start = place + headerSize
      let payload = start..<start + min(Int(UInt32(littleEndian: length)), bytes.count - start)
      body(place, payload)
      place = payload.upperBound
    }
  }

  private static func put(_ checksum: UInt32, at place: Int, in bytes: inout [UInt8]) {
    withUnsafeBytes(of: checksum.littleEndian) { bytes.replaceSubrange(place..<place + 4, with: $0) }
  }

  private static func checksum(_ bytes: ArraySlice<UInt8>) -> UInt32 {
    bytes.withUnsafeBytes { $0.baseAddress.map { start in crecording_crc32c(0, start, bytes.count) } ?? 0 }
  }

  /// The same with the checksums of the beginning, of each chunk's header and of its payload made right.
  static func withChecksums(_ input: UnsafeRawBufferPointer) -> [UInt8] {
    var bytes = Array(input)
    if bytes.count >= 16 { put(checksum(bytes[..<12]), at: 12, in: &bytes) }
    forEachChunk(bytes) { place, payload in
      put(checksum(bytes[payload]), at: place + 48, in: &bytes)
      put(checksum(bytes[place..<place + 52]), at: place + 52, in: &bytes)
    }
    return bytes
  }

  /// The same recording with no payload packed: what changes in it then is a value, and not what zstd makes of it.
  static func unpacked(_ bytes: [UInt8]) -> [UInt8] {
    var result = Array(bytes.prefix(16))
    withFile(of: bytes) { descriptor in
      let stream = RecordingStream(descriptor: descriptor)
      var places: [Int] = []
      forEachChunk(bytes) { place, _ in places.append(place) }
      for place in places {
        guard case .chunk(_, let payload)? = try? stream.next(milliseconds: 0) else { return }
        var header = Array(bytes[place..<place + headerSize])
        let flags = header[10] & ~ChunkFlags.zstd.lowByte
        header[10] = flags
        for offset in [12, 16] { put(UInt32(payload.count), at: offset, in: &header) }
        result += header + payload
      }
    }
    return result.withUnsafeBytes { withChecksums($0) }
  }
}

extension ChunkFlags {
  fileprivate var lowByte: UInt8 { UInt8(truncatingIfNeeded: rawValue) }
}

/// A file without a name, in memory, that holds these bytes and is gone afterwards.
private func withFile(of bytes: [UInt8], _ body: (_ descriptor: Int32) -> Void) {
  // O_TMPFILE, which glibc's header builds from an expression that is not imported (asm-generic/fcntl.h).
  let descriptor = open("/dev/shm", 0o20_000_000 | O_DIRECTORY | O_RDWR, 0o600)
  guard descriptor >= 0 else { fatalError("no file in /dev/shm: errno \(errno)") }
  defer { close(descriptor) }
  var written = 0
  while written < bytes.count {
    let count = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress.map { $0 + written }, bytes.count - written) }
    guard count > 0 else { fatalError("cannot write a file in /dev/shm: errno \(errno)") }
    written += count
  }
  lseek(descriptor, 0, SEEK_SET)
  body(descriptor)
}

/// The pages of one CPU, one after another in memory; the last one is filled up with zeros.
private final class BufferedPages: PageSource {
  let streams = [PageStream(cpu: 0)]
  private let bytes: UnsafeRawBufferPointer
  private let page: UnsafeMutableRawBufferPointer
  private var place = 0

  init(_ bytes: UnsafeRawBufferPointer, size: Int) {
    self.bytes = bytes
    page = .allocate(byteCount: size, alignment: 16)
  }

  deinit { page.deallocate() }

  func nextPage(stream: Int) -> UnsafeRawBufferPointer? {
    guard place < bytes.count else { return nil }
    let part = UnsafeRawBufferPointer(rebasing: bytes[place..<min(bytes.count, place + page.count)])
    page.initializeMemory(as: UInt8.self, repeating: 0)
    page.copyMemory(from: part)
    place += part.count
    return UnsafeRawBufferPointer(page)
  }
}
