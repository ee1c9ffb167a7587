#!/usr/bin/env python3
"""Count exits and their handling times from the text of `trace-cmd report`, as a yardstick for vmctop.

  yardstick.py RECORDING [TRACE-CMD]      prints one JSON object

It shares nothing with vmctop: trace-cmd reads the file, regular expressions read the text. Handling time of an exit is the
time from kvm_exit to the same thread's next kvm_entry, in whole nanoseconds. A kvm_exit that another kvm_exit of the thread
follows first is counted, but not paired. Time in the guest is from kvm_entry to the same thread's next kvm_exit. Where
trace-cmd says that events were lost, nothing is paired across it.
"""
import json
import re
import subprocess
import sys

LINE = re.compile(r"^\s*(?:\S+:\s+)?(?P<comm>.*)-(?P<tid>\d+)\s+\[(?P<cpu>\d+)\]\s+(?:\S+\s+)?(?P<s>\d+)\.(?P<ns>\d{9}):\s+(?P<event>\w+):\s*(?P<rest>.*)$")
LOST = re.compile(r"CPU:\d+ \[(?:(\d+) )?EVENTS DROPPED\]")
FIELD = re.compile(r"(\w+)=(0x[0-9a-f]+|-?\d+)")


def percentile(ordered, share):
    """The smallest value that at least `share` of all values do not exceed."""
    rank = max(1, -(-len(ordered) * share // 100))
    return ordered[int(rank) - 1]


def measure(lines):
    reasons, threads, guest, open_exit, open_entry = {}, {}, {}, {}, {}
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
        if event not in ("kvm_exit", "kvm_entry"):
            continue
        at = int(match["s"]) * 1_000_000_000 + int(match["ns"])
        if event == "kvm_exit":
            fields = {name: int(value, 0) for name, value in FIELD.findall(match["rest"])}
            isa, code = fields["isa"], fields["exit_reason"]
            if isa == 1:
                code &= 0xFFFF
            key = f"{isa}:{code & 0xFFFFFFFF}"
            reasons.setdefault(key, {"count": 0, "times": []})["count"] += 1
            threads[tid] = threads.get(tid, 0) + 1
            exits += 1
            open_exit[tid] = (key, at)
            entered = open_entry.pop(tid, None)
            guest[tid] = guest.get(tid, 0) + (at - entered if entered is not None else 0)
        else:
            open_entry[tid] = at
            begun = open_exit.pop(tid, None)
            if begun:
                reasons[begun[0]]["times"].append(at - begun[1])
    result = {}
    for key, row in reasons.items():
        times = sorted(row["times"])
        handling = {"paired": len(times)}
        if times:
            handling.update(
                total=sum(times), min=times[0], mean=sum(times) / len(times), max=times[-1],
                **{f"p{p}": percentile(times, p) for p in (50, 90, 99)})
        result[key] = {"count": row["count"], "handling_ns": handling}
    return {"events": events, "lost_events": lost, "exits": exits,
            "threads": {str(tid): count for tid, count in threads.items()},
            "guest_ns": {str(tid): time for tid, time in guest.items()}, "reasons": result}


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
