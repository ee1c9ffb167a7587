"""What the lab tests hold vmctop to. Judges files only; `run` makes them, `selftest` shows that each check can fail."""
import json
import re

ISA = {1: "vmx", 2: "svm"}

# What each reason of exitgen's must be charged to: a regular expression over "word/name".
CHARGED = {
    "CPUID": r"none/UNCONDITIONAL", "VMCALL": r"none/UNCONDITIONAL",
    "HLT": r"primary/CPU_BASED_HLT_EXITING", "IO_INSTRUCTION": r"primary/CPU_BASED_UNCOND_IO_EXITING",
    "MSR_READ": r".*/MSR_BITMAP.*", "MSR_WRITE": r".*/MSR_BITMAP.*",
    "CR_ACCESS": r".*/CR[04]_GUEST_HOST_MASK",
    "EPT_VIOLATION": r"ept/.*|secondary/SECONDARY_EXEC_ENABLE_EPT", "EPT_MISCONFIG": r"ept/.*|secondary/SECONDARY_EXEC_ENABLE_EPT",
    "cpuid": r"intercept/INTERCEPT_CPUID", "hypercall": r"intercept/INTERCEPT_VMMCALL",
    "hlt": r"intercept/INTERCEPT_HLT", "io": r"intercept/INTERCEPT_IOIO_PROT", "msr": r"intercept/INTERCEPT_MSR_PROT",
    "write_cr4": r"intercept/INTERCEPT_CR4_WRITE", "cr0_sel_write": r"intercept/INTERCEPT_SELECTIVE_CR0",
    "npf": r"npt/.*",
}


class Checks:
    """Collects `ok` and `not ok` lines. A failed check never stops the rest."""

    def __init__(self, prefix, write=print):
        self.prefix, self.write = prefix, write
        self.passed = self.failed = self.skipped = 0

    def that(self, true, what, why=""):
        if true:
            self.passed += 1
            self.write(f"ok     {self.prefix}: {what}")
        else:
            self.failed += 1
            self.write(f"not ok {self.prefix}: {what}" + (f" ({why})" if why else ""))
        return bool(true)

    def equal(self, got, expected, what):
        return self.that(got == expected, what, f"expected {expected!r}, got {got!r}")

    def skip(self, what, why):
        self.skipped += 1
        self.write(f"SKIP   {self.prefix}: {what} ({why})")


def total(rows, key):
    return sum(row.get(key) or 0 for row in rows)


def sums(checks, name, triage):
    """What holds for every report: nothing is counted twice, nothing is left uncharged."""
    exits = triage.get("exits")
    checks.equal(triage.get("schema"), "vmctop/triage/1", f"{name}: schema")
    checks.that(isinstance(exits, int) and exits > 0, f"{name}: there are exits", f"exits {exits!r}")
    checks.equal(total(triage["reasons"], "count"), exits, f"{name}: reasons add up to exits")
    checks.equal(total(triage["controls"], "exits"), exits, f"{name}: controls add up to exits")
    vcpus = [v for vm in triage["vms"] for v in vm["vcpus"]]
    checks.equal(total(vcpus, "exits"), exits, f"{name}: vCPUs add up to exits")
    bad = [r["name"] for r in triage["reasons"] if total(r["controls"], "count") != r["count"]]
    checks.that(not bad, f"{name}: each reason's controls add up to its count", f"not for {', '.join(bad)}")
    charged = {}
    for reason in triage["reasons"]:
        for control in reason["controls"]:
            key = (control["word"], control["name"], control.get("bit"))
            charged[key] = charged.get(key, 0) + control["count"]
    listed = {}
    for control in triage["controls"]:
        if control["exits"]:
            key = (control["word"], control["name"], control.get("bit"))
            listed[key] = listed.get(key, 0) + control["exits"]
    # Where the reasons' controls carry no bit, it is left out of the comparison.
    if all(bit is None for _, _, bit in charged):
        merged = {}
        for (word, label, _), count in listed.items():
            merged[(word, label, None)] = merged.get((word, label, None), 0) + count
        listed = merged
    checks.equal(listed, charged, f"{name}: the list of controls is the sum over the reasons")
    checks.equal(triage.get("lost_events"), 0, f"{name}: no event lost")


def reason_counts(triage):
    """By the tracepoint's name; settings of the controls added together."""
    counts = {}
    for reason in triage["reasons"]:
        counts[reason["name"]] = counts.get(reason["name"], 0) + reason["count"]
    return counts


