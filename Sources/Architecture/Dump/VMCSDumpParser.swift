/// Reads a kernel log byte by byte and keeps the VMCS and VMCB dumps in it. Lines may carry whatever dmesg, syslog,
/// journald, a console or /dev/kmsg put in front; other lines may stand between; a dump may lack its head or its tail.
/// With CONFIG_PRINTK_CALLER two processors that dump at once are told apart.
public struct VMCSDumpParser: Sendable {
  /// Longer lines are read up to here: no line of a dump has a third of it.
  private static let lineLimit = 1024
  /// A dump ends where so many lines are none of it.
  private static let gapLimit = 200
  /// KVM's lists have 8 entries; the processor's recommended limit is 512.
  private static let listLimit = 512

  private enum Area: Int { case none, guest, host, control, vmcb }

  /// A dump that may go on.
  private struct Open {
    var dump: VMCSDump
    var area: Area
    /// The list that MSR entries belong to.
    var listsMSRs = false
    /// The fields it has, for finding one twice.
    var known: Set<DumpFieldID> = []
  }

  private var line: [UInt8] = []
  private var number = 1
  private var open: [String: Open] = [:]
  private var closed: [VMCSDump] = []
  private var remarks: [DumpRemark] = []

  /// A parser that has read nothing.
  public init() {}

  /// The next bytes of the log.
  public mutating func feed(_ bytes: UnsafeRawBufferPointer) {
    var start = 0
    while start < bytes.count {
      var end = start
      while end < bytes.count, bytes[end] != 0x0a { end += 1 }
      let room = Self.lineLimit - line.count
      line.append(contentsOf: bytes[start..<(start + min(room, end - start))])
      if end < bytes.count {
        take(isComplete: true)
        number += 1
        line.removeAll(keepingCapacity: true)
      }
      start = end + 1
    }
  }

  /// The end of the log.
  public mutating func finish() -> DumpLog {
    var log = DumpLog()
    log.lineCount = line.isEmpty ? number - 1 : number
    take(isComplete: false)
    line = []
    for dump in open.values { closed.append(dump.dump) }
    open = [:]
    log.dumps = closed.filter { !$0.fields.isEmpty || $0.cpu != nil || !$0.msrLists.isEmpty }.sorted {
      $0.line < $1.line
    }
    log.remarks = remarks
    closed = []
    remarks = []
    // What a VMM says belongs to the dump before, what KVM says to the next.
    if !log.dumps.isEmpty {
      for remark in log.remarks {
        let before = log.dumps.lastIndex { $0.line < remark.line }
        let next = log.dumps.firstIndex { $0.line > remark.line && $0.line - remark.line <= Self.gapLimit }
        let owner = remark.kind == .hardwareError ? before ?? next : next ?? before
        log.dumps[owner ?? 0].remarks.append(remark)
      }
      log.remarks = []
    }
    return log
  }

  private mutating func take(isComplete hasEnd: Bool) {
    let isComplete = hasEnd && line.count < Self.lineLimit
    while let last = line.last, last == 0x0d || isBlank(last) { line.removeLast() }
    guard !line.isEmpty else { return }
    let prefix = LinePrefix(line)
    let start = prefix.end
    guard start < line.count else { return }
    if takeHead(start, caller: prefix.caller, isComplete: isComplete) { return }
    if takeMSR(start, caller: prefix.caller, isComplete: isComplete) { return }
    if takeFields(start, caller: prefix.caller, isComplete: isComplete) { return }
    takeRemark()
  }

  // MARK: Headings

  private mutating func takeHead(_ start: Int, caller: String, isComplete: Bool) -> Bool {
    if has("***", at: start) {
      let parts: [(String, Area)] = [
        ("*** Guest State ***", .guest), ("*** Host State ***", .host), ("*** Control State ***", .control),
      ]
      guard let (_, area) = parts.first(where: { has($0.0, at: start) }) else { return false }
      if let old = open[caller], old.dump.kind == .vmcs, old.area.rawValue < area.rawValue {
        open[caller]?.area = area
        open[caller]?.listsMSRs = false
        open[caller]?.dump.lastLine = number
      } else {
        begin(.vmcs, area, caller)
      }
      return true
    }
    if has("VMCB Control Area:", at: start) || has("VMCB State Save Area:", at: start) {
      let isState = has("VMCB S", at: start)
      if let old = open[caller], old.dump.kind == .vmcb,
        isState || !old.known.contains(where: { $0.name == "cr_read" })
      {
        open[caller]?.dump.lastLine = number
      } else {
        begin(.vmcb, .vmcb, caller)
      }
      return true
    }
    return takeEntryLine(start, caller: caller, isComplete: isComplete)
  }

