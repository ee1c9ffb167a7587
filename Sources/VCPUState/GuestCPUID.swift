import KernelMemory

/// The CPUID leaves that the VMM gave a vCPU (KVM_SET_CPUID2): `vcpu.arch.cpuid_entries`.
struct GuestCPUID {
  enum Register: Int {
    case eax = 12
    case ebx = 16
    case ecx = 20
    case edx = 24
  }

  /// A feature that decides a control: its name, and where CPUID reports it (SDM volume 2, "CPUID").
  struct Feature {
    var name: String
    var leaf: UInt32
    var subleaf: UInt32 = 0
    var register: Register
    var bit: UInt32

    static let rdtscp = Feature(name: "RDTSCP", leaf: 0x8000_0001, register: .edx, bit: 27)
    static let rdpid = Feature(name: "RDPID", leaf: 7, register: .ecx, bit: 22)
    static let invpcid = Feature(name: "INVPCID", leaf: 7, register: .ebx, bit: 10)
    static let rdrand = Feature(name: "RDRAND", leaf: 1, register: .ecx, bit: 30)
    static let rdseed = Feature(name: "RDSEED", leaf: 7, register: .ebx, bit: 18)
    static let waitpkg = Feature(name: "WAITPKG", leaf: 7, register: .ecx, bit: 5)
    static let xsave = Feature(name: "XSAVE", leaf: 1, register: .ecx, bit: 26)
    static let xsaves = Feature(name: "XSAVES", leaf: 0xd, subleaf: 1, register: .eax, bit: 3)
    static let sgx = Feature(name: "SGX", leaf: 7, register: .ebx, bit: 2)
  }

  /// `struct kvm_cpuid_entry2` (include/uapi/linux/kvm.h), 40 bytes each: function, index, flags, eax, ebx, ecx, edx.
  private let bytes: [UInt8]
  private static let entrySize = 40

  /// - Parameter bytes: so many whole entries.
  init(_ bytes: [UInt8]) { self.bytes = bytes }

  /// Nil where there are more than KVM takes (KVM_MAX_CPUID_ENTRIES), or they cannot be read.
  init?(at address: UInt64, count: UInt64, _ core: KernelCore) {
    guard count <= 256 else { return nil }
    if count == 0 {
      bytes = []
      return
    }
    guard let bytes = core.bytes(at: address, count: Int(count) * Self.entrySize) else { return nil }
    self.bytes = bytes
  }

  /// Whether the guest is told of a feature: guest_cpuid_has().
  func has(_ feature: Feature) -> Bool {
    func word(_ offset: Int) -> UInt32 {
      bytes.withUnsafeBytes { UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: UInt32.self)) }
    }
    for start in stride(from: 0, to: bytes.count - Self.entrySize + 1, by: Self.entrySize) {
      guard word(start) == feature.leaf else { continue }
      // KVM_CPUID_FLAG_SIGNIFCANT_INDEX
      if word(start + 8) & 1 != 0, word(start + 4) != feature.subleaf { continue }
      return word(start + feature.register.rawValue) >> feature.bit & 1 == 1
    }
    return false
  }
}
