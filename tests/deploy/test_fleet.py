"""The fleet as a cluster treats it: executors come and go as the scaler says to KEDA; services are restarted one after the other, and killed, under load."""

import json
import os
import signal
import sqlite3
import subprocess
import threading
import time
from datetime import datetime, timezone

import grpc
import pytest

import pipeline as pipelines
from pipeline import BIN, Services, free_port, rows

PATIENCE = 180


class Scaler:
    """The external scaler, asked as KEDA asks it; messages as `externalscaler.proto` has them."""

    def __init__(self, port):
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")

    def ask(self, method, message):
        call = self.channel.unary_unary(f"/externalscaler.ExternalScaler/{method}", lambda sent: sent, lambda got: got)
        return call(message, timeout=5, wait_for_ready=True)

    def is_active(self):
        return fields(self.ask("IsActive", OBJECT)).get(1, 0) == 1

    def replicas(self, now, most):
        """What KEDA makes of the answers: it wakes and ends the fleet, and its horizontal autoscaler follows the metric in between."""
        if not self.is_active():
            return 0
        spec = fields(fields(self.ask("GetMetricSpec", OBJECT))[1])
        value = fields(fields(self.ask("GetMetrics", field(1, OBJECT) + field(2, spec[1])))[1])
        assert value[1] == spec[1]
        by_metric = min(max(-(-value.get(2, 0) // spec[2]), 1), most)
        return by_metric if now else 1


def field(number, content):
    return bytes([number << 3 | 2, len(content)]) + content


OBJECT = field(1, b"millwork-executor") + field(2, b"millwork")


def fields(message):
    """Fields of a message of protobuf by number: numbers, and bytes of all else; floating numbers are left out."""
    found, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = number()
        if key & 7 == 0:
            found[key >> 3] = number()
        elif key & 7 == 1:
            at += 8
        else:
            length = number()
            found[key >> 3] = message[at:at + length]
            at += length
    return found


class Fleet:
    """A scheduler on a directory, and as many executors as are wanted."""

    def __init__(self, folder, options):
        self.folder, self.options = folder, options
        self.http, self.door, self.scaler_port = free_port(), free_port(), free_port()
        self.environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "XDG_STATE_HOME": str(folder / "state"), "NO_COLOR": "1"}
        self.executors, self.ended, self.started = [], [], 0
        (folder / "in").mkdir()
        self.start_scheduler()

    def start(self, name, *command, **variables):
        log = open(self.folder / f"{name}.log", "a")
        return subprocess.Popen([str(part) for part in command], env={**self.environment, **variables}, stdout=log, stderr=log)

    def start_scheduler(self):
        self.scheduler = self.start("scheduler", BIN / "millwork-scheduler", "--state", f"sqlite:{self.folder / 'state.db'}", "--input-places", self.folder / "in",
                                    "--output", self.folder / "out", "--listen", f"127.0.0.1:{self.door}", "--http", f"127.0.0.1:{self.http}",
                                    "--scaler-listen", f"127.0.0.1:{self.scaler_port}", *self.options)
        self.wait("the scheduler answers", lambda: self.cli("runs", "list", "--json", codes=(0, 5)))

    def end(self, process):
        process.send_signal(signal.SIGTERM)
        return process.wait(PATIENCE)

    def follow(self, wanted):
        """Makes the executors as many as are wanted, as a Deployment does: those that are told to end finish what they have first."""
        while len(self.executors) < wanted:
            self.started += 1
            self.executors.append(self.start(f"executor-{self.started}", BIN / "millwork-executor", "--scheduler", f"127.0.0.1:{self.door}", "--vcores", "1",
                                             HTTP_LISTEN=f"127.0.0.1:{free_port()}"))
        while len(self.executors) > wanted:
            gone = self.executors.pop()
            gone.send_signal(signal.SIGTERM)
            self.ended.append(gone)

    def cli(self, *command, codes=(0,)):
        done = subprocess.run([BIN / "millwork", *command, "--scheduler", f"http://127.0.0.1:{self.http}"], env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode in codes, done.stderr
        return done.stdout

    def runs(self):
        listed = json.loads(self.cli("runs", "list", "--json", "--limit", "1000"))
        return listed.get("items", listed.get("runs"))

    def wait(self, what, condition, seconds=PATIENCE):
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, f"{seconds} s passed before {what}: {(self.folder / 'scheduler.log').read_text()[-2000:]}"
            time.sleep(0.1)
        return found

    def close(self):
        for process in [self.scheduler, *self.executors, *self.ended]:
            process.kill()
            process.wait()


def remember_speed(database, bytes_a_second):
    """Notes that executors of one slot have done so much a second for so long that nothing changes it."""
    seconds = 3.6e9
    numbers = {"converted_bytes": bytes_a_second * seconds, "busy_slot_milliseconds": seconds * 1e3, "busy_executor_milliseconds": seconds * 1e3}
    with sqlite3.connect(database) as connection:
        today = datetime.now(timezone.utc).strftime("%Y-%m-%d")
        connection.executemany("INSERT INTO metrics VALUES (?, ?, ?)", [(today, name, int(value)) for name, value in numbers.items()])
    connection.close()


@pytest.fixture
def fleet(tmp_path):
    made = Fleet(tmp_path, ["--scale-max-executors", "4", "--scale-deadline-minutes", "2", "--scale-wake-minutes", "1"])
    yield made
    made.close()


def test_executors_follow_the_scaler_from_none_to_four_and_back(fleet):
    manifests, lines = 12, 120_000
    text = "".join(json.dumps({"line": line, "text": f"{line * 7919:x}" * 20}) + "\n" for line in range(lines))
    (fleet.folder / "in" / "2026-03-01-000.ndjson").write_text(text)
    for number in range(1, manifests):
        os.link(fleet.folder / "in" / "2026-03-01-000.ndjson", fleet.folder / "in" / f"2026-03-01-{number:03}.ndjson")
    assert fleet.end(fleet.scheduler) == 0
    # All of it is eight minutes' work of one executor, where it has one.
    remember_speed(fleet.folder / "state.db", manifests * len(text) // 480)
    fleet.start_scheduler()
    scaler = Scaler(fleet.scaler_port)
    assert scaler.replicas(0, 20) == 0, "nothing to do"
    for number in range(manifests):
        uri = (fleet.folder / "in" / f"2026-03-01-{number:03}.ndjson").as_uri()
        metadata = {"manifest_id": f"m{number}", "files": [{"uri": uri, "size_bytes": len(text)}]}
        document = {"fileLocations": [{"URIPrefixes": [uri]}], "metadata": metadata}
        (fleet.folder / f"m{number}.json").write_text(json.dumps(document))
        fleet.cli("submit", str(fleet.folder / f"m{number}.json"))
    seen = [0]

    def step():
        wanted = scaler.replicas(len(fleet.executors), 20)
        fleet.follow(wanted)
        if wanted != seen[-1]:
            seen.append(wanted)
        return wanted == 0 and all(run["state"] == "completed" for run in fleet.runs())

    fleet.wait("all is converted and no executor is wanted", step)
    assert seen[:3] == [0, 1, 4] and seen[-1] == 0, seen
    # Never up again on the way down.
    assert seen[2:] == sorted(seen[2:], reverse=True), seen
    assert [process.wait(PATIENCE) for process in fleet.ended] == [0] * fleet.started
    assert {run["attempts"] for run in fleet.runs()} == {1}, "the end of an executor costs no attempt"
    assert rows(f"{fleet.folder}/out/**/*.parquet") == [manifests * lines, manifests * lines]


@pytest.fixture
def services(tmp_path):
    made = Services(tmp_path / "services")
    yield made
    made.close()


def test_a_rolling_restart_and_the_death_of_both_schedulers_lose_and_double_nothing(services):
    files, lines = 48, 4000
    for name in ("scheduler-0", "scheduler-1", "executor-0", "executor-1", "builder-0"):
        services.start_one(name)
    stopped = threading.Event()
    put = []

    def load():
        for number in range(files):
            services.put(f"in/2026-02-{1 + number % 3:02}-{number:03}.ndjson", pipelines.lines(number, lines))
            put.append(number)
            if stopped.wait(0.5):
                return

    loading = threading.Thread(target=load)
    loading.start()
    try:
        services.until("runs are under way", lambda: services.done() > 0, 120)
        # In the order that docs/kubernetes.md tells.
        services.replace("scheduler-1", "scheduler-2")
        services.replace("scheduler-0", "scheduler-3")
        services.replace("executor-0", "executor-2")
        services.replace("executor-1", "executor-3")
        services.replace("builder-0", "builder-1")
        assert len(put) < files, "all of it was under load"
        before = services.done()
        services.until("the new ones convert", lambda: services.done() > before, 120)
        for name in ("scheduler-2", "scheduler-3"):
            services.processes[name].kill()
        for name in ("scheduler-2", "scheduler-3"):
            services.processes.pop(name).wait()
        services.start_one("scheduler-4")
        services.start_one("scheduler-5")
        loading.join()
        services.until("all files are converted", lambda: services.done() == files, 240)
    finally:
        stopped.set()
        loading.join()
    assert services.count() == [files * lines, files * lines]
    for name in list(services.processes):
        if name != "servers":
            assert services.end(name) == 0, name
