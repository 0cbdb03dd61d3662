"""Pictures of graphs: well-formed, every node and edge there, no box over another, no arrow across a box."""

import re
from itertools import combinations
from xml.etree import ElementTree

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import handgrad as hg
from handgrad.errors import ValueRangeError
from handgrad.explain.svg import Edge, Node, graph_svg

SVG = "{http://www.w3.org/2000/svg}"
RNG = np.random.default_rng(0)


def parts(text):
    """(the root, its boxes as (x, y, width, height), its texts)."""
    root = ElementTree.fromstring(text)
    boxes = [
        tuple(float(rect.get(name)) for name in ("x", "y", "width", "height"))
        for rect in root.iter(f"{SVG}rect")
        if rect.get("x")
    ]
    return root, boxes, [each.text for each in root.iter(f"{SVG}text")]


def test_a_model():
    block = hg.Residual(hg.Sequential([hg.LayerNorm(8), hg.Linear(8, 8), hg.Residual(hg.Tanh())]))
    model = hg.Sequential([hg.Linear(4, 8), hg.ReLU(), block, hg.Linear(8, 3)])
    trace = hg.trace(model, model.init(0), RNG.normal(size=(9, 4)), RNG.integers(3, size=9))
    _, boxes, texts = parts(trace.to_svg())
    assert len(boxes) == len(trace.layers) + 2  # X and the loss
    assert {"X", "Linear(4, 8)", "at 2.layer.1", "+", "cross_entropy", "9 x 4", "9 x 8", "9 x 3"} <= set(texts)
    assert trace.to_svg().count("marker-end") == len(trace.layers) + 2 + 1  # two forks, and the edge to the loss
    assert str(trace.to_svg()) == trace.to_svg()


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 9), st.data())
def test_any_graph(count, data):
    pairs = list(combinations(range(count), 2))
    chosen = data.draw(st.lists(st.sampled_from(pairs), unique=True, max_size=14)) if pairs else []
    names = data.draw(st.lists(st.text("ab<&\"'>x ", min_size=1, max_size=8), min_size=count, max_size=count))
    nodes = [Node(i, (name, str(i))) for i, name in enumerate(names)]
    text = graph_svg(nodes, [Edge(a, b, f"{a}>{b}") for a, b in chosen], title="a < b")
    root, boxes, texts = parts(text)
    assert len(boxes) == count
    assert {f"{a}>{b}" for a, b in chosen} <= set(texts)
    assert set(map(str, range(count))) <= set(texts)
    width, height = float(root.get("width")), float(root.get("height"))
    for x, y, w, h in boxes:
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
    for (x, y, w, h), (x2, y2, w2, h2) in combinations(boxes, 2):
        assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y
    for path in root.iter(f"{SVG}path"):
        if path.get("marker-end"):  # arrows point down
            numbers = [float(n) for n in re.findall(r"-?\d+\.\d+", path.get("d"))]
            assert numbers[1] < numbers[-1]


def test_bad_graphs():
    nodes = [Node("a", ("a",)), Node("b", ("b",))]
    with pytest.raises(ValueRangeError, match=r"has a cycle among \['a', 'b'\]"):
        graph_svg(nodes, [Edge("a", "b"), Edge("b", "a")])
    with pytest.raises(ValueRangeError, match="an edge names the node 'c'"):
        graph_svg(nodes, [Edge("a", "c")])
    with pytest.raises(ValueRangeError, match="keys of nodes must differ"):
        graph_svg([*nodes, nodes[0]], [])
    assert "<svg" in graph_svg([], [])
