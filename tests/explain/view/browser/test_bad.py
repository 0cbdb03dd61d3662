"""What cannot be shown is said, on the page; and names are text, whatever they look like."""

import json

import pytest

from explain.view.browser.chromium import NARROW
from explain.view.browser.documents import LATER, NASTY, altered, document, only, replaced
from handgrad import __version__

STRANGE = "[data-panel] .strange"


def test_names_are_text(show):
    shown = show("nasty")
    graph, _ = only("nasty")
    shown.find("[data-node]").first.wait_for()
    assert shown.page.title() == document("nasty").title
    assert shown.find("h1").text_content() == document("nasty").title
    for node in graph["nodes"]:
        assert shown.find(f"[data-node={json.dumps(node['id'])}] .label").text_content() == node["label"]
        shown.find(f"[data-node={json.dumps(node['id'])}]").click()
        assert shown.find("[data-panel] h2").text_content() == node["label"]
        assert shown.find("img").count() == 0
        assert shown.find(".handgrad script").count() == 0
    shown.press("n")
    assert NASTY in shown.find("table.strip").text_content()
    # shown.faults would hold a dialog that a name had opened


REPORTED = {
    "title": NASTY,
    "facts": {NASTY: NASTY},
    "baselines": [{"name": NASTY, "metrics": {NASTY: 1.0}}],
    "metrics": {NASTY: 2.0},
    "findings": [{"title": NASTY, "evidence": NASTY, "cause": NASTY, "advice": NASTY}],
    "confusion": {"labels": [NASTY, "b"], "counts": [[1, 2], [3, 4]]},
    "history": {NASTY: [1.0, 2.0]},
}


def test_names_in_a_report_are_text(show):
    shown = show(altered(document("report"), lambda made: made["report"].update(REPORTED)))
    shown.find("nav button", has_text="Report").click()
    words = shown.find("main").inner_text()
    assert words.count(NASTY) >= 8
    assert shown.find(".handgrad script").count() == 0


def test_formulas_cannot_bring_in_markup(show):
    def change(made):
        for node in made["variants"][0]["graph"]["nodes"]:
            node["formula"] = r"\href{javascript:alert(1)}{x} \htmlClass{a}{b} <img src=x onerror=alert(1)>"

    shown = show(altered(document("small graph"), change))
    shown.open("f")
    assert shown.find(".handgrad img").count() == 0
    assert shown.find('[href^="javascript"]').count() == 0


