#!/usr/bin/env python3
"""Time of a good run beside hostile ones: poisons.py --bin DIRECTORY [--work DIRECTORY] [--rounds N] [--only PATTERN].

Starts a scheduler and an executor of two slots, and converts files of 3.5 MB: alone, then beside each poison, all of which are submitted
before it. Prints for each the time from submission to commit and its ratio to the time alone, the most memory that either process had,
and the disk that was taken at most; exits 1 if a budget is exceeded. Standard library of Python, and the program zstd.
"""

import argparse
import gzip
import json
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time

from seed_state import Scheduler, executor

from api import Client, memory_mb

RATIO = 2
MEMORY_MB = 1000
DAY = "2025-12-23"
MIB = 1 << 20
# Rejected lines of a task are kept up to this on disk, and output parts are of 128 MB.
DISK_MB = 2000
ENDED = ("completed", "failed", "cancelled")


def zstd(*parts):
    """A frame of compressed text, by the zstd program; frames after each other are a file, too."""
    return subprocess.run(["zstd", "-3", "-c"], input=b"".join(parts), capture_output=True, check=True).stdout


def eight(place, ending, content):
    """Eight files of one content."""
    for index in range(8):
        (place / f"{DAY}-{index}.{ending}").write_bytes(content)


def many_keys(place):
    """150 keys of 1 MiB each, in some 200 KB."""
    line = b"{" + b",".join(b'"%s%d":1' % (b"k" * MIB, index) for index in range(150)) + b"}\n"
    (place / f"{DAY}-keys.ndjson.gz").write_bytes(gzip.compress(line))


def many_files(place, count=100_000):
    """A manifest of as many small files as one may have."""
    for index in range(count):
        (place / f"{DAY}-{index:06}.ndjson").write_bytes(b'{"a":1}\n')


def rejected_lines(place):
    """5.7 GB of lines that are no JSON, in 131 KB or so."""
    (place / f"{DAY}-rejects.ndjson.zst").write_bytes(zstd(b"x\n" * (32 * MIB)) * 90)


def many_fields(place):
    """A line of 60 MiB, each five bytes of it a field: 8 files."""
    eight(place, "ndjson.zst", zstd(b'{"k":0,', b'"":1,' * (12 * MIB), b'"":1}\n'))


def hole(place):
    """34 MiB of zeros in the middle of good lines: 8 files."""
    eight(place, "ndjson", b'{"a":1}\n' * 1000 + b"\0" * (34 * MIB) + b'\n{"a":1}\n')


def empty_lines(place):
    """A GiB of empty lines."""
    (place / f"{DAY}-empty.ndjson.zst").write_bytes(zstd(b"\n" * (64 * MIB)) * 16)


def long_value(place):
    """Values of 60 MiB: 8 files."""
    eight(place, "ndjson.zst", zstd(b'{"a":"', b"x" * (60 * MIB), b'"}\n{"a":1}\n'))


POISONS = [many_keys, many_files, rejected_lines, many_fields, hole, empty_lines, long_value]


def document(identity, place, sizes=None):
    """A manifest of all files of a directory, with the sizes that they are said to have."""
    uris = [f"file://{path}" for path in sorted(place.iterdir())]
    metadata = {"date_prefix": DAY, "manifest_id": identity, "file_count": len(uris)}
    if sizes is not None:
        metadata["files"] = [{"uri": uri, "size_bytes": sizes} for uri in uris]
    return json.dumps({"fileLocations": [{"URIPrefixes": uris}], "metadata": metadata})


def taken_mb(place):
    """Disk that everything below a directory takes."""
    found = subprocess.run(["du", "-sm", place], capture_output=True, text=True, check=False).stdout.split()
    return int(found[0]) if found else 0


class Peak:
    """Largest disk that a directory takes, looked at each half second, until the block ends."""

    def __init__(self, place):
        self.place, self.stop, self.before, self.largest = place, threading.Event(), taken_mb(place), 0

    def look(self):
        while not self.stop.wait(0.5):
            self.largest = max(self.largest, taken_mb(self.place) - self.before)

    def __enter__(self):
        self.thread = threading.Thread(target=self.look)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


