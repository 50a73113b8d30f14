#!/usr/bin/env python3
"""run.py --venv VENV --data DIR --out DIR --millwork BINARY [--limit BINARY] [--json FILE] [--shapes events,wide,text] [--tools …]
       [--names found,given] [--runs 5] [--files 200]

One manifest of 200 files of 3.5 MB for each shape, through each tool in turn (A B C A B C …), so that a machine that drifts hurts
all alike; files are read once before each run, so that the page cache is warm. Prints medians. `millwork run` is started as a
user starts it: process start, state, planning, ledger, commit and all included. Each tool must write as many rows as the input
has lines, and all of its columns. Other tools run twice: they find the names of columns themselves, as Millwork does, or are
given them, the least that they can take. Peak MB is of the largest process. `--limit` is the probe of benches/limit: it runs in
each round too."""

import argparse
import glob
import importlib.metadata
import json
import os
import platform
import subprocess
import sys

import pyarrow.parquet as parquet

import measure

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for name in ("venv", "data", "out", "millwork"):
    arguments.add_argument(f"--{name}", required=True)
arguments.add_argument("--limit")
arguments.add_argument("--json")
arguments.add_argument("--shapes", default="events,wide,text")
arguments.add_argument("--tools", default="millwork,clickhouse,polars,duckdb,spark")
arguments.add_argument("--names", default="found,given", help="whether other tools find the names of columns, or are told them")
arguments.add_argument("--runs", type=int, default=5)
arguments.add_argument("--files", type=int, default=200)
a = arguments.parse_args()
here, cores = os.path.dirname(os.path.abspath(__file__)), len(measure.CORES)
GIVEN = ", names given"
tools = [
    tool + suffix
    for tool in a.tools.split(",")
    for suffix in ("", GIVEN)
    if ("given" if suffix else "found") in (["found"] if tool == "millwork" else a.names.split(","))
]


def command(tool, source, target, files):
    python, peer = os.path.abspath(f"{a.venv}/bin/python"), [f"{here}/peers.py", tool.removesuffix(GIVEN), source, target, str(files)]
    if tool.endswith(GIVEN):
        peer.append(os.path.abspath(f"{a.out}/names.json"))
    if tool == "millwork":
        return [a.millwork, "run", "--input", source, "--output", target]
    if tool.startswith("spark"):
        return [f"{a.venv}/bin/spark-submit", "--master", f"local[{cores}]", "--driver-memory", "8g", *peer]
    return [python, *peer]


def once(tool, inputs, files, expected):
    """One run. `expected` is what the output must have: rows, and names of columns."""
    source, target = os.path.dirname(inputs[0]), measure.fresh(f"{a.out}/output")
    size = measure.warm(inputs)
    environment = {"PYSPARK_PYTHON": os.path.abspath(f"{a.venv}/bin/python"), "SPARK_LOCAL_IP": "127.0.0.1"}
    run = measure.timed(command(tool, source, target, files), f"{a.out}/log", environment)
    outputs = [parquet.ParquetFile(path) for path in glob.glob(target + "/**/*.parquet", recursive=True)]
    rows = sum(file.metadata.num_rows for file in outputs)
    missing = expected["columns"] - set.intersection(*[set(file.schema_arrow.names) for file in outputs])
    if rows != expected["rows"] or missing:
        sys.exit(f"{tool}: {rows} rows of {expected['rows']}, columns that are missing: {sorted(missing)}")
    sizes = measure.parquet_sizes(target)
    measure.fresh(target)
    rates = {"mb_per_s": size / 1e6 / run["seconds"], "cpu_seconds_per_gb": run["cpu_seconds"] / size * 1e9}
    return {**run, **rates, "output_mb": sum(sizes), "file_mb": sizes}


def expect(inputs):
    """What the output of these files must have: rows, and names of columns; the latter also in a file for tools that are given them."""
    rows, columns = 0, {}
    for path in inputs:
        for line in open(path, "rb"):
            rows += 1
            columns.update(dict.fromkeys(json.loads(line)))
    with open(f"{a.out}/names.json", "w") as file:
        json.dump(list(columns), file)
    return {"rows": rows, "columns": set(columns)}


