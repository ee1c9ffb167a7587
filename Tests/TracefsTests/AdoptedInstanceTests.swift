import CSignals
import Foundation
import HostFiles
import Testing
import TraceFormat

@testable import Tracefs

/// An instance on a temporary tree whose control files are plain files: what is written to them can be read back, and the buffers
/// hold what a real host's trace_pipe_raw gave.
@Suite struct AdoptedInstanceTests {
  let tree = Tree()
  let base = "sys/kernel/tracing/instances/vmctop-test"

  init() throws {
    for name in [
      "tracing_on", "trace_clock", "buffer_size_kb", "buffer_subbuf_size_kb", "options/overwrite", "buffer_percent",
    ] {
      tree.file("\(base)/\(name)", "")
    }
    tree.file("\(base)/trace_clock", "[local] global mono boot\n")
    tree.file("\(base)/events/header_page", fixture("header_page"))
    tree.folder("sys/kernel/tracing/events")
    tree.file("sys/devices/system/cpu/online", "0\n")
    tree.file("\(base)/per_cpu/cpu0/trace_pipe_raw", pages)
    tree.file("\(base)/per_cpu/cpu1/trace_pipe_raw", "")
  }

  var pages: [UInt8] { (try? Array(Data(contentsOf: fixtures.appendingPathComponent("trace_pipe_raw.cpu0")))) ?? [] }

  func loadModule(_ events: [String]) {
    tree.file("\(base)/events/kvm/filter", "none")
    for event in events {
      tree.file("\(base)/events/kvm/\(event)/enable", "0\n")
      tree.file("\(base)/events/kvm/\(event)/format", fixture("formats/\(event).format"))
    }
  }

  func adopt(_ options: TraceInstance.Options = .init()) throws -> TraceInstance {
    let root = try TracefsRoot.find(roots: tree.roots)
    let slot = csignals_instance_open("\(root.path)/instances/vmctop-test", 16)
    return try TraceInstance(adopting: "vmctop-test", in: root, slot: slot, cpus: 1, options: options)
  }

  @Test func theControlFilesHoldWhatWasAskedFor() throws {
    loadModule(["kvm_exit", "kvm_entry"])
    let instance = try adopt(.init(events: .minimal, bufferKiBPerCPU: 2048, subBufferKiB: 32, threads: [5]))
    #expect(tree.text("\(base)/trace_clock") == "mono")
    #expect(tree.text("\(base)/buffer_size_kb") == "2048")
    #expect(tree.text("\(base)/buffer_subbuf_size_kb") == "32")
    #expect(tree.text("\(base)/options/overwrite") == "1")
    #expect(tree.text("\(base)/events/kvm/filter") == "common_pid == 5")
    #expect(tree.text("\(base)/events/kvm/kvm_exit/enable") == "1")
    #expect(tree.text("\(base)/tracing_on") == "1")
    #expect(instance.enabledEvents == ["kvm_exit", "kvm_entry"])
    instance.stop()
    #expect(tree.text("\(base)/tracing_on") == "0")
  }

  @Test func wholeSubBuffersOfARealHostAreReadInOrderToTheEnd() throws {
    let all = pages
    try #require(all.count > 8192 && all.count % 4096 == 0)
    let instance = try adopt()
    var read: [UInt8] = []
    withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 16) { buffer in
      guard let base = buffer.baseAddress else { return }
      while instance.readPage(stream: 0, into: base) == .page { read += buffer }
      #expect(instance.readPage(stream: 0, into: base) == .empty)
      #expect(instance.readPage(stream: 1, into: base) == .unavailable(errorNumber: ENODEV))
      #expect(instance.readPage(stream: -1, into: base) == .unavailable(errorNumber: ENODEV))
    }
    #expect(read == all)
  }

  @Test func aSubBufferCutShortIsFilledUpWithZeros() throws {
    tree.file("\(base)/per_cpu/cpu0/trace_pipe_raw", Array(pages[..<5000]))
    let instance = try adopt()
    withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 16) { buffer in
      buffer.initializeMemory(as: UInt8.self, repeating: 0xAA)
      guard let base = buffer.baseAddress else { return }
      #expect(instance.readPage(stream: 0, into: base) == .page)
      #expect(instance.readPage(stream: 0, into: base) == .page)
      #expect(Array(buffer[..<904]) == Array(pages[4096..<5000]))
      #expect(buffer[904...].allSatisfy { $0 == 0 })
      #expect(instance.readPage(stream: 0, into: base) == .empty)
      #expect(instance.shortReads == 1)
    }
  }

  @Test func aCPUThatComesOnlineGetsAStreamAndOneThatGoesKeepsIts() throws {
    let instance = try adopt()
    #expect(instance.streams.map(\.cpu) == [0])
    tree.file("sys/devices/system/cpu/online", "0-1\n")
    #expect(try instance.scanCPUs())
    #expect(instance.streams.map(\.cpu) == [0, 1])
    tree.file("sys/devices/system/cpu/online", "1\n")
    #expect(try !instance.scanCPUs())
    #expect(instance.streams.map(\.cpu) == [0, 1])
    withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 16) { buffer in
      guard let base = buffer.baseAddress else { return }
      #expect(instance.readPage(stream: 0, into: base) == .page, "what is left of an offline CPU is still read")
    }
  }

  @Test func aModuleLoadedLaterIsTracedFromThenOnWithTheFilter() throws {
    let instance = try adopt(.init(events: .minimal, threads: [7]))
    #expect(instance.enabledEvents.isEmpty)
    #expect(instance.missingEvents == ["kvm_exit", "kvm_entry"])
    #expect(instance.mayHaveNewEvents)
    #expect(instance.enableNewEvents().isEmpty)
    loadModule(["kvm_exit", "kvm_entry"])
    #expect(instance.enableNewEvents() == ["kvm_exit", "kvm_entry"])
    #expect(!instance.mayHaveNewEvents)
    #expect(tree.text("\(base)/events/kvm/filter") == "common_pid == 7")
    #expect(try instance.formats().map(\.name) == ["kvm_exit", "kvm_entry"])
    // Unloaded and loaded again: the events come back switched off.
    loadModule(["kvm_exit", "kvm_entry"])
    #expect(instance.mayHaveNewEvents)
    #expect(instance.enableNewEvents() == ["kvm_exit", "kvm_entry"])
  }

  @Test func anUnknownLayoutOfAnEventThatEverythingRestsOnIsAnError() throws {
    loadModule(["kvm_exit", "kvm_entry"])
    tree.file("\(base)/events/kvm/kvm_exit/format", "name: kvm_exit\nnonsense\n")
    let instance = try adopt(.init(events: .minimal))
    #expect { try instance.formats() } throws: { ($0 as? TracefsError)?.code == .unexpectedFormat }
  }

  @Test func anUnknownPageLayoutIsAnError() {
    tree.file("\(base)/events/header_page", "field: nothing;\n")
    #expect { try adopt() } throws: { ($0 as? TracefsError)?.code == .unexpectedFormat }
  }
}
