import Architecture
import HostFiles

/// What the processor allows each control word to be, and where that was read.
public struct HostCapabilities: Sendable {
  /// From the capability MSRs, by word.
  public private(set) var words: [ControlWord: ControlCapability] = [:]
  /// The `vmx flags` line of /proc/cpuinfo: names of bits that are allowed to be 1. Nil before 5.7.
  public private(set) var flags: Set<String>?
  /// Why the MSRs are not there; nil where they are.
  public private(set) var missing: String?

  /// Reads the MSRs of CPU 0, which are those of all; the TRUE ones where IA32_VMX_BASIC has bit 55 (SDM volume 3, appendix
  /// "VMX Capability Reporting Facility").
  public static func read(roots: HostRoots = HostRoots()) -> HostCapabilities {
    var result = HostCapabilities()
    switch HostMSR.read(0x480, cpu: 0, roots: roots) {
    case .failure(let failure): result.missing = failure.description
    case .success(let basic):
      for word in ControlWord.allCases {
        let hasTrue = basic >> 55 & 1 == 1
        let msr = hasTrue ? word.trueCapabilityMSR ?? word.capabilityMSR : word.capabilityMSR
        // An MSR that the processor lacks cannot be read: the word does not exist.
        if case .success(let value) = HostMSR.read(msr, cpu: 0, roots: roots) {
          result.words[word] = ControlCapability(word: word, msr: value)
        }
      }
    }
    if let text = try? HostFile.text("\(roots.proc)/cpuinfo", limit: 1 << 16) {
      for line in text.split(separator: "\n") where line.hasPrefix("vmx flags") {
        guard let colon = line.firstIndex(of: ":") else { continue }
        result.flags = Set(line[line.index(after: colon)...].split(separator: " ").map(String.init))
        break
      }
    }
    return result
  }

  /// The values that the processor takes for a bit, such as `0 or 1`; nil where nothing tells.
  public func allowed(_ bit: ControlBit) -> String? {
    if let capability = words[bit.word] {
      switch capability.state(bit: bit.bit) {
      case .switchable: return "0 or 1"
      case .forcedOn: return "1 only"
      case .unsupported: return "0 only"
      case .contradictory: return "neither"
      }
    }
    if missing == nil { return "no such word" }
    guard let flags, let flag = bit.cpuinfoFlag else { return nil }
    return flags.contains(flag) ? "1 too" : "0 only"
  }
}
