/// What a well-known I/O port of a PC belongs to, such as `COM1` for 0x3f8-0x3ff; nil for the others.
///
/// Sources: the PC/AT port map, QEMU's hw/i386 (pc.c, acpi-build.c, fw_cfg, vmport), Linux's drivers for the devices.
public func portName(_ port: UInt16) -> String? {
  switch port {
  case 0x00...0x0f: "DMA 1"
  case 0x20...0x21: "PIC 1"
  case 0x22...0x23: "chipset index"
  case 0x2e...0x2f: "super I/O"
  case 0x40...0x42: "PIT counter \(port - 0x40)"
  case 0x43: "PIT control"
  case 0x60: "keyboard data"
  case 0x61: "NMI status, speaker"
  case 0x64: "keyboard command"
  case 0x70: "RTC index"
  case 0x71: "RTC data"
  case 0x80: "POST, I/O delay"
  case 0x81...0x8f: "DMA page"
  case 0x92: "A20, fast reset"
  case 0xa0...0xa1: "PIC 2"
  case 0xb2...0xb3: "APM, SMI command"
  case 0xc0...0xdf: "DMA 2"
  case 0xe9: "debug console (Bochs)"
  case 0xed: "I/O delay"
  case 0xf0...0xff: "FPU"
  case 0x170...0x177: "IDE secondary"
  case 0x1f0...0x1f7: "IDE primary"
  case 0x220...0x22f: "Sound Blaster"
  case 0x278...0x27f: "LPT2"
  case 0x2e8...0x2ef: "COM4"
  case 0x2f8...0x2ff: "COM2"
  case 0x300...0x31f: "NE2000"
  case 0x376...0x377: "IDE secondary control"
  case 0x378...0x37f: "LPT1"
  case 0x3b0...0x3bb: "MDA"
  case 0x3c0...0x3df: "VGA"
  case 0x3e8...0x3ef: "COM3"
  case 0x3f0...0x3f5: "floppy"
  case 0x3f6: "IDE primary control"
  case 0x3f7: "floppy"
  case 0x3f8...0x3ff: "COM1"
  case 0x402: "firmware debug port (QEMU)"
  case 0x4d0...0x4d1: "ELCR"
  case 0x505: "pvpanic"
  case 0x510...0x511: "fw_cfg"
  case 0x514...0x51b: "fw_cfg DMA"
  case 0x600...0x603: "ACPI PM1 event"
  case 0x604...0x605: "ACPI PM1 control"
  case 0x608...0x60b: "ACPI PM timer"
  case 0x620...0x62f: "ACPI GPE0"
  case 0x660...0x67f: "TCO watchdog"
  case 0x700...0x73f: "SMBus"
  case 0xae00...0xae13: "ACPI PCI hotplug (QEMU)"
  case 0xafe0...0xafe3: "ACPI GPE0 (QEMU)"
  case 0xaf00...0xaf1f: "ACPI CPU hotplug (QEMU)"
  case 0xb000...0xb003: "ACPI PM1 event (PIIX)"
  case 0xb004...0xb005: "ACPI PM1 control (PIIX)"
  case 0xb008...0xb00b: "ACPI PM timer (PIIX)"
  case 0xcf9: "reset control"
  case 0xcf8...0xcfb: "PCI config address"
  case 0xcfc...0xcff: "PCI config data"
  case 0x5658...0x5659: "VMware backdoor"
  default: nil
  }
}

