import Architecture

/// Everything there is to show at one moment: immutable, complete, cheap to copy. The aggregator publishes one each
/// interval; panes, the triage report, batch output and JSON are all drawn from it and from nothing else.
///
/// All times are nanoseconds of the trace clock. *Interval* figures cover the last interval only, the others
/// everything since the start of counting.
public struct Snapshot: Sendable {
  /// Counts up by one with each snapshot.
  public var sequence: UInt64 = 0
  public var source = SourceDescription()
  /// Timestamp of the first and the last event counted; equal to 0 when there were none.
  public var firstTimestamp: UInt64 = 0
  public var lastTimestamp: UInt64 = 0
  /// Length of the whole window: from the start of counting (live) or the first event (recording) until now.
  public var windowNanoseconds: UInt64 = 0
  /// Length of the last interval.
  public var intervalNanoseconds: UInt64 = 0
  /// Events decoded, of any kind.
  public var events: UInt64 = 0
  public var intervalEvents: UInt64 = 0
  /// Event counts by kind, most frequent first.
  public var eventCounts: [EventCount] = []
  public var losses = Losses()
  /// Of what is counted from a recording's sums of version 1, time halted is known of vCPUs only: it was taken for HLT's.
  public var isHaltShared = false
  /// Records that contradicted their own format and were passed over: a damaged input.
  public var malformedRecords: UInt64 = 0
  /// The virtual machines, in order of pid (or of thread id where a trace does not tell the pid).
  public var vms: [VirtualMachineStatistics] = []
  /// Statistics by scope. `scopes[0]` is everything; each VM and vCPU names its own by index.
  public var scopes: [ScopeStatistics] = [ScopeStatistics()]
  /// The settings of the controls that occurred, in the order of their numbers.
  public var settings = [SettingDescription(setting: .asFound)]
  /// The control words in force by vCPU thread, read from kernel memory within the last tenth of a second or so; empty
  /// where that cannot be read.
  public var controlWords: [Int32: ControlSetting] = [:]
  /// What was read of vCPUs last, by thread: of those that were asked for only, since reading costs something.
  public var states: [Int32: VCPUReading] = [:]
  /// The moment of this snapshot on CLOCK_MONOTONIC of the host that is shown, for the ages of readings; nil where that is
  /// this host's and now, and in a recording that does not tell.
  public var monotonic: UInt64?
  /// Why `states` is empty though it was asked for: one line with the remedy.
  public var stateFailure: String?
  /// `vmcs_config` and what the processor allows; nil where neither could be read.
  public var hostControls: HostControls?
  /// The recording that runs beside the view; nil without one.
  public var recording: RecordingStatus?
  /// What VMMs answered, by vCPU thread; only where somebody asked.
  public var vmmReadings: [Int32: VMMReading] = [:]
  /// Present where the events come through a pipe from a recorder.
  public var stream: StreamState?
  /// Present while a recording is played.
  public var playback: PlaybackState?
  /// Present while what comes after a moment is counted by itself, too.
  public var sinceMark: SinceMark?
  /// What vmctop itself uses; nil before the first interval is over.
  public var ownUse: OwnUse?
  /// Messages for the log pane, oldest first, bounded.
  public var messages: [LogMessage] = []

  public init() {}

  /// What a control is on these vCPUs, as read from kernel memory: nil where it was not read of any of them.
  public func measured(_ control: ControlID, on threads: some Sequence<Int32>) -> MeasuredControl? {
    var result: MeasuredControl?
    for thread in threads {
      guard let isOn = controlWords[thread]?.value(of: control) else { continue }
      let own: MeasuredControl = isOn ? .on : .off
      result = result == nil || result == own ? own : .mixed
    }
    return result
  }

  /// Everything, over all VMs.
  public var total: ScopeStatistics { scopes.first ?? ScopeStatistics() }
}

