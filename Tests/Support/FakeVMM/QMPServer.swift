import Foundation
import Glibc

/// A QMP socket in a temporary folder whose every word is the test's.
public final class QMPServer: Sendable {
  public let folder: String
  public var path: String { "\(folder)/qmp" }
  private let listener: Int32
  private let isServed: Bool

  /// - Parameter serve: called on a thread with each connection, which is closed after it. Nil: nobody accepts.
  public init(_ serve: (@Sendable (Connection) -> Void)?) throws {
    folder = NSTemporaryDirectory() + "vmctop-qmp-\(UUID().uuidString.prefix(8))"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    let listener = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    self.listener = listener
    isServed = serve != nil
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array("\(folder)/qmp".utf8)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    let bound = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(listener, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard bound == 0, listen(listener, 1) == 0 else { throw POSIXError(.EADDRINUSE) }
    guard let serve else { return }
    Thread {
      while true {
        let descriptor = accept(listener, nil, nil)
        if descriptor < 0 {
          // Here and not in deinit: the number may be another socket's by the time this thread looks again.
          close(listener)
          return
        }
        serve(Connection(descriptor))
        close(descriptor)
      }
    }.start()
  }

  /// Greets, and gives each command its answer.
  public convenience init(answering answer: @escaping @Sendable (_ command: String) -> String?) throws {
    try self.init { connection in
      connection.send(Self.greeting)
      while let line = connection.line() {
        guard let answer = answer(line) else { return }
        connection.send(answer + "\r\n")
      }
    }
  }

  deinit {
    // accept() does not wake from close() alone.
    shutdown(listener, Int32(SHUT_RDWR))
    if !isServed { close(listener) }
    try? FileManager.default.removeItem(atPath: folder)
  }

  public static let greeting =
    #"{"QMP":{"version":{"qemu":{"micro":22,"minor":2,"major":7},"package":""},"capabilities":["oob"]}}"# + "\r\n"

  public struct Connection: Sendable {
    public let descriptor: Int32

    init(_ descriptor: Int32) { self.descriptor = descriptor }

    @discardableResult
    public func send(_ text: String) -> Bool { send(Array(text.utf8)) }

    @discardableResult
    public func send(_ bytes: [UInt8]) -> Bool {
      var rest = bytes[...]
      while !rest.isEmpty {
        let count = rest.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        if count <= 0 { return false }
        rest = rest.dropFirst(count)
      }
      return true
    }

    /// Nil at the end.
    public func line() -> String? {
      var bytes: [UInt8] = []
      while true {
        var byte: UInt8 = 0
        guard recv(descriptor, &byte, 1, 0) == 1 else { return nil }
        if byte == 10 { return String(decoding: bytes, as: UTF8.self) }
        bytes.append(byte)
      }
    }
  }
}

/// The recorded answers of a QEMU 7.2 with two vCPUs.
public let recordedAnswers: [String] = {
  let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("Fixtures/intel-6.1/qmp.jsonl").path
  return ((try? String(contentsOfFile: path, encoding: .utf8)) ?? "").split(whereSeparator: \.isNewline).map(
    String.init)
}()

/// Holds on to servers and trees until here.
public func keep(_ objects: AnyObject...) { withExtendedLifetime(objects) {} }
