// swift-format-ignore-file
// One control per line, so that they can be compared, sorted and searched.

/// The bits of the VMX control words by name: Linux's, or the manual's where Linux has none. The rows of `ControlBit` are made of these,
/// so that word and bit of a control are written here and nowhere else.
extension ControlID {
  /// PIN_BASED_EXT_INTR_MASK.
  public static var pinBasedExtIntrMask: ControlID { ControlID(.pin, 0) }
  /// PIN_BASED_NMI_EXITING.
  public static var pinBasedNMIExiting: ControlID { ControlID(.pin, 3) }
  /// PIN_BASED_VIRTUAL_NMIS.
  public static var pinBasedVirtualNMIs: ControlID { ControlID(.pin, 5) }
  /// PIN_BASED_VMX_PREEMPTION_TIMER.
  public static var pinBasedVMXPreemptionTimer: ControlID { ControlID(.pin, 6) }
  /// PIN_BASED_POSTED_INTR.
  public static var pinBasedPostedIntr: ControlID { ControlID(.pin, 7) }

  /// CPU_BASED_INTR_WINDOW_EXITING.
  public static var cpuBasedIntrWindowExiting: ControlID { ControlID(.primary, 2) }
  /// CPU_BASED_USE_TSC_OFFSETTING.
  public static var cpuBasedUseTSCOffsetting: ControlID { ControlID(.primary, 3) }
  /// CPU_BASED_HLT_EXITING.
  public static var cpuBasedHLTExiting: ControlID { ControlID(.primary, 7) }
  /// CPU_BASED_INVLPG_EXITING.
  public static var cpuBasedINVLPGExiting: ControlID { ControlID(.primary, 9) }
  /// CPU_BASED_MWAIT_EXITING.
  public static var cpuBasedMWAITExiting: ControlID { ControlID(.primary, 10) }
  /// CPU_BASED_RDPMC_EXITING.
  public static var cpuBasedRDPMCExiting: ControlID { ControlID(.primary, 11) }
  /// CPU_BASED_RDTSC_EXITING.
  public static var cpuBasedRDTSCExiting: ControlID { ControlID(.primary, 12) }
  /// CPU_BASED_CR3_LOAD_EXITING.
  public static var cpuBasedCR3LoadExiting: ControlID { ControlID(.primary, 15) }
  /// CPU_BASED_CR3_STORE_EXITING.
  public static var cpuBasedCR3StoreExiting: ControlID { ControlID(.primary, 16) }
  /// CPU_BASED_ACTIVATE_TERTIARY_CONTROLS.
  public static var cpuBasedActivateTertiaryControls: ControlID { ControlID(.primary, 17) }
  /// CPU_BASED_CR8_LOAD_EXITING.
  public static var cpuBasedCR8LoadExiting: ControlID { ControlID(.primary, 19) }
  /// CPU_BASED_CR8_STORE_EXITING.
  public static var cpuBasedCR8StoreExiting: ControlID { ControlID(.primary, 20) }
  /// CPU_BASED_TPR_SHADOW.
  public static var cpuBasedTPRShadow: ControlID { ControlID(.primary, 21) }
  /// CPU_BASED_NMI_WINDOW_EXITING.
  public static var cpuBasedNMIWindowExiting: ControlID { ControlID(.primary, 22) }
  /// CPU_BASED_MOV_DR_EXITING.
  public static var cpuBasedMovDRExiting: ControlID { ControlID(.primary, 23) }
  /// CPU_BASED_UNCOND_IO_EXITING.
  public static var cpuBasedUncondIOExiting: ControlID { ControlID(.primary, 24) }
  /// CPU_BASED_USE_IO_BITMAPS.
  public static var cpuBasedUseIOBitmaps: ControlID { ControlID(.primary, 25) }
  /// CPU_BASED_MONITOR_TRAP_FLAG.
  public static var cpuBasedMonitorTrapFlag: ControlID { ControlID(.primary, 27) }
  /// CPU_BASED_USE_MSR_BITMAPS.
  public static var cpuBasedUseMSRBitmaps: ControlID { ControlID(.primary, 28) }
  /// CPU_BASED_MONITOR_EXITING.
  public static var cpuBasedMonitorExiting: ControlID { ControlID(.primary, 29) }
  /// CPU_BASED_PAUSE_EXITING.
  public static var cpuBasedPauseExiting: ControlID { ControlID(.primary, 30) }
  /// CPU_BASED_ACTIVATE_SECONDARY_CONTROLS.
  public static var cpuBasedActivateSecondaryControls: ControlID { ControlID(.primary, 31) }