/// What was shown at a moment, and what came after it: each a counting of its own.
public final class SinceMark: Sendable {
  /// All until then, without details.
  public let before: Snapshot
  /// All since then; nil where nothing came after it, as at an earlier place of a recording.
  public let after: Snapshot?

  public init(before: Snapshot, after: Snapshot?) {
    self.before = before
    self.after = after
  }
}

/// A control of several vCPUs.
public enum MeasuredControl: Sendable, Hashable {
  case on, off
  /// On for some of them.
  case mixed
}

/// Where the events come from.
public struct SourceDescription: Sendable {
  public enum Kind: String, Sendable {
    /// Live, from a private trace instance.
    case tracefs
    /// A recording by trace-cmd.
    case traceDat = "trace.dat"
    /// A recording by perf.
    case perfData = "perf.data"
    /// A recording of our own.
    case vmctop
  }
  public var kind: Kind = .tracefs
  /// The file, or the instance's folder.
  public var path: String?
  /// True for the recording that is part of the program.
  public var isDemo = false
  public var hostName: String?
  public var kernelRelease: String?
  /// `kvm_intel`, `kvm_amd`, or nil where neither was seen.
  public var backend: String?
  /// The ISA of the exits seen: `vmx`, `svm`, `isa-3` ..., or nil before the first exit.
  public var isa: String?

  public init() {}

  /// True where both are the same recording, or the same live trace.
  public func isSame(as other: SourceDescription) -> Bool {
    kind == other.kind && path == other.path && isDemo == other.isDemo
  }
}

public struct EventCount: Sendable, Hashable {
  public var name: String
  public var count: UInt64
  public var intervalCount: UInt64

  public init(name: String, count: UInt64, intervalCount: UInt64) {
    self.name = name
    self.count = count
    self.intervalCount = intervalCount
  }
}

/// Events the ring buffers dropped, from the buffers' own counters.
public struct Losses: Sendable {
  /// Events known to be lost since the start.
  public var lost: UInt64 = 0
  public var intervalLost: UInt64 = 0
  /// How often a buffer said that events were lost without saying how many. While this is not 0, `lost` is a lower bound.
  public var uncounted: UInt64 = 0
  public var perCPU: [CPULoss] = []

  public struct CPULoss: Sendable, Hashable {
    public var cpu: Int
    public var lost: UInt64
    public var intervalLost: UInt64

    public init(cpu: Int, lost: UInt64, intervalLost: UInt64) {
      self.cpu = cpu
      self.lost = lost
      self.intervalLost = intervalLost
    }
  }

  public init() {}
}

/// One virtual machine.
public struct VirtualMachineStatistics: Sendable {
  /// Tells the VMs that the host knows from each other, for as long as counting goes on; nil where only a trace speaks.
  public var number: Int?
  /// More than 0: no VM at all, but the sum of so many vCPU threads that ended and gave up their rows.
  public var endedThreads: UInt64 = 0
  /// The VMM's process id; nil where a trace alone cannot tell.
  public var pid: Int32?
  /// The guest's name from the VMM's command line. Data of another's making, already free of control characters.
  public var name: String?
  /// The VMM: `qemu`, `firecracker`, `cloud-hypervisor`, `crosvm` where recognised, otherwise its program's name.
  public var vmm: String?
  /// True where the grouping of vCPUs into this VM was inferred from thread ids only.
  public var isInferred = false
  public var vcpus: [VCPUStatistics] = []
  /// Index into `Snapshot.scopes`.
  public var scope = 0

  public init() {}
}

/// One vCPU: a thread that runs one virtual processor.
public struct VCPUStatistics: Sendable {
  /// KVM's vcpu_id; nil where no event named it.
  public var id: UInt32?
  /// The host thread id.
  public var tid: Int32
  /// The thread's name, free of control characters.
  public var threadName: String?
  /// Index into `Snapshot.scopes`.
  public var scope = 0
  /// The last exit seen, as the tracepoint gave it.
  public var lastExit: LastExit?
  /// The host CPU it was last seen on.
  public var cpu: Int?
  /// The setting of the controls it is in.
  public var setting = VCPUSetting.asFound
  /// How it came to be in that setting: the latest changes, oldest first, at most 16. Empty where it is as it was found.
  public var settingChanges: [SettingChange] = []
  /// True once the thread is gone.
  public var isGone = false

