import Aggregator
import Architecture
import Wording

extension TriageReport {
  /// The page for a ticket: plain text, 80 columns but for a long name at the end of a line, about 50 lines.
  public func page() -> String {
    var lines = heading()
    if snapshot.total.exits == 0 {
      lines += nothingSeen()
    } else {
      lines += whyItExits()
      lines += whatInParticular()
      lines += whichControls()
      lines += bySetting()
      lines += who()
      lines += whatToDo()
    }
    return lines.joined(separator: "\n") + "\n"
  }

  private static let width = 80

  // MARK: - Head

  private func heading() -> [String] {
    let source = snapshot.source
    var first = ["vmctop triage"]
    if let host = source.hostName { first.append(printable(host)) }
    if let kernel = source.kernelRelease { first.append("Linux \(printable(kernel))") }
    first.append(source.backend ?? "no KVM module seen")
    if let isa = source.isa { first[first.count - 1] += " (\(isa))" }
    var second = seconds(snapshot.windowNanoseconds)
    switch source.kind {
    case .tracefs: second += " live"
    case .traceDat, .perfData, .vmctop:
      second += source.isDemo ? " of the bundled demo recording" : " of \(printable(source.path ?? "a recording"))"
    }
    second += ": \(Figures.plural(snapshot.events, "event")), \(Figures.plural(snapshot.total.exits, "exit"))"
    if let rate = exitsPerSecond, snapshot.total.exits > 0 { second += " (\(Figures.short(rate))/s)" }
    var lines = [first.joined(separator: "  "), second]
    let time = snapshot.total.time
    if time.total > 0 { lines.append("vCPU time: \(timeSplit(time))") }
    return lines + losses() + [""]
  }

  private func losses() -> [String] {
    var lines: [String] = []
    let losses = snapshot.losses
    if losses.lost == 0, losses.uncounted == 0 {
      let isWhole = damage.isEmpty && snapshot.malformedRecords == 0
      lines.append("No event was lost\(isWhole ? ": the counts are exact" : "").")
    } else {
      let places = losses.perCPU.filter { $0.lost > 0 }.sorted { $0.lost > $1.lost }
      var text =
        losses.lost == 0
        ? "Events were lost, the buffer did not say how many"
        : "\(losses.uncounted > 0 ? "at least " : "")\(Figures.plural(losses.lost, "event")) lost"
      let shown = places.prefix(6).map { "CPU \($0.cpu): \(Figures.count($0.lost))" }
      if !shown.isEmpty {
        let more = places.count > shown.count ? ", \(places.count - shown.count) more CPUs" : ""
        text += " (\(shown.joined(separator: ", "))\(more))"
      }
      text += ". Counts are lower bounds; no handling time is taken across a loss. A larger --buffer-size"
      text += " or --events minimal loses less."
      lines += wrapped(text, head: "LOST  ", width: Self.width)
    }
    if snapshot.malformedRecords > 0 {
      let text =
        "\(Figures.plural(snapshot.malformedRecords, "record")) contradicted their own format and were passed over:"
        + " the input is damaged, and the counts are lower bounds."
      lines += wrapped(text, head: "DAMAGED  ", width: Self.width)
    }
    if !damage.isEmpty {
      for line in damage.prefix(3) { lines += wrapped(printable(line), head: "DAMAGED  ", width: Self.width) }
      if damage.count > 3 { lines.append("DAMAGED  and \(damage.count - 3) more places") }
      lines.append("The counts are of what could be read.")
    }
    return lines
  }

  // MARK: - No exits

