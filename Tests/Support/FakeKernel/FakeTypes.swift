/// Composes BTF: types are added in order and numbered from 1, or from where the base ends.
public struct FakeTypes {
  private var types: [UInt8] = []
  private var strings: [UInt8] = [0]
  private let firstString: UInt32
  /// The id the next type gets.
  public private(set) var nextID: UInt32

  public init() {
    nextID = 1
    firstString = 0
  }

  /// Continues the ids and strings of another, as a module's types continue vmlinux's.
  public init(after base: FakeTypes) {
    nextID = base.nextID
    firstString = base.firstString + UInt32(base.strings.count)
    strings = []
  }

  public struct Member {
    public var name: String
    var type: UInt32
    var bits: UInt32
    var width: UInt32

    public init(_ name: String, _ type: UInt32, at byte: Int) { self.init(name, type, bits: UInt32(byte * 8)) }

    public init(_ name: String, _ type: UInt32, bits: UInt32, width: UInt32 = 0) {
      self.name = name
      self.type = type
      self.bits = bits
      self.width = width
    }
  }

  private mutating func string(_ text: String) -> UInt32 {
    if text.isEmpty { return 0 }
    let offset = firstString + UInt32(strings.count)
    strings += Array(text.utf8) + [0]
    return offset
  }

  private mutating func words(_ values: UInt32...) {
    for value in values { withUnsafeBytes(of: value.littleEndian) { types += Array($0) } }
  }

  private mutating func begin(
    _ name: String, _ kind: UInt32, _ sizeOrType: UInt32, count: Int = 0, flag: Bool = false
  ) -> UInt32 {
    words(string(name), kind << 24 | UInt32(count) | (flag ? 1 << 31 : 0), sizeOrType)
    defer { nextID += 1 }
    return nextID
  }

  public mutating func integer(_ name: String, bytes: Int) -> UInt32 {
    let id = begin(name, 1, UInt32(bytes))
    words(UInt32(bytes * 8))
    return id
  }

  public mutating func pointer(to type: UInt32) -> UInt32 { begin("", 2, type) }

  public mutating func array(of type: UInt32, count: Int) -> UInt32 {
    let id = begin("", 3, 0)
    words(type, 0, UInt32(count))
    return id
  }

  public mutating func structure(_ name: String, size: Int, isUnion: Bool = false, _ members: [Member]) -> UInt32 {
    let flag = members.contains { $0.width != 0 }
    let id = begin(name, isUnion ? 5 : 4, UInt32(size), count: members.count, flag: flag)
    for member in members {
      words(string(member.name), member.type, flag ? member.width << 24 | member.bits : member.bits)
    }
    return id
  }

  public mutating func enumeration(_ name: String, _ values: [(String, Int32)]) -> UInt32 {
    let id = begin(name, 6, 4, count: values.count)
    for (name, value) in values { words(string(name), UInt32(bitPattern: value)) }
    return id
  }

  public mutating func typedef(_ name: String, _ type: UInt32) -> UInt32 { begin(name, 8, type) }

  /// A structure that is only declared.
  public mutating func forward(_ name: String) -> UInt32 { begin(name, 7, 0) }

  /// A type of any kind, for what does not occur in a sane kernel.
  public mutating func raw(kind: UInt32, sizeOrType: UInt32) -> UInt32 { begin("", kind, sizeOrType) }

  /// The file: struct btf_header, types, strings.
  public var bytes: [UInt8] {
    var result: [UInt8] = [0x9F, 0xEB, 1, 0]
    for value in [24, 0, types.count, types.count, strings.count] {
      withUnsafeBytes(of: UInt32(value).littleEndian) { result += Array($0) }
    }
    return result + types + strings
  }
}