def details(triage, names, kind):
    """Value (as a number) to count, over the reasons called `names`."""
    found = {}
    for reason in triage["reasons"]:
        if reason["name"] not in names:
            continue
        for detail in reason["details"]:
            if detail["kind"] != kind:
                continue
            match = re.match(r"0x[0-9a-fA-F]+|\d+", str(detail["value"]))
            if match:
                value = int(match[0], 0)
                found[value] = found.get(value, 0) + detail["count"]
    return found


def truth(checks, name, triage, made):
    """The report against what exitgen says that it made: every count, control and detail exactly."""
    counts = reason_counts(triage)
    for reason, count in made["reasons"].items():
        checks.equal(counts.get(reason, 0), count, f"{name}: {count} {reason}")
        row = next((r for r in triage["reasons"] if r["name"] == reason), None)
        if row:
            wrong = [f"{c['word']}/{c['name']}" for c in row["controls"]
                     if not re.fullmatch(CHARGED[reason], f"{c['word']}/{c['name']}")]
            checks.that(row["controls"] and not wrong, f"{name}: {reason} is charged to {CHARGED[reason]}",
                        f"charged to {', '.join(wrong) or 'nothing'}")

    known = made["details"]

    def value(key):
        return int(known[key], 0)

    io = details(triage, {"IO_INSTRUCTION", "io"}, "port")
    expected = {value("in_port"): made["in"], value("out_port"): made["out"], value("end_port"): made["end_out"]}
    checks.equal(io, {port: n for port, n in expected.items() if n}, f"{name}: ports")
    for names, wanted in (({"MSR_READ"}, {"read_msr": "rdmsr"}), ({"MSR_WRITE"}, {"write_msr": "wrmsr"}),
                          ({"msr"}, {"read_msr": "rdmsr", "write_msr": "wrmsr"})):
        if names & set(made["reasons"]):
            checks.equal(details(triage, names, "msr"), {value(k): made[n] for k, n in wanted.items() if made[n]},
                         f"{name}: MSRs of {', '.join(names)}")
    if made["cpuid"]:
        checks.equal(details(triage, {"CPUID", "cpuid"}, "cpuid-leaf"), {value("cpuid_leaf"): made["cpuid"]}, f"{name}: CPUID leaf")
    if made["mmio"]:
        addresses = details(triage, {"EPT_MISCONFIG", "npf"}, "gpa")
        # The first access of all is an EPT_VIOLATION on Intel, an npf like the others on AMD. It is the most frequent address by
        # far, so it must be exact even where a bounded table gave up some of the fresh pages' addresses.
        accesses = made["reasons"].get("EPT_MISCONFIG", made["mmio"] + made["laps"])
        checks.equal(addresses.get(value("mmio_gpa")), accesses, f"{name}: address of the MMIO writes")
    if made["vmcall"]:
        calls = details(triage, {"VMCALL", "hypercall"}, "hypercall")
        if calls:
            checks.equal(calls, {value("hypercall"): made["vmcall"]}, f"{name}: hypercall number")


def machine(checks, name, triage, made, label):
    """The virtual machine is found, with its process and threads."""
    vm = next((vm for vm in triage["vms"] if vm["pid"] == made["pid"]), None)
    if not checks.that(vm, f"{name}: the virtual machine has exitgen's pid", f"pids {[v['pid'] for v in triage['vms']]}, exitgen {made['pid']}"):
        return
    checks.that(vm["name"] in (label, None) or label in str(vm["name"]), f"{name}: the virtual machine is {label} or nameless", f"{vm['name']!r}")
    checks.equal(sorted(v["tid"] for v in vm["vcpus"] if v["exits"]), sorted(made["tids"]), f"{name}: the vCPUs have exitgen's threads")
    checks.equal([v["id"] for v in vm["vcpus"] if v["exits"]], list(range(made["vcpus"])), f"{name}: vCPU ids")
    if made["hlt"]:
        checks.that(total(vm["vcpus"], "halted_ns") > 0, f"{name}: time halted is seen")
    for key in ("guest_ns", "kernel_ns", "user_ns"):
        checks.that(total(vm["vcpus"], key) > 0, f"{name}: {key} is seen")
    over = [v for v in vm["vcpus"] if v["guest_ns"] + v["kernel_ns"] + v["user_ns"] + v["halted_ns"] > triage["window_ns"]]
    checks.that(not over, f"{name}: no vCPU's time is longer than the window", f"{over}")


# The control that exitgen's --flip changes: word, place in it, and its value before. And what --disable-exits 7 turns off.
FLIPPED = {"intel": ("secondary", None, 0, 1), "amd": ("intercepts", 2, 3, 0)}
DISABLED = {
    "intel": {"CPU_BASED_HLT_EXITING": "HLT", "CPU_BASED_MWAIT_EXITING": "MWAIT", "CPU_BASED_MONITOR_EXITING": "MWAIT",
              "SECONDARY_EXEC_PAUSE_LOOP_EXITING": "PAUSE"},
    "amd": {"INTERCEPT_HLT": "HLT"},
}


