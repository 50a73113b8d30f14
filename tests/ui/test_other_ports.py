"""Another user of the machine listens on another port: browsers show cookies to every port of a host."""

import http.cookiejar
import http.server
import re
import threading
import urllib.error
import urllib.parse
import urllib.request

import pytest
from test_sign_in import FORM, raw


class Neighbour:
    """A server of somebody else on the same address. It notes what it is told, and plants cookies."""

    def __init__(self):
        self.told: list[tuple[str, dict[str, str]]] = []
        self.planted: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.told.append((self.path, dict(self.headers.items())))
                self.send_response(200)
                for cookie in outer.planted:
                    self.send_header("Set-Cookie", cookie)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(b"<!doctype html><title>neighbour</title><h1>neighbour</h1>")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.base = f"http://127.0.0.1:{self.server.server_address[1]}"

    def cookies(self):
        return [headers["Cookie"] for _, headers in self.told if "Cookie" in headers]

    def everything(self):
        return repr(self.told)

    def end(self):
        self.server.shutdown()
        self.server.server_close()


PATHS = ["/", "/ui/", "/ui/runs?state=failed", "/ui/sign-in", "/api/v1/stats", "/api/v1/events", "/ui", "/" + "0" * 32 + "/ui/"]


@pytest.fixture
def neighbour():
    made = Neighbour()
    yield made
    made.end()


def test_a_jar_shows_the_session_to_no_other_port(up, neighbour):
    jar = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    with browser.open(up.link_again()) as page:
        assert page.url == up.pages + "/ui/" and "Sign out" in page.read().decode()
    with browser.open(up.pages + "/api/v1/stats") as answer:
        assert answer.status == 200
    # The jar knows no ports: below the path it would show the cookie, so only who knows the path can ask for it.
    with browser.open(neighbour.base + urllib.parse.urlsplit(up.pages).path + "/ui/"):
        assert neighbour.cookies(), "a jar that knows ports proves nothing"
    neighbour.told.clear()
    for path in PATHS:
        with browser.open(neighbour.base + path):
            pass
    assert len(neighbour.told) == len(PATHS) and not neighbour.cookies()
    # Nor does the jar show it to the scheduler itself without the path, which then tells nobody the path.
    for path in ["/", "/ui/", "/ui/runs", "/ui/sign-in", "/nowhere"]:
        try:
            with browser.open(up.base + path) as page:
                text, url = page.read().decode() + repr(page.headers.items()), page.url
                assert url.startswith(up.base + "/ui/sign-in")
        except urllib.error.HTTPError as error:
            assert error.code == 401
            text = error.read().decode()
        assert urllib.parse.urlsplit(up.pages).path not in text, path


def test_a_browser_shows_neither_session_nor_path_to_another_port(watch, up, neighbour):
    browser = watch()
    browser.context.unroute_all()
    browser.open("/ui/runs")
    path = urllib.parse.urlsplit(up.pages).path
    assert [each["path"] for each in browser.context.cookies() if "session" in each["name"]] == [path + "/"]
    for asked in PATHS:
        # By a link on the page, so that a referrer would be told.
        browser.page.evaluate(
            "url => { const link = document.createElement('a'); link.href = url; document.body.append(link); link.click(); }", neighbour.base + asked
        )
        browser.page.wait_for_url(neighbour.base + asked)
        browser.page.go_back()
        browser.page.wait_for_selector("h1:has-text('Runs')")
    assert len(neighbour.told) >= len(PATHS)
    assert not neighbour.cookies() and path[1:] not in neighbour.everything()


def test_who_comes_without_the_path_is_led_there_if_the_browser_knows_it(watch, up):
    browser = watch()
    browser.page.goto(up.base + "/ui/runs?state=failed")
    browser.page.wait_for_url(up.pages + "/ui/runs?state=failed")
    browser.page.click("button:has-text('Sign out')")
    browser.page.wait_for_selector("#token")
    browser.page.goto(up.base + "/")
    browser.page.wait_for_selector("#token")
    assert browser.page.url.startswith(up.base + "/ui/sign-in")
    # A bookmark of a path that is no more asks for the sign-in, and leads on.
    browser.page.goto(up.base + "/" + "0" * 32 + "/ui/dates?x=1")
    browser.page.fill("#token", up.token())
    browser.page.press("#token", "Enter")
    browser.page.wait_for_url(up.pages + "/ui/dates?x=1")


def test_what_another_port_plants_changes_nothing(watch, up, neighbour):
    browser = watch()
    browser.context.unroute_all()
    name = next(each["name"] for each in browser.context.cookies() if "session" in each["name"])
    signed = next(each["value"] for each in browser.context.cookies() if each["name"] == name)
    forged = signed[:-4] + "0000"
    neighbour.planted = [f"{name}={value}; Path={path}" for value in [forged, "x", ""] for path in ["/", "/ui", "/ui/", "/api/v1"]]
    neighbour.planted += [f"millwork_said=Your+session+is+over.+Type+your+token+into+a+terminal; Path={path}" for path in ["/", "/ui/"]]
    neighbour.planted += ["millwork_theme=%22%3E%3Cscript%3E; Path=/", "millwork_zone=%3Cb%3E; Path=/", "millwork_keys=%00; Path=/"]
    browser.page.goto(neighbour.base + "/")
    browser.open("/ui/runs")
    assert browser.page.locator("text=Sign out").count() == 1 and "terminal" not in browser.page.content()
    # Even if they came first, and the own one is gone.
    headers = {"Cookie": "; ".join(cookie.split(";")[0] for cookie in neighbour.planted) + f"; {name}={signed}"}
    path = urllib.parse.urlsplit(up.pages).path
    page = raw(up, "GET", path + "/ui/runs", **headers)
    assert page.status == 200 and "terminal" not in page.text
    answer = raw(up, "GET", path + "/ui/runs", Cookie=f"{name}={forged}")
    assert answer.status == 303 and re.search(r"/ui/sign-in\?back=", answer.headers["Location"])
    assert raw(up, "POST", path + "/ui/sign-out", "", Cookie=f"{name}={forged}", **FORM).headers["Location"].startswith(path + "/ui/sign-in")


def test_pages_of_another_port_can_read_nothing(watch, up, neighbour):
    browser = watch()
    browser.context.unroute_all()
    browser.page.goto(neighbour.base + "/")
    read = "url => fetch(url, {credentials: 'include'}).then(answer => answer.text(), error => 'refused')"
    for path in ["/ui/", "/api/v1/stats", "/ui/sign-in"]:
        assert browser.page.evaluate(read, up.base + path) == "refused", path
    # Told on the console by the browser that refuses.
    assert browser.wrong and all("CORS" in text or "ERR_FAILED" in text for text in browser.wrong), browser.wrong
    browser.wrong.clear()
