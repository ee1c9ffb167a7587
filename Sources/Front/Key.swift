import Aggregator
import Architecture
import TraceFormat

/// What a person did at the terminal.
public enum Key: Sendable, Hashable {
  case character(Unicode.Scalar)
  case up, down, left, right, pageUp, pageDown, home, end
  case enter, escape, tab, backTab, backspace, delete
  case function(Int)
  /// At a cell, counted from the upper left one, (0, 0).
  case click(x: Int, y: Int)
  case wheel(up: Bool)

  /// As it is written in help.
  public var label: String {
    switch self {
    case .character(" "): "Space"
    case .character(let c): String(Character(c))
    case .up: "Up"
    case .down: "Down"
    case .left: "Left"
    case .right: "Right"
    case .pageUp: "PgUp"
    case .pageDown: "PgDn"
    case .home: "Home"
    case .end: "End"
    case .enter: "Enter"
    case .escape: "Esc"
    case .tab: "Tab"
    case .backTab: "S-Tab"
    case .backspace: "Backspace"
    case .delete: "Del"
    case .function(let n): "F\(n)"
    case .click: "click"
    case .wheel: "wheel"
    }
  }
}

/// What the front asks of the program around it.
public enum Action: Sendable, Hashable {
  case quit
  /// Seconds.
  case setInterval(Double)
  case setPaused(Bool)
  /// Leave the recording and show this host.
  case goLive
  /// Seconds forward or, negative, back in the recording.
  case seekBy(Double)
  /// Nanoseconds from the first event.
  case seekTo(UInt64)
  /// So many samples forward or back.
  case step(Int)
  /// So many exits forward or back.
  case stepExit(Int)
  /// The next exit of a reason, or the one before.
  case seekToExit(ReasonCode, forward: Bool)
  /// Where a control changes next, or did before; nil: any.
  case seekToChange(ControlID?, forward: Bool)
  /// Where a part of a vCPU's recorded state changes next, or did before.
  case seekToFieldChange(tid: Int32, StatePart, forward: Bool)
  /// Every figure is of what lies between two positions, nanoseconds from the first event.
  case setRange(from: UInt64, to: UInt64)
  /// Figures are of all up to the position again.
  case clearRange
  /// What comes after what is shown now is to be counted by itself, too.
  case markBefore
  /// And not any more.
  case forgetBefore
  /// 1 is the pace of the recording.
  case setSpeed(Double)
  /// The threads of the vCPUs whose whole state is on the screen: of them it is to be read with each interval, of no
  /// others.
  case watch(Set<Int32>)
  /// Ask the VMM for the registers of one vCPU, which takes it out of the guest for a moment.
  case askVMM(tid: Int32)
  /// Live: begin a recording, with the last seconds before; or end the one that runs.
  case toggleRecording
}

/// Everything a key can ask for.
public enum Command: Sendable, Hashable {
  case quit, help
  case up, down, pageUp, pageDown, top, bottom
  case nextPane, previousPane
  case pane(Pane)
  case filter, previousSort, nextSort, invert
  case pause, shorterInterval, longerInterval
  case stepForward, stepBack, jumpBack, jumpForward, jumpTo
  case exitForward, exitBack, reasonForward, reasonBack, changeForward, changeBack, nextMark, previousMark
  case markRange, faster, slower
  case drill, back, markBefore
  case whatIf, clearWhatIf
  case nextVCPU, previousVCPU, pin, unavailable, askVMM, nextSetting, record
  case live, prompt, redraw
}

/// The panes, numbered as on the keys.
public enum Pane: Int, Sendable, CaseIterable {
  case exits = 1
  case controls, guest, host, vcpus, details, log, msrs, nested, diff

  public var title: String {
    switch self {
    case .exits: "exits"
    case .controls: "controls"
    case .guest: "guest"
    case .host: "host"
    case .vcpus: "vcpus"
    case .details: "details"
    case .log: "log"
    case .msrs: "msrs"
    case .nested: "nested"
    case .diff: "diff"
    }
  }