def settings(checks, triage, made, vendor, name="settings", machines=1):
    """Exactly the exits of the laps before the change are in one setting, those after it in another."""
    checks.equal(total(triage["settings"], "exits"), triage["exits"], f"{name}: their exits add up to all")
    rows = [row for row in triage["settings"] if row["exits"]]
    if not checks.equal(len(rows), 2, f"{name}: two have exits; {[row['label'] for row in triage['settings']]}"):
        return
    word, index, bit, before = FLIPPED[vendor]
    for row, laps, value in ((rows[0], made["flip"], before), (rows[1], made["laps"] - made["flip"], 1 - before)):
        label = f"{name}: {row['label']}"
        known = row["words"][word]
        if checks.that(known, f"{label} has its words", f"{row['words']}"):
            number = int(known if index is None else known[index], 16)
            checks.equal(number >> bit & 1, value, f"{label}: the control that was changed")
        counts = {reason["name"]: reason["count"] for reason in row["reasons"]}
        for reason in ("CPUID", "cpuid", "IO_INSTRUCTION", "io", "VMCALL", "hypercall"):
            if reason in made["reasons"]:
                checks.equal(counts.get(reason, 0), made["reasons"][reason] // made["laps"] * laps, f"{label}: {laps} laps of {reason}")
        checks.equal(total(row["controls"], "exits"), row["exits"], f"{label}: its controls add up")
        checks.equal(total(row["reasons"], "count"), row["exits"], f"{label}: its reasons add up")
        checks.that(row["residence_ns"] > 0, f"{label}: it took time")
    if machines == 1:
        checks.equal([row["vcpus"] for row in rows], [0, 1], f"{name}: the vCPU is in the second")


def disabled(checks, state, vendor):
    """What the VMM turned off is off, differs from the rule, and the reason was read."""
    if not checks.equal(len(state["vcpus"]), 1, "disabled exits: the one vCPU is found"):
        return
    found = {row["name"]: row for row in state["vcpus"][0]["differences"]}
    for name, kind in DISABLED[vendor].items():
        row = found.get(name)
        checks.that(row and row["value"] is False and row["measured"] and f"KVM_X86_DISABLE_EXITS_{kind}" in row["why"],
                    f"disabled exits: {name} is 0 for KVM_X86_DISABLE_EXITS_{kind}", f"{row}")


PERF_ROW = re.compile(r"^\s*(?P<name>\S+)\s+(?P<samples>\d+)\s+[\d.]+%\s+[\d.]+%\s+(?P<min>[\d.]+)us\s+(?P<max>[\d.]+)us\s+(?P<mean>[\d.]+)us")
PERF_TOTAL = re.compile(r"Total Samples:(\d+), Total events handled time:([\d.]+)us")


def perf_report(text):
    """The rows of `perf kvm stat report` and its total line."""
    rows = {m["name"]: {"samples": int(m["samples"]), **{k: float(m[k]) for k in ("min", "max", "mean")}}
            for m in map(PERF_ROW.match, text.splitlines()) if m}
    found = PERF_TOTAL.search(text)
    return rows, (int(found[1]), float(found[2])) if found else None


def perf(checks, name, triage, text):
    """The report on perf.data against perf's own, row by row. perf counts an exit when a kvm_entry of the same vCPU follows, so
    what is equal is `paired`; times are compared in the two digits of a microsecond that perf prints."""
    rows, total_line = perf_report(text)
    checks.that(len(rows) >= 8, f"{name}: perf kvm stat report has rows", f"{len(rows)}")
    mine = {r["name"]: r["handling_ns"] for r in triage["reasons"] if r["handling_ns"]["paired"]}
    checks.equal({key: h["paired"] for key, h in mine.items()}, {key: row["samples"] for key, row in rows.items()},
                 f"{name}: the same exits and samples as perf kvm stat report")
    for key, row in sorted(rows.items()):
        for figure in ("min", "max", "mean"):
            got = mine.get(key, {}).get(figure)
            checks.that(got is not None and abs(got / 1000 - row[figure]) <= 0.0051, f"{name}: {key} {figure} as perf has it",
                        f"perf {row[figure]} us, vmctop {got} ns")
    sums = (sum(h["paired"] for h in mine.values()), sum(h["total"] for h in mine.values()) / 1000)
    checks.that(total_line and sums[0] == total_line[0] and abs(sums[1] - total_line[1]) <= 0.0051,
                f"{name}: samples and handled time in all as perf has them", f"perf {total_line}, vmctop {sums}")


def busy(checks, name, triage, measured):
    """What the exits of each control cost, time halted left out. Where a reason is charged to several controls, or a control has
    several reasons, their sum is what can be told."""
    number = {text: number for number, text in ISA.items()}
    groups = []   # names of reasons, keys of them, controls
    for row in triage["reasons"]:
        names, keys = {row["name"]}, {f"{number.get(row['isa'], row['isa'])}:{row['code']}"}
        controls = {(control["word"], control["name"]) for control in row["controls"]}
        for group in [group for group in groups if group[2] & controls]:
            groups.remove(group)
            names, keys, controls = names | group[0], keys | group[1], controls | group[2]
        groups.append((names, keys, controls))
    for names, keys, controls in groups:
        got = total([control for control in triage["controls"] if (control["word"], control["name"]) in controls], "handling_ns")
        checks.equal(got, total([measured["reasons"].get(key, {}) for key in keys], "busy_ns"),
                     f"{name}: {', '.join(sorted(names))}: handling time of the controls, time halted left out")


def halts(checks, name, triage, measured, made):
    """The recording has halts, of HLT and of no other exit, and what vmctop says was halted is their sum."""
    halted = {key: row["halted_ns"] for key, row in measured["reasons"].items() if row["halted_ns"]}
    key = next(key for reason, key in (("HLT", "1:12"), ("hlt", "2:120")) if reason in made["reasons"])
    checks.equal(sorted(halted), [key], f"{name}: HLT alone halts")
    checks.equal(triage["time"]["halted_ns"], sum(halted.values()), f"{name}: time halted is that of the exits")


def near(got, expected, share):
    return got is not None and abs(got - expected) <= share * expected + 1


def yard(checks, name, triage, measured):
    """The report on a recording against the independent script's reading of `trace-cmd report`."""
    checks.equal(triage["events"], measured["events"], f"{name}: as many events as trace-cmd report")
    checks.equal(triage["exits"], measured["exits"], f"{name}: as many exits as trace-cmd report")
    isa_number = {text: number for number, text in ISA.items()}
    rows = {}
    for row in triage["reasons"]:
        rows.setdefault(f"{isa_number.get(row['isa'], row['isa'])}:{row['code']}", []).append(row)
    checks.equal({key: total(r, "count") for key, r in rows.items()}, {key: row["count"] for key, row in measured["reasons"].items()},
                 f"{name}: the same reasons and counts as trace-cmd report")
    threads = {}
    for vm in triage["vms"]:
        for vcpu in vm["vcpus"]:
            if vcpu["exits"]:
                threads[str(vcpu["tid"])] = threads.get(str(vcpu["tid"]), 0) + vcpu["exits"]
    checks.equal(threads, measured["threads"], f"{name}: the same exits per thread as trace-cmd report")
    guest = {str(v["tid"]): v["guest_ns"] for vm in triage["vms"] for v in vm["vcpus"] if v["exits"]}
    checks.equal(guest, measured["guest_ns"], f"{name}: time in the guest")
    away = {str(v["tid"]): {key: v[key] for key in ("kernel_ns", "user_ns", "halted_ns")} for vm in triage["vms"] for v in vm["vcpus"] if v["exits"]}
    checks.equal(away, measured["away_ns"], f"{name}: time in the kernel, in user space and halted")
    busy(checks, name, triage, measured)
    for key, row in sorted(measured["reasons"].items()):
        mine = rows.get(key, [])
        if len(mine) != 1:
            checks.that(False, f"{name}: reason {key} has one row", f"{len(mine)} rows")
            continue
        got, expected, label = mine[0]["handling_ns"], row["handling_ns"], f"{name}: {mine[0]['name']}"
        checks.equal(got["paired"], expected["paired"], f"{label}: exits with a handling time")
        if not expected["paired"]:
            continue
        checks.equal([got[k] for k in ("total", "min", "max")], [expected[k] for k in ("total", "min", "max")],
                     f"{label}: handling time total, min and max")
        checks.that(near(got["mean"], expected["mean"], 1e-9), f"{label}: mean", f"expected {expected['mean']}, got {got['mean']}")
        for p in ("p50", "p90", "p99"):
            checks.that(near(got[p], expected[p], 0.02), f"{label}: {p} within 2 %", f"expected {expected[p]}, got {got[p]}")


def load(checks, path, what):
    """A JSON file, or None and a failed check."""
    try:
        with open(path) as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        checks.that(False, what, str(error))
        return None
