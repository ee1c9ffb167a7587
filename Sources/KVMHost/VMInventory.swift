import Architecture
import Glibc
import HostFiles

/// Finds the VMs and vCPUs of this host, again and again, cheaply: it remembers what does not change while a process lives,
/// and looks into all processes only bit by bit.
///
/// Sources: debugfs (`/sys/kernel/debug/kvm/PID-FD/vcpuN/pid`), the descriptors of processes (`anon_inode:kvm-vm`,
/// `anon_inode:kvm-vcpu:N`), names of threads, and command lines. Files that vanish between two looks are normal.
public final class VMInventory {
  public let roots: HostRoots
  /// How many processes not known to be VMMs are looked into per scan where debugfs does not name the VMs. New processes
  /// come first.
  public static let examinedPerScan = 64
  /// Every so many scans everything known is read anew: names of threads and processes may change.
  public static let refreshInterval = 5

  private struct Process {
    var startTime: UInt64
    var commandLine: VMMCommandLine
    var threadNames: [Int32: [UInt8]] = [:]
    /// VM descriptors and the ids of the vCPU descriptors that follow each, from /proc/PID/fd.
    var descriptors: [(vm: Int32, vcpus: [UInt32])] = []
    var nextRefresh = 0
  }

  private var processes: [Int32: Process] = [:]
  /// Processes in the order in which they are looked into; those before `cursor` have had their turn.
  private var queue: [Int32] = []
  private var cursor = 0
  private var seen: Set<Int32> = []
  private var scans = 0
  /// debugfs folder to thread-group id; the folder's name holds the number of the thread that made the VM.
  private var owners: [String: Int32] = [:]
  private var vcpuFolders: [String: [(id: UInt32, tid: Int32)]] = [:]

  public init(roots: HostRoots = HostRoots()) { self.roots = roots }

  /// The VMs there are now, in order of pid and descriptor. To be called about once a second.
  public func scan() -> [HostVM] {
    defer { scans += 1 }
    let folders = debugfsFolders()
    var candidates: Set<Int32> = []
    if let folders {
      owners = owners.filter { folders.contains($0.key) }
      vcpuFolders = vcpuFolders.filter { folders.contains($0.key) }
      for folder in folders {
        if let owner = owner(ofFolder: folder) { candidates.insert(owner) }
      }
      // Only now and then: a kernel may have failed to make the folder of a VM (a duplicate name).
      if scans % 30 == 29 { examineMore(isFirst: false) }
    } else {
      examineMore(isFirst: scans == 0)
    }
    candidates.formUnion(processes.keys)

    var result: [HostVM] = []
    for pid in candidates.sorted() {
      guard refresh(pid), let process = processes[pid] else {
        processes[pid] = nil
        continue
      }
      let own = (folders ?? []).filter { owners[$0] == pid }.sorted { VMInventory.fd($0) < VMInventory.fd($1) }
      let vms = vms(of: pid, process: process, folders: own)
      if vms.isEmpty { processes[pid] = nil }
      result += vms
    }
    return result
  }

  // MARK: Processes

  /// Reads what is new or due about a process; false if it is gone.
  private func refresh(_ pid: Int32) -> Bool {
    guard let startTime = startTime(pid) else { return false }
    var process: Process
    if let known = processes[pid], known.startTime == startTime {
      process = known
    } else {
      let bytes = (try? HostFile.bytes("\(roots.proc)/\(pid)/cmdline", limit: 1 << 18)) ?? []
      process = Process(startTime: startTime, commandLine: VMMCommandLine(bytes))
    }
    let isDue = scans >= process.nextRefresh
    if let threads = try? HostFile.numbers("\(roots.proc)/\(pid)/task") {
      let isNew = threads.contains { process.threadNames[$0] == nil }
      if isDue || isNew || threads.count != process.threadNames.count {
        var names: [Int32: [UInt8]] = [:]
        for tid in threads {
          if !isDue, let known = process.threadNames[tid] {
            names[tid] = known
          } else if let name = try? HostFile.bytes("\(roots.proc)/\(pid)/task/\(tid)/comm", limit: 64) {
            names[tid] = name.last == 10 ? name.dropLast() : name
          }
        }
        process.threadNames = names
        process.nextRefresh = min(process.nextRefresh, scans)
      }
    }
    if scans >= process.nextRefresh {
      process.descriptors = descriptors(of: pid)
      process.nextRefresh = scans + VMInventory.refreshInterval
    }
    processes[pid] = process
    return true
  }

