/// Counts values (ports, addresses, MSRs) in bounded memory: exact while it has room, then space-saving: a new value
/// takes the place of the rarest of its neighbours, and its error is the most that any value had that gave way. `total`
/// is always exact, and so is this: a value occurred at least `count` times and at most `count + error` times.
///
/// Raw memory, no reference counting: it is updated once or twice per exit.
struct DetailTable {
  struct Entry: Hashable {
    var key: UInt64
    var count: UInt64
    var error: UInt64

    static var none: Entry { Entry(key: 0, count: 0, error: 0) }

    /// The most it can have been.
    @inline(__always) var most: UInt64 { count &+ error }
  }

  private(set) var entries: UnsafeMutablePointer<Entry>?
  private(set) var capacity = 0
  private var shift: UInt64 = 0
  /// Counts of the values that had to give way.
  private var evicted: UInt64 = 0
  private(set) var isApproximate = false
  /// The most that any value had that had to give way: no value that is not here occurred more often.
  private var mostEvicted: UInt64 = 0
  private static let window = 8

  @inline(__always)
  private func home(_ key: UInt64) -> Int {
    Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) &>> shift)
  }

  @inline(__always)
  mutating func add(_ key: UInt64, limit: Int) {
    if let entries {
      let first = entries + home(key)
      if first.pointee.key == key, first.pointee.count != 0 {
        first.pointee.count &+= 1
        return
      }
    }
    addSlowly(key, limit: limit)
  }

  @inline(never)
  private mutating func addSlowly(_ key: UInt64, limit: Int) {
    if entries == nil { resize(to: 16) }
    while let entries {
      let start = home(key)
      var rarest = start
      for step in 0..<Self.window {
        let index = (start &+ step) & (capacity &- 1)
        let entry = entries + index
        if entry.pointee.count == 0 {
          entry.pointee = Entry(key: key, count: 1, error: mostEvicted)
          return
        }
        if entry.pointee.key == key {
          entry.pointee.count &+= 1
          return
        }
        if entry.pointee.most < entries[rarest].most { rarest = index }
      }
      if capacity < limit {
        resize(to: capacity * 2)
        continue
      }
      isApproximate = true
      // Not only what the rarest had: a value may come back that gave way in another place of its neighbourhood.
      mostEvicted = max(mostEvicted, entries[rarest].most)
      evicted &+= entries[rarest].count
      entries[rarest] = Entry(key: key, count: 1, error: mostEvicted)
      return
    }
  }

  private mutating func resize(to size: Int) {
    let old = entries
    let oldCapacity = capacity
    let fresh = UnsafeMutablePointer<Entry>.allocate(capacity: size)
    fresh.initialize(repeating: .none, count: size)
    entries = fresh
    capacity = size
    shift = UInt64(64 - size.trailingZeroBitCount)
    guard let old else { return }
    for index in 0..<oldCapacity where old[index].count != 0 {
      var place = home(old[index].key)
      // Twice the room, so a free place is always found; add() looks eight places far, and so must this.
      var step = 0
      while fresh[place].count != 0, step < Self.window {
        place = (place + 1) & (size - 1)
        step += 1
      }
      if step < Self.window {
        fresh[place] = old[index]
      } else {
        // More than eight of a kind in one neighbourhood: the rarest gives way, and the table says so.
        isApproximate = true
        let home = self.home(old[index].key)
        var rarest = home
        for step in 0..<Self.window where fresh[(home + step) & (size - 1)].most < fresh[rarest].most {
          rarest = (home + step) & (size - 1)
        }
        let stays = old[index].most > fresh[rarest].most
        let leaving = stays ? fresh[rarest] : old[index]
        mostEvicted = max(mostEvicted, leaving.most)
        evicted &+= leaving.count
        if stays { fresh[rarest] = old[index] }
      }
    }
    old.deallocate()
  }

  /// All values ever added: exact, since each is in an entry's count or was evicted with one.
  var total: UInt64 {
    var total = evicted
    each { total &+= $0.count }
    return total
  }

  /// How much more often than its count (0 where it is not here) a value may have occurred.
  func error(of key: UInt64) -> UInt64 {
    guard isApproximate, let entries else { return 0 }
    let start = home(key)
    for step in 0..<Self.window {
      let entry = entries[(start &+ step) & (capacity &- 1)]
      if entry.key == key, entry.count != 0 { return entry.error }
    }
    return mostEvicted
  }

  func each(_ body: (Entry) -> Void) {
    guard let entries else { return }
    for index in 0..<capacity where entries[index].count != 0 { body(entries[index]) }
  }

  var isEmpty: Bool {
    guard let entries else { return true }
    return evicted == 0 && (0..<capacity).allSatisfy { entries[$0].count == 0 }
  }

  /// Its counts as a value.
  var sum: DetailSum {
    var sum = DetailSum(evicted: evicted, mostEvicted: mostEvicted, isApproximate: isApproximate)
    each { sum.entries.append($0) }
    sum.entries.sort { $0.key < $1.key }
    return sum
  }

  /// Takes the counts out.
  mutating func take() -> DetailSum {
    guard entries != nil else { return DetailSum() }
    defer { clear() }
    return sum
  }

  private mutating func clear() {
    entries?.update(repeating: .none, count: capacity)
    evicted = 0
    mostEvicted = 0
    isApproximate = false
  }

  mutating func absorb(_ other: DetailTable, limit: Int) {
    guard other.entries != nil else { return }
    absorb(other.sum, limit: limit)
  }

  /// Adds counts; every error grows by what the side that lacks the value may have forgotten of it.
  mutating func absorb(_ other: DetailSum, limit: Int) {
    var left = other.entries[...]
    if !isApproximate, !other.isApproximate {
      while let next = left.first, addExactly(next, limit: limit) { left.removeFirst() }
      if left.isEmpty { return }
    }
    var all = sum
    var rest = other
    rest.entries = Array(left)
    all.add(rest)
    clear()
    evicted = all.evicted
    mostEvicted = all.mostEvicted
    isApproximate = all.isApproximate
    // The most frequent first: they find room, and what does not is the rarest.
    for entry in all.entries.sorted(by: { ($1.most, $0.key) < ($0.most, $1.key) }) { place(entry, limit: limit) }
  }

  /// Adds to a value's count. False where there is no room for it.
  private mutating func addExactly(_ new: Entry, limit: Int) -> Bool {
    if entries == nil { resize(to: 16) }
    while let entries {
      let start = home(new.key)
      for step in 0..<Self.window {
        let entry = entries + ((start &+ step) & (capacity &- 1))
        if entry.pointee.count == 0 {
          entry.pointee = new
          return true
        }
        if entry.pointee.key == new.key {
          entry.pointee.count &+= new.count
          return true
        }
      }
      guard capacity < limit else { return false }
      resize(to: capacity * 2)
      if isApproximate { return false }
    }
    return false
  }

  /// Puts an entry where there is room for a value that is not here yet, or counts it as evicted.
  private mutating func place(_ new: Entry, limit: Int) {
    if entries == nil { resize(to: 16) }
    while let entries {
      let start = home(new.key)
      for step in 0..<Self.window where entries[(start &+ step) & (capacity &- 1)].count == 0 {
        entries[(start &+ step) & (capacity &- 1)] = new
        return
      }
      if capacity < limit {
        resize(to: capacity * 2)
        continue
      }
      isApproximate = true
      mostEvicted = max(mostEvicted, new.most)
      evicted &+= new.count
      return
    }
  }

  mutating func deallocate() {
    entries?.deallocate()
    entries = nil
    capacity = 0
  }
}

