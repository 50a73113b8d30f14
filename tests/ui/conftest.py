"""A real `millwork up` on made data, and a real browser that may reach nothing else."""

import gzip
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import time
import urllib.parse
import urllib.request

import pytest
from playwright.sync_api import sync_playwright

ROOT = pathlib.Path(__file__).parents[2]
BIN = pathlib.Path(os.environ.get("MILLWORK_BIN", ROOT / "target/debug")) / "millwork"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
PAGES = [
    "/ui/",
    "/ui/runs",
    "/ui/runs?state=failed",
    "/ui/runs?state=cancelled&class=timeout",
    "/ui/files",
    "/ui/files?state=completed",
    "/ui/quarantine",
    "/ui/dates",
    "/ui/dates/2025-12-23",
    "/ui/cluster",
    "/ui/cluster/queues",
    "/ui/activity",
    "/ui/cost",
    "/ui/doctor",
    "/ui/find?q=2025-12-2",
    "/ui/help",
]
# What nobody should put into a name, and somebody will.
HOSTILE = "2025-12-24-<img src=x onerror=alert(1)>\"'&\u202egnp.ndjson"


class Up:
    """A process of `millwork up`."""

    def __init__(self, root, *extra, env=None):
        self.root = root
        self.log = open(root / "up.log", "w+")
        command = [str(BIN), "up", str(root / "in"), "--http", "127.0.0.1:0", *extra]
        self.process = subprocess.Popen(command, stderr=self.log, env={**os.environ, "HOME": str(root), "XDG_RUNTIME_DIR": str(root / "run"), **(env or {})})
        self.link = self.wait_for(r"web UI  (http://\S+)")
        self.base = "/".join(self.link.split("/")[:3])
        self.pages = place_behind(self.link_again())

    def text(self):
        return (self.root / "up.log").read_text()

    def wait_for(self, pattern, seconds=30):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = re.search(pattern, self.text())
            if found:
                return found.group(1) if found.groups() else found.group()
            assert self.process.poll() is None, self.text()
            time.sleep(0.05)
        raise AssertionError(f"`{pattern}` is not in: {self.text()}")

    def token(self):
        return next((self.root / "run" / "millwork").glob("*.token")).read_text().strip()

    def api(self, path, method="GET", body=None, **headers):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data=data, method=method)
        request.add_header("Authorization", f"Bearer {self.token()}")
        if data is not None:
            request.add_header("Content-Type", "application/json")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def until(self, condition, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(0.1)
        raise AssertionError("it did not come to that: " + self.text()[-2000:])

    def link_again(self):
        return self.base + self.api("/ui/sign-in-links", "POST", None)["path"]

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                assert self.process.wait(30) == 0, self.text()
            finally:
                if self.process.poll() is None:
                    self.process.kill()
        self.log.close()


def place_behind(link):
    """Where the pages are to which a link leads that signs in."""
    url = urllib.parse.urlsplit(link)
    connection = http.client.HTTPConnection(url.netloc, timeout=10)
    connection.request("GET", f"{url.path}?{url.query}")
    place = connection.getresponse().headers["Location"].removesuffix("/ui/")
    connection.close()
    return f"{url.scheme}://{url.netloc}{place}"


def put(directory, name, content):
    """Puts a file there in one step."""
    draft = directory.parent / "draft"
    draft.mkdir(exist_ok=True)
    (draft / "file").write_bytes(content)
    (draft / "file").rename(directory / name)


def lines(count, start=0):
    return b"".join(json.dumps({"id": start + n, "name": f"name {n}", "text": "x" * 180}).encode() + b"\n" for n in range(count))


def fill(root):
    directory = root / "in"
    directory.mkdir(parents=True)
    subprocess.run([BIN, "generate", str(directory), "--files", "6", "--dates", "3", "--size-mb", "0.3", "--dirty", "0.5"], check=True, capture_output=True)
    put(directory, HOSTILE, lines(1000) + b'{"id": 1, "x": \x1b[2J}\n' + '{"a":"\u202e" <img src=x onerror=alert(1)>}\n'.encode())
    whole = gzip.compress(lines(3000), compresslevel=0)
    put(directory, "2025-12-19-cut.ndjson.gz", whole[: len(whole) // 2])
    put(directory, "2025-12-23-tiny.ndjson", b"{}\n")
    put(directory, "no-date.ndjson", lines(1000))


@pytest.fixture(scope="session")
def up(tmp_path_factory):
    root = tmp_path_factory.mktemp("up")
    fill(root)
    (root / "run").mkdir()
    process = Up(root)

    def done():
        states = [run["state"] for run in process.api("/api/v1/runs")["items"]]
        return len(states) >= 4 and set(states) == {"completed", "failed"}

    process.until(done)
    yield process
    process.end()


@pytest.fixture(scope="session")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """A context of the browser that tells of everything that must not happen."""

    def refuse(self, route):
        self.wrong.append(f"asked {route.request.url}")
        route.abort()

    def __init__(self, chromium, up, signed_in=True, **options):
        self.up = up
        self.wrong: list[str] = []
        self.context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, "locale": "en-GB", "timezone_id": "Europe/Berlin", **options})
        self.context.set_default_timeout(15_000)
        self.context.route(lambda url: not url.startswith(up.base), self.refuse)
        if options.get("java_script_enabled", True):
            self.context.add_init_script(
                "document.addEventListener('securitypolicyviolation', event => console.error('CSP ' + event.violatedDirective + ' ' + event.blockedURI));"
            )
        self.context.on("console", lambda message: self.wrong.append(f"{message.type}: {message.text}") if message.type == "error" else None)
        self.context.on("weberror", lambda error: self.wrong.append(str(error.error)))
        self.page = self.context.new_page()
        if signed_in:
            self.page.goto(up.link_again())

    def open(self, path):
        answer = self.page.goto(self.up.pages + path)
        self.page.wait_for_selector("h1")
        return answer

    def close(self, expected=()):
        self.context.close()
        left = [text for text in self.wrong if not any(part in text for part in expected)]
        assert not left, left


@pytest.fixture
def browser(chromium, up):
    watched = Watched(chromium, up)
    yield watched
    watched.close(expected=["status of 404", "status of 403", "status of 401", "status of 429", "status of 400"])


@pytest.fixture
def watch(watch_of, up):
    """Makes such contexts."""
    return lambda **options: watch_of(up, **options)


@pytest.fixture
def watch_of(chromium):
    """Makes such contexts, of any process."""
    made = []

    def make(process, **options):
        made.append(Watched(chromium, process, **options))
        return made[-1]

    yield make
    for watched in made:
        watched.close(expected=["status of 404", "status of 403", "status of 401", "status of 429", "status of 400"])


def run_in(up, state):
    return next(run["manifest_id"] for run in up.api("/api/v1/runs")["items"] if run["state"] == state)


def dirty_run(up):
    """A run that has rejected lines."""
    return next(run["manifest_id"] for run in up.api("/api/v1/runs?state=completed")["items"] if run["summary"]["rejected"])


def preview_of(up):
    """The page of a refused file in pieces."""
    uri = next(file["uri"] for file in up.api("/api/v1/files?state=quarantined")["items"] if "no-date" in file["uri"])
    return "/ui/preview?uri=" + urllib.parse.quote(uri, safe="")


def all_pages(up):
    """Each page of the map, with those of a run and a file."""
    done, failed = run_in(up, "completed"), run_in(up, "failed")
    uri = up.api("/api/v1/files?status=completed")["items"][0]["uri"]
    tabs = [f"/ui/runs/{done}" + tab for tab in ["", "/tasks", "/files", "/rejected", "/plan", "/output"]]
    return (
        PAGES
        + tabs
        + [
            f"/ui/runs/{dirty_run(up)}/mend",
            f"/ui/runs/{failed}",
            "/ui/file?uri=" + urllib.parse.quote(uri, safe=""),
            "/ui/file?uri=file:///nowhere/2025-12-23-a.ndjson",
            preview_of(up),
        ]
    )


def gzip_whole():
    """A file in gzip, of 600 kB."""
    return gzip.compress(lines(3000), compresslevel=0)
