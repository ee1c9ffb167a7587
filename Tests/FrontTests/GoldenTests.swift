import Aggregator
import Foundation
import FrontSupport
import Screen
import Testing

@testable import Front

/// A model that has seen a few made-up intervals.
func modelAfter(_ intervals: Int, seed: UInt64 = 1) -> FrontModel {
  var host = SyntheticHost(seed: seed)
  var model = FrontModel(names: FixedNames())
  for _ in 0..<intervals { model.observe(host.next()) }
  return model
}

func press(_ model: inout FrontModel, _ text: String) {
  for scalar in text.unicodeScalars { _ = model.handle(.character(scalar)) }
}

func render(_ model: FrontModel, _ columns: Int = 80, _ rows: Int = 24) -> Screen {
  Renderer.render(model, columns: columns, rows: rows).screen
}

/// Screens as they were when somebody last looked at them and found them good. `VMCTOP_RECORD_GOLDEN=1` writes them anew.
@Suite struct GoldenTests {
  static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Golden")

  static func check(_ screen: Screen, _ name: String) throws {
    let file = GoldenTests.folder.appendingPathComponent(name + ".txt")
    let now = screen.text + String(repeating: "=", count: 8) + " roles\n" + screen.roles
    if ProcessInfo.processInfo.environment["VMCTOP_RECORD_GOLDEN"] == "1" {
      try FileManager.default.createDirectory(at: GoldenTests.folder, withIntermediateDirectories: true)
      try now.write(to: file, atomically: true, encoding: .utf8)
      return
    }
    let golden = try String(contentsOf: file, encoding: .utf8)
    #expect(now == golden, "differs from Golden/\(name).txt")
  }

  @Test(arguments: [(80, 24), (120, 40), (140, 40), (250, 70), (40, 10), (20, 5)])
  func exits(_ columns: Int, _ rows: Int) throws {
    try GoldenTests.check(render(modelAfter(5), columns, rows), "exits-\(columns)x\(rows)")
  }

  @Test(arguments: [(80, 24), (140, 40)], Pane.allCases)
  func everyPane(_ size: (Int, Int), _ pane: Pane) throws {
    var model = modelAfter(5)
    press(&model, pane.key)
    try GoldenTests.check(render(model, size.0, size.1), "pane-\(pane.title)-\(size.0)x\(size.1)")
  }

  @Test func ascii() throws {
    try GoldenTests.check(
      Renderer.render(modelAfter(5), columns: 80, rows: 24, isASCII: true).screen, "exits-ascii-80x24")
    var model = modelAfter(5)
    press(&model, "5")
    try GoldenTests.check(Renderer.render(model, columns: 120, rows: 40, isASCII: true).screen, "vcpus-ascii-120x40")
  }

  @Test func whatIf() throws {
    var model = modelAfter(5)
    press(&model, "x2jjx")
    try GoldenTests.check(render(model), "what-if-controls-80x24")
    press(&model, "1")
    try GoldenTests.check(render(model), "what-if-exits-80x24")
  }

  @Test func help() throws {
    var model = modelAfter(5)
    press(&model, "?")
    try GoldenTests.check(render(model), "help-80x24")
  }

  @Test func beforeTheFirstSnapshot() throws {
    try GoldenTests.check(render(FrontModel(names: FixedNames())), "waiting-80x24")
  }

  @Test func demoRecordingHeldAtItsEnd() throws {
    var host = SyntheticHost()
    var model = FrontModel(names: FixedNames())
    for i in 1...4 {
      model.observe(
        SyntheticHost.asRecording(
          host.next(), position: UInt64(i) * 1_000_000_000, duration: 4_000_000_000, isDemo: true))
    }
    try GoldenTests.check(render(model), "demo-held-80x24")
  }

  @Test func hostWithoutExits() throws {
    var snapshot = Snapshot()
    snapshot.sequence = 1
    snapshot.source.hostName = "rpi"
    snapshot.source.kernelRelease = "6.6.0"
    snapshot.intervalNanoseconds = 1_000_000_000
    snapshot.windowNanoseconds = 1_000_000_000
    snapshot.events = 4321
    snapshot.eventCounts = [EventCount(name: "kvm_vcpu_wakeup", count: 4321, intervalCount: 99)]
    var model = FrontModel(names: FixedNames())
    model.observe(snapshot)
    try GoldenTests.check(render(model), "no-exits-80x24")
  }
}