  public init(tid: Int32) { self.tid = tid }
}

/// A vCPU's last kvm_exit: measured, at `timestamp`.
public struct LastExit: Sendable, Hashable {
  /// Nanoseconds of the trace clock.
  public var timestamp: UInt64
  /// Its fields.
  public var exit: KVMExit

  /// A kvm_exit at its time.
  public init(_ exit: KVMExit, at timestamp: UInt64) {
    self.timestamp = timestamp
    self.exit = exit
  }
}

/// Counts for everything, one VM or one vCPU.
public struct ScopeStatistics: Sendable {
  public var exits: UInt64 = 0
  public var intervalExits: UInt64 = 0
  /// Where the vCPUs' time went, since the start and in the last interval.
  public var time = TimeSplit()
  public var intervalTime = TimeSplit()
  /// One row per ISA and reason that occurred, over all settings of the controls, most frequent first.
  public var reasons: [ReasonStatistics] = []
  /// One row per control that caused an exit, most exits first. Their sum is `exits`.
  public var controls: [ChargeStatistics] = []
  /// The same by setting, in the order of their numbers: the sum over all is `exits` again.
  public var settings: [SettingStatistics] = []
  /// Exits per second of the last intervals, oldest first, at most 240.
  public var history: [Double] = []

  public init() {}
}

/// A partition of vCPU time. Time across a loss, or before a vCPU's first event, is in none of the parts.
public struct TimeSplit: Sendable, Hashable {
  /// From kvm_entry to kvm_exit.
  public var guest: UInt64 = 0
  /// In the kernel's exit handling, halts and user space taken out.
  public var kernel: UInt64 = 0
  /// In the VMM, from kvm_userspace_exit until the thread is back in KVM_RUN; not where it is there because of a HLT.
  public var user: UInt64 = 0
  /// Halted: blocked or polling after HLT, from kvm_vcpu_wakeup; without a local APIC in the kernel, in the VMM because of it,
  /// from kvm_userspace_exit with KVM_EXIT_HLT.
  public var halted: UInt64 = 0

  public init() {}

  public var total: UInt64 { guest &+ kernel &+ user &+ halted }
}

/// Something whose exits are counted, in everything and in the last interval.
public protocol ExitStatistics: Sendable {
  var figures: ExitFigures { get set }
}

extension ExitStatistics {
  /// Exits since counting began, and of the last interval.
  public var count: UInt64 {
    get { figures.total.count }
    set { figures.total.count = newValue }
  }
  public var intervalCount: UInt64 {
    get { figures.interval.count }
    set { figures.interval.count = newValue }
  }
  /// Handling time of the last interval's exits, time halted included, ns.
  public var intervalHandling: UInt64 {
    get { figures.interval.handling }
    set { figures.interval.handling = newValue }
  }
  /// Handling time without the time halted, ns.
  public var busy: UInt64 { figures.total.busy }
  public var intervalBusy: UInt64 { figures.interval.busy }
}

/// One exit reason in one scope.
public struct ReasonStatistics: Sendable, ExitStatistics {
  /// 1 VMX, 2 SVM, as in the tracepoint's `isa`.
  public var isa: UInt32
  /// The basic exit reason (VMX) or the exit code (SVM).
  public var code: UInt32
  /// As kvm_exit prints it: `EPT_MISCONFIG`, `hlt`; the event's own print format or hex where the catalogue has none.
  public var name: String
  /// In how many settings of the controls it occurred.
  public var settings: Int
  public var figures: ExitFigures
  /// Of all the handling time.
  public var handling: LatencySummary
  /// What the exits were charged to, most first. The counts add up to `count`.
  public var charges: [ChargeStatistics]
  /// Details, most useful kind first.
  public var details: [DetailStatistics]

