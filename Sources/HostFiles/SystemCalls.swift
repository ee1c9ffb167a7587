import Glibc

/// Makes a system call anew for as long as signals interrupt it (EINTR, signal(7)).
///
/// - Returns: What the call returned; where that is negative, `errno` says why.
@inlinable @inline(__always)
public func retrying<Result: FixedWidthInteger & SignedInteger>(_ call: () -> Result) -> Result {
  while true {
    let result = call()
    if result >= 0 || errno != EINTR { return result }
  }
}

/// Writes all of the bytes (write(2)), with as many calls as it takes.
///
/// - Returns: How many were written, and the errno of the call that failed, 0 if none did; EIO where one wrote nothing.
public func writeAll(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32) -> (count: Int, failure: Int32) {
  var rest = bytes[...]
  while !rest.isEmpty {
    let part = UnsafeRawBufferPointer(rebasing: rest)
    let count = retrying { write(descriptor, part.baseAddress, part.count) }
    guard count > 0 else { return (bytes.count - rest.count, count < 0 ? errno : EIO) }
    rest = rest.dropFirst(count)
  }
  return (bytes.count, 0)
}
