import Aggregator

/// Every figure of a snapshot as text, scopes where they belong. Details of which some gave way are told by their totals
/// only: which of the rare ones are listed depends on the order in which they came.
public func figures(_ snapshot: Snapshot) -> String {
  func scope(_ index: Int) -> ScopeStatistics {
    var scope = snapshot.scopes[index]
    scope.history = []
    for reason in scope.reasons.indices {
      for detail in scope.reasons[reason].details.indices
      where scope.reasons[reason].details[detail].isApproximate
        || scope.reasons[reason].details[detail].kind == .rip
      {
        scope.reasons[reason].details[detail].entries = []
        scope.reasons[reason].details[detail].isApproximate = true
      }
    }
    return scope
  }
  var text = ""
  var rest = snapshot
  rest.sequence = 0
  rest.sinceMark = nil
  rest.scopes = []
  rest.vms = []
  dump(rest, to: &text)
  dump(scope(0), to: &text)
  for var vm in snapshot.vms {
    let (vcpus, own) = (vm.vcpus, vm.scope)
    vm.vcpus = []
    vm.scope = 0
    dump(vm, to: &text)
    dump(scope(own), to: &text)
    for var vcpu in vcpus {
      let own = vcpu.scope
      vcpu.scope = 0
      dump(vcpu, to: &text)
      dump(scope(own), to: &text)
    }
  }
  return text
}

/// The first lines in which two texts differ.
public func difference(_ a: String, _ b: String) -> String {
  let (a, b) = (a.split(separator: "\n"), b.split(separator: "\n"))
  for (index, pair) in zip(a, b).enumerated() where pair.0 != pair.1 {
    return a[max(0, index - 8)..<index].joined(separator: "\n") + "\n- \(pair.0)\n+ \(pair.1)"
  }
  return a.count == b.count ? "" : "\(a.count) and \(b.count) lines"
}
