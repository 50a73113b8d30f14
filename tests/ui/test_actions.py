"""What is done: planned, shown, confirmed, once."""

import gzip
import re

from test_sign_in import FORM, Session

from conftest import gzip_whole, lines, put, run_in


def fail_one(up, name):
    """A run that fails: its only file is cut short."""
    whole = gzip_whole()
    put(up.root / "in", f"2025-12-18-{name}.ndjson.gz", whole[: len(whole) // 2])
    return up.until(
        lambda: next(
            (
                run["manifest_id"]
                for run in up.api("/api/v1/runs?date=2025-12-18&state=failed")["items"]
                if any(name in file["uri"] for file in up.api(f"/api/v1/runs/{run['manifest_id']}/files")["items"])
            ),
            None,
        )
    )


def test_a_retry_is_shown_confirmed_and_noted(browser, up):
    run = fail_one(up, "retried")
    before = up.api(f"/api/v1/runs/{run}")["attempts"]
    browser.open("/ui/runs?state=failed&date=2025-12-18")
    browser.page.check(f"tr[data-id='{run}'] input")
    browser.page.click(".bulk button[value=retry]")
    browser.page.wait_for_url(re.compile("/ui/plans/"))
    assert "Retry 1 run" in browser.page.inner_text("h1")
    assert up.api(f"/api/v1/runs/{run}")["attempts"] == before, "nothing was done yet"
    browser.page.fill("#reason", "the outage is over")
    browser.page.click("button.primary")
    browser.page.wait_for_url(re.compile("state=failed"))
    assert "1 of 1 done" in browser.page.inner_text("#page")
    up.until(lambda: up.api(f"/api/v1/runs/{run}")["attempts"] > before)
    browser.open("/ui/activity")
    text = browser.page.inner_text("#page")
    assert "retry" in text and "the outage is over" in text and run in text


def test_what_cannot_be_done_says_why(browser, up):
    browser.open("/ui/runs/" + run_in(up, "completed"))
    browser.page.click(".actions summary")
    assert "it neither failed nor was cancelled" in browser.page.inner_text(".actions")
    assert browser.page.locator(".actions button[value=retry]").count() == 0


def test_a_plan_is_applied_once_and_by_who_made_it(up):
    run = fail_one(up, "once")
    signed_in = Session(up, up.token())
    made = signed_in.ask("POST", "/ui/plans", f"action=retry&run={run}&back=/ui/runs", **FORM)
    assert made.status == 303, made.text
    path = made.headers["Location"].split("?")[0].removeprefix(signed_in.place)
    first = signed_in.ask("POST", path, "back=/ui/runs", **FORM)
    assert first.status == 303 and first.headers["Location"] == signed_in.place + "/ui/runs", first.text
    second = signed_in.ask("POST", path, "back=/ui/runs", **FORM)
    assert second.status == 409, second.status
    assert signed_in.ask("POST", path, "", **{**FORM, "Sec_Fetch_Site": "cross-site"}).status == 403


def test_nothing_chosen_is_said(up):
    answer = Session(up, up.token()).ask("POST", "/ui/plans", "action=retry&back=/ui/runs", **FORM)
    assert answer.status == 400 and "othing was chosen" in answer.text


def test_choices_are_kept_over_pages_of_a_list(browser, up):
    fail_one(up, "kept")
    browser.open("/ui/runs?state=failed&date=2025-12-18")
    browser.page.locator("tr[data-id] input").first.check()
    browser.open("/ui/runs?state=completed")
    for place in (0, 1):
        browser.page.locator("tr[data-id] input").nth(place).check()
    assert "3 chosen" in browser.page.inner_text(".bulk")
    browser.page.click(".bulk button[value=retry]")
    browser.page.wait_for_url(re.compile("/ui/plans/"))
    browser.page.wait_for_load_state()
    assert "Retry 1 run" in browser.page.inner_text("h1") and "2 of the chosen cannot change" in browser.page.inner_text("#page")


def test_a_run_is_cancelled_and_retried_while_it_runs_and_its_ledger_closes(browser, up):
    # Seconds of work in some MB: a member of gzip, again and again.
    rows, members = 40_000, 30
    put(up.root / "in", "2025-12-16-long.ndjson.gz", gzip.compress(lines(rows), compresslevel=1) * members)
    run = up.until(lambda: next((run["manifest_id"] for run in up.api("/api/v1/runs?date=2025-12-16")["items"] if run["state"] == "running"), None))
    for action, title in [("cancel", "Cancel 1 run"), ("retry", "Retry 1 run")]:
        browser.open(f"/ui/runs/{run}")
        browser.page.click(f".actions button[value={action}]")
        browser.page.wait_for_url(re.compile("/ui/plans/"))
        assert title in browser.page.inner_text("h1")
        browser.page.click("button.primary")
        browser.page.wait_for_url(re.compile("/ui/runs/"))
        assert "1 of 1 done" in browser.page.inner_text("#page")
        wanted = "cancelled" if action == "cancel" else "completed"
        up.until(lambda wanted=wanted: up.api(f"/api/v1/runs/{run}")["state"] == wanted)
    # Whoever does not see the page hears of it.
    browser.page.locator("#said", has_text="now completed").wait_for(state="attached")
    result = up.api(f"/api/v1/runs/{run}")["result"]
    assert (result["rows"], result["rejected"]) == (rows * members, 0), result
    ledger = up.api(f"/api/v1/runs/{run}/ledger")["items"]
    assert [row["lines"] for row in ledger] == [rows * members]
    browser.open(f"/ui/runs/{run}")
    assert "1,200,000 lines = 1,200,000 rows" in browser.page.inner_text("#page")


def test_a_date_is_cut_swept_and_counted_by_plans(browser, up):
    page = browser.page
    browser.open("/ui/dates/2025-12-23")
    assert "no file of it waits" in page.inner_text(".actions") and page.locator("button[value=cut]").count() == 0
    page.click("button[value=sweep]")
    page.wait_for_url(re.compile("/ui/plans/"))
    assert "Nothing would change" in page.inner_text("#page") and "no manifest of it is unfinished" in page.inner_text("#page")
    page.click("a.button")
    page.wait_for_url(re.compile("/ui/dates/2025-12-23"))
    page.click("button[value=recount]")
    page.wait_for_url(re.compile("/ui/plans/"))
    assert "Count 1 date anew" in page.inner_text("h1")
    page.click("button.primary")
    page.wait_for_url(re.compile("/ui/dates/2025-12-23"))
    assert "1 of 1 done" in page.inner_text("#page")
    browser.open("/ui/activity")
    assert page.locator("td a[href$='/ui/dates/2025-12-23']").count() > 0, "a date in a note leads to its page"


def test_a_queue_that_nobody_reads_says_so(browser, up):
    browser.open("/ui/cluster")
    browser.page.click("text=Queues and dead letters")
    browser.page.wait_for_url(re.compile("/ui/cluster/queues"))
    assert "no builder that reads a queue of files has shown itself" in browser.page.inner_text("#page")
    browser.page.click("text=of manifests")
    browser.page.wait_for_url(re.compile("queue=manifests"))
    assert "MANIFEST_QUEUE_URL" in browser.page.inner_text("#page")