/// Finds the most frequent of very many values, such as instruction pointers, at two comparisons each: 64 pairs, one
/// cache line a pair; a value that is not in its pair takes the place of the rarer one and inherits what that one may
/// have had as its error.
struct FrequentValues {
  private(set) var entries: UnsafeMutablePointer<DetailTable.Entry>?
  private static let pairs = 64
  /// Values that it has room for.
  static var capacity: Int { 2 * pairs }
  /// Entries of 24 bytes at a distance of 32 put each pair into a line of its own.
  private static let stride = 32

  @inline(__always)
  mutating func add(_ key: UInt64) {
    guard let entries else { return begin(key) }
    let pair = Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) &>> 58)
    let first = UnsafeMutableRawPointer(entries).advanced(by: pair &* 2 &* Self.stride)
      .assumingMemoryBound(to: DetailTable.Entry.self)
    let second = UnsafeMutableRawPointer(first).advanced(by: Self.stride)
      .assumingMemoryBound(to: DetailTable.Entry.self)
    // Neither which of the two it is can be predicted, nor for many guests whether it is one of them: no branches.
    let match = second.pointee.key == key ? second : first
    let rarer = first.pointee.most < second.pointee.most ? first : second
    let isKnown = match.pointee.key == key
    let most = rarer.pointee.most
    let count = match.pointee.count &+ 1
    let error = match.pointee.error
    (isKnown ? match : rarer).pointee = DetailTable.Entry(
      key: key, count: isKnown ? count : 1, error: isKnown ? error : most)
  }

  @inline(never)
  private mutating func begin(_ key: UInt64) {
    entries = Self.allocate()
    add(key)
  }

  private static func allocate() -> UnsafeMutablePointer<DetailTable.Entry> {
    let bytes = pairs * 2 * stride
    let memory = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64)
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
    return memory.assumingMemoryBound(to: DetailTable.Entry.self)
  }

  /// A value gave way to another: that one's error says so, whatever came after it.
  var isApproximate: Bool {
    var result = false
    each { if $0.error != 0 { result = true } }
    return result
  }

  /// How much more often than its count (0 where it is not here) a value may have occurred.
  func error(of key: UInt64) -> UInt64 {
    guard entries != nil else { return 0 }
    let pair = Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) &>> 58)
    let (first, second) = (self[2 * pair], self[2 * pair + 1])
    if first.key == key { return first.error }
    if second.key == key { return second.error }
    // Where nothing gave way, what is not here never came.
    return first.error | second.error == 0 ? 0 : min(first.most, second.most)
  }

  func each(_ body: (DetailTable.Entry) -> Void) {
    guard entries != nil else { return }
    for index in 0..<Self.pairs * 2 where self[index].count != 0 { body(self[index]) }
  }

  var isEmpty: Bool {
    guard entries != nil else { return true }
    return (0..<Self.pairs * 2).allSatisfy { self[$0].count == 0 }
  }

  /// Takes the counts out, in order of the values.
  mutating func take() -> [DetailTable.Entry] {
    guard entries != nil else { return [] }
    var sums: [DetailTable.Entry] = []
    for index in 0..<Self.pairs * 2 where self[index].count != 0 {
      sums.append(self[index])
      self[index] = .none
    }
    return sums.sorted { $0.key < $1.key }
  }

  /// Adds what `take` gave. Entries that it cannot have given lose those after the first two of a pair.
  mutating func absorb(_ sums: [DetailTable.Entry]) {
    guard !sums.isEmpty else { return }
    if entries == nil {
      entries = Self.allocate()
      return fill(sums)
    }
    var other = FrequentValues()
    other.entries = Self.allocate()
    defer { other.deallocate() }
    other.fill(sums)
    absorb(other)
  }

  private func fill(_ sums: [DetailTable.Entry]) {
    for entry in sums {
      let pair = Int(truncatingIfNeeded: (entry.key &* 0x9E37_79B9_7F4A_7C15) &>> 58)
      if self[2 * pair].count == 0 { self[2 * pair] = entry } else { self[2 * pair + 1] = entry }
    }
  }

  /// Adds another's counts. Of the up to four values of a pair of pairs the two most frequent stay: a value that is
  /// not here can have been no more frequent than they, as without merging.
  mutating func absorb(_ other: FrequentValues) {
    guard other.entries != nil else { return }
    guard entries != nil else {
      entries = Self.allocate()
      for index in 0..<Self.pairs * 2 { self[index] = other[index] }
      return
    }
    for pair in 0..<Self.pairs where other[2 * pair].count | other[2 * pair + 1].count != 0 {
      if addExactly(other[2 * pair], other[2 * pair + 1], to: pair) { continue }
      var sums: [DetailTable.Entry] = []
      for index in [2 * pair, 2 * pair + 1] where self[index].count != 0 {
        var entry = self[index]
        entry.error &+= other.error(of: entry.key)
        entry.count &+= other.count(of: entry.key)
        sums.append(entry)
      }
      for index in [2 * pair, 2 * pair + 1] where other[index].count != 0 {
        var entry = other[index]
        if sums.contains(where: { $0.key == entry.key }) { continue }
        entry.error &+= error(of: entry.key)
        sums.append(entry)
      }
      sums.sort { ($1.most, $0.key) < ($0.most, $1.key) }
      // The errors say that something gave way, where nothing did before.
      if sums.count > 2, sums[0].error | sums[1].error == 0 { sums[1].error = 1 }
      self[2 * pair] = sums.first ?? .none
      self[2 * pair + 1] = sums.count > 1 ? sums[1] : .none
    }
  }

  /// Adds to a pair to which nothing is new, or has room. False where there is none, or something gave way before.
  private func addExactly(_ first: DetailTable.Entry, _ second: DetailTable.Entry, to pair: Int) -> Bool {
    var (own, other) = (self[2 * pair], self[2 * pair + 1])
    guard own.error | other.error | first.error | second.error == 0 else { return false }
    for entry in [first, second] where entry.count != 0 {
      if own.key == entry.key, own.count != 0 {
        own.count &+= entry.count
      } else if other.key == entry.key, other.count != 0 {
        other.count &+= entry.count
      } else if own.count == 0 {
        own = entry
      } else if other.count == 0 {
        other = entry
      } else {
        return false
      }
    }
    self[2 * pair] = own
    self[2 * pair + 1] = other
    return true
  }

  private func count(of key: UInt64) -> UInt64 {
    let pair = Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) &>> 58)
    for index in [2 * pair, 2 * pair + 1] where self[index].key == key { return self[index].count }
    return 0
  }

  /// Empty as long as nothing was added.
  private subscript(index: Int) -> DetailTable.Entry {
    get {
      guard let entries else { return .none }
      return UnsafeRawPointer(entries).load(fromByteOffset: index * Self.stride, as: DetailTable.Entry.self)
    }
    nonmutating set {
      guard let entries else { return }
      UnsafeMutableRawPointer(entries).storeBytes(
        of: newValue, toByteOffset: index * Self.stride, as: DetailTable.Entry.self)
    }
  }

  mutating func deallocate() {
    UnsafeMutableRawPointer(entries)?.deallocate()
    entries = nil
  }
}
