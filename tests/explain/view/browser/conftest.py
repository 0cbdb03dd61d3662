"""Pages in a real browser. Each process of the test run has one browser for all of them."""

import pytest

from explain.view.browser.chromium import FLAGS, WIDE, Shown, chromium
from explain.view.browser.documents import html


@pytest.fixture(scope="session")
def browser():
    """Chromium, started once, with an empty profile of its own."""
    path = chromium()
    if path is None:
        pytest.skip("no Chromium here: apt-get install chromium, or name one in HANDGRAD_CHROMIUM")
    api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    with api.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def context(browser):
    """context(...) -> a new, empty profile; light, still, of a wide screen, unless said."""
    made = []

    def make(**options):
        settings = {"viewport": WIDE, "color_scheme": "light", "reduced_motion": "reduce"}
        made.append(browser.new_context(**{**settings, **options}))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def show(context, tmp_path):
    """show(a kind of document, or HTML) -> the page. In the end no page has complained or asked for anything."""
    pages = []

    def shown(what, **options):
        text = what if what.startswith("<!doctype") else html(what)
        path = tmp_path / f"page{len(pages)}.html"
        path.write_text(text, "utf-8")
        pages.append(Shown(context(**options), path))
        return pages[-1]

    yield shown
    for page in pages:
        assert page.faults == []
        assert page.requests == [page.url]
