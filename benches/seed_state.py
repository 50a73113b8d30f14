#!/usr/bin/env python3
"""A SQLite state of 100,000 runs and 1,000,000 files: seed_state.py --scheduler BIN DIRECTORY [--runs N] [--files N] [--outputs].

A scheduler makes the tables of DIRECTORY/state.db; the rows are as Millwork writes them, and its own triggers count them.
A tenth of the runs are of one date, the others of 400 dates. 2 of 100 runs failed, for one of six reasons, 1 was cancelled,
1 waits for a retry tomorrow, and 40 files of 10,000 are refused or wait for a manifest. The newest tenth of the files have their
whole timeline, the others its end. With --outputs each output is there, as a file without content of the size that is noted, so that
`millwork state validate-consistency` finds nothing. Standard library of Python alone; about 2.7 GB and two minutes.
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import random
import signal
import socket
import sqlite3
import subprocess
import time
import urllib.request

TOKEN = "mw_bench_" + "0123456789abcdef" * 4
SECRET = "benchmark-" + "0" * 40
DATES = 400
BATCH = 1000
FAILURES = [
    ("input", "input file `{uri}` cannot be decompressed as gzip, after 150011 bytes of content: incomplete deflate stream"),
    ("input", "512 of 1024 lines of `{uri}` are no JSON objects, more than --max-rejected-percent 10 allows"),
    ("storage", "cannot read `{uri}`: the bucket answers 503 Slow Down"),
    ("resources", "the executor `10.0.3.17:7` has no memory left for `{uri}`"),
    ("lost-executor", "the executor `10.0.3.18:2` went away while it converted `{uri}`"),
    ("timeout", "the attempt took longer than --run-timeout-minutes 120"),
]
PLAN = """logical plan
TableScan: read_manifest

physical plan
ParquetPartsSink: target_file_mb=128, compression=Snappy, lanes=4
  DataSourceExec: file_type=ndjson
