import Screen
import Testing

@Suite struct CellTests {
  @Test func textIsCutWithAnEllipsisAtTheLimit() {
    var screen = Screen(columns: 10, rows: 1)
    screen.put("EPT_MISCONFIG", x: 0, y: 0)
    #expect(screen.text == "EPT_MISCO…\n")
    screen = Screen(columns: 10, rows: 1)
    screen.put("EPT_MISCONFIG", x: 2, y: 0, limit: 6)
    #expect(screen.text == "  EPT…\n")
  }

  @Test func textThatFitsExactlyIsNotCut() {
    var screen = Screen(columns: 3, rows: 1)
    screen.put("HLT", x: 0, y: 0)
    #expect(screen.text == "HLT\n")
  }

  @Test func controlCharactersNeverReachACell() {
    var screen = Screen(columns: 40, rows: 1)
    screen.put("a\u{1b}[31mb\nc\rd\u{7f}e\u{9b}f\u{202e}g\u{200b}h\u{2028}i", x: 0, y: 0)
    for cell in screen.cells {
      #expect(cell.scalar >= 0x20 && !(0x7f..<0xa0).contains(cell.scalar))
      #expect(![0x202e, 0x200b, 0x2028].contains(cell.scalar))
    }
    #expect(screen.text == "a\u{fffd}[31mb\u{fffd}c\u{fffd}d\u{fffd}e\u{fffd}fgh\u{fffd}i\n")
  }

  @Test func wideCharactersTakeTwoCellsAndAreNeverHalved() {
    var screen = Screen(columns: 5, rows: 1)
    screen.put("日本語", x: 0, y: 0)
    #expect(screen[0, 0].width == 2)
    #expect(screen[1, 0].width == 0)
    #expect(screen.text == "日本…\n")
    // Overwriting the right half removes the left one.
    screen.put("x", x: 1, y: 0)
    #expect(screen[0, 0].scalar == 0x20)
    #expect(screen.text == " x本…\n")
  }

  @Test func combiningMarksJoinTheCellBefore() {
    var screen = Screen(columns: 4, rows: 1)
    let end = screen.put("e\u{301}x", x: 0, y: 0)
    #expect(end == 2)
    #expect(screen[0, 0].firstMark == 0x301)
    #expect(screen.text == "e\u{301}x\n")
  }

  @Test func aMarkWithoutABaseIsDropped() {
    var screen = Screen(columns: 4, rows: 1)
    screen.put("\u{301}x", x: 0, y: 0)
    #expect(screen[0, 0].scalar == UInt32(UInt8(ascii: "x")))
  }

  @Test func asciiScreensHoldNothingButASCII() {
    var screen = Screen(columns: 30, rows: 1, isASCII: true)
    screen.put("▸ a · b … ▁▄█ − 日 é e\u{301}", x: 0, y: 0)
    #expect(screen.cells.allSatisfy { $0.scalar < 0x7f && $0.scalar >= 0x20 })
    #expect(screen.text == "> a . b ~ .=# - ?? ? e\n")
  }

  @Test func drawingOutsideChangesNothing() {
    var screen = Screen(columns: 4, rows: 2)
    for (x, y) in [(-5, 0), (4, 0), (0, -1), (0, 2), (100, 100)] { screen.put("hello", x: x, y: y, limit: x + 3) }
    screen.select(y: 7, from: -3, to: 99)
    screen.setRole(.error, y: -1, from: 0, to: 9)
    screen.clear(Rectangle(x: -2, y: -2, width: 1, height: 1))
    #expect(screen == Screen(columns: 4, rows: 2))
    var empty = Screen(columns: 0, rows: 0)
    empty.put("x", x: 0, y: 0)
    #expect(empty.text == "\n")
  }

  @Test func onlyWhatDiffersIsDrawnAgain() {
    var before = Screen(columns: 10, rows: 2)
    before.put("rate 12", x: 0, y: 0)
    var after = before
    #expect(after.changes(from: before).isEmpty)
    after.put("3", x: 6, y: 0)
    #expect(after.changes(from: before).map { [$0.x, $0.y] } == [[6, 0]])
    #expect(after.changes(from: nil).count == 20)
    #expect(after.changes(from: Screen(columns: 9, rows: 2)).count == 20)
  }

  @Test func aWideCharacterWhoseRightHalfChangedIsDrawnAgain() {
    var before = Screen(columns: 4, rows: 1)
    before.put("ab", x: 0, y: 0)
    var after = Screen(columns: 4, rows: 1)
    after.put("日", x: 0, y: 0)
    #expect(after.changes(from: before).map(\.x) == [0])
    #expect(before.changes(from: after).map(\.x) == [0, 1])
  }
}

