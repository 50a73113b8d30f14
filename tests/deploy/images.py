"""Builds the images twice and compares them, then runs the rendered pods under the restricted context against local servers of AWS's protocols.

    python tests/deploy/images.py --programs target/release
    python tests/deploy/images.py --programs target/debug --fleet     # the pods alone, of images built once

Files go in as events; a builder, two schedulers and two executors convert them. Meanwhile an executor gets SIGTERM, the leading scheduler is
killed, and the builder is told to stop and started again. In the end each line is one row, the jobs by the clock have nothing to mind, and everything ended
in order. Then compose.yaml is run the same way, by Docker Compose. Needs root, and about ten minutes.
"""

import argparse
import base64
import json
import os
import re
import secrets as random
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request

import boto3
from botocore.config import Config

import machine
import pipeline
import pods
from composition import Composed
from machine import WORK, run
from rendered import ROOT, VERSION


def free_ports(count):
    """Ports of this machine that nobody has now."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


# All share the network of the machine, whose other programs have ports of their own.
PORT, BUILDER, *OTHERS = free_ports(8)
SCHEDULERS, EXECUTORS = {"scheduler-0": OTHERS[0:2], "scheduler-1": OTHERS[2:4]}, {"executor-0": OTHERS[4], "executor-1": OTHERS[5]}
ENDPOINT = f"http://127.0.0.1:{PORT}"
REGION = "eu-central-1"
AWS = {"AWS_ENDPOINT_URL": ENDPOINT, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": REGION}
PREFIX = "images-check"
FILES = 60
# Jobs by the clock, and the image of each.
JOBS = {"find-orphans": "cli", "get-stats": "cli", "sweep": "manifest-builder"}
LINES = 10_000


def main():
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--programs", default="target/release", help="folder of the programs that go into the images")
    arguments.add_argument("--fleet", action="store_true", help="build the images once, and run the pods alone")
    arguments.add_argument("--keep", action="store_true", help="leave images and logs in target/images")
    chosen = arguments.parse_args()
    machine.install()
    machine.strip_programs(chosen.programs)
    commit = run("git", "rev-parse", "HEAD", cwd=ROOT)
    storage = images(commit, is_compared=not chosen.fleet)
    try:
        Fleet(storage).check()
        if not chosen.fleet:
            Composed(storage).check()
    finally:
        storage.podman("pod", "rm", "-af")
        if not chosen.keep:
            shutil.rmtree(WORK, ignore_errors=True)


def images(commit, is_compared):
    """Builds cold, twice to compare the two; returns the storage of the first."""
    first = machine.Storage("one")
    told = first.build(commit)
    if is_compared:
        second = machine.Storage("two")
        again = second.build(commit)
        shutil.rmtree(second.folder)
        assert told == again, f"two builds of one source differ:\n{told}\n{again}"
    for target, digest in told.items():
        print(f"{target:18} {digest}{'  the same twice' if is_compared else ''}")
    first.pause()
    for target in machine.TARGETS:
        settings = json.loads(first.buildah("inspect", "--type", "image", f"localhost/millwork/{target}:{VERSION}"))["OCIv1"]["config"]
        assert settings["User"] == "65532:65532" and settings["Labels"]["org.opencontainers.image.revision"] == commit, settings
        assert first.podman("run", "--rm", "--network=host", "--read-only", "--cap-drop=ALL", f"localhost/millwork/{target}:{VERSION}", "--version")
    return first


class Fleet:
    """The rendered pods on this machine."""

    def __init__(self, storage):
        self.storage = storage
        self.items = pods.objects("base-tls")
        self.ready = {}
        self.secrets = self.make_secrets()
        self.context = ssl.create_default_context(cafile=str(self.secrets["millwork-http-tls"] / "ca.crt"))
        self.settings = None

    def check(self):
        with Servers() as servers:
            self.settings = pods.config(
                self.items,
                {
                    **servers.bootstrap(),
                    **AWS,
                    "AWS_EC2_METADATA_DISABLED": "true",
                    "MAX_FILES_PER_MANIFEST": "5",
                    "MAX_WAIT_SECONDS": "5",
                    "SWEEP_INTERVAL_SECONDS": "2",
                    "SIZE_TOLERANCE_PERCENT": "100",
                },
            )
            self.start_all()
            servers.put(range(FILES // 2))
            self.wait("the first runs are under way", lambda: len(self.runs()) > 1)
            self.wait("the executor has work", lambda: self.working(f"http://127.0.0.1:{EXECUTORS['executor-1']}"))
            started = time.monotonic()
            self.storage.podman("stop", "--time", "300", "executor-1-executor")
            print(f"an executor with work ended {time.monotonic() - started:.1f} s after SIGTERM, code {self.code('executor-1-executor')}")
            assert self.code("executor-1-executor") == 0
            leader = next(name for name in ("scheduler-0", "scheduler-1") if self.leads(name))
            self.storage.podman("kill", "--signal", "KILL", f"{leader}-scheduler")
            servers.put(range(FILES // 2, FILES))
            self.storage.podman("stop", "--time", "300", "builder-0-builder")
            assert self.code("builder-0-builder") == 0
            self.play("builder-1", "millwork-builder", "manifest-builder", {"HTTP_LISTEN": f"127.0.0.1:{BUILDER}"})
            other = "scheduler-1" if leader == "scheduler-0" else "scheduler-0"
            self.wait("the standby leads", lambda: self.leads(other))
            self.wait("all files are converted", lambda: self.converted(other) == FILES, 240)
            rows, distinct = servers.rows()
            assert rows == distinct == FILES * LINES, f"{rows} rows of {distinct} lines; {FILES * LINES} went in"
            print(f"{FILES} files, {rows} rows: each line once, though an executor, the leader and a builder went away")
            for job, image in JOBS.items():
                self.run_job(job, image)
            for name in (f"{other}-scheduler", "executor-0-executor", "builder-1-builder"):
                started = time.monotonic()
                self.storage.podman("stop", "--time", "300", name)
                print(f"{name} ended {time.monotonic() - started:.1f} s after SIGTERM, code {self.code(name)}")
                assert self.code(name) == 0, self.log(name)

    def start_all(self):
        for name, (http, listen) in SCHEDULERS.items():
            self.play(name, "millwork-scheduler", "scheduler", {"HTTP_LISTEN": f"0.0.0.0:{http}", "MILLWORK_LISTEN": f"0.0.0.0:{listen}"})
        schedulers = ",".join(f"127.0.0.1:{listen}" for _, listen in SCHEDULERS.values())
        for name, http in EXECUTORS.items():
            self.play(name, "millwork-executor", "executor", {"MILLWORK_EXECUTOR_SCHEDULER": schedulers, "HTTP_LISTEN": f"127.0.0.1:{http}"})
        self.play("builder-0", "millwork-builder", "manifest-builder", {"HTTP_LISTEN": f"127.0.0.1:{BUILDER}"})
        # Leader and standby are ready alike; else a roll-out would never end.
        urls = {name: self.url(name) for name in SCHEDULERS} | {name: f"http://127.0.0.1:{http}" for name, http in EXECUTORS.items()}
        for name, url in {**urls, "builder-0": f"http://127.0.0.1:{BUILDER}"}.items():
            for path in ("/livez", "/readyz"):
                self.wait(f"{name} answers {path}", lambda url=url, path=path: self.get(url + path)[0] == 200)

    def run_job(self, job, image):
        self.play(job, f"millwork-{job}", image, {})
        container = f"{job}-{job}"
        self.wait(f"{job} ends", lambda: not json.loads(self.storage.podman("inspect", container))[0]["State"]["Running"])
        assert self.code(container) == 0, self.log(container)
        print(f"{job} ended with code 0")

    def play(self, name, deployment, image, changes):
        document = pods.pod(self.items, deployment, name, f"localhost/millwork/{image}:{VERSION}", self.settings, self.secrets, changes)
        file = WORK / f"{name}.yaml"
        file.write_text(pods.manifest(self.settings, document))
        self.storage.podman("play", "kube", "--network", "host", file)
        container = f"{name}-{document['spec']['containers'][0]['name']}"
        state = json.loads(self.storage.podman("inspect", container))[0]
        assert state["HostConfig"]["ReadonlyRootfs"] and not state["EffectiveCaps"] and state["Config"]["User"].startswith("65532"), state["HostConfig"]
        assert any("no-new-privileges" in option for option in state["HostConfig"]["SecurityOpt"])

    def make_secrets(self):
        folder = WORK / "secrets"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        token = json.loads(run(WORK / "bin" / "millwork", "token", "new", "--id", "check", "--role", "admin", "--file", folder / "tokens", "--json"))
        self.token = token["token"]
        made = {
            "millwork-tokens": {"tokens": (folder / "tokens").read_text()},
            "millwork-executor-secret": {"secret": random.token_hex(32)},
        }
        for name, names in {
            "scheduler-tls": "DNS:millwork-scheduler-executors,IP:127.0.0.1,URI:spiffe://millwork/scheduler",
            "executor-tls": "URI:spiffe://millwork/executor",
            "http-tls": "DNS:localhost,DNS:millwork-scheduler",
        }.items():
            made[f"millwork-{name}"] = certificate(folder, name, names)
        return {name: pods.secret_folder(folder / name, files) for name, files in made.items()}

    def get(self, url, header=None):
        """Status, and body or one header of an answer."""
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self.token}"})
        try:
            with urllib.request.urlopen(request, timeout=5, context=self.context if url.startswith("https") else None) as answer:
                return answer.status, answer.headers.get(header) if header else answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""
        except OSError:
            return 0, ""

    def working(self, url):
        return re.search(r"^millwork_tasks_running [1-9]", self.get(url + "/metrics")[1] or "", re.M) is not None

    def url(self, name):
        return f"https://localhost:{SCHEDULERS[name][0]}"

    def leads(self, name):
        return self.get(self.url(name) + "/api/v1/stats", "millwork-role")[1] == "leader"

    def runs(self):
        for name in ("scheduler-0", "scheduler-1"):
            status, body = self.get(self.url(name) + "/api/v1/runs?limit=1000")
            if status == 200:
                return json.loads(body)["items"]
        return []

    def converted(self, name):
        status, body = self.get(self.url(name) + "/api/v1/files?status=completed&limit=1000")
        return len(json.loads(body)["items"]) if status == 200 else 0

    def code(self, container):
        return json.loads(self.storage.podman("inspect", container))[0]["State"]["ExitCode"]

    def log(self, container):
        return subprocess.run(["podman", "logs", container], capture_output=True, text=True, env={**os.environ, **self.storage.env}).stderr

    def wait(self, what, condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                names = self.storage.podman("ps", "-a", "--format", "{{.Names}}").split()
                for name in names:
                    print(f"--- {name}\n" + "\n".join(self.log(name).splitlines()[-12:]))
                raise SystemExit(f"{seconds} s passed before {what}")
            time.sleep(0.2)


def certificate(folder, name, names):
    """A certificate of an authority of this check's own, made as docs/kubernetes.md says."""
    authority = folder / "ca"
    if not authority.exists():
        authority.mkdir()
        run(
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "3650",
            "-subj",
            "/CN=millwork",
            "-keyout",
            authority / "ca.key",
            "-out",
            authority / "ca.crt",
        )
    run(
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "90",
        "-subj",
        f"/CN=millwork-{name}",
        "-addext",
        f"subjectAltName={names}",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-CA",
        authority / "ca.crt",
        "-CAkey",
        authority / "ca.key",
        "-keyout",
        authority / "tls.key",
        "-out",
        authority / "tls.crt",
    )
    return {"tls.crt": (authority / "tls.crt").read_text(), "tls.key": (authority / "tls.key").read_text(), "ca.crt": (authority / "ca.crt").read_text()}


