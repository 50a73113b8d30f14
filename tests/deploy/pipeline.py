"""The whole pipeline as real processes, each with an access key of its own, through a recorder before local servers."""

import gzip
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

import boto3
from botocore.config import Config

from recorder import Recorder
from rendered import ROOT

BIN = pathlib.Path(os.environ.get("MILLWORK_BIN", ROOT / "target" / "debug"))
REGION = "eu-central-1"
PREFIX = "rights"
ROLES = ["builder", "scheduler", "executor", "operator"]
FILES = 24


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Pipeline:
    def __init__(self, folder):
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.processes = {}
        port = free_port()
        self.start("servers", [ROOT / ".venv" / "bin" / "ministack"], {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port)})
        self.direct = f"http://127.0.0.1:{port}"
        options = {"endpoint_url": self.direct, "region_name": REGION, "aws_access_key_id": "test", "aws_secret_access_key": "test"}
        self.s3 = boto3.client("s3", config=Config(s3={"addressing_style": "path"}), **options)
        self.sqs, self.dynamodb = boto3.client("sqs", **options), boto3.client("dynamodb", **options)
        self.until("the servers answer", lambda: succeeds(self.s3.list_buckets))
        self.recorder = Recorder(("127.0.0.1", port))
        made = subprocess.run(
            [BIN / "millwork", "bootstrap", "aws", "--prefix", PREFIX], env=self.environment("bootstrap"), capture_output=True, text=True, timeout=60
        )
        assert made.returncode == 0, made.stderr
        self.settings = dict(line.split("=", 1) for line in made.stdout.splitlines())
        self.http, self.door = free_port(), free_port()

    def environment(self, role):
        """Of a process of that role: its key, the recorder, and small manifests."""
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.folder),
            "XDG_STATE_HOME": str(self.folder / "state"),
            "NO_COLOR": "1",
            "AWS_ENDPOINT_URL": self.recorder.address,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": role,
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_EC2_METADATA_DISABLED": "true",
            "MAX_FILES_PER_MANIFEST": "4",
            "MAX_WAIT_SECONDS": "2",
            "SWEEP_INTERVAL_SECONDS": "1",
            "POLL_SECONDS": "1",
            "EXPECTED_FILE_SIZE_MB": "1",
            "SIZE_TOLERANCE_PERCENT": "100",
            "MAX_RETRIES": "2",
            **getattr(self, "settings", {}),
        }

    def start(self, name, command, environment):
        log = open(self.folder / f"{name}.log", "a")
        self.processes[name] = subprocess.Popen([str(part) for part in command], env=environment, stdout=log, stderr=log, cwd=self.folder)

    def end(self, name, how=signal.SIGTERM):
        process = self.processes.pop(name)
        process.send_signal(how)
        return process.wait(120)

    def start_builder(self):
        self.start("builder", [BIN / "millwork-manifest-builder", "serve", "--http", f"127.0.0.1:{free_port()}"], self.environment("builder"))

    def start_scheduler(self, name="scheduler"):
        state = f"dynamodb:{self.settings['TRACKING_TABLE']}"
        self.start(
            name,
            [
                BIN / "millwork-scheduler",
                "--listen",
                f"127.0.0.1:{self.door}",
                "--http",
                f"127.0.0.1:{self.http}",
                "--state",
                state,
                "--output",
                self.settings["OUTPUT_BUCKET"],
            ],
            self.environment("scheduler"),
        )

    def start_executor(self, name):
        self.start(
            name,
            [BIN / "millwork-executor", "--scheduler", f"127.0.0.1:{self.door}", "--vcores", "1"],
            {**self.environment("executor"), "HTTP_LISTEN": f"127.0.0.1:{free_port()}"},
        )

    def operate(self, *command, program="millwork", codes=(0,)):
        done = subprocess.run([BIN / program, *command], env=self.environment("operator"), capture_output=True, text=True, timeout=120)
        assert done.returncode in codes, f"{program} {' '.join(command)}: {done.stderr}{done.stdout[-600:]}"
        return done.stdout

    def cli(self, *command):
        return self.operate(*command, "--scheduler", f"http://127.0.0.1:{self.http}")

    def redrives(self, queue):
        """Whether the scheduler has put dead letters of a queue back."""
        command = [BIN / "millwork", "queues", "redrive", "--of", queue, "--yes", "--reason", "trial", "--json", "--scheduler", f"http://127.0.0.1:{self.http}"]
        unnamed = {"QUEUE_URL": "", "MANIFEST_QUEUE_URL": ""}
        done = subprocess.run(command, env={**self.environment("operator"), **unnamed}, capture_output=True, text=True, timeout=120)
        return done.returncode == 0 and len(json.loads(done.stdout)["changes"]) > 0

    def put(self, key, body):
        self.s3.put_object(Bucket=f"{PREFIX}-input", Key=key, Body=body)

    def until(self, what, condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            denied = self.recorder.denied if hasattr(self, "recorder") else set()
            if time.monotonic() > end or denied:
                logs = "".join(f"--- {log.stem}\n{''.join(log.read_text().splitlines(True)[-8:])}" for log in self.folder.glob("*.log"))
                raise TimeoutError(f"{what}: not within {seconds} s; denied: {sorted(denied)}\n{logs}")
            time.sleep(0.1)

    def runs(self, *only):
        listed = json.loads(self.cli("runs", "list", "--json", "--limit", "1000", *only))
        return listed.get("items", listed.get("runs"))

    def counts(self):
        """Runs by state; empty where the scheduler does not answer now, as while one takes over."""
        try:
            states = [run["state"] for run in self.runs()]
        except AssertionError:
            return {}
        return {state: states.count(state) for state in set(states)}

    def answers(self):
        return succeeds(self.runs)

    def completed(self):
        return self.counts().get("completed", 0)

    def close(self):
        for name in reversed(list(self.processes)):
            self.processes[name].kill()
            self.processes[name].wait()
        if hasattr(self, "recorder"):
            self.recorder.close()


def succeeds(call):
    try:
        call()
        return True
    except Exception:
        return False


def lines(number, count, wrong=0):
    good = [json.dumps({"file": number, "line": line, "text": f"{number * line:x}" * 20}) for line in range(count)]
    return ("\n".join(good + ["{not json"] * wrong) + "\n").encode()


class Services(Pipeline):
    """All three services on servers of AWS's protocols; schedulers on ports of their own, which executors try in turn."""

    def __init__(self, folder):
        super().__init__(folder)
        self.ports = {}
        self.doors = {f"scheduler-{number}": (free_port(), free_port()) for number in range(6)}

    def start_one(self, name):
        if name.startswith("scheduler"):
            self.door, self.http = self.doors[name]
            self.ports[name] = self.http
            self.start_scheduler(name)
            self.until(f"{name} answers", self.answers)
        elif name.startswith("executor"):
            addresses = ",".join(f"127.0.0.1:{door}" for door, _ in self.doors.values())
            self.ports[name] = free_port()
            variables = {**self.environment("executor"), "HTTP_LISTEN": f"127.0.0.1:{self.ports[name]}"}
            self.start(name, [BIN / "millwork-executor", "--scheduler", addresses, "--vcores", "1"], variables)
        else:
            self.ports[name] = free_port()
            self.start(name, [BIN / "millwork-manifest-builder", "serve", "--http", f"127.0.0.1:{self.ports[name]}"], self.environment("builder"))

    def replace(self, old, new):
        """One more, then one less, as a roll-out does."""
        self.start_one(new)
        code = self.end(old)
        assert code == 0, f"{old} ended with {code}: {(self.folder / f'{old}.log').read_text()[-2000:]}"

    def done(self):
        """Files that are completed; fewer, while no scheduler answers."""
        try:
            listed = json.loads(self.cli("files", "list", "--state", "completed", "--json", "--limit", "1000"))
        except AssertionError:
            return 0
        return len(listed.get("items", listed.get("files")))

    def count(self):
        folder = self.folder / "output"
        folder.mkdir()
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=f"{PREFIX}-output"):
            for item in page.get("Contents", []):
                if item["Key"].endswith(".parquet"):
                    self.s3.download_file(f"{PREFIX}-output", item["Key"], str(folder / item["Key"].replace("/", "_")))
        return rows(f"{folder}/*.parquet")


