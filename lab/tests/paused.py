#!/usr/bin/env python3
"""Hold `vmctop state` to QEMU's own `info registers` on kvm_intel, for a guest that stands still in each mode of the processor.

  paused.py VMCTOP [--only intel-6.12[,intel-6.1]] [--out DIR] [--judge]

Boots a lab for each kernel; in it lab/register-guest runs in each of its modes, with a second vCPU as at reset. QEMU stops it and
prints all registers on its monitor for people, which is the yardstick; then vmctop reads the same vCPUs from kernel memory, and
asks the same QEMU by QMP. In this order, since KVM reads a register out of the VMCS when QEMU asks for it, and not before.
One line per check, as lab/tests/run. The exit status is 0 when nothing failed.
"""
import json
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import check  # noqa: E402

MODES = ["long", "user", "compatibility", "protected", "real"]
LABS = ["intel-6.12", "intel-6.1"]
SCRIPT = """
uname -r > /out/kernel.txt
say() { echo "--- $mode: $*"; }
for mode in long user compatibility protected real; do
  say starts
  rm -f /run/hmp /run/qmp /run/there; mkfifo /run/hmp
  qemu-system-x86_64 -M pc -cpu host -accel kvm -m 16 -smp 2 -nodefaults -display none -name $mode,debug-threads=on -bios /guest/$mode.bin \\
    -qmp unix:/run/qmp,server=on,wait=off -debugcon file:/run/there -monitor stdio < /run/hmp > /out/$mode.hmp 2>&1 & qemu=$!
  exec 3> /run/hmp
  i=0; while [ ! -s /run/there ] && [ $i -lt 300 ]; do sleep 0.1; i=$((i+1)); done
  sleep 1
  echo stop >&3; echo 'info registers -a' >&3
  i=0; while [ $(grep -c XMM07 /out/$mode.hmp) -lt 2 ] && [ $i -lt 300 ]; do sleep 0.1; i=$((i+1)); done
  say printed
  $VMCTOP state --ask-vmm --format json > /out/$mode.json 2>> /out/$mode.stderr; echo $? > /out/$mode.status
  # An emulated processor takes many seconds for each run: one page and one look by doctor are enough for reading.
  if [ $mode = long ]; then
    $VMCTOP state --ask-vmm > /out/$mode.txt 2>&1
    $VMCTOP doctor > /out/doctor.txt 2>&1
  fi
  echo quit >&3; exec 3>&-
  wait $qemu
  say ended
done
"""

HEX = r"([0-9a-f]+)"
SEGMENTS = {"ES": "ES", "CS": "CS", "SS": "SS", "DS": "DS", "FS": "FS", "GS": "GS", "LDT": "LDTR", "TR": "TR"}
GENERAL = ["AX", "BX", "CX", "DX", "SI", "DI", "BP"]


def registers(text):
    """What QEMU printed of each vCPU: name of vmctop's field to (value, mask of the bits that were printed)."""
    machines = {}
    for index, part in re.findall(r"CPU#(\d+)\s*\n(.*?)\nFCW=", text.replace("\r", ""), re.S):
        found = {}

        def put(name, digits, mask=None):
            found[name] = (int(digits, 16), (1 << 4 * len(digits)) - 1 if mask is None else mask)

        for name, digits in re.findall(rf"\b([RE](?:[A-D]X|[SD]I|BP|SP|IP)|[RE]FL|R(?:8|9|1[0-5])|CR[0-4]|DR[0-7]|EFER|HLT) ?={HEX}\b", part):
            name = "R" + name[1:] if name[0] == "E" and name != "EFER" else name
            put({"RIP": "GUEST_RIP", "RSP": "GUEST_RSP", "RFL": "GUEST_RFLAGS", "CR0": "CR0_READ_SHADOW", "CR3": "GUEST_CR3",
                 "CR4": "CR4_READ_SHADOW", "DR7": "GUEST_DR7", "EFER": "GUEST_IA32_EFER", "HLT": "MP_STATE"}.get(name, name), digits)
        for name, selector, base, limit, flags in re.findall(rf"^(ES|CS|SS|DS|FS|GS|LDT|TR) ?={HEX} {HEX} {HEX} {HEX}", part, re.M):
            field = "GUEST_" + SEGMENTS[name]
            put(field + "_SELECTOR", selector)
            put(field + "_BASE", base)
            put(field + "_LIMIT", limit)
            flags = int(flags, 16)
            present = flags >> 15 & 1
            # QEMU clears the present bit of an unusable segment, whose rights mean nothing else either but are handed on.
            rights = flags >> 8 & 0xf0ff | (0 if present else 1 << 16)
            found[field + "_AR_BYTES"] = (rights, 0x1f0ff if present else 0x1f07f)
        for name, base, limit in re.findall(rf"^([GI]DT)= +{HEX} {HEX}", part, re.M):
            put(f"GUEST_{name}R_BASE", base)
            put(f"GUEST_{name}R_LIMIT", limit)
        machines[int(index)] = found
    return machines


