import HostFiles

/// Addresses of kernel symbols, from /proc/kallsyms: `ffffffffc0a01234 d name [module]` a line.
public struct KernelSymbols: Sendable {
  struct Key: Hashable {
    var name: String
    /// Nil for the kernel itself.
    var module: String?
  }

  private var addresses: [Key: UInt64] = [:]
  /// Names that one module, or the kernel, has twice: static variables of different files. None of them can be trusted.
  private var ambiguous: Set<Key> = []

  /// Looks for these names only.
  ///
  /// - Parameter isCancelled: asked every few thousand lines; true gives it up.
  /// - Throws: where the file cannot be read, or shows no addresses.
  public init(
    path: String = "/proc/kallsyms", wanted: Set<String>, isCancelled: () -> Bool = { false }
  ) throws(KernelMemoryError) {
    var scanner = Scanner(wanted: wanted)
    do {
      try HostFile.scan(path) { piece in
        for byte in piece { scanner.take(byte) }
        // Without addresses the rest is of no use either.
        return (scanner.hasAddresses || scanner.lines <= 1000) && !isCancelled()
      }
    } catch {
      throw KernelMemoryError(
        "\(error)", hint: error.isAbsence ? "the kernel was built without CONFIG_KALLSYMS" : nil)
    }
    if isCancelled() { throw .cancelled }
    scanner.endLine()
    guard scanner.hasAddresses else {
      throw KernelMemoryError(
        "\(path) shows no addresses", hint: "needs CAP_SYSLOG, and kernel.kptr_restrict below 2")
    }
    for (key, address) in scanner.found {
      if addresses.updateValue(address, forKey: key) != nil { ambiguous.insert(key) }
    }
  }

  /// The address of a symbol in the first of these places that has it exactly once; nil in the list is the kernel.
  public func address(_ name: String, in modules: [String?]) -> UInt64? {
    for module in modules {
      let key = Key(name: name, module: module)
      if let address = addresses[key], !ambiguous.contains(key) { return address }
    }
    return nil
  }

  /// Byte by byte, since there are some ten million of them; strings are made only of lines that are wanted.
  private struct Scanner {
    private let wanted: Set<[UInt8]>
    private let longest: Int
    private(set) var lines = 0
    private(set) var hasAddresses = false
    private(set) var found: [(Key, UInt64)] = []
    private var field = 0
    private var address: UInt64 = 0
    private var name: [UInt8] = []
    private var module: [UInt8] = []

    init(wanted: Set<String>) {
      self.wanted = Set(wanted.map { Array($0.utf8) })
      longest = self.wanted.map(\.count).max() ?? 0
    }

    mutating func take(_ byte: UInt8) {
      switch byte {
      case UInt8(ascii: "\n"): endLine()
      case UInt8(ascii: " "), UInt8(ascii: "\t"): field &+= 1
      default:
        switch field {
        case 0:
          let digit: UInt8
          switch byte {
          case 0x30...0x39: digit = byte - 0x30
          case 0x61...0x66: digit = byte - 0x61 + 10
          case 0x41...0x46: digit = byte - 0x41 + 10
          default: return
          }
          address = address << 4 | UInt64(digit)
        case 2: if name.count <= longest { name.append(byte) }
        case 3: if name.count <= longest, module.count < 64 { module.append(byte) }
        default: break
        }
      }
    }

    mutating func endLine() {
      lines &+= 1
      if address != 0 {
        hasAddresses = true
        if !name.isEmpty, name.count <= longest, wanted.contains(name) {
          let module = String(decoding: module, as: UTF8.self).drop { $0 == "[" }.prefix { $0 != "]" }
          found.append(
            (Key(name: String(decoding: name, as: UTF8.self), module: module.isEmpty ? nil : String(module)), address))
        }
      }
      field = 0
      address = 0
      name.removeAll(keepingCapacity: true)
      module.removeAll(keepingCapacity: true)
    }
  }
}
