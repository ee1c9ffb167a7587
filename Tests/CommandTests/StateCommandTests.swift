import Aggregator
import Architecture
import FakeKernel
import Foundation
import HostFiles
import KVMHost
import Report
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

  @Test("shows the VMM's view beside its own: equal, differing, and what only the VMM has")
  func vmm() throws {
    var page = try page()
    let told = QEMURegisters.readings(
      "RIP=1000000000000001 CR3=0000000000001000\r\nCR0=80050033 CPL=3", isa: .vmx,
      readAt: page.vcpus[0].readAt + 12_000_000)
    page.vmm = [
      VMMReading(readAt: page.vcpus[0].readAt + 12_000_000, fields: told),
      VMMReading(readAt: 0, failure: "QEMU has no \u{1b}socket"),
    ]
    let text = page.text
    #expect(text.contains("THE VMM'S VIEW (info registers, 12 ms later)"))
    func row(_ name: String) -> String? {
      text.split(separator: "\n").drop { !$0.hasPrefix("THE VMM") }.first { $0.hasPrefix(name + " ") }.map {
        $0.split(separator: " ").joined(separator: " ")
      }
    }
    #expect(row("GUEST_CR3")?.hasPrefix("GUEST_CR3 0x1000 0x1000") == true && row("GUEST_CR3")?.hasSuffix("=") == true)
    #expect(row("GUEST_RIP")?.hasSuffix("differs") == true)
    #expect(row("CPL") == "CPL 0x3 -")
    #expect(row("CR0")?.hasSuffix("CR0_READ_SHADOW") == true)
    #expect(text.contains("4 registers: ") && text.contains("1 only the VMM has"))
    #expect(text.contains("none  QEMU has no") && !text.contains("\u{1b}"))

    let data = Data(try jsonLines([page.json]).utf8)
    let root = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    let vcpus = try #require(root["vcpus"] as? [[String: Any]])
    let first = try #require(vcpus[0]["vmm"] as? [String: Any])
    #expect(first["failure"] is NSNull)
    let rows = try #require(first["readings"] as? [[String: Any]])
    #expect(rows.map { $0["name"] as? String } == ["GUEST_RIP", "GUEST_CR3", "CR0", "CPL"])
    #expect(rows[0]["encoding"] as? String == "0x681e" && rows[0]["value"] as? String == "0x1000000000000001")
    #expect(rows[0]["how"] as? String == "QMP: info registers" && rows[0]["provenance"] as? String == "measured")
    #expect(rows[2]["encoding"] is NSNull)
    let second = try #require(vcpus[1]["vmm"] as? [String: Any])
    #expect(
      (second["readings"] as? [Any])?.isEmpty == true
        && (second["failure"] as? String)?.hasPrefix("QEMU has no") == true)
  }

  @Test("shows of the VMM's view what was asked for, and nothing of it where nobody asked")
  func vmmOnRequest() throws {
    var page = try page("^GUEST_CR3$")
    #expect(!page.text.contains("VMM'S VIEW"))
    let data = Data(try jsonLines([page.json]).utf8)
    let root = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    #expect((root["vcpus"] as? [[String: Any]])?.allSatisfy { $0["vmm"] is NSNull } == true)
    let told = QEMURegisters.readings("CR3=1000 RAX=5", isa: .vmx, readAt: page.vcpus[0].readAt)
    page.vmm = page.vcpus.map { VMMReading(readAt: $0.readAt, fields: told) }
    #expect(page.text.contains("VMM'S VIEW") && !page.text.contains("RAX"))
    page.vmm = page.vcpus.map { VMMReading(readAt: $0.readAt, fields: told.filter { $0.field.name == "RAX" }) }
    #expect(page.text.contains("none of the fields asked for is in it"))
  }

  @Test("asks each VMM once, by the thread of each vCPU, and says of one that has not run that it cannot")
  func asking() throws {
    var vcpus = try page().vcpus
    vcpus[0].tid = nil
    vcpus[1].tid = 77
    // No process of that number: the one line why.
    let answers = VMMView.ask(
      vcpus, vms: [HostVM(pid: .max, vcpus: [HostVCPU(id: 1, tid: 77)])])
    #expect(answers.count == 2)
    #expect(answers[0].failure?.contains("has not run yet") == true)
    #expect(answers[1].failure?.contains("process \(Int32.max) is gone") == true)
  }

  private func svmPage(_ pattern: String? = nil) throws -> StatePage {
    let host = try FakeSVMHost(vcpus: 2)
    // HLT exits are disabled for the VM; the second vCPU's guest is current.
    host.core.put(UInt64(2), at: FakeSVMHost.kvm + 0x30)
    host.core.put(UInt32(0xbc4c_8027), at: FakeSVMHost.vmcb01(0) + 0xc)
    host.core.put(UInt64(0x1234_5000), at: FakeSVMHost.vmcb01(0) + 0x550)
    host.core.put([0x3f], at: FakeSVMHost.map(0) + 0x174 / 4)
    host.enterL2(1)
    try host.publish()
    let reader = try StateReader(roots: host.roots)
    let readings = reader.vcpus()
    return StatePage(
      configuration: reader.hostControls().configuration, vcpus: readings, names: [4242: "web01"],
      pattern: pattern.flatMap { Pattern($0) }, now: (readings.first?.readAt ?? 0) + 5000)
  }

  @Test("of AMD prints the intercepts beside those of every vCPU, why they differ, and the VMCB")
  func svmText() throws {
    let text = try svmPage().text
    for line in [
      "web01 (pid 4242), vCPU 0, on CPU 0", "3           0xbc4c8027  0xbd4c8027  1 bit",
      "vCPU 1, on CPU 1, L2 is current: its VMCB",
      "INTERCEPT_HLT is 0: the VMM disabled these exits", "save.cr3",
      "GENERAL REGISTERS", "HOST_STATE", "VM_HSAVE_PA",
    ] { #expect(text.contains(line), "\(line)") }
    #expect(text.split(separator: "\n").contains { $0.hasPrefix("0x177 ") && $0.hasSuffix("read, write") })
    #expect(!text.contains("VMCS_CONFIG"))
    let one = try svmPage("^save.cr3$").text
    #expect(one.contains("0x12345000") && !one.contains("INTERCEPTS") && !one.contains("RAX"))
    #expect(try svmPage("0x0550").text.contains("save.cr3"))
  }

  @Test("of AMD as JSON has the same schema: offsets as encodings, intercept words, what KVM keeps beside")
  func svmJSON() throws {
    let data = Data(try jsonLines([try svmPage().json]).utf8)
    let root = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    #expect(root["schema"] as? String == "vmctop/state/1")
    let configured = try #require(root["vmcs_config"] as? [String: Any])
    #expect(configured["primary"] is NSNull)
    #expect((configured["intercepts"] as? [String])?.first == "0x01110011")
    let vcpus = try #require(root["vcpus"] as? [[String: Any]])
    #expect(
      vcpus.map { $0["isa"] as? String } == ["svm", "svm"] && vcpus.map { $0["nested"] as? Bool } == [false, true])
    #expect((vcpus[0]["intercepts"] as? [String])?.count == 6)
    #expect((vcpus[0]["reads"] as? Int).map { $0 > 0 } == true && (vcpus[0]["read_ns"] as? Int).map { $0 > 0 } == true)
    let fields = try #require(vcpus[0]["fields"] as? [[String: Any]])
    let cr3 = try #require(fields.first { $0["name"] as? String == "save.cr3" })
    #expect(cr3["encoding"] as? String == "0x0550" && cr3["value"] as? String == "0x12345000")
    #expect(fields.last?["encoding"] is NSNull && fields.last?["value"] is NSNull)
    let others = try #require(vcpus[0]["other"] as? [[String: Any]])
    #expect(others.first?["name"] as? String == "RAX" && others.first?["encoding"] is NSNull)
  }

  @Test("controls --host lists the intercepts of AMD with what KVM gives every vCPU and the parameter behind it")
  func svmHost() throws {
    let host = try FakeSVMHost(parameters: ["vls": "1"])
    try host.publish()
    let controls = try StateReader(roots: host.roots).hostControls()
    let words = try #require(controls.configuration.words.intercepts)
    let all = ControlID.all.filter { $0.interceptCode != nil }
    let text = try HostControlsPage.intercepts(all, words, controls, .text)
    func row(_ name: String) -> [String] {
      let words = text.split(separator: "\n").first { $0.contains(" \(name) ") }?.split(separator: " ") ?? []
      return words.prefix(3).map(String.init) + [words.dropFirst(3).joined(separator: " ")]
    }
    #expect(row("INTERCEPT_CPUID") == ["0x072", "INTERCEPT_CPUID", "1", "always"])
    #expect(row("INTERCEPT_VMLOAD").dropFirst(2) == ["0", "kvm_amd.vls=1; on for a guest whose CPUID says Intel"])
    #expect(row("INTERCEPT_CR3_READ").dropFirst(2) == ["0", "kvm_amd.npt=Y"])
    #expect(row("INTERCEPT_PAUSE").last?.contains("kvm_amd.pause_filter_thresh=not in this kernel") == true)
    #expect(text.split(separator: "\n").count == all.count + 2)
    let line = try #require(
      try HostControlsPage.intercepts([all[120]], words, controls, .json).split(separator: "\n").first)
    let json = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
    #expect(
      json["name"] as? String == "INTERCEPT_HLT" && json["configured"] as? Bool == true && json["bit"] as? Int == 120)
  }

  @Test("ends in one line and the documented status where it cannot read or was asked for nonsense")
  func errors() throws {
    let bad = try vmctop(["state", "--field", "("])
    #expect(bad.status == 2)
    expectOneLine(bad.errors)
    guard StateReader.module() == nil else {
      print("SKIPPED: this host has kvm_intel or kvm_amd: the refusal without them is not tested")
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
