import TraceFormat

/// A part of a recording: the events stamped within a range, with the pages at its edges composed anew. The recorder's
/// statistics are of the whole, so there are none here: what was lost is known from the pages.
public final class RangedRecording: RecordingSource {
  public let base: any RecordingSource
  /// Timestamps of the trace clock, both included.
  public let range: ClosedRange<UInt64>

  private var scratch: [UnsafeMutableRawBufferPointer?] = []
  private var isEnded: [Bool] = []

  public init(_ base: any RecordingSource, range: ClosedRange<UInt64>) {
    self.base = base
    self.range = range
  }

  deinit { for page in scratch { page?.deallocate() } }

  public var formatName: String { base.formatName }
  public var hasEvents: Bool { base.hasEvents }
  public var metadata: TraceMetadata { base.metadata }
  public var texts: TraceFileTexts { base.texts }
  public var damage: [TraceDamage] { base.damage }
  public var notes: [String] { base.notes }
  public var cpuCount: Int { base.cpuCount }
  public var cpuStatistics: [String] { [] }
  public var guests: [TraceGuest] { base.guests }
  public var streams: [PageStream] { base.streams }

  public func rewind() {
    base.rewind()
    isEnded = []
  }

  public func seek(stream: Int, to time: UInt64?) {
    base.seek(stream: stream, to: max(time ?? 0, range.lowerBound))
    if isEnded.indices.contains(stream) { isEnded[stream] = false }
  }

  public func reopen() -> (any RecordingSource)? { base.reopen().map { RangedRecording($0, range: range) } }

  public func timeBounds() -> (first: UInt64, last: UInt64)? {
    guard let bounds = base.timeBounds() else { return nil }
    isEnded = []
    let first = max(bounds.first, range.lowerBound)
    let last = min(bounds.last, range.upperBound)
    return first <= last ? (first, last) : nil
  }

  public func nextPage(stream: Int) -> UnsafeRawBufferPointer? {
    guard stream >= 0 else { return nil }
    while isEnded.count <= stream {
      isEnded.append(false)
      scratch.append(nil)
    }
    let layout = metadata.page
    while !isEnded[stream], let page = base.nextPage(stream: stream) {
      var cursor = SubBufferCursor(page: page, layout: layout)
      var inside = 0
      var outside = 0
      var startsInside = false
      while cursor.next() {
        if range.contains(cursor.timestamp) {
          if inside + outside == 0 { startsInside = true }
          inside += 1
        } else {
          outside += 1
          // Within a page, time never goes back.
          if cursor.timestamp > range.upperBound {
            isEnded[stream] = true
            break
          }
        }
      }
      if inside == 0 { continue }
      if outside == 0 { return page }
      return cut(page, stream, layout, keepsLoss: startsInside)
    }
    return nil
  }

  private func cut(
    _ page: UnsafeRawBufferPointer, _ stream: Int, _ layout: PageLayout, keepsLoss: Bool
  ) -> UnsafeRawBufferPointer? {
    var layout = layout
    layout.subBufferSize = page.count
    var writer = SubBufferWriter(layout: layout)
    var cursor = SubBufferCursor(page: page, layout: layout)
    let missed = cursor.missed
    while cursor.next() {
      guard range.contains(cursor.timestamp) else { continue }
      // A part of a page's events never needs more room than all of them.
      guard
        writer.append(
          timestamp: cursor.timestamp,
          payload: UnsafeRawBufferPointer(start: cursor.payload, count: cursor.payloadLength))
      else { break }
    }
    let bytes = writer.finish(lost: keepsLoss ? SubBufferWriter.Loss(missed) : .none)
    if (scratch[stream]?.count ?? 0) < bytes.count {
      scratch[stream]?.deallocate()
      scratch[stream] = .allocate(byteCount: bytes.count, alignment: 16)
    }
    scratch[stream]?.copyBytes(from: bytes)
    return scratch[stream].map { UnsafeRawBufferPointer(rebasing: $0[..<bytes.count]) }
  }
}

extension SubBufferWriter.Loss {
  /// What a page that was read says of events lost before it.
  public init(_ missed: MissedEvents) {
    switch missed {
    case .none: self = .none
    case .uncounted: self = .unknown
    case .counted(let count): self = .events(count)
    }
  }
}
