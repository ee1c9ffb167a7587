/// Counts values (ports, addresses, MSRs) in bounded memory: exact while it has room, then space-saving: a new value
/// takes the place of the rarest of its neighbours, and its error is the most that any value had that gave way. `total`
/// is always exact, and so is this: a value occurred at least `count` times and at most `count + error` times.
///
/// Raw memory, no reference counting: it is updated once or twice per exit.
struct DetailTable {
  struct Entry: Summand, Hashable {
    var key: UInt64
    var count: UInt64
    var error: UInt64

    static var none: Entry { Entry(key: 0, count: 0, error: 0) }

    /// The most it can have been.
    @inline(__always) var most: UInt64 { count &+ error }

    mutating func merge(_ other: Entry) {
      count &+= other.count
      error &+= other.error
    }
  }

  private var entries: UnsafeMutablePointer<Entry>?
  private var capacity = 0
  private var shift: UInt64 = 0
  /// Counts of the values that had to give way.
  private var evicted: UInt64 = 0
  private var isApproximate = false
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

  /// Its counts as a value.
  var sum: DetailSum {
    var sum = DetailSum(evicted: evicted, mostEvicted: mostEvicted, isApproximate: isApproximate)
    sum.entries = UnsafeBufferPointer(start: entries, count: capacity).filter { $0.count != 0 }
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
  private var entries: UnsafeMutablePointer<DetailTable.Entry>?
  static let pairs = 64
  /// Values that it has room for.
  static var capacity: Int { 2 * pairs }
  /// Entries of 24 bytes at a distance of 32 put each pair into a line of its own.
  private static let stride = 32

  @inline(__always)
  mutating func add(_ key: UInt64) {
    guard let entries else { return begin(key) }
    let pair = Self.pair(of: key)
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

  /// The pair that a value goes into.
  @inline(__always)
  static func pair(of key: UInt64) -> Int { Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) &>> 58) }

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

  /// Takes the counts out.
  ///
  /// - Parameter total: how many values were added.
  mutating func take(total: UInt64) -> DetailSum {
    guard entries != nil else { return DetailSum() }
    var sum = DetailSum()
    var used = 0
    for index in 0..<Self.pairs * 2 where self[index].count != 0 { used += 1 }
    sum.entries.reserveCapacity(used)
    var left = total
    for pair in 0..<Self.pairs {
      let (first, second) = (self[2 * pair], self[2 * pair + 1])
      if first.count == 0, second.count == 0 { continue }
      if first.count != 0 { sum.entries.append(first) }
      if second.count != 0 { sum.entries.append(second) }
      left = left &- first.count &- second.count
      if first.error | second.error != 0 {
        // A value of the pair that is not here can have been no more frequent than either that is.
        sum.isApproximate = true
        sum.mostEvicted = max(sum.mostEvicted, min(first.most, second.most))
      }
      self[2 * pair] = .none
      self[2 * pair + 1] = .none
    }
    sum.evicted = sum.isApproximate ? left : 0
    sum.entries.sort { $0.key < $1.key }
    return sum
  }

  /// Puts in counts. Of more than two that are of one pair, the last one stays.
  mutating func fill(_ sums: [DetailTable.Entry]) {
    if entries == nil { entries = Self.allocate() }
    for entry in sums {
      let pair = Self.pair(of: entry.key)
      if self[2 * pair].count == 0 { self[2 * pair] = entry } else { self[2 * pair + 1] = entry }
    }
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