  private func nothingSeen() -> [String] {
    var lines = ["No exit was seen."]
    let isLive = snapshot.source.kind == .tracefs
    if snapshot.events > 0 {
      let seen = snapshot.eventCounts.filter { $0.count > 0 }
      lines.append("Events that were seen:")
      for event in seen.prefix(10) {
        lines.append("  \(padded(Figures.count(event.count), 12, right: true))  \(printable(event.name))")
      }
      if seen.count > 10 { lines.append("  and \(seen.count - 10) more kinds") }
    }
    lines.append("To check:")
    let checks =
      isLive
      ? [
        "Does a guest run? Its VMM holds /dev/kvm open: ls -l /proc/[0-9]*/fd 2>/dev/null | grep kvm-vm",
        "Do -p and --vcpu name a thread of it?",
        "Is there kvm_exit to trace? vmctop doctor tells, and how to enable what is missing.",
        "An idle guest may not exit for seconds: a longer --duration shows.",
      ]
      : [
        "Does the recording have kvm_exit and kvm_entry?"
          + " trace-cmd record -e kvm:kvm_exit -e kvm:kvm_entry -e kvm:kvm_userspace_exit -e kvm:kvm_vcpu_wakeup",
        "Do -p and --vcpu name a thread that is in it?",
        "Did a guest run while it was made?",
      ]
    for check in checks { lines += wrapped(check, head: "  - ", width: Self.width) }
    return lines
  }

  // MARK: - The table

  private static let columnIDs = ["reason", "count", "percent", "time", "mean", "p99", "max", "charged"]
  private static let shownReasons = 10

  private func whyItExits() -> [String] {
    let shown = reasons.prefix(Self.shownReasons)
    let table = FigureTable(columns: Self.columnIDs.compactMap { ReasonFigures.column($0) })
    var lines = ["WHY IT EXITS"] + table.lines(Array(shown), context: context)
    let rest = reasons.dropFirst(shown.count)
    if !rest.isEmpty {
      let exits = rest.reduce(0) { $0 &+ $1.count }
      let time = rest.reduce(0) { $0 &+ $1.busy }
      lines.append(
        "and \(Figures.plural(UInt64(rest.count), "more reason")): \(Figures.share(exits, of: snapshot.total.exits)) %"
          + " of the exits, \(Figures.share(time, of: busy)) % of the time")
    }
    let paired = reasons.reduce(0) { $0 &+ $1.handling.paired }
    if paired == 0 {
      lines.append("No handling times: no kvm_entry follows an exit on the same thread here.")
    } else if let halting = shown.first(where: { $0.figures.total.halted > 0 }) {
      let idle = halting.figures.total.halted
      lines.append(
        "\(printable(halting.name)): \(Figures.share(idle, of: halting.handling.total)) % of its time"
          + " the vCPU was halted, which is idle, no cost, and not in TIME%.")
    }
    if snapshot.isHaltShared {
      lines.append("(This recording tells how long vCPUs were halted, but not in which exits: taken for HLT's.)")
    }
    return lines + [""]
  }

  /// The most frequent details of the greatest reasons.
  private func whatInParticular() -> [String] {
    var lines: [String] = []
    let shown = notable.prefix(5)
    let nameWidth = shown.reduce(0) { max($0, $1.name.count) }
    for row in shown {
      var parts: [String] = []
      for detail in row.details where detail.total > 0 {
        // One instruction that stands out is worth naming, the first of thousands is not.
        let isWorth = { (entry: DetailCount) in
          Double(entry.count) >= Double(detail.total) * (detail.kind == .rip ? 0.1 : 0.01)
        }
        let entries = detail.entries.prefix(detail.kind == .rip ? 1 : 3).filter(isWorth)
        let texts = entries.map { entry in
          let share = Figures.share(min(entry.count, detail.total), of: detail.total)
          return "\(printable(vocabulary.text(detail.kind, entry.value))) \(entry.error > 0 ? ">" : "")\(share) %"
        }
        guard !texts.isEmpty else { continue }
        let label = detail.kind.label
        parts.append((label.isEmpty ? "" : "\(label) ") + texts.joined(separator: ", "))
      }
      guard !parts.isEmpty else { continue }
      lines += wrapped(
        parts.joined(separator: "; "), head: padded(printable(row.name), nameWidth) + "  ", width: Self.width)
    }
    return lines.isEmpty ? [] : ["WHAT IN PARTICULAR"] + lines + [""]
  }

