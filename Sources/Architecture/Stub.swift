public struct ExitFacts { 
  public init(isa: UInt32, reason: UInt32, qualification: UInt64, interruptionInformation: UInt32, errorCode: UInt32) {}
}
public struct GoverningControl { public var control: ControlID }
public func governingControl(of e: ExitFacts) -> GoverningControl { GoverningControl(control: ControlID(rawValue: 0)) }
public func fixedGoverningControl(isa: UInt32, code: UInt32) -> ControlID? { code == 28 ? nil : ControlID(rawValue: 0) }
public struct ExitReason { public var name: String; public static func lookup(isa: UInt32, code: UInt32) -> ExitReason? { nil } }