def rows(pattern):
    """Rows in Parquet files, and different lines among them, as DuckDB counts."""
    query = f"select count(*), count(distinct (_source_file, _source_line)) from '{pattern}'"
    program = f"import duckdb, json; duckdb.sql('set enable_progress_bar = false'); print(json.dumps(duckdb.sql({query!r}).fetchall()[0]))"
    done = subprocess.run([ROOT / ".venv" / "bin" / "python", "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def ordinary(pipeline):
    """What every day holds: files good and bad, messages that say nothing, a manifest that is none, a run that is forced."""
    for number in range(FILES):
        pipeline.put(f"in/2026-02-0{1 + number % 2}-{number:03}.ndjson", lines(number, 3000, wrong=number % 3))
    pipeline.put("in/2026-02-03-compressed.ndjson.gz", gzip.compress(lines(99, 3000)))
    pipeline.put("in/2026-02-01-wrong.csv", b"a,b")
    pipeline.put("in/2026-02-01-large.ndjson", b" " * (3 << 20))
    pipeline.put("in/no-date.ndjson", lines(1, 1))
    pipeline.put("in/2026-02-02-gone.ndjson", lines(1, 1))
    pipeline.s3.delete_object(Bucket=f"{PREFIX}-input", Key="in/2026-02-02-gone.ndjson")
    pipeline.sqs.send_message(QueueUrl=pipeline.settings["QUEUE_URL"], MessageBody="not an event")
    pipeline.s3.put_object(Bucket=f"{PREFIX}-manifests", Key="manifests/none.json", Body=b"{}")
    pipeline.start_builder()
    pipeline.start_scheduler()
    pipeline.until("the scheduler answers", pipeline.answers)
    pipeline.start_executor("executor-1")
    pipeline.until("manifests are converted", lambda: pipeline.completed() >= 7)


def rare(pipeline):
    """What a bad day adds: a forced run, executors and a scheduler that die, and what operators do."""
    pipeline.cli("files")
    pipeline.cli("quarantine", "list")
    runs = pipeline.runs("--status", "completed")
    pipeline.cli("runs", "force", runs[0]["manifest_id"], "--yes")
    pipeline.until("the forced run is there", lambda: len(runs) <= pipeline.completed())
    before = pipeline.completed()
    for number in range(8):
        pipeline.put(f"in/2026-02-05-{number:03}.ndjson", lines(number, 12000, wrong=1))
    # Rejected lines that are more than what a report holds.
    pipeline.put("in/2026-02-06-wrong.ndjson.gz", gzip.compress(b"".join(b"{%d " % line + b"x" * 200 + b"\n" for line in range(80_000))))
    pipeline.until(
        "runs are under way", lambda: pipeline.counts().get("running", 0) + pipeline.counts().get("committing", 0) > 0 or pipeline.completed() > before
    )
    pipeline.end("executor-1", signal.SIGKILL)
    pipeline.end("scheduler", signal.SIGKILL)
    pipeline.start_executor("executor-2")
    pipeline.start_scheduler()
    pipeline.until("the new scheduler answers", pipeline.answers)
    pipeline.until("what was under way is converted", lambda: pipeline.completed() >= before + 3, 120)
    for queue in ["files", "manifests"]:
        pipeline.until(f"dead letters of {queue} are put back", lambda queue=queue: pipeline.redrives(queue))
    operator = "millwork-manifest-builder"
    pipeline.operate("backfill", "--prefix", f"s3://{PREFIX}-input", "--flush", program=operator)
    redrive = ["redrive", "--prefix", f"s3://{PREFIX}-input", "--size-tolerance-percent", "100", "--expected-file-size-mb", "10", "--yes"]
    # The builder goes on meanwhile, and may just have a file that is taken back: it is left then, and taken back the next time.
    pipeline.operate(*redrive, program=operator, codes=(0, 1))
    pipeline.operate(*redrive, program=operator)
    pipeline.operate("sweep", program=operator)
    if "\n  state " in pipeline.operate("--help"):
        # The jobs by the clock; code 3 says that orphans were found.
        state = f"--state=dynamodb:{pipeline.settings['TRACKING_TABLE']}"
        pipeline.operate("state", "find-orphans", "--record", state, codes=(0, 3))
        pipeline.operate("state", "get-stats", "--record", state)