@Suite struct FormatTests {
  @Test(arguments: [
    (0.0, "0"), (0.01, "<0.1"), (0.3, "0.3"), (7, "7"), (7.26, "7.3"), (9.96, "10"), (41.2, "41"), (999.4, "999"),
    (999.6, "1.0k"), (1234, "1.2k"), (41_600, "41.6k"), (184_213, "184.2k"), (999_949, "999.9k"), (999_951, "1.0M"),
    (1_200_000, "1.2M"), (3.4e9, "3.4G"), (5e12, "5.0T"), (1e30, ">999P"), (-41_600, "-41.6k"),
    (Double.infinity, "-"), (Double.nan, "-"),
  ])
  func countsHaveThreeDigitsAndAUnit(_ value: Double, _ text: String) { #expect(Format.count(value) == text) }

  @Test(arguments: [
    (UInt64(0), "0ns"), (850, "850ns"), (4_600, "4.6us"), (37_000, "37.0us"), (99_940, "99.9us"), (99_960, "100us"),
    (412_000, "412us"), (999_600, "1.0ms"), (1_200_000, "1.2ms"), (3_400_000_000, "3.4s"), (125_000_000_000, "2m05s"),
    (11_520_000_000_000, "3h12m"), (432_000_000_000_000, "5d"), (UInt64.max, "213503d"),
  ])
  func durationsHaveAUnit(_ value: UInt64, _ text: String) { #expect(Format.duration(value) == text) }

  @Test(arguments: [(0.0, "0"), (0.01, "<0.1"), (33.24, "33.2"), (99.94, "99.9"), (99.96, "100"), (100, "100")])
  func sharesHaveOneDecimal(_ value: Double, _ text: String) { #expect(Format.percent(value) == text) }

  @Test func numbersOfOtherKinds() {
    #expect(Format.exact(109_437) == "109,437")
    #expect(Format.exact(7) == "7")
    #expect(Format.exact(UInt64.max) == "18,446,744,073,709,551,615")
    #expect(Format.position(7_300_000_000) == "0:07.3")
    #expect(Format.position(3_723_000_000_000) == "1:02:03.0")
    #expect(Format.bytes(14 << 20) == "14.0M")
    #expect(Format.register(0xfff0) == "000000000000fff0")
    #expect(Format.fixed(-0.04, 1) == "0.0")
    #expect(Format.fixed(-1.25, 2) == "-1.25")
    #expect(Format.fixed(1e300, 2) == "-")
  }
}

@Suite struct TextTests {
  @Test(arguments: [("", 0), ("abc", 3), ("日本", 4), ("e\u{301}", 1), ("a\u{200b}b", 2), ("\u{1b}", 1), ("▁▂█", 3)])
  func widthIsCountedInCells(_ text: String, _ width: Int) { #expect(text.displayWidth == width) }

  @Test func paddingMakesExactWidths() {
    #expect("ab".padded(to: 4) == "ab  ")
    #expect("ab".padded(to: 4, alignRight: true) == "  ab")
    #expect("日本語".padded(to: 4) == "日… ")
    #expect("abc".padded(to: 0) == "")
    for text in ["日本語", "abcdef", "e\u{301}e\u{301}e\u{301}", "\u{1b}\u{1b}\u{1b}"] {
      for width in 0...7 { #expect(text.padded(to: width).displayWidth == width) }
    }
  }

  @Test func linesBreakAtBlanksAndLongWordsAnywhere() {
    #expect("a bb ccc dddd".wrapped(to: 6) == ["a bb", "ccc", "dddd"])
    #expect("abcdefgh ij".wrapped(to: 3) == ["abc", "def", "gh", "ij"])
    #expect("".wrapped(to: 5) == [])
    #expect("日本語".wrapped(to: 1) == ["日", "本", "語"])
    #expect("x".wrapped(to: 0) == [])
  }

  @Test func sparklinesScaleToTheirGreatestValue() {
    #expect(Graph.sparkline([0, 1, 2, 4, 8], width: 5) == "▁▁▂▄█")
    #expect(Graph.sparkline([1, 2, 3], width: 2) == "▆█")
    #expect(Graph.sparkline([0, 0], width: 5) == "▁▁")
    #expect(Graph.sparkline([.nan, .infinity, -1, 4], width: 4) == "▁▁▁█")
    #expect(Graph.sparkline([1], width: 0) == "")
  }

  @Test func barsHaveTheirWidthWhateverTheParts() {
    #expect(Graph.bar([50, 25, 25], whole: 100, width: 8) == [0, 0, 0, 0, 1, 1, 2, 2])
    #expect(Graph.bar([50], whole: 100, width: 4) == [0, 0, -1, -1])
    for parts in [[.nan, 1], [.infinity, 1], [-5, 200], [], [1e308, 1e308]] as [[Double]] {
      #expect(Graph.bar(parts, whole: 100, width: 9).count == 9)
    }
    #expect(Graph.bar([1], whole: 0, width: 3) == [-1, -1, -1])
  }
}

@Suite struct TableTests {
  let columns = [
    TableColumn(title: "NAME", minimum: 6, ideal: 20),
    TableColumn(title: "RATE", minimum: 5, alignRight: true, priority: 1),
    TableColumn(title: "MAX", minimum: 5, alignRight: true, priority: 2),
  ]

  @Test func columnsOfHighPriorityNumbersGoFirst() {
    #expect(TableLayout(columns, width: 40).placed.map(\.index) == [0, 1, 2])
    #expect(TableLayout(columns, width: 14).placed.map(\.index) == [0, 1])
    #expect(TableLayout(columns, width: 11).placed.map(\.index) == [0])
    #expect(TableLayout(columns, width: 3).placed.map(\.width) == [3])
    #expect(TableLayout(columns, width: 0).placed.isEmpty)
  }

  @Test func spareRoomGoesToColumnsThatWantIt() {
    #expect(TableLayout(columns, width: 22).placed.map(\.width) == [10, 5, 5])
    #expect(TableLayout(columns, width: 200).placed.map(\.width) == [20, 5, 5])
  }
}
