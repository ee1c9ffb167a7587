#!/usr/bin/env python3
"""Count exits and their handling times from the text of `trace-cmd report`, as a yardstick for vmctop.

  yardstick.py RECORDING [TRACE-CMD]      prints one JSON object

It shares nothing with vmctop: trace-cmd reads the file, regular expressions read the text. Handling time of an exit is the
time from kvm_exit to the same thread's next kvm_entry, in whole nanoseconds. A kvm_exit that another kvm_exit of the thread
follows first is counted, but not paired. Time in the guest is from kvm_entry to the same thread's next kvm_exit. Where
trace-cmd says that events were lost, nothing is paired across it.

Within a handling time, user space is from kvm_userspace_exit to the next kvm_fpu load=1, or to the kvm_entry; for the reason
KVM_EXIT_HLT that is time halted, as is what kvm_vcpu_wakeup says. A halt is no longer than what user space leaves of the handling time.
"""
import json
import re
import subprocess
import sys

LINE = re.compile(r"^\s*(?:\S+:\s+)?(?P<comm>.*)-(?P<tid>\d+)\s+\[(?P<cpu>\d+)\]\s+(?:\S+\s+)?(?P<s>\d+)\.(?P<ns>\d{9}):\s+(?P<event>\w+):\s*(?P<rest>.*)$")
LOST = re.compile(r"CPU:\d+ \[(?:(\d+) )?EVENTS DROPPED\]")
FIELD = re.compile(r"(\w+)=(0x[0-9a-f]+|-?\d+)")
KVM_EXIT_HLT = 5   # include/uapi/linux/kvm.h


def percentile(ordered, share):
    """The smallest value that at least `share` of all values do not exceed."""
    rank = max(1, -(-len(ordered) * share // 100))
    return ordered[int(rank) - 1]


class Exit:
    """One that is being handled."""

    def __init__(self, key, at):
        self.key, self.at = key, at
        self.user = self.halted = 0
        self.away = None   # since when it is in user space, and whether that is a halt

    def leave(self, at, reason):
        if self.away is None:
            self.away = (at, reason == KVM_EXIT_HLT)

    def come_back(self, at):
        if self.away is None:
            return
        since, is_halt = self.away
        self.away = None
        if is_halt:
            self.halted += at - since
        else:
            self.user += at - since

    def end(self, at):
        """Handling time, and what of it was in user space and halted."""
        self.come_back(at)
        handling = at - self.at
        user = min(self.user, handling)
        return handling, user, min(self.halted, handling - user)


def measure(lines):
    reasons, threads, guest, open_exit, open_entry = {}, {}, {}, {}, {}
    away = {}   # by thread: in the kernel, in user space, halted
    events = lost = exits = 0
    for line in lines:
        match = LINE.match(line)
        if not match:
            gone = LOST.search(line)
            if gone:
                lost += int(gone[1] or 0)
                open_exit.clear()
                open_entry.clear()
            continue
        events += 1
        event, tid = match["event"], int(match["tid"])
        if event not in ("kvm_exit", "kvm_entry", "kvm_userspace_exit", "kvm_fpu", "kvm_vcpu_wakeup"):
            continue
        at = int(match["s"]) * 1_000_000_000 + int(match["ns"])
        fields = {name: int(value, 0) for name, value in FIELD.findall(match["rest"])}
        if event not in ("kvm_exit", "kvm_entry"):
            if tid not in open_exit:
                continue
            if event == "kvm_userspace_exit":
                open_exit[tid].leave(at, fields["reason"])
            elif event == "kvm_vcpu_wakeup":
                open_exit[tid].halted += fields["ns"]
            elif fields["load"] == 1:
                open_exit[tid].come_back(at)
            continue
        if event == "kvm_exit":
            isa, code = fields["isa"], fields["exit_reason"]
            if isa == 1:
                code &= 0xFFFF
            key = f"{isa}:{code & 0xFFFFFFFF}"
            reasons.setdefault(key, {"count": 0, "times": [], "halted": 0})["count"] += 1
            threads[tid] = threads.get(tid, 0) + 1
            exits += 1
            open_exit[tid] = Exit(key, at)
            entered = open_entry.pop(tid, None)
            guest[tid] = guest.get(tid, 0) + (at - entered if entered is not None else 0)
        else:
            open_entry[tid] = at
            begun = open_exit.pop(tid, None)
            if begun:
                handling, user, halted = begun.end(at)
                reasons[begun.key]["times"].append(handling)
                reasons[begun.key]["halted"] += halted
                split = away.setdefault(tid, [0, 0, 0])
                for index, time in enumerate((handling - user - halted, user, halted)):
                    split[index] += time
    result = {}
    for key, row in reasons.items():
        times = sorted(row["times"])
        handling = {"paired": len(times)}
        if times:
            handling.update(
                total=sum(times), min=times[0], mean=sum(times) / len(times), max=times[-1],
                **{f"p{p}": percentile(times, p) for p in (50, 90, 99)})
        result[key] = {"count": row["count"], "handling_ns": handling, "halted_ns": row["halted"], "busy_ns": sum(times) - row["halted"]}
    return {"events": events, "lost_events": lost, "exits": exits,
            "threads": {str(tid): count for tid, count in threads.items()},
            "guest_ns": {str(tid): time for tid, time in guest.items()},
            "away_ns": {str(tid): dict(zip(("kernel_ns", "user_ns", "halted_ns"), split)) for tid, split in away.items()},
            "reasons": result}


def report_text(recording, program="trace-cmd"):
    """The raw report (-R: field by field, -t: all nine digits of the time) of every buffer in the recording."""
    done = subprocess.run([program, "report", "-t", "-R", recording], capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise SystemExit(f"yardstick: {program} report {recording}: {done.stderr.strip()}")
    return done.stdout.splitlines()


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[1].startswith("-"):
        print(__doc__.strip(), file=sys.stderr)
        sys.exit(2)
    print(json.dumps(measure(report_text(*sys.argv[1:])), indent=1, sort_keys=True))
