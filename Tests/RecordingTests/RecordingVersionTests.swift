import Architecture
import Foundation
import Testing
import TraceFormat

@testable import Recording

/// Recordings of each version of the format, as they were written then. They are never written anew.
private func fixture(_ name: String) -> String {
  URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("Fixtures/\(name)").path
}

@Suite("A recording of version 1") struct RecordingVersionTests {
  @Test("of a real host opens for ever") func realHost() throws {
    let file = try RecordingFile(path: fixture("recording-1/no-vmx-host.vmctop"))
    #expect(file.isIndexed)
    #expect(file.damage.isEmpty)
    #expect(file.header.clock == "mono")
    #expect(file.header.backend == "kvm_pvm")
    #expect(file.header.kernelRelease?.hasPrefix("6.18") == true)
    #expect(try file.header.metadata().formats.map(\.name).contains("kvm_pio"))
    let pages = try file.pages()
    var count: [String: Int] = [:]
    let names = Dictionary(uniqueKeysWithValues: try file.header.metadata().formats.map { ($0.id, $0.name) })
    for stream in pages.streams.indices {
      while let page = pages.nextPage(stream: stream) {
        var cursor = SubBufferCursor(page: page, layout: pages.layout)
        while cursor.next() { count[names[cursor.payload.loadUnaligned(as: UInt16.self)] ?? "?", default: 0] += 1 }
      }
    }
    // The guest went to user space for 2000 OUTs and one HLT.
    #expect(count["kvm_pio"] == 2000)
    #expect(count["kvm_userspace_exit"] == 2001)
    #expect(count["?"] == nil)
    guard case .whole(let end) = file.ending else {
      Issue.record("\(file.ending)")
      return
    }
    #expect(end.commandStatus == 0)
    #expect(file.latest(LossRecord.self)?.record.cpus.reduce(0) { $0 + $1.lost } == 0)
    #expect(file.latest(ClockRecord.self)?.record.realtime ?? 0 > 1_700_000_000_000_000_000)
  }

  @Test("with each kind of chunk opens for ever") func allKinds() throws {
    let path = fixture("recording-1/all-kinds.vmctop")
    // Only to make the fixture of a new version.
    if getenv("VMCTOP_WRITE_FIXTURES") != nil { try Self.write(path) }
    let file = try RecordingFile(path: path)
    #expect(file.damage.isEmpty)
    var header = Sample.header
    header.identity = file.header.identity
    #expect(file.header == header)
    #expect(try file.allPages() == [0: Sample.pages(cpu: 0, count: 6), 3: Sample.pages(cpu: 3, count: 6)])
    #expect(file.latest(HostView.self)?.record == Self.host)
    #expect(file.latest(LossRecord.self)?.record == LossRecord(cpus: [LossRecord.CPU(cpu: 3, lost: 9, read: 100)]))
    #expect(file.latest(ClockRecord.self)?.record == Self.clock)
    #expect(file.latest(WordsRecord.self)?.record == Self.words)
    #expect(file.latest(ControlsRecord.self)?.record.controls.configuration.words.pin == 0x16)
    #expect(file.latest(ControlsRecord.self)?.record.controls.capabilities.flags == ["ept"])
    #expect(file.latest(NoteRecord.self)?.record == NoteRecord("note", isError: true))
    #expect(file.latest(GapRecord.self)?.record.events == 12)
    #expect(file.commandNames == [100: "CPU 0/KVM"])
    #expect(file.sums(level: 2).compactMap { file.payload($0) } == [[1, 2, 3]])
    let early = try #require(file.states(at: 5000)?.readings.first)
    let late = try #require(file.states()?.readings.first)
    #expect(early.reading("GUEST_RIP")?.value == 0x1000)
    #expect(late.reading("GUEST_RIP")?.value == 0x2000)
    #expect(late.reading("GUEST_RIP")?.how == "kvm_exit")
    #expect(late.reading("GUEST_RIP")?.readAt == 77)
    #expect(late.differences.first?.control.name == "CPU_BASED_HLT_EXITING")
    #expect(late.msrBitmap?.count == 4096)
  }

  private static let host = HostView(vms: [
    HostVM(
      pid: 10, fd: 7, name: "web", vmm: "qemu", vcpus: [HostVCPU(id: 0, tid: 100, threadName: "CPU 0/KVM")])
  ])
  private static let clock = ClockRecord(trace: 4000, realtime: 1_700_000_000_000_000_000, monotonic: 4000)
  private static let words = WordsRecord(words: [
    100: ControlSetting(pin: 0x16, primary: 0xb5a0_6dfa, tertiary: 1 << 40)
  ])

  private static func write(_ path: String) throws {
    try FileManager.default.createDirectory(
      atPath: URL(fileURLWithPath: path).deletingLastPathComponent().path, withIntermediateDirectories: true)
    let writer = try RecordingWriter(to: .file(path: path), header: Sample.header)
    for cpu in [0, 3] { Sample.write(Sample.pages(cpu: cpu, count: 6), cpu: UInt32(cpu), to: writer) }
    writer.write(host, first: 1000)
    writer.write(LossRecord(cpus: [LossRecord.CPU(cpu: 3, lost: 9, read: 100)]), first: 2000)
    writer.write(clock, first: 4000)
    writer.write(words, first: 3000)
    var controls = HostControls()
    controls.configuration.words.pin = 0x16
    controls.capabilities.flags = ["ept"]
    writer.write(ControlsRecord(controls), first: 100)
    writer.write(NoteRecord("note", isError: true), first: 200)
    writer.write(GapRecord(isOpen: false, cpus: [GapRecord.CPU(cpu: 3, events: 12)]), first: 7000, last: 8000)
    writer.write(ThreadNamesRecord(names: [100: "CPU 0/KVM"]), first: 0)
    writer.write(sums: [1, 2, 3], level: 2, first: 1000, last: 9000)
    var reading = VCPUReading(
      isa: .vmx, pid: 10, vcpuID: 0, tid: 100, cpu: 1, isNested: false, readAt: 5000, fields: [],
      words: ControlSetting(pin: 0x16), differences: [], msrBitmap: [UInt8](repeating: 0xff, count: 4096))
    reading.fields = [
      FieldReading(
        StateField(kind: .vmcs, name: "GUEST_RIP", place: 0x681e, width: 64, area: .guest, description: "RIP"), 0x1000,
        .measured, "regs[16]"),
      FieldReading(
        StateField(kind: .vmcs, name: "HOST_CR3", place: 0x6c02, width: 64, area: .host, description: "CR3"), nil,
        .unavailable, "VMREAD only"),
    ]
    reading.differences = [
      ControlDifference(
        control: ControlID.lookup(name: "CPU_BASED_HLT_EXITING")[0], isSet: false, reason: "disabled", isMeasured: true)
    ]
    writer.write(states: [reading], at: 5000)
    reading.fields[0].value = 0x2000
    reading.fields[0].how = "kvm_exit"
    reading.fields[0].readAt = 77
    writer.write(states: [reading], at: 6000)
    let progress = writer.finish()
    #expect(progress.failure == nil)
  }
}
