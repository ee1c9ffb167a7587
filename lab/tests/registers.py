#!/usr/bin/env python3
"""Holds `vmctop state --format json` to what QEMU's `info registers` printed of the same paused vCPU, and to the values that
the guest of registers.S gave to registers which `info registers` does not print.

  registers.py QMP_OUTPUT STATE_JSON      a line per register that differs, then how many were compared

QEMU asks KVM for the registers by its ioctls (target/i386/cpu-dump.c prints them). This reads its text, and knows nothing of
vmctop's source.
"""
import json
import re
import sys

HEX = r"([0-9a-f]+)"
GENERAL = ["RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RBP", "RSP", *(f"R{n}" for n in range(8, 16))]
SEGMENTS = ["ES", "CS", "SS", "DS", "FS", "GS", "LDT", "TR"]
# vmctop's name of each register that QEMU prints, by instruction set. `other` are named alike on both.
NAMES = {
    "svm": {"RIP": "RIP", "RFL": "save.rflags", "CPL": "save.cpl", "CR0": "CR0", "CR3": "CR3", "CR4": "CR4", "EFER": "EFER", "DR7": "DR7",
            "II": "control.int_state", **{f"{t}DT.{a}": f"save.{t.lower()}dtr.{a}" for t in "GI" for a in ("base", "limit")},
            **{f"{s}.{a}": f"save.{'ldtr' if s == 'LDT' else s.lower()}.{b}" for s in SEGMENTS
               for a, b in (("selector", "selector"), ("base", "base"), ("limit", "limit"), ("flags", "attrib"))}},
    # CPL is the DPL of SS there.
    "vmx": {"RIP": "GUEST_RIP", "RFL": "GUEST_RFLAGS", "CPL": "GUEST_SS_AR_BYTES", "CR0": "CR0_READ_SHADOW", "CR3": "GUEST_CR3", "CR4": "CR4_READ_SHADOW",
            "EFER": "GUEST_IA32_EFER", "DR7": "GUEST_DR7", "II": "GUEST_INTERRUPTIBILITY_INFO",
            **{f"{t}DT.{a}": f"GUEST_{t}DTR_{a.upper()}" for t in "GI" for a in ("base", "limit")},
            **{f"{s}.{a}": f"GUEST_{'LDTR' if s == 'LDT' else s}_{b}" for s in SEGMENTS
               for a, b in (("selector", "SELECTOR"), ("base", "BASE"), ("limit", "LIMIT"), ("flags", "AR_BYTES"))}},
}
for names in NAMES.values():
    names.update({name: name for name in GENERAL + ["CR2", "DR0", "DR1", "DR2", "DR3", "DR6"]}, HLT="MP_STATE")

# What registers.S writes and `info registers` leaves out: an MSR each, and the task priority.
PLANTED = {
    "svm": {"save.kernel_gs_base": 0x5f0011223340, "save.star": 0x23001800000000, "save.lstar": 0xffffffff81a00010,
            "save.cstar": 0xffffffff81a00020, "save.sfmask": 0x47700, "save.sysenter_cs": 0x18, "save.sysenter_esp": 0x1234567000,
            "save.sysenter_eip": 0xffffffff81b00030, "CR8": 9, "APIC_TPR": 0x90},
    "vmx": {"CR8": 9, "APIC_TPR": 0x90},
}


def answers(text):
    """What QMP returned as text, each command's."""
    found = []
    for line in text.splitlines():
        try:
            answer = json.loads(line)
        except ValueError:
            continue
        if isinstance(answer, dict) and isinstance(answer.get("return"), str):
            found.append(answer["return"])
    return found


def registers(text):
    """Name to number, of the text of `info registers` of one vCPU in 64-bit mode."""
    found = {}
    for name, value in re.findall(rf"\b(R[A-Z0-9]{{1,2}}|RFL|CR[0-9]|DR[0-9]|EFER|CPL|II|HLT) ?={HEX}", text):
        found[name] = int(value, 16)
    for name, *parts in re.findall(rf"^(ES|CS|SS|DS|FS|GS|LDT|TR) ?={HEX} {HEX} {HEX} {HEX}", text, re.M):
        for part, value in zip(("selector", "base", "limit", "flags"), parts):
            found[f"{name}.{part}"] = int(value, 16)
    for name, base, limit in re.findall(rf"^(GDT|IDT)= +{HEX} {HEX}", text, re.M):
        found[f"{name}.base"], found[f"{name}.limit"] = int(base, 16), int(limit, 16)
    return found


def comparable(name, isa, value):
    """vmctop's value as QEMU would print it, after what KVM's ioctls and QEMU make of it."""
    if name.endswith(".flags"):
        if isa == "svm":
            # struct vmcb_seg's 12 bits; KVM says busy of every TSS (svm_get_segment()).
            value = (value & 0xff) << 8 | (value & 0xf00) << 12 | (0x200 if name == "TR.flags" else 0)
        else:
            value = (value & 0xf0ff) << 8
    elif name == "CPL" and isa == "vmx":
        value = value >> 5 & 3
    elif name == "II":
        value = 1 if value & (1 if isa == "svm" else 3) else 0
    elif name == "HLT":
        value = 1 if value == 3 else 0
    return value


