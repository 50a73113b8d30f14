"""Who gets in, and what a page of somebody else can do: nothing."""

import http.client
import json
import re
import typing

from conftest import run_in

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class Answer(typing.NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    text: str


def raw(up, method, path, body=None, **headers):
    connection = http.client.HTTPConnection(up.base.split("//")[1], timeout=10)
    connection.request(method, path, body=body, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return Answer(answer.status, answer.headers, text)


FORM = {"Content_Type": "application/x-www-form-urlencoded", "Sec_Fetch_Site": "same-origin"}


class Session:
    """What a browser keeps of a sign-in: a cookie, and the place where it shows it."""

    def __init__(self, up, token):
        answer = raw(up, "POST", "/ui/sign-in", "token=" + token, **FORM)
        assert answer.status == 303, answer.text
        self.up, self.whole, self.place = up, answer.headers["Set-Cookie"], answer.headers["Location"].removesuffix("/ui/")
        self.cookie = self.whole.split(";")[0]

    def ask(self, method, path, body=None, **headers):
        return raw(self.up, method, self.place + path, body, Cookie=self.cookie, **headers)


def test_a_link_signs_in_once(watch, up):
    link = up.link_again()
    first, second = watch(signed_in=False), watch(signed_in=False)
    first.page.goto(link)
    assert first.page.url == up.pages + "/ui/"
    second.page.goto(link)
    assert "used already" in second.page.inner_text("#page")
    assert raw(up, "HEAD", link.removeprefix(up.base)).status in (204, 405)


def test_a_token_signs_in_and_leads_back(watch, up):
    browser = watch(signed_in=False)
    browser.open("/ui/runs?state=failed")
    assert "/ui/sign-in?back=" in browser.page.url
    browser.page.fill("#token", "wrong")
    browser.page.press("#token", "Enter")
    browser.page.wait_for_selector("#refusal")
    browser.page.fill("#token", up.token())
    browser.page.press("#token", "Enter")
    browser.page.wait_for_selector("tr[data-id]")
    assert browser.page.url == up.pages + "/ui/runs?state=failed"
    token = up.token()
    assert token not in browser.page.content() and token not in browser.page.evaluate(
        "document.cookie + JSON.stringify(sessionStorage) + JSON.stringify(localStorage)"
    )
    taken = browser.page.context.cookies()
    browser.page.click("text=Sign out")
    browser.page.wait_for_selector("#token")
    browser.page.context.add_cookies([cookie for cookie in taken if "session" in cookie["name"]])
    browser.open("/ui/")
    assert "/ui/sign-in" in browser.page.url


def test_the_cookie_is_out_of_reach(up):
    signed_in = Session(up, up.token())
    assert re.fullmatch("/[0-9a-f]{32}", signed_in.place)
    assert f"; Path={signed_in.place}/; " in signed_in.whole and "HttpOnly" in signed_in.whole and "SameSite=Lax" in signed_in.whole
    assert up.token() not in signed_in.whole and signed_in.place[1:] not in up.token()


def test_every_answer_has_its_headers(up):
    for path in ["/ui/sign-in", "/api/v1/stats", "/healthz", "/nowhere", "/ui/"]:
        headers = raw(up, "GET", path).headers
        assert headers["Content-Security-Policy"] == POLICY and headers["X-Content-Type-Options"] == "nosniff", path
        assert "no-store" in headers["Cache-Control"] or path == "/ui/sign-in", path
        assert headers["Referrer-Policy"] == "same-origin" and headers["Cross-Origin-Opener-Policy"] == "same-origin", path
    assert raw(up, "GET", "/").headers["Location"] == "/ui/"


def test_a_session_reads_the_api_and_changes_nothing_for_others(up):
    signed_in = Session(up, up.token())
    assert signed_in.ask("GET", "/api/v1/stats").status == 200
    run = run_in(up, "failed")
    port = up.base.split(":")[-1]
    foreign = [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "none"},
        {},
        {"Origin": "null"},
        {"Origin": f"http://127.0.0.1:{int(port) + 1}"},
        {"Origin": "http://evil.example"},
    ]
    for headers in foreign:
        answer = signed_in.ask("POST", f"/api/v1/runs/{run}/retry", **headers)
        assert answer.status == 403 and "foreign-origin" in answer.text, headers
        answer = signed_in.ask("POST", "/ui/sign-out", "", **{**headers, "Content_Type": "application/x-www-form-urlencoded"})
        assert answer.status == 403, headers
    assert raw(up, "POST", "/ui/sign-in", "token=x", Content_Type="application/x-www-form-urlencoded", Sec_Fetch_Site="cross-site").status == 403
    assert signed_in.ask("POST", f"/api/v1/runs/{run}/retry", "a=b", **FORM).status == 415, "no form reaches the API"
    assert raw(up, "POST", "/ui/sign-in", json.dumps({}), Content_Type="application/json", Sec_Fetch_Site="same-origin").status == 415
    assert up.api(f"/api/v1/runs/{run}")["state"] == "failed"


def test_no_session_no_page(up):
    for cookie in ["", "millwork_session=x", "millwork_session_1=v1.9999999999.owner.0.00"]:
        answer = raw(up, "GET", "/ui/runs?state=failed", Cookie=cookie)
        assert answer.status == 303 and answer.headers["Location"].startswith("/ui/sign-in?back=%2Fui%2Fruns")
    assert raw(up, "GET", "/ui/", Host="evil.example").status == 403


def test_no_link_leads_out(up):
    for back in ["//evil.example", "https://evil.example", "/ui/..//evil.example", "/ui/%0d%0aX: y"]:
        answer = raw(up, "POST", "/ui/sign-in", "token=" + up.token() + "&back=" + back, **FORM)
        assert answer.headers["Location"] == up.pages.removeprefix(up.base) + "/ui/", back


def test_who_guesses_has_to_wait(up):
    for _ in range(5):
        assert raw(up, "POST", "/ui/sign-in", "token=guess", **FORM).status in (401, 429)
    answer = raw(up, "POST", "/ui/sign-in", "token=guess", **FORM)
    assert answer.status == 429 and int(answer.headers["Retry-After"]) <= 61
    assert raw(up, "POST", "/ui/sign-in", "token=" + up.token(), **FORM).status == 303, "a long token waits for nobody's guesses"
