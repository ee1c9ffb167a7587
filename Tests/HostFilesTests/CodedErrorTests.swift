import Errors
import Glibc
import HostFiles
import Testing

private struct Plain: CodedError {
  var message: String
  var kind = ErrorKind.failure
  var hint: String?
  var errorNumber: Int32?
}

@Suite("An error") struct CodedErrorTests {
  @Test func isOneLineOfWhatTheSystemsWordsAndWhatToDo() {
    #expect("\(Plain(message: "cannot write"))" == "cannot write")
    let whole = Plain(message: "cannot write", hint: "make room", errorNumber: ENOSPC)
    #expect(whole.text == "cannot write: No space left on device")
    #expect(whole.description == "cannot write: No space left on device; make room")
  }
}
