/// The types of the kernel or of one of its modules, from BTF (`Documentation/bpf/btf.rst`): raw, as
/// /sys/kernel/btf/vmlinux has it; the file of a module continues the ids and strings of vmlinux.
///
/// A reader of our own rather than libbpf's: vmctop is one self-contained binary, needs nothing but member offsets, and
/// has to go on, with a reason, where the bytes make no sense. Every id, offset and length in the bytes is checked.
public final class TypeInformation: Sendable {
  typealias ID = UInt32

  enum Kind: UInt8 {
    case integer = 1
    case pointer, array, structure, union, enumeration, forward, typedef, volatile, const, restrict, function,
      functionPrototype, variable, dataSection, float, declarationTag, typeTag, enumeration64
  }

  private let bytes: [UInt8]
  private let base: TypeInformation?
  private let firstID: ID
  private let firstString: UInt32
  /// Where each type's record is in `bytes`.
  private let offsets: [UInt32]
  private let strings: Range<Int>

  /// All ids below are valid, this one's and the base's.
  private var endID: ID { firstID + ID(offsets.count) }
  private var endString: UInt32 { firstString + UInt32(strings.count) }

  /// - Throws: where the bytes are no BTF, or are cut.
  public init(_ bytes: [UInt8], base: TypeInformation? = nil, name: String = "BTF") throws(KernelMemoryError) {
    func bad(_ what: String) -> KernelMemoryError { KernelMemoryError("\(name): \(what)") }
    func word(_ offset: Int) -> UInt32 {
      bytes.withUnsafeBytes { UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: UInt32.self)) }
    }
    // struct btf_header: u16 magic, u8 version, u8 flags, u32 hdr_len, type_off, type_len, str_off, str_len.
    guard bytes.count >= 24, bytes.count < 1 << 30, bytes[0] == 0x9F, bytes[1] == 0xEB, bytes[2] == 1 else {
      throw bad("no BTF of version 1")
    }
    let header = Int(word(4))
    guard header >= 24, header <= bytes.count else { throw bad("its header is \(header) bytes long") }
    func section(_ place: Int) throws(KernelMemoryError) -> Range<Int> {
      let start = header + Int(word(place))
      let end = start + Int(word(place + 4))
      guard end <= bytes.count else { throw bad("it is cut: a section ends at \(end) of \(bytes.count) bytes") }
      return start..<end
    }
    let types = try section(8)
    strings = try section(16)
    self.bytes = bytes
    self.base = base
    firstID = base?.endID ?? 1
    firstString = base?.endString ?? 0
    var offsets: [UInt32] = []
    var position = types.lowerBound
    while position < types.upperBound {
      guard types.upperBound - position >= 12 else { throw bad("its types are cut at byte \(position)") }
      let info = word(position + 4)
      let count = Int(info & 0xffff)
      guard let kind = Kind(rawValue: UInt8(info >> 24 & 0x1f)) else {
        throw bad("type \(Int(firstID) + offsets.count) is of the unknown kind \(info >> 24 & 0x1f)")
      }
      let more =
        switch kind {
        case .integer, .variable, .declarationTag: 4
        case .array: 12
        case .structure, .union, .dataSection, .enumeration64: count * 12
        case .enumeration, .functionPrototype: count * 8
        default: 0
        }
      guard types.upperBound - position - 12 >= more else { throw bad("its types are cut at byte \(position)") }
      offsets.append(UInt32(position))
      position += 12 + more
    }
    guard UInt64(firstID) + UInt64(offsets.count) < 1 << 31, UInt64(firstString) + UInt64(strings.count) < 1 << 31
    else {
      throw bad("it has more types than can be")
    }
    self.offsets = offsets
  }

  // MARK: Records

  private struct Record {
    var owner: TypeInformation
    var offset: Int
    var nameOffset: UInt32
    var kind: Kind
    var count: Int
    var kindFlag: Bool
    /// The size in bytes, or the id of the type referred to.
    var sizeOrType: UInt32
  }

  private func word(_ offset: Int) -> UInt32 {
    bytes.withUnsafeBytes { UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: UInt32.self)) }
  }

  private func record(_ id: ID) -> Record? {
    if id < firstID { return base?.record(id) }
    guard id < endID else { return nil }
    let offset = Int(offsets[Int(id - firstID)])
    let info = word(offset + 4)
    guard let kind = Kind(rawValue: UInt8(info >> 24 & 0x1f)) else { return nil }
    return Record(
      owner: self, offset: offset, nameOffset: word(offset), kind: kind, count: Int(info & 0xffff),
      kindFlag: info >> 31 != 0, sizeOrType: word(offset + 8))
  }

  /// Whether the string at that offset is this one.
  private func isString(_ offset: UInt32, _ text: [UInt8]) -> Bool {
    if offset < firstString { return base?.isString(offset, text) ?? false }
    let start = strings.lowerBound + Int(offset - firstString)
    guard start + text.count < strings.upperBound else { return false }
    for index in text.indices where bytes[start + index] != text[index] { return false }
    return bytes[start + text.count] == 0
  }

  private func isAnonymous(_ offset: UInt32) -> Bool { offset == 0 || isString(offset, []) }

  /// The structure or union of that name, in this file or its base.
  func structure(named name: String) -> ID? {
    let text = Array(name.utf8)
    for index in offsets.indices {
      let offset = Int(offsets[index])
      let kind = UInt8(word(offset + 4) >> 24 & 0x1f)
      guard kind == Kind.structure.rawValue || kind == Kind.union.rawValue else { continue }
      if isString(word(offset), text) { return firstID + ID(index) }
    }
    return base?.structure(named: name)
  }

  /// Behind typedefs and qualifiers; of a structure that is only declared, the definition of that name if there is one.
  /// Nil where they go round in circles.
  private func resolved(_ id: ID) -> Record? {
    var id = id
    for _ in 0..<32 {
      guard let record = record(id) else { return nil }
      switch record.kind {
      case .typedef, .const, .volatile, .restrict, .typeTag: id = record.sizeOrType
      case .forward:
        guard let name = record.owner.string(record.nameOffset), let definition = structure(named: name) else {
          return record
        }
        id = definition
      default: return record
      }
    }
    return nil
  }

  private func string(_ offset: UInt32) -> String? {
    if offset < firstString { return base?.string(offset) }
    let start = strings.lowerBound + Int(offset - firstString)
    guard start < strings.upperBound, let end = bytes[start..<min(start + 256, strings.upperBound)].firstIndex(of: 0)
    else { return nil }
    return String(decoding: bytes[start..<end], as: UTF8.self)
  }

  /// Bytes; nil for what has no size.
  func size(of id: ID, depth: Int = 0) -> Int? {
    guard depth < 16, let type = resolved(id) else { return nil }
    switch type.kind {
    case .integer, .structure, .union, .enumeration, .enumeration64, .float: return Int(type.sizeOrType)
    case .pointer: return 8
    case .array:
      guard let element = size(of: type.owner.word(type.offset + 12), depth: depth + 1) else { return nil }
      let (bytes, overflow) = element.multipliedReportingOverflow(by: Int(type.owner.word(type.offset + 20)))
      return overflow || bytes > 1 << 31 ? nil : bytes
    default: return nil
    }
  }

  /// The value of an enumerator, in any enumeration of this file or its base.
  public func enumerator(_ name: String) -> Int64? {
    let text = Array(name.utf8)
    for offset in offsets {
      let info = word(Int(offset) + 4)
      let kind = UInt8(info >> 24 & 0x1f)
      let isWide = kind == Kind.enumeration64.rawValue
      guard isWide || kind == Kind.enumeration.rawValue else { continue }
      for index in 0..<Int(info & 0xffff) {
        let place = Int(offset) + 12 + index * (isWide ? 12 : 8)
        guard isString(word(place), text) else { continue }
        let low = word(place + 4)
        return isWide ? Int64(bitPattern: UInt64(word(place + 8)) << 32 | UInt64(low)) : Int64(Int32(bitPattern: low))
      }
    }
    return base?.enumerator(name)
  }

  // MARK: Paths

  private struct Place {
    var type: ID
    /// Bits from the start of the outermost structure.
    var bits: Int
    /// Nil where it is no bit field.
    var width: Int?
  }

  /// A member by name, through anonymous structures and unions. The budget bounds what nested ones may cost.
  private func member(_ name: [UInt8], of type: Record, budget: inout Int, depth: Int = 0) -> Place? {
    guard depth < 16, type.kind == .structure || type.kind == .union else { return nil }
    for index in 0..<type.count {
      budget -= 1
      guard budget > 0 else { return nil }
      let place = type.offset + 12 + index * 12
      let nameOffset = type.owner.word(place)
      let id = type.owner.word(place + 4)
      let offset = type.owner.word(place + 8)
      let bits = Int(type.kindFlag ? offset & 0xff_ffff : offset)
      let width = type.kindFlag ? Int(offset >> 24) : 0
      if isString(nameOffset, name) { return Place(type: id, bits: bits, width: width == 0 ? nil : width) }
      if isAnonymous(nameOffset), let inner = resolved(id),
        var found = member(name, of: inner, budget: &budget, depth: depth + 1)
      {
        found.bits += bits
        return found
      }
    }
    return nil
  }

  /// A path such as `loaded_vmcs->controls_shadow.exec` or `arch.regs[4]` from a structure on; nil where this kernel has
  /// none of it. A path that ends in `->` of a pointer is the structure it points at.
  public func path(_ structure: String, _ path: String) -> MemberPath? {
    guard let start = self.structure(named: structure) else { return nil }
    var result = MemberPath(text: "\(structure).\(path)")
    var type = start
    var bits = 0
    var width: Int?
    for step in Self.steps(path) {
      switch step {
      case .member(let name):
        var budget = 100_000
        guard let record = resolved(type), let found = member(name, of: record, budget: &budget) else { return nil }
        bits += found.bits
        width = found.width
        type = found.type
      case .index(let index):
        guard let record = resolved(type), record.kind == .array,
          index < Int(record.owner.word(record.offset + 20)) || record.owner.word(record.offset + 20) == 0,
          let size = size(of: record.owner.word(record.offset + 12))
        else { return nil }
        type = record.owner.word(record.offset + 12)
        bits += index * size * 8
      case .follow:
        guard let record = resolved(type), record.kind == .pointer, bits % 8 == 0 else { return nil }
        result.pointers.append(bits / 8)
        type = record.sizeOrType
        bits = 0
      case .nonsense: return nil
      }
    }
    guard let size = size(of: type) else { return nil }
    if let width {
      // Read with the bytes that hold it.
      result.offset = bits / 8
      result.bitField = (shift: bits % 8, width: width)
      result.size = (bits % 8 + width + 7) / 8
      guard result.size <= 8 else { return nil }
    } else {
      guard bits % 8 == 0 else { return nil }
      result.offset = bits / 8
      result.size = size
    }
    guard result.offset >= 0, result.offset < 1 << 24 else { return nil }
    return result
  }

  /// The size of a structure in bytes.
  public func size(ofStructure name: String) -> Int? { structure(named: name).flatMap { size(of: $0) } }

  private enum Step {
    case member([UInt8])
    case index(Int)
    case follow
    case nonsense
  }

  private static func steps(_ path: String) -> [Step] {
    var steps: [Step] = []
    var rest = Substring(path)
    while !rest.isEmpty {
      if rest.hasPrefix("->") {
        steps.append(.follow)
        rest.removeFirst(2)
      } else if rest.hasPrefix(".") {
        rest.removeFirst()
      } else if rest.hasPrefix("[") {
        let digits = rest.dropFirst().prefix { $0 != "]" }
        guard let index = Int(digits), index >= 0, index < 1 << 16 else { return [.nonsense] }
        steps.append(.index(index))
        rest = rest.dropFirst(digits.count + 2)
      } else {
        let name = rest.prefix { $0 != "." && $0 != "[" && $0 != "-" }
        guard !name.isEmpty else { return [.nonsense] }
        steps.append(.member(Array(name.utf8)))
        rest = rest.dropFirst(name.count)
      }
    }
    return steps
  }
}