  private func startTime(_ pid: Int32) -> UInt64? {
    guard let bytes = try? HostFile.bytes("\(roots.proc)/\(pid)/stat", limit: 4096),
      let end = bytes.lastIndex(of: UInt8(ascii: ")"))
    else { return nil }
    let fields = bytes[(end + 1)...].split(separator: UInt8(ascii: " "))
    guard fields.count > 19 else { return nil }
    return UInt64(String(decoding: fields[19], as: UTF8.self))
  }

  /// The KVM descriptors of a process. With several VMs in one process, which is rare, a vCPU is taken for one of the VM
  /// whose descriptor comes before its own; debugfs tells exactly.
  private func descriptors(of pid: Int32) -> [(vm: Int32, vcpus: [UInt32])] {
    let folder = "\(roots.proc)/\(pid)/fd"
    var vms: [Int32] = []
    var vcpus: [(fd: Int32, id: UInt32?)] = []
    for fd in ((try? HostFile.numbers(folder)) ?? []).sorted() {
      guard let link = HostFile.link("\(folder)/\(fd)"), link.hasPrefix("anon_inode:") else { continue }
      var kind = link.dropFirst("anon_inode:".count)
      if kind.hasPrefix("["), kind.hasSuffix("]") { kind = kind.dropFirst().dropLast() }
      if kind == "kvm-vm" {
        vms.append(fd)
      } else if kind == "kvm-vcpu" || kind.hasPrefix("kvm-vcpu:") {
        // Before 4.19 the name had no id.
        vcpus.append((fd, UInt32(kind.dropFirst("kvm-vcpu:".count))))
      }
    }
    if vms.isEmpty, vcpus.isEmpty { return [] }
    var result = (vms.isEmpty ? [-1] : vms).map { (vm: $0, vcpus: [UInt32]()) }
    for vcpu in vcpus {
      guard let id = vcpu.id else { continue }
      result[result.lastIndex { $0.vm < vcpu.fd } ?? 0].vcpus.append(id)
    }
    return result
  }

  /// Looks into some processes not known to be VMMs: new ones first, then the others in turn.
  private func examineMore(isFirst: Bool) {
    var budget = VMInventory.examinedPerScan
    if scans % 3 == 0 || cursor >= queue.count {
      let pids = Set((try? HostFile.numbers(roots.proc)) ?? [])
      let new = pids.subtracting(seen)
      seen = pids
      let pending = Set(queue[min(cursor, queue.count)...])
      queue = new.sorted(by: >) + queue[min(cursor, queue.count)...].filter { pids.contains($0) }
      cursor = 0
      if queue.isEmpty { queue = pids.subtracting(pending).sorted() }
      // The first look is a full one: what runs already is to be seen at once.
      if isFirst { budget = max(budget, queue.count) }
    }
    while budget > 0, cursor < queue.count {
      let pid = queue[cursor]
      cursor += 1
      budget -= 1
      if processes[pid] == nil, !descriptors(of: pid).isEmpty { _ = refresh(pid) }
    }
  }

  // MARK: debugfs

  /// The names `PID-FD`, or nil where debugfs cannot be read.
  private func debugfsFolders() -> [String]? {
    guard let names = try? HostFile.names("\(roots.debugfs)/kvm") else { return nil }
    return names.filter { name in
      let parts = name.split(separator: "-", omittingEmptySubsequences: false)
      return parts.count == 2 && Int32(parts[0]) != nil && Int32(parts[1]) != nil
    }
  }

  private static func fd(_ folder: String) -> Int32 { folder.split(separator: "-").last.flatMap { Int32($0) } ?? -1 }

