"""For everybody: by keys, without script, on a narrow screen, in both schemes, for those who hear the page."""

import pytest
from axe_playwright_python.base import AXE_FILE_PATH

from conftest import all_pages, run_in

AXE = AXE_FILE_PATH.read_text()
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}}


def violations(page):
    # Not as a script of the page: that may run none of others.
    page.evaluate(AXE + "; void 0")
    found = page.evaluate("rules => axe.run(document, rules)", RULES)["violations"]
    return [f"{each['id']}: {node['target']} {node['failureSummary'][:300]}" for each in found for node in each["nodes"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_axe_finds_nothing(watch, up, scheme, width):
    browser = watch(color_scheme=scheme, viewport={"width": width, "height": 900})
    found = {}
    for path in all_pages(up):
        browser.open(path)
        if wrong := violations(browser.page):
            found[path] = wrong
    browser.page.goto(up.pages + "/ui/sign-in")
    if wrong := violations(browser.page):
        found["sign-in"] = wrong
    assert not found, found


def test_nothing_is_wider_than_a_narrow_screen(watch, up):
    browser = watch(viewport={"width": 400, "height": 800})
    for path in all_pages(up):
        browser.open(path)
        assert browser.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), path


def test_without_script_everything_can_be_read(watch, up):
    browser = watch(java_script_enabled=False)
    for path in all_pages(up):
        browser.open(path)
    browser.open("/ui/runs")
    browser.page.click("nav.tabs a:has-text('failed')")
    assert browser.page.locator("tr[data-id]").count() == 1
    browser.page.click("tr[data-id] a.id")
    assert "Nothing happens by itself" in browser.page.inner_text("#page") or "retry" in browser.page.inner_text("#page").lower()
    browser.page.click("#theme")
    assert browser.page.locator("html").get_attribute("data-theme") == "light"
    browser.page.fill("#find", run_in(up, "completed"))
    browser.page.press("#find", "Enter")
    assert browser.page.locator("h1.id").count() == 1


def test_keys_walk_the_list_and_open_a_run(browser, up):
    browser.open("/ui/")
    browser.page.keyboard.press("g")
    browser.page.keyboard.press("r")
    browser.page.wait_for_selector("tr[data-id]")
    # Keys work once the page's script has run.
    browser.page.wait_for_load_state()
    browser.page.keyboard.press("j")
    browser.page.keyboard.press("j")
    second = browser.page.locator("tr[data-id]").nth(1)
    assert "cursor" in second.get_attribute("class")
    id = second.get_attribute("data-id")
    browser.page.keyboard.press("x")
    assert second.locator("input").is_checked() and "1 chosen" in browser.page.inner_text(".bulk")
    browser.page.keyboard.press("Enter")
    browser.page.wait_for_selector("h1.id")
    browser.page.wait_for_load_state()
    assert browser.page.url.endswith(id)
    browser.page.keyboard.press("]")
    browser.page.wait_for_url("**/tasks")
    browser.page.keyboard.press("?")
    browser.page.wait_for_selector("#keys")
    browser.page.click("#keys-switch")
    browser.page.keyboard.press("g")
    browser.page.keyboard.press("r")
    browser.page.wait_for_timeout(300)
    assert browser.page.url.endswith("/ui/help"), "keys are switched off"
    browser.page.click("#keys-switch")


def test_tab_alone_reaches_the_first_run_and_focus_is_seen(browser, up):
    browser.open("/ui/runs")
    for _ in range(60):
        browser.page.keyboard.press("Tab")
        if browser.page.evaluate("document.activeElement.matches('td.main a')"):
            break
    assert browser.page.evaluate("document.activeElement.matches('td.main a') && getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.page.keyboard.press("Enter")
    browser.page.wait_for_selector("h1.id")


def test_nothing_moves_for_those_who_do_not_want_it(watch, up):
    browser = watch(reduced_motion="reduce")
    browser.open("/ui/")
    assert browser.page.evaluate("document.getAnimations().length") == 0


def test_forced_colours_leave_the_signs(watch, up):
    browser = watch(forced_colors="active")
    browser.open("/ui/runs")
    assert browser.page.locator("td .state svg").first.is_visible()


def test_charts_have_names(browser, up):
    browser.open("/ui/runs/" + run_in(up, "completed"))
    for chart in browser.page.locator("svg[role=img]").all():
        assert chart.get_attribute("aria-label")


def test_without_script_an_operator_does_the_five_errands(watch, up):
    browser = watch(java_script_enabled=False)
    page = browser.page
    # Find a file, and why it is not done.
    browser.open("/ui/")
    page.fill("#find", "2025-12-19-cut")
    page.press("#find", "Enter")
    assert "cannot be decompressed" in page.inner_text(".why-box")
    # Retry what failed.
    browser.open("/ui/runs?state=failed&date=2025-12-19")
    page.locator("tr[data-id] input").first.check()
    page.click(".bulk button[value=retry]")
    assert "Retry 1 run" in page.inner_text("h1")
    # Put back mended lines, and what was refused.
    browser.open("/ui/quarantine")
    page.locator("tr[data-id] input[name=file]").first.check()
    page.click(".bulk button[value=redrive]")
    assert "cannot change" in page.inner_text("#page")
    browser.open("/ui/quarantine")
    page.locator("section[aria-labelledby=rejected] a:has-text('look at them')").first.click()
    page.get_by_role("link", name="Mend the").click()
    page.get_by_label("Lines, each one JSON object").fill('{"id": 1}')
    page.get_by_role("button", name="Check").click()
    assert "1 line of 10 B would be rows" in page.inner_text(".confirm")
    page.get_by_role("button", name="Put 1 line back").click()
    assert "1 mended line put back" in page.inner_text("body") and "-mended-" in page.url
    # Find the slow task.
    page.click("[data-tab][href$=tasks]")
    assert page.locator(".gantt rect.span").count()


def test_by_keys_alone_failed_runs_are_retried(browser, up):
    page = browser.page
    browser.open("/ui/runs?state=failed&date=2025-12-19")
    page.wait_for_load_state()

    def tab_to(what):
        for _ in range(80):
            page.keyboard.press("Tab")
            if page.evaluate("what => document.activeElement.matches(what)", what):
                return page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        raise AssertionError(f"`{what}` is not reached")

    assert tab_to("tr[data-id] input") == "solid"
    page.keyboard.press("Space")
    assert tab_to(".bulk button[value=retry]") == "solid"
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('Retry 1 run')")
    page.wait_for_load_state()
    assert tab_to("button.primary") == "solid"
