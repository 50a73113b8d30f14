#!/usr/bin/env python3
"""s3.py --data DIR --out DIR --millwork BINARY [--json FILE] [--shapes events,wide,text] [--runs 5] [--files 200] [--milliseconds 20]

`millwork run` from a bucket into a bucket of a server that holds each request back for 20 ms, against the same from a directory
into a directory, in two ways. With a server apart, as a store is in fact: Millwork is pinned to all cores but the last, with as many slots,
in both cases, and the server has the last core to itself. And on all cores, those of the server too: there is a row without latency then, and between
it and the local row is what the protocol and the server cost, between it and the row with latency what waiting costs. Prints medians
of rounds; CPU seconds of Millwork and of the server; requests; and what the server can do at most when nothing else is to be done. No
server that is to be had was cheap enough to leave room for what is measured, hence s3_server.py."""

import argparse
import http.client
import os
import shutil
import socket
import subprocess
import sys
import threading
import time

import measure

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for name in ("data", "out", "millwork"):
    arguments.add_argument(f"--{name}", required=True)
arguments.add_argument("--json")
arguments.add_argument("--shapes", default="events,wide,text")
arguments.add_argument("--runs", type=int, default=5)
arguments.add_argument("--files", type=int, default=200)
arguments.add_argument("--milliseconds", type=float, default=20)
a = arguments.parse_args()
here = os.path.dirname(os.path.abspath(__file__))
shapes, streams = a.shapes.split(","), 4
processes: list[subprocess.Popen] = []


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def server(milliseconds, cores=measure.CORES):
    """A server on these cores that listens, and its port."""
    port = free_port()
    log, command = f"{out}/server-{port}.log", measure.pinned(cores, sys.executable, f"{here}/s3_server.py", str(port), root, str(milliseconds))
    process = subprocess.Popen(command, stdout=open(log, "w"), stderr=subprocess.STDOUT)
    processes.append(process)
    while socket.socket().connect_ex(("127.0.0.1", port)):
        if process.poll() is not None:
            sys.exit(open(log).read())
        time.sleep(0.02)
    return process, port


def requests_of(port):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/-/requests")
    return int(connection.getresponse().read())


def fetch(port, paths):
    """Fetches and throws away. Returns the bytes."""
    total, buffer = 0, bytearray(1 << 20)
    for path in paths:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", path)
        response = connection.getresponse()
        if response.status != 200:
            sys.exit(f"GET {path}: {response.status} {response.read()[:300]!r}")
        while size := response.readinto(buffer):
            total += size
    return total


def ceiling(process, port, inputs):
    """What can be read from the server at most, and its CPU seconds a gigabyte."""
    paths, totals, before, start = [f"/{shapes[0]}/{os.path.basename(path)}" for path in inputs], [], measure.cpu_seconds(process.pid), time.time()
    threads = [threading.Thread(target=lambda part: totals.append(fetch(port, part)), args=(paths[n::streams],)) for n in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"mb_per_s": sum(totals) / 1e6 / (time.time() - start), "cpu_seconds_per_gb": (measure.cpu_seconds(process.pid) - before) / sum(totals) * 1e9}


def once(shape, inputs, cores, process, port):
    target, size = measure.fresh(f"{out}/run"), measure.warm(inputs)
    options, used = ["--output", target, "--input", os.path.dirname(inputs[0])], [0, 0]
    if process:
        measure.fresh(f"{root}/output")
        options = ["--output", f"s3://output/{shape}", "--input", f"s3://{shape}", "--state", f"sqlite:{target}/state.db"]
        environment["AWS_ENDPOINT_URL_S3"] = f"http://127.0.0.1:{port}"
        used = [measure.cpu_seconds(process.pid), requests_of(port)]
    run = measure.timed(measure.pinned(cores, a.millwork, "run", "--vcores", str(len(cores)), *options), f"{out}/log", environment)
    # In this order: the server puts uploaded parts together when it is asked for its requests.
    if process:
        used = [measure.cpu_seconds(process.pid) - used[0], requests_of(port) - used[1]]
    written = f"{root}/output" if process else target
    if (rows := measure.parquet_rows(written)) != lines[shape]:
        sys.exit(f"{written}: {rows} rows of {lines[shape]}")
    found = {"server_cpu_seconds": used[0], "requests": used[1], "output_mb": sum(measure.parquet_sizes(written))}
    return {**run, "mb_per_s": size / 1e6 / run["seconds"], **found}


out, delayed = measure.fresh(f"{a.out}/s3"), f"{a.milliseconds:.0f} ms"
root = measure.fresh(f"{out}/root")
environment = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_REGION": "us-east-1"}
inputs = {shape: measure.dataset(a.millwork, a.data, shape, a.files) for shape in shapes}
lines = {shape: sum(open(path, "rb").read().count(b"\n") for path in paths) for shape, paths in inputs.items()}
for shape in shapes:
    os.makedirs(f"{root}/{shape}")
    for path in inputs[shape]:
        os.link(os.path.realpath(path), f"{root}/{shape}/{os.path.basename(path)}")
try:
    every, ours, local = measure.CORES, measure.CORES[:-1] or measure.CORES, (None, None)
    near, distant, apart = server(0), server(a.milliseconds), server(a.milliseconds, every[-1:])
    results = {"milliseconds": a.milliseconds, "ceiling": ceiling(near[0], near[1], inputs[shapes[0]]), "shapes": {}}
    print(f"The server alone, {streams} connections: {results['ceiling']['mb_per_s']:.0f} MB/s, {results['ceiling']['cpu_seconds_per_gb']:.2f} CPU s a GB")
    # By cores: what each is compared with, and what it is measured by.
    configurations = {
        "local, server apart": ("local, server apart", ours, *local),
        f"{delayed}, server apart": ("local, server apart", ours, *apart),
        "local": ("local", every, *local),
        "0 ms": ("local", every, *near),
        delayed: ("local", every, *distant),
    }
    rows = []
    for shape in shapes:
        runs: dict[str, list] = {where: [] for where in configurations}
        for _ in range(a.runs):
            for where, (_, *how) in configurations.items():
                runs[where].append(once(shape, inputs[shape], *how))
        medians = results["shapes"][shape] = {where: measure.medians(of) for where, of in runs.items()}
        for where, m in medians.items():
            base = configurations[where][0]
            rows.append(
                [
                    shape,
                    where,
                    len(configurations[where][1]),
                    m["seconds"],
                    m["mb_per_s"],
                    measure.percent(m["mb_per_s"] / medians[base]["mb_per_s"]),
                    m["cpu_seconds"],
                    float(m["server_cpu_seconds"]),
                    int(m["requests"]),
                    m["peak_mb"],
                ]
            )
    print(
        f"S3's protocol on loopback; server apart: {len(ours)} of {len(every)} cores for Millwork, the last for the server, else all for both; "
        f"target: {delayed} at least 85 % of local; medians of {a.runs}"
    )
    measure.table(["shape", "", "Millwork's cores", "s", "input MB/s", "of local", "CPU s", "server CPU s", "requests", "peak MB"], rows)
    measure.save(a.json, "s3", results)
finally:
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()
    for folder in (root, f"{out}/run"):
        shutil.rmtree(folder, ignore_errors=True)
