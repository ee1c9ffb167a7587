import Aggregator
import Architecture
import FrontSupport
import Screen
import Testing
import TraceFormat

@testable import Front

/// A held recording at a place, by UTC.
private func recording(
  at seconds: Double = 21, known: Double = 1, marks: [RateTimeline.PlacedMark] = SyntheticRateTimeline.marks,
  range: Range<UInt64>? = nil
) -> FrontModel {
  var host = SyntheticHost()
  var model = FrontModel(names: FixedNames())
  model.localTime = .utc
  for _ in 0..<3 { model.observe(host.next()) }
  model.observe(
    SyntheticRateTimeline.at(UInt64(seconds * 1e9), host.next(), known: known, marks: marks, range: range))
  return model
}

private func type(_ model: inout FrontModel, _ text: String) -> [Action] {
  press(&model, text)
  return model.handle(.enter)
}

private func lines(_ model: FrontModel, _ columns: Int, _ rows: Int, isASCII: Bool = false) -> [String] {
  Renderer.render(model, columns: columns, rows: rows, isASCII: isASCII).screen.text.split(
    separator: "\n", omittingEmptySubsequences: false
  ).map(String.init)
}

@Suite("The time line on the screen")
struct TimeLineScreenTests {
  @Test("looks as it was found good", arguments: [(80, 24), (120, 40), (250, 70), (40, 10), (30, 6)])
  func golden(_ columns: Int, _ rows: Int) throws {
    try GoldenTests.check(render(recording(), columns, rows), "line-\(columns)x\(rows)")
  }

  @Test("of a selected range cannot be overlooked", arguments: [(80, 24), (120, 40), (250, 70)])
  func range(_ columns: Int, _ rows: Int) throws {
    let model = recording(at: 45, range: 15_000_000_000..<40_000_000_000)
    let frame = Renderer.render(model, columns: columns, rows: rows)
    try GoldenTests.check(frame.screen, "line-range-\(columns)x\(rows)")
    #expect(frame.screen.text.split(separator: "\n")[0].contains("RANGE 0:15.000-0:40.000"))
    // Where a mark is in the middle of it, there is less room.
    #expect(frame.screen.text.contains(columns > 80 ? "═ RANGE 25.0s ═" : "═ RANGE ═"))
    // A bar on terminals without colours, too.
    let ruler =
      frame.screen.text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
      .firstIndex { $0.contains("═ RANGE") } ?? 0
    let from = try #require((0..<columns).first { frame.screen[$0, ruler].scalar == 0x5b })
    let to = try #require((0..<columns).last { frame.screen[$0, ruler].scalar == 0x5d })
    #expect((from...to).allSatisfy { frame.screen[$0, ruler].isSelected })
  }

  @Test("has nothing but ASCII where no more is allowed, and all signs differ")
  func ascii() throws {
    let model = recording(at: 50, known: 0.9)
    try GoldenTests.check(
      Renderer.render(model, columns: 80, rows: 24, isASCII: true).screen, "line-ascii-80x24")
    let graph = lines(model, 80, 24, isASCII: true)[22]
    #expect(graph.contains("?"), "not read yet")
    #expect(graph.contains("    "), "no exit")
    #expect(graph.contains("#"), "the highest")
    #expect(lines(model, 80, 24, isASCII: true)[21].contains { "sx!+".contains($0) })
  }

  @Test("costs two rows at most on 24, and is not there live")
  func cost() {
    let model = recording()
    for rows in 0...100 {
      let cost = model.timeLineRows(rows)
      #expect(cost <= (rows < 8 ? 0 : rows < 30 ? 2 : 4))
    }
    #expect(model.timeLineRows(24) == 2)
    #expect(modelAfter(1).timeLineRows(24) == 0)
  }