  private func whichControls() -> [String] {
    guard !controls.isEmpty else { return [] }
    let shown = controls.prefix(Self.shownControls)
    let threads = snapshot.vms.flatMap(\.vcpus).map(\.tid)
    let isRead = !snapshot.controlWords.isEmpty
    var lines = ["WHICH CONTROLS CAUSE IT"]
    let context = context
    let figures = ["percent", "count", "time"].compactMap { ControlFigures.all.figure($0) }
    var rows = [["%", "EXITS", "TIME%"] + (isRead ? ["NOW", "CFG", "ALLOWED"] : []) + ["CONTROL"]]
    for control in shown {
      let name = vocabulary.control(control.control)
      let place =
        control.control == .unconditional ? "" : name.bit.map { "  (\(name.word) bit \($0))" } ?? "  (\(name.word))"
      let meaning = control.control == .unconditional ? "  (no control suppresses them)" : place
      var row = figures.map { figureText($0.value(control.figures, context)) }
      if isRead {
        let status = snapshot.status(control.control, on: threads)
        row += [
          Self.text(status.now), status.configured.map { $0 ? "1" : "0" } ?? "-",
          status.allowed.map(Self.compact) ?? "-",
        ]
      }
      rows.append(row + [name.name + meaning])
    }
    let widths = rows[0].indices.map { column in rows.reduce(0) { max($0, $1[column].count) } }
    for row in rows {
      let cells = row.indices.map { column in
        column == row.count - 1 ? row[column] : padded(row[column], widths[column], right: true)
      }
      lines.append(cells.joined(separator: "  "))
    }
    if controls.count > shown.count { lines.append("and \(controls.count - shown.count) more, see --format json") }
    if isRead {
      lines.append("NOW: read from kernel memory; CFG: vmcs_config; ALLOWED: by the processor. ~: vCPUs differ.")
    }
    return lines + [""]
  }

  private static let shownControls = 5

  /// `1`, `0`, `~` where vCPUs differ, `-` for what is no bit of a control word.
  private static func text(_ value: MeasuredControl?) -> String {
    switch value {
    case .on: "1"
    case .off: "0"
    case .mixed: "~"
    case nil: "-"
    }
  }

  /// As short as a column.
  private static func compact(_ allowed: AllowedSettings) -> String {
    switch allowed {
    case .either: "0/1"
    case .onlyOne: "1"
    case .onlyZero: "0"
    case .noSuchWord: "-"
    case .neither, .oneToo: allowed.text
    }
  }

  // MARK: - Settings

  private static let shownSettings = 6

  /// What was counted before and after a control changed; nothing where none has, and all vCPUs are set alike.
  private func bySetting() -> [String] {
    let settings = snapshot.total.settings.filter { $0.count > 0 }
    guard settings.count > 1 else { return [] }
    var lines = ["SETTINGS OF THE CONTROLS"]
    var before: SettingDescription?
    for row in settings.prefix(Self.shownSettings) {
      guard let description = snapshot.description(row.setting) else { continue }
      var text = "\(row.vcpus == 0 ? "no vCPU" : Figures.plural(UInt64(row.vcpus), "vCPU")) now, "
      text += "\(seconds(row.duration)) of vCPU time, \(Figures.plural(row.count, "exit"))"
      if let rate = row.rate { text += " (\(Figures.short(rate))/s)" }
      if let before {
        let changes = description.difference(from: before)
        if !changes.isEmpty {
          text += "; unlike \(before.label): "
          text += changes.prefix(8).map { "\(vocabulary.control($0.control).name)=\($0.isOn ? 1 : 0)" }
            .joined(separator: " ")
          if changes.count > 8 { text += " and \(changes.count - 8) more" }
        }
      }
      let most = row.controls.prefix(3).map { control in
        "\(vocabulary.control(control.control).name) \(Figures.share(control.count, of: row.count)) %"
          + " (\(Figures.duration(control.busy)))"
      }
      text += "; charged, with their time, to \(most.joined(separator: ", "))"
      lines += wrapped(text, head: description.label + "  ", indent: 4, width: Self.width)
      if description.words != nil { before = before ?? description }
    }
    if settings.count > Self.shownSettings {
      lines.append("and \(settings.count - Self.shownSettings) more, see --format json")
    }
    return lines + [""]
  }

