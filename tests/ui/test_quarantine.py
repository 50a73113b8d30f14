"""What was refused or rejected: looked into, and put back."""

import json
import re
import urllib.parse

from conftest import put, run_in


def preview(uri, place=None):
    return "/ui/preview?uri=" + urllib.parse.quote(uri, safe="") + (f"&from={place}" if place else "")


def refused(up, name):
    return up.until(lambda: next((file["uri"] for file in up.api("/api/v1/files?state=quarantined")["items"] if name in file["uri"]), None))


def test_a_refused_file_is_looked_into_piece_by_piece(browser, up):
    content = b"".join(json.dumps({"n": n}).encode() + b"\n" for n in range(120)) + b'{"n": 1 x}\n[2]\n' + b"{}\n" * 20_000
    put(up.root / "in", "pieces-no-date.ndjson", content)
    uri = refused(up, "pieces-no-date")
    browser.open("/ui/quarantine")
    browser.page.click(f"tr[data-id='{uri}'] a:has-text('look inside')")
    browser.page.wait_for_selector("h1.id")
    assert browser.page.locator(".lines").count() == 50 and browser.page.locator(".lines.panel").count() == 0
    for _ in range(2):
        browser.page.click("a[rel=next]")
        browser.page.wait_for_load_state()
    wrong = browser.page.locator(".lines.panel")
    assert wrong.count() == 2 and "malformed" in wrong.first.inner_text() and "not-an-object" in wrong.nth(1).inner_text()
    shown = wrong.first.locator("pre").text_content().split("\n")
    assert shown[0] == '{"n": 1 x}' and shown[1].rstrip() == " " * 8 + "^", shown
    told = up.api(preview(uri, "").replace("/ui/preview", "/api/v1/files/preview"))
    assert [line["text"] for line in told["lines"]][:2] == ['{"n": 0}', '{"n": 1}'] and told["next"] == sum(len(line["text"]) + 1 for line in told["lines"])
    browser.page.click("a:has-text('first')")
    browser.page.wait_for_load_state()
    assert '{"n": 0}' in browser.page.inner_text("#page")


def test_nothing_else_of_the_machine_is_read(browser, up):
    for uri, status in [("file:///etc/passwd", 404), ("s3://elsewhere/2025-12-23-a.ndjson", 404), ("nonsense", 400)]:
        answer = browser.open(preview(uri))
        assert answer.status == status, uri
        assert "root:" not in browser.page.content()


def test_a_bomb_costs_a_piece(browser, up):
    import zlib

    pack = zlib.compressobj(9, wbits=31)
    bomb = b"".join(pack.compress(b" " * (1 << 20)) for _ in range(256)) + pack.flush()
    put(up.root / "in", "bomb-no-date.ndjson.gz", bomb)
    uri = refused(up, "bomb-no-date")
    answer = browser.open(preview(uri))
    assert answer.status == 200 and len(browser.page.content()) < 100_000
    assert "1048576 bytes, the limit" in browser.page.inner_text("#page")


def test_what_would_be_taken_back_is_shown_first_and_what_the_rules_refuse_stays(browser, up):
    uri = refused(up, "2025-12-23-tiny")
    browser.open("/ui/quarantine?reason=too-small")
    reasons = browser.page.locator("tr[data-id] .tag").all_inner_texts()
    assert reasons and set(reasons) == {"too-small"}
    browser.page.check(f"tr[data-id='{uri}'] input")
    assert "1 chosen" in browser.page.inner_text(".bulk")
    browser.page.click(".bulk button[value=redrive]")
    browser.page.wait_for_url(re.compile("/ui/plans/"))
    assert "Nothing would change" in browser.page.inner_text("#page") and "today's rules refuse it" in browser.page.inner_text("#page")
    browser.page.click("a.button:has-text('Back')")
    assert browser.page.url.endswith("/ui/quarantine?reason=too-small")
    assert browser.open("/ui/quarantine?reason=nonsense").status == 400


def test_a_failed_file_is_taken_back_from_its_lines(browser, up):
    browser.open("/ui/runs/" + run_in(up, "failed"))
    uri = next(file["uri"] for file in up.api("/api/v1/files?state=failed")["items"])
    browser.open("/ui/file?uri=" + urllib.parse.quote(uri, safe=""))
    browser.page.click("a:has-text('Look inside')")
    browser.page.wait_for_selector("h1.id")
    assert "byte 0" in browser.page.inner_text("#page")
    browser.page.click("button[value=redrive]")
    browser.page.wait_for_url(re.compile("/ui/plans/"))
    assert "Take back 1 file" in browser.page.inner_text("h1")


def test_rejected_lines_lead_to_where_they_are_mended(browser, up):
    browser.open("/ui/quarantine")
    browser.page.click("#rejected ~ * a:has-text('look at them'), section[aria-labelledby=rejected] a:has-text('look at them')")
    browser.page.wait_for_url(re.compile("/rejected$"))
    text = browser.page.inner_text("section[aria-labelledby=put-back]")
    assert "millwork runs put-back" in text and "/rejected-lines/" in text


def test_the_slow_task_is_found_after_its_run(browser, up):
    done = run_in(up, "completed")
    tasks = up.api(f"/api/v1/runs/{done}")["result"]["tasks"]
    browser.open(f"/ui/runs/{done}/tasks")
    assert tasks and browser.page.locator(".gantt rect.span").count() == len(tasks)
