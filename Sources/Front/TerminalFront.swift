import Aggregator
import CNcurses
import Errors
import Glibc
import Screen

/// The front on a real terminal: waits for keys, snapshots and signals, and draws what changed.
public enum TerminalFront {
  public struct Options: Sendable {
    /// False for `--no-color` and `NO_COLOR`.
    public var usesColours = true
    /// False for `--no-mouse`.
    public var usesMouse = true
    /// True for `--ascii`. A locale without UTF-8 means the same.
    public var isASCII = false

    public init(usesColours: Bool = true, usesMouse: Bool = true, isASCII: Bool = false) {
      self.usesColours = usesColours
      self.usesMouse = usesMouse
      self.isASCII = isASCII
    }
  }

  /// Why `run` returned.
  public enum Ending: Sendable, Hashable {
    case quit
    /// A signal asked to end.
    case signal
    /// The terminal is gone.
    case inputClosed
  }

  /// Not even xterm and vt100 are known: the terminal database is missing.
  public struct NoTerminal: CodedError {
    public var message: String { "no terminal description found, not even of xterm and vt100" }
    public var hint: String? { "install ncurses-base" }
    public var kind: ErrorKind { .failure }
  }

  /// What the terminal was asked for, undone: bytes to write from an emergency path. Empty while no front runs.
  public static var resetBytes: [UInt8] {
    var count = 0
    guard let bytes = terminal_reset_bytes(&count) else { return [] }
    return UnsafeRawBufferPointer(start: bytes, count: count).map { $0 }
  }

  /// Writes those bytes and restores the line discipline: for a signal handler, as it only calls write(2) and
  /// tcsetattr(3). Does nothing while no front runs.
  public static func emergencyReset() { terminal_emergency_reset() }

  /// Runs until somebody wants to leave. The terminal is given back before it returns.
  ///
  /// - Parameters:
  ///   - initial: the state to start from.
  ///   - snapshots: the newest snapshot if there is one since the last call, otherwise nil. Never blocks.
  ///   - wakeFD: readable (an eventfd or a pipe) when `snapshots` has something; -1 for none. It is drained here.
  ///   - exitFD: readable when a signal asks to end; -1 for none. A new size of the window needs no descriptor: ncurses's
  ///     own handler of SIGWINCH ends the wait.
  ///   - opened: called once the terminal is taken: `resetBytes` says from then on how to give it back in an emergency.
  ///   - perform: does what a key asked for. `.quit` is not passed on: it ends the run.
  /// - Throws: `NoTerminal`.
  public static func run(
    initial: FrontModel, options: Options = Options(), snapshots: () -> Snapshot?, wakeFD: Int32, exitFD: Int32,
    opened: () -> Void = {}, perform: (Action) -> Void
  ) throws(NoTerminal) -> Ending {
    var found = terminal_description()
    guard terminal_open(options.usesColours ? 1 : 0, options.usesMouse ? 1 : 0, &found) == 0 else {
      throw NoTerminal()
    }
    defer { terminal_close() }
    opened()
    let loop = Loop(model: initial, isASCII: options.isASCII || found.is_utf8 == 0, hasColours: found.colours > 0)
    let asked = getenv("TERM").map { String(cString: $0) } ?? ""
    let used = withUnsafeBytes(of: found.name) { name in
      String(decoding: name.prefix { $0 != 0 }, as: UTF8.self)
    }
    if asked != used { loop.model.say("TERM=\(asked) is not known here: drawing as \(used)") }
    return loop.run(snapshots: snapshots, wakeFD: wakeFD, exitFD: exitFD, perform: perform)
  }
}

/// The main loop's state.
private final class Loop {
  var model: FrontModel
  let isASCII: Bool
  let hasColours: Bool
  var drawn: Screen?
  var size: (columns: Int32, rows: Int32) = (0, 0)
  var redraws = 0

  init(model: FrontModel, isASCII: Bool, hasColours: Bool) {
    self.model = model
    self.isASCII = isASCII
    self.hasColours = hasColours
  }

