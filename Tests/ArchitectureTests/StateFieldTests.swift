import Architecture
import Testing

@Suite("What KVM keeps beside the VMCS")
struct StateFieldTests {
  @Test("has one name for each thing, none of them a field of the VMCS")
  func names() {
    let names = StateField.softwareState.map(\.name)
    #expect(Set(names).count == names.count)
    #expect(Set(names).isDisjoint(with: VMCSField.rows.map(\.name)))
    #expect(names.count == 15 + 7 + 10 + 4 + 16 + 8)
  }

  @Test("is of the kind kvm, in a group, without a place, and described")
  func rows() {
    for field in StateField.softwareState {
      #expect(
        field.kind == .kvm && field.place == nil && field.group != .other && !field.description.isEmpty, "\(field.name)"
      )
      #expect([8, 16, 32, 64].contains(field.width))
      #expect(StateField.softwareState(field.name) == field)
    }
    #expect(!StateField.softwareState.contains { $0.name == "RSP" })
    #expect(StateField.softwareState("RSP")?.kind == .kvm)
  }
}
