#!/usr/bin/env python3
"""large.py --data DIR --out DIR --millwork BINARY [--json FILE] [--size-mb 3338] [--vcores 2]

One file of 3.5 GB with two task slots: memory is bounded by what is in flight, not by the input. Prints the peak (target: less
than 1 GB), the throughput, and the sizes of the output files, which are to be 128 MiB ± 25 % but for the last."""

import argparse

import measure

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for name in ("data", "out", "millwork"):
    arguments.add_argument(f"--{name}", required=True)
arguments.add_argument("--json")
arguments.add_argument("--size-mb", type=float, default=3338)
arguments.add_argument("--vcores", type=int, default=2)
a = arguments.parse_args()

inputs = measure.dataset(a.millwork, f"{a.data}/large-{a.size_mb:.0f}", "events", 1, a.size_mb)
target, size = measure.fresh(f"{a.out}/large"), measure.warm(inputs)
options = ["--vcores", str(a.vcores), "--expected-file-size-mb", f"{a.size_mb:.0f}"]
run = measure.timed([a.millwork, "run", "--input", inputs[0].rsplit("/", 1)[0], "--output", target, *options], f"{a.out}/log")
sizes = [size / 1.048576 for size in measure.parquet_sizes(target)]
wrong = [size for size in sizes[:-1] if not 96 <= size <= 160]
measure.fresh(target)
print(f"One file of {size / 1e9:.2f} GB, {a.vcores} slots")
mb_per_s, files = size / 1e6 / run["seconds"], ", ".join(f"{size:.0f}" for size in sizes)
measure.table(
    ["s", "input MB/s", "CPU s", "peak MB (target < 1000)", "files", "MiB each", "outside 128 ± 25 %, but the last"],
    [[run["seconds"], mb_per_s, run["cpu_seconds"], run["peak_mb"], len(sizes), files, len(wrong)]],
)
measure.save(a.json, "large", {**run, "input_gb": size / 1e9, "mb_per_s": mb_per_s, "vcores": a.vcores, "file_mib": sizes})