  /// SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES.
  public static var secondaryExecVirtualizeAPICAccesses: ControlID { ControlID(.secondary, 0) }
  /// SECONDARY_EXEC_ENABLE_EPT.
  public static var secondaryExecEnableEPT: ControlID { ControlID(.secondary, 1) }
  /// SECONDARY_EXEC_DESC.
  public static var secondaryExecDesc: ControlID { ControlID(.secondary, 2) }
  /// SECONDARY_EXEC_ENABLE_RDTSCP.
  public static var secondaryExecEnableRDTSCP: ControlID { ControlID(.secondary, 3) }
  /// SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE.
  public static var secondaryExecVirtualizeX2APICMode: ControlID { ControlID(.secondary, 4) }
  /// SECONDARY_EXEC_ENABLE_VPID.
  public static var secondaryExecEnableVPID: ControlID { ControlID(.secondary, 5) }
  /// SECONDARY_EXEC_WBINVD_EXITING.
  public static var secondaryExecWBINVDExiting: ControlID { ControlID(.secondary, 6) }
  /// SECONDARY_EXEC_UNRESTRICTED_GUEST.
  public static var secondaryExecUnrestrictedGuest: ControlID { ControlID(.secondary, 7) }
  /// SECONDARY_EXEC_APIC_REGISTER_VIRT.
  public static var secondaryExecAPICRegisterVirt: ControlID { ControlID(.secondary, 8) }
  /// SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY.
  public static var secondaryExecVirtualIntrDelivery: ControlID { ControlID(.secondary, 9) }
  /// SECONDARY_EXEC_PAUSE_LOOP_EXITING.
  public static var secondaryExecPauseLoopExiting: ControlID { ControlID(.secondary, 10) }
  /// SECONDARY_EXEC_RDRAND_EXITING.
  public static var secondaryExecRDRANDExiting: ControlID { ControlID(.secondary, 11) }
  /// SECONDARY_EXEC_ENABLE_INVPCID.
  public static var secondaryExecEnableINVPCID: ControlID { ControlID(.secondary, 12) }
  /// SECONDARY_EXEC_ENABLE_VMFUNC.
  public static var secondaryExecEnableVMFUNC: ControlID { ControlID(.secondary, 13) }
  /// SECONDARY_EXEC_SHADOW_VMCS.
  public static var secondaryExecShadowVMCS: ControlID { ControlID(.secondary, 14) }
  /// SECONDARY_EXEC_ENCLS_EXITING.
  public static var secondaryExecENCLSExiting: ControlID { ControlID(.secondary, 15) }
  /// SECONDARY_EXEC_RDSEED_EXITING.
  public static var secondaryExecRDSEEDExiting: ControlID { ControlID(.secondary, 16) }
  /// SECONDARY_EXEC_ENABLE_PML.
  public static var secondaryExecEnablePML: ControlID { ControlID(.secondary, 17) }
  /// SECONDARY_EXEC_EPT_VIOLATION_VE.
  public static var secondaryExecEPTViolationVE: ControlID { ControlID(.secondary, 18) }
  /// SECONDARY_EXEC_PT_CONCEAL_VMX.
  public static var secondaryExecPTConcealVMX: ControlID { ControlID(.secondary, 19) }
  /// SECONDARY_EXEC_ENABLE_XSAVES.
  public static var secondaryExecEnableXSAVES: ControlID { ControlID(.secondary, 20) }
  /// PASID translation (the SDM's name).
  public static var secondaryPASIDTranslation: ControlID { ControlID(.secondary, 21) }
  /// SECONDARY_EXEC_MODE_BASED_EPT_EXEC.
  public static var secondaryExecModeBasedEPTExec: ControlID { ControlID(.secondary, 22) }
  /// Sub-page write permissions for EPT (the SDM's name).
  public static var secondarySubPageWritePermissionsForEPT: ControlID { ControlID(.secondary, 23) }
  /// SECONDARY_EXEC_PT_USE_GPA.
  public static var secondaryExecPTUseGPA: ControlID { ControlID(.secondary, 24) }
  /// SECONDARY_EXEC_TSC_SCALING.
  public static var secondaryExecTSCScaling: ControlID { ControlID(.secondary, 25) }
  /// SECONDARY_EXEC_ENABLE_USR_WAIT_PAUSE.
  public static var secondaryExecEnableUsrWaitPause: ControlID { ControlID(.secondary, 26) }
  /// Enable PCONFIG (the SDM's name).
  public static var secondaryEnablePCONFIG: ControlID { ControlID(.secondary, 27) }
  /// Enable ENCLV exiting (the SDM's name).
  public static var secondaryEnableENCLVExiting: ControlID { ControlID(.secondary, 28) }
  /// Enable EPC virtualization extensions (the SDM's name).
  public static var secondaryEnableEPCVirtualizationExtensions: ControlID { ControlID(.secondary, 29) }
  /// SECONDARY_EXEC_BUS_LOCK_DETECTION.
  public static var secondaryExecBusLockDetection: ControlID { ControlID(.secondary, 30) }
  /// SECONDARY_EXEC_NOTIFY_VM_EXITING.
  public static var secondaryExecNotifyVMExiting: ControlID { ControlID(.secondary, 31) }

