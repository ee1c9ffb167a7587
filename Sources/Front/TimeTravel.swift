import Aggregator
import Architecture
import Screen
import TraceFormat

/// Going about in a recording: by exits, by changes, by marks, to a time.
extension FrontModel {
  /// What a key of time travel does.
  mutating func travel(_ command: Command) -> [Action] {
    switch command {
    case .exitForward: return hold + [.stepExit(1)]
    case .exitBack: return hold + [.stepExit(-1)]
    case .reasonForward: return toReason(forward: true)
    case .reasonBack: return toReason(forward: false)
    case .changeForward: return toChange(forward: true)
    case .changeBack: return toChange(forward: false)
    case .nextMark: return toMark(forward: true)
    case .previousMark: return toMark(forward: false)
    case .markRange: return markRange()
    case .faster: return changeSpeed(faster: true)
    case .slower: return changeSpeed(faster: false)
    default: return []
    }
  }

  /// What was found is to be looked at, not to run away again.
  private var hold: [Action] { [.setPaused(true)] }

  /// The reason whose details are open, or the one under the cursor.
  private mutating func toReason(forward: Bool) -> [Action] {
    guard let reason = detailedReason else {
      say("no exit reason under the cursor: e goes to any exit, :exit REASON to one by name")
      return []
    }
    return hold + [.seekToExit(ReasonCode(isa: reason.isa, code: reason.code), forward: forward)]
  }

  /// To the next change of what is under the cursor: a field of a vCPU, MSRs of its bitmap, a control; else of any control.
  private mutating func toChange(forward: Bool) -> [Action] {
    awaitsMark = true
    guard pane.showsState else {
      guard pane == .controls else { return hold + [.seekToChange(nil, forward: forward)] }
      let keys = rowKeys(.controls)
      let index = cursorIndex(.controls, keys)
      guard keys.indices.contains(index), case .control(let control) = keys[index] else {
        return hold + [.seekToChange(nil, forward: forward)]
      }
      return hold + [.seekToChange(control, forward: forward)]
    }
    guard let (tid, part) = partUnderCursor else {
      say("no field of a vCPU's state under the cursor")
      return []
    }
    return hold + [.seekToFieldChange(tid: tid, part, forward: forward)]
  }

  /// The field or the MSRs that the cursor is on, and of which vCPU.
  private var partUnderCursor: (tid: Int32, part: StatePart)? {
    let isCompared = comparison != nil && pane != .nested && pane != .msrs
    guard let shown = guestVCPU?.vcpu.tid, shown != 0 else { return nil }
    let tid = isCompared && !pins.contains(shown) ? pins[0] : shown
    let keys = rowKeys(pane)
    let index = cursorIndex(pane, keys)
    guard keys.indices.contains(index) else { return nil }
    switch pane {
    case .msrs:
      let rows = msrRows()
      return rows.indices.contains(index) ? (tid, .msrs(first: rows[index].first, last: rows[index].last)) : nil
    case .guest, .host, .nested:
      if isCompared {
        guard case .field(let name) = keys[index] else { return nil }
        return (tid, .fields([name]))
      }
      let rows = stateRows(pane)
      let names = rows.indices.contains(index) ? rows[index].readings.map(\.field.name) : []
      return names.isEmpty ? nil : (tid, pane == .nested ? .vmcs12(names) : .fields(names))
    default: return nil
    }
  }

  private mutating func toMark(forward: Bool) -> [Action] {
    guard let mark = mark(forward: forward) else {
      say("no mark \(forward ? "after" : "before") this")
      return []
    }
    awaitsMark = true
    return hold + [.seekTo(mark.position)]
  }

  private mutating func markRange() -> [Action] {
    guard let playback = snapshot?.playback else { return [] }
    if playback.range != nil { return clearRange() }
    guard let start = rangeStart else {
      rangeStart = playback.position
      say("range from \(timeText(playback.position)): go to its other end and press m again; Esc: no range")
      return []
    }
    guard start != playback.position else {
      say("the range's other end has to be another place; Esc: no range")
      return []
    }
    return setRange(from: start, to: playback.position)
  }