  /// The digit that is pressed for it.
  public var key: String { String(rawValue % 10) }

  /// True for the panes that show what was read of one vCPU.
  var showsState: Bool {
    switch self {
    case .guest, .host, .msrs, .nested: true
    case .exits, .controls, .vcpus, .details, .log, .diff: false
    }
  }
}

/// One line of the keymap: it is what the keys do, what help says, and what the hint line offers.
public struct Binding: Sendable {
  public var keys: [Key]
  public var command: Command
  /// For help.
  public var help: String
  /// For the hint line: shown after the first key; nil keeps it out.
  public var hint: String?
  /// Hints with a low number are kept longest when the line is short.
  public var hintOrder: Int
  /// True for what only a recording can do.
  public var needsRecording: Bool

  init(
    _ keys: [Key], _ command: Command, _ help: String, hint: String? = nil, order: Int = 9, needsRecording: Bool = false
  ) {
    self.keys = keys
    self.command = command
    self.help = help
    self.hint = hint
    hintOrder = order
    self.needsRecording = needsRecording
  }
}

/// The keys. Help and the hint line are made from this table.
public enum Keymap {
  public static let bindings: [Binding] = [
    Binding([.character("?"), .character("h"), .function(1)], .help, "this help", hint: "help", order: 0),
    Binding([.character("q"), .function(10)], .quit, "quit", hint: "quit", order: 1),
    Binding([.up, .character("k")], .up, "one row up"),
    Binding([.down, .character("j")], .down, "one row down"),
    Binding([.pageUp], .pageUp, "one page up"),
    Binding([.pageDown], .pageDown, "one page down"),
    Binding([.home, .character("g")], .top, "to the first row"),
    Binding([.end, .character("G")], .bottom, "to the last row"),
    Binding([.tab], .nextPane, "next pane"),
    Binding([.backTab], .previousPane, "previous pane"),
    Binding([.character("1")], .pane(.exits), "exits: why guests exit, how often, how long, and what causes it"),
    Binding(
      [.character("2")], .pane(.controls),
      "controls: every bit of the control words, now, as configured and as allowed, and what it causes"),
    Binding(
      [.character("3")], .pane(.guest), "guest: what is in the VMCS (VMCB) of a vCPU, each value with where it is from"),
    Binding([.character("4")], .pane(.host), "host: the host's state in the VMCS, which a VM exit loads"),
    Binding([.character("5")], .pane(.vcpus), "vcpus: VMs and vCPUs, and where their time goes"),
    Binding([.character("6")], .pane(.details), "details: all that is known of one exit reason"),
    Binding([.character("7")], .pane(.log), "log: messages, lost events, events by kind"),
    Binding([.character("8")], .pane(.msrs), "msrs: which MSRs the guest reaches without an exit, and which exit"),
    Binding([.character("9")], .pane(.nested), "nested: the VMCS that L1 wrote for its own guest (vmcs12)"),
    Binding(
      [.character("0")], .pane(.diff),
      "diff: what is shown beside a before (D), by reason and by control, and which controls changed"),
    Binding(
      [.character("D")], .markBefore,
      "take what is shown now as the before: in a recording the range, else all that was counted until now",
      hint: "before", order: 8),
    Binding(
      [.enter], .drill,
      "exits: details of the reason; vcpus: only that VM or vCPU; fields and controls: all that is known of them",
      hint: "drill", order: 5),
    Binding(
      [.escape], .back,
      "back: out of details, of a comparison, of a filter, of a range, of a VM or vCPU; diff: give up the before"),
    Binding(
      [.character("/")], .filter,
      "filter by a regular expression, fields by name, encoding or description; Esc clears it", hint: "filter",
      order: 3),
    Binding([.character("<")], .previousSort, "sort by the column to the left"),
    Binding([.character(">"), .function(6)], .nextSort, "sort by the column to the right", hint: "sort", order: 4),
    Binding([.character("I")], .invert, "turn the order around"),
    Binding(
      [.character("x")], .whatIf, "what if this control were off (exits: what the reason is charged to)",
      hint: "what-if", order: 2),
    Binding([.character("X")], .clearWhatIf, "what-if: every control on again"),
    Binding([.character("r")], .record, "record into a file, the last seconds before it included; again: end that"),
    Binding(
      [.character("s")], .nextSetting, "controls: what was counted in the next setting of the controls, or in all"),
    Binding([.character("n")], .nextVCPU, "the next vCPU", hint: "next vCPU", order: 9),
    Binding([.character("N")], .previousVCPU, "the previous vCPU"),
    Binding(
      [.character("=")], .pin,
      "pin this vCPU; on another, once more: only what differs between the two; a third time: end", hint: "pin",
      order: 6),
    Binding([.character("u")], .unavailable, "show or hide the fields that only VMREAD could tell"),
    Binding(
      [.character("R")], .askVMM,
      "ask the VMM for this vCPU's registers: it takes the vCPU out of the guest for a moment"),
    Binding(
      [.character(" ")], .pause, "pause, and go on; at the end of a recording: play it again", hint: "pause", order: 6),
    Binding([.character("+")], .longerInterval, "longer interval"),
    Binding([.character("-")], .shorterInterval, "shorter interval"),
    Binding(
      [.character("L")], .live, "leave the recording, show this host", hint: "live", order: 8, needsRecording: true),
    Binding(
      [.character("t")], .stepForward, "next sample of a recording, and hold", hint: "step", order: 8,
      needsRecording: true),
    Binding([.character("T")], .stepBack, "previous sample of a recording, and hold", needsRecording: true),
    Binding(
      [.character("]")], .jumpForward, "jump forward in a recording", hint: "jump", order: 9, needsRecording: true),
    Binding([.character("[")], .jumpBack, "jump back in a recording", needsRecording: true),
    Binding(
      [.character("e")], .exitForward, "one exit forward, and hold", hint: "exit", order: 4, needsRecording: true),
    Binding([.character("E")], .exitBack, "one exit back, and hold", needsRecording: true),
    Binding(
      [.character("f")], .reasonForward, "to the next exit of the reason under the cursor, and hold", hint: "reason",
      order: 5, needsRecording: true),
    Binding([.character("F")], .reasonBack, "to the previous exit of that reason, and hold", needsRecording: true),
    Binding(
      [.character("c")], .changeForward,
      "to the next change of the control, field or MSR under the cursor (else any control), and hold",
      hint: "change", order: 5, needsRecording: true),
    Binding([.character("C")], .changeBack, "to its previous change, and hold", needsRecording: true),
    Binding(
      [.character("m")], .markRange,
      "a range begins here; again: ends here, and every pane counts it alone; a third time, or Esc: all",
      hint: "range", order: 4, needsRecording: true),
    Binding([.character("}")], .nextMark, "to the next mark of the time line, and hold", needsRecording: true),
    Binding([.character("{")], .previousMark, "to the mark before, and hold", needsRecording: true),
    Binding([.character(".")], .faster, "play faster, up to x100", needsRecording: true),
    Binding([.character(",")], .slower, "play slower, down to x0.1", needsRecording: true),
    Binding(
      [.character("b")], .jumpTo, "go to a time: \(TimePoint.forms)", hint: "go to", order: 5, needsRecording: true),
    Binding(
      [.character(":")], .prompt,
      "command: q, interval N, filter RE, sort COLUMN, pane N, speed N, goto TIME, range FROM TO, exit REASON",
      hint: "command", order: 7),
    Binding([.character("\u{c}")], .redraw, "draw the screen anew"),
  ]

  static func command(_ key: Key) -> Binding? { bindings.first { $0.keys.contains(key) } }

  /// How the keys of a line are written.
  static func label(_ binding: Binding) -> String {
    binding.keys.map { $0 == .character("\u{c}") ? "^L" : $0.label }.joined(separator: " ")
  }
}
