/// One stream of sub-buffers: one CPU's ring buffer, live or in a file.
public struct PageStream: Sendable, Hashable {
  /// The CPU's number on the traced host.
  public var cpu: Int
  /// The name of the trace instance the stream comes from; empty for the top-level buffer.
  public var buffer: String

  public init(cpu: Int, buffer: String = "") {
    self.cpu = cpu
    self.buffer = buffer
  }
}

/// Where whole ring-buffer sub-buffers ("pages") come from. Live buffers and files meet here: everything after
/// this protocol works the same on both.
///
/// A page is exactly `TraceMetadata.page.subBufferSize` bytes, header included, in the order in which its CPU wrote it.
public protocol PageSource: AnyObject {
  /// The streams there are; an index into this array names one. It may grow while running (a CPU comes online), and
  /// never shrinks.
  var streams: [PageStream] { get }

  /// Takes the next sub-buffer of a stream, or nil when nothing is there now (live) or nothing is left (file).
  /// The bytes stay valid until the next call for the same stream.
  func nextPage(stream: Int) -> UnsafeRawBufferPointer?
}

/// A source that is all there and can be read from any place: a recording.
public protocol SeekablePageSource: PageSource {
  /// Goes to a page of a stream that begins at or before a time, and after which all events after that time come: the last
  /// such page, or one that is not far before it. Goes to the first page where none does.
  ///
  /// - Parameter time: on the trace clock, raw; nil for the stream's beginning.
  func seek(stream: Int, to time: UInt64?)
}

/// What a source knows about its events before the first page.
public struct TraceMetadata: Sendable {
  /// The event formats, of every system the source carries.
  public var formats: [EventFormat]
  /// The sub-buffer layout, from `events/header_page`.
  public var page: PageLayout
  /// The trace clock's name, such as `mono`, `local` or `x86-tsc`; nil if the source does not say.
  public var clock: String?
  /// How a raw timestamp becomes nanoseconds.
  public var timeScale: TimeScale
  /// Saved command lines: thread id to comm. Data of another's making: print it only sanitized.
  public var commandNames: [Int32: String]
  /// `uname` of the traced host as `sysname nodename release ...`, where known.
  public var uname: String?
  /// The processes of vCPU threads, by thread id, where the source tells them.
  public var processes: [Int32: Int32]
  /// Nanoseconds to add to a timestamp for CLOCK_REALTIME; nil where the source does not tell.
  public var wallClockOffset: Int64?

  public init(
    formats: [EventFormat], page: PageLayout, clock: String? = nil, timeScale: TimeScale = .nanoseconds,
    commandNames: [Int32: String] = [:], uname: String? = nil, processes: [Int32: Int32] = [:],
    wallClockOffset: Int64? = nil
  ) {
    self.formats = formats
    self.page = page
    self.clock = clock
    self.timeScale = timeScale
    self.commandNames = commandNames
    self.uname = uname
    self.processes = processes
    self.wallClockOffset = wallClockOffset
  }
}

/// Turns raw trace-clock values into nanoseconds: `(raw * multiplier) >> shift`. The identity for every clock but
/// `x86-tsc` (trace.dat option TSC2NSEC).
public struct TimeScale: Sendable, Hashable {
  public var multiplier: UInt32
  public var shift: UInt32

  public static let nanoseconds = TimeScale(multiplier: 1, shift: 0)

  public init(multiplier: UInt32, shift: UInt32) {
    self.multiplier = multiplier
    self.shift = shift
  }

  /// A span of the trace clock in nanoseconds, without overflow in between.
  @inlinable @inline(__always)
  public func nanoseconds(_ raw: UInt64) -> UInt64 {
    if multiplier == 1, shift == 0 { return raw }
    let product = raw.multipliedFullWidth(by: UInt64(multiplier))
    let bits = UInt64(shift & 63)
    if bits == 0 { return product.low }
    return (product.low &>> bits) | (product.high &<< (64 &- bits))
  }

  /// A span of nanoseconds in units of the trace clock, to the precision of a double where it counts something else.
  public func raw(_ nanoseconds: UInt64) -> UInt64 {
    guard self != .nanoseconds, multiplier != 0 else { return nanoseconds }
    let raw = Double(nanoseconds) * Double(UInt64(1) << UInt64(min(shift, 63))) / Double(multiplier)
    return UInt64(max(0, min(raw, 1.8e19)))
  }
}

/// The layout of a sub-buffer, as `events/header_page` states it.
public struct PageLayout: Sendable, Hashable {
  /// Offset of the u64 base timestamp; 0 on every kernel seen.
  public var timestampOffset: Int
  /// Offset of the commit word.
  public var commitOffset: Int
  /// Size of the commit word: 8 on a 64-bit kernel, 4 on a 32-bit one (the kernel's `long`).
  public var commitSize: Int
  /// Offset of the first event.
  public var dataOffset: Int
  /// The whole sub-buffer in bytes, header included: a power of two from 4 KiB to 512 KiB.
  public var subBufferSize: Int

  public init(
    timestampOffset: Int = 0, commitOffset: Int = 8, commitSize: Int = 8, dataOffset: Int = 16,
    subBufferSize: Int = 4096
  ) {
    self.timestampOffset = timestampOffset
    self.commitOffset = commitOffset
    self.commitSize = commitSize
    self.dataOffset = dataOffset
    self.subBufferSize = subBufferSize
  }
}
