"""What an operator comes for, done by keys alone, and heard by those who do not see it."""

import itertools
import re

from test_actions import fail_one

from conftest import all_pages, lines, put, run_in


def go(page, *keys):
    """Presses keys on a page whose script has run."""
    page.wait_for_selector("html.js h1")
    page.wait_for_load_state()
    for key in keys:
        page.keyboard.press(key)


def find(page, text):
    go(page, "/")
    page.keyboard.type(text)
    page.keyboard.press("Enter")


def focused(page, what):
    return page.evaluate("what => document.activeElement.matches(what)", what)


def test_a_file_is_found_and_says_why_it_is_not_done(browser, up):
    browser.open("/ui/")
    find(browser.page, "2025-12-19-cut")
    browser.page.wait_for_url("**/ui/file?uri=*")
    why = browser.page.get_by_role("region", name="Why is it not done?").inner_text()
    assert "cannot be decompressed" in why and "By itself\nno" in why and "You can" in why, why


def test_failed_runs_are_chosen_and_retried(browser, up):
    page = browser.page
    runs = [fail_one(up, name) for name in ["errand-a", "errand-b"]]
    before = {run: up.api(f"/api/v1/runs/{run}")["attempts"] for run in runs}
    browser.open("/ui/runs?date=2025-12-18&state=completed")
    # The tab beside it is that of the failed.
    go(page, "]")
    page.wait_for_url("**state=failed**")
    listed = page.eval_on_selector_all("tr[data-id]", "rows => rows.map(row => row.dataset.id)")
    for run in runs:
        go(page, *["k"] * len(listed), *["j"] * listed.index(run), "x")
    assert page.locator("[data-chosen]").inner_text() == "2 chosen"
    go(page, "R")
    page.wait_for_selector("h1:has-text('Retry 2 runs')")
    page.wait_for_load_state()
    assert focused(page, "#reason")
    page.keyboard.type("the outage is over")
    page.keyboard.press("Enter")
    page.wait_for_url("**state=failed**")
    page.wait_for_selector(".banner.once")
    assert "2 of 2 done" in page.locator(".banner.once").inner_text()
    page.locator("#said", has_text="2 of 2 done").wait_for(state="attached")
    assert focused(page, "#page, tr[data-id] *"), "whoever works by keys goes on in the page"
    for run in runs:
        up.until(lambda run=run: up.api(f"/api/v1/runs/{run}")["attempts"] > before[run])


def test_mended_lines_are_put_back(browser, up):
    page = browser.page
    put(up.root / "in", "2025-12-17-broken.ndjson", lines(1500) + b'{"id": 7 "name": "mend me"}\n')
    run = up.until(lambda: next((run["manifest_id"] for run in up.api("/api/v1/runs?date=2025-12-17&state=completed")["items"]), None))
    browser.open("/ui/")
    go(page, "g", "q")
    page.wait_for_url("**/ui/quarantine")
    page.wait_for_selector("html.js h1")
    page.wait_for_load_state()
    page.get_by_role("link", name=f"look at them of {run}").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/rejected")
    text = page.locator("#page").inner_text()
    assert '{"id": 7 "name": "mend me"}' in text and "expected" in text
    page.get_by_role("link", name="Mend the 1 line above").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/mend")
    page.wait_for_load_state()
    field = page.get_by_label("Lines, each one JSON object")
    assert field.input_value() == '{"id": 7 "name": "mend me"}\n'
    page.get_by_role("button", name="Check").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".banner.bad")
    assert "line 1: malformed" in page.get_by_role("alert").inner_text() and field.input_value() == '{"id": 7 "name": "mend me"}\n'
    field.fill('{"id": 7, "name": "mend me"}')
    # What is refused for another reason leaves the lines as they were mended.
    page.get_by_label("Reason").evaluate("field => field.removeAttribute('maxlength')")
    page.get_by_label("Reason").fill("x" * 1001)
    page.get_by_role("button", name="Check").click()
    page.wait_for_selector(".banner.bad:has-text('at most 1000 characters')")
    assert field.input_value() == '{"id": 7, "name": "mend me"}'
    page.get_by_label("Reason").fill("a comma was missing")
    page.get_by_role("button", name="Check").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".banner.good")
    assert "1 line of 29 B would be rows" in page.locator(".banner.good").inner_text()
    field.fill('{"id": 7, "name": "mend me twice"}')
    page.get_by_role("button", name="Put 1 line back").click()
    page.wait_for_selector(".confirm .banner.warn")
    assert "changed after they were checked" in page.get_by_role("alert").inner_text()
    page.get_by_role("button", name="Put 1 line back").click()
    page.wait_for_url(f"**/ui/runs/{run}-mended-*")
    mended = page.url.rsplit("/", 1)[1]
    assert up.until(lambda: up.api(f"/api/v1/runs/{mended}")["result"])["ledger"]["rows"] == 1
    browser.open(f"/ui/runs/{run}/rejected")
    assert page.get_by_role("link", name=mended).count() == 1
    browser.open("/ui/activity")
    assert "put-back" in page.inner_text("#page") and "a comma was missing" in page.inner_text("#page")