/// Where a value is, from a structure's address on: resolved once, read as often as one likes.
public struct MemberPath: Sendable {
  /// As it was asked for, such as `vcpu_vmx.loaded_vmcs->controls_shadow.exec`.
  public var text: String
  /// Offsets of the pointers to follow, each from where the one before led.
  var pointers: [Int] = []
  /// From the start, or from where the last pointer led.
  public internal(set) var offset = 0
  /// Bytes.
  public internal(set) var size = 0
  var bitField: (shift: Int, width: Int)?

  init(text: String) { self.text = text }

  /// Whether it lies within the structure itself, no pointer between.
  public var isInline: Bool { pointers.isEmpty }

  /// The value in a copy of the structure that holds it; nil where a pointer is between, where the copy is too short, or
  /// for what is longer than eight bytes.
  public func integer(in bytes: [UInt8]) -> UInt64? {
    guard isInline, size >= 1, size <= 8, offset + size <= bytes.count else { return nil }
    var value: UInt64 = 0
    for index in (0..<size).reversed() { value = value << 8 | UInt64(bytes[offset + index]) }
    guard let bitField else { return value }
    return value >> UInt64(bitField.shift) & (bitField.width >= 64 ? .max : (1 << UInt64(bitField.width)) - 1)
  }

  /// The value in its own bytes, as read from `address(from:_:)`.
  private func integer(ofBytes bytes: [UInt8]) -> UInt64? {
    var own = self
    own.pointers = []
    own.offset = 0
    return own.integer(in: bytes)
  }

  /// The value in kernel memory, from a structure's address on; nil where `address(from:_:)` is, or for what is longer than
  /// eight bytes.
  public func integer(from structure: UInt64, _ core: some KernelBytes) -> UInt64? {
    guard size <= 8, let address = address(from: structure, core), let bytes = core.bytes(at: address, count: size)
    else { return nil }
    return integer(ofBytes: bytes)
  }

  /// The bytes in a copy of the structure.
  public func bytes(in copy: [UInt8]) -> ArraySlice<UInt8>? {
    guard isInline, offset + size <= copy.count else { return nil }
    return copy[offset..<offset + size]
  }

  /// Its address, following the pointers; nil where one is null or leads nowhere.
  public func address(from structure: UInt64, _ core: some KernelBytes) -> UInt64? {
    var address = structure
    for pointer in pointers {
      guard let next: UInt64 = core.integer(at: address &+ UInt64(pointer)), next != 0 else { return nil }
      address = next
    }
    return address &+ UInt64(offset)
  }
}
