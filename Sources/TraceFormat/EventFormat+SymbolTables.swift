// The kernel writes the names of an event's values into its print format, as the arguments of __print_symbolic() and
// __print_flags() (include/trace/stages/stage3_trace_output.h). Only those tables are read here, and the `?:` around
// them; the rest of the expression is never evaluated.

/// The names of one expression's values, from `__print_symbolic` or `__print_flags` in a print format.
public struct SymbolTable: Sendable, Hashable {
  public enum Kind: Sendable, Hashable {
    /// The first entry equal to the whole value names it.
    case symbolic
    /// Every entry whose bits are all set names a part of the value.
    case flags
  }

  public struct Entry: Sendable, Hashable {
    /// The value's bits, sign-extended: -1 is `UInt64.max`.
    public var value: UInt64
    public var name: String

    public init(value: UInt64, name: String) {
      self.value = value
      self.name = name
    }
  }

  /// One `CONDITION ? A : B` around the table.
  public struct Condition: Sendable, Hashable {
    public var expression: String
    /// Whether the table belongs to the branch taken when the condition holds.
    public var holds: Bool

    public init(expression: String, holds: Bool) {
      self.expression = expression
      self.holds = holds
    }
  }

  public var kind: Kind
  /// What the names are for, such as `REC->exit_reason & 0xffff`.
  public var expression: String
  /// What must hold for the kernel to use this table, outermost first.
  public var conditions: [Condition]
  /// In the order of the print format. Values that are not constants are left out.
  public var entries: [Entry]

  public init(kind: Kind, expression: String, conditions: [Condition] = [], entries: [Entry]) {
    self.kind = kind
    self.expression = expression
    self.conditions = conditions
    self.entries = entries
  }
}

extension EventFormat {
  /// Every table of names in the print format, in its order. What cannot be understood is left out.
  public var symbolTables: [SymbolTable] {
    var scanner = PrintFormatScanner(tokens: PrintFormatToken.tokens(of: printFormat))
    return scanner.scan()
  }

  /// The names that the traced kernel itself gives to the exit reasons of an instruction set architecture (the
  /// `isa` field: `KVM_ISA_VMX` 1, `KVM_ISA_SVM` 2), for exits that the catalogue does not know.
  ///
  /// The keys are what the kernel looks up: for VMX the low 16 bits of `exit_reason`. A print format with a single
  /// table (another architecture's backend) answers it for every `isa`. Empty where the format has none.
  public func exitReasonNames(isa: UInt32) -> [UInt32: String] {
    let symbolic = symbolTables.filter { $0.kind == .symbolic && !$0.entries.isEmpty }
    var tables = symbolic.filter { table in
      PrintFormatToken.tokens(of: table.expression).contains(.identifier("exit_reason"))
    }
    if tables.isEmpty { tables = Array(symbolic.prefix(1)) }
    if tables.count > 1 {
      tables.removeAll { table in
        table.conditions.contains { condition in
          let tokens = PrintFormatToken.tokens(of: condition.expression)
          var evaluator = ConstantEvaluator(tokens: tokens[...], isa: isa)
          guard let value = evaluator.evaluateAll() else { return false }
          return (value != 0) != condition.holds
        }
      }
    }
    var names: [UInt32: String] = [:]
    for table in tables {
      for entry in table.entries where names[UInt32(truncatingIfNeeded: entry.value)] == nil {
        names[UInt32(truncatingIfNeeded: entry.value)] = entry.name
      }
    }
    return names
  }
}

enum PrintFormatToken: Equatable {
  case number(UInt64, spelling: String)
  case identifier(String)
  case string(String)
  case symbol(String)

  /// Splits C source text. Bytes that start no token are dropped.
  static func tokens(of text: String) -> [PrintFormatToken] {
    let bytes = Array(text.utf8)
    var tokens: [PrintFormatToken] = []
    var index = 0
    while index < bytes.count {
      let byte = bytes[index]
      if byte == UInt8(ascii: "\"") {
        index += 1
        var content: [UInt8] = []
        while index < bytes.count, bytes[index] != UInt8(ascii: "\"") {
          if bytes[index] == UInt8(ascii: "\\"), index + 1 < bytes.count {
            index += 1
            switch bytes[index] {
            case UInt8(ascii: "n"): content.append(0x0a)
            case UInt8(ascii: "t"): content.append(0x09)
            default: content.append(bytes[index])
            }
          } else {
            content.append(bytes[index])
          }
          index += 1
        }
        guard index < bytes.count else { break }
        index += 1
        let string = String(decoding: content, as: UTF8.self)
        // Neighbouring literals are one string, as in C.
        if case .string(let before)? = tokens.last {
          tokens[tokens.count - 1] = .string(before + string)
        } else {
          tokens.append(.string(string))
        }
      } else if byte.isIdentifier {
        let start = index
        while index < bytes.count, bytes[index].isIdentifier { index += 1 }
        let word = String(decoding: bytes[start..<index], as: UTF8.self)
        tokens.append(
          byte.isDigit ? number(word).map { .number($0, spelling: word) } ?? .identifier(word) : .identifier(word))
      } else {
        index += 1
        guard !byte.isBlank else { continue }
        if index < bytes.count {
          let pair = String(decoding: [byte, bytes[index]], as: UTF8.self)
          if ["->", "<<", ">>", "==", "!=", "<=", ">=", "&&", "||"].contains(pair) {
            tokens.append(.symbol(pair))
            index += 1
            continue
          }
        }
        if byte < 0x80 { tokens.append(.symbol(String(decoding: [byte], as: UTF8.self))) }
      }
    }
    return tokens
  }