  @Test("says what time of day it is, and where in the recording, to the microsecond where it is held")
  func facts() {
    let text = lines(recording(at: 12.412345), 80, 24)
    #expect(text[21].contains("14:02:12"))
    #expect(text[22].contains("0:12.412345/1:00.000"))
    var model = recording()
    var end = SyntheticRateTimeline.at(0, SyntheticHost().snapshot)
    end.playback?.position = 790_931_400
    end.playback?.duration = 790_931_400
    model.observe(end)
    #expect(lines(model, 80, 24)[22].contains("0:00.790931/0:00.791"), "no place is behind the end")
    var playing = SyntheticRateTimeline.at(12_412_345_678, SyntheticHost().snapshot)
    playing.playback?.isPaused = false
    playing.playback?.speed = 0.1
    playing.playback?.wallClock = nil
    model.observe(playing)
    #expect(lines(model, 80, 24)[22].contains(" 0:12.412/1:00.000"))
    #expect(lines(model, 80, 24)[21].contains(" x0.1 "))
    #expect(!lines(model, 80, 24)[21].contains("14:"))
    #expect(lines(model, 80, 24)[0].contains("playing   lost 0"), "once is enough where room is scarce")
    #expect(lines(model, 120, 40)[0].contains("playing 0:12.4/1:00.0 x0.1"))
  }

  @Test("names the marks next to the place where there is room")
  func legend() {
    let text = lines(recording(at: 21), 120, 40).joined(separator: "\n")
    #expect(text.contains("← 14:02:21 web01 · vCPU 2: setting changed"))
    #expect(text.contains("→ 14:02:33 events lost"))
    #expect(lines(recording(at: 59), 120, 40).joined().contains("← 14:02:48 VM of process 4300 ended"))
    #expect(lines(recording(at: 1), 120, 40).joined().contains("→ 14:02:06 build started"))
  }

  @Test("is drawn at every size, whatever is in it")
  func everySize() {
    let odd: [[Double?]] = [
      [], [nil], [0], [.nan, .infinity, -1, nil], [1e308, 1e308, nil], Array(repeating: 5, count: 1000),
    ]
    let places: [UInt64] = [0, 1, 1 << 40, .max]
    for (rates, position) in zip(odd, places + places) {
      for duration in places {
        var model = recording()
        var snapshot = SyntheticRateTimeline.at(1, SyntheticHost().snapshot)
        snapshot.playback?.position = position
        snapshot.playback?.duration = duration
        snapshot.playback?.wallClock = position
        snapshot.playback?.range = min(position, duration)..<max(position, duration)
        snapshot.playback?.rateTimeline = RateTimeline(
          rates: rates, marks: places.map { .init(position: $0, mark: .vmStarted(pid: -1, name: "\u{1b}[2J")) },
          known: .max)
        model.observe(snapshot)
        for columns in [0, 1, 2, 7, 12, 39, 40, 41, 79, 200, 600] {
          for rows in [0, 1, 2, 3, 7, 8, 13, 14, 30, 51] {
            let screen = Renderer.render(model, columns: columns, rows: rows, isASCII: columns % 2 == 0).screen
            #expect(screen.cells.allSatisfy { $0.scalar >= 0x20 || $0.width == 0 })
          }
        }
      }
    }
  }

  @Test("takes a click as a place to go to")
  func mouse() throws {
    var model = recording()
    let frame = Renderer.render(model, columns: 80, rows: 24)
    model.adopt(frame)
    let region = try #require(frame.regions.last { $0.target == .timeLine })
    #expect(region.area.bottom == 23 && region.area.height == 2)
    #expect(model.handle(.click(x: region.area.x, y: 22)) == [.seekTo(0)])
    #expect(model.handle(.click(x: region.area.right - 1, y: 21)) == [.seekTo(SyntheticRateTimeline.duration)])
    let middle = region.area.x + region.area.width / 2
    guard case .seekTo(let position) = model.handle(.click(x: middle, y: 22)).last else {
      Issue.record("no place")
      return
    }
    #expect(
      TimeLine(width: region.area.width, duration: SyntheticRateTimeline.duration).column(position) == middle
        - region.area.x)
  }
}

@Suite("Rates over columns")
struct ResamplingTests {
  @Test("keep their sum whatever the width", arguments: [1, 2, 3, 7, 57, 479, 480, 481, 960, 4096])
  func sums(_ width: Int) {
    let rates: [Double?] = (0..<480).map { Double(($0 * 7919) % 1000) }
    let mean = rates.reduce(0) { $0 + ($1 ?? 0) } / 480
    let columns = TimeLine.resampled(rates, width: width)
    #expect(columns.count == width)
    #expect(abs(columns.reduce(0) { $0 + ($1 ?? .nan) } / Double(width) - mean) < 1e-6)
  }

