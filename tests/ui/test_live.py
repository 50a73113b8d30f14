"""A page follows what happens, and disturbs nobody."""

from conftest import lines, put


def submit(up, name):
    put(up.root / "in", f"2025-12-25-{name}.ndjson", lines(1500))
    return up.until(
        lambda: next(
            (
                run["manifest_id"]
                for run in up.api("/api/v1/runs?date=2025-12-25")["items"]
                if run["state"] == "completed" and any(name in file["uri"] for file in up.api(f"/api/v1/runs/{run['manifest_id']}/files")["items"])
            ),
            None,
        )
    )


def test_a_new_run_is_announced_and_moves_nothing(browser, up):
    browser.open("/ui/runs")
    browser.page.wait_for_timeout(300)
    first = browser.page.locator("tr[data-id]").first
    first.hover()
    box, known = first.bounding_box(), first.get_attribute("data-id")
    run = submit(up, "announced")
    bar = browser.page.locator(".new-rows button")
    bar.wait_for(state="visible")
    assert browser.page.locator("tr[data-id]").first.get_attribute("data-id") == known
    assert first.bounding_box() == box, "nothing moves under the pointer"
    assert "1 new row" in browser.page.locator("#said").text_content()
    assert "1 new" in bar.inner_text().replace("\n", " ")
    browser.page.keyboard.press(".")
    browser.page.wait_for_selector(f"tr[data-id='{run}']")
    assert browser.page.locator("tr[data-id]").first.get_attribute("data-id") == run
    there = browser.page.locator("tr[data-id]").first.bounding_box()
    assert (there["x"], there["y"]) == (box["x"], box["y"])


def test_what_a_reader_does_stays(browser, up):
    browser.open("/ui/runs")
    browser.page.locator("tr[data-id] input").nth(1).check()
    browser.page.fill("#find", "half a wo")
    browser.page.focus("#find")
    submit(up, "stays")
    browser.page.locator(".new-rows button").wait_for(state="visible")
    assert browser.page.input_value("#find") == "half a wo"
    assert browser.page.evaluate("document.activeElement.id") == "find"
    assert browser.page.locator("tr[data-id] input:checked").count() == 1


def test_the_overview_counts_up_by_itself(browser, up):
    browser.open("/ui/")
    run = submit(up, "overview")
    browser.page.wait_for_selector(f"#last-{run} .s-done", timeout=10_000)


def test_what_is_opened_marked_and_focused_stays_while_the_overview_changes(browser, up):
    page = browser.page
    browser.open("/ui/")
    page.locator("figure.chart summary").first.click()
    page.evaluate("window.scrollTo(0, 200)")
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#executors'))")
    page.evaluate("document.querySelector('section[aria-labelledby=latest] .more a').focus({ preventScroll: true })")
    run = submit(up, "marked")
    page.wait_for_selector(f"#last-{run} .s-done", timeout=10_000)
    assert page.locator("figure.chart details").first.get_attribute("open") is not None
    assert page.evaluate("scrollY") == 200 and page.evaluate("getSelection().toString()") == "Executors"
    assert page.evaluate("document.activeElement.textContent") == "all runs"


def test_a_stream_that_lost_something_has_the_page_asked_for_again(browser, up):
    browser.context.route("**/api/v1/events", lambda route: route.fulfill(content_type="text/event-stream", body="event: lagged\ndata: {}\n\n"))
    with browser.page.expect_request(lambda request: request.url.endswith("/ui/runs") and request.resource_type == "fetch"):
        browser.open("/ui/runs")


def test_after_a_flood_and_what_was_lost_of_it_the_page_shows_what_the_store_has(browser, up):
    page, asked = browser.page, []
    told = [f"id: {number}\nevent: run\ndata: {{}}\n\n" for number in range(50_000)]
    floods = ["".join(told) + "event: lagged\ndata: {}\n\n"]
    browser.context.route("**/api/v1/events", lambda route: route.fulfill(content_type="text/event-stream", body=floods.pop()) if floods else route.continue_())
    page.on("request", lambda request: asked.append(request.url) if request.resource_type == "fetch" else None)
    with page.expect_request(lambda request: request.url.endswith("/ui/runs") and request.resource_type == "fetch"):
        browser.open("/ui/runs")
    run = submit(up, "flood")
    page.locator(".new-rows button").wait_for(state="visible")
    page.keyboard.press(".")
    page.wait_for_selector(f"tr[data-id='{run}'] .s-done")
    shown = page.eval_on_selector_all("tr[data-id]", "rows => rows.map(row => [row.dataset.id, row.querySelector('.state').textContent])")
    assert shown == [[run["manifest_id"], run["state"]] for run in up.api("/api/v1/runs")["items"]]
    assert len(asked) < 20, "events are taken together"


def test_a_page_that_is_paused_stays(browser, up):
    browser.open("/ui/runs")
    browser.page.keyboard.press("l")
    assert browser.page.inner_text("#pulse") == "paused"
    asked = []
    browser.page.on("request", lambda request: asked.append(request.url))
    submit(up, "paused")
    browser.page.wait_for_timeout(1500)
    assert not [url for url in asked if "/ui/runs" in url]
    browser.page.keyboard.press("l")
    browser.page.locator(".new-rows button").wait_for(state="visible")


def test_eight_tabs_share_one_stream_and_all_follow(browser, up):
    # A page that follows nothing leaves the stream to the others.
    browser.open("/ui/help")
    streams = []
    browser.context.on("request", lambda request: streams.append(request.url) if request.url.endswith("/api/v1/events") else None)
    tabs = [browser.context.new_page() for _ in range(8)]
    for each in tabs:
        each.goto(up.pages + "/ui/runs")
        each.wait_for_selector("tr[data-id]")
    submit(up, "eight")
    for each in tabs:
        each.locator(".new-rows button").wait_for(state="visible")
    assert len(streams) == 1, streams
    # The tab that listens goes: another one does.
    tabs[0].close()
    submit(up, "seven")
    tabs[7].locator(".new-rows button:has-text('2')").wait_for(state="visible")
    assert len(streams) == 2, streams


def test_a_hidden_tab_asks_for_nothing(browser, up):
    browser.open("/ui/runs")
    browser.page.wait_for_load_state()
    browser.page.evaluate(
        "Object.defineProperty(document, 'hidden', { get: () => true, configurable: true }); document.dispatchEvent(new Event('visibilitychange'))"
    )
    asked = []
    browser.page.on("request", lambda request: asked.append(request.url))
    run = submit(up, "hidden")
    # Until a tab that is seen has it.
    other = browser.context.new_page()
    other.goto(up.pages + "/ui/runs")
    other.wait_for_selector(f"tr[data-id='{run}']")
    assert not asked, asked
    browser.page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    browser.page.locator(".new-rows button").wait_for(state="visible")