  /// A C integer literal: decimal, 0x, 0b or octal, with U and L suffixes.
  private static func number(_ word: String) -> UInt64? {
    var digits = Substring(word)
    while let last = digits.last, "uUlL".contains(last) { digits = digits.dropLast() }
    let lower = digits.lowercased()
    if lower.hasPrefix("0x") { return UInt64(lower.dropFirst(2), radix: 16) }
    if lower.hasPrefix("0b") { return UInt64(lower.dropFirst(2), radix: 2) }
    if lower.count > 1, lower.hasPrefix("0") { return UInt64(lower, radix: 8) }
    return UInt64(lower)
  }

  /// Source text again, spaced as the kernel's sources are: `REC->exit_reason & 0xffff` keeps its spaces.
  static func text(of tokens: ArraySlice<PrintFormatToken>) -> String {
    var text = ""
    var glued = true
    for token in tokens {
      let word: String
      var gluesBefore = false
      var gluesAfter = false
      switch token {
      case .number(_, let spelling): word = spelling
      case .identifier(let name): word = name
      case .string(let string): word = "\"" + string + "\""
      case .symbol(let symbol):
        word = symbol
        gluesBefore = [")", "]", "->", ".", ",", "["].contains(symbol)
        gluesAfter = ["(", "[", "->", ".", "~", "!"].contains(symbol)
      }
      if !glued && !gluesBefore { text += " " }
      text += word
      glued = gluesAfter
    }
    return text
  }
}

/// Walks a print format and collects its tables, knowing which `?:` branches it is in.
private struct PrintFormatScanner {
  var tokens: [PrintFormatToken]
  var index = 0
  /// Only what a hostile text could nest would need more.
  static let deepest = 64

  init(tokens: [PrintFormatToken]) { self.tokens = tokens }

  private struct Frame {
    /// Where the current operand starts.
    var start: Int
    var conditions: [SymbolTable.Condition] = []
  }

  mutating func scan() -> [SymbolTable] {
    var tables: [SymbolTable] = []
    var frames = [Frame(start: 0)]
    while index < tokens.count {
      let token = tokens[index]
      let top = frames.count - 1
      switch token {
      case .identifier(let name) where name.hasPrefix("__print_symbolic") || name.hasPrefix("__print_flags"):
        index += 1
        let kind: SymbolTable.Kind = name.hasPrefix("__print_flags") ? .flags : .symbolic
        if let (expression, entries) = table(kind: kind) {
          tables.append(
            SymbolTable(
              kind: kind, expression: expression, conditions: frames.flatMap(\.conditions), entries: entries))
        }
        continue
      case .symbol("("):
        guard frames.count < Self.deepest else { return tables }
        frames.append(Frame(start: index + 1))
      case .symbol(")"):
        if frames.count > 1 { frames.removeLast() }
      case .symbol(","):
        frames[top] = Frame(start: index + 1)
      case .symbol("?"):
        guard frames[top].conditions.count < Self.deepest else { return tables }
        let text = PrintFormatToken.text(of: tokens[frames[top].start..<index])
        frames[top].conditions.append(SymbolTable.Condition(expression: text, holds: true))
        frames[top].start = index + 1
      case .symbol(":"):
        // The branch of an inner `?:` that is complete ends with the outer one's colon.
        while let last = frames[top].conditions.last, !last.holds { frames[top].conditions.removeLast() }
        if !frames[top].conditions.isEmpty {
          frames[top].conditions[frames[top].conditions.count - 1].holds = false
        }
        frames[top].start = index + 1
      default: break
      }
      index += 1
    }
    return tables
  }

