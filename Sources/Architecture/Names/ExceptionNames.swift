/// The mnemonic of an exception vector, such as `#PF`; nil for a vector without one. SDM volume 3, table "Protected-Mode Exceptions
/// and Interrupts"; AMD APM volume 2 for #HV, #VC and #SX.
public func exceptionName(_ vector: UInt8) -> String? {
  switch vector {
  case 0: "#DE"
  case 1: "#DB"
  case 2: "NMI"
  case 3: "#BP"
  case 4: "#OF"
  case 5: "#BR"
  case 6: "#UD"
  case 7: "#NM"
  case 8: "#DF"
  case 10: "#TS"
  case 11: "#NP"
  case 12: "#SS"
  case 13: "#GP"
  case 14: "#PF"
  case 16: "#MF"
  case 17: "#AC"
  case 18: "#MC"
  case 19: "#XM"
  case 20: "#VE"
  case 21: "#CP"
  case 28: "#HV"
  case 29: "#VC"
  case 30: "#SX"
  default: nil
  }
}

/// What an exception vector stands for, such as `page fault`. Same sources.
public func exceptionTitle(_ vector: UInt8) -> String? {
  switch vector {
  case 0: "divide error"
  case 1: "debug exception"
  case 2: "non-maskable interrupt"
  case 3: "breakpoint"
  case 4: "overflow"
  case 5: "BOUND range exceeded"
  case 6: "invalid opcode"
  case 7: "device not available"
  case 8: "double fault"
  case 9: "coprocessor segment overrun"
  case 10: "invalid TSS"
  case 11: "segment not present"
  case 12: "stack-segment fault"
  case 13: "general protection"
  case 14: "page fault"
  case 16: "x87 floating-point error"
  case 17: "alignment check"
  case 18: "machine check"
  case 19: "SIMD floating-point exception"
  case 20: "virtualization exception"
  case 21: "control-protection exception"
  case 28: "hypervisor injection exception"
  case 29: "VMM communication exception"
  case 30: "security exception"
  default: nil
  }
}
