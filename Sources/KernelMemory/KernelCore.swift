import Glibc
import HostFiles

/// Where bytes at kernel addresses come from.
public protocol KernelBytes: AnyObject {
  /// So many bytes from an address; nil where they cannot be had.
  func bytes(at address: UInt64, count: Int) -> [UInt8]?
}

extension KernelBytes {
  /// A little-endian integer.
  public func integer<T: FixedWidthInteger>(at address: UInt64, as _: T.Type = T.self) -> T? {
    guard let bytes = bytes(at: address, count: MemoryLayout<T>.size) else { return nil }
    return bytes.withUnsafeBytes { T(littleEndian: $0.loadUnaligned(as: T.self)) }
  }
}

/// The kernel's memory as /proc/kcore shows it: an ELF core file whose loadable segments are the direct map, vmalloc and
/// the modules (`fs/proc/kcore.c`). Reads nothing outside them, whatever address it is asked for.
public final class KernelCore: KernelBytes {
  /// One range of kernel addresses.
  struct Segment {
    var address: UInt64
    var size: UInt64
    var fileOffset: UInt64
  }

  private let descriptor: Int32
  /// By address, without overlap.
  let segments: [Segment]
  /// System calls made so far.
  public private(set) var reads = 0

  /// - Throws: where the file cannot be opened, or is no 64-bit ELF core file.
  public init(path: String = "/proc/kcore") throws(KernelMemoryError) {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else {
      let failure = FileError(operation: "open", path: path, number: errno)
      throw KernelMemoryError(
        "\(failure)",
        hint: failure.isPermission
          ? "needs root with CAP_SYS_RAWIO, and no lockdown=confidentiality"
          : failure.isAbsence ? "the kernel was built without CONFIG_PROC_KCORE" : nil)
    }
    do {
      segments = try Self.segments(of: file, path)
    } catch {
      close(file)
      throw error
    }
    descriptor = file
  }

  deinit { close(descriptor) }

  /// elf(5): Elf64_Ehdr, then Elf64_Phdr of 56 bytes each.
  private static func segments(of file: Int32, _ path: String) throws(KernelMemoryError) -> [Segment] {
    let bad = KernelMemoryError("\(path) is no 64-bit ELF core file")
    guard let header = read(file, at: 0, count: 64), header.starts(with: [0x7F, 0x45, 0x4C, 0x46, 2, 1]),
      integer(header, 16, UInt16.self) == 4
    else { throw bad }
    let tableOffset = integer(header, 32, UInt64.self)
    let entrySize = Int(integer(header, 54, UInt16.self))
    let count = Int(integer(header, 56, UInt16.self))
    // 0xffff stands for a number kept elsewhere, which kcore never has.
    guard entrySize == 56, (1..<0xffff).contains(count), tableOffset < 1 << 40,
      let table = read(file, at: tableOffset, count: count * entrySize)
    else { throw bad }
    var result: [Segment] = []
    for index in 0..<count where integer(table, index * 56, UInt32.self) == 1 {
      let segment = Segment(
        address: integer(table, index * 56 + 16, UInt64.self), size: integer(table, index * 56 + 32, UInt64.self),
        fileOffset: integer(table, index * 56 + 8, UInt64.self))
      // What would wrap around is nonsense.
      if segment.size == 0 || segment.address.addingReportingOverflow(segment.size - 1).overflow { continue }
      if segment.fileOffset.addingReportingOverflow(segment.size).partialValue > UInt64(Int64.max) { continue }
      result.append(segment)
    }
    guard !result.isEmpty else { throw bad }
    return result.sorted { $0.address < $1.address }
  }

  private static func read(_ file: Int32, at offset: UInt64, count: Int) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: count)
    var done = 0
    while done < count {
      let got = bytes.withUnsafeMutableBytes { bytes in
        retrying { pread(file, bytes.baseAddress! + done, count - done, Int(offset) + done) }
      }
      guard got > 0 else { return nil }
      done += got
    }
    return bytes
  }

  private static func integer<T: FixedWidthInteger>(_ bytes: [UInt8], _ offset: Int, _: T.Type) -> T {
    bytes.withUnsafeBytes { T(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: T.self)) }
  }

  /// So many bytes from an address; nil where they do not lie in one segment, or cannot be read.
  public func bytes(at address: UInt64, count: Int) -> [UInt8]? {
    guard count > 0, count <= 1 << 20, let segment = segment(of: address) else { return nil }
    let offset = address - segment.address
    guard UInt64(count) <= segment.size - offset else { return nil }
    reads += 1
    return Self.read(descriptor, at: segment.fileOffset + offset, count: count)
  }

  private func segment(of address: UInt64) -> Segment? {
    var low = 0
    var high = segments.count
    while low < high {
      let middle = (low + high) / 2
      if segments[middle].address <= address { low = middle + 1 } else { high = middle }
    }
    guard low > 0, address - segments[low - 1].address < segments[low - 1].size else { return nil }
    return segments[low - 1]
  }
}
