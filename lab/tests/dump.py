#!/usr/bin/env python3
"""Holds `vmctop state --format json` to what the kernel's own dump_vmcs() printed of the same vCPU.

  dump.py DMESG STATE_JSON      a line per field that differs, then how many were compared

dump_vmcs() reads each field by VMREAD (arch/x86/kvm/vmx/vmx.c). This reads its text, and knows nothing of vmctop's source.
"""
import json
import re
import sys

HEX = r"(?:0x)?([0-9a-f]+)"
# One regular expression per line of the dump; its groups are the fields. `_` is a group that is not compared.
LINES = [
    (rf"CR0: actual={HEX}, shadow={HEX}, gh_mask={HEX}", ["GUEST_CR0", "CR0_READ_SHADOW", "CR0_GUEST_HOST_MASK"]),
    (rf"CR4: actual={HEX}, shadow={HEX}, gh_mask={HEX}", ["GUEST_CR4", "CR4_READ_SHADOW", "CR4_GUEST_HOST_MASK"]),
    (rf"CR3 = {HEX}$", ["GUEST_CR3"]),
    (rf"PDPTR0 = {HEX}  PDPTR1 = {HEX}", ["GUEST_PDPTR0", "GUEST_PDPTR1"]),
    (rf"PDPTR2 = {HEX}  PDPTR3 = {HEX}", ["GUEST_PDPTR2", "GUEST_PDPTR3"]),
    (rf"RSP = {HEX}  RIP = {HEX}", ["GUEST_RSP", "GUEST_RIP"]),
    (rf"RFLAGS={HEX} +DR7 = {HEX}", ["GUEST_RFLAGS", "GUEST_DR7"]),
    *[(rf"(?<![A-Z]){s}: +sel={HEX}, attr={HEX}, limit={HEX}, base={HEX}",
       [f"GUEST_{n}_SELECTOR", f"GUEST_{n}_AR_BYTES", f"GUEST_{n}_LIMIT", f"GUEST_{n}_BASE"])
      for s, n in [("CS", "CS"), ("DS", "DS"), ("SS", "SS"), ("ES", "ES"), ("FS", "FS"), ("GS", "GS"), ("LDTR", "LDTR"), ("TR", "TR")]],
    (rf"GDTR: +limit={HEX}, base={HEX}", ["GUEST_GDTR_LIMIT", "GUEST_GDTR_BASE"]),
    (rf"IDTR: +limit={HEX}, base={HEX}", ["GUEST_IDTR_LIMIT", "GUEST_IDTR_BASE"]),
    (rf"CPUBased={HEX} SecondaryExec={HEX} TertiaryExec={HEX}",
     ["CPU_BASED_VM_EXEC_CONTROL", "SECONDARY_VM_EXEC_CONTROL", "TERTIARY_VM_EXEC_CONTROL"]),
    (rf"PinBased={HEX} EntryControls={HEX} ExitControls={HEX}",
     ["PIN_BASED_VM_EXEC_CONTROL", "VM_ENTRY_CONTROLS", "VM_EXIT_CONTROLS"]),
    (rf"ExceptionBitmap={HEX} PFECmask={HEX} PFECmatch={HEX}",
     ["EXCEPTION_BITMAP", "PAGE_FAULT_ERROR_CODE_MASK", "PAGE_FAULT_ERROR_CODE_MATCH"]),
    (rf"reason={HEX} qualification={HEX}", ["VM_EXIT_REASON", "EXIT_QUALIFICATION"]),
    (rf"TSC Offset = {HEX}", ["TSC_OFFSET"]),
    (rf"TSC Multiplier = {HEX}", ["TSC_MULTIPLIER"]),
    (rf"Sysenter RSP={HEX} CS:RIP={HEX}:{HEX}", ["GUEST_SYSENTER_ESP", "GUEST_SYSENTER_CS", "GUEST_SYSENTER_EIP"]),
    (rf"DebugCtl = {HEX}  DebugExceptions = {HEX}", ["GUEST_IA32_DEBUGCTL", "GUEST_PENDING_DBG_EXCEPTIONS"]),
    (rf"PerfGlobCtl = {HEX}", ["GUEST_IA32_PERF_GLOBAL_CTRL"]),
    (rf"BndCfgS = {HEX}", ["GUEST_BNDCFGS"]),
    (rf"Interruptibility = {HEX}  ActivityState = {HEX}", ["GUEST_INTERRUPTIBILITY_INFO", "GUEST_ACTIVITY_STATE"]),
    (rf"InterruptStatus = {HEX}", ["GUEST_INTR_STATUS"]),
    (rf"VMEntry: intr_info={HEX} errcode={HEX} ilen={HEX}",
     ["VM_ENTRY_INTR_INFO_FIELD", "VM_ENTRY_EXCEPTION_ERROR_CODE", "VM_ENTRY_INSTRUCTION_LEN"]),
    (rf"VMExit: intr_info={HEX} errcode={HEX} ilen={HEX}",
     ["VM_EXIT_INTR_INFO", "VM_EXIT_INTR_ERROR_CODE", "VM_EXIT_INSTRUCTION_LEN"]),
    (rf"IDTVectoring: info={HEX} errcode={HEX}", ["IDT_VECTORING_INFO_FIELD", "IDT_VECTORING_ERROR_CODE"]),
    (rf"TPR Threshold = {HEX}", ["TPR_THRESHOLD"]),
    (rf"VE info address = {HEX}", ["VE_INFORMATION_ADDRESS"]),
    (rf"virt-APIC addr = {HEX}", ["VIRTUAL_APIC_PAGE_ADDR"]),
    (rf"APIC-access addr = {HEX}", ["APIC_ACCESS_ADDR"]),
    (rf"PostedIntrVec = {HEX}", ["POSTED_INTR_NV"]),
    (rf"EPT pointer = {HEX}", ["EPT_POINTER"]),
    (rf"PLE Gap={HEX} Window={HEX}", ["PLE_GAP", "PLE_WINDOW"]),
    (rf"Virtual processor ID = {HEX}", ["VIRTUAL_PROCESSOR_ID"]),
]
HOST = [
    (rf"RIP = {HEX}  RSP = {HEX}", ["HOST_RIP", "HOST_RSP"]),
    (rf"CS={HEX} SS={HEX} DS={HEX} ES={HEX} FS={HEX} GS={HEX} TR={HEX}",
     [f"HOST_{n}_SELECTOR" for n in ("CS", "SS", "DS", "ES", "FS", "GS", "TR")]),
    (rf"FSBase={HEX} GSBase={HEX} TRBase={HEX}", ["HOST_FS_BASE", "HOST_GS_BASE", "HOST_TR_BASE"]),
    (rf"GDTBase={HEX} IDTBase={HEX}", ["HOST_GDTR_BASE", "HOST_IDTR_BASE"]),
    (rf"CR0={HEX} CR3={HEX} CR4={HEX}", ["HOST_CR0", "HOST_CR3", "HOST_CR4"]),
    (rf"Sysenter RSP={HEX} CS:RIP={HEX}:{HEX}", ["HOST_IA32_SYSENTER_ESP", "HOST_IA32_SYSENTER_CS", "HOST_IA32_SYSENTER_EIP"]),
    (rf"EFER= ?{HEX}", ["HOST_IA32_EFER"]),
    (rf"PAT = {HEX}", ["HOST_IA32_PAT"]),
    (rf"PerfGlobCtl = {HEX}", ["HOST_IA32_PERF_GLOBAL_CTRL"]),
]
GUEST = [(rf"EFER= ?{HEX}", ["GUEST_IA32_EFER"]), (rf"PAT = {HEX}", ["GUEST_IA32_PAT"])]

