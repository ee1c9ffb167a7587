import Foundation
import Testing

@testable import Aggregator
@testable import Recording
@testable import Session

private let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .appendingPathComponent("Fixtures")
/// `vmctop record --level summary --interval 0.5` of version 1, on kvm_amd of Linux 6.12, beside a guest that counted its own
/// exits. It is never written anew.
private let path = fixtures.appendingPathComponent("recording-1/summary.vmctop").path
/// The same of version 2, beside two guests that halt: `exitgen --cpuid 211 --out 97 --vmcall 13 --hlt 61 --laps 3` and, without
/// a local APIC in the kernel, `--cpuid 307 --in 53 --hlt 41 --user-hlt`. It is never written anew.
private let secondPath = fixtures.appendingPathComponent("recording-2/summary.vmctop").path

/// Exits by SVM exit code as the guest counted them: CPUID, IOIO, VMMCALL, nested page faults.
private let guestCounts: [UInt32: UInt64] = [0x72: 1477, 0x7b: 686, 0x81: 91, 0x400: 2]
/// Physical interrupts, which no guest can count.
private let interrupts: UInt32 = 0x60

@Suite("A summary of version 1") struct SummaryVersionTests {
  @Test("opens for ever, with as many exits of each reason as its guest made") func exits() throws {
    let session = try Session(.file(path: path))
    let snapshot = session.readAll()
    #expect(session.damage.isEmpty)
    #expect(snapshot.events == 8856)
    #expect(snapshot.losses.lost == 0)
    #expect(snapshot.losses.uncounted == 0)
    #expect(snapshot.total.reasons.allSatisfy { $0.isa == 2 })
    var counts = Dictionary(uniqueKeysWithValues: snapshot.total.reasons.map { ($0.code, $0.count) })
    #expect(counts.removeValue(forKey: interrupts) == 6)
    #expect(counts == guestCounts)
    #expect(snapshot.total.exits == 2262)
    var events: [String: UInt64] = [:]
    for event in snapshot.eventCounts where event.count > 0 { events[event.name] = event.count }
    let expected: [String: UInt64] = [
      "kvm_exit": 2262, "kvm_entry": 2262, "kvm_fpu": 1384, "kvm_userspace_exit": 692, "kvm_page_fault": 2,
      "kvm_cpuid": 1477, "kvm_pio": 686, "kvm_hypercall": 91,
    ]
    #expect(events == expected)
  }

  @Test("still says of what host, VM and settings it is") func names() throws {
    let snapshot = try Session(.file(path: path)).readAll()
    #expect(snapshot.source.hostName == "(none)")
    #expect(snapshot.source.kernelRelease == "6.12.117+deb12-amd64")
    #expect(snapshot.source.backend == "kvm_amd")
    try #require(snapshot.vms.count == 1)
    #expect(snapshot.vms[0].pid == 270)
    #expect(snapshot.vms[0].vmm == "exitgen")
    try #require(snapshot.vms[0].vcpus.count == 1)
    let vcpu = snapshot.vms[0].vcpus[0]
    #expect(vcpu.id == 0)
    #expect(vcpu.tid == 273)
    // Nothing was known of the controls until they were read; what had been counted by then is the read setting's.
    #expect(snapshot.settings.map(\.label) == ["as found", "#1"])
    #expect(vcpu.setting == snapshot.settings[1].setting)
    #expect(snapshot.settings[1].words?.intercepts?[3] == 0xbd4c_8027)
    #expect(snapshot.total.settings.filter { $0.count > 0 }.map(\.count) == [2262])
  }

  /// The numbers of controls, of buckets and of reasons are part of the format.
  @Test("still charges its exits to the same controls, with the same times and details") func meanings() throws {
    let snapshot = try Session(.file(path: path)).readAll()
    let charged = snapshot.total.controls.filter { $0.count > 0 }.map { "\($0.count) \($0.control.name)" }
    #expect(
      charged == [
        "1477 INTERCEPT_CPUID", "686 INTERCEPT_IOIO_PROT", "91 INTERCEPT_VMMCALL", "6 INTERCEPT_INTR",
        "2 NPF_NOT_PRESENT",
      ])
    let cpuid = try #require(snapshot.total.reasons.first { $0.code == 0x72 })
    #expect(cpuid.handling.paired == 1477)
    #expect(cpuid.handling.total == 45_148_988)
    #expect(cpuid.handling.min == 12_785)
    #expect(cpuid.handling.max == 6_475_046)
    // The 739th of 1477 is in bucket 312, whose middle is 2^13 + 24 * 2^8 + 2^7 ns.
    #expect(cpuid.handling.p50 == 14_464)
    let ports = try #require(snapshot.total.reasons.first { $0.code == 0x7b }?.details.first { $0.kind == .port })
    #expect(ports.entries.map(\.value) == [0x3f8, 0x5f0])
    #expect(ports.entries.map(\.count) == [679, 7])
    #expect(snapshot.total.time.guest == 71_215_582)
  }

  @Test("has sums of level 1 that are those of level 0 merged") func levels() throws {
    let (lowest, upper) = try checkedLevels(path)
    #expect(lowest.count == 33)
    #expect(upper.map(\.exits) == [0, 2262])
    // What version 1 does not tell is HLT's, of which there is none here, and they are written as any others.
    for sums in lowest + upper {
      #expect(!sums.isHaltShared)
      #expect(try IntervalCounts(bytes: sums.bytes()) == sums)
    }
  }
}

