"""axe-core finds no serious or critical fault, in any view and either theme."""

from pathlib import Path

import pytest

from explain.view.browser.chromium import NARROW
from explain.view.browser.views import VIEWS

AXE = Path(__file__).parents[4] / "web" / "node_modules" / "axe-core" / "axe.min.js"
RUN = "async (options) => (await axe.run(document, {...options, resultTypes: ['violations']})).violations"
ALL: dict = {}
COLOURS = {"runOnly": ["color-contrast", "link-in-text-block"]}  # what another theme can change
PLACES = {"rules": {"color-contrast": {"enabled": False}}}  # what another width can
GRAVE = ("serious", "critical")


@pytest.mark.skipif(not AXE.exists(), reason="needs axe-core: run npm ci in web/, which `make test` does with Node.js")
@pytest.mark.parametrize("view", VIEWS)
def test_no_grave_fault(show, view):
    kind, steps = VIEWS[view]
    shown = show(kind)
    steps(shown)
    shown.page.evaluate(AXE.read_text("utf-8"))
    assert grave(shown) == []
    shown.wear("dark")
    assert grave(shown, COLOURS) == []
    shown.page.set_viewport_size(NARROW)
    assert grave(shown, PLACES) == []


def grave(shown, options=ALL):
    """Each serious fault, with where and why."""
    return [
        f"{fault['id']}: {node['html'][:200]}; {node['failureSummary']}"
        for fault in shown.page.evaluate(RUN, options)
        if fault["impact"] in GRAVE
        for node in fault["nodes"]
    ]


@pytest.mark.skipif(not AXE.exists(), reason="needs axe-core: run npm ci in web/, which `make test` does with Node.js")
def test_a_planted_fault_is_found(show):
    shown = show("small graph")
    shown.find("[data-node]").first.wait_for()
    shown.page.evaluate(AXE.read_text("utf-8"))
    shown.page.evaluate("document.querySelector('button.theme').removeAttribute('aria-label')")
    shown.page.evaluate("document.querySelector('button.theme').removeAttribute('title')")
    assert [each.split(":")[0] for each in grave(shown)] == ["button-name"]
