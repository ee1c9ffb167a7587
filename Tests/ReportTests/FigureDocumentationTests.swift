import Aggregator
import Foundation
import Testing

@testable import Report

private let docs = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent().appendingPathComponent("docs")

private func text(_ name: String) throws -> String {
  try String(contentsOf: docs.appendingPathComponent(name), encoding: .utf8)
}

/// A section of a page, from its heading to the next one.
private func section(_ heading: String, of page: String) throws -> Substring {
  let start = try #require(page.range(of: "\n\(heading)\n"))
  let rest = page[start.upperBound...]
  return rest[..<(rest.range(of: "\n## ")?.lowerBound ?? rest.endIndex)]
}

@Suite("The registries of figures")
struct FigureDocumentationTests {
  private func expectDistinct<Row>(_ figures: [Figure<Row>]) {
    #expect(Set(figures.map(\.id)).count == figures.count)
    let keys = figures.compactMap { $0.json?.path }
    #expect(Set(keys).count == keys.count)
    let metrics = figures.compactMap(\.metric).map { "\($0.family) \($0.label?.value ?? "")" }
    #expect(Set(metrics).count == metrics.count)
    for figure in figures {
      #expect(!figure.help.isEmpty && !figure.title.isEmpty)
      #expect(figure.column != nil || figure.json != nil || figure.metric != nil, "\(figure.id) is nowhere to be seen")
    }
  }

  @Test("have each figure, key and metric once")
  func distinct() {
    expectDistinct(ReasonFigures.all)
    expectDistinct(ControlFigures.all)
    expectDistinct(ScopeFigures.all)
    expectDistinct(DifferenceFigures.all)
  }

  @Test("are what the manual says of the columns that one sorts by")
  func manual() throws {
    let expected =
      [".Bl -tag -width charged -compact"] + ReasonFigures.columns.flatMap { [".It Cm \($0.id)", $0.help] } + [".El"]
    let page = try text("vmctop.1")
    #expect(
      page.contains(expected.joined(separator: "\n")), "docs/vmctop.1 should have:\n\(expected.joined(separator: "\n"))"
    )
  }

  private func expectKeys<Row>(_ figures: [Figure<Row>], _ heading: String, in page: String) throws {
    let section = try section(heading, of: text(page))
    for part in figures.compactMap({ $0.json?.path }).joined() {
      #expect(section.contains("`\(part)`"), "docs/\(page), \(heading): no key \(part)")
    }
  }

  @Test("are in the tables of keys of docs/triage-json.md and docs/diff-json.md")
  func keys() throws {
    try expectKeys(ReasonFigures.all, "## `reasons[]`", in: "triage-json.md")
    try expectKeys(ControlFigures.all, "## `controls[]`", in: "triage-json.md")
    try expectKeys(ScopeFigures.all, "## `vms[]`", in: "triage-json.md")
    try expectKeys(DifferenceFigures.all, "## One of `scopes`", in: "diff-json.md")
  }

  private func has(_ path: [String], _ object: Any?) -> Bool {
    guard let key = path.first else { return true }
    guard let object = object as? [String: Any], let value = object[key] else { return false }
    return has(Array(path.dropFirst()), value)
  }

  @Test("are in the JSON of every row")
  func json() throws {
    let object =
      try JSONSerialization.jsonObject(with: Data(try report(sampleSnapshot()).json().utf8)) as? [String: Any]
    let vms = try #require(object?["vms"] as? [[String: Any]])
    let rows: [(rows: [[String: Any]], paths: [[String]])] = [
      (try #require(object?["reasons"] as? [[String: Any]]), ReasonFigures.all.compactMap { $0.json?.path }),
      (
        try #require(object?["controls"] as? [[String: Any]]),
        ControlFigures.all.compactMap { $0.json?.path }
      ),
      (vms.flatMap { $0["vcpus"] as? [[String: Any]] ?? [] }, ScopeFigures.all.compactMap { $0.json?.path }),
    ]
    for (rows, paths) in rows {
      #expect(!rows.isEmpty)
      for row in rows { for path in paths { #expect(has(path, row), "\(path)") } }
    }
  }
}
