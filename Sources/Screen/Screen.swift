/// One cell of a screen.
public struct Cell: Sendable, Hashable {
  /// The character; 0 in the right half of a wide one.
  public var scalar: UInt32
  /// Combining marks on it, 0 where there is none. Further ones are left out.
  public var firstMark: UInt32 = 0
  public var secondMark: UInt32 = 0
  /// Cells it takes: 1, 2, or 0 for the right half of a wide character.
  public var width: UInt8 = 1
  public var role: Role = .normal
  /// True in the row that the cursor is on.
  public var isSelected = false

  public static let blank = Cell(scalar: 0x20)

  public init(scalar: UInt32, width: UInt8 = 1, role: Role = .normal) {
    self.scalar = scalar
    self.width = width
    self.role = role
  }
}

/// A part of a screen, in cells.
public struct Rectangle: Sendable, Hashable {
  public var x: Int
  public var y: Int
  public var width: Int
  public var height: Int

  public init(x: Int, y: Int, width: Int, height: Int) {
    self.x = x
    self.y = y
    self.width = max(0, width)
    self.height = max(0, height)
  }

  public var right: Int { x + width }
  public var bottom: Int { y + height }
  public func contains(x px: Int, y py: Int) -> Bool { px >= x && px < right && py >= y && py < bottom }
}

/// A grid of cells. What lies outside is left out, so that no drawing can go wrong for want of room.
public struct Screen: Sendable, Hashable {
  public let columns: Int
  public let rows: Int
  /// Row by row.
  public private(set) var cells: [Cell]
  /// True where only ASCII may be shown: our own signs are then replaced by their nearest, all else by `?`.
  public let isASCII: Bool

  /// The largest side: more than any terminal has, and small enough that nothing overflows.
  public static let largestSide = 4096

  public init(columns: Int, rows: Int, isASCII: Bool = false) {
    self.columns = min(max(columns, 0), Screen.largestSide)
    self.rows = min(max(rows, 0), Screen.largestSide)
    self.isASCII = isASCII
    cells = Array(repeating: .blank, count: self.columns * self.rows)
  }

  public subscript(x: Int, y: Int) -> Cell {
    x >= 0 && y >= 0 && x < columns && y < rows ? cells[y * columns + x] : .blank
  }

  /// Writes text from a cell to the right, up to but not including column `limit`; an ellipsis ends what does not fit.
  /// Control characters and other invisible ones never get into a cell.
  /// - Returns: the column behind the last cell written.
  @discardableResult
  public mutating func put(_ text: String, x: Int, y: Int, role: Role = .normal, limit: Int? = nil) -> Int {
    let end = min(limit ?? columns, columns)
    guard y >= 0, y < rows, x < end else { return x }
    var column = x
    var last = -1  // where the last character began
    for scalar in text.unicodeScalars {
      var value = scalar.value
      var width = 1
      switch scalar.cellClass {
      case .cells(let n): width = n
      case .unprintable: value = 0xfffd
      case .hidden: continue
      case .mark:
        if !isASCII && last >= 0 {
          if cells[last].firstMark == 0 {
            cells[last].firstMark = value
          } else if cells[last].secondMark == 0 {
            cells[last].secondMark = value
          }
        }
        continue
      }
      if isASCII && value >= 0x7f {
        value = Screen.ascii(value)
        // A replacement takes as many cells as what it replaces: layouts must not depend on the character set.
        if column + width > end {
          endWithEllipsis(x: x, end: end, y: y, role: role)
          return end
        }
        for i in 0..<width { place(Cell(scalar: value, role: role), x: column + i, y: y) }
        last = column >= 0 ? y * columns + column : -1
        column += width
        continue
      }
      if column + width > end {
        endWithEllipsis(x: x, end: end, y: y, role: role)
        return end
      }
      place(Cell(scalar: value, width: UInt8(width), role: role), x: column, y: y)
      if width == 2 { place(Cell(scalar: 0, width: 0, role: role), x: column + 1, y: y) }
      last = column >= 0 ? y * columns + column : -1
      column += width
    }
    return column
  }

  /// Writes a line of several roles; see `put(_:x:y:role:limit:)`.
  @discardableResult
  public mutating func put(_ line: Line, x: Int, y: Int, limit: Int? = nil) -> Int {
    let end = min(limit ?? columns, columns)
    var column = x
    for span in line.spans {
      if column >= end && !span.text.isEmpty {
        endWithEllipsis(x: x, end: end, y: y, role: span.role)
        return end
      }
      column = put(span.text, x: column, y: y, role: span.role, limit: end)
    }
    return column
  }

  /// Writes text so that it ends before column `end`.
  public mutating func putRight(_ text: String, end: Int, y: Int, role: Role = .normal, from: Int = 0) {
    let width = text.displayWidth
    put(text, x: max(from, end - width), y: y, role: role, limit: end)
  }