def compare(shape):
    inputs = measure.dataset(a.millwork, a.data, shape, a.files)
    expected, limits, files = expect(inputs), [], 2
    runs: dict[str, list] = {tool: [] for tool in tools}
    for _ in range(a.runs):
        for tool in tools:
            runs[tool].append(once(tool, inputs, files, expected))
            if tool == "millwork":
                files = len(runs[tool][-1]["file_mb"])
        if a.limit:
            probe = subprocess.run([a.limit, os.path.dirname(inputs[0])], check=True, capture_output=True, text=True)
            limits.append(json.loads(probe.stdout))
    limit = None
    if limits:
        limit = {**measure.medians(limits), **{key: measure.medians([probe[key] for probe in limits]) for key in ("one_thread", "all_cores")}}
    rates = {tool: [run["mb_per_s"] for run in of] for tool, of in runs.items()}
    return {
        "rows": expected["rows"],
        "columns": len(expected["columns"]),
        "tools": {tool: measure.medians(of) for tool, of in runs.items()},
        "limit": limit,
        "spread": {tool: [min(of), max(of)] for tool, of in rates.items()},
    }


def show(shape, result):
    medians, limit = result["tools"], result["limit"]
    # The best of those that find the names themselves, as Millwork does, and the best of all.
    others = [[tool for tool in tools if tool != "millwork" and not tool.endswith(GIVEN)], [tool for tool in tools if tool.endswith(GIVEN)]]
    best = [min(group, key=lambda tool: medians[tool]["seconds"]) for group in others if group]
    rows = []
    for tool, m in sorted(medians.items(), key=lambda item: item[1]["seconds"]):
        low, high = result["spread"][tool]
        rows.append(
            [
                shape,
                tool,
                m["seconds"],
                m["mb_per_s"],
                f"{low:.0f} to {high:.0f}",
                measure.percent(m["mb_per_s"] / limit["limit_mb_per_s"]) if limit else "",
                m["cpu_seconds"],
                m["peak_mb"],
                m["output_mb"] / 1.048576,
                ", ".join(f"{size / 1.048576:.0f}" for size in sorted(m["file_mb"], reverse=True)),
                ", ".join(f"{medians[other]['seconds'] / m['seconds']:.2f} ({other})" for other in best) if tool == "millwork" else "",
            ]
        )
    measure.table(
        ["shape", "tool", "s", "input MB/s", "worst to best", "of the limit", "CPU s", "peak MB", "output MiB", "files, MiB each", "× best other"], rows
    )


def show_limits(shapes):
    rows = []
    for shape, result in shapes.items():
        limit = result["limit"]
        rates = [limit[threads][probe] for threads in ("one_thread", "all_cores") for probe in ("read", "build", "snappy")]
        share = measure.percent(result["tools"]["millwork"]["mb_per_s"] / limit["limit_mb_per_s"]) if "millwork" in tools else ""
        rows.append([shape, *rates, limit["limit_mb_per_s"], share])
    print("What cannot be avoided, in MB/s of input, on one thread and on all cores; the limit is the cores by the sum of one thread's times")
    head = ["shape", *[f"{probe}, {threads}" for threads in ("1", "all") for probe in ("read", "parse and copy", "Snappy")]]
    measure.table([*head, "limit", "Millwork reaches (target 75 %)"], rows)


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    packages = {"clickhouse": "chdb-core", "polars": "polars", "duckdb": "duckdb", "spark": "pyspark"}
    release = {tool: importlib.metadata.version(package) for tool, package in packages.items() if tool in a.tools.split(",")}
    release["millwork"] = subprocess.check_output([a.millwork, "--version"], text=True).split()[-1]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    return {"cpu": model, "architecture": platform.machine(), "cores": cores, "memory_gb": memory, "versions": release}


os.makedirs(a.out, exist_ok=True)
here_is = machine()
measure.save(a.json, "machine", here_is)
print(f"{here_is['cpu']}, {cores} cores, {here_is['memory_gb']:.0f} GB; {', '.join(f'{tool} {version}' for tool, version in here_is['versions'].items())}")
print(f"Medians of {a.runs} runs, {a.files} files a shape")
results = {"runs": a.runs, "files": a.files, "shapes": {}}
for shape in a.shapes.split(","):
    results["shapes"][shape] = result = compare(shape)
    show(shape, result)
    measure.save(a.json, "comparison", results)
if a.limit:
    show_limits(results["shapes"])
