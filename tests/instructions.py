#!/usr/bin/env python3
"""instructions.py [--accept]: how many instructions the steps of a conversion take, counted by callgrind, per byte of input.

Fails if a step takes over 5 % more than tests/instructions.json says. If that is right, `make instructions-accept` writes the
new counts: commit them, and say in the commit what the instructions buy."""

import json
import os
import re
import subprocess
import sys
import tempfile

LIMIT = 1.05
BYTES = 2 << 20
here = os.path.dirname(os.path.abspath(__file__))
known_file, program = f"{here}/instructions.json", f"{here}/../target/debug/examples/instructions"


def count(step, shape):
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", "--toggle-collect=instructions::measured*", program, step, shape]
        done = subprocess.run(command, capture_output=True, text=True)
        collected = re.search(r"Collected : (\d+)", done.stderr)
        if done.returncode or not collected:
            sys.exit(f"callgrind on `{step} {shape}` failed:\n{done.stderr[-2000:]}")
        if collected[1] == "0":
            sys.exit("callgrind saw no call of `measured`: is the example built with symbols?")
        return round(int(collected[1]) / BYTES, 3)


counts = {f"{step} {shape}": count(step, shape) for step in ("scan", "columns", "encode") for shape in ("events", "wide", "text", "arrays")}
if "--accept" in sys.argv[1:]:
    with open(known_file, "w") as file:
        file.write(json.dumps(counts, indent=2) + "\n")
known = json.load(open(known_file))
for name, value in counts.items():
    print(f"{name:16} {value:8.3f} instructions a byte, {value / known[name] - 1:+7.2%} against {known[name]:.3f}")
grown = [name for name, value in counts.items() if value > known[name] * LIMIT]
if grown:
    sys.exit(f"over {LIMIT - 1:.0%} more instructions: {', '.join(grown)}; if that is right, `make instructions-accept`")
