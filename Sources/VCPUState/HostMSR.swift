import Glibc
import HostFiles
import KernelMemory

/// MSRs of the host's CPUs, through the msr driver (msr(4)): `/dev/cpu/N/msr`, eight bytes at the MSR's number.
enum HostMSR {
  static func read(_ msr: UInt32, cpu: Int, roots: HostRoots) -> Result<UInt64, KernelMemoryError> {
    let path = "\(roots.dev)/cpu/\(cpu)/msr"
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else {
      let failure = FileError(operation: "open", path: path, number: errno)
      return .failure(
        failure.isAbsence
          ? KernelMemoryError("no \(roots.dev)/cpu/N/msr", hint: "modprobe msr") : KernelMemoryError(failure))
    }
    defer { close(file) }
    var value: UInt64 = 0
    guard pread(file, &value, 8, off_t(msr)) == 8 else {
      return .failure(KernelMemoryError(FileError(operation: "read", path: path, number: errno)))
    }
    return .success(UInt64(littleEndian: value))
  }
}
