"""The panel, the edges and the table: derivations, structures, shapes, and dots on one scale."""

import math
import re

import numpy as np
import pytest

from explain.view.batches import array
from explain.view.browser.documents import only

LOW, HIGH = -10, 4  # powers of ten, the ends of the scale


@pytest.mark.parametrize("kind", ["swiglu", "mnist", "digits"])
def test_every_edge_says_its_shape(show, kind):
    shown = show(kind, viewport={"width": 1900, "height": 1000})
    for edge in only(kind)[0]["edges"]:
        label = shown.find(f'[data-shape-of="{edge["id"]}"]').text_content()
        assert [int(n) for n in re.findall(r"\d+", label)] == edge["shape"]


def test_dimension_matching_strikes_out_what_does_not_fit(show):
    shown, (graph, _) = show("digits"), only("digits")
    shown.open("0")
    node = next(each for each in graph["nodes"] if each["id"] == "0")
    parts = [part for section in graph["equations"][node["derivation"]]["sections"] for part in section["parts"]]
    matchings = [item for part in parts for item in part["items"] if item["kind"] == "matching"]
    assert len(matchings) == 2
    lists = shown.find("[data-panel] details ul").all()
    for found, item in zip(lists, matchings, strict=True):
        rows = found.locator("li").all()
        assert len(rows) == len(item["products"])
        for row, product in zip(rows, item["products"], strict=True):
            assert row.locator("s math").count() == (not product["fits"])
            assert product["shapes"] in row.text_content()
            assert product["why"] in row.text_content()
            assert ("✓" in row.text_content()) == product["chosen"]
    struck = shown.find("[data-panel] details s").first
    line = struck.evaluate("(at) => getComputedStyle(at, '::after').borderTopWidth")
    assert float(line.removesuffix("px")) >= 1


def test_a_jacobian_shows_its_structure(show):
    shown, (graph, frame) = show("swiglu"), only("swiglu")
    for edge in graph["edges"]:
        if edge["local"] is None:
            continue
        shown.open(edge["target"])
        flow = shown.find(f'[data-flow="{edge["id"]}"]')
        words = flow.locator(".structure").inner_text()
        if math.prod(edge["shape"]) > 1 and edge["local"]["structure"] != "dense":
            assert edge["local"]["structure"] in words
        if frame["edges"][edge["id"]]["local"] is not None:  # its numbers stand there, or fold out
            assert flow.locator('[aria-label^="Jacobian of"], [aria-label^="derivative of"]').count() >= 1
    # the batch keeps samples apart: blocks of the identity times W, told apart by lines
    shown.open("0.content")
    assert shown.find('[data-flow="X → 0.content"] .field i').count() == 2 * (4 - 1)


def test_dots_stand_on_one_log_scale(show):
    shown, (_, frame) = show("frames"), only("frames")
    for name, values in frame["parameters"].items():
        row = shown.find(f'[data-row="p:{name}"]')
        numbers = [values["gradient_norm"], values["update_ratio"]]
        dots = row.locator(".axis i").evaluate_all("(all) => all.map((at) => parseFloat(at.style.left))")
        assert dots == pytest.approx([100 * (math.log10(n) - LOW) / (HIGH - LOW) for n in numbers], abs=0.01)
        assert row.locator("[data-check]").count() == 1
    dead = frame["nodes"]["1"]["stats"]
    assert (
        shown.find('[data-row="n:1"] span.share').get_attribute("title") == f"{dead['dead']} of {dead['units']} units"
    )


def test_variants_stand_side_by_side_in_numbers(show):
    shown = show("variants")
    shown.find("nav button", has_text="Side by side").click()
    for i, label in enumerate(("zeros", "He")):
        column = shown.find(f"thead th:nth-child({i + 2})")
        assert column.locator("button").text_content() == label
    said = shown.find("tbody tr", has_text="2.bias").locator(".text").all()
    graph, frame = only("variants")
    bias = array(frame["parameters"]["2.bias"]["gradient"])
    assert float(said[0].get_attribute("title")) == pytest.approx(np.linalg.norm(bias))
    assert len(said) == 2
    assert "zeros" not in {node["label"] for node in graph["nodes"]}
