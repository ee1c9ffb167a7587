#!/usr/bin/env python3
"""Checks a trace in the Trace Event Format, as ui.perfetto.dev needs it.

  perfetto.py FILE...      one line per file; status 1 where a slice overlaps another of its thread, or the JSON is none

Slices of one thread must nest: of two, one lies within the other, or they do not overlap.
"""
import json
import sys
from decimal import Decimal


def problems(trace):
    """What is wrong with a trace, a line each; and how many slices it has."""
    found, slices, names = [], {}, set()
    for number, event in enumerate(trace["traceEvents"]):
        kind = event.get("ph")
        if kind == "X":
            slices.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["dur"], event["name"]))
            if event["dur"] < 0 or event["ts"] < 0:
                found.append(f"event {number}: a negative time")
        elif kind == "M":
            names.add((event["pid"], event.get("tid")))
        elif kind == "C":
            if not all(isinstance(value, (int, Decimal)) for value in event["args"].values()):
                found.append(f"event {number}: a counter that is no number")
        elif kind != "i":
            found.append(f"event {number}: of kind {kind!r}")
    for track, own in slices.items():
        if track not in names:
            found.append(f"thread {track} has no name")
        stack = []
        for start, duration, name in sorted(own, key=lambda slice: (slice[0], -slice[1])):
            while stack and stack[-1][0] <= start:
                stack.pop()
            if stack and start + duration > stack[-1][0]:
                found.append(f"thread {track}: {name} at {start} overlaps {stack[-1][1]}")
            stack.append((start + duration, name))
    return found, sum(map(len, slices.values()))


def load(path):
    with open(path) as file:
        return json.load(file, parse_float=Decimal)


def main(paths):
    if not paths or paths[0] in ("-h", "--help"):
        print(__doc__.strip())
        return 0 if paths else 2
    bad = 0
    for path in paths:
        try:
            found, count = problems(load(path))
        except (OSError, ValueError, KeyError, TypeError) as error:
            found, count = [repr(error)], 0
        bad += bool(found)
        print(f"{path}: {count} slices, {found[0] + f' (and {len(found) - 1} more)' if found else 'all nest'}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
