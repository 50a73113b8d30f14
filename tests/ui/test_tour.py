"""Pictures of the pages of `millwork up --demo`: into docs/tour with MILLWORK_TOUR, else only to see that they can be taken."""

import os
import pathlib
import shutil
import tempfile

import pytest

from conftest import Up, run_in

INTO = os.environ.get("MILLWORK_TOUR")


@pytest.fixture(scope="module")
def demo():
    """A demonstration some seconds after its start: a day that is converted, one run that failed, files that were refused."""
    # Its name is in the pictures.
    root = pathlib.Path(tempfile.mkdtemp(prefix="millwork-"))
    (root / "run").mkdir()
    process = Up(root, "--demo")

    def is_converted():
        states = [run["state"] for run in process.api("/api/v1/runs")["items"]]
        return len(states) >= 5 and set(states) == {"completed", "failed"}

    process.until(is_converted)
    yield process
    process.end()
    shutil.rmtree(root)


@pytest.mark.parametrize("scheme, width", [("light", 1200), ("dark", 1200), ("light", 400)])
def test_pictures(watch_of, demo, tmp_path, scheme, width):
    browser = watch_of(demo, color_scheme=scheme, viewport={"width": width, "height": 760 if width > 400 else 800})
    into = pathlib.Path(INTO or tmp_path)
    into.mkdir(parents=True, exist_ok=True)
    pages = {"overview": "/ui/", "runs": "/ui/runs", "run": "/ui/runs/" + run_in(demo, "completed")}
    for name, path in pages.items():
        # The picture of each page in one scheme, of the overview in all.
        if name != "overview" and (scheme, width) != ("light", 1200):
            continue
        browser.open(path)
        browser.page.wait_for_timeout(300)
        file = into / f"{name}-{scheme}-{width}.png"
        browser.page.screenshot(path=file)
        assert 10_000 < file.stat().st_size < 400_000