  /// LOADIWKEY exiting (the SDM's name).
  public static var tertiaryLOADIWKEYExiting: ControlID { ControlID(.tertiary, 0) }
  /// Enable HLAT (the SDM's name).
  public static var tertiaryEnableHLAT: ControlID { ControlID(.tertiary, 1) }
  /// EPT paging-write control (the SDM's name).
  public static var tertiaryEPTPagingWriteControl: ControlID { ControlID(.tertiary, 2) }
  /// Guest-paging verification (the SDM's name).
  public static var tertiaryGuestPagingVerification: ControlID { ControlID(.tertiary, 3) }
  /// TERTIARY_EXEC_IPI_VIRT.
  public static var tertiaryExecIPIVirt: ControlID { ControlID(.tertiary, 4) }
  /// Guest physical-address width (GPAW) (the SDM's name).
  public static var tertiaryGuestPhysicalAddressWidthGPAW: ControlID { ControlID(.tertiary, 5) }
  /// Enable MSR-list instructions (the SDM's name).
  public static var tertiaryEnableMSRListInstructions: ControlID { ControlID(.tertiary, 6) }
  /// Virtualize IA32_SPEC_CTRL (the SDM's name).
  public static var tertiaryVirtualizeIA32SpecCtrl: ControlID { ControlID(.tertiary, 7) }
  /// APIC-timer virtualization (the SDM's name).
  public static var tertiaryAPICTimerVirtualization: ControlID { ControlID(.tertiary, 8) }
  /// Emulate AVX10.VL256 (the SDM's name).
  public static var tertiaryEmulateAVX10VL256: ControlID { ControlID(.tertiary, 13) }

  /// VM_EXIT_SAVE_DEBUG_CONTROLS.
  public static var vmExitSaveDebugControls: ControlID { ControlID(.exit, 2) }
  /// VM_EXIT_HOST_ADDR_SPACE_SIZE.
  public static var vmExitHostAddrSpaceSize: ControlID { ControlID(.exit, 9) }
  /// VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL.
  public static var vmExitLoadIA32PerfGlobalCtrl: ControlID { ControlID(.exit, 12) }
  /// VM_EXIT_ACK_INTR_ON_EXIT.
  public static var vmExitAckIntrOnExit: ControlID { ControlID(.exit, 15) }
  /// VM_EXIT_SAVE_IA32_PAT.
  public static var vmExitSaveIA32PAT: ControlID { ControlID(.exit, 18) }
  /// VM_EXIT_LOAD_IA32_PAT.
  public static var vmExitLoadIA32PAT: ControlID { ControlID(.exit, 19) }
  /// VM_EXIT_SAVE_IA32_EFER.
  public static var vmExitSaveIA32EFER: ControlID { ControlID(.exit, 20) }
  /// VM_EXIT_LOAD_IA32_EFER.
  public static var vmExitLoadIA32EFER: ControlID { ControlID(.exit, 21) }
  /// VM_EXIT_SAVE_VMX_PREEMPTION_TIMER.
  public static var vmExitSaveVMXPreemptionTimer: ControlID { ControlID(.exit, 22) }
  /// VM_EXIT_CLEAR_BNDCFGS.
  public static var vmExitClearBNDCFGS: ControlID { ControlID(.exit, 23) }
  /// VM_EXIT_PT_CONCEAL_PIP.
  public static var vmExitPTConcealPIP: ControlID { ControlID(.exit, 24) }
  /// VM_EXIT_CLEAR_IA32_RTIT_CTL.
  public static var vmExitClearIA32RTITCTL: ControlID { ControlID(.exit, 25) }
  /// Clear IA32_LBR_CTL (the SDM's name).
  public static var exitClearIA32LBRCTL: ControlID { ControlID(.exit, 26) }
  /// Clear UINV (the SDM's name).
  public static var exitClearUINV: ControlID { ControlID(.exit, 27) }
  /// VM_EXIT_LOAD_CET_STATE.
  public static var vmExitLoadCETState: ControlID { ControlID(.exit, 28) }
  /// Load PKRS (the SDM's name).
  public static var exitLoadPKRS: ControlID { ControlID(.exit, 29) }
  /// VM_EXIT_SAVE_IA32_PERF_GLOBAL_CTRL.
  public static var vmExitSaveIA32PerfGlobalCtrl: ControlID { ControlID(.exit, 30) }
  /// Activate secondary VM-exit controls (the SDM's name).
  public static var exitActivateSecondaryVMExitControls: ControlID { ControlID(.exit, 31) }

  /// Save guest FRED state (the SDM's name).
  public static var secondaryExitSaveGuestFREDState: ControlID { ControlID(.secondaryExit, 0) }
  /// Load host FRED state (the SDM's name).
  public static var secondaryExitLoadHostFREDState: ControlID { ControlID(.secondaryExit, 1) }
  /// Load host IA32_SPEC_CTRL (the SDM's name).
  public static var secondaryExitLoadHostIA32SpecCtrl: ControlID { ControlID(.secondaryExit, 2) }
  /// Prematurely busy shadow stack (the SDM's name).
  public static var secondaryExitPrematurelyBusyShadowStack: ControlID { ControlID(.secondaryExit, 3) }

