"""Each page, in every state that made data brings it to."""

import re
import urllib.parse

from conftest import HOSTILE, all_pages, run_in


def test_each_page_has_a_title_one_heading_and_no_error(browser, up):
    for path in all_pages(up):
        answer = browser.open(path)
        assert answer.status in (200, 404), path
        assert browser.page.locator("h1").count() == 1, path
        assert browser.page.title().endswith(" · Millwork"), path
        assert len(browser.page.content()) < 150_000 and browser.page.evaluate("document.querySelectorAll('*').length") < 3000, path


def test_what_a_page_shows_is_what_the_api_tells(browser, up):
    told_of = 0
    for path in all_pages(up):
        html = browser.page.request.get(up.pages + path).text()
        if link := re.search(r'<link rel="alternate" type="application/json" href="([^"]+)"', html):
            answer = browser.page.request.get(up.base + link[1].replace("&amp;", "&"))
            assert answer.ok and answer.json() is not None, path
            told_of += 1
    assert told_of > 20
    done = run_in(up, "completed")
    told = up.api(f"/api/v1/runs/{done}")
    browser.open(f"/ui/runs/{done}")
    text = browser.page.inner_text("#page")
    assert f"{told['result']['ledger']['lines']:,} lines = " in text and "unaccounted" not in text
    browser.open("/ui/runs")
    shown = browser.page.eval_on_selector_all("tr[data-id]", "rows => rows.map(row => row.dataset.id)")
    assert shown == [run["manifest_id"] for run in up.api("/api/v1/runs")["items"]]


def test_every_link_leads_somewhere(browser, up):
    seen: set[str] = set()
    left = list(all_pages(up))
    place = urllib.parse.urlsplit(up.pages).path
    while left:
        path = left.pop()
        if path in seen or len(seen) > 150:
            continue
        seen.add(path)
        answer = browser.page.request.get(up.pages + path)
        is_unknown_file = path.startswith("/ui/file?")
        assert answer.status == 200 or is_unknown_file, f"{path}: {answer.status}"
        if "text/html" not in answer.headers["content-type"]:
            continue
        html = answer.text()
        for href in re.findall(r'href="([^"]+)"', html):
            href = href.replace("&amp;", "&")
            if href.startswith("#"):
                assert f'id="{href[1:]}"' in html, f"{path}: {href}"
            else:
                target = urllib.parse.urljoin(place + path, href)
                assert target.startswith(place + "/"), f"{path} leads out: {href}"
                left.append(target.removeprefix(place))


def test_nothing_is_inline(browser, up):
    place = re.escape(urllib.parse.urlsplit(up.pages).path)
    for path in all_pages(up):
        html = browser.page.request.get(up.pages + path).text()
        assert not re.search(r"<[^>]*\s(style|on[a-z]+)=", html) and not re.search(r"<style|hx-on|=\"?js:", html), path
        assert all(re.search(rf"\ssrc=\"{place}/ui/assets/", tag) for tag in re.findall(r"<script[^>]*>", html)), path


def test_hostile_text_is_shown_and_does_nothing(browser, up):
    uri = next(file["uri"] for file in up.api("/api/v1/files?date=2025-12-24")["items"])
    run = next(run["manifest_id"] for run in up.api("/api/v1/runs?date=2025-12-24")["items"])
    quoted = urllib.parse.quote(uri, safe="")
    browser.page.on("dialog", lambda dialog: browser.wrong.append(f"dialog {dialog.message}"))
    for path in [
        f"/ui/file?uri={quoted}",
        "/ui/files?date=2025-12-24",
        f"/ui/runs/{run}/files",
        f"/ui/runs/{run}/rejected",
        f"/ui/find?q={urllib.parse.quote('<img src=x onerror=alert(1)>')}",
    ]:
        browser.open(path)
        content = browser.page.content()
        assert "\u202e" not in content and "<script>alert" not in content and browser.page.locator("#page img").count() == 0, path
    browser.open("/ui/files?date=2025-12-24")
    assert urllib.parse.quote(HOSTILE, safe="~") in browser.page.inner_text("#page")
    browser.open(f"/ui/runs/{run}/rejected")
    text = browser.page.inner_text("#page")
    assert "<img src=x onerror=alert(1)>" in text and "‹U+202E›" in text