def cut(view):
    return replaced(view, view.to_json()[: len(view.to_json()) // 2])


def missing(*path):
    def change(made):
        for step in path[:-1]:
            made = made[step]
        del made[path[-1]]

    return lambda view: altered(view, change)


def put(value, *path):
    def change(made):
        for step in path[:-1]:
            made = made[step]
        made[path[-1]] = value

    return lambda view: altered(view, change)


GRAPH, FRAME = ("variants", 0, "graph"), ("variants", 0, "frames", 0)
BAD = {
    "cut short": (cut, "cut short"),
    "empty": (lambda view: replaced(view, ""), "empty"),
    "no JSON": (lambda view: replaced(view, "hello"), "not JSON"),
    "bare NaN": (lambda view: replaced(view, view.to_json().replace('"loss":-12.0', '"loss":NaN')), "not JSON"),
    "a list": (lambda view: replaced(view, "[1, 2]"), "should be an object"),
    "something else": (put("other", "format"), "not a document of handgrad.view"),
    "no format": (missing("format"), "not a document of handgrad.view"),
    "no version": (missing("version"), "version"),
    "no variants": (missing("variants"), "variants"),
    "nothing": (put([], "variants"), "nothing to show"),
    "no graph": (missing(*GRAPH), "variants[0].graph"),
    "no nodes": (missing(*GRAPH, "nodes"), "variants[0].graph.nodes"),
    "no frames": (put([], "variants", 0, "frames"), "frames is empty"),
    "an edge to nowhere": (put("gone", *GRAPH, "edges", 0, "source"), "gone"),
    "one name twice": (put("x", *GRAPH, "nodes", 1, "id"), "one name"),
    "nodes are a text": (put("abc", *GRAPH, "nodes"), "variants[0].graph.nodes"),
    "a node is a number": (put(3, *GRAPH, "nodes", 0), "variants[0].graph.nodes[0]"),
}


@pytest.mark.parametrize("kind", sorted(BAD))
def test_a_bad_document_is_said_in_a_card(show, kind):
    make, words = BAD[kind]
    view = document("small graph")
    shown = show(make(view))
    card = shown.find("[role=alert]")
    card.wait_for()
    assert words in card.text_content()
    assert len(card.locator("p").all()) == 2  # what is wrong, and what to do
    assert shown.find("[data-node]").count() == 0


def test_another_version_is_told_with_both_numbers(show):
    words = show(LATER).find("[role=alert]").text_content()
    for part in ("version 3", "reads version 1", __version__):
        assert part in words


TORN = {
    "too few bytes": {"shape": [], "dtype": "float64", "data": "AAAA"},
    "no base64": {"shape": [], "dtype": "float64", "data": "!!"},
    "unknown type": {"shape": [], "dtype": "float16", "data": "AAA="},
    "no data": {"shape": [2], "dtype": "float64"},
    "a number": 3,
    "a text": "abc",
}


@pytest.mark.parametrize("kind", sorted(TORN))
def test_a_torn_tensor_is_said_where_it_would_stand(show, kind):
    shown = show(put(TORN[kind], *FRAME, "nodes", "f", "value")(document("small graph")))
    shown.open("f")
    words = shown.find("[data-panel] section").first.text_content()
    assert "cannot be read" in words
    shown.open("q")  # the rest is there
    assert shown.find('[data-exact][aria-label^="value of q"]').first.text_content() == "3"


@pytest.mark.parametrize("name", ["nodes", "edges", "parameters"])
def test_missing_numbers_leave_the_rest(show, name):
    shown = show(missing(*FRAME, name)(document("swiglu")))
    for node in ("X", "0.content", "loss"):
        shown.open(node)
        assert shown.find("[data-panel] h2").text_content()


def test_numbers_that_are_not_finite_are_counted_in_colours_of_their_own(show):
    shown = show("not finite")
    shown.open("0")
    value = shown.find('[data-parameter="0.weight"] > .row figure').first
    assert value.locator(".strange").inner_text().split("\n") == ["1 NaN", "1 inf"]
    field = value.locator(".field")
    field.hover(position={"x": 5, "y": 5})
    assert value.locator("output").text_content() == "row 0, column 0: nan"
    shown.open("2")
    weight = shown.find('[data-parameter="2.weight"] > .row figure').first
    assert weight.locator(".strange").inner_text() == "1 -inf"
    assert "nan" in shown.find('[data-figure="loss"]').text_content().lower()


def test_a_strange_value_is_seen_in_the_picture(show):
    shown = show("not finite")
    shown.open("0")
    pixels = """(at) => {
      const {width, height} = at, all = at.getContext("2d").getImageData(0, 0, width, height).data;
      let magenta = 0;
      for (let i = 0; i < all.length; i += 4) magenta += all[i] > 120 && all[i + 2] > 100 && all[i + 1] < 90;
      return magenta / (width * height);
    }"""
    assert shown.find('[data-parameter="0.weight"] > .row canvas').first.evaluate(pixels) > 0.005
    shown = show("swiglu")
    shown.open("0.content")
    assert shown.find("[data-panel] canvas").first.evaluate(pixels) == 0


def test_a_large_tensor_says_why_it_is_not_whole(show):
    shown = show("mnist", viewport=NARROW)
    shown.open("0")
    assert "200,704 values; blocks of" in shown.find("[data-panel]").text_content()
