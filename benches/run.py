#!/usr/bin/env python3
"""run.py --venv VENV --data DIR --out DIR --millwork BINARY [--shapes events,wide,text] [--runs 5] [--files 200]

One manifest of 200 files of 3.5 MB for each shape, through each tool in turn (A B C A B C …), so that a machine that drifts
hurts all alike; files are read once before each run, so that the page cache is warm. Prints medians. `millwork run` is
started as a user starts it: process start, state, planning, ledger, commit and all included."""
import argparse, glob, os, shutil, statistics, subprocess, sys, time

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for name in ("venv", "data", "out", "millwork"): arguments.add_argument(f"--{name}", required=True)
arguments.add_argument("--shapes", default="events,wide,text")
arguments.add_argument("--runs", type=int, default=5)
arguments.add_argument("--files", type=int, default=200)
a = arguments.parse_args()
here, tools = os.path.dirname(os.path.abspath(__file__)), ["millwork", "clickhouse", "polars", "duckdb"]


def command(tool, source, target, files):
    if tool == "millwork": return [a.millwork, "run", "--input", source, "--output", target]
    return [f"{a.venv}/bin/python", f"{here}/peers.py", tool, source, target, str(files)]


def once(tool, shape, files):
    source, target = os.path.abspath(f"{a.data}/{shape}"), os.path.abspath(f"{a.out}/{tool}")
    shutil.rmtree(target, ignore_errors=True)
    size = sum(len(open(path, "rb").read()) for path in glob.glob(source + "/*"))
    os.makedirs(a.out, exist_ok=True)
    with open(f"{a.out}/log", "w+") as log:
        started = time.time()
        process = subprocess.Popen(command(tool, source, target, files), stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.time() - started
        if status: sys.exit(f"{tool} on {shape}: {open(log.name).read()[-900:]}")
    sizes = [os.path.getsize(path) for path in glob.glob(target + "/**/*.parquet", recursive=True)]
    shutil.rmtree(target)
    return {"seconds": seconds, "mb_per_s": size / 1e6 / seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024, "files": len(sizes), "output_mb": sum(sizes) / 1e6}


print(f"{os.cpu_count()} cores, medians of {a.runs} runs\n")
print("| shape | tool | s | input MB/s | CPU s | peak MB | files | output MB | × best other |\n|---|---|---|---|---|---|---|---|---|")
for shape in a.shapes.split(","):
    if len(glob.glob(f"{a.data}/{shape}/*")) != a.files:
        shutil.rmtree(f"{a.data}/{shape}", ignore_errors=True)
        subprocess.run([a.millwork, "generate", f"{a.data}/{shape}", "--shape", shape, "--files", str(a.files), "--size-mb", "3.34"], check=True)
    runs, files = {tool: [] for tool in tools}, 2
    for _ in range(a.runs):
        for tool in tools:
            runs[tool].append(once(tool, shape, files))
            if tool == "millwork": files = runs[tool][-1]["files"]
    median = {tool: {key: statistics.median(run[key] for run in of) for key in of[0]} for tool, of in runs.items()}
    best = min((tool for tool in tools if tool != "millwork"), key=lambda tool: median[tool]["seconds"])
    for tool, m in sorted(median.items(), key=lambda item: item[1]["seconds"]):
        ratio = f"{median[best]['seconds'] / m['seconds']:.2f} ({best})" if tool == "millwork" else ""
        print(f"| {shape} | {tool} | {m['seconds']:.2f} | {m['mb_per_s']:.0f} | {m['cpu_seconds']:.1f} | {m['peak_mb']:.0f} | {m['files']:.0f} | {m['output_mb']:.0f} | {ratio} |", flush=True)