  /// VM_ENTRY_LOAD_DEBUG_CONTROLS.
  public static var vmEntryLoadDebugControls: ControlID { ControlID(.entry, 2) }
  /// VM_ENTRY_IA32E_MODE.
  public static var vmEntryIA32EMode: ControlID { ControlID(.entry, 9) }
  /// VM_ENTRY_SMM.
  public static var vmEntrySMM: ControlID { ControlID(.entry, 10) }
  /// VM_ENTRY_DEACT_DUAL_MONITOR.
  public static var vmEntryDeactDualMonitor: ControlID { ControlID(.entry, 11) }
  /// VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL.
  public static var vmEntryLoadIA32PerfGlobalCtrl: ControlID { ControlID(.entry, 13) }
  /// VM_ENTRY_LOAD_IA32_PAT.
  public static var vmEntryLoadIA32PAT: ControlID { ControlID(.entry, 14) }
  /// VM_ENTRY_LOAD_IA32_EFER.
  public static var vmEntryLoadIA32EFER: ControlID { ControlID(.entry, 15) }
  /// VM_ENTRY_LOAD_BNDCFGS.
  public static var vmEntryLoadBNDCFGS: ControlID { ControlID(.entry, 16) }
  /// VM_ENTRY_PT_CONCEAL_PIP.
  public static var vmEntryPTConcealPIP: ControlID { ControlID(.entry, 17) }
  /// VM_ENTRY_LOAD_IA32_RTIT_CTL.
  public static var vmEntryLoadIA32RTITCTL: ControlID { ControlID(.entry, 18) }
  /// Load UINV (the SDM's name).
  public static var entryLoadUINV: ControlID { ControlID(.entry, 19) }
  /// VM_ENTRY_LOAD_CET_STATE.
  public static var vmEntryLoadCETState: ControlID { ControlID(.entry, 20) }
  /// Load guest IA32_LBR_CTL (the SDM's name).
  public static var entryLoadGuestIA32LBRCTL: ControlID { ControlID(.entry, 21) }
  /// Load PKRS (the SDM's name).
  public static var entryLoadPKRS: ControlID { ControlID(.entry, 22) }
  /// Load guest FRED state (the SDM's name).
  public static var entryLoadGuestFREDState: ControlID { ControlID(.entry, 23) }
  /// Load guest IA32_SPEC_CTRL (the SDM's name).
  public static var entryLoadGuestIA32SpecCtrl: ControlID { ControlID(.entry, 24) }
}

