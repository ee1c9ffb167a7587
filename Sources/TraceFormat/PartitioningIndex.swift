extension Collection where Index == Int {
  /// The first index whose element meets a condition that all later ones meet too, by halving; the end where none does.
  public func partitioningIndex(where isMet: (Element) -> Bool) -> Int {
    var (low, high) = (startIndex, endIndex)
    while low < high {
      let middle = low + (high - low) / 2
      if isMet(self[middle]) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}
