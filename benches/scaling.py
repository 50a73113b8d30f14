#!/usr/bin/env python3
"""scaling.py --bin DIR --data DIR --out DIR [--json FILE] [--shapes events,wide,text] [--runs 5] [--files 200] [--manifests 4] [--copies 4]

Whether twice the cores are twice as fast, and ten times the load takes ten times as long. Prints, as medians:
- `millwork run` with one slot on one core, and with all slots on all cores; beside it, what as many processes reach together that have
  one slot, one core and all of the input each, and wait for nothing from each other: about what the machine gives for another core;
- a cluster of processes: one executor of one slot pinned to a core, and as many executors as there are cores, each on its own,
  with some manifests for each copy of the input. The scheduler is pinned to none: with one executor it has the other core, with
  more it takes from theirs. Its CPU is shown;
- the cluster with all executors, with a few manifests, and with ten times as many (target: ten times as long, within 10 %).
Manifests are of equal size; the clock runs from the first submission to the end of the last run, as the API tells it, after a
manifest to warm up. The API is asked seldom: who asks takes CPU time from the executors."""

import argparse
import collections
import concurrent.futures
import datetime
import functools
import http.client
import json
import os
import socket
import subprocess
import sys
import time

import measure

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for name in ("bin", "data", "out"):
    arguments.add_argument(f"--{name}", required=True)
arguments.add_argument("--json")
arguments.add_argument("--shapes", default="events,wide,text")
arguments.add_argument("--runs", type=int, default=5)
arguments.add_argument("--files", type=int, default=200)
arguments.add_argument("--manifests", type=int, default=4)
arguments.add_argument("--copies", type=int, default=4)
a = arguments.parse_args()
cores, millwork = measure.CORES, f"{a.bin}/millwork"


def slots(inputs, *groups):
    """`millwork run` for each of some groups of cores, all at the same time: with a slot for each core, and no other core."""
    targets, size = [measure.fresh(f"{a.out}/scaling-{number}") for number in range(len(groups))], measure.warm(inputs)

    def run(group, target):
        command = [millwork, "run", "--input", os.path.dirname(inputs[0]), "--output", target, "--vcores", str(len(group))]
        return measure.timed(measure.pinned(group, *command), f"{target}.log")

    with concurrent.futures.ThreadPoolExecutor(len(groups)) as pool:
        runs = list(pool.map(run, groups, targets))
    for target in targets:
        measure.fresh(target)
    seconds = max(run["seconds"] for run in runs)
    return {**{name: sum(run[name] for run in runs) for name in runs[0]}, "seconds": seconds, "mb_per_s": len(groups) * size / 1e6 / seconds}


class Cluster:
    """A scheduler, and an executor of one slot on each of some cores."""

    def __init__(self, folder, cores):
        self.folder, self.processes = folder, {}
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        listen, self.http = [listener.getsockname()[1] for listener in listeners]
        for listener in listeners:
            listener.close()
        state = ["--state", f"sqlite:{folder}/state.db", "--input-places", f"{folder}/in", "--output", f"{folder}/parquet"]
        self.start("scheduler", [f"{a.bin}/millwork-scheduler", *state, "--listen", f"127.0.0.1:{listen}", "--http", f"127.0.0.1:{self.http}"])
        for core in cores:
            options = ["--scheduler", f"127.0.0.1:{listen}", "--vcores", "1", "--id", f"core-{core}"]
            self.start(f"executor-{core}", measure.pinned([core], f"{a.bin}/millwork-executor", *options))
        self.wait(lambda: len(self.call("GET", "executors")["items"]) == len(cores), "executors")

    def start(self, name, command):
        self.processes[name] = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=open(f"{self.folder}/{name}.log", "w"))

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=30)
        connection.request(method, f"/api/v1/{path}", body and json.dumps(body), {"content-type": "application/json"} if body else {})
        response = connection.getresponse()
        text = response.read()
        if response.status >= 300:
            raise RuntimeError(f"{method} {path}: {response.status} {text[:300]!r}")
        return json.loads(text)

    def wait(self, condition, what, pause=0.02):
        until = time.time() + 600
        while time.time() < until:
            if any(process.poll() is not None for process in self.processes.values()):
                break
            try:
                if condition():
                    return
            except ConnectionError:
                pass
            time.sleep(pause)
        sys.exit(f"waited in vain for {what}; the logs are in {self.folder}")

    def convert(self, name, manifests):
        """Runs manifests, lists of paths: seconds, and CPU seconds of the scheduler and of all executors."""
        before, started = self.cpu(), time.time()
        for number, paths in enumerate(manifests):
            document = {"fileLocations": [{"URIPrefixes": [f"file://{path}" for path in paths]}], "metadata": {"manifest_id": f"{name}-{number}"}}
            self.call("POST", "manifests", document)
        ended, ids = {}, {f"{name}-{number}" for number in range(len(manifests))}

        def are_completed():
            runs = self.call("GET", "runs?limit=1000")["items"]
            if any(run["state"] == "failed" for run in runs):
                sys.exit(f"a run failed; the logs are in {self.folder}")
            ended.update({run["manifest_id"]: run["ended_at"] for run in runs if run["state"] == "completed"})
            return ids <= ended.keys()

        self.wait(are_completed, f"{len(manifests)} manifests", 0.25)
        seconds = max(datetime.datetime.fromisoformat(ended[id]).timestamp() for id in ids) - started
        return {"seconds": seconds, **{f"{who}_cpu_seconds": now - before[who] for who, now in self.cpu().items()}}

    def cpu(self):
        used: collections.Counter[str] = collections.Counter()
        for name, process in self.processes.items():
            used[name.split("-")[0]] += measure.cpu_seconds(process.pid)
        return used

    def stop(self):
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait()


