import Foundation
import RandomSupport
import Testing

@testable import Architecture

@Suite struct DecodeTests {
  @Test func `Each vector decodes as written`() throws {
    for (line, text) in try vectorLines("vectors/decode.txt") {
      if let mark = text.range(of: " ! ") {
        let words = text[..<mark.lowerBound].split(separator: " ").map(String.init)
        let wanted = String(text[mark.upperBound...])
        do {
          let decoded = try DecodeKind.decode(words[0], Array(words.dropFirst()))
          Issue.record("line \(line): decoded as \(decoded.map(\.summary))")
        } catch {
          #expect(error.message.contains(wanted), "line \(line): \(error.message)")
          #expect(!error.message.contains("\n"), "line \(line)")
        }
        continue
      }
      let columns = text.components(separatedBy: " | ")
      try #require(columns.count >= 2, "line \(line)")
      let words = columns[0].split(separator: " ").map(String.init)
      let decoded = try DecodeKind.decode(words[0], Array(words.dropFirst()))
      #expect(decoded.map(\.summary).joined(separator: " // ") == columns[1], "line \(line)")
      guard columns.count > 2 else { continue }
      let parts = decoded.flatMap(\.parts).map { "\($0.bits) \($0.name) = \($0.meaning)" }
      // A meaning may contain a semicolon itself.
      var rest = columns[2][...]
      for part in parts.sorted(by: { $0.count > $1.count }) {
        guard let found = rest.range(of: part) else { continue }
        rest.removeSubrange(found)
      }
      #expect(rest.allSatisfy { $0 == ";" || $0 == " " }, "line \(line): \(rest) is not among \(parts)")
    }
  }

  @Test func `Every kind has a vector`() throws {
    let covered = Set(try vectorLines("vectors/decode.txt").map { String($0.text.prefix { $0 != " " }) })
    for kind in DecodeKind.all where !["secondary", "exit"].contains(kind.name) {
      #expect(covered.contains(kind.name), "\(kind.name)")
    }
    #expect(Set(DecodeKind.all.map(\.name)).count == DecodeKind.all.count)
  }