  private mutating func setRange(from: UInt64, to: UInt64) -> [Action] {
    rangeStart = nil
    let range = min(from, to)..<max(from, to)
    say("only \(text(of: range)) is counted now; m or Esc ends that")
    return [.setRange(from: range.lowerBound, to: range.upperBound)]
  }

  /// Takes back the range, or the one mark there is of it.
  mutating func clearRange() -> [Action] {
    rangeStart = nil
    guard snapshot?.playback?.range != nil else { return [] }
    say("figures of all up to the position")
    return [.clearRange]
  }

  private static let speeds: [Double] = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]

  private mutating func changeSpeed(faster: Bool) -> [Action] {
    let now = snapshot?.playback?.speed ?? 1
    let next =
      faster ? Self.speeds.first { $0 > now * 1.001 } : Self.speeds.last { $0 < now * 0.999 }
    guard let next else {
      say("speed x\(Format.count(now)); :speed N sets any")
      return []
    }
    say("speed x\(Format.count(next))")
    return [.setSpeed(next)]
  }

  // MARK: Times and names that are typed

  private var recordingTime: RecordingTime? {
    guard let playback = snapshot?.playback else { return nil }
    return RecordingTime(
      duration: playback.duration, position: playback.position,
      sinceMidnight: playback.wallClock.flatMap(localTime.sinceMidnight))
  }

  /// Goes to a time as it was typed.
  mutating func seek(_ text: String) -> [Action] {
    guard let time = recordingTime, !text.isEmpty else { return [] }
    guard let point = TimePoint(text) else {
      say("a time: \(TimePoint.forms)")
      return []
    }
    return held + [.seekTo(position(point, in: time))]
  }

  /// A place in the recording, and a word where what was asked for lies outside of it.
  private mutating func position(_ point: TimePoint, in time: RecordingTime) -> UInt64 {
    guard let position = point.position(in: time) else {
      say("that is before the recording's first event")
      return 0
    }
    if position > time.duration { say("that is after the recording's last event") }
    return min(position, time.duration)
  }

  /// `FROM TO`, where each may have a blank in it: `3m ago 1m ago`. What is relative of the second counts from the first.
  mutating func range(_ text: String) -> [Action] {
    guard var time = recordingTime else { return [] }
    var words: [String] = []
    for word in text.split(separator: " ") {
      if word == "ago", let last = words.popLast() { words.append(last + "ago") } else { words.append(String(word)) }
    }
    if words.count == 2, let from = TimePoint(words[0]), let to = TimePoint(words[1]) {
      let first = position(from, in: time)
      time.position = first
      let last = position(to, in: time)
      guard first != last else {
        say("range: the two are the same place")
        return []
      }
      return setRange(from: first, to: last)
    }
    if words.isEmpty, snapshot?.playback?.range != nil || rangeStart != nil { return clearRange() }
    say("range FROM TO: each \(TimePoint.forms)")
    return []
  }

  /// The next exit of a reason by its name or its number.
  mutating func exit(_ text: String) -> [Action] {
    let name = text.filter { $0 != " " }.uppercased()
    guard !name.isEmpty else { return hold + [.stepExit(1)] }
    let isa: UInt32? =
      switch snapshot?.source.isa {
      case "vmx": 1
      case "svm": 2
      default: nil
      }
    let seen = statistics(0).reasons
    // What occurred goes before what could; then what begins so.
    let found =
      seen.first { $0.name.uppercased() == name }.map { ReasonCode(isa: $0.isa, code: $0.code) }
      ?? Self.reason(named: name, isa: isa)
      ?? seen.first { $0.name.uppercased().hasPrefix(name) }.map { ReasonCode(isa: $0.isa, code: $0.code) }
    guard let found else {
      say("exit: no reason \(text) is known; the exits pane has their names")
      return []
    }
    return hold + [.seekToExit(found, forward: true)]
  }

  private static func reason(named name: String, isa: UInt32?) -> ReasonCode? {
    let known = ExitReason.lookup(name: name).first { isa == nil || $0.isa.rawValue == isa }
    if let known { return ReasonCode(isa: known.isa.rawValue, code: known.code) }
    guard let isa else { return nil }
    let code = name.hasPrefix("0X") ? UInt32(name.dropFirst(2), radix: 16) : UInt32(name)
    return code.map { ReasonCode(isa: isa, code: $0) }
  }
}