/// The intercept bits of the VMCB by name: Linux's. The bit of an intercept is the exit code of the same row of `ExitReason`; tests hold
/// the two to each other.
extension ControlID {
  /// INTERCEPT_CR0_READ.
  public static var interceptCR0Read: ControlID { ControlID(interceptBit: 0x000) }
  /// INTERCEPT_CR1_READ.
  public static var interceptCR1Read: ControlID { ControlID(interceptBit: 0x001) }
  /// INTERCEPT_CR2_READ.
  public static var interceptCR2Read: ControlID { ControlID(interceptBit: 0x002) }
  /// INTERCEPT_CR3_READ.
  public static var interceptCR3Read: ControlID { ControlID(interceptBit: 0x003) }
  /// INTERCEPT_CR4_READ.
  public static var interceptCR4Read: ControlID { ControlID(interceptBit: 0x004) }
  /// INTERCEPT_CR5_READ.
  public static var interceptCR5Read: ControlID { ControlID(interceptBit: 0x005) }
  /// INTERCEPT_CR6_READ.
  public static var interceptCR6Read: ControlID { ControlID(interceptBit: 0x006) }
  /// INTERCEPT_CR7_READ.
  public static var interceptCR7Read: ControlID { ControlID(interceptBit: 0x007) }
  /// INTERCEPT_CR8_READ.
  public static var interceptCR8Read: ControlID { ControlID(interceptBit: 0x008) }
  /// INTERCEPT_CR9_READ.
  public static var interceptCR9Read: ControlID { ControlID(interceptBit: 0x009) }
  /// INTERCEPT_CR10_READ.
  public static var interceptCR10Read: ControlID { ControlID(interceptBit: 0x00a) }
  /// INTERCEPT_CR11_READ.
  public static var interceptCR11Read: ControlID { ControlID(interceptBit: 0x00b) }
  /// INTERCEPT_CR12_READ.
  public static var interceptCR12Read: ControlID { ControlID(interceptBit: 0x00c) }
  /// INTERCEPT_CR13_READ.
  public static var interceptCR13Read: ControlID { ControlID(interceptBit: 0x00d) }
  /// INTERCEPT_CR14_READ.
  public static var interceptCR14Read: ControlID { ControlID(interceptBit: 0x00e) }
  /// INTERCEPT_CR15_READ.
  public static var interceptCR15Read: ControlID { ControlID(interceptBit: 0x00f) }
  /// INTERCEPT_CR0_WRITE.
  public static var interceptCR0Write: ControlID { ControlID(interceptBit: 0x010) }
  /// INTERCEPT_CR1_WRITE.
  public static var interceptCR1Write: ControlID { ControlID(interceptBit: 0x011) }
  /// INTERCEPT_CR2_WRITE.
  public static var interceptCR2Write: ControlID { ControlID(interceptBit: 0x012) }
  /// INTERCEPT_CR3_WRITE.
  public static var interceptCR3Write: ControlID { ControlID(interceptBit: 0x013) }
  /// INTERCEPT_CR4_WRITE.
  public static var interceptCR4Write: ControlID { ControlID(interceptBit: 0x014) }
  /// INTERCEPT_CR5_WRITE.
  public static var interceptCR5Write: ControlID { ControlID(interceptBit: 0x015) }
  /// INTERCEPT_CR6_WRITE.
  public static var interceptCR6Write: ControlID { ControlID(interceptBit: 0x016) }
  /// INTERCEPT_CR7_WRITE.
  public static var interceptCR7Write: ControlID { ControlID(interceptBit: 0x017) }
  /// INTERCEPT_CR8_WRITE.
  public static var interceptCR8Write: ControlID { ControlID(interceptBit: 0x018) }
  /// INTERCEPT_CR9_WRITE.
  public static var interceptCR9Write: ControlID { ControlID(interceptBit: 0x019) }
  /// INTERCEPT_CR10_WRITE.
  public static var interceptCR10Write: ControlID { ControlID(interceptBit: 0x01a) }
  /// INTERCEPT_CR11_WRITE.
  public static var interceptCR11Write: ControlID { ControlID(interceptBit: 0x01b) }
  /// INTERCEPT_CR12_WRITE.
  public static var interceptCR12Write: ControlID { ControlID(interceptBit: 0x01c) }
  /// INTERCEPT_CR13_WRITE.
  public static var interceptCR13Write: ControlID { ControlID(interceptBit: 0x01d) }
  /// INTERCEPT_CR14_WRITE.
  public static var interceptCR14Write: ControlID { ControlID(interceptBit: 0x01e) }
  /// INTERCEPT_CR15_WRITE.
  public static var interceptCR15Write: ControlID { ControlID(interceptBit: 0x01f) }
  /// INTERCEPT_DR0_READ.
  public static var interceptDR0Read: ControlID { ControlID(interceptBit: 0x020) }
  /// INTERCEPT_DR1_READ.
  public static var interceptDR1Read: ControlID { ControlID(interceptBit: 0x021) }
  /// INTERCEPT_DR2_READ.
  public static var interceptDR2Read: ControlID { ControlID(interceptBit: 0x022) }
  /// INTERCEPT_DR3_READ.
  public static var interceptDR3Read: ControlID { ControlID(interceptBit: 0x023) }
  /// INTERCEPT_DR4_READ.
  public static var interceptDR4Read: ControlID { ControlID(interceptBit: 0x024) }
  /// INTERCEPT_DR5_READ.
  public static var interceptDR5Read: ControlID { ControlID(interceptBit: 0x025) }
  /// INTERCEPT_DR6_READ.
  public static var interceptDR6Read: ControlID { ControlID(interceptBit: 0x026) }
  /// INTERCEPT_DR7_READ.
  public static var interceptDR7Read: ControlID { ControlID(interceptBit: 0x027) }
  /// INTERCEPT_DR8_READ.
  public static var interceptDR8Read: ControlID { ControlID(interceptBit: 0x028) }
  /// INTERCEPT_DR9_READ.
  public static var interceptDR9Read: ControlID { ControlID(interceptBit: 0x029) }
  /// INTERCEPT_DR10_READ.
  public static var interceptDR10Read: ControlID { ControlID(interceptBit: 0x02a) }
  /// INTERCEPT_DR11_READ.
  public static var interceptDR11Read: ControlID { ControlID(interceptBit: 0x02b) }
  /// INTERCEPT_DR12_READ.
  public static var interceptDR12Read: ControlID { ControlID(interceptBit: 0x02c) }
  /// INTERCEPT_DR13_READ.
  public static var interceptDR13Read: ControlID { ControlID(interceptBit: 0x02d) }
  /// INTERCEPT_DR14_READ.
  public static var interceptDR14Read: ControlID { ControlID(interceptBit: 0x02e) }
  /// INTERCEPT_DR15_READ.
  public static var interceptDR15Read: ControlID { ControlID(interceptBit: 0x02f) }
  /// INTERCEPT_DR0_WRITE.
  public static var interceptDR0Write: ControlID { ControlID(interceptBit: 0x030) }
  /// INTERCEPT_DR1_WRITE.
  public static var interceptDR1Write: ControlID { ControlID(interceptBit: 0x031) }
  /// INTERCEPT_DR2_WRITE.
  public static var interceptDR2Write: ControlID { ControlID(interceptBit: 0x032) }
  /// INTERCEPT_DR3_WRITE.
  public static var interceptDR3Write: ControlID { ControlID(interceptBit: 0x033) }
  /// INTERCEPT_DR4_WRITE.
  public static var interceptDR4Write: ControlID { ControlID(interceptBit: 0x034) }
  /// INTERCEPT_DR5_WRITE.
  public static var interceptDR5Write: ControlID { ControlID(interceptBit: 0x035) }
  /// INTERCEPT_DR6_WRITE.
  public static var interceptDR6Write: ControlID { ControlID(interceptBit: 0x036) }
  /// INTERCEPT_DR7_WRITE.
  public static var interceptDR7Write: ControlID { ControlID(interceptBit: 0x037) }
  /// INTERCEPT_DR8_WRITE.
  public static var interceptDR8Write: ControlID { ControlID(interceptBit: 0x038) }
  /// INTERCEPT_DR9_WRITE.
  public static var interceptDR9Write: ControlID { ControlID(interceptBit: 0x039) }
  /// INTERCEPT_DR10_WRITE.
  public static var interceptDR10Write: ControlID { ControlID(interceptBit: 0x03a) }
  /// INTERCEPT_DR11_WRITE.
  public static var interceptDR11Write: ControlID { ControlID(interceptBit: 0x03b) }
  /// INTERCEPT_DR12_WRITE.
  public static var interceptDR12Write: ControlID { ControlID(interceptBit: 0x03c) }
  /// INTERCEPT_DR13_WRITE.
  public static var interceptDR13Write: ControlID { ControlID(interceptBit: 0x03d) }
  /// INTERCEPT_DR14_WRITE.
  public static var interceptDR14Write: ControlID { ControlID(interceptBit: 0x03e) }
  /// INTERCEPT_DR15_WRITE.
  public static var interceptDR15Write: ControlID { ControlID(interceptBit: 0x03f) }
  /// INTERCEPT_INTR.
  public static var interceptIntr: ControlID { ControlID(interceptBit: 0x060) }
  /// INTERCEPT_NMI.
  public static var interceptNMI: ControlID { ControlID(interceptBit: 0x061) }
  /// INTERCEPT_SMI.
  public static var interceptSMI: ControlID { ControlID(interceptBit: 0x062) }
  /// INTERCEPT_INIT.
  public static var interceptInit: ControlID { ControlID(interceptBit: 0x063) }
  /// INTERCEPT_VINTR.
  public static var interceptVINTR: ControlID { ControlID(interceptBit: 0x064) }
  /// INTERCEPT_SELECTIVE_CR0.
  public static var interceptSelectiveCR0: ControlID { ControlID(interceptBit: 0x065) }
  /// INTERCEPT_STORE_IDTR.
  public static var interceptStoreIDTR: ControlID { ControlID(interceptBit: 0x066) }
  /// INTERCEPT_STORE_GDTR.
  public static var interceptStoreGDTR: ControlID { ControlID(interceptBit: 0x067) }
  /// INTERCEPT_STORE_LDTR.
  public static var interceptStoreLDTR: ControlID { ControlID(interceptBit: 0x068) }
  /// INTERCEPT_STORE_TR.
  public static var interceptStoreTR: ControlID { ControlID(interceptBit: 0x069) }
  /// INTERCEPT_LOAD_IDTR.
  public static var interceptLoadIDTR: ControlID { ControlID(interceptBit: 0x06a) }
  /// INTERCEPT_LOAD_GDTR.
  public static var interceptLoadGDTR: ControlID { ControlID(interceptBit: 0x06b) }
  /// INTERCEPT_LOAD_LDTR.
  public static var interceptLoadLDTR: ControlID { ControlID(interceptBit: 0x06c) }
  /// INTERCEPT_LOAD_TR.
  public static var interceptLoadTR: ControlID { ControlID(interceptBit: 0x06d) }
  /// INTERCEPT_RDTSC.
  public static var interceptRDTSC: ControlID { ControlID(interceptBit: 0x06e) }
  /// INTERCEPT_RDPMC.
  public static var interceptRDPMC: ControlID { ControlID(interceptBit: 0x06f) }
  /// INTERCEPT_PUSHF.
  public static var interceptPUSHF: ControlID { ControlID(interceptBit: 0x070) }
  /// INTERCEPT_POPF.
  public static var interceptPOPF: ControlID { ControlID(interceptBit: 0x071) }
  /// INTERCEPT_CPUID.
  public static var interceptCPUID: ControlID { ControlID(interceptBit: 0x072) }
  /// INTERCEPT_RSM.
  public static var interceptRSM: ControlID { ControlID(interceptBit: 0x073) }
  /// INTERCEPT_IRET.
  public static var interceptIRET: ControlID { ControlID(interceptBit: 0x074) }
  /// INTERCEPT_INTn.
  public static var interceptINTn: ControlID { ControlID(interceptBit: 0x075) }
  /// INTERCEPT_INVD.
  public static var interceptINVD: ControlID { ControlID(interceptBit: 0x076) }
  /// INTERCEPT_PAUSE.
  public static var interceptPause: ControlID { ControlID(interceptBit: 0x077) }
  /// INTERCEPT_HLT.
  public static var interceptHLT: ControlID { ControlID(interceptBit: 0x078) }
  /// INTERCEPT_INVLPG.
  public static var interceptINVLPG: ControlID { ControlID(interceptBit: 0x079) }
  /// INTERCEPT_INVLPGA.
  public static var interceptINVLPGA: ControlID { ControlID(interceptBit: 0x07a) }
  /// INTERCEPT_IOIO_PROT.
  public static var interceptIOIOProt: ControlID { ControlID(interceptBit: 0x07b) }
  /// INTERCEPT_MSR_PROT.
  public static var interceptMSRProt: ControlID { ControlID(interceptBit: 0x07c) }
  /// INTERCEPT_TASK_SWITCH.
  public static var interceptTaskSwitch: ControlID { ControlID(interceptBit: 0x07d) }
  /// INTERCEPT_FERR_FREEZE.
  public static var interceptFERRFreeze: ControlID { ControlID(interceptBit: 0x07e) }
  /// INTERCEPT_SHUTDOWN.
  public static var interceptShutdown: ControlID { ControlID(interceptBit: 0x07f) }
  /// INTERCEPT_VMRUN.
  public static var interceptVMRUN: ControlID { ControlID(interceptBit: 0x080) }
  /// INTERCEPT_VMMCALL.
  public static var interceptVMMCALL: ControlID { ControlID(interceptBit: 0x081) }
  /// INTERCEPT_VMLOAD.
  public static var interceptVMLOAD: ControlID { ControlID(interceptBit: 0x082) }
  /// INTERCEPT_VMSAVE.
  public static var interceptVMSAVE: ControlID { ControlID(interceptBit: 0x083) }
  /// INTERCEPT_STGI.
  public static var interceptSTGI: ControlID { ControlID(interceptBit: 0x084) }
  /// INTERCEPT_CLGI.
  public static var interceptCLGI: ControlID { ControlID(interceptBit: 0x085) }
  /// INTERCEPT_SKINIT.
  public static var interceptSKINIT: ControlID { ControlID(interceptBit: 0x086) }
  /// INTERCEPT_RDTSCP.
  public static var interceptRDTSCP: ControlID { ControlID(interceptBit: 0x087) }
  /// INTERCEPT_ICEBP.
  public static var interceptICEBP: ControlID { ControlID(interceptBit: 0x088) }
  /// INTERCEPT_WBINVD.
  public static var interceptWBINVD: ControlID { ControlID(interceptBit: 0x089) }
  /// INTERCEPT_MONITOR.
  public static var interceptMonitor: ControlID { ControlID(interceptBit: 0x08a) }
  /// INTERCEPT_MWAIT.
  public static var interceptMWAIT: ControlID { ControlID(interceptBit: 0x08b) }
  /// INTERCEPT_MWAIT_COND.
  public static var interceptMWAITCond: ControlID { ControlID(interceptBit: 0x08c) }
  /// INTERCEPT_XSETBV.
  public static var interceptXSETBV: ControlID { ControlID(interceptBit: 0x08d) }
  /// INTERCEPT_RDPRU.
  public static var interceptRDPRU: ControlID { ControlID(interceptBit: 0x08e) }
  /// TRAP_EFER_WRITE.
  public static var trapEFERWrite: ControlID { ControlID(interceptBit: 0x08f) }
  /// TRAP_CR0_WRITE.
  public static var trapCR0Write: ControlID { ControlID(interceptBit: 0x090) }
  /// TRAP_CR1_WRITE.
  public static var trapCR1Write: ControlID { ControlID(interceptBit: 0x091) }
  /// TRAP_CR2_WRITE.
  public static var trapCR2Write: ControlID { ControlID(interceptBit: 0x092) }
  /// TRAP_CR3_WRITE.
  public static var trapCR3Write: ControlID { ControlID(interceptBit: 0x093) }
  /// TRAP_CR4_WRITE.
  public static var trapCR4Write: ControlID { ControlID(interceptBit: 0x094) }
  /// TRAP_CR5_WRITE.
  public static var trapCR5Write: ControlID { ControlID(interceptBit: 0x095) }
  /// TRAP_CR6_WRITE.
  public static var trapCR6Write: ControlID { ControlID(interceptBit: 0x096) }
  /// TRAP_CR7_WRITE.
  public static var trapCR7Write: ControlID { ControlID(interceptBit: 0x097) }
  /// TRAP_CR8_WRITE.
  public static var trapCR8Write: ControlID { ControlID(interceptBit: 0x098) }
  /// TRAP_CR9_WRITE.
  public static var trapCR9Write: ControlID { ControlID(interceptBit: 0x099) }
  /// TRAP_CR10_WRITE.
  public static var trapCR10Write: ControlID { ControlID(interceptBit: 0x09a) }
  /// TRAP_CR11_WRITE.
  public static var trapCR11Write: ControlID { ControlID(interceptBit: 0x09b) }
  /// TRAP_CR12_WRITE.
  public static var trapCR12Write: ControlID { ControlID(interceptBit: 0x09c) }
  /// TRAP_CR13_WRITE.
  public static var trapCR13Write: ControlID { ControlID(interceptBit: 0x09d) }
  /// TRAP_CR14_WRITE.
  public static var trapCR14Write: ControlID { ControlID(interceptBit: 0x09e) }
  /// TRAP_CR15_WRITE.
  public static var trapCR15Write: ControlID { ControlID(interceptBit: 0x09f) }
  /// INTERCEPT_INVLPGB.
  public static var interceptINVLPGB: ControlID { ControlID(interceptBit: 0x0a0) }
  /// INTERCEPT_INVLPGB_ILLEGAL.
  public static var interceptINVLPGBIllegal: ControlID { ControlID(interceptBit: 0x0a1) }
  /// INTERCEPT_INVPCID.
  public static var interceptINVPCID: ControlID { ControlID(interceptBit: 0x0a2) }
  /// INTERCEPT_MCOMMIT.
  public static var interceptMCOMMIT: ControlID { ControlID(interceptBit: 0x0a3) }
  /// INTERCEPT_TLBSYNC.
  public static var interceptTLBSYNC: ControlID { ControlID(interceptBit: 0x0a4) }
  /// INTERCEPT_BUSLOCK.
  public static var interceptBuslock: ControlID { ControlID(interceptBit: 0x0a5) }
  /// INTERCEPT_IDLE_HLT.
  public static var interceptIdleHLT: ControlID { ControlID(interceptBit: 0x0a6) }