  /// The process of a VM's folder: its name holds the id of a thread.
  private func owner(ofFolder folder: String) -> Int32? {
    if let known = owners[folder] { return known }
    guard let tid = folder.split(separator: "-").first.flatMap({ Int32($0) }) else { return nil }
    var owner: Int32?
    if let status = try? HostFile.text("\(roots.proc)/\(tid)/status", limit: 4096),
      let line = status.split(separator: "\n").first(where: { $0.hasPrefix("Tgid:") })
    {
      owner = Int32(line.dropFirst(5).drop { $0.isWhitespace })
    } else {
      // The thread that made the VM has ended: its vCPUs' threads belong to the same process.
      for vcpu in readVCPUs(folder) {
        guard let status = try? HostFile.text("\(roots.proc)/\(vcpu.tid)/status", limit: 4096),
          let line = status.split(separator: "\n").first(where: { $0.hasPrefix("Tgid:") })
        else { continue }
        owner = Int32(line.dropFirst(5).drop { $0.isWhitespace })
        break
      }
    }
    owners[folder] = owner
    return owner
  }

  private func readVCPUs(_ folder: String) -> [(id: UInt32, tid: Int32)] {
    let path = "\(roots.debugfs)/kvm/\(folder)"
    var result: [(id: UInt32, tid: Int32)] = []
    for name in (try? HostFile.names(path)) ?? [] where name.hasPrefix("vcpu") {
      guard let id = UInt32(name.dropFirst(4)) else { continue }
      // `pid` is there from 6.1 on, and 0 until the vCPU has run.
      let tid = HostFile.line("\(path)/\(name)/pid").flatMap { Int32($0) } ?? 0
      result.append((id, tid))
    }
    return result.sorted { $0.id < $1.id }
  }

  // MARK: Putting it together

  private func vms(of pid: Int32, process: Process, folders: [String]) -> [HostVM] {
    let names = process.threadNames.compactMap { tid, bytes -> (index: UInt32, tid: Int32)? in
      VMMCommandLine.vcpuIndex(ofThread: String(decoding: bytes, as: UTF8.self)).map { ($0, tid) }
    }
    let tidOfIndex = Dictionary(names.map { ($0.index, $0.tid) }, uniquingKeysWith: { min($0, $1) })

    func vm(fd: Int32?, vcpus: [(id: UInt32, tid: Int32?)]) -> HostVM {
      var vm = HostVM(
        pid: pid, fd: fd, name: process.commandLine.name, uuid: process.commandLine.uuid, vmm: process.commandLine.vmm)
      for vcpu in vcpus {
        if let tid = vcpu.tid {
          let name = process.threadNames[tid].map { sanitized($0) }
          vm.vcpus.append(HostVCPU(id: vcpu.id, tid: tid, threadName: name))
        } else {
          vm.vcpusWithoutThread.append(vcpu.id)
        }
      }
      return vm
    }

    if !folders.isEmpty {
      return folders.map { folder in
        // vCPUs come and go rarely, but a thread's number may appear late: the cache lives until all are known.
        var vcpus = vcpuFolders[folder] ?? []
        if scans % VMInventory.refreshInterval == 0 || vcpus.isEmpty || vcpus.contains(where: { $0.tid == 0 }) {
          vcpus = readVCPUs(folder)
          vcpuFolders[folder] = vcpus
        }
        return vm(
          fd: VMInventory.fd(folder),
          vcpus: vcpus.map { ($0.id, $0.tid > 0 ? $0.tid : folders.count == 1 ? tidOfIndex[$0.id] : nil) })
      }
    }
    let found = process.descriptors
    return found.map { entry in
      // Threads are named by index, which is the id except on hosts with gaps in the APIC ids.
      var ids = Set(entry.vcpus)
      if found.count == 1, ids.isEmpty { ids.formUnion(tidOfIndex.keys) }
      return vm(
        fd: entry.vm >= 0 ? entry.vm : nil, vcpus: ids.sorted().map { ($0, found.count == 1 ? tidOfIndex[$0] : nil) })
    }
  }
}