# What vmctop must be able to show of any vCPU.
NEEDED = {
    "PIN_BASED_VM_EXEC_CONTROL", "CPU_BASED_VM_EXEC_CONTROL", "SECONDARY_VM_EXEC_CONTROL", "TERTIARY_VM_EXEC_CONTROL",
    "VM_ENTRY_CONTROLS", "VM_EXIT_CONTROLS", "EXCEPTION_BITMAP", "GUEST_CR0", "GUEST_CR3", "GUEST_CR4", "CR0_READ_SHADOW",
    "CR4_READ_SHADOW", "CR0_GUEST_HOST_MASK", "CR4_GUEST_HOST_MASK", "GUEST_RIP", "GUEST_RSP", "GUEST_RFLAGS", "GUEST_DR7",
    "GUEST_IA32_EFER", "GUEST_IA32_PAT", "TSC_OFFSET", "TSC_MULTIPLIER", "EPT_POINTER", "VIRTUAL_PROCESSOR_ID", "VM_EXIT_REASON",
    "VIRTUAL_APIC_PAGE_ADDR", "HOST_CR3", "HOST_CR4", "HOST_RIP", "HOST_RSP", "HOST_FS_BASE", "HOST_GS_BASE", "HOST_IDTR_BASE",
    "HOST_IA32_PAT", "HOST_IA32_EFER", "HOST_CR0", "HOST_TR_BASE", "HOST_GDTR_BASE", "HOST_IA32_SYSENTER_CS", "HOST_IA32_SYSENTER_ESP",
    "HOST_IA32_SYSENTER_EIP", "APIC_ACCESS_ADDR", "GUEST_ACTIVITY_STATE",
}


def dumps(text):
    """Each dump in a kernel log, as field name to value."""
    found, part = [], None
    for line in text.splitlines():
        if "*** Guest State ***" in line:
            found.append({})
            part = GUEST
        elif "*** Host State ***" in line:
            part = HOST
        elif "*** Control State ***" in line:
            part = []
        elif part is not None:
            # In the host's part the lines of the guest's would match too.
            for pattern, names in part + ([] if part is HOST else LINES):
                if match := re.search(pattern, line):
                    found[-1].update({name: int(value, 16) for name, value in zip(names, match.groups()) if name not in found[-1]})
    return found


def compare(dump, vcpu):
    """(fields that are equal, [(name, dump's, vmctop's, provenance)] that are not, those vmctop shows as stale and differ)."""
    equal, differing, stale = [], [], []
    for field in vcpu["fields"]:
        name, value = field["name"], field["value"]
        if name not in dump or value is None:
            continue
        if int(value, 16) == dump[name]:
            equal.append(name)
        else:
            (stale if field["provenance"] == "stale" else differing).append((name, hex(dump[name]), value, field["provenance"]))
    return equal, differing, stale


def main():
    dump = dumps(open(sys.argv[1], errors="replace").read())[-1]
    state = json.load(open(sys.argv[2]))
    equal, differing, stale = compare(dump, state["vcpus"][0])
    for name, theirs, ours, provenance in differing + stale:
        print(f"{name}: dump_vmcs() {theirs}, vmctop {ours} ({provenance})")
    kinds = {}
    for field in state["vcpus"][0]["fields"]:
        kinds[field["provenance"]] = kinds.get(field["provenance"], 0) + 1
    print(f"{len(dump)} fields in the dump, {len(equal)} equal, {len(differing)} differ, {len(stale)} stale and differ; "
          f"of {len(state['vcpus'][0]['fields'])} fields: " + ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items())))
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
