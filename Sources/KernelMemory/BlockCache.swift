/// Keeps what was read for as long as it lives, so that a structure whose members are wanted one by one costs one system
/// call: whole blocks are read, and a member that spans none of their borders comes from a block. Meant for one reading of
/// one structure and its neighbours; memory that changes is seen as it was when its block was read.
public final class BlockCache: KernelBytes {
  /// A power of two that divides a page, so that a block lies in one page.
  private static let blockSize: UInt64 = 1024

  private let source: KernelCore
  private var blocks: [UInt64: [UInt8]?] = [:]
  private var copies: [(address: UInt64, bytes: [UInt8])] = []

  public init(_ source: KernelCore) { self.source = source }

  /// Takes what was read already: nothing within it is read again.
  public func add(_ bytes: [UInt8], at address: UInt64) { copies.append((address, bytes)) }

  public func bytes(at address: UInt64, count: Int) -> [UInt8]? {
    guard count > 0 else { return nil }
    for copy in copies where address >= copy.address {
      let offset = address - copy.address
      if offset <= UInt64(copy.bytes.count), count <= copy.bytes.count - Int(offset) {
        return Array(copy.bytes[Int(offset)..<Int(offset) + count])
      }
    }
    let start = address & ~(Self.blockSize - 1)
    let offset = Int(address - start)
    guard offset + count <= Int(Self.blockSize) else { return source.bytes(at: address, count: count) }
    if let block = blocks[start] {
      guard let block else { return source.bytes(at: address, count: count) }
      return Array(block[offset..<offset + count])
    }
    // A segment may begin or end within the block.
    let block = source.bytes(at: start, count: Int(Self.blockSize))
    blocks[start] = .some(block)
    guard let block else { return source.bytes(at: address, count: count) }
    return Array(block[offset..<offset + count])
  }
}
