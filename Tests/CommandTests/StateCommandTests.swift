import Aggregator
import FakeKernel
import Foundation
import HostFiles
import Testing
import VCPUState

@testable import vmctop

@Suite("vmctop state")
struct StateCommandTests {
  private func page(_ pattern: String? = nil) throws -> StatePage {
    let host = try FakeHost(vcpus: 2)
    // HLT exits are disabled for the VM, and on in no vCPU.
    host.core.put([0, 1], at: FakeHost.kvm + 0x30)
    host.core.put(UInt32(0xb5a0_6dfa & ~(1 << 7)), at: FakeHost.vcpu(0) + 0x20c)
    // Reads of IA32_TIME_STAMP_COUNTER do not exit.
    host.core.put(UInt8(0xfe), at: FakeHost.bitmap(0) + 0x10 / 8)
    try host.publish()
    let reader = try StateReader(roots: host.roots)
    let readings = reader.vcpus()
    return StatePage(
      configuration: reader.hostControls().configuration, vcpus: readings, names: [4242: "web01"],
      pattern: pattern.flatMap { Pattern($0) }, now: (readings.first?.readAt ?? 0) + 5000)
  }

  @Test("prints words beside vmcs_config, why they differ, MSRs that do not exit, and every field or the reason")
  func text() throws {
    let text = try page().text
    for line in [
      "web01 (pid 4242), vCPU 0, on CPU 0", "primary    0xb5a06d7a  0xb5a06dfa   1 bit", "MSRS THAT DO NOT EXIT",
      "CPU_BASED_HLT_EXITING is 0: the VMM disabled these exits", "0x10  IA32_TIME_STAMP_COUNTER  read", "UNAVAILABLE",
    ] { #expect(text.contains(line), "\(line)") }
    #expect(text.contains("vCPU 1"))
    #expect(text.split(separator: "\n").allSatisfy { $0.count <= 170 })
  }

  @Test("prints the fields asked for, by name or encoding, and no more")
  func fields() throws {
    let byName = try page("^GUEST_CR3$").text
    #expect(byName.contains("GUEST_CR3") && byName.contains("0x1000") && !byName.contains("CONTROL WORDS"))
    #expect(!byName.contains("HOST_RIP"))
    #expect(try page("0x6802").text.contains("GUEST_CR3"))
  }

  @Test("as JSON has the keys of its schema and one row for each of the 206 fields")
  func json() throws {
    let data = Data(try jsonLines([try page().json]).utf8)
    let root = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    #expect(root["schema"] as? String == "vmctop/state/1")
    #expect((root["vmcs_config"] as? [String: Any])?["primary"] as? String == "0xb5a06dfa")
    let vcpus = try #require(root["vcpus"] as? [[String: Any]])
    #expect(vcpus.count == 2)
    let fields = try #require(vcpus[0]["fields"] as? [[String: Any]])
    #expect(fields.count == 206)
    let exec = try #require(fields.first { $0["name"] as? String == "CPU_BASED_VM_EXEC_CONTROL" })
    #expect(exec["encoding"] as? String == "0x4002" && exec["value"] as? String == "0xb5a06d7a")
    #expect(exec["provenance"] as? String == "measured" && (exec["age_ns"] as? Int).map { $0 >= 5000 } == true)
    #expect(exec["how"] as? String == "vcpu_vmx.loaded_vmcs->controls_shadow.exec")
    let unavailable = try #require(fields.first { $0["name"] as? String == "GUEST_ACTIVITY_STATE" })
    #expect(unavailable["value"] is NSNull && unavailable["age_ns"] is NSNull)
    let differences = try #require(vcpus[0]["differences"] as? [[String: Any]])
    #expect(differences.map { $0["name"] as? String } == ["CPU_BASED_HLT_EXITING"])
    #expect(differences[0]["measured"] as? Bool == true && differences[0]["value"] as? Bool == false)
    #expect((vcpus[1]["differences"] as? [Any])?.isEmpty == true)
  }

  @Test("ends in one line and the documented status where it cannot read or was asked for nonsense")
  func errors() throws {
    let bad = try vmctop(["state", "--field", "("])
    #expect(bad.status == 2)
    expectOneLine(bad.errors)
    guard !HostFile.isFolder("/sys/module/kvm_intel") else {
      print("SKIPPED: this host has kvm_intel: the refusal without it is not tested")
      return
    }
    for arguments in [["state"], ["controls", "--host"], ["state", "--format", "json", "--vcpu", "0"]] {
      let run = try vmctop(arguments)
      #expect(run.status == 4 && run.output.isEmpty)
      expectOneLine(run.errors)
      #expect(run.errors.contains("kvm_intel"))
    }
  }
}
