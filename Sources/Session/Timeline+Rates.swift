import Aggregator
import Architecture
import TraceFormat

extension Timeline {
  /// The rate of exits over the whole recording, and what is worth a mark.
  ///
  /// - Parameter count: of the buckets.
  func rateTimeline(buckets count: Int) -> RateTimeline {
    let summaries = summaries()
    let known = progress.isComplete ? bounds.last : progress.known
    let total = bounds.last > bounds.first ? bounds.last - bounds.first : 0
    guard count > 0, total > 0 else { return RateTimeline(rates: [], known: position(of: known)) }
    let width = Double(total) / Double(count)
    var exits = [Double](repeating: 0, count: count)
    func place(_ moment: UInt64) -> Double {
      max(0, min(Double(count), (moment > bounds.first ? Double(moment - bounds.first) : 0) / width))
    }
    for summary in summaries where summary.count > 0 {
      Self.spread(Double(summary.count), from: place(summary.start), to: place(summary.end), over: &exits)
    }
    let seconds = Double(duration) / 1e9 / Double(count)
    let complete = known >= bounds.last ? count : Int(place(known))
    let rates = exits.enumerated().map { $0.offset < complete && seconds > 0 ? $0.element / seconds : nil }
    return RateTimeline(rates: rates, marks: marks(summaries), known: position(of: min(known, bounds.last)))
  }

  /// Shares an amount out over buckets, by how much of each lies between two places.
  private static func spread(_ amount: Double, from start: Double, to end: Double, over buckets: inout [Double]) {
    guard end > start else {
      buckets[min(buckets.count - 1, Int(start))] += amount
      return
    }
    var bucket = Int(start)
    while bucket < buckets.count, Double(bucket) < end {
      let part = min(end, Double(bucket + 1)) - max(start, Double(bucket))
      buckets[bucket] += amount * part / (end - start)
      bucket += 1
    }
  }

  private static let mostMarks = 1000

  private func marks(_ summaries: [Summary]) -> [RateTimeline.PlacedMark] {
    var marks = hostMarks
    for summary in summaries where summary.lost {
      marks.append(RateTimeline.PlacedMark(position: position(of: summary.end), mark: .lost))
    }
    for change in changes.all {
      marks.append(
        RateTimeline.PlacedMark(
          position: position(of: change.change.timestamp), mark: .settingChanged(thread: change.thread)))
    }
    marks.sort { $0.position < $1.position }
    guard marks.count > Self.mostMarks else { return marks }
    // Of each part of the recording, one mark of a kind.
    var kept: [RateTimeline.PlacedMark] = []
    var seen: Set<String> = []
    for mark in marks {
      let part = Double(mark.position) / Double(max(1, duration)) * Double(Self.mostMarks / 4)
      let kind =
        switch mark.mark {
        case .settingChanged: "setting"
        case .lost: "lost"
        case .vmStarted: "started"
        case .vmEnded: "ended"
        }
      if seen.insert("\(kind) \(Int(part))").inserted { kept.append(mark) }
    }
    return kept
  }

  /// VMs that were not there in the note before, and those that are not there any more. Those of the first note were
  /// there when the recording began.
  func hostMarks(_ notes: [TimelineNote]) -> [RateTimeline.PlacedMark] {
    struct Key: Hashable {
      var pid: Int32
      var fd: Int32?
    }
    var marks: [RateTimeline.PlacedMark] = []
    var before: [Key: HostVM]?
    for note in notes {
      guard case .host(let host) = note.content else { continue }
      let now = Dictionary(host.vms.map { (Key(pid: $0.pid, fd: $0.fd), $0) }, uniquingKeysWith: { $1 })
      defer { before = now }
      guard let before else { continue }
      let position = position(of: note.time)
      for (key, vm) in now.sorted(by: { $0.key.pid < $1.key.pid }) where before[key] == nil {
        marks.append(RateTimeline.PlacedMark(position: position, mark: .vmStarted(pid: vm.pid, name: vm.name)))
      }
      for (key, vm) in before.sorted(by: { $0.key.pid < $1.key.pid }) where now[key] == nil {
        marks.append(RateTimeline.PlacedMark(position: position, mark: .vmEnded(pid: vm.pid, name: vm.name)))
      }
    }
    return marks
  }

  /// The exits of the intervals of one length before a moment, oldest first: where an interval of the time line lies in
  /// two of them, its exits are shared out by time.
  ///
  /// - Parameters:
  ///   - end: raw.
  ///   - length: raw.
  func history(until end: UInt64, length: UInt64, count: Int) -> [(seconds: Double, exits: [Int32: Double])] {
    guard length > 0, end > bounds.first else { return [] }
    let number = Int(min(UInt64(count), (end - bounds.first) / length))
    guard number > 0 else { return [] }
    let start = end - UInt64(number) * length
    let seconds = Double(position(of: bounds.first &+ length)) / 1e9
    var intervals = [(seconds: Double, exits: [Int32: Double])](repeating: (seconds, [:]), count: number)
    for summary in summaries(from: start, through: end) where summary.count > 0 {
      let from = max(summary.start, bounds.first)
      let span = Double(summary.end > from ? summary.end - from : 1)
      var index = from > start ? Int((from - start) / length) : 0
      while index < number {
        let (low, high) = (start + UInt64(index) * length, start + UInt64(index + 1) * length)
        guard low < summary.end else { break }
        let overlap = Double(min(high, summary.end)) - Double(max(low, from))
        for (thread, exits) in summary.exits where overlap > 0 {
          intervals[index].exits[thread, default: 0] += Double(exits) * min(1, overlap / span)
        }
        index += 1
      }
    }
    return intervals
  }

  /// The next change of a setting after a moment, or the last one before it.
  ///
  /// - Parameter control: only changes of this one; nil: any.
  func change(of control: ControlID?, from moment: UInt64, forward: Bool) -> UInt64? {
    let (all, settings) = changes
    func words(_ setting: VCPUSetting?) -> ControlSetting? {
      guard let setting, settings.indices.contains(setting.rawValue - 1) else { return nil }
      return settings[setting.rawValue - 1].words?.governing
    }
    func concerns(_ change: SettingChange) -> Bool {
      guard let control else { return true }
      guard let now = words(change.setting)?.value(of: control), let then = words(change.previous)?.value(of: control)
      else { return false }
      return now != then
    }
    let times = all.lazy.filter { concerns($0.change) }.map(\.change.timestamp)
    return forward ? times.filter { $0 > moment }.min() : times.filter { $0 < moment }.max()
  }
}
