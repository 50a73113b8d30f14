"""For everybody: by keys, without script, on a narrow screen, in both schemes, for those who hear the page."""

import itertools

from axe_playwright_python.base import AXE_FILE_PATH

from conftest import all_pages, run_in

AXE = AXE_FILE_PATH.read_text()
RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]},
    # What is as it must be is not written down, node by node.
    "resultTypes": ["violations"],
}


def violations(page, when):
    found = page.evaluate("rules => axe.run(document, rules).then(found => found.violations)", RULES)
    return [f"{when} {each['id']}: {node['target']} {node['failureSummary'][:300]}" for each in found for node in each["nodes"]]


def test_axe_finds_nothing_and_nothing_is_wider_than_the_screen(watch, up):
    browser = watch()
    found = []
    for path in [*all_pages(up), "/ui/sign-in"]:
        browser.open(path)
        # Not as a script of the page: that may run none of others.
        browser.page.evaluate(AXE + "; void 0")
        for width, scheme in itertools.product([1280, 400], ["light", "dark"]):
            browser.page.set_viewport_size({"width": width, "height": 900})
            browser.page.emulate_media(color_scheme=scheme)
            found += violations(browser.page, f"{path} {scheme} {width}")
        assert browser.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), path
    assert not found, found


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


def test_by_tab_and_enter_alone_an_operator_does_the_five_errands(browser, up):
    page = browser.page

    def tab_to(what):
        for _ in range(80):
            page.keyboard.press("Tab")
            if page.evaluate("what => document.activeElement.matches(what)", what):
                assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", what
                return
        raise AssertionError(f"`{what}` is not reached")

    def enter(heading):
        page.keyboard.press("Enter")
        page.wait_for_selector(f"h1:has-text('{heading}')")
        page.wait_for_load_state()

    # Find a file, say why it is not done, and take it back.
    browser.open("/ui/")
    tab_to("#find")
    page.keyboard.type("2025-12-19-cut")
    enter("2025-12-19-cut")
    assert "cannot be decompressed" in page.inner_text(".why-box")
    tab_to(".why-box button[value=redrive]")
    enter("Take back 1 file")
    # Retry what failed.
    browser.open("/ui/runs?state=failed&date=2025-12-19")
    tab_to("tr[data-id] input")
    page.keyboard.press("Space")
    tab_to(".bulk button[value=retry]")
    enter("Retry 1 run")
    tab_to("button.primary")
    # Mend lines.
    browser.open("/ui/quarantine")
    tab_to("a[href$='/rejected']")
    enter("batch")
    tab_to("a[href*='/mend']")
    enter("Mend and put back")
    assert page.evaluate("document.activeElement.matches('textarea')")
    page.keyboard.press("Control+a")
    page.keyboard.type('{"id": 2}')
    tab_to("button[value=check]")
    page.keyboard.press("Enter")
    page.wait_for_selector(".confirm .banner.good")
    assert page.evaluate("document.activeElement.id") == "reason"
    tab_to("button[value=put]")
    # Find the slow task.
    browser.open("/ui/runs?state=completed")
    tab_to("td.main a")
    enter("batch")
    tab_to("[data-tab][href$=tasks]")
    page.keyboard.press("Enter")
    page.wait_for_selector("html.js .gantt rect.span")
    tab_to(".gantt summary")
    page.keyboard.press("Enter")
    page.wait_for_selector(".gantt tbody tr")
