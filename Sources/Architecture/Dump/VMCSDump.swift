/// One VMCS or VMCB as the kernel printed it into its log: `dump_vmcs()` of arch/x86/kvm/vmx/vmx.c, `dump_vmcb()` of
/// arch/x86/kvm/svm/svm.c.
public struct VMCSDump: Sendable, Hashable {
  /// What was dumped.
  public enum Kind: String, Sendable, CaseIterable {
    /// The VMCS of a vCPU on kvm_intel.
    case vmcs
    /// The VMCB of a vCPU on kvm_amd.
    case vmcb

    /// The instruction set that it belongs to.
    public var isa: ISA { self == .vmcs ? .vmx : .svm }
  }

  /// One field of the dump.
  public struct Field: Sendable, Hashable {
    /// The field: of the catalogue for a VMCS, of the dump's own names for a VMCB.
    public var id: DumpFieldID
    /// The value.
    public var value: UInt64
    /// The line of the log it stands in; the first is 1.
    public var line: Int
    /// What the kernel says of the value behind it: `autoload` and `effective` for an EFER that is not the VMCS field,
    /// `corrupted!` for a #VE information address.
    public var note: String?

    /// One field; see the properties.
    public init(id: DumpFieldID, value: UInt64, line: Int, note: String? = nil) {
      self.id = id
      self.value = value
      self.line = line
      self.note = note
    }
  }

  /// One of the MSR lists that VM entry and VM exit work through.
  public struct MSRList: Sendable, Hashable {
    /// One MSR of a list.
    public struct Entry: Sendable, Hashable {
      /// The number in front of it; the first is 0.
      public var index: Int
      /// Which MSR.
      public var msr: UInt32
      /// What is loaded, or was stored.
      public var value: UInt64
      /// The line of the log.
      public var line: Int
    }

    /// `guest autoload`, `guest autostore`, `autostore` or `host autoload`, as the kernel has it.
    public var name: String
    /// The line of its heading.
    public var line: Int
    /// In the order of the log.
    public var entries: [Entry]
  }

  /// VMCS or VMCB.
  public var kind: Kind
  /// The line it begins in.
  public var line: Int
  /// The last line that belongs to it.
  public var lastLine: Int
  /// The processor of the last attempted entry. The kernel tells since 5.15.
  public var cpu: Int?
  /// The number of the vCPU, where the kernel tells.
  public var vcpu: Int?
  /// `SVM`, `SEV`, `SEV-ES` or `SEV-SNP`, where the kernel tells.
  public var guestType: String?
  /// The fields in the order of the log, each once.
  public var fields: [Field] = []
  /// The MSR lists, in order.
  public var msrLists: [MSRList] = []
  /// Lines that begin as a line of the dump but end in the middle, or go on with something else.
  public var damagedLines: [Int] = []
  /// What KVM said before, or a VMM after it: why it was dumped.
  public var remarks: [DumpRemark] = []

  /// An empty dump.
  public init(kind: Kind, line: Int) {
    self.kind = kind
    self.line = line
    lastLine = line
  }

  /// The field with this number; nil where the dump does not have it.
  public func field(_ id: DumpFieldID) -> Field? { fields.first { $0.id == id } }

  /// The value of a field; nil where the dump does not have it.
  public subscript(_ id: DumpFieldID) -> UInt64? { field(id)?.value }
}

/// Which field of a dump: the encoding of a VMCS field; beyond the encodings, a number for what has none.
public struct DumpFieldID: RawRepresentable, Hashable, Comparable, Sendable {
  /// The encoding, or a number from `0x10000` on: VMCB fields and the #VE information area.
  public var rawValue: UInt32

  /// Any number.
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// In order of the number.
  public static func < (a: DumpFieldID, b: DumpFieldID) -> Bool { a.rawValue < b.rawValue }

  /// The encoding of a VMCS field; nil for everything else.
  public var encoding: VMCSEncoding? { rawValue < 0x10000 ? VMCSEncoding(rawValue: rawValue) : nil }

  /// The field's row in the catalogue; nil for what is no VMCS field.
  public var catalogueField: VMCSField? { rawValue < 0x10000 ? VMCSField.lookup(encoding: rawValue) : nil }

  /// `GUEST_CR0` for a VMCS field, `cr0` for that of a VMCB: as the catalogue or the kernel's dump has it.
  public var name: String {
    if let catalogueField { return catalogueField.name }
    guard rawValue >= 0x10000, Int(rawValue - 0x10000) < DumpFieldID.otherFields.count else {
      return hexadecimal(rawValue)
    }
    return DumpFieldID.otherFields[Int(rawValue - 0x10000)].name
  }

  /// How many bits the field has.
  public var bits: Int {
    if let encoding {
      switch encoding.width {
      case .bits16: return 16
      case .bits32: return 32
      case .bits64, .natural: return 64
      }
    }
    guard rawValue >= 0x10000, Int(rawValue - 0x10000) < DumpFieldID.otherFields.count else { return 64 }
    return DumpFieldID.otherFields[Int(rawValue - 0x10000)].bits
  }

  /// The field of a VMCB of this name, such as `cr0` or `cs.attrib`.
  public init?(vmcb name: String) { self.init(other: name) }

  /// Every field of dump_vmcb(), in its order.
  public static let vmcbFields: [DumpFieldID] = VMCBLabel.all.compactMap { DumpFieldID(other: $0.name) }

  /// The field that the kernel prints under this name in dump_vmcb(), or in the `ve_info` line.
  init?(other name: String) {
    guard let index = DumpFieldID.otherFields.firstIndex(where: { $0.name == name }) else { return nil }
    self.init(rawValue: 0x10000 + UInt32(index))
  }

  /// What has no encoding, in the order of the dump.
  static let otherFields: [(name: String, bits: Int)] =
    [
      ("ve_info.exit_reason", 32), ("ve_info.delivery", 32), ("ve_info.exit_qualification", 64),
      ("ve_info.guest_linear_address", 64), ("ve_info.guest_physical_address", 64), ("ve_info.eptp_index", 16),
    ]
    + VMCBLabel.all.map { ($0.name, $0.bits) }
}

/// A line around a dump that says why there is one.
public struct DumpRemark: Sendable, Hashable {
  /// What kind of line.
  public enum Kind: String, Sendable {
    /// QEMU's `KVM: entry failed, hardware error 0x80000021`; the number is VM_EXIT_REASON or VM_INSTRUCTION_ERROR.
    case hardwareError
    /// KVM's `vmx: unexpected exit reason 0x...`, `svm: unexpected exit reason 0x...`.
    case unexpectedExit
    /// KVM's `set kvm_intel.dump_invalid_vmcs=1 to dump internal KVM state.`: there would have been a dump.
    case suppressed
  }

  /// What kind of line.
  public var kind: Kind
  /// The line of the log.
  public var line: Int
  /// The number in it; 0 where it has none.
  public var value: UInt64
}

/// What a log has of VMCS and VMCB dumps.
public struct DumpLog: Sendable, Hashable {
  /// The dumps, in the order they begin.
  public var dumps: [VMCSDump] = []
  /// Remarks that no dump follows or precedes.
  public var remarks: [DumpRemark] = []
  /// How many lines the log has.
  public var lineCount = 0

  /// Reads a whole log.
  public init(_ text: [UInt8]) {
    var parser = VMCSDumpParser()
    text.withUnsafeBytes { parser.feed($0) }
    self = parser.finish()
  }

  init() {}
}