def compare(printed, vcpu):
    """(registers that are equal, [(register, QEMU's, vmctop's, provenance)] that differ, those that vmctop has no value of)."""
    isa = vcpu["isa"]
    fields = {field["name"]: field for field in vcpu["fields"] + vcpu["other"]}
    equal, differing, missing = [], [], []
    for name, theirs in printed.items():
        field = fields.get(NAMES[isa].get(name))
        if field is None or field["value"] is None:
            missing.append(name)
            continue
        ours = comparable(name, isa, int(field["value"], 16))
        if ours == theirs and field["provenance"] in ("measured", "derived"):
            equal.append(name)
        else:
            differing.append((name, hex(theirs), hex(ours), field["provenance"]))
    return equal, differing, missing


def planted(vcpu):
    """[(field, what the guest wrote, vmctop's, provenance)] that differ."""
    fields = {field["name"]: field for field in vcpu["fields"] + vcpu["other"]}
    differing = []
    for name, theirs in PLANTED[vcpu["isa"]].items():
        field = fields.get(name, {"value": None, "provenance": "no such field"})
        if field["value"] is None or int(field["value"], 16) != theirs or field["provenance"] not in ("measured", "derived"):
            differing.append((name, hex(theirs), field["value"], field["provenance"]))
    return differing


def expected():
    """Every register that the text has of a vCPU in 64-bit mode and that is compared."""
    return {*GENERAL, "RIP", "RFL", "CPL", "II", "HLT", "CR0", "CR2", "CR3", "CR4", "EFER", "DR0", "DR1", "DR2", "DR3", "DR6", "DR7",
            "GDT.base", "GDT.limit", "IDT.base", "IDT.limit",
            *(f"{s}.{p}" for s in SEGMENTS for p in ("selector", "base", "limit", "flags"))}


def judge(checks, name, answer, state, absent=()):
    """Checks one reading; returns its vCPU, or None. `absent`: registers that vmctop may have no value of."""
    printed = registers(answer)
    try:
        checks.equal(state["schema"], "vmctop/state/1", f"{name}: the schema is vmctop/state/1")
        if not checks.equal(len(state["vcpus"]), 1, f"{name}: the one vCPU is found"):
            return None
        vcpu = state["vcpus"][0]
        equal, differing, missing = compare(printed, vcpu)
        checks.equal(sorted(expected() - set(printed)), [], f"{name}: QEMU printed every register")
        checks.equal([register for register in missing if register not in absent], [], f"{name}: vmctop has a value of every register that QEMU printed")
        checks.equal(differing, [], f"{name}: no register differs from info registers; {len(equal)} are equal")
        checks.equal(planted(vcpu), [], f"{name}: registers that QEMU does not print are as the guest wrote them")
        rows = vcpu["fields"] + vcpu["other"]
        checks.equal([f["name"] for f in rows if (f["value"] is None) != (f["provenance"] == "unavailable") or not f["how"]], [],
                     f"{name}: a value with its provenance, or a reason, in every row")
        checks.that(len(vcpu["fields"]) > 100, f"{name}: every field of the control structure has a row", f"{len(vcpu['fields'])}")
        checks.equal([d["name"] for d in vcpu["differences"] if not d["measured"]], [], f"{name}: every difference has a reason that was read")
        return vcpu
    except (KeyError, TypeError, IndexError) as error:
        checks.that(False, f"{name}: the JSON has the keys of vmctop/state/1", repr(error))
        return None


def judge_disabled_exits(checks, usual, powered):
    """HLT exits in the one, not in the other, and vmctop says why."""
    hlt = {"svm": "INTERCEPT_HLT", "vmx": "CPU_BASED_HLT_EXITING"}[powered["isa"]]
    off = {d["name"]: d["why"] for d in powered["differences"] if not d["value"]}
    checks.that("KVM_X86_DISABLE_EXITS_HLT" in off.get(hlt, ""), "powered: HLT does not exit, and the capability is named", f"{off}")
    checks.that(hlt not in {d["name"] for d in usual["differences"]}, "registers: HLT exits")


def main():
    printed = registers(answers(open(sys.argv[1], errors="replace").read())[-1])
    vcpu = json.load(open(sys.argv[2]))["vcpus"][0]
    equal, differing, missing = compare(printed, vcpu)
    for name, theirs, ours, provenance in differing:
        print(f"{name}: info registers {theirs}, vmctop {ours} ({provenance})")
    for name, theirs, ours, provenance in planted(vcpu):
        print(f"{name}: the guest wrote {theirs}, vmctop {ours} ({provenance})")
    print(f"{len(printed)} registers printed, {len(equal)} equal, {len(differing)} differ, {len(missing)} not shown by vmctop: "
          f"{' '.join(missing) or 'none'}; of {len(expected())} expected {len(expected() - set(printed))} are not printed")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
