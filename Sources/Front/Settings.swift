import Aggregator
import Architecture
import Screen

/// The settings of the controls in which what is looked at was counted: the controls pane shows all of them together, or one.
extension FrontModel {
  /// Those with exits or vCPUs, in the order of their numbers.
  var settings: [SettingStatistics] {
    (scopeStatistics?.settings ?? []).filter { $0.count > 0 || $0.vcpus > 0 }
  }

  /// The one that is shown; nil while all are, and where it has gone.
  var shownSetting: SettingStatistics? { setting.flatMap { shown in settings.first { $0.setting == shown } } }

  func label(_ setting: VCPUSetting) -> String { snapshot?.description(setting)?.label ?? "" }

  /// In words: how many vCPUs, how long, how many exits, and in what it differs from the setting before it.
  func text(of row: SettingStatistics) -> String {
    var text = "\(label(row.setting)): \(row.vcpus) vCPU\(row.vcpus == 1 ? "" : "s") now"
    text += ", \(Format.exact(row.count)) exits in \(Format.duration(row.duration))"
    if let rate = row.rate { text += " (\(Format.count(rate))/s)" }
    let changes = changes(of: row.setting)
    if !changes.isEmpty { text += "; \(changes)" }
    return text
  }

  /// `HLT_EXITING=0` for each control in which a setting differs from the first whose words are known.
  private func changes(of setting: VCPUSetting) -> String {
    guard let own = snapshot?.description(setting),
      let first = settings.lazy.compactMap({ snapshot?.description($0.setting) }).first(where: { $0.words != nil }),
      first.setting != setting
    else { return "" }
    let changes = own.difference(from: first)
    if changes.isEmpty { return "" }
    let shown = changes.prefix(6).map { "\(names.control($0.control).short)=\($0.isOn ? 1 : 0)" }
    return "unlike \(first.label): \(shown.joined(separator: " "))\(changes.count > 6 ? " ..." : "")"
  }

  /// What to say of settings while all are shown; nil where there is one only.
  var settingsHint: String? {
    let settings = self.settings
    guard settings.count > 1 else { return nil }
    let vcpus = (snapshot?.vms ?? []).flatMap(\.vcpus).filter { scopeThreads.contains($0.tid) }
    let latest = vcpus.compactMap(\.settingChanges.last).max { $0.timestamp < $1.timestamp }
    guard let latest, let snapshot else { return "\(settings.count) settings of the controls (s shows each)" }
    return "setting \(label(latest.setting)) since \(Format.duration(snapshot.age(of: latest.timestamp))) ago, of "
      + "\(settings.count) (s shows each)"
  }
}

extension Painter {
  /// What one control was and cost in each setting; nothing where there is one only.
  func settingLines(_ id: ControlID) -> [Line] {
    let settings = model.settings
    guard settings.count > 1, let snapshot = model.snapshot else { return [] }
    var lines = [
      Line(""), Line(" BY SETTING OF THE CONTROLS", .heading),
      Line(
        "  " + "SETTING".padded(to: 20) + "VALUE".padded(to: 6, alignRight: true)
          + "EXITS".padded(to: 14, alignRight: true)
          + "/S".padded(to: 9, alignRight: true) + "TIME".padded(to: 9, alignRight: true) + "  VCPUS", .dim),
    ]
    for row in settings {
      let cost = row.controls.first { $0.control == id }
      let value = snapshot.description(row.setting)?.words?.value(of: id).map { $0 ? "1" : "0" } ?? "·"
      let rate = row.duration == 0 ? nil : Double(cost?.count ?? 0) * 1e9 / Double(row.duration)
      var line = Line("  " + model.label(row.setting).padded(to: 20), row.vcpus > 0 ? .value : .normal)
      line.append(value.padded(to: 6, alignRight: true))
      line.append(Format.exact(cost?.count ?? 0).padded(to: 14, alignRight: true), .value)
      line.append((rate.map { Format.count($0) } ?? "-").padded(to: 9, alignRight: true))
      line.append(Format.duration(cost?.busy ?? 0).padded(to: 9, alignRight: true))
      line.append("  \(row.vcpus)")
      lines.append(line)
    }
    return lines
  }
}
