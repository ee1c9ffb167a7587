import Aggregator
import Architecture
import Wording

/// What `vmctop state` prints.
public struct StatePage {
  /// What KVM settled on for every vCPU.
  public var configuration: VMCSConfiguration
  /// The vCPUs, in the order of the page.
  public var vcpus: [VCPUReading]
  /// What the VMM said of each of them; nil where nobody asked.
  public var vmm: [VMMReading]?
  /// Names of VMs by thread id and process id.
  public var names: [Int32: String]
  /// Which fields, by name, encoding or VMCB offset; nil: all.
  public var pattern: Pattern?
  /// CLOCK_MONOTONIC, for ages.
  public var now: UInt64

  /// The page of these vCPUs.
  public init(
    configuration: VMCSConfiguration, vcpus: [VCPUReading], vmm: [VMMReading]? = nil, names: [Int32: String] = [:],
    pattern: Pattern? = nil, now: UInt64
  ) {
    self.configuration = configuration
    self.vcpus = vcpus
    self.vmm = vmm
    self.names = names
    self.pattern = pattern
    self.now = now
  }

  private func name(_ vcpu: VCPUReading) -> String? { vcpu.tid.flatMap { names[$0] } ?? names[vcpu.pid] }

  private func isWanted(_ reading: FieldReading) -> Bool {
    guard let pattern else { return true }
    return pattern.matches(reading.field.name)
      || (reading.field.place.map { pattern.matches(hex($0, digits: 4)) } ?? false)
  }

  private static let words: [ControlWord] = [.pin, .primary, .secondary, .tertiary, .exit, .entry]

  /// The intercept words of SVM, by what is in each.
  private static let intercepts = ["cr", "dr", "exception", "3", "4", "5"]

  // MARK: JSON

  /// One object, as docs/state-json.md has it.
  package var json: JSONValue {
    var configured: [String: JSONValue] = [
      "ept": JSONValue(configuration.eptCapability.map { hex($0, digits: 8) }),
      "vpid": JSONValue(configuration.vpidCapability.map { hex($0, digits: 8) }),
    ]
    for word in Self.words {
      configured[word.rawValue] = JSONValue(configuration.words.word(word).map { hex($0, digits: 8) })
    }
    configured["intercepts"] = json(configuration.words.intercepts)
    return [
      "schema": "vmctop/state/1", "vmcs_config": .object(configured),
      "vcpus": .array(vcpus.indices.map { json(vcpus[$0], answer($0)) }),
    ]
  }

  private func answer(_ index: Int) -> VMMReading? { vmm.flatMap { $0.indices.contains(index) ? $0[index] : nil } }

  /// Fields that match, one row each.
  private func rows(_ readings: [FieldReading], of vcpu: VCPUReading) -> JSONValue {
    .array(
      readings.filter(isWanted).map { reading in
        let readAt = reading.readAt ?? vcpu.readAt
        return [
          "name": .text(reading.field.name),
          "encoding": JSONValue(reading.field.place.map { hex($0, digits: 4) }),
          "value": JSONValue(reading.value.map { hex($0) }), "provenance": .text(reading.provenance.rawValue),
          "age_ns": reading.value == nil ? .null : .integer(now > readAt ? now - readAt : 0),
          "how": .text(reading.how),
        ]
      })
  }

  private func json(_ intercepts: SIMD8<UInt32>?) -> JSONValue {
    intercepts.map { words in .array((0..<6).map { .text(hex(words[$0], digits: 8)) }) } ?? .null
  }

  private func json(_ vcpu: VCPUReading, _ vmm: VMMReading?) -> JSONValue {
    [
      "isa": .text(vcpu.isa.name), "pid": JSONValue(Int(vcpu.pid)), "vm": JSONValue(name(vcpu)),
      "vcpu": .integer(UInt64(vcpu.vcpuID)),
      "tid": JSONValue(vcpu.tid.map(Int.init)), "cpu": JSONValue(vcpu.cpu), "nested": .bool(vcpu.isNested),
      "fields": rows(vcpu.fields, of: vcpu), "other": rows(vcpu.others, of: vcpu),
      "intercepts": json(vcpu.words.intercepts), "vmcs12": vcpu.vmcs12.map { rows($0, of: vcpu) } ?? .null,
      "reads": JSONValue(vcpu.reads), "read_ns": .integer(vcpu.nanoseconds),
      "differences": .array(
        vcpu.differences.map { difference in
          [
            "word": .text(difference.control.word), "bit": JSONValue(difference.control.bit),
            "name": .text(difference.control.name), "value": .bool(difference.isSet),
            "configured": .bool(!difference.isSet), "why": .text(difference.reason),
            "measured": .bool(difference.isMeasured),
          ]
        }),
      "msr_bitmap": vcpu.msrBitmap.map { bitmap in
        .array(
          MSRAccess.ranges(in: bitmap).map { range in
            [
              "first": .text(hex(range.first)), "last": .text(hex(range.last)),
              "read_exits": .bool(range.readExits),
              "write_exits": .bool(range.writeExits), "name": JSONValue(msrName(range.first)),
            ]
          })
      } ?? .null,
      "vmm": vmm.map { ["readings": rows($0.fields, of: vcpu), "failure": JSONValue($0.failure)] } ?? .null,
    ]
  }

