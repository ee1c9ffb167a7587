import Architecture

/// What is known of a control beside its exits: what it is now, what KVM configured, what the processor allows, and since
/// when it is so.
public struct ControlStatus: Sendable, Hashable {
  /// As read from kernel memory of the vCPUs looked at; nil where it was not read.
  public var now: MeasuredControl?
  /// What `vmcs_config` has; nil where it could not be read, and for what is no bit of a control word.
  public var configured: Bool?
  /// The values that the processor takes; nil where nothing tells.
  public var allowed: AllowedSettings?
  /// When one of the vCPUs was seen to change it last, on the trace clock, raw; nil where none has since counting began.
  public var since: UInt64?
}

extension Snapshot {
  /// What is known of a control on these vCPU threads.
  public func status(_ control: ControlID, on threads: some Sequence<Int32>) -> ControlStatus {
    var status = ControlStatus()
    status.now = measured(control, on: threads)
    status.configured = hostControls?.configuration.words.value(of: control)
    status.allowed = control.controlBit.flatMap { hostControls?.capabilities.allowed($0) }
    let threads = Set(threads)
    for vcpu in vms.lazy.flatMap(\.vcpus) where threads.contains(vcpu.tid) {
      guard let changed = lastChange(of: control, vcpu) else { continue }
      status.since = max(status.since ?? 0, changed)
    }
    return status
  }

  /// When a vCPU was last seen to have another value of the control than before.
  private func lastChange(of control: ControlID, _ vcpu: VCPUStatistics) -> UInt64? {
    var later: Bool?
    var timestamp: UInt64?
    for change in vcpu.settingChanges.reversed() {
      guard let value = description(change.setting)?.words?.governing.value(of: control) else { return timestamp }
      if let later, later != value { return timestamp }
      later = value
      timestamp = change.timestamp
    }
    // The oldest change that is remembered: whether it was this control's, what came before tells.
    guard let first = vcpu.settingChanges.first, let before = first.previous,
      let value = description(before)?.words?.governing.value(of: control), value != later
    else { return nil }
    return timestamp
  }

  /// What a setting's number stands for.
  public func description(_ setting: VCPUSetting) -> SettingDescription? {
    settings.indices.contains(setting.rawValue - 1) ? settings[setting.rawValue - 1] : nil
  }

  /// Nanoseconds from a raw timestamp of the trace clock to the end of what was counted.
  public func age(of timestamp: UInt64) -> UInt64 { lastTimestamp > timestamp ? lastTimestamp - timestamp : 0 }
}
