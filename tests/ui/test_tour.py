"""Pictures of the pages: into docs/tour with MILLWORK_TOUR, else only to see that they can be taken."""

import os
import pathlib

import pytest

from conftest import run_in

INTO = os.environ.get("MILLWORK_TOUR")


@pytest.mark.parametrize("scheme, width", [("light", 1200), ("dark", 1200), ("light", 400)])
def test_pictures(watch, up, tmp_path, scheme, width):
    browser = watch(color_scheme=scheme, viewport={"width": width, "height": 760 if width > 400 else 800})
    into = pathlib.Path(INTO or tmp_path)
    into.mkdir(parents=True, exist_ok=True)
    pages = {"overview": "/ui/", "runs": "/ui/runs", "run": "/ui/runs/" + run_in(up, "completed")}
    for name, path in pages.items():
        # The picture of each page in one scheme, of the overview in all.
        if name != "overview" and (scheme, width) != ("light", 1200):
            continue
        up.until(lambda: any(count["state"] == "completed" for count in up.api("/api/v1/stats")["files"]))
        browser.open(path)
        browser.page.wait_for_timeout(300)
        file = into / f"{name}-{scheme}-{width}.png"
        browser.page.screenshot(path=file)
        assert 10_000 < file.stat().st_size < 400_000