def compare(printed, fields):
    """QEMU's registers of a vCPU against vmctop's fields: names that are equal, those that differ, and those without a value.
    A stale one may differ: that is what stale means."""
    own = {field["name"]: field for field in fields}
    equal, differing, absent = [], [], []
    for name, (value, mask) in printed.items():
        field = own.get(name)
        if not field or field["value"] is None:
            absent.append(name)
            continue
        mine = int(field["value"], 16)
        if name == "MP_STATE":
            mine, mask = int(mine == 3), 1
        if (mine ^ value) & mask == 0:
            equal.append(name)
        elif field["provenance"] == "stale":
            absent.append(name)
        else:
            differing.append((name, hex(value), field["value"], field["provenance"]))
    return equal, differing, absent


def judge_mode(checks, out, mode):
    """Returns how many registers were equal."""
    state = check.load(checks, out / f"{mode}.json", f"{mode}: vmctop state prints JSON")
    printed = registers((out / f"{mode}.hmp").read_text(errors="replace"))
    stderr = (out / f"{mode}.stderr").read_text(errors="replace")
    if not state or not checks.equal(sorted(printed), [0, 1], f"{mode}: QEMU printed two vCPUs"):
        return 0
    checks.equal((out / f"{mode}.status").read_text().strip(), "0", f"{mode}: vmctop ends with 0")
    checks.equal(stderr.count("--ask-vmm kicks each vCPU"), 1, f"{mode}: it warns once that it kicks, and only when it asks")
    value, mask = printed[0].get("RAX", (0, 0))
    checks.equal(hex(value), hex((0xa0a0a0a1 if mode == "real" else 0xa0a1a2a3 if mode == "protected" else 0xa0a1a2a3a4a5a6a7) & mask),
                 f"{mode}: the guest was where it stays")
    total = 0
    for vcpu in state["vcpus"]:
        label = f"{mode}, vCPU {vcpu['vcpu']}"
        equal, differing, absent = compare(printed[vcpu["vcpu"]], vcpu["fields"] + vcpu["other"])
        checks.equal(differing, [], f"{label}: no register differs; {len(equal)} are equal")
        print(f"   {label}: without a value, or a stale one: {' '.join(absent) or 'none'}")
        total += len(equal)
        # And what vmctop made of QEMU's answer.
        vmm = vcpu["vmm"]
        checks.equal(vmm["failure"], None, f"{label}: QEMU answers")
        told = {"CR0": "CR0_READ_SHADOW", "CR4": "CR4_READ_SHADOW", "HLT": "MP_STATE"}
        wrong = []
        for reading in vmm["readings"]:
            value = printed[vcpu["vcpu"]].get(told.get(reading["name"], reading["name"]))
            if value and (int(reading["value"], 16) ^ value[0]) & value[1]:
                wrong.append((reading["name"], reading["value"], hex(value[0])))
        checks.equal(wrong, [], f"{label}: vmctop reads QEMU's text as it is meant; {len(vmm['readings'])} registers")
        names = {reading["name"] for reading in vmm["readings"]}
        checks.equal(sorted(n for n in printed[vcpu["vcpu"]] if n not in names and n not in told.values()), [], f"{label}: and leaves out none")
    return total


def boot(lab, vmctop, out):
    vendor, kernel = lab.split("-")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    script = out / "script.sh"
    script.write_text(f"VMCTOP='{vmctop}'\n{SCRIPT}")
    guests = HERE.parent / "register-guest"
    subprocess.run(["make", "-s", "-C", str(guests)], check=True)
    rom = next(path for path in (pathlib.Path("/usr/share/qemu/kvmvapic.bin"), pathlib.Path("/usr/share/seabios/kvmvapic.bin")) if path.exists())
    command = [str(HERE.parent / "kvmlab"), "--vendor", vendor, "--kernel", kernel, "--limit", "2700", "--out", str(out), "--mod", "msr",
               "--bin", vmctop, "--bin", "qemu-system-x86_64", "--add", f"{rom}:/usr/share/qemu/kvmvapic.bin"]
    for mode in MODES:
        command += ["--add", f"{guests / mode}.bin:/guest/{mode}.bin"]
    with open(out / "kvmlab.txt", "w") as log:
        return subprocess.run(command + [str(script)], stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL).returncode


def main(arguments):
    only, out, boots, vmctop = LABS, HERE.parent / "out-paused", True, None
    while arguments:
        argument = arguments.pop(0)
        if argument == "--judge":
            boots = False
        elif argument in ("--only", "--out") and arguments:
            value = arguments.pop(0)
            if argument == "--out":
                out = pathlib.Path(value).resolve()
            else:
                only = value.split(",")
        elif argument.startswith("-") or vmctop:
            print(__doc__.strip())
            return 0 if argument in ("-h", "--help") else 2
        else:
            vmctop = argument
    if set(only) - set(LABS) or boots and not vmctop:
        print(__doc__.strip())
        return 2
    failed = passed = 0
    for lab in only:
        checks = check.Checks(lab, lambda line: print(line, flush=True))
        status = boot(lab, str(pathlib.Path(vmctop).resolve()), out / lab) if boots else 0
        if checks.that(status == 0, "the lab boots and its script ends", f"kvmlab's status {status}, see {out / lab}/kvmlab.txt"):
            total = sum(judge_mode(checks, out / lab, mode) for mode in MODES)
            checks.that(total > 0, f"{total} registers of {2 * len(MODES)} vCPUs are equal")
        failed += checks.failed
        passed += checks.passed
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
