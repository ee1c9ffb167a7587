import CTinyGuest
import Foundation
import HostFiles
import TraceFormat

@testable import Tracefs

/// A temporary folder laid out like the host's file systems.
final class Tree {
  let path: String
  var roots: HostRoots { HostRoots(prefix: path) }

  init() {
    path = NSTemporaryDirectory() + "vmctop-test-\(UUID().uuidString)"
    try? FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func file(_ name: String, _ text: String) { file(name, Array(text.utf8)) }

  func file(_ name: String, _ bytes: [UInt8]) {
    let full = "\(path)/\(name)"
    folder((name as NSString).deletingLastPathComponent)
    _ = FileManager.default.createFile(atPath: full, contents: Data(bytes))
  }

  func folder(_ name: String) {
    try? FileManager.default.createDirectory(atPath: "\(path)/\(name)", withIntermediateDirectories: true)
  }

  func link(_ name: String, to target: String) {
    folder((name as NSString).deletingLastPathComponent)
    try? FileManager.default.createSymbolicLink(atPath: "\(path)/\(name)", withDestinationPath: target)
  }

  func text(_ name: String) -> String? { try? String(contentsOfFile: "\(path)/\(name)", encoding: .utf8) }
}

let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .appendingPathComponent("Fixtures/intel-6.1")

func fixture(_ name: String) -> String {
  (try? String(contentsOf: fixtures.appendingPathComponent(name), encoding: .utf8)) ?? ""
}

/// This host's tracefs, if we may make instances in it.
let hostTracefs: TracefsRoot? = {
  guard getuid() == 0, let root = try? TracefsRoot.find(), root.hasKVMEvents else { return nil }
  return root
}()
let canTrace = hostTracefs != nil
let tracingNeeds: String = "needs root, tracefs and the module kvm: mount -t tracefs tracefs /sys/kernel/tracing"

/// True if a guest of a few instructions runs here.
let canRunGuest = canTrace && tinyguest_run(1).error == 0
let guestNeeds: String = "needs root, tracefs and a usable /dev/kvm"

/// What another's tracing consists of, of the top-level instance.
func topLevelState(_ root: TracefsRoot) -> [String] {
  ["tracing_on", "trace_clock", "set_event", "current_tracer", "buffer_size_kb", "set_event_pid", "events/kvm/enable"]
    .map {
      "\($0)=" + ((try? HostFile.text("\(root.path)/\($0)")) ?? "unreadable")
    }
}

func instances(_ root: TracefsRoot) -> [String] { (try? HostFile.names("\(root.path)/instances")) ?? [] }

/// The events in a sub-buffer, by type: an independent walk by the kernel's documentation of `header_event`, that knows nothing
/// of the decoder of the product.
func eventIDs(in page: UnsafeRawBufferPointer, layout: PageLayout, threads: inout [Int32: Int]) -> [UInt16: Int] {
  var result: [UInt16: Int] = [:]
  let commit = Int(page.loadUnaligned(fromByteOffset: layout.commitOffset, as: UInt32.self) & 0xF_FFFF)
  var offset = layout.dataOffset
  let end = min(page.count, layout.dataOffset + commit)
  while offset + 4 <= end {
    let header = page.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
    switch header & 31 {
    case 29:
      guard header >> 5 != 0, offset + 8 <= end else { return result }
      offset += 4 + Int(page.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self))
    case 30, 31: offset += 8
    case let length:
      let payload = length == 0 ? offset + 8 : offset + 4
      guard payload + 8 <= end else { return result }
      result[page.loadUnaligned(fromByteOffset: payload, as: UInt16.self), default: 0] += 1
      threads[page.loadUnaligned(fromByteOffset: payload + 4, as: Int32.self), default: 0] += 1
      offset +=
        length == 0
        ? 4 + (Int(page.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self)) + 3) & ~3 : 4 + 4 * Int(length)
    }
  }
  return result
}
