"""Pictures of graphs and of runs: every value, gradient and flow is there, in its place."""

import numpy as np
import pytest

import handgrad as hg
from explain.test_svg import parts
from handgrad import Graph, draw, ops
from handgrad.errors import DTypeError, ValueRangeError

RNG = np.random.default_rng(0)


def small():
    g = Graph()
    x, y, z = g.input("x"), g.input("y"), g.input("z")
    q = (x + y).named("q")
    return g, (q * z).named("f")


def test_the_small_graph():
    g, f = small()
    run = g.run(f, x=-2.0, y=5.0, z=-4.0)
    _, boxes, texts = parts(draw(run))
    assert len(boxes) == 5
    above = ["x", "value -2", "y", "value 5", "q", "x + y", "value 3", "add distributes", "z", "value -4"]
    assert texts == [*above, "f", "q * z", "value -12", "multiply swaps"]
    root, boxes, texts = parts(draw(run.backward()))
    flows = ["-4 · 1 = -4", "-4 · 1 = -4", "1 · -4 = -4", "1 · 3 = 3"]
    assert texts[:4] == flows
    assert texts[-1] == "on an edge: upstream · local = downstream"
    assert texts[4:7] == ["x", "value -2", "gradient -4"]
    assert root.find("{http://www.w3.org/2000/svg}title").text == "f = q * z"
    assert len(boxes) == 5


def test_a_graph_that_was_not_run_and_a_model():
    g, _ = small()
    picture = draw(g)
    assert parts(picture)[2] == ["x", "y", "z", "q", "x + y", "f", "q * z"]
    assert picture._repr_svg_() == picture
    model = hg.Sequential([hg.Linear(3, 4), hg.Residual(hg.Tanh())])
    assert parts(draw(model))[2] == ["x", "0", "Linear(3, 4)", "1.layer", "Tanh()", "1", "Linear(3, 4)(x) + Tanh()(0)"]
    assert draw(model).count("marker-end") == 4


def test_arrays_by_their_shapes():
    g = Graph()
    x, w, b = g.input("x"), g.input("w"), g.input("b")
    loss = ops.cross_entropy((x @ w + b).named("scores"), g.input("labels"))
    given = {"x": RNG.normal(size=(4, 3)), "w": RNG.normal(size=(3, 2)), "b": np.zeros(2)}
    _, _, texts = parts(draw(g.run(loss, labels=[0, 1, 1, 0], **given).backward()))
    assert {"value (4, 3)", "gradient (3, 2)", "broadcast adds", "· I4 ⊗ Yᵀ", "= (4, 3)"} <= set(texts)
    labels = texts.index("labels")
    assert texts[labels : labels + 3] == ["labels", "value (4,)", loss.name]  # no gradient by labels


def test_a_value_read_twice_and_constants():
    g = Graph()
    x = g.input("x")
    f = 2 * (x * x) + 1
    picture = draw(g.run(f, x=3.0).backward())
    _, boxes, texts = parts(picture)
    assert len(boxes) == 4  # constants have none
    assert "2 · 6 = 12" in texts
    assert "2 * (x * x) + 1" in texts


def test_a_rebound_graph_is_drawn_as_it_ran():
    g, f = small()
    run = g.run(f, x=1.0, y=2.0, z=3.0).backward()
    before = draw(run)
    g.rebind(f, g["q"], g["q"])
    assert draw(run).count("marker-end") == before.count("marker-end") == 4


def test_what_cannot_be_drawn():
    g = Graph()
    node = g.input("x")
    for _ in range(1_000):
        node = -node
    with pytest.raises(ValueRangeError, match="at most 1,000 nodes, this graph has 1,001"):
        draw(g)
    assert draw(g.run("negative999", x=1.0)).count("<rect x=") == 1_000
    with pytest.raises(DTypeError, match="graph must be a run, a Graph or another model, got int"):
        draw(3)


def test_long_names_and_expressions_are_cut():
    g = Graph()
    x = g.input("a_name_that_goes_on_" * 5)
    g.output(ops.tanh(x).named("<&> " * 20))
    _, boxes, texts = parts(draw(g))
    assert max(map(len, texts)) <= 34
    assert max(box[2] for box in boxes) < 34 * 7.3 + 25
