#!/usr/bin/env python3
"""time_shares.py --data DIR --out DIR --millwork BINARY [--shapes events,wide,text]

Where `millwork run` spends its time, by `perf record` over one run of each shape: percent of what the cores could have done meanwhile (the
time that `--json` tells: perf takes some of its own). Functions are sorted into steps by their names; what has no step is orchestration and the rest."""

import argparse
import json
import os
import re
import subprocess
import sys

import measure

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for name in ("data", "out", "millwork"):
    arguments.add_argument(f"--{name}", required=True)
arguments.add_argument("--shapes", default="events,wide,text")
a = arguments.parse_args()
FREQUENCY = 2000
# The first that fits counts.
STEPS = {
    "compress": r"encode::snappy",
    "encode": r"millwork_conversion::encode|parquet::|memcmp",
    "scan": r"ndjson::(json|numbers|keys|blocks|input)|memchr|simdutf8",
    # The compiler may put the loop over lines into the iterator that it is.
    "build columns": r"millwork_conversion::(ndjson|source)|spec_extend|futures_util::stream::iter::Iter<|iter::sources::from_fn::FromFn<",
    "copies": r"memmove|memcpy",
    "memory (kernel)": r"clear_page|page_fault|folio_(add|alloc|zero)|alloc_(pages|anon)|charge|zap_|mmap|rmap|free_(pages|unref)",
    "other kernel, I/O most of all": r"^\[k\]",
}


def shares(shape):
    target, data = measure.fresh(f"{a.out}/profile"), f"{a.out}/perf.data"
    measure.warm(measure.dataset(a.millwork, a.data, shape))
    command = [a.millwork, "run", "--json", "--input", f"{a.data}/{shape}", "--output", target]
    measure.timed(["perf", "record", "-q", "-F", str(FREQUENCY), "-o", data, *command], f"{a.out}/log")
    log = open(f"{a.out}/log").read()
    seconds = json.JSONDecoder().raw_decode(log[log.index("{") :])[0]["seconds"]
    report = subprocess.run(["perf", "report", "-i", data, "--stdio", "-F", "sample,sym", "-w", "0,400"], capture_output=True, text=True, check=True).stdout
    counts = dict.fromkeys([*STEPS, "orchestration and the rest"], 0)
    for samples, symbol in re.findall(r"^\s+(\d+)\s+(\[[.k]\] .*?)\s*$", report, re.M):
        step = next((step for step, pattern in STEPS.items() if re.search(pattern, symbol)), "orchestration and the rest")
        counts[step] += int(samples)
    if missing := [step for step, count in counts.items() if not count]:
        sys.exit(f"{shape}: no function of the steps {missing} was seen: inlined, or named otherwise?")
    possible = seconds * FREQUENCY * len(measure.CORES)
    return {**{step: count / possible for step, count in counts.items()}, "idle": 1 - sum(counts.values()) / possible}


os.makedirs(a.out, exist_ok=True)
shapes = a.shapes.split(",")
table = {shape: shares(shape) for shape in shapes}
print(f"| step | {' | '.join(shapes)} |\n|---|{'---|' * len(shapes)}")
for step in table[shapes[0]]:
    print(f"| {step} | {' | '.join(f'{table[shape][step]:.0%}' for shape in shapes)} |")
