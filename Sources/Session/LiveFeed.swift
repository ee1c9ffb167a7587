import Aggregator
import Architecture
import HostFiles
import KVMHost
import Recording
import Sampler
import TraceFormat

/// Live events of this host, for a screen or a report: the pipeline, what may be recorded of it, and what VMMs say.
final class LiveFeed: Feed {
  private let pipeline: LivePipeline
  private let recording: LiveRecording
  private var recordingPath: String?
  private let description: SourceDescription
  private var questions: VMMQuestions?
  private var messages: [LogMessage] = []
  /// What was shown last of what is counted now.
  private var shown: Snapshot?
  private let began = monotonicNanoseconds()

  init(_ liveOptions: LiveOptions, _ options: SessionOptions) throws(SessionError) {
    pipeline = try LivePipeline(liveOptions, options)
    let processes = options.processes.isEmpty ? liveOptions.processes ?? [] : options.processes
    recording = LiveRecording(pipeline, processes: processes, eventSet: liveOptions.events.rawValue)
    let facts = HostFacts.read(roots: liveOptions.roots)
    var description = SourceDescription()
    description.kind = .tracefs
    description.path = pipeline.sampler.instance.path
    description.hostName = facts.hostName
    description.kernelRelease = facts.kernelRelease
    description.backend = facts.backend
    self.description = description
    pipeline.hand(to: recording)
    takePipelineMessages()
  }

  func handle(
    _ command: SessionCommand, interval: UInt64, say: @escaping @Sendable (LogMessage.Level, String) -> Void
  ) -> CommandOutcome {
    switch command {
    case .watch(let threads):
      pipeline.watch(threads)
      return .done
    case .markBefore:
      guard let shown else { return .refused("nothing was counted yet") }
      pipeline.compare(with: shown)
      return .done
    case .forgetBefore:
      pipeline.endComparison()
      return .done
    case .toggleRecording(let path):
      toggleRecording(path: path)
      return .changed
    case .askVMM(let thread):
      askVMM(thread, say: say)
      return .done
    default: return command.outcomeOfTimeThatPasses
    }
  }

  func watchControls() { pipeline.watchState() }

  /// Asks the VMM of a vCPU's thread, on another thread than this one: that may take two seconds. `say` is called on that
  /// thread when it is over.
  private func askVMM(_ thread: Int32, say: @escaping @Sendable (LogMessage.Level, String) -> Void) {
    let vm = pipeline.host.first { vm in vm.vcpus.contains { $0.tid == thread } }
    guard let vm else { return say(.error, "no vCPU here has the thread \(thread)") }
    let questions = self.questions ?? VMMQuestions(roots: pipeline.roots)
    self.questions = questions
    questions.ask(
      VMMQuestions.Question(
        pid: vm.pid, thread: thread, name: vm.name ?? "the VMM of pid \(vm.pid)",
        isa: description.backend == "kvm_amd" ? .svm : .vmx, say: say))
  }

  func advance() { pipeline.advance() }

  func wait(milliseconds: Int32, wake: Int32) -> Bool {
    pipeline.wait(milliseconds: min(milliseconds, pipeline.sampler.recommendedTick), wake: wake)
  }

  func finish() { pipeline.finish() }

  func maintain() {
    guard !pipeline.isFinished else { return }
    let isAfresh = pipeline.maintain()
    takePipelineMessages()
    if isAfresh {
      shown = nil
      note(.info, "the kernel's events changed: counting starts afresh")
    }
    if let writing = recording.writer?.progress {
      if let failure = writing.failure {
        note(.error, "the recording ended: \(failure)")
        _ = stopRecording()
      } else if writing.isDegraded {
        note(.warning, "the recording leaves events out: they cannot be written fast enough")
      }
    }
  }

  // MARK: Recording

  func keepLookBack(seconds: Double, bytes: Int) {
    recording.keepLookBack(seconds: seconds, bytes: bytes)
    pipeline.lookAtHost()
  }

  /// Begins a recording, or ends the one that runs; says so in a message.
  ///
  /// - Parameter path: of the file; nil for the default name in the working folder.
  func toggleRecording(path: String?) {
    if recording.writer != nil {
      let progress = stopRecording()
      note(
        progress.failure == nil ? .info : .error,
        "recorded \(progress.events) events, \(progress.written) bytes in \(progress.path ?? "?")"
          + (progress.dropped > 0 ? "; \(progress.dropped) events left out" : "")
          + (progress.failure.map { "; \($0)" } ?? ""))
      return
    }
    let path = path ?? RecorderOptions.defaultPath(hostName: description.hostName)
    do {
      let before = try recording.start(.file(path: path))
      recordingPath = path
      pipeline.lookAtHost()
      note(
        .info,
        "recording into \(path)"
          + (before > 0 ? ", from \(before / 1_000_000_000).\(before / 100_000_000 % 10) seconds ago" : ""))
    } catch {
      note(.error, "cannot record: \(error)")
    }
  }

  private func stopRecording() -> RecordingProgress {
    recordingPath = nil
    return recording.stop(pipeline)
  }

  func snapshot() -> Snapshot {
    var snapshot = pipeline.snapshot()
    snapshot.describe(description)
    snapshot.describeSinceMark()
    shown = snapshot
    if let recordingPath, let writing = recording.writer?.progress {
      snapshot.recording = RecordingStatus(
        path: recordingPath, bytes: writing.written, events: writing.events, dropped: writing.dropped)
    }
    if let questions { snapshot.vmmReadings = questions.readings(of: HostView(vms: pipeline.host)) }
    return snapshot
  }

  private func note(_ level: LogMessage.Level, _ text: String) {
    messages.append(LogMessage(level, text, since: began))
  }

  private func takePipelineMessages() { for message in pipeline.takeMessages() { note(message.level, message.text) } }

  func takeMessages() -> [LogMessage] {
    takePipelineMessages()
    defer { messages = [] }
    return messages
  }

  func close() {
    questions?.stop()
    if recording.writer != nil { _ = stopRecording() }
    if let failure = pipeline.close() { note(.error, failure.description) }
  }

  var damage: [String] { [] }
}

extension Snapshot {
  /// What the last exit says of a vCPU's fields, where it is newer than what was read.
  func freshened(_ states: [Int32: VCPUReading]) -> [Int32: VCPUReading] {
    guard !states.isEmpty else { return states }
    var states = states
    for vcpu in vms.lazy.flatMap(\.vcpus) {
      guard let state = states[vcpu.tid], let exit = vcpu.lastExit else { continue }
      states[vcpu.tid] = state.updated(by: exit.exit, at: exit.timestamp)
    }
    return states
  }
}
