import Architecture
import Recording

/// Finds where a part of a vCPU's recorded state is another one, keyframe by keyframe.
///
/// A change lies between two readings that know the value and differ in it. A reading that does not know it says nothing,
/// and while L2 runs the fields are those of another VMCS.
struct StateSearch {
  private struct Question: Hashable {
    var part: StatePart
    var thread: Int32
    var moment: UInt64
    var forward: Bool
  }

  private struct Known {
    var value: UInt64
    /// Of the earliest reading with that value.
    var time: UInt64
  }

  private struct Entry {
    var time: UInt64
    var isNested: Bool
    var values: [UInt64?]
  }

  private let file: RecordingFile
  /// Indices of the chunks STATE from a keyframe to the next.
  private let groups: [ArraySlice<Int>]
  private let mostReadings: Int
  /// Where the last search stopped short: the next group, and what was known there.
  private var stopped: (question: Question, group: Int, known: [Known?], isNested: Bool?)?

  /// - Parameter mostReadings: of single vCPUs, to be decoded for one answer.
  init(_ file: RecordingFile, mostReadings: Int = 6000) {
    self.file = file
    self.mostReadings = mostReadings
    let chunks = file.indices(of: .state)
    let keyframes = chunks.indices.filter { file.chunks[chunks[$0]].header.stream == 0 }
    groups = keyframes.enumerated().map { place, start in
      chunks[start..<(place + 1 < keyframes.count ? keyframes[place + 1] : chunks.count)]
    }
  }

  /// - Parameters:
  ///   - moment: the trace clock, raw: after it, or before it, the change is to be.
  ///   - bounds: of the recording: what is not between them is nowhere to go to.
  mutating func change(
    of part: StatePart, thread: Int32, from moment: UInt64, forward: Bool, in bounds: (first: UInt64, last: UInt64)
  ) -> StateChange {
    let question = Question(part: part, thread: thread, moment: moment, forward: forward)
    // The last group that has begun by then.
    var group = (groups.firstIndex { time(of: $0) > max(moment, bounds.first) } ?? groups.count) - 1
    if forward { group = max(0, group) }
    var known: [Known?] = []
    var isNested: Bool?
    if let stopped, stopped.question == question { (_, group, known, isNested) = stopped }
    stopped = nil
    var decoded = 0
    while groups.indices.contains(group) {
      let entries = read(group, part, thread, &decoded)
      if forward {
        for entry in entries {
          if entry.time > bounds.last { return .none }
          if entry.time <= max(moment, bounds.first) {
            // What is there now is what is to change.
            if let isNested, isNested != entry.isNested { known = [] }
            isNested = entry.isNested
            learn(entry, &known, isNewer: true)
          } else if isNested ?? entry.isNested == entry.isNested {
            isNested = entry.isNested
            if !differing(entry, known).isEmpty { return .found(entry.time) }
            learn(entry, &known, isNewer: false)
          }
        }
      } else {
        for entry in entries.reversed() where entry.time <= moment && isNested ?? entry.isNested == entry.isNested {
          isNested = entry.isNested
          let changes = differing(entry, known)
          let times = changes.compactMap { known[$0]?.time }
          if let last = times.filter({ $0 < moment }).max() { return last > bounds.first ? .found(last) : .none }
          // What came at this very moment is where one stands.
          for index in changes { known[index] = nil }
          learn(entry, &known, isNewer: false)
        }
      }
      group += forward ? 1 : -1
      if decoded >= mostReadings, groups.indices.contains(group) {
        stopped = (question, group, known, isNested)
        let reached = forward ? groups[group].first : groups[group].last
        return .looked(to: reached.map { file.chunks[$0].header.first } ?? moment)
      }
    }
    return .none
  }

  private func time(of group: ArraySlice<Int>) -> UInt64 { group.first.map { file.chunks[$0].header.first } ?? .max }

  /// What the readings of one vCPU from a keyframe on have of a part.
  private func read(_ group: Int, _ part: StatePart, _ thread: Int32, _ decoded: inout Int) -> [Entry] {
    var decoder = StateDecoder()
    var entries: [Entry] = []
    for chunk in groups[group] {
      // What a damaged chunk said is not known, nor what rests on it: the decoder says so.
      guard let payload = file.payload(chunk), (try? decoder.decode(payload)) != nil, decoder.isKnown else { continue }
      decoded += max(1, decoder.readings.count)
      guard let reading = decoder.readings.last(where: { $0.tid == thread }) else { continue }
      entries.append(
        Entry(
          time: file.chunks[chunk].header.first, isNested: part.isOfCurrent && reading.isNested,
          values: part.values(in: reading)))
    }
    return entries
  }

  /// The places in which an entry has another value than is known.
  private func differing(_ entry: Entry, _ known: [Known?]) -> [Int] {
    zip(known, entry.values).enumerated().compactMap { index, pair in
      guard let before = pair.0, let value = pair.1, before.value != value else { return nil }
      return index
    }
  }

  private func learn(_ entry: Entry, _ known: inout [Known?], isNewer: Bool) {
    if known.count != entry.values.count { known = Array(repeating: nil, count: entry.values.count) }
    for (index, value) in entry.values.enumerated() {
      guard let value else { continue }
      if let before = known[index], before.value == value || !isNewer {
        // Looking back, the value was there earlier still.
        if before.value == value, entry.time < before.time { known[index]?.time = entry.time }
      } else {
        known[index] = Known(value: value, time: entry.time)
      }
    }
  }
}
