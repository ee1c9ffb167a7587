import Glibc
import HostFiles

/// What the removal of instances left behind by dead processes (`kill -9`) came to.
public struct InstanceSweep: Sendable, Hashable {
  /// Removed.
  public var removed: [String] = []
  /// Left where they are: their owner is dead, but somebody else holds a file in them, or removing is not allowed.
  public var left: [Left] = []

  public struct Left: Sendable, Hashable {
    public var name: String
    public var errorNumber: Int32

    public init(name: String, errorNumber: Int32) {
      self.name = name
      self.errorNumber = errorNumber
    }
  }

  public init() {}

  /// Removes each instance of ours whose process is dead. No other instance is touched, nor one whose owner may live in
  /// another pid namespace.
  public static func run(in root: TracefsRoot) -> InstanceSweep {
    var sweep = InstanceSweep()
    let processes = ProcessTable(roots: root.roots)
    for text in ((try? HostFile.names("\(root.path)/instances")) ?? []).sorted() {
      guard let name = InstanceName(text), processes.life(ofOwner: name) == .dead else { continue }
      let folder = "\(root.path)/instances/\(text)"
      try? HostFile.write("0", to: "\(folder)/tracing_on")
      if rmdir(folder) == 0 {
        sweep.removed.append(text)
      } else if errno != ENOENT {
        sweep.left.append(Left(name: text, errorNumber: errno))
      }
    }
    return sweep
  }
}
