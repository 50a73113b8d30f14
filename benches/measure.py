"""What the benchmarks share: data sets, processes that are timed, medians, tables, and the file of results."""

import glob
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

CORES = sorted(os.sched_getaffinity(0))


def dataset(millwork, folder, shape, files=200, size_mb=3.34):
    """The paths of a generated data set: files of 3.5 MB, unless told otherwise. Made once."""
    place = os.path.abspath(f"{folder}/{shape}")
    if len(glob.glob(place + "/*.ndjson")) != files:
        shutil.rmtree(place, ignore_errors=True)
        options = ["--shape", shape, "--files", str(files), "--size-mb", str(size_mb)]
        subprocess.run([millwork, "generate", place, *options], check=True, stdout=subprocess.DEVNULL)
    return sorted(glob.glob(place + "/*.ndjson"))


def warm(paths):
    """Reads files, so that the page cache has them. Returns their bytes."""
    total, buffer = 0, bytearray(1 << 20)
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            while size := file.readinto(buffer):
                total += size
    return total


def fresh(folder):
    """An empty folder, by its absolute path. What earlier runs wrote is on disk before the next one is timed."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    os.sync()
    return os.path.abspath(folder)


def timed(command, log, environment=None):
    """Runs a command to its end: seconds, CPU seconds of it and what it waited for, resident MB of the largest process at its most."""
    with open(log, "w") as file:
        started = time.time()
        process = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, **(environment or {})})
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.time() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}\n{open(log).read()[-1500:]}")
    return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}


def pinned(cores, *command):
    """A command that runs on these cores only; on all of them, as it is."""
    return list(command) if cores == CORES else ["taskset", "--cpu-list", ",".join(map(str, cores)), *command]


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def parquet_sizes(folder):
    """Megabytes of each Parquet file, in the order of their names."""
    return [os.path.getsize(path) / 1e6 for path in sorted(glob.glob(folder + "/**/*.parquet", recursive=True))]


def parquet_rows(folder):
    """Rows that the footers of the Parquet files in a folder tell."""
    import pyarrow.parquet

    return sum(pyarrow.parquet.read_metadata(path).num_rows for path in glob.glob(folder + "/**/*.parquet", recursive=True))


def medians(runs):
    """The median of each number of runs that are dictionaries of numbers; of what is no number, the last."""
    return {key: statistics.median(run[key] for run in runs) if isinstance(last, (int, float)) else last for key, last in runs[-1].items()}


def table(head, rows):
    """Prints a Markdown table, numbers that are no integers with about three digits."""

    def show(cell):
        return f"{cell:,.{0 if abs(cell) >= 100 else 1 if abs(cell) >= 10 else 2}f}" if isinstance(cell, float) else str(cell)

    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(map(show, row))} |")
    print(flush=True)


def percent(share):
    return f"{share * 100:.0f} %"


def save(path, key, value):
    """Puts results into a JSON file beside those that are there."""
    if not path:
        return
    results = json.load(open(path)) if os.path.exists(path) else {}
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "w") as file:
        json.dump({**results, key: value}, file, indent=1)
