import Architecture
import TraceFormat

/// What snapshots showed last: where the next one's interval begins, and the courses of the rates. What goes on counting from
/// sums of the same events shows with it what it would have shown, had it counted them itself.
public struct ShownMarks: Sendable {
  struct Cell: Sendable {
    var setting: VCPUSetting
    var isa: UInt32
    var code: UInt32
    var count: UInt64
    var handling: UInt64
    var charges: [(control: ControlID, count: UInt64, handling: UInt64)]
  }

  struct Thread: Sendable {
    /// That of ended threads for their sum.
    var tid: Int32
    var exits: UInt64
    var time: TimeSplit
    var cells: [Cell] = []
  }

  var builder: SnapshotBuilder
  /// What the settings' numbers stand for.
  var settings: [SettingDescription]
  var threads: [Thread] = []
  var losses: [PageStream: UInt64]
}

extension Aggregator {
  /// What was shown last.
  public var shown: ShownMarks {
    var marks = ShownMarks(builder: builder, settings: settings.descriptions, losses: shownLosses)
    for index in 0..<slots.count where !slots.slots[index].pointee.isIgnored {
      marks.threads.append(Self.marks(slots.slots[index]))
    }
    if let ended { marks.threads.append(Self.marks(ended)) }
    return marks
  }

  private static func marks(_ slot: UnsafeMutablePointer<VCPUSlot>) -> ShownMarks.Thread {
    var thread = ShownMarks.Thread(
      tid: slot.pointee.tid, exits: slot.pointee.shownExits, time: slot.pointee.shownTime)
    for setting in slot.pointee.pastSettings + [slot.pointee.setting] {
      let cells = slot.pointee.cells(of: setting)
      for index in 0..<ReasonIndex.capacity {
        guard let cell = cells[index] else { continue }
        var mark = ShownMarks.Cell(
          setting: setting, isa: cell.pointee.isa, code: cell.pointee.code, count: cell.pointee.shownCount,
          handling: cell.pointee.shownHandling, charges: [])
        if let charges = cell.pointee.charges.entries {
          for charge in 0..<cell.pointee.charges.count {
            mark.charges.append((charges[charge].control, charges[charge].shownCount, charges[charge].shownHandling))
          }
        }
        thread.cells.append(mark)
      }
    }
    return thread
  }

  /// Goes on showing where another one, or this one before it was cut, left off. What was counted here has all that was
  /// counted there, and nothing was shown of it yet.
  public mutating func continueShowing(_ marks: ShownMarks) {
    builder.continueShowing(marks.builder)
    // Of other formats' events there is nothing to go on with.
    if builder.shownEventCounts.count != table.rowCount { builder.shownEventCounts = [] }
    shownLosses = marks.losses
    let numbers = SettingNumbers(marks.settings.map { settings.adopt($0) })
    for thread in marks.threads {
      // One that has no row any more is among those that ended.
      let own = thread.tid == Self.endedThread ? ended : slots.find(thread.tid) ?? ended
      guard let own else { continue }
      own.pointee.shownExits &+= thread.exits
      own.pointee.shownTime.add(thread.time)
      for mark in thread.cells { apply(mark, numbers.number(mark.setting), to: own) }
    }
  }

  private mutating func apply(
    _ mark: ShownMarks.Cell, _ setting: VCPUSetting, to slot: UnsafeMutablePointer<VCPUSlot>
  ) {
    let index = reasonIndex(isa: mark.isa, code: mark.code)
    // What was counted before anybody had read the controls may be another setting's by now.
    let known = slot.pointee.pastSettings + [slot.pointee.setting]
    let candidates = (known.contains(setting) ? [setting] : []) + known
    guard let place = candidates.first(where: { slot.pointee.cells(of: $0)[index] != nil }),
      let cell = slot.pointee.cells(of: place)[index]
    else { return }
    cell.pointee.shownCount &+= mark.count
    cell.pointee.shownHandling &+= mark.handling
    for charge in mark.charges where charge.count | charge.handling != 0 {
      let entry = cell.pointee.charges.index(of: charge.control)
      cell.pointee.charges.entries?[entry].shownCount &+= charge.count
      cell.pointee.charges.entries?[entry].shownHandling &+= charge.handling
    }
  }
}
