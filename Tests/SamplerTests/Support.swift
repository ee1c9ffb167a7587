import CTinyGuest
import Foundation
import HostFiles
import Testing
import TraceFormat
import Tracefs

@testable import Sampler

let hostTracefs: TracefsRoot? = {
  guard getuid() == 0, let root = try? TracefsRoot.find(), root.hasKVMEvents else { return nil }
  return root
}()
let canTrace = hostTracefs != nil
let tracingNeeds: Comment = "needs root, tracefs and the module kvm: mount -t tracefs tracefs /sys/kernel/tracing"

/// True if a guest of a few instructions runs here.
let canRunGuest = canTrace && tinyguest_run(1).error == 0
let guestNeeds: Comment = "needs root, tracefs and a usable /dev/kvm"

func topLevelState(_ root: TracefsRoot) -> [String] {
  ["tracing_on", "trace_clock", "set_event", "current_tracer", "buffer_size_kb", "set_event_pid", "events/kvm/enable"]
    .map {
      "\($0)=" + ((try? HostFile.text("\(root.path)/\($0)")) ?? "unreadable")
    }
}

/// Runs the guest on a thread of its own, as a vCPU has one.
func runGuest(outs: UInt32) async -> tinyguest_result {
  await withCheckedContinuation { continuation in
    Thread.detachNewThread { continuation.resume(returning: tinyguest_run(outs)) }
  }
}

/// A guest whose vCPU thread is there, and known, before it runs: to trace that thread alone, whatever else this host does.
final class WaitingGuest: @unchecked Sendable {
  private(set) var thread: Int32 = 0
  private let isReady = DispatchSemaphore(value: 0)
  private let mayRun = DispatchSemaphore(value: 0)
  private let hasEnded = DispatchSemaphore(value: 0)

  init(outs: UInt32) {
    Thread.detachNewThread {
      self.thread = tinyguest_thread()
      self.isReady.signal()
      self.mayRun.wait()
      _ = tinyguest_run(outs)
      self.hasEnded.signal()
    }
    isReady.wait()
  }

  /// Returns when the guest has ended.
  func run() {
    mayRun.signal()
    hasEnded.wait()
  }
}

/// What a sampler gave.
struct Harvest {
  /// Events by name.
  var events: [String: Int] = [:]
  /// Events by name of one thread.
  var ofThread: [Int32: [String: Int]] = [:]
  /// Sub-buffers that say that events were lost before them.
  var lossMarks = 0
  var pages = 0
  /// Time stamps by CPU, of sub-buffers in order: must not fall.
  var bases: [Int: [UInt64]] = [:]

  func count(_ name: String, thread: Int32) -> Int { ofThread[thread]?[name] ?? 0 }
}

/// Walks sub-buffers by the kernel's documentation in `events/header_event`, knowing nothing of the product's decoder.
func gather(_ sampler: LiveSampler, into harvest: inout Harvest) {
  let names = Dictionary(uniqueKeysWithValues: sampler.metadata.formats.map { ($0.id, $0.name) })
  let layout = sampler.metadata.page
  for stream in sampler.streams.indices {
    while let page = sampler.nextPage(stream: stream) {
      harvest.pages += 1
      harvest.bases[sampler.streams[stream].cpu, default: []].append(page.loadUnaligned(as: UInt64.self))
      let commit = page.loadUnaligned(fromByteOffset: layout.commitOffset, as: UInt32.self)
      if commit & 0x8000_0000 != 0 { harvest.lossMarks += 1 }
      var offset = layout.dataOffset
      let end = min(page.count, layout.dataOffset + Int(commit & 0xF_FFFF))
      func word(_ at: Int) -> UInt32 { page.loadUnaligned(fromByteOffset: at, as: UInt32.self) }
      walk: while offset + 4 <= end {
        let length = Int(word(offset) & 31)
        switch length {
        case 29:
          guard word(offset) >> 5 != 0, offset + 8 <= end else { break walk }
          offset += 4 + Int(word(offset + 4))
        case 30, 31: offset += 8
        default:
          let payload = length == 0 ? offset + 8 : offset + 4
          guard payload + 8 <= end else { break walk }
          let name = names[UInt16(truncatingIfNeeded: word(payload))] ?? "unknown"
          harvest.events[name, default: 0] += 1
          harvest.ofThread[Int32(bitPattern: word(payload + 4)), default: [:]][name, default: 0] += 1
          offset += length == 0 ? 4 + (Int(word(offset + 4)) + 3) & ~3 : 4 + 4 * length
        }
      }
    }
  }
}

/// Samples while a guest runs, and then what is left.
func sample(_ samplers: [LiveSampler], outs: UInt32) -> (guest: tinyguest_result, harvests: [Harvest]) {
  // A thread of its own: the loop below holds one of the few threads that tasks share.
  let stopped = Flag()
  let guest = Box()
  Thread.detachNewThread {
    let result = tinyguest_run(outs)
    guest.put(result)
    stopped.raise()
  }
  var harvests = samplers.map { _ in Harvest() }
  while !stopped.isRaised {
    for (index, sampler) in samplers.enumerated() {
      sampler.drain()
      gather(sampler, into: &harvests[index])
    }
    samplers.first?.wait(milliseconds: Tick.busyMilliseconds)
  }
  for (index, sampler) in samplers.enumerated() {
    repeat {
      sampler.drain()
      gather(sampler, into: &harvests[index])
    } while sampler.isBehind || sampler.pagesOfLastDrain > 0
  }
  return (guest.take() ?? tinyguest_result(), harvests)
}

final class Flag: @unchecked Sendable {
  private let lock = NSLock()
  private var value = false
  var isRaised: Bool { lock.withLock { value } }
  func raise() { lock.withLock { value = true } }
}

final class Box: @unchecked Sendable {
  private let lock = NSLock()
  private var value: tinyguest_result?
  func put(_ result: tinyguest_result) { lock.withLock { value = result } }
  func take() -> tinyguest_result? { lock.withLock { value } }
}
