/// Counts values (ports, addresses, MSRs) in bounded memory: exact while it has room, then space-saving: a new value
/// takes the place of the rarest of its neighbours and inherits its count as error. `total` is always exact.
///
/// Raw memory, no reference counting: it is updated once or twice per exit.
struct DetailTable {
  struct Entry {
    var key: UInt64
    var count: UInt64
    var error: UInt64
  }

  private(set) var entries: UnsafeMutablePointer<Entry>?
  private(set) var capacity = 0
  private var shift: UInt64 = 0
  private(set) var total: UInt64 = 0
  private(set) var isApproximate = false
  private static let window = 8

  @inline(__always)
  private func home(_ key: UInt64) -> Int {
    Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) &>> shift)
  }

  @inline(__always)
  mutating func add(_ key: UInt64, limit: Int) {
    total &+= 1
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
          entry.pointee = Entry(key: key, count: 1, error: 0)
          return
        }
        if entry.pointee.key == key {
          entry.pointee.count &+= 1
          return
        }
        if entry.pointee.count < entries[rarest].count { rarest = index }
      }
      if capacity < limit {
        resize(to: capacity * 2)
        continue
      }
      isApproximate = true
      let inherited = entries[rarest].count
      entries[rarest] = Entry(key: key, count: inherited &+ 1, error: inherited)
      return
    }
  }

  private mutating func resize(to size: Int) {
    let old = entries
    let oldCapacity = capacity
    let fresh = UnsafeMutablePointer<Entry>.allocate(capacity: size)
    fresh.initialize(repeating: Entry(key: 0, count: 0, error: 0), count: size)
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
        for step in 0..<Self.window where fresh[(home + step) & (size - 1)].count < fresh[rarest].count {
          rarest = (home + step) & (size - 1)
        }
        if old[index].count > fresh[rarest].count { fresh[rarest] = old[index] }
      }
    }
    old.deallocate()
  }

  func forEach(_ body: (Entry) -> Void) {
    guard let entries else { return }
    for index in 0..<capacity where entries[index].count != 0 { body(entries[index]) }
  }

  mutating func deallocate() {
    entries?.deallocate()
    entries = nil
    capacity = 0
  }
}
