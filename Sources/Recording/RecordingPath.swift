import Glibc

/// The names of the parts of a recording that rotates: the part that is written has the recording's own name, those
/// before it are `NAME.1.vmctop`, `NAME.2.vmctop` ...
enum RecordingPath {
  static let suffix = ".vmctop"

  static func part(_ number: UInt32, of path: String) -> String {
    path.hasSuffix(suffix) ? "\(path.dropLast(suffix.count)).\(number)\(suffix)" : "\(path).\(number)"
  }

  /// The numbers and paths of the parts there are beside a recording, in order.
  static func parts(beside path: String) -> [(number: UInt32, path: String)] {
    let folder = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
    let name = path.lastIndex(of: "/").map { String(path[path.index(after: $0)...]) } ?? path
    guard let directory = opendir(folder.isEmpty ? "/" : folder) else { return [] }
    defer { closedir(directory) }
    let isNamed = name.hasSuffix(suffix)
    let start = (isNamed ? String(name.dropLast(suffix.count)) : name) + "."
    var result: [(number: UInt32, path: String)] = []
    while let entry = readdir(directory) {
      let found = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      guard found.hasPrefix(start), !isNamed || found.hasSuffix(suffix) else { continue }
      let digits = found.dropFirst(start.count).dropLast(isNamed ? suffix.count : 0)
      guard let number = UInt32(digits), number > 0, String(number) == digits else { continue }
      result.append((number, part(number, of: path)))
    }
    return result.sorted { $0.number < $1.number }
  }
}
