#!/usr/bin/env python3
"""manifests.py --bin DIR --out DIR [--manifests 10000] [--lines 20]

What a run costs beside its data: a scheduler and an executor as processes, SQLite as state, many manifests of one tiny
file each, submitted over HTTP and all queued before the executor comes. Prints runs a second, CPU milliseconds a run of
scheduler and executor, resident memory while the queue is emptied, and how long the API takes to answer meanwhile."""

import argparse
import http.client
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import threading
import time

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for name in ("bin", "out"):
    arguments.add_argument(f"--{name}", required=True)
arguments.add_argument("--manifests", type=int, default=10000)
arguments.add_argument("--lines", type=int, default=20)
arguments.add_argument("--vcores", type=int, default=os.cpu_count())
arguments.add_argument("--port", type=int, default=28080)
a = arguments.parse_args()
out = os.path.abspath(a.out)
shutil.rmtree(out, ignore_errors=True)
os.makedirs(f"{out}/in")
line = '{"id":%d,"name":"a name","tags":["x","y"],"price":12.50,"at":"2025-12-23T10:00:00Z"}\n'
for n in range(a.manifests):
    with open(f"{out}/in/2025-12-23-{n:06}.ndjson", "w") as file:
        file.writelines(line % (n * a.lines + k) for k in range(a.lines))


def process(name, *command):
    # The scheduler leaves a token there for who started it.
    return subprocess.Popen([f"{a.bin}/{name}", *command], stderr=open(f"{out}/{name}.log", "w"), env={**os.environ, "XDG_RUNTIME_DIR": out})


def call(connection, method, path, body=None):
    token = open(f"{out}/millwork/api-127.0.0.1-{a.port}.token").read()
    headers = {"authorization": f"Bearer {token}"} | ({"content-type": "application/json"} if body else {})
    connection.request(method, f"/api/v1/{path}", body and json.dumps(body), headers)
    response = connection.getresponse()
    text = response.read()
    if response.status >= 300:
        sys.exit(f"{method} {path}: {response.status} {text[:300]}")
    return json.loads(text)


def usage(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return cpu, int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6


scheduler = process(
    "millwork-scheduler",
    "--state",
    f"sqlite:{out}/state.db",
    "--input-places",
    f"{out}/in",
    "--output",
    f"{out}/parquet",
    "--listen",
    f"127.0.0.1:{a.port + 1}",
    "--http",
    f"127.0.0.1:{a.port}",
)
processes = [scheduler]
try:
    time.sleep(2)
    started = time.time()

    def submit(part):
        connection = http.client.HTTPConnection("127.0.0.1", a.port)
        for n in part:
            uri = f"file://{out}/in/2025-12-23-{n:06}.ndjson"
            call(connection, "POST", "manifests", {"fileLocations": [{"URIPrefixes": [uri]}], "metadata": {"manifest_id": f"m-{n:06}"}})

    threads = [threading.Thread(target=submit, args=(range(k, a.manifests, 8),)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"submitted {a.manifests} manifests in {time.time() - started:.1f} s ({a.manifests / (time.time() - started):.0f}/s)", flush=True)

    executor = process("millwork-executor", "--scheduler", f"127.0.0.1:{a.port + 1}", "--vcores", str(a.vcores))
    processes.append(executor)
    before, took, memory = usage(scheduler.pid)[0], [], []
    connection = http.client.HTTPConnection("127.0.0.1", a.port)
    started = time.time()
    paths = ["runs?limit=100", "runs/m-000000", "executors", "stats", "runs?limit=50&status=queued"]
    asked, state = 0, sqlite3.connect(f"file:{out}/state.db?mode=ro", uri=True)
    while True:
        at = time.time()
        answer = call(connection, "GET", paths[asked % len(paths)])
        took.append(time.time() - at)
        asked += 1
        memory.append(usage(scheduler.pid)[1])
        if asked % 20 == 0 and not state.execute("SELECT 1 FROM runs WHERE status IN ('queued', 'planning', 'running', 'committing') LIMIT 1").fetchone():
            break
        time.sleep(0.02)
    seconds = time.time() - started
    cpu = usage(scheduler.pid)[0] - before
    failed = state.execute("SELECT count(*) FROM runs WHERE status <> 'completed'").fetchone()[0]
    took.sort()
    print(f"{a.manifests} runs in {seconds:.1f} s: {a.manifests / seconds:.0f} runs/s, {failed} failed")
    print(f"scheduler CPU {cpu * 1000 / a.manifests:.2f} ms a run, executor CPU {usage(executor.pid)[0] * 1000 / a.manifests:.2f} ms a run")
    tenth = max(1, len(memory) // 10)
    print(
        f"scheduler resident {statistics.mean(memory[:tenth]):.0f} MB at the start, {statistics.mean(memory[-tenth:]):.0f} MB at the end, "
        f"{max(memory):.0f} MB at the most"
    )
    print(
        f"API: {len(took)} requests, p50 {took[len(took) // 2] * 1000:.1f} ms, p99 {took[len(took) * 99 // 100] * 1000:.1f} ms, "
        f"longest {took[-1] * 1000:.0f} ms"
    )
finally:
    for p in processes:
        p.terminate()
    for p in processes:
        p.wait()
