import Glibc
import HostFiles
import Recording
import Synchronization
import Threads
import TraceFormat

/// Reads and unpacks a stream on a thread of its own, so that its pipe is always drained. Where nobody takes what came, it stops
/// reading: the pipe fills up, and the recorder leaves pages out.
final class StreamReader: Sendable {
  enum Item: Sendable {
    /// - Parameters:
    ///   - arrival: CLOCK_MONOTONIC.
    ///   - followsDamage: chunks before it are missing.
    case chunk(ChunkHeader, [UInt8], arrival: UInt64, followsDamage: Bool)
    /// The writer is gone.
    case end(isWhole: Bool, isEmpty: Bool)
    case failed(RecordingError)
  }

  private struct State {
    var items: [Item] = []
    var bytes = 0
    var damage: [TraceDamage] = []
  }

  /// Readable when something came.
  let bell = Doorbell()
  private let room = Doorbell()
  private let stopping = Doorbell()
  private let descriptor: Int32
  private let state = Mutex(State())
  private let worker = WorkerThread("stream")

  /// Bytes, unpacked, that may wait to be taken; one chunk may go beyond.
  static let limit = 16 << 20

  /// - Parameter descriptor: stays open, and is not closed.
  init(descriptor: Int32) throws(SessionError) {
    self.descriptor = descriptor
    guard worker.start({ [self] in run() }) else {
      throw SessionError(.failure, "no thread to read the stream on")
    }
  }

  /// Ends the thread and waits for it.
  func stop() {
    stopping.ring()
    worker.join()
  }

  /// Everything that came since the last call.
  func take() -> [Item] {
    bell.drain()
    let items = state.withLock { state in
      defer { (state.items, state.bytes) = ([], 0) }
      return state.items
    }
    if !items.isEmpty { room.ring() }
    return items
  }

  /// What of the stream is damaged or missing so far.
  var damage: [TraceDamage] { state.withLock(\.damage) }

  private func run() {
    let stream = RecordingStream(descriptor: descriptor)
    var isOver = false
    while !isOver {
      let item: Item
      do {
        switch try stream.next(wake: stopping.reading) {
        case .chunk(let header, let payload):
          item = .chunk(
            header, payload, arrival: monotonicNanoseconds(), followsDamage: stream.followsDamage)
        case .nothing: continue
        case .woken: return
        case .end:
          item = .end(isWhole: stream.isWhole, isEmpty: stream.isEmpty)
          isOver = true
        }
      } catch {
        item = .failed(error)
        isOver = true
      }
      let damage = stream.damage
      state.withLock { state in
        if case .chunk(_, let payload, _, _) = item { state.bytes += payload.count }
        state.items.append(item)
        if state.damage.count != damage.count { state.damage = damage }
      }
      bell.ring()
      while !isOver, state.withLock({ $0.bytes > Self.limit }) {
        var set = [
          pollfd(fd: room.reading, events: Int16(POLLIN), revents: 0),
          pollfd(fd: stopping.reading, events: Int16(POLLIN), revents: 0),
        ]
        guard poll(&set, 2, -1) > 0 else { continue }
        if set[1].revents != 0 { return }
        room.drain()
      }
    }
  }
}
