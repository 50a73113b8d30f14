"""One action by page, command and API: the same plan, the same result, the same note."""

import html
import json
import os
import re
import subprocess
import urllib.parse

from test_actions import fail_one
from test_sign_in import FORM, Session

from conftest import BIN, all_pages, run_in

# Parts of a plan that tell of the one who asked, not of what was asked.
OWN = {"id", "created_at", "valid_until", "applied_at", "via", "actor", "select"}


def command(up, *words):
    """A command's document, and its exit code."""
    environment = {**os.environ, "MILLWORK_SCHEDULER": up.base, "MILLWORK_TOKEN": up.token()}
    done = subprocess.run([BIN, *words, "--json"], capture_output=True, text=True, env=environment, timeout=30)
    return json.loads(done.stdout), done.returncode


def alike(plan):
    return {name: value for name, value in plan.items() if name not in OWN}


def asked_three_ways(up, session, action, subject, words, number=None):
    """Plans of one action on one subject: by API, page and command."""
    kind = "file" if "://" in subject else "run"
    wanted = {"action": action, "select": {"ids": [subject]}}
    fields = {"action": action, kind: subject, "back": "/ui/runs"}
    if number is not None:
        wanted["action"] = {"priority": number}
        fields["priority"] = str(number)
    by_api = up.api("/api/v1/plans", "POST", wanted)
    made = session.ask("POST", "/ui/plans", urllib.parse.urlencode(fields), **FORM)
    assert made.status == 303, made.text
    by_page = up.api("/api/v1/plans/" + made.headers["Location"].split("?")[0].rpartition("/")[2])
    by_command, code = command(up, *words)
    assert code == (3 if by_command["changes"] else 1), by_command
    return by_api, by_page, by_command


def test_an_action_is_one_plan_by_page_command_and_api(up):
    session = Session(up, up.token())
    failed, completed = fail_one(up, "alike"), run_in(up, "completed")
    refused = next(file["uri"] for file in up.api("/api/v1/files?state=quarantined")["items"])
    asked = [
        ("retry", failed, ["runs", "retry", failed], None),
        ("retry", completed, ["runs", "retry", completed], None),
        ("cancel", completed, ["runs", "cancel", completed], None),
        ("force", completed, ["runs", "force", completed], None),
        ("prioritise", completed, ["runs", "prioritise", completed, "7"], 7),
        ("redrive", refused, ["quarantine", "redrive", refused], None),
    ]
    for action, subject, words, number in asked:
        one, other, third = asked_three_ways(up, session, action, subject, words, number)
        assert alike(one) == alike(other) == alike(third), (action, subject)
        assert len(one["changes"]) + len(one["refused"]) == 1
        assert (one["via"], other["via"], third["via"]) == ("api", "ui", "cli")


def test_an_action_has_one_result_and_one_note_by_page_command_and_api(up):
    session = Session(up, up.token())
    runs = [fail_one(up, name) for name in ("by-api", "by-page", "by-command")]
    made = up.api("/api/v1/plans", "POST", {"action": "retry", "select": {"ids": [runs[0]]}, "reason": "the same"})
    up.api(f"/api/v1/plans/{made['id']}/apply", "POST", {})
    page = session.ask("POST", "/ui/plans", f"action=retry&run={runs[1]}&back=/ui/runs", **FORM)
    path = page.headers["Location"].split("?")[0].removeprefix(session.place)
    assert session.ask("POST", path, "back=/ui/runs&reason=the+same", **FORM).status == 303
    assert command(up, "runs", "retry", runs[2], "--yes", "--reason", "the same")[1] == 0
    notes = {note["subjects"][0]: note for note in up.api("/api/v1/audit")["items"] if note["reason"] == "the same"}
    assert set(notes) == set(runs)
    assert [notes[run]["via"] for run in runs] == ["api", "ui", "cli"]
    own = {"id", "at", "via", "actor", "plan", "subjects", "subject"}
    first, *others = [{name: value for name, value in notes[run].items() if name not in own} for run in runs]
    assert first["action"] == "retry" and all(other == first for other in others), notes
    for run in runs:
        up.until(lambda run=run: up.api(f"/api/v1/runs/{run}")["attempts"] == 2)


def test_the_command_that_a_page_names_says_what_the_page_shows(browser, up):
    """Each is run by a shell, as it is copied from the page."""
    filtered = [
        "/ui/runs?state=failed,cancelled&class=input&date=2025-12-19&q=2025-12-19-batch",
        "/ui/files?state=quarantined&date=2025-12-23&prefix=file:///it's%20a%20$place",
        "/ui/quarantine?date=2025-12-23&reason=too-small",
    ]
    environment = {**os.environ, "PATH": f"{BIN.parent}:{os.environ['PATH']}", "MILLWORK_SCHEDULER": up.base, "MILLWORK_TOKEN": up.token()}
    named = {}
    for path in [*filtered, *all_pages(up)]:
        found = re.search(r'<code id="command">(.*?)</code>', browser.page.request.get(up.pages + path).text())
        if found:
            named[path] = html.unescape(found[1])
    assert len(named) > 20
    assert named[filtered[0]] == "millwork runs list --state 'failed,cancelled' --date 2025-12-19 --failure-class input --prefix 2025-12-19-batch"
    assert named[filtered[2]] == "millwork files list --state quarantined --date 2025-12-23 --refused-for too-small"
    for path, words in named.items():
        done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, env=environment, timeout=60, stdin=subprocess.DEVNULL)
        # Something needs a person (3); nothing is known of the file, or no queue is read (1).
        codes = [1] if "nowhere" in path or "dead-letters" in words else [0, 3] if words.startswith(("millwork doctor", "millwork why")) else [0]
        assert done.returncode in codes, (path, words, done.returncode, done.stderr)