  /// INTERCEPT_EXCEPTION_OFFSET and a vector below 32.
  public static func interceptException(_ vector: UInt16) -> ControlID { ControlID(interceptBit: 0x040 + (vector & 31)) }
}

/// What is no bit of a control word or of an intercept word.
extension ControlID {
  /// MSR_BITMAP, the half for reads.
  public static var msrBitmapRead: ControlID { ControlID(rawValue: ControlNumber.msrBitmapRead) }
  /// MSR_BITMAP, the half for writes.
  public static var msrBitmapWrite: ControlID { ControlID(rawValue: ControlNumber.msrBitmapWrite) }
  /// IO_BITMAP_A.
  public static var ioBitmapA: ControlID { ControlID(rawValue: ControlNumber.ioBitmapA) }
  /// IO_BITMAP_B.
  public static var ioBitmapB: ControlID { ControlID(rawValue: ControlNumber.ioBitmapB) }
  /// CR0_GUEST_HOST_MASK.
  public static var cr0Mask: ControlID { ControlID(rawValue: ControlNumber.cr0Mask) }
  /// CR4_GUEST_HOST_MASK.
  public static var cr4Mask: ControlID { ControlID(rawValue: ControlNumber.cr4Mask) }
  /// The CR3-target list.
  public static var cr3Target: ControlID { ControlID(rawValue: ControlNumber.cr3Target) }
  /// An EPT entry that is not present.
  public static var eptNotPresent: ControlID { ControlID(rawValue: ControlNumber.eptNotPresent) }
  /// The read permission of an EPT entry.
  public static var eptRead: ControlID { ControlID(rawValue: ControlNumber.eptRead) }
  /// The write permission of an EPT entry.
  public static var eptWrite: ControlID { ControlID(rawValue: ControlNumber.eptWrite) }
  /// The execute permission of an EPT entry.
  public static var eptExecute: ControlID { ControlID(rawValue: ControlNumber.eptExecute) }
  /// An EPT entry that no processor takes.
  public static var eptMisconfig: ControlID { ControlID(rawValue: ControlNumber.eptMisconfig) }
  /// VMREAD_BITMAP.
  public static var vmreadBitmap: ControlID { ControlID(rawValue: ControlNumber.vmreadBitmap) }
  /// VMWRITE_BITMAP.
  public static var vmwriteBitmap: ControlID { ControlID(rawValue: ControlNumber.vmwriteBitmap) }
  /// EOI_EXIT_BITMAP0 to 3.
  public static var eoiExitBitmap: ControlID { ControlID(rawValue: ControlNumber.eoiExitBitmap) }
  /// An NPT entry that is not present.
  public static var nptNotPresent: ControlID { ControlID(rawValue: ControlNumber.nptNotPresent) }
  /// The read permission of an NPT entry.
  public static var nptRead: ControlID { ControlID(rawValue: ControlNumber.nptRead) }
  /// The write permission of an NPT entry.
  public static var nptWrite: ControlID { ControlID(rawValue: ControlNumber.nptWrite) }
  /// The execute permission of an NPT entry.
  public static var nptExecute: ControlID { ControlID(rawValue: ControlNumber.nptExecute) }
  /// An NPT entry with reserved bits set.
  public static var nptReserved: ControlID { ControlID(rawValue: ControlNumber.nptReserved) }
  /// AVIC_ENABLE_MASK.
  public static var avic: ControlID { ControlID(rawValue: ControlNumber.avic) }

  /// The bit of the exception bitmap for a vector below 32.
  public static func exception(_ vector: UInt16) -> ControlID { ControlID(rawValue: ControlNumber.exceptionBitmap + (vector & 31)) }
}
