import Glibc

/// libFuzzer's own main, for a program that has one (FuzzerDriver.cpp, "LLVMFuzzerRunDriver").
@_silgen_name("LLVMFuzzerRunDriver")
private func runFuzzer(
  _ count: UnsafeMutablePointer<Int32>,
  _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
  _ target: @convention(c) (UnsafePointer<UInt8>?, Int) -> Int32
) -> Int32

/// The target that was chosen; libFuzzer hands its inputs to a function that knows nothing else.
nonisolated(unsafe) private var chosen: FuzzTarget = .pages

/// Feeds one of vmctop's parsers with whatever libFuzzer makes. It is built by `make fuzz` alone: everything it links is compiled
/// with `-sanitize=fuzzer`.
///
///     vmctop-fuzz TARGET seeds DIRECTORY      writes inputs to begin with
///     vmctop-fuzz TARGET [libFuzzer's arguments]
@main
enum Fuzz {
  static func main() {
    var arguments = CommandLine.unsafeArgv
    var count = CommandLine.argc
    guard count > 1, let name = arguments[1], let target = FuzzTarget(rawValue: String(cString: name)) else {
      complain("usage: vmctop-fuzz \(FuzzTarget.allCases.map(\.rawValue).joined(separator: "|")) ...")
      exit(2)
    }
    if count == 4, let word = arguments[2], String(cString: word) == "seeds", let directory = arguments[3] {
      for (index, seed) in target.seeds().enumerated() {
        let path = "\(String(cString: directory))/seed-\(index)"
        guard let file = fopen(path, "w"), fwrite(seed, 1, seed.count, file) == seed.count, fclose(file) == 0 else {
          complain("cannot write \(path)")
          exit(1)
        }
      }
      return
    }
    chosen = target
    // The target's name is ours: libFuzzer gets the rest.
    arguments[1] = arguments[0]
    arguments += 1
    count -= 1
    exit(
      runFuzzer(&count, &arguments) { bytes, length in
        chosen.run(UnsafeRawBufferPointer(start: bytes, count: length))
        return 0
      })
  }
}

/// One line on standard error.
func complain(_ text: String) {
  let line = Array("vmctop-fuzz: \(text)\n".utf8)
  _ = write(STDERR_FILENO, line, line.count)
}