class Place:
    """A scheduler and an executor on a directory of their own."""

    def __init__(self, given):
        self.work, self.bin = given.work.resolve(), given.bin
        shutil.rmtree(self.work, ignore_errors=True)
        self.count = 0
        self.good = self.work / "good"
        generate = [self.bin / "millwork", "generate", self.good, "--files", str(given.files), "--size-mb", "3.5", "--date", DAY]
        subprocess.run(generate, check=True, stdout=subprocess.DEVNULL)

    def submit(self, client, identity, place, sizes=None):
        status, body, seconds = client.ask("/api/v1/manifests", "POST", document(identity, place, sizes))
        said = "" if status == 202 else body.decode()[:200]
        print(f"  {identity}: {status} after {seconds:.2f} s {said}", flush=True)
        return status == 202

    def ended(self, client, identity, limit):
        """Seconds until a run has ended, and its state."""
        began = time.monotonic()
        while True:
            run = client.json(f"/api/v1/runs/{identity}")
            seconds = time.monotonic() - began
            if run["state"] in ENDED or seconds > limit:
                return seconds, run["state"], run.get("failure")
            time.sleep(0.02)

    def measure(self, name, poisons, sizes=None):
        """Seconds of a good run beside poisons, memory of both processes and disk at most."""
        root = self.work / name
        state = root / "state"
        for poison in poisons:
            place = state / "in" / poison.__name__
            place.mkdir(parents=True)
            poison(place)
        good = state / "in" / "good"
        shutil.copytree(self.good, good)
        with Scheduler(self.bin / "millwork-scheduler", state) as scheduler, executor(self.bin / "millwork-executor", scheduler, 2) as works:
            client = Client(scheduler.port)
            while client.json("/api/v1/stats")["slots"] < 2:
                time.sleep(0.05)
            with Peak(state) as peak:
                taken = [poison.__name__ for poison in poisons if self.submit(client, f"{DAY}-{poison.__name__}", state / "in" / poison.__name__, sizes)]
                # Under way before the good one comes.
                time.sleep(0.5 if poisons else 0)
                began = time.monotonic()
                self.submit(client, f"{DAY}-good", good)
                seconds, ending, failure = self.ended(client, f"{DAY}-good", 600)
                seconds = time.monotonic() - began
                if ending != "completed":
                    raise SystemExit(f"the good run is {ending}: {failure}")
                for each in taken:
                    more, ending, failure = self.ended(client, f"{DAY}-{each}", 300)
                    why = failure["message"][:140] if failure else ""
                    print(f"  {each}: {ending} {more:.1f} s after the good one {why}", flush=True)
            memory = [memory_mb(process.pid)["VmHWM"] for process in (scheduler.process, works)]
        shutil.rmtree(root)
        return seconds, memory, peak.largest


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True, help="directory of millwork, millwork-scheduler and millwork-executor")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("target/bench-poisons"), help="directory for data; removed before")
    parser.add_argument("--files", type=int, default=300, help="files of the good run")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", default="", help="only poisons whose names match this")
    given = parser.parse_args()
    place, over = Place(given), []
    alone = [place.measure(f"alone-{number}", [])[0] for number in range(max(3, given.rounds))]
    usual = statistics.median(alone)
    print(f"alone: {', '.join(f'{seconds:.2f}' for seconds in alone)} s")
    mixes = [[poison] for poison in POISONS] + [[poison for poison in POISONS if poison is not many_files]]
    for mix in mixes:
        name = mix[0].__name__ if len(mix) == 1 else "all"
        if not re.search(given.only, name):
            continue
        for number in range(given.rounds):
            seconds, (scheduler, executor_mb), disk = place.measure(f"{name}-{number}", mix)
            ratio = seconds / usual
            is_over = ratio > RATIO or max(scheduler, executor_mb) > MEMORY_MB or disk > DISK_MB
            over += [name] * is_over
            print(
                f"{name:16} {seconds:6.2f} s, {ratio:4.2f} × alone, scheduler {scheduler:4.0f} MB, executor {executor_mb:4.0f} MB, disk {disk} MB"
                + "  OVER" * is_over,
                flush=True,
            )
    print(f"over budget: {', '.join(over) or 'nothing'}")
    return bool(over)


if __name__ == "__main__":
    sys.exit(main())