/// The sums of a recording, of which those of level 1 are those of level 0 merged.
private func checkedLevels(_ path: String) throws -> (lowest: [IntervalCounts], upper: [IntervalCounts]) {
  let file = try RecordingFile(path: path)
  let lowest = try file.sums(level: 0).map { try IntervalCounts(bytes: try #require(file.payload($0))) }
  let upper = try file.sums(level: 1).map { try IntervalCounts(bytes: try #require(file.payload($0))) }
  #expect(upper.count == 2)
  #expect(lowest.allSatisfy { $0.isResumable })
  #expect(upper.allSatisfy { !$0.isResumable })
  #expect(lowest.first?.start == 0)
  for (one, next) in zip(lowest, lowest.dropFirst()) { #expect(one.end == next.start) }
  for (index, whole) in upper.enumerated() {
    let parts = lowest[(16 * index)..<(16 * index + 16)]
    var merged = try #require(parts.first)
    for part in parts.dropFirst() { merged.merge(part) }
    #expect(merged.closed == whole)
    let events = parts.reduce(UInt64(0)) { $0 + $1.events }
    #expect(whole.events == events)
  }
  return (lowest, upper)
}

@Suite("A summary of version 2") struct SecondSummaryVersionTests {
  @Test("opens for ever, with as many exits of each reason as its guests made") func exits() throws {
    let session = try Session(.file(path: secondPath))
    let snapshot = session.readAll()
    #expect(session.damage.isEmpty)
    #expect(snapshot.events == 5953)
    #expect(snapshot.losses.lost == 0)
    #expect(!snapshot.isHaltShared)
    var counts = Dictionary(uniqueKeysWithValues: snapshot.total.reasons.map { ($0.code, $0.count) })
    // Interrupts and windows for them, which no guest can count.
    #expect(counts.removeValue(forKey: interrupts) == 76)
    #expect(counts.removeValue(forKey: 0x64) == 5)
    // CPUID, IOIO, HLT, VMMCALL, nested page faults.
    let made: [UInt32: UInt64] = [0x72: 633 + 307, 0x7b: 294 + 54, 0x78: 183 + 41, 0x81: 39, 0x400: 2 + 2]
    #expect(counts == made)
    #expect(snapshot.vms.map(\.pid) == [190, 191])
    #expect(snapshot.total.settings.filter { $0.count > 0 }.map(\.count) == [1636])
  }

  /// What trace-cmd's text of the same run says of the guest with a local APIC is equal, since kvm_vcpu_wakeup tells how
  /// long; of the other one it is 8,633,082 ns: each buffer reads the clock itself.
  @Test("has the time halted with HLT, whether the kernel or the VMM waited") func halts() throws {
    let snapshot = try Session(.file(path: secondPath)).readAll()
    let halted = snapshot.total.reasons.filter { $0.figures.total.halted > 0 }
    try #require(halted.map(\.code) == [0x78])
    #expect(halted[0].handling.paired == 224)
    #expect(halted[0].handling.total == 279_407_187)
    #expect(halted[0].figures.total.halted == 240_092_961 + 8_613_471)
    let vcpus = snapshot.vms.flatMap(\.vcpus)
    #expect(vcpus.map(\.tid) == [195, 192])
    let times = vcpus.map { snapshot.scopes[$0.scope].time }
    #expect(times.map(\.halted) == [8_613_471, 240_092_961])
    #expect(times.map(\.user) == [9_994_275, 106_134_541])
    let charged = snapshot.total.controls.filter { $0.count > 0 }.map {
      "\($0.count) \($0.control.name) \($0.figures.total.busy)"
    }
    #expect(
      charged == [
        "940 INTERCEPT_CPUID 126091302", "348 INTERCEPT_IOIO_PROT 148337798", "224 INTERCEPT_HLT 30700755",
        "76 INTERCEPT_INTR 159364325", "39 INTERCEPT_VMMCALL 4998283", "5 INTERCEPT_VINTR 2733817",
        "4 NPF_NOT_PRESENT 3602685",
      ])
  }

  @Test("has sums of level 1 that are those of level 0 merged") func levels() throws {
    let (lowest, upper) = try checkedLevels(secondPath)
    #expect(lowest.count == 46)
    let exits = lowest.reduce(UInt64(0)) { $0 + $1.exits }
    #expect(exits == 1636)
    #expect((lowest + upper).allSatisfy { !$0.isHaltShared })
  }

  @Test("is written again byte for byte") func bytes() throws {
    let file = try RecordingFile(path: secondPath)
    let indices = file.indices(of: .sums)
    #expect(indices.count == 48)
    for index in indices {
      let payload = try #require(file.payload(index))
      #expect(payload.first == 2)
      #expect(try IntervalCounts(bytes: payload).bytes() == payload)
    }
  }

  @Test("whose sums are of a later version is damaged, and not empty") func later() throws {
    let file = try RecordingFile(path: secondPath)
    var bytes = RecordingPrefix.encoded()
    for index in file.chunks.indices where ![.index, .end].contains(file.chunks[index].header.kind) {
      var header = file.chunks[index].header
      var payload = try #require(file.payload(index))
      if header.kind == .sums { payload[0] = IntervalCounts.version + 1 }
      header.flags.remove(.zstd)
      header.storedLength = UInt32(payload.count)
      header.rawLength = header.storedLength
      header.payloadChecksum = payload.withUnsafeBytes { crc32c($0) }
      bytes += header.encoded + payload
    }
    let later = FileManager.default.temporaryDirectory.appendingPathComponent("vmctop-\(UUID().uuidString).vmctop")
    try Data(bytes).write(to: later)
    defer { try? FileManager.default.removeItem(at: later) }
    let session = try Session(.file(path: later.path))
    _ = session.readAll()
    let reason = "sums of version \(IntervalCounts.version + 1), 1 to \(IntervalCounts.version) can be read"
    #expect(session.damage.contains { $0.contains(reason) }, "\(session.damage)")
  }
}
