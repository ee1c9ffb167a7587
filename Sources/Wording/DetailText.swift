import Aggregator
import Architecture

/// A number as the kernel's sources and the manuals have it: `0x3f8`.
public func hex(_ value: some BinaryInteger, digits: Int = 1) -> String {
  let text = String(value, radix: 16)
  return "0x" + String(repeating: "0", count: max(0, digits - text.count)) + text
}

extension DetailKind {
  /// What stands before its values where nothing else says what they are; empty where the values say it.
  public var label: String {
    switch self {
    case .port, .msr, .gpa, .vector, .hypercall, .rip: key
    case .cpuidLeaf: "leaf"
    case .linearAddress: "address"
    case .apicOffset: "APIC offset"
    case .controlRegister, .debugRegister: ""
    }
  }

  /// What the catalogue calls a value, such as `IA32_TSC_DEADLINE` for MSR 0x6e0; nil where it has no name.
  public func name(of value: UInt64) -> String? {
    switch self {
    case .port: UInt16(exactly: value).flatMap(portName)
    case .msr: UInt32(exactly: value).flatMap(msrName)
    case .gpa: guestPhysicalAddressName(value)
    case .cpuidLeaf: cpuidLeafName(UInt32(truncatingIfNeeded: value))
    case .vector: value < 32 ? exceptionName(UInt8(value)) : nil
    case .apicOffset: UInt32(exactly: value).flatMap { localAPICRegisterName(offset: $0) }
    case .controlRegister, .debugRegister, .linearAddress, .hypercall, .rip: nil
    }
  }

  /// A value for people, without the label: `0x3f8 COM1`, `14 #PF`, `MOV to CR3`.
  ///
  /// - Parameter name: what it is called; nil where it has no name.
  public func text(_ value: UInt64, name: String?) -> String {
    let number =
      switch self {
      case .port, .msr, .gpa, .linearAddress, .apicOffset, .hypercall, .rip: hex(value)
      case .cpuidLeaf: hex(value & 0xffff_ffff) + (value >> 32 == 0 ? "" : ".\(hex(value >> 32))")
      // Exceptions are known by number and name; interrupt vectors stand in hexadecimal in the kernel's sources.
      case .vector: value < 32 ? "\(value)" : hex(value)
      case .controlRegister, .debugRegister: Self.access(to: "\(key.uppercased())\(value & 0xff)", value >> 8 & 0xff)
      }
    return name.map { "\(number) \($0)" } ?? number
  }

  /// Access types of the exit qualification for control-register accesses, bits 5:4 (SDM volume 3, "Exit Qualification for
  /// Control-Register Accesses"). Those of debug registers are the first two.
  private static func access(to register: String, _ type: UInt64) -> String {
    switch type {
    case 0: "MOV to \(register)"
    case 1: "MOV from \(register)"
    case 2: "CLTS"
    case 3: "LMSW"
    default: "\(register) access \(type)"
    }
  }
}
