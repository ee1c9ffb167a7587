import Foundation
import Testing

@testable import Architecture

/// `{ number, "NAME" }` pairs of one print table; a number may be a sum.
private func printTable(_ text: Substring) throws -> [(code: UInt32, name: String)] {
  try matches("\\{ *(-?[0-9a-fx]+(?: *\\+ *[0-9]+)?), *\"([^\"]+)\" *\\}", in: String(text)).map { groups in
    var code: Int64 = 0
    for term in groups[1].components(separatedBy: "+") {
      let number = term.trimmingCharacters(in: .whitespaces)
      code += number.hasPrefix("0x") ? try #require(Int64(number.dropFirst(2), radix: 16)) : try #require(Int64(number))
    }
    return (UInt32(truncatingIfNeeded: code), groups[2])
  }
}

/// The VMX and the SVM table of the kvm_exit event of a real 6.1 kernel.
private func printTables() throws -> (vmx: [(code: UInt32, name: String)], svm: [(code: UInt32, name: String)]) {
  let format = try fixture("intel-6.1/formats/kvm_exit.format")
  let pieces = format.components(separatedBy: "__print_symbolic")
  try #require(pieces.count == 3)
  let flags = try #require(pieces[2].range(of: "__print_flags"))
  return (try printTable(pieces[1][...]), try printTable(pieces[2][..<flags.lowerBound]))
}

@Suite struct ExitReasonTests {
  @Test func `Every name that kvm_exit prints is the catalogue's`() throws {
    let tables = try printTables()
    #expect(tables.vmx.count == 62)
    #expect(tables.svm.count == 108)
    for (isa, table) in [(UInt32(1), tables.vmx), (2, tables.svm)] {
      for (code, name) in table {
        let row = try #require(ExitReason.lookup(isa: isa, code: code), "no row for \(name)")
        #expect(row.name == name)
        #expect(ExitReason.lookup(name: name).contains(row))
      }
    }
  }

  @Test func `A name that 6.1 prints is in its table, and a later one is not`() throws {
    let tables = try printTables()
    let printed = Set(tables.vmx.map { "vmx \($0.code)" } + tables.svm.map { "svm \($0.code)" })
    for row in ExitReason.vmxRows + ExitReason.svmRows {
      let expected = ["<=5.10", "5.15", "6.1"].contains(row.printedFirstKernel)
      #expect(printed.contains("\(row.isa) \(row.code)") == expected, "\(row.name)")
    }
  }

  @Test func `The index of a VMX row is its number, and SVM codes ascend`() {
    #expect(ExitReason.vmxRows.count == 86)
    for (index, row) in ExitReason.vmxRows.enumerated() {
      #expect(Int(row.code) == index)
      #expect(row.isa == .vmx)
      #expect(row.vmx != nil && row.svm == nil)
      #expect(ExitReason.lookup(isa: 1, code: row.code) == row)
    }
    #expect(ExitReason.svmRows.count == 187)
    #expect(zip(ExitReason.svmRows, ExitReason.svmRows.dropFirst()).allSatisfy { $0.code < $1.code })
    for row in ExitReason.svmRows {
      #expect(row.svm != nil && row.vmx == nil)
      #expect(ExitReason.lookup(isa: 2, code: row.code) == row)
    }
  }

  @Test func `Names are unique in an ISA`() {
    #expect(Set(ExitReason.vmxRows.map(\.name)).count == 86)
    #expect(Set(ExitReason.svmRows.map(\.name)).count == 187)
  }

  @Test func `A reason that the kernel does not print has the manual's name or its number`() throws {
    #expect(ExitReason.lookup(isa: 1, code: 11)?.name == "GETSEC")
    #expect(ExitReason.lookup(isa: 1, code: 5)?.name == "IO_SYSTEM_MANAGEMENT_INTERRUPT")
    #expect(ExitReason.lookup(isa: 1, code: 35)?.name == "RESERVED_35")
    #expect(ExitReason.lookup(isa: 2, code: 0x4f)?.name == "0x4f")
    #expect(ExitReason.lookup(isa: 2, code: .max)?.name == "invalid_guest_state")
    #expect(ExitReason.lookup(isa: 1, code: 12)?.linuxName == "EXIT_REASON_HLT")
    #expect(ExitReason.lookup(isa: 2, code: 0x78)?.linuxName == "SVM_EXIT_HLT")
  }

  @Test func `What the catalogue does not know has no row`() {
    #expect(ExitReason.lookup(isa: 1, code: 86) == nil)
    #expect(ExitReason.lookup(isa: 1, code: 0x8000_0021) == nil)
    #expect(ExitReason.lookup(isa: 2, code: 0xa7) == nil)
    #expect(ExitReason.lookup(isa: 3, code: 0) == nil)
    #expect(ExitReason.lookup(name: "no such reason").isEmpty)
  }

  @Test func `A reason has a qualification layout just where it has a qualification`() {
    for row in ExitReason.vmxRows {
      guard let information = row.vmx?.information else {
        #expect(row.vmx?.qualification == nil)
        continue
      }
      #expect((information.qualification != .never) == (row.vmx?.qualification != nil), "\(row.name)")
    }
  }

  @Test func `Every reason that is not reserved has a cause, and every unconditional one says so`() {
    for row in ExitReason.vmxRows where row.vmx?.information != nil {
      #expect(row.typicalCause != nil && row.knobs != nil, "\(row.name)")
      #expect(row.vmx?.exitWhen != nil, "\(row.name)")
    }
  }

  @Test func `What KVM halts the vCPU for is a halt, the HLT that exits without a pending virtual interrupt too`() {
    for row in ExitReason.vmxRows + ExitReason.svmRows {
      #expect(row.halts == (row.handler == "kvm_emulate_halt"), "\(row.name)")
    }
  }

  @Test func `An ISA is known by name and number`() {
    #expect(ISA.vmx.name == "vmx" && ISA.svm.name == "svm" && ISA(rawValue: 3).name == "isa-3")
    for isa in [ISA.vmx, .svm, ISA(rawValue: 0), ISA(rawValue: .max)] { #expect(ISA(name: isa.name) == isa) }
    #expect(ISA(name: "isa-") == nil && ISA(name: "arm") == nil && ISA(name: "isa-4294967296") == nil)
  }
}