  private func who() -> [String] {
    guard !snapshot.vms.isEmpty else { return [] }
    var lines = ["WHO"]
    let vms = snapshot.vms.sorted { scope($0.scope).exits > scope($1.scope).exits }
    for vm in vms.prefix(3) {
      let exits = scope(vm.scope).exits
      if vm.endedThreads > 0 {
        let threads = vm.endedThreads == 1 ? "1 vCPU thread" : "\(Figures.count(vm.endedThreads)) vCPU threads"
        lines.append(
          "\(threads) that ended: \(Figures.plural(exits, "exit")) (\(Figures.share(exits, of: snapshot.total.exits)) %)"
        )
        continue
      }
      var title = vm.pid.map { "VM pid \($0)" } ?? "VM of unknown pid"
      title += ", \(Figures.plural(UInt64(vm.vcpus.count), "vCPU")): \(Figures.plural(exits, "exit"))"
      title += " (\(Figures.share(exits, of: snapshot.total.exits)) %)"
      if let vmm = vm.vmm { title += "  \(printable(vmm))" }
      if let name = vm.name { title += "  \(printable(name))" }
      lines.append(title)
      let vcpus = vm.vcpus.sorted { scope($0.scope).exits > scope($1.scope).exits }
      let cells = vcpus.prefix(4).map { vcpu in
        let own = scope(vcpu.scope)
        return (
          name: vcpu.id.map { "vCPU \($0)" } ?? "vCPU ?", tid: "tid \(vcpu.tid)", exits: Figures.count(own.exits),
          time: timeSplit(own.time)
        )
      }
      let widths = cells.reduce((0, 0, 0)) {
        (max($0.0, $1.name.count), max($0.1, $1.tid.count), max($0.2, $1.exits.count))
      }
      for cell in cells {
        let exits = padded(cell.exits, widths.2, right: true)
        lines.append("  \(padded(cell.name, widths.0))  \(padded(cell.tid, widths.1))  \(exits)  \(cell.time)")
      }
      if vcpus.count > 4 { lines.append("  and \(vcpus.count - 4) more vCPUs with fewer exits each") }
    }
    if vms.count > 3 { lines.append("and \(vms.count - 3) more VMs with fewer exits each") }
    return lines + [""]
  }

  // MARK: - What to do

  private static let shownAdvice = 3
  private static let shownRemedies = 4

  private func whatToDo() -> [String] {
    var lines = ["WHAT IT MEANS, WHAT TO DO"]
    var names: [String] = []
    for entry in advice where !names.contains(entry.reason) { names.append(entry.reason) }
    var isCut = false
    for name in names.prefix(Self.shownAdvice) {
      var entries = advice.filter { $0.reason == name }
      guard let first = entries.first else { continue }
      lines += wrapped(first.text, head: "\(name): ", indent: 2, width: Self.width)
      if entries.count > Self.shownRemedies {
        entries.removeSubrange(Self.shownRemedies...)
        isCut = true
      }
      for entry in entries {
        guard let knob = entry.knob else { continue }
        var text = knob
        if let current = entry.current {
          text += entry.isSatisfied == true ? " (already: \(current))" : " (now \(current))"
        }
        lines += wrapped(text, head: "  - ", width: Self.width)
      }
    }
    let more = names.dropFirst(Self.shownAdvice)
    if !more.isEmpty || isCut {
      lines.append(
        "More\(more.isEmpty ? "" : ", for \(more.prefix(4).joined(separator: ", ")) too,") in --format json.")
    }
    if knobs.values.isEmpty {
      lines.append(
        snapshot.source.kind == .tracefs
          ? "Current values are not known: no parameters of KVM's modules could be read."
          : "Current values are not known: a recording does not carry its host's parameters.")
    }
    return lines
  }
}
