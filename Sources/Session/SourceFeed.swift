import Aggregator
import Architecture
import Errors
import Glibc
import HostFiles
import KVMHost
import Recording
import Sampler
import TraceFormat
import Tracefs

/// Where a session's events come from.
public enum SessionInput {
  /// The KVM of this host, through a private trace instance.
  case live(LiveOptions)
  /// Recordings of one host, counted as one: all of their time, or a part of it.
  case files(paths: [String], span: RecordingSpan = .all)
  /// A recording as it comes through a pipe; the descriptor stays open. A session on it begins when the recording's header has
  /// come, or with an error where `wake` is readable before that.
  case stream(descriptor: Int32, wake: Int32 = -1)
  /// The recording that is part of the program; its bytes live as long as the process.
  case demo(UnsafeRawBufferPointer)
}

extension SessionInput {
  /// One recording, all of it.
  public static func file(path: String) -> SessionInput { .files(paths: [path]) }
}

/// A part of a recording: what lies between two points, both included.
public struct RecordingSpan: Sendable, Hashable {
  /// Nil: from the first event on.
  public var from: TimePoint?
  /// Nil: up to the last event. `+5s` counts from the other point.
  public var to: TimePoint?

  public init(from: TimePoint? = nil, to: TimePoint? = nil) {
    self.from = from
    self.to = to
  }

  /// No part, but the whole.
  public static var all: RecordingSpan { RecordingSpan() }

  public var isAll: Bool { from == nil && to == nil }

  /// Where it lies on a recording's trace clock, raw; nil for all of it.
  ///
  /// - Throws: `SessionError` with the code `usage` where a point is not in it.
  func range(in source: any RecordingSource) throws(SessionError) -> ClosedRange<UInt64>? {
    guard !isAll, let bounds = source.timeBounds() else { return nil }
    let scale = source.metadata.timeScale
    let offset = source.metadata.wallClockOffset
    var time = RecordingTime(
      duration: scale.nanoseconds(bounds.last &- bounds.first),
      wallClock: offset.map { $0 &+ Int64(clamping: scale.nanoseconds(bounds.first)) })
    func raw(_ point: TimePoint, _ name: String) throws(SessionError) -> UInt64 {
      guard let position = point.position(in: time) else {
        throw SessionError(.usage, "\(name) lies before the recording's first event")
      }
      time.position = position
      let (sum, overflow) = bounds.first.addingReportingOverflow(scale.raw(position))
      return overflow ? .max : sum
    }
    let first = try from.map { point throws(SessionError) in try raw(point, "--from") } ?? bounds.first
    let last = try to.map { point throws(SessionError) in try raw(point, "--to") } ?? bounds.last
    guard first <= last else { throw SessionError(.usage, "--to lies before --from") }
    return first...last
  }
}

/// Opens recordings, and leaves of them a part: its events alone, so that whoever reads them need not know of it.
///
/// - Parameter countsOnce: leaves out buffers with events that another has; false for a copy of everything.
/// - Throws: `SessionError` where a file cannot be opened, they cannot be counted together, or a point is not in them.
public func openRecording(
  _ paths: [String], span: RecordingSpan = .all, countsOnce: Bool = true
) throws(SessionError) -> any RecordingSource {
  let source: any RecordingSource
  do {
    source = try CombinedRecording.open(paths, countsOnce: countsOnce)
  } catch {
    throw SessionError(error)
  }
  return try span.range(in: source).map { RangedRecording(source, range: $0) } ?? source
}

/// What to count, whatever the source.
public struct SessionOptions: Sendable {
  /// VMM process ids; of a recording, vCPU thread ids as well, since most recordings tell no process ids. Empty: all.
  public var processes: [Int32] = []
  /// vcpu_id numbers. Empty: all.
  public var vcpus: [UInt32] = []

  public init(processes: [Int32] = [], vcpus: [UInt32] = []) {
    self.processes = processes
    self.vcpus = vcpus
  }

  /// What of a source's events is counted.
  ///
  /// - Parameter isLive: they come as they happen: what is running is counted up to now, and the processes were seen to where the
  ///   events come from.
  public func counting(_ metadata: TraceMetadata, isLive: Bool = false) -> AggregatorOptions {
    AggregatorOptions(
      threads: isLive ? nil : threads(metadata), vcpuIDs: vcpus.isEmpty ? nil : Set(vcpus), countsOpenTime: isLive,
      fallbackName: fallbackNames(metadata.formats))
  }
}

/// Why a session cannot start.
public struct SessionError: CodedError {
  public var kind: ErrorKind
  public var message: String
  public var hint: String?
  public var cause: (any CodedError)?

  public init(_ kind: ErrorKind, _ message: String, hint: String? = nil) {
    self.kind = kind
    self.message = message
    self.hint = hint
  }

  /// An error of a lower layer, in its words.
  ///
  /// - Parameter kind: what it means here; nil for what it means there.
  init(_ cause: some CodedError, as kind: ErrorKind? = nil) {
    self.init(kind ?? cause.kind, cause.text, hint: cause.hint)
    self.cause = cause
  }
}

/// Names for the exits of a backend that the catalogue does not know, from kvm_exit's own print format.
private func fallbackNames(_ formats: [EventFormat]) -> @Sendable (UInt32, UInt32) -> String? {
  guard let exit = formats.first(where: { $0.system == "kvm" && $0.name == "kvm_exit" }) else { return { _, _ in nil } }
  // kvm_exit's isa is 1 (VMX), 2 (SVM) or 3 (PVM, out of tree).
  let names = (0...3).map { exit.exitReasonNames(isa: $0) }
  return { isa, code in names.indices.contains(Int(isa)) ? names[Int(isa)][code] : names[3][code] }
}