  // MARK: Text

  /// The page for people.
  public var text: String {
    if vcpus.isEmpty { return "No VM runs on this host.\n" }
    return vcpus.indices.map { text(vcpus[$0], answer($0)) }.joined(separator: "\n")
  }

  private static let marks: [Provenance: String] = [
    .measured: "m", .configured: "c", .derived: "d", .stale: "s", .inferred: "i", .capability: "p",
  ]

  private func text(_ vcpu: VCPUReading, _ vmm: VMMReading?) -> String {
    let vm = name(vcpu).map { "\(printable($0)) (pid \(vcpu.pid))" } ?? "VM of pid \(vcpu.pid)"
    var text = "\(vm), vCPU \(vcpu.vcpuID)"
    if let tid = vcpu.tid { text += ", thread \(tid)" }
    text += vcpu.cpu.map { ", on CPU \($0)" } ?? ", not loaded on any CPU"
    text += vcpu.isNested ? ", L2 is current: \(vcpu.isa == .svm ? "its VMCB" : "vmcs02")\n" : "\n"
    let wanted = vcpu.fields.filter(isWanted)
    if pattern == nil { text += controls(vcpu) }
    for (title, rows) in [
      ("CONTROL FIELDS", wanted.filter { $0.field.area == .control }),
      ("VM-EXIT INFORMATION", wanted.filter { $0.field.area == .exit }),
      ("GUEST STATE", wanted.filter { $0.field.area == .guest }),
      ("HOST STATE", wanted.filter { $0.field.area == .host }),
    ] {
      let known = rows.filter { $0.value != nil }
      if known.isEmpty { continue }
      text += "\n\(title)\n"
      text += alignedTable(
        ["FIELD", "VALUE", "", "FROM"],
        known.map { [$0.field.name, hex($0.value ?? 0), Self.marks[$0.provenance] ?? "?", $0.how] }, right: [1])
    }
    text += softwareState(vcpu) + nested(vcpu)
    let missing = wanted.filter { $0.value == nil } + vcpu.others.filter { isWanted($0) && $0.value == nil }
    if !missing.isEmpty {
      text += "\nUNAVAILABLE\n"
      for (why, rows) in Dictionary(grouping: missing, by: \.how).sorted(by: {
        ($1.value.count, $0.key) < ($0.value.count, $1.key)
      }) {
        text += factCard(why, [("", rows.map(\.field.name).joined(separator: " "))])
      }
    }
    if let vmm { text += VMMView(vcpu: vcpu, vmm: vmm, marks: Self.marks).text(where: isWanted) }
    return text + "\nm measured  d derived  c configured  s stale: not re-read since the guest ran\n"
  }

  /// What KVM keeps beside the VMCS: a line of names and values for each group, since their names say what they are; where
  /// they are from is in the JSON.
  private func softwareState(_ vcpu: VCPUReading) -> String {
    var text = ""
    for group in StateGroup.allCases {
      let rows = vcpu.others.filter { isWanted($0) && $0.field.group == group && $0.value != nil }
      if rows.isEmpty { continue }
      text += "\n\(group.rawValue.uppercased())\n"
      // Registers of a bitmap that are empty say nothing each.
      let empty = rows.filter { row in row.value == 0 && Self.bitmaps.contains { row.field.name.hasPrefix($0) } }
      let names = Set(empty.map(\.field.name))
      text += columns(rows.filter { !names.contains($0.field.name) || pattern != nil })
      if !empty.isEmpty, pattern == nil {
        let all = Self.bitmaps.filter { bitmap in empty.contains { $0.field.name.hasPrefix(bitmap) } }
        text += "  and 0 in the other registers of \(all.joined(separator: ", "))\n"
      }
    }
    return text
  }

  private static let bitmaps = ["APIC_ISR", "APIC_IRR", "PI_PIR"]