  /// `VMCS 00000000a0f94182, last attempted VM-entry on CPU 0`; for a VMCB the type of the guest and the vCPU may stand
  /// before.
  private mutating func takeEntryLine(_ start: Int, caller: String, isComplete: Bool) -> Bool {
    let first = line[start]
    guard first == UInt8(ascii: "V") || first == UInt8(ascii: "S") || first == UInt8(ascii: "v") else { return false }
    let words = line[start...].split(separator: 0x20, maxSplits: 12, omittingEmptySubsequences: true).map {
      String(decoding: $0, as: UTF8.self)
    }
    guard let name = words.firstIndex(where: { $0 == "VMCS" || $0 == "VMCB" }), name <= 2, words.count >= name + 5,
      words[(name + 2)...].starts(with: ["last", "attempted", words[name] == "VMCS" ? "VM-entry" : "VMRUN"])
    else { return false }
    begin(words[name] == "VMCS" ? .vmcs : .vmcb, words[name] == "VMCS" ? .none : .vmcb, caller)
    for word in words[..<name] {
      if word.hasPrefix("vCPU") {
        open[caller]?.dump.vcpu = Int(word.dropFirst(4))
      } else if ["SVM", "SEV", "SEV-ES", "SEV-SNP"].contains(word) {
        open[caller]?.dump.guestType = word
      }
    }
    // A number at the very end of a log may lack digits.
    if words.count >= name + 8, words[name + 6] == "CPU", isComplete || words.count > name + 8 {
      open[caller]?.dump.cpu = Int(words[name + 7])
    } else {
      damage(caller)
    }
    return true
  }

  private mutating func begin(_ kind: VMCSDump.Kind, _ area: Area, _ caller: String) {
    if let old = open[caller] { closed.append(old.dump) }
    open[caller] = Open(dump: VMCSDump(kind: kind, line: number), area: area)
  }

  // MARK: MSR lists

  private mutating func takeMSR(_ start: Int, caller: String, isComplete: Bool) -> Bool {
    guard let dump = open[caller], dump.dump.kind == .vmcs else { return false }
    if has("MSR ", at: start) {
      let names = ["guest autoload", "guest autostore", "autostore", "host autoload"]
      guard let name = names.first(where: { has("MSR \($0):", at: start) }) else { return false }
      if dump.dump.msrLists.count < 16 {
        open[caller]?.dump.msrLists.append(VMCSDump.MSRList(name: name, line: number, entries: []))
      }
      open[caller]?.listsMSRs = true
      open[caller]?.dump.lastLine = number
      return true
    }
    guard dump.listsMSRs, line[start] >= 0x30, line[start] <= 0x39,
      let match = Self.msrEntry.match(line, from: start, isComplete: isComplete)
    else { return false }
    guard match.isWhole, let index = Int(exactly: match.numbers[0]) else {
      damage(caller)
      return match.numbers.count > 1
    }
    open[caller]?.dump.lastLine = number
    guard let list = dump.dump.msrLists.last, list.entries.count < Self.listLimit else { return true }
    open[caller]?.dump.msrLists[dump.dump.msrLists.count - 1].entries.append(
      VMCSDump.MSRList.Entry(
        index: index, msr: UInt32(truncatingIfNeeded: match.numbers[1]), value: match.numbers[2], line: number))
    return true
  }

  private static let msrEntry = DumpPattern(.guest, "{d}: msr={8} value={16}", [])

  // MARK: Fields

  private mutating func takeFields(_ start: Int, caller: String, isComplete: Bool) -> Bool {
    var position = start
    var found = false
    while position < line.count {
      guard let (pattern, match) = patternMatch(at: position, caller: caller, isComplete: isComplete) else {
        if found {
          // `(autoload)`, `(corrupted!)`: what the kernel says of the value.
          if !takeNote(position, caller: caller) { damage(caller) }
        }
        return found
      }
      keep(pattern, match, caller: caller)
      found = true
      position = match.end
      if !match.isWhole {
        damage(caller)
        return true
      }
      while position < line.count, isBlank(line[position]) { position += 1 }
    }
    return found
  }

