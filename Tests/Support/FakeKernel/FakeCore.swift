import Foundation

/// Composes a /proc/kcore: an ELF core file of pieces of memory at kernel addresses.
public struct FakeCore {
  private var pieces: [(address: UInt64, bytes: [UInt8])] = []

  public init() {}

  public mutating func add(_ bytes: [UInt8], at address: UInt64) { pieces.append((address, bytes)) }

  /// Puts an integer into memory that was added.
  public mutating func put<T: FixedWidthInteger>(_ value: T, at address: UInt64) {
    withUnsafeBytes(of: value.littleEndian) { put(Array($0), at: address) }
  }

  public mutating func put(_ bytes: [UInt8], at address: UInt64) {
    for index in pieces.indices {
      let piece = pieces[index]
      guard address >= piece.address, address + UInt64(bytes.count) <= piece.address + UInt64(piece.bytes.count) else {
        continue
      }
      pieces[index].bytes.replaceSubrange(
        Int(address - piece.address)..<Int(address - piece.address) + bytes.count, with: bytes)
      return
    }
    preconditionFailure("no memory at \(String(address, radix: 16))")
  }

  public var bytes: [UInt8] {
    func little<T: FixedWidthInteger>(_ value: T) -> [UInt8] { withUnsafeBytes(of: value.littleEndian) { Array($0) } }
    var result: [UInt8] = [0x7F, 0x45, 0x4C, 0x46, 2, 1, 1, 0] + [UInt8](repeating: 0, count: 8)
    result += little(UInt16(4)) + little(UInt16(62)) + little(UInt32(1)) + little(UInt64(0)) + little(UInt64(64))
    result += little(UInt64(0)) + little(UInt32(0)) + little(UInt16(64)) + little(UInt16(56))
    result += little(UInt16(pieces.count + 1)) + [UInt8](repeating: 0, count: 6)
    // A note first, as kcore has one.
    result += little(UInt32(4)) + [UInt8](repeating: 0, count: 52)
    var offset = 64 + 56 * (pieces.count + 1)
    for piece in pieces {
      result +=
        little(UInt32(1)) + little(UInt32(7)) + little(UInt64(offset)) + little(piece.address) + little(UInt64(0))
      result += little(UInt64(piece.bytes.count)) + little(UInt64(piece.bytes.count)) + little(UInt64(4096))
      offset += piece.bytes.count
    }
    for piece in pieces { result += piece.bytes }
    return result
  }
}

/// A file that is removed with its last reference.
public final class TemporaryFile: Sendable {
  public let path: String

  public init(_ bytes: [UInt8]) {
    path = NSTemporaryDirectory() + "vmctop-test-\(UUID().uuidString)"
    _ = FileManager.default.createFile(atPath: path, contents: Data(bytes))
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }
}
