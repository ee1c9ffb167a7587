import Foundation
import RandomSupport
import Testing

@testable import Architecture

/// `NAME = 0x...` lines of the kernel's enum vmcs_field.
private func kernelFields() throws -> [(name: String, encoding: UInt32)] {
  try matches("([A-Z][A-Z0-9_]+) *= *0[xX]([0-9a-fA-F]+)", in: fixture("vmcs-fields-seed.txt")).map { groups in
    (groups[1], try #require(UInt32(groups[2], radix: 16)))
  }
}

@Suite struct VMCSFieldTests {
  @Test func `Linux's enum has 186 encodings, and the catalogue has each under the same name`() throws {
    let kernel = try kernelFields()
    #expect(kernel.count == 186)
    for (name, encoding) in kernel {
      let field = try #require(VMCSField.lookup(encoding: encoding), "no row for \(name)")
      #expect(field.name == name)
      #expect(field.linuxName == name)
      #expect(VMCSField.lookup(name: name) == field)
      #expect(field.isHighHalf == name.hasSuffix("_HIGH"))
    }
  }

  @Test func `An encoding's own width and type are those of its row`() {
    #expect(VMCSField.rows.count == 206)
    for field in VMCSField.rows {
      #expect(field.encoding.width == field.width, "\(field.name)")
      #expect(field.encoding.area == field.area, "\(field.name)")
      #expect(!field.encoding.isHigh, "\(field.name)")
      #expect(field.encoding.isWellFormed, "\(field.name)")
      #expect(
        VMCSEncoding(width: field.width, area: field.area, index: field.encoding.index) == field.encoding,
        "\(field.name)")
    }
  }

  @Test func `A 64-bit field has a high half one above it, and no other field has one`() throws {
    for field in VMCSField.rows {
      guard field.width == .bits64 else {
        #expect(field.highHalf == nil, "\(field.name)")
        continue
      }
      let high = try #require(field.highHalf)
      #expect(high.encoding.rawValue == field.encoding.rawValue + 1)
      #expect(high.name == field.name + "_HIGH")
      #expect(high.encoding.isHigh && high.encoding.isWellFormed)
      #expect(high.encoding.index == field.encoding.index)
      #expect(high.area == field.area)
      #expect(high.highHalf == nil)
      #expect(VMCSField.lookup(encoding: high.encoding.rawValue) == high)
      #expect(VMCSField.lookup(name: high.name) == high)
    }
  }

  @Test func `Encodings ascend and names are unique constants`() {
    let all = VMCSField.all
    #expect(zip(all, all.dropFirst()).allSatisfy { $0.encoding < $1.encoding })
    #expect(Set(all.map(\.name)).count == all.count)
    for field in all {
      #expect(field.name.allSatisfy { $0.isUppercase || $0.isNumber || $0 == "_" }, "\(field.name)")
      #expect(!field.sdmName.isEmpty && !field.description.isEmpty && !field.group.isEmpty && !field.existsIf.isEmpty)
    }
  }

  @Test func `The high half of I/O bitmap A answers for itself`() throws {
    let field = try #require(VMCSField.lookup(encoding: 0x2001))
    #expect(field.name == "IO_BITMAP_A_HIGH")
    #expect(field.encoding.width == .bits64 && field.encoding.area == .control && field.encoding.index == 0)
  }

  @Test(arguments: [UInt32(0x1), 0x681f, 0x9999, 0xffff_ffff, 0x1000]) func `An encoding of no field has no answer`(
    _ encoding: UInt32
  ) {
    #expect(VMCSField.lookup(encoding: encoding) == nil)
  }

  @Test func `Any 32-bit number is a representable encoding`() {
    var generator = Dice(seed: 1)
    for _ in 0..<10_000 {
      let encoding = VMCSEncoding(rawValue: UInt32(truncatingIfNeeded: generator.next()))
      let rebuilt = VMCSEncoding(
        width: encoding.width, area: encoding.area, index: encoding.index, isHigh: encoding.isHigh)
      #expect(rebuilt.rawValue | encoding.reservedBits == encoding.rawValue)
      #expect(rebuilt.rawValue & encoding.reservedBits == 0)
    }
  }
}