/// The register at an offset of the local APIC's page, such as `EOI` for 0xb0; nil for a reserved offset. The same offsets are used
/// by the exit qualification of APIC_ACCESS and APIC_WRITE. SDM volume 3, table "Local APIC Register Address Map".
public func localAPICRegisterName(offset: UInt32) -> String? {
  switch offset & 0xff0 {
  case 0x020: "ID"
  case 0x030: "version"
  case 0x080: "TPR"
  case 0x090: "APR"
  case 0x0a0: "PPR"
  case 0x0b0: "EOI"
  case 0x0c0: "RRD"
  case 0x0d0: "LDR"
  case 0x0e0: "DFR"
  case 0x0f0: "SVR"
  case 0x100...0x170: "ISR\((offset & 0xff0) / 0x10 - 0x10)"
  case 0x180...0x1f0: "TMR\((offset & 0xff0) / 0x10 - 0x18)"
  case 0x200...0x270: "IRR\((offset & 0xff0) / 0x10 - 0x20)"
  case 0x280: "ESR"
  case 0x2f0: "LVT CMCI"
  case 0x300: "ICR low"
  case 0x310: "ICR high"
  case 0x320: "LVT timer"
  case 0x330: "LVT thermal"
  case 0x340: "LVT PMI"
  case 0x350: "LVT LINT0"
  case 0x360: "LVT LINT1"
  case 0x370: "LVT error"
  case 0x380: "timer initial count"
  case 0x390: "timer current count"
  case 0x3e0: "timer divide"
  case 0x3f0: "self-IPI"
  default: nil
  }
}

/// What is at a well-known guest-physical address of a PC, such as `local APIC EOI` for 0xfee000b0; nil for the others, RAM among them.
///
/// Sources: SDM volume 3 (local APIC), Intel 82093AA (I/O APIC), IA-PC HPET 1.0a, TCG PC client (TPM), QEMU's hw/i386 (pc.c, q35, microvm),
/// Linux kvm/vmx/vmx.c (identity map and TSS pages).
public func guestPhysicalAddressName(_ address: UInt64) -> String? {
  switch address {
  case 0xa_0000...0xb_ffff: return "VGA memory"
  case 0xc_0000...0xd_ffff: return "option ROM"
  case 0xe_0000...0xf_ffff: return "BIOS"
  case 0xfeb0_0000...0xfeb0_2fff: return "virtio-mmio \((address - 0xfeb0_0000) / 512) (microvm)"
  case 0xfec0_0000...0xfec0_0fff:
    switch address & 0xff {
    case 0x00: return "I/O APIC IOREGSEL"
    case 0x10: return "I/O APIC IOWIN"
    case 0x40: return "I/O APIC EOI"
    default: return "I/O APIC"
    }
  case 0xfed0_0000...0xfed0_03ff:
    switch address & 0x3ff {
    case 0x000...0x00f: return "HPET capabilities"
    case 0x010...0x01f: return "HPET configuration"
    case 0x020...0x02f: return "HPET interrupt status"
    case 0x0f0...0x0ff: return "HPET main counter"
    case 0x100...0x3ff: return "HPET timer \(((address & 0x3ff) - 0x100) / 0x20)"
    default: return "HPET"
    }
  case 0xfed1_c000...0xfed1_ffff: return "ICH9 RCBA"
  case 0xfed4_0000...0xfed4_4fff: return "TPM"
  case 0xfed9_0000...0xfed9_0fff: return "IOMMU"
  case 0xfee0_0000...0xfee0_0fff:
    guard let register = localAPICRegisterName(offset: UInt32(truncatingIfNeeded: address & 0xfff)) else {
      return "local APIC"
    }
    return "local APIC \(register)"
  case 0xfee0_1000...0xfeef_ffff: return "MSI"
  case 0xfeff_c000...0xfeff_cfff: return "KVM identity-map page"
  case 0xfeff_d000...0xfeff_ffff: return "KVM TSS pages"
  case 0xffc0_0000...0xffff_ffff: return "firmware flash"
  default: return nil
  }
}

