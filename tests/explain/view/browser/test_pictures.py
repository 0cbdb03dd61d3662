"""A picture of each view, in both themes, wide and narrow, for people to look at, in HANDGRAD_SCREENSHOTS=FOLDER."""

import os
from pathlib import Path

import pytest

from explain.view.browser.chromium import NARROW, WIDE
from explain.view.browser.views import VIEWS

PAINTED = 8_000  # bytes: a PNG of one colour takes fewer


@pytest.mark.parametrize("view", VIEWS)
def test_each_view_is_painted(show, tmp_path, view):
    kind, steps = VIEWS[view]
    folder = Path(os.environ.get("HANDGRAD_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    shown = show(kind)
    steps(shown)
    pictures = []
    for width, viewport in (("wide", WIDE), ("narrow", NARROW)):
        shown.page.set_viewport_size(viewport)
        for theme in ("light", "dark"):
            shown.wear(theme)
            assert shown.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0  # nothing runs out
            path = folder / f"{view}-{width}-{theme}.png"
            pictures.append(shown.page.screenshot(path=path, full_page=True))
    assert len(set(pictures)) == 4
    assert min(map(len, pictures)) > PAINTED