  /// The pattern that the line goes on with, if it may stand here.
  private func patternMatch(at position: Int, caller: String, isComplete: Bool) -> (DumpPattern, DumpPattern.Match)? {
    let patterns = DumpPattern.byFirst[Int(line[position])]
    if patterns.isEmpty { return nil }
    let dump = open[caller].flatMap { number - $0.dump.lastLine <= Self.gapLimit ? $0 : nil }
    var best: (DumpPattern, DumpPattern.Match)?
    for pattern in patterns {
      if pattern.area == .vmcb {
        guard pattern.isDistinctive || dump?.dump.kind == .vmcb else { continue }
      } else if pattern.area == .state {
        guard dump?.dump.kind == .vmcs, dump?.area == .guest || dump?.area == .host else { continue }
      } else {
        guard pattern.isDistinctive || dump?.area == area(of: pattern) else { continue }
      }
      guard let match = pattern.match(line, from: position, isComplete: isComplete) else { continue }
      if match.isWhole { return (pattern, match) }
      if best == nil || best.map({ $0.1.numbers.count < match.numbers.count }) == true { best = (pattern, match) }
    }
    return best
  }

  private func area(of pattern: DumpPattern) -> Area {
    switch pattern.area {
    case .guest, .state: .guest
    case .host: .host
    case .control: .control
    case .vmcb: .vmcb
    }
  }

  private mutating func keep(_ pattern: DumpPattern, _ match: DumpPattern.Match, caller: String) {
    let isHost = pattern.area == .state && open[caller]?.area == .host
    let ids = isHost ? pattern.hostFields : pattern.fields
    let area = isHost ? Area.host : area(of: pattern)
    var values = match.numbers
    // SVI and RVI are the two bytes of GUEST_INTR_STATUS.
    if ids.first == ids.last, ids.count == 2 {
      guard values.count == 2 else { return }
      values = [values[0] << 8 | values[1]]
    }
    prepare(area, ids.prefix(values.count), pattern, caller)
    for (id, value) in zip(ids, values) {
      guard var dump = open[caller], !dump.known.contains(id) else { continue }
      // The dump is taken out while it is written, so that its arrays are not copied.
      open[caller] = nil
      dump.known.insert(id)
      dump.dump.fields.append(VMCSDump.Field(id: id, value: value, line: number))
      open[caller] = dump
    }
    open[caller]?.listsMSRs = false
    open[caller]?.dump.lastLine = number
  }

  /// Sees that there is a dump that these fields can belong to: a line that the dump has already, or one of an earlier
  /// part, is of another dump, whose head is lost.
  private mutating func prepare(_ area: Area, _ ids: ArraySlice<DumpFieldID>, _ pattern: DumpPattern, _ caller: String)
  {
    let kind: VMCSDump.Kind = area == .vmcb ? .vmcb : .vmcs
    guard let old = open[caller], old.dump.kind == kind, number - old.dump.lastLine <= Self.gapLimit else {
      begin(kind, area, caller)
      return
    }
    let isRepeated = ids.contains { old.known.contains($0) && $0.rawValue != 0x0810 }
    if kind == .vmcb {
      // The registers of an encrypted guest repeat RAX and others; a line of a segment never comes twice.
      if isRepeated && pattern.isDistinctive { begin(kind, area, caller) }
    } else if isRepeated || area.rawValue < old.area.rawValue {
      begin(kind, area, caller)
    } else if area != old.area {
      open[caller]?.area = area
    }
  }

  private mutating func damage(_ caller: String) {
    if let count = open[caller]?.dump.damagedLines.count, count < 100 { open[caller]?.dump.damagedLines.append(number) }
  }

  private mutating func takeNote(_ position: Int, caller: String) -> Bool {
    for note in ["autoload", "effective", "corrupted!"] where has("(\(note))", at: position) {
      let count = open[caller]?.dump.fields.count ?? 0
      guard count > 0 else { return false }
      open[caller]?.dump.fields[count - 1].note = note
      return true
    }
    return false
  }

  // MARK: Remarks

  private static let remarkTexts: [(kind: DumpRemark.Kind, text: [UInt8], hasValue: Bool)] = [
    (.hardwareError, Array("KVM: entry failed, hardware error 0x".utf8), true),
    (.unexpectedExit, Array("unexpected exit reason 0x".utf8), true),
    (.suppressed, Array("to dump internal KVM state".utf8), false),
  ]

  private mutating func takeRemark() {
    for (kind, text, hasValue) in Self.remarkTexts {
      guard let position = find(text) else { continue }
      var value: UInt64 = 0
      if hasValue {
        for byte in line[position...].prefix(16) {
          guard let digit = hexadecimalDigit(byte) else { break }
          value = value << 4 | digit
        }
      }
      // A log may say it a million times; the first hundred tell.
      if remarks.count < 100 { remarks.append(DumpRemark(kind: kind, line: number, value: value)) }
      return
    }
  }