def cluster(inputs, cores, copies):
    """Some manifests for each copy of the input: the same files under other names, as a file is converted once."""
    folder = measure.fresh(f"{a.out}/cluster")
    per_manifest, manifests = len(inputs) // a.manifests, []
    for copy in range(copies):
        os.makedirs(f"{folder}/in/{copy}")
        links = [f"{folder}/in/{copy}/{os.path.basename(path)}" for path in inputs]
        for path, link in zip(inputs, links):
            os.link(os.path.realpath(path), link)
        manifests += [links[n * per_manifest : (n + 1) * per_manifest] for n in range(a.manifests)]
    os.link(os.path.realpath(inputs[0]), f"{folder}/in/2025-12-23-first.ndjson")
    size = measure.warm(path for paths in manifests for path in paths)
    running = Cluster(folder, cores)
    try:
        running.convert("first", [[f"{folder}/in/2025-12-23-first.ndjson"]])
        run = running.convert("m", manifests)
    finally:
        running.stop()
    measure.fresh(folder)
    return {**run, "mb_per_s": size / 1e6 / run["seconds"], "manifests": len(manifests)}


def rounds(configurations):
    """Medians of each configuration, a function; all of them in each round."""
    runs: dict[str, list] = {name: [] for name in configurations}
    for _ in range(a.runs):
        for name, configuration in configurations.items():
            runs[name].append(configuration())
    return {name: measure.medians(of) for name, of in runs.items()}


def ratio(found, name):
    return f"{found[name]['mb_per_s'] / found['one']['mb_per_s']:.2f} of {count}"


results: dict[str, dict] = {"slots": {}}
rows, count = [], len(cores)
for shape in a.shapes.split(","):
    inputs = measure.dataset(millwork, a.data, shape, a.files)
    ways = {"one": [cores[:1]], "all": [cores], "apart": [[core] for core in cores]}
    found = rounds({name: functools.partial(slots, inputs, *groups) for name, groups in ways.items()})
    results["slots"][shape] = found
    rows.append(
        [shape, *[f"{found[name]['mb_per_s']:.0f} ({found[name]['cpu_seconds']:.1f})" for name in ("one", "all")], ratio(found, "all"), ratio(found, "apart")]
    )
print(f"`millwork run` pinned to one core with one slot, and to {count} cores with {count} slots: input MB/s (CPU s), medians of {a.runs}")
measure.table(["shape", "1 slot", f"{count} slots", "times as fast", f"{count} processes apart"], rows)

inputs = measure.dataset(millwork, a.data, a.shapes.split(",")[0], a.files)
found = rounds(
    {
        "one": lambda: cluster(inputs, cores[:1], a.copies),
        "all": lambda: cluster(inputs, cores, a.copies),
        "few": lambda: cluster(inputs, cores, 1),
        "tenfold": lambda: cluster(inputs, cores, 10),
    }
)
results |= {"executors": {"one": found["one"], "all": found["all"]}, "manifests": {"few": found["few"], "tenfold": found["tenfold"]}}
ratios = {
    "one": "",
    "few": "",
    "all": f"{found['all']['mb_per_s'] / found['one']['mb_per_s']:.2f} of {count} times as fast as one executor",
    "tenfold": f"{found['tenfold']['seconds'] / found['few']['seconds']:.2f} times as long as {found['few']['manifests']:.0f} manifests",
}
rows = [
    [1 if name == "one" else count, int(m["manifests"]), m["seconds"], m["mb_per_s"], m["executor_cpu_seconds"], m["scheduler_cpu_seconds"], ratios[name]]
    for name, m in found.items()
]
print(
    f"A cluster: executors of one slot, each pinned to a core; the scheduler on any of {count} cores; manifests of {len(inputs) // a.manifests} files; "
    f"medians of {a.runs}; target: ten times the manifests at most ten times as long, within 10 %"
)
measure.table(["executors", "manifests", "s", "input MB/s", "executors' CPU s", "scheduler's CPU s", ""], rows)
measure.save(a.json, "scaling", results)
