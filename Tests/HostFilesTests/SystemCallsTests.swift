import Glibc
import HostFiles
import Testing

@Suite("A system call") struct SystemCallsTests {
  @Test func isMadeAnewWhereASignalInterruptedIt() {
    var calls = 0
    let result = retrying { () -> Int in
      calls += 1
      errno = EINTR
      return calls < 3 ? -1 : 7
    }
    #expect(result == 7)
    #expect(calls == 3)
  }

  @Test func isNotMadeAnewWhereItFails() {
    var calls = 0
    let result = retrying { () -> Int32 in
      calls += 1
      errno = EBADF
      return -1
    }
    #expect(result == -1 && errno == EBADF)
    #expect(calls == 1)
  }

  @Test func writesAllOfTheBytesOrSaysHowManyAndWhyNotMore() {
    let bytes = [UInt8](repeating: 7, count: 100_000)
    var ends: [Int32] = [-1, -1]
    #expect(pipe(&ends) == 0)
    _ = fcntl(ends[1], F_SETFL, O_NONBLOCK)
    let (count, failure) = bytes.withUnsafeBytes { writeAll($0, to: ends[1]) }
    #expect(failure == EAGAIN)
    #expect(count > 0 && count < bytes.count)
    for end in ends { close(end) }
    #expect(bytes.withUnsafeBytes { writeAll($0, to: -1) } == (0, EBADF))
    #expect(writeAll(UnsafeRawBufferPointer(start: nil, count: 0), to: -1) == (0, 0))
  }
}