  @Test("that are not known are not known, and no zeros")
  func unknown() {
    #expect(TimeLine.resampled([4, nil, 2, 0, nil, nil], width: 3) == [4, 1, nil])
    #expect(TimeLine.resampled([], width: 3) == [nil, nil, nil])
    #expect(TimeLine.resampled([1], width: 0).isEmpty)
    #expect(TimeLine.resampled([1], width: -4).isEmpty)
    #expect(TimeLine.resampled([.nan, .infinity, -3, 5], width: 4) == [nil, nil, nil, 5])
  }

  @Test("have at least the lowest block where there is any exit, and none where there is none")
  func heights() {
    #expect(TimeLine.height(0, of: 10, rows: 1) == 0)
    #expect(TimeLine.height(0.001, of: 10, rows: 2) == 1)
    #expect(TimeLine.height(10, of: 10, rows: 1) == 8)
    #expect(TimeLine.height(10, of: 10, rows: 2) == 16)
    #expect(TimeLine.height(5, of: 0, rows: 2) == 0)
  }

  @Test("a place is in the column that leads back to it", arguments: [1, 2, 3, 57, 250])
  func columns(_ width: Int) {
    let line = TimeLine(width: width, duration: 790_931_000)
    for column in 0..<width { #expect(line.column(line.position(column)) == column) }
    #expect(line.column(.max) == width - 1)
    #expect(line.position(.max) == (width > 1 ? 790_931_000 : 0))
    #expect(TimeLine(width: width, duration: 0).column(5) == 0)
    #expect(TimeLine(width: width, duration: .max).position(width / 2) <= .max)
  }
}

@Suite("Keys of time travel")
struct TimeTravelTests {
  @Test("step one exit, and hold") func exits() {
    var model = recording()
    #expect(model.handle(.character("e")) == [.setPaused(true), .stepExit(1)])
    #expect(model.handle(.character("E")) == [.setPaused(true), .stepExit(-1)])
  }

  @Test("go to the exits of the reason under the cursor, or of the one whose details are open") func reasons() {
    var model = recording()
    let first = model.selectedReason.map { ReasonCode(isa: $0.isa, code: $0.code) }
    #expect(first != nil)
    #expect(model.handle(.character("f")) == first.map { [.setPaused(true), .seekToExit($0, forward: true)] })
    press(&model, "jj")
    let third = model.selectedReason.map { ReasonCode(isa: $0.isa, code: $0.code) }
    #expect(third != first)
    _ = model.handle(.enter)
    #expect(model.pane == .details)
    #expect(model.handle(.character("F")) == third.map { [.setPaused(true), .seekToExit($0, forward: false)] })
    var empty = FrontModel(names: FixedNames())
    empty.observe(SyntheticHost.asRecording(Snapshot(), position: 0, duration: 5))
    #expect(empty.handle(.character("f")) == [])
    #expect(empty.message?.contains("no exit reason") == true)
  }

  @Test("go to changes of the control under the cursor, elsewhere of any") func controls() {
    var model = recording()
    #expect(model.handle(.character("c")) == [.setPaused(true), .seekToChange(nil, forward: true)])
    press(&model, "2jj")
    guard case .control(let control) = model.rowKeys(.controls)[2] else {
      Issue.record("no control")
      return
    }
    #expect(model.handle(.character("C")) == [.setPaused(true), .seekToChange(control, forward: false)])
  }

  @Test("go to changes of the field, the segment or the MSRs under the cursor, of the vCPU that is shown") func fields()
    throws
  {
    var host = SyntheticHost()
    var snapshot = SyntheticRateTimeline.at(5_000_000_000, host.next())
    SyntheticState.fill(&snapshot, watched: Set(snapshot.vms.flatMap(\.vcpus).map(\.tid)), tick: 3)
    var model = FrontModel(names: FixedNames())
    model.observe(snapshot)
    let tid = try #require(model.guestVCPU?.vcpu.tid)
    for (key, pane) in [("3", Pane.guest), ("4", .host)] {
      press(&model, key)
      model.adopt(Renderer.render(model, columns: 80, rows: 24))
      let rows = model.stateRows(pane)
      for (index, row) in rows.enumerated() {
        let names = row.readings.map(\.field.name)
        let actions = model.handle(.character("c"))
        if names.isEmpty {
          #expect(actions == [])
        } else {
          #expect(actions == [.setPaused(true), .seekToFieldChange(tid: tid, .fields(names), forward: true)])
        }
        if index == rows.count - 1 { break }
        _ = model.handle(.down)
      }
    }
    press(&model, "8")
    let range = try #require(model.msrRows().first)
    #expect(
      model.handle(.character("C"))
        == [
          .setPaused(true), .seekToFieldChange(tid: tid, .msrs(first: range.first, last: range.last), forward: false),
        ]
    )
    press(&model, "9")
    #expect(model.handle(.character("c")) == [])
    #expect(model.message?.contains("no field") == true)
  }