"""
REASONS = ["bad-extension", "too-small", "too-large"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Scheduler:
    """A scheduler of DIRECTORY, until the block ends."""

    def __init__(self, binary, directory):
        self.directory, self.port, self.engine = pathlib.Path(directory).resolve(), free_port(), free_port()
        self.command = [
            binary,
            "--state",
            f"sqlite:{self.directory}/state.db",
            "--output",
            f"{self.directory}/out",
            "--input-places",
            f"{self.directory}/in",
            "--http",
            f"127.0.0.1:{self.port}",
            "--listen",
            f"127.0.0.1:{self.engine}",
        ]

    def __enter__(self):
        for name in ["in", "out"]:
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "MILLWORK_TOKEN": TOKEN, "MILLWORK_EXECUTOR_SECRET": SECRET}
        log = open(self.directory / "scheduler.log", "ab")
        self.process = subprocess.Popen(self.command, env=environment, stdout=log, stderr=log)
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5).read()
                return self
            except OSError:
                if self.process.poll() is not None:
                    raise SystemExit(f"the scheduler ended; see {self.directory}/scheduler.log") from None
                time.sleep(0.02)

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


@contextlib.contextmanager
def executor(binary, scheduler, slots):
    """An executor of a scheduler, until the block ends."""
    command = [binary, "--scheduler", f"127.0.0.1:{scheduler.engine}", "--vcores", str(slots)]
    with open(scheduler.directory / "executor.log", "ab") as log:
        process = subprocess.Popen(command, env={**os.environ, "MILLWORK_EXECUTOR_SECRET": SECRET}, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def instant(at, digits=6):
    text = at.strftime("%Y-%m-%dT%H:%M:%S.%f")
    return text + ("000Z" if digits == 9 else "Z")


def run_rows(index, total, files, directory, now, rng):
    """Rows of one run: itself, its summary, document, commit, files and their timelines."""
    created = now - datetime.timedelta(minutes=5) - datetime.timedelta(days=DATES) * (1 - index / total)
    is_today = index >= total * 0.9
    day = (now if is_today else created - datetime.timedelta(hours=3)).date().isoformat()
    stamp = created.strftime("%Y%m%d-%H%M%S")
    run = f"{day}-batch-{index:06d}-{stamp}"
    dice = rng.random()
    state = "failed" if dice < 0.02 else "cancelled" if dice < 0.03 else "queued" if dice < 0.04 else "completed"
    parts = [f"file://{directory}/in/{day}/{index:06d}-{part:02d}.ndjson" for part in range(files)]
    sizes = [rng.randrange(1_000_000, 4_000_000) for _ in parts]
    tags = [f"{rng.getrandbits(64):016x}" for _ in parts]
    document = {
        "fileLocations": [{"URIPrefixes": parts}],
        "metadata": {
            "date_prefix": day,
            "manifest_id": run,
            "created_at": instant(created, 9),
            "file_count": files,
            "total_bytes": sum(sizes),
            "files": [{"uri": uri, "size_bytes": size, "etag": tag, "version_id": None} for uri, size, tag in zip(parts, sizes, tags)],
        },
    }
    started, ended = created + datetime.timedelta(seconds=2), created + datetime.timedelta(seconds=9)
    commit = summary = None
    failure: dict[str, str] | None = None
    attempt = {"number": 1, "started_at": instant(started, 9), "ended_at": instant(ended, 9), "failure": None}
    if state == "completed":
        commit, summary, attempt["work"] = commit_of(run, day, parts, sizes, directory, started, ended, rng)
    elif state == "cancelled":
        failure = {"class": "cancelled", "message": "cancelled before its turn"}
    else:
        kind, message = FAILURES[2] if state == "queued" else FAILURES[rng.randrange(len(FAILURES))]
        failure = {"class": kind, "message": message.format(uri=parts[0]), "file": parts[0]}
    if failure:
        attempt["failure"] = failure
    tried = state != "cancelled"
    over = state != "queued"
    changed = ended if tried or over else created
    row = (
        run,
        day,
        f"file://{directory}/out/_millwork/manifests/{day}/{index:06d}-{stamp}.json",
        state,
        0,
        files,
        sum(sizes),
        int(tried),
        int(state in ("failed", "queued")),
        1,
        None if over else instant(now + datetime.timedelta(days=1)),
        0,
        json.dumps(failure, separators=(",", ":")) if failure else None,
        failure and failure["class"],
        instant(created),
        instant(changed),
        instant(started) if tried else None,
        instant(ended) if commit else None,
        instant(ended) if over else None,
        json.dumps([attempt] if tried else [], separators=(",", ":")),
    )
    file_state = {"completed": "completed", "queued": "processing", "failed": "failed", "cancelled": "pending"}[state]
    reason = failure["message"] if failure and state == "failed" else None
    holder = None if file_state == "pending" else run
    arrived = created - datetime.timedelta(seconds=60)
    steps = [("pending", None, arrived), ("manifested", run, created)]
    if tried:
        steps.append(("processing", run, started))
    if over:
        steps.append((file_state, reason or holder, ended))
    kept = steps if is_today else steps[-1:]
    rows = [
        (uri, day, size, tag, None, None, file_state, len(steps), holder, reason, None, None, instant(arrived), instant(steps[-1][2]))
        for uri, size, tag in zip(parts, sizes, tags)
    ]
    moments = [(uri, instant(at), state, detail) for uri in parts for state, detail, at in kept]
    return row, summary, (run, json.dumps(document, separators=(",", ":"))), commit and (run, 1, 1, *commit, instant(ended)), rows, moments


def commit_of(run, day, parts, sizes, directory, started, ended, rng):
    """Record and result of a commit, the summary of the run, and the work of its attempt."""
    ledger = []
    for uri, size in zip(parts, sizes):
        rows, rejected = size // 850, rng.randrange(3)
        ledger.append({"uri": uri, "size_bytes": size, "lines": rows + rejected, "rows": rows, "rejected": rejected, "blank": 0, "replaced_characters": 0})
    rows, rejected = (sum(each[name] for each in ledger) for name in ("rows", "rejected"))
    taken, made, cpu = sum(sizes), sum(sizes) // 3, sum(sizes) // 220
    output = f"file://{directory}/out/merged-parquet-{day}/{run}-part-00000.parquet"
    lines = f"file://{directory}/out/_quarantine/rejected-lines/{day}/{run}.ndjson"
    record = {
        "staging": {"local": {"directory": f"{directory}/out/_millwork/staging/{run}/1"}},
        "outputs": [[{"name": f"00000-{rng.getrandbits(64):016x}.part", "size_bytes": made}, output]],
        "rejects": [{"name": f"00000-{rng.getrandbits(64):016x}.rejected.ndjson", "size_bytes": 240 * rejected}] if rejected else [],
        "rejects_uri": lines,
        "ledger": ledger,
    }
    names = ["survey", "plan", "convert", "check", "commit"]
    steps = [{"step": name, "began_at": instant(started, 9), "millis": millis} for name, millis in zip(names, [40, 3, 6500, 7, 20])]
    work = {"steps": steps, "read_bytes": taken, "rows": rows, "rejected": rejected, "cpu_micros": cpu, "tasks": 1}
    task = {
        "task": 0,
        "executor": "10.0.3.17:7",
        "started_at_ms": int(started.timestamp() * 1000),
        "ended_at_ms": int(ended.timestamp() * 1000),
        "input_bytes": taken,
        "rows": rows,
        "rejected": rejected,
        "parts": 1,
        "output_bytes": made,
        "cpu_micros": cpu,
        "peak_memory_bytes": 225726464,
    }
    result = {
        "rows": rows,
        "rejected": rejected,
        "input_bytes": taken,
        "output_bytes": made,
        "replaced_characters": 0,
        "left_out": 0,
        "outputs": [{"uri": output, "rows": rows, "bytes": made, "manifest_id": run, "executor": "10.0.3.17:7"}],
        "rejected_lines": lines if rejected else None,
        "renamed_columns": [],
        "case_twins": [],
        "hidden_columns": [],
        "plan": PLAN,
        "ledger": ledger,
        "attempt": 1,
        "tasks": [task],
        "work": work,
        "cpu_micros": cpu,
        "storage": {"reads": 0, "writes": 0},
    }
    summary = {
        "rows": rows,
        "rejected": rejected,
        "input_bytes": taken,
        "output_bytes": made,
        "outputs": 1,
        "executors": 1,
        "cpu_micros": cpu,
        "reads": 0,
        "writes": 0,
    }

    def compact(value):
        return json.dumps(value, separators=(",", ":"))

    return (compact(record), compact(result)), compact(summary), work


def others(count, directory, now, rng):
    """Files outside runs: refused ones, and those that wait for a manifest, of the newest three dates."""
    for index in range(count):
        at = now - datetime.timedelta(minutes=30) + datetime.timedelta(microseconds=index * 1000)
        day = (now - datetime.timedelta(days=index % 3)).date().isoformat()
        refused = index % 2 == 0
        reason = REASONS[index % len(REASONS)] if refused else None
        uri = f"file://{directory}/in/{day}/other-{index:06d}.{'txt' if reason == 'bad-extension' else 'ndjson'}"
        size = 50 if reason == "too-small" else rng.randrange(1_000_000, 4_000_000)
        state = "quarantined" if refused else "pending"
        yield (uri, day, size, f"{index:x}", None, None, state, 1, None, reason, None, None, instant(at), instant(at)), (uri, instant(at), state, reason)


def seed(database, runs, files, outputs):
    directory, rng = database.parent.resolve(), random.Random(7)
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    extra = files // 250
    each, more = divmod(files - extra, runs)
    c = sqlite3.connect(database, isolation_level=None)
    for setting in ["journal_mode = off", "synchronous = off", "cache_size = -400000", "temp_store = memory"]:
        c.execute(f"PRAGMA {setting}")
    c.execute("BEGIN")

    def insert(table, rows):
        return rows and c.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(rows[0]))})", rows)

    columns = (
        "manifest_id, date_prefix, manifest_uri, status, priority, files, bytes, attempts, failures, generation, not_before, cancel_requested, "
        "failure, failure_class, created_at, updated_at, started_at, committed_at, ended_at, history"
    )
    for first in range(0, runs, BATCH):
        made = [run_rows(index, runs, each + (index < more), directory, now, rng) for index in range(first, min(first + BATCH, runs))]
        insert(f"runs ({columns})", [row for row, *_ in made])
        c.executemany("UPDATE runs SET summary = ? WHERE manifest_id = ?", [(summary, row[0]) for row, summary, *_ in made if summary])
        insert("documents", [document for _, _, document, *_ in made])
        insert("commits", [commit for _, _, _, commit, *_ in made if commit])
        insert("files", [row for *_, rows, _ in made for row in rows])
        insert("timeline", [row for *_, rows in made for row in rows])
        if outputs:
            for _, _, _, commit, *_ in made:
                for output in json.loads(commit[4])["outputs"] if commit else []:
                    place = pathlib.Path(output["uri"].removeprefix("file://"))
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.touch()
                    os.truncate(place, output["bytes"])
    loose = list(others(extra, directory, now, rng))
    insert("files", [row for row, _ in loose])
    insert("timeline", [moment for _, moment in loose])
    series(c, now, rng)
    audits(c, now, runs)
    c.execute("COMMIT")
    c.execute("PRAGMA journal_mode = wal")
    c.close()


def series(c, now, rng):
    """Minutes of two days and hours of 400."""
    for step, count in [(60, 2 * 1440), (3600, 400 * 24)]:
        end = int(now.replace(tzinfo=datetime.UTC).timestamp()) // step * step
        samples = []
        for at in range(end - count * step, end, step):
            arrived = rng.randrange(20) * step
            sample = {
                "at": at,
                "watched_seconds": float(step),
                "arrived_files": arrived,
                "arrived_bytes": arrived * 2_500_000,
                "input_bytes": arrived * 2_400_000,
                "output_bytes": arrived * 800_000,
                "rows": arrived * 2900,
                "rejected": arrived,
                "completed_runs": arrived // 10,
                "failed_runs": arrived // 500,
                "backlog_bytes": rng.randrange(10**9),
                "busy_slot_seconds": step * rng.random() * 8,
                "slots": 8,
            }
            samples.append((step, at, json.dumps(sample, separators=(",", ":"))))
        c.executemany("INSERT OR REPLACE INTO series VALUES (?, ?, ?)", samples)


def audits(c, now, runs):
    """Notes of retries, a tenth as many as runs, all of the newest day."""
    notes = []
    for index in range(runs // 10):
        at = now - datetime.timedelta(milliseconds=5 * index)
        note = {
            "id": f"{index:016x}",
            "at": instant(at),
            "actor": "bench",
            "via": "api",
            "action": "retry",
            "reason": None,
            "plan": None,
            "subjects": [f"run-{index % 100}"],
            "before": "failed",
            "after": "queued",
            "outcome": "done",
        }
        notes.append((f"{note['at']}#{note['id']}", json.dumps(note, separators=(",", ":"))))
    c.executemany("INSERT INTO audit_entries VALUES (?, ?)", notes)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--scheduler", required=True, help="the binary millwork-scheduler")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--outputs", action="store_true", help="make the outputs, too")
    given = parser.parse_args()
    given.directory.mkdir(parents=True, exist_ok=True)
    database = given.directory / "state.db"
    if database.exists():
        raise SystemExit(f"{database} is there already: name another directory, or remove it")
    with Scheduler(given.scheduler, given.directory):
        pass
    began = time.monotonic()
    seed(database, given.runs, given.files, given.outputs)
    print(f"{database}: {given.runs} runs, {given.files} files, {database.stat().st_size / 1e6:.0f} MB, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
