"""What a token may do, its session may do; and no more when it is gone."""

import json
import os
import socket
import subprocess
import time
import urllib.request

import pytest
from test_sign_in import FORM, Session, raw

from conftest import BIN, PAGES


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
        self.command = [
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
        self.log = open(root / "log", "w")
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stderr=self.log, env={**os.environ, "HOME": str(self.root)})
        self.until(lambda: self.answers("/healthz"))

    def restart(self):
        self.process.terminate()
        self.process.wait(30)
        self.start()

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
        return Session(self, self.tokens[role])


class Standby(Scheduler):
    """Another scheduler on the state of one."""

    def __init__(self, leader):
        self.root, self.tokens = leader.root, leader.tokens
        self.base = f"http://127.0.0.1:{free_port()}"
        self.command = list(leader.command)
        for option, value in [("--http", self.base.split("//")[1]), ("--listen", f"127.0.0.1:{free_port()}")]:
            self.command[self.command.index(option) + 1] = value
        self.log = open(self.root / "standby.log", "w")
        self.start()


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
    signed_in = scheduler.session("read")
    assert signed_in.ask("GET", "/ui/runs").status == 200
    answer = signed_in.ask("POST", "/ui/plans", "action=retry&run=x&back=/ui/runs", **FORM)
    assert answer.status == 403 and "operate" in answer.text
    answer = signed_in.ask("POST", "/api/v1/runs/x/retry", Sec_Fetch_Site="same-origin")
    assert answer.status == 403 and "wrong-role" in answer.text


def test_a_scheduler_without_runs_says_how_to_begin(scheduler):
    signed_in = scheduler.session("operate")
    assert "No run yet" in signed_in.ask("GET", "/ui/runs").text
    scheduler.until(lambda: "Who is connected" not in signed_in.ask("GET", "/ui/cluster").text)
    assert "No executor is connected" in signed_in.ask("GET", "/ui/cluster").text
    assert "Nothing is refused" in signed_in.ask("GET", "/ui/quarantine").text


def test_a_token_that_is_gone_signs_out(scheduler):
    signed_in = scheduler.session("operate")
    assert signed_in.ask("GET", "/ui/").status == 200
    scheduler.write(scheduler.lines[:1])
    scheduler.until(lambda: signed_in.ask("GET", "/ui/").status == 303)
    assert signed_in.ask("GET", "/api/v1/stats").status == 401
    scheduler.write(scheduler.lines)
    scheduler.until(lambda: signed_in.ask("GET", "/ui/").status == 200)


def test_a_session_of_one_token_is_none_below_the_path_of_another(scheduler):
    one, other = scheduler.session("read"), scheduler.session("operate")
    assert one.place != other.place
    # Planted by another port, whose user has a token, too: before the victim's own, behind it, and alone.
    for cookie in [f"{other.cookie}; {one.cookie}", f"{one.cookie}; {other.cookie}"]:
        page = raw(scheduler, "GET", one.place + "/ui/", Cookie=cookie)
        assert page.status == 200 and "reader" in page.text and "operateer" not in page.text
    for path, cookie in [(one.place, other.cookie), ("", other.cookie), ("", one.cookie), ("/" + "0" * 32, one.cookie)]:
        answer = raw(scheduler, "GET", path + "/ui/runs", Cookie=cookie)
        assert answer.status == 303 and answer.headers["Location"].removeprefix(path).startswith("/ui/sign-in?back="), path
        assert raw(scheduler, "GET", path + "/api/v1/stats", Cookie=cookie).status == 401


def test_a_path_stays_as_long_as_its_token(scheduler):
    place = scheduler.session("operate").place
    scheduler.restart()
    assert scheduler.session("operate").place == place


def test_one_that_is_killed_is_told_of_and_signed_in_to_again(scheduler, chromium):
    session = scheduler.session("operate")
    name, value = session.cookie.split("=", 1)
    context = chromium.new_context()
    context.add_cookies([{"name": name, "value": value, "domain": "127.0.0.1", "path": session.place}])
    page = context.new_page()
    page.goto(scheduler.base + session.place + "/ui/runs")
    page.locator("#pulse[aria-pressed=true]").wait_for()
    scheduler.process.kill()
    scheduler.process.wait()
    page.wait_for_selector("#away:has-text('Not live since')")
    assert "No run yet" in page.inner_text("#page"), "what was there stays"
    scheduler.start()
    page.wait_for_selector("#away:has-text('signed out: reload the page')", timeout=30_000)
    assert "No run yet" in page.inner_text("#page")
    context.close()


def test_pages_of_an_empty_state_are_whole_where_it_leads_and_where_it_stands_by(scheduler):
    scheduler.until(lambda: scheduler.answers("/leaderz"))
    standby = Standby(scheduler)
    try:
        for process in (scheduler, standby):
            session = process.session("operate")
            for path in PAGES:
                page = session.ask("GET", path)
                # Nothing is found where nothing is.
                wanted = 404 if "find" in path else 200
                assert page.status == wanted and page.text.count("<h1") == 1, (path, page.status)
        assert "Who is connected is known only to the one that runs the manifests" in session.ask("GET", "/ui/cluster").text
        # Others learn within seconds who leads.
        standby.until(lambda: [row for row in rows(session.ask("GET", "/ui/cluster").text) if "leader" in row])
        scheduler.process.kill()
        scheduler.process.wait()
        # Whoever takes the lead shows so at once, and the dead one shows as a leader no more.
        standby.until(lambda: standby.answers("/leaderz"))
        schedulers = rows(session.ask("GET", "/ui/cluster").text)
        assert [standby.base.split("//")[1] in row for row in schedulers if "leader" in row] == [True], schedulers
    finally:
        standby.process.terminate()
        standby.process.wait(30)
        standby.log.close()
    scheduler.start()


def rows(page):
    """Rows of the table of schedulers."""
    return page.partition('id="schedulers"')[2].partition("</table>")[0].split("<tr")[2:]
