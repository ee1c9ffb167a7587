import Architecture

/// A state of a vCPU's controls, by a number of ours: what was counted in one state is kept apart from what was counted
/// in another, and the same state is the same setting, for every vCPU and however often it comes. `Snapshot.settings`
/// says what the numbers stand for.
public struct VCPUSetting: RawRepresentable, Hashable, Comparable, Sendable {
  public var rawValue: Int

  public init(rawValue: Int) { self.rawValue = rawValue }

  /// As the controls were when counting began.
  public static var asFound: VCPUSetting { VCPUSetting(rawValue: 1) }

  public static func < (a: VCPUSetting, b: VCPUSetting) -> Bool { a.rawValue < b.rawValue }
}

/// What is known of a setting.
public struct SettingDescription: Sendable, Hashable {
  /// What KVM's event (kvm_apicv_inhibit_changed) told of APIC virtualization.
  public enum APICVirtualization: Sendable, Hashable {
    /// No event told.
    case asFound
    case inhibited
    case active
  }

  public var setting: VCPUSetting
  /// Counts the settings whose words are known from 1, in the order of their appearance; nil where they are not known.
  public var number: Int?
  /// The control words as they were read from kernel memory, bits that KVM flips in normal running as they happened to
  /// be; nil where they were never read.
  public var words: ControlSetting?
  public var apicVirtualization: APICVirtualization

  public init(
    setting: VCPUSetting, number: Int? = nil, words: ControlSetting? = nil,
    apicVirtualization: APICVirtualization = .asFound
  ) {
    self.setting = setting
    self.number = number
    self.words = words
    self.apicVirtualization = apicVirtualization
  }

  /// `#2`, `#2, APICv inhibited`, or `as found` where the words are not known.
  public var label: String {
    let note: String? =
      switch apicVirtualization {
      case .asFound: nil
      case .inhibited: "APICv inhibited"
      case .active: "APICv back"
      }
    guard let number else { return note ?? "as found" }
    return "#\(number)\(note.map { ", \($0)" } ?? "")"
  }

  /// The controls in which it differs from another one: the bits that make a setting, not those that KVM flips.
  public func difference(from other: SettingDescription) -> [(control: ControlID, isOn: Bool)] {
    guard let words = words?.governing, let others = other.words?.governing else { return [] }
    return words.difference(from: others)
  }
}

/// One change of a vCPU's setting.
public struct SettingChange: Sendable, Hashable {
  public var setting: VCPUSetting
  /// The setting before; nil where nothing was known of it.
  public var previous: VCPUSetting?
  /// When it was noticed, on the trace clock, raw. Control words are read ten times a second: the change itself may be a
  /// tenth of a second older.
  public var timestamp: UInt64

  public init(setting: VCPUSetting, previous: VCPUSetting? = nil, timestamp: UInt64) {
    self.setting = setting
    self.previous = previous
    self.timestamp = timestamp
  }
}

/// What one scope counted in one setting.
public struct SettingStatistics: Sendable, ExitStatistics {
  public var setting: VCPUSetting
  /// vCPUs of the scope that are in it now.
  public var vcpus = 0
  /// How long vCPUs of the scope were in it, summed, in nanoseconds.
  public var duration: UInt64 = 0
  public var figures = ExitFigures()
  /// Where the vCPUs' time went while they were in it.
  public var time = TimeSplit()
  /// Most frequent first; they add up to `count`.
  public var reasons: [SettingReason] = []
  /// Most exits first; they add up to `count`.
  public var controls: [ChargeStatistics] = []

  public init(setting: VCPUSetting) { self.setting = setting }

  /// Handling time, ns, time halted included.
  public var handling: UInt64 { figures.total.handling }

  /// Exits per second of a vCPU's time in it; nil for no time.
  public var rate: Double? { duration == 0 ? nil : Double(count) * 1e9 / Double(duration) }
}

/// One exit reason in one setting.
public struct SettingReason: Sendable, Hashable, ExitStatistics {
  public var isa: UInt32
  public var code: UInt32
  public var figures: ExitFigures

  public init(isa: UInt32, code: UInt32, figures: ExitFigures = ExitFigures()) {
    self.isa = isa
    self.code = code
    self.figures = figures
  }

  /// Handling time, ns, time halted included.
  public var handling: UInt64 { figures.total.handling }
}

/// The settings that occurred. A host has a handful; past the limit all share the first, which has no words to show.
struct SettingRegistry {
  private struct Key: Hashable {
    var words: ControlSetting?
    var apicVirtualization: SettingDescription.APICVirtualization
  }

  static let limit = 64

  private(set) var descriptions = [SettingDescription(setting: .asFound)]
  private var numbers = [Key(words: nil, apicVirtualization: .asFound): VCPUSetting.asFound]

  init() {}

  /// The settings of a snapshot or of sums.
  init(_ descriptions: [SettingDescription]) {
    for description in descriptions { adopt(description) }
  }

  /// The own number of another registry's setting.
  @discardableResult
  mutating func adopt(_ other: SettingDescription) -> VCPUSetting {
    find(Key(words: other.words?.governing, apicVirtualization: other.apicVirtualization), other.words)
  }

  func description(_ setting: VCPUSetting) -> SettingDescription {
    let index = setting.rawValue - 1
    return descriptions.indices.contains(index) ? descriptions[index] : SettingDescription(setting: setting)
  }

  private mutating func find(_ key: Key, _ words: ControlSetting?) -> VCPUSetting {
    if let known = numbers[key] { return known }
    guard descriptions.count < Self.limit else { return .asFound }
    let setting = VCPUSetting(rawValue: descriptions.count + 1)
    let number = words == nil ? nil : 1 + descriptions.count { $0.words != nil }
    descriptions.append(
      SettingDescription(
        setting: setting, number: number, words: words, apicVirtualization: key.apicVirtualization))
    numbers[key] = setting
    return setting
  }

  /// The setting that a vCPU is in after an event about APIC virtualization.
  mutating func setting(
    after setting: VCPUSetting, apicVirtualization: SettingDescription.APICVirtualization
  ) -> VCPUSetting {
    let now = description(setting)
    return find(Key(words: now.words?.governing, apicVirtualization: apicVirtualization), now.words)
  }

  /// The setting that a vCPU is in whose words were read.
  mutating func setting(after setting: VCPUSetting, words: ControlSetting) -> VCPUSetting {
    find(
      Key(words: words.governing, apicVirtualization: description(setting).apicVirtualization), words)
  }
}