  /// The position behind a text in the line.
  private func find(_ wanted: [UInt8]) -> Int? {
    line.withUnsafeBufferPointer { line in
      var start = 0
      while start + wanted.count <= line.count {
        var length = 0
        while length < wanted.count, line[start + length] == wanted[length] { length += 1 }
        if length == wanted.count { return start + length }
        start += 1
      }
      return nil
    }
  }

  private func has(_ text: String, at start: Int) -> Bool {
    var position = start
    for byte in text.utf8 {
      guard position < line.count, line[position] == byte else { return false }
      position += 1
    }
    return true
  }
}

/// What stands before the kernel's own text: quotation marks of mail, a priority, syslog's date and host, time stamps,
/// the caller, the module's name.
private struct LinePrefix {
  /// Where the text begins.
  var end = 0
  /// `T1234` or `C0` where the kernel tells who printed.
  var caller = ""

  init(_ line: [UInt8]) {
    skipKernelMessageHead(line)
    skipSyslogHead(line)
    var isModule = true
    while end < line.count {
      if isBlank(line[end]) || line[end] == UInt8(ascii: ">") {
        end += 1
      } else if line[end] == UInt8(ascii: "<"), skipPriority(line) {
        continue
      } else if line[end] == UInt8(ascii: "["), skipBracket(line) {
        continue
      } else if isModule, skipModule(line) {
        isModule = false
      } else {
        return
      }
    }
  }

  private static let kernel = Array("kernel: ".utf8)
  private static let facility = Array("kern ".utf8)
  private static let modules = ["kvm_intel: ", "kvm_amd: ", "kvm: ", "KVM: "].map { Array($0.utf8) }

  /// `3,1234,11365020,-;` of /dev/kmsg.
  private mutating func skipKernelMessageHead(_ line: [UInt8]) {
    guard let first = line.first, first >= 0x30, first <= 0x39 else { return }
    for (index, byte) in line.prefix(120).enumerated() {
      switch byte {
      case UInt8(ascii: ";"):
        // caller=T1234 stands among the flags.
        if let text = String(validating: line[..<index], as: UTF8.self), let range = text.firstRange(of: "caller=") {
          caller = String(text[range.upperBound...].prefix { $0 != "," })
        }
        end = index + 1
        return
      case 0x30...0x39, UInt8(ascii: ","), UInt8(ascii: "-"), UInt8(ascii: "="), UInt8(ascii: "T"), UInt8(ascii: "C"),
        UInt8(ascii: "a")...UInt8(ascii: "z"):
        continue
      default: return
      }
    }
  }

  /// `Nov 24 03:16:17 host kernel: `, `2026-11-24T03:16:17+00:00 host kernel: `, `kern  :err   : `.
  private mutating func skipSyslogHead(_ line: [UInt8]) {
    let wanted = Self.kernel
    if line.count > end + wanted.count {
      for start in end..<min(line.count - wanted.count, end + 160) where line[start] == wanted[0] {
        let isWord = start == end || isBlank(line[start - 1])
        if isWord, line[start...].starts(with: wanted) {
          end = start + wanted.count
          return
        }
      }
    }
    if line[end...].starts(with: Self.facility) {
      let rest = line[end...].prefix(40)
      if let first = rest.firstIndex(of: UInt8(ascii: ":")),
        let second = rest[(first + 1)...].firstIndex(of: UInt8(ascii: ":"))
      {
        end = second + 1
      }
    }
  }

  private mutating func skipPriority(_ line: [UInt8]) -> Bool {
    guard let close = line[end...].prefix(5).firstIndex(of: UInt8(ascii: ">")) else { return false }
    guard close > end + 1, line[(end + 1)..<close].allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else { return false }
    end = close + 1
    return true
  }

  private mutating func skipBracket(_ line: [UInt8]) -> Bool {
    guard let close = line[end...].prefix(48).firstIndex(of: UInt8(ascii: "]")) else { return false }
    let inside = line[(end + 1)..<close].drop(while: isBlank)
    if let first = inside.first, first == UInt8(ascii: "T") || first == UInt8(ascii: "C"), inside.count > 1,
      inside.dropFirst().allSatisfy({ $0 >= 0x30 && $0 <= 0x39 })
    {
      caller = String(decoding: inside, as: UTF8.self)
    }
    end = close + 1
    return true
  }

  private mutating func skipModule(_ line: [UInt8]) -> Bool {
    guard line[end] | 0x20 == UInt8(ascii: "k") else { return false }
    for name in Self.modules where line[end...].starts(with: name) {
      end += name.count
      return true
    }
    return false
  }
}
