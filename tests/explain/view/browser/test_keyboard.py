"""Everything by the keyboard alone, and no place that holds it fast."""

import pytest

from explain.view.browser.chromium import NARROW, WIDE
from explain.view.browser.documents import document, only

# All that the Tab key must reach: what it leads to by itself, apart from groups that arrow keys walk through.
REACHABLE = """() => [...document.querySelectorAll("button, input, select, summary, a[href], [tabindex]")]
  .filter((at) => at.tabIndex >= 0 && at.getClientRects().length && !(at.type === "radio" && !at.checked))
  .map((at) => (at.dataset.reached ??= "no") + ": " + at.outerHTML.slice(0, 120))"""
TABS = 400


def round_trip(shown, key="Tab"):
    """What has the focus after each press, from one end of the page to the other."""
    while shown.focus["tag"] != "body":
        shown.press(key)
    found = []
    for _ in range(TABS):
        shown.press(key)
        if (focus := shown.focus)["tag"] == "body":
            return found
        found.append(focus)
    raise AssertionError(f"the keyboard is held fast: {found[-3:]}")


TABBED = [*((kind, WIDE) for kind in ("swiglu", "variants", "together", "not finite")), ("frames", NARROW)]


@pytest.mark.parametrize(("kind", "viewport"), TABBED, ids=[kind for kind, _ in TABBED])
def test_tab_reaches_everything_and_leaves(show, kind, viewport):
    shown = show(kind, viewport=viewport)
    shown.find("[data-node]").first.wait_for()
    shown.open(only(kind)[0]["nodes"][0]["id"])
    shown.page.evaluate(REACHABLE)
    forward = round_trip(shown)
    missed = [each for each in shown.page.evaluate(REACHABLE) if each.startswith("no")]
    assert missed == []
    assert all(each["visible"] for each in forward), [each for each in forward if not each["visible"]]
    assert all(each["name"] for each in forward), forward
    backward = round_trip(shown, "Shift+Tab")
    assert [each["name"] for each in backward] == [each["name"] for each in forward][::-1]


@pytest.mark.parametrize("view", ["Side by side", "Report"])
def test_tab_reaches_everything_in_other_views(show, view):
    shown = show("variants" if view == "Side by side" else "report")
    tab(shown, view)
    shown.press("Enter")
    shown.page.evaluate(REACHABLE)
    assert all(each["visible"] for each in round_trip(shown))
    assert [each for each in shown.page.evaluate(REACHABLE) if each.startswith("no")] == []


def tab(shown, name):
    """Press Tab until what has that name has the focus."""
    seen = []
    for _ in range(TABS):
        shown.press("Tab")
        seen.append(shown.focus["name"])
        if seen[-1].startswith(name):
            return
    raise AssertionError(f"Tab never came to {name!r}, but to {seen[:40]}")


@pytest.mark.parametrize("kind", ["neuron", "swiglu", "mnist"])
def test_arrow_keys_come_to_every_node(show, kind):
    shown = show(kind)
    names = [node["id"] for node in only(kind)[0]["nodes"]]
    shown.node(names[0]).focus()
    seen, ahead = {names[0]}, [names[0]]
    while ahead:
        name = ahead.pop()
        for key in ("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"):
            shown.node(name).focus()
            shown.press(key)
            shown.find("[data-node]:focus").wait_for()
            if (to := shown.focus["node"]) not in seen:
                seen.add(to)
                ahead.append(to)
    assert seen == set(names)
    shown.press("Home")
    assert shown.focus["node"] == names[0]
    shown.press("End")
    assert shown.focus["node"] == names[-1]


def test_a_node_opens_and_closes_and_the_focus_stays_there(show):
    shown = show("swiglu")
    shown.node("X").focus()
    shown.press("Enter")
    assert shown.find("[data-panel]").get_attribute("data-panel") == "X"
    tab(shown, "Close")
    shown.press("Escape")
    assert shown.find("[data-panel]").count() == 0
    assert shown.focus["node"] == "X"