  @Test("select a range with two marks, and let go of it with a third or Esc") func range() {
    var model = recording(at: 10)
    #expect(model.handle(.character("m")) == [])
    #expect(model.rangeStart == 10_000_000_000)
    // The same place is no range.
    #expect(model.handle(.character("m")) == [])
    #expect(model.rangeStart == 10_000_000_000)
    let host = SyntheticHost().snapshot
    model.observe(SyntheticRateTimeline.at(4_000_000_000, host))
    #expect(lines(model, 80, 24)[21].contains("═"))
    #expect(model.handle(.character("m")) == [.setRange(from: 4_000_000_000, to: 10_000_000_000)])
    #expect(model.rangeStart == nil)
    model.observe(SyntheticRateTimeline.at(4_000_000_000, host, range: 4_000_000_000..<10_000_000_000))
    #expect(model.showsWindow)
    #expect(model.handle(.character("m")) == [.clearRange])
    #expect(model.handle(.escape) == [.clearRange])
    var pending = recording(at: 10)
    press(&pending, "m")
    #expect(pending.handle(.escape) == [])
    #expect(pending.rangeStart == nil)
  }

  @Test("go from mark to mark of the time line and say what it is") func marks() {
    var model = recording(at: 21)
    #expect(model.handle(.character("}")) == [.setPaused(true), .seekTo(33_500_000_000)])
    model.observe(SyntheticRateTimeline.at(33_500_000_000, SyntheticHost().snapshot))
    #expect(model.message == "14:02:33 events lost")
    #expect(model.handle(.character("{")) == [.setPaused(true), .seekTo(21_000_000_000)])
    var first = recording(at: 2)
    #expect(first.handle(.character("{")) == [])
    #expect(first.message == "no mark before this")
  }

  @Test("change the speed from 0.1 to 100") func speed() {
    var model = recording()
    var snapshot = SyntheticRateTimeline.at(0, SyntheticHost().snapshot)
    var speeds: [Double] = []
    for key in [","] + [",", ","] + Array(repeating: ".", count: 12) {
      for action in model.handle(.character(Unicode.Scalar(key) ?? " ")) {
        guard case .setSpeed(let speed) = action else { continue }
        speeds.append(speed)
        snapshot.playback?.speed = speed
        model.observe(snapshot)
      }
    }
    #expect(speeds == [0.5, 0.2, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100])
    #expect(model.message == "speed x100; :speed N sets any")
  }

  @Test(
    "take every form of a time, the time of day by the recording's clock",
    arguments: [
      ("12.5", 12_500_000_000), ("0:30", 30_000_000_000), ("50%", 30_000_000_000), ("+500ms", 21_500_000_000),
      ("-1s", 20_000_000_000), ("30s ago", 30_000_000_000), ("14:02:31", 31_000_000_000), ("14:02:00", 0),
      ("14:01:00", 0), ("14:09:00", 60_000_000_000), ("9:00", 60_000_000_000), ("3m ago", 0),
    ] as [(String, UInt64)])
  func times(_ text: String, _ position: UInt64) {
    var model = recording(at: 21)
    #expect(type(&model, "b" + text) == [.seekTo(position)])
    #expect(type(&model, ":goto " + text) == [.seekTo(position)])
    let isOutside = ["14:01:00", "14:09:00", "9:00", "3m ago"].contains(text)
    #expect((model.message != nil) == isOutside, "\(model.message ?? "nothing said")")
  }

