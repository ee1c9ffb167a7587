import Foundation
import Testing

@testable import Architecture

@Suite struct NameTests {
  @Test func `Well-known numbers have the names of the vectors`() throws {
    for (line, text) in try vectorLines("vectors/names.txt") {
      let words = text.split(separator: " ", maxSplits: 2).map(String.init)
      try #require(words.count == 3, "line \(line)")
      let number = try #require(parseNumber(words[1]), "line \(line)")
      let name: String?
      switch words[0] {
      case "msr": name = msrName(try #require(UInt32(exactly: number)))
      case "port": name = portName(try #require(UInt16(exactly: number)))
      case "gpa": name = guestPhysicalAddressName(number)
      case "vector": name = exceptionName(try #require(UInt8(exactly: number)))
      case "cpuid": name = cpuidLeafName(try #require(UInt32(exactly: number)))
      case "kvm-exit": name = userspaceExitName(try #require(UInt32(exactly: number)))
      default: throw CocoaError(.featureUnsupported)
      }
      #expect(name ?? "-" == words[2], "line \(line)")
    }
  }

  @Test func `Returns to user space have the names that a real kernel prints`() throws {
    let table = try matches(
      "\\{ ([0-9]+), \"KVM_EXIT_\" \"([A-Z0-9_]+)\" \\}", in: fixture("intel-6.1/formats/kvm_userspace_exit.format"))
    #expect(table.count == 31)
    for row in table { #expect(userspaceExitName(try #require(UInt32(row[1]))) == "KVM_EXIT_" + row[2]) }
  }

  @Test func `Exceptions have the names that a real kernel prints`() throws {
    let format = try fixture("intel-6.1/formats/kvm_inj_exception.format")
    let table = try matches("\\{ *([0-9]+), \"#\" \"([A-Z]+)\" *\\}", in: format)
    #expect(!table.isEmpty)
    // The kernel calls vector 19 #XM or #XF; the manual #XM.
    for row in table where row[1] != "19" { #expect(exceptionName(try #require(UInt8(row[1]))) == "#" + row[2]) }
  }

  @Test func `No name is empty, over every port, APIC page and 16-bit MSR`() {
    for port in UInt16.min...UInt16.max { #expect(portName(port)?.isEmpty != true) }
    for msr in UInt32(0)...0xffff { if let name = msrName(msr) { #expect(!name.contains(" ") && !name.isEmpty) } }
    for vector in UInt8.min...UInt8.max { #expect((exceptionName(vector) == nil) || exceptionTitle(vector) != nil) }
    for offset in UInt64(0)..<0x1000 {
      #expect(guestPhysicalAddressName(0xfee0_0000 + offset)?.hasPrefix("local APIC") == true)
    }
  }
}