  /// `NAME value m`, as many beside each other as go into 100 columns.
  private func columns(_ rows: [FieldReading]) -> String {
    let cells = rows.map { row in
      let name = row.field.name
      return "\(name) \(hex(row.value ?? 0)) \(Self.marks[row.provenance] ?? "?")"
    }
    let width = (cells.map(\.count).max() ?? 0) + 2
    let perLine = max(1, 98 / max(1, width))
    var text = ""
    for start in stride(from: 0, to: cells.count, by: perLine) {
      let line = cells[start..<min(start + perLine, cells.count)]
        .map { $0 + String(repeating: " ", count: width - $0.count) }.joined()
      text += "  " + String(line.reversed().drop { $0 == " " }.reversed()) + "\n"
    }
    return text
  }

  /// The VMCS that L1 wrote, without what is 0 in it.
  private func nested(_ vcpu: VCPUReading) -> String {
    guard let fields = vcpu.vmcs12?.filter(isWanted), !fields.isEmpty else { return "" }
    let rows = pattern == nil ? fields.filter { $0.value != 0 } : fields
    var text = "\nVMCS12: THE VMCS THAT THIS GUEST WROTE FOR A GUEST OF ITS OWN\n" + columns(rows)
    if rows.count < fields.count { text += "  and 0 in \(fields.count - rows.count) other fields\n" }
    if fields.contains(where: { $0.provenance == .stale }) {
      text += "  s: the guest writes it without an exit (VMCS shadowing), so that this may be an older value\n"
    }
    return text
  }

  private static func because(_ difference: ControlDifference) -> String {
    let head = "  \(difference.control.name) is \(difference.isSet ? 1 : 0): "
    return wrapped(difference.reason, head: head, indent: 6, width: 100).map { $0 + "\n" }.joined()
  }

  /// The six intercept words beside what KVM gives every vCPU at first.
  private func interceptWords(_ vcpu: VCPUReading, _ now: SIMD8<UInt32>) -> String {
    alignedTable(
      ["INTERCEPTS", "NOW", "AT FIRST", "DIFFERS IN"],
      Self.intercepts.enumerated().map { index, name in
        let differing = vcpu.differences.filter { $0.control.interceptCode.map { $0 / 32 == UInt32(index) } ?? false }
        return [
          name, hex(now[index], digits: 8), configuration.words.intercepts.map { hex($0[index], digits: 8) } ?? "-",
          Self.count(differing.count),
        ]
      })
  }

  private static func count(_ differing: Int) -> String {
    differing == 0 ? "nothing" : differing == 1 ? "1 bit" : "\(differing) bits"
  }

  /// Control words beside vmcs_config, the bits that differ with the reason, and the MSRs that do not exit.
  private func controls(_ vcpu: VCPUReading) -> String {
    var text = "\nCONTROL WORDS\n"
    if let intercepts = vcpu.words.intercepts {
      text += interceptWords(vcpu, intercepts)
    } else {
      text += alignedTable(
        ["WORD", "NOW", "VMCS_CONFIG", "DIFFERS IN"],
        Self.words.map { word in
          let now = vcpu.words.word(word)
          let configured = configuration.words.word(word)
          let differing = vcpu.differences.filter { $0.control.word == word.rawValue }.count
          return [
            word.rawValue, now.map { hex($0, digits: 8) } ?? "-", configured.map { hex($0, digits: 8) } ?? "-",
            now == nil || configured == nil ? "-" : Self.count(differing),
          ]
        })
    }
    if !vcpu.differences.isEmpty {
      text += "\nWHY THEY DIFFER\n"
      for difference in vcpu.differences where difference.isMeasured { text += Self.because(difference) }
      let rules = vcpu.differences.filter { !$0.isMeasured }
      if !rules.isEmpty { text += "and by KVM's rules, where nothing was read that decides it:\n" }
      for difference in rules { text += Self.because(difference) }
    }
    if let bitmap = vcpu.msrBitmap {
      text += "\nMSRS THAT DO NOT EXIT\n"
      let ranges = MSRAccess.ranges(in: bitmap).filter { !$0.readExits || !$0.writeExits }
      text +=
        ranges.isEmpty
        ? "none\n"
        : alignedTable(
          ["MSR", "NAME", "WITHOUT AN EXIT"],
          ranges.map { range in
            [
              range.first == range.last ? hex(range.first) : "\(hex(range.first))-\(hex(range.last))",
              msrName(range.first).map { range.first == range.last ? $0 : "\($0) ..." } ?? "-",
              range.readExits ? "write" : range.writeExits ? "read" : "read, write",
            ]
          })
    }
    return text
  }
}
