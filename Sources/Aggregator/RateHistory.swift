/// Exits per second of the last intervals: of everything, each VM and each vCPU.
struct RateHistory: Sendable {
  enum Key: Hashable {
    case all
    case ended
    case vm(Int)
    /// By its first thread.
    case inferred(Int32)
    case thread(Int32)
  }

  static let length = 240

  private var histories: [Key: [Double]] = [:]
  private var shown: Set<Key> = []

  /// Adds the rate of the last interval, where it has one. Returns the history, oldest first.
  mutating func add(_ rate: Double?, to key: Key) -> [Double] {
    shown.insert(key)
    guard let rate else { return histories[key] ?? [] }
    var values = histories.removeValue(forKey: key) ?? []
    if values.count >= Self.length { values.removeFirst(values.count - Self.length + 1) }
    values.append(rate)
    histories[key] = values
    return values
  }

  /// Drops the histories of what is not shown any more.
  mutating func forgetOthers() {
    if histories.count > shown.count { histories = histories.filter { shown.contains($0.key) } }
    shown.removeAll(keepingCapacity: true)
  }

  /// Replaces all histories.
  mutating func set(
    _ intervals: some Collection<(seconds: Double, exits: [Int32: Double])>, _ machines: MachineRegistry,
    _ members: [MachineRegistry.Member]
  ) {
    histories = [:]
    func add(_ key: Key, _ exits: Double, _ seconds: Double) {
      histories[key, default: []].append(seconds > 0 ? exits / seconds : 0)
    }
    let unknown = members.filter { machines.vmOfThread[$0.tid] == nil }
    let groups = MachineRegistry.inferredGroups(unknown).map { group in group.map { unknown[$0].tid } }
    for (seconds, exits) in intervals {
      add(.all, exits.values.reduce(0, +), seconds)
      add(.ended, exits[Aggregator.endedThread] ?? 0, seconds)
      var byVM = machines.knownVMs.mapValues { _ in 0.0 }
      for (thread, vm) in machines.vmOfThread { byVM[vm, default: 0] += exits[thread] ?? 0 }
      for (vm, exits) in byVM { add(.vm(vm), exits, seconds) }
      for group in groups { add(.inferred(group[0]), group.reduce(0) { $0 + (exits[$1] ?? 0) }, seconds) }
      for member in members { add(.thread(member.tid), exits[member.tid] ?? 0, seconds) }
    }
  }
}
