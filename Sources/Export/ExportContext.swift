import Aggregator
import Architecture
import TraceFormat

/// What is exported: a recording, and which guests of it.
public struct ExportContext {
  public var source: any RecordingSource
  /// Which threads and vCPUs, and how exits of unknown backends are called.
  public var options: AggregatorOptions
  /// The VMs that the recording itself tells.
  public var host: HostView
  /// Who writes it, such as `vmctop 0.1.0`.
  public var producer: String

  public init(source: any RecordingSource, options: AggregatorOptions, host: HostView, producer: String) {
    self.source = source
    self.options = options
    self.host = host
    self.producer = producer
  }

  /// Counts all of it: which VMs there are, and the totals.
  ///
  /// - Throws: `AggregatorError` where the formats have a kvm_exit that cannot be counted.
  public func count() throws(AggregatorError) -> Snapshot {
    var counter = try Counter(metadata: source.metadata, options: options)
    counter.engine.learn(host)
    source.rewind()
    source.count(into: &counter)
    let lost = source.lostByCPU
    counter.countLosses(all: true) { lost[$0] }
    return counter.snapshot(commandNames: source.metadata.commandNames)
  }

  /// Walks all of it, exit by exit.
  ///
  /// - Throws: `AggregatorError`, and what `body` throws.
  func forEachItem(_ body: (inout ExitTimeline, ExitTimeline.Item) throws -> Void) throws {
    var timeline = try ExitTimeline(metadata: source.metadata, options: options)
    source.rewind()
    try source.walk(&timeline, body)
  }
}

extension RecordingSource {
  // Methods of the source, since only those open an existential.
  fileprivate func count(into counter: inout Counter) { counter.run(self) }

  fileprivate func walk(
    _ timeline: inout ExitTimeline, _ body: (inout ExitTimeline, ExitTimeline.Item) throws -> Void
  ) rethrows { try timeline.run(self, body) }
}

/// The VMs of a snapshot as exports name them.
struct Machines {
  struct Machine {
    /// The process id; where it is not known, the id of the lowest thread, to have a number at all.
    var number: Int32
    var isProcessKnown: Bool
    var name: String
    /// Index into `Snapshot.scopes`.
    var scope: Int
    var vcpus: [(tid: Int32, id: UInt32?, name: String?)]
  }

  var all: [Machine] = []
  private(set) var machineOfThread: [Int32: Int] = [:]

  init(_ snapshot: Snapshot) {
    for vm in snapshot.vms {
      let vcpus = vm.vcpus.map { (tid: $0.tid, id: $0.id, name: $0.threadName) }
      let lowest = vcpus.map(\.tid).min() ?? 0
      let name: String
      if vm.endedThreads > 0 {
        name = "\(vm.endedThreads) ended threads"
      } else if let own = vm.name ?? vm.vmm {
        name = own
      } else {
        name = vm.pid.map { "process \($0)" } ?? "VM of thread \(lowest)"
      }
      for vcpu in vcpus { machineOfThread[vcpu.tid] = all.count }
      all.append(
        Machine(number: vm.pid ?? lowest, isProcessKnown: vm.pid != nil, name: name, scope: vm.scope, vcpus: vcpus))
    }
  }

  func machine(of thread: Int32) -> Machine? { machineOfThread[thread].map { all[$0] } }
}
