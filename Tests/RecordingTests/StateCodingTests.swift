import Architecture
import Foundation
import Testing

@testable import Recording

private func sampleReading(vcpu: UInt32, rip: UInt64) -> VCPUReading {
  let fields = VMCSField.all.map { field in
    FieldReading(
      StateField(field), field.name == "GUEST_RIP" ? rip : UInt64(field.encoding.rawValue) &* 0x1_0001, .measured,
      "loaded_vmcs.\(field.name)")
  }
  var reading = VCPUReading(
    isa: .vmx, pid: 100, vcpuID: vcpu, tid: Int32(200 + vcpu), cpu: vcpu == 0 ? nil : 3, isNested: vcpu == 1,
    readAt: 1_000_000 + rip, fields: fields, words: ControlSetting(pin: 0x7f, primary: .max, tertiary: .max),
    differences: [
      ControlDifference(
        control: ControlID(word: .primary, bit: 7) ?? .unknown, isSet: false, reason: "disabled", isMeasured: true)
    ], msrBitmap: [UInt8](repeating: 0xff, count: 4096))
  reading.others = [
    FieldReading(
      StateField(kind: .kvm, name: "RAX", width: 64, area: .guest, description: "general register"), .max, .stale,
      "regs[0]",
      readAt: 77),
    FieldReading(
      StateField(kind: .kvm, name: "CR8", width: 64, area: .guest, description: ""), nil, .unavailable, "no APIC"),
  ]
  reading.vmcs12 = vcpu == 1 ? Array(fields.prefix(3)) : nil
  reading.reads = 5
  reading.nanoseconds = 12_345
  return reading
}

