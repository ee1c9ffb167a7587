import Foundation
import Testing

@testable import Architecture

/// The names that code uses for controls and fields: each is one row's. Word, bit and encoding are written with the name alone, so
/// that what is left to hold is that no name lacks its row.
@Suite("Names of controls and fields")
struct CatalogueNameTests {
  private func source(_ path: String) throws -> String {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    return try String(
      contentsOf: root.appendingPathComponent("Sources/Architecture/Tables/\(path)"), encoding: .utf8)
  }

  @Test("of VMX controls are one row each, and the row has Linux's constant") func controls() throws {
    let names = try matches(
      #"/// ([^\n]+?)( \(the SDM's name\))?\.\n  public static var (\w+): ControlID \{ ControlID\(\.(\w+), (\d+)\) \}"#,
      in: source("ControlNames.swift"))
    let table = try source("ControlBitTable.swift")
    #expect(names.count == ControlBit.rows.count { !$0.isReserved })
    for groups in names {
      let word = try #require(ControlWord.allCases.first { "\($0)" == groups[4] })
      let bit = try #require(Int(groups[5]))
      let row = try #require(ControlBit.lookup(word, bit: bit), "\(groups[3])")
      #expect(groups[1] == (groups[2].isEmpty ? row.linuxName : row.sdmName), "\(groups[3])")
      #expect(table.components(separatedBy: "ControlBit(.\(groups[3]), ").count == 2, "\(groups[3])")
      let letters = groups[1].lowercased().filter { $0.isLetter || $0.isNumber }
      #expect(groups[3].lowercased().hasSuffix(letters), "\(groups[3]) is no short form of \(groups[1])")
    }
  }

  @Test("of intercepts have the constant of the exit code's row") func intercepts() throws {
    let names = try matches(
      #"/// ([^\n]+)\.\n  public static var (\w+): ControlID \{ ControlID\(interceptBit: (\w+)\) \}"#,
      in: source("ControlNames.swift"))
    #expect(names.count == ExitReason.svmRows.count { $0.svm?.interceptName != nil } - 32)
    for groups in names {
      let code = try #require(parseNumber(groups[3]).flatMap(UInt32.init(exactly:)))
      #expect(ExitReason.lookup(isa: 2, code: code)?.svm?.interceptName == groups[1])
      #expect(groups[2].lowercased() == groups[1].lowercased().replacing("_", with: ""), "\(groups[2])")
    }
    for vector in UInt16(0)..<32 {
      #expect(ControlID.interceptException(vector).name == "INTERCEPT_EXCEPTION_OFFSET+\(vector)")
    }
  }

  @Test("of fields are one row each, and the row has Linux's constant") func fields() throws {
    let names = try matches(
      #"/// ([^\n]+?)( \(the SDM's name\))?\.\n  @inlinable public static var (\w+): VMCSEncoding \{ VMCSEncoding\(rawValue: (\w+)\) \}"#,
      in: source("VMCSFieldNames.swift"))
    let table = try source("VMCSFieldTable.swift")
    #expect(names.count == VMCSField.rows.count)
    for groups in names {
      let encoding = try #require(parseNumber(groups[4]).flatMap(UInt32.init(exactly:)))
      let row = try #require(VMCSField.lookup(encoding: encoding), "\(groups[3])")
      #expect(groups[1] == (groups[2].isEmpty ? row.linuxName : row.sdmName), "\(groups[3])")
      #expect(table.components(separatedBy: "VMCSField(.\(groups[3]), ").count == 2, "\(groups[3])")
    }
  }

  @Test("that a table of reasons gives for causes are controls and fields of the tables") func causes() {
    for reason in ExitReason.vmxRows + ExitReason.svmRows {
      for cause in reason.causes {
        switch cause {
        case .control(let control):
          #expect(control.controlBit != nil || control.interceptCode == reason.code, "\(reason.name)")
        case .field(let encoding):
          #expect(VMCSField.lookup(encoding: encoding.rawValue) != nil, "\(reason.name)")
        case .other(let text):
          #expect(VMCSField.lookup(name: text) == nil && ControlID.lookup(name: text).isEmpty, "\(text) has a name")
        }
      }
    }
  }

  @Test("of the VMCB's fields in code are in the table of its fields") func blockFields() throws {
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("Sources/VCPUState")
    var count = 0
    for file in try FileManager.default.contentsOfDirectory(atPath: folder.path) where file.hasSuffix(".swift") {
      let text = try String(contentsOf: folder.appendingPathComponent(file), encoding: .utf8)
      for groups in try matches(#""((?:control|save)\.[a-z0-9_\[\]]+)""#, in: text) {
        count += 1
        #expect(VMCBField.lookup(name: groups[1]) != nil, "\(file): \(groups[1])")
      }
    }
    #expect(count > 30)
  }

  @Test("of module parameters stand in the text of the remedy, and every module parameter in a text is one")
  func remedies()
    throws
  {
    for reason in ExitReason.vmxRows + ExitReason.svmRows {
      for remedy in reason.remedies ?? [] {
        for parameter in remedy.parameters {
          // `ple_window_grow/shrink` names two.
          let part = parameter.name.split(separator: "_").last.map(String.init) ?? parameter.name
          #expect(remedy.text.contains(parameter.name) || remedy.text.contains("/\(part)"), "\(remedy.text)")
          if let wanted = parameter.wanted { #expect(remedy.text.contains("\(parameter.name)=\(wanted)")) }
        }
        let named = try matches(#"\b(kvm(?:_intel|_amd)?)\.([a-z_]+)(?:=(\w+))?"#, in: remedy.text)
        for groups in named {
          let wanted = groups[3].isEmpty ? nil : groups[3]
          let parameter = ModuleParameter(module: groups[1], name: groups[2], wanted: wanted)
          #expect(remedy.parameters.contains(parameter), "\(reason.name): \(groups[0])")
        }
      }
    }
  }
}