def test_arrow_keys_read_a_heat_map(show):
    shown = show("digits")
    shown.open("X")
    tab(shown, "value of X, 32 rows, 64 columns")
    readout = lambda: shown.page.evaluate(  # noqa: E731
        "document.activeElement.parentElement.querySelector('output').textContent"
    )
    assert readout().startswith("row 0, column 0: ")
    shown.press("ArrowRight", "ArrowRight", "ArrowDown", "Shift+ArrowDown")
    assert readout().startswith("row 11, column 2: ")
    shown.press("ArrowUp", "ArrowLeft")
    assert readout().startswith("row 10, column 1: ")
    shown.press("End")
    assert readout().startswith("row 10, column 63: ")
    shown.press("ArrowRight")
    assert readout().startswith("row 10, column 63: ")
    shown.press("Control+End")
    assert readout().startswith("row 31, column 63: ")
    shown.press("Tab")
    assert not shown.focus["name"].startswith("value of X")


def test_the_skip_link_leads_past_the_graph(show):
    shown = show("swiglu")
    tab(shown, "Skip the graph")
    shown.press("Enter")
    assert shown.focus["part"] == "All layers"


def test_steps_by_keys(show):
    shown = show("small graph")
    tab(shown, "Step through backward")
    shown.press("Enter")
    assert shown.find(".stepper").get_attribute("data-step") == "0"
    shown.press("n", "ArrowRight", "p")
    assert shown.find(".stepper").get_attribute("data-step") == "1"


def test_the_slider_goes_through_the_training(show):
    shown = show("frames")
    label, loss = shown.find(".frames .label"), shown.find('[data-figure="loss"]')
    tab(shown, "Moment of training")
    assert label.text_content() == "epoch 4"
    frames = document("frames").documents[0]["variants"][0]["frames"]
    for key, at in (("ArrowLeft", 2), ("Home", 0), ("ArrowRight", 1), ("End", 3)):
        shown.press(key)
        assert label.text_content() == frames[at]["label"]
        assert float(loss.get_attribute("title")) == frames[at]["loss"]
    shown.press("Home", "Shift+Tab")
    assert shown.focus["name"] == "Play the training"
    shown.press("Enter")
    shown.find(".frames .label", has_text="epoch 2").wait_for()
    shown.press("Enter")
    assert shown.focus["name"] == "Play the training"


def test_columns_sort(show):
    shown, (_, frame) = show("swiglu"), only("swiglu")
    norms = {name: each["gradient_norm"] for name, each in frame["parameters"].items()}
    rows = lambda: shown.page.evaluate(  # noqa: E731
        "[...document.querySelectorAll('tr[data-row^=\"p:\"]')].map((at) => at.dataset.row.slice(2))"
    )
    before = rows()
    assert sorted(before) == sorted(norms)
    tab(shown, "gradient norm")
    shown.press("Enter")
    assert rows() == sorted(norms, key=norms.get, reverse=True)
    header = shown.find("th[aria-sort]", has_text="gradient norm")
    assert header.get_attribute("aria-sort") == "descending"
    shown.press("Enter")
    assert rows() == sorted(norms, key=norms.get)
    assert header.get_attribute("aria-sort") == "ascending"
    shown.press("Enter")
    assert rows() == before


def test_a_row_of_the_table_opens_its_node(show):
    shown = show("swiglu")
    tab(shown, "layer")
    tab(shown, "content")
    shown.press("ArrowDown", "Enter")
    assert shown.focus["name"] == "0.content.weight"
    assert shown.find("[data-panel]").get_attribute("data-panel") == "0.content"


def test_the_theme_changes(show):
    shown = show("small graph")
    theme = lambda: shown.find(".handgrad").get_attribute("data-theme")  # noqa: E731
    paper = lambda: shown.find(".handgrad").evaluate("(at) => getComputedStyle(at).backgroundColor")  # noqa: E731
    assert theme() == "light"
    light = paper()
    tab(shown, "Use the dark theme")
    shown.press("Enter")
    assert theme() == "dark"
    assert paper() != light
    shown.press("Enter")
    assert theme() == "light"


def test_the_theme_follows_the_system(show):
    shown = show("small graph", color_scheme="dark")
    assert shown.find(".handgrad").get_attribute("data-theme") == "dark"
    shown.page.emulate_media(color_scheme="light")
    shown.find('.handgrad[data-theme="light"]').wait_for()


def test_variants_and_views_and_documents(show):
    shown = show("variants")
    tab(shown, "Side by side")
    shown.press("Enter")
    tab(shown, "zeros")
    shown.press("Enter")
    assert shown.find("label.on").text_content().strip() == "zeros"
    shown = show("together")
    tab(shown, "What is shown")
    shown.press("ArrowDown")
    assert shown.node("0.content").count() == 1
