import Foundation
import HostFiles
import Testing
import TraceFormat

@testable import Tracefs

/// On temporary trees laid out like tracefs: no privilege needed.
@Suite struct FakeTracefsTests {
  let tree = Tree()

  init() {
    tree.folder("sys/kernel/tracing/instances")
    tree.folder("sys/kernel/tracing/events")
    tree.file(
      "proc/\(getpid())/stat", "\(getpid()) (vmctop) S " + (1...18).map { "\($0)" }.joined(separator: " ") + " 777 0\n")
    tree.link("proc/self/ns/pid", to: "pid:[4026531836]")
  }

  @Test func tracefsIsFoundAtItsUsualPlaceWithoutTheHelpOfMounts() throws {
    #expect(try TracefsRoot.find(roots: tree.roots).path == "\(tree.path)/sys/kernel/tracing")
  }

  @Test func tracefsIsFoundInDebugfsAsOnOldKernels() throws {
    let old = Tree()
    old.folder("sys/kernel/debug/tracing/instances")
    old.folder("sys/kernel/debug/tracing/events")
    #expect(try TracefsRoot.find(roots: old.roots).path == "\(old.path)/sys/kernel/debug/tracing")
  }

  @Test func theMountTableNamesAnotherPlaceEvenOneWithABlank() throws {
    let other = Tree()
    other.file("proc/mounts", "proc /proc proc rw 0 0\ntracefs /my\\040trace tracefs rw 0 0\n")
    other.folder("my trace/instances")
    other.folder("my trace/events")
    #expect(try TracefsRoot.find(roots: other.roots).path == "\(other.path)/my trace")
  }