  @Test func `A decoder accounts for every bit that is set, whatever the value`() throws {
    var generator = Dice(seed: 3)
    let wholeValues: Set<String> = ["gpa", "vector", "cpuid-leaf", "kvm-exit", "msr", "port"]
    for kind in DecodeKind.all where !wholeValues.contains(kind.name) {
      for _ in 0..<200 {
        let value = generator.next() & (generator.next() | generator.next())
        let number = "\(value)"
        let arguments: [String]
        switch kind.arguments {
        case "VALUE": arguments = [number]
        case "WORD VALUE": arguments = ["primary", number]
        case "REASON VALUE", "REASON VALUE [INTR-INFO]": arguments = ["\(value % 86)", number]
        default: arguments = ["\(value % 0x500)", number, number]
        }
        for decoded in try kind.decode(arguments) {
          #expect(decoded.value == value)
          #expect(!decoded.summary.isEmpty)
          var covered: UInt64 = 0
          for part in decoded.parts {
            let bounds = part.bits.split(separator: ":").compactMap { Int($0) }
            let low = try #require(bounds.last)
            let high = try #require(bounds.first)
            covered |= ones(high - low + 1) << UInt64(low)
          }
          // A capability's bits name pairs of bits of the MSR; QEMU's flags are those of the access rights.
          if kind.name == "capability" || kind.name == "qemu-segment-flags" || kind.name.hasSuffix("fixed1") {
            continue
          }
          // A bit that must be 1 and is says nothing.
          covered |= ["rflags": 0x2, "dr7": 0x400][kind.name] ?? 0
          #expect(
            value & ~covered == 0, "\(kind.name) \(hexadecimal(value)): \(hexadecimal(value & ~covered)) is dropped")
        }
      }
    }
  }

  @Test func `The access rights of a real dump are a real-mode guest's`() throws {
    let dump = try fixture("intel-6.1/dump_vmcs.txt")
    let rows = try matches("([A-Z]+):? +sel=0x[0-9a-f]+, attr=0x([0-9a-f]+)", in: dump)
    let rights = Dictionary(uniqueKeysWithValues: try rows.map { ($0[1], try #require(UInt64($0[2], radix: 16))) })
    #expect(rights.count == 8)
    for (name, value) in rights { #expect(!Decoded.accessRights(value).hasReservedBits, "\(name)") }
    #expect(Decoded.accessRights(try #require(rights["CS"])).summary == "data RW, accessed, DPL 3, 16-bit")
    #expect(Decoded.accessRights(try #require(rights["LDTR"])).summary == "LDT, DPL 0")
    #expect(Decoded.accessRights(try #require(rights["TR"])).summary == "unusable")
  }

  @Test func `The other state of a real dump has no reserved bit set`() throws {
    let dump = try fixture("intel-6.1/dump_vmcs.txt")
    func value(_ pattern: String) throws -> UInt64 {
      let digits = try #require(try matches(pattern, in: dump).first?[1], "\(pattern)")
      return try #require(UInt64(digits, radix: 16))
    }
    #expect(!Decoded.cr0(try value("CR0: actual=0x([0-9a-f]+)")).hasReservedBits)
    #expect(!Decoded.cr4(try value("CR4: actual=0x([0-9a-f]+)")).hasReservedBits)
    #expect(!Decoded.cr4(try value("CR4=([0-9a-f]+)")).hasReservedBits)
    #expect(!Decoded.rflags(try value("RFLAGS=0x([0-9a-f]+)")).hasReservedBits)
    #expect(!Decoded.dr7(try value("DR7 = 0x([0-9a-f]+)")).hasReservedBits)
    #expect(!Decoded.efer(try value("EFER= 0x([0-9a-f]+)")).hasReservedBits)
    #expect(!Decoded.eptPointer(try value("EPT pointer = 0x([0-9a-f]+)")).hasReservedBits)
    #expect(Decoded.interruptibility(try value("Interruptibility = ([0-9a-f]+)")).summary == "not blocked")
    #expect(Decoded.activityState(try value("ActivityState = ([0-9a-f]+)")).summary == "active")
    #expect(Decoded.exitReason(try value("reason=([0-9a-f]+)")).summary == "INVALID_STATE, FAILED_VMENTRY")
  }

  @Test func `A flag that is 0 is left out, a reserved bit that is 1 is not`() {
    let decoded = Decoded.cr0(0x8000_0040)
    #expect(decoded.parts.map(\.name) == ["PG", "reserved"])
    #expect(decoded.hasReservedBits)
    #expect(decoded.hexadecimalValue == "0x0000000080000040")
  }

  @Test(arguments: [
    ("0x1a", 26), ("26", 26), ("0X1A", 26), ("0", 0), ("0xffffffffffffffff", UInt64.max),
    ("18446744073709551615", .max),
  ]) func `A number is decimal, or hexadecimal with 0x`(_ text: String, _ value: UInt64) {
    #expect(parseNumber(text) == value)
  }

  @Test(arguments: [
    "", "0x", "x", "1a", "-1", "+1", " 1", "1 ", "0x1_0", "18446744073709551616", "0x10000000000000000", "٣", "0x+1",
  ])
  func `Other text is no number`(_ text: String) { #expect(parseNumber(text) == nil) }

  @Test func `Control characters of a wrong argument are not repeated`() {
    #expect(throws: DecodeError.self) { try DecodeKind.decode("\u{1b}[31m", []) }
    do {
      _ = try DecodeKind.decode("cr0", ["\u{1b}]0;x\u{7}"])
    } catch {
      #expect(!error.message.unicodeScalars.contains { $0.value < 32 })
    }
  }

  @Test func `A slip of a letter or two finds the name`() {
    #expect(nearest(to: "GUEST_RPI", in: VMCSField.rows.map(\.name)) == "GUEST_RIP")
    #expect(nearest(to: "acess-rights", in: DecodeKind.all.map(\.name)) == "access-rights")
    #expect(nearest(to: "zzzzzzzz", in: DecodeKind.all.map(\.name)) == nil)
    #expect(nearest(to: "", in: ["a", "b"]) == nil)
  }
}
