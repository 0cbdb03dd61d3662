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
from soak import examples

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


@st.composite
def graphs(draw):
    """(nodes, edges) with labels of no line, one or two."""
    count = draw(st.integers(1, 12))
    pairs = list(combinations(range(count), 2))
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=18)) if pairs else []
    names = draw(st.lists(st.text("ab<&\"'>x ", min_size=1, max_size=8), min_size=count, max_size=count))
    sizes = draw(st.lists(st.integers(0, 4), min_size=count, max_size=count))
    labels = st.sampled_from(["", "{}>{}", "from {}\nto {}", "a label, of some length, of {}>{}"])
    nodes = [Node(i, (name, *[f"line {i}"] * size)) for i, (name, size) in enumerate(zip(names, sizes, strict=True))]
    return nodes, [Edge(a, b, draw(labels).format(a, b)) for a, b in chosen]


def curve(path):
    """Points along a path of M, L and C, close together."""
    numbers = [float(n) for n in re.findall(r"-?\d+\.\d+", path)]
    at, points = 0, []
    for command in re.findall("[MLC]", path):
        size = 6 if command == "C" else 2
        ends = np.array(numbers[at : at + size]).reshape(-1, 2)
        at += size
        if command == "M":
            points.append(ends[0])
            continue
        t = np.linspace(0, 1, 60)[:, None]
        start = points[-1]
        if command == "L":
            points.extend(start + t * (ends[0] - start))
        else:
            a, b, c = ends
            points.extend((1 - t) ** 3 * start + 3 * (1 - t) ** 2 * t * a + 3 * (1 - t) * t**2 * b + t**3 * c)
    return np.array(points)


def texts_beside_boxes(root, labels):
    """The boxes that the labels' lines take: (x, y, width, height)."""
    for each in root.iter(f"{SVG}text"):
        if each.text in labels and not each.get("text-anchor"):
            x, y = float(each.get("x")), float(each.get("y"))
            yield x, y - 9, len(each.text) * 6.6, 11.0


def apart(one, other):
    (x, y, w, h), (x2, y2, w2, h2) = one, other
    return x + w <= x2 + 0.2 or x2 + w2 <= x + 0.2 or y + h <= y2 + 0.2 or y2 + h2 <= y + 0.2


@settings(max_examples=examples(100))
@given(graphs())
def test_any_graph(drawn):
    nodes, edges = drawn
    text = graph_svg(nodes, edges, title="a < b", note="a note")
    root, boxes, texts = parts(text)
    lines = {line for edge in edges for line in edge.label.splitlines()}
    assert len(boxes) == len(nodes)
    assert lines | {"a note"} <= set(texts)
    width, height = float(root.get("width")), float(root.get("height"))
    labels = list(texts_beside_boxes(root, lines))
    assert len(labels) == sum(len(edge.label.splitlines()) for edge in edges)
    for x, y, w, h in boxes + labels:
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
    for one, other in combinations(boxes + labels, 2):
        assert apart(one, other)
    paths = [path.get("d") for path in root.iter(f"{SVG}path") if path.get("marker-end")]
    assert len(paths) == len(edges)
    by_key = dict(zip((node.key for node in nodes), boxes, strict=True))
    for edge, path in zip(edges, paths, strict=True):
        points = curve(path)
        assert (np.diff(points[:, 1]) >= -0.2).all()  # down alone
        (x, y, w, h), (x2, y2, w2, _) = by_key[edge.source], by_key[edge.target]
        assert x <= points[0, 0] <= x + w
        assert abs(points[0, 1] - (y + h)) < 0.2
        assert x2 <= points[-1, 0] <= x2 + w2
        assert abs(points[-1, 1] - y2) < 0.2
        for bx, by, bw, bh in boxes + labels:
            across = (points[:, 0] > bx + 0.2) & (points[:, 0] < bx + bw - 0.2)
            assert not (across & (points[:, 1] > by + 0.2) & (points[:, 1] < by + bh - 0.2)).any()


def test_a_chain_stands_straight():
    picture = graph_svg([Node(k, ("x" * (k + 1),)) for k in range(9)], [Edge(k, k + 1, "y") for k in range(8)])
    for path in re.findall(r'<path d="(M[^"]*)" fill="none"', picture):
        assert "C" not in path


def test_bad_graphs():
    nodes = [Node("a", ("a",)), Node("b", ("b",))]
    with pytest.raises(ValueRangeError, match=r"has a cycle among \['a', 'b'\]"):
        graph_svg(nodes, [Edge("a", "b"), Edge("b", "a")])
    with pytest.raises(ValueRangeError, match="an edge names the node 'c'"):
        graph_svg(nodes, [Edge("a", "c")])
    with pytest.raises(ValueRangeError, match="keys of nodes must differ"):
        graph_svg([*nodes, nodes[0]], [])
    assert "<svg" in graph_svg([], [])