  func run(
    snapshots: () -> Snapshot?, wakeFD: Int32, exitFD: Int32, perform: (Action) -> Void
  ) -> TerminalFront.Ending {
    var emptyReads = 0
    while true {
      model.tick(monotonicNanoseconds())
      while let next = snapshots() { model.observe(next) }
      draw()
      if let action = model.watchAction() { perform(action) }
      var polled = [
        pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0),
        pollfd(fd: wakeFD, events: Int16(POLLIN), revents: 0),
        pollfd(fd: exitFD, events: Int16(POLLIN), revents: 0),
      ]
      let ready = poll(&polled, nfds_t(polled.count), wakeFD < 0 ? 500 : -1)
      // A signal may be a window that changed its size: that is drawn first.
      if ready < 0 {
        if errno == EINTR { continue }
        return .inputClosed
      }
      if polled[1].revents != 0 { drain(wakeFD) }
      if polled[2].revents != 0 { return .signal }
      if polled[0].revents & Int16(POLLIN) != 0 {
        var count = 0
        model.tick(monotonicNanoseconds())
        while let key = nextKey() {
          count += 1
          guard let key else { continue }
          for action in model.handle(key) {
            if action == .quit { return .quit }
            perform(action)
          }
          // A click refers to what is on the screen.
          if count % 64 == 0 { break }
          model.adopt(
            Renderer.render(model, columns: Int(size.columns), rows: Int(size.rows), isASCII: isASCII))
        }
        // Readable without a key, again and again, is the end of the input.
        emptyReads = count == 0 ? emptyReads + 1 : 0
        if emptyReads >= 3 && bytesWaiting() == 0 { return .inputClosed }
      } else if polled[0].revents != 0 {
        return .inputClosed
      }
    }
  }

  private func draw() {
    var now: (columns: Int32, rows: Int32) = (0, 0)
    terminal_size(&now.columns, &now.rows)
    if now != size {
      size = now
      terminal_resize(now.columns, now.rows)
      drawn = nil
    }
    if model.redraws != redraws {
      redraws = model.redraws
      terminal_clear()
      drawn = nil
    }
    let frame = Renderer.render(model, columns: Int(size.columns), rows: Int(size.rows), isASCII: isASCII)
    model.adopt(frame)
    let changes = frame.screen.changes(from: drawn)
    for change in changes { put(change) }
    if !changes.isEmpty || drawn == nil { terminal_refresh() }
    drawn = frame.screen
  }

  private func put(_ change: Screen.Change) {
    let cell = change.cell
    let marks: Int32 = cell.firstMark == 0 ? 1 : cell.secondMark == 0 ? 2 : 3
    let scalars = [cell.scalar, cell.firstMark, cell.secondMark]
    let style = Style.of(cell.role, isSelected: cell.isSelected, hasColours: hasColours)
    terminal_put(
      Int32(truncatingIfNeeded: change.x), Int32(truncatingIfNeeded: change.y), scalars, marks, Int32(cell.width),
      style.attributes, style.foreground, style.background)
  }

  /// The next key that is waiting: nil when none is, `.some(nil)` for one that means nothing.
  private func nextKey() -> Key?? {
    let key = terminal_next_key(0)
    let kind = Int(key.kind)
    let character = Unicode.Scalar(key.value)
    switch kind {
    case TERMINAL_NOTHING: return nil
    case TERMINAL_CHARACTER:
      switch key.value {
      case 9: return .tab
      case 27: return .escape
      default: return .some(character.map { .character($0) })
      }
    case TERMINAL_UP: return .up
    case TERMINAL_DOWN: return .down
    case TERMINAL_LEFT: return .left
    case TERMINAL_RIGHT: return .right
    case TERMINAL_PAGE_UP: return .pageUp
    case TERMINAL_PAGE_DOWN: return .pageDown
    case TERMINAL_HOME: return .home
    case TERMINAL_END: return .end
    case TERMINAL_ENTER: return .enter
    case TERMINAL_BACKSPACE: return .backspace
    case TERMINAL_DELETE: return .delete
    case TERMINAL_BACK_TAB: return .backTab
    case TERMINAL_FUNCTION: return .function(Int(key.value))
    case TERMINAL_CLICK: return .click(x: Int(key.column), y: Int(key.row))
    case TERMINAL_WHEEL_UP: return .wheel(up: true)
    case TERMINAL_WHEEL_DOWN: return .wheel(up: false)
    default: return .some(nil)
    }
  }

  private func monotonicNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(max(0, time.tv_sec)) &* 1_000_000_000 &+ UInt64(max(0, time.tv_nsec))
  }

  private func drain(_ descriptor: Int32) {
    var bytes: (UInt64, UInt64) = (0, 0)
    _ = withUnsafeMutableBytes(of: &bytes) { read(descriptor, $0.baseAddress, $0.count) }
  }

  private func bytesWaiting() -> Int32 {
    var count: Int32 = 0
    return ioctl(STDIN_FILENO, UInt(FIONREAD), &count) == 0 ? count : 0
  }
}

/// How roles look.
private struct Style {
  var attributes: UInt32 = 0
  var foreground: Int32 = -1
  var background: Int32 = -1

  private static let bold = UInt32(TERMINAL_BOLD)
  private static let dim = UInt32(TERMINAL_DIM)
  private static let reverse = UInt32(TERMINAL_REVERSE)
  private static let underline = UInt32(TERMINAL_UNDERLINE)

  static func of(_ role: Role, isSelected: Bool, hasColours: Bool) -> Style {
    // The row under the cursor is one bar: colours of its own would make a patchwork of it.
    if isSelected { return Style(attributes: role == .whatIfOff ? reverse | dim : reverse) }
    let (attributes, colour): (UInt32, Int32) =
      switch role {
      case .normal: (0, -1)
      case .title: (bold, -1)
      case .heading: (hasColours ? 0 : bold, 6)
      case .sorted: (bold | underline, 6)
      case .value: (bold, -1)
      case .dim: (dim, -1)
      case .changed: (bold, 3)
      case .warning: (bold, 3)
      case .error: (hasColours ? bold : bold | reverse, 1)
      case .charged: (0, 2)
      case .stale: (dim, 3)
      case .whatIfOff: (dim, -1)
      case .tab: (bold | reverse, -1)
      case .key: (bold, 6)
      case .guest: (0, 2)
      case .kernel: (0, 1)
      case .user: (0, 3)
      case .halted: (0, 4)
      }
    return Style(attributes: attributes, foreground: hasColours ? colour : -1)
  }
}
