/// How a scalar takes part in a line of cells.
public enum CellClass: Sendable {
  /// Goes into one or two cells.
  case cells(Int)
  /// Goes into the cell before it.
  case mark
  /// Never reaches a cell: invisible, or steers the terminal or the reading order.
  case hidden
  /// Stands for nothing that could be drawn; replaced by one visible cell.
  case unprintable
}

extension Unicode.Scalar {
  /// What to do with this scalar on a screen. Names come from guests, other users and files: everything that is not a
  /// visible character is kept from the terminal here.
  public var cellClass: CellClass {
    if value >= 0x20 && value < 0x7f { return .cells(1) }
    if value < 0xa0 { return .unprintable }
    switch properties.generalCategory {
    case .control, .surrogate, .unassigned, .privateUse, .lineSeparator, .paragraphSeparator: return .unprintable
    case .format: return .hidden  // zero-width joiners, and the bidirectional overrides that turn a line around
    case .nonspacingMark, .enclosingMark: return .mark
    default: break
    }
    if (0x1160...0x11ff).contains(value) { return .mark }  // Hangul vowels and finals join the syllable before
    return .cells(isWide ? 2 : 1)
  }

  /// East Asian Wide and Fullwidth (Unicode Annex 11), and emoji that terminals draw in two cells.
  private var isWide: Bool {
    guard value >= 0x1100 else { return false }
    var low = 0
    var high = wideRanges.count
    while low < high {
      let middle = (low + high) / 2
      if wideRanges[middle].upperBound < value { low = middle + 1 } else { high = middle }
    }
    return low < wideRanges.count && wideRanges[low].contains(value)
  }
}

private let wideRanges: [ClosedRange<UInt32>] = [
  0x1100...0x115f, 0x231a...0x231b, 0x2329...0x232a, 0x23e9...0x23ec, 0x23f0...0x23f0, 0x23f3...0x23f3,
  0x25fd...0x25fe, 0x2614...0x2615, 0x2648...0x2653, 0x267f...0x267f, 0x2693...0x2693, 0x26a1...0x26a1,
  0x26aa...0x26ab, 0x26bd...0x26be, 0x26c4...0x26c5, 0x26ce...0x26ce, 0x26d4...0x26d4, 0x26ea...0x26ea,
  0x26f2...0x26f3, 0x26f5...0x26f5, 0x26fa...0x26fa, 0x26fd...0x26fd, 0x2705...0x2705, 0x270a...0x270b,
  0x2728...0x2728, 0x274c...0x274c, 0x274e...0x274e, 0x2753...0x2755, 0x2757...0x2757, 0x2795...0x2797,
  0x27b0...0x27b0, 0x27bf...0x27bf, 0x2b1b...0x2b1c, 0x2b50...0x2b50, 0x2b55...0x2b55, 0x2e80...0x303e,
  0x3041...0x33ff, 0x3400...0x4dbf, 0x4e00...0xa4cf, 0xa960...0xa97f, 0xac00...0xd7a3, 0xf900...0xfaff,
  0xfe10...0xfe19, 0xfe30...0xfe6f, 0xff00...0xff60, 0xffe0...0xffe6, 0x16fe0...0x18cff, 0x1b000...0x1b2ff,
  0x1f004...0x1f004, 0x1f0cf...0x1f0cf, 0x1f18e...0x1f18e, 0x1f191...0x1f19a, 0x1f200...0x1f265, 0x1f300...0x1f320,
  0x1f32d...0x1f335, 0x1f337...0x1f37c, 0x1f37e...0x1f393, 0x1f3a0...0x1f3ca, 0x1f3cf...0x1f3d3, 0x1f3e0...0x1f3f0,
  0x1f3f4...0x1f3f4, 0x1f3f8...0x1f43e, 0x1f440...0x1f440, 0x1f442...0x1f4fc, 0x1f4ff...0x1f53d, 0x1f54b...0x1f54e,
  0x1f550...0x1f567, 0x1f57a...0x1f57a, 0x1f595...0x1f596, 0x1f5a4...0x1f5a4, 0x1f5fb...0x1f64f, 0x1f680...0x1f6c5,
  0x1f6cc...0x1f6cc, 0x1f6d0...0x1f6d2, 0x1f6d5...0x1f6d7, 0x1f6dc...0x1f6df, 0x1f6eb...0x1f6ec, 0x1f6f4...0x1f6fc,
  0x1f7e0...0x1f7eb, 0x1f7f0...0x1f7f0, 0x1f90c...0x1f93a, 0x1f93c...0x1f945, 0x1f947...0x1f9ff, 0x1fa70...0x1faff,
  0x20000...0x2fffd, 0x30000...0x3fffd,
]

extension String {
  /// Cells the text takes on a screen.
  public var displayWidth: Int {
    var width = 0
    for scalar in unicodeScalars {
      switch scalar.cellClass {
      case .cells(let n): width += n
      case .unprintable: width += 1
      case .mark, .hidden: break
      }
    }
    return width
  }

  /// The text cut to at most `width` cells, with an ellipsis in the last cell where something was cut off.
  public func truncated(to width: Int) -> String {
    guard width > 0 else { return "" }
    guard displayWidth > width else { return self }
    var kept = ""
    var used = 0
    for scalar in unicodeScalars {
      let cells =
        switch scalar.cellClass {
        case .cells(let n): n
        case .unprintable: 1
        case .mark, .hidden: 0
        }
      if used + cells > width - 1 { break }
      kept.unicodeScalars.append(scalar)
      used += cells
    }
    return kept + "…"
  }

  /// The text in exactly `width` cells: cut, or filled up with blanks.
  public func padded(to width: Int, alignRight: Bool = false) -> String {
    let text = truncated(to: width)
    let blanks = String(repeating: " ", count: max(0, width - text.displayWidth))
    return alignRight ? blanks + text : text + blanks
  }

  /// The text in lines of at most `width` cells, broken at blanks where there are any.
  public func wrapped(to width: Int) -> [String] {
    guard width > 0 else { return [] }
    var lines: [String] = []
    var line = ""
    var used = 0
    for word in split(separator: " ") {
      var word = String(word)
      var cells = word.displayWidth
      if used > 0 && used + 1 + cells <= width {
        line += " " + word
        used += 1 + cells
        continue
      }
      if used > 0 { lines.append(line) }
      while cells > width {
        // A word longer than a line is broken where it must be.
        var head = ""
        var headCells = 0
        var tail = Substring(word).unicodeScalars
        while let scalar = tail.first {
          var n = 1
          switch scalar.cellClass {
          case .cells(let wide): n = wide
          case .mark, .hidden: n = 0
          case .unprintable: break
          }
          if headCells + n > width && !head.isEmpty { break }
          head.unicodeScalars.append(scalar)
          headCells += n
          tail.removeFirst()
        }
        lines.append(head)
        word = String(tail)
        cells = word.displayWidth
      }
      line = word
      used = cells
    }
    if used > 0 { lines.append(line) }
    return lines
  }
}
