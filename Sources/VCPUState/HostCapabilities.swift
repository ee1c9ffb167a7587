import Architecture
import HostFiles

extension HostCapabilities {
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
}
