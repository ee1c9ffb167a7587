/// What a cell means. Colours and attributes are chosen from it at the very end, so that every screen stays legible in
/// monochrome and a test can ask what is highlighted.
public enum Role: UInt8, Sendable, CaseIterable {
  case normal
  /// The program's name and the first line.
  case title
  /// Column heads, names of groups.
  case heading
  /// The column sorted by.
  case sorted
  /// A figure that matters.
  case value
  /// Labels and what is of little use now.
  case dim
  /// Changed much since the interval before.
  case changed
  case warning
  case error
  /// A control that causes exits.
  case charged
  /// An old reading.
  case stale
  /// Struck by the what-if.
  case whatIfOff
  /// The pane that is on.
  case tab
  /// A key to press.
  case key
  /// Bars, one role per part of the vCPUs' time.
  case guest
  case kernel
  case user
  case halted

  /// One letter per role, for dumps in tests; normal is a blank.
  public var letter: Character {
    switch self {
    case .normal: " "
    case .title: "T"
    case .heading: "h"
    case .sorted: "S"
    case .value: "v"
    case .dim: "."
    case .changed: "c"
    case .warning: "W"
    case .error: "E"
    case .charged: "C"
    case .stale: "s"
    case .whatIfOff: "-"
    case .tab: "t"
    case .key: "k"
    case .guest: "g"
    case .kernel: "n"
    case .user: "u"
    case .halted: "l"
    }
  }
}

/// A run of text in one role.
public struct Span: Sendable, Hashable {
  public var text: String
  public var role: Role

  public init(_ text: String, _ role: Role = .normal) {
    self.text = text
    self.role = role
  }
}

/// A line of text in several roles.
public struct Line: Sendable, Hashable, ExpressibleByStringLiteral {
  public var spans: [Span]

  public init(_ spans: [Span] = []) { self.spans = spans }
  public init(_ text: String, _ role: Role = .normal) { spans = [Span(text, role)] }
  public init(stringLiteral value: String) { spans = [Span(value)] }

  public mutating func append(_ text: String, _ role: Role = .normal) { spans.append(Span(text, role)) }

  /// Cells the line takes.
  public var width: Int { spans.reduce(0) { $0 + $1.text.displayWidth } }
  public var text: String { spans.map(\.text).joined() }
}
