import Glibc

/// Random numbers that a seed repeats (SplitMix64).
public struct Dice: RandomNumberGenerator, Sendable {
  private var state: UInt64

  /// The same numbers in every run.
  public init(seed: UInt64) { state = seed }

  /// Other numbers in every run: see `seed(of:)`.
  public init(of test: String = #function) { self.init(seed: Dice.seed(of: test)) }

  /// A seed of its own for every run, which is printed; VMCTOP_TEST_SEED gives it back.
  public static func seed(of test: String) -> UInt64 {
    let given = getenv("VMCTOP_TEST_SEED").flatMap { UInt64(String(cString: $0)) }
    let seed = given ?? UInt64.random(in: 1...UInt64.max)
    print("\(test): VMCTOP_TEST_SEED=\(seed) repeats it")
    return seed
  }

  public mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
