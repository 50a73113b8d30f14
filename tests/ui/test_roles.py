"""What a token may do, its session may do; and no more when it is gone."""

import json
import os
import socket
import subprocess
import time
import urllib.request

import pytest
from test_sign_in import FORM, raw

from conftest import BIN


class Scheduler:
    """A scheduler with a file of tokens, as an installation has it."""

    def __init__(self, root):
        self.root, self.tokens, self.lines = root, {}, []
        (root / "in").mkdir()
        for role in ["read", "operate"]:
            command = [str(BIN), "token", "new", "--id", f"{role}er", "--role", role, "--file", str(root / "tokens"), "--json"]
            made = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            self.tokens[role] = next(value for value in made.values() if str(value).startswith("mw_"))
        self.lines = (root / "tokens").read_text().splitlines()
        self.write(self.lines)
        self.base = f"http://127.0.0.1:{free_port()}"
        command = [
            str(BIN) + "-scheduler",
            "--http",
            self.base.split("//")[1],
            "--listen",
            f"127.0.0.1:{free_port()}",
            "--output",
            str(root / "out"),
            "--state",
            f"sqlite:{root}/state.db",
            "--input-places",
            str(root / "in"),
            "--token-file",
            str(root / "tokens"),
        ]
        self.command = command
        self.log = open(root / "log", "w")
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stderr=self.log, env={**os.environ, "HOME": str(self.root)})
        self.until(lambda: self.answers("/healthz"))

    def write(self, lines):
        (self.root / "new").write_text("\n".join(lines) + "\n")
        (self.root / "new").rename(self.root / "tokens")

    def answers(self, path):
        try:
            return urllib.request.urlopen(self.base + path, timeout=5).status == 200
        except OSError:
            assert self.process.poll() is None, (self.root / "log").read_text()
            return False

    def until(self, condition, seconds=40):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := condition():
                return found
            time.sleep(0.1)
        raise AssertionError((self.root / "log").read_text()[-2000:])

    def session(self, role):
        answer = raw(self, "POST", "/ui/sign-in", "token=" + self.tokens[role], **FORM)
        assert answer.status == 303, answer.text
        return answer.headers["Set-Cookie"].split(";")[0]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    made = Scheduler(tmp_path_factory.mktemp("scheduler"))
    yield made
    made.process.terminate()
    made.process.wait(30)
    made.log.close()


def test_who_may_read_can_change_nothing(scheduler, chromium):
    cookie = scheduler.session("read")
    assert raw(scheduler, "GET", "/ui/runs", Cookie=cookie).status == 200
    answer = raw(scheduler, "POST", "/ui/plans", "action=retry&run=x&back=/ui/runs", Cookie=cookie, **FORM)
    assert answer.status == 403 and "operate" in answer.text
    answer = raw(scheduler, "POST", "/api/v1/runs/x/retry", Cookie=cookie, Sec_Fetch_Site="same-origin")
    assert answer.status == 403 and "wrong-role" in answer.text


def test_a_scheduler_without_runs_says_how_to_begin(scheduler):
    cookie = scheduler.session("operate")
    assert "No run yet" in raw(scheduler, "GET", "/ui/runs", Cookie=cookie).text
    scheduler.until(lambda: "Who is connected" not in raw(scheduler, "GET", "/ui/cluster", Cookie=cookie).text)
    assert "No executor is connected" in raw(scheduler, "GET", "/ui/cluster", Cookie=cookie).text
    assert "Nothing is refused" in raw(scheduler, "GET", "/ui/quarantine", Cookie=cookie).text


def test_a_token_that_is_gone_signs_out(scheduler):
    cookie = scheduler.session("operate")
    assert raw(scheduler, "GET", "/ui/", Cookie=cookie).status == 200
    scheduler.write(scheduler.lines[:1])
    scheduler.until(lambda: raw(scheduler, "GET", "/ui/", Cookie=cookie).status == 303)
    assert raw(scheduler, "GET", "/api/v1/stats", Cookie=cookie).status == 401
    scheduler.write(scheduler.lines)


def test_one_that_is_killed_is_told_of_and_followed_again(scheduler, chromium):
    name, value = scheduler.session("operate").split("=", 1)
    context = chromium.new_context()
    context.add_cookies([{"name": name, "value": value, "url": scheduler.base}])
    page = context.new_page()
    page.goto(scheduler.base + "/ui/runs")
    page.wait_for_selector("html.js h1")
    page.wait_for_function("document.querySelector('#pulse').getAttribute('aria-pressed') === 'true'")
    with page.expect_request("**/ui/runs", timeout=30_000):
        # What a page follows is asked for from time to time without an event, too.
        scheduler.process.kill()
        scheduler.process.wait()
        page.wait_for_selector("#away:has-text('Not live since')")
        assert "No run yet" in page.inner_text("#page"), "what was there stays"
        scheduler.start()
    page.wait_for_selector("#away", state="hidden")
    context.close()
