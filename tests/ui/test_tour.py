"""Pictures of the pages of `millwork up --demo`: into docs/tour with MILLWORK_TOUR; else they are taken, and those in docs/tour have to
be of pages as they are now."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import tempfile

import pytest

from conftest import ROOT, Up, run_in

INTO = os.environ.get("MILLWORK_TOUR")
TOUR = ROOT / "docs/tour"
# What pages.json says of the pages that were taken, beside their pictures.
KNOWN = "pages.json"
# Words of a page that do not depend on what was converted, in their order, each once: names of its parts, columns, numbers and buttons.
WORDS = """() => {
  const parts = 'header.top :is(nav a, button, .status a), #page :is(h1, h2, th, dt, label, nav.tabs a, button, .button)';
  const own = each => !each.closest('details, .concerns, ul.rows, tbody');
  const text = each => each.getAttribute('aria-label') ?? each.textContent;
  const said = [...document.querySelectorAll(parts)].filter(own).map(each => `${each.localName} ${text(each)}`.replace(/\\s+/g, ' ').trim());
  return [...new Set(said.map(each => each.replace(/[0-9][0-9,.]*/g, '#').replace(/( #)+$/, '')))];
}"""


@pytest.fixture(scope="module")
def demo():
    """A demonstration some seconds after its start: a day that is converted, one run that failed, files that were refused."""
    # Its name is in the pictures.
    root = pathlib.Path(tempfile.mkdtemp(prefix="millwork-"))
    (root / "run").mkdir()
    process = Up(root, "--demo")

    def is_converted():
        states = [run["state"] for run in process.api("/api/v1/runs")["items"]]
        # What was converted since the start is counted a moment later.
        is_counted = process.api("/api/v1/stats")["converted"]["rows"] > 0
        return is_counted and len(states) >= 5 and set(states) == {"completed", "failed"}

    process.until(is_converted)
    yield process
    process.end()
    shutil.rmtree(root)


def digest(content):
    return hashlib.sha256(content).hexdigest()


def style():
    """The style without comments and the space around it: the same colours and sizes are the same pictures."""
    text = (ROOT / "ui/assets/app.css").read_text()
    return digest(re.sub(r"\s+", " ", re.sub(r"/\*.*?\*/", "", text, flags=re.S)).strip().encode())


def test_pictures_are_of_the_pages_as_they_are(watch_of, demo, tmp_path):
    into = pathlib.Path(INTO or tmp_path)
    into.mkdir(parents=True, exist_ok=True)
    pages = {"overview": "/ui/", "runs": "/ui/runs", "run": "/ui/runs/" + run_in(demo, "completed")}
    now: dict = {"style": style(), "pages": {}, "pictures": {}}
    for scheme, width in [("light", 1200), ("dark", 1200), ("light", 400)]:
        browser = watch_of(demo, color_scheme=scheme, viewport={"width": width, "height": 760 if width > 400 else 800})
        for name, path in pages.items():
            # The picture of each page in one scheme, of the overview in all.
            if name != "overview" and (scheme, width) != ("light", 1200):
                continue
            browser.open(path)
            browser.page.wait_for_load_state()
            file = into / f"{name}-{scheme}-{width}.png"
            browser.page.screenshot(path=file)
            assert 10_000 < file.stat().st_size < 400_000
            now["pages"][name] = browser.page.evaluate(WORDS)
            now["pictures"][file.name] = digest(file.read_bytes())
    if INTO:
        (into / KNOWN).write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n")
        return
    then = json.loads((TOUR / KNOWN).read_text())
    for file, told in then["pictures"].items():
        assert digest((TOUR / file).read_bytes()) == told, f"docs/tour/{file} is not the picture that `make tour` took"
    assert set(then["pictures"]) == set(now["pictures"]) == {file.name for file in TOUR.glob("*.png")}
    for name, words in now["pages"].items():
        assert then["pages"][name] == words, f"the page {name} has changed: look at it, and run `make tour` for its picture"
    assert then["style"] == now["style"], "the style has changed: look at the pages, and run `make tour` for their pictures"