/// VCPUReading itself is not Equatable.
private func expectSame(_ one: [VCPUReading], _ other: [VCPUReading], sourceLocation: SourceLocation = #_sourceLocation)
{
  #expect(one.count == other.count, sourceLocation: sourceLocation)
  for (a, b) in zip(one, other) {
    #expect(a.isa == b.isa && a.pid == b.pid && a.vcpuID == b.vcpuID && a.tid == b.tid && a.cpu == b.cpu)
    #expect(a.isNested == b.isNested && a.readAt == b.readAt && a.reads == b.reads && a.nanoseconds == b.nanoseconds)
    #expect(a.fields == b.fields, sourceLocation: sourceLocation)
    #expect(a.others == b.others, sourceLocation: sourceLocation)
    #expect(a.words == b.words && a.differences == b.differences && a.msrBitmap == b.msrBitmap && a.vmcs12 == b.vmcs12)
  }
}

@Suite("The recorded state of vCPUs") struct StateCodingTests {
  @Test("comes back exactly, over keyframes and changes, vCPUs that come and that go") func roundTrip() throws {
    var encoder = StateEncoder()
    var decoder = StateDecoder()
    var generator = Sample.Generator(state: 3)
    var keyframes = 0
    for step in 0..<200 {
      var readings = (0..<UInt32(step % 4)).map { sampleReading(vcpu: $0, rip: UInt64(step) << 12) }
      if step % 3 == 1 { readings.reverse() }
      for index in readings.indices {
        let place = Int.random(in: readings[index].fields.indices, using: &generator)
        readings[index].fields[place].value = step % 5 == 0 ? nil : UInt64.random(in: 0...UInt64.max, using: &generator)
        readings[index].fields[place].provenance = Provenance.allCases.randomElement(using: &generator) ?? .stale
        if step % 7 == 0 { readings[index].vmcs12 = nil }
        if step % 11 == 0 { readings[index].msrBitmap = nil }
      }
      let bytes = encoder.encode(readings)
      if encoder.step == 0 { keyframes += 1 }
      try decoder.decode(bytes)
      #expect(decoder.isKnown)
      expectSame(decoder.readings, readings)
    }
    #expect(keyframes > 3)
  }

  @Test("takes little room where little changes") func size() throws {
    var encoder = StateEncoder()
    let first = encoder.encode([sampleReading(vcpu: 0, rip: 1)])
    let next = encoder.encode([sampleReading(vcpu: 0, rip: 2)])
    #expect(first.count < 50_000)
    #expect(next.count < 80)
  }

  @Test("is unknown from a missing chunk to the next keyframe") func missing() throws {
    var encoder = StateEncoder()
    var chunks: [[UInt8]] = []
    for step in 0..<10 {
      if step == 7 { encoder.startAfresh() }
      chunks.append(encoder.encode([sampleReading(vcpu: 0, rip: UInt64(step))]))
    }
    var decoder = StateDecoder()
    for (step, chunk) in chunks.enumerated() where step != 4 {
      try decoder.decode(chunk)
      #expect(decoder.isKnown == (step < 4 || step >= 7))
      #expect(decoder.readings.isEmpty == !decoder.isKnown)
    }
  }

  @Test("survives any bytes without a trap") func hostile() {
    var encoder = StateEncoder()
    let chunks = (0..<4).map {
      encoder.encode((0..<2).map { sampleReading(vcpu: $0, rip: 1) } + [sampleReading(vcpu: 9, rip: UInt64($0))])
    }
    var generator = Sample.Generator(state: 5)
    for round in 0..<4000 {
      var decoder = StateDecoder()
      for chunk in chunks {
        var chunk = chunk
        for _ in 0..<(1 + round % 3) {
          chunk[Int.random(in: chunk.indices, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
        }
        if round % 5 == 0 { chunk.removeLast(Int.random(in: 0..<chunk.count, using: &generator)) }
        try? decoder.decode(chunk)
      }
    }
    for length in 0..<200 {
      var decoder = StateDecoder()
      try? decoder.decode((0..<length).map { _ in UInt8.random(in: 0...255, using: &generator) })
    }
  }

  @Test("is found in a file at any time") func inFile() throws {
    let folder = try TemporaryFolder()
    let writer = try RecordingWriter(to: .file(path: folder.file()), header: Sample.header)
    for step in 1...150 { writer.write(states: [sampleReading(vcpu: 0, rip: UInt64(step))], at: UInt64(step) * 1000) }
    writer.finish()
    let file = try RecordingFile(path: folder.file())
    #expect(file.states(at: 999) == nil)
    for step in [1, 2, 59, 60, 61, 62, 149, 150] {
      let state = try #require(file.states(at: UInt64(step) * 1000 + 500))
      expectSame(state.readings, [sampleReading(vcpu: 0, rip: UInt64(step))])
    }
  }
}

@Suite("Records of hostile bytes") struct RecordFuzzTests {
  private func check<R: RecordingRecord>(_ record: R) {
    let good = record.encoded()
    #expect((try? R(decoding: good))?.encoded() == good, "\(R.kind)")
    var generator = Sample.Generator(state: 11)
    for _ in 0..<2000 {
      var bytes = good
      if !bytes.isEmpty {
        bytes[Int.random(in: bytes.indices, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
        bytes.removeLast(Int.random(in: 0..<bytes.count, using: &generator) / 4)
      }
      _ = try? R(decoding: bytes)
      let length = Int.random(in: 0...64, using: &generator)
      _ = try? R(decoding: (0..<length).map { _ in UInt8.random(in: 0...255, using: &generator) })
    }
  }

  @Test("give names that are fit for a terminal") func names() throws {
    let written = HostView(vms: [
      HostVM(pid: 1, name: "\u{1b}[2Ja", vmm: "b\n", vcpus: [HostVCPU(id: 0, tid: 2, threadName: "\u{7f}c")])
    ])
    let vm = try #require(try HostView(decoding: written.encoded()).vms.first)
    for name in [vm.name, vm.vmm, vm.vcpus[0].threadName] {
      #expect(try #require(name).unicodeScalars.allSatisfy { $0.properties.generalCategory != .control })
    }
  }

  @Test("are refused or read, never a trap, and what was written is read as it was") func all() {
    check(Sample.header)
    check(
      HostView(vms: [
        HostVM(pid: -1, fd: nil, name: "web", vcpus: [HostVCPU(id: .max, tid: .max)])
      ]))
    check(LossRecord(cpus: [LossRecord.CPU(cpu: .max, lost: .max, read: 0)]))
    check(ClockRecord(trace: nil, realtime: .max, monotonic: 0))
    check(WordsRecord(words: [7: ControlSetting(intercepts: SIMD8(repeating: .max))]))
    check(GapRecord(isOpen: true, cpus: [GapRecord.CPU(cpu: 3, events: .max)]))
    var controls = HostControls()
    controls.configuration.words.pin = 0x16
    controls.capabilities.words[.pin] = ControlCapability(word: .pin, allowed0: 1, allowed1: .max)
    controls.capabilities.flags = ["ept", "vpid"]
    controls.capabilities.missing = "no msr"
    check(ControlsRecord(controls))
    check(NoteRecord("text", isError: true))
    check(ThreadNamesRecord(names: [.min: "", .max: "x"]))
    check(EndRecord(indexDistance: 1, startDistance: 2, reason: .failed, commandStatus: 4, dropped: .max))
  }
}