  @Test("take a range of two times as they are typed")
  func typedRange() {
    var model = recording(at: 21)
    #expect(type(&model, ":range 10 20") == [.setRange(from: 10_000_000_000, to: 20_000_000_000)])
    #expect(type(&model, ":range 40s ago 10s ago") == [.setRange(from: 20_000_000_000, to: 50_000_000_000)])
    #expect(type(&model, ":range 14:02:10 +5s") == [.setRange(from: 10_000_000_000, to: 15_000_000_000)])
    #expect(type(&model, ":range 90% 10%") == [.setRange(from: 6_000_000_000, to: 54_000_000_000)])
    for text in ["", "1", "1 2 3", "1 x", "ago ago", "5 5", "- -", "ago", "1 ago ago"] {
      #expect(type(&model, ":range \(text)") == [], "\(text)")
      #expect(model.message?.hasPrefix("range") == true)
    }
  }

  @Test("find a reason by its name or number")
  func typedReason() {
    var model = recording()
    func action(_ code: UInt32) -> [Action] {
      [.setPaused(true), .seekToExit(ReasonCode(isa: 1, code: code), forward: true)]
    }
    #expect(type(&model, ":exit HLT") == action(12))
    #expect(type(&model, ":exit hlt") == action(12))
    #expect(type(&model, ":exit ept_mis") == action(49), "what begins so")
    #expect(type(&model, ":exit EXIT_REASON_VMCALL") == action(18), "did not occur yet")
    #expect(type(&model, ":exit 10") == action(10))
    #expect(type(&model, ":exit 0x30") == action(48))
    #expect(type(&model, ":exit") == [.setPaused(true), .stepExit(1)])
    for text in ["no such thing", "0xfffffffff", "-1", "99999999999", "日本"] {
      #expect(type(&model, ":exit \(text)") == [])
      #expect(model.message?.contains("no reason") == true)
    }
  }

  @Test(
    "make nothing of what is no time",
    arguments: [
      "soon", "1e9", "-", "+", "%", "-5%", "101%", ":", "::", "1:2:3:4", "99999999999999999999", "+99999999999999h",
      "NaN",
      "inf", "14:02:31pm", "ago", "\u{661}\u{662}", String(repeating: "9", count: 190),
    ])
  func hostileTimes(_ text: String) {
    var model = recording()
    for prompt in ["b", ":goto ", ":range 1 ", ":range "] {
      #expect(type(&model, prompt + text) == [], "\(prompt)\(text)")
      #expect(model.message != nil)
    }
  }

  @Test("do nothing live, and say so")
  func live() {
    var model = modelAfter(1)
    for key in "eEfFcCm{}.,".unicodeScalars {
      #expect(model.handle(.character(key)) == [])
      #expect(model.message?.contains("recordings") == true)
    }
    for command in ["goto 1", "range 1 2", "exit HLT"] {
      #expect(type(&model, ":\(command)") == [])
      #expect(model.message?.contains("recordings") == true)
    }
  }

  @Test("have a key each that no other command has")
  func keymap() {
    let keys = Keymap.bindings.flatMap(\.keys)
    #expect(Set(keys).count == keys.count)
  }

  @Test("what a recording answers is told, also twice the same")
  func answers() {
    var model = recording()
    var snapshot = SyntheticRateTimeline.at(21_000_000_000, SyntheticHost().snapshot)
    snapshot.messages = [LogMessage(level: .info, seconds: 1, text: "no exit after this")]
    model.observe(snapshot)
    #expect(model.message == "no exit after this")
    _ = model.handle(.character("e"))
    #expect(model.message == nil)
    snapshot.messages.append(LogMessage(level: .info, seconds: 2, text: "no exit after this"))
    model.observe(snapshot)
    #expect(model.message == "no exit after this")
  }

  @Test("a time of day is told with its day where the recording is long")
  func days() {
    #expect(LocalTime.utc.text(SyntheticRateTimeline.wallClock) == "14:02:00")
    #expect(LocalTime.utc.text(SyntheticRateTimeline.wallClock, withDay: true) == "11-27 14:02:00")
    #expect(LocalTime.utc.sinceMidnight(SyntheticRateTimeline.wallClock + 5) == 50_520_000_000_005)
    for time in [0, 1, UInt64.max] {
      _ = LocalTime.system.text(time)
      _ = LocalTime.system.sinceMidnight(time)
    }
  }
}
