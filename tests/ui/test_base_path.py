"""Behind a proxy, below a path: every link, form, script, stream and cookie."""

import re
import urllib.parse

import pytest

from conftest import Up, Watched, lines, put
from proxy import Proxy

PATH = "/ops/mill"


class Below:
    """A process as its proxy shows it."""

    def __init__(self, up, base):
        self.up, self.base, self.pages = up, base, base

    def link_again(self):
        return self.base + self.up.api("/ui/sign-in-links", "POST", None)["path"]


@pytest.fixture(scope="module")
def below(tmp_path_factory):
    root = tmp_path_factory.mktemp("below")
    (root / "in").mkdir()
    (root / "run").mkdir()
    put(root / "in", "2025-12-23-a.ndjson", lines(1500) + b"{x}\n")
    up = Up(root, "--http-base-path", PATH + "/")
    up.until(lambda: [run["state"] for run in up.api("/api/v1/runs")["items"]] == ["completed"])
    yield up
    up.end()


@pytest.mark.parametrize("takes_away", [True, False])
def test_everything_stays_below_the_path(chromium, below, takes_away):
    proxy = Proxy(below.base.split("//")[1], PATH, takes_away)
    watched = Watched(chromium, Below(below, proxy.base))
    page = watched.page
    try:
        assert page.url == proxy.base + "/ui/"
        assert {(each["name"].split("_")[0], each["path"]) for each in watched.context.cookies() if each["httpOnly"]} == {("millwork", PATH + "/")}
        # Links, of each page that there is a way to.
        seen: set[str] = set()
        left = [PATH + "/ui/"]
        while left and len(seen) < 60:
            path = left.pop()
            if path in seen:
                continue
            seen.add(path)
            answer = page.request.get(proxy.base.removesuffix(PATH) + path)
            # Forms that ask have addresses that say 400 without what is asked for.
            assert answer.status in (200, 400, 404), f"{path}: {answer.status}"
            if "text/html" in answer.headers["content-type"]:
                for href in re.findall(r'(?:href|action|src|connect)="([^"#]+)"', answer.text()):
                    target = urllib.parse.urljoin(path, href.replace("&amp;", "&"))
                    assert target.startswith(PATH + "/"), f"{path}: {href}"
                    if (
                        "/ui/plans" not in target
                        and "/sign-" not in target
                        and "/preferences" not in target
                        and "/find" not in target
                        and "/api/v1/events" not in target
                    ):
                        left.append(target)
        assert len(seen) > 20
        # Stream: a new run shows itself.
        watched.open("/ui/runs")
        put(below.root / "in", f"2025-12-24-{takes_away}.ndjson", lines(1500))
        page.locator(".new-rows button").wait_for(state="visible")
        # Keys, the switch of colours, and what the browser remembers.
        page.keyboard.press("z")
        page.keyboard.press("?")
        page.wait_for_url(proxy.base + "/ui/help")
        assert next(each for each in watched.context.cookies() if each["name"] == "millwork_zone")["path"] == PATH + "/ui/"
        page.click("#theme")
        # A form: planned, and back.
        watched.open("/ui/runs?state=completed")
        page.locator("tr[data-id] input").first.check()
        page.click(".bulk button[value=retry]")
        page.wait_for_url(re.compile(re.escape(proxy.base) + "/ui/plans/"))
        page.click("a.button:has-text('Back')")
        assert page.url == proxy.base + "/ui/runs?state=completed"
        # Out, and in again at the very page.
        page.click("button:has-text('Sign out')")
        page.wait_for_url(proxy.base + "/ui/sign-in")
        page.goto(proxy.base + "/ui/dates?x=1")
        assert page.url.startswith(proxy.base + "/ui/sign-in?back=")
        page.fill("input[name=token]", below.token())
        page.click(".sign-in button")
        page.wait_for_url(proxy.base + "/ui/dates?x=1")
        assert [path for path in proxy.asked_outside if path != "/favicon.ico"] == []
    finally:
        watched.close(expected=["status of 404"])
        proxy.end()