def test_the_slow_task_of_a_run_is_found(browser, up):
    page = browser.page
    browser.open("/ui/runs?state=completed")
    go(page, "j", "Enter")
    page.wait_for_selector("h1.id")
    go(page, "]")
    page.wait_for_url("**/tasks")
    page.wait_for_selector("html.js .gantt rect.span")
    chart = page.locator("figure.gantt")
    chart.locator("summary").focus()
    page.keyboard.press("Enter")
    rows = chart.locator("tbody tr")
    assert rows.count() == chart.locator("rect.span").count() and "embedded" in rows.first.inner_text()


def test_who_comes_back_goes_on_at_the_row(browser, up):
    page = browser.page
    browser.open("/ui/runs?state=completed")
    go(page, "j", "j")
    row = page.locator("tr[data-id]").nth(1).get_attribute("data-id")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/ui/runs/{row}")
    page.go_back()
    page.wait_for_selector("tr.cursor")
    assert page.locator("tr.cursor").get_attribute("data-id") == row
    assert page.evaluate("document.activeElement.closest('tr')?.dataset.id") == row


def test_rows_are_chosen_from_one_to_another(browser, up):
    browser.open("/ui/runs")
    go(browser.page, "j", "x", "j", "j", "X")
    assert browser.page.locator("[data-chosen]").inner_text() == "3 chosen"


def test_pages_are_heard_in_order(browser, up):
    for path in all_pages(up):
        browser.open(path)
        tree = browser.page.locator("body").aria_snapshot()
        for part in ["- banner:", '- navigation "Pages":', "- search:", "- main:"]:
            assert part in tree, (path, part)
        levels = [int(level) for level in re.findall(r"- heading .*\[level=(\d)\]", tree)]
        assert levels[0] == 1 and all(after - before <= 1 for before, after in itertools.pairwise(levels)), (path, levels)
        nameless = re.findall(r"- (?:link|button|textbox|searchbox|combobox|checkbox|img|region|table)(?::| \[)", tree)
        assert [role for role in nameless if "table" not in role] == [], (path, nameless)


def test_charts_have_the_same_numbers_as_tables(browser, up):
    done = run_in(up, "completed")
    for path, count in [("/ui/", 2), ("/ui/dates", 1), ("/ui/cost", 1), (f"/ui/runs/{done}/tasks", 1)]:
        browser.open(path)
        figures = browser.page.locator("figure.chart, figure.gantt")
        assert figures.count() >= count, path
        for figure in figures.all():
            assert figure.locator("svg[role]").first.get_attribute("aria-label"), path
            assert figure.locator("details table tbody tr").count() >= 1, path