class Servers:
    """Local S3, SQS and DynamoDB, with what `millwork bootstrap aws` makes."""

    def __enter__(self):
        environment = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(PORT), "PATH": "/usr/bin:/bin"}
        with open(WORK / "servers.log", "w") as log:
            self.process = subprocess.Popen([ROOT / ".venv" / "bin" / "ministack"], env=environment, stdout=log, stderr=log)
        self.s3 = boto3.client(
            "s3",
            endpoint_url=ENDPOINT,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(s3={"addressing_style": "path"}),
        )
        end = time.monotonic() + 30
        while True:
            try:
                self.s3.list_buckets()
                return self
            except Exception:
                assert time.monotonic() < end, (WORK / "servers.log").read_text()
                time.sleep(0.2)

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)

    def bootstrap(self):
        text = run(WORK / "bin" / "millwork", "bootstrap", "aws", "--prefix", PREFIX, env=AWS)
        return dict(line.split("=", 1) for line in text.splitlines())

    def put(self, numbers):
        for number in numbers:
            lines = (json.dumps({"file": number, "line": line, "text": base64.b64encode(random.token_bytes(60)).decode()}) for line in range(1, LINES + 1))
            self.s3.put_object(Bucket=f"{PREFIX}-input", Key=f"in/2026-01-{1 + number % 3:02}-{number:03}.ndjson", Body="\n".join(lines).encode())

    def rows(self):
        """Rows in all Parquet files, and different lines among them, read by a reader that is not ours."""
        folder = WORK / "output"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=f"{PREFIX}-output"):
            for item in page.get("Contents", []):
                if item["Key"].endswith(".parquet"):
                    self.s3.download_file(f"{PREFIX}-output", item["Key"], str(folder / item["Key"].replace("/", "_")))
        return pipeline.rows(f"{folder}/*.parquet")


if __name__ == "__main__":
    main()