  /// Marks a row, or a part of it, as the one that the cursor is on.
  public mutating func select(y: Int, from: Int, to: Int) {
    guard y >= 0, y < rows else { return }
    for x in max(0, from)..<max(max(0, from), min(to, columns)) { cells[y * columns + x].isSelected = true }
  }

  /// Gives a role to all cells of a part of a row.
  public mutating func setRole(_ role: Role, y: Int, from: Int, to: Int) {
    guard y >= 0, y < rows else { return }
    for x in max(0, from)..<max(max(0, from), min(to, columns)) { cells[y * columns + x].role = role }
  }

  /// Fills a part of the screen with blanks.
  public mutating func clear(_ area: Rectangle) {
    for y in max(0, area.y)..<max(max(0, area.y), min(area.bottom, rows)) {
      for x in max(0, area.x)..<max(max(0, area.x), min(area.right, columns)) { place(.blank, x: x, y: y) }
    }
  }

  private mutating func endWithEllipsis(x: Int, end: Int, y: Int, role: Role) {
    guard end - 1 >= max(0, x), end <= columns, y >= 0, y < rows else { return }
    place(Cell(scalar: isASCII ? Screen.ascii(0x2026) : 0x2026, role: role), x: end - 1, y: y)
  }

  private mutating func place(_ cell: Cell, x: Int, y: Int) {
    guard x >= 0, y >= 0, x < columns, y < rows else { return }
    let index = y * columns + x
    // Half of a wide character must not stay behind.
    if cells[index].width == 0 && cell.width != 0 && x > 0 && cells[index - 1].width == 2 {
      cells[index - 1] = Cell(scalar: 0x20, role: cells[index - 1].role)
    }
    if cells[index].width == 2 && x + 1 < columns && cells[index + 1].width == 0 {
      cells[index + 1] = Cell(scalar: 0x20, role: cells[index + 1].role)
    }
    cells[index] = cell
  }

  /// The nearest ASCII character to one of our own signs.
  static func ascii(_ scalar: UInt32) -> UInt32 {
    func a(_ s: Unicode.Scalar) -> UInt32 { s.value }
    switch scalar {
    case 0x2026: return a("~")  // …
    case 0x00b7: return a(".")  // ·
    case 0x2212, 0x2500, 0x2013, 0x2014: return a("-")  // − ─ – —
    case 0x2550: return a("=")  // ═
    case 0x2502: return a("|")
    case 0x25b8, 0x2192: return a(">")  // ▸ →
    case 0x2190: return a("<")
    case 0x2191, 0x25b4: return a("^")
    case 0x2193, 0x25be: return a("v")
    case 0x2581...0x2588:  // ▁▂▃▄▅▆▇█
      return [a("."), a(":"), a("-"), a("="), a("+"), a("*"), a("%"), a("#")][Int(scalar - 0x2581)]
    case 0x2593: return a("=")  // ▓
    case 0x2592: return a("+")  // ▒
    case 0x2591: return a(".")  // ░
    default: return a("?")
    }
  }

  // MARK: Reading a screen

  /// The screen as text, one line per row, without blanks at the ends of lines.
  public var text: String {
    (0..<rows).map { y in
      var line = ""
      for x in 0..<columns {
        let cell = cells[y * columns + x]
        for value in [cell.scalar, cell.firstMark, cell.secondMark] where value != 0 {
          if let scalar = Unicode.Scalar(value) { line.unicodeScalars.append(scalar) }
        }
      }
      while line.last == " " { line.removeLast() }
      return line
    }.joined(separator: "\n") + "\n"
  }

  /// One letter per cell for its role; see `Role.letter`. Cells under the cursor that have no role show `>`.
  public var roles: String {
    (0..<rows).map { y in
      var line = ""
      for x in 0..<columns {
        let cell = cells[y * columns + x]
        line.append(cell.isSelected && cell.role == .normal ? ">" : cell.role.letter)
      }
      while line.last == " " { line.removeLast() }
      return line
    }.joined(separator: "\n") + "\n"
  }

  /// A cell that differs, and where it is.
  public struct Change: Sendable, Hashable {
    public var x: Int
    public var y: Int
    public var cell: Cell
  }

  /// The cells to draw to get from an older screen to this one: all of them where there is none, or of another size.
  /// The right halves of wide characters are left out.
  public func changes(from old: Screen?) -> [Change] {
    var changes: [Change] = []
    let same = old.map { $0.columns == columns && $0.rows == rows } ?? false
    for y in 0..<rows {
      for x in 0..<columns {
        let index = y * columns + x
        let cell = cells[index]
        if cell.width == 0 { continue }
        if same, let old, old.cells[index] == cell {
          // A wide character whose right half was overwritten must be sent again.
          if cell.width < 2 || x + 1 >= columns || old.cells[index + 1] == cells[index + 1] { continue }
        }
        changes.append(Change(x: x, y: y, cell: cell))
      }
    }
    return changes
  }
}