  public init(
    isa: UInt32, code: UInt32, name: String, settings: Int = 1, figures: ExitFigures = ExitFigures(),
    handling: LatencySummary = LatencySummary(), charges: [ChargeStatistics] = [], details: [DetailStatistics] = []
  ) {
    self.isa = isa
    self.code = code
    self.name = name
    self.settings = settings
    self.figures = figures
    self.figures.total.handling = handling.total
    self.handling = handling
    self.charges = charges
    self.details = details
  }
}

/// Handling time: kvm_exit to the thread's next kvm_entry. Percentiles come from a log-linear histogram, at most 2 % off.
public struct LatencySummary: Sendable, Hashable {
  /// Exits that a kvm_entry followed with no loss between.
  public var paired: UInt64 = 0
  public var total: UInt64 = 0
  public var min: UInt64 = 0
  public var max: UInt64 = 0
  public var p50: UInt64 = 0
  public var p90: UInt64 = 0
  public var p99: UInt64 = 0
  public var p999: UInt64 = 0

  public init() {}

  /// Nil when nothing was paired.
  public var mean: Double? { paired == 0 ? nil : Double(total) / Double(paired) }
}

/// What was charged to one control: of one reason, of one scope, or of a scope in one setting.
public struct ChargeStatistics: Sendable, Hashable, ExitStatistics {
  public var control: ControlID
  public var figures: ExitFigures

  public init(control: ControlID, figures: ExitFigures = ExitFigures()) {
    self.control = control
    self.figures = figures
  }

  /// Handling time of those exits, time halted included, ns.
  public var handling: UInt64 {
    get { figures.total.handling }
    set { figures.total.handling = newValue }
  }
}

/// The most frequent values of one kind of detail of one reason.
public struct DetailStatistics: Sendable {
  /// More values than this are not listed.
  public static let mostEntries = 64

  public var kind: DetailKind
  /// How many exits had this detail: exact, even where the table overflowed.
  public var total: UInt64
  /// True once the bounded table was full and rare values gave way: counts are then lower bounds, short by at most `error`.
  public var isApproximate: Bool
  /// Most frequent first.
  public var entries: [DetailCount]

  public init(kind: DetailKind, total: UInt64, isApproximate: Bool, entries: [DetailCount]) {
    self.kind = kind
    self.total = total
    self.isApproximate = isApproximate
    self.entries = entries
  }
}

public struct DetailCount: Sendable, Hashable {
  /// Port, MSR index, guest-physical address, leaf (function in the low 32 bits), vector, address. For
  /// `controlRegister` and `debugRegister`: the register number in bits 7:0, the access type (as in exit qualification
  /// bits 5:4 of a CR access: 0 MOV to, 1 MOV from, 2 CLTS, 3 LMSW) in bits 15:8.
  public var value: UInt64
  /// It occurred at least this often,
  public var count: UInt64
  /// and at most this much more often: 0 where the count is exact.
  public var error: UInt64

  public init(value: UInt64, count: UInt64, error: UInt64) {
    self.value = value
    self.count = count
    self.error = error
  }
}

/// How far the playing of a recording is.
public struct PlaybackState: Sendable, Hashable {
  /// Nanoseconds since the first event.
  public var position: UInt64
  public var duration: UInt64
  public var isPaused: Bool
  /// True at the end, where the last state is held.
  public var isFinished: Bool
  /// 1 is the pace of the recording.
  public var speed: Double
  /// The course of the whole recording; nil before anything of it is known.
  public var rateTimeline: RateTimeline?
  /// The part of the recording that the figures are of, in nanoseconds since the first event; nil: from its start up to
  /// the position.
  public var range: Range<UInt64>?
  /// CLOCK_REALTIME of the first event, nanoseconds since 1970; nil where the recording does not tell.
  public var wallClock: UInt64?