/// What a CPUID leaf tells; nil for a leaf that the catalogue does not know. SDM volume 2, CPUID; AMD APM volume 3, appendix E; Linux
/// uapi/asm/kvm_para.h; the Hyper-V TLFS.
public func cpuidLeafName(_ leaf: UInt32) -> String? {
  switch leaf {
  case 0x0: "vendor"
  case 0x1: "version and features"
  case 0x2: "cache descriptors"
  case 0x3: "serial number"
  case 0x4: "cache parameters"
  case 0x5: "MONITOR/MWAIT"
  case 0x6: "thermal and power"
  case 0x7: "extended features"
  case 0x9: "direct cache access"
  case 0xa: "performance monitoring"
  case 0xb: "topology"
  case 0xd: "XSAVE"
  case 0xf: "RDT monitoring"
  case 0x10: "RDT allocation"
  case 0x12: "SGX"
  case 0x14: "Processor Trace"
  case 0x15: "TSC and crystal clock"
  case 0x16: "frequency"
  case 0x17: "SoC vendor"
  case 0x18: "TLB parameters"
  case 0x19: "Key Locker"
  case 0x1a: "hybrid core"
  case 0x1b: "PCONFIG"
  case 0x1c: "last branch records"
  case 0x1d: "tile (AMX)"
  case 0x1e: "TMUL (AMX)"
  case 0x1f: "topology, version 2"
  case 0x20: "HRESET"
  case 0x21: "TDX"
  case 0x23: "performance monitoring, extended"
  case 0x24: "AVX10"
  case 0x4000_0000: "hypervisor vendor"
  case 0x4000_0001: "hypervisor interface, KVM features"
  case 0x4000_0002: "Hyper-V version"
  case 0x4000_0003: "Hyper-V features"
  case 0x4000_0004: "Hyper-V recommendations"
  case 0x4000_0005: "Hyper-V limits"
  case 0x4000_0006: "Hyper-V hardware features"
  case 0x4000_000a: "Hyper-V nested features"
  case 0x4000_0010: "TSC frequency (VMware)"
  case 0x4000_0080...0x4000_0082: "Hyper-V synthetic debugger"
  case 0x4000_0100: "hypervisor vendor, second"
  case 0x4000_0101: "KVM features, second"
  case 0x8000_0000: "highest extended leaf"
  case 0x8000_0001: "extended features"
  case 0x8000_0002...0x8000_0004: "brand string"
  case 0x8000_0005: "L1 cache and TLB"
  case 0x8000_0006: "L2 and L3 cache"
  case 0x8000_0007: "power management"
  case 0x8000_0008: "address sizes"
  case 0x8000_000a: "SVM features"
  case 0x8000_0019: "1 GiB TLB"
  case 0x8000_001a: "performance optimization"
  case 0x8000_001b: "IBS"
  case 0x8000_001c: "LWP"
  case 0x8000_001d: "cache topology"
  case 0x8000_001e: "processor topology"
  case 0x8000_001f: "memory encryption (SEV)"
  case 0x8000_0020: "QoS enforcement"
  case 0x8000_0021: "extended features 2"
  case 0x8000_0022: "performance monitoring, extended"
  case 0x8000_0023: "multi-key encryption"
  case 0x8000_0026: "extended topology"
  case 0xc000_0000...0xc000_0006: "Zhaoxin/VIA"
  default: nil
  }
}

/// The name of why KVM_RUN returned to user space, such as `KVM_EXIT_IO` for 2; nil for a number without a name. Linux uapi/linux/kvm.h,
/// `KVM_EXIT_*`.
public func userspaceExitName(_ reason: UInt32) -> String? {
  guard let index = Int(exactly: reason), index < userspaceExitNames.count else { return nil }
  return "KVM_EXIT_" + userspaceExitNames[index]
}

private let userspaceExitNames: [String] = [
  "UNKNOWN", "EXCEPTION", "IO", "HYPERCALL", "DEBUG", "HLT", "MMIO", "IRQ_WINDOW_OPEN",  // 0...7
  "SHUTDOWN", "FAIL_ENTRY", "INTR", "SET_TPR", "TPR_ACCESS", "S390_SIEIC", "S390_RESET", "DCR",  // 8...15
  "NMI", "INTERNAL_ERROR", "OSI", "PAPR_HCALL", "S390_UCONTROL", "WATCHDOG", "S390_TSCH", "EPR",  // 16...23
  "SYSTEM_EVENT", "S390_STSI", "IOAPIC_EOI", "HYPERV", "ARM_NISV", "X86_RDMSR", "X86_WRMSR",  // 24...30
  "DIRTY_RING_FULL", "AP_RESET_HOLD", "X86_BUS_LOCK", "XEN", "RISCV_SBI", "RISCV_CSR", "NOTIFY",  // 31...37
  "LOONGARCH_IOCSR", "MEMORY_FAULT", "TDX", "ARM_SEA",  // 38...41
]