  /// Reads `(EXPRESSION, [DELIMITER,] { VALUE, "NAME" }, ...)`; `index` is after the function's name, and left after
  /// the closing parenthesis.
  private mutating func table(kind: SymbolTable.Kind) -> (String, [SymbolTable.Entry])? {
    guard index < tokens.count, tokens[index] == .symbol("(") else { return nil }
    index += 1
    let start = index
    guard skipOperand(), tokens[index] == .symbol(",") else { return nil }
    let expression = PrintFormatToken.text(of: tokens[start..<index])
    if kind == .flags {
      index += 1
      guard skipOperand() else { return nil }
    }
    var entries: [SymbolTable.Entry] = []
    while index < tokens.count, tokens[index] != .symbol(")") {
      guard tokens[index] == .symbol("{") else {
        index += 1
        continue
      }
      index += 1
      let valueStart = index
      guard skipOperand() else { break }
      let value = tokens[valueStart..<index]
      if tokens[index] == .symbol(","), index + 1 < tokens.count, case .string(let name) = tokens[index + 1] {
        var evaluator = ConstantEvaluator(tokens: value)
        if let value = evaluator.evaluateAll() {
          entries.append(SymbolTable.Entry(value: UInt64(bitPattern: value), name: name))
        }
      }
      while index < tokens.count, tokens[index] != .symbol("}"), tokens[index] != .symbol(")") { index += 1 }
      if index < tokens.count, tokens[index] == .symbol("}") { index += 1 }
    }
    index += 1
    return (expression, entries)
  }

  /// Moves to the comma or closing bracket that ends the operand at `index`; false where the text ends first.
  private mutating func skipOperand() -> Bool {
    var depth = 0
    while index < tokens.count {
      if case .symbol(let symbol) = tokens[index] {
        switch symbol {
        case "(", "[", "{": depth += 1
        case ")", "]", "}":
          if depth == 0 { return true }
          depth -= 1
        case "," where depth == 0: return true
        default: break
        }
      }
      index += 1
    }
    return false
  }
}

/// Evaluates a C constant expression, or one over `REC->isa`; nil for anything else. Arithmetic wraps at 64 bits.
private struct ConstantEvaluator {
  var tokens: ArraySlice<PrintFormatToken>
  /// The value of `REC->isa`, where known.
  var isa: UInt32?
  private var depth = 0

  init(tokens: ArraySlice<PrintFormatToken>, isa: UInt32? = nil) {
    self.tokens = tokens
    self.isa = isa
  }

  mutating func evaluateAll() -> Int64? {
    guard let value = binary(0), tokens.isEmpty else { return nil }
    return value
  }

  private static let levels: [[String]] = [
    ["||"], ["&&"], ["|"], ["^"], ["&"], ["==", "!="], ["<", ">", "<=", ">="], ["<<", ">>"], ["+", "-"],
    ["*", "/", "%"],
  ]

  private mutating func binary(_ level: Int) -> Int64? {
    guard level < Self.levels.count else { return unary() }
    guard var left = binary(level + 1) else { return nil }
    while case .symbol(let symbol)? = tokens.first, Self.levels[level].contains(symbol) {
      tokens.removeFirst()
      guard let right = binary(level + 1) else { return nil }
      switch symbol {
      case "||": left = left != 0 || right != 0 ? 1 : 0
      case "&&": left = left != 0 && right != 0 ? 1 : 0
      case "|": left |= right
      case "^": left ^= right
      case "&": left &= right
      case "==": left = left == right ? 1 : 0
      case "!=": left = left != right ? 1 : 0
      case "<": left = left < right ? 1 : 0
      case ">": left = left > right ? 1 : 0
      case "<=": left = left <= right ? 1 : 0
      case ">=": left = left >= right ? 1 : 0
      case "<<": left = right < 0 || right > 63 ? 0 : left << right
      case ">>": left = right < 0 || right > 63 ? 0 : left >> right
      case "+": left = left &+ right
      case "-": left = left &- right
      case "*": left = left &* right
      case "/", "%":
        guard right != 0, right != -1 else { return nil }
        left = symbol == "/" ? left / right : left % right
      default: return nil
      }
    }
    return left
  }

  private mutating func unary() -> Int64? {
    depth += 1
    defer { depth -= 1 }
    guard depth < 64, let token = tokens.popFirst() else { return nil }
    switch token {
    case .number(let value, _): return Int64(bitPattern: value)
    case .symbol("-"): return unary().map { 0 &- $0 }
    case .symbol("+"): return unary()
    case .symbol("~"): return unary().map { ~$0 }
    case .symbol("!"): return unary().map { $0 == 0 ? 1 : 0 }
    case .symbol("("):
      if isCast {
        while let token = tokens.popFirst(), token != .symbol(")") {}
        return unary()
      }
      guard let value = binary(0), tokens.popFirst() == .symbol(")") else { return nil }
      return value
    case .identifier("REC"):
      guard let isa, tokens.popFirst() == .symbol("->"), tokens.popFirst() == .identifier("isa") else { return nil }
      return Int64(isa)
    default: return nil
    }
  }

  /// Whether `TYPE)` follows, as in `(unsigned long)1`.
  private var isCast: Bool {
    for (position, token) in tokens.enumerated() {
      switch token {
      case .identifier("REC"): return false
      case .identifier: continue
      case .symbol(")"): return position > 0
      default: return false
      }
    }
    return false
  }
}