def test_a_filter_is_in_the_address_and_can_be_taken_away(browser, up):
    browser.open("/ui/runs")
    browser.page.click("nav.tabs a:has-text('failed')")
    browser.page.wait_for_url(re.compile("state=failed"))
    browser.page.select_option("#f-class", "input")
    browser.page.click("form.filters button[type=submit]")
    browser.page.wait_for_url(re.compile("state=failed.*class=input|class=input.*state=failed"))
    failed = browser.page.locator("tr[data-id]").count()
    assert failed and browser.page.locator("tr[data-id] .s-bad, tr[data-id] .state.bad, tr[data-id]:has-text('failed')").count() >= failed
    address = browser.page.url
    browser.page.click("tr[data-id] a")
    browser.page.wait_for_selector("h1.id")
    browser.page.go_back()
    assert browser.page.url == address and browser.page.locator("tr[data-id]").count() == failed
    browser.page.reload()
    assert browser.page.locator("tr[data-id]").count() == failed
    browser.page.click(".active-filters a")
    browser.page.wait_for_url(re.compile(r"/ui/runs\?state=failed$"))


def test_times_say_their_zone_and_switch_together(browser, up):
    browser.open("/ui/runs/" + run_in(up, "completed"))

    def shown():
        return browser.page.eval_on_selector_all("time:not([data-show=none])", "all => all.map(each => each.textContent)")

    assert shown() and all(text.endswith(" UTC") for text in shown())
    browser.page.keyboard.press("z")
    assert all(re.search(r" (CET|CEST|GMT\+[12])$", text) for text in shown()), shown()
    browser.page.reload()
    assert all(" UTC" not in text for text in shown()), "it is remembered"
    browser.page.keyboard.press("z")
    assert all(text.endswith(" UTC") for text in shown())


def test_an_unknown_run_and_page_say_so(browser, up):
    assert browser.open("/ui/runs/no-such-run").status == 404
    assert "no-such-run" in browser.page.inner_text("#page")
    assert browser.open("/ui/nowhere").status == 404
    assert browser.open("/ui/runs?state=nonsense").status == 400
    assert "nonsense" in browser.page.inner_text("#page")


def test_pages_are_quick(browser, up):
    browser.open("/ui/help")
    ask = "path => { const begin = performance.now(); return fetch(path).then(answer => [performance.now() - begin, answer.redirected]) }"
    took = []
    for path in all_pages(up) * 8:
        milliseconds, is_other = browser.page.evaluate(ask, up.pages + path)
        assert not is_other or "find" in path, path
        took.append(milliseconds)
    took.sort()
    assert took[int(len(took) * 0.95)] < 150, took[-10:]


def test_a_cursor_of_another_list_is_refused_in_words(browser, up):
    cursor = urllib.parse.quote(up.api("/api/v1/runs?limit=1")["next_cursor"], safe="")
    assert up.api(f"/api/v1/runs?limit=2&cursor={cursor}")["items"]
    assert browser.open(f"/ui/runs?state=completed&cursor={cursor}").status == 400
    assert "of another list" in browser.page.inner_text("#page")


def test_the_cluster_page_tells_of_each_process(browser, up):
    executors = up.api("/api/v1/executors")["items"]
    browser.open("/ui/cluster")
    text = browser.page.inner_text("#page")
    assert f"Executors ({len(executors)})" in text and executors[0]["id"] in text
    builders = browser.page.locator("section[aria-labelledby=builders] tbody tr").count()
    assert f"Builders ({builders})" in text


def test_a_file_is_found_by_what_one_remembers(browser, up):
    def find(text):
        browser.open("/ui/")
        browser.page.fill("#find", text)
        browser.page.press("#find", "Enter")
        browser.page.wait_for_url(re.compile("/ui/(?!$)"))
        browser.page.wait_for_selector("h1")
        return browser.page.inner_text("#page")

    assert "failed" in find("2025-12-19-cut") and browser.page.url.endswith("2025-12-19-cut.ndjson.gz")
    assert "no-date" in find("no-date.nd") and "/ui/file?uri=" in browser.page.url
    several = find("2025-12-23-part")
    assert browser.page.locator("section[aria-labelledby=files] li").count() == 6, several
    run = run_in(up, "completed")
    find(run[:-3])
    assert browser.page.url.endswith("/ui/runs/" + run)
    assert "Nothing is called so" in find("nonsense-0815")


def test_a_page_by_its_address_is_that_which_a_click_leads_to(browser, up):
    page = browser.page

    def shown():
        page.wait_for_selector("h1")
        rows = page.eval_on_selector_all("tr[data-id]", "rows => rows.map(row => row.dataset.id)")
        return page.title(), page.locator("h1").inner_text(), page.locator("[aria-current]").all_inner_texts(), rows

    for path in ["/ui/", "/ui/runs?state=failed", "/ui/quarantine", "/ui/dates", "/ui/runs/" + run_in(up, "failed")]:
        browser.open(path)
        links = page.locator("#page a:visible")
        for place in range(min(links.count(), 3)):
            href = links.nth(place).get_attribute("href")
            if "/ui/" not in href:
                continue
            links.nth(place).click()
            page.wait_for_url(lambda url, href=href: url.endswith(href))
            clicked = shown()
            page.goto(up.base + href)
            assert shown() == clicked, href
            browser.open(path)