  public init(position: UInt64, duration: UInt64, isPaused: Bool, isFinished: Bool, speed: Double) {
    self.position = position
    self.duration = duration
    self.isPaused = isPaused
    self.isFinished = isFinished
    self.speed = speed
  }
}

/// How the events of a recorder come through a pipe.
public struct StreamState: Sendable, Hashable {
  /// What the figures of the last interval are made of.
  public enum Source: Sendable, Hashable {
    /// Every event that was traced, or of an interval in which events were left out, what is left of them.
    case events
    /// What the recorder had counted: that is all it was asked to send.
    case sums
    /// The same where every event was asked for: the pipe could not carry them all.
    case sumsForEvents
    /// Events that were left out are missing: nothing came in their place.
    case incomplete
  }

  /// Whether more may come.
  public enum Progress: Sendable, Hashable {
    case running
    /// The recorder came to its end and said so.
    case ended
    /// The recorder or the way to it is gone.
    case cutOff
  }

  public var source: Source
  public var progress: Progress
  /// How far what is counted is behind the recorder's present, in nanoseconds. What takes every chunk the same time on its
  /// way is not in it: two hosts' clocks do not tell.
  public var lag: UInt64

  public init(source: Source = .events, progress: Progress = .running, lag: UInt64 = 0) {
    self.source = source
    self.progress = progress
    self.lag = lag
  }
}

/// The course of a whole recording, for a time line.
public struct RateTimeline: Sendable, Hashable {
  /// What is worth a mark on the time line.
  public enum Mark: Sendable, Hashable {
    /// A vCPU thread went into another setting of its controls.
    case settingChanged(thread: Int32)
    /// Events were lost, a number of them or an unknown one.
    case lost
    case vmStarted(pid: Int32, name: String?)
    case vmEnded(pid: Int32, name: String?)
  }

  public struct PlacedMark: Sendable, Hashable {
    /// Nanoseconds since the first event. Losses are known up to the length of a bucket or so.
    public var position: UInt64
    public var mark: Mark

    public init(position: UInt64, mark: Mark) {
      self.position = position
      self.mark = mark
    }
  }

  /// Exits per second in equal parts of the recording; nil where it is not read yet. Counts are known by intervals of
  /// about a thousandth of the recording: one that lies in two buckets is shared out by time.
  public var rates: [Double?]
  /// In order of time, bounded: of those that fall together, some stand for all.
  public var marks: [PlacedMark]
  /// How much of the recording is known, nanoseconds from its start.
  public var known: UInt64

  public init(rates: [Double?], marks: [PlacedMark] = [], known: UInt64) {
    self.rates = rates
    self.marks = marks
    self.known = known
  }
}

public struct OwnUse: Sendable, Hashable {
  /// Share of one core in the last interval: 0.008 is 0.8 %.
  public var cpu: Double
  public var residentBytes: UInt64

  public init(cpu: Double, residentBytes: UInt64) {
    self.cpu = cpu
    self.residentBytes = residentBytes
  }
}

/// A recording that is being made of what is shown.
public struct RecordingStatus: Sendable, Hashable {
  /// The file.
  public var path: String
  /// Written so far.
  public var bytes: UInt64
  public var events: UInt64
  /// Events that could not be written fast enough.
  public var dropped: UInt64

  public init(path: String, bytes: UInt64, events: UInt64, dropped: UInt64) {
    self.path = path
    self.bytes = bytes
    self.events = events
    self.dropped = dropped
  }
}

public struct LogMessage: Sendable, Hashable {
  public enum Level: String, Sendable { case info, warning, error }
  public var level: Level
  /// Seconds since the start of the program.
  public var seconds: Double
  public var text: String

  public init(level: Level, seconds: Double, text: String) {
    self.level = level
    self.seconds = seconds
    self.text = text
  }
}
