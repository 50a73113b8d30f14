"""What is wrong around a scheduler, on a page."""


def test_what_is_wrong_stands_first_with_what_to_do(browser, up):
    told = up.api("/api/v1/doctor")["checks"]
    browser.open("/ui/doctor")
    text = browser.page.inner_text("#page")
    for check in told:
        assert check["name"] in text and check["found"].replace("`", "")[1:] in text, check
    findings = [check for check in told if check["verdict"] in ("warning", "broken")]
    assert findings, "the failed file is one"
    assert f"Needs you ({len(findings)})" in text
    for check in findings:
        assert check["remedy"].replace("`", "") in text


def test_keys_lead_there(browser, up):
    browser.open("/ui/")
    browser.page.wait_for_load_state()
    browser.page.keyboard.press("g")
    browser.page.keyboard.press("h")
    browser.page.wait_for_url("**/ui/doctor")
