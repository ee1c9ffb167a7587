// swift-format-ignore-file
// One field per line, so that they can be compared, sorted and searched.

/// The fields of the VMCS by name: Linux's, or the manual's where Linux has none. The rows of `VMCSField` are made of these, so that an
/// encoding is written here and nowhere else.
extension VMCSEncoding {
  /// VIRTUAL_PROCESSOR_ID.
  @inlinable public static var virtualProcessorID: VMCSEncoding { VMCSEncoding(rawValue: 0x0000) }
  /// POSTED_INTR_NV.
  @inlinable public static var postedIntrNV: VMCSEncoding { VMCSEncoding(rawValue: 0x0002) }
  /// EPTP index (the SDM's name).
  @inlinable public static var eptpIndex: VMCSEncoding { VMCSEncoding(rawValue: 0x0004) }
  /// HLATP prefix size (the SDM's name).
  @inlinable public static var hlatpPrefixSize: VMCSEncoding { VMCSEncoding(rawValue: 0x0006) }
  /// LAST_PID_POINTER_INDEX.
  @inlinable public static var lastPidPointerIndex: VMCSEncoding { VMCSEncoding(rawValue: 0x0008) }
  /// Virtual timer vector (the SDM's name).
  @inlinable public static var virtualTimerVector: VMCSEncoding { VMCSEncoding(rawValue: 0x000a) }
  /// GUEST_ES_SELECTOR.
  @inlinable public static var guestESSelector: VMCSEncoding { VMCSEncoding(rawValue: 0x0800) }
  /// GUEST_CS_SELECTOR.
  @inlinable public static var guestCSSelector: VMCSEncoding { VMCSEncoding(rawValue: 0x0802) }
  /// GUEST_SS_SELECTOR.
  @inlinable public static var guestSSSelector: VMCSEncoding { VMCSEncoding(rawValue: 0x0804) }
  /// GUEST_DS_SELECTOR.
  @inlinable public static var guestDSSelector: VMCSEncoding { VMCSEncoding(rawValue: 0x0806) }
  /// GUEST_FS_SELECTOR.
  @inlinable public static var guestFSSelector: VMCSEncoding { VMCSEncoding(rawValue: 0x0808) }
  /// GUEST_GS_SELECTOR.
  @inlinable public static var guestGSSelector: VMCSEncoding { VMCSEncoding(rawValue: 0x080a) }
  /// GUEST_LDTR_SELECTOR.
  @inlinable public static var guestLDTRSelector: VMCSEncoding { VMCSEncoding(rawValue: 0x080c) }
  /// GUEST_TR_SELECTOR.
  @inlinable public static var guestTRSelector: VMCSEncoding { VMCSEncoding(rawValue: 0x080e) }
  /// GUEST_INTR_STATUS.
  @inlinable public static var guestIntrStatus: VMCSEncoding { VMCSEncoding(rawValue: 0x0810) }
  /// GUEST_PML_INDEX.
  @inlinable public static var guestPMLIndex: VMCSEncoding { VMCSEncoding(rawValue: 0x0812) }
  /// Guest UINV (the SDM's name).
  @inlinable public static var guestUINV: VMCSEncoding { VMCSEncoding(rawValue: 0x0814) }
  /// HOST_ES_SELECTOR.
  @inlinable public static var hostESSelector: VMCSEncoding { VMCSEncoding(rawValue: 0x0c00) }
  /// HOST_CS_SELECTOR.
  @inlinable public static var hostCSSelector: VMCSEncoding { VMCSEncoding(rawValue: 0x0c02) }
  /// HOST_SS_SELECTOR.
  @inlinable public static var hostSSSelector: VMCSEncoding { VMCSEncoding(rawValue: 0x0c04) }
  /// HOST_DS_SELECTOR.
  @inlinable public static var hostDSSelector: VMCSEncoding { VMCSEncoding(rawValue: 0x0c06) }
  /// HOST_FS_SELECTOR.
  @inlinable public static var hostFSSelector: VMCSEncoding { VMCSEncoding(rawValue: 0x0c08) }
  /// HOST_GS_SELECTOR.
  @inlinable public static var hostGSSelector: VMCSEncoding { VMCSEncoding(rawValue: 0x0c0a) }
  /// HOST_TR_SELECTOR.
  @inlinable public static var hostTRSelector: VMCSEncoding { VMCSEncoding(rawValue: 0x0c0c) }
  /// IO_BITMAP_A.
  @inlinable public static var ioBitmapA: VMCSEncoding { VMCSEncoding(rawValue: 0x2000) }
  /// IO_BITMAP_B.
  @inlinable public static var ioBitmapB: VMCSEncoding { VMCSEncoding(rawValue: 0x2002) }
  /// MSR_BITMAP.
  @inlinable public static var msrBitmap: VMCSEncoding { VMCSEncoding(rawValue: 0x2004) }
  /// VM_EXIT_MSR_STORE_ADDR.
  @inlinable public static var vmExitMSRStoreAddr: VMCSEncoding { VMCSEncoding(rawValue: 0x2006) }
  /// VM_EXIT_MSR_LOAD_ADDR.
  @inlinable public static var vmExitMSRLoadAddr: VMCSEncoding { VMCSEncoding(rawValue: 0x2008) }
  /// VM_ENTRY_MSR_LOAD_ADDR.
  @inlinable public static var vmEntryMSRLoadAddr: VMCSEncoding { VMCSEncoding(rawValue: 0x200a) }
  /// Executive-VMCS pointer (the SDM's name).
  @inlinable public static var executiveVMCSPointer: VMCSEncoding { VMCSEncoding(rawValue: 0x200c) }
  /// PML_ADDRESS.
  @inlinable public static var pmlAddress: VMCSEncoding { VMCSEncoding(rawValue: 0x200e) }
  /// TSC_OFFSET.
  @inlinable public static var tscOffset: VMCSEncoding { VMCSEncoding(rawValue: 0x2010) }
  /// VIRTUAL_APIC_PAGE_ADDR.
  @inlinable public static var virtualAPICPageAddr: VMCSEncoding { VMCSEncoding(rawValue: 0x2012) }
  /// APIC_ACCESS_ADDR.
  @inlinable public static var apicAccessAddr: VMCSEncoding { VMCSEncoding(rawValue: 0x2014) }
  /// POSTED_INTR_DESC_ADDR.
  @inlinable public static var postedIntrDescAddr: VMCSEncoding { VMCSEncoding(rawValue: 0x2016) }
  /// VM_FUNCTION_CONTROL.
  @inlinable public static var vmFunctionControl: VMCSEncoding { VMCSEncoding(rawValue: 0x2018) }
  /// EPT_POINTER.
  @inlinable public static var eptPointer: VMCSEncoding { VMCSEncoding(rawValue: 0x201a) }
  /// EOI_EXIT_BITMAP0.
  @inlinable public static var eoiExitBitmap0: VMCSEncoding { VMCSEncoding(rawValue: 0x201c) }
  /// EOI_EXIT_BITMAP1.
  @inlinable public static var eoiExitBitmap1: VMCSEncoding { VMCSEncoding(rawValue: 0x201e) }
  /// EOI_EXIT_BITMAP2.
  @inlinable public static var eoiExitBitmap2: VMCSEncoding { VMCSEncoding(rawValue: 0x2020) }
  /// EOI_EXIT_BITMAP3.
  @inlinable public static var eoiExitBitmap3: VMCSEncoding { VMCSEncoding(rawValue: 0x2022) }
  /// EPTP_LIST_ADDRESS.
  @inlinable public static var eptpListAddress: VMCSEncoding { VMCSEncoding(rawValue: 0x2024) }
  /// VMREAD_BITMAP.
  @inlinable public static var vmreadBitmap: VMCSEncoding { VMCSEncoding(rawValue: 0x2026) }
  /// VMWRITE_BITMAP.
  @inlinable public static var vmwriteBitmap: VMCSEncoding { VMCSEncoding(rawValue: 0x2028) }
  /// VE_INFORMATION_ADDRESS.
  @inlinable public static var veInformationAddress: VMCSEncoding { VMCSEncoding(rawValue: 0x202a) }
  /// XSS_EXIT_BITMAP.
  @inlinable public static var xssExitBitmap: VMCSEncoding { VMCSEncoding(rawValue: 0x202c) }
  /// ENCLS_EXITING_BITMAP.
  @inlinable public static var enclsExitingBitmap: VMCSEncoding { VMCSEncoding(rawValue: 0x202e) }
  /// Sub-page-permission-table pointer (SPPTP) (the SDM's name).
  @inlinable public static var subPagePermissionTablePointerSPPTP: VMCSEncoding { VMCSEncoding(rawValue: 0x2030) }
  /// TSC_MULTIPLIER.
  @inlinable public static var tscMultiplier: VMCSEncoding { VMCSEncoding(rawValue: 0x2032) }
  /// TERTIARY_VM_EXEC_CONTROL.
  @inlinable public static var tertiaryVMExecControl: VMCSEncoding { VMCSEncoding(rawValue: 0x2034) }
  /// ENCLV-exiting bitmap (the SDM's name).
  @inlinable public static var enclvExitingBitmap: VMCSEncoding { VMCSEncoding(rawValue: 0x2036) }
  /// Low PASID directory address (the SDM's name).
  @inlinable public static var lowPASIDDirectoryAddress: VMCSEncoding { VMCSEncoding(rawValue: 0x2038) }
  /// High PASID directory address (the SDM's name).
  @inlinable public static var highPASIDDirectoryAddress: VMCSEncoding { VMCSEncoding(rawValue: 0x203a) }
  /// SHARED_EPT_POINTER.
  @inlinable public static var sharedEPTPointer: VMCSEncoding { VMCSEncoding(rawValue: 0x203c) }
  /// PCONFIG-exiting bitmap (the SDM's name).
  @inlinable public static var pconfigExitingBitmap: VMCSEncoding { VMCSEncoding(rawValue: 0x203e) }
  /// Hypervisor-managed linear-address translation pointer (HLATP) (the SDM's name).
  @inlinable public static var hypervisorManagedLinearAddressTranslationPointerHLATP: VMCSEncoding { VMCSEncoding(rawValue: 0x2040) }
  /// PID_POINTER_TABLE.
  @inlinable public static var pidPointerTable: VMCSEncoding { VMCSEncoding(rawValue: 0x2042) }
  /// Secondary VM-exit controls (the SDM's name).
  @inlinable public static var secondaryVMExitControls: VMCSEncoding { VMCSEncoding(rawValue: 0x2044) }
  /// IA32_SPEC_CTRL mask (the SDM's name).
  @inlinable public static var ia32SpecCtrlMask: VMCSEncoding { VMCSEncoding(rawValue: 0x204a) }
  /// IA32_SPEC_CTRL shadow (the SDM's name).
  @inlinable public static var ia32SpecCtrlShadow: VMCSEncoding { VMCSEncoding(rawValue: 0x204c) }
  /// Guest deadline shadow (the SDM's name).
  @inlinable public static var guestDeadlineShadow: VMCSEncoding { VMCSEncoding(rawValue: 0x204e) }
  /// Injected-event data (the SDM's name).
  @inlinable public static var injectedEventData: VMCSEncoding { VMCSEncoding(rawValue: 0x2052) }
  /// GUEST_PHYSICAL_ADDRESS.
  @inlinable public static var guestPhysicalAddress: VMCSEncoding { VMCSEncoding(rawValue: 0x2400) }
  /// MSR data (the SDM's name).
  @inlinable public static var msrData: VMCSEncoding { VMCSEncoding(rawValue: 0x2402) }
  /// Original-event data (the SDM's name).
  @inlinable public static var originalEventData: VMCSEncoding { VMCSEncoding(rawValue: 0x2404) }
  /// VMCS_LINK_POINTER.
  @inlinable public static var vmcsLinkPointer: VMCSEncoding { VMCSEncoding(rawValue: 0x2800) }
  /// GUEST_IA32_DEBUGCTL.
  @inlinable public static var guestIA32DEBUGCTL: VMCSEncoding { VMCSEncoding(rawValue: 0x2802) }
  /// GUEST_IA32_PAT.
  @inlinable public static var guestIA32PAT: VMCSEncoding { VMCSEncoding(rawValue: 0x2804) }
  /// GUEST_IA32_EFER.
  @inlinable public static var guestIA32EFER: VMCSEncoding { VMCSEncoding(rawValue: 0x2806) }
  /// GUEST_IA32_PERF_GLOBAL_CTRL.
  @inlinable public static var guestIA32PerfGlobalCtrl: VMCSEncoding { VMCSEncoding(rawValue: 0x2808) }
  /// GUEST_PDPTR0.
  @inlinable public static var guestPDPTR0: VMCSEncoding { VMCSEncoding(rawValue: 0x280a) }
  /// GUEST_PDPTR1.
  @inlinable public static var guestPDPTR1: VMCSEncoding { VMCSEncoding(rawValue: 0x280c) }
  /// GUEST_PDPTR2.
  @inlinable public static var guestPDPTR2: VMCSEncoding { VMCSEncoding(rawValue: 0x280e) }
  /// GUEST_PDPTR3.
  @inlinable public static var guestPDPTR3: VMCSEncoding { VMCSEncoding(rawValue: 0x2810) }
  /// GUEST_BNDCFGS.
  @inlinable public static var guestBNDCFGS: VMCSEncoding { VMCSEncoding(rawValue: 0x2812) }
  /// GUEST_IA32_RTIT_CTL.
  @inlinable public static var guestIA32RTITCTL: VMCSEncoding { VMCSEncoding(rawValue: 0x2814) }
  /// Guest IA32_LBR_CTL (the SDM's name).
  @inlinable public static var guestIA32LBRCTL: VMCSEncoding { VMCSEncoding(rawValue: 0x2816) }
  /// Guest IA32_PKRS (the SDM's name).
  @inlinable public static var guestIA32PKRS: VMCSEncoding { VMCSEncoding(rawValue: 0x2818) }
  /// Guest IA32_FRED_CONFIG (the SDM's name).
  @inlinable public static var guestIA32FREDConfig: VMCSEncoding { VMCSEncoding(rawValue: 0x281a) }
  /// Guest IA32_FRED_RSP1 (the SDM's name).
  @inlinable public static var guestIA32FREDRsp1: VMCSEncoding { VMCSEncoding(rawValue: 0x281c) }
  /// Guest IA32_FRED_RSP2 (the SDM's name).
  @inlinable public static var guestIA32FREDRsp2: VMCSEncoding { VMCSEncoding(rawValue: 0x281e) }
  /// Guest IA32_FRED_RSP3 (the SDM's name).
  @inlinable public static var guestIA32FREDRsp3: VMCSEncoding { VMCSEncoding(rawValue: 0x2820) }
  /// Guest IA32_FRED_STKLVLS (the SDM's name).
  @inlinable public static var guestIA32FREDStklvls: VMCSEncoding { VMCSEncoding(rawValue: 0x2822) }
  /// Guest IA32_FRED_SSP1 (the SDM's name).
  @inlinable public static var guestIA32FREDSsp1: VMCSEncoding { VMCSEncoding(rawValue: 0x2824) }
  /// Guest IA32_FRED_SSP2 (the SDM's name).
  @inlinable public static var guestIA32FREDSsp2: VMCSEncoding { VMCSEncoding(rawValue: 0x2826) }
  /// Guest IA32_FRED_SSP3 (the SDM's name).
  @inlinable public static var guestIA32FREDSsp3: VMCSEncoding { VMCSEncoding(rawValue: 0x2828) }
  /// Guest IA32_SPEC_CTRL (the SDM's name).
  @inlinable public static var guestIA32SpecCtrl: VMCSEncoding { VMCSEncoding(rawValue: 0x282e) }
  /// Guest deadline (the SDM's name).
  @inlinable public static var guestDeadline: VMCSEncoding { VMCSEncoding(rawValue: 0x2830) }
  /// HOST_IA32_PAT.
  @inlinable public static var hostIA32PAT: VMCSEncoding { VMCSEncoding(rawValue: 0x2c00) }
  /// HOST_IA32_EFER.
  @inlinable public static var hostIA32EFER: VMCSEncoding { VMCSEncoding(rawValue: 0x2c02) }
  /// HOST_IA32_PERF_GLOBAL_CTRL.
  @inlinable public static var hostIA32PerfGlobalCtrl: VMCSEncoding { VMCSEncoding(rawValue: 0x2c04) }
  /// Host IA32_PKRS (the SDM's name).
  @inlinable public static var hostIA32PKRS: VMCSEncoding { VMCSEncoding(rawValue: 0x2c06) }
  /// Host IA32_FRED_CONFIG (the SDM's name).
  @inlinable public static var hostIA32FREDConfig: VMCSEncoding { VMCSEncoding(rawValue: 0x2c08) }
  /// Host IA32_FRED_RSP1 (the SDM's name).
  @inlinable public static var hostIA32FREDRsp1: VMCSEncoding { VMCSEncoding(rawValue: 0x2c0a) }
  /// Host IA32_FRED_RSP2 (the SDM's name).
  @inlinable public static var hostIA32FREDRsp2: VMCSEncoding { VMCSEncoding(rawValue: 0x2c0c) }
  /// Host IA32_FRED_RSP3 (the SDM's name).
  @inlinable public static var hostIA32FREDRsp3: VMCSEncoding { VMCSEncoding(rawValue: 0x2c0e) }
  /// Host IA32_FRED_STKLVLS (the SDM's name).
  @inlinable public static var hostIA32FREDStklvls: VMCSEncoding { VMCSEncoding(rawValue: 0x2c10) }
  /// Host IA32_FRED_SSP1 (the SDM's name).
  @inlinable public static var hostIA32FREDSsp1: VMCSEncoding { VMCSEncoding(rawValue: 0x2c12) }
  /// Host IA32_FRED_SSP2 (the SDM's name).
  @inlinable public static var hostIA32FREDSsp2: VMCSEncoding { VMCSEncoding(rawValue: 0x2c14) }
  /// Host IA32_FRED_SSP3 (the SDM's name).
  @inlinable public static var hostIA32FREDSsp3: VMCSEncoding { VMCSEncoding(rawValue: 0x2c16) }
  /// Host IA32_SPEC_CTRL (the SDM's name).
  @inlinable public static var hostIA32SpecCtrl: VMCSEncoding { VMCSEncoding(rawValue: 0x2c1a) }
  /// PIN_BASED_VM_EXEC_CONTROL.
  @inlinable public static var pinBasedVMExecControl: VMCSEncoding { VMCSEncoding(rawValue: 0x4000) }
  /// CPU_BASED_VM_EXEC_CONTROL.
  @inlinable public static var cpuBasedVMExecControl: VMCSEncoding { VMCSEncoding(rawValue: 0x4002) }
  /// EXCEPTION_BITMAP.
  @inlinable public static var exceptionBitmap: VMCSEncoding { VMCSEncoding(rawValue: 0x4004) }
  /// PAGE_FAULT_ERROR_CODE_MASK.
  @inlinable public static var pageFaultErrorCodeMask: VMCSEncoding { VMCSEncoding(rawValue: 0x4006) }
  /// PAGE_FAULT_ERROR_CODE_MATCH.
  @inlinable public static var pageFaultErrorCodeMatch: VMCSEncoding { VMCSEncoding(rawValue: 0x4008) }
  /// CR3_TARGET_COUNT.
  @inlinable public static var cr3TargetCount: VMCSEncoding { VMCSEncoding(rawValue: 0x400a) }
  /// VM_EXIT_CONTROLS.
  @inlinable public static var vmExitControls: VMCSEncoding { VMCSEncoding(rawValue: 0x400c) }
  /// VM_EXIT_MSR_STORE_COUNT.
  @inlinable public static var vmExitMSRStoreCount: VMCSEncoding { VMCSEncoding(rawValue: 0x400e) }
  /// VM_EXIT_MSR_LOAD_COUNT.
  @inlinable public static var vmExitMSRLoadCount: VMCSEncoding { VMCSEncoding(rawValue: 0x4010) }
  /// VM_ENTRY_CONTROLS.
  @inlinable public static var vmEntryControls: VMCSEncoding { VMCSEncoding(rawValue: 0x4012) }
  /// VM_ENTRY_MSR_LOAD_COUNT.
  @inlinable public static var vmEntryMSRLoadCount: VMCSEncoding { VMCSEncoding(rawValue: 0x4014) }
  /// VM_ENTRY_INTR_INFO_FIELD.
  @inlinable public static var vmEntryIntrInfoField: VMCSEncoding { VMCSEncoding(rawValue: 0x4016) }
  /// VM_ENTRY_EXCEPTION_ERROR_CODE.
  @inlinable public static var vmEntryExceptionErrorCode: VMCSEncoding { VMCSEncoding(rawValue: 0x4018) }
  /// VM_ENTRY_INSTRUCTION_LEN.
  @inlinable public static var vmEntryInstructionLen: VMCSEncoding { VMCSEncoding(rawValue: 0x401a) }
  /// TPR_THRESHOLD.
  @inlinable public static var tprThreshold: VMCSEncoding { VMCSEncoding(rawValue: 0x401c) }
  /// SECONDARY_VM_EXEC_CONTROL.
  @inlinable public static var secondaryVMExecControl: VMCSEncoding { VMCSEncoding(rawValue: 0x401e) }
  /// PLE_GAP.
  @inlinable public static var pleGap: VMCSEncoding { VMCSEncoding(rawValue: 0x4020) }
  /// PLE_WINDOW.
  @inlinable public static var pleWindow: VMCSEncoding { VMCSEncoding(rawValue: 0x4022) }
  /// NOTIFY_WINDOW.
  @inlinable public static var notifyWindow: VMCSEncoding { VMCSEncoding(rawValue: 0x4024) }
  /// TD HKID (the SDM's name).
  @inlinable public static var tdHkid: VMCSEncoding { VMCSEncoding(rawValue: 0x4026) }
  /// VM_INSTRUCTION_ERROR.
  @inlinable public static var vmInstructionError: VMCSEncoding { VMCSEncoding(rawValue: 0x4400) }
  /// VM_EXIT_REASON.
  @inlinable public static var vmExitReason: VMCSEncoding { VMCSEncoding(rawValue: 0x4402) }
  /// VM_EXIT_INTR_INFO.
  @inlinable public static var vmExitIntrInfo: VMCSEncoding { VMCSEncoding(rawValue: 0x4404) }
  /// VM_EXIT_INTR_ERROR_CODE.
  @inlinable public static var vmExitIntrErrorCode: VMCSEncoding { VMCSEncoding(rawValue: 0x4406) }
  /// IDT_VECTORING_INFO_FIELD.
  @inlinable public static var idtVectoringInfoField: VMCSEncoding { VMCSEncoding(rawValue: 0x4408) }
  /// IDT_VECTORING_ERROR_CODE.
  @inlinable public static var idtVectoringErrorCode: VMCSEncoding { VMCSEncoding(rawValue: 0x440a) }
  /// VM_EXIT_INSTRUCTION_LEN.
  @inlinable public static var vmExitInstructionLen: VMCSEncoding { VMCSEncoding(rawValue: 0x440c) }
  /// VMX_INSTRUCTION_INFO.
  @inlinable public static var vmxInstructionInfo: VMCSEncoding { VMCSEncoding(rawValue: 0x440e) }
  /// GUEST_ES_LIMIT.
  @inlinable public static var guestESLimit: VMCSEncoding { VMCSEncoding(rawValue: 0x4800) }
  /// GUEST_CS_LIMIT.
  @inlinable public static var guestCSLimit: VMCSEncoding { VMCSEncoding(rawValue: 0x4802) }
  /// GUEST_SS_LIMIT.
  @inlinable public static var guestSSLimit: VMCSEncoding { VMCSEncoding(rawValue: 0x4804) }
  /// GUEST_DS_LIMIT.
  @inlinable public static var guestDSLimit: VMCSEncoding { VMCSEncoding(rawValue: 0x4806) }
  /// GUEST_FS_LIMIT.
  @inlinable public static var guestFSLimit: VMCSEncoding { VMCSEncoding(rawValue: 0x4808) }
  /// GUEST_GS_LIMIT.
  @inlinable public static var guestGSLimit: VMCSEncoding { VMCSEncoding(rawValue: 0x480a) }
  /// GUEST_LDTR_LIMIT.
  @inlinable public static var guestLDTRLimit: VMCSEncoding { VMCSEncoding(rawValue: 0x480c) }
  /// GUEST_TR_LIMIT.
  @inlinable public static var guestTRLimit: VMCSEncoding { VMCSEncoding(rawValue: 0x480e) }
  /// GUEST_GDTR_LIMIT.
  @inlinable public static var guestGDTRLimit: VMCSEncoding { VMCSEncoding(rawValue: 0x4810) }
  /// GUEST_IDTR_LIMIT.
  @inlinable public static var guestIDTRLimit: VMCSEncoding { VMCSEncoding(rawValue: 0x4812) }
  /// GUEST_ES_AR_BYTES.
  @inlinable public static var guestESARBytes: VMCSEncoding { VMCSEncoding(rawValue: 0x4814) }
  /// GUEST_CS_AR_BYTES.
  @inlinable public static var guestCSARBytes: VMCSEncoding { VMCSEncoding(rawValue: 0x4816) }
  /// GUEST_SS_AR_BYTES.
  @inlinable public static var guestSSARBytes: VMCSEncoding { VMCSEncoding(rawValue: 0x4818) }
  /// GUEST_DS_AR_BYTES.
  @inlinable public static var guestDSARBytes: VMCSEncoding { VMCSEncoding(rawValue: 0x481a) }
  /// GUEST_FS_AR_BYTES.
  @inlinable public static var guestFSARBytes: VMCSEncoding { VMCSEncoding(rawValue: 0x481c) }
  /// GUEST_GS_AR_BYTES.
  @inlinable public static var guestGSARBytes: VMCSEncoding { VMCSEncoding(rawValue: 0x481e) }
  /// GUEST_LDTR_AR_BYTES.
  @inlinable public static var guestLDTRARBytes: VMCSEncoding { VMCSEncoding(rawValue: 0x4820) }
  /// GUEST_TR_AR_BYTES.
  @inlinable public static var guestTRARBytes: VMCSEncoding { VMCSEncoding(rawValue: 0x4822) }
  /// GUEST_INTERRUPTIBILITY_INFO.
  @inlinable public static var guestInterruptibilityInfo: VMCSEncoding { VMCSEncoding(rawValue: 0x4824) }
  /// GUEST_ACTIVITY_STATE.
  @inlinable public static var guestActivityState: VMCSEncoding { VMCSEncoding(rawValue: 0x4826) }
  /// Guest SMBASE (the SDM's name).
  @inlinable public static var guestSMBASE: VMCSEncoding { VMCSEncoding(rawValue: 0x4828) }
  /// GUEST_SYSENTER_CS.
  @inlinable public static var guestSYSENTERCS: VMCSEncoding { VMCSEncoding(rawValue: 0x482a) }
  /// VMX_PREEMPTION_TIMER_VALUE.
  @inlinable public static var vmxPreemptionTimerValue: VMCSEncoding { VMCSEncoding(rawValue: 0x482e) }
  /// HOST_IA32_SYSENTER_CS.
  @inlinable public static var hostIA32SYSENTERCS: VMCSEncoding { VMCSEncoding(rawValue: 0x4c00) }
  /// CR0_GUEST_HOST_MASK.
  @inlinable public static var cr0GuestHostMask: VMCSEncoding { VMCSEncoding(rawValue: 0x6000) }
  /// CR4_GUEST_HOST_MASK.
  @inlinable public static var cr4GuestHostMask: VMCSEncoding { VMCSEncoding(rawValue: 0x6002) }
  /// CR0_READ_SHADOW.
  @inlinable public static var cr0ReadShadow: VMCSEncoding { VMCSEncoding(rawValue: 0x6004) }
  /// CR4_READ_SHADOW.
  @inlinable public static var cr4ReadShadow: VMCSEncoding { VMCSEncoding(rawValue: 0x6006) }
  /// CR3_TARGET_VALUE0.
  @inlinable public static var cr3TargetValue0: VMCSEncoding { VMCSEncoding(rawValue: 0x6008) }
  /// CR3_TARGET_VALUE1.
  @inlinable public static var cr3TargetValue1: VMCSEncoding { VMCSEncoding(rawValue: 0x600a) }
  /// CR3_TARGET_VALUE2.
  @inlinable public static var cr3TargetValue2: VMCSEncoding { VMCSEncoding(rawValue: 0x600c) }
  /// CR3_TARGET_VALUE3.
  @inlinable public static var cr3TargetValue3: VMCSEncoding { VMCSEncoding(rawValue: 0x600e) }
  /// EXIT_QUALIFICATION.
  @inlinable public static var exitQualification: VMCSEncoding { VMCSEncoding(rawValue: 0x6400) }
  /// I/O RCX (the SDM's name).
  @inlinable public static var ioRCX: VMCSEncoding { VMCSEncoding(rawValue: 0x6402) }
  /// I/O RSI (the SDM's name).
  @inlinable public static var ioRSI: VMCSEncoding { VMCSEncoding(rawValue: 0x6404) }
  /// I/O RDI (the SDM's name).
  @inlinable public static var ioRDI: VMCSEncoding { VMCSEncoding(rawValue: 0x6406) }
  /// I/O RIP (the SDM's name).
  @inlinable public static var ioRIP: VMCSEncoding { VMCSEncoding(rawValue: 0x6408) }
  /// GUEST_LINEAR_ADDRESS.
  @inlinable public static var guestLinearAddress: VMCSEncoding { VMCSEncoding(rawValue: 0x640a) }
  /// GUEST_CR0.
  @inlinable public static var guestCR0: VMCSEncoding { VMCSEncoding(rawValue: 0x6800) }
  /// GUEST_CR3.
  @inlinable public static var guestCR3: VMCSEncoding { VMCSEncoding(rawValue: 0x6802) }
  /// GUEST_CR4.
  @inlinable public static var guestCR4: VMCSEncoding { VMCSEncoding(rawValue: 0x6804) }
  /// GUEST_ES_BASE.
  @inlinable public static var guestESBase: VMCSEncoding { VMCSEncoding(rawValue: 0x6806) }
  /// GUEST_CS_BASE.
  @inlinable public static var guestCSBase: VMCSEncoding { VMCSEncoding(rawValue: 0x6808) }
  /// GUEST_SS_BASE.
  @inlinable public static var guestSSBase: VMCSEncoding { VMCSEncoding(rawValue: 0x680a) }
  /// GUEST_DS_BASE.
  @inlinable public static var guestDSBase: VMCSEncoding { VMCSEncoding(rawValue: 0x680c) }
  /// GUEST_FS_BASE.
  @inlinable public static var guestFSBase: VMCSEncoding { VMCSEncoding(rawValue: 0x680e) }
  /// GUEST_GS_BASE.
  @inlinable public static var guestGSBase: VMCSEncoding { VMCSEncoding(rawValue: 0x6810) }
  /// GUEST_LDTR_BASE.
  @inlinable public static var guestLDTRBase: VMCSEncoding { VMCSEncoding(rawValue: 0x6812) }
  /// GUEST_TR_BASE.
  @inlinable public static var guestTRBase: VMCSEncoding { VMCSEncoding(rawValue: 0x6814) }
  /// GUEST_GDTR_BASE.
  @inlinable public static var guestGDTRBase: VMCSEncoding { VMCSEncoding(rawValue: 0x6816) }
  /// GUEST_IDTR_BASE.
  @inlinable public static var guestIDTRBase: VMCSEncoding { VMCSEncoding(rawValue: 0x6818) }
  /// GUEST_DR7.
  @inlinable public static var guestDR7: VMCSEncoding { VMCSEncoding(rawValue: 0x681a) }
  /// GUEST_RSP.
  @inlinable public static var guestRSP: VMCSEncoding { VMCSEncoding(rawValue: 0x681c) }
  /// GUEST_RIP.
  @inlinable public static var guestRIP: VMCSEncoding { VMCSEncoding(rawValue: 0x681e) }
  /// GUEST_RFLAGS.
  @inlinable public static var guestRFLAGS: VMCSEncoding { VMCSEncoding(rawValue: 0x6820) }
  /// GUEST_PENDING_DBG_EXCEPTIONS.
  @inlinable public static var guestPendingDbgExceptions: VMCSEncoding { VMCSEncoding(rawValue: 0x6822) }
  /// GUEST_SYSENTER_ESP.
  @inlinable public static var guestSYSENTERESP: VMCSEncoding { VMCSEncoding(rawValue: 0x6824) }
  /// GUEST_SYSENTER_EIP.
  @inlinable public static var guestSYSENTEREIP: VMCSEncoding { VMCSEncoding(rawValue: 0x6826) }
  /// GUEST_S_CET.
  @inlinable public static var guestSCET: VMCSEncoding { VMCSEncoding(rawValue: 0x6828) }
  /// GUEST_SSP.
  @inlinable public static var guestSSP: VMCSEncoding { VMCSEncoding(rawValue: 0x682a) }
  /// GUEST_INTR_SSP_TABLE.
  @inlinable public static var guestIntrSSPTable: VMCSEncoding { VMCSEncoding(rawValue: 0x682c) }
  /// HOST_CR0.
  @inlinable public static var hostCR0: VMCSEncoding { VMCSEncoding(rawValue: 0x6c00) }
  /// HOST_CR3.
  @inlinable public static var hostCR3: VMCSEncoding { VMCSEncoding(rawValue: 0x6c02) }
  /// HOST_CR4.
  @inlinable public static var hostCR4: VMCSEncoding { VMCSEncoding(rawValue: 0x6c04) }
  /// HOST_FS_BASE.
  @inlinable public static var hostFSBase: VMCSEncoding { VMCSEncoding(rawValue: 0x6c06) }
  /// HOST_GS_BASE.
  @inlinable public static var hostGSBase: VMCSEncoding { VMCSEncoding(rawValue: 0x6c08) }
  /// HOST_TR_BASE.
  @inlinable public static var hostTRBase: VMCSEncoding { VMCSEncoding(rawValue: 0x6c0a) }
  /// HOST_GDTR_BASE.
  @inlinable public static var hostGDTRBase: VMCSEncoding { VMCSEncoding(rawValue: 0x6c0c) }
  /// HOST_IDTR_BASE.
  @inlinable public static var hostIDTRBase: VMCSEncoding { VMCSEncoding(rawValue: 0x6c0e) }
  /// HOST_IA32_SYSENTER_ESP.
  @inlinable public static var hostIA32SYSENTERESP: VMCSEncoding { VMCSEncoding(rawValue: 0x6c10) }
  /// HOST_IA32_SYSENTER_EIP.
  @inlinable public static var hostIA32SYSENTEREIP: VMCSEncoding { VMCSEncoding(rawValue: 0x6c12) }
  /// HOST_RSP.
  @inlinable public static var hostRSP: VMCSEncoding { VMCSEncoding(rawValue: 0x6c14) }
  /// HOST_RIP.
  @inlinable public static var hostRIP: VMCSEncoding { VMCSEncoding(rawValue: 0x6c16) }
  /// HOST_S_CET.
  @inlinable public static var hostSCET: VMCSEncoding { VMCSEncoding(rawValue: 0x6c18) }
  /// HOST_SSP.
  @inlinable public static var hostSSP: VMCSEncoding { VMCSEncoding(rawValue: 0x6c1a) }
  /// HOST_INTR_SSP_TABLE.
  @inlinable public static var hostIntrSSPTable: VMCSEncoding { VMCSEncoding(rawValue: 0x6c1c) }
}