  @Test func anEmptyMountPointIsToldFromAKernelWithoutTracing() {
    let empty = Tree()
    empty.folder("sys/kernel/tracing")
    #expect { try TracefsRoot.find(roots: empty.roots) } throws: {
      ($0 as? TracefsError)?.hint == "mount -t tracefs tracefs /sys/kernel/tracing"
    }
    #expect { try TracefsRoot.find(roots: Tree().roots) } throws: {
      ($0 as? TracefsError)?.code == .noTracing
    }
  }

  @Test(.enabled(if: getuid() != 0 || hostTracefs != nil, "needs a user other than root, or root to become one"))
  func aRefusedFolderIsAMatterOfPermission() throws {
    // Root passes every mode: the check runs in a child as nobody.
    guard getuid() == 0 else {
      chmod("\(tree.path)/sys/kernel/tracing", 0)
      defer { chmod("\(tree.path)/sys/kernel/tracing", 0o700) }
      #expect { try TracefsRoot.find(roots: tree.roots) } throws: { ($0 as? TracefsError)?.code == .noPermission }
      return
    }
    let result = try run(holderPath, ["exit"], asUser: 65534)
    #expect(result.status != 0 && result.status != 7)
    #expect(result.errors.contains("noPermission") || result.errors.contains("cannot be entered"))
  }

  @Test func aNewInstanceThatCannotBeSetUpIsRemovedAgain() throws {
    // A plain folder gets no control files: setting up fails at the first of them.
    let root = try TracefsRoot.find(roots: tree.roots)
    #expect(throws: TracefsError.self) { try TraceInstance(in: root) }
    #expect(instances(root).isEmpty)
  }

  @Test func orphansOfDeadProcessesAreSweptAndNobodyElses() throws {
    let root = try TracefsRoot.find(roots: tree.roots)
    tree.file("proc/100/stat", "100 (a) b) S " + (1...18).map { "\($0)" }.joined(separator: " ") + " 5000 0\n")
    let kept = [
      "vmctop-100-5000-4026531836-0",  // its process lives
      "vmctop-100-old",  // the process lives, no start time known
      "vmctop-200-1-4026532999-0",  // of another pid namespace
      "vmctop-", "vmctop-x-1", "trace-cmd", "vmctopper-300-1", "vmctop--5-1", "vmctop-99999999999-1",
    ]
    let orphans = [
      "vmctop-200-1-4026531836-0",  // no such process
      "vmctop-100-4999-4026531836-3",  // the pid was used again by a later process
      "vmctop-201-anything",
    ]
    for name in kept + orphans { tree.folder("sys/kernel/tracing/instances/\(name)") }
    let sweep = InstanceSweep.run(in: root)
    #expect(sweep.removed == orphans.sorted())
    #expect(sweep.left.isEmpty)
    #expect(instances(root).sorted() == kept.sorted())
  }

  @Test func anOrphanThatSomebodyUsesIsReportedAndLeft() throws {
    let root = try TracefsRoot.find(roots: tree.roots)
    tree.file("sys/kernel/tracing/instances/vmctop-200-1-4026531836-0/tracing_on", "1")
    let sweep = InstanceSweep.run(in: root)
    #expect(sweep.left.map(\.name) == ["vmctop-200-1-4026531836-0"])
    // It was at least switched off.
    #expect(tree.text("sys/kernel/tracing/instances/vmctop-200-1-4026531836-0/tracing_on") == "0")
  }

  @Test func anInstanceNameTellsItsOwner() {
    let name = InstanceName("vmctop-12-34-56-7")
    #expect(name?.pid == 12)
    #expect(name?.startTime == 34)
    #expect(name?.pidNamespace == 56)
    #expect(InstanceName("vmctop-12") == nil)
    #expect(InstanceName("other-12-34-56-7") == nil)
  }

  @Test func countersAreReadFromTheStatsText() {
    let statistics = CPUBufferStatistics(
      """
      entries: 12
      overrun: 345
      commit overrun: 1
      bytes: 678
      oldest event ts:  1161.594893
      now ts:  1161.594893
      dropped events: 2
      read events: 18446744073709551615

      """)
    #expect(statistics?.entries == 12)
    #expect(statistics?.overrun == 345)
    #expect(statistics?.lost == 348)
    #expect(statistics?.readEvents == .max)
    #expect(CPUBufferStatistics("nothing here\n: 5\n") == nil)
  }

  @Test func bufferSizesStayInBoundsOnEveryHost() {
    #expect(TraceInstance.defaultBufferKiB(cpus: 2, memoryKiB: 24 << 20) == 8192)
    #expect(TraceInstance.defaultBufferKiB(cpus: 64, memoryKiB: 512 << 20) == 4096)
    #expect(TraceInstance.defaultBufferKiB(cpus: 2, memoryKiB: 64 << 10) == 2048)
    #expect(TraceInstance.defaultBufferKiB(cpus: 1024, memoryKiB: 1 << 20) == 512)
    #expect(TraceInstance.defaultSubBufferKiB(cpus: 8) == 64)
    #expect(TraceInstance.defaultSubBufferKiB(cpus: 512) == 16)
  }

  @Test func theStandardSetHoldsWhatTheTimeSplitNeeds() {
    let standard = EventSet.standard.wanted(of: [])
    #expect(Set(["kvm_exit", "kvm_entry", "kvm_userspace_exit", "kvm_fpu", "kvm_vcpu_wakeup"]).isSubset(of: standard))
    #expect(EventSet.minimal.wanted(of: []) == ["kvm_exit", "kvm_entry"])
    #expect(EventSet.full.wanted(of: ["a", "b"]) == ["a", "b"])
  }

  @Test func listsOfCPUsAreReadAsTheKernelWritesThem() {
    #expect(cpuList("0-3,8,10-11\n") == [0, 1, 2, 3, 8, 10, 11])
    #expect(cpuList("") == [])
    #expect(cpuList("3-1") == nil)
    #expect(cpuList("0-99999999999") == nil)
    #expect(cpuList("1-2-3") == nil)
    #expect(cpuList("x") == nil)
  }
}
